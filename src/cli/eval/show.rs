//! Lists utterances of a set with what was said and what each layer wrote, for whoever improves a dictionary or its thresholds.

use std::path::Path;

use super::report::Texts;
use crate::cli::score::{Case, Words, score};
use crate::speech::Hypothesis;

/// Which utterances are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Which {
    /// A keyword was said and is not in the text of all layers.
    Misses,
    /// A word of the dictionary is in the text of all layers and was not said.
    Added,
    /// The text of all layers is not the text without a dictionary.
    Changed,
    /// Every utterance that is not written as it was said.
    Errors,
}

/// Lists utterances.
pub(super) struct Shown<'a> {
    /// The number of the text of all layers.
    pub(super) all: usize,
    pub(super) names: &'a [&'static str],
    pub(super) keywords: &'a Words,
    pub(super) every: &'a Words,
}

impl Shown<'_> {
    pub(super) fn wanted(&self, which: Which, texts: &Texts) -> bool {
        let text = |layer: usize| texts.layers.get(layer).map_or("", String::as_str);
        let case = Case { said: &texts.said, heard: text(self.all), off: text(0), terms: &texts.terms };
        let score = score(&case, self.keywords, self.every);
        match which {
            Which::Misses => score.found < score.said,
            Which::Added => score.inserted > 0.0,
            Which::Changed => score.changed > 0.0,
            Which::Errors => score.errors > 0.0,
        }
    }

    pub(super) fn show(&self, distractors: usize, file: &Path, texts: &Texts, second: Option<&Hypothesis>) {
        eprintln!(
            "{} ({}, {distractors} distractors)\n  {:<16}{}",
            file.display(),
            texts.kind.name(),
            "said",
            texts.said
        );
        let off = texts.layers.first();
        for (index, (name, text)) in self.names.iter().zip(&texts.layers).enumerate() {
            if index == 0 || index == self.all || Some(text) != off {
                eprintln!("  {name:<16}{text}");
            }
        }
        if let Some(second) = second {
            eprintln!("  {:<16}{}", "second hearing", second.text);
        }
    }
}

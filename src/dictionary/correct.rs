//! Correction by sound: what was heard becomes the dictionary's spelling of the same morae.
//!
//! A recogniser that does not know a name writes it in katakana as heard, or as another word of the same sound. The text is read into morae
//! (several readings), spans that sound like an entry are found in a trie of all readings, and a span is replaced when it is a name as heard,
//! or when the recogniser itself was unsure. Ordinary words and spellings that the dictionary knows are never replaced.

use super::entry::Entry;
use super::reading::{self, Sound, is_katakana};
use super::second::Told;
use super::settings::Settings;
use super::sounding::{Found, Index};
use super::spelling::{Spelling, Spellings, variants};
use crate::events::Correction;
use crate::speech::Hypothesis;

mod hearing;
mod rules;

use rules::certainty;

/// Longer texts are left as they are (an utterance has at most some hundred characters).
const MAX_CHARS: usize = 1_000;
/// Readings of a text that are searched.
const READINGS: usize = 4;
/// Characters that the recogniser may be sure of at the beginning of a word before one that it is not sure of.
const LONGEST_SURE: usize = 4;
/// A text after correction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrected {
    /// The text to show and store.
    pub text: String,
    /// What was replaced, in order; empty when the text is as recognised.
    pub corrections: Vec<Correction>,
}

/// Finds and replaces; immutable.
#[derive(Debug)]
pub(super) struct Corrector {
    targets: Vec<Target>,
    index: Index,
    spellings: Spellings,
    correct: bool,
    /// Words of a second hearing are taken.
    second: bool,
    below: f32,
    accept: f32,
}

/// One reading of one entry.
#[derive(Debug)]
struct Target {
    surface: String,
    reading: String,
    morae: usize,
    weight: f32,
}

/// A span that may become a target.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    from: usize,
    to: usize,
    target: usize,
    distance: f32,
    score: f32,
}

impl Corrector {
    pub(super) fn new(entries: &[Entry], settings: &Settings) -> Self {
        let mut corrector = Self {
            targets: Vec::new(),
            index: Index::new(settings.correct_distance.clamp(0.0, 0.5)),
            spellings: Spellings::default(),
            correct: settings.correct,
            second: settings.bias || settings.prompt,
            below: settings.correct_below,
            accept: settings.bias_accept_nats,
        };
        for entry in entries {
            corrector.spellings.insert(&entry.surface, Spelling { target: corrector.targets.len(), official: true });
            for (index, reading) in entry.readings.iter().enumerate() {
                let morae = reading::morae(reading);
                let target = corrector.targets.len();
                if index == 0 {
                    for alias in entry.aliases.iter().chain(&variants(&entry.surface, reading)) {
                        corrector.spellings.insert(alias, Spelling { target, official: false });
                    }
                }
                let (surface, reading) = (entry.surface.clone(), reading.clone());
                corrector.targets.push(Target { surface, reading, morae: morae.len(), weight: entry.weight });
                corrector.index.insert(&morae, target);
            }
        }
        corrector
    }

    /// Surfaces that sound like something in `heard`, the likest first.
    pub(super) fn sounding_in(&self, heard: &str) -> Vec<String> {
        let text: Vec<char> = heard.chars().take(MAX_CHARS).collect();
        let mut candidates = self.sounding(&text, READINGS, &|_| true);
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.target.cmp(&b.target)));
        let surface = |candidate: &Candidate| Some(self.targets.get(candidate.target)?.surface.clone());
        candidates.iter().filter_map(surface).collect()
    }

    /// `plain` with the dictionary's spellings; `biased` is what was heard of the same sound with its bias.
    pub(super) fn correct(&self, plain: &Hypothesis, biased: Option<&Hypothesis>) -> Corrected {
        let text: Vec<char> = plain.text.chars().collect();
        let unchanged = || Corrected { text: plain.text.clone(), corrections: Vec::new() };
        if text.is_empty() || text.len() > MAX_CHARS {
            return unchanged();
        }
        let mut candidates = Vec::new();
        if self.correct {
            let sure = certainty(&plain.text, &text, &plain.tokens, plain.confidence);
            let (protected, aliases) = self.known_spellings(&text);
            let open = |at: usize| {
                sure.get(at).is_some_and(|sure| *sure < self.below) || text.get(at).is_some_and(|&c| is_katakana(c))
            };
            candidates = self.sounding(&text, READINGS, &open);
            candidates.retain(|candidate| self.allowed(candidate, &text, &sure, &protected));
            candidates.extend(aliases);
        }
        if let Some(biased) = biased.filter(|_| self.second) {
            candidates.extend(self.by_bias(&Told::of(plain), &Told::of(biased)));
        }
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.from.cmp(&b.from)).then(a.target.cmp(&b.target)));
        let mut chosen: Vec<Candidate> = Vec::new();
        for candidate in candidates {
            if chosen.iter().all(|other| candidate.to <= other.from || other.to <= candidate.from) {
                chosen.push(candidate);
            }
        }
        if chosen.is_empty() {
            return unchanged();
        }
        chosen.sort_by_key(|candidate| candidate.from);
        self.replace(&text, &chosen)
    }

    /// Spans that are already spelt as in the dictionary, and the aliases in the text as candidates.
    fn known_spellings(&self, text: &[char]) -> (Vec<(usize, usize)>, Vec<Candidate>) {
        let (mut protected, mut candidates) = (Vec::new(), Vec::new());
        for (from, to, Spelling { target, official }) in self.spellings.find(text) {
            if official {
                protected.push((from, to));
            } else {
                candidates.push(Candidate { from, to, target, distance: 0.0, score: 1_000.0 + (to - from) as f32 });
            }
        }
        (protected, candidates)
    }

    /// Spans that sound like an entry, in any of the `most` likeliest readings of the text.
    fn sounding(&self, text: &[char], most: usize, open: &dyn Fn(usize) -> bool) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        // a stretch in which nothing may be replaced is not looked at
        let starts = |at: usize| (at..at + LONGEST_SURE).any(open);
        for reading in reading::readings(text, most) {
            let candidate = |Found { target, from, to, distance }: Found| {
                let known = self.targets.get(target)?;
                let (first, last): (&Sound, &Sound) =
                    (reading.sounds.get(from)?, reading.sounds.get(to.checked_sub(1)?)?);
                let score = known.morae as f32 - 3.0 * distance + 0.1 * known.weight;
                (last.last && first.from < last.to).then_some(Candidate {
                    from: first.from,
                    to: last.to,
                    target,
                    distance,
                    score,
                })
            };
            candidates.extend(self.index.search(&reading.sounds, &starts).into_iter().filter_map(candidate));
        }
        candidates
    }

    fn replace(&self, text: &[char], chosen: &[Candidate]) -> Corrected {
        let mut corrected = Corrected::default();
        let (mut done, mut length) = (0, 0);
        for candidate in chosen {
            let (Some(before), Some(span)) = (text.get(done..candidate.from), text.get(candidate.from..candidate.to))
            else {
                continue;
            };
            let Some(target) = self.targets.get(candidate.target) else { continue };
            corrected.text.extend(before);
            corrected.text.push_str(&target.surface);
            let start = length + before.len();
            length = start + target.surface.chars().count();
            done = candidate.to;
            corrected.corrections.push(Correction {
                start,
                end: length,
                from: span.iter().collect(),
                to: target.surface.clone(),
                reading: target.reading.clone(),
                distance: candidate.distance,
            });
        }
        corrected.text.extend(text.get(done..).unwrap_or_default());
        corrected
    }
}

#[cfg(test)]
mod tests;

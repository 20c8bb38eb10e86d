//! The prompt layer: a sentence with a few words, as if the recogniser had heard them just before.
//!
//! Whisper writes words that it was prompted with more readily, but a long list is transcribed as if it had been spoken. So it is off by
//! default, holds few words, and those are chosen: words with a weight above 1, and words that sound like something in what was heard before.

use std::sync::Arc;

use super::bias::TrieBias;
use super::correct::Corrector;
use super::entry::Entry;
use crate::speech::{Bias, Given, Vocabulary};

/// Most words of a prompt.
const MOST_TERMS: usize = 30;
/// Most characters of all its words.
const MOST_CHARS: usize = 100;

/// The prompt of what was `heard`; empty when there is no word for it.
pub(super) fn sentence(entries: &[Entry], corrector: &Corrector, heard: &str) -> String {
    let terms = choose(entries, corrector, heard);
    if terms.is_empty() { String::new() } else { format!("{}の件です。", terms.join("、")) }
}

/// The surfaces to prompt with: first the heavy words, then those that sound like something in `heard`, the likest first.
fn choose(entries: &[Entry], corrector: &Corrector, heard: &str) -> Vec<String> {
    let mut heavy: Vec<&Entry> = entries.iter().filter(|entry| entry.weight > 1.0).collect();
    heavy.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let candidates = heavy.into_iter().map(|entry| entry.surface.clone()).chain(corrector.sounding_in(heard));
    let (mut chosen, mut chars) = (Vec::<String>::new(), 0);
    for surface in candidates {
        let length = surface.chars().count();
        if chosen.len() < MOST_TERMS && chars + length <= MOST_CHARS && !chosen.contains(&surface) {
            chars += length;
            chosen.push(surface);
        }
    }
    chosen
}

/// A bias with a prompt, or a prompt alone.
pub(super) struct Prompted {
    bias: Option<Arc<TrieBias>>,
    version: String,
    prompt: String,
}

impl Prompted {
    pub(super) fn new(prompt: String, bias: Option<Arc<TrieBias>>, version: &str) -> Self {
        Self { bias, version: version.to_owned(), prompt }
    }
}

impl Bias for Prompted {
    fn version(&self) -> &str {
        &self.version
    }

    fn adjust(&self, vocabulary: &Vocabulary, so_far: &[u8], logits: &mut [f32]) -> Given {
        self.bias.as_ref().map_or_else(Given::default, |bias| bias.adjust(vocabulary, so_far, logits))
    }

    fn prompt(&self) -> &str {
        &self.prompt
    }
}

#[cfg(test)]
mod tests {
    use crate::dictionary::{Dictionary, Entry, Settings};
    use crate::speech::{Given, Vocabulary};

    fn entry(surface: &str, reading: &str, weight: f32) -> Entry {
        Entry {
            surface: surface.into(),
            readings: vec![reading.into()],
            class: String::new(),
            scope: String::new(),
            weight,
            aliases: Vec::new(),
        }
    }

    fn prompt(entries: Vec<Entry>, settings: &Settings, heard: &str) -> String {
        Dictionary::of_entries(entries, settings).help(heard).map_or_else(String::new, |help| help.prompt().to_owned())
    }

    #[test]
    fn heavy_words_and_words_that_sound_like_what_was_heard_are_told() {
        let words = || {
            vec![
                entry("三国本町", "ミクニホンマチ", 1.0),
                entry("住民票", "ジュウミンヒョウ", 1.5),
                entry("瑞光", "ズイコウ", 1.0),
                entry("戸籍謄本", "コセキトウホン", 2.0),
            ]
        };
        let on = Settings { prompt: true, ..Settings::default() };
        assert_eq!(prompt(words(), &on, "ミグニホンマチの図書館"), "戸籍謄本、住民票、三国本町の件です。");
        assert_eq!(prompt(words(), &on, ""), "戸籍謄本、住民票の件です。");
        assert_eq!(prompt(words(), &Settings::default(), "ミクニホンマチ"), "", "off by default");
        assert_eq!(prompt(Vec::new(), &on, "ミクニホンマチ"), "");
        let alone = Settings { bias: false, correct: false, ..on };
        let help = Dictionary::of_entries(words(), &alone).help("").unwrap();
        assert_eq!(help.adjust(&Vocabulary::new(vec![b"a".to_vec()]), b"", &mut [0.0; 4]), Given::default());
    }

    #[test]
    fn a_prompt_is_never_long() {
        let many = (0..500).map(|n| entry(&format!("大阪市立第{n}図書館"), "オオサカシリツトショカン", 1.5)).collect();
        let on = Settings { prompt: true, ..Settings::default() };
        assert!(prompt(many, &on, "").chars().count() < 130);
        let many = (0..500).map(|n| entry(&format!("町{n}"), "マチダ", 1.5)).collect();
        assert_eq!(prompt(many, &on, "").matches('、').count(), 29);
    }
}

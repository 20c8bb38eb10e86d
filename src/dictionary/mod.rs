//! The municipality's own words: preferred while the recogniser decodes (`bias`), put right afterwards by their sound (`correct`).
//!
//! In: CSV files ([`Source`]). Out: a [`Dictionary`], immutable, shared by `Arc` and swapped whole when the files change. Where no bonus was
//! given and no correction was made, the text is the one that the recogniser would have written without a dictionary.

pub mod bias;
pub mod correct;
pub mod entry;
mod heard;
pub mod import;
mod lexicon;
pub mod reading;
pub mod settings;

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use correct::Corrected;
pub use entry::Entry;
pub use import::{ImportError, Source};
pub use settings::Settings;

use crate::speech::{Bias, Hypothesis};

/// A loaded dictionary.
#[derive(Debug)]
pub struct Dictionary {
    version: String,
    settings: Settings,
    entries: Vec<Entry>,
    bias: Option<Arc<bias::TrieBias>>,
    corrector: Option<correct::Corrector>,
    heard: heard::Heard,
}

impl Dictionary {
    /// Loads `sources` in order. 10,000 entries take well under a second.
    ///
    /// # Errors
    /// [`ImportError`] names file, line and column; nothing is loaded then.
    pub fn load(sources: &[Source<'_>], settings: &Settings) -> Result<Self, ImportError> {
        Ok(Self::of_entries(import::import(sources)?, settings))
    }

    /// A dictionary of entries that are already in memory.
    pub fn of_entries(entries: Vec<Entry>, settings: &Settings) -> Self {
        let version = version(&entries, settings);
        let bias = (settings.bias && !entries.is_empty())
            .then(|| Arc::new(bias::TrieBias::new(&entries, settings, version.clone())));
        let corrector = (settings.correct && !entries.is_empty()).then(|| correct::Corrector::new(&entries, settings));
        let heard = heard::Heard::new(&entries);
        Self { version, settings: settings.clone(), entries, bias, corrector, heard }
    }

    /// The content for another process: entries and thresholds, from which [`Dictionary::from_bytes`] makes the same version.
    pub fn to_bytes(&self) -> Vec<u8> {
        let settings = Settings { files: Vec::new(), ..self.settings.clone() };
        serde_json::to_vec(&(settings, &self.entries)).unwrap_or_default()
    }

    /// The dictionary that [`Dictionary::to_bytes`] wrote.
    ///
    /// # Errors
    /// When it was written by another version of this program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let (settings, entries): (Settings, Vec<Entry>) = serde_json::from_slice(bytes)?;
        Ok(Self::of_entries(entries, &settings))
    }

    /// A dictionary without words: it changes nothing and its version is empty.
    pub fn empty() -> Self {
        Self::of_entries(Vec::new(), &Settings::default())
    }

    /// Names the content (entries and thresholds): 16 hexadecimal digits, empty for an empty dictionary.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The entries whose official spelling is in `text`, in order, as often as they are there; the longest at each place.
    pub fn heard_in(&self, text: &str) -> impl Iterator<Item = &Entry> {
        self.heard.find(text).into_iter().filter_map(|index| self.entries.get(index))
    }

    /// The entries in order of the files.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What the recogniser needs; `None` when bias is off or there are no words.
    pub fn bias(&self) -> Option<Arc<dyn Bias>> {
        self.bias.clone().map(|bias| bias as Arc<dyn Bias>)
    }

    /// The hypothesis with the dictionary's spellings. A text without a match comes back identical, with no corrections.
    pub fn correct(&self, hypothesis: &Hypothesis) -> Corrected {
        match &self.corrector {
            Some(corrector) => corrector.correct(hypothesis),
            None => Corrected { text: hypothesis.text.clone(), corrections: Vec::new() },
        }
    }
}

fn version(entries: &[Entry], settings: &Settings) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let mut hash = Sha256::new();
    let tuning = Settings { files: Vec::new(), ..settings.clone() };
    hash.update(format!("{tuning:?}"));
    for entry in entries {
        hash.update(format!("{entry:?}\n"));
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_gets_the_same_version() {
        let bytes = include_bytes!("../../samples/dictionary.csv");
        let settings = Settings { correct_below: 0.7, bias_rise_nats: 1.1, ..Settings::default() };
        let here = Dictionary::load(&[Source { name: "dictionary.csv", bytes }], &settings).unwrap();
        let there = Dictionary::from_bytes(&here.to_bytes()).unwrap();
        assert_eq!((there.version(), there.entries()), (here.version(), here.entries()));
        assert_ne!(here.version(), "");
        assert!(Dictionary::from_bytes(b"[1]").is_err());
    }
}

//! The municipality's own words: preferred while the recogniser decodes (`bias`), put right afterwards by their sound (`correct`).
//!
//! In: files of many formats ([`Source`], `import`) or one compiled from them (`compiled`). Out: a [`Dictionary`], immutable, shared by `Arc`
//! and swapped whole when the files change; `scoped` gives each call the words that apply to it. A text is what the recogniser writes without a
//! dictionary, with the words that were found by their sound or heard a second time with the bias (`second`).

pub mod bias;
pub(crate) mod changes;
pub mod check;
pub mod compiled;
pub mod correct;
pub mod entry;
pub mod export;
mod heard;
pub mod import;
mod lexicon;
mod phones;
mod prompt;
pub mod proposals;
pub mod reading;
pub mod report;
mod scoped;
mod second;
pub mod settings;
mod sounding;
mod spelling;
mod trie;

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

pub use correct::Corrected;
pub use entry::Entry;
pub use import::{Format, How, ImportError, Imported, Source};
pub use scoped::MOST_VIEWS;
pub use second::{heard_twice, second_hearing};
pub use settings::Settings;

use crate::call::scope::Scopes;
use crate::speech::{Bias, Hypothesis};
use compiled::CompiledError;
use scoped::Views;

/// A loaded dictionary. What it needs for decoding and for correcting is made when it is first asked for: a worker corrects nothing, the bridge
/// decodes nothing.
#[derive(Debug)]
pub struct Dictionary {
    version: String,
    settings: Settings,
    entries: Vec<Entry>,
    bias: OnceLock<Option<Arc<bias::TrieBias>>>,
    corrector: OnceLock<Option<correct::Corrector>>,
    heard: OnceLock<heard::Heard>,
    views: Views,
}

impl Dictionary {
    /// Loads `sources` in order, each found by its content. 10,000 entries take well under a second.
    ///
    /// # Errors
    /// [`ImportError`] names file, line and column; nothing is loaded then.
    pub fn load(sources: &[Source<'_>], settings: &Settings) -> Result<Self, ImportError> {
        Ok(Self::of_entries(import::import(sources)?, settings).ready())
    }

    /// A dictionary of entries that are already in memory.
    pub fn of_entries(entries: Vec<Entry>, settings: &Settings) -> Self {
        let version = version(&entries, settings);
        Self::with_version(entries, settings, version)
    }

    fn with_version(entries: Vec<Entry>, settings: &Settings, version: String) -> Self {
        Self {
            version,
            settings: settings.clone(),
            entries,
            bias: OnceLock::new(),
            corrector: OnceLock::new(),
            heard: OnceLock::new(),
            views: Views::default(),
        }
    }

    /// Makes what corrections need now, so that the first call does not wait for it.
    #[must_use]
    pub fn ready(self) -> Self {
        for dictionary in self.views.all().chain([&self]) {
            dictionary.corrector();
            dictionary.heard();
        }
        self
    }

    /// The content for another process: entries, thresholds and what the calls are, from which [`Dictionary::from_bytes`] makes the same
    /// versions.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = serde_json::to_vec(&(self.settings.tuning(), self.calls())).unwrap_or_default();
        let length = u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes();
        [length.as_slice(), &head, &compiled::write(&self.entries)].concat()
    }

    /// The dictionary that [`Dictionary::to_bytes`] wrote.
    ///
    /// # Errors
    /// When it was written by another version of this program, or is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CompiledError> {
        let head = || {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let (head, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            Some((serde_json::from_slice::<(Settings, Vec<Scopes>)>(head).ok()?, rest))
        };
        let ((settings, calls), entries) = head().ok_or(CompiledError::Foreign)?;
        Ok(Self::of_entries(compiled::read(entries)?, &settings).prepared(&calls))
    }

    /// A dictionary without words: it changes nothing and its version is empty.
    pub fn empty() -> Self {
        Self::of_entries(Vec::new(), &Settings::default())
    }

    /// Names the content (entries and thresholds): 16 hexadecimal digits, with 8 more for the words of certain calls; empty for an empty
    /// dictionary.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The entries whose official spelling is in `text`, in order, as often as they are there; the longest at each place.
    pub fn heard_in(&self, text: &str) -> impl Iterator<Item = &Entry> {
        self.heard().find(text).into_iter().filter_map(|index| self.entries.get(index))
    }

    /// The entries in order of the files.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What the recogniser needs; `None` when bias is off or there are no words.
    pub fn bias(&self) -> Option<Arc<dyn Bias>> {
        self.trie().map(|bias| bias as Arc<dyn Bias>)
    }

    /// The hypothesis with the dictionary's spellings. A text without a match comes back identical, with no corrections. The words of a second
    /// hearing beside it are taken where the recogniser itself finds them about as likely as what it wrote without the bias.
    pub fn correct(&self, hypothesis: &Hypothesis) -> Corrected {
        match self.corrector() {
            Some(corrector) => corrector.correct(hypothesis, hypothesis.biased.as_deref()),
            None => Corrected { text: hypothesis.text.clone(), corrections: Vec::new() },
        }
    }

    fn trie(&self) -> Option<Arc<bias::TrieBias>> {
        let wanted = self.settings.bias && !self.entries.is_empty();
        let make = || Arc::new(bias::TrieBias::new(&self.entries, &self.settings, self.version.clone()));
        self.bias.get_or_init(|| wanted.then(make)).clone()
    }

    fn corrector(&self) -> Option<&correct::Corrector> {
        // what the bias found is put into the text by the corrector too, and words for the prompt are found by it
        let wanted = self.settings.correct || self.settings.bias || self.settings.prompt;
        let make = || correct::Corrector::new(&self.entries, &self.settings);
        self.corrector.get_or_init(|| (wanted && !self.entries.is_empty()).then(make)).as_ref()
    }

    fn heard(&self) -> &heard::Heard {
        self.heard.get_or_init(|| heard::Heard::new(&self.entries))
    }
}

fn version(entries: &[Entry], settings: &Settings) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let mut text = format!("{:?}", settings.tuning());
    for entry in entries {
        let _ = writeln!(text, "{entry:?}");
    }
    digest(&text, 8)
}

/// The first `bytes` bytes of the SHA-256 of a text, in hexadecimal digits.
fn digest(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_can_be_read_by_another_process() {
        let rows = [
            "surface,reading,scope".to_owned(),
            "梅田,ウメダ,ward:北区､ward:旭区；代表".to_owned(),
            format!("長,{},", "㌔".repeat(entry::MAX_CHARS / 2)),
        ];
        let load =
            |text: &str| Dictionary::load(&[Source { name: "w.csv", bytes: text.as_bytes() }], &Settings::default());
        let here = load(&rows.join("\n")).unwrap();
        assert_eq!(Dictionary::from_bytes(&here.to_bytes()).unwrap().version(), here.version());
        let error = load(&format!("surface,reading\n長,{}\n", "㌔".repeat(entry::MAX_CHARS))).unwrap_err().to_string();
        assert!(error.contains("line 2, column reading: longer than 100 characters"), "{error}");
    }

    #[test]
    fn settings_that_another_process_could_not_read_are_refused() {
        assert_eq!(Settings::default().check(), Ok(()));
        let endless = Settings { bias_cap_nats: f32::INFINITY, ..Settings::default() };
        assert_eq!(endless.check().unwrap_err().0, "[dictionary] bias_cap_nats");
        let class = settings::SourceSettings { class: "長".repeat(entry::MAX_CHARS + 1), ..Default::default() };
        assert_eq!(class.how().unwrap_err().0, "class");
    }

    #[test]
    fn another_process_gets_the_same_version() {
        let bytes = include_bytes!("../../samples/dictionary.csv");
        let settings = Settings { correct_below: 0.7, bias_rise_nats: 1.1, ..Settings::default() };
        let here = Dictionary::load(&[Source { name: "dictionary.csv", bytes }], &settings).unwrap();
        let there = Dictionary::from_bytes(&here.to_bytes()).unwrap();
        assert_eq!((there.version(), there.entries()), (here.version(), here.entries()));
        assert_ne!(here.version(), "");
        assert!(Dictionary::from_bytes(b"[1]").is_err());
        let mut damaged = here.to_bytes();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(matches!(Dictionary::from_bytes(&damaged), Err(CompiledError::Damaged { .. })));
    }
}

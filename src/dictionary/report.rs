//! What a dictionary did in real calls, from their texts: words without effect, words that were probably written where they were not said, and
//! names that should be in it.
//!
//! The rules use only what a text carries. A correction is weak when the recogniser was unsure of the utterance and what it had written does not
//! sound exactly like the word (by the correction's distance; by what stood there, where the word came from a second hearing); what the
//! recogniser wrote by itself never is. One weak place proves nothing; a word whose places are mostly weak should be looked
//! at.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::Dictionary;
use super::entry::Entry;
use super::lexicon;
use super::proposals::{Misheard, Proposals};
use super::reading::{self, Mora, is_katakana};
use crate::events::{Correction, TranscriptCorrected, TranscriptFinal};

/// Below this confidence of its utterance an inexact correction is weak.
const UNSURE: f32 = 0.6;
/// Weak places of a word from which on it is told, when they are at least half of all.
const WEAK: u64 = 2;
/// Fewest morae of a name that could be missing.
const MORAE: usize = 3;
/// Most candidates that are counted; further ones are not.
const MOST_CANDIDATES: usize = 100_000;
/// Readings of what stood in place of a word.
const READINGS: usize = 4;
/// Most examples of what stood in place of a word.
const EXAMPLES: usize = 3;

/// Collects texts.
#[derive(Debug)]
pub struct Report<'d> {
    dictionary: &'d Dictionary,
    texts: u64,
    contacts: HashSet<String>,
    versions: BTreeMap<String, u64>,
    words: HashMap<String, Word>,
    candidates: HashMap<String, Candidate>,
    proposals: Proposals<'d>,
    /// What the dictionary has already, by sound.
    sounds: HashSet<Vec<Mora>>,
}

#[derive(Debug, Default)]
struct Word {
    written: u64,
    corrected: u64,
    weak: u64,
    instead: Vec<String>,
}

#[derive(Debug, Default)]
struct Candidate {
    times: u64,
    contacts: HashSet<String>,
    confidence: f64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Texts that were looked at.
    pub texts: u64,
    /// Of so many contacts.
    pub contacts: u64,
    /// Texts by version of the dictionary that they were made with; empty for none.
    pub versions: BTreeMap<String, u64>,
    /// Words that are in no text and put nothing right, in order of the files.
    pub without_effect: Vec<String>,
    /// Words that were probably written where they were not said, the most doubtful first.
    pub doubtful: Vec<Doubtful>,
    /// Names in katakana that no word of the dictionary sounds like, those of most contacts first.
    pub candidates: Vec<Missing>,
    /// What people put right: what was heard and what it should be, those of most contacts first.
    pub misheard: Vec<Misheard>,
}

/// A word that was probably written where it was not said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Doubtful {
    /// The word.
    pub surface: String,
    /// How often it is in the texts.
    pub written: u64,
    /// Of these, by a correction.
    pub corrected: u64,
    /// Of these, with weak evidence.
    pub weak: u64,
    /// What the recogniser had written instead.
    pub instead: Vec<String>,
}

/// A name that should perhaps be in the dictionary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Missing {
    /// As it was heard.
    pub heard: String,
    /// How often.
    pub times: u64,
    /// In how many contacts.
    pub contacts: u64,
    /// Mean confidence of the utterances, 0–1.
    pub confidence: f64,
}

impl<'d> Report<'d> {
    /// For the texts that were made with `dictionary` or an earlier version of it.
    pub fn new(dictionary: &'d Dictionary) -> Self {
        let readings =
            dictionary.entries().iter().flat_map(|entry: &Entry| entry.readings.iter().chain([&entry.surface]));
        Self {
            dictionary,
            texts: 0,
            contacts: HashSet::new(),
            versions: BTreeMap::new(),
            words: HashMap::new(),
            candidates: HashMap::new(),
            proposals: Proposals::new(dictionary),
            sounds: readings.map(|kana| reading::morae(kana)).filter(|morae| !morae.is_empty()).collect(),
        }
    }

    /// Takes one text of a contact.
    pub fn add(&mut self, contact: &str, text: &TranscriptFinal) {
        self.texts += 1;
        self.contacts.insert(contact.to_owned());
        *self.versions.entry(text.dictionary.clone()).or_default() += 1;
        let dictionary = self.dictionary;
        let corrected: Vec<(usize, usize)> = text.corrections.iter().map(|one| (one.start, one.end)).collect();
        for correction in &text.corrections {
            let word = self.words.entry(correction.to.clone()).or_default();
            word.written += 1;
            word.corrected += 1;
            if text.confidence < UNSURE && (correction.distance > 0.0 || !sounds_like(correction)) {
                word.weak += 1;
                if word.instead.len() < EXAMPLES && !word.instead.contains(&correction.from) {
                    word.instead.push(correction.from.clone());
                }
            }
        }
        let plain = without(&text.text, &corrected);
        for entry in dictionary.heard_in(&plain) {
            self.words.entry(entry.surface.clone()).or_default().written += 1;
        }
        self.names(contact, &plain, text.confidence);
    }

    /// Takes one correction of a contact.
    pub fn add_corrected(&mut self, contact: &str, text: &TranscriptCorrected) {
        self.proposals.add(contact, text);
    }

    /// Counts runs of katakana that are no ordinary word and that the dictionary does not know.
    fn names(&mut self, contact: &str, text: &str, confidence: f32) {
        for run in text.split(|c| !is_katakana(c)).filter(|run| !run.is_empty()) {
            let morae = reading::morae(run);
            if morae.len() < MORAE || lexicon::is_common(run) || self.sounds.contains(&morae) {
                continue;
            }
            if self.candidates.len() >= MOST_CANDIDATES && !self.candidates.contains_key(run) {
                continue;
            }
            let candidate = self.candidates.entry(run.to_owned()).or_default();
            candidate.times += 1;
            candidate.confidence += f64::from(confidence);
            candidate.contacts.insert(contact.to_owned());
        }
    }

    /// What was found; a missing name must be in at least `contacts` contacts.
    pub fn finish(self, contacts: u64) -> Summary {
        let mut known = HashSet::new();
        let surfaces = self.dictionary.entries().iter().map(|entry| &entry.surface);
        let silent = surfaces.filter(|surface| !self.words.contains_key(*surface) && known.insert((*surface).clone()));
        let without_effect = silent.cloned().collect();
        let doubt = |(surface, word): (String, Word)| Doubtful {
            surface,
            written: word.written,
            corrected: word.corrected,
            weak: word.weak,
            instead: word.instead,
        };
        let weak = |word: &Doubtful| word.weak >= WEAK && word.weak * 2 >= word.written;
        let mut doubtful: Vec<Doubtful> = self.words.into_iter().map(doubt).filter(weak).collect();
        doubtful.sort_by(|a, b| b.weak.cmp(&a.weak).then_with(|| a.surface.cmp(&b.surface)));
        let missing = |(heard, candidate): (String, Candidate)| Missing {
            heard,
            times: candidate.times,
            contacts: candidate.contacts.len() as u64,
            confidence: candidate.confidence / candidate.times.max(1) as f64,
        };
        let mut candidates: Vec<Missing> = self.candidates.into_iter().map(missing).collect();
        candidates.retain(|missing| missing.contacts >= contacts);
        candidates.sort_by(|a, b| (b.contacts, b.times, &a.heard).cmp(&(a.contacts, a.times, &b.heard)));
        let (contacts, misheard) = (self.contacts.len() as u64, self.proposals.finish());
        Summary { texts: self.texts, contacts, versions: self.versions, without_effect, doubtful, candidates, misheard }
    }
}

/// Whether what stood there can be read as the word is.
fn sounds_like(correction: &Correction) -> bool {
    let word = reading::morae(&correction.reading);
    let written: Vec<char> = correction.from.chars().collect();
    let same = |read: reading::Reading| read.sounds.iter().map(|sound| sound.mora).eq(word.iter().copied());
    reading::readings(&written, READINGS).into_iter().any(same)
}

/// A text with `spans` (in characters) taken out; what stands on both sides of one does not become a word.
fn without(text: &str, spans: &[(usize, usize)]) -> String {
    let kept = |at: usize| !spans.iter().any(|(start, end)| (*start..*end).contains(&at));
    text.chars().enumerate().map(|(at, c)| if kept(at) { c } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, Source};
    use super::*;
    use crate::call::LegId;
    use crate::pbx::Speaker;
    use crate::time::Wall;

    fn dictionary() -> Dictionary {
        let bytes = "surface,reading\n瑞光,ズイコウ\n三国,ミクニ\n出戸,デト\n立売堀,イタチボリ\n".as_bytes();
        Dictionary::load(&[Source { name: "words.csv", bytes }], &Settings::default()).unwrap()
    }

    fn said(text: &str, confidence: f32, corrections: &[(&str, &str, f32)]) -> TranscriptFinal {
        let correction = |(from, to, distance): &(&str, &str, f32)| {
            let start = text.find(to).map_or(0, |at| text[..at].chars().count());
            let end = start + to.chars().count();
            let reading = match *to {
                "瑞光" => "ズイコウ",
                "出戸" => "デト",
                _ => "ミクニ",
            };
            let (from, to) = ((*from).to_owned(), (*to).to_owned());
            Correction { start, end, from, to, reading: reading.into(), distance: *distance }
        };
        TranscriptFinal {
            leg: LegId(uuid::Uuid::nil()),
            utterance: String::new(),
            speaker: Speaker::Caller,
            start: Wall(0),
            end: Wall(0),
            start_ms: 0,
            end_ms: 0,
            text: text.into(),
            text_raw: String::new(),
            corrections: corrections.iter().map(correction).collect(),
            confidence,
            gaps: Vec::new(),
            model: String::new(),
            dictionary: "v1".into(),
            caught_up: false,
        }
    }

    #[test]
    fn words_without_effect_doubtful_words_and_missing_names_are_told() {
        let dictionary = dictionary();
        let mut report = Report::new(&dictionary);
        report.add("a", &said("瑞光に住むタカハタです", 0.9, &[("ズイコー", "瑞光", 0.0)]));
        report.add("b", &said("タカハタの三国です", 0.8, &[]));
        report.add("b", &said("出戸のバスです", 0.5, &[("ゲト", "出戸", 0.4)]));
        report.add("c", &said("出戸", 0.3, &[("デコ", "出戸", 0.8)]));
        let found = report.finish(2);
        assert_eq!((found.texts, found.contacts, found.versions["v1"]), (4, 3, 4));
        assert_eq!(found.without_effect, ["立売堀"]);
        let doubtful: Vec<_> =
            found.doubtful.iter().map(|word| (word.surface.as_str(), word.weak, word.written)).collect();
        assert_eq!(doubtful, [("出戸", 2, 2)]);
        assert_eq!(found.doubtful[0].instead, ["ゲト", "デコ"]);
        let missing: Vec<_> = found.candidates.iter().map(|name| (name.heard.as_str(), name.contacts)).collect();
        assert_eq!(missing, [("タカハタ", 2)], "バス is an ordinary word");
    }

    #[test]
    fn a_word_of_a_second_hearing_is_doubted_where_something_else_was_written() {
        let dictionary = dictionary();
        let mut report = Report::new(&dictionary);
        for confidence in [0.3, 0.4, 0.9] {
            report.add("a", &said("三国です", confidence, &[("北に", "三国", 0.0)]));
            report.add("b", &said("瑞光です", confidence, &[("ズイコー", "瑞光", 0.0)]));
        }
        let found = report.finish(1);
        let doubtful: Vec<_> = found.doubtful.iter().map(|word| (word.surface.as_str(), word.weak)).collect();
        assert_eq!(doubtful, [("三国", 2)]);
    }

    #[test]
    fn a_word_with_good_evidence_is_not_doubted_for_one_bad_place() {
        let dictionary = dictionary();
        let mut report = Report::new(&dictionary);
        for confidence in [0.9, 0.9, 0.2] {
            report.add("a", &said("三国です", confidence, &[]));
        }
        report.add("b", &said("ズイコウ", 0.9, &[]));
        let found = report.finish(1);
        assert!(found.doubtful.is_empty());
        assert!(found.candidates.is_empty(), "the dictionary knows that sound");
    }
}

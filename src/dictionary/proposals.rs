//! What the corrections of people say about the words: what was heard where a word should stand, as an alias to be approved, and spellings that the
//! dictionary has not got.
//!
//! Only what stood in the final counts, against what stands there after the last correction: a slip of the pen in between says nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use serde::Serialize;

use super::changes::{Change, changes};
use super::entry::Entry;
use super::reading::is_katakana;
use super::{Dictionary, lexicon};
use crate::events::TranscriptCorrected;

/// Fewest and most characters of what was heard, and of what it should be.
const LENGTH: std::ops::RangeInclusive<usize> = 2..=20;
/// Most utterances that are kept; further ones are not looked at.
const MOST: usize = 100_000;

/// Collects corrections.
#[derive(Debug)]
pub(super) struct Proposals<'d> {
    dictionary: &'d Dictionary,
    /// By contact and utterance: its final, and its text now.
    texts: HashMap<(String, String), (String, String, u32)>,
}

/// What was heard in place of what people wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misheard {
    /// As it was recognised.
    pub heard: String,
    /// As people wrote it.
    pub written: String,
    /// `written` is a word of the dictionary: `heard` may become an alias (誤認識) of it. Otherwise it is perhaps a word to be registered.
    pub word: bool,
    /// `heard` is an ordinary word: as an alias it would be replaced wherever it is said.
    pub common: bool,
    /// How often.
    pub times: u64,
    /// In how many contacts.
    pub contacts: u64,
}

impl<'d> Proposals<'d> {
    pub(super) fn new(dictionary: &'d Dictionary) -> Self {
        Self { dictionary, texts: HashMap::new() }
    }

    /// Takes one correction; in the order of their revisions.
    pub(super) fn add(&mut self, contact: &str, text: &TranscriptCorrected) {
        let key = (contact.to_owned(), text.utterance.clone());
        let full = self.texts.len() >= MOST;
        match self.texts.get_mut(&key) {
            Some((_, now, revision)) if *revision < text.revision => {
                (*now, *revision) = (text.text.clone(), text.revision);
            }
            Some(_) => {}
            None if full => {}
            None => _ = self.texts.insert(key, (text.before.clone(), text.text.clone(), text.revision)),
        }
    }

    /// What was misheard, what is in most contacts first.
    pub(super) fn finish(self) -> Vec<Misheard> {
        let known = Known::of(self.dictionary);
        let mut found: HashMap<(String, String, bool), (u64, HashSet<&str>)> = HashMap::new();
        for ((contact, _), (heard, now, _)) in &self.texts {
            for pair in misheard(self.dictionary, &known, heard, now) {
                let (times, contacts) = found.entry(pair).or_default();
                *times += 1;
                contacts.insert(contact);
            }
        }
        let told = |((heard, written, word), (times, contacts)): ((String, String, bool), (u64, HashSet<&str>))| {
            let common = word && lexicon::is_common(&heard);
            Misheard { heard, written, word, common, times, contacts: contacts.len() as u64 }
        };
        let mut all: Vec<Misheard> = found.into_iter().map(told).collect();
        all.sort_by(|a, b| {
            (b.contacts, b.times, &a.written, &a.heard).cmp(&(a.contacts, a.times, &b.written, &b.heard))
        });
        all
    }
}

/// Rows of our CSV that give words of the dictionary what was misheard as aliases, to be looked through: the word with everything that it has, and
/// the new alias. Ordinary words are left out.
pub fn rows(dictionary: &Dictionary, misheard: &[Misheard]) -> Vec<Entry> {
    let mut rows = Vec::new();
    for entry in dictionary.entries() {
        let own = misheard.iter().filter(|one| one.word && !one.common && one.written == entry.surface);
        let aliases: Vec<String> = own.map(|one| one.heard.clone()).collect();
        if !aliases.is_empty() {
            rows.push(Entry { aliases, ..entry.clone() });
        }
    }
    rows
}

/// Spellings that the dictionary has.
struct Known<'d> {
    surfaces: HashSet<&'d str>,
    aliases: HashSet<(&'d str, &'d str)>,
}

impl<'d> Known<'d> {
    fn of(dictionary: &'d Dictionary) -> Self {
        let entries = dictionary.entries();
        let aliases = entries.iter().flat_map(|entry| entry.aliases.iter().map(|alias| (&**alias, &*entry.surface)));
        Self { surfaces: entries.iter().map(|entry| &*entry.surface).collect(), aliases: aliases.collect() }
    }
}

/// What was heard for what, and whether that is a word of the dictionary.
fn misheard(dictionary: &Dictionary, known: &Known<'_>, heard: &str, now: &str) -> BTreeSet<(String, String, bool)> {
    let (heard, signs): (Vec<char>, Vec<char>) = (heard.chars().collect(), now.chars().collect());
    let changes = changes(&heard, &signs);
    let words = places(dictionary, now, &signs);
    let mut found = BTreeSet::new();
    for change in &changes {
        let word = words.iter().find(|word| word.start <= change.to.start && change.to.end <= word.end);
        let place = match word {
            Some(word) => word.clone(),
            // what goes beyond a word cannot be told apart
            None if words.iter().any(|word| word.start < change.to.end && change.to.start < word.end) => continue,
            None => widened(&signs, change),
        };
        let from = place_before(&changes, &place);
        let text =
            |signs: &[char], range: Range<usize>| signs.get(range).unwrap_or_default().iter().collect::<String>();
        let (from, to) = (text(&heard, from), text(&signs, place));
        let is_new = !known.surfaces.contains(&*from) && !known.aliases.contains(&(&*from, &*to));
        if is_new && is_word(&from) && is_word(&to) {
            found.insert((from, to, word.is_some()));
        }
    }
    found
}

/// Where words of the dictionary are in a text.
fn places(dictionary: &Dictionary, text: &str, signs: &[char]) -> Vec<Range<usize>> {
    let (mut all, mut at) = (Vec::new(), 0);
    for entry in dictionary.heard_in(text) {
        let surface: Vec<char> = entry.surface.chars().collect();
        let rest = signs.get(at..).unwrap_or_default();
        let Some(start) = rest.windows(surface.len().max(1)).position(|window| window == surface) else { continue };
        all.push(at + start..at + start + surface.len());
        at += start + surface.len();
    }
    all
}

/// The changed part of a text with the kanji and katakana on both sides of it: 三国 became ミグニ, not 三 became 御.
fn widened(signs: &[char], change: &Change) -> Range<usize> {
    let joins = |sign: &&char| is_katakana(**sign) || matches!(**sign, '\u{3400}'..='\u{9fff}' | '々' | 'ヶ');
    let before = signs.get(..change.to.start).unwrap_or_default().iter().rev().take_while(joins).count();
    let after = signs.get(change.to.end..).unwrap_or_default().iter().take_while(joins).count();
    change.to.start - before..change.to.end + after
}

/// Where what stands in a place of the new text stood before.
fn place_before(changes: &[Change], place: &Range<usize>) -> Range<usize> {
    let at = |to: usize, behind: bool| {
        let mut shift = 0_isize;
        for change in changes {
            let inside = change.to.start < to && to < change.to.end;
            let begins = change.to.start == to && behind && change.to.is_empty();
            if inside {
                return if behind { change.from.end } else { change.from.start };
            }
            if change.to.end < to || (change.to.end == to && (behind || change.to.start < to)) || begins {
                shift += change.from.len() as isize - change.to.len() as isize;
            }
        }
        to.saturating_add_signed(shift)
    };
    at(place.start, false)..at(place.end, true)
}

/// Whether a text may be a word: not too short or long, no digits, stars, punctuation or spaces.
fn is_word(text: &str) -> bool {
    LENGTH.contains(&text.chars().count())
        && text.chars().all(|c| c.is_alphabetic() || matches!(c, 'ー' | '々' | 'ヶ' | '・'))
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, Source};
    use super::*;
    use crate::call::LegId;
    use crate::pbx::Speaker;
    use crate::time::Wall;

    const WORDS: &str = "surface,reading,scope,aliases\n瑞光,ズイコウ,,スイコ\n三国,ミクニ,ward:北区,\n出戸,デト,,\n";

    fn dictionary() -> Dictionary {
        Dictionary::load(&[Source { name: "words.csv", bytes: WORDS.as_bytes() }], &Settings::default()).unwrap()
    }

    fn corrected(utterance: &str, revision: u32, before: &str, text: &str) -> TranscriptCorrected {
        TranscriptCorrected {
            leg: LegId(uuid::Uuid::nil()),
            utterance: utterance.into(),
            revision,
            speaker: Speaker::Caller,
            start: Wall(0),
            before: before.into(),
            text: text.into(),
            from: "panel".into(),
            agent: None,
        }
    }

    fn found(pairs: &[(&str, &str)]) -> Vec<(String, String, bool)> {
        let dictionary = dictionary();
        let mut proposals = Proposals::new(&dictionary);
        for (n, (before, text)) in pairs.iter().enumerate() {
            proposals.add("a", &corrected(&n.to_string(), 1, before, text));
        }
        let mut all: Vec<_> = proposals.finish().into_iter().map(|one| (one.heard, one.written, one.word)).collect();
        all.sort();
        all
    }

    fn pair(heard: &str, written: &str, word: bool) -> (String, String, bool) {
        (heard.into(), written.into(), word)
    }

    #[test]
    fn what_stood_where_a_word_should_is_an_alias_of_it() {
        assert_eq!(found(&[("随行行きのバス", "瑞光行きのバス")]), [pair("随行", "瑞光", true)]);
        assert_eq!(found(&[("御国です", "三国です")]), [pair("御国", "三国", true)], "not 御 alone");
        assert_eq!(found(&[("ゲト駅の前", "出戸駅の前")]), [pair("ゲト", "出戸", true)]);
        assert_eq!(
            found(&[("ミグニからずいこへ", "三国から瑞光へ")]),
            [pair("ずいこ", "瑞光", true), pair("ミグニ", "三国", true)]
        );
        assert_eq!(found(&[("スイコへ行く", "瑞光へ行く")]), [], "it is an alias already");
        assert_eq!(found(&[("三国へ行く", "出戸へ行く")]), [], "an official spelling is no alias");
    }

    #[test]
    fn other_spellings_are_told_as_words_to_be_registered() {
        assert_eq!(found(&[("高畑さんですか", "高幡さんですか")]), [pair("高畑", "高幡", false)]);
        assert_eq!(found(&[("はいそうです", "はい、そうです"), ("1234です", "****です"), ("あ", "い")]), []);
        let (heard, said) = ("あ".repeat(30), "い".repeat(30));
        assert_eq!(found(&[(&heard, &said)]), [], "a new sentence is no word");
    }

    #[test]
    fn the_final_is_compared_with_the_last_correction_and_contacts_are_counted() {
        let dictionary = dictionary();
        let mut proposals = Proposals::new(&dictionary);
        proposals.add("a", &corrected("1", 1, "ミグニです", "山国です"));
        proposals.add("a", &corrected("1", 2, "山国です", "三国です"));
        proposals.add("b", &corrected("1", 1, "ミグニです", "三国です"));
        proposals.add("b", &corrected("2", 1, "電話です", "出戸です"));
        let all = proposals.finish();
        let told: Vec<_> = all.iter().map(|one| (one.heard.as_str(), one.times, one.contacts, one.common)).collect();
        assert_eq!(told, [("ミグニ", 2, 2, false), ("電話", 1, 1, true)]);
        let rows = rows(&dictionary, &all);
        assert_eq!(rows.len(), 1, "an ordinary word is no row");
        assert_eq!((rows[0].surface.as_str(), rows[0].scope.as_str()), ("三国", "ward:北区"));
        assert_eq!(rows[0].aliases, ["ミグニ"]);
    }
}

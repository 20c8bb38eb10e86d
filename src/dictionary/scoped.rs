//! Which words apply to which calls: one dictionary for each choice of scopes that calls can have, made when the dictionary is loaded.
//!
//! A word applies everywhere or in its scopes. Lines that choose the same words share one dictionary; a dictionary without scopes needs none
//! besides itself, so that a step of the decoder costs the same with scopes as without.

use std::collections::HashMap;

use super::Dictionary;
use super::entry::Entry;
use crate::call::scope::Scopes;

/// Most dictionaries beside the whole one; calls with further choices get the words that apply everywhere.
pub const MOST_VIEWS: usize = 64;

/// The parts of a dictionary that apply to calls.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// The scopes that words have, each once; nothing when every word applies everywhere.
    kinds: Vec<(String, Scopes)>,
    /// What the calls are that were prepared for.
    calls: Vec<Scopes>,
    /// By the kinds that are chosen; that of no kind is always there when there are kinds.
    made: Vec<(Vec<bool>, Dictionary)>,
    /// Where the part of each prepared call is, so that most calls need no comparison.
    by_call: HashMap<Scopes, usize>,
    /// Calls that were not prepared for because there were too many choices.
    beyond: usize,
}

impl Views {
    /// For words of `entries`.
    pub(super) fn new(entries: &[Entry]) -> Self {
        let mut known: HashMap<&str, Scopes> = HashMap::new();
        let mut kinds = Vec::new();
        for entry in entries.iter().filter(|entry| !entry.scope.is_empty()) {
            if !known.contains_key(entry.scope.as_str()) {
                // an entry comes with scopes that were read before
                let scopes = Scopes::parse(&entry.scope).unwrap_or_default();
                known.insert(&entry.scope, scopes.clone());
                kinds.push((entry.scope.clone(), scopes));
            }
        }
        Self { kinds, ..Self::default() }
    }

    fn choice(&self, call: &Scopes) -> Vec<bool> {
        self.kinds.iter().map(|(_, scopes)| scopes.apply_to(call)).collect()
    }

    /// The dictionary for a call; `None` when it is the whole one.
    pub(super) fn of(&self, call: &Scopes) -> Option<&Dictionary> {
        if self.kinds.is_empty() {
            return None;
        }
        let known = self.by_call.get(call).and_then(|at| self.made.get(*at));
        let made = known.or_else(|| {
            let choice = self.choice(call);
            self.made.iter().find(|(own, _)| *own == choice)
        });
        made.or_else(|| self.made.first()).map(|(_, dictionary)| dictionary)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Dictionary> {
        self.made.iter().map(|(_, dictionary)| dictionary)
    }
}

impl Dictionary {
    /// Makes the parts that apply to `calls`, so that [`Dictionary::on`] finds them. Calls beyond [`MOST_VIEWS`] choices get the words that
    /// apply everywhere; [`Dictionary::beyond`] counts them.
    #[must_use]
    pub fn prepared(mut self, calls: &[Scopes]) -> Self {
        let mut views = Views::new(&self.entries);
        if !views.kinds.is_empty() {
            for call in [Scopes::default()].iter().chain(calls) {
                let choice = views.choice(call);
                let known = views.made.iter().position(|(own, _)| *own == choice);
                let at = match known {
                    Some(at) => at,
                    None if views.made.len() < MOST_VIEWS => {
                        let part = self.part(&views.kinds, &choice);
                        views.made.push((choice, part));
                        views.made.len() - 1
                    }
                    None => {
                        views.beyond += 1;
                        0
                    }
                };
                views.by_call.insert(call.clone(), at);
            }
        }
        views.calls = calls.to_vec();
        self.views = views;
        self
    }

    /// The words that apply to a call, as a dictionary of its own. A call whose choice was not prepared for gets those that apply everywhere.
    pub fn on(&self, call: &Scopes) -> &Dictionary {
        self.views.of(call).unwrap_or(self)
    }

    /// What the calls are that it was prepared for.
    pub(super) fn calls(&self) -> &[Scopes] {
        &self.views.calls
    }

    /// How many of the calls that it was prepared for get only the words that apply everywhere.
    pub fn beyond(&self) -> usize {
        self.views.beyond
    }

    /// The words of the chosen kinds, and those without scope. Its version names the whole and the choice.
    fn part(&self, kinds: &[(String, Scopes)], choice: &[bool]) -> Dictionary {
        let chosen: HashMap<&str, bool> =
            kinds.iter().zip(choice).map(|((scope, _), chosen)| (scope.as_str(), *chosen)).collect();
        let applies = |entry: &&Entry| entry.scope.is_empty() || chosen.get(entry.scope.as_str()) == Some(&true);
        let entries: Vec<Entry> = self.entries.iter().filter(applies).cloned().collect();
        let names: Vec<&str> =
            kinds.iter().zip(choice).filter(|(_, chosen)| **chosen).map(|((scope, _), _)| scope.as_str()).collect();
        let version = format!("{}.{}", self.version, super::digest(&names.join("\n"), 4));
        Dictionary::with_version(entries, &self.settings, version)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;
    use crate::speech::Hypothesis;

    fn entry(surface: &str, reading: &str, scope: &str) -> Entry {
        Entry {
            surface: surface.into(),
            readings: vec![reading.into()],
            class: String::new(),
            scope: Scopes::parse(scope).unwrap().to_string(),
            weight: 1.0,
            aliases: Vec::new(),
        }
    }

    fn scopes(text: &str) -> Scopes {
        Scopes::parse(text).unwrap()
    }

    fn dictionary() -> Dictionary {
        let entries = vec![
            entry("瑞光", "ズイコウ", "ward:東淀川区"),
            entry("随行", "ズイコウ", "department:秘書課"),
            entry("出戸", "デト", "ward:平野区|ward:東淀川区"),
        ];
        let calls =
            ["ward:東淀川区", "ward:平野区", "department:秘書課|site:x", "ward:東淀川区|line:7001", "ward:港区"];
        Dictionary::of_entries(entries, &Settings::default()).prepared(&calls.map(scopes))
    }

    fn text(dictionary: &Dictionary, call: &str) -> String {
        let heard = Hypothesis { text: "ズイコウとデト".into(), confidence: 0.9, ..Hypothesis::default() };
        dictionary.on(&scopes(call)).correct(&heard).text
    }

    #[test]
    fn a_word_is_only_used_where_it_applies() {
        let dictionary = dictionary();
        assert_eq!(text(&dictionary, "ward:東淀川区"), "瑞光と出戸");
        assert_eq!(text(&dictionary, "ward:平野区"), "ズイコウと出戸");
        assert_eq!(text(&dictionary, "department:秘書課|site:x"), "随行とデト");
        assert_eq!(text(&dictionary, ""), "ズイコウとデト");
        assert_eq!(text(&dictionary, "ward:此花区"), "ズイコウとデト", "not prepared for: what applies everywhere");
        assert_eq!(text(&dictionary, "ward:平野区|line:7009"), "ズイコウと出戸", "another line that chooses the same");
    }

    #[test]
    fn a_part_is_the_dictionary_of_its_words_and_lines_share_it() {
        let dictionary = dictionary();
        let part = dictionary.on(&scopes("ward:平野区"));
        assert_eq!(part.entries(), [entry("出戸", "デト", "ward:平野区|ward:東淀川区")]);
        let (a, b) = (dictionary.on(&scopes("ward:東淀川区")), dictionary.on(&scopes("ward:東淀川区|line:7001")));
        assert!(std::ptr::eq(a, b));
        assert_eq!(dictionary.views.made.len(), 4, "none, two wards, one department");
    }

    #[test]
    fn versions_name_the_whole_and_the_choice() {
        let dictionary = dictionary();
        let of = |call: &str| dictionary.on(&scopes(call)).version().to_owned();
        let all: std::collections::HashSet<String> =
            ["", "ward:東淀川区", "ward:平野区", "department:秘書課|site:x"].map(of).into();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|version| version.starts_with(dictionary.version()) && version.len() == 16 + 1 + 8));
        let there = Dictionary::from_bytes(&dictionary.to_bytes()).unwrap();
        assert_eq!(there.on(&scopes("ward:平野区")).version(), of("ward:平野区"), "another process makes the same");
    }

    #[test]
    fn without_scopes_there_is_one_dictionary() {
        let plain = Dictionary::of_entries(vec![entry("瑞光", "ズイコウ", "")], &Settings::default());
        let plain = plain.prepared(&[scopes("ward:北区"), scopes("ward:港区")]);
        assert!(std::ptr::eq(plain.on(&scopes("ward:北区")), &plain) && plain.views.made.is_empty());
    }

    #[test]
    fn the_number_of_parts_is_bounded() {
        let entries = (0..200).map(|n| entry("瑞光", "ズイコウ", &format!("line:{n}"))).collect();
        let calls: Vec<Scopes> = (0..200).map(|n| scopes(&format!("line:{n}"))).collect();
        let dictionary = Dictionary::of_entries(entries, &Settings::default()).prepared(&calls);
        assert_eq!((dictionary.views.made.len(), dictionary.beyond()), (MOST_VIEWS, 200 - (MOST_VIEWS - 1)));
        assert!(dictionary.on(&calls[199]).entries().is_empty());
        assert_eq!(dictionary.on(&calls[5]).entries().len(), 1);
    }
}

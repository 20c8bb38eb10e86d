//! The spellings that a dictionary knows, official ones and aliases, and where they stand in a text.

use std::collections::HashMap;

use super::reading::is_kanji;

/// A spelling that the dictionary knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spelling {
    /// What it is a spelling of.
    pub(super) target: usize,
    /// It is the official one.
    pub(super) official: bool,
}

/// The first two characters of a text.
type Begin = (char, Option<char>);

/// The characters of a spelling, and what it is.
type Known = (Box<[char]>, Spelling);

/// All spellings by their first two characters, the longest first.
#[derive(Debug, Default)]
pub(super) struct Spellings {
    by_begin: HashMap<Begin, Vec<Known>>,
}

impl Spellings {
    /// Adds a spelling; of equal ones an official one is stronger than an alias, and an earlier one than a later one.
    pub(super) fn insert(&mut self, text: &str, spelling: Spelling) {
        let text: Box<[char]> = text.chars().collect();
        let Some(begin) = begin(&text) else { return };
        let same = self.by_begin.entry(begin).or_default();
        match same.iter_mut().find(|(known, _)| *known == text) {
            Some((_, known)) if spelling.official && !known.official => *known = spelling,
            Some(_) => {}
            None => {
                let place = same.partition_point(|(known, _)| known.len() >= text.len());
                same.insert(place, (text, spelling));
            }
        }
    }

    /// Places with a spelling; leftmost, longest first, not overlapping.
    pub(super) fn find(&self, text: &[char]) -> Vec<(usize, usize, Spelling)> {
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
            let here = self.longest(rest);
            found.extend(here.map(|(length, spelling)| (from, from + length, spelling)));
            from += here.map_or(1, |(length, _)| length);
        }
        found
    }

    /// The longest spelling that `text` begins with, and its length.
    fn longest(&self, text: &[char]) -> Option<(usize, Spelling)> {
        let (pair, one) = (begin(text)?, begin(text.get(..1)?)?);
        let candidates = [pair, one].into_iter().filter_map(|begin| self.by_begin.get(&begin));
        let found = candidates.flatten().find(|(spelling, _)| text.starts_with(spelling))?;
        Some((found.0.len(), found.1))
    }
}

/// How the ga of 緑ケ丘 is written, too: with ヶ or が instead of ケ. `reading`: where no ga is heard, only the two forms of ke.
pub(super) fn variants(surface: &str, reading: &str) -> Vec<String> {
    let text: Vec<char> = surface.chars().collect();
    let forms: &[char] = if reading.contains('ガ') { &['ケ', 'ヶ', 'が', 'ガ'] } else { &['ケ', 'ヶ'] };
    let between_kanji = |at: usize| {
        let kanji = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(|&c| is_kanji(c));
        forms.contains(&text[at]) && kanji(at.checked_sub(1)) && kanji(at.checked_add(1))
    };
    let Some(at) = (0..text.len()).find(|&at| between_kanji(at)) else { return Vec::new() };
    let with = |form: &char| text.iter().enumerate().map(|(n, &c)| if n == at { *form } else { c }).collect();
    forms.iter().filter(|form| **form != text[at]).map(with).collect()
}

fn begin(text: &[char]) -> Option<Begin> {
    Some((*text.first()?, text.get(1).copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ga_between_kanji_is_written_in_several_ways() {
        assert_eq!(variants("緑ケ丘", "ミドリガオカ"), ["緑ヶ丘", "緑が丘", "緑ガ丘"]);
        assert_eq!(variants("霞が関", "カスミガセキ"), ["霞ケ関", "霞ヶ関", "霞ガ関"]);
        assert_eq!(variants("茶ケ谷", "チャケダニ"), ["茶ヶ谷"]);
        for (other, reading) in [("三国", "ミクニ"), ("ケーブル", "ケーブル"), ("丘が", "オカガ"), ("", "")]
        {
            assert!(variants(other, reading).is_empty(), "{other}");
        }
    }

    #[test]
    fn the_longest_spelling_is_found_and_official_ones_win() {
        let mut spellings = Spellings::default();
        let spelling = |target, official| Spelling { target, official };
        for (text, target, official) in [
            ("三国", 0, true),
            ("三国本町", 1, true),
            ("国", 2, true),
            ("三国駅", 3, false),
            ("三国駅", 4, true),
            ("三国", 5, true),
        ] {
            spellings.insert(text, spelling(target, official));
        }
        spellings.insert("", spelling(9, true));
        let find = |text: &str| spellings.find(&text.chars().collect::<Vec<_>>());
        assert_eq!(
            find("北三国本町と三国駅、国三国"),
            [
                (1, 5, spelling(1, true)),
                (6, 9, spelling(4, true)),
                (10, 11, spelling(2, true)),
                (11, 13, spelling(0, true))
            ]
        );
        assert!(find("").is_empty() && find("三").is_empty());
        assert_eq!(find("国"), [(0, 1, spelling(2, true))]);
    }
}

//! Which words of the dictionary are in a text: the longest at each place, none inside another.

use std::collections::HashMap;

use super::Entry;

/// Fewest characters of a word that is looked for; shorter ones are in everything.
const LEAST: usize = 2;

/// Finds surfaces; immutable.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Entries by the first character of their surface, the longest first.
    by_first: HashMap<char, Vec<(Vec<char>, usize)>>,
}

impl Heard {
    pub(super) fn new(entries: &[Entry]) -> Self {
        let mut by_first: HashMap<char, Vec<(Vec<char>, usize)>> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let signs: Vec<char> = entry.surface.chars().collect();
            if let Some(first) = signs.first().filter(|_| signs.len() >= LEAST) {
                by_first.entry(*first).or_default().push((signs, index));
            }
        }
        for same in by_first.values_mut() {
            same.sort_by_key(|(signs, index)| (std::cmp::Reverse(signs.len()), *index));
        }
        Self { by_first }
    }

    /// Indexes of the entries in `text`, in order, as often as they are there.
    pub(super) fn find(&self, text: &str) -> Vec<usize> {
        let signs: Vec<char> = text.chars().collect();
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(rest) = signs.get(at..).filter(|rest| !rest.is_empty()) {
            let candidates = rest.first().and_then(|first| self.by_first.get(first));
            match candidates.into_iter().flatten().find(|(surface, _)| rest.starts_with(surface)) {
                Some((surface, index)) => {
                    found.push(*index);
                    at += surface.len();
                }
                None => at += 1,
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(surface: &str) -> Entry {
        Entry {
            surface: surface.into(),
            readings: vec!["ア".into()],
            class: String::new(),
            scope: String::new(),
            weight: 1.0,
            aliases: Vec::new(),
        }
    }

    #[test]
    fn the_longest_word_at_each_place_is_found_as_often_as_it_is_said() {
        let heard = Heard::new(&["北区", "北区役所", "市", "三国"].map(entry));
        assert_eq!(heard.find("三国から北区役所へ、北区の市民が三国へ"), [3, 1, 0, 3]);
        assert!(heard.find("").is_empty() && heard.find("北").is_empty() && Heard::default().find("北区").is_empty());
    }
}

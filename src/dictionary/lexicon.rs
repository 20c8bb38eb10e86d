//! The reading lexicon: 259,000 words of IPADIC with their readings, read in place from the program's own image.
//!
//! Made by `models/readings/build.py`, which describes the layout. Nothing is unpacked: a look-up is a binary search over blocks of 16 words.

use std::cmp::Ordering;

use super::reading::{Mora, morae};

static DATA: &[u8] = include_bytes!("../../models/readings/readings.bin");
const BLOCK: usize = 16;
/// Longest word that is looked up, in characters.
const MAX_WORD: usize = 12;
/// Most words that begin at one place.
const MAX_WORDS: usize = 24;

/// A word with one of its readings.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    /// Its length in characters.
    pub chars: usize,
    /// IPADIC's cost / 64; lower is more frequent.
    pub cost: u8,
    /// Its morae.
    pub morae: Vec<Mora>,
}

/// The words that `text` begins with, with each reading.
pub(super) fn words_at(text: &[char]) -> Vec<Word> {
    let mut found = Vec::new();
    let Some(&first) = text.first() else { return found };
    if first.is_ascii() {
        return found;
    }
    let mut key = String::new();
    for (index, &c) in text.iter().take(MAX_WORD).enumerate() {
        key.push(c);
        let (at, exact) = lower_bound(key.as_bytes());
        if let Some(word) = exact {
            for reading in word.readings.iter() {
                if found.len() < MAX_WORDS {
                    found.push(Word { chars: index + 1, cost: reading.cost, morae: morae(&reading.kana) });
                }
            }
        }
        if !at.is_some_and(|next| next.starts_with(key.as_bytes())) {
            break;
        }
    }
    found
}

/// Whether `text` is an ordinary word: in the lexicon and no proper noun.
pub(super) fn is_common(text: &str) -> bool {
    let (_, exact) = lower_bound(text.as_bytes());
    exact.is_some_and(|word| word.readings.iter().any(|reading| !reading.proper))
}

/// Whether `text` is any word of the lexicon, proper nouns included.
pub(super) fn is_word(text: &str) -> bool {
    lower_bound(text.as_bytes()).1.is_some()
}

struct Known {
    readings: Vec<KnownReading>,
}

struct KnownReading {
    cost: u8,
    proper: bool,
    kana: String,
}

/// The first surface at or after `key`'s place that begins with it or is greater, and the word itself when it is there.
fn lower_bound(key: &[u8]) -> (Option<Vec<u8>>, Option<Known>) {
    let blocks = number(8);
    // the last block whose first word is not greater than the key
    let (mut low, mut high) = (0, blocks);
    while low + 1 < high {
        let middle = (low + high) / 2;
        if first_of(middle) <= key { low = middle } else { high = middle }
    }
    let mut exact = None;
    for block in low..(low + 2).min(blocks) {
        let mut surfaces = Surfaces::of(block);
        while let Some(at) = surfaces.advance() {
            match surfaces.surface.as_slice().cmp(key) {
                Ordering::Less => {}
                Ordering::Equal => exact = Some(readings_at(at)),
                Ordering::Greater => return (Some(surfaces.surface), exact),
            }
        }
    }
    (None, exact)
}

fn number(at: usize) -> usize {
    DATA.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, |bytes| u32::from_le_bytes(bytes) as usize)
}

fn byte(at: usize) -> usize {
    DATA.get(at).copied().map_or(0, usize::from)
}

fn first_of(block: usize) -> &'static [u8] {
    let at = number(12 + 4 * block);
    DATA.get(at + 2..at + 2 + byte(at + 1)).unwrap_or_default()
}

/// The surfaces of one block with the place of their readings.
struct Surfaces {
    at: usize,
    left: usize,
    surface: Vec<u8>,
}

impl Surfaces {
    fn of(block: usize) -> Self {
        let words = number(4);
        Self { at: number(12 + 4 * block), left: words.saturating_sub(block * BLOCK).min(BLOCK), surface: Vec::new() }
    }

    /// Goes to the next surface and gives the place of its readings.
    fn advance(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let (shared, more) = (byte(self.at), byte(self.at + 1));
        self.surface.truncate(shared);
        self.surface.extend_from_slice(DATA.get(self.at + 2..self.at + 2 + more)?);
        let readings = self.at + 2 + more;
        let mut at = readings + 1;
        for _ in 0..byte(readings) {
            at += 3 + byte(at + 2);
        }
        self.at = at;
        Some(readings)
    }
}

fn readings_at(at: usize) -> Known {
    let mut readings = Vec::with_capacity(byte(at));
    let mut place = at + 1;
    for _ in 0..byte(at) {
        let length = byte(place + 2);
        let kana = DATA.get(place + 3..place + 3 + length).unwrap_or_default();
        let kana = kana.iter().filter_map(|&kana| char::from_u32(0x30a0 + u32::from(kana))).collect();
        readings.push(KnownReading {
            cost: DATA.get(place).copied().unwrap_or(u8::MAX),
            proper: byte(place + 1) == 1,
            kana,
        });
        place += 3 + length;
    }
    Known { readings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_with_all_their_lengths() {
        let text: Vec<char> = "大阪市役所".chars().collect();
        let lengths: Vec<usize> = words_at(&text).iter().map(|word| word.chars).collect();
        assert!(lengths.contains(&1) && lengths.contains(&2), "{lengths:?}");
        assert!(
            words_at(&"区役所".chars().collect::<Vec<_>>())
                .iter()
                .any(|word| word.chars == 3 && word.morae == morae("クヤクショ"))
        );
    }

    #[test]
    fn every_word_is_found_again() {
        for block in (0..number(8)).step_by(97).chain([number(8) - 1]) {
            let mut surfaces = Surfaces::of(block);
            while surfaces.advance().is_some() {
                let (_, exact) = lower_bound(&surfaces.surface);
                let name = String::from_utf8_lossy(&surfaces.surface);
                assert!(exact.is_some_and(|word| !word.readings.is_empty()), "{name}");
            }
        }
    }

    #[test]
    fn common_words_are_no_names() {
        assert!(is_common("バス") && is_common("区役所"));
        assert!(is_word("鹿島") && is_word("区役所") && !is_word("ズイコウ") && !is_word(""));
        assert!(!is_common("加島") && !is_common("ズイコウ") && !is_common(""));
    }
}

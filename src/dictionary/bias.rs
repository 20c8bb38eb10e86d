//! Preference for the dictionary's words while the recogniser decodes: bonuses on the logits.
//!
//! The words stand in one trie of *bytes*, because a token may end inside a character and one word has several tokenisations. At each step the
//! places of the trie that the text so far leads to are found, and the tokens that lead on from them get a bonus: none for a bare lead byte, little
//! for the first character, rising to a cap. Only tokens that the model itself nearly chose get one, so that the dictionary decides between
//! what could have been said and invents nothing. Katakana readings are in the trie too: a name spelt as heard is put right by `correct`.

use std::sync::OnceLock;

use super::entry::Entry;
use super::reading;
use super::settings::Settings;
use super::trie::{Builder, ROOT, Trie};
use crate::speech::{Bias, Given, Vocabulary};

/// Shorter words are never preferred: they are parts of too many others.
pub(super) const MIN_CHARS: usize = 2;
pub(super) const MIN_MORAE: usize = 3;
/// How far the bonus of a reading rises above that of its first kana.
const KANA_RISE: f32 = 4.0;
/// Largest bonus for going on where a whole word ends: the word is no worse than the longer one that begins with it.
const BEYOND_WORD: f32 = 1.0;
/// Occurrences of a word's beginning in this many bytes before it end its bonus: a decoder that loops is not helped.
const LOOP_WINDOW: usize = 120;
const LOOP_LIMIT: usize = 2;
/// Scores that are compared side by side.
const LANES: usize = 16;

/// The bonuses of one dictionary; immutable.
#[derive(Debug)]
pub struct TrieBias {
    version: String,
    trie: Trie,
    longest: usize,
    margin: f32,
    first: OnceLock<First>,
}

/// What can be said of a vocabulary once and for all.
#[derive(Debug)]
struct First {
    tokens: usize,
    /// Tokens that begin a word, with their bonuses, in order.
    root: Vec<(u32, f32)>,
}

impl TrieBias {
    pub(super) fn new(entries: &[Entry], settings: &Settings, version: String) -> Self {
        let mut trie = Builder::default();
        let rise = |chars: usize, first: f32, cap: f32| match chars.checked_sub(1) {
            None => 0.0,
            Some(further) => (first + settings.bias_rise_nats * further as f32).min(cap),
        };
        let (kana_first, kana_cap) = (settings.bias_kana_nats, settings.bias_kana_nats + KANA_RISE);
        for entry in entries {
            if entry.surface.chars().count() < MIN_CHARS || entry.weight <= 0.0 {
                continue;
            }
            let readings = entry.readings.iter().filter(|kana| reading::morae(kana).len() >= MIN_MORAE);
            let mut any = false;
            for kana in readings {
                any = true;
                trie.insert(kana, |chars| entry.weight * rise(chars, kana_first, kana_cap));
            }
            if any {
                trie.insert(&entry.surface, |chars| {
                    entry.weight * rise(chars, settings.bias_first_nats, settings.bias_cap_nats)
                });
            }
        }
        let (trie, longest) = trie.finish();
        Self { version, trie, longest, margin: settings.bias_margin_nats, first: OnceLock::new() }
    }

    fn first(&self, vocabulary: &Vocabulary) -> First {
        let ids = 0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
        let bonus = |id: u32| (id, self.trie.bonus(ROOT, vocabulary.bytes(id as usize)));
        First { tokens: vocabulary.len(), root: ids.map(bonus).filter(|(_, bonus)| *bonus > 0.0).collect() }
    }

    /// The places that the end of `so_far` leads to inside words, each with the largest bonus for going on there.
    fn places(&self, so_far: &[u8]) -> Vec<(u32, f32)> {
        let window = so_far.len().saturating_sub(self.longest)..so_far.len();
        let begins = window.filter(|at| so_far.get(*at).is_some_and(|byte| byte & 0xc0 != 0x80));
        let place = |start: usize| {
            let (before, begun) = so_far.split_at_checked(start)?;
            let node = self.trie.walk(begun)?;
            if (begins_in_katakana(begun) && ends_in_katakana(before)) || loops(before, begun) {
                return None;
            }
            Some((node, if self.trie.ends(node) { BEYOND_WORD } else { f32::INFINITY }))
        };
        begins.filter_map(place).collect()
    }
}

impl Bias for TrieBias {
    fn version(&self) -> &str {
        &self.version
    }

    fn adjust(&self, vocabulary: &Vocabulary, so_far: &[u8], logits: &mut [f32]) -> Given {
        let first = self.first.get_or_init(|| self.first(vocabulary));
        if first.tokens != vocabulary.len() {
            return Given::default(); // a dictionary is loaded per model; another vocabulary gets no bonus rather than a wrong one
        }
        let (near, places) = (near(logits, self.margin), self.places(so_far));
        // inside a word in katakana no other one begins
        let spelling = ends_in_katakana(so_far);
        let (mut bonuses, mut root) = (Vec::new(), first.root.as_slice());
        for &(id, _) in &near {
            let bytes = vocabulary.bytes(id as usize);
            root = root.get(root.partition_point(|known| known.0 < id)..).unwrap_or_default();
            let begins = root.first().filter(|known| known.0 == id && !(spelling && begins_in_katakana(bytes)));
            let further = |&(node, most): &(u32, f32)| self.trie.bonus(node, bytes).min(most);
            let bonus = places.iter().map(further).fold(begins.map_or(0.0, |known| known.1), f32::max);
            if let Some(logit) = logits.get_mut(id as usize).filter(|_| bonus > 0.0) {
                *logit += bonus;
                bonuses.push((id, bonus));
            }
        }
        if bonuses.is_empty() { Given::default() } else { Given { bonuses, near } }
    }
}

/// The tokens at most `margin` behind the best, with their scores, in order.
fn near(logits: &[f32], margin: f32) -> Vec<(u32, f32)> {
    // several lanes side by side: this runs over the whole vocabulary at each step
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let larger = |best: f32, logit: f32| if logit > best && logit < f32::INFINITY { logit } else { best };
    for chunk in chunks {
        for (best, logit) in lanes.iter_mut().zip(chunk) {
            *best = larger(*best, *logit);
        }
    }
    let best = lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger);
    if !best.is_finite() {
        return Vec::new();
    }
    let least = best - margin;
    let mut near = Vec::new();
    for (chunk, begin) in logits.chunks(LANES).zip((0..).step_by(LANES)) {
        if chunk.iter().fold(false, |any, logit| any | (*logit >= least)) {
            let of_chunk = chunk.iter().zip(begin..).filter(|(logit, _)| **logit >= least && **logit < f32::INFINITY);
            near.extend(of_chunk.map(|(logit, id)| (id, *logit)));
        }
    }
    near
}

/// Whether the first character is katakana (U+30A0–U+30FF), whole or not.
fn begins_in_katakana(bytes: &[u8]) -> bool {
    matches!(bytes, [0xe3, second, ..] if is_katakana_second(*second, bytes.get(2)))
}

/// Whether the last whole character is katakana.
fn ends_in_katakana(bytes: &[u8]) -> bool {
    let start = bytes.len().saturating_sub(3);
    matches!(bytes.get(start..), Some([0xe3, second, third]) if is_katakana_second(*second, Some(third)))
}

/// E3 82 A0 to E3 83 BF.
fn is_katakana_second(second: u8, third: Option<&u8>) -> bool {
    second == 0x83 || (second == 0x82 && third.is_some_and(|third| *third >= 0xa0))
}

/// Whether `begun` was already said several times just before.
fn loops(before: &[u8], begun: &[u8]) -> bool {
    let recent = before.get(before.len().saturating_sub(LOOP_WINDOW)..).unwrap_or_default();
    begun.len() >= 6 && recent.windows(begun.len()).filter(|window| *window == begun).count() >= LOOP_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
        for text in ["三", "国", "に", "ミ", "クニ", "市", "三国に", "東", "ホ"] {
            tokens.push(text.as_bytes().to_vec());
        }
        tokens.push(Vec::new());
        Vocabulary::new(tokens)
    }

    fn id(vocabulary: &Vocabulary, text: &str) -> usize {
        (0..vocabulary.len()).find(|&id| vocabulary.bytes(id) == text.as_bytes()).unwrap()
    }

    fn bias() -> TrieBias {
        let entry = |surface: &str, reading: &str| Entry {
            surface: surface.into(),
            readings: vec![reading.into()],
            class: String::new(),
            scope: String::new(),
            weight: 1.0,
            aliases: Vec::new(),
        };
        TrieBias::new(
            &[entry("三国", "ミクニ"), entry("三国本町", "ミクニホンマチ"), entry("市", "シ"), entry("東", "ヒガシ")],
            &Settings::default(),
            "v".into(),
        )
    }

    fn bonuses(bias: &TrieBias, so_far: &str) -> (Given, Vec<f32>) {
        let vocabulary = vocabulary();
        let mut logits = vec![0.0; vocabulary.len() + 4];
        let given = bias.adjust(&vocabulary, so_far.as_bytes(), &mut logits);
        (given, logits)
    }

    #[test]
    fn the_bonus_rises_along_a_word_and_bare_bytes_get_none_at_the_start() {
        let (bias, vocabulary) = (bias(), vocabulary());
        let (_, start) = bonuses(&bias, "");
        let (_, inside) = bonuses(&bias, "大阪の三");
        let (first, second) = (start[id(&vocabulary, "三")], inside[id(&vocabulary, "国")]);
        assert!(0.0 < first && first < second, "{first} {second}");
        assert_eq!(start["三".as_bytes()[0] as usize], 0.0);
        let kana = start[id(&vocabulary, "ミ")];
        assert!(first < kana && kana < bonuses(&bias, "ミ").1[id(&vocabulary, "クニ")], "{kana}");
        assert!(start[id(&vocabulary, "三国に")] > 0.0, "a token that goes on after the word");
    }

    #[test]
    fn a_reading_begins_where_no_katakana_is_before_it_and_a_whole_one_is_not_drawn_on() {
        let (bias, vocabulary) = (bias(), vocabulary());
        let of = |so_far: &str, token: &str| bonuses(&bias, so_far).1[id(&vocabulary, token)];
        assert!(of("大阪の", "ミ") > 0.0);
        assert_eq!(of("アサミ", "クニ"), 0.0, "it would begin inside another word");
        assert_eq!(of("アサ", "ミ"), 0.0);
        assert_eq!(of("大阪ー", "ミ"), 0.0, "the long mark is katakana");
        assert_eq!(of("ミクニ", "ホ"), BEYOND_WORD);
        assert!(of("三国", "に") <= BEYOND_WORD);
    }

    #[test]
    fn short_words_get_nothing() {
        let (bias, vocabulary) = (bias(), vocabulary());
        let (_, start) = bonuses(&bias, "");
        assert_eq!(start[id(&vocabulary, "市")], 0.0);
        assert_eq!(start[id(&vocabulary, "東")], 0.0);
    }

    #[test]
    fn a_token_far_behind_gets_nothing() {
        let (bias, vocabulary) = (bias(), vocabulary());
        let mut logits = vec![0.0; vocabulary.len()];
        logits[id(&vocabulary, "に")] = 20.0;
        let before = logits.clone();
        assert_eq!(bias.adjust(&vocabulary, "三".as_bytes(), &mut logits), Given::default());
        assert_eq!(logits, before);
    }

    #[test]
    fn a_loop_is_not_helped() {
        let (bias, vocabulary) = (bias(), vocabulary());
        assert!(bonuses(&bias, "三国三国三国三").1[id(&vocabulary, "国")] > 0.0, "one character is no loop yet");
        assert_eq!(bonuses(&bias, "ミク、ミク、ミク").1["ニ".as_bytes()[0] as usize], 0.0);
        assert!(bonuses(&bias, "ミク、ミク").1["ニ".as_bytes()[0] as usize] > 0.0);
    }

    #[test]
    fn any_bytes_and_any_size_of_logits_are_accepted() {
        let bias = bias();
        let vocabulary = vocabulary();
        for so_far in [&b"\xff\xfe\x80\x80"[..], &[0xe4, 0xb8], "三".repeat(500).as_bytes()] {
            bias.adjust(&vocabulary, so_far, &mut [0.0; 3]);
            bias.adjust(&vocabulary, so_far, &mut []);
            bias.adjust(&Vocabulary::default(), so_far, &mut [f32::NAN; 300]);
        }
    }
}

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
use crate::speech::{Bias, Vocabulary};

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

/// The bonuses of one dictionary; immutable.
#[derive(Debug)]
pub struct TrieBias {
    version: String,
    nodes: Vec<Node>,
    longest: usize,
    margin: f32,
    first: OnceLock<Order>,
}

/// A node of the byte trie.
#[derive(Debug, Default)]
struct Node {
    children: Vec<(u8, u32)>,
    /// Bonus in nats for a token that ends here or leaves the trie through a word that ends here.
    bonus: f32,
    /// A word ends here.
    end: bool,
}

/// A vocabulary in order of bytes, with what can be said of it once and for all.
#[derive(Debug)]
struct Order {
    /// Ids of the tokens with bytes, in byte order.
    ids: Vec<u32>,
    tokens: usize,
    /// Bonuses of tokens that begin a word.
    root: Vec<(u32, f32)>,
}

impl TrieBias {
    pub(super) fn new(entries: &[Entry], settings: &Settings, version: String) -> Self {
        let mut bias = Self {
            version,
            nodes: vec![Node::default()],
            longest: 0,
            margin: settings.bias_margin_nats,
            first: OnceLock::new(),
        };
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
                bias.insert(kana, |chars| entry.weight * rise(chars, kana_first, kana_cap));
            }
            if any {
                bias.insert(&entry.surface, |chars| {
                    entry.weight * rise(chars, settings.bias_first_nats, settings.bias_cap_nats)
                });
            }
        }
        bias
    }

    fn insert(&mut self, text: &str, bonus: impl Fn(usize) -> f32) {
        self.longest = self.longest.max(text.len());
        let mut at = 0;
        let mut chars = 0;
        let bytes = text.as_bytes();
        for (index, &byte) in bytes.iter().enumerate() {
            let fresh = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match node.children.binary_search_by_key(&byte, |child| child.0) {
                Ok(found) => node.children[found].1 as usize,
                Err(place) => {
                    node.children.insert(place, (byte, fresh as u32));
                    self.nodes.push(Node::default());
                    fresh
                }
            };
            let whole = bytes.get(index + 1).is_none_or(|next| next & 0xc0 != 0x80);
            chars += usize::from(whole);
            let node = &mut self.nodes[at];
            // inside a character the bonus of the character that is being written, except the first
            let counted = if whole || chars == 0 { chars } else { chars + 1 };
            node.bonus = node.bonus.max(bonus(counted));
        }
        self.nodes[at].end = true;
    }

    fn step(&self, node: u32, byte: u8) -> Option<u32> {
        let children = &self.nodes.get(node as usize)?.children;
        let found = children.binary_search_by_key(&byte, |child| child.0).ok()?;
        children.get(found).map(|child| child.1)
    }

    /// The node that `bytes` leads to from the root.
    fn walk(&self, bytes: &[u8]) -> Option<u32> {
        bytes.iter().try_fold(0, |node, &byte| self.step(node, byte))
    }

    /// The tokens that lead on from `node`, with their bonuses.
    fn continuations(&self, order: &Order, vocabulary: &Vocabulary, node: u32) -> Vec<(u32, f32)> {
        let mut found = Vec::new();
        self.descend(order, vocabulary, node, (0, order.ids.len()), 0, &mut found);
        found
    }

    /// Joint descent of the trie from `node` and the tokens `range`, which share `depth` bytes with it.
    fn descend(
        &self,
        order: &Order,
        vocabulary: &Vocabulary,
        node: u32,
        range: (usize, usize),
        depth: usize,
        found: &mut Vec<(u32, f32)>,
    ) {
        let Some(here) = self.nodes.get(node as usize) else { return };
        for &(byte, child) in &here.children {
            let tokens = order.ids.get(range.0..range.1).unwrap_or_default();
            let key = |id: &u32| vocabulary.bytes(*id as usize).get(depth).map_or(-1, |&byte| i32::from(byte));
            let low = tokens.partition_point(|id| key(id) < i32::from(byte));
            let high = tokens.partition_point(|id| key(id) <= i32::from(byte));
            let Some(matching) = tokens.get(low..high).filter(|matching| !matching.is_empty()) else { continue };
            let Some(below) = self.nodes.get(child as usize) else { continue };
            for &id in matching {
                let length = vocabulary.bytes(id as usize).len();
                if length == depth + 1 {
                    add(found, id, below.bonus);
                } else if below.end {
                    add(found, id, below.bonus); // the token ends the word and goes on
                } else {
                    continue;
                }
            }
            self.descend(order, vocabulary, child, (range.0 + low, range.0 + high), depth + 1, found);
        }
    }
}

/// Notes a token's bonus, the larger one when it is there already (tokens come in runs, so looking back a little is enough).
fn add(found: &mut Vec<(u32, f32)>, id: u32, bonus: f32) {
    if bonus > 0.0 {
        found.push((id, bonus));
    }
}

impl Order {
    fn of(vocabulary: &Vocabulary, bias: &TrieBias) -> Self {
        let mut ids: Vec<u32> =
            (0..vocabulary.len() as u32).filter(|&id| !vocabulary.bytes(id as usize).is_empty()).collect();
        ids.sort_by(|a, b| vocabulary.bytes(*a as usize).cmp(vocabulary.bytes(*b as usize)));
        let mut order = Self { ids, tokens: vocabulary.len(), root: Vec::new() };
        order.root = bias.continuations(&order, vocabulary, 0);
        order
    }
}

impl Bias for TrieBias {
    fn version(&self) -> &str {
        &self.version
    }

    fn adjust(&self, vocabulary: &Vocabulary, so_far: &[u8], logits: &mut [f32]) -> u32 {
        let order = self.first.get_or_init(|| Order::of(vocabulary, self));
        if order.tokens != vocabulary.len() {
            return 0; // a dictionary is loaded per model; another vocabulary gets no bonus rather than a wrong one
        }
        let spelling = ends_in_katakana(so_far);
        // inside a word in katakana no other one begins
        let root =
            order.root.iter().filter(|(id, _)| !(spelling && begins_in_katakana(vocabulary.bytes(*id as usize))));
        let mut wanted: Vec<(u32, f32)> = root.copied().collect();
        let window = so_far.get(so_far.len().saturating_sub(self.longest)..).unwrap_or_default();
        for start in 0..window.len() {
            if window.get(start).is_some_and(|byte| byte & 0xc0 == 0x80) {
                continue;
            }
            let Some(begun) = window.get(start..) else { continue };
            let before = so_far.get(..so_far.len() - begun.len()).unwrap_or_default();
            if begins_in_katakana(begun) && ends_in_katakana(before) {
                continue;
            }
            let Some(node) = self.walk(begun) else { continue };
            if !loops(before, begun) {
                let whole = self.nodes.get(node as usize).is_some_and(|node| node.end);
                let most = if whole { BEYOND_WORD } else { f32::INFINITY };
                let further = self.continuations(order, vocabulary, node);
                wanted.extend(further.into_iter().map(|(id, bonus)| (id, bonus.min(most))));
            }
        }
        give(&mut wanted, logits, self.margin)
    }
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

/// Adds the bonuses to tokens at most `margin` behind the best; each token once, its largest.
fn give(wanted: &mut [(u32, f32)], logits: &mut [f32], margin: f32) -> u32 {
    if wanted.is_empty() {
        return 0;
    }
    let best = logits.iter().copied().filter(|logit| logit.is_finite()).fold(f32::NEG_INFINITY, f32::max);
    wanted.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut given = 0;
    let mut last = None;
    for &(id, bonus) in wanted.iter() {
        if last == Some(id) {
            continue;
        }
        last = Some(id);
        if let Some(logit) = logits.get_mut(id as usize).filter(|logit| **logit >= best - margin) {
            *logit += bonus;
            given += 1;
        }
    }
    given
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

    fn bonuses(bias: &TrieBias, so_far: &str) -> (u32, Vec<f32>) {
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
        assert_eq!(bias.adjust(&vocabulary, "三".as_bytes(), &mut logits), 0);
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

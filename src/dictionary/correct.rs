//! Correction by sound: what was heard becomes the dictionary's spelling of the same morae.
//!
//! A recogniser that does not know a name writes it in katakana as heard, or as another word of the same sound. The text is read into morae
//! (several readings), spans that sound like an entry are found in a trie of all readings, and a span is replaced when it is a name as heard,
//! or when the recogniser itself was unsure. Ordinary words and spellings that the dictionary knows are never replaced.

use std::collections::HashMap;

use super::entry::Entry;
use super::lexicon;
use super::reading::{self, Mora, Sound, insertion, is_kanji, is_katakana, substitution};
use super::settings::Settings;
use crate::events::Correction;
use crate::speech::{Hypothesis, Token};

/// Longer texts are left as they are (an utterance has at most some hundred characters).
const MAX_CHARS: usize = 1_000;
/// Readings of a text that are searched.
const READINGS: usize = 4;
/// Largest distance that any entry may have, in weighted morae.
const MAX_DISTANCE: f32 = 2.5;
/// A spelling of one sound must be this much likelier than not; see `Corrector::allowed`.
const UNSURE_FAR: f32 = 0.75;

/// A text after correction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corrected {
    /// The text to show and store.
    pub text: String,
    /// What was replaced, in order; empty when the text is as recognised.
    pub corrections: Vec<Correction>,
}

/// Finds and replaces; immutable.
#[derive(Debug)]
pub(super) struct Corrector {
    targets: Vec<Target>,
    nodes: Vec<Node>,
    /// Surfaces and aliases by text; an alias maps to its target, a surface to `None`.
    spellings: HashMap<String, Option<usize>>,
    longest_spelling: usize,
    distance_share: f32,
    below: f32,
}

/// One reading of one entry.
#[derive(Debug)]
struct Target {
    surface: String,
    reading: String,
    morae: usize,
    weight: f32,
}

/// A node of the trie over morae.
#[derive(Debug, Default)]
struct Node {
    children: Vec<(Mora, usize)>,
    targets: Vec<usize>,
    /// Morae of the longest reading at or below this node.
    longest: usize,
}

/// A span that sounds like a target.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    from: usize,
    to: usize,
    target: usize,
    distance: f32,
    score: f32,
}

impl Corrector {
    pub(super) fn new(entries: &[Entry], settings: &Settings) -> Self {
        let mut corrector = Self {
            targets: Vec::new(),
            nodes: vec![Node::default()],
            spellings: HashMap::new(),
            longest_spelling: 0,
            distance_share: settings.correct_distance.clamp(0.0, 0.5),
            below: settings.correct_below,
        };
        for entry in entries {
            corrector.spelling(&entry.surface, None);
            for (index, reading) in entry.readings.iter().enumerate() {
                let morae = reading::morae(reading);
                let target = corrector.targets.len();
                if index == 0 {
                    for alias in &entry.aliases {
                        corrector.spelling(alias, Some(target));
                    }
                }
                let (surface, reading) = (entry.surface.clone(), reading.clone());
                corrector.targets.push(Target { surface, reading, morae: morae.len(), weight: entry.weight });
                corrector.insert(&morae, target);
            }
        }
        corrector
    }

    /// Registers a spelling; a surface is stronger than an alias.
    fn spelling(&mut self, text: &str, target: Option<usize>) {
        self.longest_spelling = self.longest_spelling.max(text.chars().count());
        let known = self.spellings.entry(text.to_owned()).or_insert(target);
        if target.is_none() {
            *known = None;
        }
    }

    fn insert(&mut self, morae: &[Mora], target: usize) {
        let mut at = 0;
        for depth in 0..=morae.len() {
            let fresh = self.nodes.len();
            let node = &mut self.nodes[at];
            node.longest = node.longest.max(morae.len());
            let Some(&mora) = morae.get(depth) else {
                node.targets.push(target);
                break;
            };
            match node.children.binary_search_by_key(&mora, |child| child.0) {
                Ok(index) => at = node.children[index].1,
                Err(index) => {
                    node.children.insert(index, (mora, fresh));
                    self.nodes.push(Node::default());
                    at = fresh;
                }
            }
        }
    }

    pub(super) fn correct(&self, hypothesis: &Hypothesis) -> Corrected {
        let text: Vec<char> = hypothesis.text.chars().collect();
        let unchanged = || Corrected { text: hypothesis.text.clone(), corrections: Vec::new() };
        if text.is_empty() || text.len() > MAX_CHARS {
            return unchanged();
        }
        let sure = certainty(&hypothesis.text, &text, &hypothesis.tokens, hypothesis.confidence);
        let (protected, mut candidates) = self.known_spellings(&text);
        for reading in reading::readings(&text, READINGS) {
            self.search(&reading.sounds, &mut candidates);
        }
        candidates.retain(|candidate| self.allowed(candidate, &text, &sure, &protected));
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.from.cmp(&b.from)).then(a.target.cmp(&b.target)));
        let mut chosen: Vec<Candidate> = Vec::new();
        for candidate in candidates {
            if chosen.iter().all(|other| candidate.to <= other.from || other.to <= candidate.from) {
                chosen.push(candidate);
            }
        }
        if chosen.is_empty() {
            return unchanged();
        }
        chosen.sort_by_key(|candidate| candidate.from);
        self.replace(&text, &chosen)
    }

    /// Spans that are already spelt as in the dictionary, and the aliases in the text as candidates; leftmost, longest first.
    fn known_spellings(&self, text: &[char]) -> (Vec<(usize, usize)>, Vec<Candidate>) {
        let (mut protected, mut candidates) = (Vec::new(), Vec::new());
        let mut from = 0;
        while from < text.len() {
            let longest = self.longest_spelling.min(text.len() - from);
            let found = (1..=longest).rev().find_map(|length| {
                let spelling: String = text[from..from + length].iter().collect();
                self.spellings.get(&spelling).map(|target| (length, *target))
            });
            match found {
                Some((length, None)) => protected.push((from, from + length)),
                Some((length, Some(target))) => {
                    let score = 1_000.0 + length as f32;
                    candidates.push(Candidate { from, to: from + length, target, distance: 0.0, score });
                }
                None => {}
            }
            from += found.map_or(1, |(length, _)| length);
        }
        (protected, candidates)
    }

    /// Spans of one reading that sound like an entry: a depth-first walk of the trie with one row of edit distances a node.
    fn search(&self, sounds: &[Sound], candidates: &mut Vec<Candidate>) {
        let far = (f32::INFINITY, 0);
        let mut row: Vec<(f32, usize)> =
            sounds.iter().enumerate().map(|(j, sound)| if sound.first { (0.0, j) } else { far }).collect();
        row.push(far);
        self.descend(0, &row, sounds, candidates);
    }

    fn descend(&self, node: usize, row: &[(f32, usize)], sounds: &[Sound], candidates: &mut Vec<Candidate>) {
        let Some(node) = self.nodes.get(node) else { return };
        for &(mora, child) in &node.children {
            let Some(below) = self.nodes.get(child) else { continue };
            let limit = self.limit(below.longest);
            let mut next: Vec<(f32, usize)> = Vec::with_capacity(row.len());
            let mut least = f32::INFINITY;
            for (j, &(cost, start)) in row.iter().enumerate() {
                let mut best = (cost + insertion(mora), start);
                if let (Some(sound), Some(&(before, from))) =
                    (j.checked_sub(1).and_then(|j| sounds.get(j)), j.checked_sub(1).and_then(|j| row.get(j)))
                {
                    let changed = before + substitution(mora, sound.mora);
                    if changed < best.0 {
                        best = (changed, from);
                    }
                    if let Some(&(left, from)) = next.last() {
                        let extra = left + insertion(sound.mora);
                        if extra < best.0 {
                            best = (extra, from);
                        }
                    }
                }
                least = least.min(best.0);
                next.push(best);
            }
            if least > limit {
                continue;
            }
            for &target in &below.targets {
                self.collect(target, &next, sounds, candidates);
            }
            self.descend(child, &next, sounds, candidates);
        }
    }

    fn collect(&self, target: usize, row: &[(f32, usize)], sounds: &[Sound], candidates: &mut Vec<Candidate>) {
        let Some(known) = self.targets.get(target) else { return };
        let limit = self.limit(known.morae);
        for (j, &(distance, start)) in row.iter().enumerate() {
            let (Some(first), Some(last)) = (sounds.get(start), j.checked_sub(1).and_then(|j| sounds.get(j))) else {
                continue;
            };
            if distance <= limit && last.last && first.from < last.to {
                let score = known.morae as f32 - 3.0 * distance + 0.1 * known.weight;
                candidates.push(Candidate { from: first.from, to: last.to, target, distance, score });
            }
        }
    }

    /// How far a reading of `morae` may be from what was heard.
    fn limit(&self, morae: usize) -> f32 {
        if morae < 4 { 0.0 } else { (self.distance_share * morae as f32).min(MAX_DISTANCE) }
    }

    /// Whether a span may be replaced.
    fn allowed(&self, candidate: &Candidate, text: &[char], sure: &[f32], protected: &[(usize, usize)]) -> bool {
        let (from, to) = (candidate.from, candidate.to);
        let (Some(span), Some(target)) = (text.get(from..to), self.targets.get(candidate.target)) else { return false };
        if protected.iter().any(|&(start, end)| start < to && from < end) {
            return false;
        }
        if candidate.score >= 1_000.0 {
            return true; // an alias
        }
        let written: String = span.iter().collect();
        if written == target.surface || lexicon::is_common(&written) {
            return false;
        }
        let run = |c: Option<&char>| c.is_some_and(|&c| is_katakana(c));
        let cut_left = run(span.first()) && run(from.checked_sub(1).and_then(|before| text.get(before)));
        let cut_right = run(span.last()) && run(text.get(to));
        let exact = candidate.distance == 0.0;
        if span.iter().all(|&c| is_katakana(c)) {
            if cut_left || cut_right {
                return exact && target.morae >= 3 && !(cut_left && cut_right) && !in_common_run(text, from, to);
            }
            return if exact { target.morae >= 2 } else { target.morae >= 4 };
        }
        if cut_left || cut_right {
            return false;
        }
        let least = sure.get(from..to).unwrap_or_default().iter().copied().fold(1.0, f32::min);
        let heard = span.iter().filter(|&&c| is_katakana(c)).count() * 2 >= span.len();
        if exact && heard {
            return target.morae >= 3;
        }
        let kanji = span.iter().any(|&c| is_kanji(c));
        match (exact, kanji) {
            (true, true) => target.morae >= 3 && least < self.below,
            (true, false) => target.morae >= 5 && least < self.below,
            (false, _) => target.morae >= 5 && kanji && least < self.below * UNSURE_FAR,
        }
    }

    fn replace(&self, text: &[char], chosen: &[Candidate]) -> Corrected {
        let mut corrected = Corrected::default();
        let (mut done, mut length) = (0, 0);
        for candidate in chosen {
            let (Some(before), Some(span)) = (text.get(done..candidate.from), text.get(candidate.from..candidate.to))
            else {
                continue;
            };
            let Some(target) = self.targets.get(candidate.target) else { continue };
            corrected.text.extend(before);
            corrected.text.push_str(&target.surface);
            let start = length + before.len();
            length = start + target.surface.chars().count();
            done = candidate.to;
            corrected.corrections.push(Correction {
                start,
                end: length,
                from: span.iter().collect(),
                to: target.surface.clone(),
                reading: target.reading.clone(),
                distance: candidate.distance,
            });
        }
        corrected.text.extend(text.get(done..).unwrap_or_default());
        corrected
    }
}

/// Whether the katakana run around a span is an ordinary word by itself.
fn in_common_run(text: &[char], from: usize, to: usize) -> bool {
    let start = text[..from].iter().rposition(|&c| !is_katakana(c)).map_or(0, |at| at + 1);
    let end = text[to..].iter().position(|&c| !is_katakana(c)).map_or(text.len(), |at| to + at);
    lexicon::is_common(&text[start..end].iter().collect::<String>())
}

/// The recogniser's probability at each character: the least of the tokens that it is made of.
fn certainty(text: &str, chars: &[char], tokens: &[Token], otherwise: f32) -> Vec<f32> {
    let bytes: Vec<(u8, f32)> =
        tokens.iter().flat_map(|token| token.bytes.iter().map(|&byte| (byte, token.p))).collect();
    let plain: Vec<u8> = bytes.iter().map(|&(byte, _)| byte).collect();
    let skip = plain.windows(text.len().max(1)).position(|window| window == text.as_bytes());
    let Some(skip) = skip else { return vec![otherwise; chars.len()] };
    let mut at = skip;
    chars
        .iter()
        .map(|c| {
            let end = at + c.len_utf8();
            let least = bytes.get(at..end).unwrap_or_default().iter().map(|&(_, p)| p).fold(1.0, f32::min);
            at = end;
            least
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrector(words: &[(&str, &str)]) -> Corrector {
        let entries: Vec<Entry> = words
            .iter()
            .map(|(surface, reading)| Entry {
                surface: (*surface).into(),
                readings: vec![(*reading).into()],
                class: String::new(),
                scope: String::new(),
                weight: 1.0,
                aliases: Vec::new(),
            })
            .collect();
        Corrector::new(&entries, &Settings::default())
    }

    fn heard(text: &str, p: f32) -> Hypothesis {
        let tokens = text.chars().map(|c| Token { bytes: c.to_string().into_bytes(), p }).collect();
        Hypothesis { text: text.into(), tokens, confidence: p, ..Hypothesis::default() }
    }

    #[test]
    fn a_name_as_heard_gets_its_spelling() {
        let corrector = corrector(&[("瑞光", "ズイコウ"), ("出戸", "デト")]);
        let corrected = corrector.correct(&heard("ズイコー行きのバスはありますか。", 0.9));
        assert_eq!(corrected.text, "瑞光行きのバスはありますか。");
        let only = &corrected.corrections[0];
        assert_eq!(
            (only.start, only.end, only.from.as_str(), only.to.as_str(), only.distance),
            (0, 2, "ズイコー", "瑞光", 0.0)
        );
        assert_eq!(corrector.correct(&heard("デトに住んでいます。", 0.9)).text, "出戸に住んでいます。");
    }

    #[test]
    fn a_small_mistake_in_a_long_name_is_forgiven() {
        let corrector = corrector(&[("中崎町", "ナカザキチョウ")]);
        let corrected = corrector.correct(&heard("ナカサキチョーの避難所", 0.9));
        assert_eq!(corrected.text, "中崎町の避難所");
        assert!(corrected.corrections[0].distance > 0.0);
        assert_eq!(corrector.correct(&heard("ナガサキの避難所", 0.9)).text, "ナガサキの避難所");
    }

    #[test]
    fn ordinary_words_and_known_spellings_stay() {
        let corrector = corrector(&[("馬巣", "バス"), ("大野", "オオノ"), ("小野", "オノ"), ("公演", "コウエン")]);
        for text in ["バスはありますか", "大野です", "公園の街灯", "おおのさん"] {
            let hypothesis = heard(text, 0.3);
            assert_eq!(corrector.correct(&hypothesis).text, text);
        }
    }

    #[test]
    fn kanji_of_the_same_sound_change_only_when_the_recogniser_was_unsure() {
        let corrector = corrector(&[("加島", "カシマ")]);
        assert_eq!(corrector.correct(&heard("鹿島に住んでいます", 0.4)).text, "加島に住んでいます");
        assert_eq!(corrector.correct(&heard("鹿島に住んでいます", 0.97)).text, "鹿島に住んでいます");
    }

    #[test]
    fn positions_count_characters_of_the_corrected_text() {
        let corrector = corrector(&[("十三", "ジュウソウ"), ("三国", "ミクニ")]);
        let corrected = corrector.correct(&heard("ジュウソウからミクニに", 0.9));
        assert_eq!(corrected.text, "十三から三国に");
        let chars: Vec<char> = corrected.text.chars().collect();
        for correction in &corrected.corrections {
            assert_eq!(chars[correction.start..correction.end].iter().collect::<String>(), correction.to);
        }
    }

    #[test]
    fn tokens_that_do_not_spell_the_text_do_no_harm() {
        let corrector = corrector(&[("加島", "カシマ")]);
        let hypothesis = Hypothesis {
            text: "鹿島".into(),
            tokens: vec![Token { bytes: vec![0xe9], p: 0.1 }],
            confidence: 0.99,
            ..Hypothesis::default()
        };
        assert_eq!(corrector.correct(&hypothesis).text, "鹿島");
    }
}

//! Correction by sound: what was heard becomes the dictionary's spelling of the same morae.
//!
//! A recogniser that does not know a name writes it in katakana as heard, or as another word of the same sound. The text is read into morae
//! (several readings), spans that sound like an entry are found in a trie of all readings, and a span is replaced when it is a name as heard,
//! or when the recogniser itself was unsure. Ordinary words and spellings that the dictionary knows are never replaced.

use std::collections::HashMap;

use super::entry::Entry;
use super::lexicon;
use super::reading::{self, Sound, is_kanji, is_katakana};
use super::second::{Told, places, stretch};
use super::settings::Settings;
use super::sounding::{Found, Index};
use crate::events::Correction;
use crate::speech::{Hypothesis, Token};

/// Longer texts are left as they are (an utterance has at most some hundred characters).
const MAX_CHARS: usize = 1_000;
/// Readings of a text that are searched.
const READINGS: usize = 4;
/// A spelling of one sound must be this much likelier than not; see `Corrector::allowed`.
const UNSURE_FAR: f32 = 0.75;
/// Characters that the recogniser may be sure of at the beginning of a word before one that it is not sure of.
const LONGEST_SURE: usize = 4;
/// The same for a spelling that is a word by itself: another one of the same sound must be much likelier.
const UNSURE_WORD: f32 = 0.6;
/// A word of three morae that the bias found may be this many nats less likely, a longer one as many more for each further mora.
const NATS_PER_MORA: f32 = 2.0;
/// The same for a word that was found in its official spelling, at most.
const KNOWN_SPELLING: f32 = 1.0;
/// Katakana that may follow a word in the text with bias: the decoder overshot.
const MOST_BEYOND: usize = 2;

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
    index: Index,
    /// Surfaces and aliases by text.
    spellings: HashMap<String, Spelling>,
    longest_spelling: usize,
    correct: bool,
    bias: bool,
    below: f32,
    accept: f32,
}

/// A spelling that the dictionary knows.
#[derive(Clone, Copy, Debug)]
struct Spelling {
    target: usize,
    /// It is the official one.
    official: bool,
}

/// One reading of one entry.
#[derive(Debug)]
struct Target {
    surface: String,
    reading: String,
    morae: usize,
    weight: f32,
}

/// A span that may become a target.
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
            index: Index::new(settings.correct_distance.clamp(0.0, 0.5)),
            spellings: HashMap::new(),
            longest_spelling: 0,
            correct: settings.correct,
            bias: settings.bias,
            below: settings.correct_below,
            accept: settings.bias_accept_nats,
        };
        for entry in entries {
            corrector.spelling(&entry.surface, Spelling { target: corrector.targets.len(), official: true });
            for (index, reading) in entry.readings.iter().enumerate() {
                let morae = reading::morae(reading);
                let target = corrector.targets.len();
                if index == 0 {
                    for alias in &entry.aliases {
                        corrector.spelling(alias, Spelling { target, official: false });
                    }
                }
                let (surface, reading) = (entry.surface.clone(), reading.clone());
                corrector.targets.push(Target { surface, reading, morae: morae.len(), weight: entry.weight });
                corrector.index.insert(&morae, target);
            }
        }
        corrector
    }

    /// Registers a spelling; a surface is stronger than an alias.
    fn spelling(&mut self, text: &str, spelling: Spelling) {
        self.longest_spelling = self.longest_spelling.max(text.chars().count());
        let known = self.spellings.entry(text.to_owned()).or_insert(spelling);
        if spelling.official && !known.official {
            *known = spelling;
        }
    }

    /// Surfaces that sound like something in `heard`, the likest first.
    pub(super) fn sounding_in(&self, heard: &str) -> Vec<String> {
        let text: Vec<char> = heard.chars().take(MAX_CHARS).collect();
        let mut candidates = self.sounding(&text, READINGS, &|_| true);
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.target.cmp(&b.target)));
        let surface = |candidate: &Candidate| Some(self.targets.get(candidate.target)?.surface.clone());
        candidates.iter().filter_map(surface).collect()
    }

    /// `plain` with the dictionary's spellings; `biased` is what was heard of the same sound with its bias.
    pub(super) fn correct(&self, plain: &Hypothesis, biased: Option<&Hypothesis>) -> Corrected {
        let text: Vec<char> = plain.text.chars().collect();
        let unchanged = || Corrected { text: plain.text.clone(), corrections: Vec::new() };
        if text.is_empty() || text.len() > MAX_CHARS {
            return unchanged();
        }
        let mut candidates = Vec::new();
        if self.correct {
            let sure = certainty(&plain.text, &text, &plain.tokens, plain.confidence);
            let (protected, aliases) = self.known_spellings(&text);
            let open = |at: usize| {
                sure.get(at).is_some_and(|sure| *sure < self.below) || text.get(at).is_some_and(|&c| is_katakana(c))
            };
            candidates = self.sounding(&text, READINGS, &open);
            candidates.retain(|candidate| self.allowed(candidate, &text, &sure, &protected));
            candidates.extend(aliases);
        }
        if let Some(biased) = biased.filter(|_| self.bias) {
            candidates.extend(self.by_bias(&Told::of(plain), &Told::of(biased)));
        }
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

    /// What is spelt as in the dictionary: places with the spelling; leftmost, longest first.
    fn spelt(&self, text: &[char]) -> Vec<(usize, usize, Spelling)> {
        let mut found = Vec::new();
        let mut from = 0;
        while from < text.len() {
            let longest = self.longest_spelling.min(text.len() - from);
            let here = (1..=longest).rev().find_map(|length| {
                let spelling: String = text[from..from + length].iter().collect();
                self.spellings.get(&spelling).map(|spelling| (length, *spelling))
            });
            found.extend(here.map(|(length, spelling)| (from, from + length, spelling)));
            from += here.map_or(1, |(length, _)| length);
        }
        found
    }

    /// Spans that are already spelt as in the dictionary, and the aliases in the text as candidates.
    fn known_spellings(&self, text: &[char]) -> (Vec<(usize, usize)>, Vec<Candidate>) {
        let (mut protected, mut candidates) = (Vec::new(), Vec::new());
        for (from, to, Spelling { target, official }) in self.spelt(text) {
            if official {
                protected.push((from, to));
            } else {
                candidates.push(Candidate { from, to, target, distance: 0.0, score: 1_000.0 + (to - from) as f32 });
            }
        }
        (protected, candidates)
    }

    /// Spans that sound like an entry, in any of the `most` likeliest readings of the text.
    fn sounding(&self, text: &[char], most: usize, open: &dyn Fn(usize) -> bool) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        // a stretch in which nothing may be replaced is not looked at
        let starts = |at: usize| (at..at + LONGEST_SURE).any(open);
        for reading in reading::readings(text, most) {
            let candidate = |Found { target, from, to, distance }: Found| {
                let known = self.targets.get(target)?;
                let (first, last): (&Sound, &Sound) =
                    (reading.sounds.get(from)?, reading.sounds.get(to.checked_sub(1)?)?);
                let score = known.morae as f32 - 3.0 * distance + 0.1 * known.weight;
                (last.last && first.from < last.to).then_some(Candidate {
                    from: first.from,
                    to: last.to,
                    target,
                    distance,
                    score,
                })
            };
            candidates.extend(self.index.search(&reading.sounds, &starts).into_iter().filter_map(candidate));
        }
        candidates
    }

    /// Words that were heard with the bias, where they stand in the text without it, if the recogniser finds them about as likely there.
    fn by_bias(&self, plain: &Told, biased: &Told) -> Vec<Candidate> {
        if plain.chars == biased.chars || biased.chars.len() > MAX_CHARS {
            return Vec::new();
        }
        let mut heard: Vec<Candidate> = Vec::new();
        for (from, to, Spelling { target, official }) in self.spelt(&biased.chars) {
            if official && let Some(known) = self.targets.get(target) {
                heard.push(Candidate {
                    from,
                    to,
                    target,
                    distance: 0.0,
                    score: known.morae as f32 + 0.1 * known.weight,
                });
            }
        }
        let katakana = |from: usize, to: usize| {
            biased.chars.get(from..to).is_some_and(|span| span.iter().all(|&c| is_katakana(c)))
        };
        let spelling = |at: usize| katakana(at, at + 1);
        let spelt_out = self.sounding(&biased.chars, 1, &spelling).into_iter().filter(|candidate| {
            let cut = candidate.from.checked_sub(1).is_some_and(|before| katakana(before, candidate.from));
            katakana(candidate.from, candidate.to) && !cut && (self.correct || candidate.distance == 0.0)
        });
        heard.extend(spelt_out);
        let places = places(&plain.chars, &biased.chars);
        heard.into_iter().filter_map(|candidate| self.accepted(candidate, plain, biased, &places)).collect()
    }

    /// A word heard with the bias as a candidate of the plain text; `None` when it has no place there or is too unlikely.
    fn accepted(&self, heard: Candidate, plain: &Told, biased: &Told, places: &[Option<usize>]) -> Option<Candidate> {
        let target = self.targets.get(heard.target).filter(|target| target.morae >= 3)?;
        let beyond = biased.chars.get(heard.to..)?.iter().take_while(|&&c| is_katakana(c)).count();
        let spelt_out = biased.chars.get(heard.from..heard.to)?.iter().all(|&c| is_katakana(c));
        let beyond = if spelt_out { beyond } else { 0 };
        let (from, to) = stretch(places, plain.chars.len(), heard.from, heard.to + beyond)?;
        let written = plain.chars.get(from..to)?;
        if beyond > MOST_BEYOND || target.surface.chars().eq(written.iter().copied()) {
            return None;
        }
        let gained = biased.likelihood(heard.from, heard.to + beyond) - plain.likelihood(from, to);
        let score = heard.score - beyond as f32;
        // a short word is found by chance, and a spelling that the recogniser knows needs no help
        let most = if spelt_out { self.accept } else { KNOWN_SPELLING };
        let accept = most.min(NATS_PER_MORA * (target.morae as f32 - 2.0));
        (gained - 2.0 * heard.distance >= -accept).then_some(Candidate { from, to, score, ..heard })
    }

    /// Whether a span may be replaced.
    fn allowed(&self, candidate: &Candidate, text: &[char], sure: &[f32], protected: &[(usize, usize)]) -> bool {
        let (from, to) = (candidate.from, candidate.to);
        let (Some(span), Some(target)) = (text.get(from..to), self.targets.get(candidate.target)) else { return false };
        if protected.iter().any(|&(start, end)| start < to && from < end) {
            return false;
        }
        let written: String = span.iter().collect();
        if written == target.surface || lexicon::is_common(&written) {
            return false;
        }
        let run = |c: Option<&char>| c.is_some_and(|&c| is_katakana(c));
        let cut_left = run(span.first()) && run(from.checked_sub(1).and_then(|before| text.get(before)));
        let cut_right = run(span.last()) && run(text.get(to));
        let exact = candidate.distance == 0.0;
        let least = sure.get(from..to).unwrap_or_default().iter().copied().fold(1.0, f32::min);
        if span.iter().all(|&c| is_katakana(c)) {
            if cut_left || cut_right {
                let one_side = cut_left != cut_right && !in_common_run(text, from, to);
                return exact && one_side && target.morae >= 3 + 2 * left_over(text, from, to);
            }
            return if exact { target.morae >= 2 } else { target.morae >= 4 && least < self.below };
        }
        if cut_left || cut_right {
            return false;
        }
        let heard = span.iter().filter(|&&c| is_katakana(c)).count() * 2 >= span.len();
        if exact && heard {
            return target.morae >= 3;
        }
        // grammar is not part of a name, unless the name has it too
        if span.iter().any(|&c| matches!(c, 'ぁ'..='ゖ') && !target.surface.contains(c)) {
            return false;
        }
        let kanji = span.iter().any(|&c| is_kanji(c));
        if lexicon::is_word(&written) && !(exact && least < self.below * UNSURE_WORD) {
            return false;
        }
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

/// Katakana around a span that would be left over.
fn left_over(text: &[char], from: usize, to: usize) -> usize {
    let run = |c: &&char| is_katakana(**c);
    text.get(..from).unwrap_or_default().iter().rev().take_while(run).count()
        + text.get(to..).unwrap_or_default().iter().take_while(run).count()
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
        let corrected = corrector.correct(&heard("ズイコー行きのバスはありますか。", 0.9), None);
        assert_eq!(corrected.text, "瑞光行きのバスはありますか。");
        let only = &corrected.corrections[0];
        assert_eq!(
            (only.start, only.end, only.from.as_str(), only.to.as_str(), only.distance),
            (0, 2, "ズイコー", "瑞光", 0.0)
        );
        assert_eq!(corrector.correct(&heard("デトに住んでいます。", 0.9), None).text, "出戸に住んでいます。");
    }

    #[test]
    fn a_small_mistake_in_a_long_name_is_forgiven() {
        let corrector = corrector(&[("中崎町", "ナカザキチョウ")]);
        assert_eq!(
            corrector.correct(&heard("ナカサキチョーの避難所", 0.9), None).text,
            "ナカサキチョーの避難所",
            "it was sure"
        );
        let corrected = corrector.correct(&heard("ナカサキチョーの避難所", 0.7), None);
        assert_eq!(corrected.text, "中崎町の避難所");
        assert!(corrected.corrections[0].distance > 0.0);
        assert_eq!(corrector.correct(&heard("ナガサキの避難所", 0.9), None).text, "ナガサキの避難所");
    }

    #[test]
    fn ordinary_words_and_known_spellings_stay() {
        let corrector = corrector(&[("馬巣", "バス"), ("大野", "オオノ"), ("小野", "オノ"), ("公演", "コウエン")]);
        for text in ["バスはありますか", "大野です", "公園の街灯", "おおのさん"] {
            let hypothesis = heard(text, 0.3);
            assert_eq!(corrector.correct(&hypothesis, None).text, text);
        }
    }

    #[test]
    fn kanji_of_the_same_sound_change_only_when_the_recogniser_was_unsure() {
        let corrector = corrector(&[("加島", "カシマ")]);
        assert_eq!(corrector.correct(&heard("鹿島に住んでいます", 0.4), None).text, "加島に住んでいます");
        assert_eq!(corrector.correct(&heard("鹿島に住んでいます", 0.97), None).text, "鹿島に住んでいます");
    }

    #[test]
    fn positions_count_characters_of_the_corrected_text() {
        let corrector = corrector(&[("十三", "ジュウソウ"), ("三国", "ミクニ")]);
        let corrected = corrector.correct(&heard("ジュウソウからミクニに", 0.9), None);
        assert_eq!(corrected.text, "十三から三国に");
        let chars: Vec<char> = corrected.text.chars().collect();
        for correction in &corrected.corrections {
            assert_eq!(chars[correction.start..correction.end].iter().collect::<String>(), correction.to);
        }
    }

    /// Tokens of one character each, with the probabilities of `p`, the last of them for the rest.
    fn told(text: &str, p: &[f32]) -> Hypothesis {
        let p = |index: usize| p.get(index).or(p.last()).copied().unwrap_or(1.0);
        let token = |(index, c): (usize, char)| Token { bytes: c.to_string().into_bytes(), p: p(index) };
        Hypothesis { text: text.into(), tokens: text.chars().enumerate().map(token).collect(), ..Hypothesis::default() }
    }

    #[test]
    fn a_word_that_the_bias_found_is_taken_where_the_recogniser_finds_it_likely_too() {
        let corrector = corrector(&[("堂島", "ドウジマ"), ("歌島", "ウタジマ")]);
        let unsure = told("歌島の区役所", &[0.4, 0.6, 1.0]);
        let biased = told("ドウジマの区役所", &[0.1, 0.9, 0.9, 0.9, 1.0]);
        let corrected = corrector.correct(&unsure, Some(&biased));
        assert_eq!(corrected.text, "堂島の区役所");
        let only = &corrected.corrections[0];
        assert_eq!((only.start, only.end, only.from.as_str(), only.to.as_str()), (0, 2, "歌島", "堂島"));
        let far = told("ドウジマの区役所", &[0.001, 0.1, 0.1, 0.01, 1.0]);
        assert_eq!(corrector.correct(&unsure, Some(&far)).text, "歌島の区役所", "the recogniser does not hear that");
    }

    #[test]
    fn what_is_outside_of_the_words_is_heard_without_the_dictionary() {
        let corrector = corrector(&[("堂島", "ドウジマ"), ("三国", "ミクニ")]);
        let plain = told("来月歌島に引っ越します。", &[0.5]);
        let same = |biased: &str| corrector.correct(&plain, Some(&told(biased, &[0.9]))).text;
        assert_eq!(same("今月ドウジマに住みます。"), "来月堂島に引っ越します。", "its other words are not taken");
        assert_eq!(same("来月ドウジマイに引っ越します。"), "来月堂島に引っ越します。", "a decoder that overshot");
        assert_eq!(same("来月ドウジマイキマスに引っ越します。"), "来月歌島に引っ越します。");
        assert_eq!(same("来月シンドウジマに引っ越します。"), "来月歌島に引っ越します。", "inside another word");
        assert_eq!(same("今日はドウジマへ行く"), "来月歌島に引っ越します。", "the two do not agree around it");
        assert_eq!(same(""), "来月歌島に引っ越します。");
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
        assert_eq!(corrector.correct(&hypothesis, None).text, "鹿島");
    }
}

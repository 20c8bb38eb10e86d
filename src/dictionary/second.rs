//! Two hearings of one sound, without and with the dictionary's bias: when there is a second one, which of the two the recogniser itself finds
//! likelier, and where a stretch of the second stands in the first.

use std::sync::Arc;

use super::changes::changes;
use super::{Dictionary, prompt};
use crate::speech::{Bias, Failure, Hypothesis, Recognizer, Stop};

/// Below this probability of any token a second hearing with the dictionary's bias may find another word.
const SURE: f32 = 0.9;
/// The text of a second hearing is taken whole when it is at most this many nats less likely than that of the first.
const WHOLE_NATS: f32 = 0.0;

/// Whether an utterance that was heard without a dictionary is worth hearing again with its bias: the recogniser was not sure of all of it.
pub fn second_hearing(plain: &Hypothesis) -> bool {
    plain.tokens.iter().any(|token| token.p < SURE)
}

/// One hypothesis of two of the same sound. A recogniser that takes the likeliest token at each step may leave the likeliest text behind; where
/// a bonus led the second hearing to a text that is the likelier one without the bonuses, that is the text; else it is that of the first. The
/// second stays with it in both cases, for [`Dictionary::correct`] to take the words that the bias spelt out.
pub fn heard_twice(plain: Hypothesis, second: Hypothesis) -> Hypothesis {
    let decode_ms = plain.decode_ms.saturating_add(second.decode_ms);
    if is_likelier(&second, &plain) {
        return Hypothesis { decode_ms, biased: Some(Box::new(second.clone())), ..second };
    }
    Hypothesis { decode_ms, bonuses: second.bonuses, biased: Some(Box::new(second)), ..plain }
}

fn is_likelier(second: &Hypothesis, plain: &Hypothesis) -> bool {
    let whole = |hypothesis: &Hypothesis| {
        let told = Told::of(hypothesis);
        told.likelihood(0, told.chars.len())
    };
    second.bonuses > 0
        && second.looped == 0
        && !second.text.is_empty()
        && second.text != plain.text
        && whole(second) >= whole(plain) - WHOLE_NATS
}

impl Dictionary {
    /// What helps the recogniser where `heard` is what it wrote of the same sound by itself: the bias, and with `[dictionary] prompt` a few
    /// words to expect. `None` when both are off or there are no words.
    pub fn help(&self, heard: &str) -> Option<Arc<dyn Bias>> {
        let prompt = self.prompt(heard);
        match prompt.is_empty() {
            true => self.bias(),
            false => Some(Arc::new(prompt::Prompted::new(prompt, self.trie(), self.version()))),
        }
    }

    /// The sentence with a few words to expect; empty with `[dictionary] prompt` off and where none is to be expected.
    pub fn prompt(&self, heard: &str) -> String {
        let corrector = self.corrector().filter(|_| self.settings.prompt);
        corrector.map_or_else(String::new, |corrector| prompt::sentence(&self.entries, corrector, heard))
    }

    /// Recognises `pcm` (16 kHz, mono, ±1.0) without the dictionary and, where the recogniser was not sure of all of it, a second time with
    /// its bias; see [`heard_twice`]. [`Dictionary::correct`] makes one text of what comes.
    ///
    /// # Errors
    /// As [`Recognizer::recognize`] of the first hearing.
    pub fn hear(&self, recognizer: &mut dyn Recognizer, pcm: &[f32]) -> Result<Hypothesis, Failure> {
        let mut plain = recognizer.recognize(pcm, None)?;
        let helps = |help: &Arc<dyn Bias>| recognizer.takes_bonuses() || !help.prompt().is_empty();
        if second_hearing(&plain)
            && let Some(help) = self.help(&plain.text).filter(helps)
            // what was heard without the dictionary is a text also where the second hearing fails
            && let Ok(biased) = recognizer.recognize(pcm, Some(help.as_ref()))
        {
            plain = heard_twice(plain, biased);
        }
        plain.dictionary.clone_from(&self.version);
        Ok(plain)
    }

    /// Recognises an utterance that goes on, once and without the dictionary: this is how its final is heard first, so that nothing outside of
    /// the dictionary's words changes when the final comes.
    ///
    /// # Errors
    /// As [`Recognizer::recognize_partial`].
    pub fn hear_partial(
        &self,
        recognizer: &mut dyn Recognizer,
        pcm: &[f32],
        stop: Stop<'_>,
    ) -> Result<Hypothesis, Failure> {
        let mut plain = recognizer.recognize_partial(pcm, None, stop)?;
        plain.dictionary.clone_from(&self.version);
        Ok(plain)
    }
}

/// A text with the recogniser's own log-probability of each place.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) chars: Vec<char>,
    /// Log-probability of the tokens that begin before each character, summed; one more than there are characters.
    sums: Vec<f32>,
}

impl Told {
    pub(super) fn of(hypothesis: &Hypothesis) -> Self {
        let chars: Vec<char> = hypothesis.text.chars().collect();
        let plain: Vec<u8> = hypothesis.tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
        let width = hypothesis.text.len().max(1);
        let skip = plain.windows(width).position(|window| window == hypothesis.text.as_bytes());
        // the log-probability of a token counts where it begins
        let mut at_byte = vec![0.0_f32; plain.len()];
        let mut begin = 0;
        for token in &hypothesis.tokens {
            if let Some(place) = at_byte.get_mut(begin) {
                *place = token.p.max(1e-6).ln();
            }
            begin += token.bytes.len();
        }
        let unknown = hypothesis.confidence.clamp(1e-6, 1.0).ln();
        let (mut sums, mut sum, mut at) = (vec![0.0], 0.0, skip.unwrap_or(0));
        for c in &chars {
            let end = at + c.len_utf8();
            sum += match skip {
                Some(_) => at_byte.get(at..end).unwrap_or_default().iter().sum::<f32>(),
                None => unknown,
            };
            at = end;
            sums.push(sum);
        }
        Self { chars, sums }
    }

    /// Log-probability of the characters `from..to`.
    pub(super) fn likelihood(&self, from: usize, to: usize) -> f32 {
        let at = |place: usize| self.sums.get(place).copied().unwrap_or(0.0);
        at(to) - at(from)
    }
}

/// For each character of `second` the place of the same character in `first`, where it stayed.
pub(super) fn places(first: &[char], second: &[char]) -> Vec<Option<usize>> {
    let mut places = Vec::with_capacity(second.len());
    let mut from = 0;
    for change in changes(first, second) {
        places.extend((from..change.from.start).map(Some));
        places.resize(change.to.end, None);
        from = change.from.end;
    }
    places.extend((from..first.len()).map(Some));
    places
}

/// Where the stretch `from..to` of the second text stands in the first (of `length` characters): between the characters that both texts have
/// right before and after it. `None` when they do not agree there.
pub(super) fn stretch(places: &[Option<usize>], length: usize, from: usize, to: usize) -> Option<(usize, usize)> {
    let start = match from.checked_sub(1) {
        None => 0,
        Some(before) => places.get(before).copied().flatten()? + 1,
    };
    let end = if to >= places.len() { length } else { places.get(to).copied().flatten()? };
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;
    use crate::dictionary::{Entry, Settings};
    use crate::speech::Token;

    /// Writes what was told, with and without help, and counts.
    #[derive(Default)]
    struct Player {
        p: f32,
        bonuses: bool,
        fails_again: bool,
        heard: Vec<bool>,
    }

    impl Recognizer for Player {
        fn recognize(&mut self, _: &[f32], bias: Option<&dyn Bias>) -> Result<Hypothesis, Failure> {
            self.heard.push(bias.is_some());
            if self.fails_again && bias.is_some() {
                return Err(Failure::Failed("it ran out of memory".into()));
            }
            let text = if bias.is_some() { "ドウジマに住む" } else { "歌島に住む" };
            let tokens = text.chars().map(|c| Token { bytes: c.to_string().into_bytes(), p: self.p }).collect();
            Ok(Hypothesis { text: text.into(), tokens, decode_ms: 10, ..Hypothesis::default() })
        }

        fn takes_bonuses(&self) -> bool {
            self.bonuses
        }
    }

    #[test]
    fn only_a_final_that_was_not_sure_is_heard_again() {
        let entry = Entry {
            surface: "堂島".into(),
            readings: vec!["ドウジマ".into()],
            class: String::new(),
            scope: String::new(),
            weight: 1.5,
            aliases: Vec::new(),
        };
        let with = |settings: &Settings| Dictionary::of_entries(vec![entry.clone()], settings);
        let (usual, prompting) = (with(&Settings::default()), with(&Settings { prompt: true, ..Settings::default() }));
        let hear = |dictionary: &Dictionary, p: f32, bonuses: bool| {
            let mut player = Player { p, bonuses, ..Player::default() };
            let heard = dictionary.hear(&mut player, &[]).unwrap();
            assert_eq!((heard.text.as_str(), heard.dictionary.as_str()), ("歌島に住む", dictionary.version()));
            (player.heard, dictionary.correct(&heard).text, heard.decode_ms)
        };
        assert_eq!(hear(&usual, 0.5, true), (vec![false, true], "堂島に住む".into(), 20));
        assert_eq!(hear(&usual, 0.95, true), (vec![false], "歌島に住む".into(), 10), "it was sure");
        assert_eq!(hear(&usual, 0.5, false).0, [false], "a bonus would not reach it");
        assert_eq!(hear(&prompting, 0.5, false).0, [false, true], "a prompt does");
        assert_eq!(hear(&Dictionary::empty(), 0.5, true).0, [false], "there is no word");
        let mut player = Player { p: 0.5, bonuses: true, ..Player::default() };
        let partial = usual.hear_partial(&mut player, &[], &|| false).unwrap();
        assert_eq!((player.heard, partial.dictionary.as_str()), (vec![false], usual.version()));
        let given_up = usual.hear_partial(&mut Player { p: 0.5, bonuses: true, ..Player::default() }, &[], &|| true);
        assert_eq!(given_up, Err(Failure::Withdrawn));
    }

    #[test]
    fn a_second_hearing_that_fails_leaves_the_first() {
        let words = Source { name: "words.csv", bytes: "surface,reading\n堂島,ドウジマ\n".as_bytes() };
        let dictionary = Dictionary::load(&[words], &Settings::default()).unwrap();
        let mut player = Player { p: 0.5, bonuses: true, fails_again: true, ..Player::default() };
        let heard = dictionary.hear(&mut player, &[]).unwrap();
        assert_eq!((heard.text.as_str(), heard.biased, player.heard), ("歌島に住む", None, vec![false, true]));
    }

    #[test]
    fn the_likelier_of_two_hearings_is_the_text() {
        let told = |text: &str, p: f32, bonuses: u32| Hypothesis {
            text: text.into(),
            tokens: text.chars().map(|c| Token { bytes: c.to_string().into_bytes(), p }).collect(),
            bonuses,
            decode_ms: 10,
            ..Hypothesis::default()
        };
        let words =
            Source { name: "words.csv", bytes: "surface,reading\n騒音苦情,ソウオンクジョウ\n".as_bytes() };
        let dictionary = Dictionary::load(&[words], &Settings::default()).unwrap();
        let text = |plain: Hypothesis, second: Hypothesis| {
            let heard = heard_twice(plain, second);
            (dictionary.correct(&heard).text, heard.text, heard.decode_ms, heard.bonuses)
        };
        let (plain, second) = ("掃除機を教えてください", "ソウオンクジョウについて教えてください");
        let taken = ("騒音苦情について教えてください".to_owned(), second.to_owned(), 20, 3);
        assert_eq!(text(told(plain, 0.5, 0), told(second, 0.7, 3)), taken);
        let left = (plain.to_owned(), plain.to_owned(), 20, 3);
        assert_eq!(
            text(told(plain, 0.7, 0), told(second, 0.7, 3)),
            left,
            "less likely, and its word has no place in the first"
        );
        let other = Hypothesis { looped: 1, ..told(second, 0.9, 3) };
        assert_eq!(text(told(plain, 0.5, 0), other).1, plain, "it repeated itself");
        assert_eq!(text(told(plain, 0.5, 0), told("", 0.9, 3)).1, plain, "it wrote nothing");
        assert_eq!(text(told(plain, 0.5, 0), told(second, 0.9, 0)).1, plain, "the dictionary had no part in it");
    }

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn a_stretch_is_found_between_what_both_texts_have() {
        let (first, second) = (chars("来月歌島に引っ越します"), chars("来月ドウジマに引っ越します"));
        let places = places(&first, &second);
        assert_eq!(stretch(&places, first.len(), 2, 6), Some((2, 4)));
        assert_eq!(stretch(&places, first.len(), 2, 5), None, "マ is not in the first text");
        let (first, second) = (chars("歌島"), chars("ドウジマ"));
        assert_eq!(stretch(&super::places(&first, &second), 2, 0, 4), Some((0, 2)), "the whole of it");
        let (first, second) = (chars("に住む"), chars("ドウジマに住む"));
        assert_eq!(stretch(&super::places(&first, &second), 3, 0, 4), None, "nothing is there to replace");
    }

    #[test]
    fn likelihoods_are_those_of_the_tokens_of_a_stretch() {
        let token = |text: &str, p: f32| Token { bytes: text.as_bytes().to_vec(), p };
        let tokens = vec![token(" ", 0.9), token("来月", 0.5), token("ド", 0.25), token("ウジ", 0.5), token("マ", 1.0)];
        let told = Told::of(&Hypothesis { text: "来月ドウジマ".into(), tokens, ..Hypothesis::default() });
        assert!((told.likelihood(2, 6) - (0.25f32.ln() + 0.5f32.ln())).abs() < 1e-5);
        assert!((told.likelihood(0, 2) - 0.5f32.ln()).abs() < 1e-5);
        let other = Told::of(&Hypothesis { text: "ドウジマ".into(), confidence: 0.5, ..Hypothesis::default() });
        assert!((other.likelihood(0, 4) - 4.0 * 0.5f32.ln()).abs() < 1e-5, "tokens that do not spell the text");
        assert_eq!(Told::of(&Hypothesis::default()).likelihood(0, 9), 0.0);
    }
}

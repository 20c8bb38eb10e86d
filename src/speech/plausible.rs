//! Which texts are not believed: recognisers write sentences where nobody spoke, and repeat themselves.
//!
//! Every rule compares the text with something else: with the sound that it was made of ([`Evidence`]), with the time that it takes to say
//! it, with the recogniser's own doubt. A sentence that people do say is never dropped because of its words alone.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::manifest::{Decode, Reject};
use super::{Hypothesis, Token};

/// Longest loop that is looked for, in tokens.
const LONGEST_LOOP: usize = 24;
/// Texts with fewer pieces of three characters than this are too short to be called repetitive.
const REPETITIVE_FROM: usize = 24;
/// What is left of a stock text without its stock phrases, as a share of its characters.
const REST: f32 = 0.2;

/// Why a text was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No word in it: only punctuation, notes, or a remark in brackets.
    NoWord,
    /// The sound is music or noise from end to end.
    NoVoice,
    /// The model thinks that nobody spoke, and is not sure of its words.
    NoSpeech,
    /// Nobody speaks that fast.
    TooFast,
    /// It says the same again and again.
    Repetitive,
    /// A sentence that recognisers write over silence and music, and nothing shows that it was said.
    StockPhrase,
    /// There is little voice in the sound, and the model is not sure of its words.
    Unsure,
}

impl Reason {
    /// All of them, in the order of [`Reason::index`].
    pub const ALL: [Reason; 7] = [
        Reason::NoWord,
        Reason::NoVoice,
        Reason::NoSpeech,
        Reason::TooFast,
        Reason::Repetitive,
        Reason::StockPhrase,
        Reason::Unsure,
    ];

    /// Its place among counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in events, logs and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NoWord => "no_word",
            Reason::NoVoice => "no_voice",
            Reason::NoSpeech => "no_speech",
            Reason::TooFast => "too_fast",
            Reason::Repetitive => "repetitive",
            Reason::StockPhrase => "stock_phrase",
            Reason::Unsure => "unsure",
        }
    }
}

/// Keeps one of what stands `repeats` times or more in a row.
pub fn without_loops(mut tokens: Vec<Token>, repeats: u32) -> Vec<Token> {
    let repeats = repeats.max(2) as usize;
    let mut at = 0;
    while at < tokens.len() {
        let rest = tokens.get(at..).unwrap_or_default();
        let longest = LONGEST_LOOP.min(rest.len() / repeats);
        let found = (1..=longest).find_map(|length| {
            let (unit, after) = rest.split_at(length);
            let more = after.chunks_exact(length).take_while(|piece| same(unit, piece)).count();
            (more + 1 >= repeats).then_some((length, more * length))
        });
        match found {
            Some((length, extra)) => {
                tokens.drain(at + length..at + length + extra);
                at += length;
            }
            None => at += 1,
        }
    }
    tokens
}

fn same(a: &[Token], b: &[Token]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.bytes == b.bytes)
}

/// Whether a text only repeats the prompt: two of its words stand in the text as they stand in the prompt, joined by 「、」.
pub fn echoes(tokens: &[Token], prompt: &str) -> bool {
    if prompt.is_empty() {
        return false;
    }
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.clone()).collect();
    let text = String::from_utf8_lossy(&bytes);
    let words: Vec<&str> = prompt.split('、').collect();
    words.windows(2).any(|pair| matches!(pair, [a, b] if text.contains(&format!("{a}、{b}"))))
}

/// Why the text of an utterance is not believed; `None` when it is, or when there is no text.
pub fn doubt(hypothesis: &Hypothesis, evidence: &Evidence, decode: &Decode, reject: &Reject) -> Option<Reason> {
    if hypothesis.tokens.is_empty() {
        return None;
    }
    let words = words(&hypothesis.text);
    let spoken = words.chars().count() as f32;
    let count = hypothesis.tokens.len() as f32;
    let mean = hypothesis.tokens.iter().map(|token| token.p.max(1e-9).ln()).sum::<f32>() / count;
    let unsure = hypothesis.confidence < reject.weak_confidence || hypothesis.no_speech > decode.no_speech / 2.0;
    let weak = evidence.is_weak(reject);
    let rules = [
        (Reason::NoWord, words.is_empty()),
        (Reason::NoVoice, evidence.is_no_voice(reject)),
        (Reason::NoSpeech, hypothesis.no_speech > decode.no_speech && mean < decode.logprob),
        (Reason::TooFast, spoken > reject.characters_per_second * evidence.seconds.max(0.1)),
        (Reason::Repetitive, is_repetitive(&words, reject.distinct)),
        (Reason::StockPhrase, (weak || unsure) && is_stock(&words, &reject.stock_phrases)),
        (Reason::Unsure, weak && unsure),
    ];
    rules.iter().find(|(_, found)| *found).map(|(reason, _)| *reason)
}

/// The letters and digits of a text outside brackets.
fn words(text: &str) -> String {
    let mut depth = 0u32;
    let outside = text.chars().filter(|c| {
        let inside = depth > 0;
        match c {
            '(' | '[' | '（' | '［' | '【' | '〔' | '<' | '＜' => depth += 1,
            ')' | ']' | '）' | '］' | '】' | '〕' | '>' | '＞' => depth = depth.saturating_sub(1),
            _ => return !inside && c.is_alphanumeric(),
        }
        false
    });
    outside.collect()
}

/// Whether fewer than `distinct` of the pieces of three characters differ from each other (compression, in effect).
fn is_repetitive(words: &str, distinct: f32) -> bool {
    let chars: Vec<char> = words.chars().collect();
    let pieces: Vec<&[char]> = chars.windows(3).collect();
    let different: std::collections::HashSet<&[char]> = pieces.iter().copied().collect();
    pieces.len() >= REPETITIVE_FROM && (different.len() as f32) < distinct * pieces.len() as f32
}

/// Whether a text is made of stock phrases and hardly anything else.
fn is_stock(words: &str, phrases: &[String]) -> bool {
    let (mut rest, all) = (words.to_lowercase(), words.chars().count() as f32);
    for phrase in phrases {
        rest = rest.replace(&self::words(phrase).to_lowercase(), "");
    }
    (rest.chars().count() as f32) <= REST * all
}

#[cfg(test)]
mod tests;

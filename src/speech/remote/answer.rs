//! Reads the answer of a transcription server into a hypothesis, whatever of it is there.
//!
//! Probabilities come from the tokens (`logprobs`), else from the words (`probability`), else from the segments (`avg_logprob`). A server that
//! tells none gets `confidence = 0`: unknown. Its words then count as sure where they are corrected, so that less is corrected, not more.

use serde::Deserialize;

use super::Trouble;
use crate::speech::evidence::Evidence;
use crate::speech::manifest::Manifest;
use crate::speech::{Hypothesis, Token, plausible};

/// Most bytes of an answer that are read.
pub const MAX_ANSWER: usize = 1 << 20;
/// Most characters of a text; half a minute has some 300.
const MAX_CHARS: usize = 4_000;
/// Most segments, words or tokens.
const MAX_PARTS: usize = 4_096;
/// How far ahead a word is looked for in the text, in bytes.
const AHEAD: usize = 96;

/// What may be in an answer; all but the text may be missing.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    text: Option<String>,
    segments: Option<Vec<Segment>>,
    words: Option<Vec<Word>>,
    logprobs: Option<Vec<LogProb>>,
}

#[derive(Debug, Deserialize)]
struct Segment {
    #[serde(default)]
    text: String,
    avg_logprob: Option<f64>,
    no_speech_prob: Option<f64>,
    words: Option<Vec<Word>>,
}

#[derive(Debug, Deserialize)]
struct Word {
    #[serde(default)]
    word: String,
    probability: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct LogProb {
    #[serde(default)]
    token: String,
    logprob: Option<f64>,
}

/// An answer of which only the text is understood.
#[derive(Debug, Deserialize)]
struct TextOnly {
    text: String,
}

/// Reads the body of an answer with status 200 to a sound of which `evidence` is known. `model` is the name that the hypothesis carries.
///
/// # Errors
/// [`Trouble::Refused`] when it is no answer of this API; the message quotes nothing of it.
pub fn read(body: &[u8], evidence: &Evidence, model: &str, manifest: &Manifest) -> Result<Hypothesis, Trouble> {
    if body.len() > MAX_ANSWER {
        return Err(Trouble::Refused(format!("an answer of more than {MAX_ANSWER} bytes")));
    }
    let answer = parse(body)?;
    let parts = [
        answer.segments.as_ref().map_or(0, Vec::len),
        answer.words.as_ref().map_or(0, Vec::len),
        answer.logprobs.as_ref().map_or(0, Vec::len),
        answer.segments.iter().flatten().map(|segment| segment.words.as_ref().map_or(0, Vec::len)).sum(),
    ];
    let text = text(&answer)?;
    if text.chars().count() > MAX_CHARS || parts.iter().any(|count| *count > MAX_PARTS) {
        return Err(Trouble::Refused(format!("an answer of more than {MAX_CHARS} characters or {MAX_PARTS} parts")));
    }
    let no_speech = answer.segments.iter().flatten().filter_map(|segment| segment.no_speech_prob).map(probability);
    let no_speech = no_speech.reduce(f32::min).unwrap_or(0.0);
    let (tokens, known) = tokens(&answer, &text);
    let hypothesis = Hypothesis { tokens, no_speech, model: model.to_owned(), ..Hypothesis::default() };
    Ok(settle(hypothesis, known, evidence, manifest))
}

fn parse(body: &[u8]) -> Result<Answer, Trouble> {
    // serde would read an array as a struct too
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Trouble::Refused("an answer that is no JSON of this API (no object)".into()));
    }
    // the text of the error could quote the answer, which holds spoken words
    serde_json::from_slice(body).or_else(|error| match serde_json::from_slice::<TextOnly>(body) {
        Ok(TextOnly { text }) => Ok(Answer { text: Some(text), ..Answer::default() }),
        Err(_) => Err(Trouble::Refused(format!("an answer that is no JSON of this API (column {})", error.column()))),
    })
}

/// The text in one line: of the segments, else of the whole.
fn text(answer: &Answer) -> Result<String, Trouble> {
    let segments: String = answer.segments.iter().flatten().map(|segment| segment.text.as_str()).collect();
    let text = match (segments.trim().is_empty(), &answer.text) {
        (false, _) => segments,
        (true, Some(text)) => text.clone(),
        (true, None) if answer.segments.is_some() => String::new(),
        (true, None) => return Err(Trouble::Refused("an answer without `text`".into())),
    };
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    Ok(plain.trim().to_owned())
}

/// A number as a probability.
fn probability(value: f64) -> f32 {
    value.clamp(0.0, 1.0) as f32
}

fn from_log(value: f64) -> f32 {
    probability(value.min(0.0).exp())
}

/// The tokens of which the text is made, and whether their probabilities are known.
fn tokens(answer: &Answer, text: &str) -> (Vec<Token>, bool) {
    let of_tokens: Vec<_> =
        answer.logprobs.iter().flatten().filter_map(|one| Some((one.token.as_str(), from_log(one.logprob?)))).collect();
    let words = answer
        .segments
        .iter()
        .flatten()
        .flat_map(|segment| segment.words.iter().flatten())
        .chain(answer.words.iter().flatten());
    let of_words: Vec<_> =
        words.filter_map(|word| Some((word.word.as_str(), probability(word.probability?)))).collect();
    let segments = answer.segments.iter().flatten();
    let of_segments: Vec<_> =
        segments.filter_map(|segment| Some((segment.text.as_str(), from_log(segment.avg_logprob?)))).collect();
    match [of_tokens, of_words, of_segments].iter().find(|parts| !parts.is_empty()) {
        Some(parts) => (cover(text, parts), true),
        None => (cover(text, &[]), false),
    }
}

/// Divides the text among the parts that are found in it in their order. What lies between two of them, or belongs to parts that are not
/// found (half characters, other spellings), gets the least probability of those.
fn cover(text: &str, parts: &[(&str, f32)]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut push = |text: &str, p: f32| {
        if !text.is_empty() {
            tokens.push(Token { bytes: text.into(), p });
        }
    };
    let (mut rest, mut least) = (text, None);
    for &(part, p) in parts {
        let part = part.trim();
        let found = (!part.is_empty()).then(|| rest.find(part)).flatten().filter(|at| *at <= AHEAD);
        let Some((before, after)) = found.and_then(|at| rest.split_at_checked(at)) else {
            least = Some(least.unwrap_or(1.0f32).min(p));
            continue;
        };
        push(before, least.take().unwrap_or(p));
        let (own, behind) = after.split_at_checked(part.len()).unwrap_or((after, ""));
        push(own, p);
        rest = behind;
    }
    let mean = parts.iter().map(|part| part.1).sum::<f32>() / parts.len().max(1) as f32;
    push(rest, least.unwrap_or(if parts.is_empty() { 1.0 } else { mean }));
    tokens
}

/// Text and confidence of the tokens; what is not believed is dropped, as with the local recogniser.
fn settle(mut hypothesis: Hypothesis, known: bool, evidence: &Evidence, manifest: &Manifest) -> Hypothesis {
    let heard = hypothesis.tokens.len();
    let tokens = plausible::without_loops(std::mem::take(&mut hypothesis.tokens), manifest.reject.repeats);
    hypothesis.looped = u32::try_from(heard - tokens.len()).unwrap_or(u32::MAX);
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.clone()).collect();
    hypothesis.text = String::from_utf8_lossy(&bytes).trim().to_owned();
    if known {
        hypothesis.confidence = tokens.iter().map(|token| token.p).sum::<f32>() / tokens.len().max(1) as f32;
    }
    hypothesis.tokens = tokens;
    // a probability that is not known makes nobody unsure
    let judged = Hypothesis { confidence: if known { hypothesis.confidence } else { 1.0 }, ..hypothesis.clone() };
    hypothesis.rejected = plausible::doubt(&judged, evidence, &manifest.decode, &manifest.reject);
    if hypothesis.rejected.is_some() {
        hypothesis.text.clear();
        hypothesis.tokens.clear();
        hypothesis.confidence = 0.0;
    }
    hypothesis
}

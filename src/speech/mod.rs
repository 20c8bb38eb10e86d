//! Utterances in, hypotheses out.
//!
//! In: PCM of one stream, cut into utterances by `vad` and `endpoint`. Out: a [`Hypothesis`] or a [`Failure`] per job; nothing is lost in
//! between. `schedule` says which job is next, worker processes do the work and speak `protocol`; `whisper` is the recogniser on this machine,
//! `remote` one on another, `nats` how workers on other machines are found and given jobs. While an utterance runs, its readings so far become text that is settled and text that may change (`agreement`),
//! as often as the load allows (`pace`).

pub mod agreement;
pub mod catalogue;
pub mod endpoint;
pub mod evidence;
pub mod ggml;
pub mod manifest;
mod music;
pub mod nats;
pub mod pace;
pub mod plausible;
pub mod protocol;
pub mod remote;
pub mod schedule;
pub mod settings;
mod spectrum;
mod tone;
pub mod vad;
#[cfg(feature = "whisper")]
pub mod whisper;

use serde::{Deserialize, Serialize};

use crate::call::scope::Scopes;
use crate::pbx::StreamId;
use crate::time::{MediaTime, Mono, Now};

/// What a session learns of the speech on a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeechEvent {
    /// The stream.
    pub stream: StreamId,
    /// When it was noticed.
    pub at: Now,
    /// What happened.
    pub kind: SpeechEventKind,
}

/// The kinds of [`SpeechEvent`].
#[derive(Clone, Debug, PartialEq)]
pub enum SpeechEventKind {
    /// Somebody began to speak.
    Started {
        /// Number of the utterance within its stream, from 0.
        utterance: u32,
        /// Where the speech begins.
        start: MediaTime,
    },
    /// So much of an utterance was said so far; it goes on. Only when partials are wanted.
    Running(Utterance),
    /// An utterance is complete and can be recognised.
    Ended(Utterance),
}

/// One stretch of speech between pauses, ready to be recognised.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    /// Number within its stream, from 0, in order of time.
    pub number: u32,
    /// Start, pre-roll included.
    pub start: MediaTime,
    /// End, hangover trimmed.
    pub end: MediaTime,
    /// Samples of speech were cut because the utterance reached its greatest length.
    pub forced: bool,
    /// Sample rate of `pcm` in Hz.
    pub rate: u32,
    /// The sound, native rate, full scale ±32768.
    pub pcm: std::sync::Arc<[i16]>,
}

/// What a job is for, in the order in which they are served; catch-up gets a quarter of the capacity all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// The text of a finished utterance of a running call.
    LiveFinal,
    /// The first text of an utterance that goes on.
    FirstPartial,
    /// A further text of an utterance that goes on.
    Refresh,
    /// Audio that was not recognised while it was live, read back from disk.
    CatchUp,
}

impl JobKind {
    /// Text of an utterance that goes on: dropped when there is no time for it, never tried twice, replaced by the final.
    pub fn is_partial(self) -> bool {
        matches!(self, JobKind::FirstPartial | JobKind::Refresh)
    }
}

/// One utterance to recognise.
#[derive(Clone, Debug)]
pub struct Job {
    /// Unique in this process; an [`Outcome`] carries it back.
    pub id: u64,
    /// What it is for.
    pub kind: JobKind,
    /// Whose sound it is; the finals of one stream come out in order.
    pub stream: StreamId,
    /// Number of the utterance within its stream.
    pub utterance: u32,
    /// Sample rate of `pcm` in Hz (8000 or 16000).
    pub rate: u32,
    /// The sound, full scale ±32768.
    pub pcm: std::sync::Arc<[i16]>,
    /// What the call is, for the words that apply to it.
    pub scopes: Scopes,
    /// When it was known that there is something to recognise; how late a text is counts from then.
    pub since: Mono,
    /// When it is no longer worth beginning; `None` for finals.
    pub deadline: Option<Mono>,
}

/// What became of a job.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The job's id.
    pub id: u64,
    /// Text, or why there is none.
    pub result: Result<Hypothesis, Failure>,
}

/// What the recogniser heard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// The text; empty when nothing was said.
    pub text: String,
    /// The tokens of the text in order.
    pub tokens: Vec<Token>,
    /// Mean probability of the tokens from scores without bias, 0–1; 0 with a text when the recogniser tells none.
    pub confidence: f32,
    /// The model's probability that there was no speech, 0–1.
    pub no_speech: f32,
    /// Why the text was not believed; it is empty then.
    #[serde(default)]
    pub rejected: Option<plausible::Reason>,
    /// Tokens that were taken out because the recogniser repeated itself.
    #[serde(default)]
    pub looped: u32,
    /// Bonuses that the bias gave while decoding, or in the second hearing.
    pub bonuses: u32,
    /// What was heard of the same sound with the dictionary's bias, where a second hearing was worth it; where its text is the
    /// likelier one, it is `text` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biased: Option<Box<Hypothesis>>,
    /// Version of the dictionary that it was heard for and is put right by, empty without one.
    pub dictionary: String,
    /// Name of the model.
    pub model: String,
    /// Time spent decoding, in milliseconds.
    pub decode_ms: u32,
}

/// One token of a hypothesis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Bytes of the token (may end inside a character).
    pub bytes: Vec<u8>,
    /// Probability without bias, 0–1.
    pub p: f32,
}

/// Why a job gave no text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// The worker crashed or hung on it twice; the audio is kept.
    #[error("the recogniser failed twice on this utterance: {0}")]
    Failed(String),
    /// It was taken back: something newer replaced it, or there was no time for it.
    #[error("the job was withdrawn")]
    Withdrawn,
}

/// Says whether a decode is to be given up; asked again and again, on the thread that decodes.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Turns sound into text. One value per worker; `&mut` because a model state is not shared.
pub trait Recognizer: Send {
    /// Recognises `pcm` (16 kHz, mono, ±1.0), with `bias` when there is one.
    ///
    /// # Errors
    /// [`Failure::Failed`] when the engine reports an error; the caller keeps the audio.
    fn recognize(&mut self, pcm: &[f32], bias: Option<&dyn Bias>) -> Result<Hypothesis, Failure>;

    /// Whether bonuses reach its scores; one that cannot be given any takes a prompt at most.
    fn takes_bonuses(&self) -> bool {
        true
    }

    /// As [`Recognizer::recognize`], of an utterance that goes on: the quickest decode there is (for Whisper greedy and without a second
    /// temperature), given up as soon as the engine can once `stop` says so.
    ///
    /// # Errors
    /// [`Failure::Withdrawn`] when it was given up; else as [`Recognizer::recognize`].
    fn recognize_partial(
        &mut self,
        pcm: &[f32],
        bias: Option<&dyn Bias>,
        stop: Stop<'_>,
    ) -> Result<Hypothesis, Failure> {
        if stop() {
            return Err(Failure::Withdrawn);
        }
        self.recognize(pcm, bias)
    }
}

/// Prefers the words of a dictionary while the recogniser decodes. Implemented by `dictionary::bias`.
///
/// Called from several decoder threads at once: immutable, no locks, no panics.
pub trait Bias: Send + Sync {
    /// Version of the dictionary.
    fn version(&self) -> &str;
    /// Adds bonuses to `logits` (one per token of `vocabulary`, special tokens included) given the bytes decoded so far in this
    /// window.
    fn adjust(&self, vocabulary: &Vocabulary, so_far: &[u8], logits: &mut [f32]) -> Given;
    /// A sentence with a few words for the recogniser to have heard before (at most 100 characters are of use); empty for none.
    fn prompt(&self) -> &str {
        ""
    }
}

/// What a bias gave at one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// Tokens with their bonuses in nats.
    pub bonuses: Vec<(u32, f32)>,
    /// Tokens with the best scores before the bonuses, those with a bonus among them; empty when none was given.
    pub near: Vec<(u32, f32)>,
}

/// The text tokens of a model: id → bytes.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    tokens: Vec<Vec<u8>>,
}

impl Vocabulary {
    /// `tokens[id]` is the bytes of text token `id`; special tokens are left out (ids at and above `len()`).
    pub fn new(tokens: Vec<Vec<u8>>) -> Self {
        Self { tokens }
    }

    /// Number of text tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Bytes of token `id`; empty for special tokens.
    pub fn bytes(&self, id: usize) -> &[u8] {
        self.tokens.get(id).map_or(&[], Vec::as_slice)
    }
}

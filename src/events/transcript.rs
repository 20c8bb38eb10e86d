//! Payloads of the events about what was said.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PausedSpan;
use crate::call::LegId;
use crate::pbx::Speaker;
use crate::time::Wall;

/// A replacement that the dictionary made in a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Correction {
    /// Start of `to` in the corrected text, in Unicode scalar values.
    pub start: usize,
    /// End of `to` in the corrected text, in Unicode scalar values.
    pub end: usize,
    /// What the recogniser wrote.
    pub from: String,
    /// The dictionary's surface.
    pub to: String,
    /// Its reading, katakana.
    pub reading: String,
    /// Weighted distance of the readings in morae, 0 = same.
    pub distance: f32,
}

/// Payload of `transcript.final`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptFinal {
    /// The leg during which it was said.
    pub leg: LegId,
    /// Unique within the contact: `<stream>/<start in milliseconds>`.
    pub utterance: String,
    /// Who said it.
    pub speaker: Speaker,
    /// When it began.
    pub start: Wall,
    /// When it ended.
    pub end: Wall,
    /// Position in the stream, milliseconds.
    pub start_ms: u64,
    /// Position in the stream, milliseconds.
    pub end_ms: u64,
    /// The text, corrected, its numbers in their written form and masked.
    pub text: String,
    /// The text as recognised, masked.
    pub text_raw: String,
    /// What was replaced.
    pub corrections: Vec<Correction>,
    /// 0–1, without bias; 0 when the recogniser tells none.
    pub confidence: f32,
    /// Audio inside it that never came, `[from_ms, to_ms]` in the stream.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub gaps: Vec<(u64, u64)>,
    /// Model name.
    pub model: String,
    /// Dictionary version.
    pub dictionary: String,
    /// It was recognised from disk, not live.
    #[serde(default)]
    pub caught_up: bool,
}

/// Payload of `transcript.partial`: what is read of an utterance that goes on. Replaced by the `transcript.final` of the same `utterance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptPartial {
    /// The leg during which it is said.
    pub leg: LegId,
    /// As in `transcript.final`.
    pub utterance: String,
    /// 1 for the first; a later revision replaces an earlier one.
    pub revision: u32,
    /// Who says it.
    pub speaker: Speaker,
    /// When it began.
    pub start: Wall,
    /// Position in the stream, milliseconds.
    pub start_ms: u64,
    /// How much of it was heard, milliseconds.
    pub heard_ms: u64,
    /// What stays in the revisions to come, masked; it only grows. The final may still have it otherwise.
    pub stable: String,
    /// What may change, masked.
    pub tail: String,
    /// There will be no final: nothing was said after all, or it could not be recognised. Take the text away.
    #[serde(default)]
    pub withdrawn: bool,
}

/// Payload of `transcript.corrected`: what a person wrote in place of a final, or of an earlier correction. The final itself stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptCorrected {
    /// The leg during which it was said.
    pub leg: LegId,
    /// As in `transcript.final`.
    pub utterance: String,
    /// 1 for the first of an utterance; a later revision replaces an earlier one.
    pub revision: u32,
    /// Who said it.
    pub speaker: Speaker,
    /// When it began.
    pub start: Wall,
    /// The text until now: that of the final, or of the correction before; masked.
    pub before: String,
    /// The text from now on, masked.
    pub text: String,
    /// Who posted it: a `[[panel.client]]`, or `panel`.
    pub from: String,
    /// Which person did it, as whoever posted it says: an agent's id or extension.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<String>,
}

/// Payload of `transcript.delayed`. Sent when the text falls behind, when it is twice as far behind, and when it has caught up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptDelayed {
    /// Utterances that wait; 0 when the text has caught up.
    pub waiting: u32,
    /// Age of the oldest, milliseconds; 0 when the text has caught up.
    pub behind_ms: u64,
}

/// What became of the time of one speaker on one leg; milliseconds; the parts sum to `duration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Answered to ended.
    pub duration: u64,
    /// Speech with text.
    pub transcribed: u64,
    /// No speech.
    pub silent: u64,
    /// Audio that never came.
    pub lost: u64,
    /// Recording was paused.
    pub paused: u64,
    /// The line's policy excludes it.
    pub excluded: u64,
    /// The bridge could not hear it.
    pub unobserved: u64,
    /// Speech whose text is still to come.
    pub pending: u64,
    /// Speech that could not be recognised; the audio is kept.
    pub failed: u64,
}

/// One turn of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Turn {
    /// As in `transcript.final`.
    pub utterance: String,
    /// The leg.
    pub leg: LegId,
    /// Who spoke.
    pub speaker: Speaker,
    /// When it began.
    pub start: Wall,
    /// When it ended.
    pub end: Wall,
    /// What was said, as it was corrected last; `None` where recognition failed.
    pub text: Option<String>,
    /// What was replaced by the dictionary; empty once a person has corrected the text.
    pub corrections: Vec<Correction>,
    /// The revision of `transcript.corrected` that the text is of; absent while it is that of the final.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub corrected: Option<u32>,
}

/// Coverage of one speaker on one leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LegCoverage {
    /// The leg.
    pub leg: LegId,
    /// Who spoke.
    pub speaker: Speaker,
    /// The sums.
    pub coverage: Coverage,
    /// Why the sound could not be had, when that was told (encrypted, no port); the time is `unobserved`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unheard: Option<String>,
}

/// Payload of `transcript.document`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptDocument {
    /// 1 for the first; a later revision replaces an earlier one.
    pub revision: u32,
    /// In order of time.
    pub turns: Vec<Turn>,
    /// The ledger.
    pub coverage: Vec<LegCoverage>,
    /// Whether anything is pending or failed.
    pub complete: bool,
    /// When recording or transcription was paused, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub pauses: Vec<PausedSpan>,
}

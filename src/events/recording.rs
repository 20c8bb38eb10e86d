//! Payloads of the events about recordings and their pauses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::LegId;
use crate::call::pause::{Cause, Scope};
use crate::pbx::{Speaker, StreamId};
use crate::time::Wall;

/// One stream of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedStream {
    /// The stream.
    pub stream: StreamId,
    /// The leg.
    pub leg: LegId,
    /// Who is heard.
    pub speaker: Speaker,
    /// Wall time of its first sample.
    pub origin: Wall,
    /// Samples.
    pub samples: u64,
    /// Samples a second.
    pub rate: u32,
    /// Only from then on it is theirs; absent: from its beginning.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<Wall>,
    /// Only until then it is theirs; absent: to its end. The same stream stands there again for who came after.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<Wall>,
    /// Another stream has the same sound: a second recorder's.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub spare: bool,
}

/// Payload of `recording.available`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingAvailable {
    /// The streams; `kakehashi export <contact>` writes them as one stereo WAV file.
    pub streams: Vec<RecordedStream>,
    /// When recording was paused (silence in the file) or transcription, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub pauses: Vec<PausedSpan>,
}

/// Payload of `recording.paused` and `recording.resumed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingPause {
    /// What was paused or goes on.
    pub scope: Scope,
    /// Who wants it.
    pub cause: Cause,
    /// What the operator or the system gave as a reason; `bridge_restart` when a pause goes on after one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Whether recording is paused from now on.
    pub record_paused: bool,
    /// Whether transcription is paused from now on.
    pub transcribe_paused: bool,
}

/// A stretch of a contact that was paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PausedSpan {
    /// What was paused.
    pub scope: Scope,
    /// When it began.
    pub from: Wall,
    /// When it ended.
    pub to: Wall,
}

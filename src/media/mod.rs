//! RTP bytes in, ordered PCM with gaps marked and segments on disk out.
//!
//! In: packets of one stream, in whatever order the network gives them. Out: PCM at the stream's native rate in true time (never
//! stretched), [`StreamEvent`]s for the session, segments for the record. Refuses: packets of a foreign source, of a payload type
//! that was not negotiated, or that do not parse; each refusal is counted.

pub mod codec;
pub mod dtmf;
pub mod jitter;
pub mod ledger;
pub mod resample;
pub mod rtp;
pub mod segment;
pub mod settings;
pub mod stream;

use serde::{Deserialize, Serialize};

use crate::pbx::StreamId;
use crate::time::{MediaTime, Now};

/// What the owner of a stream (a PBX driver) asks the media stage to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenStream {
    /// The new stream's id.
    pub stream: StreamId,
    /// Payload types and their codecs as negotiated, best first.
    pub payloads: Vec<Payload>,
    /// Keep segments on disk.
    pub record: bool,
    /// Feed the recogniser.
    pub transcribe: bool,
}

/// One negotiated payload type (RFC 3551, RFC 4733).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// RTP payload type, 0–127.
    pub number: u8,
    /// What it carries.
    pub codec: Codec,
}

/// What the media stage decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// G.711 µ-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// Opus, decoded to 16 kHz mono (RFC 7587). Needs the feature `opus`.
    Opus,
    /// Named telephone events (RFC 4733).
    TelephoneEvent,
    /// Comfort noise (RFC 3389).
    ComfortNoise,
}

impl Codec {
    /// RTP clock in Hz.
    pub fn clock(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            _ => 8_000,
        }
    }

    /// Rate of the PCM that the stream gives out, in Hz.
    pub fn pcm_rate(self) -> u32 {
        match self {
            Codec::Opus => 16_000,
            _ => 8_000,
        }
    }
}

/// What a session learns of a stream. Packets never leave the media stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamEvent {
    /// The stream.
    pub stream: StreamId,
    /// When it was noticed.
    pub at: Now,
    /// What happened.
    pub kind: StreamEventKind,
}

/// The kinds of [`StreamEvent`].
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEventKind {
    /// The first packet came; sample 0 of the stream was heard at `origin`; PCM follows at `rate` Hz.
    First {
        /// Wall and monotonic time of sample 0.
        origin: Now,
        /// Samples a second.
        rate: u32,
    },
    /// A keypad digit (RFC 4733), reported once at its end.
    Digit {
        /// `0`–`9`, `*`, `#`, `A`–`D`.
        digit: char,
        /// Position of its start.
        start: MediaTime,
        /// Length in milliseconds.
        millis: u32,
    },
    /// Audio that never came, `from`..`to`; written as silence and marked.
    Gap {
        /// Start of the hole.
        from: MediaTime,
        /// End of the hole.
        to: MediaTime,
    },
    /// No packet for the configured time; the stream stays open.
    Timeout,
    /// The stream was closed; nothing follows.
    Closed(StreamSummary),
}

/// What a media thread hands on, in order per stream.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Sound of a stream that may be transcribed.
    Pcm(Frame),
    /// Everything else.
    Event(StreamEvent),
}

/// A stretch of PCM in true time; a gap inside it is silence (and was reported as [`StreamEventKind::Gap`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The stream.
    pub stream: StreamId,
    /// Position of the first sample in the stream.
    pub position: u64,
    /// Samples a second.
    pub rate: u32,
    /// Full scale ±32768.
    pub samples: Vec<i16>,
}

/// Totals of a stream at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSummary {
    /// Length in samples at `rate`.
    pub samples: u64,
    /// Samples a second.
    pub rate: u32,
    /// Packets taken.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came after their place had been passed on.
    pub late: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets of a foreign source, refused.
    pub foreign: u64,
    /// Packets that did not parse or whose payload type was not negotiated.
    pub malformed: u64,
    /// Samples of silence written for packets that never came.
    pub gap_samples: u64,
}

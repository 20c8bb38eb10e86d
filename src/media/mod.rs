//! RTP bytes in, ordered PCM with gaps marked and segments on disk out.
//!
//! In: packets of one stream, in whatever order the network gives them. Out: PCM at the stream's native rate in true time (never
//! stretched), [`StreamEvent`]s for the session, segments for the record, RTCP and handshakes for the peer. Refuses: packets of a foreign
//! source, packets that are not authentic or came before where the stream is encrypted, of a payload type that was not negotiated, or
//! that do not parse; each refusal is counted.
//!
//! A packet passes [`source`] and [`candidate`] (who sent it), [`protection`] ([`secure`], [`dtls`]), [`rtp`], [`probation`] (which SSRC) and [`jitter`]
//! (where it belongs) with its [`codec`].

pub mod candidate;
pub mod codec;
pub mod dtls;
pub mod dtmf;
pub mod g722;
pub mod jitter;
pub mod ledger;
pub mod probation;
pub mod protection;
pub mod resample;
pub mod rtcp;
pub mod rtp;
pub mod secure;
pub mod segment;
pub mod settings;
pub mod source;
pub mod stream;

pub use source::Source;

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::pbx::StreamId;
use crate::pbx::sip::keying::Path;
use crate::pbx::sip::sdp::{self, Format};
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
    /// Who may send.
    pub source: Source,
    /// Where RTCP goes and how the packets are protected.
    pub path: Path,
}

/// A datagram of a stream whose driver receives it itself (see `MediaHandle::open_fed`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fed {
    /// The stream.
    pub stream: StreamId,
    /// When it was received.
    pub at: Now,
    /// Who sent it.
    pub from: SocketAddr,
    /// RTP (or what shares its port, RFC 7983).
    pub datagram: Bytes,
}

/// One negotiated payload type (RFC 3551, RFC 4733).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// RTP payload type, 0–127.
    pub number: u8,
    /// What it carries.
    pub codec: Codec,
}

impl Payload {
    /// What a session description agreed on.
    pub fn of(formats: &[Format]) -> Vec<Payload> {
        let translate = |format: &Format| {
            let codec = match format.codec {
                sdp::Codec::Pcmu => Codec::Pcmu,
                sdp::Codec::Pcma => Codec::Pcma,
                sdp::Codec::G722 => Codec::G722,
                sdp::Codec::Opus => Codec::Opus,
                sdp::Codec::TelephoneEvent => Codec::TelephoneEvent,
                sdp::Codec::ComfortNoise => Codec::ComfortNoise,
            };
            Payload { number: format.number, codec }
        };
        formats.iter().map(translate).collect()
    }
}

/// What the media stage decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// G.711 µ-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// G.722, 16 kHz under an RTP clock of 8,000 Hz (RFC 3551 §4.5.2).
    G722,
    /// Opus, decoded to 16 kHz mono (RFC 7587). Needs the feature `opus`.
    Opus,
    /// 16-bit PCM in network byte order, 8 kHz mono (RFC 3551 §4.5.11, at the rate of telephones).
    L16,
    /// The same at 16 kHz.
    L16Wide,
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
            Codec::L16Wide => 16_000,
            _ => 8_000,
        }
    }

    /// Rate of the PCM of a stream that begins with it, in Hz.
    pub fn pcm_rate(self) -> u32 {
        match self {
            Codec::Opus | Codec::G722 | Codec::L16Wide => 16_000,
            _ => 8_000,
        }
    }

    /// Whether it carries sound.
    pub fn is_audio(self) -> bool {
        !matches!(self, Codec::TelephoneEvent | Codec::ComfortNoise)
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
    /// What was on disk of `from`..`to` is silence now.
    Silenced {
        /// As it was asked for.
        from: MediaTime,
        /// As it was asked for.
        to: MediaTime,
        /// `false`: it could not be written.
        done: bool,
    },
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
    /// Packets of another synchronisation source beside the one that is heard, refused.
    pub strange: u64,
    /// Packets that came encrypted and were taken.
    pub encrypted: u64,
    /// Packets that are not authentic, refused.
    pub unauthenticated: u64,
    /// Authentic packets that came again, refused.
    pub replayed: u64,
    /// DTLS handshakes that failed.
    pub handshakes_failed: u64,
}

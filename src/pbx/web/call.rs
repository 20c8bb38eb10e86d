//! What a token of a web call is asked for, and how a web call ends.

use crate::pbx::{CallKey, ExternalKey, Identity, LegKey, PbxId, Speaker};
use crate::time::Wall;

/// To which call the sound of a token belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A call that nobody else tells of.
    New {
        /// The exchange.
        pbx: PbxId,
        /// Who calls.
        caller: Identity,
        /// The dialled line.
        called: String,
    },
    /// A call that another driver tells of.
    Running {
        /// Which.
        call: CallKey,
        /// The dialled line.
        called: String,
        /// The leg to which the sound belongs, if the agent has one already.
        leg: Option<LegKey>,
    },
}

/// What a token is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The call.
    pub target: Target,
    /// The agent's extension.
    pub extension: String,
    /// Who is heard on the audio lines, in their order.
    pub tracks: Vec<Speaker>,
}

/// A token that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The token; nobody can ask for it again.
    pub token: String,
    /// The identifier by which the contact is found for it.
    pub key: ExternalKey,
    /// Its call.
    pub call: CallKey,
    /// When it expires unless a call was made with it.
    pub expires: Wall,
}

/// Why no token was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// [`super::settings::Settings::max_tokens`].
    #[error("all tokens of [webcall] max_tokens are in use; try again")]
    Full,
    /// Not one or two different speakers.
    #[error("tracks: expected one or both of \"agent\" and \"caller\", each once")]
    Tracks,
}

/// Why a session ended or did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The softphone hung up (`DELETE`).
    HungUp,
    /// The media stack could not be set up.
    Setup,
    /// No connection came about in time.
    NoConnection,
    /// ICE or DTLS failed before the connection was up.
    Handshake,
    /// The softphone is no longer there (RFC 7675).
    Consent,
    /// The softphone closed the connection.
    Closed,
    /// No RTP came.
    Silence,
    /// The media stack failed.
    Panic,
    /// [`super::settings::Settings::max_call_ms`].
    TooLong,
    /// The bridge is stopping.
    Stopping,
}

impl Why {
    /// In words, for logs and [`crate::pbx::Signal::StreamFailed`].
    pub fn text(self) -> &'static str {
        match self {
            Why::HungUp => "the softphone hung up",
            Why::Setup => "no media socket could be opened; look at first_port and last_port of [webcall]",
            Why::NoConnection => {
                "no connection came about in time; check that the softphone reaches the UDP ports of [webcall] at `bind` or `advertise`"
            }
            Why::Handshake => "ICE or the DTLS handshake failed before the connection was up",
            Why::Consent => "the softphone is no longer there",
            Why::Closed => "the softphone closed the connection without DELETE",
            Why::Silence => "no RTP came for [webcall] silence_ms",
            Why::Panic => "the media stack failed on this call",
            Why::TooLong => "the call was longer than [webcall] max_call_ms",
            Why::Stopping => "the bridge is stopping",
        }
    }
}

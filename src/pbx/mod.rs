//! What every exchange tells us, in one vocabulary: `Signal`.
//!
//! In: protocol bytes of one exchange (SIP, Asterisk's ARI, …), read by the submodules. Out: [`Observed`], a [`Signal`] about one
//! call. Later stages never learn which protocol it came from, except by [`Fidelity`].

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Now;

pub mod asterisk;
pub mod mirror;
pub mod sip;
pub mod web;

mod identity;

pub use identity::{DivertReason, Diverted, Identity, Tag, Verstat, Withheld};

/// Names one `[[pbx]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PbxId(pub String);

/// One call as its exchange counts it: `key` is Asterisk's linkedid or SIP's Call-ID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallKey {
    /// The exchange that reports the call.
    pub pbx: PbxId,
    /// Unique within that exchange while the call lives.
    pub key: String,
}

/// One end of a call other than the caller: a channel's unique id or a SIP dialog.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LegKey(pub String);

/// One audio stream (one speaker, one direction); names the folder of its segments too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct StreamId(pub Uuid);

/// Who is heard on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The citizen who called.
    Caller,
    /// Whoever answers: operator, staff, or the bridge's own line.
    Agent,
    /// Several people at once on one stream, which the source does not keep apart.
    Mixed,
    /// One person whom the source names as neither: a third party from outside, or nobody whose name was told.
    Other,
}

/// What may be done with the sound of calls to one dialled line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Keep it on disk.
    pub record: bool,
    /// Turn it into text.
    pub transcribe: bool,
}

/// The kind of an identifier that another system uses for the same call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// SIP Call-ID (RFC 3261 §8.1.1.4).
    CallId,
    /// Session-ID (RFC 7989).
    SessionId,
    /// SIPREC session (RFC 7865).
    SiprecSession,
    /// Asterisk's linkedid.
    Linkedid,
    /// Asterisk's channel unique id.
    Uniqueid,
    /// An opaque string that the call brings along (RFC 7433, a web call), by which a context finds it.
    Token,
    /// `x-refci` of a recorded call with its cluster, as Cisco Unified CM writes it into From.
    CiscoRefci,
    /// Cisco-Guid of a recorded call.
    CiscoGuid,
}

/// An identifier of the call in another system; unique per site.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExternalKey {
    /// Whose identifier it is.
    pub kind: KeyKind,
    /// The identifier, byte for byte.
    pub value: String,
}

/// How much a source can tell: what is absent below is unknown, not false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fidelity {
    /// Every end of the call with its changes (Asterisk's ARI).
    Full,
    /// Only the leg that reaches the bridge (a SIP call to it).
    OwnLeg,
    /// Who takes part and their sound, from the answer on, as a recorder is told (SIPREC); not who hung up.
    Recording,
    /// Busy and ringing only (dialog events).
    State,
}

/// Why one end went away, as the exchange reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// Normal clearing (Q.850 16, BYE).
    Normal,
    /// The callee was busy (Q.850 17, 486).
    Busy,
    /// Nobody answered in time (Q.850 18/19, 480).
    NoAnswer,
    /// The callee refused (Q.850 21, 603).
    Rejected,
    /// The caller hung up: while it rang (CANCEL), or an answered leg whose caller was the first to go.
    Cancelled,
    /// Another member of the group answered (Q.850 26).
    AnsweredElsewhere,
    /// The person at this end passed the caller on to somebody else.
    Transferred,
    /// The telephone sent the call elsewhere before answering (SIP 302).
    Forwarded,
    /// The person at this end parked the caller.
    Parked,
    /// The exchange or the network failed.
    Failed,
    /// The source lost sight of the call and it was gone afterwards.
    LostSight,
}

/// How a caller is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TransferKind {
    /// Without asking the new person first (RFC 5589 §5, "basic").
    Blind,
    /// After a consultation (RFC 5589 §7, REFER with Replaces).
    Attended,
}

/// What another contact is to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// The other contact is the consultation that was held about this one.
    Consultation,
    /// The other contact is the one that this consultation was about.
    Origin,
}

/// One fact about one call. Facts repeat and arrive out of order; the call model settles that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The call exists. Always the first signal of a call.
    CallAppeared {
        /// Who calls.
        caller: Identity,
        /// The dialled line as received.
        called: String,
        /// Identifiers in other systems.
        keys: Vec<ExternalKey>,
        /// What this source can tell.
        fidelity: Fidelity,
    },
    /// More identifiers became known.
    Keys(Vec<ExternalKey>),
    /// The caller's identity became known or changed.
    CallerIdentified(Identity),
    /// The call waits in a queue.
    Queued {
        /// The queue's name at the exchange.
        queue: String,
    },
    /// An end that may answer exists: an agent's telephone is being called.
    LegAppeared {
        /// The end.
        leg: LegKey,
        /// Its extension or device number, matched against the directory.
        address: String,
        /// The queue that offered the call, if one did.
        queue: Option<String>,
    },
    /// That telephone rings.
    LegRinging(LegKey),
    /// It was answered.
    LegAnswered(LegKey),
    /// It was put on hold.
    LegHeld(LegKey),
    /// The hold ended.
    LegResumed(LegKey),
    /// The exchange wants nothing of this end kept for now (`[pbx.sip] hold_pauses`).
    KeepNothing(LegKey),
    /// It may be kept again.
    KeepAgain(LegKey),
    /// It hears the caller now.
    LegJoined(LegKey),
    /// It no longer hears the caller, but still exists.
    LegLeft(LegKey),
    /// It is gone.
    LegEnded(LegKey, EndCause),
    /// Media of one speaker arrives on a stream that was opened for it.
    StreamAdded {
        /// The leg during which it is heard.
        leg: LegKey,
        /// The stream.
        stream: StreamId,
        /// Who is heard.
        speaker: Speaker,
    },
    /// The stream was closed; no media follows.
    StreamRemoved(StreamId),
    /// Media was wanted for a leg and could not be had; the text says why (no personal data).
    StreamFailed {
        /// The leg.
        leg: LegKey,
        /// Whose audio is missing.
        speaker: Speaker,
        /// What failed and what to do.
        reason: String,
    },
    /// A digit was pressed, reported by signalling (RFC 4733 digits come from the media stage).
    Digit {
        /// Who pressed it.
        speaker: Speaker,
        /// `0`–`9`, `*`, `#`, `A`–`D`.
        digit: char,
    },
    /// The person at this end passes the caller on; the end of the leg follows, and the new leg comes before or after.
    Transferred {
        /// Who passes the caller on.
        leg: LegKey,
        /// With or without asking first.
        kind: TransferKind,
        /// The number that was dialled for it, when the exchange says.
        to: Option<String>,
    },
    /// The caller waits in a parking place until somebody fetches her.
    Parked {
        /// Who parked her, when that is known.
        leg: Option<LegKey>,
        /// The number under which she can be fetched, when the exchange says.
        slot: Option<String>,
    },
    /// Another call of the same exchange belongs to this one.
    Linked {
        /// The other call.
        other: CallKey,
        /// What it is to this one.
        relation: Relation,
        /// How they were joined.
        kind: TransferKind,
    },
    /// The caller is gone and with it the call.
    CallEnded(EndCause),
}

/// A signal with the call it is about and the time it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The call.
    pub call: CallKey,
    /// When the bridge received it.
    pub at: Now,
    /// What happened.
    pub signal: Signal,
}

//! Payloads of the events about calls and their legs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::number::NumberKind;
use crate::call::{ContactId, LegId, Tier};
use crate::pbx::{DivertReason, EndCause, ExternalKey, Relation, Tag, TransferKind, Verstat, Withheld};
use crate::time::Wall;

/// The caller as shown to people and systems outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    /// E.164 (`+81…`) when the number could be normalised.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub number: Option<String>,
    /// As received.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw: Option<String>,
    /// Display name from the exchange.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub display: Option<String>,
    /// Why there is no number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub withheld: Option<Withheld>,
    /// What the number is for, by the numbering plan.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<NumberKind>,
    /// What else is known: a public telephone, the telephone relay service, …
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<Tag>,
    /// Whether the network has verified the number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verstat: Option<Verstat>,
    /// The line that was dialled first, when the call was diverted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub diverted: Option<DivertedFrom>,
}

/// Where a diverted call was meant to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DivertedFrom {
    /// E.164 when the number could be normalised.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub number: Option<String>,
    /// As received; absent when it is private.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw: Option<String>,
    /// Why it was diverted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<DivertReason>,
}

/// The agent of a leg as the directory knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Agent {
    /// Directory id; absent when the extension is not in the directory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Department (所属).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub department: Option<String>,
    /// The extension that rings.
    pub extension: String,
}

/// Payload of `call.queued`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallQueued {
    /// Who calls.
    pub caller: Caller,
    /// The dialled line.
    pub called: String,
    /// Queue name.
    pub queue: String,
}

/// Payload of the events about one leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LegState {
    /// The leg.
    pub leg: LegId,
    /// Who answers or is asked to.
    pub agent: Agent,
    /// 一次, 二次, 三次.
    pub tier: Tier,
    /// Who calls.
    pub caller: Caller,
    /// The dialled line.
    pub called: String,
    /// The queue that offered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<String>,
    /// The leg that the caller was on before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous_leg: Option<LegId>,
    /// Identifiers of the call in other systems.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub keys: Vec<ExternalKey>,
}

/// Payload of `call.parked`. Whoever fetches the caller is a new leg of the same contact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallParked {
    /// Who calls.
    pub caller: Caller,
    /// The dialled line.
    pub called: String,
    /// The number under which the caller can be fetched; absent when the exchange does not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slot: Option<String>,
    /// The leg of whoever parked the caller, when that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from_leg: Option<LegId>,
    /// Who that is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from_agent: Option<Agent>,
}

/// Payload of `call.transferred`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallTransferred {
    /// With or without a consultation.
    pub kind: TransferKind,
    /// The leg of whoever passed the caller on.
    pub from_leg: LegId,
    /// Who that is.
    pub from_agent: Agent,
    /// The first leg at the new place; absent when the call ended before there was one, or it went to a queue.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_leg: Option<LegId>,
    /// Who is there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_agent: Option<Agent>,
    /// The number that was dialled for it, when the exchange says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
    /// Who calls.
    pub caller: Caller,
    /// The dialled line.
    pub called: String,
}

/// Payload of `contact.linked`; the other contact tells the same about this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactLinked {
    /// The other contact.
    pub contact: ContactId,
    /// What it is to this one.
    pub relation: Relation,
    /// How they were joined.
    pub kind: TransferKind,
}

/// Payload of `call.abandoned`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallAbandoned {
    /// Who called.
    pub caller: Caller,
    /// The dialled line.
    pub called: String,
    /// Where they waited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<String>,
    /// From first sight to hang-up, in milliseconds.
    pub waited_ms: u64,
}

/// Why a leg or contact ended: one closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The caller hung up.
    CallerHangup,
    /// The agent hung up.
    AgentHangup,
    /// Somebody hung up; the source does not tell who.
    Hangup,
    /// Nobody answered.
    NoAnswer,
    /// Busy.
    Busy,
    /// Refused.
    Rejected,
    /// The caller gave up while it rang.
    Abandoned,
    /// Another telephone answered.
    AnsweredElsewhere,
    /// Passed on to another leg.
    Transferred,
    /// The telephone sent the call elsewhere before answering.
    Forwarded,
    /// The agent parked the caller.
    Parked,
    /// The exchange or the network failed.
    Failed,
    /// The exchange lost sight of it (connection to the exchange was cut).
    LostSight,
    /// The bridge was restarted while the leg was open.
    BridgeRestart,
    /// The bridge failed on this leg.
    BridgeError,
}

impl EndReason {
    /// The reason that an exchange's cause gives by itself.
    pub fn of_cause(cause: EndCause) -> Self {
        match cause {
            EndCause::Normal => EndReason::AgentHangup,
            EndCause::Busy => EndReason::Busy,
            EndCause::NoAnswer => EndReason::NoAnswer,
            EndCause::Rejected => EndReason::Rejected,
            EndCause::Cancelled => EndReason::Abandoned,
            EndCause::AnsweredElsewhere => EndReason::AnsweredElsewhere,
            EndCause::Transferred => EndReason::Transferred,
            EndCause::Forwarded => EndReason::Forwarded,
            EndCause::Parked => EndReason::Parked,
            EndCause::Failed => EndReason::Failed,
            EndCause::LostSight => EndReason::LostSight,
        }
    }
}

/// Payload of `call.ended`: the full state, so that a receiver that missed events can rebuild it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallEnded {
    /// Why.
    pub reason: EndReason,
    /// Who called.
    pub caller: Caller,
    /// The dialled line.
    pub called: String,
    /// First sight of the contact.
    pub started: Wall,
    /// The legs, in order; only the ended one when the event is about a leg.
    pub legs: Vec<LegRecord>,
    /// Identifiers of the call in other systems.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub keys: Vec<ExternalKey>,
}

impl CallEnded {
    /// The leg that was answered first.
    pub fn first_answered(&self) -> Option<&LegRecord> {
        self.legs.iter().filter(|leg| leg.answered.is_some()).min_by_key(|leg| leg.answered)
    }
}

/// A leg as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LegRecord {
    /// The leg.
    pub leg: LegId,
    /// Who answered or was asked to.
    pub agent: Agent,
    /// 一次, 二次, 三次.
    pub tier: Tier,
    /// The queue that offered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<String>,
    /// The leg before it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous_leg: Option<LegId>,
    /// First sight.
    pub offered: Wall,
    /// Ringing began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ringing: Option<Wall>,
    /// Answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answered: Option<Wall>,
    /// Ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<Wall>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<EndReason>,
}

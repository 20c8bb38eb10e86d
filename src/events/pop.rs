//! Payloads of the screen pop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Agent, Caller, ContactContext, Handover};
use crate::call::LegId;
use crate::pbx::TransferKind;
use crate::time::Wall;

/// A possible caller, from look-up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Match {
    /// The contact's id in the CRM or the contacts file.
    pub id: String,
    /// Name.
    pub name: String,
    /// One line for the operator, for example a ward or an open case.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// Address of the record in the CRM.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
    /// What is not settled yet (案件), newest first; where the CRM has such records.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cases: Vec<Entry>,
    /// Earlier calls (応対履歴), newest first; where the CRM has such records.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub history: Vec<Entry>,
}

/// A record of the CRM that belongs to a possible caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// One line for the operator.
    pub title: String,
    /// When it was begun.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time: Option<Wall>,
    /// How far it is, in the CRM's own words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
    /// Address of the record in the CRM.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
}

/// State of the look-up behind a pop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LookUp {
    /// Not answered yet.
    Pending,
    /// Answered; `matches` is final (it may be empty).
    Done,
    /// It failed or took too long.
    Failed,
    /// There is no number to look up.
    Skipped,
}

/// Payload of `screenpop`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScreenPop {
    /// Names the pop over its revisions.
    pub popid: Uuid,
    /// 0 at ring with what is known; later ones when look-up answers or more becomes known.
    pub revision: u32,
    /// The leg that rings.
    pub leg: LegId,
    /// To whom.
    pub agent: Agent,
    /// Who calls.
    pub caller: Caller,
    /// The dialled line and its name.
    pub called: String,
    /// Name of the dialled line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<String>,
    /// The queue that offered it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<String>,
    /// State of the look-up.
    pub lookup: LookUp,
    /// Who it may be.
    pub matches: Vec<Match>,
    /// Who passed the caller on to this agent, if somebody did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transfer: Option<PopTransfer>,
    /// Why the citizen calls, as far as it was known before.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub context: Vec<ContactContext>,
    /// What this agent gets handed over, if somebody had the caller before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub handover: Option<Box<Handover>>,
}

/// Who passed a caller on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PopTransfer {
    /// With or without a consultation.
    pub kind: TransferKind,
    /// The leg before.
    pub leg: LegId,
    /// Whose it is.
    pub agent: Agent,
}

/// Payload of `screenpop.withdrawn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScreenPopWithdrawn {
    /// The pop.
    pub popid: Uuid,
    /// The leg it was for.
    pub leg: LegId,
    /// To whom it was shown.
    pub agent: Agent,
    /// Why.
    pub reason: WithdrawReason,
}

/// Why a pop goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithdrawReason {
    /// The leg ended without this agent answering.
    NotAnswered,
    /// Another agent answered.
    AnsweredElsewhere,
    /// The caller hung up.
    Abandoned,
    /// The call ended.
    Ended,
}

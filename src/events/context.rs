//! Payloads of the events about what is known before the call, what operators mark in it, and what is handed over with a caller.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Agent, LegRecord};
use crate::call::context::{By, Known};
use crate::call::{ContactId, LegId};
use crate::pbx::Speaker;
use crate::time::Wall;

/// Payload of `contact.context`; in a pop the contexts that the contact has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactContext {
    /// The same for everything that one source says about one number, token or contact.
    pub context: Uuid,
    /// A later version replaces an earlier one.
    pub version: u32,
    /// Who posted it: a `[[panel.client]]`, or `panel`.
    pub from: String,
    /// How it found the contact.
    pub by: By,
    /// When it was posted.
    pub posted: Wall,
    /// When it was attached to the contact.
    pub attached: Wall,
    /// Its source took it back; `known` is empty then.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub removed: bool,
    /// What is known.
    pub known: Known,
}

/// Payload of `contact.marked`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactMarked {
    /// The mark.
    pub mark: Uuid,
    /// The utterance, as in `transcript.final`.
    pub utterance: String,
    /// The leg during which it was said.
    pub leg: LegId,
    /// Who said it.
    pub speaker: Speaker,
    /// When it began.
    pub start: Wall,
    /// What was said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// What the operator wrote beside it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// Payload of `contact.unmarked`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactUnmarked {
    /// The mark.
    pub mark: Uuid,
    /// The utterance.
    pub utterance: String,
}

/// Payload of `contact.note`; a later one replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactNote {
    /// What the operator wrote for whoever takes over; empty: nothing any more.
    pub text: String,
}

/// How a caller comes to the next person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HandoverKind {
    /// Passed on without asking first.
    Blind,
    /// Passed on after a consultation.
    Attended,
    /// Passed on to a queue.
    Queue,
    /// Fetched from a parking place.
    Parked,
    /// The telephone sent the call elsewhere before answering.
    Forwarded,
    /// Somebody is asked about the caller, who is on hold.
    Consultation,
    /// Somebody comes in besides whoever talks with the caller.
    Joined,
}

/// Payload of `contact.handover`; in a pop what its agent gets handed over. Built by rule from what is known, nothing is summed up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Handover {
    /// Names the packet over its revisions.
    pub handover: Uuid,
    /// 0 when the caller is passed on; a later revision replaces an earlier one.
    pub revision: u32,
    /// How.
    pub kind: HandoverKind,
    /// The leg of whoever passes the caller on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from_leg: Option<LegId>,
    /// Who that is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from_agent: Option<Agent>,
    /// The new leg; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_leg: Option<LegId>,
    /// Who is there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_agent: Option<Agent>,
    /// The number that was dialled for it, when the exchange says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
    /// The contact of the consultation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub consultation: Option<ContactId>,
    /// Why the citizen calls, from the newest context that says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What the operator wrote for whoever takes over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// What was known before the call.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub context: Vec<ContactContext>,
    /// Who talked with the caller before, in order, and telephones that sent her elsewhere.
    pub legs: Vec<LegRecord>,
    /// The last turns before the new person answered, in order; numbers are masked.
    pub turns: Vec<HandoverTurn>,
    /// Earlier turns that are left out here.
    pub omitted_turns: u32,
    /// Utterances before the new person answered whose text is still to come; a revision follows.
    pub pending: u32,
    /// Passages that operators marked, in order of time, also of turns that are left out.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub marks: Vec<ContactMarked>,
    /// Words of the dictionary that were said, the most frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub terms: Vec<Term>,
    /// The line's policy keeps what was said in the bridge: note, turns, marks and terms are left out.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub withheld: bool,
    /// What is handed over may not leave, whatever the policy of the line that it is shown on.
    #[serde(skip)]
    pub stays_here: bool,
}

/// One turn of a packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HandoverTurn {
    /// As in `transcript.final`.
    pub utterance: String,
    /// The leg.
    pub leg: LegId,
    /// Who spoke.
    pub speaker: Speaker,
    /// When it began.
    pub start: Wall,
    /// What was said; `None` where recognition failed.
    pub text: Option<String>,
}

/// A word of the dictionary that was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Term {
    /// As the dictionary writes it.
    pub surface: String,
    /// What it is; empty when the dictionary does not say.
    pub class: String,
    /// How often.
    pub count: u32,
}

impl Handover {
    /// The packet as it may leave a line whose texts stay here.
    pub fn without_text(mut self) -> Handover {
        (self.note, self.withheld) = (None, true);
        self.turns.clear();
        self.marks.clear();
        self.terms.clear();
        self
    }
}

//! The contract with the outside: CloudEvents 1.0 in JSON, every type in one file.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::call::number::NumberKind;
use crate::call::pause::{Cause, Scope};
use crate::call::{ContactId, LegId, Tier};
use crate::pbx::{
    DivertReason, EndCause, ExternalKey, Relation, Speaker, StreamId, Tag, TransferKind, Verstat, Withheld,
};
use crate::time::Wall;

/// Namespace of all deterministic ids (UUIDv5).
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6b61_6b65_6861_7368_9a2c_5b7e_31d4_0c01);

/// One event, record or realtime.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Unique, stable over retries and restarts; the `webhook-id` too.
    pub id: Uuid,
    /// `/site/<site>/node/<node>`.
    pub source: String,
    /// The contact; also the `partitionkey`.
    pub contact: ContactId,
    /// The leg, when the event is about one.
    pub leg: Option<LegId>,
    /// When it happened.
    pub time: Wall,
    /// Gap-free per source and contact over the record events that are sent; absent on texts that the line keeps here.
    pub sequence: Option<u64>,
    /// When it is of no more use; realtime events only.
    pub expires: Option<Wall>,
    /// Type and payload.
    pub data: Data,
}

/// Record events are stored before they are sent and retried for days; realtime events are dropped when stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Stored, ordered, retried.
    Record,
    /// Sent now or never.
    Realtime,
}

/// Payloads, one variant per event type. The wire name of a variant is [`Data::type_name`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Data {
    /// The contact waits in a queue.
    #[serde(rename = "kakehashi.call.queued.v1")]
    CallQueued(CallQueued),
    /// A telephone is being called for this contact.
    #[serde(rename = "kakehashi.call.offered.v1")]
    CallOffered(LegState),
    /// That telephone rings.
    #[serde(rename = "kakehashi.call.ringing.v1")]
    CallRinging(LegState),
    /// It was answered.
    #[serde(rename = "kakehashi.call.answered.v1")]
    CallAnswered(LegState),
    /// It was put on hold.
    #[serde(rename = "kakehashi.call.held.v1")]
    CallHeld(LegState),
    /// The hold ended.
    #[serde(rename = "kakehashi.call.resumed.v1")]
    CallResumed(LegState),
    /// The caller waits in a parking place.
    #[serde(rename = "kakehashi.call.parked.v1")]
    CallParked(CallParked),
    /// The caller was passed on.
    #[serde(rename = "kakehashi.call.transferred.v1")]
    CallTransferred(CallTransferred),
    /// Another contact belongs to this one.
    #[serde(rename = "kakehashi.contact.linked.v1")]
    ContactLinked(ContactLinked),
    /// The caller gave up before anybody answered.
    #[serde(rename = "kakehashi.call.abandoned.v1")]
    CallAbandoned(CallAbandoned),
    /// A leg ended, or (without a leg in the subject) the whole contact.
    #[serde(rename = "kakehashi.call.ended.v1")]
    CallEnded(CallEnded),
    /// The text of one utterance; never changes afterwards.
    #[serde(rename = "kakehashi.transcript.final.v1")]
    TranscriptFinal(TranscriptFinal),
    /// Recognition is behind the conversation.
    #[serde(rename = "kakehashi.transcript.delayed.v1")]
    TranscriptDelayed(TranscriptDelayed),
    /// Everything that was said, after the contact.
    #[serde(rename = "kakehashi.transcript.document.v1")]
    TranscriptDocument(TranscriptDocument),
    /// The sound of the contact can be fetched.
    #[serde(rename = "kakehashi.recording.available.v1")]
    RecordingAvailable(RecordingAvailable),
    /// From now on nothing is kept, or no text made.
    #[serde(rename = "kakehashi.recording.paused.v1")]
    RecordingPaused(RecordingPause),
    /// It goes on.
    #[serde(rename = "kakehashi.recording.resumed.v1")]
    RecordingResumed(RecordingPause),
    /// Show this to that agent now.
    #[serde(rename = "kakehashi.screenpop.v1")]
    ScreenPop(ScreenPop),
    /// Take it away again.
    #[serde(rename = "kakehashi.screenpop.withdrawn.v1")]
    ScreenPopWithdrawn(ScreenPopWithdrawn),
}

/// The caller as shown to people and systems outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallQueued {
    /// Who calls.
    pub caller: Caller,
    /// The dialled line.
    pub called: String,
    /// Queue name.
    pub queue: String,
}

/// Payload of the events about one leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactLinked {
    /// The other contact.
    pub contact: ContactId,
    /// What it is to this one.
    pub relation: Relation,
    /// How they were joined.
    pub kind: TransferKind,
}

/// Payload of `call.abandoned`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The caller hung up.
    CallerHangup,
    /// The agent hung up.
    AgentHangup,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// A leg as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// A replacement that the dictionary made in a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The text, corrected.
    pub text: String,
    /// The text as recognised.
    pub text_raw: String,
    /// What was replaced.
    pub corrections: Vec<Correction>,
    /// 0–1, without bias.
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

/// Payload of `transcript.delayed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptDelayed {
    /// Utterances that wait.
    pub waiting: u32,
    /// Age of the oldest, milliseconds.
    pub behind_ms: u64,
}

/// What became of the time of one speaker on one leg; milliseconds; the parts sum to `duration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// What was said; `None` where recognition failed.
    pub text: Option<String>,
    /// What was replaced.
    pub corrections: Vec<Correction>,
}

/// Coverage of one speaker on one leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegCoverage {
    /// The leg.
    pub leg: LegId,
    /// Who spoke.
    pub speaker: Speaker,
    /// The sums.
    pub coverage: Coverage,
}

/// Payload of `transcript.document`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// One stream of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Payload of `recording.available`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingAvailable {
    /// The streams; `kakehashi export <contact>` writes them as one stereo WAV file.
    pub streams: Vec<RecordedStream>,
    /// When recording was paused (silence in the file) or transcription, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub pauses: Vec<PausedSpan>,
}

/// Payload of `recording.paused` and `recording.resumed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedSpan {
    /// What was paused.
    pub scope: Scope,
    /// When it began.
    pub from: Wall,
    /// When it ended.
    pub to: Wall,
}

/// A possible caller, from look-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// State of the look-up behind a pop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScreenPop {
    /// Names the pop over its revisions.
    pub popid: Uuid,
    /// 0 at ring with what is known, 1 when look-up answers.
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
}

/// Who passed a caller on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PopTransfer {
    /// With or without a consultation.
    pub kind: TransferKind,
    /// The leg before.
    pub leg: LegId,
    /// Whose it is.
    pub agent: Agent,
}

/// Payload of `screenpop.withdrawn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl Event {
    /// The wire name of its type.
    pub fn type_name(&self) -> &'static str {
        self.data.type_name()
    }

    /// `contact/<contact>` or `contact/<contact>/leg/<leg>`.
    pub fn subject(&self) -> String {
        match self.leg {
            Some(leg) => format!("contact/{}/leg/{leg}", self.contact),
            None => format!("contact/{}", self.contact),
        }
    }

    /// The event in CloudEvents 1.0 structured JSON.
    pub fn to_json(&self) -> String {
        let envelope = Envelope {
            specversion: "1.0".into(),
            id: self.id,
            source: self.source.clone(),
            subject: self.subject(),
            time: self.time.rfc3339(),
            datacontenttype: "application/json".into(),
            partitionkey: self.contact,
            sequence: self.sequence.map(|number| format!("{number:020}")),
            expirytime: self.expires.map(Wall::rfc3339),
            data: self.data.clone(),
        };
        serde_json::to_string(&envelope).unwrap_or_default()
    }

    /// Reads what [`Event::to_json`] wrote.
    ///
    /// # Errors
    /// When it is not such an event; the text names the field.
    pub fn from_json(text: &str) -> Result<Event, serde_json::Error> {
        use serde::de::Error;
        let envelope: Envelope = serde_json::from_str(text)?;
        let leg = match envelope.subject.split_once("/leg/") {
            Some((_, leg)) => Some(LegId(leg.parse().map_err(|_| Error::custom("subject: expected a leg's UUID"))?)),
            None => None,
        };
        let wall = |text: &str| Wall::parse_rfc3339(text).ok_or_else(|| Error::custom("time: expected RFC 3339"));
        let number = |text: String| text.parse().map_err(|_| Error::custom("sequence: expected digits"));
        Ok(Event {
            id: envelope.id,
            source: envelope.source,
            contact: envelope.partitionkey,
            leg,
            time: wall(&envelope.time)?,
            sequence: envelope.sequence.map(number).transpose()?,
            expires: envelope.expirytime.as_deref().map(wall).transpose()?,
            data: envelope.data,
        })
    }

    /// The id of the record event `sequence` of a contact: the same after a restart.
    pub fn record_id(contact: ContactId, sequence: u64) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("record\0{contact}\0{sequence}").as_bytes())
    }

    /// The id of the text `number` of a contact whose line sends no texts: the same after a restart.
    pub fn kept_id(contact: ContactId, number: u64) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("kept\0{contact}\0{number}").as_bytes())
    }
}

/// CloudEvents 1.0 (§3, and the partitioning and sequence extensions) in JSON.
#[derive(Serialize, Deserialize)]
struct Envelope {
    specversion: String,
    id: Uuid,
    source: String,
    subject: String,
    time: String,
    datacontenttype: String,
    partitionkey: ContactId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sequence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    expirytime: Option<String>,
    #[serde(flatten)]
    data: Data,
}

impl Data {
    /// The wire name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Data::CallQueued(_) => "kakehashi.call.queued.v1",
            Data::CallOffered(_) => "kakehashi.call.offered.v1",
            Data::CallRinging(_) => "kakehashi.call.ringing.v1",
            Data::CallAnswered(_) => "kakehashi.call.answered.v1",
            Data::CallHeld(_) => "kakehashi.call.held.v1",
            Data::CallResumed(_) => "kakehashi.call.resumed.v1",
            Data::CallParked(_) => "kakehashi.call.parked.v1",
            Data::CallTransferred(_) => "kakehashi.call.transferred.v1",
            Data::ContactLinked(_) => "kakehashi.contact.linked.v1",
            Data::CallAbandoned(_) => "kakehashi.call.abandoned.v1",
            Data::CallEnded(_) => "kakehashi.call.ended.v1",
            Data::TranscriptFinal(_) => "kakehashi.transcript.final.v1",
            Data::TranscriptDelayed(_) => "kakehashi.transcript.delayed.v1",
            Data::TranscriptDocument(_) => "kakehashi.transcript.document.v1",
            Data::RecordingAvailable(_) => "kakehashi.recording.available.v1",
            Data::RecordingPaused(_) => "kakehashi.recording.paused.v1",
            Data::RecordingResumed(_) => "kakehashi.recording.resumed.v1",
            Data::ScreenPop(_) => "kakehashi.screenpop.v1",
            Data::ScreenPopWithdrawn(_) => "kakehashi.screenpop.withdrawn.v1",
        }
    }

    /// Record or realtime.
    pub fn class(&self) -> Class {
        match self {
            Data::ScreenPop(_) | Data::ScreenPopWithdrawn(_) => Class::Realtime,
            _ => Class::Record,
        }
    }

    /// Whether it holds words that somebody said.
    pub fn carries_text(&self) -> bool {
        matches!(self, Data::TranscriptFinal(_) | Data::TranscriptDocument(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let contact = ContactId(Uuid::from_u128(1));
        Event {
            id: Event::record_id(contact, 3),
            source: "/site/osaka/node/n1".into(),
            contact,
            leg: Some(LegId(Uuid::from_u128(2))),
            time: Wall(1_795_420_800_123_456),
            sequence: Some(3),
            expires: None,
            data: Data::CallQueued(CallQueued {
                caller: Caller { number: Some("+81600001234".into()), ..Caller::default() },
                called: "6001".into(),
                queue: "madoguchi".into(),
            }),
        }
    }

    #[test]
    fn the_wire_form_is_fixed() {
        let golden = concat!(
            r#"{"specversion":"1.0","id":"1567a9b2-742f-5eb9-85e4-380adf80cf29","source":"/site/osaka/node/n1","#,
            r#""subject":"contact/00000000-0000-0000-0000-000000000001/leg/00000000-0000-0000-0000-000000000002","#,
            r#""time":"2026-11-23T08:00:00.123456Z","datacontenttype":"application/json","#,
            r#""partitionkey":"00000000-0000-0000-0000-000000000001","sequence":"00000000000000000003","#,
            r#""type":"kakehashi.call.queued.v1","data":{"caller":{"number":"+81600001234"},"called":"6001","queue":"madoguchi"}}"#
        );
        assert_eq!(event().to_json(), golden);
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(Event::from_json(&event().to_json()).unwrap(), event());
    }

    #[test]
    fn the_type_in_the_code_is_the_type_on_the_wire() {
        let value: serde_json::Value = serde_json::from_str(&event().to_json()).unwrap();
        assert_eq!(value["type"], event().type_name());
    }
}

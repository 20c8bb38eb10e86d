//! The contract with the outside: CloudEvents 1.0 in JSON. The event and its envelope here, the payloads in files by subject.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::call::{ContactId, LegId};
use crate::time::Wall;

mod call;
mod context;
pub mod example;
mod pop;
mod recording;
pub mod schema;
mod transcript;

pub use call::{
    Agent, CallAbandoned, CallEnded, CallParked, CallQueued, CallTransferred, Caller, ContactLinked, DivertedFrom,
    EndReason, LegRecord, LegState,
};
pub use context::{
    ContactContext, ContactMarked, ContactNote, ContactUnmarked, Handover, HandoverKind, HandoverTurn, Term,
};
pub use pop::{Entry, LookUp, Match, PopTransfer, ScreenPop, ScreenPopWithdrawn, WithdrawReason};
pub use recording::{PausedSpan, RecordedStream, RecordingAvailable, RecordingPause};
pub use transcript::{
    Correction, Coverage, LegCoverage, TranscriptCorrected, TranscriptDelayed, TranscriptDocument, TranscriptFinal,
    TranscriptPartial, Turn,
};

/// Namespace of all deterministic ids.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Stored, ordered, retried.
    Record,
    /// Sent now or never.
    Realtime,
}

/// The types of realtime events.
const REALTIME: [&str; 3] =
    ["kakehashi.screenpop.v1", "kakehashi.screenpop.withdrawn.v1", "kakehashi.transcript.partial.v1"];

impl Class {
    fn of(type_name: &str) -> Class {
        if REALTIME.contains(&type_name) { Class::Realtime } else { Class::Record }
    }
}

/// Payloads, one variant per event type. The wire name of a variant is [`Data::type_name`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// What is known of the contact besides the call.
    #[serde(rename = "kakehashi.contact.context.v1")]
    ContactContext(ContactContext),
    /// What the next person gets handed over with the caller.
    #[serde(rename = "kakehashi.contact.handover.v1")]
    ContactHandover(Box<Handover>),
    /// An operator marked a passage.
    #[serde(rename = "kakehashi.contact.marked.v1")]
    ContactMarked(ContactMarked),
    /// A mark was taken away.
    #[serde(rename = "kakehashi.contact.unmarked.v1")]
    ContactUnmarked(ContactUnmarked),
    /// What the operator wrote for whoever takes over.
    #[serde(rename = "kakehashi.contact.note.v1")]
    ContactNote(ContactNote),
    /// The caller gave up before anybody answered.
    #[serde(rename = "kakehashi.call.abandoned.v1")]
    CallAbandoned(CallAbandoned),
    /// A leg ended, or (without a leg in the subject) the whole contact.
    #[serde(rename = "kakehashi.call.ended.v1")]
    CallEnded(CallEnded),
    /// The text of one utterance; never changes afterwards.
    #[serde(rename = "kakehashi.transcript.final.v1")]
    TranscriptFinal(TranscriptFinal),
    /// A person put the text of an utterance right.
    #[serde(rename = "kakehashi.transcript.corrected.v1")]
    TranscriptCorrected(TranscriptCorrected),
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
    /// What is read of an utterance that goes on.
    #[serde(rename = "kakehashi.transcript.partial.v1")]
    TranscriptPartial(TranscriptPartial),
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

    /// The realtime event as it is sent: without what was said where that may not leave.
    pub fn for_delivery(mut self, deliver_text: bool) -> Event {
        if let Data::ScreenPop(pop) = &mut self.data
            && let Some(packet) = pop.handover.take()
        {
            let leaves = deliver_text && !packet.stays_here;
            pop.handover = Some(if leaves { packet } else { Box::new(packet.without_text()) });
        }
        self
    }

    /// The id of the record event `sequence` of a contact, which happened at `time`: it is made of these, so a copy of the event has the same.
    pub fn record_id(contact: ContactId, sequence: u64, time: Wall) -> Uuid {
        timed_id(&record_name(contact, sequence), time)
    }

    /// Whether a record event has the id that belongs to it; before version 5 of the store the time was not in it.
    pub fn has_own_id(&self) -> bool {
        let former = |sequence| Uuid::new_v5(&NAMESPACE, record_name(self.contact, sequence).as_bytes());
        self.sequence.is_some_and(|sequence| {
            self.id == Event::record_id(self.contact, sequence, self.time) || self.id == former(sequence)
        })
    }

    /// The id of the text `number` of a contact whose line sends no texts, said at `time`.
    pub fn kept_id(contact: ContactId, number: u64, time: Wall) -> Uuid {
        timed_id(&format!("kept\0{contact}\0{number}"), time)
    }
}

fn record_name(contact: ContactId, sequence: u64) -> String {
    format!("record\0{contact}\0{sequence}")
}

/// UUIDv8 (RFC 9562 §5.8): milliseconds since 1970 in the first 48 bits, as in UUIDv7, and the name's hash in the others. Later events sort behind
/// earlier ones, so an index of ids grows at its end, here and in the CRM.
fn timed_id(name: &str, time: Wall) -> Uuid {
    let milliseconds = (time.0.max(0) as u64 / 1_000).to_be_bytes();
    let mut bytes = *Uuid::new_v5(&NAMESPACE, name.as_bytes()).as_bytes();
    bytes.iter_mut().zip(milliseconds.iter().skip(2)).for_each(|(byte, time)| *byte = *time);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The envelope of every event: CloudEvents 1.0 (§3, and the partitioning and sequence extensions) in JSON.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Envelope {
    /// The version of CloudEvents.
    #[schemars(extend("const" = "1.0"))]
    specversion: String,
    /// Unique, the same at every attempt and after a restart.
    id: Uuid,
    /// `/site/<site>/node/<node>`.
    #[schemars(regex(pattern = "^/site/.+/node/.+$"))]
    source: String,
    /// `contact/<contact>`, or `contact/<contact>/leg/<leg>` when it is about a leg.
    #[schemars(regex(pattern = "^contact/[0-9a-f-]{36}(/leg/[0-9a-f-]{36})?$"))]
    subject: String,
    /// When it happened, in UTC.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// Of `data`.
    #[schemars(extend("const" = "application/json"))]
    datacontenttype: String,
    /// The contact: events of one contact arrive in order.
    partitionkey: ContactId,
    /// 20 digits: 1, 2, 3 … over the record events of a contact; realtime events have none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(regex(pattern = "^[0-9]{20}$"))]
    sequence: Option<String>,
    /// When it is of no more use, in UTC; only realtime events have it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(extend("format" = "date-time"))]
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
            Data::ContactContext(_) => "kakehashi.contact.context.v1",
            Data::ContactHandover(_) => "kakehashi.contact.handover.v1",
            Data::ContactMarked(_) => "kakehashi.contact.marked.v1",
            Data::ContactUnmarked(_) => "kakehashi.contact.unmarked.v1",
            Data::ContactNote(_) => "kakehashi.contact.note.v1",
            Data::CallAbandoned(_) => "kakehashi.call.abandoned.v1",
            Data::CallEnded(_) => "kakehashi.call.ended.v1",
            Data::TranscriptFinal(_) => "kakehashi.transcript.final.v1",
            Data::TranscriptCorrected(_) => "kakehashi.transcript.corrected.v1",
            Data::TranscriptDelayed(_) => "kakehashi.transcript.delayed.v1",
            Data::TranscriptDocument(_) => "kakehashi.transcript.document.v1",
            Data::RecordingAvailable(_) => "kakehashi.recording.available.v1",
            Data::RecordingPaused(_) => "kakehashi.recording.paused.v1",
            Data::RecordingResumed(_) => "kakehashi.recording.resumed.v1",
            Data::ScreenPop(_) => "kakehashi.screenpop.v1",
            Data::ScreenPopWithdrawn(_) => "kakehashi.screenpop.withdrawn.v1",
            Data::TranscriptPartial(_) => "kakehashi.transcript.partial.v1",
        }
    }

    /// Record or realtime.
    pub fn class(&self) -> Class {
        Class::of(self.type_name())
    }

    /// Whether it holds words that somebody said, or that an operator wrote about them.
    pub fn carries_text(&self) -> bool {
        match self {
            Data::TranscriptPartial(_) | Data::TranscriptFinal(_) | Data::TranscriptDocument(_) => true,
            Data::TranscriptCorrected(_) | Data::ContactMarked(_) | Data::ContactUnmarked(_) | Data::ContactNote(_) => {
                true
            }
            Data::ContactHandover(packet) => !packet.withheld,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let contact = ContactId(Uuid::from_u128(1));
        Event {
            id: Event::record_id(contact, 3, Wall(1_795_420_800_123_456)),
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
            r#"{"specversion":"1.0","id":"01a2076b-447b-8eb9-85e4-380adf80cf29","source":"/site/osaka/node/n1","#,
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
    fn later_ids_sort_behind_earlier_ones() {
        let contact = ContactId(Uuid::from_u128(1));
        let at = |ms: i64| Event::record_id(contact, 7, Wall(ms * 1_000));
        assert!(at(-5) < at(1) && at(1) < at(255) && at(255) < at(256) && at(256) < at(1_795_420_800_000));
        assert_eq!(at(3).get_version_num(), 8);
        assert_ne!(Event::record_id(contact, 1, Wall(0)), Event::record_id(contact, 2, Wall(0)));
        assert_ne!(Event::record_id(contact, 1, Wall(0)), Event::kept_id(contact, 1, Wall(0)));
    }

    #[test]
    fn an_id_belongs_to_its_contact_sequence_and_time() {
        assert!(event().has_own_id());
        // as it was before the time was in it
        let former = Uuid::from_u128(0x1567a9b2_742f_5eb9_85e4_380adf80cf29);
        assert!(Event { id: former, ..event() }.has_own_id());
        assert!(!Event { sequence: Some(4), ..event() }.has_own_id());
        assert!(!Event { id: former, sequence: Some(4), ..event() }.has_own_id());
        assert!(!Event { sequence: None, ..event() }.has_own_id());
        assert!(!Event { contact: ContactId(Uuid::from_u128(2)), ..event() }.has_own_id());
        assert!(!Event { time: Wall(0), ..event() }.has_own_id());
    }

    #[test]
    fn the_type_in_the_code_is_the_type_on_the_wire() {
        let value: serde_json::Value = serde_json::from_str(&event().to_json()).unwrap();
        assert_eq!(value["type"], event().type_name());
    }
}

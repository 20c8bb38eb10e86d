//! Spans: what a trace of a contact is made of. A trace has the contact's id, so that a later delivery finds its place without any memory of the call.
//! An attribute is a word of this program, an id, a name of the configuration or a number: there is no place for what a caller is or says.

#![cfg_attr(not(feature = "telemetry"), allow(dead_code, reason = "nobody reads spans in such a build"))]

use std::collections::HashMap;

use reqwest::Url;
use uuid::Uuid;

use crate::call::ContactId;
use crate::events::{CallEnded, Data, EndReason, Event, LegRecord};
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// Contacts whose time in queues is remembered; of further ones it is left out.
const MOST_QUEUED: usize = 4_096;
/// Queues remembered of one contact.
const MOST_QUEUES: usize = 16;

/// A value that is no personal data by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) enum Value {
    /// A word of this program.
    Word(&'static str),
    /// An id that this program made.
    Id(Uuid),
    /// A name of the configuration: an endpoint, a site, a host, a model.
    Name(String),
    /// A number.
    Number(i64),
}

/// What a span is in its trace. (OpenTelemetry trace API, SpanKind)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bridge) enum Kind {
    /// It handles what comes from outside.
    Server,
    /// It asks somebody outside.
    Client,
    /// Anything else.
    Internal,
}

/// One span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Span {
    pub(in crate::bridge) contact: ContactId,
    pub(in crate::bridge) id: [u8; 8],
    /// `None`: the root of its trace.
    pub(in crate::bridge) parent: Option<[u8; 8]>,
    pub(in crate::bridge) name: &'static str,
    pub(in crate::bridge) kind: Kind,
    pub(in crate::bridge) start: Wall,
    pub(in crate::bridge) end: Wall,
    pub(in crate::bridge) attributes: Vec<(&'static str, Value)>,
    /// Whether what it stands for failed.
    pub(in crate::bridge) failed: bool,
}

impl Span {
    /// A span right below the contact's.
    pub(in crate::bridge) fn of(contact: ContactId, name: &'static str, start: Wall, end: Wall) -> Span {
        Span {
            contact,
            id: fresh(),
            parent: Some(id_of(contact.0)),
            name,
            kind: Kind::Internal,
            start,
            end: end.max(start),
            attributes: Vec::new(),
            failed: false,
        }
    }

    fn below(&self, name: &'static str, start: Wall, end: Wall) -> Span {
        Span { parent: Some(self.id), ..Span::of(self.contact, name, start, end) }
    }

    fn with(mut self, name: &'static str, value: Value) -> Span {
        self.attributes.push((name, value));
        self
    }

    fn client(mut self) -> Span {
        self.kind = Kind::Client;
        self
    }

    /// An attempt to deliver an event; `url`: the receiver's, `event`: the event's type, `attempt`: from 1.
    pub(in crate::bridge) fn delivery(
        (contact, event): (ContactId, &'static str),
        (endpoint, url): (&str, &str),
        attempt: u32,
        answer: &Answer,
        (start, end): (Wall, Wall),
    ) -> Span {
        let mut span = Span::of(contact, "deliver", start, end).client();
        span = span.with("kakehashi.endpoint", Value::Name(endpoint.into()));
        span = span.with("kakehashi.event.type", Value::Word(event));
        let url = Url::parse(url).ok();
        if let Some(host) = url.as_ref().and_then(Url::host_str) {
            span = span.with("server.address", Value::Name(host.into()));
        }
        if let Some(port) = url.and_then(|url| url.port_or_known_default()) {
            span = span.with("server.port", Value::Number(port.into()));
        }
        if attempt > 1 {
            span = span.with("http.request.resend_count", Value::Number((attempt - 1).into()));
        }
        if let Some(class) = class(answer) {
            span.failed = true;
            span = span.with("error.type", Value::Word(class));
        }
        span
    }

    /// A look-up; `found`: how many have the number, `None` when that was not known in time.
    pub(in crate::bridge) fn look_up(contact: ContactId, found: Option<usize>, (start, end): (Wall, Wall)) -> Span {
        let span = Span::of(contact, "look_up", start, end).client();
        match found {
            Some(found) => span.with("kakehashi.matches", Value::Number(found as i64)),
            None => Span { failed: true, ..span.with("error.type", Value::Word("timeout")) },
        }
    }

    /// The recognition of an utterance, from its end until its text, and the decoding in it; `decode_ms` is `None` when it failed.
    pub(in crate::bridge) fn recognition(
        contact: ContactId,
        stream: Uuid,
        decode_ms: Option<u32>,
        (start, end): (Wall, Wall),
    ) -> Vec<Span> {
        let span = Span::of(contact, "recognize", start, end).with("kakehashi.stream.id", Value::Id(stream));
        let Some(decode_ms) = decode_ms else {
            return vec![Span { failed: true, ..span.with("error.type", Value::Word("recognition")) }];
        };
        let began = Wall(end.0.saturating_sub(i64::from(decode_ms) * 1_000)).max(start);
        let decode = span.below("decode", began, end);
        vec![span, decode]
    }
}

/// Remembers when contacts came into queues, until they end.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Queued(HashMap<ContactId, Vec<Wall>>);

impl Queued {
    /// The spans that an event completes: at a contact's end those of its whole course.
    pub(in crate::bridge) fn spans(&mut self, event: &Event) -> Vec<Span> {
        match &event.data {
            Data::CallQueued(_) if self.0.len() < MOST_QUEUED || self.0.contains_key(&event.contact) => {
                let times = self.0.entry(event.contact).or_default();
                if times.len() < MOST_QUEUES {
                    times.push(event.time);
                }
                Vec::new()
            }
            Data::CallEnded(ended) if event.leg.is_none() => {
                let queued = self.0.remove(&event.contact).unwrap_or_default();
                course(event, ended, &queued)
            }
            _ => Vec::new(),
        }
    }
}

/// The contact, its time in queues, and its legs with ringing and talk.
fn course(event: &Event, ended: &CallEnded, queued: &[Wall]) -> Vec<Span> {
    let (contact, end) = (event.contact, event.time);
    let site = event.source.split('/').nth(2).unwrap_or_default();
    let mut root = Span { parent: None, kind: Kind::Server, ..Span::of(contact, "contact", ended.started, end) };
    root.id = id_of(contact.0);
    root.failed = is_failure(ended.reason);
    root = root.with("kakehashi.contact.id", Value::Id(contact.0)).with("kakehashi.site", Value::Name(site.into()));
    root = root.with("kakehashi.end.reason", Value::Name(word(ended.reason)));
    let mut spans = vec![root];
    for at in queued {
        let answered = ended.legs.iter().filter_map(|leg| leg.answered).filter(|answered| answered >= at).min();
        spans.push(Span::of(contact, "queue", *at, answered.unwrap_or(end)));
    }
    spans.extend(ended.legs.iter().flat_map(|leg| of_leg(contact, leg, end)));
    spans
}

fn of_leg(contact: ContactId, leg: &LegRecord, contact_end: Wall) -> Vec<Span> {
    let end = leg.ended.unwrap_or(contact_end);
    let mut span = Span::of(contact, "leg", leg.offered, end).with("kakehashi.leg.id", Value::Id(leg.leg.0));
    span.id = id_of(leg.leg.0);
    if let Some(reason) = leg.reason {
        span.failed = is_failure(reason);
        span = span.with("kakehashi.end.reason", Value::Name(word(reason)));
    }
    let ring = leg.ringing.map(|at| span.below("ring", at, leg.answered.unwrap_or(end)));
    let talk = leg.answered.map(|at| span.below("talk", at, end));
    [Some(span), ring, talk].into_iter().flatten().collect()
}

/// Whether it ended by a fault, not by a person.
fn is_failure(reason: EndReason) -> bool {
    matches!(reason, EndReason::Failed | EndReason::LostSight | EndReason::BridgeError)
}

/// A reason as it stands in events.
fn word(reason: EndReason) -> String {
    serde_json::to_value(reason).ok().and_then(|value| value.as_str().map(str::to_string)).unwrap_or_default()
}

/// `None` when the event arrived.
fn class(answer: &Answer) -> Option<&'static str> {
    Some(match answer {
        Answer::Delivered => return None,
        Answer::Busy { .. } => "busy",
        Answer::Denied(_) => "denied",
        Answer::Unfit(_) => "unfit",
        Answer::Refused(_) => "refused",
        Answer::Late(_) => "late",
        Answer::Dry { .. } => "budget",
        Answer::NotYet { .. } => "not_yet",
        Answer::Gone => "gone",
        Answer::Failed(_) => "unanswered",
    })
}

/// The span of a contact or a leg: the last 64 bits of its id, which are never all zero. (RFC 9562 §4.1: the variant is in them)
fn id_of(id: Uuid) -> [u8; 8] {
    (id.as_u128() as u64).to_be_bytes()
}

/// A random id, not all zero.
fn fresh() -> [u8; 8] {
    let mut id = [0; 8];
    // without random numbers spans may share an id, and nothing else happens
    let _ = getrandom::fill(&mut id);
    id[0] |= 1;
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{LegId, Tier};
    use crate::events::{Agent, CallQueued, Caller};

    fn event(time: i64, data: Data) -> Event {
        let contact = ContactId(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001));
        let source = "/site/osaka/node/n1".to_string();
        Event { id: Uuid::nil(), source, contact, leg: None, time: Wall(time), sequence: Some(1), expires: None, data }
    }

    fn caller() -> Caller {
        Caller { number: Some("+81666667777".into()), display: Some("大阪 花子".into()), ..Caller::default() }
    }

    fn ended(legs: Vec<LegRecord>) -> Data {
        let (reason, called) = (EndReason::CallerHangup, "0647001111".to_string());
        Data::CallEnded(CallEnded { reason, caller: caller(), called, started: Wall(100), legs, keys: Vec::new() })
    }

    fn leg(id: u128, answered: Option<i64>) -> LegRecord {
        LegRecord {
            leg: LegId(Uuid::from_u128(0x9000_0000_0000_0000 + id)),
            agent: Agent { name: Some("山田 太郎".into()), extension: "2001".into(), ..Agent::default() },
            tier: Tier::default(),
            queue: Some("6001".into()),
            previous_leg: None,
            offered: Wall(300),
            ringing: Some(Wall(400)),
            answered: answered.map(Wall),
            ended: Some(Wall(900)),
            reason: Some(EndReason::CallerHangup),
        }
    }

    #[test]
    fn a_contact_is_a_trace_with_its_queue_and_its_legs() {
        let mut queued = Queued::default();
        let queue = CallQueued { caller: caller(), called: "0647001111".into(), queue: "6001".into() };
        assert!(queued.spans(&event(200, Data::CallQueued(queue))).is_empty());
        let spans = queued.spans(&event(1_000, ended(vec![leg(1, None), leg(2, Some(500))])));
        let told: Vec<_> = spans.iter().map(|span| (span.name, span.start.0, span.end.0)).collect();
        assert_eq!(
            told,
            [
                ("contact", 100, 1_000),
                ("queue", 200, 500),
                ("leg", 300, 900),
                ("ring", 400, 900),
                ("leg", 300, 900),
                ("ring", 400, 500),
                ("talk", 500, 900)
            ]
        );
        let parent = |n: usize| spans.iter().position(|other| Some(other.id) == spans[n].parent);
        assert_eq!(
            (0..7).map(parent).collect::<Vec<_>>(),
            [None, Some(0), Some(0), Some(2), Some(0), Some(4), Some(4)]
        );
        assert!(queued.0.is_empty(), "nothing is kept of a contact that is over");
    }

    #[test]
    fn nothing_of_the_people_is_in_a_span() {
        let mut queued = Queued::default();
        let spans = queued.spans(&event(1_000, ended(vec![leg(1, Some(500))])));
        let answer = Answer::Refused("大阪 花子 +81666667777 is not known".into());
        let ways = ("crm", "https://u:secret@crm.example.jp/hook/token?x=1");
        let contact = spans[0].contact;
        let sent = Span::delivery((contact, "kakehashi.call.ended.v1"), ways, 2, &answer, (Wall(1), Wall(2)));
        let text = format!("{spans:?}{sent:?}");
        for personal in ["花子", "太郎", "6666", "0647", "2001", "6001", "secret", "token"] {
            assert!(!text.contains(personal), "{personal} is in {text}");
        }
        assert!(text.contains("crm.example.jp") && text.contains("refused") && text.contains("caller_hangup"));
    }

    #[test]
    fn contacts_in_queues_are_bounded() {
        let mut queued = Queued::default();
        let queue = CallQueued { caller: caller(), called: String::new(), queue: String::new() };
        for n in 0..MOST_QUEUED as u128 + 9 {
            let contact = ContactId(Uuid::from_u128(n));
            queued.spans(&Event { contact, ..event(1, Data::CallQueued(queue.clone())) });
        }
        assert_eq!(queued.0.len(), MOST_QUEUED);
    }
}

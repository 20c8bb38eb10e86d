//! Recorded calls (tests/data/ari) through the ARI machine and the sessions, in virtual time: the events that docs/calls.md promises, and
//! what must hold whatever order the events come in and wherever the connection is cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kakehashi::call::directory::Directory;
use kakehashi::call::line::Lines;
use kakehashi::call::{ContactId, LegId};
use kakehashi::dictionary::Dictionary;
use kakehashi::events::{Data, Event};
use kakehashi::media::{StreamEvent, StreamEventKind, StreamSummary};
use kakehashi::pbx::Wanted;
use kakehashi::pbx::asterisk::request::{Answer, Method, Request};
use kakehashi::pbx::asterisk::{Ari, Output, Settings};
use kakehashi::pbx::{CallKey, Observed, PbxId, Signal, StreamId};
use kakehashi::session::{Opening, Output as Told, Session, Site};
use kakehashi::time::{Mono, Now, Wall};
use serde_json::{Value, json};

const SCENARIOS: [&str; 21] = [
    "held_by_agent",
    "queue_person_two_devices",
    "queue_two_people_two_devices",
    "queue_local_two_devices",
    "queue_one_after_the_other",
    "queue_timeout_next",
    "queue_dnd",
    "blind_refer",
    "blind_digits",
    "blind_unanswered",
    "blind_outside",
    "attended_refer",
    "attended_ringing",
    "consultation_cancelled",
    "attended_digits",
    "pickup_directed",
    "pickup_group",
    "parked_and_fetched",
    "parked_and_abandoned",
    "conference",
    "forwarded",
];

const DIRECTORY: &str = "extension,agent,name,department,tier\n2001,yamada,山田,窓口,2\n2101,yamada,山田,窓口,2\n2002,kato,加藤,窓口,2\n2102,kato,加藤,窓口,2\n\
    3001,sato,佐藤,区役所,3\n";

fn trace(name: &str) -> Vec<String> {
    let path = format!("{}/tests/data/ari/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().lines().map(String::from).collect()
}

/// Asterisk as its events show it: what it would list.
#[derive(Default)]
struct Shadow {
    channels: BTreeMap<String, Value>,
    bridges: BTreeMap<String, Value>,
    dialled_by: BTreeMap<String, String>,
}

impl Shadow {
    fn take(&mut self, event: &Value) {
        for field in ["channel", "caller", "peer"] {
            if let Some(id) = event[field]["id"].as_str() {
                self.channels.insert(id.into(), event[field].clone());
            }
        }
        if let Some(id) = event["bridge"]["id"].as_str() {
            self.bridges.insert(id.into(), event["bridge"].clone());
        }
        if let (Some(caller), Some(peer)) = (event["caller"]["id"].as_str(), event["peer"]["id"].as_str()) {
            self.dialled_by.insert(peer.into(), caller.into());
        }
        match event["type"].as_str() {
            Some("ChannelDestroyed") => {
                self.channels.remove(event["channel"]["id"].as_str().unwrap());
            }
            Some("BridgeDestroyed") => {
                self.bridges.remove(event["bridge"]["id"].as_str().unwrap());
            }
            _ => {}
        }
    }

    fn linkedid(&self, channel: &str) -> String {
        let mut id = channel;
        while let Some(by) = self.dialled_by.get(id) {
            id = by;
        }
        id.into()
    }
}

/// One Asterisk, its machine and the sessions of its calls.
struct Bench {
    ari: Ari,
    now: Now,
    shadow: Shadow,
    sessions: Vec<(CallKey, Session)>,
    streams: BTreeMap<StreamId, (CallKey, Now)>,
    events: Vec<Event>,
    signals: Vec<Observed>,
    legs: Vec<(ContactId, LegId)>,
}

impl Bench {
    fn new() -> Bench {
        let policy = Box::new(|_: &str| Wanted { record: true, transcribe: true });
        let settings = Settings { outside_endpoints: vec!["outside".into()], ..Settings::default() };
        let mut bench = Bench {
            ari: Ari::new(PbxId("lab".into()), settings, policy),
            now: Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) },
            shadow: Shadow::default(),
            sessions: Vec::new(),
            streams: BTreeMap::new(),
            events: Vec::new(),
            signals: Vec::new(),
            legs: Vec::new(),
        };
        bench.connect();
        bench
    }

    fn connect(&mut self) {
        self.ari.handle_connected(self.now);
        self.drain();
    }

    fn event(&mut self, line: &str) {
        self.pass(5);
        self.shadow.take(&serde_json::from_str(line).unwrap());
        self.ari.handle_event(line, self.now).unwrap();
        self.drain();
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus(Duration::from_millis(millis));
        while self.ari.poll_timeout().is_some_and(|at| at <= self.now.mono) {
            self.ari.handle_timeout(self.now);
            self.drain();
        }
        for at in 0..self.sessions.len() {
            if self.sessions[at].1.due().is_some_and(|due| due <= self.now.mono) {
                self.sessions[at].1.handle_timeout(self.now);
                self.told(at);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.ari.poll_output() {
            match output {
                Output::Signal(observed) => self.signal(observed),
                Output::Request(request) => {
                    let answer = self.answer(&request);
                    self.ari.handle_answer(request.id, &answer, self.now);
                    self.arrive(&request);
                }
                Output::Open { stream, .. } => self.ari.handle_opened(stream, Ok(30_000), self.now),
                Output::Close(stream) => self.close(stream),
                Output::Expect { .. } | Output::Connect { .. } | Output::Replaced => {}
            }
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        let body = match (request.method, request.path.as_str()) {
            (Method::Get, "/channels") => json!(self.shadow.channels.values().collect::<Vec<_>>()),
            (Method::Get, "/bridges") => json!(self.shadow.bridges.values().collect::<Vec<_>>()),
            (Method::Get, path) if value(request, "variable") == "CHANNEL(linkedid)" => {
                json!({ "value": self.shadow.linkedid(path.split('/').nth(2).unwrap()) })
            }
            (Method::Get, _) => json!({ "value": "allowed_not_screened" }),
            _ => json!({ "id": value(request, "channelId") }),
        };
        Answer::Response { status: 200, body: body.to_string() }
    }

    /// A channel that was asked for enters the Stasis application; one that was removed is gone.
    fn arrive(&mut self, request: &Request) {
        let id = match request.path.rsplit('/').next() {
            Some("externalMedia") => value(request, "channelId"),
            Some("snoop") => value(request, "snoopId"),
            _ => {
                if let (Method::Delete, Some(id)) = (request.method, request.path.strip_prefix("/channels/")) {
                    let gone =
                        json!({"type": "ChannelDestroyed", "cause": 16, "channel": {"id": id, "name": "Snoop/x"}});
                    self.shadow.take(&gone);
                    self.ari.handle_event(&gone.to_string(), self.now).unwrap();
                }
                return;
            }
        };
        let start = json!({"type": "StasisStart", "channel": {"id": id, "name": "Snoop/x", "state": "Up"}});
        self.shadow.take(&start);
        self.ari.handle_event(&start.to_string(), self.now).unwrap();
    }

    /// What the hub does with a signal.
    fn signal(&mut self, observed: Observed) {
        self.signals.push(observed.clone());
        let known = self.sessions.iter().position(|(call, _)| *call == observed.call);
        let at = match (known, &observed.signal) {
            (Some(at), _) => at,
            (None, Signal::CallAppeared { caller, called, .. }) => {
                let line = Lines::default().policy(called);
                let call = observed.call.clone();
                let opening = Opening { call, salt: 0, caller, called, line, first: &observed.signal, before: None };
                let site = Site {
                    id: "osaka".into(),
                    source: "/site/osaka/node/n1".into(),
                    directory: Arc::new(Directory::parse("d", DIRECTORY).unwrap()),
                    dictionary: Arc::new(Dictionary::empty()),
                    callers: Arc::default(),
                    mask: Default::default(),
                };
                self.sessions.push((observed.call.clone(), Session::open(observed.at, site, opening)));
                return self.told(self.sessions.len() - 1);
            }
            (None, _) => return,
        };
        match &observed.signal {
            Signal::Linked { other, relation, kind } => {
                let other = self.sessions.iter().find(|(call, _)| call == other).expect("it is known").1.id();
                self.sessions[at].1.link(observed.at, other, *relation, *kind);
            }
            signal => self.sessions[at].1.handle_signal(observed.at, signal),
        }
        self.told(at);
        if let Signal::StreamAdded { stream, .. } = observed.signal {
            self.streams.insert(stream, (observed.call, self.now));
            let kind = StreamEventKind::First { origin: self.now, rate: 8_000 };
            self.sessions[at].1.handle_stream(&StreamEvent { stream, at: self.now, kind });
            self.told(at);
        }
    }

    fn close(&mut self, stream: StreamId) {
        let Some((call, from)) = self.streams.remove(&stream) else { return };
        let samples = u64::try_from(self.now.mono.since(from.mono).as_millis()).unwrap() * 8;
        let kind = StreamEventKind::Closed(StreamSummary { samples, rate: 8_000, ..StreamSummary::default() });
        let at = self.sessions.iter().position(|(known, _)| *known == call).unwrap();
        self.sessions[at].1.handle_stream(&StreamEvent { stream, at: self.now, kind });
        self.told(at);
    }

    fn told(&mut self, at: usize) {
        while let Some(output) = self.sessions[at].1.poll() {
            if let Told::Record(event) | Told::Realtime(event) = output {
                self.events.push(event);
            }
        }
    }

    /// The events in short: number of the contact, then what happened; legs as A, B, … of their contact.
    fn lines(&mut self) -> Vec<String> {
        let events = std::mem::take(&mut self.events);
        let lines = events.iter().filter_map(|event| self.line(event)).collect();
        self.events = events;
        lines
    }

    fn line(&mut self, event: &Event) -> Option<String> {
        let contact = event.contact;
        let who = |agent: &kakehashi::events::Agent| agent.id.clone().unwrap_or_else(|| agent.extension.clone());
        let text = match &event.data {
            Data::CallQueued(queued) => format!("call.queued {}", queued.queue),
            Data::CallOffered(leg)
            | Data::CallRinging(leg)
            | Data::CallAnswered(leg)
            | Data::CallHeld(leg)
            | Data::CallResumed(leg) => {
                let kind = event.type_name().trim_start_matches("kakehashi.").trim_end_matches(".v1");
                let after = leg.previous_leg.map(|leg| format!(" after {}", self.letter(contact, leg)));
                let tier = if kind == "call.offered" {
                    let tier = json!(leg.tier);
                    format!(" {} {}{}", leg.agent.extension, tier.as_str().unwrap(), after.unwrap_or_default())
                } else {
                    String::new()
                };
                format!("{kind} {}{}", self.letter(contact, leg.leg), tier)
            }
            Data::CallTransferred(passed) => {
                let from = self.letter(contact, passed.from_leg);
                let to = passed.to_leg.map_or_else(|| "-".into(), |leg| self.letter(contact, leg));
                let kind = format!("{:?}", passed.kind).to_lowercase();
                format!("call.transferred {kind} {from} to {to} target {}", passed.target.as_deref().unwrap_or("-"))
            }
            Data::CallParked(parked) => {
                let by = parked.from_leg.map_or_else(|| "-".into(), |leg| self.letter(contact, leg));
                format!("call.parked {} by {by}", parked.slot.as_deref().unwrap_or("-"))
            }
            Data::ContactLinked(linked) => {
                let other = self.sessions.iter().position(|(_, session)| session.id() == linked.contact).unwrap() + 1;
                format!("contact.linked {other} {}", format!("{:?} {:?}", linked.relation, linked.kind).to_lowercase())
            }
            Data::CallAbandoned(_) => "call.abandoned".into(),
            Data::CallEnded(ended) => {
                let reason = json!(ended.reason).as_str().unwrap().to_string();
                let leg = event.leg.map(|leg| format!("{} ", self.letter(contact, leg)));
                format!("call.ended {}{reason}", leg.unwrap_or_default())
            }
            Data::ScreenPop(pop) => {
                let from = pop.transfer.as_ref().map(|from| format!(" from {}", who(&from.agent)));
                let leg = self.letter(contact, pop.leg);
                format!("screenpop {} for {leg} revision {}{}", who(&pop.agent), pop.revision, from.unwrap_or_default())
            }
            Data::ScreenPopWithdrawn(gone) => {
                format!("screenpop.withdrawn {} {}", who(&gone.agent), json!(gone.reason).as_str().unwrap())
            }
            _ => return None,
        };
        let number = self.sessions.iter().position(|(_, session)| session.id() == contact).unwrap() + 1;
        Some(format!("{number} {text}"))
    }

    fn letter(&mut self, contact: ContactId, leg: LegId) -> String {
        let known = (contact, leg);
        if !self.legs.contains(&known) {
            self.legs.push(known);
        }
        let of_contact: Vec<&LegId> = self.legs.iter().filter(|(of, _)| *of == contact).map(|(_, leg)| leg).collect();
        let at = of_contact.iter().position(|other| **other == leg).unwrap();
        char::from(b'A' + u8::try_from(at).unwrap()).to_string()
    }

    /// What holds after every call, whatever happened to the events on the way.
    fn check(&self, what: &str) {
        assert_eq!((self.ari.calls(), self.ari.streams()), (0, 0), "{what}: something is left");
        let appeared = self.signals.iter().filter(|o| matches!(o.signal, Signal::CallAppeared { .. })).count();
        assert_eq!(appeared, self.sessions.len(), "{what}: a call appeared twice");
        for (_, session) in &self.sessions {
            let contact = session.contact();
            assert!(contact.ended.is_some() && session.finished(), "{what}: a contact did not end");
            let own: Vec<&Event> = self.events.iter().filter(|event| event.contact == contact.id).collect();
            for leg in &contact.legs {
                let of_leg = |event: &&&Event| event.leg == Some(leg.id) && matches!(event.data, Data::CallEnded(_));
                assert_eq!(own.iter().filter(of_leg).count(), 1, "{what}: a leg ends once");
            }
            let sequence: Vec<u64> = own.iter().filter_map(|event| event.sequence).collect();
            assert_eq!(sequence, (1..=sequence.len() as u64).collect::<Vec<_>>(), "{what}");
            let links = own.iter().filter(|event| matches!(event.data, Data::ContactLinked(_))).count();
            assert!(links <= 1, "{what}: linked twice");
        }
        let mut shown = BTreeSet::new();
        for event in &self.events {
            match &event.data {
                Data::ScreenPop(pop) => {
                    assert!(shown.insert((pop.popid, pop.revision)), "{what}: the same pop twice")
                }
                Data::TranscriptDocument(document) => {
                    for row in &document.coverage {
                        let c = &row.coverage;
                        let sum = c.transcribed
                            + c.silent
                            + c.lost
                            + c.paused
                            + c.excluded
                            + c.unobserved
                            + c.pending
                            + c.failed;
                        assert_eq!(sum, c.duration, "{what}: the ledger sums to the leg's duration");
                    }
                }
                _ => {}
            }
        }
    }
}

fn value(request: &Request, name: &str) -> String {
    request.query.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

fn play(lines: &[String]) -> Bench {
    let mut bench = Bench::new();
    lines.iter().for_each(|line| bench.event(line));
    finish(&mut bench);
    bench
}

fn finish(bench: &mut Bench) {
    for _ in 0..80 {
        bench.pass(1_000);
    }
}

/// The block of events under the heading of a scenario in docs/calls.md.
fn documented(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("{}/docs/calls.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let section = text.split(&format!("### `{name}`")).nth(1).unwrap_or_default();
    let block = section.split("```").nth(1).unwrap_or_default();
    block.lines().skip(1).filter(|line| !line.is_empty()).map(String::from).collect()
}

#[test]
fn the_events_of_every_scenario_are_those_of_docs_calls() {
    let mut wrong = Vec::new();
    for name in SCENARIOS {
        let mut bench = play(&trace(name));
        bench.check(name);
        let lines = bench.lines();
        if lines != documented(name) {
            wrong.push(format!("### `{name}`\n\n```text\n{}\n```\n", lines.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "docs/calls.md is not true; these are the events:\n\n{}", wrong.join("\n"));
}

/// The record of a call that was passed on outside: the new leg's time is unobserved, for both speakers.
#[test]
fn an_end_outside_is_unobserved_in_the_ledger() {
    let bench = play(&trace("blind_outside"));
    let document = bench.events.iter().find_map(|event| match &event.data {
        Data::TranscriptDocument(document) => Some(document),
        _ => None,
    });
    let outside = bench.sessions[0].1.contact().legs.iter().find(|leg| leg.agent.extension == "0663621234").unwrap().id;
    let rows: Vec<_> = document.unwrap().coverage.iter().filter(|row| row.leg == outside).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.coverage.duration > 0 && row.coverage.unobserved == row.coverage.duration));
}

#[test]
fn events_that_overtake_each_other_cost_no_leg_and_no_contact() {
    for name in SCENARIOS {
        let lines = trace(name);
        for at in (0..lines.len() - 1).step_by(2) {
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            play(&swapped).check(&format!("{name}, {at} and {} swapped", at + 1));
        }
    }
}

#[test]
fn a_connection_that_is_cut_anywhere_costs_no_contact_and_shows_no_pop_twice() {
    for name in SCENARIOS {
        let lines = trace(name);
        for from in (0..lines.len()).step_by(5) {
            for missed in [4, 30, lines.len()] {
                let what = format!("{name}, cut after event {from} for {missed}");
                let mut bench = Bench::new();
                for (at, line) in lines.iter().enumerate() {
                    if at == from {
                        bench.ari.handle_disconnected(bench.now);
                        bench.drain();
                    }
                    if at >= from && at < from + missed {
                        bench.pass(5);
                        bench.shadow.take(&serde_json::from_str(line).unwrap());
                        continue;
                    }
                    if at == from + missed {
                        bench.connect();
                    }
                    bench.event(line);
                }
                if from + missed >= lines.len() {
                    bench.connect();
                }
                finish(&mut bench);
                bench.check(&what);
            }
        }
    }
}

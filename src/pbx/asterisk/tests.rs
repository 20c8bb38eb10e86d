//! Traces recorded from Asterisk 22 (tests/lab/record_traces.py) through the state machine; ARI's answers are played by [`Desk`].

use std::time::Duration;

use serde_json::json;

use super::ari::{Ari, Output};
use super::event::Event;
use super::request::{Answer, Method, Request};
use super::settings::Settings;
use crate::pbx::Wanted;
use crate::pbx::{DivertReason, Diverted, EndCause, KeyKind, PbxId, Signal, Speaker, StreamId, Withheld};
use crate::time::{Mono, Now, Wall};

macro_rules! trace {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ari/", $name, ".jsonl"))
    };
}

mod carriers;
mod identity;
mod passing;
mod resync;

/// Plays Asterisk's part: answers requests as the recorded one did, or as a test wants.
struct Desk {
    ari: Ari,
    now: Now,
    signals: Vec<(u64, Signal)>,
    calls: Vec<String>,
    requests: Vec<Request>,
    opened: Vec<StreamId>,
    closed: Vec<StreamId>,
    expected: Vec<(String, u16)>,
    connected: Vec<(StreamId, String)>,
    presentation: &'static str,
    refuse: fn(&Request) -> Option<Answer>,
    lists: (String, String),
    linkedid: String,
}

fn ok(body: serde_json::Value) -> Answer {
    Answer::Response { status: 200, body: body.to_string() }
}

impl Desk {
    fn new(settings: Settings, wanted: bool) -> Desk {
        let policy = Box::new(move |_: &str| Wanted { record: wanted, transcribe: wanted });
        let now = Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) };
        let mut desk = Desk {
            ari: Ari::new(PbxId("lab".into()), settings, policy),
            now,
            signals: Vec::new(),
            calls: Vec::new(),
            requests: Vec::new(),
            opened: Vec::new(),
            closed: Vec::new(),
            expected: Vec::new(),
            connected: Vec::new(),
            presentation: "allowed_not_screened",
            refuse: |_| None,
            lists: ("[]".into(), "[]".into()),
            linkedid: String::new(),
        };
        desk.connect();
        desk
    }

    fn connect(&mut self) {
        self.ari.handle_connected(self.now);
        self.drain();
    }

    /// Feeds a trace, one event a millisecond; between events everything asked is answered.
    fn play(&mut self, trace: &str) {
        for line in trace.lines() {
            self.event(line);
        }
    }

    fn event(&mut self, line: &str) {
        self.pass(1);
        self.ari.handle_event(line, self.now).unwrap();
        self.drain();
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus(Duration::from_millis(millis));
        while self.ari.poll_timeout().is_some_and(|at| at <= self.now.mono) {
            self.ari.handle_timeout(self.now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.ari.poll_output() {
            match output {
                Output::Signal(observed) => {
                    self.calls.push(observed.call.key);
                    self.signals.push((observed.at.mono.0 / 1_000_000, observed.signal));
                }
                Output::Request(request) => {
                    self.requests.push(request.clone());
                    if let Some(answer) = self.answer(&request) {
                        self.ari.handle_answer(request.id, &answer, self.now);
                        self.arrive(&request);
                    }
                }
                Output::Open { stream, .. } => {
                    self.opened.push(stream);
                    self.ari.handle_opened(stream, Ok(30_000), self.now);
                }
                Output::Connect { stream, connection } => self.connected.push((stream, connection)),
                Output::Expect { source, .. } => self.expected.push(source),
                Output::Close(stream) => self.closed.push(stream),
                Output::Replaced => {}
            }
        }
    }

    fn answer(&self, request: &Request) -> Option<Answer> {
        if let Some(answer) = (self.refuse)(request) {
            return (answer != Answer::Failed).then_some(answer);
        }
        let variable = request.query.iter().find(|(name, _)| *name == "variable").map(|(_, value)| value.as_str());
        Some(match (request.method, request.path.as_str(), variable) {
            (Method::Get, "/channels", _) => Answer::Response { status: 200, body: self.lists.0.clone() },
            (Method::Get, "/bridges", _) => Answer::Response { status: 200, body: self.lists.1.clone() },
            (_, _, Some("CALLERID(num-pres)")) => ok(json!({ "value": self.presentation })),
            (_, _, Some(_)) => ok(json!({ "value": self.linkedid })),
            (Method::Post, "/channels/externalMedia", _) => ok(json!({"id": value(request, "channelId"),
                "channelvars": {"UNICASTRTP_LOCAL_PORT": "21372", "UNICASTRTP_LOCAL_ADDRESS": "127.0.0.1",
                "MEDIA_WEBSOCKET_CONNECTION_ID": "b5a1"}})),
            (Method::Delete, _, _) => Answer::Response { status: 204, body: String::new() },
            _ => ok(json!({})),
        })
    }

    /// A channel that was asked for enters the Stasis application; one that was removed is gone.
    fn arrive(&mut self, request: &Request) {
        if let (Method::Delete, Some(id)) = (request.method, request.path.strip_prefix("/channels/")) {
            let gone = json!({"type": "ChannelDestroyed", "cause": 16, "channel": {"id": id, "name": "Snoop/x-0"}});
            self.ari.handle_event(&gone.to_string(), self.now).unwrap();
        }
        let id = match request.path.rsplit('/').next() {
            Some("externalMedia") => value(request, "channelId"),
            Some("snoop") => value(request, "snoopId"),
            _ => return,
        };
        let start = json!({"type": "StasisStart", "channel": {"id": id, "name": "Snoop/x-0", "state": "Up"}});
        self.ari.handle_event(&start.to_string(), self.now).unwrap();
    }

    /// Signals in short: name and what tells them apart; legs as A, B, … in order of appearance.
    fn told(&self) -> Vec<String> {
        let mut legs: Vec<String> = Vec::new();
        let mut letter = |leg: &crate::pbx::LegKey| {
            let at = legs.iter().position(|known| *known == leg.0).unwrap_or_else(|| {
                legs.push(leg.0.clone());
                legs.len() - 1
            });
            char::from(b'A' + at as u8).to_string()
        };
        let mut short = |signal: &Signal| match signal {
            Signal::CallAppeared { caller, called, .. } => {
                format!(
                    "call {}>{called}",
                    caller.number.as_deref().map_or_else(|| format!("{:?}", caller.withheld), String::from)
                )
            }
            Signal::Keys(_) => "keys".into(),
            Signal::CallerIdentified(_) => "identified".into(),
            Signal::Queued { queue } => format!("queued {queue}"),
            Signal::LegAppeared { leg, address, queue } => {
                format!("{} {address} {}", letter(leg), queue.as_deref().unwrap_or("-"))
            }
            Signal::LegRinging(leg) => format!("{} rings", letter(leg)),
            Signal::LegAnswered(leg) => format!("{} answered", letter(leg)),
            Signal::LegHeld(leg) => format!("{} held", letter(leg)),
            Signal::LegResumed(leg) => format!("{} resumed", letter(leg)),
            Signal::KeepNothing(leg) => format!("{} not kept", letter(leg)),
            Signal::KeepAgain(leg) => format!("{} kept", letter(leg)),
            Signal::LegJoined(leg) => format!("{} joined", letter(leg)),
            Signal::LegLeft(leg) => format!("{} left", letter(leg)),
            Signal::LegEnded(leg, cause) => format!("{} ended {cause:?}", letter(leg)),
            Signal::StreamAdded { leg, speaker, .. } => format!("{} hears {speaker:?}", letter(leg)),
            Signal::StreamRemoved(_) => "stream removed".into(),
            Signal::StreamFailed { leg, speaker, .. } => format!("{} cannot hear {speaker:?}", letter(leg)),
            Signal::Digit { speaker, digit } => format!("{speaker:?} {digit}"),
            Signal::Transferred { leg, kind, to } => {
                format!("{} transferred {kind:?} {}", letter(leg), to.as_deref().unwrap_or("-"))
            }
            Signal::Parked { leg, slot } => {
                let by = leg.as_ref().map_or_else(|| "-".into(), &mut letter);
                format!("parked {} by {by}", slot.as_deref().unwrap_or("-"))
            }
            Signal::Linked { relation, kind, .. } => format!("linked {relation:?} {kind:?}"),
            Signal::CallEnded(cause) => format!("call ended {cause:?}"),
        };
        self.signals.iter().map(|(_, signal)| short(signal)).filter(|line| line != "keys").collect()
    }

    /// As [`Desk::told`], without streams, each line with the number of its call in order of appearance.
    fn told_of_each(&self) -> Vec<String> {
        let mut calls: Vec<&String> = Vec::new();
        let of = self.signals.iter().zip(&self.calls).filter(|((_, signal), _)| !matches!(signal, Signal::Keys(_)));
        let numbers: Vec<usize> = of
            .map(|(_, call)| {
                calls.iter().position(|known| *known == call).unwrap_or_else(|| {
                    calls.push(call);
                    calls.len() - 1
                })
            })
            .collect();
        let streams = |line: &String| line.contains(" hears ") || line == "stream removed";
        let lines = self.told().into_iter().zip(numbers).filter(|(line, _)| !streams(line));
        lines.map(|(line, call)| format!("{}: {line}", call + 1)).collect()
    }

    fn assert_empty(&self) {
        assert_eq!((self.ari.calls(), self.ari.streams()), (0, 0));
        assert!(self.ari.world.is_empty(), "{:?}", self.ari.world);
    }
}

/// The trace up to the moment both are in one bridge.
fn until_joined(desk: &mut Desk) -> (Vec<&'static str>, String, String) {
    let lines: Vec<&str> = trace!("queue_answered").lines().collect();
    let entered = lines.iter().rposition(|line| line.contains("ChannelEnteredBridge")).unwrap();
    lines[..=entered].iter().for_each(|line| desk.event(line));
    let last: serde_json::Value = serde_json::from_str(lines[entered]).unwrap();
    let caller = last["channel"].clone();
    let mut agent = last["channel"].clone();
    let id = last["bridge"]["channels"].as_array().unwrap().iter().find(|id| **id != caller["id"]).unwrap().clone();
    agent["id"] = id;
    agent["name"] = json!("PJSIP/2001-00000001");
    agent["dialplan"] = json!({"exten": "", "app_name": "AppQueue", "app_data": "(Outgoing Line)"});
    let channels = json!([caller, agent]).to_string();
    (lines[entered + 1..].to_vec(), channels, json!([last["bridge"]]).to_string())
}

fn value(request: &Request, name: &str) -> String {
    request.query.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

fn desk() -> Desk {
    Desk::new(Settings::default(), true)
}

#[test]
fn a_queue_call_from_first_ring_to_hang_up() {
    let mut desk = desk();
    desk.play(trace!("queue_answered"));
    assert_eq!(
        desk.told(),
        [
            "call 1001>6001",
            "queued madoguchi",
            "A 2001 madoguchi",
            "A rings",
            "A answered",
            "A joined",
            "A hears Caller",
            "A hears Agent",
            "A left",
            "stream removed",
            "A ended Cancelled",
            "stream removed",
            "call ended Normal",
        ]
    );
    assert_eq!(desk.expected, vec![("127.0.0.1".to_string(), 21372); 2]);
    assert_eq!(desk.opened.len(), 2);
    desk.closed.sort();
    desk.opened.sort();
    assert_eq!(desk.closed, desk.opened);
    desk.assert_empty();
}

#[test]
fn each_party_is_listened_to_on_its_own_channel() {
    let mut desk = desk();
    desk.play(trace!("queue_answered"));
    let spied: Vec<&str> =
        desk.requests.iter().filter(|r| r.path.ends_with("/snoop")).map(|r| r.path.as_str()).collect();
    let created: Vec<String> = trace!("queue_answered")
        .lines()
        .filter_map(|line| match Event::parse(line) {
            Ok(Event::Created(channel)) => Some(format!("/channels/{}/snoop", channel.id)),
            _ => None,
        })
        .collect();
    assert_eq!(spied, created, "the caller's channel was made first, then the agent's");
    let speakers: Vec<Speaker> = desk
        .signals
        .iter()
        .filter_map(|(_, signal)| match signal {
            Signal::StreamAdded { speaker, .. } => Some(*speaker),
            _ => None,
        })
        .collect();
    assert_eq!(speakers, [Speaker::Caller, Speaker::Agent]);
    assert!(desk.requests.iter().filter(|r| r.path.ends_with("/snoop")).all(|r| value(r, "spy") == "in"));
}

#[test]
fn the_member_who_did_not_answer_hears_that_another_did() {
    let mut desk = desk();
    desk.play(trace!("queue_answered_elsewhere"));
    let told = desk.told();
    assert!(told.contains(&"B ended AnsweredElsewhere".into()), "{told:?}");
    assert!(told.contains(&"A ended Cancelled".into()), "{told:?}");
    desk.assert_empty();
}

#[test]
fn an_agent_behind_a_local_channel_is_one_leg_and_hears_the_caller() {
    let mut desk = desk();
    desk.play(trace!("queue_local_channel"));
    desk.pass(3_000);
    assert_eq!(
        desk.told(),
        [
            "call 1001>6003",
            "queued keiyu",
            "A 2001 keiyu",
            "A rings",
            "A answered",
            "A joined",
            "A hears Caller",
            "A hears Agent",
            "A left",
            "stream removed",
            "A ended Cancelled",
            "stream removed",
            "call ended Normal",
        ]
    );
    desk.assert_empty();
}

#[test]
fn a_caller_who_gives_up_cancels() {
    let mut desk = desk();
    desk.play(trace!("queue_caller_gives_up"));
    assert_eq!(
        desk.told(),
        [
            "call 1001>6001",
            "queued madoguchi",
            "A 2001 madoguchi",
            "A rings",
            "A ended Cancelled",
            "call ended Cancelled"
        ]
    );
    desk.assert_empty();
}

#[test]
fn busy_and_unanswered_telephones_say_so() {
    let mut busy = desk();
    busy.play(trace!("direct_busy"));
    assert_eq!(busy.told(), ["call 1001>2001", "A 2001 -", "A rings", "A ended Busy", "call ended Busy"]);
    let mut silent = desk();
    silent.play(trace!("direct_no_answer"));
    assert_eq!(silent.told(), ["call 1001>82001", "A 2001 -", "A rings", "A ended NoAnswer", "call ended NoAnswer"]);
    silent.assert_empty();
}

#[test]
fn a_queue_that_answers_first_is_told_the_same_way() {
    let mut desk = desk();
    desk.play(trace!("queue_agent_hangs_up"));
    assert_eq!(
        desk.told()[..6],
        ["call 1001>6011", "queued madoguchi", "A 2001 madoguchi", "A rings", "A answered", "A joined"]
    );
    assert!(desk.told().contains(&"A ended Normal".into()), "the agent hung up: {:?}", desk.told());
    assert_eq!(desk.told().last().map(String::as_str), Some("call ended Normal"));
    desk.assert_empty();
}

#[test]
fn a_call_to_the_bridge_itself_is_left_to_the_sip_driver() {
    let settings = Settings { own_endpoints: vec!["bridge".into()], ..Settings::default() };
    let mut desk = Desk::new(settings, true);
    desk.play(trace!("bridge_line"));
    assert_eq!(desk.told(), [""; 0]);
    desk.assert_empty();
}

#[test]
fn no_media_is_opened_where_the_line_forbids_it() {
    let mut desk = Desk::new(Settings::default(), false);
    desk.play(trace!("queue_answered"));
    assert!(desk.opened.is_empty());
    assert!(desk.requests.iter().all(|r| r.method != Method::Post));
    assert!(desk.told().contains(&"A joined".into()));
}

#[test]
fn media_that_cannot_be_had_is_reported_once_and_the_call_goes_on() {
    let mut desk = desk();
    desk.refuse =
        |r| (r.path == "/channels/externalMedia").then_some(Answer::Response { status: 500, body: String::new() });
    desk.play(trace!("queue_answered"));
    let told = desk.told();
    assert_eq!(told.iter().filter(|line| line.contains("cannot hear")).count(), 2, "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("call ended Normal"));
    desk.assert_empty();
}

#[test]
fn hold_and_digits_are_told_for_the_right_party() {
    let mut desk = desk();
    until_joined(&mut desk);
    let agent = desk
        .signals
        .iter()
        .find_map(|(_, s)| if let Signal::LegJoined(leg) = s { Some(leg.0.clone()) } else { None })
        .unwrap();
    let before = desk.told().len();
    let channel = json!({"id": agent, "name": "PJSIP/2001-00000001", "state": "Up"});
    for kind in ["ChannelHold", "ChannelHold", "ChannelUnhold"] {
        desk.event(&json!({"type": kind, "channel": channel}).to_string());
    }
    desk.event(&json!({"type": "ChannelDtmfReceived", "digit": "#", "channel": channel}).to_string());
    assert_eq!(desk.told()[before..], ["A held", "A resumed", "Agent #"]);
}

#[test]
fn ends_that_outlive_their_caller_are_closed_after_the_grace() {
    let mut desk = desk();
    let (_, channels, _) = until_joined(&mut desk);
    let all: Vec<serde_json::Value> = serde_json::from_str(&channels).unwrap();
    desk.event(&json!({"type": "ChannelDestroyed", "cause": 16, "channel": all[0]}).to_string());
    assert!(!desk.told().contains(&"call ended Normal".into()));
    desk.pass(2_000);
    assert_eq!(desk.told().last().map(String::as_str), Some("call ended Normal"));
    assert_eq!(desk.ari.calls(), 0);
    let ended = |(_, signal): &&(u64, Signal)| matches!(signal, Signal::LegEnded(_, EndCause::Normal));
    assert_eq!(desk.signals.iter().filter(ended).count(), 1);
}

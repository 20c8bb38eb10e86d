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
mod passing;

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
fn a_number_that_is_withheld_is_never_told() {
    let mut anonymous = desk();
    anonymous.play(trace!("direct_withheld"));
    let mut private = desk();
    private.presentation = "prohib_not_screened";
    private.play(trace!("direct_privacy"));
    for desk in [anonymous, private] {
        let Some((_, Signal::CallAppeared { caller, .. })) = desk.signals.first() else { panic!("{:?}", desk.signals) };
        assert_eq!(
            (caller.number.as_ref(), caller.display.as_ref(), caller.withheld),
            (None, None, Some(Withheld::Refused))
        );
        assert!(!format!("{:?}", desk.signals).contains("0663621234"));
    }
}

#[test]
fn without_an_answer_about_presentation_the_call_appears_late_and_without_number() {
    let mut desk = desk();
    desk.refuse = |r| (value(r, "variable") == "CALLERID(num-pres)").then_some(Answer::Failed);
    let lines: Vec<&str> = trace!("queue_caller_gives_up").lines().collect();
    let ringing = lines.iter().position(|line| line.contains(r#""dialstatus":"RINGING""#)).unwrap();
    lines[..=ringing].iter().for_each(|line| desk.event(line));
    assert_eq!(desk.told(), [""; 0]);
    desk.pass(500);
    assert_eq!(desk.told(), ["call None>6001", "queued madoguchi", "A 2001 madoguchi", "A rings"]);
    assert!(
        desk.signals.iter().all(|(at, _)| *at < 100),
        "they keep the time at which they were seen: {:?}",
        desk.signals
    );
}

#[test]
fn a_diverted_call_appears_with_the_line_that_was_dialled_first() {
    let mut desk = desk();
    desk.refuse = |r| {
        let value = "cfnr;allowed_not_screened;allowed_not_screened;;0662011111";
        value_of_redirecting(r).then(|| ok(json!({ "value": value })))
    };
    desk.play(trace!("queue_caller_gives_up"));
    let appeared = desk.signals.iter().filter_map(|(_, signal)| match signal {
        Signal::CallAppeared { caller, .. } | Signal::CallerIdentified(caller) => caller.diverted.clone(),
        _ => None,
    });
    let first = Diverted { number: Some("0662011111".into()), reason: Some(DivertReason::NoAnswer) };
    assert_eq!(appeared.collect::<Vec<_>>(), [first], "told once");
}

#[test]
fn a_token_that_the_caller_brings_along_is_a_key_of_the_call() {
    let tokens = |answer: fn(&Request) -> Option<Answer>| {
        let settings = Settings { token_variable: "KAKEHASHI_TOKEN".into(), ..Settings::default() };
        let mut desk = Desk::new(settings, true);
        desk.refuse = answer;
        desk.play(trace!("queue_caller_gives_up"));
        let keys = desk.signals.iter().filter_map(|(_, signal)| match signal {
            Signal::CallAppeared { keys, .. } | Signal::Keys(keys) => Some(keys.clone()),
            _ => None,
        });
        let tokens = keys.flatten().filter(|key| key.kind == KeyKind::Token);
        tokens.map(|key| key.value).collect::<Vec<String>>()
    };
    fn asked(request: &Request) -> bool {
        value(request, "variable") == "KAKEHASHI_TOKEN"
    }
    assert_eq!(tokens(|r| asked(r).then(|| ok(json!({ "value": "web-17 " })))), ["web-17"]);
    assert!(tokens(|r| asked(r).then(|| ok(json!({ "value": "" })))).is_empty());
    assert!(tokens(|r| asked(r).then_some(Answer::Failed)).is_empty());
    assert!(
        !desk().requests.iter().any(|r| value(r, "variable") == "KAKEHASHI_TOKEN"),
        "not asked where none is wanted"
    );
}

fn value_of_redirecting(request: &Request) -> bool {
    value(request, "variable").contains("REDIRECTING")
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

#[test]
fn a_call_that_ended_while_the_socket_was_down_was_lost_from_sight() {
    let mut desk = desk();
    until_joined(&mut desk);
    desk.ari.handle_disconnected(desk.now);
    desk.pass(3_000);
    let before = desk.told().len();
    desk.connect();
    desk.pass(2_000);
    let told = desk.told();
    assert!(told[before..].contains(&"A ended LostSight".into()), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("call ended LostSight"));
    desk.assert_empty();
}

#[test]
fn a_call_that_outlives_a_lost_socket_keeps_its_streams() {
    let mut desk = desk();
    let (rest, channels, bridges) = until_joined(&mut desk);
    let before = desk.told();
    desk.ari.handle_disconnected(desk.now);
    let mut all: Vec<serde_json::Value> = serde_json::from_str(&channels).unwrap();
    for stream in &desk.opened {
        all.push(json!({"id": format!("kakehashi.{}.media", stream.0), "name": "UnicastRTP/x", "state": "Up"}));
        all.push(json!({"id": format!("kakehashi.{}.snoop", stream.0), "name": "Snoop/x-0", "state": "Up"}));
    }
    desk.lists = (serde_json::to_string(&all).unwrap(), bridges);
    desk.connect();
    desk.pass(5_000);
    assert_eq!(desk.told(), before);
    assert!(desk.closed.is_empty());
    rest.iter().for_each(|line| desk.event(line));
    assert_eq!(desk.told().last().map(String::as_str), Some("call ended Normal"));
    desk.assert_empty();
}

#[test]
fn a_running_call_is_found_at_the_first_connection_and_orphans_are_removed() {
    let mut first = desk();
    let (_, channels, bridges) = until_joined(&mut first);
    let mut all: Vec<serde_json::Value> = serde_json::from_str(&channels).unwrap();
    let linkedid = all[0]["id"].as_str().unwrap().to_string();
    let orphan = format!("kakehashi.{}.snoop", first.opened[0].0);
    all.push(json!({"id": orphan, "name": "Snoop/x-0", "state": "Up"}));
    let mut desk = desk();
    desk.requests.clear();
    desk.lists = (serde_json::to_string(&all).unwrap(), bridges);
    desk.linkedid = linkedid;
    desk.connect();
    assert_eq!(
        desk.told(),
        [
            "call 1001>6001",
            "queued madoguchi",
            "A 2001 madoguchi",
            "A answered",
            "A joined",
            "A hears Caller",
            "A hears Agent"
        ]
    );
    let removed: Vec<&str> =
        desk.requests.iter().filter(|r| r.method == Method::Delete).map(|r| r.path.as_str()).collect();
    assert_eq!(removed, [format!("/channels/{orphan}")]);
}

#[test]
fn a_tap_whose_channel_vanishes_is_made_anew() {
    let mut desk = desk();
    let (rest, ..) = until_joined(&mut desk);
    let gone = json!({"type": "ChannelDestroyed", "cause": 16,
        "channel": {"id": format!("kakehashi.{}.media", desk.opened[0].0), "name": "UnicastRTP/x"}});
    desk.event(&gone.to_string());
    assert_eq!(desk.opened.len(), 2);
    desk.pass(1_000);
    assert_eq!((desk.opened.len(), desk.closed.len()), (3, 1));
    rest.iter().for_each(|line| desk.event(line));
    assert_eq!(desk.closed.len(), 3);
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

//! Metadata of every dialect, and who is who by it.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::telling::Fallback;
use super::*;
use crate::pbx::sip::message::{Message, Start};
use crate::pbx::sip::request::Request;
use crate::pbx::{CallKey, EndCause, KeyKind, PbxId, Signal, Speaker, StreamId};
use crate::time::{Mono, Now, Wall};

fn document(name: &str) -> Vec<u8> {
    std::fs::read(format!("tests/data/siprec/{name}.xml")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn book(names: &[&str]) -> Book {
    let mut book = Book::default();
    for name in names {
        assert_eq!(book.apply(Metadata::parse(&document(name), None).unwrap()), Applied::Whole, "{name}");
    }
    book
}

fn stream(number: usize) -> StreamId {
    StreamId(Uuid::from_u128(number as u128 + 1))
}

fn lines(labels: &[&str]) -> Vec<Line> {
    let line = |(index, label): (usize, &&str)| Line {
        stream: stream(index),
        index,
        label: (!label.is_empty()).then(|| (*label).to_string()),
        silent: false,
    };
    labels.iter().enumerate().map(line).collect()
}

fn knows(extension: &str) -> bool {
    ["2001", "2002"].contains(&extension)
}

fn rules(agent_first: bool) -> Rules<'static> {
    Rules { is_agent: &knows, agent_first }
}

/// Caller, legs and speakers of the only call.
fn seen(book: &Book, labels: &[&str]) -> (Option<String>, Vec<String>, Vec<Speaker>) {
    let pictures = pictures(book, &lines(labels), &rules(false), |_| BTreeMap::new());
    let [picture] = pictures.as_slice() else { panic!("one call: {pictures:?}") };
    let caller = picture.caller.as_ref().and_then(|caller| caller.number.clone());
    let legs = picture.legs.iter().map(|(_, address)| address.clone()).collect();
    (caller, legs, picture.streams.iter().map(|(_, speaker, _)| *speaker).collect())
}

/// Documents, labels of the lines; caller, legs, speakers.
type Row = (
    &'static [&'static str],
    &'static [&'static str],
    Option<&'static str>,
    &'static [&'static str],
    &'static [Speaker],
);

#[test]
fn every_dialect_names_the_same_people_on_the_right_lines() {
    use Speaker::{Agent, Caller, Mixed, Other};
    let table: [Row; 7] = [
        (&["rfc"], &["96", "98", "1"], Some("+81663621234"), &["2001"], &[Caller, Agent, Other]),
        (&["avaya_start"], &["10"], Some("0663621234"), &[], &[Caller]),
        (&["avaya_start", "avaya_people"], &["10", "20"], Some("0663621234"), &["2001"], &[Caller, Agent]),
        (&["metaswitch"], &["1"], Some("0663621234"), &["0661111111"], &[Mixed]),
        (&["broadworks"], &["1", "2"], Some("+81663621234"), &["0661111111"], &[Agent, Caller]),
        (&["webex"], &["2", "1"], Some("0663621234"), &["2002"], &[Caller, Agent]),
        (&["oracle"], &["369607687", "369607688"], Some("0663621234"), &["0661119999"], &[Caller, Agent]),
    ];
    for (names, labels, caller, legs, speakers) in table {
        let found = seen(&book(names), labels);
        let legs: Vec<String> = legs.iter().map(ToString::to_string).collect();
        assert_eq!(found, (caller.map(str::to_string), legs, speakers.to_vec()), "{names:?}");
    }
}

#[test]
fn lines_without_a_label_are_nobodys() {
    assert_eq!(seen(&book(&["rfc"]), &["", "99"]).2, [Speaker::Other, Speaker::Other]);
    assert_eq!(seen(&Book::default(), &["1"]), (None, vec![], vec![Speaker::Other]));
}

#[test]
fn people_come_and_go_by_partial_updates() {
    let joined = book(&["rfc", "rfc_joins"]);
    let (_, legs, speakers) = seen(&joined, &["96", "98", "100"]);
    assert_eq!(legs, ["2001", "2002"]);
    assert_eq!(speakers, [Speaker::Caller, Speaker::Agent, Speaker::Agent]);
    let left = book(&["rfc", "rfc_joins", "rfc_leaves"]);
    let (caller, legs, speakers) = seen(&left, &["96", "98", "100"]);
    assert_eq!((caller.as_deref(), legs), (Some("+81663621234"), vec!["2002".to_string()]));
    assert_eq!(speakers, [Speaker::Caller, Speaker::Other, Speaker::Agent]);
}

#[test]
fn an_update_that_refers_to_nothing_asks_for_a_snapshot_and_a_snapshot_heals() {
    let mut book = Book::default();
    let read = |name: &str| Metadata::parse(&document(name), None).unwrap();
    assert_eq!(book.apply(read("rfc_joins")), Applied::Lacking, "nothing was told before");
    assert_eq!(book.apply(read("rfc")), Applied::Whole);
    assert_eq!(seen(&book, &["96"]).1, ["2001"], "a snapshot replaces");
    let stranger = b"<recording xmlns='urn:ietf:params:xml:ns:recording:1'><datamode>partial</datamode>\
        <participantsessionassoc participant_id='nobody' session_id='hVpd7YQgRW2nD22h7q60JQ=='/></recording>";
    assert_eq!(book.apply(Metadata::parse(stranger, None).unwrap()), Applied::Lacking);
    assert_eq!(seen(&book, &["96", "98"]).2, [Speaker::Caller, Speaker::Agent], "what is known stays");
}

#[test]
fn one_recording_session_may_hold_several_calls() {
    let book = book(&["two_calls"]);
    let pictures = pictures(&book, &lines(&["3", "1", "4", "2"]), &rules(false), |_| BTreeMap::new());
    let [first, second] = pictures.as_slice() else { panic!("{pictures:?}") };
    assert_eq!((first.legs[0].1.as_str(), second.legs[0].1.as_str()), ("2001", "2002"));
    assert_eq!(second.caller.as_ref().unwrap().number.as_deref(), Some("0663622222"));
    let of = |picture: &Picture| picture.streams.iter().map(|(id, speaker, _)| (*id, *speaker)).collect::<Vec<_>>();
    assert_eq!(of(first), [(stream(1), Speaker::Caller), (stream(3), Speaker::Agent)]);
    assert_eq!(of(second), [(stream(0), Speaker::Caller), (stream(2), Speaker::Agent)]);
    assert_eq!(second.keys[0].kind, KeyKind::SiprecSession);
}

#[test]
fn what_tells_nothing_is_ordered_as_the_site_says() {
    let xml = |people: &[&str]| {
        let one = |(n, aor): (usize, &&str)| {
            format!(
                "<participant participant_id='{n}'><nameID aor='{aor}'/></participant><stream stream_id='s{n}'><label>{n}</label></stream>\
                 <participantstreamassoc participant_id='{n}'><send>s{n}</send></participantstreamassoc>"
            )
        };
        let people: String = people.iter().enumerate().map(one).collect();
        format!("<recording xmlns='urn:ietf:params:xml:ns:recording:1'><session session_id='x'/>{people}</recording>")
    };
    let speakers = |people: &[&str], agent_first| {
        let mut book = Book::default();
        book.apply(Metadata::parse(xml(people).as_bytes(), None).unwrap());
        let rules = rules(agent_first);
        let pictures = pictures(&book, &lines(&["0", "1", "2"][..people.len()]), &rules, |_| BTreeMap::new());
        pictures[0].streams.iter().map(|(_, speaker, _)| *speaker).collect::<Vec<_>>()
    };
    use Speaker::{Agent, Caller, Other};
    assert_eq!(speakers(&["sip:a@x", "sip:b@x"], false), [Caller, Agent]);
    assert_eq!(speakers(&["sip:a@x", "sip:b@x"], true), [Agent, Caller]);
    assert_eq!(speakers(&["sip:a@x", "sip:b@x", "sip:c@x"], false), [Caller, Agent, Other], "a third is neither");
    assert_eq!(speakers(&["sip:2001@x", "sip:b@x"], false), [Agent, Caller], "the directory knows better");
    assert_eq!(speakers(&["sip:a@x", "sip:2001@x", "sip:2002@x"], true), [Caller, Agent, Agent]);
    assert_eq!(speakers(&["sip:a@x", "sip:b@x", "sip:2002@x"], false), [Caller, Other, Agent]);
    assert_eq!(speakers(&["sip:2002@x", "sip:2001@x"], false), [Caller, Agent], "one extension calls another");
    assert_eq!(speakers(&["sip:2002@x"], false), [Agent]);
    assert_eq!(speakers(&["sip:a@x"], true), [Other], "one alone may be either");
    assert_eq!(speakers(&["sip:anonymous@anonymous.invalid", "sip:2001@x"], false), [Caller, Agent]);
}

#[test]
fn what_is_hostile_or_something_else_is_refused() {
    let root = "<recording xmlns='urn:ietf:params:xml:ns:recording:1'>";
    let error = |text: &str| Metadata::parse(text.as_bytes(), None).unwrap_err();
    assert_eq!(error("<!DOCTYPE x [<!ENTITY a 'b'>]><recording/>"), Error::Dtd);
    assert_eq!(error(&format!("{root}<datamode>&a;</datamode></recording>")), Error::Syntax);
    assert_eq!(error(root), Error::Syntax);
    assert_eq!(error("<recording xmlns='urn:x'/>"), Error::NotMetadata);
    assert_eq!(error("<html/>"), Error::NotMetadata);
    assert_eq!(error(""), Error::NotMetadata);
    assert_eq!(error(&format!("{root}{}", "<a>".repeat(100))), Error::TooLarge);
    assert_eq!(error(&format!("{root}{}</recording>", "<a/>".repeat(10_000))), Error::TooLarge);
    assert_eq!(error(&format!("{root}{}</recording>", "<participant/>".repeat(1_000))), Error::TooLarge);
    assert_eq!(error(&"x".repeat(300_000)), Error::TooLarge);
    assert_eq!(Metadata::parse(&document("broken"), None).unwrap_err(), Error::Syntax);
}

#[test]
fn what_follows_the_document_and_other_charsets_do_no_harm() {
    let mut body = document("rfc");
    body.extend_from_slice(b"--foobar--\r\n<not closed");
    assert_eq!(Metadata::parse(&body, None).unwrap().participants.len(), 2);
    let text = "<?xml version=\"1.0\" encoding=\"Shift_JIS\"?><recording xmlns=\"urn:ietf:params:xml:ns:recording:1\">\
                <participant participant_id=\"1\"><nameID aor=\"sip:2001@x\"><name>山田</name></nameID></participant></recording>";
    let (bytes, _, _) = encoding_rs::SHIFT_JIS.encode(text);
    let read = Metadata::parse(&bytes, None).unwrap();
    assert_eq!(read.participants[0].name.as_deref(), Some("山田"));
    assert!(read.complete, "who says nothing tells all");
}

#[test]
fn short_session_ids_join_nobody() {
    let text = "<recording xmlns='urn:ietf:params:xml:ns:recording:1'><session session_id='1'/></recording>";
    let mut book = Book::default();
    book.apply(Metadata::parse(text.as_bytes(), None).unwrap());
    assert!(pictures(&book, &[], &rules(false), |_| BTreeMap::new())[0].keys.is_empty());
}

fn invite(from: &str, more: &[(&str, &str)]) -> Request {
    let mut message = Message::new(Start::Request { method: "INVITE".into(), uri: "sip:7777@h".into() });
    let common = [("Via", "SIP/2.0/UDP a;branch=z9hG4bKx"), ("From", from), ("To", "<sip:7777@h>")];
    let rest = [("Call-ID", "fork-1@cucm"), ("CSeq", "101 INVITE")];
    common.iter().chain(&rest).chain(more).for_each(|(name, value)| message.push(name, *value));
    Request::read(message).unwrap()
}

#[test]
fn a_fork_of_a_telephone_names_both_ends_in_from() {
    let from = |end: &str| {
        format!(
            "\"Kato\" <sip:2001@10.0.0.5;x-{end};x-refci=27298698;x-nearendclusterid=Osaka;x-nearenddevice=SEP1;x-nearendaddr=2001;\
             x-farendrefci=27298699;x-farendclusterid=Osaka;x-farenddevice=GW;x-farendaddr=0663621234;\
             x-sessionid=696dd5d3f7755c6abdc438e93d01febf>;tag=1"
        )
    };
    for (end, speaker) in [("nearend", Speaker::Agent), ("farend", Speaker::Caller)] {
        let (book, keys) = of_headers(&invite(&from(end), &[])).unwrap();
        let (caller, legs, speakers) = seen(&book, &[""]);
        assert_eq!((caller.as_deref(), legs, speakers), (Some("0663621234"), vec!["2001".into()], vec![speaker]));
        let values: Vec<&str> = keys.iter().map(|key| key.value.as_str()).collect();
        assert_eq!(values, ["Osaka/27298698", "696dd5d3f7755c6abdc438e93d01febf"], "the same in both");
    }
    assert!(of_headers(&invite("<sip:2001@h>;tag=1", &[])).is_none(), "a call");
    assert!(of_headers(&invite("<sip:2001@h;x-nearend>;tag=1", &[])).is_none(), "without x-refci it is no fork");
}

#[test]
fn cube_names_the_party_of_each_media_line() {
    let told = [
        ("X-Cisco-Recording-Participant", "sip:2001@10.42.30.5;media-index=\"1\""),
        ("X-Cisco-Recording-Participant", "sip:0663621234@10.42.30.32;media-index=\"0\""),
        ("Cisco-Guid", "1334370502-1348997600-2396699092-3395863316"),
    ];
    let (book, keys) = of_headers(&invite("<sip:10.42.30.10>;tag=1", &told)).unwrap();
    let (caller, legs, speakers) = seen(&book, &["", ""]);
    assert_eq!((caller.as_deref(), legs), (Some("0663621234"), vec!["2001".to_string()]));
    assert_eq!(speakers, [Speaker::Caller, Speaker::Agent]);
    assert_eq!(keys[0].kind, KeyKind::CiscoGuid);
}

fn at(seconds: u64) -> Now {
    let start = Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) };
    start.plus(std::time::Duration::from_secs(seconds))
}

fn names(told: &[crate::pbx::Observed]) -> Vec<String> {
    let leg = |leg: &crate::pbx::LegKey| leg.0.rsplit('=').next().unwrap_or_default().to_string();
    let name = |signal: &Signal| match signal {
        Signal::CallAppeared { called, .. } => format!("appeared {called}"),
        Signal::CallerIdentified(_) => "caller".into(),
        Signal::Keys(_) => "keys".into(),
        Signal::LegAppeared { leg: own, address, .. } => format!("leg {} {address}", leg(own)),
        Signal::LegAnswered(own) => format!("answered {}", leg(own)),
        Signal::StreamAdded { leg: own, stream, speaker } => {
            format!("{speaker:?} {} on {}", stream.0.as_u128(), leg(own))
        }
        Signal::StreamRemoved(stream) => format!("removed {}", stream.0.as_u128()),
        Signal::LegEnded(own, cause) => format!("ended {} {cause:?}", leg(own)),
        Signal::KeepNothing(_) => "paused".into(),
        Signal::KeepAgain(_) => "resumed".into(),
        Signal::LegHeld(_) => "held".into(),
        Signal::LegResumed(_) => "unheld".into(),
        Signal::CallEnded(cause) => format!("over {cause:?}"),
        other => format!("{other:?}"),
    };
    told.iter().map(|observed| name(&observed.signal)).collect()
}

struct Stage {
    teller: Teller,
    fallback: Fallback,
}

impl Stage {
    fn new() -> Stage {
        let key = CallKey { pbx: PbxId("sbc".into()), key: "rs-1".into() };
        let fallback = Fallback { called: "recorder".into(), keys: Vec::new(), at_once: false };
        Stage { teller: Teller::new(key), fallback }
    }

    fn update(&mut self, book: &Book, lines: &[Line]) -> Vec<String> {
        let pictures = pictures(book, lines, &rules(false), |session| self.teller.roles(session));
        names(&self.teller.update(&pictures, &self.fallback, at(0)))
    }
}

#[test]
fn a_call_is_told_when_an_agent_is_named_or_nobody_is_in_time() {
    let mut stage = Stage::new();
    assert!(stage.update(&book(&["avaya_start"]), &lines(&["10"])).is_empty());
    assert!(stage.teller.waits());
    let told = stage.update(&book(&["avaya_people"]), &lines(&["10"]));
    assert_eq!(told, ["appeared 2001", "leg 1 2001", "answered 1", "Caller 1 on 1"]);
    let told = stage.update(&book(&["avaya_people"]), &lines(&["10", "20"]));
    assert_eq!(told, ["Agent 2 on 1"]);
    assert!(stage.update(&book(&["avaya_people"]), &lines(&["10", "20"])).is_empty(), "everything is told once");

    let mut stage = Stage::new();
    stage.fallback.at_once = true;
    let told = stage.update(&book(&["avaya_start"]), &lines(&["10"]));
    assert_eq!(told, ["appeared recorder", "leg 1 recorder", "answered 1", "Caller 1 on 1"]);
    let told = stage.update(&book(&["avaya_people"]), &lines(&["10", "20"]));
    assert_eq!(told, ["leg 2 2001", "answered 2", "Caller 1 on 2", "Agent 2 on 2", "ended 1 AnsweredElsewhere"]);
}

#[test]
fn a_late_agent_and_one_who_leaves_are_legs_of_their_own() {
    let mut stage = Stage::new();
    let told = stage.update(&book(&["rfc"]), &lines(&["96", "98"]));
    assert_eq!(told, ["appeared 2001", "leg 1 2001", "answered 1", "Caller 1 on 1", "Agent 2 on 1"]);
    let told = stage.update(&book(&["rfc", "rfc_joins"]), &lines(&["96", "98", "100"]));
    assert_eq!(told, ["leg 2 2002", "answered 2", "Agent 3 on 2"]);
    let left = book(&["rfc", "rfc_joins", "rfc_leaves"]);
    let told = stage
        .update(&left, &lines(&["96", "98", "100"])[..].iter().filter(|l| l.index != 1).cloned().collect::<Vec<_>>());
    assert_eq!(told, ["removed 2", "Caller 1 on 2", "ended 1 Transferred"]);
    let told = names(&stage.teller.end(EndCause::Normal, &stage.fallback, at(9)));
    assert_eq!(told, ["removed 1", "removed 3", "over Normal"]);
    assert!(names(&stage.teller.end(EndCause::Normal, &stage.fallback, at(9))).is_empty());
    let mut stage = Stage::new();
    stage.update(&book(&["rfc", "rfc_joins"]), &lines(&["96", "98", "100"]));
    let told = stage.update(&left, &lines(&["96", "98", "100"]));
    assert_eq!(told, ["Other 2 on 2", "ended 1 Transferred"], "a line that was left is not the next agent's");
}

#[test]
fn all_lines_silent_is_a_pause_and_one_a_hold() {
    let mut stage = Stage::new();
    let mut lines = lines(&["96", "98"]);
    stage.update(&book(&["rfc"]), &lines);
    lines[0].silent = true;
    assert_eq!(stage.update(&book(&["rfc"]), &lines), ["held"]);
    lines[1].silent = true;
    assert_eq!(stage.update(&book(&["rfc"]), &lines), ["paused", "unheld"]);
    lines.iter_mut().for_each(|line| line.silent = false);
    assert_eq!(stage.update(&book(&["rfc"]), &lines), ["resumed"]);
}

#[test]
fn each_call_of_a_recording_session_ends_by_itself() {
    let mut stage = Stage::new();
    let both = book(&["two_calls"]);
    let told = stage.update(&both, &lines(&["1", "2", "3", "4"]));
    assert_eq!(told.iter().filter(|name| name.starts_with("appeared")).count(), 2);
    let mut one = both.clone();
    let over = "<recording xmlns='urn:ietf:params:xml:ns:recording:1'><datamode>partial</datamode>\
                <session session_id='firstcall-AAAAAAAAAAAA=='><stop-time>x</stop-time></session></recording>";
    one.apply(Metadata::parse(over.as_bytes(), None).unwrap());
    let told = stage.update(&one, &lines(&["", "", "3", "4"])[2..]);
    assert_eq!(told, ["removed 1", "removed 2", "over Normal"]);
    assert_eq!(
        names(&stage.teller.end(EndCause::Normal, &stage.fallback, at(1))),
        ["removed 3", "removed 4", "over Normal"]
    );
}

#[test]
fn a_call_that_nobody_was_named_in_is_told_at_its_end() {
    let mut stage = Stage::new();
    stage.update(&book(&["avaya_start"]), &lines(&["10"]));
    let told = names(&stage.teller.end(EndCause::Normal, &stage.fallback, at(1)));
    assert_eq!(
        told,
        ["appeared recorder", "leg 1 recorder", "answered 1", "Caller 1 on 1", "removed 1", "over Normal"]
    );
}

#[test]
fn a_role_that_was_told_stays_when_others_go() {
    let xml = |people: &str| {
        let text = format!(
            "<recording xmlns='urn:ietf:params:xml:ns:recording:1'><session session_id='x'/>{people}\
             <stream stream_id='s1'><label>1</label></stream><stream stream_id='s2'><label>2</label></stream>\
             <participantstreamassoc participant_id='a'><send>s1</send></participantstreamassoc>\
             <participantstreamassoc participant_id='b'><send>s2</send></participantstreamassoc></recording>"
        );
        let mut book = Book::default();
        book.apply(Metadata::parse(text.as_bytes(), None).unwrap());
        book
    };
    let (a, b) = (
        "<participant participant_id='a'><nameID aor='sip:x1@x'/></participant>",
        "<participant participant_id='b'><nameID aor='sip:x2@x'/></participant>",
    );
    let mut stage = Stage::new();
    stage.update(&xml(&format!("{a}{b}")), &lines(&["1", "2"]));
    assert!(stage.update(&xml(b), &lines(&["1", "2"])).is_empty(), "the agent is no caller because the caller went");
}

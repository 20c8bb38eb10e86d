//! The recording server (RFC 7866): lines, pauses, metadata in every request, snapshots that are asked for, and what is broken.

use kakehashi::pbx::sip::wire::{Item, StreamReader};
use kakehashi::pbx::sip::{PeerSettings, Policy, Settings, Transport};
use kakehashi::pbx::{Fidelity, KeyKind, PbxId, Signal, Speaker};

use crate::lab::{Lab, body, invite, lab_of, lines, name, request};

const CONTACT: &str = "Contact: <sip:src@192.0.2.1:5062>;+sip.src\r\n";

fn metadata(name: &str) -> String {
    std::fs::read_to_string(format!("tests/data/siprec/{name}.xml")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A description with these lines: port, label, direction.
fn offer(lines: &[(u16, &str, &str)]) -> String {
    let line = |(port, label, direction): &(u16, &str, &str)| {
        format!("m=audio {port} RTP/AVP 0\r\na=label:{label}\r\na={direction}\r\n")
    };
    let lines: String = lines.iter().map(line).collect();
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{lines}")
}

const TWO: [(u16, &str, &str); 2] = [(4000, "96", "sendonly"), (4002, "98", "sendonly")];

const MIXED: &str = "Content-Type: multipart/mixed;boundary=foobar\r\n";

/// Description and metadata, as a recorder sends them; the boundary follows the metadata at once.
fn parts(sdp: &str, xml: &str) -> String {
    format!(
        "--foobar\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--foobar\r\nContent-Type: application/rs-metadata+xml\r\n\
         Content-Disposition: recording-session\r\n\r\n{xml}--foobar--\r\n"
    )
}

fn recorder() -> Lab {
    recorder_of(PeerSettings::default())
}

fn recorder_of(own: PeerSettings) -> Lab {
    let mut lab = lab_of(Settings::default(), own, Policy { record: true, transcribe: true, answer_after_ms: 5_000 });
    lab.uas.set_agents(Box::new(|pbx: &PbxId, extension| pbx.0 == "pbx1" && ["2001", "2002"].contains(&extension)));
    lab
}

/// An answered and acknowledged recording session.
fn recorded(lab: &mut Lab, sdp: &str, xml: &str) {
    let more = format!("Require: siprec\r\n{MIXED}");
    assert_eq!(lab.send(&invite(&more, &parts(sdp, xml))), ["100", "180", "200"], "at once: the people talk already");
    lab.ack("");
}

fn called(lab: &Lab) -> Vec<String> {
    let called = lab.signals.iter().filter_map(|signal| match signal {
        Signal::CallAppeared { called, .. } => Some(called.clone()),
        _ => None,
    });
    called.collect()
}

const ALLOWS: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n";
const UPDATED: &str = "Content-Type: application/rs-metadata+xml\r\nContent-Disposition: recording-session\r\n";

#[test]
fn a_recording_session_gets_a_recvonly_line_for_each_of_its_and_says_srs() {
    let mut lab = recorder();
    recorded(&mut lab, &offer(&TWO), &metadata("rfc"));
    let answer = lab.last_of("200").clone();
    assert!(answer.text("Contact").unwrap().ends_with(";+sip.srs"), "{:?}", answer.text("Contact"));
    assert_eq!(lines(&answer), ["m=audio 20002 RTP/AVP 0", "m=audio 20004 RTP/AVP 0"]);
    assert_eq!(body(&answer).matches("a=recvonly").count(), 2);
    assert_eq!(lab.told(), ["appeared", "leg", "answered", "caller heard", "agent heard"]);
    let Signal::CallAppeared { caller, called, keys, fidelity } = &lab.signals[0] else { panic!() };
    assert_eq!((caller.number.as_deref(), called.as_str()), (Some("+81663621234"), "2001"));
    assert_eq!(*fidelity, Fidelity::Recording);
    let kinds: Vec<KeyKind> = keys.iter().map(|key| key.kind).collect();
    use KeyKind::{CallId, SessionId, SiprecSession};
    assert_eq!(kinds, [SiprecSession, SessionId, SessionId, CallId]);
    let tag = lab.tag();
    lab.send(&request("BYE", "b", 9, &tag, "", ""));
    assert_eq!(lab.told()[5..], ["removed", "removed", "ended"]);
    assert!(lab.is_clean());
}

#[test]
fn a_recorder_is_known_without_require_by_its_body_or_its_contact() {
    let xml = metadata("rfc");
    let mut by_body = recorder();
    by_body.send(&invite(MIXED, &parts(&offer(&TWO), &xml)));
    assert_eq!(called(&by_body), ["2001"]);
    let text = invite("", &offer(&TWO));
    let plain = "Contact: <sip:0663621234@192.0.2.1:5062>\r\n";
    for contact in [CONTACT, "Contact: <sip:src@192.0.2.1:5062;transport=udp;+sip.src>\r\n"] {
        let mut by_contact = recorder();
        by_contact.send(&text.replace(plain, contact));
        assert_eq!(by_contact.uas.counters().recordings, 1, "{contact}");
    }
    let mut plain = recorder();
    plain.send(&text);
    assert_eq!((plain.uas.counters().recordings, plain.told()[..1].to_vec()), (0, vec!["appeared"]));
}

#[test]
fn the_old_media_type_and_a_line_without_direction_are_taken() {
    let mut lab = recorder();
    let sdp = offer(&TWO).replace("a=sendonly\r\n", "");
    let body = parts(&sdp, &metadata("rfc")).replace("rs-metadata+xml", "rs-metadata");
    lab.send(&invite(MIXED, &body));
    assert_eq!(self::body(lab.last_of("200")).matches("a=recvonly").count(), 2, "a recorder never sends");
    assert_eq!(lab.told()[3..], ["caller heard", "agent heard"]);
}

#[test]
fn three_lines_are_all_heard_and_a_third_comes_and_goes_with_its_participant() {
    let mut lab = recorder();
    recorded(&mut lab, &offer(&TWO), &metadata("rfc"));
    let three = [TWO[0], TWO[1], (4004, "100", "sendonly")];
    assert_eq!(lab.ask("INVITE", MIXED, &parts(&offer(&three), &metadata("rfc_joins"))), ["100", "200"]);
    lab.ack("");
    assert_eq!(lines(lab.last_of("200")).len(), 3);
    assert_eq!(lab.told()[5..], ["leg", "answered", "agent heard"]);
    let two = [TWO[0], (0, "98", "sendonly"), three[2]];
    assert_eq!(lab.ask("INVITE", MIXED, &parts(&offer(&two), &metadata("rfc_leaves"))), ["200"]);
    lab.ack("");
    assert_eq!(lines(lab.last_of("200"))[1], "m=audio 0 RTP/AVP 0");
    assert_eq!(lab.told()[8..], ["removed", "caller heard", "other"], "the leg that left is told last");
    let many: Vec<(u16, &str, &str)> = (0..20).map(|n| (4000 + 2 * n, "x", "sendonly")).collect();
    let mut lab = recorder();
    lab.send(&invite("Require: siprec\r\n", &offer(&many)));
    let refused = lines(lab.last_of("200")).iter().filter(|line| line.starts_with("m=audio 0 ")).count();
    assert_eq!(refused, 4, "at most sixteen are heard");
}

#[test]
fn inactive_and_the_old_hold_are_a_pause_and_sendonly_ends_it() {
    let mut lab = recorder();
    recorded(&mut lab, &offer(&TWO), &metadata("rfc"));
    let inactive = offer(&TWO).replace("sendonly", "inactive");
    let null = offer(&TWO).replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0");
    for (silent, direction) in [(inactive, "a=inactive"), (null, "a=recvonly")] {
        let from = lab.signals.len();
        lab.ask("INVITE", "", &silent);
        lab.ack("");
        assert_eq!(body(lab.last_of("200")).matches(direction).count(), 2);
        assert_eq!(lab.told()[from..], ["not kept"]);
        lab.ask("UPDATE", "", &offer(&TWO));
        assert_eq!(lab.told()[from..], ["not kept", "kept"]);
    }
    let from = lab.signals.len();
    lab.ask("UPDATE", "", &offer(&[TWO[0], (4002, "98", "inactive")]));
    assert_eq!(lab.told()[from..], ["held"], "one line alone is a hold");
}

#[test]
fn metadata_comes_by_update_with_and_without_a_description() {
    let mut lab = recorder();
    recorded(&mut lab, &offer(&[(4000, "10", "sendonly")]), &metadata("avaya_start"));
    assert!(lab.signals.is_empty(), "somebody may still be named");
    assert_eq!(lab.ask("UPDATE", UPDATED, &metadata("avaya_people")), ["200"]);
    assert!(body(lab.last_of("200")).is_empty());
    assert_eq!(lab.told(), ["appeared", "leg", "answered", "caller heard"]);
    assert_eq!(called(&lab), ["2001"]);
    let both = offer(&[(4000, "10", "sendonly"), (4002, "20", "sendonly")]);
    assert_eq!(lab.ask("UPDATE", MIXED, &parts(&both, &metadata("avaya_people"))), ["200"]);
    assert_eq!(lines(lab.last_of("200")).len(), 2);
    assert_eq!(lab.told()[4..], ["agent heard"]);
}

#[test]
fn who_is_not_named_within_two_seconds_is_not_waited_for() {
    let mut lab = recorder();
    recorded(&mut lab, &offer(&[(4000, "10", "sendonly")]), &metadata("avaya_start"));
    lab.pass(1_900);
    assert!(lab.signals.is_empty());
    lab.pass(200);
    assert_eq!(lab.told(), ["appeared", "leg", "answered", "caller heard"]);
    assert_eq!(called(&lab), ["7001"], "the number of the recorder");
}

#[test]
fn a_partial_update_that_cannot_be_merged_asks_for_a_snapshot_by_update() {
    let mut lab = recorder();
    let more = format!("Require: siprec\r\n{ALLOWS}{MIXED}");
    lab.send(&invite(&more, &parts(&offer(&TWO), &metadata("rfc_leaves"))));
    assert_eq!(lab.ack(""), ["UPDATE"], "asked when the call stands");
    let asked = lab.last_of("UPDATE").clone();
    assert_eq!(asked.text("Content-Type").unwrap(), "application/rs-metadata-request");
    assert_eq!(asked.text("Content-Disposition").unwrap(), "recording-session");
    assert!(body(&asked).contains("<requestsnapshot xmlns=\"urn:ietf:params:xml:ns:recording:1\">"));
    assert!(lab.reply(200, "", "").is_empty());
    lab.ask("UPDATE", UPDATED, &metadata("rfc"));
    assert_eq!(lab.told(), ["appeared", "leg", "answered", "caller heard", "agent heard"]);
    let counters = lab.uas.counters();
    assert_eq!((counters.snapshots, counters.metadata_lacking), (1, 1));
}

#[test]
fn a_peer_without_update_is_asked_by_re_invite_and_nobody_for_ever() {
    let mut lab = recorder();
    let more = format!("Require: siprec\r\nAllow: INVITE, ACK, BYE\r\n{MIXED}");
    lab.send(&invite(&more, &parts(&offer(&TWO), &metadata("rfc_leaves"))));
    assert_eq!(lab.ack(""), ["INVITE"]);
    let asked = lab.last_of("INVITE").clone();
    assert!(body(&asked).contains("m=audio 20002") && body(&asked).contains("<requestsnapshot"));
    assert_eq!(lab.reply(488, "", ""), ["ACK"]);
    for _ in 0..5 {
        lab.ask("INVITE", MIXED, &parts(&offer(&TWO), &metadata("rfc_leaves")));
        if lab.ack("") == ["INVITE"] {
            lab.reply(488, "", "");
        }
    }
    assert_eq!(lab.uas.counters().snapshots, 3, "three times in vain is enough");
    assert_eq!(lab.uas.calls(), 1);
}

#[test]
fn broken_metadata_is_recorded_under_a_call_of_its_own_and_counted() {
    let mut lab = recorder();
    recorded(&mut lab, &offer(&TWO), &metadata("broken"));
    lab.pass(2_100);
    assert_eq!(lab.told(), ["appeared", "leg", "answered", "other", "other"], "two streams of nobody");
    let speakers = lab.signals.iter().filter_map(|signal| match signal {
        Signal::StreamAdded { speaker, .. } => Some(*speaker),
        _ => None,
    });
    assert_eq!(speakers.collect::<Vec<_>>(), [Speaker::Other, Speaker::Other], "never a wrong one");
    assert_eq!((lab.uas.counters().metadata_broken, lab.uas.counters().recordings), (1, 1));
    lab.ask("UPDATE", UPDATED, &metadata("rfc"));
    let told = lab.told();
    assert!(told[5..].contains(&"caller heard") && told[5..].contains(&"agent heard"), "named late: {told:?}");
}

#[test]
fn several_calls_in_one_recording_session_are_calls_of_their_own() {
    let mut lab = recorder();
    let four: Vec<(u16, &str, &str)> =
        ["1", "2", "3", "4"].iter().enumerate().map(|(n, label)| (4000 + 2 * n as u16, *label, "sendonly")).collect();
    recorded(&mut lab, &offer(&four), &metadata("two_calls"));
    assert_eq!(called(&lab), ["2001", "2002"]);
    lab.ask("BYE", "", "");
    assert_eq!(lab.told().iter().filter(|told| **told == "ended").count(), 2);
    assert!(lab.is_clean());
}

#[test]
fn a_fork_without_an_offer_gets_a_recvonly_one_and_tells_both_ends() {
    let from = "From: <sip:2001@192.0.2.1;x-nearend;x-refci=27298698;x-nearendclusterid=Osaka;x-nearendaddr=2001;x-farendaddr=0663621234>;tag=caller";
    let mut lab = recorder();
    let text = invite("Min-SE: 1800\r\n", "").replace("From: <sip:0663621234@192.0.2.1>;tag=caller", from);
    assert_eq!(lab.send(&text), ["100", "180", "200"]);
    assert!(body(lab.last_of("200")).contains("a=recvonly"));
    let answer = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101 19\r\n\
                  a=rtpmap:101 telephone-event/8000\r\na=rtpmap:19 CN/8000\r\na=sendonly\r\n";
    lab.ack(answer);
    assert_eq!(lab.told(), ["appeared", "leg", "answered", "agent heard"]);
    let Signal::CallAppeared { caller, keys, .. } = &lab.signals[0] else { panic!() };
    assert_eq!(caller.number.as_deref(), Some("0663621234"), "From is the telephone that records");
    assert!(keys.iter().any(|key| key.kind == KeyKind::CiscoRefci));
}

#[test]
fn a_line_of_which_nothing_may_be_kept_is_not_recorded_either() {
    let policy = Policy { record: false, transcribe: false, answer_after_ms: 0 };
    let mut lab = lab_of(Settings::default(), PeerSettings::default(), policy);
    let more = format!("Require: siprec\r\n{MIXED}");
    assert_eq!(lab.send(&invite(&more, &parts(&offer(&TWO), &metadata("rfc")))), ["100", "180", "200"]);
    assert_eq!(body(lab.last_of("200")).matches("a=inactive").count(), 2);
    assert!(lab.opened.is_empty());
}

#[test]
fn metadata_of_64_kb_comes_by_one_datagram() {
    let mut lab = recorder();
    let room = 65_000 - invite(MIXED, &parts(&offer(&TWO), &metadata("rfc"))).len();
    let xml = metadata("rfc").replace("</recording>", &format!("<!--{}--></recording>", "x".repeat(room)));
    recorded(&mut lab, &offer(&TWO), &xml);
    assert_eq!(called(&lab), ["2001"]);
}

#[test]
fn stopping_ends_recording_sessions_with_a_bye() {
    let mut lab = recorder();
    recorded(&mut lab, &offer(&TWO), &metadata("rfc"));
    lab.uas.handle_stop(lab.now);
    lab.drain();
    assert_eq!(name(lab.last()), "BYE");
    assert_eq!(lab.told()[5..], ["removed", "removed"]);
}

#[test]
fn larger_metadata_comes_by_a_connection() {
    let mut lab = recorder();
    lab.flow.transport = Transport::Tcp;
    let xml = metadata("rfc").replace("</recording>", &format!("<!--{}--></recording>", "x".repeat(100_000)));
    let text = invite(MIXED, &parts(&offer(&TWO), &xml)).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let mut reader = StreamReader::new(lab.uas.limits());
    text.as_bytes().chunks(1_400).for_each(|piece| reader.push(piece));
    let Some(Item::Message(message)) = reader.next_item() else { panic!("not read") };
    lab.uas.handle_message(lab.flow, message, lab.now);
    lab.drain();
    assert_eq!(name(lab.last()), "200");
    assert_eq!(called(&lab), ["2001"]);
}

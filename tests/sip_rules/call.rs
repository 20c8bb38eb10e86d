//! The rules of RFC 3261 §8–§18, 3264, 3581, 6026 that a called user agent keeps, each in virtual time.

use std::net::SocketAddr;

use kakehashi::pbx::sip::message::Start;
use kakehashi::pbx::sip::{PeerSettings, Policy, Settings, Transport, Uas};
use kakehashi::pbx::{LegKey, PbxId, Signal, Withheld};

use crate::lab::{Did, Lab, SDP, answering_after, body, lab, lab_of, request};

fn ringing() -> Lab {
    answering_after(3_000)
}

fn quick() -> Lab {
    answering_after(0)
}

fn invite() -> String {
    crate::lab::invite("", SDP)
}

/// An answered and acknowledged call; gives our tag.
fn answered(lab: &mut Lab) -> String {
    lab.call("", SDP);
    lab.tag()
}

#[test]
fn a_call_rings_is_answered_and_ends() {
    let mut lab = ringing();
    assert_eq!(lab.send(&invite()), ["100", "180"]);
    assert_eq!(lab.last().text("Contact").unwrap(), "<sip:kakehashi@192.0.2.80:15080>");
    assert_eq!(lab.told(), ["appeared", "leg", "ringing"]);
    assert_eq!(lab.pass(2_999), []);
    assert_eq!(lab.pass(1), [(1, "200".into())]);
    let tag = lab.tag();
    assert!(body(lab.last()).contains("m=audio 20002 RTP/AVP 0 101\r\n"), "{}", body(lab.last()));
    assert!(body(lab.last()).contains("c=IN IP4 192.0.2.80\r\n"));
    assert!(lab.send(&request("ACK", "a1", 1, &tag, "", "")).is_empty());
    assert_eq!(lab.pass(200_000), []);
    assert_eq!(lab.send(&request("BYE", "b1", 2, &tag, "", "")), ["200"]);
    let expected = ["appeared", "leg", "ringing", "answered", "caller heard", "removed", "leg ended", "ended"];
    assert_eq!(lab.told(), expected);
    let Signal::CallAppeared { caller, called, keys, .. } = &lab.signals[0] else { panic!() };
    assert_eq!((caller.number.as_deref(), called.as_str()), (Some("0663621234"), "7001"));
    assert_eq!(keys[0].value, "call-1");
    assert_eq!(lab.did, [Did::Open(vec![0, 101]), Did::Close]);
    // the late BYE
    assert_eq!(lab.send(&request("BYE", "b2", 3, &tag, "", "")), ["481"]);
    lab.pass(100_000);
    assert_eq!((lab.uas.calls(), lab.uas.transactions(), lab.uas.requests_under_way()), (0, 0, 0));
}

#[test]
fn a_2xx_is_repeated_until_its_ack_over_udp_and_tcp() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut lab = quick();
        lab.flow.transport = transport;
        lab.send(&invite());
        let (tag, first) = (lab.tag(), lab.last().clone());
        let times: Vec<u64> = lab.pass(9_000).into_iter().map(|(at, _)| at).collect();
        assert_eq!(times, [500, 1_500, 3_500, 7_500]);
        assert_eq!(*lab.last(), first);
        // a retransmitted INVITE is absorbed meanwhile (RFC 6026)
        assert!(lab.send(&invite()).is_empty());
        lab.send(&request("ACK", "a1", 1, &tag, "", ""));
        assert_eq!(lab.pass(100_000), []);
    }
}

#[test]
fn without_an_ack_the_call_fails_after_64_t1_with_a_bye() {
    let mut lab = quick();
    lab.send(&invite());
    let sent = lab.pass(70_000);
    let byes: Vec<u64> = sent.iter().filter(|(_, what)| what == "BYE").map(|(at, _)| *at).collect();
    assert_eq!(&byes[..3], [32_000, 32_500, 33_500]);
    assert!(sent.iter().all(|(at, what)| what == "BYE" || *at < 32_000));
    let bye = lab.last();
    assert_eq!(bye.start, Start::Request { method: "BYE".into(), uri: "sip:0663621234@192.0.2.1:5062".into() });
    assert_eq!(bye.text("CSeq").unwrap(), "1 BYE");
    assert_eq!(bye.text("To").unwrap(), "<sip:0663621234@192.0.2.1>;tag=caller");
    assert_eq!(&lab.told()[4..], ["caller heard", "removed", "leg failed", "ended"]);
    assert_eq!((lab.uas.calls(), lab.uas.requests_under_way()), (0, 0));
}

#[test]
fn cancel_ends_a_ringing_call_with_487() {
    let mut lab = ringing();
    lab.send(&invite());
    let tag = lab.tag();
    assert_eq!(lab.send(&request("CANCEL", "i1", 1, "", "", "")), ["200", "487"]);
    assert_eq!(lab.tag(), tag, "CANCEL's answer and 487 have the same tag as 180");
    assert_eq!(lab.told(), ["appeared", "leg", "ringing", "leg cancelled", "ended"]);
    assert_eq!(lab.did, [Did::Open(vec![0, 101]), Did::Close]);
    // 487 is repeated until its ACK, which stays in the transaction
    assert_eq!(lab.pass(1_600), [(500, "487".into()), (1_500, "487".into())]);
    assert!(lab.send(&request("ACK", "i1", 1, &tag, "", "")).is_empty());
    assert_eq!(lab.pass(60_000), []);
    assert_eq!(lab.send(&request("CANCEL", "other", 1, "", "", "")), ["481"]);
    assert_eq!(lab.uas.counters().stray, 0);
}

#[test]
fn cancel_after_the_answer_changes_nothing() {
    let mut lab = quick();
    answered(&mut lab);
    assert_eq!(lab.send(&request("CANCEL", "i1", 1, "", "", "")), ["200"]);
    assert_eq!(lab.uas.calls(), 1);
}

#[test]
fn bye_while_it_rings_and_before_the_ack() {
    let mut lab = ringing();
    lab.send(&invite());
    let tag = lab.tag();
    assert_eq!(lab.send(&request("BYE", "b1", 2, &tag, "", "")), ["200", "487"]);
    assert_eq!(lab.told().last(), Some(&"ended"));
    let mut lab = quick();
    lab.send(&invite());
    let tag = lab.tag();
    assert_eq!(lab.send(&request("BYE", "b1", 2, &tag, "", "")), ["200"]);
    assert_eq!(&lab.told()[5..], ["removed", "leg ended", "ended"]);
    assert_eq!(lab.pass(60_000), []);
}

#[test]
fn requests_are_checked_in_the_order_of_the_rfc() {
    let mut lab = quick();
    let odd = |from: &str, to: &str| invite().replace(from, to);
    let both = "Content-Type: application/sdp\r\nRequire: 100rel, foo";
    let cases = [
        // method before everything
        (request("REGISTER", "c1", 1, "", "Require: foo\r\n", ""), "405"),
        (request("NEWMETHOD", "c2", 1, "", "Require: foo\r\n", ""), "501"),
        (request("invite", "c3", 1, "", "", ""), "501"),
        // URI before extensions
        (
            odd("INVITE sip:7001@192.0.2.80:15080", "INVITE isbn:29837").replace("Content-Type: application/sdp", both),
            "416",
        ),
        // extensions before content
        (
            odd("Content-Type: application/sdp", "Content-Type: text/plain\r\nRequire: 100rel, foo")
                .replace("i1", "c4"),
            "420",
        ),
        (odd("Content-Type: application/sdp", "Content-Type: text/plain").replace("i1", "c5"), "415"),
        (odd("Content-Type: application/sdp", "c: application/sdp\r\ne: gzip").replace("i1", "c6"), "415"),
        (odd("Content-Type: application/sdp", "c: application/sdp\r\nAccept: text/plain").replace("i1", "c7"), "406"),
        // dialog
        (request("BYE", "c8", 1, "nobody", "", ""), "481"),
        (request("INVITE", "c9", 1, "nobody", "", SDP), "481"),
        (request("OPTIONS", "c10", 1, "nobody", "", ""), "481"),
        (request("BYE", "c11", 1, "", "", ""), "481"),
        // media
        (request("INVITE", "c12", 1, "", "", &SDP.replace("RTP/AVP 0 8 101", "RTP/AVP 18")), "488"),
        (request("INVITE", "c13", 1, "", "", "<audio/>"), "488"),
        // syntax
        (odd("INVITE sip:7001@192.0.2.80:15080 ", "INVITE sip:7001@192.0.2.80:15080  ").replace("i1", "c14"), "400"),
        (odd("SIP/2.0\r\nVia", "SIP/3.0\r\nVia").replace("i1", "c15"), "505"),
        (odd("CSeq: 1 INVITE", "CSeq: 1 BYE").replace("i1", "c16"), "400"),
        (
            odd("INVITE sip:7001@192.0.2.80:15080", "INVITE sip:7001@192.0.2.80?Route=%3Csip:x%3E")
                .replace("i1", "c17"),
            "400",
        ),
    ];
    for (n, (text, expected)) in cases.iter().enumerate() {
        let text = text.replace("Call-ID: call-1", &format!("Call-ID: case-{n}"));
        assert_eq!(lab.send(&text), [*expected], "{text}");
        assert!(lab.tag() != "nobody" || text.contains("nobody"), "a tag on every final answer");
    }
    let find =
        |code: u16| lab.sent.iter().find(|m| matches!(m.start, Start::Response { code: c, .. } if c == code)).unwrap();
    assert_eq!(find(405).text("Allow").unwrap(), "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, NOTIFY");
    assert_eq!(find(420).text("Unsupported").unwrap(), "foo");
    assert!(find(415).text("Accept").unwrap().starts_with("application/sdp, multipart/mixed"));
    assert!(lab.signals.is_empty() && lab.uas.calls() == 0);
}

#[test]
fn options_are_answered_in_and_out_of_a_call_also_without_hops_left() {
    let mut lab = quick();
    let qualify = request("OPTIONS", "o1", 1, "", "", "").replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(lab.send(&qualify), ["200"]);
    for name in ["Allow", "Accept", "Supported"] {
        assert_eq!(lab.last().count(name), 1, "{name}");
    }
    assert_eq!(lab.send(&qualify), ["200"], "the same answer again, from the transaction");
    assert_eq!(lab.uas.counters().requests, 1);
    let tag = answered(&mut lab);
    assert_eq!(lab.send(&request("OPTIONS", "o2", 2, &tag, "", "")), ["200"]);
}

#[test]
fn sequence_numbers_may_jump_but_not_fall() {
    let mut lab = quick();
    let tag = answered(&mut lab);
    assert_eq!(lab.send(&request("OPTIONS", "o1", 50, &tag, "", "")), ["200"]);
    assert_eq!(lab.send(&request("OPTIONS", "o2", 49, &tag, "", "")), ["500"]);
    assert_eq!(lab.send(&request("BYE", "b1", 51, &tag, "", "")), ["200"]);
}

#[test]
fn the_same_request_by_another_way_is_a_loop() {
    let mut lab = ringing();
    lab.send(&invite());
    assert_eq!(lab.send(&invite().replace("z9hG4bKi1", "z9hG4bKi2")), ["482"]);
    let demanding = invite().replace("z9hG4bKi1", "z9hG4bKi3").replace("Max-Forwards", "Require: x\r\nMax-Forwards");
    assert_eq!(lab.send(&demanding), ["482"], "before extensions");
    assert_eq!(lab.send(&invite()), ["180"], "a retransmission is none");
}

#[test]
fn a_full_bridge_says_when_to_come_again() {
    let mut lab = lab(Settings { max_calls: 1, retry_after_s: 7, ..Settings::default() }, 0);
    answered(&mut lab);
    let second = invite().replace("call-1", "call-2").replace("i1", "i2");
    assert_eq!(lab.send(&second), ["503"]);
    assert_eq!(lab.last().text("Retry-After").unwrap(), "7");
    assert_eq!(lab.send(&request("OPTIONS", "o1", 2, "", "", "").replace("call-1", "o")), ["200"]);
    assert_eq!(lab.send(&second), ["503"], "a repetition gets the same");
    lab.uas.set_overloaded(true);
    assert_eq!(lab.send(&second.replace("i2", "i3").replace("call-2", "call-3")), ["503"]);
    let counters = lab.uas.counters();
    assert_eq!((counters.refused, counters.refused_calls, counters.refused_overloaded), (3, 2, 1));
    assert_eq!(lab.uas.transactions(), 2, "of a refusal nothing is remembered: INVITE and OPTIONS are");
}

#[test]
fn without_a_port_the_call_is_turned_away_and_never_appears() {
    let mut lab = quick();
    lab.ports = Some(false);
    assert_eq!(lab.send(&invite()), ["100", "503"]);
    assert!(lab.signals.is_empty() && lab.uas.calls() == 0);
    assert!(lab.last().count("Retry-After") == 1);
}

#[test]
fn strangers_get_nothing() {
    let mut lab = quick();
    lab.flow.peer = "198.51.100.1:5060".parse().unwrap();
    assert!(lab.send(&invite()).is_empty());
    assert!(lab.send("INVITE sip:x SIP/9.9\r\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKx\r\n\r\n").is_empty());
    assert_eq!(lab.uas.counters().untrusted, 2);
    assert_eq!((lab.uas.calls(), lab.uas.transactions()), (0, 0));
}

#[test]
fn the_narrowest_network_decides_whose_call_it_is() {
    let net = |text: &str| PeerSettings { peers: vec![text.parse().unwrap()], ..PeerSettings::default() };
    let peers = [(PbxId("all".into()), net("192.0.2.0/24")), (PbxId("one".into()), net("192.0.2.7/32"))];
    let policy = Box::new(|_: &str| Policy { record: true, transcribe: true, answer_after_ms: 0 });
    let uas = Uas::new(Settings::default(), &peers, policy, [0; 32]);
    let of = |text: &str| uas.pbx_of(text.parse().unwrap()).map(|pbx| pbx.0.as_str());
    assert_eq!((of("192.0.2.7"), of("::ffff:192.0.2.8"), of("192.0.3.1")), (Some("one"), Some("all"), None));
}

#[test]
fn answers_go_where_via_and_rport_say() {
    let mut lab = ringing();
    lab.flow.peer = "192.0.2.9:4444".parse().unwrap();
    lab.send(&invite());
    let via = lab.last().text("Via").unwrap().into_owned();
    assert_eq!(via, "SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKi1;received=192.0.2.9;rport=4444");
    assert_eq!(lab.to.last().unwrap().peer.to_string(), "192.0.2.9:4444");
    let plain = request("OPTIONS", "o1", 1, "", "", "").replace(";rport", "");
    lab.send(&plain);
    assert_eq!(lab.to.last().unwrap().peer.to_string(), "192.0.2.9:5062");
}

#[test]
fn hold_and_resume_by_re_invite() {
    let mut lab = quick();
    let tag = answered(&mut lab);
    let again = |n: u32, tag: &str, sdp: &str| request("INVITE", &format!("r{n}"), n, tag, "", sdp);
    let ack = |n: u32, tag: &str| request("ACK", &format!("ra{n}"), n, tag, "", "");
    let hold = SDP.replace("m=audio", "a=sendonly\r\nm=audio");
    assert_eq!(lab.send(&again(2, &tag, &hold)), ["200"]);
    assert!(body(lab.last()).contains("a=recvonly\r\n") && body(lab.last()).contains(" 2 IN IP4"), "o= rose by one");
    lab.send(&ack(2, &tag));
    assert_eq!(lab.send(&again(3, &tag, &hold)), ["200"]);
    assert!(body(lab.last()).contains(" 2 IN IP4"), "nothing changed, o= stays");
    lab.send(&ack(3, &tag));
    lab.send(&again(4, &tag, SDP));
    lab.send(&ack(4, &tag));
    lab.send(&again(5, &tag, &SDP.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0")));
    lab.send(&ack(5, &tag));
    lab.send(&again(6, &tag, &SDP.replace("m=audio 4000", "m=audio 4100")));
    lab.send(&ack(6, &tag));
    assert_eq!(&lab.told()[4..], ["caller heard", "held", "resumed", "held", "resumed"]);
    assert_eq!(&lab.did[1..], [Did::Path]);
    // another codec of the same clock
    lab.send(&again(7, &tag, &SDP.replace("0 8 101", "8").replace("m=audio 4000", "m=audio 4100")));
    assert_eq!(&lab.did[2..], [Did::Payloads(vec![8])]);
    lab.send(&ack(7, &tag));
    // unusable: refused, and the session stays
    assert_eq!(lab.send(&again(8, &tag, &SDP.replace("0 8 101", "18"))), ["488"]);
    assert_eq!(lab.send(&again(9, &tag, "rubbish")), ["488"]);
    assert_eq!(lab.uas.calls(), 1);
    assert_eq!(lab.send(&request("BYE", "b", 10, &tag, "", "")), ["200"]);
}

#[test]
fn a_re_invite_moves_the_target_and_its_2xx_wants_an_ack_too() {
    let mut lab = quick();
    let tag = answered(&mut lab);
    let moved = request("INVITE", "r2", 2, &tag, "", SDP)
        .replace("Contact: <sip:0663621234@192.0.2.1:5062>", "m: <sip:x@192.0.2.33:7000>");
    lab.send(&moved);
    let sent = lab.pass(33_000);
    assert_eq!(sent.iter().filter(|(_, what)| what == "200").count(), 10);
    let bye =
        lab.sent.iter().rposition(|m| matches!(&m.start, Start::Request { method, .. } if method == "BYE")).unwrap();
    assert_eq!(lab.to[bye].peer.to_string(), "192.0.2.33:7000");
    assert_eq!(lab.told().last(), Some(&"ended"));
}

#[test]
fn a_re_invite_during_ringing_is_told_to_wait() {
    let mut lab = ringing();
    lab.send(&invite());
    let tag = lab.tag();
    assert_eq!(lab.send(&request("INVITE", "r2", 2, &tag, "", SDP)), ["500"]);
    assert_eq!(lab.last().count("Retry-After"), 1);
    assert_eq!(lab.pass(3_000).last().unwrap().1, "200");
}

#[test]
fn two_audio_lines_are_caller_and_agent() {
    let mut lab = quick();
    let two = format!(
        "{}m=video 4004 RTP/AVP 31\r\nm=audio 4006 RTP/AVP 8\r\na=sendonly\r\n",
        SDP.replace("m=audio", "a=sendonly\r\nm=audio")
    );
    assert_eq!(lab.send(&request("INVITE", "i1", 1, "", "", &two)), ["100", "180", "200"]);
    assert_eq!(lab.did, [Did::Open(vec![0, 101]), Did::Open(vec![8])]);
    assert_eq!(&lab.told()[3..], ["answered", "caller heard", "agent heard"], "sendonly is no hold here");
    let lines: Vec<&str> = body(lab.last()).lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(lines, ["m=audio 20002 RTP/AVP 0 101", "m=video 0 RTP/AVP 31", "m=audio 20004 RTP/AVP 8"]);
    assert_eq!(body(lab.last()).matches("a=recvonly").count(), 2);
    let tag = lab.tag();
    lab.send(&request("ACK", "a1", 1, &tag, "", ""));
    // the agent's line ends, the other goes on
    lab.send(&request("INVITE", "r2", 2, &tag, "", &two.replace("m=audio 4006", "m=audio 0")));
    lab.send(&request("ACK", "a2", 2, &tag, "", ""));
    assert_eq!((lab.told().last(), lab.did.last()), (Some(&"removed"), Some(&Did::Close)));
    lab.send(&request("BYE", "b", 3, &tag, "", ""));
    assert_eq!(lab.did.iter().filter(|did| **did == Did::Close).count(), 2);
}

#[test]
fn an_offerless_call_gets_our_offer_and_answers_in_the_ack() {
    let mut lab = quick();
    assert_eq!(lab.send(&request("INVITE", "i1", 1, "", "", "")), ["100", "180", "200"]);
    let ours: &[u8] = if cfg!(feature = "opus") { &[107, 9, 0, 8, 13, 101, 102] } else { &[9, 0, 8, 13, 101] };
    let line = ours.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
    assert!(body(lab.last()).contains(&format!("m=audio 20002 RTP/AVP {line}\r\n")), "{}", body(lab.last()));
    let tag = lab.tag();
    assert_eq!(lab.send(&request("INVITE", "r2", 2, &tag, "", SDP)), ["491"], "our offer is open");
    lab.send(&request("ACK", "r2", 2, &tag, "", ""));
    assert!(lab.send(&request("ACK", "a1", 1, &tag, "", &SDP.replace("0 8 101", "8 0 101"))).is_empty());
    assert_eq!(lab.did, [Did::Open(ours.to_vec()), Did::Payloads(vec![0, 8, 101]), Did::Path]);
    assert_eq!(lab.pass(60_000), []);
    let mut lab = quick();
    lab.send(&request("INVITE", "i1", 1, "", "", ""));
    let tag = lab.tag();
    assert_eq!(lab.send(&request("ACK", "a1", 1, &tag, "", "")), ["BYE"], "an ACK without the answer");
    assert_eq!(&lab.told()[5..], ["removed", "leg failed", "ended"]);
}

#[test]
fn requests_of_ours_follow_the_route() {
    let mut lab = quick();
    let routed =
        invite().replace("Max-Forwards", "Record-Route: <sip:192.0.2.5:5070;lr>, <sip:192.0.2.6;lr>\r\nMax-Forwards");
    lab.send(&routed);
    assert_eq!(lab.last().text("Record-Route").unwrap(), "<sip:192.0.2.5:5070;lr>, <sip:192.0.2.6;lr>");
    lab.send(&request("ACK", "a1", 1, &lab.tag(), "", ""));
    lab.uas.handle_stop(lab.now);
    lab.drain();
    let bye = lab.last();
    assert_eq!(bye.list("Route"), ["<sip:192.0.2.5:5070;lr>", "<sip:192.0.2.6;lr>"]);
    assert!(matches!(&bye.start, Start::Request { uri, .. } if uri == "sip:0663621234@192.0.2.1:5062"));
    assert_eq!(lab.to.last().unwrap().peer.to_string(), "192.0.2.5:5070");
    // a strict router, and one outside the exchange's networks: by the way the call came
    let mut lab = quick();
    lab.send(&invite().replace("Max-Forwards", "Record-Route: <sip:198.51.100.5>\r\nMax-Forwards"));
    lab.send(&request("ACK", "a1", 1, &lab.tag(), "", ""));
    lab.uas.handle_stop(lab.now);
    lab.drain();
    assert!(matches!(&lab.last().start, Start::Request { uri, .. } if uri == "sip:198.51.100.5"));
    assert_eq!(lab.last().list("Route"), ["<sip:0663621234@192.0.2.1:5062>"]);
    assert_eq!(lab.to.last().unwrap().peer, lab.flow.peer);
}

#[test]
fn stopping_hangs_up_turns_away_and_takes_nothing_new() {
    let mut lab = ringing();
    lab.send(&invite());
    lab.pass(3_000);
    let tag = lab.tag();
    lab.send(&request("ACK", "a1", 1, &tag, "", ""));
    let second = invite().replace("call-1", "call-2").replace("i1", "i2");
    lab.send(&second);
    let from = lab.sent.len();
    lab.uas.handle_stop(lab.now);
    lab.drain();
    let mut sent = lab.since(from);
    sent.sort();
    assert_eq!(sent, ["503", "BYE"]);
    assert_eq!(lab.did.iter().filter(|did| **did == Did::Close).count(), 2);
    assert_eq!(lab.send(&second.replace("call-2", "call-3").replace("i2", "i3")), ["503"]);
    let bye = lab.sent.iter().find(|m| matches!(&m.start, Start::Request { .. })).unwrap().clone();
    let ok = format!("SIP/2.0 200 OK\r\nVia: {}\r\nCSeq: 1 BYE\r\nl: 0\r\n\r\n", bye.text("Via").unwrap());
    lab.send(&ok);
    assert_eq!((lab.uas.calls(), lab.uas.requests_under_way()), (0, 0));
}

#[test]
fn a_call_that_the_peer_lost_is_found_out() {
    let answer = |lab: &mut Lab, code: &str| {
        let via = lab.last().text("Via").unwrap().into_owned();
        lab.send(&format!("SIP/2.0 {code}\r\nVia: {via}\r\nCSeq: 1 OPTIONS\r\nl: 0\r\n\r\n"))
    };
    let mut lab = quick();
    answered(&mut lab);
    assert_eq!(lab.pass(300_000), [(300_000, "OPTIONS".into())]);
    answer(&mut lab, "200 OK");
    assert_eq!(lab.pass(300_000), [(300_000, "OPTIONS".into())]);
    assert!(answer(&mut lab, "481 Gone").is_empty());
    assert_eq!(&lab.told()[5..], ["removed", "leg lost", "ended"]);
    let mut lab = quick();
    answered(&mut lab);
    let sent = lab.pass(340_000);
    assert_eq!(sent.iter().filter(|(at, what)| what == "BYE" && *at == 332_000).count(), 1);
    assert_eq!(lab.told().last(), Some(&"ended"));
}

#[test]
fn a_long_ring_is_told_again_every_minute() {
    let mut lab = lab(Settings::default(), 150_000);
    lab.send(&invite());
    assert_eq!(lab.pass(150_000), [(60_000, "180".into()), (120_000, "180".into()), (150_000, "200".into())]);
}

#[test]
fn a_withheld_number_is_in_no_signal() {
    let mut lab = quick();
    let hidden = invite()
        .replace("Max-Forwards", "Privacy: id\r\nP-Asserted-Identity: <sip:0663621234@192.0.2.1>\r\nMax-Forwards");
    lab.send(&hidden);
    let Signal::CallAppeared { caller, .. } = &lab.signals[0] else { panic!() };
    assert_eq!((caller.number.clone(), caller.withheld), (None, Some(Withheld::Refused)));
    assert!(!format!("{:?}", lab.signals).contains("0663621234"));
}

#[test]
fn a_call_id_in_use_names_the_second_call_otherwise() {
    let mut lab = quick();
    answered(&mut lab);
    lab.send(&invite().replace("tag=caller", "tag=other").replace("i1", "i2"));
    assert_eq!(lab.uas.calls(), 2);
    let legs: Vec<&LegKey> = lab
        .signals
        .iter()
        .filter_map(|signal| if let Signal::LegRinging(leg) = signal { Some(leg) } else { None })
        .collect();
    assert!(legs.len() == 2 && legs[0] != legs[1]);
}

#[test]
fn a_peer_that_asks_too_much_is_told_so_then_ignored_and_keeps_its_calls() {
    let mut lab = lab(Settings { max_requests_per_s: 10, request_burst: 20, ..Settings::default() }, 0);
    assert!(lab.send(&request("INVITE", "i1", 1, "", "", SDP)).contains(&"200".to_string()));
    let tag = lab.tag();
    lab.send(&request("ACK", "a1", 1, &tag, "", ""));
    let before = lab.uas.counters();
    let mut answers = std::collections::BTreeMap::new();
    let mut asks = |lab: &mut Lab, count: usize, from: usize| {
        for n in from..from + count {
            let text = request("OPTIONS", &format!("f{n}"), 1, "", "", "").replace("call-1", &format!("f-{n}"));
            let answer = lab.send(&text).first().cloned().unwrap_or_default();
            *answers.entry(answer).or_insert(0) += 1;
            lab.sent.clear();
        }
        std::mem::take(&mut answers).into_iter().collect::<Vec<_>>()
    };
    let counts = |all: &[(&str, i32)]| all.iter().map(|(code, n)| (code.to_string(), *n)).collect::<Vec<_>>();
    assert_eq!(asks(&mut lab, 100, 0), counts(&[("", 79), ("200", 19), ("503", 2)]));
    assert_eq!(lab.uas.transactions(), 1 + 19, "a refusal leaves nothing behind");
    assert_eq!(lab.uas.counters().flooded - before.flooded, 79);
    assert_eq!(lab.send(&request("BYE", "b1", 2, &tag, "", "")), ["200"]);
    lab.pass(1_000);
    assert_eq!(asks(&mut lab, 12, 100), counts(&[("", 1), ("200", 10), ("503", 1)]));
}

#[test]
fn a_flood_of_requests_is_bounded() {
    let most = 1_500;
    let settings =
        Settings { max_requests_per_s: 0, max_transactions: 2 * most, retry_after_s: 7, ..Settings::default() };
    let mut lab = lab(settings, 0);
    let asks = |n: u32| request("OPTIONS", &format!("f{n}"), 1, "", "", "").replace("call-1", &format!("f-{n}"));
    for n in 0..2_000 {
        let expected = if n < most { "200" } else { "503" };
        assert_eq!(lab.send(&asks(n)), [expected]);
    }
    let (first, tag) = (lab.last().text("Retry-After").unwrap().into_owned(), lab.tag());
    assert_eq!(
        (lab.send(&asks(1_999)), first.as_str(), lab.tag()),
        (vec!["503".to_string()], "7", tag),
        "the same again"
    );
    assert_eq!(lab.uas.transactions(), most as usize, "one machine has half");
    assert_eq!(lab.uas.counters().refused_transactions, 501);
    for machine in 2..4 {
        lab.flow.peer = SocketAddr::from(([192, 0, 2, machine], 5062));
        for n in 0..most {
            assert_eq!(lab.send(&asks(u32::from(machine) * 10_000 + n)), ["200"], "another one as well");
        }
    }
    assert_eq!(lab.uas.transactions(), 2 * most as usize);
    lab.pass(40_000);
    assert_eq!(lab.uas.transactions(), 0);
}

#[test]
fn what_a_machine_asks_inside_its_call_leaves_room_for_the_calls_of_others() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut lab = answering_after(0);
        lab.flow.transport = transport;
        let tag = answered(&mut lab);
        for n in 10..70_000 {
            // INVITE without its ACK: over a connection too it is remembered for 32 s
            assert_eq!(lab.send(&request("INVITE", &format!("r{n}"), n, &tag, "Require: x\r\n", "")), ["420"]);
            lab.sent.clear();
            lab.to.clear();
        }
        assert_eq!(lab.uas.transactions(), 65_536);
        lab.flow.peer = "192.0.2.99:5062".parse().unwrap();
        let other = invite().replace("call-1", "call-2").replace("bKi1", "bKother");
        assert_eq!(lab.send(&other), ["100", "180", "200"]);
    }
}

#[test]
fn a_call_that_was_taken_goes_on_and_ends_when_there_is_no_room_for_more() {
    let mut lab = lab(Settings { max_requests_per_s: 0, max_transactions: 1_024, ..Settings::default() }, 0);
    let tag = answered(&mut lab);
    for n in 0..1_200 {
        lab.send(&request("OPTIONS", &format!("f{n}"), 1, "", "", "").replace("call-1", &format!("f-{n}")));
    }
    let another = invite().replace("call-1", "call-2").replace("i1", "i2");
    assert_eq!(lab.send(&another), ["503"], "a new call is turned away");
    assert_eq!(lab.send(&request("INVITE", "r2", 2, &tag, "", SDP)), ["200"], "the call that runs is not");
    lab.send(&request("ACK", "ra2", 2, &tag, "", ""));
    let bye = request("BYE", "b3", 3, &tag, "", "");
    assert_eq!((lab.send(&bye), lab.send(&bye)), (vec!["200".to_string()], vec!["200".into()]), "and it is remembered");
    assert_eq!((lab.uas.calls(), lab.uas.transactions()), (0, 512 + 2), "beside the half that its machine had");
    assert!(lab.is_clean());
}

#[test]
fn calls_at_the_rate_that_one_address_may_have_are_all_taken_for_longer_than_they_are_remembered() {
    let mut lab = lab(Settings::default(), 0);
    let rate = Settings::default().max_requests_per_s;
    for n in 0..rate * 40 {
        lab.pass(u64::from(1_000 / rate));
        let name = |text: String| text.replace("call-1", &format!("call-{n}"));
        assert!(lab.send(&name(request("INVITE", &format!("i{n}"), 1, "", "", SDP))).ends_with(&["200".into()]), "{n}");
        let tag = lab.tag();
        lab.send(&name(request("ACK", &format!("a{n}"), 1, &tag, "", "")));
        assert_eq!(lab.send(&name(request("BYE", &format!("b{n}"), 2, &tag, "", ""))), ["200"]);
        (lab.sent, lab.to, lab.signals) = Default::default();
        (lab.opened, lab.closed, lab.did) = Default::default();
    }
    assert_eq!((lab.uas.calls(), lab.uas.counters().refused), (0, 0));
    assert!(lab.uas.transactions() > 12_000, "two of each call for 32 s: {}", lab.uas.transactions());
}

#[test]
fn a_line_of_which_nothing_may_be_kept_opens_no_port_and_is_a_call_all_the_same() {
    let nothing = Policy { record: false, transcribe: false, answer_after_ms: 0 };
    let mut lab = lab_of(Settings::default(), PeerSettings::default(), nothing);
    let tag = answered(&mut lab);
    let answer = body(lab.last()).to_string();
    assert!(answer.contains("m=audio 9 RTP/AVP 0") && answer.contains("a=inactive\r\n"), "{answer}");
    let again = SDP.replace("m=audio 4000", "m=audio 4100");
    assert_eq!(lab.send(&request("INVITE", "r2", 2, &tag, "", &again)), ["200"]);
    lab.send(&request("ACK", "ra2", 2, &tag, "", ""));
    assert!(body(lab.last()).contains("a=inactive"), "a new offer changes nothing about that");
    lab.send(&request("BYE", "b3", 3, &tag, "", ""));
    assert_eq!(lab.told(), ["appeared", "leg", "ringing", "answered", "leg ended", "ended"]);
    assert_eq!((lab.did, lab.uas.calls()), (vec![], 0));
}

#[test]
fn a_hold_pauses_what_is_kept_only_where_the_site_says_so() {
    for hold_pauses in [false, true] {
        let kept = Policy { record: true, transcribe: true, answer_after_ms: 0 };
        let own = PeerSettings { hold_pauses, ..PeerSettings::default() };
        let mut lab = lab_of(Settings::default(), own, kept);
        let tag = answered(&mut lab);
        for (n, direction) in [(2, "inactive"), (3, "sendrecv"), (4, "sendonly")] {
            let sdp = SDP.replace("m=audio", &format!("a={direction}\r\nm=audio"));
            lab.send(&request("INVITE", &format!("r{n}"), n, &tag, "", &sdp));
            lab.send(&request("ACK", &format!("ra{n}"), n, &tag, "", ""));
        }
        let wanted: &[&str] = match hold_pauses {
            true => &["held", "not kept", "resumed", "kept", "held", "not kept"],
            false => &["held", "resumed", "held"],
        };
        assert_eq!(&lab.told()[5..], wanted);
    }
}

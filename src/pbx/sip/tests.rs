//! The rules of RFC 3261 §8–§18, 3264, 3581, 6026 that a called user agent keeps, each in virtual time.

use std::time::Duration;

use super::message::{Message, Start};
use super::wire::{Limits, read_datagram};
use super::*;
use crate::pbx::{EndCause, LegKey, PbxId, Signal, Speaker, StreamId, Withheld};
use crate::time::{Mono, Now, Wall};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\n\
                   a=rtpmap:101 telephone-event/8000\r\n";

/// What the machine did, other than sending and telling.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Did {
    Open(Vec<u8>),
    Payloads(Vec<u8>),
    Path,
    Close,
}

struct Lab {
    uas: Uas,
    now: Now,
    flow: Flow,
    /// Whether the media stage has ports.
    ports: bool,
    sent: Vec<Message>,
    to: Vec<Flow>,
    signals: Vec<Signal>,
    did: Vec<Did>,
    opened: Vec<StreamId>,
}

fn lab(transport: Transport, settings: Settings, answer_after_ms: u64) -> Lab {
    let policy = Policy { record: true, transcribe: true, answer_after_ms };
    lab_of(transport, settings, PeerSettings::default(), policy)
}

fn lab_of(transport: Transport, settings: Settings, own: PeerSettings, policy: Policy) -> Lab {
    let peers = [(PbxId("pbx1".into()), PeerSettings { peers: vec!["192.0.2.0/24".parse().unwrap()], ..own })];
    let policy = Box::new(move |_: &str| policy);
    let local = "192.0.2.80:15080".parse().unwrap();
    Lab {
        uas: Uas::new(settings, &peers, policy, [7; 32]),
        now: Now { mono: Mono(1_000_000_000), wall: Wall(1_795_424_000_000_000) },
        flow: Flow { transport, local, peer: "192.0.2.1:5062".parse().unwrap(), channel: 3 },
        ports: true,
        sent: Vec::new(),
        to: Vec::new(),
        signals: Vec::new(),
        did: Vec::new(),
        opened: Vec::new(),
    }
}

fn udp() -> Lab {
    lab(Transport::Udp, Settings::default(), 3_000)
}

fn quick() -> Lab {
    lab(Transport::Udp, Settings::default(), 0)
}

/// A request of the caller in his dialog; `to_tag` is ours.
fn request(method: &str, branch: &str, cseq: u32, to_tag: &str, more: &str, body: &str) -> String {
    let to = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let cseq_method = method;
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:7001@192.0.2.80:15080 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:0663621234@192.0.2.1>;tag=caller\r\nTo: <sip:7001@192.0.2.80>{to}\r\n\
         Call-ID: call-1\r\nCSeq: {cseq} {cseq_method}\r\nContact: <sip:0663621234@192.0.2.1:5062>\r\n{kind}{more}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn invite() -> String {
    request("INVITE", "i1", 1, "", "", SDP)
}

impl Lab {
    fn drain(&mut self) {
        while let Some(output) = self.uas.poll_output() {
            match output {
                Output::Send(flow, bytes) => {
                    self.sent.push(read_datagram(&bytes, &Limits::of(65_535)).unwrap().unwrap());
                    self.to.push(flow);
                }
                Output::Signal(observed) => self.signals.push(observed.signal),
                Output::Open { stream, formats, .. } => {
                    self.did.push(Did::Open(formats.iter().map(|format| format.number).collect()));
                    self.opened.push(stream);
                    let port = if self.ports { Ok(20_000 + 2 * self.opened.len() as u16) } else { Err("none".into()) };
                    self.uas.handle_opened(stream, port, self.now);
                }
                Output::Payloads(_, formats) => {
                    self.did.push(Did::Payloads(formats.iter().map(|format| format.number).collect()));
                }
                Output::Path(..) => self.did.push(Did::Path),
                Output::Close(_) => self.did.push(Did::Close),
                Output::Route { .. } | Output::Note(..) => {}
            }
        }
    }

    /// Sends and gives the status codes (or methods) that came back.
    fn send(&mut self, text: &str) -> Vec<String> {
        let from = self.sent.len();
        self.uas.handle_datagram(self.flow, text.as_bytes(), self.now);
        self.drain();
        self.since(from)
    }

    fn since(&self, from: usize) -> Vec<String> {
        let name = |message: &Message| match &message.start {
            Start::Request { method, .. } => method.clone(),
            Start::Response { code, .. } => code.to_string(),
        };
        self.sent[from..].iter().map(name).collect()
    }

    /// Lets time pass, timer by timer; gives what was sent and when (milliseconds from now).
    fn pass(&mut self, millis: u64) -> Vec<(u64, String)> {
        let start = self.now.mono;
        let end = start + Duration::from_millis(millis);
        let mut seen = Vec::new();
        loop {
            let due = self.uas.poll_timeout().filter(|at| *at <= end);
            let at = due.unwrap_or(end).max(self.now.mono);
            self.now = self.now.plus(at.since(self.now.mono));
            let from = self.sent.len();
            self.uas.handle_timeout(self.now);
            self.drain();
            seen.extend(self.since(from).into_iter().map(|what| (at.since(start).as_millis() as u64, what)));
            if due.is_none() {
                return seen;
            }
        }
    }

    fn last(&self) -> &Message {
        self.sent.last().unwrap()
    }

    fn tag(&self) -> String {
        let found = self.sent.iter().rev().find_map(|message| {
            header::NameAddr::parse(&message.text("To")?)?.tag().map(str::to_string).filter(|tag| tag != "caller")
        });
        found.expect("nothing with a tag was sent")
    }

    /// An answered and acknowledged call; gives our tag.
    fn answered(&mut self) -> String {
        assert_eq!(self.send(&invite()), ["100", "180", "200"]);
        let tag = self.tag();
        assert!(self.send(&request("ACK", "a1", 1, &tag, "", "")).is_empty());
        tag
    }

    fn names(&self) -> Vec<&'static str> {
        let name = |signal: &Signal| match signal {
            Signal::CallAppeared { .. } => "appeared",
            Signal::LegAppeared { .. } => "leg",
            Signal::LegRinging(_) => "ringing",
            Signal::LegAnswered(_) => "answered",
            Signal::StreamAdded { speaker: Speaker::Caller, .. } => "caller heard",
            Signal::StreamAdded { speaker: Speaker::Agent, .. } => "agent heard",
            Signal::LegHeld(_) => "held",
            Signal::LegResumed(_) => "resumed",
            Signal::KeepNothing(_) => "not kept",
            Signal::KeepAgain(_) => "kept",
            Signal::StreamRemoved(_) => "removed",
            Signal::LegEnded(_, EndCause::Normal) => "leg ended",
            Signal::LegEnded(_, EndCause::Cancelled) => "leg cancelled",
            Signal::LegEnded(_, EndCause::Failed) => "leg failed",
            Signal::LegEnded(_, EndCause::LostSight) => "leg lost",
            Signal::CallEnded(_) => "ended",
            _ => "other",
        };
        self.signals.iter().map(name).collect()
    }
}

fn body(message: &Message) -> &str {
    std::str::from_utf8(&message.body).unwrap()
}

#[test]
fn a_call_rings_is_answered_and_ends() {
    let mut lab = udp();
    assert_eq!(lab.send(&invite()), ["100", "180"]);
    assert_eq!(lab.last().text("Contact").unwrap(), "<sip:kakehashi@192.0.2.80:15080>");
    assert_eq!(lab.names(), ["appeared", "leg", "ringing"]);
    assert_eq!(lab.pass(2_999), []);
    assert_eq!(lab.pass(1), [(1, "200".into())]);
    let tag = lab.tag();
    assert!(body(lab.last()).contains("m=audio 20002 RTP/AVP 0 101\r\n"), "{}", body(lab.last()));
    assert!(body(lab.last()).contains("c=IN IP4 192.0.2.80\r\n"));
    assert!(lab.send(&request("ACK", "a1", 1, &tag, "", "")).is_empty());
    assert_eq!(lab.pass(200_000), []);
    assert_eq!(lab.send(&request("BYE", "b1", 2, &tag, "", "")), ["200"]);
    let expected = ["appeared", "leg", "ringing", "answered", "caller heard", "removed", "leg ended", "ended"];
    assert_eq!(lab.names(), expected);
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
        let mut lab = lab(transport, Settings::default(), 0);
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
    assert_eq!(&lab.names()[4..], ["caller heard", "removed", "leg failed", "ended"]);
    assert_eq!((lab.uas.calls(), lab.uas.requests_under_way()), (0, 0));
}

#[test]
fn cancel_ends_a_ringing_call_with_487() {
    let mut lab = udp();
    lab.send(&invite());
    let tag = lab.tag();
    assert_eq!(lab.send(&request("CANCEL", "i1", 1, "", "", "")), ["200", "487"]);
    assert_eq!(lab.tag(), tag, "CANCEL's answer and 487 have the same tag as 180");
    assert_eq!(lab.names(), ["appeared", "leg", "ringing", "leg cancelled", "ended"]);
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
    lab.answered();
    assert_eq!(lab.send(&request("CANCEL", "i1", 1, "", "", "")), ["200"]);
    assert_eq!(lab.uas.calls(), 1);
}

#[test]
fn bye_while_it_rings_and_before_the_ack() {
    let mut lab = udp();
    lab.send(&invite());
    let tag = lab.tag();
    assert_eq!(lab.send(&request("BYE", "b1", 2, &tag, "", "")), ["200", "487"]);
    assert_eq!(lab.names().last(), Some(&"ended"));
    let mut lab = quick();
    lab.send(&invite());
    let tag = lab.tag();
    assert_eq!(lab.send(&request("BYE", "b1", 2, &tag, "", "")), ["200"]);
    assert_eq!(&lab.names()[5..], ["removed", "leg ended", "ended"]);
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
    assert_eq!(find(415).text("Accept").unwrap(), "application/sdp, multipart/mixed");
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
    let tag = lab.answered();
    assert_eq!(lab.send(&request("OPTIONS", "o2", 2, &tag, "", "")), ["200"]);
}

#[test]
fn sequence_numbers_may_jump_but_not_fall() {
    let mut lab = quick();
    let tag = lab.answered();
    assert_eq!(lab.send(&request("OPTIONS", "o1", 50, &tag, "", "")), ["200"]);
    assert_eq!(lab.send(&request("OPTIONS", "o2", 49, &tag, "", "")), ["500"]);
    assert_eq!(lab.send(&request("BYE", "b1", 51, &tag, "", "")), ["200"]);
}

#[test]
fn the_same_request_by_another_way_is_a_loop() {
    let mut lab = udp();
    lab.send(&invite());
    assert_eq!(lab.send(&invite().replace("z9hG4bKi1", "z9hG4bKi2")), ["482"]);
    let demanding = invite().replace("z9hG4bKi1", "z9hG4bKi3").replace("Max-Forwards", "Require: x\r\nMax-Forwards");
    assert_eq!(lab.send(&demanding), ["482"], "before extensions");
    assert_eq!(lab.send(&invite()), ["180"], "a retransmission is none");
}

#[test]
fn a_full_bridge_says_when_to_come_again() {
    let mut lab = lab(Transport::Udp, Settings { max_calls: 1, retry_after_s: 7, ..Settings::default() }, 0);
    lab.answered();
    let second = invite().replace("call-1", "call-2").replace("i1", "i2");
    assert_eq!(lab.send(&second), ["503"]);
    assert_eq!(lab.last().text("Retry-After").unwrap(), "7");
    assert_eq!(lab.send(&request("OPTIONS", "o1", 2, "", "", "").replace("call-1", "o")), ["200"]);
    lab.uas.set_overloaded(true);
    assert_eq!(lab.send(&second.replace("i2", "i3").replace("call-2", "call-3")), ["503"]);
}

#[test]
fn without_a_port_the_call_is_turned_away_and_never_appears() {
    let mut lab = quick();
    lab.ports = false;
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
    let mut lab = udp();
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
    let tag = lab.answered();
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
    assert_eq!(&lab.names()[4..], ["caller heard", "held", "resumed", "held", "resumed"]);
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
    let tag = lab.answered();
    let moved = request("INVITE", "r2", 2, &tag, "", SDP)
        .replace("Contact: <sip:0663621234@192.0.2.1:5062>", "m: <sip:x@192.0.2.33:7000>");
    lab.send(&moved);
    let sent = lab.pass(33_000);
    assert_eq!(sent.iter().filter(|(_, what)| what == "200").count(), 10);
    let bye =
        lab.sent.iter().rposition(|m| matches!(&m.start, Start::Request { method, .. } if method == "BYE")).unwrap();
    assert_eq!(lab.to[bye].peer.to_string(), "192.0.2.33:7000");
    assert_eq!(lab.names().last(), Some(&"ended"));
}

#[test]
fn a_re_invite_during_ringing_is_told_to_wait() {
    let mut lab = udp();
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
    assert_eq!(&lab.names()[3..], ["answered", "caller heard", "agent heard"], "sendonly is no hold here");
    let lines: Vec<&str> = body(lab.last()).lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(lines, ["m=audio 20002 RTP/AVP 0 101", "m=video 0 RTP/AVP 31", "m=audio 20004 RTP/AVP 8"]);
    assert_eq!(body(lab.last()).matches("a=recvonly").count(), 2);
    let tag = lab.tag();
    lab.send(&request("ACK", "a1", 1, &tag, "", ""));
    // the agent's line ends, the other goes on
    lab.send(&request("INVITE", "r2", 2, &tag, "", &two.replace("m=audio 4006", "m=audio 0")));
    lab.send(&request("ACK", "a2", 2, &tag, "", ""));
    assert_eq!((lab.names().last(), lab.did.last()), (Some(&"removed"), Some(&Did::Close)));
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
    assert_eq!(&lab.names()[5..], ["removed", "leg failed", "ended"]);
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
    let mut lab = udp();
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
    lab.answered();
    assert_eq!(lab.pass(300_000), [(300_000, "OPTIONS".into())]);
    answer(&mut lab, "200 OK");
    assert_eq!(lab.pass(300_000), [(300_000, "OPTIONS".into())]);
    assert!(answer(&mut lab, "481 Gone").is_empty());
    assert_eq!(&lab.names()[5..], ["removed", "leg lost", "ended"]);
    let mut lab = quick();
    lab.answered();
    let sent = lab.pass(340_000);
    assert_eq!(sent.iter().filter(|(at, what)| what == "BYE" && *at == 332_000).count(), 1);
    assert_eq!(lab.names().last(), Some(&"ended"));
}

#[test]
fn a_long_ring_is_told_again_every_minute() {
    let mut lab = lab(Transport::Udp, Settings::default(), 150_000);
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
    lab.answered();
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
    let mut lab = lab(Transport::Udp, Settings { max_requests_per_s: 10, request_burst: 20, ..Settings::default() }, 0);
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
    let mut lab = lab(Transport::Udp, Settings { max_requests_per_s: 0, ..Settings::default() }, 0);
    for n in 0..9_000 {
        let text = request("OPTIONS", &format!("f{n}"), 1, "", "", "").replace("call-1", &format!("f-{n}"));
        let expected = if n < transaction::Servers::MAX { "200" } else { "503" };
        assert_eq!(lab.send(&text), [expected]);
        lab.sent.clear();
        lab.to.clear();
    }
    assert_eq!(lab.uas.transactions(), transaction::Servers::MAX);
    lab.pass(40_000);
    assert_eq!(lab.uas.transactions(), 0);
}

#[test]
fn a_line_of_which_nothing_may_be_kept_opens_no_port_and_is_a_call_all_the_same() {
    let nothing = Policy { record: false, transcribe: false, answer_after_ms: 0 };
    let mut lab = lab_of(Transport::Udp, Settings::default(), PeerSettings::default(), nothing);
    let tag = lab.answered();
    let answer = body(lab.last()).to_string();
    assert!(answer.contains("m=audio 9 RTP/AVP 0") && answer.contains("a=inactive\r\n"), "{answer}");
    let again = SDP.replace("m=audio 4000", "m=audio 4100");
    assert_eq!(lab.send(&request("INVITE", "r2", 2, &tag, "", &again)), ["200"]);
    lab.send(&request("ACK", "ra2", 2, &tag, "", ""));
    assert!(body(lab.last()).contains("a=inactive"), "a new offer changes nothing about that");
    lab.send(&request("BYE", "b3", 3, &tag, "", ""));
    assert_eq!(lab.names(), ["appeared", "leg", "ringing", "answered", "leg ended", "ended"]);
    assert_eq!((lab.did, lab.uas.calls()), (vec![], 0));
}

#[test]
fn a_hold_pauses_what_is_kept_only_where_the_site_says_so() {
    for hold_pauses in [false, true] {
        let kept = Policy { record: true, transcribe: true, answer_after_ms: 0 };
        let own = PeerSettings { hold_pauses, ..PeerSettings::default() };
        let mut lab = lab_of(Transport::Udp, Settings::default(), own, kept);
        let tag = lab.answered();
        for (n, direction) in [(2, "inactive"), (3, "sendrecv"), (4, "sendonly")] {
            let sdp = SDP.replace("m=audio", &format!("a={direction}\r\nm=audio"));
            lab.send(&request("INVITE", &format!("r{n}"), n, &tag, "", &sdp));
            lab.send(&request("ACK", &format!("ra{n}"), n, &tag, "", ""));
        }
        let wanted: &[&str] = match hold_pauses {
            true => &["held", "not kept", "resumed", "kept", "held", "not kept"],
            false => &["held", "resumed", "held"],
        };
        assert_eq!(&lab.names()[5..], wanted);
    }
}

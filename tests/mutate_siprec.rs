//! Mutated recording sessions: metadata through the reader and the book, bodies of several parts through the cutter, whole INVITE, re-INVITE
//! and UPDATE through the server. No panic, nothing that grows without bound, calls that begin once and end once.

#[path = "common/cases.rs"]
mod cases;
#[path = "common/mutate.rs"]
mod mutate;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cases::cases;
use kakehashi::pbx::sip::header::NameAddr;
use kakehashi::pbx::sip::message::Start;
use kakehashi::pbx::sip::multipart;
use kakehashi::pbx::sip::siprec::{Book, Metadata, PEOPLE_MAX, SESSIONS_MAX, STREAMS_MAX};
use kakehashi::pbx::sip::wire::{Limits, read_datagram};
use kakehashi::pbx::sip::{Flow, Output, PeerSettings, Policy, Settings, Transport, Uas};
use kakehashi::pbx::{CallKey, LegKey, Observed, PbxId, Signal, StreamId};
use kakehashi::time::{Mono, Now, Wall};
use mutate::{Dice, mutate};

const READER_CASES: u64 = 500_000;
const MULTIPART_CASES: u64 = 250_000;
const MACHINE_CASES: u64 = 250_000;
/// A fresh book or machine after so many.
const ROUND: u64 = 300;
const MAX_CALLS: usize = 20;

const NAMES: [&str; 10] = [
    "rfc",
    "rfc_joins",
    "rfc_leaves",
    "two_calls",
    "avaya_start",
    "avaya_people",
    "metaswitch",
    "broadworks",
    "webex",
    "oracle",
];

fn documents() -> Vec<Vec<u8>> {
    let read = |name: &&str| std::fs::read(format!("tests/data/siprec/{name}.xml")).unwrap();
    NAMES.iter().map(read).collect()
}

#[test]
fn mutated_metadata_never_panics_and_a_book_stays_bounded() {
    let all = cases(READER_CASES);
    let documents = documents();
    let mut book = Book::default();
    let (mut read, mut refused) = (0_u64, 0_u64);
    for case in 0..all {
        if case % ROUND == 0 {
            book = Book::default();
        }
        let original = &documents[case as usize % documents.len()];
        let body = if case % 4 == 0 { original.clone() } else { mutate(case, original) };
        match Metadata::parse(&body, None) {
            Ok(document) => {
                read += 1;
                book.apply(document);
                let known = book.known();
                assert!(known.sessions.len() <= SESSIONS_MAX && known.participants.len() <= PEOPLE_MAX, "case {case}");
                assert!(known.streams.len() <= STREAMS_MAX && known.hints.len() <= 2 * SESSIONS_MAX, "case {case}");
                assert!(known.present.len() <= 1_024 && known.sending.len() <= 1_024, "case {case}");
            }
            Err(_) => refused += 1,
        }
    }
    println!("{all} documents: {read} read, {refused} refused");
    assert!(read > all / 5 && refused > all / 5, "{read} read, {refused} refused");
}

/// The body of a recording session.
fn parts(sdp: &str, xml: &[u8]) -> Vec<u8> {
    let head = format!("--foobar\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--foobar\r\n");
    let kind = "Content-Type: application/rs-metadata+xml\r\nContent-Disposition: recording-session\r\n\r\n";
    [head.as_bytes(), kind.as_bytes(), xml, b"--foobar--\r\n"].concat()
}

fn sdp(labels: &[&str], direction: &str) -> String {
    let line = |(n, label): (usize, &&str)| {
        format!("m=audio {} RTP/AVP 0 8\r\na=label:{label}\r\na={direction}\r\n", 40_000 + 2 * n)
    };
    let lines: String = labels.iter().enumerate().map(line).collect();
    format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{lines}")
}

#[test]
fn mutated_bodies_of_several_parts_are_cut_within_bounds() {
    let all = cases(MULTIPART_CASES);
    let bodies: Vec<Vec<u8>> = documents().iter().map(|xml| parts(&sdp(&["1", "2"], "sendonly"), xml)).collect();
    let (mut cut, mut refused) = (0_u64, 0_u64);
    for case in 0..all {
        let body = mutate(case, &bodies[case as usize % bodies.len()]);
        match multipart::split("multipart/mixed;boundary=foobar", &body) {
            Some(parts) => {
                cut += 1;
                let bytes: usize = parts.iter().map(|part| part.body.len()).sum();
                assert!(parts.len() <= 16 && bytes <= body.len(), "case {case}");
            }
            None => refused += 1,
        }
    }
    println!("{all} bodies: {cut} cut, {refused} refused");
    assert!(cut > all / 2 && refused > 0, "{cut} cut, {refused} refused");
}

/// What was told of each call: begun once, ended once, legs and streams of nobody else.
#[derive(Default)]
struct Ledger {
    calls: BTreeMap<CallKey, (BTreeSet<LegKey>, BTreeSet<StreamId>)>,
    told: u64,
}

impl Ledger {
    fn take(&mut self, observed: &Observed) {
        self.told += 1;
        let call = observed.call.clone();
        if matches!(observed.signal, Signal::CallAppeared { .. }) {
            assert!(self.calls.insert(call, Default::default()).is_none(), "a call that is there");
            return;
        }
        let (legs, streams) = self.calls.get_mut(&call).expect("a call that is not there");
        match &observed.signal {
            Signal::LegAppeared { leg, .. } => assert!(legs.insert(leg.clone()), "a leg that is there"),
            Signal::LegEnded(leg, _) => assert!(legs.remove(leg), "a leg that is not there"),
            Signal::StreamAdded { leg, stream, .. } => {
                assert!(legs.contains(leg), "a stream of nobody");
                streams.insert(*stream);
            }
            Signal::StreamRemoved(stream) => assert!(streams.remove(stream), "a stream that is not there"),
            Signal::LegRinging(leg) | Signal::LegAnswered(leg) | Signal::LegHeld(leg) | Signal::LegResumed(leg) => {
                assert!(legs.contains(leg), "a leg that is not there");
            }
            Signal::CallEnded(_) => {
                assert!(streams.is_empty(), "streams outlive their call");
                self.calls.remove(&call);
            }
            _ => {}
        }
    }
}

struct Machine {
    uas: Uas,
    flow: Flow,
    now: Now,
    tag: String,
    ledger: Ledger,
    sent: u64,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        let transport = if seed.is_multiple_of(3) { Transport::Tcp } else { Transport::Udp };
        let (local, peer) = ("127.0.0.1:15080".parse().unwrap(), "127.0.0.1:15060".parse().unwrap());
        let own = PeerSettings { peers: vec!["127.0.0.0/8".parse().unwrap()], ..PeerSettings::default() };
        let policy = Box::new(|_: &str| Policy { record: true, transcribe: true, answer_after_ms: 0 });
        let settings = Settings { max_calls: MAX_CALLS as u32, max_requests_per_s: 0, ..Settings::default() };
        let mut uas = Uas::new(settings, &[(PbxId("mutated".into()), own)], policy, [seed as u8; 32]);
        uas.set_agents(Box::new(|_, extension| extension.starts_with("20")));
        let flow = Flow { transport, local, peer, channel: 1 };
        let now = Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) };
        Machine { uas, flow, now, tag: "none".into(), ledger: Ledger::default(), sent: 0 }
    }

    fn drain(&mut self) {
        while let Some(output) = self.uas.poll_output() {
            match output {
                Output::Send(_, bytes) => {
                    self.sent += 1;
                    let message =
                        read_datagram(&bytes, &Limits::of(1 << 20)).expect("what is sent can be read").unwrap();
                    let to = message.text("To").and_then(|to| NameAddr::parse(&to));
                    if let (Start::Response { .. }, Some(tag)) = (&message.start, to.as_ref().and_then(NameAddr::tag)) {
                        self.tag = tag.into();
                    }
                }
                Output::Signal(observed) => self.ledger.take(&observed),
                Output::Open { stream, .. } => {
                    let port = if self.sent.is_multiple_of(11) { Err("no port".into()) } else { Ok(30_000) };
                    self.uas.handle_opened(stream, port, self.now);
                }
                _ => {}
            }
        }
    }

    fn step(&mut self, bytes: &[u8], dice: &mut Dice) {
        self.uas.handle_datagram(self.flow, bytes, self.now);
        self.drain();
        if dice.below(4) == 0 {
            self.pass(dice.below(3_000) as u64);
        }
        assert!(self.uas.calls() <= MAX_CALLS);
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now.mono + Duration::from_millis(millis);
        for step in 0.. {
            assert!(step < 20_000, "a timer that is due again and again");
            let due = self.uas.poll_timeout().filter(|at| *at <= end);
            self.now = self.now.plus(due.unwrap_or(end).max(self.now.mono).since(self.now.mono));
            self.uas.handle_timeout(self.now);
            self.drain();
            if due.is_none() {
                return;
            }
        }
    }

    /// Lets everything end; nothing is left.
    fn finish(mut self) -> (u64, u64) {
        self.pass(4_000_000);
        assert_eq!((self.uas.calls(), self.uas.transactions()), (0, 0));
        assert!(self.ledger.calls.is_empty(), "calls that never ended: {}", self.ledger.calls.len());
        (self.ledger.told, self.sent)
    }
}

/// A recording session from start to end, one message after the other.
fn message(step: u64, round: u64, tag: &str, documents: &[Vec<u8>]) -> Vec<u8> {
    let labels: [&[&str]; 4] = [&["96", "98"], &["10", "20"], &["1", "2", "3", "4"], &["96", "98", "100"]];
    let (own, at) = (labels[round as usize % labels.len()], step % 8);
    let xml = &documents[(round + step) as usize % documents.len()];
    let direction = ["sendonly", "inactive", "sendrecv"][(step / 3) as usize % 3];
    let both = |lines: &[&str]| parts(&sdp(lines, direction), xml);
    let mixed = "Content-Type: multipart/mixed;boundary=foobar\r\n";
    let alone = "Content-Type: application/rs-metadata\r\nContent-Disposition: recording-session\r\n";
    let (method, more, body) = match at {
        0 if round % 5 == 4 => (
            "INVITE",
            "X-Cisco-Recording-Participant: sip:2001@x;media-index=\"0\"\r\nMin-SE: 1800\r\nContent-Type: application/sdp\r\n",
            sdp(own, "sendonly").into_bytes(),
        ),
        0 => ("INVITE", mixed, both(&own[..1])),
        1 | 5 => ("ACK", "", Vec::new()),
        2 => ("UPDATE", alone, xml.clone()),
        3 => ("UPDATE", mixed, both(own)),
        4 => ("INVITE", mixed, both(own)),
        6 => ("UPDATE", "Content-Type: application/sdp\r\n", sdp(own, direction).into_bytes()),
        _ => ("BYE", "", Vec::new()),
    };
    let to = if at == 0 { String::new() } else { format!(";tag={tag}") };
    let cseq = if at == 1 {
        1
    } else if at == 5 {
        5
    } else {
        at + 1
    };
    let require = if round.is_multiple_of(2) { "Require: siprec\r\n" } else { "" };
    let fork =
        if round % 7 == 6 { ";x-nearend;x-refci=12345678;x-nearendaddr=2001;x-farendaddr=0663621234" } else { "" };
    let head = format!(
        "{method} sip:7001@127.0.0.1:15080 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:15060;branch=z9hG4bK{round}-{step};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:src@127.0.0.1{fork}>;tag=src{round}\r\nTo: <sip:7001@127.0.0.1>{to}\r\nCall-ID: rs-{round}\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:src@127.0.0.1:15060;+sip.src>\r\nAllow: INVITE, ACK, BYE, UPDATE\r\n{require}{more}\r\n"
    );
    [head.as_bytes(), &body].concat()
}

#[test]
fn mutated_recording_sessions_never_panic_and_tell_whole_calls() {
    let all = cases(MACHINE_CASES);
    let documents = documents();
    let mut dice = Dice(20_261_130);
    let (mut told, mut sent) = (0, 0);
    let mut machine = Machine::new(0);
    for case in 0..all {
        if case % ROUND == 0 && case > 0 {
            let (more_told, more_sent) = std::mem::replace(&mut machine, Machine::new(case / ROUND)).finish();
            (told, sent) = (told + more_told, sent + more_sent);
        }
        let plain = message(case % 8, case / 8, &machine.tag, &documents);
        let bytes = if dice.below(3) == 0 { mutate(case, &plain) } else { plain };
        machine.step(&bytes, &mut dice);
    }
    let (more_told, more_sent) = machine.finish();
    (told, sent) = (told + more_told, sent + more_sent);
    println!("{all} messages of recording sessions: {told} told, {sent} sent");
    assert!(told > all / 4 && sent > all / 3, "{told} told, {sent} sent: the machine was alive");
}

//! Mutated SIP and SDP through the readers and the server: no panic, nothing that grows without bound, every answer well-formed.

#[path = "common/cases.rs"]
mod cases;
#[path = "common/mutate.rs"]
mod mutate;

use std::fs;
use std::time::Duration;

use cases::cases;
use kakehashi::pbx::PbxId;
use kakehashi::pbx::sip::header::NameAddr;
use kakehashi::pbx::sip::message::{Message, Start};
use kakehashi::pbx::sip::sdp::{self, Description, Place, Taken};
use kakehashi::pbx::sip::wire::{Item, Limits, StreamReader, read_datagram, write};
use kakehashi::pbx::sip::{Flow, Output, PeerSettings, Policy, Settings, Transport, Uas};
use kakehashi::time::{Mono, Now, Wall};
use mutate::{Dice, mutate};

/// Twice: by UDP and by TCP.
const SIP_CASES: u64 = 130_000;
const SDP_CASES: u64 = 260_000;
/// A fresh machine after so many messages, so that cases do not all run on wreckage.
const ROUND: u64 = 300;
const MAX_CALLS: usize = 20;

/// A call from start to end, as Asterisk makes it; `{tag}` stands for ours, `{rseq}` for our last RSeq.
const SCRIPT: [&str; 10] = [
    "trunk_invite_isup",
    "asterisk_prack",
    "asterisk_ack",
    "asterisk_reinvite_hold",
    "asterisk_update_second_line",
    "asterisk_reinvite_resume",
    "asterisk_info_digit",
    "asterisk_options",
    "asterisk_cancel",
    "asterisk_bye",
];

fn sip(name: &str) -> Vec<u8> {
    fs::read(format!("tests/data/sip/{name}.sip")).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// RFC 4475 and what exchanges send.
fn corpus() -> Vec<Vec<u8>> {
    let mut files: Vec<_> = ["tests/data/rfc4475/valid", "tests/data/rfc4475/invalid", "tests/data/sip"]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    files.sort();
    assert!(files.len() >= 49 + 10, "{} files", files.len());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

struct Machine {
    uas: Uas,
    flow: Flow,
    now: Now,
    tag: String,
    rseq: String,
    told: u64,
    sent: u64,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        let transport = if seed.is_multiple_of(3) { Transport::Tcp } else { Transport::Udp };
        let local = "127.0.0.1:15080".parse().unwrap();
        let flow = Flow { transport, local, peer: "127.0.0.1:15060".parse().unwrap(), channel: 1 };
        let peers = [(
            PbxId("mutated".into()),
            PeerSettings { peers: vec!["127.0.0.0/8".parse().unwrap()], ..PeerSettings::default() },
        )];
        let answer_after_ms = if seed.is_multiple_of(2) { 0 } else { 100 };
        let policy = Box::new(move |_: &str| Policy { record: true, transcribe: true, answer_after_ms });
        let early_sdp = seed.is_multiple_of(5);
        let settings = Settings { max_calls: MAX_CALLS as u32, early_sdp, ..Settings::default() };
        let now = Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) };
        Machine {
            uas: Uas::new(settings, &peers, policy, [seed as u8; 32]),
            flow,
            now,
            tag: String::new(),
            rseq: String::new(),
            told: 0,
            sent: 0,
        }
    }

    fn drain(&mut self, dice: &mut Dice) {
        while let Some(output) = self.uas.poll_output() {
            match output {
                Output::Send(_, bytes) => {
                    self.sent += 1;
                    let message =
                        read_datagram(&bytes, &Limits::of(1 << 20)).expect("what is sent can be read").unwrap();
                    self.remember(&message);
                }
                Output::Open { stream, formats, .. } => {
                    assert!(!formats.is_empty());
                    let port = if dice.below(16) == 0 { Err("no port".into()) } else { Ok(20_000) };
                    self.uas.handle_opened(stream, port, self.now);
                }
                _ => self.told += 1,
            }
        }
        assert!(self.uas.calls() <= MAX_CALLS && self.uas.requests_under_way() <= 2 * ROUND as usize);
    }

    fn remember(&mut self, message: &Message) {
        if let Some(rseq) = message.text("RSeq") {
            self.rseq = rseq.into_owned();
        }
        if let (Start::Response { code: 180..=299, .. }, Some(to)) = (&message.start, message.text("To"))
            && let Some(tag) = NameAddr::parse(&to).and_then(|to| to.tag().map(str::to_string))
        {
            self.tag = tag;
        }
    }

    /// Everything ends when the bridge does.
    fn finish(mut self, dice: &mut Dice) -> (u64, u64) {
        self.uas.handle_stop(self.now);
        for _ in 0..200 {
            self.drain(dice);
            self.now = self.now.plus(Duration::from_secs(1));
            self.uas.handle_timeout(self.now);
        }
        self.drain(dice);
        assert_eq!((self.uas.calls(), self.uas.transactions(), self.uas.requests_under_way()), (0, 0, 0));
        (self.told, self.sent)
    }

    fn step(&mut self, bytes: &[u8], dice: &mut Dice) {
        self.uas.handle_datagram(self.flow, bytes, self.now);
        self.drain(dice);
        self.now = self.now.plus(Duration::from_millis(dice.roll() % 200));
        self.uas.handle_timeout(self.now);
        self.drain(dice);
    }
}

/// A message of the call script, its numbers made those of call `n`.
fn scripted(script: &[Vec<u8>], at: usize, n: u64, machine: &Machine) -> Vec<u8> {
    let text = String::from_utf8_lossy(&script[at % script.len()]).into_owned();
    text.replace("{tag}", &machine.tag)
        .replace("{rseq}", &machine.rseq)
        .replace("4a6f1a8e", &format!("{n:08x}"))
        .replace("branch=z9hG4bKPj", &format!("branch=z9hG4bK{n}-"))
        .into_bytes()
}

#[test]
fn mutated_messages_never_panic_and_leave_no_wreckage() {
    let all = cases(SIP_CASES);
    let corpus = corpus();
    let script: Vec<Vec<u8>> = SCRIPT.iter().map(|name| sip(name)).collect();
    let mut dice = Dice(20_261_124);
    let (mut told, mut sent, mut read) = (0, 0, 0);
    let mut machine = Machine::new(0);
    for case in 0..all {
        if case % ROUND == 0 && case > 0 {
            let (more_told, more_sent) = std::mem::replace(&mut machine, Machine::new(case / ROUND)).finish(&mut dice);
            (told, sent) = (told + more_told, sent + more_sent);
        }
        // half of the cases are a call, of which one message in three is mutated
        let bytes = if case % 2 == 0 {
            let step = (case / 2) as usize;
            let plain = scripted(&script, step, case / 2 / SCRIPT.len() as u64, &machine);
            if dice.below(3) == 0 { mutate(case, &plain) } else { plain }
        } else {
            mutate(case, &corpus[(case / 2) as usize % corpus.len()])
        };
        read += u64::from(read_datagram(&bytes, &Limits::of(65_535)).is_ok());
        machine.step(&bytes, &mut dice);
    }
    let (more_told, more_sent) = machine.finish(&mut dice);
    (told, sent) = (told + more_told, sent + more_sent);
    println!("{all} SIP messages: {read} read, {told} told, {sent} sent");
    assert!(read > all / 4 && read < all * 9 / 10, "{read} of {all} were read: the mutation does its work");
    assert!(told > all / 10 && sent > all / 3, "{told} told, {sent} sent: the machine was alive");
}

#[test]
fn mutated_streams_never_panic_and_stay_within_their_limit() {
    let all = cases(SIP_CASES);
    let corpus = corpus();
    let mut dice = Dice(20_261_125);
    let limits = Limits { message: 8_192, headers: 64, line: 2_048 };
    let (mut messages, mut bad) = (0_u64, 0_u64);
    let mut reader = StreamReader::new(limits);
    for case in 0..all {
        let original = &corpus[case as usize % corpus.len()];
        let bytes = if case % 3 == 0 { original.clone() } else { mutate(case, original) };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((1 + dice.below(700)).min(rest.len()));
            rest = after;
            reader.push(piece);
            while let Some(item) = reader.next_item() {
                match item {
                    Item::Message(message) => {
                        messages += 1;
                        assert!(message.headers.len() <= 64 && message.body.len() <= 8_192);
                        assert!(read_datagram(&write(&message), &Limits::of(1 << 20)).is_ok(), "case {case}");
                    }
                    Item::Bad(_) => bad += 1,
                    Item::Ping => {}
                }
            }
        }
        if reader.is_broken() || dice.below(20) == 0 {
            reader = StreamReader::new(limits);
        }
    }
    println!("{all} SIP messages in a stream: {messages} read, {bad} bad");
    assert!(messages > all / 10 && bad > all / 10, "{messages} messages, {bad} bad");
}

#[test]
fn mutated_descriptions_never_panic_and_are_answered_line_by_line() {
    let all = cases(SDP_CASES);
    let bodies: Vec<Vec<u8>> = ["asterisk_invite", "asterisk_reinvite_hold", "recording_invite"]
        .iter()
        .map(|name| read_datagram(&sip(name), &Limits::of(65_535)).unwrap().unwrap().body)
        .collect();
    let head = String::from_utf8(sip("asterisk_invite")).unwrap().split("\r\n\r\n").next().unwrap().to_string();
    let again = String::from_utf8(sip("asterisk_reinvite_hold")).unwrap().split("\r\n\r\n").next().unwrap().to_string();
    let ack = [sip("asterisk_ack")];
    let mut dice = Dice(20_261_126);
    let (mut usable, mut refused) = (0_u64, 0_u64);
    let mut machine = Machine::new(0);
    for case in 0..all {
        if case % ROUND == 0 && case > 0 {
            std::mem::replace(&mut machine, Machine::new(2)).finish(&mut dice);
        }
        let body = mutate(case, &bodies[case as usize % bodies.len()]);
        match Description::parse(&body) {
            Ok(offer) => {
                usable += 1;
                answer_matches(&offer);
            }
            Err(_) => refused += 1,
        }
        // a third of them through the server too
        if case / 4 % 3 > 0 {
            continue;
        }
        // every fourth as a new call, the others inside the last one
        let n = case / 4;
        let head = if case % 4 == 0 { &head } else { &again };
        let head = head
            .replace("4713", &format!("{}", 4_711 + case % 4))
            .replace("{tag}", &machine.tag)
            .replace("4a6f1a8e", &format!("{n:08x}"))
            .replace("branch=z9hG4bKPj", &format!("branch=z9hG4bK{case}-"));
        let kept = head.lines().filter(|line| !line.starts_with("Content-Length")).collect::<Vec<_>>().join("\r\n");
        let mut bytes = format!("{kept}\r\n\r\n").into_bytes();
        bytes.extend(&body);
        machine.step(&bytes, &mut dice);
        let ack = String::from_utf8(scripted(&ack, 0, n, &machine)).unwrap();
        machine.step(ack.replace("4711", &format!("{}", 4_711 + case % 4)).as_bytes(), &mut dice);
        if case % 4 == 3 {
            machine.step(&scripted(&[sip("asterisk_bye")], 0, n, &machine), &mut dice);
        }
    }
    let (told, _) = machine.finish(&mut dice);
    println!("{all} descriptions: {usable} read, {refused} refused");
    assert!(usable > all / 5 && refused > all / 20, "{usable} read, {refused} refused");
    assert!(told > 0);
}

/// The answer to any offer has its lines, in its order, with port 0 where nothing is taken.
fn answer_matches(offer: &Description) {
    let taken: Vec<Taken> = offer
        .usable()
        .map(|(line, own)| {
            let (formats, direction) = (own.choose(&[]), own.direction.answered());
            Taken { line, port: 20_000, formats, direction, proto: "RTP/AVP", attributes: Vec::new() }
        })
        .collect();
    let place = Place { host: "127.0.0.1".into(), session: 1, version: 1 };
    let answer = Description::parse(&sdp::answer(offer, &taken, &place)).expect("an answer can be read");
    assert_eq!(answer.lines.len(), offer.lines.len());
    for (index, (own, theirs)) in answer.lines.iter().zip(&offer.lines).enumerate() {
        assert_eq!(own.media, theirs.media.replace(['\r', '\n', '\0'], ""), "line {index}");
        assert_eq!(own.target.1 != 0, taken.iter().any(|taken| taken.line == index));
    }
}

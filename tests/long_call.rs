//! A long call, played faster than it was: memory, order, loops, the sums of its ledger, and the delay of its texts over its length.
//! A real `kakehashi serve` plays a capture of it ([pbx.mirror], `speed`) through the media path, with the wall clock of the capture.
//!
//! `KAKEHASHI_LONG_CALL_MIN` (4) is its length, `KAKEHASHI_LONG_CALL_SPEED` (20) how much faster it is played. `make soak` takes 120 minutes.
#![cfg(all(feature = "whisper", feature = "web"))]

use std::path::Path;
use std::time::{Duration, Instant};

#[path = "common/hook.rs"]
mod hook;
#[path = "common/pcap.rs"]
mod pcap;
#[path = "common/scene.rs"]
mod scene;
#[path = "common/serve.rs"]
mod serve;
#[path = "call_lab/text.rs"]
#[allow(dead_code)]
mod text;
#[path = "common/told.rs"]
mod told;

use hook::Hook;
use kakehashi::events::{Data, Event, TranscriptFinal};
use kakehashi::media::codec::encode_ulaw;
use kakehashi::pbx::Speaker;
use pcap::{Capture, EXCHANGE, TRUNK, sdp};
use scene::{Scene, set};
use serve::{Wanted, resident_kib};
use told::by_caller;

/// Samples of one packet.
const FRAME: usize = 160;
/// The RTP begins so long after the first frame of the capture.
const BEGIN: Duration = Duration::from_millis(100);
/// Memory may grow so much after the first tenth of the call: what is kept of each text is in it.
const GROWTH_KIB: u64 = 48 * 1024;
/// Error rate at most; the shipped model makes 0.23 on this set.
const MODEL_MEETS: f64 = 0.35;
/// While nothing comes for so long, nothing will.
const PATIENCE: Duration = Duration::from_secs(120);

fn number(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Writes the call: SIP over UDP and RTP of both parties, in the order of time.
fn capture(path: &Path, scene: &Scene) {
    let mut file = Capture::create(path);
    let ms = Duration::from_millis;
    let invite = format!("INVITE sip:2001@{EXCHANGE} SIP/2.0");
    file.sip(ms(0), true, &message(&invite, "1 INVITE", false, &sdp(TRUNK, 20_000)));
    file.sip(ms(1), false, &message("SIP/2.0 180 Ringing", "1 INVITE", true, ""));
    file.sip(ms(2), false, &message("SIP/2.0 200 OK", "1 INVITE", true, &sdp(EXCHANGE, 30_000)));
    file.sip(ms(3), true, &message(&format!("ACK sip:2001@{EXCHANGE} SIP/2.0"), "1 ACK", true, ""));
    let frames = scene.lines[0].length / FRAME;
    for n in 0..frames {
        let at = BEGIN + Duration::from_millis(20) * n as u32;
        for (party, line) in scene.lines.iter().enumerate() {
            let mut packet = vec![0x80, 0];
            packet.extend((n as u16).to_be_bytes());
            packet.extend(((n * FRAME) as u32).to_be_bytes());
            packet.extend((party as u32 + 1).to_be_bytes());
            packet.extend(line.samples(n * FRAME, (n + 1) * FRAME).into_iter().map(encode_ulaw));
            let ports = if party == 0 { (20_000, 30_000) } else { (30_000, 20_000) };
            file.udp(at, party == 0, ports, &packet);
        }
    }
    let end = (BEGIN.as_millis() as u64) + frames as u64 * 20 + 300;
    file.sip(ms(end), true, &message(&format!("BYE sip:2001@{EXCHANGE} SIP/2.0"), "2 BYE", true, ""));
    file.sip(ms(end + 1), false, &message("SIP/2.0 200 OK", "2 BYE", true, ""));
    file.finish();
}

fn message(first: &str, cseq: &str, to_tag: bool, body: &str) -> String {
    let tag = if to_tag { ";tag=b" } else { "" };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let method = cseq.split(' ').nth(1).unwrap();
    format!(
        "{first}\r\nVia: SIP/2.0/UDP {TRUNK};branch=z9hG4bK{method}\r\nMax-Forwards: 70\r\nFrom: <sip:0663000000@{TRUNK}>;tag=a\r\n\
         To: <sip:2001@{EXCHANGE}>{tag}\r\nCall-ID: long\r\nCSeq: {cseq}\r\nContact: <sip:x@{TRUNK}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Memory and texts at one tenth of the call.
#[derive(Clone, Copy, Debug)]
struct Mark {
    bridge_kib: u64,
    workers_kib: u64,
    texts: usize,
}

fn is_final(event: &Event) -> bool {
    matches!(event.data, Data::TranscriptFinal(_))
}

/// Follows the call to its end; gives a mark at each tenth of it.
fn follow(bridge: &serve::Serve, hook: &Hook, answered: Instant, length: Duration) -> Vec<Mark> {
    let mark = || Mark {
        bridge_kib: resident_kib(bridge.pid()),
        workers_kib: bridge.workers().into_iter().map(resident_kib).sum(),
        texts: hook.count(is_final),
    };
    let marks = (1..=10).map(|tenth| {
        std::thread::sleep((answered + length * tenth / 10).saturating_duration_since(Instant::now()));
        mark()
    });
    let marks = marks.collect();
    hook.documents(1, PATIENCE);
    marks
}

/// A part of at least two characters that stands five times in a row.
fn loops(text: &str) -> bool {
    let all: Vec<char> = text.chars().collect();
    let repeats = |from: usize, length: usize| {
        let part = all.get(from..from + length);
        part.is_some() && (1..5).all(|n| all.get(from + n * length..from + (n + 1) * length) == part)
    };
    (0..all.len()).any(|from| (2..=all.len() / 5).any(|length| repeats(from, length)))
}

/// What one party said from `from` to `to` (seconds), beside what was heard of it.
fn error_rate(scene: &Scene, finals: &[(Instant, TranscriptFinal)], (from, to): (f64, f64)) -> f64 {
    let (mut said, mut heard) = (String::new(), String::new());
    for (line, speaker) in [Speaker::Caller, Speaker::Agent].into_iter().enumerate() {
        let inside = |sample: usize| (from * 8_000.0..to * 8_000.0).contains(&(sample as f64));
        said.extend(scene.said.iter().filter(|one| one.line == line && inside(one.from)).map(|one| one.text.as_str()));
        let own = finals.iter().map(|(_, text)| text).filter(|text| text.speaker == speaker);
        heard.extend(own.filter(|text| inside(text.start_ms as usize * 8 + 2_400)).map(|text| text.text.as_str()));
    }
    text::error_rate(&said, &heard)
}

#[test]
fn a_long_call_keeps_its_memory_its_order_and_its_sums() {
    let (minutes, speed) = (number("KAKEHASHI_LONG_CALL_MIN", 4.0), number("KAKEHASHI_LONG_CALL_SPEED", 20.0));
    let scene = Scene::play(&set(Path::new("samples/eval")), 2, minutes * 60.0, 7);
    let (folder, hook) = (tempfile::tempdir().unwrap(), Hook::listen(0));
    let file = folder.path().join("call.pcap");
    capture(&file, &scene);
    let exchange = format!(
        "[pbx.mirror]\nfile = \"{}\"\nspeed = {speed:.1}\nnetworks = [\"{EXCHANGE}\"]\nagents_unseen = true",
        file.display()
    );
    let speech = "workers = 1\nnice = 0";
    let wanted = Wanted { folder: folder.path(), hook: hook.port, speech, exchange: Some(&exchange) };
    let bridge = wanted.start();
    let start_kib = resident_kib(bridge.pid());
    let answered = |events: &[Event]| events.iter().any(|event| matches!(event.data, Data::CallAnswered(_)));
    hook.until(answered);
    let answered = hook.arrived().iter().find(|(_, event)| matches!(event.data, Data::CallAnswered(_))).unwrap().0;
    let length = Duration::from_secs_f64(scene.lines[0].length as f64 / 8_000.0 / speed);
    let marks = follow(&bridge, &hook, answered, length);
    bridge.stop();

    let told = by_caller(&hook.arrived()).remove("+81663000000").expect("the call was told");
    let document = told.check().unwrap();
    println!(
        "{minutes} min played {speed} times faster; {} utterances said, {} texts",
        scene.said.len(),
        told.finals.len()
    );
    println!("memory at the start: bridge {start_kib} KiB");
    let begin = answered + BEGIN.div_f64(speed);
    for (tenth, mark) in marks.iter().enumerate() {
        let (from, to) = (minutes * 6.0 * tenth as f64, minutes * 6.0 * (tenth + 1) as f64);
        let of = told.finals.iter().filter(|(_, text)| (from..to).contains(&(text.end_ms as f64 / 1e3)));
        let delays = of.map(|(at, text)| {
            let due = begin + Duration::from_secs_f64(text.end_ms as f64 / 1e3 / speed);
            at.saturating_duration_since(due).as_millis() as u64
        });
        let mut delays: Vec<u64> = delays.collect();
        delays.sort_unstable();
        println!(
            "minutes {:.1}–{:.1}: bridge {} KiB, recogniser {} KiB, {} texts so far; delay p50 {} ms, p95 {} ms of our time; error rate {:.3}",
            from / 60.0,
            to / 60.0,
            mark.bridge_kib,
            mark.workers_kib,
            mark.texts,
            delays.get(delays.len() / 2).copied().unwrap_or(0),
            delays.get(delays.len() * 95 / 100).copied().unwrap_or(0),
            error_rate(&scene, &told.finals, (from, to)),
        );
    }
    for leg in &document.coverage {
        println!("{:?}: {:?}", leg.speaker, leg.coverage);
    }
    let looping = told.finals.iter().filter(|(_, text)| loops(&text.text_raw)).count();
    let rate = error_rate(&scene, &told.finals, (0.0, minutes * 60.0));
    println!("{looping} texts with a loop; error rate of the whole call {rate:.3}");
    assert_eq!(looping, 0);
    assert!(rate < MODEL_MEETS, "{rate}");
    let duration = document.coverage.first().map_or(0, |leg| leg.coverage.duration);
    assert!(duration as f64 > minutes * 57_000.0 - 10_000.0, "the ledger is about {duration} ms");
    let (early, end) = (marks[0], marks[9]);
    assert!(end.bridge_kib < early.bridge_kib + GROWTH_KIB, "memory grew from {early:?} to {end:?}");
    assert!(end.workers_kib < early.workers_kib + GROWTH_KIB, "memory grew from {early:?} to {end:?}");
}

#[test]
fn a_loop_is_known_as_one() {
    assert!(loops("あ、ですねですねですねですねですね"));
    assert!(!loops("はい、はい、そうです。いいえ、違います。"));
}

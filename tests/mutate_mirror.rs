//! Mutated captures through the mirror, frame by frame and as files: no panic, nothing that grows without bound, nothing that stays open.

#[path = "common/capture.rs"]
mod capture;
#[path = "common/cases.rs"]
mod cases;
#[path = "common/mutate.rs"]
mod mutate;

use std::time::Duration;

use capture::*;
use cases::cases;
use kakehashi::bridge::mirror::file::Capture;
use kakehashi::pbx::mirror::{Link, Settings, Sieve};
use mutate::{Dice, mutate};

const FRAME_CASES: u64 = 980_000;
const FILE_CASES: u64 = 20_000;
/// A fresh mirror after so many frames, so that cases do not all run on wreckage.
const ROUND: u64 = 600;
const MAX_CALLS: u32 = 8;

fn small() -> Settings {
    Settings { max_calls: MAX_CALLS, ..settings() }
}

/// The frames of two calls with hold, transfer and sound, in this wrapping.
fn script(wrap: Wrap) -> Vec<Vec<u8>> {
    let mut watch = Watch::new(small());
    (watch.wrap, watch.kept) = (wrap, Some(Vec::new()));
    let talks = pair(1, "0312345678");
    let phone = &talks[1];
    let [_, own2, _, near] = sounds();
    set_up(&mut watch, &talks, sounds());
    converse(&mut watch, sounds(), 3);
    watch.ask(phone, 1, "INVITE", 5, "", &sdp(near, "a=sendonly\r\n"));
    watch.reply(phone, 1, 200, "INVITE", 5, &sdp(own2, "a=recvonly\r\n"));
    watch.ask(
        phone,
        1,
        "REFER",
        6,
        "Refer-To: <sip:2002@192.0.2.1?Replaces=ask%3Bto-tag%3Dtask%3Bfrom-tag%3Dfask>\r\n",
        "",
    );
    watch.reply(phone, 1, 202, "REFER", 6, "");
    watch.ask(phone, 1, "BYE", 7, "", "");
    let next = Talk::new("out2", "0312345678", "2002", [EXCHANGE, TANAKA])
        .with("Session-ID: ab30317f1a784dc48ff824d0d3715d86");
    watch.ask(&next, 0, "INVITE", 1, "", &sdp(port(EXCHANGE, 10_020), ""));
    watch.reply(&next, 0, 183, "INVITE", 1, &sdp(port(TANAKA, 30_000), ""));
    watch.reply(&next, 0, 200, "INVITE", 1, "");
    converse(&mut watch, sounds(), 3);
    caller_hangs_up(&mut watch, &talks);
    watch.kept.take().unwrap()
}

/// The same over TCP, in segments of 200 bytes.
fn over_tcp() -> Vec<Vec<u8>> {
    let (line, own) = (at(CARRIER), at(EXCHANGE));
    let [talk, _] = pair(1, "0312345678");
    let text = [
        talk.request(0, "INVITE", 1, "", &sdp(sounds()[2], "")),
        talk.answer(0, 200, "INVITE", 1, &sdp(sounds()[0], "")),
        talk.request(0, "BYE", 2, "", ""),
    ];
    let mut frames = vec![tcp(line, own, 999, true, b""), tcp(own, line, 999, true, b"")];
    let mut sent = [1_000, 1_000];
    for (n, message) in text.iter().enumerate() {
        let (from, to) = if n == 1 { (own, line) } else { (line, own) };
        for piece in message.as_bytes().chunks(200) {
            frames.push(tcp(from, to, sent[n % 2], false, piece));
            sent[n % 2] += piece.len() as u32;
        }
    }
    frames
}

fn scripts() -> Vec<Vec<Vec<u8>>> {
    let wraps: [Wrap; 5] = [
        |from, to, bytes| vec![ethernet(0, from, to, bytes)],
        |from, to, bytes| vec![ethernet(2, from, to, bytes)],
        |from, to, bytes| fragments(&ethernet(0, from, to, bytes), 256, bytes.len() as u16),
        |from, to, bytes| {
            let inner = [&[8, 0, 0, 0, 0, 0, 7, 0], &ethernet(0, from, to, bytes)[..]].concat();
            vec![ethernet(0, at("10.0.0.1:5000"), at("10.0.0.2:4789"), &inner)]
        },
        |from, to, bytes| vec![ethernet(0, from, to, bytes), ethernet(1, from, to, bytes)],
    ];
    wraps.into_iter().map(script).chain([over_tcp()]).collect()
}

/// What a mirror may hold at most.
fn is_bounded(watch: &Watch) {
    let (dialogs, connections) = watch.mirror.remembered();
    assert!(watch.mirror.calls() <= MAX_CALLS as usize && dialogs <= 6 * MAX_CALLS as usize && connections <= 4_096);
    assert!(watch.open <= 2 * 200 * MAX_CALLS as usize);
}

#[test]
fn mutated_frames_never_panic_and_leave_nothing_open() {
    let all = cases(FRAME_CASES);
    let scripts = scripts();
    let links = [Link::Ethernet, Link::Cooked, Link::Cooked2, Link::Ip, Link::Null];
    let mut dice = Dice(20_261_127);
    let (mut told, mut heard, mut let_through) = (0, 0, 0_u64);
    let mut watch = Watch::new(small());
    let sieve = Sieve::new(&small());
    for case in 0..all {
        if case % ROUND == 0 {
            watch.end();
            assert_eq!((watch.open, watch.mirror.calls(), watch.mirror.remembered().0), (0, 0, 0));
            (told, heard) = (told + watch.told.len(), heard + watch.heard.values().map(Vec::len).sum::<usize>());
            watch = Watch::new(small());
        }
        let script = &scripts[(case / ROUND) as usize % scripts.len()];
        let frame = &script[(case % ROUND) as usize % script.len()];
        if ((case % ROUND) as usize).is_multiple_of(script.len()) {
            // the calls of the last time are forgotten
            watch.pass(Duration::from_secs(33));
        }
        let bytes = if dice.below(3) == 0 { mutate(case, frame) } else { frame.clone() };
        watch.link = if dice.below(50) == 0 { links[dice.below(links.len())] } else { Link::Ethernet };
        let_through += u64::from(sieve.lets_through(watch.link, &bytes));
        watch.frame(&bytes);
        watch.pass(Duration::from_millis(dice.roll() % 40));
        is_bounded(&watch);
    }
    println!("{all} frames: {let_through} let through, {told} signals, {heard} packets heard");
    assert!(
        told > all as usize / 100 && heard > all as usize / 100,
        "{told} told, {heard} heard: the mirror was alive"
    );
    assert!(let_through > all / 2);
}

#[test]
fn files_of_both_kinds_are_read_with_their_times() {
    let frames = script(|from, to, bytes| vec![ethernet(0, from, to, bytes)]);
    for pcapng in [false, true] {
        let bytes = file(&frames, pcapng);
        let mut capture = Capture::new(bytes.as_slice()).unwrap();
        for (n, wanted) in frames.iter().enumerate() {
            let frame = capture.next_frame().unwrap().expect("as many as were written");
            assert_eq!((&frame.bytes, frame.link), (wanted, Some(Link::Ethernet)));
            assert_eq!(frame.at.0, 1_795_424_000_000_000 + n as i64 * 20_000, "pcapng: {pcapng}");
        }
        assert_eq!(capture.next_frame(), Ok(None));
        // a file that was cut off ends there
        let mut capture = Capture::new(&bytes[..bytes.len() - 10]).unwrap();
        let read = std::iter::from_fn(|| capture.next_frame().unwrap()).count();
        assert_eq!(read, frames.len() - 1);
    }
    // a frame that is larger than what is read at once
    let large = [frames[0].clone(), vec![7; 200_000], frames[1].clone()];
    for pcapng in [false, true] {
        let bytes = file(&large, pcapng);
        let mut capture = Capture::new(bytes.as_slice()).unwrap();
        let read: Vec<usize> =
            std::iter::from_fn(|| capture.next_frame().unwrap()).map(|frame| frame.bytes.len()).collect();
        assert_eq!(read, large.each_ref().map(Vec::len));
    }
    for other in [&b""[..], b"RIFF....WAVE", &[0; 4_096]] {
        assert!(Capture::new(other).is_err());
    }
}

#[test]
fn mutated_files_never_panic_and_never_last_forever() {
    let all = cases(FILE_CASES);
    let frames = script(|from, to, bytes| vec![ethernet(0, from, to, bytes)]);
    let files = [file(&frames[..12], false), file(&frames[..12], true)];
    let (mut read, mut refused, mut broken) = (0_u64, 0_u64, 0_u64);
    let mut watch = Watch::new(small());
    for case in 0..all {
        let bytes = mutate(case, &files[case as usize % 2]);
        let Ok(mut capture) = Capture::new(bytes.as_slice()) else {
            refused += 1;
            continue;
        };
        // each frame is at least 16 bytes of the file
        for _ in 0..=bytes.len() / 16 {
            match capture.next_frame() {
                Ok(Some(frame)) => {
                    read += 1;
                    assert!(frame.bytes.len() <= bytes.len());
                    if let Some(link) = frame.link {
                        watch.link = link;
                        watch.frame(&frame.bytes);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    broken += 1;
                    break;
                }
            }
        }
        watch.pass(Duration::from_millis(100));
        if case % ROUND == 0 {
            watch.end();
            watch = Watch::new(small());
        }
        is_bounded(&watch);
    }
    println!("{all} files: {read} frames read, {refused} refused, {broken} broken in the middle");
    assert!(read > all && refused > all / 100 && broken > all / 100, "{read} read, {refused} refused, {broken} broken");
}

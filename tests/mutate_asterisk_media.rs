//! Mutated AudioSocket bytes, announcements and chan_websocket messages: no panic, nothing that grows without bound, nothing out of time.

#[path = "common/cases.rs"]
mod cases;
#[path = "common/mutate.rs"]
mod mutate;

use std::time::Duration;

use cases::cases;
use kakehashi::pbx::asterisk::announce::{self, Request};
use kakehashi::pbx::asterisk::audiosocket::{self, Patience};
use kakehashi::pbx::asterisk::timeline::{Format, Packet};
use kakehashi::pbx::asterisk::websocket;
use kakehashi::time::{Mono, Now, Wall};
use mutate::{Dice, mutate};

/// Half of them are mutated, the others lead the machine into all its states.
const FRAMES: u64 = 1_000_000;
const MESSAGES: u64 = 600_000;
/// All of them are mutated: 1.1 million mutated inputs together.
const ANNOUNCEMENTS: u64 = 300_000;
/// A fresh connection after so many messages at most.
const ROUND: u64 = 50;
const PATIENCE: Patience = Patience { unknown: Duration::from_secs(2), idle: Duration::from_secs(30) };

fn start() -> Now {
    Now { mono: Mono(1_000_000_000_000), wall: Wall(1_795_424_000_000_000) }
}

/// What came out of a connection: whole packets, and not more sound than time has passed.
#[derive(Default)]
struct Heard {
    samples: u64,
    packets: u64,
    others: u64,
    ended: u64,
}

impl Heard {
    fn take(&mut self, packet: &Packet) {
        assert!((13..=12 + 1_280).contains(&packet.bytes.len()) && packet.bytes[0] == 0x80);
        let width = if packet.bytes[1] & 0x7f >= 96 { 2 } else { 1 };
        self.samples += (packet.bytes.len() as u64 - 12) / width;
        self.packets += 1;
    }

    /// At most what 16 kHz give in this time, with what may come at once.
    fn in_time(&self, since: Now, now: Now) -> bool {
        self.samples <= 16 * (now.mono.since(since.mono).as_millis() as u64 + 3_000)
    }
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn mutated_frames_never_panic_and_give_no_more_than_time() {
    let sound: Vec<u8> = (0..320u32).map(|at| (at * 7) as u8).collect();
    let frames = [
        frame(0x01, &[7; 16]),
        frame(0x10, &sound),
        frame(0x12, &sound.repeat(2)),
        frame(0x03, b"5"),
        frame(0xff, &[1]),
        frame(0x00, &[]),
        [frame(0x10, &sound), frame(0x03, b"#"), frame(0x10, &sound)].concat(),
    ];
    let all = cases(FRAMES);
    let (mut dice, mut now, mut began) = (Dice(20_261_127), start(), start());
    let (mut total, mut heard) = (Heard::default(), Heard::default());
    let mut connection = audiosocket::Connection::new(now, Format::Slin, PATIENCE);
    let (mut age, mut rate) = (ROUND, 0);
    for case in 0..all {
        if age == ROUND || heard.ended > 0 {
            (began, heard, age, rate) = (now, Heard::default(), 0, case as usize % 2);
            connection = audiosocket::Connection::new(now, Format::Slin, PATIENCE);
            let first = if dice.below(4) == 0 { mutate(case, &frames[0]) } else { frames[0].clone() };
            connection.handle_bytes(now, &first);
        }
        age += 1;
        let bytes = match dice.below(12) {
            0 => &frames[3 + dice.below(4)],
            _ => &frames[1 + rate],
        };
        let bytes = if case % 2 == 0 { bytes.clone() } else { mutate(case, bytes) };
        connection.handle_bytes(now, &bytes);
        drain_frames(&mut connection, &mut heard, &mut total);
        now = now.plus(Duration::from_millis(dice.roll() % 40));
        if dice.below(100) == 0 {
            now = now.plus(Duration::from_millis(dice.roll() % 5_000));
        }
        let mut turns = 0;
        while connection.due().is_some_and(|due| due <= now.mono) {
            connection.handle_timeout(now);
            drain_frames(&mut connection, &mut heard, &mut total);
            turns += 1;
            assert!(turns < 10, "case {case}: a timer that does not move");
        }
        assert!(heard.in_time(began, now), "case {case}: {} samples", heard.samples);
    }
    assert!(total.packets > all / 10 && total.ended > all / 50, "{} {}: it was alive", total.packets, total.ended);
}

fn drain_frames(connection: &mut audiosocket::Connection, heard: &mut Heard, total: &mut Heard) {
    while let Some(output) = connection.poll_output() {
        match output {
            audiosocket::Output::Sound(packet) => {
                heard.take(&packet);
                total.packets += 1;
            }
            audiosocket::Output::Identified(_) => connection.admit(Format::Slin, 7),
            audiosocket::Output::Ended(_) => {
                heard.ended += 1;
                total.ended += 1;
            }
            audiosocket::Output::Send(bytes) => assert!(bytes.len() <= 643),
            audiosocket::Output::Digit(digit) => assert!(digit.is_ascii()),
        }
    }
}

#[test]
fn mutated_control_messages_never_panic() {
    let texts = [
        "MEDIA_START connection_id:k channel:WebSocket/k/0x7f01 channel_id:lab-1.7 format:slin16 optimal_frame_size:640 ptime:20",
        r#"{"event":"MEDIA_START","connection_id":"k","channel":"c","channel_id":"lab-1.7","format":"slin","optimal_frame_size":320,"ptime":20,"channel_variables":{"KAKEHASHI_CALLED":"7001","KAKEHASHI_CALLER":"0663621234"}}"#,
        "DTMF_END digit:5 channel_id:lab-1.7",
        r#"{"event":"DTMF_END","channel_id":"lab-1.7","digit":"5"}"#,
        "MEDIA_XOFF",
        r#"{"event":"MEDIA_XON","channel_id":"x"}"#,
        "STATUS channel_id:x queue_length:3 xon_level:800 xoff_level:900 queue_full:false bulk_media:false media_paused:false",
    ];
    let all = cases(MESSAGES);
    let (mut dice, mut now, mut began) = (Dice(20_261_128), start(), start());
    let (mut total, mut heard) = (Heard::default(), Heard::default());
    let mut connection = websocket::Connection::new(now, PATIENCE);
    let mut age = ROUND;
    for case in 0..all {
        if age == ROUND || heard.ended > 0 {
            (began, heard, age) = (now, Heard::default(), 0);
            connection = websocket::Connection::new(now, PATIENCE);
        }
        age += 1;
        // the start comes after some sound
        let text = texts[if age == 3 { dice.below(2) } else { 2 + dice.below(texts.len() - 2) }];
        let bytes = if case % 2 == 0 { text.as_bytes().to_vec() } else { mutate(case, text.as_bytes()) };
        connection.handle_text(now, &String::from_utf8_lossy(&bytes));
        let kinds = if dice.below(20) == 0 { 7 } else { 4 };
        let length = [320, 640, 640, 160, 0, 321, 65_000][dice.below(kinds)];
        connection.handle_binary(now, &vec![case as u8; length]);
        drain_control(&mut connection, &mut heard, &mut total);
        now = now.plus(Duration::from_millis(dice.roll() % 40));
        let mut turns = 0;
        while connection.due().is_some_and(|due| due <= now.mono) {
            connection.handle_timeout(now);
            drain_control(&mut connection, &mut heard, &mut total);
            turns += 1;
            assert!(turns < 10, "case {case}: a timer that does not move");
        }
        assert!(heard.in_time(began, now), "case {case}: {} samples", heard.samples);
    }
    assert!(total.packets > all / 50 && total.others > all / 500, "{} {}: it was alive", total.packets, total.others);
}

fn drain_control(connection: &mut websocket::Connection, heard: &mut Heard, total: &mut Heard) {
    while let Some(output) = connection.poll_output() {
        match output {
            websocket::Output::Sound(packet) => {
                heard.take(&packet);
                total.packets += 1;
            }
            websocket::Output::Identified(told) => {
                assert!(told.variables.len() <= 64 && told.channel_id.len() <= 256);
                let _ = announce::of_fields(&announce::variable_fields(&told.variables));
                connection.admit(7);
            }
            websocket::Output::Ended(_) => {
                heard.ended += 1;
                total.ended += 1;
            }
            websocket::Output::Send(text) => assert!(text.len() <= websocket::COMMAND_MAX),
            websocket::Output::Digit(_) => total.others += 1,
        }
    }
}

#[test]
fn mutated_announcements_never_panic() {
    let request = "GET /announce?id=40325ec2-5efd-4bd3-805f-53576e581d13&caller=0663621234&name=%E6%A9%8B%E6%9C%AC&pres=allowed_not_screened\
                   &called=7001&uniqueid=lab-1.2&linkedid=lab-1.1 HTTP/1.1\r\nHost: 127.0.0.1:9092\r\nUser-Agent: asterisk-libcurl-agent/1.0\r\n\r\n";
    let all = cases(ANNOUNCEMENTS);
    let (mut calls, mut refused) = (0_u64, 0_u64);
    for case in 0..all {
        match announce::read(&mutate(case, request.as_bytes())) {
            Request::Call(name, call) => {
                calls += 1;
                assert!(name.len() <= 1_024 && call.called.len() <= 1_024 && call.keys.len() <= 2, "case {case}");
            }
            Request::Refused(status) => {
                refused += 1;
                assert!(announce::answer(status).starts_with("HTTP/1.1 "));
            }
            Request::More => {}
        }
    }
    assert!(calls > all / 10 && refused > all / 100, "{calls} {refused} of {all}");
}

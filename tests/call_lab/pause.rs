//! Pause and resume in the middle of a real call: nothing of the pause is on disk, in the text or lost from the ledger.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kakehashi::call::ContactId;
use kakehashi::call::pause::Scope;
use kakehashi::events::{Data, PausedSpan, RecordingPause};
use kakehashi::pbx::Speaker;
use kakehashi::time::Wall;

use crate::bridge::{Bridge, exported, wait_for};
use crate::judge::{Received, complete_document, gap_free, received};
use crate::lab::{finished, lab};
use crate::panel::picture;
use crate::receiver::{PATIENCE, Receiver};
use crate::text::said;
use crate::whole::{documented, play, who};

/// From and to of the pause in the sample call, in seconds after the answer.
const PAUSED: (f64, f64) = (10.0, 22.0);

/// Posts to the panel's API; status and body.
pub(crate) fn post(bridge: &Bridge, path: &str, body: &str) -> (String, String) {
    let address = bridge.panel().trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_string(), body.to_string())
}

/// The contact that was answered, and when.
fn answered(receiver: &Receiver, known: &[ContactId]) -> (ContactId, Instant) {
    let contact = wait_for("the call is answered", PATIENCE, || {
        let events = received(&receiver.accepted());
        let found = events
            .iter()
            .find(|r| r.event.type_name() == "kakehashi.call.answered.v1" && !known.contains(&r.event.contact));
        found.map(|r| r.event.contact)
    });
    (contact, Instant::now())
}

fn sleep_until(since: Instant, seconds: f64) {
    // the telephones play the sample in real time
    std::thread::sleep(Duration::from_secs_f64(seconds).saturating_sub(since.elapsed()));
}

fn pauses(events: &[Received]) -> Vec<(Wall, bool, RecordingPause)> {
    let one = |r: &Received| match &r.event.data {
        Data::RecordingPaused(pause) => Some((r.event.time, true, pause.clone())),
        Data::RecordingResumed(pause) => Some((r.event.time, false, pause.clone())),
        _ => None,
    };
    events.iter().filter_map(one).collect()
}

#[test]
#[ignore = "needs the lab: make lab"]
fn what_is_said_in_a_pause_is_neither_on_disk_nor_in_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let call = play(folder.path(), |bridge, receiver| {
        let call = lab(&["call", "6001", "--who", &who(), "--ring-s", "1", "--talk-s", "34"]);
        let (contact, since) = answered(receiver, &[]);
        sleep_until(since, PAUSED.0);
        let body = r#"{"scope":"both","reason":"カード番号"}"#;
        let paused = ("200".to_string(), r#"{"record":true,"transcribe":true}"#.to_string());
        for _ in 0..2 {
            assert_eq!(post(bridge, &format!("/v1/contacts/{contact}/pause"), body), paused, "twice is once");
        }
        let (mut browser, text) =
            picture(bridge, "panel-paused", &["録音と文字起こしを一時停止しています", "再開する"]);
        assert!(browser.wait().unwrap().success(), "see above");
        assert!(std::fs::read_to_string(text).unwrap().contains("停止"));
        assert!(since.elapsed().as_secs_f64() < PAUSED.1, "the browser was too slow for this test");
        sleep_until(since, PAUSED.1);
        let resumed = ("200".to_string(), r#"{"record":false,"transcribe":false}"#.to_string());
        assert_eq!(post(bridge, &format!("/v1/contacts/{contact}/resume"), ""), resumed);
        for (path, body, status, word) in [
            (format!("/v1/contacts/{contact}/pause"), "{\"scope\":\"all\"}", "400", "transcribe"),
            ("/v1/contacts/1/pause".to_string(), "", "400", "UUID"),
            (format!("/v1/contacts/{}/pause", uuid::Uuid::nil()), "", "404", "GET /v1/contacts"),
        ] {
            let (got, said) = post(bridge, &path, body);
            assert!(got == status && said.contains(word), "{path}: {got} {said}");
        }
        call
    });
    gap_free(&call.events).unwrap();
    let told = pauses(&call.events);
    let [(from, true, first), (to, false, _)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(first.reason.as_deref(), Some("カード番号"));
    let document = call.document();
    assert_eq!(document.pauses, [PausedSpan { scope: Scope::Both, from: *from, to: *to }]);

    let lasted = to.since(*from).as_millis() as u64;
    for one in &document.coverage {
        let c = &one.coverage;
        println!("{:?}: {c:?}", one.speaker);
        assert_eq!(crate::judge::sum(c), c.duration);
        assert!(c.paused.abs_diff(lasted) <= 1, "{c:?}, the pause lasted {lasted} ms");
        assert_eq!((c.lost, c.failed, c.pending), (0, 0, 0));
        assert!(c.transcribed > 1_000, "something was said before and after");
    }
    for turn in &document.turns {
        let speaks_in_it = turn.start >= *from && turn.end <= *to;
        assert!(!speaks_in_it, "{:?} was said in the pause", turn.text);
    }
    let (whole, played) = (call.text(Speaker::Caller) + &call.text(Speaker::Agent), said());
    let answer = call.events.iter().find(|r| r.event.type_name() == "kakehashi.call.answered.v1").unwrap().event.time;
    let at = |time: Wall| time.since(answer).as_secs_f64();
    println!("paused from {:.2} s to {:.2} s; text: {whole}", at(*from), at(*to));
    let inside = played.iter().filter(|one| one.start > at(*from) + 0.5 && one.end < at(*to) - 0.5);
    let missing: Vec<&str> = inside.map(|one| one.text.as_str()).collect();
    assert!(!missing.is_empty(), "nobody spoke in the pause: the test shows nothing");
    for text in missing {
        let words: String = text.chars().take(8).collect();
        assert!(!whole.contains(&words), "{words} was said in the pause");
    }
    silent_on_disk(&call.events, &call.sound, *from, *to);
}

/// Not one sample of the pause is there, and there is sound around it.
fn silent_on_disk(events: &[Received], sound: &[Vec<i16>; 2], from: Wall, to: Wall) {
    let recording = events.iter().find_map(|r| match &r.event.data {
        Data::RecordingAvailable(recording) => Some(recording),
        _ => None,
    });
    let recording = recording.unwrap();
    assert_eq!(recording.pauses.len(), 1);
    let origin = recording.streams.iter().map(|stream| stream.origin).min().unwrap();
    let sample = |at: Wall| (at.since(origin).as_micros() * 8_000 / 1_000_000) as usize;
    for (channel, samples) in sound.iter().enumerate() {
        // the export places a stream to the sample, its parts to a few
        let (from, to) = (sample(from) + 8, sample(to) - 8);
        let loud = samples[from..to].iter().filter(|sample| **sample != 0).count();
        assert_eq!(loud, 0, "channel {channel}: {loud} samples of {} in the pause are sound", to - from);
        let around = [&samples[..from], &samples[to..]];
        assert!(around.iter().all(|part| part.iter().any(|sample| sample.unsigned_abs() > 500)), "channel {channel}");
    }
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_call_that_is_paused_when_the_bridge_is_killed_is_paused_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let bridge = Bridge::start(folder.path(), &receiver);
    let call = lab(&["call", "6001", "--who", &who(), "--ring-s", "1", "--talk-s", "30"]);
    let (first, since) = answered(&receiver, &[]);
    sleep_until(since, 6.0);
    assert_eq!(post(&bridge, &format!("/v1/contacts/{first}/pause"), "").0, "200");
    sleep_until(since, 9.0);
    bridge.kill();
    let bridge = Bridge::again(folder.path());
    let (second, _) = answered(&receiver, &[first]);
    let told = pauses(&received(&receiver.accepted()));
    let (_, paused, told) = told.last().unwrap();
    assert!(*paused && told.record_paused && told.transcribe_paused);
    assert_eq!(told.reason.as_deref(), Some("bridge_restart"));
    documented(&receiver, &[first]);
    finished(call);
    bridge.stop();
    let events = received(&receiver.accepted());
    let document = complete_document(&events, second).unwrap();
    assert!(document.turns.is_empty(), "{:?}", document.turns);
    for one in &document.coverage {
        let c = &one.coverage;
        println!("{:?}: {c:?}", one.speaker);
        assert_eq!((c.paused, crate::judge::sum(c)), (c.duration, c.duration));
    }
    let sound = exported(folder.path(), &second.to_string());
    assert!(sound.iter().all(|channel| channel.iter().all(|sample| *sample == 0)), "nothing of it is on disk");
    let document = complete_document(&events, first).unwrap();
    assert!(document.coverage.iter().all(|one| one.coverage.paused > 1_000), "{:?}", document.coverage);
}

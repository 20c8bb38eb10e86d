//! Four times as much speech as the recogniser can do: nothing is lost, every stream's texts keep their order, and the delay is told.
//! A real `kakehashi serve` with one real recogniser; callers by SIP who speak in true time.
//!
//! `KAKEHASHI_OVERLOAD_S` (8) says for how long they speak; what is left over takes three times as long afterwards. `make soak` takes 600 s.
#![cfg(all(feature = "whisper", feature = "web"))]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[path = "common/hook.rs"]
mod hook;
#[path = "common/scene.rs"]
mod scene;
#[path = "common/serve.rs"]
mod serve;
#[path = "common/talk.rs"]
mod talk;
#[path = "common/told.rs"]
mod told;

use hook::Hook;
use kakehashi::events::{Data, Event, TranscriptFinal};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use scene::{Scene, set};
use serve::{Wanted, resident_kib};
use talk::{Call, converse};
use told::{Told, by_caller, e164};

/// How much more than it can do the recogniser is given.
const TIMES: f64 = 4.0;
const SET: &str = "samples/eval";
/// Most streams that the generator makes.
const MOST_STREAMS: usize = 600;
/// A text may begin or end so much before or after the speech that it is of, in samples (pre-roll, tail).
const AROUND: usize = 4_800;
/// While nothing new comes for so long, something is lost.
const PATIENCE: Duration = Duration::from_secs(120);

fn seconds() -> f64 {
    std::env::var("KAKEHASHI_OVERLOAD_S").ok().and_then(|text| text.parse().ok()).unwrap_or(8.0)
}

/// Seconds of sound that one recogniser turns into text in a second of processor time, by `kakehashi eval` on the same utterances. On a machine
/// that has other work too it does less.
fn speed() -> f64 {
    let program = env!("CARGO_BIN_EXE_kakehashi");
    let arguments = ["eval", SET, "--model", "models/kakehashi-lab-ja.bin", "--plain", "--json", "--resamples", "1"];
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    };
    let before = used();
    let output = Command::new(program).args(arguments).output().unwrap();
    let spent = used() - before;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["seconds"].as_f64().unwrap() / spent
}

/// Calls of one speaker each that together speak `TIMES` of what one recogniser can do.
fn scenes(speed: f64, seconds: f64) -> Vec<Scene> {
    let (set, mut all, mut offered) = (set(Path::new(SET)), Vec::new(), 0.0);
    while offered < TIMES * speed * seconds && all.len() < MOST_STREAMS {
        let scene = Scene::play(&set, 1, seconds, all.len() as u64);
        offered += scene.speech_s();
        all.push(scene);
    }
    all
}

fn is_final(event: &Event) -> bool {
    matches!(event.data, Data::TranscriptFinal(_))
}

/// Seconds from when the last of an utterance was sent to its text.
fn delay(at: Instant, text: &TranscriptFinal, sent: &[Instant]) -> f64 {
    let packet = (text.end_ms / 20) as usize;
    at.saturating_duration_since(sent[packet.min(sent.len() - 1)]).as_secs_f64()
}

/// Everything that was said has a text where it was said.
fn missing(scene: &Scene, told: &Told) -> usize {
    let heard = |from: usize, to: usize| {
        told.finals.iter().any(|(_, text)| {
            let (start, end) = (text.start_ms as usize * 8, text.end_ms as usize * 8);
            start < to + AROUND && end + AROUND > from && !text.text.is_empty()
        })
    };
    scene.said.iter().filter(|said| !heard(said.from, said.to)).count()
}

#[test]
fn four_times_the_capacity_delays_texts_and_loses_none() {
    let (seconds, speed) = (seconds(), speed());
    let scenes = scenes(speed, seconds);
    let speech: f64 = scenes.iter().map(Scene::speech_s).sum();
    println!(
        "one recogniser does {speed:.1} s of sound in a second of processor time; {} streams speak {speech:.0} s in {seconds} s",
        scenes.len()
    );
    let (folder, hook) = (tempfile::tempdir().unwrap(), Hook::listen(0));
    // little waits in memory, so that most of what waits is read back from disk
    let speech_settings = "workers = 1\nqueue_live_seconds = 60\nnice = 0";
    let bridge = Wanted { folder: folder.path(), hook: hook.port, speech: speech_settings, exchange: None }.start();
    let before = resident_kib(bridge.pid());
    let number = |n: usize| format!("0664{n:06}");
    let place = |(n, scene): (usize, &Scene)| Call::place(bridge.sip(), &number(n), scene.lines.clone());
    let calls: Vec<Call> = scenes.iter().enumerate().map(place).collect();
    let began = Instant::now();
    let sent = converse(&calls);
    let (spoke, so_far) = (began.elapsed().as_secs_f64(), hook.count(is_final));
    let told_behind = bridge.metric("kakehashi_recognition_behind_seconds");
    let during = resident_kib(bridge.pid());
    hook.documents(calls.len(), PATIENCE);
    let whole = began.elapsed().as_secs_f64();
    bridge.stop();

    let arrived = hook.arrived();
    let told = by_caller(&arrived);
    let finals = arrived.iter().filter(|(_, event)| is_final(event)).count();
    let delays = told.values().flat_map(|told| &told.delayed);
    let behind = delays.clone().map(|delayed| delayed.behind_ms).max().unwrap_or(0);
    println!(
        "{finals} texts, {so_far} of them while people spoke ({spoke:.1} s), all documents whole after {whole:.1} s"
    );
    println!("{} times transcript.delayed, at most {behind} ms behind when told", delays.count());
    let mut late: Vec<f64> =
        told.values().flat_map(|told| &told.finals).map(|(at, text)| delay(*at, text, &sent)).collect();
    late.sort_by(f64::total_cmp);
    let share = |of: f64| late[((late.len() - 1) as f64 * of) as usize];
    println!(
        "from the end of speech to its text: p50 {:.1} s, p95 {:.1} s, at most {:.1} s",
        share(0.5),
        share(0.95),
        share(1.0)
    );
    println!("memory of the bridge: {before} KiB before, {during} KiB at the end of the calls");
    let wrong: Vec<_> = (0..scenes.len())
        .filter_map(|n| {
            told.get(&e164(&number(n)))
                .map_or(Some("nothing was told of it".into()), |t| t.check().err().map(|e| format!("call {n}: {e}")))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), scenes.len(), wrong.first());
    let (said, lost) = scenes.iter().enumerate().fold((0, 0), |(said, lost), (n, scene)| {
        (said + scene.said.len(), lost + missing(scene, &told[&e164(&number(n))]))
    });
    println!("{said} utterances were said, {lost} have no text");
    assert_eq!(lost, 0);
    // the same judge where one text is not there
    let mut less = told[&e164(&number(0))].clone();
    less.finals.pop();
    assert!(missing(&scenes[0], &less) > 0 && less.check().is_err(), "a text that is lost must be noticed");
    assert!(finals > 2 * so_far, "it was no overload: {so_far} of {finals} texts came while people spoke");
    let told_behind = told_behind.expect("/metrics says how far behind it is");
    println!("/metrics at the end of the calls: {told_behind:.1} s behind");
    assert!(told_behind > 0.0, "/metrics says that nothing is late");
    assert!(behind > 0, "nobody was told that texts come late");
}

//! Real worker processes on the sample call: text arrives, also when a worker is killed or stopped in the middle of an utterance.
#![cfg(feature = "whisper")]

#[path = "common/pool.rs"]
mod pool;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kakehashi::bridge::Input;
use kakehashi::bridge::workers::spawn_with;
use kakehashi::call::scope::Scopes;
use kakehashi::dictionary::{Dictionary, Settings as Tuning, Source};
use kakehashi::pbx::StreamId;
use kakehashi::speech::settings::Settings;
use kakehashi::speech::{Failure, Hypothesis, Job, JobKind, Utterance};
use kakehashi::time::Mono;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pool::{start, utterances};
use tokio::sync::mpsc;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);

/// A worker is taken for stopped late: on a busy machine one that works takes its time too.
fn settings(workers: u16) -> Settings {
    Settings { workers, job_timeout_ms: 30_000, job_timeout_per_second_ms: 2_000, ..Settings::default() }
}

fn job(id: u64, stream: u128, utterance: &Utterance) -> Job {
    let (pcm, rate) = (utterance.pcm.clone(), utterance.rate);
    let (kind, stream) = (JobKind::LiveFinal, StreamId(Uuid::from_u128(stream)));
    let scopes = Scopes::default();
    Job { id, kind, stream, utterance: utterance.number, rate, pcm, scopes, since: Mono(0), deadline: None }
}

fn dictionary() -> Arc<Dictionary> {
    let bytes = std::fs::read("samples/dictionary.csv").unwrap();
    Arc::new(Dictionary::load(&[Source { name: "dictionary.csv", bytes: &bytes }], &Tuning::default()).unwrap())
}

async fn outcomes(inputs: &mut mpsc::Receiver<Input>, count: usize) -> Vec<(u64, Result<Hypothesis, Failure>)> {
    pool::outcomes(inputs, count, PATIENCE).await
}

fn text_of(results: &HashMap<u64, Result<Hypothesis, Failure>>, ids: impl Iterator<Item = u64>) -> String {
    ids.map(|id| results[&id].as_ref().unwrap().text.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_call_becomes_text_in_the_order_of_each_stream_and_a_new_dictionary_is_used_at_once() {
    let (workers, mut inputs) = start(&settings(2), Arc::new(Dictionary::empty())).await;
    assert_eq!(workers.pids().len(), 2);
    let said = utterances();
    for (id, (stream, utterance)) in said.iter().enumerate() {
        workers.submit(job(id as u64, *stream, utterance)).unwrap();
    }
    let got = outcomes(&mut inputs, said.len()).await;
    for stream in 0..2 {
        let ids: Vec<u64> = got.iter().map(|one| one.0).filter(|id| said[*id as usize].0 == stream).collect();
        assert!(ids.is_sorted(), "stream {stream} came as {ids:?}");
    }
    let results: HashMap<u64, _> = got.into_iter().collect();
    let agent = text_of(&results, (0..said.len() as u64).filter(|id| said[*id as usize].0 == 1));
    for part in
        ["お電話ありがとうございます", "コールセンター", "地域活動協議会", "お手続きいただけます", "午後5時30分"]
    {
        assert!(agent.contains(part), "{part} in {agent}");
    }
    assert!(results.values().all(|result| result.as_ref().unwrap().dictionary.is_empty()));

    let words = dictionary();
    let words = std::sync::Arc::new(words);
    workers.set_dictionary(&words);
    workers.submit(job(100, 0, &said[0].1)).unwrap();
    let hypothesis = outcomes(&mut inputs, 1).await.remove(0).1.unwrap();
    assert_eq!((hypothesis.dictionary.as_str(), hypothesis.model.as_str()), (words.version(), "kakehashi-lab-ja"));
    let counters = workers.counters();
    assert_eq!((counters.decodes, counters.failures, counters.restarts), (said.len() as u64 + 1, 0, 0));
    assert_eq!(counters.load.waiting + counters.load.running, 0);
    let pids = workers.pids();
    workers.stop().await;
    assert!(pids.iter().all(|pid| gone(*pid)), "no worker is left behind");
}

/// Whether a process has ended (or only waits to be reaped).
fn gone(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
}

/// Sends `signal` to the only worker while it decodes; every job still gets its text.
async fn survives(signal: Signal) {
    let (workers, mut inputs) = start(&settings(1), dictionary()).await;
    let said: Vec<_> = utterances().into_iter().filter(|one| one.0 == 1).collect();
    let before = workers.pids();
    for (id, (stream, utterance)) in said.iter().enumerate() {
        workers.submit(job(id as u64, *stream, utterance)).unwrap();
    }
    let mut got = outcomes(&mut inputs, 1).await;
    while workers.counters().load.running == 0 {
        tokio::task::yield_now().await;
    }
    kill(Pid::from_raw(before[0] as i32), signal).unwrap();
    got.extend(outcomes(&mut inputs, said.len() - 1).await);
    let ids: Vec<u64> = got.iter().map(|one| one.0).collect();
    assert_eq!(ids, (0..said.len() as u64).collect::<Vec<_>>(), "each once, in order");
    let results: HashMap<u64, _> = got.into_iter().collect();
    let text = text_of(&results, 0..said.len() as u64);
    assert!(text.contains("地域活動協議会") && text.contains("午後5時30分"), "{text}");
    let counters = workers.counters();
    assert_eq!((counters.restarts, counters.failures), (1, 0));
    assert_ne!(workers.pids(), before);
    workers.stop().await;
    assert!(gone(before[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_in_the_middle_of_an_utterance_costs_no_text() {
    survives(Signal::SIGKILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_in_the_middle_of_an_utterance_costs_no_text() {
    survives(Signal::SIGSTOP).await;
}

/// Jobs of eight streams at once on two workers.
const LOAD: u64 = 16;
/// How often.
const LOADS: u64 = 3;

/// The texts of loads of jobs; in the middle of each load a worker is disturbed by the next of `signals`. What one signal hit is done before the
/// next one comes: an utterance on which two workers die is given up.
async fn under_load(signals: &[Signal]) -> Vec<String> {
    let (workers, mut inputs) = start(&settings(2), dictionary()).await;
    let said = utterances();
    let mut got = Vec::new();
    for load in 0..LOADS {
        for id in load * LOAD..(load + 1) * LOAD {
            workers.submit(job(id, u128::from(id % 8), &said[id as usize % said.len()].1)).unwrap();
        }
        if let Some(signal) = signals.get(load as usize) {
            let pid = loop {
                match workers.pids().get(load as usize % 2) {
                    // each of the two is at work, and more is waiting
                    Some(pid) if workers.counters().load.running == 2 => break *pid,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            kill(Pid::from_raw(pid as i32), *signal).unwrap();
        }
        got.extend(outcomes(&mut inputs, LOAD as usize).await);
        let began = std::time::Instant::now();
        while workers.counters().restarts < signals.len().min(load as usize + 1) as u64 {
            assert!(began.elapsed() < PATIENCE, "nobody takes the place of the worker that was disturbed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let counters = workers.counters();
    assert_eq!((counters.restarts, counters.failures, counters.decodes), (signals.len() as u64, 0, LOAD * LOADS));
    workers.stop().await;
    for stream in 0..8 {
        let ids: Vec<u64> = got.iter().map(|one| one.0).filter(|id| id % 8 == stream).collect();
        assert!(ids.is_sorted() && ids.len() == (LOAD * LOADS) as usize / 8, "stream {stream} came as {ids:?}");
    }
    let results: HashMap<u64, _> = got.into_iter().collect();
    (0..LOAD * LOADS).map(|id| text_of(&results, std::iter::once(id))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_killed_and_stopped_under_load_cost_no_text() {
    let undisturbed = under_load(&[]).await;
    let disturbed = under_load(&[Signal::SIGKILL, Signal::SIGKILL, Signal::SIGSTOP]).await;
    assert_eq!(disturbed, undisturbed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_utterance_on_which_two_workers_die_is_told_as_failed_and_the_next_one_is_heard() {
    let (workers, mut inputs) = start(&settings(1), Arc::new(Dictionary::empty())).await;
    let said: Vec<_> = utterances().into_iter().filter(|one| one.0 == 1).collect();
    for try_number in 1..=2 {
        // stopped first, so that it cannot finish before it is killed
        let pid = loop {
            match workers.pids().first() {
                Some(pid) if workers.counters().restarts + 1 == try_number => break Pid::from_raw(*pid as i32),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        kill(pid, Signal::SIGSTOP).unwrap();
        if try_number == 1 {
            workers.submit(job(1, 1, &said[0].1)).unwrap();
            workers.submit(job(2, 1, &said[1].1)).unwrap();
        }
        while workers.counters().load.running == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        kill(pid, Signal::SIGKILL).unwrap();
    }
    let got = outcomes(&mut inputs, 2).await;
    // it died with the utterance, or while it was handed over
    let died = |reason: &str| reason.contains("ended") || reason.contains("takes nothing more");
    assert!(matches!(&got[0], (1, Err(Failure::Failed(reason))) if died(reason)), "{:?}", got[0]);
    assert!(!got[1].1.as_ref().unwrap().text.is_empty());
    assert_eq!(workers.counters().failures, 1);
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_does_not_wait_for_the_partial_of_its_utterance() {
    let (workers, mut inputs) = start(&settings(1), Arc::new(Dictionary::empty())).await;
    let said: Vec<_> = utterances().into_iter().filter(|one| one.0 == 1).collect();
    // 28 s take long enough to be met in the middle
    let long: Arc<[i16]> = said.iter().flat_map(|one| one.1.pcm.to_vec()).take(28 * 8_000).collect();
    let partial = Job { kind: JobKind::Refresh, pcm: long, ..job(1, 1, &said[0].1) };
    workers.submit(partial).unwrap();
    while workers.counters().load.running == 0 {
        tokio::task::yield_now().await;
    }
    workers.submit(job(2, 1, &said[0].1)).unwrap();
    let got = outcomes(&mut inputs, 2).await;
    assert_eq!(got[0], (1, Err(Failure::Withdrawn)), "it was given up, or its text is not wanted");
    assert!(!got[1].1.as_ref().unwrap().text.is_empty());
    let counters = workers.counters();
    assert_eq!((counters.restarts, counters.failures, counters.counts.partials_aborted), (0, 0, 1));
    // one that is done gives its text, quicker than or as the final
    workers.submit(Job { kind: JobKind::FirstPartial, ..job(3, 1, &said[1].1) }).unwrap();
    assert!(!outcomes(&mut inputs, 1).await[0].1.as_ref().unwrap().text.is_empty());
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_whose_worker_is_killed_is_not_tried_again() {
    let (workers, mut inputs) = start(&settings(1), Arc::new(Dictionary::empty())).await;
    let said: Vec<_> = utterances().into_iter().filter(|one| one.0 == 1).collect();
    let pid = Pid::from_raw(workers.pids()[0] as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    workers.submit(Job { kind: JobKind::FirstPartial, ..job(1, 1, &said[0].1) }).unwrap();
    while workers.counters().load.running == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    workers.submit(job(2, 2, &said[1].1)).unwrap();
    kill(pid, Signal::SIGKILL).unwrap();
    let got = outcomes(&mut inputs, 2).await;
    assert!(matches!(&got[0], (1, Err(Failure::Failed(_)))), "{:?}", got[0]);
    assert!(!got[1].1.as_ref().unwrap().text.is_empty());
    let counters = workers.counters();
    assert_eq!((counters.restarts, counters.failures, counters.counts.partials_failed), (1, 0, 1));
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_used_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read("models/kakehashi-lab-ja.bin").unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let manifest = std::fs::read_to_string("models/kakehashi-lab-ja.toml").unwrap();
    let (before, after) = manifest.split_once("sha256 = \"").unwrap();
    file("other.toml", format!("{before}sha256 = \"{}{}", "0".repeat(64), &after[64..]).as_bytes());
    for (model, expected) in [
        (folder.path().join("none.bin"), vec!["none.bin", "ggml format", "`[speech] model`"]),
        (file("half.bin", &whole[..whole.len() / 2]), vec!["half.bin", "ends at byte 14134812", "again"]),
        (file("foreign.bin", b"RIFF0000WAVEfmt "), vec!["foreign.bin", "begins with", "ggml"]),
        (file("other.bin", &whole), vec!["other.bin", "SHA-256", "manifest", "another"]),
    ] {
        let (hub, _inputs) = mpsc::channel(1);
        let executable = PathBuf::from(env!("CARGO_BIN_EXE_kakehashi"));
        let settings = Settings { model, ..settings(1) };
        let error = spawn_with(executable, &settings, Arc::new(Dictionary::empty()), hub).await.unwrap_err();
        let said = error.to_string();
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    }
    let (hub, _inputs) = mpsc::channel(1);
    let error = spawn_with("/nowhere/kakehashi".into(), &settings(1), Arc::new(Dictionary::empty()), hub).await;
    assert!(error.unwrap_err().to_string().contains("/nowhere/kakehashi"));
}

#[test]
fn a_worker_ends_with_its_bridge_also_while_it_decodes() {
    use kakehashi::speech::protocol::{Hello, Message, Sound, ToWorker, VERSION};
    use std::io::{Read, Write};
    let mut worker = std::process::Command::new(env!("CARGO_BIN_EXE_kakehashi"))
        .arg("worker")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut frames = Vec::new();
    let model = Path::new("models/kakehashi-lab-ja.bin").to_path_buf();
    let hello = Hello { protocol: VERSION, model, language: "ja".into(), threads: 1, nice: 0 };
    ToWorker::Hello(hello).write(&mut frames).unwrap();
    let mut input = worker.stdin.take().unwrap();
    input.write_all(&frames).unwrap();
    let mut ready = [0; 5];
    worker.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(ready[4], 65);
    frames.clear();
    for id in 0..50 {
        let (pcm, scopes) = (utterances()[0].1.pcm.clone(), Scopes::default());
        let sound = Sound { id, kind: JobKind::LiveFinal, rate: 8_000, pcm, scopes };
        ToWorker::Job(sound).write(&mut frames).unwrap();
    }
    let feeding = std::thread::spawn(move || {
        let _ = input.write_all(&frames[..frames.len() / 25]);
        drop(input); // the bridge is gone
    });
    feeding.join().unwrap();
    let began = std::time::Instant::now();
    worker.wait().unwrap();
    assert!(began.elapsed() < PATIENCE);
}

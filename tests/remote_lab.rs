//! whisper.cpp's own server as the recogniser on another machine: the sample call by it, with its death in the middle.
//! Needs the lab: make lab
#![cfg(feature = "whisper")]

#[path = "common/pool.rs"]
mod pool;

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kakehashi::bridge::Input;
use kakehashi::bridge::workers::Workers;
use kakehashi::call::scope::Scopes;
use kakehashi::dictionary::{Dictionary, Settings as Tuning, Source};
use kakehashi::pbx::StreamId;
use kakehashi::speech::remote::Settings as RemoteSettings;
use kakehashi::speech::settings::Settings;
use kakehashi::speech::{Hypothesis, Job, JobKind, Utterance};
use kakehashi::time::Mono;
use pool::{utterances, utterances_of};
use tokio::sync::mpsc;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(300);
const MODEL: &str = "models/kakehashi-lab-ja.bin";

/// whisper-server at work; ends with the test.
struct WhisperServer(Child);

impl WhisperServer {
    fn start(port: u16) -> WhisperServer {
        let child = Command::new("tests/lab/whisper_server.sh")
            .args([MODEL, &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tests/lab/setup.sh --root has been run");
        let mut server = WhisperServer(child);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                server.0.try_wait().unwrap().is_none(),
                "whisper-server ended; tests/lab/whisper_server.sh says why"
            );
            std::thread::yield_now();
        }
        server
    }
}

impl Drop for WhisperServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn start(settings: &Settings) -> (Workers, mpsc::Receiver<Input>) {
    pool::start(settings, Arc::new(Dictionary::empty())).await
}

fn submit(workers: &Workers, said: &[(u128, Utterance)]) {
    for (id, (stream, utterance)) in said.iter().enumerate() {
        let (pcm, rate, stream) = (utterance.pcm.clone(), utterance.rate, StreamId(Uuid::from_u128(*stream)));
        let (kind, since, scopes) = (JobKind::LiveFinal, Mono(0), Scopes::default());
        let job = Job { id: id as u64, kind, stream, utterance: 0, rate, pcm, scopes, since, deadline: None };
        workers.submit(job).unwrap();
    }
}

/// The hypotheses by number of the utterance.
async fn hypotheses(inputs: &mut mpsc::Receiver<Input>, count: usize) -> Vec<Hypothesis> {
    let mut got = pool::outcomes(inputs, count, PATIENCE).await;
    got.sort_by_key(|one| one.0);
    got.into_iter().map(|one| one.1.unwrap()).collect()
}

fn text(hypotheses: &[Hypothesis]) -> String {
    hypotheses.iter().map(|hypothesis| hypothesis.text.as_str()).collect::<Vec<_>>().join("\n")
}

fn remote(port: u16) -> Settings {
    let mut remote = RemoteSettings {
        url: format!("http://127.0.0.1:{port}/v1/audio/transcriptions"),
        model: "whisper-server".into(),
        concurrency: 2,
        timeout_ms: 60_000,
        ..RemoteSettings::default()
    };
    // it would look for the language a second time
    remote.fields.insert("no_language_probabilities".into(), "true".into());
    Settings { remote, workers: 1, ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn the_sample_call_by_whisper_server_is_the_text_of_the_local_model_and_the_dictionary_corrects_it() {
    let mut said = utterances();
    // names that the model does not know
    for name in [2, 11, 12, 14, 16] {
        said.extend(utterances_of(&format!("samples/eval/utterances/{name:05}.wav")));
    }
    let (workers, mut inputs) = start(&Settings { workers: 1, ..Settings::default() }).await;
    submit(&workers, &said);
    let local = hypotheses(&mut inputs, said.len()).await;
    workers.stop().await;

    let port = free_port();
    let _server = WhisperServer::start(port);
    let settings = remote(port);
    let (workers, mut inputs) = start(&settings).await;
    submit(&workers, &said);
    let far = hypotheses(&mut inputs, said.len()).await;
    let counters = workers.counters();
    assert_eq!((counters.remote, counters.failures), (said.len() as u64, 0));
    workers.stop().await;
    let same = local.iter().zip(&far).filter(|(a, b)| a.text == b.text).count();
    println!("{same} of {} utterances have the same text; whisper-server:\n{}", said.len(), text(&far));
    let (ours, theirs) = (text(&local), text(&far));
    for part in ["お電話ありがとうございます", "コールセンター", "地域活動協議会", "午後5時30分"]
    {
        assert!(ours.contains(part) && theirs.contains(part), "{part} in\n{ours}\nand\n{theirs}");
    }
    assert!(same * 2 > said.len(), "{ours}\n\n{theirs}");
    assert!(far.iter().filter(|one| !one.text.is_empty()).all(|one| one.confidence > 0.3 && one.tokens.len() > 1));
    // correction by sound works on a text of anybody
    let bytes = std::fs::read("samples/dictionary.csv").unwrap();
    let dictionary = Dictionary::load(&[Source { name: "dictionary.csv", bytes: &bytes }], &Tuning::default()).unwrap();
    let corrected: usize = far.iter().map(|hypothesis| dictionary.correct(hypothesis).corrections.len()).sum();
    let here: usize = local.iter().map(|hypothesis| dictionary.correct(hypothesis).corrections.len()).sum();
    println!("corrections: {corrected} in the server's text, {here} in the local one");
    assert!(corrected > 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn a_whisper_server_that_dies_in_the_middle_costs_no_text() {
    for fallback in [false, true] {
        let said = utterances();
        let port = free_port();
        let server = WhisperServer::start(port);
        let mut settings = remote(port);
        settings.remote.fallback = fallback;
        let (workers, mut inputs) = start(&settings).await;
        submit(&workers, &said);
        while workers.counters().remote < 2 || workers.counters().load.running == 0 {
            tokio::task::yield_now().await;
        }
        drop(server);
        let again = (!fallback).then(|| WhisperServer::start(port));
        let got = hypotheses(&mut inputs, said.len()).await;
        let whole = text(&got);
        assert!(whole.contains("地域活動協議会") && whole.contains("午後5時30分"), "{whole}");
        let here = got.iter().filter(|one| one.model == "kakehashi-lab-ja").count();
        println!("fallback {fallback}: {here} of {} utterances by the local model", said.len());
        assert_eq!(here > 0, fallback);
        assert_eq!(workers.counters().failures, 0);
        workers.stop().await;
        drop(again);
    }
}

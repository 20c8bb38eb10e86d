//! Workers on other machines by a real NATS server: the sample call, while machines die, are cut off, stand still, or the server is killed.
//! Needs the lab: make lab
#![cfg(feature = "whisper")]

#[path = "common/nats.rs"]
mod nats;
#[path = "common/pool.rs"]
mod pool;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kakehashi::bridge::Input;
use kakehashi::bridge::workers::Workers;
use kakehashi::call::scope::Scopes;
use kakehashi::dictionary::{Dictionary, Settings as Tuning, Source};
use kakehashi::pbx::StreamId;
use kakehashi::speech::nats::{Beat, Settings as NatsSettings};
use kakehashi::speech::settings::Settings;
use kakehashi::speech::{Failure, Hypothesis, Job, JobKind, Utterance};
use kakehashi::time::Mono;
use nats::{Machine, Server};
use pool::utterances;
use tokio::sync::mpsc;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(300);
const MODEL: &str = "models/kakehashi-lab-ja.bin";

fn settings(server: &Server) -> Settings {
    let nats = NatsSettings { url: server.url("127.0.0.1"), ..NatsSettings::default() };
    Settings { model: MODEL.into(), nats, ..Settings::default() }
}

/// Finals: each utterance, with its place as its id.
fn submit(workers: &Workers, said: &[(u128, Utterance)]) {
    for (id, (stream, utterance)) in said.iter().enumerate() {
        workers.submit(job(id as u64, JobKind::LiveFinal, *stream, utterance)).unwrap();
    }
}

fn job(id: u64, kind: JobKind, stream: u128, utterance: &Utterance) -> Job {
    let (pcm, rate, stream) = (utterance.pcm.clone(), utterance.rate, StreamId(Uuid::from_u128(stream)));
    let (since, scopes, utterance) = (Mono(0), Scopes::default(), id as u32);
    Job { id, kind, stream, utterance, rate, pcm, scopes, since, deadline: None }
}

/// What came of `count` jobs, in the order of their ids; and nothing comes twice.
async fn texts(workers: Workers, inputs: &mut mpsc::Receiver<Input>, count: usize) -> Vec<String> {
    let mut got = BTreeMap::new();
    for (id, result) in pool::outcomes(inputs, count, PATIENCE).await {
        assert!(got.insert(id, result.unwrap().text).is_none(), "final {id} came twice");
    }
    workers.stop().await;
    while let Ok(input) = inputs.try_recv() {
        assert!(!matches!(input, Input::Recognized(_)), "an outcome after all had come");
    }
    got.into_values().collect()
}

/// The same by this machine's own worker.
async fn texts_here(said: &[(u128, Utterance)]) -> Vec<String> {
    let local = Settings { workers: 1, ..Settings::default() };
    let (workers, mut inputs) = pool::start(&local, Arc::new(Dictionary::empty())).await;
    submit(&workers, said);
    texts(workers, &mut inputs, said.len()).await
}

/// Waits until so many workers on other machines are there.
async fn there(workers: &Workers, count: usize) {
    let all = async {
        while workers.counters().machines != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{count} workers in time"));
}

/// The beats of all workers.
async fn beats(server: &Server) -> async_nats::Subscriber {
    let client = async_nats::connect(server.url("127.0.0.1")).await.unwrap();
    client.subscribe("kakehashi.speech.main.beat").await.unwrap()
}

/// Waits until the worker of this name tells that it is in the middle of a job.
async fn until_working(beats: &mut async_nats::Subscriber, worker: &str) {
    let working = async {
        while let Some(message) = beats.next().await {
            let beat: Beat = serde_json::from_slice(&message.payload).unwrap();
            if beat.worker == worker && beat.decoding {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, working).await.expect("a job in time");
}

/// Two machines, and the name of the first one's worker; `None` where namespaces are refused.
async fn two(server: &Server, workers: &Workers, beats: &mut async_nats::Subscriber) -> Option<([Machine; 2], String)> {
    let (mut first, mut second) = (Machine::new(1)?, Machine::new(2)?);
    first.work(server, MODEL);
    there(workers, 1).await;
    let name = loop {
        let message = beats.next().await.unwrap();
        let beat: Beat = serde_json::from_slice(&message.payload).unwrap();
        if !beat.leaving {
            break beat.worker;
        }
    };
    second.work(server, MODEL);
    there(workers, 2).await;
    Some(([first, second], name))
}

/// What happens to the first machine while it works; `true` when it is there again after `back`.
struct Fault {
    /// Whether what it did at that moment is done by another worker; `None` where it is a matter of milliseconds.
    loses: Option<bool>,
    name: &'static str,
    happens: fn(&mut Server, &[Machine; 2]),
    back: Option<fn(&mut Server, &[Machine; 2])>,
}

const FAULTS: [Fault; 5] = [
    Fault {
        loses: Some(true),
        name: "its process is killed",
        happens: |_, machines| machines[0].signal("KILL"),
        back: None,
    },
    Fault {
        loses: Some(false),
        name: "it is told to end",
        happens: |_, machines| machines[0].signal("TERM"),
        back: None,
    },
    Fault {
        loses: Some(true),
        name: "its cable is pulled out",
        happens: |_, machines| machines[0].cable("down"),
        back: Some(|_, machines| machines[0].cable("up")),
    },
    Fault {
        loses: Some(true),
        name: "it stands still",
        happens: |_, machines| machines[0].signal("STOP"),
        back: Some(|_, machines| machines[0].signal("CONT")),
    },
    Fault {
        loses: None,
        name: "the NATS server is killed",
        happens: |server, _| {
            server.kill();
            *server = Server::start(Some(server.port), "");
        },
        back: Some(|_, _| ()),
    },
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn the_sample_call_is_whole_whatever_happens_to_a_machine_in_the_middle_of_an_utterance() {
    let said = utterances();
    let expected = texts_here(&said).await;
    for fault in FAULTS {
        let mut server = Server::start(None, "");
        let mut beats = beats(&server).await;
        let (workers, mut inputs) = pool::start(&settings(&server), Arc::new(Dictionary::empty())).await;
        let Some((machines, name)) = two(&server, &workers, &mut beats).await else { return };
        submit(&workers, &said);
        until_working(&mut beats, &name).await;
        (fault.happens)(&mut server, &machines);
        let rest = pool::outcomes(&mut inputs, said.len(), PATIENCE).await;
        let mut got = BTreeMap::new();
        for (id, result) in rest {
            assert!(got.insert(id, result.unwrap().text).is_none(), "{}: final {id} came twice", fault.name);
        }
        if let Some(back) = fault.back {
            back(&mut server, &machines);
            there(&workers, 2).await;
        }
        let counters = workers.counters();
        println!(
            "{}: {} finals, {} went to another worker, {} machines at the end",
            fault.name,
            got.len(),
            counters.counts.finals_lost,
            counters.machines
        );
        if let Some(loses) = fault.loses {
            assert_eq!(counters.counts.finals_lost > 0, loses, "{}: not in the middle", fault.name);
        }
        assert_eq!((counters.failures, got.into_values().collect::<Vec<_>>()), (0, expected.clone()), "{}", fault.name);
        // each of them does its part again, and what was begun before comes to nobody
        submit(&workers, &said);
        assert_eq!(texts(workers, &mut inputs, said.len()).await, expected, "{}", fault.name);
    }
}

/// A dictionary that is larger than a message of NATS, and its own for each `name`.
fn large(name: &str) -> Dictionary {
    let mut csv = String::from_utf8(std::fs::read("samples/dictionary.csv").unwrap()).unwrap();
    let columns = csv.lines().next().unwrap().split(',').count();
    for n in 0..30_000 {
        csv.push_str(&format!("{name}第{n}地域活動協議会,ちいきかつどうきょうぎかい{}\n", ",".repeat(columns - 2)));
    }
    Dictionary::load(&[Source { name: "large.csv", bytes: csv.as_bytes() }], &Tuning::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn two_bridges_share_a_worker_each_with_its_large_dictionary_and_partials_are_given_up() {
    let said = utterances();
    let server = Server::start(None, "");
    let Some(mut machine) = Machine::new(3) else { return };
    machine.work(&server, MODEL);
    let dictionaries = [Arc::new(large("東")), Arc::new(large("西"))];
    let bytes = dictionaries[0].to_bytes().len();
    assert!(bytes > 1 << 20, "{bytes}");
    let mut bridges = Vec::new();
    for dictionary in &dictionaries {
        bridges.push(pool::start(&settings(&server), Arc::clone(dictionary)).await);
    }
    for (workers, _) in &bridges {
        there(workers, 1).await;
        submit(workers, &said[..4]);
    }
    let mut heard: Vec<Vec<(u64, Result<Hypothesis, Failure>)>> = Vec::new();
    for (_, inputs) in &mut bridges {
        heard.push(pool::outcomes(inputs, 4, PATIENCE).await);
    }
    for ((outcomes, dictionary), (workers, _)) in heard.iter().zip(&dictionaries).zip(&bridges) {
        for (id, result) in outcomes {
            assert_eq!(result.as_ref().unwrap().dictionary, dictionary.version(), "final {id}");
        }
        assert_eq!((workers.counters().failures, workers.counters().remote), (0, 4));
    }
    // a partial runs, its final comes: the worker gives it up for that
    let (workers, mut inputs) = bridges.pop().unwrap();
    let (stream, utterance) = said.iter().max_by_key(|(_, utterance)| utterance.pcm.len()).unwrap();
    workers.submit(Job { utterance: 9, ..job(100, JobKind::FirstPartial, *stream, utterance) }).unwrap();
    while workers.counters().load.running == 0 {
        tokio::task::yield_now().await;
    }
    workers.submit(Job { utterance: 9, ..job(101, JobKind::LiveFinal, *stream, utterance) }).unwrap();
    let outcomes: BTreeMap<_, _> = pool::outcomes(&mut inputs, 2, PATIENCE).await.into_iter().collect();
    assert_eq!(outcomes[&100], Err(Failure::Withdrawn));
    assert!(!outcomes[&101].as_ref().unwrap().text.is_empty());
    println!("dictionary of {bytes} bytes in pieces; {} partials given up", workers.counters().counts.partials_aborted);
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn the_permissions_of_the_documents_are_enough_for_bridge_and_worker() {
    let said = utterances();
    let server = Server::guarded();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{name}:secret\n")).unwrap();
        path
    };
    let mut settings = settings(&server);
    settings.nats.credentials_file = file("bridge");
    let mut worker = std::process::Command::new(env!("CARGO_BIN_EXE_kakehashi"))
        .args(["worker", "--nats", &server.url("127.0.0.1"), "--model", MODEL, "--workers", "1", "--credentials"])
        .arg(file("worker"))
        .spawn()
        .unwrap();
    let (workers, mut inputs) = pool::start(&settings, Arc::new(Dictionary::empty())).await;
    there(&workers, 1).await;
    submit(&workers, &said[..2]);
    assert_eq!(texts(workers, &mut inputs, 2).await.len(), 2);
    nats::kill("TERM", worker.id());
    assert!(worker.wait().unwrap().success());
}

//! Real worker processes that are given the utterances of the sample call, and their outcomes.
#![allow(dead_code)] // each test binary uses its part

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kakehashi::bridge::Input;
use kakehashi::bridge::workers::{Workers, spawn_with};
use kakehashi::dictionary::Dictionary;
use kakehashi::speech::endpoint::Endpointer;
use kakehashi::speech::settings::Settings;
use kakehashi::speech::{Failure, Hypothesis, SpeechEventKind, Utterance};
use tokio::sync::mpsc;

/// The utterances of the sample call by channel (0 caller, 1 agent).
pub(crate) fn utterances() -> Vec<(u128, Utterance)> {
    let found = utterances_of("samples/calls/call1.wav");
    assert!(found.len() >= 9);
    found
}

/// Those of any file at 8 kHz, each with its channel.
pub(crate) fn utterances_of(path: &str) -> Vec<(u128, Utterance)> {
    let wave = hound::WavReader::open(path).unwrap();
    let channels = usize::from(wave.spec().channels);
    let samples: Vec<i16> = wave.into_samples().map(Result::unwrap).collect();
    let mut found = Vec::new();
    for channel in 0..channels {
        let mono: Vec<i16> = samples.chunks_exact(channels).map(|all| all[channel]).collect();
        let mut events = Vec::new();
        let mut endpointer = Endpointer::new(&Settings::default(), 8_000);
        endpointer.push(0, &mono, &mut events);
        endpointer.finish(&mut events);
        found.extend(events.into_iter().filter_map(|event| match event {
            SpeechEventKind::Ended(utterance) => Some((channel as u128, utterance)),
            _ => None,
        }));
    }
    found
}

pub(crate) async fn start(settings: &Settings, dictionary: Arc<Dictionary>) -> (Workers, mpsc::Receiver<Input>) {
    let (hub, inputs) = mpsc::channel(64);
    let executable = PathBuf::from(env!("CARGO_BIN_EXE_kakehashi"));
    (spawn_with(executable, settings, dictionary, hub).await.unwrap(), inputs)
}

/// The next outcomes in the order in which they come; each within `patience`.
pub(crate) async fn outcomes(
    inputs: &mut mpsc::Receiver<Input>,
    count: usize,
    patience: Duration,
) -> Vec<(u64, Result<Hypothesis, Failure>)> {
    let mut got = Vec::new();
    while got.len() < count {
        let input = tokio::time::timeout(patience, inputs.recv()).await.expect("an outcome in time").expect("a hub");
        if let Input::Recognized(outcome) = input {
            got.push((outcome.id, outcome.result));
        }
    }
    got
}

//! `[speech]` of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of speech detection and of the worker processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whisper model in ggml format; a file of the same name that ends in .toml holds its checksum and thresholds.
    pub model: PathBuf,
    /// Spoken language, as Whisper names it.
    pub language: String,
    /// Worker processes; 0 means one for every two cores.
    pub workers: u16,
    /// Threads of one worker; more than one only helps while the cores are free.
    pub threads: u16,
    /// How much lower the workers' priority is, 0–19.
    pub nice: u8,
    /// Sound of running calls that may wait in memory, in seconds; later utterances are read back from disk.
    pub queue_live_seconds: u32,
    /// Sound read back from disk that may wait in memory, in seconds.
    pub queue_catch_up_seconds: u32,
    /// After this long, and `job_timeout_per_second_ms` for each second of sound, a worker counts as hung, in milliseconds.
    pub job_timeout_ms: u32,
    /// Added to the job's time for each second of its sound, in milliseconds.
    pub job_timeout_per_second_ms: u32,
    /// How long a worker may take to load the model, in milliseconds.
    pub start_timeout_ms: u32,
    /// Score of the voice detector from which a 16 ms frame counts as voice, 0–1.
    pub vad_threshold: f32,
    /// Frames below this level never count as voice, in dB below full scale.
    pub energy_floor_dbfs: f32,
    /// Whether tones, music and steady noise are kept from the recogniser; without it, all goes there that the voice detector takes for voice.
    pub speech_gate: bool,
    /// Sound kept before the first voice of an utterance, in milliseconds.
    pub pre_roll_ms: u32,
    /// Silence that ends an utterance, in milliseconds.
    pub hangover_ms: u32,
    /// Utterances with fewer voiced frames than this are not recognised, in milliseconds (the detector misses about 50 at the start).
    pub min_speech_ms: u32,
    /// Utterances are cut at the quietest place before they get longer than this, in milliseconds; at most 28,000.
    pub max_utterance_ms: u32,
    /// Whether the text of an utterance is shown while it is said.
    pub partials: bool,
    /// Speech before the first text of a running utterance, in milliseconds.
    pub first_partial_ms: u32,
    /// Sound between two texts of a running utterance while the workers have time, in milliseconds; at least 300.
    pub partial_every_ms: u32,
    /// The same while they are busy, in milliseconds; when finals wait for workers there are no partials.
    pub partial_every_busy_ms: u32,
    /// `[speech.remote]`: a recogniser on another machine.
    pub remote: super::remote::Settings,
    /// `[speech.nats]`: workers on other machines.
    pub nats: super::nats::Settings,
}

impl Settings {
    /// Whether the model of this machine is needed.
    pub fn is_local(&self) -> bool {
        match self.nats.is_on() {
            true => self.nats.local,
            false => !self.remote.is_on() || self.remote.fallback,
        }
    }

    /// Name of the model: its file's, without the ending.
    pub fn model_name(&self) -> String {
        self.model.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: PathBuf::from("models/kakehashi-lab-ja.bin"),
            language: "ja".into(),
            workers: 0,
            threads: 1,
            nice: 10,
            queue_live_seconds: 1_200,
            queue_catch_up_seconds: 300,
            job_timeout_ms: 15_000,
            job_timeout_per_second_ms: 5_000,
            start_timeout_ms: 120_000,
            vad_threshold: 0.4,
            energy_floor_dbfs: -60.0,
            speech_gate: true,
            pre_roll_ms: 300,
            hangover_ms: 700,
            min_speech_ms: 200,
            max_utterance_ms: 14_000,
            partials: true,
            first_partial_ms: 600,
            partial_every_ms: 600,
            partial_every_busy_ms: 2_000,
            remote: super::remote::Settings::default(),
            nats: super::nats::Settings::default(),
        }
    }
}

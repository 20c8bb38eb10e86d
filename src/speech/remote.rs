//! A recogniser on another machine that speaks OpenAI's transcription API: what is sent to it and what its answer means. No IO.
//!
//! In: the sound of an utterance. Out: the bytes of one `POST` (`multipart/form-data`, RFC 7578) and, from status and body, a
//! [`super::Hypothesis`] or a [`Trouble`]. Nothing can be biased there, so the hypothesis says `bonuses = 0` and names no dictionary; the
//! correction by sound works on it as on any other. `breaker` says when the server is left alone. `bridge::remote` does the IO.
//!
//! Spoken with: OpenAI (`/v1/audio/transcriptions`), whisper.cpp's `whisper-server`, speaches (faster-whisper-server), vLLM.

mod answer;
pub mod breaker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use answer::{MAX_ANSWER, read};

use super::evidence::Evidence;
use crate::media::resample;

/// Samples a second of what is sent; what Whisper hears, so that no server has to resample.
const RATE: u32 = 16_000;
/// Fields that settings may not replace.
const OWN_FIELDS: [&str; 8] =
    ["file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]", "stream"];

/// `[speech.remote]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whole address of the transcription endpoint, `https://host/v1/audio/transcriptions`; empty = recognition on this machine.
    pub url: String,
    /// Name of the model, as the server knows it.
    pub model: String,
    /// File with the key that is sent as `Authorization: Bearer`; empty = none is sent.
    pub key_file: PathBuf,
    /// PEM file with certificate authorities that are trusted beside the system's own; empty = only those.
    pub ca: PathBuf,
    /// Time for one answer, from the first byte sent, in milliseconds; 100–600,000.
    pub timeout_ms: u32,
    /// Utterances that the server works on at once, 1–256.
    pub concurrency: u16,
    /// Form of the answer.
    pub format: Format,
    /// Ask for words with their probabilities; off where a server refuses `timestamp_granularities[]`.
    pub words: bool,
    /// Recognise with the local model while the server does not answer, and what it refuses.
    pub fallback: bool,
    /// Further form fields that the server understands.
    pub fields: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: String::new(),
            model: "whisper-1".into(),
            key_file: PathBuf::new(),
            ca: PathBuf::new(),
            timeout_ms: 20_000,
            concurrency: 4,
            format: Format::VerboseJson,
            words: true,
            fallback: false,
            fields: BTreeMap::new(),
        }
    }
}

/// `response_format` of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Text with segments, and words where they are asked for.
    VerboseJson,
    /// Text, with the log-probabilities of its tokens where the model gives them.
    Json,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Format::VerboseJson => "verbose_json",
            Format::Json => "json",
        }
    }
}

impl Settings {
    /// Whether recognition happens on another machine.
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The key, and what is expected of it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.is_on() {
            return Ok(());
        }
        let host = self.url.strip_prefix("https://").or_else(|| self.url.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.starts_with('/') || host.contains(char::is_whitespace)) {
            let problem = "expected https://HOST/v1/audio/transcriptions, or http:// inside one machine";
            return Err(("url", problem.into()));
        }
        if host.is_some_and(|host| host.split('/').next().is_some_and(|authority| authority.contains('@'))) {
            return Err(("url", "a password stands in it; expected the key in key_file".into()));
        }
        if !(100..=600_000).contains(&self.timeout_ms) {
            return Err(("timeout_ms", format!("{}; expected 100–600000", self.timeout_ms)));
        }
        if !(1..=256).contains(&self.concurrency) {
            return Err(("concurrency", format!("{}; expected 1–256", self.concurrency)));
        }
        let plain = |text: &str| !text.chars().any(|c| c.is_control() || c == '"' || c == '\\');
        if !plain(&self.model) {
            return Err(("model", "expected a name without quotes and line ends".into()));
        }
        for (name, value) in &self.fields {
            if name.is_empty() || !plain(name) || OWN_FIELDS.contains(&name.as_str()) || value.contains(['\r', '\n']) {
                let problem = format!(
                    "`{name}`; expected names of fields other than {}, values of one line",
                    OWN_FIELDS.join(", ")
                );
                return Err(("fields", problem));
            }
        }
        Ok(())
    }

    /// Whether callers' voices would cross a network unencrypted.
    pub fn is_exposed(&self) -> bool {
        let Some(rest) = self.url.strip_prefix("http://") else { return false };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = match authority.strip_prefix('[') {
            Some(six) => six.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        let local = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        !local && host != "localhost"
    }
}

/// What is recognised.
#[derive(Clone, Debug)]
pub struct Sound {
    /// Samples a second, 8000 or 16000.
    pub rate: u32,
    /// The samples, full scale ±32768.
    pub pcm: Arc<[i16]>,
}

impl Sound {
    /// What it says for itself.
    pub fn evidence(&self) -> Evidence {
        Evidence::of(&resample::at_16_khz(&self.pcm, self.rate))
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The value of `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The server takes nothing at the moment, whatever it is: not a fault of this utterance.
    #[error("{why}")]
    Later {
        /// What happened, without personal data.
        why: String,
        /// How long it wants to be left alone.
        wait: Option<Duration>,
    },
    /// It broke on this utterance, or hung.
    #[error("{0}")]
    Fault(String),
    /// It lives and does not take this utterance, or answers nonsense.
    #[error("{0}")]
    Refused(String),
}

/// Writes the request. `boundary` is random and at most 70 letters and digits (RFC 2046 §5.1.1); `prompt` is sent when it is not empty.
pub fn request(settings: &Settings, language: &str, prompt: &str, sound: &Sound, boundary: &str) -> Request {
    let mut body = Vec::with_capacity(4 * sound.pcm.len() + 2_048);
    let mut field = |name: &str, value: &str| {
        body.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes(),
        );
    };
    field("model", &settings.model);
    if language != "auto" {
        field("language", language);
    }
    field("response_format", settings.format.name());
    field("temperature", "0");
    if settings.words && settings.format == Format::VerboseJson {
        field("timestamp_granularities[]", "segment");
        field("timestamp_granularities[]", "word");
    }
    if !prompt.is_empty() {
        field("prompt", &prompt.replace(['\r', '\n'], " "));
    }
    for (name, value) in &settings.fields {
        field(name, value);
    }
    body.extend_from_slice(
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"speech.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
        )
        .as_bytes(),
    );
    wav(&at_16_khz(sound), &mut body);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Request { content_type: format!("multipart/form-data; boundary={boundary}"), body }
}

fn at_16_khz(sound: &Sound) -> Vec<i16> {
    let samples = resample::at_16_khz(&sound.pcm, sound.rate).into_iter();
    samples.map(|sample| (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).collect()
}

/// WAV: PCM of 16 bit, one channel, [`RATE`].
fn wav(samples: &[i16], out: &mut Vec<u8>) {
    let bytes = u32::try_from(2 * samples.len()).unwrap_or(u32::MAX - 36);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + bytes).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    for number in [16, 0x0001_0001, RATE, 2 * RATE, 0x0010_0002] {
        // size of this chunk; PCM and one channel; samples and bytes a second; bytes of a sample and its bits
        out.extend_from_slice(&u32::to_le_bytes(number));
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
}

/// What a status other than 200 means. `wait` is what `Retry-After` asked for.
pub fn trouble(status: u16, wait: Option<Duration>) -> Trouble {
    let why = format!("status {status}");
    match status {
        429 | 503 => Trouble::Later { why, wait },
        // a wrong address or key is wrong for every utterance, and is mended by a person
        401 | 403 => Trouble::Later { why: format!("{why}: the server does not take the key; see key_file"), wait },
        404 | 405 | 410 | 300..=399 => Trouble::Later { why: format!("{why}: no such endpoint; see url"), wait },
        408 | 500..=599 => Trouble::Fault(why),
        _ => Trouble::Refused(why),
    }
}

#[cfg(test)]
mod tests;

//! Recognition by a server on another machine: the HTTP client, its slots beside those of the worker processes, and the prober.
//!
//! A slot has one request at a time; one that is not answered in time is dropped, and the connection with it. No utterance is lost by the server's
//! state: while the breaker is open, slots take none (the local workers do, with `fallback`), and one that met a server which takes nothing is
//! put back uncounted. What the server itself breaks on or refuses is tried once more, by the local model with `fallback`, and is then told as failed.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::bridge::now;
use crate::dictionary::{Dictionary, heard_twice, second_hearing};
use crate::outbox::retry::retry_after;
use crate::speech::manifest::Manifest;
use crate::speech::remote::breaker::Breaker;
use crate::speech::remote::{MAX_ANSWER, Request, Settings, Sound, Trouble, read, request, trouble};
use crate::speech::{Hypothesis, plausible};

/// Samples of silence that a probe sends: 0.5 s at 16 kHz.
const PROBE: usize = 8_000;

/// Why a remote recogniser cannot be used; each names the key and what is expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error("[speech.remote] {key} = \"{file}\": {problem}; expected {expected}")]
    File {
        /// The key.
        key: &'static str,
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The address is none.
    #[error("[speech.remote] url: {0}; expected https://HOST/v1/audio/transcriptions")]
    Url(String),
    /// The HTTP client cannot be made.
    #[error(
        "[speech.remote]: the HTTP client: {0}; are the system's certificates installed (package ca-certificates)?"
    )]
    Client(String),
}

/// A transcription server as it is asked.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    url: reqwest::Url,
    key: Option<HeaderValue>,
    settings: Settings,
    language: String,
    manifest: Manifest,
    breaker: Mutex<Breaker>,
    /// It is left alone from now on.
    ill: Notify,
}

impl Remote {
    /// Reads the files that the settings name; asks nobody yet.
    ///
    /// # Errors
    /// Names the key and what is expected.
    pub fn new(settings: &Settings, language: &str) -> Result<Remote, Error> {
        let url = reqwest::Url::parse(&settings.url).map_err(|error| Error::Url(error.to_string()))?;
        // fails only when another provider was installed before, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .no_proxy() // callers' voices go where `url` says and nowhere else
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5).min(Duration::from_millis(settings.timeout_ms.into())))
            .pool_max_idle_per_host(settings.concurrency.into())
            .pool_idle_timeout(Duration::from_secs(4)) // whisper-server closes after 5
            .tcp_nodelay(true)
            .user_agent(concat!("kakehashi/", env!("CARGO_PKG_VERSION")));
        if !settings.ca.as_os_str().is_empty() {
            builder = builder.tls_certs_merge(authorities(&settings.ca)?);
        }
        Ok(Remote {
            client: builder.build().map_err(|error| Error::Client(error.to_string()))?,
            url,
            key: key(settings)?,
            settings: settings.clone(),
            language: language.to_owned(),
            manifest: Manifest::default(),
            breaker: Mutex::new(Breaker::new(now().mono)),
            ill: Notify::new(),
        })
    }

    /// Whether the server gets work now.
    pub fn works(&self) -> bool {
        self.breaker().works()
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Recognises one utterance; `prompt` is what the recogniser shall have heard before, empty for nothing. An answer that repeats it is no
    /// text.
    ///
    /// # Errors
    /// Whose fault it was; never with anything of the answer.
    pub async fn ask(&self, sound: &Sound, prompt: &str) -> Result<Hypothesis, Trouble> {
        let began = now().mono;
        // measured on a thread of its own while the server works: the threads of the runtime carry the calls
        let own = sound.clone();
        let evidence = spawn_blocking(move || own.evidence());
        let (settings, language) = (self.settings.clone(), self.language.clone());
        let (own, told) = (sound.clone(), prompt.to_owned());
        let form = spawn_blocking(move || request(&settings, &language, &told, &own, &boundary()));
        let form = form.await.map_err(unmeasured)?;
        let patience = Duration::from_millis(self.settings.timeout_ms.into());
        let late = |_| Trouble::Fault(format!("no answer within {} ms", patience.as_millis()));
        let body = timeout(patience, self.exchange(form)).await.map_err(late)??;
        let mut hypothesis = read(&body, &evidence.await.map_err(unmeasured)?, &self.settings.model, &self.manifest)?;
        if plausible::echoes(&hypothesis.tokens, prompt) {
            hypothesis = Hypothesis { model: hypothesis.model, ..Hypothesis::default() };
        }
        let spent = now().mono.since(began).as_millis();
        hypothesis.decode_ms = u32::try_from(spent).unwrap_or(u32::MAX);
        Ok(hypothesis)
    }

    /// Recognises one utterance and, where `[dictionary] prompt` is on and the server was not sure of all of it, a second time with the words
    /// that sound like what it wrote.
    pub(super) async fn hear(&self, sound: &Sound, words: &Dictionary) -> Result<Hypothesis, Trouble> {
        let mut plain = self.ask(sound, "").await?;
        let prompt = if second_hearing(&plain) { words.prompt(&plain.text) } else { String::new() };
        // a server that does not take the second request gave a text all the same
        if !prompt.is_empty()
            && let Ok(second) = self.ask(sound, &prompt).await
        {
            plain = heard_twice(plain, second);
            words.version().clone_into(&mut plain.dictionary);
        }
        Ok(plain)
    }

    /// Sends the request and reads the whole body of a 200.
    async fn exchange(&self, form: Request) -> Result<Vec<u8>, Trouble> {
        let mut http = self.client.post(self.url.clone()).header(CONTENT_TYPE, form.content_type).body(form.body);
        if let Some(key) = &self.key {
            http = http.header(AUTHORIZATION, key.clone());
        }
        let mut response = http.send().await.map_err(broken)?;
        let status = response.status().as_u16();
        if status != 200 {
            let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            return Err(trouble(status, asked.and_then(|value| retry_after(value, now().wall))));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Trouble::Refused(format!("an answer of more than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Notes what became of a request.
    pub(super) fn note(&self, result: &Result<Hypothesis, Trouble>) {
        let mut breaker = self.breaker();
        let opened = match result {
            Ok(_) | Err(Trouble::Refused(_)) => {
                breaker.answered();
                false
            }
            Err(Trouble::Fault(_)) => breaker.failed(now().mono),
            Err(Trouble::Later { wait, .. }) => breaker.refused(now().mono, *wait),
        };
        drop(breaker);
        if let (true, Err(trouble)) = (opened, result) {
            self.ill.notify_one();
            let fallback = if self.settings.fallback { "the local model takes over" } else { "utterances wait" };
            warn!("the transcription server is left alone until it answers, {fallback}: {trouble}");
        }
    }

    /// Probes the server whenever it is left alone; calls `changed` when it works again. Never ends.
    pub(super) async fn probe(&self, changed: impl Fn()) {
        let mut told = false;
        loop {
            let due = self.breaker().probe_at();
            let Some(due) = due else {
                told = false;
                self.ill.notified().await;
                continue;
            };
            let wait = due.since(now().mono);
            if !wait.is_zero() {
                sleep(wait).await; // looked at again: it may have asked for longer meanwhile
                continue;
            }
            match self.ask(&Sound { rate: 16_000, pcm: vec![0; PROBE].into() }, "").await {
                // a server that refuses silence lives too
                Ok(_) | Err(Trouble::Refused(_)) => {
                    self.breaker().recovered();
                    info!(model = self.settings.model, "the transcription server answers");
                    changed();
                }
                Err(trouble) => {
                    let wait = match &trouble {
                        Trouble::Later { wait, .. } => *wait,
                        _ => None,
                    };
                    self.breaker().still_ill(now().mono, wait);
                    if !told {
                        warn!("the transcription server does not answer: {trouble}");
                        told = true;
                    }
                }
            }
        }
    }
}

/// Checks the files that the settings name.
///
/// # Errors
/// As [`Remote::new`].
pub fn check(settings: &Settings) -> Result<(), Error> {
    if settings.is_on() { Remote::new(settings, "ja").map(|_| ()) } else { Ok(()) }
}

/// What broke, without an address: nobody there is not the utterance's fault, a connection that ends in the middle may be.
fn broken(error: reqwest::Error) -> Trouble {
    if error.is_connect() {
        let why = if error.is_timeout() { "no connection in time" } else { "no connection" };
        return Trouble::Later { why: format!("{why}{}", certificate(&error)), wait: None };
    }
    Trouble::Fault("the connection broke".into())
}

/// The sound itself could not be worked with.
fn unmeasured(_: tokio::task::JoinError) -> Trouble {
    Trouble::Refused("its sound cannot be read".into())
}

/// Says so when it is the certificate.
fn certificate(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if text.contains("certificate") {
            return format!(": {text}; see ca");
        }
        source = cause.source();
    }
    String::new()
}

/// Turns a problem with a file that `key` names into an error.
fn wrong(key: &'static str, file: &Path, expected: &'static str) -> impl Fn(String) -> Error {
    move |problem| Error::File { key, file: file.display().to_string(), problem, expected }
}

fn key(settings: &Settings) -> Result<Option<HeaderValue>, Error> {
    let file = &settings.key_file;
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let wrong = wrong("key_file", file, "a readable file with the key in its first line");
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let key = text.lines().next().unwrap_or_default().trim();
    if key.is_empty() {
        return Err(wrong("its first line is empty".into()));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| wrong("the key has characters that no header may have".into()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn authorities(file: &Path) -> Result<Vec<reqwest::Certificate>, Error> {
    let wrong = wrong("ca", file, "a PEM file with certificates of authorities");
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("no certificate is in it".into())) } else { Ok(found) }
}

/// A boundary that no sound contains but by a chance of 2⁻¹²⁸.
fn boundary() -> String {
    let mut bytes = [0; 16];
    // without randomness the time still makes it differ
    if getrandom::fill(&mut bytes).is_err() {
        bytes = u128::from(now().mono.0).to_be_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

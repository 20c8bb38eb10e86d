//! `kakehashi worker`: one recogniser, driven over standard input and output by the bridge that started it; or, with `--nats` or `--config`, a machine
//! that recognises for bridges over NATS by such processes of its own.
//!
//! It ends when its input ends, also in the middle of a decode: a bridge that was killed leaves no worker behind. A partial that nobody waits for
//! any more is given up in the middle too.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::signal::unix::{SignalKind, signal};

use super::model;
use crate::bridge::workers::machine;
use crate::dictionary::Dictionary;
use crate::media::resample::at_16_khz;
use crate::speech::protocol::{
    Decoder, Done, FromWorker, Hello, Message, ProtocolError, Ready, Sound, ToWorker, VERSION,
};
use crate::speech::settings::Settings;
use crate::speech::{Failure, Hypothesis, Recognizer, Stop};

/// Recognise for bridges on other machines, over NATS (without arguments: what `kakehashi serve` starts, not for people).
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// Configuration file with `[speech]` and `[speech.nats]`; what is given beside it counts more.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Addresses of the NATS servers, joined by commas.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// Group of bridges and workers.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// File with what the NATS server wants to see: .creds, an nkey's seed, user:password or a token.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// PEM file with the certificate authorities of the NATS server.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Whisper model in ggml format.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Spoken language.
    #[arg(long, value_name = "NAME")]
    language: Option<String>,
    /// Worker processes; 0 means one for every two cores.
    #[arg(long, value_name = "N")]
    workers: Option<u16>,
    /// Threads of one process.
    #[arg(long, value_name = "N")]
    threads: Option<u16>,
}

impl WorkerArgs {
    /// Settings for work over NATS; `None` without any argument.
    fn settings(self) -> Result<Option<Settings>, Box<dyn std::error::Error + Send + Sync>> {
        let mut speech = match &self.config {
            Some(path) => super::load_config(path)?.speech,
            None => Settings::default(),
        };
        let set = [
            self.nats.map(|url| speech.nats.url = url),
            self.group.map(|group| speech.nats.group = group),
            self.credentials.map(|file| speech.nats.credentials_file = file),
            self.ca.map(|file| speech.nats.ca_file = file),
            self.model.map(|file| speech.model = file),
            self.language.map(|language| speech.language = language),
            self.workers.map(|workers| speech.workers = workers),
            self.threads.map(|threads| speech.threads = threads),
        ];
        if self.config.is_none() && set.iter().all(Option::is_none) {
            return Ok(None);
        }
        if !speech.nats.is_on() {
            return Err(
                "no NATS server is named; expected --nats tls://HOST:4222, or [speech.nats] url in --config".into()
            );
        }
        speech.nats.check().map_err(|(key, problem)| format!("[speech.nats] {key}: {problem}"))?;
        Ok(Some(speech))
    }
}

/// Why a worker ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The bridge does not speak this protocol.
    #[error(
        "standard input: {0}; expected the bridge of the same version. `kakehashi worker` is started by `kakehashi serve`"
    )]
    Protocol(#[from] ProtocolError),
    /// The greeting does not come first, or comes again.
    #[error(
        "standard input: expected a greeting as the first frame and nowhere else; `kakehashi worker` is started by `kakehashi serve`"
    )]
    NoHello,
    /// The bridge has another version.
    #[error(
        "the bridge speaks version {found} of the protocol, this program {VERSION}; install the same version of both"
    )]
    Version {
        /// The bridge's.
        found: u32,
    },
    /// The answer could not be written.
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
    /// The model cannot be used (the bridge was told).
    #[error(transparent)]
    Model(#[from] model::ModelError),
    /// The dictionary does not have the version that it should have.
    #[error("the dictionary that came is not version {expected}; install the same version of bridge and worker")]
    Dictionary {
        /// What was announced.
        expected: String,
    },
}

/// Runs the subcommand.
///
/// # Errors
/// When the bridge does not keep to the protocol, or the model cannot be used.
pub fn run(args: WorkerArgs) -> super::Result {
    if let Some(speech) = args.settings()? {
        return over_nats(&speech);
    }
    let state = Arc::new(State::default());
    let (frames, received) = sync_channel(2);
    let shared = state.clone();
    std::thread::Builder::new().name("input".into()).spawn(move || read(&frames, &shared))?;
    let mut out = std::io::stdout().lock();
    Ok(serve(&received, &mut out, &state)?)
}

/// Recognises for bridges until the process is told to end.
fn over_nats(speech: &Settings) -> super::Result {
    super::log::start(&crate::config::Log::default());
    model::manifest(&speech.model)?;
    model::check(&speech.model)?;
    let executable = std::env::current_exe()?;
    super::runtime()?.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Ok(machine::serve(executable, speech, stop).await?)
    })
}

/// What the thread that reads tells the one that decodes, and the other way round.
#[derive(Default)]
struct State {
    decoding: AtomicBool,
    /// One more than the id of the last job that was to be given up; ids only grow.
    given_up: AtomicU64,
}

/// Reads frames until the input ends; then the process ends, whatever it does at that moment.
fn read(frames: &SyncSender<Result<ToWorker, ProtocolError>>, state: &State) {
    let mut input = std::io::stdin().lock();
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        loop {
            match decoder.message() {
                // not behind the job that it is about
                Ok(Some(ToWorker::Abort(id))) => state.given_up.store(id.saturating_add(1), Ordering::SeqCst),
                Ok(Some(message)) => {
                    if frames.send(Ok(message)).is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let _ = frames.send(Err(error));
                    return;
                }
            }
        }
        match input.read(&mut buffer) {
            Ok(got) if got > 0 => decoder.push(buffer.get(..got).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            _ if state.decoding.load(Ordering::SeqCst) => {
                // nobody waits for the text; unwinding would have to wait for whisper.cpp
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
                return;
            }
            _ => return,
        }
    }
}

type Frames = Receiver<Result<ToWorker, ProtocolError>>;

fn serve(frames: &Frames, out: &mut impl Write, state: &State) -> Result<(), WorkerError> {
    let hello = match frames.recv() {
        Ok(Ok(ToWorker::Hello(hello))) => hello,
        Ok(Ok(_)) => return Err(WorkerError::NoHello),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Ok(()),
    };
    state.decoding.store(true, Ordering::SeqCst);
    let mut recognizer = match start(&hello) {
        Ok(recognizer) => recognizer,
        Err(error) => {
            answer(out, &FromWorker::Refused(error.to_string()))?;
            return Err(error);
        }
    };
    state.decoding.store(false, Ordering::SeqCst);
    let name = hello.model.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    answer(out, &FromWorker::Ready(Ready { protocol: VERSION, model: name }))?;
    let mut words = Dictionary::empty();
    while let Ok(frame) = frames.recv() {
        match frame? {
            ToWorker::Hello(_) => return Err(WorkerError::NoHello),
            ToWorker::Dictionary(content) => {
                let dictionary = Dictionary::from_bytes(&content.content).ok();
                match dictionary.filter(|dictionary| dictionary.version() == content.version) {
                    Some(dictionary) => words = dictionary,
                    None => return Err(WorkerError::Dictionary { expected: content.version }),
                }
            }
            ToWorker::Job(sound) => {
                state.decoding.store(true, Ordering::SeqCst);
                let stop = || state.given_up.load(Ordering::SeqCst) == sound.id.saturating_add(1);
                let result = recognise(recognizer.as_mut(), &sound, words.on(&sound.scopes), &stop);
                state.decoding.store(false, Ordering::SeqCst);
                answer(out, &FromWorker::Done(Done { id: sound.id, result }))?;
            }
            ToWorker::Abort(_) => {} // was dealt with where it was read
        }
    }
    Ok(())
}

fn start(hello: &Hello) -> Result<Box<dyn Recognizer>, WorkerError> {
    if hello.protocol != VERSION {
        return Err(WorkerError::Version { found: hello.protocol });
    }
    if let Err(error) = rustix::process::nice(i32::from(hello.nice.min(19))) {
        eprintln!("kakehashi worker: the priority could not be lowered: {error}");
    }
    Ok(model::open(&hello.model, &hello.language, hello.threads)?)
}

fn recognise(
    recognizer: &mut dyn Recognizer,
    sound: &Sound,
    words: &Dictionary,
    stop: Stop<'_>,
) -> Result<Hypothesis, Failure> {
    let pcm = at_16_khz(&sound.pcm, sound.rate);
    match sound.kind.is_partial() {
        true => words.hear_partial(recognizer, &pcm, stop),
        false => words.hear(recognizer, &pcm),
    }
}

fn answer(out: &mut impl Write, message: &FromWorker) -> Result<(), WorkerError> {
    let mut bytes = Vec::new();
    message.write(&mut bytes)?;
    out.write_all(&bytes)?;
    Ok(out.flush()?)
}

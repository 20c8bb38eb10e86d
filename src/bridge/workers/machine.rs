//! A machine that only recognises: its worker processes take jobs of bridges over NATS (`kakehashi worker --nats`).
//!
//! Each process has a slot with a name of its own, which tells every second that it lives. A bridge gets the slot for one job (a lease); the bytes that
//! come on it are the frames of the pipe, and what the process answers goes back in the same way. A process that breaks or hangs is replaced, and the
//! bridge is told. No sound is kept here longer than its job, and nothing is written to a disk.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Message as Received};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use super::process::Worker;
use super::{Error, STOP, count};
use crate::bridge::nats::Link;
use crate::speech::nats::roster::EVERY;
use crate::speech::nats::{Beat, Claim, Grant, Joined, Lease, Subjects, ToSlot, VERSION, read, split};
use crate::speech::protocol::{self, Decoder, Done, FromWorker, Message, Sound, ToWorker, Words};
use crate::speech::settings::Settings;
use crate::speech::{Job, Outcome};
use crate::time::Mono;

/// The job has to begin to come within this time after the lease was given, and go on coming.
const PIECES: Duration = Duration::from_secs(3);
/// Dictionaries that a slot keeps, of so many bridges.
const DICTIONARIES: usize = 4;
/// How long a running job may go on after the stop.
const LAST: Duration = Duration::from_secs(10);
/// Waits between attempts to start a process that does not start.
const RESTART: Duration = Duration::from_secs(5);

/// Starts the worker processes and lends them until `stop` comes.
///
/// # Errors
/// When a process cannot be started or says that it cannot work, and when the settings of NATS cannot be used. A server that is not there is waited for.
pub async fn serve(executable: PathBuf, settings: &Settings, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let client = Link::of_speech(&settings.nats).connect().await?;
    let name = name();
    let stopping = watch::Sender::new(false);
    let mut slots = Vec::new();
    for n in 0..count(settings.workers) {
        let process = Worker::start(&executable, settings).await?;
        let slot = Slot {
            client: client.clone(),
            subjects: Subjects::new(&settings.nats.group),
            settings: settings.clone(),
            executable: executable.clone(),
            name: format!("{}-{n}", name.1),
            machine: name.0.clone(),
            doing: Doing::Idle(Box::new(process)),
            held: None,
            words: VecDeque::new(),
            abort: Arc::new(Notify::new()),
        };
        slots.push(tokio::spawn(slot.run(stopping.subscribe())));
    }
    info!(workers = slots.len(), model = %settings.model.display(), group = settings.nats.group, "this machine recognises for bridges");
    stop.await;
    stopping.send_replace(true);
    for slot in slots {
        let _ = slot.await;
    }
    let _ = timeout(STOP, client.flush()).await;
    Ok(())
}

/// The machine's name for people, and one for subjects that is another one at each start.
fn name() -> (String, String) {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let machine = read.map_or_else(|_| "?".into(), |name| name.trim().to_owned());
    let plain: String = machine.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect();
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = std::process::id().to_le_bytes();
    }
    (machine, format!("{plain}-{:08x}", u32::from_le_bytes(bytes)))
}

/// One process and who has it.
struct Slot {
    client: Client,
    subjects: Subjects,
    settings: Settings,
    executable: PathBuf,
    name: String,
    machine: String,
    doing: Doing,
    held: Option<Held>,
    /// Dictionaries by version, the last used one last.
    words: VecDeque<Words>,
    /// The job is to be given up.
    abort: Arc<Notify>,
}

/// The process, unless it broke, and what it made of the job.
type Worked = (Option<Box<Worker>>, Result<Outcome, String>);

enum Doing {
    Idle(Box<Worker>),
    Working(BoxFuture<'static, Worked>),
    Starting(BoxFuture<'static, Box<Worker>>),
}

/// A lease that was given.
struct Held {
    lease: Lease,
    patience: Duration,
    joined: Joined,
    decoder: Decoder,
    /// Version of the dictionary that the bridge wants.
    dictionary: String,
    /// The job that runs; `None` while it comes.
    job: Option<u64>,
    /// When a piece came last.
    heard: Instant,
}

/// What a slot waits for.
enum Event {
    Received(Received),
    Tick,
    Worked(Option<Box<Worker>>, Result<Outcome, String>),
    Started(Box<Worker>),
    Stop,
}

impl Slot {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let Ok(mut received) = self.client.subscribe(self.subjects.of_worker(&self.name)).await else { return };
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                message = received.next() => match message {
                    Some(message) => Event::Received(message),
                    None => Event::Stop,
                },
                _ = tick.tick() => Event::Tick,
                event = self.doing.next() => event,
                _ = stopping.wait_for(|stopping| *stopping) => Event::Stop,
            };
            match event {
                Event::Received(message) => self.received(message).await,
                Event::Tick => self.tick().await,
                Event::Worked(process, result) => self.worked(process, result).await,
                Event::Started(process) => {
                    self.doing = Doing::Idle(process);
                    self.beat(false).await;
                }
                Event::Stop => break,
            }
        }
        self.end(tick).await;
    }

    /// Lets a running job finish, then says goodbye.
    async fn end(mut self, mut tick: Interval) {
        let late = sleep(LAST);
        tokio::pin!(late);
        while let Doing::Working(_) = self.doing {
            tokio::select! {
                event = self.doing.next() => if let Event::Worked(process, result) = event {
                    self.doing = process.map_or(Doing::Starting(Box::pin(std::future::pending())), Doing::Idle);
                    self.answer(result).await;
                },
                _ = tick.tick() => self.beat(false).await,
                () = &mut late => break,
            }
        }
        self.beat(true).await;
        if let Doing::Idle(process) = &mut self.doing {
            process.end().await;
        }
    }

    async fn received(&mut self, message: Received) {
        match self.subjects.to_slot(&message.subject) {
            Some(ToSlot::Claim) => self.claimed(&message).await,
            Some(ToSlot::Piece(lease, number)) => {
                let Some(held) = self.held.as_mut().filter(|held| held.lease == lease) else { return };
                held.heard = Instant::now();
                match held.joined.take(number) {
                    Ok(true) => held.decoder.push(&message.payload),
                    Ok(false) => return,
                    Err(gap) => return self.let_go(&gap.to_string()).await,
                }
                self.frames().await;
            }
            None => {}
        }
    }

    async fn claimed(&mut self, message: &Received) {
        let Some(reply) = &message.reply else { return };
        let grant = match read::<Claim>(&message.payload) {
            Err(problem) => {
                Grant::Refused(format!("the claim cannot be read: {problem}; install the same version on both"))
            }
            Ok(claim) if (claim.bus, claim.protocol) != (VERSION, protocol::VERSION) => {
                let ours = env!("CARGO_PKG_VERSION");
                Grant::Refused(format!("the worker is version {ours}; install the same version on bridge and worker"))
            }
            Ok(_) if self.held.is_some() || !matches!(self.doing, Doing::Idle(_)) => Grant::Busy,
            Ok(claim) => {
                let has_words = self.words.iter().any(|words| words.version == claim.dictionary);
                self.held = Some(Held {
                    lease: claim.lease,
                    patience: Duration::from_millis(claim.patience_ms),
                    joined: Joined::default(),
                    decoder: Decoder::default(),
                    dictionary: claim.dictionary,
                    job: None,
                    heard: Instant::now(),
                });
                Grant::Granted { has_words }
            }
        };
        let Ok(body) = serde_json::to_vec(&grant) else { return };
        let _ = self.client.publish(reply.clone(), body.into()).await;
        if matches!(grant, Grant::Granted { .. }) {
            self.beat(false).await;
        }
    }

    /// Does what has come whole.
    async fn frames(&mut self) {
        loop {
            let Some(held) = &mut self.held else { return };
            match held.decoder.message() {
                Ok(None) => return,
                Ok(Some(ToWorker::Dictionary(words))) => {
                    self.words.retain(|known| known.version != words.version);
                    self.words.push_back(words);
                    if self.words.len() > DICTIONARIES {
                        self.words.pop_front();
                    }
                }
                Ok(Some(ToWorker::Job(sound))) if held.job.is_none() => {
                    held.job = Some(sound.id);
                    self.begin(sound).await;
                }
                Ok(Some(ToWorker::Abort(id))) if held.job == Some(id) => self.abort.notify_one(),
                Ok(Some(_)) => return self.let_go("a frame that does not belong there").await,
                Err(problem) => return self.let_go(&problem.to_string()).await,
            }
        }
    }

    async fn begin(&mut self, sound: Sound) {
        let Some(held) = &self.held else { return };
        let known = self.words.iter().position(|words| words.version == held.dictionary);
        let Some(words) = known.and_then(|index| self.words.remove(index)) else {
            return self.let_go("its dictionary did not come").await;
        };
        self.words.push_back(words.clone());
        let pause = Doing::Starting(Box::pin(std::future::pending()));
        let Doing::Idle(mut process) = std::mem::replace(&mut self.doing, pause) else { return };
        let patience = held.patience;
        self.abort = Arc::new(Notify::new());
        let abort = Arc::clone(&self.abort);
        let job = job(sound);
        self.doing = Doing::Working(Box::pin(async move {
            let work = timeout(patience, process.work(&job, &words, abort.notified())).await;
            let result = work.unwrap_or_else(|_| Err(format!("no answer within {} ms", patience.as_millis())));
            (result.is_ok().then_some(process), result)
        }));
        self.beat(false).await;
    }

    async fn worked(&mut self, process: Option<Box<Worker>>, result: Result<Outcome, String>) {
        if let Err(reason) = &result {
            warn!(slot = self.name, "a worker failed and is replaced: {reason}");
        }
        self.doing = match process {
            Some(process) => Doing::Idle(process),
            None => Doing::Starting(Box::pin(start(self.executable.clone(), self.settings.clone()))),
        };
        self.answer(result).await;
        self.beat(false).await;
    }

    /// Tells the bridge what became of its job, and lets the lease go.
    async fn answer(&mut self, result: Result<Outcome, String>) {
        let Some(Held { lease, job: Some(id), .. }) = self.held.take() else { return };
        let result = match result {
            Ok(outcome) => outcome.result,
            Err(reason) => Err(crate::speech::Failure::Failed(reason)),
        };
        self.say(lease, &FromWorker::Done(Done { id, result })).await;
    }

    /// Gives up a lease on which something is wrong.
    async fn let_go(&mut self, why: &str) {
        let Some(held) = self.held.take() else { return };
        warn!(slot = self.name, "a lease is let go: {why}");
        self.abort.notify_one();
        self.say(held.lease, &FromWorker::Refused(why.to_owned())).await;
        self.beat(false).await;
    }

    async fn say(&mut self, lease: Lease, message: &FromWorker) {
        let mut frames = Vec::new();
        if let Err(problem) = message.write(&mut frames) {
            error!(slot = self.name, "an answer cannot be sent: {problem}");
            return;
        }
        for (number, piece) in (0..).zip(split(&frames, self.client.max_payload())) {
            let subject = self.subjects.answer(lease, number);
            if let Err(problem) = self.client.publish(subject, piece.to_vec().into()).await {
                warn!(slot = self.name, "an answer was not sent: {problem}");
                return;
            }
        }
    }

    async fn tick(&mut self) {
        let late = |held: &Held| held.job.is_none() && held.heard.elapsed() >= PIECES;
        if self.held.as_ref().is_some_and(late) {
            self.let_go("its job does not come").await;
        }
        self.beat(false).await;
    }

    async fn beat(&mut self, leaving: bool) {
        // what is said while there is no connection would be heard much later
        if self.client.connection_state() != State::Connected {
            return;
        }
        let beat = Beat {
            bus: VERSION,
            protocol: protocol::VERSION,
            version: env!("CARGO_PKG_VERSION").into(),
            worker: self.name.clone(),
            machine: self.machine.clone(),
            model: self.settings.model_name(),
            language: self.settings.language.clone(),
            dictionary: self.words.back().map_or_else(String::new, |words| words.version.clone()),
            free: self.held.is_none() && matches!(self.doing, Doing::Idle(_)),
            lease: self.held.as_ref().map(|held| held.lease),
            decoding: matches!(self.doing, Doing::Working(_)),
            leaving,
        };
        if let Ok(body) = serde_json::to_vec(&beat) {
            let _ = self.client.publish(self.subjects.beats(), body.into()).await;
        }
    }
}

impl Doing {
    /// The end of what is being done; never comes while nothing is.
    async fn next(&mut self) -> Event {
        match self {
            Doing::Idle(_) => std::future::pending().await,
            Doing::Working(work) => {
                let (process, result) = work.await;
                Event::Worked(process, result)
            }
            Doing::Starting(start) => Event::Started(start.await),
        }
    }
}

/// Starts a process, as often as needed.
async fn start(executable: PathBuf, settings: Settings) -> Box<Worker> {
    loop {
        match Worker::start(&executable, &settings).await {
            Ok(worker) => return Box::new(worker),
            Err(problem) => {
                error!("a worker could not be started again, next try in {} s: {problem}", RESTART.as_secs());
                sleep(RESTART).await;
            }
        }
    }
}

/// The job as the pool of this machine knows jobs; whose it is, is the bridge's matter.
fn job(sound: Sound) -> Job {
    let Sound { id, kind, rate, pcm, scopes } = sound;
    let stream = crate::pbx::StreamId(uuid::Uuid::nil());
    Job { id, kind, stream, utterance: 0, rate, pcm, scopes, since: Mono(0), deadline: None }
}

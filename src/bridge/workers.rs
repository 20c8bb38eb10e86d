//! The worker processes: starts them, feeds them from the [`Schedule`](crate::speech::schedule::Schedule), replaces those that die or hang, hands outcomes to the hub.
//!
//! One task for each worker (`process` is one of them). A worker has one job at a time; one that does not answer within the job's patience is killed. No final is lost: what
//! waited still waits, what ran is tried once more by another process. A partial that something newer replaced is given up where it is.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::bridge::remote::{self, Remote};
use crate::bridge::{Input, now};
use crate::dictionary::Dictionary;
use crate::pbx::StreamId;
use crate::speech::protocol::{ProtocolError, Words};
use crate::speech::settings::Settings;
use crate::speech::{Job, JobKind, Outcome};
use crate::time::Now;

mod counters;
pub mod machine;
mod nats_slots;
mod pace;
mod process;
mod remote_slots;
mod shared;

pub use counters::Counters;
pub use pace::Pace;

use nats_slots::Bus;
use process::Worker;
use shared::Shared;

/// How long running jobs may go on after the stop, before their workers are killed.
const STOP: Duration = Duration::from_secs(3);

/// Why no worker can work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The executable could not be started.
    #[error(
        "worker {path}: {source}; expected this program itself to start again. Was it moved or replaced while it ran?"
    )]
    Spawn {
        /// The executable.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The worker said that it cannot work.
    #[error("{0}")]
    Refused(String),
    /// It did not come up.
    #[error(
        "worker of {model}: not ready within {seconds} s. Is the disk or the machine overloaded? (`[speech] start_timeout_ms`)"
    )]
    Slow {
        /// The model.
        model: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// It ended without a word.
    #[error("worker of {model}: it ended while it started ({status}); its standard error says why")]
    Ended {
        /// The model.
        model: PathBuf,
        /// How it ended.
        status: String,
    },
    /// The recogniser on another machine cannot be used.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// NATS cannot be used as it is set.
    #[error(transparent)]
    Nats(#[from] crate::bridge::nats::Error),
    /// It does not speak our protocol.
    #[error("worker: {0}; install the same version of bridge and worker")]
    Protocol(#[from] ProtocolError),
    /// This program cannot recognise.
    #[error(
        "this program was built without recognition; build it with the feature `whisper` (on by default), or set `transcribe = false` for every line"
    )]
    NotBuilt,
}

/// The pool; cheap to clone.
#[derive(Clone, Debug)]
pub struct Workers {
    shared: Arc<Shared>,
}

/// Starts the workers and waits until they are ready. Outcomes go to `hub`; while it is full, workers wait.
///
/// # Errors
/// When a worker cannot be started or says that it cannot work: missing or damaged model, wrong language, built without recognition.
pub async fn spawn(
    settings: &Settings,
    dictionary: Arc<Dictionary>,
    hub: mpsc::Sender<Input>,
) -> Result<Workers, Error> {
    let executable =
        std::env::current_exe().map_err(|source| Error::Spawn { path: PathBuf::from("/proc/self/exe"), source })?;
    spawn_with(executable, settings, dictionary, hub).await
}

/// As [`spawn`], with another executable that has the subcommand `worker`.
///
/// # Errors
/// As [`spawn`].
pub async fn spawn_with(
    executable: PathBuf,
    settings: &Settings,
    dictionary: Arc<Dictionary>,
    hub: mpsc::Sender<Input>,
) -> Result<Workers, Error> {
    if settings.is_local() && cfg!(not(feature = "whisper")) {
        return Err(Error::NotBuilt);
    }
    let remote = settings.remote.is_on().then(|| Remote::new(&settings.remote, &settings.language)).transpose()?;
    let count = if settings.is_local() { count(settings.workers) } else { 0 };
    let mut shared = Shared::new(settings, executable, count, dictionary, remote);
    if settings.nats.is_on() {
        shared.nats = Some(Bus::connect(&settings.nats, &settings.model_name(), &settings.language).await?);
    }
    let shared = Arc::new(shared);
    let mut ready = Vec::new();
    for slot in 0..count {
        ready.push(shared.start(slot).await?);
    }
    if count > 0 {
        info!(workers = count, model = %settings.model.display(), "recognition is ready");
    }
    shared.start_remote(&hub);
    shared.start_nats(&hub);
    for (slot, worker) in ready.into_iter().enumerate() {
        shared.running.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(run(shared.clone(), slot, worker, hub.clone()));
    }
    Ok(Workers { shared })
}

/// Workers when the settings leave it open: one for every two cores.
fn count(setting: u16) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if setting > 0 { setting.into() } else { (cores / 2).max(1) }
}

fn words(dictionary: &Dictionary) -> Words {
    Words { version: dictionary.version().to_owned(), content: dictionary.to_bytes().into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// Hands in a job; its outcome comes to the hub. Gives the ids of jobs that it replaces: nothing comes of them.
    ///
    /// # Errors
    /// Gives it back when too much sound waits, or after the stop: its sound is on disk, or waits with the caller. A partial is dropped then.
    pub fn submit(&self, job: Job) -> Result<Vec<u64>, Job> {
        self.submit_at(now(), job)
    }

    /// As [`Workers::submit`], at a time that is known.
    ///
    /// # Errors
    /// As [`Workers::submit`].
    pub fn submit_at(&self, now: Now, job: Job) -> Result<Vec<u64>, Job> {
        if *self.shared.stopping.borrow() {
            return Err(job);
        }
        let replaced = self.shared.with_schedule(|schedule| schedule.submit(now, job))?;
        self.shared.wake.notify_waiters();
        Ok(self.shared.replace_running(replaced))
    }

    /// Takes back the partials of an utterance whose final has to wait elsewhere. Gives the ids of jobs of which nothing comes.
    pub fn withdraw(&self, stream: StreamId, utterance: u32) -> Vec<u64> {
        let replaced = self.shared.with_schedule(|schedule| schedule.withdraw(stream, utterance));
        self.shared.replace_running(replaced)
    }

    /// How often running utterances are to be read; follows the load.
    pub fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.shared.pace)
    }

    /// A pool whose processes are played by a test, in virtual time; see [`Workers::schedule`].
    #[cfg(test)]
    pub(super) fn played(settings: &Settings, count: usize) -> Workers {
        Workers { shared: Arc::new(Shared::new(settings, PathBuf::new(), count, Arc::new(Dictionary::empty()), None)) }
    }

    /// What the tasks of the processes do with the schedule.
    #[cfg(test)]
    pub(super) fn schedule<T>(&self, work: impl FnOnce(&mut crate::speech::schedule::Schedule) -> T) -> T {
        self.shared.with_schedule(work)
    }

    /// Whether `samples` more of this kind may wait; for who would have to read them from disk first.
    pub fn has_room(&self, kind: JobKind, samples: usize, rate: u32) -> bool {
        lock(&self.shared.schedule).has_room(kind, samples, rate)
    }

    /// Every job that starts from now on is decoded with `dictionary`.
    pub fn set_dictionary(&self, dictionary: &Arc<Dictionary>) {
        let same = lock(&self.shared.words).version == dictionary.version();
        if !same {
            *lock(&self.shared.words) = words(dictionary);
            *lock(&self.shared.dictionary) = Arc::clone(dictionary);
        }
    }

    /// What was done and what waits.
    pub fn counters(&self) -> Counters {
        let schedule = lock(&self.shared.schedule);
        let (load, counts, behind) = (schedule.load(), schedule.counts(), schedule.behind(now().mono));
        let behind_ms = u64::try_from(behind.as_millis()).unwrap_or(u64::MAX);
        let machines = self.shared.nats.as_ref().map_or(0, Bus::living);
        self.shared.done.add_to(Counters { load, counts, behind_ms, machines, ..Counters::default() })
    }

    /// Process ids of the workers that run.
    pub fn pids(&self) -> Vec<u32> {
        self.shared.pids.iter().map(|pid| pid.load(Ordering::SeqCst)).filter(|pid| *pid != 0).collect()
    }

    /// Takes no more jobs, lets running ones finish (3 s at most), ends the processes. What waited is not decoded.
    pub async fn stop(self) {
        self.shared.stopping.send_replace(true);
        self.shared.wake.notify_waiters();
        let ended = async {
            loop {
                let notified = self.shared.ended.notified();
                if self.shared.running.load(Ordering::SeqCst) == 0 {
                    return;
                }
                notified.await;
            }
        };
        let _ = timeout(STOP + Duration::from_secs(1), ended).await;
    }
}

/// Runs one slot until the pool stops.
async fn run(shared: Arc<Shared>, slot: usize, first: Worker, hub: mpsc::Sender<Input>) {
    let mut worker = Some(first);
    while let Some(running) = &mut worker {
        let Some(next) = shared.next(true).await else { break };
        tell(&hub, next.withdrawn).await;
        let Some((patience, job)) = next.job else { continue };
        let words = lock(&shared.words).clone();
        let worked = tokio::select! {
            worked = timeout(patience, running.work(&job, &words, shared.given_up(&job))) => worked,
            () = stopped_for_long(&shared) => break,
        };
        let result = worked.unwrap_or_else(|_| Err(format!("no answer within {} ms", patience.as_millis())));
        if let Err(reason) = &result {
            warn!(slot, job = job.id, "a worker failed and is replaced: {reason}");
            worker = None; // kills it
            shared.set_pid(slot, 0);
        }
        let outcome = shared.note(job.id, result);
        shared.wake.notify_waiters(); // the stream of this job is free for its next one
        tell(&hub, outcome).await;
        if worker.is_none() {
            worker = shared.replace(slot).await;
        }
    }
    if let Some(mut worker) = worker {
        worker.end().await;
    }
    shared.set_pid(slot, 0);
    shared.slot_ended();
}

/// Tells the hub what became of jobs; one that is gone needs to know nothing.
async fn tell(hub: &mpsc::Sender<Input>, outcomes: impl IntoIterator<Item = Outcome>) {
    for outcome in outcomes {
        let _ = hub.send(Input::Recognized(outcome)).await;
    }
}

/// Comes back [`STOP`] after the pool began to stop.
async fn stopped_for_long(shared: &Shared) {
    shared.stopped().await;
    sleep(STOP).await;
}

#[cfg(test)]
mod tests;

//! What the slots of a pool share: the schedule, the words, what was handed on, and what there is to do next.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::error;

use super::counters::Done;
use super::nats_slots::Bus;
use super::process::Worker;
use super::{Error, Pace, lock, words};
use crate::bridge::now;
use crate::bridge::remote::Remote;
use crate::dictionary::Dictionary;
use crate::speech::protocol::Words;
use crate::speech::schedule::{Replaced, Schedule};
use crate::speech::settings::Settings;
use crate::speech::{Failure, Job, Outcome};

/// Waits between attempts to start a worker that does not start.
const RESTART: [u64; 5] = [1, 2, 5, 15, 30];

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) executable: PathBuf,
    pub(super) schedule: Mutex<Schedule>,
    pub(super) words: Mutex<Words>,
    /// The same for the recogniser on another machine, which is told words here.
    pub(super) dictionary: Mutex<Arc<Dictionary>>,
    pub(super) wake: Notify,
    /// A running job is to be given up.
    pub(super) abort: Notify,
    pub(super) pace: Arc<Pace>,
    /// The recogniser on another machine.
    pub(super) remote: Option<Remote>,
    /// Workers on other machines.
    pub(super) nats: Option<Bus>,
    /// Running jobs that it handed to the local workers: finals, so one of each stream at most.
    pub(super) handed: Mutex<VecDeque<Job>>,
    pub(super) stopping: watch::Sender<bool>,
    /// Process ids by slot, 0 where none runs.
    pub(super) pids: Vec<AtomicU32>,
    pub(super) running: AtomicU32,
    pub(super) ended: Notify,
    pub(super) done: Done,
}

impl Shared {
    pub(super) fn new(
        settings: &Settings,
        executable: PathBuf,
        count: usize,
        dictionary: Arc<Dictionary>,
        remote: Option<Remote>,
    ) -> Shared {
        Shared {
            settings: settings.clone(),
            executable,
            schedule: Mutex::new(Schedule::new(settings, count)),
            words: Mutex::new(words(&dictionary)),
            dictionary: Mutex::new(dictionary),
            wake: Notify::new(),
            abort: Notify::new(),
            pace: Arc::new(Pace::new(settings)),
            remote,
            nats: None,
            handed: Mutex::new(VecDeque::new()),
            stopping: watch::Sender::new(false),
            pids: (0..count).map(|_| AtomicU32::new(0)).collect(),
            running: AtomicU32::new(0),
            ended: Notify::new(),
            done: Done::default(),
        }
    }

    /// Works with the schedule, which knows how many slots take jobs now; the pace follows what it says afterwards.
    pub(super) fn with_schedule<T>(&self, work: impl FnOnce(&mut Schedule) -> T) -> T {
        let mut schedule = lock(&self.schedule);
        schedule.set_workers(self.slots());
        let done = work(&mut schedule);
        self.pace.follow(&schedule);
        done
    }

    /// Starts a process for a slot.
    pub(super) async fn start(&self, slot: usize) -> Result<Worker, Error> {
        let worker = Worker::start(&self.executable, &self.settings).await?;
        self.set_pid(slot, worker.pid());
        Ok(worker)
    }

    pub(super) fn set_pid(&self, slot: usize, pid: u32) {
        if let Some(place) = self.pids.get(slot) {
            place.store(pid, Ordering::SeqCst);
        }
    }

    /// Starts a replacement, as often as needed; `None` when the pool stops.
    pub(super) async fn replace(&self, slot: usize) -> Option<Worker> {
        self.done.restarts.fetch_add(1, Ordering::Relaxed);
        for attempt in 0.. {
            if *self.stopping.borrow() {
                return None;
            }
            match self.start(slot).await {
                Ok(worker) => return Some(worker),
                Err(problem) => {
                    let wait = RESTART.get(attempt).or(RESTART.last()).copied().unwrap_or(30);
                    error!(slot, "a worker could not be started again, next try in {wait} s: {problem}");
                    let _ = timeout(Duration::from_secs(wait), self.stopped()).await;
                }
            }
        }
        None
    }

    /// The task of a slot is over, for who waits in [`Workers::stop`].
    pub(super) fn slot_ended(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.ended.notify_waiters();
    }

    pub(super) async fn stopped(&self) {
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// What there is to do next, once there is something; `None` when the pool stops.
    pub(super) async fn next(&self, local: bool) -> Option<Next> {
        loop {
            let woken = self.wake.notified(); // before the look, so that no job is missed
            if *self.stopping.borrow() {
                return None;
            }
            let handed = if local { lock(&self.handed).pop_front() } else { None };
            if let Some(job) = handed {
                let patience = self.with_schedule(|schedule| {
                    schedule.begun(now(), job.id);
                    schedule.patience(&job)
                });
                return Some(Next { job: Some((patience, job)), withdrawn: Vec::new() });
            }
            if !self.may_take(local) {
                woken.await;
                continue;
            }
            let mut withdrawn = Vec::new();
            let job = self.with_schedule(|schedule| {
                let attempt = schedule.take(now(), &mut withdrawn)?;
                Some((schedule.patience(&attempt.job), attempt.job))
            });
            if job.is_some() || !withdrawn.is_empty() {
                return Some(Next { job, withdrawn });
            }
            woken.await;
        }
    }

    /// Tells the workers when a running job is to be given up.
    pub(super) fn replace_running(&self, replaced: Replaced) -> Vec<u64> {
        if replaced.running {
            self.abort.notify_waiters();
        }
        replaced.waiting
    }

    /// Comes when a partial that runs is not wanted any more.
    pub(super) async fn given_up(&self, job: &Job) {
        loop {
            let told = self.abort.notified(); // before the look, so that none is missed
            if job.kind.is_partial() && lock(&self.schedule).is_withdrawn(job.id) {
                return;
            }
            told.await;
        }
    }

    /// Notes what a worker made of a job: the outcome to tell, unless the job is tried again.
    pub(super) fn note(&self, id: u64, result: Result<Outcome, String>) -> Option<Outcome> {
        self.with_schedule(|schedule| {
            let is_partial = schedule.is_partial(id);
            let reason = match result {
                Ok(Outcome { id, result: Ok(hypothesis) }) => {
                    let wanted = schedule.done(now(), id);
                    self.done.decoded(id, &hypothesis, is_partial);
                    let result = if wanted { Ok(hypothesis) } else { Err(Failure::Withdrawn) };
                    return Some(Outcome { id, result });
                }
                Ok(Outcome { id, result: Err(Failure::Withdrawn) }) => {
                    schedule.done(now(), id);
                    return Some(Outcome { id, result: Err(Failure::Withdrawn) });
                }
                Ok(Outcome { result: Err(failure), .. }) => failure.to_string(),
                Err(reason) => reason,
            };
            let outcome = schedule.failed(now(), id, &reason)?;
            self.done.failures.fetch_add(u64::from(!is_partial), Ordering::Relaxed);
            Some(outcome)
        })
    }
}

/// Work for a slot.
#[derive(Debug)]
pub(super) struct Next {
    /// The job and how long it may take.
    pub(super) job: Option<(Duration, Job)>,
    /// Jobs that came too late.
    pub(super) withdrawn: Vec<Outcome>,
}

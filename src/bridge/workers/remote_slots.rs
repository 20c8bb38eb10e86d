//! The slots of the recogniser on another machine, beside those of the worker processes: same schedule, same outcomes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Shared, lock, stopped_for_long, tell};
use crate::bridge::remote::Remote;
use crate::bridge::{Input, now};
use crate::speech::remote::{Sound, Trouble};
use crate::speech::{Failure, Hypothesis, Job, Outcome};

impl Shared {
    /// The slots of the recogniser on another machine, and who looks whether it is there.
    pub(super) fn start_remote(self: &Arc<Self>, hub: &mpsc::Sender<Input>) {
        if self.remote.is_none() {
            return;
        }
        info!(
            slots = self.settings.remote.concurrency,
            fallback = self.settings.remote.fallback,
            "recognition by a server"
        );
        for _ in 0..self.settings.remote.concurrency {
            self.running.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(run_remote(Arc::clone(self), hub.clone()));
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let Some(remote) = &shared.remote else { return };
            tokio::select! {
                () = remote.probe(|| shared.wake.notify_waiters()) => {}
                () = shared.stopped() => {}
            }
        });
    }

    /// Whether a slot may take jobs: those of the server while it works, the local ones while it does not or where there is none.
    pub(super) fn may_take(&self, local: bool) -> bool {
        self.remote.as_ref().is_none_or(|remote| remote.works() != local)
    }

    /// How many slots take jobs now, or would if the server worked.
    pub(super) fn slots(&self) -> usize {
        let local = self.pids.len();
        if let Some(bus) = &self.nats {
            return local + bus.usable();
        }
        let of_server = |remote: &Remote| remote.works() || local == 0;
        match self.remote.as_ref().is_some_and(of_server) {
            true => self.settings.remote.concurrency.into(),
            false => local,
        }
    }

    /// Notes what the server made of a job. One that met a server which takes nothing goes back uncounted (`counts`: it was thought to work);
    /// one that it broke on or refused is the local workers' with `fallback`, else it is tried once more.
    fn note_remote(&self, job: Job, asked: Result<Hypothesis, Trouble>, counts: bool) -> Option<Outcome> {
        let id = job.id;
        match asked {
            Ok(hypothesis) => {
                self.done.remote.fetch_add(1, Ordering::Relaxed);
                self.note(id, Ok(Outcome { id, result: Ok(hypothesis) }))
            }
            Err(_) if job.kind.is_partial() => self.with_schedule(|schedule| schedule.put_back(now(), id)),
            Err(Trouble::Refused(_) | Trouble::Fault(_)) if self.settings.remote.fallback => {
                self.with_schedule(|schedule| schedule.hand_on(now(), id)); // before a worker can have begun it
                lock(&self.handed).push_back(job);
                None
            }
            Err(Trouble::Refused(why) | Trouble::Fault(why)) if counts => {
                warn!(job = id, "the transcription server gave no text: {why}");
                self.note(id, Err(why))
            }
            Err(_) => self.with_schedule(|schedule| schedule.put_back(now(), id)),
        }
    }
}

/// Runs one slot of the recogniser on another machine until the pool stops.
async fn run_remote(shared: Arc<Shared>, hub: mpsc::Sender<Input>) {
    let Some(remote) = &shared.remote else { return };
    while let Some(next) = shared.next(false).await {
        tell(&hub, next.withdrawn).await;
        let Some((_, job)) = next.job else { continue };
        let heard = Sound { rate: job.rate, pcm: Arc::clone(&job.pcm) };
        let dictionary = if job.kind.is_partial() { None } else { Some(Arc::clone(&lock(&shared.dictionary))) };
        let asked = async {
            match &dictionary {
                Some(dictionary) => remote.hear(&heard, dictionary.on(&job.scopes)).await,
                None => remote.ask(&heard, "").await,
            }
        };
        let asked = tokio::select! {
            asked = asked => Some(asked),
            () = shared.given_up(&job) => None,
            () = stopped_for_long(&shared) => break,
        };
        let outcome = match asked {
            Some(asked) => {
                let counts = remote.works();
                remote.note(&asked);
                shared.note_remote(job, asked, counts)
            }
            None => shared.note(job.id, Ok(Outcome { id: job.id, result: Err(Failure::Withdrawn) })),
        };
        shared.wake.notify_waiters();
        tell(&hub, outcome).await;
    }
    shared.slot_ended();
}

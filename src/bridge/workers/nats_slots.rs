//! The slots of workers on other machines: one task for each that lives, with the schedule and the outcomes of the pool.
//!
//! A slot takes a job only while its worker says that it is free, asks for a lease, sends the job and waits. A worker that falls silent, or lets the
//! lease go, loses the job to another one; what it says later comes to nobody.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Message as Received, RequestErrorKind, Subscriber};
use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::{interval, timeout};
use tracing::{info, warn};

use super::{Shared, lock, stopped_for_long, tell};
use crate::bridge::nats::{Error, Link};
use crate::bridge::{Input, now};
use crate::speech::nats::roster::{EVERY, News, Roster, Standing};
use crate::speech::nats::{Claim, Grant, Joined, Lease, Settings, Subjects, VERSION, number, read, split};
use crate::speech::protocol::{self, Decoder, FromWorker, Message, ProtocolError, Sound, ToWorker, Words};
use crate::speech::{Failure, Job, Outcome};

/// Time for the answer to a claim.
const CLAIM: Duration = Duration::from_secs(2);
/// Time that a dictionary may add to its job, for each megabyte.
const PER_MEGABYTE: Duration = Duration::from_secs(2);

/// The bus, and which workers are on it.
#[derive(Debug)]
pub(super) struct Bus {
    client: Client,
    subjects: Subjects,
    roster: Mutex<Roster>,
    /// The roster is another one.
    changed: Notify,
    /// Workers that have a slot.
    slots: Mutex<HashSet<String>>,
}

/// Why a worker gave no answer to a job.
#[derive(Debug)]
enum Ended {
    /// It was not begun.
    NotBegun,
    /// The worker, or the way to it, is gone.
    Lost(String),
    /// No answer, though the worker lives, or nothing that could be sent.
    Failed(String),
    /// The worker cannot work for this bridge.
    Refused(String),
}

impl Bus {
    /// Begins to connect.
    pub(super) async fn connect(settings: &Settings, model: &str, language: &str) -> Result<Bus, Error> {
        let client = Link::of_speech(settings).connect().await?;
        let roster = Mutex::new(Roster::new(model, language));
        Ok(Bus {
            client,
            subjects: Subjects::new(&settings.group),
            roster,
            changed: Notify::new(),
            slots: Mutex::default(),
        })
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        lock(&self.roster)
    }

    /// Workers that take jobs of this bridge, or do one.
    pub(super) fn usable(&self) -> usize {
        self.roster().usable()
    }

    /// Workers that live and fit.
    pub(super) fn living(&self) -> usize {
        self.roster().living()
    }

    /// Whether a worker that came needs a slot; it has one that is ending when it was away for a moment only.
    fn open_slot(&self, worker: &str) -> bool {
        lock(&self.slots).insert(worker.to_owned())
    }

    /// Whether the slot of a worker may end: it is gone.
    fn close_slot(&self, worker: &str) -> bool {
        let mut slots = lock(&self.slots);
        let gone = self.roster().standing(worker) == Standing::Gone;
        gone && slots.remove(worker)
    }

    /// Waits until what is known of a worker is so.
    async fn until(&self, is_so: impl Fn(&Roster) -> bool) {
        loop {
            let changed = self.changed.notified(); // before the look, so that no change is missed
            if is_so(&self.roster()) {
                return;
            }
            changed.await;
        }
    }

    /// Asks a worker for a lease; whether it has the dictionary.
    async fn claim(&self, worker: &str, claim: &Claim) -> Result<bool, Ended> {
        // what is said while there is no connection would be heard much later
        if self.client.connection_state() != State::Connected {
            return Err(Ended::NotBegun);
        }
        let body = serde_json::to_vec(claim).map_err(|error| Ended::Refused(error.to_string()))?;
        let request = self.client.request(self.subjects.claim(worker), body.into());
        let answer = match timeout(CLAIM, request).await {
            Ok(Ok(answer)) => read::<Grant>(&answer.payload),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => return Err(Ended::NotBegun),
            Ok(Err(_)) | Err(_) => return Err(Ended::NotBegun),
        };
        match answer {
            Ok(Grant::Granted { has_words }) => Ok(has_words),
            Ok(Grant::Busy) => Err(Ended::NotBegun),
            Ok(Grant::Refused(why)) => Err(Ended::Refused(why)),
            Err(problem) => Err(Ended::Refused(format!("its answer cannot be read: {problem}"))),
        }
    }

    /// Sends frames in pieces, the first with this number; gives the next number.
    async fn send(&self, worker: &str, lease: Lease, mut next: u64, frames: &[u8]) -> Result<u64, Ended> {
        for piece in split(frames, self.client.max_payload()) {
            let subject = self.subjects.piece(worker, lease, next);
            let sent = self.client.publish(subject, piece.to_vec().into()).await;
            sent.map_err(|error| Ended::Lost(error.to_string()))?;
            next += 1;
        }
        Ok(next)
    }

    /// Has a job done by a worker that was free a moment ago. `given_up` comes when nobody waits for its outcome any more.
    async fn work(
        &self,
        worker: &str,
        job: &Job,
        words: &Words,
        patience: Duration,
        given_up: impl Future<Output = ()>,
    ) -> Result<Outcome, Ended> {
        let lease = draw();
        let subscribed = self.client.subscribe(self.subjects.answers(lease)).await;
        let mut answers = subscribed.map_err(|error| Ended::Lost(error.to_string()))?;
        let claim = Claim {
            bus: VERSION,
            protocol: protocol::VERSION,
            lease,
            dictionary: words.version.clone(),
            patience_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
        };
        let has_words = self.claim(worker, &claim).await?;
        self.roster().granted(now().mono, worker, lease);
        let mut frames = Vec::new();
        let mut patience = patience;
        let unsendable = |problem: ProtocolError| Ended::Failed(problem.to_string());
        if !has_words {
            ToWorker::Dictionary(words.clone()).write(&mut frames).map_err(unsendable)?;
            patience += PER_MEGABYTE.mul_f64(words.content.len() as f64 / 1e6);
        }
        let (pcm, scopes) = (job.pcm.clone(), job.scopes.clone());
        let sound = Sound { id: job.id, kind: job.kind, rate: job.rate, pcm, scopes };
        ToWorker::Job(sound).write(&mut frames).map_err(unsendable)?;
        let exchange = async {
            let next = self.send(worker, lease, 0, &frames).await?;
            tokio::select! {
                answer = answer(&mut answers, job.id) => answer,
                () = given_up => {
                    let mut abort = Vec::new();
                    ToWorker::Abort(job.id).write(&mut abort).map_err(unsendable)?;
                    self.send(worker, lease, next, &abort).await?;
                    Ok(Outcome { id: job.id, result: Err(Failure::Withdrawn) })
                }
            }
        };
        tokio::select! {
            biased; // an answer may come together with its worker's goodbye
            ended = timeout(patience, exchange) => {
                ended.unwrap_or_else(|_| Err(Ended::Failed(format!("no answer within {} ms", patience.as_millis()))))
            }
            () = self.until(|roster| roster.is_lost(worker)) => Err(Ended::Lost("its worker fell silent".into())),
        }
    }
}

/// A lease that nobody else has.
fn draw() -> Lease {
    let mut bytes = [0; 8];
    // without randomness the time still makes it differ
    if getrandom::fill(&mut bytes).is_err() {
        return now().mono.0;
    }
    Lease::from_le_bytes(bytes)
}

/// The answer to a job, out of its pieces.
async fn answer(pieces: &mut Subscriber, id: u64) -> Result<Outcome, Ended> {
    let (mut joined, mut decoder) = (Joined::default(), Decoder::default());
    loop {
        let Some(Received { subject, payload, .. }) = pieces.next().await else {
            return Err(Ended::Lost("the connection was closed".into()));
        };
        let Some(number) = number(&subject) else { continue };
        match joined.take(number) {
            Ok(true) => decoder.push(&payload),
            Ok(false) => continue,
            Err(gap) => return Err(Ended::Lost(gap.to_string())),
        }
        match decoder.message() {
            Ok(None) => {}
            Ok(Some(FromWorker::Done(done))) if done.id == id => return Ok(Outcome { id, result: done.result }),
            Ok(Some(FromWorker::Refused(why))) => return Err(Ended::Lost(why)),
            Ok(Some(_)) => return Err(Ended::Lost("it answered something else".into())),
            Err(problem) => return Err(Ended::Lost(problem.to_string())),
        }
    }
}

impl Shared {
    /// Listens for workers on other machines, with a slot for each that lives.
    pub(super) fn start_nats(self: &Arc<Self>, hub: &mpsc::Sender<Input>) {
        if self.nats.is_none() {
            return;
        }
        let (shared, hub) = (Arc::clone(self), hub.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = listen(&shared, &hub) => {}
                () = shared.stopped() => {}
            }
        });
    }

    /// The roster is another one: the schedule has more or fewer workers.
    fn workers_changed(&self) {
        self.with_schedule(|_| ());
        if let Some(bus) = &self.nats {
            bus.changed.notify_waiters();
        }
        self.wake.notify_waiters();
    }
}

/// Hears beats, and notices those that do not come; never ends while there is a client.
async fn listen(shared: &Arc<Shared>, hub: &mpsc::Sender<Input>) {
    let Some(bus) = &shared.nats else { return };
    let Ok(mut beats) = bus.client.subscribe(bus.subjects.beats()).await else { return };
    let mut look = interval(EVERY / 2);
    loop {
        tokio::select! {
            beat = beats.next() => {
                let Some(beat) = beat else { return };
                let Ok(beat) = read(&beat.payload) else {
                    warn!("[speech.nats]: a worker tells what cannot be read; install the same version on bridge and worker");
                    continue;
                };
                let news = bus.roster().heard(now().mono, &beat);
                match news {
                    News::Came => {
                        info!(machine = beat.machine, worker = beat.worker, "a worker on another machine is there");
                        if bus.open_slot(&beat.worker) {
                            shared.running.fetch_add(1, Ordering::SeqCst);
                            tokio::spawn(run(Arc::clone(shared), beat.worker.clone(), hub.clone()));
                        }
                    }
                    News::Left => info!(machine = beat.machine, worker = beat.worker, "a worker on another machine has ended"),
                    News::Refused(why) => warn!("[speech.nats]: {why}"),
                    News::Known | News::Ignored => {}
                }
                shared.workers_changed();
            }
            _ = look.tick() => {
                let silent = bus.roster().expire(now().mono);
                if silent > 0 {
                    warn!(silent, living = bus.living(), "[speech.nats]: workers fell silent; what they did is done by others");
                    shared.workers_changed();
                }
            }
        }
    }
}

/// Runs the slot of one worker until it is gone or the pool stops.
async fn run(shared: Arc<Shared>, worker: String, hub: mpsc::Sender<Input>) {
    let Some(bus) = &shared.nats else { return };
    loop {
        tokio::select! {
            () = bus.until(|roster| roster.standing(&worker) != Standing::Busy) => {}
            () = shared.stopped() => break,
        }
        if bus.close_slot(&worker) {
            break;
        }
        let next = tokio::select! {
            next = shared.next(false) => next,
            () = bus.until(|roster| roster.standing(&worker) != Standing::Free) => continue,
        };
        let Some(next) = next else { break };
        tell(&hub, next.withdrawn).await;
        let Some((patience, job)) = next.job else { continue };
        let words = lock(&shared.words).clone();
        let ended = tokio::select! {
            ended = bus.work(&worker, &job, &words, patience, shared.given_up(&job)) => ended,
            () = stopped_for_long(&shared) => break,
        };
        if ended.is_err() {
            bus.roster().taken(&worker); // until its next beat
        }
        bus.roster().released(&worker);
        let outcome = shared.note_far(&job, ended);
        shared.workers_changed(); // the stream of this job is free for its next one
        tell(&hub, outcome).await;
    }
    shared.slot_ended();
}

impl Shared {
    /// Notes what became of a job with a worker on another machine.
    fn note_far(&self, job: &Job, ended: Result<Outcome, Ended>) -> Option<Outcome> {
        let id = job.id;
        match ended {
            Ok(outcome) => {
                self.done.remote.fetch_add(u64::from(outcome.result.is_ok()), Ordering::Relaxed);
                self.note(id, Ok(outcome))
            }
            Err(Ended::NotBegun) => self.with_schedule(|schedule| schedule.put_back(now(), id)),
            Err(Ended::Refused(why)) => {
                warn!(job = id, "a worker on another machine takes nothing of this bridge: {why}");
                self.with_schedule(|schedule| schedule.put_back(now(), id))
            }
            Err(Ended::Lost(why)) => {
                warn!(job = id, "a job goes to another worker: {why}");
                let outcome = self.with_schedule(|schedule| schedule.lost(now(), id, &why))?;
                self.done.failures.fetch_add(u64::from(!job.kind.is_partial()), Ordering::Relaxed);
                Some(outcome)
            }
            Err(Ended::Failed(why)) => {
                warn!(job = id, "a worker on another machine failed: {why}");
                self.note(id, Err(why))
            }
        }
    }
}

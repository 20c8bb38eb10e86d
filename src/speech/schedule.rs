//! Which job runs next. No IO: workers ask with [`Schedule::take`] and tell what became of it.
//!
//! Live finals go first, then the first partial of an utterance, then its further ones; catch-up gets what is left, and a quarter of the time
//! when nothing is left. Of one stream only one final runs at a time, in the order in which they came, so that its texts come out in order. A
//! final whose worker died is tried once more; after the second time it has failed, and is told so.
//!
//! Partials are what is given up: a newer one replaces an older one that waits, a final takes back those of its utterance (also one that runs),
//! and when a final waits and all workers are busy, a partial that runs is taken back for it. While more finals wait than there are workers,
//! no partial is wanted ([`Schedule::pace`]).

use std::collections::VecDeque;
use std::time::Duration;

use super::pace::Pace;
use super::settings::Settings;
use super::{Failure, Job, JobKind, Outcome};
use crate::pbx::StreamId;
use crate::time::{Mono, Now};

/// Catch-up gets one part in this many while live utterances wait.
const CATCH_UP_PART: u64 = 4;
/// Times that a final is tried.
const TRIES: u8 = 2;
/// Workers on other machines that may vanish with a final before that counts as a failure: it may be what makes them vanish.
const MOST_LOST: u8 = 8;
/// Partials that wait at once; of a stream one at most.
const MOST_PARTIALS: usize = 1_024;
/// Shortest time between two partials: less new sound settles nothing (`agreement`).
const LEAST_EVERY: Duration = Duration::from_millis(300);

/// The jobs that wait and run.
#[derive(Debug)]
pub struct Schedule {
    live: Queue,
    /// In the order in which they came.
    partials: VecDeque<Attempt>,
    catch_up: Queue,
    running: Vec<Running>,
    workers: usize,
    pace: Pace,
    partial: Option<(Duration, Duration)>,
    counts: Counts,
    /// Microseconds of sound begun while catch-up and something else waited: catch-up's share is kept by them.
    begun_live: u64,
    begun_catch_up: u64,
    base: Duration,
    per_second: Duration,
}

#[derive(Debug)]
struct Queue {
    jobs: VecDeque<Attempt>,
    /// Microseconds of sound in it.
    waiting: u64,
    limit: u64,
}

/// A job and how often it was tried before.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The job.
    pub job: Job,
    /// Tries that failed.
    pub failed: u8,
    /// Tries whose machine, or the way to it, was gone before it answered.
    pub lost: u8,
}

#[derive(Debug)]
struct Running {
    attempt: Attempt,
    /// Its outcome is not wanted any more.
    withdrawn: bool,
    /// It was handed on and waits for a worker again.
    waits: bool,
}

/// What stands in the schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Jobs that wait.
    pub waiting: usize,
    /// Seconds of sound that wait.
    pub waiting_seconds: f64,
    /// Jobs that run.
    pub running: usize,
}

/// What was done with partials, and how late finals are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Partials that were begun.
    pub partials: u64,
    /// Partials that were taken back before they began, or refused.
    pub partials_dropped: u64,
    /// Partials that were taken back while they ran.
    pub partials_aborted: u64,
    /// Partials whose worker died or hung.
    pub partials_failed: u64,
    /// Times that a final went to another worker, because the machine that had begun it was gone or cut off.
    pub finals_lost: u64,
    /// The longest that a live final has waited from the end of its utterance until a worker had time, in milliseconds.
    pub longest_wait_ms: u64,
}

/// What a job replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Jobs that will not run.
    pub waiting: Vec<u64>,
    /// Whether a job that runs is to be given up; see [`Schedule::is_withdrawn`].
    pub running: bool,
}

impl Queue {
    fn new(seconds: u32) -> Self {
        Self { jobs: VecDeque::new(), waiting: 0, limit: u64::from(seconds) * 1_000_000 }
    }

    /// One job always has a place, however long it is.
    fn takes(&self, micros: u64) -> bool {
        self.jobs.is_empty() || self.waiting + micros <= self.limit
    }

    fn push_back(&mut self, attempt: Attempt) {
        self.waiting += micros(&attempt.job);
        self.jobs.push_back(attempt);
    }

    /// Before all others, however much waits.
    fn push_front(&mut self, attempt: Attempt) {
        self.waiting += micros(&attempt.job);
        self.jobs.push_front(attempt);
    }

    /// The first job whose stream is not among `busy`.
    fn pick(&self, busy: &[StreamId]) -> Option<usize> {
        self.jobs.iter().position(|attempt| !busy.contains(&attempt.job.stream))
    }

    fn remove(&mut self, index: usize) -> Option<Attempt> {
        let attempt = self.jobs.remove(index)?;
        self.waiting = self.waiting.saturating_sub(micros(&attempt.job));
        Some(attempt)
    }
}

/// Length of a job's sound in microseconds.
fn micros(job: &Job) -> u64 {
    job.pcm.len() as u64 * 1_000_000 / u64::from(job.rate.max(1))
}

impl Schedule {
    /// With the limits of `settings`, for so many workers.
    pub fn new(settings: &Settings, workers: usize) -> Self {
        let ms = |ms: u32| Duration::from_millis(ms.into()).max(LEAST_EVERY);
        let (shortest, longest) = (ms(settings.partial_every_ms), ms(settings.partial_every_busy_ms));
        Self {
            live: Queue::new(settings.queue_live_seconds),
            partials: VecDeque::new(),
            catch_up: Queue::new(settings.queue_catch_up_seconds),
            running: Vec::new(),
            workers: workers.max(1),
            pace: Pace::default(),
            partial: settings.partials.then_some((shortest, longest.max(shortest))),
            counts: Counts::default(),
            begun_live: 0,
            begun_catch_up: 0,
            base: Duration::from_millis(settings.job_timeout_ms.into()),
            per_second: Duration::from_millis(settings.job_timeout_per_second_ms.into()),
        }
    }

    /// From now on so many workers take jobs.
    pub fn set_workers(&mut self, workers: usize) {
        self.workers = workers.max(1);
    }

    /// Takes a job to wait for its turn, and says what it replaces.
    ///
    /// # Errors
    /// Gives it back when as much sound of its kind waits as may; it can be handed in again later, or read from disk. A partial is dropped then.
    pub fn submit(&mut self, now: Now, job: Job) -> Result<Replaced, Job> {
        self.pace.advance(now.mono, self.busy(), self.workers);
        if job.kind.is_partial() {
            return self.submit_partial(job);
        }
        let queue = self.queue(job.kind);
        if !queue.takes(micros(&job)) {
            return Err(job);
        }
        let (stream, utterance) = (job.stream, job.utterance);
        queue.push_back(Attempt { job, failed: 0, lost: 0 });
        let mut replaced = self.withdraw(stream, utterance);
        replaced.running |= self.make_way();
        Ok(replaced)
    }

    fn submit_partial(&mut self, job: Job) -> Result<Replaced, Job> {
        let before = self.partials.iter().position(|attempt| attempt.job.stream == job.stream);
        if before.is_none() && (self.is_behind() || self.partials.len() >= MOST_PARTIALS) {
            self.counts.partials_dropped += 1;
            return Err(job);
        }
        let mut attempt = Attempt { job, failed: 0, lost: 0 };
        let mut replaced = Replaced::default();
        if let Some(place) = before.and_then(|index| self.partials.get_mut(index)) {
            // it keeps its place, so that a stream that is read often does not wait for ever
            if place.job.utterance == attempt.job.utterance && place.job.kind == JobKind::FirstPartial {
                attempt.job.kind = JobKind::FirstPartial;
            }
            replaced.waiting.push(place.job.id);
            *place = attempt;
            self.counts.partials_dropped += 1;
        } else {
            self.partials.push_back(attempt);
        }
        Ok(replaced)
    }

    /// Takes back the partials of an utterance: its final is there.
    pub fn withdraw(&mut self, stream: StreamId, utterance: u32) -> Replaced {
        let of = |job: &Job| job.kind.is_partial() && (job.stream, job.utterance) == (stream, utterance);
        let mut replaced = Replaced::default();
        self.partials.retain(|attempt| {
            let gone = of(&attempt.job);
            replaced.waiting.extend(gone.then_some(attempt.job.id));
            !gone
        });
        self.counts.partials_dropped += replaced.waiting.len() as u64;
        for running in self.running.iter_mut().filter(|running| !running.withdrawn && of(&running.attempt.job)) {
            running.withdrawn = true;
            replaced.running = true;
            self.counts.partials_aborted += 1;
        }
        replaced
    }

    /// Gives up a running partial for a final that would have to wait for a worker; tells whether there was one.
    fn make_way(&mut self) -> bool {
        let busy = self.streams_of(|kind| !kind.is_partial());
        let ready = self.live.jobs.iter().filter(|attempt| !busy.contains(&attempt.job.stream)).count();
        let on_the_way = self.running.iter().filter(|running| running.withdrawn).count();
        if self.busy() < self.workers || on_the_way >= ready {
            return false;
        }
        let partials = self.running.iter_mut().filter(|one| !one.withdrawn && one.attempt.job.kind.is_partial());
        // the last of them has cost least so far; a first text is worth more than a further one
        let Some(last) = partials.max_by_key(|one| (one.attempt.job.kind, one.attempt.job.id)) else { return false };
        last.withdrawn = true;
        self.counts.partials_aborted += 1;
        true
    }

    /// Whether [`Schedule::submit`] would take a final of this kind and length.
    pub fn has_room(&self, kind: JobKind, samples: usize, rate: u32) -> bool {
        let queue = match kind {
            JobKind::CatchUp => &self.catch_up,
            _ => &self.live,
        };
        queue.takes(samples as u64 * 1_000_000 / u64::from(rate.max(1)))
    }

    /// The next job for a free worker. Jobs whose deadline has passed come out as `withdrawn` instead.
    pub fn take(&mut self, now: Now, withdrawn: &mut Vec<Outcome>) -> Option<Attempt> {
        self.pace.advance(now.mono, self.busy(), self.workers);
        self.drop_late(now.mono, withdrawn);
        let busy = self.streams_of(|kind| !kind.is_partial());
        let (live, catch_up) = (self.live.pick(&busy), self.catch_up.pick(&busy));
        let partial = self.pick_partial();
        let others = live.is_some() || partial.is_some();
        let owed = self.begun_catch_up * (CATCH_UP_PART - 1) < self.begun_live;
        let attempt = match (live, partial, catch_up) {
            (_, _, Some(index)) if !others || owed => self.catch_up.remove(index),
            (Some(index), _, _) => self.live.remove(index),
            (None, Some(index), _) => self.partials.remove(index),
            (None, None, _) => None,
        }?;
        match (others && catch_up.is_some(), attempt.job.kind) {
            (false, _) => (self.begun_live, self.begun_catch_up) = (0, 0),
            (true, JobKind::CatchUp) => self.begun_catch_up += micros(&attempt.job),
            (true, _) => self.begun_live += micros(&attempt.job),
        }
        match attempt.job.kind {
            JobKind::LiveFinal => {
                let waited = u64::try_from(now.mono.since(attempt.job.since).as_millis()).unwrap_or(u64::MAX);
                self.counts.longest_wait_ms = self.counts.longest_wait_ms.max(waited);
            }
            JobKind::FirstPartial | JobKind::Refresh => self.counts.partials += 1,
            JobKind::CatchUp => {}
        }
        self.running.push(Running { attempt: attempt.clone(), withdrawn: false, waits: false });
        Some(attempt)
    }

    fn drop_late(&mut self, now: Mono, withdrawn: &mut Vec<Outcome>) {
        let late = |attempt: &Attempt| attempt.job.deadline.is_some_and(|deadline| deadline < now);
        let mut gone = Vec::new();
        for queue in [&mut self.live, &mut self.catch_up] {
            while let Some(index) = queue.jobs.iter().position(late) {
                gone.extend(queue.remove(index).map(|attempt| attempt.job.id));
            }
        }
        while let Some(index) = self.partials.iter().position(late) {
            gone.extend(self.partials.remove(index).map(|attempt| attempt.job.id));
            self.counts.partials_dropped += 1;
        }
        withdrawn.extend(gone.into_iter().map(|id| Outcome { id, result: Err(Failure::Withdrawn) }));
    }

    /// The first text of an utterance before further ones; of one stream one runs at a time.
    fn pick_partial(&self) -> Option<usize> {
        let busy = self.streams_of(JobKind::is_partial);
        let free = self.partials.iter().enumerate().filter(|(_, attempt)| !busy.contains(&attempt.job.stream));
        free.min_by_key(|(index, attempt)| (attempt.job.kind, *index)).map(|(index, _)| index)
    }

    /// The streams of running jobs of some kinds.
    fn streams_of(&self, kinds: impl Fn(JobKind) -> bool) -> Vec<StreamId> {
        let of_kind = self.running.iter().filter(|one| kinds(one.attempt.job.kind));
        of_kind.map(|one| one.attempt.job.stream).collect()
    }

    /// How long a worker may take for a job before it counts as hung.
    pub fn patience(&self, job: &Job) -> Duration {
        self.base + self.per_second.mul_f64(micros(job) as f64 / 1e6)
    }

    /// Whether a running job is to be given up: nobody waits for its outcome.
    pub fn is_withdrawn(&self, id: u64) -> bool {
        self.running.iter().any(|one| one.withdrawn && one.attempt.job.id == id)
    }

    /// Whether a running job is a partial.
    pub fn is_partial(&self, id: u64) -> bool {
        self.running.iter().any(|one| one.attempt.job.id == id && one.attempt.job.kind.is_partial())
    }

    /// How much more of a running utterance is to be said before it is read again; `None` while finals wait and there are no partials.
    pub fn pace(&self) -> Option<Duration> {
        let (shortest, longest) = self.partial.filter(|_| !self.is_behind())?;
        Some(self.pace.interval(shortest, longest))
    }

    /// More finals wait than there are workers.
    fn is_behind(&self) -> bool {
        self.live.jobs.len() + self.handed_on().count() > self.workers
    }

    /// Workers that have something to do.
    fn busy(&self) -> usize {
        self.running.iter().filter(|one| !one.waits).count()
    }

    /// Running live finals that wait for another worker.
    fn handed_on(&self) -> impl Iterator<Item = &Job> {
        let jobs = self.running.iter().filter(|one| one.waits).map(|one| &one.attempt.job);
        jobs.filter(|job| job.kind == JobKind::LiveFinal)
    }

    /// A running job was given up by its worker, which hands it on: it waits, outside of the queues, until another one has begun it.
    pub fn hand_on(&mut self, now: Now, id: u64) {
        self.set_waits(now, id, true);
    }

    /// Another worker has begun a job that was handed on.
    pub fn begun(&mut self, now: Now, id: u64) {
        self.set_waits(now, id, false);
    }

    fn set_waits(&mut self, now: Now, id: u64, waits: bool) {
        self.pace.advance(now.mono, self.busy(), self.workers);
        let own = self.running.iter_mut().find(|one| one.attempt.job.id == id);
        own.into_iter().for_each(|one| one.waits = waits);
    }

    /// A running job is done; tells whether its outcome is still wanted.
    pub fn done(&mut self, now: Now, id: u64) -> bool {
        self.stop(now, id).is_some_and(|one| !one.withdrawn)
    }

    /// The worker of a running job died or hung. A final waits for its second try before all others of its kind; after that, its
    /// outcome is handed back. A partial is not tried again.
    pub fn failed(&mut self, now: Now, id: u64, reason: &str) -> Option<Outcome> {
        let Running { mut attempt, .. } = self.stop(now, id)?;
        attempt.failed += 1;
        let is_partial = attempt.job.kind.is_partial();
        self.counts.partials_failed += u64::from(is_partial);
        if attempt.failed >= TRIES || is_partial {
            return Some(Outcome { id, result: Err(Failure::Failed(reason.to_owned())) });
        }
        self.queue(attempt.job.kind).push_front(attempt);
        None
    }

    /// A running job was not even begun (its server takes nothing now): a final waits before all others of its kind, and the try does
    /// not count; a partial comes to nothing.
    pub fn put_back(&mut self, now: Now, id: u64) -> Option<Outcome> {
        let Running { attempt, .. } = self.stop(now, id)?;
        if attempt.job.kind.is_partial() {
            return Some(Outcome { id, result: Err(Failure::Withdrawn) });
        }
        self.queue(attempt.job.kind).push_front(attempt);
        None
    }

    /// A running job was begun on a machine that is gone, or cut off: a final waits before all others of its kind for another worker, and the
    /// try does not count as failed unless that has happened too often; a partial comes to nothing.
    pub fn lost(&mut self, now: Now, id: u64, reason: &str) -> Option<Outcome> {
        let running = self.running.iter_mut().find(|one| one.attempt.job.id == id)?;
        running.attempt.lost = running.attempt.lost.saturating_add(1);
        self.counts.finals_lost += u64::from(!running.attempt.job.kind.is_partial());
        if running.attempt.lost >= MOST_LOST && !running.attempt.job.kind.is_partial() {
            return self.failed(now, id, reason);
        }
        self.put_back(now, id)
    }

    /// What waits and runs now.
    pub fn load(&self) -> Load {
        let handed_on = self.running.iter().filter(|one| one.waits).map(|one| &one.attempt);
        let others: u64 = self.partials.iter().chain(handed_on).map(|attempt| micros(&attempt.job)).sum();
        let waits = self.running.len() - self.busy();
        Load {
            waiting: self.live.jobs.len() + self.partials.len() + self.catch_up.jobs.len() + waits,
            waiting_seconds: (self.live.waiting + others + self.catch_up.waiting) as f64 / 1e6,
            running: self.busy(),
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How long the oldest live final that waits has waited.
    pub fn behind(&self, now: Mono) -> Duration {
        let waiting = self.live.jobs.iter().map(|attempt| &attempt.job).chain(self.handed_on());
        waiting.map(|job| now.since(job.since)).max().unwrap_or_default()
    }

    fn stop(&mut self, now: Now, id: u64) -> Option<Running> {
        self.pace.advance(now.mono, self.busy(), self.workers);
        let index = self.running.iter().position(|one| one.attempt.job.id == id)?;
        Some(self.running.swap_remove(index))
    }

    fn queue(&mut self, kind: JobKind) -> &mut Queue {
        match kind {
            JobKind::CatchUp => &mut self.catch_up,
            _ => &mut self.live,
        }
    }
}

#[cfg(test)]
mod tests;

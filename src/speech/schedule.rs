//! Which job runs next. No IO: workers ask with [`Schedule::take`] and tell what became of it.
//!
//! Live finals go before catch-up, which still gets a quarter of the time. Of one stream only one job runs at a time, in the order in which they
//! came, so that its texts come out in order. A job whose worker died is tried once more; after the second time it has failed, and is told so.

use std::collections::VecDeque;
use std::time::Duration;

use super::settings::Settings;
use super::{Failure, Job, JobKind, Outcome};
use crate::pbx::StreamId;
use crate::time::Now;

/// Catch-up gets one part in this many while live utterances wait.
const CATCH_UP_PART: u64 = 4;
/// Times that a job is tried.
const TRIES: u8 = 2;

/// The jobs that wait and run.
#[derive(Debug)]
pub struct Schedule {
    live: Queue,
    catch_up: Queue,
    running: Vec<Attempt>,
    /// Microseconds of sound begun while both kinds waited: catch-up's share is kept by them.
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
    /// With the limits of `settings`.
    pub fn new(settings: &Settings) -> Self {
        Self {
            live: Queue::new(settings.queue_live_seconds),
            catch_up: Queue::new(settings.queue_catch_up_seconds),
            running: Vec::new(),
            begun_live: 0,
            begun_catch_up: 0,
            base: Duration::from_millis(settings.job_timeout_ms.into()),
            per_second: Duration::from_millis(settings.job_timeout_per_second_ms.into()),
        }
    }

    /// Takes a job to wait for its turn.
    ///
    /// # Errors
    /// Gives it back when as much sound of its kind waits as may; it can be handed in again later, or read from disk.
    pub fn submit(&mut self, job: Job) -> Result<(), Job> {
        let queue = self.queue(job.kind);
        if !queue.takes(micros(&job)) {
            return Err(job);
        }
        queue.push_back(Attempt { job, failed: 0 });
        Ok(())
    }

    /// Whether [`Schedule::submit`] would take a job of this kind and length.
    pub fn has_room(&self, kind: JobKind, samples: usize, rate: u32) -> bool {
        let queue = match kind {
            JobKind::LiveFinal => &self.live,
            JobKind::CatchUp => &self.catch_up,
        };
        queue.takes(samples as u64 * 1_000_000 / u64::from(rate.max(1)))
    }

    /// The next job for a free worker. Jobs whose deadline has passed come out as `withdrawn` instead.
    pub fn take(&mut self, now: Now, withdrawn: &mut Vec<Outcome>) -> Option<Attempt> {
        for queue in [&mut self.live, &mut self.catch_up] {
            let late = |attempt: &Attempt| attempt.job.deadline.is_some_and(|deadline| deadline < now.mono);
            while let Some(index) = queue.jobs.iter().position(late) {
                let id = queue.remove(index).map(|attempt| attempt.job.id);
                withdrawn.extend(id.map(|id| Outcome { id, result: Err(Failure::Withdrawn) }));
            }
        }
        let busy: Vec<StreamId> = self.running.iter().map(|attempt| attempt.job.stream).collect();
        let (live, catch_up) = (self.live.pick(&busy), self.catch_up.pick(&busy));
        let owed = self.begun_catch_up * (CATCH_UP_PART - 1) < self.begun_live;
        let attempt = match (live, catch_up) {
            (Some(_), Some(index)) if owed => self.catch_up.remove(index),
            (Some(index), _) => self.live.remove(index),
            (None, Some(index)) => self.catch_up.remove(index),
            (None, None) => None,
        }?;
        if live.is_some() && catch_up.is_some() {
            match attempt.job.kind {
                JobKind::LiveFinal => self.begun_live += micros(&attempt.job),
                JobKind::CatchUp => self.begun_catch_up += micros(&attempt.job),
            }
        } else {
            (self.begun_live, self.begun_catch_up) = (0, 0);
        }
        self.running.push(attempt.clone());
        Some(attempt)
    }

    /// How long a worker may take for a job before it counts as hung.
    pub fn patience(&self, job: &Job) -> Duration {
        self.base + self.per_second.mul_f64(micros(job) as f64 / 1e6)
    }

    /// A running job is done; tells whether it was running.
    pub fn done(&mut self, id: u64) -> bool {
        self.stop(id).is_some()
    }

    /// The worker of a running job died or hung. The job waits for its second try before all others of its kind; after that, its
    /// outcome is handed back.
    pub fn failed(&mut self, id: u64, reason: &str) -> Option<Outcome> {
        let mut attempt = self.stop(id)?;
        attempt.failed += 1;
        if attempt.failed >= TRIES {
            return Some(Outcome { id, result: Err(Failure::Failed(reason.to_owned())) });
        }
        let queue = self.queue(attempt.job.kind);
        queue.waiting += micros(&attempt.job);
        queue.jobs.push_front(attempt);
        None
    }

    /// What waits and runs now.
    pub fn load(&self) -> Load {
        Load {
            waiting: self.live.jobs.len() + self.catch_up.jobs.len(),
            waiting_seconds: (self.live.waiting + self.catch_up.waiting) as f64 / 1e6,
            running: self.running.len(),
        }
    }

    fn stop(&mut self, id: u64) -> Option<Attempt> {
        let index = self.running.iter().position(|attempt| attempt.job.id == id)?;
        Some(self.running.swap_remove(index))
    }

    fn queue(&mut self, kind: JobKind) -> &mut Queue {
        match kind {
            JobKind::LiveFinal => &mut self.live,
            JobKind::CatchUp => &mut self.catch_up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Mono;
    use JobKind::{CatchUp, LiveFinal};
    use uuid::Uuid;

    fn job(id: u64, kind: JobKind, stream: u128, seconds: usize) -> Job {
        let pcm = vec![0; seconds * 8_000].into();
        Job { id, kind, stream: StreamId(Uuid::from_u128(stream)), rate: 8_000, pcm, deadline: None }
    }

    fn schedule() -> Schedule {
        Schedule::new(&Settings::default())
    }

    fn take(schedule: &mut Schedule) -> Option<u64> {
        schedule.take(Now::default(), &mut Vec::new()).map(|attempt| attempt.job.id)
    }

    #[test]
    fn live_goes_first_and_catch_up_gets_its_quarter() {
        let mut schedule = schedule();
        for n in 0..40 {
            schedule.submit(job(n, CatchUp, 1_000 + u128::from(n), 2)).unwrap();
            schedule.submit(job(100 + n, LiveFinal, u128::from(n), 2)).unwrap();
        }
        let first: Vec<u64> = (0..40).map_while(|_| take(&mut schedule)).collect();
        assert_eq!(first[0], 100);
        let caught_up = first.iter().filter(|id| **id < 100).count();
        assert!((9..=11).contains(&caught_up), "{caught_up} of 40: {first:?}");
        let live: Vec<u64> = first.iter().copied().filter(|id| *id >= 100).collect();
        assert!(live.is_sorted(), "in the order in which they came");
    }

    #[test]
    fn an_idle_time_of_one_kind_gives_no_credit() {
        let mut schedule = schedule();
        for n in 0..100 {
            schedule.submit(job(n, LiveFinal, u128::from(n), 10)).unwrap();
            take(&mut schedule);
            schedule.done(n);
        }
        for n in 0..8 {
            schedule.submit(job(200 + n, CatchUp, 500 + u128::from(n), 2)).unwrap();
            schedule.submit(job(300 + n, LiveFinal, u128::from(n), 2)).unwrap();
        }
        let next: Vec<u64> = (0..4).map_while(|_| take(&mut schedule)).collect();
        assert_eq!(next.iter().filter(|id| **id < 300).count(), 1, "{next:?}");
    }

    #[test]
    fn a_stream_has_one_job_running_so_that_its_texts_keep_their_order() {
        let mut schedule = schedule();
        for (id, stream) in [(1, 1), (2, 1), (3, 2)] {
            schedule.submit(job(id, LiveFinal, stream, 2)).unwrap();
        }
        assert_eq!((take(&mut schedule), take(&mut schedule), take(&mut schedule)), (Some(1), Some(3), None));
        assert!(schedule.done(1));
        assert_eq!(take(&mut schedule), Some(2));
    }

    #[test]
    fn a_full_queue_gives_the_job_back_and_the_other_kind_is_not_touched() {
        let settings = Settings { queue_live_seconds: 10, queue_catch_up_seconds: 4, ..Settings::default() };
        let mut schedule = Schedule::new(&settings);
        for n in 0..2 {
            schedule.submit(job(n, CatchUp, 1, 2)).unwrap();
        }
        assert_eq!(schedule.submit(job(9, CatchUp, 1, 2)).unwrap_err().id, 9);
        for n in 0..5 {
            schedule.submit(job(10 + n, LiveFinal, 2, 2)).unwrap();
        }
        assert_eq!(schedule.submit(job(20, LiveFinal, 2, 2)).unwrap_err().id, 20);
        assert_eq!(schedule.load(), Load { waiting: 7, waiting_seconds: 14.0, running: 0 });
        take(&mut schedule);
        schedule.submit(job(20, LiveFinal, 2, 2)).unwrap();
        let mut empty = Schedule::new(&settings);
        empty.submit(job(1, CatchUp, 1, 14)).unwrap(); // longer than the limit, but nothing else waits
    }

    #[test]
    fn a_job_is_tried_twice_and_then_told_as_failed() {
        let mut schedule = schedule();
        schedule.submit(job(1, LiveFinal, 1, 2)).unwrap();
        schedule.submit(job(2, LiveFinal, 1, 2)).unwrap();
        assert_eq!(take(&mut schedule), Some(1));
        assert!(schedule.failed(1, "killed").is_none());
        assert_eq!(take(&mut schedule), Some(1), "before the next one of its stream");
        let outcome = schedule.failed(1, "killed again").unwrap();
        assert!(matches!(outcome, Outcome { id: 1, result: Err(Failure::Failed(reason)) } if reason == "killed again"));
        assert!(schedule.failed(1, "late").is_none() && !schedule.done(1), "it is told once");
        assert_eq!(take(&mut schedule), Some(2));
    }

    #[test]
    fn what_is_no_longer_of_use_is_withdrawn() {
        let mut schedule = schedule();
        schedule.submit(Job { deadline: Some(Mono(5)), ..job(1, LiveFinal, 1, 2) }).unwrap();
        schedule.submit(job(2, LiveFinal, 2, 2)).unwrap();
        let mut withdrawn = Vec::new();
        let now = Now { mono: Mono(6), ..Now::default() };
        assert_eq!(schedule.take(now, &mut withdrawn).unwrap().job.id, 2);
        assert!(matches!(withdrawn[..], [Outcome { id: 1, result: Err(Failure::Withdrawn) }]));
        assert_eq!(schedule.load().waiting_seconds, 0.0);
    }

    #[test]
    fn patience_grows_with_the_sound() {
        let schedule = schedule();
        assert_eq!(schedule.patience(&job(1, LiveFinal, 1, 2)), Duration::from_secs(25));
    }
}

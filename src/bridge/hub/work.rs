//! Recognition that is under way or has to wait: jobs at the workers, utterances whose sound waits on disk, streams to be read back.
//!
//! When the workers' queue is full, a recorded utterance waits without its sound, which is read back when there is room; a line that is
//! transcribed but not recorded waits with its sound, up to a bound, and is then marked failed. Nothing is lost silently. Partials never wait
//! here: what the workers do not take is dropped, and counted there.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::bridge::readback::{ReadBack, Request};
use crate::bridge::workers::Workers;
use crate::call::ContactId;
use crate::call::scope::Scopes;
use crate::pbx::StreamId;
use crate::session::Task;
use crate::speech::{Failure, Job, JobKind};
use crate::time::{MediaTime, Mono, Now};

/// Sound of lines that are not recorded, in samples, that may wait in memory (10 minutes at 8 kHz).
const MOST_HELD: usize = 10 * 60 * 8_000;
/// A partial that was not begun after this long is dropped; the next one is of more sound.
const PARTIAL_WAITS: Duration = Duration::from_secs(2);
/// How often room at the workers is looked for while something waits.
const AGAIN: Duration = Duration::from_millis(200);

/// Whose utterance a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) contact: ContactId,
    pub(super) stream: StreamId,
    pub(super) number: u32,
    /// Of a running utterance: up to where it is read.
    pub(super) partial: Option<MediaTime>,
    /// When it was known that there is something to recognise.
    pub(super) since: Mono,
}

/// An utterance that has no place at the workers yet.
#[derive(Debug)]
struct Waiting {
    id: u64,
    kind: JobKind,
    scopes: Scopes,
    rate: u32,
    from: u64,
    to: u64,
    since: Mono,
    /// `None`: on disk.
    pcm: Option<Arc<[i16]>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Work {
    workers: Option<Workers>,
    read_back: ReadBack,
    next: u64,
    jobs: HashMap<u64, Owner>,
    live: VecDeque<Waiting>,
    caught_up: VecDeque<Waiting>,
    held: usize,
    streams: VecDeque<Request>,
    /// The reader is busy.
    reading: bool,
    /// What the reader reads for a waiting utterance.
    fetched: Option<Waiting>,
    looked: Mono,
    failed: Vec<(Owner, Failure)>,
}

impl Work {
    pub(super) fn new(workers: Option<Workers>, read_back: ReadBack) -> Self {
        Self {
            workers,
            read_back,
            next: 0,
            jobs: HashMap::new(),
            live: VecDeque::new(),
            caught_up: VecDeque::new(),
            held: 0,
            streams: VecDeque::new(),
            reading: false,
            fetched: None,
            looked: Mono(0),
            failed: Vec::new(),
        }
    }

    /// An utterance to recognise; it goes to the workers at the next [`Work::feed`].
    pub(super) fn add(&mut self, now: Now, contact: ContactId, task: Task) {
        let id = self.next;
        self.next += 1;
        let partial = task.kind.is_partial().then_some(task.utterance.end);
        let owner = Owner { contact, stream: task.stream, number: task.number, partial, since: now.mono };
        if partial.is_some() {
            return self.add_partial(now, id, owner, task);
        }
        if self.workers.is_none() {
            self.failed.push((owner, Failure::Failed("no recogniser was started".into())));
            return;
        }
        let rate = task.utterance.rate;
        let (from, to) = (task.utterance.start.to_sample(rate), task.utterance.end.to_sample(rate));
        let waiting = Waiting {
            id,
            kind: task.kind,
            scopes: task.scopes,
            rate,
            from,
            to,
            since: now.mono,
            pcm: Some(task.utterance.pcm),
        };
        let Some(waiting) = self.submit_unless_others_wait(now, waiting, owner) else { return };
        self.wait(waiting, owner, task.recorded);
    }

    /// Hands in a running utterance, unless finals wait.
    fn add_partial(&mut self, now: Now, id: u64, owner: Owner, task: Task) {
        let Some(workers) = self.workers.as_ref().filter(|_| !self.others_wait(JobKind::LiveFinal)) else { return };
        let Task { stream, number: utterance, kind, scopes, utterance: said, .. } = task;
        let (since, deadline) = (now.mono, Some(now.mono + PARTIAL_WAITS));
        let job = Job { id, kind, stream, utterance, rate: said.rate, pcm: said.pcm, scopes, since, deadline };
        if let Ok(replaced) = workers.submit_at(now, job) {
            self.jobs.insert(id, owner);
            self.forget(&replaced);
        }
    }

    /// Nothing comes of these jobs.
    fn forget(&mut self, replaced: &[u64]) {
        replaced.iter().for_each(|id| _ = self.jobs.remove(id));
    }

    fn submit_unless_others_wait(&mut self, now: Now, waiting: Waiting, owner: Owner) -> Option<Waiting> {
        if self.others_wait(waiting.kind) {
            return Some(waiting);
        }
        self.submit(now, waiting, owner)
    }

    /// Gives the utterance back when the workers have no room.
    fn submit(&mut self, now: Now, mut waiting: Waiting, owner: Owner) -> Option<Waiting> {
        let (Some(workers), Some(pcm)) = (&self.workers, waiting.pcm.take()) else { return Some(waiting) };
        let Waiting { id, kind, rate, since, .. } = waiting;
        let (stream, utterance, scopes) = (owner.stream, owner.number, waiting.scopes.clone());
        let job = Job { id, kind, stream, utterance, rate, pcm, scopes, since, deadline: None };
        match workers.submit_at(now, job) {
            Ok(replaced) => {
                self.jobs.insert(id, owner);
                self.forget(&replaced);
                None
            }
            Err(job) => Some(Waiting { pcm: Some(job.pcm), ..waiting }),
        }
    }

    fn wait(&mut self, mut waiting: Waiting, owner: Owner, recorded: bool) {
        let replaced = self.workers.as_ref().map(|workers| workers.withdraw(owner.stream, owner.number));
        self.forget(&replaced.unwrap_or_default());
        let samples = waiting.pcm.as_ref().map_or(0, |pcm| pcm.len());
        if recorded {
            waiting.pcm = None;
        } else if self.held + samples > MOST_HELD {
            let why = "the recogniser is behind and this line is not recorded; more workers are needed";
            self.failed.push((owner, Failure::Failed(why.into())));
            return;
        } else {
            self.held += samples;
        }
        self.jobs.insert(waiting.id, owner);
        self.queue(waiting.kind).push_back(waiting);
    }

    fn queue(&mut self, kind: JobKind) -> &mut VecDeque<Waiting> {
        match kind {
            JobKind::CatchUp => &mut self.caught_up,
            _ => &mut self.live,
        }
    }

    /// Whether utterances of this kind wait, the one whose sound is read at the moment among them: what comes later goes behind them.
    fn others_wait(&self, kind: JobKind) -> bool {
        let queue = if kind == JobKind::CatchUp { &self.caught_up } else { &self.live };
        !queue.is_empty() || self.is_fetched(kind)
    }

    /// Whether the sound of the first that waits of this kind is read at the moment.
    fn is_fetched(&self, kind: JobKind) -> bool {
        self.fetched.as_ref().is_some_and(|waiting| waiting.kind == kind)
    }

    /// A job is done: whose it was.
    pub(super) fn finished(&mut self, id: u64) -> Option<Owner> {
        self.jobs.remove(&id)
    }

    /// A stream is to be read back; it waits for its turn.
    pub(super) fn read_stream(&mut self, request: Request) {
        self.streams.push_back(request);
    }

    /// The reader is free again.
    pub(super) fn read_finished(&mut self) {
        self.reading = false;
    }

    /// The sound of a waiting utterance came from disk; tells when it cannot be had.
    pub(super) fn sound(&mut self, id: u64, pcm: Option<Arc<[i16]>>) -> Option<(Owner, Failure)> {
        let waiting = self.fetched.take_if(|waiting| waiting.id == id)?;
        match pcm {
            Some(pcm) => {
                self.held += pcm.len();
                let kind = waiting.kind;
                self.queue(kind).push_front(Waiting { pcm: Some(pcm), ..waiting });
                None
            }
            None => {
                let owner = self.jobs.remove(&id)?;
                Some((owner, Failure::Failed("its sound cannot be read back from disk".into())))
            }
        }
    }

    /// Gives the workers and the reader what they have room for. Returns what can never be recognised.
    pub(super) fn feed(&mut self, now: Now) -> Vec<(Owner, Failure)> {
        self.looked = now.mono;
        for kind in [JobKind::LiveFinal, JobKind::CatchUp] {
            while !self.is_fetched(kind)
                && let Some(waiting) = self.queue(kind).pop_front()
            {
                let Some(owner) = self.jobs.get(&waiting.id).copied() else { continue };
                let Some(samples) = waiting.pcm.as_ref().map(|pcm| pcm.len()) else {
                    self.fetch(waiting, owner);
                    break;
                };
                match self.submit(now, waiting, owner) {
                    Some(back) => {
                        self.queue(kind).push_front(back);
                        break;
                    }
                    None => self.held = self.held.saturating_sub(samples),
                }
            }
        }
        self.read_next_stream();
        std::mem::take(&mut self.failed)
    }

    /// Reads the sound of the first of a queue when the workers have room for it and the reader is free.
    fn fetch(&mut self, waiting: Waiting, owner: Owner) {
        let samples = usize::try_from(waiting.to.saturating_sub(waiting.from)).unwrap_or(usize::MAX);
        let room = self.workers.as_ref().is_some_and(|workers| workers.has_room(waiting.kind, samples, waiting.rate));
        let request = Request::Utterance { id: waiting.id, stream: owner.stream, from: waiting.from, to: waiting.to };
        if room && !self.reading && self.fetched.is_none() && self.read_back.ask(request) {
            self.reading = true;
            self.fetched = Some(waiting);
        } else {
            let kind = waiting.kind;
            self.queue(kind).push_front(waiting);
        }
    }

    fn read_next_stream(&mut self) {
        if self.reading {
            return;
        }
        let Some(request) = self.streams.pop_front() else { return };
        if self.read_back.ask(request.clone()) {
            self.reading = true;
        } else {
            self.streams.push_front(request);
        }
    }

    /// When [`Work::feed`] is worth calling without an input.
    pub(super) fn due(&self, now: Mono) -> Option<Mono> {
        let waits = !self.live.is_empty() || !self.caught_up.is_empty() || !self.failed.is_empty();
        waits.then(|| (self.looked + AGAIN).max(now))
    }
}

#[cfg(test)]
mod tests;

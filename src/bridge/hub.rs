//! The hub: one task that owns all sessions, takes every input in order and hands on what the sessions ask for.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::deliver::Deliverer;
use super::lookup::LookUps;
use super::workers::Pool;
use super::{Input, listen, now};
use crate::call::line::Lines;
use crate::call::{ContactId, number::Number};
use crate::events::{EndReason, Event};
use crate::outbox::{Batch, ContactRow};
use crate::outbox::store::Outbox;
use crate::pbx::{CallKey, ExternalKey, KeyKind, Observed, PbxId, Signal, StreamId};
use crate::session::{Output, Session, Site, State, Task};
use crate::speech::{Job, Outcome};

/// Utterances whose sound waits in memory for a worker; beyond, recorded ones wait on disk.
const WAITING_IN_MEMORY: usize = 512;
/// Utterances that wait at all; beyond, the newest is marked failed (the sound is kept where the line allows it).
const WAITING: usize = 100_000;

/// What the hub is made of.
pub struct Parts {
    /// By site id.
    pub sites: HashMap<String, Site>,
    /// Which site an exchange belongs to.
    pub pbx_sites: HashMap<PbxId, String>,
    /// Policies.
    pub lines: Arc<Lines>,
    /// Where events go first.
    pub outbox: Outbox,
    /// Sends realtime events.
    pub deliverer: Deliverer,
    /// Recognition.
    pub pool: Pool,
    /// Who is calling.
    pub look_ups: HashMap<String, LookUps>,
    /// Folder of the segments.
    pub audio_dir: PathBuf,
    /// Contacts at once.
    pub max_contacts: usize,
    /// Where the hub's own helpers answer.
    pub inputs: mpsc::Sender<Input>,
}

/// Where an utterance's text belongs.
#[derive(Clone, Copy, Debug)]
struct Place {
    contact: ContactId,
    stream: StreamId,
    number: u32,
}

/// The hub's state.
pub struct Hub {
    parts: Parts,
    sessions: HashMap<ContactId, Session>,
    calls: HashMap<CallKey, ContactId>,
    streams: HashMap<StreamId, ContactId>,
    jobs: HashMap<u64, Place>,
    next_job: u64,
    /// Tasks that the pool has no room for, oldest first.
    waiting: VecDeque<(ContactId, Task)>,
    /// Calls that were not observed because there were too many.
    refused: u64,
}

impl Hub {
    /// A hub without contacts.
    pub fn new(parts: Parts) -> Hub {
        Hub {
            parts,
            sessions: HashMap::new(),
            calls: HashMap::new(),
            streams: HashMap::new(),
            jobs: HashMap::new(),
            next_job: 1,
            waiting: VecDeque::new(),
            refused: 0,
        }
    }

    /// Runs until `inputs` is closed or `stop` resolves; then ends nothing: open contacts are taken up at the next start.
    pub async fn run(mut self, mut inputs: mpsc::Receiver<Input>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let due = self.sessions.values().filter_map(Session::due).min();
            let wait = due.map_or(Duration::from_secs(3_600), |due| due.since(now().mono));
            tokio::select! {
                biased;
                () = &mut stop => break,
                input = inputs.recv() => match input {
                    Some(input) => self.handle(input),
                    None => break,
                },
                () = tokio::time::sleep(wait) => self.handle_timeouts(),
            }
        }
    }

    /// Takes up the contacts that were open when the bridge stopped.
    pub fn resume(&mut self) {
        let rows = match self.parts.outbox.open_contacts() {
            Ok(rows) => rows,
            Err(error) => return tracing::error!(%error, "open contacts cannot be read"),
        };
        for row in rows {
            if let Err(error) = self.resume_one(&row) {
                tracing::error!(contact = %row.id, %error, "a contact could not be taken up");
            }
        }
    }

    fn resume_one(&mut self, row: &ContactRow) -> Result<(), Box<dyn std::error::Error>> {
        let site = self.parts.sites.get(&row.site).ok_or("its site is no longer in the configuration; add it again")?;
        let events = self.parts.outbox.events_of(row.id)?;
        let state = State::parse(&row.state)?;
        let heard = state.streams().filter_map(|(id, origin)| listen::heard_until(&self.parts.audio_dir, id, origin)).max();
        let session = Session::resume(now(), site.clone(), &row.state, &events, heard)?;
        for (stream, _) in state.streams() {
            self.streams.insert(stream, row.id);
        }
        tracing::info!(contact = %row.id, "taken up after a restart");
        self.sessions.insert(row.id, session);
        self.settle(row.id);
        Ok(())
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Observed(observed) => self.handle_observed(observed),
            Input::Stream(event) => {
                if let Some(id) = self.streams.get(&event.stream).copied() {
                    self.with(id, |session| session.handle_stream(&event));
                }
            }
            Input::Speech(event) => {
                if let Some(id) = self.streams.get(&event.stream).copied() {
                    self.with(id, |session| session.handle_speech(event, false));
                }
            }
            Input::Recognized(outcome) => self.handle_recognized(outcome),
            Input::LookedUp { contact, number, matches } => {
                self.with(contact, |session| session.handle_look_up(now(), &number, matches));
            }
            Input::CaughtUp { contact, speech, closed } => self.with(contact, |session| {
                for event in speech {
                    session.handle_speech(event, true);
                }
                session.handle_stream(&closed);
            }),
            Input::Reload(sites) => self.handle_reload(sites),
        }
    }

    fn handle_observed(&mut self, observed: Observed) {
        let id = match self.calls.get(&observed.call) {
            Some(id) => *id,
            None => match self.open(&observed) {
                Some(id) => id,
                None => return,
            },
        };
        if let Signal::StreamAdded { stream, .. } = &observed.signal {
            self.streams.insert(*stream, id);
        }
        self.with(id, |session| session.handle_signal(observed.at, &observed.signal));
    }

    /// Opens a session for the first signal of a call.
    fn open(&mut self, observed: &Observed) -> Option<ContactId> {
        let Signal::CallAppeared { caller, called, keys, .. } = &observed.signal else { return None };
        let site = self.parts.pbx_sites.get(&observed.call.pbx).and_then(|site| self.parts.sites.get(site))?.clone();
        if self.sessions.len() >= self.parts.max_contacts {
            self.refused += 1;
            tracing::error!(refused = self.refused, "too many contacts at once; a call is not observed; raise node.max_contacts");
            return None;
        }
        let known = keys.iter().any(|key| self.key_is_known(&site.id, key));
        let salt = if known { u64::try_from(observed.at.wall.0).unwrap_or(1) } else { 0 };
        let line = self.parts.lines.policy(called);
        let session =
            Session::open(observed.at, site, observed.call.clone(), salt, caller, called, line, &observed.signal);
        let id = session.id();
        tracing::info!(contact = %id, pbx = %observed.call.pbx.0, "contact opened");
        self.calls.insert(observed.call.clone(), id);
        self.sessions.insert(id, session);
        Some(id)
    }

    fn key_is_known(&self, site: &str, key: &ExternalKey) -> bool {
        matches!(key.kind, KeyKind::CallId | KeyKind::Linkedid)
            && self.parts.outbox.contact_by_key(site, key).ok().flatten().is_some()
    }

    fn handle_recognized(&mut self, outcome: Outcome) {
        if let Some(place) = self.jobs.remove(&outcome.id) {
            if let Err(failure) = &outcome.result {
                tracing::warn!(contact = %place.contact, %failure, "an utterance has no text");
            }
            self.with(place.contact, |session| {
                session.handle_outcome(now(), place.stream, place.number, outcome.result);
            });
        }
        self.feed_pool();
    }

    fn handle_timeouts(&mut self) {
        let now = now();
        let due: Vec<ContactId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.due().is_some_and(|due| due <= now.mono))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.with(id, |session| session.handle_timeout(now));
        }
    }

    fn handle_reload(&mut self, sites: HashMap<String, Site>) {
        for session in self.sessions.values_mut() {
            if let Some(site) = sites.get(&session.contact().site) {
                session.reload(site.clone());
            }
        }
        self.parts.sites = sites;
    }

    /// Runs `act` on a session and carries out what it asks for. A panic ends that contact with a reason, never the process.
    fn with(&mut self, id: ContactId, act: impl FnOnce(&mut Session)) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if catch_unwind(AssertUnwindSafe(|| act(session))).is_err() {
            tracing::error!(contact = %id, "the bridge failed on a contact; it ends with bridge_error");
            let ended = catch_unwind(AssertUnwindSafe(|| session.end(now(), EndReason::BridgeError)));
            if ended.is_err() {
                self.forget(id);
                return;
            }
        }
        self.settle(id);
    }

    /// Carries out what a session asks for, in order; its events and state are committed together.
    fn settle(&mut self, id: ContactId) {
        let mut events = Vec::new();
        let mut save = false;
        while let Some(output) = self.sessions.get_mut(&id).and_then(Session::poll) {
            match output {
                Output::Record(event) => events.push(event),
                Output::Save => save = true,
                Output::Realtime(event) => self.parts.deliverer.realtime(event),
                Output::LookUp(number) => self.look_up(id, number),
                Output::Recognize(task) => self.recognize(id, task),
                Output::CatchUp { stream, done } => self.catch_up(id, stream, done),
            }
        }
        let Some(session) = self.sessions.get(&id) else { return };
        if save || !events.is_empty() {
            self.commit(session.id(), events);
        }
        if self.sessions.get(&id).is_some_and(Session::finished) {
            tracing::info!(contact = %id, "contact complete");
            self.forget(id);
        }
    }

    fn commit(&self, id: ContactId, events: Vec<Event>) {
        let Some(session) = self.sessions.get(&id) else { return };
        let contact = session.contact();
        let batch = Batch {
            contact: ContactRow {
                id,
                site: contact.site.clone(),
                call: contact.call.clone(),
                open: !session.finished(),
                state: session.state(),
            },
            keys: contact.keys.clone(),
            events,
        };
        if let Err(error) = self.parts.outbox.submit(batch) {
            tracing::error!(contact = %id, %error, "events could not be accepted");
        }
    }

    fn forget(&mut self, id: ContactId) {
        self.sessions.remove(&id);
        self.calls.retain(|_, contact| *contact != id);
        self.streams.retain(|_, contact| *contact != id);
        self.jobs.retain(|_, place| place.contact != id);
    }

    fn look_up(&self, contact: ContactId, number: String) {
        let site = self.sessions.get(&contact).map(|session| session.contact().site.clone());
        let Some(look_ups) = site.and_then(|site| self.parts.look_ups.get(&site).cloned()) else { return };
        let inputs = self.parts.inputs.clone();
        tokio::spawn(async move {
            let matches = look_ups.find(&Number::parse(&number)).await;
            let _ = inputs.send(Input::LookedUp { contact, number, matches }).await;
        });
    }

    fn recognize(&mut self, contact: ContactId, task: Task) {
        if self.waiting.len() >= WAITING {
            tracing::error!(contact = %contact, "too many utterances wait; one is marked failed");
            let failure = crate::speech::Failure::Failed("too many utterances wait for the recogniser".into());
            let (stream, number) = (task.stream, task.number);
            if let Some(session) = self.sessions.get_mut(&contact) {
                session.handle_outcome(now(), stream, number, Err(failure));
            }
            return;
        }
        self.waiting.push_back((contact, task));
        self.feed_pool();
    }

    /// Hands the pool as much as it takes, live utterances and those from disk alike; the pool orders them.
    fn feed_pool(&mut self) {
        while self.parts.pool.has_room() {
            let Some((contact, task)) = self.waiting.pop_front() else { break };
            let id = self.next_job;
            self.next_job += 1;
            let pcm = match self.sound_of(&task) {
                Some(pcm) => pcm,
                None => continue,
            };
            self.jobs.insert(id, Place { contact, stream: task.stream, number: task.number });
            self.parts.pool.submit(Job { id, kind: task.kind, rate: task.utterance.rate, pcm, deadline: None });
        }
        self.spill();
    }

    /// The sound of a task, read back from disk when it was let go.
    fn sound_of(&self, task: &Task) -> Option<Arc<[i16]>> {
        if !task.utterance.pcm.is_empty() {
            return Some(task.utterance.pcm.clone());
        }
        let rate = task.utterance.rate;
        let (from, to) = (task.utterance.start.to_sample(rate), task.utterance.end.to_sample(rate));
        listen::read_back(&self.parts.audio_dir, task.stream, from, to)
    }

    /// Lets go of the sound of recorded utterances that wait far back in the queue.
    fn spill(&mut self) {
        for (_, task) in self.waiting.iter_mut().skip(WAITING_IN_MEMORY).rev() {
            if task.utterance.pcm.is_empty() {
                break;
            }
            if task.recorded {
                task.utterance.pcm = Arc::from([]);
            }
        }
    }

    /// Reads a stream back from disk on a thread of its own.
    fn catch_up(&self, contact: ContactId, stream: StreamId, done: Vec<(u64, u64)>) {
        let (inputs, audio_dir) = (self.parts.inputs.clone(), self.parts.audio_dir.clone());
        tokio::task::spawn_blocking(move || {
            let (speech, closed) = listen::utterances_on_disk(&audio_dir, stream, &done, now());
            let _ = inputs.blocking_send(Input::CaughtUp { contact, speech, closed });
        });
    }
}

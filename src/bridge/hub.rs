//! The hub: one thread that owns every session, hands it its inputs, and carries out what it asks for.
//!
//! It runs on a thread of its own because accepting an event may wait for the disk: while the outbox is full, the drivers wait, and nothing is
//! dropped. Everything that is kept here is bounded by the number of contacts and of utterances that a session may have.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::deliver::Deliverer;
use super::lookup::LookUps;
use super::media::MediaHandle;
use super::readback::{Read, ReadBack, Request};
use super::telemetry::{Span, Telemetry};
use super::workers::Workers;
use super::{Input, Known, Place, now};
use crate::call::ContactId;
use crate::call::line::Lines;
use crate::call::number::Number;
use crate::call::pause::{Cause, Paused, Refused, Scope};
use crate::events::{EndReason, Event};
use crate::media::{StreamEvent, StreamEventKind};
use crate::outbox::store::Outbox;
use crate::outbox::{Batch, ContactRow};
use crate::pbx::{CallKey, ExternalKey, Observed, PbxId, Signal, StreamId};
use crate::session::{Opening, Output, Session, Site, State};
use crate::speech::{Outcome, SpeechEvent, SpeechEventKind};
use crate::time::{Mono, Now};

mod contexts;
mod correcting;
mod drain;
mod joined;
mod orphans;
mod resume;
mod work;

use contexts::Contexts;
use correcting::Corrections;
pub use correcting::{Answer, Found};
use drain::Drain;
use joined::Joined;
use orphans::Orphans;
use work::{Owner, Work};

/// The most contacts at once; more calls than that are not observed, and said not to be.
pub const MAX_CONTACTS: usize = 20_000;

/// What one site's sessions need from outside.
#[derive(Clone)]
pub struct SiteSetup {
    /// What sessions share.
    pub site: Site,
    /// Who is calling.
    pub look_ups: LookUps,
    /// The exchanges of the site.
    pub exchanges: Vec<PbxId>,
}

/// Values that were read again from a site's files.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Sites with their new directories and the new dictionary.
    pub sites: Vec<Site>,
}

/// Everything that the hub works with.
pub struct Setup {
    /// The sites.
    pub sites: Vec<SiteSetup>,
    /// Policies of dialled lines.
    pub lines: Arc<Lines>,
    /// Where events are accepted.
    pub outbox: Outbox,
    /// Where realtime events go.
    pub deliverer: Deliverer,
    /// Shows a realtime event on the panel.
    pub show: Box<dyn Fn(&Event) + Send>,
    /// The recognisers; `None` when nothing is transcribed.
    pub workers: Option<Workers>,
    /// Reads sound back.
    pub read_back: ReadBack,
    /// Writes silence while recording is paused.
    pub media: MediaHandle,
    /// How long contexts wait, and how many.
    pub context: crate::call::context::Settings,
    /// Folder of the recordings.
    pub audio: PathBuf,
    /// To the hub itself, for look-ups.
    pub inputs: mpsc::Sender<Input>,
    /// Where spans go.
    pub telemetry: Telemetry,
}

struct Hub {
    setup: Setup,
    sessions: HashMap<ContactId, Session>,
    /// The running contact of each call; a call whose contact was ended by a restart gets a new one.
    calls: HashMap<CallKey, ContactId>,
    streams: HashMap<StreamId, ContactId>,
    /// Running contacts by site and the keys of their calls elsewhere.
    keys: HashMap<(String, ExternalKey), ContactId>,
    /// Contacts that several sources tell of.
    joined: HashMap<ContactId, Joined>,
    due: BTreeSet<(Mono, ContactId)>,
    due_of: HashMap<ContactId, Mono>,
    work: Work,
    orphans: Orphans,
    contexts: Contexts,
    corrections: Corrections,
    drain: Option<Drain>,
    stop: Option<(Mono, oneshot::Sender<()>)>,
}

/// Takes up what was left open, then runs until it is stopped. Blocks: give it a thread of its own inside the runtime.
pub fn run(setup: Setup, inputs: mpsc::Receiver<Input>) {
    let handle = tokio::runtime::Handle::current();
    let mut hub = Hub {
        work: Work::new(setup.workers.clone(), setup.read_back.clone()),
        setup,
        sessions: HashMap::new(),
        calls: HashMap::new(),
        streams: HashMap::new(),
        keys: HashMap::new(),
        joined: HashMap::new(),
        due: BTreeSet::new(),
        due_of: HashMap::new(),
        orphans: Orphans::default(),
        contexts: Contexts::default(),
        corrections: Corrections::default(),
        drain: None,
        stop: None,
    };
    hub.resume(now());
    hub.load_contexts(now());
    handle.block_on(hub.serve(inputs));
}

impl Hub {
    async fn serve(mut self, mut inputs: mpsc::Receiver<Input>) {
        loop {
            self.tell_drained();
            if let Some((until, _)) = &self.stop
                && (self.sessions.is_empty() || *until <= now().mono)
            {
                break;
            }
            let wait = self.next_due();
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.handle(now(), input),
                    None => break,
                },
                () = tokio::time::sleep_until(wait) => self.handle_timeouts(now()),
            }
        }
        if let Some((_, done)) = self.stop.take() {
            let _ = done.send(());
        }
    }

    fn next_due(&self) -> Instant {
        let now = now().mono;
        let due = self.due.first().map(|(due, _)| *due);
        let stop = self.stop.as_ref().map(|(until, _)| *until);
        let at = [due, stop, self.work.due(now), self.contexts_due()].into_iter().flatten().min();
        Instant::now() + at.map_or(std::time::Duration::from_secs(3_600), |at| at.since(now))
    }

    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Observed(observed) => self.observed(now, &observed),
            Input::Stream(event) => self.stream(event),
            Input::Speech(event) => self.speech(event, false),
            Input::Recognized(outcome) => self.recognized(now, outcome),
            Input::LookedUp { contact, number, matches } => {
                self.with(contact, |session| session.handle_look_up(now, &number, matches));
            }
            Input::Pause { contact, pause, scope, reason, answer } => {
                let done = self.pause(now, contact, pause, scope, reason.as_deref());
                // whoever asked may be gone
                let _ = answer.send(done);
            }
            Input::Context { from, wish, answer } => {
                let done = self.context(now, &from, wish);
                let _ = answer.send(done);
            }
            Input::Annotate { contact, annotation, answer } => {
                let done = self.annotate(now, contact, &annotation);
                let _ = answer.send(done);
            }
            Input::Correct { contact, correction, answer } => self.correct(now, contact, correction, answer),
            Input::Stored(found) => self.found(now, *found),
            Input::Find { place, extension, answer } => {
                let _ = answer.send(self.find(&place, &extension));
            }
            Input::ReadBack(read) => self.read_back(now, read),
            Input::Reloaded(fresh) => self.reloaded(fresh),
            Input::Drain { done } => self.drain(done),
            Input::Stop { until, done } => {
                let open: Vec<ContactId> = self.sessions.keys().copied().collect();
                for contact in open {
                    self.with(contact, |session| session.end(now, EndReason::BridgeRestart));
                }
                self.stop = Some((until, done));
            }
        }
    }

    fn pause(
        &mut self,
        now: Now,
        contact: ContactId,
        pause: bool,
        scope: Scope,
        reason: Option<&str>,
    ) -> Result<Paused, Refused> {
        let mut done = Err(Refused::Unknown);
        self.with(contact, |session| {
            done = match pause {
                true => session.pause(now, scope, Cause::Asked, reason),
                false => session.unpause(now, scope, Cause::Asked, reason),
            };
        });
        done
    }

    /// A running contact with the leg of an extension.
    fn find(&self, place: &Place, extension: &str) -> Option<Known> {
        let id = match place {
            Place::Contact(contact) => Some(*contact),
            Place::Call(call) => self.calls.get(call).copied(),
        };
        let contact = self.sessions.get(&id?)?.contact();
        let leg = contact.legs.iter().rfind(|leg| leg.ended.is_none() && leg.agent.extension == extension);
        let (call, called) = (contact.call.clone(), contact.called.clone());
        let known = Known { contact: contact.id, call, called, leg: leg.map(|leg| leg.key.clone()) };
        contact.ended.is_none().then_some(known)
    }

    fn observed(&mut self, now: Now, observed: &Observed) {
        let known = self.calls.get(&observed.call).copied();
        let running = known.filter(|id| self.sessions.get(id).is_some_and(|s| s.contact().ended.is_none()));
        let contact = match (running, &observed.signal) {
            (Some(contact), _) => contact,
            (None, Signal::CallAppeared { caller, called, keys, fidelity }) => {
                match self.same(observed, keys, *fidelity) {
                    Some(contact) => {
                        self.calls.insert(observed.call.clone(), contact);
                        contact
                    }
                    None => {
                        let Some(contact) = self.open(observed, caller, called) else { return };
                        self.note_keys(contact);
                        self.after(now, contact);
                        self.attach_waiting(now, contact);
                        return self.consultation(now, contact);
                    }
                }
            }
            // what comes after the end of a contact belongs to it (the end of a stream, of a leg)
            (None, _) => match known {
                Some(contact) => contact,
                None => return,
            },
        };
        if let Signal::Linked { other, relation, kind } = &observed.signal {
            if let Some(other) = self.calls.get(other).copied() {
                self.with(contact, |session| session.link(observed.at, other, *relation, *kind));
            }
            return;
        }
        if let Signal::StreamAdded { stream, .. } = &observed.signal {
            self.streams.insert(*stream, contact);
        }
        match self.translated(contact, observed) {
            Some(told) => told.into_iter().for_each(|told| self.tell(contact, observed.at, told)),
            None => self.with(contact, |session| session.handle_signal(observed.at, &observed.signal)),
        }
        if matches!(observed.signal, Signal::Keys(_) | Signal::CallAppeared { .. }) {
            self.note_keys(contact);
        }
        if matches!(observed.signal, Signal::CallAppeared { .. } | Signal::Keys(_) | Signal::CallerIdentified(_)) {
            self.attach_waiting(now, contact);
        }
        if let Signal::StreamAdded { stream, .. } = &observed.signal {
            for early in self.orphans.take(*stream) {
                self.handle(now, early);
            }
        }
    }

    /// A contact for a call that was not known.
    fn open(&mut self, observed: &Observed, caller: &crate::pbx::Identity, called: &str) -> Option<ContactId> {
        if self.stop.is_some() {
            return None;
        }
        if self.sessions.len() >= MAX_CONTACTS {
            tracing::error!(contacts = MAX_CONTACTS, "too many contacts at once; a call is not observed");
            return None;
        }
        let setup = self.setup.sites.iter().find(|setup| setup.exchanges.contains(&observed.call.pbx))?;
        let line = self.setup.lines.policy(called);
        let before = self.before(&observed.call);
        let cut_off = before.as_ref().and_then(|row| State::parse(&row.state).ok()?.cut_off());
        let make = |salt| {
            let (call, line) = (observed.call.clone(), line.clone());
            let before = cut_off.clone();
            let opening = Opening { call, salt, caller, called, line, first: &observed.signal, before };
            Session::open(observed.at, setup.site.clone(), opening)
        };
        let mut session = make(0);
        // an id is made of the call: where no contact is stored of it, none with this id is
        let stored = |id| before.is_some() && self.setup.outbox.contact(id).is_ok_and(|row| row.is_some());
        let used = self.sessions.contains_key(&session.id()) || stored(session.id());
        if used {
            session = make(u64::try_from(observed.at.wall.0).unwrap_or(1));
        }
        let contact = session.id();
        self.sessions.insert(contact, session);
        self.calls.insert(observed.call.clone(), contact);
        Some(contact)
    }

    fn stream(&mut self, event: StreamEvent) {
        trace(&event);
        match self.streams.get(&event.stream).copied() {
            Some(contact) => self.with(contact, |session| session.handle_stream(&event)),
            None => self.orphans.keep(event.stream, Input::Stream(event)),
        }
    }

    fn speech(&mut self, event: SpeechEvent, from_disk: bool) {
        match self.streams.get(&event.stream).copied() {
            Some(contact) => self.with(contact, |session| session.handle_speech(event, from_disk)),
            None => self.orphans.keep(event.stream, Input::Speech(event)),
        }
    }

    fn recognized(&mut self, now: Now, outcome: Outcome) {
        if let Some(Owner { contact, stream, number, partial, since }) = self.work.finished(outcome.id) {
            if partial.is_none() && self.setup.telemetry.traces() {
                let decode_ms = outcome.result.as_ref().ok().map(|heard| heard.decode_ms);
                let times = (now.wall - now.mono.since(since), now.wall);
                self.setup.telemetry.tell(Span::recognition(contact, stream.0, decode_ms, times));
            }
            match (partial, outcome.result) {
                (None, result) => {
                    self.with(contact, |session| session.handle_outcome(now, stream, number, result));
                }
                (Some(end), Ok(heard)) => {
                    self.with(contact, |session| session.handle_partial(now, stream, number, end, &heard));
                }
                // the next one, or the final, says more
                (Some(_), Err(_)) => {}
            }
        }
        self.feed_workers(now);
    }

    fn read_back(&mut self, now: Now, read: Read) {
        match read {
            Read::Spoken { stream, utterance } => {
                self.speech(SpeechEvent { stream, at: now, kind: SpeechEventKind::Ended(utterance) }, true);
            }
            Read::Finished { stream, summary } => {
                self.work.read_finished();
                self.stream(StreamEvent { stream, at: now, kind: StreamEventKind::Closed(summary) });
            }
            Read::Sound { id, pcm } => {
                self.work.read_finished();
                if let Some((task, failure)) = self.work.sound(id, pcm) {
                    self.with(task.contact, |session| {
                        session.handle_outcome(now, task.stream, task.number, Err(failure))
                    });
                }
            }
        }
        self.feed_workers(now);
    }

    fn feed_workers(&mut self, now: Now) {
        for (task, failure) in self.work.feed(now) {
            self.with(task.contact, |session| session.handle_outcome(now, task.stream, task.number, Err(failure)));
        }
    }

    fn handle_timeouts(&mut self, now: Now) {
        while let Some((due, contact)) = self.due.first().copied().filter(|(due, _)| *due <= now.mono) {
            self.due.remove(&(due, contact));
            self.due_of.remove(&contact);
            self.with(contact, |session| session.handle_timeout(now));
        }
        self.feed_workers(now);
        self.expire_contexts(now);
    }

    fn reloaded(&mut self, fresh: Fresh) {
        for site in fresh.sites {
            for setup in self.setup.sites.iter_mut().filter(|setup| setup.site.id == site.id) {
                setup.site = site.clone();
            }
            let (contacts, id): (Vec<ContactId>, &str) = (self.sessions.keys().copied().collect(), &site.id);
            for contact in contacts {
                if let Some(session) = self.sessions.get_mut(&contact).filter(|s| s.contact().site == id) {
                    session.reload(site.clone());
                }
            }
            if let Some(workers) = &self.setup.workers {
                workers.set_dictionary(&site.dictionary);
            }
        }
    }

    /// Hands an input to a session and carries out what it asks for. A panic ends this contact with a reason, never the process.
    fn with(&mut self, contact: ContactId, input: impl FnOnce(&mut Session)) {
        let now = now();
        let Some(session) = self.sessions.get_mut(&contact) else { return };
        if catch_unwind(AssertUnwindSafe(|| input(session))).is_err() {
            tracing::error!(%contact, "a session panicked; the contact ends here");
            let ended = catch_unwind(AssertUnwindSafe(|| session.end(now, EndReason::BridgeError)));
            if ended.is_err() {
                self.forget(contact);
                return;
            }
        }
        self.after(now, contact);
    }

    /// Carries out the outputs of a session.
    fn after(&mut self, now: Now, contact: ContactId) {
        let Some(session) = self.sessions.get_mut(&contact) else { return };
        let (mut records, mut realtime, mut tasks, mut store) = (Vec::new(), Vec::new(), Vec::new(), false);
        let mut handed_over = Vec::new();
        while let Some(output) = session.poll() {
            match output {
                Output::Record(event) => {
                    tracing::debug!(%contact, kind = event.type_name(), sequence = event.sequence, "event");
                    records.push(event);
                }
                Output::Realtime(event) => {
                    tracing::debug!(%contact, kind = event.type_name(), "realtime event");
                    realtime.push(event);
                }
                Output::Save => store = true,
                Output::LookUp(number) => look_up(&self.setup, contact, &session.contact().site, number),
                Output::Recognize(task) => tasks.push(task),
                Output::Mute { stream, at } => self.setup.media.mute(stream, at),
                Output::Silence { stream, from, to } => self.setup.media.silence(stream, from, to),
                Output::Unmute { stream, at } => self.setup.media.unmute(stream, at),
                Output::HandOver { contact, packet } => handed_over.push((contact, packet)),
                Output::CatchUp { stream, done } => self.work.read_stream(Request::Stream { stream, done }),
            }
        }
        let finished = session.finished();
        if store || finished || !records.is_empty() {
            let batch = Batch {
                contact: ContactRow {
                    id: contact,
                    site: session.contact().site.clone(),
                    call: session.contact().call.clone(),
                    open: !finished,
                    state: session.state(),
                },
                keys: session.contact().keys.clone(),
                events: records,
                deliver_text: session.delivers_text(),
            };
            if let Err(error) = self.setup.outbox.submit(batch) {
                tracing::error!(%error, "an event could not be accepted");
            }
        }
        let (due, delivers_text) = (session.due(), session.delivers_text());
        for event in realtime {
            (self.setup.show)(&event);
            if event.data.carries_text() && !delivers_text {
                continue;
            }
            if !self.setup.deliverer.realtime(event.for_delivery(delivers_text)) {
                tracing::warn!(%contact, "too many realtime events wait; one was dropped");
            }
        }
        for task in tasks {
            self.work.add(now, contact, task);
        }
        self.set_due(contact, if finished { None } else { due });
        if finished {
            self.forget(contact);
        }
        self.feed_workers(now);
        for (other, packet) in handed_over {
            self.with(other, |session| session.receive(now, *packet));
        }
    }

    fn set_due(&mut self, contact: ContactId, due: Option<Mono>) {
        if let Some(before) = self.due_of.remove(&contact) {
            self.due.remove(&(before, contact));
        }
        if let Some(due) = due {
            self.due.insert((due, contact));
            self.due_of.insert(contact, due);
        }
    }

    fn forget(&mut self, contact: ContactId) {
        self.set_due(contact, None);
        let Some(session) = self.sessions.remove(&contact) else { return };
        let call = &session.contact().call;
        if self.calls.get(call) == Some(&contact) {
            self.calls.remove(call);
        }
        if let Some(joined) = self.joined.remove(&contact) {
            joined.calls().for_each(|call| _ = self.calls.remove(call));
        }
        for key in &session.contact().keys {
            let key = (session.contact().site.clone(), key.clone());
            if self.keys.get(&key) == Some(&contact) {
                self.keys.remove(&key);
            }
        }
        self.streams.retain(|_, of| *of != contact);
    }
}

/// What was heard of a stream, without the digits that were pressed.
fn trace(event: &StreamEvent) {
    let stream = event.stream.0;
    match &event.kind {
        StreamEventKind::First { rate, .. } => tracing::trace!(%stream, rate, "the first packet"),
        StreamEventKind::Gap { from, to } => tracing::trace!(%stream, ?from, ?to, "a gap"),
        StreamEventKind::Timeout => tracing::trace!(%stream, "no packets"),
        StreamEventKind::Closed(summary) => tracing::debug!(
            %stream,
            rate = summary.rate,
            packets = summary.packets,
            lost = summary.lost,
            late = summary.late,
            malformed = summary.malformed,
            foreign = summary.foreign,
            encrypted = summary.encrypted,
            unauthenticated = summary.unauthenticated,
            replayed = summary.replayed,
            handshakes_failed = summary.handshakes_failed,
            "a stream ended"
        ),
        StreamEventKind::Silenced { done, .. } => tracing::debug!(%stream, done, "sound was replaced by silence"),
        StreamEventKind::Digit { .. } => {}
    }
}

/// Asks who has a number, on a task of its own.
fn look_up(setup: &Setup, contact: ContactId, site: &str, number: String) {
    let Some(found) = setup.sites.iter().find(|setup| setup.site.id == site) else { return };
    let (look_ups, inputs, telemetry) = (found.look_ups.clone(), setup.inputs.clone(), setup.telemetry.clone());
    tokio::runtime::Handle::current().spawn(async move {
        let begun = now().wall;
        let super::lookup::LookedUp { matches, late } = look_ups.find(&Number::parse(&number)).await;
        telemetry.tell([Span::look_up(contact, matches.as_ref().map(Vec::len), (begun, now().wall))]);
        let _ = inputs.send(Input::LookedUp { contact, number: number.clone(), matches }).await;
        if let Some(late) = late
            && let Ok(Some(matches)) = late.await
        {
            let _ = inputs.send(Input::LookedUp { contact, number, matches: Some(matches) }).await;
        }
    });
}

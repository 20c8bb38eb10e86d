//! One contact end to end: signals, stream events, utterances and hypotheses in; events and work out. No IO.
//!
//! The contract: hand in one input, then drain [`Session::poll`] until it gives `None`, then sleep until [`Session::due`]. Every
//! [`Output::Record`] must be on disk before the next stage sees it; the state to store with it is [`Session::state`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::call::caller;
use crate::call::contact::{Contact, End};
use crate::call::directory::Directory;
use crate::call::line::Line;
use crate::call::note::Mark;
use crate::call::pause::{Cause, Pauses, Scope};
use crate::call::scope::Scopes;
use crate::call::{ContactId, LegId};
use crate::dictionary::Dictionary;
use crate::events::{ContactLinked, Data, EndReason, Event, Handover, LegCoverage, LookUp, Match};
use crate::pbx::{CallKey, Identity, Relation, Signal, StreamId, TransferKind};
use crate::speech::{JobKind, Utterance};
use crate::time::{MediaTime, Mono, Now, Wall};
use crate::transcript::document::Document;
use crate::transcript::mask;

mod closing;
mod context;
mod correcting;
mod delay;
mod handover;
mod hearing;
mod held;
mod joined;
mod partial;
mod pausing;
mod pop;
mod resume;
mod silencing;
mod streams;
mod telling;
mod words;

pub use resume::{Before, ResumeError, State};

use pop::{Found, Pops};
use streams::Stream;

/// After the end of the contact, how long the first document waits for missing text.
const DOCUMENT_AFTER: Duration = Duration::from_secs(60);

/// What every session of a site shares; a reload swaps the values, running sessions take the new ones with their next input.
#[derive(Clone, Debug)]
pub struct Site {
    /// Site id.
    pub id: String,
    /// `/site/<site>/node/<node>`: the `source` of every event.
    pub source: String,
    /// Who sits behind which extension.
    pub directory: Arc<Directory>,
    /// The municipality's words.
    pub dictionary: Arc<Dictionary>,
    /// What is known of callers' numbers.
    pub callers: Arc<caller::Settings>,
    /// Which numbers are masked in texts.
    pub mask: mask::Policy,
}

/// What a session is opened with: the call as its exchange first showed it, and what the line allows.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// The call's key on its exchange.
    pub call: CallKey,
    /// Tells calls apart whose exchange used a key twice; 0 for the first.
    pub salt: u64,
    /// Who calls, as far as the exchange says.
    pub caller: &'a Identity,
    /// The number or extension that was dialled.
    pub called: &'a str,
    /// What may be recorded, transcribed and delivered of the call.
    pub line: Line,
    /// The signal that showed the call.
    pub first: &'a Signal,
    /// What the same call's contact had when the bridge was stopped.
    pub before: Option<Before>,
}

/// What a session asks of the bridge.
#[derive(Debug)]
pub enum Output {
    /// Commit with the state, then deliver and show.
    Record(Event),
    /// Deliver and show now.
    Realtime(Event),
    /// Store the state; there is no event.
    Save,
    /// Find out who this number is; answer with [`Session::handle_look_up`].
    LookUp(String),
    /// Recognise; answer with [`Session::handle_outcome`].
    Recognize(Task),
    /// Write silence of this stream from then on, also where its sound is on disk already.
    Mute {
        /// The stream.
        stream: StreamId,
        /// When the pause began.
        at: Wall,
    },
    /// Write the sound of this stream again.
    Unmute {
        /// The stream.
        stream: StreamId,
        /// When the pause ended.
        at: Wall,
    },
    /// Hand this over to the contact of a consultation; see [`Session::receive`].
    HandOver {
        /// The consultation.
        contact: ContactId,
        /// What its people get.
        packet: Box<Handover>,
    },
    /// Read a stream back from disk: its utterances outside `done`, then its end.
    CatchUp {
        /// The stream.
        stream: StreamId,
        /// Parts whose text is there, in samples.
        done: Vec<(u64, u64)>,
    },
    /// Replace the sound of a stream by silence, also on disk; answer with [`Silenced`](crate::media::StreamEventKind::Silenced).
    Silence {
        /// The stream.
        stream: StreamId,
        /// From there.
        from: MediaTime,
        /// To there.
        to: MediaTime,
    },
}

/// An utterance to recognise.
#[derive(Clone, Debug)]
pub struct Task {
    /// The stream.
    pub stream: StreamId,
    /// Its number in the stream.
    pub number: u32,
    /// Live or from disk.
    pub kind: JobKind,
    /// The sound and its place.
    pub utterance: Utterance,
    /// The sound is on disk too.
    pub recorded: bool,
    /// What the call is, for the words that apply to it.
    pub scopes: Scopes,
}

/// One contact.
#[derive(Debug)]
pub struct Session {
    site: Site,
    contact: Contact,
    line: Line,
    words: words::Words,
    next_sequence: u64,
    /// Texts that stayed here by the line's policy; they have no sequence, so that what is sent has no gap.
    kept_here: u64,
    streams: Vec<Stream>,
    pops: Pops,
    found: Found,
    looked_up: Option<String>,
    pauses: Pauses,
    /// Where there is text: stream, from, to.
    finals: Vec<(StreamId, Wall, Wall)>,
    /// How far the text was behind when that was told last; `None`: it is not behind.
    delayed: Option<Duration>,
    running: partial::Partials,
    ended_at: Option<Mono>,
    document: Document,
    recording_told: bool,
    complete: bool,
    contexts: Vec<context::Attached>,
    marks: Vec<Mark>,
    /// What the operator wrote for whoever takes over.
    note: Option<String>,
    handovers: Vec<handover::Passed>,
    /// What is handed over from the contact that this one is a consultation about.
    received: Option<Box<Handover>>,
    /// What the pop about each leg shows of that.
    popped: HashMap<LegId, u64>,
    held: held::Held,
    /// What must become silent before the contact is over.
    silencing: Vec<silencing::Silencing>,
    /// The document has everything.
    written: bool,
    /// The ledger of the last document, of a contact that was taken up again after its end.
    covered: Option<Vec<LegCoverage>>,
    out: VecDeque<Output>,
}

impl Session {
    /// A session from the first signal of a call.
    pub fn open(now: Now, site: Site, opening: Opening<'_>) -> Session {
        let Opening { call, salt, caller, called, line, first, before } = opening;
        let contact = Contact::open(now.wall, &site.id, call, salt, caller.clone(), called);
        let mut session = Session::of(site, contact, line);
        session.handle_signal(now, first);
        session.look_up();
        if let Some(before) = before {
            session.continue_pauses(now, &before.pauses);
            session.continue_contexts(now, before.contexts);
        }
        session.out.push_back(Output::Save);
        session
    }

    fn of(site: Site, contact: Contact, line: Line) -> Session {
        Session {
            words: words::Words::new(&site, &line),
            site,
            contact,
            line,
            next_sequence: 1,
            kept_here: 0,
            streams: Vec::new(),
            pops: Pops::default(),
            found: Found { state: LookUp::Skipped, matches: Vec::new() },
            looked_up: None,
            pauses: Pauses::default(),
            finals: Vec::new(),
            delayed: None,
            running: partial::Partials::default(),
            ended_at: None,
            document: Document::default(),
            recording_told: false,
            complete: false,
            contexts: Vec::new(),
            marks: Vec::new(),
            note: None,
            handovers: Vec::new(),
            received: None,
            popped: HashMap::new(),
            held: held::Held::default(),
            silencing: Vec::new(),
            written: false,
            covered: None,
            out: VecDeque::new(),
        }
    }

    /// The contact's published id.
    pub fn id(&self) -> ContactId {
        self.contact.id
    }

    /// The contact's model.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Whether the line's policy lets text leave for the CRM.
    pub fn delivers_text(&self) -> bool {
        self.line.deliver
    }

    /// The next thing to do; `None` when there is nothing until the next input or [`Session::due`].
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Session::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        let document = match (self.ended_at, self.document.revision()) {
            (Some(at), 0) => Some(at + DOCUMENT_AFTER),
            _ => None,
        };
        [self.delay_due(), document, self.handovers_due(), self.held.due, self.silence_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether everything about the contact is written and the session can be dropped.
    pub fn finished(&self) -> bool {
        self.complete
    }

    /// Takes a signal of the exchange.
    pub fn handle_signal(&mut self, now: Now, signal: &Signal) {
        let keys = self.contact.keys.len();
        let callers = Arc::clone(&self.site.callers);
        let signal = &*callers.mark(signal);
        let facts = self.contact.apply(now.wall, signal, &self.site.directory, &self.line);
        for fact in &facts {
            self.tell(now, *fact);
        }
        if let Signal::StreamAdded { leg, stream, speaker } = signal {
            self.add_stream(now, leg, *stream, *speaker);
        }
        // a call that has ended has nothing left to pause
        match signal {
            Signal::KeepNothing(_) => _ = self.pause(now, Scope::Both, Cause::Hold, None),
            Signal::KeepAgain(_) => _ = self.unpause(now, Scope::Both, Cause::Hold, None),
            _ => {}
        }
        if facts.is_empty() && self.contact.keys.len() != keys {
            self.out.push_back(Output::Save);
        }
        self.tell_handovers(now);
        self.close(now);
    }

    /// Takes the answer of the look-up of `number`; `None` when it failed or took too long.
    pub fn handle_look_up(&mut self, now: Now, number: &str, matches: Option<Vec<Match>>) {
        if self.looked_up.as_deref() != Some(number) {
            return;
        }
        self.found = match matches {
            Some(matches) => Found { state: LookUp::Done, matches },
            None => Found { state: LookUp::Failed, matches: Vec::new() },
        };
        for data in self.pops.revise(&self.contact, &self.line, &self.found) {
            self.realtime(now.wall, data);
        }
    }

    /// Another contact belongs to this one; told once.
    pub fn link(&mut self, now: Now, contact: ContactId, relation: Relation, kind: TransferKind) {
        if self.contact.link(contact) {
            self.record(now.wall, None, Data::ContactLinked(ContactLinked { contact, relation, kind }));
        }
    }

    /// Called at or after [`Session::due`].
    pub fn handle_timeout(&mut self, now: Now) {
        self.tell_delay(now);
        self.release(now, false);
        self.retry_silence(now);
        self.tell_handovers(now);
        self.close(now);
    }

    /// Ends the contact from inside: the bridge failed on it or is being stopped.
    pub fn end(&mut self, now: Now, reason: EndReason) {
        for fact in self.contact.end(End { at: now.wall, reason }) {
            self.tell(now, fact);
        }
        self.tell_handovers(now);
        self.close(now);
    }

    fn look_up(&mut self) {
        let number = self.contact.caller_shown().number;
        if number.is_some() && number != self.looked_up {
            self.found = Found { state: LookUp::Pending, matches: Vec::new() };
            self.out.extend(number.clone().map(Output::LookUp));
        }
        self.looked_up = number;
    }
}

#[cfg(test)]
mod tests;

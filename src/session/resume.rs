//! A session across a restart: what is stored, and how an open contact is taken up again and brought to its end.

use serde::{Deserialize, Serialize};

use super::context::Attached;
use super::handover::Passed;
use super::streams::{Stored, Stream};
use super::{Output, Session, Site};
use crate::call::contact::{Contact, End};
use crate::call::line::Line;
use crate::call::note::Mark;
use crate::call::pause::Pauses;
use crate::events::{Data, EndReason, Event, TranscriptFinal};
use crate::pbx::StreamId;
use crate::time::{MediaTime, Now, Wall};
use crate::transcript::document::FailedSpan;

/// What is stored of a contact beside its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    contact: Contact,
    line: Line,
    next_sequence: u64,
    streams: Vec<Stored>,
    document: u32,
    recording_told: bool,
    #[serde(default)]
    pauses: Pauses,
    #[serde(default)]
    contexts: Vec<Attached>,
    #[serde(default)]
    marks: Vec<Mark>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    handovers: Vec<Passed>,
}

/// What the contact of a call that still runs had when the bridge was stopped or killed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Before {
    pub(super) pauses: Pauses,
    pub(super) contexts: Vec<Attached>,
}

/// Why a stored contact could not be taken up.
#[derive(Debug, thiserror::Error)]
#[error(
    "the stored state of a contact cannot be read (column {column}); it was written by another version; its events are kept and delivered, export the database before you upgrade"
)]
pub struct ResumeError {
    /// Where the state, one line of JSON, is not as expected (what the reader says of it may quote personal data).
    column: usize,
}

impl State {
    /// Reads a stored state.
    ///
    /// # Errors
    /// When it was written by another version.
    pub fn parse(state: &str) -> Result<State, ResumeError> {
        serde_json::from_str(state).map_err(|error| ResumeError { column: error.column() })
    }

    /// The streams whose sound may be on disk, with the wall time of their first sample.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, Option<Wall>)> {
        self.streams.iter().map(|stream| (stream.id, stream.origin))
    }

    /// What goes on in the next contact of the same call: open pauses and contexts; `None` when the call was over.
    pub fn cut_off(&self) -> Option<Before> {
        let cut_off = self.contact.ended.is_none_or(|end| end.reason == EndReason::BridgeRestart);
        cut_off.then(|| Before { pauses: self.pauses.clone(), contexts: self.contexts.clone() })
    }

    /// The site of the contact.
    pub fn site(&self) -> &str {
        &self.contact.site
    }
}

impl Session {
    /// The state to store, as JSON.
    pub fn state(&self) -> String {
        let state = State {
            contact: self.contact.clone(),
            line: self.line.clone(),
            next_sequence: self.next_sequence,
            streams: self.streams.iter().map(|stream| stream.stored.clone()).collect(),
            document: self.document.revision(),
            recording_told: self.recording_told,
            pauses: self.pauses.clone(),
            contexts: self.contexts.clone(),
            marks: self.marks.clone(),
            note: self.note.clone(),
            handovers: self.handovers.clone(),
        };
        serde_json::to_string(&state).unwrap_or_default()
    }

    /// Takes up a contact that was open when the bridge stopped: its open legs end with `bridge_restart` at the last moment that is
    /// known, what was not recognised is read back from disk, the document follows. `heard_until` is the end of the sound on disk.
    ///
    /// # Errors
    /// When the state does not parse.
    pub fn resume(
        now: Now,
        site: Site,
        state: &str,
        events: &[Event],
        heard_until: Option<Wall>,
    ) -> Result<Session, ResumeError> {
        let (mut session, finals) = Session::stored(site, state, events)?;
        if session.contact.ended.is_some() {
            session.ended_at = Some(now.mono);
        } else {
            let at = session.last_known(events).max(heard_until.unwrap_or_default());
            for fact in session.contact.end(End { at, reason: EndReason::BridgeRestart }) {
                session.tell(now, fact);
            }
        }
        for stream in session.streams.iter().filter(|stream| !stream.stored.spare) {
            let rate = stream.stored.rate;
            let done = finals
                .iter()
                .filter(|text| text.utterance.starts_with(&stream.stored.id.0.to_string()))
                .map(|text| {
                    let sample = |ms: u64| MediaTime(ms * 1_000).to_sample(rate);
                    (sample(text.start_ms), sample(text.end_ms))
                })
                .collect();
            session.out.push_back(Output::CatchUp { stream: stream.stored.id, done });
        }
        session.silence_again();
        session.close(now);
        Ok(session)
    }

    /// Takes up a contact whose document has been written, for corrections of its texts. It asks for nothing by itself.
    ///
    /// # Errors
    /// When the state does not parse.
    pub fn reopen(now: Now, site: Site, state: &str, events: &[Event]) -> Result<Session, ResumeError> {
        let (mut session, _) = Session::stored(site, state, events)?;
        session.ended_at = Some(now.mono);
        (session.written, session.complete) = (true, true);
        let documents = events.iter().filter_map(|event| match &event.data {
            Data::TranscriptDocument(document) => Some(document),
            _ => None,
        });
        if let Some(last) = documents.max_by_key(|document| document.revision) {
            let failed = last.turns.iter().filter(|turn| turn.text.is_none());
            failed.for_each(|turn| session.document.add_failed(FailedSpan::of(turn)));
            session.covered = Some(last.coverage.clone());
        }
        Ok(session)
    }

    /// A session with everything that is stored of it, and its finals.
    fn stored<'e>(
        site: Site,
        state: &str,
        events: &'e [Event],
    ) -> Result<(Session, Vec<&'e TranscriptFinal>), ResumeError> {
        let state = State::parse(state)?;
        let mut session = Session::of(site, state.contact, state.line);
        let last = events.iter().filter_map(|event| event.sequence).max().unwrap_or(0);
        session.next_sequence = state.next_sequence.max(last + 1);
        session.kept_here = events.iter().filter(|event| event.sequence.is_none()).count() as u64;
        session.document.resume_after(state.document);
        session.recording_told = state.recording_told;
        session.pauses = state.pauses;
        (session.contexts, session.marks) = (state.contexts, state.marks);
        (session.note, session.handovers) = (state.note, state.handovers);
        session.streams = state.streams.into_iter().map(Stream::new).collect();
        let finals: Vec<&TranscriptFinal> = events.iter().filter_map(final_of).collect();
        for text in &finals {
            session.document.add_final(text);
            let stream =
                session.streams.iter().find(|stream| text.utterance.starts_with(&stream.stored.id.0.to_string()));
            session.finals.extend(stream.map(|stream| (stream.stored.id, text.start, text.end)));
        }
        for event in events {
            if let Data::TranscriptCorrected(text) = &event.data {
                session.document.add_corrected(text);
            }
        }
        Ok((session, finals))
    }

    fn last_known(&self, events: &[Event]) -> Wall {
        let told = events.iter().map(|event| event.time).max();
        let heard = self.finals.iter().map(|(_, _, end)| *end).max();
        told.max(heard).unwrap_or(self.contact.started)
    }
}

fn final_of(event: &Event) -> Option<&TranscriptFinal> {
    match &event.data {
        Data::TranscriptFinal(text) => Some(text),
        _ => None,
    }
}

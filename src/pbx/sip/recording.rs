//! The recording server (RFC 7866): which calls are recording sessions, what their metadata changes, and the question for a snapshot of it.

use std::time::Duration;

use crate::pbx::{CallKey, EndCause, ExternalKey, PbxId};
use crate::time::{Mono, Now};

use super::content;
use super::identity;
use super::message::Message;
use super::refresh::code_of;
use super::request::Request;
use super::sdp::Description;
use super::siprec::{Applied, Book, Fallback, Line, Metadata, Rules, Teller, of_headers, pictures};
use super::timer::{Refresher, SessionTimer};
use super::uas::{Output, Purpose, Uas};

/// How long a call waits for an agent to be named before it is told without.
const NAMING: Duration = Duration::from_secs(2);
/// Snapshots that are asked for in a row without getting one.
const SNAPSHOTS_MAX: u8 = 3;
/// What asks for one (RFC 7866 §9.2).
const REQUEST: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<requestsnapshot xmlns=\"urn:ietf:params:xml:ns:recording:1\">\
                       <requestreason xml:lang=\"en\">An update refers to what was not told</requestreason></requestsnapshot>\r\n";
const REQUEST_TYPE: &str = "application/rs-metadata-request";
const BOUNDARY: &str = "kakehashi-snapshot";

/// What makes a call a recording session.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    book: Book,
    teller: Teller,
    called: String,
    keys: Vec<ExternalKey>,
    /// Until then somebody may still be named.
    pub(super) naming_until: Option<Mono>,
    asked: u8,
    wants_snapshot: bool,
}

impl Recording {
    /// The recording session that an INVITE opens; `None`: it is a call.
    pub(super) fn of_invite(
        invite: &Request,
        metadata: bool,
        called: String,
        key: &CallKey,
        trust: bool,
    ) -> Option<Recording> {
        let fork = of_headers(invite).filter(|_| !metadata);
        if !metadata && fork.is_none() && !is_asked_for(invite) {
            return None;
        }
        let (book, more) = fork.unwrap_or_default();
        let mut keys = identity::keys(invite, trust);
        keys.extend(more);
        let teller = Teller::new(key.clone());
        Some(Recording { book, teller, called, keys, naming_until: None, asked: 0, wants_snapshot: false })
    }

    fn fallback(&self, now: Now) -> Fallback {
        let at_once = self.naming_until.is_none_or(|until| until <= now.mono);
        Fallback { called: self.called.clone(), keys: self.keys.clone(), at_once }
    }
}

/// `Require: siprec`, or a Contact that says `+sip.src` (RFC 7866 §6.1), also where it is written inside the URI.
fn is_asked_for(invite: &Request) -> bool {
    let requires = invite.message.list("Require").iter().any(|option| option.trim().eq_ignore_ascii_case("siprec"));
    let mut contacts = invite.message.raw("Contact");
    requires || contacts.any(|raw| super::message::decode(raw).to_ascii_lowercase().contains("+sip.src"))
}

impl Uas {
    /// The recording session that an INVITE opens, with what its metadata says, and the line whose policy stands for it.
    pub(super) fn recording_of(&mut self, pbx: &PbxId, invite: &Request, key: &CallKey) -> Option<(Recording, String)> {
        let metadata = content::all(&invite.message).unwrap_or_default().metadata;
        let called = self.called(pbx, invite);
        let mut recording = Recording::of_invite(invite, metadata.is_some(), called, key, self.trusts(&key.pbx))?;
        self.counters.recordings += 1;
        if let Some((body, charset)) = metadata {
            self.read_metadata(pbx, &mut recording, &body, charset.as_deref());
        }
        let is_agent = |user: &str| (self.agents)(pbx, user);
        let rules = Rules { is_agent: &is_agent, agent_first: self.agent_first(pbx) };
        let first = pictures(&recording.book, &[], &rules, |_| Default::default()).into_iter().next();
        let called = first.and_then(|picture| picture.called).unwrap_or_else(|| recording.called.clone());
        Some((recording, called))
    }

    fn read_metadata(&mut self, pbx: &PbxId, recording: &mut Recording, body: &[u8], charset: Option<&str>) {
        match Metadata::parse(body, charset) {
            Ok(document) => {
                let complete = document.complete;
                let applied = recording.book.apply(document);
                recording.asked = if complete { 0 } else { recording.asked };
                recording.wants_snapshot = applied == Applied::Lacking;
                self.counters.metadata_lacking += u64::from(applied == Applied::Lacking);
            }
            Err(error) => {
                self.counters.metadata_broken += 1;
                recording.wants_snapshot = true;
                self.out.push_back(Output::Note(pbx.clone(), super::Note::Metadata(error)));
            }
        }
    }

    /// The metadata of a request inside a recording session, after it was accepted.
    pub(super) fn take_metadata(&mut self, tag: &str, request: &Request) {
        let Some((body, charset)) = content::all(&request.message).unwrap_or_default().metadata else { return };
        let Some(call) = self.calls.get_mut(tag) else { return };
        let pbx = call.pbx().clone();
        let Some(mut recording) = call.recording.take() else { return };
        self.read_metadata(&pbx, &mut recording, &body, charset.as_deref());
        if let Some(call) = self.calls.get_mut(tag) {
            call.recording = Some(recording);
        }
    }

    /// From the answer on the calls of a recording session are told; who is not named within [`NAMING`] never is waited for.
    pub(super) fn begin_recording(&mut self, tag: &str, now: Now) {
        if let Some(recording) = self.calls.get_mut(tag).and_then(|call| call.recording.as_mut()) {
            recording.naming_until = Some(now.mono + NAMING);
        }
        self.tell_recording(tag, now);
    }

    /// Tells what is new in a recording session, and asks for a snapshot where one is needed.
    pub(super) fn tell_recording(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get_mut(tag).filter(|call| call.is_answered()) else { return };
        let Some(mut recording) = call.recording.take() else { return };
        let pbx = call.pbx().clone();
        let lines: Vec<Line> = call.agreed.heard().iter().map(|stream| stream.as_line()).collect();
        let is_agent = |user: &str| (self.agents)(&pbx, user);
        let rules = Rules { is_agent: &is_agent, agent_first: self.agent_first(&pbx) };
        let pictures = pictures(&recording.book, &lines, &rules, |session| recording.teller.roles(session));
        let told = recording.teller.update(&pictures, &recording.fallback(now), now);
        if !recording.teller.waits() {
            recording.naming_until = None;
        }
        self.out.extend(told.into_iter().map(Output::Signal));
        if let Some(call) = self.calls.get_mut(tag) {
            call.recording = Some(recording);
        }
        self.ask_for_snapshot(tag, now);
    }

    /// Nobody was named in time.
    pub(super) fn naming_over(&mut self, tag: &str, now: Now) {
        self.tell_recording(tag, now);
        if let Some(recording) = self.calls.get_mut(tag).and_then(|call| call.recording.as_mut()) {
            recording.naming_until = None;
        }
    }

    /// The end of a recording session and of all its calls. False: it is a call.
    pub(super) fn end_recording(&mut self, tag: &str, cause: EndCause, now: Now) -> bool {
        let Some(call) = self.calls.get_mut(tag) else { return false };
        let answered = call.is_answered();
        let Some(recording) = call.recording.as_mut() else { return false };
        let fallback = recording.fallback(now);
        let told = if answered { recording.teller.end(cause, &fallback, now) } else { Vec::new() };
        self.out.extend(told.into_iter().map(Output::Signal));
        true
    }

    /// The streams of a recording session end, and nothing more is told of its calls.
    pub(super) fn stop_recording(&mut self, tag: &str, now: Now) {
        let recording = self.calls.get_mut(tag).and_then(|call| call.recording.as_mut());
        let told = recording.map(|recording| recording.teller.stop(now)).unwrap_or_default();
        self.out.extend(told.into_iter().map(Output::Signal));
    }

    /// Asks for all metadata (RFC 7866 §9.2): by UPDATE where the peer takes it, else by a re-INVITE that changes nothing.
    pub(super) fn ask_for_snapshot(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        let busy = call.refreshing.asking.is_some() || call.pending.is_some() || call.unacknowledged.is_some();
        let Some(recording) = call.recording.as_mut().filter(|own| own.wants_snapshot && !busy) else { return };
        if recording.asked >= SNAPSHOTS_MAX {
            return;
        }
        recording.asked += 1;
        recording.wants_snapshot = false;
        let invite = !call.refreshing.updates;
        call.refreshing.asking = Some(invite);
        let (timer, session) = (call.timer, call.agreed.last());
        let method = if invite { "INVITE" } else { "UPDATE" };
        let Some((mut message, branch, to)) = self.request_within(tag, method) else { return };
        message.push("Allow", super::check::ALLOW);
        message.push("Supported", "timer");
        if let Some(timer) = timer {
            let refresher = if timer.refresher == Refresher::Us { "uac" } else { "uas" };
            message.push("Session-Expires", format!("{};refresher={refresher}", timer.interval));
        }
        if invite {
            message.push("Content-Type", format!("multipart/mixed;boundary={BOUNDARY}"));
            let head = format!("--{BOUNDARY}\r\nContent-Type: application/sdp\r\n\r\n");
            let next = format!(
                "\r\n--{BOUNDARY}\r\nContent-Type: {REQUEST_TYPE}\r\nContent-Disposition: recording-session\r\n\r\n{REQUEST}\r\n--{BOUNDARY}--\r\n"
            );
            message.body = [head.as_bytes(), &session, next.as_bytes()].concat();
        } else {
            message.push("Content-Type", REQUEST_TYPE);
            message.push("Content-Disposition", "recording-session");
            message.body = REQUEST.into();
        }
        self.counters.snapshots += 1;
        self.ask(&message, branch, to, Purpose::Snapshot { tag: tag.into(), invite }, now);
    }

    /// The answer to it; the snapshot itself comes in a request of the peer's.
    pub(super) fn snapshot_answered(&mut self, tag: &str, invite: bool, answer: Option<&Message>, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        call.refreshing.asking = None;
        let code = answer.map_or(408, code_of);
        match (code, answer) {
            (200..300, Some(answer)) => {
                call.dialog.retarget(answer);
                call.note_allow(answer);
                call.timer = call.timer.map(|timer| SessionTimer::start(timer.interval, timer.refresher, now));
                let body = content::session(answer).unwrap_or_default().filter(|_| invite);
                let described = body.and_then(|body| Description::parse(&body).ok());
                if let Some(described) = described.filter(|described| call.agreed.allows(described, true)) {
                    self.take(tag, &described, true, now);
                }
            }
            (408 | 481, _) => self.hang_up(tag, EndCause::LostSight, now),
            (405 | 501, _) if !invite => {
                call.refreshing.updates = false;
                if let Some(recording) = &mut call.recording {
                    recording.wants_snapshot = true;
                }
                self.ask_for_snapshot(tag, now);
            }
            _ => {}
        }
    }
}

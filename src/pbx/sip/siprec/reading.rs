//! A metadata document element by element: what each adds to the [`Metadata`].

use quick_xml::events::BytesStart;

use super::{
    DEPTH_MAX, ELEMENTS_MAX, Error, Hints, Metadata, PEOPLE_MAX, Participant, Presence, SESSIONS_MAX, STREAMS_MAX,
    Sending, Session, Stream, TEXT_MAX,
};
use crate::pbx::sip::xml::attributes;

/// Associations of one document, of each kind.
const LINKS_MAX: usize = 512;
/// Session-IDs of one session, addresses of one participant.
const NAMES_MAX: usize = 8;

/// Where in the document the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Mode,
    Session,
    SessionId,
    Group,
    SessionOver,
    SessionRecording,
    RecordingOver,
    Participant,
    Aor,
    NameId,
    Name,
    OwnSend,
    OwnRecv,
    Stream,
    Label,
    StreamMode,
    Presence,
    PresenceOver,
    Sending,
    Send,
    Recv,
    SendingOver,
    /// What vendors add, and inside it.
    Extension,
    Other,
}

/// What was read of a document so far.
#[derive(Default)]
pub(super) struct Reading {
    document: Option<Metadata>,
    /// With the name of each element inside vendors' additions.
    places: Vec<(Place, String)>,
    elements: usize,
    text: String,
    complete: bool,
    /// The session of the association that is open.
    recording: String,
    /// The session that the addition is about.
    about: Option<String>,
}

impl Reading {
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn open(&mut self, tag: &BytesStart<'_>, ours: bool) -> Result<(), Error> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX || self.places.len() >= DEPTH_MAX {
            return Err(Error::TooLarge);
        }
        let local = tag.local_name();
        let name: &str = local.as_ref();
        let place = match self.places.last() {
            None if !ours || !matches!(name, "recording" | "recording_metadata") => return Err(Error::NotMetadata),
            None => Place::Root,
            Some((Place::Extension, _)) => Place::Extension,
            Some((parent, _)) if name == "extensiondata" || is_addition(*parent, name) => Place::Extension,
            Some((parent, _)) if ours => child(*parent, name),
            Some(_) => Place::Other,
        };
        self.text.clear();
        let attributes = attributes(tag)?;
        let get = |names: &[&str]| {
            names.iter().find_map(|name| {
                // a prefix says nothing here
                let is_it = |(own, _): &&(String, String)| own.rsplit(':').next() == Some(*name);
                let (_, value) = attributes.iter().find(is_it)?;
                Some(value.trim().chars().take(TEXT_MAX).collect::<String>()).filter(|value| !value.is_empty())
            })
        };
        self.begin(place, name, &get)?;
        self.places.push((place, if place == Place::Extension { name.to_string() } else { String::new() }));
        Ok(())
    }

    fn begin(&mut self, place: Place, name: &str, get: &dyn Fn(&[&str]) -> Option<String>) -> Result<(), Error> {
        if place == Place::Root {
            // a document that does not say is a snapshot
            self.document = Some(Metadata { complete: true, ..Metadata::default() });
            return Ok(());
        }
        let inside = self.places.last().map(|(place, _)| *place);
        let Some(document) = self.document.as_mut() else { return Err(Error::NotMetadata) };
        match place {
            Place::Session => {
                let (id, group) = (get(&["session_id", "id"]).unwrap_or_default(), get(&["group", "group_id"]));
                push(&mut document.sessions, Session { id, group, ..Session::default() }, SESSIONS_MAX)
            }
            Place::SessionRecording => {
                self.recording = get(&["session_id"]).unwrap_or_default();
                Ok(())
            }
            Place::Participant => {
                let id = get(&["participant_id", "id"]).unwrap_or_default();
                if let Some(session) = get(&["session"]) {
                    let presence = Presence { participant: id.clone(), session, over: false };
                    push(&mut document.present, presence, LINKS_MAX)?;
                }
                push(&mut document.participants, Participant { id, ..Participant::default() }, PEOPLE_MAX)
            }
            Place::NameId => {
                let aor = get(&["aor"]);
                if let Some(aor) = aor {
                    last(&mut document.participants, |own| add(&mut own.aors, aor, NAMES_MAX));
                }
                Ok(())
            }
            Place::OwnSend | Place::OwnRecv if matches!(inside, Some(Place::Participant)) => own_sending(document),
            Place::Stream => {
                let (id, session) = (get(&["stream_id", "id"]).unwrap_or_default(), get(&["session_id", "session"]));
                push(&mut document.streams, Stream { id, session, ..Stream::default() }, STREAMS_MAX)
            }
            Place::Presence => {
                let (participant, session) = (get(&["participant_id"]), get(&["session_id"]));
                let (participant, session) = (participant.unwrap_or_default(), session.unwrap_or_default());
                push(&mut document.present, Presence { participant, session, over: false }, LINKS_MAX)
            }
            Place::Sending => {
                let participant = get(&["participant_id"]).unwrap_or_default();
                push(&mut document.sending, Sending { participant, ..Sending::default() }, LINKS_MAX)
            }
            Place::Extension if inside != Some(Place::Extension) => {
                self.about = match inside {
                    Some(Place::Session) => document.sessions.last().map(|session| session.id.clone()),
                    _ => get(&["parent"]).filter(|parent| document.sessions.iter().any(|own| own.id == *parent)),
                };
                Ok(())
            }
            Place::Extension => {
                if let (Some(incoming), Some(hints)) = (direction(name), self.hints()) {
                    hints.incoming = Some(incoming);
                }
                Ok(())
            }
            _ => {
                ends(document, place, &self.recording);
                Ok(())
            }
        }
    }

    pub(super) fn close(&mut self) -> Result<(), Error> {
        let text = std::mem::take(&mut self.text).trim().to_string();
        let Some((place, name)) = self.places.pop() else { return Err(Error::Syntax) };
        self.complete = self.places.is_empty();
        if place == Place::Extension {
            self.addition(&name, text);
            return Ok(());
        }
        let Some(document) = self.document.as_mut().filter(|_| !text.is_empty()) else { return Ok(()) };
        match place {
            Place::Mode => document.complete = !text.eq_ignore_ascii_case("partial"),
            Place::SessionId => last(&mut document.sessions, |own| add(&mut own.sip_session_ids, text, NAMES_MAX)),
            Place::Group => last(&mut document.sessions, |own| own.group = Some(text)),
            Place::Aor => last(&mut document.participants, |own| add(&mut own.aors, text, NAMES_MAX)),
            Place::Name => last(&mut document.participants, |own| own.name = own.name.take().or(Some(text))),
            Place::Label => last(&mut document.streams, |own| own.label = Some(text)),
            Place::StreamMode => last(&mut document.streams, |own| own.mixed = text.eq_ignore_ascii_case("mixed")),
            Place::Send | Place::OwnSend => last(&mut document.sending, |own| add(&mut own.send, text, STREAMS_MAX)),
            Place::Recv | Place::OwnRecv => last(&mut document.sending, |own| add(&mut own.recv, text, STREAMS_MAX)),
            _ => {}
        }
        Ok(())
    }

    /// The end of an element that a vendor added.
    fn addition(&mut self, name: &str, text: String) {
        if text.is_empty() {
            return;
        }
        if name == "callingParty" {
            let inside = self.places.iter().any(|(place, _)| *place == Place::Participant);
            let person = self.document.as_mut().and_then(|document| document.participants.last_mut());
            if let Some(person) = person.filter(|_| inside && text.eq_ignore_ascii_case("true")) {
                person.calling = true;
            }
            return;
        }
        let Some(hints) = self.hints() else { return };
        match name {
            "userID" | "recordedParty" => hints.recorded = Some(text),
            "callType" => hints.incoming = direction(&text).or(hints.incoming),
            "callingPartyNumber" | "fromhdr" => hints.calling = Some(text),
            "calledPartyNumber" | "tohdr" => hints.called = Some(text),
            "dialedDigits" => hints.called = hints.called.take().or(Some(text)),
            "callid" => hints.call_id = Some(text),
            _ => {}
        }
    }

    fn hints(&mut self) -> Option<&mut Hints> {
        let (about, document) = (self.about.clone(), self.document.as_mut()?);
        let place = document.hints.iter().position(|(own, _)| *own == about);
        let place = place.or_else(|| {
            (document.hints.len() <= SESSIONS_MAX).then(|| document.hints.push((about, Hints::default())))?;
            document.hints.len().checked_sub(1)
        });
        document.hints.get_mut(place?).map(|(_, hints)| hints)
    }

    pub(super) fn text(&mut self, piece: &str) {
        let room = TEXT_MAX.saturating_sub(self.text.chars().count());
        self.text.extend(piece.chars().take(room));
    }

    pub(super) fn finish(self) -> Result<Metadata, Error> {
        match self.document {
            Some(document) if self.complete => Ok(document),
            Some(_) => Err(Error::Syntax),
            None => Err(Error::NotMetadata),
        }
    }
}

/// What the drafts wrote into the participant itself.
fn own_sending(document: &mut Metadata) -> Result<(), Error> {
    let Some(own) = document.participants.last().map(|person| person.id.clone()) else { return Ok(()) };
    if document.sending.last().is_some_and(|sending| sending.participant == own) {
        return Ok(());
    }
    push(&mut document.sending, Sending { participant: own, ..Sending::default() }, LINKS_MAX)
}

/// The end of what the element is about.
fn ends(document: &mut Metadata, place: Place, recording: &str) {
    match place {
        Place::SessionOver => last(&mut document.sessions, |own| own.over = true),
        Place::RecordingOver => {
            document.sessions.iter_mut().filter(|session| session.id == recording).for_each(|own| own.over = true);
        }
        Place::PresenceOver => last(&mut document.present, |own| own.over = true),
        Place::SendingOver => last(&mut document.sending, |own| own.over = true),
        _ => {}
    }
}

fn last<T>(list: &mut [T], with: impl FnOnce(&mut T)) {
    if let Some(item) = list.last_mut() {
        with(item);
    }
}

/// What is too much of one thing is left out.
fn add(list: &mut Vec<String>, text: String, most: usize) {
    if list.len() < most {
        list.push(text);
    }
}

fn push<T>(list: &mut Vec<T>, item: T, most: usize) -> Result<(), Error> {
    if list.len() >= most {
        return Err(Error::TooLarge);
    }
    list.push(item);
    Ok(())
}

fn child(parent: Place, name: &str) -> Place {
    match (parent, name) {
        (Place::Root, "datamode" | "dataMode") => Place::Mode,
        (Place::Root, "session") => Place::Session,
        (Place::Session, "sipSessionID") => Place::SessionId,
        (Place::Session, "group-ref") => Place::Group,
        (Place::Session, "stop-time" | "end-time") => Place::SessionOver,
        (Place::Root, "sessionrecordingassoc") => Place::SessionRecording,
        (Place::SessionRecording, "disassociate-time") => Place::RecordingOver,
        (Place::Root, "participant") => Place::Participant,
        (Place::Participant, "aor") => Place::Aor,
        (Place::Participant, "nameID") => Place::NameId,
        (Place::Participant | Place::NameId, "name") => Place::Name,
        (Place::Participant | Place::OwnSend, "send") => Place::OwnSend,
        (Place::OwnSend, "id") => Place::OwnSend,
        (Place::Participant, "recv") => Place::OwnRecv,
        (Place::OwnRecv, "id") => Place::OwnRecv,
        (Place::Root, "stream") => Place::Stream,
        (Place::Stream, "label") => Place::Label,
        (Place::Stream, "mode") => Place::StreamMode,
        (Place::Root, "participantsessionassoc") => Place::Presence,
        (Place::Presence, "disassociate-time") => Place::PresenceOver,
        (Place::Root, "participantstreamassoc") => Place::Sending,
        (Place::Sending, "send") => Place::Send,
        (Place::Sending, "recv") => Place::Recv,
        (Place::Sending, "disassociate-time") => Place::SendingOver,
        _ => Place::Other,
    }
}

/// What vendors add outside `extensiondata`.
fn is_addition(parent: Place, name: &str) -> bool {
    parent != Place::Root && name == "callData" || name.ends_with("RecordingMetadata")
}

/// Whether the recorded user was called.
fn direction(text: &str) -> Option<bool> {
    match text {
        "termCall" | "terminating" => Some(true),
        "origCall" | "originating" => Some(false),
        _ => None,
    }
}

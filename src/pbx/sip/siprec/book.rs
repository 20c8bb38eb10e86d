//! All documents of one recording session together: snapshots replace, updates are merged (RFC 7865 §6.1.1, RFC 7866 §9).

use super::{Metadata, PEOPLE_MAX, Presence, SESSIONS_MAX, STREAMS_MAX, Sending};

/// Associations that are remembered of each kind.
const LINKS_MAX: usize = 512;

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All of it is known now.
    Whole,
    /// It refers to what was never told, or there is more than is remembered: a snapshot is needed (RFC 7866 §9.2).
    Lacking,
}

/// What is known of a recording session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    known: Metadata,
}

impl Book {
    /// What all documents so far say together.
    pub fn known(&self) -> &Metadata {
        &self.known
    }

    /// A book that begins with this.
    pub(super) fn of(known: Metadata) -> Book {
        Book { known: Metadata { complete: true, ..known } }
    }

    /// Takes a document.
    pub fn apply(&mut self, mut document: Metadata) -> Applied {
        // names that are empty name nothing: some recorders announce a stream before it has one
        document.streams.retain(|stream| !stream.id.is_empty());
        document.participants.retain(|person| !person.id.is_empty());
        if document.complete {
            return self.replace(document);
        }
        let first = !self.known.complete;
        merge(&mut self.known.sessions, document.sessions, |own| own.id.clone(), SESSIONS_MAX);
        merge(&mut self.known.streams, document.streams, |own| own.id.clone(), STREAMS_MAX);
        merge(&mut self.known.participants, document.participants, |own| own.id.clone(), PEOPLE_MAX);
        let of = |presence: &Presence| (presence.participant.clone(), presence.session.clone());
        merge(&mut self.known.present, document.present, of, LINKS_MAX);
        for sending in document.sending {
            self.send(sending);
        }
        merge(&mut self.known.hints, document.hints, |own| own.0.clone(), SESSIONS_MAX);
        let applied = self.check();
        if first { Applied::Lacking } else { applied }
    }

    /// A snapshot: what is missing in it is over. People of old documents are kept only as far as they are named.
    fn replace(&mut self, document: Metadata) -> Applied {
        let hints = std::mem::take(&mut self.known.hints);
        self.known = Metadata { sending: Vec::new(), ..document.clone() };
        for sending in document.sending {
            self.send(sending);
        }
        if self.known.hints.is_empty() {
            self.known.hints = hints;
        }
        self.check()
    }

    /// An association that goes on stands for all of the participant's, one that is over ends what it lists.
    fn send(&mut self, sending: Sending) {
        let has_room = self.known.sending.len() < LINKS_MAX;
        let known = self.known.sending.iter_mut().find(|own| own.participant == sending.participant);
        match (known, sending.over) {
            (Some(known), true) if sending.send.is_empty() && sending.recv.is_empty() => {
                known.send.clear();
                known.recv.clear();
            }
            (Some(known), true) => {
                known.send.retain(|stream| !sending.send.contains(stream));
                known.recv.retain(|stream| !sending.recv.contains(stream));
            }
            (Some(known), false) => *known = sending,
            (None, false) if has_room => self.known.sending.push(sending),
            (None, _) => {}
        }
    }

    /// Whether everything that is referred to was told.
    fn check(&self) -> Applied {
        let known = &self.known;
        let person = |id: &String| known.participants.iter().any(|own| own.id == *id);
        let people = known.present.iter().filter(|own| !own.over).all(|own| person(&own.participant));
        let senders = known.sending.iter().all(|own| own.send.is_empty() || person(&own.participant));
        if people && senders { Applied::Whole } else { Applied::Lacking }
    }
}

fn merge<T, K: PartialEq>(known: &mut Vec<T>, new: Vec<T>, key: impl Fn(&T) -> K, most: usize) {
    for item in new {
        let has_room = known.len() < most;
        match known.iter_mut().find(|own| key(own) == key(&item)) {
            Some(own) => *own = item,
            None if has_room => known.push(item),
            None => {}
        }
    }
}

//! Metadata of recording sessions (RFC 7865, RFC 7866): what a recorder is told of the calls that it hears, and who speaks on which line.
//!
//! In the order of a document's way: `reading` takes it element by element, [`Book`] merges it with what was told before, `roles` says who
//! is the caller and who an agent, `picture` brings people and lines together, `telling` tells what changed. `cisco` reads the same from
//! the headers of forks that have no metadata. `docs/siprec.md` has the rules and the dialects.
//!
//! Read with namespaces, without DTD, and without entities other than the five of XML. Limits: [`BYTES_MAX`], [`DEPTH_MAX`],
//! [`ELEMENTS_MAX`], [`SESSIONS_MAX`], [`PEOPLE_MAX`], [`STREAMS_MAX`]; longer texts are cut off.

use self::reading::Reading;
use super::xml::{self, Fault, Namespace, Piece};

mod book;
mod cisco;
mod picture;
mod reading;
mod roles;
mod telling;

pub use book::{Applied, Book};
pub(super) use cisco::of_headers;
#[cfg(test)]
use picture::Picture;
pub(super) use picture::{Line, Rules, pictures};
pub(super) use telling::{Fallback, Teller};

/// Bytes of a document.
pub const BYTES_MAX: usize = 262_144;
/// Elements inside one another.
pub const DEPTH_MAX: usize = 24;
/// Elements of a document.
pub const ELEMENTS_MAX: usize = 8_192;
/// Communication sessions of a recording session.
pub const SESSIONS_MAX: usize = 32;
/// Participants of a recording session.
pub const PEOPLE_MAX: usize = 128;
/// Streams of a recording session, also those that one participant sends.
pub const STREAMS_MAX: usize = 64;
/// Characters of one text or attribute.
const TEXT_MAX: usize = 512;
/// RFC 7865, its drafts, and the drafts before the elements had their names.
const NAMESPACES: [&str; 3] =
    ["urn:ietf:params:xml:ns:recording:1", "urn:ietf:params:xml:ns:recording", "urn:ietf:params:xml:ns:siprec"];

/// Why a document cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Beyond a limit.
    #[error("larger, deeper or longer than is read")]
    TooLarge,
    /// Broken syntax, an unknown entity, or the end is missing.
    #[error("not well-formed XML")]
    Syntax,
    /// It has a DTD.
    #[error("it has a document type definition")]
    Dtd,
    /// Well-formed, but something else.
    #[error("no recording metadata")]
    NotMetadata,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Syntax => Error::Syntax,
            Fault::Dtd => Error::Dtd,
        }
    }
}

/// A document, or what all documents so far say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// A snapshot of everything; otherwise only what changed (RFC 7865 §6.1.1).
    pub complete: bool,
    /// Communication sessions: each is a call.
    pub sessions: Vec<Session>,
    /// People and machines that take part.
    pub participants: Vec<Participant>,
    /// Media streams.
    pub streams: Vec<Stream>,
    /// Who takes part in what.
    pub present: Vec<Presence>,
    /// Who sends what.
    pub sending: Vec<Sending>,
    /// What vendors add, with the session that it is about; `None`: the whole recording.
    pub hints: Vec<(Option<String>, Hints)>,
}

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Its name in the metadata.
    pub id: String,
    /// The group of calls that it belongs to.
    pub group: Option<String>,
    /// `sipSessionID`, as written (RFC 7989).
    pub sip_session_ids: Vec<String>,
    /// It is over, or no longer recorded here.
    pub over: bool,
}

/// One person or machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participant {
    /// Its name in the metadata.
    pub id: String,
    /// Addresses of record, as written.
    pub aors: Vec<String>,
    /// What it is called.
    pub name: Option<String>,
    /// Called the others (`callingParty`).
    pub calling: bool,
}

/// One media stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Its name in the metadata.
    pub id: String,
    /// `a=label` of its media line.
    pub label: Option<String>,
    /// The session that it belongs to.
    pub session: Option<String>,
    /// Several people are mixed on it (`mode` of the drafts).
    pub mixed: bool,
}

/// A participant's part in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub participant: String,
    /// In what.
    pub session: String,
    /// No longer.
    pub over: bool,
}

/// The streams that a participant sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sending {
    /// Who.
    pub participant: String,
    /// What it sends.
    pub send: Vec<String>,
    /// What it receives.
    pub recv: Vec<String>,
    /// No longer; without streams: none any more.
    pub over: bool,
}

/// What vendors add about a call, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The user whose telephone is recorded.
    pub recorded: Option<String>,
    /// Whether the recorded user was called; `None`: not told.
    pub incoming: Option<bool>,
    /// Who called.
    pub calling: Option<String>,
    /// Who was called.
    pub called: Option<String>,
    /// Call-ID of the call.
    pub call_id: Option<String>,
}

impl Metadata {
    /// Reads a document; `charset` is what Content-Type says, which the XML declaration overrides. What follows the end of the document
    /// is not looked at.
    ///
    /// # Errors
    /// It is beyond a limit, not well-formed, has a DTD or is something else.
    pub fn parse(body: &[u8], charset: Option<&str>) -> Result<Metadata, Error> {
        if body.len() > BYTES_MAX {
            return Err(Error::TooLarge);
        }
        let mut reading = Reading::default();
        xml::read(body, charset, |piece| {
            match piece {
                Piece::Open(tag, Namespace::Bound(name)) => reading.open(tag, NAMESPACES.contains(&name))?,
                Piece::Open(tag, namespace) => reading.open(tag, namespace == Namespace::None)?,
                Piece::Close => reading.close()?,
                Piece::Text(piece) => reading.text(piece),
            }
            Ok::<_, Error>(!reading.is_complete())
        })?;
        reading.finish()
    }

    /// What vendors say about a session: of itself, else of the whole recording.
    pub(super) fn hints_of(&self, session: Option<&str>) -> Hints {
        let of = |wanted: Option<&str>| self.hints.iter().find(|(own, _)| own.as_deref() == wanted);
        of(session).or_else(|| of(None)).map(|(_, hints)| hints.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;

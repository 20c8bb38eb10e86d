//! dialog-info documents (RFC 4235): what an exchange tells of the calls of one extension.
//!
//! Read with namespaces, without DTD, and without entities other than the five of XML. Limits: [`BYTES_MAX`], [`DEPTH_MAX`],
//! [`ELEMENTS_MAX`], [`DIALOGS_MAX`]; longer texts are cut off.

use self::reading::Reading;
use super::xml::{self, Fault, Namespace, Piece};

mod book;
mod reading;

pub use book::{Applied, Book, Calls};

/// Bytes of a document.
pub const BYTES_MAX: usize = 65_536;
/// Elements inside one another.
pub const DEPTH_MAX: usize = 16;
/// Elements of a document.
pub const ELEMENTS_MAX: usize = 2_048;
/// Dialogs of a document.
pub const DIALOGS_MAX: usize = 64;
/// Characters of one text or attribute.
const TEXT_MAX: usize = 512;
const NAMESPACE: &str = "urn:ietf:params:xml:ns:dialog-info";

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
    #[error("no dialog-info with version and state")]
    NotDialogInfo,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Syntax => Error::Syntax,
            Fault::Dtd => Error::Dtd,
        }
    }
}

/// A whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Rises by one with every document of a subscription.
    pub version: u32,
    /// All dialogs are in it; otherwise only those that changed.
    pub full: bool,
    /// Whose dialogs they are.
    pub entity: String,
    /// The dialogs.
    pub dialogs: Vec<Dialog>,
}

/// One dialog of the extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialog {
    /// Its name among the dialogs of the entity.
    pub id: String,
    /// Call-ID, when it is told.
    pub call_id: Option<String>,
    /// Tag of the extension.
    pub local_tag: Option<String>,
    /// Tag of the other side.
    pub remote_tag: Option<String>,
    /// Who called whom, when it is told.
    pub direction: Option<Direction>,
    /// How far it is.
    pub state: State,
    /// Why it got there.
    pub event: Option<Reason>,
    /// The status code that did it.
    pub code: Option<u16>,
    /// The other side.
    pub remote: Party,
    /// The extension does not send (`+sip.rendering=no`): it has put the other side on hold.
    pub held: bool,
}

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The extension was called.
    Recipient,
    /// The extension called.
    Initiator,
}

/// How far a dialog is (RFC 4235 §3.7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// `trying`, `proceeding`, or nothing that we know.
    #[default]
    Begun,
    /// It rings.
    Early,
    /// It was answered.
    Confirmed,
    /// It is over.
    Terminated,
}

/// Why a dialog is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `cancelled`.
    Cancelled,
    /// `rejected`.
    Rejected,
    /// `replaced`.
    Replaced,
    /// `local-bye`: the extension hung up.
    LocalBye,
    /// `remote-bye`: the other side hung up.
    RemoteBye,
    /// `error`.
    Error,
    /// `timeout`.
    Timeout,
}

/// One side of a dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// The URI of its identity.
    pub identity: Option<String>,
    /// Its display name.
    pub display: Option<String>,
}

impl Document {
    /// Reads a document; `charset` is what Content-Type says, which the XML declaration overrides.
    ///
    /// # Errors
    /// It is beyond a limit, not well-formed, has a DTD or is something else.
    pub fn parse(body: &[u8], charset: Option<&str>) -> Result<Document, Error> {
        if body.len() > BYTES_MAX {
            return Err(Error::TooLarge);
        }
        let mut reading = Reading::default();
        xml::read(body, charset, |piece| {
            match piece {
                Piece::Open(_, Namespace::Undeclared) => return Err(Error::Syntax),
                Piece::Open(tag, namespace) => {
                    reading.open(tag, matches!(namespace, Namespace::None | Namespace::Bound(NAMESPACE)))?
                }
                Piece::Close => reading.close(),
                Piece::Text(piece) => reading.text(piece),
            }
            Ok(true)
        })?;
        reading.finish()
    }
}

#[cfg(test)]
mod tests;

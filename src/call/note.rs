//! What operators add to a running contact: marks on passages and a note for whoever takes over.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::LegId;
use crate::pbx::Speaker;
use crate::time::Wall;

/// The most marks of one contact.
pub const MOST_MARKS: usize = 50;
/// Longest note beside a mark, in characters.
pub const MARK_NOTE: usize = 200;
/// Longest note for whoever takes over, in characters.
pub const NOTE: usize = 1_000;

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// Mark an utterance; again: change the note beside it.
    Mark {
        /// As in `transcript.final`.
        utterance: String,
        /// A few words beside it.
        note: Option<String>,
    },
    /// Take a mark away.
    Unmark(Uuid),
    /// Write the note for whoever takes over; empty: take it away.
    Note(String),
}

/// A marked passage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Made of contact and utterance.
    pub id: Uuid,
    /// As in `transcript.final`.
    pub utterance: String,
    /// The leg during which it was said.
    pub leg: LegId,
    /// Who said it.
    pub speaker: Speaker,
    /// When it began.
    pub start: Wall,
    /// What the operator wrote beside it.
    pub note: Option<String>,
}

/// Why it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No running contact has this id.
    Unknown,
    /// The contact has no text of this utterance.
    NoUtterance,
    /// It has no such mark.
    NoMark,
    /// It has as many marks as it may have.
    Full,
}

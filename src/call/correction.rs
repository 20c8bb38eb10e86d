//! What a person asks who puts the text of an utterance right, and the answer.

/// Longest text of a correction, in characters.
pub const TEXT: usize = 2_000;
/// Longest name of an agent, in characters.
pub const AGENT: usize = 64;
/// The most corrections of one contact.
pub const MOST: usize = 2_000;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// As in `transcript.final`.
    pub utterance: String,
    /// What was really said.
    pub text: String,
    /// The revision of the text that was corrected, 0 for the final; `None`: whatever it is.
    pub revision: Option<u32>,
    /// Who posts it: a `[[panel.client]]`, or `panel`.
    pub from: String,
    /// Which person, as whoever posts it says.
    pub agent: Option<String>,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrected {
    /// The revision that the text has now.
    pub revision: u32,
    /// The text, its numbers masked.
    pub text: String,
}

/// Why it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No contact has this id.
    Unknown,
    /// The contact has no text of this utterance.
    NoUtterance,
    /// The text has another revision by now.
    Changed(u32),
    /// It has as many corrections as it may have.
    Full,
    /// What is stored of the contact cannot be used: another version wrote it, or its site is no longer in the configuration.
    Unreadable,
    /// Too many corrections of contacts that are over wait, or the store cannot be read.
    Busy,
}

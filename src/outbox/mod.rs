//! Accepted events, on disk before they are sent, until every endpoint has them.
//!
//! In: a [`Batch`] per change of a contact. Out: committed events to the feed and deliveries to the endpoints. Refuses: a batch while the queue
//! is full (the caller waits) and a store written by a newer version.

pub mod breaker;
pub mod budget;
pub mod lane;
pub mod relay;
pub mod retry;
pub mod settings;
pub mod settle;
pub mod store;

use uuid::Uuid;

use crate::call::ContactId;
use crate::events::Event;
use crate::pbx::{CallKey, ExternalKey};
use crate::time::Wall;

/// What is committed together: the state of one contact and the record events that led to it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The contact's state.
    pub contact: ContactRow,
    /// Keys that lead to it; a key that is known already is left as it is.
    pub keys: Vec<ExternalKey>,
    /// Record events in order; those without a `sequence` are not sent.
    pub events: Vec<Event>,
    /// Whether the line's policy lets text leave for the endpoints; without it, events that carry spoken text are kept and shown, not sent.
    pub deliver_text: bool,
}

/// A context that waits for its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRow {
    /// Which.
    pub id: Uuid,
    /// The site whose calls it may belong to.
    pub site: String,
    /// Until when it waits.
    pub expires: Wall,
    /// The context as JSON, owned by `call::context`.
    pub body: String,
}

/// The stored state of a contact.
#[derive(Clone, Debug, PartialEq)]
pub struct ContactRow {
    /// Which.
    pub id: ContactId,
    /// Its site.
    pub site: String,
    /// The call at its exchange.
    pub call: CallKey,
    /// `true` until its document has been written.
    pub open: bool,
    /// The state as JSON, owned by `session`.
    pub state: String,
}

//! What the live feed tells beside the events: the types that are sent, and described, as they stand here.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use std::borrow::Cow;
use uuid::Uuid;

use super::feed::ResetReason;
use crate::call::ContactId;

/// Forget everything: the running contacts follow, then `synced`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reset {
    /// So many contacts follow at most.
    pub contacts: usize,
    /// Why.
    pub reason: ResetReason,
}

/// One contact as a whole; replaces what the client knows of it.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "describes what ContactView::json writes, whose events are JSON already")]
pub struct Contact {
    /// The contact.
    contact: ContactId,
    /// Events up to this id of the feed are in it.
    asof: String,
    /// Older turns that were left out.
    omitted_turns: u64,
    /// Other older events that were left out.
    omitted_events: u64,
    /// Its events, in order.
    events: Vec<AnyEvent>,
}

/// The contacts are complete.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Synced {
    /// The id to resume from.
    pub id: String,
}

/// A sign of life.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Beat {
    /// The server's time.
    #[schemars(extend("format" = "date-time"))]
    pub now: String,
}

/// Stands in place of an event of more than 64 KiB; `GET /v1/events/{id}` has the whole.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Oversize {
    /// The event's.
    pub id: Uuid,
    /// The event's.
    pub source: String,
    /// The event's.
    pub subject: String,
    /// The event's.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// What it is.
    #[serde(rename = "type")]
    #[schemars(extend("const" = OVERSIZE))]
    pub type_name: &'static str,
    /// What was too large.
    pub data: TooLarge,
}

/// `type` of [`Oversize`].
pub const OVERSIZE: &str = "kakehashi.panel.oversize.v1";

/// An event that was too large.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TooLarge {
    /// Its size.
    pub bytes: usize,
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: &'static str,
}

/// An event as the feed shows it: `Event` of the documents.
#[derive(Debug)]
pub struct AnyEvent;

impl JsonSchema for AnyEvent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Event".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "$ref": "#/components/schemas/Event" })
    }
}

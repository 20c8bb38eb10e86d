//! `[[endpoint]]` and `[lookup]` of the configuration: receivers of events, who is calling.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::odoo;

/// One receiver of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// Name in the outbox and in logs.
    pub id: String,
    /// Where to `POST` to: http or https.
    pub url: String,
    /// Signing secret `whsec_…` (base64 of 24 to 64 random bytes); several during rotation. Better kept in a file: `secret_file`.
    pub secrets: Vec<Secret>,
    /// File with one secret a line; empty = none.
    pub secret_file: PathBuf,
    /// Time for one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// Deliveries in flight at once.
    pub concurrency: usize,
    /// Requests a day that the receiver allows, look-ups included; 0 = what its connector says, which is any number for webhooks. The day is Japan's;
    /// a tenth of them is kept for pops and look-ups, the rest of a backlog waits for the next day.
    pub requests_per_day: u64,
    /// Bodies above this size carry a reference and a hash instead of the data, in bytes.
    pub max_body_bytes: usize,
    /// Realtime events (screen pops) too.
    pub realtime: bool,
    /// The text of running utterances too (`transcript.partial`), with `realtime`: up to two a second for each speaker.
    pub partials: bool,
    /// `[endpoint.odoo]`: it is an Odoo, not a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub odoo: Option<odoo::settings::Settings>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            id: "crm".into(),
            url: "http://127.0.0.1:9000/hook".into(),
            secrets: Vec::new(),
            secret_file: PathBuf::new(),
            timeout_ms: 15_000,
            concurrency: 32,
            requests_per_day: 0,
            max_body_bytes: 262_144,
            realtime: true,
            partials: false,
            odoo: None,
        }
    }
}

/// `[lookup]`: how long a CRM may take to say who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LookUp {
    /// Time after which the pop says that the caller could not be looked up, in milliseconds; what the CRM answers later revises it.
    pub budget_ms: u64,
    /// How long an answer is remembered, in milliseconds; 0 = not at all.
    pub keep_ms: u64,
}

impl Default for LookUp {
    fn default() -> Self {
        Self { budget_ms: 800, keep_ms: 60_000 }
    }
}

/// A signing secret; never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

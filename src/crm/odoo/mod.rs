//! Odoo: a call is a `crm.phonecall` with its transcript beside it, the caller a contact by her number.
//!
//! `rpc` knows how Odoo is spoken to, `talk` logs in, `keep` writes the record of a call, `who` finds the caller, `text` is what people read.
//! Tried against Odoo 14 (`tests/odoo_lab.rs`); JSON-2 (Odoo 19) is written after its documentation.

mod keep;
mod rpc;
pub mod settings;
mod talk;
#[cfg(test)]
mod tests;
mod text;
mod who;

use std::sync::Arc;
use std::time::Duration;

use super::milestone::{self, Milestone, Over};
use super::settings::{Endpoint, Secret};
use super::{Connector, Declares, Exchange, Outgoing, Pop};
use crate::call::number::Number;
use crate::events::{Data, Event, Match};
use crate::outbox::retry::Answer;
use keep::Keep;
use settings::{Protocol, Settings};
use talk::{Peer, Talk};
use who::Find;

/// Why `[endpoint.odoo]` cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// There is no key.
    #[error(
        "[[endpoint]] id = \"{0}\": there is no key; set secret_file to a file with the API key or password of the Odoo user on its first line"
    )]
    Key(String),
    /// A value is missing or cannot be.
    #[error("[[endpoint]] id = \"{endpoint}\", [endpoint.odoo] {key}: {problem}")]
    Value {
        /// The endpoint.
        endpoint: String,
        /// The key.
        key: &'static str,
        /// What is wrong and what is expected.
        problem: &'static str,
    },
}

/// Speaks to one Odoo.
pub struct Odoo {
    peer: Arc<Peer>,
}

impl Odoo {
    /// With the key that is the first of `secrets`.
    ///
    /// # Errors
    /// When there is no key, or a setting cannot be used.
    pub fn new(endpoint: &Endpoint, settings: &Settings, secrets: &[Secret]) -> Result<Odoo, SettingsError> {
        let secret = secrets.first().ok_or_else(|| SettingsError::Key(endpoint.id.clone()))?;
        let wrong = |key, problem| SettingsError::Value { endpoint: endpoint.id.clone(), key, problem };
        if settings.database.is_empty() {
            return Err(wrong("database", "empty; expected the name of the database"));
        }
        if settings.login.is_empty() && settings.protocol == Protocol::Jsonrpc {
            return Err(wrong("login", "empty; expected the login of the user that the bridge is"));
        }
        if !is_name(&settings.model) {
            return Err(wrong("model", "expected the name of a model, for example crm.phonecall"));
        }
        if settings.numbers.is_empty() || !settings.numbers.iter().all(|name| is_name(name)) {
            return Err(wrong("numbers", "expected names of fields of res.partner, for example [\"phone\"]"));
        }
        let pages = if settings.pages.is_empty() { &endpoint.url } else { &settings.pages };
        let pages = pages.trim_end_matches('/').to_string();
        Ok(Odoo { peer: Arc::new(Peer::new(settings.clone(), secret.clone(), pages)) })
    }
}

/// Letters, digits, `.` and `_`.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
}

impl Connector for Odoo {
    fn declares(&self) -> Declares {
        Declares {
            kind: "odoo",
            pop: Pop::Panel,
            idempotency: "external id (load)",
            most_requests: super::MOST_REQUESTS as u64,
            requests_per_day: None,
            day_begins: Duration::ZERO,
            at_once: None,
        }
    }

    fn takes(&self, data: &Data) -> bool {
        milestone::takes(data)
    }

    fn deliver(&self, event: &Outgoing<'_>) -> Box<dyn Exchange<Answer>> {
        let Ok(event) = Event::from_json(event.body) else {
            return Box::new(Over(Answer::Refused("the event cannot be read".into())));
        };
        let contact = event.contact;
        let Some(what) = Milestone::of(event) else { return Box::new(Over(Answer::Delivered)) };
        Box::new(Talk::new(Arc::clone(&self.peer), Keep::new(Arc::clone(&self.peer), contact, what)))
    }

    fn look_up(&self, number: &Number) -> Option<Box<dyn Exchange<Result<Vec<Match>, Answer>>>> {
        Some(Box::new(Talk::new(Arc::clone(&self.peer), Find::new(Arc::clone(&self.peer), number.clone()))))
    }
}

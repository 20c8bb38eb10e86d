//! kintone: a call is a record of an app with its transcript, the caller a record of another app, by her number. The apps are the municipality's own;
//! which field is what says the configuration.
//!
//! `rest` knows how kintone is spoken to, `form` compares the apps with the configuration, `talk` carries a conversation, `keep` writes the record of a
//! call (`record`: its values), `who` finds the caller, `text` is what people read. Tried against the stand-in `tests/common/kintone`, which the
//! service's own client drives too; the service itself was not run.

mod form;
mod keep;
mod record;
mod rest;
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
use settings::Settings;
use talk::{Peer, Talk};
use who::Find;

/// The most tokens of one request.
const MOST_TOKENS: usize = 9;
/// Requests a day and app of the ordinary course (スタンダードコース).
const REQUESTS_PER_DAY: u64 = 10_000;
/// The day of requests is counted from nine in the morning.
const DAY_BEGINS: Duration = Duration::from_secs(9 * 3_600);
/// Deliveries in flight at once: a fifth of what all who use the domain have together.
const AT_ONCE: usize = 20;

/// Why `[endpoint.kintone]` cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// The tokens cannot be used.
    #[error(
        "[[endpoint]] id = \"{endpoint}\": secret_file: {problem}; expected the API tokens of the apps, one a line, nine at most"
    )]
    Tokens {
        /// The endpoint.
        endpoint: String,
        /// What is wrong (never a token itself).
        problem: &'static str,
    },
    /// A value is missing or cannot be.
    #[error("[[endpoint]] id = \"{endpoint}\", [endpoint.kintone] {key}: {problem}")]
    Value {
        /// The endpoint.
        endpoint: String,
        /// The key.
        key: String,
        /// What is wrong and what is expected.
        problem: &'static str,
    },
}

/// Speaks to one kintone.
pub struct Kintone {
    peer: Arc<Peer>,
}

impl Kintone {
    /// With `secrets` as the API tokens of the apps.
    ///
    /// # Errors
    /// When there is no token, or a setting cannot be used.
    pub fn new(endpoint: &Endpoint, settings: &Settings, secrets: &[Secret]) -> Result<Kintone, SettingsError> {
        let wrong = |problem| Err(SettingsError::Tokens { endpoint: endpoint.id.clone(), problem });
        if secrets.is_empty() {
            return wrong("there is no token");
        }
        if secrets.len() > MOST_TOKENS {
            return wrong("there are too many tokens");
        }
        let is_token = |secret: &Secret| !secret.0.is_empty() && secret.0.chars().all(|c| c.is_ascii_alphanumeric());
        if !secrets.iter().all(is_token) {
            return wrong("a token has other characters than letters and digits");
        }
        settings.check().map_err(|(key, problem)| SettingsError::Value {
            endpoint: endpoint.id.clone(),
            key,
            problem,
        })?;
        let tokens = secrets.iter().map(|secret| secret.0.as_str()).collect::<Vec<_>>().join(",");
        let pages = if settings.pages.is_empty() { &endpoint.url } else { &settings.pages };
        let pages = pages.trim_end_matches('/').to_string();
        Ok(Kintone { peer: Arc::new(Peer::new(settings.clone(), Secret(tokens), pages)) })
    }
}

impl Connector for Kintone {
    fn declares(&self) -> Declares {
        Declares {
            kind: "kintone",
            pop: Pop::Panel,
            idempotency: "key field (upsert), sequence and revision in the record",
            most_requests: super::MOST_REQUESTS as u64,
            requests_per_day: Some(REQUESTS_PER_DAY),
            day_begins: DAY_BEGINS,
            at_once: Some(AT_ONCE),
        }
    }

    fn takes(&self, data: &Data) -> bool {
        milestone::takes(data)
    }

    fn deliver(&self, event: &Outgoing<'_>) -> Box<dyn Exchange<Answer>> {
        let Ok(event) = Event::from_json(event.body) else {
            return Box::new(Over(Answer::Refused("the event cannot be read".into())));
        };
        let site = event.source.split('/').nth(2).unwrap_or_default().to_string();
        let sequence = event.sequence.unwrap_or_default();
        let contact = event.contact;
        let what = match Milestone::of(event) {
            // for a text there is no field
            Some(Milestone::Document(_)) if !self.peer.settings.fields.take_text() => None,
            what => what,
        };
        let Some(what) = what else { return Box::new(Over(Answer::Delivered)) };
        let keep = Keep::new(Arc::clone(&self.peer), contact, site, sequence, what);
        Box::new(Talk::new(Arc::clone(&self.peer), keep))
    }

    fn look_up(&self, number: &Number) -> Option<Box<dyn Exchange<Result<Vec<Match>, Answer>>>> {
        let asked = self.peer.settings.contacts.app != 0 && number.e164().is_some();
        asked.then(|| {
            let find = Find::new(Arc::clone(&self.peer), number.clone());
            Box::new(Talk::new(Arc::clone(&self.peer), find)) as Box<dyn Exchange<_>>
        })
    }
}

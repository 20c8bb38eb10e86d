//! Events to requests of one CRM, answers to verdicts; who is calling. No sockets: `bridge::deliver` and `bridge::lookup` carry them out.
//!
//! A CRM is a [`Connector`]: a file of its own, a section of [`settings::Endpoint`], and a line in [`connector`].

pub mod address;
pub mod key;
pub mod kintone;
pub mod lookup;
mod milestone;
pub mod nats;
pub mod odoo;
pub mod relay;
pub mod settings;
mod text;
pub mod verify;
pub mod webhook;
pub mod zammad;

use std::sync::Arc;
use std::time::Duration;

use crate::call::number::Number;
use crate::events::{Data, Match};
use crate::outbox::retry::Answer;
use crate::time::Wall;

use settings::{Endpoint, Secret};

/// What one kind of receiver understands. It holds no connection: it says what is to be sent, and what the answers mean.
pub trait Connector: Send + Sync {
    /// What it can do.
    fn declares(&self) -> Declares;

    /// Whether it makes anything of such an event; of others it is told nothing.
    fn takes(&self, data: &Data) -> bool;

    /// Begins an attempt to deliver an event. Each attempt begins anew, and may be the second one of an event that arrived: the exchange sees to it
    /// that the receiver has it once.
    fn deliver(&self, event: &Outgoing<'_>) -> Box<dyn Exchange<Answer>>;

    /// Begins to ask who has a number; `None` when it cannot be asked.
    fn look_up(&self, _number: &Number) -> Option<Box<dyn Exchange<Result<Vec<Match>, Answer>>>> {
        None
    }
}

/// Why an endpoint has no connector; the text names the key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// It is several CRMs at once.
    #[error(
        "[[endpoint]] id = \"{0}\": it has the sections of two CRMs; expected one of them, and an [[endpoint]] for the other"
    )]
    Two(String),
    /// A webhook's secret cannot be used.
    #[error(transparent)]
    Webhook(#[from] webhook::SecretError),
    /// The secret of an `[endpoint.zammad]` cannot be used.
    #[error(transparent)]
    Zammad(#[from] zammad::TokenError),
    /// `[endpoint.odoo]` cannot be used.
    #[error(transparent)]
    Odoo(#[from] odoo::SettingsError),
    /// `[endpoint.kintone]` cannot be used.
    #[error(transparent)]
    Kintone(#[from] kintone::SettingsError),
    /// `[endpoint.relay]` cannot be used.
    #[error(transparent)]
    Relay(#[from] relay::SettingsError),
    /// `[endpoint.nats]` cannot be used.
    #[error(transparent)]
    Nats(#[from] nats::SettingsError),
}

/// Builds the connector of an endpoint: of the CRM whose section it has, else of a webhook.
///
/// # Errors
/// When a secret or a setting of the endpoint cannot be used.
pub fn connector(endpoint: &Endpoint, secrets: &[Secret]) -> Result<Arc<dyn Connector>, Error> {
    let sections = [
        endpoint.odoo.is_some(),
        endpoint.kintone.is_some(),
        endpoint.zammad.is_some(),
        endpoint.relay.is_some(),
        endpoint.nats.is_some(),
    ];
    if sections.into_iter().filter(|is_there| *is_there).count() > 1 {
        return Err(Error::Two(endpoint.id.clone()));
    }
    if let Some(settings) = &endpoint.relay {
        return Ok(Arc::new(relay::Relay::new(endpoint, settings)?));
    }
    if let Some(settings) = &endpoint.odoo {
        return Ok(Arc::new(odoo::Odoo::new(endpoint, settings, secrets)?));
    }
    if let Some(settings) = &endpoint.kintone {
        return Ok(Arc::new(kintone::Kintone::new(endpoint, settings, secrets)?));
    }
    if let Some(settings) = &endpoint.zammad {
        return Ok(Arc::new(zammad::Zammad::new(endpoint, settings, secrets)?));
    }
    if let Some(settings) = &endpoint.nats {
        return Ok(Arc::new(nats::Nats::new(endpoint, settings)?));
    }
    Ok(Arc::new(webhook::Webhook::new(endpoint, secrets)?))
}

/// What a connector can do, for delivery and for whoever plans with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declares {
    /// Its name.
    pub kind: &'static str,
    /// How a pop reaches the agent's screen.
    pub pop: Pop,
    /// How a second attempt is told from a second event.
    pub idempotency: &'static str,
    /// The most requests that one event or look-up takes.
    pub most_requests: u64,
    /// Requests a day that the CRM allows by default; `None`: any number.
    pub requests_per_day: Option<u64>,
    /// The time of day in Japan at which the CRM's day begins, below 24 hours; zero = midnight.
    pub day_begins: Duration,
    /// The most deliveries in flight at once, whatever the endpoint's `concurrency`; `None`: any number.
    pub at_once: Option<usize>,
}

/// How a pop reaches the agent's screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pop {
    /// The receiver shows it.
    Receiver,
    /// The panel shows it, with a link into the CRM.
    Panel,
}

/// An event on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its id, the same at every attempt.
    pub id: &'a str,
    /// As CloudEvents JSON, the same at every attempt.
    pub body: &'a str,
}

/// One conversation with a receiver: requests out, answers in, until its end. Where an answer does not come, the conversation is over.
pub trait Exchange<T>: Send {
    /// The next step, after the answer to the request before (`None` at the beginning).
    fn next(&mut self, answer: Option<Response>, now: Wall) -> Step<T>;
}

/// A step of an [`Exchange`].
#[derive(Debug)]
pub enum Step<T> {
    /// To be sent.
    Send(Request),
    /// How it ended.
    End(T),
}

/// An HTTP request to the endpoint; of a NATS see [`nats`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// What comes after the endpoint's `url`; empty = nothing.
    pub path: String,
    /// Headers, `content-type` among them.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// HTTP methods that connectors use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Make, or do.
    Post,
    /// Replace.
    Put,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100–599.
    pub status: u16,
    /// `Retry-After`, as received.
    pub retry_after: Option<String>,
    /// How busy the receiver is, where it says so.
    pub load: Option<Load>,
    /// As much of the body as is read, [`MOST_OF_BODY`] bytes at most.
    pub body: Vec<u8>,
}

/// Requests that a receiver works on at once, from whomever they are, and the most that it would: `X-ConcurrencyLimit-Running` and `-Limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Now.
    pub running: u32,
    /// At most.
    pub limit: u32,
}

/// The most of an answer's body that is read, in bytes.
pub const MOST_OF_BODY: usize = 512 * 1024;
/// The most requests of one exchange; one that wants more is in a circle.
pub const MOST_REQUESTS: usize = 16;

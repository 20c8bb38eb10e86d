//! Zammad by its generic CTI interface: the caller at ring, the answer and the end, in Zammad's caller log. (docs.zammad.org, "Generic CTI")
//!
//! Zammad knows a call by its `callId`, which is our contact, and has one line for it. It answers a second `newCall` with "already exists", and an
//! `answer` or `hangup` of a call that it was not told of with an error that does not say so; then `newCall` is made up for, and the event sent again.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settings::{Endpoint, Secret};
use super::{Connector, Declares, Exchange, Method, Outgoing, Pop, Request, Response, Step};
use crate::events::{Agent, CallEnded, Caller, Data, EndReason, Event, LegState};
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// `[endpoint.zammad]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Age from which an event is not sent any more, in seconds: a caller log that tells of a call hours later only confuses.
    pub fresh_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { fresh_s: 60 }
    }
}

/// Why there is no token of the interface to be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "[[endpoint]] id = \"{endpoint}\": secret_file: {problem}; expected a file with one line, the token of Zammad's generic CTI: what stands behind \
     /api/v1/cti/ in its endpoint (Admin, Integrations, CTI (generic))"
)]
pub struct TokenError {
    /// The endpoint.
    endpoint: String,
    /// What is wrong (never the token).
    problem: &'static str,
}

/// A Zammad.
#[derive(Clone)]
pub struct Zammad {
    /// What comes after the endpoint's `url`: the token of the interface.
    path: Arc<str>,
    fresh: Duration,
}

impl Zammad {
    /// One whose interface has the token that is the endpoint's only secret.
    ///
    /// # Errors
    /// When there is not exactly one, or it cannot be part of an address.
    pub fn new(endpoint: &Endpoint, settings: &Settings, secrets: &[Secret]) -> Result<Zammad, TokenError> {
        let wrong = |problem| Err(TokenError { endpoint: endpoint.id.clone(), problem });
        let token = match secrets {
            [Secret(token)] => token,
            [] => return wrong("there is no secret"),
            _ => return wrong("there are several secrets"),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if token.is_empty() || !token.chars().all(plain) {
            return wrong("the token has other characters than letters, digits, - and _");
        }
        Ok(Zammad { path: format!("/{token}").into(), fresh: Duration::from_secs(settings.fresh_s) })
    }
}

impl Connector for Zammad {
    fn declares(&self) -> Declares {
        Declares {
            kind: "zammad",
            pop: Pop::Receiver,
            idempotency: "callId",
            most_requests: 3,
            requests_per_day: None,
            day_begins: Duration::ZERO,
            at_once: None,
        }
    }

    fn takes(&self, data: &Data) -> bool {
        matches!(data, Data::CallRinging(_) | Data::CallAnswered(_) | Data::CallEnded(_))
    }

    fn deliver(&self, event: &Outgoing<'_>) -> Box<dyn Exchange<Answer>> {
        let told = match Event::from_json(event.body) {
            Ok(event) => told(&event).map(|told| (event.time, told)),
            Err(_) => return Box::new(Ended(Answer::Refused("this is no event of Kakehashi".into()))),
        };
        match told {
            Some((time, told)) => Box::new(Telling { zammad: self.clone(), time, told, at: At::Beginning }),
            // the end of one leg: the call goes on, or its own end follows
            None => Box::new(Ended(Answer::Delivered)),
        }
    }
}

/// What Zammad is told by an event.
struct Told {
    body: Value,
    /// The `newCall` that comes before it; none for a `newCall` itself.
    before: Option<Value>,
}

fn told(event: &Event) -> Option<Told> {
    let call = event.contact.to_string();
    let base = |name: &str, caller: &Caller, called: &str| json!({"event": name, "from": from(caller), "to": called, "direction": "in", "callId": call});
    let new_call = |leg: &LegState| {
        let mut body = base("newCall", &leg.caller, &leg.called);
        body["user"] = json!([name(&leg.agent)]);
        if let Some(queue) = &leg.queue {
            body["queue"] = json!(queue);
        }
        body
    };
    match &event.data {
        Data::CallRinging(leg) => Some(Told { body: new_call(leg), before: None }),
        Data::CallAnswered(leg) => {
            let mut body = base("answer", &leg.caller, &leg.called);
            body["user"] = json!(name(&leg.agent));
            body["answeringNumber"] = json!(leg.agent.extension);
            Some(Told { body, before: Some(new_call(leg)) })
        }
        Data::CallEnded(ended) if event.leg.is_none() => {
            let mut body = base("hangup", &ended.caller, &ended.called);
            body["cause"] = json!(cause(ended));
            if let Some(leg) = ended.legs.iter().rev().find(|leg| leg.answered.is_some()) {
                body["user"] = json!(name(&leg.agent));
                body["answeringNumber"] = json!(leg.agent.extension);
            }
            Some(Told { body, before: Some(base("newCall", &ended.caller, &ended.called)) })
        }
        _ => None,
    }
}

/// The number as Zammad keeps numbers, E.164 without `+`.
fn from(caller: &Caller) -> &str {
    let number = caller.number.as_deref().map(|number| number.trim_start_matches('+'));
    number.or(caller.raw.as_deref()).filter(|number| !number.is_empty()).unwrap_or("anonymous")
}

fn name(agent: &Agent) -> &str {
    agent.name.as_deref().unwrap_or(&agent.extension)
}

/// Zammad's word for why a call ended.
fn cause(ended: &CallEnded) -> &'static str {
    if ended.legs.iter().any(|leg| leg.answered.is_some()) {
        return "normalClearing";
    }
    match ended.reason {
        EndReason::Busy => "busy",
        EndReason::NoAnswer | EndReason::Rejected => "noAnswer",
        EndReason::Forwarded | EndReason::Transferred | EndReason::AnsweredElsewhere => "forwarded",
        EndReason::CallerHangup
        | EndReason::AgentHangup
        | EndReason::Hangup
        | EndReason::Abandoned
        | EndReason::Parked => "cancel",
        EndReason::Failed | EndReason::LostSight | EndReason::BridgeRestart | EndReason::BridgeError => "congestion",
    }
}

/// Nothing is sent.
struct Ended(Answer);

impl Exchange<Answer> for Ended {
    fn next(&mut self, _: Option<Response>, _: Wall) -> Step<Answer> {
        Step::End(self.0.clone())
    }
}

struct Telling {
    zammad: Zammad,
    /// When it happened.
    time: Wall,
    told: Told,
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    Beginning,
    /// The event was sent.
    Sent,
    /// The `newCall` that was missing was sent.
    MadeUp,
    /// The event was sent again after it.
    Again,
}

impl Telling {
    fn send(&mut self, body: &Value, at: At) -> Step<Answer> {
        self.at = at;
        Step::Send(Request {
            method: Method::Post,
            path: self.zammad.path.to_string(),
            headers: vec![("content-type", "application/json".into()), ("accept", "application/json".into())],
            body: body.to_string().into_bytes(),
        })
    }
}

impl Exchange<Answer> for Telling {
    fn next(&mut self, answer: Option<Response>, now: Wall) -> Step<Answer> {
        if now.since(self.time) > self.zammad.fresh {
            return Step::End(Answer::Late("it came too late for a caller log (fresh_s)".into()));
        }
        let Some(answer) = answer else { return self.send(&self.told.body.clone(), At::Sent) };
        match (self.at, self.told.before.clone()) {
            (At::Sent, Some(before)) if is_internal(&answer) => self.send(&before, At::MadeUp),
            (At::MadeUp, _) => match read(&answer) {
                Answer::Delivered => self.send(&self.told.body.clone(), At::Again),
                other => Step::End(other),
            },
            _ => Step::End(read(&answer)),
        }
    }
}

/// Zammad itself failed: it does so too when it does not know the call.
fn is_internal(answer: &Response) -> bool {
    answer.status == 500 && error_of(answer).is_some_and(|error| !exists(&error))
}

fn read(answer: &Response) -> Answer {
    match answer.status {
        // a repetition; Zammad has the call
        500 | 422 if error_of(answer).is_some_and(|error| exists(&error)) => Answer::Delivered,
        422 => Answer::Unfit("status 422: is the generic CTI switched on and set up in Zammad?".into()),
        status => Answer::of_status(status, answer.retry_after.as_deref()),
    }
}

fn error_of(answer: &Response) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    body.get("error")?.as_str().map(str::to_string)
}

fn exists(error: &str) -> bool {
    error.contains("already exists")
}

#[cfg(test)]
mod tests;

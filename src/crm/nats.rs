//! NATS: record events into a stream of JetStream, realtime events to whoever listens. (docs.nats.io, "JetStream wire API"; CloudEvents NATS binding)
//!
//! The subject is `calls.<site>.<contact>.<type>`, of realtime events `live.<site>.<contact>.<type>`. Site and contact are one token each; what no token
//! may hold stands as `=` and two hexadecimal digits a byte. The type comes last, without its `kakehashi.`, and its dots part tokens, so that a consumer
//! filters by `calls.osaka.>` or `calls.*.*.transcript.>`. `Nats-Msg-Id` is the event's id: within the stream's duplicate window a second attempt is
//! stored once; a consumer that must not see one twice after a longer break compares ids.
//!
//! A request's `path` is the subject: `POST` is a NATS request whose reply is the answer's body, `PUT` a publish without one. The stream is made when
//! there is none; one that differs from the settings is told and left as it is, and nothing is sent until a person has changed one of the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settings::{Endpoint, Wants};
use super::webhook::by_reference;
use super::{Connector, Declares, Exchange, Method, Outgoing, Pop, Request, Response, Step};
use crate::events::{Class, Data, Event};
use crate::outbox::retry::Answer;
use crate::speech::nats::{check_url, is_token};
use crate::time::Wall;

/// `[endpoint.nats]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Name of the stream: letters, digits, `-` and `_`.
    pub stream: String,
    /// What the subjects of record events begin with; the stream takes all below it.
    pub subject: String,
    /// What the subjects of realtime events begin with; no stream should take them.
    pub live_subject: String,
    /// How long the stream keeps an event, in seconds; 0 = for ever.
    pub max_age_s: u64,
    /// The most bytes that the stream keeps; 0 = any number. A stream that is full takes nothing more, and events wait in the outbox.
    pub max_bytes: u64,
    /// For how long an event that comes again is known and stored once, in seconds.
    pub duplicate_window_s: u64,
    /// Servers that keep a copy, 1–5.
    pub replicas: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stream: "CALLS".into(),
            subject: "calls".into(),
            live_subject: "live".into(),
            max_age_s: 7 * 86_400,
            max_bytes: 0,
            duplicate_window_s: 3_600,
            replicas: 1,
        }
    }
}

/// Why an `[endpoint.nats]` cannot be used; names the key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("[[endpoint]] id = \"{endpoint}\": {key}: {problem}")]
pub struct SettingsError {
    endpoint: String,
    key: &'static str,
    problem: String,
}

impl Settings {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let token = is_token;
        if !token(&self.stream) {
            return Err(("nats.stream", format!("\"{}\"; expected 1 to 64 letters, digits, - and _", self.stream)));
        }
        for (key, subject) in [("nats.subject", &self.subject), ("nats.live_subject", &self.live_subject)] {
            if !subject.split('.').all(token) {
                let expected = "expected tokens of letters, digits, - and _ with dots between them";
                return Err((key, format!("\"{subject}\"; {expected}")));
            }
        }
        if within(&self.subject, &self.live_subject) || within(&self.live_subject, &self.subject) {
            return Err((
                "nats.live_subject",
                "it lies within subject, or subject in it; expected two that are apart".into(),
            ));
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(("nats.replicas", format!("{}; expected 1–5", self.replicas)));
        }
        if self.duplicate_window_s == 0 || (self.max_age_s > 0 && self.duplicate_window_s > self.max_age_s) {
            return Err(("nats.duplicate_window_s", "expected 1 to max_age_s".into()));
        }
        Ok(())
    }

    fn subjects(&self) -> String {
        format!("{}.>", self.subject)
    }

    /// The stream as it is asked for. (JetStream wire API, `STREAM.CREATE`)
    fn stream(&self) -> Value {
        json!({
            "name": self.stream,
            "subjects": [self.subjects()],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": if self.max_bytes == 0 { json!(-1) } else { json!(self.max_bytes) },
            "max_age": nanoseconds(self.max_age_s),
            "duplicate_window": nanoseconds(self.duplicate_window_s),
            "num_replicas": self.replicas,
        })
    }

    /// What of a stream that is there is not as it is asked for.
    fn differs(&self, there: &Value) -> Option<String> {
        let subjects = there["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !subjects.iter().any(|one| one == &json!(self.subjects())) {
            return Some(format!("it does not take {}", self.subjects()));
        }
        if there["no_ack"] == json!(true) {
            return Some("it acknowledges nothing (no_ack)".into());
        }
        let asked = self.stream();
        let keys = ["retention", "storage", "max_bytes", "max_age", "duplicate_window", "num_replicas"];
        let full = ["discard"].into_iter().filter(|_| self.max_bytes > 0);
        let wrong = keys.into_iter().chain(full).find(|key| there[*key] != asked[*key])?;
        let unit = if matches!(wrong, "max_age" | "duplicate_window") { " ns" } else { "" };
        Some(format!("{wrong} is {}{unit}, expected {}{unit}", there[wrong], asked[wrong]))
    }
}

fn nanoseconds(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000_000_000)
}

fn within(outer: &str, inner: &str) -> bool {
    inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
}

/// A NATS.
#[derive(Clone)]
pub struct Nats {
    settings: Arc<Settings>,
    max_body_bytes: usize,
    public_url: Arc<str>,
    wants: Wants,
    /// The stream was looked at and is as it should be.
    ready: Arc<AtomicBool>,
}

impl Nats {
    /// Of an endpoint whose `url` is a NATS server's.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn new(endpoint: &Endpoint, settings: &Settings) -> Result<Nats, SettingsError> {
        let wrong = |(key, problem)| SettingsError { endpoint: endpoint.id.clone(), key, problem };
        settings.check().map_err(wrong)?;
        check_url(&endpoint.url).map_err(wrong)?;
        if !endpoint.proxy.is_empty() {
            return Err(wrong(("proxy", "NATS goes through no HTTP proxy; expected none".into())));
        }
        Ok(Nats {
            settings: Arc::new(settings.clone()),
            max_body_bytes: endpoint.most_with_data(),
            public_url: endpoint.public_url.as_str().into(),
            wants: endpoint.wants(),
            ready: Arc::new(AtomicBool::new(false)),
        })
    }

    fn publish(&self, event: &Outgoing<'_>) -> Option<(Class, Request)> {
        let read = Event::from_json(event.body).ok()?;
        let class = read.data.class();
        let base = if class == Class::Record { &self.settings.subject } else { &self.settings.live_subject };
        let large = event.body.len() > self.max_body_bytes;
        let body = if large { by_reference(&self.public_url, event.id, event.body) } else { event.body.to_string() };
        let mut headers = vec![("content-type", "application/cloudevents+json".to_string())];
        if class == Class::Record {
            headers.push(("Nats-Msg-Id", event.id.to_string()));
            headers.push(("Nats-Expected-Stream", self.settings.stream.clone()));
        }
        let method = if class == Class::Record { Method::Post } else { Method::Put };
        Some((class, Request { method, path: subject(base, &read), headers, body: body.into_bytes() }))
    }

    /// A request to JetStream about the stream.
    fn ask(&self, what: &str, body: Vec<u8>) -> Request {
        let path = format!("$JS.API.STREAM.{what}.{}", self.settings.stream);
        Request { method: Method::Post, path, headers: Vec::new(), body }
    }
}

/// Where an event is published.
fn subject(base: &str, event: &Event) -> String {
    let site = event.source.split('/').nth(2).unwrap_or_default();
    let kind = event.data.type_name();
    let kind = kind.strip_prefix("kakehashi.").unwrap_or(kind);
    format!("{base}.{}.{}.{kind}", token(site), token(&event.contact.to_string()))
}

/// A text as one token of a subject.
fn token(text: &str) -> String {
    let mut token = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => token.push(char::from(byte)),
            other => token.push_str(&format!("={other:02x}")),
        }
    }
    if token.is_empty() { "_".into() } else { token }
}

impl Connector for Nats {
    fn declares(&self) -> Declares {
        Declares {
            kind: "nats",
            pop: Pop::Receiver,
            idempotency: "Nats-Msg-Id",
            most_requests: 3,
            requests_per_day: None,
            day_begins: std::time::Duration::ZERO,
            at_once: None,
        }
    }

    fn takes(&self, data: &Data) -> bool {
        self.wants.takes(data)
    }

    fn deliver(&self, event: &Outgoing<'_>) -> Box<dyn Exchange<Answer>> {
        let Some((class, publish)) = self.publish(event) else {
            return Box::new(Publishing { nats: self.clone(), publish: None, at: At::Published });
        };
        let looked = class == Class::Realtime || self.ready.load(Ordering::Relaxed);
        let at = if looked { At::Ready } else { At::Beginning };
        Box::new(Publishing { nats: self.clone(), publish: Some(publish), at })
    }
}

struct Publishing {
    nats: Nats,
    /// Until it is sent; none of what is no event.
    publish: Option<Request>,
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    Beginning,
    /// It was asked for the stream.
    Asked,
    /// The stream was to be made.
    Made,
    /// The stream is there.
    Ready,
    Published,
}

impl Exchange<Answer> for Publishing {
    fn next(&mut self, answer: Option<Response>, _: Wall) -> Step<Answer> {
        match (self.at, answer) {
            (At::Beginning, _) => {
                self.at = At::Asked;
                Step::Send(self.nats.ask("INFO", Vec::new()))
            }
            (At::Asked, Some(answer)) => match Reply::read(&answer) {
                Ok(info) => self.found(&info),
                Err(Problem::NoStream) => {
                    self.at = At::Made;
                    Step::Send(self.nats.ask("CREATE", self.nats.settings.stream().to_string().into_bytes()))
                }
                Err(problem) => Step::End(problem.answer()),
            },
            (At::Made, Some(answer)) => match Reply::read(&answer) {
                Ok(info) => self.found(&info),
                Err(problem) => Step::End(problem.answer()),
            },
            (At::Ready, _) => self.publish(),
            (At::Published, None) => Step::End(Answer::Refused("this is no event of Kakehashi".into())),
            (At::Published, Some(answer)) => Step::End(self.published(&answer)),
            (At::Asked | At::Made, None) => Step::End(Answer::Failed("no answer".into())),
        }
    }
}

impl Publishing {
    fn found(&mut self, info: &Value) -> Step<Answer> {
        let settings = &self.nats.settings;
        if let Some(differs) = settings.differs(&info["config"]) {
            let stream = &settings.stream;
            let remedy = "change [endpoint.nats], or the stream (`nats stream edit`)";
            return Step::End(Answer::Denied(format!("stream {stream}: {differs}; {remedy}")));
        }
        self.nats.ready.store(true, Ordering::Relaxed);
        self.publish()
    }

    fn publish(&mut self) -> Step<Answer> {
        self.at = At::Published;
        match self.publish.take() {
            Some(publish) => Step::Send(publish),
            None => Step::End(Answer::Refused("this is no event of Kakehashi".into())),
        }
    }

    fn published(&self, answer: &Response) -> Answer {
        if answer.status == 204 {
            return Answer::Delivered; // realtime: nobody says whether somebody listened
        }
        match Reply::read(answer) {
            Ok(ack) if ack["stream"] == json!(self.nats.settings.stream) => Answer::Delivered,
            Ok(_) => Answer::Failed("something else than JetStream answered; is `subject` used by others?".into()),
            Err(problem) => {
                // whatever it is, the stream is looked at again before the next attempt
                self.nats.ready.store(false, Ordering::Relaxed);
                problem.answer()
            }
        }
    }
}

/// What JetStream replies to its requests and to a publish into a stream.
struct Reply;

/// Why JetStream did not do what it was asked.
#[derive(Debug)]
enum Problem {
    /// The connection, or the server before JetStream.
    Status(u16),
    /// There is no stream of the name (10059).
    NoStream,
    /// Code, error code and description of JetStream, which has no personal data.
    Error(u64, u64, String),
    /// No reply of JetStream.
    Unreadable,
}

impl Reply {
    fn read(answer: &Response) -> Result<Value, Problem> {
        if answer.status != 200 {
            return Err(Problem::Status(answer.status));
        }
        let reply: Value = serde_json::from_slice(&answer.body).map_err(|_| Problem::Unreadable)?;
        let error = &reply["error"];
        if error.is_null() {
            return Ok(reply);
        }
        let number = |key: &str| error[key].as_u64().unwrap_or_default();
        match number("err_code") {
            10_059 => Err(Problem::NoStream),
            code => {
                let described: String = error["description"].as_str().unwrap_or_default().chars().take(200).collect();
                Err(Problem::Error(number("code"), code, described))
            }
        }
    }
}

impl Problem {
    fn answer(self) -> Answer {
        let busy = |what: String| Answer::Busy { what, retry_after: None };
        match self {
            Problem::Status(401) => Answer::Denied("NATS does not know us: correct secret_file".into()),
            Problem::Status(403) => {
                Answer::Denied("NATS does not let us publish there: give the user the permission".into())
            }
            Problem::Status(413) => {
                Answer::Refused("the event is larger than the server's max_payload; set max_body_bytes below it".into())
            }
            Problem::Status(503) => {
                Answer::Failed("nobody answers there (503): no stream, no leader, or no JetStream".into())
            }
            Problem::Status(status) => Answer::Failed(format!("status {status}")),
            Problem::NoStream => Answer::Failed("the stream is gone".into()),
            Problem::Unreadable => Answer::Failed("its reply is none of JetStream".into()),
            Problem::Error(code, number, described) => {
                let what = format!("JetStream: {described} ({number})");
                match (code, number) {
                    // message size exceeds the stream's maximum
                    (_, 10_054) => Answer::Refused(what),
                    // not enabled, not enabled for the account, no account; other expected stream; name in use; subjects overlap
                    (_, 10_076 | 10_039 | 10_035 | 10_060 | 10_058 | 10_065) | (401 | 403, _) => Answer::Denied(what),
                    (404, _) => Answer::Failed(what),
                    // full (10077 by max_bytes, 10047 by the server's disk), too many requests, no leader
                    (429 | 500..=599, _) => busy(what),
                    _ => Answer::Unfit(what),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

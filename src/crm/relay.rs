//! The near end of a link to another network: every event goes to a `kakehashi relay` beside the CRM, which keeps it and delivers it there.
//!
//! A request's path is the event's class on the link. No HTTP is spoken: `bridge::deliver::relay` carries it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::{Endpoint, Wants};
use super::{Connector, Declares, Exchange, Method, Outgoing, Pop, Request, Response, Step};
use crate::events::Data;
use crate::outbox::relay::meter::{Limits, Night};
use crate::outbox::relay::settings::{Way, way};
use crate::outbox::relay::{Class, status};
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// The least that a day may have: a handshake, and some events.
const LEAST_OF_DAY: u64 = 64 * 1024;
/// The least that a second may have.
const LEAST_OF_SECOND: u64 = 1_024;

/// `[endpoint.relay]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The relay, `host:port`, where the bridge opens the link; empty = the relay does.
    pub connect: String,
    /// Address and port where the relay opens it; empty = the bridge opens it.
    pub listen: String,
    /// Name in the relay's certificate (subjectAltName).
    pub peer: String,
    /// The longest silence on the link, in seconds; after three of them without a word the other end counts as gone.
    pub keepalive_s: u64,
    /// Bytes on the link's socket in a day of Japan, both directions, TLS included; 0 = any number.
    pub bytes_per_day: u64,
    /// Bytes of events sent in a second; 0 = any number. At most what the line carries, so that a pop waits behind nothing.
    pub bytes_per_second: u64,
    /// The share of the day's bytes that documents and sound leave to pops and texts, in percent, 10 to 100.
    pub reserve_percent: u64,
    /// The recordings of contacts whose text may leave go too, once their document is complete; those from when this was set.
    pub sound: bool,
    /// When documents and sound may go, in Japan's time, such as `22:00-06:00`; empty = always.
    pub night: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect: String::new(),
            listen: String::new(),
            peer: String::new(),
            keepalive_s: 60,
            bytes_per_day: 0,
            bytes_per_second: 0,
            reserve_percent: 30,
            sound: false,
            night: String::new(),
        }
    }
}

impl Settings {
    /// How the link comes to be.
    ///
    /// # Errors
    /// The key that is wrong, and what is expected.
    pub fn way(&self) -> Result<Way, (&'static str, String)> {
        way(&self.connect, &self.listen, &self.peer, self.keepalive_s)
    }

    /// What the link may use.
    ///
    /// # Errors
    /// The key that is wrong, and what is expected.
    pub fn limits(&self) -> Result<Limits, (&'static str, String)> {
        if (1..LEAST_OF_DAY).contains(&self.bytes_per_day) {
            return Err(("bytes_per_day", format!("{}; expected 0, or {LEAST_OF_DAY} or more", self.bytes_per_day)));
        }
        if (1..LEAST_OF_SECOND).contains(&self.bytes_per_second) {
            let problem = format!("{}; expected 0, or {LEAST_OF_SECOND} or more", self.bytes_per_second);
            return Err(("bytes_per_second", problem));
        }
        if !(10..=100).contains(&self.reserve_percent) {
            return Err(("reserve_percent", format!("{}; expected 10 to 100", self.reserve_percent)));
        }
        let night = match self.night.as_str() {
            "" => None,
            text => Some(Night::parse(text).ok_or_else(|| {
                ("night", format!("\"{text}\" is no time of the day; expected for example \"22:00-06:00\""))
            })?),
        };
        Ok(Limits {
            per_day: self.bytes_per_day,
            per_second: self.bytes_per_second,
            reserve_percent: self.reserve_percent,
            night,
        })
    }
}

/// Why `[endpoint.relay]` cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("[[endpoint]] id = \"{endpoint}\": {key}: {problem}")]
pub struct SettingsError {
    /// The endpoint.
    pub endpoint: String,
    /// The key.
    pub key: String,
    /// What is wrong and what is expected.
    pub problem: String,
}

/// A relay.
#[derive(Clone, Copy, Debug)]
pub struct Relay {
    wants: Wants,
}

impl Relay {
    /// The relay of an endpoint.
    ///
    /// # Errors
    /// When a setting of it is wrong.
    pub fn new(endpoint: &Endpoint, settings: &Settings) -> Result<Relay, SettingsError> {
        let wrong = |key: String, problem: String| SettingsError { endpoint: endpoint.id.clone(), key, problem };
        let checked = settings.way().map(|_| ()).and_then(|()| settings.limits().map(|_| ()));
        checked.map_err(|(key, problem)| wrong(format!("relay.{key}"), problem))?;
        for (key, file, what) in [
            ("client_cert_file", &endpoint.client_cert_file, "the bridge's certificate"),
            ("client_key_file", &endpoint.client_key_file, "the private key of client_cert_file"),
            ("ca_file", &endpoint.ca_file, "the authority of the relay's certificate"),
        ] {
            if file.as_os_str().is_empty() {
                let problem = format!("empty; expected the PEM file with {what}: both ends of the link show one");
                return Err(wrong(key.into(), problem));
            }
        }
        Ok(Relay { wants: endpoint.wants() })
    }
}

impl Connector for Relay {
    fn declares(&self) -> Declares {
        Declares {
            kind: "relay",
            pop: Pop::Receiver,
            idempotency: "id of the event",
            most_requests: 1,
            requests_per_day: None,
            day_begins: Duration::ZERO,
            at_once: None,
        }
    }

    fn takes(&self, data: &Data) -> bool {
        self.wants.takes(data)
    }

    fn deliver(&self, event: &Outgoing<'_>) -> Box<dyn Exchange<Answer>> {
        let Some(class) = class(event.body) else {
            return Box::new(Telling(None));
        };
        Box::new(Telling(Some(Request {
            method: Method::Put,
            path: path(class).into(),
            headers: Vec::new(),
            body: event.body.as_bytes().into(),
        })))
    }
}

/// The class of an event: live ones expire, and a document says again what the texts have said. `None` when it is no event.
fn class(body: &str) -> Option<Class> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        sequence: Option<String>,
    }
    let head: Head = serde_json::from_str(body).ok()?;
    Some(match (head.sequence, head.kind.as_str()) {
        (None, _) => Class::Live,
        (Some(_), "kakehashi.transcript.document.v1") => Class::Bulk,
        (Some(_), _) => Class::Record,
    })
}

/// A class as a request's path.
pub fn path(class: Class) -> &'static str {
    match class {
        Class::Live => "live",
        Class::Record => "record",
        Class::Bulk => "bulk",
    }
}

/// One event on its way: its request, until it was sent.
struct Telling(Option<Request>);

impl Exchange<Answer> for Telling {
    fn next(&mut self, answer: Option<Response>, _: Wall) -> Step<Answer> {
        match (answer, self.0.take()) {
            (Some(response), _) => Step::End(understood(&response)),
            (None, Some(request)) => Step::Send(request),
            (None, None) => Step::End(Answer::Refused("this is no event of Kakehashi".into())),
        }
    }
}

fn understood(response: &Response) -> Answer {
    let said = String::from_utf8_lossy(&response.body);
    let what = if said.is_empty() { format!("status {}", response.status) } else { said.into_owned() };
    let wait = response.retry_after.as_deref().and_then(|seconds| seconds.parse().ok());
    let wait = Duration::from_secs(wait.unwrap_or(60));
    match response.status {
        status::TAKEN => Answer::Delivered,
        status::USED_UP => Answer::Dry { what, wait },
        status::NOT_YET => Answer::NotYet { what, wait },
        status::EXPIRED => Answer::Late(what),
        status::UNKNOWN => Answer::Unfit(what),
        status::CONFLICT | status::TOO_LONG | status::MALFORMED => Answer::Refused(what),
        _ => Answer::Busy { what, retry_after: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        let file = || std::path::PathBuf::from("x.pem");
        Endpoint { client_cert_file: file(), client_key_file: file(), ca_file: file(), ..Endpoint::default() }
    }

    fn settings() -> Settings {
        Settings { connect: "192.0.2.1:7443".into(), peer: "relay.example.jp".into(), ..Settings::default() }
    }

    #[test]
    fn what_is_wrong_names_the_key() {
        assert!(Relay::new(&endpoint(), &settings()).is_ok());
        let wrong = |settings: Settings| Relay::new(&endpoint(), &settings).unwrap_err().key;
        assert_eq!(wrong(Settings { connect: String::new(), ..settings() }), "relay.connect, listen");
        assert_eq!(wrong(Settings { bytes_per_day: 1_000, ..settings() }), "relay.bytes_per_day");
        assert_eq!(wrong(Settings { bytes_per_second: 10, ..settings() }), "relay.bytes_per_second");
        assert_eq!(wrong(Settings { reserve_percent: 5, ..settings() }), "relay.reserve_percent");
        assert_eq!(wrong(Settings { night: "late".into(), ..settings() }), "relay.night");
        let bare = Endpoint { ca_file: Default::default(), ..endpoint() };
        assert_eq!(Relay::new(&bare, &settings()).unwrap_err().key, "ca_file");
    }

    #[test]
    fn answers_of_the_link_are_classes_of_answers() {
        let answer = |status, retry_after: Option<&str>| {
            understood(&Response {
                status,
                retry_after: retry_after.map(str::to_string),
                load: None,
                body: b"so".to_vec(),
            })
        };
        let so = || "so".to_string();
        assert_eq!(answer(200, None), Answer::Delivered);
        assert_eq!(answer(429, Some("7")), Answer::Dry { what: so(), wait: Duration::from_secs(7) });
        assert_eq!(answer(425, Some("9")), Answer::NotYet { what: so(), wait: Duration::from_secs(9) });
        assert_eq!(answer(498, None), Answer::Late(so()));
        assert_eq!(answer(426, None), Answer::Unfit(so()));
        assert_eq!(answer(409, None), Answer::Refused(so()));
        assert_eq!(answer(503, None), Answer::Busy { what: so(), retry_after: None });
    }

    #[test]
    fn a_document_is_bulk_and_what_has_no_sequence_is_live() {
        let of = |text: &str| class(text);
        assert_eq!(of(r#"{"type":"kakehashi.screenpop.v1"}"#), Some(Class::Live));
        assert_eq!(of(r#"{"type":"kakehashi.transcript.document.v1","sequence":"1"}"#), Some(Class::Bulk));
        assert_eq!(of(r#"{"type":"kakehashi.transcript.final.v1","sequence":"1"}"#), Some(Class::Record));
        assert_eq!(of("nonsense"), None);
    }
}

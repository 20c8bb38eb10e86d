//! The bridge as an extension of an exchange: one registration (RFC 3261 §10), kept until the bridge stops.

use std::net::SocketAddr;
use std::time::Duration;

use super::backoff;
use super::flow::{Flow, Transport};
use super::header::{NameAddr, Via, bracketed, param, print_contact};
use super::message::{Message, Start};
use super::settings::{OwnTransport, RegisterSettings, host_and_port};
use crate::time::{Mono, Now};

/// Time for an address to be found.
const ROUTING: Duration = Duration::from_secs(30);
/// How often a connection is kept alive (RFC 5626 §4.4.1, the shorter half of its range).
const KEEP_ALIVE: Duration = Duration::from_secs(95);

/// How far a registration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not registered; it is being tried, or will be.
    Trying,
    /// Registered.
    Registered,
    /// The registrar refuses; tried again after a long pause.
    Refused,
    /// The bridge stops.
    Stopped,
}

/// What happened, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Registered, for so many seconds.
    Registered(u32),
    /// Refused with this status.
    Refused(u16),
    /// No answer, or an error that may pass; the status, if there was an answer.
    Failed(Option<u16>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { at: Mono },
    Routing { until: Mono },
    Asked,
    Registered { refresh_at: Mono },
    Leaving,
    Stopped,
}

/// What it wants of the server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// Find the addresses of the registrar.
    Route,
    /// Send this, with a Via.
    Send(Message, Flow),
    /// Send a keep-alive on the connection.
    Ping(Flow),
}

/// One registration.
pub struct Registration {
    settings: RegisterSettings,
    host: String,
    port: u16,
    call_id: String,
    tag: String,
    cseq: u32,
    salt: u64,
    phase: Phase,
    registered: bool,
    refused: bool,
    expires: u32,
    failures: u32,
    flow: Option<Flow>,
    /// Where the exchange sees us, when that is not where we are.
    seen_at: Option<SocketAddr>,
    /// That was told at once since the last refresh; a place that changes with every request is not run after.
    moved: bool,
    ping_at: Option<Mono>,
    due: bool,
}

impl Registration {
    /// Begins at once; `token` is unguessable. `None`: the registrar's name cannot be one.
    pub fn new(settings: RegisterSettings, token: &str) -> Option<Registration> {
        let (host, port) = host_and_port(&settings.registrar, settings.transport)?;
        Some(Registration {
            host,
            port,
            call_id: format!("register-{token}"),
            tag: token.chars().rev().collect(),
            cseq: 0,
            salt: u64::from_str_radix(token.get(..8).unwrap_or_default(), 16).unwrap_or_default(),
            phase: Phase::Waiting { at: Mono(0) },
            registered: false,
            refused: false,
            expires: settings.expires_s,
            failures: 0,
            flow: None,
            seen_at: None,
            moved: false,
            ping_at: None,
            due: false,
            settings,
        })
    }

    /// Host, port and transport of the registrar.
    pub fn target(&self) -> (&str, u16, OwnTransport) {
        (&self.host, self.port, self.settings.transport)
    }

    /// The user of our Contact.
    pub fn user(&self) -> &str {
        &self.settings.user
    }

    /// How far it is.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Leaving | Phase::Stopped => State::Stopped,
            _ if self.registered => State::Registered,
            _ if self.refused => State::Refused,
            _ => State::Trying,
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Mono> {
        let phase = match self.phase {
            Phase::Waiting { at } => Some(at),
            Phase::Routing { until } => Some(until),
            Phase::Registered { refresh_at } => Some(refresh_at),
            Phase::Asked | Phase::Leaving | Phase::Stopped => None,
        };
        phase.into_iter().chain(self.ping_at).min()
    }

    /// Addresses of the registrar, best first; none: there is none that may be used.
    pub(super) fn handle_route(&mut self, flows: &[Flow], now: Now) {
        if !matches!(self.phase, Phase::Routing { .. }) {
            return;
        }
        match flows.get(usize::try_from(self.failures).unwrap_or(0) % flows.len().max(1)) {
            Some(flow) => {
                self.flow = Some(*flow);
                self.due = true;
            }
            None => self.fail(None, now),
        }
    }

    /// The connection to the registrar is gone: with it, what the exchange reached us by.
    pub(super) fn handle_lost(&mut self, channel: u64, now: Now) {
        let own = self.flow.is_some_and(|flow| flow.transport != Transport::Udp && flow.channel == channel);
        if own && let Phase::Registered { refresh_at } = self.phase {
            let soon = now.mono + backoff::doubling(1, self.salt);
            self.phase = Phase::Registered { refresh_at: refresh_at.min(soon) };
            self.ping_at = None;
        }
    }

    /// What it wants next; `advertised` is the host that we give as ours, empty: our address.
    pub(super) fn poll(&mut self, advertised: &str, now: Now) -> Option<Wish> {
        let Some(flow) = self.flow.filter(|_| self.due) else {
            return match self.phase {
                Phase::Waiting { at } | Phase::Registered { refresh_at: at } if at <= now.mono => {
                    self.moved = false;
                    self.phase = Phase::Routing { until: now.mono + ROUTING };
                    Some(Wish::Route)
                }
                Phase::Routing { until } if until <= now.mono => {
                    self.fail(None, now);
                    None
                }
                _ => {
                    self.ping_at.take_if(|at| *at <= now.mono)?;
                    self.ping_at = Some(now.mono + KEEP_ALIVE);
                    self.flow.map(Wish::Ping)
                }
            };
        };
        self.due = false;
        let expires = if self.phase == Phase::Leaving { 0 } else { self.expires };
        if self.phase != Phase::Leaving {
            self.phase = Phase::Asked;
        }
        let domain = self.domain();
        let mut message = Message::new(Start::Request { method: "REGISTER".into(), uri: format!("sip:{domain}") });
        let address = format!("<sip:{}@{domain}>", self.settings.user);
        message.push("Max-Forwards", "70");
        message.push("From", format!("{address};tag={}", self.tag));
        message.push("To", address);
        message.push("Call-ID", self.call_id.clone());
        self.cseq += 1;
        message.push("CSeq", super::header::print_cseq(self.cseq, "REGISTER"));
        message.push("Contact", format!("{};expires={expires}", self.contact(flow, advertised)));
        message.push("Expires", expires.to_string());
        message.push("Supported", "path");
        Some(Wish::Send(message, flow))
    }

    /// A new number for the same request.
    pub(super) fn next_cseq(&mut self) -> u32 {
        self.cseq += 1;
        self.cseq
    }

    /// The registrar answered (never 401 or 407 that can be met); `flow` is what the answer came by.
    pub(super) fn handle_answer(
        &mut self,
        code: u16,
        answer: &Message,
        flow: Flow,
        advertised: &str,
        now: Now,
    ) -> Option<Told> {
        if self.phase == Phase::Leaving {
            self.phase = Phase::Stopped;
        }
        if self.phase != Phase::Asked {
            return None;
        }
        match code {
            200..=299 => Some(self.accepted(answer, flow, advertised, now)),
            423 => {
                let least = backoff::seconds(answer, "Min-Expires").filter(|least| *least > self.expires);
                match least {
                    Some(least) => {
                        self.expires = least;
                        self.due = true;
                        None
                    }
                    None => self.refuse(code, now),
                }
            }
            // a redirection is not followed: the registrar is the one that is configured
            300..=399 | 408 | 480 | 500..=699 => {
                self.fail(backoff::retry_after(answer), now);
                Some(Told::Failed(Some(code)))
            }
            _ => self.refuse(code, now),
        }
    }

    /// Nobody answered.
    pub(super) fn handle_silence(&mut self, now: Now) -> Option<Told> {
        match self.phase {
            Phase::Leaving => self.phase = Phase::Stopped,
            Phase::Asked => {
                self.fail(None, now);
                return Some(Told::Failed(None));
            }
            _ => {}
        }
        None
    }

    /// The bridge stops: what is registered is taken back.
    pub(super) fn handle_stop(&mut self) {
        let known = self.registered || self.phase == Phase::Asked;
        self.due = known;
        self.ping_at = None;
        self.phase = if known { Phase::Leaving } else { Phase::Stopped };
    }

    fn domain(&self) -> String {
        match self.settings.domain.trim() {
            "" => bracketed(&self.host),
            domain => domain.into(),
        }
    }

    /// Our Contact: where the exchange sees us, unless we say where we are.
    fn contact(&self, flow: Flow, advertised: &str) -> String {
        let place = self.seen_at.unwrap_or(flow.local);
        let host = match advertised {
            "" => place.ip().to_canonical().to_string(),
            own => own.into(),
        };
        let port = if advertised.is_empty() { place.port() } else { flow.local.port() };
        print_contact(&self.settings.user, &host, port, flow.transport.name())
    }

    fn accepted(&mut self, answer: &Message, flow: Flow, advertised: &str, now: Now) -> Told {
        (self.failures, self.refused, self.registered) = (0, false, true);
        self.flow = Some(flow);
        let ours = NameAddr::parse(&self.contact(flow, advertised)).map(|ours| ours.uri);
        let listed = answer.list("Contact").into_iter().filter_map(|text| NameAddr::parse(&text));
        let own = listed.into_iter().find(|address| {
            ours.as_ref().is_some_and(|ours| {
                address.uri.user == ours.user && address.uri.host == ours.host && address.uri.port == ours.port
            })
        });
        let granted = own.as_ref().and_then(|own| param(&own.params, "expires")).and_then(|text| text.parse().ok());
        let granted = granted.or_else(|| backoff::seconds(answer, "Expires")).unwrap_or(self.expires);
        let granted = granted.clamp(10, 86_400);
        let whole = Duration::from_secs(u64::from(granted));
        // early enough for 64·T1 of repetitions, and not all extensions at once
        let early = (whole / 2).min(Duration::from_secs(60)) + backoff::share(whole / 10, self.salt);
        self.phase = Phase::Registered { refresh_at: now.mono + (whole - early.min(whole)) };
        self.ping_at = (flow.transport != Transport::Udp).then(|| now.mono + KEEP_ALIVE);
        if flow.transport == Transport::Udp && self.is_seen_elsewhere(answer, flow) && !self.moved {
            self.moved = true;
            self.phase = Phase::Asked;
            self.due = true;
        }
        Told::Registered(granted)
    }

    /// Whether the exchange sees us at another place than last time (RFC 3581); then it must be told the right one.
    fn is_seen_elsewhere(&mut self, answer: &Message, flow: Flow) -> bool {
        let via = answer.list("Via").into_iter().next().and_then(|text| Via::parse(&text));
        let Some(via) = via else { return false };
        let number = |name: &str| param(&via.params, name).filter(|text| !text.is_empty());
        let host = number("received").unwrap_or(&via.host).parse().ok();
        let port = number("rport").and_then(|text| text.parse().ok()).or(via.port);
        let (Some(host), Some(port)) = (host, port) else { return false };
        let seen = Some(SocketAddr::new(host, port)).filter(|seen| *seen != flow.local);
        let moved = seen != self.seen_at;
        self.seen_at = seen;
        moved
    }

    fn fail(&mut self, pause: Option<Duration>, now: Now) {
        if matches!(self.phase, Phase::Leaving | Phase::Stopped) {
            return;
        }
        self.registered = false;
        self.failures = self.failures.saturating_add(1);
        let pause = pause.unwrap_or_default().max(backoff::doubling(self.failures, self.salt));
        self.phase = Phase::Waiting { at: now.mono + pause };
        self.ping_at = None;
    }

    fn refuse(&mut self, code: u16, now: Now) -> Option<Told> {
        self.refused = true;
        self.fail(Some(backoff::REFUSED), now);
        Some(Told::Refused(code))
    }
}

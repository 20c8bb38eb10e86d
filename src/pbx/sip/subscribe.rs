//! Dialog events of the extensions of one exchange: subscriptions (RFC 6665) kept alive, their documents turned into signals.
//!
//! One `Subscription` for each extension. Whoever answers it with a NOTIFY of its own tag is a fork of its own, with a book of its own.
//! When a subscription ends and another follows, the running calls are handed on and looked for in its first document.

use std::time::Duration;

use super::backoff;
use super::dialog::Dialog;
use super::dialog_info::Calls;
use super::flow::{Flow, Transport};
use super::header::{bracketed, print_cseq};
use super::message::{Message, Start};
use super::request::Request;
use super::settings::{OwnTransport, WatchSettings, host_and_port};
use crate::pbx::{Observed, PbxId};
use crate::time::{Mono, Now};

use self::subscription::{Phase, Subscription};

mod subscription;

/// Time for an address to be found.
const ROUTING: Duration = Duration::from_secs(30);
/// Notifiers of one subscription; more are answered 481.
const FORKS_MAX: usize = 4;
/// The only event package.
pub(super) const EVENT: &str = "dialog";
/// The only content.
pub(super) const CONTENT: &str = "application/dialog-info+xml";

/// What happened, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The first document came.
    Watching,
    /// Refused with this status (0: by the reason of a NOTIFY); `true`: for good.
    Refused(u16, bool),
    /// No answer, or an error that may pass.
    Failed(Option<u16>),
}

/// The subscriptions at one exchange.
pub struct Watch {
    settings: WatchSettings,
    host: String,
    port: u16,
    user: String,
    flow: Option<Flow>,
    routing: Option<Mono>,
    subscriptions: Vec<Subscription>,
    calls: Calls,
    stopping: bool,
}

/// What it wants of the server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// Find the addresses of the server.
    Route,
    /// Send this, with a Via.
    Begin(usize, Message, Flow),
    /// Send a SUBSCRIBE inside the dialog of a fork, for so many seconds.
    Again(usize, String, u32),
}

/// What a NOTIFY gets, and what it told.
pub(super) struct Notified {
    pub(super) code: u16,
    pub(super) signals: Vec<Observed>,
    pub(super) told: Option<Told>,
    pub(super) malformed: bool,
}

impl Notified {
    fn refused(code: u16) -> Notified {
        Notified { code, signals: Vec::new(), told: None, malformed: false }
    }
}

impl Watch {
    /// Begins at once. `None`: the server's name cannot be one.
    pub fn new(pbx: &PbxId, settings: WatchSettings, user: &str) -> Option<Watch> {
        let (host, port) = host_and_port(&settings.server, settings.transport)?;
        let subscription = |extension: &String| Subscription::new(extension, settings.expires_s);
        Some(Watch {
            subscriptions: settings.extensions.iter().map(subscription).collect(),
            host,
            port,
            user: user.into(),
            flow: None,
            routing: None,
            calls: Calls::new(pbx.clone()),
            stopping: false,
            settings,
        })
    }

    /// Host, port and transport of the server.
    pub fn target(&self) -> (&str, u16, OwnTransport) {
        (&self.host, self.port, self.settings.transport)
    }

    /// The user of our Contact.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Extensions that are being told of now.
    pub fn watched(&self) -> usize {
        self.subscriptions.iter().filter(|own| own.phase == Phase::Active).count()
    }

    /// Calls that run.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Dialogs with notifiers.
    pub fn forks(&self) -> usize {
        self.subscriptions.iter().map(|own| own.forks.len()).sum()
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Mono> {
        if self.stopping {
            return None;
        }
        let own = self.subscriptions.iter().flat_map(|own| {
            let phase = match own.phase {
                // without an address all wait for it
                Phase::Waiting { at } if self.routing.is_none() => Some(at),
                Phase::Accepted { until } => Some(until),
                _ => None,
            };
            let forks = own.forks.iter().flat_map(|fork| [Some(fork.ends_at), fork.refresh_at]);
            phase.into_iter().chain(forks.flatten()).chain(own.adrift.as_ref().map(|(_, until)| *until))
        });
        own.chain(self.routing).min()
    }

    /// Addresses of the server, best first; none: there is none that may be used.
    pub(super) fn handle_route(&mut self, flows: &[Flow], now: Now) {
        if self.routing.take().is_none() {
            return;
        }
        self.flow = flows.first().copied();
        if self.flow.is_none() {
            self.cannot_route(now);
        }
    }

    /// What is over.
    pub(super) fn handle_timeout(&mut self, now: Now) -> Vec<Observed> {
        let mut signals = Vec::new();
        if self.stopping {
            return signals;
        }
        if self.routing.take_if(|until| *until <= now.mono).is_some() {
            self.cannot_route(now);
        }
        for own in &mut self.subscriptions {
            while let Some(at) = own.forks.iter().position(|fork| fork.ends_at <= now.mono) {
                own.drop_fork(at, &mut self.calls, &mut signals, now);
                own.begin_anew(Duration::ZERO, now);
            }
            if matches!(own.phase, Phase::Accepted { until } if until <= now.mono) {
                own.fail(None, now);
            }
            if let Some((book, _)) = own.adrift.take_if(|(_, until)| *until <= now.mono) {
                signals.extend(book.lose(&mut self.calls, now));
            }
        }
        signals
    }

    /// What it wants next; `token` is unguessable.
    pub(super) fn poll(&mut self, token: &str, now: Now) -> Option<Wish> {
        for (at, own) in self.subscriptions.iter_mut().enumerate() {
            if let Some(fork) = own.forks.iter_mut().find(|fork| fork.refresh_at.is_some_and(|at| at <= now.mono)) {
                fork.refresh_at = None;
                let expires = if self.stopping { 0 } else { own.expires };
                return Some(Wish::Again(at, fork.dialog.remote_tag.clone(), expires));
            }
        }
        let due = |own: &Subscription| matches!(own.phase, Phase::Waiting { at } if at <= now.mono);
        let at = self.subscriptions.iter().position(due).filter(|_| !self.stopping && self.routing.is_none())?;
        let Some(flow) = self.flow else {
            self.routing = Some(now.mono + ROUTING);
            return Some(Wish::Route);
        };
        let domain = match self.settings.domain.trim() {
            "" => bracketed(&self.host),
            domain => domain.into(),
        };
        let own = self.subscriptions.get_mut(at)?;
        let target = format!("sip:{}@{domain}", own.extension);
        own.call_id = format!("subscribe-{token}");
        own.tag = token.chars().rev().collect();
        own.cseq = 1;
        own.phase = Phase::Asked;
        own.began = Some(now.mono);
        let mut message = Message::new(Start::Request { method: "SUBSCRIBE".into(), uri: target.clone() });
        message.push("Max-Forwards", "70");
        message.push("From", format!("<sip:{}@{domain}>;tag={}", self.user, own.tag));
        message.push("To", format!("<{target}>"));
        message.push("Call-ID", own.call_id.clone());
        message.push("CSeq", print_cseq(own.cseq, "SUBSCRIBE"));
        describe(&mut message, own.expires);
        Some(Wish::Begin(at, message, flow))
    }

    /// The dialog of a fork, for a request inside it.
    pub(super) fn dialog(&mut self, at: usize, fork: &str) -> Option<&mut Dialog> {
        let own = self.subscriptions.get_mut(at)?;
        own.forks.iter_mut().map(|fork| &mut fork.dialog).find(|dialog| dialog.remote_tag == fork)
    }

    /// A new number for the same request.
    pub(super) fn next_cseq(&mut self, at: usize, fork: &str) -> Option<u32> {
        if let Some(dialog) = self.dialog(at, fork) {
            return Some(dialog.next_cseq());
        }
        let own = self.subscriptions.get_mut(at)?;
        own.cseq += 1;
        Some(own.cseq)
    }

    /// A SUBSCRIBE was answered (never 401 or 407 that can be met), or not in time (`None`); `fork` is empty for one that began.
    pub(super) fn handle_answer(
        &mut self,
        at: usize,
        fork: &str,
        answer: Option<(u16, &Message)>,
        limit: Duration,
        now: Now,
    ) -> (Vec<Observed>, Option<Told>) {
        let mut signals = Vec::new();
        if self.stopping {
            return (signals, None);
        }
        let Some(own) = self.subscriptions.get_mut(at) else { return (signals, None) };
        if fork.is_empty() {
            if answer.is_none_or(|(code, _)| code >= 500) {
                // another address of the server may do better
                self.flow = None;
            }
            return (signals, own.begun(answer, limit, now));
        }
        let Some(place) = own.forks.iter().position(|known| known.dialog.remote_tag == fork) else {
            return (signals, None);
        };
        match answer {
            Some((code @ 200..=299, message)) => {
                let granted = backoff::seconds(message, "Expires").unwrap_or(own.expires);
                if let Some(known) = own.forks.get_mut(place).filter(|_| code < 300) {
                    known.lives_for(granted.min(own.expires), now);
                }
            }
            Some((423, message)) => {
                own.expires = backoff::seconds(message, "Min-Expires").unwrap_or(0).max(own.expires);
                if let Some(known) = own.forks.get_mut(place) {
                    known.refresh_at = Some(now.mono + Duration::from_secs(1));
                }
            }
            // RFC 6665 §4.1.2.2: gone there, so a new one is made
            Some((404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604, _)) => {
                own.drop_fork(place, &mut self.calls, &mut signals, now);
                own.begin_anew(Duration::ZERO, now);
            }
            // it lives on until it ends
            None | Some(_) => {
                if let Some(known) = own.forks.get_mut(place) {
                    known.refresh_at = Some(now.mono + backoff::doubling(2, now.mono.0));
                }
            }
        }
        (signals, None)
    }

    /// Whether a NOTIFY belongs to one of ours.
    pub(super) fn is_subscribed(&self, request: &Request) -> bool {
        let tag = request.to.tag().unwrap_or_default();
        self.subscriptions.iter().any(|own| own.call_id == request.call_id && own.tag == tag)
    }

    /// A NOTIFY of the exchange; `None`: none of ours.
    pub(super) fn handle_notify(&mut self, request: &Request, flow: Flow, now: Now) -> Option<(usize, Notified)> {
        let tag = request.to.tag().unwrap_or_default();
        let which = self.subscriptions.iter().position(|own| own.call_id == request.call_id && own.tag == tag)?;
        let own = self.subscriptions.get_mut(which)?;
        let refused = |code| Some((which, Notified::refused(code)));
        let place = match own.forks.iter().position(|fork| fork.dialog.matches(request)) {
            Some(place) => place,
            None => {
                let expected = matches!(own.phase, Phase::Asked | Phase::Accepted { .. } | Phase::Active);
                if !expected || self.stopping || own.forks.len() >= FORKS_MAX || request.from.tag().is_none() {
                    return refused(481);
                }
                own.add_fork(request, flow, now)
            }
        };
        let fork = own.forks.get_mut(place)?;
        if !fork.dialog.advance(request.cseq.number) {
            return refused(500);
        }
        fork.dialog.refresh(request, flow);
        if self.stopping {
            return refused(200);
        }
        let mut notified = Notified::refused(200);
        let first = own.phase != Phase::Active;
        own.take_document(place, &request.message, &mut self.calls, &mut notified, now);
        own.phase = Phase::Active;
        if first {
            own.failures = 0;
            notified.told = Some(Told::Watching);
        }
        if let Some(told) = own.take_state(place, &request.message, &mut self.calls, &mut notified.signals, now) {
            notified.told = told;
        }
        Some((which, notified))
    }

    /// The bridge stops: every subscription is ended (RFC 6665 §4.1.2.3).
    pub(super) fn handle_stop(&mut self, now: Now) {
        self.stopping = true;
        for fork in self.subscriptions.iter_mut().flat_map(|own| &mut own.forks) {
            fork.refresh_at = Some(now.mono);
        }
    }

    /// The connection to the server is gone; whatever is sent next opens another.
    pub(super) fn handle_lost(&mut self, channel: u64) {
        self.flow.take_if(|flow| flow.transport != Transport::Udp && flow.channel == channel);
    }

    fn cannot_route(&mut self, now: Now) {
        for own in &mut self.subscriptions {
            if matches!(own.phase, Phase::Waiting { at } if at <= now.mono) {
                own.fail(None, now);
            }
        }
    }
}

/// Adds what every SUBSCRIBE has.
pub(super) fn describe(message: &mut Message, expires: u32) {
    message.push("Event", EVENT);
    message.push("Accept", CONTENT);
    message.push("Expires", expires.to_string());
}

//! One extension's subscription: how far it is, who tells of it, what a NOTIFY changes, how it ends and is begun again.

use std::time::Duration;

use super::super::backoff;
use super::super::dialog::Dialog;
use super::super::dialog_info::{Applied, Book, Calls, Document};
use super::super::flow::Flow;
use super::super::header::{param, split_params};
use super::super::message::Message;
use super::super::request::Request;
use super::{Notified, Told};
use crate::pbx::Observed;
use crate::time::{Mono, Now};

/// How long calls of an ended subscription are kept for the one that follows.
const ADRIFT: Duration = Duration::from_secs(60);
/// Least time between two subscriptions for one extension.
const ANEW: Duration = Duration::from_secs(2);

/// One extension.
pub(super) struct Subscription {
    pub(super) extension: String,
    pub(super) call_id: String,
    pub(super) tag: String,
    pub(super) cseq: u32,
    pub(super) phase: Phase,
    pub(super) expires: u32,
    pub(super) failures: u32,
    /// When the last one was begun.
    pub(super) began: Option<Mono>,
    pub(super) forks: Vec<Fork>,
    pub(super) adrift: Option<(Book, Mono)>,
}

/// How far a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting {
        at: Mono,
    },
    /// SUBSCRIBE was sent.
    Asked,
    /// It was accepted; a NOTIFY must follow (RFC 6665 §4.1.2.4, timer N).
    Accepted {
        until: Mono,
    },
    /// At least one notifier tells.
    Active,
    GivenUp,
}

/// One notifier of a subscription.
pub(super) struct Fork {
    pub(super) dialog: Dialog,
    book: Book,
    pub(super) ends_at: Mono,
    pub(super) refresh_at: Option<Mono>,
    /// The full state was asked for.
    asked: bool,
}

impl Subscription {
    /// Begins at once.
    pub(super) fn new(extension: &str, expires: u32) -> Subscription {
        Subscription {
            extension: extension.into(),
            call_id: String::new(),
            tag: String::new(),
            cseq: 0,
            phase: Phase::Waiting { at: Mono(0) },
            expires,
            failures: 0,
            began: None,
            forks: Vec::new(),
            adrift: None,
        }
    }

    /// The first SUBSCRIBE was answered.
    pub(super) fn begun(&mut self, answer: Option<(u16, &Message)>, limit: Duration, now: Now) -> Option<Told> {
        match answer {
            // the NOTIFY may have come before
            Some((200..=299, _)) if self.phase == Phase::Asked => {
                self.phase = Phase::Accepted { until: now.mono + limit };
                None
            }
            Some((200..=299, _)) => None,
            Some((423, message)) => {
                match backoff::seconds(message, "Min-Expires").filter(|least| *least > self.expires) {
                    Some(least) => {
                        self.expires = least;
                        self.begin_anew(Duration::ZERO, now);
                    }
                    None => self.fail(Some(backoff::REFUSED), now),
                }
                None
            }
            Some((code @ (300..=399 | 408 | 480 | 481 | 500..=699), message)) => {
                self.fail(backoff::retry_after(message), now);
                Some(Told::Failed(Some(code)))
            }
            // 489 among them: it knows no dialog events
            Some((code, _)) => {
                self.fail(Some(backoff::REFUSED), now);
                Some(Told::Refused(code, false))
            }
            None => {
                self.fail(None, now);
                Some(Told::Failed(None))
            }
        }
    }

    pub(super) fn add_fork(&mut self, request: &Request, flow: Flow, now: Now) -> usize {
        let mut dialog = Dialog::of_invite(request, &self.tag, flow);
        while dialog.next_cseq() < self.cseq {}
        // the first request of a dialog is not one that it has seen
        dialog.forget_remote_cseq();
        let book = self.adrift.take().map(|(book, _)| book).unwrap_or_default();
        let mut fork = Fork { dialog, book, ends_at: now.mono, refresh_at: None, asked: false };
        fork.lives_for(self.expires, now);
        self.forks.push(fork);
        self.forks.len() - 1
    }

    pub(super) fn take_document(
        &mut self,
        place: usize,
        message: &Message,
        calls: &mut Calls,
        notified: &mut Notified,
        now: Now,
    ) {
        let Some(fork) = self.forks.get_mut(place).filter(|_| !message.body.is_empty()) else { return };
        let content = message.text("Content-Type");
        let content = content.as_deref().and_then(split_params);
        let charset = content.as_ref().and_then(|(_, params)| param(params, "charset"));
        let applied = match Document::parse(&message.body, charset) {
            Ok(document) => fork.book.apply(&document, &self.extension, fork.asked, calls, now),
            Err(_) => {
                notified.malformed = true;
                Applied::Gap
            }
        };
        match applied {
            Applied::Told(signals) => {
                fork.asked = false;
                notified.signals = signals;
            }
            Applied::Old => {}
            // a refresh brings the whole state (RFC 4235 §4.3)
            Applied::Gap if !fork.asked => {
                fork.asked = true;
                fork.refresh_at = Some(now.mono);
            }
            Applied::Gap => {}
        }
    }

    /// Subscription-State; `Some` when it ended, with what is to be logged.
    pub(super) fn take_state(
        &mut self,
        place: usize,
        message: &Message,
        calls: &mut Calls,
        signals: &mut Vec<Observed>,
        now: Now,
    ) -> Option<Option<Told>> {
        let text = message.text("Subscription-State").unwrap_or_default();
        let (state, params) = split_params(&text).unwrap_or_default();
        if !state.eq_ignore_ascii_case("terminated") {
            let expires = param(&params, "expires").and_then(|text| text.parse::<u32>().ok());
            if let Some(fork) = self.forks.get_mut(place)
                && let Some(expires) = expires
            {
                fork.lives_for(expires.min(86_400), now);
            }
            return None;
        }
        let after = param(&params, "retry-after").and_then(|text| text.parse().ok());
        let after = after.map(|seconds: u64| Duration::from_secs(seconds.min(3_600)));
        self.drop_fork(place, calls, signals, now);
        Some(match param(&params, "reason").unwrap_or_default().to_ascii_lowercase().as_str() {
            // RFC 6665 §4.1.3: never again
            "rejected" | "noresource" | "invariant" => {
                self.give_up(calls, signals, now);
                Some(Told::Refused(0, true))
            }
            "deactivated" | "timeout" => {
                self.begin_anew(Duration::ZERO, now);
                None
            }
            "probation" | "giveup" => {
                self.failures = self.failures.saturating_add(1);
                self.begin_anew(after.unwrap_or_else(|| backoff::doubling(self.failures, now.mono.0)), now);
                None
            }
            _ => {
                self.begin_anew(after.unwrap_or(Duration::from_secs(1)), now);
                None
            }
        })
    }

    /// A notifier is gone; its calls wait for the next one.
    pub(super) fn drop_fork(&mut self, place: usize, calls: &mut Calls, signals: &mut Vec<Observed>, now: Now) {
        let fork = self.forks.remove(place);
        if fork.book.is_empty() {
            return;
        }
        if self.adrift.is_some() || !self.forks.is_empty() {
            signals.extend(fork.book.lose(calls, now));
        } else {
            self.adrift = Some((fork.book.handed_on(), now.mono + ADRIFT));
        }
    }

    /// A new subscription, when no notifier is left.
    pub(super) fn begin_anew(&mut self, pause: Duration, now: Now) {
        if self.forks.is_empty() {
            // however often it is ended: never two in quick succession
            let earliest = self.began.map_or(now.mono, |began| began + ANEW);
            self.phase = Phase::Waiting { at: (now.mono + pause).max(earliest) };
        }
    }

    fn give_up(&mut self, calls: &mut Calls, signals: &mut Vec<Observed>, now: Now) {
        if self.forks.is_empty() {
            self.phase = Phase::GivenUp;
            if let Some((book, _)) = self.adrift.take() {
                signals.extend(book.lose(calls, now));
            }
        }
    }

    pub(super) fn fail(&mut self, pause: Option<Duration>, now: Now) {
        self.failures = self.failures.saturating_add(1);
        let pause = pause.unwrap_or_default().max(backoff::doubling(self.failures, now.mono.0));
        self.begin_anew(pause, now);
    }
}

impl Fork {
    /// It was granted so many seconds from now; half a minute before their end it is refreshed (of few seconds: at half of them).
    pub(super) fn lives_for(&mut self, seconds: u32, now: Now) {
        let whole = Duration::from_secs(u64::from(seconds.max(10)));
        self.ends_at = now.mono + whole;
        let waits = self.refresh_at.filter(|at| self.asked && *at <= now.mono);
        self.refresh_at = waits.or(Some(now.mono + (whole - (whole / 2).min(Duration::from_secs(30)))));
    }
}

//! Our own refreshes of a session (RFC 4028 §10): UPDATE where the peer takes it, else a re-INVITE that changes nothing; its ACK.

use std::time::Duration;

use crate::pbx::EndCause;
use crate::time::{Mono, Now};

use super::call::Call;
use super::content;
use super::flow::Flow;
use super::header::{CSeq, NameAddr};
use super::message::{Message, Start};
use super::sdp::Description;
use super::timer::{self, Refresher, SessionTimer, Wish};
use super::transaction::Client;
use super::uas::{Output, Purpose, Uas};
use super::wire::{self, Limits};

/// Pause before another try where the answer names none.
const AGAIN: Duration = Duration::from_secs(10);
/// A peer that finds every interval too short is asked no more.
const TOO_SHORT_MAX: u8 = 4;

/// An ACK that goes out again with every repeated answer to our INVITE (RFC 3261 §13.2.2.4, §17.1.1.2).
#[derive(Clone, Debug)]
pub(super) struct Ack {
    flow: Flow,
    bytes: Vec<u8>,
    pub(super) until: Mono,
}

/// What a call knows of our refreshes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refreshing {
    /// One is under way; true: a re-INVITE.
    pub(super) asking: Option<bool>,
    /// The peer takes UPDATE.
    pub(super) updates: bool,
    /// Highest Min-SE of a 422; 0: none came.
    min_se: u32,
    too_short: u8,
}

impl Call {
    /// A re-INVITE of ours is under way.
    pub(super) fn has_invited(&self) -> bool {
        self.refreshing.asking == Some(true)
    }

    /// Whether the peer takes UPDATE, where the message says so.
    pub(super) fn note_allow(&mut self, message: &Message) {
        if message.count("Allow") > 0 {
            self.refreshing.updates = message.list("Allow").iter().any(|method| method == "UPDATE");
        }
    }

    fn try_again(&mut self, after: Duration, now: Now) {
        if let Some(timer) = &mut self.timer {
            timer.refresh_at = Some(now.mono + after);
        }
    }
}

impl Uas {
    /// What the site wants of session timers.
    pub(super) fn timer_wish(&self) -> Wish {
        let own = &self.settings;
        Wish { expires: own.session_expires_s, min_se: own.min_se_s, always: own.refresh_always }
    }

    /// A refresh or the end of a session is due.
    pub(super) fn session_due(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        let Some(timer) = call.timer else { return };
        if timer.expires_at <= now.mono {
            return self.hang_up(tag, EndCause::LostSight, now);
        }
        let busy = call.refreshing.asking.is_some() || call.pending.is_some() || call.unacknowledged.is_some();
        if busy {
            return call.try_again(Duration::from_secs(1), now);
        }
        self.refresh(tag, now);
    }

    fn refresh(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        let Some(timer) = &mut call.timer else { return };
        timer.refresh_at = None;
        let interval = timer.interval;
        let invite = !call.refreshing.updates;
        call.refreshing.asking = Some(invite);
        let (min_se, body) = (call.refreshing.min_se, if invite { call.agreed.last() } else { Vec::new() });
        let method = if invite { "INVITE" } else { "UPDATE" };
        let Some((mut message, branch, to)) = self.request_within(tag, method) else { return };
        message.push("Allow", super::check::ALLOW);
        // 100rel is not ours as a caller
        message.push("Supported", "timer");
        message.push("Session-Expires", format!("{interval};refresher=uac"));
        if min_se > 0 {
            message.push("Min-SE", min_se.to_string());
        }
        if !body.is_empty() {
            message.push("Content-Type", "application/sdp");
            message.body = body;
        }
        self.ask(&message, branch, to, Purpose::Refresh { tag: tag.into(), invite }, now);
    }

    /// The answer to a refresh of ours, or none in time.
    pub(super) fn refreshed(&mut self, tag: &str, invite: bool, answer: Option<&Message>, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        call.refreshing.asking = None;
        let code = answer.map_or(408, code_of);
        match (code, answer) {
            (200..300, Some(answer)) => self.session_goes_on(tag, invite, answer, now),
            (422, Some(answer)) if call.refreshing.too_short < TOO_SHORT_MAX => {
                let least = timer::min_se(answer).unwrap_or_default();
                call.refreshing.too_short += 1;
                call.refreshing.min_se = call.refreshing.min_se.max(least);
                if let Some(timer) = &mut call.timer {
                    timer.interval = timer.interval.max(least.min(timer::CEILING));
                }
                self.refresh(tag, now);
            }
            (405 | 501, _) if !invite => {
                call.refreshing.updates = false;
                self.refresh(tag, now);
            }
            (408 | 481, _) => self.hang_up(tag, EndCause::LostSight, now),
            (491, _) => {
                // The caller chose the Call-ID, so ours is the shorter wait: 0 to 2 s in steps of 10 ms (RFC 3261 §14.1).
                let wait = Duration::from_millis(u64::from(self.random(201)) * 10);
                if let Some(call) = self.calls.get_mut(tag) {
                    call.try_again(wait, now);
                }
            }
            (_, answer) => {
                let asked =
                    answer.and_then(|answer| answer.text("Retry-After")?.split([' ', ';', '(']).next()?.parse().ok());
                call.try_again(asked.map_or(AGAIN, Duration::from_secs), now);
            }
        }
    }

    fn session_goes_on(&mut self, tag: &str, invite: bool, answer: &Message, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        self.counters.refreshed += 1;
        call.dialog.retarget(answer);
        call.note_allow(answer);
        call.refreshing.too_short = 0;
        call.probe_at = super::inside::probe_at(self.settings.probe_s, now);
        let before = call.timer.map_or(0, |timer| timer.interval);
        let (interval, by_us) = timer::expires(answer).map_or((before, None), |(s, by)| (s, by));
        let refresher = if by_us == Some(false) { Refresher::Peer } else { Refresher::Us };
        call.timer =
            (interval > 0).then(|| SessionTimer::start(interval.clamp(timer::FLOOR, timer::CEILING), refresher, now));
        if !invite {
            return;
        }
        let body = content::session(answer).unwrap_or_default();
        let described = body.and_then(|body| Description::parse(&body).ok());
        if let Some(described) = described.filter(|described| call.agreed.allows(described, true)) {
            self.take(tag, &described, true, now);
        }
    }

    /// ACK for a final answer to our INVITE, kept for its repetitions.
    pub(super) fn acknowledge_answer(&mut self, branch: &str, client: &Client, answer: &Message, now: Now) {
        let limits = Limits::of(usize::MAX);
        let Ok(Some(invite)) = wire::read_datagram(client.bytes(), &limits) else { return };
        let Some(mut ack) = ack_of(&invite, answer) else { return };
        if code_of(answer) < 300 {
            let own = format!("z9hG4bK{}", self.token());
            for via in ack.headers.iter_mut().filter(|header| header.name == "Via") {
                via.value = super::message::decode(&via.value).replace(branch, &own).into_bytes();
            }
        }
        let ack = Ack { flow: client.flow(), bytes: wire::write(&ack), until: now.mono + self.times.limit() };
        self.out.push_back(Output::Send(ack.flow, ack.bytes.clone()));
        self.acks.insert(branch.into(), ack);
    }

    /// A final answer came again: so does its ACK. False: it is of no INVITE of ours.
    pub(super) fn acknowledge_again(&mut self, branch: &str, code: u16) -> bool {
        let Some(ack) = self.acks.get(branch).filter(|_| code >= 200) else { return false };
        self.out.push_back(Output::Send(ack.flow, ack.bytes.clone()));
        true
    }
}

/// The status code of a response; 0 for a request.
pub(super) fn code_of(message: &Message) -> u16 {
    match message.start {
        Start::Response { code, .. } => code,
        Start::Request { .. } => 0,
    }
}

/// The ACK of a final answer: of its transaction after a refusal, of the dialog after a 2xx (RFC 3261 §17.1.1.3, §13.2.2.4).
fn ack_of(invite: &Message, answer: &Message) -> Option<Message> {
    let Start::Request { uri, .. } = &invite.start else { return None };
    let first = invite.list("Route").into_iter().next();
    let loose = first.is_none_or(|route| NameAddr::parse(&route).is_some_and(|hop| hop.uri.param("lr").is_some()));
    let target = super::dialog::contact(answer).filter(|_| loose && code_of(answer) < 300);
    let mut ack = Message::new(Start::Request { method: "ACK".into(), uri: target.unwrap_or_else(|| uri.clone()) });
    for header in &invite.headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match () {
            () if is("To") => ack.push("To", answer.raw("To").next().unwrap_or(&header.value).to_vec()),
            () if is("CSeq") => {
                let number = CSeq::parse(&super::message::decode(&header.value))?.number;
                ack.push("CSeq", super::header::print_cseq(number, "ACK"));
            }
            () if ["Via", "Max-Forwards", "Route", "From", "Call-ID"].iter().any(|name| is(name)) => {
                ack.headers.push(header.clone());
            }
            () => {}
        }
    }
    Some(ack)
}

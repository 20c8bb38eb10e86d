//! Provisional answers that the caller acknowledges with PRACK (RFC 3262).

use std::time::Duration;

use crate::time::{Mono, Now};

use super::content;
use super::flow::Flow;
use super::message::Message;
use super::request::Request;
use super::sdp::Description;
use super::settings;
use super::transaction::Key;
use super::uas::{Output, Uas};
use super::wire;

/// What a call knows of its reliable provisional answers; one at a time is unacknowledged.
#[derive(Clone, Debug)]
pub(super) struct Reliable {
    /// RSeq of the last one.
    rseq: u32,
    open: Option<Open>,
}

/// One that was not acknowledged yet.
#[derive(Clone, Debug)]
struct Open {
    flow: Flow,
    bytes: Vec<u8>,
    /// When it goes out again and how long after that; `None` once a final answer was given.
    next: Option<(Mono, Duration)>,
    until: Mono,
    described: Option<Role>,
}

/// What a description in a provisional answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Offer,
    Answer,
}

impl Reliable {
    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let open = self.open.as_ref()?;
        open.next.map(|(at, _)| at.min(open.until))
    }

    /// A 2xx must wait: a description is under way (RFC 3262 §3).
    pub(super) fn holds_back(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.described.is_some())
    }

    /// Our offer waits for its answer.
    pub(super) fn has_offered(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.described == Some(Role::Offer))
    }

    /// A final answer was given: not repeated any longer, but still acknowledged (RFC 3262 §3).
    pub(super) fn settle(&mut self) {
        if let Some(open) = &mut self.open {
            open.next = None;
        }
    }
}

impl Uas {
    /// Whether this caller's provisional answers are reliable; `None`: not.
    pub(super) fn reliable_for(&mut self, invite: &Request) -> Option<Reliable> {
        let has = |name: &str| invite.message.list(name).iter().any(|tag| tag.eq_ignore_ascii_case("100rel"));
        let wanted = has("Require") || (self.settings.reliable == settings::Reliable::Supported && has("Supported"));
        // RFC 3262 §3: chosen from 1 to 2³¹ − 1
        wanted.then(|| Reliable { rseq: self.random(0x7fff_fffe), open: None })
    }

    /// 180, reliably where the caller wants it so. Without an offer in the INVITE it has ours (RFC 3262 §5).
    pub(super) fn send_180(&mut self, tag: &str, now: Now) {
        let Some((key, mut answer)) = self.dialog_answer(tag, None, 180) else { return };
        let (t1, limit) = (self.times.t1, self.times.limit());
        let early = self.settings.early_sdp;
        let Some(call) = self.calls.get_mut(tag) else { return };
        let Some(reliable) = &mut call.reliable else { return self.respond(&key, &answer, now) };
        if reliable.open.is_some() {
            return;
        }
        reliable.rseq += 1;
        answer.push("Require", "100rel");
        answer.push("RSeq", reliable.rseq.to_string());
        let described = match &call.offer {
            _ if call.described => None,
            None => Some((Role::Offer, call.agreed.offer())),
            Some(offer) if early => Some((Role::Answer, call.agreed.answer(offer))),
            Some(_) => None,
        };
        let described = described.map(|(role, body)| {
            answer.push("Content-Type", "application/sdp");
            answer.body = body;
            call.described = true;
            role
        });
        let bytes = wire::write(&answer);
        let Some(flow) = self.servers.answered(&key, 180, &bytes, now) else { return };
        let next = Some((now.mono + t1, t1));
        reliable.open = Some(Open { flow, bytes: bytes.clone(), next, until: now.mono + limit, described });
        self.out.push_back(Output::Send(flow, bytes));
    }

    /// Repeats what is not acknowledged, doubling; after 64·T1 the INVITE is answered 504 (RFC 3262 §3).
    pub(super) fn reliable_due(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        let Some(open) = call.reliable.as_mut().and_then(|reliable| reliable.open.as_mut()) else { return };
        if open.until <= now.mono {
            return self.reject(tag, 504, now);
        }
        if let Some((at, interval)) = open.next.filter(|(at, _)| *at <= now.mono) {
            open.next = Some((at.max(now.mono) + interval * 2, interval * 2));
            self.out.push_back(Output::Send(open.flow, open.bytes.clone()));
        }
    }

    /// PRACK (RFC 3262 §3): 481 when it acknowledges nothing; its description is the answer to ours, or a new offer.
    pub(super) fn prack(&mut self, key: &Key, request: &Request, tag: &str, now: Now) {
        let Some(rack) = request.message.text("RAck").and_then(|text| RAck::parse(&text)) else {
            return self.respond(key, &request.answer(400, tag), now);
        };
        let Some(call) = self.calls.get_mut(tag) else { return };
        let cseq = call.invite.cseq.number;
        let named = |reliable: &&mut Reliable| rack == RAck { rseq: reliable.rseq, cseq, method: "INVITE".into() };
        let Some(open) = call.reliable.as_mut().filter(named).and_then(|reliable| reliable.open.take()) else {
            return self.respond(key, &request.answer(481, tag), now);
        };
        self.counters.acknowledged += 1;
        let body = content::session(&request.message).unwrap_or_default();
        match (open.described, body) {
            (Some(Role::Offer), body) => {
                let answer = body.and_then(|body| Description::parse(&body).ok());
                let Some(answer) = answer.filter(|answer| call.agreed.allows(answer, true)) else {
                    // Without a usable answer there is no session.
                    self.respond(key, &request.answer(488, tag), now);
                    return self.reject(tag, 488, now);
                };
                self.take(tag, &answer, true, now);
                self.respond(key, &request.answer(200, tag), now);
            }
            (_, None) => self.respond(key, &request.answer(200, tag), now),
            (_, Some(body)) => self.offered_early(key, request, tag, &body, now),
        }
        self.answer_if_due(tag, now);
    }

    /// A new offer in PRACK: only after the first exchange (RFC 3262 §5); answered in its 200.
    fn offered_early(&mut self, key: &Key, request: &Request, tag: &str, body: &[u8], now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        if !call.described {
            return self.later(key, request, tag, now);
        }
        let offer = Description::parse(body).ok().filter(|offer| call.agreed.allows(offer, false));
        let Some(offer) = offer else { return self.respond(key, &request.answer(488, tag), now) };
        self.take(tag, &offer, false, now);
        let mut answer = request.answer(200, tag);
        if let Some(call) = self.calls.get_mut(tag) {
            answer.push("Content-Type", "application/sdp");
            answer.body = call.agreed.answer(&offer);
        }
        self.respond(key, &answer, now);
    }

    /// 500 with a Retry-After of 0 to 10 s: another exchange is under way (RFC 3261 §14.2, RFC 3311 §5.2).
    pub(super) fn later(&mut self, key: &Key, request: &Request, tag: &str, now: Now) {
        let mut answer: Message = request.answer(500, tag);
        answer.push("Retry-After", self.random(11).to_string());
        self.respond(key, &answer, now);
    }

    /// A number below `limit`, which is not 0.
    pub(super) fn random(&mut self, limit: u32) -> u32 {
        let token = self.token();
        token.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or_default() % limit
    }
}

/// RAck (RFC 3262 §7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
struct RAck {
    rseq: u32,
    cseq: u32,
    method: String,
}

impl RAck {
    fn parse(text: &str) -> Option<RAck> {
        let mut parts = text.split_ascii_whitespace();
        let (rseq, cseq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let method = parts.next()?.to_string();
        parts.next().is_none().then_some(RAck { rseq, cseq, method })
    }
}

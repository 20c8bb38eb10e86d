//! Requests inside a call: which there is for each, BYE and OPTIONS here; and our question whether the peer still has it.

use std::time::Duration;

use crate::pbx::EndCause;
use crate::time::{Mono, Now};

use super::call::Call;
use super::check;
use super::flow::Flow;
use super::message::Message;
use super::request::Request;
use super::transaction::Key;
use super::uas::{Purpose, Uas};

impl Uas {
    /// The answer to a request of a `sips:` call that comes by anything but TLS (RFC 3261 §26.2.2, RFC 5630 §3.1). It changes nothing in the
    /// call, not even its CSeq: who writes datagrams with the exchange's address must not end it.
    ///
    /// It is 403, which ends the transaction only. 416, 480 and 481 would end the whole call at an exchange that sent one request the wrong
    /// way (RFC 5057 §5.1).
    pub(super) fn unprotected(&self, request: &Request, flow: Flow, tag: &str) -> Option<Message> {
        let call = match request.method.as_str() {
            "CANCEL" => self.calls.of_invite(&Key::of_invite(request)).and_then(|own| self.calls.get(own)),
            _ => request.to.tag().and_then(|own| self.calls.get(own)).filter(|call| call.dialog.matches(request)),
        };
        call.filter(|call| !call.dialog.protects(flow))?;
        let mut answer = request.answer(403, tag);
        answer.push("Warning", "381 kakehashi \"SIPS Required\"");
        Some(answer)
    }

    /// A request that names one of our tags.
    pub(super) fn within_dialog(&mut self, key: &Key, request: Request, flow: Flow, now: Now) {
        let tag = request.to.tag().unwrap_or_default().to_string();
        let Some(call) = self.calls.get_mut(&tag).filter(|call| call.dialog.matches(&request)) else {
            return self.respond(key, &request.answer(481, &tag), now);
        };
        if !call.dialog.advance(request.cseq.number) {
            return self.respond(key, &request.answer(500, &tag), now);
        }
        call.probe_at = probe_at(self.settings.probe_s, now);
        match request.method.as_str() {
            "BYE" => self.bye(key, &request, &tag, now),
            "INVITE" => self.reinvite(key, request, &tag, flow, now),
            "UPDATE" => self.update(key, request, &tag, flow, now),
            "PRACK" => self.prack(key, &request, &tag, now),
            "INFO" => self.info(key, &request, &tag, now),
            _ => {
                let mut answer = request.answer(200, &tag);
                check::describe(&mut answer);
                self.respond(key, &answer, now);
            }
        }
    }

    /// The peer was asked whether it still has the call (RFC 3261 §12.2.1.2).
    pub(super) fn probed(&mut self, tag: &str, code: Option<u16>, now: Now) {
        match code {
            Some(481) => self.end(tag, EndCause::LostSight, now),
            None | Some(408) => self.hang_up(tag, EndCause::LostSight, now),
            Some(_) => {}
        }
    }

    fn bye(&mut self, key: &Key, request: &Request, tag: &str, now: Now) {
        self.respond(key, &request.answer(200, tag), now);
        if self.calls.get(tag).is_some_and(Call::is_answered) {
            self.end(tag, EndCause::Normal, now);
        } else {
            self.terminate(tag, now);
        }
    }

    /// Asks the peer whether it still has the call.
    pub(super) fn probe(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        call.probe_at = probe_at(self.settings.probe_s, now);
        self.send_request(tag, "OPTIONS", Purpose::Probe(tag.into()), now);
    }
}

/// When the peer is to be asked next.
pub(super) fn probe_at(seconds: u32, now: Now) -> Option<Mono> {
    (seconds > 0).then(|| now.mono + Duration::from_secs(u64::from(seconds)))
}

//! Requests inside a call: BYE, OPTIONS, re-INVITE with hold and resume; and our question whether the peer still has it.

use std::time::Duration;

use crate::pbx::{EndCause, Signal};
use crate::time::{Mono, Now};

use super::call::Call;
use super::check;
use super::flow::Flow;
use super::media::Change;
use super::request::Request;
use super::sdp::Description;
use super::transaction::Key;
use super::uas::{Output, Purpose, Uas};

impl Uas {
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
            "INVITE" => self.reinvite(key, &request, &tag, flow, now),
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

    /// A new offer inside the call (RFC 3261 §14.2, RFC 3264 §8); a refused one leaves everything as it was.
    fn reinvite(&mut self, key: &Key, request: &Request, tag: &str, flow: Flow, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        if !call.is_answered() {
            let mut answer = request.answer(500, tag);
            answer.push("Retry-After", "1");
            return self.respond(key, &answer, now);
        }
        if call.unacknowledged.as_ref().is_some_and(|waiting| waiting.offered) {
            return self.respond(key, &request.answer(491, tag), now);
        }
        let offer = if request.message.body.is_empty() {
            None
        } else {
            let offer = Description::parse(&request.message.body).ok().filter(|offer| call.agreed.allows(offer));
            if offer.is_none() {
                return self.respond(key, &request.answer(488, tag), now);
            }
            offer
        };
        call.dialog.refresh(request, flow);
        call.flow = flow;
        let Some((_, mut answer)) = self.dialog_answer(tag, Some(request), 200) else { return };
        if let Some(offer) = &offer {
            self.take(tag, offer, false, now);
        }
        let Some(call) = self.calls.get_mut(tag) else { return };
        answer.body = match &offer {
            Some(offer) => call.agreed.answer(offer),
            None => call.agreed.offer(),
        };
        self.send_2xx(tag, key, &answer, request.cseq.number, offer.is_none(), now);
    }

    /// Brings the media to what the peer described.
    pub(super) fn take(&mut self, tag: &str, description: &Description, is_answer: bool, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        for change in call.agreed.renegotiate(description, is_answer) {
            match change {
                Change::Payloads(stream, formats) => self.out.push_back(Output::Payloads(stream, formats)),
                Change::Moved(stream) => self.out.push_back(Output::Relatch(stream)),
                Change::Gone(stream) => {
                    self.out.push_back(Output::Close(stream));
                    let removed = call.observed(Signal::StreamRemoved(stream), now);
                    self.out.push_back(removed);
                }
            }
        }
        self.tell_hold(tag, now);
    }

    pub(super) fn tell_hold(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        let held = call.agreed.is_held();
        if held != call.held {
            call.held = held;
            let (leg, pbx) = (call.leg.clone(), call.pbx().clone());
            let hold = if held { Signal::LegHeld(leg.clone()) } else { Signal::LegResumed(leg.clone()) };
            let pause = if held { Signal::KeepNothing(leg) } else { Signal::KeepAgain(leg) };
            let told = [call.observed(hold, now), call.observed(pause, now)];
            let wanted = if self.hold_pauses(&pbx) { 2 } else { 1 };
            self.out.extend(told.into_iter().take(wanted));
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

//! New agreements inside a call: re-INVITE and UPDATE with hold, resume, lines that come and go (RFC 3261 §14, RFC 3264 §8, RFC 3311).
//!
//! A line that is new needs a port first; until the media stage has it the request waits here.

use std::time::Duration;

use crate::pbx::{Signal, StreamId};
use crate::time::{Mono, Now};

use super::call::Call;
use super::content;
use super::flow::Flow;
use super::media::{Change, Stream};
use super::message::Message;
use super::request::Request;
use super::sdp::Description;
use super::timer::{Asked, SessionTimer, Verdict, negotiate};
use super::transaction::Key;
use super::uas::{Output, Uas};

/// Time for the media stage to open the streams of new lines.
const OPENING: Duration = Duration::from_secs(5);

/// A re-INVITE or UPDATE whose new lines are being opened.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    key: Key,
    request: Request,
    flow: Flow,
    offer: Description,
    streams: Vec<Stream>,
    pub(super) until: Mono,
}

impl Pending {
    /// The re-INVITE of this transaction waits here.
    pub(super) fn is_invite(&self, key: &Key) -> bool {
        self.key == *key && self.request.method == "INVITE"
    }
}

impl Uas {
    /// A new offer inside the call; a refused one leaves everything as it was.
    pub(super) fn reinvite(&mut self, key: &Key, request: Request, tag: &str, flow: Flow, now: Now) {
        let Some(call) = self.calls.get(tag) else { return };
        if !call.is_answered() || call.pending.is_some() {
            return self.later(key, &request, tag, now);
        }
        let ours_open = call.unacknowledged.as_ref().is_some_and(|waiting| waiting.offered);
        if ours_open || call.has_invited() {
            return self.respond(key, &request.answer(491, tag), now);
        }
        self.renegotiate(key, request, tag, flow, now);
    }

    /// UPDATE (RFC 3311 §5.2), also before the answer.
    pub(super) fn update(&mut self, key: &Key, request: Request, tag: &str, flow: Flow, now: Now) {
        let Some(call) = self.calls.get(tag) else { return };
        let offers = content::session(&request.message).is_ok_and(|body| body.is_some());
        let unanswered = offers && !call.described && call.offer.is_some();
        if call.pending.is_some() || unanswered {
            return self.later(key, &request, tag, now);
        }
        let ours_open = call.unacknowledged.as_ref().is_some_and(|waiting| waiting.offered)
            || call.reliable.as_ref().is_some_and(|reliable| reliable.has_offered())
            || (!call.described && call.offer.is_none())
            || call.has_invited();
        if offers && ours_open {
            return self.respond(key, &request.answer(491, tag), now);
        }
        self.renegotiate(key, request, tag, flow, now);
    }

    fn renegotiate(&mut self, key: &Key, request: Request, tag: &str, flow: Flow, now: Now) {
        if let Some(answer) = self.too_short(&request, tag) {
            return self.respond(key, &answer, now);
        }
        let Some(call) = self.calls.get(tag) else { return };
        let Some(body) = content::session(&request.message).unwrap_or_default() else {
            return self.agree(key, &request, tag, flow, None, now);
        };
        let Some(offer) = Description::parse(&body).ok().filter(|offer| call.agreed.can_take(offer)) else {
            return self.respond(key, &request.answer(488, tag), now);
        };
        let (pbx, policy, mut agreed) = (call.pbx().clone(), call.policy, call.agreed.clone());
        let streams = agreed.additions(&offer, |speaker| self.new_stream(&pbx, tag, speaker, now));
        if let Some(call) = self.calls.get_mut(tag) {
            call.agreed.keys_made_by(&agreed);
        }
        if streams.iter().all(|stream| stream.port.is_some()) {
            if let Some(call) = self.calls.get_mut(tag) {
                call.agreed.add(streams);
            }
            return self.agree(key, &request, tag, flow, Some(&offer), now);
        }
        if request.method == "INVITE" {
            self.respond(key, &request.answer(100, tag), now);
        }
        for stream in &streams {
            let (formats, path) = (stream.formats.clone(), stream.path.clone());
            self.calls.opens(stream.id, tag);
            self.out.push_back(Output::Open { stream: stream.id, formats, path, policy });
        }
        if let Some(call) = self.calls.get_mut(tag) {
            call.pending = Some(Pending { key: *key, request, flow, offer, streams, until: now.mono + OPENING });
        }
    }

    /// The media stage answered for a new line. A line without a port is refused alone. False: the stream is of no pending request.
    pub(super) fn line_opened(&mut self, tag: &str, stream: StreamId, port: &Result<u16, String>, now: Now) -> bool {
        let Some(call) = self.calls.get_mut(tag) else { return false };
        let leg = call.leg.clone();
        let waits = |pending: &&mut Pending| pending.streams.iter().any(|own| own.id == stream);
        let Some(pending) = call.pending.as_mut().filter(waits) else { return false };
        match port {
            Ok(port) => {
                pending.streams.iter_mut().filter(|own| own.id == stream).for_each(|own| own.port = Some(*port))
            }
            Err(reason) => {
                let speaker = pending.streams.iter().find(|own| own.id == stream).map(|own| own.speaker);
                pending.streams.retain(|own| own.id != stream);
                // a recording session has no leg of its own
                let speaker = speaker.filter(|_| call.recording.is_none());
                let failed = speaker.map(|speaker| Signal::StreamFailed { leg, speaker, reason: reason.clone() });
                let failed = failed.map(|signal| call.observed(signal, now));
                self.out.extend(failed);
            }
        }
        let ready = |pending: &Pending| pending.streams.iter().all(|own| own.port.is_some());
        if self.calls.get(tag).is_some_and(|call| call.pending.as_ref().is_some_and(ready)) {
            self.settle_pending(tag, now);
        }
        true
    }

    /// Answers the request that waits, with the lines that have a port by now.
    pub(super) fn settle_pending(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        let Some(mut pending) = call.pending.take() else { return };
        pending.streams.retain(|stream| stream.port.is_some());
        if !call.agreed.keeps_any(&pending.offer) && pending.streams.is_empty() {
            return self.respond(&pending.key, &pending.request.answer(488, tag), now);
        }
        let added = std::mem::take(&mut pending.streams);
        call.agreed.add(added);
        self.agree(&pending.key, &pending.request, tag, pending.flow, Some(&pending.offer), now);
    }

    /// The request that waits is given up with 487: CANCEL or the end of the call (RFC 3261 §9.2, §15.1.2).
    pub(super) fn drop_pending(&mut self, tag: &str, now: Now) {
        let Some(pending) = self.calls.get_mut(tag).and_then(|call| call.pending.take()) else { return };
        let opened = pending.streams.iter().filter(|stream| stream.port.is_some());
        self.out.extend(opened.map(|stream| Output::Close(stream.id)));
        self.respond(&pending.key, &pending.request.answer(487, tag), now);
    }

    /// The 200 to a re-INVITE or UPDATE. Only here the remote target moves (RFC 3261 §12.2.2).
    fn agree(&mut self, key: &Key, request: &Request, tag: &str, flow: Flow, offer: Option<&Description>, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        call.dialog.refresh(request, flow);
        call.flow = flow;
        call.note_allow(&request.message);
        let invited = request.method == "INVITE";
        let Some((_, mut answer)) = self.dialog_answer(tag, Some(request), 200) else { return };
        if let Some(offer) = offer {
            self.take(tag, offer, false, now);
        }
        self.take_metadata(tag, request);
        let Some(call) = self.calls.get_mut(tag) else { return };
        answer.body = match offer {
            Some(offer) => call.agreed.answer(offer),
            None if invited => call.agreed.offer(),
            None => Vec::new(),
        };
        if !answer.body.is_empty() {
            answer.push("Content-Type", "application/sdp");
        }
        if call.is_answered() {
            self.run_timer(tag, request, &mut answer, now);
        }
        if invited {
            self.send_2xx(tag, key, &answer, request.cseq.number, offer.is_none(), now);
        } else {
            self.respond(key, &answer, now);
        }
        self.tell_recording(tag, now);
    }

    /// 422, when the request wants a shorter session interval than we (RFC 4028 §9).
    pub(super) fn too_short(&self, request: &Request, tag: &str) -> Option<Message> {
        let running = self.calls.get(tag).and_then(|call| call.timer);
        let Verdict::TooShort(least) = negotiate(Asked::of(&request.message), self.timer_wish(), running) else {
            return None;
        };
        let mut answer = request.answer(422, tag);
        answer.push("Min-SE", least.to_string());
        Some(answer)
    }

    /// Starts the session timer that the request leads to, and says so in its answer.
    pub(super) fn run_timer(&mut self, tag: &str, request: &Request, answer: &mut Message, now: Now) {
        let wish = self.timer_wish();
        let Some(call) = self.calls.get_mut(tag) else { return };
        let verdict = negotiate(Asked::of(&request.message), wish, call.timer);
        let Verdict::On { interval, refresher, required } = verdict else {
            call.timer = None;
            return;
        };
        let timer = SessionTimer::start(interval, refresher, now);
        answer.push("Session-Expires", timer.print_answer());
        if required {
            answer.push("Require", "timer");
        }
        call.timer = Some(timer);
    }

    /// Brings the media to what the peer described.
    pub(super) fn take(&mut self, tag: &str, description: &Description, is_answer: bool, now: Now) {
        let Some(call) = self.calls.get_mut(tag) else { return };
        let (told, flow) = (call.is_answered() && call.recording.is_none(), call.flow);
        let changes = call.agreed.renegotiate(description, is_answer);
        let has_sdes = call.agreed.has_sdes();
        self.count_keys(has_sdes, flow);
        let Some(call) = self.calls.get_mut(tag) else { return };
        for change in changes {
            match change {
                Change::Payloads(stream, formats) => self.out.push_back(Output::Payloads(stream, formats)),
                Change::Path(stream, path) => self.out.push_back(Output::Path(stream, path)),
                Change::New(stream, speaker) => {
                    let added = Signal::StreamAdded { leg: call.leg.clone(), stream, speaker };
                    let added = told.then(|| call.observed(added, now));
                    self.out.extend(added);
                }
                Change::Gone(stream) => {
                    self.out.push_back(Output::Close(stream));
                    let removed = told.then(|| call.observed(Signal::StreamRemoved(stream), now));
                    self.out.extend(removed);
                }
            }
        }
        self.tell_hold(tag, now);
    }

    pub(super) fn tell_hold(&mut self, tag: &str, now: Now) {
        let is_call = |call: &&mut Call| call.is_answered() && call.recording.is_none();
        let Some(call) = self.calls.get_mut(tag).filter(is_call) else { return };
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
}

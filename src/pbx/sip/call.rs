//! One call to the bridge: INVITE to 180 to 200 to ACK to BYE, and every way in which that ends early.

use std::net::IpAddr;
use std::time::Duration;

use crate::pbx::{CallKey, EndCause, Fidelity, Identity, LegKey, Observed, PbxId, Signal, Speaker, StreamId};
use crate::time::{Mono, Now};

use super::check;
use super::dialog::Dialog;
use super::flow::Flow;
use super::header::print_contact;
use super::identity;
use super::inside::probe_at;
use super::media::Agreed;
use super::message::Message;
use super::request::Request;
use super::sdp::{Description, Place};
use super::transaction::Key;
use super::uas::{Output, Policy, Purpose, Uas};
use super::wire;

/// Time for the media stage to open the streams.
const OPENING: Duration = Duration::from_secs(5);
/// A ringing call says so again, so that no proxy gives it up (RFC 3261 §13.3.1.1).
const RING_AGAIN: Duration = Duration::from_secs(60);

/// A call; its name is our tag.
#[derive(Clone, Debug)]
pub(super) struct Call {
    key: CallKey,
    pub(super) leg: LegKey,
    pub(super) dialog: Dialog,
    pub(super) flow: Flow,
    /// The INVITE that opened it.
    invite: Request,
    invite_key: Key,
    policy: Policy,
    phase: Phase,
    /// The peer's offer; `None`: we offer.
    offer: Option<Description>,
    pub(super) agreed: Agreed,
    pub(super) held: bool,
    pub(super) unacknowledged: Option<Unacknowledged>,
    pub(super) probe_at: Option<Mono>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Ports are being opened.
    Opening { until: Mono },
    /// 180 was sent.
    Ringing { answer_at: Mono, again_at: Mono },
    /// 200 was sent.
    Answered,
}

/// A 2xx whose ACK has not come; it is repeated over TCP too (RFC 3261 §13.3.1.4).
#[derive(Clone, Debug)]
pub(super) struct Unacknowledged {
    flow: Flow,
    bytes: Vec<u8>,
    cseq: u32,
    next: Mono,
    interval: Duration,
    until: Mono,
    /// Our offer is in it, the answer comes in the ACK.
    pub(super) offered: bool,
}

impl Call {
    pub(super) fn deadline(&self) -> Option<Mono> {
        let phase = match self.phase {
            Phase::Opening { until } => Some(until),
            Phase::Ringing { answer_at, again_at } => Some(answer_at.min(again_at)),
            Phase::Answered => self.probe_at.filter(|_| self.unacknowledged.is_none()),
        };
        let ack = self.unacknowledged.as_ref().map(|waiting| waiting.next.min(waiting.until));
        phase.into_iter().chain(ack).min()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.phase == Phase::Answered
    }

    /// Told of, that is: 180 was sent.
    fn is_known(&self) -> bool {
        !matches!(self.phase, Phase::Opening { .. })
    }

    pub(super) fn pbx(&self) -> &PbxId {
        &self.key.pbx
    }

    pub(super) fn observed(&self, signal: Signal, at: Now) -> Output {
        Output::Signal(Observed { call: self.key.clone(), at, signal })
    }
}

impl Uas {
    /// A new call: its ports are asked for, then it rings.
    pub(super) fn invite(&mut self, pbx: &PbxId, key: Key, invite: Request, flow: Flow, tag: String, now: Now) {
        let place = Place { host: self.host(flow), session: now.wall.0.unsigned_abs(), version: 1 };
        let (offer, agreed) = if invite.message.body.is_empty() {
            let stream = self.new_stream(pbx, &tag, Speaker::Caller, now);
            (None, Some(Agreed::of_nothing(place, stream)))
        } else {
            let offer = Description::parse(&invite.message.body).ok();
            let open = |offer: &Description| {
                Agreed::of_offer(offer, place, |speaker| self.new_stream(pbx, &tag, speaker, now))
            };
            let agreed = offer.as_ref().and_then(open);
            (offer, agreed)
        };
        let Some(mut agreed) = agreed else {
            return self.respond(&key, &invite.answer(488, &tag), now);
        };
        self.respond(&key, &invite.answer(100, &tag), now);
        let policy = (self.policy)(&self.called(pbx, &invite));
        if !policy.record && !policy.transcribe {
            agreed.deafen();
        }
        let ready = agreed.is_ready();
        for stream in agreed.heard() {
            self.out.push_back(Output::Open { stream: stream.id, formats: stream.formats.clone(), policy });
        }
        let call = Call {
            key: CallKey { pbx: pbx.clone(), key: self.call_key(pbx, &invite) },
            leg: LegKey(tag.clone()),
            dialog: Dialog::of_invite(&invite, &tag, flow),
            flow,
            invite,
            invite_key: key,
            policy,
            phase: Phase::Opening { until: now.mono + OPENING },
            offer,
            agreed,
            held: false,
            unacknowledged: None,
            probe_at: None,
        };
        self.calls.insert(tag.clone(), call);
        if ready {
            self.ring(&tag, now);
        }
    }

    /// The media stage answered.
    pub(super) fn stream_opened(&mut self, stream: StreamId, port: Result<u16, String>, now: Now) {
        let owner = self.calls.iter_mut().find(|(_, call)| call.agreed.streams.iter().any(|own| own.id == stream));
        let Some((tag, call)) = owner.filter(|(_, call)| !call.is_known()) else {
            if port.is_ok() {
                self.out.push_back(Output::Close(stream));
            }
            return;
        };
        let tag = tag.clone();
        match port {
            Ok(port) => {
                call.agreed.opened(stream, port);
                if call.agreed.is_ready() {
                    self.ring(&tag, now);
                }
            }
            Err(_) => self.turn_away(&tag, now),
        }
    }

    /// CANCEL: the INVITE, if it still rings, ends with 487 (RFC 3261 §9.2).
    pub(super) fn cancel(&mut self, key: &Key, request: &Request, tag: &str, now: Now) {
        let invite = Key::of_invite(request);
        let found = self.calls.iter().find(|(_, call)| call.invite_key == invite).map(|(tag, _)| tag.clone());
        match found {
            Some(own) => {
                self.respond(key, &request.answer(200, &own), now);
                self.terminate(&own, now);
            }
            None if self.servers.repeat(&invite) != super::transaction::Repeat::New => {
                self.respond(key, &request.answer(200, tag), now)
            }
            None => self.respond(key, &request.answer(481, tag), now),
        }
    }

    /// ACK of a 2xx; with the answer to our offer, if we made one.
    pub(super) fn acknowledge(&mut self, ack: &Request, now: Now) {
        let tag = ack.to.tag().unwrap_or_default().to_string();
        let Some(call) = self.calls.get_mut(&tag).filter(|call| call.dialog.matches(ack)) else {
            self.counters.stray += 1;
            return;
        };
        let Some(waiting) = call.unacknowledged.take_if(|waiting| waiting.cseq == ack.cseq.number) else { return };
        if !waiting.offered {
            return;
        }
        let answer = Description::parse(&ack.message.body).ok().filter(|answer| call.agreed.allows(answer));
        match answer {
            Some(answer) => self.take(&tag, &answer, true, now),
            // Without a usable answer there is no session (RFC 3261 §13.3.1.4 and §14.2).
            None => self.hang_up(&tag, EndCause::Failed, now),
        }
    }

    /// What is due in the calls.
    pub(super) fn calls_timeout(&mut self, now: Now) {
        let due = |call: &Call| call.deadline().is_some_and(|at| at <= now.mono);
        let tags: Vec<String> = self.calls.iter().filter(|(_, call)| due(call)).map(|(tag, _)| tag.clone()).collect();
        for tag in tags {
            let Some(call) = self.calls.get_mut(&tag) else { continue };
            match call.phase {
                Phase::Opening { .. } => self.turn_away(&tag, now),
                Phase::Ringing { answer_at, .. } if answer_at <= now.mono => self.answer(&tag, now),
                Phase::Ringing { answer_at, .. } => {
                    call.phase = Phase::Ringing { answer_at, again_at: now.mono + RING_AGAIN };
                    self.send_180(&tag, now);
                }
                Phase::Answered if call.unacknowledged.is_some() => self.repeat_2xx(&tag, now),
                Phase::Answered => self.probe(&tag, now),
            }
        }
    }

    /// The end of the bridge for every call.
    pub(super) fn stop_calls(&mut self, now: Now) {
        let tags: Vec<String> = self.calls.keys().cloned().collect();
        for tag in tags {
            let Some(call) = self.calls.get(&tag) else { continue };
            if call.is_answered() {
                self.send_bye(&tag, now);
            } else {
                let (invite, key) = (call.invite.clone(), call.invite_key);
                let answer = self.busy(&invite, &tag);
                self.respond(&key, &answer, now);
            }
            self.close_streams(&tag, now);
            self.calls.remove(&tag);
        }
    }

    /// A key that no running call of the exchange has.
    fn call_key(&self, pbx: &PbxId, invite: &Request) -> String {
        let taken = |name: &str| self.calls.values().any(|call| call.key.key == name && call.key.pbx == *pbx);
        match invite.from.tag() {
            Some(from) if taken(&invite.call_id) => format!("{};from-tag={from}", invite.call_id),
            _ => invite.call_id.clone(),
        }
    }

    fn ring(&mut self, tag: &str, now: Now) {
        let Some((caller, called)) = self.calls.get(tag).map(|call| self.identify(call)) else { return };
        let Some(call) = self.calls.get_mut(tag) else { return };
        let answer_at = now.mono + Duration::from_millis(call.policy.answer_after_ms);
        call.phase = Phase::Ringing { answer_at, again_at: now.mono + RING_AGAIN };
        let appeared = Signal::CallAppeared {
            caller,
            called: called.clone(),
            keys: identity::keys(&call.invite),
            fidelity: Fidelity::OwnLeg,
        };
        let leg = call.leg.clone();
        let offered = Signal::LegAppeared { leg: leg.clone(), address: called, queue: None };
        let signals = [appeared, offered, Signal::LegRinging(leg)].map(|signal| call.observed(signal, now));
        self.counters.calls += 1;
        self.out.extend(signals);
        self.send_180(tag, now);
        if answer_at <= now.mono {
            self.answer(tag, now);
        }
    }

    /// Who calls, and which line.
    fn identify(&self, call: &Call) -> (Identity, String) {
        let pbx = &call.key.pbx;
        (self.caller(pbx, &call.invite), self.called(pbx, &call.invite))
    }

    fn send_180(&mut self, tag: &str, now: Now) {
        let Some((key, answer)) = self.dialog_answer(tag, None, 180) else { return };
        self.respond(&key, &answer, now);
    }

    /// 200 with our description.
    fn answer(&mut self, tag: &str, now: Now) {
        let Some((key, mut answer)) = self.dialog_answer(tag, None, 200) else { return };
        let Some(call) = self.calls.get_mut(tag) else { return };
        call.phase = Phase::Answered;
        call.probe_at = probe_at(self.settings.probe_s, now);
        let offer = call.offer.take();
        answer.body = match &offer {
            Some(offer) => call.agreed.answer(offer),
            None => call.agreed.offer(),
        };
        let mut signals = vec![Signal::LegAnswered(call.leg.clone())];
        for stream in call.agreed.heard() {
            let (leg, speaker) = (call.leg.clone(), stream.speaker);
            signals.push(Signal::StreamAdded { leg, stream: stream.id, speaker });
        }
        let told = signals.into_iter().map(|signal| call.observed(signal, now));
        self.out.extend(told);
        let cseq = call.invite.cseq.number;
        self.send_2xx(tag, &key, &answer, cseq, offer.is_none(), now);
        self.tell_hold(tag, now);
    }

    /// A final answer that is repeated until its ACK.
    pub(super) fn send_2xx(&mut self, tag: &str, key: &Key, answer: &Message, cseq: u32, offered: bool, now: Now) {
        let bytes = wire::write(answer);
        let Some(flow) = self.servers.answered(key, 200, &bytes, now) else { return };
        let (t1, limit) = (self.times.t1, self.times.limit());
        if let Some(call) = self.calls.get_mut(tag) {
            let (next, until) = (now.mono + t1, now.mono + limit);
            let bytes = bytes.clone();
            call.unacknowledged = Some(Unacknowledged { flow, bytes, cseq, next, interval: t1, until, offered });
        }
        self.out.push_back(Output::Send(flow, bytes));
    }

    fn repeat_2xx(&mut self, tag: &str, now: Now) {
        let Some(waiting) = self.calls.get_mut(tag).and_then(|call| call.unacknowledged.as_mut()) else { return };
        if waiting.until <= now.mono {
            return self.hang_up(tag, EndCause::Failed, now);
        }
        waiting.interval = self.times.next(waiting.interval);
        waiting.next = now.mono + waiting.interval;
        self.out.push_back(Output::Send(waiting.flow, waiting.bytes.clone()));
    }

    /// An answer that makes or refreshes the dialog: Record-Route, Contact, Allow.
    pub(super) fn dialog_answer(&self, tag: &str, request: Option<&Request>, code: u16) -> Option<(Key, Message)> {
        let call = self.calls.get(tag)?;
        let request = request.unwrap_or(&call.invite);
        let mut answer = request.answer(code, tag);
        for route in request.message.raw("Record-Route") {
            answer.push("Record-Route", route.to_vec());
        }
        let (host, local) = (self.host(call.flow), call.flow.local);
        answer.push("Contact", print_contact("kakehashi", &host, local.port(), call.flow.transport.name()));
        answer.push("Allow", check::ALLOW);
        if code == 200 {
            answer.push("Content-Type", "application/sdp");
        }
        Some((call.invite_key, answer))
    }

    /// The caller gave up while it rang: 487.
    pub(super) fn terminate(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get(tag).filter(|call| !call.is_answered()) else { return };
        let (key, answer) = (call.invite_key, call.invite.answer(487, tag));
        self.respond(&key, &answer, now);
        self.end(tag, EndCause::Cancelled, now);
    }

    /// No port: the exchange may try elsewhere.
    fn turn_away(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get(tag) else { return };
        let (key, invite) = (call.invite_key, call.invite.clone());
        let answer = self.busy(&invite, tag);
        self.respond(&key, &answer, now);
        self.end(tag, EndCause::Failed, now);
    }

    fn send_bye(&mut self, tag: &str, now: Now) {
        self.send_request(tag, "BYE", Purpose::Bye, now);
    }

    pub(super) fn send_request(&mut self, tag: &str, method: &str, purpose: Purpose, now: Now) {
        let branch = format!("z9hG4bK{}", self.token());
        let Some(call) = self.calls.get(tag) else { return };
        let (mut dialog, host, flow) = (call.dialog.clone(), self.host(call.flow), call.flow);
        let trusted = |address: IpAddr| self.pbx_of(address).is_some();
        let (mut message, to) = dialog.request(method, &branch, &host, trusted);
        message.push("Contact", print_contact("kakehashi", &host, flow.local.port(), flow.transport.name()));
        if let Some(call) = self.calls.get_mut(tag) {
            call.dialog = dialog;
        }
        self.ask(&message, branch, to, purpose, now);
    }

    /// We hang up.
    pub(super) fn hang_up(&mut self, tag: &str, cause: EndCause, now: Now) {
        self.send_bye(tag, now);
        self.end(tag, cause, now);
    }

    /// The one way a call ends for the hub.
    pub(super) fn end(&mut self, tag: &str, cause: EndCause, now: Now) {
        self.close_streams(tag, now);
        let Some(call) = self.calls.remove(tag) else { return };
        if call.is_known() {
            self.out.push_back(call.observed(Signal::LegEnded(call.leg.clone(), cause), now));
            self.out.push_back(call.observed(Signal::CallEnded(cause), now));
        }
    }

    fn close_streams(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get(tag) else { return };
        for stream in call.agreed.heard().iter().filter(|stream| stream.port.is_some()) {
            self.out.push_back(Output::Close(stream.id));
            if call.is_answered() {
                self.out.push_back(call.observed(Signal::StreamRemoved(stream.id), now));
            }
        }
    }
}

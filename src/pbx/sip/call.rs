//! One call to the bridge: INVITE to 180 to 200 to ACK to BYE, and every way in which that ends early.

use std::time::Duration;

use crate::pbx::{CallKey, EndCause, Fidelity, Identity, LegKey, Observed, PbxId, Signal, Speaker, StreamId};
use crate::time::{Mono, Now};

use super::content;
use super::dialog::Dialog;
use super::flow::Flow;
use super::identity;
use super::inside::probe_at;
use super::media::{Agreed, Purpose};
use super::message::Message;
use super::recording::Recording;
use super::refresh::Refreshing;
use super::reliable::Reliable;
use super::renegotiate::Pending;
use super::request::Request;
use super::sdp::{Description, Place};
use super::timer::SessionTimer;
use super::transaction::Key;
use super::uas::{Output, Policy, Uas};
use super::wire;

/// Time for the media stage to open the streams.
const OPENING: Duration = Duration::from_secs(5);
/// A ringing call says so again, so that no proxy gives it up (RFC 3261 §13.3.1.1) …
const RING_AGAIN: Duration = Duration::from_secs(60);
/// … less often where it is acknowledged (RFC 3262 §3).
const RING_AGAIN_RELIABLY: Duration = Duration::from_secs(150);

/// A call; its name is our tag.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) key: CallKey,
    pub(super) leg: LegKey,
    pub(super) dialog: Dialog,
    pub(super) flow: Flow,
    /// The INVITE that opened it.
    pub(super) invite: Request,
    pub(super) invite_key: Key,
    pub(super) policy: Policy,
    phase: Phase,
    /// The peer's offer; `None`: we offer.
    pub(super) offer: Option<Description>,
    /// The first exchange of descriptions is done, or under way in a provisional answer.
    pub(super) described: bool,
    pub(super) agreed: Agreed,
    pub(super) held: bool,
    pub(super) unacknowledged: Option<Unacknowledged>,
    pub(super) probe_at: Option<Mono>,
    /// For a caller whose provisional answers are reliable.
    pub(super) reliable: Option<Reliable>,
    /// A re-INVITE or UPDATE that waits for ports.
    pub(super) pending: Option<Pending>,
    pub(super) timer: Option<SessionTimer>,
    pub(super) refreshing: Refreshing,
    /// It records other calls; what is told is told of those.
    pub(super) recording: Option<Recording>,
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
            Phase::Ringing { again_at, .. } if self.is_held_back() => Some(again_at),
            Phase::Ringing { answer_at, again_at } => Some(answer_at.min(again_at)),
            Phase::Answered => self.probe_at.filter(|_| self.unacknowledged.is_none()),
        };
        let ack = self.unacknowledged.as_ref().map(|waiting| waiting.next.min(waiting.until));
        let reliable = self.reliable.as_ref().and_then(Reliable::deadline);
        let pending = self.pending.as_ref().map(|pending| pending.until);
        let timer = self.timer.as_ref().map(SessionTimer::deadline);
        [phase, ack, reliable, pending, timer, self.naming_until()].into_iter().flatten().min()
    }

    /// Until when somebody may still be named in a recording session.
    fn naming_until(&self) -> Option<Mono> {
        self.recording.as_ref().and_then(|recording| recording.naming_until)
    }

    /// The 2xx waits for a PRACK.
    fn is_held_back(&self) -> bool {
        self.reliable.as_ref().is_some_and(Reliable::holds_back)
    }

    pub(super) fn is_answered(&self) -> bool {
        self.phase == Phase::Answered
    }

    fn ring_again(&self) -> Duration {
        if self.reliable.is_some() { RING_AGAIN_RELIABLY } else { RING_AGAIN }
    }

    /// Told of, that is: 180 was sent.
    pub(super) fn is_known(&self) -> bool {
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
        let refused = self.refuse_replaces(&invite, now).map(|code| invite.answer(code, &tag));
        if let Some(answer) = refused.or_else(|| self.too_short(&invite, &tag)) {
            return self.respond(&key, &answer, now);
        }
        let reliable = self.reliable_for(&invite);
        let place = Place { host: self.host(flow), session: now.wall.0.unsigned_abs(), version: 1 };
        let terms = self.terms(flow.peer.ip());
        let call_key = CallKey { pbx: pbx.clone(), key: self.call_key(pbx, &invite) };
        let recording = self.recording_of(pbx, &invite, &call_key);
        let purpose = if recording.is_some() { Purpose::Recording } else { Purpose::Call };
        let body = content::session(&invite.message).unwrap_or_default();
        let (offer, agreed) = if let Some(body) = body {
            let offer = Description::parse(&body).ok();
            let open = |offer: &Description| {
                Agreed::of_offer(offer, place, terms, purpose, |speaker| self.new_stream(pbx, &tag, speaker, now))
            };
            let agreed = offer.as_ref().and_then(open);
            (offer, agreed)
        } else {
            let stream = self.new_stream(pbx, &tag, Speaker::Caller, now);
            (None, Some(Agreed::of_nothing(place, terms, purpose, stream)))
        };
        let Some(mut agreed) = agreed else {
            return self.respond(&key, &invite.answer(488, &tag), now);
        };
        self.respond(&key, &invite.answer(100, &tag), now);
        let (recording, called) = recording.unzip();
        let mut policy = (self.policy)(&called.unwrap_or_else(|| self.called(pbx, &invite)));
        if recording.is_some() {
            // the people talk already
            policy.answer_after_ms = 0;
        }
        if !policy.record && !policy.transcribe {
            agreed.deafen();
        }
        let ready = agreed.is_ready();
        for stream in agreed.heard() {
            let (formats, path) = (stream.formats.clone(), stream.path.clone());
            self.calls.opens(stream.id, &tag);
            self.out.push_back(Output::Open { stream: stream.id, formats, path, policy });
        }
        self.count_keys(agreed.has_sdes(), flow);
        let mut call = Call {
            key: call_key,
            leg: LegKey(tag.clone()),
            dialog: Dialog::of_invite(&invite, &tag, flow),
            flow,
            invite,
            invite_key: key,
            policy,
            phase: Phase::Opening { until: now.mono + OPENING },
            offer,
            described: false,
            agreed,
            held: false,
            unacknowledged: None,
            probe_at: None,
            reliable,
            pending: None,
            timer: None,
            refreshing: Refreshing::default(),
            recording,
        };
        call.note_allow(&call.invite.message.clone());
        self.calls.insert(tag.clone(), call);
        if ready {
            self.ring(&tag, now);
        }
    }

    /// The media stage answered.
    pub(super) fn stream_opened(&mut self, stream: StreamId, port: Result<u16, String>, now: Now) {
        let tag = self.calls.opened(stream).unwrap_or_default();
        if self.line_opened(&tag, stream, &port, now) {
            return;
        }
        let waits = |call: &&mut Call| !call.is_known() && call.agreed.streams.iter().any(|own| own.id == stream);
        let Some(call) = self.calls.get_mut(&tag).filter(waits) else {
            if port.is_ok() {
                self.out.push_back(Output::Close(stream));
            }
            return;
        };
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
        let found = self.calls.of_invite(&invite).cloned();
        match found {
            Some(own) => {
                self.respond(key, &request.answer(200, &own), now);
                self.terminate(&own, now);
            }
            None if self.servers.is_open(&invite) => {
                let waits = |call: &Call| call.pending.as_ref().is_some_and(|pending| pending.is_invite(&invite));
                let own = self.calls.iter().find(|(_, call)| waits(call)).map(|(own, _)| own.clone());
                let own = own.unwrap_or_else(|| tag.into());
                self.respond(key, &request.answer(200, &own), now);
                self.drop_pending(&own, now);
            }
            None if self.servers.repeat(&invite) != super::transaction::Repeat::New => {
                self.respond(key, &request.answer(200, tag), now)
            }
            None => self.respond(key, &request.answer(481, tag), now),
        }
    }

    /// ACK of a 2xx; with the answer to our offer, if we made one.
    pub(super) fn acknowledge(&mut self, ack: &Request, flow: Flow, now: Now) {
        let tag = ack.to.tag().unwrap_or_default().to_string();
        let is_ours = |call: &&mut Call| call.dialog.matches(ack) && call.dialog.protects(flow);
        let Some(call) = self.calls.get_mut(&tag).filter(is_ours) else {
            self.counters.stray += 1;
            return;
        };
        let Some(waiting) = call.unacknowledged.take_if(|waiting| waiting.cseq == ack.cseq.number) else { return };
        if !waiting.offered {
            return self.ask_for_snapshot(&tag, now);
        }
        let body = content::session(&ack.message).unwrap_or_default();
        let answer = body.and_then(|body| Description::parse(&body).ok());
        let answer = answer.filter(|answer| call.agreed.allows(answer, true));
        match answer {
            Some(answer) => {
                self.take(&tag, &answer, true, now);
                self.tell_recording(&tag, now);
            }
            // Without a usable answer there is no session (RFC 3261 §13.3.1.4 and §14.2).
            None => self.hang_up(&tag, EndCause::Failed, now),
        }
    }

    /// What is due in the calls.
    pub(super) fn calls_timeout(&mut self, now: Now) {
        let past = |at: Mono| at <= now.mono;
        for tag in self.calls.due(now.mono) {
            let Some(call) = self.calls.get_mut(&tag) else { continue };
            let held_back = call.is_held_back();
            match call.phase {
                Phase::Opening { .. } => self.turn_away(&tag, now),
                _ if call.reliable.as_ref().and_then(Reliable::deadline).is_some_and(past) => {
                    self.reliable_due(&tag, now)
                }
                _ if call.pending.as_ref().is_some_and(|pending| past(pending.until)) => self.settle_pending(&tag, now),
                Phase::Ringing { answer_at, .. } if past(answer_at) && !held_back => self.answer(&tag, now),
                Phase::Ringing { answer_at, .. } => {
                    call.phase = Phase::Ringing { answer_at, again_at: now.mono + call.ring_again() };
                    self.send_180(&tag, now);
                }
                Phase::Answered if call.unacknowledged.as_ref().is_some_and(|w| past(w.next.min(w.until))) => {
                    self.repeat_2xx(&tag, now)
                }
                Phase::Answered if call.timer.as_ref().is_some_and(|timer| past(timer.deadline())) => {
                    self.session_due(&tag, now)
                }
                Phase::Answered if call.naming_until().is_some_and(past) => self.naming_over(&tag, now),
                Phase::Answered => self.probe(&tag, now),
            }
        }
    }

    /// The time to answer may have come while a PRACK was awaited.
    pub(super) fn answer_if_due(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get(tag) else { return };
        if matches!(call.phase, Phase::Ringing { answer_at, .. } if answer_at <= now.mono) && !call.is_held_back() {
            self.answer(tag, now);
        }
    }

    /// A key that no running call of the exchange has.
    fn call_key(&self, pbx: &PbxId, invite: &Request) -> String {
        let key = CallKey { pbx: pbx.clone(), key: invite.call_id.clone() };
        match invite.from.tag() {
            Some(from) if self.calls.has_key(&key) => format!("{};from-tag={from}", invite.call_id),
            _ => key.key,
        }
    }

    fn ring(&mut self, tag: &str, now: Now) {
        let Some((caller, called)) = self.calls.get(tag).map(|call| self.identify(call)) else { return };
        let trust = self.calls.get(tag).is_some_and(|call| self.trusts(&call.key.pbx));
        let Some(call) = self.calls.get_mut(tag) else { return };
        let answer_at = now.mono + Duration::from_millis(call.policy.answer_after_ms);
        call.phase = Phase::Ringing { answer_at, again_at: now.mono + call.ring_again() };
        let appeared = Signal::CallAppeared {
            caller,
            called: called.clone(),
            keys: identity::keys(&call.invite, trust),
            fidelity: Fidelity::OwnLeg,
        };
        let leg = call.leg.clone();
        let offered = Signal::LegAppeared { leg: leg.clone(), address: called, queue: None };
        let signals = [appeared, offered, Signal::LegRinging(leg)].map(|signal| call.observed(signal, now));
        self.counters.calls += 1;
        if call.recording.is_none() {
            self.out.extend(signals);
        }
        self.send_180(tag, now);
        self.answer_if_due(tag, now);
    }

    /// Who calls, and which line.
    fn identify(&self, call: &Call) -> (Identity, String) {
        let pbx = &call.key.pbx;
        (self.caller(pbx, &call.invite), self.called(pbx, &call.invite))
    }

    /// 200 with our description.
    fn answer(&mut self, tag: &str, now: Now) {
        let Some((key, mut answer)) = self.dialog_answer(tag, None, 200) else { return };
        let Some(call) = self.calls.get_mut(tag) else { return };
        call.phase = Phase::Answered;
        call.probe_at = probe_at(self.settings.probe_s, now);
        let described = std::mem::replace(&mut call.described, true);
        let offer = call.offer.take();
        answer.body = match &offer {
            // the exchange was in a provisional answer (RFC 3262 §5)
            _ if described => Vec::new(),
            Some(offer) => call.agreed.answer(offer),
            None => call.agreed.offer(),
        };
        if !described {
            answer.push("Content-Type", "application/sdp");
        }
        if let Some(reliable) = &mut call.reliable {
            reliable.settle();
        }
        let invite = call.invite.clone();
        let mut signals = vec![Signal::LegAnswered(call.leg.clone())];
        for stream in call.agreed.heard() {
            let (leg, speaker) = (call.leg.clone(), stream.speaker);
            signals.push(Signal::StreamAdded { leg, stream: stream.id, speaker });
        }
        let told: Vec<Output> = match call.recording {
            Some(_) => Vec::new(),
            None => signals.into_iter().map(|signal| call.observed(signal, now)).collect(),
        };
        self.out.extend(told);
        let cseq = call.invite.cseq.number;
        self.run_timer(tag, &invite, &mut answer, now);
        self.send_2xx(tag, &key, &answer, cseq, offer.is_none() && !described, now);
        self.tell_hold(tag, now);
        self.begin_recording(tag, now);
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
}

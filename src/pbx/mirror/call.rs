//! Calls: a caller's dialog and those of the telephones that are rung for it, and what the hub is told of them.

use std::time::Duration;

use super::dialog::{Dialog, DialogId, Phase, Side, Way};
use super::machine::{Mirror, Output};
use super::transfer;
use crate::pbx::sip::diverted::called;
use crate::pbx::sip::header::NameAddr;
use crate::pbx::sip::identity;
use crate::pbx::{CallKey, EndCause, Fidelity, Identity, LegKey, Signal, Speaker, StreamId};
use crate::time::Now;

/// How long the end of one dialog waits for that of the other: only both say who hung up.
pub(super) const SETTLE: Duration = Duration::from_millis(500);
/// Ended dialogs are remembered for repeated messages (RFC 3261 §17.1.2.2, 64·T1).
const FORGET: Duration = Duration::from_secs(32);
/// Longest ringing.
const RING_MAX: Duration = Duration::from_secs(900);
/// Most ends of one call.
const LEGS_MAX: usize = 200;
/// How much longer a held call may be silent.
const HELD_LONGER: u32 = 10;

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) key: CallKey,
    pub(super) caller: Option<DialogId>,
    pub(super) called: String,
    pub(super) legs: Vec<Leg>,
    pub(super) ended: bool,
    pub(super) next_leg: u32,
}

/// One telephone of a call.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) dialog: DialogId,
    pub(super) key: LegKey,
    pub(super) address: String,
    pub(super) answered: bool,
    pub(super) ended: bool,
    /// Behind a line to the outside: not listened to.
    pub(super) outside: bool,
    /// Streams that are open, and of which dialog and side.
    pub(super) streams: Vec<(StreamId, Speaker, DialogId, Side)>,
    /// Whose sound cannot be had, as was told.
    pub(super) unheard: Vec<Speaker>,
}

impl Mirror {
    /// The call of a caller's dialog; told the hub with the first telephone.
    pub(super) fn call_of_caller(&mut self, caller: DialogId) -> Option<u64> {
        let known = self.dialogs.get(&caller)?.call;
        known.or_else(|| self.new_call(caller, true))
    }

    /// The call of a telephone for which no caller was found.
    pub(super) fn call_of_telephone(&mut self, telephone: DialogId) -> Option<u64> {
        self.new_call(telephone, false)
    }

    fn new_call(&mut self, id: DialogId, is_caller: bool) -> Option<u64> {
        if self.calls.len() >= self.settings.max_calls as usize {
            return None;
        }
        let caller = self.identity_of(id)?;
        let dialog = self.dialogs.get_mut(&id)?;
        let trust = self.settings.trust_identity
            && (dialog.way == Way::Leaving || self.settings.lines.iter().any(|place| place.has(dialog.peer)));
        let called = called(&dialog.invite, &self.settings.called_from, trust);
        let keys = identity::keys(&dialog.invite, trust);
        let call = self.next_call;
        self.next_call += 1;
        if is_caller {
            dialog.call = Some(call);
        }
        let key = CallKey { pbx: self.pbx.clone(), key: dialog.call_id.clone() };
        let at = dialog.started;
        let is_caller = is_caller.then_some(id);
        let new = Call { key, caller: is_caller, called: called.clone(), legs: Vec::new(), ended: false, next_leg: 0 };
        self.calls.insert(call, new);
        self.tell(call, Signal::CallAppeared { caller, called, keys, fidelity: Fidelity::Full }, at);
        Some(call)
    }

    pub(super) fn identity_of(&self, id: DialogId) -> Option<Identity> {
        let dialog = self.dialogs.get(&id)?;
        Some(identity::caller(&dialog.invite, self.trusts(dialog.way, dialog.peer)))
    }

    /// A telephone is rung for a call.
    pub(super) fn add_leg(&mut self, call: u64, id: DialogId, address: String, now: Now) {
        let Some(own) = self.calls.get_mut(&call).filter(|call| call.legs.len() < LEGS_MAX && !call.ended) else {
            return;
        };
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        dialog.call = Some(call);
        let outside = dialog.way == Way::Leaving && self.settings.lines.iter().any(|place| place.has(dialog.peer));
        let key = LegKey(format!("{}#{}", dialog.call_id, own.next_leg));
        own.next_leg += 1;
        own.legs.push(Leg {
            dialog: id,
            key: key.clone(),
            address: address.clone(),
            answered: false,
            ended: false,
            outside,
            streams: Vec::new(),
            unheard: Vec::new(),
        });
        let keys = identity::keys(&dialog.invite, false);
        self.tell(call, Signal::LegAppeared { leg: key, address, queue: None }, now);
        self.tell(call, Signal::Keys(keys), now);
    }

    /// 18x.
    pub(super) fn rings(&mut self, id: DialogId, now: Now) {
        self.show_unseen(id, now);
        if let Some((call, key)) = self.leg_of(id) {
            self.tell(call, Signal::LegRinging(key), now);
        }
    }

    /// 2xx.
    pub(super) fn answers(&mut self, id: DialogId, now: Now) {
        self.show_unseen(id, now);
        if let Some((call, key)) = self.leg_of(id) {
            if let Some(leg) = self.leg_mut(call, id) {
                leg.answered = true;
            }
            self.tell(call, Signal::LegAnswered(key), now);
        }
        self.media_changed(id, now);
    }

    /// Where telephones are not seen, a caller's dialog is the telephone's too.
    fn show_unseen(&mut self, id: DialogId, now: Now) {
        let entering = self.dialogs.get(&id).is_some_and(|dialog| dialog.way == Way::Entering && dialog.call.is_none());
        if !self.settings.agents_unseen || !entering {
            return;
        }
        match self.new_call(id, true) {
            Some(call) => {
                let address = self.calls.get(&call).map(|call| call.called.clone()).unwrap_or_default();
                self.add_leg(call, id, address, now);
            }
            None => self.counters.calls_refused += 1,
        }
    }

    /// The call and the key of the leg that a dialog is.
    pub(super) fn leg_of(&self, id: DialogId) -> Option<(u64, LegKey)> {
        let call = self.dialogs.get(&id)?.call?;
        let leg = self.calls.get(&call)?.legs.iter().find(|leg| leg.dialog == id && !leg.ended)?;
        Some((call, leg.key.clone()))
    }

    pub(super) fn leg_mut(&mut self, call: u64, id: DialogId) -> Option<&mut Leg> {
        self.calls.get_mut(&call)?.legs.iter_mut().find(|leg| leg.dialog == id && !leg.ended)
    }

    /// The telephone put the caller on hold, or took her back.
    pub(super) fn hold_changed(&mut self, id: DialogId, before: bool, now: Now) {
        let Some(held) = self.dialogs.get(&id).map(|dialog| dialog.held).filter(|held| *held != before) else { return };
        if let Some((call, key)) = self.leg_of(id) {
            self.tell(call, if held { Signal::LegHeld(key) } else { Signal::LegResumed(key) }, now);
        }
    }

    /// The first INVITE was refused or cancelled.
    pub(super) fn refused(&mut self, id: DialogId, cause: EndCause, now: Now) {
        let Some(dialog) = self.dialogs.get(&id) else { return };
        let rang = dialog.ringing.is_some();
        match (self.leg_of(id), dialog.call) {
            (Some((call, _)), _) => {
                let alone = self.calls.get(&call).is_some_and(|call| call.caller.is_none_or(|caller| caller == id));
                self.end_leg(call, id, cause, now);
                if alone {
                    self.end_call(call, cause, now);
                }
            }
            (None, Some(call)) => self.end_call(call, cause, now),
            (None, None) if rang => {
                // it rang somewhere that was not seen, or in a queue
                if let Some(call) = self.new_call(id, true) {
                    self.end_call(call, cause, now);
                }
            }
            (None, None) => self.counters.calls_unanswered += 1,
        }
        self.retire(id, now);
    }

    /// BYE.
    pub(super) fn bye(&mut self, id: DialogId, side: Side, now: Now) {
        let Some(dialog) = self.dialogs.get_mut(&id).filter(|dialog| dialog.is_live()) else { return };
        let by_peer = side == Side::Peer;
        let (call, way) = (dialog.call, dialog.way);
        let Some(call) = call else {
            self.show_lone(id, by_peer, now);
            return self.retire(id, now);
        };
        let is_caller = self.calls.get(&call).is_some_and(|call| call.caller == Some(id));
        let leg = self.leg_of(id).is_some();
        match (is_caller, leg) {
            (true, true) => {
                // one dialog for both: whoever sent BYE hung up
                let caller_went = by_peer == (way == Way::Entering);
                self.end_leg(call, id, if caller_went { EndCause::Cancelled } else { EndCause::Normal }, now);
                self.end_call(call, EndCause::Normal, now);
            }
            (true, false) if by_peer || !self.has_open_leg(call) => self.end_call(call, EndCause::Normal, now),
            (false, true) if by_peer => {
                let passed = transfer::is_passed_on(self.dialogs.get(&id));
                self.finish_leg(call, id, if passed { EndCause::Transferred } else { EndCause::Normal }, now);
            }
            (false, true) if self.caller_is_gone(call) => {
                self.finish_leg(call, id, EndCause::Cancelled, now);
            }
            (_, true) | (true, _) => {
                // the exchange ends it: the other dialog says why
                if let Some(dialog) = self.dialogs.get_mut(&id) {
                    dialog.settles = Some(now.mono + SETTLE);
                }
                return self.unroute_ended(id);
            }
            (false, false) => {}
        }
        self.retire(id, now);
    }

    /// Half a second after the exchange ended a dialog, or a telephone was cancelled.
    fn settled(&mut self, id: DialogId, now: Now) {
        let Some(dialog) = self.dialogs.get(&id) else { return };
        let (call, cancelled) = (dialog.call, dialog.cancelled);
        let passed = transfer::is_passed_on(Some(dialog));
        let Some(call) = call.filter(|_| dialog.is_live()) else { return };
        if let Some(cause) = cancelled {
            return self.refused(id, cause, now);
        }
        if self.leg_of(id).is_some() {
            self.finish_leg(call, id, if passed { EndCause::Transferred } else { EndCause::Cancelled }, now);
        } else {
            self.end_call(call, EndCause::Normal, now);
        }
        self.retire(id, now);
    }

    /// The end of an answered telephone; the call goes on while the caller is there.
    fn finish_leg(&mut self, call: u64, id: DialogId, cause: EndCause, now: Now) {
        if cause == EndCause::Transferred {
            self.pass_on(call, id, now);
        }
        self.end_leg(call, id, cause, now);
        if self.caller_is_gone(call) && !self.has_open_leg(call) {
            self.end_call(call, if cause == EndCause::Transferred { cause } else { EndCause::Normal }, now);
        } else {
            self.ensure_streams(call, now);
        }
    }

    fn caller_is_gone(&self, call: u64) -> bool {
        let caller = self.calls.get(&call).and_then(|call| call.caller).and_then(|caller| self.dialogs.get(&caller));
        caller.is_none_or(|caller| !caller.is_live() || caller.settles.is_some())
    }

    fn has_open_leg(&self, call: u64) -> bool {
        self.calls.get(&call).is_some_and(|call| call.legs.iter().any(|leg| leg.answered && !leg.ended))
    }

    /// The one way a leg ends.
    pub(super) fn end_leg(&mut self, call: u64, id: DialogId, cause: EndCause, now: Now) {
        self.close_streams(call, id, now);
        let Some(leg) = self.leg_mut(call, id) else { return };
        leg.ended = true;
        let key = leg.key.clone();
        self.tell(call, Signal::LegEnded(key, cause), now);
    }

    /// The one way a call ends.
    pub(super) fn end_call(&mut self, call: u64, cause: EndCause, now: Now) {
        let Some(own) = self.calls.get_mut(&call).filter(|call| !call.ended) else { return };
        own.ended = true;
        let open: Vec<DialogId> = own.legs.iter().filter(|leg| !leg.ended).map(|leg| leg.dialog).collect();
        let caller = own.caller;
        // first, so that the model knows which legs were open when the call ended
        self.tell(call, Signal::CallEnded(cause), now);
        for id in open {
            self.close_streams(call, id, now);
            self.retire(id, now);
        }
        if let Some(caller) = caller {
            self.retire(caller, now);
        }
        self.calls.remove(&call);
    }

    /// A caller whose call was answered by the exchange and reached no telephone that was seen: told afterwards, and not as if nothing had
    /// happened.
    fn show_lone(&mut self, id: DialogId, by_peer: bool, now: Now) {
        let Some(dialog) = self.dialogs.get(&id).filter(|dialog| dialog.way == Way::Entering) else { return };
        let (ringing, answered) = (dialog.ringing, dialog.answered);
        let Some(answered) = answered else { return };
        let Some(call) = self.new_call(id, true) else { return self.counters.calls_refused += 1 };
        let address = self.calls.get(&call).map(|call| call.called.clone()).unwrap_or_default();
        self.add_leg(call, id, address, ringing.unwrap_or(answered));
        let Some((_, leg)) = self.leg_of(id) else { return };
        self.tell(call, Signal::LegAnswered(leg.clone()), answered);
        for speaker in [Speaker::Caller, Speaker::Agent] {
            let reason = "no telephone was seen in this call, and nobody listened; where telephones speak no SIP, set agents_unseen";
            self.tell(call, Signal::StreamFailed { leg: leg.clone(), speaker, reason: reason.into() }, answered);
        }
        self.end_leg(call, id, if by_peer { EndCause::Cancelled } else { EndCause::Normal }, now);
        self.end_call(call, EndCause::Normal, now);
    }

    /// A dialog is over; it is remembered for a while.
    pub(super) fn retire(&mut self, id: DialogId, now: Now) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        dialog.phase = Phase::Ended;
        dialog.settles = None;
        dialog.until = dialog.until.or(Some(now.mono + FORGET));
        self.relay.drop_dialog(id);
        self.unroute_ended(id);
    }

    /// Everything that is due.
    pub(super) fn pass_time(&mut self, now: Now) {
        let mut due: Vec<DialogId> = Vec::new();
        for (id, dialog) in &self.dialogs {
            let silent = self.silence_of(dialog);
            let lost = dialog.is_live() && now.mono.since(dialog.seen) >= silent;
            let settles = dialog.settles.is_some_and(|at| at <= now.mono);
            let forget = dialog.until.is_some_and(|at| at <= now.mono);
            if lost || settles || forget || dialog.has_moved() {
                due.push(*id);
            }
        }
        due.sort_unstable();
        for id in due {
            let Some(dialog) = self.dialogs.get_mut(&id) else { continue };
            if dialog.forget_moved(now.mono) {
                self.reroute(id);
            }
            let Some(dialog) = self.dialogs.get(&id) else { continue };
            if dialog.until.is_some_and(|at| at <= now.mono) {
                self.forget(id);
            } else if dialog.settles.is_some_and(|at| at <= now.mono) {
                self.settled(id, now);
            } else if dialog.is_live() && now.mono.since(dialog.seen) >= self.silence_of(dialog) {
                self.lose(id, now);
            }
        }
    }

    /// After how long without a message or sound a dialog is lost from sight.
    fn silence_of(&self, dialog: &Dialog) -> Duration {
        let silent = Duration::from_secs(u64::from(self.settings.silent_s));
        match dialog.phase {
            Phase::Answered if dialog.held => silent * HELD_LONGER,
            Phase::Answered => silent,
            _ => RING_MAX,
        }
    }

    /// A dialog of which nothing is seen any more.
    fn lose(&mut self, id: DialogId, now: Now) {
        let Some(dialog) = self.dialogs.get(&id) else { return };
        match (dialog.call, self.leg_of(id)) {
            (Some(call), Some(_)) => {
                self.end_leg(call, id, EndCause::LostSight, now);
                if self.caller_is_gone(call) && !self.has_open_leg(call) {
                    self.end_call(call, EndCause::LostSight, now);
                }
            }
            (Some(call), None) if self.calls.get(&call).is_some_and(|call| call.caller == Some(id)) => {
                self.end_call(call, EndCause::LostSight, now);
            }
            _ => {}
        }
        self.retire(id, now);
    }

    /// The end of the capture.
    pub(super) fn lose_all(&mut self, now: Now) {
        let mut calls: Vec<u64> = self.calls.keys().copied().collect();
        calls.sort_unstable();
        for call in calls {
            self.end_call(call, EndCause::LostSight, now);
        }
        self.dialogs.clear();
        self.by_call_id.clear();
        self.routes.clear();
    }

    fn forget(&mut self, id: DialogId) {
        let Some(dialog) = self.dialogs.remove(&id) else { return };
        if let Some(all) = self.by_call_id.get_mut(&dialog.call_id) {
            all.retain(|own| *own != id);
            if all.is_empty() {
                self.by_call_id.remove(&dialog.call_id);
            }
        }
    }

    /// Closes what is heard during one leg.
    fn close_streams(&mut self, call: u64, id: DialogId, now: Now) {
        let Some(leg) = self.leg_mut(call, id) else { return };
        for (stream, _, dialog, side) in std::mem::take(&mut leg.streams) {
            if let Some(dialog) = self.dialogs.get_mut(&dialog) {
                *dialog.stream_to_mut(side) = None;
            }
            self.out.push_back(Output::Close(stream));
            self.tell(call, Signal::StreamRemoved(stream), now);
        }
    }
}

/// The user of an address, as an extension.
pub(super) fn user_of(address: &NameAddr) -> String {
    identity::number_of(address).unwrap_or_default()
}

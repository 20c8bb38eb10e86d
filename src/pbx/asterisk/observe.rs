//! From channels to calls: who calls, which telephones ring, who answers, who hears whom, why it ended.

use std::collections::BTreeSet;

use crate::pbx::{Diverted, EndCause, ExternalKey, Fidelity, Identity, KeyKind, LegKey, Signal, Speaker};
use crate::time::{Mono, Now};

use super::ari::{Ari, Purpose, after, is_dialled};
use super::event::{Channel, Dial, State, parse_variable};
use super::identity::{Presentation, REDIRECTING, address, cause, diverted, endpoint, identity};
use super::passing::Parking;
use super::request::{Answer, Method, segment};
use super::world::Role;

/// How long a call waits for the answer about the number's presentation before it appears without a number.
const PRESENTATION_MS: u64 = 500;
/// How long the ends of a call may outlive its caller.
const GRACE_MS: u64 = 2_000;
/// Most ends of one call.
const LEGS_MAX: usize = 500;
/// Longest token, in characters.
const TOKEN_CHARS_MAX: usize = 256;

/// One call.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    /// Last sight of the caller's channel.
    pub(super) caller: Channel,
    pub(super) called: String,
    pub(super) queue: Option<String>,
    pub(super) legs: Vec<Leg>,
    presentation: Presentation,
    diverted: Option<Diverted>,
    /// The call concerns somebody: it is told as soon as the presentation is known.
    wanted: bool,
    /// When it appears without a number.
    waits: Option<Mono>,
    told: Option<Identity>,
    /// Signals that wait for the call to appear, with their times.
    held_back: Vec<(Signal, Now)>,
    keys: BTreeSet<ExternalKey>,
    /// The caller hung up by herself.
    hung_up: bool,
    answered: bool,
    /// On the way to somebody else, and nobody has answered there yet.
    pub(super) passed_on: bool,
    /// A consultation whose other party speaks with somebody else now.
    pub(super) moved: bool,
    pub(super) parking: Option<Parking>,
    /// The caller's channel still shows the queue that it has left.
    pub(super) left_queue: bool,
    /// The caller is gone: why, and until when the ends may still be there.
    pub(super) gone: Option<(EndCause, Mono)>,
}

/// One end of a call.
#[derive(Clone, Debug)]
pub(super) struct Leg {
    pub(super) id: String,
    /// The endpoint of its channel.
    pub(super) endpoint: String,
    pub(super) address: String,
    /// Behind a line to the outside: not listened to.
    pub(super) outside: bool,
    ringing: bool,
    pub(super) answered: bool,
    pub(super) joined: bool,
    pub(super) held: bool,
    /// Why it will end, when that was told before.
    pub(super) goes: Option<EndCause>,
    /// Media failed for it; not tried again before the next connection.
    pub(super) unheard: bool,
}

impl Call {
    pub(super) fn deadline(&self) -> Option<Mono> {
        let waits = self.waits.filter(|_| self.wanted && self.told.is_none());
        let slot = match self.parking {
            Some(Parking::Awaited(until)) => Some(until),
            _ => None,
        };
        [waits, slot, self.gone.map(|(_, until)| until)].into_iter().flatten().min()
    }

    /// It concerns somebody, so that it is told.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }
}

impl Ari {
    /// A channel was made or changed.
    pub(super) fn channel(&mut self, channel: &Channel, now: Now) {
        if !self.world.note(channel, self.epoch) {
            return;
        }
        match self.world.role(&channel.id).cloned() {
            Some(Role::Unplaced) => self.place(channel, now),
            Some(Role::Caller(key)) => self.caller_changed(&key, channel, now),
            Some(Role::Leg(key)) => self.leg_changed(&key, channel, now),
            _ => {}
        }
    }

    /// The presentation of a caller's number changed.
    pub(super) fn caller_id(&mut self, channel: &Channel, octet: u8, now: Now) {
        self.channel(channel, now);
        if let Some(Role::Caller(key)) = self.world.role(&channel.id).cloned() {
            self.set_presentation(&key, Presentation::of_octet(octet), now);
        }
    }

    /// A dial began or went on.
    pub(super) fn dial(&mut self, dial: &Dial, now: Now) {
        let Dial { caller, peer, status, dialstring, forwarded } = dial;
        if let Some(caller) = caller {
            self.channel(caller, now);
        }
        self.channel(peer, now);
        let Some(caller) = caller else { return };
        if *forwarded {
            self.forwarded(&peer.id);
        }
        if self.world.role(&peer.id) == Some(&Role::Unplaced)
            && let Some(key) = self.key_of(&caller.id)
        {
            self.place_leg(&key, peer, dialstring, now);
        }
        match (self.world.role(&peer.id).cloned(), status.as_str()) {
            (Some(Role::Leg(key)), "RINGING") => self.leg_rings(&key, &peer.id, now),
            (Some(Role::Leg(key)), "ANSWER") => self.leg_answers(&key, &peer.id, now),
            // somebody picked the call up
            (Some(Role::Caller(other)), "ANSWER") => {
                if let Some(key) = self.key_of(&caller.id) {
                    self.join_caller(&other, &key, now);
                }
            }
            _ => {}
        }
    }

    /// A channel is gone; without a cause it was lost from sight.
    pub(super) fn destroyed(&mut self, id: &str, q850: Option<u16>, now: Now) {
        if let Some(resync) = &mut self.resync {
            resync.destroyed(id);
        }
        if self.is_own(id) {
            self.tap_gone(id, now);
        }
        let before = self.world.connected(id);
        let key = self.key_of(id);
        match (self.world.remove(id).map(|seen| seen.role), key) {
            (Some(Role::Leg(key)), _) => self.leg_gone(&key, id, q850, now),
            (Some(Role::Caller(key)), _) => self.caller_gone(&key, q850, now),
            _ => {}
        }
        self.rejoin(&before, now);
    }

    /// Somebody hung up: remembers that it was the caller.
    pub(super) fn hangup_request(&mut self, channel: &Channel, now: Now) {
        self.channel(channel, now);
        if let Some(Role::Caller(key)) = self.world.role(&channel.id).cloned()
            && let Some(call) = self.calls.get_mut(&key)
        {
            call.hung_up = true;
        }
    }

    /// Hold began or ended at one end.
    pub(super) fn hold(&mut self, channel: &Channel, held: bool, now: Now) {
        self.channel(channel, now);
        let Some(Role::Leg(key)) = self.world.role(&channel.id).cloned() else { return };
        let Some(leg) = self.leg_mut(&key, &channel.id) else { return };
        if leg.held != held {
            leg.held = held;
            let leg = LegKey(channel.id.clone());
            self.tell(&key, if held { Signal::LegHeld(leg) } else { Signal::LegResumed(leg) }, now);
        }
    }

    /// A digit was pressed.
    pub(super) fn digit(&mut self, channel: &Channel, digit: char, now: Now) {
        self.channel(channel, now);
        match self.world.role(&channel.id).cloned() {
            Some(Role::Caller(key)) => self.tell(&key, Signal::Digit { speaker: Speaker::Caller, digit }, now),
            Some(Role::Leg(key)) => self.tell(&key, Signal::Digit { speaker: Speaker::Agent, digit }, now),
            _ => {}
        }
    }

    /// The answer about a caller's presentation.
    pub(super) fn presentation_answered(&mut self, key: &str, answer: &Answer, now: Now) {
        let named = answer.body().and_then(|body| parse_variable(body).ok());
        self.set_presentation(key, Presentation::of_name(&named.unwrap_or_default()), now);
    }

    /// The answer about the lines that were dialled before this one.
    pub(super) fn diversion_answered(&mut self, key: &str, answer: &Answer, now: Now) {
        let named = answer.body().and_then(|body| parse_variable(body).ok());
        let Some(call) = self.calls.get_mut(key) else { return };
        call.diverted = diverted(&named.unwrap_or_default());
        self.identified(key, now);
    }

    /// The answer about the token that the caller brings along.
    pub(super) fn token_answered(&mut self, key: &str, answer: &Answer, now: Now) {
        let Some(token) = answer.body().and_then(|body| parse_variable(body).ok()) else { return };
        let token = token.trim();
        let plain = !token.is_empty() && !token.chars().any(char::is_control);
        if plain && token.chars().count() <= TOKEN_CHARS_MAX {
            self.add_key(key, ExternalKey { kind: KeyKind::Token, value: token.into() }, now);
        }
    }

    /// The call that a channel belongs to.
    pub(super) fn key_of(&self, id: &str) -> Option<String> {
        match self.world.role(id)? {
            Role::Caller(key) | Role::Leg(key) | Role::Relay(key) => Some(key.clone()),
            Role::Unplaced | Role::Ignored => None,
        }
    }

    /// Makes a channel an end of a call, unless it is a way to one.
    pub(super) fn place_leg(&mut self, key: &str, peer: &Channel, dialstring: &str, now: Now) {
        if peer.technology() == "Local" {
            for half in self.world.halves(peer) {
                self.world.set_role(&half, Role::Relay(key.into()));
            }
            return;
        }
        if self.settings.own_endpoints.iter().any(|own| own == endpoint(peer)) {
            self.world.set_role(&peer.id, Role::Ignored);
            self.call_id(key, peer, now);
            return;
        }
        let Some(call) = self.calls.get(key).filter(|call| call.legs.len() < LEGS_MAX) else { return };
        let leg = Leg {
            id: peer.id.clone(),
            endpoint: endpoint(peer).into(),
            address: address(peer, dialstring),
            outside: self.settings.outside_endpoints.iter().any(|outside| outside == endpoint(peer)),
            ringing: false,
            answered: false,
            joined: false,
            held: false,
            goes: None,
            unheard: false,
        };
        let queue = call.queue.clone().filter(|_| !call.left_queue);
        self.world.set_role(&peer.id, Role::Leg(key.into()));
        self.add_leg(key, leg, queue, now);
        self.leg_changed(key, peer, now);
    }

    /// Tells a new end of a call, as far as it has come.
    pub(super) fn add_leg(&mut self, key: &str, leg: Leg, queue: Option<String>, now: Now) {
        let (id, address, ringing, answered) = (LegKey(leg.id.clone()), leg.address.clone(), leg.ringing, leg.answered);
        let Some(call) = self.calls.get_mut(key).filter(|call| call.legs.len() < LEGS_MAX) else { return };
        call.legs.push(leg);
        if answered {
            (call.answered, call.passed_on) = (true, false);
        }
        self.want(key, now);
        self.tell(key, Signal::LegAppeared { leg: id.clone(), address, queue }, now);
        if answered {
            self.tell(key, Signal::LegAnswered(id), now);
        } else if ringing {
            self.tell(key, Signal::LegRinging(id), now);
        }
    }

    /// Re-examines which ends hear the caller, and what must be heard.
    pub(super) fn settle(&mut self, key: &str, now: Now) {
        self.adopt(key, now);
        self.look_for_parking(key, now);
        let Some(call) = self.calls.get_mut(key) else { return };
        let with = if call.gone.is_none() { self.world.connected(&call.caller.id) } else { BTreeSet::new() };
        let mut changed = Vec::new();
        for leg in call.legs.iter_mut().filter(|leg| leg.answered) {
            let joined = with.contains(&leg.id);
            if leg.joined != joined {
                leg.joined = joined;
                changed.push((LegKey(leg.id.clone()), joined));
            }
        }
        for (leg, joined) in changed {
            self.tell(key, if joined { Signal::LegJoined(leg) } else { Signal::LegLeft(leg) }, now);
        }
        self.ensure_taps(key, now);
    }

    /// Ends that outlived their caller, callers whose presentation nobody told.
    pub(super) fn calls_timeout(&mut self, now: Now) {
        let due = |call: &Call| call.deadline().is_some_and(|at| at <= now.mono);
        let keys: Vec<String> = self.calls.iter().filter(|(_, call)| due(call)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.parking_timeout(&key, now);
            let Some(call) = self.calls.get_mut(&key) else { continue };
            call.waits = None;
            let late = call.gone.is_some_and(|(_, until)| until <= now.mono);
            let legs: Vec<String> =
                if late { call.legs.iter().map(|leg| leg.id.clone()).collect() } else { Vec::new() };
            for id in legs {
                self.world.set_role(&id, Role::Ignored);
                self.leg_gone(&key, &id, Some(16), now);
            }
            self.appear(&key, now);
            self.finish(&key, late, now);
        }
    }

    /// Ends a call whose caller and ends are gone and whose streams are closed (or at once, when `late`).
    pub(super) fn finish(&mut self, key: &str, late: bool, now: Now) {
        let Some(call) = self.calls.get(key) else { return };
        let Some((cause, _)) = call.gone else { return };
        if !call.legs.is_empty() || (!late && self.taps.values().any(|tap| tap.key == key)) {
            return;
        }
        if call.wanted {
            self.appear(key, now);
            self.tell(key, Signal::CallEnded(cause), now);
        }
        self.calls.remove(key);
    }

    fn place(&mut self, channel: &Channel, now: Now) {
        if channel.technology() == "Local" || self.is_own(&channel.id) || channel.name.is_empty() {
            return;
        }
        let comes_in =
            matches!(channel.state, State::Ring | State::Up) && !is_dialled(channel) && !channel.exten.is_empty();
        if !comes_in {
            return;
        }
        let key = channel.id.clone();
        self.world.set_role(&channel.id, Role::Caller(key.clone()));
        let mut call = Call { caller: channel.clone(), called: channel.exten.clone(), ..Call::default() };
        call.waits = Some(after(now, PRESENTATION_MS));
        for kind in [KeyKind::Linkedid, KeyKind::Uniqueid] {
            call.keys.insert(ExternalKey { kind, value: key.clone() });
        }
        self.calls.insert(key.clone(), call);
        let path = format!("/channels/{}/variable", segment(&channel.id));
        // asked first: what is known when the presentation is, needs no second telling
        let redirecting = vec![("variable", REDIRECTING.into())];
        self.request(Purpose::Diversion(key.clone()), Method::Get, path.clone(), redirecting, None);
        if !self.settings.token_variable.is_empty() {
            let token = vec![("variable", self.settings.token_variable.clone())];
            self.request(Purpose::Token(key.clone()), Method::Get, path.clone(), token, None);
        }
        self.request(
            Purpose::Presentation(key.clone()),
            Method::Get,
            path,
            vec![("variable", "CALLERID(num-pres)".into())],
            None,
        );
        self.caller_changed(&key, channel, now);
    }

    fn caller_changed(&mut self, key: &str, channel: &Channel, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let renamed = (&call.caller.number, &call.caller.display) != (&channel.number, &channel.display);
        call.caller = channel.clone();
        if matches!(call.called.as_str(), "" | "s") && !call.wanted && !channel.exten.is_empty() {
            call.called = channel.exten.clone();
        }
        let queue =
            (channel.app == "Queue").then(|| channel.app_data.split(',').next().unwrap_or_default().to_string());
        let entered = queue.is_some() && call.queue != queue && !call.moved;
        call.queue = queue.clone();
        call.left_queue &= !entered;
        self.call_id(key, channel, now);
        if renamed {
            self.identified(key, now);
        }
        if entered && let Some(queue) = queue {
            self.want(key, now);
            self.tell(key, Signal::Queued { queue }, now);
        }
    }

    fn leg_changed(&mut self, key: &str, channel: &Channel, now: Now) {
        self.call_id(key, channel, now);
        match channel.state {
            State::Ringing => self.leg_rings(key, &channel.id, now),
            State::Up => self.leg_answers(key, &channel.id, now),
            State::Down | State::Ring => {}
        }
    }

    fn leg_rings(&mut self, key: &str, id: &str, now: Now) {
        let Some(leg) = self.leg_mut(key, id).filter(|leg| !leg.ringing && !leg.answered) else { return };
        leg.ringing = true;
        self.tell(key, Signal::LegRinging(LegKey(id.into())), now);
    }

    fn leg_answers(&mut self, key: &str, id: &str, now: Now) {
        let Some(leg) = self.leg_mut(key, id).filter(|leg| !leg.answered) else { return };
        leg.answered = true;
        if let Some(call) = self.calls.get_mut(key) {
            (call.answered, call.passed_on) = (true, false);
        }
        self.tell(key, Signal::LegAnswered(LegKey(id.into())), now);
        self.settle(key, now);
    }

    fn leg_gone(&mut self, key: &str, id: &str, q850: Option<u16>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(at) = call.legs.iter().position(|leg| leg.id == id) else { return };
        let leg = call.legs.remove(at);
        let cause = match q850.map(cause) {
            _ if leg.goes.is_some() => leg.goes.unwrap_or(EndCause::Normal),
            None => EndCause::LostSight,
            // Asterisk takes the agent's channel down first, whoever hung up
            Some(_) if leg.answered && call.hung_up => EndCause::Cancelled,
            Some(_) if leg.answered => EndCause::Normal,
            Some(Some(cause)) => cause,
            Some(None) if call.legs.iter().any(|leg| leg.answered) => EndCause::AnsweredElsewhere,
            Some(None) if call.hung_up => EndCause::Cancelled,
            Some(None) => EndCause::NoAnswer,
        };
        self.tell(key, Signal::LegEnded(LegKey(id.into()), cause), now);
        self.close_taps_of(key, id, now);
        self.ensure_taps(key, now);
        self.finish(key, false, now);
    }

    fn caller_gone(&mut self, key: &str, q850: Option<u16>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let cause = match q850.map(cause) {
            _ if call.moved => EndCause::Transferred,
            None => EndCause::LostSight,
            Some(_) if call.answered && !call.passed_on => EndCause::Normal,
            Some(_) if call.hung_up => EndCause::Cancelled,
            Some(Some(cause)) => cause,
            Some(None) => EndCause::NoAnswer,
        };
        call.gone = Some((cause, after(now, GRACE_MS)));
        self.settle(key, now);
        self.close_taps_of_speaker(key, Speaker::Caller, now);
        self.finish(key, false, now);
    }

    /// Somebody is concerned: the call appears, at once or when the presentation is known.
    pub(super) fn want(&mut self, key: &str, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.wanted = true;
        if call.presentation != Presentation::Unknown || call.waits.is_none_or(|until| until <= now.mono) {
            self.appear(key, now);
        }
    }

    pub(super) fn appear(&mut self, key: &str, now: Now) {
        let Some(call) = self.calls.get_mut(key).filter(|call| call.wanted && call.told.is_none()) else { return };
        let caller = identity(&call.caller, call.presentation, call.diverted.as_ref());
        call.told = Some(caller.clone());
        let (called, keys) = (call.called.clone(), call.keys.iter().cloned().collect());
        let held_back = std::mem::take(&mut call.held_back);
        let at = held_back.first().map_or(now, |(_, at)| *at);
        self.signal(key, Signal::CallAppeared { caller, called, keys, fidelity: Fidelity::Full }, at);
        for (signal, at) in held_back {
            self.signal(key, signal, at);
        }
    }

    fn set_presentation(&mut self, key: &str, presentation: Presentation, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.presentation = presentation;
        call.waits = None;
        if call.wanted {
            self.appear(key, now);
        }
        self.identified(key, now);
    }

    /// Tells the caller's identity when it differs from what was told.
    fn identified(&mut self, key: &str, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let caller = identity(&call.caller, call.presentation, call.diverted.as_ref());
        if call.told.as_ref().is_some_and(|told| *told != caller) {
            call.told = Some(caller.clone());
            self.signal(key, Signal::CallerIdentified(caller), now);
        }
    }

    /// A SIP Call-ID of the call became known.
    fn call_id(&mut self, key: &str, channel: &Channel, now: Now) {
        if channel.protocol_id.is_empty() {
            return;
        }
        self.add_key(key, ExternalKey { kind: KeyKind::CallId, value: channel.protocol_id.clone() }, now);
    }

    fn add_key(&mut self, key: &str, value: ExternalKey, now: Now) {
        let Some(call) = self.calls.get_mut(key).filter(|call| call.keys.len() < LEGS_MAX) else { return };
        if call.keys.insert(value.clone()) && call.told.is_some() {
            self.signal(key, Signal::Keys(vec![value]), now);
        }
    }

    /// Tells a signal, after the call's own appearance.
    pub(super) fn tell(&mut self, key: &str, signal: Signal, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.told.is_some() {
            self.signal(key, signal, now);
        } else if call.wanted && call.held_back.len() < LEGS_MAX {
            call.held_back.push((signal, now));
        }
    }

    pub(super) fn leg_mut(&mut self, key: &str, id: &str) -> Option<&mut Leg> {
        self.calls.get_mut(key)?.legs.iter_mut().find(|leg| leg.id == id)
    }
}

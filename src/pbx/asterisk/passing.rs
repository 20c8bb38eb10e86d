//! Callers who are passed on: transfers, pick-up, parking, forwarding, and channels that change sides when Asterisk joins two calls.
//!
//! What a transfer did is read from who is connected with whom, so that it is found after a lost connection too; Asterisk's own reports
//! (`BridgeBlindTransfer`, `BridgeAttendedTransfer`) add who asked for it and where to.

use std::collections::BTreeSet;

use crate::pbx::{CallKey, EndCause, LegKey, Relation, Signal, TransferKind};
use crate::time::{Mono, Now};

use super::ari::{Ari, after, is_dialled};
use super::event::{Channel, Transfer};
use super::identity::endpoint;
use super::observe::Leg;
use super::world::Role;

/// How long the number of a parking place may come after the caller is in it (or before).
const SLOT_MS: u64 = 500;

/// A caller in a parking place.
#[derive(Clone, Debug)]
pub(super) enum Parking {
    /// The number of the place is awaited until then.
    Awaited(Mono),
    /// It was told.
    Told,
}

/// The number of a parking place that was just taken, for a caller who is not in it yet.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    number: String,
    until: Mono,
}

impl Ari {
    /// A blind transfer (REFER or digits) was accepted by Asterisk.
    pub(super) fn blind_transfer(&mut self, channel: &Channel, exten: &str, now: Now) {
        self.channel(channel, now);
        if let Some(Role::Leg(key)) = self.world.role(&channel.id).cloned() {
            self.pass_on(&key, &channel.id, TransferKind::Blind, exten, now);
        }
    }

    /// An attended transfer was carried out by Asterisk.
    pub(super) fn attended_transfer(&mut self, transfer: &Transfer, now: Now) {
        let Some(Role::Leg(key)) = self.world.role(&transfer.first.id).cloned() else { return };
        let target = match self.world.role(&transfer.second.id).cloned() {
            // the consultation's telephone still rings: the caller takes the place of whoever asked
            Some(Role::Caller(other)) if !transfer.bridged => {
                let legs = self.calls.get(&other).map(|call| call.legs.iter().map(|leg| leg.id.clone()).collect());
                let legs: Vec<String> = legs.unwrap_or_default();
                for id in legs {
                    self.move_leg(&other, &key, &id, now);
                }
                return;
            }
            Some(Role::Caller(other)) => self.calls.get(&other).map(|call| call.called.clone()).unwrap_or_default(),
            _ => String::new(),
        };
        self.pass_on(&key, &transfer.first.id, TransferKind::Attended, &target, now);
    }

    /// A dialled telephone sent the call elsewhere.
    pub(super) fn forwarded(&mut self, id: &str) {
        if let Some(Role::Leg(key)) = self.world.role(id).cloned()
            && let Some(leg) = self.leg_mut(&key, id)
        {
            leg.goes = Some(EndCause::Forwarded);
        }
    }

    /// Channels that are connected with this call's caller and belong elsewhere by now become its ends.
    pub(super) fn adopt(&mut self, key: &str, now: Now) {
        let Some(call) = self.calls.get(key).filter(|call| call.gone.is_none()) else { return };
        let (caller, wanted) = (call.caller.id.clone(), call.is_wanted());
        let with: BTreeSet<String> = self.world.connected(&caller);
        for id in with.iter().filter(|id| **id != caller) {
            match self.world.role(id).cloned() {
                Some(Role::Leg(other)) if other != key && !self.has_its_caller(&other, &with) => {
                    self.move_leg(&other, key, id, now);
                }
                Some(Role::Caller(other)) if other != key && wanted => self.join_caller(&other, key, now),
                Some(Role::Unplaced) => {
                    let channel = self.world.get(id).map(|seen| seen.channel.clone()).unwrap_or_default();
                    if is_dialled(&channel) && channel.technology() != "Local" && !self.is_own(id) {
                        self.place_leg(key, &channel, "", now);
                    }
                }
                _ => {}
            }
        }
    }

    /// Somebody who dialled in (to fetch a parked call, to pick up, into a conference) is an end of a call now, unless that channel
    /// has a call of its own.
    pub(super) fn join_caller(&mut self, other: &str, key: &str, now: Now) {
        if other == key || self.calls.get(other).is_none_or(|call| call.is_wanted()) {
            return;
        }
        let Some(joining) = self.calls.remove(other) else { return };
        self.world.set_role(&joining.caller.id, Role::Unplaced);
        self.place_leg(key, &joining.caller, "", now);
    }

    /// The caller stands in a parking bridge, or no longer does.
    pub(super) fn look_for_parking(&mut self, key: &str, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let parked = call.gone.is_none() && self.world.is_parked(&call.caller.id);
        match (&call.parking, parked) {
            (None, true) => {
                call.parking = Some(Parking::Awaited(after(now, SLOT_MS)));
                (call.passed_on, call.left_queue) = (true, true);
                for leg in call.legs.iter_mut().filter(|leg| leg.goes == Some(EndCause::Transferred)) {
                    leg.goes = Some(EndCause::Parked);
                }
                if let Some(slot) = self.slot.take().filter(|slot| slot.until > now.mono) {
                    self.tell_parked(key, Some(slot.number), now);
                }
            }
            (Some(Parking::Awaited(_)), false) => {
                self.tell_parked(key, None, now);
                if let Some(call) = self.calls.get_mut(key) {
                    call.parking = None;
                }
            }
            (Some(Parking::Told), false) => call.parking = None,
            _ => {}
        }
    }

    /// A parking place was taken.
    pub(super) fn slot_taken(&mut self, number: &str, now: Now) {
        let awaits = |(_, call): &(&String, &super::observe::Call)| matches!(call.parking, Some(Parking::Awaited(_)));
        match self.calls.iter().find(awaits).map(|(key, _)| key.clone()) {
            Some(key) => self.tell_parked(&key, Some(number.into()), now),
            None => self.slot = Some(Slot { number: number.into(), until: after(now, SLOT_MS) }),
        }
    }

    /// The number of the parking place did not come.
    pub(super) fn parking_timeout(&mut self, key: &str, now: Now) {
        let due = |parking: &Parking| matches!(parking, Parking::Awaited(until) if *until <= now.mono);
        if self.calls.get(key).and_then(|call| call.parking.as_ref()).is_some_and(due) {
            self.tell_parked(key, None, now);
        }
    }

    fn tell_parked(&mut self, key: &str, slot: Option<String>, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.parking = Some(Parking::Told);
        let leg = call.legs.iter().find(|leg| leg.goes == Some(EndCause::Parked)).map(|leg| LegKey(leg.id.clone()));
        self.tell(key, Signal::Parked { leg, slot }, now);
    }

    fn pass_on(&mut self, key: &str, id: &str, kind: TransferKind, to: &str, now: Now) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(leg) = call.legs.iter_mut().find(|leg| leg.id == id && leg.answered && leg.goes.is_none()) else {
            return;
        };
        leg.goes = Some(EndCause::Transferred);
        call.passed_on = !call.legs.iter().any(|leg| leg.joined && leg.id != id);
        let to = Some(to.to_string()).filter(|to| !to.is_empty());
        self.tell(key, Signal::Transferred { leg: LegKey(id.into()), kind, to }, now);
    }

    /// An end of the call `other` (a consultation) is connected with the caller of `key` from now on.
    fn move_leg(&mut self, other: &str, key: &str, id: &str, now: Now) {
        let Some(consultation) = self.calls.get_mut(other) else { return };
        let asked_by = endpoint(&consultation.caller).to_string();
        let Some(at) = consultation.legs.iter().position(|leg| leg.id == id) else { return };
        let mut leg = consultation.legs.remove(at);
        (leg.joined, leg.held, leg.goes) = (false, false, None);
        consultation.moved = true;
        self.close_taps_of(other, id, now);
        let by = self.calls.get(key).and_then(|call| {
            let asked = |leg: &&Leg| leg.answered && leg.id != id && leg.endpoint == asked_by;
            call.legs.iter().find(asked).map(|leg| leg.id.clone())
        });
        if let Some(by) = by {
            self.pass_on(key, &by, TransferKind::Attended, &leg.address, now);
        }
        let call = |key: &str| CallKey { pbx: self.pbx.clone(), key: key.into() };
        let linked = |other: CallKey, relation| Signal::Linked { other, relation, kind: TransferKind::Attended };
        let (here, there) = (linked(call(other), Relation::Consultation), linked(call(key), Relation::Origin));
        // both are known outside before one names the other
        self.want(key, now);
        self.appear(other, now);
        self.appear(key, now);
        self.tell(other, there, now);
        self.tell(other, Signal::LegEnded(LegKey(id.into()), EndCause::Transferred), now);
        self.tell(key, here, now);
        self.world.set_role(id, Role::Leg(key.into()));
        self.add_leg(key, leg, None, now);
        self.finish(other, false, now);
    }

    /// After a lost connection: what became of callers whose agent is gone and who are still there.
    pub(super) fn infer_passing(&mut self, listed: &[Channel], there: &BTreeSet<&str>, now: Now) {
        let keys: Vec<String> = self.calls.keys().cloned().collect();
        for key in keys {
            self.adopt(&key, now);
            let Some(call) = self.calls.get_mut(&key) else { continue };
            let Some(caller) = listed.iter().find(|channel| channel.id == call.caller.id) else { continue };
            let parked = self.world.is_parked(&caller.id);
            let elsewhere =
                (caller.exten != call.caller.exten && !caller.exten.is_empty()).then(|| caller.exten.clone());
            let gone = |leg: &&mut Leg| leg.answered && leg.goes.is_none() && !there.contains(leg.id.as_str());
            let Some(leg) = call.legs.iter_mut().find(gone) else { continue };
            if parked {
                leg.goes = Some(EndCause::Parked);
            } else if let Some(to) = elsewhere {
                let id = leg.id.clone();
                self.pass_on(&key, &id, TransferKind::Blind, &to, now);
            }
        }
    }

    /// Whether the caller of a call is in this set, so that its ends are where they belong.
    fn has_its_caller(&self, key: &str, with: &BTreeSet<String>) -> bool {
        self.calls.get(key).is_some_and(|call| call.gone.is_none() && with.contains(&call.caller.id))
    }
}

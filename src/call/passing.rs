//! How a caller is passed on inside one contact: transfers and parking. The transfer and the new leg may be told in either order.

use serde::{Deserialize, Serialize};

use super::LegId;
use super::contact::{Contact, Fact, Leg};
use crate::pbx::{LegKey, TransferKind};

/// A transfer from the moment it is asked for until somebody answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passing {
    /// The leg whose owner passes the caller on.
    pub from: LegId,
    /// With or without a consultation.
    pub kind: TransferKind,
    /// The number that was dialled for it.
    pub to: Option<String>,
    told: bool,
    arrived: bool,
}

/// A caller who waits in a parking place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parked {
    /// The leg of whoever parked her.
    pub from: Option<LegId>,
    /// Where she can be fetched.
    pub slot: Option<String>,
}

impl Contact {
    /// A leg's owner passes the caller on.
    pub(super) fn passed_on(&mut self, key: &LegKey, kind: TransferKind, to: Option<&str>) -> Vec<Fact> {
        let Some(from) = self.position(key) else { return Vec::new() };
        let Some(leg) = self.legs.get(from).filter(|leg| leg.answered.is_some()).map(|leg| leg.id) else {
            return Vec::new();
        };
        if self.passing.as_ref().is_some_and(|passing| passing.from == leg) || self.has_passed_on(leg) {
            return Vec::new();
        }
        self.parked = None;
        self.passing = Some(Passing { from: leg, kind, to: to.map(String::from), told: false, arrived: false });
        // the new leg may have been told first
        let new = |leg: &Leg| leg.ended.is_none() && leg.transfer.is_none();
        let Some(index) = (from + 1..self.legs.len()).rev().find(|n| self.legs.get(*n).is_some_and(new)) else {
            return Vec::new();
        };
        let mut there = false;
        if let Some(new) = self.legs.get_mut(index) {
            (new.previous, new.transfer) = (Some(leg), Some(kind));
            there = new.answered.is_some();
        }
        let told = self.passed_on_to(index).into_iter().collect();
        if there {
            self.arrived();
        }
        told
    }

    /// The caller is parked: a transfer to the parking place is no transfer to anybody.
    pub(super) fn parked(&mut self, key: Option<&LegKey>, slot: Option<&str>) -> Vec<Fact> {
        let by = key.and_then(|key| self.position(key)).and_then(|index| self.legs.get(index)).map(|leg| leg.id);
        let from = by.or_else(|| self.under_way().map(|passing| passing.from));
        let parked = Parked { from, slot: slot.map(String::from) };
        if self.parked.as_ref() == Some(&parked) {
            return Vec::new();
        }
        self.passing = None;
        self.parked = Some(parked);
        vec![Fact::Parked]
    }

    /// The leg before a new one: whoever passed the caller on, else whoever answered last.
    pub(super) fn previous_leg(&self) -> Option<LegId> {
        let passing = self.under_way().map(|passing| passing.from);
        passing.or_else(|| self.legs.iter().filter(|leg| leg.answered.is_some()).map(|leg| leg.id).next_back())
    }

    /// Tells an untold transfer, now that the new leg is known.
    pub(super) fn passed_on_to(&mut self, index: usize) -> Option<Fact> {
        self.tell_passing(Some(index))
    }

    /// Tells an untold transfer that leads to no leg yet, or to none at all.
    pub(super) fn passed_on_to_nobody(&mut self) -> Option<Fact> {
        self.tell_passing(None)
    }

    /// Somebody answered: the caller is with them.
    pub(super) fn arrived(&mut self) {
        self.parked = None;
        if let Some(passing) = self.passing.as_mut().filter(|passing| passing.told) {
            passing.arrived = true;
        }
    }

    /// Whether the caller is on the way to somebody, or parked.
    pub(super) fn waits(&self) -> bool {
        self.under_way().is_some() || self.parked.is_some()
    }

    /// The transfer that nobody has answered yet.
    pub(super) fn under_way(&self) -> Option<&Passing> {
        self.passing.as_ref().filter(|passing| !passing.arrived)
    }

    fn has_passed_on(&self, from: LegId) -> bool {
        self.legs.iter().any(|leg| leg.previous == Some(from) && leg.transfer.is_some())
    }

    fn tell_passing(&mut self, to: Option<usize>) -> Option<Fact> {
        let passing = self.passing.as_mut().filter(|passing| !passing.told)?;
        passing.told = true;
        let from = passing.from;
        let from = self.legs.iter().position(|leg| leg.id == from)?;
        Some(Fact::Transferred { from, to })
    }
}

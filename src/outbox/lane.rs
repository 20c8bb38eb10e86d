//! Which delivery may fly now: one at a time per lane (endpoint and contact), in order of sequence; lanes side by side.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::call::ContactId;
use crate::time::Mono;

/// Deliveries of one lane held in memory; the rest stays in the store until these are done.
pub const LANE_IN_MEMORY: usize = 64;

/// One delivery: a row of the store's `delivery` table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub i64);

/// A lane: one endpoint's events of one contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId {
    /// Index of the endpoint in the configuration.
    pub endpoint: usize,
    /// The contact.
    pub contact: ContactId,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<DeliveryId>,
    /// More than `queue` is in the store.
    more: bool,
    flying: bool,
    /// Not before this.
    wait_until: Option<Mono>,
}

/// All lanes with something to deliver.
#[derive(Debug)]
pub struct Lanes {
    lanes: HashMap<LaneId, Lane>,
    /// Lanes that may fly, oldest first.
    ready: VecDeque<LaneId>,
    waiting: BTreeMap<(Mono, LaneId), ()>,
    flying: Vec<usize>,
    caps: Vec<usize>,
    off: HashSet<usize>,
    cap: usize,
}

impl Lanes {
    /// `caps`: deliveries in flight at once per endpoint; `cap`: over all endpoints.
    pub fn new(caps: Vec<usize>, cap: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            flying: vec![0; caps.len()],
            caps,
            off: HashSet::new(),
            cap,
        }
    }

    /// Adds a delivery at the end of its lane.
    pub fn push(&mut self, id: LaneId, delivery: DeliveryId) {
        let lane = self.lanes.entry(id).or_default();
        if lane.more || lane.queue.len() >= LANE_IN_MEMORY {
            lane.more = true;
            return;
        }
        let idle = lane.queue.is_empty() && !lane.flying && lane.wait_until.is_none();
        lane.queue.push_back(delivery);
        if idle {
            self.ready.push_back(id);
        }
    }

    /// The next delivery that may fly; it flies until [`Lanes::landed`], [`Lanes::wait`] or [`Lanes::switch_off`].
    pub fn take(&mut self, now: Mono) -> Option<(LaneId, DeliveryId)> {
        self.wake(now);
        if self.flying.iter().sum::<usize>() >= self.cap {
            return None;
        }
        for _ in 0..self.ready.len() {
            let id = self.ready.pop_front()?;
            let full = self.flying.get(id.endpoint).zip(self.caps.get(id.endpoint)).is_none_or(|(now, cap)| now >= cap);
            if full || self.off.contains(&id.endpoint) {
                self.ready.push_back(id);
                continue;
            }
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let Some(delivery) = lane.queue.front().copied() else { continue };
            lane.flying = true;
            if let Some(flying) = self.flying.get_mut(id.endpoint) {
                *flying += 1;
            }
            return Some((id, delivery));
        }
        None
    }

    /// The head of the lane is done with, delivered or dead. Tells whether the lane needs more from the store.
    pub fn landed(&mut self, id: LaneId) -> bool {
        self.land(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        lane.queue.pop_front();
        if !lane.queue.is_empty() {
            self.ready.push_back(id);
            return false;
        }
        if !lane.more {
            self.lanes.remove(&id);
            return false;
        }
        true
    }

    /// The rest of a lane from the store, after [`Lanes::landed`] asked for it: everything that was pushed until now, in order.
    pub fn refill(&mut self, id: LaneId, deliveries: Vec<DeliveryId>) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.more = false;
        }
        if deliveries.is_empty() {
            self.lanes.remove(&id);
        }
        deliveries.into_iter().for_each(|delivery| self.push(id, delivery));
    }

    /// The head of the lane is tried again at `until`; what is behind it waits with it.
    pub fn wait(&mut self, id: LaneId, until: Mono) {
        self.land(id);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.wait_until = Some(until);
            self.waiting.insert((until, id), ());
        }
    }

    /// A lane whose head was tried before the last restart: it goes on waiting until `until`.
    pub fn hold(&mut self, id: LaneId, until: Mono) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            self.ready.retain(|ready| *ready != id);
            lane.wait_until = Some(until);
            self.waiting.insert((until, id), ());
        }
    }

    /// Nothing flies to this endpoint any more; its lanes are kept.
    pub fn switch_off(&mut self, id: LaneId) {
        self.land(id);
        self.off.insert(id.endpoint);
        self.ready.push_back(id);
    }

    /// Whether an endpoint was switched off.
    pub fn is_off(&self, endpoint: usize) -> bool {
        self.off.contains(&endpoint)
    }

    /// When the next waiting lane may fly.
    pub fn due(&self) -> Option<Mono> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    /// Lanes with something to deliver.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether there is nothing to deliver.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    fn land(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.flying) {
            lane.flying = false;
            if let Some(flying) = self.flying.get_mut(id.endpoint) {
                *flying = flying.saturating_sub(1);
            }
        }
    }

    fn wake(&mut self, now: Mono) {
        while let Some(((at, id), ())) = self.waiting.first_key_value().map(|(key, ())| (*key, ())) {
            if at > now {
                return;
            }
            self.waiting.remove(&(at, id));
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.wait_until = None;
                self.ready.push_back(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn lane(endpoint: usize, contact: u128) -> LaneId {
        LaneId { endpoint, contact: ContactId(Uuid::from_u128(contact)) }
    }

    fn take(lanes: &mut Lanes, at: u64) -> Option<i64> {
        lanes.take(Mono(at)).map(|(_, delivery)| delivery.0)
    }

    #[test]
    fn one_in_flight_per_lane_and_in_order() {
        let mut lanes = Lanes::new(vec![10], 10);
        for n in 1..=3 {
            lanes.push(lane(0, 1), DeliveryId(n));
        }
        lanes.push(lane(0, 2), DeliveryId(9));
        assert_eq!((take(&mut lanes, 0), take(&mut lanes, 0), take(&mut lanes, 0)), (Some(1), Some(9), None));
        lanes.landed(lane(0, 1));
        assert_eq!(take(&mut lanes, 0), Some(2));
    }

    #[test]
    fn a_lane_that_waits_holds_what_is_behind_and_nobody_else() {
        let mut lanes = Lanes::new(vec![10, 10], 10);
        lanes.push(lane(0, 1), DeliveryId(1));
        lanes.push(lane(0, 1), DeliveryId(2));
        lanes.push(lane(1, 1), DeliveryId(3));
        assert_eq!(take(&mut lanes, 0), Some(1));
        lanes.wait(lane(0, 1), Mono(100));
        assert_eq!((take(&mut lanes, 50), take(&mut lanes, 50)), (Some(3), None));
        assert_eq!(lanes.due(), Some(Mono(100)));
        lanes.push(lane(0, 1), DeliveryId(4));
        assert_eq!(take(&mut lanes, 50), None, "a new event does not wake a waiting lane");
        assert_eq!(take(&mut lanes, 100), Some(1));
    }

    #[test]
    fn caps_hold_per_endpoint_and_over_all() {
        let mut lanes = Lanes::new(vec![1, 5], 3);
        for contact in 1..=4 {
            lanes.push(lane(0, contact), DeliveryId(contact as i64));
            lanes.push(lane(1, contact), DeliveryId(10 + contact as i64));
        }
        let flown: Vec<i64> = std::iter::from_fn(|| take(&mut lanes, 0)).collect();
        assert_eq!(flown.len(), 3);
        assert_eq!(flown.iter().filter(|id| **id < 10).count(), 1);
    }

    #[test]
    fn a_long_lane_stays_in_the_store() {
        let mut lanes = Lanes::new(vec![1], 1);
        for n in 0..1_000 {
            lanes.push(lane(0, 1), DeliveryId(n));
        }
        let mut flown = 0;
        loop {
            assert!(take(&mut lanes, 0).is_some());
            flown += 1;
            if lanes.landed(lane(0, 1)) {
                break;
            }
        }
        assert_eq!(flown, LANE_IN_MEMORY);
        assert!(take(&mut lanes, 0).is_none());
        lanes.push(lane(0, 1), DeliveryId(1_000));
        assert!(take(&mut lanes, 0).is_none(), "what comes before the rest was read is part of the rest");
        lanes.refill(lane(0, 1), (64..=66).map(DeliveryId).collect());
        lanes.push(lane(0, 1), DeliveryId(67));
        for n in 64..=67 {
            assert_eq!(take(&mut lanes, 0), Some(n));
            assert!(!lanes.landed(lane(0, 1)));
        }
        assert!(lanes.is_empty());
    }

    #[test]
    fn an_endpoint_that_is_off_keeps_its_lanes() {
        let mut lanes = Lanes::new(vec![2, 2], 4);
        lanes.push(lane(0, 1), DeliveryId(1));
        lanes.push(lane(1, 1), DeliveryId(2));
        assert_eq!(take(&mut lanes, 0), Some(1));
        lanes.switch_off(lane(0, 1));
        assert_eq!((take(&mut lanes, 0), take(&mut lanes, 0)), (Some(2), None));
        assert_eq!(lanes.len(), 2);
    }
}

//! Which delivery may fly now: one at a time per lane (endpoint and contact), in order of sequence; lanes side by side, endpoints in turn.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::breaker::{Breaker, Limits};
use super::budget::{Budget, Use};
use crate::call::ContactId;
use crate::time::{Mono, Now, Wall};

/// How often an endpoint whose requests of the day are used up is looked at again: the clock may be set meanwhile.
const DRY: Duration = Duration::from_secs(15 * 60);

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
    /// It waits because the endpoint did not answer, not because of what it said of the event.
    unanswered: bool,
    /// Requests that its flight has set aside in the endpoint's budget.
    reserved: u64,
}

/// One endpoint.
#[derive(Debug)]
struct Receiver {
    /// Lanes that may fly, oldest first; those that wait meanwhile are passed over.
    ready: VecDeque<LaneId>,
    flying: usize,
    /// Deliveries in flight at once.
    cap: usize,
    breaker: Breaker,
    /// Requests of the day, and the most that one delivery takes.
    budget: Option<(Budget, u64)>,
    /// The budget is used up; looked at again then.
    dry_until: Option<Mono>,
    /// A person must turn it on again.
    off: bool,
}

/// All lanes with something to deliver.
#[derive(Debug)]
pub struct Lanes {
    lanes: HashMap<LaneId, Lane>,
    receivers: Vec<Receiver>,
    /// The endpoint whose turn is next.
    turn: usize,
    waiting: BTreeMap<(Mono, LaneId), ()>,
    cap: usize,
}

impl Lanes {
    /// `caps`: deliveries in flight at once per endpoint; `cap`: over all endpoints; `limits`: when an endpoint counts as down.
    pub fn new(caps: Vec<usize>, cap: usize, limits: Limits) -> Self {
        let receiver = |cap| Receiver {
            ready: VecDeque::new(),
            flying: 0,
            cap,
            breaker: Breaker::new(limits),
            budget: None,
            dry_until: None,
            off: false,
        };
        Self {
            lanes: HashMap::new(),
            receivers: caps.into_iter().map(receiver).collect(),
            turn: 0,
            waiting: BTreeMap::new(),
            cap,
        }
    }

    /// Binds an endpoint to its requests of a day; `most`: the most that one delivery takes.
    pub fn bind(&mut self, endpoint: usize, budget: Budget, most: u64) {
        if let Some(receiver) = self.receivers.get_mut(endpoint) {
            receiver.budget = Some((budget, most));
        }
    }

    /// Other limits; `caps`: deliveries in flight at once per endpoint.
    pub fn tune(&mut self, caps: Vec<usize>, limits: Limits) {
        for (receiver, cap) in self.receivers.iter_mut().zip(caps) {
            receiver.cap = cap;
            receiver.breaker.tune(limits);
            // another number of requests a day may leave some
            receiver.dry_until = None;
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
            self.ready(id);
        }
    }

    /// The next delivery that may fly; it flies until [`Lanes::landed`], [`Lanes::wait`], [`Lanes::back`] or [`Lanes::switch_off`].
    pub fn take(&mut self, now: Now) -> Option<(LaneId, DeliveryId)> {
        self.wake(now.mono);
        if self.is_full() {
            return None;
        }
        for _ in 0..self.receivers.len() {
            let endpoint = self.turn;
            self.turn = (self.turn + 1) % self.receivers.len();
            if let Some(found) = self.take_of(endpoint, now) {
                return Some(found);
            }
        }
        None
    }

    /// Deliveries in flight.
    pub fn flying(&self) -> usize {
        self.receivers.iter().map(|receiver| receiver.flying).sum()
    }

    fn is_full(&self) -> bool {
        self.flying() >= self.cap
    }

    fn take_of(&mut self, endpoint: usize, now: Now) -> Option<(LaneId, DeliveryId)> {
        let receiver = self.receivers.get_mut(endpoint)?;
        if receiver.off || receiver.flying >= receiver.cap || !receiver.breaker.lets_through(now.mono) {
            return None;
        }
        if receiver.dry_until.is_some_and(|until| until > now.mono) {
            return None;
        }
        receiver.dry_until = None;
        while let Some(id) = receiver.ready.pop_front() {
            let may = |lane: &&mut Lane| !lane.flying && lane.wait_until.is_none();
            let Some(lane) = self.lanes.get_mut(&id).filter(may) else { continue };
            let Some(delivery) = lane.queue.front().copied() else { continue };
            if let Some((budget, most)) = &receiver.budget {
                if !budget.reserve(*most, Use::Record, now.wall) {
                    receiver.ready.push_front(id);
                    receiver.dry_until = Some(now.mono + budget.left_of_day(now.wall).min(DRY));
                    return None;
                }
                lane.reserved = *most;
            }
            lane.flying = true;
            receiver.flying += 1;
            receiver.breaker.flies();
            return Some((id, delivery));
        }
        None
    }

    /// What flies in a lane took so many requests; before it lands. Without this it took none.
    pub fn spent(&mut self, id: LaneId, requests: u64, now: Wall) {
        let Some(receiver) = self.receivers.get(id.endpoint) else { return };
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if let Some((budget, _)) = &receiver.budget {
            budget.spend(std::mem::take(&mut lane.reserved), requests, now);
        }
    }

    /// Whether an endpoint has used up its requests of the day.
    pub fn is_dry(&self, endpoint: usize) -> bool {
        self.receivers.get(endpoint).is_some_and(|receiver| receiver.dry_until.is_some())
    }

    /// The oldest delivery of an endpoint that is not done with.
    pub fn oldest(&self, endpoint: usize) -> Option<DeliveryId> {
        let of = self.lanes.iter().filter(|(id, _)| id.endpoint == endpoint);
        of.filter_map(|(_, lane)| lane.queue.front().copied()).min()
    }

    /// The endpoint answered, whatever it said; everything that waited for that may fly. Gives whether it had counted as down.
    pub fn answered(&mut self, endpoint: usize) -> bool {
        let Some(receiver) = self.receivers.get_mut(endpoint) else { return false };
        if !receiver.breaker.answered() {
            return false;
        }
        let waiting = |(_, id): &&(Mono, LaneId)| id.endpoint == endpoint;
        let unanswered: Vec<(Mono, LaneId)> = self.waiting.keys().filter(waiting).copied().collect();
        for (at, id) in unanswered {
            if self.lanes.get(&id).is_some_and(|lane| lane.unanswered) {
                self.waiting.remove(&(at, id));
                self.ready_again(id);
            }
        }
        true
    }

    /// The endpoint did not answer, or asked for time. Gives whether it counts as down now: then no attempt of an event counts.
    pub fn unanswered(&mut self, endpoint: usize, asked: Duration, now: Mono) -> bool {
        self.receivers.get_mut(endpoint).is_some_and(|receiver| receiver.breaker.failed(asked, now))
    }

    /// Whether an endpoint counts as down.
    pub fn is_down(&self, endpoint: usize) -> bool {
        self.receivers.get(endpoint).is_some_and(|receiver| receiver.breaker.is_open())
    }

    /// When an endpoint that counts as down is tried again; `None` for one that does not, and while it is being tried.
    pub fn down_until(&self, endpoint: usize) -> Option<Mono> {
        self.receivers.get(endpoint).and_then(|receiver| receiver.breaker.due())
    }

    /// The head of the lane is done with, delivered or dead. Tells whether the lane needs more from the store.
    pub fn landed(&mut self, id: LaneId) -> bool {
        self.land(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        lane.queue.pop_front();
        if !lane.queue.is_empty() {
            self.ready(id);
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

    /// The head of the lane is tried again at `until`, or with `unanswered` as soon as the endpoint answers; what is behind it waits with it.
    pub fn wait(&mut self, id: LaneId, until: Mono, unanswered: bool) {
        self.land(id);
        self.hold(id, until);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.unanswered = unanswered;
        }
    }

    /// The head of the lane is tried again when its endpoint is; other lanes go first.
    pub fn back(&mut self, id: LaneId) {
        self.land(id);
        self.ready(id);
    }

    /// What may be sent to the endpoint in a day is used up: its lanes wait until then, this one with them.
    pub fn run_dry(&mut self, id: LaneId, until: Mono) {
        self.back(id);
        if let Some(receiver) = self.receivers.get_mut(id.endpoint) {
            receiver.dry_until = Some(until);
        }
    }

    /// A lane whose head was tried before the last restart: it goes on waiting until `until`.
    pub fn hold(&mut self, id: LaneId, until: Mono) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.wait_until = Some(until);
            self.waiting.insert((until, id), ());
        }
    }

    /// Nothing flies to this endpoint any more; its lanes are kept.
    pub fn switch_off(&mut self, id: LaneId) {
        self.land(id);
        if let Some(receiver) = self.receivers.get_mut(id.endpoint) {
            receiver.off = true;
        }
        self.ready(id);
    }

    /// Whether an endpoint was switched off.
    pub fn is_off(&self, endpoint: usize) -> bool {
        self.receivers.get(endpoint).is_some_and(|receiver| receiver.off)
    }

    /// When the next lane may fly that waits, or the next endpoint is tried that counts as down. What could not fly then, because as many fly as may,
    /// is due when one of these lands.
    pub fn due(&self) -> Option<Mono> {
        let may = |receiver: &&Receiver| {
            !receiver.off && !receiver.ready.is_empty() && receiver.flying < receiver.cap && !self.is_full()
        };
        let probes = self.receivers.iter().filter(may).filter_map(|receiver| receiver.breaker.due());
        let days = self.receivers.iter().filter(may).filter_map(|receiver| receiver.dry_until);
        probes.chain(days).chain(self.waiting.keys().next().map(|(at, _)| *at)).min()
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
        let lane = self.lanes.get_mut(&id).filter(|lane| lane.flying);
        if let Some((lane, receiver)) = lane.zip(self.receivers.get_mut(id.endpoint)) {
            lane.flying = false;
            if let Some((budget, _)) = &receiver.budget {
                budget.release(std::mem::take(&mut lane.reserved));
            }
            receiver.flying = receiver.flying.saturating_sub(1);
            receiver.breaker.did_not_try();
        }
    }

    fn ready(&mut self, id: LaneId) {
        if let Some(receiver) = self.receivers.get_mut(id.endpoint) {
            receiver.ready.push_back(id);
        }
    }

    fn ready_again(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            (lane.wait_until, lane.unanswered) = (None, false);
            self.ready(id);
        }
    }

    fn wake(&mut self, now: Mono) {
        while let Some(((at, id), ())) = self.waiting.first_key_value().map(|(key, ())| (*key, ())) {
            if at > now {
                return;
            }
            self.waiting.remove(&(at, id));
            self.ready_again(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NOON: Wall = Wall(1_795_420_800_000_000);
    const LIMITS: Limits = Limits { failures: 3, pause: Duration::from_secs(5), longest: Duration::from_secs(300) };

    fn lane(endpoint: usize, contact: u128) -> LaneId {
        LaneId { endpoint, contact: ContactId(Uuid::from_u128(contact)) }
    }

    fn take(lanes: &mut Lanes, at: u64) -> Option<i64> {
        lanes.take(Now { mono: Mono(at), wall: NOON }).map(|(_, delivery)| delivery.0)
    }

    #[test]
    fn a_day_whose_requests_are_used_up_ends_and_holds_up_nobody_else() {
        let mut lanes = Lanes::new(vec![10, 10], 20, LIMITS);
        lanes.bind(0, Budget::new(10, Duration::ZERO, 5, NOON), 2);
        (1..=4).for_each(|n| lanes.push(lane(0, n), DeliveryId(n as i64)));
        assert_eq!((take(&mut lanes, 0), take(&mut lanes, 0), take(&mut lanes, 0)), (Some(1), Some(2), None));
        assert!(lanes.is_dry(0));
        lanes.push(lane(1, 1), DeliveryId(9));
        assert_eq!(take(&mut lanes, 0), Some(9));
        let again = Mono(DRY.as_nanos() as u64);
        assert_eq!(lanes.due(), Some(again));
        lanes.spent(lane(0, 1), 1, NOON);
        lanes.landed(lane(0, 1));
        lanes.back(lane(0, 2));
        assert_eq!(
            take(&mut lanes, again.0),
            Some(3),
            "what one did not need, and what did not fly, is there for others"
        );
        let next_day = Now { mono: again + DRY, wall: NOON + Duration::from_secs(86_400) };
        let taken = std::iter::from_fn(|| lanes.take(next_day)).count();
        assert_eq!(taken, 2);
    }

    #[test]
    fn an_endpoint_that_ran_dry_waits_with_all_its_lanes_and_counts_no_attempt() {
        use crate::outbox::retry::Answer;
        use crate::outbox::settle::Settled;
        use crate::outbox::store::Outcome;
        let mut lanes = Lanes::new(vec![2], 10, LIMITS);
        (1..=3).for_each(|n| lanes.push(lane(0, n), DeliveryId(n as i64)));
        assert_eq!((take(&mut lanes, 0), take(&mut lanes, 0)), (Some(1), Some(2)));
        let at = |nanos| Now { mono: Mono(nanos), wall: NOON };
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let not_yet = Answer::NotYet { what: "night".into(), wait: minute };
        let settled = lanes.settle(lane(0, 1), 1, &not_yet, &[], at(0), 0.5);
        assert!(matches!(settled, Settled::Again(Outcome::Again { counted: false, .. })));
        assert_eq!(take(&mut lanes, 0), Some(3), "others go");
        let dry = Answer::Dry { what: "bytes".into(), wait: second };
        (0..3).for_each(|_| _ = lanes.unanswered(0, Duration::ZERO, Mono(0)));
        assert!(lanes.is_down(0));
        for n in [2, 3] {
            let settled = lanes.settle(lane(0, n), 9, &dry, &[], at(0), 0.5);
            assert!(matches!(settled, Settled::Again(Outcome::Again { counted: false, .. })));
        }
        assert_eq!((lanes.is_dry(0), lanes.is_down(0), take(&mut lanes, 0)), (true, false, None));
        assert_eq!(lanes.due(), Some(Mono(0) + second));
        assert_eq!(take(&mut lanes, 1_000_000_000), Some(2));
    }

    #[test]
    fn one_in_flight_per_lane_and_in_order() {
        let mut lanes = Lanes::new(vec![10], 10, LIMITS);
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
        let mut lanes = Lanes::new(vec![10, 10], 10, LIMITS);
        lanes.push(lane(0, 1), DeliveryId(1));
        lanes.push(lane(0, 1), DeliveryId(2));
        lanes.push(lane(1, 1), DeliveryId(3));
        assert_eq!(take(&mut lanes, 0), Some(1));
        lanes.wait(lane(0, 1), Mono(100), false);
        assert_eq!((take(&mut lanes, 50), take(&mut lanes, 50)), (Some(3), None));
        assert_eq!(lanes.due(), Some(Mono(100)));
        lanes.push(lane(0, 1), DeliveryId(4));
        assert_eq!(take(&mut lanes, 50), None, "a new event does not wake a waiting lane");
        assert_eq!(take(&mut lanes, 100), Some(1));
    }

    #[test]
    fn caps_hold_per_endpoint_and_over_all() {
        let mut lanes = Lanes::new(vec![1, 5], 3, LIMITS);
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
        let mut lanes = Lanes::new(vec![1], 1, LIMITS);
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
    fn a_probe_that_has_no_place_to_fly_is_not_due() {
        let mut lanes = Lanes::new(vec![1, 2], 2, LIMITS);
        lanes.push(lane(0, 1), DeliveryId(1));
        lanes.push(lane(0, 2), DeliveryId(2));
        assert_eq!(take(&mut lanes, 0), Some(1));
        assert!(lanes.unanswered(0, Duration::from_nanos(100), Mono(0)));
        assert_eq!(lanes.due(), None, "its one place is taken; the dispatcher would spin");
        lanes.back(lane(0, 1));
        assert_eq!(lanes.due(), Some(Mono(100)));
        (3..=4).for_each(|n| lanes.push(lane(1, n), DeliveryId(n as i64)));
        assert_eq!((take(&mut lanes, 0), take(&mut lanes, 0)), (Some(3), Some(4)));
        assert_eq!((lanes.due(), take(&mut lanes, 200)), (None, None), "the others have taken all places");
        lanes.landed(lane(1, 3));
        assert_eq!((lanes.due(), take(&mut lanes, 200)), (Some(Mono(100)), Some(2)));
    }

    #[test]
    fn an_endpoint_that_is_off_keeps_its_lanes() {
        let mut lanes = Lanes::new(vec![2, 2], 4, LIMITS);
        lanes.push(lane(0, 1), DeliveryId(1));
        lanes.push(lane(1, 1), DeliveryId(2));
        assert_eq!(take(&mut lanes, 0), Some(1));
        lanes.switch_off(lane(0, 1));
        assert_eq!((take(&mut lanes, 0), take(&mut lanes, 0)), (Some(2), None));
        assert_eq!(lanes.len(), 2);
    }
}

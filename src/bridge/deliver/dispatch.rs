//! One dispatcher decides by the lanes what flies; tasks carry the requests, the store keeps the outcomes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Error;
use super::carry::Target;
use super::counts::Health;
use crate::bridge::now;
use crate::crm::Outgoing;
use crate::events::Event;
use crate::outbox::breaker::Limits;
use crate::outbox::budget::Use;
use crate::outbox::lane::{DeliveryId, LaneId, Lanes};
use crate::outbox::retry::{Answer, left_of};
use crate::outbox::settings::Settings;
use crate::outbox::settle::Settled;
use crate::outbox::store::{Committed, Delivery, Outbox, Outcome, Traffic};
use crate::time::Now;

/// How often replays that a person asked for are looked for.
const REPLAYS_EVERY: Duration = Duration::from_secs(2);
/// How often the oldest event that waits is looked for, and the store is told what went over the links.
const COUNTED_EVERY: Duration = Duration::from_secs(10);
/// How soon outcomes that the outbox had no room for are handed in again.
const RECORD_AGAIN: Duration = Duration::from_millis(5);

/// How an attempt ended.
struct Landed {
    lane: LaneId,
    delivery: DeliveryId,
    /// Which attempt it was, from 1.
    attempts: u32,
    requests: u64,
    answer: Answer,
}

/// What the dispatcher is told to do.
pub(super) enum Order {
    /// Send nothing new, and tell when nothing is in flight any more.
    End(oneshot::Sender<()>),
    /// Go on with other settings.
    Tune(Tuning),
}

/// Settings that may change while deliveries run.
pub(super) struct Tuning {
    /// Waits between attempts, in milliseconds.
    pub(super) schedule: Arc<[u64]>,
    pub(super) limits: Limits,
    /// Deliveries in flight at once, per endpoint.
    pub(super) caps: Vec<usize>,
}

pub(super) struct Dispatcher {
    lanes: Lanes,
    outbox: Outbox,
    names: Vec<String>,
    targets: Vec<Arc<Target>>,
    schedule: Arc<[u64]>,
    results: mpsc::Sender<Landed>,
    /// Outcomes that the outbox had no room for yet. Nothing new is sent while there are some, so they are no more than were in flight.
    unrecorded: VecDeque<(DeliveryId, Outcome)>,
    /// The newest delivery that came out of the outbox: what is newer in the store is still on its way here.
    newest: DeliveryId,
    /// Lanes whose rest is in the store only.
    drained: Vec<LaneId>,
    /// Such lanes, once every outcome before is on disk.
    settled: mpsc::Sender<Vec<LaneId>>,
    settling: bool,
    /// Told when nothing is in flight any more; nothing new flies while somebody waits for that.
    ended: Option<oneshot::Sender<()>>,
}

/// What comes back to the dispatcher from its tasks.
pub(super) struct Returns {
    landed: mpsc::Receiver<Landed>,
    refills: mpsc::Receiver<Vec<LaneId>>,
    orders: mpsc::Receiver<Order>,
}

impl Dispatcher {
    /// One that has taken up what was left from before.
    pub(super) fn new(
        outbox: Outbox,
        targets: Vec<Arc<Target>>,
        settings: &Settings,
        orders: mpsc::Receiver<Order>,
    ) -> Result<(Dispatcher, Returns), Error> {
        let at_once = settings.deliveries_at_once.max(1);
        let caps = targets.iter().map(|target| target.way().at_once()).collect();
        let mut lanes = Lanes::new(caps, at_once, settings.limits());
        for (index, target) in targets.iter().enumerate() {
            lanes.bind(index, target.budget.clone(), target.way().connector.declares().most_requests);
        }
        let (results, landed) = mpsc::channel(at_once + 1);
        let (settled, refills) = mpsc::channel(1);
        let mut dispatcher = Dispatcher {
            lanes,
            outbox,
            names: targets.iter().map(|target| target.id.clone()).collect(),
            targets,
            schedule: settings.retry_schedule_ms.clone().into(),
            results,
            unrecorded: VecDeque::new(),
            newest: DeliveryId(0),
            drained: Vec::new(),
            settled,
            settling: false,
            ended: None,
        };
        dispatcher.load(now())?;
        Ok((dispatcher, Returns { landed, refills, orders }))
    }

    pub(super) async fn run(
        mut self,
        mut committed: mpsc::Receiver<Committed>,
        Returns { mut landed, mut refills, mut orders }: Returns,
        shown: impl Fn(&Event) + Send + 'static,
    ) {
        let mut replays = tokio::time::interval(REPLAYS_EVERY);
        replays.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut counting = tokio::time::interval(COUNTED_EVERY);
        counting.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.record_waiting();
            self.settle();
            self.fly();
            if self.ended.is_some() && self.lanes.flying() == 0 && self.unrecorded.is_empty() {
                self.count();
                if let Ok(flushed) = self.outbox.flush() {
                    let _ = flushed.await;
                }
                self.ended.take().map(|ended| ended.send(()));
                return;
            }
            let due = self.lanes.due().map_or(Duration::from_secs(3_600), |due| due.since(now().mono));
            let wait = if self.unrecorded.is_empty() { due } else { due.min(RECORD_AGAIN) };
            tokio::select! {
                biased;
                one = landed.recv() => if let Some(one) = one { self.handle_landed(one) },
                one = committed.recv() => match one {
                    Some(one) => {
                        shown(&one.event);
                        for (endpoint, delivery) in one.deliveries {
                            self.newest = self.newest.max(delivery);
                            self.lanes.push(LaneId { endpoint, contact: one.event.contact }, delivery);
                            if let Some(target) = self.targets.get(endpoint) {
                                target.counts.accepted.add(1);
                            }
                        }
                    }
                    None => return self.count(),
                },
                Some(order) = orders.recv(), if self.ended.is_none() => self.obey(order),
                lanes = refills.recv() => if let Some(lanes) = lanes { self.refill(lanes) },
                _ = replays.tick() => self.take_replays(),
                _ = counting.tick() => self.count(),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::End(ended) => self.ended = Some(ended),
            Order::Tune(Tuning { schedule, limits, caps }) => {
                self.schedule = schedule;
                self.lanes.tune(caps, limits);
            }
        }
    }

    /// Puts what was left from before into its lanes; a lane whose head waits goes on waiting.
    fn load(&mut self, now: Now) -> Result<(), Error> {
        let mut heads = std::collections::HashSet::new();
        let mut waiting = Vec::new();
        for (endpoint, contact, delivery, next_at) in self.outbox.pending(&self.names)? {
            let lane = LaneId { endpoint, contact };
            let left = left_of(next_at, now.wall, &self.schedule);
            if heads.insert(lane) && !left.is_zero() {
                waiting.push((lane, now.mono + left));
            }
            self.newest = self.newest.max(delivery);
            self.lanes.push(lane, delivery);
            if let Some(target) = self.targets.get(endpoint) {
                target.counts.taken_up.add(1);
            }
        }
        for (lane, until) in waiting {
            self.lanes.hold(lane, until);
        }
        tracing::info!(lanes = self.lanes.len(), "deliveries left from before");
        Ok(())
    }

    fn take_replays(&mut self) {
        match self.outbox.take_replays(&self.names) {
            Ok(rows) => {
                for (endpoint, contact, delivery, _) in rows {
                    self.lanes.push(LaneId { endpoint, contact }, delivery);
                    if let Some(target) = self.targets.get(endpoint) {
                        target.counts.replayed.add(1);
                    }
                }
            }
            Err(error) => tracing::error!(%error, "replays cannot be read"),
        }
    }

    /// Keeps what `/metrics` tells of the endpoints up to date, and tells the store what went over the links.
    fn count(&mut self) {
        let mut counted = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            let oldest = self.lanes.oldest(index).map(|delivery| self.outbox.time_of(delivery));
            let oldest = oldest.and_then(|time| {
                time.inspect_err(|error| tracing::error!(%error, "the oldest event that waits cannot be read")).ok()
            });
            target.counts.set(self.health(index), oldest.flatten());
            counted.extend(target.counts.untold(index, target.day(now().wall)));
        }
        if counted.is_empty() {
            return;
        }
        for counted in self.outbox.count(counted).err().into_iter().flatten() {
            if let Some(target) = self.targets.get(counted.1) {
                target.counts.tell_later(&counted);
            }
        }
    }

    fn health(&self, endpoint: usize) -> Health {
        match () {
            () if self.lanes.is_off(endpoint) => Health::Off,
            () if self.lanes.is_down(endpoint) => Health::Down,
            () if self.lanes.is_dry(endpoint) => Health::Dry,
            () => Health::Up,
        }
    }

    fn record(&mut self, delivery: DeliveryId, outcome: Outcome) {
        self.unrecorded.push_back((delivery, outcome));
        self.record_waiting();
    }

    fn record_waiting(&mut self) {
        while let Some((delivery, outcome)) = self.unrecorded.pop_front() {
            if let Err(outcome) = self.outbox.record(delivery, outcome) {
                self.unrecorded.push_front((delivery, outcome));
                return;
            }
        }
    }

    fn fly(&mut self) {
        if !self.unrecorded.is_empty() || self.ended.is_some() {
            return;
        }
        while let Some((lane, id)) = self.lanes.take(now()) {
            match self.outbox.delivery(id) {
                Ok(Some(Delivery { pending: true, body: None, .. })) => self.bury(lane, id),
                Ok(Some(delivery)) if delivery.pending => self.send(lane, delivery),
                Ok(_) => self.next_of(lane),
                Err(error) => {
                    tracing::error!(%error, "a delivery cannot be read; its lane waits");
                    self.lanes.wait(lane, now().mono + Duration::from_secs(5), false);
                }
            }
        }
    }

    /// An event whose text is damaged beyond repair; the lane goes on, and the gap in its sequence says that one is missing.
    fn bury(&mut self, lane: LaneId, delivery: DeliveryId) {
        let outcome = Outcome::Dead { error: "its text is damaged on disk and in the second copy".into() };
        if let Some(target) = self.targets.get(lane.endpoint) {
            count_end(target, &outcome);
        }
        self.record(delivery, outcome);
        self.next_of(lane);
    }

    fn send(&self, lane: LaneId, delivery: Delivery) {
        let Some(target) = self.targets.get(lane.endpoint).cloned() else { return };
        let results = self.results.clone();
        target.counts.attempts.add(1);
        tokio::spawn(async move {
            let requests = AtomicU64::new(0);
            let body = delivery.body.unwrap_or_default();
            let (way, begun) = (target.way(), now().wall);
            let exchange = way.connector.deliver(&Outgoing { id: &delivery.event, body: &body });
            let answer = target.carry(&way, exchange, Use::Record, &requests).await.unwrap_or_else(Answer::Failed);
            target.tell((lane.contact, &|| type_of(&body)), &way, delivery.attempts + 1, &answer, begun);
            let (delivery, attempts) = (delivery.id, delivery.attempts + 1);
            let _ = results.send(Landed { lane, delivery, attempts, requests: requests.into_inner(), answer }).await;
        });
    }

    fn handle_landed(&mut self, landed: Landed) {
        let Landed { lane, delivery, attempts, requests, answer } = landed;
        let endpoint = self.names.get(lane.endpoint).map_or("", String::as_str);
        self.lanes.spent(lane, requests, now().wall);
        let was_down = self.lanes.is_down(lane.endpoint);
        let settled = self.lanes.settle(lane, attempts, &answer, &self.schedule, now(), chance());
        match (was_down, self.lanes.is_down(lane.endpoint)) {
            (false, true) => {
                tracing::warn!(endpoint, error = %answer, "the endpoint is down; it is tried with one delivery at a time");
            }
            (true, false) => tracing::info!(endpoint, "the endpoint answers again"),
            _ => {}
        }
        match settled {
            Settled::Done(outcome) => {
                if let Some(target) = self.targets.get(lane.endpoint) {
                    count_end(target, &outcome);
                }
                if let Outcome::Dead { error } = &outcome {
                    tracing::error!(endpoint, contact = %lane.contact, error, "dead letter; see `kakehashi outbox list`");
                }
                self.record(delivery, outcome);
                self.next_of(lane);
            }
            Settled::Again(outcome) => {
                if let Outcome::Again { error, counted: true, .. } = &outcome {
                    tracing::warn!(endpoint, contact = %lane.contact, error, "delivery failed; tried again");
                }
                self.record(delivery, outcome);
            }
            Settled::Off => tracing::error!(
                endpoint,
                "the endpoint answered 410 Gone; nothing is sent to it until the bridge is restarted"
            ),
        }
    }

    /// The head of a lane is done with; more is fetched when the lane was longer than memory.
    fn next_of(&mut self, lane: LaneId) {
        if self.lanes.landed(lane) {
            self.drained.push(lane);
        }
    }

    /// Lets the outcomes so far reach the disk before drained lanes are read from it: what was delivered must not be found pending there.
    fn settle(&mut self) {
        if self.drained.is_empty() || self.settling || !self.unrecorded.is_empty() {
            return;
        }
        self.settling = true;
        let (outbox, lanes, settled) = (self.outbox.clone(), std::mem::take(&mut self.drained), self.settled.clone());
        tokio::spawn(async move {
            // without a writer nothing is delivered any more, and the next start reads everything
            if let Ok(Ok(flushed)) = tokio::task::spawn_blocking(move || outbox.flush()).await {
                let _ = flushed.await;
                let _ = settled.send(lanes).await;
            }
        });
    }

    fn refill(&mut self, lanes: Vec<LaneId>) {
        self.settling = false;
        for lane in lanes {
            let Some(name) = self.names.get(lane.endpoint) else { continue };
            match self.outbox.pending_of(name, lane.contact, self.newest) {
                Ok(rest) => self.lanes.refill(lane, rest),
                Err(error) => {
                    tracing::error!(%error, "the rest of a lane cannot be read; it is read again");
                    self.drained.push(lane);
                }
            }
        }
    }
}

fn count_end(target: &Target, outcome: &Outcome) {
    match outcome {
        Outcome::Delivered => {
            target.counts.delivered.add(1);
            target.counts.traffic(Use::Record, Traffic { events: 1, ..Traffic::default() });
        }
        Outcome::Dead { .. } => target.counts.died.add(1),
        Outcome::Dropped { .. } => target.counts.dropped.add(1),
        Outcome::Again { .. } => {}
    }
}

/// The type of an event that was written by this program.
fn type_of(body: &str) -> &'static str {
    Event::from_json(body).map_or("", |event| event.type_name())
}

/// Random, 0–1.
pub(in crate::bridge) fn chance() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

//! Carries a connector's exchange over the wire to its endpoint, and counts what goes over it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use futures_util::future::BoxFuture;

use super::counts::Counts;
use crate::bridge::now;
use crate::bridge::telemetry::{Span, Telemetry};
use crate::call::ContactId;
use crate::crm::settings::{Endpoint, Secret};
use crate::crm::{Connector, Exchange, MOST_REQUESTS, Request, Response, Step};
use crate::outbox::budget::{Budget, Use, day_of};
use crate::outbox::retry::Answer;
use crate::outbox::store::{Outbox, Traffic};
use crate::time::Wall;

/// A receiver, ready to be sent to.
pub(super) struct Target {
    /// Name in the outbox and in logs.
    pub(super) id: String,
    pub(super) counts: Counts,
    /// Requests of the day.
    pub(super) budget: Budget,
    pub(super) telemetry: OnceLock<Telemetry>,
    way: RwLock<Arc<Way>>,
}

/// How a receiver is reached, as it is set now. What has begun goes on with the one that it began with.
pub(super) struct Way {
    pub(super) endpoint: Endpoint,
    pub(super) secrets: Vec<Secret>,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) wire: Arc<dyn Wire>,
}

/// Is told what goes over a wire.
pub(super) type Count<'a> = &'a (dyn Fn(Traffic) + Send + Sync);

/// What carries requests to one endpoint.
pub(super) trait Wire: Send + Sync {
    /// Carries one request, and tells `count` of it and of its bytes as they go; an error says why there was no answer (no personal data).
    fn send<'a>(&'a self, request: Request, count: Count<'a>) -> BoxFuture<'a, Result<Response, String>>;

    /// Reads the files of its connections again. What is wrong is told, and stays as it was.
    fn reload(&self);

    /// Begins to keep a connection, where it is one that is kept.
    fn start(&self, _start: Start<'_>) -> Result<(), super::Error> {
        Ok(())
    }

    /// How the connection is, where it is one that is kept.
    fn link(&self) -> Option<Link> {
        None
    }

    /// Ends what was begun.
    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// What a wire that keeps a connection begins with.
pub(super) struct Start<'a> {
    pub(super) outbox: &'a Outbox,
    /// What went over it today so far.
    pub(super) today: Traffic,
    /// Is told what goes over it besides the requests; `false` when nobody is there any more.
    pub(super) tell: Box<dyn Fn(Use, Traffic) -> bool + Send + Sync>,
}

/// A connection that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether it is there.
    pub up: bool,
    /// Bytes of the day that are left; `None` where any number may be used.
    pub left: Option<u64>,
}

/// How an exchange ended: its result, or why there was no answer (no personal data).
pub(super) type Carried<T> = Result<T, String>;

impl Way {
    /// Deliveries in flight at once.
    pub(super) fn at_once(&self) -> usize {
        let most = self.connector.declares().at_once.unwrap_or(usize::MAX);
        self.endpoint.concurrency.min(most).max(1)
    }

    /// Requests of a day; the largest number where any number may be made.
    pub(super) fn requests_per_day(&self) -> u64 {
        match self.endpoint.requests_per_day {
            0 => self.connector.declares().requests_per_day.unwrap_or(u64::MAX),
            limit => limit,
        }
    }

    /// Whether its connection is kept, so that it cannot be another one while the bridge runs.
    pub(super) fn is_kept(&self) -> bool {
        self.endpoint.relay.is_some() || self.endpoint.nats.is_some()
    }
}

impl Target {
    /// `used`: requests of the day of `now` so far.
    pub(super) fn new(way: Way, used: u64, now: Wall) -> Target {
        let budget = Budget::new(way.requests_per_day(), way.connector.declares().day_begins, used, now);
        Target {
            id: way.endpoint.id.clone(),
            counts: Counts::default(),
            budget,
            telemetry: OnceLock::new(),
            way: RwLock::new(Arc::new(way)),
        }
    }

    /// How it is reached now.
    pub(super) fn way(&self) -> Arc<Way> {
        Arc::clone(&self.way.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it is reached so.
    pub(super) fn take(&self, way: Way) {
        self.budget.set_limit(way.requests_per_day());
        *self.way.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(way);
    }

    /// The same, unless it is reached otherwise than by `known` meanwhile.
    pub(super) fn take_instead(&self, known: &Arc<Way>, way: Way) {
        let mut own = self.way.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&own, known) {
            *own = Arc::new(way);
        }
    }

    /// The endpoint's day, counted from 1970-01-01.
    pub(super) fn day(&self, now: Wall) -> i64 {
        day_of(now, self.way().connector.declares().day_begins)
    }

    /// Tells an attempt that is over as a span; `attempt`: from 1.
    pub(super) fn tell(
        &self,
        (contact, event): (ContactId, &dyn Fn() -> &'static str),
        way: &Way,
        attempt: u32,
        answer: &Answer,
        since: Wall,
    ) {
        let Some(telemetry) = self.telemetry.get().filter(|telemetry| telemetry.traces()) else { return };
        let whom = (self.id.as_str(), way.endpoint.url.as_str());
        telemetry.tell([Span::delivery((contact, event()), whom, attempt, answer, (since, now().wall))]);
    }

    /// Carries an exchange to its end. `requests` counts along, also where this is given up half-way.
    pub(super) async fn carry<T>(
        &self,
        way: &Way,
        mut exchange: Box<dyn Exchange<T>>,
        whom: Use,
        requests: &AtomicU64,
    ) -> Carried<T> {
        let mut answer = None;
        for _ in 0..=MOST_REQUESTS {
            match exchange.next(answer.take(), now().wall) {
                Step::End(end) => return Ok(end),
                Step::Send(request) => {
                    requests.fetch_add(1, Ordering::Relaxed);
                    answer = Some(way.wire.send(request, &|traffic| self.counts.traffic(whom, traffic)).await?);
                }
            }
        }
        Err(format!("no end after {MOST_REQUESTS} requests"))
    }

    /// Carries an exchange of something live, within the day's requests; `None` when they are used up.
    pub(super) async fn carry_live<T>(&self, way: &Way, exchange: Box<dyn Exchange<T>>) -> Option<Carried<T>> {
        let flight = Flight::of(&self.budget, way.connector.declares().most_requests)?;
        Some(self.carry(way, exchange, Use::Live, &flight.requests).await)
    }
}

/// Requests of the day that something live has set aside; what it took is counted at its end, however it ends.
struct Flight<'a> {
    budget: &'a Budget,
    most: u64,
    requests: AtomicU64,
}

impl<'a> Flight<'a> {
    fn of(budget: &'a Budget, most: u64) -> Option<Self> {
        budget.reserve(most, Use::Live, now().wall).then(|| Self { budget, most, requests: AtomicU64::new(0) })
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.budget.spend(self.most, self.requests.load(Ordering::Relaxed), now().wall);
    }
}

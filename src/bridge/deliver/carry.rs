//! Carries a connector's exchange over the wire to its endpoint, and counts what goes over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;

use super::counts::Counts;
use crate::bridge::now;
use crate::crm::settings::Endpoint;
use crate::crm::{Connector, Exchange, MOST_REQUESTS, Request, Response, Step};
use crate::outbox::budget::{Budget, Use, day_of};
use crate::outbox::store::{Outbox, Traffic};
use crate::time::Wall;

/// A receiver, ready to be sent to.
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) wire: Box<dyn Wire>,
    pub(super) counts: Counts,
    /// Requests of the day, when they are limited.
    pub(super) budget: Option<Budget>,
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

impl Target {
    /// The endpoint's day, counted from 1970-01-01.
    pub(super) fn day(&self, now: Wall) -> i64 {
        day_of(now, self.connector.declares().day_begins)
    }

    /// Deliveries in flight at once.
    pub(super) fn at_once(&self) -> usize {
        let most = self.connector.declares().at_once.unwrap_or(usize::MAX);
        self.endpoint.concurrency.min(most).max(1)
    }

    /// Carries an exchange to its end. `requests` counts along, also where this is given up half-way.
    pub(super) async fn carry<T>(
        &self,
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
                    answer = Some(self.send(request, whom).await?);
                }
            }
        }
        Err(format!("no end after {MOST_REQUESTS} requests"))
    }

    /// Carries an exchange of something live, within the day's requests; `None` when they are used up.
    pub(super) async fn carry_live<T>(&self, exchange: Box<dyn Exchange<T>>) -> Option<Carried<T>> {
        let flight = Flight::of(self)?;
        Some(self.carry(exchange, Use::Live, &flight.requests).await)
    }

    async fn send(&self, request: Request, whom: Use) -> Result<Response, String> {
        self.wire.send(request, &|traffic| self.counts.traffic(whom, traffic)).await
    }
}

/// Requests of the day that something live has set aside; what it took is counted at its end, however it ends.
struct Flight<'a> {
    target: &'a Target,
    requests: AtomicU64,
}

impl<'a> Flight<'a> {
    fn of(target: &'a Target) -> Option<Self> {
        if let Some(budget) = &target.budget
            && !budget.reserve(target.connector.declares().most_requests, Use::Live, now().wall)
        {
            return None;
        }
        Some(Self { target, requests: AtomicU64::new(0) })
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(budget) = &self.target.budget {
            let most = self.target.connector.declares().most_requests;
            budget.spend(most, self.requests.load(Ordering::Relaxed), now().wall);
        }
    }
}

//! The deliveries as whoever administers the bridge sees them over its API.

use std::time::Duration;

use super::Deliverer;
use super::counts::{Figures, Health};
use crate::bridge::now;
use crate::outbox::budget::day_of;
use crate::outbox::store::{Error, Listed, TrafficDay};
use crate::panel::{Deliveries, Endpoint, EndpointState, SinceStart};

impl Deliveries for Deliverer {
    fn list(&self, status: Option<&str>, limit: u32) -> Result<Vec<Listed>, String> {
        self.outbox.list(status, limit).map_err(told)
    }

    fn replay(&self, deliveries: Option<&[i64]>) -> Result<usize, String> {
        self.outbox.replay(deliveries, now().wall).map_err(told)
    }

    fn discard(&self, deliveries: Option<&[i64]>, note: &str) -> Result<usize, String> {
        self.outbox.discard(deliveries, note).map_err(told)
    }

    fn endpoints(&self) -> Result<Vec<Endpoint>, String> {
        let aside = self.outbox.set_aside().map_err(told)?;
        Ok(self.figures().iter().map(|figures| endpoint(figures, &aside)).collect())
    }

    fn traffic(&self, days: u32) -> Result<Vec<TrafficDay>, String> {
        let since = day_of(now().wall, Duration::ZERO) - i64::from(days) + 1;
        self.outbox.traffic(since).map_err(told)
    }
}

fn endpoint(figures: &Figures, aside: &[(String, String, u64)]) -> Endpoint {
    let of_it = |status: &str| {
        let rows = aside.iter().filter(|(endpoint, state, _)| *endpoint == figures.endpoint && state == status);
        rows.map(|(_, _, count)| count).sum::<u64>()
    };
    let state = match figures.health {
        Health::Up => EndpointState::Up,
        Health::Down => EndpointState::Down,
        Health::Dry => EndpointState::Dry,
        Health::Off => EndpointState::Off,
    };
    Endpoint {
        id: figures.endpoint.clone(),
        state,
        pending: figures.pending(),
        oldest: figures.oldest.map(|oldest| oldest.rfc3339()),
        dead: of_it("dead"),
        replay: of_it("replay"),
        discarded: of_it("discarded"),
        since_start: SinceStart {
            left: figures.taken_up,
            accepted: figures.accepted,
            replayed: figures.replayed,
            delivered: figures.delivered,
            dead: figures.died,
            dropped: figures.dropped,
            attempts: figures.attempts,
        },
    }
}

fn told(error: Error) -> String {
    error.to_string()
}

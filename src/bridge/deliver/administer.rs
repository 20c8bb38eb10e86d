//! The deliveries as whoever administers the bridge sees them over its API.

use std::time::Duration;

use serde_json::{Value, json};

use super::Deliverer;
use super::counts::Figures;
use crate::bridge::now;
use crate::outbox::budget::day_of;
use crate::outbox::store::Error;
use crate::panel::Deliveries;

impl Deliveries for Deliverer {
    fn list(&self, status: Option<&str>, limit: u32) -> Result<Value, String> {
        self.outbox.list(status, limit).map(|listed| json!(listed)).map_err(told)
    }

    fn replay(&self, deliveries: Option<&[i64]>) -> Result<usize, String> {
        self.outbox.replay(deliveries, now().wall).map_err(told)
    }

    fn discard(&self, deliveries: Option<&[i64]>, note: &str) -> Result<usize, String> {
        self.outbox.discard(deliveries, note).map_err(told)
    }

    fn endpoints(&self) -> Result<Value, String> {
        let aside = self.outbox.set_aside().map_err(told)?;
        Ok(self.figures().iter().map(|figures| endpoint(figures, &aside)).collect())
    }

    fn traffic(&self, days: u32) -> Result<Value, String> {
        let since = day_of(now().wall, Duration::ZERO) - i64::from(days) + 1;
        self.outbox.traffic(since).map(|days| json!(days)).map_err(told)
    }
}

fn endpoint(figures: &Figures, aside: &[(String, String, u64)]) -> Value {
    let of_it = |status: &str| {
        let rows = aside.iter().filter(|(endpoint, state, _)| *endpoint == figures.endpoint && state == status);
        rows.map(|(_, _, count)| count).sum::<u64>()
    };
    json!({
        "id": figures.endpoint,
        "state": figures.health,
        "pending": figures.pending(),
        "oldest": figures.oldest.map(|oldest| oldest.rfc3339()),
        "dead": of_it("dead"),
        "replay": of_it("replay"),
        "discarded": of_it("discarded"),
        "since_start": {
            "left": figures.taken_up,
            "accepted": figures.accepted,
            "replayed": figures.replayed,
            "delivered": figures.delivered,
            "dead": figures.died,
            "dropped": figures.dropped,
            "attempts": figures.attempts,
        },
    })
}

fn told(error: Error) -> String {
    error.to_string()
}

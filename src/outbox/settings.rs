//! `[outbox]` of the configuration.

use serde::{Deserialize, Serialize};

/// Settings of the durable outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Batches that wait for the writer; when it is full the caller waits.
    pub queue_batches: usize,
    /// Most batches written in one transaction.
    pub group_batches: usize,
    /// Waits between the attempts to deliver a record event, in milliseconds; after the last the event becomes a dead letter.
    pub retry_schedule_ms: Vec<u64>,
    /// Deliveries in flight at once, over all endpoints.
    pub deliveries_at_once: usize,
}

impl Default for Settings {
    fn default() -> Self {
        const MINUTE: u64 = 60_000;
        const HOUR: u64 = 60 * MINUTE;
        Self {
            queue_batches: 4_096,
            group_batches: 256,
            retry_schedule_ms: vec![
                5_000,
                30_000,
                5 * MINUTE,
                30 * MINUTE,
                2 * HOUR,
                5 * HOUR,
                10 * HOUR,
                14 * HOUR,
                20 * HOUR,
                20 * HOUR,
            ],
            deliveries_at_once: 256,
        }
    }
}

//! `[outbox]` and `[retention]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::breaker::Limits;

/// `[retention]`: how long things are kept here. The CRM has rules of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Days after its beginning for which a recording is kept; 0 = as long as its contact.
    pub recordings_days: u32,
    /// Days after the last event of a contact for which its events are kept, texts among them; 0 = for ever. What is not delivered, or a dead letter that
    /// nobody has replayed or discarded, keeps the contact.
    pub records_days: u32,
}

impl Retention {
    /// Whether nothing is ever deleted.
    pub fn keeps_everything(self) -> bool {
        self == Retention::default()
    }

    /// # Errors
    /// What is wrong, and what is expected.
    pub fn check(self) -> Result<(), String> {
        let (sound, records) = (self.recordings_days, self.records_days);
        if records > 0 && sound > records {
            return Err(format!(
                "{sound}; expected at most `records_days`, {records}: a recording goes with its contact"
            ));
        }
        Ok(())
    }
}

/// Settings of the durable outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Batches that wait for the writer; when it is full the caller waits.
    pub queue_batches: usize,
    /// Most batches written in one transaction.
    pub group_batches: usize,
    /// Keep a second copy of the outbox, a moment behind: what a damaged page or file held is taken from it again.
    pub second_copy: bool,
    /// Folder of the second copy; best on another disk. Empty = `[node] data_dir`.
    pub copy_dir: PathBuf,
    /// Space of the disk that is set aside, in bytes: when the disk is full it is given to the outbox, and an alarm raised. 0 = none.
    pub reserve_bytes: u64,
    /// Waits between the attempts to deliver a record event, in milliseconds; after the last the event becomes a dead letter.
    pub retry_schedule_ms: Vec<u64>,
    /// Deliveries in flight at once, over all endpoints.
    pub deliveries_at_once: usize,
    /// Attempts in a row without an answer, or with 408, 425, 429 or 5xx, after which an endpoint counts as down: one attempt at a time from then
    /// on, and none of them is counted in `retry_schedule_ms`.
    pub breaker_failures: u32,
    /// Pause before the first such attempt, in milliseconds; each one after it is twice as long.
    pub breaker_pause_ms: u64,
    /// The longest such pause, in milliseconds: what was missed begins to arrive so soon after an endpoint is back.
    pub breaker_longest_ms: u64,
}

impl Settings {
    /// When an endpoint counts as down.
    pub fn limits(&self) -> Limits {
        Limits {
            failures: self.breaker_failures.max(1),
            pause: Duration::from_millis(self.breaker_pause_ms.max(1)),
            longest: Duration::from_millis(self.breaker_longest_ms.max(1)),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        const MINUTE: u64 = 60_000;
        const HOUR: u64 = 60 * MINUTE;
        Self {
            queue_batches: 4_096,
            group_batches: 1_024,
            second_copy: true,
            copy_dir: PathBuf::new(),
            reserve_bytes: 64 * 1024 * 1024,
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
            breaker_failures: 3,
            breaker_pause_ms: 5_000,
            breaker_longest_ms: 2 * MINUTE,
        }
    }
}

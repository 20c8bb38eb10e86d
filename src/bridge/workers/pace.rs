//! How often running utterances are to be read, as the pool tells it to whoever listens.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::speech::schedule::Schedule;
use crate::speech::settings::Settings;

/// How much more of a running utterance is to be said before it is read again, for whoever listens; 0 while there are no partials.
#[derive(Debug)]
pub struct Pace(AtomicU32);

impl Pace {
    pub(super) fn new(settings: &Settings) -> Pace {
        Pace(AtomicU32::new(if settings.partials { settings.partial_every_ms } else { 0 }))
    }

    /// For tests and for who has no workers: never.
    pub fn never() -> Pace {
        Pace(AtomicU32::new(0))
    }

    /// The interval now; `None`: no partials.
    pub fn get(&self) -> Option<Duration> {
        let ms = self.0.load(Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(ms.into()))
    }

    /// Takes over what the schedule says now.
    pub(super) fn follow(&self, schedule: &Schedule) {
        let ms = schedule.pace().map_or(0, |every| u32::try_from(every.as_millis()).unwrap_or(u32::MAX));
        self.0.store(ms, Ordering::Relaxed);
    }
}

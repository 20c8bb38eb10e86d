//! How often running utterances are read again, by how busy the workers are. No IO: whoever asks brings the time.

use std::time::Duration;

use crate::time::Mono;

/// Time over which the load is averaged.
const MEMORY: Duration = Duration::from_secs(4);
/// Up to this share of busy workers the shortest interval holds.
const CALM: f64 = 0.5;
/// From this share on the longest does.
const BUSY: f64 = 0.9;

/// The load of the workers, averaged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    at: Mono,
    busy: f64,
}

impl Pace {
    /// Until `now`, `running` of `workers` were busy.
    pub fn advance(&mut self, now: Mono, running: usize, workers: usize) {
        let share = running as f64 / workers.max(1) as f64;
        let weight = 1.0 - (-now.since(self.at).as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.busy += weight * (share.min(1.0) - self.busy);
        self.at = self.at.max(now);
    }

    /// Share of the workers that were busy lately, 0–1.
    pub fn busy(&self) -> f64 {
        self.busy
    }

    /// How long after a reading the next one is wanted.
    pub fn interval(&self, shortest: Duration, longest: Duration) -> Duration {
        let share = ((self.busy - CALM) / (BUSY - CALM)).clamp(0.0, 1.0);
        shortest + longest.saturating_sub(shortest).mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: Duration = Duration::from_millis(600);
    const LONGEST: Duration = Duration::from_secs(2);

    #[test]
    fn the_interval_follows_the_load_and_comes_back() {
        let mut pace = Pace::default();
        assert_eq!(pace.interval(SHORTEST, LONGEST), SHORTEST);
        let at = |ms: u64| Mono(ms * 1_000_000);
        pace.advance(at(20_000), 1, 4);
        assert_eq!(pace.interval(SHORTEST, LONGEST), SHORTEST, "a quarter is busy");
        pace.advance(at(60_000), 3, 4);
        let between = pace.interval(SHORTEST, LONGEST);
        assert!(between > SHORTEST && between < LONGEST, "{between:?}");
        pace.advance(at(100_000), 4, 4);
        assert_eq!(pace.interval(SHORTEST, LONGEST), LONGEST);
        pace.advance(at(130_000), 0, 4);
        assert_eq!(pace.interval(SHORTEST, LONGEST), SHORTEST);
        pace.advance(at(1), 4, 4);
        assert!(pace.busy() < 0.01, "time does not run backwards");
    }
}

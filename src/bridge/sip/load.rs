//! Whether the driver keeps up with its queue: a burst may fill it, what lasts is too much. Virtual time.

use std::time::Duration;

use super::EVENTS_MAX;
use crate::time::Mono;

/// A queue this long is being filled faster than it is emptied …
const MANY: usize = EVENTS_MAX / 2;
/// … until it is nearly empty again.
const FEW: usize = EVENTS_MAX / 8;
/// How long it may be so: shorter than T1 (RFC 3261 §17.1.1.1), after which all that waits is sent again and makes the queue longer.
const BURST: Duration = Duration::from_millis(200);

/// Since when the queue is long.
#[derive(Debug, Default)]
pub(super) struct Load {
    since: Option<Mono>,
}

impl Load {
    /// Whether more comes than can be done, with this many events waiting now.
    pub(super) fn is_behind(&mut self, waiting: usize, now: Mono) -> bool {
        self.since = match self.since {
            Some(_) if waiting <= FEW => None,
            None if waiting >= MANY => Some(now),
            since => since,
        };
        self.since.is_some_and(|since| now.since(since) >= BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono(millis * 1_000_000)
    }

    #[test]
    fn a_burst_is_none_and_a_queue_that_stays_long_is_until_it_is_nearly_empty() {
        let mut load = Load::default();
        assert!(!load.is_behind(EVENTS_MAX, at(0)) && !load.is_behind(MANY, at(199)));
        assert!(!load.is_behind(FEW, at(200)), "done in time");
        assert!(!load.is_behind(MANY, at(300)) && load.is_behind(FEW + 1, at(500)));
        assert!(
            load.is_behind(FEW + 1, at(5_000)) && !load.is_behind(0, at(5_001)) && !load.is_behind(MANY - 1, at(6_000))
        );
    }
}

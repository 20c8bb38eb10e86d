//! Whether an endpoint answers at all. After a few failures in a row it gets one attempt at a time, ever farther apart, until one is answered
//! (a circuit breaker, half-open between its pauses). What fails meanwhile is no fault of the events: their attempts are not counted.

use std::time::Duration;

use crate::time::Mono;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row that open it.
    pub failures: u32,
    /// The first pause; each one after it is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub longest: Duration,
}

/// One endpoint's breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: Limits,
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Everything flies.
    Closed,
    /// Nothing flies until then, and then one.
    Open { until: Mono, pause: Duration },
    /// That one is in the air.
    Probing { pause: Duration },
}

impl Breaker {
    /// A closed one.
    pub fn new(limits: Limits) -> Self {
        Self { limits, failures: 0, state: State::Closed }
    }

    /// Other limits, from the next failure on.
    pub fn tune(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether a delivery may fly now.
    pub fn lets_through(&self, now: Mono) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until, .. } => until <= now,
            State::Probing { .. } => false,
        }
    }

    /// A delivery flies; from an open breaker it is the probe.
    pub fn flies(&mut self) {
        if let State::Open { pause, .. } = self.state {
            self.state = State::Probing { pause };
        }
    }

    /// What flew last came to nothing without an attempt; if it was the probe, another one may be it.
    pub fn did_not_try(&mut self) {
        if let State::Probing { pause } = self.state {
            self.state = State::Open { until: Mono(0), pause };
        }
    }

    /// The endpoint did not answer, or said that it cannot take anything for as long as `asked` (zero: it did not say). Gives whether the
    /// breaker is open now.
    pub fn failed(&mut self, asked: Duration, now: Mono) -> bool {
        // who asks for time knows best
        let open = |pause: Duration| State::Open { until: now + if asked.is_zero() { pause } else { asked }, pause };
        self.state = match self.state {
            State::Closed => {
                self.failures += 1;
                if asked.is_zero() && self.failures < self.limits.failures {
                    return false;
                }
                open(self.limits.pause.min(self.limits.longest))
            }
            State::Probing { pause } if !asked.is_zero() => open(pause),
            State::Probing { pause } => open((pause * 2).min(self.limits.longest)),
            // it had flown before
            State::Open { until, pause } => State::Open { until: until.max(now + asked), pause },
        };
        true
    }

    /// The endpoint answered, whatever it said of the event. Gives whether the breaker was open.
    pub fn answered(&mut self) -> bool {
        let was_open = self.is_open();
        (self.failures, self.state) = (0, State::Closed);
        was_open
    }

    /// Whether the endpoint counts as down.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// When the next probe may fly; `None` while closed, and while one flies.
    pub fn due(&self) -> Option<Mono> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed | State::Probing { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { failures: 3, pause: Duration::from_secs(5), longest: Duration::from_secs(12) };

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_probes_farther_and_farther_apart() {
        let mut breaker = Breaker::new(LIMITS);
        assert!(!breaker.failed(Duration::ZERO, at(0)) && !breaker.failed(Duration::ZERO, at(0)));
        assert!(!breaker.answered() && !breaker.failed(Duration::ZERO, at(0)), "in a row only");
        assert!(!breaker.failed(Duration::ZERO, at(1)) && breaker.failed(Duration::ZERO, at(1)));
        let mut opened = at(1);
        for pause in [5, 10, 12, 12] {
            let due = opened + Duration::from_secs(pause);
            assert_eq!(breaker.due(), Some(due));
            assert!(!breaker.lets_through(Mono(due.0 - 1)) && breaker.lets_through(due));
            breaker.flies();
            assert!(!breaker.lets_through(due) && breaker.due().is_none(), "one at a time");
            assert!(breaker.failed(Duration::ZERO, due));
            opened = due;
        }
        breaker.flies();
        assert!(breaker.answered() && !breaker.is_open() && breaker.lets_through(opened));
    }

    #[test]
    fn who_asks_for_time_gets_it_at_once() {
        let mut breaker = Breaker::new(LIMITS);
        assert!(breaker.failed(Duration::from_secs(1), at(0)));
        assert_eq!(breaker.due(), Some(at(1)));
        breaker.flies();
        assert!(breaker.failed(Duration::from_secs(59), at(1)));
        assert_eq!(breaker.due(), Some(at(60)));
        assert!(breaker.failed(Duration::ZERO, at(1)) && breaker.failed(Duration::from_secs(90), at(2)));
        assert_eq!(breaker.due(), Some(at(92)), "what had flown before is heard, too");
    }

    #[test]
    fn a_probe_that_was_not_tried_is_none() {
        let mut breaker = Breaker::new(LIMITS);
        breaker.failed(Duration::from_secs(60), at(0));
        breaker.flies();
        breaker.did_not_try();
        assert!(breaker.lets_through(at(0)) && breaker.is_open());
    }
}

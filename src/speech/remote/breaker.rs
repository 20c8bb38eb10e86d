//! When a server is left alone: after faults in a row or when it says so, until a probe is answered. No IO; times are given.

use std::time::Duration;

use crate::time::Mono;

/// Faults in a row after which the server counts as ill.
const FAULTS: u32 = 3;
/// Waits between probes.
const WAITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
];
/// The longest `Retry-After` that is kept to.
const LONGEST: Duration = Duration::from_secs(300);

/// Whether a server gets work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Until then it is left alone; `None` while it works.
    until: Option<Mono>,
    faults: u32,
    probes: usize,
}

impl Breaker {
    /// For a server of which nothing is known: it is asked at once whether it is there.
    pub fn new(now: Mono) -> Breaker {
        Breaker { until: Some(now), faults: 0, probes: 0 }
    }

    /// Whether it gets work.
    pub fn works(&self) -> bool {
        self.until.is_none()
    }

    /// When it is to be probed; `None` while it works.
    pub fn probe_at(&self) -> Option<Mono> {
        self.until
    }

    /// It answered a request, be it with a refusal.
    pub fn answered(&mut self) {
        self.faults = 0;
    }

    /// It broke or hung on a request. Tells whether it is left alone from now on and was not before.
    pub fn failed(&mut self, now: Mono) -> bool {
        self.faults = self.faults.saturating_add(1);
        self.faults >= FAULTS && self.open(now, None)
    }

    /// It cannot be reached, or wants to be left alone. Tells whether it is from now on and was not before.
    pub fn refused(&mut self, now: Mono, wait: Option<Duration>) -> bool {
        self.open(now, wait)
    }

    /// A probe was answered.
    pub fn recovered(&mut self) {
        *self = Breaker { until: None, faults: 0, probes: 0 };
    }

    /// A probe was not answered.
    pub fn still_ill(&mut self, now: Mono, wait: Option<Duration>) {
        self.until = Some(now + self.wait(wait));
    }

    fn open(&mut self, now: Mono, wait: Option<Duration>) -> bool {
        if let Some(until) = self.until {
            // answers of requests that were under way say no more than is known, unless they ask for longer
            self.until = Some(until.max(now + wait.unwrap_or_default().min(LONGEST)));
            return false;
        }
        self.probes = 0;
        self.until = Some(now + self.wait(wait));
        true
    }

    fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let planned = WAITS.get(self.probes).or(WAITS.last()).copied().unwrap_or_default();
        self.probes = (self.probes + 1).min(WAITS.len());
        asked.map_or(planned, |asked| asked.clamp(Duration::from_millis(100), LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(0) + Duration::from_secs(seconds)
    }

    fn working() -> Breaker {
        let mut breaker = Breaker::new(at(0));
        breaker.recovered();
        breaker
    }

    #[test]
    fn an_unknown_server_is_probed_before_it_gets_work() {
        let breaker = Breaker::new(at(7));
        assert!(!breaker.works());
        assert_eq!(breaker.probe_at(), Some(at(7)));
        assert!(working().works() && working().probe_at().is_none());
    }

    #[test]
    fn three_faults_in_a_row_open_it_and_an_answer_in_between_does_not() {
        let mut breaker = working();
        assert!(!breaker.failed(at(1)) && !breaker.failed(at(2)));
        breaker.answered();
        assert!(!breaker.failed(at(3)) && !breaker.failed(at(4)) && breaker.works());
        assert!(breaker.failed(at(5)) && !breaker.works());
        assert_eq!(breaker.probe_at(), Some(at(6)));
        assert!(!breaker.failed(at(5)), "told once");
    }

    #[test]
    fn the_waits_grow_and_begin_anew_after_a_recovery() {
        let mut breaker = working();
        assert!(breaker.refused(at(0), None));
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let due = breaker.probe_at().unwrap();
            waits.push(due.since(now).as_secs());
            now = due;
            breaker.still_ill(now, None);
        }
        assert_eq!(waits, [1, 2, 5, 15, 30, 30, 30]);
        breaker.recovered();
        assert!(breaker.refused(now, None));
        assert_eq!(breaker.probe_at(), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn retry_after_is_kept_to_within_bounds() {
        let mut breaker = working();
        assert!(breaker.refused(at(0), Some(Duration::from_secs(20))));
        assert_eq!(breaker.probe_at(), Some(at(20)));
        assert!(!breaker.refused(at(1), Some(Duration::from_secs(60))), "another request asks for longer");
        assert_eq!(breaker.probe_at(), Some(at(61)));
        breaker.still_ill(at(61), Some(Duration::from_secs(86_400)));
        assert_eq!(breaker.probe_at(), Some(at(361)));
        breaker.still_ill(at(400), Some(Duration::ZERO));
        assert_eq!(breaker.probe_at(), Some(at(400) + Duration::from_millis(100)), "never without a pause");
    }
}

//! The coverage ledger: what became of every millisecond of one speaker on one leg. The shares sum to the duration, exactly.

use std::collections::BTreeMap;

use crate::events::Coverage;
use crate::time::Wall;

/// What became of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Speech with text.
    Transcribed,
    /// Heard, nobody spoke.
    Silent,
    /// Audio that never came.
    Lost,
    /// Recording was paused.
    Paused,
    /// The line's policy excludes it.
    Excluded,
    /// The bridge could not hear it.
    Unobserved,
    /// Speech whose text is still to come.
    Pending,
    /// Speech that could not be recognised.
    Failed,
}

/// Time from answer to end; unobserved until marked otherwise. A later mark wins over an earlier one.
#[derive(Clone, Debug)]
pub struct Ledger {
    end: u64,
    from: Wall,
    /// Start of a stretch in milliseconds → what it is, up to the next start.
    shares: BTreeMap<u64, Share>,
}

impl Ledger {
    /// A ledger of `from`..`to`; empty when `to` is earlier.
    pub fn new(from: Wall, to: Wall) -> Self {
        let end = u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX);
        Self { end, from, shares: BTreeMap::from([(0, Share::Unobserved)]) }
    }

    /// Marks `from`..`to` as `share`; what lies outside the ledger is cut off.
    pub fn mark(&mut self, from: Wall, to: Wall, share: Share) {
        let (from, to) = (self.offset(from), self.offset(to));
        if from >= to {
            return;
        }
        let after = self.shares.range(..=to).next_back().map_or(Share::Unobserved, |(_, share)| *share);
        let inside: Vec<u64> = self.shares.range(from..=to).map(|(at, _)| *at).collect();
        for at in inside {
            self.shares.remove(&at);
        }
        self.shares.insert(from, share);
        if to < self.end {
            self.shares.insert(to, after);
        }
    }

    /// The sums in milliseconds.
    pub fn coverage(&self) -> Coverage {
        let mut sums = Coverage { duration: self.end, ..Coverage::default() };
        let starts = self.shares.iter();
        let ends = self.shares.keys().skip(1).copied().chain([self.end]);
        for ((start, share), end) in starts.zip(ends) {
            let length = end.saturating_sub(*start);
            *match share {
                Share::Transcribed => &mut sums.transcribed,
                Share::Silent => &mut sums.silent,
                Share::Lost => &mut sums.lost,
                Share::Paused => &mut sums.paused,
                Share::Excluded => &mut sums.excluded,
                Share::Unobserved => &mut sums.unobserved,
                Share::Pending => &mut sums.pending,
                Share::Failed => &mut sums.failed,
            } += length;
        }
        sums
    }

    fn offset(&self, at: Wall) -> u64 {
        u64::try_from(at.since(self.from).as_millis()).unwrap_or(u64::MAX).min(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: i64) -> Wall {
        Wall(1_000_000 + n * 1_000)
    }

    fn sum(c: &Coverage) -> u64 {
        c.transcribed + c.silent + c.lost + c.paused + c.excluded + c.unobserved + c.pending + c.failed
    }

    #[test]
    fn later_marks_cut_earlier_ones() {
        let mut ledger = Ledger::new(ms(0), ms(10_000));
        ledger.mark(ms(-500), ms(9_000), Share::Silent);
        ledger.mark(ms(2_000), ms(4_000), Share::Transcribed);
        ledger.mark(ms(3_500), ms(5_000), Share::Lost);
        ledger.mark(ms(2_500), ms(2_600), Share::Lost);
        let c = ledger.coverage();
        assert_eq!((c.silent, c.transcribed, c.lost, c.unobserved), (6_000, 1_400, 1_600, 1_000));
        assert_eq!(sum(&c), c.duration);
    }

    #[test]
    fn the_sum_is_the_duration_whatever_is_marked() {
        let mut x = 9u64;
        let mut next = |bound: u64| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) % bound
        };
        for _ in 0..300 {
            let end = next(5_000);
            let mut ledger = Ledger::new(ms(0), ms(end as i64));
            for _ in 0..next(60) {
                let (a, b) = (next(6_000) as i64 - 500, next(6_000) as i64 - 500);
                let all =
                    [Share::Transcribed, Share::Silent, Share::Lost, Share::Pending, Share::Failed, Share::Paused];
                ledger.mark(ms(a), ms(b), all[next(6) as usize]);
            }
            let c = ledger.coverage();
            assert_eq!((sum(&c), c.duration), (end, end));
        }
    }

    #[test]
    fn an_end_before_the_start_is_an_empty_ledger() {
        assert_eq!(Ledger::new(ms(5), ms(1)).coverage(), Coverage::default());
    }
}

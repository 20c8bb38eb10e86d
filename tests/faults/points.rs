//! Many points of one test, as many at once as there are processors, each with its dice.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ledger::Sums;
use crate::mutate::Dice;
use crate::seed::seed;

/// What points found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) sums: Sums,
    /// Kills, by the kind of call at which they were.
    pub(crate) kills: BTreeMap<&'static str, usize>,
    /// Writes and syncs that were refused.
    pub(crate) refused: u64,
}

impl Found {
    pub(crate) fn killed(&mut self, by: Option<&'static str>) {
        if let Some(kind) = by {
            *self.kills.entry(kind).or_default() += 1;
        }
    }

    pub(crate) fn all_kills(&self) -> usize {
        self.kills.values().sum()
    }
}

impl std::ops::AddAssign for Found {
    fn add_assign(&mut self, more: Found) {
        self.sums += more.sums;
        self.refused += more.refused;
        more.kills.into_iter().for_each(|(kind, count)| *self.kills.entry(kind).or_default() += count);
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sums { accepted, arrived, duplicates } = self.sums;
        write!(f, "{accepted} accepted, {arrived} arrived at two endpoints, {duplicates} duplicates; ")?;
        write!(f, "{} kills {:?}, {} writes and syncs refused", self.all_kills(), self.kills, self.refused)
    }
}

/// At how many points a test that has `usual` of them by default is to try.
pub(crate) fn points(usual: usize) -> usize {
    let given = std::env::var("KAKEHASHI_FAULT_POINTS").ok();
    let given = given.map(|text| text.parse::<usize>().expect("KAKEHASHI_FAULT_POINTS is a whole number"));
    given.map_or(usual, |given| (given * usual).div_ceil(50))
}

/// Tries every point, and prints one line.
///
/// # Panics
/// At the first point that fails, with its seed.
pub(crate) fn at_each(name: &str, count: usize, point: impl Fn(usize, Dice) -> Result<Found, String> + Sync) -> Found {
    let (seed, next) = (seed(), AtomicUsize::new(0));
    let worker = || -> Result<Found, String> {
        let mut found = Found::default();
        loop {
            let n = next.fetch_add(1, Ordering::SeqCst);
            if n >= count {
                return Ok(found);
            }
            let dice = Dice(seed ^ (n as u64 + 1).wrapping_mul(0x1234_5678_9abc_def1));
            found += point(n, dice).map_err(|problem| {
                next.store(count, Ordering::SeqCst);
                format!("{name}, point {n} of {count}, KAKEHASHI_SEED={seed}: {problem}")
            })?;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let mut all = Found::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            match worker.join() {
                Ok(Ok(found)) => all += found,
                Ok(Err(problem)) => panic!("{problem}"),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    println!("{name}: {count} points, {all} (KAKEHASHI_SEED={seed})");
    all
}

//! The clock steps by ten years, while the process runs and while it does not.

use crate::child::Work;
use crate::kill::kill_one;
use crate::points::{Found, at_each, points};
use crate::power::Orders;
use crate::receiver::Temper;
use crate::run::Run;

const YEAR_S: i64 = 31_557_600;
const TEN_YEARS_S: i64 = 10 * YEAR_S;

#[test]
fn steps_while_it_runs_lose_and_delay_nothing() {
    at_each("clock steps while running", points(2), |n, mut dice| {
        let mut run =
            Run::new(Work { batch: 1, window: 1, pace_ms: 5, ..Work::default() }, Temper::bad(30, dice.roll()));
        let (all, way) = (run.work.all(), if n % 2 == 0 { 1 } else { -1 });
        let mut child = run.start(Orders::default(), false);
        for (quarter, step) in [(1, way * TEN_YEARS_S), (2, -way * TEN_YEARS_S), (3, 0)] {
            child.until(|child| child.accepted() >= all * quarter / 4)?;
            child.control.step_clock(step);
        }
        child.end()?;
        let years = years(&run);
        if years < 19 {
            return Err(format!("events are {years} years apart: the clock has not stepped"));
        }
        Ok(Found { sums: run.check()?, ..Found::default() })
    });
}

/// How far the events are apart that have arrived.
fn years(run: &Run) -> i64 {
    let times = run.receiver.times();
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    last.since(*first).as_secs() as i64 / YEAR_S
}

#[test]
fn steps_over_a_restart_lose_nothing_and_delay_nothing_that_was_not_sent() {
    const STEPS: [(i64, i64); 4] = [(0, TEN_YEARS_S), (0, -TEN_YEARS_S), (TEN_YEARS_S, 0), (-TEN_YEARS_S, 0)];
    at_each("clock steps over a restart", points(4), |n, mut dice| {
        let (before, after) = STEPS[n % STEPS.len()];
        // who waits for a retry waits for it a day at most when the clock is set back: that is the next test's
        let (bad, timeout_ms) = if after > before { (30, 400) } else { (0, 20_000) };
        let work = Work { timeout_ms, ..Work::default() };
        let orders = Orders { kill_at: Some(1 + dice.below(3_000) as u64), clock_s: before, ..Orders::default() };
        let temper = Temper::bad(bad, dice.roll());
        let (mut run, mut found) = kill_one(&work, temper, orders, false, &mut dice)?;
        run.child(Orders { clock_s: after, ..Orders::default() }, false)?;
        found.sums += run.check()?;
        Ok(found)
    });
}

#[test]
fn a_clock_that_was_set_back_keeps_retries_for_later_and_loses_none() {
    at_each("clock set back", points(2), |_, mut dice| {
        let temper = Temper::bad(60, dice.roll());
        let orders =
            Orders { kill_at: Some(1_000 + dice.below(2_000) as u64), clock_s: TEN_YEARS_S, ..Orders::default() };
        let (mut run, mut found) = kill_one(&Work::default(), temper, orders, false, &mut dice)?;
        run.work.leaves = true;
        run.child(Orders::default(), false)?;
        run.work.leaves = false;
        run.child(Orders { clock_s: TEN_YEARS_S, ..Orders::default() }, false)?;
        found.sums += run.check()?;
        Ok(found)
    });
}

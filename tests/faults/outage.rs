//! The receiver is away or busy for a minute, hours and days, which pass in leaps: store, delivery and connections are the real ones.

use std::time::{Duration, Instant};

use crate::child::{PATIENCE, Work};
use crate::ledger::Sums;
use crate::points::{Found, at_each};
use crate::power::Orders;
use crate::receiver::Temper;
use crate::run::{Living, Run};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// What the child has, at least, to do what is due between two leaps.
const MOMENT: Duration = Duration::from_millis(3);

/// One event of each contact every `pace`, tried again as a bridge does by default.
fn work(events: u64, pace: Duration) -> Work {
    let pace_ms = pace.as_millis() as u64;
    Work { events, batch: 1, window: 1, state_kib: 1, pace_ms, timeout_ms: 30_000, is_patient: true, ..Work::default() }
}

/// A child and how much time has passed for it.
struct Leaping<'a> {
    child: Living<'a>,
    since_start: Duration,
}

impl<'a> Leaping<'a> {
    fn start(run: &'a mut Run) -> Leaping<'a> {
        let child = run.start(Orders { time_leaps: true, ..Orders::default() }, false);
        Leaping { child, since_start: Duration::from_nanos(1) }
    }

    /// Time passes, `step` by `step`, until `fits`, or the child has ended. It does not leap while a realtime event is on its way.
    fn until(&mut self, step: Duration, fits: impl Fn(&Leaping<'_>) -> bool) -> Result<(), String> {
        let mut last = Instant::now();
        while !fits(self) {
            if self.child.receiver().pops() == 2 * self.child.pops {
                self.since_start += step;
                self.child.control.passes(self.since_start);
                last = Instant::now();
            }
            if self.since_start > HOUR * 24 * 7 || last.elapsed() > PATIENCE {
                let (pops, accepted) = (self.child.pops, self.child.accepted());
                let came = self.child.receiver().pops();
                return Err(format!("after {:?}: {accepted} accepted, {pops} pops, {came} came", self.since_start));
            }
            std::thread::sleep(MOMENT);
            if !self.child.listen() {
                break;
            }
        }
        Ok(())
    }

    fn finish(mut self, step: Duration) -> Result<(), String> {
        self.until(step, |_| false)?;
        self.child.end().map(|_| ())
    }
}

/// The receiver comes when `outage` has passed.
fn down(name: &str, outage: Duration, step: Duration, work: &Work) -> Sums {
    let found = at_each(name, 1, |_, _| {
        let mut run = Run::without_receiver(work.clone());
        let mut time = Leaping::start(&mut run);
        let all = work.all();
        time.until(step, |time| time.since_start >= outage && time.child.accepted() == all)?;
        println!("{name}: the receiver was away for {:.1?}", time.since_start);
        time.child.receiver().come();
        time.finish(Duration::from_secs(1))?;
        Ok(Found { sums: run.check()?, ..Found::default() })
    });
    found.sums
}

#[test]
fn a_receiver_that_is_away_for_a_minute_gets_everything() {
    let work = work(12, Duration::from_secs(4));
    let sums = down("down for a minute", MINUTE, Duration::from_millis(100), &work);
    assert_eq!(sums.accepted, work.all());
}

#[test]
fn a_receiver_that_is_away_for_three_days_gets_everything() {
    let work = work(71, HOUR);
    let sums = down("down for 72 hours", HOUR * 72, MINUTE, &work);
    assert_eq!(sums.accepted, work.all());
}

/// 429 with `Retry-After: 3600` for records; what an operator's screen is told arrives all the same, beside a backlog that only grows.
#[test]
fn a_receiver_that_asks_for_an_hour_gets_it_and_pops_do_not_wait() {
    at_each("429 for five hours", 1, |_, _| {
        let work = Work { pops: true, ..work(9, HOUR / 2) };
        let mut run = Run::new(work.clone(), Temper::busy());
        let mut time = Leaping::start(&mut run);
        let all = work.all();
        let over = |time: &Leaping<'_>| time.child.accepted() == all && time.child.receiver().pops() == 2 * all;
        time.until(Duration::from_secs(10), |time| time.since_start >= HOUR * 5 && over(time))?;
        let (hours, requests) = (time.since_start.as_secs().div_ceil(3_600), time.child.receiver().arrivals());
        // each endpoint: one request of each contact before it has answered, and one an hour; twice as many, as a leap may look like no answer
        let most = 4 * (work.contacts + hours) as usize;
        if requests.len() > most || requests.iter().any(|request| request.taken) {
            return Err(format!("{} requests in {hours} hours; at most {most} were asked for", requests.len()));
        }
        println!("two endpoints busy for {hours} hours: {} requests of records, {} pops", requests.len(), 2 * all);
        time.child.receiver().behave(Temper::good());
        time.finish(Duration::from_secs(1))?;
        Ok(Found { sums: run.check()?, ..Found::default() })
    });
}

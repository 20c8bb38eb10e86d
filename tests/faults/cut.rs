//! The power is cut, at points spread over every call to a file: the files are put back as the disk may have them.

use crate::child::Work;
use crate::kill::{calls, kill_one, share};
use crate::points::{Found, at_each, points};
use crate::power::{Counted, Orders};
use crate::receiver::Temper;
use crate::run::Run;

#[test]
fn a_power_cut_at_any_call_loses_nothing() {
    let found = cut("power cut", Counted::Files, points(30));
    assert!(found.kills.contains_key("write"), "{found}");
}

#[test]
fn a_power_cut_at_any_call_but_writes_loses_nothing() {
    let found = cut("power cut at a sync", Counted::FilesButWrites, points(12));
    assert!(found.kills.contains_key("sync"), "{found}");
}

fn cut(name: &str, counted: Counted, count: usize) -> Found {
    let work = Work::default();
    let calls = calls(&work, counted);
    let found = at_each(name, count, |n, mut dice| {
        let orders = Orders { kill_at: share(n, count, calls), kill_after: n % 2 == 1, counted, ..Orders::default() };
        let work = Work { forgets: n % 8 == 0, ..work.clone() };
        let (mut run, mut found) = kill_one(&work, Temper::good(), orders, true, &mut dice)?;
        run.cut_power(&mut dice);
        if n % 3 == 0 {
            // while it recovers, or later
            let within = 1 + dice.below(calls as usize);
            let kill_at = Some(1 + dice.below(within) as u64);
            found.killed(run.child(Orders { kill_at, ..orders }, true)?.killed);
            run.cut_power(&mut dice);
        }
        found.sums += run.finish(true)?;
        Ok(found)
    });
    assert!(found.all_kills() >= count, "{found}");
    found
}

/// Every call of a start on an empty folder and of the end after it.
#[test]
fn a_power_cut_while_the_store_is_made_leaves_one_that_can_be_used() {
    let nothing = Work { contacts: 0, ..Work::default() };
    let mut run = Run::new(nothing.clone(), Temper::good());
    let calls = run.child(Orders { counted: Counted::Files, ..Orders::default() }, false).unwrap().calls as usize;
    let found = at_each("power cut at the first start", calls * points(50).div_ceil(50), |n, mut dice| {
        let kill_at = Some(1 + (n % calls) as u64);
        let orders = Orders { kill_at, kill_after: dice.below(2) == 1, counted: Counted::Files, ..Orders::default() };
        let (mut run, mut found) = kill_one(&nothing, Temper::good(), orders, true, &mut dice)?;
        run.cut_power(&mut dice);
        run.work = Work { contacts: 1, events: 2, ..run.work };
        found.sums += run.finish(true)?;
        Ok(found)
    });
    assert!(found.sums.accepted >= 2 * calls);
}

/// The other way round: without syncs the ledger has to find a loss, or it would find none anywhere.
#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let (work, losses) = (Work::default(), std::sync::Mutex::new(Vec::new()));
    let calls = calls(&work, Counted::Files);
    at_each("lying disk", 6, |n, mut dice| {
        let orders =
            Orders { kill_at: share(n + 6, 12, calls), counted: Counted::Files, lies: true, ..Orders::default() };
        let (mut run, found) = kill_one(&work, Temper::good(), orders, true, &mut dice)?;
        run.cut_power(&mut dice);
        if let Err(loss) = run.finish(true) {
            losses.lock().unwrap().push(loss);
        }
        Ok(found)
    });
    // one in six finds everything as it was
    let losses = losses.into_inner().unwrap();
    println!("lying disk: found out at {} of 6 points", losses.len());
    assert!(losses.len() >= 2, "{losses:?}");
}

#[test]
fn a_sync_that_fails_and_then_a_power_cut_lose_nothing() {
    let work = Work::default();
    let mut run = Run::new(work.clone(), Temper::good());
    let mut whole = run.start(Orders { counted: Counted::Files, ..Orders::default() }, false);
    whole.until(|_| false).unwrap();
    let (calls, syncs) = (whole.control.calls() as usize, whole.control.of_kind("sync") as usize);
    whole.end().unwrap();
    let found = at_each("failed sync", points(12), |n, mut dice| {
        // every third time it is the checkpoint's, and power is cut late; the first are those of a store that is being made
        let within = 1 + dice.below(syncs);
        let (sync_fails, base_fails, kill_at) = match n % 3 {
            0 => (None, Some(2), calls / 2 + dice.below(calls / 2)),
            _ => (Some(1 + dice.below(within) as u64), None, 1 + dice.below(calls)),
        };
        let orders = Orders {
            kill_at: Some(kill_at as u64),
            counted: Counted::Files,
            sync_fails,
            base_fails,
            ..Orders::default()
        };
        let (mut run, mut found) = kill_one(&work, Temper::good(), orders, true, &mut dice)?;
        run.cut_power(&mut dice);
        found.sums += run.finish(true)?;
        Ok(found)
    });
    assert!(found.refused > 0, "no sync failed before its power cut");
}

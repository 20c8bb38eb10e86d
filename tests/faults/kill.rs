//! SIGKILL, at points spread over every call to a file or a socket.

use kakehashi::outbox::lane::LANE_IN_MEMORY;

use crate::child::Work;
use crate::mutate::Dice;
use crate::points::{Found, at_each, points};
use crate::power::{Counted, Orders};
use crate::receiver::Temper;
use crate::run::Run;

/// How many calls a run without a fault makes.
pub(crate) fn calls(work: &Work, counted: Counted) -> u64 {
    for _ in 0..10 {
        let mut run = Run::new(work.clone(), Temper::good());
        let end = run.child(Orders { counted, ..Orders::default() }, true).unwrap();
        assert_eq!(run.unseen(), None, "the library has to see every change of a file");
        assert_eq!(run.check().unwrap().accepted, work.all());
        // a busy machine commits larger groups, and may write too little for one
        if run.has_checkpoint() {
            return end.calls;
        }
    }
    panic!("a checkpoint in the middle of the work is part of what is tried");
}

/// Kills a run's first child at its share of the calls; gives the run, for what follows.
pub(crate) fn kill_one(
    work: &Work,
    temper: Temper,
    orders: Orders,
    logged: bool,
    dice: &mut Dice,
) -> Result<(Run, Found), String> {
    let mut orders = orders;
    loop {
        let mut run = Run::new(work.clone(), temper);
        let end = run.child(orders, logged)?;
        let mut found = Found { refused: end.faults, ..Found::default() };
        if end.killed.is_some() || (end.refused.is_some() && end.faults > 0) {
            found.killed(end.killed);
            return Ok((run, found));
        }
        // this run had fewer calls than the one that was counted: once more, before its end
        orders.kill_at = Some(1 + dice.below(end.calls as usize) as u64);
    }
}

/// The call in the middle of the n-th of `count` equal shares.
pub(crate) fn share(n: usize, count: usize, calls: u64) -> Option<u64> {
    Some(1 + calls * (2 * n as u64 + 1) / (2 * count as u64))
}

#[test]
fn killed_at_any_call_it_loses_nothing() {
    let found = killed("kill", Counted::All, points(50));
    assert!(found.kills.contains_key("write"), "{found}");
}

#[test]
fn killed_at_any_call_to_a_socket_it_loses_nothing() {
    killed("kill at a socket", Counted::Sockets, points(12));
}

#[test]
fn killed_at_any_call_to_a_file_but_writes_it_loses_nothing() {
    let found = killed("kill at a sync", Counted::FilesButWrites, points(8));
    assert!(found.kills.contains_key("sync"), "{found}");
}

fn killed(name: &str, counted: Counted, count: usize) -> Found {
    let work = Work::default();
    let calls = calls(&work, counted);
    let found = at_each(name, count, |n, mut dice| {
        let orders = Orders { kill_at: share(n, count, calls), kill_after: n % 2 == 1, counted, ..Orders::default() };
        let (mut run, mut found) = kill_one(&work, Temper::good(), orders, false, &mut dice)?;
        if n % 3 == 0 {
            // the one that takes over is killed too, early or late
            let within = 1 + dice.below(calls as usize);
            let kill_at = Some(1 + dice.below(within) as u64);
            found.killed(run.child(Orders { kill_at, ..orders }, false)?.killed);
        }
        found.sums += run.finish(false)?;
        Ok(found)
    });
    assert!(found.all_kills() >= count, "{found}");
    found
}

/// Lanes that are longer than memory are read again from the store while outcomes are on their way to it.
#[test]
fn killed_with_long_lanes_it_loses_nothing() {
    let work = Work { contacts: 2, events: 3 * LANE_IN_MEMORY as u64, state_kib: 1, window: 1_000, ..Work::default() };
    let found = at_each("kill with long lanes", points(6), |n, mut dice| {
        let group = if n % 2 == 0 { 256 } else { 4 };
        let temper = Temper::bad(5, dice.roll());
        let mut run = Run::new(Work { group, ..work.clone() }, temper);
        let mut found = Found::default();
        for _ in 0..2 {
            let orders = Orders { kill_at: Some(1 + dice.below(2_500) as u64), ..Orders::default() };
            found.killed(run.child(orders, false)?.killed);
        }
        found.sums += run.finish(false)?;
        Ok(found)
    });
    assert!(found.all_kills() > 0);
}

#[test]
fn a_receiver_that_misbehaves_and_kills_lose_nothing() {
    let found = at_each("receiver and kill", points(8), |n, mut dice| {
        let temper = Temper::bad(20 + dice.below(50), dice.roll());
        let group = if n % 2 == 0 { 256 } else { 4 };
        let mut run = Run::new(Work { group, ..Work::default() }, temper);
        let mut found = Found::default();
        for life in 0..3 {
            let kill_at = Some(1 + dice.below(3_000) as u64);
            let orders = Orders { kill_at, kill_after: life == 1, ..Orders::default() };
            found.killed(run.child(orders, false)?.killed);
        }
        found.sums += run.finish(false)?;
        Ok(found)
    });
    assert!(found.all_kills() > 0 && found.sums.duplicates > 0);
}

//! A ledger that proves that nothing is lost: what the outbox accepted against what arrived, over the real store and the real delivery by HTTP,
//! while the process is killed, the power is cut, the disk is full or fails, the clock steps and the receiver misbehaves or is away for three days.
//!
//! A child (this binary once more, `faults/child.rs`) has the outbox and the delivery; between it and the kernel stands `faults/power.c`. Accepted is
//! what the outbox acknowledged. It has to arrive, each contact's events first in order of sequence and without a hole, and what arrives again has
//! to be the same; the store has to be sound and to have nothing left. What was submitted and not acknowledged may arrive or not.
//!
//! Points and faults follow from a seed (`KAKEHASHI_SEED`, fresh and printed otherwise); how threads run does not. `KAKEHASHI_FAULT_POINTS` says at
//! how many points the child is killed (50); all other tests have their share of points. `make soak` takes 1,000.
#![cfg(target_os = "linux")]

#[path = "faults/child.rs"]
mod child;
#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/cut.rs"]
mod cut;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/disk_tests.rs"]
mod disk_tests;
#[path = "faults/full.rs"]
mod full;
#[path = "common/hook.rs"]
mod hook;
#[path = "faults/kill.rs"]
mod kill;
#[path = "faults/ledger.rs"]
mod ledger;
#[path = "common/mutate.rs"]
#[allow(dead_code)] // only the dice
mod mutate;
#[path = "faults/outage.rs"]
mod outage;
#[path = "faults/points.rs"]
mod points;
#[path = "faults/power.rs"]
mod power;
#[path = "faults/receiver.rs"]
mod receiver;
#[path = "faults/run.rs"]
mod run;
#[path = "common/seed.rs"]
mod seed;

/// Not a test: what the tests of this file start as a process of its own.
#[test]
#[ignore = "the child of the other tests"]
fn child() {
    child::main();
}

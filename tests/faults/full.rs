//! The disk is full, and is freed again.

use std::path::PathBuf;
use std::process::Command;

use crate::child::Work;
use crate::points::{Found, at_each, points};
use crate::power::Orders;
use crate::receiver::Temper;
use crate::run::{Living, Run};

/// Contacts submit all of their batches, whatever becomes of them.
fn work() -> Work {
    Work { window: 1_000, ..Work::default() }
}

/// All batches are submitted while nothing can be written.
fn submits_on(child: &mut Living<'_>) -> Result<(), String> {
    let all = child.work().all();
    let alive = child.until(|child| child.submitted == all && child.control.refused() >= 2)?;
    if !alive || child.accepted() == all {
        let (accepted, refused) = (child.accepted(), child.refused());
        return Err(format!("{accepted} of {all} events were accepted on a full disk, alive: {alive}, {refused:?}"));
    }
    Ok(())
}

#[test]
fn a_disk_that_is_full_before_the_store_is_made_is_told_and_harms_nothing() {
    let found = at_each("full disk, no store", points(6), |n, mut dice| {
        // the store and its copy are made at the same time, by some 100 writes; the last one of the store itself is the 64th at the earliest
        let full_from = Some(1 + dice.below(50) as u64);
        let orders = Orders { full_from, full_short: n % 2 == 1, ..Orders::default() };
        let mut run = Run::new(work(), Temper::bad(10, dice.roll()));
        let end = run.child(orders, false)?;
        match &end.refused {
            Some(problem) if problem.contains("disk is full; check free space") => {}
            other => return Err(format!("full from write {full_from:?}, and the store said {other:?}")),
        }
        Ok(Found { sums: run.finish(false)?, refused: end.faults, ..Found::default() })
    });
    assert!(found.refused > 0);
}

#[test]
fn a_full_disk_holds_events_up_and_loses_none() {
    let found = at_each("full disk", points(6), |n, mut dice| {
        let orders = Orders {
            // from the first commits to the last: no more than some 130 writes make the store
            full_from: Some(200 + dice.below(1_000) as u64),
            full_short: n % 2 == 1,
            ..Orders::default()
        };
        let mut run = Run::new(work(), Temper::bad(10, dice.roll()));
        let mut child = run.start(orders, false);
        submits_on(&mut child)?;
        if n % 3 == 2 {
            // a start on the full disk fails or waits; it harms nothing
            child.kill()?;
            child = run.start(Orders { full_from: Some(1), ..orders }, false);
            child.until(|child| child.control.refused() >= 2 || child.refused().is_some())?;
        }
        child.control.free();
        let end = child.end()?;
        let sums = if end.refused.is_some() { run.finish(false)? } else { run.check()? };
        Ok(Found { sums, refused: end.faults, ..Found::default() })
    });
    assert!(found.refused > 0);
}

/// Programs that give a child a mount table of its own: as root, else as root of a user namespace.
const OWN_MOUNTS: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--user", "--map-root-user", "--mount"]];

#[test]
fn a_small_file_system_that_is_full_holds_events_up_and_loses_none() {
    let may = |program: &&&[&str]| {
        let mount = "mount -t tmpfs -o size=1m none /tmp";
        let tried = Command::new(program[0]).args(&program[1..]).args(["sh", "-c", mount]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let Some(program) = OWN_MOUNTS.iter().find(may) else {
        println!("full file system: left out, this user may not mount one");
        return;
    };
    // less is left than the log takes before its first checkpoint; all of it is enough for the store and its copy with their logs
    let mount = "mount -t tmpfs -o size=48m none \"$0\" && head -c 48758784 /dev/zero >\"$0/ballast\" && exec \"$@\"";
    let found = at_each("full file system", points(2), |_, mut dice| {
        let mut run = Run::new(work(), Temper::bad(10, dice.roll()));
        let store = run.store().to_str().unwrap().to_string();
        let by: Vec<&str> = program.iter().copied().chain(["sh", "-c", mount, &store]).collect();
        let mut child = run.start_by(&by, Orders::default(), false);
        let ballast = PathBuf::from(format!("/proc/{}/root{store}/ballast", child.pid()));
        submits_on(&mut child)?;
        std::fs::remove_file(&ballast).unwrap();
        let end = child.end()?;
        // the file system went with the child: the receiver has to have everything
        Ok(Found { sums: run.arrived()?, refused: end.faults, ..Found::default() })
    });
    assert!(found.refused > 0);
}

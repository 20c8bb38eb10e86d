//! SIGTERM with fifty calls on a real exchange: each waits in a queue, is ended with its record, and is a contact again after the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kakehashi::call::ContactId;
use kakehashi::events::{Data, EndReason};

use crate::bridge::{Bridge, accepted_kinds, wait_for};
use crate::judge::{Received, gap_free, received};
use crate::lab::{finished, lab};
use crate::receiver::{PATIENCE, Receiver};

const CALLS: usize = 50;
/// How long the callers stay on the line: over the end of one bridge and the start of the next.
const TALK_S: &str = "40";
/// A caller who waits, with sound of its own.
const CALLER: &str = "6011=samples/calls/call1.wav";

fn contacts(receiver: &Receiver, fits: impl Fn(&Data) -> bool) -> BTreeSet<ContactId> {
    let events = received(&receiver.accepted());
    events.into_iter().filter(|one| fits(&one.event.data)).map(|one| one.event.contact).collect()
}

fn queued(receiver: &Receiver) -> BTreeSet<ContactId> {
    contacts(receiver, |data| matches!(data, Data::CallQueued(_)))
}

fn ended(receiver: &Receiver) -> BTreeSet<ContactId> {
    contacts(receiver, |data| matches!(data, Data::CallEnded(_)))
}

#[test]
#[ignore = "needs the lab: make lab"]
fn fifty_calls_are_handed_over_by_sigterm_to_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let bridge = Bridge::start(folder.path(), &receiver);
    let callers: Vec<&str> = ["callers"].into_iter().chain([CALLER; CALLS]).chain(["--talk-s", TALK_S]).collect();
    let callers = lab(&callers);
    wait_for("all calls wait in the queue", PATIENCE, || (queued(&receiver).len() == CALLS).then_some(()));
    let first = queued(&receiver);
    bridge.stop();
    let accepted = accepted_kinds(folder.path()).len();
    let bridge = Bridge::again(folder.path());
    wait_for("all calls are contacts again", PATIENCE, || {
        (queued(&receiver).difference(&first).count() == CALLS).then_some(())
    });
    finished(callers);
    wait_for("every contact has its end", Duration::from_secs(120), || {
        (ended(&receiver).len() == 2 * CALLS).then_some(())
    });
    bridge.stop();
    assert_eq!(receiver.counts()["refused"], 0);
    let mut events: BTreeMap<ContactId, Vec<Received>> = BTreeMap::new();
    for one in received(&receiver.accepted()) {
        events.entry(one.event.contact).or_default().push(one);
    }
    assert!(events.values().map(Vec::len).sum::<usize>() >= accepted);
    for (contact, events) in events {
        gap_free(&events).unwrap();
        let end = events.iter().rev().find_map(|one| match &one.event.data {
            Data::CallEnded(ended) => Some(ended.reason),
            _ => None,
        });
        let end = end.unwrap_or_else(|| panic!("{contact} has no end"));
        assert_eq!(end == EndReason::BridgeRestart, first.contains(&contact), "{contact} ended with {end:?}");
    }
}

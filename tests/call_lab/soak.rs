//! Calls one after the other with one bridge, for as long as `KAKEHASHI_SOAK_MINUTES` says (`make soak`).

use std::time::{Duration, Instant};

use crate::bridge::Bridge;
use crate::judge::{gap_free, received};
use crate::lab::{finished, lab};
use crate::receiver::Receiver;
use crate::whole::{documented, who};

/// After so many calls everything that is kept for reuse is there.
const WARM: usize = 5;

#[test]
#[ignore = "takes an hour: make soak"]
fn soak_calls_leave_nothing_behind_in_memory() {
    let minutes = std::env::var("KAKEHASHI_SOAK_MINUTES").map_or(60, |minutes| minutes.parse().unwrap());
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let bridge = Bridge::start(folder.path(), &receiver);
    let mut known = Vec::new();
    let mut warm = None;
    while Instant::now() < until || known.len() <= WARM {
        let call = lab(&["call", "6001", "--who", &who(), "--ring-s", "0.5", "--talk-s", "25"]);
        known.push(documented(&receiver, &known));
        finished(call);
        let kept = bridge.kept();
        println!("call {}: {} KiB, {} files", known.len(), kept.resident_kib, kept.files);
        if known.len() == WARM {
            warm = Some(kept);
        }
    }
    let (warm, end) = (warm.unwrap(), bridge.kept());
    assert!(end.resident_kib < warm.resident_kib + 32 * 1024, "memory grew from {warm:?} to {end:?}");
    assert!(end.files <= warm.files + 4, "open files grew from {warm:?} to {end:?}");
    bridge.stop();
    let events = received(&receiver.accepted());
    for contact in &known {
        let own: Vec<_> = events.iter().filter(|received| received.event.contact == *contact).cloned().collect();
        gap_free(&own).unwrap();
    }
    assert_eq!(receiver.counts()["refused"], 0);
}

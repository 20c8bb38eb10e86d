//! Floods: 5,000 requests a second from strangers and from a peer that is trusted, beside calls that must not lose a packet.
//! `KAKEHASHI_FLOOD_S` says for how many seconds (3).

#[path = "common/sip.rs"]
mod bridge;
#[path = "common/caller.rs"]
mod caller;
#[path = "common/flood.rs"]
mod flood;

use std::time::{Duration, Instant};

use bridge::{Bridge, Wanted};
use caller::{Caller, closed, seconds};
use flood::{Flood, resident_kib};
use kakehashi::pbx::Signal;

const PER_S: u32 = 5_000;

fn calls_beside(bridge: &Bridge, flood: &mut Flood) {
    let until = Instant::now() + Duration::from_secs(seconds());
    caller::calls_beside(bridge, until, || flood.goes_on(until));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_not_a_byte_cost_no_memory_and_running_calls_lose_nothing() {
    let bridge = Wanted { peers: "127.0.0.1/32", ..Wanted::new(27_200) }.start().await.unwrap();
    let mut warm = Flood::from("127.0.0.66", bridge.udp(), PER_S);
    tokio::task::block_in_place(|| warm.goes_on(Instant::now() + Duration::from_millis(500)));
    let before = resident_kib(std::process::id());
    let mut flood = Flood::from("127.0.0.66", bridge.udp(), PER_S);
    tokio::task::block_in_place(|| calls_beside(&bridge, &mut flood));
    let grown = resident_kib(std::process::id()).saturating_sub(before);
    assert!(flood.sent >= u64::from(PER_S) * seconds() * 9 / 10, "only {} were sent", flood.sent);
    assert_eq!((flood.bytes_back(), warm.bytes_back()), (0, 0), "a stranger was answered");
    assert!(grown < 16 << 10, "{grown} KiB more than before");
    let counters = bridge.counted(|counters| counters.uas.untrusted >= (warm.sent + flood.sent) / 2).await;
    assert_eq!(counters.uas.requests, 2 * 2, "INVITE and BYE of two calls");
    eprintln!("{} requests, {} seen, {grown} KiB", flood.sent, counters.uas.untrusted);
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_floods_is_told_then_ignored_and_the_others_call_as_ever() {
    let mut bridge = Wanted::new(27_240).start().await.unwrap();
    let mut flood = Flood::from("127.0.0.66", bridge.udp(), PER_S);
    tokio::task::block_in_place(|| calls_beside(&bridge, &mut flood));
    let counters = bridge.counted(|counters| counters.uas.flooded > 0).await;
    assert!(counters.uas.refused > 0, "{counters:?}");
    let taken = counters.uas.requests;
    let allowed = 400 + 200 * (seconds() + 2) + 4;
    assert!(taken <= allowed, "{taken} requests were taken, {allowed} are allowed");
    let after = tokio::task::block_in_place(|| {
        let caller = Caller::calls(&bridge, "after");
        caller.hangs_up();
        closed(&bridge, 1).len()
    });
    assert_eq!(after, 1);
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    bridge.sip.stop().await;
}

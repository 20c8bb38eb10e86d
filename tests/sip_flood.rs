//! Floods: 5,000 requests a second from strangers and from a peer that is trusted, beside calls that must not lose a packet.
//! `KAKEHASHI_FLOOD_S` says for how many seconds (3).

#[path = "common/sip.rs"]
mod bridge;
#[path = "common/flood.rs"]
mod flood;

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use bridge::{Bridge, PATIENCE, SDP, Wanted, audio_ports, code, packet, request, to_tag};
use flood::{Flood, resident_kib};
use kakehashi::media::{Heard, StreamEventKind, StreamSummary};
use kakehashi::pbx::Signal;

const PER_S: u32 = 5_000;

fn seconds() -> u64 {
    std::env::var("KAKEHASHI_FLOOD_S").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// A caller with a running call who speaks in true time.
struct Caller {
    socket: UdpSocket,
    call: String,
    tag: String,
    port: u16,
}

impl Caller {
    fn calls(bridge: &Bridge, call: &str) -> Caller {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(bridge.udp()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut caller = Caller { socket, call: call.into(), tag: String::new(), port: 0 };
        caller.asks("INVITE", 1, SDP);
        let answer = caller.answered(200);
        (caller.tag, caller.port) = (to_tag(&answer), audio_ports(&answer)[0]);
        caller.asks("ACK", 1, "");
        caller
    }

    fn asks(&self, method: &str, cseq: u32, body: &str) {
        let via = format!("UDP {}", self.socket.local_addr().unwrap());
        self.socket.send(request(method, &self.call, &via, cseq, &self.tag, body).as_bytes()).unwrap();
    }

    fn answered(&self, wanted: u16) -> String {
        let mut space = vec![0; 65_536];
        loop {
            let length = self.socket.recv(&mut space).expect("an answer");
            let answer = String::from_utf8_lossy(&space[..length]).into_owned();
            if code(&answer) == wanted {
                return answer;
            }
        }
    }

    /// 50 packets a second until `until`; gives their number.
    fn speaks(&self, until: Instant) -> u64 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (start, mut n) = (Instant::now(), 0u16);
        while Instant::now() < until {
            socket.send_to(&packet(0, n, &[0x55; 160]), ("127.0.0.1", self.port)).unwrap();
            n += 1;
            thread::sleep((start + Duration::from_millis(20) * n.into()).saturating_duration_since(Instant::now()));
        }
        n.into()
    }

    fn hangs_up(&self) {
        self.asks("BYE", 2, "");
        self.answered(200);
    }
}

/// Totals of the next `count` streams that close.
fn closed(bridge: &Bridge, count: usize) -> Vec<StreamSummary> {
    let mut all = Vec::new();
    while all.len() < count {
        if let Heard::Event(event) = bridge.heard.recv_timeout(PATIENCE).expect("a stream closes")
            && let StreamEventKind::Closed(summary) = event.kind
        {
            all.push(summary);
        }
    }
    all
}

/// Two calls speak while `flood` goes on; both must arrive whole.
fn calls_beside(bridge: &Bridge, flood: &mut Flood) {
    let callers = [Caller::calls(bridge, "one"), Caller::calls(bridge, "two")];
    let until = Instant::now() + Duration::from_secs(seconds());
    let sent: Vec<u64> = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood.goes_on(until));
        let speaking = callers.each_ref().map(|caller| scope.spawn(move || caller.speaks(until)));
        flooding.join().unwrap();
        speaking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    callers.iter().for_each(Caller::hangs_up);
    for summary in closed(bridge, 2) {
        assert_eq!((summary.lost, summary.late), (0, 0), "{summary:?}");
        assert!(sent.contains(&summary.packets), "{sent:?} packets were sent: {summary:?}");
    }
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

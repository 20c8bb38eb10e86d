//! Floods by TCP and TLS of a peer that is trusted: as fast as its connection takes them, inside its calls, in pieces that never end, and
//! without reading an answer; beside calls of another peer that must not lose a packet. `KAKEHASHI_FLOOD_S` says for how many seconds (3).

#[path = "common/sip.rs"]
mod bridge;
#[path = "common/caller.rs"]
mod caller;
#[path = "common/flood.rs"]
mod flood;
#[path = "common/tls.rs"]
mod secure;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bridge::{Bridge, SDP, Wanted, code, request, to_tag};
use caller::{Caller, calls_beside, closed, seconds};
use flood::resident_kib;
use kakehashi::bridge::sip::Counters;
use kakehashi::pbx::sip::TlsClient;
use rustls::version::{TLS12, TLS13};
use secure::{Authority, Files, client, read_message, tcp_from, write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::task::block_in_place;

/// What a process holds of the memory is read: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

const FLOODER: &str = "127.0.0.66";
/// Of `max_requests_per_s` and `request_burst`, and ten messages for each request.
const PER_S: u64 = 200;
const BURST: u64 = 400;

/// Connections of the flooding peer, and what of them happened.
#[derive(Clone)]
struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    answers: Arc<AtomicU64>,
}

impl Flood {
    fn new() -> Flood {
        let zero = || Arc::new(AtomicU64::new(0));
        Flood { over: Arc::new(AtomicBool::new(false)), sent: zero(), answers: zero() }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn ends(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Sends what `text` gives as fast as the connection takes it, and counts what comes back; deaf ones read nothing.
    fn on<S>(&self, stream: S, is_deaf: bool, text: impl Fn(u64) -> String + Send + 'static)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let (own, other) = (self.clone(), self.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while own.goes_on() && writing.write_all(text(n).as_bytes()).await.is_ok() {
                own.sent.fetch_add(1, Ordering::Relaxed);
                n += 1;
            }
            // the connection stays until the end of the flood, whatever is left unsaid on it
            while own.goes_on() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        tokio::spawn(async move {
            let mut space = vec![0; 65_536];
            while other.goes_on() && !is_deaf {
                match reading.read(&mut space).await {
                    Ok(0) | Err(_) => return,
                    Ok(length) => {
                        let lines = space[..length].windows(8).filter(|window| window == b"SIP/2.0 ");
                        other.answers.fetch_add(lines.count() as u64, Ordering::Relaxed);
                    }
                }
            }
            while other.goes_on() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
}

/// Two calls of another peer while the flood goes on; gives by how much the memory grew at most, in KiB.
fn calls_of_another(bridge: &Bridge) -> u64 {
    let before = resident_kib(std::process::id());
    let until = Instant::now() + Duration::from_secs(seconds());
    let mut most = 0;
    block_in_place(|| {
        calls_beside(bridge, until, || {
            while Instant::now() < until {
                most = most.max(resident_kib(std::process::id()));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
    });
    most.saturating_sub(before)
}

fn looked_at(counters: &Counters) -> u64 {
    counters.uas.requests + counters.uas.refused + counters.uas.flooded
}

fn options(n: u64) -> String {
    request("OPTIONS", &format!("flood-{n}"), "TCP 127.0.0.66:9", 1, "", "")
}

fn site() -> (Authority, Files, Wanted) {
    let (authority, files) = (Authority::new(), Files::new());
    let mut settings = files.settings(&authority, &authority.issue(&["bridge.example.jp"]));
    settings.tls_client = TlsClient::Off;
    (authority, files, Wanted { settings, ..Wanted::new(27_320) })
}

async fn a_call_after(bridge: &mut Bridge) {
    let ended = block_in_place(|| {
        let caller = Caller::calls(bridge, "after");
        caller.hangs_up();
        closed(bridge, 1).len()
    });
    assert_eq!(ended, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_floods_by_tcp_or_tls_keeps_its_own_pace_and_the_others_call_as_ever() {
    let _alone = ALONE.lock().await;
    for is_secure in [false, true] {
        let (authority, _files, wanted) = site();
        let mut bridge = wanted.start().await.unwrap();
        let flood = Flood::new();
        if is_secure {
            let stream = tcp_from(FLOODER, bridge.tls()).await;
            let name = rustls::pki_types::ServerName::try_from("bridge.example.jp").unwrap();
            let connector = client(&authority, None, &[&TLS12, &TLS13]);
            flood.on(connector.connect(name, stream).await.unwrap(), false, options);
        } else {
            flood.on(tcp_from(FLOODER, bridge.tcp()).await, false, options);
        }
        let grown = calls_of_another(&bridge);
        flood.ends();
        let counters = bridge.counted(|counters| counters.uas.flooded > 0).await;
        let time = seconds() + 2;
        let (messages, requests) = (10 * (BURST + PER_S * time), BURST + PER_S * time + 4);
        assert!(looked_at(&counters) <= messages + 4, "{counters:?}: {messages} messages are allowed");
        assert!(counters.uas.requests <= requests, "{counters:?}: {requests} requests are allowed");
        assert!(grown < 24 << 10, "{grown} KiB more than before");
        eprintln!(
            "by TLS: {is_secure}; {} requests went, {} were looked at, {} taken, {} answered; {grown} KiB",
            flood.sent.load(Ordering::Relaxed),
            looked_at(&counters),
            counters.uas.requests,
            flood.answers.load(Ordering::Relaxed)
        );
        a_call_after(&mut bridge).await;
        bridge.sip.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_floods_inside_its_call_leaves_room_for_the_calls_of_others() {
    let _alone = ALONE.lock().await;
    let mut wanted = Wanted::new(27_360);
    // as fast as it can, so that the transactions are used up within the test
    (wanted.settings.max_requests_per_s, wanted.settings.max_transactions) = (0, 1_024);
    wanted.settings.message_max_bytes = 8_192;
    let mut bridge = wanted.start().await.unwrap();
    let via = "TCP 127.0.0.66:9";
    let mut stream = tcp_from(FLOODER, bridge.tcp()).await;
    write(&mut stream, &request("INVITE", "own", via, 1, "", SDP)).await;
    let answer = loop {
        let answer = read_message(&mut stream).await;
        if code(&answer) == 200 {
            break answer;
        }
    };
    let tag = to_tag(&answer);
    write(&mut stream, &request("ACK", "own", via, 1, &tag, "")).await;
    let flood = Flood::new();
    flood.on(stream, false, move |n| {
        let text = request("INVITE", "own", via, u32::try_from(n).unwrap() + 2, &tag, "");
        text.replace("Max-Forwards", "Require: nothing\r\nMax-Forwards")
    });
    bridge.counted(|counters| counters.uas.requests > 20 * 1_024).await;
    a_call_after(&mut bridge).await;
    flood.ends();
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_come_in_pieces_without_end_cost_a_bounded_memory_and_are_cut_off() {
    let _alone = ALONE.lock().await;
    let mut wanted = Wanted::new(27_400);
    (wanted.settings.frame_ms, wanted.settings.message_max_bytes) = (1_500, 250_000);
    let mut bridge = wanted.start().await.unwrap();
    let flood = Flood::new();
    for connection in 0..64 {
        let stream = tcp_from(FLOODER, bridge.tcp()).await;
        stream.set_nodelay(true).unwrap();
        // a head of 50 KiB, then a body byte by byte that would last for hours
        flood.on(stream, false, move |n| match n {
            0 => {
                let text = options(connection).replace("Content-Length: 0", "Content-Length: 199000");
                text.replace(
                    "Max-Forwards",
                    &format!("{}Max-Forwards", format!("X-Pad: {}\r\n", "y".repeat(200)).repeat(240)),
                )
            }
            _ => "x".into(),
        });
    }
    let grown = calls_of_another(&bridge);
    let counters = bridge.counted(|counters| counters.connections == 0).await;
    flood.ends();
    assert_eq!(counters.uas.requests, 4, "INVITE and BYE of two calls: {counters:?}");
    assert!(grown < 24 << 10, "{grown} KiB more than before");
    eprintln!("{} pieces went; {grown} KiB", flood.sent.load(Ordering::Relaxed));
    a_call_after(&mut bridge).await;
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_reads_no_answer_is_cut_off_before_they_fill_the_memory() {
    let _alone = ALONE.lock().await;
    let mut wanted = Wanted::new(27_440);
    wanted.settings.max_requests_per_s = 0;
    let mut bridge = wanted.start().await.unwrap();
    let flood = Flood::new();
    // each answer has the 60 KiB of Via that its request has
    let vias: String = (0..60).map(|n| format!("Via: SIP/2.0/TCP h{n};branch={}\r\n", "z".repeat(1_000))).collect();
    for connection in 0..16 {
        let vias = vias.clone();
        flood.on(tcp_from(FLOODER, bridge.tcp()).await, true, move |n| {
            let text = options(1_000_000 * (connection + 1) + n);
            text.replace("Max-Forwards", &format!("{vias}Max-Forwards"))
        });
    }
    let grown = calls_of_another(&bridge);
    let counters = bridge.counted(|counters| counters.stuck == 16).await;
    flood.ends();
    assert!(grown < 24 << 10, "{grown} KiB more than before");
    eprintln!("{} requests went, {} taken; {grown} KiB", flood.sent.load(Ordering::Relaxed), counters.uas.requests);
    a_call_after(&mut bridge).await;
    bridge.sip.stop().await;
}

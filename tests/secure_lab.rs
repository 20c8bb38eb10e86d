//! Sound from a real exchange in other ways than plain G.711: wideband, SRTP by SDES and by DTLS, and beside a flood of foreign packets.

#[path = "common/sip.rs"]
mod bridge;
#[path = "common/lab.rs"]
mod lab;
#[path = "common/sound.rs"]
mod sound;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bridge::{Bridge, Wanted, packet};
use kakehashi::media::codec::{decode_alaw, encode_alaw};
use kakehashi::media::{Heard, StreamEventKind, StreamSummary};
use kakehashi::pbx::sip::Settings;
use kakehashi::pbx::{Signal, StreamId};

/// The bridge where the laboratory expects it, with RTP ports from `first`.
async fn started(ports: (u16, u16)) -> Bridge {
    let listen_udp = vec![SocketAddr::from(([127, 0, 0, 1], 15_080))];
    let settings = Settings { listen_udp, ..Settings::default() };
    Wanted { settings, peers: "127.0.0.1/32", ports, ..Wanted::new(ports.0) }.start().await.unwrap()
}

/// Sound and totals of one stream, to its end.
fn heard(bridge: &Bridge, stream: StreamId) -> (Vec<i16>, StreamSummary) {
    let mut pcm = Vec::new();
    loop {
        match bridge.heard.recv_timeout(Duration::from_secs(60)).expect("the stream goes on or ends") {
            Heard::Pcm(frame) if frame.stream == stream => pcm.extend(frame.samples),
            Heard::Event(event) if event.stream == stream => {
                if let StreamEventKind::Closed(summary) = event.kind {
                    return (pcm, summary);
                }
            }
            _ => {}
        }
    }
}

/// Asterisk calls `number` and plays the caller's channel of the sample for 8 s; what the bridge heard.
async fn a_call(number: &str, ports: (u16, u16)) -> (Vec<i16>, StreamSummary) {
    a_call_of(number, 0, ports).await
}

/// The same with either channel.
async fn a_call_of(number: &str, channel: usize, ports: (u16, u16)) -> (Vec<i16>, StreamSummary) {
    let mut bridge = started(ports).await;
    let call = lab::lab(&["caller", number, "--talk-s", "8", "--channel", &channel.to_string()]);
    let told = bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    let Some(Signal::StreamAdded { stream, .. }) = told.last() else { panic!("{told:?}") };
    let (stream, here) = (*stream, &bridge);
    let result = tokio::task::block_in_place(|| heard(here, stream));
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    lab::finished(call);
    bridge.sip.stop().await;
    let summary = &result.1;
    assert_eq!((summary.lost, summary.late, summary.malformed), (0, 0, 0), "{summary:?}");
    result
}

fn is_exactly_the_callers_sound(pcm: &[i16], summary: &StreamSummary) {
    let found = sound::compare(pcm, &sound::played(0)).expect("the caller's sound");
    assert!(found.damaged == 0 && found.exact > 300, "{found:?} {summary:?}");
}

/// Sound of 8 kHz at 16 kHz, without what is above 4 kHz: a windowed sinc of 63 taps that delays nothing.
fn widened(narrow: &[i16]) -> Vec<f64> {
    let tap = |at: i32| {
        let x = std::f64::consts::PI * f64::from(at) / 2.0;
        let window = 0.5 + 0.5 * (std::f64::consts::PI * f64::from(at) / 32.0).cos();
        if at == 0 { 1.0 } else { x.sin() / x * window }
    };
    let taps: Vec<(i32, f64)> = (-31..=31).map(|at| (at, tap(at))).collect();
    let stuffed = |at: i32| {
        let place = usize::try_from(at).ok().filter(|at| at % 2 == 0);
        place.and_then(|at| narrow.get(at / 2)).map_or(0.0, |sample| f64::from(*sample))
    };
    (0..2 * narrow.len() as i32).map(|n| taps.iter().map(|(at, tap)| tap * stuffed(n - at)).sum()).collect()
}

/// Normalised correlation, −1 to 1.
fn correlation(one: &[f64], other: &[f64]) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    product(one, other) / (product(one, one) * product(other, other)).sqrt().max(1.0)
}

/// How like what was played it is after G.722, from 0 to 1: of 4 s of speech, aligned to the sample by its first half second, the worst and
/// the mean correlation of the loud stretches of 100 ms.
fn likeness(heard: &[i16], played: &[i16]) -> (f64, f64) {
    // who speaks first is heard first; the other speaks from 9 s on
    let played = widened(&played[..20 * 8_000]);
    let begin = heard.iter().position(|sample| sample.abs() > 500).expect("speech");
    let speech: Vec<f64> = heard[begin..begin + 64_000].iter().map(|sample| f64::from(*sample)).collect();
    let lead = &speech[..8_000];
    let at = |from: &usize| correlation(lead, &played[*from..from + lead.len()]);
    let from = (0..played.len() - speech.len()).step_by(4).max_by(|a, b| at(a).total_cmp(&at(b))).unwrap();
    let from = (from.saturating_sub(4)..from + 5).max_by(|a, b| at(a).total_cmp(&at(b))).unwrap();
    let is_loud = |stretch: &&[f64]| stretch.iter().map(|a| a * a).sum::<f64>() > 500.0 * 500.0 * 1_600.0;
    let stretches: Vec<(&[f64], &[f64])> = speech.chunks(1_600).zip(played[from..].chunks(1_600)).collect();
    let loud = stretches.iter().filter(|(heard, _)| is_loud(heard));
    let like: Vec<f64> = loud.map(|(heard, played)| correlation(heard, played)).collect();
    assert!(like.len() >= 20, "{} of 40 stretches are loud", like.len());
    (like.iter().copied().fold(1.0, f64::min), like.iter().sum::<f64>() / like.len() as f64)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn asterisk_calls_in_g722() {
    // the agent's channel: it speaks from the first second, the caller's only after this call
    let (pcm, summary) = a_call_of("7011", 1, (28_600, 40)).await;
    assert_eq!((summary.rate, summary.encrypted), (16_000, 0), "{summary:?}");
    let (worst, mean) = likeness(&pcm, &sound::played(1));
    println!("likeness after G.722: worst {worst:.4}, mean {mean:.4}");
    // measured: 0.9998 and 0.9999
    assert!(worst > 0.99, "{worst} {mean}");
    for (name, other) in [("the other speaker", sound::played(0)), ("another call", sound::played_of("call2", 1))] {
        let (worst, mean) = likeness(&pcm, &other);
        println!("{name}: worst {worst:.4}, mean {mean:.4}");
        assert!(mean < 0.5, "{name}: {worst} {mean}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn asterisk_calls_with_keys_by_sdes() {
    let (pcm, summary) = a_call("7012", (28_640, 40)).await;
    assert!(summary.encrypted >= summary.packets && summary.packets > 300, "{summary:?}");
    assert_eq!((summary.unauthenticated, summary.replayed), (0, 0), "{summary:?}");
    is_exactly_the_callers_sound(&pcm, &summary);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn asterisk_calls_with_keys_by_dtls() {
    let (pcm, summary) = a_call("7013", (28_680, 40)).await;
    assert!(summary.encrypted >= summary.packets && summary.packets > 300, "{summary:?}");
    assert_eq!((summary.handshakes_failed, summary.replayed), (0, 0), "{summary:?}");
    let alaw: Vec<i16> = sound::played(0).iter().map(|sample| decode_alaw(encode_alaw(*sample))).collect();
    let found = sound::compare(&pcm, &alaw).expect("the caller's sound");
    assert!(found.damaged == 0 && found.exact > 300, "{found:?} {summary:?}");
}

/// Noise from a port of the right address that is not Asterisk's, 1,000 packets a second to each port, until it is ended.
fn attack(ports: [u16; 2], over: Arc<AtomicBool>) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            for port in ports {
                // nobody listens on one of them
                let _ = socket.send_to(&packet(0, sent as u16, &[0x00; 160]), ("127.0.0.1", port));
            }
            sent += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        sent
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn a_flood_from_another_port_of_the_exchange_is_counted_and_never_heard() {
    let over = Arc::new(AtomicBool::new(false));
    let attack = attack([28_720, 28_722], over.clone());
    let (pcm, summary) = a_call("7001", (28_720, 4)).await;
    over.store(true, Ordering::Relaxed);
    let sent = attack.join().unwrap();
    assert!(summary.foreign > 3_000 && summary.foreign <= sent, "{sent} {summary:?}");
    is_exactly_the_callers_sound(&pcm, &summary);
}

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

/// Asterisk calls `number` and plays the sample for 8 s; what the bridge heard.
async fn a_call(number: &str, ports: (u16, u16)) -> (Vec<i16>, StreamSummary) {
    let mut bridge = started(ports).await;
    let call = lab::lab(&["caller", number, "--talk-s", "8"]);
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

/// How like the caller's sound it is after another codec, from 0 to 1: the best normalised cross-correlation of 4 s.
fn likeness(narrow: &[i16]) -> f64 {
    let played = sound::played(0);
    let begin = narrow.iter().position(|sample| *sample != 0).expect("sound") + 8_000;
    let window: Vec<f64> = narrow[begin..begin + 32_000].iter().map(|sample| f64::from(*sample)).collect();
    let at = |from: usize| {
        let (mut both, mut said, mut power) = (0.0, 1.0, 1.0);
        for (a, b) in window.iter().zip(&played[from..]) {
            let b = f64::from(*b);
            (both, said, power) = (both + a * b, said + b * b, power + a * a);
        }
        both / (said * power).sqrt()
    };
    (0..24_000).map(at).fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn asterisk_calls_in_g722() {
    let (pcm, summary) = a_call("7011", (28_600, 40)).await;
    assert_eq!((summary.rate, summary.encrypted), (16_000, 0), "{summary:?}");
    // 8 kHz again: what is above 4 kHz the sample never had
    let narrow: Vec<i16> =
        pcm.chunks_exact(2).map(|two| ((i32::from(two[0]) + i32::from(two[1])) / 2) as i16).collect();
    let likeness = likeness(&narrow);
    // measured: 0.87; the caller speaks softly at first, near the steps of both codecs
    assert!(likeness > 0.8, "{likeness}");
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

//! Real peers over connections, and beside a flood: Asterisk by TCP and by TLS, baresip by TLS; certificates made by the laboratory.

#[path = "common/baresip.rs"]
mod baresip;
#[path = "common/sip.rs"]
mod bridge;
#[path = "common/flood.rs"]
mod flood;
#[path = "common/lab.rs"]
mod lab;
#[path = "common/sound.rs"]
mod sound;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use baresip::{Baresip, Way};
use bridge::{Bridge, Wanted};
use flood::{Flood, resident_kib};
use kakehashi::media::{Heard, StreamEventKind, StreamSummary};
use kakehashi::pbx::sip::{PeerSettings, Settings};
use kakehashi::pbx::{Signal, StreamId};
use lab::certificate;

/// The bridge where the laboratory expects it: 15080 by UDP and TCP, 15081 by TLS for peers with one of `names`.
async fn started(names: &[&str], first_port: u16) -> Bridge {
    let at = |port: u16| vec![SocketAddr::from(([127, 0, 0, 1], port))];
    let settings = Settings {
        listen_udp: at(15_080),
        listen_tcp: at(15_080),
        listen_tls: at(15_081),
        tls_certificate: certificate("bridge.pem"),
        tls_key: certificate("bridge.key"),
        tls_client_ca: certificate("authority.pem"),
        ..Settings::default()
    };
    let tls_names = names.iter().map(|name| (*name).to_string()).collect();
    let exchange = PeerSettings { tls_names, ..PeerSettings::default() };
    Wanted { settings, exchange, peers: "127.0.0.1/32", ..Wanted::new(first_port) }.start().await.unwrap()
}

/// Sound and totals of one stream, to its end.
fn heard(bridge: &Bridge, stream: StreamId) -> (Vec<i16>, StreamSummary) {
    let mut pcm = Vec::new();
    loop {
        match bridge.heard.recv_timeout(Duration::from_secs(120)).expect("the stream goes on or ends") {
            Heard::Pcm(frame) if frame.stream == stream => {
                pcm.resize(usize::try_from(frame.position).unwrap().max(pcm.len()), 0);
                pcm.extend(frame.samples);
            }
            Heard::Event(event) if event.stream == stream => {
                if let StreamEventKind::Closed(summary) = event.kind {
                    return (pcm, summary);
                }
            }
            _ => {}
        }
    }
}

/// Waits for the call, its sound and its end.
async fn whole_call(bridge: &mut Bridge) -> (Vec<i16>, StreamSummary) {
    let told = bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    let Some(Signal::StreamAdded { stream, .. }) = told.last() else { panic!("{told:?}") };
    let (stream, here) = (*stream, &*bridge);
    let result = tokio::task::block_in_place(|| heard(here, stream));
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    result
}

fn is_the_callers_sound(pcm: &[i16], summary: &StreamSummary) {
    assert_eq!((summary.lost, summary.late), (0, 0), "{summary:?}");
    let found = sound::compare(pcm, &sound::played(0)).expect("the caller's sound");
    assert!(found.damaged == 0 && found.exact > 300, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn asterisk_calls_by_tcp() {
    let mut bridge = started(&[], 28_000).await;
    let call = lab::lab(&["caller", "7002", "--talk-s", "8"]);
    let (pcm, summary) = whole_call(&mut bridge).await;
    is_the_callers_sound(&pcm, &summary);
    lab::finished(call);
    let counters = bridge.sip.counters();
    assert!(counters.connections >= 1, "{counters:?}");
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn asterisk_calls_by_tls_with_the_certificates_of_both_checked() {
    let mut bridge = started(&["asterisk.lab"], 28_040).await;
    let call = lab::lab(&["caller", "7003", "--talk-s", "8"]);
    let (pcm, summary) = whole_call(&mut bridge).await;
    is_the_callers_sound(&pcm, &summary);
    lab::finished(call);
    // a second one, after the certificates were read again
    bridge.sip.certificates().reload().unwrap();
    let call = lab::lab(&["caller", "7003", "--talk-s", "3"]);
    let (_, summary) = whole_call(&mut bridge).await;
    assert_eq!(summary.lost, 0);
    lab::finished(call);
    assert_eq!(bridge.sip.counters().handshakes_failed, 0);
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn a_certificate_with_another_name_gets_no_call_through() {
    let bridge = started(&["somebody-else.lab"], 28_080).await;
    let mut call = lab::lab(&["caller", "7003", "--talk-s", "1"]);
    let counters = bridge.counted(|counters| counters.handshakes_failed > 0).await;
    assert_eq!(counters.uas.requests, 0, "{counters:?}");
    assert!(!call.went_well());
    bridge.sip.stop().await;
}

/// 20 s of 440 Hz.
fn tone(folder: &Path) -> PathBuf {
    let path = folder.join("tone.wav");
    let sample = |n: u32| ((f64::from(n) * 440.0 * std::f64::consts::TAU / 8_000.0).sin() * 8_000.0) as i16;
    sound::write_wav(&path, &(0..160_000).map(sample).collect::<Vec<i16>>());
    path
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn baresip_calls_by_tls() {
    let mut bridge = started(&["baresip.lab"], 28_120).await;
    let folder = tempfile::tempdir().unwrap();
    let way = Way { carrier: "tls", codec: "pcmu", keys: "", proof: None };
    let mut baresip = Baresip::calls(&way, "7001", 15_081, &tone(folder.path()), 28_500);
    let added = tokio::time::timeout(
        Duration::from_secs(15),
        bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })),
    );
    let Ok(told) = added.await else { panic!("{:?}\n{}", bridge.sip.counters(), baresip.log()) };
    let Some(Signal::StreamAdded { stream, .. }) = told.last() else { panic!("{told:?}") };
    tokio::time::sleep(Duration::from_secs(3)).await;
    baresip.hangs_up();
    let streams = [*stream];
    let (pcm, summary) = tokio::task::block_in_place(|| heard(&bridge, streams[0]));
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    assert!(summary.lost == 0 && summary.packets >= 100, "{summary:?}\n{}", baresip.log());
    // 440 Hz cross zero upwards 440 times a second
    let second = &pcm[8_000..16_000];
    let rises = second.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    assert!((430..=450).contains(&rises), "{rises} Hz instead of 440");
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn a_call_of_asterisk_loses_nothing_beside_5000_requests_a_second_of_strangers_for_30_s() {
    let mut bridge = started(&[], 28_160).await;
    let before = resident_kib(std::process::id());
    let call = lab::lab(&["caller", "7001", "--talk-s", "32"]);
    let told = bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    let Some(Signal::StreamAdded { stream, .. }) = told.last() else { panic!("{told:?}") };
    let (stream, address) = (*stream, bridge.udp());
    let flooding = std::thread::spawn(move || {
        let mut flood = Flood::from("127.0.0.66", address, 5_000);
        flood.goes_on(Instant::now() + Duration::from_secs(30));
        flood
    });
    let (pcm, summary) = tokio::task::block_in_place(|| heard(&bridge, stream));
    lab::finished(call);
    let flood = flooding.join().unwrap();
    is_the_callers_sound(&pcm, &summary);
    let grown = resident_kib(std::process::id()).saturating_sub(before);
    let seen = bridge.sip.counters().uas.untrusted;
    eprintln!("{} requests of strangers, {seen} seen, {grown} KiB more, {summary:?}", flood.sent);
    assert!(flood.sent >= 5_000 * 27 && seen >= flood.sent / 2, "{} sent, {seen} seen", flood.sent);
    assert_eq!(flood.bytes_back(), 0);
    // the sound of the call itself is kept by this test, 2 bytes a sample
    let own = (pcm.capacity() * 2) as u64 >> 10;
    assert!(grown < own + (16 << 10), "{grown} KiB more than before, {own} of them the sound");
    bridge.sip.stop().await;
}

//! A real Asterisk that requires 100rel and session timers calls the bridge (`make lab` starts Asterisk first).

#[path = "common/sip.rs"]
mod bridge;

use std::time::{Duration, Instant};

use bridge::Wanted;
use kakehashi::media::{Heard, StreamEventKind};
use kakehashi::pbx::sip::Settings;
use kakehashi::pbx::sip::settings::Reliable;
use kakehashi::pbx::{EndCause, Signal};
use serde_json::Value;

const ARI: &str = "http://127.0.0.1:18088/ari";

/// One request to Asterisk's REST interface.
async fn ari(method: reqwest::Method, path: &str) -> Value {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().request(method, format!("{ARI}{path}"));
    let answer = request.basic_auth("kakehashi", Some("lab-password")).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or_default()
}

/// Asterisk calls 7001 by the endpoint [strict]; gives the channel.
async fn call() -> String {
    let path = "/channels?endpoint=PJSIP/7001@strict&context=tone&extension=s&priority=1";
    ari(reqwest::Method::POST, path).await["id"].as_str().unwrap().into()
}

/// A call with 100rel and timers of 90 s outlives its session interval, because the bridge refreshes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the lab: make lab"]
async fn asterisk_with_100rel_and_session_timers_keeps_its_call() {
    let mut wanted = Wanted::new(27_000);
    let listen = vec!["127.0.0.1:15085".parse().unwrap()];
    wanted.settings = Settings { listen_udp: listen, listen_tcp: vec![], early_sdp: true, ..wanted.settings };
    wanted.settings.reliable = Reliable::Supported;
    wanted.answer_after_ms = 1_000;
    let mut bridge = wanted.start().await.unwrap();
    let channel = call().await;
    bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    assert_eq!(bridge.sip.counters().uas.acknowledged, 1, "the 180 with our description got its PRACK");

    let began = Instant::now();
    while bridge.sip.counters().uas.refreshed < 2 {
        assert!(began.elapsed() < Duration::from_secs(120), "not refreshed twice: {:?}", bridge.sip.counters());
        assert_eq!(bridge.sip.counters().calls, 1, "the call ended: {:?}", bridge.sip.counters());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("two refreshes within {} s of a session of 90 s", began.elapsed().as_secs());

    ari(reqwest::Method::DELETE, &format!("/channels/{channel}")).await;
    let told = bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    assert!(matches!(told.last(), Some(Signal::CallEnded(EndCause::Normal))), "{told:?}");
    let samples = heard(&bridge);
    assert!(samples > 80 * 8_000, "{samples} samples of the tone");
    bridge.sip.stop().await;
}

/// Samples that were heard up to the end of the stream.
fn heard(bridge: &bridge::Bridge) -> usize {
    let mut samples = 0;
    loop {
        match bridge.heard.recv_timeout(bridge::PATIENCE).expect("the media threads went quiet") {
            Heard::Pcm(frame) => samples += frame.samples.len(),
            Heard::Event(event) if matches!(event.kind, StreamEventKind::Closed(_)) => return samples,
            Heard::Event(_) => {}
        }
    }
}

//! The driver at start-up against something that is not the Asterisk it expects: errors with place, expectation and remedy.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use kakehashi::bridge::ari::{AriHandle, Error, spawn};
use kakehashi::bridge::asterisk_media::Doors;
use kakehashi::call::line::Lines;
use kakehashi::media::settings::Settings as MediaSettings;
use kakehashi::pbx::PbxId;
use kakehashi::pbx::asterisk::Settings;

/// Answers one request with a status line, as Asterisk's HTTP server does; returns its address and what it was sent.
fn answering(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ari", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        let mut part = [0; 1024];
        while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
            let count = stream.read(&mut part).unwrap();
            seen.extend_from_slice(&part[..count]);
        }
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}").unwrap();
        String::from_utf8_lossy(&seen).into_owned()
    });
    (url, served)
}

async fn start(settings: Settings) -> Result<AriHandle, Error> {
    let (heard, _kept) = std::sync::mpsc::sync_channel(16);
    let folder = tempfile::tempdir().unwrap();
    let media = MediaSettings { first_port: 29_000, last_port: 29_099, ..MediaSettings::default() };
    let media = kakehashi::bridge::media::spawn(&media, folder.path(), heard).unwrap();
    let (hub, _inputs) = tokio::sync::mpsc::channel(16);
    spawn(PbxId("honcho".into()), settings, Arc::new(Lines::default()), media, Doors::default(), hub).await
}

async fn refusal(settings: Settings) -> Error {
    start(settings).await.expect_err("must be refused")
}

#[tokio::test]
async fn a_wrong_password_names_place_expectation_and_remedy() {
    let (url, served) = answering("401 Unauthorized");
    let error = refusal(Settings { url: url.clone(), password: "himitsu".into(), ..Settings::default() }).await;
    let text = error.to_string();
    for part in ["[pbx.ari] of `honcho`", url.as_str(), "\"kakehashi\"", "401", "ari.conf"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    assert!(!text.contains("himitsu"));
    assert!(served.join().unwrap().to_ascii_lowercase().contains("authorization: basic a2frzwhhc2hpomhpbwl0c3u="));
}

#[tokio::test]
async fn something_else_at_the_address_is_named() {
    let (url, _served) = answering("404 Not Found");
    let error = refusal(Settings { url, ..Settings::default() }).await;
    assert!(matches!(error, Error::NotAri { status: 404, .. }), "{error}");
}

/// What ARI answers until all modules of Asterisk are loaded: both may be started with the machine.
#[tokio::test]
async fn an_asterisk_that_is_still_starting_is_waited_for() {
    let (url, served) = answering("503 Service Unavailable");
    let driver = start(Settings { url, ..Settings::default() }).await.unwrap();
    assert!(served.join().unwrap().starts_with("GET /ari/asterisk/info"));
    driver.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_named_by_key() {
    for (settings, key) in [
        (Settings { url: "https://127.0.0.1/ari".into(), ..Settings::default() }, "`url`"),
        (Settings { url: "8088".into(), ..Settings::default() }, "`url`"),
        (Settings { app: "a b".into(), ..Settings::default() }, "`app`"),
        (Settings { rtp_host: String::new(), ..Settings::default() }, "`rtp_host`"),
        (Settings { password_file: "/nowhere/password".into(), ..Settings::default() }, "`password_file`"),
    ] {
        let text = refusal(settings).await.to_string();
        assert!(text.contains(key), "{key} is missing: {text}");
    }
}

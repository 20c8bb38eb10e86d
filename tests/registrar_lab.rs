//! The bridge as an extension of a real Asterisk: registered and called with digest in both directions, told of others by dialog events
//! (`make lab` starts Asterisk first).

#[path = "common/sip.rs"]
mod bridge;
#[path = "common/lab.rs"]
mod lab;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bridge::{Bridge, Wanted};
use kakehashi::pbx::sip::{PeerSettings, RegisterSettings, WatchSettings};
use kakehashi::pbx::{EndCause, Fidelity, Signal};
use lab::{finished, lab};

const REGISTRAR: &str = "127.0.0.1:15060";

/// The bridge as extension `user`; calls to it must prove themselves.
fn extension(first_port: u16, user: &str, password: &str) -> Wanted {
    let register = RegisterSettings {
        registrar: REGISTRAR.into(),
        user: user.into(),
        password: password.into(),
        expires_s: 120,
        ..RegisterSettings::default()
    };
    let exchange = PeerSettings {
        username: "asterisk".into(),
        password: "lab-digest".into(),
        register: Some(register),
        ..PeerSettings::default()
    };
    Wanted { exchange, ..Wanted::new(first_port) }
}

/// What Asterisk's ARI says of an extension: `online` or `offline`.
fn state_at_asterisk(extension: &str) -> String {
    let mut stream = TcpStream::connect("127.0.0.1:18088").unwrap();
    // kakehashi:lab-password
    let head = "Host: 127.0.0.1\r\nAuthorization: Basic a2FrZWhhc2hpOmxhYi1wYXNzd29yZA==\r\nConnection: close";
    write!(stream, "GET /ari/endpoints/PJSIP/{extension} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let state = answer.split("\"state\":").nth(1).unwrap_or_else(|| panic!("{answer}"));
    state.split('"').nth(1).unwrap().into()
}

async fn a_registered_extension_is_called(first_port: u16, user: &str, password: &str) {
    let mut bridge = extension(first_port, user, password).start().await.unwrap();
    bridge.counted(|counters| counters.registered == 1).await;
    assert_eq!(state_at_asterisk(user), "online");
    let caller = lab(&["caller", user, "--talk-s", "2"]);
    let told = bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    finished(caller);
    let Signal::CallAppeared { caller, called, fidelity, .. } = &told[0] else { panic!("{told:?}") };
    assert_eq!((caller.number.as_deref(), called.as_str(), *fidelity), (Some("1001"), user, Fidelity::OwnLeg));
    assert!(told.iter().any(|signal| matches!(signal, Signal::LegAnswered(_))), "{told:?}");
    assert_eq!(told.last(), Some(&Signal::CallEnded(EndCause::Normal)));
    let counters = bridge.sip.counters().uas;
    println!("{user}: {counters:?}");
    // the INVITE was challenged; Asterisk's BYE may bring its proof at once
    assert!(counters.challenged >= 1 && counters.wrong_password == 0 && counters.calls == 1, "{counters:?}");
    bridge.sip.stop().await;
    assert_eq!(state_at_asterisk(user), "offline", "it took its registration back");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn registered_by_md5_and_called() {
    a_registered_extension_is_called(41_000, "7101", "lab-7101").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn registered_by_sha_256_and_called() {
    a_registered_extension_is_called(41_100, "7102", "lab-7102").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn a_wrong_password_is_not_registered() {
    let bridge = extension(41_200, "7101", "guess").start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((bridge.sip.counters().registered, state_at_asterisk("7101").as_str()), (0, "offline"));
    bridge.sip.stop().await;
}

/// `user`: registered as that extension, else known by address.
async fn watched(first_port: u16, register: bool) {
    let mut wanted = extension(first_port, "7101", "lab-7101");
    wanted.exchange.register = wanted.exchange.register.filter(|_| register);
    // Asterisk's NOTIFYs come without a proof from endpoints that have none
    (wanted.exchange.username, wanted.exchange.password) = (String::new(), String::new());
    let watch = WatchSettings {
        extensions: vec!["2001".into(), "2002".into()],
        server: REGISTRAR.into(),
        ..WatchSettings::default()
    };
    wanted.exchange.watch = Some(watch);
    let mut bridge: Bridge = wanted.start().await.unwrap();
    bridge.counted(|counters| counters.watched == 2).await;
    let call = lab(&["call", "2001", "--talk-s", "3", "--ring-s", "2"]);
    let told = bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    finished(call);
    println!("{told:#?}");
    let Signal::CallAppeared { caller, called, fidelity, .. } = &told[0] else { panic!("{told:?}") };
    assert_eq!((caller.number.as_deref(), called.as_str(), *fidelity), (Some("1001"), "2001", Fidelity::State));
    let Signal::LegAppeared { leg, address, .. } = &told[1] else { panic!("{told:?}") };
    assert_eq!(address, "2001");
    let expected = [
        Signal::LegRinging(leg.clone()),
        Signal::LegAnswered(leg.clone()),
        Signal::LegEnded(leg.clone(), EndCause::Normal),
        Signal::CallEnded(EndCause::Normal),
    ];
    assert_eq!(told[2..], expected);
    assert_eq!(bridge.sip.counters().uas.malformed, 0);
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn dialog_events_of_a_real_call_by_address() {
    watched(41_300, false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn dialog_events_of_a_real_call_as_a_registered_extension() {
    watched(41_400, true).await;
}

//! Taps by AudioSocket and chan_websocket: what Asterisk is asked for, and what becomes of a connection that is cut.

use uuid::Uuid;

use super::*;
use crate::pbx::asterisk::settings::Carrier;

fn by(media: Carrier, rate: u32, client: &str) -> Desk {
    let settings = Settings { media, media_rate: rate, media_client: client.into(), ..Settings::default() };
    Desk::new(settings, true)
}

/// What external media was asked for with, without the names that are ours.
fn asked(desk: &Desk) -> Vec<String> {
    let made: Vec<&Request> = desk.requests.iter().filter(|request| request.path.ends_with("/externalMedia")).collect();
    assert_eq!(made.len(), 2);
    let own = |name: &&(&'static str, String)| !matches!(name.0, "app" | "channelId" | "data");
    made[0].query.iter().filter(own).map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn audiosocket_is_asked_for_with_a_name_that_nobody_guesses() {
    let mut desk = by(Carrier::Audiosocket, 16_000, "");
    desk.ari.set_secret(Uuid::from_u128(1));
    desk.play(trace!("queue_answered"));
    assert_eq!(
        asked(&desk),
        ["external_host=127.0.0.1:30000", "format=slin16", "encapsulation=audiosocket", "transport=tcp"]
    );
    let names: Vec<String> =
        desk.requests.iter().filter(|r| r.path.ends_with("/externalMedia")).map(|r| value(r, "data")).collect();
    assert!(names.iter().all(|name| Uuid::parse_str(name).is_ok()) && names[0] != names[1]);
    let mut other = by(Carrier::Audiosocket, 16_000, "");
    other.ari.set_secret(Uuid::from_u128(2));
    other.play(trace!("queue_answered"));
    assert_eq!(other.opened, desk.opened, "the same streams");
    assert!(other.requests.iter().all(|request| !names.contains(&value(request, "data"))));
    assert_eq!((desk.expected.len(), desk.connected.len()), (0, 0), "it connects by itself");
    desk.assert_empty();
}

#[test]
fn by_websocket_we_connect_or_asterisk_does() {
    let mut server = by(Carrier::Websocket, 8_000, "");
    server.play(trace!("queue_answered"));
    let rest = ["format=slin", "encapsulation=none", "transport=websocket"];
    let wanted = |host: &str, kind: &str| {
        let mut all = vec![format!("external_host={host}")];
        all.extend(rest.map(String::from));
        all.extend([format!("connection_type={kind}"), "transport_data=f(json)".to_string()]);
        all
    };
    assert_eq!(asked(&server), wanted("INCOMING", "server"));
    let connected: Vec<(StreamId, String)> = server.opened.iter().map(|stream| (*stream, "b5a1".to_string())).collect();
    assert_eq!(server.connected, connected);
    let mut client = by(Carrier::Websocket, 8_000, "kakehashi");
    client.play(trace!("queue_answered"));
    assert_eq!(asked(&client), wanted("kakehashi", "client"));
    assert_eq!(client.connected, []);
}

/// A call whose taps are live, up to the hang-up.
fn talking(media: Carrier) -> Desk {
    let mut desk = by(media, 8_000, "");
    for line in trace!("queue_answered").lines() {
        if line.contains("ChannelHangupRequest") || line.contains("ChannelLeftBridge") {
            break;
        }
        desk.event(line);
    }
    assert_eq!(desk.opened.len(), 2);
    desk
}

#[test]
fn a_cut_connection_is_told_with_its_reason_and_made_anew() {
    let mut desk = talking(Carrier::Audiosocket);
    let cut = desk.opened[1];
    desk.ari.handle_cut(cut, "the connection was lost".into(), desk.now);
    desk.drain();
    desk.pass(999);
    assert_eq!(desk.opened.len(), 2, "it may be the beginning of a hang-up");
    desk.pass(1_100);
    let told = desk.told();
    assert_eq!(told[told.len() - 3..], ["A cannot hear Agent", "stream removed", "A hears Agent"], "{told:?}");
    assert_eq!((desk.opened.len(), desk.closed.as_slice()), (3, &[cut][..]));
    let reason = desk.signals.iter().find_map(|(_, signal)| match signal {
        Signal::StreamFailed { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    assert_eq!(reason, Some("the connection was lost"));
    // again and again: each time it is made anew
    let again = desk.opened[2];
    desk.ari.handle_cut(again, "lost".into(), desk.now);
    desk.pass(2_100);
    assert_eq!(desk.opened.len(), 4);
}

#[test]
fn a_connection_that_ends_with_its_party_is_no_failure() {
    let mut desk = talking(Carrier::Websocket);
    for stream in desk.opened.clone() {
        desk.ari.handle_cut(stream, "closed".into(), desk.now);
    }
    let rest = trace!("queue_answered").lines();
    rest.skip_while(|line| !line.contains("ChannelHangupRequest") && !line.contains("ChannelLeftBridge"))
        .for_each(|line| desk.event(line));
    desk.pass(5_000);
    let told = desk.told();
    assert!(!told.iter().any(|line| line.contains("cannot hear")), "{told:?}");
    assert_eq!((desk.opened.len(), told.last().map(String::as_str)), (2, Some("call ended Normal")));
    desk.assert_empty();
}

#[test]
fn an_asterisk_that_is_too_old_for_websockets_is_told_so() {
    let mut desk = by(Carrier::Websocket, 8_000, "");
    desk.refuse = |request| request.path.ends_with("/externalMedia").then(|| ok(json!({ "id": "x" })));
    desk.play(trace!("queue_answered"));
    let failed = desk
        .signals
        .iter()
        .any(|(_, signal)| matches!(signal, Signal::StreamFailed { reason, .. } if reason.contains("22.8 or newer")));
    assert!(failed, "{:?}", desk.told());
}

//! A socket that was down and a tap that vanished: what is found, kept, removed and made anew.

use super::*;

#[test]
fn a_call_that_ended_while_the_socket_was_down_was_lost_from_sight() {
    let mut desk = desk();
    until_joined(&mut desk);
    desk.ari.handle_disconnected(desk.now);
    desk.pass(3_000);
    let before = desk.told().len();
    desk.connect();
    desk.pass(2_000);
    let told = desk.told();
    assert!(told[before..].contains(&"A ended LostSight".into()), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("call ended LostSight"));
    desk.assert_empty();
}

#[test]
fn a_call_that_outlives_a_lost_socket_keeps_its_streams() {
    let mut desk = desk();
    let (rest, channels, bridges) = until_joined(&mut desk);
    let before = desk.told();
    desk.ari.handle_disconnected(desk.now);
    let mut all: Vec<serde_json::Value> = serde_json::from_str(&channels).unwrap();
    for stream in &desk.opened {
        all.push(json!({"id": format!("kakehashi.{}.media", stream.0), "name": "UnicastRTP/x", "state": "Up"}));
        all.push(json!({"id": format!("kakehashi.{}.snoop", stream.0), "name": "Snoop/x-0", "state": "Up"}));
    }
    desk.lists = (serde_json::to_string(&all).unwrap(), bridges);
    desk.connect();
    desk.pass(5_000);
    assert_eq!(desk.told(), before);
    assert!(desk.closed.is_empty());
    rest.iter().for_each(|line| desk.event(line));
    assert_eq!(desk.told().last().map(String::as_str), Some("call ended Normal"));
    desk.assert_empty();
}

#[test]
fn a_running_call_is_found_at_the_first_connection_and_orphans_are_removed() {
    let mut first = desk();
    let (_, channels, bridges) = until_joined(&mut first);
    let mut all: Vec<serde_json::Value> = serde_json::from_str(&channels).unwrap();
    let linkedid = all[0]["id"].as_str().unwrap().to_string();
    let orphan = format!("kakehashi.{}.snoop", first.opened[0].0);
    all.push(json!({"id": orphan, "name": "Snoop/x-0", "state": "Up"}));
    let mut desk = desk();
    desk.requests.clear();
    desk.lists = (serde_json::to_string(&all).unwrap(), bridges);
    desk.linkedid = linkedid;
    desk.connect();
    assert_eq!(
        desk.told(),
        [
            "call 1001>6001",
            "queued madoguchi",
            "A 2001 madoguchi",
            "A answered",
            "A joined",
            "A hears Caller",
            "A hears Agent"
        ]
    );
    let removed: Vec<&str> =
        desk.requests.iter().filter(|r| r.method == Method::Delete).map(|r| r.path.as_str()).collect();
    assert_eq!(removed, [format!("/channels/{orphan}")]);
}

#[test]
fn a_tap_whose_channel_vanishes_is_made_anew() {
    let mut desk = desk();
    let (rest, ..) = until_joined(&mut desk);
    let gone = json!({"type": "ChannelDestroyed", "cause": 16,
        "channel": {"id": format!("kakehashi.{}.media", desk.opened[0].0), "name": "UnicastRTP/x"}});
    desk.event(&gone.to_string());
    assert_eq!(desk.opened.len(), 2);
    desk.pass(1_000);
    assert_eq!((desk.opened.len(), desk.closed.len()), (3, 1));
    rest.iter().for_each(|line| desk.event(line));
    assert_eq!(desk.closed.len(), 3);
    desk.assert_empty();
}

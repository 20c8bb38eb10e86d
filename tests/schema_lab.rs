//! The documents of `docs/` against public parsers and what is really sent: AsyncAPI by the initiative's parser and ajv (`tests/lab/node.sh`
//! installs both).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kakehashi::crm::settings::{Endpoint, Secret};
use kakehashi::crm::webhook::Webhook;
use kakehashi::events::Event;
use kakehashi::events::example::examples;
use kakehashi::panel::feed::{Feed, Filter, Limits, render};
use serde_json::{Value, json};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn lab() -> PathBuf {
    std::env::var_os("LAB_DIR").map_or_else(|| repository().join(".lab"), Into::into)
}

/// What the parsers say of the document and of what is sent.
fn judged(sent: &[Value]) -> Value {
    let mut node = Command::new("node")
        .args(["tests/lab/events.mjs", "docs/asyncapi.json"])
        .current_dir(repository())
        .env("NODE_FOLDER", lab().join("node"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is there: tests/lab/node.sh");
    let lines: String = sent.iter().map(|one| format!("{one}\n")).collect();
    node.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).expect("tests/lab/events.mjs says what it found")
}

fn message(name: &str, payload: &str) -> Value {
    json!({"message": name, "payload": serde_json::from_str::<Value>(payload).unwrap()})
}

/// A message of which wrong ones are made, too.
fn to_spoil(name: &str, payload: &str) -> Value {
    json!({"message": name, "payload": serde_json::from_str::<Value>(payload).unwrap(), "spoil": true})
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

#[test]
#[ignore = "needs the lab: make lab"]
fn every_type_of_event_is_accepted_and_wrong_ones_are_refused() {
    let events = examples();
    let sent: Vec<Value> = events.iter().map(|event| to_spoil(event.type_name(), &event.to_json())).collect();
    let judged = judged(&sent);
    assert_eq!(judged["problems"], json!([]));
    assert_eq!(judged["accepted"].as_object().unwrap().len(), events.len());
    let taken = &judged["taken"];
    assert_eq!((&taken["uuid"], &taken["word"]), (&json!([]), &json!([])));
    // a turn that could not be recognised has no text
    let no_text = |list: &Value| texts(list).iter().all(|one| one.ends_with("turns.text"));
    assert!(no_text(&taken["null"]) && no_text(&taken["shape"]), "{taken}");
    for event in &events {
        for field in
            ["specversion", "id", "source", "subject", "type", "time", "datacontenttype", "partitionkey", "data"]
        {
            let missing = format!("{} {field}", event.type_name());
            assert!(!texts(&taken["missing"]).contains(&missing.as_str()), "taken without: {missing}");
        }
    }
    for (kind, least) in [("missing", 500), ("null", 800), ("shape", 800), ("word", 100), ("uuid", 100)] {
        assert!(judged["refused"][kind].as_u64() >= Some(least), "{kind}: {}", judged["refused"]);
    }
}

#[test]
#[ignore = "needs the lab: make lab"]
fn events_by_reference_are_accepted_only_with_both_parts_of_it() {
    let secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
    let of_url = |public_url: &str| Endpoint { thin: true, public_url: public_url.into(), ..Endpoint::default() };
    let mut sent = Vec::new();
    for endpoint in [of_url("https://bridge.example.jp"), of_url("")] {
        let hook = Webhook::new(&endpoint, std::slice::from_ref(&secret)).unwrap();
        let sign = |event: &Event| hook.sign(&event.id.to_string(), &event.to_json(), event.time).body;
        sent.extend(examples().iter().map(|event| to_spoil(event.type_name(), &sign(event))));
    }
    let judged = judged(&sent);
    assert_eq!(judged["problems"], json!([]));
    let missing = texts(&judged["taken"]["missing"]);
    assert!(missing.iter().all(|one| one.ends_with(" sequence") || one.ends_with(" expirytime")), "{missing:?}");
}

#[test]
#[ignore = "needs the lab: make lab"]
fn what_a_call_sends_is_accepted() {
    let demo =
        Command::new(env!("CARGO_BIN_EXE_kakehashi")).args(["demo", "--json"]).current_dir(repository()).output();
    let demo = demo.unwrap();
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    let told = String::from_utf8(demo.stdout).unwrap();
    let events: Vec<Event> = told.lines().map(|line| Event::from_json(line).unwrap()).collect();
    let sent: Vec<Value> = told.lines().zip(&events).map(|(line, event)| message(event.type_name(), line)).collect();
    assert!(events.iter().any(|event| event.type_name() == "kakehashi.transcript.document.v1"));
    assert_eq!(judged(&sent)["problems"], json!([]));
}

#[test]
#[ignore = "needs the lab: make lab"]
fn what_the_feed_shows_is_accepted() {
    let mut feed = Feed::new(1, Limits { events: 100, bytes: 1 << 20, contacts: 9, turns: 9, ended: 9 });
    let mut sent = Vec::new();
    for event in examples() {
        let body = render(&event);
        sent.push(message("event", &body));
        feed.publish(&event, body);
    }
    let views = feed.snapshot(&Filter::default());
    assert_eq!(views.len(), 1);
    sent.push(message("contact", &views[0].json()));
    let mut large = examples().into_iter().find(|event| event.type_name() == "kakehashi.contact.note.v1").unwrap();
    large.data = kakehashi::events::Data::ContactNote(kakehashi::events::ContactNote { text: "長".repeat(65_536) });
    let oversize = render(&large);
    assert!(oversize.contains("panel.oversize"));
    sent.push(message("event", &oversize));
    assert_eq!(judged(&sent)["problems"], json!([]));
}

//! The documents of `docs/` against public parsers and what is really sent: AsyncAPI by the initiative's parser and ajv (`tests/lab/node.sh`
//! installs both), OpenAPI by openapi-spec-validator and schemathesis (`tests/lab/schema.sh`).
#![cfg(feature = "web")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kakehashi::crm::settings::{Endpoint, Secret};
use kakehashi::crm::webhook::Webhook;
use kakehashi::events::Event;
use kakehashi::events::example::examples;
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use kakehashi::outbox::{Batch, ContactRow};
use kakehashi::panel::feed::{Feed, Filter, Limits, render};
use kakehashi::pbx::{CallKey, PbxId};
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

/// A client's token that may do everything that a client may.
const TOKEN: &str = "a-client-that-may-do-everything";

/// A bridge with an empty exchange, an endpoint that does not answer, and a contact that is over.
struct Bridge {
    process: Child,
    url: String,
}

impl Bridge {
    async fn start(folder: &Path) -> Bridge {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).unwrap();
        fill(&data).await;
        let config = format!(
            r#"
[node]
id = "n1"
data_dir = "{}"
[log]
json = true
[[site]]
id = "osaka"
[[pbx]]
id = "desks"
site = "osaka"
[pbx.web]
[sip]
enabled = false
[webcall]
enabled = true
listen = "127.0.0.1:0"
[[endpoint]]
id = "crm"
url = "http://127.0.0.1:9/hook"
secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
[panel]
listen = "127.0.0.1:0"
[[panel.client]]
id = "tester"
token = "{TOKEN}"
correct = true
events = true
deliveries = true
"#,
            data.display()
        );
        std::fs::write(folder.join("kakehashi.toml"), config).unwrap();
        let log = folder.join("log");
        let mut process = Command::new(env!("CARGO_BIN_EXE_kakehashi"))
            .current_dir(repository())
            .args(["serve", "--config"])
            .arg(folder.join("kakehashi.toml"))
            .env("KAKEHASHI_LOG", "info")
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut told = lines.map(|line| line["fields"].clone());
            if let Some(ready) = told.find(|fields| fields["message"] == "ready") {
                let url = ready["panel"].as_str().unwrap().trim_end_matches('/').to_string();
                return Bridge { process, url };
            }
            assert!(process.try_wait().unwrap().is_none() && Instant::now() < deadline, "no start: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Deliveries to be listed, and events to be fetched.
async fn fill(data: &Path) {
    let (outbox, _committed) = Outbox::open(data, &Settings::default(), &["crm".to_string()]).unwrap();
    let events: Vec<Event> = examples().into_iter().filter(|event| event.sequence.is_some()).collect();
    let call = CallKey { pbx: PbxId("desks".into()), key: "1".into() };
    let contact = ContactRow { id: events[0].contact, site: "osaka".into(), call, open: false, state: "{}".into() };
    outbox.commit(Batch { contact, keys: Vec::new(), events, deliver_text: true }).unwrap().await.unwrap();
}

/// The ids with which something is there: a web call that was announced runs until its token expires; an event was sent.
async fn known_ids(bridge: &Bridge) -> String {
    let asked = r#"{"pbx":"desks","called":"1","extension":"2001"}"#;
    let opened = reqwest::Client::new().post(format!("{}/v1/web-calls", bridge.url)).body(asked).send().await.unwrap();
    let opened: Value = opened.json().await.unwrap();
    let contact = opened["contact"].as_str().unwrap();
    let event = examples()[0].id;
    format!(
        r#"
[[operations]]
include-path-regex = "^/v1/contacts/"
parameters = {{ "path.id" = "{contact}" }}
[[operations]]
include-path = "/v1/events/{{id}}"
parameters = {{ "path.id" = "{event}" }}
"#
    )
}

/// Runs a program of `tests/lab/schema.sh`; it must be content.
fn content(program: &str, arguments: &[&str]) {
    let bin = lab().join("schema/bin");
    let output = Command::new(bin.join(program)).args(arguments).current_dir(lab()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: run tests/lab/schema.sh"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
}

#[test]
#[ignore = "needs the lab: make lab"]
fn the_openapi_document_is_valid() {
    content("openapi-spec-validator", &[repository().join("docs/openapi.json").to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn the_api_answers_as_its_document_says() {
    // the test's own client wants one, though nothing here is TLS
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let bridge = Bridge::start(folder.path()).await;
    let document = format!("{}/v1/openapi.json", bridge.url);
    let served: Value = reqwest::get(&document).await.unwrap().json().await.unwrap();
    let kept: Value = serde_json::from_slice(&std::fs::read(repository().join("docs/openapi.json")).unwrap()).unwrap();
    assert!(served == kept, "docs/openapi.json is not what is served");
    let token = format!("Authorization: Bearer {TOKEN}");
    let ids = folder.path().join("schemathesis.toml");
    std::fs::write(&ids, known_ids(&bridge).await).unwrap();
    let arguments = [
        "--config-file",
        ids.to_str().unwrap(),
        "run",
        "--url",
        &bridge.url,
        "--header",
        &token,
        // the feed does not end by itself
        "--exclude-path",
        "/v1/feed",
        "--phases",
        "examples,coverage,fuzzing",
        "--checks",
        CHECKS,
        "--max-examples",
        "25",
        "--seed",
        "1",
        "--no-shrink",
        "--continue-on-failure",
        "--suppress-health-check",
        "all",
        &document,
    ];
    tokio::task::block_in_place(|| content("schemathesis", &arguments));
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,\
                      unsupported_method,allow_header_conformance,negative_data_rejection";

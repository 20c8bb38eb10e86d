//! What is known before a call, through `kakehashi serve` as a process: posted over HTTP, in the first pop of the call by SIP, over a kill -9.
#![cfg(feature = "web")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kakehashi::bridge::now;
use kakehashi::call::ContactId;
use kakehashi::events::{Data, Event, ScreenPop};
use kakehashi::time::Wall;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

#[path = "common/hook.rs"]
mod hook;

use hook::{Hook, SECRET};

const PANEL: &str = "panel-token-0123456789";
const PORTAL: &str = "portal-token-0123456789";
const BOT: &str = "bot-token-0123456789abc";
/// How long the line rings: what is posted then revises the pop.
const RING_MS: u32 = 600_000;

fn write_config(folder: &Path, hook: u16, media: u16) -> PathBuf {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    std::fs::write(folder.join("portal.token"), format!("{PORTAL}\n")).unwrap();
    let text = format!(
        r#"
[node]
data_dir = "{data}"
drain_ms = 500
[log]
level = "trace"
json = true
[[site]]
id = "osaka"
directory = "{samples}/directory.csv"
[[pbx]]
id = "exchange"
site = "osaka"
[pbx.sip]
peers = ["127.0.0.1/32"]
[sip]
enabled = true
listen_udp = ["127.0.0.1:0"]
listen_tcp = []
[media]
first_port = {media}
last_port = {last}
[[line]]
number = "*"
transcribe = false
answer_after_ms = {RING_MS}
[context]
max_waiting = 3
[[endpoint]]
id = "crm"
url = "http://127.0.0.1:{hook}/hook"
secrets = ["{SECRET}"]
[panel]
listen = "127.0.0.1:0"
token = "{PANEL}"
[[panel.client]]
id = "portal"
token_file = "{folder}/portal.token"
[[panel.client]]
id = "bot"
token = "{BOT}"
"#,
        data = folder.join("data").display(),
        folder = folder.display(),
        samples = samples.display(),
        last = media + 99,
    );
    let path = folder.join("kakehashi.toml");
    std::fs::write(&path, text).unwrap();
    path
}

struct Bridge {
    process: Child,
    sip: SocketAddr,
    panel: SocketAddr,
    log: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // a test that failed leaves nothing behind
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Bridge {
    fn start(config: &Path) -> Bridge {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kakehashi"))
            .args(["serve", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let ready = loop {
            let line = lines.next().expect("it gets ready").unwrap();
            log.lock().unwrap().push_str(&line);
            if line.contains("\"ready\"") {
                break line;
            }
        };
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let sip = ready["fields"]["sip_udp"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap();
        let panel = ready["fields"]["panel"].as_str().unwrap();
        let panel = panel.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        // the pipe is read to its end, so that the bridge never waits for it
        let kept = std::sync::Arc::clone(&log);
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push_str(&line)));
        Bridge { process, sip, panel, log }
    }

    fn end(&mut self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
        self.process.wait().unwrap();
    }

    /// One request; status and body.
    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.panel).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn post(&self, token: &str, body: Value) -> (u16, Value) {
        self.ask("POST", "/v1/context", token, &body.to_string())
    }
}

/// Calls the bridge; it rings until the socket is dropped or the bridge ends.
fn ring(sip: SocketAddr, id: &str, number: &str, more: &str) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let local = socket.local_addr().unwrap();
    let body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
    let invite = format!(
        "INVITE sip:2001@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
         From: <sip:{number}@{local}>;tag={id}\r\nTo: <sip:2001@{sip}>\r\nCall-ID: {id}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:x@{local}>\r\n{more}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.send_to(invite.as_bytes(), sip).unwrap();
    let mut buffer = [0; 4_096];
    loop {
        let length = socket.recv(&mut buffer).expect("an answer");
        if buffer[..length].starts_with(b"SIP/2.0 180") {
            return socket;
        }
    }
}

fn pops(events: &[Event]) -> impl Iterator<Item = (ContactId, &ScreenPop)> {
    events.iter().filter_map(|event| match &event.data {
        Data::ScreenPop(pop) => Some((event.contact, pop)),
        _ => None,
    })
}

/// Revision 0 of each pop, in the order of the calls.
fn first_pops(events: &[Event]) -> Vec<&ScreenPop> {
    pops(events).map(|(_, pop)| pop).filter(|pop| pop.revision == 0).collect()
}

/// The pops of one contact in order of their revisions.
fn pops_of(events: &[Event], contact: ContactId) -> Vec<&ScreenPop> {
    let mut own: Vec<&ScreenPop> = pops(events).filter(|(of, _)| *of == contact).map(|(_, pop)| pop).collect();
    own.sort_by_key(|pop| pop.revision);
    own
}

fn reasons(pop: &ScreenPop) -> Vec<(&str, &str)> {
    let reasons = pop.context.iter();
    reasons.map(|context| (context.from.as_str(), context.known.reason.as_deref().unwrap_or_default())).collect()
}

fn known(reason: &str) -> Value {
    json!({"reason": reason, "page": {"url": "https://portal.example.jp/p", "title": "住民票"}, "slots": {"通数": "2"}})
}

#[test]
fn a_context_is_in_the_first_pop_of_its_call_and_over_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 22_000);
    let mut bridge = Bridge::start(&config);
    let (status, answer) =
        bridge.post(PORTAL, json!({"number": "０６００－００１２３４", "context": known("住民票の写し")}));
    assert_eq!((status, &answer["version"], &answer["attached"]), (201, &json!(1), &json!([])), "{answer}");
    let (status, answer) = bridge.post(BOT, json!({"token": "web-17", "expires_in_s": 1, "context": known("消える")}));
    assert_eq!(status, 201);
    let expires = Wall::parse_rfc3339(answer["expires"].as_str().unwrap()).unwrap();
    let (status, _) = bridge.post(BOT, json!({"token": "web-18", "context": known("転入 123456789018")}));
    assert_eq!(status, 201);
    bridge.end(Signal::SIGKILL);

    let mut bridge = Bridge::start(&config);
    let _by_number = ring(bridge.sip, "n1", "0600001234", "");
    let events = hook.until(|events| first_pops(events).len() == 1);
    assert_eq!(reasons(first_pops(&events)[0]), [("portal", "住民票の写し")]);
    let _by_token = ring(bridge.sip, "t1", "anonymous", "User-to-User: 7765622d3138;encoding=hex\r\n");
    let events = hook.until(|events| first_pops(events).len() == 2);
    assert_eq!(reasons(first_pops(&events)[1]), [("bot", "転入 ************")], "its number is masked");
    // the one that waited for a second is gone
    std::thread::sleep(expires.since(now().wall));
    let _expired = ring(bridge.sip, "t2", "anonymous", "User-to-User: web-17\r\n");
    let events = hook.until(|events| first_pops(events).len() == 3);
    assert!(first_pops(&events)[2].context.is_empty());
    // while it rings: a new revision; posted to the contact by its id, then taken back
    let contact = events.iter().find(|event| matches!(event.data, Data::ScreenPop(_))).unwrap().contact;
    let (status, answer) = bridge.post(BOT, json!({"contact": contact, "context": known("急ぎ")}));
    assert_eq!((status, &answer["attached"]), (201, &json!([contact])));
    let both = vec![("portal", "住民票の写し"), ("bot", "急ぎ")];
    hook.until(|events| pops_of(events, contact).last().is_some_and(|pop| pop.revision > 0 && reasons(pop) == both));
    let id = answer["context"].as_str().unwrap();
    assert_eq!(bridge.ask("DELETE", &format!("/v1/context/{id}"), PORTAL, "").0, 404, "it is the bot's");
    assert_eq!(bridge.ask("DELETE", &format!("/v1/context/{id}"), BOT, "").0, 204);
    hook.until(|events| {
        pops_of(events, contact).last().is_some_and(|pop| reasons(pop) == [("portal", "住民票の写し")])
    });
    let told = |events: &[Event]| {
        let all = events.iter().filter(|event| event.contact == contact);
        all.filter_map(|event| match &event.data {
            Data::ContactContext(context) => Some((context.from.clone(), context.removed)),
            _ => None,
        })
        .collect::<Vec<_>>()
    };
    let events = hook.until(|events| told(events).len() == 3);
    assert_eq!(told(&events), [("portal".into(), false), ("bot".into(), false), ("bot".into(), true)]);
    bridge.end(Signal::SIGTERM);
    let log = bridge.log.lock().unwrap().clone();
    for secret in ["住民票", "転入", "急ぎ", "600001234", "web-1", "portal.example", PORTAL, BOT, "12345678901"]
    {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert!(log.contains("contact.context"), "it was traced");
}

#[test]
fn bad_input_is_refused_by_its_field_and_only_those_with_a_token_post() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 22_200);
    let mut bridge = Bridge::start(&config);
    let good = json!({"token": "t", "context": {"reason": "x"}});
    for (token, status) in [("", 401), ("wrong-token-0123456789", 401), (PANEL, 201), (BOT, 201)] {
        assert_eq!(bridge.post(token, good.clone()).0, status, "{token}");
    }
    // a machine may post and nothing else
    for (method, path) in [
        ("GET", "/v1/contacts"),
        ("GET", "/v1/feed"),
        ("POST", "/v1/contacts/00000000-0000-0000-0000-000000000001/note"),
    ] {
        assert_eq!(bridge.ask(method, path, BOT, "").0, 401, "{path}");
    }
    for (body, field) in [
        (json!({"number": "1", "context": {"reason": "x"}}), "number"),
        (json!({"token": "t", "context": {"page": {"url": "javascript:alert(1)"}}}), "context.page.url"),
        (json!({"token": "t", "context": {"slots": [{"key": "a", "value": []}]}}), "context.slots[0].value"),
        (json!({"token": "t", "expires_in_s": 1_000_000, "context": {"reason": "x"}}), "expires_in_s"),
    ] {
        let (status, answer) = bridge.post(BOT, body);
        assert_eq!((status, answer["field"].as_str()), (400, Some(field)), "{answer}");
        assert!(answer["error"].as_str().unwrap().starts_with(field));
    }
    let (status, answer) = bridge.post(BOT, json!({"site": "kobe", "token": "t", "context": {"reason": "x"}}));
    assert!(status == 400 && answer["error"].as_str().unwrap().starts_with("site"), "{answer}");
    let nobody = "00000000-0000-0000-0000-000000000001";
    assert_eq!(bridge.post(BOT, json!({"contact": nobody, "context": {"reason": "x"}})).0, 404);
    assert_eq!(bridge.ask("POST", "/v1/context", BOT, &"x".repeat(70_000)).0, 413);
    assert_eq!(bridge.ask("DELETE", "/v1/context/x", BOT, "").0, 400);
    assert_eq!(bridge.ask("DELETE", &format!("/v1/context/{nobody}"), BOT, "").0, 404);
    let keyed = |reason: &str| json!({"token": "k", "key": "1", "context": {"reason": reason}});
    assert_eq!(
        (bridge.post(BOT, keyed("a")).0, bridge.post(BOT, keyed("a")).0, bridge.post(BOT, keyed("b")).0),
        (201, 200, 409)
    );
    let (status, answer) = bridge.post(BOT, json!({"token": "four", "context": {"reason": "x"}}));
    assert!(status == 503 && answer["error"].as_str().unwrap().contains("max_waiting"), "{answer}");
    bridge.end(Signal::SIGTERM);
}

//! SIGHUP: the configuration is read again while calls run.

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kakehashi::bridge::now;
use kakehashi::crm::verify::verify;
use kakehashi::events::{Data, Event};
use nix::sys::signal::Signal;

use crate::drain::Exchange;
use crate::hook::{Hook, SECRET, request};
use crate::{Bridge, dial, is_document, pattern, speak, write_config};

const TAKEN: &str = "the configuration was read again";
const REFUSED: &str = "the configuration cannot be used; the old one stays in force";
const RESTART: &str = "these keys of the configuration need a restart";
/// What the secret is rotated to.
const NEXT: &str = "whsec_S2FrZWhhc2hpIHNlY29uZCBzZWNyZXQgMzIgYnl0ZXM=";
const TOKEN: &str = "0123456789abcdef0123";

fn edit(config: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(config, text.replacen(from, to, 1)).unwrap();
}

/// What a receiver has of its keys.
#[derive(Default)]
struct Kept {
    /// Answers 503 to everything.
    away: bool,
    /// The only secret that it accepts; others are answered 401.
    secret: &'static str,
    events: Vec<Event>,
    /// Requests that came while it was away.
    sent_away: usize,
}

/// A receiver that changes its secret.
struct Receiver {
    port: u16,
    kept: Arc<Mutex<Kept>>,
}

impl Receiver {
    fn start(secret: &'static str) -> Receiver {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept = Arc::new(Mutex::new(Kept { secret, ..Kept::default() }));
        let shared = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    let mut reader = BufReader::new(stream);
                    while let Some((headers, body)) = request(&mut reader) {
                        let status = answer(&mut shared.lock().unwrap(), &headers, &body);
                        let _ = write!(writer, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                    }
                });
            }
        });
        Receiver { port, kept }
    }

    fn until(&self, fits: impl Fn(&Kept) -> bool) -> Vec<Event> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let kept = self.kept.lock().unwrap();
            if fits(&kept) {
                return kept.events.clone();
            }
            let names: Vec<_> = kept.events.iter().map(Event::type_name).collect();
            assert!(Instant::now() < deadline, "so far {names:?}, {} were sent away", kept.sent_away);
            drop(kept);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn answer(kept: &mut Kept, headers: &[String], body: &[u8]) -> u16 {
    let header = |name: &str| {
        let found = headers.iter().find_map(|line| line.split_once(':').filter(|(key, _)| *key == name));
        found.map_or("", |(_, value)| value.trim())
    };
    if kept.away {
        kept.sent_away += 1;
        return 503;
    }
    let (id, timestamp, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    if verify(kept.secret, id, timestamp, signature, body, now().wall).is_err() {
        return 401;
    }
    kept.events.push(Event::from_json(std::str::from_utf8(body).unwrap()).unwrap());
    204
}

/// Each contact's events are there once, numbered without a hole.
fn whole(events: &[Event], contacts: usize) {
    let ids: std::collections::BTreeSet<_> = events.iter().map(|event| event.contact.to_string()).collect();
    assert_eq!(ids.len(), contacts);
    for id in ids {
        let of_it = events.iter().filter(|event| event.contact.to_string() == id);
        let sequences: Vec<u64> = of_it.filter_map(|event| event.sequence).collect();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "{id}");
    }
}

fn documents(events: &[Event]) -> usize {
    events.iter().filter(|event| is_document(event)).count()
}

/// Calls, speaks a little, and hangs up when `meanwhile` is done.
fn call(bridge: &Bridge, id: &str, meanwhile: impl FnOnce()) {
    let exchange = Exchange::of(bridge);
    let (ports, to) = dial(bridge.sip, &exchange.socket, id);
    speak(ports, 5, pattern);
    meanwhile();
    assert!(exchange.asks("BYE", id, &to).starts_with("SIP/2.0 200"));
}

#[test]
fn a_rotated_secret_signs_what_is_sent_next_and_nothing_is_lost_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(SECRET);
    let config = write_config(folder.path(), receiver.port, 22_600);
    let bridge = Bridge::start(&config);
    call(&bridge, "c1", || {
        receiver.until(|kept| kept.events.iter().any(|event| matches!(event.data, Data::CallAnswered(_))));
        // what happens from here on waits, and is signed with the next secret
        receiver.kept.lock().unwrap().away = true;
    });
    receiver.until(|kept| kept.sent_away > 0);
    edit(&config, SECRET, NEXT);
    bridge.signal(Signal::SIGHUP);
    assert_eq!(bridge.told(TAKEN, 1)["applied"], "[[endpoint]] id = \"crm\": secrets");
    let mut kept = receiver.kept.lock().unwrap();
    (kept.secret, kept.away) = (NEXT, false);
    drop(kept);
    whole(&receiver.until(|kept| documents(&kept.events) == 1), 1);
    call(&bridge, "c2", || {});
    whole(&receiver.until(|kept| documents(&kept.events) == 2), 2);
    bridge.stop();
}

#[test]
fn a_secret_file_that_changes_is_read_again_and_a_wrong_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(SECRET);
    let config = write_config(folder.path(), receiver.port, 22_700);
    let file = folder.path().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    edit(&config, &format!("secrets = [\"{SECRET}\"]"), &format!("secret_file = \"{}\"", file.display()));
    let bridge = Bridge::start(&config);
    call(&bridge, "c1", || {});
    receiver.until(|kept| documents(&kept.events) == 1);
    std::fs::write(&file, "whsec_short").unwrap();
    bridge.told("the secrets stay as they were", 1);
    call(&bridge, "c2", || {});
    receiver.until(|kept| documents(&kept.events) == 2);
    std::fs::write(&file, NEXT).unwrap();
    bridge.told("the secrets were read again", 1);
    receiver.kept.lock().unwrap().secret = NEXT;
    call(&bridge, "c3", || {});
    whole(&receiver.until(|kept| documents(&kept.events) == 3), 3);
    bridge.stop();
}

/// The answer to a request of the panel.
fn ask(panel: SocketAddr, path: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(panel).unwrap();
    let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {panel}\r\n{authorization}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_wrong_file_changes_nothing_and_the_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 22_800);
    edit(&config, "[panel]\nenabled = false", "[panel]\nlisten = \"127.0.0.1:0\"");
    let good = std::fs::read_to_string(&config).unwrap();
    let bridge = Bridge::start(&config);
    let secret = format!("secrets = [\"{SECRET}\"]");
    let wrong = [
        ("drain_ms = 3000", "calls_sm = 1", "unknown field `calls_sm`"),
        (secret.as_str(), "secrets = [\"whsec_x\"]", "[[endpoint]] id = \"crm\""),
        ("url = \"http", "url = \"ftp", "[[endpoint]] id = \"crm\": url"),
        ("[outbox]", "[retention]\nrecordings_days = 9\nrecords_days = 3\n[outbox]", "[retention] recordings_days"),
        ("[outbox]", "[[panel.client]]\nid = \"bot\"\ntoken_file = \"/no/such\"\n[outbox]", "[panel] token_file"),
        ("[outbox]", "[[panel.client]]\nid = \"bot\"\ntoken = \"short\"\n[outbox]", "[panel] client token"),
        ("contacts = \"", "contacts = \"/no/such", "[[site]] contacts"),
    ];
    for (n, (from, to, named)) in wrong.iter().enumerate() {
        std::fs::write(&config, good.replacen(from, to, 1).replace("[node]", "[node]\ncalls_ms = 77")).unwrap();
        bridge.signal(Signal::SIGHUP);
        let told = bridge.told(REFUSED, n + 1)["error"].as_str().unwrap().to_string();
        assert!(told.contains(named), "{told}");
    }
    std::fs::write(&config, &good).unwrap();
    bridge.signal(Signal::SIGHUP);
    // calls_ms of the wrong files is not in force either
    assert_eq!(bridge.told(TAKEN, 1)["applied"], "");
    let metrics = ask(bridge.panel.unwrap(), "/metrics", "");
    for line in [
        "kakehashi_config_reloads_total{result=\"refused\"} 7",
        "kakehashi_config_reloads_total{result=\"applied\"} 1",
        "kakehashi_config_keys_need_restart 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    call(&bridge, "c1", || {});
    // the hook takes nothing that is signed otherwise
    hook.until(|events| documents(events) == 1);
    bridge.stop();
}

#[test]
fn what_can_be_taken_is_taken_and_what_needs_a_restart_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 22_900);
    edit(&config, "[panel]\nenabled = false", "[panel]\nlisten = \"127.0.0.1:0\"");
    let bridge = Bridge::start(&config);
    let panel = bridge.panel.unwrap();
    assert!(!ask(panel, "/v1/endpoints", TOKEN).starts_with("HTTP/1.1 200"));
    edit(&config, "drain_ms", "calls_ms = 600_000\ndrain_ms");
    edit(&config, "json = true", "json = true\nlevel = \"warn\"");
    edit(&config, "listen_tcp = []", "listen_tcp = []\nmax_calls = 7");
    let client = format!("[[panel.client]]\nid = \"bot\"\ntoken = \"{TOKEN}\"\ndeliveries = true\n");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.clone()
            + &client
            + "[[endpoint]]\nid = \"new\"\nsecrets = [\"whsec_S2FrZWhhc2hpIHNlY29uZCBzZWNyZXQgMzIgYnl0ZXM=\"]\n",
    )
    .unwrap();
    bridge.signal(Signal::SIGHUP);
    assert_eq!(bridge.told(TAKEN, 1)["applied"], "[log] level, [node] calls_ms, [[panel.client]]");
    let named = "[[endpoint]] id = \"new\" (added), [sip] max_calls";
    assert_eq!(bridge.told(RESTART, 1)["keys"], named);
    assert!(ask(panel, "/v1/endpoints", TOKEN).starts_with("HTTP/1.1 200"));
    assert!(ask(panel, "/metrics", "").contains("\nkakehashi_config_keys_need_restart 2\n"));

    // what needs a restart is named each time; at `warn` nothing else is
    bridge.signal(Signal::SIGHUP);
    assert_eq!(bridge.told(RESTART, 2)["keys"], named);
    std::fs::write(&config, text.replace("\"warn\"", "\"info\"").replace("max_calls = 7", "")).unwrap();
    bridge.signal(Signal::SIGHUP);
    assert_eq!(bridge.told(TAKEN, 2)["applied"], "[log] level, [[panel.client]]");
    assert!(!ask(panel, "/v1/endpoints", TOKEN).starts_with("HTTP/1.1 200"));

    let exchange = Exchange::of(&bridge);
    let (_, to) = dial(bridge.sip, &exchange.socket, "c1");
    bridge.signal(Signal::SIGTERM);
    let bye = exchange.asks("BYE", "c1", &to);
    assert!(bye.starts_with("SIP/2.0 200"), "it lets the call go on: {bye}");
    bridge.ends();
}

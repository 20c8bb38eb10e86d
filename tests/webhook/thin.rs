//! Events without their data, and who may fetch it.

use std::io::Write;
use std::sync::Mutex;

use kakehashi::call::LegId;
use kakehashi::events::{Agent, LookUp, ScreenPop, TranscriptFinal};
use sha2::{Digest, Sha256};

use super::*;

const PANEL: &str = "panel-token-0123456789";
const CRM: &str = "crm-token-0123456789abc";
const BOT: &str = "bot-token-0123456789abc";

/// What the program logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn config(folder: &std::path::Path, panel: u16, endpoint: &str) -> kakehashi::config::Config {
    let text = format!(
        r#"
[node]
data_dir = "{}/data"
public_url = "http://127.0.0.1:{panel}"
drain_ms = 200
reload_ms = 50
[[site]]
id = "s"
[[pbx]]
id = "p"
site = "s"
[pbx.sip]
peers = ["127.0.0.1/32"]
[sip]
enabled = true
listen_udp = ["127.0.0.1:0"]
listen_tcp = []
[[line]]
number = "*"
transcribe = false
[outbox]
retry_schedule_ms = [100, 100, 100, 100, 100, 100, 100, 100, 100, 100]
breaker_pause_ms = 100
breaker_longest_ms = 100
[[endpoint]]
id = "crm"
secrets = ["{SECRET}"]
{endpoint}
[panel]
listen = "127.0.0.1:{panel}"
token = "{PANEL}"
[[panel.client]]
id = "crm"
token = "{CRM}"
events = true
[[panel.client]]
id = "bot"
token = "{BOT}"
"#,
        folder.display()
    );
    kakehashi::config::Config::parse(std::path::Path::new("k.toml"), &text).unwrap()
}

async fn get(url: &str, token: &str) -> (u16, String) {
    let mut request = reqwest::Client::new().get(url);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn until(mut fits: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fits() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_is_fetched_by_who_may_have_it_and_every_access_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (server, folder) = (Server::start(accept), tempfile::tempdir().unwrap());
    let config = config(folder.path(), free_port(), &format!("url = \"{}\"\nthin = true", server.url("/hook")));
    let bridge = kakehashi::bridge::start::start(config).await.unwrap();
    bridge.outbox().commit(batch(contact(1), 1)).unwrap().await.unwrap();
    until(|| server.requests().len() == 1).await;

    let sent = String::from_utf8(server.requests()[0].body.clone()).unwrap();
    assert!(!sent.contains("60000123") && !sent.contains("市民課"), "{sent}");
    let envelope: serde_json::Value = serde_json::from_str(&sent).unwrap();
    let id = batch(contact(1), 1).events[0].id;
    let url = format!("http://{}/v1/events/{id}", bridge.panel().unwrap());
    assert_eq!(envelope["dataref"], url);
    let (status, body) = get(&url, CRM).await;
    assert_eq!((status, Event::from_json(&body).unwrap().id), (200, id));
    assert!(body.contains("+81600001234"));
    let data = body.split_once("\"data\":").unwrap().1.strip_suffix('}').unwrap();
    let hash: String = Sha256::digest(data.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(envelope["datahash"], format!("sha256:{hash}"));
    assert_eq!(get(&url, PANEL).await, (200, body), "and so may who uses the panel");

    let other = format!("http://{}/v1/events/", bridge.panel().unwrap());
    for (url, token, status, word) in [
        (url.clone(), "", 401, "token"),
        (url.clone(), "wrong-token-0123456789", 401, "token"),
        (url.clone(), BOT, 403, "events = true"),
        (format!("{other}{}", Uuid::nil()), CRM, 404, "no event"),
        (format!("{other}1234"), CRM, 400, "UUID"),
    ] {
        let (got, body) = get(&url, token).await;
        assert!(got == status && body.contains(word), "{url}: {got} {body}");
    }
    bridge.stop().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("an event was")).collect();
    let of = |client: &str, event: Uuid| {
        let says = |line: &&&str| line.contains(&format!("client=\"{client}\"")) && line.contains(&event.to_string());
        lines.iter().filter(says).count()
    };
    assert_eq!((of("crm", id), of("panel", id), of("crm", Uuid::nil())), (1, 1, 1), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("may not have it")).count(), 3, "{lines:#?}");
    assert!(!log.contains("60000123") && !log.contains("市民課") && !log.contains(CRM));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_when_their_file_changes() {
    let (authority, files, folder) = (Authority::new(), Files::new(), tempfile::tempdir().unwrap());
    let server = Server::listen(0, server_tls(&authority.issue(&["localhost"]), None), accept);
    let ca = files.write("ca.pem", &Authority::new().pem());
    let endpoint = format!("url = \"{}\"\nca_file = \"{}\"", https(server.address), ca.display());
    let bridge = kakehashi::bridge::start::start(config(folder.path(), free_port(), &endpoint)).await.unwrap();
    bridge.outbox().commit(batch(contact(1), 1)).unwrap().await.unwrap();
    let refused = |one: &Listed| one.error.as_deref().is_some_and(|error| error.contains("ca_file"));
    until(|| bridge.outbox().list(None, 9).unwrap().iter().any(refused)).await;
    files.write("ca.pem", &authority.pem());
    until(|| bridge.outbox().list(None, 9).unwrap().iter().all(|one| one.status == "delivered")).await;
    assert_eq!(sequences(&server), [1]);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_can_be_fetched_while_it_lives_and_a_text_that_stays_here_never() {
    let server = Server::start(accept);
    let thin = Endpoint { thin: true, public_url: "http://bridge.test".into(), ..endpoint(server.url("/hook")) };
    let running = Running::start(thin);
    let leg = LegId(Uuid::from_u128(7));
    let pop = ScreenPop {
        popid: leg.0,
        revision: 0,
        leg,
        agent: Agent { extension: "2001".into(), ..Agent::default() },
        caller: Caller { number: Some("+81600001234".into()), ..Caller::default() },
        called: "6001".into(),
        line: None,
        queue: None,
        lookup: LookUp::Skipped,
        matches: Vec::new(),
        transfer: None,
        context: Vec::new(),
        handover: None,
    };
    let event = |id: u128, expires: Wall| Event {
        id: Uuid::from_u128(id),
        source: "/site/s/node/n".into(),
        contact: contact(1),
        leg: Some(leg),
        time: now().wall,
        sequence: None,
        expires: Some(expires),
        data: Data::ScreenPop(pop.clone()),
    };
    let (living, over) = (event(1, now().wall + Duration::from_secs(60)), event(2, now().wall));
    assert!(running.deliverer.realtime(living.clone()) && running.deliverer.realtime(over));
    until(|| server.requests().len() == 2).await;
    assert!(server.requests().iter().all(|sent| !String::from_utf8_lossy(&sent.body).contains("60000123")));
    assert_eq!(running.deliverer.event(Uuid::from_u128(1)).unwrap(), Some(living.to_json()));
    assert_eq!(running.deliverer.event(Uuid::from_u128(2)).unwrap(), None);

    let mut kept = batch(contact(2), 1);
    kept.deliver_text = false;
    let at = now().wall;
    let text = serde_json::json!({
        "leg": leg.0, "utterance": "1/0", "speaker": "caller", "start": at, "end": at, "start_ms": 0, "end_ms": 1, "text": "住民票",
        "text_raw": "住民票", "corrections": [], "confidence": 0.9, "model": "m", "dictionary": "",
    });
    let text: TranscriptFinal = serde_json::from_value(text).unwrap();
    kept.events[0] = Event {
        id: Event::kept_id(contact(2), 1, kept.events[0].time),
        sequence: None,
        data: Data::TranscriptFinal(text),
        ..kept.events[0].clone()
    };
    let id = kept.events[0].id;
    running.outbox.commit(kept).unwrap().await.unwrap();
    assert!(running.outbox.event(&id.to_string()).unwrap().is_some());
    assert_eq!(running.deliverer.event(id).unwrap(), None);
}

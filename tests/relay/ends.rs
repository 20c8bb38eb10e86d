//! Both ends: the relay as a process, the bridge's side as its own parts, and their certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use kakehashi::bridge::deliver::{self, Deliverer, Figures};
use kakehashi::call::ContactId;
use kakehashi::crm::relay::Settings as Relay;
use kakehashi::crm::settings::Endpoint;
use kakehashi::events::{Caller, Event};
use kakehashi::outbox::Batch;
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use uuid::Uuid;

use crate::hook::{Hook, SECRET};
use crate::ledger::{Arrival, Entry, Sums, check, digest};
use crate::tls::{Authority, Pair};

/// Longest wait; only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Names of the ends in their certificates.
pub(crate) const BRIDGE: &str = "bridge.test";
pub(crate) const RELAY: &str = "relay.test";

/// A folder with what both ends need.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) authority: Authority,
}

impl Place {
    pub(crate) fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap(), authority: Authority::new() };
        std::fs::write(place.path("ca.pem"), place.authority.pem()).unwrap();
        place.write("bridge", &place.authority.issue(&[BRIDGE]));
        place.write("relay", &place.authority.issue(&[RELAY]));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a certificate and its key in the place of another.
    pub(crate) fn write(&self, name: &str, pair: &Pair) {
        std::fs::write(self.path(&format!("{name}.pem")), &pair.certificate).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), &pair.key).unwrap();
    }

    /// The configuration of a relay whose link is `way`, `listen = …` or `connect = …`.
    fn relay_toml(&self, way: &str, hook: u16) -> String {
        let folder = self.folder.path().display();
        format!(
            r#"
[node]
data_dir = "{folder}/far"
[log]
json = true
[relay]
{way}
peer = "{BRIDGE}"
certificate_file = "{folder}/relay.pem"
key_file = "{folder}/relay.key"
ca_file = "{folder}/ca.pem"
keepalive_s = 5
[outbox]
reserve_bytes = 0
[[endpoint]]
id = "crm"
url = "http://127.0.0.1:{hook}/hook"
secrets = ["{SECRET}"]
max_body_bytes = 16777216
[metrics]
listen = "127.0.0.1:0"
"#
        )
    }

    /// Starts the relay and waits until it is ready.
    pub(crate) fn relay(&self, way: &str, hook: u16) -> Far {
        let config = self.path("relay.toml");
        std::fs::write(&config, self.relay_toml(way, hook)).unwrap();
        Far::start(&config, &self.path("relay.log"))
    }

    pub(crate) fn endpoint(&self, relay: Relay) -> Endpoint {
        endpoint(self.folder.path(), relay)
    }
}

pub(crate) fn endpoint(folder: &Path, relay: Relay) -> Endpoint {
    Endpoint {
        id: "relay".into(),
        ca_file: folder.join("ca.pem"),
        client_cert_file: folder.join("bridge.pem"),
        client_key_file: folder.join("bridge.key"),
        relay: Some(Relay { peer: RELAY.into(), keepalive_s: 5, ..relay }),
        partials: true,
        ..Endpoint::default()
    }
}

pub(crate) fn connect(port: u16) -> Relay {
    Relay { connect: format!("127.0.0.1:{port}"), ..Relay::default() }
}

/// Short waits: many things fail here.
pub(crate) fn settings() -> Settings {
    Settings {
        reserve_bytes: 0,
        retry_schedule_ms: vec![100; 200],
        breaker_pause_ms: 50,
        breaker_longest_ms: 200,
        ..Settings::default()
    }
}

/// The relay.
pub(crate) struct Far {
    process: Child,
    log: PathBuf,
    config: PathBuf,
}

impl Far {
    fn start(config: &Path, log: &Path) -> Far {
        let before = read(log).lines().count();
        let out = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_kakehashi"))
            .args(["relay", "--config"])
            .arg(config)
            .env("KAKEHASHI_LOG", "info")
            .stdin(Stdio::null())
            .stderr(out)
            .spawn()
            .unwrap();
        let ready = |log: &str| log.lines().skip(before).any(|line| line.contains(r#""message":"ready""#));
        let deadline = Instant::now() + PATIENCE;
        while !ready(&read(log)) {
            assert!(process.try_wait().unwrap().is_none() && Instant::now() < deadline, "no start: {}", read(log));
            std::thread::sleep(Duration::from_millis(5));
        }
        Far { process, log: log.into(), config: config.into() }
    }

    /// SIGKILL, and a new one on the same data.
    pub(crate) fn kill_and_start(mut self) -> Far {
        self.kill();
        Far::start(&self.config, &self.log)
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until its log has `words`.
    pub(crate) fn says(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !read(&self.log).contains(words) {
            assert!(Instant::now() < deadline, "{words:?} is not in its log: {}", read(&self.log));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = read(&self.log);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the end of the relay's log:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// The bridge's side.
pub(crate) struct Near {
    pub(crate) outbox: Outbox,
    pub(crate) deliverer: Deliverer,
}

impl Near {
    /// On the data in `folder`.
    pub(crate) fn start(folder: &Path, endpoint: Endpoint) -> Near {
        let (settings, endpoints) = (settings(), [endpoint]);
        let receivers = deliver::receivers(&endpoints).unwrap();
        let (outbox, committed) = Outbox::open(folder, &settings, receivers).unwrap();
        let (deliverer, _) = deliver::spawn(outbox.clone(), committed, &endpoints, &settings, |_| {}).unwrap();
        Near { outbox, deliverer }
    }

    /// Commits the events, and gives them as accepted.
    pub(crate) async fn accept(&self, batches: Vec<Batch>) -> Vec<Entry> {
        let entries = batches.iter().flat_map(|batch| &batch.events).map(entry).collect();
        batches.into_iter().for_each(|batch| self.outbox.submit(batch).unwrap());
        self.outbox.flush().unwrap().await.unwrap();
        entries
    }

    pub(crate) fn figures(&self) -> Figures {
        self.deliverer.figures().remove(0)
    }

    /// Waits until its figures fit.
    pub(crate) async fn until(&self, fits: impl Fn(&Figures) -> bool) -> Figures {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let figures = self.figures();
            if fits(&figures) {
                return figures;
            }
            assert!(Instant::now() < deadline, "{figures:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Waits until the receiver has seen what fits.
pub(crate) async fn seen(hook: &std::sync::Arc<Hook>, fits: impl Fn(&[Event]) -> bool + Send + 'static) {
    let hook = std::sync::Arc::clone(hook);
    tokio::task::spawn_blocking(move || hook.until(fits)).await.unwrap();
}

pub(crate) fn contact(number: u64) -> ContactId {
    ContactId(Uuid::from_u128(u128::from(number) + 1))
}

/// An event with `size` characters that do not shrink much.
pub(crate) fn batch(number: u64, sequence: u64, size: usize) -> Batch {
    let mut text = String::new();
    let mut seed = format!("{number} {sequence}");
    while text.len() < size {
        seed = digest(seed.as_bytes());
        text.push_str(&seed);
    }
    text.truncate(size.max(1));
    crate::batch::queued(contact(number), sequence, Caller::default(), &text)
}

pub(crate) fn entry(event: &Event) -> Entry {
    Entry {
        id: event.id,
        contact: event.contact,
        sequence: event.sequence.unwrap_or(0),
        digest: digest(event.to_json().as_bytes()),
    }
}

/// Holds every rule of the ledger at the receiver behind the relay.
pub(crate) fn hold(accepted: &[Entry], hook: &Hook) -> Sums {
    let arrived = hook.arrived();
    let record = arrived.iter().filter(|(_, event)| event.sequence.is_some());
    let arrivals: Vec<Arrival> =
        record.map(|(_, event)| Arrival { endpoint: "crm".into(), event: entry(event), taken: true }).collect();
    check(accepted, &arrivals, &["crm"]).unwrap_or_else(|problem| panic!("{problem}"))
}

/// A port for a relay that is started and killed: below those that the system gives to others meanwhile, and given once.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 100) as u16 * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::SeqCst);
        if std::net::TcpListener::bind(local(port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

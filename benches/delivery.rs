//! Signed deliveries a second and core: a backlog in the outbox, our deliverer, a receiver on loopback in another process on another core, which only
//! counts and answers 200. Prints `name value unit` lines.
//!
//! `cargo bench --bench delivery` · `KAKEHASHI_BENCH_DELIVERIES` (10000), `KAKEHASHI_BENCH_ROUNDS` (3)
//!
//! One round is taking the backlog up after a start, reading each event, signing, sending, and the outcome of each on disk with its second copy.
//! `bare` is the ceiling: the same signatures and the same HTTP client out of memory; `python` is what an integrator may write: `standardwebhooks`
//! signs, `httpx` sends (benches/webhook_peer.py), nothing is kept. Each has 32 requests in flight and one core, by HTTP/1.1 over kept connections.

use std::path::{Path, PathBuf};

use kakehashi::crm::key::{ed25519_secret, hmac_secret};
use kakehashi::crm::settings::{Endpoint, Secret};
use kakehashi::events::Event;
use tokio::runtime::Runtime;

#[path = "delivery/far.rs"]
mod far;
#[path = "outbox/figures.rs"]
mod figures;
#[path = "outbox/load.rs"]
mod load;
#[path = "sip/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "delivery/receiver.rs"]
mod receiver;
#[path = "delivery/sides.rs"]
mod sides;
#[path = "../tests/common/tls.rs"]
mod tls;

use far::Receiver;
use figures::{print, ratios};
use sides::Taken;

/// Contacts of the backlog: each is a lane, in which one delivery is under way at a time.
const CONTACTS: u64 = 200;
/// Bytes of an event, about those of a recognised sentence.
const EVENT: usize = 1_024;
/// A receiver that was busier than this may have been the limit.
const BUSY: f64 = 0.9;

struct Case {
    name: &'static str,
    secret: String,
    https: bool,
    endpoints: u64,
}

fn cases() -> [Case; 5] {
    let (hmac, ed25519) = (hmac_secret(&[7; 32]), ed25519_secret(&[7; 32]).unwrap().0);
    let case = |name, secret: &String, https, endpoints| Case { name, secret: secret.clone(), https, endpoints };
    [
        case("hmac_http", &hmac, false, 1),
        case("hmac_https", &hmac, true, 1),
        case("ed25519_http", &ed25519, false, 1),
        case("ed25519_https", &ed25519, true, 1),
        case("hmac_http_to_4_endpoints", &hmac, false, 4),
    ]
}

fn main() {
    if far::run() {
        return;
    }
    if cfg!(debug_assertions) {
        eprintln!("benches/delivery: a debug build measures nothing; run `cargo bench --bench delivery`");
        std::process::exit(2);
    }
    let (deliveries, rounds) = (number("KAKEHASHI_BENCH_DELIVERIES", 10_000), number("KAKEHASHI_BENCH_ROUNDS", 3));
    let mut bench = Bench::new();
    println!("# {deliveries} deliveries of {EVENT} bytes a round, {CONTACTS} contacts");
    for case in cases() {
        bench.measure(&case, deliveries, rounds);
    }
    let _ = std::fs::remove_dir_all(&bench.folder);
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The event that is as long as all are.
fn event(contact: u64, sequence: u64) -> Event {
    let empty = load::event_in("", contact, sequence).to_json().len();
    load::event_in(&"q".repeat(EVENT.saturating_sub(empty)), contact, sequence)
}

struct Bench {
    folder: PathBuf,
    runtime: Runtime,
    receiver: Receiver,
    core: Option<usize>,
    rounds: u64,
    told: bool,
}

impl Bench {
    fn new() -> Bench {
        // a folder on the disk that the build is on: the system's temporary folder may be memory
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-delivery");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let authority = tls::Authority::new();
        let own = authority.issue(&["127.0.0.1"]);
        for (name, text) in [("ca.pem", authority.pem()), ("own.pem", own.certificate), ("own.key", own.key)] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let receiver = Receiver::start(&folder);
        let core = far::pin(0);
        match core {
            Some(core) => println!("# the sender has core {core}, the receiver another"),
            None => println!("# one core for both: the figures are too low"),
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Bench { folder, runtime, receiver, core, rounds: 0, told: false }
    }

    fn endpoints(&self, case: &Case) -> Vec<Endpoint> {
        let url = match case.https {
            true => format!("https://127.0.0.1:{}/hook", self.receiver.https),
            false => format!("http://127.0.0.1:{}/hook", self.receiver.http),
        };
        let one = |n: u64| Endpoint {
            id: format!("crm{n}"),
            url: url.clone(),
            secrets: vec![Secret(case.secret.clone())],
            ca_file: if case.https { self.folder.join("ca.pem") } else { PathBuf::new() },
            ..Endpoint::default()
        };
        (0..case.endpoints).map(one).collect()
    }

    fn measure(&mut self, case: &Case, deliveries: u64, rounds: u64) {
        let endpoints = self.endpoints(case);
        let events: Vec<Event> =
            (0..deliveries / case.endpoints).map(|n| event(n % CONTACTS, 1 + n / CONTACTS)).collect();
        let deliveries = events.len() as u64 * case.endpoints;
        let bodies: Vec<(String, String)> =
            events.iter().map(|event| (event.id.to_string(), event.to_json())).collect();
        let python = sides::python().filter(|_| case.secret.starts_with("whsec_") && case.endpoints == 1);
        let [mut ours, mut bare, mut theirs] = [const { Vec::new() }; 3];
        for _ in 0..rounds.max(1) {
            self.rounds += 1;
            let folder = self.folder.join(self.rounds.to_string());
            sides::fill(&self.runtime, &folder, &endpoints, &events);
            ours.push(self.round(deliveries, |bench| sides::ours(&bench.runtime, &folder, &endpoints, deliveries)));
            let _ = std::fs::remove_dir_all(&folder);
            if case.endpoints == 1 {
                bare.push(self.round(deliveries, |bench| sides::bare(&bench.runtime, &endpoints[0], &bodies)));
            }
            if let Some(python) = &python {
                // a tenth: it is slower
                let some = &bodies[..bodies.len().div_ceil(10)];
                let peer = sides::peer(python, &endpoints[0], self.core, some);
                let Some((taken, library)) = peer else {
                    println!("# python is left out: it did not run (tests/lab/setup.sh)");
                    continue;
                };
                if !std::mem::replace(&mut self.told, true) {
                    println!("# python: {library}");
                }
                theirs.push(rates(taken, some.len() as u64));
            }
        }
        report(&format!("deliveries_{}", case.name), &ours, &[("bare", &bare), ("python", &theirs)]);
    }

    /// A round of ours; everything must have arrived once, and the receiver must have had time.
    fn round(&mut self, deliveries: u64, send: impl FnOnce(&Bench) -> Taken) -> [f64; 2] {
        let (before, busy) = (self.receiver.count(), machine::process_cpu(self.receiver.pid()));
        let taken = send(self);
        let share = (machine::process_cpu(self.receiver.pid()) - busy) / taken.seconds;
        assert_eq!(self.receiver.count() - before, deliveries, "requests at the receiver");
        if share > BUSY {
            println!("# the receiver was busy for {:.0} % of the time: it may have been the limit", share * 100.0);
        }
        rates(taken, deliveries)
    }
}

/// Deliveries a second, and in a second of the sender's processor time.
fn rates(taken: Taken, deliveries: u64) -> [f64; 2] {
    [taken.seconds, taken.cpu].map(|seconds| deliveries as f64 / seconds)
}

fn report(name: &str, ours: &[[f64; 2]], others: &[(&str, &[[f64; 2]])]) {
    let units = ["deliveries/s of one core", "deliveries a CPU second"];
    for (which, unit) in units.into_iter().enumerate() {
        let of = |rates: &[[f64; 2]]| rates.iter().map(|both| both[which]).collect::<Vec<f64>>();
        let what = ["", "_cpu"][which];
        print(&format!("{name}{what}"), &of(ours), unit);
        for (other, rates) in others {
            print(&format!("{name}{what}_{other}"), &of(rates), unit);
            print(&format!("{name}{what}_to_{other}"), &ratios(&of(ours), &of(rates)), "times");
        }
    }
}

//! Bytes on the link to the CRM for a minute of a call: two sample calls are recognised by the shipped model in true time and delivered at once as
//! webhooks, over the link of `kakehashi relay`, and to the stand-in for kintone, beside what their sound takes as RTP. Prints `name value unit` lines.
//!
//! `cargo bench --bench link`: a minute. A debug build gives the same bytes.
//!
//! Without recordings; nothing fetches them here. `payload` is what TCP carries, counted by a proxy: HTTP with its headers, TLS, handshakes, both
//! directions. `wire` adds the headers of IPv4 and TCP by calculation (benches/link/wire.rs), high rather than low, so that it stands beside RTP over UDP. The
//! receivers' answers are as short as they can be (38 bytes).

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

#[path = "link/audio.rs"]
mod audio;
#[path = "../tests/common/http.rs"]
mod http;
#[path = "../tests/common/kintone/mod.rs"]
mod kintone;
#[path = "link/process.rs"]
mod process;
#[path = "delivery/receiver.rs"]
mod receiver;
#[path = "../tests/common/scene.rs"]
mod scene;
#[path = "link/settings.rs"]
mod settings;
#[path = "../tests/common/talk.rs"]
mod talk;
#[path = "../tests/common/tls.rs"]
mod tls;
#[path = "link/wire.rs"]
mod wire;

use kintone::{App, CALLS, Field, Kind, Kintone};
use process::Process;
use receiver::{Manner, Seen, serve};
use scene::Track;
use talk::{Call, FRAME, converse};
use wire::{Bytes, Wire};

/// The calls and their callers, of whom samples/contacts.csv knows.
const CALLS_PLAYED: [(&str, &str); 2] = [("call1", "0600001234"), ("call2", "08000005678")];
/// Longest wait for the documents of the calls.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-link");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    certificates(&folder);
    let samples = std::fs::read_to_string("samples/directory.csv").unwrap();
    std::fs::write(folder.join("directory.csv"), settings::directory(&samples)).unwrap();
    let lines: Vec<[Track; 2]> = CALLS_PLAYED.iter().map(|(name, _)| sound(name)).collect();
    let runtime = Runtime::new().unwrap();
    let ways = runtime.block_on(Ways::new(&folder));
    let taken = ways.deliver(&folder, &lines);
    report(&lines, &taken);
    drop(ways);
    let _ = std::fs::remove_dir_all(&folder);
}

/// Those of the receiver by TLS and of both ends of the link, and their authority.
fn certificates(folder: &Path) {
    let authority = tls::Authority::new();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("ca.pem", &authority.pem());
    for (name, of) in [("own", "127.0.0.1"), ("bridge", "bridge.test"), ("relay", "relay.test")] {
        let pair = authority.issue(&[of]);
        write(&format!("{name}.pem"), &pair.certificate);
        write(&format!("{name}.key"), &pair.key);
    }
}

/// Both channels of a sample call: caller, agent.
fn sound(name: &str) -> [Track; 2] {
    let path = PathBuf::from(format!("samples/calls/{name}.wav"));
    let mut wav = hound::WavReader::open(&path).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 8_000), "{}", path.display());
    let samples: Vec<i16> = wav.samples().map(Result::unwrap).collect();
    [0, 1].map(|channel| {
        let mut track = Track::default();
        track.push(0, samples.iter().skip(channel).step_by(2).copied().collect());
        track
    })
}

/// A receiver behind the wire to it.
struct Way {
    name: &'static str,
    wire: Wire,
    /// What it saw; of kintone and the relay others tell.
    seen: Option<Arc<Seen>>,
    endpoint: String,
}

/// What went over it.
struct Went {
    name: &'static str,
    bytes: Bytes,
    requests: Option<u64>,
}

struct Ways {
    ways: Vec<Way>,
    relay: Process,
    kintone: Kintone,
}

impl Ways {
    async fn new(folder: &Path) -> Ways {
        let secure = || Some(receiver::tls(&folder.join("own.pem"), &folder.join("own.key")));
        let kept = Manner { reads: true, ..Manner::default() };
        let trusts = format!("ca_file = \"{}/ca.pem\"", folder.display());
        let hooks = [
            ("webhook_http", "http", kept.clone(), String::new()),
            ("webhook_https", "https", Manner { tls: secure(), ..kept.clone() }, trusts.clone()),
            (
                "webhook_https_connection_each",
                "https",
                Manner { tls: secure(), closes: true, ..kept.clone() },
                trusts.clone(),
            ),
            (
                "webhook_https_with_partials",
                "https",
                Manner { tls: secure(), ..kept.clone() },
                format!("{trusts}\npartials = true"),
            ),
        ];
        let mut ways = Vec::new();
        for (name, scheme, manner, more) in hooks {
            let (port, seen) = listen(manner).await;
            let wire = Wire::to(port).await;
            let url = format!("{scheme}://127.0.0.1:{}/hook", wire.port);
            ways.push(Way { name, wire, seen: Some(seen), endpoint: settings::webhook(name, &url, &more) });
        }
        let (behind, _) = listen(kept).await;
        let relay = Process::start(folder, "relay", &settings::relay(folder, behind));
        let wire = Wire::to(relay.address("link").port()).await;
        let endpoint = settings::link(folder, wire.port);
        ways.push(Way { name: "relay", wire, seen: None, endpoint });
        let kintone = stand_in();
        let wire = Wire::to(kintone.port()).await;
        let endpoint = settings::kintone(&kintone, wire.port);
        ways.push(Way { name: "kintone_http", wire, seen: None, endpoint });
        Ways { ways, relay, kintone }
    }

    /// One bridge, all receivers at once; the calls at once, too.
    fn deliver(&self, folder: &Path, lines: &[[Track; 2]]) -> Vec<Went> {
        let endpoints: String = self.ways.iter().map(|way| way.endpoint.as_str()).collect();
        let bridge = Process::start(folder, "serve", &(settings::bridge(folder) + &endpoints));
        until(&bridge, "the link is up", || bridge.metric("kakehashi_link_up").contains(&1.0));
        let link = self.way("relay").wire.bytes();
        println!("link_relay_opening_payload {} bytes, once for each link", link.payload);
        let calls: Vec<Call> = CALLS_PLAYED
            .iter()
            .zip(lines)
            .map(|((_, caller), lines)| Call::place(bridge.address("sip_udp"), caller, lines.to_vec()))
            .collect();
        converse(&calls);
        let documents = || self.seen("webhook_http").documents.load(Ordering::SeqCst);
        let pending = || bridge.metric("kakehashi_deliveries_pending").iter().sum::<f64>();
        let mut quiet = Instant::now();
        until(&bridge, "all is delivered", || {
            if documents() < calls.len() as u64 || pending() > 0.0 {
                quiet = Instant::now();
            }
            // what comes after the document, as a correction, is not waited for longer
            quiet.elapsed() > Duration::from_secs(2)
        });
        bridge.stop();
        assert!(!self.kintone.records(CALLS).is_empty() && !self.relay.log().contains("ERROR"), "{}", self.relay.log());
        let went = self.ways.iter().map(|way| Went {
            name: way.name,
            bytes: way.wire.bytes() - if way.name == "relay" { link } else { Bytes::default() },
            requests: way.seen.as_ref().map(|seen| seen.requests.load(Ordering::SeqCst)),
        });
        went.collect()
    }

    fn way(&self, name: &str) -> &Way {
        self.ways.iter().find(|way| way.name == name).expect("one of them")
    }

    fn seen(&self, name: &str) -> &Seen {
        self.way(name).seen.as_ref().expect("a receiver of webhooks")
    }
}

/// Waits until it is so.
fn until(bridge: &Process, what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "not so: {what}: {}", bridge.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn listen(manner: Manner) -> (u16, Arc<Seen>) {
    let (listener, seen) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(), Arc::<Seen>::default());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(listener, manner, Arc::clone(&seen)));
    (port, seen)
}

/// The stand-in's two apps, with the fields that a transcript needs.
fn stand_in() -> Kintone {
    let mut calls = App::calls();
    calls.fields.extend([Field::new("通番", Kind::Number), Field::new("版", Kind::Number)]);
    Kintone::start_with(vec![App::contacts(), calls])
}

fn report(lines: &[[Track; 2]], taken: &[Went]) {
    let samples: usize = lines.iter().map(|both| both.iter().map(|line| line.length).max().unwrap_or(0)).sum();
    let minutes = samples.div_ceil(FRAME) as f64 * 0.02 / 60.0;
    let a_minute = |bytes: u64| bytes as f64 / minutes;
    println!("link_calls {} of {minutes:.2} minutes together, two speakers each", lines.len());
    for went in taken {
        let requests = went.requests.map(|requests| format!(", {requests} requests")).unwrap_or_default();
        println!("link_{}_payload {:.0} bytes/call minute", went.name, a_minute(went.bytes.payload));
        println!(
            "link_{}_wire {:.0} bytes/call minute, {} connections{requests}",
            went.name,
            a_minute(went.bytes.on_the_wire()),
            went.bytes.connections
        );
    }
    let streams: Vec<Track> = lines.iter().flatten().cloned().collect();
    let sounds = [
        ("g711", audio::g711(&streams)),
        ("opus_24k", audio::opus(&streams, 24_000, false)),
        ("opus_24k_dtx", audio::opus(&streams, 24_000, true)),
    ];
    for (name, bytes) in sounds {
        println!("audio_{name}_wire {:.0} bytes/call minute", a_minute(bytes));
        for went in taken {
            println!("audio_{name}_to_{} {:.1} times", went.name, bytes as f64 / went.bytes.on_the_wire() as f64);
        }
    }
}

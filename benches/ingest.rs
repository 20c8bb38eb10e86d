//! What a call costs on each way in: 100 calls of two speakers (one, where the way carries one), recorded, with recognition off. The side that
//! calls is a process of its own. Prints `name value unit` lines; the CPU is that of the bridge's process.
//!
//! `cargo bench --bench ingest` · `KAKEHASHI_BENCH_CALLS` (100), `KAKEHASHI_BENCH_SECONDS` (20) and `KAKEHASHI_BENCH_WAYS` (`sip,siprec,…`) change it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kakehashi::bridge::start;
use kakehashi::call::line::{Line, Lines};
use kakehashi::config::{Config, Node, Pbx, Site};
use kakehashi::media::segment::{read_range, scan};
use kakehashi::pbx::StreamId;
use kakehashi::pbx::asterisk::{AudioSocketSettings, WebSocketSettings};
use kakehashi::pbx::mirror;
use kakehashi::pbx::sip::{PeerSettings, Settings as SipSettings};

#[path = "ingest/capture.rs"]
mod capture;
#[path = "ingest/connections.rs"]
mod connections;
#[path = "sip/generator.rs"]
#[allow(dead_code)]
mod generator;
#[path = "sip/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../tests/common/pcap.rs"]
mod pcap;
#[cfg(feature = "webcall")]
#[path = "ingest/softphones.rs"]
mod softphones;

use machine::{process_cpu, resident_kib};

/// What a child process is to be.
const ROLE: &str = "KAKEHASHI_BENCH_ROLE";
/// The first second is the beginning of all streams at once.
const BEGINNING: Duration = Duration::from_secs(1);

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("benches/ingest: a debug build measures nothing; run `cargo bench --bench ingest`");
        std::process::exit(2);
    }
    if let Ok(role) = std::env::var(ROLE) {
        #[cfg(feature = "webcall")]
        if softphones::run(&role) {
            return;
        }
        if !connections::run(&role) {
            generator::run(&role);
        }
        return;
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let size = Size { calls: number("KAKEHASHI_BENCH_CALLS", 100), seconds: number("KAKEHASHI_BENCH_SECONDS", 20) };
    println!(
        "# {} calls, {} s each, recorded, recognition off; load before: {}",
        size.calls,
        size.seconds,
        load.trim()
    );
    let wanted = std::env::var("KAKEHASHI_BENCH_WAYS").unwrap_or_default();
    for (name, way) in WAYS.iter().copied() {
        if wanted.is_empty() || wanted.split(',').any(|one| one == name) {
            way(&size);
        }
    }
}

/// Measures one way in.
type Way = fn(&Size);

/// Every way in, by its name.
const WAYS: &[(&str, Way)] = &[
    ("sip", sip),
    ("siprec", siprec),
    ("mirror", mirror),
    ("audiosocket", audiosocket),
    ("websocket", websocket),
    #[cfg(feature = "webcall")]
    ("web", web),
];

/// How much is measured.
struct Size {
    calls: u64,
    seconds: u64,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn folder() -> PathBuf {
    // on the disk that the build is on: the system's temporary folder may be memory
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-ingest")
}

/// A running bridge with one exchange, which `change` completes.
struct Running {
    runtime: tokio::runtime::Runtime,
    bridge: start::Bridge,
}

impl Running {
    fn start(change: impl FnOnce(&mut Config)) -> Running {
        let folder = folder();
        let _ = std::fs::remove_dir_all(&folder);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let line = Line { transcribe: false, ..Lines::default().policy("*") };
        let mut config = Config {
            node: Node { data_dir: folder, drain_ms: 5_000, ..Node::default() },
            site: vec![Site { id: "osaka".into(), ..Site::default() }],
            pbx: vec![Pbx { id: "bench".into(), site: "osaka".into(), ..Pbx::default() }],
            line: vec![Line { number: "*".into(), ..line }],
            ..Config::default()
        };
        (config.media.first_port, config.media.last_port) = (24_000, 31_999);
        config.panel.listen = any;
        change(&mut config);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bridge = runtime.block_on(start::start(config)).unwrap();
        Running { runtime, bridge }
    }

    /// Ends the bridge and says what became of the packets that were sent.
    fn stop(self, name: &str, sent: u64, packet: usize) {
        self.runtime.block_on(self.bridge.stop());
        let kept = packets_on_disk(&folder().join("audio"), packet);
        println!("ingest_{name}_packets_lost {} of {sent} (by what is in the recordings)", sent.saturating_sub(kept));
        let _ = std::fs::remove_dir_all(folder());
    }
}

/// Packets whose sound is in the recordings: what never came is silence there, and the generators send none.
fn packets_on_disk(audio: &Path, packet: usize) -> u64 {
    let folders = std::fs::read_dir(audio).into_iter().flatten().flatten();
    let streams = folders.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok().map(StreamId));
    let count = |stream| {
        let length = scan(audio, stream).unwrap().map_or(0, |extent| extent.samples);
        let samples = read_range(audio, stream, 0, length).unwrap();
        samples.chunks(packet).filter(|frame| frame.iter().all(|sample| *sample != 0)).count() as u64
    };
    streams.map(count).sum()
}

/// The process that calls.
struct Caller {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    /// Of the bridge, before the calls.
    resident: u64,
}

impl Caller {
    /// Starts it and waits until its calls run.
    fn start(role: &str) -> Caller {
        let resident = resident_kib(std::process::id());
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Caller { process, lines, resident }
    }

    /// Hangs up; gives the packets that were sent.
    fn stop(mut self) -> u64 {
        self.process.stdin.take().unwrap().write_all(b"stop\n").unwrap();
        let sent = self.lines.next().unwrap().unwrap().parse().unwrap();
        self.process.wait().unwrap();
        sent
    }
}

/// Lets the calls speak, and prints what the bridge used.
fn measure(name: &str, size: &Size, resident: u64) {
    let pid = std::process::id();
    std::thread::sleep(BEGINNING);
    let (began, before) = (std::time::Instant::now(), process_cpu(pid));
    std::thread::sleep(Duration::from_secs(size.seconds));
    let cores = (process_cpu(pid) - before) / began.elapsed().as_secs_f64();
    println!("ingest_{name}_cpu_per_call {:.3} % of a core", cores * 100.0 / size.calls as f64);
    println!("ingest_{name}_cpu {cores:.3} cores");
    let held = resident_kib(pid).saturating_sub(resident);
    println!("ingest_{name}_memory_per_call {:.0} KiB", held as f64 / size.calls as f64);
}

fn receives_sip(config: &mut Config) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.pbx[0].sip = Some(PeerSettings { peers: vec!["127.0.0.1/32".parse().unwrap()], ..PeerSettings::default() });
    config.sip = SipSettings { enabled: true, listen_udp: vec![any], listen_tcp: Vec::new(), ..SipSettings::default() };
}

fn sip(size: &Size) {
    let running = Running::start(receives_sip);
    let target = running.bridge.sip()[0][0];
    let caller = Caller::start(&format!("hold {target} 7001 {} 2", size.calls));
    measure("sip", size, caller.resident);
    running.stop("sip", caller.stop(), 160);
}

fn siprec(size: &Size) {
    let running = Running::start(receives_sip);
    let target = running.bridge.sip()[0][0];
    let caller = Caller::start(&format!("record {target} 7001 {}", size.calls));
    measure("siprec", size, caller.resident);
    running.stop("siprec", caller.stop(), 160);
}

/// A capture that is played in its own time; nobody calls meanwhile.
fn mirror(size: &Size) {
    let file = folder().with_extension("pcap");
    // the calls are set up before the measurement and end after it
    let sent = capture::write(&file, size.calls, size.seconds + 4);
    let resident = resident_kib(std::process::id());
    let own = mirror::Settings {
        file: file.clone(),
        networks: serde_json::from_value(serde_json::json!([pcap::EXCHANGE])).unwrap(),
        agents_unseen: true,
        ..mirror::Settings::default()
    };
    let running = Running::start(|config| config.pbx[0].mirror = Some(own));
    std::thread::sleep(Duration::from_millis(5 * size.calls));
    measure("mirror", size, resident);
    // to the end of the file
    std::thread::sleep(Duration::from_secs(5) + Duration::from_millis(5 * size.calls));
    running.stop("mirror", sent, 160);
    let _ = std::fs::remove_file(&file);
}

/// A port of this machine that nobody has now.
fn free_port() -> SocketAddr {
    let any = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    any.local_addr().unwrap()
}

/// One speaker a call: the connection carries what the bridge is sent, the caller.
fn audiosocket(size: &Size) {
    let listen = free_port();
    let own = AudioSocketSettings {
        listen,
        peers: vec!["127.0.0.1/32".parse().unwrap()],
        line: "7001".into(),
        max_unknown: 512,
        ..AudioSocketSettings::default()
    };
    let running = Running::start(|config| config.pbx[0].audiosocket = Some(own));
    let caller = Caller::start(&format!("audiosocket {listen} {}", size.calls));
    measure("audiosocket", size, caller.resident);
    running.stop("audiosocket", caller.stop(), connections::FRAME);
}

/// One speaker a call, as with AudioSocket.
fn websocket(size: &Size) {
    let listen = free_port();
    let own = WebSocketSettings {
        listen,
        peers: vec!["127.0.0.1/32".parse().unwrap()],
        line: "7001".into(),
        max_unknown: 512,
        ..WebSocketSettings::default()
    };
    let running = Running::start(|config| config.pbx[0].websocket = Some(own));
    let caller = Caller::start(&format!("websocket {listen} {}", size.calls));
    measure("websocket", size, caller.resident);
    running.stop("websocket", caller.stop(), connections::FRAME);
}

/// Two speakers a call, over ICE, DTLS and SRTP.
#[cfg(feature = "webcall")]
fn web(size: &Size) {
    let listen = free_port();
    let running = Running::start(|config| {
        config.pbx[0].web = Some(Default::default());
        config.webcall.enabled = true;
        config.webcall.listen = listen;
        (config.webcall.first_port, config.webcall.last_port) = (42_000, 42_999);
        (config.webcall.offers_per_s, config.webcall.max_sessions) = (0, 1_000);
        // the first calls are silent until the last one is set up
        config.webcall.silence_ms = 300_000;
    });
    let panel = running.bridge.panel().unwrap();
    let caller = Caller::start(&format!("web {panel} {}", size.calls));
    measure("web", size, caller.resident);
    running.stop("web", caller.stop(), 160);
}

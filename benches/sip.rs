//! SIP under load: 300 two-stream calls that are recorded, with recognition off; call set-ups a second up to the knee, beside rsipstack and the
//! same generator; 300 recorded calls of Asterisk's MixMonitor, when the laboratory is set up. The generator is a process of its own.
//! Prints `name value unit` lines.
//!
//! `cargo bench --bench sip` · `KAKEHASHI_BENCH_CALLS` (300), `KAKEHASHI_BENCH_SECONDS` (20) and `KAKEHASHI_BENCH_RATE_MAX` (3200) change the size.

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
use kakehashi::pbx::sip::{PeerSettings, Settings as SipSettings};

#[path = "sip/generator.rs"]
mod generator;
#[path = "sip/machine.rs"]
mod machine;

use machine::{Meter, resident_kib};

/// What a child process is to be.
const ROLE: &str = "KAKEHASHI_BENCH_ROLE";
/// Samples of one packet.
const PACKET: usize = 160;
/// How long each rate is held, in seconds.
const STEP_S: u64 = 5;

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("benches/sip: a debug build measures nothing; run `cargo bench --bench sip`");
        std::process::exit(2);
    }
    match std::env::var(ROLE).as_deref() {
        Ok("rsipstack") => return rsipstack(),
        Ok(role) => return generator::run(role),
        Err(_) => {}
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("# load before: {}", load.trim());
    let (calls, seconds) = (number("KAKEHASHI_BENCH_CALLS", 300), number("KAKEHASHI_BENCH_SECONDS", 20));
    bridge_holds(calls, seconds);
    let own = bridge_sets_up();
    let theirs = rsipstack_sets_up();
    println!("setup_knee_bridge_over_rsipstack {:.2}", own as f64 / theirs.max(1) as f64);
    asterisk_holds(calls, seconds);
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn child(role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn start_bridge(folder: &Path) -> (tokio::runtime::Runtime, start::Bridge) {
    let _ = std::fs::remove_dir_all(folder);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let line = Line { transcribe: false, ..Lines::default().policy("*") };
    let mut config = Config {
        node: Node { data_dir: folder.into(), drain_ms: 5_000, ..Node::default() },
        site: vec![Site { id: "osaka".into(), ..Site::default() }],
        pbx: vec![Pbx {
            id: "bench".into(),
            site: "osaka".into(),
            sip: Some(PeerSettings { peers: vec!["127.0.0.1/32".parse().unwrap()], ..PeerSettings::default() }),
            ..Pbx::default()
        }],
        line: vec![Line { number: "*".into(), ..line }],
        sip: SipSettings {
            enabled: true,
            listen_udp: vec![any],
            listen_tcp: Vec::new(),
            // the machine is to be the limit: as they are by default these would be one at 200, 300 or 1,024 a second
            max_calls: 10_000,
            max_transactions: 524_288,
            max_requests_per_s: 0,
            ..SipSettings::default()
        },
        ..Config::default()
    };
    (config.media.first_port, config.media.last_port) = (24_000, 49_999);
    // without this the free ports, not the bridge, would be the limit of set-ups
    config.media.port_rest_ms = 0;
    config.panel.listen = any;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bridge = runtime.block_on(start::start(config)).unwrap();
    (runtime, bridge)
}

fn folder() -> PathBuf {
    // on the disk that the build is on: the system's temporary folder may be memory
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-sip")
}

/// Calls that are held; gives the packets sent.
fn hold(role: &str, name: &str, pid: u32, calls: u64, seconds: u64) -> u64 {
    let before = resident_kib(pid);
    let mut generator = child(role);
    let mut lines = BufReader::new(generator.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    // the first second is the beginning of all streams at once
    std::thread::sleep(Duration::from_secs(1));
    let meter = Meter::of(pid);
    std::thread::sleep(Duration::from_secs(seconds));
    meter.report(name);
    let held = resident_kib(pid).saturating_sub(before);
    println!("{name}_memory_per_call {:.0} KiB", held as f64 / calls as f64);
    generator.stdin.take().unwrap().write_all(b"stop\n").unwrap();
    let sent = lines.next().unwrap().unwrap().parse().unwrap();
    generator.wait().unwrap();
    sent
}

fn bridge_holds(calls: u64, seconds: u64) {
    println!("# {calls} calls of two streams, recorded, recognition off, {seconds} s");
    let folder = folder();
    let (runtime, bridge) = start_bridge(&folder);
    let target = bridge.sip()[0][0];
    let sent = hold(&format!("hold {target} 7001 {calls} 2"), "calls_bridge", std::process::id(), calls, seconds);
    runtime.block_on(bridge.stop());
    let kept = packets_on_disk(&folder.join("audio"));
    println!("calls_bridge_packets_lost {} of {sent} (by what is in the recordings)", sent.saturating_sub(kept));
    let _ = std::fs::remove_dir_all(&folder);
}

/// Packets whose sound is in the recordings: what never came is silence there, and the generator sends none.
fn packets_on_disk(audio: &Path) -> u64 {
    let folders = std::fs::read_dir(audio).into_iter().flatten().flatten();
    let streams = folders.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok().map(StreamId));
    let count = |stream| {
        // to its end and no further: what is not there would be made as silence
        let length = scan(audio, stream).unwrap().map_or(0, |extent| extent.samples);
        let samples = read_range(audio, stream, 0, length).unwrap();
        samples.chunks(PACKET).filter(|frame| frame.iter().all(|sample| *sample != 0)).count() as u64
    };
    streams.map(count).sum()
}

fn bridge_sets_up() -> u64 {
    println!("# call set-ups: INVITE, 180, 200, ACK, BYE, 200; ports opened, events committed with fsync");
    let folder = folder();
    let (runtime, bridge) = start_bridge(&folder);
    let target = bridge.sip()[0][0];
    let knee = knee("bridge", target);
    println!("# what the bridge counted: {:?}", bridge.sip_counters());
    println!("# twice the knee: what is too much is refused, what was taken goes on");
    let over = Step::run("bridge", target, 2 * knee.max(50), STEP_S);
    println!("setup_bridge_goodput_at_twice_the_knee {} set-ups/s", over.done / STEP_S);
    println!("# longer than a transaction is remembered (64 T1 = 32 s)");
    Step::run("bridge_sustained", target, knee * 3 / 4, number("KAKEHASHI_BENCH_SUSTAIN_S", 40));
    println!("# what the bridge counted: {:?}", bridge.sip_counters());
    runtime.block_on(bridge.stop());
    let _ = std::fs::remove_dir_all(&folder);
    knee
}

fn rsipstack_sets_up() -> u64 {
    println!("# the same generator at rsipstack: signalling only, no ports, nothing kept");
    let mut server = child("rsipstack");
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let knee = knee("rsipstack", line.trim().parse().unwrap());
    let _ = server.kill();
    let _ = server.wait();
    knee
}

/// What came of one rate.
struct Step {
    done: u64,
    failed: u64,
    repeated: u64,
}

impl Step {
    /// Offers set-ups at a rate; prints what came of them, failures by request and answer.
    fn run(name: &str, target: SocketAddr, rate: u64, seconds: u64) -> Step {
        let output = child(&format!("rate {target} 7001 {rate} {seconds}")).wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut words = text.trim().splitn(6, ' ');
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_else(|| panic!("{text}"));
        let [done, failed, repeated, median, p99] = [(); 5].map(|()| number());
        println!(
            "setup_{name}_at_{rate}_per_s {done} set up, {failed} failed, {repeated} retransmitted, p50 {:.1} ms, p99 {:.1} ms",
            median as f64 / 1_000.0,
            p99 as f64 / 1_000.0
        );
        if let Some(classes) = words.next().filter(|classes| !classes.is_empty()) {
            println!("# failed: {classes}");
        }
        Step { done, failed, repeated }
    }

    fn is_good(&self) -> bool {
        self.failed == 0 && self.repeated * 100 <= self.done.max(1)
    }
}

/// Raises the rate until set-ups fail or more than 1 % are retransmitted; gives the last good rate.
fn knee(name: &str, target: SocketAddr) -> u64 {
    let most = number("KAKEHASHI_BENCH_RATE_MAX", 3_200);
    let (mut good, mut rate) = (0, 50);
    while rate <= most {
        if !Step::run(name, target, rate, STEP_S).is_good() {
            break;
        }
        good = rate;
        rate = if rate < 400 { rate * 2 } else { rate * 5 / 4 };
    }
    let end = if rate > most { ", the highest that was tried" } else { "" };
    println!("setup_{name}_knee {good} set-ups/s{end}");
    good
}

/// rsipstack as a server that answers every call; prints its address.
fn rsipstack() {
    use rsipstack::EndpointBuilder;
    use rsipstack::sip::{Header, Method, StatusCode};
    use rsipstack::transport::TransportLayer;
    use rsipstack::transport::udp::UdpConnection;
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let layer = TransportLayer::new(Default::default());
        let udp = UdpConnection::create_connection("127.0.0.1:0".parse().unwrap(), None, None).await.unwrap();
        layer.add_transport(udp.into());
        let endpoint = EndpointBuilder::new().with_transport_layer(layer).build();
        let port = endpoint.get_addrs()[0].addr.port.map(|port| port.value()).unwrap();
        let mut incoming = endpoint.incoming_transactions().unwrap();
        let inner = endpoint.inner.clone();
        tokio::spawn(async move { inner.serve().await.ok() });
        println!("127.0.0.1:{port}");
        while let Some(mut transaction) = incoming.recv().await {
            tokio::spawn(async move {
                match transaction.original.method {
                    Method::Invite => {
                        transaction.reply(StatusCode::Ringing).await.ok();
                        let body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                                    m=audio 40000 RTP/AVP 0\r\n";
                        let contact = format!("<sip:rsipstack@127.0.0.1:{port}>");
                        let headers =
                            vec![Header::Contact(contact.into()), Header::ContentType("application/sdp".into())];
                        transaction.reply_with(StatusCode::OK, headers, Some(body.into())).await.ok();
                        // its ACK
                        while transaction.receive().await.is_some() {}
                    }
                    Method::Ack => {}
                    _ => {
                        transaction.reply(StatusCode::OK).await.ok();
                    }
                }
            });
        }
    });
}

/// Asterisk answers, records both directions by MixMonitor and sends the sound back.
fn asterisk_holds(calls: u64, seconds: u64) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lab = std::env::var_os("LAB_DIR").map_or_else(|| repository.join(".lab"), PathBuf::from);
    let root = std::env::var_os("ASTERISK_ROOT").map_or_else(|| lab.join("root"), PathBuf::from);
    if !root.join("usr/sbin/asterisk").exists() {
        println!("# Asterisk is not measured: the laboratory is not set up (make lab)");
        return;
    }
    println!("# {calls} calls of Asterisk, both directions recorded by MixMonitor, {seconds} s");
    let mut server = Command::new(repository.join("tests/lab/lab.py"))
        .arg("up")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid = std::fs::read_to_string(lab.join("asterisk/pid")).ok().and_then(|text| text.trim().parse().ok());
    match pid.filter(|_| line.starts_with("Asterisk runs")) {
        Some(pid) => {
            hold(&format!("hold 127.0.0.1:15060 7100 {calls} 1"), "calls_asterisk", pid, calls, seconds);
        }
        None => println!("# Asterisk is not measured: it did not start: {line}"),
    }
    let stop = nix::unistd::Pid::from_raw(server.id().cast_signed());
    let _ = nix::sys::signal::kill(stop, nix::sys::signal::Signal::SIGTERM);
    let _ = server.wait();
    let monitor = std::fs::read_dir(root.join("var/lib/kakehashi-lab/spool/monitor"));
    for entry in monitor.into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("bench-") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

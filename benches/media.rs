//! CPU of the media path, plain and with SRTP: per packet in one thread, and of 100 two-stream calls held over real UDP. Prints
//! `name value unit` lines.
//!
//! `cargo bench --bench media` · `KAKEHASHI_BENCH_CALLS` (100) and `KAKEHASHI_BENCH_SECONDS` (20) and
//! `KAKEHASHI_BENCH_POLL_MS` change the second part.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use kakehashi::bridge::media::spawn;
use kakehashi::media::secure::Sender;
use kakehashi::media::segment::Writer;
use kakehashi::media::settings::Settings;
use kakehashi::media::stream::Stream;
use kakehashi::media::{Codec, Heard, OpenStream, Payload, Source, StreamEventKind, StreamSummary};
use kakehashi::pbx::StreamId;
use kakehashi::pbx::sip::keying::{Keying, Path};
use kakehashi::pbx::sip::sdes::{Key, Suite};
use kakehashi::time::{Now, Wall};
use uuid::Uuid;

/// Set for the process that plays the exchange: seconds, whether its packets are secured, ports.
const SENDER: &str = "KAKEHASHI_BENCH_SENDER";

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("benches/media: a debug build measures nothing; run `cargo bench --bench media`");
        std::process::exit(2);
    }
    if let Ok(ports) = std::env::var(SENDER) {
        return send(&ports);
    }
    machine();
    in_one_thread();
    let plain = calls_held(Protection::Plain);
    let secured = calls_held(Protection::Sdes);
    println!("media_secured_process_cpu_ratio {:.2} (secured / plain)", secured / plain.max(f64::MIN_POSITIVE));
}

/// How the exchange protects its packets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protection {
    Plain,
    /// SRTP by keys in the description (RFC 4568), AES_CM_128_HMAC_SHA1_80.
    Sdes,
}

impl Protection {
    /// Before the names of its figures.
    fn prefix(self) -> &'static str {
        if self == Protection::Plain { "media" } else { "media_secured" }
    }

    fn path(self) -> Path {
        let keying = match self {
            Protection::Plain => Keying::Plain,
            Protection::Sdes => Keying::Sdes { theirs: vec![key(1)], ours: key(2) },
        };
        Path { keying, ..Path::default() }
    }

    /// The packets of one stream, as they are sent.
    fn packets(self) -> impl FnMut(u16) -> Vec<u8> {
        let mut sender = (self == Protection::Sdes).then(|| Sender::new(&key(1)).unwrap());
        move |seq| {
            let plain = packet(seq, &[0x55; 160]);
            sender.as_mut().map_or_else(|| plain.to_vec(), |sender| sender.protect(&plain).unwrap())
        }
    }
}

fn key(seed: u8) -> Key {
    let material: Vec<u8> = (0..30).map(|n| n ^ seed).collect();
    Key::new(Suite::AesCm128Sha1Tag80, &material).unwrap()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn machine() {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(':').nth(1));
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("# {} · {cpus} CPUs · Linux {}", model.unwrap_or("unknown CPU").trim(), kernel.trim());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("# load before: {}", load.trim());
}

/// CPU time of this thread in nanoseconds (schedstat: exact, not sampled).
fn thread_cpu(tid: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// Thread ids of this process by name; all for an empty name.
fn threads(name_wanted: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ids = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let named = |id: &String| {
        let name = fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap_or_default();
        name_wanted.is_empty() || name.trim_end() == name_wanted
    };
    ids.filter(named).collect()
}

fn process_cpu() -> u64 {
    threads("").iter().map(|id| thread_cpu(id)).sum()
}

/// Busy time of the whole machine in seconds (all but idle and iowait, in ticks of 10 ms).
fn machine_busy() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> =
        text.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    ticks.iter().take(8).enumerate().filter(|(n, _)| *n != 3 && *n != 4).map(|(_, t)| *t).sum::<u64>() as f64 / 100.0
}

fn rss_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn rcvbuf_errors() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut udp = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (udp.next().unwrap_or(""), udp.next().unwrap_or(""));
    let place = names.split(' ').position(|name| name == "RcvbufErrors").unwrap_or(usize::MAX);
    values.split(' ').nth(place).and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn packet(seq: u16, payload: &[u8; 160]) -> [u8; 172] {
    let mut bytes = [0; 172];
    bytes[0] = 0x80;
    bytes[2..4].copy_from_slice(&seq.to_be_bytes());
    bytes[4..8].copy_from_slice(&(u32::from(seq) * 160).to_be_bytes());
    bytes[11] = 7;
    bytes[12..].copy_from_slice(payload);
    bytes
}

/// Packet to PCM and segment without sockets: what our own code costs. The best of five runs of each, in turn.
fn in_one_thread() {
    let (mut plain, mut secured) = (f64::MAX, f64::MAX);
    for run in 0..5 {
        plain = plain.min(one_stream(run, Protection::Plain));
        secured = secured.min(one_stream(run, Protection::Sdes));
    }
    println!("media_packet_to_segment_without_sockets {plain:.0} ns/packet");
    println!("media_secured_packet_to_segment_without_sockets {secured:.0} ns/packet");
    println!("media_secured_ratio_without_sockets {:.2} (secured / plain)", secured / plain);
}

/// Nanoseconds of CPU per packet.
fn one_stream(run: u128, protection: Protection) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let from: SocketAddr = ([127, 0, 0, 1], 4_000).into();
    let payloads = vec![Payload { number: 0, codec: Codec::Pcmu }];
    let tid = std::process::id().to_string();
    let stream_id = StreamId(Uuid::from_u128(run));
    let mut stream = Stream::new(Now::default(), stream_id, payloads, &Settings::default());
    stream.set_path(Now::default(), Source::First, &protection.path(), None);
    let mut writer = Writer::new(folder.path(), stream_id, Wall(0), 8_000, 10_000);
    let packets: Vec<Vec<u8>> = (0..50_000).map(protection.packets()).collect();
    let before = thread_cpu(&tid);
    for (seq, datagram) in packets.iter().enumerate() {
        let now = Now::default().plus(Duration::from_millis(20 * seq as u64));
        stream.handle_packet(now, from, datagram);
        while let Some(frame) = stream.take(800) {
            writer.write(&frame).unwrap();
        }
    }
    let each = (thread_cpu(&tid) - before) as f64 / packets.len() as f64;
    assert_eq!(stream.finish().packets, packets.len() as u64);
    each
}

/// Calls of two streams over real UDP; the exchange is another process. Gives the process's CPU per packet in µs.
fn calls_held(protection: Protection) -> f64 {
    let prefix = protection.prefix();
    let (calls, seconds) = (number("KAKEHASHI_BENCH_CALLS", 100), number("KAKEHASHI_BENCH_SECONDS", 20));
    let folder = tempfile::tempdir().unwrap();
    let (sender, heard) = sync_channel(8_192);
    let default = Settings::default();
    let poll_interval_ms = number("KAKEHASHI_BENCH_POLL_MS", u64::from(default.poll_interval_ms)) as u32;
    let settings = Settings { first_port: 24_000, last_port: 29_999, poll_interval_ms, ..default };
    println!("{prefix}_poll_interval {poll_interval_ms} ms");
    let media = spawn(&settings, folder.path(), sender).unwrap();
    let (rss_before, drops_before) = (rss_kib(), rcvbuf_errors());
    let ids: Vec<StreamId> = (0..calls * 2).map(|n| StreamId(Uuid::from_u128(u128::from(n) + 1))).collect();
    let payloads = vec![Payload { number: 0, codec: Codec::Pcmu }];
    let open = |stream: &StreamId| {
        let (source, path) = (Source::First, protection.path());
        let payloads = payloads.clone();
        let request = OpenStream { stream: *stream, payloads, record: true, transcribe: true, source, path };
        media.open(request).unwrap().to_string()
    };
    let ports: Vec<String> = ids.iter().map(open).collect();
    // Recognition is stubbed: the listener only counts.
    let wanted = ids.len();
    let listener = std::thread::spawn(move || {
        let mut total = (StreamSummary::default(), 0);
        while total.1 < wanted {
            match heard.recv() {
                Ok(Heard::Event(event)) => {
                    if let StreamEventKind::Closed(summary) = event.kind {
                        total.0.packets += summary.packets;
                        total.0.lost += summary.lost;
                        total.0.gap_samples += summary.gap_samples;
                        total.1 += 1;
                    }
                }
                Ok(Heard::Pcm(_)) => {}
                Err(_) => break,
            }
        }
        total.0
    });
    let tids = threads("media-0");
    let cpu = || tids.iter().map(|tid| thread_cpu(tid)).sum::<u64>();
    let (media_before, process_before, busy_before) = (cpu(), process_cpu(), machine_busy());
    let began = Instant::now();
    let exchange = Command::new(std::env::current_exe().unwrap())
        .env(SENDER, format!("{seconds};{};{}", protection == Protection::Sdes, ports.join(",")))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(seconds * 3 / 4));
    let rss_held = rss_kib();
    let told = exchange.wait_with_output().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let (media_ns, process_ns) = (cpu() - media_before, process_cpu() - process_before);
    let (busy, took) = (machine_busy() - busy_before, began.elapsed().as_secs_f64());
    for id in &ids {
        media.close(*id);
    }
    let total = listener.join().unwrap();
    let sent: u64 = String::from_utf8_lossy(&told.stdout).trim().parse().unwrap_or(0);
    let each = |ns: u64| ns as f64 / total.packets.max(1) as f64 / 1_000.0;
    println!("{prefix}_calls_held {calls} calls");
    println!("{prefix}_seconds {took:.1} s");
    println!("{prefix}_packets_sent {sent} packets");
    println!("{prefix}_packets_taken {} packets", total.packets);
    println!("{prefix}_packets_lost {} packets", sent.saturating_sub(total.packets));
    println!("{prefix}_thread_cpu_per_packet {:.2} us", each(media_ns));
    println!("{prefix}_process_cpu_per_packet {:.2} us", each(process_ns));
    println!("{prefix}_thread_share_of_a_core {:.2} %", media_ns as f64 / took / 1e7);
    println!("{prefix}_process_share_of_a_core {:.2} %", process_ns as f64 / took / 1e7);
    println!("{prefix}_machine_busy {:.2} cores (sender and everything else included)", busy / took);
    println!("{prefix}_rss_per_call {:.1} KiB", rss_held.saturating_sub(rss_before) as f64 / calls.max(1) as f64);
    println!(
        "{prefix}_frames_dropped {} frames",
        media.stats().frames_dropped.load(std::sync::atomic::Ordering::Relaxed)
    );
    println!("udp_rcvbuf_errors {} packets (whole machine)", rcvbuf_errors() - drops_before);
    each(process_ns)
}

/// The exchange: 50 packets a second to each port, spread over each 20 ms.
fn send(what: &str) {
    let (seconds, rest) = what.split_once(';').unwrap();
    let (is_secured, ports) = rest.split_once(';').unwrap();
    // one key and one source for all streams: a packet is protected once and goes to each
    let mut packets = if is_secured == "true" { Protection::Sdes } else { Protection::Plain }.packets();
    let open = |port: &str| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port.parse().unwrap())).unwrap();
        socket
    };
    let sockets: Vec<UdpSocket> = ports.split(',').map(open).collect();
    let rounds = seconds.parse::<u64>().unwrap() * 50;
    let began = Instant::now();
    let mut sent = 0u64;
    for round in 0..rounds {
        let datagram = packets(round as u16);
        for (slot, group) in sockets.chunks(sockets.len().div_ceil(10)).enumerate() {
            let due = Duration::from_millis(round * 20 + slot as u64 * 2);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            for socket in group {
                sent += u64::from(socket.send(&datagram).is_ok());
            }
        }
    }
    println!("{sent}");
}

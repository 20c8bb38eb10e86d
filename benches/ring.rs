//! From the INVITE that makes a telephone ring to the bytes of the signed webhook and of the live feed, fsync in the path, while 100 two-stream
//! calls run and are recorded; recognition is off. Prints `name value unit` lines.
//!
//! `cargo bench --bench ring` · `KAKEHASHI_BENCH_CALLS` (100) and `KAKEHASHI_BENCH_RINGS` (500) change the size.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kakehashi::bridge::start;
use kakehashi::call::line::{Line, Lines};
use kakehashi::config::{Config, Node, Pbx, Site};
use kakehashi::crm::settings::{Endpoint, Secret};
use kakehashi::pbx::sip::{PeerSettings, Settings as SipSettings};

/// Set for the process that sends the RTP of the running calls: ports, separated by commas.
const SENDER: &str = "KAKEHASHI_BENCH_SENDER";
/// The line that only rings.
const RINGS: &str = "9001";
/// The line that is answered at once.
const TALKS: &str = "9002";

/// When the bytes of an event about a caller were there: (what, caller) → time.
type Seen = Arc<Mutex<HashMap<(&'static str, String), Instant>>>;

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("benches/ring: a debug build measures nothing; run `cargo bench --bench ring`");
        std::process::exit(2);
    }
    if let Ok(ports) = std::env::var(SENDER) {
        return send(&ports);
    }
    let (calls, rings) = (number("KAKEHASHI_BENCH_CALLS", 100), number("KAKEHASHI_BENCH_RINGS", 500));
    let seen = Seen::default();
    let hook = receive(&seen);
    // a folder on the disk that the build is on: the system's temporary folder may be memory
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-ring");
    let _ = std::fs::remove_dir_all(&folder);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bridge = runtime.block_on(start::start(config(&folder, hook))).unwrap();
    watch(bridge.panel().unwrap(), &seen);

    let exchange = Exchange::new(bridge.sip()[0][0]);
    let ports: Vec<String> = (0..calls).flat_map(|n| exchange.talk(n)).map(|port| port.to_string()).collect();
    let mut sender = Command::new(std::env::current_exe().unwrap())
        .env(SENDER, ports.join(","))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let mut sent = Vec::new();
    for n in 0..rings {
        let caller = format!("066{n:07}");
        sent.push((format!("+81{}", &caller[1..]), Instant::now()));
        exchange.ring(&caller, n);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(2));
    let _ = sender.kill();
    let _ = sender.wait();
    println!("# {calls} two-stream calls running, {rings} rings, recognition off, fsync in the path of record events");
    let seen = seen.lock().unwrap();
    for what in ["webhook_screenpop", "webhook_ringing", "feed_screenpop", "feed_ringing"] {
        report(what, &sent, &seen);
    }
    drop(seen);
    runtime.block_on(bridge.stop());
    let _ = std::fs::remove_dir_all(&folder);
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn report(what: &'static str, sent: &[(String, Instant)], seen: &HashMap<(&'static str, String), Instant>) {
    let arrived = |(caller, at): &(String, Instant)| Some(seen.get(&(what, caller.clone()))?.duration_since(*at));
    let mut taken: Vec<Duration> = sent.iter().filter_map(arrived).collect();
    taken.sort();
    println!("ring_to_{what}_arrived {} of {}", taken.len(), sent.len());
    for (name, share) in [("p50", 0.50), ("p99", 0.99)] {
        let Some(at) = taken.get(((taken.len().max(1) - 1) as f64 * share) as usize) else { continue };
        println!("ring_to_{what}_{name} {:.3} ms", at.as_secs_f64() * 1_000.0);
    }
}

fn config(folder: &Path, hook: SocketAddr) -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let line =
        |number: &str, answer_after_ms| Line { answer_after_ms, transcribe: false, ..Lines::default().policy(number) };
    let mut config = Config {
        node: Node { data_dir: folder.into(), drain_ms: 2_000, ..Node::default() },
        site: vec![Site { id: "osaka".into(), ..Site::default() }],
        pbx: vec![Pbx {
            id: "bench".into(),
            site: "osaka".into(),
            sip: Some(PeerSettings { peers: vec!["127.0.0.1/32".parse().unwrap()], ..PeerSettings::default() }),
            ..Pbx::default()
        }],
        line: vec![line(RINGS, 600_000), line(TALKS, 0), line("*", 0)],
        endpoint: vec![Endpoint {
            url: format!("http://{hook}/hook"),
            secrets: vec![Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into())],
            ..Endpoint::default()
        }],
        sip: SipSettings {
            enabled: true,
            listen_udp: vec![any],
            listen_tcp: Vec::new(),
            max_calls: 5_000,
            ..SipSettings::default()
        },
        ..Config::default()
    };
    config.media.first_port = 30_000;
    config.media.last_port = 39_999;
    config.panel.listen = any;
    config
}

/// A receiver of webhooks that notes when each request was complete.
fn receive(seen: &Seen) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || take_requests(stream, &seen));
        }
    });
    address
}

fn take_requests(stream: TcpStream, seen: &Seen) {
    stream.set_nodelay(true).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        note(seen, &String::from_utf8_lossy(&body), ["webhook_screenpop", "webhook_ringing"]);
        writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    }
}

/// Reads the panel's live feed.
fn watch(panel: SocketAddr, seen: &Seen) {
    let mut stream = TcpStream::connect(panel).unwrap();
    write!(stream, "GET /v1/feed HTTP/1.1\r\nhost: {panel}\r\n\r\n").unwrap();
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            note(&seen, &line, ["feed_screenpop", "feed_ringing"]);
        }
    });
}

fn note(seen: &Seen, text: &str, names: [&'static str; 2]) {
    let now = Instant::now();
    let what = match () {
        () if text.contains("kakehashi.screenpop.v1") => names[0],
        () if text.contains("kakehashi.call.ringing.v1") => names[1],
        () => return,
    };
    if let Some(at) = text.find("+8166") {
        let caller = text[at..].chars().take(12).collect();
        seen.lock().unwrap().entry((what, caller)).or_insert(now);
    }
}

/// The side that calls.
struct Exchange {
    socket: UdpSocket,
    local: SocketAddr,
}

impl Exchange {
    fn new(bridge: SocketAddr) -> Exchange {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(bridge).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Exchange { local: socket.local_addr().unwrap(), socket }
    }

    /// A call that rings and is not answered.
    fn ring(&self, caller: &str, n: u64) {
        self.socket.send(self.invite(caller, RINGS, &format!("ring-{n}")).as_bytes()).unwrap();
        self.read(|text| text.starts_with("SIP/2.0 180"));
    }

    /// A call that is answered; its two RTP ports.
    fn talk(&self, n: u64) -> [u16; 2] {
        let id = format!("talk-{n}");
        self.socket.send(self.invite("0450000000", TALKS, &id).as_bytes()).unwrap();
        let answer = self.read(|text| text.starts_with("SIP/2.0 200"));
        let to = answer.lines().find(|line| line.starts_with("To:")).unwrap();
        let ack = format!(
            "ACK sip:{TALKS}@bridge SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKa{id}\r\nMax-Forwards: 70\r\n\
             From: <sip:0450000000@{local}>;tag={id}\r\n{to}\r\nCall-ID: {id}\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
            local = self.local
        );
        self.socket.send(ack.as_bytes()).unwrap();
        let ports = answer.lines().filter_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok());
        ports.collect::<Vec<u16>>().try_into().unwrap()
    }

    fn invite(&self, caller: &str, line: &str, id: &str) -> String {
        let audio = "m=audio 40000 RTP/AVP 0\r\na=sendonly\r\n";
        let body = format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{audio}{audio}");
        format!(
            "INVITE sip:{line}@bridge SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
             From: <sip:{caller}@{local}>;tag={id}\r\nTo: <sip:{line}@bridge>\r\nCall-ID: {id}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:x@{local}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
            local = self.local
        )
    }

    fn read(&self, fits: impl Fn(&str) -> bool) -> String {
        let mut buffer = vec![0; 65_535];
        loop {
            let length = self.socket.recv(&mut buffer).expect("an answer of the bridge within 10 s");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(!text.starts_with("SIP/2.0 4") && !text.starts_with("SIP/2.0 5"), "{text}");
            if fits(&text) {
                return text;
            }
        }
    }
}

/// Sends a packet to every port each 20 ms, until it is killed or its parent is gone (60 s).
fn send(ports: &str) {
    let ports: Vec<u16> = ports.split(',').map(|port| port.parse().unwrap()).collect();
    let sockets: Vec<UdpSocket> = ports
        .iter()
        .map(|port| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect((Ipv4Addr::LOCALHOST, *port)).unwrap();
            socket
        })
        .collect();
    let began = Instant::now();
    for n in 0..3_000_u32 {
        for (index, socket) in sockets.iter().enumerate() {
            let mut packet = vec![0x80, 0];
            packet.extend((n as u16).to_be_bytes());
            packet.extend((n * 160).to_be_bytes());
            packet.extend((index as u32 + 1).to_be_bytes());
            packet.extend([0x7f; 160]);
            let _ = socket.send(&packet);
        }
        let next = began + Duration::from_millis(20) * (n + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

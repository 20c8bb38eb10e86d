//! The side that calls, in a process of its own: calls that speak for a while, and set-ups at a rate.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// T1 of RFC 3261.
const T1: Duration = Duration::from_millis(500);
/// A set-up that took longer failed.
const LIMIT: Duration = Duration::from_secs(8);

/// Runs what one line of arguments says: `hold TARGET LINE CALLS STREAMS`, `record TARGET LINE CALLS` (calls of two streams as a recording
/// client tells of them, RFC 7866) or `rate TARGET LINE PER_S SECONDS`.
pub(crate) fn run(what: &str) {
    let words: Vec<&str> = what.split(' ').collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let target: SocketAddr = words[1].parse().unwrap();
    match words[0] {
        "hold" => {
            let streams = number(4) as usize;
            let direction = if streams == 1 { "sendrecv" } else { "sendonly" };
            hold(target, words[2], number(3), |_| ("application/sdp".into(), sdp(streams, direction)));
        }
        "record" => hold(target, words[2], number(3), recorded),
        _ => rate(target, words[2], number(3), number(4)),
    }
}

/// No body.
const NOTHING: (&str, &str) = ("", "");

struct Caller {
    socket: UdpSocket,
    local: SocketAddr,
    line: String,
}

impl Caller {
    fn new(target: SocketAddr, line: &str) -> Caller {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(target).unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
        Caller { local: socket.local_addr().unwrap(), socket, line: line.into() }
    }

    fn sends(&self, method: &str, id: &str, cseq: u32, to: &str, body: (&str, &str)) {
        self.sends_in(method, method, id, cseq, to, body);
    }

    /// The ACK of a refusal belongs to the transaction of its INVITE (RFC 3261 §17.1.1.3).
    fn acknowledges_refusal(&self, id: &str, to: &str) {
        self.sends_in("INVITE", "ACK", id, 1, to, NOTHING);
    }

    fn sends_in(&self, transaction: &str, method: &str, id: &str, cseq: u32, to: &str, body: (&str, &str)) {
        let (local, line) = (self.local, &self.line);
        let to = if to.is_empty() { format!("<sip:{line}@bridge>") } else { to.into() };
        let (kind, body) = body;
        let kind = if body.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let text = format!(
            "{method} sip:{line}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{transaction}{id};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:0450000000@127.0.0.1>;tag={id}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:0450000000@{local}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = self.socket.send(text.as_bytes());
    }

    /// The next message that comes until `until`.
    fn hears(&self, until: Instant) -> Option<String> {
        let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut space = [0; 8_192];
        let length = self.socket.recv(&mut space).ok()?;
        Some(String::from_utf8_lossy(&space[..length]).into_owned())
    }
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}

fn code(text: &str) -> u32 {
    text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn sdp(streams: usize, direction: &str) -> String {
    let audio = format!("m=audio 40000 RTP/AVP 0\r\na={direction}\r\n").repeat(streams);
    format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{audio}")
}

/// Description and metadata of a recorded call: the caller on the first stream, extension 2001 on the second (RFC 7865 §5).
fn recorded(call: u64) -> (String, String) {
    let labelled: String =
        (1..=2).map(|label| format!("m=audio 40000 RTP/AVP 0\r\na=sendonly\r\na=label:{label}\r\n")).collect();
    let person = |id: &str, aor: &str| {
        format!("<participant participant_id=\"{id}{call}\"><nameID aor=\"sip:{aor}@192.0.2.1\"/></participant>")
    };
    let stream = |id: &str, label: u8| {
        format!("<stream stream_id=\"s{id}{call}\" session_id=\"c{call}\"><label>{label}</label></stream>")
    };
    let sends = |id: &str, other: &str| {
        let (own, far) = (format!("<send>s{id}{call}</send>"), format!("<recv>s{other}{call}</recv>"));
        format!("<participantstreamassoc participant_id=\"{id}{call}\">{own}{far}</participantstreamassoc>")
    };
    let member = |id: &str| {
        format!(
            "<participantsessionassoc participant_id=\"{id}{call}\" session_id=\"c{call}\"></participantsessionassoc>"
        )
    };
    let metadata = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<recording xmlns=\"urn:ietf:params:xml:ns:recording:1\"><datamode>complete</datamode>\
         <session session_id=\"c{call}\"></session>{}{}{}{}{}{}{}{}</recording>",
        person("a", "0450000000"),
        person("b", "2001"),
        stream("a", 1),
        stream("b", 2),
        member("a"),
        member("b"),
        sends("a", "b"),
        sends("b", "a"),
    );
    let body = format!(
        "--part\r\nContent-Type: application/sdp\r\n\r\n{}{labelled}\r\n--part\r\nContent-Type: application/rs-metadata+xml\r\n\
         Content-Disposition: recording-session\r\n\r\n{metadata}\r\n--part--\r\n",
        sdp(0, "")
    );
    ("multipart/mixed;boundary=part".into(), body)
}

/// Sets up `calls` calls of the streams that `offer` describes, says `ready`, speaks into every stream until a line comes, says how many packets
/// it sent, and hangs up.
fn hold(target: SocketAddr, line: &str, calls: u64, offer: impl Fn(u64) -> (String, String)) {
    let caller = Caller::new(target, line);
    let (mut ports, mut tags) = (Vec::new(), Vec::new());
    for n in 0..calls {
        let id = format!("hold{n}-{}", std::process::id());
        let (kind, body) = offer(n);
        caller.sends("INVITE", &id, 1, "", (&kind, &body));
        let until = Instant::now() + Duration::from_secs(10);
        let answer = loop {
            let text = caller.hears(until).expect("an answer within 10 s");
            if code(&text) >= 200 && field(&text, "Call-ID:") == id && field(&text, "CSeq:").ends_with("INVITE") {
                break text;
            }
        };
        assert_eq!(code(&answer), 200, "{answer}");
        let to = field(&answer, "To:").to_string();
        caller.sends("ACK", &id, 1, &to, NOTHING);
        let audio =
            answer.lines().filter_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse::<u16>().ok());
        ports.extend(audio);
        tags.push((id, to));
    }
    println!("ready");
    let (stop, stopped) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().lock().read_line(&mut line);
        let _ = stop.send(());
    });
    println!("{}", speak(&ports, &stopped));
    // what is under way arrives before the calls end
    std::thread::sleep(Duration::from_millis(500));
    for (id, to) in &tags {
        caller.sends("BYE", id, 2, to, NOTHING);
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_secs(1));
}

fn speak(ports: &[u16], stopped: &std::sync::mpsc::Receiver<()>) -> u64 {
    let connected = |port: &u16| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, *port)).unwrap();
        socket
    };
    let sockets: Vec<UdpSocket> = ports.iter().map(connected).collect();
    let (began, mut sent) = (Instant::now(), 0);
    for n in 0..u32::MAX {
        for (index, socket) in sockets.iter().enumerate() {
            let mut packet = vec![0x80, 0];
            packet.extend((n as u16).to_be_bytes());
            packet.extend((n * 160).to_be_bytes());
            packet.extend((index as u32 + 1).to_be_bytes());
            packet.extend([0x55; 160]);
            sent += u64::from(socket.send(&packet).is_ok());
        }
        if stopped.try_recv().is_ok() {
            break;
        }
        let next = began + Duration::from_millis(20) * (n + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    sent
}

/// A set-up that goes on: INVITE until 200, then BYE until 200.
struct SetUp {
    id: String,
    began: Instant,
    again: Instant,
    interval: Duration,
    /// The peer's To, once the call is answered.
    to: Option<String>,
}

impl SetUp {
    /// The request that waits for its answer.
    fn asks(&self) -> &'static str {
        if self.to.is_some() { "BYE" } else { "INVITE" }
    }
}

/// What came of the set-ups of one rate.
#[derive(Default)]
struct Tally {
    done: u64,
    repeated: u64,
    /// From INVITE to 200, in microseconds.
    taken: Vec<u64>,
    /// Why the others failed: request and answer.
    failed: BTreeMap<String, u64>,
}

impl Tally {
    fn fails(&mut self, request: &str, answer: &str) {
        *self.failed.entry(format!("{request} {answer}")).or_default() += 1;
    }

    /// `set up, failed, retransmitted, median and 99th percentile in µs`, then the failures by class.
    fn print(mut self) {
        self.taken.sort_unstable();
        let at = |share: f64| self.taken.get((self.taken.len() as f64 * share) as usize).copied().unwrap_or(0);
        let failed: u64 = self.failed.values().sum();
        let classes: Vec<String> = self.failed.iter().map(|(class, count)| format!("{class}: {count}")).collect();
        println!("{} {failed} {} {} {} {}", self.done, self.repeated, at(0.5), at(0.99), classes.join(", "));
        let _ = std::io::stdout().flush();
    }
}

/// Calls at a rate, each hung up as soon as it is answered.
fn rate(target: SocketAddr, line: &str, per_s: u64, seconds: u64) {
    let caller = Caller::new(target, line);
    let body = sdp(1, "sendrecv");
    let (mut open, mut index) = (HashMap::<String, SetUp>::new(), 0);
    let mut tally = Tally::default();
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds);
    while Instant::now() < end || !open.is_empty() {
        let now = Instant::now();
        let due = if now < end { ((now - began).as_secs_f64() * per_s as f64) as u64 } else { index };
        while index < due {
            let id = format!("rate{per_s}-{index}-{}", std::process::id());
            caller.sends("INVITE", &id, 1, "", ("application/sdp", &body));
            open.insert(id.clone(), SetUp { id, began: now, again: now + T1, interval: T1, to: None });
            index += 1;
        }
        while let Some(text) = caller.hears(Instant::now() + Duration::from_millis(1)) {
            take(&caller, &text, &mut open, &mut tally);
            if Instant::now() >= now + Duration::from_millis(5) {
                break;
            }
        }
        let now = Instant::now();
        for call in open.values_mut().filter(|call| call.again <= now) {
            tally.repeated += 1;
            call.interval *= 2;
            call.again = now + call.interval;
            match &call.to {
                Some(to) => caller.sends("BYE", &call.id, 2, to, NOTHING),
                None => caller.sends("INVITE", &call.id, 1, "", ("application/sdp", &body)),
            }
        }
        open.retain(|_, call| {
            let in_time = call.began.elapsed() < LIMIT;
            if !in_time {
                tally.fails(call.asks(), "without an answer");
            }
            in_time
        });
    }
    tally.print();
}

/// One message of the peer.
fn take(caller: &Caller, text: &str, open: &mut HashMap<String, SetUp>, tally: &mut Tally) {
    let id = field(text, "Call-ID:");
    let Some(call) = open.get_mut(id) else { return };
    match (code(text), field(text, "CSeq:")) {
        (200, "1 INVITE") => {
            let to = field(text, "To:").to_string();
            caller.sends("ACK", &call.id, 1, &to, NOTHING);
            if call.to.is_none() {
                tally.taken.push(call.began.elapsed().as_micros() as u64);
                caller.sends("BYE", &call.id, 2, &to, NOTHING);
                (call.to, call.again, call.interval) = (Some(to), Instant::now() + T1, T1);
            }
        }
        (200, _) => {
            tally.done += 1;
            open.remove(id);
        }
        // a provisional answer ends the retransmissions of INVITE
        (100..200, _) => call.again = call.began + LIMIT,
        (code, cseq) => {
            let request = cseq.split(' ').next_back().unwrap_or_default();
            if request == "INVITE" {
                caller.acknowledges_refusal(&call.id, field(text, "To:"));
            }
            let again = if field(text, "Retry-After:").is_empty() { "" } else { " with Retry-After" };
            tally.fails(request, &format!("{code}{again}"));
            open.remove(id);
        }
    }
}

//! People on the telephone: calls by SIP over UDP to a running bridge, and their sound as RTP in true time (PCMU, 20 ms).
#![allow(dead_code)] // each test and bench uses its part

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use kakehashi::media::codec::encode_ulaw;

use crate::scene::Track;

/// Samples of one packet: 20 ms at 8 kHz.
pub(crate) const FRAME: usize = 160;
/// Longest wait for an answer; under overload the bridge may be slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// RFC 3261 T1.
const T1: Duration = Duration::from_millis(500);

/// A call that was answered.
pub(crate) struct Call {
    sip: UdpSocket,
    number: String,
    id: String,
    to: String,
    lines: Vec<Line>,
}

/// One speaker of a call: where the packets go, and what is said.
struct Line {
    rtp: UdpSocket,
    ssrc: u32,
    sound: Track,
}

impl Call {
    /// Calls from `number` and waits for the answer. One line: the caller; two: caller and agent.
    pub(crate) fn place(bridge: SocketAddr, number: &str, sound: Vec<Track>) -> Call {
        let connected = |to: SocketAddr| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect(to).unwrap();
            socket
        };
        let any = |_: &Track| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sockets: Vec<UdpSocket> = sound.iter().map(any).collect();
        let mut call = Call {
            sip: connected(bridge),
            number: number.into(),
            id: format!("{number}-{}@proof", std::process::id()),
            to: String::new(),
            lines: Vec::new(),
        };
        let offered = sockets.iter().map(|socket| {
            let port = socket.local_addr().unwrap().port();
            format!("m=audio {port} RTP/AVP 0\r\na=sendonly\r\n")
        });
        let offer = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{}",
            offered.collect::<String>()
        );
        let answer = call.asks("INVITE", 1, &offer);
        call.to = field(&answer, "To:").to_owned();
        call.sends("ACK", 1, "");
        let ports = answer.lines().filter_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok());
        for ((rtp, sound), (port, ssrc)) in sockets.into_iter().zip(sound).zip(ports.zip(1..)) {
            rtp.connect(SocketAddr::new(bridge.ip(), port)).unwrap();
            call.lines.push(Line { rtp, ssrc, sound });
        }
        call
    }

    /// Packets until the longest line is over.
    pub(crate) fn frames(&self) -> usize {
        self.lines.iter().map(|line| line.sound.length.div_ceil(FRAME)).max().unwrap_or(0)
    }

    /// Sends packet `n` of every line that is not over; once a second it answers whether the call is still there (RFC 3261 §11).
    pub(crate) fn speaks(&self, n: usize) {
        if n % 50 == 49 {
            self.is_there();
        }
        for line in &self.lines {
            let piece = line.sound.samples(n * FRAME, (n + 1) * FRAME);
            if piece.is_empty() {
                continue;
            }
            let mut packet = vec![0x80, if n == 0 { 0x80 } else { 0 }];
            packet.extend((n as u16).to_be_bytes());
            packet.extend(((n * FRAME) as u32).to_be_bytes());
            packet.extend(line.ssrc.to_be_bytes());
            packet.extend(piece.into_iter().map(encode_ulaw));
            let _ = line.rtp.send(&packet);
        }
    }

    /// Answers what the bridge has asked inside the call.
    fn is_there(&self) {
        let mut space = [0; 8_192];
        self.sip.set_nonblocking(true).unwrap();
        while let Ok(length) = self.sip.recv(&mut space) {
            let asked = String::from_utf8_lossy(&space[..length]).into_owned();
            assert!(!asked.starts_with("BYE"), "the bridge ended {}: {asked}", self.id);
            if asked.starts_with("OPTIONS") {
                let known = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
                let same = asked.lines().filter(|line| known.iter().any(|name| line.starts_with(name)));
                let same: String = same.map(|line| format!("{line}\r\n")).collect();
                let _ = self.sip.send(format!("SIP/2.0 200 OK\r\n{same}Content-Length: 0\r\n\r\n").as_bytes());
            }
        }
        self.sip.set_nonblocking(false).unwrap();
    }

    /// BYE at once; its answer is not waited for.
    pub(crate) fn hangs_up(&self) {
        self.sends("BYE", 2, "");
    }

    /// Waits until the BYE was taken; says it again where it was lost.
    pub(crate) fn is_over(&self) {
        self.answered("BYE", 2, "");
    }

    fn asks(&self, method: &str, cseq: u32, body: &str) -> String {
        self.sends(method, cseq, body);
        self.answered(method, cseq, body)
    }

    fn answered(&self, method: &str, cseq: u32, body: &str) -> String {
        let (deadline, mut space) = (Instant::now() + PATIENCE, [0; 8_192]);
        self.sip.set_read_timeout(Some(T1)).unwrap();
        while Instant::now() < deadline {
            let Ok(length) = self.sip.recv(&mut space) else {
                self.sends(method, cseq, body);
                continue;
            };
            let answer = String::from_utf8_lossy(&space[..length]).into_owned();
            if !answer.starts_with("SIP/2.0 1") && field(&answer, "CSeq:") == format!("{cseq} {method}") {
                assert!(answer.starts_with("SIP/2.0 200"), "{method}: {answer}");
                return answer;
            }
        }
        panic!("{method} of {} is not answered", self.id);
    }

    fn sends(&self, method: &str, cseq: u32, body: &str) {
        let (local, number, id) = (self.sip.local_addr().unwrap(), &self.number, &self.id);
        let to = if self.to.is_empty() { "<sip:7001@127.0.0.1>" } else { &self.to };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "{method} sip:7001@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{id};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{number}@127.0.0.1>;tag={number}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:{number}@{local}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = self.sip.send(text.as_bytes());
    }
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}

/// Every 20 ms the next number, `frames` times; gives when each was.
pub(crate) fn pace(frames: usize, mut each: impl FnMut(usize)) -> Vec<Instant> {
    let (began, mut times) = (Instant::now(), Vec::with_capacity(frames));
    for n in 0..frames {
        let due = began + Duration::from_millis(20) * n as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        times.push(Instant::now());
        each(n);
    }
    times
}

/// The calls speak at once; each hangs up when it has said everything. Gives when each packet was sent.
pub(crate) fn converse(calls: &[Call]) -> Vec<Instant> {
    let lengths: Vec<usize> = calls.iter().map(Call::frames).collect();
    let times = pace(lengths.iter().max().map_or(0, |longest| longest + 1), |n| {
        for (call, length) in calls.iter().zip(&lengths) {
            match n.cmp(length) {
                std::cmp::Ordering::Less => call.speaks(n),
                std::cmp::Ordering::Equal => call.hangs_up(),
                std::cmp::Ordering::Greater => {}
            }
        }
    });
    calls.iter().for_each(Call::is_over);
    times
}

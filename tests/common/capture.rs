//! Captures made by tests: frames of SIP and RTP in every wrapping, and the mirror that reads them.
#![allow(dead_code, reason = "not every test needs every kind of frame")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{PacketBuilder, VlanId};
use kakehashi::pbx::Wanted;
use kakehashi::pbx::mirror::{Link, Mirror, Output, Place, Settings};
use kakehashi::pbx::{EndCause, PbxId, Signal, Speaker, StreamId};
use kakehashi::time::{Mono, Now, Wall};

pub(crate) const EXCHANGE: &str = "192.0.2.1:5060";
/// A carrier's line, and the telephones of two agents.
pub(crate) const CARRIER: &str = "198.51.100.1:5060";
pub(crate) const YAMADA: &str = "192.0.2.101:5060";
pub(crate) const TANAKA: &str = "192.0.2.102:5060";

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The address beside, with another port.
pub(crate) fn port(text: &str, port: u16) -> SocketAddr {
    SocketAddr::new(at(text).ip(), port)
}

const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A UDP datagram in Ethernet, behind so many VLAN tags.
pub(crate) fn ethernet(tags: usize, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(A, B);
    let id = |n| VlanId::try_new(n).unwrap();
    let mut bytes = Vec::new();
    let built = match (tags, from.ip(), to.ip()) {
        (0, IpAddr::V4(a), IpAddr::V4(b)) => builder.ipv4(a.octets(), b.octets(), 64),
        (0, IpAddr::V6(a), IpAddr::V6(b)) => builder.ipv6(a.octets(), b.octets(), 64),
        (1, IpAddr::V4(a), IpAddr::V4(b)) => builder.single_vlan(id(7)).ipv4(a.octets(), b.octets(), 64),
        (_, IpAddr::V4(a), IpAddr::V4(b)) => builder.double_vlan(id(100), id(7)).ipv4(a.octets(), b.octets(), 64),
        _ => panic!("one family"),
    };
    built.udp(from.port(), to.port()).write(&mut bytes, payload).unwrap();
    bytes
}

/// A TCP segment in Ethernet.
pub(crate) fn tcp(from: SocketAddr, to: SocketAddr, sequence: u32, syn: bool, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(a), IpAddr::V4(b)) = (from.ip(), to.ip()) else { panic!("IPv4") };
    let step =
        PacketBuilder::ethernet2(A, B).ipv4(a.octets(), b.octets(), 64).tcp(from.port(), to.port(), sequence, 4_096);
    let mut bytes = Vec::new();
    if syn { step.syn() } else { step.ack(1) }.write(&mut bytes, payload).unwrap();
    bytes
}

/// The IP packet of an Ethernet frame in so many pieces of `size` bytes (a multiple of 8).
pub(crate) fn fragments(frame: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let (head, body) = (&frame[..34], &frame[34..]);
    let pieces: Vec<&[u8]> = body.chunks(size).collect();
    { pieces.iter().enumerate() }
        .map(|(n, piece)| {
            let mut part = head.to_vec();
            part[16..18].copy_from_slice(&(20 + piece.len() as u16).to_be_bytes());
            part[18..20].copy_from_slice(&id.to_be_bytes());
            let more = u16::from(n + 1 < pieces.len()) << 13;
            part[20..22].copy_from_slice(&(more | (n * size / 8) as u16).to_be_bytes());
            part.extend(*piece);
            part
        })
        .collect()
}

/// The same in IPv6, with a fragment header.
pub(crate) fn fragments6(frame: &[u8], size: usize, id: u32) -> Vec<Vec<u8>> {
    let (head, body) = (&frame[..54], &frame[54..]);
    let pieces: Vec<&[u8]> = body.chunks(size).collect();
    { pieces.iter().enumerate() }
        .map(|(n, piece)| {
            let mut part = head.to_vec();
            part[18..20].copy_from_slice(&(8 + piece.len() as u16).to_be_bytes());
            part[20] = 44;
            let offset = ((n * size / 8) as u16) << 3 | u16::from(n + 1 < pieces.len());
            part.extend([17, 0]);
            part.extend(offset.to_be_bytes());
            part.extend(id.to_be_bytes());
            part.extend(*piece);
            part
        })
        .collect()
}

/// RTP: `who` stands in every packet, so that it is known whose sound arrives where.
pub(crate) fn rtp(who: u8, sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 0];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend((u32::from(sequence) * 160).to_be_bytes());
    bytes.extend([0, 0, 0, who, who]);
    bytes.extend((1..160_u32).map(|n| (n * 31 + u32::from(sequence) * 17 + u32::from(who) * 7) as u8));
    bytes
}

pub(crate) fn sdp(to: SocketAddr, more: &str) -> String {
    let (host, port) = (to.ip(), to.port());
    let family = if to.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=- 1 1 IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n{more}"
    )
}

/// One dialog of a script.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    /// Who asked, who was asked.
    pub(crate) ends: [SocketAddr; 2],
    pub(crate) headers: String,
}

impl Talk {
    pub(crate) fn new(id: &str, from: &str, to: &str, ends: [&str; 2]) -> Talk {
        Talk { id: id.into(), from: from.into(), to: to.into(), ends: ends.map(at), headers: String::new() }
    }

    pub(crate) fn with(mut self, header: &str) -> Talk {
        self.headers.push_str(header);
        self.headers.push_str("\r\n");
        self
    }

    fn body(sdp: &str) -> String {
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!("{kind}Content-Length: {}\r\n\r\n{sdp}", sdp.len())
    }

    /// A request by end `by` (0: who asked first).
    pub(crate) fn request(&self, by: usize, method: &str, cseq: u32, more: &str, sdp: &str) -> String {
        let Talk { id, from, to, ends, headers } = self;
        let begins = (method == "INVITE" && cseq == 1) || method == "CANCEL";
        let caller = format!("<sip:{from}@{}>;tag=f{id}", ends[0].ip());
        let callee =
            format!("<sip:{to}@{}>{}", ends[1].ip(), if begins { String::new() } else { format!(";tag=t{id}") });
        let (own, other) = if by == 0 { (caller, callee) } else { (callee, caller) };
        let user = if by == 0 { to } else { from };
        let headers = if begins { headers.as_str() } else { "" };
        let host = match ends[1 - by] {
            SocketAddr::V4(end) => end.to_string(),
            SocketAddr::V6(end) => end.to_string(),
        };
        format!(
            "{method} sip:{user}@{host} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{id}{method}{cseq}\r\nFrom: {own}\r\nTo: {other}\r\n\
             Call-ID: {id}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n{headers}{more}{}",
            Talk::body(sdp)
        )
        .replace("@2001:db8::", "@[2001:db8::")
        .replace("::1>", "::1]>")
        .replace("::9>", "::9]>")
        .replace("::101>", "::101]>")
    }

    /// An answer to a request of end `by`.
    pub(crate) fn answer(&self, by: usize, code: u16, method: &str, cseq: u32, sdp: &str) -> String {
        let Talk { id, from, to, .. } = self;
        let (caller, callee) = (format!("<sip:{from}@h>;tag=f{id}"), format!("<sip:{to}@h>;tag=t{id}"));
        let (own, other) = if by == 0 { (caller, callee) } else { (callee, caller) };
        format!(
            "SIP/2.0 {code} X\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{id}{method}{cseq}\r\nFrom: {own}\r\nTo: {other}\r\nCall-ID: {id}\r\n\
             CSeq: {cseq} {method}\r\n{}",
            Talk::body(sdp)
        )
    }
}

/// How datagrams become frames.
pub(crate) type Wrap = fn(SocketAddr, SocketAddr, &[u8]) -> Vec<Vec<u8>>;

/// A mirror that reads what a test lets happen.
pub(crate) struct Watch {
    pub(crate) mirror: Mirror,
    pub(crate) now: Now,
    pub(crate) link: Link,
    pub(crate) wrap: Wrap,
    /// Call and signal.
    pub(crate) told: Vec<(String, Signal)>,
    /// Whose packets each stream got, as `who` of [`rtp`].
    pub(crate) heard: HashMap<StreamId, Vec<u8>>,
    pub(crate) open: usize,
    /// Every frame that was read, when a test wants them again.
    pub(crate) kept: Option<Vec<Vec<u8>>>,
}

pub(crate) fn settings() -> Settings {
    Settings {
        interface: "test0".into(),
        networks: vec![Place::parse("192.0.2.1").unwrap(), Place::parse("2001:db8::1").unwrap()],
        lines: vec![Place::parse("198.51.100.1").unwrap()],
        ..Settings::default()
    }
}

impl Watch {
    pub(crate) fn new(settings: Settings) -> Watch {
        let wanted = Wanted { record: true, transcribe: true };
        Watch {
            mirror: Mirror::new(PbxId("test".into()), settings, Box::new(move |_| wanted)),
            now: Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) },
            link: Link::Ethernet,
            wrap: |from, to, bytes| vec![ethernet(0, from, to, bytes)],
            told: Vec::new(),
            heard: HashMap::new(),
            open: 0,
            kept: None,
        }
    }

    /// One frame, as it is.
    pub(crate) fn frame(&mut self, bytes: &[u8]) {
        self.mirror.handle_frame(self.link, bytes, self.now);
        if let Some(kept) = &mut self.kept {
            kept.push(bytes.to_vec());
        }
        self.drain();
    }

    /// A datagram.
    pub(crate) fn udp(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        for frame in (self.wrap)(from, to, bytes) {
            self.frame(&frame);
        }
        self.pass(Duration::from_millis(1));
    }

    /// A request of a dialog.
    pub(crate) fn ask(&mut self, talk: &Talk, by: usize, method: &str, cseq: u32, more: &str, sdp: &str) {
        self.udp(talk.ends[by], talk.ends[1 - by], talk.request(by, method, cseq, more, sdp).as_bytes());
    }

    /// The answer to a request of end `by`.
    pub(crate) fn reply(&mut self, talk: &Talk, by: usize, code: u16, method: &str, cseq: u32, sdp: &str) {
        self.udp(talk.ends[1 - by], talk.ends[by], talk.answer(by, code, method, cseq, sdp).as_bytes());
    }

    /// So many packets of sound.
    pub(crate) fn talk(&mut self, who: u8, from: SocketAddr, to: SocketAddr, packets: u16) {
        for sequence in 0..packets {
            self.udp(from, to, &rtp(who, sequence));
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, span: Duration) {
        let until = self.now.plus(span);
        while let Some(due) = self.mirror.due().filter(|due| *due <= until.mono) {
            let at = self.now.plus(due.since(self.now.mono));
            self.mirror.handle_timeout(at);
            self.drain();
            self.now = at;
        }
        self.now = until;
    }

    pub(crate) fn end(&mut self) {
        self.mirror.handle_end(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.mirror.poll_output() {
            match output {
                Output::Signal(observed) => self.told.push((observed.call.key, observed.signal)),
                Output::Open { stream, formats, .. } => {
                    assert!(!formats.is_empty() && !self.heard.contains_key(&stream));
                    self.heard.insert(stream, Vec::new());
                    self.open += 1;
                }
                Output::Fed { stream, datagram, .. } => {
                    self.heard.get_mut(&stream).expect("it is open").push(datagram[11]);
                }
                Output::Close(stream) => {
                    assert!(self.heard.contains_key(&stream));
                    self.open -= 1;
                }
                Output::Payloads(stream, _) | Output::Path(stream, _) => assert!(self.heard.contains_key(&stream)),
            }
        }
    }

    /// The signals of one call in short, without keys.
    pub(crate) fn story(&self, call: &str) -> Vec<String> {
        let own = self.told.iter().filter(|(key, _)| key == call);
        own.filter_map(|(_, signal)| short(signal)).collect()
    }

    /// Calls in the order of their appearance.
    pub(crate) fn calls(&self) -> Vec<&str> {
        let begins = |signal: &Signal| matches!(signal, Signal::CallAppeared { .. });
        self.told.iter().filter(|(_, signal)| begins(signal)).map(|(key, _)| key.as_str()).collect()
    }

    /// Whose sound arrived on the streams of one speaker of a call, each once.
    pub(crate) fn voices(&self, call: &str, wanted: Speaker) -> Vec<u8> {
        let mut found = Vec::new();
        for (key, signal) in &self.told {
            if let Signal::StreamAdded { stream, speaker, .. } = signal
                && *speaker == wanted
                && key == call
            {
                found.extend(&self.heard[stream]);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn short(signal: &Signal) -> Option<String> {
    Some(match signal {
        Signal::CallAppeared { caller, called, .. } => {
            format!("call {} -> {called}", caller.number.as_deref().unwrap_or("?"))
        }
        Signal::LegAppeared { address, .. } => format!("leg {address}"),
        Signal::LegRinging(_) => "rings".into(),
        Signal::LegAnswered(_) => "answered".into(),
        Signal::LegHeld(_) => "held".into(),
        Signal::LegResumed(_) => "resumed".into(),
        Signal::StreamAdded { speaker, .. } => format!("hears {speaker:?}"),
        Signal::StreamRemoved(_) => return None,
        Signal::StreamFailed { speaker, reason, .. } => {
            format!("deaf to {speaker:?}: {}", reason.split_whitespace().take(4).collect::<Vec<_>>().join(" "))
        }
        Signal::LegEnded(_, cause) => format!("leg ends {cause:?}"),
        Signal::CallEnded(cause) => format!("call ends {cause:?}"),
        Signal::Transferred { kind, to, .. } => format!("transferred {kind:?} to {}", to.as_deref().unwrap_or("?")),
        Signal::Linked { other, relation, .. } => format!("linked {relation:?} {}", other.key),
        Signal::CallerIdentified(caller) => format!("caller {}", caller.number.as_deref().unwrap_or("?")),
        Signal::Keys(_) => return None,
        other => format!("{other:?}"),
    })
}

/// The ports that the exchange uses for sound with the line and with Yamada, and theirs.
pub(crate) fn sounds() -> [SocketAddr; 4] {
    [port(EXCHANGE, 10_000), port(EXCHANGE, 10_010), port(CARRIER, 20_000), port(YAMADA, 30_000)]
}

/// A caller of the line and the telephone that is rung for her.
pub(crate) fn pair(n: usize, number: &str) -> [Talk; 2] {
    let line = Talk::new(&format!("in{n}"), number, "0663011285", [CARRIER, EXCHANGE]);
    let phone = Talk::new(&format!("out{n}"), number, "2001", [EXCHANGE, YAMADA]);
    [line, phone]
}

/// The call is set up: rung, answered on both sides.
pub(crate) fn set_up(watch: &mut Watch, [line, phone]: &[Talk; 2], [own, own2, far, near]: [SocketAddr; 4]) {
    watch.ask(line, 0, "INVITE", 1, "", &sdp(far, ""));
    watch.reply(line, 0, 100, "INVITE", 1, "");
    watch.ask(phone, 0, "INVITE", 1, "", &sdp(own2, ""));
    watch.reply(phone, 0, 180, "INVITE", 1, "");
    watch.reply(line, 0, 180, "INVITE", 1, "");
    watch.reply(phone, 0, 200, "INVITE", 1, &sdp(near, ""));
    watch.ask(phone, 0, "ACK", 1, "", "");
    watch.reply(line, 0, 200, "INVITE", 1, &sdp(own, ""));
    watch.ask(line, 0, "ACK", 1, "", "");
}

/// Both talk, and the exchange passes their sound on: the caller is 1, the agent 2.
pub(crate) fn converse(watch: &mut Watch, [own, own2, far, near]: [SocketAddr; 4], packets: u16) {
    for n in 0..packets {
        watch.udp(far, own, &rtp(1, n));
        watch.udp(own2, near, &rtp(1, n));
        watch.udp(near, own2, &rtp(2, n));
        watch.udp(own, far, &rtp(2, n));
    }
}

/// The caller hangs up.
pub(crate) fn caller_hangs_up(watch: &mut Watch, [line, phone]: &[Talk; 2]) {
    watch.ask(line, 0, "BYE", 2, "", "");
    watch.reply(line, 0, 200, "BYE", 2, "");
    watch.ask(phone, 0, "BYE", 2, "", "");
    watch.reply(phone, 0, 200, "BYE", 2, "");
}

/// What is told of such a call.
pub(crate) fn usual(number: &str) -> Vec<String> {
    let call = format!("call {number} -> 0663011285");
    let rest = ["leg 2001", "rings", "answered", "hears Agent", "hears Caller", "call ends Normal"];
    std::iter::once(call).chain(rest.map(String::from)).collect()
}

/// Why a call ended.
pub(crate) fn ends(cause: EndCause) -> String {
    format!("call ends {cause:?}")
}

/// A pcap or pcapng file of frames, 20 ms apart.
pub(crate) fn file(frames: &[Vec<u8>], pcapng: bool) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let words = |bytes: &mut Vec<u8>, words: &[u32]| words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    if pcapng {
        words(&mut bytes, &[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28]);
        words(&mut bytes, &[1, 32, 1, 65_535, 0x0001_0009, 9, 0, 32]);
    } else {
        words(&mut bytes, &[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1]);
    }
    for (n, frame) in frames.iter().enumerate() {
        let length = frame.len() as u32;
        if pcapng {
            let nanos = 1_795_424_000_000_000_000 + n as u64 * 20_000_000;
            let whole = 32 + length.next_multiple_of(4);
            words(&mut bytes, &[6, whole, 0, (nanos >> 32) as u32, nanos as u32, length, length]);
            bytes.extend(frame);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            words(&mut bytes, &[whole]);
        } else {
            words(&mut bytes, &[1_795_424_000, n as u32 * 20_000, length, length]);
            bytes.extend(frame);
        }
    }
    bytes
}

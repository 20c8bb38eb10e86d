//! Attacks on the sound of a call, on real sockets and the real media threads: not one foreign sample is heard, and everything is counted.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use kakehashi::bridge::media::{MediaHandle, spawn};
use kakehashi::media::codec::decode_ulaw;
use kakehashi::media::dtls::{Handshake, Identity, Keys};
use kakehashi::media::secure::{Secure, Sender};
use kakehashi::media::settings::Settings;
use kakehashi::media::{Codec, Heard, OpenStream, Payload, Source, StreamEventKind, StreamSummary};
use kakehashi::pbx::StreamId;
use kakehashi::pbx::sip::keying::{Keying, Path};
use kakehashi::pbx::sip::sdes::{Key, Suite};
use kakehashi::time::Mono;
use uuid::Uuid;

/// Longest wait for the threads; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(20);
const STREAM: StreamId = StreamId(Uuid::from_u128(0x5e_c0_0e));

struct Line {
    media: MediaHandle,
    heard: Receiver<Heard>,
    port: u16,
    sent: u64,
    spoken: Vec<i16>,
    _folder: tempfile::TempDir,
}

impl Line {
    fn open(first_port: u16, source: Source, keying: Keying, rtcp: Option<SocketAddr>) -> Line {
        let folder = tempfile::tempdir().unwrap();
        let (sender, heard) = sync_channel(65_536);
        let settings = Settings {
            first_port,
            last_port: first_port + 9,
            poll_interval_ms: 2,
            rtcp_interval_ms: 40,
            ..Settings::default()
        };
        let media = spawn(&settings, folder.path(), sender).unwrap();
        let payloads = vec![Payload { number: 0, codec: Codec::Pcmu }];
        let path = Path { source: None, rtcp, rtcp_mux: false, keying };
        let request = OpenStream { stream: STREAM, payloads, record: true, transcribe: true, source, path };
        let port = media.open(request).unwrap();
        Line { media, heard, port, sent: 0, spoken: Vec::new(), _folder: folder }
    }

    fn send(&mut self, from: &UdpSocket, bytes: &[u8]) {
        from.send_to(bytes, ("127.0.0.1", self.port)).unwrap();
        self.sent += 1;
        if self.sent.is_multiple_of(50) {
            self.settle();
        }
    }

    /// Waits until the thread has carried out what it was told: it does so after each turn of reading. Sends three packets of no use.
    fn pass(&mut self, from: &UdpSocket) {
        for _ in 0..3 {
            self.send(from, &packet(0, 66, &[0x00; 160]));
            self.settle();
        }
    }

    /// The right speaker says packet `n`.
    fn speak(&mut self, from: &UdpSocket, n: u16, protect: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let payload: Vec<u8> = (0..160u16).map(|i| (i as u8).wrapping_mul(31).wrapping_add(n as u8)).collect();
        self.spoken.extend(payload.iter().map(|byte| decode_ulaw(*byte)));
        let bytes = protect(packet(n, 7, &payload));
        self.send(from, &bytes);
    }

    /// `count` packets of an attacker who knows the numbers of the call, and of one who takes his own.
    fn attack(&mut self, from: &UdpSocket, n: u16, count: u16) {
        for i in 0..count {
            let ssrc = if i % 2 == 0 { 7 } else { 66 };
            self.send(from, &packet(n.wrapping_add(i), ssrc, &[0x00; 160]));
        }
    }

    /// Waits until the threads have taken all that was sent.
    fn settle(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.media.stats().packets.load(Ordering::Relaxed) < self.sent {
            assert!(Instant::now() < deadline, "not all packets were taken");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn close(self) -> (Vec<i16>, Vec<i16>, StreamSummary) {
        self.settle();
        self.media.close(STREAM);
        let mut pcm = Vec::new();
        loop {
            match self.heard.recv_timeout(PATIENCE).expect("the media threads went quiet") {
                Heard::Pcm(frame) => pcm.extend(frame.samples),
                Heard::Event(event) => {
                    if let StreamEventKind::Closed(summary) = event.kind {
                        return (self.spoken, pcm, summary);
                    }
                }
            }
        }
    }
}

fn packet(n: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, 0];
    bytes.extend(n.to_be_bytes());
    bytes.extend((u32::from(n) * 160).to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn socket(ip: &str) -> UdpSocket {
    UdpSocket::bind((ip, 0)).unwrap()
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

fn key(suite: Suite, seed: u8) -> Key {
    let material: Vec<u8> = (0..suite.key_length() + suite.salt_length()).map(|n| n as u8 ^ seed).collect();
    Key::new(suite, &material).unwrap()
}

#[test]
fn a_thousand_injected_packets_a_second_are_not_heard_before_during_and_after_a_renegotiation() {
    let (peer, moved) = (socket("127.0.0.1"), socket("127.0.0.1"));
    // an attacker on another address, and one on the peer's own with another port
    let attackers = [socket("127.0.0.2"), socket("127.0.0.1")];
    let mut line = Line::open(26_000, Source::Near(address(&peer)), Keying::Plain, None);
    let mut injected = 0;
    let mut attack = |line: &mut Line, n: u16, count: u16| {
        attackers.iter().for_each(|attacker| line.attack(attacker, n, count));
        injected += 2 * u64::from(count);
    };
    attack(&mut line, 0, 300);
    // five seconds of speech, and 20 packets of the attackers for each of it
    for n in 0..250u16 {
        line.speak(&peer, n, |bytes| bytes);
        attack(&mut line, n, 10);
        if n == 120 {
            // a re-INVITE that moves nothing opens no window
            line.settle();
            let path = Path { source: Some(address(&peer)), ..Path::default() };
            line.media.set_path(STREAM, path);
            attack(&mut line, n, 200);
        }
    }
    line.settle();
    line.media.set_path(STREAM, Path { source: Some(address(&moved)), ..Path::default() });
    attack(&mut line, 250, 300);
    // who spoke before is a stranger now
    line.attack(&peer, 250, 20);
    for n in 250..300u16 {
        line.speak(&moved, n, |bytes| bytes);
        attack(&mut line, n, 10);
    }
    let (spoken, pcm, summary) = line.close();
    assert_eq!(pcm.len(), spoken.len());
    assert!(pcm == spoken, "what was said is heard, bit for bit");
    assert_eq!((summary.packets, summary.foreign), (300, injected + 20));
}

#[test]
fn with_srtp_nothing_forged_plain_or_repeated_is_heard_also_from_the_right_address() {
    for (at, suite) in [Suite::AesCm128Sha1Tag80, Suite::AesCm128Sha1Tag32, Suite::AesGcm256].into_iter().enumerate() {
        let peer = socket("127.0.0.1");
        let keying = |seed| Keying::Sdes { theirs: vec![key(suite, seed)], ours: key(suite, 2) };
        let mut line = Line::open(26_040 + 10 * at as u16, Source::Near(address(&peer)), keying(1), None);
        let mut sender = Sender::new(&key(suite, 1)).unwrap();
        line.attack(&peer, 0, 100);
        let mut last = Vec::new();
        for n in 0..100u16 {
            if n == 60 {
                // the peer takes new keys
                line.settle();
                let path = Path { source: Some(address(&peer)), rtcp: None, rtcp_mux: false, keying: keying(9) };
                line.media.set_path(STREAM, path);
                line.pass(&peer);
                sender = Sender::new(&key(suite, 9)).unwrap();
            }
            line.speak(&peer, n, |bytes| {
                last = sender.protect(&bytes).unwrap();
                last.clone()
            });
            line.attack(&peer, n, 5);
            let repeated = last.clone();
            line.send(&peer, &repeated);
        }
        let (spoken, pcm, summary) = line.close();
        assert!(pcm == spoken, "{suite:?}");
        assert_eq!((summary.packets, summary.encrypted), (100, 100), "{suite:?}");
        // what is forged under a number that was taken counts as repeated
        assert_eq!(summary.unauthenticated + summary.replayed, 100 + 100 * 6 + 3, "{suite:?}");
        assert!(summary.unauthenticated > 300 && summary.replayed >= 100, "{suite:?}: {summary:?}");
    }
}

/// A call without an offer: ours is in the 200, and its keys come with the ACK, after the first sound.
#[test]
fn srtp_that_comes_before_the_ack_brings_its_keys_is_heard_from_the_first_packet() {
    let suite = Suite::AesGcm256;
    let (peer, attacker) = (socket("127.0.0.1"), socket("127.0.0.2"));
    let mut line = Line::open(26_100, Source::Untold, Keying::Offered, None);
    let mut sender = Sender::new(&key(suite, 1)).unwrap();
    for n in 0..100u16 {
        if n == 40 {
            line.settle();
            let keying = Keying::Sdes { theirs: vec![key(suite, 1)], ours: key(suite, 2) };
            let path = Path { source: Some(address(&peer)), rtcp: None, rtcp_mux: false, keying };
            line.media.set_path(STREAM, path);
        }
        line.speak(&peer, n, |bytes| sender.protect(&bytes).unwrap());
        line.attack(&attacker, n, 5);
    }
    let (spoken, pcm, summary) = line.close();
    assert!(pcm == spoken, "{} samples of {}: {summary:?}", pcm.len(), spoken.len());
    assert_eq!((summary.packets, summary.encrypted, summary.foreign), (100, 100, 500), "{summary:?}");
}

/// A peer that shakes hands with the media thread over a real socket; gives its keys.
fn shake(line: &mut Line, peer: &UdpSocket, handshake: &mut Handshake, base: Instant) -> Option<Keys> {
    peer.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let bridge = SocketAddr::from(([127, 0, 0, 1], line.port));
    let now = || Mono(base.elapsed().as_nanos() as u64);
    handshake.start(now(), bridge);
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut keys = None;
    while keys.is_none() && Instant::now() < deadline {
        while let Some((to, bytes)) = handshake.poll_transmit() {
            peer.send_to(&bytes, to).unwrap();
            line.sent += 1;
        }
        let mut datagram = [0; 2_048];
        if let Ok((length, from)) = peer.recv_from(&mut datagram) {
            keys = handshake.handle(now(), from, &datagram[..length]);
        }
        if handshake.due().is_some_and(|due| due <= now()) {
            handshake.handle_timeout(now());
        }
    }
    while let Some((to, bytes)) = handshake.poll_transmit() {
        peer.send_to(&bytes, to).unwrap();
        line.sent += 1;
    }
    keys
}

#[test]
fn a_dtls_handshake_makes_the_keys_of_the_sound_and_of_our_reports() {
    let base = Instant::now();
    let identity = Identity::generate().unwrap();
    let (peer, rtcp) = (socket("127.0.0.1"), socket("127.0.0.1"));
    let keying =
        Keying::Dtls { fingerprints: vec![identity.fingerprint.clone()], active: false, session: Some("1".into()) };
    let mut line = Line::open(26_080, Source::Near(address(&peer)), keying.clone(), Some(address(&rtcp)));
    // sound before the handshake, and in the clear, is none
    line.attack(&peer, 0, 50);
    let bridge = line.media.fingerprint().clone();
    let mut handshake = Handshake::new(&identity, vec![bridge.clone()], true, base).unwrap();
    let keys = shake(&mut line, &peer, &mut handshake, base).expect("keys");
    let mut sender = Sender::new(&keys.ours).unwrap();
    for n in 0..50u16 {
        line.speak(&peer, n, |bytes| sender.protect(&bytes).unwrap());
        line.attack(&peer, n, 4);
    }
    // our report is protected by our key
    rtcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut datagram = [0; 2_048];
    let (length, _) = rtcp.recv_from(&mut datagram).unwrap();
    let mut secure = Secure::new(std::slice::from_ref(&keys.theirs), &keys.ours).unwrap();
    let report = secure.open_rtcp(Mono(0), &datagram[..length]).unwrap();
    assert_eq!((report[0], report[1], &report[8..12]), (0x81, 201, &7u32.to_be_bytes()[..]));

    // another association: a new handshake, whose keys replace the old ones
    let Keying::Dtls { fingerprints, active, .. } = keying else { unreachable!() };
    let keying = Keying::Dtls { fingerprints, active, session: Some("2".into()) };
    line.settle();
    let path = Path { source: Some(address(&peer)), rtcp: Some(address(&rtcp)), rtcp_mux: false, keying };
    line.media.set_path(STREAM, path);
    let mut handshake = Handshake::new(&identity, vec![bridge], true, base).unwrap();
    let keys = shake(&mut line, &peer, &mut handshake, base).expect("new keys");
    let mut sender = Sender::new(&keys.ours).unwrap();
    for n in 50..100u16 {
        line.speak(&peer, n, |bytes| sender.protect(&bytes).unwrap());
    }
    let (spoken, pcm, summary) = line.close();
    assert!(pcm == spoken, "{} samples of {}", pcm.len(), spoken.len());
    assert_eq!((summary.encrypted, summary.handshakes_failed), (100, 0));
    assert_eq!(summary.unauthenticated + summary.replayed, 250);
}

#[test]
fn a_certificate_that_the_description_did_not_name_gets_nothing_heard() {
    let base = Instant::now();
    let (identity, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let peer = socket("127.0.0.1");
    let keying = Keying::Dtls { fingerprints: vec![other.fingerprint], active: false, session: None };
    let mut line = Line::open(26_090, Source::Near(address(&peer)), keying, None);
    let bridge = line.media.fingerprint().clone();
    let mut handshake = Handshake::new(&identity, vec![bridge], true, base).unwrap();
    assert_eq!(shake(&mut line, &peer, &mut handshake, base), None);
    line.attack(&peer, 0, 50);
    let (_, pcm, summary) = line.close();
    assert!(pcm.is_empty());
    assert!(summary.handshakes_failed > 0 && summary.unauthenticated == 50, "{summary:?}");
}

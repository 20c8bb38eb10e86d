//! The real SIP edge with real media threads, and what it tells; a plain caller of UDP or TCP.
#![allow(dead_code)] // each test binary uses its part

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use kakehashi::bridge::Input;
use kakehashi::bridge::sip::{Counters, Error, SipHandle, spawn};
use kakehashi::call::line::{Line, Lines};
use kakehashi::media::settings::Settings as MediaSettings;
use kakehashi::media::{Heard, StreamEventKind};
use kakehashi::pbx::sip::{PeerSettings, Settings};
use kakehashi::pbx::{Observed, PbxId, Signal, StreamId};
use tokio::sync::mpsc;

/// Longest wait for anything; only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                              m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

pub(crate) struct Bridge {
    pub(crate) sip: SipHandle,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) heard: Receiver<Heard>,
    _data: tempfile::TempDir,
}

pub(crate) struct Wanted {
    pub(crate) settings: Settings,
    pub(crate) peers: &'static str,
    /// The exchange's other settings.
    pub(crate) exchange: PeerSettings,
    pub(crate) answer_after_ms: u64,
    /// First RTP port and how many.
    pub(crate) ports: (u16, u16),
    /// Where sound is received.
    pub(crate) bind: &'static str,
    /// Room in the hub's channel.
    pub(crate) hub: usize,
}

impl Wanted {
    /// On free ports of loopback, with RTP ports from `first`.
    pub(crate) fn new(first: u16) -> Wanted {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let settings = Settings { listen_udp: vec![any], listen_tcp: vec![any], ..Settings::default() };
        let exchange = PeerSettings::default();
        Wanted {
            settings,
            peers: "127.0.0.0/8",
            exchange,
            answer_after_ms: 0,
            ports: (first, 40),
            bind: "127.0.0.1",
            hub: 4_096,
        }
    }

    pub(crate) async fn start(self) -> Result<Bridge, Error> {
        let data = tempfile::tempdir().unwrap();
        let (sender, heard) = sync_channel(65_536);
        let (first_port, count) = self.ports;
        let media = MediaSettings {
            bind: self.bind.parse().unwrap(),
            first_port,
            last_port: first_port + count - 1,
            port_rest_ms: 0,
            poll_interval_ms: 5,
            ..MediaSettings::default()
        };
        let media = kakehashi::bridge::media::spawn(&media, data.path(), sender).unwrap();
        let mut line: Line = Lines::default().policy("*");
        (line.number, line.answer_after_ms) = ("*".into(), self.answer_after_ms);
        let peers =
            vec![(PbxId("honcho".into()), PeerSettings { peers: vec![self.peers.parse().unwrap()], ..self.exchange })];
        let (hub, inputs) = mpsc::channel(self.hub);
        let sip = spawn(self.settings, peers, Arc::new(Lines::new(vec![line])), Default::default(), media, hub).await?;
        Ok(Bridge { sip, inputs, heard, _data: data })
    }
}

impl Bridge {
    pub(crate) fn udp(&self) -> SocketAddr {
        self.sip.udp[0]
    }

    pub(crate) fn tcp(&self) -> SocketAddr {
        self.sip.tcp[0]
    }

    pub(crate) fn tls(&self) -> SocketAddr {
        self.sip.tls[0]
    }

    /// The next signal.
    pub(crate) async fn observed(&mut self) -> Observed {
        match tokio::time::timeout(PATIENCE, self.inputs.recv()).await.expect("the bridge told nothing") {
            Some(Input::Observed(observed)) => observed,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn signal(&mut self) -> Signal {
        self.observed().await.signal
    }

    /// Signals up to and with the first that `is_last` says.
    pub(crate) async fn until(&mut self, is_last: impl Fn(&Signal) -> bool) -> Vec<Signal> {
        let mut all = vec![self.signal().await];
        while !all.last().is_some_and(&is_last) {
            all.push(self.signal().await);
        }
        all
    }

    /// Waits until the counters are so.
    pub(crate) async fn counted(&self, is_so: impl Fn(&Counters) -> bool) -> Counters {
        let mut left = PATIENCE.as_millis() / 5;
        while !is_so(&self.sip.counters()) {
            left -= 1;
            assert!(left > 0, "{:?}", self.sip.counters());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.sip.counters()
    }

    /// The PCM of each stream up to its end.
    pub(crate) fn pcm(&self, streams: &[StreamId]) -> Vec<Vec<i16>> {
        let mut pcm = vec![Vec::new(); streams.len()];
        let mut open = streams.len();
        while open > 0 {
            let heard = self.heard.recv_timeout(PATIENCE).expect("the media threads went quiet");
            let place = |stream: StreamId| streams.iter().position(|own| *own == stream);
            match heard {
                Heard::Pcm(frame) => {
                    if let Some(at) = place(frame.stream) {
                        pcm[at].extend(frame.samples);
                    }
                }
                Heard::Event(event) => {
                    let closed = matches!(event.kind, StreamEventKind::Closed(_)) && place(event.stream).is_some();
                    open -= usize::from(closed);
                }
            }
        }
        pcm
    }
}

/// One RTP packet.
pub(crate) fn packet(payload_type: u8, n: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(n.to_be_bytes());
    bytes.extend((u32::from(n) * 160).to_be_bytes());
    bytes.extend(7u32.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Speaks `packets` × 20 ms of a known sound into `port`; returns its bytes.
pub(crate) fn speak(port: u16, payload_type: u8, packets: u16, seed: u8) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut all = Vec::new();
    for n in 0..packets {
        let payload: Vec<u8> =
            (0..160u16).map(|i| (i as u8).wrapping_mul(31).wrapping_add(n as u8).wrapping_add(seed)).collect();
        socket.send_to(&packet(payload_type, n, &payload), ("127.0.0.1", port)).unwrap();
        all.extend(payload);
    }
    all
}

/// The ports of the audio lines of a description.
pub(crate) fn audio_ports(sdp: &str) -> Vec<u16> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("m=audio "))
        .filter_map(|rest| rest.split(' ').next()?.parse().ok())
        .collect()
}

/// A request as a plain caller writes it.
pub(crate) fn request(method: &str, call: &str, via: &str, cseq: u32, to_tag: &str, body: &str) -> String {
    let to = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let branch = match method {
        "CANCEL" => format!("{call}-INVITE-{cseq}"),
        _ => format!("{call}-{method}-{cseq}"),
    };
    format!(
        "{method} sip:7001@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:0663621234@127.0.0.1>;tag={call}\r\nTo: <sip:7001@127.0.0.1>{to}\r\nCall-ID: {call}\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:0663621234@{}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        via.split(' ').nth(1).unwrap_or("127.0.0.1"),
        body.len()
    )
}

/// The status code of an answer.
pub(crate) fn code(text: &str) -> u16 {
    text.get(8..11).and_then(|code| code.parse().ok()).unwrap_or_default()
}

/// Our tag in an answer.
pub(crate) fn to_tag(text: &str) -> String {
    let to = text.lines().find(|line| line.starts_with("To:")).expect("a To");
    to.split("tag=").nth(1).unwrap_or_default().into()
}

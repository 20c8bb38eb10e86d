//! One stream: packets of one speaker in, PCM in true time and events out; foreign packets stay outside.
//!
//! `admit` says which datagrams are its packets. Here they become sound, and time goes on. `told` gives what came of them.

mod admit;
mod told;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::codec::{self, decode_g711};
use super::dtmf::Dtmf;
use super::jitter::{Audio, Gap, Jitter, Sound};
use super::probation::Probation;
use super::protection::Protection;
use super::rtcp::Rtcp;
use super::rtp::Parsed;
use super::settings::Settings;
use super::source::Gate;
use super::{Codec, Payload, StreamEventKind, StreamSummary, rtp};
use crate::pbx::StreamId;
use crate::time::{Mono, Now};

/// Reports that wait to be sent; a driver that sends nothing gets no more.
const MOST_REPORTS: usize = 4;

/// Which of our two ports something goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The even one.
    Rtp,
    /// The odd one above it.
    Rtcp,
}

/// A datagram to send: RTCP, or a part of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Through which port.
    pub port: Port,
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// The receiving end of one stream.
#[derive(Debug)]
pub struct Stream {
    id: StreamId,
    payloads: Vec<Payload>,
    accepted: u128,
    /// Of the PCM; by the codec of the first packet.
    rate: u32,
    clock: u32,
    window: Duration,
    jitter: Jitter,
    dtmf: Dtmf,
    gate: Gate,
    protection: Protection,
    probation: Probation,
    rtcp: Rtcp,
    rtcp_to: Option<SocketAddr>,
    rtcp_mux: bool,
    origin: Option<Now>,
    /// RTP timestamp of the first packet and its position, to place digits.
    first: Option<(u32, u64)>,
    last_packet: Mono,
    silent: bool,
    timeout: Duration,
    pcm: Vec<i16>,
    taken: u64,
    gaps: Vec<Gap>,
    events: Vec<StreamEventKind>,
    counts: StreamSummary,
    out: VecDeque<Transmit>,
}

impl Stream {
    /// A stream that waits for its first packet, from whoever sends it; see [`Stream::set_source`] and [`Stream::set_path`].
    pub fn new(now: Now, id: StreamId, payloads: Vec<Payload>, settings: &Settings) -> Self {
        let audio = first_audio(&payloads);
        let window = Duration::from_millis(u64::from(settings.reorder_window_ms));
        let interval = Duration::from_millis(u64::from(settings.rtcp_interval_ms));
        Self {
            id,
            accepted: rtp::accept(payloads.iter().map(|payload| payload.number)),
            payloads,
            rate: audio.pcm_rate(),
            clock: audio.clock(),
            window,
            jitter: Jitter::new(audio.clock(), audio.pcm_rate(), window),
            dtmf: Dtmf::default(),
            gate: Gate::default(),
            protection: Protection::default(),
            probation: Probation::default(),
            rtcp: Rtcp::new(id.0.as_u128(), interval),
            rtcp_to: None,
            rtcp_mux: false,
            origin: None,
            first: None,
            last_packet: now.mono,
            silent: false,
            timeout: Duration::from_millis(u64::from(settings.no_rtp_timeout_ms)),
            pcm: Vec::new(),
            taken: 0,
            gaps: Vec::new(),
            events: Vec::new(),
            counts: StreamSummary::default(),
            out: VecDeque::new(),
        }
    }

    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Samples a second of what [`Stream::take`] gives; settled with the first packet.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples that [`Stream::take`] has given.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// When the first packet came.
    pub fn origin(&self) -> Option<Now> {
        self.origin
    }

    /// Other payload types after a re-negotiation. The PCM rate of a stream that began stays, whatever the codec.
    pub fn set_payloads(&mut self, payloads: Vec<Payload>) {
        self.payloads = payloads;
        self.accepted = rtp::accept(self.payloads.iter().map(|payload| payload.number));
    }

    /// A packet of the stream: it moves time, and its sound goes to its place.
    fn play(&mut self, now: Now, codec: Codec, packet: Parsed) {
        if self.origin.is_none() {
            self.begin(now, codec, packet.timestamp);
        }
        let clock = codec.clock();
        if codec.is_audio() && clock != self.clock {
            self.clock = clock;
            self.jitter.set_clock(clock);
        }
        let Some(sound) = self.sound(codec, &packet) else {
            self.counts.malformed += 1;
            return;
        };
        self.counts.packets += 1;
        self.last_packet = now.mono;
        self.silent = false;
        self.rtcp.count(now.mono, packet.ssrc, packet.sequence, packet.timestamp, self.clock);
        if codec == Codec::TelephoneEvent {
            let ended = self.dtmf.handle(now, packet.ssrc, packet.timestamp, &packet.payload);
            self.tell_digits(ended);
        }
        // A digit's packets all carry its start; they move time to where the digit is now.
        let timestamp = match (codec, packet.payload.get(2..4)) {
            (Codec::TelephoneEvent, Some(&[high, low])) => {
                packet.timestamp.wrapping_add(u32::from(u16::from_be_bytes([high, low])))
            }
            _ => packet.timestamp,
        };
        let audio = Audio { sequence: packet.sequence, timestamp, sound };
        self.jitter.insert(now.mono, packet.ssrc, audio, &mut self.pcm, &mut self.gaps);
        self.tell_gaps();
    }

    /// The first packet settles the rate of the PCM.
    fn begin(&mut self, now: Now, codec: Codec, timestamp: u32) {
        let audio = if codec.is_audio() { codec } else { first_audio(&self.payloads) };
        (self.rate, self.clock) = (audio.pcm_rate(), audio.clock());
        self.jitter = Jitter::new(self.clock, self.rate, self.window);
        self.origin = Some(now);
        self.first = Some((timestamp, 0));
        self.events.push(StreamEventKind::First { origin: now, rate: self.rate });
    }

    /// G.711 in its own rate remembers nothing and is decoded at once; the others in their order.
    fn sound(&self, codec: Codec, packet: &Parsed) -> Option<Sound> {
        let mut samples = Vec::new();
        match codec {
            Codec::TelephoneEvent | Codec::ComfortNoise => {}
            Codec::Pcmu | Codec::Pcma if self.rate == codec.pcm_rate() => {
                decode_g711(codec, &packet.payload, &mut samples)
            }
            Codec::L16 | Codec::L16Wide if self.rate == codec.pcm_rate() => {
                codec::decode_l16(&packet.payload, &mut samples)
            }
            _ => {
                let length = codec::length(codec, &packet.payload, self.rate)?;
                return Some(Sound::Coded(codec, packet.payload.clone(), length));
            }
        }
        Some(Sound::Pcm(samples))
    }

    /// When [`Stream::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        let silence = (!self.silent).then(|| self.last_packet + self.timeout);
        let own = [self.jitter.due(), self.dtmf.due(), silence];
        let others = [self.gate.due(), self.probation.due(), self.protection.due(), self.rtcp.due()];
        own.into_iter().chain(others).flatten().min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let shaking = || self.protection.poll_transmit().map(|(to, bytes)| Transmit { port: Port::Rtp, to, bytes });
        self.out.pop_front().or_else(shaking)
    }

    /// The report that is due, if it is; not before the keys to protect it are there.
    fn report(&mut self, now: Now) -> Option<Transmit> {
        let report = self.rtcp.report(now)?;
        let above = |latched: SocketAddr| {
            let port = latched.port().checked_add(u16::from(!self.rtcp_mux))?;
            Some(SocketAddr::new(latched.ip(), port))
        };
        let to = self.rtcp_to.or_else(|| self.gate.latched().and_then(above))?;
        let bytes = self.protection.protect_rtcp(report)?;
        Some(Transmit { port: if self.rtcp_mux { Port::Rtp } else { Port::Rtcp }, to, bytes })
    }

    /// Gives up what was waited for long enough.
    pub fn handle_timeout(&mut self, now: Now) {
        let waiting = self.gate.handle_timeout(now.mono);
        self.take_waiting(waiting);
        self.switch_source(now);
        self.protection.handle_timeout(now.mono);
        if self.out.len() < MOST_REPORTS {
            let report = self.report(now);
            self.out.extend(report);
        }
        self.jitter.handle_timeout(now.mono, &mut self.pcm, &mut self.gaps);
        self.tell_gaps();
        let ended = self.dtmf.handle_timeout(now.mono);
        self.tell_digits(ended);
        if !self.silent && self.last_packet + self.timeout <= now.mono {
            self.silent = true;
            self.events.push(StreamEventKind::Timeout);
        }
    }
}

fn first_audio(payloads: &[Payload]) -> Codec {
    payloads.iter().map(|payload| payload.codec).find(|codec| codec.is_audio()).unwrap_or(Codec::Pcmu)
}

#[cfg(test)]
mod tests;

//! One stream: packets of one speaker in, PCM in true time and events out; foreign packets stay outside.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::codec::{self, decode_g711};
use super::dtmf::{Digit, Dtmf};
use super::jitter::{Audio, Gap, Jitter, Sound};
use super::probation::{self, Probation};
use super::protection::{Dtls, Protection};
use super::rtcp::{self, Rtcp};
use super::rtp::Parsed;
use super::secure::Refusal;
use super::settings::Settings;
use super::source::{self, Gate, Source, Verdict};
use super::{Codec, Frame, Payload, StreamEventKind, StreamSummary, rtp};
use crate::pbx::StreamId;
use crate::pbx::sip::keying::{Keying, Path};
use crate::time::{MediaTime, Mono, Now};

/// Events kept until they are taken; more gaps than that in one step are told as one.
const MOST_EVENTS: usize = 256;
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

    /// Signalling tells who sends; whoever was taken before and does not fit is foreign from now on.
    pub fn set_source(&mut self, source: Source) {
        let waiting = self.expect(source);
        self.take_waiting(waiting);
    }

    /// Signalling tells the way of the packets: who sends, how they are protected, where RTCP goes. What came before all of it was known is
    /// taken now, in its order: who sends is of no use without the keys (a call without an offer brings them with its ACK).
    pub fn set_path(&mut self, now: Now, source: Source, path: &Path, dtls: Option<&Dtls>) {
        let source = if path.keying == Keying::Offered { Source::Untold } else { source };
        let waiting = self.expect(source);
        (self.rtcp_to, self.rtcp_mux) = (path.rtcp, path.rtcp_mux);
        let peer = match self.gate.rule() {
            Source::Near(peer) | Source::Exactly(peer) => Some(peer),
            Source::First | Source::Untold => None,
        };
        self.protection.set(now.mono, &path.keying, dtls, peer);
        self.take_waiting(waiting);
    }

    fn expect(&mut self, source: Source) -> Vec<source::Waiting> {
        let before = self.gate.rule();
        let waiting = self.gate.expect(source);
        if before != self.gate.rule() {
            self.probation.reset();
        }
        waiting
    }

    /// Only this address and port may send.
    pub fn expect_source(&mut self, source: SocketAddr) {
        self.set_source(Source::Exactly(source));
    }

    /// Other payload types after a re-negotiation. The PCM rate of a stream that began stays, whatever the codec.
    pub fn set_payloads(&mut self, payloads: Vec<Payload>) {
        self.payloads = payloads;
        self.accepted = rtp::accept(self.payloads.iter().map(|payload| payload.number));
    }

    /// Takes one datagram of the RTP port.
    pub fn handle_packet(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        match self.gate.judge(from, self.protection.is_secure()) {
            Verdict::Take => self.handle_own(now, from, datagram),
            Verdict::Wait => self.gate.keep(now, from, datagram),
            Verdict::Prove => self.prove(now, from, datagram),
            Verdict::Refuse => self.counts.foreign += 1,
        }
    }

    /// A datagram from another port than was told. RTCP and what else keeps a NAT open (RFC 6263) says nothing for or against its sender.
    fn prove(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        if let Some((packet, _)) = self.read(datagram) {
            return self.gate.offer(now, from, datagram, packet.ssrc, packet.sequence);
        }
        self.counts.foreign += 1;
        if rtp::claims(datagram, self.accepted) {
            self.gate.unseat(from);
        }
    }

    /// Takes one datagram of the RTCP port.
    pub fn handle_rtcp(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        // The port of RTCP is the peer's own affair; its address is not.
        let ip = match self.gate.rule() {
            Source::Near(told) | Source::Exactly(told) => Some(told.ip()),
            Source::First | Source::Untold => self.gate.latched().map(|latched| latched.ip()),
        };
        if ip != Some(from.ip().to_canonical()) {
            self.counts.foreign += 1;
            return;
        }
        self.read_rtcp(now, datagram);
    }

    fn read_rtcp(&mut self, now: Now, datagram: &[u8]) {
        match self.protection.open(now.mono, datagram, true) {
            Ok(plain) => {
                let read = self.rtcp.handle(now.mono, plain.as_deref().unwrap_or(datagram));
                self.counts.malformed += u64::from(!read);
            }
            Err(refusal) => self.count_refusal(refusal),
        }
    }

    /// A datagram of the right sender; what it is says its first byte (RFC 7983).
    fn handle_own(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        if let Some(20..=63) = datagram.first() {
            if !self.protection.handle_handshake(now.mono, from, datagram) {
                self.counts.malformed += 1;
            }
            return;
        }
        if self.rtcp_mux && rtcp::is_rtcp(datagram) {
            return self.read_rtcp(now, datagram);
        }
        let opened = match self.protection.open(now.mono, datagram, false) {
            Ok(opened) => opened,
            Err(refusal) => return self.count_refusal(refusal),
        };
        self.counts.encrypted += u64::from(opened.is_some());
        let datagram = opened.as_deref().unwrap_or(datagram);
        let Some((packet, codec)) = self.read(datagram) else {
            self.counts.malformed += 1;
            return;
        };
        self.gate.latch(from);
        if self.probation.admits(now.mono, packet.ssrc) {
            self.play(now, codec, packet);
        } else {
            self.probation.keep(probation::Waiting { at: now, codec, packet });
            self.switch_source(now);
        }
    }

    /// A packet of the stream's kind: RTP of a negotiated type, and sound that can be decoded.
    fn read(&self, datagram: &[u8]) -> Option<(Parsed, Codec)> {
        let packet = rtp::parse(datagram, self.accepted)?;
        let codec = self.payloads.iter().find(|payload| payload.number == packet.payload_type)?.codec;
        let decodable = !codec.is_audio() || codec::length(codec, &packet.payload, codec.pcm_rate()).is_some();
        decodable.then_some((packet, codec))
    }

    fn count_refusal(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Unauthenticated | Refusal::Expired => self.counts.unauthenticated += 1,
            Refusal::Replayed => self.counts.replayed += 1,
        }
    }

    fn take_waiting(&mut self, waiting: Vec<source::Waiting>) {
        for source::Waiting { at, from, datagram } in waiting {
            self.handle_packet(at, from, &datagram);
        }
    }

    fn switch_source(&mut self, now: Now) {
        for probation::Waiting { at, codec, packet } in self.probation.switch(now.mono) {
            self.play(at, codec, packet);
        }
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

    /// The PCM that is ready, when there are at least `least` samples of it; one second at most, ask again for more.
    pub fn take(&mut self, least: usize) -> Option<Frame> {
        if self.pcm.is_empty() || self.pcm.len() < least {
            return None;
        }
        // A long silence comes out in pieces, so that one frame and one block on disk stay small.
        let longest = self.rate as usize;
        let rest =
            if self.pcm.len() > longest { self.pcm.split_off(longest) } else { Vec::with_capacity(self.pcm.len()) };
        let samples = std::mem::replace(&mut self.pcm, rest);
        let position = self.taken;
        self.taken += samples.len() as u64;
        Some(Frame { stream: self.id, position, rate: self.rate, samples })
    }

    /// The events since the last call, in order.
    pub fn take_events(&mut self) -> Vec<StreamEventKind> {
        std::mem::take(&mut self.events)
    }

    /// Ends the stream: what is held comes out; take the PCM and the events, then the summary is the last event.
    pub fn finish(&mut self) -> StreamSummary {
        let waiting = self.gate.finish();
        self.take_waiting(waiting);
        for probation::Waiting { at, codec, packet } in self.probation.finish() {
            self.play(at, codec, packet);
        }
        self.jitter.flush(&mut self.pcm, &mut self.gaps);
        self.tell_gaps();
        let ended = self.dtmf.finish();
        self.tell_digits(ended);
        let counts = self.jitter.counts();
        StreamSummary {
            samples: self.jitter.position(),
            rate: self.rate,
            lost: counts.lost,
            late: counts.late,
            duplicates: counts.duplicates,
            gap_samples: counts.gap_samples,
            foreign: self.counts.foreign + self.gate.waiting(),
            strange: self.probation.refused(),
            handshakes_failed: self.protection.failed(),
            ..self.counts.clone()
        }
    }

    fn tell_gaps(&mut self) {
        let rate = self.rate;
        for gap in self.gaps.drain(..) {
            let (from, to) = (MediaTime::of_sample(gap.from, rate), MediaTime::of_sample(gap.to, rate));
            let full = self.events.len() >= MOST_EVENTS;
            match self.events.last_mut() {
                Some(StreamEventKind::Gap { to: last, .. }) if full => *last = to,
                _ => self.events.push(StreamEventKind::Gap { from, to }),
            }
        }
    }

    fn tell_digits(&mut self, ended: impl IntoIterator<Item = Digit>) {
        for digit in ended {
            let (first, position) = self.first.unwrap_or_default();
            let step = i64::from(digit.timestamp.wrapping_sub(first) as i32).max(0) as u64;
            let start = MediaTime::of_sample(position, self.rate).0 + MediaTime::of_sample(step, self.clock).0;
            let millis = (u64::from(digit.duration) * 1_000 / u64::from(self.clock.max(1))) as u32;
            if self.events.len() < MOST_EVENTS {
                self.events.push(StreamEventKind::Digit { digit: digit.digit, start: MediaTime(start), millis });
            }
        }
    }
}

fn first_audio(payloads: &[Payload]) -> Codec {
    payloads.iter().map(|payload| payload.codec).find(|codec| codec.is_audio()).unwrap_or(Codec::Pcmu)
}

#[cfg(test)]
mod tests {
    use super::super::codec::decode_ulaw;
    use super::super::secure::Sender;
    use super::*;
    use crate::pbx::sip::sdes::{Key, Suite};
    use uuid::Uuid;

    const PAYLOADS: [Payload; 3] = [
        Payload { number: 0, codec: Codec::Pcmu },
        Payload { number: 101, codec: Codec::TelephoneEvent },
        Payload { number: 13, codec: Codec::ComfortNoise },
    ];

    fn at(ms: u64) -> Now {
        Now::default().plus(Duration::from_millis(ms))
    }

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn packet(payload_type: u8, seq: u16, ts: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, payload_type];
        bytes.extend(seq.to_be_bytes());
        bytes.extend(ts.to_be_bytes());
        bytes.extend(7u32.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn stream() -> Stream {
        Stream::new(at(0), StreamId(Uuid::nil()), PAYLOADS.to_vec(), &Settings::default())
    }

    #[test]
    fn injected_packets_never_reach_the_sound() {
        let mut stream = stream();
        stream.handle_packet(at(0), from(4_000), &packet(0, 1, 0, &[0xff; 160]));
        for n in 0..1_000u16 {
            stream.handle_packet(at(1), from(6_666), &packet(0, 2 + n, 160 * u32::from(n), &[0x00; 160]));
        }
        stream.handle_packet(at(20), from(4_000), &packet(0, 2, 160, &[0xff; 160]));
        let frame = stream.take(1).unwrap();
        assert_eq!(frame.samples.len(), 320);
        assert!(frame.samples.iter().all(|sample| *sample == 0));
        assert_eq!(stream.finish().foreign, 1_000);
    }

    #[test]
    fn strange_sources_from_the_right_address_are_refused_while_the_right_one_speaks() {
        let mut stream = stream();
        for ms in 0..3_000u64 {
            if ms % 20 == 0 {
                let n = (ms / 20) as u16;
                stream.handle_packet(at(ms), from(4_000), &packet(0, n, 160 * u32::from(n), &[0xff; 160]));
            }
            let mut strange = packet(0, ms as u16, 160 * ms as u32, &[0x00; 160]);
            strange[11] = if ms % 2 == 0 { 66 } else { ms as u8 | 0x80 };
            stream.handle_packet(at(ms), from(4_000), &strange);
            stream.handle_timeout(at(ms));
        }
        let mut heard = 0;
        let summary = stream.finish();
        while let Some(frame) = stream.take(1) {
            assert!(frame.samples.iter().all(|sample| *sample == 0));
            heard += frame.samples.len();
        }
        assert_eq!((heard, summary.packets, summary.strange), (150 * 160, 150, 3_000));
    }

    #[test]
    fn a_source_that_follows_another_is_heard_whole() {
        let mut stream = stream();
        for n in 0..50u16 {
            stream.handle_packet(at(20 * u64::from(n)), from(4_000), &packet(0, n, 160 * u32::from(n), &[0xff; 160]));
        }
        for n in 50..100u16 {
            let mut other = packet(0, 9_000 + n, 77 + 160 * u32::from(n), &[0x00; 160]);
            other[11] = 9;
            stream.handle_packet(at(20 * u64::from(n)), from(4_000), &other);
            stream.handle_timeout(at(20 * u64::from(n)));
        }
        let summary = stream.finish();
        assert_eq!((summary.samples, summary.packets, summary.strange, summary.lost), (100 * 160, 100, 0, 0));
    }

    #[test]
    fn an_expected_source_is_the_only_one_even_before_the_first_packet() {
        let mut stream = stream();
        stream.expect_source(from(4_000));
        stream.handle_packet(at(0), from(6_666), &packet(0, 1, 0, &[0; 160]));
        assert!(stream.take(1).is_none());
        stream.handle_packet(at(0), from(4_000), &packet(0, 1, 0, &[0; 160]));
        assert!(stream.take(1).is_some());
    }

    #[test]
    fn a_short_stream_from_another_port_of_the_told_address_is_heard_whole_at_its_true_time() {
        let mut stream = stream();
        stream.set_source(Source::Near(from(4_000)));
        for n in 0..20u16 {
            let now = at(100 + 20 * u64::from(n));
            stream.handle_packet(now, from(5_000), &packet(0, n, 160 * u32::from(n), &[0x55; 160]));
            stream.handle_timeout(now);
        }
        assert_eq!(stream.origin(), None, "the told port may still speak");
        let summary = stream.finish();
        assert_eq!((summary.samples, summary.packets, summary.foreign, summary.lost), (20 * 160, 20, 0, 0));
        assert_eq!(stream.take_events(), [StreamEventKind::First { origin: at(100), rate: 8_000 }]);
    }

    #[test]
    fn a_sender_on_another_port_that_is_believed_late_keeps_its_true_time() {
        let mut stream = stream();
        stream.set_source(Source::Near(from(4_000)));
        for n in 0..50u16 {
            let now = at(100 + 20 * u64::from(n));
            stream.handle_packet(now, from(5_000), &packet(0, n, 160 * u32::from(n), &[0x55; 160]));
            stream.handle_timeout(now);
        }
        assert_eq!(stream.origin(), Some(at(100)));
        let summary = stream.finish();
        assert_eq!((summary.samples, summary.packets, summary.foreign, summary.lost), (50 * 160, 50, 0, 0));
        assert_eq!(stream.take_events(), [StreamEventKind::First { origin: at(100), rate: 8_000 }]);
    }

    /// 20 ms of each: the first `early` packets come before the keys, at 20 ms each.
    fn told_late(before: Source, after: Source, early: u16) -> (Stream, StreamSummary) {
        let suite = Suite::AesCm128Sha1Tag80;
        let key = |seed: u8| {
            let material: Vec<u8> = (0..30).map(|n| n ^ seed).collect();
            Key::new(suite, &material).unwrap()
        };
        let mut sender = Sender::new(&key(1)).unwrap();
        let mut stream = stream();
        stream.set_path(at(0), before, &Path { keying: Keying::Offered, ..Path::default() }, None);
        for n in 0..200u16 {
            let now = at(20 * u64::from(n));
            if n == early {
                let keying = Keying::Sdes { theirs: vec![key(1)], ours: key(2) };
                stream.set_path(now, after, &Path { keying, ..Path::default() }, None);
            }
            let bytes = sender.protect(&packet(0, n, 160 * u32::from(n), &[n as u8; 160])).unwrap();
            stream.handle_packet(now, from(4_000), &bytes);
            // in the clear, and from elsewhere
            stream.handle_packet(now, from(6_666), &packet(0, n, 160 * u32::from(n), &[0x00; 160]));
            stream.handle_timeout(now);
        }
        let summary = stream.finish();
        (stream, summary)
    }

    #[test]
    fn packets_that_come_before_their_keys_are_heard_in_order_when_the_keys_are_told() {
        let near = Source::Near(from(4_000));
        for (before, after) in [(Source::Untold, near), (Source::First, Source::First), (near, near)] {
            let (mut stream, summary) = told_late(before, after, 50);
            assert_eq!((summary.packets, summary.encrypted, summary.lost), (200, 200, 0), "{before:?} {summary:?}");
            let refused = summary.foreign + summary.unauthenticated + summary.replayed;
            assert_eq!(refused, 200, "{before:?} {summary:?}");
            let mut heard = Vec::new();
            while let Some(frame) = stream.take(1) {
                heard.extend(frame.samples);
            }
            let said: Vec<i16> = (0..200u8).flat_map(|n| [decode_ulaw(n); 160]).collect();
            assert!(heard == said, "{before:?}");
            assert_eq!(stream.origin(), Some(at(0)), "at their true time");
        }
    }

    #[test]
    fn packets_that_wait_for_their_keys_are_bounded_and_never_heard_without() {
        let near = Source::Near(from(4_000));
        let (_, summary) = told_late(Source::Untold, near, 150);
        assert_eq!((summary.packets, summary.lost), (64 + 50, 150 - 64), "{summary:?}");
        let (mut stream, summary) = told_late(Source::Untold, near, 200);
        assert!(stream.take(1).is_none(), "{summary:?}");
        assert_eq!((summary.packets, summary.foreign), (0, 400), "{summary:?}");
    }

    #[test]
    fn what_another_port_injected_before_the_told_one_spoke_is_never_heard() {
        let mut stream = stream();
        stream.set_source(Source::Near(from(4_000)));
        stream.handle_packet(at(0), from(6_666), &packet(0, 900, 0, &[0x00; 160]));
        stream.handle_packet(at(20), from(4_000), &packet(0, 1, 0, &[0xff; 160]));
        stream.handle_packet(at(40), from(6_666), &packet(0, 901, 160, &[0x00; 160]));
        let summary = stream.finish();
        assert_eq!((summary.samples, summary.packets, summary.foreign), (160, 1, 2));
        assert!(stream.take(1).unwrap().samples.iter().all(|sample| *sample == 0));
    }

    #[test]
    fn digits_and_comfort_noise_take_their_time_without_being_loss() {
        let mut stream = stream();
        stream.handle_packet(at(0), from(4_000), &packet(0, 1, 0, &[0xff; 160]));
        for (n, flags) in [(2u16, 10u8), (3, 10), (4, 0x8a), (5, 0x8a), (6, 0x8a)] {
            stream.handle_packet(at(20 * u64::from(n)), from(4_000), &packet(101, n, 160, &[7, flags, 1, 64]));
        }
        stream.handle_packet(at(130), from(4_000), &packet(13, 7, 960, &[60]));
        stream.handle_packet(at(200), from(4_000), &packet(0, 8, 1_600, &[0xff; 160]));
        assert_eq!(stream.take(1).unwrap().samples.len(), 1_760);
        let events = stream.take_events();
        let digits: Vec<&StreamEventKind> =
            events.iter().filter(|event| matches!(event, StreamEventKind::Digit { .. })).collect();
        assert_eq!(digits, [&StreamEventKind::Digit { digit: '7', start: MediaTime(20_000), millis: 40 }]);
        assert!(!events.iter().any(|event| matches!(event, StreamEventKind::Gap { .. })));
        let summary = stream.finish();
        assert_eq!((summary.samples, summary.lost, summary.gap_samples), (1_760, 0, 0));
    }

    #[test]
    fn a_quiet_stream_is_reported_once_and_stays_open() {
        let mut stream = stream();
        stream.handle_packet(at(0), from(4_000), &packet(0, 1, 0, &[0xff; 160]));
        stream.handle_timeout(at(10_000));
        stream.handle_timeout(at(20_000));
        let timeouts = stream.take_events().into_iter().filter(|event| *event == StreamEventKind::Timeout).count();
        assert_eq!(timeouts, 1);
        stream.handle_packet(at(30_000), from(4_000), &packet(0, 2, 240_000, &[0xff; 160]));
        let mut length = 0;
        while let Some(frame) = stream.take(1) {
            assert_eq!(frame.position, length);
            assert!(frame.samples.len() <= 8_000, "a frame is a second at most");
            length += frame.samples.len() as u64;
        }
        assert_eq!(length, 240_160);
    }
}

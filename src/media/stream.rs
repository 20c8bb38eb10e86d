//! One stream: packets of one speaker in, PCM in true time and events out; foreign packets stay outside.

use std::net::SocketAddr;
use std::time::Duration;

use super::codec::Decoder;
use super::dtmf::{Digit, Dtmf};
use super::jitter::{Audio, Gap, Jitter};
use super::settings::Settings;
use super::{Codec, Frame, Payload, StreamEventKind, StreamSummary, rtp};
use crate::pbx::StreamId;
use crate::time::{MediaTime, Mono, Now};

/// Events kept until they are taken; more gaps than that in one step are told as one.
const MOST_EVENTS: usize = 256;

/// The receiving end of one stream.
#[derive(Debug)]
pub struct Stream {
    id: StreamId,
    payloads: Vec<Payload>,
    accepted: u128,
    rate: u32,
    clock: u32,
    jitter: Jitter,
    decoder: Decoder,
    dtmf: Dtmf,
    /// Whose packets are taken; everybody else's are foreign.
    source: Option<SocketAddr>,
    /// Set by signalling: only this source may become `source`.
    expected: Option<SocketAddr>,
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
    packets: u64,
    foreign: u64,
    malformed: u64,
}

impl Stream {
    /// A stream that waits for its first packet.
    pub fn new(now: Now, id: StreamId, payloads: Vec<Payload>, settings: &Settings) -> Self {
        let audio =
            payloads.iter().find(|payload| is_audio(payload.codec)).map_or(Codec::Pcmu, |payload| payload.codec);
        let window = Duration::from_millis(u64::from(settings.reorder_window_ms));
        Self {
            id,
            accepted: rtp::accept(payloads.iter().map(|payload| payload.number)),
            payloads,
            rate: audio.pcm_rate(),
            clock: audio.clock(),
            jitter: Jitter::new(audio.clock(), audio.pcm_rate(), window),
            decoder: Decoder::default(),
            dtmf: Dtmf::default(),
            source: None,
            expected: None,
            origin: None,
            first: None,
            last_packet: now.mono,
            silent: false,
            timeout: Duration::from_millis(u64::from(settings.no_rtp_timeout_ms)),
            pcm: Vec::new(),
            taken: 0,
            gaps: Vec::new(),
            events: Vec::new(),
            packets: 0,
            foreign: 0,
            malformed: 0,
        }
    }

    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Samples a second of what [`Stream::take`] gives.
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

    /// Only `source` may send; whoever was latched before is foreign from now on.
    pub fn expect_source(&mut self, source: SocketAddr) {
        self.expected = Some(source);
        if self.source != Some(source) {
            self.source = None;
        }
    }

    /// The next valid packet decides anew who sends (after a re-negotiation).
    pub fn relatch(&mut self) {
        self.source = None;
        self.expected = None;
    }

    /// Other payload types after a re-negotiation. The PCM rate stays; a codec of another rate is not taken.
    pub fn set_payloads(&mut self, payloads: Vec<Payload>) {
        self.payloads =
            payloads.into_iter().filter(|p| !is_audio(p.codec) || p.codec.pcm_rate() == self.rate).collect();
        self.accepted = rtp::accept(self.payloads.iter().map(|payload| payload.number));
    }

    /// Takes one datagram.
    pub fn handle_packet(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        let allowed = self.source.or(self.expected);
        if allowed.is_some_and(|source| source != from) {
            self.foreign += 1;
            return;
        }
        let parsed = rtp::parse(datagram, self.accepted);
        let Some((packet, codec)) = parsed.and_then(|packet| {
            let codec = self.payloads.iter().find(|payload| payload.number == packet.payload_type)?.codec;
            Some((packet, codec))
        }) else {
            self.malformed += 1;
            return;
        };
        let mut samples = Vec::new();
        if is_audio(codec) && self.decoder.decode(codec, &packet.payload, &mut samples).is_none() {
            self.malformed += 1;
            return;
        }
        self.source = Some(from);
        self.packets += 1;
        self.last_packet = now.mono;
        self.silent = false;
        if self.origin.is_none() {
            self.origin = Some(now);
            self.first = Some((packet.timestamp, 0));
            self.events.push(StreamEventKind::First { origin: now, rate: self.rate });
        }
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
        let audio = Audio { sequence: packet.sequence, timestamp, samples };
        self.jitter.insert(now.mono, packet.ssrc, audio, &mut self.pcm, &mut self.gaps);
        self.tell_gaps();
    }

    /// When [`Stream::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        let silence = (!self.silent).then(|| self.last_packet + self.timeout);
        [self.jitter.due(), self.dtmf.due(), silence].into_iter().flatten().min()
    }

    /// Gives up what was waited for long enough.
    pub fn handle_timeout(&mut self, now: Now) {
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
        self.jitter.flush(&mut self.pcm, &mut self.gaps);
        self.tell_gaps();
        let ended = self.dtmf.finish();
        self.tell_digits(ended);
        let counts = self.jitter.counts();
        StreamSummary {
            samples: self.jitter.position(),
            rate: self.rate,
            packets: self.packets,
            lost: counts.lost,
            late: counts.late,
            duplicates: counts.duplicates,
            foreign: self.foreign,
            malformed: self.malformed,
            gap_samples: counts.gap_samples,
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

fn is_audio(codec: Codec) -> bool {
    matches!(codec, Codec::Pcmu | Codec::Pcma | Codec::Opus)
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn an_expected_source_is_the_only_one_even_before_the_first_packet() {
        let mut stream = stream();
        stream.expect_source(from(4_000));
        stream.handle_packet(at(0), from(6_666), &packet(0, 1, 0, &[0; 160]));
        assert!(stream.take(1).is_none());
        stream.handle_packet(at(0), from(4_000), &packet(0, 1, 0, &[0; 160]));
        assert!(stream.take(1).is_some());
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

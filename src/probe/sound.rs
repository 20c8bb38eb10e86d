//! What is heard in a test: RTP counted and timed (RFC 3550 §6.4.1), and which of the probe's tones is in it.

use std::f64::consts::TAU;

use crate::media::codec::{decode_alaw, decode_ulaw, encode_ulaw};
use crate::media::rtp::{Parsed, accept, parse};

/// The tone of the first and of the second party, in Hz; whole periods in 20 ms, no harmonics of each other.
pub const TONES: [u32; 2] = [700, 1_150];
/// Samples a second of G.711.
const RATE: u32 = 8_000;
/// Samples of one packet of 20 ms.
pub const FRAME: usize = 160;
/// Most samples that are listened to.
const HEARD_MAX: usize = 3 * RATE as usize;

/// The figures of one stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Packets that came, each counted once.
    pub packets: u32,
    /// Packets that should have come between the first and the last one.
    pub expected: u32,
    /// Packets that came twice or out of order.
    pub disordered: u32,
    /// Interarrival jitter at the end, in microseconds.
    pub jitter_us: u64,
    /// Time of one packet, in milliseconds, as most of them had it.
    pub ptime_ms: u32,
    /// Payload type of most packets.
    pub payload: u8,
    /// From the first to the last packet, in milliseconds.
    pub span_ms: u64,
}

impl Measured {
    /// Lost packets in per cent.
    pub fn loss(&self) -> f64 {
        100.0 * f64::from(self.expected.saturating_sub(self.packets)) / f64::from(self.expected.max(1))
    }
}

/// Counts one stream; give it each packet with the microsecond of its arrival.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    first: Option<(u16, u64)>,
    last: Option<(u64, u32, u64)>,
    highest: u64,
    /// Bit n: packet `highest - n` came.
    window: u64,
    seen: u32,
    once: u32,
    disordered: u32,
    jitter: f64,
    steps: [u32; 8],
    payload: u8,
    ssrc: u32,
    pcm: Vec<i16>,
    loud: bool,
}

/// Packet times that are told apart, in milliseconds.
const PTIMES: [u32; 8] = [5, 10, 20, 30, 40, 50, 60, 80];

impl Meter {
    /// Takes a datagram; false when it is no RTP of these payload types. A new SSRC starts the count anew.
    pub fn push(&mut self, bytes: &[u8], payloads: &[u8], at_us: u64) -> bool {
        let Some(packet) = parse(bytes, accept(payloads.iter().copied())) else { return false };
        if self.seen > 0 && self.ssrc != packet.ssrc {
            *self = Meter { pcm: std::mem::take(&mut self.pcm), ..Meter::default() };
        }
        self.ssrc = packet.ssrc;
        self.count(&packet, at_us);
        self.listen(&packet);
        true
    }

    fn count(&mut self, packet: &Parsed, at_us: u64) {
        self.seen = self.seen.saturating_add(1);
        self.payload = packet.payload_type;
        let (base, _) = *self.first.get_or_insert((packet.sequence, at_us));
        let from_base = u64::from(packet.sequence.wrapping_sub(base));
        // sequence numbers are 16 bits: the nearest value to the highest one
        let turn = 1 << 16;
        let near = (self.highest / turn) * turn + from_base;
        let extended = [near.checked_sub(turn), Some(near), Some(near + turn)]
            .into_iter()
            .flatten()
            .min_by_key(|value| value.abs_diff(self.highest))
            .unwrap_or(near);
        let in_order = self.seen == 1 || extended > self.highest;
        if in_order {
            let ahead = u32::try_from(extended.saturating_sub(self.highest)).unwrap_or(u32::MAX);
            self.window = self.window.checked_shl(ahead).unwrap_or(0) | 1;
            self.once = self.once.saturating_add(1);
        } else {
            self.disordered = self.disordered.saturating_add(1);
            let bit = 1_u64.checked_shl(u32::try_from(self.highest - extended).unwrap_or(u32::MAX)).unwrap_or(0);
            if bit & !self.window != 0 {
                self.window |= bit;
                self.once = self.once.saturating_add(1);
            }
        }
        if let Some((last, timestamp, arrived)) = self.last.filter(|_| in_order) {
            let step = packet.timestamp.wrapping_sub(timestamp);
            let media_us = f64::from(step) * 1e6 / f64::from(RATE);
            let wait_us = at_us.saturating_sub(arrived) as f64;
            if step < RATE {
                self.jitter += ((wait_us - media_us).abs() - self.jitter) / 16.0;
            }
            let ms = step * 1_000 / RATE;
            if let Some(at) = PTIMES.iter().position(|known| *known == ms).filter(|_| extended == last + 1) {
                self.steps[at] += 1;
            }
        }
        if in_order {
            self.highest = extended;
            self.last = Some((extended, packet.timestamp, at_us));
        }
    }

    fn listen(&mut self, packet: &Parsed) {
        let decode = match packet.payload_type {
            0 => decode_ulaw,
            8 => decode_alaw,
            _ => return,
        };
        let room = HEARD_MAX.saturating_sub(self.pcm.len());
        self.pcm.extend(packet.payload.iter().take(room).map(|byte| decode(*byte)));
        self.loud |= self.pcm.iter().rev().take(FRAME).any(|sample| sample.unsigned_abs() > 1_000);
    }

    /// The figures; `None` when nothing came.
    pub fn measured(&self) -> Option<Measured> {
        let ((_, first_us), (highest, _, last_us)) = (self.first?, self.last?);
        let most = (0..PTIMES.len()).max_by_key(|at| self.steps[*at]).filter(|at| self.steps[*at] > 0);
        Some(Measured {
            packets: self.once,
            expected: u32::try_from(highest + 1).unwrap_or(u32::MAX),
            disordered: self.disordered,
            jitter_us: self.jitter as u64,
            ptime_ms: most.map_or(0, |at| PTIMES[at]),
            payload: self.payload,
            span_ms: last_us.saturating_sub(first_us) / 1_000,
        })
    }

    /// Whether anything but silence was in it.
    pub fn is_loud(&self) -> bool {
        self.loud
    }

    /// Whether `own` is in it and `other` is at least 20 dB below.
    pub fn holds_only(&self, own: u32, other: u32) -> bool {
        // the first 200 ms may hold what came before the two parties were joined
        let pcm = self.pcm.get(10 * FRAME..).unwrap_or_default();
        let whole: f64 = pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        let (own, other) = (power(pcm, own), power(pcm, other));
        pcm.len() >= 20 * FRAME && own > 0.25 * whole && own > 100.0 * other
    }
}

/// Energy of one frequency (Goertzel), comparable with the sum of squares: a pure tone gives all of it.
fn power(pcm: &[i16], hz: u32) -> f64 {
    let mut energy = 0.0;
    for block in pcm.chunks_exact(FRAME) {
        let turn = 2.0 * (TAU * f64::from(hz) / f64::from(RATE)).cos();
        let (mut one, mut two) = (0.0, 0.0);
        for sample in block {
            (one, two) = (f64::from(*sample) + turn * one - two, one);
        }
        energy += (one * one + two * two - turn * one * two) * 2.0 / block.len() as f64;
    }
    energy
}

/// Our side of a stream: a tone in µ-law, one packet of 20 ms after the other.
#[derive(Clone, Debug)]
pub struct Voice {
    hz: u32,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

impl Voice {
    /// A voice of `hz` (0: silence).
    pub fn new(hz: u32, ssrc: u32) -> Voice {
        Voice { hz, sequence: (ssrc >> 8) as u16, timestamp: ssrc.rotate_left(7), ssrc }
    }

    /// The next packet.
    pub fn next_packet(&mut self) -> Vec<u8> {
        let mut packet = self.header(0, false);
        let start = self.timestamp;
        packet.extend((0..FRAME as u32).map(|n| {
            let at = f64::from(start.wrapping_add(n) % RATE) / f64::from(RATE);
            encode_ulaw(((TAU * f64::from(self.hz) * at).sin() * 8_000.0) as i16)
        }));
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        packet
    }

    /// The packets of one digit (RFC 4733), 100 ms long, with the payload type that was agreed.
    pub fn digit(&mut self, event: u8, payload: u8) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for step in 1..=7_u16 {
            let (end, duration) = (step >= 5, step.min(5) * FRAME as u16);
            let mut packet = self.header(payload, step == 1);
            packet.extend([event, if end { 0x80 | 10 } else { 10 }]);
            packet.extend(duration.to_be_bytes());
            packets.push(packet);
        }
        self.timestamp = self.timestamp.wrapping_add(5 * FRAME as u32);
        packets
    }

    fn header(&mut self, payload: u8, marker: bool) -> Vec<u8> {
        let mut packet = vec![0x80, payload | if marker { 0x80 } else { 0 }];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(voice: &mut Voice, meter: &mut Meter, packets: usize) {
        for n in 0..packets {
            assert!(meter.push(&voice.next_packet(), &[0], n as u64 * 20_000));
        }
    }

    #[test]
    fn a_tone_is_told_from_the_other_and_from_both_together() {
        let [a, b] = TONES;
        let mut meter = Meter::default();
        hear(&mut Voice::new(a, 0xffff_0077), &mut meter, 50);
        assert!(meter.holds_only(a, b) && !meter.holds_only(b, a) && meter.is_loud());
        let mut silent = Meter::default();
        hear(&mut Voice::new(0, 7), &mut silent, 50);
        assert!(!silent.holds_only(a, b) && !silent.is_loud());
        let mut mixed = Meter::default();
        let (mut one, mut two) = (Voice::new(a, 7), Voice::new(b, 7));
        for n in 0..50 {
            let (first, second) = (one.next_packet(), two.next_packet());
            let mut sum = first[..12].to_vec();
            let both = first[12..].iter().zip(&second[12..]);
            sum.extend(both.map(|(x, y)| encode_ulaw(decode_ulaw(*x) / 2 + decode_ulaw(*y) / 2)));
            assert!(mixed.push(&sum, &[0], n * 20_000));
        }
        assert!(!mixed.holds_only(a, b) && !mixed.holds_only(b, a));
    }

    #[test]
    fn loss_disorder_and_jitter_are_counted_over_the_wrap() {
        let mut voice = Voice::new(700, 0xffff_f000);
        let mut meter = Meter::default();
        let mut packets: Vec<Vec<u8>> = (0..40).map(|_| voice.next_packet()).collect();
        packets.swap(10, 11);
        let mut at = 0;
        for (n, packet) in packets.iter().enumerate().filter(|(n, _)| *n != 20 && *n != 21) {
            at = n as u64 * 20_000;
            meter.push(packet, &[0], at);
        }
        meter.push(&packets[39], &[0], at);
        let measured = meter.measured().unwrap();
        assert_eq!((measured.expected, measured.disordered, measured.ptime_ms), (40, 2, 20));
        assert_eq!(measured.packets, 38);
        assert!(measured.jitter_us > 0 && measured.jitter_us < 20_000);
    }

    #[test]
    fn anything_else_is_no_sound() {
        let mut meter = Meter::default();
        for bytes in [&b"\x00\x01"[..], b"", &[0x80, 18, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 1]] {
            assert!(!meter.push(bytes, &[0], 0));
        }
        assert_eq!(meter.measured(), None);
    }
}

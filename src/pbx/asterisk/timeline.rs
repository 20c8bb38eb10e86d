//! Sound without a clock into true time: PCM of a connection becomes RTP packets whose sequence and timestamps are made here. Sans-IO.
//!
//! AudioSocket and chan_websocket carry samples and no time. Samples are counted, and the count is held against the arrival. A network that
//! stands still and then delivers everything loses nothing: what comes late is waited for and goes on where it stopped. A hole that is not
//! made up is a gap (a skipped sequence number, RFC 3550 §5.1), so that what follows stands where it was said. Nothing runs ahead of the
//! clock: what is more than real time is left out and counted.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::{Mono, Now};

/// How far sound may be behind its arrival before the hole is a gap.
pub const TOLERANCE: Duration = Duration::from_millis(100);
/// How long sound that is late is waited with: the rest of a burst comes at once.
pub const SETTLE: Duration = Duration::from_millis(60);
/// How far sound may be ahead of its arrival; more is left out.
pub const AHEAD: Duration = Duration::from_millis(500);
/// Without sound, what lies this far back is given up as lost …
pub const STALL: Duration = Duration::from_millis(1_000);
/// … again and again after this time.
pub const STALL_AGAIN: Duration = Duration::from_millis(500);
/// Sound that is waited with, at most; more is placed at once.
const HELD: Duration = Duration::from_secs(2);
/// Longest payload of a packet, in bytes: 40 ms at 16 kHz.
const PAYLOAD: usize = 1_280;

/// What the samples are. Asterisk's names: `slin`, `slin16`, `ulaw`, `alaw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 16-bit PCM, little-endian, 8 kHz.
    Slin,
    /// The same at 16 kHz.
    Slin16,
    /// G.711 µ-law, 8 kHz.
    Ulaw,
    /// G.711 A-law, 8 kHz.
    Alaw,
}

impl Format {
    /// 16-bit PCM of a rate; only 8,000 and 16,000 Hz are taken.
    pub fn of_rate(rate: u32) -> Option<Format> {
        match rate {
            8_000 => Some(Format::Slin),
            16_000 => Some(Format::Slin16),
            _ => None,
        }
    }

    /// Of Asterisk's name.
    pub fn of_name(name: &str) -> Option<Format> {
        match name {
            "slin" | "slin8" => Some(Format::Slin),
            "slin16" => Some(Format::Slin16),
            "ulaw" => Some(Format::Ulaw),
            "alaw" => Some(Format::Alaw),
            _ => None,
        }
    }

    /// Asterisk's name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Slin => "slin",
            Format::Slin16 => "slin16",
            Format::Ulaw => "ulaw",
            Format::Alaw => "alaw",
        }
    }

    /// Samples a second.
    pub fn rate(self) -> u32 {
        if self == Format::Slin16 { 16_000 } else { 8_000 }
    }

    /// Bytes of a sample.
    pub fn width(self) -> usize {
        if matches!(self, Format::Slin | Format::Slin16) { 2 } else { 1 }
    }

    /// RTP payload type of the packets: 0 and 8 as in RFC 3551, 96 and 97 for 16-bit PCM in network order at 8 and 16 kHz.
    pub fn payload_type(self) -> u8 {
        match self {
            Format::Slin => 96,
            Format::Slin16 => 97,
            Format::Ulaw => 0,
            Format::Alaw => 8,
        }
    }

    /// One sample of silence.
    fn silence(self) -> &'static [u8] {
        match self {
            Format::Slin | Format::Slin16 => &[0, 0],
            Format::Ulaw => &[0xff],
            Format::Alaw => &[0xd5],
        }
    }
}

/// An RTP packet for the media stage, see [`Format::payload_type`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it is to be taken as received.
    pub at: Now,
    /// The datagram.
    pub bytes: Vec<u8>,
}

/// What did not fit the clock so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples that never came.
    pub lost: u64,
    /// Samples that were more than real time, left out.
    pub surplus: u64,
}

/// The time of one stream.
#[derive(Debug)]
pub struct Timeline {
    format: Format,
    ssrc: u32,
    sequence: u16,
    /// When sample 0 was heard.
    origin: Option<Mono>,
    /// Samples that have their place.
    next: u64,
    /// Samples that wait, in network order, and since when.
    held: Vec<u8>,
    since: Mono,
    /// When sound came last, or a stall was told.
    last: Mono,
    /// Time was given up since sound came last: what comes now may be older than that.
    stalled: bool,
    counts: Counts,
    out: VecDeque<Packet>,
}

impl Timeline {
    /// A timeline that begins with the first sound.
    pub fn new(format: Format, ssrc: u32) -> Self {
        Self {
            format,
            ssrc,
            sequence: 0,
            origin: None,
            next: 0,
            held: Vec::new(),
            since: Mono(0),
            last: Mono(0),
            stalled: false,
            counts: Counts::default(),
            out: VecDeque::new(),
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Counters.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes sound as it came; `false` when it is not whole samples, and then nothing is taken.
    pub fn push(&mut self, now: Now, sound: &[u8]) -> bool {
        if !sound.len().is_multiple_of(self.format.width()) {
            return false;
        }
        if sound.is_empty() {
            return true;
        }
        if self.held.is_empty() {
            self.since = now.mono;
        }
        if self.format.width() == 2 {
            let (pairs, _) = sound.as_chunks::<2>();
            self.held.extend(pairs.iter().flat_map(|[low, high]| [*high, *low]));
        } else {
            self.held.extend_from_slice(sound);
        }
        self.last = now.mono;
        let most = self.samples_in(HELD);
        if self.stalled {
            // only the newest can still have a place
            self.leave_out(self.waiting().saturating_sub(most));
            self.settle(now, false);
        } else {
            self.settle(now, self.waiting() >= most);
        }
        true
    }

    /// When [`Timeline::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        if !self.held.is_empty() {
            return Some(self.since + SETTLE);
        }
        self.origin.map(|_| self.last + self.patience())
    }

    /// Places what waited long enough, and gives up what will not come any more.
    pub fn handle_timeout(&mut self, now: Now) {
        if !self.held.is_empty() {
            return self.settle(now, self.since + SETTLE <= now.mono);
        }
        if self.origin.is_none() || now.mono < self.last + self.patience() {
            return;
        }
        (self.last, self.stalled) = (now.mono, true);
        let until = self.position(now.mono).saturating_sub(self.samples_in(STALL));
        if until > self.next {
            self.skip(until - self.next);
            let silence = self.format.silence();
            self.send(now, silence, 1);
        }
    }

    /// Places everything; nothing more will come.
    pub fn finish(&mut self, now: Now) {
        if !self.held.is_empty() {
            self.settle(now, true);
        }
    }

    /// The next packet.
    pub fn poll(&mut self) -> Option<Packet> {
        self.out.pop_front()
    }

    /// Decides where what waits belongs; not before the time for it, unless it is in time.
    fn settle(&mut self, now: Now, decide: bool) {
        let waiting = self.waiting();
        let Some(_) = self.origin else {
            if decide {
                self.begin(now);
            }
            return;
        };
        let (arrived, end) = (self.position(self.last), self.next + waiting);
        let behind = arrived.saturating_sub(end);
        if !decide && (self.stalled || behind > self.samples_in(TOLERANCE)) {
            return;
        }
        if behind > self.samples_in(TOLERANCE) {
            self.skip(behind);
        }
        let ahead = if self.stalled { 0 } else { self.samples_in(AHEAD) };
        self.leave_out(end.saturating_sub(arrived + ahead));
        self.stalled = false;
        self.place(now);
    }

    /// The oldest of what waits has no place.
    fn leave_out(&mut self, samples: u64) {
        let samples = samples.min(self.waiting());
        self.counts.surplus += samples;
        let bytes = usize::try_from(samples).unwrap_or(usize::MAX).saturating_mul(self.format.width());
        self.held.drain(..bytes.min(self.held.len()));
    }

    /// Pause before a stall is told (again).
    fn patience(&self) -> Duration {
        if self.stalled { STALL_AGAIN } else { STALL }
    }

    /// The first sound: its end was heard when it came.
    fn begin(&mut self, now: Now) {
        let length = self.duration_of(self.waiting());
        let since = now.mono.since(self.last);
        let earlier = length + since;
        let origin = Now {
            mono: Mono(now.mono.0.saturating_sub(u64::try_from(earlier.as_nanos()).unwrap_or(u64::MAX))),
            wall: now.wall - earlier,
        };
        self.origin = Some(origin.mono);
        self.place(origin);
    }

    /// Packets of what waits, taken as received at `at`.
    fn place(&mut self, at: Now) {
        let held = std::mem::take(&mut self.held);
        for part in held.chunks(PAYLOAD) {
            self.send(at, part, (part.len() / self.format.width()) as u64);
        }
    }

    fn skip(&mut self, samples: u64) {
        self.counts.lost += samples;
        self.next += samples;
        self.sequence = self.sequence.wrapping_add(1);
    }

    fn send(&mut self, at: Now, payload: &[u8], samples: u64) {
        let mut bytes = Vec::with_capacity(12 + payload.len());
        bytes.extend([0x80, self.format.payload_type()]);
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend((self.next as u32).to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.out.push_back(Packet { at, bytes });
        self.sequence = self.sequence.wrapping_add(1);
        self.next += samples;
    }

    fn waiting(&self) -> u64 {
        (self.held.len() / self.format.width()) as u64
    }

    /// The sample that is heard at a time.
    fn position(&self, at: Mono) -> u64 {
        self.samples_in(at.since(self.origin.unwrap_or(at)))
    }

    fn samples_in(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() * u128::from(self.format.rate()) / 1_000_000_000).unwrap_or(u64::MAX)
    }

    fn duration_of(&self, samples: u64) -> Duration {
        Duration::from_nanos(samples.saturating_mul(1_000_000_000 / u64::from(self.format.rate())))
    }
}

#[cfg(test)]
#[path = "tests/timeline.rs"]
mod tests;

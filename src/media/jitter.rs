//! Packets in network order to PCM in true time: never stretched, holes filled with silence and told.
//!
//! Packets are put in order by sequence number and placed by timestamp. A hole in the sequence that is not filled within the reorder window is a
//! gap (lost audio); a hole in the timestamps alone is silence that the sender did not send (DTX, comfort noise, a digit).

mod place;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::Codec;
use super::codec::Decoder;
use crate::time::Mono;
use place::Source;

/// Packets held back at most; more than that and the oldest hole is given up at once.
const MOST_HELD: usize = 256;
/// Without packets the stream's time goes on as silence, this far behind the clock: a stall shorter than this loses nothing.
const IDLE: Duration = Duration::from_secs(2);

/// One packet's audio with its RTP numbers.
#[derive(Clone, Debug)]
pub struct Audio {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// What it carries.
    pub sound: Sound,
}

/// What a packet carries.
#[derive(Clone, Debug)]
pub enum Sound {
    /// PCM; empty for comfort noise and digits, which only move time.
    Pcm(Vec<i16>),
    /// A payload that must be decoded in order, because its codec remembers, and the samples that it will give.
    Coded(Codec, Bytes, usize),
}

impl Sound {
    fn len(&self) -> usize {
        match self {
            Sound::Pcm(samples) => samples.len(),
            Sound::Coded(_, _, samples) => *samples,
        }
    }
}

/// A hole of lost audio, in samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First missing sample.
    pub from: u64,
    /// First sample after the hole.
    pub to: u64,
}

/// What the counters of a stream say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that never came.
    pub lost: u64,
    /// Packets whose place had been passed on.
    pub late: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Samples of silence in place of lost audio.
    pub gap_samples: u64,
}

#[derive(Debug)]
struct Held {
    position: u64,
    arrived: Mono,
    sound: Sound,
}

/// The jitter buffer of one stream.
#[derive(Debug)]
pub struct Jitter {
    window: Duration,
    clock: u32,
    rate: u32,
    decoder: Decoder,
    source: Option<Source>,
    held: BTreeMap<i64, Held>,
    counts: Counts,
    /// Where the next sample goes.
    next: u64,
    /// Arrival of the first packet.
    began: Mono,
    /// The SSRC before this one, and when it was replaced: its stragglers must not change the source back.
    previous: Option<(u32, Mono)>,
}

impl Jitter {
    /// `clock`: RTP clock in Hz; `rate`: PCM in Hz; `window`: how long a missing packet is waited for.
    pub fn new(clock: u32, rate: u32, window: Duration) -> Self {
        let (clock, rate) = (clock.max(1), rate.max(1));
        Self {
            window,
            clock,
            rate,
            decoder: Decoder::new(rate),
            source: None,
            held: BTreeMap::new(),
            counts: Counts::default(),
            next: 0,
            began: Mono(0),
            previous: None,
        }
    }

    /// Counters so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Position of the next sample: the length of the stream so far.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// What comes from now on counts with this clock (another codec).
    pub fn set_clock(&mut self, clock: u32) {
        if clock != self.clock && clock > 0 {
            self.clock = clock;
            if let Some(source) = &mut self.source {
                source.new_clock = true;
            }
        }
    }

    /// Takes a packet; appends what is in order now to `pcm` and tells gaps.
    pub fn insert(&mut self, now: Mono, ssrc: u32, audio: Audio, pcm: &mut Vec<i16>, gaps: &mut Vec<Gap>) {
        if self.source.as_ref().is_none_or(|source| source.ssrc != ssrc) {
            if self.previous.is_some_and(|(old, since)| old == ssrc && now < since + self.window) {
                self.counts.late += 1;
                return;
            }
            self.previous = self.source.as_ref().map(|source| (source.ssrc, now));
            self.change_source(now, ssrc, &audio, pcm, gaps);
        }
        let Some(sequence) = self.extend(now, &audio, pcm, gaps) else { return };
        if self.is_past(sequence) {
            return;
        }
        let position = self.place(now, sequence, &audio);
        if self.held.contains_key(&sequence) {
            self.counts.duplicates += 1;
            return;
        }
        self.held.insert(sequence, Held { position, arrived: now, sound: audio.sound });
        self.release(now, pcm, gaps);
    }

    /// When [`Jitter::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        self.held.values().next().map(|held| held.arrived + self.window)
    }

    /// Gives up holes that were waited for long enough; without packets lets time go on as silence.
    pub fn handle_timeout(&mut self, now: Mono, pcm: &mut Vec<i16>, gaps: &mut Vec<Gap>) {
        self.release(now, pcm, gaps);
        let Some(source) = self.source.as_ref().filter(|_| self.held.is_empty()) else { return };
        let behind = if source.resting { self.window } else { IDLE };
        let idle = now.since(source.arrived).saturating_sub(behind);
        if !idle.is_zero() {
            self.silence_to(source.position + self.samples_in(idle), pcm);
        }
    }

    fn silence_to(&mut self, position: u64, pcm: &mut Vec<i16>) {
        let hole = usize::try_from(position.saturating_sub(self.next)).unwrap_or(0);
        pcm.resize(pcm.len() + hole, 0);
        self.next += hole as u64;
    }

    /// Gives out everything that is held; nothing more will come.
    pub fn flush(&mut self, pcm: &mut Vec<i16>, gaps: &mut Vec<Gap>) {
        while self.take_first(pcm, gaps) {}
    }

    /// Gives out what is in order, and what follows a hole that was waited for long enough.
    fn release(&mut self, now: Mono, pcm: &mut Vec<i16>, gaps: &mut Vec<Gap>) {
        loop {
            let Some((sequence, held)) = self.held.first_key_value() else { return };
            let in_order = self.source.as_ref().is_some_and(|source| *sequence <= source.expected);
            let waited = held.arrived + self.window <= now || self.held.len() > MOST_HELD;
            if !in_order && !waited {
                return;
            }
            self.take_first(pcm, gaps);
        }
    }

    fn take_first(&mut self, pcm: &mut Vec<i16>, gaps: &mut Vec<Gap>) -> bool {
        let Some((sequence, held)) = self.held.pop_first() else { return false };
        let missing = self.source.as_mut().map_or(0, |source| {
            let missing = (sequence - source.expected).max(0);
            let passed = u32::try_from(missing + 1).unwrap_or(u32::MAX);
            source.given = source.given.checked_shl(passed).unwrap_or(0) | 1;
            source.expected = sequence + 1;
            missing
        });
        self.counts.lost += missing as u64;
        let hole = held.position.saturating_sub(self.next);
        if hole > 0 {
            if missing > 0 {
                gaps.push(Gap { from: self.next, to: held.position });
                self.counts.gap_samples += hole;
            }
            self.silence_to(held.position, pcm);
            if missing > 0 {
                self.mend(hole, &held.sound, pcm);
            }
        }
        let samples = match held.sound {
            Sound::Pcm(samples) => samples,
            Sound::Coded(codec, payload, length) => {
                let mut samples = Vec::with_capacity(length);
                self.decoder.decode(codec, &payload, &mut samples);
                // What cannot be decoded after all is silence of its own length.
                samples.resize(length, 0);
                samples
            }
        };
        // A packet that overlaps what was given out (a sender that repeats time) only adds what is new.
        let skip = usize::try_from(self.next.saturating_sub(held.position)).unwrap_or(usize::MAX);
        let fresh = samples.get(skip..).unwrap_or_default();
        pcm.extend_from_slice(fresh);
        self.next += fresh.len() as u64;
        true
    }

    /// Puts what the packet after a hole tells of the hole into its end; the hole stays a gap.
    fn mend(&mut self, hole: u64, sound: &Sound, pcm: &mut [i16]) {
        let Sound::Coded(codec, payload, _) = sound else { return };
        let mended = self.decoder.conceal(*codec, usize::try_from(hole).unwrap_or(usize::MAX), payload);
        let at = pcm.len().saturating_sub(mended.len());
        if let Some(place) = pcm.get_mut(at..).filter(|place| place.len() == mended.len()) {
            place.copy_from_slice(&mended);
        }
    }

    fn samples_in(&self, time: Duration) -> u64 {
        (time.as_nanos() * u128::from(self.rate) / 1_000_000_000) as u64
    }
}

#[cfg(test)]
mod tests;

//! Packets in network order to PCM in true time: never stretched, holes filled with silence and told.
//!
//! Packets are put in order by sequence number and placed by timestamp. A hole in the sequence that is not filled within the reorder window is a
//! gap (lost audio); a hole in the timestamps alone is silence that the sender did not send (DTX, comfort noise, a digit).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::Codec;
use super::codec::Decoder;
use crate::time::Mono;

/// Packets held back at most; more than that and the oldest hole is given up at once.
const MOST_HELD: usize = 256;
/// Sequence jump that is taken for a restart of the sender (RFC 3550 A.1, MAX_DROPOUT).
const RESTART: i64 = 3_000;
/// Difference between a packet's timestamp and its arrival that is taken for a new time base.
const NEW_BASE: Duration = Duration::from_secs(3);
/// A sender whose timestamps step back further than this has begun a new time base.
const STEP_BACK: Duration = Duration::from_millis(200);
/// A new SSRC within this distance of the old one's end goes on without a hole (network jitter, not a pause).
const SEAM: Duration = Duration::from_millis(60);
/// Without packets the stream's time goes on as silence, this far behind the clock: a stall shorter than this loses nothing.
const IDLE: Duration = Duration::from_secs(2);
/// How far timestamps may run ahead of the clock over the whole stream; more is a sender that lies.
const AHEAD: Duration = Duration::from_secs(10);

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

/// The sender as numbered by its SSRC.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// Extended sequence number that comes next in the output.
    expected: i64,
    /// Highest extended sequence number seen.
    highest: i64,
    /// Highest extended sequence number that set the time base.
    highest_placed: i64,
    /// Timestamp, position and arrival of the newest packet: the time base.
    timestamp: u32,
    position: u64,
    arrived: Mono,
    /// After a jump: the sequence number that would prove a restart.
    probation: Option<u16>,
    /// Bit n: sequence number `expected - 1 - n` was given out.
    given: u128,
    /// The newest packet was comfort noise: the sender is silent on purpose.
    resting: bool,
    /// The timestamps that come count otherwise than those before.
    new_clock: bool,
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

    /// Whether the place of a packet was passed on; counts it as twice or late then.
    fn is_past(&mut self, sequence: i64) -> bool {
        let Some(source) = self.source.as_mut() else { return true };
        let Ok(back) = u32::try_from(source.expected - 1 - sequence) else { return false };
        let bit = 1u128.checked_shl(back).unwrap_or(0);
        if source.given & bit != 0 {
            self.counts.duplicates += 1;
        } else {
            source.given |= bit;
            self.counts.late += 1;
            self.counts.lost = self.counts.lost.saturating_sub(u64::from(bit != 0));
        }
        true
    }

    /// Gives out everything that is held; nothing more will come.
    pub fn flush(&mut self, pcm: &mut Vec<i16>, gaps: &mut Vec<Gap>) {
        while self.take_first(pcm, gaps) {}
    }

    /// A new SSRC goes on where the old one stopped, moved by the time in between.
    fn change_source(&mut self, now: Mono, ssrc: u32, audio: &Audio, pcm: &mut Vec<i16>, gaps: &mut Vec<Gap>) {
        self.flush(pcm, gaps);
        let position = match &self.source {
            Some(old) => {
                let by_arrival = old.position + self.samples_in(now.since(old.arrived));
                let seam = if old.ssrc == ssrc { 0 } else { self.samples_in(SEAM) };
                if by_arrival < self.next + seam { self.next } else { by_arrival }
            }
            None => {
                self.began = now;
                0
            }
        };
        if self.source.as_ref().is_some_and(|old| old.ssrc != ssrc) {
            self.decoder.reset();
        }
        let sequence = i64::from(audio.sequence);
        self.source = Some(Source {
            ssrc,
            expected: sequence,
            highest: sequence,
            highest_placed: sequence - 1,
            timestamp: audio.timestamp,
            position,
            arrived: now,
            probation: None,
            given: 0,
            resting: false,
            new_clock: false,
        });
    }

    /// The extended sequence number; `None` when the packet is on probation or a duplicate of one that was given out.
    fn extend(&mut self, now: Mono, audio: &Audio, pcm: &mut Vec<i16>, gaps: &mut Vec<Gap>) -> Option<i64> {
        let source = self.source.as_mut()?;
        let step = i64::from(audio.sequence.wrapping_sub(source.highest as u16) as i16);
        if step.abs() < RESTART {
            source.probation = None;
            let sequence = source.highest + step;
            source.highest = source.highest.max(sequence);
            return Some(sequence);
        }
        if source.probation != Some(audio.sequence) {
            source.probation = Some(audio.sequence.wrapping_add(1));
            self.counts.late += 1;
            return None;
        }
        let ssrc = source.ssrc;
        self.change_source(now, ssrc, audio, pcm, gaps);
        Some(i64::from(audio.sequence))
    }

    /// Where a packet belongs in the stream; a timestamp that disagrees with its arrival by far gives a new base.
    fn place(&mut self, now: Mono, sequence: i64, audio: &Audio) -> u64 {
        let (clock, rate) = (i64::from(self.clock), i64::from(self.rate));
        let tolerance = self.samples_in(NEW_BASE) as i64;
        let back = self.samples_in(STEP_BACK) as i64;
        let most = self.samples_in(now.since(self.began)) + self.samples_in(AHEAD);
        let (next, length) = (self.next, audio.sound.len());
        let Some(source) = self.source.as_mut() else { return next };
        let step = i64::from(audio.timestamp.wrapping_sub(source.timestamp) as i32) * rate / clock;
        let elapsed =
            i64::try_from(u128::from(now.since(source.arrived).as_nanos() as u64) * rate as u128 / 1_000_000_000)
                .unwrap_or(i64::MAX);
        let newest = sequence > source.highest_placed;
        let stamped = source.position.saturating_add_signed(step);
        // Idle time was filled by the clock: a sender whose timestamps stood still meanwhile goes on after it.
        let stood_still = newest && stamped + length as u64 <= next && length > 0;
        let wild = (step - elapsed).abs() > tolerance || (newest && step < -back);
        let new_base = source.new_clock || wild || stood_still || stamped > most;
        let position = if new_base {
            source.position.saturating_add_signed(elapsed).min(most).max(if newest { next } else { 0 })
        } else {
            stamped
        };
        if newest {
            source.highest_placed = sequence;
            source.timestamp = audio.timestamp;
            source.position = position;
            source.arrived = now;
            source.resting = length == 0;
            source.new_clock = false;
        }
        position
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
mod tests {
    use super::*;

    const FRAME: usize = 160;

    struct Line {
        jitter: Jitter,
        pcm: Vec<i16>,
        gaps: Vec<Gap>,
    }

    impl Line {
        fn new() -> Line {
            let jitter = Jitter::new(8_000, 8_000, Duration::from_millis(200));
            Line { jitter, pcm: Vec::new(), gaps: Vec::new() }
        }

        /// Packet `n` of a stream whose sample `i` is `i + 1`, arriving at `ms`.
        fn packet(&mut self, ms: u64, n: u64, ssrc: u32, seq0: u16, ts0: u32) {
            let samples = (0..FRAME as u64).map(|i| (n * FRAME as u64 + i + 1) as i16).collect();
            let sequence = seq0.wrapping_add(n as u16);
            let timestamp = ts0.wrapping_add((n * FRAME as u64) as u32);
            let audio = Audio { sequence, timestamp, sound: Sound::Pcm(samples) };
            self.jitter.insert(Mono(ms * 1_000_000), ssrc, audio, &mut self.pcm, &mut self.gaps);
        }

        fn flush(&mut self) {
            self.jitter.flush(&mut self.pcm, &mut self.gaps);
        }
    }

    fn ramp(packets: usize) -> Vec<i16> {
        (1..=(packets * FRAME) as i16).collect()
    }

    #[test]
    fn in_order_with_both_counters_wrapping() {
        let mut line = Line::new();
        for n in 0..10 {
            line.packet(n * 20, n, 7, 65_531, u32::MAX - 500);
        }
        assert_eq!(line.pcm, ramp(10));
        assert!(line.gaps.is_empty());
        assert_eq!(line.jitter.counts(), Counts::default());
    }

    #[test]
    fn reordered_and_doubled_packets_come_out_once_in_order() {
        let mut line = Line::new();
        for (ms, n) in [(0, 0), (20, 2), (25, 1), (30, 2), (60, 3), (70, 0), (80, 5), (85, 4)] {
            line.packet(ms, n, 7, 100, 0);
        }
        line.flush();
        assert_eq!(line.pcm, ramp(6));
        let counts = line.jitter.counts();
        assert_eq!((counts.lost, counts.late + counts.duplicates), (0, 2));
    }

    #[test]
    fn a_lost_packet_is_a_marked_gap_of_its_own_length() {
        let mut line = Line::new();
        for n in [0, 1, 3, 4] {
            line.packet(n * 20, n, 7, 100, 0);
        }
        assert_eq!(line.pcm.len(), 2 * FRAME, "it is waited for");
        line.jitter.handle_timeout(Mono(260_000_000), &mut line.pcm, &mut line.gaps);
        assert_eq!(line.gaps, [Gap { from: 320, to: 480 }]);
        assert_eq!(line.pcm.len(), 5 * FRAME);
        assert!(line.pcm[320..480].iter().all(|sample| *sample == 0));
        assert_eq!(line.pcm[480..640], ramp(4)[480..]);
        assert_eq!((line.jitter.counts().lost, line.jitter.counts().gap_samples), (1, 160));
    }

    #[test]
    fn a_packet_after_its_gap_was_given_up_is_late_and_changes_nothing() {
        let mut line = Line::new();
        for (ms, n) in [(0, 0), (40, 2), (260, 3), (270, 1)] {
            line.packet(ms, n, 7, 100, 0);
        }
        assert_eq!(line.pcm.len(), 4 * FRAME);
        assert_eq!(line.jitter.counts().late, 1);
    }

    #[test]
    fn silence_that_was_not_sent_is_no_loss() {
        let mut line = Line::new();
        line.packet(0, 0, 7, 100, 0);
        // The next packet in sequence, one second later in time: DTX.
        let audio = Audio { sequence: 101, timestamp: 8_000, sound: Sound::Pcm(vec![9; FRAME]) };
        line.jitter.insert(Mono(1_000_000_000), 7, audio, &mut line.pcm, &mut line.gaps);
        assert_eq!(line.pcm.len(), 8_000 + FRAME);
        assert!(line.gaps.is_empty());
    }

    #[test]
    fn a_new_source_goes_on_by_arrival_time() {
        let mut line = Line::new();
        line.packet(0, 0, 7, 100, 0);
        line.packet(20, 1, 7, 100, 0);
        line.packet(100, 0, 8, 9_000, 77_777);
        line.packet(120, 1, 8, 9_000, 77_777);
        assert_eq!(line.pcm.len(), 7 * FRAME, "packet at 100 ms stands at 100 ms");
        assert_eq!(line.pcm[5 * FRAME], 1);
    }

    #[test]
    fn a_timestamp_that_jumps_an_hour_does_not_write_an_hour() {
        let mut line = Line::new();
        line.packet(0, 0, 7, 100, 0);
        let audio = Audio { sequence: 101, timestamp: 8_000 * 3_600, sound: Sound::Pcm(vec![9; FRAME]) };
        line.jitter.insert(Mono(20_000_000), 7, audio, &mut line.pcm, &mut line.gaps);
        assert_eq!(line.pcm.len(), 2 * FRAME);
    }

    #[test]
    fn one_wild_sequence_number_is_ignored_and_a_restart_is_followed() {
        let mut line = Line::new();
        for n in 0..3 {
            line.packet(n * 20, n, 7, 100, 0);
        }
        line.packet(60, 0, 7, 40_000, 90_000);
        line.packet(60, 3, 7, 100, 0);
        assert_eq!(line.pcm, ramp(4));
        line.packet(80, 0, 7, 20_000, 500_000);
        line.packet(100, 1, 7, 20_000, 500_000);
        line.packet(120, 2, 7, 20_000, 500_000);
        assert_eq!(line.pcm.len(), 7 * FRAME, "the first packet of the restart was on probation");
    }

    #[test]
    fn a_late_packet_was_not_lost_and_a_repeated_one_is_a_duplicate() {
        let mut line = Line::new();
        for n in [0, 2, 3] {
            line.packet(n * 20, n, 7, 0, 0);
        }
        line.jitter.handle_timeout(Mono(400_000_000), &mut line.pcm, &mut line.gaps);
        assert_eq!(line.jitter.counts().lost, 1);
        line.packet(410, 1, 7, 0, 0);
        line.packet(411, 1, 7, 0, 0);
        line.packet(412, 3, 7, 0, 0);
        let counts = line.jitter.counts();
        assert_eq!((counts.lost, counts.late, counts.duplicates), (0, 1, 2));
    }

    #[test]
    fn a_straggler_of_the_old_source_does_not_change_it_back() {
        let mut line = Line::new();
        line.packet(0, 0, 7, 0, 0);
        line.packet(20, 1, 9, 500, 70_000);
        line.packet(25, 1, 7, 0, 0);
        line.packet(40, 2, 9, 500, 70_000);
        assert_eq!((line.pcm.len(), line.jitter.counts().late), (3 * FRAME, 1));
    }

    #[test]
    fn time_goes_on_without_packets_and_what_comes_then_is_not_lost() {
        let mut line = Line::new();
        line.packet(0, 0, 7, 0, 0);
        line.jitter.handle_timeout(Mono(1_900_000_000), &mut line.pcm, &mut line.gaps);
        assert_eq!(line.pcm.len(), FRAME, "a short stall is waited for");
        line.jitter.handle_timeout(Mono(12_000_000_000), &mut line.pcm, &mut line.gaps);
        assert_eq!(line.pcm.len(), 80_000, "ten of twelve seconds");
        // The sender's timestamps stood still; its packets belong where they arrive.
        line.packet(12_010, 1, 7, 0, 0);
        line.packet(12_030, 2, 7, 0, 0);
        assert_eq!(line.pcm.len() as u64, 12_010 * 8 + 2 * FRAME as u64);
        assert_eq!((line.gaps.len(), line.jitter.counts().lost), (0, 0));
    }

    #[test]
    fn a_stall_and_its_burst_lose_and_stretch_nothing() {
        let mut line = Line::new();
        line.packet(0, 0, 7, 0, 0);
        line.jitter.handle_timeout(Mono(1_500_000_000), &mut line.pcm, &mut line.gaps);
        for n in 1..75 {
            line.packet(1_500, n, 7, 0, 0);
        }
        assert_eq!(line.pcm, ramp(75));
    }

    #[test]
    fn timestamps_that_run_ahead_of_the_clock_write_no_more_than_ten_seconds() {
        let mut line = Line::new();
        for n in 0..1_000u16 {
            let audio = Audio { sequence: n, timestamp: u32::from(n) * 20_000, sound: Sound::Pcm(vec![1; 160]) };
            line.jitter.insert(Mono(0), 7, audio, &mut line.pcm, &mut line.gaps);
        }
        assert!(line.pcm.len() <= 80_000 + 1_000 * FRAME, "{}", line.pcm.len());
    }

    #[test]
    fn timestamps_that_begin_anew_under_the_same_numbers_lose_no_sound() {
        let mut line = Line::new();
        for n in 0..100 {
            line.packet(n * 20, n, 7, 0, 0);
        }
        line.packet(2_000, 100, 7, 0, 0u32.wrapping_sub(8_000));
        line.packet(2_020, 101, 7, 0, 0u32.wrapping_sub(8_000));
        assert_eq!(line.pcm.len(), 102 * FRAME);
    }

    #[test]
    fn random_numbers_never_make_it_grow_without_bound() {
        let mut line = Line::new();
        let mut x = 1u64;
        for n in 0..100_000u64 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let audio = Audio { sequence: x as u16, timestamp: (x >> 16) as u32, sound: Sound::Pcm(vec![1; 160]) };
            line.jitter.insert(Mono(n * 20_000_000), (x >> 60) as u32 & 1, audio, &mut line.pcm, &mut line.gaps);
            assert!(line.jitter.held.len() <= MOST_HELD + 1);
            line.pcm.clear();
            line.gaps.clear();
        }
        assert!(line.jitter.position() < 8_000 * 2_100 * 2, "time runs with the clock: {}", line.jitter.position());
    }
}

//! Where a packet belongs in the stream: its sequence number counted on, its timestamp and its arrival (RFC 3550 A.1).

use std::time::Duration;

use super::{Audio, Gap, Jitter};
use crate::time::Mono;

/// Sequence jump that is taken for a restart of the sender (RFC 3550 A.1, MAX_DROPOUT).
const RESTART: i64 = 3_000;
/// Difference between a packet's timestamp and its arrival that is taken for a new time base.
const NEW_BASE: Duration = Duration::from_secs(3);
/// A sender whose timestamps step back further than this has begun a new time base.
const STEP_BACK: Duration = Duration::from_millis(200);
/// A new SSRC within this distance of the old one's end goes on without a hole (network jitter, not a pause).
const SEAM: Duration = Duration::from_millis(60);
/// How far timestamps may run ahead of the clock over the whole stream; more is a sender that lies.
const AHEAD: Duration = Duration::from_secs(10);

/// The sender as numbered by its SSRC.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) ssrc: u32,
    /// Extended sequence number that comes next in the output.
    pub(super) expected: i64,
    /// Highest extended sequence number seen.
    highest: i64,
    /// Highest extended sequence number that set the time base.
    highest_placed: i64,
    /// Timestamp, position and arrival of the newest packet: the time base.
    timestamp: u32,
    pub(super) position: u64,
    pub(super) arrived: Mono,
    /// After a jump: the sequence number that would prove a restart.
    probation: Option<u16>,
    /// Bit n: sequence number `expected - 1 - n` was given out.
    pub(super) given: u128,
    /// The newest packet was comfort noise: the sender is silent on purpose.
    pub(super) resting: bool,
    /// The timestamps that come count otherwise than those before.
    pub(super) new_clock: bool,
}

impl Jitter {
    /// Whether the place of a packet was passed on; counts it as twice or late then.
    pub(super) fn is_past(&mut self, sequence: i64) -> bool {
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

    /// A new SSRC goes on where the old one stopped, moved by the time in between.
    pub(super) fn change_source(
        &mut self,
        now: Mono,
        ssrc: u32,
        audio: &Audio,
        pcm: &mut Vec<i16>,
        gaps: &mut Vec<Gap>,
    ) {
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
    pub(super) fn extend(&mut self, now: Mono, audio: &Audio, pcm: &mut Vec<i16>, gaps: &mut Vec<Gap>) -> Option<i64> {
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
    pub(super) fn place(&mut self, now: Mono, sequence: i64, audio: &Audio) -> u64 {
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
}

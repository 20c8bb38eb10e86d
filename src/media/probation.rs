//! A new synchronisation source within a stream: taken when it proves itself and the old one stopped (RFC 3550 §8.2 and A.1).

use std::time::Duration;

use super::Codec;
use super::rtp::Parsed;
use crate::time::{Mono, Now};

/// The old source is over after this silence.
const OVER: Duration = Duration::from_millis(200);
/// Packets of the new source this short before the last one of the old are kept: the network may have changed their order.
const OVERLAP: Duration = Duration::from_millis(40);
/// Packets in sequence that prove a source (RFC 3550 A.1, MIN_SEQUENTIAL).
const SEQUENTIAL: usize = 2;
/// Packets of one candidate that wait.
const HELD_MOST: usize = 32;
/// Candidates at once; the one that was silent longest makes room.
const CANDIDATES_MOST: usize = 8;

/// A packet that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// When it came.
    pub at: Now,
    /// What it carries.
    pub codec: Codec,
    /// The packet.
    pub packet: Parsed,
}

#[derive(Debug)]
struct Candidate {
    ssrc: u32,
    waiting: Vec<Waiting>,
    /// It spoke while the current source did: only silence of that one makes room for it, not the end of the stream.
    beside: bool,
}

/// The sources of one stream.
#[derive(Debug, Default)]
pub struct Probation {
    current: Option<(u32, Mono)>,
    candidates: Vec<Candidate>,
    refused: u64,
}

impl Probation {
    /// Packets of sources that were never taken.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The source that is heard.
    pub fn current(&self) -> Option<u32> {
        self.current.map(|(ssrc, _)| ssrc)
    }

    /// Whether a packet of this source is taken now; else give it to [`Probation::keep`].
    pub fn admits(&mut self, now: Mono, ssrc: u32) -> bool {
        match &mut self.current {
            Some((current, last)) if *current == ssrc => {
                *last = now;
                if !self.candidates.is_empty() {
                    self.forget_before(now);
                }
                true
            }
            Some(_) => false,
            none => {
                *none = Some((ssrc, now));
                true
            }
        }
    }

    /// Another sender altogether (signalling said so): its source needs no proof.
    pub fn reset(&mut self) {
        self.refused += self.candidates.drain(..).map(|candidate| candidate.waiting.len() as u64).sum::<u64>();
        self.current = None;
    }

    /// Keeps a packet of a candidate.
    pub fn keep(&mut self, waiting: Waiting) {
        let ssrc = waiting.packet.ssrc;
        let place = self.candidates.iter().position(|candidate| candidate.ssrc == ssrc);
        let mut candidate = match place {
            Some(place) => self.candidates.remove(place),
            None => Candidate { ssrc, waiting: Vec::new(), beside: false },
        };
        let last = candidate.waiting.last().map(|last| last.packet.sequence);
        // Not in sequence: the proof begins anew. A repeated packet (a digit's end) proves nothing and costs nothing.
        let follows = last.is_none_or(|last| (0..=2).contains(&waiting.packet.sequence.wrapping_sub(last)));
        if !follows || candidate.waiting.len() == HELD_MOST {
            let dropped = if follows { 1 } else { candidate.waiting.len() };
            candidate.waiting.drain(..dropped);
            self.refused += dropped as u64;
        }
        candidate.waiting.push(waiting);
        if self.candidates.len() == CANDIDATES_MOST {
            self.refused += self.candidates.remove(0).waiting.len() as u64;
        }
        self.candidates.push(candidate);
    }

    /// When [`Probation::switch`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        let proven = self.candidates.iter().any(|candidate| candidate.waiting.len() >= SEQUENTIAL);
        self.current.filter(|_| proven).map(|(_, last)| last + OVER)
    }

    /// The old source is over: the best candidate takes its place, and its packets are given in order.
    pub fn switch(&mut self, now: Mono) -> Vec<Waiting> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let best = (0..self.candidates.len()).max_by_key(|at| self.candidates.get(*at).map(|c| c.waiting.len()));
        let Some(best) = best.map(|at| self.candidates.remove(at)) else { return Vec::new() };
        self.reset();
        let last = best.waiting.last().map_or(now, |waiting| waiting.at.mono);
        self.current = Some((best.ssrc, last));
        best.waiting
    }

    /// The stream ends: a source that proved itself after the last packet of the current one, and never spoke beside it, is given.
    pub fn finish(&mut self) -> Vec<Waiting> {
        let Some((_, last)) = self.current else { return Vec::new() };
        self.forget_before(last);
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.beside) {
            self.refused += std::mem::take(&mut candidate.waiting).len() as u64;
        }
        let given = self.due().map_or_else(Vec::new, |due| self.switch(due));
        self.refused += self.candidates.drain(..).map(|candidate| candidate.waiting.len() as u64).sum::<u64>();
        given
    }

    /// While the current source speaks, what others said is none of this stream's.
    fn forget_before(&mut self, now: Mono) {
        for candidate in &mut self.candidates {
            let before = candidate.waiting.len();
            candidate.waiting.retain(|waiting| waiting.at.mono + OVERLAP >= now);
            let forgotten = before - candidate.waiting.len();
            candidate.beside |= forgotten > 0;
            self.refused += forgotten as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn at(ms: u64) -> Now {
        Now::default().plus(Duration::from_millis(ms))
    }

    fn offer(probation: &mut Probation, ms: u64, ssrc: u32, sequence: u16) -> bool {
        let taken = probation.admits(at(ms).mono, ssrc);
        if !taken {
            let packet = Parsed { payload_type: 0, marker: false, sequence, timestamp: 0, ssrc, payload: Bytes::new() };
            probation.keep(Waiting { at: at(ms), codec: Codec::Pcmu, packet });
        }
        taken
    }

    #[test]
    fn a_new_source_is_taken_with_all_its_packets_when_the_old_one_stops() {
        let mut probation = Probation::default();
        for n in 0..3u16 {
            assert!(offer(&mut probation, 20 * u64::from(n), 7, n));
        }
        for n in 0..9u16 {
            assert!(!offer(&mut probation, 60 + 20 * u64::from(n), 8, 500 + n));
        }
        assert_eq!(probation.due(), Some(at(240).mono));
        let given: Vec<u16> = probation.switch(at(240).mono).iter().map(|w| w.packet.sequence).collect();
        assert_eq!(given, [500, 501, 502, 503, 504, 505, 506, 507, 508]);
        assert!(offer(&mut probation, 240, 8, 509));
        assert_eq!(probation.refused(), 0);
    }

    #[test]
    fn a_flood_beside_a_running_source_is_refused_and_stays_small() {
        let mut probation = Probation::default();
        let mut flood = 0;
        for ms in 0..2_000u64 {
            if ms % 20 == 0 {
                assert!(offer(&mut probation, ms, 7, (ms / 20) as u16));
            }
            flood += 1;
            // one source in sequence, and every second packet of a new one
            let ssrc = if ms % 2 == 0 { 66 } else { 1_000 + ms as u32 };
            assert!(!offer(&mut probation, ms, ssrc, (ms / 2) as u16));
            assert!(probation.candidates.len() <= CANDIDATES_MOST);
            assert!(probation.switch(at(ms).mono).is_empty());
        }
        let waiting: usize = probation.candidates.iter().map(|candidate| candidate.waiting.len()).sum();
        assert_eq!(probation.refused() + waiting as u64, flood);
    }

    #[test]
    fn the_end_of_the_stream_gives_a_source_that_followed_and_none_that_spoke_beside() {
        for beside in [false, true] {
            let mut probation = Probation::default();
            for n in 0..10u16 {
                assert!(offer(&mut probation, 20 * u64::from(n), 7, n));
                if beside {
                    // 60 ms each: seldom more than one waits
                    assert!(n % 3 != 0 || !offer(&mut probation, 20 * u64::from(n), 8, n / 3));
                }
            }
            assert!(!offer(&mut probation, 190, 8, 4));
            assert!(!offer(&mut probation, 210, 8, 5));
            assert_eq!(probation.finish().len(), if beside { 0 } else { 2 });
            assert_eq!(probation.refused(), if beside { 6 } else { 0 });
        }
    }

    #[test]
    fn packets_out_of_sequence_prove_nothing() {
        let mut probation = Probation::default();
        assert!(offer(&mut probation, 0, 7, 0));
        for (n, sequence) in [9u16, 900, 90, 9_000].into_iter().enumerate() {
            offer(&mut probation, 20 * n as u64, 8, sequence);
        }
        assert_eq!(probation.due(), None);
    }
}

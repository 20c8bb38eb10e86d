//! What a stream tells: PCM, events, and its totals at the end.

use super::Stream;
use crate::media::dtmf::Digit;
use crate::media::{Frame, StreamEventKind, StreamSummary, probation};
use crate::time::MediaTime;

/// Events kept until they are taken; more gaps than that in one step are told as one.
const MOST_EVENTS: usize = 256;

impl Stream {
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

    pub(super) fn tell_gaps(&mut self) {
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

    pub(super) fn tell_digits(&mut self, ended: impl IntoIterator<Item = Digit>) {
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

//! What a session knows of one stream: its place in time, its gaps, its utterances.

use serde::{Deserialize, Serialize};

use crate::call::LegId;
use crate::media::{StreamEventKind, StreamSummary};
use crate::pbx::{Speaker, StreamId};
use crate::time::{MediaTime, Mono, Wall};

/// The most gaps kept apart; beyond that a new gap extends the last one, so that nothing is called heard that was not.
const MAX_GAPS: usize = 4_096;

/// The part of a stream that is stored with the contact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) id: StreamId,
    pub(super) leg: LegId,
    pub(super) speaker: Speaker,
    /// Wall time of sample 0, once a packet came.
    pub(super) origin: Option<Wall>,
    pub(super) rate: u32,
    pub(super) recorded: bool,
}

/// A stream while its session lives.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) stored: Stored,
    pub(super) gaps: Vec<(MediaTime, MediaTime)>,
    pub(super) utterances: Vec<Spoken>,
    pub(super) closed: Option<StreamSummary>,
}

/// One utterance and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spoken {
    pub(super) number: u32,
    pub(super) start: MediaTime,
    pub(super) end: MediaTime,
    pub(super) since: Mono,
    pub(super) caught_up: bool,
    pub(super) state: SpokenState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpokenState {
    /// The recogniser has it.
    Pending,
    /// Its text was published.
    Transcribed,
    /// The recogniser heard no words in it.
    Wordless,
    /// The recogniser failed; the audio is kept.
    Failed,
}

impl Stream {
    pub(super) fn new(stored: Stored) -> Self {
        Self { stored, gaps: Vec::new(), utterances: Vec::new(), closed: None }
    }

    /// Takes a media event; tells whether what is stored changed.
    pub(super) fn handle(&mut self, kind: &StreamEventKind) -> bool {
        match kind {
            StreamEventKind::First { origin, rate } => {
                let first = self.stored.origin.is_none();
                if first {
                    self.stored.origin = Some(origin.wall);
                    self.stored.rate = *rate;
                }
                first
            }
            StreamEventKind::Gap { from, to } => {
                self.add_gap(*from, *to);
                false
            }
            StreamEventKind::Closed(summary) => {
                self.closed = Some(summary.clone());
                false
            }
            StreamEventKind::Digit { .. } | StreamEventKind::Timeout => false,
        }
    }

    fn add_gap(&mut self, from: MediaTime, to: MediaTime) {
        let full = self.gaps.len() >= MAX_GAPS;
        match self.gaps.last_mut() {
            Some(last) if full || (from <= last.1 && to >= last.0) => {
                last.0 = last.0.min(from);
                last.1 = last.1.max(to);
            }
            _ => self.gaps.push((from, to)),
        }
    }

    /// Gaps inside `start`..`end`.
    pub(super) fn gaps_within(&self, start: MediaTime, end: MediaTime) -> Vec<(MediaTime, MediaTime)> {
        let inside = self.gaps.iter().filter(|gap| gap.0 < end && gap.1 > start);
        inside.map(|gap| (gap.0.max(start), gap.1.min(end))).collect()
    }

    /// Length so far or in total.
    pub(super) fn extent(&self) -> MediaTime {
        match &self.closed {
            Some(summary) => MediaTime::of_sample(summary.samples, summary.rate.max(1)),
            None => self.utterances.iter().map(|spoken| spoken.end).max().unwrap_or_default(),
        }
    }

    /// Wall time of a position.
    pub(super) fn wall(&self, at: MediaTime) -> Option<Wall> {
        self.stored.origin.map(|origin| origin + at.duration())
    }

    /// The utterance with this number.
    pub(super) fn spoken(&mut self, number: u32) -> Option<&mut Spoken> {
        self.utterances.iter_mut().find(|spoken| spoken.number == number)
    }

    /// Utterances whose text is still to come.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Spoken> {
        self.utterances.iter().filter(|spoken| spoken.state == SpokenState::Pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn stream() -> Stream {
        Stream::new(Stored {
            id: StreamId(Uuid::nil()),
            leg: LegId(Uuid::nil()),
            speaker: Speaker::Caller,
            origin: Some(Wall(1_000)),
            rate: 8_000,
            recorded: true,
        })
    }

    #[test]
    fn gaps_never_grow_without_bound_and_never_shrink_the_loss() {
        let mut stream = stream();
        for n in 0..10_000u64 {
            let from = MediaTime(n * 100);
            stream.handle(&StreamEventKind::Gap { from, to: MediaTime(n * 100 + 10) });
        }
        assert_eq!(stream.gaps.len(), MAX_GAPS);
        assert_eq!(stream.gaps.last().unwrap().1, MediaTime(9_999 * 100 + 10));
    }

    #[test]
    fn a_gap_is_told_inside_the_utterance_that_it_cuts() {
        let mut stream = stream();
        stream.handle(&StreamEventKind::Gap { from: MediaTime(500_000), to: MediaTime(700_000) });
        assert_eq!(
            stream.gaps_within(MediaTime(600_000), MediaTime(900_000)),
            [(MediaTime(600_000), MediaTime(700_000))]
        );
        assert!(stream.gaps_within(MediaTime(700_000), MediaTime(900_000)).is_empty());
    }
}

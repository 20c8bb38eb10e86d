//! What a session knows of one stream: its place in time, its gaps, its utterances.

use serde::{Deserialize, Serialize};

use crate::call::LegId;
use crate::media::{StreamEventKind, StreamSummary};
use crate::pbx::{Speaker, StreamId};
use crate::speech::SpeechEventKind;
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
    /// Whose it was before, in order.
    #[serde(default)]
    pub(super) earlier: Vec<Earlier>,
    /// What came before counts for nothing: another stream brought it.
    #[serde(default)]
    pub(super) from: Option<Wall>,
    /// Another stream brings the same.
    #[serde(default)]
    pub(super) spare: bool,
    /// What is silence on disk, or is to be: numbers were said there that are not stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) silent: Vec<(MediaTime, MediaTime)>,
}

/// Whose a stream was for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Earlier {
    pub(super) until: Wall,
    pub(super) leg: LegId,
    pub(super) speaker: Speaker,
}

/// A part of a stream that is one person's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) from: Option<Wall>,
    pub(super) to: Option<Wall>,
    pub(super) leg: LegId,
    pub(super) speaker: Speaker,
}

/// Changes of one stream that are kept apart; later ones prolong the last one.
const MAX_EARLIER: usize = 64;

impl Stored {
    pub(super) fn new(id: StreamId, leg: LegId, speaker: Speaker, recorded: bool) -> Stored {
        let (origin, rate, earlier, from, spare) = (None, 8_000, Vec::new(), None, false);
        Stored { id, leg, speaker, origin, rate, recorded, earlier, from, spare, silent: Vec::new() }
    }

    /// From `at` on it is somebody else's. Who was not named until then was the same person all the time. Tells whether anything changed.
    pub(super) fn becomes(&mut self, at: Wall, leg: LegId, speaker: Speaker) -> bool {
        if (leg, speaker) == (self.leg, self.speaker) {
            return false;
        }
        if self.speaker == Speaker::Other {
            self.speaker = speaker;
            self.earlier.iter_mut().filter(|own| own.speaker == Speaker::Other).for_each(|own| own.speaker = speaker);
        }
        if (leg, speaker) != (self.leg, self.speaker) {
            let full = self.earlier.len() >= MAX_EARLIER;
            match self.earlier.last_mut() {
                Some(last) if full => last.until = at,
                _ => self.earlier.push(Earlier { until: at, leg: self.leg, speaker: self.speaker }),
            }
        }
        (self.leg, self.speaker) = (leg, speaker);
        true
    }

    /// Whose it is, part by part.
    pub(super) fn parts(&self) -> Vec<Part> {
        let mut from = self.from;
        let mut parts = Vec::new();
        for Earlier { until, leg, speaker } in &self.earlier {
            if from.is_none_or(|from| from < *until) {
                parts.push(Part { from, to: Some(*until), leg: *leg, speaker: *speaker });
                from = Some(*until);
            }
        }
        parts.push(Part { from, to: None, leg: self.leg, speaker: self.speaker });
        parts
    }

    /// Whose it is at a moment.
    pub(super) fn whose(&self, at: Wall) -> (LegId, Speaker) {
        let earlier = self.earlier.iter().find(|own| at < own.until);
        earlier.map_or((self.leg, self.speaker), |own| (own.leg, own.speaker))
    }
}

/// A stream while its session lives.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) stored: Stored,
    pub(super) gaps: Vec<(MediaTime, MediaTime)>,
    pub(super) utterances: Vec<Spoken>,
    /// Where the utterance began that goes on.
    pub(super) speaking: Option<MediaTime>,
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
    /// Its text waits for what is said next.
    Held,
    /// Its text was published.
    Transcribed,
    /// The recogniser heard no words in it.
    Wordless,
    /// The recogniser failed; the audio is kept.
    Failed,
}

impl Stream {
    pub(super) fn new(stored: Stored) -> Self {
        Self { stored, gaps: Vec::new(), utterances: Vec::new(), speaking: None, closed: None }
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
                self.speaking = None;
                false
            }
            StreamEventKind::Digit { .. } | StreamEventKind::Timeout | StreamEventKind::Silenced { .. } => false,
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
        self.utterances.iter().filter(|spoken| matches!(spoken.state, SpokenState::Pending | SpokenState::Held))
    }

    /// Utterances that are not recognised yet.
    pub(super) fn unread(&self) -> impl Iterator<Item = &Spoken> {
        self.utterances.iter().filter(|spoken| spoken.state == SpokenState::Pending)
    }

    /// Where utterances begin that have no text yet, the one that goes on among them.
    pub(super) fn coming(&self) -> impl Iterator<Item = MediaTime> {
        self.unread().map(|spoken| spoken.start).chain(self.speaking)
    }

    /// Somebody began or ended to speak.
    pub(super) fn hear(&mut self, kind: &SpeechEventKind) {
        match kind {
            SpeechEventKind::Started { start, .. } => self.speaking = Some(*start),
            SpeechEventKind::Running(_) => {}
            SpeechEventKind::Ended(_) => self.speaking = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn stream() -> Stream {
        let stored = Stored::new(StreamId(Uuid::nil()), LegId(Uuid::nil()), Speaker::Caller, true);
        Stream::new(Stored { origin: Some(Wall(1_000)), ..stored })
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
    fn a_stream_that_is_somebody_elses_from_a_moment_on_is_kept_apart_and_a_late_name_is_not() {
        let (a, b) = (LegId(Uuid::from_u128(1)), LegId(Uuid::from_u128(2)));
        let mut stored = Stored::new(StreamId(Uuid::nil()), a, Speaker::Other, true);
        assert!(stored.becomes(Wall(10), a, Speaker::Agent));
        assert_eq!(stored.whose(Wall(5)), (a, Speaker::Agent), "the name came late");
        assert!(stored.becomes(Wall(20), b, Speaker::Agent) && !stored.becomes(Wall(21), b, Speaker::Agent));
        assert!(stored.becomes(Wall(30), b, Speaker::Mixed));
        assert_eq!(stored.whose(Wall(19)), (a, Speaker::Agent));
        assert_eq!(stored.whose(Wall(20)), (b, Speaker::Agent));
        assert_eq!(stored.whose(Wall(99)), (b, Speaker::Mixed));
        let spans: Vec<_> = stored.parts().iter().map(|part| (part.from, part.to, part.speaker)).collect();
        let at = |at| Some(Wall(at));
        let wanted = [(None, at(20), Speaker::Agent), (at(20), at(30), Speaker::Agent), (at(30), None, Speaker::Mixed)];
        assert_eq!(spans, wanted);
        stored.from = at(25);
        assert_eq!(stored.parts().len(), 2, "what came before counts for nothing");
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

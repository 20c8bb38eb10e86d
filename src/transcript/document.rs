//! Everything that was said in a contact, in order of time, with what is missing marked.

use std::collections::BTreeMap;

use crate::call::LegId;
use crate::events::{Coverage, LegCoverage, TranscriptCorrected, TranscriptDocument, TranscriptFinal, Turn};
use crate::pbx::Speaker;
use crate::time::Wall;

/// Speech whose recognition failed for good; the audio is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedSpan {
    /// The leg.
    pub leg: LegId,
    /// As in `transcript.final`.
    pub utterance: String,
    /// Who spoke.
    pub speaker: Speaker,
    /// When it began.
    pub start: Wall,
    /// When it ended.
    pub end: Wall,
}

impl FailedSpan {
    /// What a document says of it.
    pub fn of(turn: &Turn) -> FailedSpan {
        let Turn { leg, utterance, speaker, start, end, .. } = turn;
        FailedSpan { leg: *leg, utterance: utterance.clone(), speaker: *speaker, start: *start, end: *end }
    }
}

/// Collects the turns of one contact; one turn an utterance.
#[derive(Clone, Debug, Default)]
pub struct Document {
    turns: BTreeMap<String, Turn>,
    revision: u32,
    /// Corrections so far, of all turns.
    corrections: usize,
}

impl Document {
    /// Adds a final. It takes the place of a failed span of the same utterance; a final that is already there stays (a final never changes).
    /// Empty texts are left out: nothing was said.
    pub fn add_final(&mut self, said: &TranscriptFinal) {
        if self.turns.get(&said.utterance).is_some_and(|turn| turn.text.is_some()) {
            return;
        }
        if said.text.is_empty() {
            self.turns.remove(&said.utterance);
            return;
        }
        let turn = Turn {
            utterance: said.utterance.clone(),
            leg: said.leg,
            speaker: said.speaker,
            start: said.start,
            end: said.end,
            text: Some(said.text.clone()),
            corrections: said.corrections.clone(),
            corrected: None,
        };
        self.turns.insert(said.utterance.clone(), turn);
    }

    /// A person put the text of an utterance right: its new revision. `None` when there is no text of it.
    pub fn correct(&mut self, utterance: &str, text: String) -> Option<u32> {
        let turn = self.turns.get_mut(utterance).filter(|turn| turn.text.is_some())?;
        let revision = turn.corrected.unwrap_or(0).saturating_add(1);
        (turn.text, turn.corrected) = (Some(text), Some(revision));
        turn.corrections.clear();
        self.corrections += 1;
        Some(revision)
    }

    /// Takes up a correction that was told before a restart.
    pub fn add_corrected(&mut self, said: &TranscriptCorrected) {
        if let Some(turn) = self.turns.get_mut(&said.utterance).filter(|turn| turn.text.is_some()) {
            (turn.text, turn.corrected) = (Some(said.text.clone()), Some(said.revision));
            turn.corrections.clear();
        }
        self.corrections += 1;
    }

    /// How often a text was put right.
    pub fn corrections(&self) -> usize {
        self.corrections
    }

    /// Marks speech that could not be recognised, unless there is a final for it.
    pub fn add_failed(&mut self, span: FailedSpan) {
        let FailedSpan { leg, utterance, speaker, start, end } = span;
        self.turns.entry(utterance.clone()).or_insert(Turn {
            utterance,
            leg,
            speaker,
            start,
            end,
            text: None,
            corrections: Vec::new(),
            corrected: None,
        });
    }

    /// The document as it stands; each call is the next revision.
    pub fn compose(&mut self, coverage: Vec<LegCoverage>) -> TranscriptDocument {
        self.revision += 1;
        let mut turns: Vec<Turn> = self.turns.values().cloned().collect();
        turns.sort_by(|a, b| (a.start, a.end, &a.utterance).cmp(&(b.start, b.end, &b.utterance)));
        let covered = coverage.iter().all(|leg| is_complete(&leg.coverage));
        let complete = covered && turns.iter().all(|turn| turn.text.is_some());
        TranscriptDocument { revision: self.revision, turns, coverage, complete, pauses: Vec::new() }
    }

    /// The turns so far, in order of time.
    pub fn turns(&self) -> Vec<&Turn> {
        let mut turns: Vec<&Turn> = self.turns.values().collect();
        turns.sort_by(|a, b| (a.start, a.end, &a.utterance).cmp(&(b.start, b.end, &b.utterance)));
        turns
    }

    /// The turn of one utterance.
    pub fn turn(&self, utterance: &str) -> Option<&Turn> {
        self.turns.get(utterance)
    }

    /// The revision that was composed last; 0 before the first.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// Goes on after `revision`, for a contact that was documented before a restart.
    pub fn resume_after(&mut self, revision: u32) {
        self.revision = self.revision.max(revision);
    }
}

fn is_complete(coverage: &Coverage) -> bool {
    coverage.pending == 0 && coverage.failed == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn leg() -> LegId {
        LegId(Uuid::nil())
    }

    fn said(utterance: &str, start: i64, text: &str) -> TranscriptFinal {
        TranscriptFinal {
            leg: leg(),
            utterance: utterance.into(),
            speaker: Speaker::Caller,
            start: Wall(start),
            end: Wall(start + 10),
            start_ms: 0,
            end_ms: 0,
            text: text.into(),
            text_raw: text.into(),
            corrections: Vec::new(),
            confidence: 1.0,
            gaps: Vec::new(),
            model: String::new(),
            dictionary: String::new(),
            caught_up: false,
        }
    }

    fn failed(utterance: &str, start: i64) -> FailedSpan {
        FailedSpan {
            leg: leg(),
            utterance: utterance.into(),
            speaker: Speaker::Agent,
            start: Wall(start),
            end: Wall(start + 5),
        }
    }

    fn covered(failed: u64) -> Vec<LegCoverage> {
        let coverage = Coverage { failed, ..Coverage::default() };
        vec![LegCoverage { leg: leg(), speaker: Speaker::Caller, coverage, unheard: None }]
    }

    #[test]
    fn turns_are_in_order_of_time_whatever_came_first() {
        let mut document = Document::default();
        document.add_final(&said("b/1", 200, "second"));
        document.add_final(&said("a/0", 100, "first"));
        document.add_failed(failed("c/0", 150));
        document.add_final(&said("a/1", 120, ""));
        let composed = document.compose(covered(0));
        let texts: Vec<_> = composed.turns.iter().map(|turn| turn.text.as_deref()).collect();
        assert_eq!(texts, [Some("first"), None, Some("second")]);
        assert!(!composed.complete);
    }

    #[test]
    fn a_later_revision_replaces_a_failed_span_and_keeps_finals() {
        let mut document = Document::default();
        document.add_failed(failed("a/0", 100));
        assert!(!document.compose(covered(0)).complete);
        document.add_final(&said("a/0", 100, "caught up"));
        document.add_final(&said("a/0", 100, "changed"));
        document.add_failed(failed("a/0", 100));
        let composed = document.compose(covered(0));
        assert_eq!((composed.revision, composed.turns.len(), composed.complete), (2, 1, true));
        assert_eq!(composed.turns[0].text.as_deref(), Some("caught up"));
        assert!(!document.compose(covered(7)).complete);
    }

    #[test]
    fn a_correction_takes_the_place_of_the_text_and_a_final_does_not_take_it_back() {
        let mut document = Document::default();
        document.add_failed(failed("b/0", 200));
        document.add_final(&said("a/0", 100, "heard"));
        assert_eq!((document.correct("b/0", "x".into()), document.correct("none", "x".into())), (None, None));
        assert_eq!(document.correct("a/0", "right".into()), Some(1));
        assert_eq!(document.correct("a/0", "better".into()), Some(2));
        document.add_final(&said("a/0", 100, "heard"));
        let composed = document.compose(covered(0));
        let turn = &composed.turns[0];
        assert_eq!((turn.text.as_deref(), turn.corrected, document.corrections()), (Some("better"), Some(2), 2));
    }

    #[test]
    fn revisions_go_on_after_a_restart() {
        let mut document = Document::default();
        document.resume_after(4);
        assert_eq!(document.compose(Vec::new()).revision, 5);
    }
}

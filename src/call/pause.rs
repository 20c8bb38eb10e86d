//! Pauses of recording and transcription of one contact: who wants them, when they began and ended.
//!
//! Recording and transcription are paused apart. Several may want the same pause (an operator, the exchange); it ends when nobody wants it
//! any more. What was paused stays known, so that sound which comes later is still cut.

use serde::{Deserialize, Serialize};

use crate::time::Wall;

/// The most spans kept apart of one kind; beyond that a new pause prolongs the last one, so that nothing is called kept that was not to be.
const MAX_SPANS: usize = 512;

/// What a pause is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// No sound is kept.
    Record,
    /// No speech is turned into text.
    Transcribe,
    /// Neither.
    #[default]
    Both,
}

impl Scope {
    fn records(self) -> bool {
        self != Scope::Transcribe
    }

    fn transcribes(self) -> bool {
        self != Scope::Record
    }
}

/// Who wants the pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// An operator or a system, by the API.
    Asked,
    /// The exchange put the call on hold (`[pbx.sip] hold_pauses`).
    Hold,
}

/// From when to when; `None`: still.
pub type Span = (Wall, Option<Wall>);

/// The pauses of one contact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses {
    record: Track,
    transcribe: Track,
}

/// The pauses of one kind, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Track {
    spans: Vec<Span>,
    wanted: Vec<Cause>,
}

/// What is paused now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Paused {
    /// No sound is kept.
    pub record: bool,
    /// No text is made.
    pub transcribe: bool,
}

/// Why nothing was paused or resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No running contact has this id.
    Unknown,
    /// The contact has ended.
    Ended,
}

impl Pauses {
    /// Begins a pause at `at`; what is paused already goes on. Tells whether anything changed.
    pub fn pause(&mut self, at: Wall, scope: Scope, cause: Cause) -> bool {
        let record = scope.records() && self.record.pause(at, cause);
        let transcribe = scope.transcribes() && self.transcribe.pause(at, cause);
        record || transcribe
    }

    /// `cause` wants the pause no longer. Tells whether anything goes on from now.
    pub fn resume(&mut self, at: Wall, scope: Scope, cause: Cause) -> bool {
        let record = scope.records() && self.record.resume(at, cause);
        let transcribe = scope.transcribes() && self.transcribe.resume(at, cause);
        record || transcribe
    }

    /// What is paused now.
    pub fn now(&self) -> Paused {
        Paused { record: self.record.is_open(), transcribe: self.transcribe.is_open() }
    }

    /// The pauses that were open, as they begin anew at `at` in the contact that goes on with the same call.
    pub fn continued(&self, at: Wall) -> Pauses {
        Pauses { record: self.record.continued(at), transcribe: self.transcribe.continued(at) }
    }

    /// The spans without recording, in order.
    pub fn of_record(&self) -> &[Span] {
        &self.record.spans
    }

    /// The spans without transcription, in order.
    pub fn of_transcribe(&self) -> &[Span] {
        &self.transcribe.spans
    }
}

impl Track {
    fn is_open(&self) -> bool {
        self.spans.last().is_some_and(|(_, to)| to.is_none())
    }

    fn pause(&mut self, at: Wall, cause: Cause) -> bool {
        if !self.wanted.contains(&cause) {
            self.wanted.push(cause);
        }
        if self.is_open() {
            return false;
        }
        let full = self.spans.len() >= MAX_SPANS;
        match self.spans.last_mut() {
            Some(last) if full || last.1.is_some_and(|to| to >= at) => last.1 = None,
            _ => self.spans.push((at, None)),
        }
        true
    }

    fn resume(&mut self, at: Wall, cause: Cause) -> bool {
        self.wanted.retain(|own| *own != cause);
        match self.spans.last_mut() {
            Some((from, to @ None)) if self.wanted.is_empty() => {
                *to = Some(at.max(*from));
                true
            }
            _ => false,
        }
    }

    fn continued(&self, at: Wall) -> Track {
        if !self.is_open() {
            return Track::default();
        }
        Track { spans: vec![(at, None)], wanted: self.wanted.clone() }
    }
}

/// The parts of `from`..`to` that lie in `spans`.
pub fn within(spans: &[Span], from: Wall, to: Wall) -> impl Iterator<Item = (Wall, Wall)> {
    let cut = move |span: &Span| (span.0.max(from), span.1.unwrap_or(to).min(to));
    spans.iter().map(cut).filter(|(from, to)| from < to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_when_nobody_wants_it() {
        let mut pauses = Pauses::default();
        assert!(pauses.pause(Wall(10), Scope::Both, Cause::Asked));
        assert!(!pauses.pause(Wall(12), Scope::Both, Cause::Hold), "it is paused already");
        assert!(!pauses.resume(Wall(15), Scope::Both, Cause::Hold), "the operator still wants it");
        assert!(!pauses.resume(Wall(16), Scope::Both, Cause::Hold));
        assert!(pauses.resume(Wall(20), Scope::Record, Cause::Asked));
        assert_eq!(pauses.now(), Paused { record: false, transcribe: true });
        assert!(pauses.resume(Wall(30), Scope::Both, Cause::Asked));
        assert_eq!(pauses.of_record(), [(Wall(10), Some(Wall(20)))]);
        assert_eq!(pauses.of_transcribe(), [(Wall(10), Some(Wall(30)))]);
        assert!(!pauses.resume(Wall(40), Scope::Both, Cause::Asked), "twice is once");
    }

    #[test]
    fn an_open_pause_goes_on_in_the_next_contact_of_the_call() {
        let mut pauses = Pauses::default();
        pauses.pause(Wall(10), Scope::Transcribe, Cause::Asked);
        let next = pauses.continued(Wall(50));
        assert_eq!(next.now(), Paused { record: false, transcribe: true });
        assert_eq!(next.of_transcribe(), [(Wall(50), None)]);
        pauses.resume(Wall(20), Scope::Both, Cause::Asked);
        assert_eq!(pauses.continued(Wall(60)), Pauses::default());
    }

    #[test]
    fn spans_are_bounded_and_never_shrink() {
        let mut pauses = Pauses::default();
        for n in 0..2_000 {
            pauses.pause(Wall(n * 10), Scope::Both, Cause::Asked);
            pauses.resume(Wall(n * 10 + 5), Scope::Both, Cause::Asked);
        }
        assert_eq!(pauses.of_record().len(), MAX_SPANS);
        assert_eq!(pauses.of_record().last().unwrap().1, Some(Wall(19_995)));
    }

    #[test]
    fn parts_are_cut_to_what_is_asked() {
        let spans = [(Wall(10), Some(Wall(20))), (Wall(30), None)];
        let parts: Vec<(Wall, Wall)> = within(&spans, Wall(15), Wall(35)).collect();
        assert_eq!(parts, [(Wall(15), Wall(20)), (Wall(30), Wall(35))]);
        assert_eq!(within(&spans, Wall(20), Wall(30)).count(), 0);
    }
}

//! A person puts the text of an utterance right: in the call, or long after it. The final stays as it was told; the correction is an event of its own.

use std::time::Duration;

use super::streams::Stream;
use super::{Output, Session};
use crate::call::correction::{Corrected, Correction, MOST, Refused};
use crate::events::{Data, TranscriptCorrected, Turn};
use crate::time::{MediaTime, Now, Wall};
use crate::transcript::rewrite::{Kept, kept};
use crate::transcript::together::Piece;

/// Utterances that began this much before or after say what the numbers of one are.
const AROUND: Duration = Duration::from_secs(90);

impl Session {
    /// Puts the text of an utterance right. What it was already is not told again.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn put_right(&mut self, now: Now, asked: &Correction) -> Result<Corrected, Refused> {
        let turn = self.document.turn(&asked.utterance).cloned().ok_or(Refused::NoUtterance)?;
        let before = turn.text.clone().ok_or(Refused::NoUtterance)?;
        let revision = turn.corrected.unwrap_or(0);
        if asked.revision.is_some_and(|seen| seen != revision) {
            return Err(Refused::Changed(revision));
        }
        let Kept { text, revealed } = self.kept_of(&turn, &before, &asked.text);
        if text == before {
            // whoever asked waits until the store has it
            self.out.push_back(Output::Save);
            return Ok(Corrected { revision, text });
        }
        if self.document.corrections() >= MOST {
            return Err(Refused::Full);
        }
        let revision = self.document.correct(&asked.utterance, text.clone()).ok_or(Refused::NoUtterance)?;
        if revealed {
            self.silence_turn(&turn);
        }
        let told = TranscriptCorrected {
            leg: turn.leg,
            utterance: turn.utterance,
            revision,
            speaker: turn.speaker,
            start: turn.start,
            before,
            text: text.clone(),
            from: asked.from.clone(),
            agent: asked.agent.clone(),
        };
        self.record(now.wall, Some(turn.leg), Data::TranscriptCorrected(told));
        if self.contact.ended.is_none() {
            self.touch_handovers(Some(turn.start));
            self.tell_handovers(now);
        }
        if self.document.revision() > 0 {
            self.tell_document(now);
        }
        self.complete &= self.silencing.is_empty();
        Ok(Corrected { revision, text })
    }

    /// What of a new text may be stored, beside the utterances around it.
    fn kept_of(&mut self, turn: &Turn, before: &str, text: &str) -> Kept {
        let near = |other: &&Turn| other.start.since(turn.start) <= AROUND && turn.start.since(other.start) <= AROUND;
        let masked = self.masked();
        let turns: Vec<&Turn> = self.document.turns().into_iter().filter(near).collect();
        let is_own = |other: &Turn| other.utterance == turn.utterance;
        let mut pieces: Vec<Piece<'_>> = Vec::with_capacity(turns.len());
        for other in &turns {
            let who = turns.iter().position(|first| stream_of(first) == stream_of(other)).unwrap_or_default();
            let said = if is_own(other) { text } else { other.text.as_deref().unwrap_or_default() };
            pieces.push(Piece { who, start: other.start, end: other.end, raw: said, text: said });
        }
        let own = turns.iter().position(|other| is_own(other)).unwrap_or_default();
        kept(before, &pieces, own, &mut self.held.memory, masked)
    }

    /// Has the sound of a turn silenced: a number is in it that nobody had found.
    fn silence_turn(&mut self, turn: &Turn) {
        let own = |stream: &&Stream| stream_of(turn) == stream.stored.id.0.to_string();
        let Some(stream) = self.streams.iter().find(own) else { return };
        let (Some(origin), id) = (stream.stored.origin, stream.stored.id) else { return };
        let at = |wall: Wall| MediaTime(u64::try_from(wall.since(origin).as_micros()).unwrap_or(u64::MAX));
        self.silence(id, at(turn.start), at(turn.end));
    }
}

/// The stream that a turn was heard on, as its utterance names it.
fn stream_of(turn: &Turn) -> &str {
    turn.utterance.split('/').next().unwrap_or_default()
}

//! Pause and resume of recording and transcription while a contact runs, and what is cut because of it.

use std::sync::Arc;

use super::streams::Stream;
use super::{Output, Session};
use crate::call::pause::{Cause, Paused, Pauses, Refused, Scope, within};
use crate::events::{Data, PausedSpan, RecordingPause};
use crate::pbx::StreamId;
use crate::speech::Utterance;
use crate::time::{MediaTime, Now, Wall};

/// Longest reason that is kept, in characters.
const LONGEST_REASON: usize = 200;

impl Session {
    /// Pauses recording, transcription or both from now; twice is once. Says what is paused afterwards.
    ///
    /// # Errors
    /// [`Refused::Ended`].
    pub fn pause(&mut self, now: Now, scope: Scope, cause: Cause, reason: Option<&str>) -> Result<Paused, Refused> {
        self.change_pauses(now, scope, cause, reason, true)
    }

    /// Goes on from now, unless somebody else wants the pause; twice is once. Says what is paused afterwards.
    ///
    /// # Errors
    /// [`Refused::Ended`].
    pub fn unpause(&mut self, now: Now, scope: Scope, cause: Cause, reason: Option<&str>) -> Result<Paused, Refused> {
        self.change_pauses(now, scope, cause, reason, false)
    }

    /// The pauses that are open, for a contact that goes on with the same call after a restart.
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// Begins with the pauses that were open when the bridge stopped.
    pub(super) fn continue_pauses(&mut self, now: Now, before: &Pauses) {
        self.pauses = before.continued(now.wall);
        let paused = self.pauses.now();
        let scope = match (paused.record, paused.transcribe) {
            (true, true) => Scope::Both,
            (true, false) => Scope::Record,
            (false, true) => Scope::Transcribe,
            (false, false) => return,
        };
        self.tell_pause(now, scope, Cause::Asked, Some("bridge_restart"), true);
    }

    fn change_pauses(
        &mut self,
        now: Now,
        scope: Scope,
        cause: Cause,
        reason: Option<&str>,
        pause: bool,
    ) -> Result<Paused, Refused> {
        if self.contact.ended.is_some() {
            return Err(Refused::Ended);
        }
        let before = self.pauses.now();
        let changed = match pause {
            true => self.pauses.pause(now.wall, scope, cause),
            false => self.pauses.resume(now.wall, scope, cause),
        };
        let after = self.pauses.now();
        if changed {
            self.tell_pause(now, scope, cause, reason, pause);
        } else {
            // who wants it may have changed
            self.out.push_back(Output::Save);
        }
        if before.record != after.record {
            for index in 0..self.streams.len() {
                self.mute(index, now.wall);
            }
        }
        Ok(after)
    }

    fn tell_pause(&mut self, now: Now, scope: Scope, cause: Cause, reason: Option<&str>, pause: bool) {
        let paused = self.pauses.now();
        let reason = reason.map(|text| text.trim().chars().take(LONGEST_REASON).collect::<String>());
        let reason = reason.filter(|text| !text.is_empty());
        let data =
            RecordingPause { scope, cause, reason, record_paused: paused.record, transcribe_paused: paused.transcribe };
        let data = if pause { Data::RecordingPaused(data) } else { Data::RecordingResumed(data) };
        self.record(now.wall, None, data);
    }

    /// A stream that begins while recording is paused is not written.
    pub(super) fn mute_if_paused(&mut self, id: StreamId) {
        let open = self.pauses.of_record().last().filter(|(_, to)| to.is_none()).copied();
        let index = self.streams.iter().position(|stream| stream.stored.id == id);
        if let (Some((from, _)), Some(index)) = (open, index) {
            self.mute(index, from);
        }
    }

    /// Tells the media stage that nothing of a stream is to be written from `at` on, or that it is again.
    fn mute(&mut self, index: usize, at: Wall) {
        let paused = self.pauses.now().record;
        let Some(stream) = self.streams.get(index).filter(|s| s.stored.recorded && s.closed.is_none()) else { return };
        let stream = stream.stored.id;
        self.out.push_back(if paused { Output::Mute { stream, at } } else { Output::Unmute { stream, at } });
    }

    /// What of an utterance may be recognised: the paused parts are silence, at its ends they are cut off. `None`: all of it was paused.
    /// With it, whether its sound may be read back from disk instead of waiting in memory.
    pub(super) fn cut(&self, stream: &Stream, mut utterance: Utterance) -> Option<(Utterance, bool)> {
        let (Some(from), Some(to)) = (stream.wall(utterance.start), stream.wall(utterance.end)) else {
            return Some((utterance, stream.stored.recorded));
        };
        let on_disk = stream.stored.recorded && within(self.pauses.of_record(), from, to).next().is_none();
        let muted: Vec<(Wall, Wall)> = within(self.pauses.of_transcribe(), from, to).collect();
        if muted.is_empty() {
            return Some((utterance, on_disk));
        }
        let sample = |at: Wall| (at.since(from).as_micros() * u128::from(utterance.rate) / 1_000_000) as usize;
        let mut pcm = utterance.pcm.to_vec();
        let mut kept = 0..pcm.len();
        for (from, to) in muted {
            let (from, to) = (sample(from).min(pcm.len()), (sample(to) + 1).min(pcm.len()));
            if let Some(part) = pcm.get_mut(from..to) {
                part.fill(0);
            }
            // a pause that reaches an end of what is left cuts it off
            if from <= kept.start {
                kept.start = kept.start.max(to);
            }
            if to >= kept.end {
                kept.end = kept.end.min(from);
            }
        }
        let rest = pcm.get(kept.clone()).filter(|rest| !rest.is_empty())?;
        utterance.pcm = Arc::from(rest);
        let start = utterance.start;
        utterance.start = MediaTime(start.0 + MediaTime::of_sample(kept.start as u64, utterance.rate).0);
        utterance.end = MediaTime(start.0 + MediaTime::of_sample(kept.end as u64, utterance.rate).0);
        Some((utterance, false))
    }

    /// The pauses as the document and the recording show them; what is still open ends with the contact.
    pub(super) fn paused_spans(&self) -> Vec<PausedSpan> {
        let (from, to) = (self.contact.started, self.contact.ended.map_or(Wall(i64::MAX), |end| end.at));
        let span = |scope| move |(from, to)| PausedSpan { scope, from, to };
        let record = within(self.pauses.of_record(), from, to).map(span(Scope::Record));
        let mut all: Vec<PausedSpan> = record.collect();
        for (from, to) in within(self.pauses.of_transcribe(), from, to) {
            match all.iter_mut().find(|span| span.from == from && span.to == to) {
                Some(same) => same.scope = Scope::Both,
                None => all.push(PausedSpan { scope: Scope::Transcribe, from, to }),
            }
        }
        all.sort_by_key(|span| (span.from, span.to));
        all
    }
}

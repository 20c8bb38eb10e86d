//! The end of a contact: the recording is announced, the document written, with a ledger that sums to every leg's duration.

use super::streams::{Part, SpokenState, Stream};
use super::{DOCUMENT_AFTER, Output, Session};
use crate::call::contact::Leg;
use crate::call::pause::within;
use crate::events::{Coverage, Data, LegCoverage, RecordedStream, RecordingAvailable};
use crate::media::ledger::{Ledger, Share};
use crate::pbx::{Fidelity, Speaker};
use crate::time::{MediaTime, Now, Wall};
use crate::transcript::document::FailedSpan;
use crate::transcript::utterance_id;

impl Session {
    /// Writes what can be written now that something changed; nothing before the contact has ended.
    pub(super) fn close(&mut self, now: Now) {
        let Some(ended_at) = self.ended_at.filter(|_| !self.complete) else { return };
        if self.written {
            self.complete = self.silencing.is_empty();
            return;
        }
        let due = ended_at + DOCUMENT_AFTER <= now.mono;
        let closed = self.streams.iter().all(|stream| stream.closed.is_some()) || due;
        if !closed {
            return;
        }
        if !self.recording_told {
            self.tell_recording(now);
        }
        let pending = self.streams.iter().any(|stream| stream.unread().next().is_some());
        if !pending || due {
            self.release(now, true);
        }
        if !pending {
            self.finish_handovers(now);
        }
        if self.contact.legs.iter().all(|leg| leg.answered.is_none()) {
            self.complete = true;
            self.out.push_back(Output::Save);
        } else if !pending || (due && self.document.revision() == 0) {
            self.written = !pending;
            self.complete = self.written && self.silencing.is_empty();
            self.tell_document(now);
        }
    }

    fn tell_recording(&mut self, now: Now) {
        self.recording_told = true;
        let streams: Vec<RecordedStream> = self.streams.iter().flat_map(recorded).collect();
        if !streams.is_empty() {
            self.record(
                now.wall,
                None,
                Data::RecordingAvailable(RecordingAvailable { streams, pauses: self.paused_spans() }),
            );
        }
    }

    pub(super) fn tell_document(&mut self, now: Now) {
        for span in self.streams.iter().flat_map(failed_in) {
            self.document.add_failed(span);
        }
        let coverage = self.covered.clone().unwrap_or_else(|| self.coverage());
        let mut data = self.document.compose(coverage);
        data.pauses = self.paused_spans();
        self.record(now.wall, None, Data::TranscriptDocument(data));
    }

    /// What became of each speaker's time on each answered leg.
    pub(super) fn coverage(&self) -> Vec<LegCoverage> {
        let mut all = Vec::new();
        for leg in self.contact.legs.iter().filter(|leg| leg.answered.is_some()) {
            let heard = |speaker| self.parts(leg, speaker).next().is_some();
            // where people are heard apart too, their mixture is no text
            let apart = heard(Speaker::Caller) && heard(Speaker::Agent);
            for speaker in [Speaker::Caller, Speaker::Agent, Speaker::Mixed, Speaker::Other] {
                let is_of_two = matches!(speaker, Speaker::Caller | Speaker::Agent);
                let told = heard(speaker) && !(apart && speaker == Speaker::Mixed);
                if told || (is_of_two && self.contact.fidelity == Fidelity::Full) {
                    let unheard = leg.unheard.iter().find(|(other, _)| *other == speaker).map(|(_, why)| why.clone());
                    all.push(LegCoverage { leg: leg.id, speaker, coverage: self.leg_coverage(leg, speaker), unheard });
                }
            }
        }
        all
    }

    /// The parts of streams on which a speaker was heard on a leg; what another stream brought too is left out.
    fn parts(&self, leg: &Leg, speaker: Speaker) -> impl Iterator<Item = (&Stream, Part)> {
        let leg = leg.id;
        let parts = self.streams.iter().filter(|stream| !stream.stored.spare);
        let parts = parts.flat_map(|stream| stream.stored.parts().into_iter().map(move |part| (stream, part)));
        parts.filter(move |(_, part)| part.leg == leg && part.speaker == speaker)
    }

    fn leg_coverage(&self, leg: &Leg, speaker: Speaker) -> Coverage {
        let (Some(from), Some(end)) = (leg.answered, leg.ended) else { return Coverage::default() };
        let mut ledger = Ledger::new(from, end.at);
        if !self.line.transcribe {
            ledger.mark(from, end.at, Share::Excluded);
            for (from, to) in within(self.pauses.of_record(), from, end.at).filter(|_| self.line.record) {
                ledger.mark(from, to, Share::Paused);
            }
            return ledger.coverage();
        }
        for (stream, part) in self.parts(leg, speaker) {
            self.mark_stream(&mut ledger, stream, part);
        }
        for (from, to) in within(self.pauses.of_transcribe(), from, end.at) {
            ledger.mark(from, to, Share::Paused);
        }
        ledger.coverage()
    }

    /// Later marks win: the stream is silence, in it speech, in both the gaps.
    fn mark_stream(&self, ledger: &mut Ledger, stream: &Stream, part: Part) {
        let Some(origin) = stream.stored.origin else { return };
        let at = |time: MediaTime| origin + time.duration();
        let mut mark = |from: Wall, to: Wall, share: Share| {
            let from = part.from.map_or(from, |own| from.max(own));
            let to = part.to.map_or(to, |own| to.min(own));
            if from < to {
                ledger.mark(from, to, share);
            }
        };
        mark(origin, at(stream.extent()), Share::Silent);
        for (_, from, to) in self.finals.iter().filter(|(id, _, _)| *id == stream.stored.id) {
            mark(*from, *to, Share::Transcribed);
        }
        for spoken in &stream.utterances {
            match spoken.state {
                SpokenState::Pending | SpokenState::Held => mark(at(spoken.start), at(spoken.end), Share::Pending),
                SpokenState::Failed => mark(at(spoken.start), at(spoken.end), Share::Failed),
                SpokenState::Transcribed | SpokenState::Wordless => {}
            }
        }
        for (start, end) in &stream.gaps {
            mark(at(*start), at(*end), Share::Lost);
        }
    }
}

/// What is on disk of a stream, an entry for everybody whose it was.
fn recorded(stream: &Stream) -> Vec<RecordedStream> {
    let Some(origin) = stream.stored.origin.filter(|_| stream.stored.recorded) else { return Vec::new() };
    let samples = stream.closed.as_ref().map_or(0, |summary| summary.samples);
    let entry = |part: Part| RecordedStream {
        stream: stream.stored.id,
        leg: part.leg,
        speaker: part.speaker,
        origin,
        samples,
        rate: stream.stored.rate,
        from: part.from,
        to: part.to,
        spare: stream.stored.spare,
    };
    stream.stored.parts().into_iter().map(entry).collect()
}

fn failed_in(stream: &Stream) -> impl Iterator<Item = FailedSpan> {
    stream
        .utterances
        .iter()
        .filter(|spoken| matches!(spoken.state, SpokenState::Failed | SpokenState::Pending))
        .filter_map(|spoken| {
            let start = stream.wall(spoken.start)?;
            let (leg, speaker) = stream.stored.whose(start);
            Some(FailedSpan {
                utterance: utterance_id(stream.stored.id, spoken.start),
                leg,
                speaker,
                start,
                end: stream.wall(spoken.end)?,
            })
        })
}

//! What is heard of a contact: its streams, the utterances in them, and what became of each.

use super::held;
use super::streams::{Spoken, SpokenState, Stored, Stream};
use super::{Output, Session, Task};
use crate::media::{StreamEvent, StreamEventKind};
use crate::pbx::{LegKey, Speaker, StreamId};
use crate::speech::{Failure, Hypothesis, JobKind, SpeechEvent, SpeechEventKind, Utterance};
use crate::time::{Now, Wall};
use crate::transcript::Spoken as Said;

/// The most streams that one contact may open.
const MAX_STREAMS: usize = 64;
/// The most utterances that one stream may have (a day of speech); later ones are kept as sound only.
const MAX_UTTERANCES: usize = 50_000;

impl Session {
    /// Takes what the media stage says of a stream.
    pub fn handle_stream(&mut self, event: &StreamEvent) {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.stored.id == event.stream) else { return };
        if stream.handle(&event.kind) {
            self.out.push_back(Output::Save);
        }
        match event.kind {
            StreamEventKind::Closed(_) => {
                self.withdraw_open_partials(event.at, event.stream);
                self.release(event.at, false);
                self.close(event.at);
            }
            StreamEventKind::Silenced { from, to, done } => {
                self.silenced(event.at, event.stream, from, to, done);
                self.close(event.at);
            }
            _ => {}
        }
    }

    /// Takes an utterance of a stream. `from_disk` when it was read back after a restart.
    pub fn handle_speech(&mut self, event: SpeechEvent, from_disk: bool) {
        let heard = self.streams.iter_mut().find(|stream| stream.stored.id == event.stream);
        heard.into_iter().for_each(|stream| stream.hear(&event.kind));
        match event.kind {
            SpeechEventKind::Started { .. } => {}
            SpeechEventKind::Running(utterance) => self.read_running(event.stream, utterance),
            SpeechEventKind::Ended(utterance) => {
                let number = utterance.number;
                if !self.add_utterance(event.stream, event.at, utterance, from_disk) {
                    self.withdraw_partial(event.at, event.stream, number);
                }
            }
        }
    }

    /// Has an utterance recognised; tells whether it is one that is.
    fn add_utterance(&mut self, id: StreamId, at: Now, utterance: Utterance, from_disk: bool) -> bool {
        let Some(stream) = self.streams.iter().find(|stream| stream.stored.id == id) else { return false };
        if !self.counts(stream, utterance.end) {
            return false;
        }
        let Some(utterance) = self.since(stream, utterance) else { return false };
        let Some((utterance, recorded)) = self.cut(stream, utterance) else { return false };
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.stored.id == id) else { return false };
        if stream.utterances.len() >= MAX_UTTERANCES || stream.spoken(utterance.number).is_some() {
            return false;
        }
        stream.utterances.push(Spoken {
            number: utterance.number,
            start: utterance.start,
            end: utterance.end,
            since: at.mono,
            caught_up: from_disk,
            state: SpokenState::Pending,
        });
        self.out.push_back(Output::Recognize(Task {
            stream: id,
            number: utterance.number,
            kind: if from_disk { JobKind::CatchUp } else { JobKind::LiveFinal },
            recorded,
            utterance,
            scopes: self.words.scopes.clone(),
        }));
        true
    }

    /// Takes the text of an utterance, or why there is none.
    pub fn handle_outcome(&mut self, now: Now, stream: StreamId, number: u32, result: Result<Hypothesis, Failure>) {
        let Some(stream) = self.streams.iter_mut().find(|known| known.stored.id == stream) else { return };
        let (Some(origin), stored) = (stream.stored.origin, stream.stored.clone()) else { return };
        let id = stored.id;
        let Some(spoken) = stream.spoken(number).filter(|spoken| spoken.state == SpokenState::Pending) else { return };
        let began = origin + spoken.start.duration();
        let hypothesis = match result {
            Ok(hypothesis) if hypothesis.text.is_empty() => {
                spoken.state = SpokenState::Wordless;
                self.withdraw_partial(now, id, number);
                return self.settle(now, began);
            }
            Ok(hypothesis) => hypothesis,
            Err(_) => {
                spoken.state = SpokenState::Failed;
                self.withdraw_partial(now, id, number);
                return self.settle(now, began);
            }
        };
        self.running.forget(id, number);
        spoken.state = SpokenState::Held;
        let (start, end, caught_up) = (spoken.start, spoken.end, spoken.caught_up);
        let (leg, speaker) = stored.whose(origin + start.duration());
        let gaps = stream.gaps_within(start, end);
        let said = Said { leg, stream: id, speaker, origin, start, end, gaps, caught_up };
        let (corrected, version) = self.correct(&hypothesis);
        let hypothesis = Hypothesis { dictionary: version, ..hypothesis };
        self.take_text(now, held::Turn::new(now, number, said, hypothesis, corrected));
        self.settle(now, began);
    }

    /// It is known what was said in an utterance that began then, or that nothing will be.
    fn settle(&mut self, now: Now, began: Wall) {
        self.tell_caught_up(now);
        self.release(now, false);
        self.touch_handovers(Some(began));
        self.tell_handovers(now);
        self.close(now);
    }

    pub(super) fn spoken(&mut self, stream: StreamId, number: u32) -> Option<&mut Spoken> {
        self.streams.iter_mut().find(|known| known.stored.id == stream)?.spoken(number)
    }

    /// A stream is new, or it is somebody else's from now on.
    pub(super) fn add_stream(&mut self, now: Now, leg: &LegKey, id: StreamId, speaker: Speaker) {
        let Some(leg) = self.contact.position(leg).and_then(|index| self.contact.legs.get(index)) else { return };
        let leg = leg.id;
        if let Some(known) = self.streams.iter_mut().find(|stream| stream.stored.id == id) {
            if known.stored.becomes(now.wall, leg, speaker) {
                self.out.push_back(Output::Save);
            }
            return;
        }
        if self.streams.len() >= MAX_STREAMS {
            return;
        }
        self.streams.push(Stream::new(Stored::new(id, leg, speaker, self.line.record)));
        self.out.push_back(Output::Save);
        self.mute_if_paused(id);
    }
}

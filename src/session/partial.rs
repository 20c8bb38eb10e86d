//! Text of utterances that go on: what is read of them, and what is shown. Never stored; a final replaces it, or it is withdrawn.

use super::streams::SpokenState;
use super::{Output, Session, Task};
use crate::events::{Data, TranscriptPartial};
use crate::pbx::StreamId;
use crate::speech::agreement::Agreement;
use crate::speech::{Hypothesis, JobKind, Utterance};
use crate::time::{MediaTime, Now};
use crate::transcript::{provisional, utterance_id};

/// Running utterances of a contact; those of a stream follow each other, and finals may be late.
const MOST: usize = 256;

/// The utterances of which something was read before their final.
#[derive(Debug, Default)]
pub(super) struct Partials(Vec<Running>);

#[derive(Debug)]
struct Running {
    stream: StreamId,
    number: u32,
    start: MediaTime,
    heard: MediaTime,
    agreement: Agreement,
    /// Revisions that were shown.
    revision: u32,
}

impl Partials {
    /// Nothing of an utterance is shown any more.
    pub(super) fn forget(&mut self, stream: StreamId, number: u32) {
        self.0.retain(|running| (running.stream, running.number) != (stream, number));
    }

    fn find(&mut self, stream: StreamId, number: u32) -> Option<&mut Running> {
        self.0.iter_mut().find(|running| (running.stream, running.number) == (stream, number))
    }

    /// The utterance, which may be new; `None` when too many run.
    fn of(&mut self, stream: StreamId, utterance: &Utterance) -> Option<&mut Running> {
        let (number, start) = (utterance.number, utterance.start);
        if self.find(stream, number).is_none() && self.0.len() < MOST {
            let (heard, agreement) = (MediaTime::default(), Agreement::default());
            self.0.push(Running { stream, number, start, heard, agreement, revision: 0 });
        }
        self.find(stream, number)
    }
}

impl Session {
    /// An utterance goes on, and so much of it was said: it is to be read, if its final will be.
    pub(super) fn read_running(&mut self, id: StreamId, utterance: Utterance) {
        let Some(stream) = self.streams.iter().find(|stream| stream.stored.id == id) else { return };
        // live utterances come in order of their numbers
        let is_over = stream.utterances.last().is_some_and(|spoken| spoken.number >= utterance.number);
        if is_over || self.pauses.now().transcribe || !self.counts(stream, utterance.end) {
            return;
        }
        let Some(utterance) = self.since(stream, utterance) else { return };
        let Some((utterance, _)) = self.cut(stream, utterance) else { return };
        let Some(running) = self.running.of(id, &utterance) else { return };
        let kind = if running.revision == 0 { JobKind::FirstPartial } else { JobKind::Refresh };
        if running.revision == 0 {
            running.start = utterance.start;
        }
        let (number, scopes) = (utterance.number, self.words.scopes.clone());
        let task = Task { stream: id, number, kind, scopes, recorded: false, utterance };
        self.out.push_back(Output::Recognize(task));
    }

    /// Takes what was read of a running utterance up to `end`.
    pub fn handle_partial(&mut self, now: Now, id: StreamId, number: u32, end: MediaTime, hypothesis: &Hypothesis) {
        let Some(stream) = self.streams.iter().find(|stream| stream.stored.id == id) else { return };
        let mut later = stream.utterances.iter().rev().take_while(|spoken| spoken.number >= number);
        if later.any(|spoken| spoken.number == number && spoken.state != SpokenState::Pending) {
            return;
        }
        let (corrected, _) = self.correct(hypothesis);
        let Some(running) = self.running.find(id, number).filter(|running| running.heard < end) else { return };
        running.heard = end;
        let text = provisional(&corrected.text);
        let before = (running.agreement.stable().len(), running.agreement.tail().to_owned());
        let heard = end.duration().saturating_sub(running.start.duration());
        running.agreement.read(&text, heard);
        if before != (running.agreement.stable().len(), running.agreement.tail().to_owned()) {
            self.show_partial(now, id, number, false);
        }
    }

    /// The stream has ended: utterances that go on have no final.
    pub(super) fn withdraw_open_partials(&mut self, now: Now, id: StreamId) {
        let Some(stream) = self.streams.iter().find(|stream| stream.stored.id == id) else { return };
        let pending: Vec<u32> = stream.pending().map(|spoken| spoken.number).collect();
        let open = self.running.0.iter().filter(|one| one.stream == id && !pending.contains(&one.number));
        for number in open.map(|one| one.number).collect::<Vec<_>>() {
            self.withdraw_partial(now, id, number);
        }
    }

    /// There will be no final: what was shown is taken away.
    pub(super) fn withdraw_partial(&mut self, now: Now, id: StreamId, number: u32) {
        if self.running.find(id, number).is_some_and(|running| running.revision > 0) {
            self.show_partial(now, id, number, true);
        }
        self.running.forget(id, number);
    }

    fn show_partial(&mut self, now: Now, id: StreamId, number: u32, withdrawn: bool) {
        let Some(stream) = self.streams.iter().find(|stream| stream.stored.id == id) else { return };
        let Some(running) = self.running.find(id, number) else { return };
        let Some(origin) = stream.stored.origin else { return };
        running.revision = running.revision.saturating_add(1);
        let start = origin + running.start.duration();
        let (leg, speaker) = stream.stored.whose(start);
        let text = |text: &str| if withdrawn { String::new() } else { text.to_owned() };
        let data = TranscriptPartial {
            leg,
            utterance: utterance_id(id, running.start),
            revision: running.revision,
            speaker,
            start,
            start_ms: running.start.0 / 1_000,
            heard_ms: running.heard.0.saturating_sub(running.start.0) / 1_000,
            stable: text(running.agreement.stable()),
            tail: text(running.agreement.tail()),
            withdrawn,
        };
        self.realtime(now.wall, Data::TranscriptPartial(data));
    }
}

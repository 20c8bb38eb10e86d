//! Several sources of one contact: streams that bring what another one brings already, and what of a stream is turned into text.

use std::sync::Arc;

use super::streams::Stream;
use super::{Output, Session};
use crate::pbx::{LegKey, Signal, Speaker, StreamId};
use crate::speech::Utterance;
use crate::time::{MediaTime, Now};

impl Session {
    /// The streams that have not ended: id, leg and who is heard.
    pub fn open_streams(&self) -> Vec<(StreamId, LegKey, Speaker)> {
        let leg = |stream: &Stream| self.contact.legs.iter().find(|leg| leg.id == stream.stored.leg);
        let open = self.streams.iter().filter(|stream| stream.closed.is_none());
        open.filter_map(|stream| Some((stream.stored.id, leg(stream)?.key.clone(), stream.stored.speaker))).collect()
    }

    /// A stream that another source brings too: its sound is kept, its speech is not turned into text.
    pub fn add_spare(&mut self, now: Now, leg: &LegKey, stream: StreamId, speaker: Speaker) {
        self.handle_signal(now, &Signal::StreamAdded { leg: leg.clone(), stream, speaker });
        if let Some(own) = self.streams.iter_mut().find(|own| own.stored.id == stream) {
            own.stored.spare = true;
            self.out.push_back(Output::Save);
        }
    }

    /// The other one is gone: from now on this one counts.
    pub fn use_spare(&mut self, now: Now, stream: StreamId) {
        if let Some(own) = self.streams.iter_mut().find(|own| own.stored.id == stream && own.stored.spare) {
            own.stored.spare = false;
            own.stored.from = Some(now.wall);
            self.out.push_back(Output::Save);
        }
    }

    /// Whether speech that ends there is turned into text: not what another stream brings, nor a mixture of people who are heard apart.
    pub(super) fn counts(&self, stream: &Stream, end: MediaTime) -> bool {
        let stored = &stream.stored;
        let end = stream.wall(end);
        let is_past = stored.from.zip(end).is_some_and(|(from, end)| end <= from);
        let speaker = end.map_or(stored.speaker, |end| stored.whose(end).1);
        let told_apart = speaker == Speaker::Mixed && self.hears_apart();
        !stored.spare && !is_past && !told_apart
    }

    /// What of an utterance another stream has not brought already.
    pub(super) fn since(&self, stream: &Stream, mut utterance: Utterance) -> Option<Utterance> {
        let Some((from, start)) = stream.stored.from.zip(stream.wall(utterance.start)) else { return Some(utterance) };
        if start >= from {
            return Some(utterance);
        }
        let brought = MediaTime(u64::try_from(from.since(start).as_micros()).unwrap_or(u64::MAX));
        let skipped = usize::try_from(brought.to_sample(utterance.rate)).unwrap_or(usize::MAX);
        let rest = utterance.pcm.get(skipped..).filter(|rest| !rest.is_empty())?;
        utterance.pcm = Arc::from(rest);
        utterance.start = MediaTime(utterance.start.0 + MediaTime::of_sample(skipped as u64, utterance.rate).0);
        Some(utterance)
    }

    /// Caller and agent are heard on streams of their own now.
    fn hears_apart(&self) -> bool {
        let open = |speaker| {
            let own = |stream: &&Stream| stream.closed.is_none() && !stream.stored.spare;
            self.streams.iter().filter(own).any(|stream| stream.stored.speaker == speaker)
        };
        open(Speaker::Caller) && open(Speaker::Agent)
    }
}

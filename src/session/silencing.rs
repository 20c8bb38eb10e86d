//! What was said and must not be stored is not heard either: silence in its place on disk, also where another stream has the same sound.
//!
//! The whole utterance becomes silence: a recogniser's token times are not true enough to cut digits out of it (docs/speech.md). What is to be
//! silent is stored with the contact, which stays open until the disk has it, so that no kill in between leaves it there.

use std::time::Duration;

use super::streams::Stream;
use super::{Output, Session};
use crate::pbx::{Speaker, StreamId};
use crate::time::{MediaTime, Mono, Now, Wall};

/// Sound on both sides of the utterance that becomes silence too.
const AROUND: Duration = Duration::from_millis(300);
/// When silence that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Spans kept apart for one stream; beyond that a new one prolongs the last one.
const MOST: usize = 2_000;

/// A span that is not silent on disk yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Silencing {
    stream: StreamId,
    from: MediaTime,
    to: MediaTime,
    /// It could not be written; the next try.
    again: Option<Mono>,
}

impl Session {
    /// Has an utterance silenced, in every stream with the same sound.
    pub(super) fn silence(&mut self, stream: StreamId, start: MediaTime, end: MediaTime) {
        let Some(own) = self.streams.iter().find(|own| own.stored.id == stream) else { return };
        let (Some(from), Some(to)) = (own.wall(start), own.wall(end)) else { return };
        let speaker = own.stored.whose(from).1;
        let same = |other: &Stream| {
            let heard = other.stored.whose(from).1;
            let mixed = |speaker| matches!(speaker, Speaker::Mixed | Speaker::Other);
            other.stored.id == stream || heard == speaker || mixed(heard) || mixed(speaker)
        };
        for index in 0..self.streams.len() {
            let Some(other) = self.streams.get_mut(index).filter(|other| other.stored.recorded && same(other)) else {
                continue;
            };
            let Some((from, to)) = span(other, from, to) else { continue };
            other.add_silent(from, to);
            let stream = other.stored.id;
            self.want_silence(stream, from, to);
        }
    }

    /// What was to be silent when the bridge stopped: it may not have been written.
    pub(super) fn silence_again(&mut self) {
        let spans = |stream: &Stream| {
            let id = stream.stored.id;
            stream.stored.silent.iter().map(move |(from, to)| (id, *from, *to)).collect::<Vec<_>>()
        };
        let all: Vec<_> = self.streams.iter().flat_map(spans).collect();
        all.into_iter().for_each(|(stream, from, to)| self.want_silence(stream, from, to));
    }

    fn want_silence(&mut self, stream: StreamId, from: MediaTime, to: MediaTime) {
        self.silencing.push(Silencing { stream, from, to, again: None });
        self.out.push_back(Output::Silence { stream, from, to });
    }

    /// The disk has it, or it could not be written.
    pub(super) fn silenced(&mut self, now: Now, stream: StreamId, from: MediaTime, to: MediaTime, done: bool) {
        let is = |one: &Silencing| (one.stream, one.from, one.to) == (stream, from, to);
        if done {
            self.silencing.retain(|one| !is(one));
        } else if let Some(one) = self.silencing.iter_mut().find(|one| is(one)) {
            one.again = Some(now.mono + AGAIN);
        }
    }

    /// Asks again for what could not be written.
    pub(super) fn retry_silence(&mut self, now: Now) {
        for one in &mut self.silencing {
            if one.again.take_if(|again| *again <= now.mono).is_some() {
                self.out.push_back(Output::Silence { stream: one.stream, from: one.from, to: one.to });
            }
        }
    }

    /// When that is due.
    pub(super) fn silence_due(&self) -> Option<Mono> {
        self.silencing.iter().filter_map(|one| one.again).min()
    }
}

/// Where a stretch of time is in a stream; `None` when it was over before the stream began.
fn span(stream: &Stream, from: Wall, to: Wall) -> Option<(MediaTime, MediaTime)> {
    let origin = stream.stored.origin?;
    let at = |wall: Wall| MediaTime(u64::try_from(wall.since(origin).as_micros()).unwrap_or(u64::MAX));
    let (from, to) = (at(from), at(to + AROUND));
    let around = u64::try_from(AROUND.as_micros()).unwrap_or(0);
    (to > MediaTime(around)).then_some((MediaTime(from.0.saturating_sub(around)), to))
}

impl Stream {
    fn add_silent(&mut self, from: MediaTime, to: MediaTime) {
        let full = self.stored.silent.len() >= MOST;
        match self.stored.silent.last_mut() {
            Some(last) if full => *last = (last.0.min(from), last.1.max(to)),
            _ => self.stored.silent.push((from, to)),
        }
    }
}

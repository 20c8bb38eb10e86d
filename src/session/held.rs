//! Texts that wait because a number may go on in the next one: what is spoken in pieces, over several utterances and read back in between, is
//! looked through as one before any of it becomes a final.
//!
//! A text that ends in digits waits for the next one of the same speaker, [`WAITS`] at most; until then every other text with digits waits too,
//! and per stream the order stays. Nothing of this is stored: after a kill the sound is recognised again.

use std::time::Duration;

use super::Session;
use super::streams::{SpokenState, Stream};
use crate::call::secret::Classes;
use crate::dictionary::Corrected;
use crate::events::Data;
use crate::pbx::StreamId;
use crate::speech::Hypothesis;
use crate::time::{Mono, Now, Wall};
use crate::transcript::ending::Ending;
use crate::transcript::together::{Hidden, Memory, Piece};
use crate::transcript::{self, Spoken as Said, together};

/// How long a text that ends in digits waits for the next one of its stream.
const WAITS: Duration = Duration::from_secs(15);
/// How long the first of the texts that wait together waits at most.
const LONGEST: Duration = Duration::from_secs(60);
/// The most texts that wait together; with one more all of them are told.
const MOST: usize = 200;
/// How long what was asked for says what numbers are.
const ASKED: Duration = Duration::from_secs(90);
/// An utterance this long before another one is no part of the same number.
const EARLIER: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// In order of arrival, so in order of time per stream.
    turns: Vec<Turn>,
    pub(super) memory: Memory,
    /// When they are to be looked at again.
    pub(super) due: Option<Mono>,
}

/// One text.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) number: u32,
    pub(super) said: Said,
    pub(super) hypothesis: Hypothesis,
    pub(super) corrected: Corrected,
    /// When it came.
    pub(super) since: Mono,
    /// It is published already, and only kept for the words in it.
    told: bool,
}

impl Turn {
    pub(super) fn new(now: Now, number: u32, said: Said, hypothesis: Hypothesis, corrected: Corrected) -> Turn {
        Turn { number, said, hypothesis, corrected, since: now.mono, told: false }
    }

    fn start(&self) -> Wall {
        self.said.origin + self.said.start.duration()
    }

    fn end(&self) -> Wall {
        self.said.origin + self.said.end.duration()
    }
}

impl Held {
    fn waiting(&self) -> impl Iterator<Item = &Turn> {
        self.turns.iter().filter(|turn| !turn.told)
    }

    fn of(&self, stream: StreamId) -> impl Iterator<Item = &Turn> {
        self.waiting().filter(move |turn| turn.said.stream == stream)
    }
}

impl Session {
    /// Which classes of numbers are masked on this line.
    pub(super) fn masked(&self) -> Classes {
        self.line.mask.classes(self.site.mask.mask)
    }

    /// Takes a text: it is told at once, unless it has digits or must wait behind one that does.
    pub(super) fn take_text(&mut self, now: Now, mut turn: Turn) {
        let digits = Ending::of(&turn.corrected.text).has_digits || Ending::of(&turn.hypothesis.text).has_digits;
        let free = self.masked() == Classes::NONE || (!digits && self.held.of(turn.said.stream).next().is_none());
        if free {
            self.publish(now, &turn, &Hidden::default());
            turn.told = true;
        }
        match self.held.waiting().next().is_none() && turn.told {
            true => self.held.memory.hear(turn.start(), &turn.corrected.text),
            false => self.held.turns.push(turn),
        }
    }

    /// Tells the texts that wait when nothing is missing any more, or with `all` in any case.
    pub(super) fn release(&mut self, now: Now, all: bool) {
        self.held.due = if all || self.held.turns.len() > MOST { None } else { self.waits(now) };
        if self.held.turns.is_empty() || self.held.due.is_some() {
            return;
        }
        let mut turns = std::mem::take(&mut self.held.turns);
        turns.sort_by_key(|turn| (turn.start(), turn.end()));
        let mut streams: Vec<StreamId> = turns.iter().map(|turn| turn.said.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        let piece = |turn| piece(turn, &streams);
        let pieces: Vec<Piece<'_>> = turns.iter().map(piece).collect();
        let asked = turns.first().and_then(|first| self.held.memory.word(first.start(), ASKED));
        let masked = self.masked();
        let hidden = together::hidden(&pieces, asked, &mut self.held.memory, masked);
        for (turn, hidden) in turns.iter().zip(&hidden) {
            self.held.memory.hear(turn.start(), &turn.corrected.text);
            if !turn.told {
                self.publish(now, turn, hidden);
            }
        }
    }

    /// Until when the texts wait at most; `None` when there is nothing to wait for.
    fn waits(&self, now: Now) -> Option<Mono> {
        let first = self.held.waiting().map(|turn| turn.since).min()?;
        let longest = first + LONGEST;
        if longest <= now.mono {
            return None;
        }
        let ends = self.streams.iter().filter_map(|stream| self.stream_waits(now, stream, longest)).min();
        ends.map(|end| end.min(longest))
    }

    /// The same for one stream: its last text ends in digits, or one that is still being recognised belongs between those that are there.
    fn stream_waits(&self, now: Now, stream: &Stream, longest: Mono) -> Option<Mono> {
        let pending: Vec<Wall> = stream.coming().filter_map(|start| stream.wall(start)).collect();
        let between = |turn: &Turn| {
            let earlier = |start: &Wall| *start < turn.start() && turn.start().since(*start) < EARLIER;
            turn.said.stream != stream.stored.id && pending.iter().any(earlier)
        };
        if self.held.waiting().any(between) {
            return Some(longest);
        }
        let last = self.held.of(stream.stored.id).last()?;
        if !self.goes_on(stream.stored.id, last) {
            return None;
        }
        let next = last.end() + WAITS;
        if pending.iter().any(|start| *start <= next) {
            return Some(longest);
        }
        let end = last.since + WAITS;
        (stream.closed.is_none() && end > now.mono).then_some(end)
    }

    /// Whether a number may go on after the last text of a stream.
    fn goes_on(&self, stream: StreamId, last: &Turn) -> bool {
        let asked = self.held.memory.word(last.start(), ASKED);
        let of = |text: fn(&Turn) -> &str| {
            let turns: Vec<&str> = self.held.of(stream).map(text).collect();
            // what was asked for since the first of them
            let others = self.held.turns.iter().map(|turn| turn.corrected.text.as_str());
            Ending::of_lines(&turns).goes_on(others, asked)
        };
        of(|turn| &turn.corrected.text) || of(|turn| &turn.hypothesis.text)
    }

    /// Makes a final of a text, without what is hidden of it, and has that silenced.
    fn publish(&mut self, now: Now, turn: &Turn, hidden: &Hidden) {
        let dictionary = &self.site.dictionary;
        let (said, masked) = (&turn.said, self.masked());
        let text = transcript::compose(said, &turn.hypothesis, &turn.corrected, hidden, dictionary, masked);
        if let Some(spoken) = self.spoken(said.stream, turn.number) {
            spoken.state = SpokenState::Transcribed;
        }
        self.document.add_final(&text);
        self.finals.push((said.stream, text.start, text.end));
        self.touch_handovers(Some(turn.start()));
        if !hidden.is_empty() {
            self.silence(said.stream, said.start, said.end);
        }
        self.record(now.wall, Some(said.leg), Data::TranscriptFinal(text));
    }
}

fn piece<'a>(turn: &'a Turn, streams: &[StreamId]) -> Piece<'a> {
    Piece {
        who: streams.iter().position(|stream| *stream == turn.said.stream).unwrap_or_default(),
        start: turn.start(),
        end: turn.end(),
        raw: &turn.hypothesis.text,
        text: &turn.corrected.text,
    }
}

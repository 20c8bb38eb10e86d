//! The media of one call: which lines are heard on which streams, and our description of that.

use crate::pbx::{Speaker, StreamId};

use super::sdp::{self, Description, Direction, Format, Line, Place, Taken};

/// One line that is heard.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) speaker: Speaker,
    /// Index of the media line.
    line: usize,
    /// Our RTP port, once the media stage opened it.
    pub(super) port: Option<u16>,
    pub(super) formats: Vec<Format>,
    /// As the peer wrote it.
    offered: Direction,
    /// As the peer writes it when nobody is on hold.
    normal: Direction,
    null_address: bool,
    target: (String, u16),
}

impl Stream {
    fn new(id: StreamId, speaker: Speaker, line: usize, offered: &Line) -> Stream {
        let normal = if offered.direction == Direction::Sendonly { Direction::Sendonly } else { Direction::Sendrecv };
        Stream {
            id,
            speaker,
            line,
            port: None,
            formats: offered.choose(None),
            offered: offered.direction,
            normal,
            null_address: offered.null_address,
            target: offered.target.clone(),
        }
    }

    /// On hold: nothing can be heard, or the peer no longer wants to hear anybody. A recording leg is sendonly all the time.
    fn is_held(&self) -> bool {
        match self.offered {
            _ if self.null_address => true,
            Direction::Inactive | Direction::Recvonly => true,
            Direction::Sendonly => self.normal != Direction::Sendonly,
            Direction::Sendrecv => false,
        }
    }
}

/// What a re-negotiation changed for the media stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Other payload types.
    Payloads(StreamId, Vec<Format>),
    /// The peer's end moved: the source may be another one.
    Moved(StreamId),
    /// A line that was added is heard.
    New(StreamId, Speaker),
    /// The line is gone.
    Gone(StreamId),
}

/// What both sides agreed on.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) streams: Vec<Stream>,
    place: Place,
    /// Our last description.
    last: Vec<u8>,
    /// Lines of the session; may only grow (RFC 3264 §8).
    lines: usize,
    /// Nothing may be kept of the call: its lines are agreed as inactive and no port is opened.
    deaf: bool,
    /// The peer's last description: our own offers keep its lines.
    shape: Option<Description>,
    /// Streams that were added and not told yet.
    added: Vec<StreamId>,
}

/// The port of a line that is agreed and not received (discard, RFC 863); port 0 would refuse the line, and with it the call.
const DISCARD: u16 = 9;

impl Agreed {
    /// From the first offer: with two usable audio lines the first is the caller's and the second the agent's (a recording leg), with
    /// one it is the caller's. `None` when nothing can be heard.
    pub(super) fn of_offer(
        offer: &Description,
        place: Place,
        mut id: impl FnMut(Speaker) -> StreamId,
    ) -> Option<Agreed> {
        let speakers = [Speaker::Caller, Speaker::Agent];
        let streams: Vec<Stream> = offer
            .usable()
            .zip(speakers)
            .map(|((index, line), speaker)| Stream::new(id(speaker), speaker, index, line))
            .collect();
        let (lines, shape) = (offer.lines.len(), Some(offer.clone()));
        (!streams.is_empty()).then(|| Agreed {
            streams,
            place,
            last: Vec::new(),
            lines,
            shape,
            added: Vec::new(),
            deaf: false,
        })
    }

    /// For a call that came without an offer: we offer one line.
    pub(super) fn of_nothing(place: Place, id: StreamId) -> Agreed {
        let stream = Stream {
            id,
            speaker: Speaker::Caller,
            line: 0,
            port: None,
            formats: sdp::own_formats(),
            offered: Direction::Sendrecv,
            normal: Direction::Sendrecv,
            null_address: false,
            target: (String::new(), 0),
        };
        Agreed { streams: vec![stream], place, last: Vec::new(), lines: 1, shape: None, added: Vec::new(), deaf: false }
    }

    /// Agrees to every line and hears none.
    pub(super) fn deafen(&mut self) {
        self.deaf = true;
        self.streams.iter_mut().for_each(|stream| stream.port = Some(DISCARD));
    }

    /// The streams that are received.
    pub(super) fn heard(&self) -> &[Stream] {
        if self.deaf { &[] } else { &self.streams }
    }

    /// The media stage opened a stream; tells whether it is one of these.
    pub(super) fn opened(&mut self, id: StreamId, port: u16) -> bool {
        let stream = self.streams.iter_mut().find(|stream| stream.id == id);
        stream.map(|stream| stream.port = Some(port)).is_some()
    }

    /// Every stream has its port.
    pub(super) fn is_ready(&self) -> bool {
        self.streams.iter().all(|stream| stream.port.is_some())
    }

    /// Nothing is to be heard on any line, by the peer's wish.
    pub(super) fn is_held(&self) -> bool {
        !self.streams.is_empty() && self.streams.iter().all(Stream::is_held)
    }

    /// Whether an answer (or an offer in PRACK) can replace what was agreed: no line vanished, a stream of now goes on.
    pub(super) fn allows(&self, offer: &Description) -> bool {
        offer.lines.len() >= self.lines && self.keeps_any(offer)
    }

    /// Whether a new offer can replace what was agreed: no line vanished, something can be heard, maybe on a new stream.
    pub(super) fn can_take(&self, offer: &Description) -> bool {
        offer.lines.len() >= self.lines && offer.usable().next().is_some()
    }

    /// Whether a stream of now goes on.
    pub(super) fn keeps_any(&self, offer: &Description) -> bool {
        self.streams.iter().any(|stream| stream.goes_on(offer))
    }

    /// Streams for the lines of an offer that no stream of now can take, as far as a speaker is without one.
    pub(super) fn additions(&self, offer: &Description, mut id: impl FnMut(Speaker) -> StreamId) -> Vec<Stream> {
        let kept: Vec<&Stream> = self.streams.iter().filter(|stream| stream.goes_on(offer)).collect();
        let speakers = [Speaker::Caller, Speaker::Agent].into_iter();
        let free = speakers.filter(|speaker| kept.iter().all(|stream| stream.speaker != *speaker));
        let lines = offer.usable().filter(|(index, _)| kept.iter().all(|stream| stream.line != *index));
        let added = lines.zip(free).map(|((index, line), speaker)| Stream::new(id(speaker), speaker, index, line));
        let port = self.deaf.then_some(DISCARD);
        added.map(|stream| Stream { port, ..stream }).collect()
    }

    /// Adds streams that have their ports; [`Agreed::renegotiate`] with the same offer follows.
    pub(super) fn add(&mut self, streams: Vec<Stream>) {
        self.added.extend(streams.iter().map(|stream| stream.id));
        let replaced = |own: &Stream| streams.iter().any(|new| new.line == own.line);
        // an old stream on the line of a new one ends: its line now stands for another
        self.streams.iter_mut().filter(|own| replaced(own)).for_each(|own| own.line = usize::MAX);
        self.streams.extend(streams);
    }

    /// Takes a new offer, or the answer to ours; ask [`Agreed::can_take`] or [`Agreed::allows`] before.
    pub(super) fn renegotiate(&mut self, offer: &Description, is_answer: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        self.lines = offer.lines.len();
        self.shape = Some(offer.clone());
        self.streams.retain_mut(|stream| match offer.lines.get(stream.line).filter(|line| stream.fits(line)) {
            Some(line) => {
                stream.take(line, is_answer, &mut changes);
                true
            }
            None => {
                changes.push(Change::Gone(stream.id));
                false
            }
        });
        let added = std::mem::take(&mut self.added);
        let new = self.streams.iter().filter(|stream| added.contains(&stream.id));
        changes.extend(new.map(|stream| Change::New(stream.id, stream.speaker)));
        if self.deaf {
            changes.clear();
        }
        changes
    }

    /// Our answer to an offer.
    pub(super) fn answer(&mut self, offer: &Description) -> Vec<u8> {
        let taken = self.taken();
        self.versioned(|place| sdp::answer(offer, &taken, place))
    }

    /// Our offer, with as many lines as the session has (RFC 3264 §8).
    pub(super) fn offer(&mut self) -> Vec<u8> {
        let (taken, shape) = (self.taken(), self.shape.clone());
        self.versioned(|place| match &shape {
            Some(shape) => sdp::answer(shape, &taken, place),
            None => sdp::offer(&taken, place),
        })
    }

    /// Our last description, unchanged.
    pub(super) fn last(&self) -> Vec<u8> {
        self.last.clone()
    }

    fn taken(&self) -> Vec<Taken> {
        let taken = |stream: &Stream| Taken {
            line: stream.line,
            port: stream.port.unwrap_or_default(),
            formats: stream.formats.clone(),
            direction: if self.deaf { Direction::Inactive } else { stream.offered.answered() },
        };
        self.streams.iter().map(taken).collect()
    }

    /// The version of `o=` rises only when something else changed (RFC 3264 §8).
    fn versioned(&mut self, print: impl Fn(&Place) -> Vec<u8>) -> Vec<u8> {
        let mut own = print(&self.place);
        if own != self.last && !self.last.is_empty() {
            self.place.version += 1;
            own = print(&self.place);
        }
        self.last = own.clone();
        own
    }
}

impl Stream {
    fn goes_on(&self, offer: &Description) -> bool {
        offer.lines.get(self.line).is_some_and(|line| self.fits(line))
    }

    fn fits(&self, line: &Line) -> bool {
        line.is_usable() && !line.choose(self.clock()).is_empty()
    }

    /// The clock that a running stream must keep.
    fn clock(&self) -> Option<u32> {
        self.formats.first().map(|format| format.clock)
    }

    fn take(&mut self, line: &Line, is_answer: bool, changes: &mut Vec<Change>) {
        // Whoever answers may send any of what it lists; our own answer lists one codec.
        let formats = if is_answer { line.common(self.clock()) } else { line.choose(self.clock()) };
        if formats != self.formats {
            self.formats = formats;
            changes.push(Change::Payloads(self.id, self.formats.clone()));
        }
        if line.target != self.target {
            let first = self.target.1 == 0;
            self.target = line.target.clone();
            if !first && !line.null_address {
                changes.push(Change::Moved(self.id));
            }
        }
        self.offered = line.direction;
        self.null_address = line.null_address;
    }
}

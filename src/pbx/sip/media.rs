//! The media of one call: which lines are heard on which streams, and our description of that.

use crate::pbx::{Speaker, StreamId};

use super::keying::{self, Keying, Path, Secured, Terms};
use super::sdp::{self, Description, Direction, Format, Line, Place, Taken};
use super::siprec;

/// One line that is heard.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) speaker: Speaker,
    /// Index of the media line.
    line: usize,
    /// The peer's name for the line.
    label: Option<String>,
    /// Our RTP port, once the media stage opened it.
    pub(super) port: Option<u16>,
    pub(super) formats: Vec<Format>,
    /// Other numbers that the peer may use for them.
    aliases: Vec<Format>,
    secured: Secured,
    rtcp_mux: bool,
    /// As the peer wrote it.
    offered: Direction,
    /// As the peer writes it when nobody is on hold.
    normal: Direction,
    null_address: bool,
    /// Where its packets come from and how they are protected.
    pub(super) path: Path,
}

impl Stream {
    fn new(id: StreamId, speaker: Speaker, line: usize, offered: &Line, terms: &mut Terms) -> Option<Stream> {
        let secured = terms.answer(offered, None)?;
        let normal = if offered.direction == Direction::Sendonly { Direction::Sendonly } else { Direction::Sendrecv };
        Some(Stream {
            id,
            speaker,
            line,
            label: offered.label.clone(),
            port: None,
            formats: offered.choose(&terms.codecs),
            aliases: Vec::new(),
            path: path(offered, &secured, terms),
            secured,
            rtcp_mux: offered.rtcp_mux,
            offered: offered.direction,
            normal,
            null_address: offered.null_address,
        })
    }

    /// As the metadata of a recording session sees it.
    pub(super) fn as_line(&self) -> siprec::Line {
        siprec::Line { stream: self.id, index: self.line, label: self.label.clone(), silent: self.is_silent() }
    }

    /// Everything that may come on it: our numbers first.
    pub(super) fn payloads(&self) -> Vec<Format> {
        self.formats.iter().chain(&self.aliases).copied().collect()
    }

    /// Nothing comes on it now: a recorder's pause is `inactive`, or the address of hold as before RFC 3264 (RFC 7866 §7.1.1).
    fn is_silent(&self) -> bool {
        self.null_address || matches!(self.offered, Direction::Inactive | Direction::Recvonly)
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

/// What the lines of a call are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A call to the bridge: the first line is the caller's, the second the agent's, nobody else is heard.
    Call,
    /// A recording session (RFC 7866 §7.1): every line is heard and nothing is sent; whose each is, others say.
    Recording,
}

/// What a re-negotiation changed for the media stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Other payload types.
    Payloads(StreamId, Vec<Format>),
    /// The peer's end moved, or the keys are others.
    Path(StreamId, Path),
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
    terms: Terms,
    purpose: Purpose,
}

/// The port of a line that is agreed and not received (discard, RFC 863); port 0 would refuse the line, and with it the call.
const DISCARD: u16 = 9;
/// Lines of a recording session that are heard; more are refused.
const RECORDED_MAX: usize = 16;

impl Agreed {
    /// From the first offer: with two usable audio lines the first is the caller's and the second the agent's (a recording leg), with
    /// one it is the caller's. `None` when nothing can be heard.
    pub(super) fn of_offer(
        offer: &Description,
        place: Place,
        mut terms: Terms,
        purpose: Purpose,
        mut id: impl FnMut(Speaker) -> StreamId,
    ) -> Option<Agreed> {
        let mut speakers = purpose.speakers().into_iter().peekable();
        let mut streams: Vec<Stream> = Vec::new();
        for (index, line) in offer.usable() {
            let Some(speaker) = speakers.peek().copied() else { break };
            if let Some(stream) = Stream::new(id(speaker), speaker, index, line, &mut terms) {
                streams.push(stream);
                speakers.next();
            }
        }
        let (lines, shape) = (offer.lines.len(), Some(offer.clone()));
        (!streams.is_empty()).then(|| Agreed {
            streams,
            place,
            last: Vec::new(),
            lines,
            shape,
            added: Vec::new(),
            deaf: false,
            terms,
            purpose,
        })
    }

    /// For a call that came without an offer: we offer one line.
    pub(super) fn of_nothing(place: Place, mut terms: Terms, purpose: Purpose, id: StreamId) -> Agreed {
        let secured = terms.offer();
        let stream = Stream {
            id,
            speaker: purpose.speakers().into_iter().next().unwrap_or(Speaker::Caller),
            line: 0,
            label: None,
            port: None,
            formats: sdp::own_formats(&terms.codecs),
            aliases: Vec::new(),
            path: Path { keying: secured.keying.clone(), ..Path::default() },
            secured,
            rtcp_mux: false,
            offered: Direction::Sendrecv,
            normal: Direction::Sendrecv,
            null_address: false,
        };
        let (shape, added) = (None, Vec::new());
        Agreed { streams: vec![stream], place, last: Vec::new(), lines: 1, shape, added, deaf: false, terms, purpose }
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

    /// Keys that came in a description.
    pub(super) fn has_sdes(&self) -> bool {
        self.streams.iter().any(|stream| matches!(stream.secured.keying, Keying::Sdes { .. }))
    }

    /// Whether an answer (or an offer in PRACK) can replace what was agreed: no line vanished, none that was encrypted goes on in the
    /// clear, a stream of now goes on.
    pub(super) fn allows(&self, description: &Description, is_answer: bool) -> bool {
        let kept = description.lines.len() >= self.lines && !self.is_downgrade(description, is_answer);
        kept && self.streams.iter().any(|stream| stream.goes_on(description, is_answer, &self.terms))
    }

    /// Whether a new offer can replace what was agreed: as [`Agreed::allows`], but what is heard may all be on new streams.
    pub(super) fn can_take(&self, offer: &Description) -> bool {
        let mut terms = self.terms.clone();
        let kept = offer.lines.len() >= self.lines && !self.is_downgrade(offer, false);
        kept && (self.keeps_any(offer) || offer.usable().any(|(_, line)| terms.answer(line, None).is_some()))
    }

    /// Whether a stream of now goes on.
    pub(super) fn keeps_any(&self, offer: &Description) -> bool {
        self.streams.iter().any(|stream| stream.goes_on(offer, false, &self.terms))
    }

    /// Whether the line of an encrypted stream would go on in the clear.
    fn is_downgrade(&self, description: &Description, is_answer: bool) -> bool {
        let usable = |stream: &&Stream| description.lines.get(stream.line).is_some_and(Line::is_usable);
        let mut secure = self.streams.iter().filter(|stream| stream.secured.keying.is_secure()).filter(usable);
        secure.any(|stream| !stream.goes_on(description, is_answer, &self.terms))
    }

    /// Streams for the lines of an offer that no stream of now can take, as far as a speaker is without one.
    pub(super) fn additions(&mut self, offer: &Description, mut id: impl FnMut(Speaker) -> StreamId) -> Vec<Stream> {
        let kept: Vec<&Stream> =
            self.streams.iter().filter(|stream| stream.goes_on(offer, false, &self.terms)).collect();
        let mut speakers = self.purpose.speakers();
        for stream in &kept {
            let place = speakers.iter().position(|speaker| *speaker == stream.speaker);
            place.map(|place| speakers.remove(place));
        }
        let mut free = speakers.into_iter().peekable();
        let taken: Vec<usize> = kept.iter().map(|stream| stream.line).collect();
        let port = self.deaf.then_some(DISCARD);
        let mut added = Vec::new();
        for (index, line) in offer.usable().filter(|(index, _)| !taken.contains(index)) {
            let Some(speaker) = free.peek().copied() else { break };
            if let Some(stream) = Stream::new(id(speaker), speaker, index, line, &mut self.terms) {
                added.push(Stream { port, ..stream });
                free.next();
            }
        }
        added
    }

    /// Takes over how many keys a copy of this made, so that none is made twice.
    pub(super) fn keys_made_by(&mut self, copy: &Agreed) {
        self.terms.made = self.terms.made.max(copy.terms.made);
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
    pub(super) fn renegotiate(&mut self, description: &Description, is_answer: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        self.lines = description.lines.len();
        self.shape = Some(description.clone());
        let terms = &mut self.terms;
        self.streams.retain_mut(|stream| {
            let line = description.lines.get(stream.line).filter(|line| line.is_usable());
            let taken = line.and_then(|line| Some((line, stream.secure(line, is_answer, terms)?)));
            match taken {
                Some((line, secured)) => {
                    stream.take(line, is_answer, secured, terms, &mut changes);
                    true
                }
                None => {
                    changes.push(Change::Gone(stream.id));
                    false
                }
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
            direction: if self.deaf { Direction::Inactive } else { self.purpose.answered(stream.offered) },
            proto: stream.secured.proto.unwrap_or("RTP/AVP"),
            attributes: stream.attributes(),
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

impl Purpose {
    /// Who may be heard, a line each.
    fn speakers(self) -> Vec<Speaker> {
        match self {
            Purpose::Call => vec![Speaker::Caller, Speaker::Agent],
            Purpose::Recording => vec![Speaker::Other; RECORDED_MAX],
        }
    }

    /// The direction of an answer. A recorder never sends (RFC 7866 §7.2).
    fn answered(self, offered: Direction) -> Direction {
        match (self, offered.answered()) {
            (Purpose::Recording, Direction::Sendrecv) => Direction::Recvonly,
            (Purpose::Recording, Direction::Sendonly) => Direction::Inactive,
            (_, answered) => answered,
        }
    }
}

/// Where packets of a line come from and go to.
fn path(line: &Line, secured: &Secured, terms: &Terms) -> Path {
    let source = keying::source(&line.target, terms.peer);
    let rtcp = source.and_then(|source| {
        let port = if line.rtcp_mux { Some(source.port()) } else { line.rtcp_port.or(source.port().checked_add(1)) };
        port.map(|port| std::net::SocketAddr::new(source.ip(), port))
    });
    Path { source, rtcp, rtcp_mux: line.rtcp_mux, keying: secured.keying.clone() }
}

impl Stream {
    fn goes_on(&self, description: &Description, is_answer: bool, terms: &Terms) -> bool {
        let line = description.lines.get(self.line).filter(|line| line.is_usable());
        line.is_some_and(|line| self.secure(line, is_answer, &mut terms.clone()).is_some())
    }

    /// The keying of a new line; `None` when it does not fit.
    fn secure(&self, line: &Line, is_answer: bool, terms: &mut Terms) -> Option<Secured> {
        if !is_answer {
            return terms.answer(line, Some(&self.secured));
        }
        let heard = line.common(&self.formats).0.iter().any(|format| format.codec.is_audio());
        terms.answered(line, &self.secured).filter(|_| heard)
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let mux = self.rtcp_mux.then(|| ("rtcp-mux", String::new()));
        self.secured.attributes.iter().cloned().chain(mux).collect()
    }

    fn take(&mut self, line: &Line, is_answer: bool, secured: Secured, terms: &Terms, changes: &mut Vec<Change>) {
        let before = self.payloads();
        // Whoever answers may send any of what it lists; our own answer lists one codec.
        (self.formats, self.aliases) =
            if is_answer { line.common(&self.formats) } else { (line.choose(&terms.codecs), Vec::new()) };
        if self.payloads() != before {
            changes.push(Change::Payloads(self.id, self.payloads()));
        }
        let mut path = path(line, &secured, terms);
        if line.null_address {
            // Hold as before RFC 3264: nobody moved.
            path = Path { keying: path.keying, ..self.path.clone() };
        }
        if path != self.path {
            self.path = path.clone();
            changes.push(Change::Path(self.id, path));
        }
        self.secured = secured;
        self.label = line.label.clone();
        self.rtcp_mux = line.rtcp_mux;
        self.offered = line.direction;
        self.null_address = line.null_address;
    }
}

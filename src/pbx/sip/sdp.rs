//! Session descriptions: what the peer offers, and our answer (RFC 3264, RFC 8866). Syntax by `sdp-types`.

use sdp_types::{Session, Time};

use super::keying::Security;
use super::message::decode;
use super::settings::Preferred;

use self::read::read_line;
use self::write::{bare_line, our_line, print};

mod read;
mod write;

/// More media lines make an offer unusable.
const LINES_MAX: usize = 32;

/// What a payload type carries; the bridge translates it for the media stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722; its RTP clock is 8000 although it carries 16 kHz (RFC 3551 §4.5.2).
    G722,
    /// Opus (RFC 7587), with the feature `opus`.
    Opus,
    /// Named telephone events (RFC 4733).
    TelephoneEvent,
    /// Comfort noise (RFC 3389).
    ComfortNoise,
}

/// One payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// 0–127.
    pub number: u8,
    /// What it carries.
    pub codec: Codec,
    /// RTP clock in Hz.
    pub clock: u32,
}

/// Who may send (RFC 3264 §5.1), as seen by whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Sendrecv,
    /// The writer only.
    Sendonly,
    /// The other only.
    Recvonly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// The answer to it (RFC 3264 §6.1).
    pub fn answered(self) -> Direction {
        match self {
            Direction::Sendonly => Direction::Recvonly,
            Direction::Recvonly => Direction::Sendonly,
            both => both,
        }
    }
}

/// One media line of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `audio`, `video`, …
    pub media: String,
    proto: String,
    fmt: String,
    /// Where the peer receives; port 0: the line is refused or gone.
    pub target: (String, u16),
    /// Direction as the peer wrote it.
    pub direction: Direction,
    /// `c=0.0.0.0`: hold as before RFC 3264.
    pub null_address: bool,
    /// What we can decode, in the peer's order.
    pub formats: Vec<Format>,
    /// How it is protected.
    pub security: Security,
    /// RTCP comes to the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// Where the peer receives RTCP, when it is not one above RTP (RFC 3605).
    pub rtcp_port: Option<u16>,
    /// The peer's name for it (`a=label`, RFC 4574), at most 128 bytes.
    pub label: Option<String>,
}

impl Codec {
    pub(in crate::pbx) fn is_audio(self) -> bool {
        !matches!(self, Codec::TelephoneEvent | Codec::ComfortNoise)
    }

    fn is(self, preferred: Preferred) -> bool {
        match preferred {
            Preferred::Opus => self == Codec::Opus,
            Preferred::G722 => self == Codec::G722,
            Preferred::G711 => matches!(self, Codec::Pcmu | Codec::Pcma),
        }
    }
}

impl Line {
    /// Whether sound can be received on it.
    pub fn is_usable(&self) -> bool {
        self.target.1 != 0 && !self.choose(&[]).is_empty()
    }

    /// The payload types of an answer: the best codec (the first of `preferred` that is offered, else the peer's first), its events and
    /// comfort noise.
    pub fn choose(&self, preferred: &[Preferred]) -> Vec<Format> {
        let mut audio = self.formats.iter().filter(|format| format.codec.is_audio());
        let wanted = preferred.iter().find_map(|codec| audio.clone().find(|format| format.codec.is(*codec)));
        let Some(best) = wanted.or_else(|| audio.next()) else { return Vec::new() };
        let mut chosen = vec![*best];
        for codec in [Codec::TelephoneEvent, Codec::ComfortNoise] {
            chosen.extend(self.formats.iter().find(|other| other.codec == codec && other.clock == best.clock));
        }
        chosen
    }

    /// What of our offer the peer's answer took. The peer sends the numbers of the offer (RFC 3264 §5.1); one that sends those of its own
    /// answer is understood as long as they are free: these come second.
    pub fn common(&self, ours: &[Format]) -> (Vec<Format>, Vec<Format>) {
        let has = |format: &&Format| self.formats.iter().any(|other| same_codec(other, format));
        let taken: Vec<Format> = ours.iter().filter(has).copied().collect();
        let free = |format: &&Format| {
            taken.iter().any(|own| same_codec(own, format)) && ours.iter().all(|own| own.number != format.number)
        };
        let aliases = self.formats.iter().filter(free).copied().collect();
        (taken, aliases)
    }
}

fn same_codec(one: &Format, other: &Format) -> bool {
    (one.codec, one.clock) == (other.codec, other.clock)
}

/// A description by the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Media lines in order.
    pub lines: Vec<Line>,
    times: Vec<Time>,
}

/// Why a description cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Syntax.
    #[error("the session description does not parse; expected SDP as of RFC 8866")]
    Syntax,
    /// Too many lines.
    #[error("the session description has more than 32 media lines")]
    TooManyLines,
}

impl Description {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is no SDP or has too many lines.
    pub fn parse(body: &[u8]) -> Result<Description, Error> {
        let session = Session::parse(decode(body).as_bytes()).map_err(|_| Error::Syntax)?;
        if session.medias.len() > LINES_MAX {
            return Err(Error::TooManyLines);
        }
        let lines = session.medias.iter().map(|media| read_line(&session, media)).collect();
        Ok(Description { lines, times: session.times })
    }

    /// Index and line of every line that sound can be received on.
    pub fn usable(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().filter(|(_, line)| line.is_usable())
    }
}

/// What we say of one line that we take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Index of the media line.
    pub line: usize,
    /// Our RTP port.
    pub port: u16,
    /// Payload types, best first.
    pub formats: Vec<Format>,
    /// As seen by us.
    pub direction: Direction,
    /// Transport of the line in an offer of ours; an answer repeats the peer's.
    pub proto: &'static str,
    /// Further attributes: keys, fingerprint, multiplexing.
    pub attributes: Vec<(&'static str, String)>,
}

/// Where our description comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Address or name that the peer sends RTP to.
    pub host: String,
    /// Session id of the `o=` line.
    pub session: u64,
    /// Version of the `o=` line; one higher with every change.
    pub version: u64,
}

/// The answer: as many lines as the offer, in its order; what is not taken has port 0 (RFC 3264 §6).
pub fn answer(offer: &Description, taken: &[Taken], place: &Place) -> Vec<u8> {
    let mut medias = Vec::with_capacity(offer.lines.len());
    for (index, line) in offer.lines.iter().enumerate() {
        medias.push(match taken.iter().find(|taken| taken.line == index) {
            Some(taken) => our_line(taken, &line.proto),
            None => bare_line(&line.media, &line.proto, 0, line.fmt.split(' ').next().unwrap_or("0")),
        });
    }
    print(place, offer.times.clone(), medias)
}

/// Our offer of one audio line, for a peer that asked without one (RFC 3261 §13.2.1).
pub fn offer(taken: &[Taken], place: &Place) -> Vec<u8> {
    print(place, Vec::new(), taken.iter().map(|taken| our_line(taken, taken.proto)).collect())
}

/// The payload types that we offer ourselves: what is preferred first, then the rest.
pub fn own_formats(preferred: &[Preferred]) -> Vec<Format> {
    let mut formats = vec![
        Format { number: 0, codec: Codec::Pcmu, clock: 8_000 },
        Format { number: 8, codec: Codec::Pcma, clock: 8_000 },
        Format { number: 9, codec: Codec::G722, clock: 8_000 },
    ];
    if cfg!(feature = "opus") {
        formats.push(Format { number: 107, codec: Codec::Opus, clock: 48_000 });
    }
    let rank = |format: &Format| preferred.iter().position(|codec| format.codec.is(*codec)).unwrap_or(preferred.len());
    formats.sort_by_key(rank);
    formats.push(Format { number: 13, codec: Codec::ComfortNoise, clock: 8_000 });
    formats.push(Format { number: 101, codec: Codec::TelephoneEvent, clock: 8_000 });
    if cfg!(feature = "opus") {
        formats.push(Format { number: 102, codec: Codec::TelephoneEvent, clock: 48_000 });
    }
    formats
}

#[cfg(test)]
mod tests;

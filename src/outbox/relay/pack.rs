//! Events packed for the link: deflate (RFC 1951), primed with the words that every event has, each by itself, so that the sizes of one contact's say
//! nothing of another's.
//!
//! A message is `kind u8 | how u8 | plain length u32 | bytes`. Beside events there are segments of sound, and offers of them.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use uuid::Uuid;

use super::Class;
use super::frame::MOST_OF_MESSAGE;
use crate::pbx::StreamId;

/// Bytes before the event.
const HEAD: usize = 6;
const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;
/// What both ends have seen before an event begins. It is part of version 1 of the link: another one needs another version.
const WORDS: &str = include_str!("words.txt");

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An event, as CloudEvents JSON.
    Event(Class),
    /// A file of sound: its place, then its bytes.
    Segment,
    /// Asks whether that file is wanted: its place, then its SHA-256.
    Offer,
}

impl From<Class> for Kind {
    fn from(class: Class) -> Kind {
        Kind::Event(class)
    }
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Kind::Event(class) => class.number(),
            Kind::Segment => 3,
            Kind::Offer => 4,
        }
    }

    fn of_number(number: u8) -> Option<Kind> {
        match number {
            3 => Some(Kind::Segment),
            4 => Some(Kind::Offer),
            class => Class::of_number(class).map(Kind::Event),
        }
    }
}

/// Which file of sound: the stream, and the number of its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The stream.
    pub stream: StreamId,
    /// Of the segment.
    pub number: u32,
}

/// Segments of a stream have six digits.
const MOST_SEGMENTS: u32 = 1_000_000;

impl Place {
    /// The place, and what stands behind it in a message.
    pub fn with(self, rest: &[u8]) -> Vec<u8> {
        [self.stream.0.as_bytes(), &self.number.to_be_bytes()[..], rest].concat()
    }

    /// Reads a place; `None` when there is none.
    pub fn of(bytes: &[u8]) -> Option<(Place, &[u8])> {
        let (stream, rest) = bytes.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let place = Place { stream: StreamId(Uuid::from_bytes(*stream)), number: u32::from_be_bytes(*number) };
        (place.number < MOST_SEGMENTS).then_some((place, rest))
    }
}

/// Why something cannot be unpacked; each ends the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too short, or a class or way of packing that this version does not have.
    #[error("a message whose beginning cannot be read")]
    Head,
    /// Longer than a message may be.
    #[error("a message of {0} bytes; expected {MOST_OF_MESSAGE} at most")]
    Long(usize),
    /// Its bytes are not what was packed.
    #[error("a message that cannot be unpacked")]
    Broken,
}

/// Packs an event or something else.
///
/// # Errors
/// When it is longer than a message may be.
pub fn pack(kind: impl Into<Kind>, event: &[u8]) -> Result<Vec<u8>, Error> {
    let deflated = deflate(event).filter(|packed| packed.len() < event.len());
    let (how, bytes) = deflated.as_deref().map_or((PLAIN, event), |packed| (DEFLATED, packed));
    if event.len().max(HEAD + bytes.len()) > MOST_OF_MESSAGE {
        return Err(Error::Long(event.len()));
    }
    let mut message = vec![kind.into().number(), how];
    message.extend_from_slice(&(event.len() as u32).to_be_bytes());
    message.extend_from_slice(bytes);
    Ok(message)
}

/// What it was before it was packed.
///
/// # Errors
/// When it is not what [`pack`] makes, or would be too long.
pub fn unpack(message: &[u8]) -> Result<(Kind, Vec<u8>), Error> {
    let (head, bytes) = message.split_first_chunk::<HEAD>().ok_or(Error::Head)?;
    let [kind, how, length @ ..] = *head;
    let kind = Kind::of_number(kind).ok_or(Error::Head)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MOST_OF_MESSAGE {
        return Err(Error::Long(length));
    }
    let event = match how {
        PLAIN => bytes.to_vec(),
        DEFLATED => inflate(bytes, length)?,
        _ => return Err(Error::Head),
    };
    if event.len() == length { Ok((kind, event)) } else { Err(Error::Broken) }
}

/// A compressor that has seen the words, and what it made of them.
fn primed() -> Option<(Compress, Vec<u8>)> {
    let mut compress = Compress::new(Compression::best(), false);
    let words = run(&mut compress, WORDS.as_bytes(), FlushCompress::Sync)?;
    Some((compress, words))
}

fn deflate(event: &[u8]) -> Option<Vec<u8>> {
    let (mut compress, _) = primed()?;
    run(&mut compress, event, FlushCompress::Finish)
}

fn run(compress: &mut Compress, input: &[u8], flush: FlushCompress) -> Option<Vec<u8>> {
    // deflate never makes it longer than this (RFC 1951 §3.2.4: five bytes for each stored block)
    let mut out = Vec::with_capacity(input.len() + input.len() / 1_000 + 1_024);
    let before = compress.total_in();
    let status = compress.compress_vec(input, &mut out, flush).ok()?;
    let whole = compress.total_in() - before == input.len() as u64;
    let ended = matches!(flush, FlushCompress::Sync) || matches!(status, Status::StreamEnd);
    (whole && ended).then_some(out)
}

/// Never writes more than `length` bytes.
fn inflate(bytes: &[u8], length: usize) -> Result<Vec<u8>, Error> {
    let (_, words) = primed().ok_or(Error::Broken)?;
    let mut decompress = Decompress::new(false);
    let mut seen = Vec::with_capacity(WORDS.len() + 64);
    decompress.decompress_vec(&words, &mut seen, FlushDecompress::Sync).map_err(|_| Error::Broken)?;
    // room grows with what comes: a few bytes that claim megabytes cost nothing
    let mut event = Vec::with_capacity(length.min(bytes.len().saturating_mul(4)) + 1);
    let mut rest = bytes;
    loop {
        let before = (decompress.total_in(), event.len());
        let status = decompress.decompress_vec(rest, &mut event, FlushDecompress::Finish).map_err(|_| Error::Broken)?;
        let taken = (decompress.total_in() - before.0) as usize;
        rest = rest.get(taken..).unwrap_or_default();
        if matches!(status, Status::StreamEnd) {
            return if rest.is_empty() { Ok(event) } else { Err(Error::Broken) };
        }
        if event.len() > length {
            return Err(Error::Broken);
        }
        if event.len() == event.capacity() {
            // one byte more than was told is enough to know
            event.reserve_exact(event.len().max(1_024).min(length + 1 - event.len()));
        } else if taken == 0 && event.len() == before.1 {
            return Err(Error::Broken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = concat!(
        r#"{"specversion":"1.0","id":"1567a9b2-742f-5eb9-85e4-380adf80cf29","source":"/site/osaka/node/n1","#,
        r#""subject":"contact/00000000-0000-0000-0000-000000000001/leg/00000000-0000-0000-0000-000000000002","#,
        r#""time":"2026-11-23T08:00:00.123456Z","datacontenttype":"application/json","#,
        r#""partitionkey":"00000000-0000-0000-0000-000000000001","sequence":"00000000000000000003","#,
        r#""type":"kakehashi.call.queued.v1","data":{"caller":{"number":"+81600001234"},"called":"6001","queue":"madoguchi"}}"#
    );

    #[test]
    fn an_event_is_as_it_was_and_a_third_of_its_size() {
        let packed = pack(Kind::Event(Class::Record), EVENT.as_bytes()).unwrap();
        assert!(packed.len() * 3 < EVENT.len(), "{} of {}", packed.len(), EVENT.len());
        assert_eq!(unpack(&packed).unwrap(), (Kind::Event(Class::Record), EVENT.as_bytes().to_vec()));
        for text in ["", "x", "あ", &EVENT.repeat(400)] {
            assert_eq!(unpack(&pack(Class::Bulk, text.as_bytes()).unwrap()).unwrap().1, text.as_bytes());
        }
    }

    #[test]
    fn what_does_not_shrink_goes_plain() {
        let noise: Vec<u8> = (0..5_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let packed = pack(Class::Live, &noise).unwrap();
        assert!(packed.len() <= noise.len() + HEAD);
        assert_eq!(unpack(&packed).unwrap(), (Kind::Event(Class::Live), noise));
    }

    #[test]
    fn what_claims_more_or_less_than_it_holds_is_refused() {
        let bomb = pack(Class::Bulk, &vec![0; 1_000_000]).unwrap();
        assert!(bomb.len() < 5_000);
        let told = |length: u32| {
            let mut message = bomb.clone();
            message[2..6].copy_from_slice(&length.to_be_bytes());
            unpack(&message)
        };
        assert_eq!(told(1_000_000).unwrap().1.len(), 1_000_000);
        for length in [0, 10, 999_999, 1_000_001, MOST_OF_MESSAGE as u32] {
            assert_eq!(told(length), Err(Error::Broken), "{length}");
        }
        assert_eq!(told(u32::MAX), Err(Error::Long(u32::MAX as usize)));
        for cut in 0..bomb.len() {
            assert!(unpack(&bomb[..cut]).is_err(), "{cut}");
        }
        assert_eq!(pack(Class::Bulk, &vec![1; MOST_OF_MESSAGE + 1]), Err(Error::Long(MOST_OF_MESSAGE + 1)));
    }

    #[test]
    fn a_place_is_read_back_and_one_that_no_segment_has_is_none() {
        let place = Place { stream: StreamId(Uuid::from_u128(7)), number: 999_999 };
        assert_eq!(Place::of(&place.with(b"sound")), Some((place, &b"sound"[..])));
        assert_eq!(Place::of(&Place { number: 1_000_000, ..place }.with(b"")), None);
        assert_eq!(Place::of(&[0; 19]), None);
        let packed = pack(Kind::Offer, &place.with(&[1; 32])).unwrap();
        assert_eq!(unpack(&packed).unwrap().0, Kind::Offer);
    }

    #[test]
    fn bits_turned_over_never_panic() {
        let packed = pack(Class::Record, EVENT.as_bytes()).unwrap();
        for place in 0..packed.len() * 8 {
            let mut broken = packed.clone();
            broken[place / 8] ^= 1 << (place % 8);
            if let Ok((_, event)) = unpack(&broken) {
                assert!(event.len() <= MOST_OF_MESSAGE);
            }
        }
    }
}

//! Frames of the link: `kind u8 | message u32 | length u16 | payload`, big-endian, over TLS. A message is one or more frames, the last one marked.

use bytes::{Buf, BufMut, BytesMut};

/// The version of the protocol that this program speaks.
pub const VERSION: u16 = 1;
/// The longest payload of a frame, in bytes: between two of them something live can go.
pub const MOST_OF_FRAME: usize = 8 * 1024;
/// The longest message, packed and unpacked, in bytes; the document of a call of hours has less.
pub const MOST_OF_MESSAGE: usize = 16 * 1024 * 1024;
/// Bytes before the payload.
pub const HEAD: usize = 7;
/// The longest text of an answer or a farewell, in bytes.
const MOST_OF_TEXT: usize = 200;
/// What a greeting begins with, in every version.
const MAGIC: &[u8; 8] = b"kkrelay\0";

/// Which end says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside the exchange: it sends events.
    Near,
    /// Beside the CRM: it takes them.
    Far,
}

/// Why a link ends in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// This end stops.
    Stopping,
    /// The ends speak different versions.
    Version,
    /// The other end did not keep to the protocol.
    Fault,
    /// A newer link takes its place.
    Replaced,
    /// The bytes of the day are used up.
    UsedUp,
    /// One that a newer version knows.
    Other,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first one of each end. Its layout is the same in every version.
    Hello {
        /// [`VERSION`] of who says it.
        version: u16,
        /// Which end it is; `None`: one that this version does not know.
        role: Option<Role>,
    },
    /// A piece of a message.
    Piece {
        /// Which message, by a number of the near end.
        message: u32,
        /// Whether it is the last one.
        last: bool,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// What became of a message.
    Answer {
        /// Which message.
        message: u32,
        /// One of [`super::status`].
        status: u16,
        /// In words, without personal data.
        why: String,
    },
    /// Asks whether the other end is there.
    Ping,
    /// It is.
    Pong,
    /// The last one of an end.
    Bye {
        /// Why.
        farewell: Farewell,
        /// In words.
        why: String,
    },
}

/// What is no frame; each ends the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A kind that this version does not know.
    #[error("a frame of kind {0}, which version {VERSION} of the link does not have")]
    Kind(u8),
    /// Longer than a frame may be.
    #[error("a frame of {0} bytes; expected {MOST_OF_FRAME} at most")]
    Long(usize),
    /// Its payload is not what its kind has.
    #[error("a frame of kind {0} with a payload that it cannot have")]
    Payload(u8),
    /// It is something else than the link of a kakehashi.
    #[error("the other end does not speak the link of kakehashi")]
    Magic,
}

const HELLO: u8 = 1;
const PIECE: u8 = 2;
const LAST: u8 = 3;
const ANSWER: u8 = 4;
const PING: u8 = 5;
const PONG: u8 = 6;
const BYE: u8 = 7;

impl Frame {
    /// Appends it to `out`.
    pub fn write(&self, out: &mut BytesMut) {
        let mut payload = Vec::new();
        let (kind, message) = match self {
            Frame::Hello { version, role } => {
                payload.put_slice(MAGIC);
                payload.put_u16(*version);
                payload.put_u8(role.map_or(0, role_number));
                (HELLO, 0)
            }
            Frame::Piece { message, last, bytes } => {
                payload.extend_from_slice(bytes);
                (if *last { LAST } else { PIECE }, *message)
            }
            Frame::Answer { message, status, why } => {
                payload.put_u16(*status);
                payload.put_slice(shortened(why));
                (ANSWER, *message)
            }
            Frame::Ping => (PING, 0),
            Frame::Pong => (PONG, 0),
            Frame::Bye { farewell, why } => {
                payload.put_u8(farewell_number(*farewell));
                payload.put_slice(shortened(why));
                (BYE, 0)
            }
        };
        payload.truncate(MOST_OF_FRAME);
        out.put_u8(kind);
        out.put_u32(message);
        out.put_u16(payload.len() as u16);
        out.put_slice(&payload);
    }

    fn read(kind: u8, message: u32, mut payload: &[u8]) -> Result<Frame, Malformed> {
        let wrong = || Malformed::Payload(kind);
        Ok(match kind {
            HELLO => {
                let rest = payload.strip_prefix(MAGIC).ok_or(Malformed::Magic)?;
                let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(wrong)?;
                let role = match rest.first() {
                    Some(1) => Some(Role::Near),
                    Some(2) => Some(Role::Far),
                    _ => None,
                };
                Frame::Hello { version: u16::from_be_bytes(*version), role }
            }
            PIECE | LAST => Frame::Piece { message, last: kind == LAST, bytes: payload.to_vec() },
            ANSWER => {
                let status = payload.try_get_u16().map_err(|_| wrong())?;
                Frame::Answer { message, status, why: words(payload) }
            }
            PING if payload.is_empty() => Frame::Ping,
            PONG if payload.is_empty() => Frame::Pong,
            BYE => {
                let farewell = farewell_of(payload.try_get_u8().map_err(|_| wrong())?);
                Frame::Bye { farewell, why: words(payload) }
            }
            PING | PONG => return Err(wrong()),
            _ => return Err(Malformed::Kind(kind)),
        })
    }
}

fn role_number(role: Role) -> u8 {
    match role {
        Role::Near => 1,
        Role::Far => 2,
    }
}

fn farewell_number(farewell: Farewell) -> u8 {
    match farewell {
        Farewell::Stopping => 1,
        Farewell::Version => 2,
        Farewell::Fault => 3,
        Farewell::Replaced => 4,
        Farewell::UsedUp => 5,
        Farewell::Other => 0,
    }
}

fn farewell_of(number: u8) -> Farewell {
    match number {
        1 => Farewell::Stopping,
        2 => Farewell::Version,
        3 => Farewell::Fault,
        4 => Farewell::Replaced,
        5 => Farewell::UsedUp,
        _ => Farewell::Other,
    }
}

/// As much of a text as fits, whole characters.
fn shortened(text: &str) -> &[u8] {
    let end = (0..=text.len().min(MOST_OF_TEXT)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().as_bytes()
}

/// A text of the other end, for a log: short, and without control characters.
fn words(bytes: &[u8]) -> String {
    let bytes = bytes.get(..bytes.len().min(MOST_OF_TEXT)).unwrap_or_default();
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Cuts what comes into frames; keeps one unfinished frame at most.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// What comes is put here, and then taken out by [`Frames::next`] until nothing is left.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole frame; `None` when more has to come.
    ///
    /// # Errors
    /// When it is none; nothing after it can be read.
    #[allow(clippy::should_implement_trait, reason = "it fails, and may go on after `None`")]
    pub fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [kind, a, b, c, d, high, low] = *head;
        if !(HELLO..=BYE).contains(&kind) {
            return Err(Malformed::Kind(kind));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MOST_OF_FRAME {
            return Err(Malformed::Long(length));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = Frame::read(kind, u32::from_be_bytes([a, b, c, d]), payload)?;
        self.buffer.advance(HEAD + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Frame> {
        vec![
            Frame::Hello { version: VERSION, role: Some(Role::Near) },
            Frame::Piece { message: 7, last: false, bytes: vec![9; MOST_OF_FRAME] },
            Frame::Piece { message: u32::MAX, last: true, bytes: Vec::new() },
            Frame::Answer { message: 7, status: 200, why: String::new() },
            Frame::Answer { message: 8, status: 503, why: "満杯".into() },
            Frame::Ping,
            Frame::Pong,
            Frame::Bye { farewell: Farewell::UsedUp, why: "tomorrow".into() },
        ]
    }

    #[test]
    fn what_is_written_is_read_back_however_it_is_cut() {
        let mut bytes = BytesMut::new();
        all().iter().for_each(|frame| frame.write(&mut bytes));
        for step in [1, 2, 3, 7, 1_000, bytes.len()] {
            let (mut frames, mut read) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(step) {
                frames.buffer().extend_from_slice(piece);
                while let Some(frame) = frames.next().unwrap() {
                    read.push(frame);
                }
            }
            assert_eq!(read, all(), "{step}");
        }
    }

    #[test]
    fn the_greeting_is_fixed() {
        let mut bytes = BytesMut::new();
        Frame::Hello { version: 1, role: Some(Role::Far) }.write(&mut bytes);
        assert_eq!(&bytes[..], b"\x01\0\0\0\0\0\x0bkkrelay\0\0\x01\x02");
    }

    #[test]
    fn what_is_no_frame_is_told_before_its_payload_comes() {
        let read = |bytes: &[u8]| {
            let mut frames = Frames::default();
            frames.buffer().extend_from_slice(bytes);
            frames.next()
        };
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Err(Malformed::Kind(b'G')));
        assert_eq!(read(&[PIECE, 0, 0, 0, 1, 0xff, 0xff]), Err(Malformed::Long(0xffff)));
        assert_eq!(read(&[ANSWER, 0, 0, 0, 1, 0, 1, 5]), Err(Malformed::Payload(ANSWER)));
        assert_eq!(read(&[PING, 0, 0, 0, 1, 0, 1, 5]), Err(Malformed::Payload(PING)));
        assert_eq!(read(&[HELLO, 0, 0, 0, 0, 0, 3, 1, 2, 3]), Err(Malformed::Magic));
        assert_eq!(read(&[BYE, 0, 0, 0, 0, 0, 3, 9, 0xff, b'\n']).unwrap().unwrap(), {
            Frame::Bye { farewell: Farewell::Other, why: "\u{fffd} ".into() }
        });
    }
}

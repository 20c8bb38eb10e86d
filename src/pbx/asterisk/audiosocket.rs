//! AudioSocket (Asterisk's `app_audiosocket`, `chan_audiosocket`): frames of one TCP connection and what they ask of us. Sans-IO.
//!
//! A frame is a type, a length (16 bits, network order) and a payload. The first names the call by a UUID; then comes sound, 16-bit PCM in
//! little-endian order, and digits. Asterisk drops a call over which nothing was sent in either direction for 2 s, and some releases are silent
//! until the peer sends: silence goes out from the first moment, a frame every 20 ms, whatever comes.
//!
//! Drive a [`Connection`] so: one `handle_*`, then [`Connection::poll_output`] until `None`, then wait for bytes or [`Connection::due`].
//! At [`Output::Identified`] answer with [`Connection::admit`] or close it; until then nothing of what follows is read.

use std::collections::VecDeque;
use std::time::Duration;

use uuid::Uuid;

use crate::pbx::EndCause;
use crate::time::{Mono, Now};

use super::timeline::{Counts, Format, Packet, Timeline};

/// Longest payload that is taken, in bytes; Asterisk's are 320 or 640.
pub const PAYLOAD_MAX: usize = 8_192;
/// Bytes of a frame before its payload.
const HEADER: usize = 3;
/// A frame of silence goes out so often.
pub const SILENCE_EVERY: Duration = Duration::from_millis(20);
/// Frames of unknown types that are passed over; more end the connection.
const STRANGE_MAX: u32 = 100;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Type 0x00: the call is over.
    Hangup,
    /// Type 0x01: which call it is.
    Id(Uuid),
    /// Type 0x03: a digit was pressed.
    Digit(char),
    /// Types 0x10 to 0x18: PCM, little-endian, with the rate that the type says, in Hz.
    Sound(u32, Vec<u8>),
    /// Type 0xff: Asterisk failed; its code, 0 when it gave none.
    Error(u8),
    /// A type that is not known.
    Strange(u8),
}

/// Why the bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The length is above [`PAYLOAD_MAX`].
    #[error("a frame of {0} bytes; expected at most {PAYLOAD_MAX}")]
    TooLong(usize),
    /// A UUID of another length than 16, or a digit of another than 1.
    #[error("a frame of type {kind:#04x} with {length} bytes; expected {expected}")]
    Length {
        /// Type.
        kind: u8,
        /// Found.
        length: usize,
        /// Expected.
        expected: usize,
    },
    /// Not a digit.
    #[error("a digit frame without a digit")]
    Digit,
}

/// Cuts the bytes of a connection into frames; holds one frame at most.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    /// Takes bytes as they came. What was not read yet stays: read frames until `None` before more is put in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at.min(self.bytes.len()));
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// What cannot be a frame; the connection is of no use then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some((&[kind, high, low], after)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > PAYLOAD_MAX {
            return Err(Error::TooLong(length));
        }
        let Some(payload) = after.get(..length) else { return Ok(None) };
        let frame = frame(kind, payload)?;
        self.at += HEADER + length;
        Ok(Some(frame))
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }
}

fn frame(kind: u8, payload: &[u8]) -> Result<Frame, Error> {
    let wrong = |expected| Error::Length { kind, length: payload.len(), expected };
    Ok(match kind {
        0x00 => Frame::Hangup,
        0x01 => Frame::Id(Uuid::from_bytes(payload.try_into().map_err(|_| wrong(16))?)),
        0x03 => match payload {
            [digit @ (b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D')] => Frame::Digit(char::from(*digit)),
            [digit @ b'a'..=b'd'] => Frame::Digit(char::from(digit.to_ascii_uppercase())),
            [_] => return Err(Error::Digit),
            _ => return Err(wrong(1)),
        },
        0x10..=0x18 => Frame::Sound(rate_of(kind), payload.to_vec()),
        0xff => Frame::Error(payload.first().copied().unwrap_or(0)),
        kind => Frame::Strange(kind),
    })
}

/// The rate of a sound type, in Hz.
fn rate_of(kind: u8) -> u32 {
    match kind {
        0x11 => 12_000,
        0x12 => 16_000,
        0x13 => 24_000,
        0x14 => 32_000,
        0x15 => 44_100,
        0x16 => 48_000,
        0x17 => 96_000,
        0x18 => 192_000,
        _ => 8_000,
    }
}

/// A frame of 20 ms of silence; type 0x10, or 0x12 at 16 kHz.
pub fn silence(format: Format) -> Vec<u8> {
    let (kind, length) = if format.rate() == 16_000 { (0x12, 640_u16) } else { (0x10, 320) };
    let mut frame = vec![kind];
    frame.extend(length.to_be_bytes());
    frame.resize(HEADER + usize::from(length), 0);
    frame
}

/// The frame that ends a call.
pub const HANGUP: [u8; 3] = [0, 0, 0];

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Asterisk said that the call is over, or closed the connection, which says the same.
    Hangup,
    /// The connection was lost.
    Lost,
    /// No UUID in time.
    Unknown,
    /// Nothing came for too long.
    Idle,
    /// What came is not the protocol.
    Malformed(&'static str),
    /// Sound of a rate that is not taken, in Hz.
    Rate(u32),
    /// Asterisk reported an error, with this code.
    Failed(u8),
    /// The peer does not read what it is sent.
    Slow,
    /// We ended it.
    Stopped,
}

impl Ended {
    /// For records: whether the call ended as calls do.
    pub fn cause(self) -> EndCause {
        match self {
            Ended::Hangup | Ended::Stopped => EndCause::Normal,
            _ => EndCause::Failed,
        }
    }

    /// What happened and what to do; no personal data.
    pub fn reason(self) -> String {
        match self {
            Ended::Hangup => "Asterisk ended the connection".into(),
            Ended::Lost => {
                "the connection to Asterisk was lost; look for a firewall or a restart between the two".into()
            }
            Ended::Unknown => "the connection did not say in time which call it carries".into(),
            Ended::Idle => "no sound came for too long".into(),
            Ended::Malformed(what) => format!("what came is not the protocol: {what}"),
            Ended::Rate(rate) => format!("sound at {rate} Hz; expected 8000 or 16000: use c(slin) or c(slin16)"),
            Ended::Failed(code) => format!("Asterisk reported error {code:#04x}"),
            Ended::Slow => "Asterisk did not read what it was sent".into(),
            Ended::Stopped => "the bridge ended the connection".into(),
        }
    }
}

/// What a connection wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write to the connection.
    Send(Vec<u8>),
    /// Whose it is: decide, then [`Connection::admit`].
    Identified(Uuid),
    /// Sound for the stream.
    Sound(Packet),
    /// A digit was pressed.
    Digit(char),
    /// It is over; nothing follows.
    Ended(Ended),
}

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until its UUID.
    pub unknown: Duration,
    /// Between two frames.
    pub idle: Duration,
}

#[derive(Debug)]
enum State {
    Unknown,
    /// Told, not decided.
    Asked,
    /// What type 0x10 means, and the line once its format is known.
    Admitted {
        plain: Format,
        ssrc: u32,
        line: Option<Timeline>,
    },
    Over,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    state: State,
    reader: Reader,
    patience: Patience,
    began: Mono,
    heard: Mono,
    silence_at: Mono,
    silence: Format,
    strange: u32,
    now: Now,
    out: VecDeque<Output>,
}

impl Connection {
    /// A connection that was just accepted; silence goes out at once, at `plain` (what type 0x10 means) until it is admitted.
    pub fn new(now: Now, plain: Format, patience: Patience) -> Self {
        Self {
            state: State::Unknown,
            reader: Reader::default(),
            patience,
            began: now.mono,
            heard: now.mono,
            silence_at: now.mono,
            silence: plain,
            strange: 0,
            now,
            out: VecDeque::new(),
        }
    }

    /// Whoever it is may speak: `plain` is what sound of type 0x10 is, `ssrc` the source of the packets.
    pub fn admit(&mut self, plain: Format, ssrc: u32) {
        if matches!(self.state, State::Asked) {
            self.state = State::Admitted { plain, ssrc, line: None };
            self.silence = plain;
        }
    }

    /// Bytes came.
    pub fn handle_bytes(&mut self, now: Now, bytes: &[u8]) {
        (self.now, self.heard) = (now, now.mono);
        self.reader.push(bytes);
    }

    /// The connection is closed by Asterisk (`lost`: without the end of a TCP stream, or in the middle of a frame).
    pub fn handle_closed(&mut self, now: Now, lost: bool) {
        self.now = now;
        let torn = self.reader.waiting() > 0;
        self.end(if lost || torn { Ended::Lost } else { Ended::Hangup });
    }

    /// When [`Connection::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        let line = match &self.state {
            State::Admitted { line, .. } => line.as_ref().and_then(Timeline::due),
            State::Unknown | State::Asked => Some(self.began + self.patience.unknown),
            State::Over => return None,
        };
        [Some(self.silence_at), Some(self.heard + self.patience.idle), line].into_iter().flatten().min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        match &mut self.state {
            State::Over => return,
            State::Unknown | State::Asked if self.began + self.patience.unknown <= now.mono => {
                return self.end(Ended::Unknown);
            }
            State::Admitted { line: Some(line), .. } if line.due().is_some_and(|due| due <= now.mono) => {
                line.handle_timeout(now);
            }
            _ => {}
        }
        if self.heard + self.patience.idle <= now.mono {
            return self.end(Ended::Idle);
        }
        if self.silence_at <= now.mono {
            self.out.push_back(Output::Send(silence(self.silence)));
            let next = self.silence_at + SILENCE_EVERY;
            // a driver that was kept from it sends no burst
            self.silence_at = if next <= now.mono { now.mono + SILENCE_EVERY } else { next };
        }
    }

    /// Ends it from our side.
    pub fn stop(&mut self, now: Now, why: Ended) {
        self.now = now;
        if !matches!(self.state, State::Over) {
            self.out.push_back(Output::Send(HANGUP.to_vec()));
            self.end(why);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            self.take_sound();
            if let Some(output) = self.out.pop_front() {
                return Some(output);
            }
            if matches!(self.state, State::Asked | State::Over) {
                return None;
            }
            match self.reader.next_frame() {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => return None,
                Err(Error::TooLong(_)) => self.end(Ended::Malformed("a frame that is too long")),
                Err(Error::Length { .. }) => self.end(Ended::Malformed("a frame of a wrong length")),
                Err(Error::Digit) => self.end(Ended::Malformed("a digit that is none")),
            }
        }
    }

    /// What did not fit the clock.
    pub fn counts(&self) -> Counts {
        match &self.state {
            State::Admitted { line: Some(line), .. } => line.counts(),
            _ => Counts::default(),
        }
    }

    fn take_sound(&mut self) {
        if let State::Admitted { line: Some(line), .. } = &mut self.state {
            self.out.extend(std::iter::from_fn(|| line.poll()).map(Output::Sound));
        }
    }

    fn take(&mut self, frame: Frame) {
        match (frame, &mut self.state) {
            (Frame::Hangup, _) => self.end(Ended::Hangup),
            (Frame::Error(code), _) => self.end(Ended::Failed(code)),
            (Frame::Id(id), State::Unknown) => {
                self.state = State::Asked;
                self.out.push_back(Output::Identified(id));
            }
            (Frame::Id(_), _) => self.end(Ended::Malformed("a second UUID")),
            (_, State::Unknown) => self.end(Ended::Malformed("the first frame is not the UUID")),
            (Frame::Digit(digit), _) => self.out.push_back(Output::Digit(digit)),
            (Frame::Sound(rate, sound), State::Admitted { plain, ssrc, line }) => {
                let format = if rate == 8_000 { Some(*plain) } else { Format::of_rate(rate) };
                let Some(format) = format else { return self.end(Ended::Rate(rate)) };
                let line = line.get_or_insert_with(|| Timeline::new(format, *ssrc));
                self.silence = format;
                if line.format() != format {
                    self.end(Ended::Malformed("another rate than before"));
                } else if !line.push(self.now, &sound) {
                    self.end(Ended::Malformed("half a sample"));
                }
            }
            (Frame::Sound(..), _) => {}
            (Frame::Strange(_), _) => {
                self.strange += 1;
                if self.strange > STRANGE_MAX {
                    self.end(Ended::Malformed("many frames of unknown types"));
                }
            }
        }
    }

    fn end(&mut self, why: Ended) {
        if matches!(self.state, State::Over) {
            return;
        }
        if let State::Admitted { line: Some(line), .. } = &mut self.state {
            line.finish(self.now);
        }
        self.take_sound();
        self.state = State::Over;
        self.out.push_back(Output::Ended(why));
    }
}

#[cfg(test)]
#[path = "tests/audiosocket.rs"]
mod tests;

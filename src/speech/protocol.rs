//! What bridge and worker say to each other over a pipe: frames of a length, a kind and a body. No IO.
//!
//! The bridge says [`ToWorker::Hello`] once, then dictionaries and jobs; the worker answers [`FromWorker::Ready`] or [`FromWorker::Refused`],
//! then one [`FromWorker::Done`] for each job in order. [`ToWorker::Abort`] asks it to give up a partial; that job is answered as well. Every
//! length is bounded; a peer that breaks the rules gets a [`ProtocolError`], and the pipe is closed.

use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Failure, Hypothesis, JobKind};
use crate::call::scope::Scopes;

/// Version of this protocol; both ends must have the same.
pub const VERSION: u32 = 2;
/// Most bytes of a frame's body; a dictionary of 50,000 words has less.
pub const MAX_BODY: usize = 32 << 20;
/// Most samples of a job: 30 s at 16 kHz.
pub const MAX_SAMPLES: usize = 480_000;
/// Bytes before the body: its length and the kind.
const HEAD: usize = 5;

/// From the bridge.
#[derive(Clone, Debug, PartialEq)]
pub enum ToWorker {
    /// What to load; comes first.
    Hello(Hello),
    /// Replaces the dictionary.
    Dictionary(Words),
    /// Recognise.
    Job(Sound),
    /// The outcome of this job is not wanted any more. Of no effect on a final, and on a job that is done.
    Abort(u64),
}

/// The first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the bridge.
    pub protocol: u32,
    /// The model file.
    pub model: PathBuf,
    /// Spoken language.
    pub language: String,
    /// Threads of a decode.
    pub threads: u16,
    /// How much lower the priority shall be.
    pub nice: u8,
}

/// A dictionary as `dictionary` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Its version, at most 255 bytes.
    pub version: String,
    /// Its content.
    pub content: Arc<[u8]>,
}

/// The sound of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// The job's id.
    pub id: u64,
    /// What the text is for: of a running utterance it is decoded the quick way.
    pub kind: JobKind,
    /// Samples a second.
    pub rate: u32,
    /// At most [`MAX_SAMPLES`].
    pub pcm: Arc<[i16]>,
    /// What the call is, for the words that apply to it.
    pub scopes: Scopes,
}

/// From the worker.
#[derive(Clone, Debug, PartialEq)]
pub enum FromWorker {
    /// The model is loaded.
    Ready(Ready),
    /// It cannot work; the text says why and what to do.
    Refused(String),
    /// A job is done.
    Done(Done),
}

/// What the worker has loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// [`VERSION`] of the worker.
    pub protocol: u32,
    /// The model's name.
    pub model: String,
}

/// The result of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The job's id.
    pub id: u64,
    /// Text, or why there is none.
    pub result: Result<Hypothesis, Failure>,
}

/// A peer that does not keep to the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The body is longer than anything that is sent.
    #[error("a frame of {0} bytes; at most {MAX_BODY} are sent")]
    TooLong(usize),
    /// A kind that is not known at this end.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// The body does not parse.
    #[error("a frame of kind {kind} that does not parse: {problem}")]
    Body {
        /// The frame's kind.
        kind: u8,
        /// What is wrong with it.
        problem: String,
    },
    /// A message of this end is longer than the other end takes.
    #[error("a message of {0} bytes is too long to be sent")]
    Unsendable(usize),
}

/// A message of one direction.
pub trait Message: Sized {
    /// Appends the message as one frame.
    ///
    /// # Errors
    /// When it is longer than the other end takes.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError>;

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// When it does not parse.
    fn read(kind: u8, body: &[u8]) -> Result<Self, ProtocolError>;
}

impl Message for ToWorker {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        match self {
            ToWorker::Hello(hello) => json(out, 1, hello),
            ToWorker::Dictionary(words) => {
                let version = words.version.as_bytes();
                let length = u8::try_from(version.len()).map_err(|_| ProtocolError::Unsendable(version.len()))?;
                frame(out, 2, &[&[length], version, &words.content])
            }
            ToWorker::Job(sound) => {
                if sound.pcm.len() > MAX_SAMPLES {
                    return Err(ProtocolError::Unsendable(sound.pcm.len() * 2));
                }
                let samples: Vec<u8> = sound.pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                let scopes = sound.scopes.to_string();
                let length = u16::try_from(scopes.len()).map_err(|_| ProtocolError::Unsendable(scopes.len()))?;
                let (id, rate, length) = (sound.id.to_le_bytes(), sound.rate.to_le_bytes(), length.to_le_bytes());
                frame(out, 3, &[&id, &[code(sound.kind)], &rate, &length, scopes.as_bytes(), &samples])
            }
            ToWorker::Abort(id) => frame(out, 4, &[&id.to_le_bytes()]),
        }
    }

    fn read(kind: u8, body: &[u8]) -> Result<Self, ProtocolError> {
        let wrong = |problem: &str| ProtocolError::Body { kind, problem: problem.to_owned() };
        match kind {
            1 => parse(kind, body).map(ToWorker::Hello),
            2 => {
                let (&length, rest) = body.split_first().ok_or_else(|| wrong("it is empty"))?;
                let (version, content) =
                    rest.split_at_checked(usize::from(length)).ok_or_else(|| wrong("its version is cut off"))?;
                let version = std::str::from_utf8(version).map_err(|_| wrong("its version is no text"))?.to_owned();
                Ok(ToWorker::Dictionary(Words { version, content: content.into() }))
            }
            3 => {
                let (id, rest) = body.split_first_chunk().ok_or_else(|| wrong("its id is cut off"))?;
                let (&[kind], rest) = rest.split_first_chunk().ok_or_else(|| wrong("its kind is cut off"))?;
                let kind = kind_of(kind).ok_or_else(|| wrong("a job of an unknown kind"))?;
                let (rate, rest) = rest.split_first_chunk().ok_or_else(|| wrong("its rate is cut off"))?;
                let (scopes, samples) = rest
                    .split_first_chunk()
                    .and_then(|(length, rest)| rest.split_at_checked(u16::from_le_bytes(*length).into()))
                    .ok_or_else(|| wrong("its scopes are cut off"))?;
                let scopes = std::str::from_utf8(scopes).ok().and_then(|scopes| Scopes::parse(scopes).ok());
                let scopes = scopes.ok_or_else(|| wrong("its scopes are none"))?;
                let rate = u32::from_le_bytes(*rate);
                if rate != 8_000 && rate != 16_000 {
                    return Err(wrong(&format!("{rate} Hz; 8000 or 16000 are recognised")));
                }
                if samples.len() % 2 != 0 || samples.len() / 2 > MAX_SAMPLES {
                    return Err(wrong("half a sample, or more than 30 s"));
                }
                let pcm = samples.as_chunks().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
                Ok(ToWorker::Job(Sound { id: u64::from_le_bytes(*id), kind, rate, pcm, scopes }))
            }
            4 => {
                let id = body.try_into().map_err(|_| wrong("expected the 8 bytes of an id"))?;
                Ok(ToWorker::Abort(u64::from_le_bytes(id)))
            }
            other => Err(ProtocolError::Kind(other)),
        }
    }
}

/// A kind of job in a frame.
fn code(kind: JobKind) -> u8 {
    match kind {
        JobKind::LiveFinal => 0,
        JobKind::FirstPartial => 1,
        JobKind::Refresh => 2,
        JobKind::CatchUp => 3,
    }
}

fn kind_of(code: u8) -> Option<JobKind> {
    [JobKind::LiveFinal, JobKind::FirstPartial, JobKind::Refresh, JobKind::CatchUp]
        .into_iter()
        .find(|k| self::code(*k) == code)
}

impl Message for FromWorker {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        match self {
            FromWorker::Ready(ready) => json(out, 65, ready),
            FromWorker::Refused(reason) => json(out, 66, reason),
            FromWorker::Done(done) => json(out, 67, done),
        }
    }

    fn read(kind: u8, body: &[u8]) -> Result<Self, ProtocolError> {
        match kind {
            65 => parse(kind, body).map(FromWorker::Ready),
            66 => parse(kind, body).map(FromWorker::Refused),
            67 => parse(kind, body).map(FromWorker::Done),
            other => Err(ProtocolError::Kind(other)),
        }
    }
}

fn json(out: &mut Vec<u8>, kind: u8, value: &impl Serialize) -> Result<(), ProtocolError> {
    let body = serde_json::to_vec(value).map_err(|error| ProtocolError::Body { kind, problem: error.to_string() })?;
    frame(out, kind, &[&body])
}

fn parse<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, ProtocolError> {
    // the text of the error could quote the body, which may hold spoken words
    serde_json::from_slice(body)
        .map_err(|error| ProtocolError::Body { kind, problem: format!("JSON, column {}", error.column()) })
}

fn frame(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) -> Result<(), ProtocolError> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let head = u32::try_from(length).ok().filter(|_| length <= MAX_BODY).ok_or(ProtocolError::Unsendable(length))?;
    out.extend(head.to_le_bytes());
    out.push(kind);
    for part in parts {
        out.extend_from_slice(part);
    }
    Ok(())
}

/// Puts frames together from the bytes of a pipe. Holds at most one frame and what one read brought with it.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes come.
    ///
    /// # Errors
    /// When the peer does not keep to the protocol; nothing after it can be read.
    pub fn message<M: Message>(&mut self) -> Result<Option<M>, ProtocolError> {
        let Some(head) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_BODY {
            return Err(ProtocolError::TooLong(length));
        }
        let (Some(&kind), Some(body)) = (self.bytes.get(4), self.bytes.get(HEAD..HEAD + length)) else {
            return Ok(None);
        };
        let message = M::read(kind, body)?;
        self.bytes.drain(..HEAD + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::Token;

    fn job(id: u64, kind: JobKind, pcm: &[i16], scopes: &str) -> ToWorker {
        ToWorker::Job(Sound { id, kind, rate: 8_000, pcm: pcm.into(), scopes: Scopes::parse(scopes).unwrap() })
    }

    fn hello() -> ToWorker {
        let model = PathBuf::from("models/m.bin");
        ToWorker::Hello(Hello { protocol: VERSION, model, language: "ja".into(), threads: 2, nice: 10 })
    }

    fn all() -> Vec<ToWorker> {
        vec![
            hello(),
            ToWorker::Dictionary(Words { version: "abc".into(), content: b"{}".as_slice().into() }),
            job(7, JobKind::LiveFinal, &[1, -2, i16::MIN], "ward:北区|line:7001"),
            job(8, JobKind::FirstPartial, &[3], ""),
            job(9, JobKind::Refresh, &[], ""),
            job(10, JobKind::CatchUp, &[4], ""),
            ToWorker::Abort(9),
        ]
    }

    fn answers() -> Vec<FromWorker> {
        let token = Token { bytes: "三".as_bytes()[..2].to_vec(), p: 0.25 };
        let hypothesis = Hypothesis { text: "三国".into(), tokens: vec![token], ..Hypothesis::default() };
        vec![
            FromWorker::Ready(Ready { protocol: VERSION, model: "lab".into() }),
            FromWorker::Refused("models/m.bin: no such file".into()),
            FromWorker::Done(Done { id: 7, result: Ok(hypothesis) }),
            FromWorker::Done(Done { id: 8, result: Err(Failure::Failed("why".into())) }),
        ]
    }

    fn bytes<M: Message>(messages: &[M]) -> Vec<u8> {
        let mut out = Vec::new();
        messages.iter().for_each(|message| message.write(&mut out).unwrap());
        out
    }

    fn read<M: Message>(bytes: &[u8], piece: usize) -> Result<Vec<M>, ProtocolError> {
        let (mut decoder, mut got) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            decoder.push(piece);
            while let Some(message) = decoder.message()? {
                got.push(message);
            }
        }
        Ok(got)
    }

    #[test]
    fn messages_come_back_whatever_the_pieces() {
        for piece in [1, 3, 10_000] {
            assert_eq!(read::<ToWorker>(&bytes(&all()), piece).unwrap(), all());
            assert_eq!(read::<FromWorker>(&bytes(&answers()), piece).unwrap(), answers());
        }
    }

    #[test]
    fn what_is_too_long_is_neither_sent_nor_waited_for() {
        let long = job(1, JobKind::LiveFinal, &[0; MAX_SAMPLES + 1], "");
        assert!(matches!(long.write(&mut Vec::new()), Err(ProtocolError::Unsendable(_))));
        assert_eq!(read::<ToWorker>(&[0xff; 4], 4), Err(ProtocolError::TooLong(u32::MAX as usize)));
        assert_eq!(read::<ToWorker>(&[0, 0, 0, 0, 9], 5), Err(ProtocolError::Kind(9)));
    }

    #[test]
    fn mutated_frames_are_read_or_refused() {
        let (sent, answered) = (bytes(&all()), bytes(&answers()));
        let (mut taken, mut refused) = (0, 0);
        for seed in 0..100_000u64 {
            let mut state = seed;
            let mut below = |limit: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % limit.max(1)
            };
            let mut mutated = if seed % 2 == 0 { sent.clone() } else { answered.clone() };
            for _ in 0..=below(3) {
                let at = below(mutated.len());
                match below(4) {
                    0 if !mutated.is_empty() => mutated[at] ^= 1 << below(8),
                    1 => mutated.truncate(at),
                    2 => mutated.insert(at, below(256) as u8),
                    _ => drop(mutated.drain(at..(at + below(9)).min(mutated.len()))),
                }
            }
            let piece = 1 + below(64);
            let fine = match seed % 2 {
                0 => read::<ToWorker>(&mutated, piece).is_ok(),
                _ => read::<FromWorker>(&mutated, piece).is_ok(),
            };
            taken += usize::from(fine);
            refused += usize::from(!fine);
        }
        assert!(taken > 1_000 && refused > 1_000, "{taken} taken, {refused} refused");
    }
}

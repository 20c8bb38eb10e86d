//! chan_websocket (Asterisk 22.8 or newer): control messages and sound of one media connection. Sans-IO.
//!
//! Binary messages are sound in the codec of the channel, text messages are control, plain or JSON as the channel was made. Sound may come
//! before `MEDIA_START` and waits for it. We send no sound (Asterisk makes silence of its own), so that `MEDIA_XOFF` finds nothing to stop;
//! our commands are at most [`COMMAND_MAX`] bytes, because Asterisk passes over longer ones.
//!
//! Drive a [`Connection`] like [`super::audiosocket::Connection`].

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::time::{Mono, Now};

pub use super::audiosocket::Ended;
use super::timeline::{Counts, Format, Packet, Timeline};

/// Longest command that Asterisk takes, in bytes.
pub const COMMAND_MAX: usize = 128;
/// Longest control message that is read, in bytes.
pub const TEXT_MAX: usize = 65_500;
/// Sound that waits for `MEDIA_START`, in bytes: a second at 16 kHz.
const EARLY_MAX: usize = 32_000;
/// Messages that it is in, at most.
const EARLY_MESSAGES: usize = 200;
/// Channel variables that are kept, and the longest value.
const VARIABLES_MAX: usize = 64;
const VALUE_MAX: usize = 256;
/// Control messages that are not understood; more end the connection.
const STRANGE_MAX: u32 = 100;

/// What `MEDIA_START` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Name of the connection in `websocket_client.conf`, or Asterisk's own id where we dialled.
    pub connection_id: String,
    /// Name of the channel, for example `WebSocket/kakehashi/0x55…`.
    pub channel: String,
    /// Its unique id.
    pub channel_id: String,
    /// Name of the codec.
    pub format: String,
    /// Variables of the channel (JSON only).
    pub variables: BTreeMap<String, String>,
}

/// One control message of Asterisk's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Sound begins.
    Start(Box<Start>),
    /// A digit was pressed.
    Digit(char),
    /// We would have to stop sending sound …
    Xoff,
    /// … and may go on.
    Xon,
    /// Asterisk could not carry out a command.
    Error,
    /// Known, and nothing to do: status, drained queue, marks.
    Other,
}

impl Control {
    /// Reads a text message, plain or JSON; `None` when it is neither, or not known.
    pub fn parse(text: &str) -> Option<Control> {
        if text.len() > TEXT_MAX {
            return None;
        }
        if text.trim_start().starts_with('{') {
            return Control::of_json(&serde_json::from_str(text).ok()?);
        }
        let mut words = text.split_ascii_whitespace();
        let name = words.next()?;
        let mut fields = BTreeMap::new();
        for (key, value) in words.filter_map(|word| word.split_once(':')).take(VARIABLES_MAX) {
            fields.entry(key).or_insert(value);
        }
        let field = |key: &str| fields.get(key).map(|value| cut(value)).unwrap_or_default();
        Control::of(name, field, BTreeMap::new)
    }

    fn of_json(message: &Value) -> Option<Control> {
        let name = message.get("event")?.as_str()?;
        let field = |key: &str| message.get(key).and_then(Value::as_str).map(cut).unwrap_or_default();
        let variables = || {
            let all = message.get("channel_variables").and_then(Value::as_object).into_iter().flatten();
            let texts = all.filter_map(|(key, value)| Some((cut(key), cut(value.as_str()?))));
            texts.take(VARIABLES_MAX).collect()
        };
        Control::of(name, field, variables)
    }

    fn of(
        name: &str,
        field: impl Fn(&str) -> String,
        variables: impl Fn() -> BTreeMap<String, String>,
    ) -> Option<Control> {
        Some(match name {
            "MEDIA_START" => Control::Start(Box::new(Start {
                connection_id: field("connection_id"),
                channel: field("channel"),
                channel_id: field("channel_id"),
                format: field("format"),
                variables: variables(),
            })),
            "DTMF_END" => match field("digit").chars().next() {
                Some(digit @ ('0'..='9' | '*' | '#' | 'A'..='D')) => Control::Digit(digit),
                Some(digit @ 'a'..='d') => Control::Digit(digit.to_ascii_uppercase()),
                _ => return None,
            },
            "MEDIA_XOFF" => Control::Xoff,
            "MEDIA_XON" => Control::Xon,
            "ERROR" => Control::Error,
            "STATUS" | "QUEUE_DRAINED" | "MEDIA_BUFFERING_COMPLETED" | "MEDIA_MARK_PROCESSED" => Control::Other,
            _ => return None,
        })
    }
}

/// What we may ask of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Answer it (where it was dialled with the option `n`).
    Answer,
    /// Hang it up.
    Hangup,
    /// Ask for its state; Asterisk answers `STATUS`.
    GetStatus,
}

impl Command {
    /// The text message; at most [`COMMAND_MAX`] bytes.
    pub fn text(self, json: bool) -> String {
        let name = match self {
            Command::Answer => "ANSWER",
            Command::Hangup => "HANGUP",
            Command::GetStatus => "GET_STATUS",
        };
        if json { format!("{{\"command\":\"{name}\"}}") } else { name.into() }
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(VALUE_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}

/// What a connection wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a text message.
    Send(String),
    /// Whose it is: decide, then [`Connection::admit`].
    Identified(Box<Start>),
    /// Sound for the stream.
    Sound(Packet),
    /// A digit was pressed.
    Digit(char),
    /// It is over; nothing follows.
    Ended(Ended),
}

#[derive(Debug)]
enum State {
    Unknown,
    /// Told, not decided.
    Asked(Format),
    Admitted(Timeline),
    Over,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    state: State,
    patience: super::audiosocket::Patience,
    began: Mono,
    heard: Mono,
    /// Sound before `MEDIA_START`.
    early: VecDeque<(Now, Vec<u8>)>,
    early_bytes: usize,
    /// Control is JSON.
    json: bool,
    stopped: bool,
    strange: u32,
    out: VecDeque<Output>,
}

impl Connection {
    /// A connection whose handshake is done.
    pub fn new(now: Now, patience: super::audiosocket::Patience) -> Self {
        Self {
            state: State::Unknown,
            patience,
            began: now.mono,
            heard: now.mono,
            early: VecDeque::new(),
            early_bytes: 0,
            json: false,
            stopped: false,
            strange: 0,
            out: VecDeque::new(),
        }
    }

    /// Whoever it is may speak; `ssrc` is the source of the packets.
    pub fn admit(&mut self, ssrc: u32) {
        let State::Asked(format) = self.state else { return };
        let mut line = Timeline::new(format, ssrc);
        for (at, sound) in std::mem::take(&mut self.early) {
            // what is not whole samples of this format is no sound of it
            line.push(at, &sound);
        }
        self.state = State::Admitted(line);
    }

    /// The format that `MEDIA_START` named.
    pub fn format(&self) -> Option<Format> {
        match &self.state {
            State::Asked(format) => Some(*format),
            State::Admitted(line) => Some(line.format()),
            State::Unknown | State::Over => None,
        }
    }

    /// Whether Asterisk asked us to send no sound now.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// A binary message came.
    pub fn handle_binary(&mut self, now: Now, sound: &[u8]) {
        self.heard = now.mono;
        match &mut self.state {
            State::Admitted(line) => {
                if !line.push(now, sound) {
                    self.end(now, Ended::Malformed("half a sample"));
                }
            }
            State::Unknown | State::Asked(_) => {
                self.early_bytes += sound.len();
                self.early.push_back((now, sound.to_vec()));
                while self.early_bytes > EARLY_MAX || self.early.len() > EARLY_MESSAGES {
                    let Some((_, oldest)) = self.early.pop_front() else { break };
                    self.early_bytes = self.early_bytes.saturating_sub(oldest.len());
                }
            }
            State::Over => {}
        }
    }

    /// A text message came.
    pub fn handle_text(&mut self, now: Now, text: &str) {
        self.heard = now.mono;
        match (Control::parse(text), &self.state) {
            (_, State::Over) => {}
            (Some(Control::Start(start)), State::Unknown) => {
                self.json = text.trim_start().starts_with('{');
                match Format::of_name(&start.format) {
                    Some(format) => {
                        self.state = State::Asked(format);
                        self.out.push_back(Output::Identified(start));
                    }
                    None => self
                        .end(now, Ended::Malformed("a codec that is not taken; expected slin, slin16, ulaw or alaw")),
                }
            }
            (Some(Control::Start(_)), _) => self.end(now, Ended::Malformed("a second MEDIA_START")),
            (Some(Control::Digit(digit)), State::Admitted(_)) => self.out.push_back(Output::Digit(digit)),
            (Some(Control::Xoff), _) => self.stopped = true,
            (Some(Control::Xon), _) => self.stopped = false,
            (Some(Control::Digit(_) | Control::Error | Control::Other), _) => {}
            (None, _) => {
                self.strange += 1;
                if self.strange > STRANGE_MAX {
                    self.end(now, Ended::Malformed("many control messages that are not understood"));
                }
            }
        }
    }

    /// The connection is closed; `lost`: without a close message.
    pub fn handle_closed(&mut self, now: Now, lost: bool) {
        self.end(now, if lost { Ended::Lost } else { Ended::Hangup });
    }

    /// When [`Connection::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        let other = match &self.state {
            State::Unknown | State::Asked(_) => Some(self.began + self.patience.unknown),
            State::Admitted(line) => line.due(),
            State::Over => return None,
        };
        [Some(self.heard + self.patience.idle), other].into_iter().flatten().min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        match &mut self.state {
            State::Over => return,
            State::Unknown | State::Asked(_) if self.began + self.patience.unknown <= now.mono => {
                return self.end(now, Ended::Unknown);
            }
            State::Admitted(line) if line.due().is_some_and(|due| due <= now.mono) => line.handle_timeout(now),
            _ => {}
        }
        if self.heard + self.patience.idle <= now.mono {
            self.end(now, Ended::Idle);
        }
    }

    /// Ends it from our side.
    pub fn stop(&mut self, now: Now, why: Ended) {
        if !matches!(self.state, State::Over) {
            self.out.push_back(Output::Send(Command::Hangup.text(self.json)));
            self.end(now, why);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.take_sound();
        self.out.pop_front()
    }

    /// What did not fit the clock.
    pub fn counts(&self) -> Counts {
        match &self.state {
            State::Admitted(line) => line.counts(),
            _ => Counts::default(),
        }
    }

    fn take_sound(&mut self) {
        if let State::Admitted(line) = &mut self.state {
            self.out.extend(std::iter::from_fn(|| line.poll()).map(Output::Sound));
        }
    }

    fn end(&mut self, now: Now, why: Ended) {
        if matches!(self.state, State::Over) {
            return;
        }
        if let State::Admitted(line) = &mut self.state {
            line.finish(now);
        }
        self.take_sound();
        self.state = State::Over;
        self.early.clear();
        self.out.push_back(Output::Ended(why));
    }
}

#[cfg(test)]
#[path = "tests/websocket.rs"]
mod tests;

//! SIP on the wire: bytes of a datagram or of a stream in, [`Message`]s out, and back.
//!
//! Tolerated: compact names, folded lines, white space around the colon, bare LF, CRLF before a message. Refused, with as much of the
//! message kept as an answer needs: what RFC 3261 calls malformed, what is larger than [`Limits`].

use super::message::{Message, Start};

use self::head::{content_length, head_end, read_head};

mod head;

/// How much of a message is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a whole message.
    pub message: usize,
    /// Header lines.
    pub headers: usize,
    /// Bytes of one header, unfolded.
    pub line: usize,
}

impl Limits {
    /// Limits for messages up to `message` bytes.
    pub fn of(message: usize) -> Limits {
        Limits { message, headers: 256, line: 16_384 }
    }
}

/// A message that cannot be used, with the answer it deserves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// 400, 413, 505 or 513.
    pub status: u16,
    /// Reason phrase: what is wrong, without any value of the message.
    pub reason: &'static str,
    /// What could be read; enough to answer when it has a Via. `None`: nothing like a SIP request.
    pub message: Option<Message>,
}

impl Bad {
    /// 400.
    pub fn request(reason: &'static str) -> Bad {
        Bad { status: 400, reason, message: None }
    }
}

/// A keep-alive of a stream (RFC 5626 §4.4.1).
const PING: &[u8] = b"\r\n\r\n";

/// More than can be read of a message.
const TOO_LARGE: Bad = Bad { status: 513, reason: "Message Too Large", message: None };
/// The head can be read, and the body is more than is taken.
const BODY_TOO_LARGE: Bad = Bad { status: 413, reason: "Request Entity Too Large", message: None };

/// Reads one datagram; `None` when it holds nothing but line ends (keep-alive). Bytes after the body are ignored (RFC 3261 §18.3).
///
/// # Errors
/// What is wrong, with what could be read.
pub fn read_datagram(bytes: &[u8], limits: &Limits) -> Result<Option<Message>, Bad> {
    let bytes = skip_line_ends(bytes);
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let (head, rest) = match head_end(bytes, 0) {
        Some(end) => bytes.split_at(end),
        None => (bytes, &[][..]),
    };
    let (mut message, wrong) = read_head(head, limits)?;
    let length = content_length(&message);
    let wrong = wrong.or(length.as_ref().err().cloned());
    let too_large = if head.len() > limits.message { TOO_LARGE } else { BODY_TOO_LARGE };
    let wrong = wrong.or((bytes.len() > limits.message).then_some(too_large));
    if let Some(wrong) = wrong {
        return Err(Bad { message: Some(message), ..wrong });
    }
    match length.ok().flatten() {
        None => message.body = rest.to_vec(),
        Some(length) => match rest.get(..length) {
            Some(body) => message.body = body.to_vec(),
            None => {
                let wrong = Bad::request("Content-Length Exceeds The Datagram");
                return Err(Bad { message: Some(message), ..wrong });
            }
        },
    }
    Ok(Some(message))
}

/// What a stream holds next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A message.
    Message(Message),
    /// An unusable one.
    Bad(Bad),
    /// A keep-alive that wants CRLF back (RFC 5626 §4.4.1).
    Ping,
}

/// Cuts a byte stream into messages by Content-Length.
#[derive(Debug)]
pub struct StreamReader {
    limits: Limits,
    /// What came and was not read: the rest of a head, or of the body of `head`.
    buffer: Vec<u8>,
    /// Bytes in which no end of the headers was found.
    searched: usize,
    /// Of a message whose body is not complete; read once, in however many pieces the body comes.
    head: Option<Box<Head>>,
    /// Bytes of a body that was refused and is still on its way.
    skip: usize,
    broken: bool,
}

/// Start line and headers, and how many bytes of body follow.
#[derive(Debug)]
struct Head {
    message: Message,
    wrong: Option<Bad>,
    length: usize,
}

impl StreamReader {
    /// A reader at the beginning of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { limits, buffer: Vec::new(), searched: 0, head: None, skip: 0, broken: false }
    }

    /// Takes bytes; call [`StreamReader::next_item`] until `None` before the next ones, so that the buffer stays within a message.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The place of the next message is lost: after what was answered the connection is of no use.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// A message has begun and is not complete.
    pub fn is_partial(&self) -> bool {
        self.head.is_some() || self.skip > 0 || !skip_line_ends(&self.buffer).is_empty()
    }

    /// The next message, once it is complete.
    pub fn next_item(&mut self) -> Option<Item> {
        let skipped = self.skip.min(self.buffer.len());
        self.skip -= skipped;
        self.consume(skipped);
        if self.broken || self.skip > 0 {
            return None;
        }
        match self.head.is_some() {
            true => self.next_body(),
            false => self.next_head(),
        }
    }

    /// A keep-alive, or what begins with the next head.
    fn next_head(&mut self) -> Option<Item> {
        if self.buffer.starts_with(PING) {
            self.consume(PING.len());
            return Some(Item::Ping);
        }
        let blank = self.buffer.len() - skip_line_ends(&self.buffer).len();
        if blank == self.buffer.len() {
            return self.next_ping();
        }
        self.consume(blank);
        let Some(end) = head_end(&self.buffer, self.searched) else {
            self.searched = self.buffer.len().saturating_sub(3);
            return (self.buffer.len() > self.limits.message).then(|| self.give_up(TOO_LARGE, None));
        };
        let (head, _) = self.buffer.split_at(end);
        let (message, wrong) = match read_head(head, &self.limits) {
            Ok(read) => read,
            Err(bad) => return Some(self.give_up(bad, None)),
        };
        let length = match content_length(&message) {
            Ok(_) if end > self.limits.message => return Some(self.give_up(TOO_LARGE, Some(message))),
            Ok(Some(length)) if end.saturating_add(length) <= self.limits.message => length,
            Ok(Some(length)) => {
                // the place of the next message is known, so the connection may stay (RFC 3261 §21.4.11)
                self.consume(end);
                self.skip = length;
                return Some(Item::Bad(Bad { message: Some(message), ..wrong.unwrap_or(BODY_TOO_LARGE) }));
            }
            Ok(None) => return Some(self.give_up(Bad::request("Content-Length Missing"), Some(message))),
            Err(bad) => return Some(self.give_up(bad, Some(message))),
        };
        self.consume(end);
        self.head = Some(Box::new(Head { message, wrong, length }));
        self.next_body()
    }

    /// The message of `head`, once its body is there.
    fn next_body(&mut self) -> Option<Item> {
        let body = self.buffer.get(..self.head.as_ref()?.length)?.to_vec();
        let Head { message, wrong, length } = *self.head.take()?;
        self.consume(length);
        let message = Message { body, ..message };
        Some(match wrong {
            Some(wrong) => Item::Bad(Bad { message: Some(message), ..wrong }),
            None => Item::Message(message),
        })
    }

    /// Of nothing but line ends only what may be the beginning of a keep-alive is kept.
    fn next_ping(&mut self) -> Option<Item> {
        let is_ping = |tail: &[u8]| tail.starts_with(PING) || PING.starts_with(tail);
        let at = (0..self.buffer.len()).find(|at| self.buffer.get(*at..).is_some_and(is_ping));
        self.consume(at.unwrap_or(self.buffer.len()));
        self.buffer.starts_with(PING).then(|| {
            self.consume(PING.len());
            Item::Ping
        })
    }

    fn consume(&mut self, bytes: usize) {
        if bytes > 0 {
            self.buffer.drain(..bytes);
            self.searched = 0;
        }
    }

    fn give_up(&mut self, bad: Bad, message: Option<Message>) -> Item {
        self.broken = true;
        let message = message.or_else(|| read_head(&self.buffer, &self.limits).ok().map(|(message, _)| message));
        self.buffer = Vec::new();
        Item::Bad(Bad { message, ..bad })
    }
}

/// A message as bytes; Content-Length is set to the body's length. Line ends inside values become blanks.
pub fn write(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512 + message.body.len());
    match &message.start {
        Start::Request { method, uri } => bytes.extend(format!("{method} {uri} SIP/2.0\r\n").bytes()),
        Start::Response { code, reason } => bytes.extend(format!("SIP/2.0 {code} {reason}\r\n").bytes()),
    }
    for header in message.headers.iter().filter(|h| !h.name.eq_ignore_ascii_case("Content-Length")) {
        bytes.extend(header.name.bytes());
        bytes.extend(b": ");
        bytes.extend(header.value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
        bytes.extend(b"\r\n");
    }
    bytes.extend(format!("Content-Length: {}\r\n\r\n", message.body.len()).bytes());
    bytes.extend(&message.body);
    bytes
}

fn skip_line_ends(bytes: &[u8]) -> &[u8] {
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    bytes.get(blank..).unwrap_or_default()
}

/// RFC 3261 §25.1 `token`.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
}

#[cfg(test)]
mod tests;

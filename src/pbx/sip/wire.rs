//! SIP on the wire: bytes of a datagram or of a stream in, [`Message`]s out, and back.
//!
//! Tolerated: compact names, folded lines, white space around the colon, bare LF, CRLF before a message. Refused, with as much of the
//! message kept as an answer needs: what RFC 3261 calls malformed, what is larger than [`Limits`].

use super::message::{Header, Message, Start, long_name};

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
    head: Option<Head>,
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
        self.head = Some(Head { message, wrong, length });
        self.next_body()
    }

    /// The message of `head`, once its body is there.
    fn next_body(&mut self) -> Option<Item> {
        let body = self.buffer.get(..self.head.as_ref()?.length)?.to_vec();
        let Head { message, wrong, length } = self.head.take()?;
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

/// The index after the empty line that ends the headers.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let line = bytes.get(at..)?.iter().position(|byte| *byte == b'\n')?;
        at += line + 1;
        match bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

/// Start line and headers. What is wrong comes beside what was read; an error only when it is no SIP at all.
fn read_head(head: &[u8], limits: &Limits) -> Result<(Message, Option<Bad>), Bad> {
    let mut lines = unfold(head);
    let first = lines.next().unwrap_or_default();
    let (start, mut wrong) = read_start(&first)?;
    let mut message = Message::new(start);
    for line in lines {
        if message.headers.len() >= limits.headers || line.len() > limits.line {
            wrong = wrong.or(Some(TOO_LARGE));
            break;
        }
        match read_header(&line) {
            Some(header) => message.headers.push(header),
            None => wrong = wrong.or(Some(Bad::request("Malformed Header Line"))),
        }
    }
    Ok((message, wrong))
}

/// The lines of a head; a line that begins with white space continues the one before it.
fn unfold(head: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).peekable();
    std::iter::from_fn(move || {
        let mut line = lines.next().filter(|line| !line.is_empty())?.to_vec();
        while let Some(more) = lines.next_if(|next| matches!(next, [b' ' | b'\t', ..])) {
            line.push(b' ');
            line.extend(more.trim_ascii());
        }
        Some(line)
    })
}

fn read_header(line: &[u8]) -> Option<Header> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    let name = std::str::from_utf8(name.trim_ascii_end()).ok().filter(|name| is_token(name))?;
    let value = value.get(1..)?.trim_ascii().to_vec();
    Some(Header { name: long_name(name).into(), value })
}

fn read_start(line: &[u8]) -> Result<(Start, Option<Bad>), Bad> {
    let text = String::from_utf8_lossy(line);
    let sip = |part: &str| part.get(..4).is_some_and(|sip| sip.eq_ignore_ascii_case("SIP/"));
    if sip(&text) {
        return read_status_line(&text).map(|start| (start, None));
    }
    let nothing = || Bad::request("Not SIP");
    let method = text.split([' ', '\t']).next().filter(|method| is_token(method)).ok_or_else(nothing)?;
    let version = text.split_ascii_whitespace().next_back().filter(|version| sip(version)).ok_or_else(nothing)?;
    let uri = text.get(method.len()..).and_then(|rest| rest.trim_ascii_end().strip_suffix(version)).unwrap_or_default();
    let start = Start::Request { method: method.into(), uri: uri.trim_ascii().into() };
    let wrong = if !version.eq_ignore_ascii_case("SIP/2.0") {
        Some(Bad { status: 505, reason: "Version Not Supported", message: None })
    } else if text != format!("{method} {} {version}", uri.trim_ascii()) || uri.trim_ascii().contains([' ', '\t']) {
        Some(Bad::request("Malformed Request Line"))
    } else {
        None
    };
    Ok((start, wrong))
}

fn read_status_line(text: &str) -> Result<Start, Bad> {
    let mut parts = text.splitn(3, ' ');
    let version = parts.next().unwrap_or_default();
    let code = parts.next().filter(|code| code.len() == 3).and_then(|code| code.parse::<u16>().ok());
    match code.filter(|code| (100..700).contains(code) && version.eq_ignore_ascii_case("SIP/2.0")) {
        Some(code) => Ok(Start::Response { code, reason: parts.next().unwrap_or_default().into() }),
        None => Err(Bad::request("Malformed Status Line")),
    }
}

/// `None` when there is none; several must agree.
fn content_length(message: &Message) -> Result<Option<usize>, Bad> {
    let mut found = None;
    for raw in message.raw("Content-Length") {
        let digits = std::str::from_utf8(raw).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse::<usize>().ok()).filter(|length| *length < 1 << 31);
        let length = length.ok_or_else(|| Bad::request("Malformed Content-Length"))?;
        if found.is_some_and(|other| other != length) {
            return Err(Bad::request("Several Content-Length"));
        }
        found = Some(length);
    }
    Ok(found)
}

/// RFC 3261 §25.1 `token`.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { message: 4_096, headers: 20, line: 1_024 };

    fn datagram(text: &str) -> Result<Option<Message>, Bad> {
        read_datagram(text.as_bytes(), &LIMITS)
    }

    fn stream(text: &str) -> (Vec<Item>, StreamReader) {
        let mut reader = StreamReader::new(LIMITS);
        let mut items = Vec::new();
        for byte in text.bytes() {
            reader.push(&[byte]);
            items.extend(std::iter::from_fn(|| reader.next_item()));
        }
        (items, reader)
    }

    #[test]
    fn compact_names_folding_and_white_space() {
        let text =
            "\r\nINVITE sip:a@b SIP/2.0\r\nv : SIP/2.0/UDP h\r\n  ;branch=x\r\nTO:\r\n <sip:a@b>\r\nl:2\r\n\r\nok";
        let message = datagram(text).unwrap().unwrap();
        assert_eq!(message.text("Via").unwrap(), "SIP/2.0/UDP h ;branch=x");
        assert_eq!(message.text("to").unwrap(), "<sip:a@b>");
        assert_eq!(message.body, b"ok");
    }

    #[test]
    fn a_datagram_without_content_length_has_its_body_to_the_end() {
        assert_eq!(datagram("OPTIONS sip:a SIP/2.0\nx:1\n\nbody\r\n").unwrap().unwrap().body, b"body\r\n");
        assert_eq!(datagram("OPTIONS sip:a SIP/2.0\r\nl: 2\r\n\r\nbody").unwrap().unwrap().body, b"bo");
        assert_eq!(datagram("\r\n\r\n").unwrap(), None);
    }

    #[test]
    fn bad_messages_keep_what_an_answer_needs() {
        let status = |text: &str| datagram(text).unwrap_err();
        let kept = |bad: &Bad| bad.message.as_ref().map(|message| message.count("Via"));
        for (text, code) in [
            ("OPTIONS sip:a SIP/2.0\r\nVia: x\r\nl: 9\r\n\r\nbody", 400),
            ("OPTIONS sip:a SIP/2.0\r\nVia: x\r\nl: -1\r\n\r\n", 400),
            ("OPTIONS sip:a SIP/2.0\r\nVia: x\r\nl: 1\r\nContent-Length: 2\r\n\r\nab", 400),
            ("OPTIONS sip:a SIP/2.0\r\nno colon\r\nVia: x\r\n\r\n", 400),
            ("OPTIONS  sip:a SIP/2.0\r\nVia: x\r\n\r\n", 400),
            ("OPTIONS sip:a; lr SIP/2.0\r\nVia: x\r\n\r\n", 400),
            ("OPTIONS sip:a SIP/2.0 \r\nVia: x\r\n\r\n", 400),
            ("OPTIONS sip:a SIP/7.0\r\nVia: x\r\n\r\n", 505),
        ] {
            let bad = status(text);
            assert_eq!((bad.status, kept(&bad)), (code, Some(1)), "{text}");
        }
        let many = format!("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n{}\r\n", "a: b\r\n".repeat(30));
        assert_eq!(status(&many).status, 513);
        let body = "x".repeat(5_000);
        assert_eq!(status(&format!("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n{body}")).status, 413);
        let head = "a: b\r\n".repeat(1_000);
        assert_eq!(status(&format!("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n{head}\r\n")).status, 513);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: x\r\n\r\n").message, None);
        assert_eq!(status("SIP/2.0 4294967301 no\r\n\r\n").message, None);
    }

    #[test]
    fn a_stream_is_cut_by_content_length() {
        let text = "OPTIONS sip:a SIP/2.0\r\nl: 4\r\n\r\nbody\r\n\r\n\r\nOPTIONS sip:b SIP/7.0\r\nl: 0\r\n\r\nACK sip:c SIP/2.0\r\nl:0\r\n\r\n";
        let (items, reader) = stream(text);
        let kinds: Vec<&str> = items
            .iter()
            .map(|item| match item {
                Item::Message(_) => "message",
                Item::Bad(_) => "bad",
                Item::Ping => "ping",
            })
            .collect();
        assert_eq!(kinds, ["message", "ping", "bad", "message"]);
        assert!(!reader.is_broken() && !reader.is_partial());
        let Item::Message(first) = &items[0] else { panic!() };
        assert_eq!(first.body, b"body");
    }

    #[test]
    fn a_head_is_read_once_however_slowly_its_body_comes() {
        let mut reader = StreamReader::new(LIMITS);
        reader.push(b"OPTIONS sip:a SIP/2.0\r\nl: 1000\r\n\r\nx");
        for n in 1..1_000 {
            assert_eq!(reader.next_item(), None);
            assert!(reader.is_partial() && reader.buffer.len() == n, "only the body waits");
            reader.push(b"x");
        }
        assert!(matches!(reader.next_item(), Some(Item::Message(message)) if message.body.len() == 1_000));
        assert!(!reader.is_partial());
    }

    #[test]
    fn line_ends_without_end_are_not_kept_and_hide_no_keep_alive() {
        let mut reader = StreamReader::new(Limits::of(4_096));
        for piece in ["\n\n\n\n\n", "\r\r", "\n", "\n\r\n\r"] {
            for _ in 0..1_000 {
                reader.push(piece.as_bytes());
                while reader.next_item().is_some() {}
                assert!(reader.buffer.len() < 4 && !reader.is_partial());
            }
        }
        let mut reader = StreamReader::new(Limits::of(4_096));
        reader.push(b"\n\n\r\n\r");
        assert_eq!(reader.next_item(), None);
        reader.push(b"\n\r\n");
        assert_eq!(reader.next_item(), Some(Item::Ping));
        assert_eq!(reader.next_item(), None);
    }

    #[test]
    fn a_stream_without_content_length_or_without_end_is_given_up() {
        let (items, reader) = stream("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n");
        assert!(matches!(&items[..], [Item::Bad(Bad { status: 400, message: Some(_), .. })]));
        assert!(reader.is_broken());
        let (items, reader) = stream(&format!("OPTIONS sip:a SIP/2.0\r\nVia: x\r\nX: {}", "y".repeat(9_000)));
        assert!(matches!(&items[..], [Item::Bad(Bad { status: 513, .. })]));
        assert!(reader.is_broken());
    }

    #[test]
    fn a_body_that_is_too_large_is_refused_at_once_and_skipped() {
        let mut reader = StreamReader::new(LIMITS);
        reader.push(b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\nl: 50000\r\n\r\n");
        let Some(Item::Bad(Bad { status: 413, message: Some(message), .. })) = reader.next_item() else { panic!() };
        assert_eq!((message.count("Via"), message.body.len()), (1, 0));
        for _ in 0..500 {
            assert!(reader.is_partial() && !reader.is_broken());
            reader.push(&[b'\n'; 100]);
            assert_eq!((reader.next_item(), reader.buffer.len()), (None, 0), "nothing of it is kept");
        }
        assert!(!reader.is_partial());
        reader.push(b"OPTIONS sip:b SIP/2.0\r\nl: 0\r\n\r\n");
        assert!(matches!(reader.next_item(), Some(Item::Message(_))));
    }

    #[test]
    fn what_is_written_is_read_back_and_cannot_be_broken_out_of() {
        let mut message = Message::new(Start::Response { code: 200, reason: "OK".into() });
        message.push("Thing", "a\r\nInjected: b");
        message.push("Content-Length", "77");
        message.body = b"1234".to_vec();
        let read = datagram(&String::from_utf8(write(&message)).unwrap()).unwrap().unwrap();
        assert_eq!((read.headers.len(), read.body.as_slice()), (2, b"1234".as_slice()));
        assert_eq!(read.text("thing").unwrap(), "a  Injected: b");
    }
}

//! The head of a message: where it ends, its start line, its header lines.

use super::super::message::{Header, Message, Start, long_name};
use super::{Bad, Limits, TOO_LARGE, is_token};

/// Proxies that a message has passed: Max-Forwards begins at 70 (RFC 3261 §8.1.1.6). An answer copies their headers, so that with more of
/// them it could be too large itself.
const HOPS_MAX: usize = 70;

/// The index after the empty line that ends the headers.
pub(super) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
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

/// Start line and headers. What is wrong comes beside what was read; an error only when there is nothing to be answered.
pub(super) fn read_head(head: &[u8], limits: &Limits) -> Result<(Message, Option<Bad>), Bad> {
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
    if ["Via", "Record-Route"].iter().any(|name| message.count(name) > HOPS_MAX) {
        return Err(TOO_LARGE);
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
pub(super) fn content_length(message: &Message) -> Result<Option<usize>, Bad> {
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

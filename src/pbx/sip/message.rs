//! One SIP message: start line, ordered headers with their raw bytes, body bytes. It knows nothing of what headers mean.

use std::borrow::Cow;

use encoding_rs::{EUC_JP, SHIFT_JIS};

/// The first line (RFC 3261 §7.1, §7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request.
    Request {
        /// Case-sensitive.
        method: String,
        /// As written.
        uri: String,
    },
    /// A response.
    Response {
        /// 100–699.
        code: u16,
        /// May be empty.
        reason: String,
    },
}

/// One header line, unfolded; a compact name is written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As written, or the long form of a compact name.
    pub name: String,
    /// Without white space around it; in whatever charset the peer has.
    pub value: Vec<u8>,
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// First line.
    pub start: Start,
    /// In the order of the wire.
    pub headers: Vec<Header>,
    /// As many bytes as Content-Length says.
    pub body: Vec<u8>,
}

impl Message {
    /// A message without headers.
    pub fn new(start: Start) -> Message {
        Message { start, headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header at the end.
    pub fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.headers.push(Header { name: name.into(), value: value.into() });
    }

    /// The raw values of all headers of this name, in order.
    pub fn raw<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_slice())
    }

    /// The first value of this name as text.
    pub fn text<'a>(&'a self, name: &'a str) -> Option<Cow<'a, str>> {
        self.raw(name).next().map(decode)
    }

    /// All values of a header that is a list, over all its lines: commas outside quotes and angle brackets separate.
    pub fn list(&self, name: &str) -> Vec<String> {
        let mut values = Vec::new();
        for raw in self.raw(name) {
            let text = decode(raw);
            let items = super::header::split(&text, ',').into_iter().map(str::trim).filter(|item| !item.is_empty());
            values.extend(items.map(str::to_string));
        }
        values
    }

    /// How many headers have this name.
    pub fn count(&self, name: &str) -> usize {
        self.raw(name).count()
    }
}

/// Text of a header: UTF-8, else CP932 or EUC-JP (old Japanese exchanges), else what can be read of it.
///
/// Bytes that are both CP932 and EUC-JP are taken as CP932 unless that reading mixes half-width katakana with other characters or
/// holds half-width punctuation. Names wholly in half-width katakana therefore stay right, at the price of some EUC-JP names.
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let cp932 = SHIFT_JIS.decode_without_bom_handling_and_without_replacement(bytes);
    let euc = EUC_JP.decode_without_bom_handling_and_without_replacement(bytes);
    match (cp932, euc) {
        (Some(cp932), Some(euc)) => {
            if is_unlikely(&cp932) {
                euc
            } else {
                cp932
            }
        }
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => String::from_utf8_lossy(bytes),
    }
}

/// Whether a CP932 reading looks like EUC-JP misread.
fn is_unlikely(text: &str) -> bool {
    let half = |c: &char| ('\u{ff61}'..='\u{ff9f}').contains(c);
    let punctuation = text.chars().any(|c| ('\u{ff61}'..='\u{ff65}').contains(&c));
    let other = text.chars().any(|c| !c.is_ascii() && !half(&c));
    punctuation || (other && text.chars().any(|c| half(&c)))
}

/// The long form of a compact header name (RFC 3261 §7.3.3 and the IANA registry).
pub fn long_name(name: &str) -> &str {
    let [letter] = name.as_bytes() else { return name };
    match letter.to_ascii_lowercase() {
        b'a' => "Accept-Contact",
        b'b' => "Referred-By",
        b'c' => "Content-Type",
        b'd' => "Request-Disposition",
        b'e' => "Content-Encoding",
        b'f' => "From",
        b'i' => "Call-ID",
        b'j' => "Reject-Contact",
        b'k' => "Supported",
        b'l' => "Content-Length",
        b'm' => "Contact",
        b'n' => "Identity-Info",
        b'o' => "Event",
        b'r' => "Refer-To",
        b's' => "Subject",
        b't' => "To",
        b'u' => "Allow-Events",
        b'v' => "Via",
        b'x' => "Session-Expires",
        b'y' => "Identity",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_header_is_read_in_its_own_charset() {
        let name = "橋本 はし";
        assert_eq!(decode(name.as_bytes()), name);
        assert_eq!(decode(&SHIFT_JIS.encode(name).0), name);
        assert_eq!(decode(&EUC_JP.encode(name).0), name);
        assert_eq!(decode(&SHIFT_JIS.encode("ﾊｼﾓﾄ").0), "ﾊｼﾓﾄ");
        assert_eq!(decode(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn lists_run_over_lines_and_respect_quotes_and_brackets() {
        let mut message = Message::new(Start::Request { method: "OPTIONS".into(), uri: "sip:a".into() });
        message.push("Route", "<sip:a,b>, \"c,\\\"d\" <sip:e>");
        message.push("route", ",<sip:f>");
        assert_eq!(message.list("Route"), ["<sip:a,b>", "\"c,\\\"d\" <sip:e>", "<sip:f>"]);
        assert_eq!(message.count("ROUTE"), 2);
    }
}

//! Bodies of several parts (RFC 2046 §5.1 as RFC 5621 uses it): cut at the boundary, headers of each part read. Bounded.

use super::header::split_params;
use super::message::{decode, long_name};

/// More parts make a body unusable.
const PARTS_MAX: usize = 16;
/// Header lines of one part.
const HEADERS_MAX: usize = 32;
/// The longest boundary (RFC 2046 §5.1.1).
const BOUNDARY_MAX: usize = 70;

/// One part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Name (long form) and value, in order.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line, without the line end that belongs to the boundary.
    pub body: Vec<u8>,
}

impl Part {
    /// The first value of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// The parts of a body with this Content-Type. A preamble and an epilogue are skipped; the boundary may follow the text before it
/// without a line end, and the last one may be missing, because recorders send both. `None`: no boundary, or too many parts.
pub fn split(content_type: &str, body: &[u8]) -> Option<Vec<Part>> {
    let (_, params) = split_params(content_type)?;
    let boundary = super::header::param(&params, "boundary")?;
    if boundary.is_empty() || boundary.len() > BOUNDARY_MAX {
        return None;
    }
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let mut parts = Vec::new();
    let mut open = None;
    let mut at = 0;
    while let Some((start, end, last)) = next_delimiter(body, &delimiter, at) {
        if let Some(from) = open {
            parts.push(read_part(without_line_end(body.get(from..start)?))?);
        }
        if parts.len() > PARTS_MAX {
            return None;
        }
        (open, at) = (Some(end).filter(|_| !last), end);
        if last {
            break;
        }
    }
    if let Some(from) = open {
        parts.push(read_part(body.get(from..)?)?);
    }
    (!parts.is_empty() && parts.len() <= PARTS_MAX).then_some(parts)
}

/// Start, end (after its line end) and whether it closes, of the next delimiter.
fn next_delimiter(body: &[u8], delimiter: &[u8], mut from: usize) -> Option<(usize, usize, bool)> {
    loop {
        let start = from + find(body.get(from..)?, delimiter)?;
        let after = start + delimiter.len();
        let rest = body.get(after..)?;
        if rest.starts_with(b"--") {
            return Some((start, after + 2, true));
        }
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        match rest.get(blanks..)? {
            [b'\r', b'\n', ..] => return Some((start, after + blanks + 2, false)),
            [b'\n', ..] => return Some((start, after + blanks + 1, false)),
            // the boundary of a nested body may begin like this one
            _ => from = after,
        }
    }
}

fn read_part(bytes: &[u8]) -> Option<Part> {
    let mut part = Part::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at_checked(end)?;
        rest = after;
        let line = line.trim_ascii_end();
        if line.is_empty() {
            part.body = rest.to_vec();
            return Some(part);
        }
        let text = decode(line);
        if text.starts_with([' ', '\t']) {
            part.headers.last_mut()?.1.push_str(&format!(" {}", text.trim()));
            continue;
        }
        let (name, value) = text.split_once(':')?;
        if part.headers.len() >= HEADERS_MAX {
            return None;
        }
        part.headers.push((long_name(name.trim()).to_string(), value.trim().to_string()));
    }
    Some(part)
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(content_type: &str, body: &str) -> Option<Vec<String>> {
        let parts = split(content_type, body.as_bytes())?;
        Some(parts.into_iter().map(|part| String::from_utf8(part.body).unwrap()).collect())
    }

    #[test]
    fn preamble_epilogue_and_quotes_are_no_matter() {
        let body = "ignored\r\n--a b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--a b \t\r\n\r\nsecond\r\n--a b--\r\nend";
        assert_eq!(bodies("multipart/mixed;boundary=\"a b\"", body).unwrap(), ["v=0\r\n", "second"]);
        let parts = split("multipart/mixed; boundary=\"a b\"", body.as_bytes()).unwrap();
        assert_eq!(parts[0].header("content-type"), Some("application/sdp"));
    }

    #[test]
    fn a_boundary_may_touch_the_text_and_the_last_one_may_be_missing() {
        let body = "--x\r\nc: text/xml\r\n\r\n<recording></recording>--x\r\n\r\ntail";
        assert_eq!(bodies("multipart/mixed;boundary=x", body).unwrap(), ["<recording></recording>", "tail"]);
        assert_eq!(
            split("multipart/mixed;boundary=x", body.as_bytes()).unwrap()[0].header("Content-Type"),
            Some("text/xml")
        );
        assert_eq!(bodies("multipart/mixed;boundary=x", "--x\n\nplain\n--x--").unwrap(), ["plain"]);
        assert_eq!(bodies("multipart/mixed;boundary=x", "--xy\r\n\r\nno\r\n--x\r\n\r\nyes\r\n--x--").unwrap(), ["yes"]);
    }

    #[test]
    fn what_has_no_boundary_or_too_many_parts_is_refused() {
        assert_eq!(bodies("multipart/mixed", "--x\r\n\r\na\r\n--x--"), None);
        assert_eq!(bodies("multipart/mixed;boundary=x", "nothing"), None);
        assert_eq!(bodies("multipart/mixed;boundary=x", &"--x\r\n\r\na\r\n".repeat(17)), None);
        assert_eq!(bodies("multipart/mixed;boundary=x", &format!("--x\r\n{}\r\n", "a: b\r\n".repeat(33))), None);
        for end in 0..40 {
            let whole = "pre\r\n--x\r\nc: a/b\r\n folded\r\n\r\nbody\r\n--x--\r\n";
            let _ = split("multipart/mixed;boundary=x", &whole.as_bytes()[..end]);
        }
    }
}

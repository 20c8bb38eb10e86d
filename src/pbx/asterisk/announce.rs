//! How a dialplan tells of a call that comes by a media connection: one HTTP request, the query of a websocket's address, or channel
//! variables. All three have the same fields. Sans-IO.
//!
//! `caller` number, `name`, `pres` (`${CALLERID(num-pres)}`: without it the number is kept back), `called` line, `uniqueid`, `linkedid`; the
//! request says in `id` which connection it means. As channel variables the names are `KAKEHASHI_CALLER` and so on.

use std::collections::BTreeMap;

use crate::pbx::{ExternalKey, KeyKind};

use super::door::Announced;
use super::event::Channel;
use super::identity::{Presentation, identity};

/// Longest request that is read, in bytes.
pub const REQUEST_MAX: usize = 4_096;
/// Most fields, and the longest value in bytes.
const FIELDS_MAX: usize = 16;
const VALUE_MAX: usize = 256;

/// Where announcements go.
pub const PATH: &str = "/announce";

/// What stands in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Not whole yet.
    More,
    /// A call, and the name of its connection.
    Call(String, Box<Announced>),
    /// Something else; the status that is answered.
    Refused(u16),
}

/// Whether a connection begins like an HTTP request; no frame of AudioSocket does.
pub fn is_request(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| matches!(first, b'G' | b'P'))
}

/// Reads a request of which `bytes` came so far; only its first line is looked at.
pub fn read(bytes: &[u8]) -> Request {
    if !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        return if bytes.len() >= REQUEST_MAX { Request::Refused(431) } else { Request::More };
    }
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return Request::Refused(400) };
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !matches!(method, "GET" | "POST") {
        return Request::Refused(405);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path != PATH {
        return Request::Refused(404);
    }
    let fields = query_fields(query);
    match fields.get("id").filter(|id| !id.is_empty()) {
        Some(id) => Request::Call(id.clone(), Box::new(of_fields(&fields).unwrap_or_default())),
        None => Request::Refused(400),
    }
}

/// The answer to a request.
pub fn answer(status: u16) -> String {
    let (phrase, body) = match status {
        200 => ("OK", "ok\n"),
        404 => ("Not Found", "expected GET /announce?id=UUID&caller=NUMBER&pres=PRES&called=LINE&uniqueid=ID\n"),
        405 => ("Method Not Allowed", "expected GET\n"),
        409 => ("Conflict", "this connection is there already\n"),
        431 => ("Request Header Fields Too Large", "expected at most 4096 bytes\n"),
        503 => ("Service Unavailable", "too many calls wait for their connection\n"),
        _ => ("Bad Request", "expected id=UUID in the query\n"),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// The fields of a query (`a=b&c=d`), percent-decoded.
pub fn query_fields(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.take(FIELDS_MAX).map(|(key, value)| (decode(key), decode(value))).collect()
}

/// The fields that stand in channel variables.
pub fn variable_fields(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = variables.iter().filter_map(|(key, value)| Some((key.strip_prefix("KAKEHASHI_")?, value)));
    own.map(|(key, value)| (key.to_ascii_lowercase(), value.clone())).collect()
}

/// The call that these fields tell of; `None` when they tell nothing.
pub fn of_fields(fields: &BTreeMap<String, String>) -> Option<Announced> {
    let field = |name: &str| fields.get(name).map(|value| value.trim().to_string()).unwrap_or_default();
    let channel = Channel { number: field("caller"), display: field("name"), ..Channel::default() };
    let presentation = Presentation::of_name(&field("pres"));
    let nobody = channel.number.is_empty() && channel.display.is_empty();
    let caller = if nobody { Default::default() } else { identity(&channel, presentation, None) };
    let keys = [(KeyKind::Uniqueid, field("uniqueid")), (KeyKind::Linkedid, field("linkedid"))];
    let keys: Vec<ExternalKey> = keys
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(kind, value)| ExternalKey { kind, value })
        .collect();
    let called = field("called");
    if nobody && called.is_empty() && keys.is_empty() {
        return None;
    }
    Some(Announced { caller, called, keys })
}

/// Percent-decoding with a bound; what is not UTF-8 afterwards is left out.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if bytes.len() >= VALUE_MAX {
            break;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'%' => {
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else { break };
                bytes.push((high * 16 + low) as u8);
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    let decoded = String::from_utf8(bytes).unwrap_or_default();
    decoded.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(target: &str) -> (String, Announced) {
        match read(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()) {
            Request::Call(id, call) => (id, *call),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_tells_of_the_call_and_its_connection() {
        let target = "/announce?id=a-b&caller=0663621234&name=%E6%A9%8B%E6%9C%AC&pres=allowed_not_screened&called=7001\
                      &uniqueid=lab-1.2&linkedid=lab-1.1";
        let (id, announced) = call(target);
        assert_eq!((id.as_str(), announced.called.as_str()), ("a-b", "7001"));
        assert_eq!(announced.caller.number.as_deref(), Some("0663621234"));
        assert_eq!(announced.caller.display.as_deref(), Some("橋本"));
        let keys: Vec<(KeyKind, &str)> = announced.keys.iter().map(|key| (key.kind, key.value.as_str())).collect();
        assert_eq!(keys, [(KeyKind::Uniqueid, "lab-1.2"), (KeyKind::Linkedid, "lab-1.1")]);
    }

    #[test]
    fn a_number_that_may_not_be_shown_goes_no_further() {
        for pres in ["&pres=prohib_not_screened", "", "&pres=", "&pres=x"] {
            let (_, announced) = call(&format!("/announce?id=a&caller=0663621234{pres}&called=7001"));
            assert_eq!(announced.caller.number, None, "{pres}");
        }
        let (_, nobody) = call("/announce?id=a&called=7001");
        assert_eq!(nobody.caller, crate::pbx::Identity::default());
    }

    #[test]
    fn what_is_no_announcement_is_answered_with_what_is_expected() {
        let refused = |text: &str| match read(text.as_bytes()) {
            Request::Refused(status) => status,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(refused("PUT /announce?id=a HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), 404);
        assert_eq!(refused("GET /announce HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(refused(&format!("GET /announce?id={}", "a".repeat(REQUEST_MAX))), 431);
        assert_eq!(read(b"GET /announce?id=a HTTP/1.1\r\n"), Request::More);
        assert_eq!(read(b"GET \xff\xfe\r\n\r\n"), Request::Refused(400));
        assert!(answer(404).contains("/announce?id=UUID"));
    }

    #[test]
    fn variables_of_the_channel_tell_the_same() {
        let told =
            [("KAKEHASHI_CALLER", "1001"), ("KAKEHASHI_PRES", "allowed"), ("KAKEHASHI_CALLED", "7001"), ("OTHER", "x")];
        let variables = told.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let announced = of_fields(&variable_fields(&variables)).unwrap();
        assert_eq!((announced.caller.number.as_deref(), announced.called.as_str()), (Some("1001"), "7001"));
        assert_eq!(of_fields(&BTreeMap::new()), None);
    }

    #[test]
    fn broken_encodings_end_the_value() {
        assert_eq!(decode("a%4"), "a");
        assert_eq!(decode("a%zzb"), "a");
        assert_eq!(decode("%ff%fe"), "");
        assert_eq!(decode("a%0d%0ab"), "ab");
        assert_eq!(decode(&"x".repeat(10_000)).len(), VALUE_MAX);
    }
}

//! A request with the headers that every request needs, read once; and the answer to one.

use std::net::SocketAddr;

use super::header::{CSeq, NameAddr, Uri, Via, split};
use super::message::{Message, Start};
use super::wire::Bad;

/// A request whose Via, From, To, Call-ID and CSeq are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As received, with `received` and `rport` added to the first Via.
    pub message: Message,
    /// Method.
    pub method: String,
    /// Request-URI.
    pub uri: Uri,
    /// The first Via.
    pub via: Via,
    /// Caller (or whoever asks inside a dialog).
    pub from: NameAddr,
    /// Callee.
    pub to: NameAddr,
    /// Call-ID.
    pub call_id: String,
    /// CSeq.
    pub cseq: CSeq,
}

impl Request {
    /// Reads what every request must have (RFC 3261 §8.1.1), each exactly once.
    ///
    /// # Errors
    /// 400 with the name of the header that is missing, double or malformed.
    pub fn read(message: Message) -> Result<Request, Bad> {
        let wrong = |reason: &'static str| Bad { message: Some(message.clone()), ..Bad::request(reason) };
        let Start::Request { method, uri } = &message.start else { return Err(Bad::request("Not A Request")) };
        let one = |name: &'static str, missing: &'static str| match message.count(name) {
            1 => message.text(name).ok_or_else(|| wrong(missing)),
            _ => Err(wrong(missing)),
        };
        let uri = Uri::parse(uri).filter(|uri| !uri.has_headers).ok_or_else(|| wrong("Malformed Request-URI"))?;
        let vias = message.list("Via");
        let via = vias.first().and_then(|via| Via::parse(via)).ok_or_else(|| wrong("Malformed Via"))?;
        let from = NameAddr::parse(&one("From", "One From Expected")?).ok_or_else(|| wrong("Malformed From"))?;
        let to = NameAddr::parse(&one("To", "One To Expected")?).ok_or_else(|| wrong("Malformed To"))?;
        let call_id = one("Call-ID", "One Call-ID Expected")?.trim().to_string();
        let cseq = CSeq::parse(&one("CSeq", "One CSeq Expected")?).ok_or_else(|| wrong("Malformed CSeq"))?;
        if cseq.method != *method {
            return Err(wrong("CSeq Method Does Not Match"));
        }
        if call_id.is_empty() || call_id.contains(char::is_whitespace) {
            return Err(wrong("Malformed Call-ID"));
        }
        if message.count("Max-Forwards") > 1 || !max_forwards_is_right(&message) {
            return Err(wrong("Malformed Max-Forwards"));
        }
        let method = method.clone();
        Ok(Request { message, method, uri, via, from, to, call_id, cseq })
    }

    /// Starts the answer: Via, From, To, Call-ID and CSeq copied, `tag` added to a To that has none (RFC 3261 §8.2.6.2).
    pub fn answer(&self, code: u16, tag: &str) -> Message {
        answer(&self.message, code, reason_of(code), tag)
    }
}

/// The answer to whatever could be read of a request.
pub fn answer(request: &Message, code: u16, reason: &str, tag: &str) -> Message {
    let mut message = Message::new(Start::Response { code, reason: reason.into() });
    for header in &request.headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let copied = is("Via") || is("From") || is("Call-ID") || is("CSeq") || (code == 100 && is("Timestamp"));
        if copied {
            message.headers.push(header.clone());
        } else if is("To") && message.count("To") == 0 {
            let text = super::message::decode(&header.value);
            let has_tag = NameAddr::parse(&text).is_none_or(|to| to.tag().is_some());
            message.headers.push(header.clone());
            if let Some(to) = message.headers.last_mut().filter(|_| code != 100 && !has_tag) {
                to.value.extend(format!(";tag={tag}").bytes());
            }
        }
    }
    message
}

/// Adds `received` and `rport` to the first Via of a request (RFC 3261 §18.2.1, RFC 3581 §4).
pub fn stamp_via(message: &mut Message, source: SocketAddr) {
    let Some(header) = message.headers.iter_mut().find(|header| header.name.eq_ignore_ascii_case("Via")) else {
        return;
    };
    let Ok(text) = std::str::from_utf8(&header.value) else { return };
    let vias = split(text, ',');
    let Some((first, others)) = vias.split_first() else { return };
    let Some(via) = Via::parse(first.trim()) else { return };
    let asks = via.wants_rport();
    let address = source.ip().to_canonical();
    if !asks && via.host.parse() == Ok(address) {
        return;
    }
    let old = |piece: &&str| {
        let name = piece.split('=').next().unwrap_or_default().trim();
        !(name.eq_ignore_ascii_case("received") || (asks && name.eq_ignore_ascii_case("rport")))
    };
    let mut stamped = split(first.trim(), ';').into_iter().filter(old).collect::<Vec<_>>().join(";");
    stamped.push_str(&format!(";received={address}"));
    if asks {
        stamped.push_str(&format!(";rport={}", source.port()));
    }
    for other in others {
        stamped.push(',');
        stamped.push_str(other);
    }
    header.value = stamped.into_bytes();
}

/// Where the answer to a request over UDP goes (RFC 3261 §18.2.2, RFC 3581 §4); over TCP when its connection is gone.
pub fn answer_address(via: &Via, source: SocketAddr) -> SocketAddr {
    let mut address = source;
    if !via.wants_rport() {
        address.set_port(via.port.unwrap_or(5060));
    }
    address
}

fn max_forwards_is_right(message: &Message) -> bool {
    message.text("Max-Forwards").is_none_or(|text| text.trim().parse::<u32>().is_ok_and(|hops| hops <= 255))
}

/// The reason phrase of a status code that we send.
pub fn reason_of(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        469 => "Bad Info Package",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        486 => "Busy Here",
        487 => "Request Terminated",
        489 => "Bad Event",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        603 => "Decline",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(via: &str) -> Message {
        let mut message = Message::new(Start::Request { method: "OPTIONS".into(), uri: "sip:a@b".into() });
        message.push("Via", via);
        message.push("From", "<sip:c@d>;tag=1");
        message.push("To", "<sip:a@b>");
        message.push("Call-ID", "x");
        message.push("CSeq", "1 OPTIONS");
        message
    }

    #[test]
    fn the_first_via_gets_the_source() {
        let source: SocketAddr = "192.0.2.9:4000".parse().unwrap();
        let stamped = |via: &str| {
            let mut message = request(via);
            stamp_via(&mut message, source);
            message.text("Via").unwrap().into_owned()
        };
        assert_eq!(
            stamped("SIP/2.0/UDP 10.0.0.1;rport;branch=z,SIP/2.0/TCP b;rport"),
            "SIP/2.0/UDP 10.0.0.1;branch=z;received=192.0.2.9;rport=4000,SIP/2.0/TCP b;rport"
        );
        assert_eq!(stamped("SIP/2.0/UDP host;branch=z"), "SIP/2.0/UDP host;branch=z;received=192.0.2.9");
        assert_eq!(stamped("SIP/2.0/UDP 192.0.2.9;branch=z"), "SIP/2.0/UDP 192.0.2.9;branch=z");
        let via = |text: &str| Via::parse(text).unwrap();
        assert_eq!(answer_address(&via("SIP/2.0/UDP 10.0.0.1:9;rport"), source), source);
        assert_eq!(answer_address(&via("SIP/2.0/UDP 10.0.0.1:9"), source).to_string(), "192.0.2.9:9");
        assert_eq!(answer_address(&via("SIP/2.0/UDP 10.0.0.1"), source).to_string(), "192.0.2.9:5060");
    }

    #[test]
    fn every_answer_but_100_has_a_tag_and_keeps_one_that_is_there() {
        let read = Request::read(request("SIP/2.0/UDP a")).unwrap();
        assert_eq!(read.answer(100, "t").text("To").unwrap(), "<sip:a@b>");
        assert_eq!(read.answer(486, "t").text("To").unwrap(), "<sip:a@b>;tag=t");
        let mut inside = request("SIP/2.0/UDP a");
        inside.headers[2].value = b"<sip:a@b>;tag=old".to_vec();
        assert_eq!(Request::read(inside).unwrap().answer(200, "t").text("To").unwrap(), "<sip:a@b>;tag=old");
    }

    #[test]
    fn what_every_request_needs_is_needed_once() {
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            let mut without = request("SIP/2.0/UDP a");
            without.headers.retain(|header| header.name != name);
            assert_eq!(Request::read(without).unwrap_err().status, 400, "{name}");
        }
        for (name, value) in [("CSeq", "2 OPTIONS"), ("To", "<sip:x@y>"), ("Max-Forwards", "300"), ("Call-ID", "b")] {
            let mut twice = request("SIP/2.0/UDP a");
            twice.push(name, value);
            assert_eq!(Request::read(twice).unwrap_err().status, 400, "{name}");
        }
    }
}

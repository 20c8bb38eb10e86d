//! The SIP messages that the probe sends, and what it reads of the answers.

use super::facts::{Failure, Offered, Options, Register, Way};
use super::redact;
use crate::pbx::sip::header::{NameAddr, bracketed, param, print_cseq, print_via, split};
use crate::pbx::sip::message::{Message, Start, decode};
use crate::pbx::sip::sdes::{Crypto, Key};

/// What the probe can do, as in Allow.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, NOTIFY";
/// Most entries that are kept of a list header.
const LIST_MAX: usize = 40;

/// Who asks whom, and by which way.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Carried by.
    pub way: Way,
    /// Our address as the exchange reaches it.
    pub host: String,
    /// Our port.
    pub port: u16,
    /// The exchange's host as it was given.
    pub domain: String,
    /// The exchange's port, where it is not the usual one.
    pub domain_port: Option<u16>,
    /// The user that we are; `kakehashi-probe` without credentials.
    pub user: String,
}

impl Ends {
    /// A URI at the exchange; without user: the exchange itself.
    pub fn uri(&self, user: Option<&str>) -> String {
        let user = user.map(|user| format!("{}@", escaped(user))).unwrap_or_default();
        let port = self.domain_port.map(|port| format!(":{port}")).unwrap_or_default();
        let transport = match self.way {
            Way::Udp => "",
            Way::Tcp => ";transport=tcp",
            Way::Tls => ";transport=tls",
        };
        format!("sip:{user}{}{port}{transport}", bracketed(&self.domain))
    }

    /// Our own address for answers inside a dialog.
    pub fn contact(&self) -> String {
        let transport = match self.way {
            Way::Udp => "",
            Way::Tcp => ";transport=tcp",
            Way::Tls => ";transport=tls",
        };
        format!("<sip:{}@{}:{}{transport}>", escaped(&self.user), bracketed(&self.host), self.port)
    }
}

/// A user as it may stand in a URI (RFC 3261 §25.1).
pub fn escaped(user: &str) -> String {
    let mut text = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// What names one request among others: unguessable texts from the edge.
#[derive(Clone, Debug)]
pub struct Names {
    /// Call-ID.
    pub call_id: String,
    /// Tag of From.
    pub tag: String,
}

/// A request outside a dialog, with what each one has.
pub fn request(ends: &Ends, method: &str, target: Option<&str>, names: &Names, cseq: u32, branch: &str) -> Message {
    let uri = ends.uri(target);
    let mut message = Message::new(Start::Request { method: method.into(), uri: uri.clone() });
    message.push("Via", print_via(ends.way.name(), &ends.host, ends.port, branch));
    message.push("Max-Forwards", "70");
    let from = Ends { way: Way::Udp, ..ends.clone() }.uri(Some(&ends.user));
    message.push("From", format!("<{from}>;tag={}", names.tag));
    let to = if method == "REGISTER" { from } else { uri };
    message.push("To", format!("<{to}>"));
    message.push("Call-ID", names.call_id.clone());
    message.push("CSeq", print_cseq(cseq, method));
    message.push("Contact", ends.contact());
    message.push("User-Agent", concat!("kakehashi-probe/", env!("CARGO_PKG_VERSION")));
    message
}

/// Asks what the exchange can do (RFC 3261 §11).
pub fn options(ends: &Ends, names: &Names, cseq: u32, branch: &str) -> Message {
    let mut message = request(ends, "OPTIONS", None, names, cseq, branch);
    message.push("Accept", "application/sdp");
    message.push("Allow", ALLOW);
    message
}

/// Reads the answer to OPTIONS; any status says that SIP is spoken.
pub fn read_options(answer: &Message, rtt_us: Vec<u64>) -> Result<Options, Failure> {
    let (status, reason) = status(answer).ok_or(Failure::Garbage("a request instead of a response"))?;
    let server = answer.text("Server").or_else(|| answer.text("User-Agent"));
    let list = |name: &str| -> Vec<String> {
        answer.list(name).into_iter().take(LIST_MAX).map(|item| redact::foreign(&item)).collect()
    };
    Ok(Options {
        status,
        reason,
        server: server.map(|text| redact::foreign(&text)).filter(|text| !text.is_empty()),
        allow: list("Allow"),
        supported: list("Supported"),
        events: list("Allow-Events"),
        rtt_us,
    })
}

/// Reads a challenge: its digest algorithms and whether it has `qop=auth`; nothing when there was none.
pub fn read_challenge(answer: Option<&Message>) -> Register {
    let mut register = Register::default();
    for name in ["WWW-Authenticate", "Proxy-Authenticate"] {
        let values = answer.into_iter().flat_map(|answer| answer.raw(name)).take(LIST_MAX);
        for text in values.map(decode) {
            let Some((_, params)) = text.trim().split_once(' ') else { continue };
            let mut algorithm = "MD5".to_string();
            for (key, value) in split(params, ',').into_iter().filter_map(|piece| piece.trim().split_once('=')) {
                match key.trim().to_ascii_lowercase().as_str() {
                    "algorithm" => algorithm = redact::foreign(value.trim().trim_matches('"')),
                    "qop" => register.qop |= value.contains("auth"),
                    _ => {}
                }
            }
            register.algorithms.push(algorithm);
        }
    }
    register
}

/// Expires that a registrar granted to our contact, in seconds (RFC 3261 §10.2.4).
pub fn granted(answer: &Message, ends: &Ends) -> Option<u32> {
    let own = ends.contact();
    let ours = answer
        .list("Contact")
        .into_iter()
        .filter_map(|text| NameAddr::parse(&text))
        .find(|contact| own.contains(&contact.uri_text));
    let by_contact = ours.and_then(|contact| param(&contact.params, "expires")?.parse().ok());
    by_contact.or_else(|| answer.text("Expires")?.trim().parse().ok())
}

/// Status and reason of a response, the reason redacted.
pub fn status(answer: &Message) -> Option<(u16, String)> {
    match &answer.start {
        Start::Response { code, reason } => Some((*code, redact::foreign(reason))),
        Start::Request { .. } => None,
    }
}

/// The description of one test call: the one codec, digits beside it, and the protection.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// What is offered.
    pub offered: Offered,
    /// Where we receive.
    pub host: &'a str,
    /// Our RTP port.
    pub port: u16,
    /// Session id.
    pub session: u64,
    /// The key of our packets, for SDES.
    pub key: &'a Key,
    /// SHA-256 fingerprint, for DTLS.
    pub fingerprint: &'a str,
}

impl Offer<'_> {
    /// The body.
    pub fn body(&self) -> Vec<u8> {
        let family = if self.host.contains(':') { "IP6" } else { "IP4" };
        let (number, map) = match self.offered {
            Offered::Pcmu | Offered::Sdes | Offered::Dtls => (0, "0 PCMU/8000"),
            Offered::Pcma => (8, "8 PCMA/8000"),
            Offered::G722 => (9, "9 G722/8000"),
            Offered::Opus => (107, "107 opus/48000/2"),
        };
        let (profile, extra) = match self.offered {
            Offered::Sdes => ("RTP/SAVP", format!("a=crypto:{}\r\n", Crypto::print(1, self.key))),
            Offered::Dtls => (
                "UDP/TLS/RTP/SAVP",
                format!("a=setup:actpass\r\na=fingerprint:sha-256 {}\r\na=rtcp-mux\r\n", self.fingerprint),
            ),
            _ => ("RTP/AVP", String::new()),
        };
        let (events, clock) = if self.offered == Offered::Opus { (110, 48_000) } else { (101, 8_000) };
        let (host, port, session) = (self.host, self.port, self.session);
        format!(
            "v=0\r\no=kakehashi {session} {session} IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n\
             m=audio {port} {profile} {number} {events}\r\na=rtpmap:{map}\r\na=rtpmap:{events} telephone-event/{clock}\r\n\
             a=fmtp:{events} 0-16\r\na=ptime:20\r\n{extra}a=sendrecv\r\n"
        )
        .into_bytes()
    }
}

//! The probe's side of a SIP dialog, calling or called, and the descriptions of sound that go with it.

use super::facts::{Called, Offered};
use super::redact;
use super::request::{Ends, status};
use crate::pbx::sip::header::{NameAddr, Uri, print_cseq, print_via};
use crate::pbx::sip::message::{Message, Start};
use crate::pbx::sip::request::answer;
use crate::pbx::sip::sdes::Crypto;

/// A dialog that was begun.
#[derive(Clone, Debug)]
pub struct Dialog {
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    call_id: String,
    cseq: u32,
}

impl Dialog {
    /// Of the caller: our INVITE and its answer.
    pub fn of_answer(invite: &Message, answer: &Message, cseq: u32) -> Option<Dialog> {
        let mut routes = answer.list("Record-Route");
        routes.reverse();
        Some(Dialog {
            local: invite.text("From")?.into_owned(),
            remote: answer.text("To")?.into_owned(),
            target: contact(answer)?,
            routes,
            call_id: invite.text("Call-ID")?.into_owned(),
            cseq,
        })
    }

    /// Of the called: their INVITE, and the tag that we answered with.
    pub fn of_request(invite: &Message, tag: &str) -> Option<Dialog> {
        Some(Dialog {
            local: format!("{};tag={tag}", invite.text("To")?),
            remote: invite.text("From")?.into_owned(),
            target: contact(invite)?,
            routes: invite.list("Record-Route"),
            call_id: invite.text("Call-ID")?.into_owned(),
            cseq: 0,
        })
    }

    /// The next request inside the dialog.
    pub fn request(&mut self, ends: &Ends, method: &str, branch: &str) -> Message {
        self.cseq += 1;
        self.with_cseq(ends, method, branch)
    }

    /// ACK to a 2xx, which has the number of its INVITE.
    pub fn ack(&self, ends: &Ends, branch: &str) -> Message {
        self.with_cseq(ends, "ACK", branch)
    }

    fn with_cseq(&self, ends: &Ends, method: &str, branch: &str) -> Message {
        let mut message = Message::new(Start::Request { method: method.into(), uri: self.target.clone() });
        message.push("Via", print_via(ends.way.name(), &ends.host, ends.port, branch));
        message.push("Max-Forwards", "70");
        for route in &self.routes {
            message.push("Route", route.clone());
        }
        message.push("From", self.local.clone());
        message.push("To", self.remote.clone());
        message.push("Call-ID", self.call_id.clone());
        message.push("CSeq", print_cseq(self.cseq, method));
        message.push("Contact", ends.contact());
        message
    }
}

/// CANCEL of an INVITE that is not answered yet (RFC 3261 §9.1).
pub fn cancel(invite: &Message) -> Option<Message> {
    let Start::Request { uri, .. } = &invite.start else { return None };
    let mut message = Message::new(Start::Request { method: "CANCEL".into(), uri: uri.clone() });
    for name in ["Via", "Max-Forwards", "From", "To", "Call-ID"] {
        message.push(name, invite.raw(name).next()?);
    }
    let number = invite.text("CSeq")?.split_whitespace().next()?.parse().ok()?;
    message.push("CSeq", print_cseq(number, "CANCEL"));
    Some(message)
}

fn contact(message: &Message) -> Option<String> {
    message.list("Contact").first().and_then(|text| NameAddr::parse(text)).map(|address| address.uri_text)
}

/// The first audio line of a description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// `RTP/AVP`, `RTP/SAVP`, …
    pub profile: String,
    /// Payload types as written.
    pub formats: Vec<u8>,
    /// Codecs by name, in the order of the formats.
    pub codecs: Vec<String>,
    /// Whether keys came: `SDES` or `DTLS`.
    pub keys: Option<&'static str>,
    /// Where RTP goes.
    pub address: String,
    /// Its port; 0: refused.
    pub port: u16,
    /// Audio lines in all.
    pub lines: usize,
    /// Payload type of telephone events with an 8 kHz clock.
    pub events: Option<u8>,
    /// The first `a=crypto` of the line that can be used.
    pub crypto: Option<Crypto>,
}

/// Most formats and lines that are read.
const FORMATS_MAX: usize = 32;

impl Media {
    /// Reads a body; `None` when it is no SDP with an audio line.
    pub fn read(body: &[u8]) -> Option<Media> {
        let session = sdp_types::Session::parse(body).ok()?;
        let audio: Vec<&sdp_types::Media> = session.medias.iter().filter(|media| media.media == "audio").collect();
        let media = audio.first()?;
        let formats: Vec<u8> =
            media.fmt.split_whitespace().take(FORMATS_MAX).filter_map(|number| number.parse().ok()).collect();
        let maps: Vec<(u8, &str)> = media
            .attributes
            .iter()
            .filter(|attribute| attribute.attribute == "rtpmap")
            .take(FORMATS_MAX)
            .filter_map(|attribute| attribute.value.as_deref()?.split_once(' '))
            .filter_map(|(number, name)| Some((number.parse().ok()?, name.trim())))
            .collect();
        let name = |number: u8| {
            let mapped = maps.iter().find(|(own, _)| *own == number).map(|(_, name)| *name);
            let fixed = match number {
                0 => "PCMU",
                8 => "PCMA",
                9 => "G722",
                18 => "G729",
                _ => "?",
            };
            redact::foreign(mapped.map_or(fixed, |name| name.split('/').next().unwrap_or(name)))
        };
        let is_event = |(_, name): &&(u8, &str)| name.eq_ignore_ascii_case("telephone-event/8000");
        let has = |name: &str| {
            let mut all = media.attributes.iter().chain(&session.attributes);
            all.any(|attribute| attribute.attribute == name)
        };
        let keys = match (has("crypto"), has("fingerprint")) {
            (true, _) => Some("SDES"),
            (_, true) => Some("DTLS"),
            _ => None,
        };
        let cryptos = media.attributes.iter().filter(|attribute| attribute.attribute == "crypto").take(FORMATS_MAX);
        let crypto = cryptos.filter_map(|attribute| attribute.value.as_deref()).find_map(Crypto::parse);
        let connection = media.connections.first().or(session.connection.as_ref());
        Some(Media {
            profile: redact::foreign(&media.proto),
            codecs: formats.iter().map(|number| name(*number)).collect(),
            formats,
            keys,
            address: connection.map(|connection| connection.connection_address.clone()).unwrap_or_default(),
            port: media.port,
            lines: audio.len(),
            events: maps.iter().find(is_event).map(|(number, _)| *number),
            crypto,
        })
    }

    /// Whether the answer takes what was offered.
    pub fn takes(&self, offered: Offered) -> bool {
        let codec = match offered {
            Offered::Pcmu | Offered::Sdes | Offered::Dtls => "PCMU",
            Offered::Pcma => "PCMA",
            Offered::G722 => "G722",
            Offered::Opus => "opus",
        };
        let keys = match offered {
            Offered::Sdes => Some("SDES"),
            Offered::Dtls => Some("DTLS"),
            _ => None,
        };
        self.port != 0 && self.keys == keys && self.codecs.iter().any(|own| own.eq_ignore_ascii_case(codec))
    }

    /// For evidence: profile, codecs, keys.
    pub fn line(&self) -> String {
        let keys = self.keys.map(|keys| format!(" ({keys})")).unwrap_or_default();
        let refused = if self.port == 0 { " (port 0)" } else { "" };
        format!("{} {}{keys}{refused}", self.profile, self.codecs.join(" "))
    }
}

/// Session-Expires of a message: seconds and refresher (RFC 4028).
pub fn timer(message: &Message) -> Option<(u32, String)> {
    let value = message.text("Session-Expires")?;
    let (seconds, rest) = value.split_once(';').unwrap_or((&value, ""));
    let refresher = rest.trim().strip_prefix("refresher=").unwrap_or("–");
    Some((seconds.trim().parse().ok()?, redact::foreign(refresher)))
}

/// Reads what an INVITE to the probe tells, without any number.
pub fn read_called(invite: &Message, transport: &str) -> Called {
    let digits = |uri: &Uri| uri.user.as_deref().map_or(0, |user| user.chars().filter(char::is_ascii_digit).count());
    let number = |name: &str| {
        let address = invite.list(name).first().and_then(|text| NameAddr::parse(text));
        address.map(|address| digits(&address.uri)).filter(|digits| *digits > 0)
    };
    let numbers = ["P-Asserted-Identity", "Remote-Party-ID", "From"];
    let mut dialled: Vec<&'static str> = ["To", "P-Called-Party-ID", "Diversion", "History-Info"]
        .into_iter()
        .filter(|name| number(name).is_some())
        .collect();
    let by_uri = match &invite.start {
        Start::Request { uri, .. } => Uri::parse(uri).is_some_and(|uri| digits(&uri) > 0),
        Start::Response { .. } => false,
    };
    if by_uri {
        dialled.insert(0, "Request-URI");
    }
    let media = Media::read(&invite.body).unwrap_or_default();
    let tags = |name: &str| invite.list(name).into_iter().take(20).map(|tag| redact::foreign(&tag));
    let supported: Vec<String> = tags("Supported").chain(tags("Require")).collect();
    let siprec = supported.iter().any(|tag| tag.eq_ignore_ascii_case("siprec"));
    Called {
        transport: transport.into(),
        agent: invite.text("User-Agent").map(|text| redact::foreign(&text)),
        numbers: numbers.into_iter().filter_map(|name| Some((name, number(name)?))).collect(),
        privacy: invite.text("Privacy").map(|text| redact::foreign(&text)),
        dialled,
        codecs: media.codecs,
        profile: media.profile,
        keys: media.keys,
        supported,
        timer: timer(invite).map(|(seconds, _)| seconds),
        siprec,
        lines: media.lines,
        ..Called::default()
    }
}

/// The answer to an INVITE: µ-law or A-law, whichever is offered first, and digits; `None` when neither is.
pub fn accept(invite: &Message, ends: &Ends, tag: &str, port: u16) -> Option<(Message, Media)> {
    let media = Media::read(&invite.body)?;
    let number = media.formats.iter().copied().find(|number| matches!(number, 0 | 8))?;
    let name = if number == 0 { "PCMU" } else { "PCMA" };
    let events = media.events.map(|events| {
        (format!(" {events}"), format!("a=rtpmap:{events} telephone-event/8000\r\na=fmtp:{events} 0-16\r\n"))
    });
    let (format, map) = events.unwrap_or_default();
    let family = if ends.host.contains(':') { "IP6" } else { "IP4" };
    let host = &ends.host;
    let mut body = format!(
        "v=0\r\no=kakehashi 1 1 IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n\
         m=audio {port} {} {number}{format}\r\na=rtpmap:{number} {name}/8000\r\n{map}a=sendrecv\r\n",
        media.profile
    );
    for _ in 1..media.lines {
        body.push_str(&format!("m=audio 0 {} {number}\r\n", media.profile));
    }
    let mut message = answer(invite, 200, "OK", tag);
    for route in invite.raw("Record-Route") {
        message.push("Record-Route", route);
    }
    message.push("Contact", ends.contact());
    message.push("Allow", super::request::ALLOW);
    message.push("Content-Type", "application/sdp");
    message.body = body.into_bytes();
    Some((message, media))
}

/// The description of a hold: what `accept` said, `sendonly`, with the next version.
pub fn hold(accepted: &Message) -> Vec<u8> {
    let text = String::from_utf8_lossy(&accepted.body);
    text.replace("kakehashi 1 1 IN", "kakehashi 1 2 IN").replace("a=sendrecv", "a=sendonly").into_bytes()
}

/// Whether a response accepts.
pub fn is_success(message: &Message) -> bool {
    status(message).is_some_and(|(code, _)| (200..300).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbx::sip::wire::{Limits, read_datagram};
    use crate::probe::facts::Way;

    const INVITE: &str = "INVITE sip:7001@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\n\
        From: \"Hashimoto\" <sip:0312345678@pbx>;tag=a\r\nTo: <sip:7001@pbx>\r\nCall-ID: c\r\nCSeq: 9 INVITE\r\n\
        Contact: <sip:x@h:5070>\r\nP-Asserted-Identity: <sip:0312345678@pbx>\r\nSupported: timer, 100rel\r\n\
        Session-Expires: 1800;refresher=uac\r\nContent-Type: application/sdp\r\n\r\n\
        v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\n\
        a=rtpmap:101 telephone-event/8000\r\n";

    fn invite() -> Message {
        read_datagram(INVITE.as_bytes(), &Limits::of(9_000)).unwrap().unwrap()
    }

    fn ends() -> Ends {
        Ends {
            way: Way::Udp,
            host: "127.0.0.1".into(),
            port: 5_090,
            domain: "pbx".into(),
            domain_port: None,
            user: "probe".into(),
        }
    }

    #[test]
    fn a_call_to_us_is_read_without_its_numbers() {
        let called = read_called(&invite(), "UDP");
        assert_eq!(called.numbers, [("P-Asserted-Identity", 10), ("From", 10)]);
        assert_eq!(called.dialled, ["Request-URI", "To"]);
        assert_eq!((called.timer, called.siprec, called.lines), (Some(1_800), false, 1));
        let shown = format!("{called:?}");
        assert!(!shown.contains("0312345678") && !shown.contains("Hashimoto"), "{shown}");
    }

    #[test]
    fn a_call_is_answered_held_and_ended_in_its_dialog() {
        let (answer, media) = accept(&invite(), &ends(), "t", 4_002).unwrap();
        assert_eq!((media.codecs[0].as_str(), media.events, media.address.as_str()), ("PCMA", Some(101), "192.0.2.1"));
        let own = Media::read(&answer.body).unwrap();
        assert_eq!((own.formats.as_slice(), own.port), ([8, 101].as_slice(), 4_002));
        assert!(String::from_utf8(hold(&answer)).unwrap().contains("a=sendonly"));
        let mut dialog = Dialog::of_request(&invite(), "t").unwrap();
        let bye = dialog.request(&ends(), "BYE", "z9hG4bKb");
        assert_eq!(bye.start, Start::Request { method: "BYE".into(), uri: "sip:x@h:5070".into() });
        assert_eq!(bye.text("From").unwrap(), "<sip:7001@pbx>;tag=t");
        assert_eq!(bye.text("CSeq").unwrap(), "1 BYE");
    }

    #[test]
    fn answers_must_take_what_was_offered() {
        let body = |line: &str, more: &str| {
            format!("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 h\r\nt=0 0\r\nm=audio {line}\r\n{more}").into_bytes()
        };
        let takes = |line: &str, more: &str, offered| Media::read(&body(line, more)).unwrap().takes(offered);
        assert!(takes("4000 RTP/AVP 0", "", Offered::Pcmu));
        assert!(!takes("0 RTP/AVP 0", "", Offered::Pcmu));
        assert!(!takes("4000 RTP/AVP 8", "", Offered::Pcmu));
        assert!(takes("4000 RTP/AVP 107", "a=rtpmap:107 opus/48000/2\r\n", Offered::Opus));
        assert!(!takes("4000 RTP/SAVP 0", "", Offered::Sdes));
        assert!(takes("4000 RTP/SAVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n", Offered::Sdes));
        assert!(!takes("4000 RTP/SAVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n", Offered::Dtls));
        assert_eq!(Media::read(b"v=0\r\n"), None);
        assert_eq!(Media::read(b"\xff\xfe"), None);
    }
}

//! Session descriptions: what the peer offers, and our answer (RFC 3264, RFC 8866). Syntax by `sdp-types`.

use std::net::IpAddr;

use sdp_types::{AddrType, Attribute, Connection, Media, NetType, Origin, Session, Time};

use super::keying::{Fingerprint, Profile, Security, Setup};
use super::message::decode;
use super::sdes::Crypto;
use super::settings::Preferred;

/// More media lines make an offer unusable.
const LINES_MAX: usize = 32;
/// More formats on one line are not looked at.
const FORMATS_MAX: usize = 64;
/// More keys or fingerprints on one line are not looked at.
const SECRETS_MAX: usize = 16;

/// What a payload type carries; the bridge translates it for the media stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722; its RTP clock is 8000 although it carries 16 kHz (RFC 3551 §4.5.2).
    G722,
    /// Opus (RFC 7587), with the feature `opus`.
    Opus,
    /// Named telephone events (RFC 4733).
    TelephoneEvent,
    /// Comfort noise (RFC 3389).
    ComfortNoise,
}

/// One payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// 0–127.
    pub number: u8,
    /// What it carries.
    pub codec: Codec,
    /// RTP clock in Hz.
    pub clock: u32,
}

/// Who may send (RFC 3264 §5.1), as seen by whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Sendrecv,
    /// The writer only.
    Sendonly,
    /// The other only.
    Recvonly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// The answer to it (RFC 3264 §6.1).
    pub fn answered(self) -> Direction {
        match self {
            Direction::Sendonly => Direction::Recvonly,
            Direction::Recvonly => Direction::Sendonly,
            both => both,
        }
    }

    fn of(attributes: &[Attribute]) -> Option<Direction> {
        attributes.iter().find_map(|attribute| match attribute.attribute.as_str() {
            "sendrecv" => Some(Direction::Sendrecv),
            "sendonly" => Some(Direction::Sendonly),
            "recvonly" => Some(Direction::Recvonly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Direction::Sendrecv => "sendrecv",
            Direction::Sendonly => "sendonly",
            Direction::Recvonly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

/// One media line of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `audio`, `video`, …
    pub media: String,
    proto: String,
    fmt: String,
    /// Where the peer receives; port 0: the line is refused or gone.
    pub target: (String, u16),
    /// Direction as the peer wrote it.
    pub direction: Direction,
    /// `c=0.0.0.0`: hold as before RFC 3264.
    pub null_address: bool,
    /// What we can decode, in the peer's order.
    pub formats: Vec<Format>,
    /// How it is protected.
    pub security: Security,
    /// RTCP comes to the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// Where the peer receives RTCP, when it is not one above RTP (RFC 3605).
    pub rtcp_port: Option<u16>,
}

impl Codec {
    pub(super) fn is_audio(self) -> bool {
        !matches!(self, Codec::TelephoneEvent | Codec::ComfortNoise)
    }

    fn is(self, preferred: Preferred) -> bool {
        match preferred {
            Preferred::Opus => self == Codec::Opus,
            Preferred::G722 => self == Codec::G722,
            Preferred::G711 => matches!(self, Codec::Pcmu | Codec::Pcma),
        }
    }
}

impl Line {
    /// Whether sound can be received on it.
    pub fn is_usable(&self) -> bool {
        self.target.1 != 0 && !self.choose(&[]).is_empty()
    }

    /// The payload types of an answer: the best codec (the first of `preferred` that is offered, else the peer's first), its events and
    /// comfort noise.
    pub fn choose(&self, preferred: &[Preferred]) -> Vec<Format> {
        let mut audio = self.formats.iter().filter(|format| format.codec.is_audio());
        let wanted = preferred.iter().find_map(|codec| audio.clone().find(|format| format.codec.is(*codec)));
        let Some(best) = wanted.or_else(|| audio.next()) else { return Vec::new() };
        let mut chosen = vec![*best];
        for codec in [Codec::TelephoneEvent, Codec::ComfortNoise] {
            chosen.extend(self.formats.iter().find(|other| other.codec == codec && other.clock == best.clock));
        }
        chosen
    }

    /// What of our offer the peer's answer took. The peer sends the numbers of the offer (RFC 3264 §5.1); one that sends those of its own
    /// answer is understood as long as they are free: these come second.
    pub fn common(&self, ours: &[Format]) -> (Vec<Format>, Vec<Format>) {
        let has = |format: &&Format| self.formats.iter().any(|other| same_codec(other, format));
        let taken: Vec<Format> = ours.iter().filter(has).copied().collect();
        let free = |format: &&Format| {
            taken.iter().any(|own| same_codec(own, format)) && ours.iter().all(|own| own.number != format.number)
        };
        let aliases = self.formats.iter().filter(free).copied().collect();
        (taken, aliases)
    }
}

fn same_codec(one: &Format, other: &Format) -> bool {
    (one.codec, one.clock) == (other.codec, other.clock)
}

/// A description by the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Media lines in order.
    pub lines: Vec<Line>,
    times: Vec<Time>,
}

/// Why a description cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Syntax.
    #[error("the session description does not parse; expected SDP as of RFC 8866")]
    Syntax,
    /// Too many lines.
    #[error("the session description has more than 32 media lines")]
    TooManyLines,
}

impl Description {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is no SDP or has too many lines.
    pub fn parse(body: &[u8]) -> Result<Description, Error> {
        let session = Session::parse(decode(body).as_bytes()).map_err(|_| Error::Syntax)?;
        if session.medias.len() > LINES_MAX {
            return Err(Error::TooManyLines);
        }
        let lines = session.medias.iter().map(|media| read_line(&session, media)).collect();
        Ok(Description { lines, times: session.times })
    }

    /// Index and line of every line that sound can be received on.
    pub fn usable(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().filter(|(_, line)| line.is_usable())
    }
}

fn read_line(session: &Session, media: &Media) -> Line {
    let connection = media.connections.first().or(session.connection.as_ref());
    let address = connection.map(|c| c.connection_address.split('/').next().unwrap_or_default().to_string());
    let address = address.unwrap_or_default();
    let own = Direction::of(&media.attributes).or_else(|| Direction::of(&session.attributes));
    let security = read_security(session, media);
    let known = security.profile != Profile::Other;
    let formats = if media.media == "audio" && known { read_formats(media) } else { Vec::new() };
    let port = |value: &str| value.split(' ').next()?.parse().ok();
    Line {
        media: media.media.clone(),
        proto: media.proto.clone(),
        fmt: media.fmt.clone(),
        null_address: address.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()),
        target: (address, media.port),
        direction: own.unwrap_or(Direction::Sendrecv),
        formats,
        security,
        rtcp_mux: values(&media.attributes, "rtcp-mux").next().is_some(),
        rtcp_port: values(&media.attributes, "rtcp").next().and_then(port),
    }
}

/// The values of an attribute; empty where it has none.
fn values<'a>(attributes: &'a [Attribute], name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = move |attribute: &&Attribute| attribute.attribute == name;
    attributes.iter().filter(named).map(|attribute| attribute.value.as_deref().unwrap_or_default())
}

/// Keys of the line; fingerprint and setup may stand for the whole session (RFC 8122 §5, RFC 4145 §4).
fn read_security(session: &Session, media: &Media) -> Security {
    let either = |name| values(&media.attributes, name).chain(values(&session.attributes, name));
    let own = values(&media.attributes, "fingerprint").next().is_some();
    let of = if own { &media.attributes } else { &session.attributes };
    Security {
        profile: Profile::of(&media.proto),
        crypto: values(&media.attributes, "crypto").take(SECRETS_MAX).filter_map(Crypto::parse).collect(),
        fingerprints: values(of, "fingerprint").take(SECRETS_MAX).filter_map(Fingerprint::parse).collect(),
        setup: either("setup").next().and_then(Setup::parse),
        tls_id: either("tls-id").next().map(str::to_string),
    }
}

fn read_formats(media: &Media) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::new();
    for number in media.fmt.split_ascii_whitespace().take(FORMATS_MAX) {
        let Some(number) = number.parse::<u8>().ok().filter(|number| *number < 128) else { continue };
        let known = match rtpmap(media, number) {
            Some(map) => named(&map),
            None => unnamed(number),
        };
        if let Some((codec, clock)) = known
            && formats.iter().all(|format| format.number != number)
        {
            formats.push(Format { number, codec, clock });
        }
    }
    formats
}

fn rtpmap(media: &Media, number: u8) -> Option<String> {
    media.attributes.iter().filter(|attribute| attribute.attribute == "rtpmap").find_map(|attribute| {
        let (own, map) = attribute.value.as_deref()?.trim().split_once(' ')?;
        (own.parse::<u8>() == Ok(number)).then(|| map.trim().to_ascii_lowercase())
    })
}

fn named(map: &str) -> Option<(Codec, u32)> {
    let mut parts = map.split('/');
    let (name, clock) = (parts.next()?, parts.next()?.trim().parse::<u32>().ok()?);
    match (name.trim(), clock) {
        ("pcmu", 8_000) => Some((Codec::Pcmu, clock)),
        ("pcma", 8_000) => Some((Codec::Pcma, clock)),
        ("g722", 8_000) => Some((Codec::G722, clock)),
        ("opus", 48_000) if cfg!(feature = "opus") => Some((Codec::Opus, clock)),
        ("telephone-event", 8_000 | 48_000) => Some((Codec::TelephoneEvent, clock)),
        ("cn", 8_000) => Some((Codec::ComfortNoise, clock)),
        _ => None,
    }
}

/// Static payload types (RFC 3551 §6); 19 is what Cisco used for comfort noise.
fn unnamed(number: u8) -> Option<(Codec, u32)> {
    match number {
        0 => Some((Codec::Pcmu, 8_000)),
        8 => Some((Codec::Pcma, 8_000)),
        9 => Some((Codec::G722, 8_000)),
        13 | 19 => Some((Codec::ComfortNoise, 8_000)),
        _ => None,
    }
}

/// What we say of one line that we take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Index of the media line.
    pub line: usize,
    /// Our RTP port.
    pub port: u16,
    /// Payload types, best first.
    pub formats: Vec<Format>,
    /// As seen by us.
    pub direction: Direction,
    /// Transport of the line in an offer of ours; an answer repeats the peer's.
    pub proto: &'static str,
    /// Further attributes: keys, fingerprint, multiplexing.
    pub attributes: Vec<(&'static str, String)>,
}

/// Where our description comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Address or name that the peer sends RTP to.
    pub host: String,
    /// Session id of the `o=` line.
    pub session: u64,
    /// Version of the `o=` line; one higher with every change.
    pub version: u64,
}

/// The answer: as many lines as the offer, in its order; what is not taken has port 0 (RFC 3264 §6).
pub fn answer(offer: &Description, taken: &[Taken], place: &Place) -> Vec<u8> {
    let mut medias = Vec::with_capacity(offer.lines.len());
    for (index, line) in offer.lines.iter().enumerate() {
        medias.push(match taken.iter().find(|taken| taken.line == index) {
            Some(taken) => our_line(taken, &line.proto),
            None => bare_line(&line.media, &line.proto, 0, line.fmt.split(' ').next().unwrap_or("0")),
        });
    }
    print(place, offer.times.clone(), medias)
}

/// Our offer of one audio line, for a peer that asked without one (RFC 3261 §13.2.1).
pub fn offer(taken: &[Taken], place: &Place) -> Vec<u8> {
    print(place, Vec::new(), taken.iter().map(|taken| our_line(taken, taken.proto)).collect())
}

/// The payload types that we offer ourselves: what is preferred first, then the rest.
pub fn own_formats(preferred: &[Preferred]) -> Vec<Format> {
    let mut formats = vec![
        Format { number: 0, codec: Codec::Pcmu, clock: 8_000 },
        Format { number: 8, codec: Codec::Pcma, clock: 8_000 },
        Format { number: 9, codec: Codec::G722, clock: 8_000 },
    ];
    if cfg!(feature = "opus") {
        formats.push(Format { number: 107, codec: Codec::Opus, clock: 48_000 });
    }
    let rank = |format: &Format| preferred.iter().position(|codec| format.codec.is(*codec)).unwrap_or(preferred.len());
    formats.sort_by_key(rank);
    formats.push(Format { number: 13, codec: Codec::ComfortNoise, clock: 8_000 });
    formats.push(Format { number: 101, codec: Codec::TelephoneEvent, clock: 8_000 });
    if cfg!(feature = "opus") {
        formats.push(Format { number: 102, codec: Codec::TelephoneEvent, clock: 48_000 });
    }
    formats
}

fn our_line(taken: &Taken, proto: &str) -> Media {
    let numbers: Vec<String> = taken.formats.iter().map(|format| format.number.to_string()).collect();
    let mut media = bare_line("audio", proto, taken.port, &numbers.join(" "));
    for Format { number, codec, clock } in &taken.formats {
        let name = match codec {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::G722 => "G722",
            Codec::Opus => "opus",
            Codec::TelephoneEvent => "telephone-event",
            Codec::ComfortNoise => "CN",
        };
        let channels = if *codec == Codec::Opus { "/2" } else { "" };
        media.attributes.push(attribute("rtpmap", Some(format!("{number} {name}/{clock}{channels}"))));
        let parameters = match codec {
            Codec::TelephoneEvent => "0-15",
            // What is heard above 8 kHz is not needed; within it the sender can protect against loss (RFC 7587 §6.1).
            Codec::Opus => "maxplaybackrate=16000;stereo=0;useinbandfec=1",
            _ => continue,
        };
        media.attributes.push(attribute("fmtp", Some(format!("{number} {parameters}"))));
    }
    for (name, value) in &taken.attributes {
        media.attributes.push(attribute(name, Some(value.clone()).filter(|value| !value.is_empty())));
    }
    media.attributes.push(attribute(taken.direction.name(), None));
    media
}

fn attribute(name: &str, value: Option<String>) -> Attribute {
    Attribute { attribute: name.into(), value }
}

fn bare_line(media: &str, proto: &str, port: u16, fmt: &str) -> Media {
    Media {
        media: media.into(),
        port,
        num_ports: None,
        proto: proto.into(),
        fmt: fmt.into(),
        media_title: None,
        connections: vec![],
        bandwidths: vec![],
        key: None,
        attributes: vec![],
    }
}

fn print(place: &Place, times: Vec<Time>, medias: Vec<Media>) -> Vec<u8> {
    let address = place.host.parse::<IpAddr>();
    let addrtype = if address.is_ok_and(|ip| ip.is_ipv6()) { AddrType::Ip6 } else { AddrType::Ip4 };
    let origin = Origin {
        username: None,
        sess_id: place.session.to_string(),
        sess_version: place.version,
        nettype: NetType::In,
        addrtype: addrtype.clone(),
        unicast_address: place.host.clone(),
    };
    let mut session = Session::new(origin, "-");
    session.connection = Some(Connection::new(NetType::In, addrtype, &place.host));
    session.times = times;
    session.medias = medias;
    let mut bytes = Vec::new();
    // Writing to memory cannot fail; half a description would be refused by the peer, not misread.
    let _ = session.write(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer_of(media: &str) -> Description {
        let text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}");
        Description::parse(text.as_bytes()).unwrap()
    }

    fn place() -> Place {
        Place { host: "192.0.2.80".into(), session: 7, version: 1 }
    }

    fn take(offer: &Description) -> Vec<Taken> {
        let taken = |(line, offered): (usize, &Line)| Taken {
            line,
            port: 20_000 + 2 * line as u16,
            formats: offered.choose(&[]),
            direction: offered.direction.answered(),
            proto: "RTP/AVP",
            attributes: Vec::new(),
        };
        offer.usable().map(taken).collect()
    }

    fn answered(media: &str) -> String {
        let offer = offer_of(media);
        String::from_utf8(answer(&offer, &take(&offer), &place())).unwrap()
    }

    #[test]
    fn an_answer_has_the_lines_of_the_offer_in_order() {
        let text = answered(
            "m=video 4000 RTP/AVP 31 96\r\nm=audio 4002 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n\
             m=audio 4004 RTP/XVP 0\r\nm=audio 0 RTP/AVP 0\r\n",
        );
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(
            lines,
            ["m=video 0 RTP/AVP 31", "m=audio 20002 RTP/AVP 8 101", "m=audio 0 RTP/XVP 0", "m=audio 0 RTP/AVP 0"]
        );
        assert!(text.contains("o=- 7 1 IN IP4 192.0.2.80\r\n") && text.contains("c=IN IP4 192.0.2.80\r\n"), "{text}");
        assert!(text.contains("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"), "{text}");
    }

    #[test]
    fn static_numbers_need_no_rtpmap_and_dynamic_ones_do() {
        let formats = |media: &str| offer_of(media).lines[0].choose(&[]);
        let numbers = |media: &str| formats(media).iter().map(|format| format.number).collect::<Vec<_>>();
        assert_eq!(numbers("m=audio 4000 RTP/AVP 18 8 0 13\r\n"), [8, 13]);
        assert_eq!(numbers("m=audio 4000 RTP/AVP 18\r\n"), [] as [u8; 0]);
        assert_eq!(numbers("m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 PCMA/8000/1\r\n"), [97]);
        assert_eq!(numbers("m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 G726-32/8000\r\n"), [] as [u8; 0]);
        assert_eq!(numbers("m=audio 4000 RTP/AVP 9 0\r\n"), [9]);
        assert_eq!(numbers("m=audio 4000 RTP/AVP 9\r\na=rtpmap:9 G722/16000\r\n"), [] as [u8; 0]);
        assert_eq!(numbers("m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/16000\r\n"), [0]);
    }

    #[test]
    fn opus_is_taken_only_when_it_can_be_decoded() {
        let line = "m=audio 4000 RTP/AVP 107 0 101 102\r\na=rtpmap:107 opus/48000/2\r\n\
                    a=rtpmap:101 telephone-event/48000\r\na=rtpmap:102 telephone-event/8000\r\n";
        let chosen: Vec<u8> = offer_of(line).lines[0].choose(&[]).iter().map(|format| format.number).collect();
        assert_eq!(chosen, if cfg!(feature = "opus") { [107, 101] } else { [0, 102] });
        let narrow = offer_of(line).lines[0].choose(&[Preferred::G722, Preferred::G711]);
        assert_eq!(narrow.iter().map(|format| format.number).collect::<Vec<_>>(), [0, 102]);
    }

    #[test]
    fn the_numbers_of_our_offer_are_expected_and_those_of_the_answer_understood_when_free() {
        let ours = own_formats(&[Preferred::G722]);
        assert_eq!(ours[0].number, 9);
        let line = "m=audio 4000 RTP/AVP 0 101 98\r\na=rtpmap:101 PCMA/8000\r\na=rtpmap:98 telephone-event/8000\r\n";
        let (taken, aliases) = offer_of(line).lines[0].common(&ours);
        assert_eq!(taken.iter().map(|format| format.number).collect::<Vec<_>>(), [0, 8, 101]);
        assert_eq!(
            aliases,
            [Format { number: 98, codec: Codec::TelephoneEvent, clock: 8_000 }],
            "101 means another thing"
        );
    }

    #[test]
    fn directions_are_mirrored_and_taken_from_the_session_when_the_line_has_none() {
        for (offered, expected) in
            [("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive"), ("sendrecv", "sendrecv")]
        {
            let text = answered(&format!("m=audio 4000 RTP/AVP 0\r\na={offered}\r\n"));
            assert!(text.contains(&format!("a={expected}\r\n")), "{text}");
        }
        let text = "v=0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n";
        let offer = Description::parse(text.as_bytes()).unwrap();
        assert_eq!(offer.lines[0].direction, Direction::Sendonly);
        assert!(offer.lines[0].null_address);
    }

    #[test]
    fn what_is_not_sdp_is_an_error_and_other_charsets_are_not() {
        assert_eq!(Description::parse(b"<audio/>"), Err(Error::Syntax));
        let mut text = b"v=0\r\ns=\x8b\xb4\x96{\r\nm=audio 4000 RTP/AVP 0\r\n".to_vec();
        assert!(Description::parse(&text).unwrap().lines[0].is_usable());
        text.extend(b"m=audio 4000 RTP/AVP 0\r\n".repeat(40));
        assert_eq!(Description::parse(&text), Err(Error::TooManyLines));
    }
}

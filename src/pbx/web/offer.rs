//! What a softphone offers (RFC 8829, RFC 9725 §4.4), inspected before any media stack sees it; all that is kept is bounded and checked.

use crate::pbx::sip::sdp::{Codec, Format};

/// Longest offer in bytes.
pub const OFFER_BYTES: usize = 64 * 1024;
/// Media lines of an offer.
const LINES_MAX: usize = 16;
/// Attributes of a media line or of the session that are looked at.
const ATTRIBUTES_MAX: usize = 512;
/// Payload types of a media line that are looked at.
const FORMATS_MAX: usize = 64;
/// Bytes of an identifier that is repeated in the answer.
const WORD_MAX: usize = 64;
/// Bytes of ICE credentials (RFC 8839 §5.4: 256 each).
const CREDENTIAL_MAX: usize = 256;
/// URI of the header extension that names the media line of a packet (RFC 9143 §15).
pub const MID_EXTENSION: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// Why an offer cannot be taken; each becomes an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not a session description.
    #[error("the body is not a session description (RFC 8866); expected an offer that begins with v=0")]
    Syntax,
    /// More than is looked at.
    #[error("the offer has more lines than anybody needs; expected at most 16 media lines")]
    TooMuch,
    /// No sound is sent.
    #[error("the offer sends no audio; expected at least one audio line that is sendonly, in Opus, G722, PCMU or PCMA")]
    NoAudio,
    /// More sound than there are speakers.
    #[error("the offer has more audio lines than the token names speakers; expected one line for each speaker")]
    TooManyAudio,
    /// Several transports.
    #[error(
        "the audio lines do not share one transport; expected a BUNDLE group of all of them and rtcp-mux (RFC 9725 §4.4.1)"
    )]
    NotBundled,
    /// Nothing says whose packets are whose.
    #[error(
        "an audio line of several has no source of its own; expected a=ssrc on each (RFC 5576), as browsers write it"
    )]
    NoSource,
    /// No way to check or protect the packets.
    #[error(
        "{0} is missing or malformed in the offer; expected ice-ufrag, ice-pwd, a SHA-256 (or longer) fingerprint, and setup actpass or active"
    )]
    Transport(&'static str),
    /// Two lite agents never check a path (RFC 8445 §6.1.1).
    #[error("the offer is of an ICE lite agent, and so is this endpoint; expected a full one (RFC 8445 §2.5)")]
    Lite,
}

/// ICE user name fragment and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `ice-ufrag`.
    pub fragment: String,
    /// `ice-pwd`.
    pub password: String,
}

/// The fingerprint of the certificate that the softphone shows (RFC 8122).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash function, in lower case.
    pub hash: String,
    /// Colon-separated, in upper case.
    pub value: String,
}

/// An inspected offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// All media lines in their order; the answer has as many.
    pub lines: Vec<Line>,
    /// Of the one transport.
    pub ice: Credentials,
    /// Of the one transport.
    pub fingerprint: Fingerprint,
}

/// One media line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `audio`, `video`, …
    pub media: String,
    /// `UDP/TLS/RTP/SAVPF`, …
    pub protocol: String,
    /// Its first format, repeated when the line is rejected.
    pub format: String,
    /// `mid`, when there is one.
    pub mid: Option<String>,
    /// What is taken of it; `None`: rejected.
    pub audio: Option<Audio>,
}

/// An audio line that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Payload types in the order of the offer.
    pub formats: Vec<Format>,
    /// Number of the header extension for `mid`.
    pub extension: Option<u8>,
    /// Synchronisation source, when the offer names one.
    pub ssrc: Option<u32>,
    /// Name of the MediaStream (`msid`).
    pub stream: Option<String>,
}

impl Offer {
    /// Reads an offer; at most `tracks` audio lines may send.
    ///
    /// # Errors
    /// Why it cannot be taken.
    pub fn read(body: &[u8], tracks: usize) -> Result<Offer, OfferError> {
        let text = std::str::from_utf8(body).map_err(|_| OfferError::Syntax)?;
        let (session, sections) = cut(text)?;
        if has(&session, "ice-lite") {
            return Err(OfferError::Lite);
        }
        let mut lines: Vec<Line> = sections.iter().map(read_line).collect::<Result<_, _>>()?;
        let taken: Vec<usize> =
            (0..lines.len()).filter(|index| lines.get(*index).is_some_and(Line::is_taken)).collect();
        if taken.is_empty() {
            return Err(OfferError::NoAudio);
        }
        if taken.len() > tracks {
            return Err(OfferError::TooManyAudio);
        }
        check_bundle(&session, &sections, &lines, &taken)?;
        let (ice, fingerprint) = transport(&session, &sections, &taken)?;
        settle_sources(&mut lines);
        let offer = Offer { lines, ice, fingerprint };
        // the media stack tells two lines apart by their sources only
        if taken.len() > 1 && offer.audio().any(|(_, audio)| audio.ssrc.is_none()) {
            return Err(OfferError::NoSource);
        }
        Ok(offer)
    }

    /// The lines that are taken, in their order.
    pub fn audio(&self) -> impl Iterator<Item = (&Line, &Audio)> {
        self.lines.iter().filter_map(|line| Some((line, line.audio.as_ref()?)))
    }
}

impl Line {
    fn is_taken(&self) -> bool {
        self.audio.is_some()
    }
}

/// The attributes of the session or of one media line.
struct Section<'a> {
    line: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
}

/// Cuts the text into the session's part and the media lines.
fn cut(text: &str) -> Result<(Section<'_>, Vec<Section<'_>>), OfferError> {
    let mut session = Section { line: "", attributes: Vec::new() };
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        let (kind, value) = match line.split_once('=') {
            Some(parts) => parts,
            None if line.is_empty() => continue,
            None => return Err(OfferError::Syntax),
        };
        if number == 0 && (kind, value) != ("v", "0") {
            return Err(OfferError::Syntax);
        }
        match kind {
            "m" if sections.len() >= LINES_MAX => return Err(OfferError::TooMuch),
            "m" => sections.push(Section { line: value, attributes: Vec::new() }),
            "a" => {
                let section = sections.last_mut().unwrap_or(&mut session);
                if section.attributes.len() >= ATTRIBUTES_MAX {
                    return Err(OfferError::TooMuch);
                }
                section.attributes.push(value.split_once(':').unwrap_or((value, "")));
            }
            _ if kind.len() == 1 => {}
            _ => return Err(OfferError::Syntax),
        }
    }
    if text.is_empty() { Err(OfferError::Syntax) } else { Ok((session, sections)) }
}

fn values<'a>(section: &'a Section<'_>, name: &'static str) -> impl Iterator<Item = &'a str> {
    section.attributes.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value.trim())
}

fn value<'a>(section: &'a Section<'_>, name: &'static str) -> Option<&'a str> {
    values(section, name).next()
}

fn has(section: &Section<'_>, name: &'static str) -> bool {
    value(section, name).is_some()
}

/// A word that may be repeated in an answer: RFC 8866 token characters.
fn word(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~/".contains(&byte);
    ((1..=WORD_MAX).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_string())
}

fn read_line(section: &Section<'_>) -> Result<Line, OfferError> {
    let mut words = section.line.split_ascii_whitespace();
    let mut next = || words.next().and_then(word).ok_or(OfferError::Syntax);
    let (media, port, protocol, format) = (next()?, next()?, next()?, next()?);
    let port: u16 = port.split('/').next().unwrap_or_default().parse().map_err(|_| OfferError::Syntax)?;
    let mid = value(section, "mid").and_then(word);
    let sends = !has(section, "recvonly") && !has(section, "inactive");
    let wanted = media == "audio" && is_secure(&protocol) && sends && (port != 0 || has(section, "bundle-only"));
    let audio = match (&mid, wanted) {
        (Some(_), true) => read_audio(section),
        _ => None,
    };
    Ok(Line { media, protocol, format, mid, audio })
}

fn is_secure(protocol: &str) -> bool {
    matches!(protocol, "UDP/TLS/RTP/SAVPF" | "UDP/TLS/RTP/SAVP")
}

fn read_audio(section: &Section<'_>) -> Option<Audio> {
    let formats = formats(section);
    formats.iter().find(|format| !matches!(format.codec, Codec::TelephoneEvent | Codec::ComfortNoise))?;
    let extension = values(section, "extmap").find_map(|map| {
        let (number, uri) = map.split_once(' ')?;
        let number = number.split('/').next()?.parse::<u8>().ok().filter(|number| (1..=14).contains(number))?;
        (uri.trim() == MID_EXTENSION).then_some(number)
    });
    let ssrc = values(section, "ssrc").find_map(|ssrc| ssrc.split_ascii_whitespace().next()?.parse().ok());
    let stream = value(section, "msid").and_then(|msid| msid.split_ascii_whitespace().next()).and_then(word);
    Some(Audio { formats, extension, ssrc, stream })
}

fn formats(section: &Section<'_>) -> Vec<Format> {
    let mut found: Vec<Format> = Vec::new();
    for number in section.line.split_ascii_whitespace().skip(3).take(FORMATS_MAX) {
        let Some(number) = number.parse::<u8>().ok().filter(|number| *number < 128) else { continue };
        let map = values(section, "rtpmap").find_map(|map| {
            let (own, name) = map.split_once(' ')?;
            (own.parse() == Ok(number)).then(|| name.trim().to_ascii_lowercase())
        });
        let known = match map.as_deref() {
            Some(name) => named(name),
            None => unnamed(number),
        };
        if let Some((codec, clock)) = known
            && found.iter().all(|format| format.number != number && (format.codec, format.clock) != (codec, clock))
        {
            found.push(Format { number, codec, clock });
        }
    }
    found
}

fn named(name: &str) -> Option<(Codec, u32)> {
    match name {
        "opus/48000/2" if cfg!(feature = "opus") => Some((Codec::Opus, 48_000)),
        "g722/8000" | "g722/8000/1" => Some((Codec::G722, 8_000)),
        "pcmu/8000" | "pcmu/8000/1" => Some((Codec::Pcmu, 8_000)),
        "pcma/8000" | "pcma/8000/1" => Some((Codec::Pcma, 8_000)),
        "telephone-event/8000" => Some((Codec::TelephoneEvent, 8_000)),
        "telephone-event/48000" => Some((Codec::TelephoneEvent, 48_000)),
        "cn/8000" => Some((Codec::ComfortNoise, 8_000)),
        _ => None,
    }
}

/// Static payload types (RFC 3551 §6).
fn unnamed(number: u8) -> Option<(Codec, u32)> {
    match number {
        0 => Some((Codec::Pcmu, 8_000)),
        8 => Some((Codec::Pcma, 8_000)),
        9 => Some((Codec::G722, 8_000)),
        13 => Some((Codec::ComfortNoise, 8_000)),
        _ => None,
    }
}

/// All taken lines go by one transport, with RTCP on it.
fn check_bundle(
    session: &Section<'_>,
    sections: &[Section<'_>],
    lines: &[Line],
    taken: &[usize],
) -> Result<(), OfferError> {
    let groups = || values(session, "group").filter_map(|group| group.strip_prefix("BUNDLE "));
    let mids: Vec<&str> = taken.iter().filter_map(|index| lines.get(*index)?.mid.as_deref()).collect();
    let mut unique = mids.clone();
    unique.sort_unstable();
    unique.dedup();
    let grouped = |group: &str| mids.iter().all(|mid| group.split_ascii_whitespace().any(|own| own == *mid));
    let bundled = taken.len() == 1 || groups().any(grouped);
    let muxed = taken.iter().all(|index| sections.get(*index).is_some_and(|section| has(section, "rtcp-mux")));
    if unique.len() == mids.len() && bundled && muxed { Ok(()) } else { Err(OfferError::NotBundled) }
}

/// Credentials and fingerprint: of the first taken line, else of the session, else of another line of the bundle.
fn transport(
    session: &Section<'_>,
    sections: &[Section<'_>],
    taken: &[usize],
) -> Result<(Credentials, Fingerprint), OfferError> {
    let first = taken.first().and_then(|index| sections.get(*index));
    let places = || first.into_iter().chain([session]).chain(sections);
    let find = |name: &'static str| places().find_map(|section| value(section, name));
    let fragment = find("ice-ufrag").and_then(|text| credential(text, 4)).ok_or(OfferError::Transport("ice-ufrag"))?;
    let password = find("ice-pwd").and_then(|text| credential(text, 22)).ok_or(OfferError::Transport("ice-pwd"))?;
    let own = taken.iter().filter_map(|index| value(sections.get(*index)?, "ice-ufrag"));
    if own.into_iter().any(|other| other != fragment) {
        return Err(OfferError::NotBundled);
    }
    let found = places().flat_map(|section| values(section, "fingerprint")).find_map(fingerprint);
    let fingerprint = found.ok_or(OfferError::Transport("fingerprint"))?;
    match find("setup") {
        Some("actpass" | "active") => Ok((Credentials { fragment, password }, fingerprint)),
        _ => Err(OfferError::Transport("setup")),
    }
}

/// RFC 8839 §5.4: at least so many ice-chars, at most 256.
pub(super) fn credential(text: &str, least: usize) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/' || byte == b'-' || byte == b'_';
    ((least..=CREDENTIAL_MAX).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_string())
}

fn fingerprint(text: &str) -> Option<Fingerprint> {
    let (hash, value) = text.split_once(' ')?;
    let (hash, value) = (hash.to_ascii_lowercase(), value.trim().to_ascii_uppercase());
    let bytes = match hash.as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return None,
    };
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    (value.split(':').count() == bytes && value.split(':').all(pair)).then_some(Fingerprint { hash, value })
}

/// A source that two lines claim tells nothing about either.
fn settle_sources(lines: &mut [Line]) {
    let all: Vec<u32> = lines.iter().filter_map(|line| line.audio.as_ref()?.ssrc).collect();
    for audio in lines.iter_mut().filter_map(|line| line.audio.as_mut()) {
        audio.ssrc = audio.ssrc.filter(|own| all.iter().filter(|other| *other == own).count() == 1);
    }
}

#[cfg(test)]
mod tests;

//! The lines of a description as they are read.

use std::net::IpAddr;

use sdp_types::{Attribute, Media, Session};

use super::super::keying::{Fingerprint, Profile, Security, Setup};
use super::super::sdes::Crypto;
use super::{Codec, Direction, Format, Line};

/// More formats on one line are not looked at.
const FORMATS_MAX: usize = 64;
/// More keys or fingerprints on one line are not looked at.
const SECRETS_MAX: usize = 16;
/// A longer label is none.
const LABEL_MAX: usize = 128;

pub(super) fn read_line(session: &Session, media: &Media) -> Line {
    let connection = media.connections.first().or(session.connection.as_ref());
    let address = connection.map(|c| c.connection_address.split('/').next().unwrap_or_default().to_string());
    let address = address.unwrap_or_default();
    let own = direction(&media.attributes).or_else(|| direction(&session.attributes));
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
        label: values(&media.attributes, "label")
            .next()
            .map(|label| label.trim().to_string())
            .filter(|label| is_label(label)),
    }
}

/// The values of an attribute; empty where it has none.
fn values<'a>(attributes: &'a [Attribute], name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = move |attribute: &&Attribute| attribute.attribute == name;
    attributes.iter().filter(named).map(|attribute| attribute.value.as_deref().unwrap_or_default())
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_MAX).contains(&label.len())
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

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|attribute| match attribute.attribute.as_str() {
        "sendrecv" => Some(Direction::Sendrecv),
        "sendonly" => Some(Direction::Sendonly),
        "recvonly" => Some(Direction::Recvonly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    })
}

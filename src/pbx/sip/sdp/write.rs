//! The lines of a description as they are written.

use std::net::IpAddr;

use sdp_types::{AddrType, Attribute, Connection, Media, NetType, Origin, Session, Time};

use super::{Codec, Direction, Format, Place, Taken};

pub(super) fn our_line(taken: &Taken, proto: &str) -> Media {
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
    media.attributes.push(attribute(name_of(taken.direction), None));
    media
}

fn attribute(name: &str, value: Option<String>) -> Attribute {
    Attribute { attribute: name.into(), value }
}

pub(super) fn bare_line(media: &str, proto: &str, port: u16, fmt: &str) -> Media {
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

pub(super) fn print(place: &Place, times: Vec<Time>, medias: Vec<Media>) -> Vec<u8> {
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

fn name_of(direction: Direction) -> &'static str {
    match direction {
        Direction::Sendrecv => "sendrecv",
        Direction::Sendonly => "sendonly",
        Direction::Recvonly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

//! A quick look at a frame of an interface: what cannot be signalling or sound is left out before it is copied.

use super::frame::Link;
use super::settings::Settings;

const IPV4: [u8; 2] = [0x08, 0x00];
const TAGS: [[u8; 2]; 3] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]];
const UDP: u8 = 17;
const TCP: u8 = 6;
const VXLAN: u16 = 4_789;

/// What may matter.
#[derive(Clone, Debug)]
pub struct Sieve {
    sip: Vec<u16>,
    tls: Vec<u16>,
}

impl Sieve {
    /// For the ports of these settings.
    pub fn new(settings: &Settings) -> Sieve {
        Sieve { sip: settings.sip_ports.clone(), tls: settings.tls_ports.clone() }
    }

    /// `false`: the frame is nothing for a mirror. What is not plain IPv4 is let through.
    pub fn lets_through(&self, link: Link, bytes: &[u8]) -> bool {
        self.look(link, bytes).unwrap_or(true)
    }

    fn look(&self, link: Link, bytes: &[u8]) -> Option<bool> {
        let ip = match link {
            Link::Ethernet => behind_ethernet(bytes)?,
            Link::Ip => bytes,
            _ => return None,
        };
        let first = *ip.first()?;
        // a fragment (without its first part) has no ports
        let fragment = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x3fff != 0;
        if first >> 4 != 4 || fragment {
            return None;
        }
        let rest = ip.get(usize::from(first & 0x0f) * 4..)?;
        let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
        let (source, target) = (port(0)?, port(2)?);
        let on = |ports: &[u16]| ports.contains(&source) || ports.contains(&target);
        match *ip.get(9)? {
            UDP => Some(on(&self.sip) || target == VXLAN || rest.get(8).is_some_and(|first| first >> 6 == 2)),
            TCP => Some(on(&self.sip) || on(&self.tls)),
            _ => None,
        }
    }
}

/// The IPv4 packet in an Ethernet frame, behind its tags.
fn behind_ethernet(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(12..)?;
    for _ in 0..3 {
        let (kind, behind) = rest.split_first_chunk::<2>()?;
        match *kind {
            IPV4 => return Some(behind),
            tag if TAGS.contains(&tag) => rest = behind.get(2..)?,
            _ => return None,
        }
    }
    None
}

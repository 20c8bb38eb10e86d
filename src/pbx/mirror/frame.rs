//! Captured frames: which UDP datagram or TCP segment is in them, from whom, to whom. Headers are read by `etherparse`.
//!
//! Ethernet with VLAN tags (also two), Linux cooked captures, raw IP and loopback; what a switch sends over a network to the mirror (ERSPAN,
//! GRE, VXLAN) is unpacked once.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, Ipv6ExtensionSlice, NetSlice, SlicedPacket, TcpSlice, UdpSlice};

use super::fragment::{Fragment, Fragments, Key, Taken};
use crate::time::Mono;

/// How a capture begins its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet II with or without VLAN tags.
    Ethernet,
    /// Linux cooked capture, as of `any` (LINKTYPE_LINUX_SLL).
    Cooked,
    /// The same, version 2 (LINKTYPE_LINUX_SLL2).
    Cooked2,
    /// IPv4 or IPv6 at once.
    Ip,
    /// Loopback of BSD: four bytes of address family.
    Null,
}

impl Link {
    /// By its number in a capture (<https://www.tcpdump.org/linktypes.html>); `None`: frames of that kind are not read.
    pub fn of_number(number: i32) -> Option<Link> {
        match number {
            1 => Some(Link::Ethernet),
            113 => Some(Link::Cooked),
            276 => Some(Link::Cooked2),
            12 | 14 | 101 | 228 | 229 => Some(Link::Ip),
            0 | 108 => Some(Link::Null),
            _ => None,
        }
    }
}

/// What is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) source: SocketAddr,
    pub(super) target: SocketAddr,
    pub(super) carried: Carried<'a>,
}

/// A datagram or a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried<'a> {
    Udp(&'a [u8]),
    Tcp(Segment<'a>),
}

/// One segment of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) sequence: u32,
    pub(super) begins: bool,
    pub(super) ends: bool,
    pub(super) bytes: &'a [u8],
}

/// What became of a frame that holds no packet for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A packet was handed on.
    Packet,
    /// Neither UDP nor TCP over IP.
    Other,
    /// A fragment that waits for more.
    Fragment,
    /// A fragment that was refused.
    Overlap,
    /// It does not parse, or the capture cut it off.
    Unreadable,
}

/// Frames inside frames.
const DEPTH_MAX: u8 = 2;
const VXLAN: u16 = 4_789;
const UDP: u8 = 17;
const TCP: u8 = 6;
const GRE: u8 = 47;

/// The reader with the fragments that wait.
#[derive(Debug, Default)]
pub(super) struct Frames {
    fragments: Fragments,
}

impl Frames {
    /// Reads one frame; `each` is given what is in it.
    pub(super) fn read(&mut self, link: Link, bytes: &[u8], now: Mono, each: &mut dyn FnMut(Packet<'_>)) -> Seen {
        let sliced = match link {
            Link::Ethernet => SlicedPacket::from_ethernet(bytes).ok(),
            Link::Cooked => SlicedPacket::from_linux_sll(bytes).ok(),
            Link::Cooked2 => cooked2(bytes),
            Link::Ip => SlicedPacket::from_ip(bytes).ok(),
            Link::Null => bytes.get(4..).and_then(|rest| SlicedPacket::from_ip(rest).ok()),
        };
        sliced.map_or(Seen::Unreadable, |sliced| self.network(&sliced, now, 0, each))
    }

    fn network(&mut self, sliced: &SlicedPacket<'_>, now: Mono, depth: u8, each: &mut dyn FnMut(Packet<'_>)) -> Seen {
        let (source, target, payload, fragment) = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header();
                let fragment = header.is_fragmenting_payload().then(|| {
                    let offset = usize::from(header.fragments_offset().byte_offset());
                    (u32::from(header.identification()), offset, header.more_fragments())
                });
                let ends: [IpAddr; 2] = [header.source_addr().into(), header.destination_addr().into()];
                (ends[0], ends[1], ip.payload(), fragment)
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header();
                let fragments = ip.extensions().clone().into_iter().filter_map(|extension| match extension {
                    Ipv6ExtensionSlice::Fragment(part) if part.is_fragmenting_payload() => Some(part.to_header()),
                    _ => None,
                });
                let fragment = { fragments }
                    .next()
                    .map(|it| (it.identification, usize::from(it.fragment_offset.byte_offset()), it.more_fragments));
                (header.source_addr().into(), header.destination_addr().into(), ip.payload(), fragment)
            }
            _ => return Seen::Other,
        };
        let protocol = payload.ip_number.0;
        let Some((id, offset, more)) = fragment else {
            return self.transport(source, target, protocol, payload.payload, now, depth, each);
        };
        let key = Key { source, target, protocol, id };
        match self.fragments.take(Fragment { key, offset, more, bytes: payload.payload }, now) {
            Taken::Waits => Seen::Fragment,
            Taken::Refused => Seen::Overlap,
            Taken::Whole(bytes) => self.transport(source, target, protocol, &bytes, now, depth, each),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what stands in the headers, read once")]
    fn transport(
        &mut self,
        source: IpAddr,
        target: IpAddr,
        protocol: u8,
        bytes: &[u8],
        now: Mono,
        depth: u8,
        each: &mut dyn FnMut(Packet<'_>),
    ) -> Seen {
        let (source, target) = (source.to_canonical(), target.to_canonical());
        let ends = |from, to| (SocketAddr::new(source, from), SocketAddr::new(target, to));
        match protocol {
            UDP => {
                let Ok(udp) = UdpSlice::from_slice(bytes) else { return Seen::Unreadable };
                if udp.destination_port() == VXLAN
                    && let Some(inner) = vxlan(udp.payload())
                {
                    return self.inner(inner, now, depth, each);
                }
                let (source, target) = ends(udp.source_port(), udp.destination_port());
                each(Packet { source, target, carried: Carried::Udp(udp.payload()) });
                Seen::Packet
            }
            TCP => {
                let Ok(tcp) = TcpSlice::from_slice(bytes) else { return Seen::Unreadable };
                let (source, target) = ends(tcp.source_port(), tcp.destination_port());
                let segment = Segment {
                    sequence: tcp.sequence_number(),
                    begins: tcp.syn(),
                    ends: tcp.fin() || tcp.rst(),
                    bytes: tcp.payload(),
                };
                each(Packet { source, target, carried: Carried::Tcp(segment) });
                Seen::Packet
            }
            GRE => gre(bytes).map_or(Seen::Other, |inner| self.inner(inner, now, depth, each)),
            _ => Seen::Other,
        }
    }

    /// An Ethernet frame that was sent over a network.
    fn inner(&mut self, bytes: &[u8], now: Mono, depth: u8, each: &mut dyn FnMut(Packet<'_>)) -> Seen {
        match SlicedPacket::from_ethernet(bytes) {
            Ok(sliced) if depth + 1 < DEPTH_MAX => self.network(&sliced, now, depth + 1, each),
            Ok(_) => Seen::Other,
            Err(_) => Seen::Unreadable,
        }
    }
}

/// The EtherType stands first, the packet behind 20 bytes.
fn cooked2(bytes: &[u8]) -> Option<SlicedPacket<'_>> {
    let (head, rest) = bytes.split_at_checked(20)?;
    let kind = u16::from_be_bytes(head.first_chunk::<2>().copied()?);
    SlicedPacket::from_ether_type(EtherType(kind), rest).ok()
}

/// RFC 7348 §5: the flag of a valid network id, then the frame behind 8 bytes.
fn vxlan(bytes: &[u8]) -> Option<&[u8]> {
    bytes.first().filter(|flags| **flags == 0x08)?;
    bytes.get(8..)
}

/// The Ethernet frame in GRE (RFC 2784, RFC 2890): bridged (0x6558), ERSPAN type I and II (0x88be) and III (0x22eb).
fn gre(bytes: &[u8]) -> Option<&[u8]> {
    let [flags, version, high, low] = bytes.first_chunk::<4>().copied()?;
    if version & 0x07 != 0 {
        return None;
    }
    let set = |bit: u8| usize::from(flags & bit != 0) * 4;
    let rest = bytes.get(4 + set(0x80) + set(0x20) + set(0x10)..)?;
    match (u16::from_be_bytes([high, low]), flags & 0x10 != 0) {
        (0x6558, _) | (0x88be, false) => Some(rest),
        (0x88be, true) => rest.get(8..),
        (0x22eb, _) => {
            let optional = rest.get(11).is_some_and(|last| last & 0x01 != 0);
            rest.get(if optional { 20 } else { 12 }..)
        }
        _ => None,
    }
}

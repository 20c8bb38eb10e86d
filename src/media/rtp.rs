//! One RTP packet: checked here, then parsed by the `rtp` crate (RFC 3550 §5.1).

use bytes::Bytes;
use rtp::Packet;
use shared::marshal::Unmarshal;

/// What the jitter buffer needs of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Payload type.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Payload without padding.
    pub payload: Bytes,
}

/// Shortest packet: the fixed header.
const HEADER: usize = 12;
/// Longest packet that is looked at.
const LONGEST: usize = 2_048;

/// Parses a packet whose payload type is one of `accepted` (bit n set: type n). `None` when it is not such a packet.
pub fn parse(bytes: &[u8], accepted: u128) -> Option<Parsed> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    if !claims(bytes, accepted) {
        return None;
    }
    let plain = first & 0x3f == 0;
    if plain {
        return Some(plain_packet(bytes, second));
    }
    let mut rest = Bytes::copy_from_slice(bytes);
    let packet = Packet::unmarshal(&mut rest).ok()?;
    Some(Parsed {
        payload_type: packet.header.payload_type,
        marker: packet.header.marker,
        sequence: packet.header.sequence_number,
        timestamp: packet.header.timestamp,
        ssrc: packet.header.ssrc,
        payload: packet.payload,
    })
}

/// Whether the fixed header is that of such a packet; what follows may still be malformed.
pub fn claims(bytes: &[u8], accepted: u128) -> bool {
    let (Some(first), Some(second)) = (bytes.first(), bytes.get(1)) else { return false };
    first >> 6 == 2 && (HEADER..=LONGEST).contains(&bytes.len()) && accepted & (1 << (second & 0x7f)) != 0
}

/// The common packet: no padding, no extension, no contributing sources. Length was checked.
fn plain_packet(bytes: &[u8], second: u8) -> Parsed {
    let word = |at: usize| bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes);
    Parsed {
        payload_type: second & 0x7f,
        marker: second & 0x80 != 0,
        sequence: (word(0) & 0xffff) as u16,
        timestamp: word(4),
        ssrc: word(8),
        payload: Bytes::copy_from_slice(bytes.get(HEADER..).unwrap_or_default()),
    }
}

/// A bit set of payload types for [`parse`].
pub fn accept(types: impl IntoIterator<Item = u8>) -> u128 {
    types.into_iter().filter(|number| *number < 128).fold(0, |set, number| set | 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_that_kills_the_old_parser_is_only_refused() {
        // X=1, profile 0xBEDE, one word, first element id 1 with 16 bytes that are not there: `rtp` 0.17 asserts in `bytes`.
        let mut packet = vec![0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
        packet.extend([0xbe, 0xde, 0, 1, 0x1f, 0, 0, 0]);
        assert_eq!(parse(&packet, accept([0])), None);
    }

    #[test]
    fn plain_and_extended_packets_read_alike() {
        let mut plain = vec![0x80, 0x80, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7];
        plain.extend([1, 2, 3]);
        let mut extended = vec![0x90, 0x80, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7];
        extended.extend([0xbe, 0xde, 0, 1, 0x10, 5, 0, 0, 1, 2, 3]);
        let read = parse(&plain, accept([0])).unwrap();
        assert_eq!((read.sequence, read.timestamp, read.ssrc, read.marker), (0x1234, 9, 7, true));
        assert_eq!(parse(&extended, accept([0])), Some(read));
    }

    #[test]
    fn padding_that_lies_is_refused() {
        let packet = [0xa0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 200];
        assert_eq!(parse(&packet, accept([0])), None);
    }

    #[test]
    fn foreign_types_short_packets_and_stun_are_refused() {
        assert_eq!(parse(&[0x80, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7], accept([0])), None);
        assert_eq!(parse(&[0x80, 0, 0], accept([0])), None);
        assert_eq!(parse(&[0x00, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7], accept([0])), None);
        assert_eq!(parse(&[], accept([0])), None);
    }
}

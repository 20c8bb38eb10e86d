//! Payload bytes to PCM: G.711 both ways (ITU-T G.711), Opus decoding behind the feature `opus`.

use super::Codec;

/// µ-law byte → 16-bit PCM (G.711 table 2a, scaled to 16 bits).
pub const fn decode_ulaw(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = (byte >> 4) & 7;
    let mantissa = (byte & 0x0f) as i16;
    let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    if byte & 0x80 != 0 { -magnitude } else { magnitude }
}

/// A-law byte → 16-bit PCM (G.711 table 1a, scaled to 16 bits).
pub const fn decode_alaw(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let exponent = (byte >> 4) & 7;
    let mantissa = ((byte & 0x0f) as i16) << 4;
    let magnitude = match exponent {
        0 => mantissa + 8,
        1 => mantissa + 0x108,
        _ => (mantissa + 0x108) << (exponent - 1),
    };
    if byte & 0x80 != 0 { magnitude } else { -magnitude }
}

const fn table(alaw: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = if alaw { decode_alaw(byte as u8) } else { decode_ulaw(byte as u8) };
        byte += 1;
    }
    table
}

static ULAW: [i16; 256] = table(false);
static ALAW: [i16; 256] = table(true);

/// 16-bit PCM → µ-law byte.
pub fn encode_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(sample).abs()).min(32_635) + 0x84;
    let exponent = (31 - (magnitude as u32).leading_zeros()).saturating_sub(7);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | ((exponent as u8) << 4) | mantissa as u8)
}

/// 16-bit PCM → A-law byte.
pub fn encode_alaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0 } else { 0x80 };
    let magnitude = (if sample < 0 { !i32::from(sample) } else { i32::from(sample) }).min(32_767);
    let byte = if magnitude < 256 {
        magnitude >> 4
    } else {
        let exponent = (31 - (magnitude as u32).leading_zeros()) as i32 - 7;
        (exponent << 4) | ((magnitude >> (exponent + 3)) & 0x0f)
    };
    (sign | byte as u8) ^ 0x55
}

/// Decodes the payloads of one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    #[cfg(feature = "opus")]
    opus: Option<opus::Decoder>,
}

impl Decoder {
    /// Appends the PCM of one payload to `out`; gives the number of samples, `None` when the payload cannot be decoded.
    pub fn decode(&mut self, codec: Codec, payload: &[u8], out: &mut Vec<i16>) -> Option<usize> {
        match codec {
            Codec::Pcmu => out.extend(payload.iter().map(|byte| ULAW[usize::from(*byte)])),
            Codec::Pcma => out.extend(payload.iter().map(|byte| ALAW[usize::from(*byte)])),
            Codec::Opus => return self.decode_opus(payload, out),
            Codec::TelephoneEvent | Codec::ComfortNoise => return None,
        }
        Some(payload.len())
    }

    #[cfg(feature = "opus")]
    fn decode_opus(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Option<usize> {
        /// 120 ms at 16 kHz: the longest packet (RFC 7587 §4.2).
        const LONGEST: usize = 1_920;
        let decoder = match &mut self.opus {
            Some(decoder) => decoder,
            none => none.insert(opus::Decoder::new(16_000, opus::Channels::Mono).ok()?),
        };
        let at = out.len();
        out.resize(at + LONGEST, 0);
        let decoded = out.get_mut(at..).and_then(|space| decoder.decode(payload, space, false).ok());
        out.truncate(at + decoded.unwrap_or(0));
        decoded
    }

    #[cfg(not(feature = "opus"))]
    fn decode_opus(&mut self, _payload: &[u8], _out: &mut Vec<i16>) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_a_round_trip() {
        for byte in 0..=255u8 {
            assert_eq!(encode_alaw(decode_alaw(byte)), byte, "A-law {byte:#x}");
            let again = encode_ulaw(decode_ulaw(byte));
            // µ-law has two zeros; 0x7f (minus zero) decodes like 0xff.
            assert!(again == byte || (byte == 0x7f && again == 0xff), "µ-law {byte:#x} {again:#x}");
        }
    }

    #[test]
    fn known_points_of_the_tables() {
        assert_eq!((decode_ulaw(0x00), decode_ulaw(0x80), decode_ulaw(0xff)), (-32_124, 32_124, 0));
        assert_eq!((decode_alaw(0x2a), decode_alaw(0xaa), decode_alaw(0xd5)), (-32_256, 32_256, 8));
    }

    #[test]
    fn extremes_do_not_overflow() {
        for sample in [i16::MIN, -1, 0, 1, i16::MAX] {
            let _ = (encode_ulaw(sample), encode_alaw(sample));
        }
    }

    #[cfg(feature = "opus")]
    #[test]
    fn opus_garbage_is_refused_and_leaves_no_samples() {
        let mut out = Vec::new();
        let mut decoder = Decoder::default();
        for length in 0..64u8 {
            let payload: Vec<u8> = (0..length).map(|n| n.wrapping_mul(31) ^ 0xc7).collect();
            let before = out.len();
            let decoded = decoder.decode(Codec::Opus, &payload, &mut out);
            assert_eq!(out.len(), before + decoded.unwrap_or(0));
        }
    }
}

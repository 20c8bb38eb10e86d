//! Payload bytes to PCM: G.711 both ways (ITU-T G.711), G.722, L16, Opus decoding behind the feature `opus`.

use std::fmt;

use super::resample::Upsampler;
use super::{Codec, g722};

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

/// Longest Opus packet, in milliseconds (RFC 7587 §4.2).
const LONGEST_MS: u32 = 120;

/// Samples that a payload will give at `rate`; `None` when it cannot be decoded.
pub fn length(codec: Codec, payload: &[u8], rate: u32) -> Option<usize> {
    match codec {
        // One byte is one tick of 8 kHz in all three.
        Codec::Pcmu | Codec::Pcma | Codec::G722 => Some(payload.len() * (rate / 8_000).max(1) as usize),
        Codec::L16 if payload.len().is_multiple_of(2) => Some(payload.len() / 2 * (rate / 8_000).max(1) as usize),
        // in a stream of 8 kHz there is no place for it
        Codec::L16Wide if payload.len().is_multiple_of(2) && rate >= 16_000 => Some(payload.len() / 2),
        Codec::L16 | Codec::L16Wide => None,
        Codec::Opus => opus_length(payload, rate).filter(|length| *length <= (rate / 1_000 * LONGEST_MS) as usize),
        Codec::TelephoneEvent | Codec::ComfortNoise => None,
    }
}

/// Appends the PCM of a G.711 payload, 8 kHz.
pub fn decode_g711(codec: Codec, payload: &[u8], out: &mut Vec<i16>) {
    let table = if codec == Codec::Pcma { &ALAW } else { &ULAW };
    out.extend(payload.iter().map(|byte| table[usize::from(*byte)]));
}

/// Appends the PCM of an L16 payload; an odd byte at its end is left out.
pub fn decode_l16(payload: &[u8], out: &mut Vec<i16>) {
    let (pairs, _) = payload.as_chunks::<2>();
    out.extend(pairs.iter().map(|pair| i16::from_be_bytes(*pair)));
}

/// Decodes the payloads of one stream, in the order of their sequence numbers, to PCM of one rate whatever the codec.
pub struct Decoder {
    rate: u32,
    g722: Option<g722::Decoder>,
    /// G.711 and L16 of 8 kHz in a stream of 16 kHz.
    upsampler: Option<Upsampler>,
    #[cfg(feature = "opus")]
    opus: Option<opus::Decoder>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decoder({} Hz)", self.rate)
    }
}

impl Decoder {
    /// A decoder at rest that gives PCM of `rate`: 8,000 or 16,000 Hz.
    pub fn new(rate: u32) -> Self {
        Self {
            rate,
            g722: None,
            upsampler: None,
            #[cfg(feature = "opus")]
            opus: None,
        }
    }

    /// Another sender, whose sound does not continue the last one's.
    pub fn reset(&mut self) {
        *self = Self::new(self.rate);
    }

    /// Appends the PCM of one payload to `out`; gives the number of samples, `None` when the payload cannot be decoded.
    pub fn decode(&mut self, codec: Codec, payload: &[u8], out: &mut Vec<i16>) -> Option<usize> {
        match codec {
            Codec::Pcmu | Codec::Pcma | Codec::L16 => {}
            Codec::L16Wide if self.rate < 16_000 => return None,
            Codec::L16Wide => {
                decode_l16(payload, out);
                return Some(payload.len() / 2);
            }
            Codec::G722 => {
                let (narrow, before) = (self.rate == 8_000, out.len());
                self.g722.get_or_insert_with(|| g722::Decoder::new(narrow)).decode(payload, out);
                return Some(out.len() - before);
            }
            Codec::Opus => return self.decode_opus(payload, false, out),
            Codec::TelephoneEvent | Codec::ComfortNoise => return None,
        }
        let mut narrow = Vec::new();
        match codec {
            Codec::L16 => decode_l16(payload, &mut narrow),
            _ => decode_g711(codec, payload, &mut narrow),
        }
        if self.rate == 8_000 {
            out.extend_from_slice(&narrow);
            return Some(narrow.len());
        }
        let mut wide = Vec::new();
        self.upsampler.get_or_insert_with(Upsampler::new).push(&narrow, &mut wide);
        out.extend(wide.iter().map(|sample| (sample * 32_768.0).round() as i16));
        Some(wide.len())
    }

    /// Sound of `hole` samples was lost before `next`. Lets the decoder go on as if it had decoded it, and gives what `next` tells of the
    /// end of the hole (Opus in-band FEC), to be put right before it. What would only be guessed is not given.
    pub fn conceal(&mut self, codec: Codec, hole: usize, next: &[u8]) -> Vec<i16> {
        if codec == Codec::Opus { self.conceal_opus(hole, next) } else { Vec::new() }
    }

    #[cfg(feature = "opus")]
    fn decode_opus(&mut self, payload: &[u8], fec: bool, out: &mut Vec<i16>) -> Option<usize> {
        let length = opus_length(payload, self.rate)?;
        self.run_opus(payload, length, fec, out)
    }

    #[cfg(feature = "opus")]
    fn run_opus(&mut self, payload: &[u8], length: usize, fec: bool, out: &mut Vec<i16>) -> Option<usize> {
        let decoder = match &mut self.opus {
            Some(decoder) => decoder,
            none => none.insert(opus::Decoder::new(self.rate, opus::Channels::Mono).ok()?),
        };
        let at = out.len();
        out.resize(at + length, 0);
        let decoded = out.get_mut(at..).and_then(|space| decoder.decode(payload, space, fec).ok());
        out.truncate(at + decoded.unwrap_or(0));
        decoded
    }

    #[cfg(feature = "opus")]
    fn conceal_opus(&mut self, hole: usize, next: &[u8]) -> Vec<i16> {
        let Some(length) = opus_length(next, self.rate).filter(|length| (1..=hole).contains(length)) else {
            return Vec::new();
        };
        // All but the last lost packet: only the state is carried on, and no further than the sound would.
        let longest = (self.rate / 1_000 * LONGEST_MS) as usize;
        let mut guessed = Vec::new();
        for _ in 0..((hole - length).min(longest) / length) {
            self.run_opus(&[], length, false, &mut guessed);
        }
        let mut mended = Vec::new();
        if has_fec(next) {
            self.decode_opus(next, true, &mut mended);
        } else {
            self.run_opus(&[], length, false, &mut guessed);
        }
        mended
    }

    #[cfg(not(feature = "opus"))]
    fn decode_opus(&mut self, _payload: &[u8], _fec: bool, _out: &mut Vec<i16>) -> Option<usize> {
        None
    }

    #[cfg(not(feature = "opus"))]
    fn conceal_opus(&mut self, _hole: usize, _next: &[u8]) -> Vec<i16> {
        Vec::new()
    }
}

/// Samples of an Opus packet by its table of contents (RFC 6716 §3.1).
#[cfg(feature = "opus")]
fn opus_length(payload: &[u8], rate: u32) -> Option<usize> {
    opus::packet::get_nb_samples(payload, rate).ok().filter(|length| *length > 0)
}

#[cfg(not(feature = "opus"))]
fn opus_length(_payload: &[u8], _rate: u32) -> Option<usize> {
    None
}

/// Whether an Opus packet carries the one before it again: the LBRR flag of its first SILK frame (RFC 6716 §4.2.3 and §4.2.4). Only packets
/// of one frame are looked at; in the others the flag stands elsewhere.
#[cfg(feature = "opus")]
fn has_fec(payload: &[u8]) -> bool {
    let (Some(toc), Some(first)) = (payload.first(), payload.get(1)) else { return false };
    let (config, stereo, code) = (toc >> 3, toc & 4 != 0, toc & 3);
    // SILK and hybrid; a frame of 40 ms or 60 ms has a voice flag for each 20 ms before the LBRR flag.
    let voiced = match config {
        0..=11 => [1, 1, 2, 3][usize::from(config & 3)],
        12..=15 => 1,
        _ => return false,
    };
    code == 0 && (first >> (7 - voiced)) & 1 == 1 && !stereo
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
        let mut decoder = Decoder::new(16_000);
        for length in 0..64u8 {
            let payload: Vec<u8> = (0..length).map(|n| n.wrapping_mul(31) ^ 0xc7).collect();
            let before = out.len();
            let decoded = decoder.decode(Codec::Opus, &payload, &mut out);
            assert_eq!(out.len(), before + decoded.unwrap_or(0));
        }
    }
}

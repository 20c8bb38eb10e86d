//! Looks a ggml Whisper file through before whisper.cpp reads it, which trusts every length in it and ends the process where one is wrong.

use std::io::{self, Read, Seek, SeekFrom};

/// `ggml` as a little-endian number.
const MAGIC: u32 = 0x6767_6d6c;
/// Weights are stored with one of these (`ggml_ftype`).
const FILE_TYPES: [i32; 12] = [0, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14];
/// Sizes of the vocabularies that Whisper has.
const VOCABULARIES: std::ops::RangeInclusive<i32> = 51_864..=51_866;
/// Lines of the spectrum that whisper.cpp computes.
const SPECTRUM: i32 = 201;

/// What the header says of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Tokens, special ones included.
    pub vocabulary: i32,
    /// Positions of the encoder, 1,500 for 30 s.
    pub audio_ctx: i32,
    /// Positions of the decoder.
    pub text_ctx: i32,
    /// Layers of the encoder.
    pub audio_layers: i32,
    /// Layers of the decoder.
    pub text_layers: i32,
    /// Bands of the spectrum, 80 or 128.
    pub mels: i32,
}

/// Why a file is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum GgmlError {
    /// It cannot be read.
    #[error(transparent)]
    Io(io::Error),
    /// It ends too early.
    #[error("it ends at byte {at} in the middle of {part}: it was not copied completely")]
    Truncated {
        /// Its length.
        at: u64,
        /// What stands there.
        part: &'static str,
    },
    /// It is something else.
    #[error("it begins with {found:08x}, not with ggml's {MAGIC:08x}")]
    Foreign {
        /// The first four bytes as a number.
        found: u32,
    },
    /// A number in it cannot be.
    #[error("{what} is {found}, expected {expected}: it is damaged or not a Whisper model")]
    Value {
        /// What it is.
        what: &'static str,
        /// What it holds.
        found: i64,
        /// What it should hold.
        expected: &'static str,
    },
}

/// Reads through a whole file; only the weights themselves are skipped.
///
/// # Errors
/// Says what is wrong and where; a file that passes has every length inside its bounds.
pub fn check<R: Read + Seek>(reader: R) -> Result<Header, GgmlError> {
    let mut file = File { reader, at: 0, length: 0, part: "the header" };
    file.length = file.reader.seek(SeekFrom::End(0)).map_err(GgmlError::Io)?;
    file.reader.seek(SeekFrom::Start(0)).map_err(GgmlError::Io)?;
    let header = file.header()?;
    file.filters(header.mels)?;
    file.vocabulary(header.vocabulary)?;
    let needed = 11 + 15 * i64::from(header.audio_layers) + 24 * i64::from(header.text_layers);
    let mut tensors = 0;
    file.part = "the weights";
    while file.at < file.length {
        file.tensor()?;
        tensors += 1;
    }
    if tensors < needed {
        return Err(file.truncated());
    }
    if tensors > needed {
        let expected = "as many as its layers need";
        return Err(GgmlError::Value { what: "the number of weights", found: tensors, expected });
    }
    Ok(header)
}

struct File<R> {
    reader: R,
    at: u64,
    length: u64,
    part: &'static str,
}

impl<R: Read + Seek> File<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgmlError> {
        let mut bytes = [0; N];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => self.at += N as u64,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.truncated()),
            Err(error) => return Err(GgmlError::Io(error)),
        }
        Ok(bytes)
    }

    fn truncated(&self) -> GgmlError {
        GgmlError::Truncated { at: self.length, part: self.part }
    }

    fn number(&mut self) -> Result<i32, GgmlError> {
        self.bytes().map(i32::from_le_bytes)
    }

    /// A number that must be in a range.
    fn within(
        &mut self,
        what: &'static str,
        range: std::ops::RangeInclusive<i32>,
        expected: &'static str,
    ) -> Result<i32, GgmlError> {
        let found = self.number()?;
        if range.contains(&found) {
            return Ok(found);
        }
        Err(GgmlError::Value { what, found: found.into(), expected })
    }

    fn skip(&mut self, bytes: u64) -> Result<(), GgmlError> {
        if bytes > self.length - self.at {
            return Err(self.truncated());
        }
        let step = i64::try_from(bytes).map_err(|_| self.truncated())?;
        self.reader.seek_relative(step).map_err(GgmlError::Io)?;
        self.at += bytes;
        Ok(())
    }

    fn header(&mut self) -> Result<Header, GgmlError> {
        let found = u32::from_le_bytes(self.bytes()?);
        if found != MAGIC {
            return Err(GgmlError::Foreign { found });
        }
        let vocabulary = self.within("the size of the vocabulary", VOCABULARIES, "51864–51866")?;
        let audio_ctx = self.within("the length of the encoder", 1_500..=1_500, "1500")?;
        let audio_width = self.within("the width of the encoder", 64..=8_192, "64–8192")?;
        let audio_heads = self.within("the number of encoder heads", 1..=128, "1–128")?;
        let audio_layers = self.within("the number of encoder layers", 1..=128, "1–128")?;
        let text_ctx = self.within("the length of the decoder", 64..=4_096, "64–4096")?;
        let text_width = self.within("the width of the decoder", 64..=8_192, "64–8192")?;
        let text_heads = self.within("the number of decoder heads", 1..=128, "1–128")?;
        let text_layers = self.within("the number of decoder layers", 1..=128, "1–128")?;
        let mels = self.within("the number of mel bands", 80..=128, "80 or 128")?;
        let kind = self.number()?;
        let wrong = |what, found: i32, expected| Err(GgmlError::Value { what, found: found.into(), expected });
        if text_width != audio_width {
            return wrong("the width of the decoder", text_width, "the width of the encoder");
        }
        if audio_width % audio_heads != 0 || text_width % text_heads != 0 {
            return wrong("the number of heads", audio_heads, "a divisor of the width");
        }
        if mels != 80 && mels != 128 {
            return wrong("the number of mel bands", mels, "80 or 128");
        }
        if kind < 0 || !FILE_TYPES.contains(&(kind % 1_000)) {
            return wrong("the type of the weights", kind, "a type of whisper.cpp 1.8");
        }
        Ok(Header { vocabulary, audio_ctx, text_ctx, audio_layers, text_layers, mels })
    }

    fn filters(&mut self, mels: i32) -> Result<(), GgmlError> {
        self.part = "the mel filters";
        self.within("the number of mel filters", mels..=mels, "the number of mel bands")?;
        self.within("the length of a mel filter", SPECTRUM..=SPECTRUM, "201")?;
        self.skip(mels as u64 * SPECTRUM as u64 * 4)
    }

    fn vocabulary(&mut self, most: i32) -> Result<(), GgmlError> {
        self.part = "the vocabulary";
        let count = self.within("the number of tokens in the file", 50_000..=most, "50000 to the vocabulary's size")?;
        let mut space = false;
        for _ in 0..count {
            let length = self.within("the length of a token", 0..=1_024, "0–1024")?;
            if length == 1 {
                space |= self.bytes()? == *b" ";
            } else {
                self.skip(length as u64)?;
            }
        }
        if space {
            return Ok(());
        }
        Err(GgmlError::Value { what: "the number of tokens that are one space", found: 0, expected: "1" })
    }

    fn tensor(&mut self) -> Result<(), GgmlError> {
        let dimensions = self.within("the number of dimensions of a weight", 1..=4, "1–4")?;
        let name = self.within("the length of a weight's name", 1..=255, "1–255")?;
        let kind = self.number()?;
        let Some((block, bytes)) = block(kind) else {
            return Err(GgmlError::Value {
                what: "the type of a weight",
                found: kind.into(),
                expected: "a type of ggml",
            });
        };
        let mut elements = 1u64;
        for _ in 0..dimensions {
            let size = self.within("a dimension of a weight", 1..=i32::MAX, "1 or more")?;
            elements = elements.saturating_mul(size as u64);
        }
        if elements > i32::MAX as u64 || !elements.is_multiple_of(block) {
            let found = i64::try_from(elements).unwrap_or(i64::MAX);
            return Err(GgmlError::Value { what: "the size of a weight", found, expected: "whole blocks below 2^31" });
        }
        self.skip(name as u64)?;
        self.skip(elements / block * bytes)
    }
}

/// Elements and bytes of a block of a ggml type.
fn block(kind: i32) -> Option<(u64, u64)> {
    Some(match kind {
        0 => (1, 4),
        1 => (1, 2),
        2 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        10 => (256, 84),
        11 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const MODEL: &[u8] = include_bytes!("../../models/kakehashi-lab-ja.bin");

    fn problem(bytes: &[u8]) -> String {
        check(Cursor::new(bytes)).unwrap_err().to_string()
    }

    #[test]
    fn the_shipped_model_passes() {
        let header = check(Cursor::new(MODEL)).unwrap();
        assert_eq!((header.vocabulary, header.audio_layers, header.text_layers, header.mels), (51_865, 4, 2, 80));
    }

    #[test]
    fn a_file_that_ends_early_is_told_wherever_it_ends() {
        for length in [0, 3, 20, 60, 40_000, 400_000, 5_000_000, MODEL.len() - 1] {
            let said = problem(&MODEL[..length]);
            assert!(said.contains("ends at byte") && said.contains(&length.to_string()), "{length}: {said}");
        }
    }

    #[test]
    fn a_foreign_file_and_a_damaged_one_are_told() {
        assert!(problem(b"RIFF\0\0\0\0WAVEfmt ").contains("not with ggml's"));
        assert!(problem(b"GGUF\x03\0\0\0").contains("not with ggml's"));
        for (at, value, what) in [(4, 1_000, "vocabulary"), (12, -5, "width"), (44, 99, "type of the weights")] {
            let mut damaged = MODEL[..100_000].to_vec();
            damaged[at..at + 4].copy_from_slice(&i32::to_le_bytes(value));
            assert!(problem(&damaged).contains(what), "{}", problem(&damaged));
        }
    }

    #[test]
    fn no_damage_to_the_structure_makes_it_panic() {
        let mut seed = 7u64;
        let mut below = move |limit: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % limit
        };
        // the header, the filters and the first tokens, where lengths stand
        let head = &MODEL[..80_000];
        for _ in 0..20_000 {
            let mut bytes = head.to_vec();
            let most = if below(2) == 0 { 64 } else { bytes.len() };
            let at = below(most);
            bytes[at] ^= 1 << below(8);
            assert!(check(Cursor::new(&bytes)).is_err());
        }
    }
}

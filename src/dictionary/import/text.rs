//! Bytes of a dictionary file into text: byte order mark, then strict UTF-8, then CP932 (the Windows form of Shift_JIS, with ① 髙 ㈱).

use encoding_rs::{DecoderResult, Encoding, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};

/// Where a text ends to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// From 1.
    pub(super) line: usize,
    /// In the line, from 1.
    pub(super) character: usize,
}

/// The text of a file, or the place of the first byte that no encoding explains.
pub(super) fn decode(bytes: &[u8]) -> Result<String, At> {
    let marks: [(&[u8], &'static Encoding); 3] =
        [(&[0xef, 0xbb, 0xbf], UTF_8), (&[0xff, 0xfe], UTF_16LE), (&[0xfe, 0xff], UTF_16BE)];
    let marked = marks.into_iter().find_map(|(mark, encoding)| Some((encoding, bytes.strip_prefix(mark)?)));
    match marked {
        Some((encoding, body)) => decode_as(encoding, body),
        // of two encodings that fail, the one that explains more of the file is the one that was meant
        None => decode_as(UTF_8, bytes).or_else(|utf_8| decode_as(SHIFT_JIS, bytes).map_err(|cp932| cp932.max(utf_8))),
    }
}

fn decode_as(encoding: &'static Encoding, bytes: &[u8]) -> Result<String, At> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let most = decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(bytes.len());
    let mut text = String::with_capacity(most);
    let (result, _) = decoder.decode_to_string_without_replacement(bytes, &mut text, true);
    match result {
        DecoderResult::InputEmpty => Ok(text),
        DecoderResult::Malformed(..) | DecoderResult::OutputFull => {
            let line = text.rsplit('\n').next().unwrap_or_default();
            Err(At { line: text.matches('\n').count() + 1, character: line.chars().count() + 1 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding_is_found() {
        let text = "表記,読み\n髙槻①,タカツキ\n";
        let (cp932, _, lossy) = SHIFT_JIS.encode(text);
        assert!(!lossy);
        let marked = ["\u{feff}", text].concat();
        let little: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = marked.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [text.as_bytes(), marked.as_bytes(), &cp932, &little, &big] {
            assert_eq!(decode(bytes).as_deref(), Ok(text));
        }
        assert_eq!(decode(b"").as_deref(), Ok(""));
    }

    #[test]
    fn the_place_of_what_cannot_be_read_is_told() {
        assert_eq!(decode(b"surface,reading\nab,\xff\xff\xfd\n"), Err(At { line: 2, character: 4 }));
        let mut utf_8 = "表記,読み\n梅田,うめだ\n天満,てん".as_bytes().to_vec();
        utf_8.push(0xe3); // cut inside a character
        assert_eq!(decode(&utf_8), Err(At { line: 3, character: 6 }));
        let mut utf_16: Vec<u8> = "\u{feff}ab\nc".encode_utf16().flat_map(u16::to_le_bytes).collect();
        utf_16.extend([0x00, 0xd8, b'x', 0x00]); // half a surrogate pair
        assert_eq!(decode(&utf_16), Err(At { line: 2, character: 2 }));
    }
}

//! Word lists of input methods: Microsoft IME, Google 日本語入力 (Mozc) and ATOK. よみ, 語句, 品詞 and perhaps a comment, with tabs between.
//!
//! Microsoft IME writes UTF-16 or Shift_JIS with comments after `!`; Google UTF-8 with comments after `#`; ATOK Shift_JIS or UTF-16 with
//! comments after `!!`, and a `*` or `$` after the part of speech of words that were registered by hand or by itself.

use super::sink::{Draft, NO_WORD, Names, Sink};
use super::{Format, ImportError};

const NAMES: Names<'_> = Names { surface: "語句 (2)", reading: "よみ (1)", scope: "-", weight: "-", aliases: "-" };
/// Parts of speech whose reading is not how the word is said.
const NO_WORDS: &[&str] = &["短縮よみ", "短縮読み", "顔文字", "記号", "抑制単語", "括弧", "括弧開", "括弧閉"];
/// Parts of speech and what they are to us; others are kept as they are called.
const CLASSES: &[(&str, &str)] = &[
    ("地名", "place"),
    ("固有地名", "place"),
    ("地名その他", "place"),
    ("駅名", "place"),
    ("人名", "person"),
    ("姓", "person"),
    ("名", "person"),
    ("固有人姓", "person"),
    ("固有人名", "person"),
    ("固有人他", "person"),
    ("組織", "organization"),
    ("固有組織", "organization"),
];

pub(super) fn read(format: Format, text: &str, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let comment = if format == Format::Google { '#' } else { '!' };
    for (n, line) in text.split('\n').enumerate() {
        let number = n as u64 + 1;
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || line.starts_with(comment) {
            continue;
        }
        let mut fields = line.split('\t');
        let (Some(reading), Some(surface)) = (fields.next(), fields.next()) else {
            sink.wrong(number, "よみ (1)", "there is no tab. Expected よみ, 語句 and 品詞 with tabs between")?;
            continue;
        };
        let speech = fields.next().unwrap_or_default().trim().trim_end_matches(['*', '$']);
        if NO_WORDS.contains(&speech) {
            sink.leave_out(number, NO_WORD);
            continue;
        }
        let class = CLASSES.iter().find(|(own, _)| *own == speech).map_or(speech, |(_, class)| class);
        let draft = Draft { line: number, surface, readings: vec![reading], class, ..Draft::default() };
        sink.take_spoken(&draft, &NAMES)?;
    }
    Ok(())
}

/// What `class` is called by the input method, for export; 名詞 for what it has no word for.
pub(in crate::dictionary) fn part_of_speech(format: Format, class: &str) -> &'static str {
    match (format, class) {
        (Format::Atok, "place") => "固有地名",
        (_, "place") => "地名",
        (Format::Atok, "person") => "固有人他",
        (_, "person") => "人名",
        (Format::Atok, "organization") => "固有組織",
        (Format::Google, "organization") => "組織",
        _ => "名詞",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_as;
    use super::*;

    const MS_IME: &str = "!Microsoft IME Dictionary Tool\r\n!Version:\r\n!Format:WORDLIST\r\n!User Dictionary Name:\r\n\r\n\
        じゅうそう\t十三\t地名\t淀川区\r\nおせ\tお世話になっております\t短縮よみ\r\n＠\t@\t記号\r\nｶﾞｸｴﾝ\t学園\t名詞\r\nmail\tメール\t名詞\r\n";

    #[test]
    fn a_list_of_microsoft_ime_in_either_encoding() {
        let marked = ["\u{feff}", MS_IME].concat();
        let utf_16: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let (cp932, _, lossy) = encoding_rs::SHIFT_JIS.encode(MS_IME);
        assert!(!lossy);
        for bytes in [utf_16.as_slice(), &cp932] {
            let imported = read_as(Format::Auto, bytes).unwrap();
            assert_eq!(imported.files[0].1, Format::MsIme);
            let words: Vec<_> = imported
                .rows
                .iter()
                .map(|row| {
                    (row.line, row.entry.surface.as_str(), row.entry.readings[0].as_str(), row.entry.class.as_str())
                })
                .collect();
            assert_eq!(words, [(6, "十三", "ジュウソウ", "place"), (9, "学園", "ガクエン", "名詞")]);
            let left: Vec<_> = imported.left_out.iter().map(|left| (left.count, left.first)).collect();
            assert_eq!(left, [(2, 7), (1, 10)], "{:?}", imported.left_out);
        }
    }

    #[test]
    fn a_list_of_google_has_no_header() {
        let imported = read_as(Format::Auto, "みくに\t三国\t地名\t\n#comment\nかみ\t髪\t名詞\n".as_bytes()).unwrap();
        assert_eq!((imported.files[0].1, imported.rows.len()), (Format::Google, 2));
    }

    #[test]
    fn a_list_of_atok_marks_what_was_registered() {
        let text = "!!ATOK_TANGO_TEXT_HEADER_1\r\n!!一覧出力\r\n!!単語種類;登録単語(*)\r\n\r\nいたちぼり\t立売堀\t固有地名*\r\nすいき\t水木\t固有人姓$\r\n";
        for head in [text.to_owned(), text.replace("!!ATOK_TANGO_TEXT_HEADER_1", "!!DICUT17")] {
            let (cp932, _, _) = encoding_rs::SHIFT_JIS.encode(&head);
            let imported = read_as(Format::Auto, &cp932).unwrap();
            assert_eq!(imported.files[0].1, Format::Atok);
            let classes: Vec<&str> = imported.rows.iter().map(|row| row.entry.class.as_str()).collect();
            assert_eq!(classes, ["place", "person"]);
        }
    }

    #[test]
    fn a_line_without_tab_and_a_missing_word_are_told_by_line() {
        let error = read_as(Format::MsIme, "!x\nじゅうそう 十三\nみくに\t\t地名\n".as_bytes()).unwrap_err().to_string();
        assert!(error.contains("line 2, column よみ (1): there is no tab"), "{error}");
        assert!(error.contains("line 3, column 語句 (2): the official spelling is empty"), "{error}");
    }
}

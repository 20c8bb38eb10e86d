//! User dictionaries of MeCab and Lindera: `surface,pos,reading`, or the 13 columns of IPADIC with the reading in the 12th.

use super::ImportError;
use super::sink::{Draft, Names, Sink};

const NAMES: Names<'_> = Names { surface: "surface (1)", reading: "reading", scope: "-", weight: "-", aliases: "-" };
/// Columns of the simple form, and of IPADIC.
const SIMPLE: usize = 3;
const IPADIC: usize = 13;

/// Whether a line is a row of such a dictionary, as far as it shows.
pub(super) fn is_row(line: &str) -> bool {
    let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
    let kana = |at: usize| fields.get(at).is_some_and(|field| crate::dictionary::reading::to_katakana(field).is_some());
    match fields.len() {
        SIMPLE => kana(2) && !kana(1) && !fields.iter().any(|field| field.is_empty()),
        IPADIC => {
            fields.iter().skip(1).take(3).all(|field| field.is_empty() || field.parse::<i32>().is_ok()) && kana(11)
        }
        _ => false,
    }
}

pub(super) fn read(text: &str, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                return sink.wrong(line, "-", format!("not CSV: {error}"));
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        let field = |at: usize| record.get(at).unwrap_or_default();
        if record.iter().all(|field| field.trim().is_empty()) || field(0).starts_with('#') {
            continue;
        }
        let (reading, class) = match record.len() {
            SIMPLE => (field(2), class(field(1))),
            IPADIC => (field(11), class(&[field(4), field(5), field(6), field(7)].join("-"))),
            other => {
                let problem = format!("the row has {other} columns. Expected surface,pos,reading or the 13 of IPADIC");
                sink.wrong(line, "-", problem)?;
                continue;
            }
        };
        let draft = Draft { line, surface: field(0), readings: vec![reading], class, ..Draft::default() };
        sink.take_spoken(&draft, &NAMES)?;
    }
    Ok(())
}

/// What a part of speech is to us; IPADIC's have up to four parts.
fn class(speech: &str) -> &'static str {
    match speech {
        of if of.contains("地域") || of.contains("地名") => "place",
        of if of.contains("人名") => "person",
        of if of.contains("組織") => "organization",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::read_as;

    #[test]
    fn both_forms_are_read() {
        let simple = "十三,地名,ジュウソウ\n区役所,カスタム名詞,クヤクショ\n";
        let ipadic = "十三,1293,1293,5000,名詞,固有名詞,地域,一般,*,*,十三,ジュウソウ,ジューソー\n区役所,,,,名詞,一般,*,*,*,*,区役所,クヤクショ,クヤクショ\n";
        for text in [simple, ipadic] {
            let imported = read_as(Format::Auto, text.as_bytes()).unwrap();
            assert_eq!(imported.files[0].1, Format::Mecab);
            let words: Vec<_> =
                imported.rows.iter().map(|row| (row.entry.readings[0].as_str(), row.entry.class.as_str())).collect();
            assert_eq!(words, [("ジュウソウ", "place"), ("クヤクショ", "")]);
        }
    }

    #[test]
    fn a_row_of_another_width_is_told_and_one_without_sound_is_left_out() {
        let error = read_as(Format::Mecab, "十三,地名,ジュウソウ\n三国,ミクニ\n".as_bytes()).unwrap_err().to_string();
        assert!(error.contains("line 2, column -: the row has 2 columns"), "{error}");
        let imported = read_as(Format::Mecab, "十三,地名,*\n".as_bytes()).unwrap();
        assert_eq!((imported.rows.len(), imported.left_out[0].count), (0, 1));
    }
}

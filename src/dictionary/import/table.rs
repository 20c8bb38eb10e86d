//! Our own format: CSV as municipalities have it. Columns are found by their header, so that lists exported from other systems can be read as
//! they are; tabs may stand for the commas.

use super::ImportError;
use super::sink::{Draft, Names, Sink};

const SURFACE: &[&str] = &["surface", "表記", "名称", "語句", "単語", "用語", "町名", "written", "name", "word"];
const READING: &[&str] = &[
    "reading",
    "読み",
    "よみ",
    "ヨミ",
    "名称_カナ",
    "名称カナ",
    "カナ",
    "かな",
    "フリガナ",
    "ふりがな",
    "読み仮名",
    "町名カナ",
    "spoken",
    "kana",
];
const CLASS: &[&str] = &["class", "分類", "種別", "品詞", "区分", "classname", "category"];
const SCOPE: &[&str] = &["scope", "範囲", "適用範囲"];
const WEIGHT: &[&str] = &["weight", "重み"];
const ALIASES: &[&str] = &["aliases", "alias", "別表記", "誤認識", "異表記"];

/// Where each field is in a row.
struct Columns {
    names: Vec<String>,
    surface: usize,
    reading: usize,
    class: Option<usize>,
    scope: Option<usize>,
    weight: Option<usize>,
    aliases: Option<usize>,
}

/// Whether a line is a header of ours.
pub(super) fn is_header(line: &str) -> bool {
    let separator = separator(line);
    let names: Vec<&str> = line.split(separator).map(|name| name.trim().trim_matches('"')).collect();
    find(&names, SURFACE).is_some() && find(&names, READING).is_some()
}

fn separator(header: &str) -> char {
    if header.contains('\t') && !header.contains(',') { '\t' } else { ',' }
}

fn find<T: AsRef<str>>(names: &[T], known: &[&str]) -> Option<usize> {
    known.iter().find_map(|k| names.iter().position(|name| name.as_ref().eq_ignore_ascii_case(k)))
}

pub(super) fn read(text: &str, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let delimiter = separator(text.lines().next().unwrap_or_default()) as u8;
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let mut records = reader.records();
    let header = match records.next() {
        Some(Ok(header)) => header,
        _ => csv::StringRecord::new(),
    };
    let columns = Columns::of(&header, sink)?;
    let name = |at: Option<usize>| at.and_then(|at| columns.names.get(at)).map_or("-", String::as_str);
    let names = Names {
        surface: name(Some(columns.surface)),
        reading: name(Some(columns.reading)),
        scope: name(columns.scope),
        weight: name(columns.weight),
        aliases: name(columns.aliases),
    };
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                return sink.wrong(line, "-", format!("not CSV: {error}"));
            }
        };
        if record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        let field = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default();
        let draft = Draft {
            line: record.position().map_or(0, csv::Position::line),
            surface: field(Some(columns.surface)),
            readings: variants(field(Some(columns.reading))).collect(),
            class: field(columns.class),
            scope: field(columns.scope),
            weight: field(columns.weight),
            aliases: variants(field(columns.aliases)).collect(),
        };
        sink.take(&draft, &names)?;
    }
    Ok(())
}

impl Columns {
    fn of(header: &csv::StringRecord, sink: &Sink<'_>) -> Result<Self, ImportError> {
        let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let missing = |missing, example| {
            let found = names.iter().take(30).map(|name| name.chars().take(30).collect()).collect::<Vec<String>>();
            sink.header(missing, found.join(", "), example)
        };
        Ok(Self {
            surface: find(&names, SURFACE).ok_or_else(|| missing("official spelling", "surface or 表記"))?,
            reading: find(&names, READING).ok_or_else(|| missing("reading", "reading or 読み"))?,
            class: find(&names, CLASS),
            scope: find(&names, SCOPE),
            weight: find(&names, WEIGHT),
            aliases: find(&names, ALIASES),
            names,
        })
    }
}

fn variants(field: &str) -> impl Iterator<Item = &str> {
    field.split(['|', '｜', '、', ';']).map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, import};
    use super::*;
    use crate::dictionary::import::Source;

    fn load(bytes: &[u8]) -> Result<Vec<Entry>, ImportError> {
        import(&[Source { name: "words.csv", bytes }])
    }

    #[test]
    fn headers_may_be_japanese_and_in_any_order() {
        let entries = load("分類,よみ,表記\nplace,じゅうそう,十三\n".as_bytes()).unwrap();
        assert_eq!(entries[0].surface, "十三");
        assert_eq!(entries[0].readings, ["ジュウソウ"]);
        assert_eq!(entries[0].class, "place");
    }

    #[test]
    fn a_row_without_reading_names_file_line_and_column() {
        let error = load("表記,読み\n三国,ミクニ\n十三,\n".as_bytes()).unwrap_err().to_string();
        assert_eq!(
            error,
            "words.csv, line 3, column 読み: the row has no reading. Write how the word is spoken, in hiragana or katakana"
        );
    }

    #[test]
    fn a_reading_in_kanji_and_an_unknown_scope_are_refused() {
        let error = load("surface,reading\n三国,三国\n".as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("words.csv, line 2, column reading: a reading may only have"), "{error}");
        let error = load("surface,reading,範囲\n三国,ミクニ,町:淀川\n".as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("words.csv, line 2, column 範囲: \"町\" is no kind of scope"), "{error}");
    }

    #[test]
    fn too_many_aliases_are_told_at_their_column() {
        let aliases: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        let text = format!("表記,読み,別表記\n三国,ミクニ,{}\n", aliases.join("|"));
        let error = load(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("words.csv, line 2, column 別表記: more than 16"), "{error}");
    }

    #[test]
    fn the_spelling_stays_as_typed_and_half_width_kana_is_a_reading() {
        let entries = load("名称,名称_カナ\n髙槻①,ﾀｶﾂｷ\n学園,ｶﾞｸｴﾝ\n".as_bytes()).unwrap();
        assert_eq!((entries[0].surface.as_str(), entries[1].readings[0].as_str()), ("髙槻①", "ガクエン"));
    }

    #[test]
    fn bytes_that_are_no_text_name_the_place() {
        let error = load(b"surface,reading\nab,\xff\xff\xfd\n").unwrap_err();
        assert_eq!(error, ImportError::Encoding { file: "words.csv".into(), line: 2, character: 4 });
    }

    #[test]
    fn a_missing_column_lists_the_headers() {
        let error = load("表記,メモ\n三国,x\n".as_bytes()).unwrap_err().to_string();
        assert!(error.contains("no column for the reading among the headers 表記, メモ"), "{error}");
        assert!(matches!(load(b""), Err(ImportError::Header { .. })));
    }
}

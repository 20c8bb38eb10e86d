//! Dictionary files: CSV as municipalities have it, into entries.
//!
//! Encoding: byte order mark, else strict UTF-8, else CP932 (the Windows form of Shift_JIS, with ① 髙 ㈱). Columns are found by their
//! header, so that lists exported from other systems can be read as they are. One bad row refuses the whole load: the dictionary in use stays.

use std::collections::HashMap;

use encoding_rs::{SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};

use super::entry::{Entry, MAX_CHARS, MAX_VARIANTS};
use super::reading::{self, to_katakana};

/// Largest file in bytes.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// Most rows in all files together.
pub const MAX_ROWS: usize = 50_000;
/// Most problems that one load reports.
const MAX_PROBLEMS: usize = 20;

/// One file, read by the edge.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The name used in errors.
    pub name: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// Why a dictionary could not be loaded; the one in use stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The file is larger than is sensible.
    #[error(
        "{file}: {bytes} bytes; a dictionary file may have at most {MAX_FILE_BYTES}. Split it or leave out words that are never said"
    )]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        bytes: usize,
    },
    /// The bytes are no text that can be read.
    #[error("{file}, line {line}: neither UTF-8 nor CP932 (Shift_JIS). Save the file as UTF-8 CSV")]
    Encoding {
        /// The file.
        file: String,
        /// First line that cannot be read, from 1.
        line: usize,
    },
    /// A column that is needed is missing.
    #[error("{file}, line 1: no column for the {missing} among the headers {found}. Name it, for example, {example}")]
    Header {
        /// The file.
        file: String,
        /// What is missing.
        missing: &'static str,
        /// The headers there are.
        found: String,
        /// A header that would do.
        example: &'static str,
    },
    /// Rows are wrong.
    #[error("{}", list(.0))]
    Rows(Vec<RowProblem>),
    /// More words than can be loaded.
    #[error(
        "{file}, line {line}: more than {MAX_ROWS} rows in all dictionary files. Leave out words that are never said"
    )]
    TooMany {
        /// The file in which the limit was passed.
        file: String,
        /// The line.
        line: u64,
    },
}

/// One wrong row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}, column {column}: {problem}")]
pub struct RowProblem {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// Header of the column.
    pub column: String,
    /// What is wrong and what to do.
    pub problem: String,
}

fn list(rows: &[RowProblem]) -> String {
    let mut text = rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    if rows.len() >= MAX_PROBLEMS {
        text.push_str("\n… (only the first problems are listed)");
    }
    text
}

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

/// Reads all files; entries in order, rows with the same surface merged.
///
/// # Errors
/// The first file that cannot be read at all, or up to 20 wrong rows of one file.
pub fn import(sources: &[Source<'_>]) -> Result<Vec<Entry>, ImportError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut by_surface: HashMap<String, usize> = HashMap::new();
    let mut rows = 0;
    for source in sources {
        if source.bytes.len() > MAX_FILE_BYTES {
            return Err(ImportError::TooLarge { file: source.name.to_owned(), bytes: source.bytes.len() });
        }
        let text = decode(source)?;
        read_file(source.name, &text, &mut rows, |entry| match by_surface.get(&entry.surface) {
            Some(&at) => {
                if let Some(known) = entries.get_mut(at) {
                    merge(known, entry);
                }
            }
            None => {
                by_surface.insert(entry.surface.clone(), entries.len());
                entries.push(entry);
            }
        })?;
    }
    Ok(entries)
}

fn merge(known: &mut Entry, again: Entry) {
    for reading in again.readings {
        if !known.readings.contains(&reading) && known.readings.len() < MAX_VARIANTS {
            known.readings.push(reading);
        }
    }
    for alias in again.aliases {
        if !known.aliases.contains(&alias) && known.aliases.len() < MAX_VARIANTS {
            known.aliases.push(alias);
        }
    }
}

/// Byte order mark, then strict UTF-8, then CP932.
fn decode(source: &Source<'_>) -> Result<String, ImportError> {
    let bytes = source.bytes;
    let marked = if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        Some((UTF_8, 3))
    } else if bytes.starts_with(&[0xff, 0xfe]) {
        Some((UTF_16LE, 2))
    } else if bytes.starts_with(&[0xfe, 0xff]) {
        Some((UTF_16BE, 2))
    } else {
        None
    };
    let encodings = match marked {
        Some(one) => vec![one],
        None => vec![(UTF_8, 0), (SHIFT_JIS, 0)],
    };
    for (encoding, skip) in encodings {
        let body = bytes.get(skip..).unwrap_or_default();
        if let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(body) {
            return Ok(text.into_owned());
        }
    }
    Err(ImportError::Encoding { file: source.name.to_owned(), line: first_bad_line(bytes) })
}

/// The first line that is neither UTF-8 nor CP932 by itself.
fn first_bad_line(bytes: &[u8]) -> usize {
    let readable = |line: &[u8]| {
        std::str::from_utf8(line).is_ok()
            || SHIFT_JIS.decode_without_bom_handling_and_without_replacement(line).is_some()
    };
    bytes.split(|&byte| byte == b'\n').position(|line| !readable(line)).map_or(1, |index| index + 1)
}

fn read_file(name: &str, text: &str, rows: &mut usize, mut keep: impl FnMut(Entry)) -> Result<(), ImportError> {
    let delimiter = if text.lines().next().is_some_and(|header| header.contains('\t') && !header.contains(',')) {
        b'\t'
    } else {
        b','
    };
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let mut records = reader.records();
    let header = match records.next() {
        Some(Ok(header)) => header,
        _ => csv::StringRecord::new(),
    };
    let columns = Columns::of(name, &header)?;
    let mut problems = Vec::new();
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                problems.push(RowProblem {
                    file: name.to_owned(),
                    line,
                    column: "-".into(),
                    problem: format!("not CSV: {error}"),
                });
                break;
            }
        };
        if record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        let line = record.position().map_or(0, csv::Position::line);
        *rows += 1;
        if *rows > MAX_ROWS {
            return Err(ImportError::TooMany { file: name.to_owned(), line });
        }
        match columns.entry(&record) {
            Ok(entry) => keep(entry),
            Err((column, problem)) => {
                let column = columns.names.get(column).cloned().unwrap_or_default();
                problems.push(RowProblem { file: name.to_owned(), line, column, problem });
                if problems.len() >= MAX_PROBLEMS {
                    break;
                }
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ImportError::Rows(problems)) }
}

impl Columns {
    fn of(file: &str, header: &csv::StringRecord) -> Result<Self, ImportError> {
        let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let find = |known: &[&str]| known.iter().find_map(|k| names.iter().position(|n| n.eq_ignore_ascii_case(k)));
        let missing =
            |missing, example| ImportError::Header { file: file.to_owned(), missing, found: names.join(", "), example };
        Ok(Self {
            surface: find(SURFACE).ok_or_else(|| missing("official spelling", "surface or 表記"))?,
            reading: find(READING).ok_or_else(|| missing("reading", "reading or 読み"))?,
            class: find(CLASS),
            scope: find(SCOPE),
            weight: find(WEIGHT),
            aliases: find(ALIASES),
            names,
        })
    }

    /// The entry of a row, or the column that is wrong and what to do about it.
    fn entry(&self, record: &csv::StringRecord) -> Result<Entry, (usize, String)> {
        let field = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default().trim();
        let surface = field(Some(self.surface));
        if surface.is_empty() {
            return Err((self.surface, "the official spelling is empty. Write it, or delete the row".into()));
        }
        limited(surface).map_err(|problem| (self.surface, problem))?;
        let mut readings = Vec::new();
        for written in variants(field(Some(self.reading))) {
            limited(written).map_err(|problem| (self.reading, problem))?;
            let Some(reading) = to_katakana(written).filter(|kana| !reading::morae(kana).is_empty()) else {
                return Err((self.reading, "a reading may only have hiragana or katakana. Correct the reading".into()));
            };
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        }
        if readings.is_empty() {
            return Err((
                self.reading,
                "the row has no reading. Write how the word is spoken, in hiragana or katakana".into(),
            ));
        }
        let weight = match field(self.weight) {
            "" => 1.0,
            number => match number.parse::<f32>() {
                Ok(weight) if (0.0..=2.0).contains(&weight) => weight,
                _ => return Err((self.weight.unwrap_or_default(), "the weight must be a number from 0 to 2".into())),
            },
        };
        let mut aliases: Vec<String> = Vec::new();
        for alias in variants(field(self.aliases)) {
            limited(alias).map_err(|problem| (self.aliases.unwrap_or_default(), problem))?;
            if alias != surface {
                aliases.push(alias.to_owned());
            }
        }
        if readings.len() > MAX_VARIANTS || aliases.len() > MAX_VARIANTS {
            return Err((
                self.reading,
                format!("more than {MAX_VARIANTS} readings or aliases. Keep those that are really said"),
            ));
        }
        let (class, scope) = (field(self.class).to_owned(), field(self.scope).to_owned());
        Ok(Entry { surface: surface.to_owned(), readings, class, scope, weight, aliases })
    }
}

fn variants(field: &str) -> impl Iterator<Item = &str> {
    field.split(['|', '｜', '、', ';']).map(str::trim).filter(|part| !part.is_empty())
}

fn limited(text: &str) -> Result<(), String> {
    if text.chars().nth(MAX_CHARS).is_some() {
        return Err(format!("longer than {MAX_CHARS} characters. Register the part that is said"));
    }
    if text.chars().any(char::is_control) {
        return Err("a control character. Remove it".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_reading_in_kanji_is_refused() {
        let error = load("surface,reading\n三国,三国\n".as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("words.csv, line 2, column reading: a reading may only have"), "{error}");
    }

    #[test]
    fn cp932_bom_and_utf16_are_recognised() {
        let text = "表記,読み\n髙槻①,タカツキ\n";
        let (cp932, _, lossy) = SHIFT_JIS.encode(text);
        assert!(!lossy);
        assert_eq!(load(&cp932).unwrap()[0].surface, "髙槻①");
        let bom = ["\u{feff}", text].concat();
        assert_eq!(load(bom.as_bytes()).unwrap()[0].surface, "髙槻①");
        let utf16: Vec<u8> = bom.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(load(&utf16).unwrap()[0].surface, "髙槻①");
    }

    #[test]
    fn half_width_kana_is_a_reading() {
        assert_eq!(load("名称,名称_カナ\n学園,ｶﾞｸｴﾝ\n".as_bytes()).unwrap()[0].readings, ["ガクエン"]);
    }

    #[test]
    fn bytes_that_are_no_text_name_the_line() {
        let error = load(b"surface,reading\nab,\xff\xff\xfd\n").unwrap_err();
        assert_eq!(error, ImportError::Encoding { file: "words.csv".into(), line: 2 });
    }

    #[test]
    fn a_missing_column_lists_the_headers() {
        let error = load("表記,メモ\n三国,x\n".as_bytes()).unwrap_err().to_string();
        assert!(error.contains("no column for the reading among the headers 表記, メモ"), "{error}");
        assert!(matches!(load(b""), Err(ImportError::Header { .. })));
    }

    #[test]
    fn rows_with_the_same_surface_are_merged() {
        let entries = load("surface,reading\n立売堀,イタチボリ\n立売堀,タチウリボリ|イタチボリ\n".as_bytes()).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].readings, ["イタチボリ", "タチウリボリ"]);
    }
}

//! Dictionary files of any known format, into entries: one file for each format, chosen by content or by name.
//!
//! A row that is meant for us and wrong refuses the whole load, so that the dictionary in use stays. Lists that were made for something else
//! (input methods, postal codes) also hold rows that are no spoken words; those are left out, counted, and told by `kakehashi dictionary check`.

mod amivoice;
mod areas;
mod detect;
mod ime;
mod ken_all;
mod mecab;
mod sink;
mod table;
mod text;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use areas::{Area, AreaError};
pub(super) use ime::part_of_speech;

use super::compiled::{self, CompiledError};
use super::entry::{Entry, MAX_VARIANTS};
use sink::Sink;

/// Largest file in bytes; Japan Post's whole list has 18 MB.
pub const MAX_FILE_BYTES: usize = 32 << 20;
/// Most rows that are kept, in all files together.
pub const MAX_ROWS: usize = 50_000;
/// Most problems that one load reports.
const MAX_PROBLEMS: usize = 20;

/// What a file is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Found by what is in the file.
    #[default]
    Auto,
    /// Comma- or tab-separated with a header; our own.
    Csv,
    /// What Microsoft IME writes: よみ, 語句, 品詞, コメント with tabs; `!` begins a comment.
    MsIme,
    /// What Google 日本語入力 and Mozc write: the same columns in UTF-8; `#` begins a comment.
    Google,
    /// What ATOK writes: よみ, 単語, 品詞 with tabs; `!!` begins a comment.
    Atok,
    /// AmiVoice's `profilewords` in JSON.
    AmivoiceJson,
    /// AmiVoice's words in one line: `表記 よみ|表記 よみ`.
    Amivoice,
    /// User dictionaries of MeCab and Lindera: `surface,pos,reading` or the 13 columns of IPADIC.
    Mecab,
    /// Japan Post's KEN_ALL: half-width kana, long rows in several lines.
    KenAll,
    /// Japan Post's utf_ken_all: full-width kana, each row in one line.
    UtfKenAll,
    /// Our compiled form.
    Compiled,
}

/// Every format with the name that the configuration has for it.
pub const FORMATS: [(Format, &str); 11] = [
    (Format::Auto, "auto"),
    (Format::Csv, "csv"),
    (Format::MsIme, "ms-ime"),
    (Format::Google, "google"),
    (Format::Atok, "atok"),
    (Format::AmivoiceJson, "amivoice-json"),
    (Format::Amivoice, "amivoice"),
    (Format::Mecab, "mecab"),
    (Format::KenAll, "ken-all"),
    (Format::UtfKenAll, "utf-ken-all"),
    (Format::Compiled, "compiled"),
];

impl Format {
    /// The name that the configuration has for it.
    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|(format, _)| *format == self).map_or("", |(_, name)| name)
    }
}

/// One file, read by the edge.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The name used in errors.
    pub name: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// How a file is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct How {
    /// What it is written in.
    pub format: Format,
    /// Municipalities and prefectures whose rows of a postal list are taken; empty = all.
    pub areas: Vec<Area>,
    /// The places of a ward (北区 of 大阪市北区) apply to calls of that ward only.
    pub wards_as_scope: bool,
    /// Where its words apply that say nothing themselves, as [`Entry::scope`].
    pub scope: String,
    /// What its words are that say nothing themselves.
    pub class: String,
}

/// What was read from one or more files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// The files in order, with the format that each turned out to have.
    pub files: Vec<(String, Format)>,
    /// The rows that were kept, in order.
    pub rows: Vec<Row>,
    /// Rows that hold no word that could be said, by file and reason: how many, and the first line.
    pub left_out: Vec<LeftOut>,
}

/// A row with the place it stands at.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Index into [`Imported::files`].
    pub file: usize,
    /// Line in it, from 1; 0 where the format has no lines.
    pub line: u64,
    /// The word.
    pub entry: Entry,
}

/// Rows of one file that were left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Index into [`Imported::files`].
    pub file: usize,
    /// Why.
    pub why: &'static str,
    /// How many.
    pub count: u64,
    /// Line of the first.
    pub first: u64,
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
    #[error(
        "{file}, line {line}, character {character}: neither UTF-8, UTF-16 nor CP932 (Shift_JIS). Save the file as UTF-8"
    )]
    Encoding {
        /// The file.
        file: String,
        /// The line of the first byte that cannot be read, from 1.
        line: usize,
        /// Its place in the line, from 1.
        character: usize,
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
    /// The file is not written as it should be.
    #[error("{file}, line {line}: {problem}")]
    Form {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Rows are wrong.
    #[error("{}", list(.0))]
    Rows(Vec<RowProblem>),
    /// More words than can be loaded.
    #[error(
        "{file}, line {line}: more than {MAX_ROWS} rows in all dictionary files. Leave out words that are never said; of a postal list take \
         only the municipality (`areas`)"
    )]
    TooMany {
        /// The file in which the limit was passed.
        file: String,
        /// The line.
        line: u64,
    },
    /// A compiled file cannot be used.
    #[error("{file}: {problem}")]
    Compiled {
        /// The file.
        file: String,
        /// Why.
        problem: CompiledError,
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

/// Reads all files, each found by its content; entries in order, rows with the same surface and scope merged.
///
/// # Errors
/// The first file that cannot be read at all, or up to 20 wrong rows of one file.
pub fn import(sources: &[Source<'_>]) -> Result<Vec<Entry>, ImportError> {
    let how = How::default();
    let sources: Vec<(Source<'_>, &How)> = sources.iter().map(|source| (*source, &how)).collect();
    Ok(read(&sources)?.into_entries())
}

/// Reads all files, each in its way; rows stay apart.
///
/// # Errors
/// As [`import`].
pub fn read(sources: &[(Source<'_>, &How)]) -> Result<Imported, ImportError> {
    let mut imported = Imported::default();
    for (source, how) in sources {
        read_one(source, how, &mut imported)?;
    }
    Ok(imported)
}

fn read_one(source: &Source<'_>, how: &How, imported: &mut Imported) -> Result<(), ImportError> {
    let file = source.name.to_owned();
    if source.bytes.len() > MAX_FILE_BYTES {
        return Err(ImportError::TooLarge { file, bytes: source.bytes.len() });
    }
    if how.format == Format::Compiled || (how.format == Format::Auto && compiled::is_compiled(source.bytes)) {
        imported.files.push((file.clone(), Format::Compiled));
        let entries =
            compiled::read(source.bytes).map_err(|problem| ImportError::Compiled { file: file.clone(), problem })?;
        let mut sink = Sink::new(source.name, how, imported);
        return entries.into_iter().try_for_each(|entry| sink.keep(0, entry));
    }
    let text = text::decode(source.bytes).map_err(|at| ImportError::Encoding {
        file: file.clone(),
        line: at.line,
        character: at.character,
    })?;
    let format = if how.format == Format::Auto { detect::format(&text) } else { how.format };
    imported.files.push((file, format));
    let mut sink = Sink::new(source.name, how, imported);
    match format {
        Format::MsIme | Format::Google | Format::Atok => ime::read(format, &text, &mut sink)?,
        Format::AmivoiceJson => amivoice::read_json(&text, &mut sink)?,
        Format::Amivoice => amivoice::read_inline(&text, &mut sink)?,
        Format::Mecab => mecab::read(&text, &mut sink)?,
        Format::KenAll | Format::UtfKenAll => ken_all::read(&text, &mut sink)?,
        Format::Auto | Format::Csv | Format::Compiled => table::read(&text, &mut sink)?,
    }
    sink.finish()
}

impl Imported {
    /// The entries in order; rows with the same surface and scope become one.
    pub fn into_entries(self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::with_capacity(self.rows.len());
        let mut known: HashMap<(String, String), usize> = HashMap::new();
        for Row { entry, .. } in self.rows {
            let key = (entry.surface.clone(), entry.scope.clone());
            match known.get(&key).and_then(|at| entries.get_mut(*at)) {
                Some(same) => merge(same, entry),
                None => {
                    known.insert(key, entries.len());
                    entries.push(entry);
                }
            }
        }
        entries
    }
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
    if known.class.is_empty() {
        known.class = again.class;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn read_as(format: Format, bytes: &[u8]) -> Result<Imported, ImportError> {
        let how = How { format, ..How::default() };
        read(&[(Source { name: "words.txt", bytes }, &how)])
    }

    #[test]
    fn every_format_has_the_name_that_the_configuration_reads() {
        for (format, name) in FORMATS {
            assert_eq!(serde_json::to_string(&format).unwrap(), format!("\"{name}\""));
            assert_eq!(format.name(), name);
        }
    }

    #[test]
    fn rows_with_the_same_surface_and_scope_are_merged() {
        let text =
            "surface,reading,scope\n立売堀,イタチボリ,\n立売堀,タチウリボリ|イタチボリ,\n立売堀,イタチボリ,ward:西区\n";
        let entries = import(&[Source { name: "words.csv", bytes: text.as_bytes() }]).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].readings, ["イタチボリ", "タチウリボリ"]);
        assert_eq!(entries[1].scope, "ward:西区");
    }

    #[test]
    fn a_file_gives_its_words_scope_and_class_where_they_have_none() {
        let how = How { scope: "ward:北区".into(), class: "place".into(), ..How::default() };
        let bytes = "表記,読み,分類,範囲\n梅田,うめだ,,\n本庄,ほんじょう,駅,課:財政課\n".as_bytes();
        let imported = read(&[(Source { name: "words.csv", bytes }, &how)]).unwrap();
        let told: Vec<(&str, &str)> =
            imported.rows.iter().map(|row| (row.entry.class.as_str(), row.entry.scope.as_str())).collect();
        assert_eq!(told, [("place", "ward:北区"), ("駅", "department:財政課")]);
        assert_eq!((imported.rows[1].line, imported.files[0].1), (3, Format::Csv));
    }

    #[test]
    fn more_rows_than_are_allowed_are_refused_with_a_way_out() {
        let mut text = String::from("surface,reading\n");
        (0..=MAX_ROWS).for_each(|n| text.push_str(&format!("梅田{n},ウメダ\n")));
        let error = import(&[Source { name: "big.csv", bytes: text.as_bytes() }]).unwrap_err();
        assert!(matches!(&error, ImportError::TooMany { line: 50_002, .. }), "{error}");
        assert!(error.to_string().contains("`areas`"));
        let large = vec![b'a'; MAX_FILE_BYTES + 1];
        let error = import(&[Source { name: "big.csv", bytes: &large }]).unwrap_err();
        assert!(matches!(error, ImportError::TooLarge { .. }));
    }
}

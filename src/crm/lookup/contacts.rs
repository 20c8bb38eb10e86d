//! Who is calling, from a local CSV of contacts: exact match on the whole number; several matches are a list, none is normal.

use std::collections::HashMap;

use crate::call::number::Number;
use crate::events::Match;

/// The most matches that are shown for one number.
pub const MOST_MATCHES: usize = 20;

/// Contacts by number.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    by_number: HashMap<Number, Vec<Match>>,
}

/// Why a contacts file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ContactsError {
    /// A column is missing.
    #[error(
        "{file}, line 1: column `{column}` is missing; expected the header id,name,number and, if there is more, note,url"
    )]
    Column {
        /// File name as given.
        file: String,
        /// The column.
        column: &'static str,
    },
    /// A row cannot be used.
    #[error("{file}, line {line}, column `{column}`: {problem}")]
    Row {
        /// File name as given.
        file: String,
        /// 1-based line.
        line: u64,
        /// The column.
        column: &'static str,
        /// What is wrong and what is expected (never the value itself).
        problem: &'static str,
    },
    /// Not CSV, or not in a known encoding.
    #[error("{file}: {problem}; expected CSV in UTF-8 or CP932 (Excel)")]
    Csv {
        /// File name as given.
        file: String,
        /// What the reader said.
        problem: String,
    },
}

impl Contacts {
    /// Reads CSV (UTF-8 with or without BOM, else CP932) with the columns `id,name,number` and optionally `note,url`.
    ///
    /// # Errors
    /// The first bad row with its place; `file` is only used in messages.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Contacts, ContactsError> {
        let text = decode(bytes)
            .ok_or_else(|| ContactsError::Csv { file: file.into(), problem: "neither UTF-8 nor CP932".into() })?;
        let csv_error = |error: csv::Error| ContactsError::Csv { file: file.into(), problem: position(&error) };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
        let header = reader.headers().map_err(csv_error)?.clone();
        let find = |name: &'static str| header.iter().position(|column| column == name);
        let need = |name| find(name).ok_or(ContactsError::Column { file: file.into(), column: name });
        let (id, name, number) = (need("id")?, need("name")?, need("number")?);
        let (note, url) = (find("note"), find("url"));
        let mut by_number: HashMap<Number, Vec<Match>> = HashMap::new();
        for row in reader.records() {
            let row = row.map_err(csv_error)?;
            let line = row.position().map_or(0, csv::Position::line);
            let field = |at: usize| row.get(at).unwrap_or("").to_string();
            let wrong = |column, problem| ContactsError::Row { file: file.into(), line, column, problem };
            if field(id).is_empty() {
                return Err(wrong("id", "empty; expected the contact's id"));
            }
            let key = Number::parse(&field(number));
            if matches!(key, Number::Unknown(_)) {
                return Err(wrong(
                    "number",
                    "not a telephone number; expected for example 06-0000-1234 or +81600001234",
                ));
            }
            let optional = |at: Option<usize>| at.map(field).filter(|text| !text.is_empty());
            let found = Match {
                id: field(id),
                name: field(name),
                note: optional(note),
                url: optional(url),
                ..Match::default()
            };
            let matches = by_number.entry(key).or_default();
            if matches.len() < MOST_MATCHES {
                matches.push(found);
            }
        }
        Ok(Contacts { by_number })
    }

    /// Everybody with exactly this number.
    pub fn find(&self, number: &Number) -> Vec<Match> {
        self.by_number.get(number).cloned().unwrap_or_default()
    }
}

fn decode(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(text.into());
    }
    let (text, _, damaged) = encoding_rs::SHIFT_JIS.decode(bytes);
    (!damaged).then(|| text.into_owned())
}

/// Where a CSV error is, without the values of the row.
fn position(error: &csv::Error) -> String {
    match error.position() {
        Some(place) => format!("line {}: the row cannot be read", place.line()),
        None => "it cannot be read".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "id,name,number,note,url\nC1,橋本 花子,06-0000-1234,住吉区,\nC2,田中,080-0000-5678,,\nC3,田中,０８０－００００－５６７８,,https://crm.example/c3\n";

    #[test]
    fn whole_numbers_only_and_every_match() {
        let contacts = Contacts::parse("contacts.csv", FILE.as_bytes()).unwrap();
        assert_eq!(contacts.find(&Number::parse("+81600001234"))[0].id, "C1");
        assert_eq!(contacts.find(&Number::parse("08000005678")).len(), 2);
        assert!(contacts.find(&Number::parse("03-0000-1234")).is_empty());
    }

    #[test]
    fn excel_files_and_boms_are_read() {
        let (cp932, _, _) = encoding_rs::SHIFT_JIS.encode(FILE);
        assert!(Contacts::parse("c", &cp932).unwrap().find(&Number::parse("0600001234"))[0].name.starts_with("橋本"));
        let bom = [b"\xef\xbb\xbf", FILE.as_bytes()].concat();
        assert_eq!(Contacts::parse("c", &bom).unwrap().find(&Number::parse("0600001234")).len(), 1);
    }

    #[test]
    fn a_bad_row_names_its_place_and_not_its_value() {
        let error = Contacts::parse("c.csv", "id,name,number\nC1,秘密,いろは\n".as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("c.csv, line 2, column `number`") && !error.contains("秘密"), "{error}");
        let error = Contacts::parse("c.csv", b"id,name\n").unwrap_err().to_string();
        assert!(error.contains("column `number` is missing"), "{error}");
    }
}

//! Where the rows of a file go: checked, given what the file says for all its words, counted, bounded.

use super::{How, ImportError, Imported, LeftOut, MAX_PROBLEMS, MAX_ROWS, Row, RowProblem};
use crate::call::scope::Scopes;
use crate::dictionary::entry::{Entry, MAX_VARIANTS, limited};
use crate::dictionary::reading::{self, to_katakana};

/// Why rows of lists that were not made for us are left out.
pub(super) const NOT_KANA: &str = "the reading is not kana, so that it is no sound";
/// A part of speech of input methods that names no word.
pub(super) const NO_WORD: &str =
    "an abbreviation, a sign or a face of an input method, which is not said as it is read";
/// One character is found in everything.
pub(super) const ONE_CHARACTER: &str = "the word is one character, which is a part of too many others";

/// A row as it stands in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft<'t> {
    pub(super) line: u64,
    pub(super) surface: &'t str,
    pub(super) readings: Vec<&'t str>,
    pub(super) class: &'t str,
    pub(super) scope: &'t str,
    pub(super) weight: &'t str,
    pub(super) aliases: Vec<&'t str>,
}

/// What the file calls its columns.
#[derive(Clone, Debug)]
pub(super) struct Names<'n> {
    pub(super) surface: &'n str,
    pub(super) reading: &'n str,
    pub(super) scope: &'n str,
    pub(super) weight: &'n str,
    pub(super) aliases: &'n str,
}

/// Takes the rows of one file.
pub(super) struct Sink<'a> {
    name: &'a str,
    how: &'a How,
    imported: &'a mut Imported,
    problems: Vec<RowProblem>,
}

impl<'a> Sink<'a> {
    /// For the file that was last put into `imported`.
    pub(super) fn new(name: &'a str, how: &'a How, imported: &'a mut Imported) -> Self {
        Self { name, how, imported, problems: Vec::new() }
    }

    pub(super) fn how(&self) -> &'a How {
        self.how
    }

    /// An error about the form of the file.
    pub(super) fn form(&self, line: u64, problem: impl Into<String>) -> ImportError {
        ImportError::Form { file: self.name.to_owned(), line, problem: problem.into() }
    }

    /// An error about the headers of the file.
    pub(super) fn header(&self, missing: &'static str, found: String, example: &'static str) -> ImportError {
        ImportError::Header { file: self.name.to_owned(), missing, found, example }
    }

    /// Notes a wrong row; an error when enough are noted.
    pub(super) fn wrong(&mut self, line: u64, column: &str, problem: impl Into<String>) -> Result<(), ImportError> {
        let (file, column) = (self.name.to_owned(), column.to_owned());
        self.problems.push(RowProblem { file, line, column, problem: problem.into() });
        match self.problems.len() >= MAX_PROBLEMS {
            true => Err(ImportError::Rows(std::mem::take(&mut self.problems))),
            false => Ok(()),
        }
    }

    /// Notes a row that holds no word that could be said.
    pub(super) fn leave_out(&mut self, line: u64, why: &'static str) {
        let file = self.imported.files.len().saturating_sub(1);
        match self.imported.left_out.iter_mut().find(|known| known.file == file && known.why == why) {
            Some(known) => known.count += 1,
            None => self.imported.left_out.push(LeftOut { file, why, count: 1, first: line }),
        }
    }

    /// Takes a row that must be right.
    pub(super) fn take(&mut self, draft: &Draft<'_>, names: &Names<'_>) -> Result<(), ImportError> {
        match entry(draft, names) {
            Ok(entry) => self.keep(draft.line, entry),
            Err((column, problem)) => self.wrong(draft.line, column, problem),
        }
    }

    /// Takes a row of a list that was not made for us: without a reading in kana it is left out.
    pub(super) fn take_spoken(&mut self, draft: &Draft<'_>, names: &Names<'_>) -> Result<(), ImportError> {
        let spoken = |written: &&str| to_katakana(written).is_some_and(|kana| !reading::morae(&kana).is_empty());
        let readings: Vec<&str> = draft.readings.iter().copied().filter(spoken).collect();
        if readings.is_empty() && draft.readings.iter().any(|written| !written.trim().is_empty()) {
            self.leave_out(draft.line, NOT_KANA);
            return Ok(());
        }
        self.take(&Draft { readings, ..draft.clone() }, names)
    }

    /// Takes an entry that is known to be right.
    pub(super) fn keep(&mut self, line: u64, mut entry: Entry) -> Result<(), ImportError> {
        if self.imported.rows.len() >= MAX_ROWS {
            return Err(ImportError::TooMany { file: self.name.to_owned(), line });
        }
        if entry.class.is_empty() {
            entry.class.clone_from(&self.how.class);
        }
        if entry.scope.is_empty() {
            entry.scope.clone_from(&self.how.scope);
        }
        let file = self.imported.files.len().saturating_sub(1);
        self.imported.rows.push(Row { file, line, entry });
        Ok(())
    }

    /// The end of the file.
    pub(super) fn finish(self) -> Result<(), ImportError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ImportError::Rows(self.problems)) }
    }
}

/// The entry of a row, or the column that is wrong and what to do about it.
fn entry<'n>(draft: &Draft<'_>, names: &Names<'n>) -> Result<Entry, (&'n str, String)> {
    let surface = draft.surface.trim();
    if surface.is_empty() {
        return Err((names.surface, "the official spelling is empty. Write it, or delete the row".into()));
    }
    limited(surface).map_err(|problem| (names.surface, problem))?;
    let mut readings = Vec::new();
    for written in draft.readings.iter().map(|written| written.trim()).filter(|written| !written.is_empty()) {
        limited(written).map_err(|problem| (names.reading, problem))?;
        let Some(reading) = to_katakana(written).filter(|kana| !reading::morae(kana).is_empty()) else {
            return Err((names.reading, "a reading may only have hiragana or katakana. Correct the reading".into()));
        };
        // ㌔ is キロ
        limited(&reading).map_err(|problem| (names.reading, problem))?;
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    }
    if readings.is_empty() {
        let problem = "the row has no reading. Write how the word is spoken, in hiragana or katakana";
        return Err((names.reading, problem.into()));
    }
    let weight = match draft.weight.trim() {
        "" => 1.0,
        number => match number.parse::<f32>() {
            Ok(weight) if (0.0..=2.0).contains(&weight) => weight,
            _ => return Err((names.weight, "the weight must be a number from 0 to 2".into())),
        },
    };
    let mut aliases: Vec<String> = Vec::new();
    for alias in draft.aliases.iter().map(|alias| alias.trim()) {
        limited(alias).map_err(|problem| (names.aliases, problem))?;
        if !alias.is_empty() && alias != surface && !aliases.iter().any(|known| known == alias) {
            aliases.push(alias.to_owned());
        }
    }
    for (column, count) in [(names.reading, readings.len()), (names.aliases, aliases.len())] {
        if count > MAX_VARIANTS {
            return Err((
                column,
                format!("more than {MAX_VARIANTS} readings or aliases. Keep those that are really said"),
            ));
        }
    }
    let scope = Scopes::parse(draft.scope).map_err(|error| (names.scope, format!("{error}. Correct the scope")))?;
    let class = draft.class.trim();
    limited(class).map_err(|problem| (names.surface, problem))?;
    let (class, scope) = (class.to_owned(), scope.to_string());
    Ok(Entry { surface: surface.to_owned(), readings, class, scope, weight, aliases })
}

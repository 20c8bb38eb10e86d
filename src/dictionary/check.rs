//! What is doubtful in dictionary files: told by row, so that whoever keeps the list can put it right. Nothing here refuses a file.

use std::collections::HashMap;

use serde::Serialize;

use super::bias::{MIN_CHARS, MIN_MORAE};
use super::entry::Entry;
use super::import::Imported;
use super::lexicon;
use super::reading::{self, Mora, is_katakana};
use crate::call::scope::Scopes;

/// Words of one sound that a word is compared with.
const MOST_COMPARED: usize = 64;

/// What is doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The row can change nothing.
    NoEffect,
    /// It applies to no call.
    Scope,
    /// Words of the same sound: only one of them can be written.
    SameSound,
    /// The row says what another row says.
    Duplicate,
    /// Written in kana that are not the reading.
    Reading,
    /// An alias that does harm or nothing.
    Alias,
    /// An ordinary word, which recognisers know.
    Common,
    /// Too short to be preferred while decoding; it is only put right where it was heard by itself.
    TooShort,
    /// Rows that were left out of a list that was not made for us.
    LeftOut,
}

/// One doubt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Line in it, from 1; 0 where the format has no lines.
    pub line: u64,
    /// What is doubtful.
    pub kind: Kind,
    /// What it is about and what to do.
    pub text: String,
}

/// Looks at every row. `calls` are what the calls of the configuration are; without it scopes are not compared. In order of files and lines.
pub fn check(imported: &Imported, calls: Option<&[Scopes]>) -> Vec<Finding> {
    let mut checker = Checker { imported, found: Vec::new() };
    for index in 0..imported.rows.len() {
        checker.row(index, calls);
    }
    checker.duplicates();
    checker.same_sounds();
    checker.aliases();
    for left in &imported.left_out {
        let text = format!("{} rows are left out, the first here: {}", left.count, left.why);
        checker.found.push((left.file, left.first, Kind::LeftOut, text));
    }
    checker.found.sort_by_key(|(file, line, kind, _)| (*file, *line, *kind));
    let name = |file: usize| imported.files.get(file).map_or_else(String::new, |(name, _)| name.clone());
    let finding = |(file, line, kind, text)| Finding { file: name(file), line, kind, text };
    checker.found.into_iter().map(finding).collect()
}

struct Checker<'a> {
    imported: &'a Imported,
    found: Vec<(usize, u64, Kind, String)>,
}

impl<'a> Checker<'a> {
    fn entry(&self, index: usize) -> Option<&'a Entry> {
        self.imported.rows.get(index).map(|row| &row.entry)
    }

    fn tell(&mut self, index: usize, kind: Kind, text: String) {
        if let Some(row) = self.imported.rows.get(index) {
            self.found.push((row.file, row.line, kind, text));
        }
    }

    /// The place of another row, as seen from this one.
    fn place(&self, from: usize, other: usize) -> String {
        match (self.imported.rows.get(from), self.imported.rows.get(other)) {
            (Some(from), Some(other)) if from.file == other.file => format!("line {}", other.line),
            (_, Some(other)) => {
                let file = self.imported.files.get(other.file).map_or("", |(name, _)| name);
                format!("{file}, line {}", other.line)
            }
            _ => String::new(),
        }
    }

    /// What can be said of a row by itself.
    fn row(&mut self, index: usize, calls: Option<&[Scopes]>) {
        let Some(entry) = self.entry(index) else { return };
        let surface = &entry.surface;
        let longest = entry.readings.iter().map(|kana| reading::morae(kana).len()).max().unwrap_or(0);
        let short = surface.chars().count() < MIN_CHARS || longest < MIN_MORAE;
        let preferred = !short && entry.weight > 0.0;
        let heard_only_as_itself = entry.readings.iter().all(|kana| kana == surface || lexicon::is_common(kana));
        let corrected = !heard_only_as_itself && longest > 1;
        if !preferred && !corrected && entry.aliases.is_empty() {
            let why = if short { "it is too short to be preferred" } else { "its weight is 0" };
            let text = format!("{surface}: no effect; {why}, and its sound is an ordinary word. Delete the row");
            self.tell(index, Kind::NoEffect, text);
        } else if short {
            let text = format!(
                "{surface}: too short to be preferred while decoding ({MIN_CHARS} characters and {MIN_MORAE} morae are needed); it is only \
                 written where its reading was heard as a word of its own. Register it with what is said around it"
            );
            self.tell(index, Kind::TooShort, text);
        }
        if preferred && lexicon::is_common(surface) {
            let text = format!(
                "{surface}: an ordinary word that recognisers know; preferring it gains little and may write it where another was said"
            );
            self.tell(index, Kind::Common, text);
        }
        self.kana(index, entry);
        if let Some(calls) = calls.filter(|_| !entry.scope.is_empty()) {
            let scopes = Scopes::parse(&entry.scope).unwrap_or_default();
            if !calls.iter().any(|call| scopes.apply_to(call)) {
                let text = format!(
                    "{surface}: no line of the configuration has the scope {}. Correct it, or `[[line]] wards` and `departments`",
                    entry.scope
                );
                self.tell(index, Kind::Scope, text);
            }
        }
    }

    /// A spelling in kana alone must be its reading.
    fn kana(&mut self, index: usize, entry: &Entry) {
        let Some(own) = reading::to_katakana(&entry.surface) else { return };
        let sound = reading::morae(&own);
        if !sound.is_empty() && !entry.readings.iter().any(|kana| reading::morae(kana) == sound) {
            let readings = entry.readings.join(", ");
            let text = format!(
                "{}: it is written in kana but none of its readings ({readings}) sounds like it. Correct the reading",
                entry.surface
            );
            self.tell(index, Kind::Reading, text);
        }
    }

    /// Rows with the same spelling where both apply.
    fn duplicates(&mut self) {
        let mut known: HashMap<(&str, &str), usize> = HashMap::new();
        for (index, row) in self.imported.rows.iter().enumerate() {
            let entry = &row.entry;
            let Some(first) = known.get(&(entry.surface.as_str(), entry.scope.as_str())).copied() else {
                known.insert((&entry.surface, &entry.scope), index);
                continue;
            };
            let Some(before) = self.entry(first) else { continue };
            let same = entry.readings.iter().all(|kana| before.readings.contains(kana));
            let place = self.place(index, first);
            let surface = &entry.surface;
            let text = match same {
                true => format!("{surface}: the same word as in {place}. Delete one of the rows"),
                false => {
                    format!("{surface}: also in {place}; the readings of both rows are used, the weight of the first")
                }
            };
            self.tell(index, Kind::Duplicate, text);
        }
    }

    /// Different spellings of one sound that may apply to the same call.
    fn same_sounds(&mut self) {
        let rows = self.imported.rows.iter();
        let scopes: Vec<Scopes> = rows.map(|row| Scopes::parse(&row.entry.scope).unwrap_or_default()).collect();
        let mut known: HashMap<Vec<Mora>, Vec<usize>> = HashMap::new();
        for (index, row) in self.imported.rows.iter().enumerate() {
            let mut told = false;
            for kana in &row.entry.readings {
                let others = known.entry(reading::morae(kana)).or_default();
                let meets = |other: &&usize| {
                    let both = scopes.get(index).zip(scopes.get(**other));
                    self.entry(**other).is_some_and(|other| other.surface != row.entry.surface)
                        && both.is_some_and(|(own, other)| own.meet(other))
                };
                if let Some(other) = others.iter().find(meets).copied().filter(|_| !told) {
                    let surface = self.entry(other).map_or("", |other| &other.surface);
                    let place = self.place(index, other);
                    let text = format!(
                        "{}: sounds like {surface} ({place}), so that only one of them is written where {kana} is heard: that of the greater \
                         weight, else the first. Give one a scope, or take it out",
                        row.entry.surface
                    );
                    self.tell(index, Kind::SameSound, text);
                    told = true;
                }
                if others.len() < MOST_COMPARED && others.last() != Some(&index) {
                    others.push(index);
                }
            }
        }
    }

    /// Aliases that other rows make useless, or that are ordinary words.
    fn aliases(&mut self) {
        let surfaces: HashMap<&str, usize> =
            self.imported.rows.iter().enumerate().map(|(index, row)| (row.entry.surface.as_str(), index)).collect();
        let mut known: HashMap<&str, usize> = HashMap::new();
        for (index, row) in self.imported.rows.iter().enumerate() {
            for alias in &row.entry.aliases {
                if let Some(other) = surfaces.get(alias.as_str()) {
                    let place = self.place(index, *other);
                    self.tell(
                        index,
                        Kind::Alias,
                        format!("the alias {alias} is the official spelling in {place}, which stays. Delete the alias"),
                    );
                } else if let Some(other) = known
                    .get(alias.as_str())
                    .filter(|other| self.entry(**other).is_some_and(|entry| entry.surface != row.entry.surface))
                {
                    let place = self.place(index, *other);
                    self.tell(
                        index,
                        Kind::Alias,
                        format!("the alias {alias} is already one in {place}, which gets it. Delete one of them"),
                    );
                } else if lexicon::is_common(alias) {
                    let short = alias.chars().all(is_katakana) || alias.chars().count() < 3;
                    let text = format!(
                        "the alias {alias} is an ordinary word: wherever it is said, {} will be written{}",
                        row.entry.surface,
                        if short { ". Delete it" } else { "" }
                    );
                    self.tell(index, Kind::Alias, text);
                }
                known.entry(alias).or_insert(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::import::{How, Source, read};
    use super::*;

    fn findings(text: &str, calls: Option<&[Scopes]>) -> Vec<(u64, Kind)> {
        let how = How::default();
        let imported = read(&[(Source { name: "words.csv", bytes: text.as_bytes() }, &how)]).unwrap();
        check(&imported, calls).into_iter().map(|finding| (finding.line, finding.kind)).collect()
    }

    #[test]
    fn a_good_list_has_no_doubts() {
        assert_eq!(findings("surface,reading\n我孫子,アビコ\n立売堀,イタチボリ\n", None), []);
    }

    #[test]
    fn each_doubt_is_told_at_its_row() {
        let text = "surface,reading,weight,aliases,scope\n\
            瑞光,ズイコウ,,,\n瑞光,ズイコウ,,,\n随光,ズイコー,,,\n津,ツ,,,\n馬巣,バス,0,,\n区役所,クヤクショ,,,\nかしま,カジマ,,,\n\
            出戸,デト,,バス|瑞光,\n三国,ミクニ,,,ward:淀川区\n";
        let calls = [Scopes::parse("ward:北区").unwrap()];
        let expected = [
            (3, Kind::Duplicate),
            (4, Kind::SameSound),
            (5, Kind::NoEffect),
            (6, Kind::NoEffect),
            (7, Kind::Common),
            (8, Kind::Reading),
            (9, Kind::Alias),
            (9, Kind::Alias),
            (9, Kind::TooShort),
            (10, Kind::Scope),
        ];
        let found = findings(text, Some(&calls));
        for one in expected {
            assert!(found.contains(&one), "{one:?} is missing in {found:?}");
        }
        assert!(!findings(text, None).contains(&(10, Kind::Scope)));
    }

    #[test]
    fn words_of_one_sound_in_different_wards_do_not_meet() {
        let of = |a: &str, b: &str| {
            findings(&format!("surface,reading,scope\n本荘,ホンジョウ,{a}\n本庄,ホンジョウ,{b}\n"), None)
        };
        assert_eq!(of("ward:北区", "ward:港区"), []);
        for (a, b) in [("ward:北区", ""), ("ward:北区|ward:港区", "ward:北区"), ("北区", "ward:北区")] {
            assert_eq!(of(a, b), [(3, Kind::SameSound)], "{a} {b}");
        }
    }
}

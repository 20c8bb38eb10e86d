//! `kakehashi dictionary`: looks at word lists, changes them from one format into another, tries them on sound or text, and tells what they did.

mod report;
mod trial;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::bridge::reload;
use crate::config::Config;
use crate::dictionary::check::{Finding, Kind, check};
use crate::dictionary::export::export;
use crate::dictionary::import::{FORMATS, read};
use crate::dictionary::settings::SourceSettings;
use crate::dictionary::{Dictionary, Format, How, Imported, Settings, Source};

/// Check, convert and try the municipality's words; tell what they did.
#[derive(Debug, Args)]
pub struct DictionaryArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DictionaryCommand,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum DictionaryCommand {
    /// Tell every row that is wrong or doubtful. A wrong row ends it with 1, doubts only with --strict.
    Check {
        /// Which words.
        #[command(flatten)]
        lists: Lists,
        /// End with 1 when there is any doubt.
        #[arg(long)]
        strict: bool,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Write word lists of any format as our CSV; what was left out is told on standard error.
    Import {
        /// Which words.
        #[command(flatten)]
        lists: Lists,
        /// Where to write; standard output when it is not given.
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Write words for another program, or compiled for delivery.
    Export {
        /// Which words.
        #[command(flatten)]
        lists: Lists,
        /// Format of the file: csv, ms-ime, google, atok, amivoice-json, amivoice, mecab or compiled.
        #[arg(long = "to", value_name = "FORMAT", value_parser = format)]
        to: Format,
        /// Where to write; standard output when it is not given.
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Try words on WAV files or on texts: which were preferred while decoding, which were put right.
    Test(trial::TestArgs),
    /// Tell from the stored texts which words had no effect, which were probably written where they were not said, and which names are missing.
    ///
    /// What it prints may hold names of callers: it is personal data.
    Report(report::ReportArgs),
}

/// Word lists and how they are read.
#[derive(Clone, Debug, Default, Args)]
pub struct Lists {
    /// Word lists; each is found by its content.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How they are read.
    #[command(flatten)]
    pub reading: Reading,
}

/// How word lists are read.
#[derive(Clone, Debug, Default, Args)]
pub struct Reading {
    /// Configuration file: its word lists when no other is given, its lines for the scopes, its thresholds.
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Format of the lists, when it is not found by itself: csv, ms-ime, google, atok, amivoice-json, amivoice, mecab, ken-all, utf-ken-all or
    /// compiled.
    #[arg(long, value_name = "FORMAT", value_parser = format, default_value = "auto")]
    pub format: Format,
    /// Municipality or prefecture to take of a postal list, by code or name; may be repeated.
    #[arg(long = "area", value_name = "AREA")]
    pub areas: Vec<String>,
    /// The places of a ward in a postal list apply to calls of that ward only.
    #[arg(long)]
    pub wards_as_scope: bool,
    /// Where words apply that say nothing themselves, for example ward:北区.
    #[arg(long, default_value = "", value_name = "SCOPE")]
    pub scope: String,
    /// What words are that say nothing themselves, for example facility.
    #[arg(long, default_value = "", value_name = "CLASS")]
    pub class: String,
}

/// Why words cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DictionaryError {
    /// Nothing says which words.
    #[error("no word list; expected files, or --config with a file whose [dictionary] has files or sources")]
    Nothing,
    /// A file cannot be read.
    #[error("{}: {source}. Check the path", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{}: {source}. Check the folder and its permissions", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// An option is wrong.
    #[error("--{option}: {problem}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// There are doubts, and they count.
    #[error("{0} doubts; they are told above")]
    Doubts(usize),
}

fn format(name: &str) -> Result<Format, String> {
    let known = FORMATS.iter().find(|(_, own)| *own == name).map(|(format, _)| *format);
    known.ok_or_else(|| format!("expected one of {}", FORMATS.map(|(_, name)| name).join(", ")))
}

/// Runs the subcommand.
///
/// # Errors
/// When a list, the configuration or the store cannot be used.
pub fn run(args: &DictionaryArgs) -> super::Result {
    match &args.command {
        DictionaryCommand::Check { lists, strict, json } => looked_at(lists, *strict, *json),
        DictionaryCommand::Import { lists, out } => written(lists.read()?, Format::Csv, out.as_deref()),
        DictionaryCommand::Export { lists, to, out } => written(lists.read()?, *to, out.as_deref()),
        DictionaryCommand::Test(args) => trial::run(args),
        DictionaryCommand::Report(args) => report::run(args),
    }
}

impl Lists {
    /// Reads the rows.
    fn read(&self) -> Result<Imported, Box<dyn std::error::Error + Send + Sync>> {
        self.reading.read(&self.files)
    }
}

impl Reading {
    fn config(&self) -> Result<Option<Config>, crate::config::ConfigError> {
        self.config.as_deref().map(super::load_config).transpose()
    }

    fn how(&self) -> Result<How, DictionaryError> {
        let source = SourceSettings {
            format: self.format,
            areas: self.areas.clone(),
            wards_as_scope: self.wards_as_scope,
            scope: self.scope.clone(),
            class: self.class.clone(),
            ..SourceSettings::default()
        };
        let option = |key| if key == "areas" { "area" } else { key };
        source.how().map_err(|(key, problem)| DictionaryError::Option { option: option(key), problem })
    }

    /// Reads the rows of `files`, or of the configuration when there are none.
    fn read(&self, files: &[PathBuf]) -> Result<Imported, Box<dyn std::error::Error + Send + Sync>> {
        if files.is_empty() {
            let settings = self.config()?.map(|config| config.dictionary).ok_or(DictionaryError::Nothing)?;
            if settings.files.is_empty() && settings.source.is_empty() {
                return Err(DictionaryError::Nothing.into());
            }
            return Ok(reload::words(&settings)?);
        }
        let how = self.how()?;
        let mut contents = Vec::new();
        for path in files {
            let bytes =
                std::fs::read(path).map_err(|source| DictionaryError::Unreadable { path: path.clone(), source })?;
            contents.push((path.display().to_string(), bytes));
        }
        let sources: Vec<(Source<'_>, &How)> =
            contents.iter().map(|(name, bytes)| (Source { name, bytes }, &how)).collect();
        Ok(read(&sources)?)
    }

    /// The dictionary of `files` or of the configuration, with the configuration's thresholds and lines.
    fn dictionary(&self, files: &[PathBuf]) -> Result<Dictionary, Box<dyn std::error::Error + Send + Sync>> {
        let config = self.config()?;
        let settings = config.as_ref().map_or_else(Settings::default, |config| config.dictionary.clone());
        let calls = config.as_ref().map(reload::calls).unwrap_or_default();
        Ok(Dictionary::of_entries(self.read(files)?.into_entries(), &settings).prepared(&calls))
    }
}

fn looked_at(lists: &Lists, strict: bool, json: bool) -> super::Result {
    let imported = lists.read()?;
    let calls = lists.reading.config()?.as_ref().map(reload::calls);
    let findings = check(&imported, calls.as_deref());
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        if json {
            writeln!(out, "{}", serde_json::to_string(finding)?)?;
        } else {
            writeln!(out, "{}", line_of(finding))?;
        }
    }
    let doubts = findings.iter().filter(|finding| finding.kind != Kind::LeftOut).count();
    if !json {
        for (index, (name, format)) in imported.files.iter().enumerate() {
            let rows = imported.rows.iter().filter(|row| row.file == index).count();
            writeln!(out, "{name}: {}, {rows} rows", format.name())?;
        }
        writeln!(out, "{} words, {doubts} doubts", imported.into_entries().len())?;
    }
    if strict && doubts > 0 { Err(DictionaryError::Doubts(doubts).into()) } else { Ok(()) }
}

fn line_of(finding: &Finding) -> String {
    let kind = serde_json::to_value(finding.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
    let kind = kind.unwrap_or_default();
    match finding.line {
        0 => format!("{}: {kind}: {}", finding.file, finding.text),
        line => format!("{}, line {line}: {kind}: {}", finding.file, finding.text),
    }
}

fn told_left_out(imported: &Imported) {
    for left in &imported.left_out {
        let file = imported.files.get(left.file).map_or("", |(name, _)| name);
        eprintln!("{file}: {} rows are left out, the first in line {}: {}", left.count, left.first, left.why);
    }
}

fn written(imported: Imported, format: Format, out: Option<&Path>) -> super::Result {
    told_left_out(&imported);
    let entries = imported.into_entries();
    let exported = export(&entries, format)?;
    match out {
        Some(path) => std::fs::write(path, &exported.bytes)
            .map_err(|source| DictionaryError::Unwritable { path: path.into(), source })?,
        None => std::io::stdout().lock().write_all(&exported.bytes)?,
    }
    if exported.left_out > 0 {
        eprintln!("{} rows are left out: the format cannot hold them", exported.left_out);
    }
    if exported.lossy {
        eprintln!("scopes, weights and aliases are not in this format; keep the words as CSV too");
    }
    if out.is_some() {
        eprintln!("{} words written", entries.len());
    }
    Ok(())
}

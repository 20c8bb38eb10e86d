//! `kakehashi dictionary report`: what the dictionary did, from the texts of the store or of a file of events.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use clap::Args;

use super::{DictionaryError, Reading};
use crate::dictionary::Format;
use crate::dictionary::export::export;
use crate::dictionary::proposals::rows;
use crate::dictionary::report::{Report, Summary};
use crate::events::{Data, Event};
use crate::outbox::store::Outbox;

/// Types of the events that are read.
const FINAL: &str = "kakehashi.transcript.final.v1";
const CORRECTED: &str = "kakehashi.transcript.corrected.v1";

/// Arguments of `dictionary report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Events as the webhook gets them, one JSON object a line; instead of the store of --config.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Word lists; may be repeated. Without one, those of --config.
    #[arg(long, value_name = "FILE")]
    pub dictionary: Vec<PathBuf>,
    /// How they are read.
    #[command(flatten)]
    pub reading: Reading,
    /// A missing name must be in so many contacts.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub contacts: u64,
    /// Write what people put right as rows of our CSV, to be looked through: words of the dictionary with what was heard as aliases.
    #[arg(long, value_name = "FILE")]
    pub aliases: Option<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Runs the subcommand.
pub(super) fn run(args: &ReportArgs) -> crate::cli::Result {
    let dictionary = args.reading.dictionary(&args.dictionary)?;
    let mut report = Report::new(&dictionary);
    match &args.events {
        Some(path) => {
            let unreadable = |source| DictionaryError::Unreadable { path: path.clone(), source };
            let file = std::fs::File::open(path).map_err(unreadable)?;
            for (n, line) in std::io::BufReader::new(file).lines().enumerate() {
                let line = line.map_err(unreadable)?;
                if line.trim().is_empty() {
                    continue;
                }
                let event = Event::from_json(&line).map_err(|error| {
                    // what the reader says may quote the event
                    format!(
                        "{}, line {}, column {}: no event as the webhook gets them",
                        path.display(),
                        n + 1,
                        error.column()
                    )
                })?;
                add(&mut report, &event.contact.to_string(), &event);
            }
        }
        None => {
            let outbox = stored(args)?;
            for kind in [FINAL, CORRECTED] {
                outbox.each_of_type(kind, |contact, event| add(&mut report, contact, &event))?;
            }
        }
    }
    let found = report.finish(args.contacts);
    if let Some(path) = &args.aliases {
        let rows = rows(&dictionary, &found.misheard);
        std::fs::write(path, &export(&rows, Format::Csv)?.bytes)
            .map_err(|source| DictionaryError::Unwritable { path: path.clone(), source })?;
        eprintln!("{} words with aliases to be looked through", rows.len());
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
        return Ok(());
    }
    print(&mut out, &found)
}

fn add(report: &mut Report<'_>, contact: &str, event: &Event) {
    match &event.data {
        Data::TranscriptFinal(text) => report.add(contact, text),
        Data::TranscriptCorrected(text) => report.add_corrected(contact, text),
        _ => {}
    }
}

fn stored(args: &ReportArgs) -> Result<Outbox, Box<dyn std::error::Error + Send + Sync>> {
    let config = args.reading.config()?.ok_or_else(|| DictionaryError::Option {
        option: "config",
        problem: "nothing says where the texts are; expected --config, or --events with a file".into(),
    })?;
    let path = config.node.data_dir.join("outbox.db");
    if !path.exists() {
        return Err(format!("{}: there is no store yet; the bridge makes it at its first start", path.display()).into());
    }
    let endpoints: Vec<String> = config.endpoint.iter().map(|endpoint| endpoint.id.clone()).collect();
    Ok(Outbox::open(&config.node.data_dir, &config.outbox, &endpoints)?.0)
}

fn print(out: &mut impl Write, found: &Summary) -> crate::cli::Result {
    writeln!(out, "{} texts of {} contacts", found.texts, found.contacts)?;
    for (version, texts) in &found.versions {
        let version = if version.is_empty() { "no dictionary" } else { version };
        writeln!(out, "  {texts} with {version}")?;
    }
    writeln!(out, "{} words without effect (in no text, put nothing right)", found.without_effect.len())?;
    for word in &found.without_effect {
        writeln!(out, "  {word}")?;
    }
    writeln!(out, "{} words that were probably written where they were not said", found.doubtful.len())?;
    for word in &found.doubtful {
        let instead =
            if word.instead.is_empty() { String::new() } else { format!("; heard: {}", word.instead.join(", ")) };
        writeln!(
            out,
            "  {}: {} of {} places are weak ({} corrections){instead}",
            word.surface, word.weak, word.written, word.corrected
        )?;
    }
    writeln!(out, "{} names that no word sounds like", found.candidates.len())?;
    for name in &found.candidates {
        writeln!(
            out,
            "  {}: {} times in {} contacts, confidence {:.2}",
            name.heard, name.times, name.contacts, name.confidence
        )?;
    }
    writeln!(out, "{} words that people put right", found.misheard.len())?;
    for one in &found.misheard {
        let what = match (one.word, one.common) {
            (true, false) => "alias",
            (true, true) => "no alias: it is an ordinary word",
            (false, _) => "not in the dictionary",
        };
        writeln!(
            out,
            "  {} for {}: {} times in {} contacts ({what})",
            one.heard, one.written, one.times, one.contacts
        )?;
    }
    Ok(())
}

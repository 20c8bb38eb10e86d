//! `kakehashi eval`: how well a set of utterances is recognised, without a dictionary, with each of its layers, and with both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use sha2::{Digest, Sha256};

use super::score::{Words, normalise};
use crate::dictionary::{self, Dictionary, Entry, Settings, Source, second_hearing};
use crate::speech::{Hypothesis, Recognizer};

mod hear;
mod report;
mod set;
mod show;

use hear::{Heard, Kept, Way, hear};
use report::{Report, Size, Spent, Texts};
use set::{Kind, Line, Listed};
use show::{Shown, Which};

/// The layers together, as in calls.
const ALL: &str = "all";

/// Measure recognition on a set of utterances.
///
/// DIR holds `utterances.jsonl`, one object a line: `file` (WAV, 8 or 16 kHz, mono, 16 bit, relative to DIR), `text` (what was said) and
/// optionally `terms` (names that the model cannot know) and `kind` (entry, alike, other, none: what is said in it). Each figure comes with a
/// 95 % interval. samples/evaluation.py makes such sets.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Folder with `utterances.jsonl`.
    pub dir: PathBuf,
    /// Dictionary CSV; may be repeated.
    #[arg(long, required_unless_present = "plain", value_name = "FILE")]
    pub dictionary: Vec<PathBuf>,
    /// Whisper model in ggml format.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Spoken language, as Whisper names it.
    #[arg(long, default_value = "ja", value_name = "CODE")]
    pub language: String,
    /// Threads of each recogniser.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: u16,
    /// Recognisers that work at the same time; the figures do not depend on it.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub jobs: usize,
    /// One JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Only without a dictionary, once for each utterance (for comparisons with other programs).
    #[arg(long, conflicts_with_all = ["dictionary", "distractors", "prompt"])]
    pub plain: bool,
    /// Words that nobody says, as a dictionary CSV in random order: the dictionary gets the first of them, in each number of `--sizes`.
    #[arg(long, value_name = "FILE")]
    pub distractors: Option<PathBuf>,
    /// Numbers of distractors.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 100, 1_000, 10_000], value_name = "N,…", requires = "distractors")]
    pub sizes: Vec<usize>,
    /// Words that count as keywords, as a dictionary CSV, when they are not all of the dictionary's.
    #[arg(long, value_name = "FILE")]
    pub keywords: Option<PathBuf>,
    /// Also measure the prompt layer by itself, and with the others.
    #[arg(long)]
    pub prompt: bool,
    /// Only the first N utterances.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Only utterances of this kind; may be repeated.
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,
    /// What the line does to the sound.
    #[command(flatten)]
    pub line: Line,
    /// Hypotheses are read from this file where it has them and added where not, so that settings of the correction can be tried without
    /// decoding again. One file can serve several sets and models; remove it when the recogniser or the bias themselves were changed.
    #[arg(long, value_name = "FILE")]
    pub kept: Option<PathBuf>,
    /// Also list utterances with what was said and what each layer wrote (goes to standard error); may be repeated.
    #[arg(long, value_name = "WHICH")]
    show: Vec<Which>,
    /// Resampled sets for the intervals.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub resamples: usize,
    /// Settings of the dictionary to try, `key=value` as in the configuration file; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Why a set could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file could not be read.
    #[error("{}: {source}. Check the path", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line of the list is wrong.
    #[error("{}, line {line}: {problem}; expected an object with \"file\" and \"text\"", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: serde_json::Error,
    },
    /// A line of the kept hypotheses is wrong.
    #[error("{}, line {line}: {problem}. Remove the file and decode again", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: serde_json::Error,
    },
    /// A recogniser panicked.
    #[error("a recogniser stopped working; run again with --jobs 1 to see where")]
    Broken,
    /// The set is empty.
    #[error("{}: no utterance in it", .0.display())]
    Empty(PathBuf),
    /// A sound file cannot be used.
    #[error("{}: {problem}; expected WAV, 8 or 16 kHz, mono, 16 bit. Convert it, for example with `sox IN -r 8000 -c 1 -b 16 OUT`", path.display())]
    Sound {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A dictionary cannot be used.
    #[error(transparent)]
    Dictionary(#[from] crate::dictionary::ImportError),
    /// `--set` is wrong.
    #[error("--set {0}: {1}")]
    Setting(String, String),
    /// The recogniser failed.
    #[error("{}: {failure}", path.display())]
    Recognition {
        /// The utterance.
        path: PathBuf,
        /// What it says.
        failure: crate::speech::Failure,
    },
}

/// A dictionary with so many distractors.
struct Sized {
    distractors: usize,
    layers: Vec<Layer>,
}

/// One or several of the layers of a dictionary.
struct Layer {
    name: &'static str,
    dictionary: Arc<Dictionary>,
    /// The number of the way in which an utterance is heard a second time.
    second: Option<usize>,
}

/// Runs the subcommand.
///
/// # Errors
/// [`EvalError`] names the file and the remedy.
pub fn run(args: EvalArgs) -> super::Result {
    let open = |_| super::model::open(&args.model, &args.language, args.threads);
    let recognizers = (0..args.jobs.max(1)).map(open).collect::<Result<Vec<_>, _>>()?;
    run_with(&args, recognizers)
}

/// Runs the subcommand with recognisers that are open already.
///
/// # Errors
/// As [`run`].
pub fn run_with(args: &EvalArgs, recognizers: Vec<Box<dyn Recognizer>>) -> super::Result {
    let report = measure(args, recognizers)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        std::io::Write::write_all(&mut out, b"\n")?;
    } else {
        report::print(&mut out, &report)?;
    }
    Ok(())
}

fn measure(args: &EvalArgs, recognizers: Vec<Box<dyn Recognizer>>) -> Result<Report, EvalError> {
    let mut listed = set::list(&args.dir)?;
    listed.retain(|one| args.kind.is_empty() || args.kind.contains(&one.kind));
    listed.truncate(args.limit.unwrap_or(usize::MAX));
    let own = entries(&args.dictionary)?;
    let keywords = match &args.keywords {
        Some(file) => entries(std::slice::from_ref(file))?,
        None => own.clone(),
    };
    let keywords = words(&keywords);
    let line = args.line.name();
    let place = format!("{} {line}", set::digest(&args.dir.join("utterances.jsonl"), args.model.as_path())?);
    let (sized, ways) = dictionaries(args, &own, &place)?;
    let heard = hear(&args.dir, &listed, &ways, &args.line, Kept::open(args.kept.as_ref())?, recognizers)?;
    let off = |one: &Heard| one.hypothesis(0).cloned().unwrap_or_default();
    let plain: Vec<Texts> = texts(&listed, &heard, |one| (vec![off(one).text], false));
    let mut report = Report {
        utterances: listed.len(),
        seconds: heard.iter().map(|one| one.seconds).sum(),
        kinds: Kind::ALL
            .into_iter()
            .map(|kind| {
                let seconds = plain.iter().filter(|one| one.kind == kind).map(|one| one.seconds);
                (kind.name(), seconds.clone().count(), seconds.sum())
            })
            .filter(|(_, utterances, _)| *utterances > 0)
            .collect(),
        line,
        characters: listed.iter().map(|one| normalise(&one.text).len() as u64).sum(),
        keywords_said: 0,
        keywords_distinct: 0,
        terms_said: listed.iter().map(|one| one.terms.len() as u64).sum(),
        model: heard.first().map_or_else(String::new, |one| off(one).model),
        engine: super::model::engine(),
        decode_ms_without: heard.iter().map(|one| u64::from(off(one).decode_ms)).sum(),
        layers: report::layers(&plain, &["off"], &keywords, &keywords, args.resamples),
        sizes: Vec::new(),
    };
    (report.keywords_said, report.keywords_distinct) = keywords.said(listed.iter().map(|one| one.text.as_str()));
    for one in &sized {
        report.sizes.push(size(args, one, &listed, &heard, &keywords));
    }
    Ok(report)
}

/// The dictionaries of all sizes and the ways to decode that they need; the first way is without one. `place` names set, model and line.
fn dictionaries(args: &EvalArgs, own: &[Entry], place: &str) -> Result<(Vec<Sized>, Vec<Way>), EvalError> {
    let mut ways = vec![Way { name: place.to_owned(), help: None }];
    let mut sized = Vec::new();
    if args.plain {
        return Ok((sized, ways));
    }
    let settings = settings(&args.set)?;
    let distractors = entries(args.distractors.as_slice())?;
    let sizes: &[usize] = if args.distractors.is_some() { &args.sizes } else { &[0] };
    for &size in sizes {
        let mut entries: Vec<Entry> = own.iter().chain(distractors.iter().take(size)).cloned().collect();
        // in no order that a rule could profit from
        entries.sort_by_cached_key(|entry| Sha256::digest(&entry.surface).to_vec());
        let layers = layers(&entries, &settings, args.prompt, place, &mut ways);
        sized.push(Sized { distractors: size.min(distractors.len()), layers });
    }
    Ok((sized, ways))
}

/// The layers of one dictionary, each by itself and together; what they need to be heard is added to `ways`.
fn layers(entries: &[Entry], settings: &Settings, prompt: bool, place: &str, ways: &mut Vec<Way>) -> Vec<Layer> {
    let none = Settings { bias: false, correct: false, prompt: false, ..settings.clone() };
    let mut wanted = vec![
        ("bias", Settings { bias: true, ..none.clone() }),
        ("correction", Settings { correct: true, ..none.clone() }),
        ("all", settings.clone()),
    ];
    if prompt {
        wanted.insert(2, ("prompt", Settings { prompt: true, ..none }));
        wanted.push(("all and prompt", Settings { prompt: true, ..settings.clone() }));
    }
    let layer = |(name, settings): (&'static str, Settings)| {
        let dictionary = Arc::new(Dictionary::of_entries(entries.to_vec(), &settings));
        let second = (settings.bias || settings.prompt).then(|| second(&dictionary, &settings, place, ways));
        Layer { name, dictionary, second }
    };
    wanted.into_iter().map(layer).collect()
}

/// The number of the way to hear an utterance a second time as `dictionary` wants it; what changes no decode does not change its name.
fn second(dictionary: &Arc<Dictionary>, settings: &Settings, place: &str, ways: &mut Vec<Way>) -> usize {
    let mut named = Settings { correct: false, bias_accept_nats: 0.0, ..settings.clone() };
    if !named.prompt {
        (named.correct_distance, named.correct_below) = (0.0, 0.0);
    }
    let version = Dictionary::of_entries(dictionary.entries().to_vec(), &named).version().to_owned();
    let name = format!("{place}|second {version}");
    if let Some(known) = ways.iter().position(|way| way.name == name) {
        return known;
    }
    let helping = dictionary.clone();
    let help = move |plain: &Hypothesis| second_hearing(plain).then(|| helping.help(&plain.text)).flatten();
    ways.push(Way { name, help: Some(Box::new(help)) });
    ways.len() - 1
}

/// The figures of one dictionary.
fn size(args: &EvalArgs, sized: &Sized, listed: &[Listed], heard: &[Heard], keywords: &Words) -> Size {
    let (mut times, mut heard_twice, mut decode_ms_with) = (Vec::new(), 0, 0);
    let mut names = vec!["off"];
    names.extend(sized.layers.iter().map(|layer| layer.name));
    let texts = texts(listed, heard, |one| {
        let off = one.hypothesis(0).cloned().unwrap_or_default();
        let (mut texts, mut untouched) = (vec![off.text.clone()], false);
        for layer in &sized.layers {
            let second = layer.second.and_then(|way| one.hypothesis(way));
            let began = Instant::now();
            let joined =
                second.map_or_else(|| off.clone(), |second| dictionary::heard_twice(off.clone(), second.clone()));
            let corrected = layer.dictionary.correct(&joined);
            if layer.name == ALL {
                times.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
                heard_twice += usize::from(second.is_some());
                decode_ms_with += second.map_or(0, |second| u64::from(second.decode_ms));
                untouched = joined.text == off.text && corrected.corrections.is_empty();
            }
            texts.push(corrected.text);
        }
        (texts, untouched)
    });
    let all = sized.layers.iter().position(|layer| layer.name == ALL).unwrap_or(0);
    let dictionary = &sized.layers[all].dictionary;
    let every = words(dictionary.entries());
    let shown = Shown { all: all + 1, names: &names, keywords, every: &every };
    for (listed, (texts, heard)) in listed.iter().zip(texts.iter().zip(heard)) {
        let second = sized.layers[all].second.and_then(|way| heard.hypothesis(way));
        if args.show.iter().any(|which| shown.wanted(*which, texts)) {
            shown.show(sized.distractors, &listed.file, texts, second);
        }
    }
    let untouched = texts.iter().filter(|one| one.untouched);
    let same = |one: &&Texts| one.layers.first() == one.layers.get(all + 1);
    Size {
        distractors: sized.distractors,
        entries: dictionary.entries().len(),
        dictionary: dictionary.version().to_owned(),
        heard_twice,
        decode_ms_with,
        correct_us: Spent::of(times),
        untouched: untouched.clone().count(),
        untouched_identical: untouched.filter(same).count(),
        layers: report::layers(&texts, &names, keywords, &every, args.resamples),
    }
}

fn texts(listed: &[Listed], heard: &[Heard], mut of: impl FnMut(&Heard) -> (Vec<String>, bool)) -> Vec<Texts> {
    listed
        .iter()
        .zip(heard)
        .map(|(listed, heard)| {
            let (layers, untouched) = of(heard);
            let Listed { text, terms, kind, .. } = listed.clone();
            Texts { said: text, terms, kind, seconds: heard.seconds, layers, untouched }
        })
        .collect()
}

fn words(entries: &[Entry]) -> Words {
    Words::of(entries.iter().map(|entry| entry.surface.as_str()))
}

fn entries(files: &[PathBuf]) -> Result<Vec<Entry>, EvalError> {
    let mut read = Vec::new();
    for path in files {
        let bytes = std::fs::read(path).map_err(|source| EvalError::Unreadable { path: path.clone(), source })?;
        read.push((path.display().to_string(), bytes));
    }
    let sources: Vec<Source<'_>> = read.iter().map(|(name, bytes)| Source { name, bytes }).collect();
    let nothing = Settings { bias: false, correct: false, ..Settings::default() };
    Ok(Dictionary::load(&sources, &nothing)?.entries().to_vec())
}

fn settings(pairs: &[String]) -> Result<Settings, EvalError> {
    toml::from_str(&pairs.join("\n")).map_err(|error| EvalError::Setting(pairs.join(" "), error.message().to_owned()))
}

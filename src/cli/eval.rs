//! `kakehashi eval`: how well a set of utterances is recognised, without a dictionary, with each of its layers, and with both.

use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::score::{Score, Share, Words, bootstrap, score};
use crate::dictionary::{Dictionary, Settings, Source};
use crate::media::resample::Upsampler;
use crate::speech::{Bias, Hypothesis, Recognizer};

/// Measure recognition on a set of utterances.
///
/// DIR holds `utterances.jsonl`, one object a line: `file` (WAV, 8 or 16 kHz, mono, 16 bit, relative to DIR), `text` (what was said) and
/// optionally `terms` (names that the model cannot know). Each figure comes with a 95 % bootstrap interval over utterances.
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
    /// Threads of the recogniser.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: u16,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Only without a dictionary, once for each utterance (for comparisons with other programs).
    #[arg(long, conflicts_with = "dictionary")]
    pub plain: bool,
    /// Words that count as keywords, as a dictionary CSV, when they are not all of the dictionary's (for lists with many distractors).
    #[arg(long, value_name = "FILE")]
    pub keywords: Option<PathBuf>,
    /// Also list each utterance whose text differs from what was said (goes to standard error).
    #[arg(long)]
    pub misses: bool,
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

/// One line of `utterances.jsonl`.
#[derive(Debug, Deserialize)]
struct Listed {
    file: PathBuf,
    text: String,
    #[serde(default)]
    terms: Vec<String>,
}

/// What was written for one utterance, by layer.
struct Heard {
    said: String,
    terms: Vec<String>,
    off: String,
    bias: String,
    correction: String,
    both: String,
    /// No bonus fired while decoding with bias, and nothing was corrected.
    untouched: bool,
    seconds: f64,
}

/// The figures of one layer.
#[derive(Debug, Serialize)]
struct Layer {
    name: &'static str,
    cer: Option<Share>,
    cer_inside: Option<Share>,
    cer_outside: Option<Share>,
    recall: Option<Share>,
    precision: Option<Share>,
    terms_recall: Option<Share>,
    false_insertions: u64,
    false_insertions_per_hour: f64,
    /// Share of the keyword misses without dictionary that are gone.
    misses_removed: Option<Share>,
    /// Change outside the words against no dictionary, in points.
    outside_change: Option<Share>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    utterances: usize,
    seconds: f64,
    characters: u64,
    keywords_said: u64,
    terms_said: u64,
    entries: usize,
    dictionary: String,
    model: String,
    engine: String,
    decode_ms_without: u64,
    decode_ms_with: u64,
    /// Utterances where no bonus fired and no correction was made.
    untouched: usize,
    /// … whose text is the text without a dictionary; must be all of them.
    untouched_identical: usize,
    layers: Vec<Layer>,
}

/// Runs the subcommand.
///
/// # Errors
/// [`EvalError`] names the file and the remedy.
pub fn run(args: EvalArgs) -> super::Result {
    let mut recognizer = super::model::open(&args.model, &args.language, args.threads)?;
    run_with(&args, recognizer.as_mut())
}

/// Runs the subcommand with a recogniser that is open already.
///
/// # Errors
/// As [`run`].
pub fn run_with(args: &EvalArgs, recognizer: &mut dyn Recognizer) -> super::Result {
    let dictionary = load(&args.dictionary, &settings(&args.set)?)?;
    let words = match &args.keywords {
        Some(file) => load(std::slice::from_ref(file), &Settings::default())?,
        None => load(&args.dictionary, &Settings { bias: false, correct: false, ..Settings::default() })?,
    };
    let report = measure(args, &dictionary, &words, recognizer)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&mut out, &report)?;
    }
    Ok(())
}

fn measure(
    args: &EvalArgs,
    dictionary: &Dictionary,
    words: &Dictionary,
    recognizer: &mut dyn Recognizer,
) -> Result<Report, EvalError> {
    let listed = list(&args.dir)?;
    let bias = dictionary.bias();
    let mut progress = Progress::of(listed.len());
    let mut heard = Vec::with_capacity(listed.len());
    let (mut decode_ms_without, mut decode_ms_with, mut model) = (0, 0, String::new());
    for utterance in listed {
        let path = args.dir.join(&utterance.file);
        let pcm = sound(&path)?;
        let mut recognise = |bias: Option<&dyn Bias>| -> Result<Hypothesis, EvalError> {
            recognizer.recognize(&pcm, bias).map_err(|failure| EvalError::Recognition { path: path.clone(), failure })
        };
        let off = recognise(None)?;
        let with = match &bias {
            Some(bias) => recognise(Some(bias.as_ref()))?,
            None => off.clone(),
        };
        decode_ms_without += u64::from(off.decode_ms);
        decode_ms_with += u64::from(with.decode_ms);
        let (correction, both) = (dictionary.correct(&off), dictionary.correct(&with));
        let untouched = with.bonuses == 0 && both.corrections.is_empty();
        if args.misses && super::score::normalise(&utterance.text) != super::score::normalise(&both.text) {
            eprintln!(
                "{}\n  said       {}\n  off        {}\n  bias       {}\n  both       {}",
                utterance.file.display(),
                utterance.text,
                off.text,
                with.text,
                both.text
            );
        }
        model.clone_from(&off.model);
        let seconds = pcm.len() as f64 / 16_000.0;
        let (correction, both, bias) = (correction.text, both.text, with.text);
        heard.push(Heard {
            said: utterance.text,
            terms: utterance.terms,
            off: off.text,
            bias,
            correction,
            both,
            untouched,
            seconds,
        });
        progress.step();
    }
    let untouched = heard.iter().filter(|one| one.untouched);
    let mut report = Report {
        utterances: heard.len(),
        seconds: heard.iter().map(|one| one.seconds).sum(),
        characters: 0,
        keywords_said: 0,
        terms_said: 0,
        entries: dictionary.entries().len(),
        dictionary: dictionary.version().to_owned(),
        model,
        engine: super::model::engine(),
        decode_ms_without,
        decode_ms_with,
        untouched: untouched.clone().count(),
        untouched_identical: untouched.filter(|one| one.both == one.off).count(),
        layers: Vec::new(),
    };
    layers(&mut report, &heard, &Words::of(words.entries().iter().map(|entry| entry.surface.as_str())), args.resamples);
    Ok(report)
}

/// One of the texts that were heard of an utterance: with or without each layer of the dictionary.
type TextOf = fn(&Heard) -> &str;

/// One figure of a layer; `None` where nothing was counted.
type ShareOf = fn(&Layer) -> Option<Share>;

fn layers(report: &mut Report, heard: &[Heard], words: &Words, resamples: usize) {
    let texts: [(&'static str, TextOf); 4] = [
        ("off", |one| &one.off),
        ("bias", |one| &one.bias),
        ("correction", |one| &one.correction),
        ("both", |one| &one.both),
    ];
    let scores =
        |text: TextOf| heard.iter().map(|one| score(&one.said, text(one), words, &one.terms)).collect::<Vec<_>>();
    let off = scores(|one| &one.off);
    let hours = report.seconds / 3_600.0;
    for (name, text) in texts {
        let pairs: Vec<(Score, Score)> = scores(text).into_iter().zip(off.iter().copied()).collect();
        let all = pairs.iter().fold(Score::default(), |sum, (score, _)| sum.plus(score));
        (report.characters, report.keywords_said, report.terms_said) =
            (all.characters as u64, all.said as u64, all.terms as u64);
        let share = |statistic: fn(&Score, &Score) -> Option<f64>| bootstrap(&pairs, resamples, statistic);
        report.layers.push(Layer {
            name,
            cer: share(|a, _| ratio(a.errors, a.characters)),
            cer_inside: share(|a, _| ratio(a.inside_errors, a.inside)),
            cer_outside: share(|a, _| ratio(a.errors - a.inside_errors, a.characters - a.inside)),
            recall: share(|a, _| ratio(a.found, a.said)),
            precision: share(|a, _| ratio(a.found, a.found + a.wrong)),
            terms_recall: share(|a, _| ratio(a.terms_found, a.terms)),
            false_insertions: all.inserted as u64,
            false_insertions_per_hour: all.inserted / hours.max(f64::MIN_POSITIVE),
            misses_removed: share(|a, off| ratio((off.said - off.found) - (a.said - a.found), off.said - off.found)),
            outside_change: share(|a, off| {
                Some(
                    ratio(a.errors - a.inside_errors, a.characters - a.inside)?
                        - ratio(off.errors - off.inside_errors, off.characters - off.inside)?,
                )
            }),
        });
    }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn print(out: &mut dyn std::io::Write, report: &Report) -> std::io::Result<()> {
    let Report { utterances, seconds, characters, keywords_said, terms_said, .. } = report;
    writeln!(
        out,
        "{utterances} utterances, {:.1} min, {characters} characters, {keywords_said} keywords ({terms_said} unknown names)",
        seconds / 60.0
    )?;
    writeln!(out, "model {}; dictionary {} of {} entries", report.model, report.dictionary, report.entries)?;
    writeln!(
        out,
        "shares in per cent with 95 % bootstrap intervals over utterances; characters after NFKC, without punctuation and spaces\n"
    )?;
    let rows: [(&str, ShareOf); 8] = [
        ("character errors", |layer| layer.cer),
        ("  inside keywords", |layer| layer.cer_inside),
        ("  outside", |layer| layer.cer_outside),
        ("  outside, change (pt)", |layer| layer.outside_change),
        ("keyword recall", |layer| layer.recall),
        ("  of unknown names", |layer| layer.terms_recall),
        ("keyword precision", |layer| layer.precision),
        ("keyword misses removed", |layer| layer.misses_removed),
    ];
    write!(out, "{:24}", "")?;
    for layer in &report.layers {
        write!(out, "{:>24}", layer.name)?;
    }
    writeln!(out)?;
    for (name, of) in rows {
        write!(out, "{name:24}")?;
        for layer in &report.layers {
            let cell = of(layer)
                .map_or("-".into(), |share| format!("{:.2} [{:.2}, {:.2}]", share.value, share.low, share.high));
            write!(out, "{cell:>24}")?;
        }
        writeln!(out)?;
    }
    write!(out, "{:24}", "false insertions (/h)")?;
    for layer in &report.layers {
        write!(out, "{:>24}", format!("{} ({:.1})", layer.false_insertions, layer.false_insertions_per_hour))?;
    }
    writeln!(out)?;
    let same = report.untouched == report.untouched_identical;
    writeln!(
        out,
        "\nno bonus and no correction: {} utterances, text identical in {}{}",
        report.untouched,
        report.untouched_identical,
        if same { "" } else { " (MUST BE ALL)" }
    )?;
    writeln!(out, "decoding: {} ms without, {} ms with bias", report.decode_ms_without, report.decode_ms_with)
}

fn list(dir: &Path) -> Result<Vec<Listed>, EvalError> {
    let path = dir.join("utterances.jsonl");
    let text = std::fs::read_to_string(&path).map_err(|source| EvalError::Unreadable { path: path.clone(), source })?;
    let mut listed = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        listed.push(serde_json::from_str(line).map_err(|problem| EvalError::Line {
            path: path.clone(),
            line: index + 1,
            problem,
        })?);
    }
    if listed.is_empty() { Err(EvalError::Empty(path)) } else { Ok(listed) }
}

fn load(files: &[PathBuf], settings: &Settings) -> Result<Dictionary, EvalError> {
    let mut read = Vec::new();
    for path in files {
        let bytes = std::fs::read(path).map_err(|source| EvalError::Unreadable { path: path.clone(), source })?;
        read.push((path.display().to_string(), bytes));
    }
    let sources: Vec<Source<'_>> = read.iter().map(|(name, bytes)| Source { name, bytes }).collect();
    Ok(Dictionary::load(&sources, settings)?)
}

fn settings(pairs: &[String]) -> Result<Settings, EvalError> {
    toml::from_str(&pairs.join("\n")).map_err(|error| EvalError::Setting(pairs.join(" "), error.message().to_owned()))
}

/// 16 kHz samples, ±1.0.
fn sound(path: &Path) -> Result<Vec<f32>, EvalError> {
    let wrong = |problem: String| EvalError::Sound { path: path.to_owned(), problem };
    let mut reader = hound::WavReader::open(path).map_err(|error| wrong(error.to_string()))?;
    let spec = reader.spec();
    if spec.channels != 1 || spec.bits_per_sample != 16 || spec.sample_format != hound::SampleFormat::Int {
        return Err(wrong(format!("{} channels, {} bit", spec.channels, spec.bits_per_sample)));
    }
    let samples: Vec<i16> =
        reader.samples::<i16>().collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    match spec.sample_rate {
        8_000 => {
            let mut pcm = Vec::with_capacity(2 * samples.len());
            Upsampler::new().push(&samples, &mut pcm);
            Ok(pcm)
        }
        16_000 => Ok(samples.iter().map(|&sample| f32::from(sample) / 32_768.0).collect()),
        rate => Err(wrong(format!("{rate} Hz"))),
    }
}

/// Progress on a terminal; silent elsewhere.
struct Progress {
    all: usize,
    done: usize,
    shown: bool,
}

impl Progress {
    fn of(all: usize) -> Self {
        Self { all, done: 0, shown: std::io::stderr().is_terminal() }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.shown {
            let end = if self.done == self.all { '\n' } else { '\r' };
            eprint!("{} of {} utterances{end}", self.done, self.all);
        }
    }
}

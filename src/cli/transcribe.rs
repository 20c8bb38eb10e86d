//! `kakehashi transcribe FILE…`: the text of WAV files, each channel on its own, as the bridge would write it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::dictionary::{Dictionary, ImportError, Source};
use crate::events::Correction;
use crate::media::resample::at_16_khz;
use crate::speech::endpoint::Endpointer;
use crate::speech::settings::Settings;
use crate::speech::{Failure, SpeechEventKind, Utterance};

/// Write down what is said in WAV files.
///
/// FILE is WAV with 8 or 16 kHz and 16 bit, mono or with one speaker on each of two channels. Every utterance is one line: of text, or with
/// --json one object with file, channel (from 0), start and end (seconds), text, text_raw (before the dictionary corrected it) and corrections.
#[derive(Debug, Args)]
pub struct TranscribeArgs {
    /// WAV files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Whisper model in ggml format.
    #[arg(long, value_name = "FILE", default_value = "models/kakehashi-lab-ja.bin")]
    pub model: PathBuf,
    /// Configuration file; the server of its [speech.remote] is asked, not a model of this machine.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "threads"])]
    pub remote: Option<PathBuf>,
    /// Dictionary CSV; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub dictionary: Vec<PathBuf>,
    /// Spoken language, as Whisper names it.
    #[arg(long, default_value = "ja", value_name = "CODE")]
    pub language: String,
    /// Threads of the recogniser.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: u16,
    /// One JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Why files could not be transcribed.
#[derive(Debug, thiserror::Error)]
pub enum TranscribeError {
    /// A file could not be read.
    #[error("{}: {source}. Check the path", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is no sound that can be used.
    #[error(
        "{}: {problem}; expected WAV with 8,000 or 16,000 Hz, 16 bit, one or two channels. Convert it, for example with \
         `sox {} -r 8000 -b 16 {}`", path.display(), path.display(), converted(path).display()
    )]
    Sound {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A dictionary cannot be used.
    #[error(transparent)]
    Dictionary(#[from] ImportError),
    /// The recogniser failed.
    #[error("{}, channel {channel}, {start:.1} s: {failure}", path.display())]
    Recognition {
        /// The file.
        path: PathBuf,
        /// From 0.
        channel: usize,
        /// Start of the utterance in seconds.
        start: f64,
        /// What it says.
        failure: Failure,
    },
}

fn converted(path: &Path) -> PathBuf {
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    path.with_file_name(format!("{stem}-8k.wav"))
}

/// One line of the result.
#[derive(Debug, Serialize)]
struct Line {
    file: String,
    channel: usize,
    start: f64,
    end: f64,
    text: String,
    text_raw: String,
    corrections: Vec<Correction>,
}

/// The sound of one file.
pub(super) struct Sound {
    rate: u32,
    channels: Vec<Vec<i16>>,
}

/// Runs the subcommand.
///
/// # Errors
/// [`TranscribeError`] or [`super::model::ModelError`]; both name the file and the remedy. What was written before stays written.
pub fn run(args: TranscribeArgs) -> super::Result {
    let sounds = args.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let dictionary = load(&args.dictionary)?;
    let mut recognizer = match &args.remote {
        Some(config) => super::model::open_remote(&super::load_config(config)?.speech)?,
        None => super::model::open(&args.model, &args.language, args.threads)?,
    };
    let mut out = std::io::stdout().lock();
    let mut progress = Progress { shown: std::io::stderr().is_terminal() && !std::io::stdout().is_terminal() };
    for (path, sound) in args.files.iter().zip(&sounds) {
        let mut utterances = utterances(sound);
        utterances.sort_by_key(|(channel, utterance)| (utterance.start, *channel));
        let count = utterances.len();
        for (n, (channel, utterance)) in utterances.into_iter().enumerate() {
            progress.show(path, n, count);
            let seconds = |at: crate::time::MediaTime| at.0 as f64 / 1e6;
            let start = seconds(utterance.start);
            let hypothesis = dictionary
                .hear(recognizer.as_mut(), &at_16_khz(&utterance.pcm, utterance.rate))
                .map_err(|failure| TranscribeError::Recognition { path: path.clone(), channel, start, failure })?;
            if hypothesis.text.is_empty() {
                continue;
            }
            let corrected = dictionary.correct(&hypothesis);
            let line = Line {
                file: path.display().to_string(),
                channel,
                start,
                end: seconds(utterance.end),
                text: corrected.text,
                text_raw: hypothesis.text,
                corrections: corrected.corrections,
            };
            print(&mut out, &line, args.json, args.files.len() > 1, sound.channels.len() > 1)?;
        }
        progress.clear();
    }
    Ok(())
}

fn print(
    out: &mut impl std::io::Write,
    line: &Line,
    json: bool,
    several_files: bool,
    several_channels: bool,
) -> super::Result {
    if json {
        serde_json::to_writer(&mut *out, line)?;
    } else {
        if several_files {
            write!(out, "{} ", line.file)?;
        }
        if several_channels {
            write!(out, "[{}] ", line.channel)?;
        }
        write!(out, "{:7.2}–{:.2} {}", line.start, line.end, line.text)?;
    }
    writeln!(out)?;
    Ok(out.flush()?) // each line is there when it is known
}

/// The utterances of all channels.
pub(super) fn utterances(sound: &Sound) -> Vec<(usize, Utterance)> {
    let mut found = Vec::new();
    for (channel, samples) in sound.channels.iter().enumerate() {
        let mut events = Vec::new();
        let mut endpointer = Endpointer::new(&Settings::default(), sound.rate);
        endpointer.push(0, samples, &mut events);
        endpointer.finish(&mut events);
        found.extend(events.into_iter().filter_map(|event| match event {
            SpeechEventKind::Ended(utterance) => Some((channel, utterance)),
            SpeechEventKind::Started { .. } | SpeechEventKind::Running(_) => None,
        }));
    }
    found
}

pub(super) fn read(path: &Path) -> Result<Sound, TranscribeError> {
    let wrong = |problem: String| TranscribeError::Sound { path: path.to_owned(), problem };
    let file =
        std::fs::File::open(path).map_err(|source| TranscribeError::Unreadable { path: path.to_owned(), source })?;
    let mut reader = hound::WavReader::new(std::io::BufReader::new(file))
        .map_err(|error| wrong(format!("it is no WAV file that can be read ({error})")))?;
    let spec = reader.spec();
    if spec.sample_format != hound::SampleFormat::Int || spec.bits_per_sample != 16 {
        return Err(wrong(format!("its samples have {} bit ({:?})", spec.bits_per_sample, spec.sample_format)));
    }
    if !(1..=2).contains(&spec.channels) {
        return Err(wrong(format!("it has {} channels", spec.channels)));
    }
    if spec.sample_rate != 8_000 && spec.sample_rate != 16_000 {
        return Err(wrong(format!("it has {} Hz", spec.sample_rate)));
    }
    let mut channels = vec![Vec::new(); spec.channels.into()];
    for (n, sample) in reader.samples::<i16>().enumerate() {
        let seconds = n as f64 / f64::from(spec.channels) / f64::from(spec.sample_rate);
        let sample = sample.map_err(|error| wrong(format!("it is damaged at {seconds:.1} s ({error})")))?;
        if let Some(channel) = channels.get_mut(n % usize::from(spec.channels)) {
            channel.push(sample);
        }
    }
    Ok(Sound { rate: spec.sample_rate, channels })
}

fn load(files: &[PathBuf]) -> Result<Dictionary, TranscribeError> {
    let mut read = Vec::new();
    for path in files {
        let bytes = std::fs::read(path).map_err(|source| TranscribeError::Unreadable { path: path.clone(), source })?;
        read.push((path.display().to_string(), bytes));
    }
    if read.is_empty() {
        return Ok(Dictionary::empty());
    }
    let sources: Vec<Source<'_>> = read.iter().map(|(name, bytes)| Source { name, bytes }).collect();
    Ok(Dictionary::load(&sources, &crate::dictionary::Settings::default())?)
}

/// Progress on a terminal while the text goes elsewhere.
struct Progress {
    shown: bool,
}

impl Progress {
    fn show(&mut self, path: &Path, done: usize, all: usize) {
        if self.shown {
            eprint!("\r{}: {done} of {all} utterances", path.display());
        }
    }

    fn clear(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

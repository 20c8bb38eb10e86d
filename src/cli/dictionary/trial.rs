//! `kakehashi dictionary test`: what a dictionary does to a recording or to a text.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use serde::Serialize;

use super::{DictionaryError, Reading};
use crate::call::scope::Scopes;
use crate::cli::transcribe;
use crate::dictionary::{Dictionary, heard_twice, second_hearing};
use crate::events::Correction;
use crate::media::resample::at_16_khz;
use crate::speech::{Bias, Given, Hypothesis, Vocabulary};

/// Arguments of `dictionary test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// WAV files (8 or 16 kHz, 16 bit, one or two channels); every utterance is decoded without the words and, as in calls, with them where the recogniser was not sure.
    #[arg(value_name = "WAV")]
    pub files: Vec<PathBuf>,
    /// A text as a recogniser might have written it; may be repeated.
    #[arg(long = "text", value_name = "TEXT")]
    pub texts: Vec<String>,
    /// How sure the recogniser was of the texts, 0–1.
    #[arg(long, default_value_t = 0.5, value_name = "P")]
    pub confidence: f32,
    /// Word lists; may be repeated. Without one, those of --config.
    #[arg(long, value_name = "FILE")]
    pub dictionary: Vec<PathBuf>,
    /// How they are read.
    #[command(flatten)]
    pub reading: Reading,
    /// What the call is, for example "ward:北区|line:7001"; without it every word applies.
    #[arg(long, value_name = "SCOPES")]
    pub call: Option<String>,
    /// Whisper model in ggml format.
    #[arg(long, value_name = "FILE", default_value = "models/kakehashi-lab-ja.bin")]
    pub model: PathBuf,
    /// Spoken language, as Whisper names it.
    #[arg(long, default_value = "ja", value_name = "CODE")]
    pub language: String,
    /// Threads of the recogniser.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: u16,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// What happened to one utterance or text.
#[derive(Debug, Serialize)]
struct Trial {
    /// WAV file, channel and start in seconds; none for a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<(String, usize, f64)>,
    /// As decoded without the dictionary, or the text as given.
    heard: String,
    /// As decoded a second time, with its bias; none for a text, and where the recogniser was sure the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    biased: Option<String>,
    /// The likelier of the two, with the words that were found in it and in the other.
    text: String,
    /// Words of the dictionary that got a bonus in `biased`, as they are spelt or as they sound.
    preferred: Vec<Preferred>,
    corrections: Vec<Correction>,
    /// Words of the dictionary in `text`, in order.
    words: Vec<String>,
    /// Version of the dictionary.
    dictionary: String,
}

/// A word that the decoder was helped to write.
#[derive(Debug, Serialize)]
struct Preferred {
    word: String,
    /// Sum of the bonuses of its tokens, in nats.
    nats: f32,
    /// The least probability of its tokens without bonus, 0–1.
    p: f32,
}

/// Runs the subcommand.
pub(super) fn run(args: &TestArgs) -> crate::cli::Result {
    if args.files.is_empty() && args.texts.is_empty() {
        let problem = "there is nothing to try; expected WAV files or --text".into();
        return Err(DictionaryError::Option { option: "text", problem }.into());
    }
    let whole = args.reading.dictionary(&args.dictionary)?;
    let wrong =
        |error: crate::call::scope::ScopeError| DictionaryError::Option { option: "call", problem: error.to_string() };
    let call = args.call.as_deref().map(Scopes::parse).transpose().map_err(wrong)?;
    let whole = match &call {
        Some(call) => whole.prepared(std::slice::from_ref(call)),
        None => whole,
    };
    let dictionary = call.as_ref().map_or(&whole, |call| whole.on(call));
    let mut out = std::io::stdout().lock();
    for text in &args.texts {
        let hypothesis = Hypothesis { text: text.clone(), confidence: args.confidence, ..Hypothesis::default() };
        tell(&mut out, &trial(dictionary, hypothesis, None), args.json)?;
    }
    if !args.files.is_empty() {
        recordings(args, dictionary, &mut out)?;
    }
    Ok(())
}

fn recordings(args: &TestArgs, dictionary: &Dictionary, out: &mut impl Write) -> crate::cli::Result {
    let mut recognizer = crate::cli::model::open(&args.model, &args.language, args.threads)?;
    for path in &args.files {
        let sound = transcribe::read(path)?;
        for (channel, utterance) in transcribe::utterances(&sound) {
            let pcm = at_16_khz(&utterance.pcm, utterance.rate);
            let plain = recognizer.recognize(&pcm, None)?;
            let watched = second_hearing(&plain).then(|| dictionary.help(&plain.text)).flatten().map(Watched::new);
            let biased = match &watched {
                Some(watched) => Some(recognizer.recognize(&pcm, Some(watched))?),
                None => None,
            };
            if plain.text.is_empty() && biased.as_ref().is_none_or(|biased| biased.text.is_empty()) {
                continue;
            }
            let mut trial = trial(dictionary, plain, biased.as_ref());
            trial.place = Some((path.display().to_string(), channel, utterance.start.0 as f64 / 1e6));
            if let Some((watched, biased)) = watched.zip(biased.as_ref()) {
                trial.preferred = watched.preferred(dictionary, biased, &trial.corrections);
            }
            tell(out, &trial, args.json)?;
        }
    }
    Ok(())
}

fn trial(dictionary: &Dictionary, plain: Hypothesis, biased: Option<&Hypothesis>) -> Trial {
    let heard = plain.text.clone();
    let joined = match biased {
        Some(biased) => heard_twice(plain, biased.clone()),
        None => plain,
    };
    let corrected = dictionary.correct(&joined);
    Trial {
        place: None,
        heard,
        biased: biased.map(|biased| biased.text.clone()),
        words: dictionary.heard_in(&corrected.text).map(|entry| entry.surface.clone()).collect(),
        text: corrected.text,
        preferred: Vec::new(),
        corrections: corrected.corrections,
        dictionary: dictionary.version().to_owned(),
    }
}

fn tell(out: &mut impl Write, trial: &Trial, json: bool) -> crate::cli::Result {
    if json {
        writeln!(out, "{}", serde_json::to_string(trial)?)?;
        return Ok(out.flush()?);
    }
    if let Some((file, channel, start)) = &trial.place {
        writeln!(out, "{file} [{channel}] {start:.2} s")?;
    }
    if trial.place.is_some() {
        writeln!(out, "  heard:  {}", trial.heard)?;
    }
    if let Some(biased) = &trial.biased {
        writeln!(out, "  biased: {biased}")?;
    }
    writeln!(out, "  text:   {}", trial.text)?;
    for word in &trial.preferred {
        writeln!(out, "    preferred {}: +{:.1} nats, probability without it {:.2}", word.word, word.nats, word.p)?;
    }
    for one in &trial.corrections {
        writeln!(out, "    put right {} → {} ({}, distance {:.2})", one.from, one.to, one.reading, one.distance)?;
    }
    if trial.preferred.is_empty() && trial.corrections.is_empty() {
        writeln!(out, "    the dictionary changed nothing and helped nothing that was written")?;
    }
    Ok(out.flush()?)
}

/// Bonuses by the bytes of the token.
type Bonuses = HashMap<Vec<u8>, f32>;

/// Remembers the bonuses that a dictionary gives.
struct Watched {
    bias: std::sync::Arc<dyn Bias>,
    /// By what was decoded before: the tokens with a bonus.
    given: Mutex<HashMap<Vec<u8>, Bonuses>>,
}

impl Watched {
    fn new(bias: std::sync::Arc<dyn Bias>) -> Self {
        Self { bias, given: Mutex::default() }
    }

    /// The words in the text whose tokens got a bonus: in their spelling, in order, then those that `corrections` found by their reading.
    fn preferred(
        &self,
        dictionary: &Dictionary,
        hypothesis: &Hypothesis,
        corrections: &[Correction],
    ) -> Vec<Preferred> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let mut so_far: Vec<u8> = Vec::new();
        // end of each token in the text, its bonus, its probability
        let tokens: Vec<(usize, f32, f32)> = hypothesis
            .tokens
            .iter()
            .map(|token| {
                let nats = given.get(&so_far).and_then(|step| step.get(&token.bytes)).copied().unwrap_or(0.0);
                so_far.extend_from_slice(&token.bytes);
                (so_far.len(), nats, token.p)
            })
            .collect();
        let spelt = dictionary.heard_in(&hypothesis.text).map(|entry| (&entry.surface, &entry.surface));
        let by_reading = corrections.iter().map(|one| (&one.to, &one.reading));
        let mut from: HashMap<&str, usize> = HashMap::new();
        let mut found = Vec::new();
        for (word, written) in spelt.chain(by_reading) {
            let from = from.entry(written).or_default();
            let Some(at) = hypothesis.text.get(*from..).and_then(|rest| rest.find(written)) else { continue };
            let (start, end) = (*from + at, *from + at + written.len());
            *from = end;
            let begins = std::iter::once(0).chain(tokens.iter().map(|token| token.0));
            let own = tokens.iter().zip(begins).filter(|((to, ..), begin)| *begin < end && start < *to);
            let (nats, p) = own.fold((0.0, 1.0_f32), |(nats, p), ((_, bonus, own), _)| (nats + bonus, p.min(*own)));
            if nats > 0.0 {
                found.push(Preferred { word: word.clone(), nats, p });
            }
        }
        found
    }
}

impl Bias for Watched {
    fn version(&self) -> &str {
        self.bias.version()
    }

    fn prompt(&self) -> &str {
        self.bias.prompt()
    }

    fn adjust(&self, vocabulary: &Vocabulary, so_far: &[u8], logits: &mut [f32]) -> Given {
        let given = self.bias.adjust(vocabulary, so_far, logits);
        if !given.bonuses.is_empty() {
            let own = |&(id, bonus): &(u32, f32)| (vocabulary.bytes(id as usize).to_vec(), bonus);
            let bonuses = given.bonuses.iter().map(own).collect();
            self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(so_far.to_vec(), bonuses);
        }
        given
    }
}

//! The recogniser: whisper.cpp behind [`Recognizer`].
//!
//! In: 16 kHz sound of one utterance and perhaps a bias. Out: a [`Hypothesis`] with the probabilities that the model itself gave. One state is
//! kept and reused; nothing of an utterance is left in it for the next one. `raw` holds all that is unsafe.

use std::ffi::CString;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::evidence::Evidence;
use super::ggml::{self, GgmlError};
use super::manifest::Manifest;
use super::{Bias, Failure, Given, Hypothesis, Recognizer, Stop, Token, Vocabulary, plausible};
use crate::time::Mono;

mod filter;
mod raw;

pub use raw::EngineError;

use filter::Biased;

/// Fewer samples than this (1.5 s) are never decoded with a prompt: there the prompt would outweigh the sound.
const LEAST_PROMPTED: usize = 24_000;
/// Samples of the longest window, 30 s.
const WINDOW: usize = 30 * 16_000;

/// How a model is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name that hypotheses carry.
    pub name: String,
    /// Spoken language, as Whisper names it.
    pub language: String,
    /// Threads of one decode, at least 1.
    pub threads: u16,
    /// Reads the clock, for `decode_ms`.
    pub clock: fn() -> Mono,
}

/// Why a model cannot be used. The caller adds the file's name.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not a model, or not all of one.
    #[error(transparent)]
    File(#[from] GgmlError),
    /// It is another file than the manifest says.
    #[error("it has {found} bytes, the manifest beside it expects {expected}")]
    Size {
        /// Its size.
        found: u64,
        /// The size in the manifest.
        expected: u64,
    },
    /// It is another file than the manifest says.
    #[error("its SHA-256 is {found}, the manifest beside it expects {expected}")]
    Checksum {
        /// Its SHA-256.
        found: String,
        /// The one in the manifest.
        expected: String,
    },
    /// Whisper has no such language.
    #[error("Whisper knows no language {0:?}; expected a code like ja or en (`[speech] language`)")]
    Language(String),
    /// whisper.cpp refused it.
    #[error("whisper.cpp refused it ({0})")]
    Refused(String),
    /// whisper.cpp could not work with it.
    #[error("whisper.cpp cannot work with it: {0}")]
    Engine(#[from] EngineError),
}

/// A loaded model with its state.
#[derive(Debug)]
pub struct Whisper {
    model: Arc<raw::Model>,
    state: Option<Pooled>,
    manifest: Manifest,
    vocabulary: Vocabulary,
    language: CString,
    options: Options,
}

/// The state that is reused.
#[derive(Debug)]
struct Pooled {
    state: raw::State,
    /// It was used with the whole window; see [`Manifest::window`] for why the two are not mixed.
    whole: bool,
}

/// How carefully is decoded.
#[derive(Clone, Copy)]
enum Pass<'a> {
    /// As the manifest says.
    Final,
    /// Greedy, at one temperature, given up when this says so.
    Partial(Stop<'a>),
}

impl Whisper {
    /// Checks and loads a model.
    ///
    /// # Errors
    /// Says what is wrong with the file; whisper.cpp sees it only after it has passed.
    pub fn open<R: Read + Seek>(mut reader: R, manifest: Manifest, options: Options) -> Result<Whisper, OpenError> {
        let language = raw::language(&options.language).ok_or_else(|| OpenError::Language(options.language.clone()))?;
        ggml::check(&mut reader)?;
        verify(&mut reader, &manifest)?;
        reader.seek(SeekFrom::Start(0)).map_err(GgmlError::Io)?;
        let mut buffered = std::io::BufReader::with_capacity(1 << 20, reader);
        let model = Arc::new(raw::Model::load(&mut buffered).map_err(OpenError::Refused)?);
        let vocabulary = Vocabulary::new((0..model.end_of_text()).map(|id| model.token_bytes(id)).collect());
        let mut whisper = Whisper { model, state: None, manifest, vocabulary, language, options };
        // the largest buffers are asked for now, not in the first call
        whisper.decode(&vec![0.0; WINDOW / 30], None, Pass::Final)?;
        Ok(whisper)
    }

    /// The name that hypotheses carry.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The text tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Versions and processor features, for comparisons.
    pub fn engine() -> String {
        format!("whisper.cpp {}; {}", whisper_rs::WHISPER_CPP_VERSION, whisper_rs::print_system_info().trim())
    }

    /// Decodes at most 30 s: tokens with honest probabilities, no-speech probability, bonuses.
    fn decode(
        &mut self,
        pcm: &[f32],
        bias: Option<&dyn Bias>,
        pass: Pass<'_>,
    ) -> Result<(Vec<Token>, f32, u32), EngineError> {
        let audio_ctx = self.manifest.window(pcm.len(), self.model.audio_ctx());
        let whole = audio_ctx == 0;
        let mut pooled = match self.state.take().filter(|pooled| pooled.whole == whole) {
            Some(pooled) => pooled,
            None => Pooled { state: raw::State::new(&self.model)?, whole },
        };
        let prompt = bias.map_or("", |bias| if pcm.len() < LEAST_PROMPTED { "" } else { bias.prompt() });
        let prompt = self.model.tokens_of(prompt);
        let decode = &self.manifest.decode;
        let (beam, temperature_inc, stop) = match pass {
            Pass::Final if bias.is_some() => (decode.second_beam, decode.temperature_inc, None),
            Pass::Final => (decode.beam, decode.temperature_inc, None),
            Pass::Partial(stop) => (1, 0.0, Some(stop)),
        };
        let params = raw::Params {
            threads: self.options.threads,
            language: &self.language,
            audio_ctx,
            beam,
            temperature_inc,
            entropy: decode.entropy,
            logprob: decode.logprob,
            prompt: &prompt,
        };
        let biased = bias.map(|bias| Biased::new(bias, &self.vocabulary));
        let filter = biased.as_ref().map(|biased| biased as &dyn raw::Filter);
        let heard = pooled.state.full(&params, pcm, filter, stop);
        if matches!(heard, Ok(_) | Err(EngineError::Aborted)) {
            self.state = Some(pooled); // after any other error it is dropped instead
        }
        let (said, no_speech) = heard?;
        let ids: Vec<i32> = said.iter().map(|said| said.id).collect();
        let honest = |n: usize, p: f32| match &biased {
            Some(biased) => biased.unbiased(ids.get(..=n).unwrap_or_default(), p),
            None => p,
        };
        let token = |(n, said): (usize, &raw::Said)| Token {
            bytes: self.vocabulary.bytes(usize::try_from(said.id).unwrap_or(usize::MAX)).to_vec(),
            p: honest(n, said.p),
        };
        let tokens = said.iter().enumerate().map(token).collect();
        Ok((tokens, no_speech, biased.map_or(0, |biased| biased.bonuses())))
    }

    fn hear(&mut self, pcm: &[f32], bias: Option<&dyn Bias>, pass: Pass<'_>) -> Result<Hypothesis, Failure> {
        let began = (self.options.clock)();
        let mut hypothesis = Hypothesis {
            model: self.options.name.clone(),
            dictionary: bias.map_or_else(String::new, |bias| bias.version().to_owned()),
            no_speech: 1.0,
            ..Hypothesis::default()
        };
        for window in pcm.chunks(WINDOW) {
            let failed = |error| match error {
                EngineError::Aborted => Failure::Withdrawn,
                error => Failure::Failed(error.to_string()),
            };
            let (mut tokens, mut no_speech, mut bonuses) = self.decode(window, bias, pass).map_err(failed)?;
            if let Some(bias) = bias.filter(|bias| plausible::echoes(&tokens, bias.prompt())) {
                (tokens, no_speech, bonuses) = self.decode(window, Some(&Unprompted(bias)), pass).map_err(failed)?;
            }
            hypothesis.tokens.extend(tokens);
            hypothesis.no_speech = hypothesis.no_speech.min(no_speech);
            hypothesis.bonuses = hypothesis.bonuses.saturating_add(bonuses);
        }
        settle(&mut hypothesis, pcm, &self.manifest);
        let spent = (self.options.clock)().since(began);
        hypothesis.decode_ms = u32::try_from(spent.as_millis()).unwrap_or(u32::MAX);
        Ok(hypothesis)
    }
}

/// The same bias without its prompt.
struct Unprompted<'a>(&'a dyn Bias);

impl Bias for Unprompted<'_> {
    fn version(&self) -> &str {
        self.0.version()
    }

    fn adjust(&self, vocabulary: &Vocabulary, so_far: &[u8], logits: &mut [f32]) -> Given {
        self.0.adjust(vocabulary, so_far, logits)
    }
}

impl Recognizer for Whisper {
    fn recognize(&mut self, pcm: &[f32], bias: Option<&dyn Bias>) -> Result<Hypothesis, Failure> {
        self.hear(pcm, bias, Pass::Final)
    }

    fn recognize_partial(
        &mut self,
        pcm: &[f32],
        bias: Option<&dyn Bias>,
        stop: Stop<'_>,
    ) -> Result<Hypothesis, Failure> {
        self.hear(pcm, bias, Pass::Partial(stop))
    }
}

/// Makes text and confidence of the tokens, and drops what is not believed.
fn settle(hypothesis: &mut Hypothesis, pcm: &[f32], manifest: &Manifest) {
    let heard = hypothesis.tokens.len();
    let mut tokens = plausible::without_loops(std::mem::take(&mut hypothesis.tokens), manifest.reject.repeats);
    hypothesis.looped = u32::try_from(heard - tokens.len()).unwrap_or(u32::MAX);
    if let Some(first) = tokens.first_mut() {
        let blank = first.bytes.iter().take_while(|byte| **byte == b' ').count();
        first.bytes.drain(..blank);
    }
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.clone()).collect();
    hypothesis.text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
    hypothesis.confidence = tokens.iter().map(|token| token.p).sum::<f32>() / tokens.len().max(1) as f32;
    hypothesis.tokens = tokens;
    if hypothesis.tokens.is_empty() {
        return; // the sound need not be looked at
    }
    hypothesis.rejected = plausible::doubt(hypothesis, &Evidence::of(pcm), &manifest.decode, &manifest.reject);
    if hypothesis.rejected.is_some() {
        hypothesis.text.clear();
        hypothesis.tokens.clear();
        hypothesis.confidence = 0.0;
    }
}

/// Compares the file with its manifest.
fn verify<R: Read + Seek>(reader: &mut R, manifest: &Manifest) -> Result<(), OpenError> {
    let Some(expected) = &manifest.file else { return Ok(()) };
    let found = reader.seek(SeekFrom::End(0)).map_err(GgmlError::Io)?;
    if found != expected.bytes {
        return Err(OpenError::Size { found, expected: expected.bytes });
    }
    reader.seek(SeekFrom::Start(0)).map_err(GgmlError::Io)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let got = reader.read(&mut buffer).map_err(GgmlError::Io)?;
        let Some(bytes) = buffer.get(..got).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found.eq_ignore_ascii_case(&expected.sha256) {
        return Ok(());
    }
    Err(OpenError::Checksum { found, expected: expected.sha256.clone() })
}

#[cfg(test)]
mod tests;

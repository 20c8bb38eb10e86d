//! Everything `unsafe` about whisper.cpp, in one place.
//!
//! It calls `whisper-rs-sys` itself: in the safe interface of `whisper-rs` 0.16 some options have no effect, some callbacks are unsound and
//! strings are leaked with every call. What is guaranteed here: pointers live as long as their owner; a state that whisper.cpp freed itself is
//! not freed again; no unwinding through C; nothing is passed that makes whisper.cpp throw or abort.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use whisper_rs::whisper_rs_sys as sys;

use crate::speech::Stop;

/// Fewer samples than this are never passed on: whisper.cpp reads beyond the end of very short ones, and skips what is below 100 ms.
pub(super) const LEAST_SAMPLES: usize = 1_600;
/// Most tokens of a prompt; with fewer than half of the decoder's places whisper.cpp takes all of them.
const MOST_PROMPT: usize = 200;
/// whisper.cpp's own limit of hypotheses.
const MOST_DECODERS: i32 = 8;

/// Why whisper.cpp gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// −2
    #[error("the spectrum could not be computed")]
    Spectrum,
    /// −3
    #[error("the language could not be detected")]
    Language,
    /// −4
    #[error("more hypotheses were asked for than there can be")]
    Decoders,
    /// −5
    #[error("a longer encoder window was asked for than the model has")]
    AudioCtx,
    /// −6
    #[error("the encoder failed")]
    Encoder,
    /// −7
    #[error("there was no memory for the decoder")]
    Memory,
    /// −8, −9
    #[error("the decoder failed")]
    Decoder,
    /// Another number.
    #[error("whisper.cpp gave the unknown code {0}")]
    Unknown(i32),
    /// The state could not be created.
    #[error("there was no memory for the recogniser's state")]
    State,
    /// The logits filter panicked.
    #[error("the dictionary's bias failed")]
    Filter,
    /// Nobody waits for the result any more.
    #[error("it was given up")]
    Aborted,
}

impl EngineError {
    fn of(code: i32) -> Self {
        match code {
            -2 => Self::Spectrum,
            -3 => Self::Language,
            -4 => Self::Decoders,
            -5 => Self::AudioCtx,
            -6 => Self::Encoder,
            -7 => Self::Memory,
            -8 | -9 => Self::Decoder,
            other => Self::Unknown(other),
        }
    }
}

/// A loaded model; never changed after loading, so that states on several threads may share it.
#[derive(Debug)]
pub(super) struct Model(NonNull<sys::whisper_context>);

// SAFETY: a context without its own state is only read after it was loaded.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: the pointer came from whisper.cpp and is freed once; states hold an `Arc` of the model.
        unsafe { sys::whisper_free(self.0.as_ptr()) }
    }
}

/// What the loader's callbacks read from.
struct Source<'a> {
    reader: &'a mut dyn Read,
    ended: bool,
}

impl Model {
    /// Loads a file that `ggml::check` has passed. The error is what whisper.cpp said of it.
    pub(super) fn load(reader: &mut dyn Read) -> Result<Model, String> {
        let quiet = Quiet::listen();
        let mut source = Source { reader, ended: false };
        let mut loader = sys::whisper_model_loader {
            context: (&raw mut source).cast(),
            read: Some(read),
            eof: Some(ended),
            close: Some(close),
        };
        // SAFETY: plain values; nothing is kept by the call.
        let mut params = unsafe { sys::whisper_context_default_params() };
        params.flash_attn = true;
        params.dtw_token_timestamps = false;
        // SAFETY: `loader` and `source` outlive the call, which keeps neither.
        let context = unsafe { sys::whisper_init_with_params_no_state(&raw mut loader, params) };
        NonNull::new(context).map(Model).ok_or_else(|| quiet.said())
    }

    /// Tokens, special ones included.
    pub(super) fn vocabulary_size(&self) -> usize {
        // SAFETY: the pointer is valid.
        usize::try_from(unsafe { sys::whisper_n_vocab(self.0.as_ptr()) }).unwrap_or(0)
    }

    /// Positions of the encoder.
    pub(super) fn audio_ctx(&self) -> u32 {
        // SAFETY: the pointer is valid.
        u32::try_from(unsafe { sys::whisper_n_audio_ctx(self.0.as_ptr()) }).unwrap_or(0)
    }

    /// The first special token; the ids below it are text.
    pub(super) fn end_of_text(&self) -> i32 {
        // SAFETY: the pointer is valid.
        unsafe { sys::whisper_token_eot(self.0.as_ptr()) }
    }

    /// The token of no speech.
    fn no_speech_token(&self) -> usize {
        // SAFETY: the pointer is valid.
        usize::try_from(unsafe { sys::whisper_token_nosp(self.0.as_ptr()) }).unwrap_or(0)
    }

    /// Tokens that whisper.cpp prompts with when there is no text before: start, language, task, no time stamps; English models have no
    /// language and task.
    fn prompt_length(&self) -> usize {
        // SAFETY: the pointer is valid.
        if unsafe { sys::whisper_is_multilingual(self.0.as_ptr()) } == 0 { 2 } else { 4 }
    }

    /// The tokens of `text` as whisper.cpp makes them, at most [`MOST_PROMPT`]; empty when it cannot.
    pub(super) fn tokens_of(&self, text: &str) -> Vec<i32> {
        let Some(text) = CString::new(text).ok().filter(|text| !text.is_empty()) else { return Vec::new() };
        // a token has at least one byte, so this is enough and the count is never negative
        let mut tokens = vec![0; text.as_bytes().len() + 8];
        let room = i32::try_from(tokens.len()).unwrap_or(0);
        // SAFETY: the model is valid, the string ends with a zero byte, and there is room for `room` tokens.
        let count = unsafe { sys::whisper_tokenize(self.0.as_ptr(), text.as_ptr(), tokens.as_mut_ptr(), room) };
        tokens.truncate(usize::try_from(count).unwrap_or(0).min(MOST_PROMPT));
        tokens
    }

    /// Bytes of a text token; empty for every other id (whisper.cpp would throw on one that is out of range).
    pub(super) fn token_bytes(&self, id: i32) -> Vec<u8> {
        if !(0..self.end_of_text()).contains(&id) {
            return Vec::new();
        }
        // SAFETY: the id is in range; the string belongs to the model and ends with a zero byte.
        let text = unsafe { sys::whisper_token_to_str(self.0.as_ptr(), id) };
        if text.is_null() {
            return Vec::new();
        }
        // SAFETY: as above.
        unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
    }
}

/// Whether Whisper knows a language.
pub(super) fn knows_language(code: &CStr) -> bool {
    // SAFETY: a string that ends with a zero byte; nothing is kept.
    unsafe { sys::whisper_lang_id(code.as_ptr()) >= 0 }
}

/// How one decode goes.
#[derive(Clone, Debug)]
pub(super) struct Params<'a> {
    pub(super) threads: u16,
    pub(super) language: &'a CStr,
    /// Positions of the encoder's window, 0 for all.
    pub(super) audio_ctx: u32,
    pub(super) beam: u8,
    pub(super) temperature_inc: f32,
    pub(super) entropy: f32,
    pub(super) logprob: f32,
    /// Tokens of what was said before, from [`Model::tokens_of`]; empty for nothing.
    pub(super) prompt: &'a [i32],
}

impl Params<'_> {
    fn build(&self) -> sys::whisper_full_params {
        let strategy = if self.beam > 1 {
            sys::whisper_sampling_strategy_WHISPER_SAMPLING_BEAM_SEARCH
        } else {
            sys::whisper_sampling_strategy_WHISPER_SAMPLING_GREEDY
        };
        // SAFETY: plain values.
        let mut full = unsafe { sys::whisper_full_default_params(strategy) };
        full.n_threads = i32::from(self.threads.max(1)); // 0 makes whisper.cpp throw
        full.language = self.language.as_ptr(); // outlives the call, is not kept
        full.detect_language = false;
        full.translate = false;
        full.no_context = true; // a reused state would carry one caller's words into the next one's prompt
        full.no_timestamps = true; // an utterance is one segment; time stamps would compete with boosted words
        full.single_segment = true;
        full.suppress_blank = true;
        full.suppress_nst = true;
        full.max_tokens = 0; // drops the rest of the sound in 1.8.3
        full.max_len = 0; // splits characters in 1.8.3
        full.print_special = false;
        full.print_progress = false;
        full.print_realtime = false;
        full.print_timestamps = false;
        full.audio_ctx = i32::try_from(self.audio_ctx).unwrap_or(0);
        full.temperature = 0.0;
        // a second try would leave the prompt out, and the hook would look for the first step's logits in the wrong row
        full.temperature_inc = if self.prompt.is_empty() { self.temperature_inc } else { 0.0 };
        if !self.prompt.is_empty() {
            full.prompt_tokens = self.prompt.as_ptr(); // outlives the call, is not kept
            full.prompt_n_tokens = i32::try_from(self.prompt.len()).unwrap_or(0);
        }
        full.entropy_thold = self.entropy;
        full.logprob_thold = self.logprob;
        full.no_speech_thold = 2.0; // its probability is of a row that the last decode left behind; see `no_speech`
        full.greedy.best_of = 1;
        full.beam_search.beam_size = i32::from(self.beam.max(1)).min(MOST_DECODERS);
        full.vad = false; // would be ignored with a state of our own
        full
    }
}

/// Sees the logits of each step before a token is chosen; may be called from several threads at once.
pub(super) trait Filter: Sync {
    /// `tokens` are the ids so far in this window, `logits` has one value for each token of the model.
    fn apply(&self, tokens: &[i32], logits: &mut [f32]);
}

/// One token of a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) id: i32,
    /// Probability as sampled, after the filter.
    pub(super) p: f32,
}

/// The working memory of one decode at a time.
#[derive(Debug)]
pub(super) struct State {
    /// `None` once whisper.cpp has freed it itself.
    pointer: Option<NonNull<sys::whisper_state>>,
    model: Arc<Model>,
}

// SAFETY: a state is used by one thread at a time (`&mut`), not tied to the one that created it.
unsafe impl Send for State {}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(pointer) = self.pointer.take() {
            // SAFETY: it came from whisper.cpp and has not been freed.
            unsafe { sys::whisper_free_state(pointer.as_ptr()) }
        }
    }
}

/// What the logits callback gets to see.
struct Hook<'a> {
    filter: Option<&'a dyn Filter>,
    vocabulary: usize,
    /// Tokens of the prompt; the last of them has the logits of the first step.
    prompt: usize,
    no_speech_token: usize,
    /// Bits of the probability of no speech.
    no_speech: AtomicU32,
    broken: AtomicBool,
    /// Asked after the encoder and after each token.
    stop: Option<Stop<'a>>,
    stopped: AtomicBool,
}

/// What was said, and the model's probability that nobody spoke.
type Heard = Result<(Vec<Said>, f32), EngineError>;

impl State {
    pub(super) fn new(model: &Arc<Model>) -> Result<State, EngineError> {
        let _quiet = Quiet::listen();
        // SAFETY: the model is valid and outlives the state.
        let pointer = unsafe { sys::whisper_init_state(model.0.as_ptr()) };
        let pointer = NonNull::new(pointer).ok_or(EngineError::State)?;
        Ok(State { pointer: Some(pointer), model: model.clone() })
    }

    /// Decodes `pcm` (16 kHz, ±1.0, at least [`LEAST_SAMPLES`]). After an error the state must be dropped, but not after
    /// [`EngineError::Aborted`]: whisper.cpp gives up between two computations that are both whole.
    pub(super) fn full(
        &mut self,
        params: &Params<'_>,
        pcm: &[f32],
        filter: Option<&dyn Filter>,
        stop: Option<Stop<'_>>,
    ) -> Heard {
        let Some(state) = self.pointer else { return Err(EngineError::State) };
        let samples = match i32::try_from(pcm.len()) {
            Ok(samples) if pcm.len() >= LEAST_SAMPLES => samples,
            _ => return Ok((Vec::new(), 1.0)),
        };
        if params.audio_ctx > self.model.audio_ctx() {
            return Err(EngineError::AudioCtx);
        }
        let _quiet = Quiet::listen();
        let hook = Hook {
            filter,
            vocabulary: self.model.vocabulary_size(),
            // what was said before stands between a mark of its own and the start
            prompt: self.model.prompt_length() + if params.prompt.is_empty() { 0 } else { params.prompt.len() + 1 },
            no_speech_token: self.model.no_speech_token(),
            no_speech: AtomicU32::new(1f32.to_bits()),
            broken: AtomicBool::new(false),
            stop,
            stopped: AtomicBool::new(false),
        };
        let mut full = params.build();
        if stop.is_some() {
            full.abort_callback = Some(is_stopped);
            full.abort_callback_user_data = (&raw const hook).cast_mut().cast();
        }
        full.logits_filter_callback = Some(filter_logits);
        full.logits_filter_callback_user_data = (&raw const hook).cast_mut().cast();
        // SAFETY: model and state are valid; `pcm`, `params.language` and `hook` outlive the call, which keeps none of them.
        let code =
            unsafe { sys::whisper_full_with_state(self.model.0.as_ptr(), state.as_ptr(), full, pcm.as_ptr(), samples) };
        if code == -7 {
            self.pointer = None; // whisper.cpp has freed it
        }
        if code != 0 && hook.stopped.into_inner() {
            return Err(EngineError::Aborted);
        }
        if code != 0 {
            return Err(EngineError::of(code));
        }
        if hook.broken.into_inner() {
            return Err(EngineError::Filter);
        }
        Ok((self.said(state), f32::from_bits(hook.no_speech.into_inner())))
    }

    fn said(&self, state: NonNull<sys::whisper_state>) -> Vec<Said> {
        let end = self.model.end_of_text();
        let mut said = Vec::new();
        // SAFETY: the state is valid; both indices are below the numbers that whisper.cpp gives.
        unsafe {
            for segment in 0..sys::whisper_full_n_segments_from_state(state.as_ptr()) {
                for token in 0..sys::whisper_full_n_tokens_from_state(state.as_ptr(), segment) {
                    let data = sys::whisper_full_get_token_data_from_state(state.as_ptr(), segment, token);
                    if data.id < end {
                        said.push(Said { id: data.id, p: data.p });
                    }
                }
            }
        }
        said
    }
}

unsafe extern "C" fn filter_logits(
    _: *mut sys::whisper_context,
    state: *mut sys::whisper_state,
    tokens: *const sys::whisper_token_data,
    count: i32,
    logits: *mut f32,
    user: *mut c_void,
) {
    // SAFETY: `user` is the hook of the call that is running; it is only read.
    let hook = unsafe { &*user.cast::<Hook<'_>>() };
    if hook.broken.load(Ordering::Relaxed) {
        return;
    }
    let done = catch_unwind(AssertUnwindSafe(|| {
        let count = usize::try_from(count).unwrap_or(0);
        if count == 0 {
            // SAFETY: the prompt has just been decoded: one row of logits for each of its tokens, the last one filled.
            let row = unsafe {
                let rows = sys::whisper_get_logits_from_state(state);
                std::slice::from_raw_parts(rows.add((hook.prompt - 1) * hook.vocabulary), hook.vocabulary)
            };
            hook.no_speech.store(probability(row, hook.no_speech_token).to_bits(), Ordering::Relaxed);
        }
        let Some(filter) = hook.filter else { return };
        // SAFETY: whisper.cpp hands over `count` tokens; with none the pointer may be null.
        let tokens = if count == 0 { &[][..] } else { unsafe { std::slice::from_raw_parts(tokens, count) } };
        let ids: Vec<i32> = tokens.iter().map(|token| token.id).collect();
        // SAFETY: one logit for each token of the vocabulary, of this decoder alone.
        let logits = unsafe { std::slice::from_raw_parts_mut(logits, hook.vocabulary) };
        filter.apply(&ids, logits);
    }));
    if done.is_err() {
        hook.broken.store(true, Ordering::Relaxed);
    }
}

/// Asked by whisper.cpp between two computations, on the thread of the call.
unsafe extern "C" fn is_stopped(user: *mut c_void) -> bool {
    // SAFETY: `user` is the hook of the call that is running; it is only read.
    let hook = unsafe { &*user.cast::<Hook<'_>>() };
    let stops = catch_unwind(AssertUnwindSafe(|| hook.stop.is_some_and(|stop| stop()))).unwrap_or(true);
    hook.stopped.fetch_or(stops, Ordering::Relaxed);
    stops
}

/// The probability of one token among raw logits.
fn probability(logits: &[f32], token: usize) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
    logits.get(token).map_or(0.0, |logit| (logit - most).exp() / sum)
}

unsafe extern "C" fn read(context: *mut c_void, output: *mut c_void, size: usize) -> usize {
    let got = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the source of the load that is running, used by nobody else.
        let source = unsafe { &mut *context.cast::<Source<'_>>() };
        // SAFETY: whisper.cpp has room for `size` bytes; they are written before they are read.
        let output = unsafe {
            output.cast::<u8>().write_bytes(0, size);
            std::slice::from_raw_parts_mut(output.cast::<u8>(), size)
        };
        let mut filled = 0;
        while let Some(rest) = output.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match source.reader.read(rest) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        source.ended |= filled < size;
        filled
    }));
    got.unwrap_or(0)
}

unsafe extern "C" fn ended(context: *mut c_void) -> bool {
    // SAFETY: as in `read`.
    unsafe { &*context.cast::<Source<'_>>() }.ended
}

unsafe extern "C" fn close(_: *mut c_void) {}

thread_local! {
    /// Errors that whisper.cpp logged while a `Quiet` lives on this thread.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps whisper.cpp from writing to standard error: what it logs may hold spoken words. Errors of this thread are kept while it lives.
struct Quiet;

impl Quiet {
    fn listen() -> Quiet {
        static INSTALLED: std::sync::Once = std::sync::Once::new();
        // SAFETY: the callback is a function without data; whisper.cpp passes it on to ggml.
        INSTALLED.call_once(|| unsafe { sys::whisper_log_set(Some(log), std::ptr::null_mut()) });
        SAID.with_borrow_mut(|said| *said = Some(String::new()));
        Quiet
    }

    fn said(&self) -> String {
        SAID.with_borrow(|said| said.as_deref().unwrap_or_default().trim().to_owned())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = SAID.try_with(|said| said.try_borrow_mut().map(|mut said| *said = None));
    }
}

unsafe extern "C" fn log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if level != sys::ggml_log_level_GGML_LOG_LEVEL_ERROR || text.is_null() {
        return;
    }
    let _ = catch_unwind(|| {
        // SAFETY: a string that ends with a zero byte.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
        let _ = SAID.try_with(|said| {
            if let Ok(mut said) = said.try_borrow_mut()
                && let Some(said) = said.as_mut()
                && said.len() + text.len() < 2_000
            {
                said.push_str(&text);
            }
        });
    });
}

/// A language code as whisper.cpp takes it.
pub(super) fn language(code: &str) -> Option<CString> {
    let _quiet = Quiet::listen();
    CString::new(code).ok().filter(|code| knows_language(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(language: &CStr) -> Params<'_> {
        Params {
            threads: 0,
            language,
            audio_ctx: 0,
            beam: 1,
            temperature_inc: 0.0,
            entropy: 2.4,
            logprob: -1.0,
            prompt: &[],
        }
    }

    #[test]
    fn the_traps_of_the_crate_are_not_stepped_in() {
        let japanese = language("ja").unwrap();
        let full = params(&japanese).build();
        assert_eq!(full.n_threads, 1, "0 threads throw");
        assert!(full.no_context, "no words of the utterance before");
        assert!(full.suppress_nst && full.no_timestamps && !full.vad);
        assert_eq!((full.max_tokens, full.max_len), (0, 0));
        assert!(full.abort_callback.is_none() && full.grammar_rules.is_null() && full.initial_prompt.is_null());
        assert!(!full.print_realtime && !full.print_progress);
        assert_eq!(full.language, japanese.as_ptr(), "the same string each time, none is leaked");
        assert!(full.prompt_tokens.is_null());
        let prompted = Params { prompt: &[1, 2], temperature_inc: 0.4, ..params(&japanese) }.build();
        assert_eq!((prompted.prompt_n_tokens, prompted.temperature_inc), (2, 0.0));
        assert_eq!(Params { beam: 200, ..params(&japanese) }.build().beam_search.beam_size, 8);
    }

    #[test]
    fn every_code_of_whisper_cpp_has_its_meaning() {
        let meant = [-2, -3, -4, -5, -6, -7, -8, -9, 1].map(EngineError::of);
        assert_eq!(
            meant,
            [
                EngineError::Spectrum,
                EngineError::Language,
                EngineError::Decoders,
                EngineError::AudioCtx,
                EngineError::Encoder,
                EngineError::Memory,
                EngineError::Decoder,
                EngineError::Decoder,
                EngineError::Unknown(1)
            ]
        );
    }

    #[test]
    fn a_language_that_whisper_does_not_know_is_refused() {
        assert!(language("ja").is_some() && language("jp").is_none() && language("j\0a").is_none());
    }
}

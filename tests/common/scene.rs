//! What people say in proofs of recognition: the utterances of a set one after the other with pauses, and where speech begins and ends in them.
#![allow(dead_code)] // each test and bench uses its part

use std::path::Path;
use std::sync::Arc;

use kakehashi::media::Codec;
use kakehashi::media::codec::{decode_g711, encode_ulaw};
use serde_json::Value;

/// Frames of 10 ms with less than this are no speech, in dB below full scale; the line noise of the sets is at −70.
pub(crate) const SPEECH_DBFS: f64 = -45.0;
/// Samples of such a frame at 8 kHz.
const STEP: usize = 80;
/// Silence after the last utterance, in seconds: it ends by the pause, not by the end of the call.
const AFTER_S: f64 = 1.6;

/// An utterance of a set.
#[derive(Clone, Debug)]
pub(crate) struct Utterance {
    /// 8 kHz, as it comes out of a telephone (PCMU).
    pub(crate) pcm: Arc<[i16]>,
    /// What is said.
    pub(crate) text: String,
    /// First and last sample of speech, by its level.
    pub(crate) speech: (usize, usize),
}

/// Reads `utterances.jsonl` of a folder as `kakehashi eval` has it.
pub(crate) fn set(folder: &Path) -> Vec<Utterance> {
    let list = std::fs::read_to_string(folder.join("utterances.jsonl"))
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |line: &str| {
        let one: Value = serde_json::from_str(line).unwrap();
        let mut wav = hound::WavReader::open(folder.join(one["file"].as_str().unwrap())).unwrap();
        assert_eq!((wav.spec().channels, wav.spec().sample_rate), (1, 8_000), "{line}");
        let coded: Vec<u8> = wav.samples::<i16>().map(|sample| encode_ulaw(sample.unwrap())).collect();
        let mut pcm = Vec::with_capacity(coded.len());
        decode_g711(Codec::Pcmu, &coded, &mut pcm);
        let pcm: Arc<[i16]> = pcm.into();
        let speech = speech_in(&pcm).expect("somebody speaks");
        Utterance { pcm, text: one["text"].as_str().unwrap().into(), speech }
    };
    list.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
}

/// Level of a stretch of sound in dB below full scale.
pub(crate) fn level(pcm: &[i16]) -> f64 {
    let power: f64 = pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (power / pcm.len().max(1) as f64 / 32_768.0_f64.powi(2)).max(1e-12).log10()
}

fn speech_in(pcm: &[i16]) -> Option<(usize, usize)> {
    let loud = |frame: &[i16]| level(frame) > SPEECH_DBFS;
    let first = pcm.chunks(STEP).position(loud)? * STEP;
    let last = pcm.chunks(STEP).rposition(loud)? * STEP + STEP;
    Some((first, last.min(pcm.len())))
}

/// Numbers that are the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// From 0 to below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }

    /// From `low` to `high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.below(1_000_000) as f64 / 1e6
    }
}

/// Something that is said in a scene.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// By which line.
    pub(crate) line: usize,
    /// First and last sample of speech on that line.
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) text: String,
}

/// The sound of one line at 8 kHz: pieces in order, silence between them. Holds each utterance once, however long it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Track {
    /// In samples.
    pub(crate) length: usize,
    /// Where each begins.
    pieces: Vec<(usize, Arc<[i16]>)>,
}

impl Track {
    /// Silence up to `at`, then a piece; it may not begin before the end of the last one.
    pub(crate) fn push(&mut self, at: usize, piece: Arc<[i16]>) {
        assert!(at >= self.length, "pieces in order");
        self.length = at + piece.len();
        self.pieces.push((at, piece));
    }

    /// The samples from `from` to before `to`, as far as it goes.
    pub(crate) fn samples(&self, from: usize, to: usize) -> Vec<i16> {
        let to = to.min(self.length);
        let mut out = vec![0; to.saturating_sub(from)];
        let first = self.pieces.partition_point(|(at, piece)| at + piece.len() <= from);
        for (at, piece) in self.pieces[first..].iter().take_while(|(at, _)| *at < to) {
            let (begin, end) = (from.max(*at), to.min(at + piece.len()));
            out[begin - from..end - from].copy_from_slice(&piece[begin - at..end - at]);
        }
        out
    }
}

/// What the lines of one call say.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) lines: Vec<Track>,
    pub(crate) said: Vec<Said>,
}

impl Scene {
    /// The lines take turns for `seconds`, from a moment in the first four on; between two utterances there are 0.4 to 1.4 s besides their own silence.
    pub(crate) fn play(set: &[Utterance], lines: usize, seconds: f64, seed: u64) -> Scene {
        let mut dice = Dice::new(seed);
        let samples = |seconds: f64| (seconds * 8_000.0) as usize;
        let (mut at, mut said, mut tracks) =
            (samples(dice.between(0.1, f64::min(4.0, seconds / 4.0))), Vec::new(), vec![Track::default(); lines]);
        for turn in 0.. {
            let one = &set[dice.below(set.len())];
            if at + one.pcm.len() > samples(seconds) && turn > 0 {
                break;
            }
            let line = turn % lines;
            said.push(Said { line, from: at + one.speech.0, to: at + one.speech.1, text: one.text.clone() });
            tracks[line].push(at, Arc::clone(&one.pcm));
            at += one.pcm.len() + samples(dice.between(0.4, 1.4));
        }
        let length = tracks.iter().map(|track| track.length).max().unwrap_or(0) + samples(AFTER_S);
        tracks.iter_mut().for_each(|track| track.length = length);
        Scene { lines: tracks, said }
    }

    /// Seconds of speech in it.
    pub(crate) fn speech_s(&self) -> f64 {
        self.said.iter().map(|one| (one.to - one.from) as f64).sum::<f64>() / 8_000.0
    }
}

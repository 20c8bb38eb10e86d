//! A set of utterances: its list, its sound, and what a telephone line does to the sound.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::EvalError;
use crate::cli::interval::Random;
use crate::media::Codec;
use crate::media::codec::{decode_g711, encode_ulaw};
use crate::media::resample::Upsampler;

/// Samples in a packet of 20 ms at 8 kHz.
const PACKET: usize = 160;

/// What is said in an utterance of the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Words of the dictionary.
    #[default]
    Entry,
    /// Names or terms that sound almost like a word, and no word.
    Alike,
    /// Other names, and no word.
    Other,
    /// No name.
    None,
}

impl Kind {
    pub(super) const ALL: [Kind; 4] = [Kind::Entry, Kind::Alike, Kind::Other, Kind::None];

    /// Whether no word of the dictionary is said.
    pub(super) fn control(self) -> bool {
        self != Kind::Entry
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Entry => "entry",
            Kind::Alike => "alike",
            Kind::Other => "other",
            Kind::None => "none",
        }
    }
}

/// One line of `utterances.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) file: PathBuf,
    pub(super) text: String,
    #[serde(default)]
    pub(super) terms: Vec<String>,
    #[serde(default)]
    pub(super) kind: Kind,
}

/// What the line does to the sound before it is recognised; drawn anew for each file, the same in every run.
#[derive(Clone, Debug, Default, Args)]
pub struct Line {
    /// Through G.711 µ-law and back.
    #[arg(long)]
    pub ulaw: bool,
    /// Per cent of the packets (20 ms) that are lost; silence is in their place.
    #[arg(long, value_name = "PER_CENT")]
    pub loss: Option<f32>,
    /// White noise at this distance to the level of the utterance, in dB.
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    pub noise: Option<f32>,
}

impl Line {
    /// In a few letters; empty for a clean line.
    pub(super) fn name(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.ulaw.then(|| "ulaw".to_owned()));
        parts.extend(self.loss.map(|loss| format!("loss {loss} %")));
        parts.extend(self.noise.map(|noise| format!("noise {noise} dB")));
        parts.join(", ")
    }

    /// `samples` at 8 kHz as they arrive; `seed` tells the files apart.
    fn carry(&self, samples: &mut Vec<i16>, seed: u64) {
        let mut random = Random::new(seed);
        if let Some(distance) = self.noise {
            let power = samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len().max(1) as f64;
            let level = power.sqrt() * 10f64.powf(-f64::from(distance) / 20.0);
            for sample in samples.iter_mut() {
                // the sum of twelve equal draws is as good as normal here
                let normal = (0..12).map(|_| random.share()).sum::<f64>() - 6.0;
                *sample = (f64::from(*sample) + level * normal).round().clamp(-32_768.0, 32_767.0) as i16;
            }
        }
        if self.ulaw {
            let coded: Vec<u8> = samples.iter().map(|&sample| encode_ulaw(sample)).collect();
            samples.clear();
            decode_g711(Codec::Pcmu, &coded, samples);
        }
        if let Some(loss) = self.loss {
            for packet in samples.chunks_mut(PACKET) {
                if 100.0 * random.share() < f64::from(loss) {
                    packet.fill(0);
                }
            }
        }
    }
}

/// The utterances of a folder, in order.
pub(super) fn list(dir: &Path) -> Result<Vec<Listed>, EvalError> {
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

/// Names a set by its list and a model by its file.
pub(super) fn digest(list: &Path, model: &Path) -> Result<String, EvalError> {
    let digest = |path: &Path| -> std::io::Result<String> {
        let (mut file, mut hash) = (std::fs::File::open(path)?, Sha256::new());
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                got => hash.update(buffer.get(..got).unwrap_or_default()),
            }
        }
        Ok(hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect())
    };
    let digest = |path: &Path| digest(path).map_err(|source| EvalError::Unreadable { path: path.to_owned(), source });
    Ok(format!("{} {}", digest(list)?, digest(model)?))
}

/// 16 kHz samples, ±1.0, as they come over `line`.
pub(super) fn sound(path: &Path, line: &Line) -> Result<Vec<f32>, EvalError> {
    let wrong = |problem: String| EvalError::Sound { path: path.to_owned(), problem };
    let mut reader = hound::WavReader::open(path).map_err(|error| wrong(error.to_string()))?;
    let spec = reader.spec();
    if spec.channels != 1 || spec.bits_per_sample != 16 || spec.sample_format != hound::SampleFormat::Int {
        return Err(wrong(format!("{} channels, {} bit", spec.channels, spec.bits_per_sample)));
    }
    let mut samples: Vec<i16> =
        reader.samples::<i16>().collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    match spec.sample_rate {
        8_000 => {
            let name = path.file_name().map_or(0, |name| {
                name.as_encoded_bytes()
                    .iter()
                    .fold(7, |sum, &byte| u64::from(byte).wrapping_add(31_u64.wrapping_mul(sum)))
            });
            line.carry(&mut samples, name);
            let mut pcm = Vec::with_capacity(2 * samples.len());
            Upsampler::new().push(&samples, &mut pcm);
            Ok(pcm)
        }
        16_000 if line.name().is_empty() => Ok(samples.iter().map(|&sample| f32::from(sample) / 32_768.0).collect()),
        16_000 => Err(wrong("16000 Hz, and a telephone line that carries 8000 Hz".into())),
        rate => Err(wrong(format!("{rate} Hz"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone() -> Vec<i16> {
        (0..8_000).map(|n| (8_000.0 * (f64::from(n) * 0.3).sin()) as i16).collect()
    }

    fn carried(line: &Line, seed: u64) -> Vec<i16> {
        let mut samples = tone();
        line.carry(&mut samples, seed);
        samples
    }

    #[test]
    fn a_clean_line_changes_nothing_and_a_bad_one_is_bad_the_same_way_each_time() {
        assert_eq!(carried(&Line::default(), 1), tone());
        let bad = Line { ulaw: true, loss: Some(5.0), noise: Some(10.0) };
        assert_eq!(carried(&bad, 1), carried(&bad, 1));
        assert_ne!(carried(&bad, 1), carried(&bad, 2));
        assert_eq!(bad.name(), "ulaw, loss 5 %, noise 10 dB");
    }

    #[test]
    fn as_many_packets_are_lost_and_as_much_noise_is_added_as_asked_for() {
        let silent = |loss| {
            let samples: Vec<i16> =
                (0..200).flat_map(|seed| carried(&Line { loss: Some(loss), ..Line::default() }, seed)).collect();
            100.0 * samples.chunks(PACKET).filter(|packet| packet.iter().all(|&s| s == 0)).count() as f64
                / samples.chunks(PACKET).len() as f64
        };
        assert!((4.5..5.5).contains(&silent(5.0)) && silent(0.0) == 0.0 && silent(100.0) == 100.0);
        let power = |samples: &[f64]| samples.iter().map(|s| s * s).sum::<f64>();
        let noisy = carried(&Line { noise: Some(10.0), ..Line::default() }, 3);
        let difference: Vec<f64> = noisy.iter().zip(tone()).map(|(a, b)| f64::from(*a) - f64::from(b)).collect();
        let speech: Vec<f64> = tone().into_iter().map(f64::from).collect();
        let distance = 10.0 * (power(&speech) / power(&difference)).log10();
        assert!((9.5..10.5).contains(&distance), "{distance}");
        let coded = carried(&Line { ulaw: true, ..Line::default() }, 3);
        assert!(coded != tone() && coded.iter().zip(tone()).all(|(a, b)| (a - b).abs() < 400));
    }
}

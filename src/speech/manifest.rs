//! What must be known of a model before it is used: its checksum and the thresholds that fit it. One TOML file beside each model.

use serde::{Deserialize, Serialize};

/// The manifest of a model. What is left out has the values that fit OpenAI's models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// What the file must be; unchecked when left out.
    pub file: Option<File>,
    /// How it decodes.
    pub decode: Decode,
    /// How much of the 30 s window short sounds may leave out; everything is heard when left out.
    pub audio_ctx: Option<AudioCtx>,
    /// Which texts are not believed.
    pub reject: Reject,
}

/// The file that the manifest is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// Decoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decode {
    /// Hypotheses that are followed at once, 1–8; 1 is greedy.
    pub beam: u8,
    /// The same where an utterance is heard a second time with the dictionary's bias, which is done where the recogniser was not sure.
    pub second_beam: u8,
    /// Step by which the temperature rises when a decode fails, 0 for no second try.
    pub temperature_inc: f32,
    /// A text of more than 32 tokens whose entropy is below this has failed (it repeats itself).
    pub entropy: f32,
    /// A text whose mean log-probability is below this has failed, or is no speech.
    pub logprob: f32,
    /// Above this probability of no speech, a text with a low log-probability is dropped.
    pub no_speech: f32,
}

impl Default for Decode {
    fn default() -> Self {
        Self { beam: 1, second_beam: 4, temperature_inc: 0.4, entropy: 2.4, logprob: -1.0, no_speech: 0.6 }
    }
}

/// Short windows of the encoder (`audio_ctx`), in positions of 20 ms. A site allows them for a model only after it has compared texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioCtx {
    /// Positions after the end of the sound.
    pub margin: u32,
    /// The window is a multiple of this; a multiple of 256 itself.
    pub bucket: u32,
    /// The utterances on which the short windows were compared with the whole one (`kakehashi eval`); empty: they were not.
    #[serde(default)]
    pub measured: String,
    /// How much higher the character error rate may be there than with the whole window, in points.
    #[serde(default)]
    pub worse_by: f32,
}

/// Texts that are not believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reject {
    /// Nobody speaks faster than this.
    pub characters_per_second: f32,
    /// The same tokens this often in a row are a loop; one of them is kept.
    pub repeats: u32,
    /// A text of which less than this share of the three-character pieces differ repeats itself, 0–1.
    pub distinct: f32,
    /// Under a weak sign of a voice, and of a stock phrase always, a mean probability of at least this is asked for, 0–1.
    pub weak_confidence: f32,
    /// Less voice than this is a weak sign, in milliseconds.
    pub weak_voiced_ms: f32,
    /// A voice below this is a weak sign, in dB below full scale.
    pub weak_dbfs: f32,
    /// A smaller share of the voice than this that is clearly one, and no music, is a weak sign, 0–1.
    pub weak_share: f32,
    /// Mean log-odds from which sound without any clear voice is music or noise whatever its text.
    pub no_voice: f32,
    /// What recognisers write over silence and music. A text of nothing else is believed only when the sound shows a voice and the model is sure.
    pub stock_phrases: Vec<String>,
}

impl Default for Reject {
    fn default() -> Self {
        Self {
            characters_per_second: 18.0,
            repeats: 5,
            distinct: 0.35,
            weak_confidence: 0.6,
            weak_voiced_ms: 200.0,
            weak_dbfs: -55.0,
            weak_share: 0.2,
            no_voice: 1.5,
            stock_phrases: STOCK_PHRASES.map(String::from).into(),
        }
    }
}

/// Longer phrases first: each is taken out of a text before the next is looked for.
const STOCK_PHRASES: [&str; 24] = [
    "最後までご視聴いただきありがとうございます",
    "最後までご視聴いただきありがとうございました",
    "ご視聴いただきありがとうございます",
    "ご視聴いただきありがとうございました",
    "ご視聴ありがとうございました",
    "ご視聴ありがとうございます",
    "視聴ありがとうございました",
    "チャンネル登録よろしくお願いします",
    "チャンネル登録をお願いします",
    "チャンネル登録お願いします",
    "チャンネル登録",
    "高評価",
    "次の動画でお会いしましょう",
    "また次の動画で",
    "次の動画で",
    "また次回お会いしましょう",
    "字幕",
    "どうもありがとうございました",
    "ありがとうございました",
    "おやすみなさい",
    "お疲れ様でした",
    "thank you for watching",
    "thanks for watching",
    "subtitles by the amaraorg community",
];

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not TOML, or has keys that are not known.
    #[error("{0}")]
    Syntax(String),
    /// A value that cannot be.
    #[error("`{key}` is {found}; expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Names the line or the key.
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        let manifest: Manifest =
            toml::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string().trim().replace('\n', " ")))?;
        let wrong = |key, found: String, expected| Err(ManifestError::Value { key, found, expected });
        let decode = &manifest.decode;
        let beams = [("decode.beam", decode.beam), ("decode.second_beam", decode.second_beam)];
        if let Some((key, found)) = beams.into_iter().find(|(_, beam)| !(1..=8).contains(beam)) {
            return wrong(key, found.to_string(), "1–8");
        }
        if decode.temperature_inc != 0.0 && !(0.1..=1.0).contains(&decode.temperature_inc) {
            return wrong("decode.temperature_inc", decode.temperature_inc.to_string(), "0 or 0.1–1.0");
        }
        if let Some(ctx) = &manifest.audio_ctx
            && (ctx.bucket == 0 || ctx.bucket % 256 != 0 || ctx.bucket > 1_280)
        {
            return wrong("audio_ctx.bucket", ctx.bucket.to_string(), "256, 512, 768, 1024 or 1280");
        }
        if let Some(file) = &manifest.file
            && (file.sha256.len() != 64 || !file.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return wrong("file.sha256", format!("{:?}", file.sha256), "64 hexadecimal digits");
        }
        if manifest.reject.repeats < 2 {
            return wrong("reject.repeats", manifest.reject.repeats.to_string(), "2 or more");
        }
        let reject = &manifest.reject;
        let shares = [
            ("reject.distinct", reject.distinct),
            ("reject.weak_confidence", reject.weak_confidence),
            ("reject.weak_share", reject.weak_share),
        ];
        if let Some((key, found)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return wrong(key, found.to_string(), "0–1");
        }
        if reject.stock_phrases.iter().any(|phrase| !phrase.chars().any(char::is_alphanumeric)) {
            return wrong("reject.stock_phrases", "a phrase without a letter".into(), "phrases with letters in them");
        }
        Ok(manifest)
    }

    /// The encoder's window for `samples` at 16 kHz on a model of `full` positions; 0 for all of it.
    ///
    /// A multiple of 256: with flash attention whisper.cpp attends to the window rounded up to 256, and what stands in the rest is left
    /// over from the utterance before.
    pub fn window(&self, samples: usize, full: u32) -> u32 {
        let Some(ctx) = &self.audio_ctx else { return 0 };
        let heard = u32::try_from(samples.div_ceil(320)).unwrap_or(u32::MAX);
        let wanted = heard.saturating_add(ctx.margin).div_ceil(ctx.bucket.max(1)).saturating_mul(ctx.bucket);
        if wanted < full { wanted } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_manifest_reads_and_its_window_is_short_for_short_sounds() {
        let manifest = Manifest::parse(include_str!("../../models/kakehashi-lab-ja.toml")).unwrap();
        assert_eq!(manifest.file.as_ref().unwrap().bytes, 28_269_625);
        assert_eq!(manifest.window(16_000, 1_500), 256);
        assert!(manifest.window(16_000 * 14, 1_500) <= 768);
        assert_eq!(manifest.window(16_000 * 29, 1_500), 0, "the whole window");
        assert_eq!(Manifest::default().window(16_000, 1_500), 0, "never short unless the manifest allows it");
    }

    #[test]
    fn a_window_that_would_mix_utterances_is_refused() {
        let error = Manifest::parse("[audio_ctx]\nmargin = 10\nbucket = 100\n").unwrap_err();
        assert!(error.to_string().contains("audio_ctx.bucket"), "{error}");
        let error = Manifest::parse("[decode]\nbeams = 3\n").unwrap_err();
        assert!(error.to_string().contains("beams"), "{error}");
        let error = Manifest::parse("[reject]\nweak_share = 20\n").unwrap_err();
        assert!(error.to_string().contains("`reject.weak_share` is 20; expected 0–1"), "{error}");
        let error = Manifest::parse("[reject]\nstock_phrases = [\"、\"]\n").unwrap_err();
        assert!(error.to_string().contains("stock_phrases"), "{error}");
    }
}

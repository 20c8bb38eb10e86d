//! What the sound of an utterance says for itself, whatever text a recogniser writes for it.

use super::manifest::Reject;
use super::vad::Vad;

/// Score from which a frame counts as voiced here; that of `[speech] vad_threshold`'s default.
const VOICED: f32 = 0.4;
/// Milliseconds of a frame.
const FRAME_MS: f32 = 16.0;
/// Samples of a frame at 16 kHz.
const FRAME: usize = 256;

/// What the sound of an utterance says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Its length, in seconds.
    pub seconds: f32,
    /// Loudness of its voiced frames, in dB below full scale; −120 without any.
    pub level_dbfs: f32,
    /// Voiced frames that are no tones, in milliseconds.
    pub voiced_ms: f32,
    /// Mean log-odds of its windows that it is music or noise (above 0) or a voice (below 0); 0 when it is too short to tell.
    pub music: f32,
    /// How much of it ends a second that was clearly a voice, in milliseconds.
    pub clear_ms: f32,
}

impl Evidence {
    /// Measures `pcm` (16 kHz, ±1.0).
    pub fn of(pcm: &[f32]) -> Evidence {
        let mut vad = Vad::new(16_000, VOICED, -70.0, true);
        let (mut voiced, mut energy) = (0u32, 0.0f32);
        let mut frame = Vec::with_capacity(FRAME);
        for samples in pcm.chunks(FRAME) {
            frame.clear();
            frame.extend(samples.iter().map(|sample| (sample * 32_768.0) as i16));
            let verdict = vad.judge(&frame);
            if verdict.score >= VOICED && !verdict.tone {
                voiced += 1;
                energy += samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32;
            }
        }
        let mean = energy / (voiced as f32).max(1.0);
        Evidence {
            seconds: pcm.len() as f32 / 16_000.0,
            level_dbfs: 10.0 * mean.max(1e-12).log10(),
            voiced_ms: voiced as f32 * FRAME_MS,
            music: vad.mean_odds(),
            clear_ms: vad.clear_frames() as f32 * FRAME_MS,
        }
    }
}

impl Evidence {
    /// Whether little speaks for a voice: hardly any sound of one, a faint one, or no stretch that is clearly a voice.
    pub fn is_weak(&self, reject: &Reject) -> bool {
        let told = self.music != 0.0; // long enough to tell
        self.voiced_ms < reject.weak_voiced_ms
            || self.level_dbfs < reject.weak_dbfs
            || (told && self.clear_ms < reject.weak_share * self.voiced_ms)
    }

    /// Whether it is music or noise from end to end.
    pub fn is_no_voice(&self, reject: &Reject) -> bool {
        self.voiced_ms == 0.0 || (self.music > reject.no_voice && self.clear_ms == 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::resample::Upsampler;

    fn call(from: f32, to: f32) -> Vec<f32> {
        let wav = include_bytes!("../../samples/calls/call1.wav");
        let samples: Vec<i16> =
            hound::WavReader::new(wav.as_slice()).unwrap().into_samples::<i16>().map(Result::unwrap).collect();
        let agent: Vec<i16> = samples.chunks_exact(2).map(|pair| pair[1]).collect();
        let mut pcm = Vec::new();
        Upsampler::new().push(&agent[(from * 8_000.0) as usize..(to * 8_000.0) as usize], &mut pcm);
        pcm
    }

    #[test]
    fn a_voice_is_told_from_a_chord_and_from_nothing() {
        let voice = Evidence::of(&call(0.4, 7.9));
        assert!(voice.voiced_ms > 3_000.0 && voice.level_dbfs > -40.0 && voice.music < -2.0, "{voice:?}");
        let sine = |hz: f32, n: usize| (std::f32::consts::TAU * hz * n as f32 / 16_000.0).sin();
        let chord = |n| [220.0, 277.2, 329.6, 440.0, 554.4].iter().map(|hz| 0.05 * sine(*hz, n)).sum::<f32>();
        let music = Evidence::of(&(0..48_000).map(chord).collect::<Vec<_>>());
        assert!(music.music > 2.0, "{music:?}");
        for nothing in [Vec::new(), vec![0.0; 32_000]] {
            let nothing = Evidence::of(&nothing);
            assert_eq!((nothing.voiced_ms, nothing.level_dbfs, nothing.music), (0.0, -120.0, 0.0));
        }
    }
}

//! Voice or not, 16 ms at a time: a small neural detector behind a floor of energy, and no tones.

use earshot::Detector;

use super::tone::Tone;
use crate::media::resample::Upsampler;

/// Samples of one frame at 16 kHz.
const FRAME: usize = 256;

/// What was found in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The detector's score, 0–1; 0 below the floor.
    pub score: f32,
    /// The score is at or above the threshold and it is no tone.
    pub voice: bool,
    /// It would be voice if it were not a tone.
    pub tone: bool,
}

/// Detects voice in one stream. Memory is constant.
pub struct Vad {
    detector: Box<Detector>,
    upsampler: Option<Upsampler>,
    waiting: Vec<f32>,
    tone: Tone,
    threshold: f32,
    /// Least mean square of a frame with voice, full scale 1.
    floor: f32,
}

impl std::fmt::Debug for Vad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vad").field("threshold", &self.threshold).field("floor", &self.floor).finish_non_exhaustive()
    }
}

impl Vad {
    /// A detector for `rate` Hz (8000 or 16000) with a `threshold` of 0–1 and a floor in dB below full scale.
    pub fn new(rate: u32, threshold: f32, floor_dbfs: f32) -> Self {
        Self {
            detector: Box::new(Detector::default()),
            upsampler: (rate == 8_000).then(Upsampler::new),
            waiting: Vec::with_capacity(2 * FRAME),
            tone: Tone::default(),
            threshold,
            floor: 10f32.powf(floor_dbfs / 10.0),
        }
    }

    /// Samples of one frame at `rate` Hz.
    pub fn frame(rate: u32) -> usize {
        if rate == 8_000 { FRAME / 2 } else { FRAME }
    }

    /// Judges one frame of [`Vad::frame`] samples (native rate, ±32768); a shorter one is filled with silence.
    pub fn judge(&mut self, samples: &[i16]) -> Verdict {
        self.waiting.clear();
        match &mut self.upsampler {
            Some(upsampler) => upsampler.push(samples, &mut self.waiting),
            None => self.waiting.extend(samples.iter().map(|&sample| f32::from(sample) / 32_768.0)),
        }
        self.waiting.resize(FRAME, 0.0);
        for sample in &mut self.waiting {
            *sample = sample.clamp(-1.0, 1.0); // the filter may overshoot, the detector takes ±1
        }
        let energy = self.waiting.iter().map(|sample| sample * sample).sum::<f32>() / FRAME as f32;
        let score = self.detector.predict_f32(&self.waiting);
        let score = if energy >= self.floor { score.clamp(0.0, 1.0) } else { 0.0 };
        self.tone.push(self.waiting.chunks_exact(2).map(|pair| (pair[0] + pair[1]) / 2.0));
        let loud = score >= self.threshold;
        let tone = loud && self.tone.heard();
        Verdict { score, voice: loud && !tone, tone }
    }

    /// Forgets what was heard, for a place after a gap.
    pub fn reset(&mut self) {
        self.detector.reset();
        self.tone = Tone::default();
        if let Some(upsampler) = &mut self.upsampler {
            *upsampler = Upsampler::new();
        }
    }
}

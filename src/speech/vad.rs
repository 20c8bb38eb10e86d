//! Voice or not, 16 ms at a time: a small neural detector behind a floor of energy, and neither tones nor music nor steady noise.

use earshot::Detector;

use super::music::Music;
use super::spectrum::Spectrum;
use super::tone::Tone;
use crate::media::resample::Upsampler;

/// Samples of one frame at 16 kHz.
const FRAME: usize = 256;

/// What was found in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The detector's score, 0–1; 0 below the floor.
    pub score: f32,
    /// The score is at or above the threshold, and it is neither a tone nor music.
    pub voice: bool,
    /// It would be voice if it were not a tone.
    pub tone: bool,
    /// It would be voice if the last second did not sound like music or steady noise.
    pub music: bool,
    /// Evidence for music or steady noise (above 0) or for a human voice (below 0) in the sound so far.
    pub evidence: f32,
}

/// Detects voice in one stream. Memory is constant.
pub struct Vad {
    detector: Box<Detector>,
    upsampler: Option<Upsampler>,
    waiting: Vec<f32>,
    spectrum: Spectrum,
    tone: Tone,
    music: Music,
    gate: bool,
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
    /// A detector for `rate` Hz (8000 or 16000) with a `threshold` of 0–1 and a floor in dB below full scale. Without the `gate`, tones, music
    /// and noise count as voice where the neural detector takes them for voice.
    pub fn new(rate: u32, threshold: f32, floor_dbfs: f32, gate: bool) -> Self {
        Self {
            detector: Box::new(Detector::default()),
            upsampler: (rate == 8_000).then(Upsampler::new),
            waiting: Vec::with_capacity(2 * FRAME),
            spectrum: Spectrum::default(),
            tone: Tone::default(),
            music: Music::default(),
            gate,
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
        self.spectrum.push(self.waiting.chunks_exact(2).map(|pair| (pair[0] + pair[1]) / 2.0));
        let loud = score >= self.threshold;
        if !self.gate {
            return Verdict { score, voice: loud, tone: false, music: false, evidence: f32::NEG_INFINITY };
        }
        let lines = (loud || self.music.listens()).then(|| self.spectrum.energy());
        let tone = loud && lines.as_ref().is_some_and(|lines| self.tone.heard(lines));
        self.music.push(lines.as_ref(), loud);
        let evidence = self.music.evidence();
        let music = loud && !tone && self.music.certain();
        Verdict { score, voice: loud && !tone && !music, tone, music, evidence }
    }

    /// Mean log-odds, over all that was heard, that it is music or noise (above 0) or a voice (below 0); 0 when it was too short to tell.
    pub fn mean_odds(&self) -> f32 {
        self.music.mean_odds()
    }

    /// Frames so far at the end of a second that was clearly a voice.
    pub fn clear_frames(&self) -> u32 {
        self.music.clear()
    }

    /// Forgets what was heard, for a place after a gap.
    pub fn reset(&mut self) {
        self.detector.reset();
        self.spectrum = Spectrum::default();
        self.tone = Tone::default();
        self.music = Music::default();
        if let Some(upsampler) = &mut self.upsampler {
            *upsampler = Upsampler::new();
        }
    }
}

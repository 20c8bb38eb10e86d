//! Tells music and steady noise from voice by how the spectrum moves, because a voice detector takes both for voice.
//!
//! Lines of music stand still for the length of a note, steady noise keeps its shape; those of a voice glide, and its loudness and its
//! colour change from syllable to syllable. Eight such measures of the last second are weighed against each other (see `docs/speech.md` for
//! where the weights come from) and what they say is summed up, so that a held vowel is no music and a pause in a melody no voice.

use super::spectrum::LINES;

/// Lines of the telephone band that are looked at: 203–3500 Hz.
const BAND: std::ops::Range<usize> = 13..224;
const WIDTH: usize = 211;
/// Lines on each side over which the shape of the spectrum is averaged, to see its fine structure.
const AROUND: usize = 6;
/// How long ago the fine structure is compared with, in frames of 16 ms.
const LAGS: [usize; 3] = [4, 8, 12];
const KEPT: usize = 12;
/// Frames of the window (1 s).
const WINDOW: usize = 64;
/// Fewer frames than this say nothing.
const LEAST: usize = 18;
/// Below this many frames, the weights for short windows are taken.
const SHORT: usize = 40;
/// Frames without sound after which a new sound begins (704 ms).
const QUIET: usize = 44;
/// Edges of the bands whose change is measured, in lines of the band.
const EDGES: [usize; 9] = [0, 16, 34, 54, 76, 102, 132, 168, WIDTH];
const MEASURES: usize = 8;

/// What is weighed, in order: stillness over 64, 128 and 192 ms, change of the bands, spread and steps of the loudness, spread of the
/// colour (high against low) and of the entropy; then the constant.
type Weights = [f32; MEASURES + 1];
const WEIGHTS_SHORT: Weights = [8.350, 16.572, -0.179, -3.285, 0.220, -0.002, -2.975, -5.714, -5.107];
const WEIGHTS_LONG: Weights = [6.137, 17.709, -9.197, -1.671, -0.202, 0.262, -1.456, -2.721, -0.988];

/// Log-odds of one window count at most this much.
const MOST: f32 = 4.0;
/// Log-odds of a window that is clearly a voice.
const CLEAR: f32 = -3.0;
/// Evidence from which sound counts as music or steady noise.
const CERTAIN: f32 = 24.0;
/// The evidence stays within this on both sides: what went on for long is turned by a third of a second of clear windows.
const LIMIT: f32 = 80.0;
/// What is left of the evidence when a new sound begins.
const LEFT: f32 = 0.5;
/// How the loudness of music is followed, upwards and downwards, in parts of the difference.
const FOLLOW_UP: f32 = 0.2;
const FOLLOW_DOWN: f32 = 0.01;
/// So many frames in a row that are so much louder than the music begin a new sound: somebody speaks over it.
const LOUDER_DB: f32 = 5.0;
const LOUDER_FRAMES: usize = 4;

/// One frame's scalars.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// In dB.
    loudness: f32,
    still: [f32; 3],
    change: f32,
    colour: f32,
    entropy: f32,
}

/// Weighs the last second of a stream. Memory is constant (about 15 KiB).
#[derive(Clone, Debug)]
pub(super) struct Music {
    fine: Box<[[f32; WIDTH]; KEPT]>,
    bands: [[f32; 8]; KEPT],
    frames: [Frame; WINDOW],
    /// Frames of the sound so far.
    count: usize,
    quiet: usize,
    sum: f32,
    /// Loudness of the music, in dB, and frames in a row above it.
    level: Option<f32>,
    louder: usize,
    /// Sum and number of all windows' log-odds, and how many of them were clearly a voice.
    all: (f32, u32),
    clear: u32,
}

impl Default for Music {
    fn default() -> Self {
        Self {
            fine: Box::new([[0.0; WIDTH]; KEPT]),
            bands: [[0.0; 8]; KEPT],
            frames: [Frame::default(); WINDOW],
            count: 0,
            quiet: 0,
            sum: 0.0,
            level: None,
            louder: 0,
            all: (0.0, 0),
            clear: 0,
        }
    }
}

impl Music {
    /// Whether the next frame needs its spectrum.
    pub(super) fn listens(&self) -> bool {
        self.count > 0
    }

    /// Takes the spectrum of a frame that is `loud` (taken for voice) or stands within a sound; `None` in silence.
    pub(super) fn push(&mut self, energy: Option<&[f32; LINES]>, loud: bool) {
        self.quiet = if loud { 0 } else { self.quiet + 1 };
        if self.quiet > QUIET || (!loud && self.count < 3) {
            if self.count > LEAST {
                self.sum *= LEFT;
            }
            self.count = 0;
            return;
        }
        let Some(energy) = energy else { return };
        let frame = self.measure(energy);
        self.follow(frame.loudness);
        self.frames[self.count % WINDOW] = frame;
        self.count += 1;
        if loud && let Some(odds) = self.odds() {
            self.all = (self.all.0 + odds, self.all.1.saturating_add(1));
            self.clear = self.clear.saturating_add(u32::from(odds <= CLEAR));
            let doubtful = !self.certain();
            self.sum = (self.sum + odds.clamp(-MOST, MOST)).clamp(-LIMIT, LIMIT);
            if doubtful && self.certain() {
                (self.level, self.louder) = (Some(frame.loudness), 0);
            }
        }
    }

    /// Evidence for music or noise above 0, for voice below; 0 when nothing is known.
    pub(super) fn evidence(&self) -> f32 {
        self.sum
    }

    /// Mean log-odds of all windows so far; 0 without any.
    pub(super) fn mean_odds(&self) -> f32 {
        self.all.0 / (self.all.1 as f32).max(1.0)
    }

    /// Windows so far that were clearly a voice, one for each loud frame.
    pub(super) fn clear(&self) -> u32 {
        self.clear
    }

    /// Whether it is certain that it is music or steady noise.
    pub(super) fn certain(&self) -> bool {
        self.sum >= CERTAIN
    }

    /// Follows the loudness of music; what is clearly louder is a new sound.
    fn follow(&mut self, loudness: f32) {
        let level = self.level.unwrap_or(loudness);
        self.louder = if loudness > level + LOUDER_DB { self.louder + 1 } else { 0 };
        if self.certain() {
            let part = if loudness > level { FOLLOW_UP } else { FOLLOW_DOWN };
            if self.louder >= LOUDER_FRAMES {
                (self.count, self.sum, self.louder) = (0, 0.0, 0);
            } else if self.louder == 0 {
                self.level = Some(level + part * (loudness - level));
            }
        }
    }

    fn measure(&mut self, energy: &[f32; LINES]) -> Frame {
        let band: &[f32] = &energy[BAND];
        let most = band.iter().copied().fold(0.0, f32::max);
        let floor = most * 1e-4 + 1e-9;
        let level: [f32; WIDTH] = std::array::from_fn(|n| (band[n] + floor).ln());
        let fine = fine_structure(&level);
        let total = band.iter().sum::<f32>() + 1e-9;
        let bands: [f32; 8] = std::array::from_fn(|n| {
            let lines = &band[EDGES[n]..EDGES[n + 1]];
            (lines.iter().sum::<f32>() / lines.len() as f32 + floor).ln()
        });
        let before = |lag: usize| (self.count + 10 * KEPT - lag) % KEPT;
        let entropy = |line: &f32| {
            let share = line / total;
            if share > 1e-9 { -share * share.ln() } else { 0.0 }
        };
        let low: f32 = band[..EDGES[5]].iter().sum();
        let frame = Frame {
            loudness: 10.0 * (total / WIDTH as f32).log10(),
            still: LAGS.map(|lag| fine.iter().zip(&self.fine[before(lag)]).map(|(a, b)| a * b).sum()),
            change: bands.iter().zip(&self.bands[before(4)]).map(|(a, b)| (a - b).abs()).sum::<f32>() / 8.0,
            colour: ((total - low + floor) / (low + floor)).ln(),
            entropy: band.iter().map(entropy).sum(),
        };
        let at = self.count % KEPT;
        (self.fine[at], self.bands[at]) = (fine, bands);
        frame
    }

    /// The frame that was taken `ago` frames before the last one.
    fn frame(&self, ago: usize) -> &Frame {
        &self.frames[(self.count + WINDOW - 1 - ago) % WINDOW]
    }

    /// Measures of the window; `None` while too little was heard.
    fn measures(&self) -> Option<[f32; MEASURES]> {
        let count = self.count.min(WINDOW);
        if count < LEAST {
            return None;
        }
        let most = (0..count).map(|ago| self.frame(ago).loudness).fold(f32::NEG_INFINITY, f32::max);
        let heard = |ago: usize| self.frame(ago).loudness > most - 30.0;
        let paired = |lag: usize, value: &dyn Fn(&Frame) -> f32| {
            let pairs = (0..count - lag).filter(|&ago| heard(ago) && heard(ago + lag));
            let (sum, pairs) = pairs.fold((0.0, 0), |(sum, n), ago| (sum + value(self.frame(ago)), n + 1));
            (sum / (pairs as f32).max(1.0), pairs)
        };
        let (still_64, _) = paired(LAGS[0], &|frame| frame.still[0]);
        let (still_128, pairs) = paired(LAGS[1], &|frame| frame.still[1]);
        let (still_192, far_pairs) = paired(LAGS[2], &|frame| frame.still[2]);
        if pairs < 6 {
            return None;
        }
        let (change, _) = paired(4, &|frame| frame.change);
        let loudness = |ago: usize| self.frame(ago).loudness.max(most - 40.0);
        let steps: f32 = (1..count).map(|ago| (loudness(ago) - loudness(ago - 1)).abs()).sum();
        Some([
            still_64,
            still_128,
            if far_pairs < 4 { 0.93 * still_128 } else { still_192 },
            change,
            spread((0..count).map(loudness)),
            steps / (count - 1) as f32,
            spread((0..count).filter(|&ago| heard(ago)).map(|ago| self.frame(ago).colour)),
            spread((0..count).filter(|&ago| heard(ago)).map(|ago| self.frame(ago).entropy)),
        ])
    }

    /// Log-odds that the window holds no voice.
    fn odds(&self) -> Option<f32> {
        let measures = self.measures()?;
        let weights = if self.count < SHORT { &WEIGHTS_SHORT } else { &WEIGHTS_LONG };
        let sum: f32 = measures.iter().zip(weights).map(|(measure, weight)| measure * weight).sum();
        Some(sum + weights[MEASURES])
    }
}

/// What stands out of the shape of the spectrum, as a vector of length 1.
fn fine_structure(level: &[f32; WIDTH]) -> [f32; WIDTH] {
    let mut fine = [0.0f32; WIDTH];
    for (n, place) in fine.iter_mut().enumerate() {
        let around = &level[n.saturating_sub(AROUND)..(n + AROUND + 1).min(WIDTH)];
        *place = (level[n] - around.iter().sum::<f32>() / around.len() as f32).max(0.0);
    }
    let length = fine.iter().map(|one| one * one).sum::<f32>().sqrt().max(1e-6);
    fine.map(|one| one / length)
}

/// Standard deviation.
fn spread(values: impl Iterator<Item = f32> + Clone) -> f32 {
    let count = (values.clone().count() as f32).max(1.0);
    let mean = values.clone().sum::<f32>() / count;
    (values.map(|value| (value - mean) * (value - mean)).sum::<f32>() / count).sqrt()
}

#[cfg(test)]
mod tests;

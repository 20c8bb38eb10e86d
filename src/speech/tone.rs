//! Tells tones (ringing, busy, keypad) from voice, which a voice detector takes them for.

use std::f32::consts::PI;

/// Samples of the window at 8 kHz (64 ms, lines 15.6 Hz apart).
const WINDOW: usize = 512;
/// Lines on each side that belong to one tone: its lobe and the beat of a ringing tone.
const LOBE: usize = 3;
/// Two tones hold at least this share of the energy; voice has more harmonics.
const SHARE: f32 = 0.95;
/// Windows in a row with the same strongest line; the pitch of a voice moves.
const STEADY: u32 = 4;

/// The last 64 ms of a stream.
#[derive(Clone, Debug)]
pub(super) struct Tone {
    past: Vec<f32>,
    /// Windows in a row that looked like a tone, the first of them on line `line`.
    steady: u32,
    line: usize,
}

impl Default for Tone {
    fn default() -> Self {
        Self { past: vec![0.0; WINDOW], steady: 0, line: 0 }
    }
}

impl Tone {
    /// Takes samples (±1.0) at 8 kHz.
    pub(super) fn push(&mut self, samples: impl Iterator<Item = f32>) {
        self.past.extend(samples);
        self.past.drain(..self.past.len() - WINDOW);
    }

    /// Whether one or two steady tones make up what was last pushed; ask after every push that may be one.
    pub(super) fn heard(&mut self) -> bool {
        let energy = spectrum(&self.past);
        let all: f32 = energy.iter().sum();
        let (line, first, rest) = without_strongest(&energy);
        let (_, second, _) = without_strongest(&rest);
        let like = all > 0.0 && first + second >= SHARE * all;
        let same = line.abs_diff(self.line) <= 1;
        self.steady = match (like, same) {
            (false, _) => 0,
            (true, true) => self.steady + 1,
            (true, false) => 1,
        };
        if self.steady <= 1 {
            self.line = line;
        }
        self.steady >= STEADY
    }
}

/// The strongest line, the energy around it, and the spectrum without it.
fn without_strongest(energy: &[f32]) -> (usize, f32, Vec<f32>) {
    let strongest = (0..energy.len()).max_by(|&a, &b| energy[a].total_cmp(&energy[b])).unwrap_or(0);
    let mut rest = energy.to_vec();
    let from = strongest.saturating_sub(LOBE);
    let lobe = rest.get_mut(from..(strongest + LOBE + 1).min(energy.len())).unwrap_or_default();
    let sum = lobe.iter().sum();
    lobe.fill(0.0);
    (strongest, sum, rest)
}

/// Energy of each line of a Hann-windowed stretch, by a radix-2 Fourier transform.
fn spectrum(samples: &[f32]) -> Vec<f32> {
    let count = samples.len();
    let bits = count.trailing_zeros();
    let mut re = vec![0.0f32; count];
    let mut im = vec![0.0f32; count];
    for (n, sample) in samples.iter().enumerate() {
        let window = 0.5 - 0.5 * (2.0 * PI * n as f32 / count as f32).cos();
        re[n.reverse_bits() >> (usize::BITS - bits)] = sample * window;
    }
    let mut half = 1;
    while half < count {
        for k in 0..half {
            let (sin, cos) = (-PI * k as f32 / half as f32).sin_cos();
            for a in (k..count).step_by(2 * half) {
                let b = a + half;
                let (x, y) = (re[b] * cos - im[b] * sin, re[b] * sin + im[b] * cos);
                (re[b], im[b]) = (re[a] - x, im[a] - y);
                (re[a], im[a]) = (re[a] + x, im[a] + y);
            }
        }
        half *= 2;
    }
    (0..count / 2).map(|n| re[n] * re[n] + im[n] * im[n]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(sound: impl Fn(f32) -> f32) -> bool {
        let mut tone = Tone::default();
        let mut heard = false;
        for frame in 0..20 {
            tone.push((0..128).map(|n| sound((frame * 128 + n) as f32 / 8_000.0)));
            heard = tone.heard();
        }
        heard
    }

    #[test]
    fn one_and_two_tones_are_tones_and_a_voice_is_none() {
        let sine = |hz: f32, t: f32| (2.0 * PI * hz * t).sin();
        assert!(heard(|t| sine(400.0, t)));
        assert!(heard(|t| sine(697.0, t) + 0.8 * sine(1_209.0, t)));
        assert!(heard(|t| sine(400.0, t) * (1.0 + sine(16.0, t))), "ringing tone");
        let voice = |t: f32| (1..12).map(|n| sine(140.0 * n as f32, t) / n as f32).sum::<f32>();
        assert!(!heard(voice));
        assert!(!heard(|t| sine(400.0 + 300.0 * t, t)), "a note that glides");
        assert!(!heard(|_| 0.0), "silence");
    }
}

//! Tells tones (ringing, busy, keypad) from voice, which a voice detector takes them for.

use super::spectrum::LINES;

/// Lines on each side that belong to one tone: its lobe and the beat of a ringing tone.
const LOBE: usize = 3;
/// Two tones hold at least this share of the energy; voice has more harmonics.
const SHARE: f32 = 0.95;
/// The tones of keys (ITU-T Q.23): one of the low and one of the high, in Hz, within 1.8 %.
const LOW: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
/// Share of the energy that a key's tones hold, also where it begins and ends; it is no voice from the first window on.
const KEY_SHARE: f32 = 0.85;
/// Width of a line, in Hz.
const LINE_HZ: f32 = 8_000.0 / (2 * LINES) as f32;
/// Windows in a row with the same strongest line; the pitch of a voice moves.
const STEADY: u32 = 4;

/// What the last spectra of a stream looked like.
#[derive(Clone, Debug, Default)]
pub(super) struct Tone {
    /// Windows in a row that looked like a tone, the first of them on line `line`.
    steady: u32,
    line: usize,
}

impl Tone {
    /// Whether one or two steady tones make up the sound; ask with every spectrum that may be one.
    pub(super) fn heard(&mut self, energy: &[f32; LINES]) -> bool {
        let all: f32 = energy.iter().sum();
        let (line, first, rest) = without_strongest(energy);
        let (other, second, _) = without_strongest(&rest);
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
        let key = is_key(line.min(other), line.max(other)) && first + second >= KEY_SHARE * all;
        self.steady >= STEADY || key
    }
}

/// Whether two lines are where the tones of a key would be.
fn is_key(low: usize, high: usize) -> bool {
    let near = |line: usize, tones: &[f32]| {
        tones.iter().any(|hz| (line as f32 * LINE_HZ - hz).abs() <= 0.018 * hz + LINE_HZ / 2.0)
    };
    near(low, &LOW) && near(high, &HIGH)
}

/// The strongest line, the energy around it, and the spectrum without it.
fn without_strongest(energy: &[f32; LINES]) -> (usize, f32, [f32; LINES]) {
    let strongest = (0..energy.len()).max_by(|&a, &b| energy[a].total_cmp(&energy[b])).unwrap_or(0);
    let mut rest = *energy;
    let from = strongest.saturating_sub(LOBE);
    let lobe = rest.get_mut(from..(strongest + LOBE + 1).min(energy.len())).unwrap_or_default();
    let sum = lobe.iter().sum();
    lobe.fill(0.0);
    (strongest, sum, rest)
}

#[cfg(test)]
mod tests {
    use super::super::spectrum::Spectrum;
    use super::*;
    use std::f32::consts::PI;

    fn heard(sound: impl Fn(f32) -> f32) -> bool {
        let (mut tone, mut spectrum) = (Tone::default(), Spectrum::default());
        let mut heard = false;
        for frame in 0..20 {
            spectrum.push((0..128).map(|n| sound((frame * 128 + n) as f32 / 8_000.0)));
            heard = tone.heard(&spectrum.energy());
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

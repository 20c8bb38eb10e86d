//! Tells tones (ringing, busy, keypad) from voice, which a voice detector takes them for.

use super::spectrum::LINES;

/// Lines on each side that belong to one tone: its lobe and the beat of a ringing tone.
const LOBE: usize = 3;
/// Two tones hold at least this share of the energy; voice has more harmonics.
const SHARE: f32 = 0.95;
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

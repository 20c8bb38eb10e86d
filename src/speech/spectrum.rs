//! The spectrum of the last 64 ms of a stream, for the detectors of what is no speech.

use std::f32::consts::PI;

/// Samples of the window at 8 kHz (64 ms, lines 15.625 Hz apart).
pub(super) const WINDOW: usize = 512;
/// Lines of a spectrum, 0 to 4 kHz.
pub(super) const LINES: usize = WINDOW / 2;

/// Hann window, and the turns of the Fourier transform.
struct Tables {
    window: [f32; WINDOW],
    turns: [(f32, f32); WINDOW / 2],
}

static TABLES: std::sync::LazyLock<Tables> = std::sync::LazyLock::new(|| Tables {
    window: std::array::from_fn(|n| 0.5 - 0.5 * (2.0 * PI * n as f32 / WINDOW as f32).cos()),
    turns: std::array::from_fn(|k| (-2.0 * PI * k as f32 / WINDOW as f32).sin_cos()),
});

/// The last 64 ms. Memory is constant.
#[derive(Clone, Debug)]
pub(super) struct Spectrum {
    past: [f32; WINDOW],
}

impl Default for Spectrum {
    fn default() -> Self {
        Self { past: [0.0; WINDOW] }
    }
}

impl Spectrum {
    /// Takes samples (±1.0) at 8 kHz.
    pub(super) fn push(&mut self, samples: impl ExactSizeIterator<Item = f32>) {
        let count = samples.len().min(WINDOW);
        self.past.copy_within(count.., 0);
        for (place, sample) in self.past.iter_mut().skip(WINDOW - count).zip(samples) {
            *place = sample;
        }
    }

    /// Energy of each line, by a radix-2 Fourier transform.
    pub(super) fn energy(&self) -> [f32; LINES] {
        let Tables { window, turns } = &*TABLES;
        let (mut re, mut im) = ([0.0f32; WINDOW], [0.0f32; WINDOW]);
        for (n, (sample, window)) in self.past.iter().zip(window).enumerate() {
            re[n.reverse_bits() >> (usize::BITS - WINDOW.trailing_zeros())] = sample * window;
        }
        let mut half = 1;
        while half < WINDOW {
            for k in 0..half {
                let (sin, cos) = turns[k * (WINDOW / 2) / half];
                for a in (k..WINDOW).step_by(2 * half) {
                    let b = a + half;
                    let (x, y) = (re[b] * cos - im[b] * sin, re[b] * sin + im[b] * cos);
                    (re[b], im[b]) = (re[a] - x, im[a] - y);
                    (re[a], im[a]) = (re[a] + x, im[a] + y);
                }
            }
            half *= 2;
        }
        std::array::from_fn(|n| re[n] * re[n] + im[n] * im[n])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_stands_in_its_line_with_its_energy() {
        let mut spectrum = Spectrum::default();
        for piece in 0..8 {
            spectrum.push((0..128).map(|n| (2.0 * PI * 1_000.0 * (piece * 128 + n) as f32 / 8_000.0).sin()));
        }
        let energy = spectrum.energy();
        let strongest = (0..LINES).max_by(|&a, &b| energy[a].total_cmp(&energy[b])).unwrap();
        assert_eq!(strongest, 64);
        // a sine of amplitude 1 under a Hann window: a quarter of the samples, squared
        assert!((energy[64] - (WINDOW as f32 / 4.0).powi(2)).abs() < 20.0, "{}", energy[64]);
        assert!(energy.iter().enumerate().all(|(n, one)| n.abs_diff(64) <= 2 || *one < 1e-3));
    }
}

//! 8 kHz telephone sound to the 16 kHz that recognisers want: a linear-phase half-band filter.

/// Taps on one side of the centre that are not zero.
const SIDE: usize = 24;

/// Doubles the rate of one stream. Delay: [`Upsampler::DELAY`] output samples. Pass band to 3.4 kHz, stop band from 4.6 kHz.
#[derive(Clone, Debug)]
pub struct Upsampler {
    /// The last inputs, oldest first, as full scale ±1.
    past: [f32; 2 * SIDE],
    taps: [f32; SIDE],
}

impl Default for Upsampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Upsampler {
    /// Output samples by which the output is later than the input: the filter's centre.
    pub const DELAY: usize = 2 * SIDE;

    /// A filter at rest.
    pub fn new() -> Self {
        Self { past: [0.0; 2 * SIDE], taps: half_band() }
    }

    /// Appends two samples (±1.0) to `out` for each sample (±32768) of `input`.
    pub fn push(&mut self, input: &[i16], out: &mut Vec<f32>) {
        out.reserve(input.len() * 2);
        for sample in input {
            self.past.copy_within(1.., 0);
            self.past[2 * SIDE - 1] = f32::from(*sample) / 32_768.0;
            // Between the two middle samples: interpolated; then the later middle sample itself.
            let mut between = 0.0;
            for (n, tap) in self.taps.iter().enumerate() {
                between += tap * (self.past[SIDE - 1 - n] + self.past[SIDE + n]);
            }
            out.push(self.past[SIDE - 1]);
            out.push(between);
        }
    }
}

/// Odd taps of a Blackman-windowed sinc, normalised so that a constant stays what it is.
fn half_band() -> [f32; SIDE] {
    let mut taps = [0.0f64; SIDE];
    let width = 2.0 * SIDE as f64;
    for (n, tap) in taps.iter_mut().enumerate() {
        let x = (2 * n + 1) as f64;
        let phase = std::f64::consts::PI * x / width;
        let window = 0.42 + 0.5 * phase.cos() + 0.08 * (2.0 * phase).cos();
        let arc = std::f64::consts::FRAC_PI_2 * x;
        *tap = arc.sin() / arc * window;
    }
    let sum: f64 = taps.iter().sum::<f64>() * 2.0;
    taps.map(|tap| (tap / sum) as f32)
}

/// Samples at 16 kHz, ±1.0, of samples at 8 or 16 kHz.
pub fn at_16_khz(pcm: &[i16], rate: u32) -> Vec<f32> {
    if rate == 8_000 {
        let mut out = Vec::with_capacity(2 * pcm.len());
        Upsampler::new().push(pcm, &mut out);
        return out;
    }
    pcm.iter().map(|&sample| f32::from(sample) / 32_768.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: f64, count: usize, shift: f64) -> Vec<f64> {
        (0..count).map(|n| (std::f64::consts::TAU * hz * (n as f64 - shift) / rate).sin() * 0.5).collect()
    }

    #[test]
    fn tones_of_the_telephone_band_come_through_clean_and_in_time() {
        for hz in [200.0, 1_000.0, 2_500.0, 3_400.0] {
            let input: Vec<i16> = tone(hz, 8_000.0, 4_000, 0.0).iter().map(|s| (s * 32_768.0).round() as i16).collect();
            let mut out = Vec::new();
            Upsampler::new().push(&input, &mut out);
            let want = tone(hz, 16_000.0, out.len(), Upsampler::DELAY as f64);
            let (mut signal, mut noise) = (0.0, 0.0);
            for n in 200..out.len() {
                signal += want[n] * want[n];
                noise += (f64::from(out[n]) - want[n]).powi(2);
            }
            let snr = 10.0 * (signal / noise).log10();
            assert!(snr > 45.0, "{hz} Hz: {snr:.1} dB");
        }
    }

    #[test]
    fn pieces_and_the_whole_give_the_same() {
        let input: Vec<i16> = (0..1_000).map(|n| ((n * 7_919) % 20_011) as i16).collect();
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        Upsampler::new().push(&input, &mut whole);
        let mut filter = Upsampler::new();
        for piece in input.chunks(77) {
            filter.push(piece, &mut pieces);
        }
        assert_eq!(whole, pieces);
    }
}

//! G.722 of 64 kbit/s to PCM of 16 kHz, or of 8 kHz by its lower band alone (ITU-T G.722, mode 1): every sample as the Recommendation says.

/// Levels of the lower band's inverse quantiser by all 6 bits (QQ6).
const LOW_LEVELS: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576,
    -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040,
    -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// The same by the upper 4 bits, which the predictor hears (QQ4).
const LOW_COARSE: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
/// Change of the lower band's scale by the upper 4 bits (WL and RL42).
const LOW_CHANGE: [i32; 16] = [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// Levels of the upper band (QQ2).
const HIGH_LEVELS: [i32; 4] = [-7408, -1616, 7408, 1616];
/// Change of the upper band's scale (WH and RH2).
const HIGH_CHANGE: [i32; 4] = [798, -214, 798, -214];
/// Steps of a scale in logarithms, 32 to an octave (ILB).
const ANTILOG: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
/// Half of the symmetric quadrature mirror filter, 24 taps.
const MIRROR: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Saturates to 16 bits.
fn limit(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

/// Whether two values have the same sign; zero counts as positive.
fn agree(one: i32, other: i32) -> bool {
    (one < 0) == (other < 0)
}

/// One band: its scale, and its predictor of two poles and six zeros.
#[derive(Clone, Debug)]
struct Band {
    scale: i32,
    log_scale: i32,
    /// What is predicted for the next sample, and the part of the zeros in it.
    predicted: i32,
    by_zeros: i32,
    poles: [i32; 2],
    zeros: [i32; 6],
    /// The last samples, the last sums of zeros' part and difference, and the last differences; the newest first.
    samples: [i32; 2],
    partial: [i32; 2],
    differences: [i32; 6],
}

impl Band {
    /// At rest (the reset values of the Recommendation: all zero but the scale).
    fn new(scale: i32) -> Band {
        Band {
            scale,
            log_scale: 0,
            predicted: 0,
            by_zeros: 0,
            poles: [0; 2],
            zeros: [0; 6],
            samples: [0; 2],
            partial: [0; 2],
            differences: [0; 6],
        }
    }

    fn scaled(&self, level: i32) -> i32 {
        (self.scale * level) >> 15
    }

    /// The sample, within the 15 bits of a band.
    fn sample(&self, difference: i32) -> i32 {
        (self.predicted + difference).clamp(-16_384, 16_383)
    }

    /// Blocks 3: LOGSCL and SCALEL, or LOGSCH and SCALEH.
    fn rescale(&mut self, change: i32, most: i32, octaves: i32) {
        self.log_scale = (((self.log_scale * 127) >> 7) + change).clamp(0, most);
        let step = ANTILOG[(self.log_scale >> 6 & 31) as usize];
        let down = octaves - (self.log_scale >> 11);
        self.scale = if down < 0 { step << -down } else { step >> down } << 2;
    }

    /// Block 4: the predictor learns from the difference and predicts the next sample.
    fn learn(&mut self, difference: i32) {
        let sample = limit(self.predicted + difference);
        let partial = limit(self.by_zeros + difference);
        let [first, second] = self.partial.map(|earlier| agree(partial, earlier));
        let [pole1, pole2] = self.poles;
        let steep = limit(pole1 << 2);
        let steep = if first { -steep } else { steep }.min(32_767) >> 7;
        let pole2 = steep + if second { 128 } else { -128 } + ((pole2 * 32_512) >> 15);
        let pole2 = pole2.clamp(-12_288, 12_288);
        let most = limit(15_360 - pole2);
        let pole1 = limit(if first { 192 } else { -192 } + ((pole1 * 32_640) >> 15)).clamp(-most, most);
        for (zero, earlier) in self.zeros.iter_mut().zip(self.differences) {
            let step = if agree(difference, earlier) { 128 } else { -128 };
            *zero = limit(if difference == 0 { 0 } else { step } + ((*zero * 32_640) >> 15));
        }
        self.poles = [pole1, pole2];
        self.samples = [sample, self.samples[0]];
        self.partial = [partial, self.partial[0]];
        self.differences.rotate_right(1);
        self.differences[0] = difference;
        let part = |(factor, value): (&i32, &i32)| (factor * limit(value * 2)) >> 15;
        let by_poles = limit(self.poles.iter().zip(&self.samples).map(part).sum());
        self.by_zeros = limit(self.zeros.iter().zip(&self.differences).map(part).sum());
        self.predicted = limit(by_poles + self.by_zeros);
    }
}

/// The decoder of one sender.
#[derive(Clone, Debug)]
pub struct Decoder {
    narrow: bool,
    low: Band,
    high: Band,
    /// Sums and differences of the bands; the newest last.
    mirror: [i32; 24],
}

impl Decoder {
    /// At rest. `narrow`: gives 8 kHz.
    pub fn new(narrow: bool) -> Decoder {
        Decoder { narrow, low: Band::new(32), high: Band::new(8), mirror: [0; 24] }
    }

    /// Appends the PCM of a payload: two samples for each byte, or one where it gives 8 kHz.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        for byte in payload {
            let low = self.low_band(usize::from(byte & 0x3f));
            if self.narrow {
                out.push((low << 1) as i16);
            } else {
                let high = self.high_band(usize::from(byte >> 6));
                out.extend(self.synthesise(low, high));
            }
        }
    }

    fn low_band(&mut self, code: usize) -> i32 {
        let band = &mut self.low;
        let sample = band.sample(band.scaled(LOW_LEVELS[code]));
        let difference = band.scaled(LOW_COARSE[code >> 2]);
        band.rescale(LOW_CHANGE[code >> 2], 18_432, 8);
        band.learn(difference);
        sample
    }

    fn high_band(&mut self, code: usize) -> i32 {
        let band = &mut self.high;
        let difference = band.scaled(HIGH_LEVELS[code]);
        let sample = band.sample(difference);
        band.rescale(HIGH_CHANGE[code], 22_528, 10);
        band.learn(difference);
        sample
    }

    /// The receiving quadrature mirror filter.
    fn synthesise(&mut self, low: i32, high: i32) -> [i16; 2] {
        self.mirror.copy_within(2.., 0);
        (self.mirror[22], self.mirror[23]) = (low + high, low - high);
        let (mut first, mut second) = (0, 0);
        for (at, pair) in self.mirror.chunks_exact(2).enumerate() {
            second += pair[0] * MIRROR[at];
            first += pair[1] * MIRROR[11 - at];
        }
        [first, second].map(|sum| limit(sum >> 11) as i16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_gives_its_samples_and_never_overflows() {
        for narrow in [false, true] {
            let (mut decoder, mut out) = (Decoder::new(narrow), Vec::new());
            let mut x = 1u32;
            let noise = (0..200_000).map(|_| {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
                x as u8
            });
            let noise: Vec<u8> = noise.collect();
            for payload in [&noise[..], &[0x00; 20_000], &[0xff; 20_000], &[0x3e; 20_000], &[0xc4; 20_000], &[]] {
                let before = out.len();
                decoder.decode(payload, &mut out);
                assert_eq!(out.len() - before, payload.len() * if narrow { 1 } else { 2 });
            }
        }
    }
}

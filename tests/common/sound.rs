//! What the telephones of the laboratory play, and what was heard of it, compared frame by frame.

use std::path::Path;

/// One channel of the sample call as a telephone sends it: through G.711 µ-law and back.
pub(crate) fn played(channel: usize) -> Vec<i16> {
    played_of("call1", channel)
}

/// One channel of a sample call of this name.
pub(crate) fn played_of(name: &str, channel: usize) -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("samples/calls/{name}.wav"));
    let mut reader = hound::WavReader::open(path).unwrap();
    let samples: Vec<i16> = reader.samples::<i16>().map(Result::unwrap).collect();
    // after the sample the telephones play silence
    samples.chunks(2).map(|pair| through_ulaw(pair[channel])).chain([0; 10 * 8_000]).collect()
}

/// Sound as a telephone sends it, through G.711 µ-law and back, with silence behind it.
#[allow(dead_code)] // not every test plays its own sound
pub(crate) fn sent_as_ulaw(samples: &[i16]) -> Vec<i16> {
    samples.iter().map(|sample| through_ulaw(*sample)).chain([0; 10 * 8_000]).collect()
}

/// Sound with silence behind it.
#[allow(dead_code)] // not every test plays its own sound
pub(crate) fn with_silence(samples: &[i16]) -> Vec<i16> {
    samples.iter().copied().chain([0; 10 * 8_000]).collect()
}

/// Writes sound as a file of one channel at 8 kHz, for a telephone to play.
#[allow(dead_code)] // not every test plays its own sound
pub(crate) fn write_wav(path: &Path, samples: &[i16]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(path, spec).unwrap();
    samples.iter().for_each(|sample| file.write_sample(*sample).unwrap());
    file.finalize().unwrap();
}

/// How like `played` that is what was `heard`, both at 8 kHz and from the answer on: from 0 to 1, the best normalised cross-correlation of the
/// loudest 500 ms of `played` in the time that was heard, with what was heard up to 500 ms before and after.
#[allow(dead_code)] // not every test has a codec that changes the wave
pub(crate) fn likeness(heard: &[i16], played: &[i16]) -> f64 {
    const WINDOW: usize = 4_000;
    const AROUND: usize = 4_000;
    let power = |samples: &[i16]| samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
    let until = played.len().min(heard.len()).saturating_sub(WINDOW + AROUND);
    let loudest = (0..until).step_by(800).max_by_key(|at| power(&played[*at..at + WINDOW]) as u64);
    let at = loudest.expect("a sound of more than a second");
    let wanted = &played[at..at + WINDOW];
    let alike = |from: usize| {
        let here = &heard[from..from + WINDOW];
        let both: f64 = here.iter().zip(wanted).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        both / (power(here) * power(wanted) + 1.0).sqrt()
    };
    let last = heard.len().saturating_sub(WINDOW).min(at + AROUND);
    (at.saturating_sub(AROUND)..last).map(alike).fold(0.0, f64::max)
}

/// ITU-T G.711 µ-law there and back, written independently of the media stage.
fn through_ulaw(sample: i16) -> i16 {
    let magnitude = i32::from(sample).abs().min(32_635) + 132;
    let exponent = 31 - magnitude.leading_zeros() as i32 - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    let back = (((mantissa << 3) + 132) << exponent) - 132;
    (if sample < 0 { -back } else { back }) as i16
}

/// What was heard of one party, against what was played, in frames of 20 ms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    #[allow(dead_code)] // not every test asks
    /// Samples of the beginning that were played before anybody listened.
    pub(crate) missed: usize,
    /// Frames that are exactly the next ones played.
    pub(crate) exact: usize,
    /// Frames of silence that Asterisk's snoop put between two, because a packet came late to it. No speech is lost by them.
    pub(crate) inserted: usize,
    /// Frames that Asterisk's snoop left out.
    pub(crate) dropped: usize,
    /// Frames that are none of these.
    pub(crate) damaged: usize,
}

/// Samples of one packet of the telephones.
const FRAME: usize = 160;

/// Compares; `None` when nothing is heard, or nothing of its first second was played in the first two.
pub(crate) fn compare(heard: &[i16], played: &[i16]) -> Option<Comparison> {
    let begin = heard.iter().position(|sample| *sample != 0)?;
    let found = |at: usize| {
        let window = heard.get(at..at + FRAME).filter(|window| window.iter().any(|sample| *sample != 0))?;
        let missed = played.windows(FRAME).take(2 * 8_000).position(|one| one == window)?;
        Some((at, missed))
    };
    // the first window may lie over a frame that the snoop put in or left out
    let (at, missed) = (begin..begin + 8_000).find_map(found)?;
    // packets end where the telephone's do
    let rest = missed.next_multiple_of(FRAME) - missed;
    let mut result = follow(heard.get(at + rest..)?, played, missed + rest, missed);
    result.dropped += (at - begin).div_ceil(FRAME);
    Some(result)
}

fn follow(heard: &[i16], played: &[i16], mut at: usize, missed: usize) -> Comparison {
    let silent = |frame: &[i16]| frame.iter().all(|s| *s == 0);
    let mut result = Comparison { missed, ..Comparison::default() };
    for frame in heard.chunks_exact(FRAME) {
        let ahead = |count: usize| played.get(at + count * FRAME..at + (count + 1) * FRAME);
        if ahead(0) == Some(frame) {
            result.exact += 1;
            at += FRAME;
        } else if silent(frame) {
            result.inserted += 1;
        } else if let Some(count) = (1..50).find(|count| ahead(*count) == Some(frame)) {
            result.dropped += count;
            result.exact += 1;
            at += (count + 1) * FRAME;
        } else {
            result.damaged += 1;
            at += FRAME;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech(seed: i16, frames: usize) -> Vec<i16> {
        (0..frames * FRAME).map(|at| ((at as i16).wrapping_mul(seed) >> 3) | 1).collect()
    }

    #[test]
    fn an_inserted_frame_at_the_beginning_is_no_other_sound() {
        let played = speech(7_919, 200);
        let mut heard = vec![0; 480];
        heard.extend(&played[100..160]);
        heard.extend([0; FRAME]);
        heard.extend(&played[160..]);
        let result = compare(&heard, &played).unwrap();
        assert_eq!((result.damaged, result.dropped, result.exact), (0, 2, 199), "{result:?}");
    }

    #[test]
    fn another_speaker_is_other_sound() {
        assert!(compare(&speech(7_919, 200), &speech(6_007, 200)).is_none());
    }
}

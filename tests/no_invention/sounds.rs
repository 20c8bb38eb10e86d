//! Sound that is no speech, made of a seed: signalling tones, keys, machines, music in several styles, noise. No files are needed.

use std::f32::consts::TAU;

/// Samples a second of everything that is made here; the telephone's.
pub(crate) const RATE: usize = 8_000;

/// A random sequence that is the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new(seed: u64) -> Seed {
        Seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Even, 0–1.
    pub(crate) fn part(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.part()
    }

    fn below(&mut self, count: usize) -> usize {
        ((self.part() * count as f32) as usize).min(count - 1)
    }

    /// Normal, by the sum of uniform ones.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.part()).sum::<f32>() - 6.0
    }
}

/// A kind of sound that is no speech.
pub(crate) type Kind = (&'static str, fn(&mut Seed, usize) -> Vec<f32>);

/// All kinds; each makes so many samples.
pub(crate) const KINDS: [Kind; 22] = [
    ("ringback", ringback),
    ("busy", |_, count| cadence(count, &[400.0], &[0.5, 0.5])),
    ("special information", special_information),
    ("dial tone", |_, count| cadence(count, &[400.0], &[1.0, 0.0])),
    ("keys", keys),
    ("fax", fax),
    ("modem", modem),
    ("solo", |seed, count| melody(seed, count, &[1.0, 0.5, 0.3, 0.2, 0.1], 0.0, None)),
    ("violin", |seed, count| melody(seed, count, &[1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2], 0.011, None)),
    ("music box", |seed, count| melody(seed, count, &[1.0, 0.08, 0.4, 0.02, 0.15], 0.0, Some(0.35))),
    ("electronic chime", |seed, count| melody(seed, count, &[1.0, 0.0, 0.33, 0.0, 0.2, 0.0, 0.14], 0.0, Some(0.6))),
    ("piano", piano),
    ("organ", |seed, count| chords(seed, count, &[1.0, 0.7, 0.4, 0.5, 0.2], false)),
    ("band", |seed, count| chords(seed, count, &[1.0, 0.5, 0.35, 0.25, 0.2, 0.15], true)),
    ("white noise", |seed, count| (0..count).map(|_| seed.normal()).collect()),
    ("pink noise", pink),
    ("street", street),
    ("hum 50 Hz", |seed, count| hum(seed, count, 50.0)),
    ("hum 60 Hz", |seed, count| hum(seed, count, 60.0)),
    ("comfort noise", comfort_noise),
    ("clicks", clicks),
    ("bursts", bursts),
];

/// Makes `sound` as loud as `dbfs` (root mean square of where it sounds, against full scale) and rounds it to samples.
pub(crate) fn at_level(sound: &[f32], dbfs: f32) -> Vec<i16> {
    let loudest = sound.iter().fold(0.0f32, |most, sample| most.max(sample.abs()));
    let heard: Vec<f32> = sound.iter().copied().filter(|sample| sample.abs() > loudest / 100.0).collect();
    let mean = heard.iter().map(|sample| sample * sample).sum::<f32>() / (heard.len() as f32).max(1.0);
    let gain = 10f32.powf(dbfs / 20.0) / mean.sqrt().max(1e-9) * 32_768.0;
    sound.iter().map(|sample| (sample * gain).clamp(-32_768.0, 32_767.0) as i16).collect()
}

fn seconds(sample: usize) -> f32 {
    sample as f32 / RATE as f32
}

/// Tones that are on and off in turns, in seconds.
fn cadence(count: usize, tones: &[f32], turns: &[f32; 2]) -> Vec<f32> {
    let sample = |n| {
        let within = seconds(n) % (turns[0] + turns[1]);
        if within < turns[0] { tones.iter().map(|hz| (TAU * hz * within).sin()).sum() } else { 0.0 }
    };
    (0..count).map(sample).collect()
}

/// Ringing tone of Japan (400 Hz with 15–20 Hz in it, 1 s of 3 s), of other countries now and then.
fn ringback(seed: &mut Seed, count: usize) -> Vec<f32> {
    let (beat, depth) = (seed.between(15.0, 20.0), seed.between(0.6, 1.0));
    match seed.below(4) {
        0 => cadence(count, &[440.0, 480.0], &[2.0, 4.0]),
        _ => {
            let tone = cadence(count, &[400.0], &[1.0, 2.0]);
            let beaten = |(n, sample)| sample * (1.0 + depth * (TAU * beat * seconds(n)).sin());
            tone.into_iter().enumerate().map(beaten).collect()
        }
    }
}

/// Three rising tones before an announcement (ITU-T E.180), once in 4 s.
fn special_information(_: &mut Seed, count: usize) -> Vec<f32> {
    let sample = |n| {
        let within = seconds(n) % 4.0;
        let tones = [985.2, 1_428.5, 1_776.7];
        tones.get((within / 0.33) as usize).map_or(0.0, |hz: &f32| (TAU * hz * within).sin())
    };
    (0..count).map(sample).collect()
}

/// Keys of a telephone (ITU-T Q.23), of 50–250 ms, in numbers of ten.
fn keys(seed: &mut Seed, count: usize) -> Vec<f32> {
    let mut sound = Vec::with_capacity(count + RATE);
    while sound.len() < count {
        for _ in 0..10 {
            let (low, high) = ([697.0, 770.0, 852.0, 941.0][seed.below(4)], [1_209.0, 1_336.0, 1_477.0][seed.below(3)]);
            let (on, off) = (seed.between(0.05, 0.25), seed.between(0.05, 0.3));
            let tone = |n| (TAU * low * seconds(n)).sin() + 1.2 * (TAU * high * seconds(n)).sin();
            sound.extend((0..(on * RATE as f32) as usize).map(tone));
            sound.extend(std::iter::repeat_n(0.0, (off * RATE as f32) as usize));
        }
        sound.extend(std::iter::repeat_n(0.0, (seed.between(0.5, 3.0) * RATE as f32) as usize));
    }
    sound.truncate(count);
    sound
}

/// A fax that calls (1100 Hz), one that answers (2100 Hz with turned phase), and their 300 baud frames (ITU-T T.30, V.21).
fn fax(seed: &mut Seed, count: usize) -> Vec<f32> {
    let (mut phase, mut hz) = (0.0f32, 0.0);
    let sample = |n: usize| {
        let within = seconds(n) % 16.0;
        if within > 11.0 && n.is_multiple_of(RATE / 300) {
            hz = [1_650.0, 1_850.0][seed.below(2)];
        }
        let (tone, on) = match within {
            w if w < 6.5 => (1_100.0, w % 3.5 < 0.5),
            w if w < 10.0 => (2_100.0, w > 7.0),
            w => (hz, w > 11.0),
        };
        phase = (phase + TAU * tone / RATE as f32) % TAU;
        let turned = if tone == 2_100.0 && (within / 0.45) as u32 % 2 == 1 { -1.0 } else { 1.0 };
        if on { turned * phase.sin() } else { 0.0 }
    };
    (0..count).map(sample).collect()
}

/// Pages of a fax: 2400 symbols a second on 1700 Hz (ITU-T V.29).
fn modem(seed: &mut Seed, count: usize) -> Vec<f32> {
    let (mut turn, mut size) = (0.0, 1.0);
    let (mut past, mut symbol) = (0.0f32, 0);
    let sample = |n: usize| {
        let now = n * 2_400 / RATE;
        if now != symbol {
            symbol = now;
            turn = TAU / 8.0 * seed.below(8) as f32;
            size = [0.5, 1.0][seed.below(2)];
        }
        past = 0.4 * past + 0.6 * size * (TAU * 1_700.0 * seconds(n) + turn).sin();
        if seconds(n) % 20.0 < 17.0 { past } else { 0.0 }
    };
    (0..count).map(sample).collect()
}

/// A note on a piano key; `overtones` by their strength, `vibrato` as a part of the pitch, `decay` in seconds for what is struck.
fn note(seed: &mut Seed, key: f32, length: f32, overtones: &[f32], vibrato: f32, decay: Option<f32>) -> Vec<f32> {
    let hz = 440.0 * 2f32.powf((key - 69.0) / 12.0);
    let (wave, strength) = (seed.between(4.5, 6.5), seed.between(0.6, 1.0));
    let mut phase = 0.0f32;
    let sample = |n: usize| {
        let t = seconds(n);
        phase += TAU * hz * (1.0 + vibrato * (TAU * wave * t).sin()) / RATE as f32;
        let sum: f32 = (1..)
            .zip(overtones)
            .filter(|(k, _)| hz * *k as f32 * 1.02 < 3_900.0)
            .map(|(k, part)| part * (phase * k as f32).sin())
            .sum();
        let end = decay.map_or(((length - t) / 0.04).clamp(0.0, 1.0), |decay| (-t / decay).exp());
        sum * strength * (t / 0.008).min(1.0) * end
    };
    (0..(length * RATE as f32) as usize).map(sample).collect()
}

fn add(sound: &mut [f32], at: f32, note: &[f32]) {
    let from = (at * RATE as f32) as usize;
    for (place, sample) in sound.iter_mut().skip(from).zip(note) {
        *place += sample;
    }
}

const SCALE: [f32; 10] = [0.0, 2.0, 4.0, 5.0, 7.0, 9.0, 11.0, 12.0, 14.0, 16.0];

fn melody(seed: &mut Seed, count: usize, overtones: &[f32], vibrato: f32, decay: Option<f32>) -> Vec<f32> {
    let mut sound = vec![0.0; count];
    let (mut at, mut step, beat, low) = (0.0, 4usize, seed.between(0.28, 0.6), seed.between(58.0, 74.0).floor());
    while at < seconds(count) {
        let length = beat * [0.5, 1.0, 1.0, 2.0][seed.below(4)];
        step = (step + seed.below(5)).saturating_sub(2).min(SCALE.len() - 1);
        if seed.part() > 0.1 {
            let sounding = decay.map_or(length, |decay| 4.0 * decay);
            let note = note(seed, low + SCALE[step], sounding, overtones, vibrato, decay);
            add(&mut sound, at, &note);
        }
        at += length;
    }
    sound
}

fn piano(seed: &mut Seed, count: usize) -> Vec<f32> {
    let overtones = [1.0, 0.6, 0.4, 0.3, 0.2, 0.12];
    let right = melody(seed, count, &overtones, 0.0, Some(0.5));
    let left = chords(seed, count, &overtones, false);
    right.iter().zip(left).map(|(right, left)| right + 0.3 * left).collect()
}

/// Chords with a melody on top, with drums or without.
fn chords(seed: &mut Seed, count: usize, overtones: &[f32], drums: bool) -> Vec<f32> {
    let mut sound: Vec<f32> = melody(seed, count, overtones, 0.0, None).iter().map(|sample| 0.8 * sample).collect();
    let (mut at, beat) = (0.0, seed.between(0.42, 0.62));
    while at < seconds(count) {
        let root = 48.0 + [0.0, 5.0, 7.0, 9.0][seed.below(4)];
        for above in [0.0, 4.0, 7.0] {
            let note = note(seed, root + above, 4.0 * beat, overtones, 0.0, None);
            add(&mut sound, at, &note);
        }
        for eighth in (0..8).filter(|_| drums) {
            let (decay, strength) = if eighth % 4 == 2 { (0.05, 1.2) } else { (0.015, 0.6) };
            let hit: Vec<f32> =
                (0..RATE / 8).map(|n| strength * 0.5 * seed.normal() * (-seconds(n) / decay).exp()).collect();
            add(&mut sound, at + eighth as f32 * beat / 2.0, &hit);
        }
        at += 4.0 * beat;
    }
    sound
}

/// 3 dB less with every octave (Kellet's filter).
fn pink(seed: &mut Seed, count: usize) -> Vec<f32> {
    let mut state = [0.0f32; 3];
    let sample = |_| {
        let white = seed.normal();
        state[0] = 0.99765 * state[0] + white * 0.099046;
        state[1] = 0.963 * state[1] + white * 0.2965164;
        state[2] = 0.57 * state[2] + white * 1.0526913;
        state.iter().sum::<f32>() + white * 0.1848
    };
    (0..count).map(sample).collect()
}

/// Traffic: low noise that swells and fades as cars go by.
fn street(seed: &mut Seed, count: usize) -> Vec<f32> {
    let (mut low, mut near, mut aim) = (0.0f32, 0.3f32, 0.3);
    let noise = pink(seed, count);
    let sample = |(n, noise): (usize, &f32)| {
        if n.is_multiple_of(RATE * 3 / 2) {
            aim = seed.between(0.1, 1.0);
        }
        near += (aim - near) * 1.5 / RATE as f32;
        low = 0.85 * low + 0.15 * noise;
        near * (3.0 * low + 0.2 * noise)
    };
    noise.iter().enumerate().map(sample).collect()
}

fn hum(seed: &mut Seed, count: usize, mains: f32) -> Vec<f32> {
    let parts: Vec<(f32, f32)> = (1..20).map(|k| (mains * k as f32, seed.between(0.2, 1.0) / k as f32)).collect();
    (0..count).map(|n| parts.iter().map(|(hz, part)| part * (TAU * hz * seconds(n)).sin()).sum()).collect()
}

/// Noise that changes its level and its colour every 200 ms, as a gateway makes it from comfort noise frames (RFC 3389).
fn comfort_noise(seed: &mut Seed, count: usize) -> Vec<f32> {
    let (mut level, mut colour, mut past) = (1.0, 0.5, 0.0f32);
    let sample = |n: usize| {
        if n.is_multiple_of(RATE / 5) {
            (level, colour) = (seed.between(0.6, 1.0), seed.between(0.2, 0.8));
        }
        past = colour * past + (1.0 - colour) * seed.normal();
        level * past
    };
    (0..count).map(sample).collect()
}

fn clicks(seed: &mut Seed, count: usize) -> Vec<f32> {
    let mut sound = vec![0.0; count];
    let mut at = 0.0;
    while at < seconds(count) {
        let decay = seed.between(0.0005, 0.006);
        let click: Vec<f32> = (0..RATE / 20).map(|n| seed.normal() * (-seconds(n) / decay).exp()).collect();
        add(&mut sound, at, &click);
        at += seed.between(0.05, 1.5);
    }
    sound
}

/// Noise in pieces of 20–160 ms, as what is left of a line that loses most of its packets.
fn bursts(seed: &mut Seed, count: usize) -> Vec<f32> {
    let mut sound = Vec::with_capacity(count + RATE);
    while sound.len() < count {
        let length = RATE / 50 * (1 + seed.below(8));
        sound.extend((0..length).map(|_| seed.normal()));
        sound.extend(std::iter::repeat_n(0.0, RATE / 50 * (1 + seed.below(12))));
    }
    sound.truncate(count);
    sound
}

//! No invention: where nobody speaks there is no text, and what keeps it away costs no word of what is said.
//!
//! The whole path runs in virtual time: codec, RTP, media stage, voice detector, the shipped model, and the rules for its texts.
//! `KAKEHASHI_SILENCE_MINUTES` says how many minutes of what is no speech are recognised (60), `KAKEHASHI_SILENCE_SEED` which.
#![cfg(feature = "whisper")]

mod line;
mod sounds;

use std::collections::BTreeMap;
use std::path::Path;

use kakehashi::media::Codec;
use kakehashi::speech::manifest::Manifest;
use kakehashi::speech::settings::Settings;
use kakehashi::speech::whisper::{Options, Whisper};
use kakehashi::speech::{Recognizer, Utterance};
use kakehashi::time::{MediaTime, Mono};
use line::{at_16_khz, heard, length};
use sounds::{KINDS, Kind, RATE, Seed, at_level};

const CODECS: [Codec; 3] = [Codec::Pcmu, Codec::Pcma, Codec::G722];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn model(change: impl FnOnce(&mut Manifest)) -> Whisper {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut manifest =
        Manifest::parse(&std::fs::read_to_string(folder.join("kakehashi-lab-ja.toml")).unwrap()).unwrap();
    change(&mut manifest);
    let options = Options { name: "lab".into(), language: "ja".into(), threads: 1, clock: || Mono(0) };
    Whisper::open(std::fs::File::open(folder.join("kakehashi-lab-ja.bin")).unwrap(), manifest, options).unwrap()
}

/// What became of some sound.
#[derive(Default)]
struct Tally {
    seconds: f32,
    /// Given to the recogniser, in seconds.
    passed: f32,
    characters: usize,
    rejected: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn recognise(&mut self, model: &mut Whisper, utterances: &[Utterance]) {
        for utterance in utterances {
            self.passed += length(utterance);
            let hypothesis = model.recognize(&at_16_khz(utterance), None).unwrap();
            self.characters += hypothesis.text.chars().count();
            if let Some(reason) = hypothesis.rejected {
                *self.rejected.entry(reason.name()).or_default() += 1;
            }
        }
    }
}

/// One piece of a kind: level −50 to −6 dBFS, codec and loss follow from the seed.
fn piece(kind: &Kind, number: u64, seconds: usize) -> (Vec<i16>, Codec, f32) {
    let mut seed = Seed::new(number);
    let level = -50.0 + 44.0 * seed.part();
    let sound = at_level(&kind.1(&mut seed, seconds * RATE), level);
    (sound, CODECS[number as usize % 3], if number % 2 == 1 { 0.03 } else { 0.0 })
}

#[test]
fn an_hour_of_what_is_no_speech_gives_no_character() {
    let seconds = (number("KAKEHASHI_SILENCE_MINUTES", 60) as usize * 60).div_ceil(KINDS.len() * 3);
    let first = number("KAKEHASHI_SILENCE_SEED", 1);
    let mut model = model(|_| {});
    let mut all = Tally::default();
    for (place, kind) in KINDS.iter().enumerate() {
        let mut tally = Tally::default();
        for n in 0..3 {
            let (sound, codec, loss) = piece(kind, first * 1_000 + place as u64 * 3 + n, seconds);
            tally.seconds += seconds as f32;
            tally.recognise(&mut model, &heard(&sound, codec, loss, &Settings::default()));
        }
        println!(
            "{:20} {:5.0} s, {:5.1} s to the recogniser, {} characters, not believed: {:?}",
            kind.0, tally.seconds, tally.passed, tally.characters, tally.rejected
        );
        all.seconds += tally.seconds;
        all.passed += tally.passed;
        all.characters += tally.characters;
    }
    println!(
        "in all {:.1} min, {:.1} % to the recogniser, {} characters",
        all.seconds / 60.0,
        100.0 * all.passed / all.seconds,
        all.characters
    );
    assert_eq!(all.characters, 0);
    assert!(all.passed < 0.15 * all.seconds, "the gate keeps most of it away: {} of {} s", all.passed, all.seconds);
}

#[test]
fn without_the_gate_and_the_rules_the_same_sound_gives_text() {
    let open = Settings { speech_gate: false, ..Settings::default() };
    let mut credulous = model(|manifest| {
        manifest.reject.weak_share = 0.0;
        manifest.reject.no_voice = f32::INFINITY;
        manifest.reject.weak_confidence = 0.0;
        manifest.reject.stock_phrases.clear();
    });
    let mut tally = Tally::default();
    for (place, kind) in
        KINDS.iter().enumerate().filter(|(_, kind)| ["solo", "violin", "band", "bursts"].contains(&kind.0))
    {
        let (sound, codec, loss) = piece(kind, 1_000 + place as u64 * 3, 40);
        tally.recognise(&mut credulous, &heard(&sound, codec, loss, &open));
    }
    println!("{} characters, {:?}", tally.characters, tally.rejected);
    assert!(tally.characters > 0, "the proof above would hold whatever the gate does");
}

fn wav(path: &Path) -> Vec<Vec<i16>> {
    let mut reader = hound::WavReader::open(path).unwrap();
    assert_eq!(reader.spec().sample_rate, RATE as u32);
    let channels = usize::from(reader.spec().channels);
    let samples: Vec<i16> = reader.samples::<i16>().map(Result::unwrap).collect();
    (0..channels).map(|one| samples.iter().skip(one).step_by(channels).copied().collect()).collect()
}

/// The utterances of `samples/eval` with their texts.
fn eval() -> Vec<(Vec<i16>, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/eval");
    let lines = std::fs::read_to_string(folder.join("utterances.jsonl")).unwrap();
    let read = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (wav(&folder.join(line["file"].as_str().unwrap())).remove(0), line["text"].as_str().unwrap().to_owned())
    };
    lines.lines().map(read).collect()
}

#[test]
fn the_gate_costs_no_speech() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/calls");
    let mut sounds: Vec<Vec<i16>> = eval().into_iter().map(|(sound, _)| sound).collect();
    sounds.extend(["call1.wav", "call2.wav"].iter().flat_map(|name| wav(&samples.join(name))));
    let open = Settings { speech_gate: false, ..Settings::default() };
    let mut count = 0;
    for codec in CODECS {
        for (n, sound) in sounds.iter().enumerate() {
            let (with, without) = (heard(sound, codec, 0.0, &Settings::default()), heard(sound, codec, 0.0, &open));
            assert_eq!(with.len(), without.len(), "sound {n}, {codec:?}");
            for (with, without) in with.iter().zip(&without) {
                let moved = |a: MediaTime, b: MediaTime| a.0.abs_diff(b.0) / 1_000;
                assert_eq!(with.start, without.start, "sound {n}, {codec:?}");
                // the last frames of a vowel may look like a tone; 200 ms after the last voice are kept
                assert!(moved(with.end, without.end) <= 64, "sound {n}, {codec:?}: {:?} {:?}", with.end, without.end);
            }
            count += with.len();
        }
    }
    println!("{count} utterances, each begins where it is without the gate");
    assert!(count > 3 * sounds.len());
}

/// Music that a queue or a radio plays under the voice; the level is that of the whole under that of the speaker.
fn over_music(speech: &[i16], kind: &Kind, number: u64, below_db: f32) -> Vec<i16> {
    let (before, after) = (3 * RATE, 2 * RATE);
    let mut seed = Seed::new(number);
    let music = kind.1(&mut seed, before + speech.len() + after);
    let samples: Vec<f32> = speech.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
    let loudest = samples.iter().fold(0.0_f32, |most, sample| most.max(sample.abs()));
    let voiced: Vec<f32> = samples.iter().copied().filter(|sample| sample.abs() > loudest / 100.0).collect();
    let mean = voiced.iter().map(|sample| sample * sample).sum::<f32>() / voiced.len().max(1) as f32;
    let mut sound = at_level(&music, 10.0 * mean.log10() - below_db);
    for (sample, voice) in sound.iter_mut().skip(before).zip(speech) {
        *sample = sample.saturating_add(*voice);
    }
    sound
}

/// Characters that are wrong, and how many there are, without punctuation.
fn wrong(said: &str, heard: &str) -> (usize, usize) {
    let plain = |text: &str| text.chars().filter(|sign| sign.is_alphanumeric() || *sign == 'ー').collect::<Vec<_>>();
    let (said, heard) = (plain(said), plain(heard));
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, sign) in said.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in heard.iter().enumerate() {
            let change = corner + usize::from(sign != other);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    (*row.last().unwrap(), said.len())
}

/// What became of people who speak over music.
#[derive(Debug, Default)]
struct Over {
    /// The detector found nobody.
    swallowed: usize,
    /// A text was not believed, by reason.
    rejected: BTreeMap<&'static str, usize>,
    /// There was no text for whatever reason.
    silent: usize,
    errors: usize,
    characters: usize,
}

#[test]
fn who_speaks_over_quiet_music_is_heard() {
    let mut model = model(|_| {});
    let music: Vec<&Kind> =
        KINDS.iter().filter(|kind| ["solo", "violin", "piano", "organ", "band"].contains(&kind.0)).collect();
    let mut figures = Vec::new();
    for below_db in [f32::INFINITY, 30.0, 20.0] {
        let mut over = Over::default();
        for (n, (speech, said)) in eval().iter().enumerate() {
            let (sound, begins) = match below_db.is_finite() {
                true => (over_music(speech, music[n % music.len()], n as u64, below_db), 3 * RATE),
                false => (speech.clone(), 0),
            };
            // only what reaches into the words: music of its own is the matter of the tests above
            let at = |sample: usize| sample as u64 * 1_000_000 / RATE as u64;
            let (from, to) = (at(begins), at(begins + speech.len()));
            let mut found = heard(&sound, CODECS[n % 2], 0.0, &Settings::default());
            found.retain(|utterance| utterance.start.0 < to && utterance.end.0 > from);
            let mut text = String::new();
            for utterance in &found {
                let hypothesis = model.recognize(&at_16_khz(utterance), None).unwrap();
                hypothesis.rejected.iter().for_each(|why| *over.rejected.entry(why.name()).or_default() += 1);
                text.push_str(&hypothesis.text);
            }
            over.swallowed += usize::from(found.is_empty());
            over.silent += usize::from(text.is_empty());
            let (errors, characters) = wrong(said, &text);
            (over.errors, over.characters) = (over.errors + errors, over.characters + characters);
        }
        println!("music {below_db} dB below the voice: {over:?}");
        figures.push(over);
    }
    let [clean, at_30, at_20] = &figures[..] else { panic!() };
    assert_eq!((clean.swallowed, clean.silent), (0, 0));
    assert_eq!((at_30.swallowed, at_20.swallowed), (0, 0), "somebody was taken for music");
    // by the sound and the model's own doubt; the shipped model, which never heard music, writes a remark in brackets instead of words now and
    // then (`no_word`). What was measured, with a margin: 1 and 7
    let by_sound =
        |over: &Over| over.rejected.iter().filter(|(why, _)| **why != "no_word").map(|(_, n)| n).sum::<usize>();
    assert!(by_sound(at_30) <= 2 && by_sound(at_20) <= 10, "{at_30:?} {at_20:?}");
    // what was measured, with a margin: 4 and 11 of 40 without text, 22, 53 and 104 % of the characters wrong
    assert!(at_30.silent <= 8 && at_20.silent <= 15, "{at_30:?} {at_20:?}");
    let rate = |over: &Over| 100 * over.errors / over.characters;
    assert!(rate(clean) <= 30 && rate(at_30) <= 75 && rate(at_20) <= 130, "{clean:?} {at_30:?} {at_20:?}");
}

//! The shipped model on the sample call: what it hears, what it does not, and what happens with files that are no models.

use std::io::Cursor;

use super::*;
use crate::media::resample::Upsampler;
use crate::speech::manifest::File;

const MODEL: &[u8] = include_bytes!("../../../models/kakehashi-lab-ja.bin");

fn manifest() -> Manifest {
    Manifest::parse(include_str!("../../../models/kakehashi-lab-ja.toml")).unwrap()
}

fn options() -> Options {
    Options { name: "lab".into(), language: "ja".into(), threads: 1, clock: || Mono(0) }
}

fn open() -> Whisper {
    Whisper::open(Cursor::new(MODEL), manifest(), options()).unwrap()
}

/// A stretch of the sample call, in seconds.
fn said(channel: usize, from: f64, to: f64) -> Vec<f32> {
    let wav = include_bytes!("../../../samples/calls/call1.wav");
    let samples: Vec<i16> =
        hound::WavReader::new(wav.as_slice()).unwrap().into_samples::<i16>().map(Result::unwrap).collect();
    let mono: Vec<i16> = samples.chunks_exact(2).map(|pair| pair[channel]).collect();
    let mut pcm = Vec::new();
    Upsampler::new().push(&mono[(from * 8_000.0) as usize..(to * 8_000.0) as usize], &mut pcm);
    pcm
}

struct Fixed(fn(&mut [f32]) -> Given);

impl Bias for Fixed {
    fn version(&self) -> &str {
        "v1"
    }

    fn adjust(&self, _: &Vocabulary, _: &[u8], logits: &mut [f32]) -> Given {
        (self.0)(logits)
    }
}

#[test]
fn it_hears_the_sample_call_and_nothing_of_one_utterance_is_left_for_the_next() {
    let (long, short) = (said(1, 0.4, 7.9), said(1, 24.9, 28.9));
    let mut fresh = open();
    let first = fresh.recognize(&short, None).unwrap();
    assert!(first.text.contains("区民センター"), "{}", first.text);
    assert!(first.confidence > 0.6 && first.confidence <= 1.0 && first.bonuses == 0);
    let bytes: Vec<u8> = first.tokens.iter().flat_map(|token| token.bytes.clone()).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), first.text, "the tokens are the text");
    let mut used = open();
    let greeting = used.recognize(&long, None).unwrap();
    assert!(greeting.text.starts_with("お電話ありがとうございます"), "{}", greeting.text);
    assert_eq!(used.recognize(&short, None).unwrap(), first, "to the last bit of every probability");
    assert_eq!(used.recognize(&long, None).unwrap(), greeting);
}

#[test]
fn a_whole_window_between_short_ones_changes_nothing() {
    let short = said(1, 24.9, 28.9);
    let mut used = open();
    let first = used.recognize(&short, None).unwrap();
    let mut long = said(0, 0.0, 29.5);
    long.resize(29 * 16_000, 0.0);
    used.recognize(&long, None).unwrap();
    assert_eq!(used.recognize(&short, None).unwrap(), first);
}

#[test]
fn a_partial_leaves_nothing_behind_whether_it_is_finished_or_given_up() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let (long, short) = (said(1, 0.4, 7.9), said(1, 24.9, 28.9));
    // a beam needs a larger cache of the decoder than the greedy partial between
    for beam in [1, 3] {
        let mut manifest = manifest();
        manifest.decode.beam = beam;
        let mut whisper = Whisper::open(Cursor::new(MODEL), manifest, options()).unwrap();
        let first = whisper.recognize(&short, None).unwrap();
        let partial = whisper.recognize_partial(&long, None, &|| false).unwrap();
        assert!(partial.text.starts_with("お電話ありがとうございます"), "{}", partial.text);
        assert_eq!(whisper.recognize(&short, None).unwrap(), first);
        for calls in [0, 1, 5] {
            let asked = AtomicU32::new(0);
            let stop = || asked.fetch_add(1, Ordering::Relaxed) >= calls;
            assert_eq!(whisper.recognize_partial(&long, None, &stop), Err(Failure::Withdrawn));
            assert_eq!(asked.into_inner(), calls + 1, "it is given up at the first word");
            assert_eq!(whisper.recognize(&short, None).unwrap(), first, "to the last bit of every probability");
        }
        let panics = whisper.recognize_partial(&long, None, &|| panic!("stop"));
        assert_eq!(panics, Err(Failure::Withdrawn), "no unwinding through C");
        assert_eq!(whisper.recognize_partial(&long, None, &|| false).unwrap(), partial);
    }
}

#[test]
fn where_nobody_speaks_there_is_no_text() {
    let mut whisper = open();
    let mut seed = 9u32;
    let mut noise = |level: f32| -> Vec<f32> {
        let sample = |_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 8) as f32 / (1 << 24) as f32 - 0.5) * level
        };
        (0..48_000).map(sample).collect()
    };
    let tone = (0..48_000).map(|n| (n as f32 * 400.0 * std::f32::consts::TAU / 16_000.0).sin() * 0.2).collect();
    for (name, pcm) in [
        ("no samples", Vec::new()),
        ("fewer than whisper.cpp can take", vec![0.1; raw::LEAST_SAMPLES - 1]),
        ("just enough", vec![0.0; raw::LEAST_SAMPLES]),
        ("silence", vec![0.0; 32_000]),
        ("faint noise", noise(0.01)),
        ("loud noise", noise(0.4)),
        ("a tone", tone),
    ] {
        let heard = whisper.recognize(&pcm, None).unwrap();
        assert_eq!((heard.text.as_str(), heard.tokens.len()), ("", 0), "{name}");
    }
}

#[test]
fn a_bias_that_gives_nothing_changes_nothing_and_one_that_panics_is_a_failure() {
    let pcm = said(1, 24.9, 28.9);
    let mut greedy = manifest();
    greedy.decode.second_beam = 1;
    let mut whisper = Whisper::open(Cursor::new(MODEL), greedy, options()).unwrap();
    let plain = whisper.recognize(&pcm, None).unwrap();
    let idle = whisper.recognize(&pcm, Some(&Fixed(|_| Given::default()))).unwrap();
    assert_eq!(
        (&idle.text, &idle.tokens, idle.bonuses, idle.dictionary.as_str()),
        (&plain.text, &plain.tokens, 0, "v1")
    );
    let failed = whisper.recognize(&pcm, Some(&Fixed(|_| panic!("bias")))).unwrap_err();
    assert!(matches!(failed, Failure::Failed(reason) if reason.contains("bias failed")));
    assert_eq!(whisper.recognize(&pcm, None).unwrap(), plain, "and it goes on");
}

#[test]
fn a_beam_leaves_nothing_for_the_next_utterance() {
    let (pcm, other) = (said(1, 24.9, 28.9), said(1, 0.4, 7.9));
    let mut whisper = open();
    let plain = whisper.recognize(&pcm, None).unwrap();
    let biased = whisper.recognize(&pcm, Some(&Fixed(|_| Given::default()))).unwrap();
    assert_eq!((&biased.text, biased.bonuses), (&plain.text, 0));
    assert_eq!(whisper.recognize(&pcm, None).unwrap(), plain, "to the last bit of every probability");
    whisper.recognize(&other, Some(&Fixed(|_| Given::default()))).unwrap();
    assert_eq!(whisper.recognize(&pcm, None).unwrap(), plain);
}

#[test]
fn the_confidence_is_the_models_own_also_under_a_bias() {
    let pcm = said(1, 24.9, 28.9);
    let mut whisper = open();
    let plain = whisper.recognize(&pcm, None).unwrap();
    let pushed = Fixed(|logits| {
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        let raw = logits[best];
        logits[best] += 3.0;
        Given { bonuses: vec![(best as u32, 3.0)], near: vec![(best as u32, raw)] }
    });
    let biased = whisper.recognize(&pcm, Some(&pushed)).unwrap();
    assert_eq!(biased.text, plain.text, "what was best is preferred further");
    assert!(biased.bonuses as usize > plain.tokens.len());
    for (biased, plain) in biased.tokens.iter().zip(&plain.tokens) {
        assert!((biased.p - plain.p).abs() < 0.01, "{} and {}", biased.p, plain.p);
    }
}

#[test]
fn files_that_are_no_models_are_refused_before_whisper_cpp_sees_them() {
    let refused = |bytes: &[u8], manifest: Manifest| {
        Whisper::open(Cursor::new(bytes), manifest, options()).unwrap_err().to_string()
    };
    assert!(refused(&MODEL[..MODEL.len() / 2], manifest()).contains("ends at byte"));
    assert!(refused(b"RIFF....WAVE", manifest()).contains("begins with"));
    let other = |bytes, sha256: &str| Manifest { file: Some(File { bytes, sha256: sha256.into() }), ..manifest() };
    assert!(refused(MODEL, other(5, &"0".repeat(64))).contains("28269625 bytes"));
    assert!(refused(MODEL, other(28_269_625, &"0".repeat(64))).contains("SHA-256 is 696fa1e2"));
    let wrong = Options { language: "jp".into(), ..options() };
    let error = Whisper::open(Cursor::new(MODEL), manifest(), wrong).unwrap_err();
    assert!(error.to_string().contains("no language \"jp\""));
}

#[test]
fn a_model_whose_weights_have_other_names_is_refused_with_what_whisper_cpp_says() {
    let mut renamed = MODEL.to_vec();
    let name = b"encoder.conv1.weight";
    let at = renamed.windows(name.len()).position(|window| window == name).unwrap();
    renamed[at] = b'x';
    let error = Whisper::open(Cursor::new(renamed), Manifest::default(), options()).unwrap_err();
    assert!(matches!(&error, OpenError::Refused(said) if said.contains("unknown tensor")), "{error}");
}

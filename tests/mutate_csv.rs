//! Mutated dictionary files: each is loaded or refused with an error that names the file; none panics, none hangs.
//! The cases are seeded, so a failing seed can be run again.

#[path = "common/cases.rs"]
mod cases;

use cases::cases;
use kakehashi::dictionary::{Dictionary, Settings, Source};
use kakehashi::speech::Hypothesis;

const CASES: u64 = 100_000;

fn samples() -> Vec<Vec<u8>> {
    let text = "surface,reading,class,weight,aliases\n三国,ミクニ,place,1,ミ国|三くに\n\"瑞,光\",ズイコウ|ズイコー,place,0.5,\n区役所,くやくしょ,facility,,\n";
    let japanese = "表記,読み,分類\r\n髙槻①,ﾀｶﾂｷ,地名\r\n十三,じゅうそう,地名\r\n";
    let (cp932, _, _) = encoding_rs::SHIFT_JIS.encode(japanese);
    let utf16 = ["\u{feff}", japanese].concat().encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        text.as_bytes().to_vec(),
        ["\u{feff}", text].concat().into_bytes(),
        cp932.into_owned(),
        utf16,
        b"surface\treading\nab\t\xe3\x82\xa2\n".to_vec(),
    ]
}

#[test]
fn mutated_files_are_loaded_or_refused() {
    let all = cases(CASES);
    let samples = samples();
    let settings = Settings::default();
    let (mut loaded, mut refused) = (0_u64, 0_u64);
    for seed in 0..all {
        let sample = &samples[(seed % samples.len() as u64) as usize];
        let bytes = mutate(seed, sample);
        match Dictionary::load(&[Source { name: "mutated.csv", bytes: &bytes }], &settings) {
            Ok(dictionary) => {
                loaded += 1;
                // what was loaded can be used
                if seed % 64 == 0 {
                    let text = "ミクニの区役所からズイコー行き".to_owned();
                    let corrected = dictionary.correct(&Hypothesis { text: text.clone(), ..Hypothesis::default() });
                    assert!(!corrected.corrections.is_empty() || corrected.text == text, "seed {seed}");
                }
            }
            Err(error) => {
                refused += 1;
                let said = error.to_string();
                assert!(said.contains("mutated.csv"), "seed {seed}: {said}");
            }
        }
    }
    assert!(
        loaded > all / 100 && refused > all / 100,
        "the mutations reach both ends: {loaded} loaded, {refused} refused"
    );
}

/// One to four small changes: a flipped bit, a byte put in, taken out or doubled, a piece moved, the end cut off.
fn mutate(seed: u64, input: &[u8]) -> Vec<u8> {
    let mut state = seed.wrapping_add(1);
    let mut below = move |limit: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    };
    let mut bytes = input.to_vec();
    for _ in 0..=below(4) {
        let at = below(bytes.len());
        match below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
            1 => bytes.insert(at, [b',', b'"', b'\n', b'|', 0, 0xff, 0x82, b' '][below(8)]),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => {
                let piece: Vec<u8> = bytes[at..].iter().copied().take(1 + below(12)).collect();
                let to = below(bytes.len());
                bytes.splice(to..to, piece);
            }
            4 => bytes.truncate(at),
            _ => {
                let length = below(8);
                let end = (at + length).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

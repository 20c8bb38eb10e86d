//! A dictionary of 10,000 entries: how long it takes to load, what a decoding step and a correction cost.
//!
//! `cargo bench --bench dictionary`; refuses a build without optimisation, whose figures mean nothing.

use std::time::{Duration, Instant};

use kakehashi::dictionary::{Dictionary, Settings, Source};
use kakehashi::speech::{Hypothesis, Vocabulary};

const ENTRIES: usize = 10_000;
const MORAE: &[&str] = &[
    "カ",
    "キ",
    "サ",
    "シ",
    "タ",
    "ナカ",
    "ニシ",
    "ハ",
    "マ",
    "ヤマ",
    "ラ",
    "ショウ",
    "チョウ",
    "ミ",
    "モト",
    "ガワ",
    "ダ",
    "ノ",
    "ヒガ",
    "ウエ",
];
const KANJI: &[&str] = &[
    "加", "木", "佐", "志", "田", "中", "西", "羽", "真", "山", "良", "庄", "町", "三", "本", "川", "多", "野", "東",
    "上",
];

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("benches/dictionary: built without optimisation; run `cargo bench --bench dictionary`");
        std::process::exit(2);
    }
    let file = entries();
    let settings = Settings::default();
    let load = || {
        Dictionary::load(&[Source { name: "bench.csv", bytes: file.as_bytes() }], &settings)
            .expect("the rows are well formed")
    };
    let times: Vec<Duration> = (0..5).map(|_| timed(load).0).collect();
    let dictionary = load();
    println!(
        "load {} entries ({} KiB): {} (best of 5 {:?})",
        dictionary.entries().len(),
        file.len() / 1024,
        spread(times.clone()),
        times.iter().min()
    );

    let vocabulary = vocabulary();
    let bias = dictionary.bias().expect("bias is on by default");
    let mut logits: Vec<f32> = (0..vocabulary.len() as u32 + 1_500)
        .map(|id| -((id.wrapping_mul(2_654_435_761) >> 20) as f32) / 200.0)
        .collect();
    println!(
        "first step (orders {} tokens): {:?}",
        vocabulary.len(),
        timed(|| bias.adjust(&vocabulary, b"", &mut logits)).0
    );
    let so_far = "すみません、中西町の窓口について教えてください。佐志";
    let mut given = 0;
    let mut worst = Duration::ZERO;
    let steps = 2_000;
    let all = timed(|| {
        for step in 0..steps {
            let mut end = so_far.len() - (step % 40);
            while !so_far.is_char_boundary(end) {
                end -= 1;
            }
            let (took, bonuses) = timed(|| bias.adjust(&vocabulary, &so_far.as_bytes()[..end], &mut logits));
            worst = worst.max(took);
            given += bonuses;
        }
    });
    println!(
        "step: mean {:?}, worst {worst:?} over {} tokens ({} bonuses in {steps} steps)",
        all.0 / steps as u32,
        logits.len(),
        given
    );

    let text = "すみません、ナカニシチョーの窓口はカキサシにございますか。";
    let hypothesis = Hypothesis { text: text.into(), ..Hypothesis::default() };
    let times: Vec<Duration> = (0..200).map(|_| timed(|| dictionary.correct(&hypothesis)).0).collect();
    println!("correct {} characters: {}", text.chars().count(), spread(times));
}

fn timed<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let out = run();
    (start.elapsed(), out)
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1])
}

/// Names of three to five parts, each different.
fn entries() -> String {
    let mut file = String::from("surface,reading,class\n");
    for number in 0..ENTRIES {
        let parts: Vec<usize> = (0..3 + number % 3)
            .scan(number * 7 + 11, |rest, _| {
                let part = *rest % KANJI.len();
                *rest = *rest / KANJI.len() + 3 * part;
                Some(part)
            })
            .collect();
        let of = |table: &[&str]| parts.iter().map(|&part| table[part]).collect::<String>();
        file.push_str(&format!("{}{},{},place\n", of(KANJI), number, of(MORAE)));
    }
    file
}

/// As many tokens as Whisper's multilingual vocabulary: bytes, kana, kanji, and pairs of them.
fn vocabulary() -> Vocabulary {
    let mut tokens: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).collect();
    let chars: Vec<char> = ('ぁ'..='ヺ').chain('\u{4e00}'..='\u{5600}').collect();
    tokens.extend(chars.iter().map(|c| c.to_string().into_bytes()));
    let mut index = 0_usize;
    while tokens.len() < 50_257 {
        let pair: String = [chars[index % chars.len()], chars[(index * 31 + 7) % chars.len()]].iter().collect();
        tokens.push(pair.into_bytes());
        index += 1;
    }
    Vocabulary::new(tokens)
}

//! A dictionary of 10,000 entries: how long it takes to load, what a decoding step and a correction cost, what it keeps in memory.
//!
//! `cargo bench --bench dictionary`; refuses to measure time in a build without optimisation, whose figures mean nothing.

use std::time::{Duration, Instant};

use kakehashi::dictionary::export::export;
use kakehashi::dictionary::{Dictionary, Format, Settings, Source};
use kakehashi::speech::{Hypothesis, Vocabulary};

const ENTRIES: usize = 10_000;
/// Sizes of which the memory is measured.
const SIZES: [usize; 4] = [0, 100, 1_000, 10_000];
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
    if let Ok(what) = std::env::var("KAKEHASHI_BENCH_MEMORY") {
        return memory_of(&what);
    }
    SIZES.into_iter().for_each(memory);
    if cfg!(debug_assertions) {
        eprintln!("benches/dictionary: built without optimisation; run `cargo bench --bench dictionary`");
        std::process::exit(2);
    }
    let dictionary = loads();
    let vocabulary = vocabulary();
    let step = steps(&dictionary, &vocabulary);
    corrections(&dictionary);
    #[cfg(feature = "whisper")]
    decode(&dictionary, step);
    #[cfg(not(feature = "whisper"))]
    let _ = step;
}

/// Loading: from CSV, from the compiled form, and as a worker gets it.
fn loads() -> Dictionary {
    let file = entries(ENTRIES);
    let settings = Settings::default();
    let from = |name: &'static str, bytes: &[u8]| {
        let load = || Dictionary::load(&[Source { name, bytes }], &settings).expect("the rows are well formed");
        let times: Vec<Duration> = (0..5).map(|_| timed(load).0).collect();
        println!(
            "load {ENTRIES} entries from {name} ({} KiB), ready to correct: {} (best of 5 {:?})",
            bytes.len() / 1024,
            spread(times.clone()),
            times.iter().min()
        );
        load()
    };
    let dictionary = from("csv", file.as_bytes());
    let compiled = export(dictionary.entries(), Format::Compiled).expect("it can be compiled").bytes;
    assert_eq!(from("compiled", &compiled).version(), dictionary.version());
    let bytes = dictionary.to_bytes();
    let load = || Dictionary::from_bytes(&bytes).expect("it was just written").bias();
    let times: Vec<Duration> = (0..5).map(|_| timed(load).0).collect();
    println!("load {ENTRIES} entries in a worker, ready to decode: {}", spread(times));
    dictionary
}

/// Steps of the decoder; gives the mean.
fn steps(dictionary: &Dictionary, vocabulary: &Vocabulary) -> Duration {
    let bias = dictionary.bias().expect("bias is on by default");
    let mut logits: Vec<f32> = (0..vocabulary.len() as u32 + 1_500)
        .map(|id| -((id.wrapping_mul(2_654_435_761) >> 20) as f32) / 200.0)
        .collect();
    println!(
        "first step (orders {} tokens): {:?}",
        vocabulary.len(),
        timed(|| bias.adjust(vocabulary, b"", &mut logits)).0
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
            let (took, bonuses) = timed(|| bias.adjust(vocabulary, &so_far.as_bytes()[..end], &mut logits));
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
    all.0 / steps as u32
}

fn corrections(dictionary: &Dictionary) {
    let text = "すみません、ナカニシチョーの窓口はカキサシにございますか。";
    let hypothesis = Hypothesis { text: text.into(), ..Hypothesis::default() };
    let times: Vec<Duration> = (0..200).map(|_| timed(|| dictionary.correct(&hypothesis)).0).collect();
    println!("correct {} characters: {}", text.chars().count(), spread(times));
}

/// A decode with and without the dictionary, one after the other; `step` is the mean of a step by itself.
#[cfg(feature = "whisper")]
fn decode(dictionary: &Dictionary, step: Duration) {
    use kakehashi::cli::model;
    let path = std::path::Path::new("models/kakehashi-lab-ja.bin");
    let mut recognizer = model::open(path, "ja", 1).expect("the shipped model");
    let samples: Vec<f32> = hound::WavReader::open("samples/calls/call2.wav")
        .expect("the sample call")
        .into_samples::<i16>()
        .step_by(2)
        .map(|sample| f32::from(sample.expect("a sample")) / 32_768.0)
        .collect();
    // the caller's sentence, each sample twice: the time matters here, not the text
    let pcm: Vec<f32> = samples[42_000..74_000].iter().flat_map(|sample| [*sample, *sample]).collect();
    let bias = dictionary.bias();
    let mut times = [Vec::new(), Vec::new()];
    let mut tokens = 0;
    for round in 0..42 {
        let with = round % 2 == 1;
        let (took, heard) = timed(|| recognizer.recognize(&pcm, bias.as_deref().filter(|_| with)));
        tokens = tokens.max(heard.expect("a text").tokens.len());
        if round > 1 {
            times[usize::from(with)].push(took);
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let [without, with] = &mut times;
    let (without, with) = (median(without), median(with));
    let share = step.as_secs_f64() * tokens as f64 / without.as_secs_f64() * 100.0;
    println!(
        "decode of 4 s, shipped model, 1 thread: median {without:?} without, {with:?} with {ENTRIES} entries ({:+.1} %); steps alone {share:.2} % \
         ({tokens} tokens)",
        (with.as_secs_f64() / without.as_secs_f64() - 1.0) * 100.0
    );
}

/// Prints what a dictionary of `size` entries keeps in memory, in the bridge and in a worker. Each is measured in a process of its own, so that
/// nothing reuses what was freed before; what loading itself needs for a while is counted too.
fn memory(size: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let (csv, bytes) = (folder.path().join("bridge"), folder.path().join("worker"));
    std::fs::write(&csv, entries(size)).expect("a file");
    let all = entries(size);
    let dictionary =
        Dictionary::load(&[Source { name: "csv", bytes: all.as_bytes() }], &Settings::default()).expect("well formed");
    std::fs::write(&bytes, dictionary.to_bytes()).expect("a file");
    let own = std::env::current_exe().expect("this program");
    let kib = [&csv, &bytes].map(|file| {
        let output = std::process::Command::new(&own).env("KAKEHASHI_BENCH_MEMORY", file).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    });
    println!("memory of {size} entries: {} KiB in the bridge, {} KiB in a worker (resident set)", kib[0], kib[1]);
}

/// Prints by how many KiB a dictionary makes this process larger; `file` is named after who has it.
fn memory_of(file: &str) {
    let vocabulary = vocabulary();
    let bytes = std::fs::read(file).expect("the file");
    let before = resident();
    let dictionary = if file.ends_with("worker") {
        Dictionary::from_bytes(&bytes).expect("it was just written")
    } else {
        Dictionary::load(&[Source { name: "csv", bytes: &bytes }], &Settings::default()).expect("well formed")
    };
    if let Some(bias) = file.ends_with("worker").then(|| dictionary.bias()).flatten() {
        bias.adjust(&vocabulary, b"", &mut vec![0.0; vocabulary.len()]);
    }
    println!("{}", resident().saturating_sub(before));
}

/// Resident set in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
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
fn entries(count: usize) -> String {
    let mut file = String::from("surface,reading,class\n");
    for number in 0..count {
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

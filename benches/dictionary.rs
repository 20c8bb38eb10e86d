//! Dictionaries of up to 10,000 entries: how long they take to load, what a decoding step and a correction cost, what they keep in memory.
//!
//! `cargo bench --bench dictionary`; refuses to measure time in a build without optimisation, whose figures mean nothing.

#[cfg(feature = "whisper")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kakehashi::dictionary::export::export;
use kakehashi::dictionary::{Dictionary, Format, Settings, Source};
#[cfg(feature = "whisper")]
use kakehashi::speech::{Bias, Given};
use kakehashi::speech::{Hypothesis, Vocabulary};

const ENTRIES: usize = 10_000;
/// Numbers of entries of which memory, steps and corrections are measured.
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
    loads();
    let vocabulary = vocabulary();
    let dictionaries: Vec<Dictionary> = SIZES.into_iter().map(dictionary).collect();
    for dictionary in &dictionaries {
        steps(dictionary, &vocabulary);
    }
    for dictionary in &dictionaries {
        corrections(dictionary);
    }
    #[cfg(feature = "whisper")]
    decode(&dictionaries);
}

fn dictionary(size: usize) -> Dictionary {
    let all = entries(size);
    Dictionary::load(&[Source { name: "csv", bytes: all.as_bytes() }], &Settings::default()).expect("well formed")
}

/// Loading: from CSV, from the compiled form, and as a worker gets it.
fn loads() {
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
}

/// Steps of the decoder by themselves, with scores that fall off evenly: many tokens are near the best.
fn steps(dictionary: &Dictionary, vocabulary: &Vocabulary) {
    let Some(bias) = dictionary.bias() else { return };
    let scores: Vec<f32> = (0..vocabulary.len() as u32 + 1_500)
        .map(|id| -((id.wrapping_mul(2_654_435_761) >> 20) as f32) / 200.0)
        .collect();
    let first = timed(|| bias.adjust(vocabulary, b"", &mut scores.clone())).0;
    let so_far = "すみません、中西町の窓口について教えてください。佐志";
    let (mut given, mut times) = (0, Vec::new());
    for step in 0..2_000 {
        let mut end = so_far.len() - (step % 40);
        while !so_far.is_char_boundary(end) {
            end -= 1;
        }
        let mut logits = scores.clone();
        let (took, bonuses) = timed(|| bias.adjust(vocabulary, &so_far.as_bytes()[..end], &mut logits).bonuses.len());
        times.push(took);
        given += bonuses;
    }
    println!(
        "step with {} entries over {} tokens: {} ({given} bonuses in {} steps; the first step of a model {first:?})",
        dictionary.entries().len(),
        scores.len(),
        spread(times.clone()),
        times.len(),
    );
}

/// What a final costs the bridge: the sentences of samples/eval as if the recogniser had been sure of none of their words.
fn corrections(dictionary: &Dictionary) {
    let list = std::fs::read_to_string("samples/eval/utterances.jsonl").expect("the sample set");
    let text = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("an utterance");
        Hypothesis { text: line["text"].as_str().unwrap_or("").into(), confidence: 0.3, ..Hypothesis::default() }
    };
    let texts: Vec<Hypothesis> = list.lines().map(text).collect();
    let characters: usize = texts.iter().map(|one| one.text.chars().count()).sum();
    let all = texts.iter().cycle().take(10 * texts.len());
    let times: Vec<Duration> = all.map(|text| timed(|| dictionary.correct(text)).0).collect();
    println!(
        "correct a final with {} entries ({} characters on the average, all unsure): {}",
        dictionary.entries().len(),
        characters / texts.len(),
        spread(times)
    );
}

/// Measures how long the steps of a bias take in a real decode.
#[cfg(feature = "whisper")]
struct Watch<'a> {
    bias: &'a dyn Bias,
    nanos: AtomicU64,
    steps: AtomicU64,
}

#[cfg(feature = "whisper")]
impl Bias for Watch<'_> {
    fn version(&self) -> &str {
        self.bias.version()
    }

    fn adjust(&self, vocabulary: &Vocabulary, so_far: &[u8], logits: &mut [f32]) -> Given {
        let (took, given) = timed(|| self.bias.adjust(vocabulary, so_far, logits));
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        self.steps.fetch_add(1, Ordering::Relaxed);
        given
    }
}

/// Decodes with and without the dictionaries, one after the other.
#[cfg(feature = "whisper")]
fn decode(dictionaries: &[Dictionary]) {
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
    for dictionary in dictionaries {
        let Some(bias) = dictionary.bias() else { continue };
        let watch = Watch { bias: bias.as_ref(), nanos: AtomicU64::new(0), steps: AtomicU64::new(0) };
        let (mut without, mut with, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..21 {
            let plain = timed(|| recognizer.recognize(&pcm, None).expect("a text")).0;
            let before = watch.nanos.load(Ordering::Relaxed);
            let biased = timed(|| recognizer.recognize(&pcm, Some(&watch)).expect("a text")).0;
            let steps = Duration::from_nanos(watch.nanos.load(Ordering::Relaxed) - before);
            if round > 0 {
                shares.push(steps.as_secs_f64() / (biased - steps).as_secs_f64() * 100.0);
                without.push(plain);
                with.push(biased);
            }
        }
        shares.sort_by(f64::total_cmp);
        println!(
            "decode of 4 s with {} entries, shipped model, 1 thread: without {}; with {}; its {} steps are {:.2} % (p95 {:.2} %) of the rest",
            dictionary.entries().len(),
            spread(without),
            spread(with),
            watch.steps.load(Ordering::Relaxed) / 21,
            shares[shares.len() / 2],
            shares[shares.len() * 95 / 100],
        );
    }
}

/// Prints what a dictionary of `size` entries keeps in memory, in the bridge and in a worker. Each is measured in a process of its own, so that
/// nothing reuses what was freed before; what loading itself needs for a while is counted too.
fn memory(size: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let (csv, bytes) = (folder.path().join("bridge"), folder.path().join("worker"));
    std::fs::write(&csv, entries(size)).expect("a file");
    std::fs::write(&bytes, dictionary(size).to_bytes()).expect("a file");
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
    let at = |per_cent: usize| times[(times.len() - 1) * per_cent / 100];
    format!("p50 {:?}, p95 {:?}, worst {:?}", at(50), at(95), at(100))
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

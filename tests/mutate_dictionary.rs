//! Mutated word lists of every format: each is read or refused with an error that names the file; none panics, none hangs, none grows.
//! The cases are seeded, so a failing seed can be run again.

#[path = "common/cases.rs"]
mod cases;

use cases::cases;
use kakehashi::dictionary::check::check;
use kakehashi::dictionary::export::export;
use kakehashi::dictionary::import::{MAX_ROWS, read};
use kakehashi::dictionary::{Dictionary, Entry, Format, How, Settings, Source};

/// For each format; together a million.
const CASES: u64 = 100_000;

fn entries() -> Vec<Entry> {
    let entry = |surface: &str, reading: &str, class: &str, scope: &str| Entry {
        surface: surface.into(),
        readings: vec![reading.into()],
        class: class.into(),
        scope: scope.into(),
        weight: 1.0,
        aliases: Vec::new(),
    };
    vec![
        entry("三国", "ミクニ", "place", ""),
        entry("髙槻①", "タカツキ", "place", "ward:北区"),
        entry("瑞,光", "ズイコウ", "person", ""),
        entry("水道局", "スイドウキョク", "organization", ""),
    ]
}

fn exported(format: Format) -> Vec<u8> {
    export(&entries(), format).unwrap().bytes
}

/// Reads every mutation of `samples` as `format`; now and then it is used too.
fn mutated(format: Format, how: &How, samples: &[Vec<u8>]) {
    let all = cases(CASES);
    let (mut loaded, mut refused) = (0_u64, 0_u64);
    for seed in 0..all {
        let sample = &samples[(seed % samples.len() as u64) as usize];
        let bytes = mutate(seed, sample);
        match read(&[(Source { name: "mutated.txt", bytes: &bytes }, how)]) {
            Ok(imported) => {
                loaded += 1;
                assert!(
                    format != Format::Compiled || bytes == *sample,
                    "seed {seed}: a changed compiled file is never read"
                );
                assert!(imported.rows.len() <= MAX_ROWS);
                if seed % 256 == 0 {
                    let found = check(&imported, Some(&[]));
                    assert!(found.iter().all(|one| one.file == "mutated.txt"), "seed {seed}");
                    let kept = export(&imported.into_entries(), Format::Compiled).unwrap().bytes;
                    let again = read(&[(Source { name: "again", bytes: &kept }, &How::default())]);
                    let entries = again.unwrap_or_else(|error| panic!("seed {seed}: {error}")).into_entries();
                    let dictionary = Dictionary::of_entries(entries, &Settings::default());
                    dictionary.correct(&kakehashi::speech::Hypothesis {
                        text: "ミクニの水道局".into(),
                        ..Default::default()
                    });
                }
            }
            Err(error) => {
                refused += 1;
                let said = error.to_string();
                assert!(said.contains("mutated.txt"), "seed {seed}: {said}");
            }
        }
    }
    println!("{}: {loaded} loaded, {refused} refused", format.name());
    assert!(loaded + refused == all && refused > all / 100, "{loaded} loaded, {refused} refused");
    assert!(format == Format::Compiled || loaded > all / 100, "{loaded} loaded, {refused} refused");
}

fn named(format: Format) -> How {
    How { format, ..How::default() }
}

macro_rules! formats {
    ($($test:ident: $format:expr;)*) => { $(
        #[test]
        fn $test() {
            mutated($format, &named($format), &[exported($format)]);
        }
    )* };
}

formats! {
    csv: Format::Csv;
    microsoft_ime: Format::MsIme;
    google: Format::Google;
    atok: Format::Atok;
    amivoice_json: Format::AmivoiceJson;
    amivoice: Format::Amivoice;
    mecab: Format::Mecab;
    compiled: Format::Compiled;
}

/// Some lines of a real list, from its first to one that holds `last`.
fn lines(name: &str, last: &str) -> Vec<u8> {
    let whole = std::fs::read(format!("tests/data/ken_all/{name}")).unwrap();
    let decoded = match std::str::from_utf8(&whole) {
        Ok(text) => text.to_owned(),
        Err(_) => encoding_rs::SHIFT_JIS.decode(&whole).0.into_owned(),
    };
    let from = decoded.lines().position(|line| line.contains(last)).unwrap();
    let some: String = decoded.lines().skip(from.saturating_sub(2)).take(6).map(|line| format!("{line}\r\n")).collect();
    match std::str::from_utf8(&whole) {
        Ok(_) => some.into_bytes(),
        Err(_) => encoding_rs::SHIFT_JIS.encode(&some).0.into_owned(),
    }
}

#[test]
fn postal_lists() {
    let samples =
        [lines("KEN_ALL_ODD.CSV", "大江"), lines("utf_ken_all_odd.csv", "アエル"), lines("KEN_ALL_ODD.CSV", "一円")];
    mutated(Format::KenAll, &named(Format::KenAll), &samples);
}

#[test]
fn any_format_found_by_its_content() {
    let formats = [
        Format::Csv,
        Format::MsIme,
        Format::Google,
        Format::Atok,
        Format::AmivoiceJson,
        Format::Amivoice,
        Format::Mecab,
    ];
    let mut samples: Vec<Vec<u8>> = formats.map(exported).into();
    samples.push(lines("KEN_ALL_ODD.CSV", "大江"));
    mutated(Format::Auto, &How::default(), &samples);
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
            1 => bytes.insert(at, [b',', b'"', b'\n', b'\t', 0, 0xff, 0x82, b'{'][below(8)]),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => {
                let piece: Vec<u8> = bytes[at..].iter().copied().take(1 + below(12)).collect();
                let to = below(bytes.len());
                bytes.splice(to..to, piece);
            }
            4 => bytes.truncate(at),
            _ => {
                let end = (at + below(8)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

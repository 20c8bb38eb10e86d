//! Spoken numbers in conversations, from a grammar with a seed that is given at run time (`KAKEHASHI_SEED`) or new each time, and printed: every
//! valid My Number and card is masked in every event, none is in any file on disk as text or as sound, also when it is said in pieces and read
//! back; telephone numbers, amounts, dates and addresses stay.
//!
//! What a recogniser would write goes through the real session, outbox and segments; the sound of an utterance is noise of its own.

#[path = "numbers/call.rs"]
mod call;
#[path = "numbers/grammar.rs"]
mod grammar;
#[path = "common/mutate.rs"]
#[allow(dead_code)] // only the dice
mod mutate;
#[path = "common/seed.rs"]
mod seed;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use call::{Call, Said};
use grammar::{Grammar, Told, Who, has_digits, notations};
use kakehashi::events::{Data, Event};
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use mutate::Dice;
use seed::seed;

/// Conversations, with [`EACH`] numbers in each.
const CALLS: u64 = 60;
const EACH: usize = 10;

/// Everything below a folder, file by file.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => all.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
    all
}

/// Looks for many stretches of bytes at once.
struct Finder<'a> {
    /// Whether one of them may begin with six such bytes.
    begins: Vec<bool>,
    by_beginning: HashMap<&'a [u8], Vec<&'a [u8]>>,
}

const BEGINNING: usize = 6;

/// A place in a table of four million for six bytes.
fn place(bytes: &[u8]) -> usize {
    let six = bytes[..BEGINNING].iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    (six.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 42) as usize
}

impl<'a> Finder<'a> {
    fn new(wanted: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut begins, mut by_beginning): (_, HashMap<_, Vec<&[u8]>>) = (vec![false; 1 << 22], HashMap::new());
        for one in wanted {
            begins[place(one)] = true;
            by_beginning.entry(&one[..BEGINNING]).or_default().push(one);
        }
        Finder { begins, by_beginning }
    }

    /// Those that are in `bytes`.
    fn found(&self, bytes: &[u8]) -> HashSet<&'a [u8]> {
        let mut found = HashSet::new();
        for at in 0..bytes.len().saturating_sub(BEGINNING) {
            if self.begins[place(&bytes[at..])] {
                let begins = self.by_beginning.get(&bytes[at..at + BEGINNING]);
                found.extend(begins.into_iter().flatten().filter(|one| bytes[at..].starts_with(one)).copied());
            }
        }
        found
    }
}

fn text_of(event: &Event) -> Option<&kakehashi::events::TranscriptFinal> {
    match &event.data {
        Data::TranscriptFinal(text) => Some(text),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_reaches_the_disk() {
    let seed = seed();
    let folder = tempfile::tempdir().unwrap();
    let (outbox, mut committed) = Outbox::open(folder.path(), &Settings::default(), ["crm"]).unwrap();
    tokio::spawn(async move { while committed.recv().await.is_some() {} });
    let (mut numbers, mut secret, mut kept, mut harmless) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for n in 0..CALLS {
        let mut grammar = Grammar(Dice(seed.wrapping_add(n.wrapping_mul(0x1234_5678_9abc_def1))));
        let mut call = Call::new(folder.path(), outbox.clone(), n, Dice(seed ^ (n << 32)));
        let mut said = Vec::new();
        for _ in 0..EACH {
            let told = grammar.number();
            for lines in [grammar.ordinary(), told.lines.clone(), grammar.ordinary(), grammar.harmless()] {
                said.extend(call.talk(&lines));
            }
            numbers.push(told);
        }
        let events = call.hang_up();
        harmless += check_texts(&events, &said, seed);
        secret.extend(said.iter().filter(|said| said.line.secret).cloned());
        kept.extend(said.into_iter().filter(|said| !said.line.secret));
    }
    outbox.flush().unwrap().await.unwrap();
    let by_caller = |told: &&Told| told.lines.iter().filter(|line| line.secret && line.who == Who::Caller).count();
    let pieces = numbers.iter().filter(|told| by_caller(told) > 1).count();
    println!(
        "{} numbers, {pieces} in pieces; {} utterances with a part of one, {} without, {harmless} of these with other digits",
        numbers.len(),
        secret.len(),
        kept.len()
    );
    assert!(numbers.len() >= 500 && pieces > 100 && harmless > 100);
    // the writer still has it open: what is in the write-ahead log is looked through too
    scan(&files(folder.path()), &numbers, &secret, &kept);
}

/// A line with a part of a number has no digit left, every other one no star. Gives the lines with other digits.
fn check_texts(events: &[Event], said: &[Said], seed: u64) -> usize {
    let finals: HashMap<&str, _> =
        events.iter().filter_map(text_of).map(|text| (text.utterance.as_str(), text)).collect();
    assert_eq!(finals.len(), said.len(), "KAKEHASHI_SEED={seed}");
    for one in said {
        let (text, line) = (finals[one.utterance.as_str()], &one.line);
        for shown in [&text.text, &text.text_raw] {
            if line.secret {
                assert!(
                    shown.contains('*') && !has_digits(shown),
                    "KAKEHASHI_SEED={seed}: {} became {shown}",
                    line.text
                );
            } else {
                assert!(!shown.contains('*'), "KAKEHASHI_SEED={seed}: {} became {shown}", line.text);
            }
        }
    }
    let document = events.iter().rev().find_map(|event| match &event.data {
        Data::TranscriptDocument(document) => Some(document),
        _ => None,
    });
    assert!(document.is_some_and(|document| document.complete), "KAKEHASHI_SEED={seed}: every text is there");
    said.iter().filter(|one| !one.line.secret && has_digits(&one.line.text)).count()
}

/// No file has a number in any notation, a long spoken piece of one (a short one may stand in a telephone number), or its sound; the sound of other
/// utterances is there.
fn scan(files: &[(String, Vec<u8>)], numbers: &[Told], secret: &[Said], kept: &[Said]) {
    assert!(
        files.iter().any(|(path, _)| path.ends_with("outbox.db"))
            && files.iter().any(|(path, _)| path.ends_with(".seg"))
    );
    println!("{} bytes in {} files", files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), files.len());
    let whole: Vec<String> = numbers.iter().flat_map(|told| notations(&told.digits)).collect();
    let pieces = secret.iter().map(|one| one.line.piece.clone()).filter(|piece| piece.chars().count() >= 20);
    let texts: Vec<String> = whole.into_iter().chain(pieces).collect();
    let unheard: Vec<Vec<u8>> = secret.iter().map(Said::middle).collect();
    let (written, sounds) =
        (Finder::new(texts.iter().map(String::as_bytes)), Finder::new(unheard.iter().map(Vec::as_slice)));
    for (path, bytes) in files {
        for one in written.found(bytes) {
            // sound is noise, in which anything may stand
            assert!(path.ends_with(".seg"), "{path} holds {}", String::from_utf8_lossy(one));
        }
        assert_eq!(sounds.found(bytes).len(), 0, "{path} has the sound of a number");
    }
    let heard: Vec<Vec<u8>> = kept.iter().map(Said::middle).collect();
    let finder = Finder::new(heard.iter().map(Vec::as_slice));
    let found: HashSet<&[u8]> = files.iter().flat_map(|(_, bytes)| finder.found(bytes)).collect();
    assert_eq!(found.len(), kept.len(), "the sound of what is no number is kept");
}

//! What was said in the sample call, and how far a recognised text is from it.

use kakehashi::cli::score::normalise;
use kakehashi::pbx::Speaker;
use serde_json::Value;

/// One utterance of `samples/calls/call1.json`, in seconds from its beginning.
pub(crate) struct Said {
    pub(crate) speaker: Speaker,
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) text: String,
}

/// Everything that is said in the sample call, in order.
pub(crate) fn said() -> Vec<Said> {
    let sample: Value = serde_json::from_str(include_str!("../../samples/calls/call1.json")).unwrap();
    let utterances = sample["utterances"].as_array().unwrap();
    utterances
        .iter()
        .map(|one| Said {
            speaker: if one["channel"] == "caller" { Speaker::Caller } else { Speaker::Agent },
            start: one["start"].as_f64().unwrap(),
            end: one["end"].as_f64().unwrap(),
            text: one["text"].as_str().unwrap().into(),
        })
        .collect()
}

/// What one party says in the sample call up to a second of it; utterances that begin before are whole.
pub(crate) fn said_by(speaker: Speaker, until: f64) -> String {
    said().iter().filter(|one| one.speaker == speaker && one.start < until).map(|one| one.text.as_str()).collect()
}

/// Wrong, missing and extra characters, as a share of the characters of `said`; punctuation and spaces do not count.
pub(crate) fn error_rate(said: &str, heard: &str) -> f64 {
    let said = normalise(said);
    *edits(&said, &normalise(heard)).last().unwrap() as f64 / said.len() as f64
}

/// The error rate of `heard` against the beginning of `said` that fits best, and that has at least the characters of `at_least`.
pub(crate) fn error_rate_of_beginning(said: &str, at_least: &str, heard: &str) -> f64 {
    let (said, least) = (normalise(said), normalise(at_least).len());
    let all = edits(&said, &normalise(heard));
    let rates = all.iter().enumerate().skip(least.max(1)).map(|(length, edits)| *edits as f64 / length as f64);
    rates.fold(f64::INFINITY, f64::min)
}

/// Least edits (Levenshtein) that turn `heard` into the first 0, 1, 2, … characters of `said`.
fn edits(said: &[char], heard: &[char]) -> Vec<usize> {
    let mut row: Vec<usize> = (0..=said.len()).collect();
    for (at, character) in heard.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (place, wanted) in said.iter().enumerate() {
            let change = diagonal + usize::from(wanted != character);
            diagonal = row[place + 1];
            row[place + 1] = change.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row
}

#[test]
fn edits_are_counted() {
    assert_eq!(error_rate("大阪市です。", "大阪市です"), 0.0);
    assert_eq!(error_rate("大阪市です。", "大坂市でした"), 0.6);
    assert_eq!(error_rate("大阪", ""), 1.0);
    assert_eq!(error_rate_of_beginning("はい、そうです。住吉区", "はい", "はいそう"), 0.0);
    assert_eq!(error_rate_of_beginning("はい、そうです。住吉区", "はいそうです", "はい"), 4.0 / 6.0);
}

//! Mutated answers of transcription servers: each is read or refused, nothing of it is quoted, no text is longer than it may be.
//! The cases are seeded, so a failing seed can be run again.

#[path = "common/cases.rs"]
mod cases;
#[path = "common/mutate.rs"]
mod mutate;

use cases::cases;
use kakehashi::speech::evidence::Evidence;
use kakehashi::speech::manifest::Manifest;
use kakehashi::speech::remote::{Trouble, read};
use serde_json::{Value, json};

const CASES: u64 = 1_000_000;

/// Answers as servers give them, short.
const ANSWERS: [&str; 6] = [
    r#"{"task":"transcribe","text":"大阪市\n","segments":[{"id":0,"text":"大阪市","start":-1007.28,"end":3e1,"tokens":[1,2],"words":[{"word":"大","probability":0.99},{"word":"阪市","t_dtw":-1,"probability":0.4}],"avg_logprob":-0.018,"no_speech_prob":1.9e-05}],"language_probabilities":{"ja":1.0}}"#,
    r#"{"text":" はい。お願いします。","words":[{"word":"はい","start":0.0,"end":0.4}],"segments":[{"text":" はい。","avg_logprob":-0.1,"no_speech_prob":0.2},{"text":"お願いします。","avg_logprob":null,"words":null}]}"#,
    r#"{"text":"区役所","logprobs":[{"token":"区","logprob":-0.1,"bytes":[229,140,186]},{"token":"役所","logprob":-2.3}]}"#,
    r#"{"text":"\u4e09\u56fd\ud83d\ude00 a\"b","segments":[],"usage":{"type":"duration","seconds":2}}"#,
    r#"{"text":"伊藤","segments":[{"text":"伊藤","words":[{"word":"伊","probability":0.9},{"word":"\ufffd","probability":0.2}]}]}"#,
    r#"{"error":{"message":"秘密","type":"invalid_request_error","code":null}}"#,
];

#[test]
fn mutated_answers_are_read_or_refused() {
    let all = cases(CASES);
    let threads = 2;
    let counted: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let share =
            |thread: u64| scope.spawn(move || (thread..all).step_by(threads as usize).map(one).fold((0, 0), add));
        let running: Vec<_> = (0..threads).map(share).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (taken, refused) = counted.into_iter().fold((0, 0), add);
    assert_eq!(taken + refused, all);
    assert!(taken > all / 20 && refused > all / 20, "the mutations reach both ends: {taken} read, {refused} refused");
}

fn add(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0 + b.0, a.1 + b.1)
}

/// Another value somewhere in an answer, so that it stays JSON.
fn reshape(dice: &mut mutate::Dice, value: &mut Value) {
    let inner = match value {
        Value::Object(map) => map.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    if inner == 0 || dice.below(8) == 0 {
        let others = [
            json!(null),
            json!(-1),
            json!(1e308),
            json!(-1e308),
            json!(u64::MAX),
            json!(0.5),
            json!(""),
            json!("\u{fffd}"),
            json!("\0\r\n"),
            json!("大阪市の区役所です".repeat(9)),
            json!([]),
            json!({}),
            json!([["x"]]),
            json!({"word": "大"}),
            json!(true),
        ];
        *value = others[dice.below(others.len())].clone();
        return;
    }
    let at = dice.below(inner);
    match value {
        Value::Object(map) => map.values_mut().nth(at).into_iter().for_each(|inner| reshape(dice, inner)),
        Value::Array(items) => {
            let doubled = items[at].clone();
            if dice.below(4) == 0 {
                items.push(doubled);
            }
            reshape(dice, &mut items[at]);
        }
        _ => {}
    }
}

/// A mutated answer: of its bytes, or of its values.
fn mutated(seed: u64, answer: &str) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_str::<Value>(answer) else { panic!("no JSON: {answer}") };
    let mut dice = mutate::Dice(seed);
    if dice.below(2) == 0 {
        return mutate::mutate(seed, answer.as_bytes());
    }
    for _ in 0..=dice.below(3) {
        reshape(&mut dice, &mut value);
    }
    serde_json::to_vec(&value).unwrap()
}

fn one(seed: u64) -> (u64, u64) {
    let answer = ANSWERS[(seed % ANSWERS.len() as u64) as usize];
    let body = mutated(seed, answer);
    let evidence = Evidence { seconds: 4.0, level_dbfs: -20.0, voiced_ms: 3_000.0, music: -1.0, clear_ms: 3_000.0 };
    match read(&body, &evidence, "m", &Manifest::default()) {
        Ok(hypothesis) => {
            assert!(
                hypothesis.text.chars().filter(|c| c.is_alphanumeric()).count() <= 72,
                "seed {seed}: faster than speech"
            );
            let sound = |p: f32| (0.0..=1.0).contains(&p);
            assert!(sound(hypothesis.confidence) && sound(hypothesis.no_speech), "seed {seed}: {hypothesis:?}");
            assert!(hypothesis.tokens.iter().all(|token| sound(token.p)), "seed {seed}: {hypothesis:?}");
            let bytes: Vec<u8> = hypothesis.tokens.iter().flat_map(|token| token.bytes.clone()).collect();
            assert_eq!(
                String::from_utf8_lossy(&bytes).trim(),
                hypothesis.text,
                "seed {seed}: the tokens make the text"
            );
            (1, 0)
        }
        Err(Trouble::Refused(why)) => {
            assert!(why.is_ascii(), "seed {seed}: {why}");
            (0, 1)
        }
        Err(other) => panic!("seed {seed}: {other}"),
    }
}

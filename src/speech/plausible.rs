//! Which texts are not believed: recognisers write sentences where nobody spoke, and repeat themselves.

use super::manifest::{Decode, Reject};
use super::{Hypothesis, Token};

/// Longest loop that is looked for, in tokens.
const LONGEST_LOOP: usize = 24;

/// Keeps one of what stands `repeats` times or more in a row.
pub fn without_loops(mut tokens: Vec<Token>, repeats: u32) -> Vec<Token> {
    let repeats = repeats.max(2) as usize;
    let mut at = 0;
    while at < tokens.len() {
        let rest = tokens.get(at..).unwrap_or_default();
        let longest = LONGEST_LOOP.min(rest.len() / repeats);
        let found = (1..=longest).find_map(|length| {
            let (unit, after) = rest.split_at(length);
            let more = after.chunks_exact(length).take_while(|piece| same(unit, piece)).count();
            (more + 1 >= repeats).then_some((length, more * length))
        });
        match found {
            Some((length, extra)) => {
                tokens.drain(at + length..at + length + extra);
                at += length;
            }
            None => at += 1,
        }
    }
    tokens
}

fn same(a: &[Token], b: &[Token]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.bytes == b.bytes)
}

/// Whether a text of `seconds` of sound is believed: there is a word in it, the model did not
/// think that nobody spoke, and nobody speaks that fast.
pub fn believed(hypothesis: &Hypothesis, seconds: f32, decode: &Decode, reject: &Reject) -> bool {
    if hypothesis.tokens.is_empty() {
        return false;
    }
    let count = hypothesis.tokens.len() as f32;
    let mean = hypothesis.tokens.iter().map(|token| token.p.max(1e-9).ln()).sum::<f32>() / count;
    if hypothesis.no_speech > decode.no_speech && mean < decode.logprob {
        return false;
    }
    let spoken = hypothesis.text.chars().filter(|c| c.is_alphanumeric()).count() as f32;
    spoken > 0.0 && spoken <= reject.characters_per_second * seconds.max(0.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(words: &[&str]) -> Vec<Token> {
        words.iter().map(|word| Token { bytes: word.as_bytes().to_vec(), p: 0.9 }).collect()
    }

    fn text(tokens: &[Token]) -> String {
        tokens.iter().map(|token| String::from_utf8_lossy(&token.bytes).into_owned()).collect()
    }

    #[test]
    fn loops_go_and_what_people_repeat_stays() {
        let thanks = ["ご", "視聴"].repeat(9);
        assert_eq!(text(&without_loops(tokens(&thanks), 5)), "ご視聴");
        let yes = tokens(&["はい", "はい", "はい", "です"]);
        assert_eq!(without_loops(yes.clone(), 5), yes);
        assert_eq!(text(&without_loops(tokens(&["x", "あ", "あ", "あ", "あ", "あ", "あ", "y"]), 5)), "xあy");
        assert!(without_loops(Vec::new(), 5).is_empty());
    }

    #[test]
    fn invented_texts_are_not_believed() {
        let hypothesis = |text: &str, p: f32, no_speech: f32| Hypothesis {
            text: text.into(),
            tokens: vec![Token { bytes: text.into(), p }],
            no_speech,
            ..Hypothesis::default()
        };
        let (decode, reject) = (Decode::default(), Reject::default());
        let believed = |hypothesis: Hypothesis, seconds| super::believed(&hypothesis, seconds, &decode, &reject);
        assert!(believed(hypothesis("はい、お願いします。", 0.9, 0.1), 1.2));
        assert!(!believed(hypothesis("ご視聴ありがとうございました", 0.9, 0.1), 0.4), "nobody speaks that fast");
        assert!(!believed(hypothesis("ありがとう", 0.2, 0.9), 2.0), "no speech, and not sure of the text");
        assert!(believed(hypothesis("ありがとう", 0.8, 0.9), 2.0), "sure of the text");
        assert!(!believed(hypothesis("、。", 0.9, 0.1), 2.0), "no word in it");
    }
}

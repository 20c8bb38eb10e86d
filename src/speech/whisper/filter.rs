//! Between whisper.cpp's logits and the dictionary's bias: gives the bonuses, and remembers what the model itself thought.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::raw;
use crate::speech::{Bias, Given, Vocabulary};

/// One decode with a bias.
pub(super) struct Biased<'a> {
    bias: &'a dyn Bias,
    vocabulary: &'a Vocabulary,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    bonuses: u32,
    /// Steps that got a bonus, by the tokens before them.
    steps: HashMap<Vec<i32>, Given>,
}

impl<'a> Biased<'a> {
    pub(super) fn new(bias: &'a dyn Bias, vocabulary: &'a Vocabulary) -> Self {
        Self { bias, vocabulary, record: Mutex::default() }
    }

    /// Bonuses given in all steps.
    pub(super) fn bonuses(&self) -> u32 {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).bonuses
    }

    /// The probability that the model itself gave the last of `tokens`, which was sampled with probability `p`.
    pub(super) fn unbiased(&self, tokens: &[i32], p: f32) -> f32 {
        let Some((last, before)) = tokens.split_last() else { return p };
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        match record.steps.get(before) {
            Some(given) => u32::try_from(*last).ok().and_then(|last| without(given, last, p)).unwrap_or(p),
            None => p,
        }
    }
}

/// The probability of `token` without the bonuses, which was `p` with them; `None` for one far behind the best.
fn without(given: &Given, token: u32, p: f32) -> Option<f32> {
    let of = |pairs: &[(u32, f32)], token: u32| pairs.iter().find(|pair| pair.0 == token).map(|pair| f64::from(pair.1));
    let best = given.near.iter().map(|near| near.1).fold(f32::NEG_INFINITY, f32::max);
    let weight = |score: f64| (score - f64::from(best)).exp();
    let (score, bonus) = (of(&given.near, token)?, of(&given.bonuses, token).unwrap_or(0.0));
    // p = weight(score + bonus) / sum of all weights with their bonuses
    let with = weight(score + bonus) / f64::from(p);
    let gained = |&(token, bonus): &(u32, f32)| {
        of(&given.near, token).map_or(0.0, |score| weight(score + f64::from(bonus)) - weight(score))
    };
    let sum = with - given.bonuses.iter().map(gained).sum::<f64>();
    (sum > 0.0).then(|| (weight(score) / sum).clamp(0.0, 1.0) as f32)
}

impl raw::Filter for Biased<'_> {
    fn apply(&self, tokens: &[i32], logits: &mut [f32]) {
        let mut so_far = Vec::with_capacity(4 * tokens.len());
        for token in tokens {
            so_far.extend_from_slice(self.vocabulary.bytes(usize::try_from(*token).unwrap_or(usize::MAX)));
        }
        let given = self.bias.adjust(self.vocabulary, &so_far, logits);
        if given.bonuses.is_empty() {
            return;
        }
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.bonuses = record.bonuses.saturating_add(u32::try_from(given.bonuses.len()).unwrap_or(u32::MAX));
        record.steps.insert(tokens.to_vec(), given);
    }
}

#[cfg(test)]
mod tests {
    use super::raw::Filter as _;
    use super::*;

    struct Prefer(i32);

    impl Bias for Prefer {
        fn version(&self) -> &str {
            "test"
        }

        fn adjust(&self, _: &Vocabulary, so_far: &[u8], logits: &mut [f32]) -> Given {
            if so_far != b"a" {
                return Given::default();
            }
            let near = (0..3).map(|id| (id, logits[id as usize])).collect();
            logits[self.0 as usize] += 2.0;
            Given { bonuses: vec![(self.0 as u32, 2.0)], near }
        }
    }

    #[test]
    fn the_probability_without_the_bonus_comes_back() {
        let vocabulary = Vocabulary::new(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
        let biased = Biased::new(&Prefer(1), &vocabulary);
        let raw = [1.0f32, 0.5, -1.0, f32::NEG_INFINITY];
        let softmax = |logits: &[f32], id: usize| logits[id].exp() / logits.iter().map(|l| l.exp()).sum::<f32>();
        let mut logits = raw;
        biased.apply(&[0], &mut logits);
        assert!(logits[1] > raw[1]);
        for id in 0..3 {
            let sampled = softmax(&logits, id);
            let honest = biased.unbiased(&[0, id as i32], sampled);
            assert!((honest - softmax(&raw, id)).abs() < 1e-5, "{id}: {honest}");
        }
        let mut logits = raw;
        biased.apply(&[2], &mut logits);
        assert_eq!(logits, raw);
        assert_eq!(biased.unbiased(&[2, 1], 0.25), 0.25, "no bonus, nothing to take back");
        assert_eq!(biased.bonuses(), 1);
        assert_eq!(biased.unbiased(&[0, 3], 1e-6), 1e-6, "far behind the best");
    }
}

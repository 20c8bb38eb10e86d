//! Between whisper.cpp's logits and the dictionary's bias: gives the bonuses, and remembers what the model itself thought.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::raw;
use crate::speech::{Bias, Vocabulary};

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
    steps: HashMap<Vec<i32>, Step>,
    raw: Vec<f32>,
}

/// How a bonus changed the probabilities of one step.
#[derive(Debug)]
struct Step {
    /// What every log-probability lost because others gained.
    lost: f32,
    /// Tokens with a bonus.
    given: Vec<(i32, f32)>,
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
        let Some(step) = record.steps.get(before) else { return p };
        let bonus = step.given.iter().find(|given| given.0 == *last).map_or(0.0, |given| given.1);
        (p.ln() - bonus + step.lost).exp().clamp(0.0, 1.0)
    }
}

impl raw::Filter for Biased<'_> {
    fn apply(&self, tokens: &[i32], logits: &mut [f32]) {
        let id = |token: &i32| usize::try_from(*token).unwrap_or(usize::MAX);
        let so_far: Vec<u8> = tokens.iter().flat_map(|token| self.vocabulary.bytes(id(token)).to_vec()).collect();
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.raw.clear();
        record.raw.extend_from_slice(logits);
        let given = self.bias.adjust(self.vocabulary, &so_far, logits);
        if given == 0 {
            return;
        }
        record.bonuses = record.bonuses.saturating_add(given);
        let changed = record.raw.iter().zip(logits.iter()).enumerate().filter(|(_, (raw, now))| raw != now);
        let given = changed.map(|(id, (raw, now))| (id as i32, now - raw)).collect();
        let lost = log_sum_exp(logits) - log_sum_exp(&record.raw);
        record.steps.insert(tokens.to_vec(), Step { lost, given });
    }
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !most.is_finite() {
        return most;
    }
    // beyond 20 nats below the best nothing counts, and most tokens are there
    let sum: f32 = logits.iter().filter(|logit| **logit > most - 20.0).map(|logit| (logit - most).exp()).sum();
    most + sum.ln()
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

        fn adjust(&self, _: &Vocabulary, so_far: &[u8], logits: &mut [f32]) -> u32 {
            if so_far == b"a" {
                logits[self.0 as usize] += 2.0;
                return 1;
            }
            0
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
    }
}

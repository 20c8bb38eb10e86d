//! What look-ups found a moment ago: transfers and second legs of a call ask again.

use std::collections::HashMap;
use std::time::Duration;

use crate::call::number::Number;
use crate::events::Match;
use crate::time::Mono;

/// Numbers that are remembered; when there are more, the oldest makes room.
const NUMBERS: usize = 4_096;

/// Answers of a CRM by number.
#[derive(Debug, Default)]
pub struct Found {
    by_number: HashMap<Number, (Mono, Vec<Match>)>,
    keep: Duration,
}

impl Found {
    /// Remembers each answer for `keep`.
    pub fn new(keep: Duration) -> Self {
        Self { by_number: HashMap::new(), keep }
    }

    /// Who has the number, when that was asked a moment ago.
    pub fn get(&self, number: &Number, now: Mono) -> Option<Vec<Match>> {
        let (at, matches) = self.by_number.get(number)?;
        (now.since(*at) < self.keep).then(|| matches.clone())
    }

    /// Remembers an answer.
    pub fn put(&mut self, number: Number, matches: Vec<Match>, now: Mono) {
        if self.keep.is_zero() {
            return;
        }
        if self.by_number.len() >= NUMBERS && !self.by_number.contains_key(&number) {
            let keep = self.keep;
            self.by_number.retain(|_, (at, _)| now.since(*at) < keep);
            let oldest = self.by_number.iter().min_by_key(|(_, (at, _))| *at).map(|(number, _)| number.clone());
            if let Some(oldest) = oldest.filter(|_| self.by_number.len() >= NUMBERS) {
                self.by_number.remove(&oldest);
            }
        }
        self.by_number.insert(number, (now, matches));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_remembered_for_a_while_also_that_nobody_has_the_number() {
        let mut found = Found::new(Duration::from_secs(60));
        let number = Number::parse("06-0000-1234");
        assert_eq!(found.get(&number, Mono(0)), None);
        found.put(number.clone(), Vec::new(), Mono(0));
        assert_eq!(found.get(&Number::parse("+81600001234"), Mono(59_999_999_999)), Some(Vec::new()));
        assert_eq!(found.get(&number, Mono(60_000_000_000)), None);
    }

    #[test]
    fn it_stays_small() {
        let mut found = Found::new(Duration::from_secs(60));
        for n in 0..=NUMBERS as u64 {
            found.put(Number::parse(&format!("06{n:08}")), Vec::new(), Mono(n));
        }
        assert_eq!(found.by_number.len(), NUMBERS);
        assert_eq!(found.get(&Number::parse("0600000000"), Mono(NUMBERS as u64)), None, "the oldest made room");
        assert!(found.get(&Number::parse("0600000001"), Mono(NUMBERS as u64)).is_some());
    }
}

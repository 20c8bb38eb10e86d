//! How sure a figure is: bootstrap intervals of shares, exact intervals of rates of rare events, and the draws for both.

use super::score::Score;

/// A share with its 95 % interval; all in per cent.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Share {
    /// The share of the whole set.
    pub value: f64,
    /// 2.5 % of the resampled sets are below.
    pub low: f64,
    /// 2.5 % are above.
    pub high: f64,
}

/// A statistic of the sums of a text and of the text without a dictionary; `None` where nothing was counted.
pub type Statistic = fn(&Score, &Score) -> Option<f64>;

/// Statistics with their bootstrap intervals: `resamples` sets of as many utterances, drawn with a fixed seed.
pub fn bootstrap(scores: &[(Score, Score)], resamples: usize, statistics: &[Statistic]) -> Vec<Option<Share>> {
    let sums = |indices: &mut dyn Iterator<Item = usize>| {
        indices
            .filter_map(|index| scores.get(index))
            .fold((Score::default(), Score::default()), |(a, b), (x, y)| (a.plus(x), b.plus(y)))
    };
    let whole = sums(&mut (0..scores.len()));
    let mut random = Random::new(0x6b61_6b65_6861_7368);
    let drawn: Vec<(Score, Score)> =
        (0..resamples).map(|_| sums(&mut (0..scores.len()).map(|_| random.below(scores.len())))).collect();
    statistics
        .iter()
        .map(|statistic| {
            let value = 100.0 * statistic(&whole.0, &whole.1)?;
            let mut all: Vec<f64> =
                drawn.iter().filter_map(|(a, b)| statistic(a, b)).map(|share| 100.0 * share).collect();
            all.sort_by(f64::total_cmp);
            let at = |share: f64| {
                all.get(((all.len() as f64 - 1.0).max(0.0) * share).round() as usize).copied().unwrap_or(value)
            };
            Some(Share { value, low: at(0.025), high: at(0.975) })
        })
        .collect()
}

/// A rate of rare events with its exact 95 % interval (Poisson, Garwood): `events` in `hours`.
pub fn rate(events: f64, hours: f64) -> Option<Share> {
    if hours <= 0.0 {
        return None;
    }
    // the mean at which at most `events` (or fewer than `events`) come with the probability `tail`
    let solve = |most: f64, tail: f64| {
        let (mut low, mut high) = (0.0_f64, 2.0 * most + 20.0);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            if at_most(most, middle) > tail { low = middle } else { high = middle }
        }
        low
    };
    let low = if events > 0.0 { solve(events - 1.0, 0.975) } else { 0.0 };
    Some(Share { value: events / hours, low: low / hours, high: solve(events, 0.025) / hours })
}

/// The probability of at most `most` events where `mean` are expected.
fn at_most(most: f64, mean: f64) -> f64 {
    let (mut log, mut sum, mut k) = (-mean, 0.0, 0.0);
    while k <= most {
        sum += log.exp();
        k += 1.0;
        log += mean.max(f64::MIN_POSITIVE).ln() - k.ln();
    }
    sum
}

/// SplitMix64: the same draws on every machine.
pub struct Random(u64);

impl Random {
    /// Draws that `seed` decides.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A number from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_rare_events_have_their_exact_interval() {
        let near = |share: Option<Share>, low: f64, high: f64| {
            let share = share.unwrap();
            assert!((share.low - low).abs() < 0.001 && (share.high - high).abs() < 0.001, "{share:?}");
        };
        near(rate(0.0, 1.0), 0.0, 3.689);
        near(rate(1.0, 1.0), 0.0253, 5.572);
        near(rate(10.0, 2.0), 4.795 / 2.0, 18.390 / 2.0);
        assert_eq!(rate(0.0, 0.0), None);
    }

    #[test]
    fn intervals_hold_the_value_and_are_reproducible() {
        let scores: Vec<_> = (0..50)
            .map(|i| (Score { characters: 10.0, errors: f64::from(i % 3), ..Score::default() }, Score::default()))
            .collect();
        let cer: Statistic = |a, _| Some(a.errors / a.characters);
        let share = bootstrap(&scores, 500, &[cer])[0].unwrap();
        assert!(share.low < share.value && share.value < share.high, "{share:?}");
        assert_eq!(bootstrap(&scores, 500, &[cer])[0], Some(share));
        assert_eq!(bootstrap(&[], 10, &[|a, _| (a.said > 0.0).then_some(1.0)])[0], None);
    }
}

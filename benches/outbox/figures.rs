//! From what was measured to the lines that are printed: percentiles of times, rates of several rounds, ratios of two sides measured in turn.
#![allow(dead_code)] // each bench uses its part

use std::time::Duration;

/// The value below which `share` of the sorted values lie, by the nearest rank below; `None` when there are none.
pub(crate) fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share) as usize).copied()
}

/// Prints the median and the 99th percentile of times, and gives both in milliseconds.
pub(crate) fn print_times(name: &str, mut taken: Vec<Duration>) -> [f64; 2] {
    taken.sort();
    [("p50", 0.50), ("p99", 0.99)].map(|(word, share)| {
        let value = percentile(&taken, share).unwrap_or_default().as_secs_f64() * 1_000.0;
        println!("{name}_{word} {value:.3} ms");
        value
    })
}

/// Median, least and most of some rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of an even number of rounds the median is the mean of the middle two.
    pub(crate) fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Spread { median, least, most })
    }
}

/// How many times as much one side did as the other, round by round: what slows the machine for a while slows both sides of a round.
pub(crate) fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).filter(|(_, theirs)| **theirs > 0.0).map(|(ours, theirs)| ours / theirs).collect()
}

/// Prints the median of some rounds, and between what they lie when there are several.
pub(crate) fn print(name: &str, values: &[f64], unit: &str) {
    let Some(Spread { median, least, most }) = Spread::of(values) else { return };
    let places = if most < 10.0 { 2 } else { usize::from(most < 100.0) };
    match values.len() {
        1 => println!("{name} {median:.places$} {unit}"),
        rounds => println!("{name} {median:.places$} {unit} ({least:.places$} to {most:.places$} in {rounds} rounds)"),
    }
}

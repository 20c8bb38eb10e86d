//! How many mutated messages a test tries: what continuous integration has time for, or more by hand.

/// `least`, times `KAKEHASHI_MUTATE_TIMES` (`make soak` sets it).
pub(crate) fn cases(least: u64) -> u64 {
    let times = std::env::var("KAKEHASHI_MUTATE_TIMES").ok();
    let times = times.map_or(1, |times| times.parse().expect("KAKEHASHI_MUTATE_TIMES is a whole number"));
    least * times
}

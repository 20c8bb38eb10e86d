//! How long is waited before something that failed is tried again.

use std::time::Duration;

use super::message::Message;

/// The first pause, and the longest one.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);
/// What is refused by name, not by chance, is asked again this late.
pub(super) const REFUSED: Duration = Duration::from_secs(1_800);
/// The longest Retry-After that is obeyed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// After so many failures in a row: 5 s, doubling to 300 s, each up to a quarter longer by `salt`, so that not all come back at once.
pub(super) fn doubling(failures: u32, salt: u64) -> Duration {
    let pause = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(LONGEST);
    pause + share(pause / 4, salt)
}

/// A part of `span` by `salt`.
pub(super) fn share(span: Duration, salt: u64) -> Duration {
    span.mul_f64((salt % 1_000) as f64 / 1_000.0)
}

/// Retry-After of an answer.
pub(super) fn retry_after(answer: &Message) -> Option<Duration> {
    let text = answer.text("Retry-After")?;
    let digits = text.split([';', '(', ' ']).next()?;
    Some(Duration::from_secs(digits.parse().ok()?).min(RETRY_AFTER_MAX))
}

/// A header that is a number of seconds, and nothing larger than a day.
pub(super) fn seconds(message: &Message, name: &str) -> Option<u32> {
    message.text(name)?.trim().parse::<u32>().ok().map(|seconds| seconds.min(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_limit() {
        let seconds = |failures| doubling(failures, 0).as_secs();
        assert_eq!([seconds(1), seconds(2), seconds(3), seconds(7), seconds(u32::MAX)], [5, 10, 20, 300, 300]);
        assert!(doubling(1, 999) < Duration::from_millis(6_250));
    }
}

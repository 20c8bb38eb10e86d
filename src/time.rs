//! Clocks as values: the core is handed `Now` and never reads a clock itself.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Monotonic time in nanoseconds since an origin that is fixed for the life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

/// Wall-clock time (UTC) in microseconds since 1970-01-01T00:00:00Z. May step; never used for timers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Wall(pub i64);

/// Position inside one audio stream in microseconds since its first sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaTime(pub u64);

/// Both clocks, read together at the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timers and durations.
    pub mono: Mono,
    /// For people and records.
    pub wall: Wall,
}

impl Mono {
    /// Time since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, span: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;
    fn add(self, span: Duration) -> Wall {
        Wall(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Wall {
    type Output = Wall;
    fn sub(self, span: Duration) -> Wall {
        Wall(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Wall {
    /// Time since `earlier`; zero when the clock was set back in between.
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with microseconds, as CloudEvents' `time` wants it.
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(stamp) => format!("{stamp:.6}"),
            Err(_) => "1970-01-01T00:00:00.000000Z".into(),
        }
    }

    /// Reads RFC 3339.
    pub fn parse_rfc3339(text: &str) -> Option<Wall> {
        text.parse::<jiff::Timestamp>().ok().map(|stamp| Wall(stamp.as_microsecond()))
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

impl MediaTime {
    /// The time of sample `index` at `rate` samples a second.
    pub fn of_sample(index: u64, rate: u32) -> MediaTime {
        MediaTime((u128::from(index) * 1_000_000 / u128::from(rate.max(1))) as u64)
    }

    /// The sample at this time, at `rate` samples a second.
    pub fn to_sample(self, rate: u32) -> u64 {
        (u128::from(self.0) * u128::from(rate) / 1_000_000) as u64
    }

    /// As a duration since the start of the stream.
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl Now {
    /// The same instant seen `span` later, on both clocks (for tests in virtual time).
    pub fn plus(self, span: Duration) -> Now {
        Now { mono: self.mono + span, wall: self.wall + span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_prints_and_reads_rfc3339() {
        let wall = Wall(1_795_420_800_123_456);
        assert_eq!(wall.rfc3339(), "2026-11-23T08:00:00.123456Z");
        assert_eq!(Wall::parse_rfc3339(&wall.rfc3339()), Some(wall));
    }

    #[test]
    fn media_time_and_samples_agree() {
        assert_eq!(MediaTime::of_sample(8_000, 8_000), MediaTime(1_000_000));
        assert_eq!(MediaTime(125).to_sample(8_000), 1);
    }

    #[test]
    fn a_clock_that_steps_back_gives_zero() {
        assert_eq!(Wall(5).since(Wall(9)), Duration::ZERO);
    }
}

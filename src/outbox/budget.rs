//! How many requests an endpoint may get in a day: a CRM's quota, kept over restarts, never overdrawn by what is in flight.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::time::Wall;

/// Japan is nine hours ahead of UTC; there is no summer time.
const JST: i64 = 9 * 3_600 * 1_000_000;
const DAY: i64 = 24 * 3_600 * 1_000_000;
/// The share of the day's requests that is kept for pops and look-ups: the backlog of an outage must not blind the operators.
const KEPT_PERCENT: u64 = 10;

/// The day in Japan, counted from 1970-01-01; `begins`: the time of day at which it begins, below 24 hours (zero = midnight). Until then it is the day
/// before.
pub fn day_of(now: Wall, begins: Duration) -> i64 {
    since_first_day(now, begins).div_euclid(DAY)
}

/// Time until the next such day begins in Japan.
pub(super) fn left_of_day(now: Wall, begins: Duration) -> Duration {
    Duration::from_micros((DAY - since_first_day(now, begins).rem_euclid(DAY)) as u64)
}

fn since_first_day(now: Wall, begins: Duration) -> i64 {
    (now - begins).0.saturating_add(JST)
}

/// Such a day as `YYYY-MM-DD`.
pub fn date_of(day: i64) -> String {
    Wall(day.saturating_mul(DAY)).rfc3339().chars().take(10).collect()
}

/// What the requests are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Use {
    /// Record events: they can wait for the next day.
    #[default]
    Record,
    /// Pops and look-ups: they cannot.
    Live,
}

impl Use {
    /// As it stands in the store and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Use::Record => "record",
            Use::Live => "live",
        }
    }
}

/// One endpoint's requests of a day; cheap to clone, all clones are the same budget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The time of day in Japan at which its day begins.
    begins: Duration,
    day: Arc<Mutex<Day>>,
}

#[derive(Debug)]
struct Day {
    /// Requests a day.
    limit: u64,
    number: i64,
    used: u64,
    /// Set aside for what is in flight.
    reserved: u64,
}

impl Day {
    /// A new day begins with nothing used. A clock that goes back begins none: the day that was paid for stays.
    fn turn(&mut self, today: i64) {
        if today > self.number {
            (self.number, self.used) = (today, 0);
        }
    }
}

impl Budget {
    /// `limit`: requests a day, `u64::MAX` = any number; `begins`: the time of day in Japan at which that day begins; `used`: requests of the day of `now` so far.
    pub fn new(limit: u64, begins: Duration, used: u64, now: Wall) -> Self {
        let day = Day { limit, number: day_of(now, begins), used, reserved: 0 };
        Self { begins, day: Arc::new(Mutex::new(day)) }
    }

    /// Another number of requests a day, from this day on.
    pub fn set_limit(&self, limit: u64) {
        self.lock().limit = limit;
    }

    /// Time until its next day begins.
    pub fn left_of_day(&self, now: Wall) -> Duration {
        left_of_day(now, self.begins)
    }

    /// Sets `most` requests aside for something that is about to fly; `false` when the day's share has not got so many left.
    pub fn reserve(&self, most: u64, whom: Use, now: Wall) -> bool {
        let mut day = self.day(now);
        let share = match whom {
            Use::Record => day.limit - day.limit / 100 * KEPT_PERCENT,
            Use::Live => day.limit,
        };
        let fits = day.used + day.reserved + most <= share;
        if fits {
            day.reserved += most;
        }
        fits
    }

    /// What had set `most` aside took `spent`.
    pub fn spend(&self, most: u64, spent: u64, now: Wall) {
        let mut day = self.day(now);
        day.reserved = day.reserved.saturating_sub(most);
        day.used = day.used.saturating_add(spent);
    }

    /// What had set `most` aside did not fly.
    pub fn release(&self, most: u64) {
        let mut day = self.lock();
        day.reserved = day.reserved.saturating_sub(most);
    }

    /// Requests of today so far.
    pub fn used(&self, now: Wall) -> u64 {
        self.day(now).used
    }

    fn day(&self, now: Wall) -> MutexGuard<'_, Day> {
        let mut day = self.lock();
        day.turn(day_of(now, self.begins));
        day
    }

    fn lock(&self) -> MutexGuard<'_, Day> {
        self.day.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23 17:00 in Japan.
    const NOW: Wall = Wall(1_795_420_800_000_000);
    const MIDNIGHT: Duration = Duration::ZERO;

    #[test]
    fn a_day_is_one_of_japan() {
        let day = |now| day_of(now, MIDNIGHT);
        assert_eq!(left_of_day(NOW, MIDNIGHT), Duration::from_secs(7 * 3_600));
        assert_eq!(day(NOW + Duration::from_secs(7 * 3_600 - 1)), day(NOW));
        assert_eq!(day(NOW + Duration::from_secs(7 * 3_600)), day(NOW) + 1);
        assert_eq!(date_of(day(NOW + Duration::from_secs(7 * 3_600))), "2026-11-24");
        assert_eq!(left_of_day(Wall(-JST - 1), MIDNIGHT), Duration::from_micros(1), "also before 1970");
    }

    #[test]
    fn a_day_may_begin_in_the_morning() {
        let nine = Duration::from_secs(9 * 3_600);
        let budget = Budget::new(10, nine, 10, NOW);
        assert_eq!(budget.left_of_day(NOW), Duration::from_secs(16 * 3_600));
        let last = NOW + Duration::from_secs(16 * 3_600 - 1);
        assert_eq!(date_of(day_of(last, nine)), "2026-11-23", "08:59:59 on the 24th");
        assert!(!budget.reserve(1, Use::Live, NOW + Duration::from_secs(7 * 3_600)), "midnight gives nothing");
        assert!(!budget.reserve(1, Use::Live, last));
        let nine_o_clock = last + Duration::from_secs(1);
        assert_eq!(date_of(day_of(nine_o_clock, nine)), "2026-11-24");
        assert!(budget.reserve(10, Use::Live, nine_o_clock));
    }

    #[test]
    fn what_is_in_flight_counts_before_it_lands_and_pops_have_their_share() {
        let budget = Budget::new(100, MIDNIGHT, 80, NOW);
        assert!(budget.reserve(5, Use::Record, NOW) && budget.reserve(5, Use::Record, NOW));
        assert!(!budget.reserve(1, Use::Record, NOW), "90 of 100 are for records");
        assert!(budget.reserve(1, Use::Live, NOW));
        budget.spend(5, 2, NOW);
        assert!(budget.reserve(2, Use::Record, NOW) && !budget.reserve(1, Use::Record, NOW));
        assert_eq!(budget.used(NOW), 82);
    }

    #[test]
    fn another_limit_counts_what_was_used() {
        let budget = Budget::new(u64::MAX, MIDNIGHT, 10, NOW);
        assert!(budget.reserve(80, Use::Record, NOW));
        budget.spend(80, 80, NOW);
        budget.set_limit(100);
        assert!(!budget.reserve(1, Use::Record, NOW) && budget.reserve(10, Use::Live, NOW));
    }

    #[test]
    fn the_next_day_begins_anew_and_a_clock_set_back_gives_nothing() {
        let budget = Budget::new(10, MIDNIGHT, 10, NOW);
        assert!(!budget.reserve(1, Use::Record, NOW));
        assert!(!budget.reserve(1, Use::Record, NOW + Duration::from_secs(6 * 3_600)));
        let tomorrow = NOW + Duration::from_secs(7 * 3_600);
        assert!(budget.reserve(10, Use::Record, tomorrow));
        budget.spend(10, 10, tomorrow);
        assert!(!budget.reserve(1, Use::Record, NOW), "back to yesterday");
    }
}

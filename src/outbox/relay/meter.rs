//! The bytes that a link may use: of a day, of a second, and what of them is kept for whom. Virtual time; what is counted is told from outside.

use std::time::Duration;

use super::Class;
use super::frame::{HEAD, MOST_OF_FRAME};
use crate::outbox::budget::{day_of, left_of_day};
use crate::time::{Mono, Now, Wall};

/// The share of the day's bytes that is kept for live events, in percent.
const LIVE_PERCENT: u64 = 10;
/// Bytes that a handshake may take, both directions; a link is not opened when the day has less.
pub const HANDSHAKE: u64 = 16 * 1024;
/// Bytes with which an open link is closed: its farewell and what is on its way.
const LAST_WORDS: u64 = 1_024;
/// What TLS 1.3 adds to a frame: header, content type and tag of a record. (RFC 8446 §5.2)
const RECORD: u64 = 22;
/// What an answer takes at most, TLS included.
const ANSWER: u64 = 256;
/// How often a wait for the next day is looked at again: the clock may be set meanwhile.
const AGAIN: Duration = Duration::from_secs(15 * 60);
const MINUTE: i64 = 60_000_000;
const MINUTES_OF_DAY: i64 = 24 * 60;
/// Minutes of Japan before UTC.
const JST: i64 = 9 * 60;

/// What may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on the socket in a day of Japan, both directions; 0 = any number.
    pub per_day: u64,
    /// Bytes of messages sent in a second; 0 = any number.
    pub per_second: u64,
    /// The share of the day that bulk leaves to pops and texts, in percent.
    pub reserve_percent: u64,
    /// When bulk may go; always where there is none.
    pub night: Option<Night>,
}

/// A time of the day in Japan, in minutes since midnight; it may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Night {
    from: i64,
    to: i64,
}

impl Night {
    /// Reads `22:00-06:00`.
    pub fn parse(text: &str) -> Option<Night> {
        let minute = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
            ((0..=23).contains(&hour) && (0..=59).contains(&minute)).then_some(hour * 60 + minute)
        };
        let (from, to) = text.split_once('-')?;
        let night = Night { from: minute(from)?, to: minute(to)? };
        (night.from != night.to).then_some(night)
    }

    /// Time until it begins; `None` while it lasts.
    fn begins_in(self, now: Wall) -> Option<Duration> {
        let of_day = now.0.div_euclid(MINUTE).saturating_add(JST).rem_euclid(MINUTES_OF_DAY);
        let lasts = (self.to - self.from).rem_euclid(MINUTES_OF_DAY);
        if (of_day - self.from).rem_euclid(MINUTES_OF_DAY) < lasts {
            return None;
        }
        let minutes = (self.from - of_day).rem_euclid(MINUTES_OF_DAY);
        Some(Duration::from_micros((minutes * MINUTE - now.0.rem_euclid(MINUTE)).unsigned_abs()))
    }
}

/// Why a message does not go now, and how long it is worth to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The bytes of the day that its class may use are used up.
    Day(Duration),
    /// It is bulk, and it is day.
    Night(Duration),
}

/// Bytes of a day that may fly because they are written down as used already: a kill forgets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    day: i64,
    bytes: u64,
}

impl Lease {
    /// As it is kept in the store.
    pub fn text(self) -> String {
        format!("{} {}", self.day, self.bytes)
    }

    /// What was used on the day of `now` by such a text; 0 for another day, or for none.
    pub fn used(text: &str, now: Wall) -> u64 {
        let read = || {
            let (day, bytes) = text.split_once(' ')?;
            (day.parse() == Ok(day_of(now, Duration::ZERO))).then(|| bytes.parse().ok()).flatten()
        };
        read().unwrap_or(0)
    }
}

/// The bytes of one link.
#[derive(Debug)]
pub struct Meter {
    limits: Limits,
    day: i64,
    used: u64,
    /// For messages that have begun, and their answers.
    promised: u64,
    leased: u64,
    /// Bytes that may go at once, and when that was so.
    tokens: f64,
    filled: Mono,
}

impl Meter {
    /// `used`: the bytes of the day of `now` so far.
    pub fn new(limits: Limits, used: u64, now: Now) -> Meter {
        let tokens = limits.per_second as f64;
        Meter {
            limits,
            day: day_of(now.wall, Duration::ZERO),
            used,
            promised: 0,
            leased: used,
            tokens,
            filled: now.mono,
        }
    }

    /// A new day begins with nothing used. A clock that goes back begins none.
    fn turn(&mut self, now: Wall) {
        let today = day_of(now, Duration::ZERO);
        if today > self.day {
            (self.day, self.used, self.leased) = (today, 0, 0);
        }
    }

    /// So many bytes went over the socket.
    pub fn count(&mut self, bytes: u64, now: Wall) {
        self.turn(now);
        self.used = self.used.saturating_add(bytes);
    }

    /// Sets aside what a message of `size` bytes takes; what is given is to be released.
    ///
    /// # Errors
    /// When it has to wait.
    pub fn begin(&mut self, class: Class, size: usize, now: Wall) -> Result<u64, Wait> {
        self.turn(now);
        if let Some(wait) = self.limits.night.filter(|_| class == Class::Bulk).and_then(|night| night.begins_in(now)) {
            return Err(Wait::Night(wait));
        }
        let frames = (size / self.piece() + 1) as u64;
        let takes = size as u64 + frames * (HEAD as u64 + RECORD) + ANSWER;
        if self.limits.per_day > 0 && self.used + self.promised + takes > self.share(class) {
            return Err(Wait::Day(left_of_day(now, Duration::ZERO).min(AGAIN)));
        }
        self.promised += takes;
        Ok(takes)
    }

    /// So much of what was set aside is spent (it is counted by then), or not needed.
    pub fn release(&mut self, promised: u64) {
        self.promised = self.promised.saturating_sub(promised);
    }

    /// What a frame of a message takes on the socket.
    pub fn takes(&self, payload: usize) -> u64 {
        payload as u64 + HEAD as u64 + RECORD
    }

    /// The most that a class may bring the day's bytes to.
    fn share(&self, class: Class) -> u64 {
        let day = self.limits.per_day;
        let kept = match class {
            Class::Live => 0,
            Class::Record => LIVE_PERCENT,
            Class::Bulk => self.limits.reserve_percent.clamp(LIVE_PERCENT, 100),
        };
        (day - (u128::from(day) * u128::from(kept) / 100) as u64).saturating_sub(HANDSHAKE)
    }

    /// Whether record events wait for the next day, and how long until it is looked at again.
    pub fn is_dry(&mut self, now: Wall) -> Option<Duration> {
        self.turn(now);
        let dry = self.limits.per_day > 0 && self.used + self.promised + ANSWER > self.share(Class::Record);
        dry.then(|| left_of_day(now, Duration::ZERO).min(AGAIN))
    }

    /// Whether the day has enough for a handshake.
    pub fn may_open(&mut self, now: Wall) -> bool {
        self.turn(now);
        self.limits.per_day == 0 || self.used + HANDSHAKE <= self.limits.per_day
    }

    /// Whether an open link has to be closed, because soon not even that fits.
    pub fn is_spent(&mut self, now: Wall) -> bool {
        self.turn(now);
        self.limits.per_day > 0 && self.used + self.promised.min(LAST_WORDS) + LAST_WORDS > self.limits.per_day
    }

    /// Bytes of the day that are left; `None` where any number may be used.
    pub fn left(&mut self, now: Wall) -> Option<u64> {
        self.turn(now);
        (self.limits.per_day > 0).then(|| self.limits.per_day.saturating_sub(self.used))
    }

    /// What has to be written down before more goes; `None` when enough is.
    pub fn wants(&mut self, now: Wall) -> Option<Lease> {
        self.turn(now);
        let ahead = (self.limits.per_day / 64).clamp(2 * HANDSHAKE, 256 * 1024);
        let enough = self.leased >= self.used + ahead / 2 || self.leased >= self.limits.per_day;
        let bytes = (self.used + ahead).min(self.limits.per_day);
        (self.limits.per_day > 0 && !enough).then_some(Lease { day: self.day, bytes })
    }

    /// It is written down.
    pub fn take(&mut self, lease: Lease) {
        if lease.day == self.day {
            self.leased = self.leased.max(lease.bytes);
        }
    }

    /// What is to be written down when the link ends in order: what was used and no more.
    pub fn last(&mut self, now: Wall) -> Option<Lease> {
        self.turn(now);
        (self.limits.per_day > 0).then_some(Lease { day: self.day, bytes: self.used })
    }

    /// The longest piece of a message: what goes in a quarter of a second, so that something live waits no longer.
    pub fn piece(&self) -> usize {
        match self.limits.per_second {
            0 => MOST_OF_FRAME,
            rate => usize::try_from(rate / 4).unwrap_or(MOST_OF_FRAME).clamp(256, MOST_OF_FRAME),
        }
    }

    /// Takes what a frame needs of the second's bytes; else tells when there is enough.
    ///
    /// # Errors
    /// The time from which it may go.
    pub fn pace(&mut self, bytes: u64, now: Mono) -> Result<(), Mono> {
        let rate = self.limits.per_second as f64;
        if self.limits.per_second == 0 {
            return Ok(());
        }
        self.tokens = (self.tokens + now.since(self.filled).as_secs_f64() * rate).min(rate);
        self.filled = self.filled.max(now);
        let needs = (bytes as f64).min(rate);
        if self.tokens < needs {
            return Err(now + Duration::from_secs_f64((needs - self.tokens) / rate) + Duration::from_micros(1));
        }
        self.tokens -= needs;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23 17:00 in Japan.
    const NOW: Wall = Wall(1_795_420_800_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn meter(limits: Limits, used: u64) -> Meter {
        Meter::new(limits, used, Now { mono: Mono(0), wall: NOW })
    }

    #[test]
    fn each_class_has_its_share_and_what_has_begun_counts() {
        let limits = Limits { per_day: 1_000_000, reserve_percent: 40, ..Limits::default() };
        let mut meter = meter(limits, 0);
        let mut sent = [0_u64; 3];
        for class in [Class::Bulk, Class::Record, Class::Live] {
            while let Ok(promised) = meter.begin(class, 1_000, NOW) {
                sent[class as usize] += 1;
                assert!(promised > 1_000);
                if sent[class as usize] % 2 == 0 {
                    meter.release(promised);
                    meter.count(promised, NOW);
                }
            }
        }
        let [live, record, bulk] = sent;
        assert!((430..460).contains(&bulk) && (230..236).contains(&record) && (76..79).contains(&live), "{sent:?}");
        assert_eq!(meter.begin(Class::Live, 1_000, NOW), Err(Wait::Day(AGAIN)));
        assert!(meter.is_dry(NOW).is_some() && meter.may_open(NOW) == (meter.used + HANDSHAKE <= 1_000_000));
        let tomorrow = NOW + HOUR * 7;
        meter.promised = 0;
        assert!(meter.is_dry(tomorrow).is_none() && meter.begin(Class::Bulk, 1_000, tomorrow).is_ok());
        meter.count(999_500, tomorrow);
        assert!(meter.is_spent(NOW), "a clock that was set back gives nothing");
    }

    #[test]
    fn nothing_flies_that_is_not_written_down() {
        let limits = Limits { per_day: 1_000_000, ..Limits::default() };
        let mut meter = meter(limits, 10);
        let lease = meter.wants(NOW).unwrap();
        meter.take(lease);
        assert_eq!(meter.wants(NOW), None);
        meter.count(20_000, NOW);
        let more = meter.wants(NOW).unwrap();
        assert!(Lease::used(&more.text(), NOW) > Lease::used(&lease.text(), NOW));
        assert_eq!(Lease::used(&more.text(), NOW + HOUR * 7), 0, "of another day");
        assert_eq!(Lease::used("nonsense", NOW), 0);
        assert_eq!(Lease::used(&meter.last(NOW).unwrap().text(), NOW), 20_010);
        assert_eq!(self::meter(Limits::default(), 10).wants(NOW), None, "without a limit nothing has to be");
    }

    #[test]
    fn the_night_is_one_of_japan_and_goes_over_midnight() {
        let night = Night::parse("22:00-06:00").unwrap();
        assert_eq!(night.begins_in(NOW), Some(HOUR * 5));
        assert_eq!(night.begins_in(NOW + HOUR * 5), None);
        assert_eq!(night.begins_in(NOW + HOUR * 13 - Duration::from_secs(1)), None);
        assert_eq!(night.begins_in(NOW + HOUR * 13), Some(HOUR * 16));
        assert_eq!(Night::parse("12:00-13:30").unwrap().begins_in(NOW + HOUR * 20), None);
        for wrong in ["", "22:00", "24:00-06:00", "22:00-22:00", "22-6", "a:b-c:d", "22:00-06:60"] {
            assert_eq!(Night::parse(wrong), None, "{wrong}");
        }
        let mut meter = meter(Limits { night: Some(night), ..Limits::default() }, 0);
        assert_eq!(meter.begin(Class::Bulk, 10, NOW), Err(Wait::Night(HOUR * 5)));
        assert!(meter.begin(Class::Record, 10, NOW).is_ok());
    }

    #[test]
    fn no_second_has_more_than_its_bytes_after_the_first() {
        let mut meter = meter(Limits { per_second: 10_000, ..Limits::default() }, 0);
        assert_eq!(meter.piece(), 2_500);
        let (mut now, mut sent) = (Mono(0), 0);
        while now < Mono(10_000_000_000) {
            match meter.pace(1_000, now) {
                Ok(()) => sent += 1_000,
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        assert!((100_000..=110_000).contains(&sent), "{sent}");
    }
}

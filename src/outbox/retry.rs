//! What follows an attempt to deliver: done, again later, dead, or the endpoint itself is off. (Standard Webhooks 1.0.0; RFC 9110 §10.2.3)

use std::time::Duration;

use crate::time::Wall;

/// The longest `Retry-After` that is honoured; a longer one counts as this.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3_600);

/// What an endpoint answered to one attempt, as its connector understood it. The texts have no personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has the event.
    Delivered,
    /// It cannot take anything now.
    Busy {
        /// How it said so.
        what: String,
        /// `Retry-After`, as received.
        retry_after: Option<String>,
    },
    /// It does not know us: a person mends the secret or the password, and nothing is lost meanwhile.
    Denied(String),
    /// It does not take this event as things are, and may once a person has changed something there.
    Unfit(String),
    /// It will never take this event.
    Refused(String),
    /// It was not sent: it is too old to be of use there.
    Late(String),
    /// It was not sent: what may be sent in a day is used up. Nothing else goes either.
    Dry {
        /// What is used up.
        what: String,
        /// When it is looked at again.
        wait: Duration,
    },
    /// It was not sent: it has its own time of the day. Others may go.
    NotYet {
        /// What it waits for.
        what: String,
        /// How long.
        wait: Duration,
    },
    /// It wants nothing any more.
    Gone,
    /// No answer: refused, reset, timed out, TLS failed.
    Failed(String),
}

impl Answer {
    /// What an HTTP status means where the receiver says nothing more. 3xx is not followed. (Standard Webhooks 1.0.0)
    pub fn of_status(code: u16, retry_after: Option<&str>) -> Answer {
        let what = format!("status {code}");
        match code {
            200..=299 => Answer::Delivered,
            408 | 425 | 429 | 500..=599 => Answer::Busy { what, retry_after: retry_after.map(str::to_string) },
            401 => Answer::Denied(what),
            403 | 404 | 300..=399 => Answer::Unfit(what),
            410 => Answer::Gone,
            _ => Answer::Refused(format!("{what}: the receiver refuses this event")),
        }
    }
}

/// As it may stand in a log or the store.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::Delivered => f.write_str("delivered"),
            Answer::Gone => f.write_str("status 410"),
            Answer::Busy { what, .. } | Answer::Dry { what, .. } | Answer::NotYet { what, .. } => f.write_str(what),
            Answer::Denied(what)
            | Answer::Unfit(what)
            | Answer::Refused(what)
            | Answer::Late(what)
            | Answer::Failed(what) => f.write_str(what),
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has it.
    Delivered,
    /// Try again after this long.
    Again(Duration),
    /// It will never take it: dead letter, the lane goes on.
    Dead(String),
    /// Nobody wants it any more: set aside, the lane goes on.
    Dropped(String),
    /// It wants nothing any more (410): the endpoint is off until a person turns it on.
    Off,
}

/// What an answer says of the endpoint, not of the event: `None` when it works, else how long it asks to be left alone (zero: it does not say).
pub fn trouble(answer: &Answer, now: Wall) -> Option<Duration> {
    match answer {
        Answer::Busy { retry_after: header, .. } => {
            let asked = header.as_deref().and_then(|value| retry_after(value, now));
            Some(asked.unwrap_or_default().min(LONGEST_WAIT))
        }
        Answer::Denied(_) | Answer::Failed(_) => Some(Duration::ZERO),
        Answer::Delivered | Answer::Unfit(_) | Answer::Refused(_) | Answer::Gone => None,
        Answer::Late(_) | Answer::Dry { .. } | Answer::NotYet { .. } => None,
    }
}

/// Judges the answer to attempt number `attempts` (1 for the first). `chance` is random, 0–1: full jitter between half and the whole wait.
pub fn judge(answer: &Answer, attempts: u32, schedule: &[u64], now: Wall, chance: f64) -> Verdict {
    match answer {
        Answer::Delivered => Verdict::Delivered,
        Answer::Gone => Verdict::Off,
        Answer::Busy { what, retry_after: header } => {
            let asked = header.as_deref().and_then(|value| retry_after(value, now));
            again(attempts, schedule, chance, asked, what)
        }
        Answer::Denied(what) | Answer::Unfit(what) | Answer::Failed(what) => {
            again(attempts, schedule, chance, None, what)
        }
        Answer::Refused(what) => Verdict::Dead(what.clone()),
        Answer::Late(what) => Verdict::Dropped(what.clone()),
        Answer::Dry { wait, .. } | Answer::NotYet { wait, .. } => Verdict::Again((*wait).min(LONGEST_WAIT)),
    }
}

fn again(attempts: u32, schedule: &[u64], chance: f64, asked: Option<Duration>, what: &str) -> Verdict {
    let Some(planned) = schedule.get(attempts.saturating_sub(1) as usize) else {
        return Verdict::Dead(format!("{what}; given up after {attempts} attempts"));
    };
    let planned = Duration::from_millis(*planned);
    let jittered = planned.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    Verdict::Again(asked.map_or(jittered, |asked| asked.max(Duration::from_millis(1)).min(LONGEST_WAIT)))
}

/// How long a delivery that is to be tried at `next_at` still waits after a restart: never longer than any wait is planned to be, whatever was done
/// to the clock meanwhile.
pub fn left_of(next_at: Wall, now: Wall, schedule: &[u64]) -> Duration {
    let planned = schedule.iter().copied().max().map_or(LONGEST_WAIT, Duration::from_millis);
    next_at.since(now).min(planned.max(LONGEST_WAIT))
}

/// The wait that `Retry-After` asks for: seconds or an HTTP date, a day at most; `None` when it is neither. (RFC 9110 §10.2.3)
pub fn retry_after(value: &str, now: Wall) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(LONGEST_WAIT.as_secs())));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    Some(Wall(date.timestamp().as_microsecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: [u64; 3] = [5_000, 300_000, 1_800_000];

    fn status(code: u16, retry_after: Option<&str>) -> Answer {
        Answer::of_status(code, retry_after)
    }

    fn ask(answer: &Answer, attempts: u32) -> Verdict {
        judge(answer, attempts, &SCHEDULE, Wall(1_795_420_800_000_000), 1.0)
    }

    #[test]
    fn classes_of_answers() {
        assert_eq!(ask(&status(204, None), 1), Verdict::Delivered);
        assert_eq!(ask(&status(410, None), 1), Verdict::Off);
        assert!(matches!(ask(&status(422, None), 1), Verdict::Dead(_)));
        assert!(matches!(ask(&status(400, None), 1), Verdict::Dead(_)));
        assert_eq!(ask(&Answer::Late("too old".into()), 9), Verdict::Dropped("too old".into()));
        for code in [301, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(ask(&status(code, None), 1), Verdict::Again(Duration::from_secs(5)), "{code}");
        }
        assert_eq!(ask(&Answer::Failed("timeout".into()), 2), Verdict::Again(Duration::from_secs(300)));
    }

    #[test]
    fn the_schedule_ends_in_a_dead_letter() {
        assert!(matches!(ask(&status(503, None), 3), Verdict::Again(_)));
        assert!(matches!(ask(&status(503, None), 4), Verdict::Dead(_)));
    }

    #[test]
    fn retry_after_wins_in_both_forms_and_is_bounded() {
        assert_eq!(ask(&status(429, Some("7")), 1), Verdict::Again(Duration::from_secs(7)));
        let date = status(503, Some("Mon, 23 Nov 2026 08:01:00 GMT"));
        assert_eq!(ask(&date, 1), Verdict::Again(Duration::from_secs(60)));
        assert_eq!(ask(&status(429, Some("999999999")), 1), Verdict::Again(LONGEST_WAIT));
        assert_eq!(ask(&status(429, Some("soon")), 1), Verdict::Again(Duration::from_secs(5)));
    }

    #[test]
    fn a_clock_that_was_set_back_costs_a_day_at_most() {
        let (now, hour) = (Wall(1_795_420_800_000_000), Duration::from_secs(3_600));
        assert_eq!(left_of(now + hour, now, &SCHEDULE), hour);
        assert_eq!(left_of(now, now + hour, &SCHEDULE), Duration::ZERO);
        assert_eq!(left_of(now + hour * 24 * 400, now, &SCHEDULE), LONGEST_WAIT);
        assert_eq!(left_of(now + hour * 24 * 400, now, &[48 * 3_600_000]), hour * 48);
    }

    #[test]
    fn what_is_the_endpoints_trouble_is_not_the_events() {
        let of = |answer: &Answer| trouble(answer, Wall(1_795_420_800_000_000));
        for code in [200, 204, 301, 400, 403, 404, 410, 413, 422] {
            assert_eq!(of(&status(code, Some("7"))), None, "{code}");
        }
        assert_eq!(of(&status(429, Some("7"))), Some(Duration::from_secs(7)));
        assert_eq!(of(&status(503, Some("Mon, 23 Nov 2026 08:01:00 GMT"))), Some(Duration::from_secs(60)));
        assert_eq!(of(&status(503, Some("999999999"))), Some(LONGEST_WAIT));
        assert_eq!(of(&status(500, None)), Some(Duration::ZERO));
        assert_eq!(of(&status(401, None)), Some(Duration::ZERO), "a secret that a person mends");
        assert_eq!(of(&Answer::Failed("no connection".into())), Some(Duration::ZERO));
    }

    #[test]
    fn jitter_stays_between_half_and_the_whole_wait() {
        let low = judge(&status(500, None), 1, &SCHEDULE, Wall(0), 0.0);
        assert_eq!(low, Verdict::Again(Duration::from_millis(2_500)));
    }
}

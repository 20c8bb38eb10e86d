//! Session timers (RFC 4028): what a request asks for, what we agree to, and when a refresh or the end is due.

use std::time::Duration;

use crate::time::{Mono, Now};

use super::header::{param, split_params};
use super::message::Message;

/// No Min-SE is below this (RFC 4028 §4).
pub(super) const FLOOR: u32 = 90;
/// The longest interval that is agreed to, a day.
pub(super) const CEILING: u32 = 86_400;

/// Who sends the refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresher {
    /// This bridge.
    Us,
    /// The exchange.
    Peer,
}

/// What a request says about session timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Session-Expires in seconds.
    expires: Option<u32>,
    /// Its `refresher`: true when that is who sent the request (`uac`).
    by_sender: Option<bool>,
    min_se: Option<u32>,
    /// `timer` in Supported or Require.
    supports: bool,
}

/// What a site wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Interval in seconds; 0: none of our own.
    pub(super) expires: u32,
    /// The shortest that is agreed to.
    pub(super) min_se: u32,
    /// Refresh also for a peer that does not know timers.
    pub(super) always: bool,
}

/// What comes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 422 with this Min-SE.
    TooShort(u32),
    /// No timer runs.
    Off,
    /// Session-Expires of the answer; `required`: with `Require: timer`.
    On { interval: u32, refresher: Refresher, required: bool },
}

/// A running timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionTimer {
    /// Seconds.
    pub(super) interval: u32,
    pub(super) refresher: Refresher,
    /// When we refresh.
    pub(super) refresh_at: Option<Mono>,
    /// When the call is given up.
    pub(super) expires_at: Mono,
}

impl Asked {
    /// Reads a request; what cannot be read counts as absent.
    pub(super) fn of(request: &Message) -> Asked {
        let lists = |option: &str| {
            ["Supported", "Require"]
                .iter()
                .flat_map(|name| request.list(name))
                .any(|tag| tag.eq_ignore_ascii_case(option))
        };
        let (expires, by_sender) = expires(request).map_or((None, None), |(seconds, by)| (Some(seconds), by));
        Asked { expires, by_sender, min_se: min_se(request), supports: lists("timer") }
    }
}

/// Session-Expires: seconds, and whether the refresher is the client of that transaction.
pub(super) fn expires(message: &Message) -> Option<(u32, Option<bool>)> {
    let text = message.text("Session-Expires")?;
    let (seconds, params) = split_params(&text)?;
    let by = param(&params, "refresher").map(str::to_ascii_lowercase);
    let by = by.and_then(|by| match by.as_str() {
        "uac" => Some(true),
        "uas" => Some(false),
        _ => None,
    });
    Some((seconds.trim().parse().ok()?, by))
}

/// Min-SE in seconds.
pub(super) fn min_se(message: &Message) -> Option<u32> {
    split_params(&message.text("Min-SE")?)?.0.trim().parse().ok()
}

/// The answer to a request (RFC 4028 §9). `running`: what was agreed before.
pub(super) fn negotiate(asked: Asked, wish: Wish, running: Option<SessionTimer>) -> Verdict {
    let least = wish.min_se.max(FLOOR);
    let floor = least.max(asked.min_se.unwrap_or(0)).min(CEILING);
    let own = running.map_or(wish.expires, |timer| timer.interval);
    let interval = match asked.expires {
        Some(expires) if expires < least && asked.supports => return Verdict::TooShort(least),
        // below the floor of the RFC, put there by a proxy: nobody could keep it
        Some(expires) if expires < FLOOR => return Verdict::Off,
        Some(expires) if wish.expires > 0 => expires.min(wish.expires.max(floor)),
        Some(expires) => expires.min(CEILING),
        None if own == 0 || !(asked.supports || wish.always) => return Verdict::Off,
        None => own.max(floor),
    };
    let before = running.map_or(Refresher::Us, |timer| timer.refresher);
    let refresher = match asked.by_sender {
        _ if !asked.supports => Refresher::Us,
        Some(true) => Refresher::Peer,
        Some(false) => Refresher::Us,
        None => before,
    };
    Verdict::On { interval, refresher, required: asked.supports }
}

impl SessionTimer {
    /// A timer that begins now (RFC 4028 §10). We refresh at half of it; the silent other side is given up a little before its end.
    pub(super) fn start(interval: u32, refresher: Refresher, now: Now) -> SessionTimer {
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        let (refresh_at, life) = match refresher {
            Refresher::Us => (Some(now.mono + seconds(interval) / 2), interval),
            Refresher::Peer => (None, interval - (interval / 3).min(32)),
        };
        SessionTimer { interval, refresher, refresh_at, expires_at: now.mono + seconds(life) }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Mono {
        self.refresh_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }

    /// Session-Expires of our answer, where the peer is `uac`.
    pub(super) fn print_answer(&self) -> String {
        let by = if self.refresher == Refresher::Us { "uas" } else { "uac" };
        format!("{};refresher={by}", self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Start;
    use super::*;

    fn asked(headers: &[(&str, &str)]) -> Asked {
        let mut message = Message::new(Start::Request { method: "INVITE".into(), uri: "sip:a".into() });
        headers.iter().for_each(|(name, value)| message.push(name, *value));
        Asked::of(&message)
    }

    const WISH: Wish = Wish { expires: 1_800, min_se: 120, always: false };
    const TIMER: (&str, &str) = ("Supported", "replaces, timer");

    fn of(headers: &[(&str, &str)]) -> Verdict {
        negotiate(asked(headers), WISH, None)
    }

    fn on(interval: u32, refresher: Refresher, required: bool) -> Verdict {
        Verdict::On { interval, refresher, required }
    }

    #[test]
    fn an_interval_below_ours_is_too_short_for_who_knows_timers() {
        assert_eq!(of(&[TIMER, ("Session-Expires", "119")]), Verdict::TooShort(120));
        assert_eq!(of(&[TIMER, ("Session-Expires", "120")]), on(120, Refresher::Us, true));
        assert_eq!(of(&[("Session-Expires", "100")]), on(100, Refresher::Us, false), "422 would mean nothing to it");
        assert_eq!(of(&[("Session-Expires", "89")]), Verdict::Off);
    }

    #[test]
    fn an_interval_is_lowered_to_ours_but_never_raised_nor_below_min_se() {
        assert_eq!(of(&[TIMER, ("Session-Expires", "3600")]), on(1_800, Refresher::Us, true));
        assert_eq!(of(&[TIMER, ("Session-Expires", "3600"), ("Min-SE", "2000")]), on(2_000, Refresher::Us, true));
        assert_eq!(of(&[TIMER, ("Session-Expires", "600")]), on(600, Refresher::Us, true));
        let asked_for = asked(&[TIMER, ("Session-Expires", "3600")]);
        assert_eq!(negotiate(asked_for, Wish { expires: 0, ..WISH }, None), on(3_600, Refresher::Us, true));
    }

    #[test]
    fn the_refresher_is_who_the_request_names_and_us_for_who_does_not_know() {
        assert_eq!(of(&[TIMER, ("Session-Expires", "600;refresher=uac")]), on(600, Refresher::Peer, true));
        assert_eq!(of(&[TIMER, ("Session-Expires", "600 ; Refresher=UAS")]), on(600, Refresher::Us, true));
        assert_eq!(of(&[("Session-Expires", "600;refresher=uac")]), on(600, Refresher::Us, false));
        let running = SessionTimer::start(600, Refresher::Peer, Now { mono: Mono(0), wall: crate::time::Wall(0) });
        assert_eq!(negotiate(asked(&[TIMER]), WISH, Some(running)), on(600, Refresher::Peer, true), "as before");
    }

    #[test]
    fn without_session_expires_we_ask_who_supports_it_and_others_only_by_setting() {
        assert_eq!(of(&[TIMER]), on(1_800, Refresher::Us, true));
        assert_eq!(of(&[TIMER, ("Min-SE", "2000")]), on(2_000, Refresher::Us, true));
        assert_eq!(of(&[]), Verdict::Off);
        assert_eq!(negotiate(asked(&[]), Wish { always: true, ..WISH }, None), on(1_800, Refresher::Us, false));
        assert_eq!(negotiate(asked(&[TIMER]), Wish { expires: 0, ..WISH }, None), Verdict::Off);
    }

    #[test]
    fn what_cannot_be_read_counts_as_absent_and_nothing_overflows() {
        assert_eq!(of(&[("Session-Expires", "many")]), Verdict::Off);
        assert_eq!(
            of(&[TIMER, ("Session-Expires", "4294967295"), ("Min-SE", "4294967295")]),
            on(86_400, Refresher::Us, true)
        );
        assert_eq!(of(&[TIMER, ("Session-Expires", "99999999999")]), on(1_800, Refresher::Us, true));
    }

    #[test]
    fn a_silent_side_is_given_up_a_third_or_32_seconds_before_the_end() {
        let now = Now { mono: Mono(0), wall: crate::time::Wall(0) };
        let at = |interval, refresher| {
            let timer = SessionTimer::start(interval, refresher, now);
            (timer.refresh_at.map(|at| at.since(now.mono).as_secs()), timer.expires_at.since(now.mono).as_secs())
        };
        assert_eq!(at(90, Refresher::Peer), (None, 60));
        assert_eq!(at(1_800, Refresher::Peer), (None, 1_768));
        assert_eq!(at(1_800, Refresher::Us), (Some(900), 1_800));
    }
}

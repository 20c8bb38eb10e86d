//! Keypad digits from named telephone events (RFC 4733): each reported once, at its end, however often its packets come.

use crate::time::{Mono, Now};
use std::time::Duration;

/// An event without its end packets is over after this silence.
const LOST_END: Duration = Duration::from_millis(200);

/// A finished digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digit {
    /// `0`–`9`, `*`, `#`, `A`–`D`.
    pub digit: char,
    /// RTP timestamp of its start.
    pub timestamp: u32,
    /// Length in RTP clock units.
    pub duration: u32,
}

/// Collects the events of one stream.
#[derive(Debug, Default)]
pub struct Dtmf {
    current: Option<(u32, u32, Digit, Mono)>,
    told: Option<(u32, u32)>,
}

impl Dtmf {
    /// Takes the payload of an event packet. Gives the digits that ended: the one before, when its end was lost, and this one.
    pub fn handle(&mut self, now: Now, ssrc: u32, timestamp: u32, payload: &[u8]) -> Vec<Digit> {
        let &[event, flags, high, low, ..] = payload else { return Vec::new() };
        let Some(digit) = b"0123456789*#ABCD".get(usize::from(event)).map(|byte| char::from(*byte)) else {
            return Vec::new();
        };
        let mut ended = Vec::new();
        if self.current.as_ref().is_some_and(|open| (open.0, open.1) != (ssrc, timestamp)) {
            ended.extend(self.finish());
        }
        if self.told == Some((ssrc, timestamp)) {
            return ended;
        }
        let duration = u32::from(u16::from_be_bytes([high, low]));
        let longest = self.current.as_ref().map_or(0, |open| open.2.duration).max(duration);
        self.current = Some((ssrc, timestamp, Digit { digit, timestamp, duration: longest }, now.mono));
        if flags & 0x80 != 0 {
            ended.extend(self.finish());
        }
        ended
    }

    /// When [`Dtmf::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        self.current.as_ref().map(|open| open.3 + LOST_END)
    }

    /// Ends a digit whose end packets were lost.
    pub fn handle_timeout(&mut self, now: Mono) -> Option<Digit> {
        if self.due().is_some_and(|due| due <= now) { self.finish() } else { None }
    }

    /// Ends whatever is open.
    pub fn finish(&mut self) -> Option<Digit> {
        let (ssrc, timestamp, digit, _) = self.current.take()?;
        self.told = Some((ssrc, timestamp));
        Some(digit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::default().plus(Duration::from_millis(ms))
    }

    #[test]
    fn three_end_packets_are_one_digit() {
        let mut dtmf = Dtmf::default();
        assert!(dtmf.handle(at(0), 1, 100, &[5, 10, 0, 160]).is_empty());
        assert!(dtmf.handle(at(20), 1, 100, &[5, 10, 1, 64]).is_empty());
        assert_eq!(dtmf.handle(at(40), 1, 100, &[5, 0x8a, 1, 224])[0].digit, '5');
        assert!(dtmf.handle(at(40), 1, 100, &[5, 0x8a, 1, 224]).is_empty());
        assert!(dtmf.handle(at(40), 1, 100, &[5, 0x8a, 1, 224]).is_empty());
        assert_eq!(dtmf.handle(at(90), 1, 900, &[5, 0x8a, 1, 224]).len(), 1, "the same key again is another digit");
    }

    #[test]
    fn a_lost_end_ends_by_time_or_by_the_next_digit() {
        let mut dtmf = Dtmf::default();
        dtmf.handle(at(0), 1, 100, &[11, 10, 0, 160]);
        assert_eq!(dtmf.handle_timeout(at(100).mono), None);
        assert_eq!(dtmf.handle_timeout(at(200).mono).map(|d| d.digit), Some('#'));
        dtmf.handle(at(300), 1, 2_000, &[1, 10, 0, 160]);
        let ended = dtmf.handle(at(320), 1, 4_000, &[2, 10, 0, 160]);
        assert_eq!(ended.iter().map(|d| d.digit).collect::<String>(), "1");
    }

    #[test]
    fn short_payloads_and_other_events_are_nothing() {
        let mut dtmf = Dtmf::default();
        assert!(dtmf.handle(at(0), 1, 1, &[5, 0x80]).is_empty());
        assert!(dtmf.handle(at(0), 1, 1, &[70, 0x80, 0, 0]).is_empty());
    }
}

//! Whose packets a stream takes: the address that signalling told, and nobody else's (RTP injection).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Mono, Now};

/// A sender at the signalled address but on another port is believed when the signalled port stays silent for this long.
const HOLD: Duration = Duration::from_millis(500);
/// Packets of one sender that wait.
const HELD_MOST: usize = 64;
/// Senders whose packets wait; those of more are refused.
const SENDERS_MOST: usize = 4;

/// `source` of the configuration: whose sound is taken from an exchange that calls by SIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The address of its session description.
    #[default]
    Sdp,
    /// Whoever sends the first valid packet.
    Latch,
}

/// Who may send a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Whoever sends the first valid packet.
    #[default]
    First,
    /// Signalling will tell; packets wait until then.
    Untold,
    /// This address. Another port of it is taken when the one that was told is silent (a peer behind a NAT, or with a port to send from).
    Near(SocketAddr),
    /// This address and port.
    Exactly(SocketAddr),
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is looked at.
    Take,
    /// It waits until its sender is known to be right.
    Wait,
    /// Of a stranger.
    Refuse,
}

/// A packet that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// When it came.
    pub at: Now,
    /// Where from.
    pub from: SocketAddr,
    /// Its bytes.
    pub datagram: Vec<u8>,
}

/// The gate of one stream.
#[derive(Debug, Default)]
pub struct Gate {
    rule: Source,
    latched: Option<SocketAddr>,
    waiting: VecDeque<Waiting>,
}

impl Gate {
    /// Whose packets are taken now.
    pub fn latched(&self) -> Option<SocketAddr> {
        self.latched
    }

    /// The rule.
    pub fn rule(&self) -> Source {
        self.rule
    }

    /// Packets that wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Judges the sender of a packet. Where packets prove themselves (`authenticated`), the port says nothing.
    pub fn judge(&mut self, from: SocketAddr, authenticated: bool) -> Verdict {
        let from = canonical(from);
        let take = |yes: bool| if yes { Verdict::Take } else { Verdict::Refuse };
        match self.rule {
            Source::First => take(self.latched.is_none_or(|latched| latched == from)),
            Source::Exactly(told) => take(told == from),
            Source::Untold => self.room_for(from, SENDERS_MOST),
            Source::Near(told) if told == from => Verdict::Take,
            Source::Near(told) if told.ip() != from.ip() => Verdict::Refuse,
            Source::Near(_) if authenticated => Verdict::Take,
            Source::Near(_) => match self.latched {
                Some(latched) => take(latched == from),
                None => self.room_for(from, 1),
            },
        }
    }

    fn room_for(&self, from: SocketAddr, senders: usize) -> Verdict {
        let own = self.waiting.iter().filter(|waiting| waiting.from == from).count();
        let mut others: Vec<SocketAddr> = self.waiting.iter().map(|waiting| waiting.from).collect();
        others.sort_unstable();
        others.dedup();
        let known = own > 0 || others.len() < senders;
        if known && own < HELD_MOST { Verdict::Wait } else { Verdict::Refuse }
    }

    /// Keeps a packet that [`Gate::judge`] lets wait.
    pub fn keep(&mut self, at: Now, from: SocketAddr, datagram: &[u8]) {
        self.waiting.push_back(Waiting { at, from: canonical(from), datagram: datagram.to_vec() });
    }

    /// A packet of this sender was good. Gives the number of packets that waited in vain.
    pub fn latch(&mut self, from: SocketAddr) -> u64 {
        if self.latched == Some(from) {
            return 0;
        }
        self.latched = Some(canonical(from));
        std::mem::take(&mut self.waiting).len() as u64
    }

    /// Signalling told who sends; whoever was taken before and does not fit is a stranger from now on. Gives what waited.
    pub fn expect(&mut self, rule: Source) -> Vec<Waiting> {
        let rule = match rule {
            Source::Near(told) => Source::Near(canonical(told)),
            Source::Exactly(told) => Source::Exactly(canonical(told)),
            other => other,
        };
        if rule == self.rule && rule != Source::First {
            return Vec::new();
        }
        self.rule = rule;
        self.latched = self.latched.filter(|latched| match rule {
            Source::Near(told) | Source::Exactly(told) => told == *latched,
            Source::First | Source::Untold => false,
        });
        std::mem::take(&mut self.waiting).into()
    }

    /// When [`Gate::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        let first = self.waiting.front().filter(|_| matches!(self.rule, Source::Near(_)))?;
        Some(first.at.mono + HOLD)
    }

    /// Believes the sender that waited for long enough, and gives its packets.
    pub fn handle_timeout(&mut self, now: Mono) -> Vec<Waiting> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.believe()
    }

    /// The stream ends: the sender that waited for the told one to speak is believed, for nobody else will come.
    pub fn finish(&mut self) -> Vec<Waiting> {
        if matches!(self.rule, Source::Near(_)) { self.believe() } else { Vec::new() }
    }

    fn believe(&mut self) -> Vec<Waiting> {
        self.latched = self.waiting.front().map(|waiting| waiting.from).or(self.latched);
        std::mem::take(&mut self.waiting).into()
    }
}

/// An IPv4 address in IPv6 clothes is the IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::default().plus(Duration::from_millis(ms))
    }

    fn address(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    fn gate(rule: Source) -> Gate {
        let mut gate = Gate::default();
        assert!(gate.expect(rule).is_empty());
        gate
    }

    #[test]
    fn only_the_told_address_is_taken_and_its_told_port_at_once() {
        let mut gate = gate(Source::Near(address(1, 4_000)));
        assert_eq!(gate.judge(address(2, 4_000), false), Verdict::Refuse);
        assert_eq!(gate.judge(address(2, 4_000), true), Verdict::Refuse);
        assert_eq!(gate.judge(address(1, 4_000), false), Verdict::Take);
        gate.latch(address(1, 4_000));
        assert_eq!(gate.judge(address(1, 5_000), false), Verdict::Refuse);
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:4000".parse().unwrap();
        assert_eq!(gate.judge(mapped, false), Verdict::Take);
    }

    #[test]
    fn another_port_of_the_address_waits_for_the_told_one() {
        let mut gate = gate(Source::Near(address(1, 4_000)));
        for n in 0..10 {
            assert_eq!(gate.judge(address(1, 5_000), false), Verdict::Wait);
            gate.keep(at(20 * n), address(1, 5_000), &[n as u8]);
        }
        assert_eq!(gate.judge(address(1, 6_000), false), Verdict::Refuse, "one candidate at a time");
        assert_eq!(gate.latch(address(1, 4_000)), 10, "the told port spoke: they waited in vain");
        assert!(gate.handle_timeout(at(600).mono).is_empty());

        let mut gate = self::gate(Source::Near(address(1, 4_000)));
        gate.keep(at(0), address(1, 5_000), &[1]);
        assert!(gate.handle_timeout(at(499).mono).is_empty());
        assert_eq!(gate.handle_timeout(at(500).mono).len(), 1);
        assert_eq!(gate.judge(address(1, 5_000), false), Verdict::Take);
        assert_eq!(gate.judge(address(1, 4_000), false), Verdict::Take, "the told port may still come");
    }

    #[test]
    fn a_stream_that_ends_takes_whoever_waited_for_the_told_one_alone() {
        let near = Source::Near(address(1, 4_000));
        let mut gate = gate(near);
        gate.keep(at(0), address(1, 5_000), &[1]);
        assert_eq!(gate.finish().len(), 1);
        assert_eq!(gate.judge(address(1, 5_000), false), Verdict::Take, "its packets are let in");

        let mut gate = self::gate(near);
        gate.keep(at(0), address(1, 5_000), &[1]);
        gate.latch(address(1, 4_000));
        assert!(gate.finish().is_empty());
        assert_eq!(gate.latched(), Some(address(1, 4_000)));

        let mut gate = self::gate(Source::Untold);
        gate.keep(at(0), address(1, 5_000), &[1]);
        assert!(gate.finish().is_empty(), "nobody ever said whose sound this stream is");
    }

    #[test]
    fn before_it_is_told_packets_wait_within_bounds_and_then_only_the_right_ones_come_out() {
        let mut gate = gate(Source::Untold);
        for n in 0..1_000u64 {
            for port in 4_000..4_010 {
                if gate.judge(address(1, port), false) == Verdict::Wait {
                    gate.keep(at(n), address(1, port), &[]);
                }
            }
        }
        assert_eq!(gate.waiting.len(), HELD_MOST * SENDERS_MOST);
        assert_eq!(gate.expect(Source::Exactly(address(1, 4_001))).len(), HELD_MOST * SENDERS_MOST);
        assert_eq!(gate.judge(address(1, 4_000), false), Verdict::Refuse);
        assert_eq!(gate.judge(address(1, 4_001), false), Verdict::Take);
    }

    #[test]
    fn the_same_address_again_opens_no_window_and_another_one_closes_the_old() {
        let mut gate = gate(Source::Near(address(1, 4_000)));
        gate.latch(address(1, 4_000));
        gate.expect(Source::Near(address(1, 4_000)));
        assert_eq!(gate.latched(), Some(address(1, 4_000)));
        gate.expect(Source::Near(address(3, 4_000)));
        assert_eq!(gate.judge(address(1, 4_000), false), Verdict::Refuse);
        assert_eq!(gate.judge(address(3, 4_000), false), Verdict::Take);
    }
}

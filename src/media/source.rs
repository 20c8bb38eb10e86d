//! Whose packets a stream takes: the address that signalling told, and nobody else's (RTP injection).

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::candidate::Candidates;
use crate::time::{Mono, Now};

/// Packets of one sender that wait before it is told who sends.
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
    /// This address. Of its other ports the first whose packets are in sequence is taken, when the one that was told is silent (a peer behind
    /// a NAT, or with a port to send from).
    Near(SocketAddr),
    /// This address and port.
    Exactly(SocketAddr),
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is looked at.
    Take,
    /// It waits until signalling tells whose packets are right: give it to [`Gate::keep`].
    Wait,
    /// If it is RTP of a negotiated type, it waits until its sender proved itself: give it to [`Gate::offer`].
    Prove,
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
    candidates: Candidates,
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

    /// Packets that wait, or waited in vain.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64 + self.candidates.packets()
    }

    /// Judges the sender of a packet. Where packets prove themselves (`authenticated`), the port says nothing.
    pub fn judge(&mut self, from: SocketAddr, authenticated: bool) -> Verdict {
        let from = canonical(from);
        let take = |yes: bool| if yes { Verdict::Take } else { Verdict::Refuse };
        match self.rule {
            Source::First => take(self.latched.is_none_or(|latched| latched == from)),
            Source::Exactly(told) => take(told == from),
            Source::Untold => self.room_for(from),
            Source::Near(told) if told == from => Verdict::Take,
            Source::Near(told) if told.ip() != from.ip() => Verdict::Refuse,
            Source::Near(_) if authenticated => Verdict::Take,
            Source::Near(_) => match self.latched {
                Some(latched) => take(latched == from),
                None => Verdict::Prove,
            },
        }
    }

    fn room_for(&self, from: SocketAddr) -> Verdict {
        let own = self.waiting.iter().filter(|waiting| waiting.from == from).count();
        let mut others: Vec<SocketAddr> = self.waiting.iter().map(|waiting| waiting.from).collect();
        others.sort_unstable();
        others.dedup();
        let known = own > 0 || others.len() < SENDERS_MOST;
        if known && own < HELD_MOST { Verdict::Wait } else { Verdict::Refuse }
    }

    /// Keeps a packet that [`Gate::judge`] lets wait.
    pub fn keep(&mut self, at: Now, from: SocketAddr, datagram: &[u8]) {
        self.waiting.push_back(Waiting { at, from: canonical(from), datagram: datagram.to_vec() });
    }

    /// Keeps a packet that [`Gate::judge`] wants proven, with its numbers.
    pub fn offer(&mut self, at: Now, from: SocketAddr, datagram: &[u8], ssrc: u32, sequence: u16) {
        let packet = Waiting { at, from: canonical(from), datagram: datagram.to_vec() };
        self.candidates.keep(packet, ssrc, sequence);
    }

    /// A sender that was to prove itself sent what is malformed.
    pub fn unseat(&mut self, from: SocketAddr) {
        self.candidates.unseat(canonical(from));
    }

    /// A packet of this sender was good: who waited for it to be silent waited in vain.
    pub fn latch(&mut self, from: SocketAddr) {
        let from = canonical(from);
        if self.latched != Some(from) {
            self.latched = Some(from);
            self.candidates.clear();
        }
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
        self.candidates.clear();
        std::mem::take(&mut self.waiting).into()
    }

    /// When [`Gate::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        self.candidates.due()
    }

    /// Believes the sender that proved itself and waited for long enough, and gives its packets.
    pub fn handle_timeout(&mut self, now: Mono) -> Vec<Waiting> {
        let given = self.candidates.believe(now);
        self.believe(given)
    }

    /// The stream ends: the sender that waited for the told one to speak is believed, for nobody else will come.
    pub fn finish(&mut self) -> Vec<Waiting> {
        let given = self.candidates.finish();
        self.believe(given)
    }

    fn believe(&mut self, given: Vec<Waiting>) -> Vec<Waiting> {
        self.latched = given.first().map(|waiting| waiting.from).or(self.latched);
        given
    }
}

/// An IPv4 address in IPv6 clothes is the IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
    fn other_ports_of_the_address_wait_for_the_told_one_and_prove_themselves() {
        let near = Source::Near(address(1, 4_000));
        let mut gate = gate(near);
        for n in 0..10 {
            assert_eq!(gate.judge(address(1, 5_000), false), Verdict::Prove);
            gate.offer(at(20 * n), address(1, 5_000), &[], 7, n as u16);
            assert_eq!(gate.judge(address(1, 6_000), false), Verdict::Prove, "several may");
        }
        gate.latch(address(1, 4_000));
        assert_eq!(gate.waiting(), 10, "the told port spoke: they waited in vain");
        assert!(gate.handle_timeout(at(600).mono).is_empty());

        let mut gate = self::gate(near);
        for n in 0..26 {
            gate.offer(at(20 * n), address(1, 5_000), &[], 7, n as u16);
        }
        assert_eq!(gate.due(), Some(at(520).mono));
        assert!(gate.handle_timeout(at(519).mono).is_empty());
        assert_eq!(gate.handle_timeout(at(520).mono).len(), 26);
        assert_eq!(gate.judge(address(1, 5_000), false), Verdict::Take);
        assert_eq!(gate.judge(address(1, 4_000), false), Verdict::Take, "the told port may still come");
        assert_eq!(gate.judge(address(1, 6_000), false), Verdict::Refuse);
    }

    #[test]
    fn what_is_malformed_takes_the_seat_away_and_another_address_all_of_them() {
        let mut gate = gate(Source::Near(address(1, 4_000)));
        (0..3).for_each(|n| gate.offer(at(0), address(1, 5_000), &[], 7, n));
        gate.unseat(address(1, 5_001));
        assert!(gate.due().is_some());
        gate.unseat(address(1, 5_000));
        assert_eq!((gate.due(), gate.waiting()), (None, 3));
        (0..3).for_each(|n| gate.offer(at(0), address(1, 5_000), &[], 7, n));
        assert!(gate.expect(Source::Near(address(1, 4_002))).is_empty());
        assert_eq!((gate.due(), gate.waiting()), (None, 6));
    }

    #[test]
    fn a_stream_that_ends_takes_whoever_waited_for_the_told_one_alone() {
        let near = Source::Near(address(1, 4_000));
        let mut gate = gate(near);
        (0..2).for_each(|n| gate.offer(at(0), address(1, 5_000), &[], 7, n));
        assert_eq!(gate.finish().len(), 2);
        assert_eq!(gate.judge(address(1, 5_000), false), Verdict::Take, "its packets are let in");

        let mut gate = self::gate(near);
        (0..2).for_each(|n| gate.offer(at(0), address(1, 5_000), &[], 7, n));
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

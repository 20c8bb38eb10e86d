//! Senders at the signalled address but on other ports: each must prove itself before one of them is believed (RFC 3550 A.1).

use std::net::SocketAddr;
use std::time::Duration;

use super::source::Waiting;
use crate::time::Mono;

/// Who proved itself is believed when the signalled port stays silent for this long.
const HOLD: Duration = Duration::from_millis(500);
/// Who says nothing for this long loses its seat.
const STOPPED: Duration = Duration::from_millis(200);
/// Seats. The unproven one that was silent longest makes room, so that of a thousand packets a second, each from another port, none takes a
/// seat away from a sender of packets of 60 ms between two of them.
const SEATS: usize = 64;
/// Seats of those who proved themselves; only they keep more than one packet.
const PROVEN_MOST: usize = 8;
/// Packets of one sender that wait.
const HELD_MOST: usize = 64;
/// Who proved itself may jump by this many sequence numbers, for loss and changed order (RFC 3550 A.1, MAX_MISORDER).
const MISORDER: u16 = 100;

/// One sender.
#[derive(Debug)]
struct Seat {
    from: SocketAddr,
    ssrc: u32,
    /// Highest sequence number of this run.
    sequence: u16,
    heard: Mono,
    /// When two packets in sequence had come (RFC 3550 A.1, MIN_SEQUENTIAL).
    proven: Option<Mono>,
    waiting: Vec<Waiting>,
}

/// The senders of one stream that wait to be believed.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Who was heard last is last.
    seats: Vec<Seat>,
    refused: u64,
}

impl Candidates {
    /// Packets that wait, and those that waited in vain.
    pub fn packets(&self) -> u64 {
        self.refused + self.seats.iter().map(|seat| seat.waiting.len() as u64).sum::<u64>()
    }

    /// Keeps a packet of the stream's kind with its numbers.
    pub fn keep(&mut self, packet: Waiting, ssrc: u32, sequence: u16) {
        let now = packet.at.mono;
        self.forget_stopped(now);
        let own = self.seats.iter().position(|seat| seat.from == packet.from).map(|at| self.seats.remove(at));
        let mut seat = own.unwrap_or_else(|| {
            self.make_room();
            Seat { from: packet.from, ssrc, sequence, heard: now, proven: None, waiting: Vec::new() }
        });
        seat.heard = now;
        let step = sequence.wrapping_sub(seat.sequence) as i16;
        let follows = if seat.proven.is_some() { step.unsigned_abs() <= MISORDER } else { step == 1 };
        if follows && seat.ssrc == ssrc {
            seat.sequence = if step > 0 { sequence } else { seat.sequence };
            if seat.proven.is_none() && self.proven().count() == PROVEN_MOST {
                self.refused += 1;
                return self.give_up(vec![seat]);
            }
            seat.proven = seat.proven.or(Some(now));
        } else {
            self.refused += seat.waiting.len() as u64;
            seat = Seat { ssrc, sequence, proven: None, waiting: Vec::new(), ..seat };
        }
        if seat.waiting.len() < HELD_MOST {
            seat.waiting.push(packet);
        } else {
            self.refused += 1;
        }
        self.seats.push(seat);
    }

    /// This sender loses its seat.
    pub fn unseat(&mut self, from: SocketAddr) {
        let gone = self.seats.extract_if(.., |seat| seat.from == from).collect();
        self.give_up(gone);
    }

    /// When [`Candidates::believe`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        self.proven().map(|(since, _)| since + HOLD).min()
    }

    /// Gives the packets of the first who proved itself and still speaks, when it waited for long enough; the others waited in vain.
    pub fn believe(&mut self, now: Mono) -> Vec<Waiting> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.forget_stopped(now);
        if self.due().is_none_or(|due| due > now) { Vec::new() } else { self.finish() }
    }

    /// Gives the packets of the first who proved itself: nobody else will come.
    pub fn finish(&mut self) -> Vec<Waiting> {
        let first = self.proven().min().map(|(_, at)| self.seats.remove(at));
        self.clear();
        first.map_or_else(Vec::new, |seat| seat.waiting)
    }

    /// All waited in vain.
    pub fn clear(&mut self) {
        let gone = std::mem::take(&mut self.seats);
        self.give_up(gone);
    }

    fn proven(&self) -> impl Iterator<Item = (Mono, usize)> {
        self.seats.iter().enumerate().filter_map(|(at, seat)| Some((seat.proven?, at)))
    }

    fn forget_stopped(&mut self, now: Mono) {
        let gone = self.seats.extract_if(.., |seat| seat.heard + STOPPED <= now).collect();
        self.give_up(gone);
    }

    fn make_room(&mut self) {
        let longest = self.seats.iter().position(|seat| seat.proven.is_none());
        if let Some(longest) = longest.filter(|_| self.seats.len() == SEATS) {
            let gone = self.seats.remove(longest);
            self.give_up(vec![gone]);
        }
    }

    fn give_up(&mut self, gone: Vec<Seat>) {
        self.refused += gone.iter().map(|seat| seat.waiting.len() as u64).sum::<u64>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;

    fn at(ms: u64) -> Now {
        Now::default().plus(Duration::from_millis(ms))
    }

    fn offer(candidates: &mut Candidates, ms: u64, port: u16, ssrc: u32, sequence: u16) {
        let from = SocketAddr::from(([192, 0, 2, 1], port));
        candidates.keep(Waiting { at: at(ms), from, datagram: sequence.to_be_bytes().to_vec() }, ssrc, sequence);
    }

    fn numbers(given: &[Waiting]) -> Vec<(u16, u16)> {
        given.iter().map(|w| (w.from.port(), u16::from_be_bytes([w.datagram[0], w.datagram[1]]))).collect()
    }

    #[test]
    fn the_first_who_sends_in_sequence_and_goes_on_is_believed_with_all_its_packets() {
        let mut candidates = Candidates::default();
        for n in 0..26u16 {
            let ms = 20 * u64::from(n);
            offer(&mut candidates, ms, 1, 7, n.wrapping_mul(9));
            offer(&mut candidates, ms + 1, 2, 7, 65_530u16.wrapping_add(n));
            // proves itself at the same pace, later
            offer(&mut candidates, ms + 2, 3, 7, 900 + n);
            // proved itself first, and stopped
            if n < 2 {
                offer(&mut candidates, u64::from(n), 4, 7, n);
            }
        }
        assert_eq!(candidates.due(), Some(at(521).mono), "the one that stopped is forgotten");
        assert!(candidates.believe(at(520).mono).is_empty());
        let given = numbers(&candidates.believe(at(521).mono));
        assert_eq!(given, (0..26).map(|n| (2, 65_530u16.wrapping_add(n))).collect::<Vec<_>>());
        assert_eq!(candidates.packets(), 2 * 26 + 2, "all the others waited in vain");
    }

    #[test]
    fn a_sender_that_stopped_is_not_believed_and_loses_its_seat() {
        let mut candidates = Candidates::default();
        for n in 0..10 {
            offer(&mut candidates, 20 * u64::from(n), 1, 7, n);
        }
        assert_eq!(candidates.due(), Some(at(520).mono));
        assert!(candidates.believe(at(520).mono).is_empty());
        assert_eq!((candidates.due(), candidates.seats.len(), candidates.packets()), (None, 0, 10));
    }

    #[test]
    fn loss_and_changed_order_take_no_proof_away_and_another_source_or_a_jump_does() {
        for (numbers, proven) in [
            (&[5u16, 6, 9, 8, 8, 60][..], true),
            (&[5, 5, 6], true),
            (&[5, 5, 5, 5], false),
            (&[5, 7, 6, 9], false),
            (&[5, 6, 107], false),
            (&[65_535, 0], true),
        ] {
            let mut candidates = Candidates::default();
            numbers.iter().for_each(|number| offer(&mut candidates, 0, 1, 7, *number));
            assert_eq!(candidates.due().is_some(), proven, "{numbers:?}");
            assert_eq!(candidates.packets(), numbers.len() as u64);
        }
        let mut candidates = Candidates::default();
        (0..4).for_each(|n| offer(&mut candidates, 0, 1, u32::from(n), n));
        assert_eq!(candidates.due(), None, "each packet of another source");
    }

    #[test]
    fn seats_and_packets_are_bounded_and_who_proved_itself_is_not_driven_out() {
        let mut candidates = Candidates::default();
        offer(&mut candidates, 0, 1, 7, 0);
        for ms in 0..60 {
            offer(&mut candidates, ms, 10_000 + ms as u16, 7, 0);
        }
        offer(&mut candidates, 60, 1, 7, 1);
        assert_eq!(candidates.due(), Some(at(560).mono), "its seat outlasted 60 others");
        for n in 0..100_000u32 {
            let port = 2_000 + (n % 5_000) as u16;
            offer(&mut candidates, 61 + u64::from(n) / 1_000, port, 7, (n / 5_000) as u16);
            assert!(candidates.seats.len() <= SEATS && candidates.proven().count() <= PROVEN_MOST);
        }
        for n in 0..100_000u32 {
            offer(&mut candidates, 161, 2_000 + (n % 32) as u16, 7, (n / 32) as u16);
            assert!(candidates.seats.iter().all(|seat| seat.waiting.len() <= HELD_MOST));
            assert!(candidates.seats.len() <= SEATS && candidates.proven().count() <= PROVEN_MOST);
        }
        assert_eq!(candidates.due(), Some(at(560).mono));
        assert_eq!(candidates.packets(), 200_062);
    }
}

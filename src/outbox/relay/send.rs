//! What goes over the link next: live events first, then record events, then bulk, each cut into pieces between which the others go.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Class;
use super::frame::Frame;
use super::meter::{Meter, Wait};
use crate::time::{Mono, Now};

/// Messages that wait, are under way, or have no answer yet. Bounded by who hands them in: so many as may be in flight.
#[derive(Debug, Default)]
pub struct Sending {
    waiting: [VecDeque<Message>; 3],
    begun: [Option<Begun>; 3],
    unanswered: HashMap<u32, Unanswered>,
}

#[derive(Debug)]
struct Message {
    number: u32,
    packed: Vec<u8>,
}

#[derive(Debug)]
struct Begun {
    message: Message,
    sent: usize,
    promised: u64,
}

#[derive(Debug)]
struct Unanswered {
    promised: u64,
    until: Mono,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// This goes.
    Frame(Frame, Class),
    /// This message does not go now.
    Refused(u32, Wait),
    /// Nothing before that time, or before something is handed in.
    Nothing(Option<Mono>),
}

impl Sending {
    /// Hands in a packed message.
    pub fn push(&mut self, class: Class, number: u32, packed: Vec<u8>) {
        if let Some(queue) = self.waiting.get_mut(class as usize) {
            queue.push_back(Message { number, packed });
        }
    }

    /// A message that nobody waits for any more goes only if it has begun.
    pub fn cancel(&mut self, number: u32) {
        self.waiting.iter_mut().for_each(|queue| queue.retain(|message| message.number != number));
    }

    /// Decides. `patience`: how long an answer may take after the last piece.
    pub fn next(&mut self, meter: &mut Meter, now: Now, patience: Duration) -> Next {
        for class in Class::ALL {
            let place = class as usize;
            let (Some(queue), Some(begun)) = (self.waiting.get_mut(place), self.begun.get_mut(place)) else { continue };
            if begun.is_none() {
                let Some(message) = queue.pop_front() else { continue };
                match meter.begin(class, message.packed.len(), now.wall) {
                    Ok(promised) => *begun = Some(Begun { message, sent: 0, promised }),
                    Err(wait) => return Next::Refused(message.number, wait),
                }
            }
            let Some(under_way) = begun else { continue };
            let rest = under_way.message.packed.get(under_way.sent..).unwrap_or_default();
            let bytes = rest.get(..rest.len().min(meter.piece())).unwrap_or_default().to_vec();
            let takes = meter.takes(bytes.len());
            if let Err(at) = meter.pace(takes, now.mono) {
                return Next::Nothing(Some(at));
            }
            under_way.sent += bytes.len();
            let spent = takes.min(under_way.promised);
            under_way.promised -= spent;
            meter.release(spent);
            let (message, last) = (under_way.message.number, under_way.sent >= under_way.message.packed.len());
            if last {
                let unanswered = Unanswered { promised: under_way.promised, until: now.mono + patience };
                self.unanswered.insert(message, unanswered);
                *begun = None;
            }
            return Next::Frame(Frame::Piece { message, last, bytes }, class);
        }
        Next::Nothing(None)
    }

    /// A message was answered; `false` when it was not waited for.
    pub fn answered(&mut self, number: u32, meter: &mut Meter) -> bool {
        let found = self.unanswered.remove(&number);
        found.iter().for_each(|one| meter.release(one.promised));
        found.is_some()
    }

    /// Messages whose answer is overdue; they are not waited for any more.
    pub fn overdue(&mut self, meter: &mut Meter, now: Mono) -> Vec<u32> {
        let due: Vec<u32> =
            self.unanswered.iter().filter(|(_, one)| one.until <= now).map(|(number, _)| *number).collect();
        due.iter().for_each(|number| _ = self.answered(*number, meter));
        due
    }

    /// When the first answer is overdue.
    pub fn due(&self) -> Option<Mono> {
        self.unanswered.values().map(|one| one.until).min()
    }

    /// The link ended: nothing is set aside any more.
    pub fn end(self, meter: &mut Meter) {
        let begun = self.begun.iter().flatten().map(|one| one.promised);
        begun.chain(self.unanswered.values().map(|one| one.promised)).for_each(|promised| meter.release(promised));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::relay::frame::MOST_OF_FRAME;
    use crate::outbox::relay::meter::Limits;
    use crate::time::Wall;

    const NOW: Now = Now { mono: Mono(0), wall: Wall(1_795_420_800_000_000) };
    const PATIENCE: Duration = Duration::from_secs(15);

    fn next(sending: &mut Sending, meter: &mut Meter) -> Option<(u32, bool)> {
        match sending.next(meter, NOW, PATIENCE) {
            Next::Frame(Frame::Piece { message, last, .. }, _) => Some((message, last)),
            Next::Nothing(None) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn something_live_goes_between_two_pieces_of_a_document() {
        let (mut sending, mut meter) = (Sending::default(), Meter::new(Limits::default(), 0, NOW));
        sending.push(Class::Bulk, 1, vec![0; MOST_OF_FRAME * 2 + 1]);
        sending.push(Class::Bulk, 2, vec![0; 10]);
        assert_eq!(next(&mut sending, &mut meter), Some((1, false)));
        sending.push(Class::Record, 3, vec![0; MOST_OF_FRAME + 1]);
        assert_eq!(next(&mut sending, &mut meter), Some((3, false)));
        sending.push(Class::Live, 4, vec![0; 10]);
        sending.push(Class::Live, 5, vec![0; 10]);
        sending.cancel(5);
        let rest: Vec<_> = std::iter::from_fn(|| next(&mut sending, &mut meter)).collect();
        assert_eq!(rest, [(4, true), (3, true), (1, false), (1, true), (2, true)]);
        assert!(sending.answered(3, &mut meter) && !sending.answered(3, &mut meter));
        assert_eq!(sending.due(), Some(NOW.mono + PATIENCE));
        let mut overdue = sending.overdue(&mut meter, NOW.mono + PATIENCE);
        overdue.sort_unstable();
        assert_eq!((overdue, sending.due()), (vec![1, 2, 4], None));
    }

    #[test]
    fn what_was_set_aside_is_given_back_to_the_byte() {
        let limits = Limits { per_day: 1_000_000, reserve_percent: 20, ..Limits::default() };
        let (mut sending, mut meter) = (Sending::default(), Meter::new(limits, 0, NOW));
        let room = |meter: &mut Meter| {
            let mut size = 0;
            while let Ok(promised) = meter.begin(Class::Record, size, NOW.wall) {
                meter.release(promised);
                size += 500;
            }
            size
        };
        let whole = room(&mut meter);
        for number in 0..4 {
            sending.push(Class::Record, number, vec![0; 20_000]);
        }
        for _ in 0..10 {
            next(&mut sending, &mut meter).unwrap();
        }
        // three wait for their answers, the fourth has begun
        assert!(room(&mut meter) < whole - 11_000);
        sending.answered(0, &mut meter);
        sending.end(&mut meter);
        assert_eq!(room(&mut meter), whole);
    }

    #[test]
    fn a_day_that_is_used_up_refuses_the_backlog_and_lets_a_pop_go() {
        let limits = Limits { per_day: 1_000_000, ..Limits::default() };
        let (mut sending, mut meter) = (Sending::default(), Meter::new(limits, 900_000, NOW));
        sending.push(Class::Record, 1, vec![0; 100]);
        sending.push(Class::Live, 2, vec![0; 100]);
        assert_eq!(next(&mut sending, &mut meter), Some((2, true)));
        assert!(matches!(sending.next(&mut meter, NOW, PATIENCE), Next::Refused(1, Wait::Day(_))));
        assert_eq!(next(&mut sending, &mut meter), None);
    }
}

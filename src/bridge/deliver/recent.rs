//! Realtime events that went by reference: kept until they expire, so that their receivers can fetch them. Record events are in the store.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::time::Wall;

/// The most that is kept, in bytes; the oldest go first.
const MOST_BYTES: usize = 8 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// In the order in which they came, each with its end.
    events: VecDeque<(Uuid, String, Wall)>,
    bytes: usize,
}

impl Recent {
    pub(super) fn keep(&self, id: Uuid, body: String, expires: Wall, now: Wall) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += body.len();
        kept.events.push_back((id, body, expires));
        while let Some((_, body, until)) = kept.events.front()
            && (kept.bytes > MOST_BYTES || *until <= now)
        {
            kept.bytes -= body.len();
            kept.events.pop_front();
        }
    }

    /// The event as JSON, while it has not expired.
    pub(super) fn find(&self, id: Uuid, now: Wall) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.events.iter().find(|(own, _, until)| *own == id && *until > now);
        found.map(|(_, body, _)| body.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expired_is_gone_and_memory_is_bounded() {
        let recent = Recent::default();
        let id = |number: usize| Uuid::from_u128(number as u128);
        recent.keep(id(0), "{}".into(), Wall(10), Wall(0));
        assert_eq!(recent.find(id(0), Wall(9)), Some("{}".into()));
        assert_eq!(recent.find(id(0), Wall(10)), None);
        assert_eq!(recent.find(id(1), Wall(0)), None);
        for number in 1..=20 {
            recent.keep(id(number), "x".repeat(1024 * 1024), Wall(1_000), Wall(20));
        }
        let kept = recent.0.lock().unwrap();
        assert_eq!((kept.bytes, kept.events.len()), (MOST_BYTES, 8));
    }
}

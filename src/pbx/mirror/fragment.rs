//! IP datagrams of their fragments (RFC 791 §3.2, RFC 8200 §4.5), bounded. `etherparse` has a pool too, which says itself that it is not
//! bounded, and which lets later fragments overwrite earlier ones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Mono;

/// Datagrams that wait for fragments.
const WAITING_MAX: usize = 256;
/// Fragments of one datagram.
const PARTS_MAX: usize = 128;
/// Bytes of a datagram.
const BYTES_MAX: usize = 65_535;
/// Bytes of all that waits.
const TOTAL_MAX: usize = 4 << 20;
/// How long the first fragment waits for the others.
const WAIT: Duration = Duration::from_secs(5);

/// Whose fragments belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) source: IpAddr,
    pub(super) target: IpAddr,
    pub(super) protocol: u8,
    pub(super) id: u32,
}

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) key: Key,
    /// In bytes.
    pub(super) offset: usize,
    pub(super) more: bool,
    pub(super) bytes: &'a [u8],
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It waits for the others.
    Waits,
    /// The datagram is whole.
    Whole(Vec<u8>),
    /// It does not fit, and its datagram is given up; or there is no room.
    Refused,
}

#[derive(Debug)]
struct Waiting {
    until: Mono,
    /// In order, without overlap.
    parts: Vec<(usize, Vec<u8>)>,
    end: Option<usize>,
    /// Something did not fit: whatever else comes of it is refused (RFC 5722).
    refused: bool,
}

/// The datagrams that wait.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    waiting: HashMap<Key, Waiting>,
    total: usize,
}

impl Fragments {
    pub(super) fn take(&mut self, fragment: Fragment<'_>, now: Mono) -> Taken {
        let Fragment { key, offset, more, bytes } = fragment;
        let end = offset.saturating_add(bytes.len());
        if end > BYTES_MAX || (more && (bytes.is_empty() || !bytes.len().is_multiple_of(8))) {
            return self.refuse(key);
        }
        if !self.waiting.contains_key(&key) {
            self.make_room(now);
            if self.waiting.len() >= WAITING_MAX {
                return Taken::Refused;
            }
        }
        if self.total + bytes.len() > TOTAL_MAX {
            return self.refuse(key);
        }
        let fresh = Waiting { until: now + WAIT, parts: Vec::new(), end: None, refused: false };
        let waiting = self.waiting.entry(key).or_insert(fresh);
        if waiting.until <= now {
            // a number is used again long after
            self.total -= waiting.parts.iter().map(|(_, part)| part.len()).sum::<usize>();
            *waiting = Waiting { until: now + WAIT, parts: Vec::new(), end: None, refused: false };
        }
        match waiting.put(offset, more, bytes) {
            None => self.refuse(key),
            Some(grown) => {
                self.total += grown;
                match self.waiting.get(&key).is_some_and(Waiting::is_whole) {
                    true => Taken::Whole(self.remove(key).into_iter().flat_map(|(_, part)| part).collect()),
                    false => Taken::Waits,
                }
            }
        }
    }

    fn refuse(&mut self, key: Key) -> Taken {
        if let Some(waiting) = self.waiting.get_mut(&key) {
            self.total -= waiting.parts.drain(..).map(|(_, part)| part.len()).sum::<usize>();
            waiting.refused = true;
        }
        Taken::Refused
    }

    fn remove(&mut self, key: Key) -> Vec<(usize, Vec<u8>)> {
        let parts = self.waiting.remove(&key).map(|waiting| waiting.parts).unwrap_or_default();
        self.total -= parts.iter().map(|(_, part)| part.len()).sum::<usize>();
        parts
    }

    fn make_room(&mut self, now: Mono) {
        if self.waiting.len() < WAITING_MAX {
            return;
        }
        let over: Vec<Key> = self.waiting.iter().filter(|(_, it)| it.until <= now).map(|(key, _)| *key).collect();
        for key in over {
            self.remove(key);
        }
    }
}

impl Waiting {
    /// Puts a fragment in its place; by how much that grew, `None` when it does not fit. One that came before, byte for byte, is one that
    /// the mirror saw twice.
    fn put(&mut self, offset: usize, more: bool, bytes: &[u8]) -> Option<usize> {
        let end = offset + bytes.len();
        if self.refused {
            return None;
        }
        if self.parts.iter().any(|(at, part)| *at == offset && part == bytes) {
            return Some(0);
        }
        let overlaps = |(at, part): &(usize, Vec<u8>)| *at < end && offset < *at + part.len();
        let behind = self.end.is_some_and(|known| end > known || (!more && end != known));
        let before = !more && self.parts.last().is_some_and(|(at, part)| at + part.len() > end);
        if self.parts.len() >= PARTS_MAX || behind || before || self.parts.iter().any(overlaps) {
            return None;
        }
        if !more {
            self.end = Some(end);
        }
        let place = self.parts.partition_point(|(at, _)| *at < offset);
        self.parts.insert(place, (offset, bytes.to_vec()));
        Some(bytes.len())
    }

    fn is_whole(&self) -> bool {
        let mut next = 0;
        for (at, part) in &self.parts {
            if *at != next {
                return false;
            }
            next += part.len();
        }
        self.end == Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> Key {
        Key { source: IpAddr::from([192, 0, 2, 1]), target: IpAddr::from([192, 0, 2, 2]), protocol: 17, id }
    }

    fn part(id: u32, offset: usize, more: bool, bytes: &[u8]) -> Fragment<'_> {
        Fragment { key: key(id), offset, more, bytes }
    }

    #[test]
    fn fragments_in_any_order_and_twice_make_the_datagram() {
        let data: Vec<u8> = (0..40).collect();
        let mut all = Fragments::default();
        assert_eq!(all.take(part(1, 32, false, &data[32..]), Mono(0)), Taken::Waits);
        assert_eq!(all.take(part(1, 0, true, &data[..16]), Mono(0)), Taken::Waits);
        assert_eq!(all.take(part(1, 0, true, &data[..16]), Mono(0)), Taken::Waits);
        assert_eq!(all.take(part(1, 16, true, &data[16..32]), Mono(0)), Taken::Whole(data));
        assert_eq!((all.waiting.len(), all.total), (0, 0));
    }

    #[test]
    fn overlapping_fragments_are_refused_with_their_datagram() {
        let data = [7; 32];
        let mut all = Fragments::default();
        assert_eq!(all.take(part(1, 0, true, &data[..16]), Mono(0)), Taken::Waits);
        assert_eq!(all.take(part(1, 8, true, &data[..16]), Mono(0)), Taken::Refused);
        assert_eq!(all.take(part(1, 16, false, &data[..16]), Mono(0)), Taken::Refused, "also what would have fitted");
        let later = Mono(0) + WAIT;
        assert_eq!(all.take(part(1, 0, true, &data[..16]), later), Taken::Waits, "the number is used again");
    }

    #[test]
    fn what_never_becomes_whole_is_bounded() {
        let mut all = Fragments::default();
        for id in 0..10_000 {
            all.take(part(id, 0, true, &[1; 16_384]), Mono(0));
            assert!(all.waiting.len() <= WAITING_MAX && all.total <= TOTAL_MAX);
        }
        let refused = all.take(part(20_000, 0, true, &[1; 8]), Mono(0));
        assert_eq!(refused, Taken::Refused);
        assert_eq!(all.take(part(20_000, 0, true, &[1; 8]), Mono(0) + WAIT), Taken::Waits);
    }
}

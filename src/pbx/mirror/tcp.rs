//! SIP over TCP as a mirror sees it: segments in any order, twice, with holes, or from the middle of a connection; messages out.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use super::frame::Segment;
use crate::pbx::sip::message::Message;
use crate::pbx::sip::wire::{Item, Limits, StreamReader};
use crate::time::Mono;

/// Directions of connections that are followed.
const FLOWS_MAX: usize = 4_096;
/// Segments of one direction that wait for an earlier one.
const WAITING_MAX: usize = 64;
/// Their bytes.
const WAITING_BYTES_MAX: usize = 128 << 10;
/// How long a hole may be filled by a retransmission.
const HOLE: Duration = Duration::from_secs(2);
/// A direction that was silent for so long makes room for another.
const IDLE: Duration = Duration::from_secs(600);

/// What a segment brought.
#[derive(Debug, Default)]
pub(super) struct Brought {
    pub(super) messages: Vec<Message>,
    /// Messages that could not be read.
    pub(super) bad: u64,
    /// Holes that were given up.
    pub(super) holes: u64,
    /// The connection speaks TLS; told once.
    pub(super) encrypted: bool,
    /// There was no room for the connection.
    pub(super) refused: bool,
}

#[derive(Debug)]
struct Flow {
    reader: StreamReader,
    /// The next byte; `None`: where a message begins is not known.
    next: Option<u32>,
    waiting: BTreeMap<u32, Vec<u8>>,
    waiting_bytes: usize,
    /// Since when the first of them waits.
    hole: Option<Mono>,
    encrypted: bool,
    seen: Mono,
}

/// The connections.
#[derive(Debug)]
pub(super) struct Flows {
    limits: Limits,
    flows: HashMap<(SocketAddr, SocketAddr), Flow>,
}

impl Flows {
    pub(super) fn new(limits: Limits) -> Flows {
        Flows { limits, flows: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn take(&mut self, source: SocketAddr, target: SocketAddr, segment: Segment<'_>, now: Mono) -> Brought {
        let mut brought = Brought::default();
        let key = (source, target);
        if segment.begins {
            self.flows.remove(&key);
        }
        if segment.bytes.is_empty() && !segment.begins {
            if segment.ends {
                self.flows.remove(&key);
            }
            return brought;
        }
        if !self.flows.contains_key(&key) && self.flows.len() >= FLOWS_MAX {
            self.flows.retain(|_, flow| now.since(flow.seen) < IDLE);
            if self.flows.len() >= FLOWS_MAX {
                brought.refused = true;
                return brought;
            }
        }
        let limits = self.limits;
        let flow = self.flows.entry(key).or_insert_with(|| Flow::new(limits, now));
        flow.seen = now;
        if segment.begins {
            // SYN counts one (RFC 9293 §3.4); data beside it is that of TCP Fast Open
            flow.next = Some(segment.sequence.wrapping_add(1));
        }
        let first = segment.sequence.wrapping_add(u32::from(segment.begins));
        flow.take(first, segment.bytes, now, limits, &mut brought);
        if segment.ends && flow.waiting.is_empty() {
            self.flows.remove(&key);
        }
        brought
    }
}

impl Flow {
    fn new(limits: Limits, now: Mono) -> Flow {
        Flow {
            reader: StreamReader::new(limits),
            next: None,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            hole: None,
            encrypted: false,
            seen: now,
        }
    }

    fn take(&mut self, first: u32, bytes: &[u8], now: Mono, limits: Limits, brought: &mut Brought) {
        if self.encrypted || bytes.is_empty() {
            return;
        }
        if self.next.is_none() {
            if is_tls(bytes) {
                self.encrypted = true;
                brought.encrypted = true;
                return;
            }
            if !is_start(bytes) {
                return;
            }
            self.next = Some(first);
            self.reader = StreamReader::new(limits);
        }
        self.put(first, bytes, now);
        self.read_on(limits, brought);
        let full = self.waiting.len() >= WAITING_MAX || self.waiting_bytes >= WAITING_BYTES_MAX;
        if full || self.hole.is_some_and(|since| now.since(since) >= HOLE) {
            brought.holes += 1;
            self.leap(limits, brought);
        }
    }

    /// Keeps a segment, without what was read before.
    fn put(&mut self, first: u32, bytes: &[u8], now: Mono) {
        let Some(next) = self.next else { return };
        let ahead = first.wrapping_sub(next).cast_signed();
        let (at, bytes) = if ahead < 0 {
            let Some(rest) = bytes.get(ahead.unsigned_abs() as usize..) else { return };
            (next, rest)
        } else {
            (first, bytes)
        };
        // what is beyond every window is of another connection
        if bytes.is_empty() || ahead > (1 << 24) {
            return;
        }
        let longer = self.waiting.get(&at).is_none_or(|known| known.len() < bytes.len());
        if longer {
            let before = self.waiting.insert(at, bytes.to_vec());
            self.waiting_bytes = self.waiting_bytes + bytes.len() - before.map_or(0, |known| known.len());
        }
        if at != next && self.hole.is_none() {
            self.hole = Some(now);
        }
    }

    /// Reads whatever follows without a hole.
    fn read_on(&mut self, limits: Limits, brought: &mut Brought) {
        while let Some(next) = self.next {
            // the earliest that reaches the next byte; numbers wrap
            let at = self.waiting.keys().copied().find(|at| at.wrapping_sub(next).cast_signed() <= 0);
            let Some(at) = at else { break };
            let Some(bytes) = self.waiting.remove(&at) else { break };
            self.waiting_bytes -= bytes.len();
            let known = next.wrapping_sub(at) as usize;
            if let Some(new) = bytes.get(known..) {
                self.next = Some(next.wrapping_add(u32::try_from(new.len()).unwrap_or(0)));
                self.reader.push(new);
                self.drain(limits, brought);
            }
        }
        if self.waiting.is_empty() {
            self.hole = None;
        }
    }

    fn drain(&mut self, limits: Limits, brought: &mut Brought) {
        while let Some(item) = self.reader.next_item() {
            match item {
                Item::Message(message) => brought.messages.push(message),
                Item::Bad(_) => brought.bad += 1,
                Item::Ping => {}
            }
        }
        if self.reader.is_broken() {
            self.reader = StreamReader::new(limits);
            self.next = None;
        }
    }

    /// A hole is not filled any more: goes on where a message begins.
    fn leap(&mut self, limits: Limits, brought: &mut Brought) {
        let base = self.next.unwrap_or_default();
        let mut waiting: Vec<(u32, Vec<u8>)> = std::mem::take(&mut self.waiting).into_iter().collect();
        waiting.sort_by_key(|(at, _)| at.wrapping_sub(base));
        (self.waiting_bytes, self.hole, self.next) = (0, None, None);
        self.reader = StreamReader::new(limits);
        for (at, bytes) in waiting {
            match self.next {
                None if is_start(&bytes) => self.next = Some(at),
                Some(next) if next == at => {}
                // another hole, or the rest of a message that is lost
                _ => continue,
            }
            self.next = Some(at.wrapping_add(u32::try_from(bytes.len()).unwrap_or(0)));
            self.reader.push(&bytes);
            self.drain(limits, brought);
        }
    }
}

/// A TLS record of a handshake, or of data in the middle of a connection (RFC 8446 §5.1).
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 0x03, 0x00..=0x04, ..])
}

/// Whether a message of SIP begins here, or a keep-alive (RFC 3261 §7.1, §7.2).
pub(super) fn is_start(bytes: &[u8]) -> bool {
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let rest = bytes.get(blank..).unwrap_or_default();
    if rest.is_empty() {
        return blank > 0;
    }
    if rest.starts_with(b"SIP/2.0 ") {
        return true;
    }
    let method = rest.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let uri = rest.get(method + 1..).unwrap_or_default();
    (1..=20).contains(&method)
        && rest.get(method) == Some(&b' ')
        && [&b"sip:"[..], b"sips:", b"tel:", b"urn:"]
            .iter()
            .any(|scheme| uri.get(..scheme.len()).is_some_and(|own| own.eq_ignore_ascii_case(scheme)))
}

#[cfg(test)]
mod tests;

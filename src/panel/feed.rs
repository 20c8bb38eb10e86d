//! The live feed: a bounded ring of events with ids, read by any number of clients at their own pace. Sans-IO.
//!
//! A client is a position in the ring and nothing else, so a slow one costs nothing and blocks nobody: when the ring has moved past it,
//! it gets a reset, the running contacts one by one, and goes on live. A client that comes back names the last id that it saw and gets
//! what it missed, or a reset when the ring no longer has it or the bridge was restarted in between.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

pub use super::board::Filter;
use super::board::{Audience, Board};
use super::told::{OVERSIZE, Oversize, TooLarge};
use crate::call::ContactId;
use crate::events::{Data, Event};

/// Greatest size of one event on the feed, in bytes; a longer one is sent without its turns or its payload, and says so.
const EVENT_BYTES: usize = 64 * 1024;

/// What the feed keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events in the ring.
    pub events: usize,
    /// Bytes of these events.
    pub bytes: usize,
    /// Contacts for late joiners.
    pub contacts: usize,
    /// Turns of one contact.
    pub turns: usize,
    /// Ended contacts for late joiners.
    pub ended: usize,
}

/// Names an event of the feed; `epoch` differs after a restart, so that an old id is not taken for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedId {
    epoch: u32,
    number: u64,
}

/// Why a client starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// It named no id.
    Start,
    /// Its id is older than the ring.
    TooOld,
    /// Its id is from before a restart, or none of ours.
    Unknown,
    /// It read too slowly.
    Behind,
}

/// What a client gets.
#[derive(Clone, Debug)]
pub enum Message {
    /// Forget everything; so many contacts follow, then `Synced`.
    Reset {
        /// Why.
        reason: ResetReason,
        /// How many [`Message::Contact`] follow at most.
        contacts: usize,
    },
    /// One contact as a whole; replaces what the client knows of it.
    Contact {
        /// The id to resume from; `None` inside a reset, which cannot be resumed half-way.
        id: Option<FeedId>,
        /// The contact.
        view: ContactView,
    },
    /// The reset is complete.
    Synced {
        /// The id to resume from.
        id: FeedId,
    },
    /// One event.
    Event {
        /// Its id.
        id: FeedId,
        /// Its JSON, one line.
        body: Arc<str>,
    },
}

/// One contact for a late joiner: its events as far as they are kept.
#[derive(Clone, Debug)]
pub struct ContactView {
    /// The contact.
    pub contact: ContactId,
    /// Events up to this id are in it.
    pub asof: FeedId,
    /// Older turns that were left out.
    pub omitted_turns: u64,
    /// Other older events that were left out.
    pub omitted_events: u64,
    /// JSON of the events, in order.
    pub events: Vec<Arc<str>>,
}

/// A client's place in the feed.
#[derive(Debug)]
pub struct Subscriber {
    filter: Filter,
    /// Number of the last event that it has seen.
    cursor: u64,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Reset(ResetReason),
    Snapshot { remaining: std::vec::IntoIter<ContactId> },
    Live,
}

/// The feed. `publish` on one side, `next` for each client on the other.
#[derive(Debug)]
pub struct Feed {
    epoch: u32,
    /// Number of the newest event; the first one is 1.
    newest: u64,
    ring: VecDeque<Entry>,
    ring_bytes: usize,
    limits: Limits,
    board: Board,
}

#[derive(Debug)]
struct Entry {
    contact: ContactId,
    audience: Audience,
    body: Arc<str>,
}

impl Feed {
    /// An empty feed; `epoch` is random, so that ids of another run are known as such.
    pub fn new(epoch: u32, limits: Limits) -> Self {
        Self { epoch, newest: 0, ring: VecDeque::new(), ring_bytes: 0, limits, board: Board::new(limits) }
    }

    /// Adds an event; `body` is [`render`]ed from it, outside of any lock. The oldest events leave a full ring.
    pub fn publish(&mut self, event: &Event, body: Arc<str>) -> FeedId {
        self.newest += 1;
        let audience = self.board.apply(self.newest, event, &body);
        self.ring_bytes += body.len();
        self.ring.push_back(Entry { contact: event.contact, audience, body });
        while self.ring.len() > 1 && (self.ring.len() > self.limits.events || self.ring_bytes > self.limits.bytes) {
            if let Some(old) = self.ring.pop_front() {
                self.ring_bytes -= old.body.len();
            }
        }
        self.id(self.newest)
    }

    /// A new client; `last` is the id it saw last, if it was here before.
    pub fn subscribe(&self, filter: Filter, last: Option<&str>) -> Subscriber {
        let place = match last.map(FeedId::from_str) {
            None => Err(ResetReason::Start),
            Some(Ok(id)) if id.epoch == self.epoch && id.number <= self.newest => {
                if id.number + 1 < self.oldest() {
                    Err(ResetReason::TooOld)
                } else {
                    Ok(id.number)
                }
            }
            Some(_) => Err(ResetReason::Unknown),
        };
        match place {
            Ok(cursor) => Subscriber { filter, cursor, phase: Phase::Live },
            Err(reason) => Subscriber { filter, cursor: self.newest, phase: Phase::Reset(reason) },
        }
    }

    /// The client's next message; `None` when it has everything.
    pub fn next(&self, client: &mut Subscriber) -> Option<Message> {
        loop {
            match &mut client.phase {
                Phase::Reset(reason) => {
                    let reason = *reason;
                    let contacts = self.board.visible(&client.filter);
                    client.cursor = self.newest;
                    let count = contacts.len();
                    client.phase = Phase::Snapshot { remaining: contacts.into_iter() };
                    return Some(Message::Reset { reason, contacts: count });
                }
                Phase::Snapshot { remaining } => {
                    let Some(contact) = remaining.next() else {
                        client.phase = Phase::Live;
                        return Some(Message::Synced { id: self.id(client.cursor) });
                    };
                    // a contact that was left out meanwhile is gone for this client too
                    if let Some(view) = self.view(contact, &client.filter) {
                        return Some(Message::Contact { id: None, view });
                    }
                }
                Phase::Live if client.cursor + 1 < self.oldest() => client.phase = Phase::Reset(ResetReason::Behind),
                Phase::Live => return self.next_event(client),
            }
        }
    }

    /// All contacts that `filter` shows.
    pub fn snapshot(&self, filter: &Filter) -> Vec<ContactView> {
        self.board.visible(filter).into_iter().filter_map(|contact| self.view(contact, filter)).collect()
    }

    /// Id of the newest event.
    pub fn newest(&self) -> FeedId {
        self.id(self.newest)
    }

    fn next_event(&self, client: &mut Subscriber) -> Option<Message> {
        while client.cursor < self.newest {
            client.cursor += 1;
            let entry = self.ring.get(usize::try_from(client.cursor - self.oldest()).ok()?)?;
            if !entry.audience.includes(&client.filter) {
                continue;
            }
            let id = self.id(client.cursor);
            let joins = entry.audience.joins(&client.filter);
            if let Some(view) = joins.then(|| self.view(entry.contact, &client.filter)).flatten() {
                return Some(Message::Contact { id: Some(id), view });
            }
            return Some(Message::Event { id, body: Arc::clone(&entry.body) });
        }
        None
    }

    fn view(&self, contact: ContactId, filter: &Filter) -> Option<ContactView> {
        let kept = self.board.kept(contact, filter)?;
        Some(ContactView {
            contact,
            asof: self.newest(),
            omitted_turns: kept.omitted_turns,
            omitted_events: kept.omitted_events,
            events: kept.events,
        })
    }

    /// Number of the oldest event in the ring, or of the next one to come.
    fn oldest(&self) -> u64 {
        self.newest + 1 - self.ring.len() as u64
    }

    fn id(&self, number: u64) -> FeedId {
        FeedId { epoch: self.epoch, number }
    }
}

impl ContactView {
    /// As one line of JSON.
    pub fn json(&self) -> String {
        let size: usize = self.events.iter().map(|event| event.len() + 1).sum();
        let mut text = String::with_capacity(size + 160);
        text.push_str(&format!(
            "{{\"contact\":\"{}\",\"asof\":\"{}\",\"omitted_turns\":{},\"omitted_events\":{},\"events\":[",
            self.contact, self.asof, self.omitted_turns, self.omitted_events
        ));
        for (index, event) in self.events.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(event);
        }
        text.push_str("]}");
        text
    }
}

/// An event as one line of JSON: the body that a webhook gets, shortened when it is very long.
pub fn render(event: &Event) -> Arc<str> {
    let text = event.to_json();
    if text.len() <= EVENT_BYTES {
        return text.into();
    }
    if let Data::TranscriptDocument(document) = &event.data {
        let mut short = document.clone();
        // what was said has been on the feed as finals; what could not be recognised has not
        short.turns.retain(|turn| turn.text.is_none());
        short.turns.truncate(64);
        return Event { data: Data::TranscriptDocument(short), ..event.clone() }.to_json().into();
    }
    let line = Oversize {
        id: event.id,
        source: event.source.clone(),
        subject: event.subject(),
        time: event.time.rfc3339(),
        type_name: OVERSIZE,
        data: TooLarge { bytes: text.len(), type_name: event.type_name() },
    };
    serde_json::to_string(&line).unwrap_or_default().into()
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.number)
    }
}

impl FromStr for FeedId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, number) = text.trim().split_once('-').ok_or(())?;
        let epoch = u32::from_str_radix(epoch, 16).map_err(|_| ())?;
        Ok(Self { epoch, number: number.parse().map_err(|_| ())? })
    }
}

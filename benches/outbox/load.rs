//! What all sides store: the same events, and the pace at which they are handed in.
#![allow(dead_code)] // each bench uses its part

use std::time::{Duration, Instant};

use kakehashi::call::ContactId;
use kakehashi::events::{CallQueued, Caller, Data, Event};
use kakehashi::outbox::{Batch, ContactRow};
use kakehashi::pbx::{CallKey, PbxId};
use kakehashi::time::Wall;
use uuid::Uuid;

/// Contacts that are written at once, as 150 calls do.
pub(crate) const CONTACTS: u64 = 150;
/// Events of one contact: those of a call of four minutes.
pub(crate) const EACH: u64 = 40;
/// Numbers of contacts that take the place of others are so far behind theirs.
const APART: u64 = 1_000;
/// When the first event happened.
const START: Wall = Wall(1_795_420_800_000_000);
/// Between two events, in microseconds: 20,000 a second.
const BETWEEN_US: u64 = 50;

/// Event `sequence` of a contact.
pub(crate) fn event(contact: u64, sequence: u64) -> Event {
    event_in("madoguchi", contact, sequence)
}

/// The same with a queue's name that makes it as long as is wanted.
pub(crate) fn event_in(queue: &str, contact: u64, sequence: u64) -> Event {
    let id = ContactId(Uuid::from_u128(u128::from(contact) + 1));
    let n = (sequence * CONTACTS + contact % CONTACTS) + contact / APART * EACH * CONTACTS;
    let time = Wall(START.0 + (n * BETWEEN_US) as i64);
    let queued = CallQueued { caller: Caller::default(), called: "6001".into(), queue: queue.into() };
    Event {
        id: Event::record_id(id, sequence, time),
        source: "/site/s/node/n".into(),
        contact: id,
        leg: None,
        time,
        sequence: Some(sequence),
        expires: None,
        data: Data::CallQueued(queued),
    }
}

/// An event as the bridge commits it: with the state of its call.
pub(crate) fn batch(event: Event) -> Batch {
    Batch {
        contact: ContactRow {
            id: event.contact,
            site: "s".into(),
            call: CallKey { pbx: PbxId("p".into()), key: event.contact.to_string() },
            open: event.sequence != Some(EACH),
            state: "x".repeat(1_500),
        },
        keys: Vec::new(),
        events: vec![event],
        deliver_text: true,
    }
}

/// The n-th event, when the contacts from the first on take turns, each over after [`EACH`] events and another in its place.
pub(crate) fn nth(first_contact: u64, n: u64) -> Event {
    let turn = n / CONTACTS;
    event(first_contact + turn / EACH * APART + n % CONTACTS, 1 + turn % EACH)
}

/// Hands in `count` events, `rate` a second whatever becomes of those before; the time from handing in to the end of each.
pub(crate) async fn paced<F>(rate: u32, count: u64, mut hand_in: impl FnMut(u64) -> F) -> Vec<Duration>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut clock = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut waits = Vec::new();
    for n in 0..count {
        clock.tick().await;
        let began = Instant::now();
        let stored = hand_in(n);
        waits.push(tokio::spawn(async move {
            stored.await;
            began.elapsed()
        }));
    }
    let mut taken = Vec::new();
    for wait in waits {
        taken.push(wait.await.unwrap());
    }
    taken
}

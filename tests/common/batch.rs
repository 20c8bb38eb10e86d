//! A batch of one event of a contact: it waits in a queue. What it is of and who calls says the test.

use kakehashi::call::ContactId;
use kakehashi::events::{CallQueued, Caller, Data, Event};
use kakehashi::outbox::{Batch, ContactRow};
use kakehashi::pbx::{CallKey, PbxId};
use kakehashi::time::Wall;

const TIME: Wall = Wall(1_795_420_800_000_000);

pub(crate) fn queued(contact: ContactId, sequence: u64, caller: Caller, queue: &str) -> Batch {
    let event = Event {
        id: Event::record_id(contact, sequence, TIME),
        source: "/site/s/node/n".into(),
        contact,
        leg: None,
        time: TIME,
        sequence: Some(sequence),
        expires: None,
        data: Data::CallQueued(CallQueued { caller, called: "6001".into(), queue: queue.into() }),
    };
    let call = CallKey { pbx: PbxId("p".into()), key: contact.to_string() };
    Batch {
        contact: ContactRow { id: contact, site: "s".into(), call, open: true, state: "{}".into() },
        keys: Vec::new(),
        events: vec![event],
        deliver_text: true,
    }
}

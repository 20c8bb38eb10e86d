//! Corrections of texts: of running contacts at once, of those that are over from the store, one after the other.
//!
//! A contact that is over is read only after everything that was accepted before is on disk, and no two of them are read at a time, so that the
//! number of the next event is right.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::Hub;
use crate::bridge::{Input, Stored};
use crate::call::ContactId;
use crate::call::correction::{Corrected, Correction, Refused};
use crate::events::Event;
use crate::outbox::ContactRow;
use crate::outbox::store::{Error, Outbox};
use crate::session::{Session, State};
use crate::time::Now;

/// Corrections of contacts that are over which wait at most.
const MOST_WAITING: usize = 64;

/// What became of it; it is on disk when the receiver resolves.
pub type Answer = oneshot::Sender<Result<(Corrected, Stored), Refused>>;
/// A contact as the store has it; `None`: it has none.
pub type Found = Result<Option<(ContactRow, Vec<Event>)>, Error>;

/// See the module.
#[derive(Default)]
pub(super) struct Corrections {
    /// The first one's contact is being read.
    waiting: VecDeque<(ContactId, Correction, Answer)>,
}

impl Hub {
    /// Puts a text right.
    pub(super) fn correct(&mut self, now: Now, contact: ContactId, asked: Correction, answer: Answer) {
        // whoever asked may be gone
        if self.sessions.contains_key(&contact) {
            let _ = answer.send(self.correct_in(now, contact, &asked));
        } else if self.stop.is_some() || self.corrections.waiting.len() >= MOST_WAITING {
            let _ = answer.send(Err(Refused::Busy));
        } else {
            self.corrections.waiting.push_back((contact, asked, answer));
            if self.corrections.waiting.len() == 1 {
                self.read_next();
            }
        }
    }

    /// The contact of the first correction that waits was read.
    pub(super) fn found(&mut self, now: Now, found: Found) {
        let Some((contact, asked, answer)) = self.corrections.waiting.pop_front() else { return };
        let open = if self.sessions.contains_key(&contact) { Ok(()) } else { self.reopen(now, contact, found) };
        let _ = answer.send(open.and_then(|()| self.correct_in(now, contact, &asked)));
        self.read_next();
    }

    fn read_next(&self) {
        let Some((contact, ..)) = self.corrections.waiting.front() else { return };
        let (contact, outbox, inputs) = (*contact, self.setup.outbox.clone(), self.setup.inputs.clone());
        tokio::runtime::Handle::current().spawn(async move {
            let found = stored(outbox, contact).await;
            let _ = inputs.send(Input::Stored(Box::new(found))).await;
        });
    }

    fn correct_in(&mut self, now: Now, contact: ContactId, asked: &Correction) -> Result<(Corrected, Stored), Refused> {
        let mut done = Err(Refused::Unknown);
        self.with(contact, |session| done = session.put_right(now, asked));
        let flushed = self.setup.outbox.flush().map_err(|_| Refused::Busy)?;
        done.map(|corrected| (corrected, flushed))
    }

    /// Takes up a contact that is over; it is left again as soon as everything about it is written.
    fn reopen(&mut self, now: Now, contact: ContactId, found: Found) -> Result<(), Refused> {
        let found = found.inspect_err(|error| tracing::error!(%error, %contact, "a contact cannot be read"));
        let (row, events) = found.map_err(|_| Refused::Busy)?.ok_or(Refused::Unknown)?;
        let setup = self.setup.sites.iter().find(|setup| setup.site.id == row.site).ok_or(Refused::Unreadable)?;
        // one that is open and does not run could not be taken up at the start
        let state = State::parse(&row.state).ok().filter(|_| !row.open).ok_or(Refused::Unreadable)?;
        let session = Session::reopen(now, setup.site.clone(), &row.state, &events);
        let session = session.map_err(|_| Refused::Unreadable)?;
        self.streams.extend(state.streams().map(|(stream, _)| (stream, contact)));
        self.sessions.insert(contact, session);
        Ok(())
    }
}

/// What the store has of a contact, with everything that was accepted until now.
async fn stored(outbox: Outbox, contact: ContactId) -> Found {
    outbox.flush()?.await.map_err(|_| Error::Stopped)?;
    let read = move || {
        let row = outbox.contact(contact)?;
        row.map(|row| Ok((row, outbox.events_of(contact)?))).transpose()
    };
    tokio::task::spawn_blocking(read).await.map_err(|_| Error::Stopped)?
}

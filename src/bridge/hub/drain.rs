//! Before the end: the contacts that run now are waited for.

use tokio::sync::oneshot;

use super::Hub;
use crate::call::ContactId;

/// Contacts that were running when the bridge was told to stop.
pub(super) struct Drain {
    contacts: Vec<ContactId>,
    done: oneshot::Sender<()>,
}

impl Hub {
    pub(super) fn drain(&mut self, done: oneshot::Sender<()>) {
        let running = self.sessions.iter().filter(|(_, session)| session.contact().ended.is_none());
        let contacts: Vec<ContactId> = running.map(|(id, _)| *id).collect();
        tracing::info!(calls = contacts.len(), "no new calls are taken; those that run may go on");
        self.drain = Some(Drain { contacts, done });
    }

    /// Tells whoever waits when the last of them has ended.
    pub(super) fn tell_drained(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        let runs = |id: &ContactId| self.sessions.get(id).is_some_and(|session| session.contact().ended.is_none());
        drain.contacts.retain(runs);
        if drain.contacts.is_empty() {
            // whoever waited may have lost patience
            self.drain.take().map(|drain| drain.done.send(()));
        }
    }
}

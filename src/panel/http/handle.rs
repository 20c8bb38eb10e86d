//! The feed shared between the hub, which publishes, and the connections, which read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::events::Event;
use crate::panel::Error;
use crate::panel::feed::{self, ContactView, Feed, FeedId, Filter, Limits, Message, Subscriber};

/// Publishes to the feed; clones share it.
#[derive(Clone, Debug)]
pub struct FeedHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    feed: Mutex<Feed>,
    published: watch::Sender<()>,
}

impl FeedHandle {
    /// An empty feed with an epoch of its own.
    ///
    /// # Errors
    /// [`Error::Random`] when the system has no random numbers.
    pub fn new(limits: Limits) -> Result<Self, Error> {
        let mut epoch = [0; 4];
        getrandom::fill(&mut epoch).map_err(|error| Error::Random(error.to_string()))?;
        let feed = Mutex::new(Feed::new(u32::from_ne_bytes(epoch), limits));
        Ok(Self { shared: Arc::new(Shared { feed, published: watch::Sender::new(()) }) })
    }

    /// Shows `event` to every client that wants it. Never waits for a client; a few microseconds.
    pub fn publish(&self, event: &Event) {
        let body = feed::render(event);
        self.lock().publish(event, body);
        self.shared.published.send_replace(());
    }

    pub(super) fn subscribe(&self, filter: Filter, last: Option<&str>) -> (Subscriber, watch::Receiver<()>) {
        let published = self.shared.published.subscribe();
        (self.lock().subscribe(filter, last), published)
    }

    pub(super) fn next(&self, client: &mut Subscriber) -> Option<Message> {
        self.lock().next(client)
    }

    pub(super) fn snapshot(&self, filter: &Filter) -> (FeedId, Vec<ContactView>) {
        let feed = self.lock();
        (feed.newest(), feed.snapshot(filter))
    }

    /// A panic while the lock was held leaves the feed usable: at worst one event is missing on screens.
    fn lock(&self) -> MutexGuard<'_, Feed> {
        self.shared.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

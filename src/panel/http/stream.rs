//! One client's feed as server-sent events (WHATWG HTML §9.2).

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::handle::FeedHandle;
use super::wall;
use crate::panel::feed::{Message, Subscriber};
use crate::panel::told::{Beat, Reset, Synced};

/// Bytes gathered before they are handed to the connection.
const CHUNK_BYTES: usize = 64 * 1024;
/// What a browser waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 1_000;

/// A client on its way through the feed.
pub(super) struct Client {
    pub(super) feed: FeedHandle,
    pub(super) place: Subscriber,
    pub(super) published: watch::Receiver<()>,
    pub(super) keep_alive: Duration,
    /// Frees the client's seat when it goes.
    pub(super) _seat: OwnedSemaphorePermit,
}

impl Client {
    /// The response body; ends only with the connection.
    pub(super) fn into_body(self) -> Body {
        let opening = format!("retry: {RETRY_MS}\n\n{}", beat());
        let frames = stream::unfold((self, Some(opening)), |(mut client, opening)| async move {
            let text = match opening {
                Some(text) => text,
                None => client.next_chunk().await,
            };
            Some((Ok::<_, Infallible>(Bytes::from(text)), (client, None)))
        });
        Body::from_stream(frames)
    }

    async fn next_chunk(&mut self) -> String {
        loop {
            // seen first, so that what is published while we read wakes us
            self.published.mark_unchanged();
            let chunk = self.gather();
            if !chunk.is_empty() {
                return chunk;
            }
            match tokio::time::timeout(self.keep_alive, self.published.changed()).await {
                Ok(Ok(())) => {}
                // the sender lives in our own `feed`: only the time ran out
                Ok(Err(_)) | Err(_) => return beat(),
            }
        }
    }

    fn gather(&mut self) -> String {
        let mut text = String::new();
        while text.len() < CHUNK_BYTES {
            let Some(message) = self.feed.next(&mut self.place) else { break };
            write_message(&mut text, message);
        }
        text
    }
}

/// A sign of life that scripts see too, with the server's time to count waiting seconds from.
fn beat() -> String {
    format!(": keep-alive\nevent: beat\ndata: {}\n\n", line(&Beat { now: wall().rfc3339() }))
}

fn line(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap_or_default()
}

fn write_message(text: &mut String, message: Message) {
    let written = match message {
        Message::Reset { reason, contacts } => {
            write!(text, "event: reset\ndata: {}\n\n", line(&Reset { contacts, reason }))
        }
        Message::Contact { id, view } => {
            if let Some(id) = id {
                text.push_str(&format!("id: {id}\n"));
            }
            write!(text, "event: contact\ndata: {}\n\n", view.json())
        }
        Message::Synced { id } => {
            write!(text, "id: {id}\nevent: synced\ndata: {}\n\n", line(&Synced { id: id.to_string() }))
        }
        Message::Event { id, body } => write!(text, "id: {id}\nevent: event\ndata: {body}\n\n"),
    };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

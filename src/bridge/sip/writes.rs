//! What waits to be written on one connection: bounded in bytes, written in order, and told to who reads the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// Bytes that may wait to be written on a connection for each call that there may be: a BYE of each goes at once when the bridge stops. A
/// peer with more is stuck and its connection is closed.
const BYTES_PER_CALL: usize = 4 << 10;
/// That many may wait in any case.
const BYTES_LEAST: usize = 1 << 20;
/// What a message takes of that besides its bytes.
const COST: usize = 64;
/// A connection is read on only when no more than this waits to be written on it.
const READ_ON: usize = 64 << 10;
/// Time for one write.
const WRITE: Duration = Duration::from_secs(5);

/// How many bytes may wait on a connection where there may be so many calls.
pub(super) fn most(calls: usize) -> usize {
    calls.saturating_mul(BYTES_PER_CALL).max(BYTES_LEAST)
}

/// Both ends of a queue of `most` bytes; so many messages of no length have room in it.
pub(super) fn queue(most: usize) -> (Writes, Queue) {
    let (queue, messages) = mpsc::channel(most / COST);
    let waiting = Arc::<Waiting>::default();
    (Writes { queue, waiting: waiting.clone(), most }, Queue { messages, waiting })
}

/// What waits to be written on a connection.
#[derive(Debug)]
pub(super) struct Writes {
    queue: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
    most: usize,
}

impl Writes {
    /// Puts a message at the end; false when there is no room.
    pub(super) fn put(&self, bytes: Vec<u8>) -> bool {
        let cost = bytes.len() + COST;
        let before = self.waiting.bytes.fetch_add(cost, Ordering::Relaxed);
        before + cost <= self.most && self.queue.try_send(bytes).is_ok()
    }
}

/// How much waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bytes: AtomicUsize,
    written: Notify,
}

impl Waiting {
    fn wrote(&self, length: usize) {
        self.bytes.fetch_sub(length + COST, Ordering::Relaxed);
        self.written.notify_one();
    }

    /// Until there is little.
    pub(super) async fn is_low(&self) {
        while self.bytes.load(Ordering::Relaxed) > READ_ON {
            self.written.notified().await;
        }
    }
}

/// The connection's end of it.
pub(super) struct Queue {
    messages: mpsc::Receiver<Vec<u8>>,
    waiting: Arc<Waiting>,
}

impl Queue {
    /// How much waits in it.
    pub(super) fn waiting(&self) -> Arc<Waiting> {
        self.waiting.clone()
    }

    /// Writes what is queued until the other end is dropped; true when the peer does not take it.
    pub(super) async fn write<S: AsyncRead + AsyncWrite>(mut self, mut half: WriteHalf<S>) -> bool {
        while let Some(bytes) = self.messages.recv().await {
            let sent = timeout(WRITE, async {
                half.write_all(&bytes).await?;
                half.flush().await
            });
            match sent.await {
                Ok(Ok(())) => self.waiting.wrote(bytes.len()),
                Ok(Err(_)) => return false,
                Err(_) => return true,
            }
        }
        let _ = timeout(WRITE, half.shutdown()).await;
        false
    }
}

//! A TCP connection whose bytes are counted, both directions: what the network between sees of the link.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes on the sockets of a link since the start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Tally {
    /// Bytes sent and received.
    pub(super) fn read(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

/// How many bytes may still be received on one connection; without end once the other end is known.
#[derive(Debug)]
pub(super) struct Ceiling(AtomicU64);

impl Ceiling {
    pub(super) fn lift(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    tally: Arc<Tally>,
    ceiling: Arc<Ceiling>,
}

impl Counted {
    /// `most`: bytes that may be received until the ceiling is lifted.
    pub(super) fn new(stream: TcpStream, tally: Arc<Tally>, most: u64) -> (Counted, Arc<Ceiling>) {
        let ceiling = Arc::new(Ceiling(AtomicU64::new(most)));
        (Counted { stream, tally, ceiling: Arc::clone(&ceiling) }, ceiling)
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let more = (buffer.filled().len() - before) as u64;
        self.tally.received.fetch_add(more, Ordering::Relaxed);
        let left = self.ceiling.0.load(Ordering::Relaxed);
        if left != u64::MAX {
            let Some(left) = left.checked_sub(more) else {
                return Poll::Ready(Err(io::Error::other("more was sent before the greeting than a handshake takes")));
            };
            self.ceiling.0.store(left, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.tally.sent.fetch_add(*count as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

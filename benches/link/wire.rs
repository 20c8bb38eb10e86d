//! The network between the bridge and a receiver: carries TCP connections and counts what goes through; and what that is on the wire.
#![allow(dead_code)] // each user takes its part

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What a TCP segment carries at most on Ethernet: 1,500 bytes less [`HEADERS`].
const SEGMENT: u64 = 1_448;
/// IPv4 (RFC 791), TCP (RFC 9293) and its timestamps (RFC 7323).
const HEADERS: u64 = 20 + 20 + 12;
/// SYN and SYN-ACK with the usual options, ACK; FIN and ACK of both ends.
const CONNECTION: u64 = 60 + 60 + HEADERS + 4 * HEADERS;
/// IPv4, UDP (RFC 768), RTP (RFC 3550).
pub(crate) const RTP_HEADERS: u64 = 20 + 8 + 12;

/// What went through, both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// What TCP carries: HTTP with its headers, TLS.
    pub(crate) payload: u64,
    /// Segments that take it, if each piece that was written is sent at once.
    pub(crate) segments: u64,
    pub(crate) connections: u64,
}

impl Bytes {
    /// With the headers of IPv4 and TCP, by calculation: each segment is acknowledged by one of its own, which is more than there are.
    pub(crate) fn on_the_wire(self) -> u64 {
        self.payload + self.segments * 2 * HEADERS + self.connections * CONNECTION
    }
}

impl std::ops::Sub for Bytes {
    type Output = Bytes;
    fn sub(self, before: Bytes) -> Bytes {
        Bytes {
            payload: self.payload - before.payload,
            segments: self.segments - before.segments,
            connections: self.connections - before.connections,
        }
    }
}

/// Segments for a piece of so many bytes.
pub(crate) fn segments(bytes: u64) -> u64 {
    bytes.div_ceil(SEGMENT)
}

#[derive(Default)]
struct Sums {
    payload: AtomicU64,
    segments: AtomicU64,
    connections: AtomicU64,
}

/// A way to one receiver.
pub(crate) struct Wire {
    pub(crate) port: u16,
    sums: Arc<Sums>,
}

impl Wire {
    /// Leads to this port of the machine.
    pub(crate) async fn to(port: u16) -> Wire {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let wire = Wire { port: listener.local_addr().unwrap().port(), sums: Arc::default() };
        let sums = Arc::clone(&wire.sums);
        tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let Ok(there) = TcpStream::connect(to).await else { continue };
                sums.connections.fetch_add(1, Ordering::SeqCst);
                for stream in [&here, &there] {
                    let _ = stream.set_nodelay(true);
                }
                let ((from_here, to_here), (from_there, to_there)) = (here.into_split(), there.into_split());
                tokio::spawn(carry(from_here, to_there, Arc::clone(&sums)));
                tokio::spawn(carry(from_there, to_here, Arc::clone(&sums)));
            }
        });
        wire
    }

    /// So far.
    pub(crate) fn bytes(&self) -> Bytes {
        let of = |sum: &AtomicU64| sum.load(Ordering::SeqCst);
        Bytes {
            payload: of(&self.sums.payload),
            segments: of(&self.sums.segments),
            connections: of(&self.sums.connections),
        }
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, sums: Arc<Sums>) {
    let mut space = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut space).await {
        sums.payload.fetch_add(count as u64, Ordering::SeqCst);
        sums.segments.fetch_add(segments(count as u64), Ordering::SeqCst);
        if to.write_all(&space[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

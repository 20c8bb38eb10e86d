//! Several datagrams of one socket in one system call.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};

/// Packets taken from one socket in one call.
pub(super) const BATCH: usize = 16;
/// Longest datagram looked at.
pub(super) const DATAGRAM: usize = 2_048;

/// Room for one batch of datagrams.
pub(super) struct Buffers {
    space: Vec<Vec<u8>>,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { space: vec![vec![0; DATAGRAM]; BATCH], headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Takes up to [`BATCH`] datagrams without waiting; gives their number.
    pub(super) fn receive(&mut self, socket: RawFd, mut take: impl FnMut(SocketAddr, &[u8])) -> usize {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.space.iter_mut().map(|space| [IoSliceMut::new(space)]).collect();
        let Ok(received) = recvmmsg(socket, &mut self.headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) else {
            return 0;
        };
        let mut sizes = Vec::with_capacity(BATCH);
        for message in received {
            sizes.push((message.address.as_ref().and_then(address), message.bytes));
        }
        for ((from, length), space) in sizes.iter().zip(&self.space) {
            if let (Some(from), Some(datagram)) = (from, space.get(..*length)) {
                take(*from, datagram);
            }
        }
        sizes.len()
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}

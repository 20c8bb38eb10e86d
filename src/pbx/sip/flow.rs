//! Between which ends a message travels.

use std::net::SocketAddr;

use super::header::Via;
use super::request::answer_address;

/// What a message travels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
}

impl Transport {
    /// As in Via.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }

    /// Whether a `sips` URI may be reached over it.
    pub fn is_secure(self) -> bool {
        match self {
            Transport::Udp | Transport::Tcp => false,
        }
    }
}

/// Between which ends a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// UDP or TCP.
    pub transport: Transport,
    /// Our address as the peer sees it (never unspecified), with the port that we listen on.
    pub local: SocketAddr,
    /// Where the message came from or goes to. Over TCP: where to connect to when `channel` is gone.
    pub peer: SocketAddr,
    /// The edge's name for the UDP socket or the TCP connection.
    pub channel: u64,
}

/// Where the answer goes: over TCP to the sent-by port, should the connection be gone (RFC 3261 §18.2.2).
pub(super) fn return_address(via: &Via, flow: Flow) -> SocketAddr {
    match flow.transport {
        Transport::Udp => answer_address(via, flow.peer),
        Transport::Tcp => {
            let mut address = flow.peer;
            address.set_port(via.port.unwrap_or(5060));
            address
        }
    }
}

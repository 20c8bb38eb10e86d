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
    /// An encrypted connection.
    Tls,
}

impl Transport {
    /// As in Via.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// Where it is listened on when nothing else is said (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }

    /// Whether a `sips` URI may be reached over it.
    pub fn is_secure(self) -> bool {
        match self {
            Transport::Udp | Transport::Tcp => false,
            Transport::Tls => true,
        }
    }
}

/// Between which ends a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// Our address as the peer sees it (never unspecified), with the port that we listen on.
    pub local: SocketAddr,
    /// Where the message came from or goes to. Over TCP and TLS: where to connect to when `channel` is gone.
    pub peer: SocketAddr,
    /// The edge's name for the UDP socket or the connection.
    pub channel: u64,
}

/// Where the answer goes: over connections to the sent-by port, should the connection be gone (RFC 3261 §18.2.2).
pub(super) fn return_address(via: &Via, flow: Flow) -> SocketAddr {
    match flow.transport {
        Transport::Udp => answer_address(via, flow.peer),
        Transport::Tcp | Transport::Tls => {
            let mut address = flow.peer;
            address.set_port(via.port.unwrap_or(flow.transport.default_port()));
            address
        }
    }
}

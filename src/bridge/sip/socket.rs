//! Listening: UDP sockets and TCP listeners, each read by its own task; strangers end here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Error, Event};
use crate::pbx::sip::{Flow, Settings};

/// The largest datagram that UDP carries.
const DATAGRAM: usize = 65_536;
/// Pause after an error of a socket.
const PAUSE: Duration = Duration::from_millis(20);

/// Whose messages are looked at.
#[derive(Debug)]
pub(super) struct Trust {
    networks: Vec<IpNet>,
    refused: AtomicU64,
}

impl Trust {
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        Self { networks, refused: AtomicU64::new(0) }
    }

    /// Whether the address belongs to an exchange; counts it when not.
    fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let known = self.networks.iter().any(|net| net.contains(&address));
        if !known {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        known
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// All sockets that are listened on; their tasks end with this.
#[derive(Debug)]
pub(super) struct Sockets {
    udp: Vec<(Arc<UdpSocket>, SocketAddr)>,
    pub(super) tcp: Vec<SocketAddr>,
    pub(super) send_failed: u64,
    _readers: JoinSet<()>,
}

impl Sockets {
    pub(super) async fn bind(
        settings: &Settings,
        trust: &Arc<Trust>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Sockets, Error> {
        let mut sockets = Sockets { udp: Vec::new(), tcp: Vec::new(), send_failed: 0, _readers: JoinSet::new() };
        for (number, address) in (0..).zip(&settings.listen_udp) {
            let failed = |reason| bind_error("listen_udp", *address, reason);
            let socket = Arc::new(UdpSocket::bind(address).await.map_err(failed)?);
            sockets.udp.push((socket.clone(), socket.local_addr().map_err(failed)?));
            sockets._readers.spawn(read_datagrams(number, socket, trust.clone(), events.clone()));
        }
        for address in &settings.listen_tcp {
            let failed = |reason| bind_error("listen_tcp", *address, reason);
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            sockets.tcp.push(listener.local_addr().map_err(failed)?);
            sockets._readers.spawn(accept(listener, trust.clone(), events.clone()));
        }
        Ok(sockets)
    }

    pub(super) fn udp(&self) -> Vec<SocketAddr> {
        self.udp.iter().map(|(_, local)| *local).collect()
    }

    /// Where a UDP socket is bound.
    pub(super) fn local(&self, socket: u64) -> Option<SocketAddr> {
        self.udp.get(usize::try_from(socket).ok()?).map(|(_, local)| *local)
    }

    /// Sends at once or not at all: SIP repeats what matters.
    pub(super) fn send(&mut self, flow: Flow, bytes: &[u8]) {
        let socket = usize::try_from(flow.channel).ok().and_then(|number| self.udp.get(number));
        let sent = socket.is_some_and(|(socket, _)| socket.try_send_to(bytes, flow.peer).is_ok());
        if !sent {
            self.send_failed += 1;
        }
    }
}

async fn read_datagrams(number: u64, socket: Arc<UdpSocket>, trust: Arc<Trust>, events: mpsc::Sender<Event>) {
    let mut space = vec![0; DATAGRAM];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut space).await else {
            // The error of an earlier send (ICMP) or a lack of memory, never the end of the socket.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(bytes) = space.get(..length).filter(|_| trust.admits(from.ip())) else { continue };
        if events.send(Event::Datagram { socket: number, from, bytes: bytes.to_vec() }).await.is_err() {
            return;
        }
    }
}

async fn accept(listener: TcpListener, trust: Arc<Trust>, events: mpsc::Sender<Event>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) if trust.admits(from.ip()) => {
                if events.send(Event::Accepted(stream, from)).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            // Out of descriptors: the connection waits until there is one.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The address of this machine that packets to `peer` leave from.
pub(super) fn route_to(peer: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = std::net::UdpSocket::bind((any, 0))?;
    probe.connect((peer, 5060))?;
    Ok(probe.local_addr()?.ip())
}

fn bind_error(key: &'static str, address: SocketAddr, reason: io::Error) -> Error {
    let remedy = match reason.kind() {
        io::ErrorKind::AddrInUse => {
            "another program uses this port (`ss -lntup` shows it): stop it, or choose another port and tell the exchange"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one",
        _ => "expected an address of this machine, or 0.0.0.0 for all",
    };
    Error::Bind { key, address, reason, remedy }
}

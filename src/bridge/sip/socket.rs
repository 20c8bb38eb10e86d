//! Listening: UDP sockets, TCP and TLS listeners, each read by its own task; strangers end here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Error, Event};
use crate::pbx::PbxId;
use crate::pbx::sip::rate::{Rates, Verdict};
use crate::pbx::sip::{Flow, PeerSettings, Settings, Transport};

/// The largest datagram that UDP carries.
const DATAGRAM: usize = 65_536;
/// Pause after an error of a socket.
const PAUSE: Duration = Duration::from_millis(20);
/// Messages of any kind that one address may send for each request that it may make.
const MESSAGES: u32 = 10;
/// A larger message, or piece of one, counts as several.
const MESSAGE_BYTES: usize = 2_048;
/// As how many the largest datagram counts.
const LARGEST: u32 = 32;
/// A keep-alive of a caller, and the answer to it.
const PING: &[u8] = b"\r\n\r\n";
const PONG: &[u8] = b"\r\n";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// Bytes of datagrams that may wait in the kernel.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Whose messages are looked at.
#[derive(Debug)]
pub(super) struct Trust {
    /// Narrowest first.
    networks: Vec<(IpNet, PbxId, Arc<[String]>)>,
    refused: AtomicU64,
    messages: Mutex<Rates>,
    flooded: AtomicU64,
}

impl Trust {
    pub(super) fn new(settings: &Settings, peers: &[(PbxId, PeerSettings)]) -> Self {
        let mut networks = Vec::new();
        for (pbx, own) in peers {
            let names: Arc<[String]> = own.tls_names.clone().into();
            networks.extend(own.peers.iter().map(|net| (*net, pbx.clone(), names.clone())));
        }
        networks.sort_by_key(|(net, _, _)| std::cmp::Reverse(net.prefix_len()));
        let messages = |requests: u32| requests.saturating_mul(MESSAGES);
        // the largest piece must find room in a full bucket
        let burst = messages(settings.request_burst).max(LARGEST);
        let messages = Rates::new(messages(settings.max_requests_per_s), burst);
        Self { networks, refused: AtomicU64::new(0), messages: Mutex::new(messages), flooded: AtomicU64::new(0) }
    }

    /// Whether the address belongs to an exchange that may be heard so; counts it when not.
    fn admits(&self, address: IpAddr, transport: Transport) -> bool {
        let known = self.of(address).is_some_and(|(_, names)| names.is_empty() || transport == Transport::Tls);
        if !known {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        known
    }

    /// The exchange of an address, and the names that its certificate must have (none: any).
    pub(super) fn of(&self, address: IpAddr) -> Option<(&PbxId, &[String])> {
        let address = address.to_canonical();
        let found = self.networks.iter().find(|(net, _, _)| net.contains(&address));
        found.map(|(_, pbx, names)| (pbx, &**names))
    }

    /// Whether one more message of an address, or piece of one, may be looked at now, whatever it is: so that the queue and the processor
    /// have room for the others.
    pub(super) fn paces(&self, address: IpAddr, bytes: usize) -> bool {
        let count = u32::try_from(bytes.div_ceil(MESSAGE_BYTES)).unwrap_or(u32::MAX).max(1);
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.ask_for(address, count, crate::bridge::now()) == Verdict::Taken
    }

    /// Datagrams that were dropped because their sender sent too many.
    pub(super) fn flooded(&self) -> u64 {
        self.flooded.load(Ordering::Relaxed)
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
    pub(super) tls: Vec<SocketAddr>,
    pub(super) send_failed: u64,
    _readers: JoinSet<()>,
}

impl Sockets {
    pub(super) async fn bind(
        settings: &Settings,
        trust: &Arc<Trust>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Sockets, Error> {
        let mut sockets =
            Sockets { udp: Vec::new(), tcp: Vec::new(), tls: Vec::new(), send_failed: 0, _readers: JoinSet::new() };
        for (number, address) in (0..).zip(&settings.listen_udp) {
            let failed = |reason| bind_error("listen_udp", *address, reason);
            let socket =
                Arc::new(UdpSocket::from_std(bound(*address, Type::DGRAM).map_err(failed)?.into()).map_err(failed)?);
            sockets.udp.push((socket.clone(), socket.local_addr().map_err(failed)?));
            sockets._readers.spawn(read_datagrams(number, socket, trust.clone(), events.clone()));
        }
        let plain = settings.listen_tcp.iter().map(|address| ("listen_tcp", *address, Transport::Tcp));
        let secure = settings.listen_tls.iter().map(|address| ("listen_tls", *address, Transport::Tls));
        for (key, address, transport) in plain.chain(secure) {
            let failed = |reason| bind_error(key, address, reason);
            let socket = bound(address, Type::STREAM).map_err(failed)?;
            socket.listen(BACKLOG).map_err(failed)?;
            let listener = TcpListener::from_std(socket.into()).map_err(failed)?;
            let own = if transport == Transport::Tls { &mut sockets.tls } else { &mut sockets.tcp };
            own.push(listener.local_addr().map_err(failed)?);
            sockets._readers.spawn(accept(listener, transport, trust.clone(), events.clone()));
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

    /// A UDP socket from which this address is reached: its number, and where it is bound.
    pub(super) fn number_for(&self, peer: SocketAddr) -> Option<(u64, SocketAddr)> {
        let fits = |local: &SocketAddr| {
            local.is_ipv4() == peer.is_ipv4() && (!local.ip().is_loopback() || peer.ip().is_loopback())
        };
        (0..).zip(&self.udp).map(|(number, (_, local))| (number, *local)).find(|(_, local)| fits(local))
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
        let Some(bytes) = space.get(..length).filter(|_| trust.admits(from.ip(), Transport::Udp)) else { continue };
        if bytes == PING {
            // Both ends see that the way is open (RFC 5626 §4.4.1 asks for it over connections); never more than what came.
            let _ = socket.try_send_to(PONG, from);
            continue;
        }
        if !trust.paces(from.ip(), length) {
            trust.flooded.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if events.send(Event::Datagram { socket: number, from, bytes: bytes.to_vec() }).await.is_err() {
            return;
        }
    }
}

async fn accept(listener: TcpListener, transport: Transport, trust: Arc<Trust>, events: mpsc::Sender<Event>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) if trust.admits(from.ip(), transport) => {
                if events.send(Event::Accepted(stream, from, transport)).await.is_err() {
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

/// A socket of one address family: the wildcard of IPv6 leaves IPv4 to a socket of its own.
fn bound(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking().cloexec(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else {
        // a flood waits here beside the messages of running calls; the system may give less
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    socket.bind(&address.into())?;
    Ok(socket)
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

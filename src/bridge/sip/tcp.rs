//! TCP and TLS connections: one reader and one writer task each, capped in number, in time for a handshake and for a message, and in
//! what waits to be written, and read at its peer's pace. A connection that is asked for by TLS is never made by TCP.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use super::Event;
use super::socket::Trust;
use super::tls::{Tls, has_name};
use super::writes::{self, Queue, Waiting, Writes};
use crate::pbx::sip::header::{Via, param};
use crate::pbx::sip::message::{Message, Start};
use crate::pbx::sip::wire::{Limits, StreamReader};
use crate::pbx::sip::{Flow, Settings, Transport};

/// Messages of a connection that wait for the driver: who sends faster than he is answered waits himself.
const UNDER_WAY: usize = 4;
/// Time for connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// Connection numbers begin above those of UDP sockets, so that a flow is never mistaken.
const FIRST: u64 = 1 << 16;
/// Silence after which the system asks whether the other machine is there, how often, and how many times.
const ALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);
/// Pause of reading a connection whose peer sends too much: what it sends waits there.
const PACE: Duration = Duration::from_millis(20);
/// Failed handshakes are warned of at most this often.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Time limits of reading.
#[derive(Clone, Copy, Debug)]
struct Patience {
    idle: Duration,
    frame: Duration,
    handshake: Duration,
    limits: Limits,
}

/// What connections need of their surroundings.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    /// The ports that we listen on by TCP and by TLS, for what is said on connections that we opened.
    pub(super) ports: [Option<u16>; 2],
    pub(super) trust: Arc<Trust>,
    pub(super) certificates: Arc<Tls>,
    pub(super) events: mpsc::Sender<Event>,
}

#[derive(Debug)]
struct Connection {
    transport: Transport,
    peer: SocketAddr,
    /// The port that the peer stands for by this connection (`alias`, RFC 5923 §5).
    alias: Option<u16>,
    handshake: bool,
    writes: Writes,
    task: AbortHandle,
}

impl Connection {
    fn reaches(&self, flow: Flow) -> bool {
        let same = self.peer.ip() == flow.peer.ip() && self.transport == flow.transport;
        same && (self.peer.port() == flow.peer.port() || self.alias == Some(flow.peer.port()))
    }
}

/// All connections, in both directions.
#[derive(Debug)]
pub(super) struct Connections {
    all: HashMap<u64, Connection>,
    next: u64,
    most: usize,
    most_per_peer: usize,
    most_handshakes: usize,
    most_handshakes_per_peer: usize,
    most_waiting: usize,
    patience: Patience,
    outside: Outside,
    warned: Option<Instant>,
    /// Closed at once, because there were too many.
    pub(super) refused: u64,
    /// Closed because nothing could be written.
    pub(super) stuck: u64,
    /// Closed because the handshake failed.
    pub(super) handshakes_failed: u64,
}

impl Connections {
    pub(super) fn new(settings: &Settings, limits: Limits, outside: Outside) -> Self {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let patience = Patience {
            idle: Duration::from_secs(u64::from(settings.idle_s.max(1))),
            frame: Duration::from_millis(u64::from(settings.frame_ms.max(1))),
            handshake: Duration::from_millis(u64::from(settings.handshake_ms.max(1))),
            limits,
        };
        Self {
            all: HashMap::new(),
            next: FIRST,
            most: size(settings.max_connections),
            most_per_peer: size(settings.max_connections_per_peer),
            most_handshakes: size(settings.max_handshakes),
            most_handshakes_per_peer: size(settings.max_handshakes_per_peer),
            most_waiting: writes::most(size(settings.max_calls)),
            patience,
            outside,
            warned: None,
            refused: 0,
            stuck: 0,
            handshakes_failed: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_open(&self, channel: u64) -> bool {
        self.all.contains_key(&channel)
    }

    /// Takes a connection, or closes it when there are too many.
    pub(super) fn accept(&mut self, stream: TcpStream, peer: SocketAddr, transport: Transport) {
        let Ok(local) = stream.local_addr() else { return };
        if !self.has_room(peer, transport) {
            self.refused += 1;
            return;
        }
        let flow = Flow { transport, local, peer, channel: self.next };
        let (writes, queue) = writes::queue(self.most_waiting);
        let (patience, outside) = (self.patience, self.outside.clone());
        let task = tokio::spawn(async move {
            prepare(&stream);
            match transport {
                Transport::Tls => welcome(stream, flow, patience, queue, outside).await,
                Transport::Tcp | Transport::Udp => {
                    converse(stream, flow, patience, patience.frame, queue, outside).await;
                }
            }
        });
        self.add(transport, peer, writes, task.abort_handle());
    }

    /// A handshake is over.
    pub(super) fn shaken(&mut self, channel: u64, good: bool) {
        if let Some(connection) = self.all.get_mut(&channel) {
            connection.handshake = false;
            if good {
                return;
            }
            self.handshakes_failed += 1;
            let peer = connection.peer;
            if self.warned.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
                self.warned = Some(Instant::now());
                let failed = self.handshakes_failed;
                warn!(%peer, failed, "a TLS handshake failed; the log says why at level debug");
            }
        }
        self.finish(channel);
    }

    /// A message came: its Via may say that the connection stands for the port that its sender listens on.
    pub(super) fn heard(&mut self, flow: Flow, message: &Message) {
        let Some(connection) = self.all.get_mut(&flow.channel).filter(|connection| connection.alias.is_none()) else {
            return;
        };
        let via = message.list("Via").first().and_then(|via| Via::parse(via));
        let named =
            via.filter(|via| matches!(message.start, Start::Request { .. }) && param(&via.params, "alias").is_some());
        connection.alias = named.map(|via| via.port.unwrap_or(flow.transport.default_port()));
    }

    /// Queues bytes on the flow's connection; when that is gone, on another one to `flow.peer`; and when there is none and
    /// `may_connect`, on a new one.
    pub(super) fn send(&mut self, flow: Flow, bytes: Vec<u8>, may_connect: bool) {
        let own = self.all.get(&flow.channel).filter(|own| own.transport == flow.transport).map(|_| flow.channel);
        let other = || self.all.iter().find(|(_, other)| other.reaches(flow)).map(|(channel, _)| *channel);
        let channel = match own.or_else(other) {
            Some(channel) => channel,
            None if may_connect && self.has_room(flow.peer, flow.transport) => self.connect(flow),
            None => return,
        };
        let full = self.all.get(&channel).is_some_and(|connection| !connection.writes.put(bytes));
        if full && let Some(connection) = self.all.remove(&channel) {
            self.stuck += 1;
            connection.task.abort();
        }
    }

    /// A connection is gone; `stuck`: because nothing could be written.
    pub(super) fn ended(&mut self, channel: u64, stuck: bool) {
        self.stuck += u64::from(stuck && self.is_open(channel));
        self.finish(channel);
    }

    /// What is queued is still written, then the connection closes.
    pub(super) fn finish(&mut self, channel: u64) {
        self.all.remove(&channel);
    }

    fn connect(&mut self, wanted: Flow) -> u64 {
        let channel = self.next;
        let (writes, queue) = writes::queue(self.most_waiting);
        let (patience, outside, peer) = (self.patience, self.outside.clone(), wanted.peer);
        let [tcp, tls] = outside.ports;
        let port = if wanted.transport == Transport::Tls { tls } else { tcp };
        let task = tokio::spawn(async move {
            let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(peer)).await else {
                let _ = outside.events.send(Event::Ended { channel, stuck: false }).await;
                return;
            };
            prepare(&stream);
            let mut local = stream.local_addr().unwrap_or(wanted.local);
            local.set_port(port.unwrap_or(local.port()));
            let flow = Flow { transport: wanted.transport, local, peer, channel };
            match wanted.transport {
                Transport::Tls => call(stream, flow, patience, queue, outside).await,
                Transport::Tcp | Transport::Udp => {
                    converse(stream, flow, patience, patience.idle, queue, outside).await;
                }
            }
        });
        self.add(wanted.transport, peer, writes, task.abort_handle());
        channel
    }

    fn has_room(&self, peer: SocketAddr, transport: Transport) -> bool {
        let own = self.all.values().filter(|other| other.peer.ip() == peer.ip());
        let (mut connections, mut handshakes) = (0, 0);
        for connection in own {
            connections += 1;
            handshakes += usize::from(connection.handshake);
        }
        let room = self.all.len() < self.most && connections < self.most_per_peer;
        if transport != Transport::Tls {
            return room;
        }
        let all = self.all.values().filter(|connection| connection.handshake).count();
        room && all < self.most_handshakes && handshakes < self.most_handshakes_per_peer
    }

    fn add(&mut self, transport: Transport, peer: SocketAddr, writes: Writes, task: AbortHandle) {
        let handshake = transport == Transport::Tls;
        self.all.insert(self.next, Connection { transport, peer, alias: None, handshake, writes, task });
        self.next += 1;
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // Their queues close now: each writes what waits and ends.
        self.all.clear();
    }
}

/// Without delay for small messages; a machine that is gone without a word is noticed.
fn prepare(stream: &TcpStream) {
    let (idle, interval, times) = ALIVE;
    let alive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(times);
    let socket = SockRef::from(stream);
    if stream.set_nodelay(true).is_err() || socket.set_tcp_keepalive(&alive).is_err() {
        debug!("a connection keeps the system's defaults");
    }
}

/// A TLS handshake within its time; why there is none is told in the log.
async fn shake<S>(flow: Flow, patience: Patience, handshake: impl Future<Output = std::io::Result<S>>) -> Option<S> {
    match timeout(patience.handshake, handshake).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            debug!(peer = %flow.peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            debug!(peer = %flow.peer, "a TLS handshake took too long");
            None
        }
    }
}

/// TLS on a connection that was accepted; then its messages.
async fn welcome(stream: TcpStream, flow: Flow, patience: Patience, queue: Queue, outside: Outside) {
    let Outside { trust, certificates, events, .. } = &outside;
    let shaken = match certificates.acceptor() {
        None => None,
        Some(acceptor) => shake(flow, patience, acceptor.accept(stream)).await.filter(|stream| {
            let names = trust.of(flow.peer.ip()).map(|(_, names)| names).unwrap_or_default();
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let good = names.is_empty() || shown.is_some_and(|certificate| has_name(certificate, names));
            if !good {
                debug!(peer = %flow.peer, "the client certificate has none of the exchange's `tls_names`");
            }
            good
        }),
    };
    let told = events.send(Event::Shaken(flow.channel, shaken.is_some())).await;
    if let (Ok(()), Some(stream)) = (told, shaken) {
        converse(stream, flow, patience, patience.frame, queue, outside).await;
    }
}

/// TLS on a connection that we opened; then its messages.
async fn call(stream: TcpStream, flow: Flow, patience: Patience, queue: Queue, outside: Outside) {
    let Outside { trust, certificates, events, .. } = &outside;
    let pbx = trust.of(flow.peer.ip()).map(|(pbx, _)| pbx);
    let shaken = match pbx.and_then(|pbx| Some((pbx, certificates.connector(pbx)?))) {
        None => {
            debug!(peer = %flow.peer, "no `tls_ca` is known for the exchange: it cannot be called by TLS");
            None
        }
        Some((pbx, connector)) => {
            let name = certificates.server_name(pbx, flow.peer.ip());
            shake(flow, patience, connector.connect(name, stream)).await
        }
    };
    let told = events.send(Event::Shaken(flow.channel, shaken.is_some())).await;
    if let (Ok(()), Some(stream)) = (told, shaken) {
        converse(stream, flow, patience, patience.idle, queue, outside).await;
    }
}

/// One connection until either side ends it; `first` is the time for the first message to begin.
async fn converse<S: AsyncRead + AsyncWrite>(
    stream: S,
    flow: Flow,
    patience: Patience,
    first: Duration,
    queue: Queue,
    outside: Outside,
) {
    let (reading, writing) = tokio::io::split(stream);
    let (ended, waiting) = (outside.events.clone(), queue.waiting());
    let channel = flow.channel;
    let mut writer = Box::pin(queue.write(writing));
    tokio::select! {
        stuck = &mut writer => {
            let _ = ended.send(Event::Ended { channel, stuck }).await;
        }
        () = read(reading, flow, patience, first, &waiting, outside) => {
            let _ = ended.send(Event::Ended { channel, stuck: false }).await;
            // What was answered is still written: the peer may have closed its sending side only.
            writer.await;
        }
    }
}

/// Reads until the end, or until what cannot be cut into messages.
async fn read<S: AsyncRead + AsyncWrite>(
    mut half: ReadHalf<S>,
    flow: Flow,
    patience: Patience,
    first: Duration,
    waiting: &Waiting,
    outside: Outside,
) {
    let Outside { trust, events, .. } = outside;
    let turns = Arc::new(Semaphore::new(UNDER_WAY));
    let mut reader = StreamReader::new(patience.limits);
    let mut space = vec![0; 16_384];
    let mut until = Instant::now() + first;
    let mut partial = false;
    loop {
        let Ok(Ok(length)) = timeout_at(until, half.read(&mut space)).await else { return };
        let Some(bytes) = space.get(..length).filter(|bytes| !bytes.is_empty()) else { return };
        pace(&trust, flow, length).await;
        reader.push(bytes);
        let mut whole = false;
        while let Some(item) = reader.next_item() {
            if whole {
                pace(&trust, flow, 0).await;
            }
            whole = true;
            let last = reader.is_broken();
            waiting.is_low().await;
            let Ok(turn) = turns.clone().acquire_owned().await else { return };
            if events.send(Event::Item { flow, item, last, turn }).await.is_err() || last {
                return;
            }
        }
        // The time for a message runs from its first byte, however slowly the others come.
        if reader.is_partial() {
            if !partial || whole {
                until = Instant::now() + patience.frame;
            }
        } else if partial || whole {
            until = Instant::now() + patience.idle;
        }
        partial = reader.is_partial();
    }
}

/// Waits until the peer may send so much: until then it waits in the connection.
async fn pace(trust: &Trust, flow: Flow, bytes: usize) {
    while !trust.paces(flow.peer.ip(), bytes) {
        tokio::time::sleep(PACE).await;
    }
}

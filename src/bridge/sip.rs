//! SIP at the edge: sockets, connections and streams of all exchanges that call the bridge; drives [`crate::pbx::sip::Uas`].
//!
//! One task owns the machine. A socket is read by its own task into one bounded queue (when it is full, datagrams wait in the kernel and
//! are dropped there, connections are not read). A connection is read no faster than it is answered. Nothing is ever awaited for a peer: a
//! datagram that cannot go is dropped, a connection whose queue is full is closed. While the hub, or this task, does not keep up, new calls
//! are answered 503 and those that were taken go on; signals wait here, and at [`TOLD_MAX`] nothing more is read. Of a message nothing reaches
//! a log.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::bridge::Input;
use crate::bridge::agents::Agents;
use crate::bridge::media::MediaHandle;
use crate::call::line::Lines;
use crate::media::{OpenStream, Payload};
use crate::pbx::sip::keying::Path;
use crate::pbx::sip::sdp::Format;
use crate::pbx::sip::wire::Item;
use crate::pbx::sip::{Flow, Output, PeerSettings, Policy, RouteId, Settings, Transport, Uas, uas};
use crate::pbx::{Observed, PbxId, StreamId};
use crate::time::{Mono, Now};

use self::load::Load;
use self::socket::{Sockets, Trust};
use self::tcp::{Connections, Outside};

mod account;
mod exchange;
mod load;
mod socket;
mod tcp;
pub(super) mod tls;
mod writes;

pub use self::tls::{Error as TlsError, Tls};

/// Events that wait for the task.
const EVENTS_MAX: usize = 1_024;
/// Signals that wait here, behind the hub's own full queue, before new calls are refused: a disk that stands still for some seconds is none
/// of a caller's business.
const TOLD_MANY: usize = 1_024;
/// Signals that wait here before nothing more is read.
pub const TOLD_MAX: usize = 16_384;
/// How long stopping may take.
const STOP: Duration = Duration::from_millis(2_000);

/// Why SIP cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be bound.
    #[error("[sip] `{key}`: {address} cannot be used: {reason}; {remedy}")]
    Bind {
        /// The key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A setting cannot be used.
    #[error("[sip] `{key}` is {found:?}; expected {expected}")]
    Setting {
        /// The key.
        key: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// Nobody may call.
    #[error(
        "[pbx.sip]: no `peers` in any exchange; expected the networks of the exchanges, such as peers = [\"192.0.2.10/32\"]"
    )]
    NoPeers,
    /// A certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A setting of one exchange cannot be used.
    #[error("[{section}] of `{pbx}`: `{key}` is {found:?}; expected {expected}")]
    Peer {
        /// Which exchange.
        pbx: String,
        /// The section.
        section: &'static str,
        /// The key.
        key: &'static str,
        /// What it holds (never a password).
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A password file cannot be read.
    #[error(
        "[{section}] of `{pbx}`: `password_file` {path:?} cannot be read: {reason}; it should hold the password in its first line"
    )]
    PasswordFile {
        /// Which exchange.
        pbx: String,
        /// The section.
        section: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The system gives no thread.
    #[error("[sip] the system gives no thread: {0}")]
    Thread(std::io::Error),
    /// The system has no random numbers.
    #[error("[sip] the system gave no random numbers: {0}; check /dev/urandom")]
    Random(getrandom::Error),
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Of the machine; `untrusted` and `flooded` include what the sockets refused.
    pub uas: uas::Counters,
    /// Calls now.
    pub calls: usize,
    /// Exchanges that we are registered at now.
    pub registered: usize,
    /// Extensions whose dialog events come now.
    pub watched: usize,
    /// TCP and TLS connections now.
    pub connections: usize,
    /// Connections closed at once, because there were too many, or too many in a TLS handshake.
    pub connections_refused: u64,
    /// TLS handshakes that failed, took too long or showed the certificate of somebody else.
    pub handshakes_failed: u64,
    /// Connections closed because the peer did not read.
    pub stuck: u64,
    /// Datagrams that could not be sent.
    pub send_failed: u64,
    /// Signals that wait for the hub now.
    pub waiting: usize,
}

/// A running server.
#[derive(Debug)]
pub struct SipHandle {
    /// Addresses that are listened on by UDP.
    pub udp: Vec<SocketAddr>,
    /// Addresses that are listened on by TCP.
    pub tcp: Vec<SocketAddr>,
    /// Addresses that are listened on by TLS.
    pub tls: Vec<SocketAddr>,
    certificates: Arc<Tls>,
    counters: watch::Receiver<Counters>,
    trust: Arc<Trust>,
    drain: Option<oneshot::Sender<()>>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl SipHandle {
    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let mut counters = *self.counters.borrow();
        counters.uas.untrusted += self.trust.refused();
        counters.uas.flooded += self.trust.flooded();
        counters
    }

    /// The certificates, to be read again when their files change.
    pub fn certificates(&self) -> Arc<Tls> {
        Arc::clone(&self.certificates)
    }

    /// Takes no new calls from now on; those that run go on.
    pub fn drain(&mut self) {
        // without a task there are no calls
        let _ = self.drain.take().map(|drain| drain.send(()));
    }

    /// Hangs up every call (BYE, answered or repeated for at most 2 s), closes the streams and ends the task.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if timeout(STOP * 2, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Starts receiving calls; `agents` tells who of the people in a recording session are agents.
///
/// # Errors
/// An address that cannot be bound, a setting that cannot work, a password file that cannot be read, or no peers at all.
pub async fn spawn(
    settings: Settings,
    mut peers: Vec<(PbxId, PeerSettings)>,
    lines: Arc<Lines>,
    agents: Agents,
    media: MediaHandle,
    hub: mpsc::Sender<Input>,
) -> Result<SipHandle, Error> {
    check(&settings)?;
    if peers.iter().all(|(_, own)| own.peers.is_empty()) {
        return Err(Error::NoPeers);
    }
    peers.iter_mut().try_for_each(|(pbx, own)| exchange::complete(pbx, own))?;
    let certificates = Arc::new(Tls::load(&settings, &peers)?);
    let trust = Arc::new(Trust::new(&settings, &peers));
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(Error::Random)?;
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let sockets = Sockets::bind(&settings, &trust, &events).await?;
    let policy = Box::new(move |called: &str| {
        let line = lines.policy(called);
        Policy { record: line.record, transcribe: line.transcribe, answer_after_ms: line.answer_after_ms }
    });
    let mut uas = Uas::new(settings.clone(), &peers, policy, secret);
    uas.set_agents(Box::new(move |pbx, extension| agents.knows(pbx, extension)));
    uas.set_fingerprint(media.fingerprint().clone());
    let (udp, tcp, tls) = (sockets.udp(), sockets.tcp.clone(), sockets.tls.clone());
    info!(?udp, ?tcp, ?tls, "receiving calls by SIP");
    let ports = [&tcp, &tls].map(|listeners| listeners.first().map(SocketAddr::port));
    let outside = Outside { ports, trust: trust.clone(), certificates: certificates.clone(), events: events.clone() };
    let connections = Connections::new(&settings, uas.limits(), outside);
    let (told, counters) = watch::channel(Counters::default());
    let (drain, draining) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let driver = Driver {
        uas,
        sockets,
        connections,
        hub,
        opener: spawn_opener(media.clone(), events.clone()).map_err(Error::Thread)?,
        media,
        events,
        load: Load::default(),
        told: VecDeque::new(),
        counters: told,
        routes: HashMap::new(),
    };
    let task = tokio::spawn(driver.run(inbox, draining, stopped));
    Ok(SipHandle { udp, tcp, tls, certificates, counters, trust, drain: Some(drain), stop: Some(stop), task })
}

fn check(settings: &Settings) -> Result<(), Error> {
    let wrong = |key, found: String, expected| Err(Error::Setting { key, found, expected });
    if settings.listen_udp.is_empty() && settings.listen_tcp.is_empty() && settings.listen_tls.is_empty() {
        let found = "empty, as are `listen_tcp` and `listen_tls`".into();
        return wrong("listen_udp", found, "at least one address in one of them");
    }
    let advertised = settings.advertised.trim();
    if !advertised.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte)) {
        return wrong("advertised", advertised.into(), "an IP address or a host name, without port");
    }
    if !(4_096..=1 << 20).contains(&settings.message_max_bytes) {
        return wrong("message_max_bytes", settings.message_max_bytes.to_string(), "4096 to 1048576");
    }
    if settings.max_transactions < 1_024 {
        return wrong("max_transactions", settings.max_transactions.to_string(), "1024 or more");
    }
    if !(10..=10_000).contains(&settings.t1_ms) {
        return wrong("t1_ms", settings.t1_ms.to_string(), "10 to 10000");
    }
    if !(90..=86_400).contains(&settings.min_se_s) {
        return wrong("min_se_s", settings.min_se_s.to_string(), "90 to 86400");
    }
    if settings.session_expires_s != 0 && !(settings.min_se_s..=86_400).contains(&settings.session_expires_s) {
        return wrong("session_expires_s", settings.session_expires_s.to_string(), "0, or `min_se_s` to 86400");
    }
    Ok(())
}

/// What the tasks bring to the driver.
#[derive(Debug)]
enum Event {
    /// A datagram on socket number `socket`.
    Datagram { socket: u64, from: SocketAddr, bytes: Vec<u8> },
    /// Somebody trusted connected.
    Accepted(tokio::net::TcpStream, SocketAddr, Transport),
    /// A TLS handshake is over: it went well, or the connection ends.
    Shaken(u64, bool),
    /// Something came on a connection; after the last item the connection is of no use. The next turn comes when it was looked at.
    Item { flow: Flow, item: Item, last: bool, turn: OwnedSemaphorePermit },
    /// A connection is gone; `stuck`: its peer did not read.
    Ended { channel: u64, stuck: bool },
    /// A server's addresses were looked up.
    Found(RouteId, Transport, Vec<SocketAddr>),
    /// The media stage answered.
    Opened(StreamId, Result<u16, String>),
}

struct Driver {
    uas: Uas,
    sockets: Sockets,
    connections: Connections,
    media: MediaHandle,
    hub: mpsc::Sender<Input>,
    /// Streams that the media stage is to open.
    opener: std::sync::mpsc::Sender<OpenStream>,
    events: mpsc::Sender<Event>,
    load: Load,
    /// Signals that the hub has no room for yet.
    told: VecDeque<Observed>,
    counters: watch::Sender<Counters>,
    /// Our address as each peer sees it, where we listen on all.
    routes: HashMap<IpAddr, IpAddr>,
}

impl Driver {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Event>,
        mut draining: oneshot::Receiver<()>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut drains = false;
        let hub = self.hub.clone();
        let mut until = None;
        loop {
            // before each event, so that no flood of them keeps the timers of calls waiting
            if self.uas.poll_timeout().is_some_and(|at| at <= super::now().mono) {
                self.uas.handle_timeout(super::now());
            }
            let behind = self.load.is_behind(inbox.len(), super::now().mono);
            self.uas.set_overloaded(behind || self.told.len() >= TOLD_MANY);
            self.carry_out();
            if until.is_some_and(|until| Instant::now() >= until || self.is_quiet()) {
                return;
            }
            let due = self.due().min(until.unwrap_or_else(|| Instant::now() + Duration::from_secs(60)));
            tokio::select! {
                Some(event) = inbox.recv(), if self.told.len() < TOLD_MAX => self.event(event),
                room = hub.reserve(), if !self.told.is_empty() => match (room, self.told.pop_front()) {
                    (Ok(room), Some(observed)) => room.send(Input::Observed(observed)),
                    _ => {
                        debug!("the hub is gone");
                        self.told.clear();
                    }
                },
                () = sleep_until(due) => self.uas.handle_timeout(super::now()),
                _ = &mut draining, if !drains => {
                    drains = true;
                    self.uas.handle_drain();
                }
                _ = &mut stopped, if until.is_none() => {
                    info!(calls = self.uas.calls(), "SIP stops: hanging up");
                    self.uas.handle_stop(super::now());
                    until = Some(Instant::now() + STOP);
                }
            }
        }
    }

    /// Nothing is left to wait for.
    fn is_quiet(&self) -> bool {
        self.uas.requests_under_way() == 0 && self.told.is_empty()
    }

    fn event(&mut self, event: Event) {
        let now = super::now();
        match event {
            Event::Datagram { socket, from, bytes } => {
                let Some(local) = self.local_of(socket, from.ip()) else { return };
                let flow = Flow { transport: Transport::Udp, local, peer: from, channel: socket };
                self.uas.handle_datagram(flow, &bytes, now);
            }
            Event::Accepted(stream, peer, transport) => self.connections.accept(stream, peer, transport),
            Event::Shaken(channel, good) => self.connections.shaken(channel, good),
            // what a peer asked before its connection was closed as stuck gets no answer, and above all no connection back to it
            Event::Item { flow, .. } if !self.connections.is_open(flow.channel) => {}
            Event::Item { flow, item, last, turn } => {
                match item {
                    Item::Message(message) => {
                        self.connections.heard(flow, &message);
                        self.uas.handle_message(flow, message, now);
                    }
                    Item::Bad(bad) => self.uas.handle_bad(flow, bad),
                    Item::Ping => self.connections.send(flow, b"\r\n".to_vec(), false),
                }
                // the answers are queued before the connection is read on
                self.carry_out();
                drop(turn);
                if last {
                    self.connections.finish(flow.channel);
                }
            }
            Event::Ended { channel, stuck } => {
                self.connections.ended(channel, stuck);
                self.uas.handle_lost(channel, now);
            }
            Event::Found(route, transport, found) => {
                let flows = account::flows(&self.sockets, transport, &found);
                self.uas.handle_route(route, &flows, now);
            }
            Event::Opened(stream, port) => {
                if let Err(reason) = &port {
                    warn!(stream = %stream.0, reason, "a call is turned away");
                }
                self.uas.handle_opened(stream, port, now);
            }
        }
    }

    /// Does what the machine wants.
    fn carry_out(&mut self) {
        while let Some(output) = self.uas.poll_output() {
            match output {
                Output::Signal(observed) => self.tell(observed),
                Output::Send(flow, bytes) => match flow.transport {
                    Transport::Udp => self.sockets.send(flow, &bytes),
                    Transport::Tcp | Transport::Tls => {
                        let may_connect = self.uas.pbx_of(flow.peer.ip()).is_some();
                        self.connections.send(flow, bytes, may_connect);
                    }
                },
                Output::Open { stream, formats, path, policy } => self.open(stream, &formats, path, policy),
                Output::Payloads(stream, formats) => self.media.set_payloads(stream, Payload::of(&formats)),
                Output::Path(stream, path) => self.media.set_path(stream, path),
                Output::Close(stream) => self.media.close(stream),
                Output::Route { route, host, port, transport } => self.look_up(route, host, port, transport),
                Output::Note(pbx, note) => account::log(&pbx, note),
            }
        }
        let counters = Counters {
            uas: self.uas.counters(),
            calls: self.uas.calls(),
            registered: self.uas.registered(),
            watched: self.uas.watched(),
            connections: self.connections.len(),
            connections_refused: self.connections.refused,
            handshakes_failed: self.connections.handshakes_failed,
            stuck: self.connections.stuck,
            send_failed: self.sockets.send_failed,
            waiting: self.told.len(),
        };
        self.counters.send_if_modified(|old| {
            let changed = *old != counters;
            *old = counters;
            changed
        });
    }

    /// In order: what waits goes first.
    fn tell(&mut self, observed: Observed) {
        if !self.told.is_empty() {
            self.told.push_back(observed);
            return;
        }
        let sent = self.hub.try_send(Input::Observed(observed));
        if let Err(mpsc::error::TrySendError::Full(Input::Observed(observed))) = sent {
            self.told.push_back(observed);
        }
    }

    fn open(&self, stream: StreamId, formats: &[Format], path: Path, policy: Policy) {
        let Policy { record, transcribe, .. } = policy;
        let source = self.media.source_of(&path);
        let open = OpenStream { stream, payloads: Payload::of(formats), record, transcribe, source, path };
        // its thread is there as long as this
        let _ = self.opener.send(open);
    }

    /// Our address on a UDP socket as `peer` sees it.
    fn local_of(&mut self, socket: u64, peer: IpAddr) -> Option<SocketAddr> {
        let bound = self.sockets.local(socket)?;
        if !bound.ip().is_unspecified() {
            return Some(bound);
        }
        if let Some(ip) = self.routes.get(&peer) {
            return Some(SocketAddr::new(*ip, bound.port()));
        }
        let ip = socket::route_to(peer).ok()?;
        if self.routes.len() < EVENTS_MAX {
            self.routes.insert(peer, ip);
        }
        Some(SocketAddr::new(ip, bound.port()))
    }

    fn due(&self) -> Instant {
        let Now { mono, .. } = super::now();
        let at = self.uas.poll_timeout().unwrap_or(mono + Duration::from_secs(60));
        Instant::now() + Mono::since(at, mono)
    }
}

/// Opens streams one after the other on a thread of its own: the driver does not wait for sockets to be bound. What waits there is bounded
/// by the number of calls. The thread ends with the driver.
fn spawn_opener(
    media: MediaHandle,
    events: mpsc::Sender<Event>,
) -> std::io::Result<std::sync::mpsc::Sender<OpenStream>> {
    let (opener, wanted) = std::sync::mpsc::channel::<OpenStream>();
    std::thread::Builder::new().name("sip-open".into()).spawn(move || {
        for open in wanted {
            let stream = open.stream;
            // a driver that is gone needs no answer
            let _ = events.blocking_send(Event::Opened(stream, media.open(open).map_err(|e| e.to_string())));
        }
    })?;
    Ok(opener)
}

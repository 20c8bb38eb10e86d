//! Media connections of one Asterisk at the edge: AudioSocket and chan_websocket, as carriers of ARI's taps and as calls of their own.
//!
//! Each connection is one task that drives its machine ([`crate::pbx::asterisk::audiosocket`], [`crate::pbx::asterisk::websocket`]); who may come
//! in says the [`Door`] of its listener. Sound goes to the media thread at once or is dropped there and counted. Signals wait in a short queue
//! per call for a hub that is behind, so that silence goes on being sent meanwhile. A peer that does not read what it is sent is dropped.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::info;

use super::{Input, now};
use crate::bridge::media::{MediaHandle, Shift};
use crate::call::line::Lines;
use crate::media::{Codec, OpenStream, Payload, Source};
use crate::pbx::asterisk::audiosocket::Patience;
use crate::pbx::asterisk::door::{Door, Limits};
use crate::pbx::asterisk::timeline::Format;
use crate::pbx::asterisk::{AudioSocketSettings, WebSocketSettings};
use crate::pbx::sip::keying::Path;
use crate::pbx::{PbxId, StreamId, Wanted};
use crate::time::Mono;

mod audiosocket;
mod inside;
mod websocket;

pub(super) use websocket::connect;

/// How long stopping may take.
const STOP: Duration = Duration::from_millis(1_500);
/// Pause of a listener that the system gives nothing to.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// Silence after which the system asks whether the other machine is there, how often, and how many times.
const ALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// Why media connections cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be bound.
    #[error(
        "[{section}] of `{pbx}`: `listen` = {address} cannot be used: {reason}; expected a free port of an address of this machine"
    )]
    Bind {
        /// The section.
        section: &'static str,
        /// Which PBX.
        pbx: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
}

/// What happened at one listener so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that were admitted.
    pub admitted: AtomicU64,
    /// Connections of strangers, of too many, or of names that nobody expects.
    pub refused: AtomicU64,
    /// Connections that were dropped because the peer did not read.
    pub slow: AtomicU64,
    /// Digits that were not told because the hub was far behind.
    pub digits_dropped: AtomicU64,
}

/// A tap that Asterisk was asked to connect for.
pub(super) struct Tap {
    pub(super) stream: StreamId,
    /// What sound is that does not say its rate.
    pub(super) format: Format,
    /// Told when the connection ends by itself, with the reason.
    pub(super) ended: Box<dyn FnOnce(String) + Send>,
}

/// One listener as its connections see it.
pub(super) struct Entrance {
    pbx: PbxId,
    lines: Arc<Lines>,
    media: MediaHandle,
    hub: mpsc::Sender<Input>,
    peers: Vec<IpNet>,
    plain: Format,
    patience: Patience,
    door: Mutex<Door>,
    /// By the name of their connection.
    taps: Mutex<HashMap<String, (Tap, oneshot::Receiver<()>)>>,
    counters: Counters,
    stop: watch::Sender<bool>,
}

impl Entrance {
    /// Asterisk connects under `name` for a tap. Dropping what is given ends the connection, or that it is waited for.
    pub(super) fn expect(self: &Arc<Self>, name: &str, tap: Tap) -> Expected {
        let (stop, stopped) = oneshot::channel();
        self.door().expect(name);
        self.taps().insert(name.into(), (tap, stopped));
        Expected { entrance: Arc::clone(self), name: name.into(), _stop: stop }
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taps(&self) -> MutexGuard<'_, HashMap<String, (Tap, oneshot::Receiver<()>)>> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.peers.iter().any(|net| net.contains(&address))
    }

    fn wanted(&self, called: &str) -> Wanted {
        let line = self.lines.policy(called);
        Wanted { record: line.record, transcribe: line.transcribe }
    }
}

/// The place of one connection; it is free again when this is dropped, whatever happened.
struct Place {
    entrance: Arc<Entrance>,
    /// Once it is admitted.
    name: Option<String>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.entrance.door().leave(self.name.as_deref());
    }
}

/// A tap that is waited for, or carried.
pub(super) struct Expected {
    entrance: Arc<Entrance>,
    name: String,
    _stop: oneshot::Sender<()>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.entrance.door().forget(&self.name);
        self.entrance.taps().remove(&self.name);
    }
}

/// Where an Asterisk's taps can be carried.
#[derive(Clone, Default)]
pub struct Doors {
    pub(super) audiosocket: Option<(u16, Arc<Entrance>)>,
    pub(super) websocket: Option<Arc<Entrance>>,
}

/// Running listeners of one Asterisk.
pub struct MediaConnections {
    /// Where AudioSocket is received.
    pub audiosocket: Option<SocketAddr>,
    /// Where chan_websocket is received.
    pub websocket: Option<SocketAddr>,
    doors: Doors,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl MediaConnections {
    /// Where its taps can be carried.
    pub fn doors(&self) -> Doors {
        self.doors.clone()
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.entrances().map(|entrance| entrance.door().connections()).sum()
    }

    /// Connections that were refused so far.
    pub fn refused(&self) -> u64 {
        self.entrances().map(|entrance| entrance.counters.refused.load(Ordering::Relaxed)).sum()
    }

    /// Connections that were dropped so far because the peer did not read.
    pub fn slow(&self) -> u64 {
        self.entrances().map(|entrance| entrance.counters.slow.load(Ordering::Relaxed)).sum()
    }

    /// Ends every connection, tells Asterisk, and stops listening (within 1.5 s).
    pub async fn stop(self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        self.entrances().for_each(|entrance| _ = entrance.stop.send_replace(true));
        let until = Instant::now() + STOP;
        while self.connections() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn entrances(&self) -> impl Iterator<Item = &Arc<Entrance>> {
        let audiosocket = self.doors.audiosocket.as_ref().map(|(_, entrance)| entrance);
        audiosocket.into_iter().chain(&self.doors.websocket)
    }
}

/// Starts to listen for the media connections of one Asterisk.
///
/// # Errors
/// An address that cannot be bound.
pub async fn spawn(
    pbx: PbxId,
    (audiosocket, websocket): (Option<AudioSocketSettings>, Option<WebSocketSettings>),
    lines: Arc<Lines>,
    media: MediaHandle,
    hub: mpsc::Sender<Input>,
) -> Result<MediaConnections, Error> {
    let entrance = |peers: Vec<IpNet>, plain, patience, limits, line: &str| {
        Arc::new(Entrance {
            pbx: pbx.clone(),
            lines: Arc::clone(&lines),
            media: media.clone(),
            hub: hub.clone(),
            peers,
            plain,
            patience,
            door: Mutex::new(Door::new(limits, line)),
            taps: Mutex::default(),
            counters: Counters::default(),
            stop: watch::Sender::new(false),
        })
    };
    let mut all = MediaConnections { audiosocket: None, websocket: None, doors: Doors::default(), tasks: Vec::new() };
    if let Some(own) = audiosocket {
        let (listener, address) = bound("pbx.audiosocket", &pbx, own.listen)?;
        let plain = Format::of_rate(own.rate).unwrap_or(Format::Slin);
        let patience = patience(own.id_timeout_ms, own.idle_timeout_ms);
        let limits = limits(own.max_connections, own.max_unknown, own.announced_ms);
        let entrance = entrance(own.peers, plain, patience, limits, &own.line);
        info!(pbx = pbx.0, %address, "receiving AudioSocket");
        all.audiosocket = Some(address);
        all.doors.audiosocket = Some((address.port(), Arc::clone(&entrance)));
        all.tasks.push(tokio::spawn(accept(listener, entrance, |place, stream, from| {
            tokio::spawn(audiosocket::serve(place, stream, from));
        })));
    }
    if let Some(own) = websocket {
        let (listener, address) = bound("pbx.websocket", &pbx, own.listen)?;
        let patience = patience(own.id_timeout_ms, own.idle_timeout_ms);
        let limits = limits(own.max_connections, own.max_unknown, own.id_timeout_ms);
        let entrance = entrance(own.peers, Format::Slin, patience, limits, &own.line);
        info!(pbx = pbx.0, %address, "receiving chan_websocket");
        all.websocket = Some(address);
        all.doors.websocket = Some(Arc::clone(&entrance));
        all.tasks.push(tokio::spawn(accept(listener, entrance, |place, stream, from| {
            tokio::spawn(websocket::serve(place, stream, from));
        })));
    }
    Ok(all)
}

fn patience(unknown_ms: u64, idle_ms: u64) -> Patience {
    Patience { unknown: Duration::from_millis(unknown_ms.max(1)), idle: Duration::from_millis(idle_ms.max(1)) }
}

fn limits(connections: u32, unknown: u32, announced_ms: u64) -> Limits {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let announced = Duration::from_millis(announced_ms);
    Limits { connections: size(connections), unknown: size(unknown), announced }
}

fn bound(section: &'static str, pbx: &PbxId, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |reason| Error::Bind { section, pbx: pbx.0.clone(), address, reason };
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    };
    open().map_err(failed)
}

/// Takes connections of the exchange, as many as the door lets in.
async fn accept(listener: TcpListener, entrance: Arc<Entrance>, serve: fn(Place, TcpStream, SocketAddr)) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let admitted = entrance.trusts(from.ip()) && entrance.door().connect().is_ok();
                if admitted {
                    prepare(&stream);
                    serve(Place { entrance: Arc::clone(&entrance), name: None }, stream, from);
                } else {
                    entrance.counters.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            // out of descriptors: the connection waits until there is one
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Small frames go out at once, and a peer that is gone is noticed. What the system does not give is not needed.
fn prepare(stream: &TcpStream) {
    let (idle, interval, times) = ALIVE;
    let alive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(times);
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&alive);
}

/// A stream that a media connection feeds.
pub(super) fn open(media: &MediaHandle, stream: StreamId, wanted: Wanted, first: Format) -> Result<(), String> {
    let payload = |format: Format| {
        let codec = match format {
            Format::Slin => Codec::L16,
            Format::Slin16 => Codec::L16Wide,
            Format::Ulaw => Codec::Pcmu,
            Format::Alaw => Codec::Pcma,
        };
        Payload { number: format.payload_type(), codec }
    };
    let mut payloads = [Format::Slin, Format::Slin16, Format::Ulaw, Format::Alaw].map(payload).to_vec();
    payloads.sort_by_key(|one| one.number != first.payload_type());
    let Wanted { record, transcribe } = wanted;
    let open = OpenStream { stream, payloads, record, transcribe, source: Source::First, path: Path::default() };
    media.open_fed(open, Shift::default()).map_err(|error| error.to_string())
}

/// The instant of a machine's timer.
fn instant(at: Option<Mono>) -> Instant {
    let now = now().mono;
    Instant::now() + at.unwrap_or(now + Duration::from_secs(60)).since(now)
}

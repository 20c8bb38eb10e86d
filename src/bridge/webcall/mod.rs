//! Web calls at the edge: the HTTP listener, the media peers and the timers; drives [`crate::pbx::web::Calls`].
//!
//! One lock holds the state of all calls. What it asks for is carried out in order under it: while the hub is full, whoever brings news of a
//! web call waits. Each call has a task that takes the packets of its peer and feeds them to the media stage; a call that fails ends alone.

mod answers;
mod http;
mod peer;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::media::{MediaHandle, Shift};
use super::{Input, now};
use crate::call::line::Lines;
use crate::media::{Fed, OpenStream, Payload, Source};
use crate::panel::http::server::Server;
use crate::panel::{OpenedCall, WebCall, WebCallRefused};
use crate::pbx::sip::keying::Path;
use crate::pbx::sip::sdp::Format;
use crate::pbx::web::answer::Local;
use crate::pbx::web::{Calls, Negotiation, Output, PeerSettings, SessionId, Settings, Why};
use crate::pbx::{PbxId, StreamId};
use crate::time::Mono;
use peer::{Event, Peer};

/// The timers are looked at so often at least.
const TICK: Duration = Duration::from_secs(1);
/// How often a call says that it hears something.
const HEARD: Duration = Duration::from_secs(1);
/// A port is not used again for so long, so that packets of the call before go nowhere.
const PORT_REST: Duration = Duration::from_secs(2);
/// Ports that are tried for one call.
const TRIES: usize = 64;
/// Wishes for tokens that wait.
pub const WISHES: usize = 64;

/// A wish for a token with the place for its answer.
pub type Wish = (WebCall, oneshot::Sender<Result<OpenedCall, WebCallRefused>>);

/// Why web calls cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error(
        "[webcall] listen = \"{listen}\": {source}; if another program has the port (see `ss -ltnp`), stop it or set another one"
    )]
    Listen {
        /// `[webcall] listen`.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system has no random numbers; says why.
    #[error("web calls got no random numbers from the system: {0}")]
    Random(String),
}

/// The running endpoint.
#[derive(Debug)]
pub struct WebHandle {
    /// Where it listens.
    pub local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl WebHandle {
    /// Takes no new calls from now on; those that run go on.
    pub fn drain(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
    }

    /// Ends all calls and stops listening.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        {
            let mut state = self.shared.state.lock().await;
            state.calls.stop(now());
            self.shared.drain(&mut state).await;
        }
        for task in self.tasks {
            // a panic has been reported by the runtime
            let _ = task.await;
        }
    }

    /// Calls that run now.
    pub async fn running(&self) -> usize {
        self.shared.state.lock().await.calls.running()
    }
}

/// What all tasks share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    peers: HashMap<PbxId, PeerSettings>,
    lines: Arc<Lines>,
    media: MediaHandle,
    hub: mpsc::Sender<Input>,
    /// `http://…` without a path.
    url: String,
    /// New calls are not taken any more.
    closing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls: Calls,
    /// The tasks of running calls, each with what ends it.
    running: HashMap<SessionId, Running>,
    ports: BTreeSet<u16>,
    resting: Vec<(Mono, u16)>,
    next_port: u16,
}

#[derive(Debug)]
struct Running {
    peer: Arc<Peer>,
    port: u16,
    streams: Vec<StreamId>,
    /// The call's task ends when this is dropped.
    _stop: oneshot::Sender<()>,
}

/// Starts taking web calls. `wishes` come from the panel's API.
///
/// # Errors
/// When the address cannot be had.
pub async fn spawn(
    settings: Settings,
    peers: HashMap<PbxId, PeerSettings>,
    lines: Arc<Lines>,
    media: MediaHandle,
    hub: mpsc::Sender<Input>,
    wishes: mpsc::Receiver<Wish>,
) -> Result<WebHandle, Error> {
    let listen = settings.listen;
    let refused = |source| Error::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let local_addr = listener.local_addr().map_err(refused)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Error::Random(error.to_string()))?;
    let url = match settings.public_url.trim_end_matches('/') {
        "" => format!("http://{local_addr}"),
        url => url.to_string(),
    };
    let state = State {
        calls: Calls::new(settings.clone(), seed),
        running: HashMap::new(),
        ports: BTreeSet::new(),
        resting: Vec::new(),
        next_port: settings.first_port,
    };
    let shared = Arc::new(Shared {
        peers,
        lines,
        media,
        hub,
        url,
        closing: AtomicBool::new(false),
        state: Mutex::new(state),
        settings,
    });
    let server = Server {
        name: "web calls",
        max_connections: shared.settings.max_connections,
        header_timeout: Duration::from_millis(shared.settings.header_timeout_ms),
        write_timeout: Duration::from_millis(shared.settings.write_timeout_ms),
        router: http::router(Arc::clone(&shared)),
    };
    let (stop, stopped) = watch::channel(false);
    let tasks = vec![
        tokio::spawn(server.run(listener, stopped.clone())),
        tokio::spawn(timers(Arc::clone(&shared), stopped.clone())),
        tokio::spawn(answers::run(Arc::clone(&shared), wishes, stopped)),
    ];
    tracing::info!(%local_addr, "web calls are taken");
    Ok(WebHandle { local_addr, stop, tasks, shared })
}

async fn timers(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let due = shared.state.lock().await.calls.due();
        let wait = due.map_or(TICK, |due| due.since(now().mono).min(TICK));
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let mut state = shared.state.lock().await;
        state.calls.handle_timeout(now());
        shared.drain(&mut state).await;
    }
}

impl Shared {
    /// Carries out what the calls ask for.
    async fn drain(&self, state: &mut MutexGuard<'_, State>) {
        while let Some(output) = state.calls.poll_output() {
            match output {
                Output::Signal(observed) => {
                    // the hub is gone only when the bridge stops
                    let _ = self.hub.send(Input::Observed(observed)).await;
                }
                Output::Open { session, track, stream, formats, called } => {
                    self.open(state, session, track, stream, &formats, &called);
                }
                Output::Close(stream) => self.media.close(stream),
                Output::Drop(session, why) => self.close(state, session, why),
            }
        }
    }

    fn open(
        &self,
        state: &mut State,
        session: SessionId,
        track: usize,
        stream: StreamId,
        formats: &[Format],
        called: &str,
    ) {
        let line = self.lines.policy(called);
        let request = OpenStream {
            stream,
            payloads: Payload::of(formats),
            record: line.record,
            transcribe: line.transcribe,
            source: Source::First,
            path: Path::default(),
        };
        if let Err(error) = self.media.open_fed(request, Shift::default()) {
            tracing::error!(%error, "a stream of a web call cannot be opened");
        }
        if let Some(running) = state.running.get_mut(&session) {
            debug_assert_eq!(running.streams.len(), track, "tracks are opened in their order");
            running.streams.push(stream);
        }
    }

    fn close(&self, state: &mut State, session: SessionId, why: Why) {
        let Some(running) = state.running.remove(&session) else { return };
        match why {
            Why::HungUp | Why::Stopping => tracing::info!(session = %session.0, "a web call ended: {}", why.text()),
            _ => tracing::warn!(session = %session.0, "a web call was lost: {}", why.text()),
        }
        let dropped = running.peer.dropped();
        if dropped > 0 {
            tracing::warn!(session = %session.0, dropped, "packets of a web call were dropped: its task was behind");
        }
        state.rest(running.port);
        let peer = running.peer;
        tokio::spawn(async move { peer.close().await });
    }

    /// Opens a peer at a free port and answers the offer; `None` when the session ended meanwhile.
    async fn negotiate(self: &Arc<Self>, asked: Negotiation) -> Result<Local, Why> {
        for _ in 0..TRIES {
            let Some(port) = self.state.lock().await.take_port(&self.settings) else { return Err(Why::Setup) };
            let address = SocketAddr::new(self.settings.bind, port);
            // another program may have the port: it is tried before the media stack takes it
            if std::net::UdpSocket::bind(address).is_err() {
                self.state.lock().await.rest(port);
                continue;
            }
            let session = asked.session;
            return match Peer::answer(address, asked).await {
                Ok((peer, local, events)) => {
                    let local = self.advertised(local, port);
                    self.run(session, Arc::new(peer), port, events).await;
                    Ok(local)
                }
                Err(why) => {
                    self.state.lock().await.rest(port);
                    Err(why)
                }
            };
        }
        Err(Why::Setup)
    }

    /// The candidates under the addresses by which softphones reach this machine.
    fn advertised(&self, mut local: Local, port: u16) -> Local {
        if !self.settings.advertise.is_empty() {
            let all = self.settings.advertise.iter().enumerate();
            // RFC 8445 §5.1.2.1: the first address is preferred
            let candidate = |(n, ip): (usize, &std::net::IpAddr)| {
                let priority = (126_u32 << 24) | ((65_535 - u32::try_from(n).unwrap_or(65_535).min(65_535)) << 8) | 255;
                format!("{} 1 udp {priority} {ip} {port} typ host", n + 1)
            };
            local.candidates = all.map(candidate).collect();
        }
        local
    }

    async fn run(self: &Arc<Self>, session: SessionId, peer: Arc<Peer>, port: u16, events: mpsc::Receiver<Event>) {
        let mut state = self.state.lock().await;
        if !state.calls.knows(session) {
            // it took too long, and the session is over
            state.rest(port);
            drop(state);
            return peer.close().await;
        }
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(take(Arc::clone(self), session, events, stopped));
        state.running.insert(session, Running { peer, port, streams: Vec::new(), _stop: stop });
    }

    /// Restarts ICE of a running call.
    async fn restart(&self, session: SessionId, offer: String) -> Result<Local, Why> {
        let running =
            self.state.lock().await.running.get(&session).map(|running| (Arc::clone(&running.peer), running.port));
        let (peer, port) = running.ok_or(Why::Closed)?;
        let local = peer.negotiate(offer).await?;
        Ok(self.advertised(local, port))
    }
}

/// Takes what the peer of one call tells, until it is over.
async fn take(
    shared: Arc<Shared>,
    session: SessionId,
    mut events: mpsc::Receiver<Event>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut streams: Vec<StreamId> = Vec::new();
    let mut told: Option<Mono> = None;
    // a fed stream has one sender, whatever its address
    let from = SocketAddr::from(([0, 0, 0, 0], 0));
    loop {
        let event = tokio::select! {
            _ = &mut stopped => return,
            event = events.recv() => event,
        };
        let now = now();
        let Some(event) = event else { break };
        match event {
            Event::Rtp { track, datagram } => {
                if streams.is_empty() {
                    streams = shared.connected(session).await;
                }
                if told.is_none_or(|told| now.mono.since(told) >= HEARD) {
                    told = Some(now.mono);
                    shared.state.lock().await.calls.heard(now, session);
                }
                if let Some(stream) = streams.get(track).copied() {
                    shared.media.feed(Fed { stream, at: now, from, datagram });
                }
            }
            Event::Connected => streams = shared.connected(session).await,
            Event::Ended(why) => return shared.ended(session, why).await,
        }
    }
    shared.ended(session, Why::Panic).await;
}

impl Shared {
    async fn connected(&self, session: SessionId) -> Vec<StreamId> {
        let mut state = self.state.lock().await;
        state.calls.connected(now(), session);
        self.drain(&mut state).await;
        state.running.get(&session).map(|running| running.streams.clone()).unwrap_or_default()
    }

    async fn ended(&self, session: SessionId, why: Why) {
        let mut state = self.state.lock().await;
        state.calls.ended(now(), session, why);
        self.drain(&mut state).await;
    }
}

impl State {
    /// The next free port of the range.
    fn take_port(&mut self, settings: &Settings) -> Option<u16> {
        let now = now().mono;
        self.resting.retain(|(since, _)| now.since(*since) < PORT_REST);
        let count = usize::from(settings.last_port - settings.first_port) + 1;
        for _ in 0..count {
            let port = self.next_port.clamp(settings.first_port, settings.last_port);
            self.next_port = if port == settings.last_port { settings.first_port } else { port + 1 };
            if !self.ports.contains(&port) && !self.resting.iter().any(|(_, resting)| *resting == port) {
                self.ports.insert(port);
                return Some(port);
            }
        }
        None
    }

    fn rest(&mut self, port: u16) {
        self.ports.remove(&port);
        self.resting.push((now().mono, port));
    }
}

//! The media threads: they own every RTP socket, take packets in batches, and hand on PCM, events and segments.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};

use super::now;
use crate::call::pause::Span;
use crate::media::dtls::Identity;
use crate::media::protection::Dtls;
use crate::media::segment::{self, Writer};
use crate::media::settings::Settings;
use crate::media::source::{Policy, Source};
use crate::media::stream::{Port, Stream, Transmit};
use crate::media::{Frame, Heard, OpenStream, Payload, StreamEvent, StreamEventKind};
use crate::pbx::StreamId;
use crate::pbx::sip::keying::{Fingerprint, Path};
use crate::time::{MediaTime, Mono, Now, Wall};

/// Packets taken from one socket in one call.
const BATCH: usize = 16;
/// Batches taken from one socket before the others get their turn.
const ROUNDS: usize = 8;
/// Longest datagram looked at.
const DATAGRAM: usize = 2_048;
/// PCM is handed on in pieces of this length.
const PIECE_MS: u32 = 100;
/// Commands that wait for a thread; a driver that opens more at once waits.
const COMMANDS: usize = 1_024;
/// Events kept for the listener while it does not keep up; beyond it only beginnings and ends are kept, the rest is counted.
const EVENTS_KEPT: usize = 65_536;
/// The waker's token; sockets count from 1.
const WAKE: Token = Token(0);

/// Why media could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No port of the range could be bound.
    #[error(
        "[media] no free port pair in {first}–{last} on {bind} ({used} in use); widen first_port–last_port or stop what else uses them"
    )]
    NoPort {
        /// Address.
        bind: std::net::IpAddr,
        /// Range.
        first: u16,
        /// Range.
        last: u16,
        /// Streams open now.
        used: usize,
    },
    /// The range is empty or the number of threads is not 1 or 2.
    #[error("[media] {0}")]
    Settings(&'static str),
    /// The system refused.
    #[error("[media] {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate for DTLS could be made.
    #[error("[media] no certificate for DTLS could be made: {0}")]
    Certificate(String),
    /// The media threads are gone.
    #[error("[media] the media threads have stopped; restart the bridge")]
    Stopped,
}

/// Counters of all streams.
#[derive(Debug, Default)]
pub struct Stats {
    /// Packets received, of whatever kind.
    pub packets: AtomicU64,
    /// Frames that the recogniser did not get because it was behind; they are read back from disk.
    pub frames_dropped: AtomicU64,
    /// Gaps, digits and timeouts that were not told because the listener was far behind.
    pub events_dropped: AtomicU64,
    /// Frames that could not be written to disk.
    pub write_errors: AtomicU64,
}

/// Opens and closes streams; cheap to clone.
#[derive(Clone, Debug)]
pub struct MediaHandle {
    settings: Arc<Settings>,
    threads: Arc<Vec<Thread>>,
    ports: Arc<Mutex<Ports>>,
    stats: Arc<Stats>,
    fingerprint: Arc<Fingerprint>,
}

#[derive(Debug)]
struct Thread {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
}

/// Which ports are taken, and which rest.
#[derive(Debug, Default)]
struct Ports {
    next: u16,
    open: HashMap<StreamId, u16>,
    resting: VecDeque<(u16, Mono)>,
}

#[derive(Debug)]
enum Command {
    Open { request: OpenStream, rtp: UdpSocket, rtcp: UdpSocket },
    Payloads(StreamId, Vec<Payload>),
    Path(StreamId, Source, Path),
    Source(StreamId, Source),
    Mute(StreamId, Wall),
    Unmute(StreamId, Wall),
    Close(StreamId),
}

/// Starts the media threads. `heard` takes what they hear.
///
/// # Errors
/// When the settings cannot be met or the system refuses a thread.
pub fn spawn(settings: &Settings, data_dir: &FilePath, heard: SyncSender<Heard>) -> Result<MediaHandle, Error> {
    if !(1..=2).contains(&settings.threads) {
        return Err(Error::Settings("threads: expected 1 or 2"));
    }
    if settings.last_port <= settings.first_port.saturating_add(1) {
        return Err(Error::Settings("first_port and last_port: expected a range of at least two ports"));
    }
    let io = |what| move |source| Error::Io { what, source };
    let stats = Arc::new(Stats::default());
    let settings = Arc::new(settings.clone());
    let identity = Identity::generate().map_err(Error::Certificate)?;
    let fingerprint = Arc::new(identity.fingerprint.clone());
    let (instant, moment) = (std::time::Instant::now(), now());
    let base = instant.checked_sub(Duration::from_nanos(moment.mono.0)).unwrap_or(instant);
    let dtls = Dtls { identity, base };
    let mut threads = Vec::new();
    for number in 0..settings.threads {
        let poll = Poll::new().map_err(io("epoll"))?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(io("eventfd"))?);
        let (commands, inbox) = sync_channel(COMMANDS);
        let worker = Worker {
            poll,
            inbox,
            out: Outlet { heard: heard.clone(), kept: VecDeque::new(), stats: stats.clone() },
            settings: settings.clone(),
            audio: data_dir.join("audio"),
            streams: HashMap::new(),
            tokens: HashMap::new(),
            next_token: 1,
            unread: Vec::new(),
            stats: stats.clone(),
            dtls: dtls.clone(),
        };
        std::thread::Builder::new()
            .name(format!("media-{number}"))
            .spawn(move || worker.run())
            .map_err(io("a thread"))?;
        threads.push(Thread { commands, waker });
    }
    let ports = Ports { next: settings.first_port, ..Ports::default() };
    Ok(MediaHandle { settings, threads: Arc::new(threads), ports: Arc::new(Mutex::new(ports)), stats, fingerprint })
}

impl MediaHandle {
    /// Opens a stream and gives its local RTP port; RTCP is one above.
    ///
    /// # Errors
    /// When no port is free or the media threads have stopped.
    pub fn open(&self, request: OpenStream) -> Result<u16, Error> {
        let stream = request.stream;
        let (rtp, rtcp, port) = self.bind(stream)?;
        if let Err(error) = self.send(stream, Command::Open { request, rtp, rtcp }) {
            self.release(stream);
            return Err(error);
        }
        Ok(port)
    }

    /// Closes a stream; `Closed` follows when everything of it was handed on.
    pub fn close(&self, stream: StreamId) {
        let _ = self.send(stream, Command::Close(stream));
        self.release(stream);
    }

    /// Other payload types after a re-negotiation.
    pub fn set_payloads(&self, stream: StreamId, payloads: Vec<Payload>) {
        let _ = self.send(stream, Command::Payloads(stream, payloads));
    }

    /// The stream comes from elsewhere, or is protected otherwise.
    pub fn set_path(&self, stream: StreamId, path: Path) {
        let source = self.source_of(&path);
        let _ = self.send(stream, Command::Path(stream, source, path));
    }

    /// Who may send from now on.
    pub fn set_source(&self, stream: StreamId, source: Source) {
        let _ = self.send(stream, Command::Source(stream, source));
    }

    /// Who may send what is agreed on so, by the setting `source`.
    pub fn source_of(&self, path: &Path) -> Source {
        match (self.settings.source, path.source) {
            (Policy::Latch, _) => Source::First,
            (Policy::Sdp, Some(told)) => Source::Near(told),
            (Policy::Sdp, None) => Source::Untold,
        }
    }

    /// Digest of the certificate that is shown in DTLS handshakes.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// From `at` on, silence is written instead of what is heard; what is on disk already is replaced by silence too.
    pub fn mute(&self, stream: StreamId, at: Wall) {
        let _ = self.send(stream, Command::Mute(stream, at));
    }

    /// From `at` on, what is heard is written again.
    pub fn unmute(&self, stream: StreamId, at: Wall) {
        let _ = self.send(stream, Command::Unmute(stream, at));
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    fn send(&self, stream: StreamId, command: Command) -> Result<(), Error> {
        let index = (stream.0.as_u128() % self.threads.len().max(1) as u128) as usize;
        let thread = self.threads.get(index).ok_or(Error::Stopped)?;
        thread.commands.send(command).map_err(|_| Error::Stopped)?;
        thread.waker.wake().map_err(|source| Error::Io { what: "waking a media thread", source })
    }

    fn bind(&self, stream: StreamId) -> Result<(UdpSocket, UdpSocket, u16), Error> {
        let settings = &self.settings;
        let mut ports = self.ports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let rest = Duration::from_millis(u64::from(settings.port_rest_ms));
        let now = now().mono;
        while ports.resting.front().is_some_and(|(_, since)| *since + rest <= now) {
            ports.resting.pop_front();
        }
        let pairs = (settings.last_port - settings.first_port).div_ceil(2);
        for _ in 0..=pairs {
            let port = ports.advance(settings);
            if ports.open.values().any(|open| *open == port) || ports.resting.iter().any(|(rests, _)| *rests == port) {
                continue;
            }
            let pair = UdpSocket::bind((settings.bind, port)).and_then(|rtp| {
                let rtcp = UdpSocket::bind((settings.bind, port + 1))?;
                rtp.set_nonblocking(true)?;
                rtcp.set_nonblocking(true)?;
                Ok((rtp, rtcp))
            });
            if let Ok((rtp, rtcp)) = pair {
                ports.open.insert(stream, port);
                return Ok((rtp, rtcp, port));
            }
        }
        let used = ports.open.len();
        Err(Error::NoPort { bind: settings.bind, first: settings.first_port, last: settings.last_port, used })
    }

    fn release(&self, stream: StreamId) {
        let mut ports = self.ports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(port) = ports.open.remove(&stream) {
            ports.resting.push_back((port, now().mono));
        }
    }
}

impl Ports {
    /// The next even port of the range, round and round.
    fn advance(&mut self, settings: &Settings) -> u16 {
        let first = settings.first_port.saturating_add(settings.first_port % 2);
        let port = if self.next < first || self.next >= settings.last_port { first } else { self.next };
        self.next = port.saturating_add(2);
        port
    }
}

/// What a thread hands on. PCM may be dropped for the recogniser when it is behind, an event never.
#[derive(Debug)]
struct Outlet {
    heard: SyncSender<Heard>,
    kept: VecDeque<Heard>,
    stats: Arc<Stats>,
}

impl Outlet {
    fn send(&mut self, item: Heard) {
        self.flush();
        if self.kept.is_empty() {
            match self.heard.try_send(item) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(item)) => self.keep(item),
            }
        } else {
            self.keep(item);
        }
    }

    fn keep(&mut self, item: Heard) {
        if matches!(item, Heard::Pcm(_)) {
            self.stats.frames_dropped.fetch_add(1, Ordering::Relaxed);
        } else if self.kept.len() < EVENTS_KEPT || is_vital(&item) {
            self.kept.push_back(item);
        } else {
            self.stats.events_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&mut self) {
        while let Some(item) = self.kept.pop_front() {
            if let Err(TrySendError::Full(item)) = self.heard.try_send(item) {
                self.kept.push_front(item);
                return;
            }
        }
    }
}

/// The two events of a stream that are kept in any case; their number is bounded by that of the streams.
fn is_vital(item: &Heard) -> bool {
    matches!(item, Heard::Event(event) if matches!(event.kind, StreamEventKind::First { .. } | StreamEventKind::Closed(_)))
}

/// One stream with its sockets and its file.
#[derive(Debug)]
struct Open {
    stream: Stream,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    token: usize,
    record: bool,
    transcribe: bool,
    writer: Option<Writer>,
    /// When nothing is to be written; spans that lie behind are dropped.
    muted: Vec<Span>,
}

#[derive(Debug)]
struct Worker {
    poll: Poll,
    inbox: Receiver<Command>,
    out: Outlet,
    settings: Arc<Settings>,
    audio: PathBuf,
    streams: HashMap<StreamId, Open>,
    /// Token → stream and whether it is the RTP socket.
    tokens: HashMap<usize, (StreamId, bool)>,
    next_token: usize,
    /// Sockets with more to read.
    unread: Vec<StreamId>,
    stats: Arc<Stats>,
    dtls: Dtls,
}

impl Worker {
    fn run(mut self) {
        let mut events = Events::with_capacity(1_024);
        let mut buffers = Buffers::new();
        let interval = Duration::from_millis(u64::from(self.settings.poll_interval_ms.clamp(1, 100)));
        let mut tick = now().mono;
        loop {
            // Waking for each packet costs more than the packet: all sockets are read together, once an interval.
            let wait = if self.streams.is_empty() && self.out.kept.is_empty() { None } else { Some(Duration::ZERO) };
            if wait.is_some() {
                tick = tick + interval;
                let now = now().mono;
                std::thread::sleep(tick.since(now));
                tick = tick.max(now);
            }
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "epoll failed; this media thread stops");
                    return;
                }
            }
            let now = now();
            // first, so that a pause holds for what is read with it
            if !self.take_commands(now) && self.streams.is_empty() {
                return;
            }
            for event in &events {
                if let Some((stream, is_rtp)) = self.tokens.get(&event.token().0).copied() {
                    self.receive(now, stream, is_rtp, &mut buffers);
                }
            }
            for stream in std::mem::take(&mut self.unread) {
                self.receive(now, stream, true, &mut buffers);
            }
            self.handle_timeouts(now);
            self.out.flush();
        }
    }

    fn receive(&mut self, now: Now, stream: StreamId, is_rtp: bool, buffers: &mut Buffers) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        if !is_rtp {
            return receive_rtcp(open, now);
        }
        // Bounded: a flood on one socket must not starve the others; epoll tells each arrival once, so what is left is remembered.
        let mut rounds = 0;
        loop {
            rounds += 1;
            let socket = open.rtp.as_raw_fd();
            // A panic ends one stream with what was heard until then, never the thread (the other calls live on it).
            let took = catch_unwind(AssertUnwindSafe(|| {
                buffers.receive(socket, |from, datagram| open.stream.handle_packet(now, from, datagram))
            }));
            let Ok(took) = took else {
                tracing::error!(stream = %stream.0, "a packet made the media stage panic; the stream ends here");
                self.close(now, stream);
                return;
            };
            self.stats.packets.fetch_add(took as u64, Ordering::Relaxed);
            if took < BATCH {
                break;
            }
            if rounds == ROUNDS {
                self.unread.push(stream);
                break;
            }
        }
        transmit(open);
        hand_on(&mut self.out, &self.audio, &self.settings, open, now, false);
    }

    /// Carries out what drivers ask for; `false` when they are all gone.
    fn take_commands(&mut self, now: Now) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(command) => self.carry_out(now, command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn carry_out(&mut self, now: Now, command: Command) {
        match command {
            Command::Open { request, rtp, rtcp } => self.open(now, request, rtp, rtcp),
            Command::Payloads(stream, payloads) => {
                if let Some(open) = self.streams.get_mut(&stream) {
                    open.stream.set_payloads(payloads);
                }
            }
            Command::Path(stream, source, path) => {
                if let Some(open) = self.streams.get_mut(&stream) {
                    open.stream.set_path(now, source, &path, Some(&self.dtls));
                    transmit(open);
                }
            }
            Command::Source(stream, source) => {
                if let Some(open) = self.streams.get_mut(&stream) {
                    open.stream.set_source(source);
                }
            }
            Command::Mute(stream, at) => {
                if let Some(open) = self.streams.get_mut(&stream) {
                    mute(&self.audio, open, at);
                }
            }
            Command::Unmute(stream, at) => {
                if let Some((_, to @ None)) = self.streams.get_mut(&stream).and_then(|open| open.muted.last_mut()) {
                    *to = Some(at);
                }
            }
            Command::Close(stream) => self.close(now, stream),
        }
    }

    fn open(&mut self, now: Now, request: OpenStream, rtp: UdpSocket, rtcp: UdpSocket) {
        let token = self.next_token;
        self.next_token += 2;
        let registry = self.poll.registry();
        let registered = registry
            .register(&mut SourceFd(&rtp.as_raw_fd()), Token(token), Interest::READABLE)
            .and_then(|()| registry.register(&mut SourceFd(&rtcp.as_raw_fd()), Token(token + 1), Interest::READABLE));
        if let Err(error) = registered {
            tracing::error!(%error, "an RTP socket cannot be watched");
        }
        self.tokens.insert(token, (request.stream, true));
        self.tokens.insert(token + 1, (request.stream, false));
        let mut stream = Stream::new(now, request.stream, request.payloads, &self.settings);
        stream.set_path(now, request.source, &request.path, Some(&self.dtls));
        let open = Open {
            stream,
            rtp,
            rtcp,
            token,
            record: request.record,
            transcribe: request.transcribe,
            writer: None,
            muted: Vec::new(),
        };
        transmit(self.streams.entry(request.stream).or_insert(open));
    }

    fn close(&mut self, now: Now, stream: StreamId) {
        let Some(mut open) = self.streams.remove(&stream) else { return };
        self.tokens.remove(&open.token);
        self.tokens.remove(&(open.token + 1));
        for socket in [&open.rtp, &open.rtcp] {
            let _ = self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
        // What arrived before the close still counts.
        let mut buffers = Buffers::new();
        for _ in 0..ROUNDS {
            let took = buffers.receive(open.rtp.as_raw_fd(), |from, datagram| {
                open.stream.handle_packet(now, from, datagram);
            });
            if took < BATCH {
                break;
            }
        }
        let summary = open.stream.finish();
        hand_on(&mut self.out, &self.audio, &self.settings, &mut open, now, true);
        // Who hears of the end may open the ports again.
        drop(open);
        let kind = StreamEventKind::Closed(summary);
        self.out.send(Heard::Event(StreamEvent { stream, at: now, kind }));
    }

    fn handle_timeouts(&mut self, now: Now) {
        for open in self.streams.values_mut() {
            if open.stream.due().is_some_and(|due| due <= now.mono) {
                open.stream.handle_timeout(now);
                transmit(open);
                hand_on(&mut self.out, &self.audio, &self.settings, open, now, false);
            }
        }
    }
}

/// Takes what lies at the RTCP port; bounded, for what lies there next time comes then.
fn receive_rtcp(open: &mut Open, now: Now) {
    let mut datagram = [0; DATAGRAM];
    while let Ok((length, from)) = open.rtcp.recv_from(&mut datagram) {
        open.stream.handle_rtcp(now, from, datagram.get(..length).unwrap_or_default());
    }
}

/// Sends what a stream has for its peer. What cannot go now is lost, as on any network.
fn transmit(open: &mut Open) {
    while let Some(Transmit { port, to, bytes }) = open.stream.poll_transmit() {
        let socket = if port == Port::Rtp { &open.rtp } else { &open.rtcp };
        let _ = socket.send_to(&bytes, to);
    }
}

/// Writes and sends what a stream has ready: events first, then PCM, so that a gap is known before its silence.
fn hand_on(out: &mut Outlet, audio: &FilePath, settings: &Settings, open: &mut Open, now: Now, all: bool) {
    let stream = open.stream.id();
    for kind in open.stream.take_events() {
        out.send(Heard::Event(StreamEvent { stream, at: now, kind }));
    }
    let least = if all { 1 } else { (open.stream.rate() * PIECE_MS / 1_000) as usize };
    while let Some(frame) = open.stream.take(least) {
        keep_frame(out, audio, settings, open, now, frame);
    }
}

/// Writes one frame when the stream is recorded, and sends it when it may be transcribed.
fn keep_frame(out: &mut Outlet, audio: &FilePath, settings: &Settings, open: &mut Open, now: Now, frame: Frame) {
    let stream = open.stream.id();
    if open.record {
        let origin = open.stream.origin().unwrap_or(now).wall;
        let written = without_muted(&mut open.muted, origin, &frame);
        let writer =
            open.writer.get_or_insert_with(|| Writer::new(audio, stream, origin, frame.rate, settings.segment_ms));
        if let Err(error) = writer.write(&written)
            && out.stats.write_errors.fetch_add(1, Ordering::Relaxed).is_multiple_of(100)
        {
            tracing::error!(%error, "sound could not be written; the call goes on");
        }
    }
    if open.transcribe {
        out.send(Heard::Pcm(frame));
    }
}

/// Begins a pause of recording; what was written since then becomes silence.
fn mute(audio: &FilePath, open: &mut Open, at: Wall) {
    if open.muted.last().is_some_and(|(_, to)| to.is_none()) {
        return;
    }
    open.muted.push((at, None));
    let (Some(origin), Some(writer)) = (open.stream.origin(), &mut open.writer) else { return };
    let from = sample_at(origin.wall, open.stream.rate(), at);
    if from < open.stream.taken() {
        writer.end_file();
        if let Err(error) = segment::silence(audio, open.stream.id(), from, u64::MAX) {
            tracing::error!(%error, "sound of a pause is on disk and could not be replaced by silence");
        }
    }
}

/// The frame as it may be written: silence where recording is paused.
fn without_muted<'a>(muted: &mut Vec<Span>, origin: Wall, frame: &'a Frame) -> Cow<'a, Frame> {
    if muted.is_empty() {
        return Cow::Borrowed(frame);
    }
    let mut frame = Cow::Borrowed(frame);
    let position = frame.position;
    muted.retain(|(_, to)| to.is_none_or(|to| sample_at(origin, frame.rate, to) > position));
    for (from, to) in muted.iter() {
        let length = frame.samples.len();
        let part = |at: Wall| (sample_at(origin, frame.rate, at).saturating_sub(position) as usize).min(length);
        let (from, to) = (part(*from), to.map_or(length, part));
        if from < to
            && let Some(part) = frame.to_mut().samples.get_mut(from..to)
        {
            part.fill(0);
        }
    }
    frame
}

/// The sample that is heard at `at`, of a stream that began at `origin`.
fn sample_at(origin: Wall, rate: u32, at: Wall) -> u64 {
    MediaTime(u64::try_from(at.since(origin).as_micros()).unwrap_or(u64::MAX)).to_sample(rate)
}

/// Room for one batch of datagrams.
struct Buffers {
    space: Vec<Vec<u8>>,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Buffers {
    fn new() -> Self {
        Self { space: vec![vec![0; DATAGRAM]; BATCH], headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Takes up to [`BATCH`] datagrams without waiting; gives their number.
    fn receive(&mut self, socket: RawFd, mut take: impl FnMut(SocketAddr, &[u8])) -> usize {
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

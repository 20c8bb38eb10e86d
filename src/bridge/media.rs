//! The media threads: they own every RTP socket, take packets in batches, and hand on PCM, events and segments.
//!
//! Here is what drivers ask of them. A `worker` is one thread; it reads by `batch`, writes by `record` and tells by `outlet`. Streams get their
//! `ports` from the driver's side.

mod batch;
mod erase;
mod outlet;
mod ports;
mod record;
mod worker;

use std::net::UdpSocket;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::{Poll, Token, Waker};

use super::now;
use crate::media::dtls::Identity;
use crate::media::protection::Dtls;
use crate::media::settings::Settings;
use crate::media::source::{Policy, Source};
use crate::media::{Fed, Heard, OpenStream, Payload};
use crate::pbx::StreamId;
use crate::pbx::sip::keying::{Fingerprint, Path};
use crate::time::{MediaTime, Now, Wall};
use outlet::Outlet;
use ports::Ports;
use worker::Worker;

/// Commands and fed datagrams that wait for a thread: 1.6 s of 100 calls. A driver that asks for more at once waits; a datagram is dropped.
const COMMANDS: usize = 16_384;
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
    /// Fed datagrams that were dropped because the media thread was far behind.
    pub feeds_dropped: AtomicU64,
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

#[derive(Debug)]
enum Command {
    /// With the sockets of RTP and RTCP; without them a driver feeds it.
    Open(Box<OpenStream>, Option<(UdpSocket, UdpSocket)>, Shift),
    Fed(Fed),
    Payloads(StreamId, Vec<Payload>),
    Path(StreamId, Source, Box<Path>),
    Source(StreamId, Source),
    Mute(StreamId, Wall),
    Unmute(StreamId, Wall),
    /// Replace what was written of a stream, open or not, by silence.
    Silence(erase::Erase),
    Close(StreamId),
}

/// How far the wall clock of what a driver feeds is ahead of ours, in microseconds; a capture that is played again has the time of the calls
/// that were captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift(pub i64);

impl Shift {
    /// A moment of ours on that clock.
    pub fn apply(self, now: Now) -> Now {
        Now { mono: now.mono, wall: Wall(now.wall.0.saturating_add(self.0)) }
    }
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
    let eraser = erase::spawn(data_dir.join("audio"), heard.clone()).map_err(io("a thread"))?;
    let mut threads = Vec::new();
    for number in 0..settings.threads {
        let poll = Poll::new().map_err(io("epoll"))?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(io("eventfd"))?);
        let (commands, inbox) = sync_channel(COMMANDS);
        let out = Outlet::new(heard.clone(), stats.clone());
        let worker =
            Worker::new(poll, inbox, out, settings.clone(), data_dir.join("audio"), dtls.clone(), eraser.clone());
        std::thread::Builder::new()
            .name(format!("media-{number}"))
            .spawn(move || worker.run())
            .map_err(io("a thread"))?;
        threads.push(Thread { commands, waker });
    }
    let ports = Ports::new(settings.first_port);
    Ok(MediaHandle { settings, threads: Arc::new(threads), ports: Arc::new(Mutex::new(ports)), stats, fingerprint })
}

impl MediaHandle {
    /// Opens a stream and gives its local RTP port; RTCP is one above.
    ///
    /// # Errors
    /// When no port is free or the media threads have stopped.
    pub fn open(&self, request: OpenStream) -> Result<u16, Error> {
        let stream = request.stream;
        let (rtp, rtcp, port) = self.ports().bind(now().mono, stream, &self.settings)?;
        let command = Command::Open(Box::new(request), Some((rtp, rtcp)), Shift::default());
        if let Err(error) = self.send(stream, command) {
            self.ports().release(now().mono, stream);
            return Err(error);
        }
        Ok(port)
    }

    /// Opens a stream without a port: its driver receives the packets and hands them on by [`MediaHandle::feed`]. Nothing is sent to a
    /// peer. `shift` is added to the wall clock of all that is told of it.
    ///
    /// # Errors
    /// When the media threads have stopped.
    pub fn open_fed(&self, request: OpenStream, shift: Shift) -> Result<(), Error> {
        self.send(request.stream, Command::Open(Box::new(request), None, shift))
    }

    /// A datagram of a stream that was opened by [`MediaHandle::open_fed`]. Never waits: when the media thread is far behind, the datagram is
    /// dropped and counted, and `false` is returned.
    pub fn feed(&self, fed: Fed) -> bool {
        let Ok(thread) = self.thread(fed.stream) else { return false };
        // A thread with streams looks by itself, once an interval.
        let taken = thread.commands.try_send(Command::Fed(fed)).is_ok();
        if !taken {
            self.stats.feeds_dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Closes a stream; `Closed` follows when everything of it was handed on.
    pub fn close(&self, stream: StreamId) {
        let _ = self.send(stream, Command::Close(stream));
        self.ports().release(now().mono, stream);
    }

    /// Other payload types after a re-negotiation.
    pub fn set_payloads(&self, stream: StreamId, payloads: Vec<Payload>) {
        let _ = self.send(stream, Command::Payloads(stream, payloads));
    }

    /// The stream comes from elsewhere, or is protected otherwise.
    pub fn set_path(&self, stream: StreamId, path: Path) {
        let source = self.source_of(&path);
        let _ = self.send(stream, Command::Path(stream, source, Box::new(path)));
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

    /// Replaces the sound on disk of `from`..`to` by silence; [`crate::media::StreamEventKind::Silenced`] tells when that is done, or that it
    /// could not be. The stream may be open or not.
    pub fn silence(&self, stream: StreamId, from: MediaTime, to: MediaTime) {
        let _ = self.send(stream, Command::Silence(erase::Erase { stream, from, to }));
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    fn send(&self, stream: StreamId, command: Command) -> Result<(), Error> {
        let thread = self.thread(stream)?;
        thread.commands.send(command).map_err(|_| Error::Stopped)?;
        thread.waker.wake().map_err(|source| Error::Io { what: "waking a media thread", source })
    }

    fn thread(&self, stream: StreamId) -> Result<&Thread, Error> {
        let index = (stream.0.as_u128() % self.threads.len().max(1) as u128) as usize;
        self.threads.get(index).ok_or(Error::Stopped)
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

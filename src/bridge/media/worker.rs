//! One media thread: it reads its sockets, carries out what drivers ask for, and lets time pass in its streams.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::batch::{BATCH, Buffers, DATAGRAM};
use super::erase::Erase;
use super::outlet::Outlet;
use super::record::{hand_on, mute};
use super::{Command, Shift, now};
use crate::call::pause::Span;
use crate::media::protection::Dtls;
use crate::media::segment::Writer;
use crate::media::settings::Settings;
use crate::media::stream::{Port, Stream, Transmit};
use crate::media::{Fed, Heard, OpenStream, StreamEvent, StreamEventKind};
use crate::pbx::StreamId;
use crate::time::Now;

/// Batches taken from one socket before the others get their turn.
const ROUNDS: usize = 8;

/// One stream with its sockets and its file.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) stream: Stream,
    /// `None`: a driver feeds it.
    sockets: Option<Sockets>,
    shift: Shift,
    pub(super) record: bool,
    pub(super) transcribe: bool,
    pub(super) writer: Option<Writer>,
    /// When nothing is to be written; spans that lie behind are dropped.
    pub(super) muted: Vec<Span>,
}

/// Where the packets of a stream come from and its reports go.
#[derive(Debug)]
struct Sockets {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    token: usize,
}

/// One thread with its streams.
#[derive(Debug)]
pub(super) struct Worker {
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
    dtls: Dtls,
    eraser: Sender<Erase>,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        inbox: Receiver<Command>,
        out: Outlet,
        settings: Arc<Settings>,
        audio: PathBuf,
        dtls: Dtls,
        eraser: Sender<Erase>,
    ) -> Self {
        Self {
            poll,
            inbox,
            out,
            settings,
            audio,
            streams: HashMap::new(),
            tokens: HashMap::new(),
            next_token: 1,
            unread: Vec::new(),
            dtls,
            eraser,
        }
    }

    /// Until nobody can ask for anything any more.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1_024);
        let mut buffers = Buffers::new();
        let interval = Duration::from_millis(u64::from(self.settings.poll_interval_ms.clamp(1, 100)));
        let mut tick = now().mono;
        loop {
            // Waking for each packet costs more than the packet: all sockets are read together, once an interval.
            let wait = if self.streams.is_empty() && self.out.is_empty() { None } else { Some(Duration::ZERO) };
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
            if !self.take_commands(now, &mut buffers) && self.streams.is_empty() {
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
        let Some(socket) = open.sockets.as_ref().map(|sockets| sockets.rtp.as_raw_fd()) else { return };
        // Bounded: a flood on one socket must not starve the others; epoll tells each arrival once, so what is left is remembered.
        let mut rounds = 0;
        loop {
            rounds += 1;
            // A panic ends one stream with what was heard until then, never the thread (the other calls live on it).
            let took = catch_unwind(AssertUnwindSafe(|| {
                buffers.receive(socket, |from, datagram| open.stream.handle_packet(now, from, datagram))
            }));
            let Ok(took) = took else {
                tracing::error!(stream = %stream.0, "a packet made the media stage panic; the stream ends here");
                self.close(now, stream, buffers);
                return;
            };
            self.out.stats.packets.fetch_add(took as u64, Ordering::Relaxed);
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
    fn take_commands(&mut self, now: Now, buffers: &mut Buffers) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(command) => self.carry_out(now, command, buffers),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn carry_out(&mut self, now: Now, command: Command, buffers: &mut Buffers) {
        match command {
            Command::Open(request, sockets, shift) => self.open(now, *request, sockets, shift),
            Command::Fed(fed) => self.take_fed(now, &fed, buffers),
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
            Command::Silence(erase) => {
                // the eraser replaces whole files: what comes now goes into the next one
                if let Some(writer) = self.streams.get_mut(&erase.stream).and_then(|open| open.writer.as_mut()) {
                    writer.end_file();
                }
                let _ = self.eraser.send(erase);
            }
            Command::Close(stream) => self.close(now, stream, buffers),
        }
    }

    fn take_fed(&mut self, now: Now, fed: &Fed, buffers: &mut Buffers) {
        let Some(open) = self.streams.get_mut(&fed.stream) else { return };
        let at = open.shift.apply(fed.at);
        let took = catch_unwind(AssertUnwindSafe(|| open.stream.handle_packet(at, fed.from, &fed.datagram)));
        if took.is_err() {
            tracing::error!(stream = %fed.stream.0, "a packet made the media stage panic; the stream ends here");
            return self.close(now, fed.stream, buffers);
        }
        self.out.stats.packets.fetch_add(1, Ordering::Relaxed);
        transmit(open);
        hand_on(&mut self.out, &self.audio, &self.settings, open, open.shift.apply(now), false);
    }

    fn open(&mut self, now: Now, request: OpenStream, sockets: Option<(UdpSocket, UdpSocket)>, shift: Shift) {
        let now = shift.apply(now);
        let sockets = sockets.map(|(rtp, rtcp)| self.watch(request.stream, rtp, rtcp));
        let mut stream = Stream::new(now, request.stream, request.payloads, &self.settings);
        stream.set_path(now, request.source, &request.path, Some(&self.dtls));
        let OpenStream { record, transcribe, .. } = request;
        let open = Open { stream, sockets, shift, record, transcribe, writer: None, muted: Vec::new() };
        transmit(self.streams.entry(request.stream).or_insert(open));
    }

    fn watch(&mut self, stream: StreamId, rtp: UdpSocket, rtcp: UdpSocket) -> Sockets {
        let token = self.next_token;
        self.next_token += 2;
        let registry = self.poll.registry();
        let registered = registry
            .register(&mut SourceFd(&rtp.as_raw_fd()), Token(token), Interest::READABLE)
            .and_then(|()| registry.register(&mut SourceFd(&rtcp.as_raw_fd()), Token(token + 1), Interest::READABLE));
        if let Err(error) = registered {
            tracing::error!(%error, "an RTP socket cannot be watched");
        }
        self.tokens.insert(token, (stream, true));
        self.tokens.insert(token + 1, (stream, false));
        Sockets { rtp, rtcp, token }
    }

    fn close(&mut self, now: Now, stream: StreamId, buffers: &mut Buffers) {
        let Some(mut open) = self.streams.remove(&stream) else { return };
        let now = open.shift.apply(now);
        if let Some(sockets) = &open.sockets {
            self.tokens.remove(&sockets.token);
            self.tokens.remove(&(sockets.token + 1));
            for socket in [&sockets.rtp, &sockets.rtcp] {
                let _ = self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
            }
            // What arrived before the close still counts.
            for _ in 0..ROUNDS {
                let took = buffers.receive(sockets.rtp.as_raw_fd(), |from, datagram| {
                    open.stream.handle_packet(now, from, datagram);
                });
                if took < BATCH {
                    break;
                }
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
                let now = open.shift.apply(now);
                open.stream.handle_timeout(now);
                transmit(open);
                hand_on(&mut self.out, &self.audio, &self.settings, open, now, false);
            }
        }
    }
}

/// Takes what lies at the RTCP port; bounded, for what lies there next time comes then.
fn receive_rtcp(open: &mut Open, now: Now) {
    let Some(sockets) = &open.sockets else { return };
    let mut datagram = [0; DATAGRAM];
    while let Ok((length, from)) = sockets.rtcp.recv_from(&mut datagram) {
        open.stream.handle_rtcp(now, from, datagram.get(..length).unwrap_or_default());
    }
}

/// Sends what a stream has for its peer. What cannot go now is lost, as on any network.
fn transmit(open: &mut Open) {
    while let Some(Transmit { port, to, bytes }) = open.stream.poll_transmit() {
        let Some(sockets) = &open.sockets else { continue };
        let socket = if port == Port::Rtp { &sockets.rtp } else { &sockets.rtcp };
        let _ = socket.send_to(&bytes, to);
    }
}

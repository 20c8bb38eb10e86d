//! TCP connections: one reader and one writer task each, capped in number, in time for a message, and in what waits to be written.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::Event;
use crate::pbx::sip::wire::{Item, Limits, StreamReader};
use crate::pbx::sip::{Flow, Settings, Transport};

/// Messages that wait to be written; a peer with more is stuck and its connection is closed.
const WRITES_MAX: usize = 64;
/// Time for one write, and for connecting.
const WRITE: Duration = Duration::from_secs(5);
/// Connection numbers begin above those of UDP sockets, so that a flow is never mistaken.
const FIRST: u64 = 1 << 16;

/// Time limits of reading.
#[derive(Clone, Copy, Debug)]
struct Patience {
    idle: Duration,
    frame: Duration,
    limits: Limits,
}

#[derive(Debug)]
struct Connection {
    peer: SocketAddr,
    writes: mpsc::Sender<Vec<u8>>,
    task: AbortHandle,
}

/// All connections, in both directions.
#[derive(Debug)]
pub(super) struct Connections {
    all: HashMap<u64, Connection>,
    next: u64,
    most: usize,
    most_per_peer: usize,
    patience: Patience,
    /// The port that we listen on, for what is said on connections that we opened.
    port: Option<u16>,
    events: mpsc::Sender<Event>,
    /// Closed at once, because there were too many.
    pub(super) refused: u64,
    /// Closed because nothing could be written.
    pub(super) stuck: u64,
}

impl Connections {
    pub(super) fn new(settings: &Settings, limits: Limits, port: Option<u16>, events: mpsc::Sender<Event>) -> Self {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let patience = Patience {
            idle: Duration::from_secs(u64::from(settings.idle_s.max(1))),
            frame: Duration::from_millis(u64::from(settings.frame_ms.max(1))),
            limits,
        };
        Self {
            all: HashMap::new(),
            next: FIRST,
            most: size(settings.max_connections),
            most_per_peer: size(settings.max_connections_per_peer),
            patience,
            port,
            events,
            refused: 0,
            stuck: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_open(&self, channel: u64) -> bool {
        self.all.contains_key(&channel)
    }

    /// Takes a connection, or closes it when there are too many.
    pub(super) fn accept(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        if !self.has_room(peer) {
            self.refused += 1;
            return;
        }
        let flow = Flow { transport: Transport::Tcp, local, peer, channel: self.next };
        let (writes, queue) = mpsc::channel(WRITES_MAX);
        let task = tokio::spawn(converse(stream, flow, self.patience, queue, self.events.clone()));
        self.add(peer, writes, task.abort_handle());
    }

    /// Queues bytes on the flow's connection; when that is gone and `may_connect`, on another one to `flow.peer`.
    pub(super) fn send(&mut self, flow: Flow, bytes: Vec<u8>, may_connect: bool) {
        let own = self.all.contains_key(&flow.channel).then_some(flow.channel);
        let other = || self.all.iter().find(|(_, other)| other.peer == flow.peer).map(|(channel, _)| *channel);
        let channel = match own.or_else(other) {
            Some(channel) => channel,
            None if may_connect && self.has_room(flow.peer) => self.connect(flow),
            None => return,
        };
        let full = self.all.get(&channel).is_some_and(|connection| connection.writes.try_send(bytes).is_err());
        if full && let Some(connection) = self.all.remove(&channel) {
            self.stuck += 1;
            connection.task.abort();
        }
    }

    /// What is queued is still written, then the connection closes.
    pub(super) fn finish(&mut self, channel: u64) {
        self.all.remove(&channel);
    }

    fn connect(&mut self, wanted: Flow) -> u64 {
        let channel = self.next;
        let (writes, queue) = mpsc::channel(WRITES_MAX);
        let (patience, events, port, peer) = (self.patience, self.events.clone(), self.port, wanted.peer);
        let task = tokio::spawn(async move {
            let Ok(Ok(stream)) = timeout(WRITE, TcpStream::connect(peer)).await else {
                let _ = events.send(Event::Ended(channel)).await;
                return;
            };
            let mut local = stream.local_addr().unwrap_or(wanted.local);
            local.set_port(port.unwrap_or(local.port()));
            let flow = Flow { transport: Transport::Tcp, local, peer, channel };
            converse(stream, flow, patience, queue, events).await;
        });
        self.add(peer, writes, task.abort_handle());
        channel
    }

    fn has_room(&self, peer: SocketAddr) -> bool {
        let own = self.all.values().filter(|other| other.peer.ip() == peer.ip()).count();
        self.all.len() < self.most && own < self.most_per_peer
    }

    fn add(&mut self, peer: SocketAddr, writes: mpsc::Sender<Vec<u8>>, task: AbortHandle) {
        self.all.insert(self.next, Connection { peer, writes, task });
        self.next += 1;
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // Their queues close now: each writes what waits and ends.
        self.all.clear();
    }
}

/// One connection until either side ends it.
async fn converse(
    stream: TcpStream,
    flow: Flow,
    patience: Patience,
    queue: mpsc::Receiver<Vec<u8>>,
    events: mpsc::Sender<Event>,
) {
    let _ = stream.set_nodelay(true);
    let (reading, writing) = stream.into_split();
    let ended = events.clone();
    let mut writer = Box::pin(write(writing, queue));
    tokio::select! {
        () = &mut writer => {
            let _ = ended.send(Event::Ended(flow.channel)).await;
        }
        () = read(reading, flow, patience, events) => {
            let _ = ended.send(Event::Ended(flow.channel)).await;
            // What was answered is still written: the peer may have closed its sending side only.
            writer.await;
        }
    }
}

/// Reads until the end, or until what cannot be cut into messages.
async fn read(mut half: OwnedReadHalf, flow: Flow, patience: Patience, events: mpsc::Sender<Event>) {
    let mut reader = StreamReader::new(patience.limits);
    let mut space = vec![0; 16_384];
    let mut until = Instant::now() + patience.idle;
    let mut partial = false;
    loop {
        let Ok(Ok(length)) = timeout_at(until, half.read(&mut space)).await else { return };
        let Some(bytes) = space.get(..length).filter(|bytes| !bytes.is_empty()) else { return };
        reader.push(bytes);
        let mut whole = false;
        while let Some(item) = reader.next_item() {
            whole |= !matches!(item, Item::Ping);
            let last = reader.is_broken();
            if events.send(Event::Item { flow, item, last }).await.is_err() || last {
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

async fn write(mut half: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = queue.recv().await {
        if !matches!(timeout(WRITE, half.write_all(&bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(WRITE, half.shutdown()).await;
}

//! Reading an interface: one thread reads and leaves out what cannot concern us, the other works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::carry::Carrier;
use super::interface::{FRAME_MAX, Interface};
use super::{Error, thread};
use crate::bridge::now;
use crate::pbx::PbxId;
use crate::pbx::mirror::{Link, Mirror, Settings, Sieve};
use crate::time::Now;

/// How often it is looked whether to stop, and whether frames were lost.
const LOOK: Duration = Duration::from_millis(100);
/// How often lost frames are told.
const TELL: Duration = Duration::from_secs(60);
/// How often the counters are told.
const COUNT: Duration = Duration::from_secs(600);

/// A frame on its way.
struct Frame {
    link: Link,
    at: Now,
    bytes: Vec<u8>,
}

pub(super) fn spawn(
    pbx: PbxId,
    settings: &Settings,
    mirror: Mirror,
    carrier: Carrier,
    stopped: Receiver<()>,
    lost: Arc<AtomicU64>,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let name = settings.interface.clone();
    let wrong = |wrong| Error::Interface { pbx: pbx.0.clone(), name: name.clone(), wrong };
    let interface = Interface::open(&name).map_err(wrong)?;
    let (frames, inbox) = sync_channel(settings.queue_frames as usize);
    let over = Arc::new(AtomicBool::new(false));
    let reader =
        Reader { interface, sieve: Sieve::new(settings), frames, over: Arc::clone(&over), lost: Arc::clone(&lost) };
    tracing::info!(pbx = pbx.0, interface = name, "the interface is listened to");
    let worker = Worker { pbx, mirror, carrier, inbox, stopped, over, lost };
    Ok(vec![thread("mirror-read", move || reader.run())?, thread("mirror", move || worker.run())?])
}

struct Reader {
    interface: Interface,
    sieve: Sieve,
    frames: SyncSender<Frame>,
    over: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
}

impl Reader {
    fn run(mut self) {
        let mut space = vec![0; FRAME_MAX];
        let mut told = 0;
        while !self.over.load(Ordering::Relaxed) {
            let read = match self.interface.read(&mut space) {
                Ok(Some(read)) => read,
                Ok(None) => continue,
                // an interface that is down comes up again
                Err(nix::errno::Errno::ENETDOWN) => continue,
                Err(error) => {
                    tracing::error!(%error, "the interface gives no packets any more; the mirror ends");
                    return;
                }
            };
            if let Some(all) = read.lost {
                self.lost.fetch_add(u64::from(all.wrapping_sub(told)), Ordering::Relaxed);
                told = all;
            }
            let bytes = space.get(..read.length).unwrap_or_default();
            if !self.sieve.lets_through(read.link, bytes) {
                continue;
            }
            let ours = now();
            let at = Now { mono: ours.mono, wall: read.at.unwrap_or(ours.wall) };
            match self.frames.try_send(Frame { link: read.link, at, bytes: bytes.to_vec() }) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => _ = self.lost.fetch_add(1, Ordering::Relaxed),
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

struct Worker {
    pbx: PbxId,
    mirror: Mirror,
    carrier: Carrier,
    inbox: Receiver<Frame>,
    stopped: Receiver<()>,
    over: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
}

impl Worker {
    fn run(mut self) {
        let mut looked = now().mono;
        let (mut told, mut counted) = ((looked, 0), looked);
        loop {
            match self.inbox.recv_timeout(LOOK) {
                Ok(frame) => {
                    self.mirror.handle_frame(frame.link, &frame.bytes, frame.at);
                    self.carrier.carry_out(&mut self.mirror, frame.at);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let at = now();
            if self.mirror.due().is_some_and(|due| due <= at.mono) {
                self.mirror.handle_timeout(at);
                self.carrier.carry_out(&mut self.mirror, at);
            }
            if at.mono.since(looked) < LOOK {
                continue;
            }
            looked = at.mono;
            if !matches!(self.stopped.try_recv(), Err(TryRecvError::Empty)) {
                break;
            }
            if at.mono.since(counted) >= COUNT {
                counted = at.mono;
                tracing::info!(pbx = self.pbx.0, counters = ?self.mirror.counters(), "so far");
            }
            let lost = self.lost.load(Ordering::Relaxed);
            if lost > told.1 && at.mono.since(told.0) >= TELL {
                tracing::warn!(
                    pbx = self.pbx.0,
                    frames = lost - told.1,
                    "frames of the mirror were lost: nobody was fast enough"
                );
                told = (at.mono, lost);
            }
        }
        self.over.store(true, Ordering::Relaxed);
        let at = now();
        self.mirror.handle_end(at);
        self.carrier.carry_out(&mut self.mirror, at);
        let (counters, lost) = (self.mirror.counters(), self.lost.load(Ordering::Relaxed));
        tracing::info!(pbx = self.pbx.0, ?counters, lost, "the mirror ended");
    }
}

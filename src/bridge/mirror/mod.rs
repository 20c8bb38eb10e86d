//! The mirror of one exchange at the edge: a thread that plays a capture file in its own time, or two that read an interface; drives
//! [`crate::pbx::mirror::Mirror`].
//!
//! A file waits for whoever is slow. From an interface nobody can be asked to wait: one thread does nothing but read, and what the other has no
//! room for is lost and counted.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use self::carry::Carrier;
use self::file::Capture;
use super::media::MediaHandle;
use super::{Input, now};
use crate::call::line::Lines;
use crate::pbx::mirror::{Mirror, Settings};
use crate::pbx::{PbxId, Wanted};
use crate::time::{Mono, Now, Wall};

mod carry;
pub mod file;
pub mod interface;
mod live;

/// Longest sleep between two frames of a file.
const NAP: Duration = Duration::from_millis(50);
/// After the last frame, time passes for what waits for the other end of a call.
const AFTER: Duration = Duration::from_secs(1);

/// Why a mirror cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot be used.
    #[error("[pbx.mirror] of `{pbx}`: {key}: {problem}")]
    Setting {
        /// Which PBX.
        pbx: String,
        /// The key.
        key: &'static str,
        /// What is wrong and expected.
        problem: String,
    },
    /// The file cannot be opened.
    #[error("[pbx.mirror] of `{pbx}`: file = \"{}\": {source}; expected a capture that this user may read", path.display())]
    File {
        /// Which PBX.
        pbx: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no capture.
    #[error("[pbx.mirror] of `{pbx}`: file = \"{}\": {wrong}", path.display())]
    Capture {
        /// Which PBX.
        pbx: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        wrong: file::Wrong,
    },
    /// The interface cannot be listened to.
    #[error("[pbx.mirror] of `{pbx}`: interface = \"{name}\": {wrong}")]
    Interface {
        /// Which PBX.
        pbx: String,
        /// The interface.
        name: String,
        /// What is wrong.
        wrong: interface::Wrong,
    },
    /// The system gives no thread.
    #[error("[pbx.mirror]: the system gives no thread: {0}")]
    Thread(std::io::Error),
}

/// A running mirror.
#[derive(Debug)]
pub struct MirrorHandle {
    stop: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    lost: Arc<AtomicU64>,
}

impl MirrorHandle {
    /// Ends every call as lost from sight, and the threads.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        let threads = std::mem::take(&mut self.threads);
        let _ = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| _ = thread.join())).await;
    }

    /// Frames that were lost because nobody was fast enough.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Whether the file or the interface can be read at all, without reading on.
///
/// # Errors
/// What is wrong, and what is expected.
pub fn check(pbx: &PbxId, settings: &Settings) -> Result<(), Error> {
    setting(pbx, settings)?;
    if settings.interface.is_empty() { open(pbx, settings).map(drop) } else { Ok(()) }
}

fn setting(pbx: &PbxId, settings: &Settings) -> Result<(), Error> {
    settings.check().map_err(|(key, problem)| Error::Setting { pbx: pbx.0.clone(), key, problem })
}

fn open(pbx: &PbxId, settings: &Settings) -> Result<Capture<'static>, Error> {
    let path = &settings.file;
    let file = File::open(path).map_err(|source| Error::File { pbx: pbx.0.clone(), path: path.clone(), source })?;
    Capture::new(file).map_err(|wrong| Error::Capture { pbx: pbx.0.clone(), path: path.clone(), wrong })
}

/// Starts reading.
///
/// # Errors
/// When the file or the interface cannot be read.
pub fn spawn(
    pbx: PbxId,
    settings: Settings,
    lines: Arc<Lines>,
    media: MediaHandle,
    hub: mpsc::Sender<Input>,
) -> Result<MirrorHandle, Error> {
    setting(&pbx, &settings)?;
    let policy = Box::new(move |called: &str| {
        let line = lines.policy(called);
        Wanted { record: line.record, transcribe: line.transcribe }
    });
    let mirror = Mirror::new(pbx.clone(), settings.clone(), policy);
    let carrier = Carrier::new(pbx.clone(), media, hub);
    let (stop, stopped) = channel();
    let lost = Arc::new(AtomicU64::new(0));
    let threads = if settings.interface.is_empty() {
        let capture = open(&pbx, &settings)?;
        let player = Player { mirror, carrier, stopped, speed: settings.speed, pbx };
        vec![thread("mirror-file", move || player.run(capture))?]
    } else {
        live::spawn(pbx, &settings, mirror, carrier, stopped, Arc::clone(&lost))?
    };
    Ok(MirrorHandle { stop: Some(stop), threads, lost })
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(Error::Thread)
}

/// Plays a file.
struct Player {
    mirror: Mirror,
    carrier: Carrier,
    stopped: Receiver<()>,
    speed: f64,
    pbx: PbxId,
}

/// The time of a capture beside ours.
#[derive(Clone, Copy)]
struct Beat {
    /// Ours at the first frame, which is also where the time of the capture begins.
    base: Mono,
    first: Wall,
    speed: f64,
}

impl Beat {
    /// Both clocks of the capture, a while after its first frame.
    fn at(self, after: Duration) -> Now {
        Now { mono: self.base + after, wall: self.first + after }
    }

    /// When that is, by our clock.
    fn ours(self, at: Mono) -> Mono {
        self.base + at.since(self.base).div_f64(self.speed)
    }
}

impl Player {
    fn run(mut self, mut capture: Capture<'_>) {
        tracing::info!(pbx = self.pbx.0, "the capture is played");
        let mut beat: Option<Beat> = None;
        let mut after = Duration::ZERO;
        let mut other = 0_u64;
        loop {
            let frame = match capture.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(wrong) => {
                    tracing::error!(pbx = self.pbx.0, "{wrong}");
                    break;
                }
            };
            let beat = *beat.get_or_insert(Beat { base: now().mono, first: frame.at, speed: self.speed });
            // a clock that was set back in between does not stop the time
            after = after.max(frame.at.since(beat.first));
            if !self.wait(beat, after) {
                break;
            }
            let Some(link) = frame.link else {
                other += 1;
                continue;
            };
            let at = beat.at(after);
            self.mirror.handle_frame(link, &frame.bytes, at);
            self.carrier.carry_out(&mut self.mirror, at);
        }
        if let Some(beat) = beat {
            self.wait(beat, after + AFTER);
            let at = beat.at(after);
            self.mirror.handle_end(at);
            self.carrier.carry_out(&mut self.mirror, at);
        }
        let counters = self.mirror.counters();
        tracing::info!(pbx = self.pbx.0, ?counters, frames_of_other_kinds = other, "the capture ended");
    }

    /// Sleeps until that time of the capture, and lets time pass in the mirror meanwhile; `false` when it is to stop.
    fn wait(&mut self, beat: Beat, after: Duration) -> bool {
        let until = beat.at(after).mono;
        loop {
            let due = self.mirror.due().filter(|due| *due <= until);
            if !self.sleep(beat.ours(due.unwrap_or(until))) {
                return false;
            }
            let Some(due) = due else { return true };
            let at = beat.at(due.since(beat.base));
            self.mirror.handle_timeout(at);
            self.carrier.carry_out(&mut self.mirror, at);
        }
    }

    fn sleep(&self, until: Mono) -> bool {
        loop {
            let left = until.since(now().mono);
            match self.stopped.recv_timeout(left.min(NAP)) {
                Err(RecvTimeoutError::Timeout) if left <= NAP => return true,
                Err(RecvTimeoutError::Timeout) => {}
                _ => return false,
            }
        }
    }
}

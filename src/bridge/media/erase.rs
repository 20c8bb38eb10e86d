//! The eraser: one thread that replaces sound on disk by silence, so that no media thread waits for the disk.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};

use super::now;
use crate::media::segment::silence_span;
use crate::media::{Heard, StreamEvent, StreamEventKind};
use crate::pbx::StreamId;
use crate::time::MediaTime;

/// What is to be silence; its file is not written to any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Erase {
    pub(super) stream: StreamId,
    pub(super) from: MediaTime,
    pub(super) to: MediaTime,
}

/// Starts the thread; it ends when nobody can ask any more. What waits is bounded by the utterances of the contacts that are open.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn spawn(audio: PathBuf, heard: SyncSender<Heard>) -> std::io::Result<Sender<Erase>> {
    let (requests, inbox) = channel();
    std::thread::Builder::new().name("eraser".into()).spawn(move || run(&audio, &inbox, &heard))?;
    Ok(requests)
}

fn run(audio: &std::path::Path, inbox: &Receiver<Erase>, heard: &SyncSender<Heard>) {
    while let Ok(Erase { stream, from, to }) = inbox.recv() {
        let done = silence_span(audio, stream, from, to)
            .inspect_err(|error| tracing::error!(%error, "sound that must not be stored could not be replaced by silence; it is tried again"))
            .is_ok();
        let kind = StreamEventKind::Silenced { from, to, done };
        if heard.send(Heard::Event(StreamEvent { stream, at: now(), kind })).is_err() {
            return;
        }
    }
}

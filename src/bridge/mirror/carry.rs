//! Carries out what the mirror found: signals to the hub, streams and their packets to the media threads.

use std::collections::HashMap;

use tokio::sync::mpsc;

use crate::bridge::media::{MediaHandle, Shift};
use crate::bridge::{Input, now};
use crate::media::{Fed, OpenStream, Payload};
use crate::pbx::mirror::{Mirror, Output};
use crate::pbx::{PbxId, Signal, StreamId};
use crate::time::{Now, Wall};

/// The way out of a mirror.
#[derive(Debug)]
pub(super) struct Carrier {
    pbx: PbxId,
    media: MediaHandle,
    hub: mpsc::Sender<Input>,
    /// How far the clock of the capture is from ours, as each stream was told.
    shifts: HashMap<StreamId, Shift>,
}

impl Carrier {
    pub(super) fn new(pbx: PbxId, media: MediaHandle, hub: mpsc::Sender<Input>) -> Carrier {
        Carrier { pbx, media, hub, shifts: HashMap::new() }
    }

    /// Does what the mirror wants; `at` is the time of the capture. Waits while the hub is full.
    pub(super) fn carry_out(&mut self, mirror: &mut Mirror, at: Now) {
        while let Some(output) = mirror.poll_output() {
            match output {
                Output::Signal(mut observed) => {
                    observed.at.mono = now().mono;
                    if let Signal::StreamFailed { speaker, reason, .. } = &observed.signal {
                        tracing::warn!(pbx = self.pbx.0, ?speaker, reason, "somebody is not heard");
                    }
                    if self.hub.blocking_send(Input::Observed(observed)).is_err() {
                        tracing::debug!(pbx = self.pbx.0, "the hub is gone");
                    }
                }
                Output::Open { stream, formats, path, wanted } => {
                    let shift = Shift(at.wall.0.saturating_sub(now().wall.0));
                    let source = self.media.source_of(&path);
                    let (record, transcribe) = (wanted.record, wanted.transcribe);
                    let payloads = Payload::of(&formats);
                    let open = OpenStream { stream, payloads, record, transcribe, source, path };
                    if let Err(error) = self.media.open_fed(open, shift) {
                        tracing::error!(pbx = self.pbx.0, %error, "a stream cannot be opened");
                    }
                    self.shifts.insert(stream, shift);
                }
                Output::Payloads(stream, formats) => self.media.set_payloads(stream, Payload::of(&formats)),
                Output::Path(stream, path) => self.media.set_path(stream, path),
                Output::Fed { stream, from, datagram } => {
                    let shift = self.shifts.get(&stream).copied().unwrap_or_default();
                    let wall = Wall(at.wall.0.saturating_sub(shift.0));
                    let at = Now { mono: now().mono, wall };
                    // what the media thread has no room for is counted there
                    self.media.feed(Fed { stream, at, from, datagram });
                }
                Output::Close(stream) => {
                    self.shifts.remove(&stream);
                    self.media.close(stream);
                }
            }
        }
    }
}

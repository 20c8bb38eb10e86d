//! The listener: takes what the media threads hear, finds the utterances, and hands both to the hub in order per stream.
//!
//! When it falls behind, the media threads drop sound for it (never for the disk); it reads what it missed back from disk.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use tokio::sync::mpsc;

use super::workers::Pace;
use super::{Input, now};
use crate::media::segment::{folder, read_range};
use crate::media::{Frame, Heard, StreamEvent, StreamEventKind};
use crate::pbx::StreamId;
use crate::speech::endpoint::Endpointer;
use crate::speech::settings::Settings;
use crate::speech::{SpeechEvent, SpeechEventKind};
use crate::time::MediaTime;

/// Missed sound is read back in pieces of this many seconds.
const PIECE_S: u64 = 10;

/// One stream that may be transcribed.
struct Ear {
    endpointer: Endpointer,
    rate: u32,
    /// The next sample that it has not heard.
    position: u64,
}

struct Listener {
    audio: PathBuf,
    settings: Settings,
    /// `None`: a stream that is not listened to any more.
    ears: HashMap<StreamId, Option<Ear>>,
    /// How often running utterances are to be read.
    pace: Arc<Pace>,
    hub: mpsc::Sender<Input>,
}

/// Starts the listener's thread; it ends when the media threads or the hub are gone.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn(
    heard: Receiver<Heard>,
    audio: PathBuf,
    settings: Settings,
    pace: Arc<Pace>,
    hub: mpsc::Sender<Input>,
) -> std::io::Result<()> {
    let mut listener = Listener { audio, settings, ears: HashMap::new(), pace, hub };
    std::thread::Builder::new().name("listener".into()).spawn(move || {
        while let Ok(item) = heard.recv() {
            if listener.take(item).is_none() {
                return;
            }
        }
    })?;
    Ok(())
}

impl Listener {
    /// `None` when the hub is gone.
    fn take(&mut self, item: Heard) -> Option<()> {
        match item {
            Heard::Pcm(frame) => self.hear(&frame),
            Heard::Event(event) => {
                if let StreamEventKind::Closed(summary) = &event.kind {
                    self.finish(event.stream, summary.samples)?;
                }
                self.tell(Input::Stream(event))
            }
        }
    }

    fn hear(&mut self, frame: &Frame) -> Option<()> {
        let settings = &self.settings;
        let ear = self.ears.entry(frame.stream).or_insert_with(|| Some(Ear::new(settings, frame.rate)));
        let (mut found, mut lost) = (Vec::new(), None);
        let (audio, pace) = (&self.audio, self.pace.get());
        unless_it_panics(frame.stream, ear, |ear| {
            if frame.position > ear.position {
                lost = ear.read_missed(audio, frame.stream, frame.position, &mut found);
            }
            ear.endpointer.want(pace);
            ear.endpointer.push(frame.position, &frame.samples, &mut found);
            ear.position = frame.position + frame.samples.len() as u64;
        });
        self.tell_lost(frame.stream, lost)?;
        self.tell_found(frame.stream, found)
    }

    fn finish(&mut self, stream: StreamId, samples: u64) -> Option<()> {
        let Some(mut ear) = self.ears.remove(&stream) else { return Some(()) };
        let (mut found, mut lost) = (Vec::new(), None);
        let audio = &self.audio;
        unless_it_panics(stream, &mut ear, |ear| {
            if samples > ear.position {
                lost = ear.read_missed(audio, stream, samples, &mut found);
            }
            ear.endpointer.finish(&mut found);
        });
        self.tell_lost(stream, lost)?;
        self.tell_found(stream, found)
    }

    /// Of a line that is not recorded, what the listener missed is gone: it is told as lost, not taken for silence.
    fn tell_lost(&self, stream: StreamId, lost: Option<(MediaTime, MediaTime)>) -> Option<()> {
        let Some((from, to)) = lost else { return Some(()) };
        let kind = StreamEventKind::Gap { from, to };
        self.tell(Input::Stream(StreamEvent { stream, at: now(), kind }))
    }

    fn tell_found(&self, stream: StreamId, found: Vec<SpeechEventKind>) -> Option<()> {
        found.into_iter().try_for_each(|kind| self.tell(Input::Speech(SpeechEvent { stream, at: now(), kind })))
    }

    fn tell(&self, input: Input) -> Option<()> {
        self.hub.blocking_send(input).ok()
    }
}

/// A panic costs one stream its further text, never the others theirs.
fn unless_it_panics(stream: StreamId, ear: &mut Option<Ear>, work: impl FnOnce(&mut Ear)) {
    let Some(open) = ear else { return };
    if catch_unwind(AssertUnwindSafe(|| work(open))).is_err() {
        tracing::error!(stream = %stream.0, "the listener panicked; this stream gets no more text, its sound is kept");
        *ear = None;
    }
}

impl Ear {
    fn new(settings: &Settings, rate: u32) -> Ear {
        Ear { endpointer: Endpointer::new(settings, rate), rate, position: 0 }
    }

    /// Hears what is on disk up to `until`; gives what is lost when nothing of the stream is on disk.
    fn read_missed(
        &mut self,
        audio: &Path,
        stream: StreamId,
        until: u64,
        found: &mut Vec<SpeechEventKind>,
    ) -> Option<(MediaTime, MediaTime)> {
        let from = self.position;
        tracing::warn!(stream = %stream.0, samples = until - self.position, "the listener was behind; reading back from disk");
        let step = u64::from(self.rate) * PIECE_S;
        self.endpointer.want(None); // what was said meanwhile is read as a whole
        while self.position < until {
            let to = (self.position + step).min(until);
            match read_range(audio, stream, self.position, to) {
                Ok(samples) => self.endpointer.push(self.position, &samples, found),
                Err(error) => tracing::error!(%error, "missed sound cannot be read back"),
            }
            self.position = to;
        }
        let at = |sample| MediaTime::of_sample(sample, self.rate);
        (!folder(audio, stream).exists()).then(|| (at(from), at(until)))
    }
}

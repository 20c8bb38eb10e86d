//! Reads sound back from disk: whole streams after a restart, single utterances that had to wait. One thread, one request at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::mpsc;

use super::Input;
use crate::media::StreamSummary;
use crate::media::segment::{SegmentError, read_range, scan};
use crate::pbx::StreamId;
use crate::speech::endpoint::Endpointer;
use crate::speech::settings::Settings;
use crate::speech::{SpeechEventKind, Utterance};

/// Sound is read in pieces of this many seconds, so that an hour is never in memory.
const PIECE_S: u64 = 10;

/// What is to be read.
#[derive(Clone, Debug)]
pub enum Request {
    /// A stream from its beginning: its utterances, then its end.
    Stream {
        /// Which.
        stream: StreamId,
        /// Parts whose text is there, in samples; utterances inside them are left out.
        done: Vec<(u64, u64)>,
    },
    /// The sound of one utterance that is known already.
    Utterance {
        /// The hub's number for it.
        id: u64,
        /// Which stream.
        stream: StreamId,
        /// First sample.
        from: u64,
        /// After its last sample.
        to: u64,
    },
}

/// What was read.
#[derive(Clone, Debug)]
pub enum Read {
    /// An utterance of a stream that is read as a whole.
    Spoken {
        /// Which stream.
        stream: StreamId,
        /// The utterance.
        utterance: Utterance,
    },
    /// The end of such a stream.
    Finished {
        /// Which stream.
        stream: StreamId,
        /// What is on disk of it.
        summary: StreamSummary,
    },
    /// The sound of one utterance; `None` when it cannot be read.
    Sound {
        /// The hub's number.
        id: u64,
        /// Native rate.
        pcm: Option<Arc<[i16]>>,
    },
}

/// Takes requests; the hub sends one and waits for its end before the next.
#[derive(Clone, Debug)]
pub struct ReadBack {
    requests: SyncSender<Request>,
}

impl ReadBack {
    /// Starts the thread. Its answers go to `hub`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(audio: PathBuf, settings: Settings, hub: mpsc::Sender<Input>) -> std::io::Result<ReadBack> {
        let (requests, inbox) = sync_channel(1);
        std::thread::Builder::new().name("readback".into()).spawn(move || run(&audio, &settings, &inbox, &hub))?;
        Ok(ReadBack { requests })
    }

    /// Whose requests a test answers.
    #[cfg(test)]
    pub(super) fn played() -> (ReadBack, Receiver<Request>) {
        let (requests, inbox) = sync_channel(1);
        (ReadBack { requests }, inbox)
    }

    /// Hands in a request; `false` while another is under way.
    pub fn ask(&self, request: Request) -> bool {
        self.requests.try_send(request).is_ok()
    }
}

fn run(audio: &Path, settings: &Settings, inbox: &Receiver<Request>, hub: &mpsc::Sender<Input>) {
    while let Ok(request) = inbox.recv() {
        let mut tell = |read| hub.blocking_send(Input::ReadBack(read)).is_ok();
        let alive = match request {
            Request::Stream { stream, done } => {
                let read = unless_it_panics(stream, || read_stream(audio, settings, stream, &done, &mut tell));
                tell(Read::Finished { stream, summary: read.unwrap_or_default() })
            }
            Request::Utterance { id, stream, from, to } => {
                let read = unless_it_panics(stream, || read_range(audio, stream, from, to));
                tell(Read::Sound { id, pcm: read.map(Arc::from) })
            }
        };
        if !alive {
            return;
        }
    }
}

/// What was read; a failure and a panic cost this stream its text, never the others theirs.
fn unless_it_panics<T>(stream: StreamId, read: impl FnOnce() -> Result<T, SegmentError>) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(read)) => Some(read),
        Ok(Err(error)) => {
            tracing::error!(stream = %stream.0, %error, "a recording cannot be read back; its text is missing");
            None
        }
        Err(_) => {
            tracing::error!(stream = %stream.0, "reading a recording back panicked; its text is missing");
            None
        }
    }
}

fn read_stream(
    audio: &Path,
    settings: &Settings,
    stream: StreamId,
    done: &[(u64, u64)],
    tell: &mut impl FnMut(Read) -> bool,
) -> Result<StreamSummary, SegmentError> {
    let Some(extent) = scan(audio, stream)? else { return Ok(StreamSummary::default()) };
    let mut endpointer = Endpointer::new(settings, extent.rate);
    let mut found = Vec::new();
    let step = u64::from(extent.rate) * PIECE_S;
    let mut from = 0;
    while from < extent.samples {
        let to = (from + step).min(extent.samples);
        endpointer.push(from, &read_range(audio, stream, from, to)?, &mut found);
        from = to;
        if from == extent.samples {
            endpointer.finish(&mut found);
        }
        for kind in found.drain(..) {
            let SpeechEventKind::Ended(utterance) = kind else { continue };
            if !is_done(&utterance, done) && !tell(Read::Spoken { stream, utterance }) {
                return Ok(StreamSummary::default());
            }
        }
    }
    Ok(StreamSummary { samples: extent.samples, rate: extent.rate, ..StreamSummary::default() })
}

/// Whether most of an utterance has its text already. The same sound is cut the same way twice, but not to the sample after a gap.
fn is_done(utterance: &Utterance, done: &[(u64, u64)]) -> bool {
    let (start, end) = (utterance.start.to_sample(utterance.rate), utterance.end.to_sample(utterance.rate));
    let covered: u64 = done.iter().map(|(from, to)| (*to).min(end).saturating_sub((*from).max(start))).sum();
    covered * 2 > end.saturating_sub(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MediaTime;

    fn utterance(from: u64, to: u64) -> Utterance {
        let at = |sample| MediaTime::of_sample(sample, 8_000);
        Utterance { number: 0, start: at(from), end: at(to), forced: false, rate: 8_000, pcm: Arc::from(vec![]) }
    }

    #[test]
    fn an_utterance_with_text_is_not_read_again_and_its_neighbours_are() {
        let done = [(8_000, 16_000)];
        assert!(is_done(&utterance(8_080, 16_160), &done));
        assert!(!is_done(&utterance(0, 8_000), &done));
        assert!(!is_done(&utterance(15_000, 24_000), &done));
    }
}

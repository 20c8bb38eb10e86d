//! What a stream has ready: to the listener, and to its file, with silence where recording is paused.

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::outlet::Outlet;
use super::worker::Open;
use crate::call::pause::Span;
use crate::media::segment::{self, Writer};
use crate::media::settings::Settings;
use crate::media::{Frame, Heard, StreamEvent};
use crate::time::{MediaTime, Now, Wall};

/// PCM is handed on in pieces of this length.
const PIECE_MS: u32 = 100;

/// Writes and sends what a stream has ready: events first, then PCM, so that a gap is known before its silence.
pub(super) fn hand_on(out: &mut Outlet, audio: &Path, settings: &Settings, open: &mut Open, now: Now, all: bool) {
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
fn keep_frame(out: &mut Outlet, audio: &Path, settings: &Settings, open: &mut Open, now: Now, frame: Frame) {
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
pub(super) fn mute(audio: &Path, open: &mut Open, at: Wall) {
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

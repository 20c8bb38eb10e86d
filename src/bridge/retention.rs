//! Deletes what has been kept as long as it may be: recordings, then the records of contacts that are over and delivered.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use uuid::Uuid;

use super::now;
use crate::media::segment::{self, Segment};
use crate::outbox::settings::Retention;
use crate::outbox::store::{Error, Outbox};
use crate::pbx::StreamId;
use crate::session::State;
use crate::time::Wall;

/// How often it is looked for what is due.
const EVERY: Duration = Duration::from_secs(3_600);
/// Contacts deleted in one transaction: pops wait for it.
const AT_ONCE: usize = 50;
const DAY: Duration = Duration::from_secs(86_400);

/// What one turn deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Contacts with all that is known of them.
    pub contacts: usize,
    /// Streams whose sound was deleted.
    pub recordings: usize,
}

/// Streams of contacts that are not over, and contacts whose state cannot be read.
///
/// # Errors
/// When the store cannot be read.
pub fn running(outbox: &Outbox) -> Result<(HashSet<StreamId>, Vec<String>), Error> {
    let (mut streams, mut unreadable) = (HashSet::new(), Vec::new());
    for row in outbox.open_contacts()? {
        match State::parse(&row.state) {
            Ok(state) => streams.extend(state.streams().map(|(stream, _)| stream)),
            Err(_) => unreadable.push(row.id.to_string()),
        }
    }
    Ok((streams, unreadable))
}

/// Deletes what is due now and every hour, on a thread of its own that ends when what this gives is dropped. It takes other settings, and looks at once
/// then.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn(outbox: Outbox, audio: PathBuf, mut settings: Retention) -> std::io::Result<Sender<Retention>> {
    let (change, changed) = mpsc::channel();
    let work = move || {
        loop {
            match sweep(&outbox, &audio, settings, now().wall) {
                Ok(deleted) if deleted == Deleted::default() => {}
                Ok(Deleted { contacts, recordings }) => {
                    tracing::info!(contacts, recordings, "deleted what was kept long enough");
                }
                Err(error) => tracing::error!(%error, "what was kept long enough cannot be deleted; it is tried again"),
            }
            match changed.recv_timeout(EVERY) {
                Ok(other) => settings = other,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    std::thread::Builder::new().name("retention".into()).spawn(work)?;
    Ok(change)
}

/// Deletes what is due at `now`. Sound goes before what tells of it, so that none is left that nobody knows.
///
/// # Errors
/// When the store cannot be read or written.
pub fn sweep(outbox: &Outbox, audio: &Path, settings: Retention, now: Wall) -> Result<Deleted, Error> {
    let mut deleted = Deleted::default();
    if settings.recordings_days > 0 {
        let (running, _) = running(outbox)?;
        deleted.recordings += old_recordings(audio, before(now, settings.recordings_days), &running);
    }
    if settings.records_days > 0 {
        let (cut, mut after) = (before(now, settings.records_days), 0);
        while let Some(due) = outbox.due(cut, after, AT_ONCE)? {
            after = due.last_row;
            for row in &due.contacts {
                let state = State::parse(&row.state);
                let streams = state.iter().flat_map(State::streams);
                deleted.recordings += streams.filter(|(stream, _)| delete(&segment::folder(audio, *stream))).count();
            }
            deleted.contacts += outbox.purge(due.contacts.into_iter().map(|row| row.id).collect(), cut, now)?;
        }
    }
    Ok(deleted)
}

fn before(now: Wall, days: u32) -> Wall {
    let kept = i64::try_from((DAY * days).as_micros()).unwrap_or(i64::MAX);
    Wall(now.0.saturating_sub(kept))
}

/// Deletes the recordings that began before `cut`.
fn old_recordings(audio: &Path, cut: Wall, running: &HashSet<StreamId>) -> usize {
    let Ok(folders) = fs::read_dir(audio) else { return 0 };
    let folders = folders.flatten().map(|entry| entry.path());
    let is_old = |folder: &PathBuf| {
        let stream = folder.file_name().and_then(|name| name.to_str()?.parse::<Uuid>().ok()).map(StreamId);
        stream
            .is_some_and(|stream| !running.contains(&stream) && began(folder, stream).is_some_and(|began| began < cut))
    };
    folders.filter(is_old).filter(|folder| delete(folder)).count()
}

/// When a stream began; `None` where no file of it says so.
fn began(folder: &Path, stream: StreamId) -> Option<Wall> {
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.filter_map(|file| Segment::open(&file, Some(stream)).ok()).map(|segment| segment.origin).next()
}

fn delete(folder: &Path) -> bool {
    match fs::remove_dir_all(folder) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => {
            tracing::error!(%error, "a recording cannot be deleted; it is tried again");
            false
        }
    }
}

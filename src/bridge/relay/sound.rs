//! Sound over the link: the segments of recordings, one by one, behind everything else. The near end offers each and sends what the far end wants.
//!
//! What is done is a row of the outbox that is kept beside it: after a restart a recording that was under way is offered again from its beginning.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::far::{TAKEN, Taken};
use super::near::{Order, Told};
use crate::call::ContactId;
use crate::events::{Data, Event};
use crate::media::segment::{self, Segment};
use crate::outbox::relay::meter::Wait;
use crate::outbox::relay::pack::{Kind, Place, pack};
use crate::outbox::relay::{Class, status};
use crate::outbox::store::{Error, Outbox};
use crate::pbx::StreamId;

/// How often the outbox is asked for recordings that are complete.
const EVERY: Duration = Duration::from_secs(2);
/// Pause after a segment that could not be sent.
const AGAIN: Duration = Duration::from_secs(1);
/// Contacts looked at in one turn.
const CONTACTS: usize = 16;
/// What says that a contact is complete, and by its sequence that its line lets text leave.
const DOCUMENT: &str = "kakehashi.transcript.document.v1";

/// The near end.
pub(in crate::bridge) struct Courier {
    outbox: Outbox,
    audio: PathBuf,
    /// Where the outbox keeps how far it is.
    key: String,
    orders: mpsc::WeakSender<Order>,
}

/// The link is not wanted any more.
struct Over;

impl Courier {
    pub(in crate::bridge) fn new(outbox: Outbox, key: String, orders: mpsc::WeakSender<Order>) -> Courier {
        let audio = outbox.folder().join("audio");
        Courier { outbox, audio, key, orders }
    }

    pub(in crate::bridge) async fn run(self) {
        while self.orders.strong_count() > 0 {
            match self.turn().await {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => {}
                Ok(Err(Over)) => return,
                Err(error) => tracing::error!(%error, "recordings cannot be sent over the link now"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Sends what has become complete; `true` when there may be more.
    async fn turn(&self) -> Result<Result<bool, Over>, Error> {
        let noted = self.outbox.noted(&self.key)?.and_then(|row| row.parse().ok());
        let Some(after) = noted else {
            // recordings from before are not meant
            let (_, last) = self.outbox.events_after("", 0, 1)?;
            self.note(last).await;
            return Ok(Ok(false));
        };
        let (documents, last) = self.outbox.events_after(DOCUMENT, after, CONTACTS)?;
        let full = documents.len() >= CONTACTS;
        for (row, event) in documents {
            if may_leave(&event) {
                if self.outbox.contact(event.contact)?.is_some_and(|contact| contact.open) {
                    // some of it may still have to be silenced
                    self.note(row - 1).await;
                    return Ok(Ok(false));
                }
                if self.send(event.contact).await?.is_err() {
                    return Ok(Err(Over));
                }
            }
            self.note(row).await;
        }
        if last > after {
            self.note(last).await;
        }
        Ok(Ok(full))
    }

    async fn note(&self, row: i64) {
        match self.outbox.note(&self.key, &row.to_string()) {
            Some(kept) => _ = kept.await,
            // it is offered again, and not sent again
            None => tracing::warn!("how far the recordings are cannot be written down now"),
        }
    }

    /// Sends the sound of a contact.
    async fn send(&self, contact: ContactId) -> Result<Result<(), Over>, Error> {
        let mut streams: Vec<StreamId> = Vec::new();
        for event in self.outbox.events_of(contact)? {
            if let Data::RecordingAvailable(recording) = event.data {
                streams.extend(recording.streams.into_iter().map(|recorded| recorded.stream));
            }
        }
        streams.sort_unstable_by_key(|stream| stream.0);
        streams.dedup();
        for stream in streams {
            for (number, path) in files(&segment::folder(&self.audio, stream)) {
                let place = Place { stream, number };
                // deleted since it was listed
                let Ok(bytes) = tokio::fs::read(&path).await else { continue };
                if self.bring(place, bytes).await.is_err() {
                    return Ok(Err(Over));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Until the relay has it, or will never take it.
    async fn bring(&self, place: Place, bytes: Vec<u8>) -> Result<(), Over> {
        let offer = place.with(Sha256::digest(&bytes).as_slice());
        let segment = place.with(&bytes);
        let mut wanted = false;
        loop {
            let told = match wanted {
                false => self.ask(Kind::Offer, offer.clone()).await?,
                true => self.ask(Kind::Segment, segment.clone()).await?,
            };
            match told {
                Some(Told::Answer(status::TAKEN, _)) => return Ok(()),
                Some(Told::Answer(status::WANTED, _)) => wanted = true,
                Some(Told::Answer(status::BUSY, _)) | None => tokio::time::sleep(AGAIN).await,
                Some(Told::Waits(Wait::Day(wait) | Wait::Night(wait))) => {
                    tokio::time::sleep(wait.clamp(AGAIN, Duration::from_secs(15 * 60))).await;
                }
                Some(Told::Answer(status, why)) => {
                    tracing::error!(stream = %place.stream.0, segment = place.number, status, why, "the relay takes no sound of this");
                    return Ok(());
                }
            }
        }
    }

    /// `None` when there is no link, or it was cut.
    async fn ask(&self, kind: Kind, content: Vec<u8>) -> Result<Option<Told>, Over> {
        let packed = tokio::task::spawn_blocking(move || pack(kind, &content)).await;
        let Ok(Ok(packed)) = packed else {
            return Ok(Some(Told::Answer(status::TOO_LONG, "it is too long for the link".into())));
        };
        let (answer, told) = oneshot::channel();
        let orders = self.orders.upgrade().ok_or(Over)?;
        orders.send(Order::Carry { class: Class::Bulk, packed, answer }).await.map_err(|_| Over)?;
        drop(orders);
        Ok(told.await.ok())
    }
}

/// Whether a contact is complete, and of a line whose texts may leave: a text that stays has no sequence.
fn may_leave(event: &Event) -> bool {
    event.sequence.is_some() && matches!(&event.data, Data::TranscriptDocument(document) if document.complete)
}

/// The segments of a folder by number; none where there is no such folder.
fn files(folder: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let number = path.file_name()?.to_str()?.strip_suffix(".seg")?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    found.sort_unstable();
    found
}

fn path(audio: &Path, place: Place) -> PathBuf {
    segment::folder(audio, place.stream).join(format!("{:06}.seg", place.number))
}

/// The far end: whether a segment is wanted.
pub(super) async fn offered(audio: PathBuf, content: Vec<u8>) -> Taken {
    let asked = tokio::task::spawn_blocking(move || {
        let (place, digest) = Place::of(&content).filter(|(_, digest)| digest.len() == 32)?;
        let same = fs::read(path(&audio, place)).is_ok_and(|own| Sha256::digest(&own).as_slice() == digest);
        Some(if same { TAKEN } else { (status::WANTED, "") })
    });
    asked.await.ok().flatten().unwrap_or((status::MALFORMED, "it is no offer"))
}

/// The far end: keeps a segment; answered when it is on disk.
pub(super) async fn keep(audio: PathBuf, content: Vec<u8>) -> Taken {
    let kept = tokio::task::spawn_blocking(move || {
        let Some((place, bytes)) = Place::of(&content).filter(|(place, bytes)| is_whole(*place, bytes)) else {
            return (status::MALFORMED, "it is no segment of its stream");
        };
        match write(&path(&audio, place), bytes) {
            Ok(()) => TAKEN,
            Err(error) => {
                tracing::error!(%error, "a segment of sound cannot be written");
                (status::BUSY, "the relay cannot write sound; its log says why")
            }
        }
    });
    kept.await.unwrap_or((status::BUSY, "the relay stops"))
}

fn is_whole(place: Place, bytes: &[u8]) -> bool {
    Segment::read(bytes, Some(place.stream)).is_ok()
}

/// Beside its place first, so that a kill leaves no half of it there.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!("{}.part", Uuid::now_v7()));
    let mut file = File::create(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(folder)?.sync_all()
}

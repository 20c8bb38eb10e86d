//! The store: SQLite with one writer thread that commits groups, and a reader. The only place that touches the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::budget::Use;
use super::lane::DeliveryId;
use super::settings::Settings;
use super::{Batch, ContextRow};
use crate::call::ContactId;
use crate::events::{Data, Event};
use crate::time::Wall;

mod contacts;
mod copy;
mod deliveries;
mod purge;
mod reserve;
mod schema;
mod verify;
mod writer;

use copy::{Copier, Places};
pub use purge::Due;
use reserve::Reserve;
pub use verify::{Verdict, verify};
use writer::Writer;

/// Schema version that this program writes.
pub const VERSION: i64 = 5;
/// Committed groups that wait for the dispatcher; when it is full the writer waits.
const COMMITTED: usize = 1_024;

/// Why the outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite or the file system refused.
    #[error("{path}: {source}; check free space and permissions of the data folder")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file is not a database or is damaged.
    #[error("{path}: {problem}; move it away (its events will not be delivered) or restore it from a backup")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// A newer program wrote it.
    #[error("{path}: has version {found} and this program knows {VERSION}; start the newer kakehashi again")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// An older program wrote it, and may be at work on it.
    #[error(
        "{path}: has version {found} and this program knows {VERSION}; `kakehashi serve` of this program takes it over, start it first"
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The folder cannot be made.
    #[error("{path}: {source}; give node.data_dir a folder that this user may write")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The writer thread is gone.
    #[error("the outbox has stopped; restart the bridge")]
    Stopped,
}

/// Which events a receiver wants.
pub type Takes = Arc<dyn Fn(&Data) -> bool + Send + Sync>;

/// Somebody events are delivered to.
#[derive(Clone)]
pub struct Receiver {
    /// Its name; what waits for it is found by that after a restart.
    pub name: String,
    /// The events that it wants; of others no delivery is made.
    pub takes: Takes,
}

/// One that wants everything.
impl<T: Into<String>> From<T> for Receiver {
    fn from(name: T) -> Self {
        Self { name: name.into(), takes: Arc::new(|_| true) }
    }
}

/// What went over the link to an endpoint in a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Traffic {
    /// HTTP requests.
    pub requests: u64,
    /// Bytes sent: HTTP with headers, without TLS and TCP; to a relay all that is on the socket, TLS too.
    pub bytes_out: u64,
    /// Bytes received, counted the same way.
    pub bytes_in: u64,
    /// Events that arrived.
    pub events: u64,
}

impl std::ops::Add for Traffic {
    type Output = Traffic;
    fn add(self, more: Traffic) -> Traffic {
        Traffic {
            requests: self.requests.saturating_add(more.requests),
            bytes_out: self.bytes_out.saturating_add(more.bytes_out),
            bytes_in: self.bytes_in.saturating_add(more.bytes_in),
            events: self.events.saturating_add(more.events),
        }
    }
}

/// Traffic of one endpoint on one day, for one use.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct TrafficDay {
    /// The day in Japan; of an endpoint whose CRM begins its day in the morning, from then on.
    pub day: String,
    /// Endpoint.
    pub endpoint: String,
    /// `record`, or `live` for pops and look-ups.
    #[serde(rename = "use")]
    pub whom: String,
    /// The sums.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// A record event that is on disk, with its deliveries.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The event.
    pub event: Event,
    /// Endpoint index and delivery.
    pub deliveries: Vec<(usize, DeliveryId)>,
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The endpoint has it.
    Delivered,
    /// Tried again at this time.
    Again {
        /// When.
        at: Wall,
        /// Why (no personal data).
        error: String,
        /// Whether it is an attempt of the retry schedule; not while the endpoint counts as down.
        counted: bool,
    },
    /// Never delivered; kept for a person.
    Dead {
        /// Why (no personal data).
        error: String,
    },
    /// Not sent, because it came too late to be of use; listed as `discarded`.
    Dropped {
        /// Why (no personal data).
        error: String,
    },
}

/// A delivery as it is sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Row.
    pub id: DeliveryId,
    /// Event id.
    pub event: String,
    /// CloudEvents JSON; `None` when it is damaged on disk and in the second copy.
    pub body: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
    /// Whether it still waits to be sent.
    pub pending: bool,
}

/// A delivery as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "Delivery")]
pub struct Listed {
    /// Row: the number that `outbox replay` and `discard` take.
    pub delivery: i64,
    /// Event id.
    pub event: String,
    /// Event type.
    pub kind: String,
    /// Contact.
    pub contact: String,
    /// Sequence in the contact.
    pub sequence: i64,
    /// Endpoint.
    pub endpoint: String,
    /// `pending`, `delivered`, `dead`, `replay` or `discarded`.
    pub status: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Next attempt, for pending ones.
    pub next_at: Option<String>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

enum Command {
    Commit(Box<Batch>, Option<oneshot::Sender<()>>),
    Outcome(DeliveryId, Outcome),
    Flush(oneshot::Sender<()>),
    Keep(ContextRow),
    Forget(Vec<Uuid>),
    Purge {
        contacts: Vec<ContactId>,
        cut: Wall,
        now: Wall,
        done: oneshot::Sender<()>,
    },
    Count(Vec<Counted>),
    /// A key and its value, and who is told when it is on disk.
    Note(String, String, oneshot::Sender<()>),
    /// The text of an event as it was, after it was found damaged.
    Repair(String, String),
    /// A page cannot be read; how often the store had been opened anew before.
    Damaged(u64),
}

/// Traffic to be added to a day's: the day, endpoint index, use.
pub type Counted = (i64, usize, Use, Traffic);

/// The outbox; cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    places: Arc<Places>,
    commands: SyncSender<Command>,
    reader: Arc<Mutex<Connection>>,
    generation: Arc<AtomicU64>,
}

impl Outbox {
    /// Opens or makes the store below `data_dir` for the endpoints; committed events come out of the receiver, in order.
    ///
    /// # Errors
    /// When the folder or file cannot be used, is damaged or newer.
    pub fn open(
        data_dir: &Path,
        settings: &Settings,
        endpoints: impl IntoIterator<Item = impl Into<Receiver>>,
    ) -> Result<(Outbox, mpsc::Receiver<Committed>), Error> {
        let places = places(data_dir, settings)?;
        let connection = open_whole(&places)?;
        let copier = if settings.second_copy { Some(Copier::spawn(places.clone())?) } else { None };
        Self::start(places, connection, copier, settings, endpoints)
    }

    /// Opens the store beside the bridge that runs on it, for a tool.
    ///
    /// # Errors
    /// As [`Outbox::open`], and when an older program wrote it: its tables are not changed under a bridge that runs on them.
    pub fn open_beside(
        data_dir: &Path,
        settings: &Settings,
        endpoints: impl IntoIterator<Item = impl Into<Receiver>>,
    ) -> Result<Outbox, Error> {
        let places = places(data_dir, settings)?;
        schema::refuse_older(&places.store)?;
        let connection = schema::open(&places.store)?;
        Ok(Self::start(places, connection, None, settings, endpoints)?.0)
    }

    fn start(
        places: Places,
        connection: Connection,
        copier: Option<Copier>,
        settings: &Settings,
        endpoints: impl IntoIterator<Item = impl Into<Receiver>>,
    ) -> Result<(Outbox, mpsc::Receiver<Committed>), Error> {
        let path = places.store.clone();
        let endpoints: Vec<Receiver> = endpoints.into_iter().map(Into::into).collect();
        let ids = schema::endpoints(&connection, &endpoints).map_err(sqlite(&path))?;
        let reader = Arc::new(Mutex::new(schema::open(&path)?));
        let generation = Arc::default();
        let reserve = match &copier {
            Some(_) => Reserve::beside(&path, settings.reserve_bytes),
            None => Reserve::none(),
        };
        let (commands, inbox) = sync_channel(settings.queue_batches.max(1));
        let (committed, out) = mpsc::channel(COMMITTED);
        let writer = Writer {
            connection,
            receivers: ids.into_iter().zip(endpoints.iter().map(|receiver| Arc::clone(&receiver.takes))).collect(),
            endpoints,
            places: places.clone(),
            copier,
            reader: Arc::clone(&reader),
            generation: Arc::clone(&generation),
            reserve,
            committed,
            contacts: HashMap::new(),
            group: settings.group_batches.max(1),
            empty_at: None,
        };
        std::thread::Builder::new()
            .name("outbox".into())
            .spawn(move || writer.run(&inbox))
            .map_err(|source| Error::Folder { path: path.clone(), source })?;
        Ok((Outbox { places: Arc::new(places), commands, reader, generation }, out))
    }

    /// The folder that the store is in, and what else belongs to its data.
    pub fn folder(&self) -> &Path {
        self.places.store.parent().unwrap_or(Path::new("."))
    }

    /// Accepts a batch; it is committed soon, in order. Waits while the queue is full.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn submit(&self, batch: Batch) -> Result<(), Error> {
        self.commands.send(Command::Commit(Box::new(batch), None)).map_err(|_| Error::Stopped)
    }

    /// Accepts a batch and gives a receiver that resolves when it is on disk.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn commit(&self, batch: Batch) -> Result<oneshot::Receiver<()>, Error> {
        let (done, wait) = oneshot::channel();
        self.commands.send(Command::Commit(Box::new(batch), Some(done))).map_err(|_| Error::Stopped)?;
        Ok(wait)
    }

    /// Gives a receiver that resolves when everything that was accepted before is on disk.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn flush(&self) -> Result<oneshot::Receiver<()>, Error> {
        let (done, wait) = oneshot::channel();
        self.commands.send(Command::Flush(done)).map_err(|_| Error::Stopped)?;
        Ok(wait)
    }

    /// Keeps what waits for a call, in place of an earlier version; [`Outbox::flush`] tells when it is on disk.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn keep(&self, context: ContextRow) -> Result<(), Error> {
        self.commands.send(Command::Keep(context)).map_err(|_| Error::Stopped)
    }

    /// Deletes what no longer waits.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn forget(&self, contexts: Vec<Uuid>) -> Result<(), Error> {
        self.commands.send(Command::Forget(contexts)).map_err(|_| Error::Stopped)
    }

    /// Records what became of an attempt; never waits.
    ///
    /// # Errors
    /// Gives the outcome back while the queue is full: whoever takes the committed events must go on taking them meanwhile, because the
    /// writer may wait for that.
    pub fn record(&self, delivery: DeliveryId, outcome: Outcome) -> Result<(), Outcome> {
        match self.commands.try_send(Command::Outcome(delivery, outcome)) {
            Err(TrySendError::Full(Command::Outcome(_, outcome))) => Err(outcome),
            // without a writer the delivery stays pending on disk, and is tried again after the next start
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Adds to the days' traffic; never waits.
    ///
    /// # Errors
    /// Gives it back while the queue is full.
    pub fn count(&self, counted: Vec<Counted>) -> Result<(), Vec<Counted>> {
        match self.commands.try_send(Command::Count(counted)) {
            Err(TrySendError::Full(Command::Count(counted))) => Err(counted),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Keeps a value under a key, in place of an earlier one; resolves when it is on disk. `None` while the queue is full.
    pub fn note(&self, key: &str, value: &str) -> Option<oneshot::Receiver<()>> {
        let (done, wait) = oneshot::channel();
        self.commands.try_send(Command::Note(key.into(), value.into(), done)).ok().map(|()| wait)
    }

    /// What is kept under a key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn noted(&self, key: &str) -> Result<Option<String>, Error> {
        self.read(|reader| {
            reader.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
        })
    }

    /// Traffic by day, newest first; `since`: the first day, counted from 1970-01-01 in Japan.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn traffic(&self, since: i64) -> Result<Vec<TrafficDay>, Error> {
        self.read(|reader| {
            let sql = "SELECT t.day, p.name, t.use, t.requests, t.bytes_out, t.bytes_in, t.events FROM traffic t \
                       JOIN endpoint p ON p.id = t.endpoint WHERE t.day >= ?1 ORDER BY t.day DESC, p.name, t.use";
            let mut query = reader.prepare_cached(sql)?;
            let number = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(|value| value.max(0) as u64);
            let rows = query.query_map([since], |row| {
                let traffic = Traffic {
                    requests: number(row, 3)?,
                    bytes_out: number(row, 4)?,
                    bytes_in: number(row, 5)?,
                    events: number(row, 6)?,
                };
                let day = crate::outbox::budget::date_of(row.get(0)?);
                Ok(TrafficDay { day, endpoint: row.get(1)?, whom: row.get(2)?, traffic })
            })?;
            rows.collect()
        })
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let generation = self.generation.load(Ordering::Acquire);
        let read = query(&lock(&self.reader)).map_err(sqlite(&self.places.store));
        if let Err(Error::Damaged { .. }) = &read {
            // the writer takes the second copy; while its queue is full it notices by itself
            let _ = self.commands.try_send(Command::Damaged(generation));
        }
        read
    }

    /// The text of an event as it was accepted: as read, or from the second copy where it is damaged; `None` when it is there, too.
    fn whole(&self, id: &str, body: String, digest: &[u8]) -> Option<String> {
        if is_whole(&body, digest) {
            return Some(body);
        }
        let found = copy::body_of(&self.places.copy, id);
        tracing::error!(event = id, repaired = found.is_some(), "the text of an event is damaged on disk");
        if let Some(body) = &found {
            let _ = self.commands.try_send(Command::Repair(id.into(), body.clone()));
        }
        found
    }
}

/// Opens the store; where it is damaged, its second copy takes its place, and what it lost is put back.
fn open_whole(places: &Places) -> Result<Connection, Error> {
    if !places.store.exists() && places.copy.exists() {
        copy::promote(places, "it is not there")?;
    }
    let opened = schema::open(&places.store).and_then(|connection| {
        copy::check(&connection, places, false)?;
        Ok(connection)
    });
    match opened {
        Err(Error::Damaged { problem, .. }) => {
            copy::promote(places, &problem)?;
            schema::open(&places.store)
        }
        opened => opened,
    }
}

fn places(data_dir: &Path, settings: &Settings) -> Result<Places, Error> {
    let copies = if settings.copy_dir.as_os_str().is_empty() { data_dir } else { &settings.copy_dir };
    for folder in [data_dir, copies] {
        std::fs::create_dir_all(folder).map_err(|source| Error::Folder { path: folder.into(), source })?;
    }
    Ok(Places { store: data_dir.join("outbox.db"), copy: copies.join("outbox-copy.db") })
}

/// Whether a text is as it was when it was accepted.
fn is_whole(body: &str, digest: &[u8]) -> bool {
    Sha256::digest(body.as_bytes()).as_slice() == digest
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sqlite(path: &Path) -> impl FnOnce(rusqlite::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            Error::Damaged { path, problem: source.to_string() }
        }
        _ => Error::Sqlite { path, source },
    }
}

/// A text that may be damaged: what is no UTF-8 any more is read all the same, and found damaged by its digest.
fn text(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<String> {
    let value = row.get_ref(at)?;
    Ok(String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned())
}

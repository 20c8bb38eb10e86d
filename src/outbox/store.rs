//! The store: SQLite with one writer thread that commits groups, and a reader. The only place that touches the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::budget::Use;
use super::lane::DeliveryId;
use super::settings::Settings;
use super::{Batch, ContactRow, ContextRow};
use crate::call::ContactId;
use crate::events::{Data, Event};
use crate::pbx::{CallKey, ExternalKey, PbxId};
use crate::time::Wall;

mod copy;
mod reserve;
mod schema;
mod writer;

use copy::{Copier, Places};
use reserve::Reserve;
use writer::Writer;

/// Schema version that this program writes.
pub const VERSION: i64 = 3;
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// HTTP requests.
    pub requests: u64,
    /// Bytes sent: HTTP with headers, without TLS and TCP.
    pub bytes_out: u64,
    /// Bytes received, counted the same way.
    pub bytes_in: u64,
    /// Events that arrived.
    pub events: u64,
}

/// Traffic of one endpoint on one day, for one use.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TrafficDay {
    /// The day in Japan.
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
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
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
    Count(Vec<Counted>),
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
    /// As [`Outbox::open`].
    pub fn open_beside(
        data_dir: &Path,
        settings: &Settings,
        endpoints: impl IntoIterator<Item = impl Into<Receiver>>,
    ) -> Result<Outbox, Error> {
        let places = places(data_dir, settings)?;
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
            chains: HashMap::new(),
            group: settings.group_batches.max(1),
            empty_at: None,
        };
        std::thread::Builder::new()
            .name("outbox".into())
            .spawn(move || writer.run(&inbox))
            .map_err(|source| Error::Folder { path: path.clone(), source })?;
        Ok((Outbox { places: Arc::new(places), commands, reader, generation }, out))
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

    /// What waits for a call, and what has expired meanwhile.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn contexts(&self) -> Result<Vec<ContextRow>, Error> {
        self.read(|reader| {
            let mut query = reader.prepare("SELECT id, site, expires, body FROM context ORDER BY expires")?;
            let rows = query.query_map([], |row| {
                let (id, expires): (String, i64) = (row.get(0)?, row.get(2)?);
                let id = id.parse().unwrap_or_default();
                Ok(ContextRow { id, site: row.get(1)?, expires: Wall(expires), body: row.get(3)? })
            })?;
            rows.collect()
        })
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

    /// Dead letters, discarded ones and those to be replayed of each endpoint: name, status, how many.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn set_aside(&self) -> Result<Vec<(String, String, u64)>, Error> {
        self.read(|reader| {
            // the index `delivery_status` has only these
            let sql = "SELECT p.name, d.status, count(*) FROM delivery d JOIN endpoint p ON p.id = d.endpoint \
                       WHERE d.status NOT IN ('pending', 'delivered') GROUP BY p.name, d.status";
            let mut query = reader.prepare_cached(sql)?;
            let rows =
                query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.max(0) as u64)))?;
            rows.collect()
        })
    }

    /// When the event of a delivery happened; `None` when it is not there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn time_of(&self, delivery: DeliveryId) -> Result<Option<Wall>, Error> {
        self.read(|reader| {
            let sql = "SELECT e.time FROM delivery d JOIN event e ON e.row = d.event WHERE d.id = ?1";
            let mut query = reader.prepare_cached(sql)?;
            query.query_row([delivery.0], |row| row.get(0).map(Wall)).optional()
        })
    }

    /// The contacts that were not complete.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open_contacts(&self) -> Result<Vec<ContactRow>, Error> {
        self.read(|reader| {
            let mut query =
                reader.prepare("SELECT id, site, pbx, call_key, open, state FROM contact WHERE open = 1")?;
            let rows = query.query_map([], contact_row)?;
            rows.collect()
        })
    }

    /// One contact.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn contact(&self, id: ContactId) -> Result<Option<ContactRow>, Error> {
        self.read(|reader| {
            reader
                .query_row(
                    "SELECT id, site, pbx, call_key, open, state FROM contact WHERE id = ?1",
                    [id.to_string()],
                    contact_row,
                )
                .optional()
        })
    }

    /// The contact that a call of an exchange had last, by its last event; `None` when it is new.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_contact_of(&self, call: &CallKey) -> Result<Option<ContactRow>, Error> {
        self.read(|reader| {
            let sql = "SELECT id, site, pbx, call_key, open, state FROM contact c WHERE pbx = ?1 AND call_key = ?2 \
                       ORDER BY (SELECT max(row) FROM event WHERE contact = c.id) DESC LIMIT 1";
            reader.prepare_cached(sql)?.query_row([&call.pbx.0, &call.key], contact_row).optional()
        })
    }

    /// The record events of a contact in order.
    ///
    /// # Errors
    /// When the store cannot be read. Events that do not parse are left out and logged.
    pub fn events_of(&self, contact: ContactId) -> Result<Vec<Event>, Error> {
        let found: Vec<(String, String, Vec<u8>)> = self.read(|reader| {
            let mut query =
                reader.prepare_cached("SELECT id, body, digest FROM event WHERE contact = ?1 ORDER BY row")?;
            let rows = query.query_map([contact.to_string()], |row| Ok((row.get(0)?, text(row, 1)?, row.get(2)?)))?;
            rows.collect()
        })?;
        let whole = found.into_iter().filter_map(|(id, body, digest)| self.whole(&id, body, &digest));
        let parsed = whole.filter_map(|body| {
            Event::from_json(&body)
                // the reader's own words may quote the event
                .map_err(|e| tracing::error!(%contact, column = e.column(), "a stored event does not parse"))
                .ok()
        });
        Ok(parsed.collect())
    }

    /// Hands every stored event of a type to `each`, in the order in which they were accepted, one at a time. Events that do not parse are left
    /// out and logged.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn each_of_type(&self, kind: &str, mut each: impl FnMut(&str, Event)) -> Result<(), Error> {
        self.read(|reader| {
            let mut query = reader.prepare("SELECT contact, body FROM event WHERE type = ?1 ORDER BY row")?;
            let mut rows = query.query([kind])?;
            while let Some(row) = rows.next()? {
                let (contact, body): (String, String) = (row.get(0)?, row.get(1)?);
                match Event::from_json(&body) {
                    Ok(event) => each(&contact, event),
                    Err(e) => tracing::error!(%contact, column = e.column(), "a stored event does not parse"),
                }
            }
            Ok(())
        })
    }

    /// The body of one event.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn event(&self, id: &str) -> Result<Option<String>, Error> {
        self.read(|reader| reader.query_row("SELECT body FROM event WHERE id = ?1", [id], |row| row.get(0)).optional())
    }

    /// The contact that an external key leads to.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn contact_by_key(&self, site: &str, key: &ExternalKey) -> Result<Option<ContactId>, Error> {
        let kind = serde_json::to_string(&key.kind).unwrap_or_default();
        self.read(|reader| {
            let sql = "SELECT contact FROM contact_key WHERE site = ?1 AND kind = ?2 AND value = ?3";
            let mut query = reader.prepare_cached(sql)?;
            let id: Option<String> = query.query_row(params![site, kind, key.value], |row| row.get(0)).optional()?;
            Ok(id.and_then(|id| id.parse().ok()).map(ContactId))
        })
    }

    /// Everything that waits to be delivered to the named endpoints, in order: endpoint index, contact, delivery, next attempt (the epoch where
    /// there was none yet: what is sent for the first time is never waited with, whatever the clock says).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending(&self, endpoints: &[String]) -> Result<Vec<(usize, ContactId, DeliveryId, Wall)>, Error> {
        let sql = "SELECT d.id, p.name, d.contact, CASE d.attempts WHEN 0 THEN 0 ELSE d.next_at END \
                   FROM delivery d JOIN endpoint p ON p.id = d.endpoint WHERE d.status IN ('pending', 'replay') ORDER BY d.id";
        self.select_deliveries(sql, [], endpoints)
    }

    /// The next deliveries of one lane, up to and with `last`; a few more than a lane keeps in memory.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending_of(&self, endpoint: &str, contact: ContactId, last: DeliveryId) -> Result<Vec<DeliveryId>, Error> {
        let sql = "SELECT d.id, p.name, d.contact, d.next_at FROM delivery d JOIN endpoint p ON p.id = d.endpoint \
                   WHERE d.status = 'pending' AND p.name = ?1 AND d.contact = ?2 AND d.id <= ?3 ORDER BY d.id LIMIT 65";
        let values = params![endpoint, contact.to_string(), last.0];
        let rows = self.select_deliveries(sql, values, &[endpoint.to_string()])?;
        Ok(rows.into_iter().map(|row| row.2).collect())
    }

    /// Deliveries that a person asked to replay since the last call; they are pending from now on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn take_replays(&self, endpoints: &[String]) -> Result<Vec<(usize, ContactId, DeliveryId, Wall)>, Error> {
        let sql = "SELECT d.id, p.name, d.contact, d.next_at FROM delivery d JOIN endpoint p ON p.id = d.endpoint \
                   WHERE d.status = 'replay' ORDER BY d.id";
        let rows = self.select_deliveries(sql, [], endpoints)?;
        if !rows.is_empty() {
            self.read(|reader| reader.execute("UPDATE delivery SET status = 'pending' WHERE status = 'replay'", []))?;
        }
        Ok(rows)
    }

    /// A delivery with its body.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, Error> {
        let found = self.read(|reader| {
            let sql = "SELECT e.id, e.body, d.attempts, d.status, e.digest FROM delivery d JOIN event e ON e.row = d.event WHERE d.id = ?1";
            let mut query = reader.prepare_cached(sql)?;
            query
                .query_row([id.0], |row| {
                    let status: String = row.get(3)?;
                    let delivery = Delivery {
                        id,
                        event: row.get(0)?,
                        body: Some(text(row, 1)?),
                        attempts: row.get(2)?,
                        pending: status == "pending" || status == "replay",
                    };
                    Ok((delivery, row.get::<_, Vec<u8>>(4)?))
                })
                .optional()
        })?;
        Ok(found.map(|(mut delivery, digest)| {
            delivery.body = delivery.body.and_then(|body| self.whole(&delivery.event, body, &digest));
            delivery
        }))
    }

    /// Deliveries in a state (`None`: all), newest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self, status: Option<&str>, limit: u32) -> Result<Vec<Listed>, Error> {
        self.read(|reader| {
            let sql = "SELECT d.id, e.id, e.type, e.contact, e.sequence, p.name, d.status, d.attempts, d.next_at, d.error \
                       FROM delivery d JOIN event e ON e.row = d.event JOIN endpoint p ON p.id = d.endpoint \
                       WHERE ?1 IS NULL OR d.status = ?1 ORDER BY d.id DESC LIMIT ?2";
            let mut query = reader.prepare(sql)?;
            let rows = query.query_map(params![status, limit], |row| {
                let state: String = row.get(6)?;
                let next: i64 = row.get(8)?;
                Ok(Listed {
                    delivery: row.get(0)?,
                    event: row.get(1)?,
                    kind: row.get(2)?,
                    contact: row.get(3)?,
                    sequence: row.get(4)?,
                    endpoint: row.get(5)?,
                    next_at: (state == "pending").then(|| Wall(next).rfc3339()),
                    status: state,
                    attempts: row.get(7)?,
                    error: row.get(9)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Dead letters to be tried again: all, or the named ones. Gives how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn replay(&self, deliveries: Option<&[i64]>, now: Wall) -> Result<usize, Error> {
        let sql = "UPDATE delivery SET status = 'replay', attempts = 0, next_at = ?1, error = NULL \
                   WHERE status = 'dead' AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2)))";
        self.read(|reader| reader.execute(sql, params![now.0, deliveries.map(json_list)]))
    }

    /// Dead letters that nobody wants: all, or the named ones. Gives how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn discard(&self, deliveries: Option<&[i64]>, note: &str) -> Result<usize, Error> {
        let sql = "UPDATE delivery SET status = 'discarded', error = ?1 \
                   WHERE status = 'dead' AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2)))";
        self.read(|reader| reader.execute(sql, params![note, deliveries.map(json_list)]))
    }

    fn select_deliveries(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        endpoints: &[String],
    ) -> Result<Vec<(usize, ContactId, DeliveryId, Wall)>, Error> {
        let rows: Vec<(i64, String, String, i64)> = self.read(|reader| {
            let mut query = reader.prepare_cached(sql)?;
            let rows = query.query_map(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            rows.collect()
        })?;
        let known = rows.into_iter().filter_map(|(id, name, contact, next_at)| {
            let endpoint = endpoints.iter().position(|known| *known == name)?;
            Some((endpoint, ContactId(contact.parse().ok()?), DeliveryId(id), Wall(next_at)))
        });
        Ok(known.collect())
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

fn json_list(ids: &[i64]) -> String {
    serde_json::to_string(ids).unwrap_or_default()
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

fn contact_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ContactRow> {
    let id: String = row.get(0)?;
    let wrong = |_| rusqlite::Error::InvalidColumnType(0, "id".into(), rusqlite::types::Type::Text);
    Ok(ContactRow {
        id: ContactId(id.parse().map_err(wrong)?),
        site: row.get(1)?,
        call: CallKey { pbx: PbxId(row.get(2)?), key: row.get(3)? },
        open: row.get(4)?,
        state: row.get(5)?,
    })
}

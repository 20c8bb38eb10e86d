//! The second copy: another SQLite file that follows the store a moment behind. What a damaged page of the store held is taken from it again.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, Outcome, schema, sqlite};
use crate::outbox::lane::DeliveryId;

/// Groups of changes that the copy may be behind before it compares everything instead.
const GROUPS: usize = 1_024;
/// Events copied in one transaction.
const EVENTS: i64 = 1_000;
/// Pages of the copy's write-ahead log after which it is written back: seldom, because the store's commits wait for the disk meanwhile.
const LOG_PAGES: i32 = 4_000;
/// At least so long lies between two transactions of the copy: what changes often is written once, and the store has the disk to itself meanwhile.
const APART: Duration = Duration::from_millis(250);
/// Pause before the copy is tried again after it could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// The files of a store.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The store.
    pub(super) store: PathBuf,
    /// Its copy.
    pub(super) copy: PathBuf,
}

/// A change that is on disk in the store and not yet in the copy. New events and their deliveries are found by their numbers.
#[derive(Debug)]
pub(super) enum Change {
    /// A contact's state.
    Contact(String),
    /// A key: site, kind, value, contact.
    Key([String; 4]),
    /// What became of a delivery.
    Outcome(DeliveryId, Outcome),
    /// Contacts were deleted; the store knows which.
    Purge,
}

/// The thread that writes the copy.
pub(super) struct Copier {
    changes: SyncSender<Vec<Change>>,
    behind: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Copier {
    /// Starts to follow the store. A copy that cannot be used is begun anew.
    pub(super) fn spawn(places: Places) -> Result<Copier, Error> {
        let (changes, inbox) = sync_channel(GROUPS);
        let behind = Arc::new(AtomicBool::new(true));
        let follower = Follower {
            places: places.clone(),
            connection: None,
            behind: Arc::clone(&behind),
            failing: false,
            deleted: false,
        };
        let thread = std::thread::Builder::new()
            .name("outbox-copy".into())
            .spawn(move || follower.run(&inbox))
            .map_err(|source| Error::Folder { path: places.copy, source })?;
        Ok(Copier { changes, behind, thread })
    }

    /// Tells of a group that was committed; never waits.
    pub(super) fn tell(&self, group: Vec<Change>) {
        if self.changes.try_send(group).is_err() {
            self.behind.store(true, Ordering::Release);
        }
    }

    /// Ends the copy, after what it was told of.
    pub(super) fn end(self) {
        drop(self.changes);
        let _ = self.thread.join();
    }
}

struct Follower {
    places: Places,
    connection: Option<Connection>,
    behind: Arc<AtomicBool>,
    failing: bool,
    /// The log still has what was deleted.
    deleted: bool,
}

impl Follower {
    fn run(mut self, inbox: &Receiver<Vec<Change>>) {
        let mut changes = Vec::new();
        loop {
            let next = Instant::now() + APART;
            if let Err(error) = self.follow(changes) {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the second copy of the outbox cannot be written; it is tried again");
                }
                self.connection = None;
                self.behind.store(true, Ordering::Release);
            } else {
                self.failing = false;
            }
            let first = match self.failing {
                false => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                true => inbox.recv_timeout(AGAIN),
            };
            changes = match first {
                Ok(first) => gather(first, inbox, next),
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => {
                    if self.behind.load(Ordering::Acquire) {
                        let _ = self.follow(Vec::new());
                    }
                    return;
                }
            };
        }
    }

    fn follow(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(open(&self.places)?),
        };
        let everything = self.behind.swap(false, Ordering::AcqRel);
        let written = if everything { compare(connection) } else { add(connection, changes) };
        let written = written.map_err(sqlite(&self.places.copy)).map(|deleted| self.deleted |= deleted);
        if written.is_ok() && self.deleted {
            let busy = connection.query_row("PRAGMA main.wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
            self.deleted = busy.map_err(sqlite(&self.places.copy))?;
        }
        if let Err(Error::Damaged { .. }) = &written
            && !is_sound(connection).unwrap_or(false)
        {
            self.connection = None;
            set_aside(&self.places.copy)?;
        }
        written
    }
}

/// What is told until then.
fn gather(first: Vec<Change>, inbox: &Receiver<Vec<Change>>, until: Instant) -> Vec<Change> {
    let more = || inbox.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
    first.into_iter().chain(std::iter::from_fn(more).take(GROUPS).flatten()).collect()
}

/// The copy, with the store attached to read from.
fn open(places: &Places) -> Result<Connection, Error> {
    let connection = match schema::open(&places.copy) {
        Err(Error::Damaged { problem, .. }) => {
            tracing::error!(path = %places.copy.display(), problem, "the second copy of the outbox is damaged; it is begun anew");
            set_aside(&places.copy)?;
            schema::open(&places.copy)?
        }
        opened => opened?,
    };
    // what a power cut takes of the copy is in the store
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(sqlite(&places.copy))?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).map_err(sqlite(&places.copy))?;
    connection.execute("ATTACH ?1 AS store", [places.store.to_string_lossy()]).map_err(sqlite(&places.store))?;
    Ok(connection)
}

/// Brings the copy up to the store, whatever it lacks; `true` when something was deleted.
fn compare(connection: &mut Connection) -> rusqlite::Result<bool> {
    while add_events(connection)? {}
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "INSERT OR IGNORE INTO main.contact_key SELECT k.* FROM store.contact_key k JOIN main.contact c ON c.row = k.contact;
         INSERT INTO main.contact SELECT * FROM store.contact WHERE row IN (SELECT row FROM main.contact WHERE open = 1)
             ON CONFLICT (row) DO UPDATE SET open = excluded.open, state = excluded.state;
         UPDATE main.delivery AS c SET status = s.status, attempts = s.attempts, next_at = s.next_at, error = s.error
             FROM store.delivery s WHERE s.id = c.id AND c.status = 'pending' AND s.event = c.event AND s.endpoint = c.endpoint
             AND s.status IN ('delivered', 'dead', 'replay', 'discarded');",
    )?;
    let deleted = super::purge::follow(&transaction)?;
    transaction.commit()?;
    Ok(deleted)
}

/// Copies what was told, and the events that are newer than the copy; `true` when something was deleted.
fn add(connection: &mut Connection, changes: Vec<Change>) -> rusqlite::Result<bool> {
    while add_events(connection)? {}
    let mut deleted = false;
    let transaction = connection.transaction()?;
    for change in changes {
        match change {
            Change::Contact(id) => transaction
                .prepare_cached(
                    "INSERT INTO main.contact SELECT * FROM store.contact WHERE id = ?1 \
                     ON CONFLICT (row) DO UPDATE SET open = excluded.open, state = excluded.state",
                )?
                .execute([id])?,
            Change::Key([site, kind, value, contact]) => transaction
                .prepare_cached(
                    "INSERT OR IGNORE INTO main.contact_key (site, kind, value, contact) \
                     SELECT ?1, ?2, ?3, row FROM main.contact WHERE id = ?4",
                )?
                .execute(params![site, kind, value, contact])?,
            Change::Outcome(delivery, outcome) => {
                super::writer::write_outcome(&transaction, delivery, &outcome)?;
                1
            }
            Change::Purge => {
                deleted |= super::purge::follow(&transaction)?;
                0
            }
        };
    }
    transaction.commit()?;
    Ok(deleted)
}

/// Copies the next events with their contacts and deliveries; `false` when there are none.
fn add_events(connection: &mut Connection) -> rusqlite::Result<bool> {
    let transaction = connection.transaction()?;
    let number = |sql: &str| transaction.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    let event = number("SELECT coalesce(max(row), 0) FROM main.event")?;
    let delivery = number("SELECT coalesce(max(id), 0) FROM main.delivery")?;
    let last: Option<i64> = transaction
        .prepare_cached("SELECT max(row) FROM (SELECT row FROM store.event WHERE row > ?1 ORDER BY row LIMIT ?2)")?
        .query_row(params![event, EVENTS], |row| row.get(0))?;
    let Some(last) = last else { return Ok(false) };
    transaction.execute("INSERT OR IGNORE INTO main.endpoint SELECT * FROM store.endpoint", [])?;
    transaction
        .prepare_cached(
            "INSERT INTO main.contact SELECT * FROM store.contact \
             WHERE row IN (SELECT contact FROM store.event WHERE row > ?1 AND row <= ?2) \
             ON CONFLICT (row) DO UPDATE SET open = excluded.open, state = excluded.state",
        )?
        .execute([event, last])?;
    transaction
        .prepare_cached("INSERT INTO main.event SELECT * FROM store.event WHERE row > ?1 AND row <= ?2")?
        .execute([event, last])?;
    transaction
        .prepare_cached(
            "INSERT INTO main.delivery SELECT * FROM store.delivery WHERE id > ?1 AND event <= ?2 ORDER BY id",
        )?
        .execute([delivery, last])?;
    transaction.commit()?;
    Ok(true)
}

/// What the copy knows of an event and the store has no longer.
pub(super) fn body_of(copy: &Path, id: &str) -> Option<String> {
    let connection = Connection::open_with_flags(copy, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let sql = "SELECT body, digest FROM event WHERE id = ?1";
    let found = connection.query_row(sql, [id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)));
    found.optional().ok()?.filter(|(body, digest)| super::is_whole(body, digest)).map(|(body, _)| body)
}

/// That an event of the copy (`o`) is not in the store (`e`), or not as it was.
const OTHER: &str = "e.row IS NULL OR e.id <> o.id OR e.contact <> o.contact OR e.sequence <> o.sequence OR e.digest <> o.digest OR e.body <> o.body";

/// What is still to be done by the copy and is not in the store, or not as it was, or where nobody who looks for it would find it.
fn undone() -> String {
    format!("
SELECT EXISTS (
    SELECT 1 FROM copy.delivery c JOIN copy.event o ON o.row = c.event
    LEFT JOIN copy.contact k ON k.row = c.contact LEFT JOIN main.contact m ON m.id = k.id
    LEFT JOIN main.delivery d ON d.id = c.id LEFT JOIN main.event e ON e.row = c.event
    WHERE c.status = 'pending' AND (d.id IS NULL OR d.event <> c.event OR d.endpoint <> c.endpoint OR d.contact <> c.contact
        OR m.row IS NOT c.contact OR (SELECT id FROM main.contact WHERE row = c.contact) IS NOT k.id
        OR d.status NOT IN ('pending', 'delivered', 'dead', 'replay', 'discarded')
        OR {OTHER}
        OR (d.status = 'pending' AND NOT EXISTS (SELECT 1 FROM main.delivery w INDEXED BY delivery_waiting
            WHERE w.endpoint = c.endpoint AND w.contact = c.contact AND w.id = c.id AND w.status = 'pending')))
) OR EXISTS (
    SELECT 1 FROM copy.contact c LEFT JOIN main.contact m ON m.id = c.id
    WHERE c.open = 1 AND (m.row IS NOT c.row OR m.site <> c.site OR m.pbx <> c.pbx OR m.call_key <> c.call_key OR NOT json_valid(m.state)
        OR (m.open = 1 AND NOT EXISTS (SELECT 1 FROM main.contact w INDEXED BY contact_open WHERE w.open = 1 AND w.row = c.row))
        OR m.open NOT IN (0, 1))
)")
}

/// What the copy has and the store has not, or otherwise: every event ever accepted.
fn any() -> String {
    format!("SELECT EXISTS (SELECT 1 FROM copy.event o LEFT JOIN main.event e ON e.row = o.row WHERE {OTHER})")
}

/// Checks what is still to be done against the copy; with `all`, everything, which reads both files to their ends.
///
/// # Errors
/// [`Error::Damaged`] when the store is not what it was.
pub(super) fn check(connection: &Connection, places: &Places, all: bool) -> Result<(), Error> {
    let damaged = |problem: String| Err(Error::Damaged { path: places.store.clone(), problem });
    let of_store = |error| sqlite(&places.store)(error);
    if all {
        let found: String =
            connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(of_store)?;
        if found != "ok" {
            return damaged(found);
        }
    }
    if !places.copy.exists() {
        return Ok(());
    }
    let copy = match schema::open(&places.copy) {
        Ok(copy) => copy,
        Err(error) => {
            tracing::error!(%error, "the second copy of the outbox cannot be read");
            return Ok(());
        }
    };
    connection.execute("ATTACH ?1 AS copy", [places.copy.to_string_lossy()]).map_err(sqlite(&places.copy))?;
    let yes = |sql: String| connection.query_row(&sql, [], |row| row.get::<_, bool>(0));
    let differs = yes(undone()).and_then(|undone| Ok(undone || (all && yes(any())?)));
    connection.execute("DETACH copy", []).map_err(sqlite(&places.copy))?;
    if let Ok(false) = differs {
        return Ok(());
    }
    // they differ, or one of them cannot be read: which of them is as it was written? The store is always ahead of its copy.
    let fallen_back = newest(&copy).is_ok_and(|copied| newest(connection).is_ok_and(|row| row < copied));
    match (is_sound(connection), is_sound(&copy)) {
        (Ok(true), Ok(true)) if fallen_back => damaged("it lacks events that its second copy has".into()),
        (Ok(false) | Err(_), Ok(true)) => damaged("it is not what its second copy is".into()),
        (sound, _) => {
            drop(copy);
            let aside = set_aside(&places.copy)?;
            let sound = sound.unwrap_or(false);
            tracing::error!(sound, aside = %aside.display(), "the second copy of the outbox is not what the outbox is; it is begun anew");
            Ok(())
        }
    }
}

fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(row), 0) FROM event", [], |row| row.get(0))
}

/// Whether a store agrees with itself: tables with indexes, deliveries with events, texts with digests of what waits.
fn is_sound(connection: &Connection) -> rusqlite::Result<bool> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    let strange = "SELECT EXISTS (SELECT 1 FROM delivery d LEFT JOIN event e ON e.row = d.event \
                   LEFT JOIN contact c ON c.row = e.contact WHERE e.row IS NULL OR e.contact <> d.contact OR c.row IS NULL)";
    if found != "ok" || connection.query_row(strange, [], |row| row.get::<_, bool>(0))? {
        return Ok(false);
    }
    let mut query = connection.prepare(
        "SELECT DISTINCT e.body, e.digest FROM delivery d JOIN event e ON e.row = d.event WHERE d.status = 'pending'",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        if !super::is_whole(&super::text(row, 0)?, &row.get::<_, Vec<u8>>(1)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts the copy in the place of the store, which cannot be read any more and is kept aside; nobody may have either open.
///
/// # Errors
/// [`Error::Damaged`] when there is no copy, or it cannot be read either.
pub(super) fn promote(places: &Places, problem: &str) -> Result<(), Error> {
    let damaged = |problem: String| Error::Damaged { path: places.store.clone(), problem };
    if !places.copy.exists() {
        return Err(damaged(problem.into()));
    }
    let connection = schema::open(&places.copy)
        .map_err(|error| damaged(format!("{problem}, and its second copy cannot be used either: {error}")))?;
    if !is_sound(&connection).unwrap_or(false) {
        return Err(damaged(format!("{problem}, and its second copy is damaged, too")));
    }
    let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    emptied.map_err(sqlite(&places.copy))?;
    drop(connection);
    let folder = |source| Error::Folder { path: places.store.clone(), source };
    let fresh = places.store.with_extension("fresh");
    if let Err(error) = write_whole(&places.copy, &fresh) {
        // what there is of it takes the room that is missing
        let _ = std::fs::remove_file(&fresh);
        return Err(folder(error));
    }
    let aside = set_aside(&places.store)?;
    std::fs::rename(&fresh, &places.store).map_err(folder)?;
    // what is committed from now on is in a file of this name: the name has to outlive a power cut, too
    let named = places.store.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all());
    named.map_err(folder)?;
    tracing::error!(problem, aside = %aside.display(), "the outbox was damaged; its second copy has taken its place");
    if let Some(saved) = salvage(&places.store, &aside).filter(|saved| *saved > 0) {
        tracing::warn!(saved, "events that the second copy had not got yet were read from the damaged outbox");
    }
    Ok(())
}

/// Copies a file and waits for the disk.
fn write_whole(from: &Path, to: &Path) -> std::io::Result<()> {
    let (mut from, mut to) = (std::fs::File::open(from)?, std::fs::File::create(to)?);
    let mut block = vec![0; 1 << 20];
    loop {
        match from.read(&mut block)? {
            0 => return to.sync_all(),
            length => to.write_all(block.get(..length).unwrap_or_default())?,
        }
    }
}

/// Moves a database and its log away, beside where it was; gives its new place.
fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let name = |suffix: &str| PathBuf::from(format!("{}.damaged-{stamp}{suffix}", path.display()));
    for suffix in ["", "-wal", "-shm"] {
        let from = PathBuf::from(format!("{}{suffix}", path.display()));
        if from.exists() {
            std::fs::rename(&from, name(suffix)).map_err(|source| Error::Folder { path: from, source })?;
        }
    }
    Ok(name(""))
}

/// What is taken of an event that only the damaged file has.
const TAKEN: [&str; 4] = [
    // without its endpoints the deliveries would be refused, and the event left to nobody
    "INSERT OR IGNORE INTO main.endpoint SELECT * FROM damaged.endpoint WHERE ?1 > 0",
    "INSERT OR IGNORE INTO main.contact SELECT * FROM damaged.contact WHERE row = (SELECT contact FROM damaged.event WHERE row = ?1)",
    "INSERT OR IGNORE INTO main.event SELECT * FROM damaged.event WHERE row = ?1",
    "INSERT OR IGNORE INTO main.delivery SELECT * FROM damaged.delivery \
     WHERE id > (SELECT coalesce(max(id), 0) FROM main.delivery) AND event = ?1",
];

/// An event of the damaged file with the contact that it counts as one of.
const SAVED: &str =
    "SELECT e.body, e.digest, c.id FROM damaged.event e JOIN damaged.contact c ON c.row = e.contact WHERE e.row = ?1";

/// Takes the events that are newer than the copy from the damaged file, as far as they can be read there.
fn salvage(store: &Path, damaged: &Path) -> Option<usize> {
    let mut connection = Connection::open(store).ok()?;
    connection.execute("ATTACH ?1 AS damaged", [damaged.to_string_lossy()]).ok()?;
    let transaction = connection.transaction().ok()?;
    let last: i64 = transaction.query_row("SELECT coalesce(max(row), 0) FROM main.event", [], |row| row.get(0)).ok()?;
    let (mut saved, mut missed, mut row) = (0, 0, last);
    while missed < EVENTS {
        row += 1;
        let found = transaction.query_row(SAVED, [row], |found| {
            Ok((found.get::<_, String>(0)?, found.get::<_, Vec<u8>>(1)?, found.get::<_, String>(2)?))
        });
        let whole =
            found.is_ok_and(|(body, digest, contact)| super::is_whole(&body, &digest) && is_of(&body, &contact));
        let taken = whole && TAKEN.iter().all(|sql| transaction.execute(sql, [row]).is_ok());
        saved += usize::from(taken);
        missed = if taken { 0 } else { missed + 1 };
    }
    transaction.commit().ok()?;
    Some(saved)
}

/// Whether an event says that it is one of a contact.
fn is_of(body: &str, contact: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(body).is_ok_and(|event| event["partitionkey"] == contact)
}

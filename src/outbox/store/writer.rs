//! The one writer of the store: groups of commands in one transaction each, then told to who waits.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self as commands, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::copy::{Change, Copier, Places};
use super::purge;
use super::reserve::Reserve;
use super::schema::{self, BUSY};
use super::{Command, Committed, Counted, Error, Outcome, Receiver, Takes, lock, sqlite};
use crate::call::ContactId;
use crate::events::Event;
use crate::outbox::lane::DeliveryId;
use crate::outbox::{Batch, ContactRow, ContextRow};

/// Pages of the write-ahead log after which it is written back: a commit that comes meanwhile waits for some milliseconds.
const LOG_PAGES: i32 = 1_000;
/// The same while at least [`MANY`] commands come at once: fewer syncs are worth more than a short wait then.
const LOG_PAGES_OF_MANY: i32 = 4_000;
const MANY: usize = 256;
/// Pause before a group that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long what nobody waits for may wait for company: each commit costs a sync, which events that ring now would wait for.
const LATER: Duration = Duration::from_millis(10);
/// How long after a deletion the log is emptied of what was deleted, and after a try that was in the way of somebody who reads.
const EMPTIED: Duration = Duration::from_secs(1);

/// The one writer.
pub(super) struct Writer {
    pub(super) connection: Connection,
    /// Row of each endpoint and what it wants, by its index in the configuration.
    pub(super) receivers: Vec<(i64, Takes)>,
    pub(super) endpoints: Vec<Receiver>,
    /// The store's files, and who follows it; `None` where somebody else does.
    pub(super) places: Places,
    pub(super) copier: Option<Copier>,
    /// The connection that others read by, and how often both were opened anew.
    pub(super) reader: Arc<Mutex<Connection>>,
    pub(super) generation: Arc<AtomicU64>,
    pub(super) reserve: Reserve,
    pub(super) committed: mpsc::Sender<Committed>,
    /// The contacts that are written now.
    pub(super) contacts: HashMap<ContactId, Known>,
    pub(super) group: usize,
    /// When the write-ahead log is emptied of texts that were deleted; `None` when none were.
    pub(super) empty_at: Option<Instant>,
}

/// What is known of a contact that is written now.
#[derive(Debug)]
pub(super) struct Known {
    /// Its row.
    row: i64,
    /// The last link of its hash chain; `None` until it was read or made.
    chain: Option<Vec<u8>>,
}

impl Writer {
    pub(super) fn run(mut self, inbox: &commands::Receiver<Command>) {
        watch_log(&self.connection);
        loop {
            let first = match self.empty_at {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match first {
                Ok(first) => self.take(first, inbox),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.empty_at.is_some_and(|at| at <= Instant::now()) {
                self.empty_log();
            }
        }
        self.copier.into_iter().for_each(Copier::end);
    }

    /// Writes a command and those that wait behind it, and tells it.
    fn take(&mut self, first: Command, inbox: &commands::Receiver<Command>) {
        let until = Instant::now() + LATER;
        let mut waits = can_wait(&first);
        let mut group = vec![first];
        while group.len() < self.group {
            let next = match waits {
                true => inbox.recv_timeout(until.saturating_duration_since(Instant::now())).ok(),
                false => inbox.try_recv().ok(),
            };
            let Some(command) = next else { break };
            waits &= can_wait(&command);
            group.push(command);
        }
        let written = loop {
            match self.write(&group) {
                Ok(written) => break written,
                Err(error) => {
                    // Nothing that was accepted is lost: it waits here, and its senders behind it, until the disk takes it.
                    self.contacts.clear();
                    if !self.help(&error) {
                        tracing::error!(%error, waiting = group.len(), "the outbox cannot be written; it is tried again");
                        std::thread::sleep(AGAIN);
                    }
                }
            }
        };
        self.reserve.restore();
        if let Some(copier) = &self.copier {
            copier.tell(changes_of(&group));
        }
        let log_pages = if group.len() < MANY { LOG_PAGES } else { LOG_PAGES_OF_MANY };
        for one in written {
            if self.committed.blocking_send(one).is_err() {
                break;
            }
        }
        if group.iter().any(|command| matches!(command, Command::Keep(_) | Command::Forget(_) | Command::Purge { .. }))
        {
            self.empty_at.get_or_insert(Instant::now() + EMPTIED);
        }
        for command in group {
            match command {
                Command::Commit(_, Some(done))
                | Command::Flush(done)
                | Command::Note(_, _, done)
                | Command::Purge { done, .. } => _ = done.send(()),
                Command::Damaged(generation) if generation == self.generation.load(Ordering::Acquire) => {
                    self.recover("a page of it cannot be read");
                }
                _ => {}
            }
        }
        // after everybody was told, the copy too: nobody waits for it, and the copy may have to take the store's place
        self.write_back(log_pages);
    }

    /// Writes the log back into the database when it has that many pages; `true` when the next group begins it anew. Where the disk says that it could
    /// not sync, nobody knows what of it stands there: SQLite counts pages as written that an earlier, incomplete turn left to the sync that failed
    /// now. The second copy takes the store's place then.
    fn write_back(&mut self, pages: i32) -> bool {
        if LOGGED.get() < pages {
            return false;
        }
        let turn = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get::<_, bool>(0)?, row.get::<_, i32>(1)?, row.get::<_, i32>(2)?))
        });
        match turn {
            Ok((false, logged, written)) if logged == written => LOGGED.set(0),
            // somebody reads what is in the log; the next commit tries again
            Ok(_) => return false,
            Err(error) => {
                tracing::error!(%error, "the outbox's log cannot be written back; it is tried again");
                if error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_FSYNC) {
                    LOGGED.set(0);
                    self.recover("its log could not be written back");
                }
                return false;
            }
        }
        true
    }

    /// What can be done about a group that was not written; `true` when it may go now.
    fn help(&mut self, error: &rusqlite::Error) -> bool {
        match error.sqlite_error_code() {
            // a log that begins anew needs no more of the disk
            Some(rusqlite::ErrorCode::DiskFull) => self.reserve.release() || self.write_back(1),
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                self.recover(&error.to_string())
            }
            // a number that is taken by a row whose own number was changed by damage
            Some(rusqlite::ErrorCode::ConstraintViolation) => {
                match super::copy::check(&self.connection, &self.places, true) {
                    Err(Error::Damaged { problem, .. }) => self.recover(&problem),
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// Takes the second copy in place of the damaged store. Where that is not possible, the store is left as it is.
    fn recover(&mut self, problem: &str) -> bool {
        let Some(copier) = self.copier.take() else { return false };
        copier.end();
        let recovered = self.reopen(problem);
        if let Err(error) = &recovered {
            tracing::error!(%error, "the outbox is damaged and cannot be replaced");
        }
        self.copier = Copier::spawn(self.places.clone()).ok();
        recovered.is_ok()
    }

    fn reopen(&mut self, problem: &str) -> Result<(), Error> {
        let reader = Arc::clone(&self.reader);
        let mut reader = lock(&reader);
        let nothing = || Connection::open_in_memory().map_err(sqlite(&self.places.store));
        *reader = nothing()?;
        self.connection = nothing()?;
        // the copy may lack the newest of them, and give their rows to others
        self.contacts.clear();
        let promoted = super::copy::promote(&self.places, problem);
        self.connection = schema::open(&self.places.store)?;
        *reader = schema::open(&self.places.store)?;
        promoted?;
        let ids = schema::endpoints(&self.connection, &self.endpoints).map_err(sqlite(&self.places.store))?;
        self.receivers =
            ids.into_iter().zip(self.endpoints.iter().map(|receiver| Arc::clone(&receiver.takes))).collect();
        self.generation.fetch_add(1, Ordering::AcqRel);
        watch_log(&self.connection);
        Ok(())
    }

    /// Empties the write-ahead log: pages in it still have what was deleted since. While somebody reads, it is tried again.
    fn empty_log(&mut self) {
        let emptied = self.connection.busy_timeout(Duration::ZERO).and_then(|()| {
            let busy = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
            self.connection.busy_timeout(BUSY)?;
            busy
        });
        self.empty_at = match emptied {
            Ok(false) => None,
            Ok(true) => Some(Instant::now() + EMPTIED),
            Err(error) => {
                tracing::error!(%error, "the log cannot be emptied of what was deleted; it is tried again");
                Some(Instant::now() + EMPTIED)
            }
        };
    }

    fn write(&mut self, group: &[Command]) -> rusqlite::Result<Vec<Committed>> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut written = Vec::new();
        let over = write_contacts(&transaction, group, &mut self.contacts)?;
        for command in group {
            match command {
                Command::Commit(batch, _) => {
                    write_batch(&transaction, batch, &self.receivers, &mut self.contacts, &mut written)?;
                }
                Command::Outcome(delivery, outcome) => write_outcome(&transaction, *delivery, outcome)?,
                Command::Keep(context) => write_context(&transaction, context)?,
                Command::Forget(contexts) => forget_contexts(&transaction, contexts)?,
                Command::Purge { contacts, cut, now, .. } => {
                    contacts.iter().for_each(|id| _ = self.contacts.remove(id));
                    purge::write(&transaction, contacts, *cut, *now)?;
                }
                Command::Count(counted) => write_traffic(&transaction, counted, &self.receivers)?,
                Command::Note(key, value, _) => write_note(&transaction, key, value)?,
                Command::Repair(id, body) => repair(&transaction, id, body)?,
                Command::Flush(_) | Command::Damaged(_) => {}
            }
        }
        transaction.commit()?;
        over.iter().for_each(|id| _ = self.contacts.remove(id));
        Ok(written)
    }
}

thread_local! {
    /// Pages in the write-ahead log after the last commit of this thread.
    static LOGGED: Cell<i32> = const { Cell::new(0) };
}

fn watch_log(connection: &Connection) {
    connection.wal_hook(Some(|_, pages| {
        LOGGED.set(pages);
        Ok(())
    }));
}

/// Whether nobody waits for a command to be on disk. An outcome that a crash takes is a delivery with the same id once more.
fn can_wait(command: &Command) -> bool {
    matches!(command, Command::Outcome(..) | Command::Count(_))
}

/// What the second copy is told of a group.
fn changes_of(group: &[Command]) -> Vec<Change> {
    let mut changes = Vec::new();
    for command in group {
        match command {
            Command::Commit(batch, _) => {
                let contact = batch.contact.id.to_string();
                // with its events the copy takes its contact; either way it has it before its keys
                if batch.events.is_empty() {
                    changes.push(Change::Contact(contact.clone()));
                }
                changes.extend(batch.keys.iter().map(|key| {
                    let kind = serde_json::to_string(&key.kind).unwrap_or_default();
                    Change::Key([batch.contact.site.clone(), kind, key.value.clone(), contact.clone()])
                }));
            }
            Command::Outcome(delivery, outcome) => changes.push(Change::Outcome(*delivery, outcome.clone())),
            Command::Purge { .. } => changes.push(Change::Purge),
            _ => {}
        }
    }
    changes
}

/// Puts the text of an event back that was damaged on disk.
fn repair(transaction: &Transaction<'_>, id: &str, body: &str) -> rusqlite::Result<()> {
    let digest = Sha256::digest(body.as_bytes());
    transaction.prepare_cached("UPDATE event SET body = ?2, digest = ?3 WHERE id = ?1")?.execute(params![
        id,
        body,
        digest.as_slice()
    ])?;
    Ok(())
}

fn write_note(transaction: &Transaction<'_>, key: &str, value: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    transaction.prepare_cached(sql)?.execute([key, value])?;
    Ok(())
}

/// Stores the newest state of each contact of a group, once; gives the contacts that are over.
fn write_contacts(
    transaction: &Transaction<'_>,
    group: &[Command],
    known: &mut HashMap<ContactId, Known>,
) -> rusqlite::Result<Vec<ContactId>> {
    let mut newest: HashMap<ContactId, &ContactRow> = HashMap::new();
    for command in group {
        if let Command::Commit(batch, _) = command {
            newest.insert(batch.contact.id, &batch.contact);
        }
    }
    let mut update = transaction.prepare_cached("UPDATE contact SET open = ?2, state = ?3 WHERE row = ?1")?;
    for (id, row) in &newest {
        let updated = match known.get(id) {
            Some(contact) => update.execute(params![contact.row, row.open, row.state])? > 0,
            None => false,
        };
        if !updated {
            known.insert(*id, store_contact(transaction, row)?);
        }
    }
    Ok(newest.into_iter().filter(|(_, row)| !row.open).map(|(id, _)| id).collect())
}

fn store_contact(transaction: &Transaction<'_>, row: &ContactRow) -> rusqlite::Result<Known> {
    let row = transaction
        .prepare_cached(
            "INSERT INTO contact (id, site, pbx, call_key, open, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (id) DO UPDATE SET open = excluded.open, state = excluded.state RETURNING row",
        )?
        .query_row(
            params![row.id.to_string(), row.site, row.call.pbx.0, row.call.key, row.open, row.state],
            |found| found.get(0),
        )?;
    Ok(Known { row, chain: None })
}

fn write_context(transaction: &Transaction<'_>, context: &ContextRow) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO context (id, site, expires, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![context.id.to_string(), context.site, context.expires.0, context.body])?;
    Ok(())
}

fn forget_contexts(transaction: &Transaction<'_>, contexts: &[Uuid]) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare_cached("DELETE FROM context WHERE id = ?1")?;
    for id in contexts {
        delete.execute([id.to_string()])?;
    }
    Ok(())
}

fn write_batch(
    transaction: &Transaction<'_>,
    batch: &Batch,
    endpoints: &[(i64, Takes)],
    known: &mut HashMap<ContactId, Known>,
    written: &mut Vec<Committed>,
) -> rusqlite::Result<()> {
    let row = &batch.contact;
    let contact = match known.entry(row.id) {
        Entry::Occupied(contact) => contact.into_mut(),
        Entry::Vacant(place) => place.insert(store_contact(transaction, row)?),
    };
    for key in &batch.keys {
        let kind = serde_json::to_string(&key.kind).unwrap_or_default();
        transaction
            .prepare_cached("INSERT OR IGNORE INTO contact_key (site, kind, value, contact) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![row.site, kind, key.value, contact.row])?;
    }
    for event in &batch.events {
        let kept_here = !batch.deliver_text && event.data.carries_text();
        let receivers = if kept_here { &[] } else { endpoints };
        written.push(write_event(transaction, event, receivers, contact)?);
    }
    Ok(())
}

fn write_event(
    transaction: &Transaction<'_>,
    event: &Event,
    endpoints: &[(i64, Takes)],
    contact: &mut Known,
) -> rusqlite::Result<Committed> {
    let body = event.to_json();
    let digest = Sha256::digest(body.as_bytes());
    let before = match contact.chain.take() {
        Some(link) => link,
        None => transaction
            .prepare_cached("SELECT chain FROM event WHERE contact = ?1 ORDER BY row DESC LIMIT 1")?
            .query_row([contact.row], |row| row.get(0))
            .optional()?
            .unwrap_or_default(),
    };
    let sequence = match event.sequence {
        Some(sequence) => sequence as i64,
        None => unsent_number(transaction, contact.row)?,
    };
    let chain = Sha256::new().chain_update(&before).chain_update(digest).finalize().to_vec();
    transaction
        .prepare_cached(
            "INSERT INTO event (id, contact, sequence, type, time, body, key_id, digest, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8)",
        )?
        .execute(params![
            event.id.to_string(),
            contact.row,
            sequence,
            event.type_name(),
            event.time.0,
            body,
            digest.as_slice(),
            chain,
        ])?;
    let row = transaction.last_insert_rowid();
    contact.chain = Some(chain);
    let mut deliveries = Vec::with_capacity(endpoints.len());
    for (index, (endpoint, takes)) in endpoints.iter().enumerate() {
        if !takes(&event.data) {
            continue;
        }
        transaction
            .prepare_cached(
                "INSERT INTO delivery (event, endpoint, contact, step, attempts, next_at, status) VALUES (?1, ?2, ?3, 0, 0, ?4, 'pending')",
            )?
            .execute(params![row, endpoint, contact.row, event.time.0])?;
        deliveries.push((index, DeliveryId(transaction.last_insert_rowid())));
    }
    Ok(Committed { event: event.clone(), deliveries })
}

fn write_traffic(
    transaction: &Transaction<'_>,
    counted: &[Counted],
    endpoints: &[(i64, Takes)],
) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO traffic (day, endpoint, use, requests, bytes_out, bytes_in, events) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (day, endpoint, use) DO UPDATE SET requests = requests + excluded.requests, \
         bytes_out = bytes_out + excluded.bytes_out, bytes_in = bytes_in + excluded.bytes_in, events = events + excluded.events",
    )?;
    for (day, endpoint, whom, traffic) in counted {
        let Some((id, _)) = endpoints.get(*endpoint) else { continue };
        let sums = [traffic.requests, traffic.bytes_out, traffic.bytes_in, traffic.events].map(|sum| sum as i64);
        add.execute(params![day, id, whom.name(), sums[0], sums[1], sums[2], sums[3]])?;
    }
    Ok(())
}

/// What stands in the column `sequence` of an event that has none: -1, -2, … within its contact.
fn unsent_number(transaction: &Transaction<'_>, contact: i64) -> rusqlite::Result<i64> {
    let lowest: Option<i64> = transaction
        .prepare_cached("SELECT min(sequence) FROM event WHERE contact = ?1")?
        .query_row([contact], |row| row.get(0))?;
    Ok(lowest.unwrap_or(0).min(0) - 1)
}

pub(super) fn write_outcome(
    transaction: &Transaction<'_>,
    delivery: DeliveryId,
    outcome: &Outcome,
) -> rusqlite::Result<()> {
    let mut update = transaction.prepare_cached(
        "UPDATE delivery SET status = ?2, attempts = attempts + ?5, next_at = coalesce(?3, next_at), error = ?4 WHERE id = ?1",
    )?;
    match outcome {
        Outcome::Delivered => update.execute(params![delivery.0, "delivered", None::<i64>, None::<String>, 1])?,
        Outcome::Again { at, error, counted } => {
            update.execute(params![delivery.0, "pending", at.0, error, i32::from(*counted)])?
        }
        Outcome::Dead { error } => update.execute(params![delivery.0, "dead", None::<i64>, error, 1])?,
        Outcome::Dropped { error } => update.execute(params![delivery.0, "discarded", None::<i64>, error, 0])?,
    };
    Ok(())
}

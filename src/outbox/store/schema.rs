//! The tables, and how a file is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, Receiver, VERSION, sqlite};

/// Events, deliveries and keys name their contact by its row, and rows are numbered as they come: what is written together stands together in tables and
/// indexes, so an event costs about one page of the disk instead of six (`benches/outbox.rs`). A row's number is never given again.
const CONTACTS: &str = "
CREATE TABLE contact (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, site TEXT NOT NULL, pbx TEXT NOT NULL, call_key TEXT NOT NULL,
    open INTEGER NOT NULL, state TEXT NOT NULL
);
CREATE TABLE contact_key (
    site TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, contact INTEGER NOT NULL REFERENCES contact (row),
    PRIMARY KEY (site, kind, value)
) WITHOUT ROWID;
CREATE TABLE event (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, contact INTEGER NOT NULL REFERENCES contact (row), sequence INTEGER NOT NULL,
    type TEXT NOT NULL, time INTEGER NOT NULL, body TEXT NOT NULL, key_id INTEGER NOT NULL, digest BLOB NOT NULL, chain BLOB NOT NULL,
    UNIQUE (contact, sequence)
);
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY, event INTEGER NOT NULL REFERENCES event (row), endpoint INTEGER NOT NULL REFERENCES endpoint (id),
    contact INTEGER NOT NULL, step INTEGER NOT NULL, attempts INTEGER NOT NULL, next_at INTEGER NOT NULL, status TEXT NOT NULL, error TEXT
);
";

const OTHERS: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE endpoint (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE remote (
    endpoint INTEGER NOT NULL REFERENCES endpoint (id), key TEXT NOT NULL, remote_id TEXT NOT NULL, revision INTEGER NOT NULL,
    PRIMARY KEY (endpoint, key)
) WITHOUT ROWID;
";
const CONTEXTS: &str = "
CREATE TABLE context (id TEXT PRIMARY KEY, site TEXT NOT NULL, expires INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX context_expires ON context (expires);
";
const TRAFFIC: &str = "
CREATE TABLE traffic (
    day INTEGER NOT NULL, endpoint INTEGER NOT NULL REFERENCES endpoint (id), use TEXT NOT NULL,
    requests INTEGER NOT NULL, bytes_out INTEGER NOT NULL, bytes_in INTEGER NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (day, endpoint, use)
) WITHOUT ROWID;
";
const PURGED: &str = "CREATE TABLE purged (contact TEXT PRIMARY KEY, time INTEGER NOT NULL) WITHOUT ROWID;";

/// What each version added to the one before; the first makes version 2 of 1. Version 5 numbers the contacts; the space that the former tables took is
/// used again.
const MIGRATIONS: [&[&str]; 4] = [&[CONTEXTS], &[TRAFFIC], &[PURGED], &[FORMER, CONTACTS, NUMBERED]];
const FORMER: &str = "
ALTER TABLE contact RENAME TO former_contact;
ALTER TABLE contact_key RENAME TO former_contact_key;
ALTER TABLE event RENAME TO former_event;
ALTER TABLE delivery RENAME TO former_delivery;
";
const NUMBERED: &str = "
INSERT INTO contact (id, site, pbx, call_key, open, state)
    SELECT id, site, pbx, call_key, open, state FROM former_contact c ORDER BY (SELECT min(row) FROM former_event e WHERE e.contact = c.id), id;
INSERT INTO contact_key SELECT k.site, k.kind, k.value, c.row FROM former_contact_key k JOIN contact c ON c.id = k.contact;
INSERT INTO event SELECT e.row, e.id, c.row, e.sequence, e.type, e.time, e.body, e.key_id, e.digest, e.chain
    FROM former_event e JOIN contact c ON c.id = e.contact ORDER BY e.row;
INSERT INTO delivery SELECT d.id, d.event, d.endpoint, c.row, d.step, d.attempts, d.next_at, d.status, d.error
    FROM former_delivery d JOIN contact c ON c.id = d.contact ORDER BY d.id;
DROP TABLE former_delivery; DROP TABLE former_event; DROP TABLE former_contact_key; DROP TABLE former_contact;
";

/// Made in every file that has not got them yet: they change no data, so the version stays.
const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS contact_open ON contact (row) WHERE open = 1;
CREATE INDEX IF NOT EXISTS contact_call ON contact (pbx, call_key);
CREATE INDEX IF NOT EXISTS delivery_waiting ON delivery (endpoint, contact, id) WHERE status = 'pending';
CREATE INDEX IF NOT EXISTS delivery_status ON delivery (status, id) WHERE status NOT IN ('pending', 'delivered');
";

/// How long another process that writes is waited for.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// Opens a database, makes the tables in a new one, refuses a newer or damaged one.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(path).map_err(sqlite(path))?;
    prepare(&connection).map_err(sqlite(path))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite(path))?;
    if version > VERSION {
        return Err(Error::Newer { path: path.into(), found: version });
    }
    if version == 0 {
        create(&connection).map_err(sqlite(path))?;
    }
    migrate(&connection).map_err(sqlite(path))?;
    connection.execute_batch(INDEXES).map_err(sqlite(path))?;
    // not before: a migration takes tables away that others refer to, and puts new ones in their place
    connection.pragma_update(None, "foreign_keys", true).map_err(sqlite(path))?;
    Ok(connection)
}

/// # Errors
/// [`Error::Older`] when a program of an earlier version wrote the file.
pub(super) fn refuse_older(path: &Path) -> Result<(), Error> {
    let connection = Connection::open(path).map_err(sqlite(path))?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite(path))?;
    // 0: a new file
    if (1..VERSION).contains(&found) { Err(Error::Older { path: path.into(), found }) } else { Ok(()) }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // the writer does it, because somebody has to hear when it fails
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // 32 MiB: what is in use of the tables and indexes is read once
    connection.pragma_update(None, "cache_size", -32_768)?;
    // what is deleted is overwritten with zeros, in pages and on the list of free ones
    connection.pragma_update(None, "secure_delete", true)?;
    // a group's work is undone in memory, not from a file; until the tables are as they should be nothing is refused for what they refer to
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    let tables = [OTHERS, CONTACTS, CONTEXTS, TRAFFIC, PURGED].concat();
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {tables} PRAGMA user_version = {VERSION}; COMMIT;"))?;
    connection.execute("INSERT INTO meta (key, value) VALUES ('created_by', ?1)", [env!("CARGO_PKG_VERSION")])?;
    Ok(())
}

/// Brings an older file to this version, each step in a transaction of its own; what was in it stays. Another process may be doing the same.
fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    for (before, step) in (1..).zip(MIGRATIONS) {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let step = match version == before {
            true => format!("{} PRAGMA user_version = {};", step.concat(), before + 1),
            false => String::new(),
        };
        let done = connection.execute_batch(&format!("{step} COMMIT;"));
        if done.is_err() {
            connection.execute_batch("ROLLBACK")?;
        }
        done?;
    }
    Ok(())
}

/// The rows of the endpoints, made where they are new.
pub(super) fn endpoints(connection: &Connection, receivers: &[Receiver]) -> rusqlite::Result<Vec<i64>> {
    let mut ids = Vec::with_capacity(receivers.len());
    for Receiver { name, .. } in receivers {
        connection.execute("INSERT OR IGNORE INTO endpoint (name) VALUES (?1)", params![name])?;
        let id: Option<i64> =
            connection.query_row("SELECT id FROM endpoint WHERE name = ?1", [name], |row| row.get(0)).optional()?;
        ids.extend(id);
    }
    Ok(ids)
}

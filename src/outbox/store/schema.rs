//! The tables, and how a file is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, Receiver, VERSION, sqlite};

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE contact (
    id TEXT PRIMARY KEY, site TEXT NOT NULL, pbx TEXT NOT NULL, call_key TEXT NOT NULL, open INTEGER NOT NULL, state TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX contact_open ON contact (id) WHERE open = 1;
CREATE TABLE contact_key (
    site TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, contact TEXT NOT NULL REFERENCES contact (id),
    PRIMARY KEY (site, kind, value)
) WITHOUT ROWID;
CREATE TABLE event (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, contact TEXT NOT NULL REFERENCES contact (id), sequence INTEGER NOT NULL,
    type TEXT NOT NULL, time INTEGER NOT NULL, body TEXT NOT NULL, key_id INTEGER NOT NULL, digest BLOB NOT NULL, chain BLOB NOT NULL,
    UNIQUE (contact, sequence)
);
CREATE TABLE endpoint (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY, event INTEGER NOT NULL REFERENCES event (row), endpoint INTEGER NOT NULL REFERENCES endpoint (id),
    contact TEXT NOT NULL, step INTEGER NOT NULL, attempts INTEGER NOT NULL, next_at INTEGER NOT NULL, status TEXT NOT NULL, error TEXT
);
CREATE INDEX delivery_waiting ON delivery (endpoint, contact, id) WHERE status = 'pending';
CREATE INDEX delivery_status ON delivery (status, id) WHERE status NOT IN ('pending', 'delivered');
CREATE TABLE remote (
    endpoint INTEGER NOT NULL REFERENCES endpoint (id), key TEXT NOT NULL, remote_id TEXT NOT NULL, revision INTEGER NOT NULL,
    PRIMARY KEY (endpoint, key)
) WITHOUT ROWID;
";

/// What each version added to the one before; the first makes version 2 of 1.
const MIGRATIONS: [&str; 3] = ["
CREATE TABLE context (id TEXT PRIMARY KEY, site TEXT NOT NULL, expires INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX context_expires ON context (expires);
", "
CREATE TABLE traffic (
    day INTEGER NOT NULL, endpoint INTEGER NOT NULL REFERENCES endpoint (id), use TEXT NOT NULL,
    requests INTEGER NOT NULL, bytes_out INTEGER NOT NULL, bytes_in INTEGER NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (day, endpoint, use)
) WITHOUT ROWID;
", "
CREATE TABLE purged (contact TEXT PRIMARY KEY, time INTEGER NOT NULL) WITHOUT ROWID;
"];

/// Made in every file that has not got them yet: they change no data, so the version stays.
const INDEXES: &str = "CREATE INDEX IF NOT EXISTS contact_call ON contact (pbx, call_key);";

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
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // the writer does it, because somebody has to hear when it fails
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // 32 MiB: ids are spread over the indexes, whose pages would be read again for each event with SQLite's 2 MiB
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // what is deleted is overwritten with zeros, in pages and on the list of free ones
    connection.pragma_update(None, "secure_delete", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = 1; COMMIT;"))?;
    connection.execute("INSERT INTO meta (key, value) VALUES ('created_by', ?1)", [env!("CARGO_PKG_VERSION")])?;
    Ok(())
}

/// Brings an older file to this version, each step in a transaction of its own; what was in it stays. Another process may be doing the same.
fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    for (before, step) in (1..).zip(MIGRATIONS) {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let step =
            if version == before { format!("{step} PRAGMA user_version = {};", before + 1) } else { String::new() };
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

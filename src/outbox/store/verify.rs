//! Reads a whole store through, and makes a copy of it that can be carried away.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};

use super::{Error, Outbox, VERSION, is_whole, sqlite, text};

/// Problems that are named one by one.
const NAMED: usize = 20;

/// What was found in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Events.
    pub events: u64,
    /// Their contacts.
    pub contacts: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// How many things are wrong; 0 = the store is sound.
    pub wrong: u64,
    /// The first of them, without personal data.
    pub problems: Vec<String>,
}

impl Verdict {
    fn add(&mut self, problem: String) {
        self.wrong += 1;
        if self.problems.len() < NAMED {
            self.problems.push(problem);
        }
    }
}

/// Reads a store to its end: SQLite's own check, deliveries without event, each text against its digest, each contact's chain of digests. A bridge may be
/// at work on it meanwhile; it may be of an older version.
///
/// # Errors
/// When it cannot be read at all, or a newer program wrote it.
pub fn verify(path: &Path) -> Result<Verdict, Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sqlite(path))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite(path))?;
    if version > VERSION {
        return Err(Error::Newer { path: path.into(), found: version });
    }
    let mut verdict = Verdict::default();
    // one view of the store for all questions
    connection.execute_batch("BEGIN").map_err(sqlite(path))?;
    let questions = [pages, deliveries, texts, chains];
    questions.iter().try_for_each(|question| question(&connection, &mut verdict)).map_err(sqlite(path))?;
    Ok(verdict)
}

fn pages(connection: &Connection, verdict: &mut Verdict) -> rusqlite::Result<()> {
    let mut query = connection.prepare("PRAGMA integrity_check")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let found = text(row, 0)?;
        if found != "ok" {
            verdict.add(found);
        }
    }
    Ok(())
}

fn deliveries(connection: &Connection, verdict: &mut Verdict) -> rusqlite::Result<()> {
    let count = connection.query_row("SELECT count(*) FROM delivery", [], |row| row.get::<_, i64>(0))?;
    verdict.deliveries = count.unsigned_abs();
    let sql = "SELECT d.id FROM delivery d LEFT JOIN event e ON e.row = d.event WHERE e.row IS NULL OR e.contact <> d.contact";
    let mut query = connection.prepare(sql)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        verdict.add(format!("delivery {} is of no event of its contact", row.get::<_, i64>(0)?));
    }
    Ok(())
}

fn texts(connection: &Connection, verdict: &mut Verdict) -> rusqlite::Result<()> {
    let mut query = connection.prepare("SELECT id, body, digest FROM event ORDER BY row")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        verdict.events += 1;
        if !is_whole(&text(row, 1)?, &row.get::<_, Vec<u8>>(2)?) {
            verdict.add(format!("event {}: its text is not what was accepted", text(row, 0)?));
        }
    }
    Ok(())
}

/// Each event's link is made of the one before it in its contact, so that none can be left out or put in later.
fn chains(connection: &Connection, verdict: &mut Verdict) -> rusqlite::Result<()> {
    let mut query =
        connection.prepare("SELECT CAST(contact AS TEXT), id, digest, chain FROM event ORDER BY contact, row")?;
    let mut rows = query.query([])?;
    let (mut contact, mut link) = (String::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let (of, digest, chain): (String, Vec<u8>, Vec<u8>) = (text(row, 0)?, row.get(2)?, row.get(3)?);
        if of != contact {
            verdict.contacts += 1;
            (contact, link) = (of, Vec::new());
        }
        if Sha256::new().chain_update(&link).chain_update(digest).finalize().as_slice() != chain {
            verdict.add(format!("event {}: it does not follow the event before it in its contact", text(row, 1)?));
        }
        link = chain;
    }
    Ok(())
}

impl Outbox {
    /// Writes the whole store into a new file, as it is at one moment; what was deleted is not in it. A bridge may be at work meanwhile.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub fn snapshot(&self, to: &Path) -> Result<(), Error> {
        let written = self.read(|reader| reader.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map(|_| ()));
        written.map_err(|error| match error {
            Error::Sqlite { source, .. } => Error::Sqlite { path: to.into(), source },
            other => other,
        })
    }
}

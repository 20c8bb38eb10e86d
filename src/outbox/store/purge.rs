//! Contacts that were kept long enough: found, and deleted with all that is known of them. That they were, and when, stays.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::sync::oneshot;

use super::{Command, Error, Outbox};
use crate::call::ContactId;
use crate::outbox::ContactRow;
use crate::time::Wall;

/// Events looked through at once.
const EVENTS: i64 = 2_000;

/// What finds and deletes the rows of a contact; stores that keep everything do without.
const INDEXES: &str = "CREATE INDEX IF NOT EXISTS main.delivery_event ON delivery (event);
CREATE INDEX IF NOT EXISTS main.contact_key_contact ON contact_key (contact);";

/// That a contact (`?1`) is over and delivered, and nothing of it is as young as `?2`. The newest event of all stays: the next one's number is made of it.
const IS_DUE: &str = "SELECT EXISTS (SELECT 1 FROM contact c WHERE c.id = ?1 AND c.open = 0
    AND NOT EXISTS (SELECT 1 FROM event e WHERE e.contact = c.row AND (e.time >= ?2 OR e.row = (SELECT max(row) FROM event)))
    AND NOT EXISTS (SELECT 1 FROM event e JOIN delivery d ON d.event = e.row WHERE e.contact = c.row AND d.status NOT IN ('delivered', 'discarded')))";

/// Contacts that may be deleted.
#[derive(Debug, Default)]
pub struct Due {
    /// The contacts.
    pub contacts: Vec<ContactRow>,
    /// Where to look on.
    pub last_row: i64,
}

impl Outbox {
    /// Contacts whose events are all older than `cut`, over and delivered, from the event behind row `after` on; about `most` of them. `None` when no event
    /// behind that row is old enough.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn due(&self, cut: Wall, after: i64, most: usize) -> Result<Option<Due>, Error> {
        self.read(|reader| {
            reader.execute_batch(INDEXES)?;
            let (last_row, contacts) = old(reader, cut, after, most)?;
            if last_row == after {
                return Ok(None);
            }
            let mut due = Due { contacts: Vec::new(), last_row };
            for id in contacts {
                if is_due(reader, &id, cut)? {
                    let sql = "SELECT id, site, pbx, call_key, open, state FROM contact WHERE id = ?1";
                    due.contacts.extend(reader.query_row(sql, [id], super::contacts::contact_row).optional()?);
                }
            }
            Ok(Some(due))
        })
    }

    /// Deletes these contacts, those of them at least that are still due at `cut`; gives how many it was asked for, once that is on disk. Blocks.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn purge(&self, contacts: Vec<ContactId>, cut: Wall, now: Wall) -> Result<usize, Error> {
        let count = contacts.len();
        let (done, wait) = oneshot::channel();
        let command = Command::Purge { contacts, cut, now, done };
        self.commands.send(command).map_err(|_| Error::Stopped)?;
        wait.blocking_recv().map(|()| count).map_err(|_| Error::Stopped)
    }
}

/// The last row that was looked at, and the contacts of the old events up to it.
fn old(reader: &Connection, cut: Wall, after: i64, most: usize) -> rusqlite::Result<(i64, Vec<String>)> {
    let mut query =
        reader.prepare_cached("SELECT e.row, c.id, e.time FROM event e JOIN contact c ON c.row = e.contact WHERE e.row > ?1 ORDER BY e.row LIMIT ?2")?;
    let mut rows = query.query(params![after, EVENTS])?;
    let (mut last, mut contacts) = (after, Vec::new());
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(2)? >= cut.0 || contacts.len() >= most {
            break;
        }
        last = row.get(0)?;
        let contact: String = row.get(1)?;
        if !contacts.contains(&contact) {
            contacts.push(contact);
        }
    }
    Ok((last, contacts))
}

fn is_due(connection: &Connection, id: &str, cut: Wall) -> rusqlite::Result<bool> {
    connection.prepare_cached(IS_DUE)?.query_row(params![id, cut.0], |row| row.get(0))
}

/// Deletes what is still due, and notes that it was.
pub(super) fn write(
    transaction: &Transaction<'_>,
    contacts: &[ContactId],
    cut: Wall,
    now: Wall,
) -> rusqlite::Result<()> {
    transaction.execute_batch(INDEXES)?;
    for id in contacts.iter().map(ToString::to_string) {
        if is_due(transaction, &id, cut)? {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO purged (contact, time) VALUES (?1, ?2)")?
                .execute(params![id, now.0])?;
            delete(transaction, &id)?;
        }
    }
    Ok(())
}

/// Deletes from the second copy what was deleted from the store that is attached to it; `true` when there was something.
pub(super) fn follow(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let sql = "SELECT p.contact FROM store.purged p JOIN main.contact c ON c.id = p.contact";
    let mut query = transaction.prepare_cached(sql)?;
    let ids: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    if !ids.is_empty() {
        transaction.execute_batch(INDEXES)?;
    }
    ids.iter().try_for_each(|id| delete(transaction, id))?;
    Ok(!ids.is_empty())
}

fn delete(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM main.delivery WHERE event IN (SELECT e.row FROM main.event e JOIN main.contact c ON c.row = e.contact WHERE c.id = ?1)",
        "DELETE FROM main.event WHERE contact = (SELECT row FROM main.contact WHERE id = ?1)",
        "DELETE FROM main.contact_key WHERE contact = (SELECT row FROM main.contact WHERE id = ?1)",
        "DELETE FROM main.contact WHERE id = ?1",
    ] {
        transaction.prepare_cached(sql)?.execute([id])?;
    }
    Ok(())
}

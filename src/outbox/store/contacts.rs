//! Contacts, their events and their contexts, as they were stored.

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::{Error, Outbox, text};
use crate::call::ContactId;
use crate::events::Event;
use crate::outbox::{ContactRow, ContextRow};
use crate::pbx::{CallKey, ExternalKey, PbxId};
use crate::time::Wall;

impl Outbox {
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
                       ORDER BY (SELECT max(row) FROM event WHERE contact = c.row) DESC LIMIT 1";
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
                reader.prepare_cached("SELECT id, body, digest FROM event WHERE contact = (SELECT row FROM contact WHERE id = ?1) ORDER BY row")?;
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
            let mut query = reader.prepare(
                "SELECT c.id, e.body FROM event e JOIN contact c ON c.row = e.contact WHERE e.type = ?1 ORDER BY e.row",
            )?;
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

    /// Events of a type behind row `after`, at most `limit`, in the order in which they were accepted, each with its row; and the row up to which
    /// there are no others. Events that do not parse are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn events_after(&self, kind: &str, after: i64, limit: usize) -> Result<(Vec<(i64, Event)>, i64), Error> {
        let (last, found) = self.read(|reader| {
            let last: Option<i64> = reader.query_row("SELECT max(row) FROM event", [], |row| row.get(0))?;
            let sql = "SELECT row, body FROM event WHERE row > ?1 AND row <= ?2 AND type = ?3 ORDER BY row LIMIT ?4";
            let mut query = reader.prepare_cached(sql)?;
            let last = last.unwrap_or(0).max(after);
            let rows =
                query.query_map(params![after, last, kind, limit as i64], |row| Ok((row.get(0)?, text(row, 1)?)))?;
            Ok((last, rows.collect::<rusqlite::Result<Vec<(i64, String)>>>()?))
        })?;
        let last = if found.len() < limit { last } else { found.last().map_or(last, |(row, _)| *row) };
        let parsed = found.into_iter().filter_map(|(row, body)| Some((row, Event::from_json(&body).ok()?)));
        Ok((parsed.collect(), last))
    }

    /// The digest (SHA-256) of an event's text as it was accepted; `None` when there is no such event.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn digest_of(&self, id: Uuid) -> Result<Option<Vec<u8>>, Error> {
        self.read(|reader| {
            let mut query = reader.prepare_cached("SELECT digest FROM event WHERE id = ?1")?;
            query.query_row([id.to_string()], |row| row.get(0)).optional()
        })
    }

    /// The contact that an external key leads to.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn contact_by_key(&self, site: &str, key: &ExternalKey) -> Result<Option<ContactId>, Error> {
        let kind = serde_json::to_string(&key.kind).unwrap_or_default();
        self.read(|reader| {
            let sql = "SELECT c.id FROM contact_key k JOIN contact c ON c.row = k.contact WHERE k.site = ?1 AND k.kind = ?2 AND k.value = ?3";
            let mut query = reader.prepare_cached(sql)?;
            let id: Option<String> = query.query_row(params![site, kind, key.value], |row| row.get(0)).optional()?;
            Ok(id.and_then(|id| id.parse().ok()).map(ContactId))
        })
    }
}

pub(super) fn contact_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ContactRow> {
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

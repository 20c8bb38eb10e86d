//! What waits, what was delivered, what became a dead letter: read for the dispatcher and for people, and set back or aside by them.

use rusqlite::{OptionalExtension, params};

use super::{Delivery, Error, Listed, Outbox, text};
use crate::call::ContactId;
use crate::outbox::lane::DeliveryId;
use crate::time::Wall;

impl Outbox {
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

    /// Everything that waits to be delivered to the named endpoints, in order: endpoint index, contact, delivery, next attempt (the epoch where
    /// there was none yet: what is sent for the first time is never waited with, whatever the clock says).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending(&self, endpoints: &[String]) -> Result<Vec<(usize, ContactId, DeliveryId, Wall)>, Error> {
        let sql = "SELECT d.id, p.name, c.id, CASE d.attempts WHEN 0 THEN 0 ELSE d.next_at END FROM delivery d \
                   JOIN contact c ON c.row = d.contact JOIN endpoint p ON p.id = d.endpoint WHERE d.status IN ('pending', 'replay') ORDER BY d.id";
        self.select_deliveries(sql, [], endpoints)
    }

    /// The next deliveries of one lane, up to and with `last`; a few more than a lane keeps in memory.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending_of(&self, endpoint: &str, contact: ContactId, last: DeliveryId) -> Result<Vec<DeliveryId>, Error> {
        let sql = "SELECT d.id, p.name, c.id, d.next_at FROM delivery d JOIN contact c ON c.row = d.contact \
                   JOIN endpoint p ON p.id = d.endpoint \
                   WHERE d.status = 'pending' AND p.name = ?1 AND c.id = ?2 AND d.id <= ?3 ORDER BY d.id LIMIT 65";
        let values = params![endpoint, contact.to_string(), last.0];
        let rows = self.select_deliveries(sql, values, &[endpoint.to_string()])?;
        Ok(rows.into_iter().map(|row| row.2).collect())
    }

    /// Deliveries that a person asked to replay since the last call; they are pending from now on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn take_replays(&self, endpoints: &[String]) -> Result<Vec<(usize, ContactId, DeliveryId, Wall)>, Error> {
        let sql = "SELECT d.id, p.name, c.id, d.next_at FROM delivery d JOIN contact c ON c.row = d.contact \
                   JOIN endpoint p ON p.id = d.endpoint WHERE d.status = 'replay' ORDER BY d.id";
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
            let sql = "SELECT d.id, e.id, e.type, c.id, e.sequence, p.name, d.status, d.attempts, d.next_at, d.error \
                       FROM delivery d JOIN event e ON e.row = d.event JOIN contact c ON c.row = e.contact JOIN endpoint p ON p.id = d.endpoint \
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
}

fn json_list(ids: &[i64]) -> String {
    serde_json::to_string(ids).unwrap_or_default()
}

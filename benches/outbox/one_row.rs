//! The first peer: SQLite with a transaction for each event (WAL, synchronous=FULL: one fsync each), one row of id, contact and the event.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use kakehashi::events::Event;
use rusqlite::{Connection, params};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::load::{nth, paced};

/// Events that wait for the writer; as many as ours.
const QUEUE: usize = 4_096;

pub(crate) struct OneRow {
    connection: Connection,
}

impl OneRow {
    pub(crate) fn open(folder: &Path) -> OneRow {
        std::fs::create_dir_all(folder).unwrap();
        let connection = Connection::open(folder.join("one-row.db")).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        let table = "CREATE TABLE event (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, contact TEXT NOT NULL, body TEXT NOT NULL)";
        connection.execute_batch(table).unwrap();
        OneRow { connection }
    }

    fn store(&self, event: &Event) {
        let mut insert =
            self.connection.prepare_cached("INSERT INTO event (id, contact, body) VALUES (?1, ?2, ?3)").unwrap();
        insert.execute(params![event.id.to_string(), event.contact.to_string(), event.to_json()]).unwrap();
    }

    /// Events a second; there is no more than one writer at a time, so one thread writes.
    pub(crate) fn rate(&self, events: u64) -> f64 {
        let began = Instant::now();
        for n in 0..events {
            self.store(&nth(0, n));
        }
        events as f64 / began.elapsed().as_secs_f64()
    }

    /// The same by a thread behind a queue, as ours.
    pub(crate) fn times(self, runtime: &Runtime, rate: u32, count: u64) -> (OneRow, Vec<Duration>) {
        let (queue, waiting): (SyncSender<(Event, oneshot::Sender<()>)>, _) = sync_channel(QUEUE);
        let writer = std::thread::spawn(move || {
            for (event, done) in waiting {
                self.store(&event);
                let _ = done.send(());
            }
            self
        });
        let taken = runtime.block_on(paced(rate, count, |n| {
            let (done, stored) = oneshot::channel();
            queue.send((nth(1_000_000 + u64::from(rate) * 1_000, n), done)).unwrap();
            async move { stored.await.unwrap() }
        }));
        drop(queue);
        (writer.join().unwrap(), taken)
    }
}

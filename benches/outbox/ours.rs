//! Our side: the outbox with its one writer, which commits what waits in one transaction with one fsync.

use std::path::Path;
use std::time::{Duration, Instant};

use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::load::{CONTACTS, batch, nth, paced};

/// Threads that accept events.
const THREADS: u64 = 4;

/// An outbox of its own, with one endpoint.
pub(crate) struct Ours<'a> {
    runtime: &'a Runtime,
    outbox: Outbox,
    /// Takes what is committed, in the dispatcher's place; ends with the writer and its copy.
    taken: JoinHandle<()>,
}

impl<'a> Ours<'a> {
    /// In a new folder; `copy`: with the second copy, as it is by default.
    pub(crate) fn open(runtime: &'a Runtime, folder: &Path, copy: bool) -> Ours<'a> {
        let settings = Settings { second_copy: copy, ..Settings::default() };
        let (outbox, mut committed) =
            runtime.block_on(async { Outbox::open(folder, &settings, ["crm".to_string()]) }).unwrap();
        let taken = runtime.spawn(async move { while committed.recv().await.is_some() {} });
        Ours { runtime, outbox, taken }
    }

    /// Events a second until all are on disk.
    pub(crate) fn rate(&self, events: u64) -> f64 {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    for n in 0..events / THREADS {
                        self.outbox.submit(batch(nth(thread * CONTACTS, n))).unwrap();
                    }
                });
            }
        });
        self.runtime.block_on(self.outbox.flush().unwrap()).unwrap();
        (events / THREADS * THREADS) as f64 / began.elapsed().as_secs_f64()
    }

    pub(crate) fn times(&self, rate: u32, count: u64) -> Vec<Duration> {
        self.runtime.block_on(paced(rate, count, |n| {
            let done = self.outbox.commit(batch(nth(1_000_000 + u64::from(rate) * 1_000, n))).unwrap();
            async move { done.await.unwrap() }
        }))
    }

    /// Ends when its threads have.
    pub(crate) fn close(self) {
        drop(self.outbox);
        self.runtime.block_on(self.taken).unwrap();
    }
}

//! The durable outbox: events accepted a second, and how long one takes to be on disk, fsync included. Prints `name value unit` lines.
//!
//! `cargo bench --bench outbox` · `KAKEHASHI_BENCH_EVENTS` (100000)

use std::path::Path;
use std::time::{Duration, Instant};

use kakehashi::call::ContactId;
use kakehashi::events::{CallQueued, Caller, Data, Event};
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use kakehashi::outbox::{Batch, ContactRow};
use kakehashi::pbx::{CallKey, PbxId};
use kakehashi::time::Wall;
use uuid::Uuid;

/// Contacts that are written at once, as 150 calls do.
const CONTACTS: u64 = 150;
/// Threads that accept events.
const THREADS: u64 = 4;

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("benches/outbox: a debug build measures nothing; run `cargo bench --bench outbox`");
        std::process::exit(2);
    }
    let events: u64 = std::env::var("KAKEHASHI_BENCH_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    // a folder on the disk that the build is on: the system's temporary folder may be memory
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-outbox");
    let _ = std::fs::remove_dir_all(&folder);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (outbox, mut committed) =
        runtime.block_on(async { Outbox::open(&folder, &Settings::default(), &["crm".to_string()]) }).unwrap();
    runtime.spawn(async move { while committed.recv().await.is_some() {} });

    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let outbox = outbox.clone();
            scope.spawn(move || {
                for n in 0..events / THREADS {
                    outbox.submit(batch(thread * CONTACTS + n % CONTACTS, 1 + n / CONTACTS)).unwrap();
                }
            });
        }
    });
    runtime.block_on(outbox.flush().unwrap()).unwrap();
    let seconds = began.elapsed().as_secs_f64();
    println!("outbox_enqueue {:.0} events/s", (events / THREADS * THREADS) as f64 / seconds);

    latency(&runtime, &outbox, 100, 2_000);
    latency(&runtime, &outbox, 1_000, 5_000);
    drop(outbox);
    let _ = std::fs::remove_dir_all(&folder);
}

/// Time from hand-in to fsync at a fixed rate.
fn latency(runtime: &tokio::runtime::Runtime, outbox: &Outbox, rate: u64, count: u64) {
    let mut taken: Vec<Duration> = runtime.block_on(async {
        let mut clock = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
        let mut waits = Vec::new();
        for n in 0..count {
            clock.tick().await;
            let began = Instant::now();
            let done = outbox.commit(batch(1_000_000 + rate * 1_000 + n % CONTACTS, 1 + n / CONTACTS)).unwrap();
            waits.push(tokio::spawn(async move {
                done.await.unwrap();
                began.elapsed()
            }));
        }
        let mut taken = Vec::new();
        for wait in waits {
            taken.push(wait.await.unwrap());
        }
        taken
    });
    taken.sort();
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    println!("outbox_commit_p50_at_{rate}_events_s {:.3} ms", at(0.50));
    println!("outbox_commit_p99_at_{rate}_events_s {:.3} ms", at(0.99));
}

fn batch(contact: u64, sequence: u64) -> Batch {
    let id = ContactId(Uuid::from_u128(u128::from(contact) + 1));
    let queued = CallQueued { caller: Caller::default(), called: "6001".into(), queue: "madoguchi".into() };
    Batch {
        contact: ContactRow {
            id,
            site: "s".into(),
            call: CallKey { pbx: PbxId("p".into()), key: contact.to_string() },
            open: true,
            state: "x".repeat(1_500),
        },
        keys: Vec::new(),
        events: vec![Event {
            id: Event::record_id(id, sequence),
            source: "/site/s/node/n".into(),
            contact: id,
            leg: None,
            time: Wall(1_795_420_800_000_000),
            sequence: Some(sequence),
            expires: None,
            data: Data::CallQueued(queued),
        }],
        deliver_text: true,
    }
}

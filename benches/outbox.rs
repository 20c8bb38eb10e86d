//! The durable outbox: events accepted a second, and how long one takes to be on disk, fsync included; beside SQLite with a transaction for each
//! event and NATS JetStream that syncs always, on the same disk in turn. Prints `name value unit` lines.
//!
//! `cargo bench --bench outbox` · `KAKEHASHI_BENCH_EVENTS` (100000, of which the peers get a tenth), `KAKEHASHI_BENCH_ROUNDS` (5)
//!
//! What each gives when it says that an event is stored: all three have synced it. Ours has also stored the state of its call (1.5 kB), its hash
//! chain and what is to be delivered, one fsync for all that waited; SQLite's row is the event alone, one fsync each; JetStream's message is the
//! event alone, synced by the server.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

#[path = "outbox/figures.rs"]
mod figures;
#[path = "outbox/jetstream.rs"]
mod jetstream;
#[path = "outbox/load.rs"]
mod load;
#[path = "../tests/common/nats.rs"]
mod nats;
#[path = "outbox/one_row.rs"]
mod one_row;
#[path = "outbox/ours.rs"]
mod ours;

use figures::{print, print_times, ratios};
use jetstream::JetStream;
use one_row::OneRow;
use ours::Ours;

/// Who takes longer than that for half of the events does not keep the pace, in milliseconds.
const BEHIND_MS: f64 = 500.0;
/// Events a second at which times are taken, and how many events.
const PACES: [(u32, u64); 2] = [(100, 1_000), (1_000, 5_000)];

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("benches/outbox: a debug build measures nothing; run `cargo bench --bench outbox`");
        std::process::exit(2);
    }
    let (events, rounds) = (number("KAKEHASHI_BENCH_EVENTS", 100_000), number("KAKEHASHI_BENCH_ROUNDS", 5));
    let place = Place::new();
    let runtime = Runtime::new().unwrap();
    println!("# {} bytes an event; SQLite {}", load::event(1, 1).to_json().len(), rusqlite::version());
    place.sync();
    let jetstream = JetStream::start(&runtime, &place.0).map_err(|why| println!("# JetStream is left out: {why}")).ok();
    compare_rates(&runtime, &place, jetstream.as_ref(), events, rounds);
    compare_times(&runtime, &place, jetstream.as_ref());
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The sides in turn, so that what slows the disk for a while slows all of them.
fn compare_rates(runtime: &Runtime, place: &Place, jetstream: Option<&JetStream<'_>>, events: u64, rounds: u64) {
    let [mut whole, mut single, mut rows, mut stream] = [const { Vec::new() }; 4];
    for _ in 0..rounds.max(1) {
        for (copy, rates) in [(true, &mut whole), (false, &mut single)] {
            let ours = Ours::open(runtime, &place.fresh("ours"), copy);
            rates.push(ours.rate(events));
            ours.close();
        }
        rows.push(OneRow::open(&place.fresh("one-row")).rate(events / 10));
        if let Some(jetstream) = jetstream {
            jetstream.begin();
            stream.push(jetstream.rate(events / 10));
        }
    }
    print("outbox_enqueue", &whole, "events/s");
    print("outbox_enqueue_without_second_copy", &single, "events/s");
    print("sqlite_one_row_commits", &rows, "events/s");
    print("jetstream_publish", &stream, "events/s");
    print("outbox_enqueue_to_sqlite_one_row_commits", &ratios(&whole, &rows), "times");
    print("outbox_enqueue_to_jetstream", &ratios(&whole, &stream), "times");
}

fn compare_times(runtime: &Runtime, place: &Place, jetstream: Option<&JetStream<'_>>) {
    for (rate, count) in PACES {
        let mut ours = Vec::new();
        for (copy, name) in [(true, "outbox_commit"), (false, "outbox_commit_without_second_copy")] {
            let side = Ours::open(runtime, &place.fresh("ours"), copy);
            ours.push(print_times_at(name, rate, side.times(rate, count)));
            side.close();
        }
        let (_, taken) = OneRow::open(&place.fresh("one-row")).times(runtime, rate, count);
        let mut peers = vec![("sqlite_one_row", print_times_at("sqlite_one_row_commit", rate, taken))];
        if let Some(jetstream) = jetstream {
            jetstream.begin();
            peers.push(("jetstream", print_times_at("jetstream_ack", rate, jetstream.times(rate, count))));
        }
        for (name, theirs) in peers {
            println!("outbox_commit_p50_to_{name}_at_{rate}_events_s {:.2} times", ours[0][0] / theirs[0]);
            println!("outbox_commit_p99_to_{name}_at_{rate}_events_s {:.2} times", ours[0][1] / theirs[1]);
        }
    }
}

/// As `print_times`, the pace at the end of the name.
fn print_times_at(name: &str, rate: u32, taken: Vec<Duration>) -> [f64; 2] {
    let both = print_times(&format!("{name}_at_{rate}_events_s"), taken);
    if both[0] > BEHIND_MS {
        println!("# {name} does not keep {rate} events/s here: its times are those of a queue that grows");
    }
    both
}

/// A folder on the disk that the build is on: the system's temporary folder may be memory.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-outbox");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Place(folder)
    }

    /// A folder in it with nothing in it.
    fn fresh(&self, name: &str) -> PathBuf {
        let folder = self.0.join(name);
        let _ = std::fs::remove_dir_all(&folder);
        self.settle();
        folder
    }

    /// Waits until the disk is done with what was written and removed before (where it is told of the latter, by the mount option `discard`, it may stand
    /// still for a second): a hundred quick syncs in a row, or half a minute.
    fn settle(&self) {
        let _ = std::process::Command::new("sync").status();
        let (began, mut quick) = (Instant::now(), 0);
        while quick < 100 && began.elapsed() < Duration::from_secs(30) {
            let one = Instant::now();
            let path = self.0.join("settled");
            std::fs::File::create(&path).and_then(|file| file.sync_all()).unwrap();
            std::fs::remove_file(path).unwrap();
            quick = if one.elapsed() < Duration::from_millis(20) { quick + 1 } else { 0 };
        }
    }

    /// What one fdatasync of this disk costs, after a page at the end of a file and after one in the middle of what is there.
    fn sync(&self) {
        let page = [7; 4_096];
        let mut file = std::fs::File::create(self.0.join("sync")).unwrap();
        for name in ["append", "overwrite"] {
            file.seek(SeekFrom::Start(0)).unwrap();
            let one = |_| {
                let began = Instant::now();
                file.write_all(&page).unwrap();
                file.sync_data().unwrap();
                began.elapsed()
            };
            print_times(&format!("disk_fdatasync_{name}"), (0..1_000).map(one).collect());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! What is kept long enough is deleted, with its sound, from the store and from its copy; what somebody still needs is not.

use std::path::Path;
use std::time::Duration;

use kakehashi::bridge::retention::{Deleted, sweep};
use kakehashi::call::ContactId;
use kakehashi::events::Caller;
use kakehashi::media::Frame;
use kakehashi::media::segment;
use kakehashi::outbox::Batch;
use kakehashi::outbox::lane::DeliveryId;
use kakehashi::outbox::settings::{Retention, Settings};
use kakehashi::outbox::store::{Outbox, Outcome, verify};
use kakehashi::pbx::StreamId;
use kakehashi::time::Wall;
use uuid::Uuid;

#[path = "common/batch.rs"]
mod batch;

const DAY: i64 = 86_400 * 1_000_000;

fn day(day: i64) -> Wall {
    Wall(1_800_000_000_000_000 + day * DAY)
}

/// Contact `number`, whose one event is of that day; a text stands in it that is found where it is left.
fn of(number: u128, on: i64, open: bool) -> Batch {
    let mut batch = batch::queued(ContactId(Uuid::from_u128(number)), 1, Caller::default(), &format!("墓地{number}係"));
    batch.contact.open = open;
    batch.events.iter_mut().for_each(|event| event.time = day(on));
    batch
}

struct Store {
    outbox: Outbox,
    _committed: tokio::sync::mpsc::Receiver<kakehashi::outbox::store::Committed>,
}

impl Store {
    fn open(folder: &Path) -> Store {
        let (outbox, committed) = Outbox::open(folder, &Settings::default(), ["crm"]).unwrap();
        Store { outbox, _committed: committed }
    }

    fn commit(&self, batch: Batch) {
        self.outbox.commit(batch).unwrap().blocking_recv().unwrap();
    }

    fn delivered(&self, delivery: i64, outcome: Outcome) {
        self.outbox.record(DeliveryId(delivery), outcome).unwrap();
    }

    fn has(&self, number: u128) -> bool {
        self.outbox.contact(ContactId(Uuid::from_u128(number))).unwrap().is_some()
    }

    fn sweep(&self, folder: &Path, settings: Retention, today: i64) -> Deleted {
        self.outbox.flush().unwrap().blocking_recv().unwrap();
        sweep(&self.outbox, &folder.join("audio"), settings, day(today)).unwrap()
    }
}

/// Whether any file of the folder has the text.
fn is_left(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).any(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[test]
fn what_is_over_and_delivered_goes_after_its_days_and_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path());
    for (number, on, open) in [(1, 0, false), (2, 0, true), (3, 0, false), (4, 0, false), (5, 9, false), (6, 0, false)]
    {
        store.commit(of(number, on, open));
    }
    // 3 is dead, 4 waits; the newest event stays whatever its age
    for delivery in [1, 2, 5, 6] {
        store.delivered(delivery, Outcome::Delivered);
    }
    store.delivered(3, Outcome::Dead { error: "status 400".into() });
    let days = Retention { records_days: 10, recordings_days: 0 };
    assert_eq!(
        store.sweep(folder.path(), Retention::default(), 1_000),
        Deleted::default(),
        "everything is kept for ever"
    );
    assert_eq!(store.sweep(folder.path(), days, 10), Deleted::default(), "ten days are not over");
    assert_eq!(store.sweep(folder.path(), days, 11).contacts, 1);
    assert_eq!([1, 2, 3, 4, 5, 6].map(|number| store.has(number)), [false, true, true, true, true, true]);
    store.delivered(4, Outcome::Delivered);
    store.outbox.flush().unwrap().blocking_recv().unwrap();
    assert_eq!(store.outbox.discard(None, "既に手入力済み").unwrap(), 1);
    assert_eq!(store.sweep(folder.path(), days, 20).contacts, 3, "3, 4 and 5");
    assert_eq!([1, 2, 3, 4, 5, 6].map(|number| store.has(number)), [false, true, false, false, false, true]);
    // the store and its copy, pages and logs
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while [1, 3, 4, 5].iter().any(|number| is_left(folder.path(), &format!("墓地{number}係"))) {
        assert!(std::time::Instant::now() < deadline, "a deleted text is still on disk");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!([2, 6].iter().all(|number| is_left(folder.path(), &format!("墓地{number}係"))));
    let verdict = verify(&folder.path().join("outbox.db")).unwrap();
    assert_eq!((verdict.wrong, verdict.contacts), (0, 2), "{verdict:?}");

    // what comes next has a number of its own
    store.commit(of(7, 20, false));
    assert_eq!(store.outbox.list(None, 1).unwrap()[0].delivery, 7);
}

#[test]
fn a_copy_that_missed_a_deletion_makes_up_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path());
    for number in 1..=3 {
        store.commit(of(number, 0, false));
        store.delivered(i64::try_from(number).unwrap(), Outcome::Delivered);
    }
    store.outbox.flush().unwrap().blocking_recv().unwrap();
    drop(store);
    closed(folder.path());
    let copy = folder.path().join("outbox-copy.db");
    let old = std::fs::read(&copy).unwrap();
    let store = Store::open(folder.path());
    assert_eq!(store.sweep(folder.path(), Retention { records_days: 1, recordings_days: 1 }, 5).contacts, 2);
    drop(store);
    closed(folder.path());
    std::fs::write(&copy, old).unwrap();
    let contacts = || {
        rusqlite::Connection::open(&copy)
            .unwrap()
            .query_row("SELECT count(*) FROM contact", [], |row| row.get::<_, i64>(0))
    };
    assert_eq!(contacts().unwrap(), 3);
    let store = Store::open(folder.path());
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while contacts().unwrap() != 1 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(store.has(3) && !store.has(1));
}

/// Waits until the writers have closed their files.
fn closed(folder: &Path) {
    let is_open = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file.starts_with(folder))
    };
    while is_open() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn recordings_go_after_their_own_days_unless_their_call_is_not_over() {
    let folder = tempfile::tempdir().unwrap();
    let audio = folder.path().join("audio");
    let record = |number: u128, on: i64| {
        let stream = StreamId(Uuid::from_u128(number));
        let mut writer = segment::Writer::new(&audio, stream, day(on), 8_000, 10_000);
        writer.write(&Frame { stream, position: 0, rate: 8_000, samples: vec![7; 160] }).unwrap();
        segment::folder(&audio, stream)
    };
    let (old, young) = (record(1, 0), record(2, 8));
    std::fs::create_dir_all(audio.join("notes")).unwrap();
    let store = Store::open(folder.path());
    let days = Retention { recordings_days: 5, records_days: 0 };
    assert_eq!(store.sweep(folder.path(), days, 5).recordings, 0);
    assert_eq!(store.sweep(folder.path(), days, 10), Deleted { contacts: 0, recordings: 1 });
    assert!(
        !old.exists() && young.exists() && audio.join("notes").exists(),
        "a folder that is no recording is not ours"
    );
}

//! Damage on disk: bits of the store are turned over, files go away, and everything that was accepted is delivered all the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kakehashi::call::ContactId;
use kakehashi::events::{Caller, Event};
use kakehashi::outbox::Batch;
use kakehashi::outbox::lane::DeliveryId;
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::{Committed, Error, Outbox, Outcome};
use uuid::Uuid;

#[path = "common/batch.rs"]
mod batch;
#[allow(dead_code)] // only the dice are used
#[path = "common/mutate.rs"]
mod mutate;
#[path = "common/seed.rs"]
mod seed;

use mutate::Dice;

const CONTACTS: u128 = 20;
const EACH: u64 = 10;

fn settings() -> Settings {
    Settings { reserve_bytes: 0, ..Settings::default() }
}

fn batch(contact: u128, sequence: u64) -> Batch {
    let queue = format!("待ち行列{sequence}-{}", "続".repeat(usize::try_from(contact).unwrap() * 7));
    let mut batch = batch::queued(ContactId(Uuid::from_u128(contact)), sequence, Caller::default(), &queue);
    batch.contact.open = sequence < EACH;
    batch
}

/// Opens the store; what it commits is taken and thrown away, as a dispatcher would take it.
fn open(folder: &Path) -> Outbox {
    let (outbox, mut committed) = Outbox::open(folder, &settings(), ["crm"]).unwrap();
    std::thread::spawn(move || while let Some(Committed { .. }) = committed.blocking_recv() {});
    outbox
}

/// Fills a store; every third contact has the first half of its events delivered. Gives what is still to be delivered.
fn fill(folder: &Path) -> BTreeMap<u128, Vec<u64>> {
    let outbox = open(folder);
    for sequence in 1..=EACH {
        (1..=CONTACTS).for_each(|contact| outbox.submit(batch(contact, sequence)).unwrap());
    }
    outbox.flush().unwrap().blocking_recv().unwrap();
    let mut left: BTreeMap<u128, Vec<u64>> = BTreeMap::new();
    for (_, contact, delivery, _) in outbox.pending(&["crm".into()]).unwrap() {
        let sequence = sequence_of(&outbox, delivery).unwrap();
        if contact.0.as_u128() % 3 == 0 && sequence <= EACH / 2 {
            outbox.record(delivery, Outcome::Delivered).unwrap();
        } else {
            left.entry(contact.0.as_u128()).or_default().push(sequence);
        }
    }
    outbox.flush().unwrap().blocking_recv().unwrap();
    until_copied(folder, &left);
    left
}

/// `None` for a row that is none: the delivery that its number was of has been put back beside it.
fn sequence_of(outbox: &Outbox, delivery: DeliveryId) -> Option<u64> {
    let body = patiently(|| outbox.delivery(delivery))?.body.expect("its text is whole");
    Event::from_json(&body).unwrap().sequence
}

/// What reads a damaged page fails until the second copy is in its place.
fn patiently<T>(read: impl Fn() -> Result<T, Error>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match read() {
            Ok(read) => return read,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the second copy has everything, and nobody has the files open any more.
fn until_copied(folder: &Path, left: &BTreeMap<u128, Vec<u64>>) {
    let all: usize = left.values().map(Vec::len).sum();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let copy = rusqlite::Connection::open(folder.join("outbox-copy.db")).unwrap();
        let pending =
            copy.query_row("SELECT count(*) FROM delivery WHERE status = 'pending'", [], |row| row.get::<_, i64>(0));
        if pending == Ok(all as i64) {
            return;
        }
        assert!(Instant::now() < deadline, "the copy has {pending:?} of {all}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn until_closed(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let log = folder.join("outbox.db-wal");
    while log.exists() {
        assert!(Instant::now() < deadline, "the store is still open");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Everything that was to be delivered still is, in order; what comes besides was accepted once.
fn assert_whole(outbox: &Outbox, left: &BTreeMap<u128, Vec<u64>>, why: &str) {
    let mut found: BTreeMap<u128, Vec<u64>> = BTreeMap::new();
    for (_, contact, delivery, _) in patiently(|| outbox.pending(&["crm".into()])) {
        found.entry(contact.0.as_u128()).or_default().extend(sequence_of(outbox, delivery));
    }
    for (contact, wanted) in left {
        let found = found.get(contact).cloned().unwrap_or_default();
        assert!(found.is_sorted(), "{why}: contact {contact} is out of order: {found:?}");
        assert!(
            wanted.iter().all(|sequence| found.contains(sequence)),
            "{why}: contact {contact}: {found:?}, wanted {wanted:?}"
        );
    }
}

/// It goes on taking events, and has them after another restart.
fn assert_usable(folder: &Path, outbox: Outbox, left: &BTreeMap<u128, Vec<u64>>, why: &str) {
    (1..=CONTACTS).for_each(|contact| outbox.submit(batch(contact, EACH + 1)).unwrap());
    outbox.flush().unwrap().blocking_recv().unwrap();
    let mut more = left.clone();
    (1..=CONTACTS).for_each(|contact| more.entry(contact).or_default().push(EACH + 1));
    assert_whole(&outbox, &more, why);
    drop(outbox);
    until_closed(folder);
    assert_whole(&open(folder), &more, why);
}

#[test]
fn bits_that_are_turned_over_cost_nothing_that_was_accepted() {
    let full = tempfile::tempdir().unwrap();
    let left = fill(full.path());
    until_closed(full.path());
    let mut dice = Dice(seed::seed());
    let _ = tracing_subscriber::fmt().with_test_writer().try_init();
    let (mut taken, rounds) = (0, 60);
    for round in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        for file in ["outbox.db", "outbox-copy.db"] {
            std::fs::copy(full.path().join(file), folder.path().join(file)).unwrap();
        }
        let damaged = ["outbox.db", "outbox-copy.db"][round % 2];
        let path = folder.path().join(damaged);
        let mut bytes = std::fs::read(&path).unwrap();
        for _ in 0..=dice.below(16) {
            let bit = dice.below(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        std::fs::write(&path, bytes).unwrap();
        let why = format!("round {round}, {damaged}");
        let outbox = open(folder.path());
        assert_whole(&outbox, &left, &why);
        assert_usable(folder.path(), outbox, &left, &why);
        let aside: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.file_name()).collect();
        let aside = |name: &str| aside.iter().any(|file| file.to_string_lossy().starts_with(name));
        taken += usize::from(aside("outbox.db.damaged"));
        assert!(damaged == "outbox.db" || !aside("outbox.db.damaged"), "{why}: a whole store is never replaced");
    }
    println!("{rounds} rounds, {taken} of them with the second copy in place of the store");
}

#[test]
fn a_copy_that_is_damaged_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let left = fill(folder.path());
    until_closed(folder.path());
    std::fs::write(folder.path().join("outbox-copy.db"), vec![7; 8_192]).unwrap();
    let outbox = open(folder.path());
    assert_whole(&outbox, &left, "a copy of nonsense");
    until_copied(folder.path(), &left);
}

#[test]
fn a_store_that_is_gone_or_nonsense_is_replaced_by_its_copy() {
    for nonsense in [None, Some(vec![7; 8_192]), Some(Vec::new())] {
        let folder = tempfile::tempdir().unwrap();
        let left = fill(folder.path());
        until_closed(folder.path());
        let path = folder.path().join("outbox.db");
        match &nonsense {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        }
        let why = format!("{:?} bytes", nonsense.map(|bytes| bytes.len()));
        let outbox = open(folder.path());
        assert_whole(&outbox, &left, &why);
        assert_usable(folder.path(), outbox, &left, &why);
    }
}

#[test]
fn damage_while_it_runs_is_met_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let left = fill(folder.path());
    let outbox = open(folder.path());
    until_copied(folder.path(), &left);
    // behind SQLite's back: every page but the first is overwritten, and the log with what is in it is emptied first
    let other = rusqlite::Connection::open(folder.path().join("outbox.db")).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut bytes = std::fs::read(folder.path().join("outbox.db")).unwrap();
    bytes[4_096..].fill(0x5a);
    std::fs::write(folder.path().join("outbox.db"), bytes).unwrap();
    drop(other);
    (1..=CONTACTS).for_each(|contact| outbox.submit(batch(contact, EACH + 1)).unwrap());
    outbox.flush().unwrap().blocking_recv().unwrap();
    let mut more = left;
    (1..=CONTACTS).for_each(|contact| more.entry(contact).or_default().push(EACH + 1));
    assert_whole(&outbox, &more, "damaged while it ran");
}

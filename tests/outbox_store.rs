//! The store on a real file: what was accepted is there after everything, in order, once.

use kakehashi::call::ContactId;
use kakehashi::events::{CallQueued, Caller, Data, Event};
use kakehashi::outbox::lane::DeliveryId;
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::{Error, Outbox, Outcome, VERSION, verify};
use kakehashi::outbox::{Batch, ContactRow, ContextRow};
use kakehashi::pbx::{CallKey, ExternalKey, KeyKind, PbxId};
use kakehashi::time::Wall;
use rusqlite::params;
use sha2::{Digest, Sha256};
use uuid::Uuid;

fn time(sequence: u64) -> Wall {
    Wall(1_795_420_800_000_000 + sequence as i64)
}

fn batch(contact: u128, first: u64, count: u64) -> Batch {
    let id = ContactId(Uuid::from_u128(contact));
    let events = (first..first + count).map(|sequence| Event {
        id: Event::record_id(id, sequence, time(sequence)),
        source: "/site/s/node/n".into(),
        contact: id,
        leg: None,
        time: time(sequence),
        sequence: Some(sequence),
        expires: None,
        data: Data::CallQueued(CallQueued { caller: Caller::default(), called: "1".into(), queue: "q".into() }),
    });
    Batch {
        contact: ContactRow {
            id,
            site: "s".into(),
            call: CallKey { pbx: PbxId("p".into()), key: contact.to_string() },
            open: true,
            state: format!("{{\"next\":{}}}", first + count),
        },
        keys: vec![ExternalKey { kind: KeyKind::Linkedid, value: contact.to_string() }],
        events: events.collect(),
        deliver_text: true,
    }
}

fn endpoints() -> Vec<String> {
    vec!["crm".into(), "archive".into()]
}

#[tokio::test]
async fn a_committed_batch_is_there_after_reopening_with_its_deliveries() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, mut committed) = Outbox::open(folder.path(), &Settings::default(), endpoints()).unwrap();
    outbox.commit(batch(1, 1, 3)).unwrap().await.unwrap();
    outbox.commit(batch(1, 4, 2)).unwrap().await.unwrap();
    for sequence in 1..=5 {
        let one = committed.recv().await.unwrap();
        assert_eq!((one.event.sequence, one.deliveries.len()), (Some(sequence), 2));
    }
    drop((outbox, committed));
    let (outbox, _committed) = Outbox::open(folder.path(), &Settings::default(), endpoints()).unwrap();
    let id = ContactId(Uuid::from_u128(1));
    let sequences: Vec<_> = outbox.events_of(id).unwrap().iter().filter_map(|event| event.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5]);
    assert_eq!(outbox.open_contacts().unwrap()[0].state, "{\"next\":6}");
    assert_eq!(outbox.pending(&endpoints()).unwrap().len(), 10);
    let key = ExternalKey { kind: KeyKind::Linkedid, value: "1".into() };
    assert_eq!(outbox.contact_by_key("s", &key).unwrap(), Some(id));
    assert_eq!(outbox.contact_by_key("other", &key).unwrap(), None);
}

#[tokio::test]
async fn outcomes_dead_letters_replay_and_discard() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, mut committed) = Outbox::open(folder.path(), &Settings::default(), endpoints()).unwrap();
    outbox.commit(batch(1, 1, 3)).unwrap().await.unwrap();
    let ids: Vec<DeliveryId> = {
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(committed.recv().await.unwrap().deliveries[0].1);
        }
        ids
    };
    outbox.record(ids[0], Outcome::Delivered).unwrap();
    outbox.record(ids[1], Outcome::Dead { error: "status 422".into() }).unwrap();
    outbox.record(ids[2], Outcome::Dead { error: "status 422".into() }).unwrap();
    outbox.commit(batch(2, 1, 1)).unwrap().await.unwrap();
    assert!(!outbox.delivery(ids[0]).unwrap().unwrap().pending);
    assert_eq!(outbox.list(Some("dead"), 10).unwrap().len(), 2);
    assert_eq!(outbox.replay(Some(&[ids[1].0]), Wall(9)).unwrap(), 1);
    assert_eq!(outbox.discard(None, "not wanted").unwrap(), 1);
    let replays = outbox.take_replays(&endpoints()).unwrap();
    assert_eq!(replays.iter().map(|row| row.2).collect::<Vec<_>>(), [ids[1]]);
    assert!(outbox.take_replays(&endpoints()).unwrap().is_empty());
    let delivery = outbox.delivery(ids[1]).unwrap().unwrap();
    assert_eq!((delivery.pending, delivery.attempts), (true, 0));
}

#[tokio::test]
async fn what_was_never_sent_waits_for_no_clock() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, mut committed) = Outbox::open(folder.path(), &Settings::default(), endpoints()).unwrap();
    outbox.commit(batch(1, 1, 2)).unwrap().await.unwrap();
    let first = committed.recv().await.unwrap().deliveries[0].1;
    let at = Wall(1_900_000_000_000_000);
    outbox.record(first, Outcome::Again { at, error: "no connection".into(), counted: true }).unwrap();
    outbox.flush().unwrap().await.unwrap();
    let next: Vec<Wall> = outbox.pending(&["crm".into()]).unwrap().into_iter().map(|row| row.3).collect();
    assert_eq!(
        next,
        [at, Wall(0)],
        "the time of the event, which a clock that was set back has not reached, says nothing"
    );
}

#[test]
fn a_newer_store_and_a_file_that_is_no_store_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    drop(Outbox::open(folder.path(), &Settings::default(), [""; 0]).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
    drop(connection);
    let error = Outbox::open(folder.path(), &Settings::default(), [""; 0]).err().unwrap();
    assert!(matches!(error, Error::Newer { .. }), "{error}");
    assert!(error.to_string().contains("outbox.db"));
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("outbox.db"), vec![7u8; 8_192]).unwrap();
    let error = Outbox::open(other.path(), &Settings::default(), [""; 0]).err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_changed_event_breaks_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, _committed) = Outbox::open(folder.path(), &Settings::default(), [""; 0]).unwrap();
    outbox.commit(batch(1, 1, 4)).unwrap().await.unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("outbox.db")).unwrap();
    let links: Vec<(Vec<u8>, Vec<u8>)> = connection
        .prepare("SELECT digest, chain FROM event ORDER BY sequence")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut before = Vec::new();
    for (digest, chain) in links {
        before = Sha256::new().chain_update(&before).chain_update(&digest).finalize().to_vec();
        assert_eq!(before, chain);
    }
}

#[tokio::test]
async fn texts_that_are_not_sent_have_no_number_and_keep_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, _committed) = Outbox::open(folder.path(), &Settings::default(), endpoints()).unwrap();
    let id = ContactId(Uuid::from_u128(1));
    let mut wanted = Vec::new();
    for (number, sent) in [(1, Some(1)), (1, None), (2, None), (2, Some(2)), (3, None)] {
        let mut one = batch(1, number, 1);
        one.events[0].sequence = sent;
        if sent.is_none() {
            one.events[0].id = Event::kept_id(id, number, one.events[0].time);
        }
        wanted.push((one.events[0].id, sent));
        outbox.commit(one).unwrap().await.unwrap();
    }
    drop((outbox, _committed));
    let (outbox, _committed) = Outbox::open(folder.path(), &Settings::default(), endpoints()).unwrap();
    let found: Vec<_> = outbox.events_of(id).unwrap().iter().map(|event| (event.id, event.sequence)).collect();
    assert_eq!(found, wanted);
    let call = CallKey { pbx: PbxId("p".into()), key: "1".into() };
    assert_eq!(outbox.last_contact_of(&call).unwrap().map(|row| row.id), Some(id));
    assert!(outbox.last_contact_of(&CallKey { key: "2".into(), ..call }).unwrap().is_none());
}

fn context(id: u128, expires: i64, body: &str) -> ContextRow {
    ContextRow { id: Uuid::from_u128(id), site: "s".into(), expires: Wall(expires), body: body.into() }
}

#[tokio::test]
async fn what_waits_for_a_call_is_there_after_reopening_until_it_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Outbox::open(folder.path(), &Settings::default(), endpoints()).unwrap().0;
    let outbox = open();
    for row in [context(1, 30, "first"), context(2, 20, "other"), context(1, 10, "second")] {
        outbox.keep(row).unwrap();
    }
    outbox.flush().unwrap().await.unwrap();
    drop(outbox);
    let outbox = open();
    assert_eq!(outbox.contexts().unwrap(), [context(1, 10, "second"), context(2, 20, "other")]);
    outbox.forget(vec![Uuid::from_u128(1), Uuid::from_u128(7)]).unwrap();
    outbox.flush().unwrap().await.unwrap();
    assert_eq!(open().contexts().unwrap(), [context(2, 20, "other")]);
}

/// The tables of version 1 as it wrote them, with contacts, events and deliveries in them.
const VERSION_1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE contact (id TEXT PRIMARY KEY, site TEXT NOT NULL, pbx TEXT NOT NULL, call_key TEXT NOT NULL, open INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX contact_open ON contact (id) WHERE open = 1;
CREATE TABLE contact_key (site TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, contact TEXT NOT NULL REFERENCES contact (id), PRIMARY KEY (site, kind, value)) WITHOUT ROWID;
CREATE TABLE event (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, contact TEXT NOT NULL REFERENCES contact (id), sequence INTEGER NOT NULL,
    type TEXT NOT NULL, time INTEGER NOT NULL, body TEXT NOT NULL, key_id INTEGER NOT NULL, digest BLOB NOT NULL, chain BLOB NOT NULL, UNIQUE (contact, sequence));
CREATE TABLE endpoint (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE delivery (id INTEGER PRIMARY KEY, event INTEGER NOT NULL REFERENCES event (row), endpoint INTEGER NOT NULL REFERENCES endpoint (id),
    contact TEXT NOT NULL, step INTEGER NOT NULL, attempts INTEGER NOT NULL, next_at INTEGER NOT NULL, status TEXT NOT NULL, error TEXT);
CREATE INDEX delivery_waiting ON delivery (endpoint, contact, id) WHERE status = 'pending';
CREATE INDEX delivery_status ON delivery (status, id) WHERE status NOT IN ('pending', 'delivered');
CREATE TABLE remote (endpoint INTEGER NOT NULL REFERENCES endpoint (id), key TEXT NOT NULL, remote_id TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (endpoint, key)) WITHOUT ROWID;
CREATE INDEX contact_call ON contact (pbx, call_key);
INSERT INTO contact VALUES ('00000000-0000-0000-0000-000000000001', 's', 'p', '1', 1, 'kept'), ('00000000-0000-0000-0000-000000000002', 's', 'p', '2', 0, 'over');
INSERT INTO contact_key VALUES ('s', '\"linkedid\"', '7.1', '00000000-0000-0000-0000-000000000001');
INSERT INTO endpoint VALUES (1, 'crm');
PRAGMA user_version = 1;
";

/// Whether any file of the store has `text` somewhere, in use or not.
fn in_files(folder: &std::path::Path, text: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().flatten();
    let has = |bytes: Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let with = files.filter(|file| std::fs::read(file.path()).is_ok_and(has));
    with.map(|file| file.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn no_byte_of_a_deleted_text_stays_in_the_database_or_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, mut committed) = Outbox::open(folder.path(), &Settings::default(), endpoints()).unwrap();
    // pages that are full of them, one that is changed, and others around them that stay
    let long = |n: u128| format!("{{\"reason\":\"seasonal secret {n} {}\"}}", "x".repeat(3_000));
    for n in 0..200 {
        outbox.keep(context(n, 1_000, &long(n))).unwrap();
    }
    outbox.keep(context(500, 1_000, "it stays")).unwrap();
    outbox.keep(context(501, 1_000, "former words")).unwrap();
    outbox.commit(batch(1, 1, 50)).unwrap().await.unwrap();
    assert!(
        !in_files(folder.path(), "seasonal secret").is_empty() && !in_files(folder.path(), "former words").is_empty()
    );
    outbox.keep(context(501, 1_000, "new words")).unwrap();
    outbox.forget((0..200).map(Uuid::from_u128).collect()).unwrap();
    outbox.commit(batch(1, 51, 50)).unwrap().await.unwrap();
    let gone = async {
        while !in_files(folder.path(), "seasonal secret").is_empty()
            || !in_files(folder.path(), "former words").is_empty()
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), gone).await.expect("they are overwritten");
    // what was not deleted is there, and the store goes on
    assert!(!in_files(folder.path(), "it stays").is_empty());
    outbox.commit(batch(1, 101, 1)).unwrap().await.unwrap();
    for sequence in 1..=101 {
        assert_eq!(committed.recv().await.unwrap().event.sequence, Some(sequence));
    }
    assert_eq!(outbox.contexts().unwrap().len(), 2);
}

#[tokio::test]
async fn somebody_who_reads_delays_that_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (outbox, _committed) = Outbox::open(folder.path(), &Settings::default(), endpoints()).unwrap();
    outbox.keep(context(1, 1_000, "seasonal secret")).unwrap();
    outbox.flush().unwrap().await.unwrap();
    let reader = rusqlite::Connection::open(folder.path().join("outbox.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM context;").unwrap();
    outbox.forget(vec![Uuid::from_u128(1)]).unwrap();
    // longer than the first try to empty the log
    for n in 0..15 {
        outbox.commit(batch(1, 1 + n, 1)).unwrap().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(!in_files(folder.path(), "seasonal secret").is_empty(), "the reader still sees it");
    reader.execute_batch("COMMIT").unwrap();
    let gone = async {
        while !in_files(folder.path(), "seasonal secret").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), gone).await.expect("it is overwritten");
}

#[tokio::test]
async fn a_store_of_version_1_is_taken_over_with_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(VERSION_1).unwrap();
    let (mut row, mut links) = (0, [Vec::new(), Vec::new()]);
    for (contact, sequence, status) in [(2, 1, "delivered"), (1, 1, "delivered"), (2, 2, "dead"), (1, 2, "pending")] {
        row += 1;
        let event = batch(contact, sequence, 1).events.remove(0);
        let (id, body) = (event.contact.to_string(), event.to_json());
        let digest = Sha256::digest(body.as_bytes()).to_vec();
        let link = &mut links[contact as usize - 1];
        *link = Sha256::new().chain_update(&*link).chain_update(&digest).finalize().to_vec();
        old.execute(
            "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9)",
            params![
                row,
                event.id.to_string(),
                id,
                sequence as i64,
                event.type_name(),
                event.time.0,
                body,
                digest,
                &*link
            ],
        )
        .unwrap();
        old.execute("INSERT INTO delivery VALUES (?1, ?1, 1, ?2, 0, 0, 0, ?3, NULL)", params![row, id, status])
            .unwrap();
    }
    drop(old);
    let verdict = verify(&path).unwrap();
    assert_eq!((verdict.wrong, verdict.events, verdict.contacts), (0, 4, 2), "{:?}", verdict.problems);
    let error = Outbox::open_beside(folder.path(), &Settings::default(), endpoints()).err().unwrap();
    assert!(matches!(error, Error::Older { found: 1, .. }), "{error}");
    for round in 1..=2 {
        let (outbox, _committed) = Outbox::open(folder.path(), &Settings::default(), endpoints()).unwrap();
        let state = if round == 1 { "kept" } else { "{\"next\":4}" };
        assert_eq!(outbox.open_contacts().unwrap()[0].state, state);
        outbox.keep(context(1, 10, "new")).unwrap();
        outbox.flush().unwrap().await.unwrap();
        assert_eq!(outbox.contexts().unwrap().len(), 1);
        let one = ContactId(Uuid::from_u128(1));
        let pending = outbox.pending(&["crm".into()]).unwrap();
        assert_eq!(
            (pending[0].1, outbox.delivery(pending[0].2).unwrap().unwrap().body),
            (one, outbox.event(&id(1, 2)).unwrap())
        );
        assert_eq!(outbox.pending_of("crm", one, pending[0].2).unwrap().len(), 1);
        assert_eq!(outbox.list(Some("dead"), 9).unwrap()[0].contact, Uuid::from_u128(2).to_string());
        let key = ExternalKey { kind: KeyKind::Linkedid, value: "7.1".into() };
        assert_eq!(outbox.contact_by_key("s", &key).unwrap(), Some(one));
        outbox.commit(batch(1, 2 + round, 1)).unwrap().await.unwrap();
        assert_eq!(outbox.events_of(one).unwrap().len() as u64, 2 + round);
        let verdict = verify(&path).unwrap();
        assert_eq!((verdict.wrong, verdict.events, verdict.contacts), (0, 4 + round, 2), "{:?}", verdict.problems);
    }
    let new = tempfile::tempdir().unwrap();
    drop(Outbox::open(new.path(), &Settings::default(), endpoints()).unwrap());
    assert_eq!(tables(&path), tables(&new.path().join("outbox.db")));
}

fn id(contact: u128, sequence: u64) -> String {
    batch(contact, sequence, 1).events[0].id.to_string()
}

/// The version of a store, and what its tables and indexes are made of.
fn tables(path: &std::path::Path) -> (i64, Vec<String>) {
    let store = rusqlite::Connection::open(path).unwrap();
    let version = store.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let mut query = store.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name").unwrap();
    // other line breaks are no other table
    let text = |sql: String| sql.split_whitespace().collect::<String>();
    let tables = query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).map(text).collect();
    (version, tables)
}

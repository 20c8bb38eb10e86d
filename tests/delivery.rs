//! The delivery engine under pressure: a full outbox, answers that land while the disk is busy, and nothing stands still.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use kakehashi::bridge::{deliver, now};
use kakehashi::call::{ContactId, LegId};
use kakehashi::crm::settings::{Endpoint, Secret};
use kakehashi::events::{Agent, Caller, Data, Event, LookUp, ScreenPop};
use kakehashi::outbox::Batch;
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use uuid::Uuid;

#[path = "common/batch.rs"]
mod batch;
#[path = "common/hook.rs"]
mod hook;

use hook::{Hook, SECRET};

/// Contacts, and events of each: more than a lane keeps in memory.
const CONTACTS: u64 = 5;
const EACH: u64 = 400;

fn endpoint(port: u16) -> Endpoint {
    let url = format!("http://127.0.0.1:{port}/hook");
    Endpoint { url, secrets: vec![Secret(SECRET.into())], ..Endpoint::default() }
}

fn batch(contact: u64, sequence: u64) -> Batch {
    let id = ContactId(Uuid::from_u128(u128::from(contact) + 1));
    batch::queued(id, sequence, Caller::default(), "q")
}

/// A screen that takes longer than the disk, so that what is committed piles up to its bound.
fn slow(_: &Event) {
    std::thread::sleep(Duration::from_millis(3));
}

/// The smallest queue between the parts: whoever waited for another one in a circle would wait for ever here.
#[tokio::test(flavor = "multi_thread")]
async fn with_every_queue_full_each_event_arrives_once_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let settings = Settings { queue_batches: 1, group_batches: 1, ..Settings::default() };
    let endpoint = endpoint(hook.port);
    let (outbox, committed) = Outbox::open(folder.path(), &settings, std::slice::from_ref(&endpoint.id)).unwrap();
    let _running = deliver::spawn(outbox.clone(), committed, &[endpoint], &settings, slow).unwrap();
    let submitter = std::thread::spawn(move || {
        for sequence in 1..=EACH {
            (0..CONTACTS).for_each(|contact| outbox.submit(batch(contact, sequence)).unwrap());
        }
    });
    let all = (CONTACTS * EACH) as usize;
    let events = tokio::task::spawn_blocking(move || hook.until(|events| events.len() >= all)).await.unwrap();
    submitter.join().unwrap();
    assert_eq!(events.len(), all);
    for contact in 0..CONTACTS {
        let id = ContactId(Uuid::from_u128(u128::from(contact) + 1));
        let of_contact = events.iter().filter(|event| event.contact == id).filter_map(|event| event.sequence);
        assert_eq!(of_contact.collect::<Vec<_>>(), (1..=EACH).collect::<Vec<_>>());
    }
}

fn pop(revision: u32) -> Event {
    let popid = Uuid::from_u128(7);
    let pop = ScreenPop {
        popid,
        revision,
        leg: LegId(popid),
        agent: Agent { extension: "2001".into(), ..Agent::default() },
        caller: Caller::default(),
        called: "6001".into(),
        line: None,
        queue: None,
        lookup: LookUp::Skipped,
        matches: Vec::new(),
        transfer: None,
        context: Vec::new(),
        handover: None,
    };
    Event {
        id: Uuid::from_u128(1_000 + u128::from(revision)),
        source: "/site/s/node/n".into(),
        contact: ContactId(popid),
        leg: Some(LegId(popid)),
        time: now().wall,
        sequence: None,
        expires: Some(now().wall + Duration::from_secs(60)),
        data: Data::ScreenPop(pop),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_of_a_pop_arrive_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let settings = Settings::default();
    let (outbox, committed) = Outbox::open(folder.path(), &settings, &["crm".to_string()]).unwrap();
    let endpoint = endpoint(hook.port);
    let (deliverer, _running) = deliver::spawn(outbox, committed, &[endpoint], &settings, |_| {}).unwrap();
    for revision in 0..200 {
        assert!(deliverer.realtime(pop(revision)));
    }
    let events = tokio::task::spawn_blocking(move || hook.until(|events| events.len() == 200)).await.unwrap();
    let revisions = events.iter().filter_map(|event| match &event.data {
        Data::ScreenPop(pop) => Some(pop.revision),
        _ => None,
    });
    assert_eq!(revisions.collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
}

/// A receiver that answers no record event before it has seen the pop: whatever was queued behind the backlog would never come.
#[tokio::test(flavor = "multi_thread")]
async fn a_pop_never_waits_behind_the_backlog_and_the_figures_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let seen = Arc::new((Mutex::new(false), Condvar::new()));
    let pop_seen = Arc::clone(&seen);
    let hook = Hook::listen_then(0, move |event| {
        let (seen, changed) = &*pop_seen;
        let mut seen = seen.lock().unwrap();
        if matches!(event.data, Data::ScreenPop(_)) {
            *seen = true;
            changed.notify_all();
        }
        drop(changed.wait_while(seen, |seen| !*seen).unwrap());
    });
    let settings = Settings::default();
    let endpoint = Endpoint { concurrency: 4, timeout_ms: 60_000, requests_per_day: 10_000, ..endpoint(hook.port) };
    let (outbox, committed) =
        Outbox::open(folder.path(), &settings, deliver::receivers(std::slice::from_ref(&endpoint)).unwrap()).unwrap();
    let (deliverer, _running) = deliver::spawn(outbox.clone(), committed, &[endpoint], &settings, |_| {}).unwrap();
    let all = (1..=20).flat_map(|sequence| (0..CONTACTS).map(move |contact| batch(contact, sequence)));
    all.for_each(|batch| outbox.submit(batch).unwrap());
    let hook = tokio::task::spawn_blocking(move || {
        hook.until(|events| events.len() == 4);
        hook
    });
    let hook = hook.await.unwrap();
    assert!(deliverer.realtime(pop(0)));
    let total = 20 * CONTACTS as usize + 1;
    tokio::task::spawn_blocking(move || hook.until(|events| events.len() == total)).await.unwrap();
    let figures = loop {
        let figures = deliverer.figures().remove(0);
        if figures.pending() == 0 && figures.live_delivered == 1 {
            break figures;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((figures.accepted, figures.delivered, figures.attempts), (100, 100, 100));
    assert_eq!((figures.taken_up, figures.replayed, figures.died, figures.live, figures.live_dropped), (0, 0, 0, 1, 0));
    assert_eq!(figures.traffic.map(|(_, sums)| (sums.requests, sums.events)), [(100, 100), (1, 1)]);
    assert!(figures.traffic.iter().all(|(_, sums)| sums.bytes_out > 500 && sums.bytes_in >= 19));
}

/// The day's requests are taken up again after a restart: 10 of 30 are left for records, as a tenth is kept for pops.
#[tokio::test(flavor = "multi_thread")]
async fn requests_of_the_day_are_kept_to_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let settings = Settings::default();
    let endpoint = Endpoint { requests_per_day: 100, ..endpoint(hook.port) };
    let mut arrived = 0;
    for (first, expected) in [(1, 60), (13, 90)] {
        let (outbox, committed) = Outbox::open(folder.path(), &settings, [endpoint.id.as_str()]).unwrap();
        let (deliverer, running) =
            deliver::spawn(outbox.clone(), committed, std::slice::from_ref(&endpoint), &settings, |_| {}).unwrap();
        let all = (first..first + 12).flat_map(|sequence| (0..CONTACTS).map(move |contact| batch(contact, sequence)));
        all.for_each(|batch| outbox.submit(batch).unwrap());
        while deliverer.figures().remove(0).delivered + arrived < expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        arrived = expected;
        deliverer.end().await;
        running.await.unwrap();
    }
    assert_eq!(hook.count(|_| true), 90);
}

//! The day's bytes are kept to, as the network between counts them; a pop goes ahead of everything; nothing is lost that has to wait.

use std::sync::Arc;
use std::time::Duration;

use kakehashi::bridge::deliver::Health;
use kakehashi::bridge::now;
use kakehashi::call::LegId;
use kakehashi::crm::relay::Settings as Relay;
use kakehashi::events::{Agent, Caller, Data, Event, LookUp, ScreenPop, TranscriptDocument};
use kakehashi::outbox::Batch;
use uuid::Uuid;

use crate::ends::{Near, Place, batch, connect, contact, hold, local, seen};
use crate::hook::Hook;
use crate::ledger::digest;
use crate::proxy::Proxy;

fn pop(number: u128, valid: Duration) -> Event {
    let popid = Uuid::from_u128(number);
    let pop = ScreenPop {
        popid,
        revision: 0,
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
        id: popid,
        source: "/site/s/node/n".into(),
        contact: contact(number as u64),
        leg: Some(LegId(popid)),
        time: now().wall,
        sequence: None,
        expires: Some(now().wall + valid),
        data: Data::ScreenPop(pop),
    }
}

/// A document of about `size` characters: bulk.
pub(crate) fn document(number: u64, size: usize) -> Batch {
    let mut batch = batch(number, 1, 1);
    let (mut text, mut seed) = (String::new(), String::new());
    while text.len() < size {
        seed = digest(seed.as_bytes());
        text.push_str(&seed);
    }
    let document = TranscriptDocument { pauses: Vec::new(), ..empty(text) };
    batch.events[0].data = Data::TranscriptDocument(document);
    batch
}

fn empty(text: String) -> TranscriptDocument {
    let json = serde_json::json!({"revision": 1, "complete": true, "coverage": [], "turns": [{
        "utterance": Uuid::nil(), "leg": Uuid::nil(), "speaker": "caller", "start": 1_795_420_800_000_000_i64,
        "end": 1_795_420_801_000_000_i64, "text": text, "corrections": []
    }]});
    serde_json::from_value(json).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_goes_between_the_pieces_of_a_document_and_an_old_one_goes_nowhere() {
    let (place, hook, port) = (Place::new(), Arc::new(Hook::listen(0)), crate::ends::port());
    let proxy = Proxy::start(local(port), 0, 0).await;
    let _far = place.relay(&format!("listen = \"127.0.0.1:{port}\""), hook.port);
    let slow = Relay { bytes_per_second: 16_000, ..connect(proxy.port) };
    let near = Near::start(&place.path("near"), place.endpoint(slow));
    let accepted = near.accept(vec![document(1, 250_000)]).await;
    // the document is under way: more has gone than a handshake
    while proxy.bytes() < 20_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(near.deliverer.realtime(pop(501, Duration::ZERO)));
    assert!(near.deliverer.realtime(pop(500, Duration::from_secs(300))));
    seen(&hook, |events| events.len() >= 2).await;
    let kinds: Vec<_> = hook.arrived().iter().map(|(_, event)| (event.type_name(), event.id.as_u128())).collect();
    assert_eq!((kinds[0], kinds[1].0), (("kakehashi.screenpop.v1", 500), "kakehashi.transcript.document.v1"));
    hold(&accepted, &hook);
    let figures = near.until(|figures| figures.live_dropped == 1).await;
    assert_eq!((figures.live, figures.live_delivered, figures.delivered), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_days_bytes_are_kept_to_over_a_restart_and_what_waits_arrives_when_there_are_more() {
    const DAY: u64 = 300_000;
    let (place, hook, port) = (Place::new(), Arc::new(Hook::listen(0)), crate::ends::port());
    let proxy = Proxy::start(local(port), 3, 3).await;
    let _far = place.relay(&format!("listen = \"127.0.0.1:{port}\""), hook.port);
    let day = |bytes_per_day| place.endpoint(Relay { bytes_per_day, ..connect(proxy.port) });
    let near = Near::start(&place.path("near"), day(DAY));
    let batches = (1..=40).flat_map(|sequence| (0..6).map(move |number| batch(number, sequence, 2_500))).collect();
    let accepted = near.accept(batches).await;
    let figures = near.until(|figures| figures.health == Health::Dry).await;
    assert!(figures.pending() > 0 && figures.died == 0);
    // a pop has its share
    let before = hook.count(|event| event.sequence.is_none());
    assert!(near.deliverer.realtime(pop(700, Duration::from_secs(300))));
    near.until(|figures| figures.live_delivered == 1).await;
    seen(&hook, move |events| events.iter().filter(|event| event.sequence.is_none()).count() > before).await;
    let used = proxy.bytes();
    assert!((DAY / 2..=DAY).contains(&used), "{used} of {DAY} bytes");
    near.deliverer.end().await;
    drop(near);
    // the same day after a restart: not one event more
    let near = Near::start(&place.path("near"), day(DAY));
    let arrived = hook.count(|event| event.sequence.is_some());
    near.until(|figures| figures.health == Health::Dry).await;
    assert_eq!(hook.count(|event| event.sequence.is_some()), arrived);
    assert!(proxy.bytes() <= DAY, "{} of {DAY} bytes", proxy.bytes());
    near.deliverer.end().await;
    drop(near);
    let near = Near::start(&place.path("near"), day(DAY * 100));
    near.until(|figures| figures.pending() == 0).await;
    let all = accepted.len();
    seen(&hook, move |events| events.iter().filter(|event| event.sequence.is_some()).count() >= all).await;
    let sums = hold(&accepted, &hook);
    assert_eq!(sums.duplicates, 0);
    println!("{used} of {DAY} bytes of the day used, {arrived} of {all} events; the rest arrived when there were more");
}

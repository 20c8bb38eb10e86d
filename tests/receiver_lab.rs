//! The delivery engine against a receiver that is none of ours: signatures verified by the reference library of Standard Webhooks
//! (`tests/lab/receiver.py`; `make lab` installs what it needs).

#[path = "common/receiver.rs"]
mod receiver;

use std::path::Path;
use std::time::{Duration, Instant};

use kakehashi::bridge::deliver;
use kakehashi::call::ContactId;
use kakehashi::crm::key::ed25519_secret;
use kakehashi::crm::settings::{Endpoint, Secret};
use kakehashi::crm::webhook::Webhook;
use kakehashi::events::{CallQueued, Caller, Data, Event};
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use kakehashi::outbox::{Batch, ContactRow};
use kakehashi::pbx::{CallKey, PbxId};
use kakehashi::time::Wall;
use receiver::{PATIENCE, Receiver, SECRET};
use serde_json::Value;
use uuid::Uuid;

fn endpoint_of(receiver: &Receiver, secret: &str) -> Endpoint {
    Endpoint { url: receiver.url.clone(), secrets: vec![Secret(secret.into())], ..Endpoint::default() }
}

/// Posts a webhook as it is given; tells the status.
async fn post(receiver: &Receiver, id: &str, timestamp: &str, signature: &str, body: &str) -> u16 {
    let request = reqwest::Client::new()
        .post(&receiver.url)
        .header("content-type", "application/cloudevents+json; charset=utf-8")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .body(body.to_string());
    request.send().await.unwrap().status().as_u16()
}

/// Waits until a count is at least `least`, and gives all of them.
async fn until(receiver: &Receiver, what: &str, least: u64) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counts = receiver.counts();
        if counts[what].as_u64() >= Some(least) {
            return counts;
        }
        assert!(Instant::now() < deadline, "not {least} {what} within {PATIENCE:?}: {counts}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn time(sequence: u64) -> Wall {
    Wall(1_795_420_800_000_000 + sequence as i64)
}

fn event(contact: ContactId, sequence: u64) -> Event {
    Event {
        id: Event::record_id(contact, sequence, time(sequence)),
        source: "/site/s/node/n".into(),
        contact,
        leg: None,
        time: time(sequence),
        sequence: Some(sequence),
        expires: None,
        data: Data::CallQueued(CallQueued { caller: Caller::default(), called: "1".into(), queue: "市民課".into() }),
    }
}

fn batch(contact: u128, count: u64) -> Batch {
    let id = ContactId(Uuid::from_u128(contact));
    let call = CallKey { pbx: PbxId("p".into()), key: contact.to_string() };
    Batch {
        contact: ContactRow { id, site: "s".into(), call, open: true, state: "{}".into() },
        keys: Vec::new(),
        events: (1..=count).map(|sequence| event(id, sequence)).collect(),
        deliver_text: true,
    }
}

/// Starts delivery of an outbox in `folder` and gives the outbox.
fn deliver_to(folder: &Path, endpoint: Endpoint) -> (Outbox, deliver::Deliverer) {
    let soon = Settings { breaker_pause_ms: 200, breaker_longest_ms: 200, ..Settings::default() };
    let settings = Settings { retry_schedule_ms: vec![200; 100], ..soon };
    let (outbox, committed) = Outbox::open(folder, &settings, std::slice::from_ref(&endpoint.id)).unwrap();
    let (deliverer, _) = deliver::spawn(outbox.clone(), committed, &[endpoint], &settings, |_| {}).unwrap();
    (outbox, deliverer)
}

/// The accepted sequence numbers of a contact, in the receiver's order; every id is checked on the way.
fn sequences(accepted: &[Value], contact: u128) -> Vec<u64> {
    let id = ContactId(Uuid::from_u128(contact));
    let of_contact = accepted.iter().filter(|line| line["event"]["partitionkey"] == id.0.to_string());
    of_contact
        .map(|line| {
            let sequence = line["event"]["sequence"].as_str().unwrap().parse().unwrap();
            assert_eq!(line["webhook_id"], Event::record_id(id, sequence, time(sequence)).to_string());
            assert_eq!(line["event"]["type"], "kakehashi.call.queued.v1");
            sequence
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn every_event_is_verified_once_and_in_order_after_failures() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &["--fail-first", "3", "--retry-after", "1"]);
    let (outbox, _deliverer) = deliver_to(folder.path(), endpoint_of(&receiver, SECRET));
    for contact in 1..=2 {
        outbox.commit(batch(contact, 20)).unwrap().await.unwrap();
    }
    let counts = until(&receiver, "accepted", 40).await;
    assert_eq!(
        counts,
        serde_json::json!({"accepted": 40, "failed_on_purpose": 3, "not_an_event": 0, "refused": 0, "repeated": 0})
    );
    for contact in 1..=2 {
        assert_eq!(sequences(&receiver.accepted(), contact), (1..=20).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn what_waited_while_the_receiver_was_down_arrives_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let first = Receiver::start(folder.path(), &[]);
    let (outbox, _deliverer) = deliver_to(folder.path(), endpoint_of(&first, SECRET));
    outbox.commit(batch(1, 5)).unwrap().await.unwrap();
    until(&first, "accepted", 5).await;
    // an answer that is cut off would rightly be followed by the same event again
    let deadline = Instant::now() + PATIENCE;
    while !outbox.pending(&["crm".into()]).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the outbox does not know that all is delivered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let port = first.port();
    drop(first);
    outbox.commit(batch(2, 5)).unwrap().await.unwrap();
    let again = Receiver::start(folder.path(), &["--port", &port]);
    until(&again, "accepted", 5).await;
    let accepted = again.accepted();
    assert_eq!(accepted.len(), 10);
    for contact in 1..=2 {
        assert_eq!(sequences(&accepted, contact), [1, 2, 3, 4, 5]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn another_secret_and_a_changed_request_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let other = "whsec_YW5vdGhlci1zZWNyZXQtb2YtMzItYnl0ZXMtbG9uZyE=";
    let (outbox, _deliverer) = deliver_to(folder.path(), endpoint_of(&receiver, other));
    outbox.commit(batch(1, 1)).unwrap().await.unwrap();
    until(&receiver, "refused", 2).await;

    let event = event(ContactId(Uuid::from_u128(2)), 1);
    let hook = Webhook::new(&endpoint_of(&receiver, SECRET), &[Secret(SECRET.into())]).unwrap();
    let genuine = hook.sign(&event.id.to_string(), &event.to_json(), kakehashi::bridge::now().wall);
    let stale = hook.sign(&event.id.to_string(), &event.to_json(), Wall(0));
    let post = async |id: &str, timestamp: &str, signature: &str, body: &str| {
        self::post(&receiver, id, timestamp, signature, body).await
    };
    let (id, timestamp, signature, body) = (&genuine.id, &genuine.timestamp, &genuine.signature, &genuine.body);
    assert_eq!(post(id, timestamp, signature, &body.replace("市民課", "税務課")).await, 401);
    assert_eq!(post("another", timestamp, signature, body).await, 401);
    assert_eq!(post(&stale.id, &stale.timestamp, &stale.signature, &stale.body).await, 401);
    assert_eq!(post(id, timestamp, "v1,nonsense", body).await, 401);
    assert_eq!(post(id, &stale.timestamp, signature, body).await, 401, "a timestamp that was not signed");
    assert_eq!(receiver.accepted(), [] as [Value; 0]);
    assert_eq!(post(id, timestamp, signature, body).await, 204, "the same request unchanged is genuine");
    assert_eq!(post(id, timestamp, signature, body).await, 204, "and is taken once");
    assert_eq!((receiver.accepted().len(), receiver.counts()["repeated"].as_u64()), (1, Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn the_sdk_of_cloudevents_understands_every_attribute() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let (outbox, _deliverer) = deliver_to(folder.path(), endpoint_of(&receiver, SECRET));
    outbox.commit(batch(1, 1)).unwrap().await.unwrap();
    until(&receiver, "accepted", 1).await;
    let line = receiver.accepted().remove(0);
    let contact = Uuid::from_u128(1);
    let attributes = serde_json::json!({
        "specversion": "1.0",
        "id": Event::record_id(ContactId(contact), 1, time(1)).to_string(),
        "source": "/site/s/node/n",
        "subject": format!("contact/{contact}"),
        "type": "kakehashi.call.queued.v1",
        "time": time(1).rfc3339(),
        "datacontenttype": "application/json",
        "partitionkey": contact.to_string(),
        "sequence": "00000000000000000001",
    });
    assert_eq!(line["attributes"], attributes);
    assert_eq!(line["data"], serde_json::json!({"caller": {}, "called": "1", "queue": "市民課"}));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn the_sdk_of_cloudevents_understands_an_event_without_data() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let public_url = "https://bridge.example.jp".to_string();
    let endpoint = Endpoint { thin: true, public_url, ..endpoint_of(&receiver, SECRET) };
    let (outbox, _deliverer) = deliver_to(folder.path(), endpoint);
    outbox.commit(batch(1, 1)).unwrap().await.unwrap();
    until(&receiver, "accepted", 1).await;
    let line = receiver.accepted().remove(0);
    let id = line["webhook_id"].as_str().unwrap();
    assert_eq!(line["attributes"]["dataref"], format!("https://bridge.example.jp/v1/events/{id}"));
    assert!(
        line["attributes"]["datahash"].as_str().is_some_and(|hash| hash.starts_with("sha256:") && hash.len() == 71)
    );
    assert!(line["data"].is_null() && !line["event"].to_string().contains("市民課"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn ed25519_is_verified_by_another_implementation_also_beside_hmac() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = ed25519_secret(&[7; 32]).unwrap();
    let receiver = Receiver::start_with(folder.path(), &public, &[]);
    let mut endpoint = endpoint_of(&receiver, SECRET);
    endpoint.secrets.push(Secret(private.clone()));
    let (outbox, _deliverer) = deliver_to(folder.path(), endpoint);
    outbox.commit(batch(1, 3)).unwrap().await.unwrap();
    let counts = until(&receiver, "accepted", 3).await;
    assert_eq!((sequences(&receiver.accepted(), 1), counts["refused"].as_u64()), (vec![1, 2, 3], Some(0)));

    let event = event(ContactId(Uuid::from_u128(2)), 1);
    let now = kakehashi::bridge::now().wall;
    let sign = |secret: &str, at: Wall| {
        let hook = Webhook::new(&endpoint_of(&receiver, secret), &[Secret(secret.into())]).unwrap();
        hook.sign(&event.id.to_string(), &event.to_json(), at)
    };
    let (genuine, stale) = (sign(&private, now), sign(&private, Wall(0)));
    let (another, _) = ed25519_secret(&[8; 32]).unwrap();
    let refused = [
        (&genuine.id, &genuine.timestamp, genuine.signature.clone(), genuine.body.replace("市民課", "税務課")),
        (&"another".to_string(), &genuine.timestamp, genuine.signature.clone(), genuine.body.clone()),
        (&genuine.id, &stale.timestamp, genuine.signature.clone(), genuine.body.clone()),
        (&stale.id, &stale.timestamp, stale.signature.clone(), stale.body.clone()),
        (&genuine.id, &genuine.timestamp, sign(&another, now).signature, genuine.body.clone()),
        (&genuine.id, &genuine.timestamp, sign(SECRET, now).signature, genuine.body.clone()),
        (&genuine.id, &genuine.timestamp, "v1a,nonsense".into(), genuine.body.clone()),
    ];
    for (id, timestamp, signature, body) in &refused {
        assert_eq!(post(&receiver, id, timestamp, signature, body).await, 401, "{signature}");
    }
    let all = receiver.counts();
    assert_eq!((all["refused"].as_u64(), all["accepted"].as_u64()), (Some(7), Some(3)));
    assert_eq!(post(&receiver, &genuine.id, &genuine.timestamp, &genuine.signature, &genuine.body).await, 204);
    assert_eq!(post(&receiver, &genuine.id, &genuine.timestamp, &genuine.signature, &genuine.body).await, 204);
    let all = receiver.counts();
    assert_eq!((all["accepted"].as_u64(), all["repeated"].as_u64()), (Some(4), Some(1)));
}

//! A real NATS server with JetStream as a receiver of events: order, duplicates, a server that is killed, streams and users that do not fit.
//! Needs the lab: make lab

#[path = "common/batch.rs"]
mod batch;
#[path = "common/nats.rs"]
mod nats;
#[path = "common/tls.rs"]
mod tls;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use futures_util::StreamExt;
use kakehashi::bridge::deliver::{self, Deliverer};
use kakehashi::bridge::now;
use kakehashi::call::{ContactId, LegId};
use kakehashi::crm::nats::Settings as NatsSettings;
use kakehashi::crm::settings::Endpoint;
use kakehashi::events::{Agent, Caller, Data, Event, ScreenPopWithdrawn, WithdrawReason};
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use nats::Server;
use serde_json::{Value, json};
use uuid::Uuid;

const CONTACTS: u64 = 5;
const EACH: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(120);

fn endpoint(server: &Server, nats: NatsSettings) -> Endpoint {
    let url = server.url("127.0.0.1");
    Endpoint { url, timeout_ms: 2_000, nats: Some(nats), ..Endpoint::default() }
}

fn start(folder: &Path, endpoint: Endpoint) -> (Outbox, Deliverer) {
    let soon = Settings { breaker_pause_ms: 100, breaker_longest_ms: 200, ..Settings::default() };
    let settings = Settings { retry_schedule_ms: vec![100; 1_000], ..soon };
    let receivers = deliver::receivers(std::slice::from_ref(&endpoint)).unwrap();
    let (outbox, committed) = Outbox::open(folder, &settings, receivers).unwrap();
    let (deliverer, _) = deliver::spawn(outbox.clone(), committed, &[endpoint], &settings, |_| {}).unwrap();
    (outbox, deliverer)
}

fn contact(number: u64) -> ContactId {
    ContactId(Uuid::from_u128(u128::from(number) + 1))
}

fn submit(outbox: &Outbox, sequences: impl Iterator<Item = u64>) {
    for sequence in sequences {
        for number in 0..CONTACTS {
            outbox.submit(batch::queued(contact(number), sequence, Caller::default(), "q")).unwrap();
        }
    }
}

async fn delivered(deliverer: &Deliverer, count: u64) {
    let all = async {
        while deliverer.figures()[0].delivered < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let late = || format!("{} of {count} were delivered", deliverer.figures()[0].delivered);
    tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{}", late()));
}

/// Waits until `kakehashi outbox list` shows why nothing arrives.
async fn told(outbox: &Outbox, why: &str) {
    let told = async {
        loop {
            let mut errors = outbox.list(None, 1_000).unwrap().into_iter().filter_map(|row| row.error);
            if let Some(error) = errors.find(|error| error.contains(why)) {
                return println!("{error}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("told: {why}"));
}

async fn ask(server: &Server, subject: &str, body: Value) -> Value {
    let client = async_nats::connect(server.url("127.0.0.1")).await.unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = client.request(subject.to_owned(), body.into()).await.unwrap();
    serde_json::from_slice(&reply.payload).unwrap()
}

async fn messages(server: &Server) -> u64 {
    ask(server, "$JS.API.STREAM.INFO.CALLS", Value::Null).await["state"]["messages"].as_u64().unwrap()
}

/// The stored events by contact, each with its subject, in the order of the stream.
async fn stored(server: &Server) -> BTreeMap<ContactId, Vec<(String, Event)>> {
    let mut found: BTreeMap<ContactId, Vec<_>> = BTreeMap::new();
    for seq in 1..=messages(server).await {
        let got = ask(server, "$JS.API.STREAM.MSG.GET.CALLS", json!({"seq": seq})).await;
        let message = &got["message"];
        let data = base64::engine::general_purpose::STANDARD.decode(message["data"].as_str().unwrap()).unwrap();
        let event = Event::from_json(std::str::from_utf8(&data).unwrap()).unwrap();
        let subject = message["subject"].as_str().unwrap().to_owned();
        found.entry(event.contact).or_default().push((subject, event));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn each_event_is_in_the_stream_once_and_in_order_though_the_server_is_killed_in_the_middle() {
    let store = "sink";
    let mut server = Server::start(None, store);
    ask(&server, "$JS.API.STREAM.DELETE.CALLS", Value::Null).await; // of an earlier run
    let folder = tempfile::tempdir().unwrap();
    let (outbox, deliverer) = start(folder.path(), endpoint(&server, NatsSettings::default()));
    let mut kills = 0;
    for part in 0..4 {
        let first = part * EACH / 4 + 1;
        submit(&outbox, first..first + EACH / 4);
        delivered(&deliverer, part * CONTACTS * EACH / 4 + 20).await;
        if part > 0 {
            server.kill();
            server = Server::start(Some(server.port), store);
            kills += 1;
        }
    }
    delivered(&deliverer, CONTACTS * EACH).await;
    let figures = &deliverer.figures()[0];
    println!(
        "{} events, {kills} kills of the server, {} attempts, {} stored",
        figures.delivered,
        figures.attempts,
        messages(&server).await
    );
    let check = |stored: BTreeMap<ContactId, Vec<(String, Event)>>| {
        assert_eq!(stored.len() as u64, CONTACTS);
        for (contact, events) in stored {
            let order: Vec<u64> = events.iter().filter_map(|(_, event)| event.sequence).collect();
            assert_eq!(order, (1..=EACH).collect::<Vec<_>>());
            assert!(events.iter().all(|(subject, _)| *subject == format!("calls.s.{contact}.call.queued.v1")));
        }
    };
    check(stored(&server).await);
    // all of them once more, as after an outbox that came back from an old copy
    let again = tempfile::tempdir().unwrap();
    let (outbox, second) = start(again.path(), endpoint(&server, NatsSettings::default()));
    submit(&outbox, 1..EACH + 1);
    delivered(&second, CONTACTS * EACH).await;
    check(stored(&server).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn a_stream_that_differs_stays_and_events_wait_until_a_person_has_changed_it() {
    let server = Server::start(None, "");
    let folder = tempfile::tempdir().unwrap();
    let mut config =
        json!({"name": "CALLS", "subjects": ["calls.>"], "storage": "file", "max_age": 604_800_000_000_000u64});
    ask(&server, "$JS.API.STREAM.CREATE.CALLS", config.clone()).await;
    let (outbox, deliverer) = start(folder.path(), endpoint(&server, NatsSettings::default()));
    submit(&outbox, 1..2);
    while deliverer.figures()[0].attempts < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let info = ask(&server, "$JS.API.STREAM.INFO.CALLS", Value::Null).await;
    assert_eq!(
        (&info["config"]["duplicate_window"], &info["state"]["messages"]),
        (&json!(120_000_000_000u64), &json!(0))
    );
    assert_eq!((deliverer.figures()[0].delivered, deliverer.figures()[0].died), (0, 0));
    config["duplicate_window"] = json!(3_600_000_000_000u64);
    let changed = ask(&server, "$JS.API.STREAM.UPDATE.CALLS", config).await;
    assert!(changed["error"].is_null(), "{changed}");
    delivered(&deliverer, CONTACTS).await;
    assert_eq!(messages(&server).await, CONTACTS);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn a_full_stream_loses_nothing_and_realtime_events_are_not_stored() {
    let server = Server::start(None, "");
    let folder = tempfile::tempdir().unwrap();
    let settings = NatsSettings { max_bytes: 3_000, ..NatsSettings::default() };
    let (outbox, deliverer) = start(folder.path(), endpoint(&server, settings));
    let client = async_nats::connect(server.url("127.0.0.1")).await.unwrap();
    let mut live = client.subscribe("live.>").await.unwrap();
    client.flush().await.unwrap();
    let (popid, leg) = (Uuid::from_u128(9), LegId(Uuid::from_u128(2)));
    let (agent, reason) = (Agent::default(), WithdrawReason::Ended);
    let pop = Event {
        id: Uuid::from_u128(77),
        source: "/site/s/node/n".into(),
        contact: contact(0),
        leg: Some(leg),
        time: now().wall,
        sequence: None,
        expires: Some(now().wall + Duration::from_secs(60)),
        data: Data::ScreenPopWithdrawn(ScreenPopWithdrawn { popid, leg, agent, reason }),
    };
    assert!(deliverer.realtime(pop.clone()));
    let heard = tokio::time::timeout(PATIENCE, live.next()).await.unwrap().unwrap();
    assert_eq!(heard.subject.as_str(), format!("live.s.{}.screenpop.withdrawn.v1", contact(0)));
    assert_eq!(Event::from_json(std::str::from_utf8(&heard.payload).unwrap()).unwrap(), pop);
    submit(&outbox, 1..5);
    told(&outbox, "maximum bytes").await;
    let some = messages(&server).await;
    assert!(some > 0 && some < CONTACTS * 4, "{some}");
    assert_eq!(deliverer.figures()[0].died, 0);
    // who reads makes room
    ask(&server, "$JS.API.STREAM.PURGE.CALLS", Value::Null).await;
    let mut purges = 1;
    while deliverer.figures()[0].delivered < CONTACTS * 4 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ask(&server, "$JS.API.STREAM.PURGE.CALLS", Value::Null).await;
        purges += 1;
        assert!(purges < 500);
    }
    println!("{some} of {} events filled the stream, the rest waited", CONTACTS * 4);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn a_wrong_password_loses_nothing_and_the_permissions_of_the_documents_are_enough() {
    let server = Server::guarded();
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("login");
    std::fs::write(&secret_file, "bridge:wrong\n").unwrap();
    let endpoint = Endpoint { secret_file: secret_file.clone(), ..endpoint(&server, NatsSettings::default()) };
    let (outbox, deliverer) = start(folder.path(), endpoint);
    submit(&outbox, 1..3);
    told(&outbox, "NATS does not know us").await;
    assert_eq!((deliverer.figures()[0].delivered, deliverer.figures()[0].died), (0, 0));
    std::fs::write(&secret_file, "bridge:secret\n").unwrap();
    deliverer.reload();
    delivered(&deliverer, CONTACTS * 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn by_tls_both_sides_show_certificates_and_a_foreign_server_gets_nothing() {
    let (authority, foreign) = (tls::Authority::new(), tls::Authority::new());
    let files = tls::Files::new();
    files.write_pair(&authority.issue(&["127.0.0.1"]));
    let ca_file = files.write("authority.pem", &authority.pem());
    let server = Server::encrypted(ca_file.parent().unwrap());
    let own = authority.issue(&["bridge"]);
    let client_cert_file = files.write("bridge.pem", &own.certificate);
    let client_key_file = files.write("bridge.key", &own.key);
    let url = server.url("127.0.0.1").replace("nats://", "tls://");
    let nats = Some(NatsSettings::default());
    let good =
        Endpoint { url, nats, ca_file, client_cert_file, client_key_file, timeout_ms: 2_000, ..Endpoint::default() };
    let wrong = Endpoint { ca_file: files.write("foreign.pem", &foreign.pem()), ..good.clone() };
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (waits, refused) = start(there.path(), wrong);
    submit(&waits, 1..2);
    let (outbox, deliverer) = start(here.path(), good);
    submit(&outbox, 1..3);
    delivered(&deliverer, CONTACTS * 2).await;
    told(&waits, "no connection to NATS: nats: ").await;
    assert_eq!((refused.figures()[0].delivered, refused.figures()[0].died), (0, 0));
}

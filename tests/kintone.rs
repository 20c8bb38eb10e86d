//! Calls delivered to kintone: one record and one transcript whatever is lost on the way, people's own edits kept, and what is wrong with an app told
//! as the endpoint's trouble. The stand-in refuses as the service does; the service itself was not run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kakehashi::bridge::{deliver, now};
use kakehashi::call::number::Number;
use kakehashi::call::{ContactId, LegId, Tier};
use kakehashi::crm::kintone::settings::{Cases, Contacts, Fields, Settings as Apps};
use kakehashi::crm::settings::{Endpoint, Secret};
use kakehashi::events::*;
use kakehashi::outbox::budget::{Use, day_of};
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::{Listed, Outbox, Traffic};
use kakehashi::outbox::{Batch, ContactRow};
use kakehashi::pbx::{CallKey, PbxId, Speaker, Tag};
use kakehashi::time::Wall;
use serde_json::{Value, json};
use uuid::Uuid;

#[path = "kintone/call.rs"]
mod call;
#[path = "common/http.rs"]
mod http;
#[path = "common/kintone/mod.rs"]
mod kintone;
#[path = "kintone/looked_up.rs"]
mod looked_up;
#[path = "kintone/refused.rs"]
mod refused;

use call::{call, from};
use http::PATIENCE;
use kintone::{ADD, App, CALLS, CONTACTS, EDIT, Fault, Field, Kind, Kintone, Record, VIEW};

/// The app of what is not settled.
const CASES: u64 = 13;
/// 09:00 in Japan.
const NINE: Duration = Duration::from_secs(9 * 3_600);

/// A municipality's own app of calls.
fn calls_app() -> App {
    let text = |code| Field::new(code, Kind::Text);
    let fields = vec![
        text("通話キー").required().unique(),
        Field::new("通番", Kind::Number),
        Field::new("版", Kind::Number),
        Field::new("開始日時", Kind::DateTime),
        Field::new("終了日時", Kind::DateTime),
        Field::new("通話秒数", Kind::Number).at_least(0.0),
        Field::new("状況", Kind::DropDown(&["対応中", "完了", "応答なし", "要折返し"])),
        text("発信者番号").longest(20),
        text("検索用番号"),
        text("着信先"),
        text("キュー"),
        text("拠点"),
        text("担当者"),
        Field::new("連絡先", Kind::Number).lookup(CONTACTS, &[("連絡先氏名", "氏名")]),
        text("連絡先氏名"),
        Field::new("発信者", Kind::MultiLine),
        Field::new("経過", Kind::MultiLine),
        Field::new("文字起こし", Kind::MultiLine),
        Field::new("添付", Kind::File),
    ];
    App::new(CALLS, fields)
}

fn cases_app() -> App {
    let fields = vec![
        Field::new("件名", Kind::Text),
        Field::new("連絡先番号", Kind::Number),
        Field::new("状況", Kind::DropDown(&["受付", "完了"])),
        Field::new("受付日時", Kind::DateTime),
    ];
    App::new(CASES, fields)
}

fn stand_in() -> Kintone {
    Kintone::start_with(vec![App::contacts(), calls_app(), cases_app()])
}

/// The configuration of that app.
fn apps() -> Apps {
    let code = String::from;
    Apps {
        app: CALLS,
        pages: "https://city.cybozu.example".into(),
        fields: Fields {
            key: code("通話キー"),
            sequence: code("通番"),
            revision: code("版"),
            started: code("開始日時"),
            ended: code("終了日時"),
            seconds: code("通話秒数"),
            state: code("状況"),
            number: code("発信者番号"),
            digits: code("検索用番号"),
            called: code("着信先"),
            queue: code("キュー"),
            site: code("拠点"),
            agent: code("担当者"),
            contact: code("連絡先"),
            who: code("発信者"),
            course: code("経過"),
            transcript: code("文字起こし"),
            file: code("添付"),
        },
        contacts: Contacts {
            app: CONTACTS,
            name: code("氏名"),
            numbers: vec![code("検索用番号")],
            note: code("行政区"),
        },
        cases: Cases {
            app: CASES,
            contact: code("連絡先番号"),
            title: code("件名"),
            state: code("状況"),
            time: code("受付日時"),
            open: "状況 not in (\"完了\")".into(),
        },
    }
}

/// Tokens with what the documentation asks for.
fn tokens(kintone: &Kintone) -> Vec<Secret> {
    let rights = [(CALLS, VIEW | ADD | EDIT), (CONTACTS, VIEW), (CASES, VIEW)];
    rights.map(|(app, may)| Secret(kintone.token(app, may))).into()
}

fn endpoint(kintone: &Kintone) -> Endpoint {
    let (url, secrets) = (kintone.url(), tokens(kintone));
    Endpoint { url, secrets, timeout_ms: 5_000, kintone: Some(apps()), ..Endpoint::default() }
}

/// An endpoint that is delivered to.
struct Running {
    outbox: Outbox,
    deliverer: deliver::Deliverer,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start(endpoint: Endpoint) -> Running {
        Running::after(endpoint, &[]).await
    }

    /// So many requests were sent on so many days before today, as kintone counts days.
    async fn after(endpoint: Endpoint, before: &[(i64, u64)]) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let soon = Settings { breaker_pause_ms: 50, breaker_longest_ms: 50, ..Settings::default() };
        let settings = Settings { retry_schedule_ms: vec![50; 1_000], ..soon };
        let receivers = deliver::receivers(std::slice::from_ref(&endpoint)).unwrap();
        let (outbox, committed) = Outbox::open(folder.path(), &settings, receivers).unwrap();
        for (days, requests) in before {
            let (day, traffic) =
                (day_of(now().wall, NINE) - days, Traffic { requests: *requests, ..Traffic::default() });
            outbox.count(vec![(day, 0, Use::Record, traffic)]).unwrap();
        }
        outbox.flush().unwrap().await.unwrap();
        let (deliverer, _) = deliver::spawn(outbox.clone(), committed, &[endpoint], &settings, |_| {}).unwrap();
        Running { outbox, deliverer, _folder: folder }
    }

    async fn commit(&self, batch: Batch) {
        self.outbox.commit(batch).unwrap().await.unwrap();
    }

    /// The deliveries once they fit; only a failing test waits long.
    async fn until(&self, fits: impl Fn(&[Listed]) -> bool) -> Vec<Listed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = self.outbox.list(None, 100).unwrap();
            if fits(&listed) {
                return listed;
            }
            assert!(Instant::now() < deadline, "{listed:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything has arrived.
    async fn all_delivered(&self, events: usize) {
        self.until(|all| all.len() == events && all.iter().all(|one| one.status == "delivered")).await;
    }

    /// Why the first delivery fails; it waits on.
    async fn failure(&self, expected: &str) {
        let says = |one: &Listed| one.error.as_deref().is_some_and(|error| error.contains(expected));
        let listed = self.until(|all| all.iter().any(says)).await;
        assert!(listed.iter().all(|one| one.status == "pending"), "{listed:#?}");
    }

    /// Why some delivery fails, beside others that have arrived.
    async fn failure_of_some(&self, expected: &str) {
        self.until(|all| all.iter().any(|one| one.error.as_deref().is_some_and(|e| e.contains(expected)))).await;
    }

    async fn look_up(&self, number: &str) -> Option<Vec<Match>> {
        self.deliverer.look_up(0, &Number::parse(number)).await
    }
}

/// The one record of calls.
fn record(kintone: &Kintone) -> Record {
    let records = kintone.records(CALLS);
    let [record] = records.as_slice() else { panic!("{} records", records.len()) };
    record.clone()
}

/// The texts of the files at a record, by name.
fn files(kintone: &Kintone, record: &Record) -> Vec<(String, String)> {
    let files = record.values["添付"].as_array().unwrap();
    let read = |file: &Value| {
        let file = kintone.file(file["fileKey"].as_str().unwrap()).unwrap();
        (file.name, String::from_utf8(file.content.to_vec()).unwrap())
    };
    files.iter().map(read).collect()
}

/// Nothing was sent to a field that is not there.
fn nothing_was_skipped(kintone: &Kintone) {
    let skipped: Vec<String> = kintone.ledger().into_iter().flat_map(|entry| entry.skipped).collect();
    assert!(skipped.is_empty(), "{skipped:?}");
}

/// An administrator's change to the record of a call, as kintone's page makes it.
async fn change(kintone: &Kintone, values: Value) {
    let token = kintone.token(CALLS, VIEW | EDIT);
    let id = record(kintone).id;
    let body = json!({"app": CALLS, "id": id, "record": values});
    let request = reqwest::Client::new().put(format!("{}/k/v1/record.json", kintone.url()));
    let request = request.header("x-cybozu-api-token", token).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

//! Calls in a real Odoo: the caller is found by her number, the record is there once with times, agent and transcript, and the link in the pop opens
//! the contact. `make lab` starts Asterisk and sets Odoo up first.

#[path = "call_lab/bridge.rs"]
#[allow(dead_code, reason = "most of it is for calls with a webhook")]
mod bridge;
#[path = "common/http.rs"]
mod http;
#[path = "common/lab.rs"]
#[allow(dead_code, reason = "one kind of call is enough here")]
mod lab;
#[path = "common/odoo.rs"]
mod odoo;
#[path = "common/privacy.rs"]
mod privacy;
#[path = "common/receiver.rs"]
#[allow(dead_code, reason = "there is no webhook here")]
mod receiver;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kakehashi::bridge::deliver::{self, Deliverer};
use kakehashi::call::number::Number;
use kakehashi::call::{ContactId, LegId, Tier};
use kakehashi::crm::odoo::settings::{Settings as OdooSettings, TranscriptAs};
use kakehashi::crm::settings::{Endpoint, Secret};
use kakehashi::events::*;
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use kakehashi::outbox::{Batch, ContactRow};
use kakehashi::pbx::{CallKey, PbxId, Speaker, Tag};
use kakehashi::time::Wall;
use serde_json::{Value, json};
use uuid::Uuid;

use bridge::{Bridge, config, config_in, stored, wait_for};
use lab::{finished, lab, laboratory, repository};
use odoo::{Odoo, called, losing_way};
use receiver::PATIENCE;

/// How long a whole call with its document may take; only a failing test waits that long.
const CALL: Duration = Duration::from_secs(180);

/// The bridge's configuration with Odoo as its CRM, reached by `url`.
fn configure(folder: &Path, odoo: &Odoo, url: &str) {
    std::fs::write(folder.join("secret"), odoo.told("KEY")).unwrap();
    let of_odoo = format!(
        "timeout_ms = 5000\n[endpoint.odoo]\ndatabase = \"{}\"\nlogin = \"{}\"\npages = \"{}\"\nagents_are_logins = true\n[panel]",
        odoo.told("DATABASE"),
        odoo.told("LOGIN"),
        odoo.told("URL")
    );
    let text = config(folder, url).replace("[panel]", &of_odoo);
    let text = text.replace("contacts = \"samples/contacts.csv\"", "lookup = \"crm\"");
    std::fs::write(config_in(folder), text).unwrap();
}

fn shots() -> PathBuf {
    let folder = laboratory().join("shots");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A browser with the operator's page: waits for the pop, takes a picture, prints where its links lead.
fn pop_in_browser(panel: &str, folder: &Path) -> Command {
    let links = folder.join("links.js");
    let script = r#"[...document.querySelectorAll(".pop .match a")].map((link) => ({ href: link.href, rel: link.rel, target: link.target }))"#;
    std::fs::write(&links, script).unwrap();
    let mut command = Command::new("node");
    command.arg(repository().join("tests/lab/panel_shot.mjs"));
    command.arg("--url").arg(format!("{panel}?extension=2001")).arg("--out").arg(shots().join("odoo-pop.png"));
    command.arg("--eval").arg(links).args(["--timeout", "120000"]);
    for word in ["着信中", "橋本 花子", "未完了の案件", "住民票の相談", "これまでの応対", "前の電話"]
    {
        command.args(["--wait", word]);
    }
    command
}

/// Opens a page of Odoo as a clerk; gives what can be read on it.
fn page_in_browser(odoo: &Odoo, url: &str, name: &str, words: &[&str]) -> String {
    let text = shots().join(format!("{name}.txt"));
    let mut command = Command::new("node");
    command.arg(repository().join("tests/lab/odoo_page.mjs")).args(["--url", url]);
    command.args(["--database", odoo.told("DATABASE")]);
    command.args(["--login", odoo.told("OPERATOR_LOGIN"), "--password", odoo.told("OPERATOR_PASSWORD")]);
    command
        .arg("--out")
        .arg(shots().join(format!("{name}.png")))
        .arg("--text")
        .arg(&text)
        .args(["--timeout", "120000"]);
    for word in words {
        command.args(["--wait", word]);
    }
    assert!(command.status().unwrap().success(), "see above");
    std::fs::read_to_string(text).unwrap()
}

/// The events that Odoo has, once the complete document is among them and nothing waits any more.
fn delivered(folder: &Path) -> Vec<Event> {
    wait_for("everything of the call is in Odoo", CALL, || {
        let all = stored(folder);
        let done = all.iter().all(|one| one.status == "delivered");
        let events: Vec<Event> = all.iter().map(|one| Event::from_json(&one.body.to_string()).unwrap()).collect();
        let complete = |event: &Event| matches!(&event.data, Data::TranscriptDocument(text) if text.complete);
        (done && events.iter().any(complete)).then_some(events)
    })
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_call_is_one_record_with_times_agent_and_transcript_though_answers_are_lost() {
    let folder = tempfile::tempdir().unwrap();
    let odoo = Odoo::start();
    let made = |model: &str, values: Value| odoo.call(model, "create", json!([values]), json!({})).as_u64().unwrap();
    let partner = made("res.partner", json!({"name": "橋本 花子", "phone": "06-0000-1234", "city": "大阪市住吉区"}));
    made("crm.lead", json!({"name": "住民票の相談", "partner_id": partner, "type": "opportunity"}));
    let before = made("crm.phonecall", json!({"name": "前の電話", "partner_id": partner, "direction": "in"}));
    let yamada = made("res.users", json!({"name": "山田", "login": "op-yamada"}));
    let lost = ["crm.phonecall.load", "mail.message.load", "ir.attachment.load"];
    let way = losing_way(odoo.told("URL"), &lost);
    configure(folder.path(), &odoo, &way.url(""));
    let bridge = Bridge::again(folder.path());

    let mut browser = pop_in_browser(bridge.panel(), folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    wait_for("the browser has opened the page", PATIENCE, || is_open(bridge.panel()).then_some(()));
    let call = lab(&["call", "6001", "--who", &format!("{}@127.0.0.1", privacy::CALLER), "--ring-s", "8"]);
    let links = std::io::read_to_string(browser.stdout.take().unwrap()).unwrap();
    assert!(browser.wait().unwrap().success(), "see above");
    let links: Vec<Value> = serde_json::from_str(links.trim()).unwrap_or_else(|error| panic!("{error}: {links}"));
    finished(call);

    let events = delivered(folder.path());
    check_record(&odoo, &events, before, partner, yamada);
    println!("requests: {:?}", way.requests().iter().map(called).collect::<Vec<_>>());
    for one in lost {
        let times = way.requests().iter().filter(|request| called(request) == one).count();
        assert!(times >= 2, "{one} was sent {times} times, and the answer to the first one was lost");
    }
    let link = links.first().unwrap_or_else(|| panic!("the pop has no link"));
    assert_eq!((&link["rel"], &link["target"]), (&json!("noopener noreferrer"), &json!("_blank")));
    page_in_browser(&odoo, link["href"].as_str().unwrap(), "odoo-contact", &["橋本 花子", "大阪市住吉区"]);
    bridge_says_nothing_of_it(bridge, &odoo, &events);
}

/// The record that Odoo has of the call besides the one from before: once, and right.
fn check_record(odoo: &Odoo, events: &[Event], before: u64, partner: u64, user: u64) {
    let fields = ["name", "date", "duration", "direction", "state", "partner_id", "user_id", "description"];
    let records = odoo.records("crm.phonecall", json!([["id", "!=", before]]), &fields);
    let [record] = records.as_slice() else { panic!("{} records: {records:?}", records.len()) };
    let ended = events.iter().find_map(|event| match &event.data {
        Data::CallEnded(ended) if event.leg.is_none() => Some((ended, event.time)),
        _ => None,
    });
    let (ended, at) = ended.expect("the end of the call");
    let started = ended.started.rfc3339().replace('T', " ");
    assert_eq!(record["date"].as_str().unwrap(), &started[..19]);
    let talked = at.since(ended.legs.iter().find_map(|leg| leg.answered).unwrap()).as_secs_f64();
    assert!((record["duration"].as_f64().unwrap() * 60.0 - talked).abs() < 0.1, "{record} {talked}");
    assert_eq!((&record["direction"], &record["state"]), (&json!("in"), &json!("done")));
    assert_eq!((&record["partner_id"][0], &record["user_id"][0]), (&json!(partner), &json!(user)), "{record}");
    let at_record = json!([["res_model", "=", "crm.phonecall"], ["res_id", "=", record["id"]]]);
    let files = odoo.records("ir.attachment", at_record, &["name", "datas"]);
    let [file] = files.as_slice() else { panic!("{} files", files.len()) };
    let text = String::from_utf8(STANDARD.decode(file["datas"].as_str().unwrap()).unwrap()).unwrap();
    println!("{text}");
    let document = events.iter().rev().find_map(|event| match &event.data {
        Data::TranscriptDocument(document) => Some(document),
        _ => None,
    });
    let turns = &document.unwrap().turns;
    assert!(turns.len() > 3, "{turns:?}");
    for said in turns.iter().filter_map(|turn| turn.text.as_deref()) {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    let notes = json!([["model", "=", "crm.phonecall"], ["res_id", "=", record["id"]], ["subject", "!=", false]]);
    let notes = odoo.records("mail.message", notes, &["body", "is_internal"]);
    let [note] = notes.as_slice() else { panic!("{} notes: {notes:?}", notes.len()) };
    assert!(note["body"].as_str().unwrap().contains("山田") && note["is_internal"] == true, "{note}");
    let page = format!("{}/web#id={}&model=crm.phonecall&view_type=form", odoo.told("URL"), record["id"]);
    page_in_browser(odoo, &page, "odoo-call", &["橋本 花子", "通話の経過"]);
}

fn bridge_says_nothing_of_it(bridge: Bridge, odoo: &Odoo, events: &[Event]) {
    let log = bridge.log();
    bridge.stop();
    let texts = events.iter().filter_map(|event| match &event.data {
        Data::TranscriptFinal(said) => Some(said.text.clone()),
        _ => None,
    });
    let mut secrets = privacy::secrets(texts);
    secrets.extend([odoo.told("KEY").to_string(), "住民票の相談".into(), "大阪市住吉区".into()]);
    privacy::assert_spotless(&log, &secrets);
}

/// Whether anybody is connected to this address (`/proc/net/tcp`: state 01, port in hexadecimal).
fn is_open(url: &str) -> bool {
    let port: u16 = url.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.any(|row| row[1].ends_with(&format!(":{port:04X}")) && row[3] == "01")
}

/// Delivery to Odoo with an outbox in `folder`.
fn deliver_to(folder: &Path, odoo: &Odoo, key: &str, transcript: TranscriptAs) -> (Outbox, Deliverer) {
    let of_odoo = OdooSettings {
        database: odoo.told("DATABASE").into(),
        login: odoo.told("LOGIN").into(),
        transcript,
        ..OdooSettings::default()
    };
    let endpoint = Endpoint {
        url: odoo.told("URL").into(),
        secrets: vec![Secret(key.into())],
        odoo: Some(of_odoo),
        ..Endpoint::default()
    };
    let soon = Settings { breaker_pause_ms: 200, breaker_longest_ms: 200, ..Settings::default() };
    let settings = Settings { retry_schedule_ms: vec![200; 400], ..soon };
    let receivers = deliver::receivers(std::slice::from_ref(&endpoint)).unwrap();
    let (outbox, committed) = Outbox::open(folder, &settings, receivers).unwrap();
    let (deliverer, _) = deliver::spawn(outbox.clone(), committed, &[endpoint], &settings, |_| {}).unwrap();
    (outbox, deliverer)
}

const START: Wall = Wall(1_795_755_590_000_000);

/// The events of a call of one minute.
fn events(contact: u128, caller: Caller) -> Batch {
    let id = ContactId(Uuid::from_u128(contact));
    let leg = LegId(Uuid::from_u128(contact + 1_000));
    let agent = Agent { name: Some("山田".into()), extension: "2001".into(), ..Agent::default() };
    let at = |seconds: i64| Wall(START.0 + seconds * 1_000_000);
    let event = |sequence: u64, leg: Option<LegId>, seconds: i64, data: Data| Event {
        id: Event::record_id(id, sequence, at(seconds)),
        source: "/site/s/node/n".into(),
        contact: id,
        leg,
        time: at(seconds),
        sequence: Some(sequence),
        expires: None,
        data,
    };
    let answered = LegState {
        leg,
        agent: agent.clone(),
        tier: Tier::Second,
        caller: caller.clone(),
        called: "6001".into(),
        queue: None,
        previous_leg: None,
        keys: Vec::new(),
    };
    let record = LegRecord {
        leg,
        agent,
        tier: Tier::Second,
        queue: None,
        previous_leg: None,
        offered: at(0),
        ringing: Some(at(1)),
        answered: Some(at(5)),
        ended: Some(at(65)),
        reason: Some(EndReason::CallerHangup),
    };
    let ended = CallEnded {
        reason: EndReason::CallerHangup,
        caller,
        called: "6001".into(),
        started: at(0),
        legs: vec![record],
        keys: Vec::new(),
    };
    let turn = Turn {
        utterance: "u".into(),
        leg,
        speaker: Speaker::Caller,
        start: at(10),
        end: at(12),
        text: Some("住民票の<写し>を\u{0}ください".into()),
        corrections: Vec::new(),
        corrected: None,
    };
    let document = |revision| TranscriptDocument {
        revision,
        turns: vec![turn.clone()],
        coverage: Vec::new(),
        complete: true,
        pauses: Vec::new(),
    };
    let call = CallKey { pbx: PbxId("p".into()), key: contact.to_string() };
    Batch {
        contact: ContactRow { id, site: "s".into(), call, open: false, state: "{}".into() },
        keys: Vec::new(),
        events: vec![
            event(1, Some(leg), 5, Data::CallAnswered(answered)),
            event(2, None, 65, Data::CallEnded(ended)),
            event(3, None, 70, Data::TranscriptDocument(document(1))),
            event(4, None, 75, Data::TranscriptDocument(document(2))),
        ],
        deliver_text: true,
    }
}

async fn all_delivered(outbox: &Outbox) {
    let deadline = Instant::now() + PATIENCE;
    while !outbox.pending(&["crm".into()]).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "something is not delivered within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn from(number: &str) -> Caller {
    Caller { number: Some(number.into()), ..Caller::default() }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab: make lab"]
async fn what_odoo_could_not_take_arrives_once_when_it_can_and_nobody_is_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let mut odoo = Odoo::start();
    let made = |values: Value| odoo.call("res.partner", "create", json!([values]), json!({})).as_u64().unwrap();
    let one = made(json!({"name": "橋本 花子", "phone": "０６−００００−１２３４"}));
    // a landline beside a mobile is not in phone_sanitized
    let first = made(json!({"name": "山田 太郎", "phone": "(06) 6208-1234", "mobile": "090-1234-5678"}));
    let second = made(json!({"name": "佐藤 次郎", "phone": "+81 6-6208-1234"}));
    made(json!({"name": "別人", "phone": "03-6208-1234"}));

    let (outbox, deliverer) = deliver_to(folder.path(), &odoo, "no such key", TranscriptAs::Message);
    outbox.commit(events(1, from("+81600001234"))).unwrap().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while deliverer.figures().iter().all(|of| of.attempts < 2) {
        assert!(Instant::now() < deadline, "nothing is tried");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!outbox.pending(&["crm".into()]).unwrap().is_empty(), "a wrong key loses nothing");
    drop((outbox, deliverer));

    let again = tempfile::tempdir().unwrap();
    let (outbox, deliverer) = deliver_to(again.path(), &odoo, odoo.told("KEY"), TranscriptAs::Message);
    let relay = Caller { tags: vec![Tag::Relay], ..from("+81600001234") };
    for batch in [events(2, from("+81662081234")), events(3, relay)] {
        outbox.commit(batch).unwrap().await.unwrap();
    }
    all_delivered(&outbox).await;
    let looked = Instant::now();
    let found = deliverer.look_up(0, &Number::parse("0662081234")).await.unwrap();
    println!("look-up: {:?}", looked.elapsed());
    let mut ids: Vec<_> = found.iter().map(|one| one.id.clone()).collect();
    ids.sort();
    assert_eq!(ids, [first.to_string(), second.to_string()]);

    odoo.crash();
    outbox.commit(events(1, from("+81600001234"))).unwrap().await.unwrap();
    assert_eq!(deliverer.look_up(0, &Number::parse("0600001234")).await, None);
    odoo.again();
    all_delivered(&outbox).await;

    let records = odoo.records("crm.phonecall", json!([]), &["partner_id", "description", "date", "duration", "state"]);
    assert_eq!(records.len(), 3, "{records:?}");
    let record_of = |contact: u128| {
        let name = format!("call_{}", Uuid::from_u128(contact));
        let known =
            odoo.records("ir.model.data", json!([["module", "=", "kakehashi"], ["name", "=", name]]), &["res_id"]);
        records.iter().find(|record| record["id"] == known[0]["res_id"]).unwrap()
    };
    let [single, both, relay] = [1, 2, 3].map(record_of);
    assert_eq!(single["partner_id"][0], one);
    for (record, words) in [(both, "佐藤 次郎"), (both, "山田 太郎"), (relay, "電話リレーサービス")] {
        assert_eq!(record["partner_id"], false);
        assert!(record["description"].as_str().unwrap().contains(words), "{record}");
    }
    for record in &records {
        assert_eq!((&record["date"], &record["state"]), (&json!("2026-11-27 04:59:50"), &json!("done")));
        assert_eq!(record["duration"], 1.0);
        let notes = json!([["model", "=", "crm.phonecall"], ["res_id", "=", record["id"]], ["subject", "!=", false]]);
        let notes = odoo.records("mail.message", notes, &["subject", "body"]);
        let subjects: Vec<_> = notes.iter().map(|note| note["subject"].as_str().unwrap()).collect();
        assert_eq!(subjects, ["通話の経過", "通話の書き起こし（第2版）"]);
        assert!(notes[1]["body"].as_str().unwrap().contains("住民票の&lt;写し&gt;をください"), "{:?}", notes[1]);
    }
}

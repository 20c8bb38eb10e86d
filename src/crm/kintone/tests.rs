//! The connector step by step, with answers as they are documented and observed (`tests/common/kintone/README.md`), and with ones that no kintone gives.

use serde_json::{Value, json};
use uuid::Uuid;

use super::form::{Form, STATES};
use super::settings::{Contacts, Fields};
use super::*;
use crate::call::{ContactId, LegId, Tier};
use crate::crm::{Load, MOST_REQUESTS, Method, Request, Response, Step};
use crate::events::{Agent, CallEnded, Caller, EndReason, LegRecord, LegState, TranscriptDocument, Turn};
use crate::outbox::budget::{Budget, Use};
use crate::pbx::Speaker;
use crate::time::Wall;

const CONTACT: ContactId = ContactId(Uuid::from_u128(0x0190_b5f2_7c6e_7b1a_9f1e_0000_0000_0001));
const LEG: LegId = LegId(Uuid::from_u128(2));
/// 2026-11-27 04:59:50 UTC.
const STARTED: Wall = Wall(1_795_755_590_000_000);

fn response(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response { status, retry_after: None, load: None, body: body.into() }
}

fn ok(body: Value) -> Response {
    response(200, body.to_string())
}

/// A refusal; its message quotes what must not be passed on.
fn refusal(status: u16, code: &str, paths: &[&str]) -> Response {
    let errors: Value = paths
        .iter()
        .map(|path| (path.to_string(), json!({"messages": ["山田 太郎 は…"]})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    response(status, json!({"code": code, "id": "x", "message": "山田 太郎 0612345678", "errors": errors}).to_string())
}

fn settings() -> Settings {
    let code = String::from;
    let fields = Fields {
        key: code("鍵"),
        sequence: code("通番"),
        revision: code("版"),
        state: code("状況"),
        number: code("番号"),
        agent: code("担当"),
        contact: code("連絡先"),
        transcript: code("本文"),
        file: code("添付"),
        ..Fields::default()
    };
    let contacts = Contacts { app: 11, name: code("氏名"), numbers: vec![code("電話")], note: String::new() };
    Settings { app: 12, fields, contacts, ..Settings::default() }
}

fn properties() -> Value {
    let field = |kind: &str| json!({"type": kind, "required": false, "unique": false});
    json!({
        "鍵": {"type": "SINGLE_LINE_TEXT", "required": true, "unique": true, "maxLength": "64"},
        "通番": field("NUMBER"), "版": field("NUMBER"), "状況": field("SINGLE_LINE_TEXT"), "番号": field("SINGLE_LINE_TEXT"),
        "担当": field("SINGLE_LINE_TEXT"), "連絡先": field("NUMBER"), "本文": field("MULTI_LINE_TEXT"), "添付": field("FILE"),
    })
}

fn calls_form() -> Response {
    ok(json!({"properties": properties(), "revision": "2"}))
}

fn contacts_form() -> Response {
    let text = json!({"type": "SINGLE_LINE_TEXT", "required": true});
    ok(json!({"properties": {"氏名": text, "電話": text}, "revision": "2"}))
}

fn records(rows: &[Value]) -> Response {
    ok(json!({"records": rows, "totalCount": null}))
}

fn written() -> Response {
    ok(json!({"records": [{"id": "1", "revision": "1", "operation": "INSERT"}]}))
}

/// The record of the call as it is read, with these values.
fn there(values: &[(&str, &str)]) -> Value {
    let properties = properties();
    let mut row = json!({"$id": {"type": "__ID__", "value": "7"}, "$revision": {"type": "__REVISION__", "value": "3"}});
    for (code, property) in properties.as_object().unwrap() {
        let value = values.iter().find(|(one, _)| one == code).map_or("", |(_, value)| value);
        let value = if property["type"] == "FILE" { json!([]) } else { json!(value) };
        row[code] = json!({"type": property["type"], "value": value});
    }
    row
}

fn kintone() -> Kintone {
    let endpoint = Endpoint { url: "https://city.cybozu.example/".into(), ..Endpoint::default() };
    Kintone::new(&endpoint, &settings(), &[Secret("TokenA".into()), Secret("TokenB".into())]).unwrap()
}

/// Plays a conversation: what is sent in turn, and how it ends. Fails when more is asked than there are answers.
fn play<T>(mut exchange: Box<dyn Exchange<T>>, answers: &[Response]) -> (Vec<Request>, T) {
    let (mut sent, mut answers) = (Vec::new(), answers.iter());
    let mut answer = None;
    loop {
        match exchange.next(answer.take(), STARTED) {
            Step::End(end) => {
                assert_eq!(answers.count(), 0, "answers that nobody asked for; sent: {:?}", summaries(&sent));
                return (sent, end);
            }
            Step::Send(request) => {
                sent.push(request);
                assert!(sent.len() <= MOST_REQUESTS, "a circle: {:?}", summaries(&sent));
                answer = Some(answers.next().cloned().unwrap_or_else(|| panic!("more: {:?}", summaries(&sent))));
            }
        }
    }
}

fn summaries(sent: &[Request]) -> Vec<String> {
    sent.iter().map(|request| format!("{:?} {}", request.method, request.path)).collect()
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn caller() -> Caller {
    Caller { number: Some("+81600001234".into()), ..Caller::default() }
}

fn agent() -> Agent {
    Agent { name: Some("応対 花子".into()), extension: "2001".into(), ..Agent::default() }
}

fn event(sequence: u64, leg: Option<LegId>, data: Data) -> String {
    let event = Event {
        id: Event::record_id(CONTACT, sequence, STARTED),
        source: "/site/s/node/n".into(),
        contact: CONTACT,
        leg,
        time: STARTED,
        sequence: Some(sequence),
        expires: None,
        data,
    };
    event.to_json()
}

fn answered() -> String {
    let leg = LegState {
        leg: LEG,
        agent: agent(),
        tier: Tier::Second,
        caller: caller(),
        called: "6001".into(),
        queue: None,
        previous_leg: None,
        keys: Vec::new(),
    };
    event(2, Some(LEG), Data::CallAnswered(leg))
}

fn ended(legs: Vec<LegRecord>) -> CallEnded {
    let (reason, called) = (EndReason::Abandoned, "6001".into());
    CallEnded { reason, caller: caller(), called, started: STARTED, legs, keys: Vec::new() }
}

fn document(text: &str) -> TranscriptDocument {
    let turn = Turn {
        utterance: "u".into(),
        leg: LEG,
        speaker: Speaker::Caller,
        start: STARTED,
        end: STARTED,
        text: Some(text.into()),
        corrections: Vec::new(),
        corrected: None,
    };
    TranscriptDocument { revision: 1, turns: vec![turn], coverage: Vec::new(), complete: true, pauses: Vec::new() }
}

fn deliver(kintone: &Kintone, body: &str, answers: &[Response]) -> (Vec<Request>, Answer) {
    play(kintone.deliver(&Outgoing { id: "x", body }), answers)
}

#[test]
fn requests_are_as_documented_and_numbers_stand_in_no_address() {
    let hanako = json!({"$id": {"type": "__ID__", "value": "5"}, "氏名": {"type": "SINGLE_LINE_TEXT", "value": "花子"},
        "電話": {"type": "SINGLE_LINE_TEXT", "value": "0600001234"}});
    let answers = [calls_form(), contacts_form(), records(&[]), records(&[hanako]), written()];
    let (sent, answer) = deliver(&kintone(), &answered(), &answers);
    assert_eq!(answer, Answer::Delivered);
    let expected = [
        "Get /k/v1/app/form/fields.json?app=12",
        "Get /k/v1/app/form/fields.json?app=11",
        "Post /k/v1/records.json",
        "Post /k/v1/records.json",
        "Put /k/v1/records.json",
    ];
    assert_eq!(summaries(&sent), expected);
    let header = |at: usize, name: &str| {
        let found = sent[at].headers.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_str())
    };
    assert!((0..5).all(|at| header(at, "x-cybozu-api-token") == Some("TokenA,TokenB")));
    assert_eq!((header(0, "content-type"), header(2, "x-http-method-override")), (None, Some("GET")), "CB_IL02");
    assert_eq!(body(&sent[2])["query"], format!("鍵 in (\"{CONTACT}\") limit 1"));
    let query = r#"電話 in ("+81600001234","0600001234","81600001234") order by $id asc limit 21"#;
    assert_eq!(body(&sent[3])["query"], query);
    let record = json!({"通番": {"value": 2}, "状況": {"value": "対応中"}, "番号": {"value": "0600001234"},
        "担当": {"value": "応対 花子"}, "連絡先": {"value": "5"}});
    let update = json!({"updateKey": {"field": "鍵", "value": CONTACT.to_string()}, "record": record});
    assert_eq!(body(&sent[4]), json!({"app": 12, "upsert": true, "records": [update]}));
    assert_eq!((sent[0].method, sent[4].method), (Method::Get, Method::Put));
}

#[test]
fn the_forms_are_asked_for_once_and_what_is_done_is_not_done_again() {
    let kintone = kintone();
    let (_, answer) =
        deliver(&kintone, &answered(), &[calls_form(), contacts_form(), records(&[there(&[("通番", "2")])])]);
    assert_eq!(answer, Answer::Delivered);
    let unanswered = event(3, None, Data::CallEnded(ended(Vec::new())));
    let known = there(&[("通番", "2"), ("番号", "本人申告"), ("連絡先", "5")]);
    let (sent, answer) = deliver(&kintone, &unanswered, &[records(&[known]), written()]);
    assert_eq!(answer, Answer::Delivered);
    let one = &body(&sent[1])["records"][0];
    assert_eq!(one["revision"], "3");
    assert_eq!(one["record"], json!({"通番": {"value": 3}, "状況": {"value": "応答なし"}}), "the rest is people's");
}

#[test]
fn whose_trouble_a_refusal_is() {
    type Fits = fn(&Answer) -> bool;
    let busy = |what: &str| Answer::Busy { what: what.into(), retry_after: None };
    let cases: [(Response, Fits); 12] = [
        (refusal(400, "GAIA_IA02", &[]), |answer| matches!(answer, Answer::Denied(_))),
        (refusal(400, "GAIA_DA03", &[]), |answer| matches!(answer, Answer::Denied(_))),
        (refusal(401, "CB_AU01", &[]), |answer| matches!(answer, Answer::Denied(_))),
        (refusal(403, "GAIA_NO01", &[]), |answer| matches!(answer, Answer::Denied(_))),
        (refusal(404, "GAIA_AP01", &[]), |answer| matches!(answer, Answer::Denied(_))),
        (refusal(429, "GAIA_TO04", &[]), |answer| matches!(answer, Answer::Busy { .. })),
        (refusal(520, "GAIA_XX99", &[]), |answer| matches!(answer, Answer::Busy { .. })),
        (refusal(400, "GAIA_LT01", &[]), |answer| matches!(answer, Answer::Busy { .. })),
        (response(503, "<html>メンテナンス"), |answer| matches!(answer, Answer::Busy { .. })),
        (response(200, "<html>"), |answer| matches!(answer, Answer::Busy { .. })),
        (response(413, "<html>"), |answer| matches!(answer, Answer::Refused(_))),
        (refusal(400, "山田 太郎", &[]), |answer| matches!(answer, Answer::Refused(_))),
    ];
    for (response, fits) in cases {
        let (_, answer) = deliver(&kintone(), &answered(), &[calls_form(), contacts_form(), response.clone()]);
        assert!(fits(&answer), "{}: {answer:?}", String::from_utf8_lossy(&response.body));
        let text = answer.to_string();
        assert!(!text.contains("山田") && !text.contains("0612345678"), "{text}");
    }
    let load = Some(Load { running: 101, limit: 100 });
    let (_, answer) = deliver(&kintone(), &answered(), &[Response { load, ..refusal(429, "GAIA_TO04", &[]) }]);
    assert_eq!(answer, busy("GAIA_TO04: too many requests at once in the domain (101 of 100)"));
}

/// Every way to begin anew, one after the other, stays within what one exchange may ask.
#[test]
fn the_longest_way_has_an_end() {
    let kintone = kintone();
    let body = event(4, None, Data::TranscriptDocument(document("はい")));
    let (read, key) = (records(&[there(&[])]), ok(json!({"fileKey": "k"})));
    let refused = refusal(400, "CB_VA01", &["records[0].本文.value"]);
    let answers = [
        calls_form(),
        read.clone(),
        key.clone(),
        refusal(404, "GAIA_BL01", &[]),
        read.clone(),
        key,
        refusal(409, "GAIA_CO02", &[]),
        read.clone(),
        refused.clone(),
        calls_form(),
        read,
        refused,
    ];
    let (_, answer) = deliver(&kintone, &body, &answers);
    let told = "CB_VA01: not taken: [endpoint.kintone.fields] transcript";
    assert_eq!(answer, Answer::Refused(told.into()));
}

#[test]
fn a_record_that_was_made_meanwhile_is_read_and_somebody_who_never_rests_is_waited_for() {
    let taken = refusal(400, "CB_VA01", &["records[0].鍵.value"]);
    let known = records(&[there(&[("通番", "2")])]);
    let answers = [calls_form(), contacts_form(), records(&[]), records(&[]), taken, known];
    assert_eq!(deliver(&kintone(), &answered(), &answers).1, Answer::Delivered);
    let (read, stale) = (records(&[there(&[("連絡先", "5")])]), refusal(409, "GAIA_CO02", &[]));
    let answers =
        [calls_form(), contacts_form(), read.clone(), stale.clone(), read.clone(), stale.clone(), read, stale];
    let answer = deliver(&kintone(), &answered(), &answers).1;
    assert!(matches!(&answer, Answer::Busy { what, .. } if what.contains("somebody else")), "{answer:?}");
}

#[test]
fn a_full_domain_is_left_to_others_for_a_moment_and_pops_are_not_held_up() {
    let kintone = kintone();
    let busy = Response { load: Some(Load { running: 90, limit: 100 }), ..records(&[there(&[("通番", "2")])]) };
    assert_eq!(deliver(&kintone, &answered(), &[calls_form(), contacts_form(), busy]).1, Answer::Delivered);
    let (sent, answer) = deliver(&kintone, &answered(), &[]);
    assert!(
        sent.is_empty() && matches!(&answer, Answer::Busy { what, retry_after: Some(_) } if what.contains("90 of 100"))
    );
    let look_up = kintone.look_up(&Number::parse("0600001234")).unwrap();
    assert_eq!(play(look_up, &[records(&[])]).1, Ok(Vec::new()));
    let mut later = kintone.deliver(&Outgoing { id: "x", body: &answered() });
    assert!(matches!(later.next(None, STARTED + Duration::from_secs(2)), Step::Send(_)), "old news");
}

#[test]
fn the_day_of_requests_begins_at_nine() {
    let declares = kintone().declares();
    // 2026-11-24 08:59:59 in Japan
    let last = Wall(1_795_420_800_000_000 + (16 * 3_600 - 1) * 1_000_000);
    let budget = Budget::new(declares.requests_per_day.unwrap(), declares.day_begins, 10_000, last);
    assert!(!budget.reserve(1, Use::Live, last));
    assert!(budget.reserve(1, Use::Live, last + Duration::from_secs(1)));
}

#[test]
fn a_form_is_compared_with_the_configuration() {
    let problem = |change: &dyn Fn(&mut Value)| {
        let mut properties = properties();
        change(&mut properties);
        let form = Form::read(&json!({"properties": properties})).unwrap();
        form.problem_of_calls(&settings()).unwrap_or_default()
    };
    assert_eq!(problem(&|_| {}), "");
    let all = problem(&|all| *all = json!({}));
    assert!(all.starts_with("kintone app 12, [endpoint.kintone]: fields.key `鍵` is not in the form; fields.sequence"));
    assert!(all.ends_with("; and more"), "{all}");
    for (change, expected) in [
        (json!({"添付": {"type": "SINGLE_LINE_TEXT"}}), "fields.file `添付` is a SINGLE_LINE_TEXT, expected FILE"),
        (json!({"鍵": {"type": "SINGLE_LINE_TEXT", "unique": false}}), "fields.key `鍵` may repeat"),
        (
            json!({"状況": {"type": "DROP_DOWN", "options": {"対応中": {}, "完了": {}}}}),
            "`状況` has no option 応答なし",
        ),
        (
            json!({"連絡先": {"type": "NUMBER", "lookup": {"relatedApp": {"app": "9"}, "relatedKeyField": "番号"}}}),
            "fields.contact `連絡先` looks up app 9, expected contacts.app, which is 11",
        ),
        (json!({"区分": {"type": "NUMBER", "required": true, "defaultValue": ""}}), "`区分` must not be empty"),
    ] {
        let text = problem(&|all| all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone()));
        assert!(text.contains(expected), "{text}");
    }
    let filled = json!({"日": {"type": "DATE", "required": true, "defaultValue": "", "defaultNowValue": true}});
    assert_eq!(problem(&|all| all.as_object_mut().unwrap().extend(filled.as_object().unwrap().clone())), "");
}

#[test]
fn a_text_is_as_the_field_takes_it() {
    let properties = json!({
        "短": {"type": "SINGLE_LINE_TEXT", "maxLength": "3"},
        "選": {"type": "DROP_DOWN", "options": {"北区": {"label": "北区", "index": "0"}}},
    });
    let form = Form::read(&json!({"properties": properties})).unwrap();
    assert_eq!(form.fitted("短", "あ\nいう"), Some("あ、い".into()));
    assert_eq!((form.fitted("選", "北区"), form.fitted("選", "南区")), (Some("北区".into()), None));
    assert_eq!(STATES.len(), 3);
}

#[test]
fn a_long_transcript_is_cut_at_a_line_in_the_field_and_whole_in_the_file() {
    let line = "あ".repeat(1_000);
    let long = TranscriptDocument { turns: vec![document(&line).turns[0].clone(); 60], ..document("") };
    let body_of = event(4, None, Data::TranscriptDocument(long));
    let answers = [calls_form(), records(&[]), ok(json!({"fileKey": "k"})), written()];
    let (sent, answer) = deliver(&kintone(), &body_of, &answers);
    assert_eq!(answer, Answer::Delivered);
    let field = body(&sent[3])["records"][0]["record"]["本文"]["value"].as_str().unwrap().to_string();
    assert!(
        field.chars().count() < text::LONGEST_TRANSCRIPT + 50 && field.ends_with("続きは添付ファイルにあります。\n")
    );
    assert!(field.contains(&format!("{line}\n※")), "whole lines only");
    let file = String::from_utf8(sent[2].body.clone()).unwrap();
    assert_eq!(file.matches(&line).count(), 60);
    assert!(file.starts_with(&format!(
        "--kakehashi-{CONTACT}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"書き起こし-0190b5f2.txt\""
    )));
}

#[test]
fn what_is_said_cannot_end_the_upload() {
    let body_of = event(4, None, Data::TranscriptDocument(document(&format!("kakehashi-{CONTACT}"))));
    let answers = [calls_form(), records(&[]), ok(json!({"fileKey": "k"})), written()];
    let (sent, _) = deliver(&kintone(), &body_of, &answers);
    let kind = &sent[2].headers.iter().find(|(name, _)| *name == "content-type").unwrap().1;
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let file = String::from_utf8(sent[2].body.clone()).unwrap();
    assert_eq!(file.matches(boundary).count(), 2, "at the beginning and at the end");
}

#[test]
fn answers_of_no_kintone_end_in_a_reason() {
    for odd in [json!({}), json!({"records": 5}), json!([])] {
        let (_, answer) = deliver(&kintone(), &answered(), &[calls_form(), contacts_form(), ok(odd.clone())]);
        assert!(matches!(answer, Answer::Unfit(_) | Answer::Busy { .. }), "{odd}: {answer:?}");
    }
    for odd in [json!(7), json!({"$id": 5}), json!({"鍵": {"type": "NUMBER"}})] {
        let rows = records(std::slice::from_ref(&odd));
        let answers = [calls_form(), contacts_form(), rows.clone(), calls_form(), contacts_form(), rows];
        let (_, answer) = deliver(&kintone(), &answered(), &answers);
        assert!(matches!(answer, Answer::Unfit(_)), "{odd}: {answer:?}");
    }
}

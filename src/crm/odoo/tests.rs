//! The connector step by step, with the answers of a real Odoo (`tests/data/odoo`), and with answers that no Odoo gives.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use uuid::Uuid;

use super::settings::TranscriptAs;
use super::*;
use crate::call::{ContactId, LegId, Tier};
use crate::crm::{MOST_REQUESTS, Request, Response, Step};
use crate::events::{
    Agent, CallAbandoned, CallEnded, Caller, EndReason, LegRecord, LegState, TranscriptDocument, Turn,
};
use crate::pbx::{Speaker, Tag};
use crate::time::Wall;

const CONTACT: ContactId = ContactId(Uuid::from_u128(0x0190_b5f2_7c6e_7b1a_9f1e_0000_0000_0001));
const LEG: LegId = LegId(Uuid::from_u128(2));
/// 2026-11-27 04:59:50 UTC.
const STARTED: Wall = Wall(1_795_755_590_000_000);

/// An answer of the real Odoo, by its name.
fn real(name: &str) -> Response {
    static ALL: LazyLock<HashMap<String, Value>> =
        LazyLock::new(|| serde_json::from_str(include_str!("../../../tests/data/odoo/answers.json")).unwrap());
    let one = ALL.get(name).unwrap_or_else(|| panic!("no answer {name}"));
    let body = one["body"].as_str().unwrap().as_bytes().to_vec();
    Response { status: one["status"].as_u64().unwrap() as u16, retry_after: None, load: None, body }
}

fn response(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response { status, retry_after: None, load: None, body: body.into() }
}

fn result(value: Value) -> Response {
    response(200, json!({"jsonrpc": "2.0", "id": 1, "result": value}).to_string())
}

fn exception(name: &str) -> Response {
    let data = json!({"name": name, "debug": "Traceback: 山田 太郎 +81662081234", "message": "山田 太郎"});
    let error = json!({"code": 200, "message": "Odoo Server Error", "data": data});
    response(200, json!({"jsonrpc": "2.0", "id": 1, "error": error}).to_string())
}

fn with(change: impl FnOnce(&mut Settings)) -> Odoo {
    let mut settings = Settings { database: "kakehashi".into(), login: "bridge".into(), ..Settings::default() };
    change(&mut settings);
    let endpoint = Endpoint { url: "https://odoo.example.jp/".into(), ..Endpoint::default() };
    Odoo::new(&endpoint, &settings, &[Secret("KEY".into())]).unwrap()
}

fn odoo() -> Odoo {
    with(|_| {})
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

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// `model.method` of each call.
fn summaries(sent: &[Request]) -> Vec<String> {
    let summary = |request: &Request| {
        let body = body(request);
        let (service, arguments) = (&body["params"]["service"], &body["params"]["args"]);
        if service == "common" {
            return "log in".to_string();
        }
        format!("{}.{}", arguments[3].as_str().unwrap(), arguments[4].as_str().unwrap())
    };
    sent.iter().map(summary).collect()
}

/// The columns of a load.
fn row(request: &Request) -> HashMap<String, Value> {
    let body = body(request);
    let parameters = &body["params"]["args"][6];
    let names = parameters["fields"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_string());
    names.zip(parameters["data"][0].as_array().unwrap().iter().cloned()).collect()
}

fn caller() -> Caller {
    Caller { number: Some("+81600001234".into()), raw: Some("0600001234".into()), ..Caller::default() }
}

fn agent() -> Agent {
    let text = |text: &str| Some(text.to_string());
    Agent { id: text("operator"), name: text("応対 花子"), department: text("市民課"), extension: "2001".into() }
}

fn event(leg: Option<LegId>, after_s: i64, data: Data) -> Event {
    Event {
        id: Event::record_id(CONTACT, 1, Wall(STARTED.0 + after_s * 1_000_000)),
        source: "/site/osaka/node/a".into(),
        contact: CONTACT,
        leg,
        time: Wall(STARTED.0 + after_s * 1_000_000),
        sequence: Some(1),
        expires: None,
        data,
    }
}

fn answered(caller: Caller) -> Event {
    let leg = LegState {
        leg: LEG,
        agent: agent(),
        tier: Tier::Second,
        caller,
        called: "6001".into(),
        queue: None,
        previous_leg: None,
        keys: Vec::new(),
    };
    event(Some(LEG), 10, Data::CallAnswered(leg))
}

fn ended(answered: bool) -> Event {
    let at = |seconds: i64| Wall(STARTED.0 + seconds * 1_000_000);
    let leg = LegRecord {
        leg: LEG,
        agent: Agent { name: Some("<b>応対</b>".into()), ..agent() },
        tier: Tier::Second,
        queue: None,
        previous_leg: None,
        offered: at(1),
        ringing: Some(at(2)),
        answered: answered.then(|| at(10)),
        ended: Some(at(221)),
        reason: Some(EndReason::CallerHangup),
    };
    let data = CallEnded {
        reason: if answered { EndReason::CallerHangup } else { EndReason::Abandoned },
        caller: caller(),
        called: "6001".into(),
        started: STARTED,
        legs: vec![leg],
        keys: Vec::new(),
    };
    event(None, 221, Data::CallEnded(data))
}

fn document(revision: u32) -> Event {
    let turn = |speaker, text: Option<&str>| Turn {
        utterance: "u".into(),
        leg: LEG,
        speaker,
        start: STARTED,
        end: STARTED,
        text: text.map(String::from),
        corrections: Vec::new(),
        corrected: None,
    };
    let turns = vec![turn(Speaker::Caller, Some("<住民票>の\0写しを")), turn(Speaker::Agent, None)];
    let data = TranscriptDocument { revision, turns, coverage: Vec::new(), complete: false, pauses: Vec::new() };
    event(None, 230, Data::TranscriptDocument(data))
}

fn deliver(odoo: &Odoo, event: &Event, answers: &[Response]) -> (Vec<Request>, Answer) {
    let (id, body) = (event.id.to_string(), event.to_json());
    play(odoo.deliver(&Outgoing { id: &id, body: &body }), answers)
}

/// The same with an Odoo that knows us already.
fn deliver_known(event: &Event, answers: &[Response]) -> (Vec<Request>, Answer) {
    let odoo = odoo();
    logged_in(&odoo);
    deliver(&odoo, event, answers)
}

fn logged_in(odoo: &Odoo) {
    let exchange = odoo.look_up(&Number::parse("0662081234")).unwrap();
    assert_eq!(play(exchange, &[real("logged_in"), real("nothing_known")]).1, Ok(Vec::new()));
}

fn known_call() -> Response {
    result(json!([{"id": 1, "name": format!("call_{CONTACT}"), "model": "crm.phonecall", "res_id": 7}]))
}

fn known_both(model: &str, kind: &str) -> Response {
    result(json!([{"id": 1, "name": format!("call_{CONTACT}"), "model": "crm.phonecall", "res_id": 7},
        {"id": 2, "name": format!("{kind}_{CONTACT}"), "model": model, "res_id": 49}]))
}

#[test]
fn an_answered_call_is_a_record_of_the_contact_that_has_the_number() {
    let answers = [real("logged_in"), real("nothing_known"), real("person"), real("loaded")];
    let (sent, end) = deliver(&odoo(), &answered(caller()), &answers);
    assert_eq!(end, Answer::Delivered);
    let wanted = ["log in", "ir.model.data.search_read", "res.partner.search_read", "crm.phonecall.load"];
    assert_eq!(summaries(&sent), wanted);
    assert_eq!(sent[0].path, "/jsonrpc");
    assert_eq!(body(&sent[1])["params"]["args"][1], 6, "the uid of the log-in");
    let row = row(&sent[3]);
    assert_eq!(row["id"], "kakehashi.call_0190b5f2-7c6e-7b1a-9f1e-000000000001");
    assert_eq!((&row["partner_id/.id"], &row["direction"]), (&json!(9), &json!("in")));
    assert_eq!((&row["name"], &row["date"]), (&json!("着信 0600001234"), &json!("2026-11-27 05:00:00")));
    assert_eq!(row["description"], "着信先: 6001\n応対: 応対 花子（市民課、内線 2001）");
    assert!(!row.contains_key("state"), "a late attempt must not open a record that is done");
    assert_eq!(body(&sent[3])["params"]["args"][6]["context"], json!({"tz": "UTC"}));
}

#[test]
fn a_record_that_is_there_is_left_alone_until_the_end_and_gets_only_what_the_end_brings() {
    let (sent, end) = deliver_known(&answered(caller()), &[known_call()]);
    assert_eq!((summaries(&sent), end), (vec!["ir.model.data.search_read".to_string()], Answer::Delivered));
    let (sent, end) = deliver_known(&ended(true), &[known_call(), real("loaded"), real("loaded")]);
    assert_eq!(end, Answer::Delivered);
    assert_eq!(summaries(&sent)[1..], ["crm.phonecall.load", "mail.message.load"]);
    let (record, course) = (row(&sent[1]), row(&sent[2]));
    let mut columns: Vec<_> = record.keys().map(String::as_str).collect();
    columns.sort_unstable();
    assert_eq!(columns, ["date", "duration", "id", "state"], "name, contact and description are the operators' now");
    assert_eq!((&record["date"], &record["state"]), (&json!("2026-11-27 04:59:50"), &json!("done")));
    assert_eq!(record["duration"], 3.5167, "minutes, from the answer on");
    assert_eq!((&course["res_id"], &course["id"]), (&json!(1), &json!(format!("kakehashi.course_{CONTACT}"))));
    let html = course["body"].as_str().unwrap();
    assert!(html.contains("14:00:00–14:03:31 応対 二次応答 &lt;b&gt;応対&lt;/b&gt;"), "{html}");
    assert!(html.contains("発信者が切断"), "{html}");
}

#[test]
fn the_end_makes_the_record_where_it_is_missing() {
    let answers = [real("nothing_known"), real("person"), real("loaded"), real("loaded")];
    let (sent, end) = deliver_known(&ended(false), &answers);
    assert_eq!(end, Answer::Delivered);
    let row = row(&sent[2]);
    assert_eq!((&row["state"], &row["duration"]), (&json!("cancel"), &json!(0.0)), "nobody talked");
    assert_eq!((&row["partner_id/.id"], &row["partner_phone"]), (&json!(9), &json!("+81600001234")));
}

#[test]
fn a_record_that_was_deleted_meanwhile_is_made_anew() {
    let answers = [known_call(), real("load_rest_of_nothing"), real("person"), real("loaded"), real("loaded")];
    let (sent, end) = deliver_known(&ended(true), &answers);
    assert_eq!(end, Answer::Delivered);
    assert_eq!(row(&sent[3])["name"], "着信 0600001234");
}

#[test]
fn several_contacts_are_listed_and_none_is_chosen() {
    let both = Caller { number: Some("+81662081234".into()), ..Caller::default() };
    let (sent, end) = deliver_known(&answered(both), &[real("nothing_known"), real("people"), real("loaded")]);
    let row = row(&sent[2]);
    assert_eq!(end, Answer::Delivered);
    assert!(!row.contains_key("partner_id/.id"));
    let description = row["description"].as_str().unwrap();
    assert!(description.contains("佐藤 次郎（ID 11）、山田 太郎（ID 10）"), "{description}");
}

#[test]
fn a_relayed_call_is_nobodys_and_a_caller_without_a_number_is_not_looked_for() {
    let relay = Caller { tags: vec![Tag::Relay], ..caller() };
    for (caller, words) in [(relay, "電話リレーサービス"), (Caller::default(), "着信先: 6001")] {
        let (sent, end) = deliver_known(&answered(caller), &[real("nothing_known"), real("loaded")]);
        assert_eq!((end, summaries(&sent).len()), (Answer::Delivered, 2), "no contact is asked for");
        let row = row(&sent[1]);
        assert!(!row.contains_key("partner_id/.id"));
        assert!(row["description"].as_str().unwrap().contains(words));
    }
}

#[test]
fn the_agent_is_a_user_where_the_directory_says_so() {
    let odoo = with(|settings| settings.agents_are_logins = true);
    logged_in(&odoo);
    let answers = [real("nothing_known"), real("person"), real("user"), real("load_no_user"), real("loaded")];
    let (sent, end) = deliver(&odoo, &answered(caller()), &answers);
    assert_eq!(end, Answer::Delivered);
    assert_eq!(row(&sent[3])["user_id/.id"], 7);
    assert!(!row(&sent[4]).contains_key("user_id/.id"), "without the user who is no more");
}

#[test]
fn a_contact_that_was_deleted_meanwhile_is_left_out() {
    let answers = [real("nothing_known"), real("person"), real("load_no_partner"), real("loaded")];
    let (sent, end) = deliver_known(&answered(caller()), &answers);
    assert_eq!((end, row(&sent[3]).contains_key("partner_id/.id")), (Answer::Delivered, false));
}

#[test]
fn a_transcript_replaces_the_one_before_and_never_a_later_one() {
    let attached = |sent: &[Request]| {
        let row = row(sent.last().unwrap());
        let text = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, row["datas"].as_str().unwrap());
        (row["res_id"].clone(), String::from_utf8(text.unwrap()).unwrap())
    };
    let (sent, end) = deliver_known(&document(1), &[known_call(), real("loaded")]);
    let (record, text) = attached(&sent);
    assert_eq!((end, record), (Answer::Delivered, json!(7)));
    assert!(text.starts_with("通話の書き起こし（第1版）\n※"), "{text}");
    assert!(text.contains("2026-11-27 13:59:50 発信者: <住民票>の写しを\n"), "{text}");
    assert!(text.contains("担当者: （認識できませんでした）"), "{text}");
    let there = [known_both("ir.attachment", "transcript"), real("second_revision")];
    assert_eq!(deliver_known(&document(1), &there).1, Answer::Delivered, "the second revision stays");
    for revision in [2, 3] {
        let (sent, _) = deliver_known(&document(revision), &[&there[..], &[real("loaded")]].concat());
        assert_eq!(summaries(&sent).last().unwrap(), "ir.attachment.load");
    }
}

#[test]
fn a_transcript_without_a_record_makes_one() {
    let answers = [real("nothing_known"), real("loaded"), real("loaded")];
    let (sent, end) = deliver_known(&document(1), &answers);
    assert_eq!(
        (end, summaries(&sent)[1..].join(" ")),
        (Answer::Delivered, "crm.phonecall.load ir.attachment.load".into())
    );
    assert_eq!((&row(&sent[1])["direction"], &row(&sent[2])["res_id"]), (&json!("in"), &json!(1)));
}

#[test]
fn a_transcript_can_be_a_message() {
    let odoo = with(|settings| settings.transcript = TranscriptAs::Message);
    logged_in(&odoo);
    let there = result(json!([{"id": 49, "subject": "通話の書き起こし（第1版）"}]));
    let answers = [known_both("mail.message", "message"), there, real("loaded")];
    let (sent, end) = deliver(&odoo, &document(2), &answers);
    let row = row(&sent[2]);
    assert_eq!((end, &row["subject"]), (Answer::Delivered, &json!("通話の書き起こし（第2版）")));
    assert!(row["body"].as_str().unwrap().contains("&lt;住民票&gt;の写しを<br>"));
}

#[test]
fn what_says_nothing_new_is_not_sent() {
    let leg = Event { leg: Some(LEG), ..ended(true) };
    assert_eq!(deliver(&odoo(), &leg, &[]).1, Answer::Delivered);
    let abandoned = CallAbandoned { caller: caller(), called: "6001".into(), queue: None, waited_ms: 1 };
    assert!(!odoo().takes(&Data::CallAbandoned(abandoned)), "the end of the call follows it");
    assert!(odoo().takes(&ended(false).data) && odoo().takes(&document(1).data));
}

#[test]
fn a_concurrent_update_is_tried_again_at_once_and_then_later() {
    let conflict = || real("load_conflict");
    let (sent, end) = deliver_known(
        &answered(caller()),
        &[real("nothing_known"), real("person"), conflict(), conflict(), conflict(), real("loaded")],
    );
    assert_eq!((end, sent[2] == sent[5]), (Answer::Delivered, true));
    let four = [conflict(), conflict(), conflict(), conflict()];
    let answers = [&[real("nothing_known"), real("person")][..], &four].concat();
    assert!(matches!(deliver_known(&answered(caller()), &answers).1, Answer::Busy { .. }));
    // the same from a PostgreSQL that speaks Japanese, or a rule of the database
    let other = json!({"ids": false, "messages": [{"type": "error", "message": "更新が同時に行われました"}]});
    let answers = [&[real("nothing_known"), real("person")][..], &[0; 4].map(|_| result(other.clone()))].concat();
    assert!(matches!(deliver_known(&answered(caller()), &answers).1, Answer::Unfit(_)));
}

#[test]
fn who_is_not_known_any_more_logs_in_once() {
    let again = |name: &str| [real(name), real("logged_in"), known_call()];
    for name in ["wrong_key", "unknown_user"] {
        let (sent, end) = deliver_known(&answered(caller()), &again(name));
        assert_eq!((end, summaries(&sent)[1].as_str()), (Answer::Delivered, "log in"));
    }
    let (_, end) = deliver_known(&answered(caller()), &[real("wrong_key"), real("logged_in"), real("wrong_key")]);
    assert!(matches!(end, Answer::Denied(_)), "{end:?}");
    let (_, end) = deliver_known(&answered(caller()), &[real("wrong_key"), real("wrong_key_at_login")]);
    assert!(matches!(end, Answer::Denied(_)), "{end:?}");
}

/// The classes of errors, by a letter each: what a person mends in our settings, what may fit later, what never does, what is only busy.
fn letter(answer: &Answer) -> char {
    match answer {
        Answer::Denied(_) => 'D',
        Answer::Unfit(_) => 'U',
        Answer::Refused(_) => 'R',
        Answer::Busy { .. } => 'B',
        Answer::Gone => 'G',
        Answer::Delivered | Answer::Late(_) | Answer::Dry { .. } | Answer::NotYet { .. } | Answer::Failed(_) => '-',
    }
}

#[test]
fn errors_have_their_classes() {
    for (name, class) in [("wrong_key_at_login", 'D'), ("unknown_database", 'D')] {
        assert_eq!(letter(&deliver(&odoo(), &answered(caller()), &[real(name)]).1), class, "{name}");
    }
    let read =
        [("no_right_to_read", 'U'), ("unknown_model", 'U'), ("unknown_field", 'R'), ("load_unknown_column", 'U')];
    for (name, class) in read {
        assert_eq!(letter(&deliver_known(&answered(caller()), &[real(name)]).1), class, "{name}");
    }
    for (name, class) in [("no_right_to_load", 'U'), ("load_bad_state", 'R'), ("load_bad_date", 'R'), ("load_nul", 'R')]
    {
        let answers = [real("nothing_known"), real("person"), real(name)];
        assert_eq!(letter(&deliver_known(&answered(caller()), &answers).1), class, "{name}");
    }
    for (name, class) in [("odoo.exceptions.UserError", 'R'), ("odoo.exceptions.MissingError", 'U')] {
        let text = format!("Unknown error during import: <class '{name}'>: 山田 太郎");
        let told = result(json!({"ids": false, "messages": [{"type": "error", "message": text}]}));
        let (_, answer) = deliver_known(&answered(caller()), &[real("nothing_known"), real("person"), told]);
        assert_eq!((letter(&answer), answer.to_string().is_ascii()), (class, true), "{name}");
    }
    for (name, class) in [
        ("odoo.exceptions.AccessError", 'U'),
        ("odoo.exceptions.ValidationError", 'R'),
        ("odoo.exceptions.UserError", 'U'),
        ("psycopg2.errors.SerializationFailure", 'B'),
        ("psycopg2.pool.PoolError", 'B'),
        ("psycopg2.errors.InvalidDatetimeFormat", 'U'),
        ("builtins.TypeError", 'R'),
        ("山田 太郎", 'R'),
        ("", 'R'),
    ] {
        let (_, answer) = deliver_known(&answered(caller()), &[exception(name)]);
        assert_eq!(letter(&answer), class, "{name}");
        assert!(answer.to_string().is_ascii(), "nothing but the name of the class: {answer}");
    }
    for (status, class) in [(500, 'B'), (502, 'B'), (503, 'B'), (429, 'B'), (404, 'U'), (303, 'U'), (400, 'R')] {
        let (_, answer) = deliver_known(&answered(caller()), &[response(status, "<html>maintenance</html>")]);
        assert_eq!(letter(&answer), class, "{status}");
    }
}

#[test]
fn no_answer_makes_it_panic_or_turn_in_circles() {
    let real_one = String::from_utf8(real("people").body).unwrap();
    let mut bodies: Vec<Vec<u8>> =
        (0..real_one.len()).step_by(31).map(|cut| real_one.as_bytes()[..cut].to_vec()).collect();
    bodies.extend([vec![0xff; 600], vec![b'['; 100_000], b"{}".to_vec(), b"null".to_vec(), vec![b' '; 512 * 1024]]);
    for value in [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!("x"),
        json!({}),
        json!([null]),
        json!([[]]),
        json!([{"id": -1, "name": 7, "model": [], "res_id": "x", "display_name": {}, "phone": 5}]),
        json!({"ids": [null]}),
        json!({"ids": false}),
        json!({"ids": false, "messages": {}}),
        json!({"ids": [], "messages": [{"field": 1, "message": []}]}),
        json!({"ids": false, "messages": [{"field": "山田", "message": "x"}]}),
        json!({"ids": false, "messages": [{"message": "<class '"}]}),
    ] {
        bodies.push(result(value).body);
    }
    for body in bodies {
        // the same answer to everything, at the log-in and after it
        let same = response(200, body);
        for event in [answered(caller()), ended(true), document(2)] {
            for known in [false, true] {
                let odoo = odoo();
                if known {
                    logged_in(&odoo);
                }
                let (id, text) = (event.id.to_string(), event.to_json());
                end_of(odoo.deliver(&Outgoing { id: &id, body: &text }), &same);
                end_of(odoo.look_up(&Number::parse("0600001234")).unwrap(), &same);
            }
        }
    }
    let (_, end) = play(odoo().deliver(&Outgoing { id: "1", body: "{" }), &[]);
    assert_eq!(letter(&end), 'R');
}

/// Gives the same answer to everything until the exchange ends.
fn end_of<T>(mut exchange: Box<dyn Exchange<T>>, same: &Response) {
    let mut answer = None;
    for _ in 0..=MOST_REQUESTS {
        match exchange.next(answer.take(), STARTED) {
            Step::End(_) => return,
            Step::Send(_) => answer = Some(same.clone()),
        }
    }
    panic!("a circle");
}

fn look_up(number: &str, answers: &[Response]) -> (Vec<Request>, Result<Vec<Match>, Answer>) {
    let odoo = odoo();
    logged_in(&odoo);
    play(odoo.look_up(&Number::parse(number)).unwrap(), answers)
}

#[test]
fn a_look_up_gives_the_contact_with_open_cases_and_earlier_calls() {
    let (sent, found) = look_up("0600001234", &[real("person"), real("cases"), real("history")]);
    let wanted = ["res.partner.search_read", "crm.lead.search_read", "crm.phonecall.search_read"];
    assert_eq!(summaries(&sent), wanted);
    let domain = &body(&sent[0])["params"]["args"][6]["domain"];
    let wanted = json!([
        "|",
        "|",
        ["phone_sanitized", "=", "+81600001234"],
        ["phone", "=like", "%6%0%0%0%0%1%2%3%4"],
        ["mobile", "=like", "%6%0%0%0%0%1%2%3%4"]
    ]);
    assert_eq!(*domain, wanted);
    let found = found.unwrap();
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.id.as_str(), one.name.as_str(), one.note.as_deref()), ("9", "橋本 花子", Some("大阪市住吉区")));
    let page = |model: &str, id: u64| Some(format!("https://odoo.example.jp/web#id={id}&model={model}&view_type=form"));
    assert_eq!(one.url, page("res.partner", 9));
    let (case, call) = (&one.cases[0], &one.history[0]);
    assert_eq!((case.title.as_str(), case.state.as_deref()), ("住民票の相談", Some("新規")));
    assert_eq!((&case.url, case.time.is_some()), (&page("crm.lead", 1), true));
    assert_eq!((call.state.as_deref(), call.time), (Some("完了"), Some(STARTED)));
    assert_eq!(call.url, page("crm.phonecall", 1));
}

#[test]
fn a_number_is_compared_as_a_whole_and_everybody_who_has_it_is_found() {
    let (_, found) = look_up("0662081234", &[real("people"), result(json!([])), result(json!([]))]);
    let names: Vec<_> = found.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["佐藤 次郎", "山田 太郎"]);
    let (_, found) = look_up("0362081234", &[real("people")]);
    assert_eq!(found, Ok(Vec::new()), "found by its digits, but another number");
}

#[test]
fn a_look_up_is_worth_something_without_cases_and_asks_nothing_for_extensions() {
    let (_, found) = look_up("0600001234", &[real("person"), real("no_right_to_read"), real("unknown_model")]);
    assert_eq!(found.unwrap().len(), 1);
    let (_, found) = look_up("0600001234", &[real("no_right_to_read")]);
    assert_eq!(letter(&found.unwrap_err()), 'U');
    for number in ["2001", "119", "anonymous"] {
        assert_eq!(look_up(number, &[]).1, Ok(Vec::new()), "{number}");
    }
}

#[test]
fn a_look_up_stays_small() {
    let long = "長".repeat(100_000);
    let person = |id: u64| json!({"id": id, "display_name": long, "city": long, "phone": "06-0000-1234"});
    let people = result((1..=40).map(person).collect());
    let case =
        |id: u64| json!({"id": id, "name": long, "partner_id": [1, "x"], "stage_id": [1, long], "create_date": "x"});
    let cases = result((1..=100).map(case).collect());
    let (_, found) = look_up("0600001234", &[people, cases, result(json!([]))]);
    let found = found.unwrap();
    assert_eq!((found.len(), found[0].cases.len()), (20, 5));
    assert!(serde_json::to_string(&found).unwrap().len() < 50_000);
}

#[test]
fn json_2_has_its_own_form_and_errors() {
    let odoo = with(|settings| settings.protocol = Protocol::Json2);
    let answers = [response(200, "[]"), response(200, "[]"), response(200, r#"{"ids": [1]}"#)];
    let (sent, end) = deliver(&odoo, &answered(caller()), &answers);
    assert_eq!(end, Answer::Delivered, "no log-in");
    assert_eq!(sent[2].path, "/json/2/crm.phonecall/load");
    let header = |name| sent[0].headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str());
    assert_eq!((header("authorization"), header("x-odoo-database")), (Some("bearer KEY"), Some("kakehashi")));
    assert_eq!(body(&sent[2])["context"], json!({"tz": "UTC"}));
    let error = |status, name: &str| response(status, json!({"name": name, "message": "山田"}).to_string());
    for (answer, class) in [
        (error(401, "werkzeug.exceptions.Unauthorized"), 'D'),
        (error(403, "odoo.exceptions.AccessError"), 'U'),
        (error(422, "odoo.exceptions.ValidationError"), 'R'),
        (response(401, "no JSON"), 'D'),
        (response(503, ""), 'B'),
    ] {
        assert_eq!(letter(&deliver(&odoo, &answered(caller()), &[answer]).1), class);
    }
}

#[test]
fn settings_that_cannot_be_are_refused_by_their_key() {
    let no_key = Odoo::new(&Endpoint::default(), &Settings::default(), &[]).err().unwrap().to_string();
    assert!(no_key.contains("secret_file"), "{no_key}");
    let key = [Secret("hidden".into())];
    for (change, name) in [
        (Box::new(|settings: &mut Settings| settings.database.clear()) as Box<dyn Fn(&mut Settings)>, "database"),
        (Box::new(|settings: &mut Settings| settings.login.clear()), "login"),
        (Box::new(|settings: &mut Settings| settings.model = "a/b".into()), "model"),
        (Box::new(|settings: &mut Settings| settings.numbers.clear()), "numbers"),
    ] {
        let mut settings = Settings::default();
        change(&mut settings);
        let error = Odoo::new(&Endpoint::default(), &settings, &key).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains("expected") && !error.contains("hidden"), "{error}");
    }
}

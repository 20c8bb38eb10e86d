//! What the stand-in finds, refuses, counts and gets wrong on demand, asked without any client.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::{Value, json};

use crate::kintone::{ADD, CALLS, CONTACTS, EDIT, Fault, Kintone, VIEW};

/// Status and body of an answer; `None` when none came.
type Answer = Option<(u16, String)>;

/// Opens a connection and asks; what comes is read by [`answer`].
fn ask(kintone: &Kintone, token: &str, method: &str, target: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, kintone.port())).unwrap();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: kintone\r\nX-Cybozu-API-Token: {token}\r\n");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    write!(stream, "{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The code with which a request is refused; empty when it is not.
fn code(answer: Answer) -> (u16, String) {
    let (status, body) = answer.expect("an answer");
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn post(kintone: &Kintone, token: &str, key: &str) -> Answer {
    let record = json!({"app": CALLS, "record": {"通話キー": {"value": key}}});
    answer(ask(kintone, token, "POST", "/k/v1/record.json", &record))
}

fn search(kintone: &Kintone, token: &str, app: u64, query: &str) -> Answer {
    let wanted = json!({"app": app, "query": query});
    let stream = ask(kintone, token, "GET", "/k/v1/records.json", &wanted);
    answer(stream)
}

/// The values of a field in the order of the answer.
fn found(kintone: &Kintone, token: &str, app: u64, query: &str, code: &str) -> Vec<String> {
    let (status, body) = search(kintone, token, app, query).unwrap();
    assert_eq!(status, 200, "{query}: {body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let records = body["records"].as_array().unwrap();
    records.iter().map(|record| record[code]["value"].as_str().unwrap().to_owned()).collect()
}

/// Three people, and a token that may read them.
fn people() -> (Kintone, String) {
    let kintone = Kintone::start();
    for (name, shown, digits, ward, note) in [
        ("試験 花子", "06-1234-5678", "0612345678", "北区", "国民健康保険の減免"),
        ("試験 太郎", "06-1234-5678", "0612345678", "中央区", ""),
        ("見本 次郎", "03-1234-5678", "0312345678", "北区", "kintone2"),
    ] {
        let values = json!({"氏名": name, "電話番号": shown, "検索用番号": digits, "行政区": ward, "備考": note});
        kintone.add(CONTACTS, values);
    }
    let token = kintone.token(CONTACTS, VIEW);
    (kintone, token)
}

#[test]
fn a_query_finds_what_it_says_and_words_only_as_wholes() {
    let (kintone, token) = people();
    let names = |query: &str| found(&kintone, &token, CONTACTS, query, "氏名");
    assert_eq!(names("検索用番号 = \"0612345678\""), ["試験 太郎", "試験 花子"], "the newest first");
    assert_eq!(names("検索用番号 = \"0612345678\" order by $id asc limit 1"), ["試験 花子"]);
    assert_eq!(names("検索用番号 in (\"0312345678\", \"0312345679\")"), ["見本 次郎"]);
    assert_eq!(names("行政区 in (\"北区\") and 検索用番号 = \"0612345678\""), ["試験 花子"]);
    // `and` binds more tightly
    assert_eq!(
        names("行政区 in (\"中央区\") or 行政区 in (\"北区\") and 氏名 = \"見本 次郎\" order by $id"),
        ["試験 太郎", "見本 次郎"]
    );
    assert_eq!(names("(行政区 in (\"中央区\") or 行政区 in (\"北区\")) and 氏名 = \"見本 次郎\""), ["見本 次郎"]);
    assert_eq!(names("order by $id desc limit 1 offset 1"), ["試験 太郎"]);
    assert_eq!(names("備考 is empty"), ["試験 太郎"]);
    assert_eq!(names("検索用番号 like \"5678\""), [] as [&str; 0], "a part of the digits is no word");
    assert_eq!(names("検索用番号 like \"0312345678\""), ["見本 次郎"]);
    assert_eq!(names("備考 like \"健康保険\""), ["試験 花子"]);
    assert_eq!(names("備考 like \"減\""), [] as [&str; 0], "one character of several");
    assert_eq!(names("備考 like \"kintone\""), [] as [&str; 0]);
    assert_eq!(names("備考 like \"kintone2\""), ["見本 次郎"]);
    kintone.add(CONTACTS, json!({"氏名": "\"引用\"\\"}));
    assert_eq!(names(r#"氏名 = "\"引用\"\\""#), ["\"引用\"\\"]);
}

#[test]
fn a_query_that_does_not_fit_the_fields_is_refused_with_its_code() {
    let (kintone, token) = people();
    let refused = |query: &str| code(search(&kintone, &token, CONTACTS, query));
    for (query, expected) in [
        ("氏名 = ", "CB_VA01"),
        ("氏名 = '試験'", "CB_VA01"),
        ("氏名 = \"試験", "CB_VA01"),
        ("氏名 = \"a\tb\"", "CB_VA01"),
        ("氏名 = \"a\" limit -1", "CB_VA01"),
        ("氏名 = \"a\" limit 501", "GAIA_QU01"),
        ("氏名 = \"a\" offset 10001", "GAIA_QU02"),
        ("名前 = \"a\"", "GAIA_IQ11"),
        ("行政区 = \"北区\"", "GAIA_IQ03"),
        ("備考 = \"a\"", "GAIA_IQ03"),
        ("作成日時 in (\"2026-04-13T00:00:00Z\")", "GAIA_IQ03"),
        ("作成日時 > \"yesterday\"", "CB_VA01"),
    ] {
        assert_eq!(refused(query), (400, expected.into()), "{query}");
    }
    let never = code(search(&kintone, &token, CONTACTS, "作成日時 > TODAY()"));
    assert_eq!(never, (501, "STAND_IN".into()));
}

#[test]
fn moments_are_compared_as_moments() {
    let kintone = Kintone::start();
    let token = kintone.token(CALLS, VIEW);
    for (key, start) in [("a", "2026-04-13T09:59:59+09:00"), ("b", "2026-04-13T01:00:00Z")] {
        kintone.add(CALLS, json!({"通話キー": key, "開始日時": start}));
    }
    let keys = |query: &str| found(&kintone, &token, CALLS, query, "通話キー");
    assert_eq!(keys("開始日時 >= \"2026-04-13T10:00:00+09:00\""), ["b"]);
    assert_eq!(keys("開始日時 < \"2026-04-13T01:00:00Z\" and 開始日時 > \"2026-04-12\""), ["a"]);
    assert_eq!(keys("開始日時 = \"2026-04-13T00:59:00Z\""), ["a"], "the seconds are gone");
}

#[test]
fn an_index_that_lags_finds_fresh_records_by_value_and_not_by_word() {
    let kintone = Kintone::start();
    let token = kintone.token(CONTACTS, VIEW);
    kintone.lag_index();
    kintone.add(CONTACTS, json!({"氏名": "試験 花子", "検索用番号": "0612345678"}));
    let count = |query: &str| found(&kintone, &token, CONTACTS, query, "氏名").len();
    assert_eq!((count("検索用番号 = \"0612345678\""), count("検索用番号 like \"0612345678\"")), (1, 0));
    kintone.index();
    assert_eq!(count("検索用番号 like \"0612345678\""), 1);
}

#[test]
fn a_look_up_fills_its_fields_and_needs_the_right_to_read_there() {
    let (kintone, reader) = people();
    let writer = kintone.token(CALLS, ADD);
    let add = |tokens: &str, key: &str, contact: u64| {
        let values = json!({"通話キー": {"value": key}, "連絡先": {"value": contact}, "連絡先氏名": {"value": "別人"}});
        let body = json!({"app": CALLS, "record": values});
        code(answer(ask(&kintone, tokens, "POST", "/k/v1/record.json", &body)))
    };
    let both = format!("{writer},{reader}");
    assert_eq!(add(&both, "a", 3), (200, String::new()));
    assert_eq!(kintone.records(CALLS)[0].text("連絡先氏名"), "見本 次郎");
    assert_eq!(add(&both, "b", 4), (400, "GAIA_LO04".into()), "nobody there");
    assert_eq!(add(&writer, "c", 3), (400, "GAIA_LO04".into()), "may not read there");
    assert_eq!(kintone.records(CALLS).len(), 1);
}

#[test]
fn values_that_do_not_fit_are_refused_and_unknown_fields_passed_over() {
    let kintone = Kintone::start();
    let token = kintone.token(CALLS, ADD | EDIT);
    let add = |record: Value| {
        let body = json!({"app": CALLS, "record": record});
        answer(ask(&kintone, &token, "POST", "/k/v1/record.json", &body)).unwrap()
    };
    let wrong = |record: Value| -> Vec<String> {
        let (status, body) = add(record);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["code"]), (400, &json!("CB_VA01")), "{body}");
        body["errors"].as_object().unwrap().keys().cloned().collect()
    };
    let key = json!({"value": "a"});
    assert_eq!(wrong(json!({"通話キー": key, "通話秒数": {"value": "1分"}})), ["record[通話秒数].value"]);
    assert_eq!(wrong(json!({"通話キー": key, "通話秒数": {"value": -1}})), ["record.通話秒数.value"]);
    assert_eq!(wrong(json!({"通話キー": key, "開始日時": {"value": "昨日"}})), ["record.開始日時.value"]);
    assert_eq!(
        wrong(json!({"発信者番号": {"value": "0".repeat(21)}})),
        ["record.発信者番号.value", "record.通話キー.value"]
    );
    for record in [json!({"通話キー": {"value": ["a"]}}), json!({"通話キー": key, "作成者": {"value": {"code": "a"}}})]
    {
        assert_eq!(code(Some(add(record))), (400, "CB_IJ01".into()));
    }
    assert!(kintone.records(CALLS).is_empty());
    assert_eq!(add(json!({"通話キー": key, "通話メモ": {"value": "b"}})).0, 200);
    assert_eq!(kintone.ledger().last().unwrap().skipped, ["通話メモ"]);
}

#[test]
fn requests_of_a_wrong_form_are_refused() {
    let kintone = Kintone::start();
    let token = kintone.token(CALLS, VIEW);
    let raw = |request: &str| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, kintone.port())).unwrap();
        stream.write_all(request.replace("TOKEN", &token).as_bytes()).unwrap();
        code(answer(stream))
    };
    let json_without_body = format!(
        "GET /k/v1/records.json?app={CALLS} HTTP/1.1\r\nX-Cybozu-API-Token: TOKEN\r\nContent-Type: application/json\r\n\r\n"
    );
    assert_eq!(raw(&json_without_body), (400, "CB_IL02".into()));
    let not_json = "POST /k/v1/record.json HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{]";
    assert_eq!(raw(not_json), (400, "CB_IJ01".into()));
    assert_eq!(raw(&format!("GET /k/v1/records.json?app={CALLS} HTTP/1.1\r\n\r\n")), (401, "CB_AU01".into()));
    let long = "a".repeat(9000);
    assert_eq!(raw(&format!("GET /k/v1/records.json?app={CALLS}&query={long} HTTP/1.1\r\n\r\n")).0, 414);
    kintone.limit_body(10);
    assert_eq!(post(&kintone, &token, "a").unwrap().0, 413);
}

#[test]
fn an_answer_that_is_lost_cut_or_garbage_was_done_all_the_same() {
    let kintone = Kintone::start();
    let token = kintone.token(CALLS, ADD);
    let keys = || kintone.records(CALLS).iter().map(|record| record.text("通話キー")).collect::<Vec<_>>();
    kintone.fail(1, Fault::Cut);
    kintone.fail(1, Fault::Garbage);
    let (_, cut) = post(&kintone, &token, "a").expect("it is cut in the body");
    let (status, garbage) = post(&kintone, &token, "b").unwrap();
    assert_eq!(status, 200);
    for body in [cut, garbage] {
        assert!(serde_json::from_str::<Value>(&body).is_err(), "{body}");
    }
    assert_eq!(keys(), ["a", "b"]);

    // neither is answered, and who asked cannot tell which was done
    kintone.fail(1, Fault::Lost);
    kintone.fail(1, Fault::Deaf);
    for key in ["c", "d"] {
        let before = kintone.ledger().len();
        let body = json!({"app": CALLS, "record": {"通話キー": {"value": key}}});
        let stream = ask(&kintone, &token, "POST", "/k/v1/record.json", &body);
        while kintone.ledger().len() == before {
            std::thread::yield_now();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(answer(stream), None);
    }
    assert_eq!(keys(), ["a", "b", "c"]);
    let told: Vec<(u16, Option<Fault>)> =
        kintone.ledger_of(CALLS).into_iter().skip(2).map(|entry| (entry.status, entry.fault)).collect();
    assert_eq!(told, [(200, Some(Fault::Lost)), (504, Some(Fault::Deaf))]);
}

#[test]
fn a_fault_meets_only_its_resource_and_its_count() {
    let kintone = Kintone::start();
    let token = kintone.token(CALLS, VIEW | ADD);
    kintone.fail_on("record", 2, Fault::Html(503));
    assert_eq!(post(&kintone, &token, "a").unwrap().0, 503);
    assert_eq!(search(&kintone, &token, CALLS, "").unwrap().0, 200);
    assert_eq!(post(&kintone, &token, "a").unwrap().0, 503);
    assert_eq!(post(&kintone, &token, "a").unwrap().0, 200);
}

#[test]
fn requests_of_a_day_are_counted_by_app_and_more_of_them_cut_only_when_told() {
    let kintone = Kintone::start();
    let token = kintone.token(CALLS, ADD);
    kintone.limit_daily(2, None);
    for key in ["a", "b", "c"] {
        assert_eq!(post(&kintone, &token, key).unwrap().0, 200, "the service only warns");
    }
    kintone.limit_daily(3, Some(503));
    assert_eq!(post(&kintone, &token, "d").unwrap().0, 503);
    let contacts = kintone.token(CONTACTS, VIEW);
    assert_eq!(search(&kintone, &contacts, CONTACTS, "").unwrap().0, 200, "another app has a count of its own");
    assert_eq!((kintone.ledger_of(CALLS).len(), kintone.records(CALLS).len()), (4, 3));
}

#[test]
fn it_may_be_away_and_comes_back_with_what_it_had() {
    let mut kintone = Kintone::start();
    let token = kintone.token(CALLS, ADD);
    assert_eq!(post(&kintone, &token, "a").unwrap().0, 200);
    kintone.away();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, kintone.port())).is_err());
    kintone.back();
    assert_eq!(code(post(&kintone, &token, "a")), (400, "CB_VA01".into()), "the record is still there");
}

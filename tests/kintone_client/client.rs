//! What kintone's own client understands of the stand-in's answers and refusals.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::kintone::{ADD, CALLS, CONTACTS, DELETE, EDIT, Fault, Kintone, VIEW};
use crate::node::{Client, told};

const ALL: u8 = VIEW | ADD | EDIT | DELETE;

/// A service, its client, and a token of both apps that may do everything.
fn start() -> (Kintone, Client, Value) {
    let kintone = Kintone::start();
    let client = Client::of(&kintone);
    let token = json!({"apiToken": [kintone.token(CONTACTS, ALL), kintone.token(CALLS, ALL)]});
    (kintone, client, token)
}

/// A record of the app of calls.
fn call(key: &str, agent: &str) -> Value {
    json!({"通話キー": {"value": key}, "担当者": {"value": agent}})
}

/// What adds a call's record or updates it.
fn upsert(key: &str, agent: &str) -> Value {
    let item = json!({"updateKey": {"field": "通話キー", "value": key}, "record": {"担当者": {"value": agent}}});
    json!({"app": CALLS, "upsert": true, "records": [item]})
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn records_are_added_found_changed_and_deleted() {
    let (kintone, mut client, token) = start();
    let record = json!({
        "通話キー": {"value": "a"}, "開始日時": {"value": "2026-04-13T10:00:59+09:00"}, "通話秒数": {"value": 65},
        "文字起こし": {"value": "もしもし。\n市民課です。"},
    });
    let added = client.done(&token, "record.addRecord", json!({"app": CALLS, "record": record}));
    assert_eq!(added, json!({"id": "1", "revision": "1"}));
    let read = client.done(&token, "record.getRecord", json!({"app": CALLS, "id": 1}))["record"].clone();
    assert_eq!(read["$id"], json!({"type": "__ID__", "value": "1"}));
    assert_eq!(read["開始日時"], json!({"type": "DATETIME", "value": "2026-04-13T01:00:00Z"}), "no seconds are kept");
    assert_eq!(read["通話秒数"], json!({"type": "NUMBER", "value": "65"}));
    assert_eq!(read["文字起こし"], json!({"type": "MULTI_LINE_TEXT", "value": "もしもし。\n市民課です。"}));
    assert_eq!(read["作成者"]["value"]["code"], "Administrator");

    let change = json!({"app": CALLS, "id": 1, "revision": 1, "record": {"担当者": {"value": "sato"}}});
    assert_eq!(client.done(&token, "record.updateRecord", change), json!({"revision": "2"}));
    for key in ["b", "c"] {
        client.done(&token, "record.addRecord", json!({"app": CALLS, "record": call(key, "mori")}));
    }
    let query = "担当者 in (\"sato\", \"mori\") order by 通話キー asc limit 2";
    let asked = json!({"app": CALLS, "query": query, "fields": ["通話キー"], "totalCount": true});
    let found = client.done(&token, "record.getRecords", asked);
    assert_eq!(found["totalCount"], "3");
    let field = |key: &str| json!({"通話キー": {"type": "SINGLE_LINE_TEXT", "value": key}});
    assert_eq!(found["records"], json!([field("a"), field("b")]));
    let all = client.done(&token, "record.getAllRecords", json!({"app": CALLS}));
    assert_eq!(all.as_array().unwrap().len(), 3);

    client.done(&token, "record.deleteRecords", json!({"app": CALLS, "ids": [1, 2]}));
    let left: Vec<String> = kintone.records(CALLS).iter().map(|record| record.text("通話キー")).collect();
    assert_eq!(left, ["c"]);
    let missing = client.refused(&token, "record.getRecord", json!({"app": CALLS, "id": 1}));
    assert_eq!(missing, (404, "GAIA_RE01".into()));
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn an_upsert_adds_a_call_once_and_updates_it_then() {
    let (kintone, mut client, token) = start();
    let first = client.done(&token, "record.updateRecords", upsert("call-1", "sato"));
    assert_eq!(first, json!({"records": [{"id": "1", "operation": "INSERT", "revision": "1"}]}));
    let again = client.done(&token, "record.updateRecords", upsert("call-1", "mori"));
    assert_eq!(again, json!({"records": [{"id": "1", "operation": "UPDATE", "revision": "2"}]}));
    let mut both = upsert("call-1", "ueda");
    both["records"].as_array_mut().unwrap().push(upsert("call-2", "ueda")["records"][0].clone());
    let both = client.done(&token, "record.updateAllRecords", both);
    assert_eq!(
        (&both["records"][0]["operation"], &both["records"][1]["operation"]),
        (&json!("UPDATE"), &json!("INSERT"))
    );
    let kept: Vec<(String, String)> =
        kintone.records(CALLS).iter().map(|record| (record.text("通話キー"), record.text("担当者"))).collect();
    assert_eq!(kept, [("call-1".into(), "ueda".into()), ("call-2".into(), "ueda".into())]);

    // without upsert a call that is not there stays away
    let mut only_update = upsert("call-3", "sato");
    only_update["upsert"] = json!(false);
    assert_eq!(client.refused(&token, "record.updateRecords", only_update), (404, "GAIA_RE20".into()));
    // the client's own upsert looks first and writes then
    let key = json!({"field": "通話キー", "value": "call-3"});
    let record = json!({"担当者": {"value": "abe"}});
    let own = client.done(&token, "record.upsertRecord", json!({"app": CALLS, "updateKey": key, "record": record}));
    assert_eq!(own, json!({"id": "3", "revision": "1"}));
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn an_upsert_is_refused_without_its_rights_and_by_other_keys() {
    let (kintone, mut client, token) = start();
    let editor = json!({"apiToken": kintone.token(CALLS, VIEW | EDIT)});
    assert_eq!(client.refused(&editor, "record.updateRecords", upsert("a", "sato")), (403, "GAIA_NO01".into()));

    let mut by_agent = upsert("a", "sato");
    by_agent["records"][0] = json!({"updateKey": {"field": "担当者", "value": "sato"}, "record": {}});
    assert_eq!(client.refused(&token, "record.updateRecords", by_agent), (400, "GAIA_IQ27".into()));

    let mut twice_said = upsert("a", "sato");
    twice_said["records"][0]["record"]["通話キー"] = json!({"value": "a"});
    assert_eq!(client.refused(&token, "record.updateRecords", twice_said), (400, "CB_VA01".into()));

    let long = client.call(&token, "record.updateRecords", upsert(&"x".repeat(65), "sato")).unwrap_err();
    assert_eq!(told(&long), (400, "CB_VA01".into()));
    assert!(long["errors"].get("records[0].通話キー.value").is_some(), "{long}");
    client.done(&token, "record.updateRecords", upsert(&"x".repeat(64), "sato"));
    assert_eq!(kintone.records(CALLS).len(), 1);
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn a_key_that_another_record_has_is_refused_with_its_path() {
    let (kintone, mut client, token) = start();
    client.done(&token, "record.addRecord", json!({"app": CALLS, "record": call("a", "sato")}));
    let refused =
        client.call(&token, "record.addRecord", json!({"app": CALLS, "record": call("a", "mori")})).unwrap_err();
    assert_eq!(told(&refused), (400, "CB_VA01".into()));
    let expected = json!({"record.通話キー.value": {"messages": ["値がほかのレコードと重複しています。"]}});
    assert_eq!(refused["errors"], expected);
    assert_eq!(kintone.records(CALLS).len(), 1);
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn an_older_revision_is_refused_with_409() {
    let (kintone, mut client, token) = start();
    let id = kintone.add(CALLS, json!({"通話キー": "a"}));
    let change = |agent: &str, revision: i64| json!({"app": CALLS, "id": id, "revision": revision, "record": {"担当者": {"value": agent}}});
    client.done(&token, "record.updateRecord", change("sato", 1));
    assert_eq!(client.refused(&token, "record.updateRecord", change("mori", 1)), (409, "GAIA_CO02".into()));
    assert_eq!(kintone.records(CALLS)[0].text("担当者"), "sato");
    client.done(&token, "record.updateRecord", change("mori", -1));
    assert_eq!(kintone.records(CALLS)[0].text("担当者"), "mori");
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn a_batch_is_done_whole_or_not_at_all() {
    let (kintone, mut client, token) = start();
    kintone.add(CALLS, json!({"通話キー": "there", "担当者": "sato"}));
    let records = json!([call("new", "mori"), call("there", "mori"), {"担当者": {"value": "mori"}}]);
    let refused = client.call(&token, "record.addRecords", json!({"app": CALLS, "records": records})).unwrap_err();
    assert_eq!(told(&refused), (400, "CB_VA01".into()));
    let wrong: Vec<&String> = refused["errors"].as_object().unwrap().keys().collect();
    assert_eq!(wrong, ["records[1].通話キー.value", "records[2].通話キー.value"]);
    assert_eq!(kintone.records(CALLS).len(), 1);

    let change = |id: u64| json!({"id": id, "record": {"担当者": {"value": "mori"}}});
    let changes = json!({"app": CALLS, "records": [change(1), change(99)]});
    assert_eq!(client.refused(&token, "record.updateRecords", changes), (404, "GAIA_RE01".into()));
    assert_eq!(kintone.records(CALLS)[0].text("担当者"), "sato");

    let many: Vec<Value> = (0..101).map(|number| call(&format!("n{number}"), "mori")).collect();
    let too_many = client.refused(&token, "record.addRecords", json!({"app": CALLS, "records": many}));
    assert_eq!(too_many, (400, "CB_VA01".into()));
    // the client parts them and sends them as one bulk request
    let all = client.done(&token, "record.addAllRecords", json!({"app": CALLS, "records": many}));
    assert_eq!(all["records"].as_array().unwrap().len(), 101);
    assert_eq!(kintone.records(CALLS).len(), 102);
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn a_bulk_request_over_both_apps_is_taken_back_and_says_which_part_was_refused() {
    let (kintone, mut client, token) = start();
    let add = |app: u64, record: Value| json!({"method": "POST", "api": "/k/v1/record.json", "payload": {"app": app, "record": record}});
    let contact = add(CONTACTS, json!({"氏名": {"value": "試験 花子"}}));
    let requests = json!([contact, add(CALLS, call("a", "sato")), add(CALLS, call("a", "mori"))]);
    let refused = client.call(&token, "bulkRequest", json!({"requests": requests})).unwrap_err();
    assert_eq!((told(&refused), &refused["bulkRequestIndex"]), ((400, "CB_VA01".into()), &json!(2)));
    assert!(kintone.records(CONTACTS).is_empty() && kintone.records(CALLS).is_empty());

    let requests = json!([contact, add(CALLS, call("a", "sato"))]);
    let done = client.done(&token, "bulkRequest", json!({"requests": requests}));
    assert_eq!(done, json!({"results": [{"id": "2", "revision": "1"}, {"id": "3", "revision": "1"}]}));
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn a_file_is_uploaded_put_on_a_record_once_and_downloaded_from_there() {
    let (kintone, mut client, token) = start();
    let id = kintone.add(CALLS, json!({"通話キー": "a"}));
    let bytes = "発話\r\n--の全文\0";
    let content = STANDARD.encode(bytes);
    let file = json!({"name": "文字起こし 1.txt", "data": {"base64": content}});
    let uploaded = client.done(&token, "file.uploadFile", json!({"file": file}))["fileKey"].clone();
    // the client takes the answer for a file and does not read its code
    let of_upload = client.call(&token, "file.downloadFile", json!({"fileKey": uploaded})).unwrap_err();
    assert_eq!(of_upload["status"], 404, "it is in temporary storage");

    let put = |keys: Value| json!({"app": CALLS, "id": id, "record": {"添付": {"value": keys}}});
    client.done(&token, "record.updateRecord", put(json!([{"fileKey": uploaded}])));
    let read = client.done(&token, "record.getRecord", json!({"app": CALLS, "id": id}))["record"]["添付"].clone();
    let on_record = &read["value"][0];
    assert_eq!((&on_record["name"], &on_record["size"]), (&json!("文字起こし 1.txt"), &json!(bytes.len().to_string())));
    assert_ne!(on_record["fileKey"], uploaded);
    let back = client.done(&token, "file.downloadFile", json!({"fileKey": on_record["fileKey"]}));
    assert_eq!(back, json!({"base64": content}));

    let again = client.refused(&token, "record.updateRecord", put(json!([{"fileKey": uploaded}])));
    assert_eq!(again, (404, "GAIA_BL01".into()), "a key is good for one use");
    // a list of files is replaced as a whole: who adds one names the others
    let second = client.done(&token, "file.uploadFile", json!({"file": file}))["fileKey"].clone();
    let both = json!([{"fileKey": on_record["fileKey"]}, {"fileKey": second}]);
    client.done(&token, "record.updateRecord", put(both));
    assert_eq!(kintone.records(CALLS)[0].values["添付"].as_array().unwrap().len(), 2);
    assert_eq!(kintone.waiting_files(), 0);
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn a_file_waits_for_its_record_when_that_is_refused_but_not_for_ever() {
    let (kintone, mut client, token) = start();
    let file = json!({"name": "recording.wav", "data": {"base64": STANDARD.encode("RIFF")}});
    let mut record = call("a", "sato");
    record["添付"] = json!({"value": [client.done(&token, "file.uploadFile", json!({"file": file}))]});
    record["終了日時"] = json!({"value": "later"});
    let refused = client.refused(&token, "record.addRecord", json!({"app": CALLS, "record": record}));
    assert_eq!((refused, kintone.waiting_files()), ((400, "CB_VA01".into()), 1));
    record["終了日時"] = json!({"value": ""});
    kintone.drop_waiting_files();
    let dropped = client.refused(&token, "record.addRecord", json!({"app": CALLS, "record": record}));
    assert_eq!(dropped, (404, "GAIA_BL01".into()));
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn more_requests_at_once_than_allowed_are_refused_with_429() {
    let (kintone, mut client, token) = start();
    kintone.limit_at_once(1);
    kintone.fail(1, Fault::Held);
    let read = json!({"app": CALLS, "totalCount": true});
    let both = [client.send(&token, "record.getRecords", read.clone()), client.send(&token, "record.getRecords", read)];
    let refused = client.first();
    let error = client.receive(refused).unwrap_err();
    assert_eq!(told(&error), (429, "GAIA_TO04".into()));
    let header = |name: &str| error["headers"][name].clone();
    assert_eq!((header("x-concurrencylimit-limit"), header("x-concurrencylimit-running")), (json!("1"), json!("2")));
    kintone.release();
    let held = both[usize::from(both[0] == refused)];
    assert_eq!(client.receive(held).unwrap()["totalCount"], "0");
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn comments_mention_people_and_are_read_back() {
    let (kintone, mut client, token) = start();
    kintone.user("sato", "secret", &[]);
    let id = kintone.add(CALLS, json!({"通話キー": "a"}));
    let comment = |text: &str, who: &str| json!({"app": CALLS, "record": id, "comment": {"text": text, "mentions": [{"code": who, "type": "USER"}]}});
    let added = client.done(&token, "record.addRecordComment", comment("着信です。", "sato"));
    assert_eq!(added, json!({"id": "1"}));
    let unknown = client.refused(&token, "record.addRecordComment", comment("着信です。", "nobody"));
    assert_eq!(unknown, (400, "GAIA_IL26".into()));
    let long = client.call(&token, "record.addRecordComment", comment(&"あ".repeat(65_536), "sato")).unwrap_err();
    assert_eq!((told(&long), long["errors"].get("comment.text").is_some()), ((400, "CB_VA01".into()), true));
    let read = client.done(&token, "record.getRecordComments", json!({"app": CALLS, "record": id}));
    assert_eq!(read["comments"].as_array().unwrap().len(), 1);
    assert_eq!(read["comments"][0]["mentions"], json!([{"code": "sato", "type": "USER"}]));
    assert!(read["comments"][0]["text"].as_str().unwrap().trim().ends_with("着信です。"));
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn the_fields_of_an_app_are_told() {
    let (_kintone, mut client, token) = start();
    let told = client.done(&token, "app.getFormFields", json!({"app": CALLS}));
    let properties = &told["properties"];
    let key = &properties["通話キー"];
    let expected = (&json!("SINGLE_LINE_TEXT"), &json!(true), &json!(true));
    assert_eq!((&key["type"], &key["unique"], &key["required"]), expected);
    assert_eq!(properties["添付"]["type"], "FILE");
    assert_eq!(properties["連絡先"]["lookup"]["relatedApp"]["app"], CONTACTS.to_string());
    let contacts = client.done(&token, "app.getFormFields", json!({"app": CONTACTS}));
    assert_eq!(contacts["properties"]["行政区"]["options"]["北区"]["index"], "0");
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn who_may_not_is_told_why() {
    let (kintone, mut client, _) = start();
    kintone.user("sato", "secret", &[(CALLS, VIEW)]);
    let (read, write) = (json!({"app": CALLS}), json!({"app": CALLS, "record": call("a", "sato")}));
    let mut get = |auth: &Value, app: u64| client.refused(auth, "record.getRecords", json!({"app": app}));
    let (viewer, second) = (kintone.token(CALLS, VIEW), kintone.token(CALLS, ADD));
    let token = |tokens: &[&str]| json!({"apiToken": tokens});
    assert_eq!(get(&token(&["nonsense"]), CALLS), (400, "GAIA_IA02".into()));
    assert_eq!(get(&token(&[&viewer, &second]), CALLS), (400, "GAIA_DA03".into()));
    assert_eq!(get(&token(&[&second]), CALLS), (403, "GAIA_NO01".into()));
    assert_eq!(get(&token(&[&viewer]), CONTACTS), (403, "GAIA_AP15".into()));
    assert_eq!(get(&token(&[&viewer]), 99), (404, "GAIA_AP01".into()));
    let user = |password: &str| json!({"username": "sato", "password": password});
    assert_eq!(get(&user("wrong"), CALLS), (401, "CB_WA01".into()));
    client.done(&user("secret"), "record.getRecords", read);
    assert_eq!(client.refused(&user("secret"), "record.addRecord", write), (403, "CB_NO02".into()));
    assert!(kintone.records(CALLS).is_empty());
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn a_page_instead_of_an_answer_and_a_locked_database_are_told_apart() {
    let (kintone, mut client, token) = start();
    kintone.fail(1, Fault::Html(503));
    kintone.fail(1, Fault::Busy);
    kintone.fail(1, Fault::Error(520, "GAIA_ER01"));
    let add = || json!({"app": CALLS, "record": call("a", "sato")});
    let page = client.call(&token, "record.addRecord", add()).unwrap_err();
    assert_eq!(page["kind"], "Error", "{page}");
    assert!(page["message"].as_str().unwrap().starts_with("503: "), "{page}");
    assert_eq!(client.refused(&token, "record.addRecord", add()), (400, "GAIA_DA02".into()));
    assert_eq!(client.refused(&token, "record.addRecord", add()), (520, "GAIA_ER01".into()));
    client.done(&token, "record.addRecord", add());
    assert_eq!(kintone.records(CALLS).len(), 1);
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn a_query_too_long_for_an_address_goes_in_the_body() {
    let (kintone, mut client, token) = start();
    kintone.add(CONTACTS, json!({"氏名": "試験 花子", "検索用番号": "0612345678"}));
    let numbers: Vec<String> =
        (0..500).map(|number| format!("\"06{number:08}\"")).chain(["\"0612345678\"".into()]).collect();
    let query = format!("検索用番号 in ({})", numbers.join(","));
    let found = client.done(&token, "record.getRecords", json!({"app": CONTACTS, "query": query}));
    assert_eq!(found["records"][0]["氏名"]["value"], "試験 花子");
    assert_eq!(kintone.ledger_of(CONTACTS)[0].method, "GET");
}

#[test]
#[ignore = "needs Node.js: make lab"]
fn it_is_asked_by_tls_too() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("localhost.pem");
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    let kintone = Kintone::start_tls(&own.cert.pem(), &own.signing_key.serialize_pem());
    let token = json!({"apiToken": kintone.token(CALLS, ADD)});
    let mut client = Client::by_tls(&kintone, &certificate);
    client.done(&token, "record.addRecord", json!({"app": CALLS, "record": call("a", "sato")}));
    assert_eq!(kintone.records(CALLS).len(), 1);
}

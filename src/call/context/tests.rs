//! Posts in virtual time: read, refused by field, replaced, merged, repeated, expired.

use super::*;

fn at(seconds: i64) -> Wall {
    Wall(1_795_420_800_000_000 + seconds * 1_000_000)
}

fn post(body: &str) -> Post {
    read(body.as_bytes(), &Settings::default()).unwrap()
}

fn refused(body: &str) -> Wrong {
    read(body.as_bytes(), &Settings::default()).unwrap_err()
}

const NUMBER: &str = r#"{"number":"06-6208-8181","context":{"reason":"住民票","slots":{"住所":"北区","続柄":"本人"}}}"#;

#[test]
fn a_whole_post_is_read() {
    let read = post(
        r#"{"site":"osaka","token":"abc","expires_in_s":60,"merge":true,"key":"k1","context":{"reason":"転入","page":{"url":"https://portal.example.jp/p?id=1","title":"転入届"},
            "chat":"https://chat.example.jp/c/1","citizen":"ref-1","slots":[{"key":"人数","value":2},{"key":"希望日","value":"5月3日"}]}}"#,
    );
    assert_eq!((read.site.as_deref(), read.expires_in_s, read.merge), (Some("osaka"), Some(60), true));
    assert_eq!(read.target, Target::Token("abc".into()));
    assert_eq!(read.known.page.as_ref().unwrap().title.as_deref(), Some("転入届"));
    assert_eq!(read.known.slots[0], Slot { key: "人数".into(), value: "2".into() });
}

#[test]
fn a_number_is_one_number_in_every_form() {
    for form in [
        "06-6208-8181",
        "0662088181",
        "+81662088181",
        "０６－６２０８－８１８１",
        "tel:+81-6-6208-8181",
        "186 06 6208 8181",
    ] {
        let body = format!(r#"{{"number":"{form}","context":{{"reason":"x"}}}}"#);
        assert_eq!(post(&body).target, Target::Number("+81662088181".into()), "{form}");
    }
}

#[test]
fn what_is_wrong_is_told_by_its_field() {
    let long = "あ".repeat(501);
    let many: Vec<String> = (0..33).map(|n| format!(r#""k{n}":"v""#)).collect();
    let much: Vec<String> = (0..32).map(|n| format!(r#""k{n}":"{}""#, "あ".repeat(400))).collect();
    let context = |inner: &str| format!(r#"{{"token":"t","context":{inner}}}"#);
    let cases = [
        ("".to_string(), ""),
        ("[]".into(), ""),
        (r#"{"number":1,"context":{}}"#.into(), "number"),
        (r#"{"context":{"reason":"x"}}"#.into(), "number"),
        (r#"{"number":"0661112222","token":"t","context":{"reason":"x"}}"#.into(), "number"),
        (r#"{"number":"12345","context":{"reason":"x"}}"#.into(), "number"),
        (r#"{"contact":"x","context":{"reason":"x"}}"#.into(), "contact"),
        (r#"{"token":"","context":{"reason":"x"}}"#.into(), "token"),
        (r#"{"token":"t"}"#.into(), "context"),
        (context("{}"), "context"),
        (context(r#"{"reason":""}"#), "context.reason"),
        (context(&format!(r#"{{"reason":"{long}"}}"#)), "context.reason"),
        (context(r#"{"reason":"a\u0000b"}"#), "context.reason"),
        (context(r#"{"page":{"title":"x"}}"#), "context.page.url"),
        (context(r#"{"page":{"url":"javascript:alert(1)"}}"#), "context.page.url"),
        (context(r#"{"chat":"https://"}"#), "context.chat"),
        (context(r#"{"chat":"https://user@evil.example/"}"#), "context.chat"),
        (context(r#"{"slots":"x"}"#), "context.slots"),
        (context(r#"{"slots":[{"value":"x"}]}"#), "context.slots[0].key"),
        (context(r#"{"slots":[{"key":"a","value":"x"},{"key":"a","value":"y"}]}"#), "context.slots[1].key"),
        (context(r#"{"slots":{"a":{}}}"#), "context.slots[0].value"),
        (context(r#"{"slots":{"a":""}}"#), "context.slots[0].value"),
        (context(&format!(r#"{{"slots":{{{}}}}}"#, many.join(","))), "context.slots"),
        (context(&format!(r#"{{"slots":{{{}}}}}"#, much.join(","))), "context"),
        (context(r#"{"reson":"x"}"#), "context.reson"),
        (r#"{"token":"t","expires_in_s":0,"context":{"reason":"x"}}"#.into(), "expires_in_s"),
        (r#"{"token":"t","expires_in_s":86401,"context":{"reason":"x"}}"#.into(), "expires_in_s"),
        (r#"{"token":"t","merge":1,"context":{"reason":"x"}}"#.into(), "merge"),
        (r#"{"token":"t","context":{"reason":"x"},"surprise":1}"#.into(), "surprise"),
    ];
    for (body, field) in cases {
        assert_eq!(refused(&body).field, field, "{body}");
    }
}

#[test]
fn a_source_replaces_what_it_said_and_nobody_elses() {
    let (mut waiting, settings) = (Waiting::default(), Settings::default());
    let (first, fresh) = waiting.post(at(0), "osaka", "portal", post(NUMBER), &settings).unwrap();
    assert_eq!((fresh, first.version, first.expires), (Fresh::New, 1, at(900)));
    waiting.post(at(1), "osaka", "bot", post(NUMBER), &settings).unwrap();
    let again = r#"{"number":"0662088181","context":{"citizen":"ref"}}"#;
    let (second, fresh) = waiting.post(at(2), "osaka", "portal", post(again), &settings).unwrap();
    assert_eq!((second.id, second.version, fresh), (first.id, 2, Fresh::Changed));
    let found = waiting.find(at(3), "osaka", &first.target);
    assert_eq!(found.len(), 2);
    let portal = found.iter().find(|posted| posted.from == "portal").unwrap();
    assert_eq!((portal.known.reason.as_deref(), portal.known.citizen.as_deref()), (None, Some("ref")));
    assert!(waiting.find(at(3), "kobe", &first.target).is_empty());
}

#[test]
fn merging_keeps_what_is_not_said_again() {
    let (mut waiting, settings) = (Waiting::default(), Settings::default());
    waiting.post(at(0), "osaka", "bot", post(NUMBER), &settings).unwrap();
    let more = r#"{"number":"0662088181","merge":true,"context":{"citizen":"r","slots":{"住所":"","続柄":"長男","電話":"可"}}}"#;
    let (posted, _) = waiting.post(at(1), "osaka", "bot", post(more), &settings).unwrap();
    let slots: Vec<(&str, &str)> = posted.known.slots.iter().map(|s| (s.key.as_str(), s.value.as_str())).collect();
    assert_eq!(posted.known.reason.as_deref(), Some("住民票"));
    assert_eq!(slots, [("続柄", "長男"), ("電話", "可")]);
}

#[test]
fn what_is_merged_stays_within_the_bounds() {
    let (mut waiting, settings) = (Waiting::default(), Settings::default());
    let slots = |from: u32, to: u32| {
        let slots: Vec<String> = (from..to).map(|n| format!(r#""k{n}":"v""#)).collect();
        post(&format!(r#"{{"token":"t","merge":true,"context":{{"slots":{{{}}}}}}}"#, slots.join(",")))
    };
    waiting.post(at(0), "osaka", "bot", slots(0, 32), &settings).unwrap();
    assert_eq!(waiting.post(at(1), "osaka", "bot", slots(32, 33), &settings), Err(Refused::TooMuch));
    assert!(waiting.post(at(1), "osaka", "bot", slots(0, 32), &settings).is_ok());
}

#[test]
fn a_repeated_client_key_changes_nothing_and_another_body_under_it_is_refused() {
    let (mut waiting, settings) = (Waiting::default(), Settings::default());
    let keyed = r#"{"token":"t","key":"k","context":{"reason":"x"}}"#;
    let (first, _) = waiting.post(at(0), "osaka", "bot", post(keyed), &settings).unwrap();
    waiting.post(at(1), "osaka", "bot", post(r#"{"token":"t","context":{"reason":"y"}}"#), &settings).unwrap();
    let (again, fresh) = waiting.post(at(2), "osaka", "bot", post(keyed), &settings).unwrap();
    assert_eq!((again.id, fresh, again.known.reason.as_deref()), (first.id, Fresh::Repeated, Some("y")));
    let other = r#"{"token":"t","key":"k","context":{"reason":"z"}}"#;
    assert_eq!(waiting.post(at(3), "osaka", "bot", post(other), &settings), Err(Refused::KeyReused));
}

#[test]
fn what_has_expired_is_gone_and_makes_room() {
    let settings = Settings { max_waiting: 2, ..Settings::default() };
    let mut waiting = Waiting::default();
    let token = |n: u32, seconds: u32| {
        post(&format!(r#"{{"token":"t{n}","expires_in_s":{seconds},"context":{{"reason":"x"}}}}"#))
    };
    waiting.post(at(0), "osaka", "bot", token(1, 10), &settings).unwrap();
    waiting.post(at(0), "osaka", "bot", token(2, 20), &settings).unwrap();
    assert_eq!(waiting.post(at(5), "osaka", "bot", token(3, 10), &settings), Err(Refused::Full));
    assert_eq!(waiting.next_expiry(), Some(at(10)));
    assert!(waiting.find(at(10), "osaka", &Target::Token("t1".into())).is_empty());
    assert_eq!(waiting.expire(at(10)).len(), 1);
    waiting.post(at(10), "osaka", "bot", token(3, 10), &settings).unwrap();
    assert_eq!((waiting.len(), waiting.expire(at(100)).len(), waiting.len()), (2, 2, 0));
    assert_eq!(waiting.next_expiry(), None);
}

#[test]
fn what_waits_is_read_back_as_it_was_stored() {
    let (mut waiting, settings) = (Waiting::default(), Settings::default());
    let (posted, _) = waiting.post(at(0), "osaka", "portal", post(NUMBER), &settings).unwrap();
    let stored = serde_json::to_string(&posted).unwrap();
    assert_eq!(serde_json::from_str::<Posted>(&stored).unwrap(), posted);
    assert!(waiting.remove(posted.id).is_some() && waiting.is_empty());
    assert!(waiting.find(at(1), "osaka", &posted.target).is_empty());
}

#[test]
fn lifetimes_that_do_not_fit_are_refused() {
    assert!(Settings::default().check().is_ok());
    assert_eq!(Settings { expires_s: 0, ..Settings::default() }.check().unwrap_err().0, "expires_s");
    assert_eq!(Settings { max_expires_s: 10, ..Settings::default() }.check().unwrap_err().0, "expires_s");
}

#[test]
fn what_the_document_names_is_read_and_nothing_else() {
    let schema = schemars::schema_for!(PostBody).to_value();
    let fields = |schema: &serde_json::Value| -> Vec<String> {
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let unknown = |problem: &Wrong| problem.problem == "is no field of a context";
    for field in fields(&schema) {
        // a list is right nowhere: the field is known when something else is said than that it is not
        let wrong = refused(&serde_json::json!({"number": "0662088181", field.clone(): [1]}).to_string());
        assert!(!unknown(&wrong) && wrong.field.starts_with(&field), "{field}: {wrong:?}");
    }
    for (name, place) in [("ContextKnown", "context"), ("ContextPage", "context.page")] {
        for field in fields(&schema["$defs"][name]) {
            let inner = serde_json::json!({ field.clone(): true });
            let known = if name == "ContextPage" { serde_json::json!({"page": inner}) } else { inner };
            let wrong = refused(&serde_json::json!({"number": "0662088181", "context": known}).to_string());
            let expected = if field == "title" { "context.page.url".into() } else { format!("{place}.{field}") };
            assert!(!unknown(&wrong) && wrong.field == expected, "{field}: {wrong:?}");
        }
    }
}

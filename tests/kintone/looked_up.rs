//! Who is calling, by the app of contacts: nobody, one, several, with open cases and earlier calls.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_nobodys_one_persons_or_several() {
    let kintone = stand_in();
    let hanako = kintone.add(CONTACTS, json!({"氏名": "橋本 花子", "検索用番号": "0600001234", "行政区": "住吉区"}));
    let taro = kintone.add(CONTACTS, json!({"氏名": "橋本 太郎", "検索用番号": "+81600001234"}));
    let other = kintone.add(CONTACTS, json!({"氏名": "田中", "検索用番号": "08000005678"}));
    kintone.add(CONTACTS, json!({"氏名": "終わりだけ同じ", "検索用番号": "0300005678"}));
    for (title, of, state) in
        [("住民票の相談", hanako, "受付"), ("済んだ件", hanako, "完了"), ("別の件", other, "受付")]
    {
        kintone.add(CASES, json!({"件名": title, "連絡先番号": of, "状況": state, "受付日時": "2026-11-20T01:00:00Z"}));
    }
    let running = Running::start(endpoint(&kintone)).await;
    assert_eq!(running.look_up("0699999999").await, Some(Vec::new()));
    assert_eq!(running.look_up("2001").await, None, "extensions are not asked for");

    running.commit(call(1, from("+818000005678"))).await;
    running.all_delivered(4).await;
    let found = running.look_up("080-0000-5678").await.unwrap();
    let [one] = found.as_slice() else { panic!("{found:?}") };
    let page = |app: u64, id: u64| Some(format!("https://city.cybozu.example/k/{app}/show#record={id}"));
    assert_eq!((one.name.as_str(), &one.url), ("田中", &page(CONTACTS, other)));
    assert_eq!(one.cases.iter().map(|case| case.title.as_str()).collect::<Vec<_>>(), ["別の件"]);
    let [earlier] = one.history.as_slice() else { panic!("{one:?}") };
    assert_eq!((earlier.title.as_str(), earlier.state.as_deref()), ("着信 6001 山田", Some("完了")));
    assert_eq!((earlier.time, &earlier.url), (Wall::parse_rfc3339("2026-11-27T04:59:00Z"), &page(CALLS, 1)));

    let found = running.look_up("06-0000-1234").await.unwrap();
    let names: Vec<_> = found.iter().map(|one| (one.id.clone(), one.note.as_deref())).collect();
    assert_eq!(names, [(hanako.to_string(), Some("住吉区")), (taro.to_string(), None)]);
    let [case] = found[0].cases.as_slice() else { panic!("{found:?}") };
    assert_eq!((case.title.as_str(), case.state.as_deref()), ("住民票の相談", Some("受付")));
    assert_eq!(case.time, Wall::parse_rfc3339("2026-11-20T01:00:00Z"));
    assert!(found[1].cases.is_empty() && found.iter().all(|one| one.history.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_told_is_linked_to_nobody() {
    let kintone = stand_in();
    let mut ids = Vec::new();
    for name in ["橋本 花子", "橋本 太郎"] {
        ids.push(kintone.add(CONTACTS, json!({"氏名": name, "検索用番号": "0600001234"})));
    }
    let running = Running::start(endpoint(&kintone)).await;
    running.commit(call(1, from("+81600001234"))).await;
    let relay = Caller { tags: vec![Tag::Relay], ..from("+81600001234") };
    running.commit(call(2, relay)).await;
    let withheld = Caller { withheld: Some(kakehashi::pbx::Withheld::Refused), ..Caller::default() };
    running.commit(call(3, withheld)).await;
    running.all_delivered(12).await;
    let mut records = kintone.records(CALLS);
    records.sort_by_key(|record| record.text("通話キー"));
    let [household, relay, withheld] = records.as_slice() else { panic!("{} records", records.len()) };
    assert!(records.iter().all(|record| record.text("連絡先").is_empty()));
    let who = household.text("発信者");
    assert!(
        who.contains("橋本 花子")
            && who.contains(&format!("橋本 太郎 https://city.cybozu.example/k/11/show#record={}", ids[1])),
        "{who}"
    );
    assert!(relay.text("発信者").contains("電話リレーサービス"));
    assert_eq!((withheld.text("発信者番号"), withheld.text("検索用番号")), ("非通知".into(), String::new()));
}

/// The link is not taken where a token lacks the right to read contacts at the moment of writing, or the contact was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_is_gone_costs_the_link_and_not_the_record() {
    let kintone = stand_in();
    kintone.add(CONTACTS, json!({"氏名": "橋本 花子", "検索用番号": "0600001234"}));
    let running = Running::start(endpoint(&kintone)).await;
    kintone.fail_on("app/form/fields", 2, Fault::Slow(Duration::ZERO));
    kintone.fail_on("records", 2, Fault::Slow(Duration::ZERO));
    kintone.fail_on("records", 1, Fault::Error(400, "GAIA_LO04"));
    running.commit(call(1, from("+81600001234"))).await;
    running.all_delivered(4).await;
    let record = record(&kintone);
    assert!(record.text("発信者").contains("橋本 花子"));
    assert_eq!(kintone.ledger().iter().filter(|entry| entry.code == Some("GAIA_LO04")).count(), 1);
}

/// A pop waits for the CRM as long as `[lookup] budget_ms` says; what comes later is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_kintone_revises_the_pop_later() {
    use kakehashi::bridge::lookup::LookUps;
    use kakehashi::crm::settings::LookUp;
    let kintone = Arc::new(stand_in());
    kintone.add(CONTACTS, json!({"氏名": "橋本 花子", "検索用番号": "0600001234"}));
    let running = Running::start(endpoint(&kintone)).await;
    kintone.fail(1, Fault::Held);
    let look_ups =
        LookUps::load(std::path::Path::new(""), Some(0), &LookUp { budget_ms: 50, keep_ms: 60_000 }).unwrap();
    look_ups.connect(running.deliverer.clone());
    let found = look_ups.find(&Number::parse("0600001234")).await;
    assert_eq!(found.matches, None);
    let deadline = Instant::now() + PATIENCE;
    while kintone.held() == 0 {
        assert!(Instant::now() < deadline, "nothing was asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kintone.release();
    let late = found.late.unwrap().await.unwrap().unwrap();
    assert_eq!(late[0].name, "橋本 花子");
}

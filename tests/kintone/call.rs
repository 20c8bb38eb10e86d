//! A call in events, from ring to transcript; delivered whole, with answers lost at every request, and beside people who edit the same record.

use super::*;

pub(crate) const START: Wall = Wall(1_795_755_590_000_000);

pub(crate) fn from(number: &str) -> Caller {
    Caller { number: Some(number.into()), ..Caller::default() }
}

/// The events of a call of one minute: it rings, is answered, ends, and its text comes, twice.
pub(crate) fn call(contact: u128, caller: Caller) -> Batch {
    let id = ContactId(Uuid::from_u128(contact));
    let leg = LegId(Uuid::from_u128(contact + 1_000));
    let agent = Agent { name: Some("山田".into()), extension: "2001".into(), ..Agent::default() };
    let at = |seconds: i64| Wall(START.0 + seconds * 1_000_000);
    let event = |sequence: u64, leg: Option<LegId>, seconds: i64, data: Data| Event {
        id: Event::record_id(id, sequence, at(seconds)),
        source: "/site/osaka/node/n".into(),
        contact: id,
        leg,
        time: at(seconds),
        sequence: Some(sequence),
        expires: None,
        data,
    };
    let state = LegState {
        leg,
        agent: agent.clone(),
        tier: Tier::Second,
        caller: caller.clone(),
        called: "6001".into(),
        queue: Some("市民課".into()),
        previous_leg: None,
        keys: Vec::new(),
    };
    let legs = vec![LegRecord {
        leg,
        agent,
        tier: Tier::Second,
        queue: Some("市民課".into()),
        previous_leg: None,
        offered: at(0),
        ringing: Some(at(1)),
        answered: Some(at(5)),
        ended: Some(at(65)),
        reason: Some(EndReason::CallerHangup),
    }];
    let (reason, called) = (EndReason::CallerHangup, "6001".to_string());
    let ended = CallEnded { reason, caller, called, started: at(0), legs, keys: Vec::new() };
    let document = |revision, text: &str| {
        let turn = Turn {
            utterance: "u".into(),
            leg,
            speaker: Speaker::Caller,
            start: at(10),
            end: at(12),
            text: Some(text.into()),
            corrections: Vec::new(),
            corrected: None,
        };
        TranscriptDocument { revision, turns: vec![turn], coverage: Vec::new(), complete: true, pauses: Vec::new() }
    };
    let key = CallKey { pbx: PbxId("p".into()), key: contact.to_string() };
    Batch {
        contact: ContactRow { id, site: "osaka".into(), call: key, open: false, state: "{}".into() },
        keys: Vec::new(),
        events: vec![
            event(1, Some(leg), 1, Data::CallRinging(state.clone())),
            event(2, Some(leg), 5, Data::CallAnswered(state)),
            event(3, None, 65, Data::CallEnded(ended)),
            event(4, None, 70, Data::TranscriptDocument(document(1, "住民表の写しをください"))),
            event(5, None, 75, Data::TranscriptDocument(document(2, "住民票の\"写し\"をください"))),
        ],
        deliver_text: true,
    }
}

/// Some of the events of a call.
fn of_call(sequences: std::ops::RangeInclusive<u64>) -> Batch {
    let mut batch = call(1, from("+81600001234"));
    batch.events.retain(|event| event.sequence.is_some_and(|sequence| sequences.contains(&sequence)));
    batch
}

/// What each request was for, of those after the forms.
fn steps(kintone: &Kintone) -> Vec<String> {
    let all = kintone.ledger().into_iter().filter(|entry| entry.resource != "app/form/fields");
    let step = |entry: kintone::Entry| match (entry.method.as_str(), entry.resource.as_str(), entry.apps.as_slice()) {
        ("GET", "records", [CALLS]) => "read".to_string(),
        ("GET", "records", [CONTACTS]) => "who".to_string(),
        ("PUT", "records", [CALLS]) => "write".to_string(),
        ("POST", "file", _) => "upload".to_string(),
        other => format!("{other:?}"),
    };
    all.map(step).collect()
}

/// The record of the whole call, with one file of ours.
fn is_whole(kintone: &Kintone, hanako: u64) {
    let record = record(kintone);
    let values = [
        ("通話キー", "00000000-0000-0000-0000-000000000001"),
        ("通番", "3"),
        ("版", "2"),
        ("開始日時", "2026-11-27T04:59:00Z"),
        ("終了日時", "2026-11-27T05:00:00Z"),
        ("通話秒数", "60"),
        ("状況", "完了"),
        ("発信者番号", "0600001234"),
        ("検索用番号", "0600001234"),
        ("着信先", "6001"),
        ("キュー", "市民課"),
        ("拠点", "osaka"),
        ("担当者", "山田"),
        ("連絡先", &hanako.to_string()),
        ("連絡先氏名", "橋本 花子"),
        ("発信者", &format!("橋本 花子 https://city.cybozu.example/k/11/show#record={hanako}")),
    ];
    for (code, value) in values {
        assert_eq!(record.text(code), value, "{code}");
    }
    assert!(record.text("経過").contains("二次応答 山田（内線 2001）"), "{}", record.text("経過"));
    let files = files(kintone, &record);
    let [(name, text)] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(name, "書き起こし-00000000.txt");
    assert!(text.contains("第2版") && text.contains("発信者: 住民票の\"写し\"をください"), "{text}");
    assert_eq!(record.text("文字起こし"), *text);
    nothing_was_skipped(kintone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_record_from_ring_to_end() {
    let kintone = stand_in();
    let hanako = kintone.add(CONTACTS, json!({"氏名": "橋本 花子", "検索用番号": "0600001234"}));
    let running = Running::start(endpoint(&kintone)).await;
    running.commit(of_call(1..=2)).await;
    running.all_delivered(1).await;
    let while_it_runs = record(&kintone);
    assert_eq!((while_it_runs.text("状況"), while_it_runs.text("終了日時")), ("対応中".into(), String::new()));
    assert_eq!(
        while_it_runs.text("発信者"),
        format!("橋本 花子 https://city.cybozu.example/k/11/show#record={hanako}")
    );
    running.commit(of_call(3..=5)).await;
    running.all_delivered(4).await;
    is_whole(&kintone, hanako);
    let expected = "read who write read write read upload write read upload write";
    assert_eq!(steps(&kintone).join(" "), expected);
    assert_eq!(kintone.ledger().len(), 13, "the forms were asked for once each");
}

/// Every request of a call in turn loses its answer in one of these ways. Where it was done, doing it again must not show.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_answer_is_lost_there_is_one_record_and_one_transcript() {
    let mut all = tokio::task::JoinSet::new();
    for fault in [Fault::Lost, Fault::Cut, Fault::Garbage, Fault::Deaf, Fault::Html(503), Fault::Busy] {
        for request in 0..13 {
            let fault = fault.clone();
            all.spawn(async move {
                let kintone = stand_in();
                let hanako = kintone.add(CONTACTS, json!({"氏名": "橋本 花子", "検索用番号": "0600001234"}));
                kintone.fail(request, Fault::Slow(Duration::ZERO));
                kintone.fail(1, fault.clone());
                let running = Running::start(Endpoint { timeout_ms: 2_000, ..endpoint(&kintone) }).await;
                running.commit(call(1, from("+81600001234"))).await;
                running.all_delivered(4).await;
                let met = kintone.ledger().iter().any(|entry| entry.fault == Some(fault.clone()));
                assert!(met, "{fault:?} at request {request} was not met");
                is_whole(&kintone, hanako);
            });
            // a few at once: each has a bridge of its own
            while all.len() >= 8 {
                all.join_next().await.unwrap().unwrap();
            }
        }
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_of_two_fields_is_enough() {
    let fields = vec![Field::new("鍵", Kind::Text).required().unique(), Field::new("通番", Kind::Number)];
    let kintone = Kintone::start_with(vec![App::contacts(), App::new(CALLS, fields)]);
    let fields = Fields { key: "鍵".into(), sequence: "通番".into(), ..Fields::default() };
    let apps = Apps { app: CALLS, fields, ..Apps::default() };
    let secrets = vec![Secret(kintone.token(CALLS, VIEW | ADD | EDIT))];
    let running = Running::start(Endpoint { secrets, kintone: Some(apps), ..endpoint(&kintone) }).await;
    running.commit(call(1, from("+81600001234"))).await;
    running.all_delivered(4).await;
    assert_eq!(record(&kintone).text("通番"), "3");
    assert_eq!(steps(&kintone).join(" "), "read write read write", "there is no place for a transcript");
    assert_eq!(running.look_up("0600001234").await, None, "there are no contacts");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_write_meanwhile_stays() {
    let kintone = stand_in();
    let running = Running::start(endpoint(&kintone)).await;
    running.commit(of_call(2..=2)).await;
    running.all_delivered(1).await;
    change(&kintone, json!({"発信者番号": {"value": "本人申告 06-0000-9999"}})).await;

    // somebody saves between the bridge's reading and its writing
    kintone.fail(1, Fault::Slow(Duration::ZERO));
    kintone.fail(1, Fault::Held);
    running.commit(of_call(3..=3)).await;
    let deadline = Instant::now() + PATIENCE;
    while kintone.held() == 0 {
        assert!(Instant::now() < deadline, "nothing was written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    change(&kintone, json!({"担当者": {"value": "佐藤"}})).await;
    kintone.release();
    running.all_delivered(2).await;
    let conflicts = kintone.ledger().iter().filter(|entry| entry.code == Some("GAIA_CO02")).count();
    assert_eq!(conflicts, 1);
    let record = record(&kintone);
    let texts = ["発信者番号", "担当者", "状況", "通話秒数", "通番"].map(|code| record.text(code));
    assert_eq!(texts, ["本人申告 06-0000-9999", "佐藤", "完了", "60", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_others_stay_and_a_file_that_was_lost_is_uploaded_again() {
    let kintone = stand_in();
    let running = Running::start(endpoint(&kintone)).await;
    running.commit(of_call(2..=4)).await;
    running.all_delivered(3).await;
    let token = kintone.token(CALLS, VIEW | EDIT);
    let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"申請書.pdf\"\r\n\r\nPDF\r\n--b--\r\n";
    let request = reqwest::Client::new().post(format!("{}/k/v1/file.json", kintone.url()));
    let request = request.header("x-cybozu-api-token", token).header("content-type", "multipart/form-data; boundary=b");
    let answer = request.body(form).send().await.unwrap().text().await.unwrap();
    let key = serde_json::from_str::<Value>(&answer).unwrap()["fileKey"].clone();
    let ours = record(&kintone).values["添付"][0]["fileKey"].clone();
    change(&kintone, json!({"添付": {"value": [{"fileKey": ours}, {"fileKey": key}]}})).await;

    // the three days of temporary storage end between upload and write
    kintone.fail(2, Fault::Slow(Duration::ZERO));
    kintone.fail(1, Fault::Held);
    running.commit(of_call(5..=5)).await;
    let deadline = Instant::now() + PATIENCE;
    while kintone.held() == 0 {
        assert!(Instant::now() < deadline, "nothing was written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kintone.drop_waiting_files();
    kintone.release();
    running.all_delivered(4).await;
    let files = files(&kintone, &record(&kintone));
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["申請書.pdf", "書き起こし-00000000.txt"]);
    assert!(files[1].1.contains("第2版"));
    assert_eq!(kintone.ledger().iter().filter(|entry| entry.code == Some("GAIA_BL01")).count(), 1);
    assert_eq!(kintone.waiting_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_sets_nothing_back_and_a_deleted_record_is_made_anew() {
    let kintone = stand_in();
    let hanako = kintone.add(CONTACTS, json!({"氏名": "橋本 花子", "検索用番号": "0600001234"}));
    // each order of events that a replayed dead letter can make
    for order in [[5, 4, 3, 2], [3, 2, 5, 4], [2, 5, 3, 4]] {
        let running = Running::start(endpoint(&kintone)).await;
        for (delivered, sequence) in order.into_iter().enumerate() {
            running.commit(of_call(sequence..=sequence)).await;
            running.all_delivered(delivered + 1).await;
        }
        is_whole(&kintone, hanako);
        let id = record(&kintone).id;
        let token = kintone.token(CALLS, kintone::DELETE);
        let request = reqwest::Client::new().delete(format!("{}/k/v1/records.json", kintone.url()));
        let body = json!({"app": CALLS, "ids": [id]}).to_string();
        let request = request.header("x-cybozu-api-token", token).header("content-type", "application/json");
        assert!(request.body(body).send().await.unwrap().status().is_success());
    }
}

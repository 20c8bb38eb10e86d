//! What kintone refuses: whose trouble it is, and that nothing is lost by it.

use super::*;
use kakehashi::bridge::deliver::Health;

async fn health(running: &Running, expected: Health) {
    let deadline = Instant::now() + PATIENCE;
    while running.deliverer.figures()[0].health != expected {
        assert!(Instant::now() < deadline, "{:?}", running.deliverer.figures());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_a_missing_right_wait_for_a_person() {
    for (rights, expected) in [(None, "GAIA_IA02"), (Some(VIEW), "GAIA_NO01")] {
        let kintone = stand_in();
        let token = rights.map_or("Unknown".into(), |rights| kintone.token(CALLS, rights));
        let secrets = vec![Secret(token), Secret(kintone.token(CONTACTS, VIEW))];
        let running = Running::start(Endpoint { secrets, ..endpoint(&kintone) }).await;
        running.commit(call(1, from("+81600001234"))).await;
        running.failure(expected).await;
        running.until(|all| all.iter().all(|one| one.attempts <= 3)).await;
        assert!(kintone.records(CALLS).is_empty());
    }
    let kintone = stand_in();
    let secrets = vec![Secret(kintone.token(CALLS, VIEW | ADD | EDIT))];
    let running = Running::start(Endpoint { secrets, ..endpoint(&kintone) }).await;
    assert_eq!(running.look_up("0600001234").await, None);
    running.commit(call(1, from("+81600001234"))).await;
    running.failure("GAIA_AP15: there is no API token of an app").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_not_as_configured_is_told_and_nothing_is_written() {
    let with = |change: fn(&mut Fields)| {
        let mut apps = apps();
        change(&mut apps.fields);
        apps
    };
    let cases: [(Apps, &str); 4] = [
        (with(|fields| fields.agent = "担当".into()), "fields.agent `担当` is not in the form"),
        (with(|fields| fields.started = "拠点2".into()), "fields.started `拠点2` is not in the form"),
        (
            with(|fields| std::mem::swap(&mut fields.started, &mut fields.site)),
            "fields.started `拠点` is a SINGLE_LINE_TEXT, expected DATETIME",
        ),
        (with(|fields| std::mem::swap(&mut fields.key, &mut fields.site)), "fields.key `拠点` may repeat"),
    ];
    for (apps, expected) in cases {
        let kintone = stand_in();
        let running = Running::start(Endpoint { kintone: Some(apps), ..endpoint(&kintone) }).await;
        running.commit(call(1, from("+81600001234"))).await;
        running.failure(expected).await;
        assert!(kintone.records(CALLS).is_empty());
        assert!(kintone.ledger().iter().all(|entry| entry.resource == "app/form/fields"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_changes_while_the_bridge_runs_is_noticed_and_mended_without_loss() {
    let kintone = stand_in();
    let running = Running::start(endpoint(&kintone)).await;
    let mut events = call(1, from("+81600001234"));
    let later = events.events.split_off(2);
    running.commit(events.clone()).await;
    running.all_delivered(1).await;
    let without = |code: &str| {
        let mut app = calls_app();
        app.fields.retain(|field| field.code != code);
        app
    };
    kintone.change_form(without("担当者"));
    running.commit(Batch { events: later, ..events }).await;
    running.failure_of_some("fields.agent `担当者` is not in the form").await;
    health(&running, Health::Down).await;
    kintone.change_form(calls_app());
    running.all_delivered(4).await;
    assert_eq!(record(&kintone).text("状況"), "完了");
    nothing_was_skipped(&kintone);

    // a field that the bridge does not know becomes required
    let mut app = calls_app();
    app.fields.push(Field::new("受付区分", Kind::Text).required());
    kintone.change_form(app);
    running.commit(call(2, from("+81600001234"))).await;
    running.failure_of_some("`受付区分` must not be empty").await;
    kintone.change_form(calls_app());
    running.all_delivered(8).await;
    assert_eq!(kintone.records(CALLS).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_domain_is_left_alone_and_everything_arrives() {
    let kintone = stand_in();
    kintone.limit_at_once(0);
    let running = Running::start(endpoint(&kintone)).await;
    for contact in 1..=10 {
        running.commit(call(contact, from("+81600001234"))).await;
    }
    running.failure("GAIA_TO04: too many requests at once in the domain (1 of 0)").await;
    health(&running, Health::Down).await;
    kintone.limit_at_once(3);
    running.all_delivered(40).await;
    assert_eq!(kintone.records(CALLS).len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_not_taken_is_a_dead_letter_that_names_the_key() {
    let mut app = calls_app();
    for field in &mut app.fields {
        if field.code == "通話秒数" {
            field.least = Some(100.0);
        }
    }
    let kintone = Kintone::start_with(vec![App::contacts(), app, cases_app()]);
    let running = Running::start(endpoint(&kintone)).await;
    running.commit(call(1, from("+81600001234"))).await;
    let listed = running.until(|all| all.iter().filter(|one| one.status == "delivered").count() == 3).await;
    let dead: Vec<&Listed> = listed.iter().filter(|one| one.status == "dead").collect();
    let [dead] = dead.as_slice() else { panic!("{listed:#?}") };
    assert_eq!(dead.error.as_deref(), Some("CB_VA01: not taken: [endpoint.kintone.fields] seconds"));
    assert!(running.deliverer.figures()[0].health == Health::Up, "it is the event's trouble");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_days_requests_are_kept_to_and_the_day_begins_at_nine() {
    let kintone = stand_in();
    let limited = Endpoint { requests_per_day: 100, ..endpoint(&kintone) };
    kintone.limit_daily(100, Some(503));
    let running = Running::start(limited.clone()).await;
    for contact in 1..=12 {
        running.commit(call(contact, from("+81600001234"))).await;
    }
    health(&running, Health::Dry).await;
    assert!(kintone.ledger().len() <= 90, "a tenth is for pops: {}", kintone.ledger().len());
    assert!(kintone.ledger().iter().all(|entry| entry.status == 200), "kintone was never asked for more");
    assert_eq!(running.look_up("0600001234").await, Some(Vec::new()), "pops have their share");

    // after a restart: what was sent today counts, what was sent the day before does not
    let kintone = stand_in();
    let limited = endpoint(&kintone);
    let used = Running::after(Endpoint { requests_per_day: 100, ..limited.clone() }, &[(0, 100)]).await;
    used.commit(call(1, from("+81600001234"))).await;
    health(&used, Health::Dry).await;
    assert_eq!((used.look_up("0600001234").await, kintone.ledger().len()), (None, 0));
    let rested = Running::after(Endpoint { requests_per_day: 100, ..limited }, &[(1, 100), (2, 100)]).await;
    rested.commit(call(1, from("+81600001234"))).await;
    rested.all_delivered(4).await;
}

#[test]
fn a_configuration_that_cannot_be_names_the_key() {
    let kintone = stand_in();
    let with = |change: fn(&mut Endpoint)| {
        let mut endpoint = endpoint(&kintone);
        change(&mut endpoint);
        deliver::check(&[endpoint]).unwrap_err().to_string()
    };
    fn of(endpoint: &mut Endpoint) -> &mut Apps {
        endpoint.kintone.as_mut().unwrap()
    }
    let cases: [(String, &str); 11] = [
        (with(|one| one.secrets.clear()), "id = \"crm\": secret_file: there is no token"),
        (with(|one| one.secrets[0] = Secret("Geheim!".into())), "secret_file: a token has other characters"),
        (with(|one| of(one).app = 0), "[endpoint.kintone] app: 0; expected"),
        (with(|one| of(one).fields.key.clear()), "[endpoint.kintone] fields.key: empty"),
        (with(|one| of(one).fields.sequence.clear()), "fields.sequence: empty"),
        (with(|one| of(one).fields.revision.clear()), "fields.revision: empty"),
        (with(|one| of(one).fields.agent = "担当\" or".into()), "fields.agent: expected a field code"),
        (with(|one| of(one).fields.agent = "拠点".into()), "fields.agent: this field code stands at two keys"),
        (with(|one| of(one).contacts.numbers.clear()), "contacts.numbers: empty"),
        (with(|one| of(one).contacts.app = 0), "fields.contact: there are no contacts"),
        (
            with(|one| (of(one).contacts.app, of(one).fields.contact) = (0, String::new())),
            "cases.app: there are no contacts",
        ),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected) && !error.contains("Geheim"), "{error} / {expected}");
    }
    assert!(with(|one| one.odoo = Some(Default::default())).contains("the sections of two CRMs"));
}

//! Unit tests of the Zammad connector.

use uuid::Uuid;

use super::*;
use crate::call::{ContactId, LegId, Tier};
use crate::events::LegRecord;

const NOW: Wall = Wall(1_795_420_800_000_000);
const CALL: &str = "00000000-0000-0000-0000-000000000001";

fn agent(extension: &str, name: Option<&str>) -> Agent {
    Agent { extension: extension.into(), name: name.map(str::to_string), ..Agent::default() }
}

fn caller() -> Caller {
    Caller { number: Some("+81662088181".into()), raw: Some("0662088181".into()), ..Caller::default() }
}

fn leg() -> LegState {
    LegState {
        leg: LegId(Uuid::from_u128(2)),
        agent: agent("2001", Some("山田 花子")),
        tier: Tier::default(),
        caller: caller(),
        called: "6001".into(),
        queue: Some("市民課".into()),
        previous_leg: None,
        keys: Vec::new(),
    }
}

fn ended(reason: EndReason, answered: bool) -> CallEnded {
    let record = LegRecord {
        leg: LegId(Uuid::from_u128(2)),
        agent: agent("2001", None),
        tier: Tier::default(),
        queue: None,
        previous_leg: None,
        offered: NOW,
        ringing: Some(NOW),
        answered: answered.then_some(NOW),
        ended: Some(NOW),
        reason: Some(reason),
    };
    CallEnded { reason, caller: caller(), called: "6001".into(), started: NOW, legs: vec![record], keys: Vec::new() }
}

fn event(data: Data, leg: Option<LegId>) -> String {
    let contact = ContactId(Uuid::from_u128(1));
    let source = "/site/s/node/n".to_string();
    Event { id: Uuid::from_u128(9), source, contact, leg, time: NOW, sequence: Some(1), expires: None, data }.to_json()
}

fn zammad() -> Zammad {
    Zammad::new(&Endpoint::default(), &Settings::default(), &[Secret("PhXp3ZG6_-x".into())]).unwrap()
}

fn begin(body: &str) -> Box<dyn Exchange<Answer>> {
    zammad().deliver(&Outgoing { id: "9", body })
}

fn answer(status: u16, body: &str) -> Option<Response> {
    Some(Response { status, retry_after: None, load: None, body: body.into() })
}

/// What is sent next.
fn sent(step: Step<Answer>) -> Value {
    match step {
        Step::Send(request) => {
            assert_eq!((request.method, request.path.as_str()), (Method::Post, "/PhXp3ZG6_-x"));
            serde_json::from_slice(&request.body).unwrap()
        }
        Step::End(answer) => panic!("{answer:?}"),
    }
}

fn end(step: Step<Answer>) -> Answer {
    match step {
        Step::End(answer) => answer,
        Step::Send(request) => panic!("{request:?}"),
    }
}

const HIDDEN: &str = r#"{"error":"Error ID f3a9: Please contact your administrator."}"#;
const EXISTS: &str = r#"{"error":"Object already exists!","error_human":"Object already exists!"}"#;

#[test]
fn ring_answer_and_end_in_zammads_words() {
    let ring = sent(begin(&event(Data::CallRinging(leg()), Some(leg().leg))).next(None, NOW));
    let common = json!({"from": "81662088181", "to": "6001", "direction": "in", "callId": CALL});
    let with = |more: Value| {
        let mut all = common.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    assert_eq!(ring, with(json!({"event": "newCall", "user": ["山田 花子"], "queue": "市民課"})));
    let answered = sent(begin(&event(Data::CallAnswered(leg()), Some(leg().leg))).next(None, NOW));
    assert_eq!(answered, with(json!({"event": "answer", "user": "山田 花子", "answeringNumber": "2001"})));
    let end = sent(begin(&event(Data::CallEnded(ended(EndReason::CallerHangup, true)), None)).next(None, NOW));
    let more = json!({"event": "hangup", "cause": "normalClearing", "user": "2001", "answeringNumber": "2001"});
    assert_eq!(end, with(more));
}

#[test]
fn the_end_of_one_leg_is_not_the_end_of_the_call() {
    let body = event(Data::CallEnded(ended(EndReason::Transferred, true)), Some(leg().leg));
    assert_eq!(end(begin(&body).next(None, NOW)), Answer::Delivered);
    assert!(matches!(end(begin("{}").next(None, NOW)), Answer::Refused(_)));
}

#[test]
fn causes() {
    for (reason, cause) in [
        (EndReason::Abandoned, "cancel"),
        (EndReason::Busy, "busy"),
        (EndReason::NoAnswer, "noAnswer"),
        (EndReason::Rejected, "noAnswer"),
        (EndReason::Forwarded, "forwarded"),
        (EndReason::Failed, "congestion"),
        (EndReason::BridgeRestart, "congestion"),
    ] {
        assert_eq!(super::cause(&ended(reason, false)), cause);
        assert_eq!(super::cause(&ended(reason, true)), "normalClearing");
    }
}

#[test]
fn who_withholds_the_number_is_anonymous() {
    assert_eq!(from(&Caller::default()), "anonymous");
    assert_eq!(from(&Caller { raw: Some("2044".into()), ..Caller::default() }), "2044");
}

#[test]
fn what_is_not_fresh_is_dropped_also_between_two_steps() {
    let body = event(Data::CallAnswered(leg()), Some(leg().leg));
    let late = NOW + Duration::from_secs(61);
    assert!(matches!(end(begin(&body).next(None, late)), Answer::Late(_)));
    let mut exchange = begin(&body);
    sent(exchange.next(None, NOW + Duration::from_secs(60)));
    assert!(matches!(end(exchange.next(answer(500, HIDDEN), late)), Answer::Late(_)));
}

#[test]
fn a_repeated_call_is_there_already() {
    let mut exchange = begin(&event(Data::CallRinging(leg()), Some(leg().leg)));
    sent(exchange.next(None, NOW));
    assert_eq!(end(exchange.next(answer(500, EXISTS), NOW)), Answer::Delivered);
}

#[test]
fn a_call_that_zammad_was_not_told_of_is_told_first() {
    let mut exchange = begin(&event(Data::CallAnswered(leg()), Some(leg().leg)));
    assert_eq!(sent(exchange.next(None, NOW))["event"], "answer");
    let made_up = sent(exchange.next(answer(500, HIDDEN), NOW));
    assert_eq!((&made_up["event"], &made_up["user"][0]), (&json!("newCall"), &json!("山田 花子")));
    assert_eq!(sent(exchange.next(answer(200, "{}"), NOW))["event"], "answer");
    assert_eq!(end(exchange.next(answer(200, "{}"), NOW)), Answer::Delivered);
}

#[test]
fn errors_of_zammad_and_of_what_stands_before_it() {
    for (first, wanted) in [
        (answer(200, "{}"), Answer::Delivered),
        (answer(200, r#"{"action":"reject","reason":"busy"}"#), Answer::Delivered),
        (answer(401, r#"{"error":"Invalid token, please contact your admin!"}"#), Answer::Denied("status 401".into())),
        (answer(502, "<html>"), Answer::Busy { what: "status 502".into(), retry_after: None }),
        (answer(500, "<html>"), Answer::Busy { what: "status 500".into(), retry_after: None }),
    ] {
        let mut exchange = begin(&event(Data::CallAnswered(leg()), Some(leg().leg)));
        sent(exchange.next(None, NOW));
        assert_eq!(end(exchange.next(first, NOW)), wanted);
    }
    let mut exchange = begin(&event(Data::CallRinging(leg()), Some(leg().leg)));
    sent(exchange.next(None, NOW));
    let off = answer(422, r#"{"error":"Feature is disabled, please contact your administrator!"}"#);
    assert!(matches!(end(exchange.next(off, NOW)), Answer::Unfit(what) if what.contains("switched on")));
    let mut exchange = begin(&event(Data::CallAnswered(leg()), Some(leg().leg)));
    sent(exchange.next(None, NOW));
    sent(exchange.next(answer(500, HIDDEN), NOW));
    let still = end(exchange.next(answer(500, HIDDEN), NOW));
    assert_eq!(still, Answer::Busy { what: "status 500".into(), retry_after: None }, "a Zammad that only fails");
}

#[test]
fn the_token_is_one_and_is_not_shown() {
    let of = |secrets: &[&str]| {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret((*secret).into())).collect();
        Zammad::new(&Endpoint::default(), &Settings::default(), &secrets).err().map(|error| error.to_string())
    };
    for wrong in [&[][..], &["sesame", "open"], &["sesame/../x"]] {
        let error = of(wrong).unwrap();
        assert!(
            error.contains("secret_file") && error.contains("/api/v1/cti/") && !error.contains("sesame"),
            "{error}"
        );
    }
}

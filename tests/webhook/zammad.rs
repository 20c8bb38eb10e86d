//! Zammad as its documents and its source say that it answers (`Cti::Log`, `ApplicationController::HandlesErrors`).

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use kakehashi::call::{LegId, Tier};
use kakehashi::events::{Agent, CallEnded, EndReason, LegRecord, LegState};
use serde_json::{Value, json};

use super::*;

const TOKEN: &str = "PhXp3ZG63QyJfcb1pVOnBKJWIbI";

/// A caller log: the state of each call.
#[derive(Default)]
struct Log {
    calls: Mutex<HashMap<String, String>>,
    down: AtomicBool,
}

impl Log {
    fn answer(&self, request: &Request) -> Reply {
        if self.down.load(Ordering::SeqCst) {
            return Reply::new(503, "");
        }
        if request.target != format!("/api/v1/cti/{TOKEN}") {
            return Reply::new(401, r#"{"error":"Invalid token, please contact your admin!"}"#);
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_string();
        let mut calls = self.calls.lock().unwrap();
        let known = calls.contains_key(&text("callId"));
        match (text("event").as_str(), known) {
            ("newCall", true) => Reply::new(500, r#"{"error":"Object already exists!"}"#),
            ("newCall", false) | ("answer" | "hangup", true) => {
                calls.insert(text("callId"), text("event"));
                Reply::new(200, "{}")
            }
            ("answer" | "hangup", false) => {
                Reply::new(500, r#"{"error":"Error ID f3a9_x: Please contact your administrator."}"#)
            }
            _ => Reply::new(422, r#"{"error":"Unknown event"}"#),
        }
    }

    fn state(&self, of: ContactId) -> Option<String> {
        self.calls.lock().unwrap().get(&of.to_string()).cloned()
    }
}

fn leg() -> LegState {
    LegState {
        leg: LegId(Uuid::from_u128(2)),
        agent: Agent { extension: "2001".into(), ..Agent::default() },
        tier: Tier::default(),
        caller: Caller { number: Some("+81662088181".into()), ..Caller::default() },
        called: "6001".into(),
        queue: None,
        previous_leg: None,
        keys: Vec::new(),
    }
}

fn ended(time: Wall) -> CallEnded {
    let state = leg();
    let record = LegRecord {
        leg: state.leg,
        agent: state.agent,
        tier: state.tier,
        queue: None,
        previous_leg: None,
        offered: time,
        ringing: Some(time),
        answered: Some(time),
        ended: Some(time),
        reason: Some(EndReason::CallerHangup),
    };
    let (reason, caller) = (EndReason::CallerHangup, state.caller);
    CallEnded { reason, caller, called: "6001".into(), started: time, legs: vec![record], keys: Vec::new() }
}

async fn tell(running: &Running, of: ContactId, sequence: u64, time: Wall, data: Data) {
    let mut batch = batch(of, sequence);
    batch.events[0] = Event { time, data, ..batch.events[0].clone() };
    running.outbox.commit(batch).unwrap().await.unwrap();
}

fn start(log: &Arc<Log>) -> (Server, Running) {
    let own = Arc::clone(log);
    let server = Server::start(move |_, request| own.answer(request));
    let endpoint = Endpoint {
        url: server.url("/api/v1/cti"),
        secrets: vec![Secret(TOKEN.into())],
        zammad: Some(Default::default()),
        ..Endpoint::default()
    };
    (server, Running::start(endpoint))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_line_of_the_log_from_ring_to_end() {
    let log = Arc::new(Log::default());
    let (server, running) = start(&log);
    let time = now().wall;
    tell(&running, contact(1), 1, time, Data::CallRinging(leg())).await;
    tell(&running, contact(1), 2, time, Data::CallRinging(leg())).await;
    tell(&running, contact(1), 3, time, Data::CallAnswered(leg())).await;
    tell(&running, contact(1), 4, time, Data::CallEnded(ended(time))).await;
    running.all_delivered(4).await;
    assert_eq!(log.state(contact(1)).as_deref(), Some("hangup"));
    let told: Vec<String> =
        server.requests().iter().map(|one| event_of(one)["event"].as_str().unwrap().into()).collect();
    assert_eq!(told, ["newCall", "newCall", "answer", "hangup"]);
    let first = event_of(&server.requests()[0]);
    assert_eq!((&first["from"], &first["user"]), (&json!("81662088181"), &json!(["2001"])));
}

fn event_of(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_after_an_outage_is_dropped_and_a_running_call_is_made_up_for() {
    let log = Arc::new(Log::default());
    log.down.store(true, Ordering::SeqCst);
    let (_server, running) = start(&log);
    let (time, old) = (now().wall, Wall(now().wall.0 - 3_600_000_000));
    tell(&running, contact(1), 1, old, Data::CallRinging(leg())).await;
    tell(&running, contact(1), 2, old, Data::CallEnded(ended(old))).await;
    // it rang long ago and is answered now
    tell(&running, contact(2), 1, old, Data::CallRinging(leg())).await;
    tell(&running, contact(2), 2, time, Data::CallAnswered(leg())).await;
    let settled = |status: &'static str| move |all: &[Listed]| all.iter().filter(|one| one.status == status).count();
    running.until(|all| settled("discarded")(all) == 3).await;
    log.down.store(false, Ordering::SeqCst);
    let listed = running.until(|all| settled("delivered")(all) == 1).await;
    let dropped = listed.iter().filter(|one| one.status == "discarded");
    assert!(
        dropped.clone().count() == 3 && dropped.clone().all(|one| one.error.as_deref().unwrap().contains("too late"))
    );
    assert_eq!((log.state(contact(1)), log.state(contact(2)).as_deref()), (None, Some("answer")));
    let figures = running.deliverer.figures().remove(0);
    assert_eq!((figures.dropped, figures.delivered, figures.pending()), (3, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_waits_for_a_person_and_is_not_shown() {
    let endpoint = Endpoint { zammad: Some(Default::default()), ..endpoint("http://127.0.0.1:9".into()) };
    deliver::check(&[Endpoint { secrets: vec![Secret("a b".into())], ..endpoint.clone() }]).unwrap_err();
    let error = deliver::check(&[Endpoint { secrets: Vec::new(), ..endpoint }]).unwrap_err().to_string();
    assert!(error.contains("id = \"crm\": secret_file") && error.contains("token"), "{error}");
    let log = Arc::new(Log::default());
    let own = Arc::clone(&log);
    let server = Server::start(move |_, request| own.answer(request));
    let running = Running::start(Endpoint {
        url: server.url("/api/v1/cti"),
        secrets: vec![Secret("another".into())],
        zammad: Some(Default::default()),
        ..Endpoint::default()
    });
    tell(&running, contact(1), 1, now().wall, Data::CallRinging(leg())).await;
    running.failure("status 401").await;
    assert_eq!(log.state(contact(1)), None);
}

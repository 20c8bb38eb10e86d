//! Unit tests of the NATS connector: what is sent, and what JetStream's replies mean. The replies are those of nats-server 2.15.

use uuid::Uuid;

use super::*;
use crate::call::{ContactId, LegId, Tier};
use crate::events::{Agent, Caller, LegState, ScreenPopWithdrawn, WithdrawReason};

const NOW: Wall = Wall(1_795_420_800_000_000);
const ACK: &str = r#"{"stream":"CALLS","seq":7}"#;

fn endpoint() -> Endpoint {
    Endpoint { url: "nats://127.0.0.1:4222".into(), ..Endpoint::default() }
}

fn nats() -> Nats {
    Nats::new(&endpoint(), &Settings::default()).unwrap()
}

fn event(source: &str) -> Event {
    Event {
        id: Uuid::from_u128(5),
        source: source.into(),
        contact: ContactId(Uuid::from_u128(1)),
        leg: None,
        time: NOW,
        sequence: Some(1),
        expires: None,
        data: Data::CallRinging(LegState {
            leg: LegId(Uuid::from_u128(2)),
            agent: Agent::default(),
            tier: Tier::default(),
            caller: Caller::default(),
            called: "6001".into(),
            queue: None,
            previous_leg: None,
            keys: Vec::new(),
        }),
    }
}

fn exchange(nats: &Nats, event: &Event) -> Box<dyn Exchange<Answer>> {
    nats.deliver(&Outgoing { id: &event.id.to_string(), body: &event.to_json() })
}

fn ringing() -> Event {
    event("/site/osaka/node/n1")
}

fn reply(body: &str) -> Option<Response> {
    Some(Response { status: 200, retry_after: None, load: None, body: body.into() })
}

fn error(code: u64, number: u64, text: &str) -> Option<Response> {
    reply(&json!({"error": {"code": code, "err_code": number, "description": text}}).to_string())
}

fn sent(step: Step<Answer>) -> Request {
    match step {
        Step::Send(request) => request,
        Step::End(answer) => panic!("{answer:?}"),
    }
}

fn ended(step: Step<Answer>) -> Answer {
    match step {
        Step::Send(request) => panic!("{request:?}"),
        Step::End(answer) => answer,
    }
}

fn there(settings: &Settings) -> Value {
    json!({"config": settings.stream(), "state": {"messages": 0}})
}

#[test]
fn the_stream_is_made_once_and_events_go_into_it_with_their_id() {
    let nats = nats();
    let mut first = exchange(&nats, &ringing());
    let asked = sent(first.next(None, NOW));
    assert_eq!((asked.path.as_str(), asked.body.len()), ("$JS.API.STREAM.INFO.CALLS", 0));
    let made = sent(first.next(error(404, 10_059, "stream not found"), NOW));
    assert_eq!(made.path, "$JS.API.STREAM.CREATE.CALLS");
    let config: Value = serde_json::from_slice(&made.body).unwrap();
    assert_eq!((&config["subjects"], &config["duplicate_window"]), (&json!(["calls.>"]), &json!(3_600_000_000_000u64)));
    assert_eq!((&config["discard"], &config["max_bytes"]), (&json!("new"), &json!(-1)));
    let published = sent(first.next(reply(&there(&nats.settings).to_string()), NOW));
    let contact = "00000000-0000-0000-0000-000000000001";
    assert_eq!(published.path, format!("calls.osaka.{contact}.call.ringing.v1"));
    let id = Uuid::from_u128(5).to_string();
    assert!(published.headers.contains(&("Nats-Msg-Id", id)) && published.method == Method::Post);
    assert_eq!(String::from_utf8(published.body).unwrap(), ringing().to_json());
    assert_eq!(ended(first.next(reply(ACK), NOW)), Answer::Delivered);
    // the next one asks nothing; one that was there is as good
    let mut second = exchange(&nats, &ringing());
    assert!(sent(second.next(None, NOW)).path.starts_with("calls."));
    assert_eq!(ended(second.next(reply(r#"{"stream":"CALLS","seq":7,"duplicate":true}"#), NOW)), Answer::Delivered);
}

#[test]
fn a_stream_that_differs_is_told_and_left_alone() {
    let nats = nats();
    let other = |key: &str, value: Value| {
        let mut info = there(&nats.settings);
        info["config"][key] = value;
        let mut exchange = exchange(&nats, &ringing());
        sent(exchange.next(None, NOW));
        ended(exchange.next(reply(&info.to_string()), NOW))
    };
    let cases = [
        ("max_age", json!(0), "max_age is 0 ns, expected 604800000000000 ns"),
        ("subjects", json!(["calls"]), "it does not take calls.>"),
        ("no_ack", json!(true), "no_ack"),
        ("storage", json!("memory"), "storage is \"memory\", expected \"file\""),
    ];
    for (key, value, expected) in cases {
        let Answer::Denied(text) = other(key, value) else { panic!("{expected}") };
        assert!(
            text.contains(expected) && text.contains("stream CALLS") && text.contains("nats stream edit"),
            "{text}"
        );
    }
    // what a server adds, and further subjects, are nobody's trouble
    let mut info = there(&nats.settings);
    info["config"]["allow_direct"] = json!(true);
    info["config"]["subjects"] = json!(["other.>", "calls.>"]);
    assert_eq!(nats.settings.differs(&info["config"]), None);
}

#[test]
fn replies_are_classes_of_answers() {
    let of = |response: Option<Response>| {
        let nats = nats();
        nats.ready.store(true, Ordering::Relaxed);
        let mut exchange = exchange(&nats, &ringing());
        sent(exchange.next(None, NOW));
        let answer = ended(exchange.next(response, NOW));
        assert!(!nats.ready.load(Ordering::Relaxed), "the stream is looked at again");
        answer
    };
    let status = |status| of(Some(Response { status, retry_after: None, load: None, body: Vec::new() }));
    assert!(matches!(status(503), Answer::Failed(_)));
    assert!(matches!(status(401), Answer::Denied(_)));
    assert!(matches!(status(403), Answer::Denied(_)));
    assert!(matches!(status(413), Answer::Refused(_)));
    assert!(matches!(of(error(503, 10_077, "maximum bytes exceeded")), Answer::Busy { .. }));
    assert!(matches!(of(error(503, 10_023, "insufficient resources")), Answer::Busy { .. }));
    assert!(matches!(of(error(400, 10_054, "message size exceeds maximum allowed")), Answer::Refused(_)));
    assert!(matches!(of(error(400, 10_060, "expected stream does not match")), Answer::Denied(_)));
    assert!(matches!(of(error(503, 10_039, "JetStream not enabled for account")), Answer::Denied(_)));
    assert!(matches!(of(error(400, 10_071, "wrong last sequence")), Answer::Unfit(_)));
    assert!(matches!(of(reply("no JSON")), Answer::Failed(_)));
}

#[test]
fn realtime_events_are_published_to_whoever_listens() {
    let nats = nats();
    let (popid, leg, agent) = (Uuid::from_u128(3), LegId(Uuid::from_u128(2)), Agent::default());
    let pop = ScreenPopWithdrawn { popid, leg, agent, reason: WithdrawReason::Ended };
    let pop = Event { sequence: None, data: Data::ScreenPopWithdrawn(pop), ..ringing() };
    let mut exchange = exchange(&nats, &pop);
    let request = sent(exchange.next(None, NOW));
    assert!(request.path.starts_with("live.osaka.") && request.path.ends_with(".screenpop.withdrawn.v1"));
    assert_eq!((request.method, request.headers.len()), (Method::Put, 1));
    let done = Response { status: 204, retry_after: None, load: None, body: Vec::new() };
    assert_eq!(ended(exchange.next(Some(done), NOW)), Answer::Delivered);
}

#[test]
fn a_token_holds_any_name() {
    assert_eq!(token("osaka-1_x"), "osaka-1_x");
    assert_eq!(token("a.b c*>="), "a=2eb=20c=2a=3e=3d");
    assert_eq!((token("区"), token("")), ("=e5=8c=ba".to_string(), "_".to_string()));
    let odd = event("/site/a.b/node/n1");
    assert!(subject("calls", &odd).starts_with("calls.a=2eb.00000000-"));
}

#[test]
fn settings_name_the_key() {
    let wrong = |settings: Settings| Nats::new(&endpoint(), &settings).err().unwrap().to_string();
    let of = Settings::default;
    assert!(wrong(Settings { stream: "a.b".into(), ..of() }).contains("nats.stream"));
    assert!(wrong(Settings { subject: "a..b".into(), ..of() }).contains("nats.subject"));
    assert!(wrong(Settings { live_subject: "calls.live".into(), ..of() }).contains("nats.live_subject"));
    assert!(wrong(Settings { replicas: 0, ..of() }).contains("nats.replicas"));
    assert!(wrong(Settings { max_age_s: 60, ..of() }).contains("nats.duplicate_window_s"));
    assert!(Nats::new(&endpoint(), &Settings { max_age_s: 0, ..of() }).is_ok());
    let http = Nats::new(&Endpoint::default(), &of()).err().unwrap().to_string();
    assert!(http.contains("[[endpoint]] id = \"crm\": url: expected tls://HOST"), "{http}");
}

#[test]
fn a_large_event_goes_by_reference_and_what_is_no_event_is_refused() {
    let small = Endpoint { max_body_bytes: 10, public_url: "https://k.example.jp".into(), ..endpoint() };
    let nats = Nats::new(&small, &Settings::default()).unwrap();
    nats.ready.store(true, Ordering::Relaxed);
    let request = sent(exchange(&nats, &ringing()).next(None, NOW));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert!(
        body.get("data").is_none() && body["dataref"].as_str().unwrap().starts_with("https://k.example.jp/v1/events/")
    );
    let mut none = nats.deliver(&Outgoing { id: "x", body: "{}" });
    assert!(matches!(ended(none.next(None, NOW)), Answer::Refused(_)));
}

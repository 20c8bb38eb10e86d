//! Dead letters over the API: seen, sent again and set aside, by whoever may.

use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use super::*;

const ADMINISTRATOR: &str = "administrator-token-0123";
const PORTAL: &str = "portal-token-0123456789";

fn config(folder: &std::path::Path, url: &str) -> kakehashi::config::Config {
    let text = format!(
        r#"
[node]
data_dir = "{}/data"
drain_ms = 200
[[site]]
id = "s"
[[pbx]]
id = "p"
site = "s"
[pbx.sip]
peers = ["127.0.0.1/32"]
[sip]
enabled = true
listen_udp = ["127.0.0.1:0"]
listen_tcp = []
[[line]]
number = "*"
transcribe = false
[[endpoint]]
id = "crm"
url = "{url}"
secrets = ["{SECRET}"]
[panel]
listen = "127.0.0.1:0"
[[panel.client]]
id = "administrator"
token = "{ADMINISTRATOR}"
deliveries = true
[[panel.client]]
id = "portal"
token = "{PORTAL}"
"#,
        folder.display()
    );
    kakehashi::config::Config::parse(std::path::Path::new("k.toml"), &text).unwrap()
}

struct Api(String);

impl Api {
    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let request = reqwest::Client::new().get(format!("{}{path}", self.0)).bearer_auth(token);
        read(request.send().await.unwrap()).await
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let request = reqwest::Client::new().post(format!("{}{path}", self.0)).bearer_auth(token);
        read(request.body(body.to_string()).send().await.unwrap()).await
    }

    /// The deliveries of a state, once there are so many.
    async fn listed(&self, status: &str, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (code, answer) = self.get(&format!("/v1/deliveries?status={status}"), ADMINISTRATOR).await;
            assert_eq!(code, 200, "{answer}");
            let listed = answer["deliveries"].as_array().unwrap();
            if listed.len() == count {
                return listed.clone();
            }
            assert!(Instant::now() < deadline, "{listed:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn read(response: reqwest::Response) -> (u16, Value) {
    let code = response.status().as_u16();
    (code, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_sent_again_and_set_aside_by_who_may() {
    let status = Arc::new(AtomicU16::new(400));
    let answer = Arc::clone(&status);
    let server = Server::start(move |_, _| Reply::new(answer.load(Ordering::SeqCst), ""));
    let folder = tempfile::tempdir().unwrap();
    let bridge = kakehashi::bridge::start::start(config(folder.path(), &server.url("/hook"))).await.unwrap();
    let api = Api(format!("http://{}", bridge.panel().unwrap()));
    for sequence in 1..=3 {
        bridge.outbox().commit(batch(contact(1), sequence)).unwrap().await.unwrap();
    }
    let dead = api.listed("dead", 3).await;
    let numbers: Vec<i64> = dead.iter().map(|one| one["delivery"].as_i64().unwrap()).collect();

    for token in [PORTAL, "somebody-else-0123456789"] {
        for path in ["/v1/deliveries", "/v1/endpoints", "/v1/traffic"] {
            assert_eq!(api.get(path, token).await.0, 403, "{path}");
        }
        assert_eq!(api.post("/v1/deliveries/replay", token, &json!({"all": true})).await.0, 403);
    }
    for wrong in [json!({}), json!({"deliveries": []}), json!({"all": true, "deliveries": [1]}), json!({"every": 1})] {
        assert_eq!(api.post("/v1/deliveries/discard", ADMINISTRATOR, &wrong).await.0, 400, "{wrong}");
    }
    assert_eq!(api.get("/v1/deliveries?status=lost", ADMINISTRATOR).await.0, 400);
    assert_eq!(server.requests().len(), 3, "none of that sent anything");

    status.store(204, Ordering::SeqCst);
    let (first, rest) = (json!({"deliveries": &numbers[2..]}), json!({"all": true, "note": "既に手入力済み"}));
    assert_eq!(api.post("/v1/deliveries/replay", ADMINISTRATOR, &first).await, (200, json!({"count": 1})));
    let delivered = api.listed("delivered", 1).await;
    assert_eq!((&delivered[0]["delivery"], &delivered[0]["sequence"]), (&json!(numbers[2]), &json!(1)));
    assert_eq!(api.post("/v1/deliveries/discard", ADMINISTRATOR, &rest).await, (200, json!({"count": 2})));
    let discarded = api.listed("discarded", 2).await;
    assert!(discarded.iter().all(|one| one["error"] == "既に手入力済み"), "{discarded:?}");

    let (_, endpoints) = api.get("/v1/endpoints", ADMINISTRATOR).await;
    let crm = &endpoints["endpoints"][0];
    assert_eq!((&crm["id"], &crm["state"], &crm["pending"]), (&json!("crm"), &json!("up"), &json!(0)));
    assert_eq!((&crm["dead"], &crm["discarded"], &crm["since_start"]["delivered"]), (&json!(0), &json!(2), &json!(1)));
    let sums = &crm["since_start"];
    let of = |name: &str| sums[name].as_u64().unwrap();
    assert_eq!(of("left") + of("accepted") + of("replayed"), of("delivered") + of("dead") + of("dropped"));
    bridge.stop().await;
    let bridge = kakehashi::bridge::start::start(config(folder.path(), &server.url("/hook"))).await.unwrap();
    let api = Api(format!("http://{}", bridge.panel().unwrap()));
    let (_, traffic) = api.get("/v1/traffic?days=2", ADMINISTRATOR).await;
    let record = traffic["traffic"].as_array().unwrap().iter().find(|day| day["use"] == "record").unwrap();
    assert_eq!((&record["requests"], &record["events"]), (&json!(4), &json!(1)), "{traffic}");
    bridge.stop().await;
}

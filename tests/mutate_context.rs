//! Mutated bodies of the API: each is accepted within its bounds or refused by the name of a field; none panics. Seeded, so that a failing seed
//! can be run again.
#![cfg(feature = "web")]

#[path = "common/cases.rs"]
mod cases;
#[path = "common/mutate.rs"]
mod mutate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cases::cases;
use kakehashi::call::context::{Accepted, Fresh, Settings, Waiting, Wish, read};
use kakehashi::call::correction::Corrected;
use kakehashi::panel::{Control, Controller, FeedHandle, spawn};
use kakehashi::time::Wall;
use kakehashi::transcript::mask::{Policy, mask};
use mutate::{Dice, mutate};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

const CASES: u64 = 100_000;
/// Bodies that go through the server.
const REQUESTS: u64 = 4_000;

const POSTS: [&str; 3] = [
    r#"{"site":"osaka","number":"06-6208-8181","expires_in_s":1800,"merge":true,"key":"k1","context":{"reason":"住民票の写し","page":{"url":"https://portal.example.jp/p?id=1","title":"住民票"},"chat":"https://chat.example.jp/c/17","citizen":"ref-1","slots":{"通数":"2通","番号":"123456789018"}}}"#,
    r#"{"token":"a b","context":{"slots":[{"key":"通数","value":2},{"key":"希望","value":true},{"key":"空","value":null}]}}"#,
    r#"{"contact":"00000000-0000-0000-0000-000000000001","context":{"reason":"急ぎ"}}"#,
];

/// The sample with one of its values changed or replaced; what comes out is still JSON.
fn changed(seed: u64, sample: &str) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut all: Value = serde_json::from_str(sample).unwrap();
    let mut at = &mut all;
    // down to a leaf, or not quite
    while dice.below(8) > 0 {
        let next = match &*at {
            Value::Object(map) if !map.is_empty() => map.keys().nth(dice.below(map.len())).cloned().map(Step::Key),
            Value::Array(list) if !list.is_empty() => Some(Step::Place(dice.below(list.len()))),
            _ => None,
        };
        at = match next {
            Some(Step::Key(key)) => at.get_mut(key).unwrap(),
            Some(Step::Place(n)) => at.get_mut(n).unwrap(),
            None => break,
        };
    }
    *at = match (dice.below(6), at.as_str()) {
        (0, _) => Value::Null,
        (1, _) => json!([dice.roll(), {"key": "a", "value": "b"}]),
        (2, _) => json!({"url": "ftp://x", "key": "漢字", "value": dice.roll()}),
        (3, Some(text)) => Value::String(text.repeat(dice.below(200))),
        (_, Some(text)) => Value::String(String::from_utf8_lossy(&mutate(dice.roll(), text.as_bytes())).into_owned()),
        _ => json!(dice.roll() % 100_000),
    };
    all.to_string().into_bytes()
}

enum Step {
    Key(String),
    Place(usize),
}

#[test]
fn mutated_posts_are_accepted_within_bounds_or_refused() {
    let all = cases(CASES);
    let settings = Settings { max_waiting: 100, ..Settings::default() };
    let mut waiting = Waiting::default();
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    for seed in 0..all {
        let sample = POSTS[(seed % 3) as usize];
        let body = if seed % 2 == 0 { mutate(seed, sample.as_bytes()) } else { changed(seed, sample) };
        match read(&body, &settings) {
            Ok(post) => {
                accepted += 1;
                let bytes = serde_json::to_vec(&post.known).unwrap().len();
                assert!(bytes <= 8 * 1024 && post.known.slots.len() <= 32, "seed {seed}");
                let known = post.known.clone().map_texts(|text| mask(text, Policy::default()).text);
                assert_eq!(known.slots.len(), post.known.slots.len(), "seed {seed}");
                let now = Wall(1_000_000 * i64::try_from(seed).unwrap());
                waiting.expire(now);
                let _ = waiting.post(now, "osaka", "portal", post, &settings);
                assert!(waiting.len() <= 100, "seed {seed}");
            }
            Err(wrong) => {
                refused += 1;
                assert!(!wrong.problem.is_empty(), "seed {seed}");
            }
        }
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted > all / 20 && refused > all / 100);
}

#[tokio::test]
async fn the_server_answers_every_mutated_body() {
    let settings = kakehashi::panel::Settings { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() };
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let controller: Controller = Arc::new(move |wish| {
        counter.fetch_add(1, Ordering::Relaxed);
        let (stored, resolves) = tokio::sync::oneshot::channel();
        let _ = stored.send(());
        match wish {
            Control::Pause(pause) => pause.answer.send(Err(kakehashi::call::pause::Refused::Unknown)).is_ok(),
            Control::Context { wish: Wish::Post(post), answer, .. } => {
                drop(post);
                let (id, expires) = (Uuid::nil(), Wall(0));
                let accepted = Accepted { id, version: 1, expires, fresh: Fresh::New, attached: Vec::new() };
                answer.send(Ok((accepted, resolves))).is_ok()
            }
            Control::Context { answer, .. } => answer.send(Err(kakehashi::call::context::Refused::Unknown)).is_ok(),
            Control::Correct { correction, answer, .. } => {
                assert!(!correction.text.trim().is_empty() && !correction.text.contains(char::is_control));
                let text = correction.text;
                answer.send(Ok((Corrected { revision: 1, text }, resolves))).is_ok()
            }
            Control::Annotate { answer, .. } => answer.send(Ok((Some(Uuid::nil()), resolves))).is_ok(),
        }
    });
    let feed = FeedHandle::new(settings.limits()).unwrap();
    let panel = spawn(settings, feed, Some(controller)).await.unwrap();
    let contact = "/v1/contacts/00000000-0000-0000-0000-000000000001";
    let requests = [
        ("/v1/context".to_string(), POSTS[0]),
        (format!("{contact}/marks"), r#"{"utterance":"00000000-0000-0000-0000-000000000001/2500","note":"急ぎ"}"#),
        (
            format!("{contact}/corrections"),
            r#"{"utterance":"00000000-0000-0000-0000-000000000001/2500","text":"三国です","revision":0,"agent":"op1"}"#,
        ),
        (format!("{contact}/note"), r#"{"text":"本人確認は済んでいます"}"#),
        (format!("{contact}/pause"), r#"{"scope":"record","reason":"カード番号"}"#),
    ];
    let mut stream = tokio::net::TcpStream::connect(panel.local_addr).await.unwrap();
    let mut statuses = std::collections::BTreeMap::new();
    for seed in 0..cases(REQUESTS) {
        let (path, sample) = &requests[(seed % 5) as usize];
        let body = mutate(seed, sample.as_bytes());
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        let status = answer(&mut stream).await;
        assert!(matches!(status, 200 | 201 | 204 | 400 | 404), "seed {seed}: {status}");
        *statuses.entry(status).or_insert(0_u64) += 1;
    }
    println!("{statuses:?}, {} reached the bridge", asked.load(Ordering::Relaxed));
    assert!(statuses.len() >= 4);
}

/// Reads one answer of a connection that stays open.
async fn answer(stream: &mut tokio::net::TcpStream) -> u16 {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

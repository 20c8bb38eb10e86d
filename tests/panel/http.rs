//! The panel's web server over loopback: feed and resume, token, host names, slow and stuck peers, caps.

use kakehashi::call::pause::{Paused, Refused, Scope};
use kakehashi::events::LookUp;
use kakehashi::panel::settings::Token;
use kakehashi::panel::{Control, Controller, Error, FeedHandle, PanelHandle, Pause, Settings, spawn};
use kakehashi::pbx::Speaker;

use crate::client::{Connection, PATIENCE, ask, get};
use crate::events::{Call, START, agent, number};

const TOKEN: &str = "correct-horse-battery-staple";

fn local() -> Settings {
    Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() }
}

fn guarded() -> Settings {
    Settings { token: Token::new(TOKEN), ..local() }
}

async fn start(settings: Settings) -> (PanelHandle, FeedHandle) {
    let feed = FeedHandle::new(settings.limits()).unwrap();
    (spawn(settings, feed.clone(), None).await.unwrap(), feed)
}

fn call() -> Call {
    Call::new(1, START, number("+819012345678"))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

fn last_id(text: &str) -> &str {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().expect("an id")
}

#[tokio::test]
async fn what_the_document_guards_is_refused_without_a_token_and_the_rest_is_not() {
    let (panel, _feed) = start(guarded()).await;
    let document = kakehashi::panel::openapi();
    let mut guarded = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", ID).replace("{mark}", ID);
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_uppercase();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
            );
            let answer = ask(panel.local_addr, &request).await;
            let is_guarded = operation["security"] != serde_json::json!([]);
            assert_eq!(status(&answer) == "401", is_guarded, "{method} {path}: {answer}");
            assert!(operation["responses"][status(&answer)].is_object(), "{method} {path}: {answer}");
            guarded += usize::from(is_guarded);
        }
    }
    assert!(guarded >= 17, "{guarded}");
}

const ID: &str = "0b2e4f6a-1111-4222-8333-444455556666";

#[tokio::test]
async fn the_page_is_served_with_nothing_from_elsewhere() {
    let (panel, _feed) = start(local()).await;
    let page = get(panel.local_addr, "/", "").await;
    assert_eq!(status(&page), "200");
    let head = page.split("\r\n\r\n").next().unwrap().to_lowercase();
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff") && head.contains("referrer-policy: no-referrer"));
    for path in ["/", "/app.js", "/state.js", "/view.js", "/talk.js", "/why.js", "/words.js", "/style.css", "/icon.svg"]
    {
        let answer = get(panel.local_addr, path, "").await;
        assert_eq!(status(&answer), "200", "{path}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let foreign = body.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("http://") && !foreign.contains("https://"), "{path} names another site");
        for unsafe_way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "onclick="] {
            assert!(!body.contains(unsafe_way), "{path} uses {unsafe_way}");
        }
    }
    assert_eq!(status(&get(panel.local_addr, "/../Cargo.toml", "").await), "404");
}

#[tokio::test]
async fn a_client_that_was_cut_off_resumes_without_loss() {
    let (panel, feed) = start(local()).await;
    let (call, sato) = (call(), agent("201", "佐藤"));
    feed.publish(&call.queued(0));
    let mut first = Connection::get(panel.local_addr, "/v1/feed", "").await;
    let opening = first.until("event: synced\n").await;
    assert!(
        opening.contains("text/event-stream") && opening.contains("event: reset") && opening.contains("event: contact")
    );
    feed.publish(&call.pop(500, 1, &sato, LookUp::Pending, vec![]));
    let seen = first.until("kakehashi.screenpop.v1").await;
    let last = last_id(&seen).to_owned();
    drop(first);
    feed.publish(&call.answered(2_000, 1, &sato));
    feed.publish(&call.turn(3_000, Speaker::Agent, 0, "お電話ありがとうございます"));
    for way in [
        ("/v1/feed".to_owned(), format!("Last-Event-ID: {last}\r\n")),
        (format!("/v1/feed?last_event_id={last}"), String::new()),
    ] {
        let mut again = Connection::get(panel.local_addr, &way.0, &way.1).await;
        let missed = again.until("お電話ありがとうございます").await;
        assert!(missed.contains("call.answered") && !missed.contains("event: reset"), "{missed}");
        assert!(!missed.contains("screenpop"), "what was seen is not sent again");
    }
    let mut foreign = Connection::get(panel.local_addr, "/v1/feed", "Last-Event-ID: 00000000-99\r\n").await;
    foreign.until("\"reason\":\"unknown\"").await;
}

#[tokio::test]
async fn a_quiet_feed_gives_signs_of_life() {
    let (panel, _feed) = start(Settings { keep_alive_ms: 20, ..local() }).await;
    let mut client = Connection::get(panel.local_addr, "/v1/feed", "").await;
    client.until("event: synced\n").await;
    for _ in 0..3 {
        client.until(": keep-alive\nevent: beat\ndata: {\"now\":\"").await;
    }
}

#[tokio::test]
async fn a_filter_shows_an_operator_the_own_calls_only() {
    let (panel, feed) = start(local()).await;
    feed.publish(&call().pop(0, 1, &agent("201", "佐藤"), LookUp::Pending, vec![]));
    let own = get(panel.local_addr, "/v1/contacts?extension=201", "").await;
    assert!(own.contains("screenpop"), "{own}");
    let other = get(panel.local_addr, "/v1/contacts?extension=202", "").await;
    assert!(other.contains("\"contacts\":[]"), "{other}");
    assert!(get(panel.local_addr, "/v1/contacts?extension=", "").await.contains("screenpop"));
}

#[tokio::test]
async fn without_the_token_there_is_only_the_empty_page() {
    let (panel, feed) = start(guarded()).await;
    feed.publish(&call().queued(0));
    for path in ["/v1/feed", "/v1/contacts"] {
        for headers in ["", "Authorization: Bearer wrong-horse-battery-staple\r\n", "Cookie: kakehashi_panel=guess\r\n"]
        {
            let answer = get(panel.local_addr, path, headers).await;
            assert_eq!(status(&answer), "401", "{path} {headers}");
            assert!(!answer.contains("queued"));
        }
        let in_url = get(panel.local_addr, &format!("{path}?token={TOKEN}"), "").await;
        assert_eq!(status(&in_url), "401", "a token in a URL ends up in logs");
    }
    assert_eq!(status(&get(panel.local_addr, "/metrics", "").await), "401");
    assert_eq!(status(&get(panel.local_addr, "/", "").await), "200");
    assert_eq!(status(&get(panel.local_addr, "/healthz", "").await), "200");
    let answer = get(panel.local_addr, "/v1/contacts", &format!("Authorization: Bearer {TOKEN}\r\n")).await;
    assert_eq!(status(&answer), "200");
}

#[tokio::test]
async fn metrics_are_told_as_they_are_at_each_request() {
    let (panel, _feed) = start(guarded()).await;
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(status(&get(panel.local_addr, "/metrics", &bearer).await), "200");
    let asked = std::sync::atomic::AtomicU64::new(1);
    panel.tell_metrics(Box::new(move || {
        format!("asked {}\n", asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }));
    for n in 1..=2 {
        let answer = get(panel.local_addr, "/metrics", &bearer).await;
        assert!(answer.contains("text/plain; version=0.0.4") && answer.contains(&format!("asked {n}\n")), "{answer}");
    }
}

fn sign_in(token: &str, headers: &str) -> String {
    let body = format!("{{\"token\":\"{token}\"}}");
    let length = body.len();
    format!(
        "POST /v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

#[tokio::test]
async fn the_token_is_exchanged_for_a_cookie_that_scripts_cannot_read() {
    let (panel, _feed) = start(guarded()).await;
    let address = panel.local_addr;
    assert_eq!(status(&ask(address, &sign_in("wrong", "")).await), "401");
    let foreign = ask(address, &sign_in(TOKEN, "Origin: https://evil.example\r\n")).await;
    assert_eq!(status(&foreign), "403");
    let answer = ask(address, &sign_in(TOKEN, "Origin: http://localhost\r\n")).await;
    assert_eq!(status(&answer), "204");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
    let pair = format!("Cookie: other=1; {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(status(&get(address, "/v1/contacts", &pair).await), "200");
    let cross = format!("{pair}Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(status(&get(address, "/v1/contacts", &cross).await), "403");
    let out = format!("DELETE /v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{pair}\r\n");
    assert_eq!(status(&ask(address, &out).await), "204");
    assert_eq!(status(&get(address, "/v1/contacts", &pair).await), "401");
}

#[tokio::test]
async fn a_foreign_host_name_is_refused_against_dns_rebinding() {
    let (panel, feed) = start(Settings { hosts: vec!["panel.example.jp".into()], ..local() }).await;
    feed.publish(&call().queued(0));
    let address = panel.local_addr;
    let with =
        async |head: &str| ask(address, &format!("GET /v1/contacts HTTP/1.1\r\nConnection: close\r\n{head}\r\n")).await;
    for good in [
        "Host: localhost\r\n",
        "Host: LOCALHOST:9000\r\n",
        "Host: 127.0.0.1\r\n",
        "Host: [::1]:8080\r\n",
        "Host: panel.example.jp\r\n",
    ] {
        assert_eq!(status(&with(good).await), "200", "{good}");
    }
    for bad in [
        "Host: evil.example\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: 127.0.0.1.evil.example:80\r\n",
        "",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host: evil@localhost:x\r\n",
    ] {
        let answer = with(bad).await;
        assert!(["421", "400"].contains(&status(&answer)), "{bad}: {answer}");
        assert!(!answer.contains("queued"), "{bad}");
    }
    let absolute = "GET http://evil.example/v1/contacts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&ask(address, absolute).await), "421");
}

#[tokio::test]
async fn slow_headers_and_silent_connections_are_cut_off() {
    let (panel, _feed) = start(Settings { header_timeout_ms: 60, ..local() }).await;
    let mut drip = Connection::open(panel.local_addr).await;
    drip.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await;
    let silent = Connection::open(panel.local_addr).await;
    // a connection that is kept alive after a request is cut off, too
    let mut idle = Connection::get(panel.local_addr, "/healthz", "").await;
    idle.until("\"status\":\"ok\"").await;
    for connection in [drip, silent, idle] {
        let rest = connection.rest().await;
        assert!(!rest.contains("200 OK"), "{rest}");
    }
    // a feed is not idle
    let mut feed = Connection::get(panel.local_addr, "/v1/feed", "").await;
    feed.until("event: synced\n").await;
    assert_eq!(status(&get(panel.local_addr, "/healthz", "").await), "200");
}

#[tokio::test]
async fn a_slow_body_is_cut_off_and_a_large_one_refused() {
    let (panel, _feed) = start(Settings { header_timeout_ms: 60, ..guarded() }).await;
    let mut slow = Connection::open(panel.local_addr).await;
    slow.send("POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"tok").await;
    assert_eq!(status(&slow.until("\r\n\r\n").await), "408");
    let large = sign_in(&"a".repeat(5_000), "");
    assert_eq!(status(&ask(panel.local_addr, &large).await), "400");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed_and_blocks_nobody() {
    let settings = Settings { write_timeout_ms: 100, max_clients: 2, ..local() };
    let (panel, feed) = start(settings).await;
    let mut stuck = Connection::get(panel.local_addr, "/v1/feed", "").await;
    stuck.until("event: synced\n").await;
    let mut reader = Connection::get(panel.local_addr, "/v1/feed", "").await;
    reader.until("event: synced\n").await;
    let call = call();
    let long = "長い発話".repeat(1_000);
    // far more than the buffers of one connection hold
    for n in 0..3_000 {
        feed.publish(&call.turn(u64::from(n), Speaker::Caller, n, &long));
        if n % 16 == 0 {
            reader.until(&format!("Caller/{n}\"")).await;
        }
    }
    // its seat becomes free again
    let free = async {
        loop {
            let mut next = Connection::get(panel.local_addr, "/v1/feed", "").await;
            if status(&next.until("\r\n\r\n").await) == "200" {
                return next;
            }
        }
    };
    let mut next = tokio::time::timeout(PATIENCE, free).await.expect("the seat of the stuck client is free");
    next.until("event: reset").await;
    drop(stuck);
}

#[tokio::test]
async fn clients_and_connections_are_capped() {
    let (panel, _feed) = start(Settings { max_clients: 1, max_connections: 3, ..local() }).await;
    let mut seated = Connection::get(panel.local_addr, "/v1/feed", "").await;
    seated.until("event: synced\n").await;
    let answer = get(panel.local_addr, "/v1/feed", "").await;
    assert_eq!(status(&answer), "503");
    assert!(answer.contains("retry-after: 5"), "{answer}");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::get(panel.local_addr, "/healthz", "").await;
        connection.until("\"status\":\"ok\"").await;
        held.push(connection);
    }
    assert_eq!(status(&Connection::open(panel.local_addr).await.rest().await), "503");
    drop(held);
    // places come back
    while status(&get(panel.local_addr, "/healthz", "").await) != "200" {}
}

#[tokio::test]
async fn readiness_follows_the_bridge() {
    let (panel, _feed) = start(local()).await;
    assert_eq!(status(&get(panel.local_addr, "/readyz", "").await), "503");
    panel.ready().set(true);
    assert_eq!(status(&get(panel.local_addr, "/readyz", "").await), "200");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let (panel, feed) = start(local()).await;
    let taken = Settings { listen: panel.local_addr, ..local() };
    let error = spawn(taken, feed.clone(), None).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&panel.local_addr.to_string()) && text.contains("[panel] listen"), "{text}");
    let missing = Settings { token_file: "/nonexistent/token".into(), ..local() };
    let error = spawn(missing, feed, None).await.unwrap_err();
    assert!(matches!(error, Error::TokenFile { .. }), "{error}");
}

#[tokio::test]
async fn the_panel_stops_with_its_feeds_open() {
    let (panel, _feed) = start(local()).await;
    let mut client = Connection::get(panel.local_addr, "/v1/feed", "").await;
    client.until("event: synced\n").await;
    let address = panel.local_addr;
    panel.close().await;
    client.rest().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints a measurement: cargo test --release --test panel latency -- --ignored --nocapture"]
async fn latency_from_publish_to_the_bytes_at_a_client() {
    for clients in [1, 16, 64] {
        let mut taken = latency(clients).await;
        taken.sort_unstable();
        println!("{clients} clients: p50 {} µs, p99 {} µs", taken[500], taken[990]);
    }
}

/// Microseconds of 1,000 events, one after the other, at one client among `clients` that all get everything.
async fn latency(clients: usize) -> Vec<u128> {
    let (panel, feed) = start(local()).await;
    let mut others = Vec::new();
    for _ in 1..clients {
        let mut other = Connection::get(panel.local_addr, "/v1/feed", "").await;
        other.until("event: synced\n").await;
        others.push(tokio::spawn(async move {
            for n in 0..1_000 {
                other.until(&format!("Caller/{n}\"")).await;
            }
        }));
    }
    let mut client = Connection::get(panel.local_addr, "/v1/feed", "").await;
    client.until("event: synced\n").await;
    let call = call();
    let mut taken = Vec::new();
    for n in 0..1_000 {
        let event = call.turn(u64::from(n), Speaker::Caller, n, "国民健康保険の資格喪失届も、そこで出せますか。");
        let sent = std::time::Instant::now();
        feed.publish(&event);
        client.until(&format!("Caller/{n}\"")).await;
        taken.push(sent.elapsed().as_micros());
    }
    for other in others {
        other.await.unwrap();
    }
    taken
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

/// A panel whose bridge knows one running contact and one that ended, and counts what it was asked.
async fn controlled(settings: Settings) -> (PanelHandle, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let feed = FeedHandle::new(settings.limits()).unwrap();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&asked);
    let controller: Controller = std::sync::Arc::new(move |wish: Control| {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Control::Pause(wish) = wish else { return false };
        let wish: Pause = wish;
        let both = wish.scope == Scope::Both;
        let answer = match wish.contact.0.as_u128() {
            1 => Ok(Paused { record: wish.pause, transcribe: wish.pause && both }),
            2 => Err(Refused::Ended),
            3 => return false,
            _ => Err(Refused::Unknown),
        };
        wish.answer.send(answer).is_ok()
    });
    (spawn(settings, feed, Some(controller)).await.unwrap(), asked)
}

fn contact(n: u128) -> String {
    uuid::Uuid::from_u128(n).to_string()
}

#[tokio::test]
async fn a_running_contact_is_paused_and_resumed_and_every_error_names_what_was_expected() {
    let (panel, _) = controlled(local()).await;
    let say = async |n: u128, what: &str, body: &str| {
        ask(panel.local_addr, &post(&format!("/v1/contacts/{}/{what}", contact(n)), "", body)).await
    };
    let answer = say(1, "pause", r#"{"scope":"record","reason":"カード番号"}"#).await;
    assert!(status(&answer) == "200" && answer.ends_with(r#"{"record":true,"transcribe":false}"#), "{answer}");
    let answer = say(1, "pause", "").await;
    assert!(answer.ends_with(r#"{"record":true,"transcribe":true}"#), "{answer}");
    let answer = say(1, "resume", "{}").await;
    assert!(answer.ends_with(r#"{"record":false,"transcribe":false}"#), "{answer}");
    for (n, body, code, word) in [
        (1, r#"{"scope":"all"}"#, "400", "transcribe"),
        (1, r#"{"scop":"record"}"#, "400", "reason"),
        (1, "x", "400", "JSON"),
        (1, &"x".repeat(2_000), "400", "1024"),
        (2, "", "409", "ended"),
        (3, "", "503", "try again"),
        (4, "", "404", "GET /v1/contacts"),
    ] {
        let answer = say(n, "pause", body).await;
        assert!(status(&answer) == code && answer.contains(word), "{n} {body:.20}: {answer}");
    }
    let answer = ask(panel.local_addr, &post("/v1/contacts/seven/pause", "", "")).await;
    assert!(status(&answer) == "400" && answer.contains("UUID"), "{answer}");
    assert_eq!(status(&get(panel.local_addr, &format!("/v1/contacts/{}/pause", contact(1)), "").await), "405");
}

#[tokio::test]
async fn only_who_has_the_token_pauses_and_no_page_of_another_site_does() {
    let (panel, asked) = controlled(guarded()).await;
    let path = format!("/v1/contacts/{}/pause", contact(1));
    assert_eq!(status(&ask(panel.local_addr, &post(&path, "", "")).await), "401");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let foreign = format!("{bearer}Origin: https://evil.example\r\n");
    assert_eq!(status(&ask(panel.local_addr, &post(&path, &foreign, "")).await), "403");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(status(&ask(panel.local_addr, &post(&path, &bearer, "")).await), "200");
    let (shows, _feed) = start(local()).await;
    assert_eq!(status(&ask(shows.local_addr, &post(&path, "", "")).await), "501");
}

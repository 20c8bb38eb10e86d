//! Web calls through a whole bridge: the HTTP contract of WHIP, and the sound of two tracks on the contact that the token names.
#![cfg(feature = "webcall")]

#[path = "common/hook.rs"]
mod hook;
#[path = "common/mutate.rs"]
mod mutate;
#[path = "common/softphone.rs"]
mod softphone;

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use hook::{Hook, SECRET};
use kakehashi::bridge::start::{Bridge, start};
use kakehashi::config::Config;
use kakehashi::events::{Data, EndReason, Event};
use kakehashi::media::codec::encode_ulaw;
use kakehashi::media::segment;
use kakehashi::pbx::Speaker;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use softphone::Softphone;

const SDP: &str = "application/sdp";
const SDPFRAG: &str = "application/trickle-ice-sdpfrag";
const CHROMIUM: &str = include_str!("data/web/chromium_two_tracks.sdp");

/// A bridge that takes web calls, its receiver, and a client.
struct Site {
    bridge: Option<Bridge>,
    hook: Hook,
    http: Client,
    panel: String,
    whip: String,
    folder: tempfile::TempDir,
}

impl Site {
    /// `more` are keys of `[webcall]`.
    async fn start(first_port: u16, more: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let hook = Hook::listen(0);
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
        let text = format!(
            r#"
[node]
data_dir = "{data}"
drain_ms = 2000
[[site]]
id = "osaka"
directory = "{samples}/directory.csv"
[[pbx]]
id = "softphones"
site = "osaka"
[pbx.web]
[webcall]
enabled = true
listen = "127.0.0.1:0"
first_port = {first_port}
last_port = {last_port}
{more}
[media]
poll_interval_ms = 5
[[line]]
number = "*"
transcribe = false
[[endpoint]]
id = "crm"
url = "http://127.0.0.1:{hook}/hook"
secrets = ["{SECRET}"]
[panel]
listen = "127.0.0.1:0"
"#,
            data = folder.path().join("data").display(),
            samples = samples.display(),
            hook = hook.port,
            last_port = first_port + 19,
        );
        let bridge = start(Config::parse(Path::new("k.toml"), &text).unwrap()).await.unwrap();
        let panel = format!("http://{}", bridge.panel().unwrap());
        let whip = format!("http://{}/whip", bridge.webcall().unwrap());
        // the provider of TLS is chosen by whoever starts first
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().build().unwrap();
        Site { bridge: Some(bridge), hook, http, panel, whip, folder }
    }

    async fn ask(&self, wish: Value) -> Response {
        let body = wish.to_string();
        self.http.post(format!("{}/v1/web-calls", self.panel)).body(body).send().await.unwrap()
    }

    /// A token for a new call, with its contact.
    async fn token(&self) -> (String, String) {
        let wish = json!({"pbx": "softphones", "called": "0662011111", "extension": "2001", "number": "09012345678"});
        let answer = self.ask(wish).await;
        assert_eq!(answer.status(), 201);
        let opened: Value = answer.json().await.unwrap();
        assert_eq!(opened["whip_url"], self.whip);
        (opened["token"].as_str().unwrap().into(), opened["contact"].as_str().unwrap().into())
    }

    async fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut request = self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.to_string()).send().await.unwrap()
    }

    async fn post(&self, token: &str, offer: &str) -> Response {
        self.send("POST", &self.whip, &[("authorization", &format!("Bearer {token}")), ("content-type", SDP)], offer)
            .await
    }

    async fn events(&self, fits: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        tokio::task::block_in_place(|| self.hook.until(fits))
    }

    async fn stop(mut self) {
        self.bridge.take().unwrap().stop().await;
    }
}

fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(Event::type_name).collect()
}

fn ended(events: &[Event]) -> bool {
    events.iter().any(|event| event.leg.is_none() && matches!(event.data, Data::CallEnded(_)))
}

fn end_reason(events: &[Event]) -> EndReason {
    let last = events.iter().rev().find_map(|event| match (&event.data, event.leg) {
        (Data::CallEnded(ended), None) => Some(ended.reason),
        _ => None,
    });
    last.expect("the end of the contact")
}

fn recorded(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event.data, Data::RecordingAvailable(_)))
}

/// 20 ms of a tone that only this track has.
fn tone(track: usize, packet: usize) -> Vec<u8> {
    let hertz = if track == 0 { 400.0 } else { 1_000.0 };
    let sample = |n: usize| {
        let phase = (packet * 160 + n) as f64 * hertz / 8_000.0 * std::f64::consts::TAU;
        encode_ulaw((phase.sin() * 9_000.0) as i16)
    };
    (0..160).map(sample).collect()
}

/// Zero crossings a second: twice the frequency of a tone.
fn crossings(samples: &[i16]) -> usize {
    samples.windows(2).filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count() * 8_000 / samples.len().max(1)
}

/// What was kept of each speaker, by `recording.available`.
fn kept(folder: &Path, events: &[Event]) -> Vec<(Speaker, Vec<i16>)> {
    let audio = folder.join("data/audio");
    let streams = events.iter().filter_map(|event| match &event.data {
        Data::RecordingAvailable(available) => Some(&available.streams),
        _ => None,
    });
    let sound = |recorded: &kakehashi::events::RecordedStream| {
        let extent = segment::scan(&audio, recorded.stream).unwrap().unwrap();
        (recorded.speaker, segment::read_range(&audio, recorded.stream, 0, extent.samples).unwrap())
    };
    streams.flatten().map(sound).collect()
}

/// Both speak so many packets of 20 ms, in real time.
async fn talk(phone: &mut Softphone, packets: std::ops::Range<usize>) {
    let start = tokio::time::Instant::now();
    for (n, packet) in packets.enumerate() {
        phone.say(&[tone(0, packet), tone(1, packet)]).await;
        tokio::time::sleep_until(start + Duration::from_millis(20 * (n as u64 + 1))).await;
    }
}

/// Zero crossings a second in the middle of what was kept of a speaker.
fn pitch(sounds: &[(Speaker, Vec<i16>)], speaker: Speaker) -> usize {
    let (_, samples) = sounds.iter().find(|(own, _)| *own == speaker).expect("something was kept");
    crossings(&samples[800..samples.len() - 800])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tracks_are_heard_on_the_contact_of_the_token() {
    let site = Site::start(43_000, "").await;
    let (token, contact) = site.token().await;
    let mut phone = Softphone::new(&["one", "two"]).await;
    let offer = phone.offer().await;
    let answer = site.post(&token, &offer).await;
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    let location = answer.headers()["location"].to_str().unwrap().to_string();
    assert!(answer.headers().contains_key("etag"));
    phone.accept(&answer.text().await.unwrap()).await;
    phone.connected().await;
    talk(&mut phone, 0..100).await;
    let bearer = format!("Bearer {token}");
    let url = site.whip.replace("/whip", &location);
    let gone = site.send("DELETE", &url, &[("authorization", &bearer)], "").await;
    assert_eq!(gone.status(), 200);
    let events = site.events(ended).await;
    assert!(events.iter().all(|event| event.contact.0.to_string() == contact));
    let told: Vec<&str> = names(&events).into_iter().filter(|name| name.starts_with("kakehashi.call")).collect();
    let offered = ["call.offered", "call.ringing", "call.answered", "call.ended", "call.ended"];
    assert_eq!(told, offered.map(|name| format!("kakehashi.{name}.v1")));
    assert_eq!(end_reason(&events), EndReason::CallerHangup);
    // spent: the token opens nothing more
    assert_eq!(site.post(&token, &offer).await.status(), 401);
    assert_eq!(site.send("DELETE", &url, &[("authorization", &bearer)], "").await.status(), 404);
    let events = site.events(recorded).await;
    let sounds = kept(site.folder.path(), &events);
    let (agent, caller) = (pitch(&sounds, Speaker::Agent), pitch(&sounds, Speaker::Caller));
    println!("zero crossings a second: agent {agent}, caller {caller}");
    assert!((780..=820).contains(&agent), "the first track is the agent's: {agent}");
    assert!((1_980..=2_020).contains(&caller), "the second is the far end: {caller}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_the_streams_say_who_speaks_and_a_restart_of_ice_keeps_the_call() {
    let site = Site::start(43_100, "").await;
    let (token, _) = site.token().await;
    let mut phone = Softphone::new(&["caller", "agent"]).await;
    let offer = phone.offer().await;
    let answer = site.post(&token, &offer).await;
    assert_eq!(answer.status(), 201);
    let url = site.whip.replace("/whip", answer.headers()["location"].to_str().unwrap());
    let first = answer.headers()["etag"].to_str().unwrap().to_string();
    let answer = answer.text().await.unwrap();
    phone.accept(&answer).await;
    phone.connected().await;
    talk(&mut phone, 0..50).await;

    phone.connection.restart_ice().await.unwrap();
    let offer = phone.offer().await;
    let lines = |text: &str, keys: &[&str]| -> String {
        let wanted = |line: &&str| keys.iter().any(|key| line.starts_with(key));
        text.lines().filter(wanted).map(|line| format!("{line}\r\n")).collect()
    };
    let fragment = lines(&offer, &["a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"]);
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", SDPFRAG), ("if-match", "*")];
    let restarted = site.send("PATCH", &url, &headers, &fragment).await;
    assert_eq!(restarted.status(), 200, "{}", restarted.text().await.unwrap());
    let second = restarted.headers()["etag"].to_str().unwrap().to_string();
    assert_ne!(first, second);
    let fresh = restarted.text().await.unwrap();
    let value = |text: &str, key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_string();
    let mut again = answer.clone();
    for key in ["a=ice-ufrag:", "a=ice-pwd:"] {
        assert_ne!(value(&answer, key), value(&fresh, key), "the credentials are new");
        again = again.replace(&value(&answer, key), &value(&fresh, key));
    }
    phone.accept(&again).await;
    talk(&mut phone, 50..150).await;
    // the old ETag is no longer that of the session
    let stale = [("authorization", bearer.as_str()), ("content-type", SDPFRAG), ("if-match", first.as_str())];
    assert_eq!(site.send("PATCH", &url, &stale, "a=end-of-candidates\r\n").await.status(), 412);
    let good = [("authorization", bearer.as_str()), ("content-type", SDPFRAG), ("if-match", second.as_str())];
    assert_eq!(site.send("PATCH", &url, &good, "a=end-of-candidates\r\n").await.status(), 204);
    assert_eq!(site.send("DELETE", &url, &[("authorization", &bearer)], "").await.status(), 200);
    let events = site.events(|events| ended(events) && recorded(events)).await;
    let sounds = kept(site.folder.path(), &events);
    let (agent, caller) = (pitch(&sounds, Speaker::Agent), pitch(&sounds, Speaker::Caller));
    assert!((1_980..=2_020).contains(&agent) && (780..=820).contains(&caller), "agent {agent}, caller {caller}");
    let shortest = sounds.iter().map(|(_, samples)| samples.len()).min().unwrap();
    println!("kept after a restart of ICE: {shortest} of 24000 samples");
    assert!(shortest > 16_000, "the sound after the restart is there: {shortest} samples");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_of_whip_is_kept() {
    let more = "allow_origins = [\"https://crm.example.jp\"]\nmax_sessions = 1\nice_servers = [\"stun:stun.example.jp:3478\"]\n\
                max_tokens = 3\noffers_burst = 60\noffers_per_s = 1\n";
    let site = Site::start(43_200, more).await;
    let (one, _) = site.token().await;
    let (two, _) = site.token().await;
    let bearer = |token: &str| format!("Bearer {token}");
    let (one, two) = (bearer(&one), bearer(&two));
    let whip = site.whip.clone();
    let status = |answer: Response| answer.status().as_u16();
    let post = |headers: Vec<(&'static str, String)>, body: &str| {
        let (site, whip, body) = (&site, whip.clone(), body.to_string());
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            site.send("POST", &whip, &headers, &body).await
        }
    };
    let auth = |token: &str| ("authorization", token.to_string());
    let kind = |kind: &str| ("content-type", kind.to_string());
    assert_eq!(status(post(vec![kind(SDP)], CHROMIUM).await), 401);
    assert_eq!(status(post(vec![kind(SDP), auth("Bearer wrong")], CHROMIUM).await), 401);
    assert_eq!(status(post(vec![kind("text/plain"), auth(&one)], CHROMIUM).await), 415);
    assert_eq!(status(post(vec![kind(SDP), auth(&one), ("accept", "text/html".into())], CHROMIUM).await), 406);
    assert_eq!(status(post(vec![kind(SDP), auth(&one)], "hello").await), 400);
    assert_eq!(status(post(vec![kind(SDP), auth(&one)], "v=0\r\n").await), 422);
    assert_eq!(status(post(vec![kind(SDP), auth(&one)], &format!("v=0\r\n{}", "a=x\r\n".repeat(20_000))).await), 413);
    let elsewhere = ("origin", "https://evil.example".to_string());
    assert_eq!(status(post(vec![kind(SDP), auth(&one), elsewhere], CHROMIUM).await), 403);

    let origin = [("origin", "https://crm.example.jp"), ("access-control-request-method", "POST")];
    let preflight = site.send("OPTIONS", &whip, &origin, "").await;
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "https://crm.example.jp");
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("If-Match"));
    assert_eq!(preflight.headers()["accept-post"], SDP);

    let from_crm = vec![kind(SDP), auth(&one), ("origin", "https://crm.example.jp".to_string())];
    let created = post(from_crm, CHROMIUM).await;
    assert_eq!(created.status(), 201);
    let head = created.headers().clone();
    assert_eq!(head["content-type"], SDP);
    assert!(head["access-control-expose-headers"].to_str().unwrap().starts_with("Location, ETag, Link"));
    assert_eq!(head["link"], "<stun:stun.example.jp:3478>; rel=\"ice-server\"");
    assert_eq!(head["cache-control"], "no-store");
    let answer = created.text().await.unwrap();
    assert!(
        answer.contains("a=candidate:1 1 udp 2130706431 127.0.0.1 432") && answer.contains("a=ice-lite"),
        "{answer}"
    );
    let session = whip.replace("/whip", head["location"].to_str().unwrap());
    let etag = head["etag"].to_str().unwrap();

    assert_eq!(status(post(vec![kind(SDP), auth(&one)], CHROMIUM).await), 409);
    let full = post(vec![kind(SDP), auth(&two)], CHROMIUM).await;
    assert_eq!((full.status().as_u16(), full.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    let patch = async |headers: &[(&str, &str)], body: &str| {
        site.send("PATCH", &session, headers, body).await.status().as_u16()
    };
    let trickled =
        "a=ice-ufrag:same\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 x.local 9 typ host\r\n";
    let user = CHROMIUM.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap();
    let own = trickled.replace("same", user);
    assert_eq!(patch(&[("content-type", SDPFRAG), ("if-match", etag)], &own).await, 401);
    assert_eq!(patch(&[("authorization", &two), ("content-type", SDPFRAG), ("if-match", etag)], &own).await, 403);
    assert_eq!(patch(&[("authorization", &one), ("content-type", SDP), ("if-match", etag)], &own).await, 415);
    assert_eq!(patch(&[("authorization", &one), ("content-type", SDPFRAG)], &own).await, 428);
    assert_eq!(patch(&[("authorization", &one), ("content-type", SDPFRAG), ("if-match", "\"old\"")], &own).await, 412);
    assert_eq!(patch(&[("authorization", &one), ("content-type", SDPFRAG), ("if-match", etag)], "nothing").await, 400);
    assert_eq!(patch(&[("authorization", &one), ("content-type", SDPFRAG), ("if-match", etag)], trickled).await, 422);
    assert_eq!(patch(&[("authorization", &one), ("content-type", SDPFRAG), ("if-match", etag)], &own).await, 204);
    assert_eq!(
        patch(&[("authorization", &one), ("content-type", SDPFRAG), ("if-match", etag)], &"a=x\r\n".repeat(4_000))
            .await,
        413
    );
    let not_allowed = site.send("GET", &session, &[("authorization", &one)], "").await;
    assert_eq!(
        (not_allowed.status().as_u16(), not_allowed.headers()["allow"].to_str().unwrap()),
        (405, "PATCH, DELETE, OPTIONS")
    );
    assert_eq!(site.send("PUT", &whip, &[("authorization", &one)], "").await.status(), 405);
    assert_eq!(site.send("DELETE", &format!("{whip}/nobody"), &[("authorization", &one)], "").await.status(), 404);
    assert_eq!(site.send("DELETE", &session, &[("authorization", &two)], "").await.status(), 403);
    assert_eq!(site.send("DELETE", &session, &[("authorization", &one)], "").await.status(), 200);
    // there is room again
    let created = post(vec![kind(SDP), auth(&two)], CHROMIUM).await;
    assert_eq!(created.status(), 201, "{}", created.text().await.unwrap());
    let mut limited = 0;
    for _ in 0..80 {
        limited += usize::from(status(post(vec![kind(SDP), auth(&two)], CHROMIUM).await) == 429);
    }
    assert!(limited >= 20, "offers of one address are limited: {limited} of 80 were refused");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_with_nothing_from_elsewhere_and_may_be_left_out() {
    let site = Site::start(43_600, "").await;
    let root = site.whip.replace("/whip", "/");
    for path in ["", "page.js", "whip.js", "sound.js", "page.css", "style.css"] {
        let answer = site.send("GET", &format!("{root}{path}"), &[], "").await;
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        let body = answer.text().await.unwrap();
        for unsafe_way in ["http://", "https://", "innerHTML", "document.write", "eval(", "onclick=\"", "style=\""] {
            assert!(!body.contains(unsafe_way), "{path} has {unsafe_way}");
        }
    }
    assert_eq!(site.send("GET", &format!("{root}app.js"), &[], "").await.status(), 404, "the panel is not here");
    site.stop().await;
    let site = Site::start(43_600, "page = false\n").await;
    assert_eq!(site.send("GET", &site.whip.replace("/whip", "/"), &[], "").await.status(), 404);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_asked_for_at_the_panel_and_bounded() {
    let site = Site::start(43_300, "max_tokens = 2\n").await;
    let status = async |wish: Value| site.ask(wish).await.status().as_u16();
    assert_eq!(status(json!({})).await, 400);
    assert_eq!(status(json!({"pbx": "softphones", "called": "1", "extension": ""})).await, 400);
    assert_eq!(status(json!({"pbx": "softphones", "called": "1", "extension": "2001", "line": 1})).await, 400);
    assert_eq!(status(json!({"pbx": "nowhere", "called": "1", "extension": "2001"})).await, 422);
    assert_eq!(
        status(json!({"pbx": "softphones", "called": "1", "extension": "2001", "tracks": ["agent", "agent"]})).await,
        422
    );
    assert_eq!(status(json!({"contact": uuid::Uuid::nil(), "extension": "2001"})).await, 404);
    let (_, contact) = site.token().await;
    // a second agent joins the same contact with a leg of her own
    let answer = site.ask(json!({"contact": contact, "extension": "2002", "tracks": ["agent"]})).await;
    assert_eq!(answer.status(), 201);
    let opened: Value = answer.json().await.unwrap();
    assert_eq!(opened["contact"], json!(contact));
    let digest = opened["key"]["value"].as_str().unwrap();
    assert_eq!((digest.len(), opened["key"]["kind"].as_str()), (64, Some("token")));
    assert!(!opened["token"].as_str().unwrap().contains(digest));
    assert_eq!(status(json!({"pbx": "softphones", "called": "1", "extension": "2001"})).await, 503);
    let events = site
        .events(|events| events.iter().filter(|event| matches!(event.data, Data::CallRinging(_))).count() == 2)
        .await;
    assert!(events.iter().all(|event| event.contact.0.to_string() == contact));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_connects_ends_alone_and_its_token_may_try_again() {
    let site = Site::start(43_400, "connect_ms = 1000\ntoken_ms = 4000\n").await;
    let (token, contact) = site.token().await;
    assert_eq!(site.post(&token, CHROMIUM).await.status(), 201);
    let mut tries = 0;
    while site.post(&token, CHROMIUM).await.status() != 201 {
        tries += 1;
        assert!(tries < 200, "the first call is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let events = site.events(ended).await;
    assert_eq!(end_reason(&events), EndReason::Failed);
    assert!(events.iter().all(|event| event.contact.0.to_string() == contact));
    assert!(!events.iter().any(|event| matches!(event.data, Data::CallAnswered(_))));
    site.stop().await;
}

/// The offer as the media stack is given it.
fn restated(offer: &str) -> String {
    use kakehashi::pbx::web::{answer, offer::Offer};
    Offer::read(offer.as_bytes(), 2)
        .map_or_else(|error| error.to_string(), |offer| answer::restated(&offer, &offer.ice, 1))
}

/// Mutated requests on connections of their own, and mutated STUN, DTLS and SRTP for the media port of a call; it and others go on.
#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_send_hurts_nobody() {
    const REQUESTS: u64 = 1_500;
    const OFFERS: u64 = 40;
    const DATAGRAMS: u64 = 30_000;
    let site = Site::start(43_500, "offers_per_s = 0\nmax_sessions = 100\nsilence_ms = 60000\n").await;
    let (token, _) = site.token().await;
    let mut phone = Softphone::new(&["one", "two"]).await;
    let offer = phone.offer().await;
    let answer = site.post(&token, &offer).await;
    let session = site.whip.replace("/whip", answer.headers()["location"].to_str().unwrap());
    let answer = answer.text().await.unwrap();
    phone.accept(&answer).await;
    phone.connected().await;
    talk(&mut phone, 0..25).await;

    let port: u16 = answer.split(" 127.0.0.1 ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let mut dice = mutate::Dice(7);
    // a binding request, a client hello and an RTP packet, as far as they go
    let stun = [&[0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12], &[0, 6, 0, 4], b"a:bc"].concat();
    let hello =
        [&[22, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8][..], &[254, 253], &[1; 60]]
            .concat();
    let rtp = [&[0x80, 0, 0, 1, 0, 0, 0, 1, 0x11, 0x11, 0, 1][..], &[0xd5; 160]].concat();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(("127.0.0.1", port)).unwrap();
    for n in 0..DATAGRAMS {
        let whole = [&stun, &hello, &rtp][dice.below(3)];
        let _ = stranger.send(&mutate::mutate(dice.roll(), whole));
        if n.is_multiple_of(500) {
            // in time with the call, so that the socket's buffer is not the only one that is tried
            talk(&mut phone, 25..27).await;
        }
    }

    let listen = site.whip.trim_start_matches("http://").trim_end_matches("/whip").to_string();
    let whole = format!(
        "POST /whip HTTP/1.1\r\nHost: {listen}\r\nAuthorization: Bearer {token}\r\nContent-Type: {SDP}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{CHROMIUM}",
        CHROMIUM.len()
    );
    let mut answered = 0;
    for n in 0..REQUESTS {
        let bytes = mutate::mutate(n, whole.as_bytes());
        answered += tokio::task::block_in_place(|| {
            let mut stream = TcpStream::connect(&listen).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut text = Vec::new();
            let _ = stream.read_to_end(&mut text);
            u64::from(text.starts_with(b"HTTP/1.1 "))
        });
    }
    assert!(answered > REQUESTS / 2, "{answered} of {REQUESTS} requests were answered");
    let mut taken = 0;
    for n in 0..OFFERS {
        let (token, _) = site.token().await;
        let offer = String::from_utf8_lossy(&mutate::mutate(n, CHROMIUM.as_bytes())).into_owned();
        let answer = site.post(&token, &offer).await;
        let (status, said) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(
            [201, 400, 413, 422].contains(&status),
            "{status} {said} to case {n}: what we take the media stack can answer:\n{}",
            restated(&offer)
        );
        taken += u64::from(status == 201);
    }
    println!(
        "{answered} of {REQUESTS} mutated requests got an answer; {taken} of {OFFERS} mutated offers were answered by the media stack"
    );
    assert!(taken >= 5);
    talk(&mut phone, 27..77).await;
    let bearer = format!("Bearer {token}");
    assert_eq!(site.send("DELETE", &session, &[("authorization", &bearer)], "").await.status(), 200);
    let events = site.events(recorded).await;
    let sounds = kept(site.folder.path(), &events);
    assert!(sounds.iter().all(|(_, samples)| samples.len() >= 75 * 160), "the call went on");
    site.stop().await;
}

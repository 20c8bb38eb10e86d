//! `kakehashi probe` over real sockets: an exchange by script, the bridge itself, peers that answer nonsense or never end, and the program.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kakehashi::bridge::probe::{Plan, SipPlan, User, run};
use kakehashi::media::secure::{Secure, Sender};
use kakehashi::pbx::asterisk;
use kakehashi::pbx::sip::message::{Message, Start};
use kakehashi::pbx::sip::request::answer;
use kakehashi::pbx::sip::sdes::{Crypto, Key, Suite};
use kakehashi::pbx::sip::wire::{Limits, read_datagram, write};
use kakehashi::pbx::sip::{Settings, TlsClient};
use kakehashi::probe::facts::{Facts, Failure, Offered, Tried, Way};
use kakehashi::probe::report::{Circumstances, Report};
use kakehashi::probe::{Lang, State, html, text};
use kakehashi::time::Mono;
use tokio::sync::watch;

#[path = "common/sip.rs"]
mod sip;
#[path = "common/tls.rs"]
mod tls;

/// A number and a name that must not be in any report.
const NUMBER: &str = "0663621234";
const NAME: &str = "Hashimoto Hanako";

/// Every request that an exchange by script was sent.
type Log = Arc<Mutex<Vec<Message>>>;

/// An exchange of one UDP socket: `script` says what is sent back, in order.
fn exchange(script: impl Fn(&Message, SocketAddr) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, Log) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let log = Log::default();
    let seen = log.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((size, from)) = socket.recv_from(&mut buffer) {
            let Ok(Some(message)) = read_datagram(&buffer[..size], &Limits::of(65_535)) else { continue };
            seen.lock().unwrap().push(message.clone());
            for bytes in script(&message, from) {
                let _ = socket.send_to(&bytes, from);
            }
        }
    });
    (at, log)
}

fn method(message: &Message) -> &str {
    match &message.start {
        Start::Request { method, .. } => method,
        Start::Response { .. } => "",
    }
}

fn methods(log: &Log) -> Vec<String> {
    log.lock().unwrap().iter().map(|message| method(message).to_string()).collect()
}

fn count(methods: &[String], name: &str) -> usize {
    methods.iter().filter(|method| *method == name).count()
}

/// What the exchange was sent, once it has noted this: its thread may be behind by a moment.
async fn noted(log: &Log, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    for _ in 0..2_000 {
        if enough(&methods(log)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    methods(log)
}

fn plan(at: SocketAddr) -> Plan {
    // nothing listens on port 1
    Plan { sip: Some(SipPlan { host: at.ip().to_string(), port: at.port(), tls_port: 1 }), ..Plan::default() }
}

async fn look(plan: &Plan) -> Facts {
    let (_keep, stop) = watch::channel(false);
    run(plan, stop).await
}

fn report(facts: &Facts) -> Report {
    Report::of(facts, Circumstances::default())
}

fn state(report: &Report, id: &str) -> State {
    report.checks.iter().find(|checked| checked.id == id).unwrap_or_else(|| panic!("{id}")).state
}

/// Answers as an exchange that wants a digest, takes µ-law only, and sends two seconds of RTP.
fn script(message: &Message, from: SocketAddr) -> Vec<Vec<u8>> {
    let reply = |code: u16, reason: &str, more: &[(&str, &str)], body: &str| {
        let mut message = answer(message, code, reason, "pbx");
        for (name, value) in more {
            message.push(name, *value);
        }
        message.body = body.as_bytes().to_vec();
        vec![write(&message)]
    };
    let challenge = [
        ("WWW-Authenticate", "Digest realm=\"pbx\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\""),
        ("WWW-Authenticate", "Digest realm=\"pbx\", nonce=\"n1\", algorithm=MD5, qop=\"auth\""),
    ];
    let server = ("Server", "Denwa PBX 4.2 <script>");
    match method(message) {
        "OPTIONS" => reply(200, "OK", &[server, ("Allow", "INVITE, ACK, BYE"), ("Supported", "timer, replaces")], ""),
        "REGISTER" | "INVITE" if message.count("Authorization") == 0 => reply(401, "Unauthorized", &challenge, ""),
        "REGISTER" => reply(200, "OK", &[("Expires", "60")], ""),
        "INVITE" => {
            let offer = String::from_utf8_lossy(&message.body).into_owned();
            if !offer.contains("RTP/AVP 0 101") {
                return reply(488, "Not Acceptable Here", &[], "");
            }
            let to = SocketAddr::new(from.ip(), sip::audio_ports(&offer)[0]);
            let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = rtp.local_addr().unwrap().port();
            std::thread::spawn(move || {
                for n in 0..100 {
                    let _ = rtp.send_to(&sip::packet(0, n, &[0x7f; 160]), to);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let body = format!(
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
            );
            let contact = format!("<sip:{NUMBER}@{from}>");
            let named = format!("\"{NAME}\" <sip:{NUMBER}@pbx>");
            let more = [
                ("Contact", contact.as_str()),
                ("P-Asserted-Identity", named.as_str()),
                ("Session-Expires", "1800;refresher=uas"),
                ("Content-Type", "application/sdp"),
            ];
            reply(200, &format!("OK {NUMBER}"), &more, &body)
        }
        "ACK" => vec![],
        _ => reply(200, "OK", &[], ""),
    }
}

#[tokio::test]
async fn an_exchange_by_script_is_seen_as_it_is() {
    let (at, log) = exchange(script);
    let plan = Plan {
        user: Some(User { name: "101".into(), username: "101".into(), password: "secret-word".into() }),
        test_number: Some("7900".into()),
        ..plan(at)
    };
    let facts = look(&plan).await;
    let register = facts.register.got().unwrap();
    assert_eq!(
        (register.algorithms.as_slice(), register.qop),
        (["SHA-256".to_string(), "MD5".into()].as_slice(), true)
    );
    assert!(register.removed);
    let pcmu = facts.call(Offered::Pcmu).got().unwrap();
    assert!(pcmu.accepted);
    assert_eq!(pcmu.timer, Some((1_800, "uas".into())));
    let sound = pcmu.sound.as_ref().unwrap();
    assert!(sound.packets > 50 && sound.ptime_ms == 20, "{sound:?}");
    for offered in [Offered::Pcma, Offered::G722, Offered::Opus, Offered::Sdes, Offered::Dtls] {
        assert!(matches!(facts.call(offered), Tried::Failed(Failure::Status(488, _))), "{offered:?}");
    }
    let report = report(&facts);
    assert_eq!((state(&report, "sip.tcp"), state(&report, "sip.tls")), (State::Fail, State::Fail));
    assert_eq!((state(&report, "sip.methods"), state(&report, "sip.timer")), (State::Fail, State::Pass));
    for shown in [text::print(&report, Lang::Ja), text::print(&report, Lang::En), report.json(), html::page(&report)] {
        assert!(!shown.contains(NUMBER) && !shown.contains(NAME) && !shown.contains("secret-word"), "{shown}");
    }
    let methods = noted(&log, |methods| count(methods, "ACK") >= count(methods, "INVITE")).await;
    assert_eq!(count(&methods, "BYE"), 1, "the call that was answered was ended");
    assert_eq!(count(&methods, "ACK"), count(&methods, "INVITE"), "every answer was acknowledged");
}

/// Answers a call with SDES and sends two seconds of SRTP, with the key that it told or with another one.
fn encrypted(message: &Message, from: SocketAddr, honest: bool) -> Vec<Vec<u8>> {
    let offer = String::from_utf8_lossy(&message.body).into_owned();
    if method(message) != "INVITE" || !offer.contains("RTP/SAVP 0 101") || offer.contains("UDP/TLS") {
        return script(message, from);
    }
    if message.count("Authorization") == 0 {
        return script(message, from);
    }
    let key = |seed: u8| Key::new(Suite::AesCm128Sha1Tag80, &[seed; 30]).unwrap();
    let (to, rtp) = (SocketAddr::new(from.ip(), sip::audio_ports(&offer)[0]), UdpSocket::bind("127.0.0.1:0").unwrap());
    let port = rtp.local_addr().unwrap().port();
    let crypto = offer.lines().find_map(|line| line.strip_prefix("a=crypto:")).and_then(Crypto::parse).unwrap();
    std::thread::spawn(move || {
        let mut sender = Sender::new(&key(if honest { 1 } else { 2 })).unwrap();
        // what the probe says is encrypted with the key that it offered
        let mut space = [0; 2_048];
        let (length, _) = rtp.recv_from(&mut space).unwrap();
        let mut theirs = Secure::new(&crypto.keys, &key(1)).unwrap();
        assert!(theirs.open_rtp(Mono(0), &space[..length]).is_ok(), "the probe's own packets are protected");
        for n in 0..100 {
            let _ = rtp.send_to(&sender.protect(&sip::packet(0, n, &[0x7f; 160])).unwrap(), to);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let mut ok = answer(message, 200, "OK", "pbx");
    ok.push("Contact", format!("<sip:pbx@{from}>"));
    ok.push("Content-Type", "application/sdp");
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/SAVP 0\r\na=crypto:{}\r\n",
        Crypto::print(1, &key(1))
    );
    ok.body = body.into_bytes();
    vec![write(&ok)]
}

#[tokio::test]
async fn encrypted_sound_is_decrypted_and_counted_and_another_key_is_told() {
    let look_at = async |honest: bool| {
        let (at, _) = exchange(move |message, from| encrypted(message, from, honest));
        let user = Some(User { name: "101".into(), username: "101".into(), password: "secret-word".into() });
        look(&Plan { user, test_number: Some("7900".into()), ..plan(at) }).await
    };
    let (good, bad) = tokio::join!(look_at(true), look_at(false));
    let secured = good.call(Offered::Sdes).got().unwrap().secured.clone().unwrap();
    assert!(secured.opened > 50 && secured.refused == 0, "{secured:?}");
    assert_eq!(secured.suite, "AES_CM_128_HMAC_SHA1_80");
    let wrong = bad.call(Offered::Sdes).got().unwrap().secured.clone().unwrap();
    assert!(wrong.opened == 0 && wrong.refused > 50, "{wrong:?}");
    let (good, bad) = (report(&good), report(&bad));
    assert_eq!((state(&good, "srtp.sdes"), state(&bad, "srtp.sdes")), (State::Pass, State::Fail));
    let shown = text::print(&good, Lang::En);
    assert!(shown.contains(&format!("{} packets decrypted, 0 failed authentication", secured.opened)), "{shown}");
    assert!(html::page(&bad).contains(&format!("復号できた 0 パケット、認証失敗 {}", wrong.refused)));
}

#[tokio::test]
async fn the_bridge_itself_answers_a_probe() {
    let mut bridge = sip::Wanted::new(23_400).start().await.unwrap();
    let plan = Plan { test_number: Some("7001".into()), ..plan(bridge.udp()) };
    let facts = look(&plan).await;
    assert_eq!(facts.options(Way::Udp).got().unwrap().status, 200);
    assert!(facts.call(Offered::Pcmu).got().unwrap().accepted);
    assert!(facts.call(Offered::Pcma).got().unwrap().accepted);
    // what was begun was ended: the bridge says so of each call
    let mut ended = 0;
    while ended < 2 {
        ended += usize::from(matches!(bridge.signal().await, kakehashi::pbx::Signal::LegEnded { .. }));
    }
}

#[tokio::test]
async fn the_encrypted_call_goes_by_tls_where_the_exchange_speaks_it() {
    let (authority, files) = (tls::Authority::new(), tls::Files::new());
    let own = files.settings(&authority, &authority.issue(&["127.0.0.1"]));
    let settings = Settings { tls_client: TlsClient::Off, ..own };
    let bridge = sip::Wanted { settings, ..sip::Wanted::new(23_700) }.start().await.unwrap();
    let mut plan = plan(bridge.udp());
    plan.sip.as_mut().unwrap().tls_port = bridge.tls().port();
    plan.test_number = Some("7001".into());
    let facts = look(&plan).await;
    let (plain, sdes) = (facts.call(Offered::Pcmu).got().unwrap(), facts.call(Offered::Sdes).got().unwrap());
    assert_eq!((plain.way, sdes.way, sdes.not_by_tls.clone()), (Way::Udp, Way::Tls, None));
    assert!(sdes.accepted);
    // the bridge listens and says nothing, in the clear either: that is no fault of its encryption
    assert_eq!(state(&report(&facts), "srtp.sdes"), State::Unknown);
    assert_eq!(bridge.sip.counters().uas.keys_in_the_clear, 0, "the keys were sent by TLS only");
}

/// Looks at a bridge of `name` that asks for certificates as `client` says.
async fn look_by_tls(name: &str, client: TlsClient, own: bool, first: u16) -> Report {
    let (authority, files) = (tls::Authority::new(), tls::Files::new());
    let settings = Settings { tls_client: client, ..files.settings(&authority, &authority.issue(&[name])) };
    let bridge = sip::Wanted { settings, ..sip::Wanted::new(first) }.start().await.unwrap();
    let mut plan = plan(bridge.udp());
    plan.sip.as_mut().unwrap().tls_port = bridge.tls().port();
    plan.ca_file = Some(files.path("authority.pem"));
    plan.certificate = own.then(|| (files.path("own.pem"), files.path("own.key")));
    report(&look(&plan).await)
}

#[tokio::test]
async fn certificates_are_described_and_shown_where_they_are_asked_for() {
    let (good, other, without, with) = tokio::join!(
        look_by_tls("127.0.0.1", TlsClient::Off, false, 23_500),
        look_by_tls("pbx.example", TlsClient::Off, false, 23_550),
        look_by_tls("127.0.0.1", TlsClient::Required, false, 23_600),
        look_by_tls("127.0.0.1", TlsClient::Required, true, 23_650),
    );
    let both = |report: &Report| (state(report, "sip.tls"), state(report, "sip.certificate"));
    assert_eq!(both(&good), (State::Pass, State::Pass));
    assert_eq!(both(&other), (State::Pass, State::Fail), "another name than the one that was asked for");
    assert_eq!(both(&without), (State::Unknown, State::Pass), "{}", text::print(&without, Lang::En));
    assert!(text::print(&without, Lang::En).contains("--tls-certificate"));
    assert_eq!(both(&with), (State::Pass, State::Pass));
}

#[tokio::test]
async fn a_telephone_that_only_rings_is_given_up_and_its_call_taken_back() {
    let (at, log) = exchange(|message, _| match method(message) {
        "INVITE" => vec![write(&answer(message, 180, "Ringing", "pbx"))],
        "ACK" => vec![],
        "CANCEL" => {
            let mut invite = message.clone();
            for header in invite.headers.iter_mut().filter(|header| header.name == "CSeq") {
                header.value = b"1 INVITE".to_vec();
            }
            vec![write(&answer(message, 200, "OK", "pbx")), write(&answer(&invite, 487, "Terminated", "pbx"))]
        }
        _ => vec![write(&answer(message, 200, "OK", "pbx"))],
    });
    let (sender, stop) = watch::channel(false);
    let plan = Plan { test_number: Some("7900".into()), ..plan(at) };
    let work = tokio::spawn(async move { run(&plan, stop).await });
    assert!(count(&noted(&log, |methods| count(methods, "INVITE") > 0).await, "INVITE") > 0, "nobody was called");
    sender.send(true).unwrap();
    let facts = work.await.unwrap();
    assert!(facts.call(Offered::Pcmu).got().is_none());
    let methods = noted(&log, |methods| count(methods, "ACK") > 0).await;
    assert!(count(&methods, "ACK") > 0, "the answer to the call that was taken back is acknowledged: {methods:?}");
    assert_eq!(count(&methods, "INVITE"), 1, "after the wish to stop nothing is begun: {methods:?}");
    assert!(count(&methods, "CANCEL") > 0, "{methods:?}");
}

/// A TCP peer that does `work` with everybody who comes.
fn stream(work: impl Fn(&mut std::net::TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let work = Arc::new(work);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let work = work.clone();
            std::thread::spawn(move || work(&mut stream));
        }
    });
    at
}

#[tokio::test]
async fn peers_that_answer_nonsense_or_without_end_give_a_reason() {
    let ok = |message: &Message| write(&answer(message, 200, "OK", "x"));
    let udp: Vec<(&str, SocketAddr)> = vec![
        ("nothing", exchange(|_, _| vec![]).0),
        ("garbage", exchange(|_, _| vec![vec![0xff; 900]]).0),
        (
            "another's answer",
            exchange(move |message, _| {
                let mut other = message.clone();
                for header in other.headers.iter_mut().filter(|header| header.name == "Call-ID") {
                    header.value = b"somebody else".to_vec();
                }
                vec![ok(&other)]
            })
            .0,
        ),
        ("trying for ever", exchange(|message, _| vec![write(&answer(message, 100, "Trying", "x"))]).0),
        (
            "a flood",
            exchange(|message, _| {
                let mut long = answer(message, 183, "Progress", "x");
                long.push("X", vec![b'x'; 8_000]);
                vec![write(&long); 400]
            })
            .0,
        ),
        ("a request instead", exchange(|message, _| vec![write(message)]).0),
    ];
    let tcp: Vec<(&str, SocketAddr)> = vec![
        ("closed at once", stream(|_| Ok(()))),
        ("silence", stream(|stream| stream.read(&mut [0; 9_000]).map(|_| std::thread::sleep(Duration::from_secs(30))))),
        (
            "no line end",
            stream(|stream| {
                loop {
                    stream.write_all(&[b'a'; 4_096])?
                }
            }),
        ),
        (
            "endless headers",
            stream(|stream| {
                stream.write_all(b"SIP/2.0 200 OK\r\n")?;
                loop {
                    stream.write_all(b"X: y\r\n")?
                }
            }),
        ),
        (
            "endless keep-alive",
            stream(|stream| {
                loop {
                    stream.write_all(b"\r\n\r\n")?
                }
            }),
        ),
        (
            "a byte now and then",
            stream(|stream| {
                loop {
                    stream.write_all(b"S")?;
                    std::thread::sleep(Duration::from_millis(50));
                }
            }),
        ),
        ("HTTP", stream(|stream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"))),
    ];
    let udp = udp.into_iter().map(|(name, at)| (name, at, Way::Udp));
    let all = udp.chain(tcp.into_iter().map(|(name, at)| (name, at, Way::Tcp)));
    let looks = all.map(|(name, at, way)| async move { (name, look(&plan(at)).await, way) });
    for (name, facts, way) in futures_util::future::join_all(looks).await {
        let failure = facts.options(way).failure().unwrap_or_else(|| panic!("{name}: {:?}", facts.options(way)));
        assert!(!failure.text().ja.is_empty());
        let report = report(&facts);
        assert_ne!(report.verdict.state, State::Pass, "{name}");
        assert!(html::page(&report).len() < 200_000, "{name}");
    }
}

#[tokio::test]
async fn an_ari_that_is_something_else_gives_a_reason() {
    let http = |status: &'static str, body: &'static str| {
        stream(move |stream| {
            let mut request = [0; 4_096];
            while stream.read(&mut request)? > 0 {
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
            }
            Ok(())
        })
    };
    let endless = stream(|stream| {
        let _ = stream.read(&mut [0; 4_096])?;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            stream.write_all(&[b'['; 65_536])?;
        }
    });
    let peers = [
        (http("200 OK", "<html>"), "ari.reach", "unusable"),
        (http("401 Unauthorized", "{}"), "ari.user", "401"),
        (http("404 Not Found", "{}"), "ari.reach", "404"),
        (stream(|_| Ok(())), "ari.reach", "no answer"),
        (endless, "ari.reach", "no answer"),
        ("127.0.0.1:1".parse().unwrap(), "ari.reach", "refused"),
    ];
    let looks = peers.map(|(at, id, reason)| async move {
        let url = format!("http://{at}/ari");
        let ari = Some(asterisk::Settings { url, rtp_host: String::new(), ..asterisk::Settings::default() });
        (look(&Plan { ari, ..Plan::default() }).await, id, reason)
    });
    for (facts, id, reason) in futures_util::future::join_all(looks).await {
        let report = report(&facts);
        let checked = report.checks.iter().find(|checked| checked.id == id).unwrap();
        assert_eq!(checked.state, State::Fail, "{id} {reason}");
        assert!(checked.evidence.en.contains(reason), "{id}: {}", checked.evidence.en);
        assert_eq!(state(&report, "ari.media"), State::Unknown);
    }
}

#[tokio::test]
async fn what_the_probe_made_is_removed_also_when_a_step_fails() {
    // takes everything, and tells no event: no StasisStart ever comes
    let deleted = Arc::new(Mutex::new(Vec::new()));
    let websocket = Arc::new(AtomicBool::new(false));
    let (log, opened) = (deleted.clone(), websocket.clone());
    let at = stream(move |stream| {
        let mut request = [0; 8_192];
        loop {
            let size = stream.read(&mut request)?;
            if size == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&request[..size]).into_owned();
            let line = text.lines().next().unwrap_or_default().to_string();
            if line.contains("/events?") {
                opened.store(true, Ordering::SeqCst);
                let key = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
                let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.trim().as_bytes());
                write!(
                    stream,
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                )?;
                continue;
            }
            if line.starts_with("DELETE") {
                log.lock().unwrap().push(line.clone());
            }
            let body = if line.contains("/info") {
                r#"{"system":{"version":"22.10.1"}}"#
            } else if line.contains("modules") {
                "[]"
            } else {
                r#"{"id":"x"}"#
            };
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        }
    });
    let ari = Some(asterisk::Settings { url: format!("http://{at}/ari"), ..asterisk::Settings::default() });
    let facts = look(&Plan { ari, ..Plan::default() }).await;
    assert!(websocket.load(Ordering::SeqCst));
    assert!(matches!(facts.ari.media, Tried::Failed(Failure::Garbage(_))), "{:?}", facts.ari.media);
    assert!(facts.ari.left_behind.is_empty());
    let deleted = deleted.lock().unwrap().clone();
    assert!(deleted.iter().any(|line| line.contains(".party-a ")), "{deleted:?}");
    assert_eq!(state(&report(&facts), "ari.events"), State::Fail, "a socket without events is no event socket");
}

fn program(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kakehashi")).arg("probe").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_program_says_by_its_exit_code_what_came_of_it() {
    let (code, _, error) = program(&[]);
    assert!(code == Some(2) && error.contains("--sip HOST"), "{error}");
    let (code, _, error) = program(&["--sip", "h", "--user", "101", "--password-file", "/nowhere/password"]);
    assert!(code == Some(2) && error.contains("/nowhere/password"), "{error}");
    let (code, _, error) = program(&["--config", "config/minimal.toml", "--pbx", "no-such"]);
    assert!(code == Some(2) && error.contains("no-such"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let (at, _) = exchange(script);
    let (host, page_path) = (at.to_string(), page.to_str().unwrap().to_string());
    let (code, json, _) = program(&["--sip", &host, "--json", "--report", &page_path]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, json["schema"].as_str()), (Some(3), Some("kakehashi.probe/1")));
    assert_eq!(json["calls_placed"], false);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("未確定") && page.contains("&lt;script&gt;") && !page.contains("<script"));
    let (_, english, _) = program(&["--sip", &host, "--lang", "en"]);
    assert!(english.contains("Knock-out conditions") && english.contains("Denwa PBX 4.2"), "{english}");
}

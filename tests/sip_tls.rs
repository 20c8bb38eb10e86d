//! SIP over TLS with real sockets: whole calls, certificates that change while calls run, certificates of others, calling back.

#[path = "common/sip.rs"]
mod bridge;
#[path = "common/tls.rs"]
mod secure;

use std::sync::Arc;
use std::time::Duration;

use bridge::{Bridge, PATIENCE, SDP, Wanted, code, request, to_tag};
use kakehashi::pbx::Signal;
use kakehashi::pbx::sip::{PeerSettings, TlsClient};
use rcgen::date_time_ymd;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use secure::{Authority, Files, client, connect, ends, read_message, tcp_from, write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// An authority, the bridge's settings by it, and the files behind them.
fn site() -> (Authority, Files, Wanted) {
    let (authority, files) = (Authority::new(), Files::new());
    let settings = files.settings(&authority, &authority.issue(&["bridge.example.jp"]));
    (authority, files, Wanted { settings, ..Wanted::new(27_000) })
}

fn with_tls(text: String) -> String {
    text.replace("@127.0.0.1>\r\nContent-Type", "@127.0.0.1;transport=tls>\r\nContent-Type")
}

/// A call up to its ACK; gives our tag and the 200.
async fn answered(stream: &mut TlsStream<TcpStream>, call: &str, uri: &str) -> (String, String) {
    let via = "TLS 127.0.0.1:5061;alias";
    let ask = |method: &str, tag: &str, body: &str| {
        with_tls(request(method, call, via, 1, tag, body)).replacen("sip:7001@127.0.0.1", uri, 1)
    };
    write(stream, &ask("INVITE", "", SDP)).await;
    let mut answer = read_message(stream).await;
    while code(&answer) < 200 {
        assert!(answer.contains("\r\nVia: SIP/2.0/TLS 127.0.0.1:5061"), "{answer}");
        answer = read_message(stream).await;
    }
    assert_eq!(code(&answer), 200, "{answer}");
    let tag = to_tag(&answer);
    write(stream, &ask("ACK", &tag, "")).await;
    (tag, answer)
}

async fn call_works(bridge: &mut Bridge, stream: &mut TlsStream<TcpStream>, call: &str) {
    let (tag, _) = answered(stream, call, "sip:7001@127.0.0.1").await;
    write(stream, &request("BYE", call, "TLS 127.0.0.1:5061", 2, &tag, "")).await;
    assert_eq!(code(&read_message(stream).await), 200);
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
}

#[tokio::test]
async fn a_call_by_tls_1_2_and_1_3_is_answered_and_hung_up_on_its_own_connection() {
    for (version, call) in [(&TLS12, "twelve"), (&TLS13, "thirteen")] {
        let (authority, _files, wanted) = site();
        let mut bridge = wanted.start().await.unwrap();
        let connector = client(&authority, Some(&authority.issue(&["pbx.example.jp"])), &[version]);
        let mut stream = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        let (_, answer) = answered(&mut stream, call, "sip:7001@127.0.0.1").await;
        let contact = format!("Contact: <sip:kakehashi@127.0.0.1:{};transport=tls>\r\n", bridge.tls().port());
        assert!(answer.contains(&contact), "{answer}");
        bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
        let stopping = tokio::spawn(bridge.sip.stop());
        let bye = read_message(&mut stream).await;
        assert!(bye.starts_with("BYE sip:0663621234@") && bye.contains("Via: SIP/2.0/TLS 127.0.0.1:"), "{bye}");
        let copied = bye.lines().filter(|line| line.starts_with("Via") || line.starts_with("CSeq"));
        let copied = copied.collect::<Vec<_>>().join("\r\n");
        write(&mut stream, &format!("SIP/2.0 200 OK\r\n{copied}\r\nContent-Length: 0\r\n\r\n")).await;
        stopping.await.unwrap();
    }
}

#[tokio::test]
async fn sips_is_taken_over_tls_only_and_answered_with_a_sips_contact() {
    let (authority, _files, wanted) = site();
    let bridge = wanted.start().await.unwrap();
    let connector = client(&authority, Some(&authority.issue(&["pbx.example.jp"])), &BOTH);
    let mut stream = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    let (_, answer) = answered(&mut stream, "secure", "sips:7001@127.0.0.1").await;
    let contact = format!("Contact: <sips:kakehashi@127.0.0.1:{}>\r\n", bridge.tls().port());
    assert!(answer.contains(&contact), "{answer}");
    let mut plain = TcpStream::connect(bridge.tcp()).await.unwrap();
    let sips = request("INVITE", "plain", "TCP 127.0.0.1:9", 1, "", SDP).replacen("sip:7001", "sips:7001", 1);
    write(&mut plain, &sips).await;
    assert_eq!(code(&read_message(&mut plain).await), 416);
    bridge.sip.stop().await;
}

#[tokio::test]
async fn who_shows_no_certificate_of_the_authority_gets_nothing() {
    let (authority, _files, wanted) = site();
    let mut bridge = wanted.start().await.unwrap();
    let (other, past) = (Authority::new(), |params: &mut rcgen::CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let strangers =
        [None, Some(other.issue(&["pbx.example.jp"])), Some(authority.issue_with(&["pbx.example.jp"], past))];
    for stranger in &strangers {
        for version in BOTH {
            let connector = client(&authority, stranger.as_ref(), &[version]);
            // by TLS 1.3 the client learns of the refusal when it reads
            if let Ok(mut stream) = connect(&connector, "bridge.example.jp", bridge.tls()).await {
                let _ = stream.write_all(request("OPTIONS", "stranger", "TLS 127.0.0.1", 1, "", "").as_bytes()).await;
                assert!(ends(&mut stream).await);
            }
        }
    }
    let mut plain = TcpStream::connect(bridge.tls()).await.unwrap();
    write(&mut plain, &request("OPTIONS", "plain", "TCP 127.0.0.1:9", 1, "", "")).await;
    let counters = bridge.counted(|counters| counters.handshakes_failed == 7 && counters.connections == 0).await;
    assert_eq!(counters.uas.requests, 0);
    let connector = client(&authority, Some(&authority.issue(&["pbx.example.jp"])), &BOTH);
    let mut stream = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    call_works(&mut bridge, &mut stream, "known").await;
    bridge.sip.stop().await;
}

#[tokio::test]
async fn an_address_of_no_exchange_does_not_even_get_a_handshake() {
    let (authority, _files, mut wanted) = site();
    wanted.peers = "127.0.0.1/32";
    let bridge = wanted.start().await.unwrap();
    let connector = client(&authority, Some(&authority.issue(&["pbx.example.jp"])), &BOTH);
    let mut stream = tcp_from("127.0.0.66", bridge.tls()).await;
    assert!(ends(&mut stream).await, "bytes were sent to a stranger");
    let stream = tcp_from("127.0.0.66", bridge.tls()).await;
    let name = rustls::pki_types::ServerName::try_from("bridge.example.jp").unwrap();
    assert!(connector.connect(name, stream).await.is_err());
    let counters = bridge.counted(|counters| counters.uas.untrusted == 2).await;
    assert_eq!((counters.connections, counters.handshakes_failed), (0, 0));
    bridge.sip.stop().await;
}

#[tokio::test]
async fn an_optional_certificate_may_be_missing_but_not_wrong() {
    let (authority, _files, mut wanted) = site();
    wanted.settings.tls_client = TlsClient::Optional;
    let mut bridge = wanted.start().await.unwrap();
    let connector = client(&authority, None, &BOTH);
    let mut stream = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    call_works(&mut bridge, &mut stream, "without").await;
    let other = Authority::new().issue(&["pbx.example.jp"]);
    if let Ok(mut stream) = connect(&client(&authority, Some(&other), &BOTH), "bridge.example.jp", bridge.tls()).await {
        assert!(ends(&mut stream).await);
    }
    bridge.counted(|counters| counters.handshakes_failed == 1).await;
    bridge.sip.stop().await;
}

#[tokio::test]
async fn an_exchange_with_names_is_heard_with_one_of_them_and_by_nothing_but_tls() {
    let (authority, _files, mut wanted) = site();
    let names = ["pbx.example.jp", "192.0.2.7"].map(String::from).to_vec();
    wanted.exchange = PeerSettings { tls_names: names, ..PeerSettings::default() };
    let mut bridge = wanted.start().await.unwrap();
    let good = [&["PBX.example.jp"][..], &["sip:pbx.example.jp"], &["other.example.jp", "192.0.2.7"]];
    for (n, names) in good.iter().enumerate() {
        let connector = client(&authority, Some(&authority.issue(names)), &BOTH);
        let mut stream = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
        call_works(&mut bridge, &mut stream, &format!("named-{n}")).await;
    }
    for names in [&["other.example.jp"][..], &["*.example.jp"], &["sip:user@pbx.example.jp"], &["192.0.2.8"], &[]] {
        let connector = client(&authority, Some(&authority.issue(names)), &BOTH);
        let mut stream = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
        assert!(ends(&mut stream).await, "{names:?}");
    }
    bridge.counted(|counters| counters.handshakes_failed == 5).await;
    let mut plain = TcpStream::connect(bridge.tcp()).await.unwrap();
    assert!(ends(&mut plain).await);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let via = format!("UDP {}", socket.local_addr().unwrap());
    socket.send_to(request("OPTIONS", "udp", &via, 1, "", "").as_bytes(), bridge.udp()).await.unwrap();
    let counters = bridge.counted(|counters| counters.uas.untrusted == 2).await;
    assert_eq!(counters.uas.requests, 6);
    bridge.sip.stop().await;
}

#[tokio::test]
async fn new_files_serve_new_connections_old_ones_go_on_and_bad_files_change_nothing() {
    let (authority, files, wanted) = site();
    let mut bridge = wanted.start().await.unwrap();
    let certificates = bridge.sip.certificates();
    let connector = client(&authority, Some(&authority.issue(&["pbx.example.jp"])), &BOTH);
    let mut old = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    let (tag, _) = answered(&mut old, "through", "sip:7001@127.0.0.1").await;

    files.write_pair(&authority.issue(&["new.example.jp"]));
    certificates.reload().unwrap();
    connect(&connector, "bridge.example.jp", bridge.tls()).await.expect_err("the old name is gone");
    let mut new = connect(&connector, "new.example.jp", bridge.tls()).await.unwrap();

    files.write("own.pem", "-----BEGIN CERTIFICATE-----\nrubbish\n");
    certificates.reload().expect_err("no certificate");
    files
        .write_pair(&authority.issue_with(&["late.example.jp"], |params| params.not_after = date_time_ymd(2021, 1, 1)));
    let error = certificates.reload().expect_err("ended").to_string();
    assert!(error.starts_with("[sip] tls_certificate = ") && error.contains("ended on"), "{error}");
    connect(&connector, "new.example.jp", bridge.tls()).await.expect("the good one stays");

    write(&mut old, &request("BYE", "through", "TLS 127.0.0.1:5061", 2, &tag, "")).await;
    assert_eq!(code(&read_message(&mut old).await), 200);
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    call_works(&mut bridge, &mut new, "on-the-new").await;
    bridge.sip.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_an_error_with_place_expectation_and_remedy() {
    let (authority, files, wanted) = site();
    let good = wanted.settings;
    let refused = async |settings| {
        let error = Wanted { settings, ..Wanted::new(27_000) }.start().await.err().expect("an error");
        error.to_string()
    };
    let key = files.write("other.key", &authority.issue(&["x"]).key);
    let text = refused(kakehashi::pbx::sip::Settings { tls_key: key, ..good.clone() }).await;
    assert!(text.contains("own.pem") && text.contains("key of another certificate"), "{text}");
    let text = refused(kakehashi::pbx::sip::Settings { tls_key: "".into(), ..good.clone() }).await;
    assert!(text.starts_with("[sip] tls_key: empty; expected the PEM file"), "{text}");
    let text = refused(kakehashi::pbx::sip::Settings { tls_key: files.path("own.pem"), ..good.clone() }).await;
    assert!(text.starts_with("[sip] tls_key = ") && text.contains("no private key"), "{text}");
    let text = refused(kakehashi::pbx::sip::Settings { tls_certificate: "gone.pem".into(), ..good.clone() }).await;
    assert!(text.starts_with("[sip] tls_certificate = \"gone.pem\"") && text.contains("correct the path"), "{text}");
    let text = refused(kakehashi::pbx::sip::Settings { tls_client_ca: files.path("own.key"), ..good.clone() }).await;
    assert!(text.starts_with("[sip] tls_client_ca = ") && text.contains("no certificate is in it"), "{text}");
    let none = kakehashi::pbx::sip::Settings { tls_certificate: "".into(), tls_key: "".into(), ..good.clone() };
    assert!(refused(none).await.contains("because `listen_tls` is given"));
    let exchange = PeerSettings { tls_names: vec!["pbx".into()], ..PeerSettings::default() };
    let settings = kakehashi::pbx::sip::Settings { tls_client: TlsClient::Off, ..good };
    let error = Wanted { settings, exchange, ..Wanted::new(27_000) }.start().await.err().expect("an error");
    assert!(error.to_string().contains("because an exchange has `tls_names`"), "{error}");
}

/// A server that asks for a certificate of the same authority.
fn acceptor(authority: &Authority, own: &secure::Pair) -> tokio_rustls::TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(secure::roots(authority));
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build().unwrap();
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(secure::chain(&own.certificate), key)
        .unwrap();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

/// A call whose connection is gone; the bridge stops and calls back at the listener.
async fn called_back(
    authority: &Authority,
    wanted: Wanted,
    listener: &TcpListener,
) -> (TcpStream, tokio::task::JoinHandle<()>) {
    let mut bridge = wanted.start().await.unwrap();
    let connector = client(authority, Some(&authority.issue(&["pbx.example.jp"])), &BOTH);
    let mut stream = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    let via = format!("TLS {}", listener.local_addr().unwrap());
    let invite =
        request("INVITE", "back", &via, 1, "", SDP).replace(">\r\nContent-Type", ";transport=tls>\r\nContent-Type");
    write(&mut stream, &invite).await;
    let ok = loop {
        let answer = read_message(&mut stream).await;
        if code(&answer) == 200 {
            break answer;
        }
    };
    write(&mut stream, &request("ACK", "back", &via, 1, &to_tag(&ok), "")).await;
    bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    drop(stream);
    bridge.counted(|counters| counters.connections == 0).await;
    let stopping = tokio::spawn(bridge.sip.stop());
    let (called, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    (called, stopping)
}

#[tokio::test]
async fn when_its_connection_is_gone_the_peer_is_called_back_by_tls_with_name_and_certificate() {
    let (authority, _files, mut wanted) = site();
    wanted.exchange.tls_names = vec!["pbx.example.jp".into()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (called, stopping) = called_back(&authority, wanted, &listener).await;
    let own = acceptor(&authority, &authority.issue(&["pbx.example.jp"]));
    let mut called = own.accept(called).await.unwrap();
    assert_eq!(called.get_ref().1.server_name(), Some("pbx.example.jp"));
    assert!(called.get_ref().1.peer_certificates().is_some());
    let bye = read_message(&mut called).await;
    assert!(bye.starts_with("BYE sip:0663621234@127.0.0.1"), "{bye}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_server_with_the_name_of_somebody_else_hears_nothing_not_even_by_tcp() {
    let (authority, _files, mut wanted) = site();
    wanted.exchange.tls_names = vec!["pbx.example.jp".into()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (called, stopping) = called_back(&authority, wanted, &listener).await;
    let other = acceptor(&authority, &authority.issue(&["other.example.jp"]));
    let mut heard = false;
    if let Ok(mut called) = other.accept(called).await {
        heard = !ends(&mut called).await;
    }
    assert!(!heard);
    stopping.await.unwrap();
    let again = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(again.is_err(), "a second connection after the handshake failed");
}

#[tokio::test]
async fn handshakes_that_stand_still_are_capped_and_ended_while_others_call() {
    let (authority, _files, mut wanted) = site();
    wanted.settings.max_handshakes_per_peer = 3;
    wanted.settings.max_handshakes = 4;
    wanted.settings.handshake_ms = 700;
    let mut bridge = wanted.start().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(tcp_from("127.0.0.2", bridge.tls()).await);
    }
    bridge.counted(|counters| counters.connections == 3).await;
    let mut fourth = tcp_from("127.0.0.2", bridge.tls()).await;
    assert!(ends(&mut fourth).await);
    let connector = client(&authority, Some(&authority.issue(&["pbx.example.jp"])), &BOTH);
    let mut stream = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    call_works(&mut bridge, &mut stream, "beside").await;
    // one of them sends a byte of its ClientHello now and then: the time for a handshake runs from its beginning all the same
    let mut hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3].into_iter().chain(std::iter::repeat(0));
    while let Ok(()) = silent[0].write_all(&[hello.next().unwrap()]).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for stream in &mut silent {
        assert!(ends(stream).await);
    }
    let counters = bridge.counted(|counters| counters.handshakes_failed == 3).await;
    assert_eq!((counters.connections, counters.connections_refused), (1, 1));
    bridge.sip.stop().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off_and_nobody_else_waits() {
    let (authority, _files, mut wanted) = site();
    // at the pace of an address its window would be full only after minutes
    wanted.settings.max_requests_per_s = 0;
    let mut bridge = wanted.start().await.unwrap();
    let connector = client(&authority, Some(&authority.issue(&["pbx.example.jp"])), &BOTH);
    let mut deaf = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    let mut good = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    // all answers to it stay in the way: its window closes, then its queue is full
    let text: String = (0..50).map(|n| request("OPTIONS", &format!("deaf-{n}"), "TLS 127.0.0.1", 1, "", "")).collect();
    let repeated = tokio::spawn(async move {
        while deaf.write_all(text.as_bytes()).await.is_ok() {}
        deaf
    });
    call_works(&mut bridge, &mut good, "beside").await;
    bridge.counted(|counters| counters.stuck == 1 && counters.connections == 1).await;
    call_works(&mut bridge, &mut good, "after").await;
    drop(repeated.await.unwrap());
    bridge.sip.stop().await;
}

#[tokio::test]
async fn keep_alives_are_answered_and_keep_a_connection_that_says_nothing_else() {
    let (authority, _files, mut wanted) = site();
    wanted.settings.frame_ms = 400;
    wanted.settings.idle_s = 1;
    let mut bridge = wanted.start().await.unwrap();
    let connector = client(&authority, Some(&authority.issue(&["pbx.example.jp"])), &BOTH);
    let mut silent = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    let mut alive = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    for _ in 0..8 {
        write(&mut alive, "\r\n\r\n").await;
        let mut pong = [0; 2];
        alive.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\r\n");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(ends(&mut silent).await);
    call_works(&mut bridge, &mut alive, "alive").await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(b"\r\n\r\n", bridge.udp()).await.unwrap();
    let mut space = [0; 10];
    let length = timeout(PATIENCE, socket.recv(&mut space)).await.unwrap().unwrap();
    assert_eq!(&space[..length], b"\r\n");
    bridge.sip.stop().await;
}

#[tokio::test]
async fn a_request_of_ours_goes_by_the_connection_that_stands_for_the_peers_port() {
    let (authority, _files, wanted) = site();
    let mut bridge = wanted.start().await.unwrap();
    let connector = client(&authority, Some(&authority.issue(&["pbx.example.jp"])), &BOTH);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let via = format!("TLS {};alias", listener.local_addr().unwrap());
    let mut first = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    let to_port = |text: String| text.replace(";alias>", ";transport=tls>");
    write(&mut first, &to_port(request("INVITE", "reused", &via, 1, "", SDP))).await;
    let ok = loop {
        let answer = read_message(&mut first).await;
        if code(&answer) == 200 {
            break answer;
        }
    };
    write(&mut first, &to_port(request("ACK", "reused", &via, 1, &to_tag(&ok), ""))).await;
    bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    drop(first);
    bridge.counted(|counters| counters.connections == 0).await;
    let mut second = connect(&connector, "bridge.example.jp", bridge.tls()).await.unwrap();
    write(&mut second, &to_port(request("OPTIONS", "second", &via, 1, "", ""))).await;
    assert_eq!(code(&read_message(&mut second).await), 200);
    let stopping = tokio::spawn(bridge.sip.stop());
    let bye = read_message(&mut second).await;
    assert!(bye.starts_with("BYE "), "{bye}");
    stopping.await.unwrap();
    assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "a new connection was opened");
}

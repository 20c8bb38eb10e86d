//! What a SIP port meets that no telephone sends: strangers, floods, slow and deaf connections, rubbish; and a hub that stands still.

#[path = "common/sip.rs"]
mod bridge;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bridge::{Bridge, PATIENCE, SDP, Wanted, code, request, to_tag};
use kakehashi::bridge::sip::Error;
use kakehashi::pbx::{EndCause, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

/// A caller by UDP who writes bytes himself.
struct Plain {
    socket: UdpSocket,
    via: String,
}

impl Plain {
    async fn to(address: SocketAddr) -> Plain {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(address).await.unwrap();
        let via = format!("UDP {}", socket.local_addr().unwrap());
        Plain { socket, via }
    }

    async fn send(&self, method: &str, call: &str, cseq: u32, to_tag: &str, body: &str) {
        self.socket.send(request(method, call, &self.via, cseq, to_tag, body).as_bytes()).await.unwrap();
    }

    async fn answer(&self) -> String {
        let mut space = vec![0; 65_536];
        let length = timeout(PATIENCE, self.socket.recv(&mut space)).await.expect("no answer").unwrap();
        String::from_utf8_lossy(&space[..length]).into_owned()
    }

    /// The first answer with this code.
    async fn answered(&self, wanted: u16) -> String {
        loop {
            let answer = self.answer().await;
            if code(&answer) == wanted {
                return answer;
            }
        }
    }

    /// A whole call shows that the bridge still works.
    async fn a_call_works(&self, bridge: &mut Bridge, call: &str) {
        self.send("INVITE", call, 1, "", SDP).await;
        let tag = to_tag(&self.answered(200).await);
        self.send("ACK", call, 1, &tag, "").await;
        self.send("BYE", call, 2, &tag, "").await;
        self.answered(200).await;
        let told = bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
        assert_eq!(told.len(), 8, "{told:?}");
    }
}

/// Reads what comes until `count` messages (without bodies) or the end.
async fn read_heads(stream: &mut TcpStream, count: usize) -> String {
    let mut all = Vec::new();
    let mut space = vec![0; 65_536];
    while all.windows(4).filter(|window| window == b"\r\n\r\n").count() < count {
        match timeout(PATIENCE, stream.read(&mut space)).await.expect("nothing came") {
            Ok(0) | Err(_) => break,
            Ok(length) => all.extend_from_slice(&space[..length]),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Whether the other side closes.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut space = [0; 1_024];
    loop {
        match timeout(PATIENCE, stream.read(&mut space)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
            Err(_) => return false,
        }
    }
}

fn options(call: &str) -> String {
    request("OPTIONS", call, "TCP 127.0.0.1:9", 1, "", "")
}

#[tokio::test]
async fn strangers_get_nothing_by_udp_and_tcp() {
    let bridge = Wanted { peers: "192.0.2.0/24", ..Wanted::new(25_000) }.start().await.unwrap();
    let caller = Plain::to(bridge.udp()).await;
    caller.send("INVITE", "stranger", 1, "", SDP).await;
    caller.socket.send(b"rubbish").await.unwrap();
    bridge.counted(|counters| counters.uas.untrusted >= 2 || counters.uas.requests > 0).await;
    let mut stream = TcpStream::connect(bridge.tcp()).await.unwrap();
    assert!(is_closed(&mut stream).await);
    // the count is brought up to date by the next event of the task; the answer is what must not come
    let mut space = [0; 100];
    assert!(caller.socket.try_recv(&mut space).is_err(), "a stranger was answered");
    let counters = bridge.sip.counters();
    assert_eq!((counters.uas.requests, counters.calls, counters.connections), (0, 0, 0));
    bridge.sip.stop().await;
}

#[tokio::test]
async fn a_stream_may_come_in_any_pieces() {
    let bridge = Wanted::new(25_040).start().await.unwrap();
    let mut stream = TcpStream::connect(bridge.tcp()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in options("piece").bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(code(&read_heads(&mut stream, 1).await), 200);
    let two = format!("\r\n{}\r\n{}", options("two-a"), options("two-b"));
    stream.write_all(two.as_bytes()).await.unwrap();
    assert_eq!(read_heads(&mut stream, 2).await.matches("SIP/2.0 200 OK").count(), 2);
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    timeout(PATIENCE, stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(&pong, b"\r\n");
    bridge.sip.stop().await;
}

#[tokio::test]
async fn what_cannot_be_cut_into_messages_is_answered_and_closed() {
    let mut wanted = Wanted::new(25_080);
    wanted.settings.message_max_bytes = 8_192;
    let bridge = wanted.start().await.unwrap();
    let without = options("a").replace("Content-Length: 0\r\n", "");
    let endless = format!("{}{}", options("c").trim_end(), "\r\nX: y".repeat(4_000));
    for (text, expected) in [(without, 400), (endless, 513), ("\u{1}rubbish\r\n\r\n".into(), 0)] {
        let mut stream = TcpStream::connect(bridge.tcp()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(code(&read_heads(&mut stream, 1).await), expected);
        assert!(is_closed(&mut stream).await);
    }
    bridge.counted(|counters| counters.connections == 0).await;
    // a body that is too large costs only itself, and is refused before it is there
    let mut stream = TcpStream::connect(bridge.tcp()).await.unwrap();
    let huge = options("b").replace("Content-Length: 0", "Content-Length: 99999");
    stream.write_all(huge.as_bytes()).await.unwrap();
    assert_eq!(code(&read_heads(&mut stream, 1).await), 413);
    stream.write_all(&[b'x'; 99_999]).await.unwrap();
    stream.write_all(options("after").as_bytes()).await.unwrap();
    assert_eq!(code(&read_heads(&mut stream, 1).await), 200);
    // a bad message with a known length too
    let mut stream = TcpStream::connect(bridge.tcp()).await.unwrap();
    let bad = options("d").replace("SIP/2.0\r\nVia", "SIP/9.0\r\nVia");
    stream.write_all(format!("{bad}{}", options("e")).as_bytes()).await.unwrap();
    let answers = read_heads(&mut stream, 2).await;
    assert!(answers.starts_with("SIP/2.0 505") && answers.contains("SIP/2.0 200"), "{answers}");
    bridge.sip.stop().await;
}

#[tokio::test]
async fn a_message_that_never_ends_and_a_silent_connection_are_closed_in_time() {
    let mut wanted = Wanted::new(25_120);
    (wanted.settings.frame_ms, wanted.settings.idle_s) = (200, 1);
    let bridge = wanted.start().await.unwrap();
    let mut slow = TcpStream::connect(bridge.tcp()).await.unwrap();
    let mut silent = TcpStream::connect(bridge.tcp()).await.unwrap();
    let text = options("slow");
    // one byte after the other, each well within any time-out for one read
    for byte in text.bytes().take(text.len() - 1) {
        if slow.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(is_closed(&mut slow).await && is_closed(&mut silent).await);
    assert_eq!(bridge.sip.counters().uas.requests, 0);
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_loses_its_connection_and_nobody_else_anything() {
    let mut bridge = Wanted::new(25_160).start().await.unwrap();
    let mut deaf = TcpStream::connect(bridge.tcp()).await.unwrap();
    let mut n = 0;
    let padding = format!("X-Padding: {}\r\n", "p".repeat(4_000));
    while bridge.sip.counters().stuck == 0 {
        // the Via comes back in the answer, so that it fills the peer's window soon
        let fat = options(&format!("deaf-{n}")).replace(
            "Max-Forwards",
            &format!("{padding}Via: SIP/2.0/TCP {};branch=z\r\nMax-Forwards", "h".repeat(4_000)),
        );
        n += 1;
        assert!(n < 20_000, "{:?}", bridge.sip.counters());
        if timeout(Duration::from_millis(200), deaf.write_all(fat.as_bytes())).await.is_ok_and(|sent| sent.is_err()) {
            break;
        }
    }
    bridge.counted(|counters| counters.stuck == 1).await;
    let caller = Plain::to(bridge.udp()).await;
    caller.a_call_works(&mut bridge, "beside").await;
    bridge.sip.stop().await;
}

#[tokio::test]
async fn connections_are_capped() {
    let mut wanted = Wanted::new(25_200);
    wanted.settings.max_connections_per_peer = 3;
    let mut bridge = wanted.start().await.unwrap();
    let mut kept = Vec::new();
    for n in 0..3 {
        let mut stream = TcpStream::connect(bridge.tcp()).await.unwrap();
        stream.write_all(options(&format!("kept-{n}")).as_bytes()).await.unwrap();
        assert_eq!(code(&read_heads(&mut stream, 1).await), 200);
        kept.push(stream);
    }
    let mut fourth = TcpStream::connect(bridge.tcp()).await.unwrap();
    assert!(is_closed(&mut fourth).await);
    let counters = bridge.counted(|counters| counters.connections_refused == 1).await;
    assert_eq!(counters.connections, 3);
    drop(kept);
    bridge.counted(|counters| counters.connections == 0).await;
    let caller = Plain::to(bridge.udp()).await;
    caller.a_call_works(&mut bridge, "after").await;
    bridge.sip.stop().await;
}

#[tokio::test]
async fn when_its_connection_is_gone_the_peer_is_called_back_for_the_bye() {
    let mut bridge = Wanted::new(25_240).start().await.unwrap();
    let own = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let via = format!("TCP {}", own.local_addr().unwrap());
    let mut stream = TcpStream::connect(bridge.tcp()).await.unwrap();
    let with_transport = |text: String| text.replace(">\r\nContent-Type", ";transport=tcp>\r\nContent-Type");
    stream.write_all(with_transport(request("INVITE", "back", &via, 1, "", SDP)).as_bytes()).await.unwrap();
    let answers = read_heads(&mut stream, 3).await;
    let ok = answers.split("SIP/2.0 200").nth(1).expect("a 200");
    stream.write_all(request("ACK", "back", &via, 1, &to_tag(ok), "").as_bytes()).await.unwrap();
    bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    drop(stream);
    bridge.counted(|counters| counters.connections == 0).await;
    let stopping = tokio::spawn(bridge.sip.stop());
    let (mut called, _) = timeout(PATIENCE, own.accept()).await.unwrap().unwrap();
    let bye = read_heads(&mut called, 1).await;
    assert!(bye.starts_with("BYE sip:0663621234@127.0.0.1"), "{bye}");
    let answer = bye.lines().filter(|line| line.starts_with("Via") || line.starts_with("CSeq"));
    let answer = format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", answer.collect::<Vec<_>>().join("\r\n"));
    called.write_all(answer.as_bytes()).await.unwrap();
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_hub_that_stands_still_refuses_new_calls_and_loses_no_signal() {
    let mut bridge = Wanted { hub: 1, answer_after_ms: 60_000, ..Wanted::new(25_280) }.start().await.unwrap();
    let caller = Plain::to(bridge.udp()).await;
    let mut calls = 0;
    loop {
        let call = format!("still-{calls}");
        caller.send("INVITE", &call, 1, "", SDP).await;
        let answer = loop {
            let answer = caller.answer().await;
            if answer.contains(&format!("Call-ID: {call}\r\n")) && code(&answer) > 100 {
                break answer;
            }
        };
        if code(&answer) == 503 {
            break;
        }
        assert_eq!(code(&answer), 180);
        calls += 1;
        assert!(calls < 1_000, "new calls are never refused");
        caller.send("CANCEL", &call, 1, "", "").await;
        caller.answered(487).await;
        caller.send("ACK", &call, 1, &to_tag(&answer), "").await;
    }
    let mut ended = 0;
    while ended < calls {
        let told = bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(matches!(told[3], Signal::LegEnded(_, EndCause::Cancelled)));
        ended += 1;
    }
    bridge.counted(|counters| counters.waiting == 0 && counters.calls == 0).await;
    caller.send("INVITE", "again", 1, "", SDP).await;
    loop {
        let answer = caller.answer().await;
        if answer.contains("Call-ID: again\r\n") && code(&answer) > 100 {
            assert_eq!(code(&answer), 180);
            break;
        }
    }
    bridge.sip.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_an_error_with_key_address_and_remedy() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut wanted = Wanted::new(25_320);
    wanted.settings.listen_udp = vec![address];
    let error = wanted.start().await.err().expect("the port is taken");
    assert!(matches!(error, Error::Bind { key: "listen_udp", .. }));
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("another program uses this port"), "{text}");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut wanted = Wanted::new(25_320);
    wanted.settings.listen_tcp = vec![taken.local_addr().unwrap()];
    assert!(wanted.start().await.err().unwrap().to_string().starts_with("[sip] `listen_tcp`: 127.0.0.1:"));
    let mut wanted = Wanted::new(25_320);
    wanted.settings.advertised = "bridge example".into();
    assert!(wanted.start().await.err().unwrap().to_string().contains("`advertised`"));
}

#[tokio::test]
async fn on_all_addresses_the_bridge_names_the_one_that_the_peer_reaches() {
    let mut wanted = Wanted::new(25_360);
    wanted.settings.listen_udp = vec!["0.0.0.0:0".parse().unwrap()];
    let bridge = wanted.start().await.unwrap();
    let port = bridge.udp().port();
    let caller = Plain::to(SocketAddr::from(([127, 0, 0, 1], port))).await;
    caller.send("INVITE", "any", 1, "", SDP).await;
    let answer = caller.answered(200).await;
    assert!(answer.contains(&format!("Contact: <sip:kakehashi@127.0.0.1:{port}>\r\n")), "{answer}");
    assert!(answer.contains("c=IN IP4 127.0.0.1\r\n"), "{answer}");
    bridge.sip.stop().await;
}

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_number_name_or_message_reaches_a_log_at_trace_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut bridge = Wanted { ports: (25_400, 3), ..Wanted::new(25_400) }.start().await.unwrap();
    let caller = Plain::to(bridge.udp()).await;
    // answered, turned away for want of a port, malformed, ended
    caller.send("INVITE", "secret-1", 1, "", SDP).await;
    let tag = to_tag(&caller.answered(200).await);
    caller.send("ACK", "secret-1", 1, &tag, "").await;
    caller.send("INVITE", "secret-2", 1, "", SDP).await;
    caller.answered(503).await;
    let bad = request("OPTIONS", "secret-3", &caller.via, 1, "", "").replace("CSeq: 1", "CSeq: x");
    caller.socket.send(bad.as_bytes()).await.unwrap();
    caller.answered(400).await;
    caller.send("BYE", "secret-1", 2, &tag, "").await;
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    bridge.sip.stop().await;
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(text.contains("receiving calls by SIP") && text.contains("a call is turned away"), "{text}");
    for secret in ["0663621234", "7001", "secret-", "INVITE", "m=audio", "tag="] {
        assert!(!text.contains(secret), "{secret} in the log: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_wildcards_are_listened_on_at_once_and_a_call_by_ipv6_has_its_sound_there_too() {
    let mut wanted = Wanted { peers: "::1/128", ..Wanted::new(25_440) };
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let both = [format!("0.0.0.0:{port}"), format!("[::]:{port}")].map(|text| text.parse().unwrap());
    (wanted.settings.listen_udp, wanted.settings.listen_tcp) = (both.to_vec(), both.to_vec());
    wanted.bind = "::";
    let mut bridge = wanted.start().await.unwrap();
    // 127.0.0.1 comes to the other socket, as itself, and is nobody
    let stranger = Plain::to(SocketAddr::from(([127, 0, 0, 1], port))).await;
    stranger.send("OPTIONS", "four", 1, "", "").await;
    bridge.counted(|counters| counters.uas.untrusted == 1).await;

    let socket = UdpSocket::bind("[::1]:0").await.unwrap();
    socket.connect(format!("[::1]:{port}")).await.unwrap();
    let caller = Plain { via: format!("UDP {}", socket.local_addr().unwrap()), socket };
    let sdp = SDP.replace("IN IP4 127.0.0.1", "IN IP6 ::1");
    caller.send("INVITE", "six", 1, "", &sdp).await;
    let answer = caller.answered(200).await;
    assert!(answer.contains("c=IN IP6 ::1\r\n"), "{answer}");
    assert!(answer.contains(&format!("Contact: <sip:kakehashi@[::1]:{port}>\r\n")), "{answer}");
    caller.send("ACK", "six", 1, &to_tag(&answer), "").await;
    let told = bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    let Some(Signal::StreamAdded { stream, .. }) = told.last() else { panic!("{told:?}") };
    let sound = std::net::UdpSocket::bind("[::1]:0").unwrap();
    for n in 0..10 {
        sound.send_to(&bridge::packet(0, n, &[0x55; 160]), ("::1", bridge::audio_ports(&answer)[0])).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    caller.send("BYE", "six", 2, &to_tag(&answer), "").await;
    caller.answered(200).await;
    let streams = [*stream];
    let pcm = tokio::task::block_in_place(|| bridge.pcm(&streams));
    assert_eq!(pcm[0].len(), 1_600);

    let mut stream = TcpStream::connect(format!("[::1]:{port}")).await.unwrap();
    stream.write_all(request("OPTIONS", "tcp", "TCP [::1]:9", 1, "", "").as_bytes()).await.unwrap();
    assert_eq!(code(&read_heads(&mut stream, 1).await), 200);
    bridge.sip.stop().await;
}

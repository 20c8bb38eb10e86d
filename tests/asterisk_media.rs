//! Media connections over real sockets: a peer that speaks AudioSocket or chan_websocket as Asterisk does, and peers that do not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use kakehashi::bridge::Input;
use kakehashi::bridge::asterisk_media::{MediaConnections, spawn};
use kakehashi::call::line::Lines;
use kakehashi::media::settings::Settings as MediaSettings;
use kakehashi::media::{Heard, StreamEventKind};
use kakehashi::pbx::asterisk::{AudioSocketSettings, WebSocketSettings};
use kakehashi::pbx::{EndCause, KeyKind, PbxId, Signal, Speaker};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use uuid::Uuid;

/// Longest wait; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);
const ID: Uuid = Uuid::from_u128(0x40325ec2_5efd_4bd3_805f_53576e581d13);

/// Listeners of both protocols, and everything that is told of them.
struct Bench {
    connections: MediaConnections,
    hub: mpsc::Receiver<Input>,
    heard: Receiver<Heard>,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut AudioSocketSettings, &mut WebSocketSettings)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (to, heard) = std::sync::mpsc::sync_channel(65_536);
        let media = kakehashi::bridge::media::spawn(&MediaSettings::default(), folder.path(), to).unwrap();
        let (inputs, hub) = mpsc::channel(64);
        let (listen, peers) = ("127.0.0.1:0".parse().unwrap(), vec!["127.0.0.1/32".parse().unwrap()]);
        let mut audiosocket = AudioSocketSettings { listen, peers, ..AudioSocketSettings::default() };
        let peers = audiosocket.peers.clone();
        let mut websocket = WebSocketSettings { listen, peers, ..WebSocketSettings::default() };
        change(&mut audiosocket, &mut websocket);
        let own = (Some(audiosocket), Some(websocket));
        let connections = spawn(PbxId("a".into()), own, Arc::new(Lines::default()), media, inputs).await.unwrap();
        Bench { connections, hub, heard, _folder: folder }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.connections.audiosocket.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Waits until so many connections are there, and so many were refused.
    fn settles(&self, connections: usize, refused: u64) {
        let deadline = Instant::now() + PATIENCE;
        let now = || (self.connections.connections(), self.connections.refused());
        while now() != (connections, refused) {
            assert!(Instant::now() < deadline, "{:?} instead of {:?}", now(), (connections, refused));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    async fn next(&mut self) -> Signal {
        match tokio::time::timeout(PATIENCE, self.hub.recv()).await {
            Ok(Some(Input::Observed(observed))) => observed.signal,
            other => panic!("no signal: {other:?}"),
        }
    }

    /// Signals up to the end of the call.
    async fn call(&mut self) -> Vec<Signal> {
        let mut all = Vec::new();
        loop {
            all.push(self.next().await);
            if matches!(all.last(), Some(Signal::CallEnded(_))) {
                return all;
            }
        }
    }

    /// All that is heard of the first stream until it is closed.
    fn sound(&self) -> (u32, Vec<i16>) {
        let (mut rate, mut samples) = (0, Vec::new());
        while let Ok(heard) = self.heard.recv_timeout(PATIENCE) {
            match heard {
                Heard::Pcm(frame) => samples.extend(frame.samples),
                Heard::Event(event) => match event.kind {
                    StreamEventKind::First { rate: told, .. } => rate = told,
                    StreamEventKind::Closed(_) => return (rate, samples),
                    _ => {}
                },
            }
        }
        panic!("the stream was not closed");
    }
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// 20 ms of a sawtooth at 8 kHz, and the same as it goes over the wire.
fn speech(number: i16) -> (Vec<i16>, Vec<u8>) {
    let samples: Vec<i16> = (0..160).map(|at| at * 100 + number).collect();
    let bytes = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    (samples, bytes)
}

/// One HTTP request; its status line.
fn announce(address: SocketAddr, query: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /announce?{query} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_string()
}

/// Whether the peer closed the connection, after whatever it sent.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4_096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_audiosocket_call_is_a_call_and_gets_silence_from_the_first_moment() {
    let mut bench = Bench::new(|_, _| {}).await;
    let address = bench.connections.audiosocket.unwrap();
    let told = format!("id={ID}&caller=0663621234&pres=allowed&called=7021&uniqueid=lab-1.2&linkedid=lab-1.1");
    assert_eq!(announce(address, &told), "HTTP/1.1 200 OK");
    let mut asterisk = bench.dial();
    asterisk.write_all(&frame(0x01, ID.as_bytes())).unwrap();
    // silence comes although no sound was sent
    for _ in 0..25 {
        let mut silence = [1; 323];
        asterisk.read_exact(&mut silence).unwrap();
        assert!(silence[..3] == [0x10, 1, 0x40] && silence[3..].iter().all(|byte| *byte == 0));
    }
    let mut said = Vec::new();
    for number in 0..50 {
        let (samples, bytes) = speech(number);
        said.extend(samples);
        asterisk.write_all(&frame(0x10, &bytes)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    asterisk.write_all(&frame(0x03, b"5")).unwrap();
    asterisk.write_all(&frame(0x00, &[])).unwrap();
    let signals = bench.call().await;
    let Signal::CallAppeared { caller, called, keys, .. } = &signals[0] else { panic!("{signals:?}") };
    assert_eq!((caller.number.as_deref(), called.as_str()), (Some("0663621234"), "7021"));
    assert_eq!(keys.iter().map(|key| key.kind).collect::<Vec<_>>(), [KeyKind::Uniqueid, KeyKind::Linkedid]);
    assert!(signals.contains(&Signal::Digit { speaker: Speaker::Caller, digit: '5' }), "{signals:?}");
    assert_eq!(signals.last(), Some(&Signal::CallEnded(EndCause::Normal)));
    let (rate, heard) = bench.sound();
    assert_eq!(rate, 8_000);
    assert!(heard == said, "{} samples of {} were heard", heard.len(), said.len());
    assert!(is_closed(&mut asterisk));
    bench.settles(0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_reset_fails_with_a_reason() {
    let mut bench = Bench::new(|audiosocket, _| audiosocket.line = "7021".into()).await;
    let mut asterisk = bench.dial();
    asterisk.write_all(&frame(0x01, ID.as_bytes())).unwrap();
    asterisk.write_all(&frame(0x12, &[7; 640])).unwrap();
    let Signal::CallAppeared { caller, called, .. } = bench.next().await else { panic!() };
    assert_eq!((caller.number, called.as_str()), (None, "7021"), "nobody said who calls");
    socket2::SockRef::from(&asterisk).set_linger(Some(Duration::ZERO)).unwrap();
    drop(asterisk);
    let signals = bench.call().await;
    let reason = signals.iter().find_map(|signal| match signal {
        Signal::StreamFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.unwrap().contains("was lost"), "{signals:?}");
    assert_eq!(signals.last(), Some(&Signal::CallEnded(EndCause::Failed)));
    assert_eq!(bench.sound(), (16_000, vec![0x0707; 320]), "what was heard before is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_expected_is_refused_and_one_name_is_one_connection() {
    let mut bench = Bench::new(|_, _| {}).await;
    let address = bench.connections.audiosocket.unwrap();
    let mut stranger = bench.dial();
    stranger.write_all(&frame(0x01, ID.as_bytes())).unwrap();
    assert!(is_closed(&mut stranger));
    assert_eq!(announce(address, &format!("id={ID}&called=7021")), "HTTP/1.1 200 OK");
    let mut first = bench.dial();
    first.write_all(&frame(0x01, ID.as_bytes())).unwrap();
    assert!(matches!(bench.next().await, Signal::CallAppeared { .. }));
    let mut second = bench.dial();
    second.write_all(&frame(0x01, ID.as_bytes())).unwrap();
    assert!(is_closed(&mut second), "there is one already");
    assert_eq!(announce(address, &format!("id={ID}&called=7021")), "HTTP/1.1 409 Conflict");
    assert_eq!(announce(address, "id=x&called=7021"), "HTTP/1.1 400 Bad Request");
    assert_eq!(announce(address, "called=7021"), "HTTP/1.1 400 Bad Request");
    bench.settles(1, 2);
    bench.connections.stop().await;
    assert!(is_closed(&mut first), "stopping ends what is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_are_few_and_do_not_last() {
    let bench = Bench::new(|audiosocket, _| (audiosocket.max_unknown, audiosocket.id_timeout_ms) = (3, 1_000)).await;
    let mut first = bench.dial();
    first.write_all(&[0x01]).unwrap();
    bench.settles(1, 0);
    let mut silent: Vec<TcpStream> = (0..19).map(|_| bench.dial()).collect();
    assert!(is_closed(&mut first) && silent.iter_mut().all(is_closed));
    bench.settles(0, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_let_in() {
    let bench = Bench::new(|audiosocket, _| audiosocket.peers = vec!["192.0.2.0/24".parse().unwrap()]).await;
    assert!(is_closed(&mut bench.dial()));
    bench.settles(0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_is_dropped() {
    let mut bench = Bench::new(|audiosocket, _| audiosocket.line = "7021".into()).await;
    let address = bench.connections.audiosocket.unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut asterisk = TcpStream::from(socket);
    asterisk.write_all(&frame(0x01, ID.as_bytes())).unwrap();
    let sound = frame(0x10, &[0; 320]);
    let deadline = Instant::now() + PATIENCE;
    while bench.connections.slow() == 0 {
        assert!(Instant::now() < deadline, "it was not dropped");
        let _ = asterisk.write_all(&sound);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(bench.call().await.last(), Some(&Signal::CallEnded(EndCause::Failed)));
}

/// Connects as chan_websocket does.
async fn websocket(
    bench: &Bench,
    query: &str,
) -> tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>> {
    let url = format!("ws://{}/media{query}", bench.connections.websocket.unwrap());
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("media"));
    let (socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(answer.headers().get("Sec-WebSocket-Protocol").unwrap(), "media");
    socket
}

const START: &str = "MEDIA_START connection_id:k channel:WebSocket/k/0x7f channel_id:lab-1.7 format:slin optimal_frame_size:320 ptime:20";

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_call_says_who_it_is_in_its_address_or_its_variables() {
    let mut bench = Bench::new(|_, _| {}).await;
    let mut asterisk = websocket(&bench, "?caller=0663621234&pres=allowed&called=7023&uniqueid=lab-1.2").await;
    let (samples, bytes) = speech(3);
    // sound may come before the start
    asterisk.send(Message::binary(bytes.clone())).await.unwrap();
    asterisk.send(Message::text(START)).await.unwrap();
    asterisk.send(Message::binary(bytes)).await.unwrap();
    asterisk.send(Message::text("DTMF_END digit:9 channel_id:lab-1.7")).await.unwrap();
    asterisk.close(None).await.unwrap();
    let signals = bench.call().await;
    let Signal::CallAppeared { caller, called, .. } = &signals[0] else { panic!("{signals:?}") };
    assert_eq!((caller.number.as_deref(), called.as_str()), (Some("0663621234"), "7023"));
    assert!(signals.contains(&Signal::Digit { speaker: Speaker::Caller, digit: '9' }));
    assert_eq!(signals.last(), Some(&Signal::CallEnded(EndCause::Normal)));
    assert_eq!(bench.sound(), (8_000, [samples.clone(), samples].concat()));

    let mut json = websocket(&bench, "").await;
    let start = r#"{"event":"MEDIA_START","connection_id":"k","channel":"c","channel_id":"lab-1.8","format":"slin16",
        "channel_variables":{"KAKEHASHI_CALLER":"0663621234","KAKEHASHI_PRES":"prohib_not_screened","KAKEHASHI_CALLED":"7024"}}"#;
    json.send(Message::text(start)).await.unwrap();
    let Signal::CallAppeared { caller, called, .. } = bench.next().await else { panic!() };
    assert_eq!((caller.number.as_deref(), called.as_str()), (None, "7024"), "withheld");
    // gone without a close
    drop(json);
    assert_eq!(bench.call().await.last(), Some(&Signal::CallEnded(EndCause::Failed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_says_nothing_of_its_call_is_refused() {
    let bench = Bench::new(|_, _| {}).await;
    let mut asterisk = websocket(&bench, "").await;
    asterisk.send(Message::text(START)).await.unwrap();
    let ends = async {
        use futures_util::StreamExt;
        let mut texts = Vec::new();
        while let Some(Ok(message)) = asterisk.next().await {
            texts.extend(message.to_text().map(str::to_string));
        }
        texts
    };
    let texts = tokio::time::timeout(PATIENCE, ends).await.unwrap();
    assert_eq!(texts.first().map(String::as_str), Some("HANGUP"));
    bench.settles(0, 1);
}

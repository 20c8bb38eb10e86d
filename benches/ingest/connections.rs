//! Asterisk's side of AudioSocket and chan_websocket, many calls at once in a process of its own: a frame of 20 ms each, 8 kHz, what comes back is
//! read and thrown away.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

/// Samples of a frame.
pub(crate) const FRAME: usize = 160;

/// Runs `audiosocket TARGET CALLS` or `websocket TARGET CALLS`; gives `false` when it is neither.
pub(crate) fn run(what: &str) -> bool {
    let words: Vec<&str> = what.split(' ').collect();
    let (Some(&kind), Some(target)) = (words.first(), words.get(1).and_then(|word| word.parse::<SocketAddr>().ok()))
    else {
        return false;
    };
    let calls = || words[2].parse::<u128>().unwrap();
    match kind {
        "audiosocket" => speak((0..calls()).map(|call| audiosocket(target, call)).collect()),
        "websocket" => speak((0..calls()).map(|call| websocket(target, call)).collect()),
        _ => return false,
    }
    true
}

/// One connection that takes frames.
type Frames = Box<dyn FnMut() -> bool>;

/// Type, length and content, as `res_audiosocket` writes them.
fn audiosocket(target: SocketAddr, call: u128) -> Frames {
    let mut stream = TcpStream::connect(target).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut hello = vec![0x01, 0, 16];
    hello.extend((call + 1).to_be_bytes());
    stream.write_all(&hello).unwrap();
    let mut back = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut space = [0; 4_096];
        while back.read(&mut space).is_ok_and(|length| length > 0) {}
    });
    let mut frame = vec![0x10, 0x01, 0x40];
    frame.extend([0x55; FRAME * 2]);
    Box::new(move || stream.write_all(&frame).is_ok())
}

/// As `chan_websocket` in its client mode with `f(json)`; it never sends more than a ping, which may wait.
fn websocket(target: SocketAddr, call: u128) -> Frames {
    let mut request = format!("ws://{target}/media").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "media".parse().unwrap());
    let stream = TcpStream::connect(target).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut socket, _): (WebSocket<TcpStream>, _) = client(request, stream).unwrap();
    let start = format!(
        r#"{{"event":"MEDIA_START","connection_id":"bench","channel":"WebSocket/bench/{call}","channel_id":"bench-{call}","format":"slin","optimal_frame_size":320,"ptime":20}}"#
    );
    socket.send(Message::text(start)).unwrap();
    Box::new(move || socket.send(Message::binary(vec![0x55; FRAME * 2])).is_ok())
}

/// Says `ready`, speaks into every connection until a line comes, says how many frames it sent, and ends.
fn speak(mut connections: Vec<Frames>) {
    println!("ready");
    let (stop, stopped) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().lock().read_line(&mut line);
        let _ = stop.send(());
    });
    let (began, mut sent) = (Instant::now(), 0_u64);
    for n in 1..u32::MAX {
        sent += connections.iter_mut().map(|send| u64::from(send())).sum::<u64>();
        if stopped.try_recv().is_ok() {
            break;
        }
        std::thread::sleep((began + Duration::from_millis(20) * n).saturating_duration_since(Instant::now()));
    }
    println!("{sent}");
    // what is under way arrives before the calls end
    std::thread::sleep(Duration::from_millis(500));
}

//! Calls over IPv6 by real sockets: signalling by UDP and TCP, sound by RTP, every address as IPv6 is written.

#[path = "common/sip.rs"]
mod bridge;

use std::net::{SocketAddr, UdpSocket as Plain};

use bridge::{Bridge, PATIENCE, SDP, Wanted, audio_ports, code, packet, request, to_tag};
use kakehashi::media::codec::decode_ulaw;
use kakehashi::pbx::sip::Settings;
use kakehashi::pbx::{Signal, StreamId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

async fn start(first_port: u16) -> Bridge {
    let any: SocketAddr = "[::1]:0".parse().unwrap();
    let wanted = Wanted::new(first_port);
    let settings = Settings { listen_udp: vec![any], listen_tcp: vec![any], ..wanted.settings };
    Wanted { settings, peers: "::1/128", bind: "::1", ..wanted }.start().await.unwrap()
}

/// A request of a caller at `own`.
fn written(method: &str, transport: &str, own: SocketAddr, cseq: u32, to_tag: &str, body: &str) -> String {
    let body = body.replace("IN IP4 127.0.0.1", "IN IP6 ::1");
    let text = request(method, "six", &format!("{transport} {own}"), cseq, to_tag, &body);
    text.replace("127.0.0.1", "[::1]")
}

/// The answer with this code, of what came so far or comes.
async fn answered(socket: &UdpSocket, wanted: u16) -> String {
    let mut space = vec![0; 65_536];
    loop {
        let length = timeout(PATIENCE, socket.recv(&mut space)).await.expect("no answer").unwrap();
        let text = String::from_utf8_lossy(&space[..length]).into_owned();
        if code(&text) == wanted {
            return text;
        }
    }
}

fn speak(port: u16) -> Vec<i16> {
    let socket = Plain::bind("[::1]:0").unwrap();
    let mut spoken = Vec::new();
    for n in 0..50u16 {
        let payload: Vec<u8> = (0..160u16).map(|i| (i as u8).wrapping_mul(31).wrapping_add(n as u8)).collect();
        socket.send_to(&packet(0, n, &payload), ("::1", port)).unwrap();
        spoken.extend(payload.iter().map(|byte| decode_ulaw(*byte)));
    }
    spoken
}

async fn stream(bridge: &mut Bridge) -> StreamId {
    let told = bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    let Some(Signal::StreamAdded { stream, .. }) = told.last() else { panic!("{told:?}") };
    *stream
}

#[tokio::test]
async fn a_whole_call_over_ipv6_by_udp() {
    let mut bridge = start(26_800).await;
    let socket = UdpSocket::bind("[::1]:0").await.unwrap();
    socket.connect(bridge.udp()).await.unwrap();
    let own = socket.local_addr().unwrap();
    socket.send(written("INVITE", "UDP", own, 1, "", SDP).as_bytes()).await.unwrap();
    let answer = answered(&socket, 200).await;
    let contact = format!("Contact: <sip:kakehashi@[::1]:{}>\r\n", bridge.udp().port());
    assert!(answer.contains(&contact), "{answer}");
    assert!(answer.contains(&format!(";received=::1;rport={}\r\n", own.port())), "{answer}");
    assert!(answer.contains("c=IN IP6 ::1\r\n"), "{answer}");
    let tag = to_tag(&answer);
    socket.send(written("ACK", "UDP", own, 1, &tag, "").as_bytes()).await.unwrap();
    let heard = stream(&mut bridge).await;
    let spoken = speak(audio_ports(&answer)[0]);
    socket.send(written("BYE", "UDP", own, 2, &tag, "").as_bytes()).await.unwrap();
    answered(&socket, 200).await;
    bridge.until(|signal| matches!(signal, Signal::CallEnded(_))).await;
    assert!(bridge.pcm(&[heard]) == [spoken], "what was said is heard, bit for bit");
    assert_eq!(bridge.sip.counters().uas.malformed, 0);
    bridge.sip.stop().await;
}

#[tokio::test]
async fn a_call_over_ipv6_by_tcp_is_hung_up_by_the_bridge_on_its_connection() {
    let mut bridge = start(26_840).await;
    let mut connection = TcpStream::connect(bridge.tcp()).await.unwrap();
    let own = connection.local_addr().unwrap();
    connection.write_all(written("INVITE", "TCP", own, 1, "", SDP).as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut space = vec![0; 65_536];
    while !text.contains("SIP/2.0 200") || !text.ends_with("a=sendrecv\r\n") {
        let length = timeout(PATIENCE, connection.read(&mut space)).await.expect("no answer").unwrap();
        text.push_str(&String::from_utf8_lossy(&space[..length]));
    }
    assert!(text.contains(&format!("<sip:kakehashi@[::1]:{};transport=tcp>", bridge.tcp().port())), "{text}");
    let ok = text.split("SIP/2.0 200").nth(1).unwrap();
    connection.write_all(written("ACK", "TCP", own, 1, &to_tag(ok), "").as_bytes()).await.unwrap();
    stream(&mut bridge).await;
    let stop = tokio::spawn(bridge.sip.stop());
    let length = timeout(PATIENCE, connection.read(&mut space)).await.expect("no BYE").unwrap();
    let bye = String::from_utf8_lossy(&space[..length]).into_owned();
    assert!(bye.starts_with(&format!("BYE sip:0663621234@{own}")), "{bye}");
    assert!(bye.contains("Via: SIP/2.0/TCP [::1]:"), "{bye}");
    drop(connection);
    stop.await.unwrap();
}

//! Much at once on one connection, as a trunk of an exchange brings it: a peer that reads is never taken for one that does not.

#[path = "common/sip.rs"]
mod bridge;

use bridge::{SDP, Wanted, code, request, to_tag};
use kakehashi::pbx::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const VIA: &str = "TCP 127.0.0.1:9";

/// Messages as they come on a connection.
struct Messages {
    stream: TcpStream,
    text: String,
}

impl Messages {
    async fn next(&mut self) -> String {
        loop {
            if let Some(end) = self.text.find("\r\n\r\n") {
                let head = &self.text[..end];
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
                let end = end + 4 + length.parse::<usize>().unwrap();
                if self.text.len() >= end {
                    return self.text.drain(..end).collect();
                }
            }
            let mut space = vec![0; 65_536];
            let length = timeout(bridge::PATIENCE, self.stream.read(&mut space)).await.expect("nothing came").unwrap();
            assert!(length > 0, "the connection was closed");
            self.text.push_str(std::str::from_utf8(&space[..length]).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_requests_on_one_connection_is_answered_whole() {
    let bridge = Wanted::new(27_480).start().await.unwrap();
    let mut connection = Messages { stream: TcpStream::connect(bridge.tcp()).await.unwrap(), text: String::new() };
    let burst: String = (0..300).map(|n| request("OPTIONS", &format!("burst-{n}"), VIA, 1, "", "")).collect();
    connection.stream.write_all(burst.as_bytes()).await.unwrap();
    for n in 0..300 {
        let answer = connection.next().await;
        assert!(code(&answer) == 200 && answer.contains(&format!("Call-ID: burst-{n}\r\n")), "{n}: {answer}");
    }
    assert_eq!(bridge.sip.counters().stuck, 0);
    bridge.sip.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_stops_hangs_up_every_call_of_one_connection_on_it() {
    const CALLS: usize = 100;
    let wanted = Wanted { ports: (27_520, 240), ..Wanted::new(0) };
    let mut bridge = wanted.start().await.unwrap();
    let mut connection = Messages { stream: TcpStream::connect(bridge.tcp()).await.unwrap(), text: String::new() };
    for n in 0..CALLS {
        let call = format!("call-{n}");
        connection.stream.write_all(request("INVITE", &call, VIA, 1, "", SDP).as_bytes()).await.unwrap();
        let answer = loop {
            let answer = connection.next().await;
            if code(&answer) >= 200 {
                break answer;
            }
        };
        assert_eq!(code(&answer), 200, "{answer}");
        connection.stream.write_all(request("ACK", &call, VIA, 1, &to_tag(&answer), "").as_bytes()).await.unwrap();
        bridge.until(|signal| matches!(signal, Signal::StreamAdded { .. })).await;
    }
    let stopping = tokio::spawn(bridge.sip.stop());
    for _ in 0..CALLS {
        let bye = connection.next().await;
        assert!(bye.starts_with("BYE "), "{bye}");
        let copied = bye.lines().filter(|line| line.starts_with("Via") || line.starts_with("CSeq"));
        let copied = copied.collect::<Vec<_>>().join("\r\n");
        let answer = format!("SIP/2.0 200 OK\r\n{copied}\r\nContent-Length: 0\r\n\r\n");
        connection.stream.write_all(answer.as_bytes()).await.unwrap();
    }
    stopping.await.unwrap();
}

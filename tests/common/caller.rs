//! A caller by UDP with a running call who speaks in true time, and two of them beside something that disturbs.
#![allow(dead_code)] // each test binary uses its part

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use kakehashi::media::{Heard, StreamEventKind, StreamSummary};

use crate::bridge::{Bridge, PATIENCE, SDP, audio_ports, code, packet, request, to_tag};

/// How long a flood lasts: `KAKEHASHI_FLOOD_S`, or 3 s.
pub(crate) fn seconds() -> u64 {
    std::env::var("KAKEHASHI_FLOOD_S").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// A caller with a running call who speaks in true time.
pub(crate) struct Caller {
    socket: UdpSocket,
    call: String,
    tag: String,
    port: u16,
}

impl Caller {
    pub(crate) fn calls(bridge: &Bridge, call: &str) -> Caller {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(bridge.udp()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut caller = Caller { socket, call: call.into(), tag: String::new(), port: 0 };
        caller.asks("INVITE", 1, SDP);
        let answer = caller.answered(200);
        (caller.tag, caller.port) = (to_tag(&answer), audio_ports(&answer)[0]);
        caller.asks("ACK", 1, "");
        caller
    }

    fn asks(&self, method: &str, cseq: u32, body: &str) {
        let via = format!("UDP {}", self.socket.local_addr().unwrap());
        self.socket.send(request(method, &self.call, &via, cseq, &self.tag, body).as_bytes()).unwrap();
    }

    fn answered(&self, wanted: u16) -> String {
        let mut space = vec![0; 65_536];
        loop {
            let length = self.socket.recv(&mut space).expect("an answer");
            let answer = String::from_utf8_lossy(&space[..length]).into_owned();
            if code(&answer) == wanted {
                return answer;
            }
        }
    }

    /// 50 packets a second until `until`; gives their number.
    fn speaks(&self, until: Instant) -> u64 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (start, mut n) = (Instant::now(), 0u16);
        while Instant::now() < until {
            socket.send_to(&packet(0, n, &[0x55; 160]), ("127.0.0.1", self.port)).unwrap();
            n += 1;
            thread::sleep((start + Duration::from_millis(20) * n.into()).saturating_duration_since(Instant::now()));
        }
        n.into()
    }

    pub(crate) fn hangs_up(&self) {
        self.asks("BYE", 2, "");
        self.answered(200);
    }
}

/// Totals of the next `count` streams that close.
pub(crate) fn closed(bridge: &Bridge, count: usize) -> Vec<StreamSummary> {
    let mut all = Vec::new();
    while all.len() < count {
        if let Heard::Event(event) = bridge.heard.recv_timeout(PATIENCE).expect("a stream closes")
            && let StreamEventKind::Closed(summary) = event.kind
        {
            all.push(summary);
        }
    }
    all
}

/// Two calls speak while `disturbing` goes on until `until`; both must arrive whole.
pub(crate) fn calls_beside(bridge: &Bridge, until: Instant, disturbing: impl FnOnce() + Send) {
    let callers = [Caller::calls(bridge, "one"), Caller::calls(bridge, "two")];
    let sent: Vec<u64> = thread::scope(|scope| {
        let flooding = scope.spawn(disturbing);
        let speaking = callers.each_ref().map(|caller| scope.spawn(move || caller.speaks(until)));
        flooding.join().unwrap();
        speaking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    callers.iter().for_each(Caller::hangs_up);
    for summary in closed(bridge, 2) {
        assert_eq!((summary.lost, summary.late), (0, 0), "{summary:?}");
        assert!(sent.contains(&summary.packets), "{sent:?} packets were sent: {summary:?}");
    }
}

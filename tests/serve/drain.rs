//! SIGTERM while calls run: they end, or the next start has them; who calls anew is sent elsewhere.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use kakehashi::events::{Data, EndReason, Event};
use nix::sys::signal::Signal;

use crate::hook::Hook;
use crate::{Bridge, accepted, dial, is_document, pattern, speak, write_config};

/// Calls that run at once.
const CALLS: usize = 50;
/// 20 ms packets of each call.
const PACKETS: u16 = 25;

/// An exchange with many calls to one bridge.
pub(crate) struct Exchange {
    sip: SocketAddr,
    pub(crate) socket: UdpSocket,
}

impl Exchange {
    pub(crate) fn of(bridge: &Bridge) -> Exchange {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Exchange { sip: bridge.sip, socket }
    }

    /// Sends a request outside or inside the dialog of a call, and gives the answer to it.
    pub(crate) fn asks(&self, method: &str, id: &str, to: &str) -> String {
        let (sip, local) = (self.sip, self.socket.local_addr().unwrap());
        let request = format!(
            "{method} sip:2001@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{id}\r\nMax-Forwards: 70\r\n\
             From: <sip:0600001234@{local}>;tag={id}\r\n{to}\r\nCall-ID: {id}\r\nCSeq: 2 {method}\r\n\
             Contact: <sip:x@{local}>\r\nContent-Length: 0\r\n\r\n"
        );
        self.socket.send_to(request.as_bytes(), sip).unwrap();
        self.next(|text| {
            text.starts_with("SIP/2.0") && text.contains(&format!("CSeq: 2 {method}")) && text.contains(id)
        })
    }

    fn next(&self, fits: impl Fn(&str) -> bool) -> String {
        let mut buffer = [0; 4_096];
        loop {
            let length = self.socket.recv(&mut buffer).expect("a message");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if fits(&text) {
                return text;
            }
        }
    }

    /// Answers the BYEs of the bridge until every one of these calls was hung up.
    fn is_hung_up(&self, mut calls: Vec<String>) {
        while !calls.is_empty() {
            let bye = self.next(|text| text.starts_with("BYE "));
            let header = |name: &str| bye.lines().find(|line| line.starts_with(name)).unwrap().to_string();
            let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].map(header).join("\r\n");
            let answer = format!("SIP/2.0 200 OK\r\n{kept}\r\nContent-Length: 0\r\n\r\n");
            self.socket.send_to(answer.as_bytes(), self.sip).unwrap();
            calls.retain(|id| !bye.contains(&format!("Call-ID: {id}\r\n")));
        }
    }
}

/// Why each contact ended.
fn ends(events: &[Event]) -> Vec<EndReason> {
    let contacts = events.iter().filter_map(|event| match &event.data {
        Data::CallEnded(ended) if event.leg.is_none() => Some(ended.reason),
        _ => None,
    });
    contacts.collect()
}

/// It waits for running calls, and has ports for all of them.
fn with_patience(config: &std::path::Path) {
    let text = std::fs::read_to_string(config).unwrap().replace("drain_ms", "calls_ms = 600_000\ndrain_ms");
    let text = text.replace("last_port = 22099", "last_port = 22499");
    std::fs::write(config, text).unwrap();
}

#[test]
fn sigterm_lets_half_of_fifty_calls_end_and_a_second_one_hands_the_rest_over() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 22_000);
    with_patience(&config);
    let bridge = Bridge::start(&config);
    let exchange = Exchange::of(&bridge);
    let calls: Vec<String> = (0..CALLS).map(|n| format!("call{n:02}")).collect();
    let dialled: Vec<_> = calls.iter().map(|id| dial(bridge.sip, &exchange.socket, id)).collect();
    let speaking = dialled.iter().map(|(ports, _)| {
        let ports = *ports;
        std::thread::spawn(move || speak(ports, PACKETS, pattern))
    });
    speaking.collect::<Vec<_>>().into_iter().for_each(|speaking| speaking.join().unwrap());

    bridge.signal(Signal::SIGTERM);
    let (mut asked, to) = (0, format!("To: <sip:2001@{}>", bridge.sip));
    let elsewhere = |answer: &str| answer.starts_with("SIP/2.0 503") && answer.contains("Retry-After");
    while !elsewhere(&exchange.asks("OPTIONS", &format!("ask{asked}"), &to)) {
        asked += 1;
        assert!(asked < 1_000, "the bridge does not say that it goes");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(elsewhere(&exchange.asks("INVITE", "late", &to)), "a new call is sent elsewhere");
    let (over, on) = calls.split_at(CALLS / 2);
    for (id, (_, to)) in over.iter().zip(&dialled) {
        assert!(exchange.asks("BYE", id, to).starts_with("SIP/2.0 200"));
    }
    let events = hook.until(|events| ends(events).len() == over.len());
    assert!(!ends(&events).contains(&EndReason::BridgeRestart), "{:?}", ends(&events));
    bridge.signal(Signal::SIGTERM);
    exchange.is_hung_up(on.to_vec());
    bridge.ends();
    drop(exchange);

    let before = accepted(&config);
    let bridge = Bridge::start(&config);
    let documented = |events: &[Event]| events.iter().filter(|event| is_document(event)).count();
    let events = hook.until(|events| documented(events) == CALLS);
    bridge.stop();
    let restarts = ends(&events).into_iter().filter(|reason| *reason == EndReason::BridgeRestart).count();
    assert_eq!((ends(&events).len(), restarts), (CALLS, on.len()), "{:?}", ends(&events));
    whole(&events);
    for row in &before {
        assert!(events.iter().any(|event| row["event"] == event.id.to_string()), "{row} did not arrive");
    }
}

/// Each contact's events are numbered without a hole, and its recording has what was said.
fn whole(events: &[Event]) {
    let mut contacts: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.sequence.is_some()) {
        contacts.entry(event.contact.to_string()).or_default().push(event);
    }
    assert_eq!(contacts.len(), CALLS);
    for (contact, events) in contacts {
        let mut sequences: Vec<u64> = events.iter().filter_map(|event| event.sequence).collect();
        sequences.dedup();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "{contact}");
        let recording = events.iter().find_map(|event| match &event.data {
            Data::RecordingAvailable(recording) => Some(recording),
            _ => None,
        });
        let streams = &recording.unwrap_or_else(|| panic!("{contact} has no recording")).streams;
        let said = u64::from(PACKETS) * 160;
        assert!(streams.len() == 2 && streams.iter().all(|stream| stream.samples >= said), "{contact}: {streams:?}");
    }
}

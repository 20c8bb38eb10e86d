//! Kamailio with `config/kamailio/kamailio.cfg` in front of two bridges: calls are spread, stay where they are, and go to the other one when one is
//! killed. Needs the lab: make lab
#![cfg(feature = "web")]

#[path = "common/hook.rs"]
mod hook;
#[path = "common/serve.rs"]
mod serve;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hook::Hook;
use serve::{Serve, Wanted};

const PATIENCE: Duration = Duration::from_secs(60);

/// Kamailio at work; ends with the test.
struct Kamailio(Child, SocketAddr);

impl Kamailio {
    fn start(folder: &Path, bridges: &[SocketAddr]) -> Kamailio {
        let list = folder.join("dispatcher.list");
        let text: String = bridges.iter().map(|bridge| format!("1 sip:{bridge}\n")).collect();
        std::fs::write(&list, text).unwrap();
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("kamailio")
            .args(["-f", "config/kamailio/kamailio.cfg", "-DD", "-E", "-A"])
            .arg(format!("LISTEN=udp:{address}"))
            .args(["-A", &format!("BRIDGES=\"{}\"", list.display()), "-Y"])
            .arg(folder)
            .stderr(Stdio::null())
            .spawn()
            .expect("kamailio is installed: tests/lab/run.sh does it");
        Kamailio(child, address)
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// One call of an exchange: what it says by UDP, and where its answers come from.
struct Call {
    socket: UdpSocket,
    id: String,
    /// Of the answer: To, Contact, and Record-Route as the route of later requests.
    to: String,
    contact: String,
    route: String,
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

impl Call {
    fn begin(kamailio: &Kamailio, id: &str) -> Call {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(kamailio.1).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let (to, contact, route) = ("<sip:6001@bridge>".to_string(), "sip:6001@bridge".to_string(), String::new());
        let mut call = Call { socket, id: id.into(), to, contact, route };
        let sdp =
            "v=0\r\no=x 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
        let answer = call.ask("INVITE", 1, sdp);
        assert!(answer.starts_with("SIP/2.0 200"), "{id}: {answer}");
        call.to = header(&answer, "To").unwrap().to_owned();
        call.contact = header(&answer, "Contact").unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
        call.route = header(&answer, "Record-Route").expect("Kamailio stays in the path").to_owned();
        call.send("ACK", 1, "");
        call
    }

    /// Which bridge has it.
    fn bridge(&self) -> SocketAddr {
        let host = self.contact.rsplit('@').next().unwrap().trim_start_matches("sip:");
        host.split(';').next().unwrap().parse().unwrap()
    }

    fn send(&self, method: &str, cseq: u32, body: &str) {
        let (own, id) = (self.socket.local_addr().unwrap(), &self.id);
        let route = if self.route.is_empty() { String::new() } else { format!("Route: {}\r\n", self.route) };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let message = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-{id}-{cseq}-{method};rport\r\nMax-Forwards: 70\r\n{route}\
             From: <sip:0662088181@{own}>;tag=f-{id}\r\nTo: {}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:x@{own}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.contact,
            self.to,
            body.len()
        );
        self.socket.send(message.as_bytes()).unwrap();
    }

    /// The final answer, to a request that is repeated until it comes.
    fn ask(&self, method: &str, cseq: u32, body: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut space = vec![0; 65_536];
        while Instant::now() < deadline {
            self.send(method, cseq, body);
            while let Ok(length) = self.socket.recv(&mut space) {
                let answer = String::from_utf8_lossy(&space[..length]).into_owned();
                let own = header(&answer, "CSeq") == Some(&format!("{cseq} {method}"));
                if own && !answer.starts_with("SIP/2.0 1") {
                    return answer;
                }
            }
        }
        panic!("{method} of {}: no answer", self.id);
    }

    fn end(&self) {
        let answer = self.ask("BYE", 2, "");
        assert!(answer.starts_with("SIP/2.0 200"), "{}: {answer}", self.id);
    }
}

/// Calls, by the bridge that has them.
fn calls(kamailio: &Kamailio, name: &str, count: usize) -> BTreeMap<SocketAddr, Vec<Call>> {
    let mut by_bridge: BTreeMap<SocketAddr, Vec<Call>> = BTreeMap::new();
    for n in 0..count {
        let call = Call::begin(kamailio, &format!("{name}-{n}"));
        by_bridge.entry(call.bridge()).or_default().push(call);
    }
    by_bridge
}

fn bridge(folder: &Path, hook: &Hook) -> Serve {
    Wanted { folder, hook: hook.port, speech: "model = \"models/kakehashi-lab-ja.bin\"\nworkers = 1", exchange: None }
        .start()
}

#[test]
#[ignore = "needs the lab: make lab"]
fn calls_are_spread_stay_where_they_are_and_a_killed_bridge_gets_no_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let (first, second) = (bridge(&folder.path().join("1"), &hook), bridge(&folder.path().join("2"), &hook));
    let (gone, stays) = (first.sip(), second.sip());
    let kamailio = Kamailio::start(folder.path(), &[gone, stays]);
    let before = calls(&kamailio, "before", 20);
    let spread: Vec<usize> = before.values().map(Vec::len).collect();
    println!("20 calls over two bridges: {spread:?}");
    assert_eq!(before.keys().copied().collect::<std::collections::BTreeSet<_>>(), [gone, stays].into());
    // the BYE of half of them; those of the other half outlive the kill, where their bridge does
    before.values().flatten().step_by(2).for_each(Call::end);

    Command::new("kill").args(["-KILL", &first.pid().to_string()]).status().unwrap();
    // at once: a bridge that says nothing is passed over, also before it is known to be down
    let after = calls(&kamailio, "after", 20);
    println!("20 calls after the kill: {} at the bridge that stays", after[&stays].len());
    assert_eq!(after.keys().copied().collect::<Vec<_>>(), [stays]);
    before[&stays].iter().filter(|call| !ended(&before, call)).for_each(Call::end);
    after.values().flatten().for_each(Call::end);
}

/// Whether a call was ended before the kill.
fn ended(before: &BTreeMap<SocketAddr, Vec<Call>>, call: &Call) -> bool {
    before.values().flatten().step_by(2).any(|one| one.id == call.id)
}

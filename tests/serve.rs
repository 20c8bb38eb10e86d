//! `kakehashi serve` as a process: a call by SIP, killed in its middle with the CRM away, taken up again; a quiet end by SIGTERM.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kakehashi::events::{Data, EndReason, Event};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "common/hook.rs"]
mod hook;

use hook::{Hook, SECRET, free_port};

/// 20 ms packets that are sent before the bridge is killed.
const PACKETS: u16 = 60;

fn write_config(folder: &Path, hook: u16, media: u16) -> PathBuf {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let text = format!(
        r#"
[node]
data_dir = "{data}"
drain_ms = 3000
[log]
json = true
[[site]]
id = "osaka"
directory = "{samples}/directory.csv"
contacts = "{samples}/contacts.csv"
[[pbx]]
id = "exchange"
site = "osaka"
[pbx.sip]
peers = ["127.0.0.1/32"]
[sip]
enabled = true
listen_udp = ["127.0.0.1:0"]
listen_tcp = []
[media]
first_port = {media}
last_port = {last}
[[line]]
number = "*"
transcribe = false
[outbox]
retry_schedule_ms = [200, 200, 200, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000]
[[endpoint]]
id = "crm"
url = "http://127.0.0.1:{hook}/hook"
secrets = ["{SECRET}"]
[panel]
enabled = false
"#,
        data = folder.join("data").display(),
        samples = samples.display(),
        last = media + 99,
    );
    let path = folder.join("kakehashi.toml");
    std::fs::write(&path, text).unwrap();
    path
}

struct Bridge {
    process: Child,
    sip: SocketAddr,
}

impl Bridge {
    fn start(config: &Path) -> Bridge {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kakehashi"))
            .args(["serve", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let ready = log.by_ref().map_while(Result::ok).find(|line| line.contains("\"ready\"")).expect("it gets ready");
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
        let sip = ready["fields"]["sip_udp"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap();
        // the pipe is read to its end, so that the bridge never waits for it
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        Bridge { process, sip }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }

    fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.process.wait().unwrap();
    }

    fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.process.wait().unwrap().success());
    }
}

/// Calls the bridge as a recording leg does: two audio lines, caller and agent. Gives the two RTP ports.
fn call(sip: SocketAddr, socket: &UdpSocket) -> [u16; 2] {
    let local = socket.local_addr().unwrap();
    let audio = "m=audio 40000 RTP/AVP 0\r\na=sendonly\r\n";
    let body = format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{audio}{audio}");
    let start = |method: &str, to: &str| {
        format!(
            "{method} sip:2001@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}\r\nMax-Forwards: 70\r\n\
             From: <sip:0600001234@{local}>;tag=a\r\n{to}\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:x@{local}>\r\n"
        )
    };
    let to = format!("To: <sip:2001@{sip}>");
    let invite = start("INVITE", &to);
    let length = body.len();
    let request = format!("{invite}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}");
    socket.send_to(request.as_bytes(), sip).unwrap();
    let mut buffer = [0; 4_096];
    loop {
        let length = socket.recv(&mut buffer).expect("an answer");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with("SIP/2.0 200") {
            let to = text.lines().find(|line| line.starts_with("To:")).unwrap();
            socket.send_to(format!("{}Content-Length: 0\r\n\r\n", start("ACK", to)).as_bytes(), sip).unwrap();
            let ports = text.lines().filter_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok());
            return ports.collect::<Vec<u16>>().try_into().unwrap();
        }
    }
}

/// Speaks on both lines in real time.
fn speak(ports: [u16; 2]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..PACKETS {
        for (ssrc, port) in ports.iter().enumerate() {
            let mut packet = vec![0x80, 0];
            packet.extend(n.to_be_bytes());
            packet.extend((u32::from(n) * 160).to_be_bytes());
            packet.extend((ssrc as u32 + 1).to_be_bytes());
            packet.extend((0..160_u16).map(|i| (i as u8).wrapping_mul(7).wrapping_add(n as u8)));
            socket.send_to(&packet, ("127.0.0.1", *port)).unwrap();
        }
        // the pace of the medium, which the bridge measures against its own clock
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn accepted(config: &Path) -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_kakehashi"))
        .args(["outbox", "list", "--json", "--config"])
        .arg(config)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_document(event: &Event) -> bool {
    matches!(event.data, Data::TranscriptDocument(_))
}

#[test]
fn killed_in_mid_call_with_the_crm_away_nothing_is_lost_and_the_leg_ends_with_bridge_restart() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = write_config(folder.path(), port, 21_000);
    let bridge = Bridge::start(&config);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    speak(call(bridge.sip, &socket));
    bridge.kill();
    let before = accepted(&config);
    assert!(before.len() >= 3, "offered, ringing and answered were accepted: {before:?}");

    let hook = Hook::listen(port);
    let bridge = Bridge::start(&config);
    let events = hook.until(|events| events.iter().any(is_document));
    let records: Vec<&Event> = events.iter().filter(|event| event.sequence.is_some()).collect();
    let sequences: Vec<u64> = records.iter().filter_map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=records.len() as u64).collect::<Vec<_>>(), "in order, none missing, none twice");
    for row in &before {
        let arrived =
            records.iter().any(|event| row["event"] == event.id.to_string() && row["kind"] == event.type_name());
        assert!(arrived, "{row} did not arrive");
    }
    let reasons = records.iter().filter_map(|event| match &event.data {
        Data::CallEnded(ended) => Some(ended.reason),
        _ => None,
    });
    assert!(reasons.clone().count() == 2 && reasons.clone().all(|reason| reason == EndReason::BridgeRestart));
    let Some(Data::RecordingAvailable(recording)) =
        records.iter().map(|event| &event.data).find(|data| matches!(data, Data::RecordingAvailable(_)))
    else {
        panic!("no recording")
    };
    assert_eq!(recording.streams.len(), 2);
    // a tenth of a second may have been on its way through the bridge
    let least = u64::from(PACKETS) * 160 - 3_200;
    assert!(recording.streams.iter().all(|stream| stream.samples >= least), "{recording:?}");
    bridge.stop();
}

#[test]
fn sigterm_ends_a_running_call_with_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 21_200);
    let bridge = Bridge::start(&config);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    call(bridge.sip, &socket);
    hook.until(|events| events.iter().any(|event| matches!(event.data, Data::CallAnswered(_))));
    bridge.stop();
    assert!(accepted(&config).iter().any(|row| row["kind"] == "kakehashi.transcript.document.v1"));
}

//! `kakehashi serve` as a process: a call by SIP, killed in its middle with the CRM away, taken up again; a quiet end by SIGTERM.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kakehashi::events::{Data, EndReason, Event};
#[cfg(feature = "whisper")]
use kakehashi::media::codec::encode_ulaw;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "serve/backup.rs"]
mod backup;
#[path = "serve/drain.rs"]
mod drain;
#[path = "common/hook.rs"]
mod hook;
#[cfg(feature = "web")]
#[path = "serve/reload.rs"]
mod reload;
#[cfg(all(feature = "telemetry", feature = "web"))]
#[path = "serve/telemetry.rs"]
mod telemetry;

use hook::{Hook, SECRET, free_port};

/// 20 ms packets that are sent before the bridge is killed.
const PACKETS: u16 = 60;

fn write_config(folder: &Path, hook: u16, media: u16) -> PathBuf {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    std::fs::copy(samples.join("directory.csv"), folder.join("directory.csv")).unwrap();
    let text = format!(
        r#"
[node]
data_dir = "{data}"
drain_ms = 3000
reload_ms = 50
[log]
json = true
[[site]]
id = "osaka"
directory = "{directory}"
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
breaker_pause_ms = 200
breaker_longest_ms = 1000
[[endpoint]]
id = "crm"
url = "http://127.0.0.1:{hook}/hook"
secrets = ["{SECRET}"]
[panel]
enabled = false
"#,
        data = folder.join("data").display(),
        directory = folder.join("directory.csv").display(),
        samples = samples.display(),
        last = media + 99,
    );
    let path = folder.join("kakehashi.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[cfg_attr(not(feature = "web"), allow(dead_code, reason = "the tests that read the log need the panel"))]
struct Bridge {
    process: Child,
    sip: SocketAddr,
    /// Where the panel is, if there is one.
    panel: Option<SocketAddr>,
    /// What it wrote since it was ready.
    log: Arc<Mutex<Vec<String>>>,
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
        let panel = ready["fields"]["panel"].as_str();
        let panel = panel.map(|url| url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        // the pipe is read to its end, so that the bridge never waits for it
        std::thread::spawn(move || log.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line)));
        Bridge { process, sip, panel, log: lines }
    }

    /// Waits for the `count`-th line with this message, and gives its fields.
    #[cfg(feature = "web")]
    fn told(&self, message: &str, count: usize) -> serde_json::Value {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let log = self.log.lock().unwrap().clone();
            let lines = log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let mut found = lines.map(|line| line["fields"].clone()).filter(|fields| fields["message"] == message);
            if let Some(fields) = found.nth(count - 1) {
                return fields;
            }
            assert!(std::time::Instant::now() < deadline, "`{message}` was not told: {log:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }

    fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.process.wait().unwrap();
    }

    fn stop(self) {
        self.signal(Signal::SIGTERM);
        self.ends();
    }

    /// It ends in order.
    fn ends(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

/// Calls the bridge as a recording leg does: two audio lines, caller and agent. Gives the two RTP ports.
fn call(sip: SocketAddr, socket: &UdpSocket, id: &str) -> [u16; 2] {
    dial(sip, socket, id).0
}

/// As [`call`]; gives the `To` of its answer, too.
fn dial(sip: SocketAddr, socket: &UdpSocket, id: &str) -> ([u16; 2], String) {
    let local = socket.local_addr().unwrap();
    let audio = "m=audio 40000 RTP/AVP 0\r\na=sendonly\r\n";
    let body = format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{audio}{audio}");
    let start = |method: &str, to: &str| {
        format!(
            "{method} sip:2001@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{id}\r\nMax-Forwards: 70\r\n\
             From: <sip:0600001234@{local}>;tag={id}\r\n{to}\r\nCall-ID: {id}\r\nCSeq: 1 {method}\r\n\
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
            return (ports.collect::<Vec<u16>>().try_into().unwrap(), to.to_string());
        }
    }
}

/// Speaks on both lines in real time; `payload` gives 160 bytes of G.711 for a line and a packet.
fn speak(ports: [u16; 2], packets: u16, payload: impl Fn(usize, u16) -> Vec<u8>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..packets {
        for (line, port) in ports.iter().enumerate() {
            let mut packet = vec![0x80, 0];
            packet.extend(n.to_be_bytes());
            packet.extend((u32::from(n) * 160).to_be_bytes());
            packet.extend((line as u32 + 1).to_be_bytes());
            packet.extend(payload(line, n));
            socket.send_to(&packet, ("127.0.0.1", *port)).unwrap();
        }
        // the pace of the medium, which the bridge measures against its own clock
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A pattern that is no speech.
fn pattern(_: usize, n: u16) -> Vec<u8> {
    (0..160_u16).map(|i| (i as u8).wrapping_mul(7).wrapping_add(n as u8)).collect()
}

/// Both parties of a sample call as G.711.
#[cfg(feature = "whisper")]
fn sample_call() -> impl Fn(usize, u16) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/calls/call2.wav");
    let samples: Vec<i16> = hound::WavReader::open(path).unwrap().into_samples().map(Result::unwrap).collect();
    move |line, n| {
        let from = usize::from(n) * 160;
        (from..from + 160).map(|at| encode_ulaw(samples.get(at * 2 + line).copied().unwrap_or(0))).collect()
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
    speak(call(bridge.sip, &socket, "c1"), PACKETS, pattern);
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
    call(bridge.sip, &socket, "c1");
    hook.until(|events| events.iter().any(|event| matches!(event.data, Data::CallAnswered(_))));
    bridge.stop();
    assert!(accepted(&config).iter().any(|row| row["kind"] == "kakehashi.transcript.document.v1"));
}

#[test]
fn a_changed_directory_is_used_for_the_next_call_and_a_wrong_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 21_400);
    let bridge = Bridge::start(&config);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // each call asks the directory anew: it is called until the new name is there
    let mut calls = 0;
    let mut called_until = |name: &str| loop {
        calls += 1;
        call(bridge.sip, &socket, &format!("c{calls}"));
        let events = hook.until(|events| answered(events).len() == calls);
        if answered(&events).last() == Some(&Some(name.to_string())) {
            return;
        }
        assert!(calls < 200, "the directory was not read again");
    };
    called_until("山田");
    let write = |text: &str| std::fs::write(folder.path().join("directory.csv"), text).unwrap();
    write("extension,agent,name,department,tier\n2001,op-mori,森,窓口,2\n");
    called_until("森");
    write("extension,agent,name,department,tier\n2001,op-kato,加藤,窓口,9\n");
    std::thread::sleep(Duration::from_millis(500));
    called_until("森");
    bridge.stop();
}

/// A worker's queue of one utterance: the others wait on disk without their sound, and all of them get their text in the end.
#[cfg(feature = "whisper")]
#[test]
fn what_the_recognisers_have_no_room_for_waits_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = write_config(folder.path(), port, 21_600);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/kakehashi-lab-ja.bin");
    let text = std::fs::read_to_string(&config).unwrap().replace("transcribe = false", "transcribe = true");
    let speech = format!("[speech]\nmodel = \"{}\"\nworkers = 1\nqueue_catch_up_seconds = 0\n", model.display());
    std::fs::write(&config, text + &speech).unwrap();
    let bridge = Bridge::start(&config);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ports = call(bridge.sip, &socket, "c1");
    // killed with all of it unrecognised: the workers stand still
    let workers = children(&bridge);
    workers.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
    speak(ports, 900, sample_call());
    bridge.kill();
    for pid in workers {
        // one that is gone already is as good
        let _ = kill(pid, Signal::SIGKILL);
    }

    let hook = Hook::listen(port);
    let bridge = Bridge::start(&config);
    let events = hook.until(|events| events.iter().any(is_document));
    let texts: Vec<&str> = events
        .iter()
        .filter_map(|event| match &event.data {
            Data::TranscriptFinal(text) if text.caught_up => Some(text.text.as_str()),
            _ => None,
        })
        .collect();
    for said in ["5月3日に予約したいです。", "ほかにご不明な点はございませんか。", "土曜日も開いていますか。"]
    {
        assert!(texts.contains(&said), "{said} is not among {texts:?}");
    }
    let complete = events.iter().any(|event| matches!(&event.data, Data::TranscriptDocument(doc) if doc.complete));
    assert!(complete);
    bridge.stop();
}

/// The worker processes of a bridge.
#[cfg(feature = "whisper")]
fn children(bridge: &Bridge) -> Vec<Pid> {
    let id = bridge.process.id();
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
    let all = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids = all.flat_map(|text| text.split_whitespace().map(str::to_string).collect::<Vec<_>>());
    let mut pids: Vec<Pid> = pids.filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect();
    pids.sort();
    pids.dedup();
    assert!(!pids.is_empty(), "the bridge has no worker");
    pids
}

/// Who answered, in order.
fn answered(events: &[Event]) -> Vec<Option<String>> {
    let states = events.iter().filter_map(|event| match &event.data {
        Data::CallAnswered(state) => Some(state.agent.name.clone()),
        _ => None,
    });
    states.collect()
}

/// Real speech through the running bridge: what is masked in the text is silence on disk, and no file has a digit of it. The class is that of
/// telephone numbers because the shipped model knows no longer ones.
#[cfg(feature = "whisper")]
#[test]
fn a_number_that_was_spoken_is_in_no_file_when_the_bridge_has_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 21_800);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/kakehashi-lab-ja.bin");
    let text = std::fs::read_to_string(&config).unwrap().replace("transcribe = false", "transcribe = true");
    let speech =
        format!("[speech]\nmodel = \"{}\"\nworkers = 1\n[transcript]\nmask = [\"telephone\"]\n", model.display());
    std::fs::write(&config, text + &speech).unwrap();
    let bridge = Bridge::start(&config);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // 電話番号は090-1934-0323です。
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/numbers/telephone.wav");
    let spoken: Vec<i16> = hound::WavReader::open(path).unwrap().into_samples().map(Result::unwrap).collect();
    let sound = |line: usize, n: u16| {
        let sample = |at: usize| spoken.get(at).copied().filter(|_| line == 0).unwrap_or(0);
        (usize::from(n) * 160..usize::from(n) * 160 + 160).map(|at| encode_ulaw(sample(at))).collect()
    };
    speak(call(bridge.sip, &socket, "c1"), 420, sound);
    let is_final = |event: &Event| matches!(event.data, Data::TranscriptFinal(_));
    let events = hook.until(|events| events.iter().any(is_final));
    bridge.stop();
    let mut finals = events.iter().filter_map(|event| match &event.data {
        Data::TranscriptFinal(text) => Some(text.clone()),
        _ => None,
    });
    let said = finals.next_back().unwrap();
    assert_eq!(said.text, "電話番号は***-****-****です。");
    assert!(!said.text_raw.contains(|sign: char| sign.is_ascii_digit()));
    let data = folder.path().join("data");
    let stream: uuid::Uuid = said.utterance.split('/').next().unwrap().parse().unwrap();
    let (from, to) = (said.start_ms * 8, said.end_ms * 8);
    let stream = kakehashi::pbx::StreamId(stream);
    let kept = kakehashi::media::segment::read_range(&data.join("audio"), stream, from, to).unwrap();
    assert!(kept.len() > 30_000 && kept.iter().all(|sample| *sample == 0), "it is silence");
    let mut files = 0;
    for entry in walk(&data) {
        let bytes = std::fs::read(&entry).unwrap();
        files += 1;
        for digits in ["1934-0323", "19340323", "090-1934", "0901934"] {
            let found = bytes.windows(digits.len()).any(|window| window == digits.as_bytes());
            assert!(!found, "{} holds {digits}", entry.display());
        }
    }
    assert!(files >= 3, "a database and the sound of both");
}

#[cfg(feature = "whisper")]
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

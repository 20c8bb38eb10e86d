//! The dictionary is replaced while a call runs: by a changed file and on SIGHUP; a broken file changes nothing; words of one ward stay there.
#![cfg(feature = "whisper")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use kakehashi::events::{Data, Event, TranscriptFinal};
use kakehashi::media::codec::encode_ulaw;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "common/hook.rs"]
mod hook;

use hook::{Hook, SECRET};

const PATIENCE: Duration = Duration::from_secs(60);
/// Where the caller of the sample call says 5月3日に予約したいです, in milliseconds, with the silence around it.
const SAID_MS: std::ops::Range<usize> = 5_300..9_300;

fn write_config(folder: &Path, hook: u16, media: u16, reload_ms: u32) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = format!(
        r#"
[node]
data_dir = "{folder}/data"
drain_ms = 3000
reload_ms = {reload_ms}
[log]
json = true
[[site]]
id = "osaka"
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
number = "2001"
wards = ["旭区"]
[[line]]
number = "2002"
[dictionary]
files = ["{folder}/words.csv"]
[speech]
model = "{root}/models/kakehashi-lab-ja.bin"
workers = 1
[[endpoint]]
id = "crm"
url = "http://127.0.0.1:{hook}/hook"
secrets = ["{SECRET}"]
[panel]
enabled = false
"#,
        folder = folder.display(),
        root = root.display(),
        last = media + 99,
    );
    let path = folder.join("kakehashi.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// What the caller says becomes `marked` by an alias, on every line or in one ward.
fn words(folder: &Path, marked: &str, scope: &str) {
    let text = format!("surface,reading,scope,aliases\n{marked},ヨヤク,{scope},予約\n");
    std::fs::write(folder.join("words.new"), text).unwrap();
    std::fs::rename(folder.join("words.new"), folder.join("words.csv")).unwrap();
}

struct Bridge {
    process: Child,
    sip: SocketAddr,
    log: Receiver<String>,
}

impl Bridge {
    fn start(config: &Path) -> Bridge {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kakehashi"))
            .args(["serve", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let ready =
            lines.by_ref().map_while(Result::ok).find(|line| line.contains("\"ready\"")).expect("it gets ready");
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
        let sip = ready["fields"]["sip_udp"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap();
        let (told, log) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| _ = told.send(line)));
        Bridge { process, sip, log }
    }

    /// Waits for a line of the log.
    fn says(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the log does not say {text}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }

    fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.process.wait().unwrap().success());
    }
}

/// A running call with the caller's sound.
struct Call {
    rtp: UdpSocket,
    port: u16,
    sent: u32,
    said: Vec<i16>,
}

impl Call {
    fn to(bridge: &Bridge, line: &str) -> Call {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (local, sip) = (socket.local_addr().unwrap(), bridge.sip);
        let body =
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
        let head = |method: &str, to: &str| {
            format!(
                "{method} sip:{line}@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{line}\r\nMax-Forwards: 70\r\n\
                 From: <sip:0600001234@{local}>;tag={line}\r\n{to}\r\nCall-ID: call-{line}\r\nCSeq: 1 {method}\r\n\
                 Contact: <sip:x@{local}>\r\n"
            )
        };
        let invite = head("INVITE", &format!("To: <sip:{line}@{sip}>"));
        let request = format!("{invite}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        socket.send_to(request.as_bytes(), sip).unwrap();
        let mut buffer = [0; 4_096];
        let answer = loop {
            let length = socket.recv(&mut buffer).expect("an answer");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with("SIP/2.0 200") {
                break text;
            }
        };
        let to = answer.lines().find(|line| line.starts_with("To:")).unwrap();
        socket.send_to(format!("{}Content-Length: 0\r\n\r\n", head("ACK", to)).as_bytes(), sip).unwrap();
        let port = answer.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok());
        let samples = hound::WavReader::open("samples/calls/call2.wav").unwrap().into_samples().map(Result::unwrap);
        let caller: Vec<i16> = samples.step_by(2).collect();
        let said = caller[SAID_MS.start * 8..SAID_MS.end * 8].to_vec();
        Call { rtp: UdpSocket::bind("127.0.0.1:0").unwrap(), port: port.unwrap(), sent: 0, said }
    }

    /// Says the sentence in real time, and gives its text once the webhook has it.
    fn says(&mut self, hook: &Hook) -> TranscriptFinal {
        let before = finals(&hook.until(|_| true)).len();
        for frame in self.said.chunks_exact(160) {
            let mut packet = vec![0x80, 0];
            packet.extend((self.sent as u16).to_be_bytes());
            packet.extend((self.sent * 160).to_be_bytes());
            packet.extend(7_u32.to_be_bytes());
            packet.extend(frame.iter().map(|sample| encode_ulaw(*sample)));
            self.rtp.send_to(&packet, ("127.0.0.1", self.port)).unwrap();
            self.sent += 1;
            // the pace of the medium, which the bridge measures against its own clock
            std::thread::sleep(Duration::from_millis(20));
        }
        finals(&hook.until(|events| finals(events).len() > before)).pop().unwrap()
    }
}

fn finals(events: &[Event]) -> Vec<TranscriptFinal> {
    let texts = events.iter().filter_map(|event| match &event.data {
        Data::TranscriptFinal(text) => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn a_changed_file_is_used_for_the_next_text_of_a_running_call_and_a_broken_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    words(folder.path(), "予約甲", "");
    let bridge = Bridge::start(&write_config(folder.path(), hook.port, 22_000, 50));
    let mut call = Call::to(&bridge, "2001");
    let first = call.says(&hook);
    assert!(first.text.contains("予約甲") && !first.dictionary.is_empty(), "{first:?}");

    words(folder.path(), "予約乙", "");
    bridge.says("the site's files were read again");
    let second = call.says(&hook);
    assert!(second.text.contains("予約乙"), "{second:?}");
    assert_ne!(second.dictionary, first.dictionary);

    std::fs::write(folder.path().join("words.csv"), "surface,reading\n予約丙,\n").unwrap();
    let told = bridge.says("stays as it was");
    assert!(told.contains("line 2, column reading: the row has no reading"), "{told}");
    let third = call.says(&hook);
    assert!(third.text.contains("予約乙"), "{third:?}");
    assert_eq!(third.dictionary, second.dictionary);
    bridge.stop();
}

#[test]
fn words_of_a_ward_are_used_on_its_line_only_and_sighup_reads_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    words(folder.path(), "予約甲", "ward:旭区");
    let bridge = Bridge::start(&write_config(folder.path(), hook.port, 22_200, 0));
    let (mut ward, mut other) = (Call::to(&bridge, "2001"), Call::to(&bridge, "2002"));
    let (in_ward, outside) = (ward.says(&hook), other.says(&hook));
    assert!(in_ward.text.contains("予約甲"), "{in_ward:?}");
    assert!(outside.text.contains("予約") && !outside.text.contains("予約甲"), "{outside:?}");
    assert_ne!(in_ward.dictionary, outside.dictionary);
    assert_eq!(in_ward.dictionary.split('.').next(), outside.dictionary.split('.').next(), "one whole dictionary");

    words(folder.path(), "予約乙", "line:2002");
    bridge.signal(Signal::SIGHUP);
    bridge.says("the site's files were read again");
    assert!(!ward.says(&hook).text.contains("予約乙"));
    assert!(other.says(&hook).text.contains("予約乙"));
    bridge.stop();
    report(&folder.path().join("kakehashi.toml"), finals(&hook.until(|_| true)).len());
}

/// The report counts the texts of the store, and knows what put them right.
fn report(config: &Path, texts: usize) {
    let args = ["dictionary", "report", "--json", "--config"];
    let output = Command::new(env!("CARGO_BIN_EXE_kakehashi")).args(args).arg(config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!((&found["texts"], &found["contacts"]), (&texts.into(), &2.into()));
    assert_eq!(found["without_effect"], serde_json::json!([]), "予約乙 was written");
    assert!(found["versions"].as_object().unwrap().len() >= 3, "{found}");
}

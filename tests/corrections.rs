//! Texts that people put right after the call, through `kakehashi serve` as a process: over HTTP, from the store, over a kill -9.
#![cfg(feature = "web")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kakehashi::bridge::now;
use kakehashi::call::ContactId;
use kakehashi::call::directory::Directory;
use kakehashi::call::line::Lines;
use kakehashi::dictionary::Dictionary;
use kakehashi::events::{Data, Event};
use kakehashi::media::{StreamEvent, StreamEventKind, StreamSummary};
use kakehashi::outbox::store::Outbox;
use kakehashi::outbox::{Batch, ContactRow};
use kakehashi::pbx::{CallKey, EndCause, Fidelity, Identity, LegKey, PbxId, Signal, Speaker, StreamId};
use kakehashi::session::{Opening, Output, Session, Site};
use kakehashi::speech::{Hypothesis, SpeechEvent, SpeechEventKind, Utterance};
use kakehashi::time::{MediaTime, Now};
use serde_json::{Value, json};
use uuid::Uuid;

#[path = "common/hook.rs"]
mod hook;

use hook::{Hook, SECRET};

const PANEL: &str = "panel-token-0123456789";
const CRM: &str = "crm-token-0123456789abc";
const BOT: &str = "bot-token-0123456789abc";
const STREAM: StreamId = StreamId(Uuid::from_u128(1));
const TEXTS: [&str; 2] = ["ミクニにスンデいます", "番号は123456789018です"];

fn write_config(folder: &Path, hook: u16) -> PathBuf {
    let text = format!(
        r#"
[node]
data_dir = "{folder}/data"
drain_ms = 500
[log]
level = "trace"
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
[[line]]
number = "*"
transcribe = false
[[endpoint]]
id = "crm"
url = "http://127.0.0.1:{hook}/hook"
secrets = ["{SECRET}"]
[panel]
listen = "127.0.0.1:0"
token = "{PANEL}"
[[panel.client]]
id = "crm"
token = "{CRM}"
correct = true
[[panel.client]]
id = "bot"
token = "{BOT}"
"#,
        folder = folder.display(),
    );
    let path = folder.join("kakehashi.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A call that is over, stored as the bridge stores it: each text of [`TEXTS`] in an utterance of a second.
fn stored_call(folder: &Path) -> ContactId {
    let site = Site {
        id: "osaka".into(),
        source: "/site/osaka/node/n1".into(),
        directory: Arc::new(Directory::default()),
        dictionary: Arc::new(Dictionary::empty()),
        callers: Arc::default(),
        mask: Default::default(),
    };
    let begin = now();
    let begin = Now { wall: begin.wall - Duration::from_secs(30), ..begin };
    let at = |ms: u64| begin.plus(Duration::from_millis(ms));
    let (caller, leg) = (Identity::default(), LegKey("a".into()));
    let first = Signal::CallAppeared {
        caller: caller.clone(),
        called: "2001".into(),
        keys: Vec::new(),
        fidelity: Fidelity::Full,
    };
    let call = CallKey { pbx: PbxId("exchange".into()), key: "1".into() };
    let line = Lines::default().policy("2001");
    let opening =
        Opening { call: call.clone(), salt: 0, caller: &caller, called: "2001", line, first: &first, before: None };
    let mut session = Session::open(at(0), site, opening);
    for signal in [
        Signal::LegAppeared { leg: leg.clone(), address: "2001".into(), queue: None },
        Signal::LegRinging(leg.clone()),
        Signal::LegAnswered(leg.clone()),
        Signal::StreamAdded { leg, stream: STREAM, speaker: Speaker::Caller },
    ] {
        session.handle_signal(at(0), &signal);
    }
    let stream =
        |session: &mut Session, at: Now, kind| session.handle_stream(&StreamEvent { stream: STREAM, at, kind });
    stream(&mut session, at(0), StreamEventKind::First { origin: at(0), rate: 8_000 });
    for (number, text) in (0_u32..).zip(TEXTS) {
        let from = u64::from(number) * 2_000;
        let (start, end) = (MediaTime(from * 1_000), MediaTime((from + 1_000) * 1_000));
        let utterance = Utterance { number, start, end, forced: false, rate: 8_000, pcm: Arc::from(vec![0_i16; 8]) };
        let kind = SpeechEventKind::Ended(utterance);
        session.handle_speech(SpeechEvent { stream: STREAM, at: at(from + 1_000), kind }, false);
        let hypothesis = Hypothesis { text: text.into(), confidence: 0.9, ..Hypothesis::default() };
        session.handle_outcome(at(from + 1_500), STREAM, number, Ok(hypothesis));
    }
    session.handle_signal(at(20_000), &Signal::CallEnded(EndCause::Normal));
    let summary = StreamSummary { samples: 160_000, rate: 8_000, ..StreamSummary::default() };
    stream(&mut session, at(20_000), StreamEventKind::Closed(summary));
    let mut events = Vec::new();
    while let Some(output) = session.poll() {
        match output {
            Output::Record(event) => events.push(event),
            Output::Silence { stream, from, to } => {
                let kind = StreamEventKind::Silenced { from, to, done: true };
                session.handle_stream(&StreamEvent { stream, at: at(21_000), kind });
            }
            _ => {}
        }
    }
    assert!(session.finished());
    let (id, settings) = (session.id(), kakehashi::outbox::settings::Settings::default());
    let (outbox, committed) = Outbox::open(&folder.join("data"), &settings, &["crm".to_owned()]).unwrap();
    let contact = ContactRow { id, site: "osaka".into(), call, open: false, state: session.state() };
    let batch = Batch { contact, keys: Vec::new(), events, deliver_text: true };
    outbox.commit(batch).unwrap().blocking_recv().unwrap();
    drop(committed);
    id
}

struct Bridge {
    process: Child,
    panel: SocketAddr,
    log: Arc<std::sync::Mutex<String>>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Bridge {
    fn start(config: &Path) -> Bridge {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kakehashi"));
        let mut process = command.args(["serve", "--config"]).arg(config).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(std::sync::Mutex::new(String::new()));
        let ready = loop {
            let line = lines.next().expect("it gets ready").unwrap();
            log.lock().unwrap().push_str(&line);
            if line.contains("\"ready\"") {
                break line;
            }
        };
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let panel = ready["fields"]["panel"].as_str().unwrap();
        let panel = panel.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        // the pipe is read to its end, so that the bridge never waits for it
        let kept = Arc::clone(&log);
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push_str(&line)));
        Bridge { process, panel, log }
    }

    /// One correction; status and body of the answer.
    fn correct(&self, contact: ContactId, token: &str, body: &Value) -> (u16, Value) {
        let (body, mut stream) = (body.to_string(), TcpStream::connect(self.panel).unwrap());
        let head = format!(
            "POST /v1/contacts/{contact}/corrections HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

/// Without what is there twice, by its id: what was on its way when the bridge was killed comes again.
fn once(events: &[Event]) -> impl Iterator<Item = &Event> {
    let mut seen = HashSet::new();
    events.iter().filter(move |event| seen.insert(event.id))
}

fn corrections(events: &[Event]) -> Vec<(u32, &str, &str, &str, Option<&str>)> {
    let all = once(events).filter_map(|event| match &event.data {
        Data::TranscriptCorrected(it) => {
            Some((it.revision, it.before.as_str(), it.text.as_str(), it.from.as_str(), it.agent.as_deref()))
        }
        _ => None,
    });
    all.collect()
}

#[test]
fn a_call_that_is_over_is_corrected_and_the_receiver_gets_it_in_order_over_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let contact = stored_call(folder.path());
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port);
    let bridge = Bridge::start(&config);
    let utterance = |ms: u64| format!("{}/{ms}", STREAM.0);
    let first = json!({"utterance": utterance(0), "text": " 三国に住んでいます ", "revision": 0, "agent": "op1"});
    let done = bridge.correct(contact, PANEL, &first);
    assert_eq!(done, (200, json!({"revision": 1, "text": "三国に住んでいます"})));
    // accepted means on disk
    drop(bridge);

    let bridge = Bridge::start(&config);
    let (status, answer) = bridge.correct(contact, PANEL, &first);
    assert_eq!((status, &answer["revision"]), (409, &json!(1)), "{answer}");
    // several at once, of contacts and utterances that are there and that are not
    let others: Vec<_> = (0..4_u32)
        .map(|n| {
            let nobody = ContactId(Uuid::from_u128(7));
            let body = json!({"utterance": utterance(if n == 1 { 7 } else { 2_000 }), "text": format!("番号は12345678901{n}です")});
            (if n == 0 { nobody } else { contact }, body)
        })
        .collect();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = |(contact, body): &(ContactId, Value)| bridge.correct(*contact, CRM, body);
        let running: Vec<_> = others.iter().map(|other| scope.spawn(move || ask(other).0)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses, [404, 404, 200, 200]);
    let done = bridge.correct(contact, CRM, &json!({"utterance": utterance(0), "text": "三国本町です"}));
    assert_eq!(done, (200, json!({"revision": 2, "text": "三国本町です"})));
    let events = hook.until(|events| corrections(events).len() == 2);
    assert_eq!(
        corrections(&events),
        [
            (1, "ミクニにスンデいます", "三国に住んでいます", "panel", Some("op1")),
            (2, "三国に住んでいます", "三国本町です", "crm", None),
        ],
        "the number's digits are the stars that were there: no news"
    );
    let documents = |events: &[Event]| {
        let all = once(events).filter_map(|event| match &event.data {
            Data::TranscriptDocument(it) => {
                Some((it.revision, it.turns[0].text.clone().unwrap(), it.turns[1].text.clone()))
            }
            _ => None,
        });
        all.collect::<Vec<_>>()
    };
    let events = hook.until(|events| documents(events).len() == 3);
    let last = documents(&events).pop().unwrap();
    assert_eq!(last, (3, "三国本町です".to_owned(), Some("番号は************です".to_owned())));
    let sequences: Vec<_> = once(&events).filter_map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "in order and without a gap");

    for (token, body, status) in [
        (BOT, json!({"utterance": utterance(0), "text": "x"}), 403),
        ("", json!({"utterance": utterance(0), "text": "x"}), 401),
        (CRM, json!({"utterance": utterance(0), "text": "  "}), 400),
        (CRM, json!({"utterance": utterance(0), "text": "a\nb"}), 400),
        (CRM, json!({"utterance": utterance(0), "text": "x".repeat(2_001)}), 400),
        (CRM, json!({"utterance": utterance(0), "text": "x", "agent": "x".repeat(65)}), 400),
        (CRM, json!({"utterance": utterance(0), "txt": "x"}), 400),
        (CRM, json!({"utterance": utterance(0), "text": "x".repeat(20_000)}), 400),
    ] {
        assert_eq!(bridge.correct(contact, token, &body).0, status, "{body}");
    }
    let log = bridge.log.lock().unwrap().clone();
    drop(bridge);
    for secret in ["三国", "ミクニ", "1234567890", PANEL, CRM] {
        assert!(!log.contains(secret), "{secret} is in the log");
        if secret.starts_with('1') {
            let kept = ["outbox.db", "outbox.db-wal"].map(|file| std::fs::read(folder.path().join("data").join(file)));
            let has = |bytes: &Vec<u8>| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!kept.iter().flatten().any(has), "{secret} is in the store");
        }
    }
}

//! `tests/lab/receiver.py` as a child of a test: a CRM's end of the webhooks that is none of ours.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// The secret that it verifies with.
pub(crate) const SECRET: &str = "whsec_a2FrZWhhc2hpLWxhYi1zZWNyZXQtb2YtMzItYnl0ZXM=";
/// Longest wait; only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `receiver.py` at work; ends with the test.
pub(crate) struct Receiver {
    process: Child,
    pub(crate) url: String,
    out: PathBuf,
}

impl Receiver {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Receiver {
        Self::start_with(folder, SECRET, arguments)
    }

    /// One that verifies with this secret or public key.
    pub(crate) fn start_with(folder: &Path, key: &str, arguments: &[&str]) -> Receiver {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let lab = std::env::var_os("LAB_DIR").map_or_else(|| repository.join(".lab"), PathBuf::from);
        let (secret, out) = (folder.join("secret"), folder.join("events.jsonl"));
        std::fs::write(&secret, key).unwrap();
        let mut process = Command::new(lab.join("venv/bin/python"))
            .arg(repository.join("tests/lab/receiver.py"))
            .arg("--secret-file")
            .arg(secret)
            .arg("--out")
            .arg(&out)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/lab/setup.sh has been run");
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "the receiver did not start: {url:?}");
        Receiver { process, url: url.trim().into(), out }
    }

    /// The port that it listens on, to be started there again.
    pub(crate) fn port(&self) -> String {
        self.url.trim_end_matches('/').rsplit(':').next().unwrap().to_string()
    }

    /// What it accepted, in its order.
    pub(crate) fn accepted(&self) -> Vec<Value> {
        let bytes = std::fs::read(&self.out).unwrap();
        // the last line may be half written, in the middle of a character too
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text = std::str::from_utf8(&bytes[..whole]).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Its answers since its start, by kind.
    pub(crate) fn counts(&self) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port().parse().unwrap())).unwrap();
        stream.write_all(b"GET /counts HTTP/1.1\r\nHost: receiver\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

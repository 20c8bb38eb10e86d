//! `kakehashi serve` and `kakehashi relay` as processes, until they are stopped in order.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Longest wait for the start: a model is loaded.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running process.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// What its log says when it is ready.
    ready: Value,
}

impl Process {
    /// Starts a subcommand with its configuration, and waits until it is ready.
    pub(crate) fn start(folder: &Path, subcommand: &str, config: &str) -> Process {
        let (file, log) = (folder.join(format!("{subcommand}.toml")), folder.join(format!("{subcommand}.log")));
        std::fs::write(&file, config).unwrap();
        let out = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kakehashi"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args([subcommand, "--config"])
            .arg(file)
            .env("KAKEHASHI_LOG", "info")
            .stdin(Stdio::null())
            .stderr(out)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(ready) = lines.map(|line| line["fields"].clone()).find(|told| told["message"] == "ready") {
                return Process { child, log, ready };
            }
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "no start: {text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// An address that its log names when it is ready, as `panel` or `sip_udp`.
    pub(crate) fn address(&self, key: &str) -> std::net::SocketAddr {
        let told = self.ready[key].as_str().unwrap_or_default();
        let bare = told.trim_start_matches("http://").trim_end_matches('/').trim_matches(['[', ']']);
        bare.parse().unwrap_or_else(|_| panic!("{key} is {told:?} in {}", self.ready))
    }

    /// The values of a metric, one for each label.
    pub(crate) fn metric(&self, name: &str) -> Vec<f64> {
        let panel = self.address("panel");
        let mut answer = String::new();
        let mut stream = TcpStream::connect(panel).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {panel}\r\nConnection: close\r\n\r\n").unwrap();
        stream.read_to_string(&mut answer).unwrap();
        let values = answer.lines().filter_map(|line| line.strip_prefix(name)?.rsplit(' ').next()?.parse().ok());
        values.collect()
    }

    /// Its log, which says what went wrong.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM; it must end in order.
    pub(crate) fn stop(mut self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "SIGTERM ended it with {status}: {}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

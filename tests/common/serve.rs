//! `kakehashi serve` as an integrator runs it, called by SIP: its configuration, its process, its recognisers, what it uses of the machine.
#![allow(dead_code)] // each test and bench uses its part

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::hook::SECRET;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kakehashi");
/// Longest wait for the start: a model is loaded.
const PATIENCE: Duration = Duration::from_secs(120);

/// A configuration: one exchange on this machine that calls by SIP, everything recorded and transcribed, events to the receiver at `hook`.
pub(crate) struct Wanted<'a> {
    /// For its data, its configuration and its log.
    pub(crate) folder: &'a Path,
    /// The receiver's port.
    pub(crate) hook: u16,
    /// Lines of `[speech]`.
    pub(crate) speech: &'a str,
    /// Tables of `[[pbx]]`, in place of calls by SIP.
    pub(crate) exchange: Option<&'a str>,
}

impl Wanted<'_> {
    fn text(&self) -> String {
        let (folder, hook, speech) = (self.folder.display(), self.hook, self.speech);
        let exchange = self.exchange.unwrap_or("[pbx.sip]\npeers = [\"127.0.0.1/32\"]");
        let by_sip = self.exchange.is_none();
        format!(
            r#"
[node]
id = "proof"
data_dir = "{folder}/data"
[log]
json = true
[[site]]
id = "osaka"
[[pbx]]
id = "exchange"
site = "osaka"
{exchange}
[sip]
enabled = {by_sip}
listen_udp = ["127.0.0.1:0"]
listen_tcp = []
max_calls = 2000
[media]
first_port = 32000
last_port = 37999
[speech]
{speech}
[[endpoint]]
id = "crm"
url = "http://127.0.0.1:{hook}/hook"
secrets = ["{SECRET}"]
# the document of a call of hours comes whole, too
max_body_bytes = 16777216
[panel]
listen = "127.0.0.1:0"
"#
        )
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(&self) -> Serve {
        std::fs::create_dir_all(self.folder).unwrap();
        let config = self.folder.join("kakehashi.toml");
        std::fs::write(&config, self.text()).unwrap();
        let log = self.folder.join("log");
        let out = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut process = Command::new(PROGRAM)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["serve", "--config"])
            .arg(config)
            .env("KAKEHASHI_LOG", "info")
            .stdin(Stdio::null())
            .stderr(out)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let ready = loop {
            let text = read(&log);
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut told = lines.map(|line| line["fields"].clone());
            if let Some(fields) = told.find(|fields| fields["message"] == "ready") {
                break fields;
            }
            assert!(process.try_wait().unwrap().is_none() && Instant::now() < deadline, "no start: {text}");
            std::thread::sleep(Duration::from_millis(10));
        };
        let panel = ready["panel"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/');
        let sip = ready["sip_udp"].as_str().unwrap().trim_matches(['[', ']']).parse().ok();
        Serve { process, log, panel: panel.parse().unwrap(), sip }
    }
}

/// A running bridge; it ends with the test.
pub(crate) struct Serve {
    process: Child,
    log: PathBuf,
    pub(crate) panel: SocketAddr,
    sip: Option<SocketAddr>,
}

impl Serve {
    /// Where it is called by SIP.
    pub(crate) fn sip(&self) -> SocketAddr {
        self.sip.expect("it is called by SIP")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Process ids of its recognisers, by the operating system.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let is_worker = |pid: &u32| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).nth(1) == Some(b"worker")
        };
        children(self.pid()).into_iter().filter(is_worker).collect()
    }

    /// Processor time of it and its recognisers so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        process_cpu(self.pid()) + self.workers().into_iter().map(process_cpu).sum::<f64>()
    }

    /// A value of `/metrics`; `None` where there is none.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(self.panel).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.panel).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// What it wrote to standard error.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// SIGTERM; it must end in order.
    pub(crate) fn stop(mut self) {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "SIGTERM ended it with {status}: {}", self.log());
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
            if std::thread::panicking() {
                let log = self.log();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("the end of the bridge's log:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
            }
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn children(parent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// Processor time of a process so far, in seconds (ticks of 10 ms); 0 when it is gone.
pub(crate) fn process_cpu(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // the name in brackets may hold blanks; user and system time are fields 14 and 15
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Resident memory of a process in KiB; 0 when it is gone.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

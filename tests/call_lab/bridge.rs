//! The bridge as an integrator runs it: `kakehashi serve --config FILE` as a child process, at trace level.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::repository;
use crate::receiver::{PATIENCE, Receiver};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kakehashi");

/// Waits until `look` finds something; fails with `what` after `patience`.
pub(crate) fn wait_for<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder with a configuration, a data folder and a log, and the bridge that works there.
pub(crate) struct Bridge {
    folder: PathBuf,
    process: Child,
    panel: String,
}

impl Bridge {
    /// Writes the configuration into `folder` and starts the bridge.
    pub(crate) fn start(folder: &Path, receiver: &Receiver) -> Bridge {
        std::fs::write(config_in(folder), config(folder, &receiver.url)).unwrap();
        Bridge::again(folder)
    }

    /// Starts the bridge with what is in `folder`, and waits until it is ready.
    pub(crate) fn again(folder: &Path) -> Bridge {
        let from = log_of(folder).len();
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let mut process = serve(folder, log);
        let panel = wait_for("the bridge is ready", PATIENCE, || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the bridge ended at its start with {status}: {}", &log_of(folder)[from..]);
            }
            ready(&log_of(folder)[from..])
        });
        Bridge { folder: folder.into(), process, panel }
    }

    /// Address of the panel.
    pub(crate) fn panel(&self) -> &str {
        &self.panel
    }

    /// Process ids of its recognisers, by the operating system.
    pub(crate) fn workers(&self) -> Vec<i32> {
        let is_worker = |pid: &i32| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).nth(1) == Some(b"worker")
        };
        children(self.process.id()).into_iter().filter(is_worker).collect()
    }

    /// What it holds of the machine now.
    pub(crate) fn kept(&self) -> Kept {
        let of = format!("/proc/{}", self.process.id());
        let status = std::fs::read_to_string(format!("{of}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Kept {
            resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
            files: std::fs::read_dir(format!("{of}/fd")).unwrap().count(),
        }
    }

    /// Everything that it and its recognisers wrote to standard error, over all starts.
    pub(crate) fn log(&self) -> String {
        log_of(&self.folder)
    }

    /// SIGTERM; it must end in order.
    pub(crate) fn stop(mut self) {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "SIGTERM ended it with {status}: {}", self.log());
    }

    /// SIGKILL. Its recognisers must end by themselves.
    pub(crate) fn kill(mut self) {
        let workers = self.workers();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        wait_for("the recognisers of a killed bridge end", PATIENCE, || {
            workers.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
    }
}

/// Memory and open files of a running bridge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) resident_kib: u64,
    pub(crate) files: usize,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
            if std::thread::panicking() {
                eprintln!("the end of the bridge's log:\n{}", tail(&self.log(), 40));
            }
        }
    }
}

/// Starts the bridge with a changed configuration that it must refuse; its exit code, and its last line on standard error.
pub(crate) fn refused(
    folder: &Path,
    receiver: &Receiver,
    change: impl FnOnce(String) -> String,
) -> (Option<i32>, String) {
    std::fs::write(config_in(folder), change(config(folder, &receiver.url))).unwrap();
    let log = File::create(folder.join("log")).unwrap();
    let mut process = serve(folder, log);
    let status = wait_for("the bridge refuses to start", PATIENCE, || process.try_wait().unwrap());
    (status.code(), tail(&log_of(folder), 1))
}

/// A delivery as `kakehashi outbox list --json` shows it, and the event as `kakehashi outbox show` prints it.
pub(crate) struct Stored {
    pub(crate) contact: String,
    pub(crate) sequence: u64,
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) body: Value,
}

/// What the outbox in `folder` holds, oldest first.
pub(crate) fn stored(folder: &Path) -> Vec<Stored> {
    let list = run_ok(folder, &["outbox", "list", "--json", "--limit", "100000"]);
    let rows = list.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut all: Vec<Stored> = rows
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or_else(|| panic!("no {key} in {row}")).to_string();
            let body = run_ok(folder, &["outbox", "show", &text("event")]);
            Stored {
                contact: text("contact"),
                sequence: row["sequence"].as_u64().unwrap(),
                id: text("event"),
                status: text("status"),
                body: serde_json::from_str(&body).unwrap(),
            }
        })
        .collect();
    all.reverse();
    all
}

/// Runs a subcommand on the configuration in `folder`; gives what it prints.
pub(crate) fn run_ok(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    command.current_dir(repository()).args(arguments).arg("--config").arg(config_in(folder));
    let output = command.output().unwrap();
    assert!(output.status.success(), "kakehashi {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Left and right of the WAV file that `kakehashi export` writes of a call at 8 kHz.
pub(crate) fn exported(folder: &Path, contact: &str) -> [Vec<i16>; 2] {
    exported_at(8_000, folder, contact)
}

/// The same of a call that was heard at `rate` samples a second.
pub(crate) fn exported_at(rate: u32, folder: &Path, contact: &str) -> [Vec<i16>; 2] {
    let out = folder.join(format!("{contact}.wav"));
    run_ok(folder, &["export", contact, "--out", out.to_str().unwrap()]);
    let mut wav = hound::WavReader::open(out).unwrap();
    let spec = wav.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, rate, 16));
    let samples: Vec<i16> = wav.samples::<i16>().map(Result::unwrap).collect();
    [0, 1].map(|channel| samples.iter().skip(channel).step_by(2).copied().collect())
}

/// Types of the events of a running bridge's outbox so far, without disturbing it.
pub(crate) fn accepted_kinds(folder: &Path) -> Vec<String> {
    let rows = run_ok(folder, &["outbox", "list", "--json", "--limit", "100000"]);
    rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().into()).collect()
}

/// Processor time that a process has used so far, in ticks of 10 ms; `None` when it is gone.
pub(crate) fn used(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name in brackets may hold blanks; user and system time are fields 14 and 15
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn children(parent: u32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}

fn serve(folder: &Path, log: File) -> Child {
    let mut command = Command::new(PROGRAM);
    command.current_dir(repository()).args(["serve", "--config"]).arg(config_in(folder));
    command.env("KAKEHASHI_LOG", "trace").stderr(log).spawn().unwrap()
}

/// The panel's address, once the log says that the bridge is ready.
fn ready(log: &str) -> Option<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let fields = lines.map(|line| line["fields"].clone()).find(|fields| fields["message"] == "ready")?;
    Some(fields["panel"].as_str()?.to_string())
}

fn log_of(folder: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join("log")).unwrap_or_default()).into_owned()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

pub(crate) fn config_in(folder: &Path) -> PathBuf {
    folder.join("kakehashi.toml")
}

pub(crate) fn config(folder: &Path, hook: &str) -> String {
    let folder = folder.display();
    format!(
        r#"
[node]
id = "lab"
data_dir = "{folder}/data"
[log]
json = true
[[site]]
id = "osaka"
directory = "samples/directory.csv"
contacts = "samples/contacts.csv"
[[pbx]]
id = "lab"
site = "osaka"
[pbx.ari]
url = "http://127.0.0.1:18088/ari"
password = "lab-password"
app = "kakehashi-call"
own_endpoints = ["bridge"]
[pbx.sip]
peers = ["127.0.0.1/32"]
[[line]]
number = "*"
name = "総合コールセンター"
[[line]]
number = "7001"
name = "自動応答"
tier = "first"
answer_after_ms = 1000
[sip]
enabled = true
[media]
first_port = 27000
last_port = 27199
[speech]
model = "models/kakehashi-lab-ja.bin"
# a recogniser that is stopped is noticed soon
job_timeout_ms = 8000
job_timeout_per_second_ms = 1000
[dictionary]
files = ["samples/dictionary.csv"]
[outbox]
# a receiver that is down is asked again soon
retry_schedule_ms = [{retries}]
breaker_pause_ms = 500
breaker_longest_ms = 500
[[endpoint]]
id = "crm"
url = "{hook}"
secret_file = "{folder}/secret"
[panel]
listen = "127.0.0.1:0"
"#,
        retries = ["500"; 400].join(", ")
    )
}

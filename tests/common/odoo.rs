//! The laboratory's Odoo (`tests/lab/odoo.sh`) as a child of a test, and a way to it that loses answers.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::http::{Reply, Request, Server};
use crate::lab::{laboratory, repository};

/// Odoo at work; ends with the test.
pub(crate) struct Odoo {
    process: Child,
    said: BufReader<ChildStdout>,
    told: HashMap<String, String>,
}

impl Odoo {
    pub(crate) fn start() -> Odoo {
        let mut command = Command::new(repository().join("tests/lab/odoo.sh"));
        let mut process = command.arg("up").stdout(Stdio::piped()).spawn().expect("tests/lab/odoo.sh runs");
        let said = BufReader::new(process.stdout.take().unwrap());
        let mut odoo = Odoo { process, said, told: HashMap::new() };
        odoo.until("URL");
        odoo
    }

    /// What it told at its start: URL, DATABASE, LOGIN, KEY, OPERATOR_LOGIN, OPERATOR_PASSWORD.
    pub(crate) fn told(&self, key: &str) -> &str {
        self.told.get(key).unwrap_or_else(|| panic!("odoo.sh up told no {key}"))
    }

    /// Kills Odoo as a crash does.
    pub(crate) fn crash(&mut self) {
        self.ask(Signal::SIGUSR1, "down");
    }

    /// Starts it again on the same port and data.
    pub(crate) fn again(&mut self) {
        self.ask(Signal::SIGUSR2, "up");
    }

    fn ask(&mut self, wish: Signal, state: &str) {
        kill(Pid::from_raw(self.process.id().cast_signed()), wish).unwrap();
        self.until("ODOO");
        assert_eq!(self.told("ODOO"), state);
    }

    fn until(&mut self, wanted: &str) {
        loop {
            let mut line = String::new();
            let read = self.said.read_line(&mut line).unwrap();
            assert!(read > 0, "Odoo ended before it told {wanted}: run tests/lab/odoo.sh setup, and see .lab/odoo.log");
            let Some((key, value)) = line.trim().split_once('=') else { continue };
            self.told.insert(key.into(), value.into());
            if key == wanted {
                return;
            }
        }
    }

    /// Any call as the administrator.
    pub(crate) fn call(&self, model: &str, method: &str, arguments: Value, keywords: Value) -> Value {
        let mut command = Command::new(repository().join("tests/lab/odoo.sh"));
        command.args(["call", self.told("URL"), model, method, &arguments.to_string(), &keywords.to_string()]);
        let output = command.output().unwrap();
        let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{model}.{method}: {failed}");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Records of a model, oldest first.
    pub(crate) fn records(&self, model: &str, domain: Value, fields: &[&str]) -> Vec<Value> {
        let wanted = serde_json::json!({"fields": fields, "order": "id"});
        self.call(model, "search_read", serde_json::json!([domain]), wanted).as_array().unwrap().clone()
    }
}

impl Drop for Odoo {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM);
        let _ = self.process.wait();
        if std::thread::panicking() {
            print_log();
        }
    }
}

/// What Odoo and its database said last.
fn print_log() {
    let lane = std::env::var("LAB_LANE").map(|lane| format!("-{lane}")).unwrap_or_default();
    let path = laboratory().join(format!("odoo{lane}.log"));
    let log = std::fs::read(&path).unwrap_or_else(|error| error.to_string().into());
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    eprintln!("the end of {}:\n{}", path.display(), lines[lines.len().saturating_sub(60)..].join("\n"));
}

/// What a request calls: `crm.phonecall.load`.
pub(crate) fn called(request: &Request) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let arguments = &body["params"]["args"];
    format!("{}.{}", arguments[3].as_str().unwrap_or("log in"), arguments[4].as_str().unwrap_or(""))
}

/// Carries every request to `url`. Of each call in `lost` the first one is done there, and its answer does not come back.
pub(crate) fn losing_way(url: &str, lost: &[&str]) -> Server {
    let (to, lost) = (url.trim_start_matches("http://").to_string(), Mutex::new(lost_calls(lost)));
    Server::start(move |_, request| {
        let Some(reply) = carry(&to, request) else { return Reply::new(502, "") };
        let mut lost = lost.lock().unwrap();
        match lost.iter().position(|one| *one == called(request)) {
            Some(at) => {
                lost.remove(at);
                Reply::hang()
            }
            None => reply,
        }
    })
}

fn lost_calls(lost: &[&str]) -> Vec<String> {
    lost.iter().map(|one| one.to_string()).collect()
}

fn carry(to: &str, request: &Request) -> Option<Reply> {
    let mut stream = TcpStream::connect(to).ok()?;
    let head = format!(
        "{} {} HTTP/1.0\r\nHost: {to}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        request.method,
        request.target,
        request.header("content-type"),
        request.body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&request.body)).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let status = std::str::from_utf8(answer.get(..end)?).ok()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(Reply::new(status, answer.split_off(end + 4)))
}

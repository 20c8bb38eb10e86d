//! `kakehashi probe` against a real Asterisk in three configurations: whole, without TLS and SRTP, with ARI off (`make lab`).

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[path = "common/lab.rs"]
#[allow(dead_code)] // the telephones are not needed here
mod lab;

use lab::repository;

/// How much higher the ports of a variant are.
const SHIFT: u16 = 10_000;

/// An Asterisk beside the whole one, which lacks something.
struct Variant(Child);

impl Variant {
    fn start(name: &str) -> Variant {
        let mut child = Command::new(repository().join("tests/lab/lab.py"))
            .args(["up", "--variant", name])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/lab/lab.py runs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.find_map(|line| line.ok().filter(|line| line.starts_with("Asterisk runs")));
        assert!(ready.is_some(), "{name} did not start");
        Variant(child)
    }
}

impl Drop for Variant {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn laboratory() -> PathBuf {
    std::env::var_os("LAB_DIR").map_or_else(|| repository().join(".lab"), PathBuf::from)
}

/// Looks at the Asterisk whose ports are `shift` higher; exit code, JSON, and the page in `page`.
fn probe(folder: &Path, shift: u16, page: &Path) -> (Option<i32>, Value) {
    let file = |name: &str, password: &str| {
        let path = folder.join(name);
        std::fs::write(&path, password).unwrap();
        path
    };
    let certificates = laboratory().join("certificates");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakehashi"));
    command.args(["probe", "--json", "--user", "probe", "--test-number", "7900", "--own-number", "7001"]);
    command.args(["--watch", "2001", "--ari-user", "kakehashi", "--sip", &format!("127.0.0.1:{}", 15_060 + shift)]);
    command.args(["--ari", &format!("http://127.0.0.1:{}/ari", 18_088 + shift)]);
    command.args(["--listen", &format!("127.0.0.1:{}", 15_080 + shift)]);
    command.arg("--password-file").arg(file("sip", "lab-probe"));
    command.arg("--ari-password-file").arg(file("ari", "lab-password"));
    command.arg("--ca-file").arg(certificates.join("authority.pem"));
    command.arg("--tls-certificate").arg(certificates.join("bridge.pem"));
    command.arg("--tls-key").arg(certificates.join("bridge.key"));
    let output = command.arg("--report").arg(page).output().unwrap();
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), json)
}

/// Each check with its result.
fn states(report: &Value) -> BTreeSet<(String, String)> {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().map(|one| (one["id"].as_str().unwrap().into(), one["state"].as_str().unwrap().into())).collect()
}

/// What is in the second and not in the first.
fn changed(first: &Value, second: &Value) -> Vec<String> {
    states(second).difference(&states(first)).map(|(id, state)| format!("{id} {state}")).collect()
}

fn evidence(report: &Value) -> String {
    let checks = report["checks"].as_array().unwrap();
    let line = |one: &Value| format!("{} {} {}", one["id"], one["state"], one["evidence"]["en"]);
    checks.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Everything that the exchange holds: channels and bridges must be gone after a probe.
fn holds(shift: u16) -> String {
    let ask = |what: &str| {
        let url = format!("http://127.0.0.1:{}/ari/{what}", 18_088 + shift);
        let output = Command::new("curl").args(["-s", "-u", "kakehashi:lab-password", &url]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    format!("{}{}", ask("channels"), ask("bridges"))
}

/// The page as Chromium shows it; what can be read on it.
fn look_at(page: &Path, name: &str) -> String {
    let shots = laboratory().join("shots");
    std::fs::create_dir_all(&shots).unwrap();
    let text = shots.join(format!("{name}.txt"));
    let status = Command::new("node")
        .arg(repository().join("tests/lab/panel_shot.mjs"))
        .arg("--url")
        .arg(format!("file://{}", page.display()))
        .arg("--out")
        .arg(shots.join(format!("{name}.png")))
        .arg("--text")
        .arg(&text)
        .args(["--wait", "所見", "--width", "820", "--full"])
        .status()
        .expect("node is installed");
    assert!(status.success(), "Chromium shows the page");
    std::fs::read_to_string(text).unwrap()
}

#[test]
#[ignore = "needs the lab: make lab"]
fn three_configurations_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let page = |name: &str| folder.path().join(format!("{name}.html"));
    let (code, whole) = probe(folder.path(), 0, &page("whole"));
    println!("{}", evidence(&whole));
    assert_eq!((code, whole["verdict"]["state"].as_str()), (Some(0), Some("pass")));
    assert_eq!(holds(0), "[][]", "nothing is left on the exchange");
    let not_passed: Vec<String> = states(&whole)
        .into_iter()
        .filter(|(_, state)| state != "pass")
        .map(|(id, state)| format!("{id} {state}"))
        .collect();
    // one endpoint has SDES or DTLS, 127.0.0.1 is no IPv6 address, Asterisk sends no SIPREC
    assert_eq!(not_passed, ["sip.ipv6 unknown", "siprec.call not-applicable", "srtp.dtls fail"]);

    let plain = Variant::start("plain");
    let (code, without) = probe(folder.path(), SHIFT, &page("plain"));
    drop(plain);
    assert_eq!((code, without["verdict"]["state"].as_str()), (Some(0), Some("pass")), "{}", evidence(&without));
    assert_eq!(
        changed(&whole, &without),
        ["ari.extras fail", "sip.certificate unknown", "sip.tls fail", "srtp.sdes fail"],
        "{}",
        evidence(&without)
    );

    let no_ari = Variant::start("no-ari");
    let (code, off) = probe(folder.path(), SHIFT, &page("no-ari"));
    drop(no_ari);
    assert_eq!((code, off["verdict"]["state"].as_str()), (Some(1), Some("fail")), "{}", evidence(&off));
    let changed = changed(&whole, &off);
    assert!(changed.iter().all(|line| line.starts_with("ari.")), "only ARI differs: {changed:?}");
    assert_eq!(changed.iter().filter(|line| line.ends_with("fail")).collect::<Vec<_>>(), ["ari.reach fail"]);
    let knocked = off["verdict"]["knock_outs"].as_array().unwrap();
    let knocked: Vec<&str> = knocked.iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(knocked, ["fail", "pass"], "no way to both parties' sound, but ringing by SIP");

    let text = look_at(&page("whole"), "probe-report");
    assert!(text.contains("接続可") && text.contains("ジッター") && text.contains("確認者"), "{text}");
    let text = look_at(&page("no-ari"), "probe-report-no-ari");
    assert!(text.contains("接続不可") && text.contains("http.conf"), "{text}");
}

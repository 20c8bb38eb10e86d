//! `kakehashi probe` against a real Asterisk in three configurations: whole, without TLS and SRTP, with ARI off (`make lab`).

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[path = "common/lab.rs"]
#[allow(dead_code)] // the telephones are not needed here
mod lab;

use lab::{laboratory, repository};

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

/// A measured value.
fn figure(report: &Value, name: &str) -> f64 {
    let mut figures = report["checks"].as_array().unwrap().iter().flat_map(|one| one["figures"].as_array().unwrap());
    figures.find(|figure| figure["name"] == name).and_then(|figure| figure["value"].as_f64()).unwrap_or(-1.0)
}

/// Whether anybody has this UDP port.
fn is_bound(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    table
        .lines()
        .skip(1)
        .any(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&format!(":{port:04X}"))))
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
    let sdes = evidence(&whole).lines().find(|line| line.starts_with("\"srtp.sdes\"")).unwrap().to_string();
    assert!(sdes.contains("SIP by TLS") && sdes.contains(" 0 failed authentication"), "{sdes}");
    assert!(figure(&whole, "srtp.packets") > 80.0, "encrypted sound really came: {sdes}");
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

#[test]
#[ignore = "needs the lab: make lab"]
fn a_person_calls_while_the_probe_waits() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("ari");
    std::fs::write(&password, "lab-password").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakehashi"));
    command.args(["probe", "--json", "--lang", "en", "--ari", "http://127.0.0.1:18088/ari", "--ari-user", "kakehashi"]);
    command.args(["--listen", "127.0.0.1:15080", "--wait-call", "60"]).arg("--ari-password-file").arg(&password);
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while !is_bound(15_080) {
        assert!(began.elapsed() < Duration::from_secs(60), "the probe does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    // a person dials the bridge's number on a telephone, and hears it ring, answer and hang up
    let person = lab::lab(&["caller", "7001", "--who", "0663621234@127.0.0.1", "--waits"]);
    let output = waiting.wait_with_output().unwrap();
    lab::finished(person);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value = serde_json::from_str(&shown)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    println!("{}", evidence(&report));
    assert_eq!((output.status.code(), report["calls_placed"].as_bool()), (Some(0), Some(false)));
    let states = states(&report);
    let state = |id: &str| states.iter().find(|(own, _)| own == id).map(|(_, state)| state.as_str());
    for id in ["leg.call", "leg.identity", "leg.dialled", "leg.offer", "leg.media", "ari.call"] {
        assert_eq!(state(id), Some("pass"), "{id}: {}", evidence(&report));
    }
    // whether Asterisk tells the digit hangs on what the person's own telephone offers
    let hold = evidence(&report).lines().find(|line| line.starts_with("\"ari.transfer\"")).unwrap().to_string();
    assert!(hold.contains("ChannelHold ✓"), "{hold}");
    assert_eq!(state("siprec.call"), Some("not-applicable"));
    // nobody knows when the person dialled
    assert_eq!((figure(&report, "leg.arrival"), figure(&report, "leg.packets") > 50.0), (-1.0, true));
    let call = evidence(&report).lines().find(|line| line.starts_with("\"leg.identity\"")).unwrap().to_string();
    assert!(call.contains("(10 digits)") && !shown.contains("0663621234"), "{call}");
    assert_eq!(holds(0), "[][]", "nothing is left on the exchange");
}

//! The Debian package: installed in a clean Debian without a network it passes `check`, starts, tells systemd, and ends in order.

use std::process::Command;

/// Runs a script of the repository and gives what it printed.
fn run(script: &str, arguments: &[&str]) -> String {
    let output = Command::new("bash").arg(script).args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {printed}\n{errors}");
    printed
}

#[test]
#[ignore = "needs the lab: make lab"]
fn the_package_works_where_nothing_else_is() {
    let built = run("config/debian/build.sh", &[env!("CARGO_BIN_EXE_kakehashi")]);
    let package = built.lines().last().unwrap();
    let seen = run("tests/lab/deb.sh", &[package]);
    for line in [
        "CONFIG=640 root:kakehashi",
        "DATA=750 kakehashi:kakehashi",
        "CHECK=0",
        "NOTIFY=READY=1",
        "READY=200",
        "NOTIFY=STOPPING=1",
        "ENDED=0",
        "KEPT=yes",
        "GONE=yes",
    ] {
        assert!(seen.lines().any(|found| found == line), "{line} is missing:\n{seen}");
    }
}

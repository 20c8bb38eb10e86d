//! The panel as the operator of a real call sees it, in Chromium. The pictures are left in the laboratory's folder `shots`.

use std::path::PathBuf;
use std::process::{Child, Command};

use crate::bridge::{Bridge, wait_for};
use crate::lab::{lab, repository};
use crate::receiver::PATIENCE;
use crate::whole::{play, who};

/// A browser that waits until `words` are to be read on the page, takes the picture `name`, and ends.
pub(crate) fn picture(bridge: &Bridge, name: &str, words: &[&str]) -> (Child, PathBuf) {
    picture_of(bridge, name, "2001", words)
}

/// The same, as whoever has the telephone `extension` sees it.
pub(crate) fn picture_of(bridge: &Bridge, name: &str, extension: &str, words: &[&str]) -> (Child, PathBuf) {
    let lab = std::env::var_os("LAB_DIR").map_or_else(|| repository().join(".lab"), PathBuf::from);
    let folder = lab.join("shots");
    std::fs::create_dir_all(&folder).unwrap();
    let text = folder.join(format!("{name}.txt"));
    let mut command = Command::new("node");
    command.arg(repository().join("tests/lab/panel_shot.mjs"));
    command.arg("--url").arg(format!("{}?extension={extension}", bridge.panel()));
    command.arg("--out").arg(folder.join(format!("{name}.png"))).arg("--text").arg(&text);
    command.args(["--timeout", "120000", "--after", "2000"]);
    for word in words {
        command.arg("--wait").arg(word);
    }
    (command.spawn().expect("node is installed"), text)
}

#[test]
#[ignore = "needs the lab: make lab"]
fn the_operator_sees_the_pop_while_it_rings_and_the_text_while_they_talk() {
    let folder = tempfile::tempdir().unwrap();
    play(folder.path(), |bridge, _| {
        let ringing = picture(bridge, "panel-ringing", &["着信中", "橋本 花子"]);
        wait_for("the browser has opened the page", PATIENCE, || is_open(bridge.panel()).then_some(()));
        let call = lab(&["call", "6001", "--who", &who(), "--ring-s", "6", "--talk-s", "36"]);
        let talking = picture(bridge, "panel-talking", &["通話中", "橋本 花子", "地域活動協議会", "橋本と申します"]);
        for (mut browser, text) in [ringing, talking] {
            assert!(browser.wait().unwrap().success(), "see above");
            let text = std::fs::read_to_string(text).unwrap();
            assert!(text.contains("総合コールセンター") && text.contains("山田"), "{text}");
        }
        call
    });
}

/// Whether anybody is connected to this address (`/proc/net/tcp`: state 01, port in hexadecimal).
pub(crate) fn is_open(url: &str) -> bool {
    let port: u16 = url.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.any(|row| row[1].ends_with(&format!(":{port:04X}")) && row[3] == "01")
}

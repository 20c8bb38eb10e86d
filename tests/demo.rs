//! `kakehashi demo` as a process: the whole path offline. What it tells on standard output, its log at trace level does not hold.
#![cfg(all(feature = "web", feature = "whisper"))]

#[path = "common/privacy.rs"]
mod privacy;

use std::process::Command;

use kakehashi::events::{Data, Event};
use privacy::{CALLER, assert_spotless, secrets};

#[test]
fn the_demo_ends_by_itself_and_its_log_at_trace_level_holds_nothing_personal() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_kakehashi"));
    demo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["demo", "--json", "--log", "trace"]).env_remove("KAKEHASHI_LOG");
    let output = demo.output().unwrap();
    let (told, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{log}");
    let events: Vec<Event> = told.lines().map(|line| Event::from_json(line).unwrap()).collect();
    let texts: Vec<String> = events
        .iter()
        .filter_map(|event| match &event.data {
            Data::TranscriptFinal(text) => Some([text.text.clone(), text.text_raw.clone()]),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(told.contains(&CALLER[1..]) && told.contains("橋本 花子") && !texts.is_empty(), "{told}");
    assert_spotless(&log, &secrets(texts));
}

//! The dependency direction and the sans-IO rule of the source tree, checked on its text.

use std::fs;
use std::path::{Path, PathBuf};

/// Stages in the order of the data; a stage uses only itself and what stands before it.
const ORDER: [&str; 13] = [
    "pbx",
    "call",
    "media",
    "speech",
    "dictionary",
    "transcript",
    "outbox",
    "crm",
    "panel",
    "session",
    "probe",
    "bridge",
    "cli",
];
/// Plain data that every stage may use.
const DATA: [&str; 2] = ["time", "events"];
/// Where sockets, files, clocks, threads and waiting belong.
const EDGE: [&str; 6] =
    ["src/bridge/", "src/cli/", "src/main.rs", "src/panel/http", "src/outbox/store", "src/media/segment"];
/// What the core never does.
const IO: [&str; 15] = [
    "tokio::",
    "mio::",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "Instant::now",
    "SystemTime",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    ".await",
    "async fn",
    "getrandom",
    "File::open",
];

#[test]
fn stages_use_only_what_stands_before_them() {
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(own) = stage(&file).and_then(|name| rank(&name)) else { continue };
        for (line, text) in code(&file) {
            for used in crate_names(&text) {
                if rank(&used).is_some_and(|other| other > own) {
                    wrong.push(format!("{}:{line}: uses crate::{used}, which comes later", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_configuration_composes_stages_and_is_used_only_at_the_edge() {
    let mut wrong = Vec::new();
    for file in sources() {
        let at_edge = EDGE.iter().any(|edge| file.starts_with(edge) || name(&file).starts_with(edge));
        if at_edge || name(&file) == "src/config.rs" || name(&file).starts_with("src/config/") {
            continue;
        }
        for (line, text) in code(&file) {
            if crate_names(&text).iter().any(|used| used == "config") {
                wrong.push(format!("{}:{line}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "these use crate::config: {}", wrong.join("\n"));
}

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    let mut wrong = Vec::new();
    for file in sources() {
        if EDGE.iter().any(|edge| name(&file).starts_with(edge)) {
            continue;
        }
        for (line, text) in code(&file) {
            if let Some(word) = IO.iter().find(|word| text.contains(**word)) {
                wrong.push(format!("{}:{line}: `{word}` belongs to the edge", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let mute: Vec<String> = sources()
        .iter()
        .filter(|file| !fs::read_to_string(file).unwrap_or_default().starts_with("//!"))
        .map(|file| name(file))
        .collect();
    assert!(mute.is_empty(), "no module comment in the first line: {mute:?}");
}

#[test]
fn the_check_itself_sees_a_wrong_dependency() {
    assert_eq!(crate_names("use crate::bridge::media;"), ["bridge"]);
    assert_eq!(crate_names("use crate::{call, media};"), ["call", "media"]);
    assert!(rank("bridge") > rank("media"));
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("tests run in the package root") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found.sort();
    found
}

fn name(file: &Path) -> String {
    file.to_string_lossy().replace('\\', "/")
}

fn stage(file: &Path) -> Option<String> {
    let part = file.components().nth(1)?.as_os_str().to_string_lossy().into_owned();
    Some(part.trim_end_matches(".rs").to_string())
}

fn rank(stage: &str) -> Option<usize> {
    if DATA.contains(&stage) {
        return None;
    }
    ORDER.iter().position(|name| *name == stage)
}

/// The lines of a file before its tests, without comments.
fn code(file: &Path) -> Vec<(usize, String)> {
    if file.file_name().is_some_and(|name| name == "tests.rs") {
        return Vec::new();
    }
    let text = fs::read_to_string(file).expect("readable");
    let mut lines = Vec::new();
    for (n, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        lines.push((n + 1, line.split("//").next().unwrap_or("").to_string()));
    }
    lines
}

/// The modules of the crate that a line names.
fn crate_names(line: &str) -> Vec<String> {
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut names = Vec::new();
    for part in line.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            Some(list) => names.extend(list.split(',').map(|item| word(item.trim()))),
            None => names.push(word(part)),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

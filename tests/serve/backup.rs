//! Backup beside a running bridge, and what a new machine makes of it.

use std::path::Path;
use std::process::{Command, Output};

use kakehashi::events::{Data, EndReason, Event};

use crate::drain::Exchange;
use crate::hook::Hook;
use crate::{Bridge, dial, is_document, pattern, speak, write_config};

fn kakehashi(arguments: &[&str], config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kakehashi")).args(arguments).arg("--config").arg(config).output().unwrap()
}

fn runs(arguments: &[&str], config: &Path) -> String {
    let output = kakehashi(arguments, config);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What it says when it refuses.
fn refuses(arguments: &[&str], config: &Path) -> String {
    let output = kakehashi(arguments, config);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn streams(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("audio")).unwrap().count()
}

#[test]
fn a_new_machine_goes_on_from_a_backup_that_was_made_in_mid_call() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 23_000);
    let bridge = Bridge::start(&config);
    let exchange = Exchange::of(&bridge);
    let (ports, to) = dial(bridge.sip, &exchange.socket, "over");
    speak(ports, 40, pattern);
    assert!(exchange.asks("BYE", "over", &to).starts_with("SIP/2.0 200"));
    let events = hook.until(|events| events.iter().any(is_document));
    let over = events.iter().find(|event| is_document(event)).unwrap().contact;
    let (ports, _) = dial(bridge.sip, &exchange.socket, "running");
    speak(ports, 40, pattern);
    hook.until(|events| {
        events.iter().any(|event| event.contact != over && matches!(event.data, Data::CallAnswered(_)))
    });

    let backup = folder.path().join("backup");
    let to = backup.to_str().unwrap();
    println!("{}", runs(&["backup", "--to", to], &config));
    assert_eq!((streams(&folder.path().join("data")), streams(&backup)), (4, 2), "not the sound of the call that runs");
    let mut kept: Vec<_> = std::fs::read_dir(&backup).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["audio", "backup.json", "outbox.db"]);
    assert!(refuses(&["backup", "--to", to], &config).contains("not empty"));
    assert!(refuses(&["restore", "--from", to], &config).contains("in use"), "the bridge runs");
    bridge.kill();
    assert!(
        refuses(&["restore", "--from", to], &config).contains("it is there"),
        "an outbox that may have newer events"
    );

    // the machine is gone, and with it what was not in the backup
    std::fs::rename(folder.path().join("data"), folder.path().join("gone")).unwrap();
    damaged(&backup, &config);
    println!("{}", runs(&["restore", "--from", to], &config));
    assert!(runs(&["outbox", "check"], &config).contains("of 2 contacts"));
    let wav = folder.path().join("over.wav");
    runs(&["export", &over.to_string(), "--out", wav.to_str().unwrap()], &config);
    assert!(hound::WavReader::open(wav).unwrap().duration() >= 40 * 160);
    let bridge = Bridge::start(&config);
    let ended = |events: &[Event]| events.iter().filter(|event| is_document(event)).count() == 2;
    let events = hook.until(ended);
    bridge.stop();
    let cut: Vec<&Event> = events.iter().filter(|event| event.contact != over && event.sequence.is_some()).collect();
    let mut sequences: Vec<u64> = cut.iter().filter_map(|event| event.sequence).collect();
    sequences.dedup();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    let end = cut.iter().rev().find_map(|event| match &event.data {
        Data::CallEnded(ended) => Some(ended.reason),
        _ => None,
    });
    assert_eq!(end, Some(EndReason::BridgeRestart));
}

/// A backup that was changed on its way is refused, and nothing is put back.
fn damaged(backup: &Path, config: &Path) {
    let (store, list) = (backup.join("outbox.db"), backup.join("backup.json"));
    let whole = std::fs::read(&store).unwrap();
    let mut changed = whole.clone();
    let at = changed.len() / 2;
    changed[at] ^= 1;
    std::fs::write(&store, changed).unwrap();
    let from = backup.to_str().unwrap();
    assert!(refuses(&["restore", "--from", from], config).contains("not what the backup's list says"));
    std::fs::write(&store, whole).unwrap();
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text.replace("audio/", "audio/../../")).unwrap();
    assert!(refuses(&["restore", "--from", from], config).contains("which no backup holds"));
    std::fs::write(&list, &text[..text.len() / 2]).unwrap();
    assert!(refuses(&["restore", "--from", from], config).contains("backup.json"));
    std::fs::write(&list, text).unwrap();
    assert!(!config.parent().unwrap().join("data/outbox.db").exists());
}

#[test]
fn a_text_that_was_changed_is_found_by_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::listen(0);
    let config = write_config(folder.path(), hook.port, 23_200);
    assert!(refuses(&["outbox", "check"], &config).contains("there is no outbox yet"));
    let bridge = Bridge::start(&config);
    let exchange = Exchange::of(&bridge);
    dial(bridge.sip, &exchange.socket, "call");
    hook.until(|events| events.iter().any(|event| matches!(event.data, Data::CallAnswered(_))));
    bridge.stop();
    runs(&["outbox", "check"], &config);
    let store = rusqlite::Connection::open(folder.path().join("data/outbox.db")).unwrap();
    store.execute("UPDATE event SET body = replace(body, '2001', '2002') WHERE row = 2", []).unwrap();
    store.execute("DELETE FROM delivery WHERE event = 3", []).unwrap();
    store.execute("DELETE FROM event WHERE row = 3", []).unwrap();
    drop(store);
    let told = refuses(&["outbox", "check"], &config);
    assert!(told.contains("2 things are wrong"), "{told}");
}

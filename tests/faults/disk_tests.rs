//! The rules of the disk, each for itself.

use std::collections::BTreeSet;

use crate::disk::Disk;
use crate::disk::entry::*;
use crate::mutate::Dice;

/// An entry of the log as `power.c` writes it.
fn record(what: u32, name: &str, offset: u64, data: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    entry.extend(what.to_ne_bytes());
    entry.extend((name.len() as u32).to_ne_bytes());
    entry.extend(offset.to_ne_bytes());
    entry.extend((data.len() as u64).to_ne_bytes());
    entry.extend(name.as_bytes());
    entry.extend(data);
    entry
}

fn write(name: &str, offset: u64, data: &[u8]) -> Vec<u8> {
    record(WROTE, name, offset, data)
}

/// A log of calls without data.
fn calls<const N: usize>(calls: [(u32, &str); N]) -> Vec<u8> {
    calls.iter().flat_map(|(what, name)| record(*what, name, 0, &[])).collect()
}

/// Everything that a file may have after a cut, over many cuts; `None`: it is not there.
fn left(log: &[Vec<u8>], name: &str) -> BTreeSet<Option<Vec<u8>>> {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::default();
    disk.play(&log.concat());
    let cut = |seed| {
        disk.cut(&mut Dice(seed), folder.path());
        std::fs::read(folder.path().join(name)).ok()
    };
    (0..400).map(cut).collect()
}

fn only(bytes: &[u8]) -> BTreeSet<Option<Vec<u8>>> {
    BTreeSet::from([Some(bytes.to_vec())])
}

#[test]
fn what_was_synced_stays_and_what_was_not_may_be_lost_or_torn() {
    let old = [calls([(CREATED, "a")]), write("a", 0, &[1; 8_192]), calls([(SYNCED, "a")])];
    assert_eq!(left(&old, "a"), only(&[1; 8_192]), "a new file that was synced is there");
    let new: Vec<Vec<u8>> = old.into_iter().chain([write("a", 100, &[2; 6_000]), write("a", 200, &[3; 10])]).collect();
    let found = left(&new, "a");
    let all: Vec<Vec<u8>> = found.into_iter().map(|bytes| bytes.expect("it is there")).collect();
    assert!(all.iter().all(|bytes| bytes.len() == 8_192 && bytes[..100] == [1; 100] && bytes[6_100..] == [1; 2_092]));
    let any = |fits: &dyn Fn(&[u8]) -> bool| assert!(all.iter().any(|bytes| fits(bytes)), "of {}", all.len());
    any(&|bytes| bytes == [1; 8_192]);
    any(&|bytes| bytes[200] == 3 && bytes[300] == 2 && bytes[5_000] == 2);
    any(&|bytes| bytes[200] == 2 && bytes[5_000] == 2); // as it was between the writes
    any(&|bytes| bytes[300] == 1 && bytes[5_000] == 2); // the second page before the first
    any(&|bytes| bytes[300] != bytes[3_000]); // torn between sectors
    assert!(all.iter().all(|bytes| bytes[512..1_024].iter().all(|byte| *byte == bytes[512])), "a sector is whole");
}

#[test]
fn a_length_is_one_that_the_file_had() {
    let log = [
        calls([(CREATED, "a")]),
        write("a", 0, &[1; 1_000]),
        calls([(SYNCED, "a")]),
        record(TRUNCATED, "a", 0, &[]),
        write("a", 0, &[2; 300]),
    ];
    let lengths: BTreeSet<usize> = left(&log, "a").into_iter().map(|bytes| bytes.unwrap().len()).collect();
    assert_eq!(lengths, BTreeSet::from([0, 300, 1_000]));
    let synced = [log.to_vec(), vec![calls([(SYNCED, "a")])]].concat();
    assert_eq!(left(&synced, "a"), only(&[2; 300]));
}

#[test]
fn names_are_on_the_disk_after_a_sync_of_the_folder_or_of_the_file() {
    let fresh = [calls([(CREATED, "a")]), write("a", 0, b"text")];
    assert!(left(&fresh, "a").contains(&None), "a new file may be gone");
    let empty = [&fresh[..], &[calls([(SYNCED, "")])]].concat();
    assert!(left(&empty, "a").is_superset(&BTreeSet::from([Some(vec![]), Some(b"text".to_vec())])));
    assert!(!left(&empty, "a").contains(&None));
    let synced = [&fresh[..], &[calls([(SYNCED, "a")])]].concat();
    let removed = [&synced[..], &[calls([(REMOVED, "a")])]].concat();
    assert_eq!(left(&removed, "a"), BTreeSet::from([None, Some(b"text".to_vec())]), "it may come back");
    assert_eq!(left(&[&removed[..], &[calls([(SYNCED, "")])]].concat(), "a"), BTreeSet::from([None]));
    let again = [&removed[..], &[calls([(CREATED, "a")]), write("a", 0, b"new"), calls([(SYNCED, "a")])]].concat();
    assert_eq!(left(&again, "a"), only(b"new"));
    let renamed = [&synced[..], &[record(RENAMED, "a", 0, b"b")]].concat();
    let text = Some(b"text".to_vec());
    assert_eq!(left(&renamed, "b"), BTreeSet::from([None, text.clone()]));
    let settled = [&renamed[..], &[calls([(SYNCED, "b")])]].concat();
    assert_eq!((left(&settled, "a"), left(&settled, "b")), (BTreeSet::from([None]), BTreeSet::from([text])));
}

#[test]
fn what_a_failed_sync_left_out_no_later_one_writes() {
    let failed = [
        calls([(CREATED, "a"), (SYNCED, "a")]),
        write("a", 0, &[1; 4_096]),
        write("a", 4_096, &[1; 4_096]),
        calls([(SYNC_FAILED, "a")]),
    ];
    let synced = [&failed[..], &[write("a", 0, &[2; 10]), calls([(SYNCED, "a")])]].concat();
    let found = left(&synced, "a");
    let all: Vec<&Vec<u8>> = found.iter().flatten().collect();
    assert!(
        all.iter().all(|bytes| bytes[..10] == [2; 10] && bytes[10..4_096] == [1; 4_086]),
        "a page that was changed again"
    );
    let rest = |byte: u8| all.iter().any(|bytes| bytes[4_096..] == [byte; 4_096]);
    assert!(rest(0) && rest(1), "one that was not is in doubt");
    let again = [&synced[..], &[write("a", 4_096, &[3; 4_096]), calls([(SYNCED, "a")])]].concat();
    assert!(left(&again, "a").iter().flatten().all(|bytes| bytes[4_096..] == [3; 4_096]));
}

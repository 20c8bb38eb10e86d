//! The library of `power.c`: built once, given to a child, ordered and read through its file of numbers.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Calls that are counted; the order is that of `enum kind` in `power.c`.
pub(crate) const KINDS: [&str; 7] = ["write", "truncate", "sync", "rename", "unlink", "send", "receive"];

/// Where each number stands in the control file; the order is that of `enum control` in `power.c`.
mod place {
    pub(super) const KILL_AT: u64 = 0;
    pub(super) const KILL_AFTER: u64 = 1;
    pub(super) const COUNTED: u64 = 2;
    pub(super) const FULL_FROM: u64 = 3;
    pub(super) const FULL_SHORT: u64 = 4;
    pub(super) const SYNC_FAILS: u64 = 5;
    pub(super) const BASE_FAILS: u64 = 6;
    pub(super) const LIES: u64 = 7;
    pub(super) const CLOCK_NS: u64 = 8;
    pub(super) const LATER_NS: u64 = 9;
    pub(super) const CALLS: u64 = 10;
    pub(super) const KILLED_BY: u64 = 11;
    pub(super) const REFUSED: u64 = 12;
    pub(super) const OF_KIND: u64 = 13;
    pub(super) const LENGTH: u64 = OF_KIND + super::KINDS.len() as u64;
}

/// Which calls are counted. Most are writes, so the others are also counted without them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Counted {
    #[default]
    All,
    Sockets,
    Files,
    FilesButWrites,
}

impl Counted {
    fn kinds(self) -> &'static [&'static str] {
        match self {
            Counted::All => &KINDS,
            Counted::Sockets => &KINDS[5..],
            Counted::Files => &KINDS[..5],
            Counted::FilesButWrites => &KINDS[1..5],
        }
    }
}

/// What a child is to suffer; nothing by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orders {
    /// Killed at this counted call, from 1.
    pub(crate) kill_at: Option<u64>,
    /// After that call was made, not before.
    pub(crate) kill_after: bool,
    /// Which calls are counted.
    pub(crate) counted: Counted,
    /// From this write on, from 1, there is no space.
    pub(crate) full_from: Option<u64>,
    /// Every other write that has no space is cut short.
    pub(crate) full_short: bool,
    /// This sync, from 1, fails with EIO.
    pub(crate) sync_fails: Option<u64>,
    /// This sync of the database itself, from 1, fails with EIO: the first is that of an empty one, the second a checkpoint's.
    pub(crate) base_fails: Option<u64>,
    /// The disk says that it has synced and has not.
    pub(crate) lies: bool,
    /// Added to the time of day, in seconds.
    pub(crate) clock_s: i64,
    /// Time can be made to pass, by [`Control::passes`].
    pub(crate) time_leaps: bool,
}

/// The orders to one child, and what it counted.
pub(crate) struct Control(File);

impl Control {
    /// A fresh file at `path` with these orders.
    pub(crate) fn new(path: &Path, orders: Orders) -> Control {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        file.set_len(place::LENGTH * 8).unwrap();
        let control = Control(file);
        control.set(place::KILL_AT, orders.kill_at.unwrap_or(0) as i64);
        control.set(place::KILL_AFTER, orders.kill_after.into());
        let kinds = (0..KINDS.len()).filter(|at| orders.counted.kinds().contains(&KINDS[*at]));
        control.set(place::COUNTED, kinds.fold(0, |bits, at| bits | 1 << at));
        control.set(place::FULL_FROM, orders.full_from.unwrap_or(0) as i64);
        control.set(place::FULL_SHORT, orders.full_short.into());
        control.set(place::SYNC_FAILS, orders.sync_fails.unwrap_or(0) as i64);
        control.set(place::BASE_FAILS, orders.base_fails.unwrap_or(0) as i64);
        control.set(place::LIES, orders.lies.into());
        control.step_clock(orders.clock_s);
        control.set(place::LATER_NS, orders.time_leaps.into());
        control
    }

    /// There is space again.
    pub(crate) fn free(&self) {
        self.set(place::FULL_FROM, 0);
    }

    /// The time of day is so many seconds off from now on.
    pub(crate) fn step_clock(&self, seconds: i64) {
        self.set(place::CLOCK_NS, seconds * 1_000_000_000);
    }

    /// So much time has passed, by every clock, since the child was started with `time_leaps`; more than before.
    pub(crate) fn passes(&self, since_start: Duration) {
        self.set(place::LATER_NS, i64::try_from(since_start.as_nanos()).unwrap());
    }

    /// Counted calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.get(place::CALLS) as u64
    }

    /// Calls of a kind so far, counted or not.
    pub(crate) fn of_kind(&self, kind: &str) -> u64 {
        let at = KINDS.iter().position(|known| *known == kind).unwrap();
        self.get(place::OF_KIND + at as u64) as u64
    }

    /// Writes that had no space and syncs that failed.
    pub(crate) fn refused(&self) -> u64 {
        self.get(place::REFUSED) as u64
    }

    /// The kind of call at which the child was killed.
    pub(crate) fn killed_by(&self) -> Option<&'static str> {
        KINDS.get((self.get(place::KILLED_BY) as usize).checked_sub(1)?).copied()
    }

    fn get(&self, place: u64) -> i64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, place * 8).unwrap();
        i64::from_ne_bytes(bytes)
    }

    fn set(&self, place: u64, value: i64) {
        self.0.write_all_at(&value.to_ne_bytes(), place * 8).unwrap();
    }
}

/// The built library.
pub(crate) fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/power.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (fresh, library) = (folder.join(format!("power-{}.so", std::process::id())), folder.join("power.so"));
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o"])
            .args([&fresh, &source])
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(built.expect("cc is installed, see tests/setup.sh").success(), "{} does not compile", source.display());
        // another run of the tests may be using the one that is there
        std::fs::rename(&fresh, &library).unwrap();
        library
    })
}

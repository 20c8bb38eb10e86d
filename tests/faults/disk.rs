//! A disk that may lose power: plays the log of `power.c` and says what could be on it afterwards.
//!
//! The model is what SQLite relies on (sqlite.org/atomiccommit.html §2, and `PSOW`) and what ext4, XFS and Btrfs give:
//! * What was written to a file before a sync of it that succeeded is on the disk.
//! * What was written since may be there or not: each page of 4 KiB for itself, in any order, as it was after any of the writes; a page may be
//!   torn between its sectors of 512 bytes, a sector is whole. Bytes that were not written in the meantime do not change.
//! * The length of a file is one that it had since its last sync; what it never had written there is zeros.
//! * That a file was made or renamed is on the disk after a sync of the folder or of the file itself; that it was removed, after a sync of the
//!   folder or of a new one of its name. Until then as much of it as happened up to any moment (a journal keeps the order).
//! * After a sync that failed, what it should have written is never written by a later one, except in pages that were changed again: the kernel
//!   marks them as clean (Linux since 4.13). The process goes on to read what it wrote.
//!
//! Damage of another kind (bits that flip, files that vanish) can be done to the folder after [`Disk::cut`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::mutate::Dice;

/// What an entry of the log says; the order is that of `enum what` in `power.c`.
pub(crate) mod entry {
    pub(crate) const WROTE: u32 = 0;
    pub(crate) const TRUNCATED: u32 = 1;
    pub(crate) const CREATED: u32 = 2;
    pub(crate) const REMOVED: u32 = 3;
    pub(crate) const RENAMED: u32 = 4;
    pub(crate) const SYNCED: u32 = 5;
    pub(crate) const SYNC_FAILED: u32 = 6;
}

const PAGE: usize = 4_096;
const SECTOR: usize = 512;

/// One change of a file that is not known to be on the disk.
#[derive(Clone, Debug)]
struct Change {
    what: What,
    /// A sync that should have written it failed.
    doubtful: bool,
}

#[derive(Clone, Debug)]
enum What {
    /// Bytes within one page.
    Write { at: usize, data: Vec<u8> },
    /// A new length.
    Length(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    synced: Vec<u8>,
    later: Vec<Change>,
}

/// The folder's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    inodes: Vec<Inode>,
    /// As processes see them.
    names: BTreeMap<String, usize>,
    /// On the disk.
    durable: BTreeMap<String, usize>,
    /// Names given to a file or taken from it, not yet on the disk, in order.
    moves: Vec<Vec<(String, Option<usize>)>>,
    /// Files that were synced, in order; several times in a row is once.
    synced: Vec<String>,
}

impl Disk {
    /// What is in the folder, all of it on the disk.
    pub(crate) fn of(folder: &Path) -> Disk {
        let mut disk = Disk::default();
        for (name, synced) in files(folder) {
            disk.names.insert(name, disk.inodes.len());
            disk.inodes.push(Inode { synced, later: Vec::new() });
        }
        disk.durable = disk.names.clone();
        disk
    }

    /// Plays a log: entries of `struct record`, each with its name and data.
    pub(crate) fn play(&mut self, mut log: &[u8]) {
        fn number(bytes: &[u8]) -> usize {
            bytes.iter().rev().fold(0, |sum, byte| (sum << 8) | usize::from(*byte))
        }
        while let Some((head, rest)) = log.split_at_checked(24) {
            let [what, name, offset, data] = [&head[..4], &head[4..8], &head[8..16], &head[16..]].map(number);
            let (name, rest) = rest.split_at(name);
            let (data, rest) = rest.split_at(data);
            let (name, text) = (std::str::from_utf8(name).unwrap(), || std::str::from_utf8(data).unwrap());
            match what as u32 {
                entry::WROTE => self.write(name, offset, data),
                entry::TRUNCATED => self.change(name, What::Length(offset)),
                entry::CREATED => self.create(name),
                entry::REMOVED => self.remove(name),
                entry::RENAMED => self.rename(name, text()),
                entry::SYNCED => self.sync(name),
                entry::SYNC_FAILED => self.fail_sync(name),
                other => panic!("{other} is not in the log's format"),
            }
            log = rest;
        }
    }

    fn create(&mut self, name: &str) {
        let inode = self.inodes.len();
        self.inodes.push(Inode::default());
        self.names.insert(name.into(), inode);
        self.moves.push(vec![(name.into(), Some(inode))]);
    }

    fn remove(&mut self, name: &str) {
        self.names.remove(name);
        self.moves.push(vec![(name.into(), None)]);
    }

    fn rename(&mut self, from: &str, to: &str) {
        let inode = self.names.remove(from).expect("it was there");
        self.names.insert(to.into(), inode);
        self.moves.push(vec![(to.into(), Some(inode)), (from.into(), None)]);
    }

    fn write(&mut self, name: &str, offset: usize, data: &[u8]) {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (page, after) = rest.split_at((PAGE - at % PAGE).min(rest.len()));
            self.change(name, What::Write { at, data: page.into() });
            (at, rest) = (at + page.len(), after);
        }
    }

    fn change(&mut self, name: &str, what: What) {
        self.inode(name).later.push(Change { what, doubtful: false });
    }

    fn sync(&mut self, name: &str) {
        if self.synced.last().is_none_or(|last| last != name) {
            self.synced.push(name.into());
        }
        if name.is_empty() {
            self.durable = self.names.clone();
            self.moves.clear();
            return;
        }
        self.inode(name).sync();
        let inode = self.names[name];
        self.durable.insert(name.into(), inode);
        self.durable.retain(|known, of| *of != inode || known == name);
        self.moves.retain(|made| !made.iter().any(|(known, of)| known == name || *of == Some(inode)));
    }

    fn fail_sync(&mut self, name: &str) {
        if !name.is_empty() {
            self.inode(name).later.iter_mut().for_each(|change| change.doubtful = true);
        }
    }

    fn inode(&mut self, name: &str) -> &mut Inode {
        let inode = *self.names.get(name).unwrap_or_else(|| panic!("{name} was never made"));
        &mut self.inodes[inode]
    }

    /// Files that were synced by what was played, in order; several times in a row is once.
    pub(crate) fn synced(&self) -> &[String] {
        &self.synced
    }

    /// What is wrong with the log: a file that is not as it says, because something was changed past the library.
    pub(crate) fn differs(&self, folder: &Path) -> Option<String> {
        let found: BTreeMap<String, Vec<u8>> = files(folder).into_iter().collect();
        let known = self.names.iter().map(|(name, inode)| (name.clone(), self.inodes[*inode].content()));
        let known: BTreeMap<String, Vec<u8>> = known.collect();
        let names: BTreeSet<&String> = found.keys().chain(known.keys()).collect();
        let differ = names.into_iter().find(|name| found.get(*name) != known.get(*name))?;
        Some(format!(
            "{differ}: {:?} bytes, by the log {:?}",
            found.get(differ).map(Vec::len),
            known.get(differ).map(Vec::len)
        ))
    }

    /// Puts into the folder what a power cut now could leave.
    pub(crate) fn cut(&self, dice: &mut Dice, folder: &Path) {
        let mut left = self.durable.clone();
        for (name, inode) in self.moves.iter().take(dice.below(self.moves.len() + 1)).flatten() {
            match inode {
                Some(inode) => left.insert(name.clone(), *inode),
                None => left.remove(name),
            };
        }
        for file in std::fs::read_dir(folder).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        // the two ends of what is possible are worth more than their share
        let fate = dice.below(6);
        for (name, inode) in left {
            let inode = &self.inodes[inode];
            let bytes = match fate {
                0 => inode.synced.clone(),
                1 => inode.content(),
                _ => inode.torn(dice),
            };
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

impl Inode {
    /// As processes see it.
    fn content(&self) -> Vec<u8> {
        let mut content = self.synced.clone();
        for change in &self.later {
            match &change.what {
                What::Length(length) => content.resize(*length, 0),
                What::Write { at, data } => {
                    content.resize(content.len().max(at + data.len()), 0);
                    content[*at..at + data.len()].copy_from_slice(data);
                }
            }
        }
        content
    }

    /// What was changed since the last sync that failed is on the disk now, in whole pages.
    fn sync(&mut self) {
        let content = self.content();
        let (fresh, length) = (self.pages(|change| !change.doubtful), content.len());
        let in_doubt = |change: &Change| match &change.what {
            What::Write { at, .. } => change.doubtful && !fresh.contains_key(&(at / PAGE)) && *at < length,
            What::Length(_) => false,
        };
        let before = std::mem::replace(&mut self.synced, content);
        self.later.retain(in_doubt);
        for page in self.pages(|_| true).into_keys() {
            let old = before.get(page * PAGE..).unwrap_or_default();
            let new = &mut self.synced[page * PAGE..];
            for (at, byte) in new.iter_mut().take(PAGE).enumerate() {
                *byte = old.get(at).copied().unwrap_or(0);
            }
        }
    }

    /// Pages that changes have touched, and which changes, in order.
    fn pages(&self, of: impl Fn(&Change) -> bool) -> BTreeMap<usize, Vec<usize>> {
        let mut pages: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut longest = self.synced.len();
        for (number, change) in self.later.iter().enumerate() {
            let touched = match &change.what {
                What::Write { at, data } => {
                    longest = longest.max(at + data.len());
                    at / PAGE..at / PAGE + 1
                }
                What::Length(length) => length / PAGE..longest.max(*length).div_ceil(PAGE),
            };
            if of(change) {
                touched.for_each(|page| pages.entry(page).or_default().push(number));
            }
        }
        pages
    }

    /// As it may be found after a power cut.
    fn torn(&self, dice: &mut Dice) -> Vec<u8> {
        let lengths = self.later.iter().scan(self.synced.len(), |length, change| {
            *length = match &change.what {
                What::Length(new) => *new,
                What::Write { at, data } => (*length).max(at + data.len()),
            };
            Some(*length)
        });
        let lengths: Vec<usize> = std::iter::once(self.synced.len()).chain(lengths).collect();
        let mut left = self.synced.clone();
        left.resize(lengths.iter().copied().max().unwrap_or(0).next_multiple_of(PAGE), 0);
        for (page, changes) in self.pages(|_| true) {
            let (is_torn, whole) = (dice.below(3) == 0, dice.below(changes.len() + 1));
            for sector in page * PAGE / SECTOR..(page + 1) * PAGE / SECTOR {
                let version = if is_torn { dice.below(changes.len() + 1) } else { whole };
                let range = sector * SECTOR..(sector + 1) * SECTOR;
                for change in &changes[..version] {
                    self.later[*change].what.apply(&mut left[range.clone()], range.start);
                }
            }
        }
        left.truncate(lengths[dice.below(lengths.len())]);
        left
    }
}

impl What {
    /// Changes the part of a file that begins at `start`.
    fn apply(&self, part: &mut [u8], start: usize) {
        match self {
            What::Length(length) => {
                let kept = length.saturating_sub(start).min(part.len());
                part[kept..].fill(0);
            }
            What::Write { at, data } => {
                let (from, to) = ((*at).max(start), (at + data.len()).min(start + part.len()));
                if from < to {
                    part[from - start..to - start].copy_from_slice(&data[from - at..to - at]);
                }
            }
        }
    }
}

/// The files of a folder; the memory that SQLite's processes share dies with them.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let kept = named.filter(|(name, _)| !name.ends_with("-shm"));
    kept.map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
}

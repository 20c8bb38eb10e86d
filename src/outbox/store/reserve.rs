//! Space of the disk that is set aside for the day on which it is full: the record of the calls goes on while somebody makes room.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::posix_fallocate;

/// How often it is tried to set it aside again.
const AGAIN: Duration = Duration::from_secs(10);

/// A file that only takes up space.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// Its size; 0 = none is wanted.
    bytes: u64,
    there: bool,
    tried: Option<Instant>,
}

impl Reserve {
    /// Nothing is set aside.
    pub(super) fn none() -> Self {
        Self { path: PathBuf::new(), bytes: 0, there: false, tried: None }
    }

    /// Sets space aside beside a file.
    pub(super) fn beside(file: &Path, bytes: u64) -> Self {
        let mut reserve = Self { path: file.with_extension("reserve"), bytes, there: false, tried: None };
        reserve.restore();
        reserve
    }

    /// Gives the space free; `false` when there is none.
    pub(super) fn release(&mut self) -> bool {
        if !std::mem::take(&mut self.there) {
            return false;
        }
        self.tried = Some(Instant::now());
        let released = std::fs::remove_file(&self.path).is_ok();
        tracing::error!(
            bytes = self.bytes,
            released,
            path = %self.path.display(),
            "the disk is full: the space that was set aside is used now; make room"
        );
        released
    }

    /// Sets it aside again, as soon as there is twice as much room.
    pub(super) fn restore(&mut self) {
        if self.there || self.bytes == 0 || self.tried.is_some_and(|at| at.elapsed() < AGAIN) {
            return;
        }
        let again = self.tried.replace(Instant::now()).is_some();
        self.there = self.allocate();
        match (self.there, again) {
            (true, true) => tracing::info!(bytes = self.bytes, "space for a full disk is set aside again"),
            (false, false) => tracing::error!(
                bytes = self.bytes,
                path = %self.path.display(),
                "no space can be set aside for a full disk; make room, or lower [outbox] reserve_bytes"
            ),
            _ => {}
        }
    }

    fn allocate(&self) -> bool {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let free = nix::sys::statvfs::statvfs(folder).map(|space| space.blocks_available() * space.fragment_size());
        let taken = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        if free.map_or(0, |free| free + taken) < 2 * self.bytes {
            return false;
        }
        let file: std::io::Result<File> = OpenOptions::new().create(true).write(true).truncate(false).open(&self.path);
        let Ok(length) = i64::try_from(self.bytes) else { return false };
        let fits = file.is_ok_and(|file| posix_fallocate(&file, 0, length).is_ok());
        if !fits {
            let _ = std::fs::remove_file(&self.path);
        }
        fits
    }
}

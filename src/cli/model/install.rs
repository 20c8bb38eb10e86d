//! What becomes of a model file before it counts as installed: room on the disk, one writer, checksums, a look inside, manifest, rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::speech::catalogue::{Found, Mismatch, Model, manifest_for};
use crate::speech::ggml::{self, GgmlError, Header};
use crate::speech::manifest::{Manifest, ManifestError};

/// Room that must be left on the disk beside the model, in bytes.
const MARGIN: u64 = 64 << 20;

/// Why a model was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file or folder cannot be used.
    #[error("{}: {source}; expected {expected}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What was expected, and what to do.
        expected: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// There is no room.
    #[error(
        "{}: {available_mb} MB are free, {needed_mb} MB are needed; make room, or choose another folder with --dir", dir.display()
    )]
    Room {
        /// The folder.
        dir: PathBuf,
        /// What is free.
        available_mb: u64,
        /// What is needed.
        needed_mb: u64,
    },
    /// Another process writes the same file.
    #[error("{}: another kakehashi is fetching this model; wait for it, or end it", .0.display())]
    Busy(PathBuf),
    /// There is another file of that name.
    #[error("{}: there is already a file of this name, and {mismatch}; move it away, then try again", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// How it differs.
        mismatch: Mismatch,
    },
    /// What came is not what is published.
    #[error("{origin}: {mismatch}. {remedy}")]
    Wrong {
        /// Where it came from.
        origin: String,
        /// How it differs.
        mismatch: Mismatch,
        /// What to do.
        remedy: &'static str,
    },
    /// What came is no model.
    #[error("{origin}: {problem}; expected a whole Whisper model in ggml format")]
    Damaged {
        /// Where it came from.
        origin: String,
        /// What is wrong with it.
        problem: GgmlError,
    },
    /// The manifest beside it is wrong.
    #[error("{}: {problem}. Correct it or move it away: its thresholds are kept when the model is installed", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        problem: ManifestError,
    },
}

/// Turns an error of the system into one that names the place.
pub(super) fn at(path: &Path, expected: &'static str) -> impl Fn(io::Error) -> InstallError {
    move |source| InstallError::Io { path: path.to_owned(), expected, source }
}

const WRITABLE: &str = "a folder that this user may write (--dir)";

/// The unfinished file of a model; while it is held nobody else writes it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    file: Flock<File>,
    /// Bytes that are there.
    pub(super) length: u64,
}

impl Part {
    /// Opens or makes `<file>.part` in `dir`.
    pub(super) fn open(dir: &Path, file: &str) -> Result<Part, InstallError> {
        fs::create_dir_all(dir).map_err(at(dir, WRITABLE))?;
        let path = dir.join(format!("{file}.part"));
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let open = open.map_err(at(&path, WRITABLE))?;
        let mut file = Flock::lock(open, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => InstallError::Busy(path.clone()),
            other => at(&path, "a file system that can lock files")(other.into()),
        })?;
        let length = file.seek(SeekFrom::End(0)).map_err(at(&path, WRITABLE))?;
        Ok(Part { path, file, length })
    }

    /// Appends.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), InstallError> {
        let full = "room for it; make some, then run the command again: it goes on where it stopped";
        self.file.write_all(bytes).map_err(at(&self.path, full))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what is there.
    pub(super) fn clear(&mut self) -> Result<(), InstallError> {
        if self.length == 0 {
            return Ok(());
        }
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(at(&self.path, WRITABLE))?;
        self.length = 0;
        Ok(())
    }

    /// Whether the disk has room for what is missing of `bytes`.
    pub(super) fn has_room(&self, dir: &Path, bytes: u64) -> Result<(), InstallError> {
        let stat = nix::sys::statvfs::statvfs(dir).map_err(|errno| at(dir, WRITABLE)(errno.into()))?;
        let available = stat.blocks_available().saturating_mul(stat.fragment_size());
        let needed = bytes.saturating_sub(self.length).saturating_add(MARGIN);
        if available >= needed {
            return Ok(());
        }
        let (available_mb, needed_mb) = (available / 1_000_000, needed.div_ceil(1_000_000));
        Err(InstallError::Room { dir: dir.to_owned(), available_mb, needed_mb })
    }

    /// Checks the whole file from the disk, and makes it the model: manifest first, then the rename. A file that is wrong is removed.
    pub(super) fn finish(mut self, dir: &Path, name: &str, expected: &Expected<'_>) -> Result<PathBuf, InstallError> {
        self.file.sync_all().map_err(at(&self.path, WRITABLE))?;
        let checked = self.examine(expected);
        if let Err(error) = checked {
            let _ = fs::remove_file(&self.path);
            return Err(error);
        }
        let found = checked?;
        let path = dir.join(name);
        write_manifest(&path, &found, expected.licence)?;
        fs::rename(&self.path, &path).map_err(at(&path, WRITABLE))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir, WRITABLE))?;
        Ok(path)
    }

    fn examine(&mut self, expected: &Expected<'_>) -> Result<Found, InstallError> {
        let found = digest(&mut *self.file, expected.model.is_some_and(|model| !model.sha1.is_empty()))
            .map_err(at(&self.path, "a file that can be read back"))?;
        expected.check(&found)?;
        ggml::check(io::BufReader::new(&*self.file))
            .map_err(|problem| InstallError::Damaged { origin: expected.origin.clone(), problem })?;
        Ok(found)
    }
}

/// What a file must be.
#[derive(Clone, Debug)]
pub(super) struct Expected<'a> {
    /// The entry of the catalogue.
    pub(super) model: Option<&'a Model>,
    /// The checksum that somebody gave for a file that is not in the catalogue.
    pub(super) sha256: &'a str,
    /// Where the file came from, for messages.
    pub(super) origin: String,
    /// What to do when it is another.
    pub(super) remedy: &'static str,
    /// Its licence, for the manifest; empty when not known.
    pub(super) licence: &'a str,
}

impl Expected<'_> {
    fn check(&self, found: &Found) -> Result<(), InstallError> {
        let wrong = |mismatch| InstallError::Wrong { origin: self.origin.clone(), mismatch, remedy: self.remedy };
        if let Some(model) = self.model {
            model.check(found).map_err(wrong)?;
        }
        if !self.sha256.is_empty() && !found.sha256.eq_ignore_ascii_case(self.sha256) {
            let (found, expected) = (found.sha256.clone(), self.sha256.to_owned());
            return Err(wrong(Mismatch { what: "SHA-256", found, expected }));
        }
        Ok(())
    }
}

/// Size and checksums of a file from its beginning; SHA-1 only when it is wanted.
pub(super) fn digest<R: Read + Seek>(mut reader: R, sha1: bool) -> io::Result<Found> {
    reader.seek(SeekFrom::Start(0))?;
    let (mut sha256, mut old) = (Sha256::new(), sha1.then(Sha1::new));
    let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
    loop {
        let got = match reader.read(&mut buffer) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(piece) = buffer.get(..got).filter(|piece| !piece.is_empty()) else { break };
        sha256.update(piece);
        if let Some(old) = &mut old {
            old.update(piece);
        }
        bytes += got as u64;
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sha1 = old.map_or_else(String::new, |old| hex(&old.finalize()));
    Ok(Found { bytes, sha256: hex(&sha256.finalize()), sha1 })
}

/// Looks a file through: its checksums and its structure.
pub(super) fn examine(path: &Path, sha1: bool) -> Result<(Found, Header), InstallError> {
    let readable = "a model file that this user may read";
    let mut file = File::open(path).map_err(at(path, readable))?;
    if file.metadata().map_err(at(path, readable))?.is_dir() {
        return Err(at(path, readable)(io::ErrorKind::IsADirectory.into()));
    }
    let found = digest(&mut file, sha1).map_err(at(path, readable))?;
    let header = ggml::check(io::BufReader::new(file))
        .map_err(|problem| InstallError::Damaged { origin: path.display().to_string(), problem })?;
    Ok((found, header))
}

/// The manifest beside a model; `None` when there is none.
pub(super) fn manifest_beside(model: &Path) -> Result<Option<Manifest>, InstallError> {
    let path = model.with_extension("toml");
    match fs::read_to_string(&path) {
        Ok(text) => Manifest::parse(&text).map(Some).map_err(|problem| InstallError::Manifest { path, problem }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(at(&path, "a manifest that this user may read")(source)),
    }
}

/// Writes the manifest beside a model; thresholds that were there stay. Nothing is written when it would say the same.
pub(super) fn write_manifest(model: &Path, found: &Found, licence: &str) -> Result<(), InstallError> {
    let before = manifest_beside(model)?;
    let manifest = manifest_for(found, before.clone());
    if before.as_ref() == Some(&manifest) {
        return Ok(());
    }
    let path = model.with_extension("toml");
    let name = model.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let licence = if licence.is_empty() { String::new() } else { format!(" Licence of the weights: {licence}.") };
    let text = format!(
        "# What the program must know of {name}; written by `kakehashi model`.{licence}\n# Thresholds may be changed here and are kept; see \
         docs/models.md.\n\n{}",
        toml::to_string(&manifest).unwrap_or_default()
    );
    let fresh = path.with_extension("toml.new");
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&fresh, &path)).map_err(at(&path, WRITABLE))
}

/// Copies a file into the part, then finishes.
pub(super) fn copy_in(source: &Path, dir: &Path, name: &str, expected: &Expected<'_>) -> Result<PathBuf, InstallError> {
    let readable = "a model file that this user may read";
    let mut from = File::open(source).map_err(at(source, readable))?;
    let bytes = from.metadata().map_err(at(source, readable))?.len();
    let mut part = Part::open(dir, name)?;
    part.clear()?;
    part.has_room(dir, bytes)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let got = from.read(&mut buffer).map_err(at(source, "a stick or disk that can be read to its end"))?;
        let Some(piece) = buffer.get(..got).filter(|piece| !piece.is_empty()) else { break };
        part.write(piece)?;
    }
    part.finish(dir, name, expected)
}

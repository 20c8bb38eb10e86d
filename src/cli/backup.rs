//! `kakehashi backup` and `kakehashi restore`: the outbox and the recordings, carried away and back, each file with its digest.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bridge::{now, retention, start};
use crate::config::Config;
use crate::outbox::store::{Outbox, VERSION, verify};
use crate::pbx::StreamId;

/// The list of what a backup holds; it is written last.
const LIST: &str = "backup.json";
const STORE: &str = "outbox.db";
const AUDIO: &str = "audio";

/// Copy the outbox and the recordings into a new folder; the bridge may run meanwhile.
///
/// The sound of calls that still run is left out: what has to be silent in it may not be silent yet. Configuration, dictionary, models and keys are
/// files of yours and not in it.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// Configuration file (it names the data folder).
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
    /// Folder to make; it may be there when it is empty.
    #[arg(long, value_name = "FOLDER")]
    pub to: PathBuf,
    /// Leave the recordings out, where something else copies `audio` of the data folder.
    #[arg(long)]
    pub without_audio: bool,
}

/// Put a backup into a data folder that has no outbox; the bridge must not run.
///
/// Deliveries that waited when the backup was made are made again, under the same ids. Calls that ran then end with `bridge_restart`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// Configuration file (it names the data folder).
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
    /// Folder of the backup.
    #[arg(long, value_name = "FOLDER")]
    pub from: PathBuf,
}

/// Why there is no backup, or nothing of it is put back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is there already.
    #[error("{}: {found}", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// What is there, and what to do.
        found: &'static str,
    },
    /// The list of the backup is missing or no list.
    #[error("{}: {problem}; expected the folder that `kakehashi backup` made, whole", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not what was copied.
    #[error("{}: it is not what the backup's list says; take another backup. Nothing was put back", .0.display())]
    Changed(PathBuf),
    /// The store is not sound.
    #[error("{}: {wrong} things are wrong, first: {first}", path.display())]
    Unsound {
        /// The store.
        path: PathBuf,
        /// How many.
        wrong: u64,
        /// The first.
        first: String,
    },
}

/// What a backup holds.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    /// Version of the program.
    kakehashi: String,
    /// Version of the store.
    schema: i64,
    /// `[node] id`.
    node: String,
    /// When it was begun.
    time: String,
    files: Vec<Copied>,
}

/// A file of a backup.
#[derive(Debug, Serialize, Deserialize)]
struct Copied {
    /// Below the folder, with `/`.
    path: String,
    bytes: u64,
    /// In hexadecimal digits.
    sha256: String,
}

/// Runs `kakehashi backup`.
///
/// # Errors
/// When the outbox cannot be read, is damaged, or the folder cannot be written.
pub fn backup(args: &BackupArgs) -> super::Result {
    let config = super::load_config(&args.config)?;
    super::outbox::store_of(&config)?;
    let to = &args.to;
    fs::create_dir_all(to).map_err(at(to))?;
    if fs::read_dir(to).map_err(at(to))?.next().is_some() {
        return Err(in_the_way(to, "it is not empty; expected a folder of its own for each backup").into());
    }
    let time = now().wall.rfc3339();
    let endpoints = config.endpoint.iter().map(|endpoint| endpoint.id.as_str());
    let outbox = Outbox::open_beside(&config.node.data_dir, &config.outbox, endpoints)?;
    let store = to.join(STORE);
    outbox.snapshot(&store)?;
    File::open(&store).and_then(|file| file.sync_all()).map_err(at(&store))?;
    sound(&store)?;
    let mut files = vec![listed(to, STORE)?];
    if !args.without_audio {
        let from = config.node.data_dir.join(AUDIO);
        let (running, unreadable) = retention::running(&outbox)?;
        for contact in unreadable {
            eprintln!("contact {contact}: its state was written by another version; its sound is copied, too");
        }
        for path in recordings(&from, &running)? {
            files.extend(copy(&config.node.data_dir, to, &format!("{AUDIO}/{path}"))?);
        }
    }
    let list = List {
        kakehashi: env!("CARGO_PKG_VERSION").into(),
        schema: VERSION,
        node: config.node.id.clone(),
        time,
        files,
    };
    write(&to.join(LIST), &mut serde_json::to_string_pretty(&list)?.as_bytes())?;
    sync_folder(to)?;
    let bytes: u64 = list.files.iter().map(|file| file.bytes).sum();
    println!("{}: {} files, {bytes} bytes", to.display(), list.files.len());
    Ok(())
}

/// Runs `kakehashi restore`.
///
/// # Errors
/// When the backup is not whole, a bridge runs, or something is in the way; nothing was changed then, but files may have been added below `audio`.
pub fn restore(args: &RestoreArgs) -> super::Result {
    let config = super::load_config(&args.config)?;
    let (from, data_dir) = (&args.from, &config.node.data_dir);
    let list = read_list(from)?;
    let _lock = start::lock(data_dir)?;
    is_free(&config)?;
    for file in &list.files {
        let found = listed(from, &file.path)?;
        if (found.bytes, &found.sha256) != (file.bytes, &file.sha256) {
            return Err(Error::Changed(from.join(&file.path)).into());
        }
    }
    // the outbox comes last, under another name first: without it the folder is as free as before
    for file in list.files.iter().filter(|file| file.path != STORE) {
        copy(from, data_dir, &file.path)?;
    }
    let coming = data_dir.join("outbox.db.coming");
    write(&coming, &mut File::open(from.join(STORE)).map_err(at(from))?)?;
    sound(&coming)?;
    let store = data_dir.join(STORE);
    fs::rename(&coming, &store).map_err(at(&store))?;
    sync_folder(data_dir)?;
    println!("{}: put back as it was at {}; start the bridge", data_dir.display(), list.time);
    Ok(())
}

fn read_list(from: &Path) -> Result<List, Error> {
    let path = from.join(LIST);
    let wrong = |problem: String| Error::List { path: path.clone(), problem };
    let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    let list: List = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if list.schema > VERSION {
        return Err(wrong(format!("made by kakehashi {}, which is newer than this program", list.kakehashi)));
    }
    let inside = |path: &str| path == STORE || path.strip_prefix("audio/").is_some_and(is_plain);
    match list.files.iter().find(|file| !inside(&file.path)) {
        Some(file) => Err(wrong(format!("it names {:?}, which no backup holds", file.path))),
        None if list.files.iter().all(|file| file.path != STORE) => Err(wrong("it names no outbox".into())),
        None => Ok(list),
    }
}

/// `stream/segment`, and nothing that leads elsewhere.
fn is_plain(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\\');
    path.split('/').count() == 2 && path.split('/').all(plain)
}

/// No outbox is there, and no second copy that a bridge would take instead.
fn is_free(config: &Config) -> Result<(), Error> {
    let copies =
        if config.outbox.copy_dir.as_os_str().is_empty() { &config.node.data_dir } else { &config.outbox.copy_dir };
    for path in [config.node.data_dir.join(STORE), copies.join("outbox-copy.db")] {
        if path.exists() {
            return Err(in_the_way(
                &path,
                "it is there; move it and its -wal and -shm away first (it may have newer events)",
            ));
        }
    }
    Ok(())
}

/// The files of all recordings but these, as `stream/segment`.
fn recordings(audio: &Path, without: &HashSet<StreamId>) -> Result<Vec<String>, Error> {
    if !audio.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let left_out: HashSet<String> = without.iter().map(|stream| stream.0.to_string()).collect();
    for stream in names(audio)?.into_iter().filter(|stream| !left_out.contains(stream)) {
        let folder = audio.join(&stream);
        if folder.is_dir() {
            found.extend(names(&folder)?.into_iter().map(|file| format!("{stream}/{file}")));
        }
    }
    Ok(found)
}

fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        names.extend(entry.map_err(at(folder))?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Copies a file that may be deleted meanwhile.
fn copy(from: &Path, to: &Path, path: &str) -> Result<Option<Copied>, Error> {
    let mut file = match File::open(from.join(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(at(&from.join(path)))?,
    };
    let target = to.join(path);
    let folder = target.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(at(folder))?;
    write(&target, &mut file)?;
    listed(to, path).map(Some)
}

/// Writes a new file, down to the disk.
fn write(path: &Path, from: &mut dyn Read) -> Result<(), Error> {
    let mut file = File::create(path).map_err(at(path))?;
    io::copy(from, &mut file).map_err(at(path))?;
    file.flush().and_then(|()| file.sync_all()).map_err(at(path))
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

fn listed(folder: &Path, path: &str) -> Result<Copied, Error> {
    let whole = folder.join(path);
    let mut file = File::open(&whole).map_err(at(&whole))?;
    let (mut digest, mut bytes, mut part) = (Sha256::new(), 0, vec![0; 65_536]);
    loop {
        match file.read(&mut part).map_err(at(&whole))? {
            0 => break,
            read => {
                bytes += read as u64;
                digest.update(part.get(..read).unwrap_or_default());
            }
        }
    }
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Copied { path: path.into(), bytes, sha256 })
}

fn sound(store: &Path) -> super::Result {
    let verdict = verify(store)?;
    match verdict.problems.into_iter().next() {
        Some(first) => Err(Error::Unsound { path: store.into(), wrong: verdict.wrong, first }.into()),
        None => Ok(()),
    }
}

fn in_the_way(path: &Path, found: &'static str) -> Error {
    Error::InTheWay { path: path.into(), found }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| Error::File { path, source }
}

//! The site's files: read at the start, and again when they change or on request. A file that is wrong leaves the old content in force.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::lookup::{self, LookUps};
use crate::call::directory::{Directory, DirectoryError};
use crate::config::Config;
use crate::dictionary::{Dictionary, ImportError, Settings, Source};

/// Why a file of a site cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{key} = \"{}\": {source}; correct the path or the permissions", path.display())]
    Read {
        /// Section and key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory is wrong.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A dictionary is wrong.
    #[error(transparent)]
    Dictionary(#[from] ImportError),
    /// A contacts file is wrong.
    #[error(transparent)]
    Contacts(#[from] lookup::Error),
}

/// Reads a directory; an empty path is an empty directory.
///
/// # Errors
/// When the file cannot be read or a row is wrong.
pub fn directory(path: &Path) -> Result<Directory, Error> {
    if path.as_os_str().is_empty() {
        return Ok(Directory::default());
    }
    let text = std::fs::read(path).map_err(|source| unreadable("[[site]] directory", path, source))?;
    Ok(Directory::parse(&path.display().to_string(), &String::from_utf8_lossy(&text))?)
}

/// Reads the dictionary files together.
///
/// # Errors
/// When a file cannot be read or a row is wrong.
pub fn dictionary(settings: &Settings) -> Result<Dictionary, Error> {
    let mut files = Vec::new();
    for path in &settings.files {
        let bytes = std::fs::read(path).map_err(|source| unreadable("[dictionary] files", path, source))?;
        files.push((path.display().to_string(), bytes));
    }
    let sources: Vec<Source<'_>> = files.iter().map(|(name, bytes)| Source { name, bytes }).collect();
    Ok(Dictionary::load(&sources, settings)?)
}

fn unreadable(key: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Read { key, path: path.into(), source }
}

/// Remembers when files were changed.
#[derive(Debug, Default)]
pub struct Watch(HashMap<PathBuf, Option<SystemTime>>);

impl Watch {
    /// A watch over every file that is read again while the bridge runs, as they are now.
    pub fn over(config: &Config) -> Watch {
        let sites = config.site.iter().flat_map(|site| [&site.directory, &site.contacts]);
        let sip = &config.sip;
        let own = [&sip.tls_certificate, &sip.tls_key, &sip.tls_client_ca];
        let exchanges = config.pbx.iter().filter_map(|pbx| pbx.sip.as_ref());
        let theirs = exchanges.flat_map(|peer| [&peer.tls_ca, &peer.tls_certificate, &peer.tls_key]);
        let certificates = own.into_iter().chain(theirs).filter(|_| sip.enabled);
        let files = sites.chain(&config.dictionary.files).chain(certificates);
        let files = files.filter(|path| !path.as_os_str().is_empty());
        Watch(files.map(|path| (path.clone(), changed(path))).collect())
    }

    /// Whether a file was changed since the last call.
    pub fn look(&mut self) -> bool {
        let mut any = false;
        for (path, known) in &mut self.0 {
            let now = changed(path);
            any |= now != *known;
            *known = now;
        }
        any
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

/// What one reading gave. Values of files that are wrong are the old ones.
pub(super) struct Files {
    /// By `[[site]]`, in their order.
    pub(super) directories: Vec<Arc<Directory>>,
    /// For all sites.
    pub(super) dictionary: Arc<Dictionary>,
}

impl Files {
    /// Reads everything.
    ///
    /// # Errors
    /// The first file that is wrong.
    pub(super) fn load(config: &Config) -> Result<Files, Error> {
        let directories: Result<_, Error> =
            config.site.iter().map(|site| Ok(Arc::new(directory(&site.directory)?))).collect();
        Ok(Files { directories: directories?, dictionary: Arc::new(dictionary(&config.dictionary)?) })
    }

    /// Reads everything again; what is wrong is told and stays as it was.
    pub(super) fn reload(&mut self, config: &Config, look_ups: &[LookUps]) {
        for ((site, known), look_ups) in config.site.iter().zip(&mut self.directories).zip(look_ups) {
            keep_or_take(known, directory(&site.directory));
            if let Err(error) = look_ups.reload(&site.contacts) {
                tracing::error!(%error, "the contacts stay as they were");
            }
        }
        keep_or_take(&mut self.dictionary, dictionary(&config.dictionary));
    }
}

fn keep_or_take<T>(known: &mut Arc<T>, fresh: Result<T, Error>) {
    match fresh {
        Ok(fresh) => *known = Arc::new(fresh),
        Err(error) => tracing::error!(%error, "the file's content stays as it was"),
    }
}

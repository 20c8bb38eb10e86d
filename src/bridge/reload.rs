//! The site's files: read at the start, and again when they change or on request. A file that is wrong leaves the old content in force.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::lookup::{self, LookUps};
use crate::call::directory::{Directory, DirectoryError};
use crate::call::line::{Line, Lines};
use crate::call::scope::Scopes;
use crate::config::Config;
use crate::crm::settings::Endpoint;
use crate::dictionary::{Dictionary, How, ImportError, Imported, Settings, Source, import};

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

/// Reads the rows of the dictionary files.
///
/// # Errors
/// When a file cannot be read or a row is wrong.
pub fn words(settings: &Settings) -> Result<Imported, Error> {
    let plain = settings.files.iter().map(|path| ("[dictionary] files", path, How::default()));
    // what is wrong with a source was refused with the configuration
    let told =
        settings.source.iter().map(|one| ("[[dictionary.source]] path", &one.path, one.how().unwrap_or_default()));
    let mut files = Vec::new();
    for (key, path, how) in plain.chain(told) {
        let bytes = std::fs::read(path).map_err(|source| unreadable(key, path, source))?;
        files.push((path.display().to_string(), bytes, how));
    }
    let sources: Vec<(Source<'_>, &How)> =
        files.iter().map(|(name, bytes, how)| (Source { name, bytes }, how)).collect();
    Ok(import::read(&sources)?)
}

/// Reads the dictionary files together, and makes what each line's calls need.
///
/// # Errors
/// When a file cannot be read or a row is wrong.
pub fn dictionary(config: &Config) -> Result<Dictionary, Error> {
    let imported = words(&config.dictionary)?;
    for left in &imported.left_out {
        let file = imported.files.get(left.file).map_or("", |(name, _)| name);
        tracing::info!(
            file,
            rows = left.count,
            first_line = left.first,
            why = left.why,
            "rows of a word list are left out"
        );
    }
    let dictionary =
        Dictionary::of_entries(imported.into_entries(), &config.dictionary).prepared(&calls(config)).ready();
    if dictionary.beyond() > 0 {
        tracing::warn!(
            lines = dictionary.beyond(),
            "too many scopes: these lines use only the words that apply everywhere"
        );
    }
    Ok(dictionary)
}

/// What the calls of each site and line are.
pub fn calls(config: &Config) -> Vec<Scopes> {
    let lines = Lines::new(config.line.clone());
    let numbers = config.line.iter().map(|line| line.number.as_str()).chain(["*"]);
    let policies: Vec<Line> = numbers.map(|number| lines.policy(number)).collect();
    let sites = config.site.iter().map(|site| site.id.as_str());
    sites.flat_map(|site| policies.iter().map(move |line| Scopes::of_call(site, line))).collect()
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
        let words = config.dictionary.files.iter().chain(config.dictionary.source.iter().map(|source| &source.path));
        let secrets = config.endpoint.iter().map(|endpoint| &endpoint.secret_file);
        let connections = config.endpoint.iter().flat_map(Endpoint::connection_files).chain(secrets);
        let files = sites.chain(words).chain(certificates).chain(connections);
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
        Ok(Files { directories: directories?, dictionary: Arc::new(dictionary(config)?) })
    }

    /// Reads everything again; what is wrong is told and stays as it was.
    pub(super) fn reload(&mut self, config: &Config, look_ups: &[LookUps]) {
        for ((site, known), look_ups) in config.site.iter().zip(&mut self.directories).zip(look_ups) {
            keep_or_take(known, directory(&site.directory));
            if let Err(error) = look_ups.reload(&site.contacts) {
                tracing::error!(%error, "the contacts stay as they were");
            }
        }
        keep_or_take(&mut self.dictionary, dictionary(config));
    }
}

fn keep_or_take<T>(known: &mut Arc<T>, fresh: Result<T, Error>) {
    match fresh {
        Ok(fresh) => *known = Arc::new(fresh),
        Err(error) => tracing::error!(%error, "the file's content stays as it was"),
    }
}

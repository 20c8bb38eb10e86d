//! Opens a model file for the subcommands: the manifest beside it, the checks, the recogniser. `command` brings models onto the machine.

pub mod command;
pub mod fetch;
mod install;
mod link;

pub use install::InstallError;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::speech::ggml::{self, GgmlError, Header};
use crate::speech::manifest::{Manifest, ManifestError};
use crate::speech::{Bias, Failure, Hypothesis, Recognizer};

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is no such file, or it may not be read.
    #[error(
        "{}: {source}; expected a Whisper model in ggml format. Check `[speech] model` or --model", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The manifest is wrong.
    #[error("{}: {problem}. Correct the manifest, or remove it to use the model unchecked", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        problem: ManifestError,
    },
    /// The file is no model.
    #[error(
        "{}: {problem}; expected a whole Whisper model in ggml format (`ggml-*.bin` of whisper.cpp). Copy or download it again", path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: GgmlError,
    },
    /// The engine does not take it.
    #[cfg(feature = "whisper")]
    #[error("{}: {problem}. Copy or download the model again, or use another", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: crate::speech::whisper::OpenError,
    },
    /// This program cannot recognise.
    #[error(
        "{}: this program was built without recognition; build it with the feature `whisper` (on by default)", .0.display()
    )]
    NotBuilt(PathBuf),
}

/// Reads the manifest beside a model; the defaults when there is none.
///
/// # Errors
/// When it cannot be read or has a wrong value.
pub fn manifest(model: &Path) -> Result<Manifest, ModelError> {
    let path = model.with_extension("toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => Manifest::parse(&text).map_err(|problem| ModelError::Manifest { path, problem }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Manifest::default()),
        Err(source) => Err(ModelError::Unreadable { path, source }),
    }
}

/// Looks a model file through without loading it.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn check(model: &Path) -> Result<Header, ModelError> {
    let path = model.to_path_buf();
    let file = open_file(model)?;
    ggml::check(io::BufReader::new(file)).map_err(|problem| ModelError::File { path, problem })
}

fn open_file(model: &Path) -> Result<File, ModelError> {
    let unreadable = |source| ModelError::Unreadable { path: model.to_path_buf(), source };
    let file = File::open(model).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    Ok(file)
}

/// Loads a model.
///
/// # Errors
/// Names the file, what is wrong with it and what to do.
#[cfg(feature = "whisper")]
pub fn open(model: &Path, language: &str, threads: u16) -> Result<Box<dyn Recognizer>, ModelError> {
    use crate::speech::whisper::{OpenError, Options, Whisper};
    let manifest = manifest(model)?;
    let file = open_file(model)?;
    let name = model.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let clock = || crate::bridge::now().mono;
    let options = Options { name, language: language.to_owned(), threads: threads.max(1), clock };
    let path = model.to_path_buf();
    match Whisper::open(io::BufReader::new(file), manifest, options) {
        Ok(whisper) => Ok(Box::new(whisper)),
        Err(OpenError::File(problem)) => Err(ModelError::File { path, problem }),
        Err(problem) => Err(ModelError::Open { path, problem }),
    }
}

/// Loads a model; impossible in this build.
///
/// # Errors
/// Always.
#[cfg(not(feature = "whisper"))]
pub fn open(model: &Path, _language: &str, _threads: u16) -> Result<Box<dyn Recognizer>, ModelError> {
    Err(ModelError::NotBuilt(model.to_path_buf()))
}

/// A server on another machine behind the same trait, for the subcommands.
#[derive(Debug)]
struct Remote {
    remote: crate::bridge::remote::Remote,
    runtime: tokio::runtime::Runtime,
}

impl Recognizer for Remote {
    fn recognize(&mut self, pcm: &[f32], bias: Option<&dyn Bias>) -> Result<Hypothesis, Failure> {
        let pcm: Arc<[i16]> = pcm.iter().map(|sample| (sample * 32_768.0).clamp(-32_768.0, 32_767.0) as i16).collect();
        let sound = crate::speech::remote::Sound { rate: 16_000, pcm };
        let asked = self.remote.ask(&sound, bias.map_or("", Bias::prompt));
        self.runtime.block_on(asked).map_err(|trouble| Failure::Failed(trouble.to_string()))
    }

    fn takes_bonuses(&self) -> bool {
        false
    }
}

/// A recogniser that asks the server of `[speech.remote]`. Each utterance is one request; none is repeated.
///
/// # Errors
/// When the settings or the files that they name cannot be used.
pub fn open_remote(
    settings: &crate::speech::settings::Settings,
) -> Result<Box<dyn Recognizer>, Box<dyn std::error::Error + Send + Sync>> {
    if !settings.remote.is_on() {
        return Err("[speech.remote] url is empty; expected the address of a transcription server".into());
    }
    let remote = crate::bridge::remote::Remote::new(&settings.remote, &settings.language)?;
    Ok(Box::new(Remote { remote, runtime: super::runtime()? }))
}

/// The engine's version and the processor features that it uses, for comparisons.
pub fn engine() -> String {
    #[cfg(feature = "whisper")]
    return crate::speech::whisper::Whisper::engine();
    #[cfg(not(feature = "whisper"))]
    return "none".into();
}

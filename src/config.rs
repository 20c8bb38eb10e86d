//! The configuration file: every stage's own settings composed, unknown keys refused, every error with its place.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::call::line::Line;
use crate::{crm, dictionary, media, outbox, panel, pbx, speech};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// This process.
    pub node: Node,
    /// Sites; at least one.
    pub site: Vec<Site>,
    /// Exchanges; each belongs to a site.
    pub pbx: Vec<Pbx>,
    /// Policies of dialled lines; the first match wins.
    pub line: Vec<Line>,
    /// RTP.
    pub media: media::settings::Settings,
    /// Recognition.
    pub speech: speech::settings::Settings,
    /// How the dictionary is used.
    pub dictionary: dictionary::settings::Settings,
    /// The durable outbox.
    pub outbox: outbox::settings::Settings,
    /// Receivers of events.
    pub endpoint: Vec<crm::settings::Endpoint>,
    /// The operator panel.
    pub panel: panel::settings::Settings,
    /// Logs.
    pub log: Log,
}

/// This process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Name of this node in the `source` of events.
    pub id: String,
    /// Folder of the outbox and the recordings.
    pub data_dir: PathBuf,
    /// Contacts at once; a call beyond is not observed and counted.
    pub max_contacts: usize,
}

/// One site (拠点).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// Name in events.
    pub id: String,
    /// CSV of extensions and agents; empty = none.
    pub directory: PathBuf,
    /// CSV of known callers; empty = none.
    pub contacts: PathBuf,
    /// CSV of the municipality's words; empty = none.
    pub dictionary: PathBuf,
}

/// One exchange. Exactly one of `asterisk` and `sip` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pbx {
    /// Name in logs and keys.
    pub id: String,
    /// Its site.
    pub site: String,
    /// Observed by Asterisk's ARI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asterisk: Option<pbx::asterisk::Settings>,
    /// Sends calls to the bridge by SIP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip: Option<pbx::sip::Settings>,
}

/// Logs on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,kakehashi::bridge=debug`.
    pub level: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Default for Node {
    fn default() -> Self {
        Self { id: "node1".into(), data_dir: "/var/lib/kakehashi".into(), max_contacts: 1_000 }
    }
}

impl Default for Site {
    fn default() -> Self {
        Self { id: "site1".into(), directory: PathBuf::new(), contacts: PathBuf::new(), dictionary: PathBuf::new() }
    }
}

impl Default for Pbx {
    fn default() -> Self {
        Self { id: "pbx1".into(), site: "site1".into(), asterisk: None, sip: None }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), json: false }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: {source}; expected a readable TOML file, see config/minimal.toml")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Syntax, an unknown key or a value of the wrong type.
    #[error("{file}, line {line}, column {column}: {problem}; every key is listed in config/kakehashi.toml")]
    Syntax {
        /// The file.
        file: String,
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
        /// What was found and what was expected.
        problem: String,
    },
    /// The values do not fit together.
    #[error("{file}, {key}: {problem}")]
    Value {
        /// The file.
        file: String,
        /// The table and key.
        key: String,
        /// What was found, what was expected, what to do.
        problem: String,
    },
}

impl Config {
    /// Reads a configuration; relative paths in it are relative to the folder of the file.
    ///
    /// # Errors
    /// The first fault with its place.
    pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
        let mut config: Config = toml::from_str(text).map_err(|error| syntax(file, text, &error))?;
        config.check(file)?;
        if let Some(folder) = file.parent() {
            config.anchor(folder);
        }
        Ok(config)
    }

    fn check(&self, file: &Path) -> Result<(), ConfigError> {
        let wrong = |key: String, problem: &str| {
            Err(ConfigError::Value { file: file.display().to_string(), key, problem: problem.into() })
        };
        if self.site.is_empty() {
            return wrong("[[site]]".into(), "there is none; expected at least one with an `id`");
        }
        let mut ids = HashSet::new();
        for site in &self.site {
            if site.id.is_empty() || !site.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return wrong(
                    "[[site]] id".into(),
                    "expected letters, digits, `-` and `_`; it is part of event addresses",
                );
            }
            if !ids.insert(&site.id) {
                return wrong(format!("[[site]] id = \"{}\"", site.id), "is there twice; give each site its own id");
            }
        }
        let mut names = HashSet::new();
        for pbx in &self.pbx {
            let key = format!("[[pbx]] id = \"{}\"", pbx.id);
            if !names.insert(&pbx.id) {
                return wrong(key, "is there twice; give each exchange its own id");
            }
            if !ids.contains(&pbx.site) {
                return wrong(key, "its `site` is not one of the [[site]] ids; correct it or add the site");
            }
            if pbx.asterisk.is_some() == pbx.sip.is_some() {
                return wrong(key, "expected exactly one of [pbx.asterisk] and [pbx.sip] below it");
            }
        }
        let mut endpoints = HashSet::new();
        for endpoint in &self.endpoint {
            if !endpoints.insert(&endpoint.id) {
                let key = format!("[[endpoint]] id = \"{}\"", endpoint.id);
                return wrong(key, "is there twice; give each endpoint its own id");
            }
        }
        Ok(())
    }

    /// Makes the paths absolute to `folder`.
    fn anchor(&mut self, folder: &Path) {
        let anchor = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() && path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        anchor(&mut self.node.data_dir);
        for site in &mut self.site {
            anchor(&mut site.directory);
            anchor(&mut site.contacts);
            anchor(&mut site.dictionary);
        }
    }
}

fn syntax(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or("");
    ConfigError::Syntax {
        file: file.display().to_string(),
        line: before.matches('\n').count() + 1,
        column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
        problem: error.message().to_string(),
    }
}

//! Models that are known by name: where they come from, how large they are, what their checksums are. No IO; `kakehashi model` uses it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::manifest::{self, Manifest};

/// The list that is built in.
const BUILT_IN: &str = include_str!("../../models/catalogue.toml");

/// `[models]` of the configuration: where models are kept and how they are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Folder of the models.
    pub dir: PathBuf,
    /// Where the files are fetched from instead of their origin: this address, `/` and the name of the file; empty = the origin.
    pub mirror: String,
    /// Proxy, `http://[user:password@]host:port`; empty = the variables `HTTPS_PROXY` and `NO_PROXY`; `none` = no proxy at all.
    pub proxy: String,
    /// PEM file with certificate authorities that are trusted beside the system's own; empty = only those.
    pub ca: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self { dir: "models".into(), mirror: String::new(), proxy: String::new(), ca: PathBuf::new() }
    }
}

/// All models that are known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The models, best for production first.
    pub model: Vec<Model>,
}

/// One model file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What people call it.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Where its origin publishes it; empty when nowhere.
    pub url: String,
    /// Licence of the weights, as an SPDX expression.
    pub licence: String,
    /// Which languages it hears.
    pub languages: String,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, 64 hexadecimal digits; empty when its origin publishes none.
    pub sha256: String,
    /// SHA-1 of the file, 40 hexadecimal digits; empty when its origin publishes none.
    pub sha1: String,
    /// About how much memory a worker needs beside the weights, in MB.
    pub state_mb: u64,
    /// What it is for.
    pub note: String,
}

/// Size and checksums of a file, as they were computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Size.
    pub bytes: u64,
    /// SHA-256, lower case.
    pub sha256: String,
    /// SHA-1, lower case.
    pub sha1: String,
}

/// How a file differs from what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its {what} is {found}, expected {expected}")]
pub struct Mismatch {
    /// What was compared.
    pub what: &'static str,
    /// What the file has.
    pub found: String,
    /// What it should have.
    pub expected: String,
}

impl Catalogue {
    /// The list that is built into the program.
    pub fn built_in() -> Catalogue {
        // a test reads it; an empty list knows nothing and says so
        toml::from_str(BUILT_IN).unwrap_or(Catalogue { model: Vec::new() })
    }

    /// The model of that name or file name.
    pub fn find(&self, name: &str) -> Option<&Model> {
        self.model.iter().find(|model| model.name == name || model.file == name)
    }

    /// The model that this file is, whatever it is called.
    pub fn identify(&self, found: &Found) -> Option<&Model> {
        self.model.iter().find(|model| !model.sha256.is_empty() && model.check(found).is_ok())
    }

    /// All names, for messages.
    pub fn names(&self) -> String {
        self.model.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Model {
    /// About how much memory one worker needs, in MB (10⁶ bytes).
    pub fn memory_mb(&self) -> u64 {
        self.bytes.div_ceil(1_000_000) + self.state_mb
    }

    /// Where to fetch it from; `None` when it has no origin and there is no mirror.
    pub fn source(&self, mirror: &str) -> Option<String> {
        let mirror = mirror.trim().trim_end_matches('/');
        match (mirror.is_empty(), self.url.is_empty()) {
            (false, _) => Some(format!("{mirror}/{}", self.file)),
            (true, false) => Some(self.url.clone()),
            (true, true) => None,
        }
    }

    /// Compares a file with what is published: its size and every checksum that there is.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, found: &Found) -> Result<(), Mismatch> {
        if found.bytes != self.bytes {
            let (found, expected) = (format!("{} bytes", found.bytes), format!("{} bytes", self.bytes));
            return Err(Mismatch { what: "size", found, expected });
        }
        for (what, found, expected) in [("SHA-256", &found.sha256, &self.sha256), ("SHA-1", &found.sha1, &self.sha1)] {
            if !expected.is_empty() && !found.eq_ignore_ascii_case(expected) {
                return Err(Mismatch { what, found: found.clone(), expected: expected.clone() });
            }
        }
        Ok(())
    }
}

/// The manifest to write beside a file that was checked: thresholds that somebody set (`kept`) stay, the file's own values are `found`.
pub fn manifest_for(found: &Found, kept: Option<Manifest>) -> Manifest {
    let file = Some(manifest::File { bytes: found.bytes, sha256: found.sha256.clone() });
    Manifest { file, ..kept.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_built_in_list_reads_and_every_entry_is_whole() {
        let catalogue: Catalogue = toml::from_str(BUILT_IN).unwrap();
        assert_eq!(catalogue, Catalogue::built_in());
        assert!(catalogue.model.len() >= 20, "{}", catalogue.names());
        let hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut seen = HashSet::new();
        for model in &catalogue.model {
            assert!(seen.insert(&model.name) && seen.insert(&model.file), "{} is there twice", model.name);
            assert!(hex(&model.sha256, 64), "{}", model.name);
            assert!(model.sha1.is_empty() || hex(&model.sha1, 40), "{}", model.name);
            assert!(model.sha256.is_empty() || seen.insert(&model.sha256), "{}: a checksum of another", model.name);
            let own = model.name == "kakehashi-lab-ja";
            assert!(own || model.url.starts_with("https://huggingface.co/") && model.url.ends_with(&model.file));
            assert!(own || model.url.contains("/resolve/") && !model.url.contains("/main/"), "a fixed revision");
            assert!(model.memory_mb() > model.bytes / 1_000_000 && model.bytes > 20_000_000);
        }
    }

    #[test]
    fn the_shipped_model_is_the_one_that_is_listed() {
        let catalogue = Catalogue::built_in();
        let listed = catalogue.find("kakehashi-lab-ja.bin").unwrap();
        let manifest = Manifest::parse(include_str!("../../models/kakehashi-lab-ja.toml")).unwrap().file.unwrap();
        assert_eq!((listed.bytes, &listed.sha256), (manifest.bytes, &manifest.sha256));
        assert_eq!(listed.source(""), None);
        assert_eq!(
            listed.source("https://mirror.example.jp/models/").unwrap(),
            "https://mirror.example.jp/models/kakehashi-lab-ja.bin"
        );
    }

    #[test]
    fn a_file_is_known_by_its_content_and_every_difference_is_named() {
        let catalogue = Catalogue::built_in();
        let turbo = catalogue.find("large-v3-turbo").unwrap();
        let right = Found { bytes: turbo.bytes, sha256: turbo.sha256.to_uppercase(), sha1: turbo.sha1.clone() };
        assert_eq!(catalogue.identify(&right).unwrap().name, "large-v3-turbo");
        for (what, wrong) in [
            ("size", Found { bytes: 1, ..right.clone() }),
            ("SHA-256", Found { sha256: "0".repeat(64), ..right.clone() }),
            ("SHA-1", Found { sha1: "0".repeat(40), ..right.clone() }),
        ] {
            assert_eq!(turbo.check(&wrong).unwrap_err().what, what);
            assert!(catalogue.identify(&wrong).is_none());
        }
    }

    #[test]
    fn thresholds_that_somebody_set_stay_when_the_file_is_fetched_again() {
        let found = Found { bytes: 5, sha256: "a".repeat(64), sha1: String::new() };
        let kept = Manifest::parse("[decode]\nbeam = 4\n").unwrap();
        let manifest = manifest_for(&found, Some(kept));
        assert_eq!((manifest.decode.beam, manifest.file.as_ref().unwrap().bytes), (4, 5));
        assert_eq!(Manifest::parse(&toml::to_string(&manifest).unwrap()).unwrap(), manifest);
        assert_eq!(manifest_for(&found, None).decode, Manifest::default().decode);
    }
}

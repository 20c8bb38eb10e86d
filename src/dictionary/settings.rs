//! What an operator can set about the dictionary.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::entry::limited;
use super::import::{Area, Format, How};
use crate::call::scope::Scopes;

/// Settings of the dictionary; `[dictionary]` in the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Files with the municipality's words, in any format that is found by its content; together at most 50,000 rows.
    pub files: Vec<PathBuf>,
    /// `[[dictionary.source]]`: further files of which more must be said.
    pub source: Vec<SourceSettings>,
    /// Whether the recogniser prefers the words while it decodes.
    pub bias: bool,
    /// Bonus in nats for the first whole character of an official spelling.
    pub bias_first_nats: f32,
    /// Further bonus in nats for each character after the first.
    pub bias_rise_nats: f32,
    /// Largest bonus in nats that one token of an official spelling can get.
    pub bias_cap_nats: f32,
    /// Bonus in nats for the first kana of a reading, so that what may be a name is spelt as heard; it rises as the other does, by 4 at most.
    pub bias_kana_nats: f32,
    /// Only tokens at most this many nats behind the best one get a bonus.
    pub bias_margin_nats: f32,
    /// A word that the bias found is taken where the recogniser itself finds it at most this many nats less likely than what it wrote
    /// without the bias.
    pub bias_accept_nats: f32,
    /// Whether the recogniser is told a few words beforehand: those with a weight above 1, at most 30. Measure it with your model before
    /// you switch it on (`kakehashi eval --prompt`).
    pub prompt: bool,
    /// Whether what was heard is replaced by the official spelling of the same sound.
    pub correct: bool,
    /// Share of a reading (weighted morae, 0–0.5) that may differ from what was heard. The more words a dictionary has, the more of what is none
    /// of them lies within that distance of one.
    pub correct_distance: f32,
    /// Words with kanji are only replaced where the recogniser's own probability is below this, 0–1.
    pub correct_below: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            source: Vec::new(),
            bias: true,
            bias_first_nats: 0.5,
            bias_rise_nats: 1.0,
            bias_cap_nats: 3.0,
            bias_kana_nats: 4.0,
            bias_margin_nats: 9.0,
            bias_accept_nats: 12.0,
            prompt: false,
            correct: true,
            correct_distance: 0.12,
            correct_below: 0.8,
        }
    }
}

/// A file of which more must be said; `[[dictionary.source]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSettings {
    /// The file.
    pub path: PathBuf,
    /// What it is written in.
    pub format: Format,
    /// Municipalities and prefectures that are taken of a postal list, by code (`27`, `271004`) or name; empty = all.
    pub areas: Vec<String>,
    /// The places of a ward in a postal list apply to calls of lines with that ward only.
    pub wards_as_scope: bool,
    /// Where its words apply that say nothing themselves, for example `ward:北区`; empty = everywhere.
    pub scope: String,
    /// What its words are that say nothing themselves, for example `facility`.
    pub class: String,
}

impl SourceSettings {
    /// How the file is read.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn how(&self) -> Result<How, (&'static str, String)> {
        let areas = self.areas.iter().map(|area| Area::parse(area)).collect::<Result<_, _>>();
        let scope = Scopes::parse(&self.scope).map_err(|error| ("scope", error.to_string()))?;
        let class = self.class.trim();
        limited(class).map_err(|problem| ("class", problem))?;
        Ok(How {
            format: self.format,
            areas: areas.map_err(|error| ("areas", error.to_string()))?,
            wards_as_scope: self.wards_as_scope,
            scope: scope.to_string(),
            class: class.to_owned(),
        })
    }
}

impl Settings {
    /// What decides on texts: everything but where the words come from.
    pub(super) fn tuning(&self) -> Settings {
        Settings { files: Vec::new(), source: Vec::new(), ..self.clone() }
    }

    /// Whether the thresholds are numbers and the settings of the files are right.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn check(&self) -> Result<(), (String, String)> {
        let thresholds = [
            ("bias_first_nats", self.bias_first_nats),
            ("bias_rise_nats", self.bias_rise_nats),
            ("bias_cap_nats", self.bias_cap_nats),
            ("bias_kana_nats", self.bias_kana_nats),
            ("bias_margin_nats", self.bias_margin_nats),
            ("bias_accept_nats", self.bias_accept_nats),
            ("correct_distance", self.correct_distance),
            ("correct_below", self.correct_below),
        ];
        if let Some((key, value)) = thresholds.into_iter().find(|(_, value)| !value.is_finite()) {
            return Err((
                format!("[dictionary] {key}"),
                format!("{value} is no number that can be used; expected a finite one"),
            ));
        }
        for source in &self.source {
            let place = |key: &str| format!("[[dictionary.source]] path = \"{}\": {key}", source.path.display());
            if source.path.as_os_str().is_empty() {
                return Err((place("path"), "it is empty; expected a file".into()));
            }
            source.how().map_err(|(key, problem)| (place(key), problem))?;
        }
        Ok(())
    }
}

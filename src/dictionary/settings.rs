//! What an operator can set about the dictionary.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of the dictionary; `[dictionary]` in the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// CSV files with the municipality's words; together at most 50,000 rows.
    pub files: Vec<PathBuf>,
    /// Whether the recogniser prefers the words while it decodes.
    pub bias: bool,
    /// Bonus in nats for the first whole character of an official spelling.
    pub bias_first_nats: f32,
    /// Further bonus in nats for each character after the first.
    pub bias_rise_nats: f32,
    /// Largest bonus in nats that one token can get.
    pub bias_cap_nats: f32,
    /// Only tokens at most this many nats behind the best one get a bonus.
    pub bias_margin_nats: f32,
    /// Whether what was heard is replaced by the official spelling of the same sound.
    pub correct: bool,
    /// Share of a reading (weighted morae, 0–0.5) that may differ from what was heard.
    pub correct_distance: f32,
    /// Words with kanji are only replaced where the recogniser's own probability is below this, 0–1.
    pub correct_below: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            bias: true,
            bias_first_nats: 0.5,
            bias_rise_nats: 1.0,
            bias_cap_nats: 3.0,
            bias_margin_nats: 7.0,
            correct: true,
            correct_distance: 0.15,
            correct_below: 0.8,
        }
    }
}

//! Policy of a dialled line: what may be recorded, transcribed and delivered, asked before any media is opened.

use serde::{Deserialize, Serialize};

use super::Tier;

/// What is done with calls to one dialled line (`[[line]]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The dialled number or extension exactly as the exchange shows it; `*` stands for every line not listed.
    pub number: String,
    /// What operators read for this line, for example 代表 or ごみ.
    #[serde(default)]
    pub name: String,
    /// The tier of a leg that this line itself answers (calls sent to the bridge).
    #[serde(default)]
    pub tier: Tier,
    /// Keep the sound on disk.
    #[serde(default = "yes")]
    pub record: bool,
    /// Turn speech into text.
    #[serde(default = "yes")]
    pub transcribe: bool,
    /// Send text to the CRM.
    #[serde(default = "yes")]
    pub deliver: bool,
    /// How long a call sent to the bridge rings before the bridge answers, in milliseconds.
    #[serde(default)]
    pub answer_after_ms: u64,
}

fn yes() -> bool {
    true
}

/// All lines of the configuration, asked by dialled number.
#[derive(Clone, Debug, Default)]
pub struct Lines(Vec<Line>);

impl Lines {
    /// Keeps `lines` in their order; the first match wins.
    pub fn new(lines: Vec<Line>) -> Self {
        Self(lines)
    }

    /// The policy for `dialled`: its own line, else the `*` line, else everything allowed.
    pub fn policy(&self, dialled: &str) -> Line {
        let own = self.0.iter().find(|line| line.number == dialled);
        own.or_else(|| self.0.iter().find(|line| line.number == "*")).cloned().unwrap_or_else(|| Line {
            number: dialled.into(),
            name: String::new(),
            tier: Tier::default(),
            record: true,
            transcribe: true,
            deliver: true,
            answer_after_ms: 0,
        })
    }
}

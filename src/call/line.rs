//! Policy of a dialled line: what may be recorded, transcribed and delivered, asked before any media is opened.

use serde::{Deserialize, Serialize};

use super::Tier;
use super::number::Number;
use super::secret::Masking;

/// What is done with calls to one dialled line (`[[line]]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The dialled number or extension, in any usual form of the number; `*` stands for every line not listed.
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
    /// Wards (区) whose words of the dictionary apply to its calls.
    #[serde(default)]
    pub wards: Vec<String>,
    /// Departments (課) whose words of the dictionary apply to its calls.
    #[serde(default)]
    pub departments: Vec<String>,
    /// Classes of numbers that are masked on this line, as a list; "transcript": those of `[transcript] mask`.
    #[serde(default)]
    pub mask: Masking,
}

fn yes() -> bool {
    true
}

/// All lines of the configuration, asked by dialled number.
#[derive(Clone, Debug, Default)]
pub struct Lines(Vec<(Line, Number)>);

impl Lines {
    /// Keeps `lines` in their order; the first match wins.
    pub fn new(lines: Vec<Line>) -> Self {
        let numbered = |line: Line| {
            let number = Number::parse(&line.number);
            (line, number)
        };
        Self(lines.into_iter().map(numbered).collect())
    }

    /// The policy for `dialled`: the line written the same, else the one of the same number (`06-…`, `+816…`), else the `*` line, else
    /// everything allowed. A number that is not of the plan matches only what is written the same.
    pub fn policy(&self, dialled: &str) -> Line {
        let number = Number::parse(dialled);
        let known = !matches!(number, Number::Unknown(_));
        let written = |wanted: &str| self.0.iter().find(|(line, _)| line.number == wanted);
        let same = || self.0.iter().find(|(_, own)| known && *own == number);
        let own = written(dialled).or_else(same).or_else(|| written("*"));
        own.map(|(line, _)| line.clone()).unwrap_or_else(|| Line {
            number: dialled.into(),
            name: String::new(),
            tier: Tier::default(),
            record: true,
            transcribe: true,
            deliver: true,
            answer_after_ms: 0,
            wards: Vec::new(),
            departments: Vec::new(),
            mask: Masking::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: &str, name: &str) -> Line {
        Line { name: name.into(), ..Lines::default().policy(number) }
    }

    #[test]
    fn a_line_is_found_in_whatever_form_its_number_comes() {
        let lines = Lines::new(vec![line("06-6362-1234", "代表"), line("7001", "内線"), line("*", "他")]);
        for form in ["06-6362-1234", "0663621234", "+81663621234", "81663621234"] {
            assert_eq!(lines.policy(form).name, "代表", "{form}");
        }
        assert_eq!(lines.policy("7001").name, "内線");
        for other in ["0363621234", "63621234", "70011", "", "s"] {
            assert_eq!(lines.policy(other).name, "他", "{other}");
        }
    }

    #[test]
    fn a_name_is_matched_as_it_is_written() {
        let lines = Lines::new(vec![line("soudan", "相談")]);
        assert_eq!(lines.policy("soudan").name, "相談");
        assert_eq!(lines.policy("soudan2").name, "");
    }
}

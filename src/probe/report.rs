//! The whole result: what was asked, the verdict, every check. Its JSON is `kakehashi.probe/1` (docs/probe.md).

use serde::Serialize;

use super::Text;
use super::check::{Area, Weight};
use super::evaluate::{Figure, Finding, evaluate};
use super::facts::Facts;
use super::verdict::{Verdict, conclude};

/// Name and version of the JSON. Fields may be added under the same name; none changes its meaning or goes away.
pub const SCHEMA: &str = "kakehashi.probe/1";

/// Where and by what the exchange was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Circumstances {
    /// When it began, RFC 3339 in UTC.
    pub at: String,
    /// The same in Japan's time, for people.
    #[serde(skip)]
    pub at_jst: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Version of the bridge.
    pub bridge: String,
    /// The machine that looked: system, processor, address it looked from.
    pub machine: String,
    /// SIP address that was asked, when one was.
    pub sip: Option<String>,
    /// ARI's URL, when one was asked.
    pub ari: Option<String>,
    /// Whether calls were placed.
    pub calls_placed: bool,
}

/// One check with its result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// Name of the check.
    pub id: &'static str,
    /// Group.
    pub area: Area,
    /// How much hangs on it.
    pub weight: Weight,
    /// Result.
    pub state: super::State,
    /// What was looked at.
    pub title: Text,
    /// What the bridge needs it for.
    pub why: Text,
    /// What was seen.
    pub evidence: Text,
    /// What to change.
    pub remedy: Option<Text>,
    /// Measured.
    pub figures: Vec<Figure>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Where and by what.
    #[serde(flatten)]
    pub circumstances: Circumstances,
    /// Product and version of the exchange, when it told.
    pub product: Option<String>,
    /// What it comes to.
    pub verdict: Verdict,
    /// Every check, in the order of the table.
    pub checks: Vec<Checked>,
    /// What the probe made on the exchange and could not remove.
    pub left_behind: Vec<String>,
}

impl Report {
    /// Judges the facts.
    pub fn of(facts: &Facts, circumstances: Circumstances) -> Report {
        let findings = evaluate(facts);
        let verdict = conclude(&findings);
        Report {
            schema: SCHEMA,
            circumstances,
            product: facts.product(),
            verdict,
            checks: findings.into_iter().map(checked).collect(),
            left_behind: facts.ari.left_behind.clone(),
        }
    }

    /// The checks of one group.
    pub fn of_area(&self, area: Area) -> impl Iterator<Item = &Checked> {
        self.checks.iter().filter(move |checked| checked.area == area)
    }

    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn checked(finding: Finding) -> Checked {
    let check = finding.id.check();
    Checked {
        id: check.name,
        area: check.area,
        weight: check.weight,
        state: finding.state,
        title: check.title(),
        why: check.why(),
        evidence: finding.evidence,
        remedy: finding.remedy,
        figures: finding.figures,
    }
}

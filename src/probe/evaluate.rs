//! Facts in, a finding of each check out: pass, fail, unknown or not applicable, with what was seen and what to change.

mod ari;
mod leg;
mod sip;

use serde::Serialize;

use super::check::{CHECKS, CheckId};
use super::facts::{Facts, Failure, Tried};
use super::sound::Measured;
use super::{State, Text, remedy};

/// A measured figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Name in JSON.
    pub name: &'static str,
    /// What it is.
    pub title: Text,
    /// Value in `unit`.
    pub value: f64,
    /// `ms`, `%`, `packets`, `days`.
    pub unit: &'static str,
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which check.
    pub id: CheckId,
    /// Result.
    pub state: State,
    /// What was seen, or what to give so that it can be seen.
    pub evidence: Text,
    /// What to change on the exchange; only where it failed.
    pub remedy: Option<Text>,
    /// Measured.
    pub figures: Vec<Figure>,
}

/// A finding before it has its check.
struct Seen {
    state: State,
    evidence: Text,
    figures: Vec<Figure>,
}

impl Seen {
    fn new(good: bool, evidence: Text) -> Seen {
        Seen { state: if good { State::Pass } else { State::Fail }, evidence, figures: Vec::new() }
    }

    fn unknown(evidence: Text) -> Seen {
        Seen { state: State::Unknown, evidence, figures: Vec::new() }
    }

    fn inapplicable(evidence: Text) -> Seen {
        Seen { state: State::Inapplicable, evidence, figures: Vec::new() }
    }

    fn with(mut self, figures: Vec<Figure>) -> Seen {
        self.figures = figures;
        self
    }
}

/// Judges every check, in the order of the table.
pub fn evaluate(facts: &Facts) -> Vec<Finding> {
    let asterisk = facts.is_asterisk();
    CHECKS
        .iter()
        .map(|check| {
            let Seen { state, evidence, figures } = see(check.id, facts);
            let remedy = (state == State::Fail).then(|| remedy::of(check.id, asterisk)).flatten();
            Finding { id: check.id, state, evidence, remedy, figures }
        })
        .collect()
}

fn see(id: CheckId, facts: &Facts) -> Seen {
    ari::see(id, facts)
        .or_else(|| sip::see(id, facts))
        .or_else(|| leg::see(id, facts))
        .unwrap_or_else(|| Seen::unknown(Text::new("この版では調べない", "not looked at by this version")))
}

/// The outcome of an attempt: judged by `good` where something came, unknown with `hint` where nothing was tried.
fn judge<T>(tried: &Tried<T>, hint: Text, good: impl FnOnce(&T) -> Seen) -> Seen {
    match tried {
        Tried::Not => Seen::unknown(hint),
        Tried::Skipped(why) => Seen::unknown(why.clone()),
        Tried::Failed(failure @ Failure::Own(_)) => Seen::unknown(failure.text()),
        Tried::Failed(failure) => Seen::new(false, failure.text()),
        Tried::Got(value) => good(value),
    }
}

fn figure(name: &'static str, ja: &str, en: &str, value: f64, unit: &'static str) -> Figure {
    Figure { name, title: Text::new(ja, en), value, unit }
}

/// The middle of a sorted list of microseconds, in milliseconds.
fn median_ms(sorted_us: &[u64]) -> f64 {
    sorted_us.get(sorted_us.len() / 2).map_or(0.0, |us| *us as f64 / 1_000.0)
}

fn sound_text(sound: &Measured) -> Text {
    Text::new(
        format!(
            "{} パケット受信、欠落 {:.1} %、ジッター {:.1} ms、ptime {} ms、PT {}",
            sound.packets,
            sound.loss(),
            sound.jitter_us as f64 / 1_000.0,
            sound.ptime_ms,
            sound.payload
        ),
        format!(
            "{} packets received, loss {:.1} %, jitter {:.1} ms, ptime {} ms, PT {}",
            sound.packets,
            sound.loss(),
            sound.jitter_us as f64 / 1_000.0,
            sound.ptime_ms,
            sound.payload
        ),
    )
}

fn sound_figures(sound: &Measured, names: [&'static str; 3], ja: &str, en: &str) -> Vec<Figure> {
    let [packets, loss, jitter] = names;
    vec![
        figure(packets, &format!("{ja} 受信パケット"), &format!("{en}: packets"), f64::from(sound.packets), "packets"),
        figure(loss, &format!("{ja} 欠落"), &format!("{en}: loss"), sound.loss(), "%"),
        figure(jitter, &format!("{ja} ジッター"), &format!("{en}: jitter"), sound.jitter_us as f64 / 1_000.0, "ms"),
    ]
}

/// Whether recognition will do with it: nearly everything comes.
fn is_good(sound: &Measured) -> bool {
    sound.packets >= 20 && sound.loss() < 2.0
}

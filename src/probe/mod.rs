//! Can this exchange feed the bridge? What was observed of it in; results, remedies and a verdict out, as text, JSON or an HTML page.
//!
//! [`facts`] is what the edge saw, [`check`] the table of what matters and why. [`evaluate`] makes a finding of each check, [`verdict`]
//! says which ways of connecting work and whether the exchange is knocked out, [`report`] holds all of it for [`text`], JSON and
//! [`html`]. [`request`] and [`dialog`] write the SIP messages that are sent, [`sound`] measures what is heard, [`asterisk`] reads what ARI tells. Values that
//! come from the exchange pass [`redact`] before they are shown: no number, no name, no password.

pub mod asterisk;
pub mod check;
pub mod dialog;
pub mod evaluate;
pub mod facts;
pub mod html;
pub mod redact;
pub mod remedy;
pub mod report;
pub mod request;
pub mod sound;
pub mod text;
pub mod verdict;

#[cfg(test)]
mod tests;

use serde::Serialize;

/// One sentence in both languages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Text {
    /// Japanese.
    pub ja: String,
    /// English.
    pub en: String,
}

impl Text {
    /// A sentence in both languages.
    pub fn new(ja: impl Into<String>, en: impl Into<String>) -> Text {
        Text { ja: ja.into(), en: en.into() }
    }

    /// What reads the same in both: protocol text and figures.
    pub fn same(text: impl Into<String>) -> Text {
        let text = text.into();
        Text { ja: text.clone(), en: text }
    }

    /// The sentence in one language.
    pub fn of(&self, lang: Lang) -> &str {
        match lang {
            Lang::Ja => &self.ja,
            Lang::En => &self.en,
        }
    }

    /// Both, one after the other.
    #[must_use]
    pub fn and(mut self, other: &Text) -> Text {
        if !self.ja.is_empty() && !other.ja.is_empty() {
            self.ja.push('。');
            self.en.push_str("; ");
        }
        self.ja.push_str(&other.ja);
        self.en.push_str(&other.en);
        self
    }
}

/// Language of a printed report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// Japanese.
    #[default]
    Ja,
    /// English.
    En,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The exchange has it.
    Pass,
    /// It has not.
    Fail,
    /// It could not be seen; the evidence says what to give or do.
    Unknown,
    /// It cannot be had in this way, or this exchange has no such thing: nothing to mend, and nothing that was missed. The reason is told.
    #[serde(rename = "not-applicable")]
    Inapplicable,
}

impl State {
    /// All must hold: one failure fails, one that is not applicable makes the whole so, one unknown leaves it open.
    pub fn all(states: impl IntoIterator<Item = State>) -> State {
        states.into_iter().fold(State::Pass, |sum, state| match (sum, state) {
            (State::Fail, _) | (_, State::Fail) => State::Fail,
            (State::Inapplicable, _) | (_, State::Inapplicable) => State::Inapplicable,
            (State::Unknown, _) | (_, State::Unknown) => State::Unknown,
            _ => State::Pass,
        })
    }

    /// One suffices: one pass passes, one unknown leaves it open, what is not applicable does not count.
    pub fn any(states: impl IntoIterator<Item = State>) -> State {
        states.into_iter().fold(State::Fail, |sum, state| match (sum, state) {
            (State::Pass, _) | (_, State::Pass) => State::Pass,
            (State::Unknown, _) | (_, State::Unknown) => State::Unknown,
            _ => State::Fail,
        })
    }

    /// As people read it.
    pub fn word(self, lang: Lang) -> &'static str {
        match (self, lang) {
            (State::Pass, Lang::Ja) => "合格",
            (State::Fail, Lang::Ja) => "不合格",
            (State::Unknown, Lang::Ja) => "未確認",
            (State::Inapplicable, Lang::Ja) => "該当なし",
            (State::Pass, Lang::En) => "pass",
            (State::Fail, Lang::En) => "FAIL",
            (State::Unknown, Lang::En) => "unknown",
            (State::Inapplicable, Lang::En) => "not applicable",
        }
    }
}

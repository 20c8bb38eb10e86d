//! Spoken numbers become written ones: 令和八年十一月二十七日 → 令和8年11月27日, ゼロロク、イチニーサンヨン、… → 06-1234-….
//!
//! In: a text and the stretches of it that stay (names of the dictionary). Out: the written form and the edits that lead to it, so that every
//! place of the text is found again. By rule, without a model: a numeral is rewritten where a counter, a unit, a telephone number, a postal code
//! or an address around it makes it a number, never inside a word or a name (一緒, 十分に, 八戸, 四天王寺). No IO, no state.

pub(crate) mod between;
pub(crate) mod counters;
pub(crate) mod digits;
pub mod edit;
pub(crate) mod listed;
mod rules;
pub(crate) mod run;
pub(crate) mod telephone;
pub(crate) mod value;
pub(crate) mod words;

pub use edit::Edit;
pub use rules::Kept;

use digits::is_numeral;

use crate::dictionary::Dictionary;

/// A text in its written form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The written form.
    pub text: String,
    /// What was changed in the text that was given, in order.
    pub edits: Vec<Edit>,
}

/// The written form of `text`; `kept` stretches are not touched.
pub fn written(text: &str, kept: &[Kept]) -> Written {
    let signs: Vec<char> = text.chars().collect();
    let edits = rules::edits(&signs, kept);
    Written { text: edit::apply(&signs, &edits), edits }
}

/// Where names of the dictionary that have numerals stand in a text. A name that is nothing but a numeral (十三) gives way to a counter behind
/// it: 十三日 is a date.
pub fn names(text: &str, dictionary: &Dictionary) -> Vec<Kept> {
    if !text.chars().any(is_numeral) {
        return Vec::new();
    }
    let mut kept = Vec::new();
    for entry in dictionary.heard_in(text).filter(|entry| entry.surface.chars().any(is_numeral)) {
        let length = entry.surface.chars().count();
        for (at, found) in text.match_indices(&entry.surface) {
            let rest: Vec<char> = text.get(at + found.len()..).unwrap_or_default().chars().take(8).collect();
            let bare = found.chars().all(is_numeral) && words::word(&rest).is_none();
            if !(bare && counters::counter(&rest, false).is_some()) {
                let start = text.get(..at).unwrap_or_default().chars().count();
                kept.push((start, start + length));
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests;

//! Numbers that must not be stored, masked in the text of record before anything else sees it.
//!
//! By rule: digits in whatever notation, with separators and fillers between them, are one number where their check digit is right (My Number,
//! card), or where a word beside them says what they are and they are about as many (a misheard My Number, an account, an insurance certificate,
//! a pension, a licence). Each masked digit becomes one `*`. Several texts that belong together are looked through as one (`numbers`), so
//! that a number in pieces is found; what comes later or from somebody else and repeats it is found by its digits (`repeated`).

mod check;
mod find;
mod near;

use serde::{Deserialize, Serialize};

use super::numbers::Edit;
use super::numbers::edit::{self, in_order};
use super::numbers::run::{Group, Run, all_runs, digits, length, runs};
use crate::call::secret::{Class, Classes};
use crate::dictionary::Corrected;
pub(crate) use find::{Found, parts};
pub(crate) use near::{At, Word, words};

/// Where the texts disagree about a number, this many digits in a row are masked in the other one too.
const SUSPICIOUS: usize = 4;

/// `[transcript]`: what is masked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Classes of numbers that are masked in texts and silenced in recordings; a `[[line]]` may have its own.
    pub mask: Classes,
}

/// A number in a text, from its first digit to behind its last one, in Unicode scalar values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first digit.
    pub start: usize,
    /// Behind its last digit.
    pub end: usize,
    /// What it is.
    pub kind: Class,
}

/// A text with its numbers masked, and where they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masked {
    /// One `*` for each digit; a digit that is spelt out (イチ) is one, too.
    pub text: String,
    /// In order of their start, in the text that was given; spans may overlap.
    pub spans: Vec<Span>,
}

/// Masks the numbers of one text.
pub fn mask(text: &str, policy: Policy) -> Masked {
    let signs: Vec<char> = text.chars().collect();
    let found = numbers(&signs, &words(&signs), policy.mask);
    let mut spans: Vec<Span> = found.iter().filter_map(span).collect();
    spans.sort_by_key(|span| (span.start, span.end));
    Masked { text: edit::apply(&signs, &stars(&found)), spans }
}

fn span(found: &Found) -> Option<Span> {
    let (first, last) = (found.groups.first()?, found.groups.last()?);
    Some(Span { start: first.start, end: last.end, kind: found.class })
}

/// The numbers of a text, with the words around them.
pub(crate) fn numbers(signs: &[char], words: &[At], classes: Classes) -> Vec<Found> {
    if classes == Classes::NONE {
        return Vec::new();
    }
    find::find(signs, runs(signs), words, classes)
}

/// The edits that put a star in place of each digit of what was found.
pub(crate) fn stars(found: &[Found]) -> Vec<Edit> {
    in_order(found.iter().flat_map(|found| found.groups.iter().flat_map(stars_of)).collect())
}

fn stars_of(group: &Group) -> Vec<Edit> {
    let count = group.digits.len();
    let first = group.sign_of(0);
    if first == (group.start, group.end) {
        return vec![Edit { start: group.start, end: group.end, with: "*".repeat(count) }];
    }
    let star = |at| {
        let (start, end) = group.sign_of(at);
        Edit { start, end, with: "*".into() }
    };
    (0..count).map(star).collect()
}

/// The digits of a number that was found.
pub(crate) fn digits_of(found: &Found) -> Vec<u8> {
    digits(&found.groups)
}

/// Runs of at least `least` digits in a text that are part of one of the `known` numbers, or hold one.
pub(crate) fn repeated(signs: &[char], known: &[(Class, Vec<u8>)], least: usize) -> Vec<Found> {
    let within =
        |part: &[u8], whole: &[u8]| part.len() <= whole.len() && whole.windows(part.len()).any(|window| window == part);
    let same = |run: &[Group]| {
        let own = digits(run);
        let long = length(run) >= least;
        known.iter().find(|(_, number)| long && (within(&own, number) || within(number, &own))).map(|(class, _)| *class)
    };
    uncounted(signs).filter_map(|groups| same(&groups).map(|class| Found { class, groups })).collect()
}

/// Every run of at least `least` digits, as parts of a number of that class.
pub(crate) fn every_run(signs: &[char], class: Class, least: usize) -> Vec<Found> {
    let long = uncounted(signs).filter(|run| length(run) >= least);
    long.map(|groups| Found { class, groups }).collect()
}

/// Whether digits are a My Number or a card by their check digit.
pub(crate) fn is_checked(digits: &[u8]) -> bool {
    check::is_my_number(digits) || check::is_card(digits)
}

/// Every run of digits that may be a part of a number that is not stored, and counts nothing.
pub(crate) fn every_long_run(signs: &[char]) -> Vec<Found> {
    every_run(signs, Class::MyNumber, SUSPICIOUS)
}

/// All runs, names of digits that may be words among them, without what counts something.
fn uncounted(signs: &[char]) -> impl Iterator<Item = Run> {
    all_runs(signs).into_iter().flat_map(|run| find::without_counted(signs, run))
}

/// The stars of an utterance as recognised and as corrected, given what was found in each. A number that is whole in one of the two is not left
/// in the other.
pub(crate) fn both(raw: &[char], in_raw: &[Found], text: &[char], in_text: &[Found]) -> (Vec<Edit>, Vec<Edit>) {
    let count = |found: &[Found]| stars(found).iter().map(|edit| edit.with.len()).sum::<usize>();
    if count(in_raw) == count(in_text) {
        return (stars(in_raw), stars(in_text));
    }
    let class = in_raw.iter().chain(in_text).map(|found| found.class).next().unwrap_or(Class::MyNumber);
    let more = |signs: &[char], found: &[Found]| {
        let mut all = found.to_vec();
        all.extend(every_run(signs, class, SUSPICIOUS));
        stars(&all)
    };
    (more(raw, in_raw), more(text, in_text))
}

/// The corrections of a text that was masked by `stars` and then rewritten by `edits` (the stars among them): what the dictionary replaced
/// inside a number is not kept, and all places are those of the new text.
pub(crate) fn corrections(
    corrected: &Corrected,
    text: &str,
    stars: &[Edit],
    edits: &[Edit],
    classes: Classes,
) -> Corrected {
    let signs: Vec<char> = text.chars().collect();
    let mut all = corrected.corrections.clone();
    for one in &mut all {
        let hidden = stars.iter().any(|star| star.touches(one.start, one.end));
        (one.start, one.end) = (edit::place(edits, one.start, false), edit::place(edits, one.end, true));
        let from: Vec<char> = one.from.chars().collect();
        if hidden {
            one.to = signs.get(one.start..one.end).unwrap_or_default().iter().collect();
            one.from = "*".repeat(one.to.chars().filter(|sign| *sign == '*').count());
            one.reading.clear();
        } else if !numbers(&from, &words(&from), classes).is_empty()
            || (!stars.is_empty() && !every_run(&from, Class::MyNumber, SUSPICIOUS).is_empty())
        {
            one.from = edit::apply(&from, &self::stars(&every_run(&from, Class::MyNumber, 1)));
        }
    }
    Corrected { text: text.to_string(), corrections: all }
}

#[cfg(test)]
mod tests;

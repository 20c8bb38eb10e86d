//! Which digits of a text are a number that must not be stored.

use super::check::{CARD, MY_NUMBER, is_card, is_my_number};
use super::near::{At, Word};
use crate::call::secret::{Class, Classes};
use crate::transcript::numbers::between::is_filler;
use crate::transcript::numbers::counters::counts;
use crate::transcript::numbers::run::{Group, Run, digits, length};
use crate::transcript::numbers::telephone::{is_all_telephones, is_telephone};

/// Signs behind a number within which a word still says what it was: 1234567が口座番号です.
const BEHIND: usize = 12;
/// Signs of anything that may stand between the parts of a number that was asked for.
const ASIDE: usize = 20;
/// Digits of a telephone number at least.
const TELEPHONE: usize = 10;

/// A number that was found: groups of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What it is.
    pub(crate) class: Class,
    /// Its groups.
    pub(crate) groups: Vec<Group>,
}

/// The numbers of a text. `words` says what stands where, also what others said in between.
pub(crate) fn find(signs: &[char], runs: Vec<Run>, words: &[At], classes: Classes) -> Vec<Found> {
    let mut found = Vec::new();
    for run in joined(signs, parts(signs, runs, words), words) {
        let word = nearest(&run, words);
        let before = found.len();
        by_check(&run, classes, &mut found);
        let telephone = is_all_telephones(&run).then_some(Class::Telephone);
        // what is right by its check digit is the number that was asked for
        let class = if found.len() > before { None } else { by_word(&run, word).or(telephone) };
        found.extend(class.filter(|class| classes.has(*class)).map(|class| Found { class, groups: run }));
    }
    found
}

/// Runs without what counts something, cut where a word begins another number.
pub(crate) fn parts(signs: &[char], runs: Vec<Run>, words: &[At]) -> Vec<Run> {
    let runs = runs.into_iter().flat_map(|run| without_counted(signs, run));
    runs.flat_map(|run| split_at_words(run, words)).collect()
}

/// A run without the groups that count something.
pub(super) fn without_counted(signs: &[char], run: Run) -> Vec<Run> {
    let counted = |group: &Group| counts(signs.get(group.end..).unwrap_or_default());
    run.split(counted).filter(|run| !run.is_empty()).map(<[Group]>::to_vec).collect()
}

/// A word between two groups begins another number.
fn split_at_words(run: Run, words: &[At]) -> Vec<Run> {
    let mut all: Vec<Run> = vec![Vec::new()];
    for group in run {
        let last = all.last().and_then(|run| run.last());
        let apart = last.is_some_and(|last| words.iter().any(|(at, _)| (last.end..=group.start).contains(at)));
        match all.last_mut().filter(|_| !apart) {
            Some(run) => run.push(group),
            None => all.push(vec![group]),
        }
    }
    all.retain(|run| !run.is_empty());
    all
}

/// Runs that were asked for as one long number, with a few words between them on one line.
fn joined(signs: &[char], runs: Vec<Run>, words: &[At]) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    for run in runs {
        let long = |word: Option<Word>| {
            matches!(word, Some(Word::Secret(Class::MyNumber | Class::Card | Class::Pension | Class::Licence)))
        };
        let belongs = all.last().is_some_and(|last| {
            let (Some(end), Some(start)) = (last.last().map(|g| g.end), run.first().map(|g| g.start)) else {
                return false;
            };
            let between = signs.get(end..start).unwrap_or_default();
            let same_line = !between.contains(&'\n') || is_filler(between);
            let quiet = same_line && !words.iter().any(|(at, _)| (end..=start).contains(at));
            quiet
                && start - end <= ASIDE
                && long(nearest(last, words))
                && !is_all_telephones(last)
                && !is_all_telephones(&run)
        });
        match all.last_mut().filter(|_| belongs) {
            Some(last) => last.extend(run),
            None => all.push(run),
        }
    }
    all
}

/// The word before a run, or one just behind it.
fn nearest(run: &[Group], words: &[At]) -> Option<Word> {
    let (start, end) = (run.first()?.start, run.last()?.end);
    let before = words.iter().rev().find(|(at, _)| *at <= start);
    let behind = words.iter().find(|(at, word)| (end..end + BEHIND).contains(at) && *word != Word::Other);
    before.or(behind).map(|(_, word)| *word)
}

/// What a run is by its length and the word beside it; here no check digit has to be right.
fn by_word(run: &[Group], word: Option<Word>) -> Option<Class> {
    let (count, all) = (length(run), digits(run));
    let telephone = is_telephone(&all) || is_all_telephones(run);
    let mobile = telephone && count == 11;
    let is = match word? {
        Word::Secret(Class::MyNumber) => count > MY_NUMBER - 2 && !telephone,
        Word::Secret(Class::Card) => count > MY_NUMBER && !telephone,
        Word::Secret(Class::Account) => (6..=14).contains(&count) && !telephone,
        Word::Secret(Class::Insurance) => (4..=12).contains(&count) && !mobile,
        Word::Secret(Class::Pension) => (9..=11).contains(&count) && !mobile,
        Word::Secret(Class::Licence) => (11..=13).contains(&count) && !telephone,
        Word::Symbol => count <= 14 && !telephone,
        Word::CardCode => (3..=4).contains(&count),
        Word::Secret(Class::Telephone) | Word::Other => false,
    };
    word.and_then(Word::class).filter(|_| is)
}

/// Whole groups that make up a number whose check digit is right. In the middle of a longer run a card begins with 2 to 6 (the industry,
/// ISO/IEC 7812-1), and where all is telephone numbers there is none.
fn by_check(run: &[Group], classes: Classes, found: &mut Vec<Found>) {
    let count = length(run);
    if count < MY_NUMBER || (count >= 2 * TELEPHONE && is_all_telephones(run)) {
        return;
    }
    for first in 0..run.len() {
        let mut number = Vec::new();
        for last in first..run.len() {
            let Some(group) = run.get(last) else { break };
            number.extend_from_slice(&group.digits);
            if number.len() > *CARD.end() {
                break;
            }
            let whole = number.len() == count;
            let begins_like_one = number.first().is_some_and(|digit| (2..=6).contains(digit) || (whole && *digit != 0));
            let class = if is_my_number(&number) {
                Class::MyNumber
            } else if begins_like_one && is_card(&number) {
                Class::Card
            } else {
                continue;
            };
            if classes.has(class) {
                found.push(Found { class, groups: run.get(first..=last).unwrap_or_default().to_vec() });
            }
        }
    }
}

//! How a text ends, as far as numbers are concerned: whether one may go on in the next.

use super::mask::{Word, is_checked, words};
use super::numbers::between::is_filler;
use super::numbers::run::{Run, all_runs, digits, length};
use super::numbers::telephone::is_telephone;

/// Digits in a row that may be a part of a number that must not be stored.
const PART: usize = 3;
/// Digits of the shortest number that is known by its check digit.
const WHOLE: usize = 12;
/// No number that is masked has more digits.
const MOST: usize = 20;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// There are digits in it that may be a part of such a number.
    pub(crate) has_digits: bool,
    /// The run of digits at the end, with nothing but fillers behind it.
    last: Option<Run>,
    /// Its last line has nothing but digits and fillers.
    only: bool,
    /// です is behind the digits.
    polite: bool,
}

impl Ending {
    /// Of one text.
    pub(crate) fn of(text: &str) -> Ending {
        Ending::of_lines(&[text])
    }

    /// Of several texts that follow each other.
    pub(crate) fn of_lines(lines: &[&str]) -> Ending {
        let signs: Vec<char> = lines.join("\n").chars().collect();
        let line = signs.iter().rposition(|sign| *sign == '\n').map_or(0, |at| at + 1);
        let mut runs = all_runs(&signs);
        let long = runs.iter().any(|run| length(run) >= PART);
        let Some(last) = runs.pop() else { return Ending::default() };
        let (Some(end), Some(start)) = (last.last().map(|group| group.end), first_in_line(&last, line)) else {
            return Ending { has_digits: long, ..Ending::default() };
        };
        let behind = signs.get(end..).unwrap_or_default();
        let only = is_filler(signs.get(line..start).unwrap_or_default());
        let polite = behind.windows(2).any(|two| matches!(two, ['で', 'す' | 'し']));
        match is_filler(behind) {
            true => Ending { has_digits: long || only || length(&last) >= 2, last: Some(last), only, polite },
            false => Ending { has_digits: long, ..Ending::default() },
        }
    }

    /// Whether a number may go on. `said` are the texts around it, `asked` is what was asked for before them.
    pub(crate) fn goes_on<'a>(&self, said: impl Iterator<Item = &'a str>, asked: Option<Word>) -> bool {
        let Some(last) = &self.last else { return false };
        let (count, all) = (length(last), digits(last));
        let whole = count >= WHOLE || is_telephone(&all) || is_checked(&all);
        if count >= MOST || (self.polite && whole) {
            return false;
        }
        if self.only {
            return true;
        }
        let said: Vec<Word> = said.filter_map(last_word).collect();
        let secret = said.last().copied().or(asked).and_then(Word::class).is_some();
        if self.polite { secret } else { count >= 2 }
    }
}

/// Where the digits of a run begin in the last line; in an earlier one when that has only fillers.
fn first_in_line(run: &Run, line: usize) -> Option<usize> {
    let own = run.iter().find(|group| group.start >= line);
    own.map(|group| group.start).or_else(|| run.first().map(|_| line))
}

fn last_word(text: &str) -> Option<Word> {
    let signs: Vec<char> = text.chars().collect();
    words(&signs).last().map(|(_, word)| *word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::secret::Class;

    fn goes_on(lines: &[&str]) -> bool {
        Ending::of_lines(lines).goes_on(lines.iter().copied(), None)
    }

    #[test]
    fn a_number_goes_on_after_digits() {
        for text in [
            "番号は1234",
            "えーと、1234、",
            "1234です",
            "12",
            "三",
            "はい、イチニーサンヨン",
            "イチニ",
            "番号はシサンク",
            "090-1234-5678",
            "123456789018",
        ] {
            assert!(goes_on(&[text]), "{text}");
        }
        assert!(goes_on(&["1234", "えーと"]) && goes_on(&["1234", "はい"]) && goes_on(&["1234", "56です"]));
        assert!(goes_on(&["マイナンバーは1234です"]), "it was asked for");
        let asked = Some(Word::Secret(Class::MyNumber));
        assert!(Ending::of("番号は1234です").goes_on(std::iter::empty(), asked));
    }

    #[test]
    fn it_does_not_after_anything_else() {
        for text in [
            "電話は090-1234-5678です",
            "番号は123456789018です",
            "1234番地です",
            "5人です",
            "2026年11月27日です",
            "はい",
            "お願いします",
            "3丁目2番1号です",
            "番号は1234です",
            "",
        ] {
            assert!(!goes_on(&[text]), "{text}");
        }
        assert!(!goes_on(&["1234", "ちょっと待ってください"]));
        assert!(!goes_on(&["1234", "5678", "90181です"]) || goes_on(&["1234"]), "thirteen digits, no card");
    }

    #[test]
    fn what_has_digits_waits() {
        assert!(Ending::of("1234ですね").has_digits && Ending::of("12").has_digits && Ending::of("三").has_digits);
        assert!(
            !Ending::of("三国です").has_digits && !Ending::of("はい").has_digits && !Ending::of("5人です").has_digits
        );
    }
}

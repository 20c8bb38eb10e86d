//! Several utterances looked through as one: a number that is spoken in pieces, read back by the other person, or broken off.

use super::mask::{At, Found, Word, digits_of, every_run, numbers, parts, repeated, words};
use super::numbers::between::is_filler;
use super::numbers::run::{Run, digits, length, runs};
use super::numbers::telephone::is_telephone;
use crate::call::secret::{Class, Classes};
use crate::time::Wall;

/// Numbers of a contact that are remembered to know them again.
const MOST_KNOWN: usize = 64;
/// Digits of a number that is remembered, at least.
const SHORTEST_KNOWN: usize = 6;
/// Digits in a row that are known again as part of a remembered number: elsewhere in the contact, and beside it.
const KNOWN_AGAIN: usize = 4;
const BESIDE: usize = 3;
/// Digits of a number that broke off, at least.
const BROKEN_OFF: usize = 4;

/// One utterance.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Whose it is: pieces of one stream belong together.
    pub who: usize,
    /// When it began.
    pub start: Wall,
    /// When it ended.
    pub end: Wall,
    /// As recognised.
    pub raw: &'a str,
    /// As corrected.
    pub text: &'a str,
}

/// What is not to be stored of one utterance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    pub(crate) raw: Vec<Found>,
    pub(crate) text: Vec<Found>,
}

impl Hidden {
    /// Whether all of it may be stored.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty() && self.text.is_empty()
    }

    /// The classes of what was found.
    pub fn classes(&self) -> Classes {
        self.raw.iter().chain(&self.text).map(|found| found.class).collect()
    }
}

/// What a contact remembers of its numbers; in memory only.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    known: Vec<(Class, Vec<u8>)>,
    /// The last word that said what numbers are, and when it was said.
    word: Option<(Word, Wall)>,
}

impl Memory {
    /// What numbers that are spoken now are likely to be.
    pub(crate) fn word(&self, at: Wall, lasts: std::time::Duration) -> Option<Word> {
        self.word.filter(|(_, said)| at.since(*said) <= lasts).map(|(word, _)| word)
    }

    /// Somebody spoke: remembers what it says of numbers to come.
    pub fn hear(&mut self, at: Wall, text: &str) {
        let signs: Vec<char> = text.chars().collect();
        if let Some((_, word)) = words(&signs).last() {
            self.word = Some((*word, at));
        }
    }

    fn learn(&mut self, found: &[Found]) {
        for found in found {
            let number = (found.class, digits_of(found));
            if number.1.len() >= SHORTEST_KNOWN && !self.known.contains(&number) {
                if self.known.len() >= MOST_KNOWN {
                    self.known.remove(0);
                }
                self.known.push(number);
            }
        }
    }
}

/// What is to be hidden of each piece. `pieces` are in order of time; `before` is what was asked for before them.
pub(crate) fn hidden(pieces: &[Piece<'_>], before: Option<Word>, memory: &mut Memory, classes: Classes) -> Vec<Hidden> {
    let mut all = vec![Hidden::default(); pieces.len()];
    for version in [Version::Raw, Version::Text] {
        for who in speakers(pieces) {
            let joined = Joined::of(pieces, who, version, before);
            let mut found = numbers(&joined.signs, &joined.words, classes);
            found.extend(joined.broken_off(classes));
            memory.learn(&found);
            for number in &found {
                joined.share(number, version, &mut all);
                beside(pieces, &joined, number, version, &mut all);
            }
        }
    }
    for (piece, hidden) in pieces.iter().zip(&mut all) {
        let near = if pieces.len() > 1 { BESIDE } else { KNOWN_AGAIN };
        for version in [Version::Raw, Version::Text] {
            let again = repeated(&version.of(piece), &memory.known, near);
            version.found(hidden).extend(again);
        }
    }
    all
}

#[derive(Clone, Copy)]
enum Version {
    Raw,
    Text,
}

impl Version {
    fn of(self, piece: &Piece<'_>) -> Vec<char> {
        match self {
            Version::Raw => piece.raw.chars().collect(),
            Version::Text => piece.text.chars().collect(),
        }
    }

    fn found(self, hidden: &mut Hidden) -> &mut Vec<Found> {
        match self {
            Version::Raw => &mut hidden.raw,
            Version::Text => &mut hidden.text,
        }
    }
}

fn speakers(pieces: &[Piece<'_>]) -> Vec<usize> {
    let mut all: Vec<usize> = pieces.iter().map(|piece| piece.who).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The pieces of one speaker in one text, a line each.
struct Joined {
    signs: Vec<char>,
    words: Vec<At>,
    /// The index of each piece and where its line begins.
    lines: Vec<(usize, usize)>,
    who: usize,
}

impl Joined {
    fn of(pieces: &[Piece<'_>], who: usize, version: Version, before: Option<Word>) -> Joined {
        let mut joined = Joined {
            signs: Vec::new(),
            words: before.map(|word| (0, word)).into_iter().collect(),
            lines: Vec::new(),
            who,
        };
        for (index, piece) in pieces.iter().enumerate() {
            let own = version.of(piece);
            let said = words(&own);
            if piece.who == who {
                if !joined.lines.is_empty() {
                    joined.signs.push('\n');
                }
                let start = joined.signs.len();
                joined.lines.push((index, start));
                joined.words.extend(said.into_iter().map(|(at, word)| (start + at, word)));
                joined.signs.extend(own);
            } else {
                // what somebody else says stands between the lines
                let at = joined.signs.len() + usize::from(!joined.lines.is_empty());
                joined.words.extend(said.into_iter().map(|(_, word)| (at, word)));
            }
        }
        joined
    }

    /// The line that a place is in: its piece, and where it begins.
    fn line(&self, at: usize) -> Option<(usize, usize)> {
        self.lines.iter().rev().find(|(_, start)| *start <= at).copied()
    }

    /// Gives each piece the groups that are its own.
    fn share(&self, number: &Found, version: Version, all: &mut [Hidden]) {
        for (piece, start) in &self.lines {
            let own = number.groups.iter().filter(|group| self.line(group.start) == Some((*piece, *start)));
            let groups: Run = own.map(|group| group.moved(*start)).collect();
            if let Some(hidden) = all.get_mut(*piece).filter(|_| !groups.is_empty()) {
                version.found(hidden).push(Found { class: number.class, groups });
            }
        }
    }

    /// Digits at the end of a line, where a number was asked for and they are only a part of one.
    fn broken_off(&self, classes: Classes) -> Vec<Found> {
        let asked = |run: Run| {
            let (start, end) = (run.first()?.start, run.last()?.end);
            let class = self.words.iter().rev().find(|(at, _)| *at <= start)?.1.class()?;
            let rest = self.signs.get(end..)?.split(|sign| *sign == '\n').next()?;
            let is =
                is_filler(rest) && classes.has(class) && length(&run) >= BROKEN_OFF && !is_telephone(&digits(&run));
            is.then_some(Found { class, groups: run })
        };
        parts(&self.signs, runs(&self.signs), &self.words).into_iter().filter_map(asked).collect()
    }
}

/// Whoever else says digits while a number is told piece by piece repeats it, rightly heard or not.
fn beside(pieces: &[Piece<'_>], joined: &Joined, number: &Found, version: Version, all: &mut [Hidden]) {
    let lines = number.groups.iter().filter_map(|group| joined.line(group.start)).map(|(piece, _)| piece);
    let own: Vec<&Piece<'_>> = lines.filter_map(|piece| pieces.get(piece)).collect();
    let (Some(from), Some(to)) = (own.iter().map(|piece| piece.start).min(), own.iter().map(|piece| piece.end).max())
    else {
        return;
    };
    for (piece, hidden) in pieces.iter().zip(all) {
        if piece.who != joined.who && piece.start > from && piece.start < to {
            version.found(hidden).extend(every_run(&version.of(piece), number.class, BESIDE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::mask::stars;
    use crate::transcript::numbers::edit::apply;

    /// Texts of two people in turn, a second each.
    fn masked(turns: &[(usize, &str)], before: Option<Word>) -> Vec<String> {
        let second = |n: usize| Wall(i64::try_from(n).unwrap() * 1_000_000);
        let piece = |(n, (who, text)): (usize, &(usize, &'static str))| Piece {
            who: *who,
            start: second(n),
            end: Wall(second(n + 1).0 - 1),
            raw: text,
            text,
        };
        let turns: Vec<(usize, &'static str)> =
            turns.iter().map(|(who, text)| (*who, &*Box::leak((*text).to_string().into_boxed_str()))).collect();
        let pieces: Vec<Piece<'_>> = turns.iter().enumerate().map(piece).collect();
        let hidden = hidden(&pieces, before, &mut Memory::default(), Classes::default());
        let show = |(piece, hidden): (&Piece<'_>, &Hidden)| {
            let signs: Vec<char> = piece.text.chars().collect();
            apply(&signs, &stars(&hidden.text))
        };
        pieces.iter().zip(&hidden).map(show).collect()
    }

    #[test]
    fn a_number_in_pieces_is_masked_in_all_of_them() {
        let turns =
            [(0, "えーと、1234"), (1, "はい"), (0, "5678"), (1, "はい、5678"), (0, "9018です"), (1, "9018ですね")];
        let wanted = ["えーと、****", "はい", "****", "はい、****", "****です", "****ですね"];
        assert_eq!(masked(&turns, None), wanted);
    }

    #[test]
    fn a_part_that_is_a_word_too_is_masked_with_the_others() {
        let turns =
            [(0, "956"), (1, "はい、956"), (0, "441"), (0, "シチゴサン"), (1, "はい、シチゴサン"), (0, "116です")];
        let wanted = ["***", "はい、***", "***", "***", "はい、***", "***です"];
        assert_eq!(masked(&turns, None), wanted);
        let turns = [(0, "シチゴサンのお祝い"), (1, "シチゴサン"), (0, "12月15日です")];
        let texts: Vec<String> = turns.iter().map(|(_, text)| (*text).to_string()).collect();
        assert_eq!(masked(&turns, None), texts);
    }

    #[test]
    fn a_misheard_repetition_is_masked_too() {
        let turns = [(0, "1234"), (1, "1284ですね"), (0, "5678"), (1, "はい"), (0, "9018です")];
        assert_eq!(masked(&turns, None)[1], "****ですね");
    }

    #[test]
    fn what_was_asked_for_in_between_is_another_number() {
        let turns = [(0, "123456789018"), (1, "123456789018ですね。電話番号をお願いします"), (0, "090-1234-5678です")];
        let wanted = ["************", "************ですね。電話番号をお願いします", "090-1234-5678です"];
        assert_eq!(masked(&turns, Some(Word::Secret(Class::MyNumber))), wanted);
    }

    #[test]
    fn a_number_that_was_asked_for_and_broke_off_is_masked() {
        let asked = Some(Word::Secret(Class::MyNumber));
        assert_eq!(masked(&[(0, "1234"), (0, "56")], asked), ["****", "**"]);
        assert_eq!(masked(&[(0, "1234"), (0, "56")], None), ["1234", "56"]);
        assert_eq!(masked(&[(0, "1234"), (0, "56")], Some(Word::Other)), ["1234", "56"]);
    }

    #[test]
    fn telephone_numbers_in_pieces_stay() {
        let turns = [(0, "電話は090"), (1, "はい"), (0, "1234"), (1, "1234"), (0, "5678です"), (1, "5678ですね")];
        let texts: Vec<String> = turns.iter().map(|(_, text)| (*text).to_string()).collect();
        assert_eq!(masked(&turns, None), texts);
    }
}

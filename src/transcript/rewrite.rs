//! What is kept of the text that a person wrote in place of a final: no number that must not be stored, also none that the final had masked.
//!
//! Nobody knows any more which digits a star stands for, so they cannot be compared. Instead, where stars stand in the utterance or near it,
//! digits that a person adds are taken for the ones that were masked.

use super::mask::{Found, every_run, parts, stars};
use super::numbers::edit::{apply, in_order};
use super::numbers::run::{length, runs};
use super::numbers::telephone::is_all_telephones;
use super::together::{Memory, Piece, hidden};
use crate::call::secret::{Class, Classes};
use crate::dictionary::changes::changes;

/// Digits in a row that may be a part of what was masked: in the same utterance, and in one near it.
const SAME: usize = 2;
const NEAR: usize = 3;

/// A text as it may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// With stars for what is not stored.
    pub text: String,
    /// A number was found in it where the utterance had none before: its sound has it too.
    pub revealed: bool,
}

/// What of the new text of an utterance may be stored. `before` is its text until now, `pieces` are the utterances around it in order of time,
/// the one at `own` with its new text; `memory` is what the contact knows of its numbers.
pub fn kept(before: &str, pieces: &[Piece<'_>], own: usize, memory: &mut Memory, classes: Classes) -> Kept {
    let Some(piece) = pieces.get(own) else { return Kept { text: String::new(), revealed: false } };
    let signs: Vec<char> = piece.text.chars().collect();
    let mut found = hidden(pieces, None, memory, classes).into_iter().nth(own).unwrap_or_default().text;
    let same = before.contains('*');
    let near = pieces.iter().enumerate().any(|(index, piece)| index != own && piece.text.contains('*'));
    if same || near {
        found.extend(added(before, &signs, if same { SAME } else { NEAR }, !same));
    }
    let edits = in_order(stars(&found));
    let changes = |edit: &&super::numbers::Edit| signs.get(edit.start..edit.end).unwrap_or_default() != ['*'];
    Kept { revealed: !same && edits.iter().any(|edit| changes(&edit)), text: apply(&signs, &edits) }
}

/// Groups of digits that `before` has not got: `least` in a row, or beside a star. Whole telephone numbers are left when `telephones` may stay.
fn added(before: &str, signs: &[char], least: usize, telephones: bool) -> Vec<Found> {
    let before: Vec<char> = before.chars().collect();
    let changes = changes(&before, signs);
    let is_new = |at: usize| changes.iter().any(|change| change.to.contains(&at));
    // a star is a digit of the number that the digits beside it belong to
    let digits: Vec<char> = signs.iter().map(|sign| if *sign == '*' { '0' } else { *sign }).collect();
    let starred = |found: &Found| {
        let mut places = found.groups.iter().flat_map(|group| group.start..group.end);
        places.any(|at| signs.get(at) == Some(&'*'))
    };
    let alone = parts(&digits, runs(&digits), &[]).into_iter().map(|groups| Found { class: Class::MyNumber, groups });
    let long = |found: &Found| {
        length(&found.groups) >= least && !starred(found) && !(telephones && is_all_telephones(&found.groups))
    };
    let mut all: Vec<Found> = every_run(&digits, Class::MyNumber, 1).into_iter().filter(starred).collect();
    all.extend(alone.filter(long));
    for found in &mut all {
        found.groups.retain(|group| (group.start..group.end).any(is_new));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    /// The new text of the middle one of three utterances, as it is kept.
    fn between(earlier: &str, before: &str, text: &str, later: &str) -> Kept {
        let piece = |who, n: i64, text| Piece {
            who,
            start: Wall(n * 1_000_000),
            end: Wall(n * 1_000_000 + 900_000),
            raw: text,
            text,
        };
        let pieces = [piece(1, 0, earlier), piece(0, 1, text), piece(0, 2, later)];
        kept(before, &pieces, 1, &mut Memory::default(), Classes::default())
    }

    fn alone(before: &str, text: &str) -> String {
        between("", before, text, "").text
    }

    #[test]
    fn words_are_put_right_beside_stars_and_the_stars_stay() {
        for (before, text) in [
            ("番号は************です", "個人番号は************です"),
            ("番号は************です", "番号です"),
            ("ミクニの2丁目で****-****", "三国の2丁目で****-****"),
            ("一緒に****と三国へ", "一緒に****と御国へ一人で"),
            ("電話は090-1234-5678です。****", "お電話は090-1234-5678です。****"),
            ("****です", "****です、3日に2人で"),
        ] {
            assert_eq!(alone(before, text), text);
        }
    }

    #[test]
    fn no_masked_digit_comes_back_in_whatever_notation() {
        for (text, wanted) in [
            ("番号は123456789018です", "番号は************です"),
            ("番号は1234です", "番号は****です"),
            ("番号は12です", "番号は**です"),
            ("番号は1***********です", "番号は************です"),
            ("番号は************です1234", "番号は************です****"),
            ("番号は********9018です", "番号は************です"),
            ("番号は１２３４です", "番号は****です"),
            ("番号は一二三四です", "番号は****です"),
            ("番号はイチニーサンヨンです", "番号は****です"),
            ("番号は12、えーと34です", "番号は**、えーと**です"),
        ] {
            let kept = between("", "番号は************です", text, "");
            assert_eq!((kept.text.as_str(), kept.revealed), (wanted, false), "{text}");
        }
    }

    #[test]
    fn a_number_that_nobody_had_found_is_masked_and_told() {
        let kept = between("", "番号は市に遺産です", "番号は123456789018です", "");
        assert_eq!((kept.text.as_str(), kept.revealed), ("番号は************です", true));
        let kept = between("マイナンバーをお願いします", "イチニさん", "1234", "はい");
        assert_eq!((kept.text.as_str(), kept.revealed), ("****", true), "a part of what was asked for");
        let kept = between("", "ミクニ", "三国", "");
        assert_eq!((kept.text.as_str(), kept.revealed), ("三国", false));
    }

    #[test]
    fn digits_near_a_masked_number_are_taken_for_a_part_of_it() {
        let kept = between("番号は****", "いちにさん", "123です", "****です");
        assert_eq!((kept.text.as_str(), kept.revealed), ("***です", true));
        assert_eq!(between("****", "電話は", "電話は090-1234-5678です", "").text, "電話は090-1234-5678です");
        assert_eq!(between("****", "三日に", "3日の12時に", "").text, "3日の12時に");
        assert_eq!(between("", "番号は1284", "番号は1234", "").text, "番号は1234", "nothing is masked here");
    }

    #[test]
    fn what_is_not_masked_on_the_line_stays_but_for_stars() {
        let piece = |text| Piece { who: 0, start: Wall(0), end: Wall(1), raw: text, text };
        let kept = |before, text| kept(before, &[piece(text)], 0, &mut Memory::default(), Classes::NONE).text;
        assert_eq!(kept("番号は", "番号は123456789018"), "番号は123456789018");
        assert_eq!(kept("番号は****", "番号は1234"), "番号は****");
    }
}

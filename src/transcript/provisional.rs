//! The text of an utterance that goes on, as it may be shown: masked like a final, without the number that may be going on at its end.

use super::mask;
use crate::dictionary::Corrected;
use crate::speech::Hypothesis;

/// The text of an utterance so far. A run of digits at its end is left out: what it is the beginning of is not known yet.
pub fn provisional(hypothesis: &Hypothesis, corrected: Corrected, policy: mask::Policy) -> String {
    let (_, corrected) = mask::mask_both(&hypothesis.text, corrected, policy);
    without_open_number(&corrected.text).to_owned()
}

/// `text` up to the digits at its end, with what may stand between and behind digits of one number.
fn without_open_number(text: &str) -> &str {
    let mut end = text.len();
    for (at, sign) in text.char_indices().rev() {
        if is_digit(sign) {
            end = at;
        } else if !may_stand_between(sign) {
            break;
        }
    }
    text.get(..end).unwrap_or_default()
}

/// Digits of any script, masked ones too.
fn is_digit(sign: char) -> bool {
    sign.is_numeric() || sign == '*' || "〇零一二三四五六七八九十百千万".contains(sign)
}

fn may_stand_between(sign: char) -> bool {
    sign.is_whitespace() || "-－‐‑‒–—―ー−の、。，．,.・/／".contains(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let hypothesis = Hypothesis { text: text.into(), ..Hypothesis::default() };
        let corrected = Corrected { text: text.into(), corrections: Vec::new() };
        provisional(&hypothesis, corrected, mask::Policy::default())
    }

    #[test]
    fn a_number_at_the_end_is_held_back_in_every_notation() {
        for (text, expected) in [
            ("番号は1234", "番号は"),
            ("番号は1234-5678、", "番号は"),
            ("番号は１２３４の５", "番号は"),
            ("番号は一二三四 五六", "番号は"),
            ("番号は1234です", "番号は1234です"),
            ("はい、お電話", "はい、お電話"),
            ("3丁目の", "3丁目の"),
            ("1234", ""),
            ("", ""),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn at_no_moment_is_a_my_number_shown_whatever_was_heard_of_it() {
        let said: Vec<char> = "個人番号は1234-5678-9018です。".chars().collect();
        for n in 0..=said.len() {
            let so_far: String = said.iter().take(n).collect();
            let digits = shown(&so_far).chars().filter(char::is_ascii_digit).count();
            assert_eq!(digits, 0, "after {n} signs");
        }
        assert_eq!(shown("個人番号は1234-5678-9018です。"), "個人番号は****-****-****です。");
    }
}

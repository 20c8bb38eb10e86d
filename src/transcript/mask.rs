//! Written digits that must not be stored: My Numbers and card numbers, masked in the text of record before anything else sees it.
//!
//! By rule: a run of digits (ASCII, full-width, kanji), with the usual separators between them, is taken apart at its separators; whole groups
//! that make up a number whose check digit is right are masked. A masked digit becomes one `*`, so positions in the text stay.
//! Numbers that are spelt out in another way, and those that are spread over several utterances, are not found here: whatever turns words into
//! digits works before [`mask`], and whatever holds a text back until the number is whole calls it with that text.

use serde::{Deserialize, Serialize};

use crate::dictionary::Corrected;

/// Digits of a My Number (個人番号).
const MY_NUMBER: usize = 12;
/// Digits of a card number (ISO/IEC 7812-1).
const CARD: std::ops::RangeInclusive<usize> = 13..=19;
/// Separators that may stand between two digits of one number.
const SEPARATORS: usize = 2;
/// Where the texts disagree about a number, this many digits in a row are masked in the other one too.
const SUSPICIOUS: usize = 4;

/// `[transcript]`: what is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Mask My Numbers: 12 digits whose check digit is right.
    pub mask_my_numbers: bool,
    /// Mask card numbers: 13 to 19 digits whose check digit is right.
    pub mask_cards: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { mask_my_numbers: true, mask_cards: true }
    }
}

/// What a masked number was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 個人番号.
    MyNumber,
    /// A payment card.
    Card,
}

/// A number in a text, from its first digit to behind its last one, in Unicode scalar values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first digit.
    pub start: usize,
    /// Behind its last digit.
    pub end: usize,
    /// What it is.
    pub kind: Kind,
}

/// A text with its numbers masked, and where they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masked {
    /// As long as the text was, in Unicode scalar values.
    pub text: String,
    /// In order of their start; spans may overlap.
    pub spans: Vec<Span>,
}

/// Masks the numbers of `text`.
pub fn mask(text: &str, policy: Policy) -> Masked {
    let signs: Vec<char> = text.chars().collect();
    let spans = find(&signs, policy);
    if spans.is_empty() {
        return Masked { text: text.to_string(), spans };
    }
    let hidden = |at: usize| spans.iter().any(|span| span.start <= at && at < span.end);
    let shown = |(at, sign): (usize, &char)| if digit(*sign).is_some() && hidden(at) { '*' } else { *sign };
    Masked { text: signs.iter().enumerate().map(shown).collect(), spans }
}

/// Masks an utterance as recognised and as corrected. A number that is whole in one of the two is not left in the other, nor in what the
/// dictionary replaced.
pub fn mask_both(raw: &str, corrected: Corrected, policy: Policy) -> (String, Corrected) {
    let text = mask(&corrected.text, policy);
    let raw = mask(raw, policy);
    if text.spans.is_empty() && raw.spans.is_empty() {
        return (raw.text, corrected);
    }
    let agree = digits_in(&text) == digits_in(&raw);
    let (text, raw) = match agree {
        true => (text.text, raw.text),
        false => (mask_runs(&text.text), mask_runs(&raw.text)),
    };
    let signs: Vec<char> = text.chars().collect();
    let mut corrections = corrected.corrections;
    for one in &mut corrections {
        let now: String = signs.get(one.start..one.end).unwrap_or_default().iter().collect();
        if now != one.to {
            one.to = now;
            one.from = all_digits_masked(&one.from);
            one.reading.clear();
        } else if mask(&one.from, policy).text != one.from || (!agree && mask_runs(&one.from) != one.from) {
            one.from = all_digits_masked(&one.from);
        }
    }
    (raw, Corrected { text, corrections })
}

/// How many digits were masked.
fn digits_in(masked: &Masked) -> usize {
    masked.text.chars().filter(|sign| *sign == '*').count()
}

fn all_digits_masked(text: &str) -> String {
    text.chars().map(|sign| if digit(sign).is_some() { '*' } else { sign }).collect()
}

/// Masks every run of digits that may be part of a number which is whole elsewhere.
fn mask_runs(text: &str) -> String {
    let mut signs: Vec<char> = text.chars().collect();
    for run in runs(&signs) {
        if run.iter().map(|group| group.digits.len()).sum::<usize>() >= SUSPICIOUS {
            for group in &run {
                if let Some(part) = signs.get_mut(group.start..group.end()) {
                    part.fill('*');
                }
            }
        }
    }
    signs.into_iter().collect()
}

/// Digits of one script without anything between them.
#[derive(Clone, Debug, Default)]
struct Group {
    start: usize,
    script: Script,
    digits: Vec<u8>,
}

/// How a digit is written; 第一1234… is a word and a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Script {
    #[default]
    Ascii,
    FullWidth,
    Kanji,
}

impl Group {
    fn end(&self) -> usize {
        self.start + self.digits.len()
    }
}

fn find(signs: &[char], policy: Policy) -> Vec<Span> {
    let mut found = Vec::new();
    for run in runs(signs) {
        for first in 0..run.len() {
            let groups = run.get(first..).unwrap_or_default();
            let mut digits = Vec::new();
            for group in groups {
                digits.extend_from_slice(&group.digits);
                if digits.len() > *CARD.end() {
                    break;
                }
                let start = groups.first().map_or(0, |group| group.start);
                let kind = kind_of(&digits, policy);
                found.extend(kind.map(|kind| Span { start, end: group.end(), kind }));
            }
        }
    }
    found
}

/// Runs of groups with nothing but separators between them, if anything.
fn runs(signs: &[char]) -> Vec<Vec<Group>> {
    let mut runs: Vec<Vec<Group>> = Vec::new();
    let mut group = Group::default();
    let mut run: Vec<Group> = Vec::new();
    let mut between = 0;
    for (at, sign) in signs.iter().enumerate() {
        if let Some(digit) = digit(*sign) {
            let script = script(*sign);
            if group.script != script && !group.digits.is_empty() {
                run.push(std::mem::take(&mut group));
            }
            if group.digits.is_empty() {
                (group.start, group.script) = (at, script);
            }
            group.digits.push(digit);
            between = 0;
            continue;
        }
        if !group.digits.is_empty() {
            run.push(std::mem::take(&mut group));
        }
        between += 1;
        if (!is_separator(*sign) || between > SEPARATORS) && !run.is_empty() {
            runs.push(std::mem::take(&mut run));
        }
    }
    if !group.digits.is_empty() {
        run.push(group);
    }
    if !run.is_empty() {
        runs.push(run);
    }
    runs
}

fn digit(sign: char) -> Option<u8> {
    let value = match sign {
        '0'..='9' => sign as u32 - '0' as u32,
        '０'..='９' => sign as u32 - '０' as u32,
        '〇' | '零' | '○' | '◯' => 0,
        '一' | '壱' => 1,
        '二' | '弐' => 2,
        '三' | '参' => 3,
        '四' => 4,
        '五' => 5,
        '六' => 6,
        '七' => 7,
        '八' => 8,
        '九' => 9,
        _ => return None,
    };
    u8::try_from(value).ok()
}

fn script(sign: char) -> Script {
    match sign {
        '0'..='9' => Script::Ascii,
        '０'..='９' => Script::FullWidth,
        _ => Script::Kanji,
    }
}

/// What people and recognisers put between the groups of a number.
fn is_separator(sign: char) -> bool {
    sign.is_whitespace()
        || matches!(
            sign,
            '-' | '－'
                | '‐'
                | '‑'
                | '‒'
                | '–'
                | '—'
                | '―'
                | '−'
                | 'ー'
                | 'ｰ'
                | '・'
                | '･'
                | '.'
                | '．'
                | ','
                | '，'
                | '、'
                | '。'
                | '/'
                | '／'
                | 'の'
                | 'ノ'
        )
}

fn kind_of(digits: &[u8], policy: Policy) -> Option<Kind> {
    if policy.mask_my_numbers && digits.len() == MY_NUMBER && is_my_number(digits) {
        return Some(Kind::MyNumber);
    }
    // the first digit names the industry (ISO/IEC 7812-1): cards begin with 2 to 6, telephone numbers with 0
    let card = CARD.contains(&digits.len()) && digits.first().is_some_and(|first| (2..=6).contains(first));
    (policy.mask_cards && card && passes_luhn(digits)).then_some(Kind::Card)
}

/// The check digit of a My Number (平成26年総務省令第85号 第5条): 11 − (Σ Pn × Qn mod 11), 0 where the remainder is 0 or 1. Pn is the n-th digit
/// from the lowest of the 11 before the check digit, Qn is n + 1 up to n = 6 and n − 5 from there.
fn is_my_number(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else { return false };
    let weight = |n: u32| if n <= 6 { n + 1 } else { n - 5 };
    let sum: u32 = (1..).zip(rest.iter().rev()).map(|(n, digit)| u32::from(*digit) * weight(n)).sum();
    let wanted = match sum % 11 {
        0 | 1 => 0,
        rest => 11 - rest,
    };
    u32::from(*check) == wanted
}

/// ISO/IEC 7812-1, annex B.
fn passes_luhn(digits: &[u8]) -> bool {
    let value = |(n, digit): (usize, &u8)| match (n % 2, u32::from(*digit) * 2) {
        (0, _) => u32::from(*digit),
        (_, twice) if twice > 9 => twice - 9,
        (_, twice) => twice,
    };
    digits.iter().rev().enumerate().map(value).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Correction;

    fn masked(text: &str) -> String {
        mask(text, Policy::default()).text
    }

    /// The check digit worked out by hand for 12345678901: Σ = 1·6+2·5+3·4+4·3+5·2+6·7+7·6+8·5+9·4+0·3+1·2 = 212, 212 mod 11 = 3, 11 − 3 = 8.
    const NUMBER: &str = "123456789018";

    #[test]
    fn a_my_number_is_masked_in_whatever_digits_it_is_written() {
        assert_eq!(masked(&format!("番号は{NUMBER}です")), "番号は************です");
        assert_eq!(masked("1234-5678-9018"), "****-****-****");
        assert_eq!(masked("１２３４　５６７８　９０１８。"), "****　****　****。");
        assert_eq!(masked("一二三四の五六七八の九〇一八です"), "****の****の****です");
        assert_eq!(masked("1234、五六七八、９０一8"), "****、****、****");
        assert_eq!(masked("1 2 3 4 5 6 7 8 9 0 1 8"), "* * * * * * * * * * * *");
        assert_eq!(masked("3番の1234ー5678ー9018"), "3番の****ー****ー****");
        assert_eq!(masked("第一123456789018"), "第一************");
    }

    #[test]
    fn twelve_digits_with_another_check_digit_stay() {
        for last in ['0', '1', '2', '3', '4', '5', '6', '7', '9'] {
            let text = format!("12345678901{last}");
            assert_eq!(masked(&text), text);
        }
    }

    #[test]
    fn a_check_digit_of_zero_is_right_for_both_remainders() {
        // Σ = 4·2 + 1·3 = 11 leaves 0, Σ = 6·2 = 12 leaves 1
        assert_eq!(masked("000000000140"), "*".repeat(12));
        assert_eq!(masked("000000000060"), "*".repeat(12));
        assert_eq!(masked("000000000061"), "000000000061");
    }

    #[test]
    fn cards_of_thirteen_to_nineteen_digits_are_masked() {
        for number in ["4111111111111111", "378282246310005", "4222222222222", "30569309025904", "6304000000000000000"]
        {
            assert!(masked(number).chars().all(|sign| sign == '*'), "{number}");
        }
        assert_eq!(masked("4111-1111 1111-1111番"), "****-**** ****-****番");
        assert_eq!(masked("4111111111111112"), "4111111111111112");
        assert_eq!(masked("9111111111111116"), "9111111111111116", "no card begins with 9");
    }

    #[test]
    fn telephone_numbers_dates_and_words_stay() {
        for text in [
            "06-1234-5678、090-1234-5678です",
            "03-3581-4321 03-3581-4321",
            "令和八年十一月二十七日",
            "平成26年総務省令第85号",
            "一一九番と一一〇番",
            "2026-11-27 17:32:05",
            "",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn a_number_among_other_numbers_is_found_at_the_separators() {
        assert_eq!(masked("1 123456789018 2"), "1 ************ 2");
        assert_eq!(masked("123456789018 4111111111111111"), "************ ****************");
    }

    #[test]
    fn what_is_switched_off_stays() {
        let policy = Policy { mask_my_numbers: false, mask_cards: true };
        assert_eq!(mask(NUMBER, policy).text, NUMBER);
        let none = Policy { mask_my_numbers: false, mask_cards: false };
        assert_eq!(mask("4111111111111111", none).text, "4111111111111111");
    }

    fn correction(start: usize, end: usize, from: &str, to: &str) -> Correction {
        let (from, to) = (from.to_string(), to.to_string());
        Correction { start, end, from, to, reading: "ヨミ".into(), distance: 0.0 }
    }

    #[test]
    fn a_number_that_the_dictionary_touched_is_left_nowhere() {
        let corrections = vec![correction(0, 2, "ミクニ", "三国"), correction(4, 6, "34", "三四")];
        let corrected = Corrected { text: "三国12三四56789018".into(), corrections };
        // 三国 stands before the number: 三 is no part of its run, because 国 is between them
        let (raw, corrected) = mask_both("ミクニ123456789018", corrected, Policy::default());
        assert_eq!((raw.as_str(), corrected.text.as_str()), ("ミクニ************", "三国************"));
        assert_eq!((corrected.corrections[0].from.as_str(), corrected.corrections[0].to.as_str()), ("ミクニ", "三国"));
        assert_eq!((corrected.corrections[1].from.as_str(), corrected.corrections[1].to.as_str()), ("**", "**"));
    }

    #[test]
    fn where_only_one_of_the_two_texts_has_the_whole_number_the_other_keeps_no_digits_of_it() {
        let corrected =
            Corrected { text: "123456789018です".into(), corrections: vec![correction(11, 12, "ハチ", "8")] };
        let (raw, corrected) = mask_both("12345678901ハチです", corrected, Policy::default());
        assert_eq!(raw, "***********ハチです");
        assert_eq!(corrected.text, "************です");
        assert_eq!((corrected.corrections[0].to.as_str(), corrected.corrections[0].reading.as_str()), ("*", ""));
    }

    #[test]
    fn a_text_without_numbers_is_the_same_afterwards() {
        let corrected =
            Corrected { text: "三国です".into(), corrections: vec![correction(0, 2, "ミクニ", "三国")] };
        let (raw, after) = mask_both("ミクニです", corrected.clone(), Policy::default());
        assert_eq!((raw.as_str(), after), ("ミクニです", corrected));
    }
}

//! Numbers that are written with units: 二千二十六, 十二万三千, 3万5千.

use super::digits::{digit, is_numeral, unit};

/// A number that stands at one place of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    /// Signs that it takes.
    pub(crate) length: usize,
    /// Its written form: digits, with 万 and 億 kept between them.
    pub(crate) written: String,
    /// What it is worth; `None` when it is a row of digits that is no value (a leading zero, more than 15 digits).
    pub(crate) value: Option<u64>,
    /// It has units.
    pub(crate) units: bool,
    /// It has kanji.
    pub(crate) kanji: bool,
    /// Digits that stand one after another without units.
    pub(crate) row: usize,
}

/// The number that `signs` begins with: as many numerals as stand together. `None` when there is none or they are no number
/// (二三十人 are about twenty or thirty people).
pub(crate) fn number(signs: &[char]) -> Option<Number> {
    let length = signs.iter().take_while(|sign| is_numeral(**sign)).count();
    let signs = signs.get(..length)?;
    if signs.is_empty() {
        return None;
    }
    let kanji = signs.iter().any(|sign| !matches!(sign, '0'..='9' | '０'..='９'));
    if signs.iter().all(|sign| unit(*sign).is_none()) {
        let digits: Vec<u8> = signs.iter().filter_map(|sign| digit(*sign)).collect();
        let written: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        let is_value = length <= 15 && (length == 1 || digits.first() != Some(&0));
        let value = is_value.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(*digit)));
        return Some(Number { length, written, value, units: false, kanji, row: length });
    }
    let (written, value) = with_units(signs)?;
    Some(Number { length, written, value: Some(value), units: true, kanji, row: 0 })
}

/// Adds up 億, 万 and what is below them.
fn with_units(signs: &[char]) -> Option<(String, u64)> {
    let (mut written, mut value, mut rest) = (String::new(), 0_u64, signs);
    for (large, name) in [(100_000_000, '億'), (10_000, '万')] {
        let Some(at) = rest.iter().position(|sign| unit(*sign) == Some(large)) else { continue };
        let factor = below_ten_thousand(rest.get(..at)?)?;
        if factor == 0 {
            return None;
        }
        written.push_str(&format!("{factor}{name}"));
        value = value.checked_add(factor.checked_mul(large)?)?;
        rest = rest.get(at + 1..)?;
    }
    if rest.is_empty() {
        return Some((written, value));
    }
    let last = below_ten_thousand(rest)?;
    if last > 0 || written.is_empty() {
        written.push_str(&last.to_string());
    }
    Some((written, value.checked_add(last)?))
}

/// 千, 百, 十 in this order, each once, each with one digit before it or none (before 千 and 百 also as ASCII digits), then one digit; or a
/// row of at most four digits.
fn below_ten_thousand(signs: &[char]) -> Option<u64> {
    let row = |signs: &[char]| -> Option<u64> {
        let digits: Option<Vec<u8>> = signs.iter().map(|sign| digit(*sign)).collect();
        let digits = digits.filter(|digits| (1..=4).contains(&digits.len()))?;
        Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(*digit)))
    };
    if signs.iter().all(|sign| unit(*sign).is_none()) {
        return row(signs);
    }
    let (mut value, mut rest) = (0, signs);
    for small in [1_000, 100, 10] {
        let Some(at) = rest.iter().position(|sign| unit(*sign) == Some(small)) else { continue };
        let factor = match rest.get(..at)? {
            [] => 1,
            [one] => digit(*one).filter(|digit| *digit > 0).map(u64::from)?,
            _ => return None,
        };
        value += factor * small;
        rest = rest.get(at + 1..)?;
    }
    match rest {
        [] => Some(value),
        [one] => Some(value + u64::from(digit(*one)?)),
        // 2千500
        more if more.iter().all(char::is_ascii_digit) => {
            let last = row(more)?;
            let smallest = signs.iter().filter_map(|sign| unit(*sign)).min().unwrap_or(0);
            (last < smallest).then_some(value + last)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, Option<u64>)> {
        let signs: Vec<char> = text.chars().collect();
        number(&signs).map(|number| (number.written, number.value))
    }

    #[test]
    fn units_are_added_up() {
        for (text, written, value) in [
            ("二千二十六", "2026", 2_026),
            ("千二百", "1200", 1_200),
            ("十万", "10万", 100_000),
            ("一億二千万", "1億2000万", 120_000_000),
            ("十二万三千四百五十六", "12万3456", 123_456),
            ("3万5千", "3万5000", 35_000),
            ("2千500", "2500", 2_500),
            ("百", "100", 100),
            ("二〇二六", "2026", 2_026),
            ("１２３", "123", 123),
            ("九", "9", 9),
        ] {
            assert_eq!(read(text), Some((written.to_string(), Some(value))), "{text}");
        }
        assert_eq!(read("〇六"), Some(("06".to_string(), None)), "a row of digits");
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["二三十", "十千", "百百", "万", "億千", "人", "", "二三百人"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn every_value_is_read_back_as_it_was_written() {
        let kanji = |mut value: u64| {
            let mut text = String::new();
            for (unit, sign) in [(1_000, '千'), (100, '百'), (10, '十'), (1, ' ')] {
                let factor = value / unit;
                value %= unit;
                if factor > 1 || (factor == 1 && unit == 1) {
                    text.push("〇一二三四五六七八九".chars().nth(factor as usize).unwrap());
                }
                if factor > 0 && unit > 1 {
                    text.push(sign);
                }
            }
            text
        };
        for value in 1..10_000 {
            assert_eq!(read(&kanji(value)), Some((value.to_string(), Some(value))), "{value}");
        }
    }
}

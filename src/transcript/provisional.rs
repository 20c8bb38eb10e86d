//! What may be shown of a text that is not final: no number that may turn out to be one that must not be stored.

use super::mask::{every_long_run, stars};
use super::numbers::between::{is_filler, is_separator};
use super::numbers::digits::is_katakana;
use super::numbers::edit::apply;
use super::numbers::run::{runs, spells_digits};

/// The text without the digits at its end (more may follow), and with stars for every other run of four digits or more that counts nothing:
/// telephone numbers among them, which the final shows.
pub fn provisional(text: &str) -> String {
    let signs: Vec<char> = text.chars().collect();
    let shown = signs.get(..held_from(&signs)).unwrap_or_default();
    apply(shown, &stars(&every_long_run(shown)))
}

/// Where the digits at the end of a text begin, with the separators before them; the end of the text when there are none.
fn held_from(signs: &[char]) -> usize {
    let mut end = signs.len();
    if let Some(run) = runs(signs).pop()
        && let (Some(first), Some(last)) = (run.first(), run.last())
        && is_filler(signs.get(last.end..).unwrap_or_default())
    {
        end = first.start;
    } else {
        // イチニ is the beginning of many a number
        let word = signs.iter().rev().take_while(|sign| is_katakana(**sign)).count();
        let start = signs.len() - word;
        if word > 0 && spells_digits(signs.get(start..).unwrap_or_default()) {
            end = start;
        }
    }
    if end < signs.len() {
        let before = signs.get(..end).unwrap_or_default();
        end -= before.iter().rev().take_while(|sign| is_separator(**sign)).count();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_at_the_end_are_held_back() {
        for (heard, shown) in [
            ("番号は1234", "番号は"),
            ("番号は1234-", "番号は"),
            ("番号は、1234、えーと", "番号は"),
            ("番号はイチニ", "番号は"),
            ("番号はイチニーサンヨン", "番号は"),
            ("番号は123456789018", "番号は"),
            ("番号は123456789018です", "番号は"),
            ("番号は123456789018ですので", "番号は************ですので"),
            ("電話は06-1234-5678なんですが", "電話は**-****-****なんですが"),
            ("2026年11月27日に", "2026年11月27日に"),
            ("3丁目2番1号です", "3丁目2番1号です"),
            ("三国に住んで", "三国に住んで"),
            ("", ""),
        ] {
            assert_eq!(provisional(heard), shown, "{heard}");
        }
    }

    #[test]
    fn whatever_comes_next_no_number_is_shown_on_the_way() {
        for text in
            ["番号は1234-5678-9018でお願いします", "番号はイチニーサンヨンゴーロクナナハチキュウゼロイチハチですので"]
        {
            let signs: Vec<char> = text.chars().collect();
            for end in 0..=signs.len() {
                let shown = provisional(&signs[..end].iter().collect::<String>());
                assert!(!shown.contains(|sign: char| sign.is_ascii_digit()) && !shown.contains("ニーサン"), "{shown}");
            }
        }
    }
}

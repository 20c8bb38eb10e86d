//! What an exchange sent, made fit for a report: short, one line, without numbers that belong to people.

/// Characters that are kept of one value.
const LONGEST: usize = 120;
/// A run of digits this long may be somebody's number.
const NUMBER: usize = 6;

/// A header value, reason phrase or product name of the exchange: one line, at most 120 characters, long runs of digits masked, and
/// what looks like a user before an `@` as well.
pub fn foreign(text: &str) -> String {
    let mut shown = String::new();
    let mut digits = String::new();
    let one_line = text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c });
    for (at, c) in one_line.enumerate() {
        if at == LONGEST {
            digits.push('…');
            break;
        }
        if c.is_ascii_digit() || (c == '-' && !digits.is_empty()) || c.is_numeric() {
            digits.push(c);
            continue;
        }
        flush(&mut shown, &mut digits);
        if c == '@' {
            mask_user(&mut shown);
        }
        shown.push(c);
    }
    flush(&mut shown, &mut digits);
    shown.trim().to_string()
}

fn flush(shown: &mut String, digits: &mut String) {
    if digits.chars().filter(|c| c.is_numeric()).count() >= NUMBER {
        shown.push_str("•••");
        digits.retain(|c| c == '…');
    }
    shown.push_str(digits);
    digits.clear();
}

/// Replaces the word at the end by a mask.
fn mask_user(shown: &mut String) {
    let keep = shown.rfind([':', '<', '"', ' ', ',', ';']).map_or(0, |at| at + 1);
    shown.truncate(keep);
    shown.push_str("•••");
}

/// Characters that turn or hide the text around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Says of a number only how long it is: `10 digits`.
pub fn number(number: &str) -> super::Text {
    let digits = number.chars().filter(char::is_ascii_digit).count();
    if digits == 0 {
        return super::Text::new("番号なし", "no number");
    }
    let plus = if number.starts_with('+') { "+" } else { "" };
    super::Text::new(format!("{plus}{digits} 桁"), format!("{plus}{digits} digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stay_and_numbers_go() {
        for (text, shown) in [
            ("Asterisk PBX 22.10.0~dfsg+~cs6.15.60671435", "Asterisk PBX 22.10.0~dfsg+~cs6.15.•••"),
            ("FPBX-16.0.40.7(18.9-cert5)", "FPBX-16.0.40.7(18.9-cert5)"),
            ("call 03-1234-5678 now", "call ••• now"),
            ("busy 0312345678", "busy •••"),
            ("<sip:alice@pbx.example>", "<sip:•••@pbx.example>"),
            ("a\r\nb\u{202e}c", "a  b c"),
        ] {
            assert_eq!(foreign(text), shown);
        }
        let long = foreign(&"x".repeat(5_000));
        assert_eq!(long.chars().count(), LONGEST + 1);
        assert_eq!(foreign(&"9".repeat(5_000)), "•••…");
        assert_eq!(number("+81312345678").en, "+11 digits");
    }
}

//! Telephone numbers as values: compared whole, never by their last digits.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// A caller's or dialled number, typed. The raw form is kept beside it by whoever stores it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// E.164 with the leading `+`.
    E164(String),
    /// 内線: up to six digits without a trunk prefix.
    Extension(String),
    /// Three-digit special services (110, 119, 117 …).
    Service(String),
    /// Anything else, as received.
    Unknown(String),
}

impl Number {
    /// Reads a number as Japanese exchanges write it: full-width digits, hyphens, parentheses and blanks are dropped, `184`/`186`
    /// prefixes stripped, national numbers (leading 0, 10 or 11 digits) become `+81…`.
    pub fn parse(raw: &str) -> Number {
        let clean: String = raw.nfkc().filter(|c| c.is_ascii_digit() || *c == '+').take(32).collect();
        let foreign = raw.nfkc().any(|c| c.is_alphabetic());
        if clean.is_empty() || foreign {
            return Number::Unknown(raw.chars().take(64).collect());
        }
        if let Some(rest) = clean.strip_prefix('+') {
            return international(rest, raw);
        }
        let digits = clean
            .strip_prefix("184")
            .or_else(|| clean.strip_prefix("186"))
            .filter(|rest| rest.starts_with('0') && rest.len() >= 10)
            .unwrap_or(&clean);
        if let Some(rest) = digits.strip_prefix("010").filter(|rest| rest.len() >= 8) {
            return international(rest, raw);
        }
        match (digits.starts_with('0'), digits.len()) {
            (true, 10 | 11) => Number::E164(format!("+81{}", &digits[1..])),
            (false, 3) if digits.starts_with('1') => Number::Service(digits.into()),
            (false, 1..=6) => Number::Extension(digits.into()),
            (false, 11..=12) if digits.starts_with("81") => Number::E164(format!("+{digits}")),
            _ => Number::Unknown(raw.chars().take(64).collect()),
        }
    }

    /// The E.164 form, when there is one.
    pub fn e164(&self) -> Option<&str> {
        match self {
            Number::E164(text) => Some(text),
            _ => None,
        }
    }
}

fn international(digits: &str, raw: &str) -> Number {
    let digits = digits.strip_prefix("810").map_or_else(|| digits.to_string(), |rest| format!("81{rest}"));
    if (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
        Number::E164(format!("+{digits}"))
    } else {
        Number::Unknown(raw.chars().take(64).collect())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::E164(text) | Number::Extension(text) | Number::Service(text) | Number::Unknown(text) => {
                f.write_str(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Number;

    #[test]
    fn forms_of_one_number_are_one_number() {
        for form in [
            "0661234567",
            "06-6123-4567",
            "０６（６１２３）４５６７",
            "+81661234567",
            "+81 (0)6-6123-4567",
            "1860661234567",
        ] {
            assert_eq!(Number::parse(form), Number::E164("+81661234567".into()), "{form}");
        }
    }

    #[test]
    fn the_last_eight_digits_do_not_make_a_match() {
        assert_ne!(Number::parse("03-1234-5678"), Number::parse("06-1234-5678"));
    }

    #[test]
    fn short_and_strange_forms_keep_their_kind() {
        assert_eq!(Number::parse("2001"), Number::Extension("2001".into()));
        assert_eq!(Number::parse("119"), Number::Service("119".into()));
        assert_eq!(Number::parse("anonymous"), Number::Unknown("anonymous".into()));
        assert_eq!(Number::parse("+"), Number::Unknown("+".into()));
        assert_eq!(Number::parse("08012345678").e164(), Some("+818012345678"));
    }
}

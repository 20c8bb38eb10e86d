//! Telephone numbers as values: compared whole, never by their last digits. What does not fit the numbering plan stays as it was received.
//!
//! The plan is that of Japan (電気通信番号規則, 別表: 固定, 付加的役務, 音声伝送携帯, 特定IP, FMC, データ伝送携帯); numbers of other countries are
//! checked for length only (ITU-T E.164 §6).

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// Longest text that is read as a number, in characters; what is longer is kept cut off and matches nothing.
const LONGEST: usize = 64;
/// Longest extension, in digits.
const LONGEST_EXTENSION: usize = 8;
/// The services of one to three digits that the plan knows (1XY); other short numbers are extensions.
const SERVICES: [&str; 24] = [
    "104", "110", "111", "113", "114", "115", "116", "117", "118", "119", "136", "141", "142", "144", "148", "151",
    "157", "159", "165", "171", "177", "188", "189", "164",
];
/// Police, coast guard, fire and ambulance.
const EMERGENCY: [&str; 3] = ["110", "118", "119"];

/// A caller's or dialled number, typed. The raw form is kept beside it by whoever stores it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// E.164 with the leading `+`.
    E164(String),
    /// 内線: one to eight digits without a trunk prefix.
    Extension(String),
    /// Short services: 110, 119, 188 …, and `#` with four digits (#7119, #8000).
    Service(String),
    /// Anything else, as received.
    Unknown(String),
}

/// What a number is for, by the numbering plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NumberKind {
    /// 固定電話: 0ABCDEFGHJ.
    Fixed,
    /// 携帯電話: 060, 070, 080, 090.
    Mobile,
    /// IP電話: 050.
    Ip,
    /// FMC: 0600.
    Fmc,
    /// データ伝送携帯 (machines, pagers): 020.
    Data,
    /// 着信課金: 0120, 0800.
    Freephone,
    /// ナビダイヤル: 0570.
    Navi,
    /// 情報料代理徴収: 0990.
    Premium,
    /// 大量呼受付, 伝言: 0180, 0170.
    Mass,
    /// Of another country.
    International,
    /// 内線.
    Extension,
    /// 110, 118, 119.
    Emergency,
    /// Other short services: 117, 171, 177, 188, 189, #7119, #8000 …
    Service,
    /// None of these.
    Unknown,
}

impl Number {
    /// Reads a number as Japanese exchanges, CRMs and people write it: full-width digits, hyphens and dashes, dots, parentheses and blanks,
    /// `tel:` with its parameters (RFC 3966), 内線, the prefixes `184`/`186`, `010` and `0081`. What the plan does not know is `Unknown`.
    pub fn parse(raw: &str) -> Number {
        read(raw).unwrap_or_else(|| Number::Unknown(raw.chars().take(LONGEST).collect()))
    }

    /// The E.164 form, when there is one.
    pub fn e164(&self) -> Option<&str> {
        match self {
            Number::E164(text) => Some(text),
            _ => None,
        }
    }

    /// What it is for.
    pub fn kind(&self) -> NumberKind {
        match self {
            Number::E164(text) => match text.strip_prefix("+81") {
                Some(national) => kind_of(national).unwrap_or(NumberKind::Unknown),
                None => NumberKind::International,
            },
            Number::Extension(_) => NumberKind::Extension,
            Number::Service(text) if EMERGENCY.contains(&text.as_str()) => NumberKind::Emergency,
            Number::Service(_) => NumberKind::Service,
            Number::Unknown(_) => NumberKind::Unknown,
        }
    }

    /// The form that people in Japan read and dial: `0…` without separators; other numbers as they are.
    pub fn national(&self) -> String {
        match self {
            Number::E164(text) => text.strip_prefix("+81").map_or_else(|| text.clone(), |rest| format!("0{rest}")),
            other => other.to_string(),
        }
    }
}

/// `None`: not a number of the plan.
fn read(raw: &str) -> Option<Number> {
    if raw.chars().nth(LONGEST).is_some() {
        return None;
    }
    let text: String = raw.nfkc().map(plain).collect();
    let text = strip_ignoring_case(text.trim(), "tel:").unwrap_or(text.trim());
    let (number, context) = context_of(text)?;
    if let Some(extension) = number.strip_prefix("内線") {
        return extension_of(&digits_of(extension.trim_start_matches([':', ' ']))?);
    }
    // 184 hides and 186 shows the caller's number for one call
    if let Some(rest) = number.strip_prefix("184").or_else(|| number.strip_prefix("186")) {
        let rest = rest.trim_start_matches(['-', ' ']);
        if (rest.starts_with(['0', '+', '(']))
            && let Some(Number::E164(text)) = outside(rest)
        {
            return Some(Number::E164(text));
        }
    }
    match context {
        Context::Country(code) if code != "81" => return None,
        Context::Area => return outside(number),
        Context::Country(_) | Context::None => {}
    }
    outside(number).or_else(|| inside(number))
}

/// Where a local number is valid (RFC 3966 §5.1.5).
enum Context<'a> {
    /// Not said, or a domain: the exchange's own.
    None,
    /// `+81`: the whole country.
    Country(&'a str),
    /// A part of a country: such a number cannot be completed by putting both together.
    Area,
}

/// The number before its parameters and what `phone-context` says; `None` when a parameter is there that no URI has.
fn context_of(text: &str) -> Option<(&str, Context<'_>)> {
    let mut pieces = text.split(';');
    let number = pieces.next()?.trim();
    let context = pieces.find_map(|piece| strip_ignoring_case(piece.trim(), "phone-context="));
    let context = match context.and_then(|context| context.trim().strip_prefix('+')) {
        None => Context::None,
        Some(code) if code.len() <= 3 => Context::Country(code),
        Some(_) => Context::Area,
    };
    Some((number, context))
}

/// A number that is valid in the whole world or the whole country.
fn outside(text: &str) -> Option<Number> {
    let international = text.trim_start_matches('(').starts_with('+');
    let without_trunk = if international || text.starts_with("010") || text.starts_with("0081") {
        text.replacen("(0)", "", 1)
    } else {
        text.into()
    };
    let digits = digits_of(&without_trunk)?;
    if let Some(rest) = digits.strip_prefix('+') {
        return world(rest);
    }
    if let Some(rest) = digits.strip_prefix("010") {
        return world(rest);
    }
    if let Some(rest) = digits.strip_prefix("0081") {
        return japan(rest);
    }
    match digits.strip_prefix('0') {
        Some(national) => of_plan(national),
        None => digits.strip_prefix("81").filter(|rest| rest.len() > LONGEST_EXTENSION).and_then(japan),
    }
}

/// An extension or a short service.
fn inside(text: &str) -> Option<Number> {
    if let Some(service) = text.strip_prefix('#') {
        let digits = digits_of(service)?;
        return (digits.len() == 4 && !digits.starts_with('+')).then(|| Number::Service(format!("#{digits}")));
    }
    let digits = digits_of(text)?;
    if SERVICES.contains(&digits.as_str()) {
        return Some(Number::Service(digits));
    }
    if digits.starts_with('0') { None } else { extension_of(&digits) }
}

fn extension_of(digits: &str) -> Option<Number> {
    let fits = (1..=LONGEST_EXTENSION).contains(&digits.len()) && !digits.starts_with('+');
    fits.then(|| Number::Extension(digits.into()))
}

/// Country code and number, without the `+`.
fn world(digits: &str) -> Option<Number> {
    if let Some(rest) = digits.strip_prefix("81") {
        return japan(rest);
    }
    let fits = (7..=15).contains(&digits.len()) && !digits.starts_with('0');
    fits.then(|| Number::E164(format!("+{digits}")))
}

/// What follows the country code of Japan; a leading 0 that was left there by mistake is dropped.
fn japan(national: &str) -> Option<Number> {
    of_plan(national.strip_prefix('0').unwrap_or(national))
}

/// A national number of Japan without its leading 0.
fn of_plan(national: &str) -> Option<Number> {
    kind_of(national).map(|_| Number::E164(format!("+81{national}")))
}

/// The kind of a national number without its leading 0; `None` when its length is not that of its kind.
fn kind_of(national: &str) -> Option<NumberKind> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| national.starts_with(prefix));
    let kind = match national.len() {
        9 if starts(&["120"]) => NumberKind::Freephone,
        9 if starts(&["570"]) => NumberKind::Navi,
        9 if starts(&["990"]) => NumberKind::Premium,
        9 if starts(&["170", "180"]) => NumberKind::Mass,
        // 06-0… is kept out of use, and so stands in examples
        9 if starts(&["0", "10", "20", "30", "40", "50", "70", "80", "90", "910"]) => return None,
        9 => NumberKind::Fixed,
        10 if starts(&["800"]) => NumberKind::Freephone,
        10 if starts(&["600"]) => NumberKind::Fmc,
        10 if starts(&["60", "70", "80", "90"]) => NumberKind::Mobile,
        10 if starts(&["50"]) => NumberKind::Ip,
        10 if starts(&["20"]) && !starts(&["200"]) => NumberKind::Data,
        13 if starts(&["200"]) => NumberKind::Data,
        _ => return None,
    };
    Some(kind)
}

/// Digits with at most a leading `+`; `None` when anything else than separators stands between them.
fn digits_of(text: &str) -> Option<String> {
    let mut digits = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' => digits.push(c),
            '+' if digits.is_empty() => digits.push(c),
            '-' | '.' | '(' | ')' | ' ' | '\t' => {}
            _ => return None,
        }
    }
    (!digits.is_empty()).then_some(digits)
}

/// Every dash that people put between digits as `-`, every blank as one.
fn plain(c: char) -> char {
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{30fc}' | '\u{2500}' | '\u{301c}' | '~' => '-',
        c if c.is_whitespace() => ' ',
        c => c,
    }
}

fn strip_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| text.get(prefix.len()..)).flatten()
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
    use super::{Number, NumberKind};

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

    #[test]
    fn the_kind_follows_prefix_and_length() {
        let kind = |text: &str| Number::parse(text).kind();
        assert_eq!(kind("0800-123-4567"), NumberKind::Freephone);
        assert_eq!(kind("080-1234-5678"), NumberKind::Mobile);
        assert_eq!(kind("080-1234-567"), NumberKind::Unknown);
        assert_eq!(Number::parse("+81570012345").national(), "0570012345");
    }

    #[test]
    fn any_text_is_read_without_a_panic_and_short() {
        for text in ["", ";", "tel:", "内線", "184", "#", "+81", "\u{0}", "；", &"9".repeat(10_000), "te\u{301}l:1"]
        {
            assert!(Number::parse(text).to_string().chars().count() <= 64, "{text:.20}");
        }
    }
}

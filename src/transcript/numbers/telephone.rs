//! Telephone numbers among the groups of a run, by the numbering plan (電気通信番号計画): a leading 0 and 10 or 11 digits.

use super::run::{Group, digits, length};

/// Digits of the longest telephone number.
const LONGEST: usize = 11;

/// Whether digits are as many as a telephone number that begins like them has.
pub(crate) fn is_telephone(digits: &[u8]) -> bool {
    match digits {
        [0, 8, 0, 0, ..] => matches!(digits.len(), 10 | 11),
        [0, 5..=9, 0, ..] => digits.len() == 11,
        [0, 1..=9, ..] => digits.len() == 10,
        _ => false,
    }
}

/// Groups `from`..`to` of a run that are one telephone number, the longest that begins there.
pub(crate) fn telephone_at(run: &[Group], from: usize) -> Option<usize> {
    let ends = from + 1..=run.len().min(from + LONGEST);
    ends.rev()
        .find(|to| run.get(from..*to).is_some_and(|groups| length(groups) <= LONGEST && is_telephone(&digits(groups))))
}

/// Whether a run is nothing but telephone numbers.
pub(crate) fn is_all_telephones(run: &[Group]) -> bool {
    let mut at = 0;
    while at < run.len() {
        let Some(to) = telephone_at(run, at) else { return false };
        at = to;
    }
    at > 0
}

/// The digits of a telephone number with hyphens, where the plan alone says where they stand.
pub(crate) fn hyphenated(digits: &str) -> Option<String> {
    let parts = match (digits.len(), digits.get(..4)?) {
        (10, "0120" | "0570" | "0990" | "0180") => [4, 7],
        (11, "0800") => [4, 7],
        (11, _) => [3, 7],
        (10, area) if area.starts_with("03") || area.starts_with("06") => [2, 6],
        _ => return None,
    };
    let [first, second] = parts;
    Some(format!("{}-{}-{}", digits.get(..first)?, digits.get(first..second)?, digits.get(second..)?))
}

#[cfg(test)]
mod tests {
    use super::super::run::runs;
    use super::*;

    fn first_run(text: &str) -> Vec<Group> {
        let signs: Vec<char> = text.chars().collect();
        runs(&signs).remove(0)
    }

    #[test]
    fn numbers_are_told_by_how_they_begin() {
        assert!(is_all_telephones(&first_run("06-1234-5678、090-1234-5678")));
        assert!(is_all_telephones(&first_run("0612345678")));
        assert!(!is_all_telephones(&first_run("06-1234-5678、1234")));
        assert!(!is_all_telephones(&first_run("1234-5678-9018")));
        assert!(!is_all_telephones(&first_run("090-1234-567")), "one digit is missing");
    }

    #[test]
    fn hyphens_stand_where_the_plan_says() {
        assert_eq!(hyphenated("0612345678").as_deref(), Some("06-1234-5678"));
        assert_eq!(hyphenated("09012345678").as_deref(), Some("090-1234-5678"));
        assert_eq!(hyphenated("0120123456").as_deref(), Some("0120-123-456"));
        assert_eq!(hyphenated("0721123456"), None, "an area code may have 2 to 5 digits");
    }
}

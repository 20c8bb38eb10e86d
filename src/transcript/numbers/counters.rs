//! What stands behind a numeral and counts: it makes a written number of the numeral, and ends a number that must not be stored.

use std::sync::LazyLock;

use super::listed::Listed;

/// What a counter is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// The numeral before it is written as a number; digits before it are a number of their own, and no part of one that must not be stored.
    Always,
    /// Only the first: 番, 本, 通 also stand behind a number that must not be stored.
    Written,
    /// Only the first, and only after 第: 第三条, 第二部.
    Ordinal,
    /// Only the second.
    Apart,
}

use Use::{Always, Apart, Ordinal, Written};

/// What stands behind a numeral and counts, the longest first where one begins like another.
const COUNTERS: &[(&str, Use)] = &[
    ("年度", Always),
    ("年", Always),
    ("か月", Always),
    ("カ月", Always),
    ("ヶ月", Always),
    ("ケ月", Always),
    ("ヵ月", Written),
    ("箇月", Written),
    ("月", Always),
    ("週", Always),
    ("日", Always),
    ("時間", Always),
    ("時", Always),
    ("分", Always),
    ("秒", Always),
    ("円", Always),
    ("銭", Written),
    ("人", Always),
    ("名", Always),
    ("歳", Always),
    ("才", Always),
    ("個", Always),
    ("件", Always),
    ("回", Always),
    ("台", Written),
    ("枚", Always),
    ("本", Written),
    ("冊", Always),
    ("通", Written),
    ("杯", Written),
    ("匹", Written),
    ("頭", Written),
    ("羽", Written),
    ("階", Always),
    ("番", Written),
    ("丁目", Always),
    ("号", Written),
    ("区画", Written),
    ("世帯", Always),
    ("戸", Written),
    ("軒", Written),
    ("棟", Written),
    ("割", Always),
    ("パーセント", Always),
    ("％", Always),
    ("%", Always),
    ("級", Written),
    ("種類", Written),
    ("か所", Written),
    ("カ所", Written),
    ("ヶ所", Written),
    ("ケ所", Written),
    ("ヵ所", Written),
    ("箇所", Written),
    ("泊", Written),
    ("食", Written),
    ("キロ", Always),
    ("メートル", Always),
    ("センチ", Written),
    ("ミリ", Written),
    ("リットル", Written),
    ("グラム", Written),
    ("トン", Written),
    ("平米", Written),
    ("平方", Written),
    ("立方", Written),
    ("坪", Written),
    ("畳", Written),
    ("倍", Always),
    ("往復", Written),
    ("組", Written),
    ("票", Written),
    ("点", Written),
    ("位", Written),
    ("度", Always),
    ("ページ", Written),
    ("便", Written),
    ("両", Ordinal),
    ("足", Ordinal),
    ("条", Ordinal),
    ("項", Ordinal),
    ("款", Ordinal),
    ("章", Ordinal),
    ("節", Ordinal),
    ("期", Ordinal),
    ("部", Ordinal),
    ("段", Ordinal),
    ("番地", Apart),
    ("号室", Apart),
    ("万", Apart),
    ("億", Apart),
    ("千円", Apart),
    ("百円", Apart),
    ("つ", Apart),
];

static COUNTERS_AT: LazyLock<Listed> = LazyLock::new(|| Listed::of(COUNTERS.iter().map(|(counter, _)| *counter)));

/// The counters at the beginning of `signs`.
fn counters(signs: &[char]) -> impl Iterator<Item = (&'static str, Use)> {
    COUNTERS_AT.all(signs).filter_map(|(index, _)| COUNTERS.get(index).copied())
}

/// The counter at the beginning of `signs` that makes the numeral before it a number.
pub(crate) fn counter(signs: &[char], ordinal: bool) -> Option<&'static str> {
    let (found, good_for) = counters(signs).find(|(_, good_for)| *good_for != Apart)?;
    (ordinal || good_for != Ordinal).then_some(found)
}

/// Whether the digits before `signs` count something, so that they are no part of a longer number.
pub(crate) fn counts(signs: &[char]) -> bool {
    counters(signs).any(|(_, good_for)| matches!(good_for, Always | Apart))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn a_counter_that_begins_like_another_comes_after_it() {
        let written: Vec<&str> =
            COUNTERS.iter().filter(|(_, good_for)| *good_for != Apart).map(|(counter, _)| *counter).collect();
        for (at, counter) in written.iter().enumerate() {
            for earlier in written.iter().take(at) {
                assert!(!counter.starts_with(earlier), "{counter} is never found");
            }
        }
        assert_eq!(counter(&signs("か月後"), false), Some("か月"));
        assert_eq!((counter(&signs("条"), false), counter(&signs("条"), true)), (None, Some("条")));
        assert_eq!((counter(&signs("番地"), false), counter(&signs("つ"), false)), (Some("番"), None));
        assert!(counts(&signs("番地")) && counts(&signs("年度")) && !counts(&signs("番")) && !counts(&signs("条")));
    }
}

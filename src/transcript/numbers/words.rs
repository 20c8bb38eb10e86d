//! Words and names that are written with numerals and are no numbers, and the counters that make a numeral a number.

use std::sync::LazyLock;

use super::listed::Listed;

/// Words and names that begin with a numeral, or hold one, and look like a number with its counter. Names of other shapes (三国, 十三, 千日前,
/// 五所川原, 四天王寺) need no list: what follows their numeral counts nothing.
const WORDS: &[&str] = &[
    // words
    "一緒",
    "一応",
    "一旦",
    "一般",
    "一部",
    "一方",
    "一覧",
    "一括",
    "一生",
    "一定",
    "一致",
    "一切",
    "一体",
    "一種",
    "一層",
    "一時的",
    "一時停止",
    "一時保育",
    "一時預かり",
    "一時金",
    "一時帰国",
    "一時所得",
    "一時保護",
    "一人暮らし",
    "一人ぐらし",
    "一人親",
    "一人一人",
    "一人ひとり",
    "一人っ子",
    "一人前",
    "二人三脚",
    "二人とも",
    "二枚目",
    "二枚舌",
    "一枚目",
    "一枚岩",
    "一本化",
    "一本道",
    "一本槍",
    "一件落着",
    "三位一体",
    "一位置",
    "十人十色",
    "一日中",
    "一昨日",
    "一昨年",
    "二日酔い",
    "三日坊主",
    "三日月",
    "七五三",
    "一世一代",
    "一級河川",
    "十分な",
    "十分に",
    "十二分に",
    "万人",
    "万年筆",
    "万歳",
    "八百屋",
    "八百長",
    "百人一首",
    "百点満点",
    "百日紅",
    "五分五分",
    "一分一秒",
    "四六時中",
    "二六時中",
    "一年中",
    "一石二鳥",
    "一段落",
    "一段と",
    "一円に",
    "市内一円",
    "統一",
    "同一",
    "唯一",
    "単一",
    "均一",
    "随一",
    "逐一",
    "画一",
    "万一",
    "万が一",
    "純一",
    "択一",
    "世界一",
    "日本一",
    "第三者",
    "第一人者",
    "五月雨",
    "五月病",
    "五月晴れ",
    "五月女",
    "二十日鼠",
    "二百十日",
    "八十八夜",
    "四十九日",
    "一個人",
    "二階堂",
    "二三日",
    "四五日",
    "八月一日宮",
    "四月朔日",
    "一両日",
    "一時しのぎ",
    "一回り",
    // places
    "六本木",
    "六本松",
    "三本木",
    "三本松",
    "二本松",
    "一本松",
    "一本杉",
    "八本松",
    "五本松",
    "千本",
    "八戸",
    "一戸町",
    "二戸市",
    "三戸町",
    "三戸郡",
    "五戸町",
    "六戸町",
    "七戸町",
    "九戸村",
    "九戸郡",
    "二戸郡",
    "三軒茶屋",
    "三軒家",
    "三軒屋",
    "三軒町",
    "二軒屋",
    "二十軒家",
    "二十三軒",
    "五軒家",
    "五軒町",
    "七軒町",
    "八軒家",
    "八軒町",
    "八軒中",
    "八軒西",
    "八軒東",
    "八軒北",
    "九軒町",
    "十軒町",
    "四日市",
    "三日市",
    "五日市",
    "六日市",
    "七日市",
    "八日市",
    "九日市",
    "十日市",
    "廿日市",
    "二日市",
    "一日市",
    "二日町",
    "三日町",
    "四日町",
    "五日町",
    "六日町",
    "七日町",
    "八日町",
    "九日町",
    "十日町",
    "二十日町",
    "一番町",
    "二番町",
    "三番町",
    "四番町",
    "五番町",
    "六番町",
    "七番町",
    "八番町",
    "九番町",
    "十番町",
    "一番丁",
    "二番丁",
    "三番丁",
    "四番丁",
    "五番丁",
    "六番丁",
    "七番丁",
    "八番丁",
    "九番丁",
    "十番丁",
    "麻布十番",
    "三番瀬",
    "五番街",
    "百人町",
    "千人町",
    "三十人町",
    "五十人町",
    "九段下",
    "九段南",
    "九段北",
    "五台山",
    "十三本町",
    "五個荘",
    "三枚橋",
    "三枚町",
    "七枚町",
    "三組町",
    "一口坂",
    "四号地",
    "三年坂",
    "二年坂",
    "二月堂",
    "三月堂",
    "千畳敷",
    "八畳島",
    "八坪町",
    "二名津",
    "千歳",
    "千日前",
    "千日町",
    "千日坂",
    "百歳町",
    "一円町",
];

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

static WORDS_AT: LazyLock<Listed> = LazyLock::new(|| Listed::of(WORDS.iter().copied()));
static COUNTERS_AT: LazyLock<Listed> = LazyLock::new(|| Listed::of(COUNTERS.iter().map(|(counter, _)| *counter)));

/// Where a word from the list stands at the beginning of `signs`: its length. The longest counts.
pub(crate) fn word(signs: &[char]) -> Option<usize> {
    WORDS_AT.longest(signs).map(|(_, length)| length)
}

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

/// Whether `signs` begins with a text.
pub(crate) fn begins(signs: &[char], text: &str) -> bool {
    text.chars().enumerate().all(|(at, sign)| signs.get(at) == Some(&sign))
}

/// Whether `signs` begins with one of several texts.
pub(crate) fn begins_any(signs: &[char], texts: &[&str]) -> bool {
    texts.iter().any(|text| begins(signs, text))
}

/// Whether `signs` ends with one of several texts.
pub(crate) fn ends_any(signs: &[char], texts: &[&str]) -> bool {
    let ends = |text: &str| {
        text.chars().rev().zip(signs.iter().rev()).filter(|(a, b)| a == *b).count() == text.chars().count()
    };
    texts.iter().any(|text| ends(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_can_be_found() {
        for listed in WORDS {
            assert!(word(&signs(listed)).is_some_and(|length| length >= listed.chars().count()), "{listed}");
        }
    }

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

    #[test]
    fn words_are_found_whole() {
        assert_eq!(word(&signs("六本木駅")), Some(3));
        assert_eq!(word(&signs("六本の木")), None);
        assert!(ends_any(&signs("午前"), &["午後", "午前"]) && !ends_any(&signs("前"), &["午前"]));
    }
}

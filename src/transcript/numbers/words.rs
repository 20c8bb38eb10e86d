//! Words and names that are written with numerals and are no numbers, and the counters that make a numeral a number.

use super::digits::is_numeral;

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

/// What makes the numeral before it a number, the longest first where one begins like another.
const COUNTERS: &[&str] = &[
    "年度",
    "年",
    "か月",
    "カ月",
    "ヶ月",
    "ケ月",
    "ヵ月",
    "箇月",
    "月",
    "週",
    "日",
    "時間",
    "時",
    "分",
    "秒",
    "円",
    "銭",
    "人",
    "名",
    "歳",
    "才",
    "個",
    "件",
    "回",
    "台",
    "枚",
    "本",
    "冊",
    "通",
    "杯",
    "匹",
    "頭",
    "羽",
    "階",
    "番",
    "丁目",
    "号",
    "区画",
    "世帯",
    "戸",
    "軒",
    "棟",
    "割",
    "パーセント",
    "％",
    "%",
    "級",
    "種類",
    "か所",
    "カ所",
    "ヶ所",
    "ケ所",
    "ヵ所",
    "箇所",
    "泊",
    "食",
    "キロ",
    "メートル",
    "センチ",
    "ミリ",
    "リットル",
    "グラム",
    "トン",
    "平米",
    "平方",
    "立方",
    "坪",
    "畳",
    "倍",
    "往復",
    "組",
    "票",
    "点",
    "位",
    "度",
    "ページ",
    "便",
    "両",
    "足",
    "条",
    "項",
    "款",
    "章",
    "節",
    "期",
    "部",
    "段",
];

/// Counters that count only after 第: 第三条, 第二部.
const ORDINAL: &[&str] = &["条", "項", "款", "章", "節", "期", "部", "段", "両", "足"];

/// What words from the list begin with, besides numerals.
const BEGINNINGS: &str = "市統同唯単均随逐画純択世日第廿麻";

/// Where a word from the list stands at the beginning of `signs`: its length. The longest counts.
pub(crate) fn word(signs: &[char]) -> Option<usize> {
    signs.first().filter(|sign| is_numeral(**sign) || BEGINNINGS.contains(**sign))?;
    WORDS.iter().filter(|word| begins(signs, word)).map(|word| word.chars().count()).max()
}

/// The counter at the beginning of `signs`.
pub(crate) fn counter(signs: &[char], ordinal: bool) -> Option<&'static str> {
    let found = COUNTERS.iter().find(|counter| begins(signs, counter))?;
    (ordinal || !ORDINAL.contains(found)).then_some(found)
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
        for (at, counter) in COUNTERS.iter().enumerate() {
            for earlier in COUNTERS.iter().take(at) {
                assert!(!counter.starts_with(earlier), "{counter} is never found");
            }
        }
        assert_eq!(counter(&signs("か月後"), false), Some("か月"));
        assert_eq!((counter(&signs("条"), false), counter(&signs("条"), true)), (None, Some("条")));
    }

    #[test]
    fn words_are_found_whole() {
        assert_eq!(word(&signs("六本木駅")), Some(3));
        assert_eq!(word(&signs("六本の木")), None);
        assert!(ends_any(&signs("午前"), &["午後", "午前"]) && !ends_any(&signs("前"), &["午前"]));
    }
}

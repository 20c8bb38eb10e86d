//! Words and names that are written with numerals and are no numbers.

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

static WORDS_AT: LazyLock<Listed> = LazyLock::new(|| Listed::of(WORDS.iter().copied()));
/// Where a word from the list stands at the beginning of `signs`: its length. The longest counts.
pub(crate) fn word(signs: &[char]) -> Option<usize> {
    WORDS_AT.longest(signs).map(|(_, length)| length)
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
    fn words_are_found_whole() {
        assert_eq!(word(&signs("六本木駅")), Some(3));
        assert_eq!(word(&signs("六本の木")), None);
        assert!(ends_any(&signs("午前"), &["午後", "午前"]) && !ends_any(&signs("前"), &["午前"]));
    }
}

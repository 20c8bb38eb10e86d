//! Single digits as they are written and as their names are spelt.

/// How a digit is written; 第一1234… is a word and a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Script {
    /// 0–9.
    #[default]
    Ascii,
    /// ０–９.
    FullWidth,
    /// 〇一二…, each sign a digit.
    Kanji,
    /// 十二, 千二百: a value.
    Value,
    /// イチニー…, in katakana or hiragana.
    Name,
}

/// The digit that one sign stands for.
pub(crate) fn digit(sign: char) -> Option<u8> {
    let value = match sign {
        '0'..='9' => u32::from(sign) - u32::from('0'),
        '０'..='９' => u32::from(sign) - u32::from('０'),
        '〇' | '零' | '○' | '◯' => 0,
        '一' | '壱' => 1,
        '二' | '弐' => 2,
        '三' | '参' => 3,
        '四' => 4,
        '五' => 5,
        '六' => 6,
        '七' => 7,
        '八' => 8,
        '九' => 9,
        _ => return None,
    };
    u8::try_from(value).ok()
}

/// How a digit sign is written.
pub(crate) fn script(sign: char) -> Script {
    match sign {
        '0'..='9' => Script::Ascii,
        '０'..='９' => Script::FullWidth,
        _ => Script::Kanji,
    }
}

/// The unit that a sign stands for: 十, 百, 千; 万 and 億 stand for all before them.
pub(crate) fn unit(sign: char) -> Option<u64> {
    match sign {
        '十' | '拾' => Some(10),
        '百' => Some(100),
        '千' => Some(1_000),
        '万' | '萬' => Some(10_000),
        '億' => Some(100_000_000),
        _ => None,
    }
}

/// Whether a sign is a numeral: a digit in whatever script, or a unit.
pub(crate) fn is_numeral(sign: char) -> bool {
    digit(sign).is_some() || unit(sign).is_some()
}

/// A digit's name: its katakana, its digit, and whether it is hardly anything else.
struct Name {
    spelling: &'static [char],
    digit: u8,
    firm: bool,
}

const fn firm(spelling: &'static [char], digit: u8) -> Name {
    Name { spelling, digit, firm: true }
}

const fn weak(spelling: &'static [char], digit: u8) -> Name {
    Name { spelling, digit, firm: false }
}

/// The longest spelling of each name comes first.
const NAMES: [Name; 32] = [
    firm(&['ゼ', 'ロ', 'ー'], 0),
    firm(&['ゼ', 'ロ'], 0),
    firm(&['マ', 'ル'], 0),
    firm(&['レ', 'イ'], 0),
    firm(&['レ', 'ー'], 0),
    weak(&['オ', 'ー'], 0),
    firm(&['イ', 'ー', 'チ'], 1),
    firm(&['イ', 'チ'], 1),
    firm(&['ニ', 'ー'], 2),
    firm(&['ニ', 'イ'], 2),
    weak(&['ニ'], 2),
    firm(&['サ', 'ー', 'ン'], 3),
    firm(&['サ', 'ン'], 3),
    firm(&['ヨ', 'ー', 'ン'], 4),
    firm(&['ヨ', 'ン'], 4),
    weak(&['シ', 'ー'], 4),
    weak(&['シ', 'チ'], 7),
    weak(&['シ'], 4),
    weak(&['ヨ'], 4),
    firm(&['ゴ', 'ー'], 5),
    weak(&['ゴ', 'オ'], 5),
    weak(&['ゴ', 'ウ'], 5),
    weak(&['ゴ'], 5),
    firm(&['ロ', 'ー', 'ク'], 6),
    firm(&['ロ', 'ク'], 6),
    firm(&['ナ', 'ー', 'ナ'], 7),
    firm(&['ナ', 'ナ'], 7),
    firm(&['ハ', 'チ'], 8),
    firm(&['キ', 'ュ', 'ウ'], 9),
    firm(&['キ', 'ュ', 'ー'], 9),
    weak(&['ク', 'ー'], 9),
    weak(&['ク'], 9),
];

/// A digit's name at the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its digit.
    pub(crate) digit: u8,
    /// Signs of its name.
    pub(crate) length: usize,
    /// It is hardly anything else.
    pub(crate) firm: bool,
}

/// The names that `signs` may begin with, in katakana or hiragana, the longest first: ニイチ is 2, 1 and not ニイ.
pub(crate) fn names(signs: &[char]) -> impl Iterator<Item = Named> {
    let first = signs.first().map(|sign| katakana(*sign));
    let begins = move |name: &&Name| {
        // most signs begin no name, and this is asked at every one
        if name.spelling.first() != first.as_ref() {
            return false;
        }
        let own = signs.get(..name.spelling.len());
        own.is_some_and(|own| own.iter().zip(name.spelling).all(|(own, sign)| katakana(*own) == *sign))
    };
    let named = |name: &Name| Named { digit: name.digit, length: name.spelling.len(), firm: name.firm };
    NAMES.iter().filter(begins).map(named)
}

/// A hiragana sign as katakana; every other sign as it is.
pub(crate) fn katakana(sign: char) -> char {
    match sign {
        'ぁ'..='ゖ' => char::from_u32(u32::from(sign) + 0x60).unwrap_or(sign),
        _ => sign,
    }
}

/// A sign of katakana words, the long vowel included.
pub(crate) fn is_katakana(sign: char) -> bool {
    matches!(sign, 'ァ'..='ヺ' | 'ー')
}

/// A sign of hiragana words.
pub(crate) fn is_hiragana(sign: char) -> bool {
    matches!(sign, 'ぁ'..='ゖ' | 'ー')
}

/// A Chinese character (CJK unified ideographs and 々).
pub(crate) fn is_kanji(sign: char) -> bool {
    matches!(sign, '\u{3400}'..='\u{9fff}' | '々' | '〆' | 'ヶ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let signs: Vec<char> = text.chars().collect();
        let (mut at, mut digits) = (0, String::new());
        while at < signs.len() {
            let found = names(&signs[at..]).next()?;
            digits.push(char::from(b'0' + found.digit));
            at += found.length;
        }
        Some(digits)
    }

    #[test]
    fn names_are_read_in_both_syllabaries_the_longest_first() {
        assert_eq!(read("ゼロイチニーサンヨンゴーロクナナハチキュウ").as_deref(), Some("0123456789"));
        assert_eq!(read("ぜろいちにいさんよんごおろくななはちきゅう").as_deref(), Some("0123456789"));
        assert_eq!(read("マルニサンシゴロクシチハチク").as_deref(), Some("023456789"));
        assert_eq!(read("レイオーレーヒト"), None);
        assert_eq!(read("レイオーレー").as_deref(), Some("000"));
        assert_eq!(read("ミクニ"), None);
    }

    #[test]
    fn spellings_that_begin_alike_stand_in_order_of_length() {
        for (at, name) in NAMES.iter().enumerate() {
            for earlier in NAMES.iter().take(at) {
                assert!(!name.spelling.starts_with(earlier.spelling), "{:?} is never found", name.spelling);
            }
        }
    }
}

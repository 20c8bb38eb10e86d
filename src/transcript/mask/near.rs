//! Words that say what the number beside them is.

use std::sync::LazyLock;

use crate::call::secret::Class;
use crate::transcript::numbers::listed::Listed;

/// What a word says of the number that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It is one of these.
    Secret(Class),
    /// 記号: also one digit counts.
    Symbol,
    /// セキュリティコード: three or four digits of a card.
    CardCode,
    /// It is another number: a telephone number, an amount, a receipt.
    Other,
}

impl Word {
    /// The class of the numbers that it announces.
    pub(crate) fn class(self) -> Option<Class> {
        match self {
            Word::Secret(class) => Some(class),
            Word::Symbol => Some(Class::Insurance),
            Word::CardCode => Some(Class::Card),
            Word::Other => None,
        }
    }
}

/// A word at its place in a text.
pub(crate) type At = (usize, Word);

const WORDS: &[(&str, Word)] = &[
    ("マイナンバー", Word::Secret(Class::MyNumber)),
    ("個人番号", Word::Secret(Class::MyNumber)),
    ("クレジットカード", Word::Secret(Class::Card)),
    ("クレジット番号", Word::Secret(Class::Card)),
    ("カード番号", Word::Secret(Class::Card)),
    ("カードの番号", Word::Secret(Class::Card)),
    ("デビットカード", Word::Secret(Class::Card)),
    ("セキュリティコード", Word::CardCode),
    ("セキュリティーコード", Word::CardCode),
    ("口座", Word::Secret(Class::Account)),
    ("普通預金", Word::Secret(Class::Account)),
    ("当座預金", Word::Secret(Class::Account)),
    ("ゆうちょ", Word::Secret(Class::Account)),
    ("保険証", Word::Secret(Class::Insurance)),
    ("保険者番号", Word::Secret(Class::Insurance)),
    ("被保険者", Word::Secret(Class::Insurance)),
    ("資格確認書", Word::Secret(Class::Insurance)),
    ("記号番号", Word::Secret(Class::Insurance)),
    ("記号", Word::Symbol),
    ("年金番号", Word::Secret(Class::Pension)),
    ("年金手帳", Word::Secret(Class::Pension)),
    ("年金証書", Word::Secret(Class::Pension)),
    ("免許証", Word::Secret(Class::Licence)),
    ("免許番号", Word::Secret(Class::Licence)),
    ("電話", Word::Other),
    ("携帯", Word::Other),
    ("ファックス", Word::Other),
    ("内線", Word::Other),
    ("連絡先", Word::Other),
    ("郵便番号", Word::Other),
    ("住所", Word::Other),
    ("生年月日", Word::Other),
    ("受付番号", Word::Other),
    ("整理番号", Word::Other),
    ("問い合わせ番号", Word::Other),
    ("予約番号", Word::Other),
    ("通知書番号", Word::Other),
    ("納付番号", Word::Other),
    ("金額", Word::Other),
    ("手数料", Word::Other),
];

static WORDS_AT: LazyLock<Listed> = LazyLock::new(|| Listed::of(WORDS.iter().map(|(word, _)| *word)));

/// The words of a text, in order of their place; of two at one place the longer.
pub(crate) fn words(signs: &[char]) -> Vec<At> {
    let mut all: Vec<At> = Vec::new();
    let mut at = 0;
    while at < signs.len() {
        let rest = signs.get(at..).unwrap_or_default();
        match WORDS_AT.longest(rest).and_then(|(index, length)| Some((WORDS.get(index)?.1, length))) {
            Some((says, length)) => {
                all.push((at, says));
                at += length;
            }
            None => at += 1,
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_word_counts_and_all_are_in_order() {
        let signs: Vec<char> = "電話番号とマイナンバー、記号番号と記号".chars().collect();
        let says: Vec<Word> = words(&signs).into_iter().map(|(_, word)| word).collect();
        let secret = Word::Secret;
        assert_eq!(says, [Word::Other, secret(Class::MyNumber), secret(Class::Insurance), Word::Symbol]);
    }
}

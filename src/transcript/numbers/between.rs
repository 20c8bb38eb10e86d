//! What may stand between the groups of a number: separators, and what people say there.

use std::sync::LazyLock;

use super::listed::Listed;

/// What people say between the groups of a number, the longest first.
const FILLERS: &[&str] = &[
    "えーっと",
    "えぇっと",
    "えーと",
    "えっと",
    "ええと",
    "エート",
    "エーット",
    "そうですね",
    "それから",
    "そのあと",
    "その次が",
    "その次は",
    "つぎが",
    "つぎは",
    "つづけて",
    "つづいて",
    "次が",
    "次は",
    "次に",
    "続けて",
    "続いて",
    "続きが",
    "最後が",
    "最後は",
    "最後に",
    "最初が",
    "最初は",
    "そして",
    "ハイフン",
    "はいふん",
    "ダッシュ",
    "スペース",
    "ですね",
    "ですよ",
    "でして",
    "です",
    "えと",
    "えー",
    "ええ",
    "エー",
    "あのう",
    "あのー",
    "あの",
    "そのー",
    "んーと",
    "んー",
    "うーん",
    "うん",
    "はい",
    "ハイ",
    "まあ",
    "まず",
    "あと",
    "の",
    "ノ",
    "で",
    "と",
];

/// What begins like a filler and is none: 1234ですので, 番号はいち….
const OTHERS: [&str; 6] = ["ので", "のに", "では", "でも", "とか", "はいち"];

/// Fillers in katakana, which end the names before them.
const JOINTS: &[&str] = &["ハイフン", "ダッシュ", "スペース", "エート", "エーット"];

static FILLERS_AT: LazyLock<Listed> = LazyLock::new(|| Listed::of(FILLERS.iter().copied()));
static OTHERS_AT: LazyLock<Listed> = LazyLock::new(|| Listed::of(OTHERS));
static JOINTS_AT: LazyLock<Listed> = LazyLock::new(|| Listed::of(JOINTS.iter().copied()));

/// Signs of the separator or filler that `signs` begins with.
pub(crate) fn between(signs: &[char]) -> Option<usize> {
    let first = *signs.first()?;
    if is_separator(first) {
        return Some(1);
    }
    if OTHERS_AT.first(signs).is_some() {
        return None;
    }
    FILLERS_AT.first(signs).map(|(_, length)| length)
}

/// Whether there is nothing in `signs` but separators and fillers.
pub(crate) fn is_filler(mut signs: &[char]) -> bool {
    while !signs.is_empty() {
        let Some(length) = between(signs) else { return false };
        signs = signs.get(length..).unwrap_or_default();
    }
    true
}

/// What people and recognisers put between the groups of a number.
pub(crate) fn is_separator(sign: char) -> bool {
    sign.is_whitespace()
        || matches!(
            sign,
            '-' | '－'
                | '‐'
                | '‑'
                | '‒'
                | '–'
                | '—'
                | '―'
                | '−'
                | 'ー'
                | 'ｰ'
                | '・'
                | '･'
                | '.'
                | '．'
                | ','
                | '，'
                | '、'
                | '。'
                | '/'
                | '／'
                | '?'
                | '？'
                | '!'
                | '！'
                | '…'
        )
}

/// Whether `signs` begins with a filler that ends the names before it.
pub(super) fn is_joint(signs: &[char]) -> bool {
    JOINTS_AT.first(signs).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fillers_are_passed_over_and_what_only_begins_like_one_is_not() {
        let signs = |text: &str| text.chars().collect::<Vec<char>>();
        for (text, length) in
            [("えーと、", Some(3)), ("の次", Some(1)), ("、", Some(1)), ("ので", None), ("番号", None)]
        {
            assert_eq!(between(&signs(text)), length, "{text}");
        }
        assert!(is_filler(&signs("、えーと、次が ")) && !is_filler(&signs("、円、")) && is_filler(&[]));
        assert!(is_joint(&signs("ハイフン")) && !is_joint(&signs("はい")));
    }
}

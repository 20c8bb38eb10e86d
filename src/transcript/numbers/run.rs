//! Digits that may belong together: groups in whatever notation, and runs of groups with nothing but separators and fillers between them.

use super::between::{between, is_joint};
use super::digits::{Named, Script, digit, is_hiragana, is_kanji, is_katakana, is_numeral, names, script, unit};
use super::value;

/// Most signs between two groups of one run.
const BETWEEN: usize = 16;
/// Names in a row that are a number even inside a longer word.
const MANY_NAMES: usize = 6;
/// The same in hiragana, where words are not told apart from their endings.
const MANY_HIRAGANA: usize = 4;
/// Names in a row that are a number by themselves.
const SURE_NAMES: usize = 3;
/// Longest piece of kana that is looked through; a longer one is cut.
const LONGEST_KANA: usize = 400;
/// Digits of a value with units at most, as a group of a longer number (4千百 is 41 00).
const LONGEST_VALUE: usize = 8;

/// Signs that make a number of the kanji before them.
const COUNTING: &str = "番号円年月日人時分階丁名歳才個件枚回";

/// Digits beside a word that is spelt with the names of digits from which on it is a part of their number (956、シチゴサン、116).
const BESIDE_WORD: usize = 6;
/// Words of katakana that are spelt with the names of digits.
const WORDS: [&str; 2] = ["シチゴサン", "ナナシ"];

/// Digits of one script without anything between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its first sign.
    pub(crate) start: usize,
    /// Behind its last sign.
    pub(crate) end: usize,
    /// How it is written.
    pub(crate) script: Script,
    /// Its digits.
    pub(crate) digits: Vec<u8>,
    /// Where the name of each digit begins, where they are spelt out.
    names: Vec<Named>,
    /// The names spell a word too.
    word: bool,
}

impl Group {
    /// Where its digit number `at` stands.
    pub(crate) fn sign_of(&self, at: usize) -> (usize, usize) {
        match self.script {
            Script::Name => {
                let start = self.start + self.names.iter().take(at).map(|name| name.length).sum::<usize>();
                (start, start + self.names.get(at).map_or(0, |name| name.length))
            }
            Script::Value => (self.start, self.end),
            _ => (self.start + at, self.start + at + 1),
        }
    }

    /// The same group in a text that begins `by` signs later.
    pub(crate) fn moved(&self, by: usize) -> Group {
        Group { start: self.start.saturating_sub(by), end: self.end.saturating_sub(by), ..self.clone() }
    }

    fn is_sure(&self) -> bool {
        let count = self.names.len();
        self.script != Script::Name
            || count > SURE_NAMES
            || (count == SURE_NAMES && self.names.iter().any(|name| name.firm))
    }
}

/// A run of groups.
pub(crate) type Run = Vec<Group>;

/// How many digits a run has.
pub(crate) fn length(run: &[Group]) -> usize {
    run.iter().map(|group| group.digits.len()).sum()
}

/// The digits of a run.
pub(crate) fn digits(run: &[Group]) -> Vec<u8> {
    run.iter().flat_map(|group| group.digits.iter().copied()).collect()
}

/// The runs of a text, in order.
pub(crate) fn runs(signs: &[char]) -> Vec<Run> {
    all_runs(signs).into_iter().flat_map(believed).collect()
}

/// The same with names of digits that are rather words while they stand alone.
pub(crate) fn all_runs(signs: &[char]) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    let mut run = Run::new();
    let mut at = 0;
    while at < signs.len() {
        let rest = signs.get(at..).unwrap_or_default();
        let before = at.checked_sub(1).and_then(|before| signs.get(before)).copied();
        if let Some(mut group) = group(rest, before) {
            (group.start, group.end) = (at, at + group.end);
            at = group.end;
            if run.last().is_some_and(|last| group.start - last.end > BETWEEN) {
                all.push(std::mem::take(&mut run));
            }
            run.push(group);
            continue;
        }
        match between(rest) {
            Some(length) => at += length,
            None => {
                at += rest.iter().take_while(|sign| is_numeral(**sign)).count().max(kana_piece(rest)).max(1);
                if !run.is_empty() {
                    all.push(std::mem::take(&mut run));
                }
            }
        }
    }
    if !run.is_empty() {
        all.push(run);
    }
    all
}

/// A word of katakana is passed over as a whole: its end is not the beginning of a number.
fn kana_piece(signs: &[char]) -> usize {
    signs.iter().take(LONGEST_KANA).take_while(|sign| is_katakana(**sign)).count()
}

/// The group that `signs` begins with; its `end` is its length.
fn group(signs: &[char], before: Option<char>) -> Option<Group> {
    let first = *signs.first()?;
    if is_numeral(first) {
        return written_group(signs);
    }
    let in_katakana = is_katakana(first);
    let kind = if in_katakana { is_katakana } else { is_hiragana };
    if names(signs).next().is_none() || (first == 'ー' && before.is_some_and(is_numeral)) {
        return None;
    }
    let piece = signs.iter().take(LONGEST_KANA).take_while(|sign| kind(**sign)).count();
    let joint = |at: &usize| in_katakana && is_joint(signs.get(*at..).unwrap_or_default());
    let piece = signs.get(..(1..piece).find(joint).unwrap_or(piece))?;
    let names = all_names(piece);
    let length: usize = names.iter().map(|name| name.length).sum();
    let firm = names.iter().filter(|name| name.firm).count();
    let whole = in_katakana && length == piece.len();
    let many = if in_katakana { MANY_NAMES } else { MANY_HIRAGANA };
    let sure = names.first().is_some_and(|name| name.firm) && firm * 2 >= names.len();
    if names.is_empty() || !(whole || (names.len() >= many && sure)) {
        return None;
    }
    let digits = names.iter().map(|name| name.digit).collect();
    Some(Group { start: 0, end: length, script: Script::Name, digits, names, word: is_word(piece) })
}

fn is_word(piece: &[char]) -> bool {
    WORDS.iter().any(|word| word.chars().eq(piece.iter().copied()))
}

/// Whether a piece of kana is nothing but names of digits, the last one perhaps only begun.
pub(crate) fn spells_digits(piece: &[char]) -> bool {
    let piece = piece.get(..piece.len().min(LONGEST_KANA)).unwrap_or_default();
    let names = all_names(piece);
    let rest = piece.len() - names.iter().map(|name| name.length).sum::<usize>();
    !names.is_empty() && (rest == 0 || (rest <= 2 && names.len() >= 2))
}

/// Digit signs of one script, or a number with units. One or two kanji before another one are a name (三国), and one unit is (十三).
fn written_group(signs: &[char]) -> Option<Group> {
    let length = signs.iter().take_while(|sign| is_numeral(**sign)).count();
    let numerals = signs.get(..length)?;
    let kanji = numerals.iter().all(|sign| is_kanji(*sign));
    let in_name = signs.get(length).is_some_and(|sign| is_kanji(*sign) && !COUNTING.contains(*sign));
    if kanji && length < 3 && (in_name || numerals.iter().any(|sign| unit(*sign).is_some())) {
        return None;
    }
    if numerals.iter().any(|sign| unit(*sign).is_some())
        && let Some(number) = value::number(numerals)
    {
        let digits = number.value.unwrap_or(0).to_string();
        let digits: Vec<u8> = digits.bytes().map(|byte| byte - b'0').collect();
        return (digits.len() <= LONGEST_VALUE).then(|| Group {
            start: 0,
            end: length,
            script: Script::Value,
            digits,
            ..Group::default()
        });
    }
    let script = script(*signs.first()?);
    let own = |sign: &&char| digit(**sign).is_some() && self::script(**sign) == script;
    let digits: Vec<u8> = numerals.iter().take_while(own).filter_map(|sign| digit(*sign)).collect();
    (!digits.is_empty()).then(|| Group { end: digits.len(), script, digits, ..Group::default() })
}

/// As many names as a piece of kana can be taken apart into from its beginning; those that reach its end before all others.
fn all_names(piece: &[char]) -> Vec<Named> {
    // from each place: how far names reach, and the first of them
    let mut best: Vec<(usize, Option<Named>)> = vec![(0, None); piece.len() + 1];
    for at in (0..piece.len()).rev() {
        let rest = piece.get(at..).unwrap_or_default();
        let mut found = (at, None);
        for name in names(rest) {
            let next = at + name.length;
            let reach = best.get(next).map_or(next, |(reach, _)| (*reach).max(next));
            if reach > found.0 {
                found = (reach, Some(name));
            }
        }
        if let Some(place) = best.get_mut(at) {
            *place = found;
        }
    }
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some((_, Some(name))) = best.get(at) {
        all.push(*name);
        at += name.length;
    }
    all
}

/// Names of digits in a run of their own are only believed together: one alone is a word more often than not.
fn believed(run: Run) -> Vec<Run> {
    if run.iter().all(|group| group.script != Script::Name) {
        return vec![run];
    }
    let spelt: usize = run.iter().filter(|group| group.word).map(|group| group.digits.len()).sum();
    if spelt > 0 && length(&run) - spelt < BESIDE_WORD {
        return run
            .split(|group| group.word)
            .filter(|run| !run.is_empty())
            .flat_map(|run| believed(run.to_vec()))
            .collect();
    }
    let sure = run.iter().any(Group::is_sure);
    let named = run.iter().filter(|group| group.script == Script::Name);
    let (groups, names, firm) = named.fold((0, 0, 0), |(groups, names, firm), group| {
        (groups + 1, names + group.names.len(), firm + group.names.iter().filter(|name| name.firm).count())
    });
    if length(&run) >= SURE_NAMES && (sure || (groups >= SURE_NAMES && firm * 2 >= names)) {
        return vec![run];
    }
    run.split(|group| group.script == Script::Name).filter(|run| !run.is_empty()).map(<[Group]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let signs: Vec<char> = text.chars().collect();
        let group = |group: &Group| group.digits.iter().map(|digit| char::from(b'0' + digit)).collect::<String>();
        runs(&signs).iter().map(|run| run.iter().map(group).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn one_number_in_every_notation() {
        for text in [
            "123456789018",
            "１２３４５６７８９０１８",
            "一二三四五六七八九〇一八",
            "イチニーサンヨンゴーロクナナハチキュウゼロイチハチ",
            "イチニサンシゴロクシチハチクマルイチハチ",
            "番号はいちにさんよんごーろくななはちきゅうぜろいちはちです",
        ] {
            assert_eq!(read(text), ["123456789018"], "{text}");
        }
    }

    #[test]
    fn separators_and_fillers_stand_between_groups() {
        for text in [
            "1234-5678-9018",
            "1234、えーと、5678の9018です",
            "1234です。5678です。9018です。",
            "イチニーサンヨン、五六七八、はい、９０１８",
            "1234ハイフン5678\n9018",
            "千二百三十四の5678の9018",
            "イチニーサンヨンハイフンゴーロクナナハチハイフン9018",
        ] {
            assert_eq!(read(text), ["1234 5678 9018"], "{text}");
        }
        assert_eq!(read("1234円で5678"), ["1234", "5678"]);
        assert_eq!(read("1、2、3、4"), ["1 2 3 4"]);
        assert_eq!(read("イチ、ニ、サン、ヨン"), ["1 2 3 4"]);
    }

    #[test]
    fn words_are_no_numbers() {
        for text in [
            "イチゴとサンゴ",
            "ミクニからニシナリまで",
            "田中さんに聞く",
            "マルをつけて",
            "シチゴサン",
            "いちいち",
            "午後はゴゴ",
            "",
        ] {
            assert_eq!(read(text), [""; 0], "{text}");
        }
        assert_eq!(read("一緒に三国から十三へ"), [""; 0]);
    }

    #[test]
    fn a_word_of_digits_is_a_number_only_among_many_others() {
        assert_eq!(read("956\nヨンヨンイチ\nシチゴサン\n一一六"), ["956 441 753 116"]);
        assert_eq!(read("シチゴサン、3、5"), ["3 5"]);
        assert_eq!(read("シチゴサンは12月15日です"), ["12", "15"]);
    }

    #[test]
    fn each_digit_knows_its_place() {
        let signs: Vec<char> = "キュウゼロイチハチ".chars().collect();
        let run = &runs(&signs)[0];
        let places: Vec<_> = (0..4).map(|at| run[0].sign_of(at)).collect();
        assert_eq!(places, [(0, 3), (3, 5), (5, 7), (7, 9)]);
    }
}

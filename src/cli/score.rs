//! How well a recognised text agrees with what was said: character errors inside and outside keywords, the words themselves, what a dictionary added and spoiled.

use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;

/// What one utterance adds to the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Characters of the reference.
    pub characters: f64,
    /// Wrong, missing and extra characters.
    pub errors: f64,
    /// Characters of the reference inside keywords.
    pub inside: f64,
    /// Errors inside them; extra characters that belong to a keyword count here.
    pub inside_errors: f64,
    /// Keywords that were said.
    pub said: f64,
    /// … and were written exactly there.
    pub found: f64,
    /// Keywords that were written but not there.
    pub wrong: f64,
    /// Words of the whole dictionary that were written and do not occur in the reference at all.
    pub inserted: f64,
    /// … of these, words that are not in the text without a dictionary either.
    pub added: f64,
    /// 1 when such a word was added.
    pub hit: f64,
    /// Names that the model has never seen written (`terms` of the set) that were said.
    pub terms: f64,
    /// … and were written exactly there.
    pub terms_found: f64,
    /// Characters of the reference that are right without a dictionary.
    pub right: f64,
    /// … and wrong with it.
    pub spoiled: f64,
    /// Utterances.
    pub utterances: f64,
    /// … whose text is not the text without a dictionary.
    pub changed: f64,
}

impl Score {
    /// The sum of both.
    pub fn plus(self, other: &Score) -> Score {
        Score {
            characters: self.characters + other.characters,
            errors: self.errors + other.errors,
            inside: self.inside + other.inside,
            inside_errors: self.inside_errors + other.inside_errors,
            said: self.said + other.said,
            found: self.found + other.found,
            wrong: self.wrong + other.wrong,
            inserted: self.inserted + other.inserted,
            added: self.added + other.added,
            hit: self.hit + other.hit,
            terms: self.terms + other.terms,
            terms_found: self.terms_found + other.terms_found,
            right: self.right + other.right,
            spoiled: self.spoiled + other.spoiled,
            utterances: self.utterances + other.utterances,
            changed: self.changed + other.changed,
        }
    }

    /// Errors outside of keywords.
    pub fn outside_errors(&self) -> f64 {
        self.errors - self.inside_errors
    }

    /// Characters of the reference outside of keywords.
    pub fn outside(&self) -> f64 {
        self.characters - self.inside
    }
}

/// Words by their first character, longest first.
#[derive(Debug, Default)]
pub struct Words {
    by_first: HashMap<char, Vec<Vec<char>>>,
}

impl Words {
    /// The words to look for; each is normalised as texts are.
    pub fn of<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut by_first: HashMap<char, Vec<Vec<char>>> = HashMap::new();
        for word in words {
            let word = normalise(word);
            if let Some(&first) = word.first() {
                by_first.entry(first).or_default().push(word);
            }
        }
        for words in by_first.values_mut() {
            words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        }
        Self { by_first }
    }

    /// How many of the words are in the texts, and how many different ones.
    pub fn said<'a>(&self, texts: impl Iterator<Item = &'a str>) -> (u64, usize) {
        let mut all = 0;
        let mut different = HashSet::new();
        for text in texts {
            let text = normalise(text);
            for (from, to) in self.spans(&text) {
                all += 1;
                different.extend(text.get(from..to).map(<[char]>::to_vec));
            }
        }
        (all, different.len())
    }

    /// Where words stand in a normalised text, leftmost and longest first, not overlapping.
    fn spans(&self, text: &[char]) -> Vec<(usize, usize)> {
        let mut spans = Vec::new();
        let mut at = 0;
        while let Some(first) = text.get(at) {
            let rest = &text[at..];
            let word = self.by_first.get(first).and_then(|words| words.iter().find(|word| rest.starts_with(word)));
            let length = word.map_or(1, Vec::len);
            if word.is_some() {
                spans.push((at, at + length));
            }
            at += length;
        }
        spans
    }
}

/// The characters that are compared: NFKC, without punctuation and spaces, numbers before a counter in digits (十二番 is 12番).
pub fn normalise(text: &str) -> Vec<char> {
    let text: String = text.nfkc().collect();
    let text: Vec<char> = numerals(&text.chars().collect::<Vec<_>>());
    text.into_iter().filter(|c| c.is_alphanumeric() || matches!(c, 'ー' | '々' | '〆' | '〇')).collect()
}

/// What a number is of; a name with a number in it (三国, 十三) is followed by none of them.
const COUNTERS: &[&str] = &[
    "丁目",
    "番",
    "号",
    "月",
    "日",
    "時",
    "分",
    "円",
    "歳",
    "才",
    "年",
    "週間",
    "人",
    "回",
    "件",
    "個",
    "枚",
    "階",
    "か月",
    "ヶ月",
    "パーセント",
];

/// Kanji numbers before a counter become digits.
fn numerals(text: &[char]) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = text.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        let length = rest.iter().take_while(|c| KANJI_DIGITS.contains(**c) || "十百千万".contains(**c)).count();
        let after = rest.get(length..).unwrap_or_default();
        let counted =
            COUNTERS.iter().any(|counter| counter.chars().eq(after.iter().copied().take(counter.chars().count())));
        match rest.get(..length).filter(|_| length > 0 && counted).and_then(number) {
            Some(number) => out.extend(number.to_string().chars()),
            None => out.extend(rest.get(..length.max(1)).unwrap_or(&[c])),
        }
        at += length.max(1);
    }
    out
}

const KANJI_DIGITS: &str = "〇一二三四五六七八九";

/// The value of a kanji number below 100,000,000.
fn number(kanji: &[char]) -> Option<u64> {
    let (mut whole, mut part, mut digits) = (0_u64, 0_u64, None::<u64>);
    for &c in kanji {
        if let Some(digit) = KANJI_DIGITS.chars().position(|known| known == c) {
            digits = Some(digits.unwrap_or(0).checked_mul(10)?.checked_add(digit as u64)?);
            continue;
        }
        let unit = match c {
            '十' => 10,
            '百' => 100,
            '千' => 1_000,
            '万' => {
                whole = (part + digits.take().unwrap_or(u64::from(part == 0))).checked_mul(10_000)?;
                part = 0;
                continue;
            }
            _ => return None,
        };
        part += digits.take().unwrap_or(1).checked_mul(unit)?;
    }
    whole.checked_add(part)?.checked_add(digits.unwrap_or(0)).filter(|number| *number < 100_000_000)
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What was said.
    pub said: &'a str,
    /// What was written.
    pub heard: &'a str,
    /// What was written without a dictionary.
    pub off: &'a str,
    /// Names that the model cannot know.
    pub terms: &'a [String],
}

/// Compares. `keywords` are the words that recall and precision are of, `all` those of the whole dictionary, distractors included.
pub fn score(case: &Case<'_>, keywords: &Words, all: &Words) -> Score {
    let (said, heard, off) = (normalise(case.said), normalise(case.heard), normalise(case.off));
    let (said_spans, heard_spans) = (keywords.spans(&said), keywords.spans(&heard));
    let dictionary_spans = all.spans(&heard);
    let mut score = Score { characters: said.len() as f64, utterances: 1.0, ..Score::default() };
    let (inside, heard_inside) = (marks(&said_spans, said.len()), marks(&heard_spans, heard.len()));
    score.inside = count(inside.iter().filter(|&&mark| mark));
    let mut written = vec![None; said.len()];
    for step in align(&said, &heard) {
        let in_word = match step {
            Step::Same(i, j) => {
                written[i] = Some(j);
                continue;
            }
            Step::Changed(i) | Step::Missing(i) => inside[i],
            Step::Extra(j) => heard_inside[j],
        };
        score.errors += 1.0;
        score.inside_errors += f64::from(u8::from(in_word));
    }
    let before = if off == heard { written.clone() } else { places(&said, &off) };
    score.right = count(before.iter().flatten());
    score.spoiled = count(before.iter().zip(&written).filter(|(before, now)| before.is_some() && now.is_none()));
    let exactly = |&(from, to): &(usize, usize)| {
        let first = written.get(from).copied().flatten()?;
        (from..to).all(|i| written[i] == Some(first + i - from)).then_some((first, first + to - from))
    };
    let found: Vec<(usize, usize)> = said_spans.iter().filter_map(exactly).collect();
    score.said = said_spans.len() as f64;
    score.found = found.len() as f64;
    score.wrong = count(heard_spans.iter().filter(|span| !found.contains(span)));
    let holds = |text: &[char], word: &[char]| text.windows(word.len()).any(|window| window == word);
    let inserted = || dictionary_spans.iter().map(|span| &heard[span.0..span.1]).filter(|word| !holds(&said, word));
    score.inserted = count(inserted());
    score.added = count(inserted().filter(|word| !holds(&off, word)));
    score.hit = f64::from(u8::from(score.added > 0.0));
    score.changed = f64::from(u8::from(case.off != case.heard));
    let spans = Words::of(case.terms.iter().map(String::as_str)).spans(&said);
    score.terms = spans.len() as f64;
    score.terms_found = count(spans.iter().filter_map(exactly));
    score
}

fn count(all: impl Iterator) -> f64 {
    all.count() as f64
}

/// Where each character of `said` is written in `heard`.
fn places(said: &[char], heard: &[char]) -> Vec<Option<usize>> {
    let mut written = vec![None; said.len()];
    for step in align(said, heard) {
        if let Step::Same(i, j) = step {
            written[i] = Some(j);
        }
    }
    written
}

fn marks(spans: &[(usize, usize)], length: usize) -> Vec<bool> {
    let mut marks = vec![false; length];
    for &(from, to) in spans {
        marks[from..to].fill(true);
    }
    marks
}

/// One step of an alignment, with places in the reference (i) and the hypothesis (j).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Same(usize, usize),
    Changed(usize),
    Missing(usize),
    Extra(usize),
}

/// A cheapest alignment (Levenshtein), in order; of several, one with the fewest changed characters, which is the one with the most
/// that are the same: a word is not blamed for an error that stands elsewhere.
fn align(said: &[char], heard: &[char]) -> Vec<Step> {
    let width = heard.len() + 1;
    // what a missing or extra character costs; a changed one costs 1 more, and all of them together never add up to another error
    let one = said.len().min(heard.len()) + 1;
    let change = |i: usize, j: usize| if said[i] == heard[j] { 0 } else { one + 1 };
    let mut cost = vec![0_usize; (said.len() + 1) * width];
    for i in 0..=said.len() {
        for j in 0..=heard.len() {
            cost[i * width + j] = match (i, j) {
                (0, other) | (other, 0) => other * one,
                _ => {
                    let changed = cost[(i - 1) * width + j - 1] + change(i - 1, j - 1);
                    changed.min(cost[(i - 1) * width + j] + one).min(cost[i * width + j - 1] + one)
                }
            };
        }
    }
    let (mut i, mut j, mut steps) = (said.len(), heard.len(), Vec::new());
    while i > 0 || j > 0 {
        let here = cost[i * width + j];
        if i > 0 && j > 0 && here == cost[(i - 1) * width + j - 1] + change(i - 1, j - 1) {
            (i, j) = (i - 1, j - 1);
            steps.push(if said[i] == heard[j] { Step::Same(i, j) } else { Step::Changed(i) });
        } else if i > 0 && here == cost[(i - 1) * width + j] + one {
            i -= 1;
            steps.push(Step::Missing(i));
        } else {
            j -= 1;
            steps.push(Step::Extra(j));
        }
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(said: &str, heard: &str, off: &str, others: &[&str]) -> Score {
        let keywords = ["三国", "三国本町", "区役所"];
        let all = Words::of(keywords.iter().chain(others).copied());
        let case = Case { said, heard, off, terms: &["三国本町".to_owned()] };
        score(&case, &Words::of(keywords.into_iter()), &all)
    }

    fn scored(said: &str, heard: &str) -> Score {
        with(said, heard, heard, &[])
    }

    #[test]
    fn a_word_of_the_whole_dictionary_that_was_not_said_is_an_insertion_and_told_apart_from_the_models_own() {
        let said = "北浜に住んでいます";
        let changed = with(said, "長浜に住んでいます", "北浜に住んでいます", &["長浜", "北浜"]);
        assert_eq!((changed.inserted, changed.added, changed.hit, changed.wrong), (1.0, 1.0, 1.0, 0.0));
        assert_eq!((changed.right, changed.spoiled, changed.changed), (9.0, 1.0, 1.0));
        let own = with(said, "長浜に住んでいます", "長浜に住んでいます", &["長浜", "北浜"]);
        assert_eq!((own.inserted, own.added, own.spoiled, own.changed), (1.0, 0.0, 0.0, 0.0));
        let fine = with(said, said, "長浜に住んでいます", &["長浜", "北浜"]);
        assert_eq!((fine.inserted, fine.added, fine.spoiled, fine.changed), (0.0, 0.0, 0.0, 1.0));
    }

    #[test]
    fn numbers_before_a_counter_are_equal_however_they_are_written() {
        for (kanji, digits) in [
            ("三丁目二十五番十号", "3丁目25番10号"),
            ("千二百円", "1200円"),
            ("一万五千円です", "１５，０００円です"),
            ("令和七年", "令和7年"),
        ] {
            assert_eq!(normalise(kanji), normalise(digits));
        }
        assert_eq!(normalise("十三と三国の区役所"), "十三と三国の区役所".chars().collect::<Vec<_>>());
        assert_ne!(normalise("二十人"), normalise("12人"));
        assert_eq!(number(&"九".repeat(40).chars().collect::<Vec<_>>()), None, "no overflow");
    }

    #[test]
    fn punctuation_spaces_and_width_do_not_count() {
        let score = scored("電話番号は、06-0833です。", "電話番号は０６ ０８３３です");
        assert_eq!(score.errors, 0.0);
        assert_eq!(score.characters, 13.0);
    }

    #[test]
    fn errors_are_told_apart_by_place() {
        let score = scored("三国の区役所はどこ", "ミクニの区役所わどこ");
        assert_eq!((score.errors, score.inside_errors, score.inside), (4.0, 2.0, 5.0));
        assert_eq!((score.said, score.found, score.wrong), (2.0, 1.0, 0.0));
    }

    #[test]
    fn the_longest_word_counts_and_a_word_elsewhere_is_wrong() {
        let score = scored("三国本町です", "三国です区役所");
        assert_eq!((score.said, score.found), (1.0, 0.0));
        assert_eq!((score.wrong, score.inserted), (2.0, 1.0));
        assert_eq!((score.terms, score.terms_found), (1.0, 0.0));
        assert_eq!(score.inside_errors, 2.0 + 3.0);
    }

    #[test]
    fn nothing_heard_is_all_missing() {
        assert_eq!(scored("三国", "").errors, 2.0);
        assert_eq!(scored("", "三国").errors, 2.0);
        assert_eq!(scored("", ""), Score { utterances: 1.0, ..Score::default() });
    }
}

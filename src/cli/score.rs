//! How well a recognised text agrees with what was said: character errors inside and outside the dictionary's words, and the words themselves.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

/// What one utterance adds to the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Characters of the reference.
    pub characters: f64,
    /// Wrong, missing and extra characters.
    pub errors: f64,
    /// Characters of the reference inside words of the dictionary.
    pub inside: f64,
    /// Errors inside them; extra characters that belong to a word of the dictionary count here.
    pub inside_errors: f64,
    /// Words of the dictionary that were said.
    pub said: f64,
    /// … and were written exactly there.
    pub found: f64,
    /// Words of the dictionary that were written but not there.
    pub wrong: f64,
    /// … of these, words that do not occur in the reference at all.
    pub inserted: f64,
    /// Names that the model has never seen written (`terms` of the set) that were said.
    pub terms: f64,
    /// … and were written exactly there.
    pub terms_found: f64,
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
            terms: self.terms + other.terms,
            terms_found: self.terms_found + other.terms_found,
        }
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

/// The characters that are compared: NFKC, without punctuation and spaces.
pub fn normalise(text: &str) -> Vec<char> {
    text.nfkc().filter(|c| c.is_alphanumeric() || matches!(c, 'ー' | '々' | '〆' | '〇')).collect()
}

/// Compares `heard` with `said`. `words` are the dictionary's, `terms` those that the set says the model cannot know.
pub fn score(said: &str, heard: &str, words: &Words, terms: &[String]) -> Score {
    let (said, heard) = (normalise(said), normalise(heard));
    let (said_spans, heard_spans) = (words.spans(&said), words.spans(&heard));
    let steps = align(&said, &heard);
    let mut score = Score { characters: said.len() as f64, ..Score::default() };
    let (inside, heard_inside) = (marks(&said_spans, said.len()), marks(&heard_spans, heard.len()));
    score.inside = inside.iter().filter(|&&mark| mark).count() as f64;
    // where each character of the reference was written correctly
    let mut written: Vec<Option<usize>> = vec![None; said.len()];
    for step in steps {
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
    let exactly = |&(from, to): &(usize, usize)| {
        let first = written.get(from).copied().flatten()?;
        (from..to).all(|i| written[i] == Some(first + i - from)).then_some((first, first + to - from))
    };
    let found: Vec<(usize, usize)> = said_spans.iter().filter_map(exactly).collect();
    score.said = said_spans.len() as f64;
    score.found = found.len() as f64;
    for span in heard_spans.iter().filter(|span| !found.contains(span)) {
        let word = &heard[span.0..span.1];
        score.wrong += 1.0;
        score.inserted += f64::from(u8::from(!said.windows(word.len()).any(|window| window == word)));
    }
    let spans = Words::of(terms.iter().map(String::as_str)).spans(&said);
    score.terms = spans.len() as f64;
    score.terms_found = spans.iter().filter_map(exactly).count() as f64;
    score
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

/// A share with its 95 % interval; all in per cent.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Share {
    /// The share of the whole set.
    pub value: f64,
    /// 2.5 % of the resampled sets are below.
    pub low: f64,
    /// 2.5 % are above.
    pub high: f64,
}

/// A statistic of the sums with its bootstrap interval: `resamples` sets of as many utterances, drawn with a fixed seed.
pub fn bootstrap(
    scores: &[(Score, Score)],
    resamples: usize,
    statistic: impl Fn(&Score, &Score) -> Option<f64>,
) -> Option<Share> {
    let of = |indices: &mut dyn Iterator<Item = usize>| {
        let (a, b) = indices
            .filter_map(|index| scores.get(index))
            .fold((Score::default(), Score::default()), |(a, b), (x, y)| (a.plus(x), b.plus(y)));
        statistic(&a, &b).map(|share| 100.0 * share)
    };
    let value = of(&mut (0..scores.len()))?;
    let mut random = Random(0x6b61_6b65_6861_7368);
    let mut drawn: Vec<f64> =
        (0..resamples).filter_map(|_| of(&mut (0..scores.len()).map(|_| random.below(scores.len())))).collect();
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| {
        drawn.get(((drawn.len() as f64 - 1.0).max(0.0) * share).round() as usize).copied().unwrap_or(value)
    };
    Some(Share { value, low: at(0.025), high: at(0.975) })
}

/// SplitMix64: the same sets on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(said: &str, heard: &str) -> Score {
        score(said, heard, &Words::of(["三国", "三国本町", "区役所"].into_iter()), &["三国本町".to_owned()])
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
        assert_eq!(scored("", ""), Score::default());
    }

    #[test]
    fn intervals_hold_the_value_and_are_reproducible() {
        let scores: Vec<_> = (0..50)
            .map(|i| (Score { characters: 10.0, errors: f64::from(i % 3), ..Score::default() }, Score::default()))
            .collect();
        let cer = |a: &Score, _: &Score| Some(a.errors / a.characters);
        let share = bootstrap(&scores, 500, cer).unwrap();
        assert!(share.low < share.value && share.value < share.high, "{share:?}");
        assert_eq!(bootstrap(&scores, 500, cer), Some(share));
        assert_eq!(bootstrap(&[], 10, |a, _| (a.said > 0.0).then_some(1.0)), None);
    }
}

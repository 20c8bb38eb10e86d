//! What of the text of a running utterance is settled: LocalAgreement-2 on characters (Macháček et al. 2023, arXiv 2307.14743).
//!
//! In: readings of the utterance from its beginning, each of more sound than the one before. Out: a stable text that only ever grows, and a tail
//! that may change. A character becomes stable when two readings in a row have it at the same place, the second of at least [`HELD`] more sound,
//! and it does not lie in the last [`HELD`] of that sound. Punctuation and spaces do not count in the comparison.

use std::time::Duration;

/// Sound at the end of a reading whose text is not settled by it: a word that is cut in its middle is read as another one.
pub const HELD: Duration = Duration::from_millis(300);
/// Signs of a reading that are looked at; 28 s of the fastest speech have fewer.
const MOST_SIGNS: usize = 1_000;

/// The text of one running utterance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agreement {
    stable: String,
    /// The signs of `stable`.
    settled: Vec<char>,
    tail: String,
    /// The reading that the next one is compared with.
    before: Option<Reading>,
}

/// A reading after the settled text.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    signs: Vec<char>,
    heard: Duration,
}

/// A character that counts, and where it ends in its text, in bytes.
#[derive(Clone, Copy, Debug)]
struct Sign {
    sign: char,
    end: usize,
}

impl Agreement {
    /// The settled text; what is in it stays.
    pub fn stable(&self) -> &str {
        &self.stable
    }

    /// What the last reading has after it.
    pub fn tail(&self) -> &str {
        &self.tail
    }

    /// Takes the next reading, of the first `heard` of the utterance.
    pub fn read(&mut self, text: &str, heard: Duration) {
        let signs = signs(text);
        let Some(from) = self.place(&signs) else {
            // it says something else altogether: nothing of it is shown, and the next one is compared with nothing
            (self.tail, self.before) = (String::new(), None);
            return;
        };
        let rest = signs.get(from..).unwrap_or_default();
        let grown = self.agreed(rest, signs.len(), heard);
        let end = |count: usize| count.checked_sub(1).and_then(|last| signs.get(last)).map_or(0, |sign| sign.end);
        let (known, settled) = (end(from), end(from + grown));
        self.stable.push_str(text.get(known..settled).unwrap_or_default());
        self.settled.extend(rest.iter().take(grown).map(|sign| sign.sign));
        text.get(settled..).unwrap_or_default().clone_into(&mut self.tail);
        if self.is_later(heard) {
            self.before = Some(Reading { signs: rest.iter().skip(grown).map(|sign| sign.sign).collect(), heard });
        }
    }

    /// Whether enough was heard since the reading before; the same sound read twice says nothing new.
    fn is_later(&self, heard: Duration) -> bool {
        self.before.as_ref().is_none_or(|before| before.heard + HELD <= heard)
    }

    /// How many signs of `rest`, the end of a reading of `all` signs, are settled by it.
    fn agreed(&self, rest: &[Sign], all: usize, heard: Duration) -> usize {
        let Some(before) = self.before.as_ref().filter(|_| self.is_later(heard)) else { return 0 };
        let same = before.signs.iter().zip(rest).take_while(|(before, now)| **before == now.sign).count();
        // as if the signs were spread evenly over the sound
        let held = (all as u128 * HELD.as_micros()).div_ceil(heard.as_micros().max(1));
        same.min(rest.len().saturating_sub(usize::try_from(held).unwrap_or(usize::MAX)))
    }

    /// How many signs of a reading stand for the settled text; `None` when less than half of that is in it.
    ///
    /// Where the reading does not begin with the settled text, it is the beginning that differs least from it (Levenshtein).
    fn place(&self, signs: &[Sign]) -> Option<usize> {
        let settled = &self.settled;
        if signs.len() >= settled.len() && settled.iter().zip(signs).all(|(settled, sign)| *settled == sign.sign) {
            return Some(settled.len());
        }
        let mut row: Vec<usize> = (0..=signs.len()).collect();
        for (above, settled) in settled.iter().enumerate() {
            let mut diagonal = above;
            let mut left = above + 1;
            for (cell, sign) in row.iter_mut().skip(1).zip(signs) {
                let cost = (diagonal + usize::from(*settled != sign.sign)).min(*cell + 1).min(left + 1);
                (diagonal, left) = (*cell, cost);
                *cell = cost;
            }
            if let Some(first) = row.first_mut() {
                *first = above + 1;
            }
        }
        let nearest = |at: &usize| (row.get(*at).copied(), at.abs_diff(settled.len()));
        let at = (0..row.len()).min_by_key(nearest)?;
        row.get(at).filter(|distance| **distance * 2 <= settled.len()).map(|_| at)
    }
}

/// The characters of a text that count, in one form: full-width letters and digits as ASCII, letters small.
fn signs(text: &str) -> Vec<Sign> {
    let counted = text.char_indices().filter(|(_, sign)| !is_ignored(*sign));
    let sign = |(at, sign): (usize, char)| Sign { sign: plain(sign), end: at + sign.len_utf8() };
    counted.map(sign).take(MOST_SIGNS).collect()
}

fn plain(sign: char) -> char {
    let sign = match sign {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(sign as u32 - 0xfee0).unwrap_or(sign),
        other => other,
    };
    sign.to_ascii_lowercase()
}

/// Spaces and punctuation: readings put them now here, now there.
fn is_ignored(sign: char) -> bool {
    sign.is_whitespace()
        || matches!(sign, '!' | '"' | '\'' | '(' | ')' | ',' | '.' | ':' | ';' | '?' | '[' | ']' | '-')
        || matches!(
            sign,
            '、' | '。' | '，' | '．' | '・' | '：' | '；' | '！' | '？' | '…' | '‥' | '―' | '—' | '–' | '‐'
        )
        || matches!(
            sign,
            '「' | '」' | '『' | '』' | '（' | '）' | '［' | '］' | '【' | '】' | '〈' | '〉' | '《' | '》'
        )
        || matches!(sign, '〜' | '～' | '｡' | '｢' | '｣' | '､' | '･' | '\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(agreement: &mut Agreement, text: &str, heard_ms: u64) -> (String, String) {
        agreement.read(text, Duration::from_millis(heard_ms));
        (agreement.stable().to_owned(), agreement.tail().to_owned())
    }

    fn told(stable: &str, tail: &str) -> (String, String) {
        (stable.to_owned(), tail.to_owned())
    }

    #[test]
    fn what_two_readings_in_a_row_have_is_settled_but_not_the_last_300_ms() {
        let mut one = Agreement::default();
        assert_eq!(read(&mut one, "お電話", 600), told("", "お電話"), "one reading settles nothing");
        assert_eq!(read(&mut one, "お電話ありがとう", 1_200), told("お電話", "ありがとう"));
        // 10 signs in 1.5 s: the last two lie in the last 300 ms
        assert_eq!(read(&mut one, "お電話ありがとうござ", 1_500), told("お電話ありがとう", "ござ"));
        let mut cut = Agreement::default();
        read(&mut cut, "区民センター", 600);
        assert_eq!(read(&mut cut, "区民センター", 900), told("区民セン", "ター"), "a third of the sound is too new");
    }

    #[test]
    fn punctuation_and_width_do_not_count_and_what_was_shown_stays_as_it_was() {
        let mut one = Agreement::default();
        read(&mut one, "はい、１２番です", 1_000);
        assert_eq!(read(&mut one, "はい 12番です。ええと", 2_000), told("はい 12番です", "。ええと"));
        assert_eq!(read(&mut one, "はい、12番です、ええと、少し", 3_000), told("はい 12番です、ええと", "、少し"));
        let mut masked = Agreement::default();
        read(&mut masked, "番号は****です", 1_000);
        assert_eq!(read(&mut masked, "番号は********です", 3_000).0, "番号は****", "masked digits count");
    }

    #[test]
    fn a_reading_that_contradicts_settled_text_only_changes_the_tail() {
        let mut one = Agreement::default();
        read(&mut one, "転入届の件です", 2_000);
        assert_eq!(read(&mut one, "転入届の件でお願い", 3_000).0, "転入届の件で");
        assert_eq!(read(&mut one, "転居届の件でお願いし", 4_000), told("転入届の件でお願い", "し"));
        assert_eq!(read(&mut one, "転居届の件でお願いします", 5_000), told("転入届の件でお願いし", "ます"));
        assert_eq!(read(&mut one, "全然違う", 6_000), told("転入届の件でお願いし", ""), "nothing is taken back");
        assert_eq!(read(&mut one, "", 7_000), told("転入届の件でお願いし", ""));
        assert_eq!(read(&mut one, "転居届の件でお願いしますね", 8_000).1, "ますね");
    }

    #[test]
    fn two_readings_of_the_same_sound_are_one() {
        let mut one = Agreement::default();
        read(&mut one, "窓口です", 1_000);
        assert_eq!(read(&mut one, "窓口です", 1_100).0, "", "nothing new was heard");
        assert_eq!(read(&mut one, "窓口ですが", 1_400).0, "窓口で", "compared with the first");
    }

    struct Seed(u64);

    impl Seed {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % limit.max(1)
        }

        fn sign(&mut self) -> char {
            let signs: Vec<char> = "あいうえお区民税入転12３*ー、。 「」😀Aａ".chars().collect();
            signs[self.below(signs.len())]
        }
    }

    /// The signs that count, as the test sees them.
    fn bare(text: &str) -> String {
        signs(text).iter().map(|sign| sign.sign).collect()
    }

    #[test]
    fn whatever_is_read_the_stable_text_never_shrinks_and_holds_only_what_two_readings_had() {
        let (mut grown, mut contradicted) = (0, 0);
        for seed in 0..20_000 {
            let mut seed = Seed(seed);
            let truth: Vec<char> = (0..40).map(|_| seed.sign()).collect();
            let (mut one, mut heard) = (Agreement::default(), 600);
            for step in 1..12 {
                let mut text: Vec<char> = truth.iter().take(step * 4).copied().collect();
                for _ in 0..seed.below(4) {
                    let (at, sign) = (seed.below(text.len()), seed.sign());
                    match seed.below(4) {
                        0 => drop(text.splice(at..at, [sign])),
                        1 if !text.is_empty() => drop(text.remove(at)),
                        2 if !text.is_empty() => text[at] = sign,
                        _ => text.truncate(at.max(text.len().saturating_sub(6))),
                    }
                }
                let text: String = text.into_iter().collect();
                let (stable, compared) = (one.stable().to_owned(), one.before.clone());
                one.read(&text, Duration::from_millis(heard));
                assert!(one.stable().starts_with(&stable), "{stable:?} became {:?}", one.stable());
                let begins = bare(&text).starts_with(&bare(&stable));
                contradicted += usize::from(!begins);
                let more: Vec<char> = bare(&one.stable()[stable.len()..]).chars().collect();
                if !more.is_empty() {
                    grown += 1;
                    assert!(compared.unwrap().signs.starts_with(&more), "{more:?} was not read before");
                    assert!(bare(&text).contains(&more.iter().collect::<String>()), "{more:?} was not read now");
                }
                if begins {
                    let shown = bare(one.stable()) + &bare(one.tail());
                    assert_eq!(shown, bare(&text), "what is shown is the reading");
                }
                heard += 100 + 100 * seed.below(8) as u64;
            }
        }
        assert!(grown > 20_000 && contradicted > 5_000, "{grown} grew, {contradicted} were contradicted");
    }

    #[test]
    fn readings_that_only_grow_are_settled_to_the_end_of_what_may_be() {
        let truth: Vec<char> = "お電話ありがとうございます区民税課の山田でございます".chars().collect();
        let mut one = Agreement::default();
        for n in 1..=truth.len() {
            let text: String = truth.iter().take(n).collect();
            one.read(&text, Duration::from_millis(n as u64 * 150));
        }
        let stable: Vec<char> = one.stable().chars().collect();
        assert_eq!(stable, truth[..stable.len()]);
        assert!(stable.len() + 4 >= truth.len(), "{} of {}", stable.len(), truth.len());
    }
}

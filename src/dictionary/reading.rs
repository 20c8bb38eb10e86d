//! How text sounds: kana to morae, and text with kanji to its likeliest readings.
//!
//! A mora is one beat of Japanese. Spellings that sound alike become the same morae: hiragana and katakana, half-width kana, じ and ぢ,
//! ず and づ, long vowels however written (おう, おお, オー). Kanji are read by a small lexicon made from IPADIC (`models/readings/`).

use unicode_normalization::UnicodeNormalization;

use super::lexicon;

/// One beat: a kana and the small kana that belongs to it. Equal morae sound alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mora(u16);

/// A mora of a text and the characters that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// The mora; [`Mora::UNKNOWN`] for characters without a reading.
    pub mora: Mora,
    /// First character of the word or kana it comes from.
    pub from: usize,
    /// One past its last character.
    pub to: usize,
    /// A word or kana begins with this mora.
    pub first: bool,
    /// A word or kana ends with this mora.
    pub last: bool,
}

/// One reading of a whole text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Its morae in order.
    pub sounds: Vec<Sound>,
    /// Cost; lower is likelier.
    pub cost: u32,
}

impl Mora {
    /// What is not kana and has no reading; equal to no mora of an entry.
    pub const UNKNOWN: Mora = Mora(0);
    /// A vowel held on.
    pub const LONG: Mora = Mora(LONG as u16);
    /// The stop of っ.
    pub const STOP: Mora = Mora((('ッ' as u32 - BASE) << 8) as u16);
    /// ン.
    pub const NASAL: Mora = Mora((('ン' as u32 - BASE) << 8) as u16);

    fn new(kana: char) -> Self {
        Mora((((kana as u32) - BASE) << 8) as u16)
    }

    fn with_small(self, small: char) -> Self {
        Mora(self.0 | (small as u32 - BASE) as u16)
    }

    /// Its kana and the small kana that belongs to it; U+30A0 for none.
    pub(super) fn kana(self) -> (char, char) {
        let of = |code: u16| char::from_u32(BASE + u32::from(code)).unwrap_or_default();
        (of(self.0 >> 8), of(self.0 & 0xff))
    }

    /// The vowel it ends in as one of ア イ ウ エ オ, or `None` (ン, ッ, long, unknown).
    pub fn vowel(self) -> Option<char> {
        let small = self.0 & 0xff;
        let kana = char::from_u32(BASE + u32::from(if small != 0 { small } else { self.0 >> 8 }))?;
        if self == Self::LONG || self == Self::UNKNOWN {
            return None;
        }
        let rows = [
            ('ア', "アァカガサザタダナハバパマヤャラワヮ"),
            ('イ', "イィキギシジチヂニヒビピミリ"),
            ('ウ', "ウゥクグスズツヅヌフブプムユュルヴ"),
            ('エ', "エェケゲセゼテデネヘベペメレ"),
            ('オ', "オォコゴソゾトドノホボポモヨョロ"),
        ];
        rows.iter().find(|(_, row)| row.contains(kana)).map(|(vowel, _)| *vowel)
    }
}

const BASE: u32 = 0x30a0;
const LONG: u32 = ('ー' as u32 - BASE) << 8;

/// Kana as full-width katakana (NFKC); `None` when anything else is in it. Spaces and middle dots are dropped.
pub fn to_katakana(text: &str) -> Option<String> {
    text.nfkc().filter(|c| !c.is_whitespace() && !matches!(c, '・' | '･')).map(katakana).collect()
}

/// The katakana of a kana; `None` for anything else.
fn katakana(c: char) -> Option<char> {
    match c {
        'ぁ'..='ゖ' => char::from_u32(c as u32 + 0x60),
        'ァ'..='ヶ' | 'ー' => Some(c),
        _ => None,
    }
}

/// Whether `c` is full-width katakana (the long mark included).
pub fn is_katakana(c: char) -> bool {
    matches!(c, 'ァ'..='ヶ' | 'ー')
}

/// Whether `c` is a kanji.
pub fn is_kanji(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '々' | '〆' | '〇' | '\u{f900}'..='\u{faff}')
}

/// The morae of a kana text; characters that are no kana are left out.
pub fn morae(kana: &str) -> Vec<Mora> {
    let mut builder = Builder::default();
    for (index, c) in kana.nfkc().enumerate() {
        if katakana(c).is_some() {
            builder.kana(c, index);
        }
    }
    builder.sounds.into_iter().map(|sound| sound.mora).collect()
}

/// Collects sounds, joining small kana and long vowels to what is before them.
#[derive(Default)]
struct Builder {
    sounds: Vec<Sound>,
}

impl Builder {
    /// Adds the kana that is character `at`.
    fn kana(&mut self, c: char, at: usize) {
        let Some(c) = katakana(c) else {
            return self.sounds.push(Sound { mora: Mora::UNKNOWN, from: at, to: at + 1, first: true, last: true });
        };
        let c = match c {
            'ヂ' => 'ジ',
            'ヅ' => 'ズ',
            'ヲ' => 'オ',
            'ヰ' => 'イ',
            'ヱ' => 'エ',
            'ヵ' => 'カ',
            'ヶ' => 'ケ',
            other => other,
        };
        let before = self.sounds.last_mut().filter(|sound| sound.to == at && sound.mora != Mora::UNKNOWN);
        if matches!(c, 'ァ' | 'ィ' | 'ゥ' | 'ェ' | 'ォ' | 'ャ' | 'ュ' | 'ョ' | 'ヮ')
            && let Some(before) = before.filter(|sound| sound.mora.0 & 0xff == 0 && sound.mora != Mora::LONG)
        {
            before.mora = before.mora.with_small(c);
            before.to = at + 1;
            return;
        }
        let long = self.sounds.last().filter(|sound| sound.to == at).is_some_and(|sound| {
            let vowel = match sound.mora {
                Mora::LONG => self.sounds.iter().rev().find_map(|sound| sound.mora.vowel()),
                mora => mora.vowel(),
            };
            c == 'ー'
                || matches!(
                    (vowel, c),
                    (Some('ア'), 'ア')
                        | (Some('イ'), 'イ')
                        | (Some('ウ' | 'オ'), 'ウ')
                        | (Some('エ'), 'エ' | 'イ')
                        | (Some('オ'), 'オ')
                )
        });
        let mora = if long { Mora::LONG } else { Mora::new(c) };
        self.sounds.push(Sound { mora, from: at, to: at + 1, first: true, last: true });
    }

    /// Adds a word of characters `from..to` that is read `reading`.
    fn word(&mut self, reading: &[Mora], from: usize, to: usize) {
        let last = reading.len().saturating_sub(1);
        self.sounds.extend(reading.iter().enumerate().map(|(index, &mora)| Sound {
            mora,
            from,
            to,
            first: index == 0,
            last: index == last,
        }));
    }

    /// Adds a word in katakana, characters `from..`: it sounds as it is spelt, after what is before it.
    fn spelt(&mut self, word: &[char], from: usize) {
        let begin = self.sounds.len();
        word.iter().enumerate().for_each(|(index, &c)| self.kana(c, from + index));
        let own = self.sounds.get_mut(begin..).unwrap_or_default();
        let last = own.len().saturating_sub(1);
        own.iter_mut().enumerate().for_each(|(index, sound)| (sound.first, sound.last) = (index == 0, index == last));
    }
}

/// Readings kept at each place of the lattice.
const KEPT: usize = 4;
/// Cost of a kana by itself, of an unknown character, and of each further word, in IPADIC's units / 64.
const KANA: u32 = 70;
const UNKNOWN: u32 = 250;
const WORD: u32 = 15;

/// One way to reach a place of the lattice.
#[derive(Clone)]
struct Step {
    cost: u32,
    from: usize,
    back: usize,
    reading: Option<Vec<Mora>>,
}

/// Up to `most` (at most 4) readings of `text`, likeliest first. Linear in the length of the text.
pub fn readings(text: &[char], most: usize) -> Vec<Reading> {
    let mut lattice: Vec<Vec<Step>> = vec![Vec::new(); text.len() + 1];
    if let Some(start) = lattice.first_mut() {
        start.push(Step { cost: 0, from: 0, back: 0, reading: None });
    }
    for at in 0..text.len() {
        let mut here = std::mem::take(&mut lattice[at]);
        here.sort_by_key(|step| step.cost);
        here.truncate(KEPT);
        for (back, step) in here.iter().enumerate() {
            let single = if katakana(text[at]).is_some() { KANA } else { UNKNOWN };
            lattice[at + 1].push(Step { cost: step.cost + single, from: at, back, reading: None });
        }
        for word in lexicon::words_at(&text[at..]) {
            let to = at + word.chars;
            for (back, step) in here.iter().enumerate() {
                lattice[to].push(Step {
                    cost: step.cost + u32::from(word.cost) + WORD,
                    from: at,
                    back,
                    reading: Some(word.morae.clone()),
                });
            }
        }
        lattice[at] = here;
    }
    let mut ends = lattice.last().cloned().unwrap_or_default();
    ends.sort_by_key(|step| step.cost);
    let mut found: Vec<Reading> = Vec::new();
    for end in ends.iter().take(KEPT) {
        let sounds = sounds_of(text, &lattice, end);
        if found.len() < most && !found.iter().any(|known| known.sounds == sounds) {
            found.push(Reading { sounds, cost: end.cost });
        }
    }
    found
}

/// Follows the lattice back from `end` and reads it forward.
fn sounds_of(text: &[char], lattice: &[Vec<Step>], end: &Step) -> Vec<Sound> {
    let mut path = Vec::new();
    let (mut step, mut to) = (end, text.len());
    while to > 0 {
        path.push((step, to));
        to = step.from;
        match lattice.get(to).and_then(|place| place.get(step.back)) {
            Some(before) => step = before,
            None => break,
        }
    }
    let mut builder = Builder::default();
    for (step, to) in path.into_iter().rev() {
        let word = text.get(step.from..to).unwrap_or_default();
        match &step.reading {
            Some(_) if word.iter().all(|&c| is_katakana(c)) => builder.spelt(word, step.from),
            Some(reading) => builder.word(reading, step.from, to),
            None => builder.kana(text.get(step.from).copied().unwrap_or_default(), step.from),
        }
    }
    builder.sounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        morae(a) == morae(b)
    }

    fn heard(text: &str, reading: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        readings(&chars, 4).iter().any(|r| r.sounds.iter().map(|s| s.mora).collect::<Vec<_>>() == morae(reading))
    }

    #[test]
    fn spellings_of_one_sound_are_equal() {
        assert!(same("おおさか", "オーサカ"));
        assert!(same("じゅうそう", "ジューソー"));
        assert!(same("ｶﾞｯｺｳ", "がっこー"));
        assert!(same("ちぢみづ", "チジミズ"));
        assert!(same("けいえい", "ケーエー"));
        assert!(!same("かど", "かとう"));
        assert_eq!(morae("キャッシュ").len(), 3);
        assert_eq!(morae("トヨナカ").len(), 4);
    }

    #[test]
    fn katakana_sound_as_they_are_spelt_also_where_a_word_seems_to_be_in_them() {
        let chars: Vec<char> = "ドウジマ".chars().collect();
        let best = readings(&chars, 1).remove(0);
        assert_eq!(best.sounds.iter().map(|s| s.mora).collect::<Vec<_>>(), morae("ドウジマ"), "ウジ (氏) is a word");
    }

    #[test]
    fn kanji_have_several_readings() {
        assert!(heard("瑞光行き", "ズイコウユキ") || heard("瑞光行き", "ズイコウイキ"));
        assert!(heard("三国", "ミクニ") && heard("三国", "サンゴク"));
        assert!(heard("区役所はどこ", "クヤクショハドコ"));
    }

    #[test]
    fn sounds_know_their_characters() {
        let chars: Vec<char> = "あ区役所ジュ".chars().collect();
        let best = readings(&chars, 1).remove(0);
        let word: Vec<_> = best.sounds.iter().filter(|s| (s.from, s.to) == (1, 4)).collect();
        assert!(word.first().unwrap().first && word.last().unwrap().last);
        let last = best.sounds.last().unwrap();
        assert_eq!((last.from, last.to), (4, 6));
    }

    #[test]
    fn any_text_can_be_read() {
        for text in ["", "abc 123", "ーーー", "ゃゅょ", "\u{0}\u{10ffff}々"] {
            let chars: Vec<char> = text.chars().collect();
            assert!(!readings(&chars, 4).is_empty(), "{text:?}");
        }
    }
}

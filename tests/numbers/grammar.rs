//! What is said: numbers in every notation a recogniser may write, in one turn or in pieces, read back or not, among ordinary sentences.

use super::mutate::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Caller,
    Agent,
}

/// What one person says in one utterance.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) who: Who,
    pub(crate) text: String,
    /// It has a part of a number that must not be stored.
    pub(crate) secret: bool,
    /// That part as it is spoken.
    pub(crate) piece: String,
}

/// A number and how it is told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) digits: Vec<u8>,
    pub(crate) lines: Vec<Line>,
}

const NAMES: [[&str; 3]; 10] = [
    ["ゼロ", "マル", "レイ"],
    ["イチ", "イチ", "イチ"],
    ["ニー", "ニ", "ニイ"],
    ["サン", "サン", "サン"],
    ["ヨン", "シ", "ヨン"],
    ["ゴー", "ゴ", "ゴー"],
    ["ロク", "ロク", "ロク"],
    ["ナナ", "シチ", "ナナ"],
    ["ハチ", "ハチ", "ハチ"],
    ["キュウ", "ク", "キュー"],
];

/// One way to write digits.
fn notation(digits: &[u8], which: usize) -> String {
    let sign = |table: &str, digit: &u8| table.chars().nth(usize::from(*digit)).unwrap();
    match which {
        0 => digits.iter().map(|digit| char::from(b'0' + digit)).collect(),
        1 => digits.iter().map(|digit| sign("０１２３４５６７８９", digit)).collect(),
        2 => digits.iter().map(|digit| sign("〇一二三四五六七八九", digit)).collect(),
        _ => digits.iter().map(|digit| NAMES[usize::from(*digit)][which - 3]).collect(),
    }
}

/// A whole number as it could stand somewhere: each notation without separators, digits with the usual ones.
pub(crate) fn notations(digits: &[u8]) -> Vec<String> {
    let mut all: Vec<String> = (0..6).map(|which| notation(digits, which)).collect();
    for separator in ["-", " ", "の", "、"] {
        for which in 0..3 {
            let groups: Vec<String> = digits.chunks(4).map(|group| notation(group, which)).collect();
            all.push(groups.join(separator));
        }
    }
    all
}

/// Whether a digit stands in a text, in whatever notation.
pub(crate) fn has_digits(text: &str) -> bool {
    let names = NAMES.iter().flatten().filter(|name| name.chars().count() > 1);
    text.chars().any(|sign| sign.is_ascii_digit() || "０１２３４５６７８９〇一二三四五六七八九".contains(sign))
        || names.into_iter().any(|name| text.contains(name))
}

pub(crate) struct Grammar(pub(crate) Dice);

impl Grammar {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.0.below(of.len())]
    }

    fn digits(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.0.below(10)).unwrap()).collect()
    }

    /// 平成26年総務省令第85号 第5条.
    fn my_number(&mut self) -> Vec<u8> {
        let mut digits = self.digits(11);
        let weights = [6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2];
        let sum: u32 = digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum();
        digits.push(u8::try_from(if sum % 11 <= 1 { 0 } else { 11 - sum % 11 }).unwrap());
        digits
    }

    /// ISO/IEC 7812-1, with the beginning of a brand that is issued.
    fn card(&mut self) -> Vec<u8> {
        let (beginning, length) =
            [("4", 16), ("51", 16), ("35", 16), ("37", 15), ("36", 14), ("62", 19), ("4", 13)][self.0.below(7)];
        let mut digits: Vec<u8> = beginning.bytes().map(|byte| byte - b'0').collect();
        digits.extend(self.digits(length - 1 - beginning.len()));
        let twice = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
        let sum: u32 = digits
            .iter()
            .rev()
            .enumerate()
            .map(|(n, digit)| u32::from(if n % 2 == 0 { twice(*digit) } else { *digit }))
            .sum();
        digits.push(u8::try_from((10 - sum % 10) % 10).unwrap());
        digits
    }

    /// The groups in which a number is said.
    fn groups(&mut self, digits: &[u8]) -> Vec<Vec<u8>> {
        let size = match self.0.below(5) {
            0 => digits.len(),
            1 | 2 => 4,
            3 => 3,
            _ => 5,
        };
        digits.chunks(size).map(<[u8]>::to_vec).collect()
    }

    fn written(&mut self, group: &[u8]) -> String {
        let which = self.0.below(6);
        // two names alone are a word more often than not
        notation(group, if group.len() < 3 { which % 3 } else { which })
    }

    /// A My Number or a card, and how it is told.
    pub(crate) fn number(&mut self) -> Told {
        let my_number = self.0.below(2) == 0;
        let digits = if my_number { self.my_number() } else { self.card() };
        let groups = self.groups(&digits);
        let mut lines = Vec::new();
        if self.0.below(2) == 0 {
            let asks = if my_number {
                "マイナンバーをお願いします"
            } else {
                "カード番号をお願いします"
            };
            lines.push(plain(Who::Agent, asks));
        }
        let spoken: Vec<String> = match self.0.below(3) {
            0 => {
                let which = self.0.below(6);
                groups.iter().map(|group| notation(group, if group.len() < 3 { which % 3 } else { which })).collect()
            }
            _ => groups.iter().map(|group| self.written(group)).collect(),
        };
        if groups.len() > 1 && self.0.below(2) == 0 {
            self.in_pieces(&spoken, &mut lines);
        } else {
            self.in_one(&spoken, &mut lines);
        }
        if self.0.below(3) == 0 {
            let which = self.0.below(6);
            let piece: Vec<String> =
                digits.chunks(4).map(|group| notation(group, if group.len() < 3 { 0 } else { which })).collect();
            let piece = piece.join("、");
            lines.push(secret(Who::Agent, format!("{piece}ですね"), piece));
        }
        Told { digits, lines }
    }

    fn in_one(&mut self, spoken: &[String], lines: &mut Vec<Line>) {
        let separators = ["-", "の", "、", " ", "、えーと、", "ハイフン", "、はい、", "で"];
        let separator = self.one(&separators);
        let piece = spoken.join(separator);
        let (before, after) =
            (self.one(&["", "えーと、", "番号は", "はい、"]), self.one(&["です", "", "でお願いします", "です。"]));
        lines.push(secret(Who::Caller, format!("{before}{piece}{after}"), piece));
    }

    fn in_pieces(&mut self, spoken: &[String], lines: &mut Vec<Line>) {
        let style = self.0.below(4);
        for (n, piece) in spoken.iter().enumerate() {
            let last = n + 1 == spoken.len();
            let before = if n == 0 {
                self.one(&["", "えーと、", "番号は"])
            } else {
                self.one(&["", "えーと、", "はい、"])
            };
            let after = if last { self.one(&["です", "です。", ""]) } else { "" };
            lines.push(secret(Who::Caller, format!("{before}{piece}{after}"), piece.clone()));
            match style {
                0 => {}
                1 => lines.push(plain(Who::Agent, "はい")),
                2 if piece.chars().count() >= 3 => {
                    lines.push(secret(Who::Agent, format!("はい、{piece}"), piece.clone()))
                }
                _ if piece.chars().count() >= 3 => {
                    lines.push(secret(Who::Agent, format!("{piece}ですね"), piece.clone()))
                }
                _ => {}
            }
        }
    }

    /// Sentences without a number.
    pub(crate) fn ordinary(&mut self) -> Vec<Line> {
        let caller = [
            "住民票の写しについて教えてください",
            "三国から八尾に引っ越しました",
            "一緒に手続きできますか",
            "十三に住んでいます",
        ];
        let agent = ["少々お待ちください", "担当の課におつなぎします", "それで十分でございます"];
        let (first, second) = (self.one(&caller), self.one(&agent));
        vec![plain(Who::Caller, first), plain(Who::Agent, second)]
    }

    /// A sentence with a number that may be stored, and the answer to it.
    pub(crate) fn harmless(&mut self) -> Vec<Line> {
        let which = self.0.below(6);
        let mut digits = |count| {
            let digits = self.digits(count);
            notation(&digits, which)
        };
        let (four, other) = (digits(4), digits(4));
        let kanji = |n: usize| ["", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十"][n].to_string();
        let small: Vec<usize> = (0..4).map(|_| 1 + self.0.below(10)).collect();
        let text = match self.0.below(8) {
            0 => format!("電話番号は090-{four}-{other}です"),
            1 => format!("電話は{}、{four}、{other}です", notation(&[0, 6], which % 3)),
            2 => format!("令和{}年{}月{}日に届きました", kanji(small[0]), kanji(small[1]), kanji(small[2])),
            3 => format!("手数料は{}千{}百円です", kanji(2 + small[0] % 8), kanji(2 + small[1] % 8)),
            4 => format!("住所は{}丁目{}番{}号です", small[0], small[1], small[2]),
            5 => format!("郵便番号は{}-{}です", 500 + small[0], 1000 + small[1]),
            6 => format!("マイナンバーカードを2026年{}月{}日に受け取りました", small[0], small[1]),
            _ => format!("窓口は{}階の{}番で、{}人家族です", small[0], small[1], small[2]),
        };
        vec![plain(Who::Caller, &text), plain(Who::Agent, "承知しました")]
    }
}

fn plain(who: Who, text: &str) -> Line {
    Line { who, text: text.into(), secret: false, piece: String::new() }
}

fn secret(who: Who, text: String, piece: String) -> Line {
    Line { who, text, secret: true, piece }
}

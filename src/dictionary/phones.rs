//! How alike two morae sound over a telephone, and how easily one is missed or added.

use super::reading::Mora;

impl Mora {
    /// How it is spoken.
    pub(super) fn phones(self) -> Phones {
        if self == Self::UNKNOWN {
            return Phones { consonant: Consonant::Unknown, vowel: None, palatal: false };
        }
        let (kana, small) = self.kana();
        let consonant = match self {
            Self::LONG => Consonant::Long,
            Self::STOP => Consonant::Stop,
            Self::NASAL => Consonant::Nasal,
            _ => ROWS.iter().find(|(row, _)| row.contains(kana)).map_or(Consonant::None, |(_, consonant)| *consonant),
        };
        let inherent = matches!(consonant, Consonant::Sh | Consonant::Ch | Consonant::J);
        Phones { consonant, vowel: self.vowel(), palatal: matches!(small, 'ャ' | 'ュ' | 'ョ') && !inherent }
    }
}

/// The consonant of a mora; what has none or is none has a value of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consonant {
    None,
    K,
    G,
    S,
    Sh,
    Z,
    J,
    T,
    Ch,
    Ts,
    D,
    N,
    H,
    F,
    B,
    P,
    M,
    Y,
    R,
    W,
    Nasal,
    Long,
    Stop,
    Unknown,
}

const ROWS: [(&str, Consonant); 19] = [
    ("カキクケコ", Consonant::K),
    ("ガギグゲゴ", Consonant::G),
    ("サスセソ", Consonant::S),
    ("シ", Consonant::Sh),
    ("ザズゼゾ", Consonant::Z),
    ("ジ", Consonant::J),
    ("タテト", Consonant::T),
    ("チ", Consonant::Ch),
    ("ツ", Consonant::Ts),
    ("ダデド", Consonant::D),
    ("ナニヌネノ", Consonant::N),
    ("ハヒヘホ", Consonant::H),
    ("フ", Consonant::F),
    ("バビブベボヴ", Consonant::B),
    ("パピプペポ", Consonant::P),
    ("マミムメモ", Consonant::M),
    ("ヤユヨ", Consonant::Y),
    ("ラリルレロ", Consonant::R),
    ("ワ", Consonant::W),
];

/// What tells one mora from another by ear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phones {
    consonant: Consonant,
    vowel: Option<char>,
    palatal: bool,
}

/// What it costs to hear `a` as `b`, 0–2; see [`confusion`].
#[cfg(test)]
pub(super) fn substitution(a: Mora, b: Mora) -> f32 {
    if a == b { 0.0 } else { confusion(a.phones(), b.phones()) }
}

/// What it costs to hear one mora as another, 0–2; 1 is "nothing in common". Over 300–3400 Hz the frication of サ, ハ and フ, the bursts of バ, ダ
/// and ガ, and マ and ナ are hard to tell apart; voicing comes and goes with rendaku.
pub(super) fn confusion(a: Phones, b: Phones) -> f32 {
    use Consonant::{B, Ch, D, F, G, H, J, K, Long, M, N, Nasal, None, P, R, S, Sh, Stop, T, Ts, Unknown, W, Y, Z};
    if a.consonant == Unknown || b.consonant == Unknown {
        return 2.0;
    }
    let consonants = match (a.consonant, b.consonant) {
        (x, y) if x == y => 0.0,
        (Long | Stop | Nasal, Long | Stop | Nasal) => return 0.6,
        (Long, None) | (None, Long) => return 0.5,
        (Nasal, N | M) | (N | M, Nasal) => return 0.7,
        (Long | Stop | Nasal, _) | (_, Long | Stop | Nasal) => return 1.0,
        (K, G) | (G, K) | (S, Z) | (Z, S) | (Sh, J) | (J, Sh) | (T, D) | (D, T) | (Ch, J) | (J, Ch) => 0.3,
        (H | F, B | P) | (B | P, H | F) | (B, P) | (P, B) | (Z, J) | (J, Z) => 0.3,
        (S | Sh | H | F, S | Sh | H | F) | (B | D | G, B | D | G) | (M, N) | (N, M) => 0.4,
        (Sh, Ch | Ts) | (Ch | Ts, Sh) | (Ch, Ts) | (Ts, Ch) | (Ts, S | T | Z) | (S | T | Z, Ts) => 0.4,
        (K | T | P, K | T | P) | (R, D) | (D, R) | (Ch, T | K) | (T | K, Ch) => 0.5,
        (R, N) | (N, R) | (M, B) | (B, M) | (N, D) | (D, N) | (G, N | M) | (N | M, G) => 0.6,
        (Y | W, None) | (None, Y | W) | (H, None) | (None, H) => 0.5,
        _ => 0.8,
    };
    let vowels = match (a.vowel, b.vowel) {
        (x, y) if x == y => 0.0,
        (Some('イ'), Some('エ')) | (Some('エ'), Some('イ')) | (Some('ウ'), Some('オ')) | (Some('オ'), Some('ウ')) => {
            0.4
        }
        (Some('ア'), Some('エ' | 'オ')) | (Some('エ' | 'オ'), Some('ア')) => 0.5,
        _ => 0.7,
    };
    let palatal = if a.palatal == b.palatal { 0.0 } else { 0.3 };
    f32::min(consonants + vowels + palatal, 1.0)
}

/// What it costs to hear a mora that is not there, or not to hear one that is, 0–2.
pub(super) fn insertion(mora: Mora) -> f32 {
    match mora {
        Mora::LONG | Mora::STOP => 0.4,
        Mora::UNKNOWN => 2.0,
        Mora::NASAL => 0.7,
        _ if mora.phones().consonant == Consonant::None => 0.7,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::morae;
    use super::*;

    #[test]
    fn near_sounds_cost_less_than_far_ones() {
        let cost = |a: &str, b: &str| substitution(morae(a)[0], morae(b)[0]);
        assert!(cost("カ", "ガ") < cost("カ", "サ"));
        assert!(cost("カ", "サ") < cost("カ", "シ"));
        assert_eq!(cost("ヂ", "ジ"), 0.0);
        for (near, far) in
            [("サハ", "サマ"), ("バダ", "バカ"), ("ガダ", "ガサ"), ("マナ", "マタ"), ("シヒ", "シミ"), ("キギ", "キニ")]
        {
            let pair = |pair: &str| substitution(morae(pair)[0], morae(pair)[1]);
            assert!(pair(near) < 0.5 && pair(far) > 0.5, "{near} {far}");
        }
    }

    #[test]
    fn confusion_is_the_same_both_ways_and_never_free() {
        let all = morae(
            "カガサザシジタダチツナハバパフマヤラワキャショチュヒョンーオ、イウエアケゲセテネヘメレソトノホモヨロスズヌムユルニミリ"
                .replace('、', "").as_str(),
        );
        for &a in &all {
            for &b in all.iter().chain([&Mora::UNKNOWN, &Mora::STOP, &Mora::LONG]) {
                let cost = substitution(a, b);
                assert_eq!(cost, substitution(b, a), "{a:?} {b:?}");
                assert_eq!(cost == 0.0, a == b, "{a:?} {b:?}: {cost}");
                assert!((0.0..=2.0).contains(&cost) && insertion(a) > 0.0);
            }
        }
    }
}

//! Numbers that must not be stored, by class, and which of them are masked.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// 個人番号, 12 digits (番号法 2条5項).
    MyNumber,
    /// A payment card, 13 to 19 digits (ISO/IEC 7812-1).
    Card,
    /// A bank account (口座番号, 記号・番号 of ゆうちょ銀行).
    Account,
    /// A health or care insurance certificate (保険者番号, 被保険者等記号・番号).
    Insurance,
    /// 基礎年金番号 and 年金証書の番号.
    Pension,
    /// A driver's licence, 12 digits.
    Licence,
    /// A telephone number, 10 or 11 digits.
    Telephone,
}

impl Class {
    /// All classes.
    pub const ALL: [Class; 7] = [
        Class::MyNumber,
        Class::Card,
        Class::Account,
        Class::Insurance,
        Class::Pension,
        Class::Licence,
        Class::Telephone,
    ];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of classes; in the configuration a list of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes(u8);

impl Default for Classes {
    /// All but telephone numbers, which say where the caller can be reached.
    fn default() -> Self {
        Class::ALL.into_iter().filter(|class| *class != Class::Telephone).collect()
    }
}

impl Classes {
    /// None.
    pub const NONE: Classes = Classes(0);

    /// Whether a class is in the set.
    pub fn has(self, class: Class) -> bool {
        self.0 & class.bit() != 0
    }

    /// The classes, in their order.
    pub fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |class| self.has(*class))
    }
}

/// `[[line]] mask`: what is masked on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"transcript\" or a list of my_number, card, account, insurance, pension, licence and telephone"
)]
pub enum Masking {
    /// As on every other line.
    As(Everywhere),
    /// These classes.
    Own(Classes),
}

/// The word for what is masked on lines that say nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Everywhere {
    /// `[transcript] mask`.
    #[default]
    Transcript,
}

impl Default for Masking {
    fn default() -> Self {
        Masking::As(Everywhere::Transcript)
    }
}

impl Masking {
    /// The classes, where `everywhere` holds for lines that say nothing else.
    pub fn classes(self, everywhere: Classes) -> Classes {
        match self {
            Masking::As(Everywhere::Transcript) => everywhere,
            Masking::Own(classes) => classes,
        }
    }
}

impl FromIterator<Class> for Classes {
    fn from_iter<I: IntoIterator<Item = Class>>(classes: I) -> Self {
        Classes(classes.into_iter().fold(0, |set, class| set | class.bit()))
    }
}

impl Serialize for Classes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Classes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Class>::deserialize(deserializer).map(|classes| classes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_written_as_a_list_of_names() {
        let set: Classes = [Class::Card, Class::MyNumber].into_iter().collect();
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(text, r#"["my_number","card"]"#);
        assert_eq!(serde_json::from_str::<Classes>(&text).unwrap(), set);
        assert!(serde_json::from_str::<Classes>(r#"["cards"]"#).is_err());
        assert!(!Classes::default().has(Class::Telephone) && Classes::default().has(Class::Pension));
        assert_eq!(Classes::NONE.iter().count(), 0);
    }

    #[test]
    fn a_line_masks_as_every_other_or_its_own_classes() {
        let read = |text| serde_json::from_str::<Masking>(text);
        assert_eq!(read(r#""transcript""#).unwrap(), Masking::default());
        assert_eq!(read("[]").unwrap(), Masking::Own(Classes::NONE));
        assert_eq!(Masking::default().classes(Classes::NONE), Classes::NONE);
        assert!(read(r#""all""#).unwrap_err().to_string().contains("my_number"));
    }
}

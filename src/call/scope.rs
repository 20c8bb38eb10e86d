//! Where a word of the dictionary applies, and where a call belongs: sites, dialled lines, wards and departments.
//!
//! A scope is written `kind:name`, for example `ward:北区` or `課:保険年金課`; several are joined by `|`. A name without a kind stands for
//! whatever has that name.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::line::Line;
use super::number::Number;

/// Longest name of a scope, in characters.
const LONGEST: usize = 64;
/// Most scopes of one word or one call.
pub const MOST: usize = 64;
/// Most wards and departments of one line: besides them a call has its site, its number and its line's name.
pub const MOST_OF_LINE: usize = MOST - 3;

/// What stands between scopes, after NFKC (｜, ； and ､ become these).
const SEPARATORS: [char; 3] = ['|', '、', ';'];

/// What a scope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeKind {
    /// A `[[site]]`, by its id.
    Site,
    /// A `[[line]]`, by its number in any usual form or by its name.
    Line,
    /// 区, as `[[line]] wards` names it.
    Ward,
    /// 課 or another department, as `[[line]] departments` names it.
    Department,
}

/// Every kind with the words for it, the one that is written first.
const KINDS: [(ScopeKind, &[&str]); 4] = [
    (ScopeKind::Site, &["site", "サイト", "拠点"]),
    (ScopeKind::Line, &["line", "回線", "電話番号"]),
    (ScopeKind::Ward, &["ward", "区"]),
    (ScopeKind::Department, &["department", "課", "部署"]),
];

/// One scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// What it is; `None` where only a name is given, which then stands for any kind.
    pub kind: Option<ScopeKind>,
    /// Its name, compared after NFKC; a telephone number in its E.164 form.
    pub name: String,
}

/// Scopes without order or repetition; empty for a word that applies everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scopes(Vec<Scope>);

/// Why a text is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The word before the colon is no kind.
    #[error("\"{0}\" is no kind of scope; expected site, line, ward or department (拠点, 回線, 区, 課)")]
    Kind(String),
    /// There is no name.
    #[error("a scope without a name; expected for example ward:北区")]
    Empty,
    /// The name is too long.
    #[error("the name of a scope has more than {LONGEST} characters")]
    Long,
    /// There are too many.
    #[error("more than {MOST} scopes; a word that applies almost everywhere needs none")]
    Many,
}

impl Scope {
    /// Reads `kind:name` or a name alone.
    ///
    /// # Errors
    /// [`ScopeError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Scope, ScopeError> {
        let (kind, name) = match text.split_once([':', '：']) {
            Some((kind, name)) => (Some(kind_of(kind)?), name),
            None => (None, text),
        };
        let name = plain(kind, name);
        match name.chars().count() {
            0 => Err(ScopeError::Empty),
            count if count > LONGEST => Err(ScopeError::Long),
            _ => Ok(Scope { kind, name }),
        }
    }

    /// Whether a word with this scope applies to what `call` is.
    fn covers(&self, call: &Scope) -> bool {
        self.name == call.name && (self.kind.is_none() || self.kind == call.kind)
    }
}

fn kind_of(written: &str) -> Result<ScopeKind, ScopeError> {
    let written: String = written.trim().nfkc().collect();
    let known = KINDS.iter().find(|(_, names)| names.iter().any(|name| name.eq_ignore_ascii_case(&written)));
    known.map(|(kind, _)| *kind).ok_or_else(|| ScopeError::Kind(written.chars().take(LONGEST).collect()))
}

/// The form in which names are compared; read again it stays as it is.
fn plain(kind: Option<ScopeKind>, name: &str) -> String {
    let unmarked: String = name.nfkc().filter(|c| *c != ':' && !SEPARATORS.contains(c)).nfkc().collect();
    let name = unmarked.trim();
    match Number::parse(name) {
        Number::E164(number) if kind == Some(ScopeKind::Line) => number,
        _ => name.to_owned(),
    }
}

impl Scopes {
    /// These scopes, sorted, each once.
    pub fn new(mut scopes: Vec<Scope>) -> Scopes {
        scopes.sort();
        scopes.dedup();
        Scopes(scopes)
    }

    /// Reads scopes joined by `|`, `、` or `;`; an empty text gives none.
    ///
    /// # Errors
    /// The first one that is wrong.
    pub fn parse(text: &str) -> Result<Scopes, ScopeError> {
        let text: String = text.nfkc().collect();
        let parts = text.split(SEPARATORS).map(str::trim).filter(|part| !part.is_empty());
        let scopes: Vec<Scope> = parts.map(Scope::parse).collect::<Result<_, _>>()?;
        if scopes.len() > MOST {
            return Err(ScopeError::Many);
        }
        Ok(Scopes::new(scopes))
    }

    /// What a call to `line` at the site `site` is.
    pub fn of_call(site: &str, line: &Line) -> Scopes {
        let own = [(ScopeKind::Site, site), (ScopeKind::Line, line.number.as_str()), (ScopeKind::Line, &line.name)];
        let wards = line.wards.iter().map(|name| (ScopeKind::Ward, name.as_str()));
        let departments = line.departments.iter().map(|name| (ScopeKind::Department, name.as_str()));
        let names = own.into_iter().chain(wards).chain(departments);
        let scope = |(kind, name)| {
            // no word has a scope with a longer name, but a worker must read this one
            let name: String = plain(Some(kind), name).chars().take(LONGEST).collect();
            Scope { kind: Some(kind), name: name.trim_end().to_owned() }
        };
        Scopes::new(names.map(scope).filter(|scope| !scope.name.is_empty()).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether a word with these scopes and one with `others` have a scope in common, or one of them applies everywhere.
    pub fn meet(&self, others: &Scopes) -> bool {
        self.apply_to(others) || others.apply_to(self)
    }

    /// Whether a word with these scopes applies to a call that is `call`: it has none, or one of them is the call's.
    pub fn apply_to(&self, call: &Scopes) -> bool {
        self.0.is_empty() || self.0.iter().any(|own| call.0.iter().any(|other| own.covers(other)))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = KINDS.iter().find(|(kind, _)| Some(*kind) == self.kind).and_then(|(_, names)| names.first());
        match kind {
            Some(kind) => write!(f, "{kind}:{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, scope) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("|")?;
            }
            scope.fmt(f)?;
        }
        Ok(())
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> String {
        scopes.to_string()
    }
}

impl TryFrom<String> for Scopes {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Scopes, ScopeError> {
        Scopes::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::line::Lines;

    fn scopes(text: &str) -> Scopes {
        Scopes::parse(text).unwrap()
    }

    #[test]
    fn kinds_may_be_english_or_japanese_and_are_written_one_way() {
        assert_eq!(scopes("区:北区｜課： 保険年金課").to_string(), "ward:北区|department:保険年金課");
        assert_eq!(scopes("ward:北区").to_string(), scopes("区：北区").to_string());
        assert_eq!(scopes("").to_string(), "");
        assert_eq!(scopes("line:06-6208-1234").to_string(), "line:+81662081234");
        let again: Scopes = serde_json::from_str(&serde_json::to_string(&scopes("ward:北区|x")).unwrap()).unwrap();
        assert_eq!(again, scopes("x|ward:北区"));
    }

    #[test]
    fn what_is_no_scope_is_refused_with_what_is_expected() {
        assert!(Scopes::parse("町:梅田").unwrap_err().to_string().contains("expected site, line, ward or department"));
        assert_eq!(Scopes::parse("ward:"), Err(ScopeError::Empty));
        assert_eq!(Scopes::parse(&"あ".repeat(65)), Err(ScopeError::Long));
        let many: Vec<String> = (0..=MOST).map(|n| n.to_string()).collect();
        assert_eq!(Scopes::parse(&many.join("|")), Err(ScopeError::Many));
    }

    #[test]
    fn what_was_read_once_is_read_again_as_it_is() {
        for (text, written) in [
            ("ward:北区､区:旭区；課:福祉課", "ward:北区|ward:旭区|department:福祉課"),
            ("ward:︰北区", "ward:..北区"),
            ("回線:０６-６２０８-１２３４", "line:+81662081234"),
            ("ward:\u{a8}北区", "ward:\u{308}北区"),
            ("ward:か:\u{3099}", "ward:が"),
        ] {
            assert_eq!(scopes(text).to_string(), written, "{text}");
            assert_eq!(scopes(written), scopes(text), "{text}");
        }
    }

    #[test]
    fn what_a_call_is_can_be_read_whatever_its_line_is_called() {
        let most = (0..MOST_OF_LINE).map(|n| format!("{n}区")).collect();
        let name = format!("代表、夜間;{}", "長".repeat(100));
        let line = Line { name, wards: most, departments: Vec::new(), ..Lines::default().policy("0662081234") };
        let odd = Line { name: " | ".into(), departments: vec![String::new(), "：".into()], ..line.clone() };
        for line in [line, odd] {
            let call = Scopes::of_call("osaka", &line);
            assert_eq!(Scopes::parse(&call.to_string()), Ok(call));
        }
    }

    #[test]
    fn a_word_applies_where_one_of_its_scopes_is_the_calls() {
        let line = Line {
            name: "代表".into(),
            wards: vec!["北区".into(), "旭区".into()],
            departments: vec!["保険年金課".into()],
            ..Lines::default().policy("0662081234")
        };
        let call = Scopes::of_call("osaka", &line);
        for yes in
            ["", "ward:北区", "北区", "ward:港区|ward:旭区", "課:保険年金課", "line:代表", "回線:06-6208-1234", "osaka"]
        {
            assert!(scopes(yes).apply_to(&call), "{yes}");
        }
        for no in ["ward:港区", "department:北区", "line:06-6208-9999", "site:kobe", "ward:北"] {
            assert!(!scopes(no).apply_to(&call), "{no}");
        }
        assert!(!scopes("ward:北区").apply_to(&Scopes::default()));
    }
}

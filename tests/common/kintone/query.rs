//! The query language of `records.json` as far as a telephone link asks: conditions, order, limit, offset.
//! <https://cybozu.dev/ja/kintone/docs/overview/query/>; codes and limits as observed at the real service.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::answer::Refusal;
use super::app::{App, Kind};
use super::store::Record;
use super::words;

/// Most records of one answer.
const MOST: usize = 500;
/// Records of an answer when the query does not say.
const USUAL: usize = 100;
/// Largest offset.
const FARTHEST: usize = 10_000;

/// A query that fits the app's fields.
#[derive(Debug)]
pub(crate) struct Query {
    condition: Condition,
    /// Field code, and whether the largest comes first.
    order: Vec<(String, bool)>,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
}

#[derive(Debug)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Compare { field: String, op: Op, values: Vec<String> },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Equal,
    NotEqual,
    Less,
    More,
    AtMost,
    AtLeast,
    In,
    NotIn,
    Like,
    NotLike,
    Empty,
    NotEmpty,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(&'static str),
}

impl Query {
    pub(crate) fn parse(text: &str, app: &App) -> Result<Query, Refusal> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let condition = match parser.peek() {
            Some(Token::Word(word)) if ["order", "limit", "offset"].contains(&word.to_lowercase().as_str()) => {
                Condition::All(Vec::new())
            }
            None => Condition::All(Vec::new()),
            _ => parser.any()?,
        };
        let mut query = Query { condition, order: Vec::new(), limit: USUAL, offset: 0 };
        parser.options(&mut query)?;
        check(&query.condition, app)?;
        for (code, _) in &query.order {
            kind(app, code)?;
        }
        if query.limit > MOST {
            return Err(Refusal::new(400, "GAIA_QU01", "limit には 500 以下の値を指定してください。"));
        }
        if query.offset > FARTHEST {
            return Err(Refusal::new(400, "GAIA_QU02", "offset には 10,000 以下の値を指定してください。"));
        }
        Ok(query)
    }

    pub(crate) fn fits(&self, app: &App, record: &Record) -> bool {
        holds(&self.condition, app, record)
    }

    /// Which record comes first; the newest where the query does not say.
    pub(crate) fn order(&self, app: &App, one: &Record, other: &Record) -> Ordering {
        for (code, descending) in &self.order {
            let field = kind(app, code).expect("checked when it was parsed");
            let order = compared(&field, &one.text(code), &other.text(code)).unwrap_or(Ordering::Equal);
            if order != Ordering::Equal {
                return if *descending { order.reverse() } else { order };
            }
        }
        other.id.cmp(&one.id)
    }
}

fn wrong() -> Refusal {
    Refusal::wrong("query", "クエリ記法が間違っています。")
}

/// Words, texts and signs. A text may not hold a bare control character.
fn tokens(query: &str) -> Result<Vec<Token>, Refusal> {
    let mut found = Vec::new();
    let mut rest = query.chars().peekable();
    while let Some(&next) = rest.peek() {
        match next {
            _ if next.is_whitespace() => drop(rest.next()),
            '"' => {
                rest.next();
                found.push(Token::Text(quoted(&mut rest)?));
            }
            '(' | ')' | ',' => {
                rest.next();
                found.push(Token::Sign(["(", ")", ","]["(),".find(next).expect("one of the three")]));
            }
            '=' | '!' | '<' | '>' => {
                rest.next();
                let equal = rest.next_if_eq(&'=').is_some();
                found.push(Token::Sign(match (next, equal) {
                    ('=', false) => "=",
                    ('!', true) => "!=",
                    ('<', false) => "<",
                    ('<', true) => "<=",
                    ('>', false) => ">",
                    ('>', true) => ">=",
                    _ => return Err(wrong()),
                }));
            }
            _ => {
                let mut word = String::new();
                while let Some(part) = rest.next_if(|c| !c.is_whitespace() && !"\"'(),=!<>".contains(*c)) {
                    word.push(part);
                }
                if word.is_empty() {
                    return Err(wrong());
                }
                found.push(Token::Word(word));
            }
        }
    }
    Ok(found)
}

fn quoted(rest: &mut impl Iterator<Item = char>) -> Result<String, Refusal> {
    let mut text = String::new();
    loop {
        match rest.next().ok_or_else(wrong)? {
            '"' => return Ok(text),
            '\\' => text.push(match rest.next().ok_or_else(wrong)? {
                'n' => '\n',
                't' => '\t',
                same @ ('"' | '\\') => same,
                _ => return Err(wrong()),
            }),
            bare if bare.is_control() => return Err(wrong()),
            other => text.push(other),
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Result<Token, Refusal> {
        let token = self.peek().cloned().ok_or_else(wrong)?;
        self.at += 1;
        Ok(token)
    }

    /// Takes the word when it is the next.
    fn word(&mut self, word: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word));
        self.at += usize::from(there);
        there
    }

    fn sign(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(there);
        there
    }

    /// `and` binds more tightly than `or`.
    fn any(&mut self) -> Result<Condition, Refusal> {
        let mut parts = vec![self.all()?];
        while self.word("or") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Result<Condition, Refusal> {
        let mut parts = vec![self.one()?];
        while self.word("and") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn one(&mut self) -> Result<Condition, Refusal> {
        if self.sign("(") {
            let inner = self.any()?;
            return if self.sign(")") { Ok(inner) } else { Err(wrong()) };
        }
        let Token::Word(field) = self.next()? else { return Err(wrong()) };
        let op = self.op()?;
        let values = match op {
            Op::In | Op::NotIn => self.list()?,
            Op::Empty | Op::NotEmpty => Vec::new(),
            _ => vec![self.value()?],
        };
        Ok(Condition::Compare { field, op, values })
    }

    fn op(&mut self) -> Result<Op, Refusal> {
        Ok(match self.next()? {
            Token::Sign("=") => Op::Equal,
            Token::Sign("!=") => Op::NotEqual,
            Token::Sign("<") => Op::Less,
            Token::Sign(">") => Op::More,
            Token::Sign("<=") => Op::AtMost,
            Token::Sign(">=") => Op::AtLeast,
            Token::Word(word) => match word.to_lowercase().as_str() {
                "in" => Op::In,
                "like" => Op::Like,
                "not" if self.word("in") => Op::NotIn,
                "not" if self.word("like") => Op::NotLike,
                "is" => {
                    let op = if self.word("not") { Op::NotEmpty } else { Op::Empty };
                    if self.word("empty") { op } else { return Err(wrong()) }
                }
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        })
    }

    fn list(&mut self) -> Result<Vec<String>, Refusal> {
        if !self.sign("(") {
            return Err(wrong());
        }
        let mut values = vec![self.value()?];
        while self.sign(",") {
            values.push(self.value()?);
        }
        if self.sign(")") { Ok(values) } else { Err(wrong()) }
    }

    /// A quoted text, or a bare number.
    fn value(&mut self) -> Result<String, Refusal> {
        match self.next()? {
            Token::Text(text) => Ok(text),
            Token::Word(name) if self.sign("(") => Err(Refusal::unknown_here(&format!("the function {name}"))),
            Token::Word(number) if number.parse::<f64>().is_ok() => Ok(number),
            _ => Err(wrong()),
        }
    }

    fn options(&mut self, query: &mut Query) -> Result<(), Refusal> {
        if self.word("order") {
            if !self.word("by") {
                return Err(wrong());
            }
            loop {
                let Token::Word(code) = self.next()? else { return Err(wrong()) };
                let descending = self.word("desc");
                if !descending {
                    self.word("asc");
                }
                query.order.push((code, descending));
                if !self.sign(",") {
                    break;
                }
            }
        }
        if self.word("limit") {
            query.limit = self.count()?;
        }
        if self.word("offset") {
            query.offset = self.count()?;
        }
        if self.at == self.tokens.len() { Ok(()) } else { Err(wrong()) }
    }

    fn count(&mut self) -> Result<usize, Refusal> {
        let Token::Word(number) = self.next()? else { return Err(wrong()) };
        number.parse().map_err(|_| wrong())
    }
}

fn kind(app: &App, code: &str) -> Result<Kind, Refusal> {
    match code {
        "$id" => Ok(Kind::RecordNumber),
        _ => app.field(code).map(|field| field.kind.clone()).ok_or_else(|| Refusal::no_field(code)),
    }
}

/// Which operators a field takes says the table at the end of the page on queries.
fn check(condition: &Condition, app: &App) -> Result<(), Refusal> {
    let (field, op, values) = match condition {
        Condition::All(parts) | Condition::Any(parts) => return parts.iter().try_for_each(|part| check(part, app)),
        Condition::Compare { field, op, values } => (field, *op, values),
    };
    let kind = kind(app, field)?;
    use Op::{Empty, Equal, In, Like, NotEmpty, NotEqual, NotIn, NotLike};
    let fits = match kind {
        Kind::Text => matches!(op, Equal | NotEqual | In | NotIn | Like | NotLike),
        Kind::MultiLine | Kind::File => matches!(op, Like | NotLike | Empty | NotEmpty),
        Kind::Number | Kind::RecordNumber => !matches!(op, Like | NotLike | Empty | NotEmpty),
        Kind::DateTime | Kind::Created | Kind::Updated => !matches!(op, In | NotIn | Like | NotLike | Empty | NotEmpty),
        Kind::DropDown(_) | Kind::Creator | Kind::Modifier => matches!(op, In | NotIn),
    };
    if !fits {
        let message = format!("{field}フィールドのフィールドタイプには演算子{}を使用できません。", sign(op));
        return Err(Refusal::new(400, "GAIA_IQ03", message));
    }
    let readable = |value: &String| match kind {
        Kind::DateTime | Kind::Created | Kind::Updated => moment(value).is_some(),
        Kind::Number | Kind::RecordNumber => value.is_empty() || value.parse::<f64>().is_ok(),
        _ => true,
    };
    if values.iter().all(readable) { Ok(()) } else { Err(wrong()) }
}

fn sign(op: Op) -> &'static str {
    match op {
        Op::Equal => "=",
        Op::NotEqual => "!=",
        Op::Less => "<",
        Op::More => ">",
        Op::AtMost => "<=",
        Op::AtLeast => ">=",
        Op::In => "in",
        Op::NotIn => "not in",
        Op::Like => "like",
        Op::NotLike => "not like",
        Op::Empty => "is",
        Op::NotEmpty => "is not",
    }
}

fn holds(condition: &Condition, app: &App, record: &Record) -> bool {
    let (code, op, values) = match condition {
        Condition::All(parts) => return parts.iter().all(|part| holds(part, app, record)),
        Condition::Any(parts) => return parts.iter().any(|part| holds(part, app, record)),
        Condition::Compare { field, op, values } => (field, *op, values),
    };
    let kind = kind(app, code).expect("checked when it was parsed");
    let own = record.text(code);
    let order = values.first().and_then(|value| compared(&kind, &own, value));
    match op {
        Op::Equal => order == Some(Ordering::Equal),
        Op::NotEqual => order != Some(Ordering::Equal),
        Op::Less => order == Some(Ordering::Less),
        Op::More => order == Some(Ordering::Greater),
        Op::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Op::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        Op::In => values.iter().any(|value| compared(&kind, &own, value) == Some(Ordering::Equal)),
        Op::NotIn => values.iter().all(|value| compared(&kind, &own, value) != Some(Ordering::Equal)),
        Op::Like => record.indexed && words::found(&own, &values[0]),
        Op::NotLike => !(record.indexed && words::found(&own, &values[0])),
        Op::Empty => own.trim().is_empty(),
        Op::NotEmpty => !own.trim().is_empty(),
    }
}

/// `None` where one of the two has no value of the kind. Texts compare literally: case and width count.
fn compared(kind: &Kind, one: &str, other: &str) -> Option<Ordering> {
    match kind {
        _ if one.is_empty() && other.is_empty() => Some(Ordering::Equal),
        Kind::Number | Kind::RecordNumber => one.parse::<f64>().ok()?.partial_cmp(&other.parse::<f64>().ok()?),
        Kind::DateTime | Kind::Created | Kind::Updated => Some(moment(one)?.cmp(&moment(other)?)),
        _ => Some(one.cmp(other)),
    }
}

/// A date with time and zone, or a date alone (its midnight in UTC).
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    text.parse().or_else(|_| format!("{text}T00:00:00Z").parse()).ok()
}

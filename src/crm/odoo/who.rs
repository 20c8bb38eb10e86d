//! Who has a number in Odoo: contacts whose number it is as a whole, their open cases and their earlier calls.

use std::sync::Arc;

use serde_json::{Value, json};

use super::rpc::{Call, odd};
use super::talk::{Job, Next, Peer};
use crate::call::number::Number;
use crate::crm::lookup::contacts::MOST_MATCHES;
use crate::events::{Entry, Match};
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// Contacts that are read for one number. What is found by its digits may be a longer number, and is left out afterwards.
const MOST_ROWS: usize = 2 * MOST_MATCHES;
/// Open cases and earlier calls that are shown for one contact.
const MOST_ENTRIES: usize = 5;
/// Of those, what is read for all contacts of a number together.
const MOST_READ: usize = 100;
/// The longest text that is taken from Odoo, in characters.
const LONGEST: usize = 200;
/// The model of cases.
const CASES: &str = "crm.lead";

/// A contact in Odoo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) id: u64,
    pub(super) name: String,
    city: Option<String>,
}

/// Contacts that have a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct People {
    pub(super) all: Vec<Person>,
    /// There may be more than were read.
    pub(super) more: bool,
}

/// Asks for the contacts with a number; `None` where a number is of no one person or place (extensions, services, what is no number).
pub(super) fn ask(peer: &Peer, number: &Number) -> Option<Call> {
    let e164 = number.e164()?;
    let digits = e164.trim_start_matches('+');
    // as people write it in Japan: the country code may be there or not, and anything between the digits
    let national = digits.strip_prefix("81").unwrap_or(digits);
    let pattern: String = national.chars().flat_map(|digit| ['%', digit]).collect();
    let fields = &peer.settings.numbers;
    let mut domain: Vec<Value> = fields.iter().skip(1).map(|_| json!("|")).collect();
    domain.extend(fields.iter().map(|field| match field.ends_with("_sanitized") {
        true => json!([field, "=", e164]),
        false => json!([field, "=like", pattern]),
    }));
    let mut wanted = vec!["display_name", "city"];
    wanted.extend(fields.iter().map(String::as_str));
    Some(Call::search_read("res.partner", json!(domain), &wanted, "", MOST_ROWS))
}

/// The contacts of an answer whose number it is.
pub(super) fn of(peer: &Peer, number: &Number, rows: &Value) -> Result<People, Answer> {
    let rows = rows.as_array().ok_or_else(|| odd("contacts are no list").answer)?;
    let has_it = |row: &&Value| {
        let fields = peer.settings.numbers.iter();
        fields.filter_map(|field| row[field].as_str()).any(|text| Number::parse(text) == *number)
    };
    let person = |row: &Value| {
        Some(Person { id: row["id"].as_u64()?, name: text(&row["display_name"])?, city: text(&row["city"]) })
    };
    let all: Vec<Person> = rows.iter().filter(has_it).filter_map(person).take(MOST_MATCHES + 1).collect();
    let more = rows.len() >= MOST_ROWS || all.len() > MOST_MATCHES;
    Ok(People { all: all.into_iter().take(MOST_MATCHES).collect(), more })
}

/// A text of Odoo, which says `false` where there is none.
fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    (!text.is_empty()).then(|| text.chars().take(LONGEST).collect())
}

/// A look-up under way.
pub(super) struct Find {
    peer: Arc<Peer>,
    number: Number,
    found: Vec<Match>,
    step: Asked,
}

#[derive(Clone, Copy)]
enum Asked {
    Nothing,
    People,
    Cases,
    History,
}

impl Find {
    pub(super) fn new(peer: Arc<Peer>, number: Number) -> Find {
        Find { peer, number, found: Vec::new(), step: Asked::Nothing }
    }

    fn cases(&self) -> Call {
        let domain = json!([["partner_id", "in", self.ids()], ["stage_id.is_won", "=", false]]);
        let fields = ["name", "stage_id", "partner_id", "create_date"];
        self.in_language(Call::search_read(CASES, domain, &fields, "create_date desc", MOST_READ))
    }

    fn history(&self) -> Call {
        let domain = json!([["partner_id", "in", self.ids()]]);
        let fields = ["name", "state", "partner_id", "date"];
        self.in_language(Call::search_read(&self.peer.settings.model, domain, &fields, "date desc", MOST_READ))
    }

    fn in_language(&self, call: Call) -> Call {
        call.with_context("lang", &self.peer.settings.language)
    }

    fn ids(&self) -> Vec<u64> {
        self.found.iter().filter_map(|found| found.id.parse().ok()).collect()
    }

    fn people(&mut self, rows: &Value) -> Result<(), Answer> {
        let people = of(&self.peer, &self.number, rows)?;
        let peer = &self.peer;
        let found = |person: Person| Match {
            id: person.id.to_string(),
            name: person.name,
            note: person.city,
            url: Some(peer.page("res.partner", person.id)),
            ..Match::default()
        };
        self.found = people.all.into_iter().map(found).collect();
        Ok(())
    }

    /// Gives each row to the contact that it belongs to.
    fn hand_out(&mut self, rows: &Value, model: &str, time: &str, list: impl Fn(&mut Match) -> &mut Vec<Entry>) {
        for row in rows.as_array().into_iter().flatten() {
            let Some(owner) = row["partner_id"][0].as_u64().map(|id| id.to_string()) else { continue };
            let Some(owner) = self.found.iter_mut().find(|found| found.id == owner) else { continue };
            let (Some(title), Some(id)) = (text(&row["name"]), row["id"].as_u64()) else { continue };
            let state = text(&row["stage_id"][1]).or_else(|| text(&row["state"]).map(state_of));
            let entry = Entry { title, time: time_of(&row[time]), state, url: Some(self.peer.page(model, id)) };
            let list = list(owner);
            if list.len() < MOST_ENTRIES {
                list.push(entry);
            }
        }
    }
}

impl Job for Find {
    type End = Result<Vec<Match>, Answer>;

    fn next(&mut self, reply: Option<Result<Value, Answer>>) -> Next<Self::End> {
        match (self.step, reply) {
            (Asked::Nothing, _) => match ask(&self.peer, &self.number) {
                Some(call) => {
                    self.step = Asked::People;
                    Next::Call(call)
                }
                None => Next::End(Ok(Vec::new())),
            },
            (Asked::People, Some(Ok(rows))) => match self.people(&rows) {
                Ok(()) if self.found.is_empty() => Next::End(Ok(Vec::new())),
                Ok(()) => {
                    self.step = Asked::Cases;
                    Next::Call(self.cases())
                }
                Err(answer) => Next::End(Err(answer)),
            },
            (Asked::People, Some(Err(answer))) => Next::End(Err(answer)),
            (Asked::People, None) => Next::End(Err(odd("none").answer)),
            // who calls is worth showing without the rest
            (Asked::Cases, reply) => {
                self.hand_out(&rows_or_nothing(reply, "open cases"), CASES, "create_date", |found| &mut found.cases);
                self.step = Asked::History;
                Next::Call(self.history())
            }
            (Asked::History, reply) => {
                let (rows, model) = (rows_or_nothing(reply, "earlier calls"), self.peer.settings.model.clone());
                self.hand_out(&rows, &model, "date", |found| &mut found.history);
                Next::End(Ok(std::mem::take(&mut self.found)))
            }
        }
    }
}

fn rows_or_nothing(reply: Option<Result<Value, Answer>>, what: &str) -> Value {
    match reply {
        Some(Ok(rows)) => rows,
        Some(Err(problem)) => {
            tracing::warn!(%problem, "{what} cannot be read in Odoo; the pop goes without them");
            Value::Null
        }
        None => Value::Null,
    }
}

/// `2026-11-27 05:00:00`, which is UTC.
fn time_of(value: &Value) -> Option<Wall> {
    Wall::parse_rfc3339(&format!("{}Z", value.as_str()?.replacen(' ', "T", 1)))
}

/// What the states of `crm.phonecall` are for the operator.
fn state_of(state: String) -> String {
    match state.as_str() {
        "open" => "対応中".into(),
        "pending" => "保留".into(),
        "done" => "完了".into(),
        "cancel" => "通話なし".into(),
        _ => state,
    }
}

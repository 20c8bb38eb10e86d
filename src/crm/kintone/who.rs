//! Who has a number in kintone: records of the app of contacts with exactly these digits, their open cases and their earlier calls.

use std::sync::Arc;

use serde_json::Value;

use super::rest::{Call, Fault, is_one_of, odd, records, text};
use super::talk::{Job, Next, Peer};
use crate::call::number::Number;
use crate::crm::lookup::contacts::MOST_MATCHES;
use crate::events::{Entry, Match};
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// Open cases and earlier calls that are shown for one contact.
const MOST_ENTRIES: usize = 5;
/// Of those, what is read for all contacts of a number together.
const MOST_READ: usize = 100;
/// The longest text that is taken from kintone, in characters.
const LONGEST: usize = 200;

/// A contact in kintone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// Number of the record.
    pub(super) id: String,
    pub(super) name: String,
    note: Option<String>,
    /// What the contact's field of a call holds for this contact; `None` where there is no such field.
    pub(super) link: Option<String>,
}

/// Contacts that have a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct People {
    pub(super) all: Vec<Person>,
    /// There are more than were read.
    pub(super) more: bool,
}

impl People {
    /// Whose number it is, when one contact alone has it.
    pub(super) fn only(&self) -> Option<&Person> {
        match self.all.as_slice() {
            [one] if !self.more => Some(one),
            _ => None,
        }
    }
}

/// A number as a field of digits may hold it; empty where a number is of no one person or place (extensions, services, what is no number).
fn forms_of(number: &Number) -> Vec<String> {
    let Some(e164) = number.e164() else { return Vec::new() };
    let mut forms = vec![number.national(), e164.trim_start_matches('+').to_string(), e164.to_string()];
    forms.sort();
    forms.dedup();
    forms
}

/// Asks for the contacts with a number; `None` where that makes no sense.
pub(super) fn ask(peer: &Peer, number: &Number) -> Option<Call> {
    let contacts = &peer.settings.contacts;
    let forms = forms_of(number);
    if contacts.app == 0 || forms.is_empty() {
        return None;
    }
    let any = contacts.numbers.iter().map(|code| is_one_of(code, forms.iter().map(String::as_str)));
    let query = format!("{} order by $id asc limit {}", any.collect::<Vec<_>>().join(" or "), MOST_MATCHES + 1);
    let mut fields = vec!["$id".to_string(), contacts.name.clone()];
    fields.extend([contacts.note.clone()].into_iter().filter(|code| !code.is_empty()));
    fields.extend(contacts.numbers.iter().cloned());
    fields.extend(key_of_contact(peer));
    fields.sort();
    fields.dedup();
    Some(Call::Read { app: contacts.app, query, fields })
}

/// The field of contacts that a look-up field of the app of calls goes by.
fn key_of_contact(peer: &Peer) -> Option<String> {
    let (form, contacts) = (peer.form(peer.settings.app)?, &peer.settings.contacts);
    let (app, key) = form.get(&peer.settings.fields.contact)?.looks_up.clone()?;
    (app == contacts.app).then_some(key)
}

/// The contacts of an answer.
pub(super) fn of(peer: &Peer, number: &Number, result: &Value) -> Result<People, Answer> {
    let rows = records(result)?;
    let contacts = &peer.settings.contacts;
    // the query has compared digits only, and several fields
    let has_it = |row: &&Value| contacts.numbers.iter().any(|code| Number::parse(text(row, code)) == *number);
    let all: Vec<Person> = rows.iter().filter(has_it).filter_map(|row| person(peer, row)).take(MOST_MATCHES).collect();
    Ok(People { all, more: rows.len() > MOST_MATCHES })
}

fn person(peer: &Peer, row: &Value) -> Option<Person> {
    let contacts = &peer.settings.contacts;
    let id = text(row, "$id").to_string();
    let name = short(text(row, &contacts.name)).unwrap_or_else(|| format!("連絡先 {id}"));
    let link = link(peer, row, &id);
    (!id.is_empty()).then(|| Person { note: short(text(row, &contacts.note)), id, name, link })
}

/// What the contact's field of a call holds: the key of a look-up, the record's number, or the address of its page.
fn link(peer: &Peer, row: &Value, id: &str) -> Option<String> {
    let form = peer.form(peer.settings.app)?;
    let field = form.get(&peer.settings.fields.contact)?;
    let key = key_of_contact(peer).filter(|key| row[key]["type"] != "RECORD_NUMBER");
    match key {
        Some(key) => Some(text(row, &key).to_string()).filter(|value| !value.is_empty()),
        None if field.kind == "LINK" => Some(peer.page(peer.settings.contacts.app, id)),
        None => Some(id.to_string()),
    }
}

fn short(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.chars().take(LONGEST).collect())
}

/// A look-up under way.
pub(super) struct Find {
    peer: Arc<Peer>,
    number: Number,
    people: People,
    found: Vec<Match>,
    step: Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    People,
    Cases,
    History,
}

impl Find {
    pub(super) fn new(peer: Arc<Peer>, number: Number) -> Find {
        Find { peer, number, people: People::default(), found: Vec::new(), step: Asked::Nothing }
    }

    fn heard_people(&mut self, result: &Value) -> Result<(), Answer> {
        self.people = of(&self.peer, &self.number, result)?;
        let (peer, app) = (&self.peer, self.peer.settings.contacts.app);
        let found = |person: &Person| Match {
            id: person.id.clone(),
            name: person.name.clone(),
            note: person.note.clone(),
            url: Some(peer.page(app, &person.id)),
            ..Match::default()
        };
        self.found = self.people.all.iter().map(found).collect();
        Ok(())
    }

    fn cases(&self) -> Option<Call> {
        let cases = &self.peer.settings.cases;
        if cases.app == 0 {
            return None;
        }
        let of = is_one_of(&cases.contact, self.people.all.iter().map(|person| person.id.as_str()));
        let open = if cases.open.is_empty() { String::new() } else { format!(" and ({})", cases.open) };
        let query = format!("{of}{open} order by $id desc limit {MOST_READ}");
        let fields = some(["$id", &cases.contact, &cases.title, &cases.state, &cases.time]);
        Some(Call::Read { app: cases.app, query, fields })
    }

    fn history(&self) -> Option<Call> {
        let (app, fields) = (self.peer.settings.app, &self.peer.settings.fields);
        let links: Vec<&str> = self.people.all.iter().filter_map(|person| person.link.as_deref()).collect();
        if links.is_empty() {
            return None;
        }
        let of = is_one_of(&fields.contact, links.into_iter());
        let query = format!("{of} order by $id desc limit {MOST_READ}");
        let fields = some(["$id", &fields.contact, &fields.called, &fields.agent, &fields.state, &fields.started]);
        Some(Call::Read { app, query, fields })
    }

    /// Gives each case to the contact that it belongs to.
    fn hand_out_cases(&mut self, rows: &[Value]) {
        let cases = &self.peer.settings.cases;
        for row in rows {
            let owner = self.found.iter_mut().find(|found| found.id == text(row, &cases.contact));
            let (Some(owner), Some(title)) = (owner, short(text(row, &cases.title))) else { continue };
            let url = Some(self.peer.page(cases.app, text(row, "$id")));
            push(
                &mut owner.cases,
                Entry { title, time: time(row, &cases.time), state: short(text(row, &cases.state)), url },
            );
        }
    }

    /// Gives each earlier call to the contact that it was with.
    fn hand_out_calls(&mut self, rows: &[Value]) {
        let fields = &self.peer.settings.fields;
        for row in rows {
            let link = text(row, &fields.contact);
            let person = self.people.all.iter().position(|person| person.link.as_deref() == Some(link));
            let Some(owner) = person.and_then(|at| self.found.get_mut(at)) else { continue };
            let words = ["着信", text(row, &fields.called), text(row, &fields.agent)];
            let title = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
            let url = Some(self.peer.page(self.peer.settings.app, text(row, "$id")));
            let (time, state) = (time(row, &fields.started), short(text(row, &fields.state)));
            push(&mut owner.history, Entry { title: title.chars().take(LONGEST).collect(), time, state, url });
        }
    }

    /// What is asked for after this.
    fn after(&mut self) -> Next<Result<Vec<Match>, Answer>> {
        loop {
            self.step = match self.step {
                Asked::Nothing => Asked::People,
                Asked::People => Asked::Cases,
                Asked::Cases => Asked::History,
                Asked::History => return Next::End(Ok(std::mem::take(&mut self.found))),
            };
            let call = match self.step {
                Asked::People => ask(&self.peer, &self.number),
                Asked::Cases => self.cases(),
                _ => self.history(),
            };
            match call {
                Some(call) => return Next::Call(call),
                None if self.step == Asked::People => return Next::End(Ok(Vec::new())),
                None => {}
            }
        }
    }
}

impl Job for Find {
    type End = Result<Vec<Match>, Answer>;

    fn apps(&self) -> Vec<u64> {
        let settings = &self.peer.settings;
        let calls = (!settings.fields.contact.is_empty()).then_some(settings.app);
        calls.into_iter().chain([settings.contacts.app]).collect()
    }

    fn next(&mut self, reply: Option<Result<Value, Fault>>) -> Next<Self::End> {
        match (self.step, reply) {
            (_, None) => {
                self.step = Asked::Nothing;
                self.after()
            }
            (Asked::Nothing, Some(_)) => Next::End(Err(odd("nothing was asked"))),
            (Asked::People, Some(Ok(result))) => match self.heard_people(&result) {
                Ok(()) if self.found.is_empty() => Next::End(Ok(Vec::new())),
                Ok(()) => self.after(),
                Err(answer) => Next::End(Err(answer)),
            },
            (Asked::People, Some(Err(fault))) if fault.doubts_form() => Next::Doubt(Err(fault.answer)),
            (Asked::People, Some(Err(fault))) => Next::End(Err(fault.answer)),
            // who calls is worth showing without the rest
            (Asked::Cases, reply) => {
                self.hand_out_cases(&rows_or_nothing(reply, "open cases"));
                self.after()
            }
            (Asked::History, reply) => {
                self.hand_out_calls(&rows_or_nothing(reply, "earlier calls"));
                self.after()
            }
        }
    }

    fn failed(answer: Answer) -> Self::End {
        Err(answer)
    }

    fn is_patient(&self) -> bool {
        false
    }
}

fn rows_or_nothing(reply: Option<Result<Value, Fault>>, what: &str) -> Vec<Value> {
    match reply {
        Some(Ok(mut result)) => match result["records"].take() {
            Value::Array(rows) => rows,
            _ => Vec::new(),
        },
        Some(Err(fault)) => {
            tracing::warn!(problem = %fault.answer, "{what} cannot be read in kintone; the pop goes without them");
            Vec::new()
        }
        None => Vec::new(),
    }
}

fn push(list: &mut Vec<Entry>, entry: Entry) {
    if list.len() < MOST_ENTRIES {
        list.push(entry);
    }
}

fn some<const N: usize>(codes: [&str; N]) -> Vec<String> {
    codes.iter().filter(|code| !code.is_empty()).map(|code| code.to_string()).collect()
}

fn time(row: &Value, code: &str) -> Option<Wall> {
    Wall::parse_rfc3339(text(row, code))
}

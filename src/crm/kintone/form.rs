//! The form of an app: which fields there are, and whether they are what the configuration takes them for. kintone passes over the field codes that it
//! does not know without a word, so they are compared before anything is written.

use std::collections::HashMap;

use serde_json::Value;

use super::rest::odd;
use super::settings::{Contacts, Settings};
use crate::outbox::retry::Answer;

/// Problems that are told at once.
const MOST_PROBLEMS: usize = 5;

/// A text of one or more lines, or one of several.
const TEXT: &[&str] = &["SINGLE_LINE_TEXT", "MULTI_LINE_TEXT", "DROP_DOWN", "RADIO_BUTTON"];
const LINES: &[&str] = &["MULTI_LINE_TEXT", "SINGLE_LINE_TEXT"];

/// How far a call is: it goes on, it was talked, nobody answered.
pub(super) const STATES: [&str; 3] = ["対応中", "完了", "応答なし"];

/// The types that a field of the app of calls may have.
fn types(key: &str) -> &'static [&'static str] {
    match key {
        "key" => &["SINGLE_LINE_TEXT"],
        "sequence" | "revision" | "seconds" => &["NUMBER"],
        "started" | "ended" => &["DATETIME"],
        "number" | "digits" => &["SINGLE_LINE_TEXT", "LINK"],
        "contact" => &["NUMBER", "SINGLE_LINE_TEXT", "LINK"],
        "who" => LINES,
        "course" | "transcript" => &["MULTI_LINE_TEXT"],
        "file" => &["FILE"],
        _ => TEXT,
    }
}

/// A field of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) kind: String,
    required: bool,
    unique: bool,
    /// kintone fills it when it is not given.
    has_default: bool,
    /// Most characters.
    longest: Option<usize>,
    /// What it takes; empty = anything.
    options: Vec<String>,
    /// The app and the field whose value a look-up field holds.
    pub(super) looks_up: Option<(u64, String)>,
}

/// The fields of an app by their codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(HashMap<String, Field>);

impl Form {
    /// Reads the answer of `app/form/fields.json`.
    pub(super) fn read(result: &Value) -> Result<Form, Answer> {
        let properties = result["properties"].as_object().ok_or_else(|| odd("the form has no fields"))?;
        Ok(Form(properties.iter().map(|(code, property)| (code.clone(), field(property))).collect()))
    }

    pub(super) fn get(&self, code: &str) -> Option<&Field> {
        self.0.get(code)
    }

    /// A text as the field takes it: cut to its length; `None` where it is none of the field's options.
    pub(super) fn fitted(&self, code: &str, text: &str) -> Option<String> {
        let Some(field) = self.get(code) else { return Some(text.into()) };
        if matches!(field.kind.as_str(), "DROP_DOWN" | "RADIO_BUTTON") && !field.options.iter().any(|one| one == text) {
            return None;
        }
        let one_line = if field.kind == "SINGLE_LINE_TEXT" { text.replace('\n', "、") } else { text.into() };
        Some(one_line.chars().take(field.longest.unwrap_or(usize::MAX)).collect())
    }

    /// What is wrong with the app of calls; `None` when it is as the configuration says.
    pub(super) fn problem_of_calls(&self, settings: &Settings) -> Option<String> {
        let fields = &settings.fields;
        let mapped = fields.all().into_iter().filter(|(_, code)| !code.is_empty());
        let mut found: Vec<String> =
            mapped.clone().filter_map(|(key, code)| self.problem("fields", key, code, types(key))).collect();
        if self.get(&fields.key).is_some_and(|field| !field.unique && field.kind == "SINGLE_LINE_TEXT") {
            found.push(format!("fields.key `{}` may repeat; switch 値の重複を禁止する on", fields.key));
        }
        if let Some(field) = self.get(&fields.state).filter(|field| !field.options.is_empty()) {
            let lacks = STATES.iter().filter(|state| !field.options.iter().any(|one| one == *state));
            found.extend(lacks.map(|state| format!("fields.state `{}` has no option {state}", fields.state)));
        }
        let looks_up = self.get(&fields.contact).and_then(|field| field.looks_up.as_ref());
        if let Some((app, _)) = looks_up.filter(|(app, _)| *app != settings.contacts.app) {
            let (code, expected) = (&fields.contact, settings.contacts.app);
            found.push(format!(
                "fields.contact `{code}` looks up app {app}, expected contacts.app, which is {expected}"
            ));
        }
        let required =
            self.0.iter().filter(|(code, field)| field.required && !field.has_default && **code != fields.key);
        let mut required: Vec<&String> = required.map(|(code, _)| code).collect();
        required.sort();
        found.extend(required.iter().map(|code| {
            format!(
                "`{code}` must not be empty, and not every event fills it; switch 必須項目にする off or set a default"
            )
        }));
        told(settings.app, found)
    }

    /// What is wrong with the app of contacts.
    pub(super) fn problem_of_contacts(&self, contacts: &Contacts) -> Option<String> {
        let wrong = |key, code, types| self.problem("contacts", key, code, types);
        let mut found: Vec<String> = wrong("name", &contacts.name, &[]).into_iter().collect();
        found.extend(contacts.numbers.iter().filter_map(|code| wrong("numbers", code, &["SINGLE_LINE_TEXT", "LINK"])));
        if !contacts.note.is_empty() {
            found.extend(wrong("note", &contacts.note, &[]));
        }
        told(contacts.app, found)
    }

    /// `types` empty: any.
    fn problem(&self, section: &str, key: &str, code: &str, types: &[&str]) -> Option<String> {
        match self.get(code) {
            None => Some(format!("{section}.{key} `{code}` is not in the form")),
            Some(field) if !types.is_empty() && !types.contains(&field.kind.as_str()) => {
                Some(format!("{section}.{key} `{code}` is a {}, expected {}", field.kind, types.join(" or ")))
            }
            Some(_) => None,
        }
    }
}

fn told(app: u64, found: Vec<String>) -> Option<String> {
    let more = if found.len() > MOST_PROBLEMS { "; and more" } else { "" };
    let text = found.iter().take(MOST_PROBLEMS).cloned().collect::<Vec<_>>().join("; ");
    (!found.is_empty()).then(|| format!("kintone app {app}, [endpoint.kintone]: {text}{more}"))
}

fn field(property: &Value) -> Field {
    let default = &property["defaultValue"];
    let is_filled = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let lookup = &property["lookup"];
    let app = lookup["relatedApp"]["app"].as_str().and_then(|app| app.parse().ok());
    Field {
        kind: property["type"].as_str().unwrap_or_default().into(),
        required: property["required"] == true,
        unique: property["unique"] == true,
        has_default: is_filled(default)
            || default.as_array().is_some_and(|all| !all.is_empty())
            || property["defaultNowValue"] == true,
        longest: property["maxLength"].as_str().and_then(|most| most.parse().ok()),
        options: property["options"].as_object().into_iter().flat_map(|all| all.keys().cloned()).collect(),
        looks_up: app.zip(lookup["relatedKeyField"].as_str().map(String::from)),
    }
}

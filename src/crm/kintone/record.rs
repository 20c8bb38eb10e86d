//! What is to be written into a record: values by field code, as the form takes them.

use serde_json::{Map, Value, json};

use super::form::Form;
use super::settings::Fields;

/// Values for a record, by field code.
pub(super) struct Record<'a> {
    form: &'a Form,
    fields: [(&'static str, &'a str); 18],
    pub(super) values: Map<String, Value>,
}

impl<'a> Record<'a> {
    /// With nothing in it.
    pub(super) fn new(form: &'a Form, fields: &'a Fields) -> Record<'a> {
        Record { form, fields: fields.all(), values: Map::new() }
    }

    fn code(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| *name == key).map(|(_, code)| *code).filter(|code| !code.is_empty())
    }

    /// A value as it is; nothing where no field is for it.
    pub(super) fn put(&mut self, key: &str, value: Value) {
        if let Some(code) = self.code(key).map(String::from) {
            self.values.insert(code, json!({"value": value}));
        }
    }

    /// Unless it has a value by now.
    pub(super) fn put_once(&mut self, key: &str, value: Value) {
        if self.code(key).is_some_and(|code| !self.values.contains_key(code)) {
            self.put(key, value);
        }
    }

    /// A text as the field takes it.
    pub(super) fn put_text(&mut self, key: &str, text: &str) {
        if let Some(text) = self.code(key).and_then(|code| self.form.fitted(code, text)) {
            self.put(key, json!(text));
        }
    }

    /// The same while the field is open, unless it has a value by now.
    pub(super) fn put_text_once(&mut self, key: &str, text: &str, is_open: bool) {
        if is_open && !text.is_empty() && self.code(key).is_some_and(|code| !self.values.contains_key(code)) {
            self.put_text(key, text);
        }
    }
}

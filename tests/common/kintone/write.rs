//! Writing of records: what a value must be, what may not be there twice, and which record an update means.

use serde_json::{Map, Value, json};

use super::answer::{DUPLICATE, Errors, REQUIRED, Refusal};
use super::app::{App, Field, Kind, UNIQUE_CHARACTERS};
use super::query::moment;
use super::store::{Record, Store, minute};

/// Who writes.
pub(crate) struct Writer<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) app: u64,
    /// Code of the user.
    pub(crate) who: &'a str,
    /// Apps whose records the writer may read: look-ups need that.
    pub(crate) reads: &'a [u64],
    /// Values that are wrong so far; a batch is refused with all of them.
    pub(crate) errors: Errors,
    /// Field codes that no field has: the service passes over them without a word.
    pub(crate) skipped: &'a mut Vec<String>,
}

/// A record that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) id: u64,
    pub(crate) revision: u64,
    pub(crate) inserted: bool,
}

/// What is wrong with a value.
enum Fault {
    /// Another JSON type than the field's.
    Json,
    /// A number was to come.
    NotNumber,
    Says(String),
}

impl Writer<'_> {
    fn app(&self) -> Result<App, Refusal> {
        Ok(self.store.table(self.app)?.app.clone())
    }

    /// Adds a record; `path` is where it stands in the request.
    pub(crate) fn insert(&mut self, given: &Value, path: &str) -> Result<Written, Refusal> {
        let id = self.store.next_id(self.app)?;
        let record = self.store.table(self.app)?.blank(id, self.who);
        self.save(record, given, path, true)
    }

    /// Updates the record that the item means; with `upsert` it is added when it is not there.
    pub(crate) fn update(&mut self, item: &Value, path: &str, upsert: bool) -> Result<Written, Refusal> {
        let at = |name: &str| beside(path, name);
        let given = item.get("record").cloned().unwrap_or_else(|| json!({}));
        if !given.is_object() {
            return Err(Refusal::not_json());
        }
        let found = match (item.get("id"), item.get("updateKey")) {
            (Some(id), None) => {
                let id = number(id).ok_or_else(|| Refusal::wrong(at("id"), "数字でなければなりません。"))?;
                let found = self.store.record(self.app, id).cloned();
                if upsert { found.ok() } else { Some(found?) }
            }
            (None, Some(key)) => return self.update_by_key(key, item, given, path, upsert),
            _ => {
                let mut errors = Errors::default();
                let message = "更新対象のレコードは、「id」と「updateKey」のどちらか一方で指定してください。";
                for name in ["id", "updateKey"] {
                    errors.add(at(name), message);
                }
                return Err(Refusal::invalid(errors));
            }
        };
        match found {
            Some(record) => self.change(record, item, &given, path),
            None => self.insert(&given, path),
        }
    }

    fn update_by_key(
        &mut self,
        key: &Value,
        item: &Value,
        mut given: Value,
        path: &str,
        upsert: bool,
    ) -> Result<Written, Refusal> {
        let code = key["field"].as_str().ok_or_else(|| Refusal::missing(beside(path, "updateKey.field")))?;
        let value = plain(&key["value"]).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| Refusal::missing(beside(path, "updateKey.value")))?;
        let app = self.app()?;
        let field = app.field(code).ok_or_else(|| Refusal::no_field(code))?;
        if !field.unique || !matches!(field.kind, Kind::Text | Kind::Number) {
            let message = format!(
                "更新に失敗しました。「updateKey」に指定したフィールド（code: {code}）で、「値の重複を禁止する」を選択してください。"
            );
            return Err(Refusal::new(400, "GAIA_IQ27", message));
        }
        if given.get(code).is_some() {
            let message = "「updateKey」に指定したフィールドの値は、更新できません。";
            return Err(Refusal::wrong(format!("{path}.{code}"), message));
        }
        match self.store.table(self.app)?.holder(field, &value) {
            Some(id) => {
                let record = self.store.record(self.app, id)?.clone();
                self.change(record, item, &given, path)
            }
            None if upsert => {
                given[code] = json!({"value": value});
                self.insert(&given, path)
            }
            None => {
                let message = format!("指定したレコード（{code}: {value}）が見つかりません。");
                Err(Refusal::new(404, "GAIA_RE20", message))
            }
        }
    }

    fn change(&mut self, record: Record, item: &Value, given: &Value, path: &str) -> Result<Written, Refusal> {
        expect_revision(&record, item.get("revision"))?;
        self.save(record, given, path, false)
    }

    fn save(&mut self, mut record: Record, given: &Value, path: &str, inserted: bool) -> Result<Written, Refusal> {
        let app = self.app()?;
        let given = given.as_object().ok_or_else(Refusal::not_json)?;
        let wrong_before = self.errors.len();
        self.fill(&app, &mut record, given, path)?;
        self.judge(&app, &record, path)?;
        self.store.table(self.app)?.touch(&mut record, self.who);
        let written = Written { id: record.id, revision: record.revision, inserted };
        if self.errors.len() == wrong_before {
            self.store.put(self.app, record.id, Some(record))?;
        }
        Ok(written)
    }

    /// Puts the given values into the record.
    fn fill(&mut self, app: &App, record: &mut Record, given: &Map<String, Value>, path: &str) -> Result<(), Refusal> {
        let filled = app.filled();
        for (code, value) in given {
            let Some(field) = app.field(code) else {
                if code.starts_with('$') {
                    return Err(Refusal::not_json());
                }
                self.skipped.push(code.clone());
                continue;
            };
            if field.kind.is_system() {
                return Err(Refusal::not_json());
            }
            if filled.contains(&field.code) {
                continue; // what a look-up fills nobody else does
            }
            let value = value.as_object().ok_or_else(Refusal::not_json)?.get("value").unwrap_or(&Value::Null);
            if field.kind == Kind::File {
                let files = self.attach(record, field, value)?;
                record.values.insert(code.clone(), files);
                continue;
            }
            match normal(field, value) {
                Ok(value) => drop(record.values.insert(code.clone(), value)),
                Err(Fault::Json) => return Err(Refusal::not_json()),
                Err(Fault::NotNumber) => self.errors.add(format!("{path}[{code}].value"), "数字でなければなりません。"),
                Err(Fault::Says(message)) => self.errors.add(format!("{path}.{code}.value"), message),
            }
            if field.lookup.is_some() {
                self.look_up(field, record)?;
            }
        }
        Ok(())
    }

    /// The files that a field is to have: those that it has already, by their keys, and new ones out of temporary storage.
    fn attach(&mut self, record: &Record, field: &Field, given: &Value) -> Result<Value, Refusal> {
        let held = record.values.get(field.code).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut files = Vec::new();
        for file in given.as_array().ok_or_else(Refusal::not_json)? {
            let key = file["fileKey"].as_str().ok_or_else(Refusal::not_json)?;
            if let Some(kept) = held.iter().find(|kept| kept["fileKey"] == key) {
                files.push(kept.clone());
                continue;
            }
            let (key, file) = self.store.attach(key, self.app)?;
            let size = file.content.len().to_string();
            files.push(json!({"fileKey": key, "name": file.name, "contentType": file.content_type, "size": size}));
        }
        Ok(Value::Array(files))
    }

    /// Fills the fields that belong to a look-up.
    fn look_up(&self, field: &Field, record: &mut Record) -> Result<(), Refusal> {
        let lookup = field.lookup.as_ref().expect("asked for a field with a look-up");
        let key = record.text(field.code);
        let there = key.parse().ok().and_then(|id| self.store.record(lookup.app, id).ok());
        let there = there.filter(|_| self.reads.contains(&lookup.app));
        if there.is_none() && !key.is_empty() {
            let message = format!(
                "フィールド「{}」の値「{key}」が、ルックアップの参照先のフィールドにないか、またはアプリやフィールドの閲覧権限がありません。",
                field.code
            );
            return Err(Refusal::new(400, "GAIA_LO04", message));
        }
        for (own, other) in lookup.copies {
            let value = there.and_then(|there| there.values.get(*other)).cloned().unwrap_or_else(|| json!(""));
            record.values.insert((*own).to_owned(), value);
        }
        Ok(())
    }

    /// What the whole record must be, whatever of it was given.
    fn judge(&mut self, app: &App, record: &Record, path: &str) -> Result<(), Refusal> {
        for field in &app.fields {
            let text = record.text(field.code);
            let last = if field.kind == Kind::File { "values" } else { "value" };
            let at = format!("{path}.{}.{last}", field.code);
            if field.required && text.is_empty() {
                self.errors.add(&at, REQUIRED);
            }
            if text.is_empty() || field.kind.is_system() {
                continue;
            }
            let longest =
                if field.unique && field.kind == Kind::Text { Some(UNIQUE_CHARACTERS) } else { field.longest };
            if let Some(most) = longest.filter(|most| text.chars().count() > *most) {
                self.errors.add(&at, format!("{}文字より短くなければなりません。", most + 1));
            }
            let number = if field.kind == Kind::Number { text.parse::<f64>().ok() } else { None };
            if let (Some(number), Some(least)) = (number, field.least)
                && number < least
            {
                self.errors.add(&at, format!("{least}以上である必要があります。"));
            }
            let holder = if field.unique { self.store.table(self.app)?.holder(field, &text) } else { None };
            if holder.is_some_and(|holder| holder != record.id) {
                self.errors.add(&at, DUPLICATE);
            }
        }
        Ok(())
    }
}

/// Where a parameter stands that is beside the record's fields.
fn beside(path: &str, name: &str) -> String {
    if path == "record" { name.to_owned() } else { format!("{path}.{name}") }
}

/// Refused when the record was written since; -1 and nothing stand for any revision.
pub(crate) fn expect_revision(record: &Record, expected: Option<&Value>) -> Result<(), Refusal> {
    match expected.and_then(plain).as_deref() {
        None | Some("" | "-1") => Ok(()),
        Some(expected) if expected == record.revision.to_string() => Ok(()),
        Some(_) => Err(Refusal::stale()),
    }
}

/// The value in the form in which the service keeps it.
fn normal(field: &Field, given: &Value) -> Result<Value, Fault> {
    let text = match given {
        Value::Null => return Ok(field.kind.empty()),
        other => plain(other).ok_or(Fault::Json)?,
    };
    match &field.kind {
        Kind::Number => {
            let text = text.trim();
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            let simple = text.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-');
            match number {
                _ if text.is_empty() => Ok(json!("")),
                Some(_) if simple => Ok(json!(text)),
                Some(number) => Ok(json!(number.to_string())),
                None => Err(Fault::NotNumber),
            }
        }
        Kind::DateTime if text.is_empty() => Ok(json!("")),
        Kind::DateTime => match moment(&text) {
            Some(moment) => Ok(json!(minute(moment))),
            None => Err(Fault::Says("日時の形式が正しくありません。".into())),
        },
        Kind::DropDown(_) if text.is_empty() => Ok(Value::Null),
        Kind::DropDown(options) if !options.contains(&text.as_str()) => {
            Err(Fault::Says(format!("\"{text}\"は選択肢にありません。")))
        }
        _ => Ok(json!(text)),
    }
}

/// A text or a number, as a text.
pub(crate) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A number from 1, which may come as a text.
pub(crate) fn number(value: &Value) -> Option<u64> {
    plain(value)?.parse().ok().filter(|number| *number > 0)
}

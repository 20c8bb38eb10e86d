//! Records, comments and files of the stand-in for kintone. What is written can be taken back until it is settled.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer::Refusal;
use super::app::{App, Field, Kind};

/// A record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) revision: u64,
    /// By field code, in the form in which it is answered.
    pub(crate) values: BTreeMap<String, Value>,
    /// Whether `like` knows it yet.
    pub(crate) indexed: bool,
}

impl Record {
    /// A field's value as a text; empty where there is none. Of files their names, of people their codes.
    pub(crate) fn text(&self, code: &str) -> String {
        if code == "$id" {
            return self.id.to_string();
        }
        match self.values.get(code) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(files)) => {
                files.iter().filter_map(|file| file["name"].as_str()).collect::<Vec<_>>().join(" ")
            }
            Some(Value::Object(person)) => person["code"].as_str().unwrap_or_default().to_owned(),
            _ => String::new(),
        }
    }

    /// As it is answered: all fields, or these.
    pub(crate) fn shown(&self, app: &App, codes: &[String]) -> Value {
        let wanted = |code: &str| codes.is_empty() || codes.iter().any(|wanted| wanted == code);
        let fields = app.fields.iter().filter(|field| wanted(field.code));
        let mut shown: Map<String, Value> = fields
            .map(|field| {
                let value = self.values.get(field.code).cloned().unwrap_or_else(|| field.kind.empty());
                (field.code.to_owned(), json!({"type": field.kind.name(), "value": value}))
            })
            .collect();
        for (code, kind, value) in [("$id", "__ID__", self.id), ("$revision", "__REVISION__", self.revision)] {
            if wanted(code) {
                shown.insert(code.into(), json!({"type": kind, "value": value.to_string()}));
            }
        }
        Value::Object(shown)
    }
}

/// A file, in temporary storage or on a record.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) content: Arc<[u8]>,
    /// The app whose record it is on.
    pub(crate) app: Option<u64>,
}

/// An app with its records.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) app: App,
    pub(crate) records: BTreeMap<u64, Record>,
    next: u64,
    /// Record by field code and value, of the fields where no two may have the same.
    unique: HashMap<(&'static str, String), u64>,
    /// By record, the oldest first.
    pub(crate) comments: BTreeMap<u64, Vec<Value>>,
}

/// What was written and is not settled.
#[derive(Debug)]
enum Undo {
    Record { app: u64, id: u64, before: Option<Record> },
    Upload { key: String, file: File },
}

/// Everything that the stand-in keeps.
#[derive(Debug, Default)]
pub(crate) struct Store {
    tables: BTreeMap<u64, Table>,
    /// In temporary storage, each to be put on one record.
    pub(crate) uploads: HashMap<String, File>,
    /// On records.
    pub(crate) files: HashMap<String, File>,
    /// What is written is not found by `like` before [`Store::index`].
    pub(crate) index_lags: bool,
    undo: Vec<Undo>,
}

impl Store {
    pub(crate) fn new(apps: Vec<App>) -> Store {
        let table = |app: App| {
            let (unique, comments) = (HashMap::new(), BTreeMap::new());
            (app.id, Table { app, records: BTreeMap::new(), next: 1, unique, comments })
        };
        Store { tables: apps.into_iter().map(table).collect(), ..Store::default() }
    }

    pub(crate) fn table(&self, app: u64) -> Result<&Table, Refusal> {
        self.tables.get(&app).ok_or_else(|| Refusal::no_app(app))
    }

    pub(crate) fn table_mut(&mut self, app: u64) -> Result<&mut Table, Refusal> {
        self.tables.get_mut(&app).ok_or_else(|| Refusal::no_app(app))
    }

    pub(crate) fn record(&self, app: u64, id: u64) -> Result<&Record, Refusal> {
        self.table(app)?.records.get(&id).ok_or_else(|| Refusal::no_record(id))
    }

    /// Does all of it or nothing.
    pub(crate) fn whole<T>(&mut self, work: impl FnOnce(&mut Store) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let done = work(self);
        let undo = std::mem::take(&mut self.undo);
        if done.is_err() {
            for step in undo.into_iter().rev() {
                self.take_back(step);
            }
        }
        done
    }

    fn take_back(&mut self, step: Undo) {
        match step {
            Undo::Upload { key, file } => drop(self.uploads.insert(key, file)),
            Undo::Record { app, id, before } => {
                let table = self.tables.get_mut(&app).expect("it was written there");
                table.replace(id, before);
            }
        }
    }

    /// A number for a new record.
    pub(crate) fn next_id(&mut self, app: u64) -> Result<u64, Refusal> {
        let table = self.table_mut(app)?;
        table.next += 1;
        Ok(table.next - 1)
    }

    /// Writes a record, or takes it away.
    pub(crate) fn put(&mut self, app: u64, id: u64, record: Option<Record>) -> Result<(), Refusal> {
        let indexed = !self.index_lags;
        let record = record.map(|record| Record { indexed, ..record });
        let before = self.table_mut(app)?.replace(id, record);
        self.undo.push(Undo::Record { app, id, before });
        Ok(())
    }

    /// Takes a file out of temporary storage for a record; answers its new key.
    pub(crate) fn attach(&mut self, key: &str, app: u64) -> Result<(String, File), Refusal> {
        let file = self.uploads.remove(key).ok_or_else(|| Refusal::no_file(key))?;
        self.undo.push(Undo::Upload { key: key.into(), file: file.clone() });
        let (kept, key) = (File { app: Some(app), ..file }, long_key());
        self.files.insert(key.clone(), kept.clone());
        Ok((key, kept))
    }

    /// Lets `like` find everything.
    pub(crate) fn index(&mut self) {
        for table in self.tables.values_mut() {
            table.records.values_mut().for_each(|record| record.indexed = true);
        }
    }
}

impl Table {
    /// The record that has this value in this field.
    pub(crate) fn holder(&self, field: &Field, value: &str) -> Option<u64> {
        self.unique.get(&(field.code, value.to_owned())).copied()
    }

    fn replace(&mut self, id: u64, record: Option<Record>) -> Option<Record> {
        let before = self.records.remove(&id);
        let unique = self.app.fields.iter().filter(|field| field.unique).map(|field| field.code);
        for code in unique {
            if let Some(before) = &before {
                self.unique.remove(&(code, before.text(code)));
            }
            if let Some(record) = record.as_ref().filter(|record| !record.text(code).is_empty()) {
                self.unique.insert((code, record.text(code)), id);
            }
        }
        if let Some(record) = record {
            self.records.insert(id, record);
        }
        before
    }

    /// A new record as the service makes it, before anything is written into it.
    pub(crate) fn blank(&self, id: u64, who: &str) -> Record {
        let mut record = Record { id, revision: 0, values: BTreeMap::new(), indexed: false };
        let person = json!({"code": who, "name": who});
        for field in &self.app.fields {
            let value = match field.kind {
                Kind::RecordNumber => json!(id.to_string()),
                Kind::Creator | Kind::Modifier => person.clone(),
                Kind::Created | Kind::Updated => json!(minute(Timestamp::now())),
                _ => field.kind.empty(),
            };
            record.values.insert(field.code.to_owned(), value);
        }
        record
    }

    /// Marks a record as written by somebody now.
    pub(crate) fn touch(&self, record: &mut Record, who: &str) {
        record.revision += 1;
        for field in &self.app.fields {
            let value = match field.kind {
                Kind::Modifier => json!({"code": who, "name": who}),
                Kind::Updated => json!(minute(Timestamp::now())),
                _ => continue,
            };
            record.values.insert(field.code.to_owned(), value);
        }
    }
}

/// The form in which the service answers moments: seconds are gone.
pub(crate) fn minute(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:00Z").to_string()
}

/// A key as those of files on records look.
fn long_key() -> String {
    format!("20260101{}", Uuid::now_v7().simple().to_string().to_uppercase())
}

//! `[endpoint.kintone]` of the configuration: which apps there are, and which of their fields is what.

use serde::{Deserialize, Serialize};

/// The longest field code, in characters.
const LONGEST_CODE: usize = 128;

/// A kintone that calls are recorded in; the API tokens of its apps are the lines of the endpoint's `secret_file`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Number of the app with a record for each call.
    pub app: u64,
    /// Where people open kintone, when that is another address than `url`; empty = `url`.
    pub pages: String,
    /// `[endpoint.kintone.fields]`: fields of that app.
    pub fields: Fields,
    /// `[endpoint.kintone.contacts]`: the app of those who call.
    pub contacts: Contacts,
    /// `[endpoint.kintone.cases]`: an app of what is not settled yet.
    pub cases: Cases,
}

/// Field codes of the app of calls. What is empty is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The contact's id: a single line of text that no two records may share (重複禁止). Needed.
    pub key: String,
    /// Number of the newest event of the call in the record. Needed.
    pub sequence: String,
    /// Number of the transcript's revision in the record. Needed with `transcript` or `file`.
    pub revision: String,
    /// When the call began.
    pub started: String,
    /// When it ended.
    pub ended: String,
    /// Seconds of talk, from the first answer to the end.
    pub seconds: String,
    /// 対応中, 完了, 応答なし.
    pub state: String,
    /// The caller's number as people read it, or why there is none.
    pub number: String,
    /// The caller's number, digits only.
    pub digits: String,
    /// The dialled line.
    pub called: String,
    /// The queue.
    pub queue: String,
    /// The site.
    pub site: String,
    /// Whoever answered first.
    pub agent: String,
    /// The one contact that has the number: a look-up field of the app of contacts, a number, a text or a link.
    pub contact: String,
    /// Who it may be, in words.
    pub who: String,
    /// The call's course leg by leg.
    pub course: String,
    /// The transcript, as far as it goes into a field.
    pub transcript: String,
    /// The transcript as a whole, a text file.
    pub file: String,
}

impl Fields {
    /// Whether there is a place for a transcript.
    pub(super) fn take_text(&self) -> bool {
        !self.transcript.is_empty() || !self.file.is_empty()
    }

    /// Each key with its field code.
    pub(super) fn all(&self) -> [(&'static str, &str); 18] {
        [
            ("key", &self.key),
            ("sequence", &self.sequence),
            ("revision", &self.revision),
            ("started", &self.started),
            ("ended", &self.ended),
            ("seconds", &self.seconds),
            ("state", &self.state),
            ("number", &self.number),
            ("digits", &self.digits),
            ("called", &self.called),
            ("queue", &self.queue),
            ("site", &self.site),
            ("agent", &self.agent),
            ("contact", &self.contact),
            ("who", &self.who),
            ("course", &self.course),
            ("transcript", &self.transcript),
            ("file", &self.file),
        ]
    }
}

/// The app of those who call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contacts {
    /// Its number; 0 = there is none, and nobody is looked up.
    pub app: u64,
    /// Field with the name.
    pub name: String,
    /// Fields with telephone numbers, digits only: single lines of text.
    pub numbers: Vec<String>,
    /// Field with one line for the operator, for example the ward; empty = none.
    pub note: String,
}

/// An app of what is not settled yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cases {
    /// Its number; 0 = there is none.
    pub app: u64,
    /// Field with the record number of the contact.
    pub contact: String,
    /// Field with the title.
    pub title: String,
    /// Field that says how far it is; empty = none.
    pub state: String,
    /// Field that says when it was begun; empty = none.
    pub time: String,
    /// Which are open, as a condition of kintone's query language; empty = all.
    pub open: String,
}

/// A key whose value cannot be, and what is wrong with it.
pub(super) type Wrong = (String, &'static str);

impl Settings {
    /// The first value that cannot be.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let wrong = |key: &str, problem| Err((key.to_string(), problem));
        if self.app == 0 {
            return wrong("app", "0; expected the number of the app of calls, as in its address /k/12/");
        }
        for (key, code) in [("fields.key", &self.fields.key), ("fields.sequence", &self.fields.sequence)] {
            needed(key, code)?;
        }
        if self.fields.take_text() {
            needed("fields.revision", &self.fields.revision)?;
        }
        if !self.fields.contact.is_empty() && self.contacts.app == 0 {
            return wrong(
                "fields.contact",
                "there are no contacts to be linked to; set contacts.app, or leave it empty",
            );
        }
        let fields = self.fields.all();
        for (at, (key, code)) in fields.iter().enumerate() {
            optional(&format!("fields.{key}"), code)?;
            if fields.iter().take(at).any(|(_, other)| !code.is_empty() && other == code) {
                return wrong(
                    &format!("fields.{key}"),
                    "this field code stands at two keys; expected a field for each",
                );
            }
        }
        self.contacts.check()?;
        self.cases.check(self.contacts.app)
    }
}

impl Contacts {
    fn check(&self) -> Result<(), Wrong> {
        if self.app == 0 {
            return Ok(());
        }
        needed("contacts.name", &self.name)?;
        if self.numbers.is_empty() {
            return Err(("contacts.numbers".into(), "empty; expected the codes of fields with digits only"));
        }
        self.numbers.iter().try_for_each(|code| needed("contacts.numbers", code))?;
        optional("contacts.note", &self.note)
    }
}

impl Cases {
    fn check(&self, contacts: u64) -> Result<(), Wrong> {
        if self.app == 0 {
            return Ok(());
        }
        if contacts == 0 {
            return Err(("cases.app".into(), "there are no contacts that cases could belong to; set contacts.app"));
        }
        needed("cases.contact", &self.contact)?;
        needed("cases.title", &self.title)?;
        optional("cases.state", &self.state)?;
        optional("cases.time", &self.time)
    }
}

fn needed(key: &str, code: &str) -> Result<(), Wrong> {
    if code.is_empty() {
        return Err((key.into(), "empty; expected a field code"));
    }
    optional(key, code)
}

/// A field code may stand in a query, so it has nothing that means something there.
fn optional(key: &str, code: &str) -> Result<(), Wrong> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\"'(),=<>!\\".contains(c);
    if code.chars().any(odd) || code.chars().count() > LONGEST_CODE {
        return Err((
            key.into(),
            "expected a field code as it stands in the field's settings, without blanks or quotes",
        ));
    }
    Ok(())
}

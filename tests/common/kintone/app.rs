//! Apps of the stand-in for kintone: their fields, and the two that a telephone link needs.

use serde_json::{Map, Value, json};

/// The app 連絡先: who is known by which number.
pub(crate) const CONTACTS: u64 = 11;
/// The app 応対記録: a record a call.
pub(crate) const CALLS: u64 = 12;

/// Most characters of a text that no other record may have (observed; the help page was not at hand).
pub(crate) const UNIQUE_CHARACTERS: usize = 64;

/// What a field takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Text,
    MultiLine,
    Number,
    DateTime,
    /// One of these.
    DropDown(&'static [&'static str]),
    File,
    RecordNumber,
    Creator,
    Modifier,
    Created,
    Updated,
}

impl Kind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Text => "SINGLE_LINE_TEXT",
            Kind::MultiLine => "MULTI_LINE_TEXT",
            Kind::Number => "NUMBER",
            Kind::DateTime => "DATETIME",
            Kind::DropDown(_) => "DROP_DOWN",
            Kind::File => "FILE",
            Kind::RecordNumber => "RECORD_NUMBER",
            Kind::Creator => "CREATOR",
            Kind::Modifier => "MODIFIER",
            Kind::Created => "CREATED_TIME",
            Kind::Updated => "UPDATED_TIME",
        }
    }

    /// Filled by the service; nobody writes it.
    pub(crate) fn is_system(&self) -> bool {
        use Kind::{Created, Creator, Modifier, RecordNumber, Updated};
        matches!(self, RecordNumber | Creator | Modifier | Created | Updated)
    }

    /// The value of a field that was never written.
    pub(crate) fn empty(&self) -> Value {
        match self {
            Kind::File => json!([]),
            Kind::DropDown(_) => Value::Null,
            _ => json!(""),
        }
    }
}

/// A field of an app's form.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) code: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    /// 値の重複を禁止する.
    pub(crate) unique: bool,
    /// Most characters.
    pub(crate) longest: Option<usize>,
    /// Least number.
    pub(crate) least: Option<f64>,
    pub(crate) lookup: Option<Lookup>,
}

/// The field's value is the record number of another app's record, from which other fields are filled.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(crate) app: u64,
    /// Field here, field there.
    pub(crate) copies: &'static [(&'static str, &'static str)],
}

impl Field {
    pub(crate) fn new(code: &'static str, kind: Kind) -> Field {
        Field { code, kind, required: false, unique: false, longest: None, least: None, lookup: None }
    }

    pub(crate) fn required(self) -> Field {
        Field { required: true, ..self }
    }

    pub(crate) fn unique(self) -> Field {
        Field { unique: true, ..self }
    }

    pub(crate) fn longest(self, characters: usize) -> Field {
        Field { longest: Some(characters), ..self }
    }

    pub(crate) fn at_least(self, least: f64) -> Field {
        Field { least: Some(least), ..self }
    }

    pub(crate) fn lookup(self, app: u64, copies: &'static [(&'static str, &'static str)]) -> Field {
        Field { lookup: Some(Lookup { app, copies }), ..self }
    }

    fn property(&self) -> Value {
        let mut property = json!({"type": self.kind.name(), "code": self.code, "label": self.code, "noLabel": false});
        if self.kind.is_system() {
            return property;
        }
        property["required"] = json!(self.required);
        let text = |limit: Option<String>| json!(limit.unwrap_or_default());
        match &self.kind {
            Kind::Text => {
                property["unique"] = json!(self.unique);
                property["minLength"] = json!("");
                property["maxLength"] = text(self.longest.map(|most| most.to_string()));
            }
            Kind::Number => {
                property["unique"] = json!(self.unique);
                property["minValue"] = text(self.least.map(|least| least.to_string()));
                property["maxValue"] = json!("");
            }
            Kind::DropDown(options) => {
                let shown = options.iter().enumerate();
                property["options"] =
                    shown.map(|(index, label)| (*label, json!({"label": label, "index": index.to_string()}))).collect();
            }
            _ => {}
        }
        if let Some(lookup) = &self.lookup {
            let copies = lookup.copies.iter().map(|(own, there)| json!({"field": own, "relatedField": there}));
            property["lookup"] = json!({
                "relatedApp": {"app": lookup.app.to_string(), "code": ""},
                "relatedKeyField": "レコード番号",
                "fieldMappings": copies.collect::<Vec<_>>(),
                "lookupPickerFields": [],
                "filterCond": "",
                "sort": "レコード番号 desc",
            });
        }
        property
    }
}

/// An app.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) id: u64,
    pub(crate) fields: Vec<Field>,
}

impl App {
    /// An app of these fields and the ones that every app has.
    pub(crate) fn new(id: u64, mut fields: Vec<Field>) -> App {
        let system = [
            ("レコード番号", Kind::RecordNumber),
            ("作成者", Kind::Creator),
            ("更新者", Kind::Modifier),
            ("作成日時", Kind::Created),
            ("更新日時", Kind::Updated),
        ];
        fields.extend(system.map(|(code, kind)| Field::new(code, kind)));
        App { id, fields }
    }

    pub(crate) fn field(&self, code: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.code == code)
    }

    /// Fields that a look-up fills.
    pub(crate) fn filled(&self) -> Vec<&'static str> {
        let lookups = self.fields.iter().filter_map(|field| field.lookup.as_ref());
        lookups.flat_map(|lookup| lookup.copies).map(|(own, _)| *own).collect()
    }

    /// The answer of `app/form/fields.json`.
    pub(crate) fn properties(&self) -> Value {
        let properties: Map<String, Value> =
            self.fields.iter().map(|field| (field.code.to_owned(), field.property())).collect();
        json!({"properties": properties, "revision": "2"})
    }

    pub(crate) fn contacts() -> App {
        let wards = Kind::DropDown(&["北区", "中央区", "浪速区", "住吉区"]);
        let fields = vec![
            Field::new("氏名", Kind::Text).required(),
            Field::new("電話番号", Kind::Text),
            Field::new("検索用番号", Kind::Text).longest(20),
            Field::new("行政区", wards),
            Field::new("備考", Kind::MultiLine),
        ];
        App::new(CONTACTS, fields)
    }

    pub(crate) fn calls() -> App {
        let fields = vec![
            Field::new("通話キー", Kind::Text).required().unique(),
            Field::new("開始日時", Kind::DateTime),
            Field::new("終了日時", Kind::DateTime),
            Field::new("発信者番号", Kind::Text).longest(20),
            Field::new("担当者", Kind::Text),
            Field::new("通話秒数", Kind::Number).at_least(0.0),
            Field::new("文字起こし", Kind::MultiLine),
            Field::new("添付", Kind::File),
            Field::new("連絡先", Kind::Number).lookup(CONTACTS, &[("連絡先氏名", "氏名")]),
            Field::new("連絡先氏名", Kind::Text),
        ];
        App::new(CALLS, fields)
    }
}

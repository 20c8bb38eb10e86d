//! The resources of kintone's REST API that the stand-in has, each with its rights and limits.
//! <https://cybozu.dev/ja/kintone/docs/rest-api/>

use serde_json::{Value, json};

use super::answer::{Errors, Refusal};
use super::auth::{ADD, Caller, DELETE, EDIT, VIEW};
use super::query::Query;
use super::store::{Record, Store, minute};
use super::write::{Writer, Written, expect_revision, number, plain};

/// Most records of one request that writes.
const MOST_WRITTEN: usize = 100;
/// Most requests of a bulk request.
const MOST_BULK: usize = 20;
/// Most characters of a comment, and most people that it mentions.
const COMMENT: (usize, usize) = (65_535, 10);

/// A request that was understood: what is asked of the store.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    /// As `record/comment`.
    pub(crate) resource: &'a str,
    pub(crate) parameters: &'a Value,
    pub(crate) caller: &'a Caller,
    /// Users and groups that can be mentioned.
    pub(crate) people: &'a [String],
}

impl Call<'_> {
    /// Answers with what the service would; what is refused changed nothing. Field codes that no field has go to `skipped`.
    pub(crate) fn answer(&self, store: &mut Store, skipped: &mut Vec<String>) -> Result<Value, Refusal> {
        if self.resource == "bulkRequest" {
            return store.whole(|store| self.bulk(store, skipped));
        }
        let app = self.number("app")?;
        store.table(app)?;
        match (self.method, self.resource) {
            ("GET", "record") => self.record(store, app),
            ("GET", "records") => self.records(store, app),
            ("GET", "record/comments") => self.comments(store, app),
            ("POST", "record/comment") => self.comment(store, app),
            ("GET", "app/form/fields") => {
                self.caller.must_any(app, &[VIEW, ADD])?;
                Ok(store.table(app)?.app.properties())
            }
            _ => store.whole(|store| self.write(store, app, skipped)),
        }
    }

    fn number(&self, name: &str) -> Result<u64, Refusal> {
        match self.parameters.get(name) {
            None | Some(Value::Null) => Err(Refusal::missing(name)),
            Some(value) => number(value).ok_or_else(|| Refusal::wrong(name, "最小でも1以上です。")),
        }
    }

    fn list(&self, name: &str) -> Result<&[Value], Refusal> {
        self.parameters.get(name).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| Refusal::missing(name))
    }

    fn record(&self, store: &Store, app: u64) -> Result<Value, Refusal> {
        self.caller.must(app, VIEW)?;
        let record = store.record(app, self.number("id")?)?;
        Ok(json!({"record": record.shown(&store.table(app)?.app, &[])}))
    }

    fn records(&self, store: &Store, app: u64) -> Result<Value, Refusal> {
        self.caller.must(app, VIEW)?;
        let table = store.table(app)?;
        let text = self.parameters.get("query").and_then(Value::as_str).unwrap_or_default();
        let query = Query::parse(text, &table.app)?;
        let codes = self.parameters.get("fields").and_then(Value::as_array);
        let codes: Vec<String> = codes.into_iter().flatten().filter_map(plain).collect();
        let mut found: Vec<&Record> = table.records.values().filter(|record| query.fits(&table.app, record)).collect();
        found.sort_by(|one, other| query.order(&table.app, one, other));
        let counted = self.parameters.get("totalCount").and_then(plain_flag) == Some(true);
        let total = if counted { json!(found.len().to_string()) } else { Value::Null };
        let page = found.into_iter().skip(query.offset).take(query.limit);
        let shown: Vec<Value> = page.map(|record| record.shown(&table.app, &codes)).collect();
        Ok(json!({"records": shown, "totalCount": total}))
    }

    fn write(&self, store: &mut Store, app: u64, skipped: &mut Vec<String>) -> Result<Value, Refusal> {
        let here =
            [("POST", "record"), ("PUT", "record"), ("POST", "records"), ("PUT", "records"), ("DELETE", "records")];
        if !here.contains(&(self.method, self.resource)) {
            return Err(Refusal::unknown_here(&format!("{} {}", self.method, self.resource)));
        }
        let upsert = self.parameters.get("upsert").and_then(plain_flag) == Some(true);
        let rights = match self.method {
            "POST" => ADD,
            "PUT" if upsert => ADD | EDIT,
            "PUT" => EDIT,
            _ => DELETE,
        };
        self.caller.must(app, rights)?;
        if (self.method, self.resource) == ("DELETE", "records") {
            return self.delete(store, app);
        }
        let (who, reads) = (self.caller.who.as_str(), self.caller.reads());
        let mut writer = Writer { store, app, who, reads: &reads, errors: Errors::default(), skipped };
        let answer = self.save(&mut writer, upsert)?;
        writer.errors.checked()?;
        Ok(answer)
    }

    fn save(&self, writer: &mut Writer, upsert: bool) -> Result<Value, Refusal> {
        let nothing = json!({});
        let record = self.parameters.get("record").unwrap_or(&nothing);
        match (self.method, self.resource) {
            ("POST", "record") => {
                let written = writer.insert(record, "record")?;
                Ok(json!({"id": written.id.to_string(), "revision": written.revision.to_string()}))
            }
            ("PUT", "record") => {
                let written = writer.update(self.parameters, "record", false)?;
                Ok(json!({"revision": written.revision.to_string()}))
            }
            ("POST", "records") => {
                let written = self.each("追加", |item, path| writer.insert(item, path))?;
                let ids: Vec<String> = written.iter().map(|written| written.id.to_string()).collect();
                let revisions: Vec<String> = written.iter().map(|written| written.revision.to_string()).collect();
                Ok(json!({"ids": ids, "revisions": revisions}))
            }
            _ => {
                let written = self.each("更新", |item, path| writer.update(item, path, upsert))?;
                let repeated = |at: usize| written[..at].iter().any(|before| before.id == written[at].id);
                if let Some(at) = (0..written.len()).find(|at| repeated(*at)) {
                    return Err(Refusal::wrong(format!("records[{at}]"), "同じレコードを重複して指定できません。"));
                }
                Ok(json!({"records": written.iter().map(|written| told(written, upsert)).collect::<Vec<_>>()}))
            }
        }
    }

    fn each(
        &self,
        what: &str,
        mut work: impl FnMut(&Value, &str) -> Result<Written, Refusal>,
    ) -> Result<Vec<Written>, Refusal> {
        let items = self.list("records")?;
        if items.len() > MOST_WRITTEN {
            let message = format!("一度に{MOST_WRITTEN}件までのレコードを{what}できます。");
            return Err(Refusal::wrong("records", message));
        }
        items.iter().enumerate().map(|(index, item)| work(item, &format!("records[{index}]"))).collect()
    }

    fn delete(&self, store: &mut Store, app: u64) -> Result<Value, Refusal> {
        let ids = self.list("ids")?;
        if ids.is_empty() || ids.len() > MOST_WRITTEN {
            return Err(Refusal::wrong("ids", "一度に1件から100件までのレコードを削除できます。"));
        }
        for (index, id) in ids.iter().enumerate() {
            let id = number(id).ok_or_else(|| Refusal::no_record(id))?;
            let revision = self.parameters.get("revisions").and_then(|revisions| revisions.get(index));
            expect_revision(store.record(app, id)?, revision)?;
            store.put(app, id, None)?;
        }
        Ok(json!({}))
    }

    fn comment(&self, store: &mut Store, app: u64) -> Result<Value, Refusal> {
        self.caller.must(app, VIEW)?;
        let id = self.number("record")?;
        store.record(app, id)?;
        let comment = &self.parameters["comment"];
        let text = comment["text"].as_str().unwrap_or_default();
        let mentions = comment["mentions"].as_array().cloned().unwrap_or_default();
        let mut errors = Errors::default();
        if text.trim().is_empty() && mentions.is_empty() {
            errors.add("comment.text", "必須です。");
        }
        if text.chars().count() > COMMENT.0 {
            errors.add("comment.text", format!("{}文字より短くなければなりません。", COMMENT.0 + 1));
        }
        if mentions.len() > COMMENT.1 {
            errors.add("comment.mentions", "宛先は10件まで指定できます。");
        }
        errors.checked()?;
        let mut named = String::new();
        for mention in &mentions {
            let code = mention["code"].as_str().unwrap_or_default();
            if !self.people.iter().any(|person| person == code) {
                let message = format!("指定したユーザー（code：{code}）が見つかりません。");
                return Err(Refusal::new(400, "GAIA_IL26", message));
            }
            named.push_str(&format!("{code} "));
        }
        let (who, now) = (&self.caller.who, minute(jiff::Timestamp::now()));
        let table = store.table_mut(app)?;
        let comments = table.comments.entry(id).or_default();
        let number = (comments.len() + 1).to_string();
        let line = if named.is_empty() { "" } else { "\n" };
        comments.push(json!({
            "id": number,
            "text": format!("{named}{line}{text} "), // the service adds the blank
            "createdAt": now,
            "creator": {"code": who, "name": who},
            "mentions": mentions,
        }));
        Ok(json!({"id": number}))
    }

    fn comments(&self, store: &Store, app: u64) -> Result<Value, Refusal> {
        self.caller.must(app, VIEW)?;
        let id = self.number("record")?;
        store.record(app, id)?;
        let mut comments = store.table(app)?.comments.get(&id).cloned().unwrap_or_default();
        match self.parameters.get("order").and_then(Value::as_str).unwrap_or("desc") {
            "asc" => {}
            "desc" => comments.reverse(),
            _ => return Err(Refusal::wrong("order", "Enum値のいずれかでなければなりません。")),
        }
        let page = |name: &str| self.parameters.get(name).and_then(plain).and_then(|count| count.parse().ok());
        let (offset, limit) = (page("offset").unwrap_or(0), page("limit").unwrap_or(10_usize));
        if limit > 10 {
            return Err(Refusal::wrong("limit", "最大でも10以下です。"));
        }
        let all = comments.len();
        let shown: Vec<Value> = comments.into_iter().skip(offset).take(limit).collect();
        Ok(json!({"comments": shown, "older": all > offset + shown.len(), "newer": offset > 0}))
    }

    /// Several requests, of which all are done or none. Who is refused says where: the others' answers are empty.
    fn bulk(&self, store: &mut Store, skipped: &mut Vec<String>) -> Result<Value, Refusal> {
        let requests = self.list("requests")?;
        if requests.len() > MOST_BULK {
            return Err(Refusal::wrong("requests", format!("一度に{MOST_BULK}件までのリクエストを実行できます。")));
        }
        let mut results = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let api = request["api"].as_str().unwrap_or_default();
            let resource = super::resource(api);
            let (method, parameters) = (request["method"].as_str().unwrap_or_default(), &request["payload"]);
            let call = Call { method, resource: resource.unwrap_or_default(), parameters, ..*self };
            match call.number("app").and_then(|app| call.write(store, app, skipped)) {
                Ok(result) => results.push(result),
                Err(refusal) => return Err(refusal.in_bulk(index, requests.len())),
            }
        }
        Ok(json!({"results": results}))
    }
}

/// The answer for one record of a batch.
fn told(written: &Written, upsert: bool) -> Value {
    let mut told = json!({"id": written.id.to_string(), "revision": written.revision.to_string()});
    if upsert {
        told["operation"] = json!(if written.inserted { "INSERT" } else { "UPDATE" });
    }
    told
}

/// A truth value, which comes as a text in an address.
fn plain_flag(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| value.as_str()?.parse().ok())
}

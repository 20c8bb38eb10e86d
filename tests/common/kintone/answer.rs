//! What the stand-in for kintone refuses with: status, code, message and the fields that are wrong.
//! Codes and Japanese messages are those that were seen at the real service; where only a code is known the message is a likely one.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

/// Why a request is refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    message: String,
    errors: Errors,
    /// Which request of how many of a bulk request it was.
    bulk: Option<(usize, usize)>,
}

/// The path of each value that is wrong, as `records[0].通話キー.value`, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Errors(BTreeMap<String, Vec<String>>);

impl Errors {
    pub(crate) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.entry(path.into()).or_default().push(message.into());
    }

    /// How many values are wrong.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Refused when anything is wrong.
    pub(crate) fn checked(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::invalid(self)) }
    }
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), errors: Errors::default(), bulk: None }
    }

    pub(crate) fn invalid(errors: Errors) -> Refusal {
        Refusal { errors, ..Refusal::new(400, "CB_VA01", "入力内容が正しくありません。") }
    }

    /// One value is wrong.
    pub(crate) fn wrong(path: impl Into<String>, message: impl Into<String>) -> Refusal {
        let mut errors = Errors::default();
        errors.add(path, message);
        Refusal::invalid(errors)
    }

    /// A parameter is missing.
    pub(crate) fn missing(name: impl Into<String>) -> Refusal {
        Refusal::wrong(name, REQUIRED)
    }

    pub(crate) fn not_json() -> Refusal {
        Refusal::new(400, "CB_IJ01", "不正なJSON文字列です。")
    }

    pub(crate) fn no_app(id: u64) -> Refusal {
        let message = format!("指定したアプリ（id: {id}）が見つかりません。削除されている可能性があります。");
        Refusal::new(404, "GAIA_AP01", message)
    }

    pub(crate) fn no_record(id: impl std::fmt::Display) -> Refusal {
        Refusal::new(404, "GAIA_RE01", format!("指定したレコード（id: {id}）が見つかりません。"))
    }

    pub(crate) fn no_file(key: &str) -> Refusal {
        Refusal::new(404, "GAIA_BL01", format!("指定したファイル（id: {key}）が見つかりません。"))
    }

    pub(crate) fn stale() -> Refusal {
        let message = "指定したrevisionは最新ではありません。ほかのユーザーがレコードを更新した可能性があります。";
        Refusal::new(409, "GAIA_CO02", message)
    }

    /// Two that write at once: the loser may try again, though the status is 400.
    pub(crate) fn locked() -> Refusal {
        let message =
            "データベースのロックに失敗したため、変更を保存できませんでした。時間をおいて再度お試しください。";
        Refusal::new(400, "GAIA_DA02", message)
    }

    pub(crate) fn no_field(code: &str) -> Refusal {
        Refusal::new(400, "GAIA_IQ11", format!("指定されたフィールド（{code}）が見つかりません。"))
    }

    /// What the real service may know and this stand-in does not: a test that comes here asks for too much.
    pub(crate) fn unknown_here(what: &str) -> Refusal {
        Refusal::new(501, "STAND_IN", format!("not in this stand-in: {what}"))
    }

    /// It was one request of a bulk request.
    pub(crate) fn in_bulk(self, index: usize, of: usize) -> Refusal {
        Refusal { bulk: Some((index, of)), ..self }
    }

    pub(crate) fn body(&self) -> Value {
        let id = Uuid::now_v7().simple().to_string().split_off(12);
        let mut body = json!({"code": self.code, "id": id, "message": self.message});
        if self.errors.len() > 0 {
            let errors = self.errors.0.iter().map(|(path, messages)| (path.clone(), json!({"messages": messages})));
            body["errors"] = errors.collect();
        }
        let Some((index, of)) = self.bulk else { return body };
        let mut results = vec![json!({}); of];
        results[index] = body;
        json!({"results": results})
    }
}

/// A parameter or a value is missing.
pub(crate) const REQUIRED: &str = "必須です。";
/// Another record has this value.
pub(crate) const DUPLICATE: &str = "値がほかのレコードと重複しています。";

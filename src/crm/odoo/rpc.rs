//! Calls of Odoo's methods as requests, and what the answers say: a result, or why there is none. Nothing of an answer's own text is passed on
//! but the names of exception classes and fields: Odoo's messages and tracebacks quote values.

use serde_json::{Map, Value, json};

use super::settings::{Protocol, Settings};
use crate::crm::settings::Secret;
use crate::crm::{Method, Request, Response};
use crate::outbox::retry::Answer;

/// The longest name of a class or a field that is told.
const LONGEST_NAME: usize = 80;

/// A method of a model, with its parameters by name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    model: String,
    method: &'static str,
    parameters: Map<String, Value>,
}

impl Call {
    /// Records of a model: `[{id, …}, …]`.
    pub(super) fn search_read(model: &str, domain: Value, fields: &[&str], order: &str, limit: usize) -> Call {
        let mut parameters = Map::new();
        parameters.insert("domain".into(), domain);
        parameters.insert("fields".into(), json!(fields));
        parameters.insert("limit".into(), json!(limit));
        if !order.is_empty() {
            parameters.insert("order".into(), json!(order));
        }
        Call { model: model.into(), method: "search_read", parameters }
    }

    /// Makes a record, or changes the one that has the external id: `columns` holds `id` and what else is to be set. Times in it are UTC.
    pub(super) fn load(model: &str, columns: Vec<(&'static str, Value)>) -> Call {
        let (fields, row): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let mut parameters = Map::new();
        parameters.insert("fields".into(), json!(fields));
        parameters.insert("data".into(), json!([row]));
        Call { model: model.into(), method: "load", parameters }.with_context("tz", "UTC")
    }

    /// The same with something in its context; an empty value says nothing.
    pub(super) fn with_context(mut self, key: &str, value: &str) -> Call {
        if !value.is_empty() {
            self.parameters.insert("context".into(), json!({ key: value }));
        }
        self
    }

    /// The request; `uid` is who we are (JSON-RPC only).
    pub(super) fn request(&self, settings: &Settings, secret: &Secret, uid: u64) -> Request {
        let Call { model, method, parameters } = self;
        match settings.protocol {
            Protocol::Jsonrpc => {
                let whom = json!([settings.database, uid, secret.0, model, method, [], parameters]);
                jsonrpc("object", "execute_kw", whom)
            }
            Protocol::Json2 => Request {
                method: Method::Post,
                path: format!("/json/2/{model}/{method}"),
                headers: vec![
                    ("content-type", "application/json; charset=utf-8".into()),
                    ("authorization", format!("bearer {}", secret.0)),
                    ("x-odoo-database", settings.database.clone()),
                ],
                body: json!(parameters).to_string().into_bytes(),
            },
        }
    }
}

/// Asks for the uid (JSON-RPC only).
pub(super) fn log_in(settings: &Settings, secret: &Secret) -> Request {
    jsonrpc("common", "authenticate", json!([settings.database, settings.login, secret.0, {}]))
}

fn jsonrpc(service: &str, method: &str, arguments: Value) -> Request {
    let params = json!({ "service": service, "method": method, "args": arguments });
    let body = json!({ "jsonrpc": "2.0", "method": "call", "id": 1, "params": params });
    Request {
        method: Method::Post,
        path: "/jsonrpc".into(),
        headers: vec![("content-type", "application/json".into())],
        body: body.to_string().into_bytes(),
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) answer: Answer,
    /// It may be that we are not known any more: logging in again may help.
    pub(super) stranger: bool,
}

/// The result in an answer.
pub(super) fn result_of(protocol: Protocol, response: &Response) -> Result<Value, Fault> {
    let body = serde_json::from_slice::<Value>(&response.body).ok();
    match (protocol, response.status, body) {
        (Protocol::Jsonrpc, 200, Some(Value::Object(mut body))) => {
            match (body.remove("error"), body.remove("result")) {
                (Some(error), _) => Err(fault_of(error.pointer("/data/name"))),
                (None, Some(result)) => Ok(result),
                (None, None) => Err(odd("neither a result nor an error")),
            }
        }
        (Protocol::Json2, 200, Some(result)) => Ok(result),
        (Protocol::Json2, 400..=499, Some(error)) if error["name"].is_string() && response.status != 429 => {
            Err(fault_of(error.get("name")))
        }
        // a page of a proxy, or an answer that was cut off: what was asked may be done, and is asked again
        (_, 200, None) => Err(plain(Answer::Busy { what: "the answer is no JSON".into(), retry_after: None })),
        (_, 200..=299, _) => Err(odd("not the answer of an Odoo")),
        (_, status, _) => Err(plain(Answer::of_status(status, response.retry_after.as_deref()))),
    }
}

/// The uid in the answer to [`log_in`].
pub(super) fn uid_of(response: &Response) -> Result<u64, Answer> {
    match result_of(Protocol::Jsonrpc, response).map_err(|fault| fault.answer)? {
        Value::Bool(false) => {
            Err(Answer::Denied("the login or its key is not known; see [endpoint.odoo] login, and secret_file".into()))
        }
        uid => uid.as_u64().ok_or_else(|| odd("no user id").answer),
    }
}

/// An answer that Odoo does not give; asked again on the schedule, in case the server is being worked on.
pub(super) fn odd(what: &str) -> Fault {
    plain(Answer::Unfit(format!("unexpected answer: {what}")))
}

fn plain(answer: Answer) -> Fault {
    Fault { answer, stranger: false }
}

/// What an exception says of us and of what we asked, by the name of its class.
fn fault_of(name: Option<&Value>) -> Fault {
    let name = class(name.and_then(Value::as_str).unwrap_or_default());
    let stranger = matches!(
        name.as_str(),
        // a uid that is no more is a MissingError too
        "odoo.exceptions.AccessDenied" | "odoo.http.SessionExpiredException" | "odoo.exceptions.MissingError"
    );
    let answer = match name.as_str() {
        // reading and loading raise it for a model that is not there only; of a value `load` tells in its result
        "odoo.exceptions.UserError" => Answer::Unfit(format!("{name}: a module is missing; see docs/crm.md")),
        name => answer_of(name),
    };
    Fault { answer, stranger }
}

/// What an exception says of what we asked.
fn answer_of(name: &str) -> Answer {
    let told = |remedy: &str| format!("{name}{remedy}");
    match name {
        "odoo.exceptions.AccessDenied" | "odoo.http.SessionExpiredException" | "werkzeug.exceptions.Unauthorized" => {
            Answer::Denied(told("; see [endpoint.odoo] login, and secret_file"))
        }
        "psycopg2.OperationalError" => Answer::Denied(told("; see [endpoint.odoo] database, or PostgreSQL")),
        "psycopg2.errors.SerializationFailure"
        | "psycopg2.errors.DeadlockDetected"
        | "psycopg2.errors.LockNotAvailable"
        | "psycopg2.errors.AdminShutdown"
        | "psycopg2.extensions.TransactionRollbackError"
        | "psycopg2.pool.PoolError"
        | "psycopg2.InterfaceError" => Answer::Busy { what: name.into(), retry_after: None },
        "odoo.exceptions.AccessError" | "werkzeug.exceptions.Forbidden" => {
            Answer::Unfit(told(": a right is missing; see docs/crm.md"))
        }
        "odoo.exceptions.MissingError" => Answer::Unfit(name.into()),
        "builtins.AttributeError" | "builtins.KeyError" | "werkzeug.exceptions.NotFound" => {
            Answer::Unfit(told(": a module or a field is missing; see docs/crm.md"))
        }
        _ if name.starts_with("psycopg2.") => Answer::Unfit(name.into()),
        _ => Answer::Refused(name.into()),
    }
}

/// A name as it may stand in a log: of a class or a field, nothing else.
fn class(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    match name {
        "" => "an error without a name".into(),
        name if name.len() <= LONGEST_NAME && name.chars().all(fits) => name.into(),
        _ => "an error with an odd name".into(),
    }
}

/// What became of a `load`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// The record, by its database id.
    Record(u64),
    /// The database did not take it as it is now: somebody else writes the same, or it has a rule against it.
    Conflict(Answer),
    /// It is not taken.
    Not {
        /// Because of this field, where Odoo names one.
        field: Option<String>,
        /// What it says of the event.
        answer: Answer,
    },
}

impl Loaded {
    /// Reads the result; a load that failed has `ids: false` and messages. Their text is in the server's language.
    pub(super) fn of(result: &Value) -> Loaded {
        if let Some(id) = result.pointer("/ids/0").and_then(Value::as_u64) {
            return Loaded::Record(id);
        }
        let Some(message) = result.pointer("/messages/0") else {
            return Loaded::Not { field: None, answer: odd("load has neither ids nor messages").answer };
        };
        if let Some(field) = message["field"].as_str() {
            let field = class(field);
            let answer = Answer::Refused(format!("load: the field `{field}` is not taken"));
            return Loaded::Not { field: Some(field), answer };
        }
        let text = message["message"].as_str().unwrap_or_default();
        // `… <class 'odoo.exceptions.AccessError'>: …`
        if let Some((name, _)) = text.split_once("<class '").and_then(|(_, rest)| rest.split_once("'>")) {
            return Loaded::Not { field: None, answer: answer_of(&class(name)) };
        }
        Loaded::Conflict(if text.contains("could not serialize") {
            Answer::Busy { what: "load: concurrent update".into(), retry_after: None }
        } else {
            Answer::Unfit("load: the database does not take it".into())
        })
    }
}

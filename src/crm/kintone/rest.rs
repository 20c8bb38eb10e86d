//! Requests of kintone's REST API, and what the answers say: a result, or why there is none. Nothing of an answer's own text is passed on but error
//! codes and the field codes that the configuration names: messages quote values.
//!
//! Everything that holds a number or a name goes in a body, also what is read: addresses stand in the logs of proxies.

use serde_json::{Value, json};

use crate::crm::{Method, Request, Response};
use crate::outbox::retry::Answer;

/// The longest error code that is told.
const LONGEST_CODE: usize = 20;

/// Something that is asked of kintone.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    /// The form of an app.
    Form(u64),
    /// Records of an app: which, and of each these fields.
    Read { app: u64, query: String, fields: Vec<String> },
    /// Makes the record that has this key, or changes it. With a revision only while that is the newest.
    Upsert { app: u64, key: (String, String), revision: Option<String>, record: Value },
    /// Puts a text file into temporary storage; `boundary` is nowhere in it.
    Upload { name: String, text: String, boundary: String },
}

impl Call {
    /// The request, with the tokens of the apps.
    pub(super) fn request(&self, tokens: &str) -> Request {
        let (method, path, kind, body) = match self {
            Call::Form(app) => (Method::Get, format!("/k/v1/app/form/fields.json?app={app}"), None, String::new()),
            Call::Read { app, query, fields } => {
                let body = json!({"app": app, "query": query, "fields": fields});
                (Method::Post, "/k/v1/records.json".into(), Some("application/json".into()), body.to_string())
            }
            Call::Upsert { app, key: (field, value), revision, record } => {
                let mut one = json!({"updateKey": {"field": field, "value": value}, "record": record});
                if let Some(revision) = revision {
                    one["revision"] = json!(revision);
                }
                let body = json!({"app": app, "upsert": true, "records": [one]});
                (Method::Put, "/k/v1/records.json".into(), Some("application/json".into()), body.to_string())
            }
            Call::Upload { name, text, boundary } => {
                let body = format!(
                    "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
                     Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n--{boundary}--\r\n"
                );
                let kind = format!("multipart/form-data; boundary={boundary}");
                (Method::Post, "/k/v1/file.json".into(), Some(kind), body)
            }
        };
        let mut headers = vec![("x-cybozu-api-token", tokens.to_string())];
        headers.extend(kind.map(|kind| ("content-type", kind)));
        if matches!(self, Call::Read { .. }) {
            headers.push(("x-http-method-override", "GET".into()));
        }
        Request { method, path, headers, body: body.into_bytes() }
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// kintone's code; empty where there is none.
    pub(super) code: String,
    /// The paths of values that are not taken, as `records[0].record.通話キー.value`.
    paths: Vec<String>,
    /// What it says of the endpoint or the event.
    pub(super) answer: Answer,
}

impl Fault {
    /// Whether it is about the value of this field.
    pub(super) fn is_of(&self, code: &str) -> bool {
        let named = |path: &String| path.split(['.', '[', ']']).any(|part| part == code);
        !code.is_empty() && self.paths.iter().any(named)
    }

    /// Whether another form would explain it.
    pub(super) fn doubts_form(&self) -> bool {
        matches!(self.code.as_str(), "CB_VA01" | "CB_IJ01" | "GAIA_IQ03" | "GAIA_IQ11" | "GAIA_IQ27")
    }
}

/// The result in an answer.
pub(super) fn result_of(response: &Response) -> Result<Value, Fault> {
    let body = serde_json::from_slice::<Value>(&response.body).ok();
    let plain = |answer| Err(Fault { code: String::new(), paths: Vec::new(), answer });
    match (response.status, body) {
        (200, Some(result @ Value::Object(_))) => Ok(result),
        // a page of a proxy, or an answer that was cut off: what was asked may be done, and is asked again
        (200, _) => plain(Answer::Busy { what: "the answer is no JSON".into(), retry_after: None }),
        (status, Some(body)) if status >= 400 && body["code"].is_string() => Err(fault_of(response, &body)),
        (201..=299, _) => plain(Answer::Unfit("unexpected answer: not that of a kintone".into())),
        (status, _) => plain(Answer::of_status(status, response.retry_after.as_deref())),
    }
}

/// An answer that kintone does not give; asked again on the schedule.
pub(super) fn odd(what: &str) -> Answer {
    Answer::Unfit(format!("unexpected answer: {what}"))
}

fn fault_of(response: &Response, body: &Value) -> Fault {
    let code = code(body["code"].as_str().unwrap_or_default());
    let paths = body["errors"].as_object().into_iter().flat_map(|errors| errors.keys().cloned()).collect();
    let told = |remedy: &str| format!("{code}: {remedy}");
    let answer = match code.as_str() {
        "GAIA_DA02" | "GAIA_LT01" | "GAIA_RE18" => {
            Answer::Busy { what: told("the database is busy"), retry_after: response.retry_after.clone() }
        }
        "GAIA_TO04" => Answer::Busy {
            what: told(&format!("too many requests at once in the domain{}", load(response))),
            retry_after: response.retry_after.clone(),
        },
        "GAIA_IA02" | "GAIA_DA03" | "CB_AU01" | "CB_WA01" => Answer::Denied(told(
            "an API token is not known, or two are of one app; see secret_file, and whether the app was updated after the token was made",
        )),
        "GAIA_NO01" | "CB_NO02" => Answer::Denied(told(
            "an API token lacks a right; expected view, add and edit for the app of calls, view for the others",
        )),
        "GAIA_AP15" => Answer::Denied(told("there is no API token of an app; expected one a line in secret_file")),
        "GAIA_AP01" => Answer::Denied(told("there is no such app; see [endpoint.kintone] app, contacts.app")),
        "GAIA_IQ27" => {
            Answer::Denied(told("[endpoint.kintone.fields] key: the field's values may repeat (重複禁止 is off)"))
        }
        "GAIA_IQ03" | "GAIA_IQ11" => Answer::Denied(told("a field that is asked for is not there, or of another type")),
        "GAIA_CO02" => Answer::Busy { what: told("somebody else keeps changing the record"), retry_after: None },
        "GAIA_RE01" | "GAIA_RE20" | "GAIA_BL01" | "GAIA_LO04" => Answer::Unfit(code.clone()),
        _ => match Answer::of_status(response.status, response.retry_after.as_deref()) {
            Answer::Busy { retry_after, .. } => Answer::Busy { what: code.clone(), retry_after },
            Answer::Denied(_) => Answer::Denied(code.clone()),
            Answer::Unfit(_) | Answer::Gone => Answer::Unfit(code.clone()),
            _ => Answer::Refused(code.clone()),
        },
    };
    Fault { code, paths, answer }
}

fn load(response: &Response) -> String {
    response.load.map(|load| format!(" ({} of {})", load.running, load.limit)).unwrap_or_default()
}

/// A code as it may stand in a log.
fn code(code: &str) -> String {
    let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if !code.is_empty() && code.len() <= LONGEST_CODE && code.chars().all(fits) {
        code.into()
    } else {
        "an error with an odd code".into()
    }
}

/// A text as it stands in a query.
pub(super) fn quoted(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `code in ("one","two")`.
pub(super) fn is_one_of<'a>(code: &str, values: impl Iterator<Item = &'a str>) -> String {
    format!("{code} in ({})", values.map(quoted).collect::<Vec<_>>().join(","))
}

/// The records of an answer.
pub(super) fn records(result: &Value) -> Result<&Vec<Value>, Answer> {
    result["records"].as_array().ok_or_else(|| odd("there are no records"))
}

/// A field's value as a text; empty where there is none.
pub(super) fn text<'a>(record: &'a Value, code: &str) -> &'a str {
    record[code]["value"].as_str().unwrap_or_default()
}

//! From a request to its answer: limits, faults, who asks, what is asked, the ledger.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

use reqwest::Url;
use serde_json::{Map, Value, json};

use super::answer::Refusal;
use super::api::Call;
use super::app::App;
use super::auth::{Keys, VIEW};
use super::fault::{Fault, Faults};
use super::resource;
use super::store::Store;
use super::upload;
use super::write::number;
use crate::http::{Reply, Request};

/// Longest address; a longer one goes as POST with `X-HTTP-Method-Override: GET`.
const LONGEST_ADDRESS: usize = 8192;

/// A request that was answered, or was to be.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// What was meant, also where it came by another method.
    pub(crate) method: String,
    /// As `record/comment`.
    pub(crate) resource: String,
    pub(crate) apps: Vec<u64>,
    /// What the service made of it, also where nobody was told.
    pub(crate) status: u16,
    pub(crate) code: Option<&'static str>,
    pub(crate) fault: Option<Fault>,
    /// Field codes that no field has: nothing was written to them.
    pub(crate) skipped: Vec<String>,
}

/// What there is at most.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) at_once: usize,
    /// Requests a day and app, and the status of more.
    pub(crate) daily: Option<(usize, Option<u16>)>,
    pub(crate) body: usize,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) people: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) faults: Faults,
    pub(crate) ledger: Vec<Entry>,
    /// Requests today by app.
    today: HashMap<u64, usize>,
    pub(crate) held: usize,
    /// How often held requests were released.
    releases: usize,
}

/// The service behind the server.
pub(crate) struct Service {
    state: Mutex<State>,
    released: Condvar,
    running: AtomicUsize,
}

/// A request on its way.
struct Asked<'a> {
    request: &'a Request,
    method: String,
    resource: String,
    parameters: Value,
    apps: Vec<u64>,
}

/// What is answered.
enum Answer {
    Json(Value),
    File(String, String, Vec<u8>),
    Html(u16),
    Refused(Refusal),
}

impl Service {
    pub(crate) fn new(apps: Vec<App>) -> Service {
        let limits = Limits { at_once: 100, daily: None, body: 1 << 30 };
        let state = State {
            store: Store::new(apps),
            keys: Keys::default(),
            people: Vec::new(),
            limits,
            faults: Faults::default(),
            ledger: Vec::new(),
            today: HashMap::new(),
            held: 0,
            releases: 0,
        };
        Service { state: Mutex::new(state), released: Condvar::new(), running: AtomicUsize::new(0) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn release(&self) {
        self.state().releases += 1;
        self.released.notify_all();
    }

    /// Answers a request.
    pub(crate) fn serve(&self, request: &Request) -> Reply {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        let limit = self.state().limits.at_once;
        let reply = self.answer(request, running > limit);
        self.running.fetch_sub(1, Ordering::SeqCst);
        reply
            .with("X-ConcurrencyLimit-Limit", limit.to_string())
            .with("X-ConcurrencyLimit-Running", running.to_string())
    }

    fn answer(&self, request: &Request, too_many: bool) -> Reply {
        let mut skipped = Vec::new();
        let (fault, answer, asked) = match Asked::read(request) {
            Err(answer) => (None, answer, None),
            Ok(asked) if too_many => {
                let message = "APIの同時リクエスト数が上限を超えています。";
                (None, Answer::Refused(Refusal::new(429, "GAIA_TO04", message)), Some(asked))
            }
            Ok(asked) => {
                let fault = self.state().faults.next(&asked.resource);
                self.wait(fault.as_ref());
                let answer = match &fault {
                    Some(Fault::Html(status)) => Answer::Html(*status),
                    Some(Fault::Error(status, code)) => {
                        Answer::Refused(Refusal::new(*status, code, "サーバーでエラーが発生しました。"))
                    }
                    Some(Fault::Busy) => Answer::Refused(Refusal::locked()),
                    Some(Fault::Deaf) => Answer::Html(504),
                    _ => self.state().execute(&asked, &mut skipped),
                };
                (fault, answer, Some(asked))
            }
        };
        let code = if let Answer::Refused(refusal) = &answer { Some(refusal.code) } else { None };
        let reply = answer.reply();
        let (method, resource, apps) =
            asked.map_or_else(Default::default, |asked| (asked.method, asked.resource, asked.apps));
        let entry = Entry { method, resource, apps, status: reply.status, code, fault: fault.clone(), skipped };
        self.state().ledger.push(entry);
        match fault {
            Some(Fault::Lost | Fault::Deaf) => Reply::hang(),
            Some(Fault::Cut) => {
                let half = reply.body.len() / 2;
                reply.cut_after(half)
            }
            Some(Fault::Garbage) => Reply { body: b"{\"records\": [{\"id\": ".to_vec(), ..reply },
            _ => reply,
        }
    }

    /// Waits as the fault says.
    fn wait(&self, fault: Option<&Fault>) {
        match fault {
            Some(Fault::Slow(time)) => std::thread::sleep(*time),
            Some(Fault::Held) => {
                let mut state = self.state();
                let before = state.releases;
                state.held += 1;
                let mut state = self
                    .released
                    .wait_while(state, |state| state.releases == before)
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                state.held -= 1;
            }
            _ => {}
        }
    }
}

impl State {
    fn execute(&mut self, asked: &Asked, skipped: &mut Vec<String>) -> Answer {
        if asked.request.body.len() > self.limits.body {
            return Answer::Html(413);
        }
        for app in &asked.apps {
            let today = self.today.entry(*app).or_default();
            *today += 1;
            if let Some((_, Some(status))) = self.limits.daily.filter(|(most, _)| *today > *most) {
                return Answer::Html(status);
            }
        }
        self.understood(asked, skipped).unwrap_or_else(Answer::Refused)
    }

    fn understood(&mut self, asked: &Asked, skipped: &mut Vec<String>) -> Result<Answer, Refusal> {
        let caller = self.keys.caller(asked.request)?;
        match (asked.method.as_str(), asked.resource.as_str()) {
            ("POST", "file") => {
                let file = upload::file(asked.request)?;
                let key = uuid::Uuid::now_v7().to_string();
                self.store.uploads.insert(key.clone(), file);
                Ok(Answer::Json(json!({"fileKey": key})))
            }
            ("GET", "file") => {
                let key = asked.parameters["fileKey"].as_str().ok_or_else(|| Refusal::missing("fileKey"))?;
                let file = self.store.files.get(key).ok_or_else(|| Refusal::no_file(key))?;
                caller.must(file.app.expect("it is on a record"), VIEW)?;
                Ok(Answer::File(file.name.clone(), file.content_type.clone(), file.content.to_vec()))
            }
            (method, resource) => {
                let (parameters, caller, people) = (&asked.parameters, &caller, self.people.as_slice());
                let call = Call { method, resource, parameters, caller, people };
                call.answer(&mut self.store, skipped).map(Answer::Json)
            }
        }
    }
}

impl<'a> Asked<'a> {
    fn read(request: &'a Request) -> Result<Asked<'a>, Answer> {
        if request.target.len() > LONGEST_ADDRESS {
            return Err(Answer::Html(414));
        }
        let address = Url::parse(&format!("http://kintone{}", request.target)).map_err(|_| Answer::Html(400))?;
        let resource = resource(address.path()).ok_or(Answer::Html(404))?.to_owned();
        let wished = request.header("x-http-method-override");
        let meant = if request.method == "POST" && !wished.is_empty() { wished } else { &request.method };
        let json = request.header("content-type").to_ascii_lowercase().starts_with("application/json");
        let illegal = || Answer::Refused(Refusal::new(400, "CB_IL02", "不正なリクエストです。"));
        let parameters = match (request.body.is_empty(), json) {
            // a GET that announces a body and has none is refused
            (true, true) => return Err(illegal()),
            (true, false) => parameters(&address),
            (false, true) => serde_json::from_slice(&request.body).map_err(|_| Answer::Refused(Refusal::not_json()))?,
            (false, false) if resource == "file" => Value::Null,
            (false, false) => return Err(illegal()),
        };
        let bulk = parameters["requests"].as_array().into_iter().flatten().map(|request| &request["payload"]);
        let apps = std::iter::once(&parameters).chain(bulk).filter_map(|parameters| number(&parameters["app"]));
        let (method, apps) = (meant.to_owned(), apps.collect());
        Ok(Asked { request, method, resource, parameters, apps })
    }
}

/// The parameters of an address; `fields[0]=…&fields[1]=…` is a list.
fn parameters(address: &Url) -> Value {
    let mut found = Map::new();
    for (name, value) in address.query_pairs() {
        match name.split_once('[') {
            None => drop(found.insert(name.into_owned(), json!(value))),
            Some((list, _)) => {
                let list = found.entry(list).or_insert_with(|| json!([]));
                list.as_array_mut().expect("a list from its first item").push(json!(value));
            }
        }
    }
    Value::Object(found)
}

impl Answer {
    fn reply(&self) -> Reply {
        let in_json = |status, body: &Value| {
            Reply::new(status, body.to_string()).with("Content-Type", "application/json;charset=utf-8")
        };
        match self {
            Answer::Json(body) => in_json(200, body),
            Answer::Refused(refusal) => in_json(refusal.status, &refusal.body()).with("X-Cybozu-Error", refusal.code),
            Answer::File(name, kind, content) => Reply::new(200, content.clone())
                .with("Content-Type", kind.clone())
                .with("Content-Disposition", format!("attachment; filename=\"{}\"", encoded(name))),
            Answer::Html(status) => Reply::new(*status, "<!DOCTYPE html><title>Service Unavailable</title>")
                .with("Content-Type", "text/html"),
        }
    }
}

/// A file's name in a header; what is not ASCII as an encoded word (RFC 2047), as the service does it.
fn encoded(name: &str) -> String {
    use base64::Engine;
    let word = base64::engine::general_purpose::STANDARD.encode(name);
    if name.is_ascii() { name.into() } else { format!("=?UTF-8?B?{word}?=") }
}

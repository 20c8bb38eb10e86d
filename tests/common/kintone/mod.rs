//! A stand-in for kintone on loopback: the subset of its REST API that a telephone link needs, faithful in what it refuses.
//!
//! It keeps two apps, 連絡先 ([`CONTACTS`]) and 応対記録 ([`CALLS`]), and answers as the documentation says and as others saw the real service answer.
//! `tests/kintone_client/` lets the service's own client talk to it. What it does not know is answered with 501.
#![allow(dead_code)] // each test binary uses its part

mod answer;
mod api;
mod app;
mod auth;
mod fault;
mod query;
mod serve;
mod store;
mod upload;
mod words;
mod write;

use std::sync::Arc;

use serde_json::{Map, Value, json};

#[allow(unused_imports)] // each test binary uses its part
pub(crate) use self::app::{App, CALLS, CONTACTS, Field, Kind};
#[allow(unused_imports)]
pub(crate) use self::auth::{ADD, DELETE, EDIT, VIEW};
#[allow(unused_imports)]
pub(crate) use self::fault::Fault;
#[allow(unused_imports)]
pub(crate) use self::serve::Entry;
#[allow(unused_imports)]
pub(crate) use self::store::{File, Record};

use self::answer::Errors;
use self::serve::Service;
use self::write::Writer;
use crate::http::Server;

/// A running stand-in; it ends with the test.
pub(crate) struct Kintone {
    service: Arc<Service>,
    server: Option<Server>,
    port: u16,
}

impl Kintone {
    /// With the two apps and nothing in them.
    pub(crate) fn start() -> Kintone {
        Self::start_with(vec![App::contacts(), App::calls()])
    }

    pub(crate) fn start_with(apps: Vec<App>) -> Kintone {
        let service = Arc::new(Service::new(apps));
        let mut kintone = Kintone { service, server: None, port: 0 };
        kintone.back();
        kintone
    }

    /// As [`Kintone::start`], by TLS with this certificate and key (PEM).
    pub(crate) fn start_tls(certificate: &str, key: &str) -> Kintone {
        let service = Arc::new(Service::new(vec![App::contacts(), App::calls()]));
        let serving = Arc::clone(&service);
        let server = Server::start_tls(certificate, key, move |_, request| serving.serve(request));
        Kintone { service, port: server.address.port(), server: Some(server) }
    }

    /// Nothing listens any more; what was written is kept.
    pub(crate) fn away(&mut self) {
        self.server = None;
    }

    /// Listens again where it did (without TLS).
    pub(crate) fn back(&mut self) {
        let serving = Arc::clone(&self.service);
        let server = Server::listen(self.port, None, move |_, request| serving.serve(request));
        self.port = server.address.port();
        self.server = Some(server);
    }

    /// The base address, as `https://….cybozu.com` is it in the field.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Makes an API token of an app with these rights, as `VIEW | ADD`.
    pub(crate) fn token(&self, app: u64, rights: u8) -> String {
        let mut state = self.service.state();
        let token = format!("Token{}Of{app}", state.keys.tokens.len());
        state.keys.tokens.insert(token.clone(), (app, rights));
        token
    }

    /// Makes a user who has these rights on these apps, and who can be mentioned.
    pub(crate) fn user(&self, code: &str, password: &str, rights: &[(u64, u8)]) {
        let mut state = self.service.state();
        state.people.push(code.into());
        state.keys.users.insert(code.into(), (password.into(), rights.iter().copied().collect()));
    }

    /// Most requests at once (100 at the real service); more are refused with 429.
    pub(crate) fn limit_at_once(&self, most: usize) {
        self.service.state().limits.at_once = most;
    }

    /// Most requests a day and app (10,000 or 100,000 at the real service). More are answered like the others, since the service only warns;
    /// but with `cut`, as it reserves for itself, they are refused with that status.
    pub(crate) fn limit_daily(&self, most: usize, cut: Option<u16>) {
        self.service.state().limits.daily = Some((most, cut));
    }

    /// Most bytes of a request's body, the service's own front refuses more.
    pub(crate) fn limit_body(&self, most: usize) {
        self.service.state().limits.body = most;
    }

    /// What is written is found by `like` only after [`Kintone::index`], as an index that lags does.
    pub(crate) fn lag_index(&self) {
        self.service.state().store.index_lags = true;
    }

    /// Lets `like` find what was written so far.
    pub(crate) fn index(&self) {
        self.service.state().store.index();
    }

    /// The next `count` requests meet this fault.
    pub(crate) fn fail(&self, count: usize, fault: Fault) {
        self.service.state().faults.plan(None, count, fault);
    }

    /// The next `count` requests to this resource (as `record/comment`) meet this fault.
    pub(crate) fn fail_on(&self, resource: &str, count: usize, fault: Fault) {
        self.service.state().faults.plan(Some(resource.into()), count, fault);
    }

    /// Lets requests go on that were held ([`Fault::Held`]).
    pub(crate) fn release(&self) {
        self.service.release();
    }

    /// How many requests are held now.
    pub(crate) fn held(&self) -> usize {
        self.service.state().held
    }

    /// Every request so far, in the order in which they were done with.
    pub(crate) fn ledger(&self) -> Vec<Entry> {
        self.service.state().ledger.clone()
    }

    /// The requests that had to do with this app.
    pub(crate) fn ledger_of(&self, app: u64) -> Vec<Entry> {
        self.ledger().into_iter().filter(|entry| entry.apps.contains(&app)).collect()
    }

    /// The administrator has changed the form of an app; the records stay as they are.
    pub(crate) fn change_form(&self, app: App) {
        let mut state = self.service.state();
        let id = app.id;
        state.store.table_mut(id).expect("there is such an app").app = app;
    }

    /// Puts a record there as its administrator would; the values by field code. Gives its number.
    pub(crate) fn add(&self, app: u64, values: Value) -> u64 {
        let values: Map<String, Value> = values.as_object().expect("values by field code").clone();
        let record: Value = values.into_iter().map(|(code, value)| (code, json!({"value": value}))).collect();
        let mut state = self.service.state();
        let reads: Vec<u64> = vec![CONTACTS, CALLS, app];
        let done = state.store.whole(|store| {
            let mut skipped = Vec::new();
            let (who, errors) = ("Administrator", Errors::default());
            let mut writer = Writer { store, app, who, reads: &reads, errors, skipped: &mut skipped };
            let written = writer.insert(&record, "record")?;
            writer.errors.checked()?;
            assert!(skipped.is_empty(), "no such fields: {skipped:?}");
            Ok(written.id)
        });
        done.unwrap_or_else(|refusal| panic!("{}", refusal.body()))
    }

    /// The records of an app, the oldest first.
    pub(crate) fn records(&self, app: u64) -> Vec<Record> {
        let state = self.service.state();
        let table = state.store.table(app).expect("there is such an app");
        table.records.values().cloned().collect()
    }

    /// The comments on a record as they are answered, the oldest first.
    pub(crate) fn comments(&self, app: u64, record: u64) -> Vec<Value> {
        let state = self.service.state();
        let table = state.store.table(app).expect("there is such an app");
        table.comments.get(&record).cloned().unwrap_or_default()
    }

    /// A file that is on a record, by its key there.
    pub(crate) fn file(&self, key: &str) -> Option<File> {
        self.service.state().store.files.get(key).cloned()
    }

    /// How many files wait in temporary storage; the real service drops them after three days.
    pub(crate) fn waiting_files(&self) -> usize {
        self.service.state().store.uploads.len()
    }

    /// The three days are over.
    pub(crate) fn drop_waiting_files(&self) {
        self.service.state().store.uploads.clear();
    }
}

impl Drop for Kintone {
    fn drop(&mut self) {
        self.service.release(); // so that no thread waits for ever
    }
}

/// `record/comment` of `/k/v1/record/comment.json`.
fn resource(path: &str) -> Option<&str> {
    path.strip_prefix("/k/v1/").and_then(|path| path.strip_suffix(".json"))
}

//! A conversation with kintone: asks for the forms that are not known yet, once more when an answer says that one has changed, and carries a job's calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::form::Form;
use super::rest::{self, Call, Fault};
use super::settings::Settings;
use crate::crm::settings::Secret;
use crate::crm::{Exchange, Load, Response, Step};
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// How long it counts how busy the domain was.
const LOAD_IS_NEWS: Duration = Duration::from_secs(2);
/// The share of the domain's requests at once from which on records wait: it is not the bridge's alone.
const CROWDED_PERCENT: u64 = 90;

/// Something that takes one or more calls.
pub(super) trait Job: Send {
    /// How it ends.
    type End;

    /// The apps whose forms it needs.
    fn apps(&self) -> Vec<u64>;

    /// What comes next, after the result of the call before (`None` at the beginning, which may come a second time).
    fn next(&mut self, reply: Option<Result<Value, Fault>>) -> Next<Self::End>;

    /// How it ends when there is no form.
    fn failed(answer: Answer) -> Self::End;

    /// Whether it can wait while the domain is busy.
    fn is_patient(&self) -> bool;
}

/// A step of a [`Job`].
#[derive(Debug)]
pub(super) enum Next<E> {
    /// To be called.
    Call(Call),
    /// How it ended.
    End(E),
    /// How it ended, unless a form has changed: then it begins anew.
    Doubt(E),
}

/// What all conversations with one kintone share.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) settings: Settings,
    /// Separated by commas.
    tokens: Secret,
    /// Where people open its records, without a `/` at the end.
    pages: String,
    /// Forms that are as the configuration says.
    forms: Mutex<HashMap<u64, Arc<Form>>>,
    load: Mutex<Option<(Wall, Load)>>,
}

impl Peer {
    pub(super) fn new(settings: Settings, tokens: Secret, pages: String) -> Peer {
        Peer { settings, tokens, pages, forms: Mutex::default(), load: Mutex::default() }
    }

    /// Address of a record's page.
    pub(super) fn page(&self, app: u64, id: &str) -> String {
        format!("{}/k/{app}/show#record={id}", self.pages)
    }

    /// The form of an app, once it is known.
    pub(super) fn form(&self, app: u64) -> Option<Arc<Form>> {
        lock(&self.forms).get(&app).cloned()
    }

    fn learn(&self, app: u64, result: &Value) -> Result<(), Answer> {
        let form = Form::read(result)?;
        let settings = &self.settings;
        let mut problem = None;
        if app == settings.app {
            problem = form.problem_of_calls(settings);
        }
        if app == settings.contacts.app {
            problem = problem.or_else(|| form.problem_of_contacts(&settings.contacts));
        }
        if let Some(problem) = problem {
            return Err(Answer::Denied(problem));
        }
        lock(&self.forms).insert(app, Arc::new(form));
        Ok(())
    }

    fn forget_forms(&self) {
        lock(&self.forms).clear();
    }

    /// Why records should wait, when the domain has hardly any room left.
    fn crowded(&self, now: Wall) -> Option<Answer> {
        let (heard, load) = (*lock(&self.load))?;
        let full = load.limit > 0 && u64::from(load.running) * 100 >= u64::from(load.limit) * CROWDED_PERCENT;
        let what = format!("{} of {} requests at once in the domain; waiting for room", load.running, load.limit);
        let is_news = now.since(heard) < LOAD_IS_NEWS;
        (full && is_news).then(|| Answer::Busy { what, retry_after: Some(LOAD_IS_NEWS.as_secs().to_string()) })
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A job under way.
pub(super) struct Talk<J> {
    peer: Arc<Peer>,
    job: J,
    /// The app whose form was asked for.
    asked: Option<u64>,
    /// The forms were asked for on a doubt: it is of no use to do so again.
    fresh: bool,
}

impl<J: Job> Talk<J> {
    pub(super) fn new(peer: Arc<Peer>, job: J) -> Talk<J> {
        Talk { peer, job, asked: None, fresh: false }
    }

    /// Begins, or asks for the next form that is missing.
    fn begin(&mut self) -> Step<J::End> {
        let missing = self.job.apps().into_iter().find(|app| self.peer.form(*app).is_none());
        self.asked = missing;
        match missing {
            Some(app) => self.send(&Call::Form(app)),
            None => self.go_on(None),
        }
    }

    fn send(&self, call: &Call) -> Step<J::End> {
        Step::Send(call.request(&self.peer.tokens.0))
    }

    fn go_on(&mut self, reply: Option<Result<Value, Fault>>) -> Step<J::End> {
        match self.job.next(reply) {
            Next::Call(call) => self.send(&call),
            Next::Doubt(_) if !self.fresh => {
                self.fresh = true;
                self.peer.forget_forms();
                self.begin()
            }
            Next::End(end) | Next::Doubt(end) => Step::End(end),
        }
    }
}

impl<J: Job> Exchange<J::End> for Talk<J> {
    fn next(&mut self, answer: Option<Response>, now: Wall) -> Step<J::End> {
        let Some(response) = answer else {
            let crowded = self.job.is_patient().then(|| self.peer.crowded(now)).flatten();
            return crowded.map_or_else(|| self.begin(), |busy| Step::End(J::failed(busy)));
        };
        if let Some(load) = response.load {
            *lock(&self.peer.load) = Some((now, load));
        }
        let result = rest::result_of(&response);
        let Some(app) = self.asked else { return self.go_on(Some(result)) };
        match result.map_err(|fault| fault.answer).and_then(|form| self.peer.learn(app, &form)) {
            Ok(()) => self.begin(),
            Err(answer) => Step::End(J::failed(answer)),
        }
    }
}

//! A conversation with Odoo: logs in where that is needed, once more when Odoo does not know us any more, and carries a job's calls.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::rpc::{self, Call};
use super::settings::{Protocol, Settings};
use crate::crm::settings::Secret;
use crate::crm::{Exchange, Response, Step};
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// Something that takes one or more calls.
pub(super) trait Job: Send {
    /// How it ends.
    type End;

    /// What comes next, after the result of the call before (`None` at the beginning).
    fn next(&mut self, reply: Option<Result<Value, Answer>>) -> Next<Self::End>;
}

/// A step of a [`Job`].
#[derive(Debug)]
pub(super) enum Next<E> {
    /// To be called.
    Call(Call),
    /// How it ended.
    End(E),
}

/// What all conversations with one Odoo share.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) settings: Settings,
    pub(super) secret: Secret,
    /// Where people open its records, without a `/` at the end.
    pub(super) pages: String,
    /// Who we are there, once that was asked.
    uid: Mutex<Option<u64>>,
}

impl Peer {
    pub(super) fn new(settings: Settings, secret: Secret, pages: String) -> Peer {
        Peer { settings, secret, pages, uid: Mutex::default() }
    }

    /// Address of a record's page. Odoo 18 and later lead on from there.
    pub(super) fn page(&self, model: &str, id: u64) -> String {
        format!("{}/web#id={id}&model={model}&view_type=form", self.pages)
    }

    fn uid(&self) -> Option<u64> {
        match self.settings.protocol {
            Protocol::Jsonrpc => *self.uid.lock().unwrap_or_else(PoisonError::into_inner),
            // the key says who we are
            Protocol::Json2 => Some(0),
        }
    }

    fn remember(&self, uid: Option<u64>) {
        *self.uid.lock().unwrap_or_else(PoisonError::into_inner) = uid;
    }
}

/// A job under way.
pub(super) struct Talk<J> {
    peer: Arc<Peer>,
    job: J,
    /// What was called, or waits for the log-in.
    call: Option<Call>,
    logging_in: bool,
    /// We have logged in during this conversation: it is of no use to do so again.
    fresh: bool,
}

impl<J: Job> Talk<J> {
    pub(super) fn new(peer: Arc<Peer>, job: J) -> Talk<J> {
        Talk { peer, job, call: None, logging_in: false, fresh: false }
    }

    fn go_on(&mut self, reply: Option<Result<Value, Answer>>) -> Step<J::End> {
        match self.job.next(reply) {
            Next::End(end) => Step::End(end),
            Next::Call(call) => {
                let call = self.call.insert(call);
                let Some(uid) = self.peer.uid() else { return self.log_in() };
                Step::Send(call.request(&self.peer.settings, &self.peer.secret, uid))
            }
        }
    }

    fn log_in(&mut self) -> Step<J::End> {
        (self.logging_in, self.fresh) = (true, true);
        Step::Send(rpc::log_in(&self.peer.settings, &self.peer.secret))
    }

    fn logged_in(&mut self, response: &Response) -> Step<J::End> {
        self.logging_in = false;
        match (rpc::uid_of(response), &self.call) {
            (Ok(uid), Some(call)) => {
                self.peer.remember(Some(uid));
                Step::Send(call.request(&self.peer.settings, &self.peer.secret, uid))
            }
            (Ok(_), None) => self.go_on(None),
            (Err(answer), _) => self.go_on(Some(Err(answer))),
        }
    }
}

impl<J: Job> Exchange<J::End> for Talk<J> {
    fn next(&mut self, answer: Option<Response>, _now: Wall) -> Step<J::End> {
        let Some(response) = answer else { return self.go_on(None) };
        if self.logging_in {
            return self.logged_in(&response);
        }
        let protocol = self.peer.settings.protocol;
        match rpc::result_of(protocol, &response) {
            Ok(result) => self.go_on(Some(Ok(result))),
            Err(fault) if fault.stranger && !self.fresh && protocol == Protocol::Jsonrpc => {
                self.peer.remember(None);
                self.log_in()
            }
            Err(fault) => self.go_on(Some(Err(fault.answer))),
        }
    }
}

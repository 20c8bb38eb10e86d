//! What goes out: requests of ours and answers in their transactions, and how we are named in them.

use std::net::IpAddr;

use crate::time::Now;

use super::check;
use super::flow::Flow;
use super::header::{print_contact, print_secure_contact};
use super::message::{Message, Start};
use super::request::Request;
use super::transaction::{Client, Key};
use super::uas::{Output, Purpose, Uas};
use super::wire;

/// Requests of our own that wait for an answer.
const CLIENTS_MAX: usize = 4_096;

impl Uas {
    /// Sends a request of our own.
    pub(super) fn ask(&mut self, message: &Message, branch: String, flow: Flow, purpose: Purpose, now: Now) {
        let message = self.authorized(message, flow);
        let bytes = wire::write(&message);
        if self.clients.len() < CLIENTS_MAX {
            self.clients.insert(branch, (Client::new(flow, bytes.clone(), self.times, now), purpose));
        }
        self.out.push_back(Output::Send(flow, bytes));
    }

    /// Gives an answer in its transaction.
    pub(super) fn respond(&mut self, key: &Key, answer: &Message, now: Now) {
        let Start::Response { code, .. } = answer.start else { return };
        let bytes = wire::write(answer);
        if let Some(flow) = self.servers.answered(key, code, &bytes, now) {
            self.out.push_back(Output::Send(flow, bytes));
        }
    }

    /// 503 with Retry-After.
    pub(super) fn busy(&mut self, request: &Request, tag: &str) -> Message {
        self.counters.refused += 1;
        let mut answer = request.answer(503, tag);
        answer.push("Retry-After", self.settings.retry_after_s.to_string());
        answer
    }

    /// The host that we give as ours.
    pub(super) fn host(&self, flow: Flow) -> String {
        let own = self.settings.advertised.trim();
        if own.is_empty() { flow.local.ip().to_canonical().to_string() } else { own.into() }
    }

    /// An answer that makes or refreshes the dialog: Record-Route, Contact, Allow.
    pub(super) fn dialog_answer(&self, tag: &str, request: Option<&Request>, code: u16) -> Option<(Key, Message)> {
        let call = self.calls.get(tag)?;
        let request = request.unwrap_or(&call.invite);
        let mut answer = request.answer(code, tag);
        for route in request.message.raw("Record-Route") {
            answer.push("Record-Route", route.to_vec());
        }
        let contact = self.contact(call.flow, call.dialog.secure);
        // RFC 7866 §6.2
        answer.push("Contact", if call.recording.is_some() { format!("{contact};+sip.srs") } else { contact });
        answer.push("Allow", check::ALLOW);
        answer.push("Supported", check::supported());
        Some((call.invite_key, answer))
    }

    /// Our Contact on a flow.
    fn contact(&self, flow: Flow, secure: bool) -> String {
        let (host, port) = (self.host(flow), flow.local.port());
        match secure {
            true => print_secure_contact("kakehashi", &host, port),
            false => print_contact("kakehashi", &host, port, flow.transport.name()),
        }
    }

    pub(super) fn send_request(&mut self, tag: &str, method: &str, purpose: Purpose, now: Now) {
        if let Some((message, branch, to)) = self.request_within(tag, method) {
            self.ask(&message, branch, to, purpose, now);
        }
    }

    /// A request in the dialog of a call, its branch, and where it goes.
    pub(super) fn request_within(&mut self, tag: &str, method: &str) -> Option<(Message, String, Flow)> {
        let branch = format!("z9hG4bK{}", self.token());
        let call = self.calls.get(tag)?;
        let (mut dialog, host, flow) = (call.dialog.clone(), self.host(call.flow), call.flow);
        let trusted = |address: IpAddr| self.pbx_of(address).is_some();
        let (mut message, to) = dialog.request(method, &branch, &host, trusted);
        message.push("Contact", self.contact(flow, dialog.secure));
        self.calls.get_mut(tag)?.dialog = dialog;
        Some((message, branch, to))
    }
}

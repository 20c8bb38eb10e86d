//! What comes in, in the order in which it is looked at: repetitions, pace, proof, checks; then to the part that handles it.

use crate::pbx::PbxId;
use crate::time::Now;

use super::super::check;
use super::super::flow::{Flow, return_address};
use super::super::header::Via;
use super::super::message::Message;
use super::super::rate::Verdict;
use super::super::refresh::code_of;
use super::super::request::{Request, stamp_via};
use super::super::transaction::{Key, Repeat};
use super::super::wire;
use super::{Output, Purpose, Uas};

impl Uas {
    /// A request, from its repetition to whoever handles it.
    pub(super) fn handle_request(&mut self, pbx: &PbxId, flow: Flow, mut message: Message, now: Now) {
        stamp_via(&mut message, flow.peer);
        let request = match Request::read(message) {
            Ok(request) => request,
            Err(bad) => return self.handle_bad(flow, bad),
        };
        if request.method == "ACK" {
            if !self.servers.acknowledged(&Key::of_invite(&request), now) {
                self.acknowledge(&request, flow, now);
            }
            return;
        }
        let back = Flow { peer: return_address(&request.via, flow), ..flow };
        let key = Key::of(&request);
        match self.servers.repeat(&key) {
            Repeat::Seen(Some((flow, bytes))) => return self.out.push_back(Output::Send(flow, bytes)),
            Repeat::Seen(None) => return,
            Repeat::New => {}
        }
        let expected = self.is_expected(&request, back);
        if !expected && !self.is_in_time(&request, &key, back, now) {
            return;
        }
        self.counters.requests += 1;
        let merged = request.method != "CANCEL" && self.servers.is_merged(&request);
        if request.method != "CANCEL" && !merged && !self.is_proven(pbx, &request, back, now) {
            return;
        }
        let full = !expected && self.is_full_for(&request, back);
        if full || !self.servers.open(&key, &request, back) {
            let answer = self.busy_stateless(&request, &key);
            self.out.push_back(Output::Send(back, answer));
            return;
        }
        let tag = self.token();
        let unprotected = self.unprotected(&request, flow, &tag);
        let refusal = || check::refusal(&request, merged, flow.transport.is_secure(), &tag);
        if let Some(answer) = unprotected.or_else(refusal) {
            return self.respond(&key, &answer, now);
        }
        match request.method.as_str() {
            "CANCEL" => self.cancel(&key, &request, &tag, now),
            method if method != "INVITE" && request.message.count("Replaces") > 0 => {
                self.respond(&key, &request.answer(400, &tag), now);
            }
            "NOTIFY" => self.notify(pbx, &key, &request, flow, &tag, now),
            _ if request.to.tag().is_some() => self.within_dialog(&key, request, flow, now),
            "INVITE" | "OPTIONS" if self.declines(&request) => {
                let answer = self.busy(&request, &tag);
                self.respond(&key, &answer, now);
            }
            "INVITE" => self.invite(pbx, key, request, flow, tag, now),
            "OPTIONS" => {
                let mut answer = request.answer(200, &tag);
                check::describe(&mut answer);
                self.respond(&key, &answer, now);
            }
            _ => self.respond(&key, &request.answer(481, &tag), now),
        }
    }

    /// Whether a request belongs to what was taken before: a call, an INVITE that is cancelled, an extension that is watched.
    fn is_expected(&self, request: &Request, back: Flow) -> bool {
        let call = request.to.tag().and_then(|tag| self.calls.get(tag));
        let inside = call.is_some_and(|call| call.dialog.matches(request) && call.dialog.protects(back));
        let cancels = request.method == "CANCEL" && self.servers.is_open(&Key::of_invite(request));
        // what a watched extension does is told when it is told
        let told = request.method == "NOTIFY" && self.accounts.is_subscribed(request);
        inside || cancels || told
    }

    /// Whether its sender may ask something new now. Who asks too much gets a stateless 503 (RFC 3261 §8.2.7) that is no larger than its
    /// request, and then nothing.
    fn is_in_time(&mut self, request: &Request, key: &Key, back: Flow, now: Now) -> bool {
        match self.rates.ask(back.peer.ip(), now) {
            Verdict::Taken => return true,
            Verdict::Refused => {
                let answer = self.busy_stateless(request, key);
                if answer.len() <= wire::write(&request.message).len() {
                    self.out.push_back(Output::Send(back, answer));
                }
            }
            Verdict::Silent => self.counters.flooded += 1,
        }
        false
    }

    /// Whether there is no room for what a request begins; counted by what is missing.
    fn is_full_for(&mut self, request: &Request, back: Flow) -> bool {
        let begins = request.method == "INVITE" && request.to.tag().is_none() && !self.declines(request);
        if self.servers.is_full_of(back.peer.ip()) {
            self.counters.refused_transactions += 1;
        } else if begins && self.overloaded {
            self.counters.refused_overloaded += 1;
        } else if begins && self.calls.len() >= self.most_calls() {
            self.counters.refused_calls += 1;
        } else {
            return false;
        }
        true
    }

    /// 503 with Retry-After of which nothing is remembered: a repeated request gets it again, with the same tag (RFC 3261 §8.2.7).
    fn busy_stateless(&mut self, request: &Request, key: &Key) -> Vec<u8> {
        let tag = self.stateless_tag(key);
        wire::write(&self.busy(request, &tag))
    }

    /// An answer to a request of ours.
    pub(super) fn handle_response(&mut self, code: u16, message: &Message, flow: Flow, now: Now) {
        let vias = message.list("Via");
        let branch = vias.first().and_then(|via| Via::parse(via)).map(|via| via.branch().to_string());
        let Some(branch) = branch.filter(|branch| self.clients.contains_key(branch) || self.acks.contains_key(branch))
        else {
            self.counters.stray += 1;
            return;
        };
        if self.acknowledge_again(&branch, code) {
            return;
        }
        if code < 200 {
            if let Some((client, _)) = self.clients.get_mut(&branch) {
                client.provisional(now);
            }
        } else if self.prove(code, &branch, message, now) {
            // it is under way again
        } else if let Some((client, purpose)) = self.clients.remove(&branch) {
            if client.is_invite() {
                self.acknowledge_answer(&branch, &client, message, now);
            }
            self.account_answered(&purpose, Some((code, message, flow)), now);
            self.answered(purpose, Some(message), now);
        }
    }

    /// One of our requests was answered (or not in time).
    pub(super) fn answered(&mut self, purpose: Purpose, answer: Option<&Message>, now: Now) {
        match purpose {
            Purpose::Bye | Purpose::Register(_) | Purpose::Subscribe(..) => {}
            Purpose::Probe(tag) => self.probed(&tag, answer.map(code_of), now),
            Purpose::Snapshot { tag, invite } => self.snapshot_answered(&tag, invite, answer, now),
            Purpose::Refresh { tag, invite } => self.refreshed(&tag, invite, answer, now),
        }
    }

    fn most_calls(&self) -> usize {
        usize::try_from(self.settings.max_calls).unwrap_or(usize::MAX)
    }
}

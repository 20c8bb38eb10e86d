//! What SIP messages say: each is put to its dialog, whichever side sent it, and however often it is seen.

use std::net::SocketAddr;

use super::dialog::{Dialog, DialogId, Phase, Side, Way};
use super::join::number_of;
use super::machine::Mirror;
use super::transfer;
use crate::pbx::sip::header::{CSeq, NameAddr, Uri, param, split_params};
use crate::pbx::sip::identity;
use crate::pbx::sip::message::{Message, Start};
use crate::pbx::sip::request::Request;
use crate::pbx::{EndCause, KeyKind};
use crate::time::Now;

/// Registered contacts that are remembered, and registrations under way.
const REGISTERED_MAX: usize = 20_000;
/// Dialogs for each call that may be observed.
const DIALOGS_PER_CALL: usize = 6;
/// Dialogs with one Call-ID.
const FORKS_MAX: usize = 32;

/// What a response says of its request.
struct Answer {
    code: u16,
    cseq: CSeq,
    call_id: String,
    from_tag: String,
}

impl Answer {
    fn read(message: &Message, code: u16) -> Option<Answer> {
        let cseq = CSeq::parse(&message.text("CSeq")?)?;
        let call_id = message.text("Call-ID")?.trim().to_string();
        let from_tag = NameAddr::parse(&message.text("From")?)?.tag().unwrap_or_default().to_string();
        Some(Answer { code, cseq, call_id, from_tag })
    }
}

impl Mirror {
    /// Takes a message between the exchange and somebody else.
    pub(super) fn message(&mut self, source: SocketAddr, target: SocketAddr, message: Message, now: Now) {
        let (side, peer, own) = match (self.is_exchange(source), self.is_exchange(target)) {
            (false, true) => (Side::Peer, source, target),
            (true, false) => (Side::Exchange, target, source),
            _ => return self.counters.messages_foreign += 1,
        };
        self.counters.messages += 1;
        match &message.start {
            Start::Request { method, .. } if method == "INVITE" || method == "REGISTER" || is_inside(method) => {
                match Request::read(message) {
                    Ok(request) => self.request(request, side, peer, own, now),
                    Err(_) => self.counters.messages_bad += 1,
                }
            }
            Start::Request { .. } => {}
            Start::Response { code, .. } => match Answer::read(&message, *code) {
                Some(answer) => self.answer(&message, &answer, side, peer, now),
                None => self.counters.messages_bad += 1,
            },
        }
    }

    fn request(&mut self, request: Request, side: Side, peer: SocketAddr, own: SocketAddr, now: Now) {
        match request.method.as_str() {
            "REGISTER" if side == Side::Peer => self.register(&request),
            "REGISTER" => {}
            "INVITE" if request.to.tag().is_none() => self.invite(request, side, peer, own, now),
            _ => self.inside(&request, side, peer, now),
        }
    }

    /// A request that begins a dialog, is repeated, or comes again with credentials.
    fn invite(&mut self, request: Request, side: Side, peer: SocketAddr, own: SocketAddr, now: Now) {
        let way = if side == Side::Peer { Way::Entering } else { Way::Leaving };
        let from_tag = request.from.tag().unwrap_or_default();
        let same = |dialog: &&mut Dialog| {
            dialog.from_tag == from_tag && dialog.way == way && (way == Way::Entering || dialog.peer == peer)
        };
        let known = self.by_call_id.get(&request.call_id).cloned().unwrap_or_default();
        let mut found = known.iter().copied().filter(|id| self.dialogs.get_mut(id).as_ref().is_some_and(same));
        if let Some(id) = found.next() {
            drop(found);
            return self.again(id, request, side, now);
        }
        drop(found);
        let room = self.settings.max_calls as usize * DIALOGS_PER_CALL;
        if self.dialogs.len() >= room || known.len() >= FORKS_MAX {
            self.counters.calls_refused += 1;
            return;
        }
        let id = self.next_dialog;
        self.next_dialog += 1;
        self.by_call_id.entry(request.call_id.clone()).or_default().push(id);
        let mut dialog = Dialog::new(request, way, peer, own, now);
        let trust = self.trusts(way, peer);
        dialog.number = number_of(&identity::caller(&dialog.invite, trust));
        let session = identity::keys(&dialog.invite, trust).into_iter().find(|key| key.kind == KeyKind::SessionId);
        dialog.session = session.map(|key| key.value);
        let (message, cseq) = (dialog.invite.message.clone(), dialog.invite.cseq.number);
        dialog.describe(&message, "INVITE", cseq, side, now.mono);
        self.dialogs.insert(id, dialog);
        self.reroute(id);
        self.place(id, now);
    }

    /// The same INVITE once more; with a higher CSeq it answers a challenge.
    fn again(&mut self, id: DialogId, request: Request, side: Side, now: Now) {
        let Some(dialog) = self.dialogs.get_mut(&id).filter(|dialog| dialog.phase < Phase::Answered) else { return };
        dialog.seen = now.mono;
        if request.cseq.number > dialog.invite.cseq.number {
            dialog.describe(&request.message, "INVITE", request.cseq.number, side, now.mono);
            dialog.invite = request;
            self.reroute(id);
        }
    }

    /// A request inside a dialog.
    fn inside(&mut self, request: &Request, side: Side, peer: SocketAddr, now: Now) {
        let tags = [request.from.tag(), request.to.tag()];
        let Some(id) = self.find(&request.call_id, tags, peer) else {
            // an ACK of what was over before, and notifications of other things, say nothing of calls
            let counts = matches!(request.method.as_str(), "INVITE" | "UPDATE" | "BYE");
            self.counters.dialogs_unknown += u64::from(counts);
            return;
        };
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        dialog.seen = now.mono;
        match request.method.as_str() {
            "CANCEL" => self.cancel(id, side, &request.message, now),
            "BYE" => self.bye(id, side, now),
            "REFER" if side == Side::Peer => transfer::asked(dialog, request),
            "NOTIFY" if side == Side::Exchange => transfer::notified(dialog, request),
            method => {
                if dialog.describe(&request.message, method, request.cseq.number, side, now.mono) {
                    self.reroute(id);
                    self.media_changed(id, now);
                }
            }
        }
    }

    fn answer(&mut self, message: &Message, answer: &Answer, side: Side, peer: SocketAddr, now: Now) {
        if answer.cseq.method == "REGISTER" {
            return self.registered(&answer.call_id, answer.code);
        }
        let to = super::dialog::tag_of(message);
        // before the answer nobody knows the tag of To
        let Some(id) = self.find(&answer.call_id, [Some(answer.from_tag.as_str()), to.as_deref()], peer) else {
            return;
        };
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        dialog.seen = now.mono;
        let (method, number, code) = (answer.cseq.method.as_str(), answer.cseq.number, answer.code);
        let is_first = method == "INVITE" && number == dialog.invite.cseq.number;
        if is_first && side != asked_of(dialog.way) {
            return;
        }
        if method == "REFER" && side == Side::Exchange {
            return transfer::answered(dialog, number, code);
        }
        if matches!(method, "INVITE" | "UPDATE" | "PRACK") && dialog.is_live() {
            let before = dialog.held;
            if dialog.answer(message, method, number, code, side, now.mono) {
                self.reroute(id);
                self.media_changed(id, now);
            }
            self.hold_changed(id, before, now);
        }
        if is_first {
            self.progress(id, code, now);
        }
    }

    /// How the answers to the first INVITE go on.
    fn progress(&mut self, id: DialogId, code: u16, now: Now) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        match (code, dialog.phase) {
            (180..=199, Phase::Trying) => {
                dialog.phase = Phase::Ringing;
                dialog.ringing = Some(now);
                self.rings(id, now);
            }
            (200..=299, Phase::Trying | Phase::Ringing) => {
                dialog.phase = Phase::Answered;
                (dialog.settles, dialog.cancelled) = (None, None);
                dialog.answered = Some(now);
                self.answers(id, now);
            }
            // the request comes again with credentials, or with a longer interval
            (401 | 407 | 422, Phase::Trying | Phase::Ringing) => {}
            (300.., Phase::Trying | Phase::Ringing) => {
                let cause = dialog.cancelled.unwrap_or_else(|| cause_of(code));
                self.refused(id, cause, now);
            }
            _ => {}
        }
    }

    fn cancel(&mut self, id: DialogId, side: Side, message: &Message, now: Now) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        let asks = asked_of(dialog.way).other();
        if dialog.phase >= Phase::Answered || side != asks {
            return;
        }
        dialog.cancelled = Some(match dialog.way {
            Way::Entering => EndCause::Cancelled,
            Way::Leaving if is_elsewhere(message) => EndCause::AnsweredElsewhere,
            Way::Leaving => EndCause::Normal,
        });
        // the final answer follows; when it is not seen, this is the end
        dialog.settles = Some(now.mono + super::call::SETTLE);
        if dialog.way == Way::Entering {
            self.refused(id, EndCause::Cancelled, now);
        }
    }

    /// The dialog of a message: by Call-ID and tags, and where a call passes the exchange under one Call-ID, by the other end.
    fn find(&self, call_id: &str, tags: [Option<&str>; 2], peer: SocketAddr) -> Option<DialogId> {
        let has = |tag: &str| tags.contains(&Some(tag));
        let all = self.by_call_id.get(call_id)?.iter().copied();
        let fits = |id: &DialogId| self.dialogs.get(id).is_some_and(|dialog| has(&dialog.from_tag));
        let all: Vec<DialogId> = all.filter(fits).collect();
        let at = |same: &dyn Fn(SocketAddr) -> bool| {
            all.iter().copied().find(|id| self.dialogs.get(id).is_some_and(|dialog| same(dialog.peer)))
        };
        match all.as_slice() {
            [only] => Some(*only),
            _ => at(&|own| own == peer).or_else(|| at(&|own| own.ip() == peer.ip())).or(all.first().copied()),
        }
    }

    /// Whether what a dialog's INVITE says of the caller beyond From is believed: the exchange and its lines are the trust domain.
    pub(super) fn trusts(&self, way: Way, peer: SocketAddr) -> bool {
        self.settings.trust_identity && (way == Way::Leaving || self.is_line(peer))
    }

    fn register(&mut self, request: &Request) {
        let contact = request.message.list("Contact").first().and_then(|value| NameAddr::parse(value));
        let (Some(contact), Some(user)) = (contact, identity::number_of(&request.to)) else { return };
        if self.registering.len() >= REGISTERED_MAX {
            self.registering.clear();
        }
        self.registering.insert(request.call_id.clone(), (binding(&contact.uri), user));
    }

    fn registered(&mut self, call_id: &str, code: u16) {
        if !(200..300).contains(&code) {
            return;
        }
        let Some((contact, user)) = self.registering.remove(call_id) else { return };
        if self.registered.len() < REGISTERED_MAX || self.registered.contains_key(&contact) {
            self.registered.insert(contact, user);
        }
    }

    /// The extension behind an INVITE of the exchange: as the telephone registered, else as it is asked for.
    pub(super) fn address_of(&self, invite: &Request) -> String {
        let asked = invite.uri.user.clone().or_else(|| identity::number_of(&invite.to));
        self.registered.get(&binding(&invite.uri)).cloned().or(asked).unwrap_or_default()
    }
}

/// Methods that concern a dialog.
fn is_inside(method: &str) -> bool {
    matches!(method, "ACK" | "BYE" | "CANCEL" | "UPDATE" | "PRACK" | "REFER" | "NOTIFY")
}

/// Who answers the first INVITE.
fn asked_of(way: Way) -> Side {
    if way == Way::Entering { Side::Exchange } else { Side::Peer }
}

/// A contact as it is asked for later.
fn binding(uri: &Uri) -> String {
    format!("{}@{}:{}", uri.user.as_deref().unwrap_or_default(), uri.host, uri.port.unwrap_or(5060))
}

/// Why a telephone is no longer rung (RFC 3326 §2): another one answered.
fn is_elsewhere(message: &Message) -> bool {
    message.list("Reason").iter().any(|reason| {
        let Some((protocol, params)) = split_params(reason) else { return false };
        let cause = param(&params, "cause").unwrap_or_default();
        (protocol.eq_ignore_ascii_case("SIP") && cause == "200")
            || (protocol.eq_ignore_ascii_case("Q.850") && cause == "26")
    })
}

fn cause_of(code: u16) -> EndCause {
    match code {
        300..=399 => EndCause::Forwarded,
        486 | 600 => EndCause::Busy,
        603 => EndCause::Rejected,
        408 | 480 => EndCause::NoAnswer,
        487 => EndCause::Normal,
        _ => EndCause::Failed,
    }
}

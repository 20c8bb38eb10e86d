//! Transfers as far as they are visible: REFER by a telephone (RFC 3515, RFC 5589), with Replaces where somebody was asked first (RFC 3891).

use super::dialog::{Dialog, DialogId};
use super::machine::Mirror;
use crate::pbx::sip::header::{NameAddr, param, percent_decode, split_params};
use crate::pbx::sip::identity;
use crate::pbx::sip::request::Request;
use crate::pbx::{EndCause, Relation, Signal, TransferKind};
use crate::time::Now;

/// A telephone wants the caller to be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passing {
    cseq: u32,
    accepted: bool,
    to: Option<String>,
    /// Call-ID, from-tag and to-tag of the consultation.
    replaces: Option<(String, String, String)>,
}

/// REFER.
pub(super) fn asked(dialog: &mut Dialog, request: &Request) {
    let address = request.message.text("Refer-To").and_then(|text| NameAddr::parse(&text));
    let Some(address) = address else { return };
    let header = address.uri_text.split_once('?').map_or("", |(_, headers)| headers);
    let replaces = header.split('&').find_map(|header| {
        let (name, value) = header.split_once('=')?;
        name.eq_ignore_ascii_case("Replaces").then(|| percent_decode(value))
    });
    let replaces = replaces.and_then(|text| {
        let (call_id, params) = split_params(&text)?;
        Some((call_id.to_string(), param(&params, "from-tag")?.to_string(), param(&params, "to-tag")?.to_string()))
    });
    let to = identity::number_of(&address);
    dialog.passing = Some(Passing { cseq: request.cseq.number, accepted: false, to, replaces });
}

/// The answer to REFER.
pub(super) fn answered(dialog: &mut Dialog, cseq: u32, code: u16) {
    let Some(passing) = dialog.passing.as_mut().filter(|passing| passing.cseq == cseq) else { return };
    match code {
        200..=299 => passing.accepted = true,
        300.. => dialog.passing = None,
        _ => {}
    }
}

/// How the transfer went (RFC 3515 §2.4.5): after a failure the telephone still has the caller.
pub(super) fn notified(dialog: &mut Dialog, request: &Request) {
    let body = String::from_utf8_lossy(&request.message.body);
    let code = body.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
    if code.is_some_and(|code| code >= 300) {
        dialog.passing = None;
    }
}

/// Whether the exchange agreed to pass the caller on.
pub(super) fn is_passed_on(dialog: Option<&Dialog>) -> bool {
    dialog.and_then(|dialog| dialog.passing.as_ref()).is_some_and(|passing| passing.accepted)
}

impl Mirror {
    /// The person at this leg is gone and has passed the caller on: tells so, and after a consultation brings the new person's leg over.
    pub(super) fn pass_on(&mut self, call: u64, id: DialogId, now: Now) {
        let Some((_, leg)) = self.leg_of(id) else { return };
        let Some(passing) = self.dialogs.get(&id).and_then(|dialog| dialog.passing.clone()) else { return };
        let consultation = passing.replaces.as_ref().and_then(|(call_id, from, to)| self.named(call_id, from, to));
        let kind = if passing.replaces.is_some() { TransferKind::Attended } else { TransferKind::Blind };
        self.tell(call, Signal::Transferred { leg, kind, to: passing.to }, now);
        let other = consultation.and_then(|dialog| Some((dialog, self.dialogs.get(&dialog)?.call?)));
        if let Some((consultation, other)) = other.filter(|(_, other)| *other != call) {
            self.link(call, other, now);
            self.bring_over(call, other, consultation, now);
        }
    }

    fn link(&mut self, call: u64, other: u64, now: Now) {
        let key = |call: u64| self.calls.get(&call).map(|call| call.key.clone());
        let (Some(own), Some(theirs)) = (key(call), key(other)) else { return };
        let kind = TransferKind::Attended;
        self.tell(call, Signal::Linked { other: theirs, relation: Relation::Consultation, kind }, now);
        self.tell(other, Signal::Linked { other: own, relation: Relation::Origin, kind }, now);
    }

    /// The telephone that was asked takes the caller; the consultation is over.
    fn bring_over(&mut self, call: u64, other: u64, consultation: DialogId, now: Now) {
        let Some(theirs) = self.calls.get(&other) else { return };
        let mut open = theirs.legs.iter().filter(|leg| leg.dialog != consultation && leg.answered && !leg.ended);
        let Some((dialog, address)) = open.next().map(|leg| (leg.dialog, leg.address.clone())) else { return };
        drop(open);
        if theirs.caller != Some(consultation) {
            return;
        }
        self.end_leg(other, dialog, EndCause::Transferred, now);
        self.end_call(other, EndCause::Transferred, now);
        self.add_leg(call, dialog, address, now);
        let Some((_, key)) = self.leg_of(dialog) else { return };
        if let Some(leg) = self.leg_mut(call, dialog) {
            leg.answered = true;
        }
        self.tell(call, Signal::LegAnswered(key), now);
    }
}

//! Which dialogs are one call. An exchange has a dialog with the caller and others with the telephones that it rings: they are joined by rule,
//! and what no rule joins stays a call of its own.

use super::dialog::{Dialog, DialogId, Phase, Side, Way};
use super::machine::Mirror;
use crate::pbx::sip::header::{param, split_params};
use crate::pbx::{Identity, Signal, Tag};
use crate::time::Now;

impl Mirror {
    /// A dialog begins: it is a caller, a telephone that is rung for one, or takes the place of such a telephone.
    pub(super) fn place(&mut self, id: DialogId, now: Now) {
        let Some(dialog) = self.dialogs.get(&id) else { return };
        if dialog.way == Way::Entering {
            if let Some(replaced) = self.replaced(dialog)
                && let Some(call) = self.dialogs.get(&replaced).and_then(|other| other.call)
            {
                let address = super::call::user_of(&dialog.invite.from);
                self.add_leg(call, id, address, now);
            }
            return;
        }
        let caller = self.caller_of(id);
        let call = match caller {
            Some(caller) => self.call_of_caller(caller),
            None => {
                self.counters.not_joined += 1;
                self.call_of_telephone(id)
            }
        };
        let Some(call) = call else { return self.counters.calls_refused += 1 };
        let Some(dialog) = self.dialogs.get(&id) else { return };
        let address = self.address_of(&dialog.invite);
        self.add_leg(call, id, address, now);
    }

    /// The caller's dialog for which the exchange rings this telephone: the same Call-ID, the same Session-ID (RFC 7989), or the only
    /// caller there is with the number that the telephone is shown.
    fn caller_of(&mut self, id: DialogId) -> Option<DialogId> {
        let own = self.dialogs.get(&id)?;
        let live = |other: &Dialog| other.way == Way::Entering && other.is_live();
        let same = |other: &Dialog| {
            let session = own.session.is_some() && own.session == other.session;
            other.call_id == own.call_id || session
        };
        let mut by_id = self.dialogs.iter().filter(|(_, other)| live(other) && same(other)).map(|(id, _)| *id);
        if let (Some(found), None) = (by_id.next(), by_id.next()) {
            drop(by_id);
            self.counters.joined_by_id += 1;
            return Some(found);
        }
        drop(by_id);
        let number = own.number.as_ref()?;
        let mut all: Vec<(DialogId, bool)> = { self.dialogs.iter() }
            .filter(|(_, other)| live(other) && other.number.as_ref() == Some(number))
            .filter(|(_, other)| other.session.is_none() || own.session.is_none())
            .map(|(id, other)| (*id, self.talks(other)))
            .collect();
        if all.len() > 1 {
            // of several calls with this number the one that nobody has answered yet
            all.retain(|(_, talks)| !talks);
        }
        let [(found, _)] = all.as_slice() else { return None };
        self.counters.joined_by_number += 1;
        Some(*found)
    }

    /// Whether somebody has answered this caller and is still there.
    fn talks(&self, caller: &Dialog) -> bool {
        let call = caller.call.and_then(|call| self.calls.get(&call));
        call.is_some_and(|call| call.legs.iter().any(|leg| leg.answered && !leg.ended))
    }

    /// The dialog whose place an INVITE takes (RFC 3891).
    fn replaced(&self, dialog: &Dialog) -> Option<DialogId> {
        let text = dialog.invite.message.text("Replaces")?;
        let (call_id, params) = split_params(&text)?;
        self.named(call_id, param(&params, "from-tag")?, param(&params, "to-tag")?)
    }

    /// The dialog with this Call-ID, one of whose tags is known to be its first.
    pub(super) fn named(&self, call_id: &str, from_tag: &str, to_tag: &str) -> Option<DialogId> {
        let all = self.by_call_id.get(call_id)?;
        let has = |id: &&DialogId| {
            let own = self.dialogs.get(id).map(|dialog| dialog.from_tag.as_str());
            own == Some(from_tag) || own == Some(to_tag)
        };
        all.iter().find(has).copied()
    }

    /// The same sound (or an address) shows that a call without a caller is that of this caller, whose own call has not been told.
    pub(super) fn absorb(&mut self, telephone: DialogId, caller: DialogId, now: Now) {
        let Some(call) = self.dialogs.get(&telephone).and_then(|dialog| dialog.call) else { return };
        let free = |dialog: &Dialog| dialog.call.is_none() && dialog.is_live();
        let alone = self.calls.get(&call).is_some_and(|call| call.caller.is_none() && !call.ended);
        if !alone || !self.dialogs.get(&caller).is_some_and(free) {
            return;
        }
        self.counters.joined_by_sound += 1;
        self.counters.not_joined = self.counters.not_joined.saturating_sub(1);
        self.relay.drop_dialog(telephone);
        self.relay.drop_dialog(caller);
        let Some(dialog) = self.dialogs.get_mut(&caller) else { return };
        dialog.call = Some(call);
        let keys = crate::pbx::sip::identity::keys(&dialog.invite, false);
        if let Some(call) = self.calls.get_mut(&call) {
            call.caller = Some(caller);
        }
        self.tell(call, Signal::Keys(keys), now);
        let Some(better) = self.identity_of(caller) else { return };
        let shown = self.identity_of(telephone).unwrap_or_default();
        if shown.number.is_none() && better.number.is_some() {
            self.tell(call, Signal::CallerIdentified(better), now);
        }
    }

    /// Direct media: the exchange gave a caller the address of a telephone.
    pub(super) fn join_by_address(&mut self, id: DialogId, now: Now) {
        let Some(own) = self.dialogs.get(&id).filter(|own| own.phase == Phase::Answered) else { return };
        let (mine, theirs) = match own.way {
            Way::Leaving => (own.sound(Side::Peer).target, Side::Exchange),
            Way::Entering => (own.sound(Side::Exchange).target, Side::Peer),
        };
        let Some(address) = mine else { return };
        let fits = |other: &Dialog| {
            other.way != own.way && other.phase == Phase::Answered && other.sound(theirs).target == Some(address)
        };
        let mut all = self.dialogs.iter().filter(|(_, other)| fits(other)).map(|(id, _)| *id);
        let (Some(other), None) = (all.next(), all.next()) else { return };
        drop(all);
        let (telephone, caller) = if own.way == Way::Leaving { (id, other) } else { (other, id) };
        self.absorb(telephone, caller, now);
    }
}

/// A caller's number for comparison: digits, a Japanese number with its 0. `None`: there is none, or it may not be known.
pub(super) fn number_of(caller: &Identity) -> Option<String> {
    let raw =
        caller.number.as_deref().filter(|_| caller.withheld.is_none() && !caller.tags.contains(&Tag::Payphone))?;
    let raw = raw.split(';').next().unwrap_or_default();
    let digits: String = raw.chars().filter(char::is_ascii_digit).collect();
    let odd = raw.chars().any(|c| !c.is_ascii_digit() && !"+-() ".contains(c));
    match digits.strip_prefix("81") {
        _ if odd || digits.is_empty() => None,
        Some(national) if raw.starts_with('+') || digits.len() >= 11 => Some(format!("0{national}")),
        _ if raw.starts_with('+') => Some(format!("+{digits}")),
        _ => Some(digits),
    }
}

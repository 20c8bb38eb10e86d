//! From dialog-info documents to signals: which calls an extension has, and what became of them.
//!
//! Only calls to the extension are told. A dialog without a direction is taken for one only when it was told as such before: what is merely
//! `confirmed` may be the extension's own call.

use std::collections::BTreeMap;

use super::{Dialog, Direction, Document, Reason, State};
use crate::pbx::identity::withheld;
use crate::pbx::sip::header::Uri;
use crate::pbx::{
    CallKey, EndCause, ExternalKey, Fidelity, Identity, KeyKind, LegKey, Observed, PbxId, Signal, Withheld,
};
use crate::time::Now;

/// Calls of one extension that are known at once; more are not told.
const KNOWN_MAX: usize = 64;

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was new; this is what it tells.
    Told(Vec<Observed>),
    /// It came before.
    Old,
    /// Something between it and the last one is missing: the whole state must be asked for.
    Gap,
}

/// The legs of each call over all watched extensions of one exchange: a call that rings at two of them is one call.
#[derive(Debug)]
pub struct Calls {
    pbx: PbxId,
    legs: BTreeMap<String, usize>,
    made: u64,
}

impl Calls {
    /// None yet.
    pub fn new(pbx: PbxId) -> Calls {
        Calls { pbx, legs: BTreeMap::new(), made: 0 }
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.legs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.legs.is_empty()
    }

    fn observed(&self, call: &str, signal: Signal, at: Now) -> Observed {
        Observed { call: CallKey { pbx: self.pbx.clone(), key: call.into() }, at, signal }
    }

    /// A name for the call: its Call-ID, else one that never comes again.
    fn name(&self, extension: &str, dialog: &Dialog, now: Now) -> String {
        match &dialog.call_id {
            Some(call_id) => format!("dialog-info;{call_id}"),
            None => format!("dialog-info;{extension};{};{}", now.wall.0, self.made),
        }
    }
}

/// What one subscription told of one extension so far.
#[derive(Debug, Default)]
pub struct Book {
    version: Option<u32>,
    known: Vec<Known>,
}

/// One call to the extension.
#[derive(Debug)]
struct Known {
    dialog: Dialog,
    call: String,
    leg: LegKey,
    caller: Identity,
    answered: bool,
    held: bool,
}

impl Book {
    /// The same calls, of which a new subscription will tell: its first document must be a full one.
    pub fn handed_on(self) -> Book {
        Book { version: None, ..self }
    }

    /// Calls that run.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no call runs.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes a document about `extension`. `asked`: the full state was asked for, so a full one counts whatever its version.
    pub fn apply(&mut self, document: &Document, extension: &str, asked: bool, calls: &mut Calls, now: Now) -> Applied {
        match self.version {
            _ if asked && document.full => {}
            None if document.full => {}
            Some(last) if document.version <= last => return Applied::Old,
            Some(last) if document.full || document.version == last + 1 => {}
            None | Some(_) => return Applied::Gap,
        }
        self.version = Some(document.version);
        let mut told = Vec::new();
        if document.full {
            let stays = |known: &Known| document.dialogs.iter().any(|dialog| is_same(&known.dialog, dialog));
            let (kept, gone) = std::mem::take(&mut self.known).into_iter().partition(stays);
            self.known = kept;
            for known in gone {
                end(known, None, calls, &mut told, now);
            }
        }
        for dialog in &document.dialogs {
            self.take(dialog, extension, calls, &mut told, now);
        }
        Applied::Told(told)
    }

    /// Nobody tells of these calls any more.
    pub fn lose(self, calls: &mut Calls, now: Now) -> Vec<Observed> {
        let mut told = Vec::new();
        for known in self.known {
            end(known, Some(EndCause::LostSight), calls, &mut told, now);
        }
        told
    }

    fn take(&mut self, dialog: &Dialog, extension: &str, calls: &mut Calls, told: &mut Vec<Observed>, now: Now) {
        let by_id = self.known.iter().position(|known| known.dialog.id == dialog.id && is_same(&known.dialog, dialog));
        let Some(at) = by_id.or_else(|| self.known.iter().position(|known| is_same(&known.dialog, dialog))) else {
            if matches!(dialog.state, State::Early | State::Confirmed) && dialog.direction == Some(Direction::Recipient)
            {
                self.appear(dialog, extension, calls, told, now);
            }
            return;
        };
        if dialog.state == State::Terminated {
            let mut known = self.known.remove(at);
            (known.dialog.event, known.dialog.code) = (dialog.event, dialog.code);
            return end(known, None, calls, told, now);
        }
        let caller = caller(dialog);
        let Some(known) = self.known.get_mut(at) else { return };
        if dialog.state == State::Early && is_another(&known.caller, &caller) && dialog.call_id.is_none() {
            // the end of the one and the beginning of the other were told at once
            let known = self.known.remove(at);
            end(known, None, calls, told, now);
            return self.take(dialog, extension, calls, told, now);
        }
        if known.caller == Identity::default() && caller != known.caller {
            known.caller = caller.clone();
            told.push(calls.observed(&known.call, Signal::CallerIdentified(caller), now));
        }
        if dialog.state == State::Confirmed && !known.answered {
            known.answered = true;
            told.push(calls.observed(&known.call, Signal::LegAnswered(known.leg.clone()), now));
        }
        if known.answered && dialog.state == State::Confirmed && known.held != dialog.held {
            known.held = dialog.held;
            let leg = known.leg.clone();
            let signal = if known.held { Signal::LegHeld(leg) } else { Signal::LegResumed(leg) };
            told.push(calls.observed(&known.call, signal, now));
        }
        known.dialog =
            Dialog { local_tag: dialog.local_tag.clone().or(known.dialog.local_tag.take()), ..dialog.clone() };
    }

    fn appear(&mut self, dialog: &Dialog, extension: &str, calls: &mut Calls, told: &mut Vec<Observed>, now: Now) {
        if self.known.len() >= KNOWN_MAX {
            return;
        }
        // two notifiers may tell of the same dialog: each tells of a leg of its own
        calls.made += 1;
        let call = calls.name(extension, dialog, now);
        let leg = LegKey(format!("{call};{extension};{}", calls.made));
        let caller = caller(dialog);
        let legs = calls.legs.entry(call.clone()).or_default();
        *legs += 1;
        if *legs == 1 {
            let key = |value: &String| ExternalKey { kind: KeyKind::CallId, value: value.clone() };
            let keys = dialog.call_id.iter().map(key).collect();
            let (called, fidelity) = (extension.to_string(), Fidelity::State);
            let appeared = Signal::CallAppeared { caller: caller.clone(), called, keys, fidelity };
            told.push(calls.observed(&call, appeared, now));
        }
        let appeared = Signal::LegAppeared { leg: leg.clone(), address: extension.into(), queue: None };
        told.push(calls.observed(&call, appeared, now));
        let answered = dialog.state == State::Confirmed;
        let signal = if answered { Signal::LegAnswered(leg.clone()) } else { Signal::LegRinging(leg.clone()) };
        told.push(calls.observed(&call, signal, now));
        self.known.push(Known { dialog: dialog.clone(), call, leg, caller, answered, held: false });
    }
}

/// A leg is gone, and with the last one its call.
fn end(known: Known, why: Option<EndCause>, calls: &mut Calls, told: &mut Vec<Observed>, now: Now) {
    let cause = why.unwrap_or_else(|| cause(&known));
    told.push(calls.observed(&known.call, Signal::LegEnded(known.leg, cause), now));
    let Some(legs) = calls.legs.get_mut(&known.call) else { return };
    *legs -= 1;
    if *legs == 0 {
        calls.legs.remove(&known.call);
        let whole = if known.answered && why.is_none() { EndCause::Normal } else { cause };
        told.push(calls.observed(&known.call, Signal::CallEnded(whole), now));
    }
}

/// Why a leg ended, by what RFC 4235 §3.7.1 lets an exchange say.
fn cause(known: &Known) -> EndCause {
    match (known.dialog.event, known.answered) {
        (Some(Reason::Error), _) => EndCause::Failed,
        (Some(Reason::RemoteBye), true) => EndCause::Cancelled,
        (_, true) => EndCause::Normal,
        (Some(Reason::Cancelled | Reason::RemoteBye), false) => EndCause::Cancelled,
        (Some(Reason::Replaced), false) => EndCause::AnsweredElsewhere,
        (Some(Reason::Rejected), false) => match known.dialog.code {
            Some(486 | 600) => EndCause::Busy,
            Some(408 | 480) => EndCause::NoAnswer,
            _ => EndCause::Rejected,
        },
        (Some(Reason::LocalBye | Reason::Timeout) | None, false) => EndCause::NoAnswer,
    }
}

/// By Call-ID and tags when both tell them, else by id.
fn is_same(known: &Dialog, told: &Dialog) -> bool {
    match (&known.call_id, &told.call_id) {
        (Some(known_id), Some(told_id)) => {
            let fits = |one: &Option<String>, other: &Option<String>| one.is_none() || other.is_none() || one == other;
            known_id == told_id && fits(&known.local_tag, &told.local_tag) && fits(&known.remote_tag, &told.remote_tag)
        }
        _ => known.id == told.id,
    }
}

fn is_another(known: &Identity, told: &Identity) -> bool {
    *told != Identity::default() && *known != Identity::default() && known != told
}

/// Who calls, as far as the document says.
fn caller(dialog: &Dialog) -> Identity {
    let uri = dialog.remote.identity.as_deref().and_then(|text| Uri::parse(text.trim_matches(['<', '>'])));
    let said = dialog.remote.display.as_deref().and_then(withheld);
    let hidden = uri.as_ref().is_some_and(|uri| {
        uri.host.eq_ignore_ascii_case("anonymous.invalid")
            || uri.user.as_deref().is_some_and(|user| withheld(user) == Some(Withheld::Refused))
    });
    if said.is_some() || hidden {
        let withheld = Some(said.unwrap_or(Withheld::Refused));
        return Identity { withheld, ..Identity::default() };
    }
    let number = uri.and_then(|uri| uri.user);
    let display = dialog.remote.display.clone().filter(|name| Some(name) != number.as_ref());
    Identity { number, display, ..Identity::default() }
}

#[cfg(test)]
mod tests;

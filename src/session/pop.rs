//! The screen pops of one contact: revision 0 at ring, another when look-up answers, withdrawn when the leg ends unanswered.

use std::time::Duration;

use uuid::Uuid;

use crate::call::LegId;
use crate::call::contact::{Contact, Leg};
use crate::call::line::Line;
use crate::events::{
    Data, EndReason, LookUp, Match, NAMESPACE, PopTransfer, ScreenPop, ScreenPopWithdrawn, WithdrawReason,
};

/// After this a pop that was not delivered is of no more use.
pub(super) const POP_LIFETIME: Duration = Duration::from_secs(60);

/// What is known of the caller beyond the number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) state: LookUp,
    pub(super) matches: Vec<Match>,
}

/// The pops that are shown now: one per person, however many of their telephones ring.
#[derive(Clone, Debug, Default)]
pub(super) struct Pops(Vec<Shown>);

#[derive(Clone, Debug)]
struct Shown {
    /// The leg that names the pop.
    first: LegId,
    /// The telephones of this person that ring or were answered.
    legs: Vec<LegId>,
    /// The leg it is about: the answered one, else the first.
    about: LegId,
    answered: bool,
    revision: u32,
}

impl Pops {
    /// The pop for `leg`: a first one, a new revision when another telephone of the same person answered, or `None` when they have it.
    pub(super) fn show(&mut self, contact: &Contact, leg: &Leg, line: &Line, found: &Found) -> Option<Data> {
        let same = |shown: &&mut Shown| {
            shown.legs.contains(&leg.id)
                || (belongs_to(contact, shown.about, leg) && !(shown.answered && leg.transfer.is_some()))
        };
        let Some(shown) = self.0.iter_mut().find(same) else {
            let (first, answered) = (leg.id, leg.answered.is_some());
            self.0.push(Shown { first, legs: vec![first], about: first, answered, revision: 0 });
            return Some(pop(contact, leg, first, line, found, 0));
        };
        if !shown.legs.contains(&leg.id) {
            shown.legs.push(leg.id);
        }
        let answers = leg.answered.is_some() && !shown.answered;
        shown.answered |= answers;
        if !answers || shown.about == leg.id {
            return None;
        }
        shown.about = leg.id;
        shown.revision += 1;
        Some(pop(contact, leg, shown.first, line, found, shown.revision))
    }

    /// New revisions of everything shown, after look-up answered.
    pub(super) fn revise(&mut self, contact: &Contact, line: &Line, found: &Found) -> Vec<Data> {
        let about: Vec<LegId> = self.0.iter().map(|shown| shown.about).collect();
        about.into_iter().filter_map(|leg| self.revise_one(contact, leg, line, found)).collect()
    }

    /// A new revision of the pop about `leg`, if one is shown.
    pub(super) fn revise_one(&mut self, contact: &Contact, leg: LegId, line: &Line, found: &Found) -> Option<Data> {
        let shown = self.0.iter_mut().find(|shown| shown.about == leg)?;
        let leg = contact.legs.iter().find(|known| known.id == leg)?;
        shown.revision += 1;
        Some(pop(contact, leg, shown.first, line, found, shown.revision))
    }

    /// The leg ended: when it was the person's last, their pop is no longer revised, and withdrawn if they answered nowhere. While another
    /// telephone of theirs rings, the pop is about that one.
    pub(super) fn end(&mut self, contact: &Contact, leg: &Leg, line: &Line, found: &Found) -> Option<Data> {
        let at = self.0.iter().position(|shown| shown.legs.contains(&leg.id))?;
        let shown = self.0.get_mut(at)?;
        shown.legs.retain(|other| *other != leg.id);
        if let Some(next) = shown.legs.first().copied() {
            if shown.answered || shown.about != leg.id {
                return None;
            }
            shown.about = next;
            return self.revise_one(contact, next, line, found);
        }
        let shown = self.0.remove(at);
        if shown.answered {
            return None;
        }
        let reason = match leg.ended.map(|end| end.reason) {
            Some(EndReason::AnsweredElsewhere) => WithdrawReason::AnsweredElsewhere,
            Some(EndReason::Abandoned | EndReason::CallerHangup) => WithdrawReason::Abandoned,
            Some(EndReason::BridgeRestart | EndReason::LostSight | EndReason::Transferred) => WithdrawReason::Ended,
            _ => WithdrawReason::NotAnswered,
        };
        Some(Data::ScreenPopWithdrawn(ScreenPopWithdrawn {
            popid: pop_id(contact, shown.first),
            leg: shown.first,
            agent: leg.agent.clone(),
            reason,
        }))
    }
}

/// Whether two legs are telephones of one person.
fn belongs_to(contact: &Contact, other: LegId, leg: &Leg) -> bool {
    let Some(other) = contact.legs.iter().find(|known| known.id == other) else { return false };
    match (&other.agent.id, &leg.agent.id) {
        (Some(one), Some(another)) => one == another,
        (None, None) => other.agent.extension == leg.agent.extension,
        _ => false,
    }
}

fn pop_id(contact: &Contact, leg: LegId) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("pop\0{}\0{leg}", contact.id).as_bytes())
}

fn pop(contact: &Contact, leg: &Leg, first: LegId, line: &Line, found: &Found, revision: u32) -> Data {
    let previous = contact.legs.iter().find(|known| Some(known.id) == leg.previous);
    let transfer = leg.transfer.zip(previous);
    Data::ScreenPop(ScreenPop {
        popid: pop_id(contact, first),
        revision,
        leg: leg.id,
        agent: leg.agent.clone(),
        caller: contact.caller_shown(),
        called: contact.called.clone(),
        line: (!line.name.is_empty()).then(|| line.name.clone()),
        queue: leg.queue.clone(),
        lookup: found.state,
        matches: found.matches.clone(),
        transfer: transfer.map(|(kind, leg)| PopTransfer { kind, leg: leg.id, agent: leg.agent.clone() }),
        context: Vec::new(),
        handover: None,
    })
}

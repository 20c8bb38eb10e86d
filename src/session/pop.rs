//! The screen pops of one contact: revision 0 at ring, another when look-up answers, withdrawn when the leg ends unanswered.

use std::time::Duration;

use uuid::Uuid;

use crate::call::LegId;
use crate::call::contact::{Contact, Leg};
use crate::call::line::Line;
use crate::events::{Data, EndReason, LookUp, Match, NAMESPACE, ScreenPop, ScreenPopWithdrawn, WithdrawReason};

/// After this a pop that was not delivered is of no more use.
pub(super) const POP_LIFETIME: Duration = Duration::from_secs(60);

/// What is known of the caller beyond the number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) state: LookUp,
    pub(super) matches: Vec<Match>,
}

/// The pops that are shown now.
#[derive(Clone, Debug, Default)]
pub(super) struct Pops(Vec<Shown>);

#[derive(Clone, Debug)]
struct Shown {
    leg: LegId,
    revision: u32,
}

impl Pops {
    /// The first pop for `leg`; `None` when it is shown already.
    pub(super) fn show(&mut self, contact: &Contact, leg: &Leg, line: &Line, found: &Found) -> Option<Data> {
        if self.0.iter().any(|shown| shown.leg == leg.id) {
            return None;
        }
        self.0.push(Shown { leg: leg.id, revision: 0 });
        Some(pop(contact, leg, line, found, 0))
    }

    /// New revisions of everything shown, after look-up answered.
    pub(super) fn revise(&mut self, contact: &Contact, line: &Line, found: &Found) -> Vec<Data> {
        let mut revised = Vec::new();
        for shown in &mut self.0 {
            if let Some(leg) = contact.legs.iter().find(|leg| leg.id == shown.leg) {
                shown.revision += 1;
                revised.push(pop(contact, leg, line, found, shown.revision));
            }
        }
        revised
    }

    /// The leg ended: its pop is no longer revised, and withdrawn when nobody answered it.
    pub(super) fn end(&mut self, contact: &Contact, leg: &Leg) -> Option<Data> {
        let before = self.0.len();
        self.0.retain(|shown| shown.leg != leg.id);
        if self.0.len() == before || leg.answered.is_some() {
            return None;
        }
        let reason = match leg.ended.map(|end| end.reason) {
            Some(EndReason::AnsweredElsewhere) => WithdrawReason::AnsweredElsewhere,
            Some(EndReason::Abandoned | EndReason::CallerHangup) => WithdrawReason::Abandoned,
            Some(EndReason::BridgeRestart | EndReason::LostSight) => WithdrawReason::Ended,
            _ => WithdrawReason::NotAnswered,
        };
        Some(Data::ScreenPopWithdrawn(ScreenPopWithdrawn {
            popid: pop_id(contact, leg.id),
            leg: leg.id,
            agent: leg.agent.clone(),
            reason,
        }))
    }
}

fn pop_id(contact: &Contact, leg: LegId) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("pop\0{}\0{leg}", contact.id).as_bytes())
}

fn pop(contact: &Contact, leg: &Leg, line: &Line, found: &Found, revision: u32) -> Data {
    Data::ScreenPop(ScreenPop {
        popid: pop_id(contact, leg.id),
        revision,
        leg: leg.id,
        agent: leg.agent.clone(),
        caller: contact.caller_shown(),
        called: contact.called.clone(),
        line: (!line.name.is_empty()).then(|| line.name.clone()),
        queue: leg.queue.clone(),
        lookup: found.state,
        matches: found.matches.clone(),
    })
}

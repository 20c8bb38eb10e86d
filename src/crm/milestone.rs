//! What a CRM that keeps one record of each call is told: that it was answered, that it has ended, and what was said.

use super::{Exchange, Response, Step};
use crate::events::{Agent, CallEnded, Caller, Data, Event, LegState, TranscriptDocument};
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// Few writes for each call. The other events would be told anew by these.
pub(super) fn takes(data: &Data) -> bool {
    matches!(data, Data::CallAnswered(_) | Data::CallEnded(_) | Data::TranscriptDocument(_))
}

/// What happened, and when.
pub(super) enum Milestone {
    Answered(LegState, Wall),
    Ended(CallEnded, Wall),
    Document(TranscriptDocument),
}

impl Milestone {
    /// `None` where the record is told by another event: a leg's end is in the contact's.
    pub(super) fn of(event: Event) -> Option<Milestone> {
        match event.data {
            Data::CallAnswered(leg) => Some(Milestone::Answered(leg, event.time)),
            Data::CallEnded(ended) if event.leg.is_none() => Some(Milestone::Ended(ended, event.time)),
            Data::TranscriptDocument(document) => Some(Milestone::Document(document)),
            _ => None,
        }
    }

    pub(super) fn caller(&self) -> Option<&Caller> {
        match self {
            Milestone::Answered(leg, _) => Some(&leg.caller),
            Milestone::Ended(ended, _) => Some(&ended.caller),
            Milestone::Document(_) => None,
        }
    }

    /// Whoever answered first.
    pub(super) fn agent(&self) -> Option<&Agent> {
        match self {
            Milestone::Answered(leg, _) => Some(&leg.agent),
            Milestone::Ended(ended, _) => ended.first_answered().map(|leg| &leg.agent),
            Milestone::Document(_) => None,
        }
    }

    pub(super) fn called(&self) -> &str {
        match self {
            Milestone::Answered(leg, _) => &leg.called,
            Milestone::Ended(ended, _) => &ended.called,
            Milestone::Document(_) => "",
        }
    }

    pub(super) fn queue(&self) -> &str {
        let queue = match self {
            Milestone::Answered(leg, _) => leg.queue.as_deref(),
            Milestone::Ended(ended, _) => ended.legs.iter().find_map(|leg| leg.queue.as_deref()),
            Milestone::Document(_) => None,
        };
        queue.unwrap_or_default()
    }

    pub(super) fn began(&self) -> Option<Wall> {
        match self {
            Milestone::Answered(_, at) => Some(*at),
            Milestone::Ended(ended, _) => Some(ended.started),
            Milestone::Document(document) => document.turns.first().map(|turn| turn.start),
        }
    }
}

/// An exchange that needs no request.
pub(super) struct Over(pub(super) Answer);

impl Exchange<Answer> for Over {
    fn next(&mut self, _answer: Option<Response>, _now: Wall) -> Step<Answer> {
        Step::End(self.0.clone())
    }
}

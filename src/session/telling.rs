//! From facts about a contact to its events: numbered record events, and pops for the person whose telephone rings.

use std::time::Duration;

use uuid::Uuid;

use super::pop::POP_LIFETIME;
use super::{Output, Session, context};
use crate::call::LegId;
use crate::call::contact::Fact;
use crate::events::{
    CallAbandoned, CallEnded, CallParked, CallQueued, CallTransferred, Class, Data, EndReason, Event, LegState,
    NAMESPACE, TranscriptPartial,
};
use crate::time::{Now, Wall};

/// How long the text of a running utterance is of use; the next one, or the final, comes before that unless recognition is behind.
const PARTIAL_LIFETIME: Duration = Duration::from_secs(5);

impl Session {
    /// Turns a fact of the call into events.
    pub(super) fn tell(&mut self, now: Now, fact: Fact) {
        match fact {
            Fact::Queued => {
                let queued = CallQueued {
                    caller: self.contact.caller_shown(),
                    called: self.contact.called.clone(),
                    queue: self.contact.queue.clone().unwrap_or_default(),
                };
                self.record(now.wall, None, Data::CallQueued(queued));
            }
            Fact::CallerChanged => self.look_up(),
            Fact::Offered(index) => self.tell_leg(now, index, Data::CallOffered),
            Fact::Ringing(index) => {
                self.tell_leg(now, index, Data::CallRinging);
                self.pop(now, index);
            }
            Fact::Answered(index) => {
                self.tell_leg(now, index, Data::CallAnswered);
                self.pop(now, index);
            }
            Fact::Held(index) => self.tell_leg(now, index, Data::CallHeld),
            Fact::Resumed(index) => self.tell_leg(now, index, Data::CallResumed),
            Fact::LegEnded(index) => self.tell_leg_ended(now, index),
            Fact::Transferred { from, to } => self.tell_transferred(now, from, to),
            Fact::Parked => self.tell_parked(now),
            Fact::Abandoned => {
                let waited = now.wall.since(self.contact.started);
                let abandoned = CallAbandoned {
                    caller: self.contact.caller_shown(),
                    called: self.contact.called.clone(),
                    queue: self.contact.queue.clone(),
                    waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
                };
                self.record(now.wall, None, Data::CallAbandoned(abandoned));
            }
            Fact::Ended => {
                self.ended_at = Some(now.mono);
                let ended = self.ended_record(self.contact.legs.iter().map(|leg| leg.record()).collect());
                if let Some((at, data)) = ended {
                    self.record(at, None, data);
                }
            }
        }
        self.follow(now, fact);
    }

    pub(super) fn tell_leg(&mut self, now: Now, index: usize, kind: fn(LegState) -> Data) {
        let Some(leg) = self.contact.legs.get(index) else { return };
        let state = LegState {
            leg: leg.id,
            agent: leg.agent.clone(),
            tier: leg.tier,
            caller: self.contact.caller_shown(),
            called: self.contact.called.clone(),
            queue: leg.queue.clone(),
            previous_leg: leg.previous,
            keys: self.contact.keys.clone(),
        };
        let id = leg.id;
        self.record(now.wall, Some(id), kind(state));
    }

    pub(super) fn tell_transferred(&mut self, now: Now, from: usize, to: Option<usize>) {
        let (Some(from), Some(passing)) = (self.contact.legs.get(from), &self.contact.passing) else { return };
        let to = to.and_then(|index| self.contact.legs.get(index));
        let data = CallTransferred {
            kind: passing.kind,
            from_leg: from.id,
            from_agent: from.agent.clone(),
            to_leg: to.map(|leg| leg.id),
            to_agent: to.map(|leg| leg.agent.clone()),
            target: passing.to.clone(),
            caller: self.contact.caller_shown(),
            called: self.contact.called.clone(),
        };
        let leg = from.id;
        self.record(now.wall, Some(leg), Data::CallTransferred(data));
    }

    pub(super) fn tell_parked(&mut self, now: Now) {
        let Some(parked) = &self.contact.parked else { return };
        let from = self.contact.legs.iter().find(|leg| Some(leg.id) == parked.from);
        let data = CallParked {
            caller: self.contact.caller_shown(),
            called: self.contact.called.clone(),
            slot: parked.slot.clone(),
            from_leg: parked.from,
            from_agent: from.map(|leg| leg.agent.clone()),
        };
        self.record(now.wall, None, Data::CallParked(data));
    }

    pub(super) fn tell_leg_ended(&mut self, now: Now, index: usize) {
        let Some(leg) = self.contact.legs.get(index) else { return };
        let withdrawn = self.pops.end(&self.contact, leg, &self.line, &self.found);
        let (id, ended) = (leg.id, leg.ended);
        let record = CallEnded {
            reason: ended.map_or(EndReason::Failed, |end| end.reason),
            caller: self.contact.caller_shown(),
            called: self.contact.called.clone(),
            started: self.contact.started,
            legs: vec![leg.record()],
            keys: self.contact.keys.clone(),
        };
        self.record(ended.map_or(now.wall, |end| end.at), Some(id), Data::CallEnded(record));
        if let Some(data) = withdrawn {
            self.realtime(now.wall, data);
        }
    }

    pub(super) fn ended_record(&self, legs: Vec<crate::events::LegRecord>) -> Option<(Wall, Data)> {
        let end = self.contact.ended?;
        let record = CallEnded {
            reason: end.reason,
            caller: self.contact.caller_shown(),
            called: self.contact.called.clone(),
            started: self.contact.started,
            legs,
            keys: self.contact.keys.clone(),
        };
        Some((end.at, Data::CallEnded(record)))
    }

    pub(super) fn pop(&mut self, now: Now, index: usize) {
        let Some(leg) = self.contact.legs.get(index) else { return };
        if let Some(data) = self.pops.show(&self.contact, leg, &self.line, &self.found) {
            self.realtime(now.wall, data);
        }
    }

    pub(super) fn record(&mut self, time: Wall, leg: Option<LegId>, data: Data) {
        debug_assert_eq!(data.class(), Class::Record);
        let contact = self.contact.id;
        let (id, sequence) = if data.carries_text() && !self.line.deliver {
            self.kept_here += 1;
            (Event::kept_id(contact, self.kept_here, time), None)
        } else {
            self.next_sequence += 1;
            (Event::record_id(contact, self.next_sequence - 1, time), Some(self.next_sequence - 1))
        };
        self.out.push_back(Output::Record(Event {
            id,
            source: self.site.source.clone(),
            contact,
            leg,
            time,
            sequence,
            expires: None,
            data,
        }));
    }

    pub(super) fn realtime(&mut self, time: Wall, mut data: Data) {
        if let Data::ScreenPop(pop) = &mut data {
            pop.context = self.contexts.iter().map(context::Attached::shown).collect();
            let leg = self.contact.legs.iter().find(|leg| leg.id == pop.leg);
            pop.handover = leg.and_then(|leg| self.packet_for(leg));
            self.has_popped(pop.leg, pop.handover.as_deref());
        }
        let (leg, name, lifetime) = match &data {
            Data::ScreenPop(pop) => (pop.leg, format!("pop\0{}\0{}", pop.popid, pop.revision), POP_LIFETIME),
            Data::ScreenPopWithdrawn(gone) => (gone.leg, format!("withdrawn\0{}", gone.popid), POP_LIFETIME),
            Data::TranscriptPartial(partial) => {
                let TranscriptPartial { leg, utterance, revision, .. } = partial;
                (*leg, format!("partial\0{}\0{utterance}\0{revision}", self.contact.id), PARTIAL_LIFETIME)
            }
            _ => return,
        };
        self.out.push_back(Output::Realtime(Event {
            id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
            source: self.site.source.clone(),
            contact: self.contact.id,
            leg: Some(leg),
            time,
            sequence: None,
            expires: Some(time + lifetime),
            data,
        }));
    }
}

//! Builds the events of a call for the tests of the panel.

use std::cell::Cell;

use kakehashi::call::{ContactId, LegId, Tier};
use kakehashi::events::*;
use kakehashi::pbx::Speaker;
use kakehashi::time::Wall;
use uuid::Uuid;

/// One call; `at` moves on by hand.
pub(crate) struct Call {
    pub(crate) contact: ContactId,
    pub(crate) caller: Caller,
    pub(crate) start: Wall,
    pub(crate) line: &'static str,
    sequence: Cell<u64>,
}

pub(crate) fn agent(extension: &str, name: &str) -> Agent {
    Agent {
        id: Some(format!("agent-{extension}")),
        name: Some(name.into()),
        department: Some("総合コールセンター".into()),
        extension: extension.into(),
    }
}

pub(crate) fn number(e164: &str) -> Caller {
    Caller { number: Some(e164.into()), raw: Some(e164.replace("+81", "0")), ..Caller::default() }
}

impl Call {
    pub(crate) fn new(n: u128, start: Wall, caller: Caller) -> Self {
        let contact = ContactId(Uuid::from_u128(0xc0_0000 + n));
        Self { contact, caller, start, line: "総合案内", sequence: Cell::new(0) }
    }

    pub(crate) fn leg(&self, n: u128) -> LegId {
        LegId(Uuid::from_u128(self.contact.0.as_u128() * 1_000 + n))
    }

    pub(crate) fn popid(&self, n: u128) -> Uuid {
        Uuid::from_u128(self.contact.0.as_u128() * 1_000 + 500 + n)
    }

    /// An event `ms` after the start of the call.
    pub(crate) fn event(&self, ms: u64, leg: Option<LegId>, data: Data) -> Event {
        let record = data.class() == Class::Record;
        let number = self.sequence.get() + u64::from(record);
        self.sequence.set(number);
        Event {
            id: Uuid::new_v5(&NAMESPACE, format!("{}/{ms}/{leg:?}/{}", self.contact, number).as_bytes()),
            source: "/site/osaka/node/a".into(),
            contact: self.contact,
            leg,
            time: self.at(ms),
            sequence: record.then_some(number),
            expires: None,
            data,
        }
    }

    pub(crate) fn at(&self, ms: u64) -> Wall {
        self.start + std::time::Duration::from_millis(ms)
    }

    pub(crate) fn queued(&self, ms: u64) -> Event {
        let data = CallQueued { caller: self.caller.clone(), called: "0643017285".into(), queue: "sogo".into() };
        self.event(ms, None, Data::CallQueued(data))
    }

    pub(crate) fn state(&self, n: u128, agent: &Agent) -> LegState {
        LegState {
            leg: self.leg(n),
            agent: agent.clone(),
            tier: if n > 1 { Tier::Third } else { Tier::Second },
            caller: self.caller.clone(),
            called: "0643017285".into(),
            queue: Some("sogo".into()),
            previous_leg: (n > 1).then(|| self.leg(n - 1)),
            keys: Vec::new(),
        }
    }

    pub(crate) fn ringing(&self, ms: u64, n: u128, agent: &Agent) -> Event {
        self.event(ms, Some(self.leg(n)), Data::CallRinging(self.state(n, agent)))
    }

    pub(crate) fn answered(&self, ms: u64, n: u128, agent: &Agent) -> Event {
        self.event(ms, Some(self.leg(n)), Data::CallAnswered(self.state(n, agent)))
    }

    pub(crate) fn held(&self, ms: u64, n: u128, agent: &Agent) -> Event {
        self.event(ms, Some(self.leg(n)), Data::CallHeld(self.state(n, agent)))
    }

    pub(crate) fn pop(&self, ms: u64, n: u128, agent: &Agent, lookup: LookUp, matches: Vec<Match>) -> Event {
        let data = ScreenPop {
            popid: self.popid(n),
            revision: u32::from(lookup != LookUp::Pending),
            leg: self.leg(n),
            agent: agent.clone(),
            caller: self.caller.clone(),
            called: "0643017285".into(),
            line: Some(self.line.into()),
            queue: Some("sogo".into()),
            lookup,
            matches,
            transfer: None,
            context: Vec::new(),
            handover: None,
        };
        self.event(ms, Some(self.leg(n)), Data::ScreenPop(data))
    }

    pub(crate) fn withdrawn(&self, ms: u64, n: u128, agent: &Agent, reason: WithdrawReason) -> Event {
        let data = ScreenPopWithdrawn { popid: self.popid(n), leg: self.leg(n), agent: agent.clone(), reason };
        self.event(ms, Some(self.leg(n)), Data::ScreenPopWithdrawn(data))
    }

    pub(crate) fn said(&self, ms: u64, speaker: Speaker, number: u32, text: &str) -> TranscriptFinal {
        TranscriptFinal {
            leg: self.leg(1),
            utterance: format!("{speaker:?}/{number}"),
            speaker,
            start: self.at(ms),
            end: self.at(ms + 2_500),
            start_ms: ms,
            end_ms: ms + 2_500,
            text: text.into(),
            text_raw: text.into(),
            corrections: Vec::new(),
            confidence: 0.9,
            gaps: Vec::new(),
            model: "test".into(),
            dictionary: "1".into(),
            caught_up: false,
        }
    }

    pub(crate) fn turn(&self, ms: u64, speaker: Speaker, number: u32, text: &str) -> Event {
        self.event_of(self.said(ms, speaker, number, text))
    }

    /// What is read of an utterance that goes on; its final is [`Call::said`] with the same speaker and number.
    pub(crate) fn partial(&self, ms: u64, speaker: Speaker, number: u32, revision: u32, text: [&str; 2]) -> Event {
        let TranscriptFinal { leg, utterance, start, start_ms, .. } = self.said(ms, speaker, number, "");
        let [stable, tail] = text.map(str::to_owned);
        let (heard_ms, withdrawn) = (600 * u64::from(revision), stable.is_empty() && tail.is_empty());
        let data =
            TranscriptPartial { leg, utterance, revision, speaker, start, start_ms, heard_ms, stable, tail, withdrawn };
        self.event(ms + heard_ms, Some(leg), Data::TranscriptPartial(data))
    }

    pub(crate) fn event_of(&self, said: TranscriptFinal) -> Event {
        self.event(said.end_ms + 700, Some(said.leg), Data::TranscriptFinal(said))
    }

    pub(crate) fn ended(&self, ms: u64, reason: EndReason) -> Event {
        let data = CallEnded {
            reason,
            caller: self.caller.clone(),
            called: "0643017285".into(),
            started: self.start,
            legs: Vec::new(),
            keys: Vec::new(),
        };
        self.event(ms, None, Data::CallEnded(data))
    }
}

/// `text` with `from` → `to` marked as corrected by the dictionary.
pub(crate) fn correct(said: &mut TranscriptFinal, from: &str, to: &str, reading: &str) {
    let at = said.text.find(from).expect("the text has the word");
    let start = said.text[..at].chars().count();
    said.text = said.text.replacen(from, to, 1);
    let end = start + to.chars().count();
    said.corrections.push(Correction {
        start,
        end,
        from: from.into(),
        to: to.into(),
        reading: reading.into(),
        distance: 0.5,
    });
}

pub(crate) const START: Wall = Wall(1_795_420_800_000_000);

//! One contact as a model: signals in, facts out. Signals repeat and come out of order; a fact comes once.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::directory::Directory;
use super::line::Line;
use super::{ContactId, LegId, Tier};
use crate::events::{Agent, Caller, EndReason, LegRecord, NAMESPACE};
use crate::pbx::{CallKey, EndCause, ExternalKey, Fidelity, Identity, LegKey, Signal, Speaker, TransferKind};

use super::passing::{Parked, Passing};
use crate::time::Wall;

/// The most legs that one contact keeps; more are ignored and counted by the caller.
pub const MAX_LEGS: usize = 256;
/// Longest reason that is kept, in characters.
const REASON_MAX: usize = 256;
/// The most external keys that one contact keeps.
pub const MAX_KEYS: usize = 64;

/// A contact and its legs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// Published, never changes.
    pub id: ContactId,
    /// The site of the exchange.
    pub site: String,
    /// The call at its exchange.
    pub call: CallKey,
    /// What the source can tell.
    pub fidelity: Fidelity,
    /// The caller as received.
    pub caller: Identity,
    /// The dialled line as received.
    pub called: String,
    /// Identifiers elsewhere.
    pub keys: Vec<ExternalKey>,
    /// First sight.
    pub started: Wall,
    /// The queue it waits or waited in.
    pub queue: Option<String>,
    /// In order of appearance.
    pub legs: Vec<Leg>,
    /// The end, once.
    pub ended: Option<End>,
    /// The caller is being passed on.
    #[serde(default)]
    pub passing: Option<Passing>,
    /// The caller is parked.
    #[serde(default)]
    pub parked: Option<Parked>,
    /// Contacts that belong to this one.
    #[serde(default)]
    pub linked: Vec<ContactId>,
}

/// When and why something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at: Wall,
    /// Why.
    pub reason: EndReason,
}

/// One telephone's part in the contact. States only go forward: offered, ringing, answered, ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Published, never changes.
    pub id: LegId,
    /// The end at the exchange.
    pub key: LegKey,
    /// Who it belongs to.
    pub agent: Agent,
    /// 一次, 二次, 三次.
    pub tier: Tier,
    /// The queue that offered it.
    pub queue: Option<String>,
    /// The answered leg before it.
    pub previous: Option<LegId>,
    /// How the caller was passed on to it by that leg, if she was.
    #[serde(default)]
    pub transfer: Option<TransferKind>,
    /// First sight.
    pub offered: Wall,
    /// Ringing began.
    pub ringing: Option<Wall>,
    /// Answered.
    pub answered: Option<Wall>,
    /// On hold now.
    pub held: bool,
    /// Whose sound could not be had, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheard: Vec<(Speaker, String)>,
    /// The end, once.
    pub ended: Option<End>,
}

/// What a signal changed; each fact is told once. The index is into [`Contact::legs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It waits in a queue.
    Queued,
    /// A telephone is being called.
    Offered(usize),
    /// It rings.
    Ringing(usize),
    /// It was answered.
    Answered(usize),
    /// On hold.
    Held(usize),
    /// Back from hold.
    Resumed(usize),
    /// A leg ended.
    LegEnded(usize),
    /// The caller was passed on by a leg, to another one if there is one already.
    Transferred {
        /// Whose owner passed her on.
        from: usize,
        /// The new leg.
        to: Option<usize>,
    },
    /// The caller is parked.
    Parked,
    /// The caller's identity became known or changed.
    CallerChanged,
    /// The caller gave up before anybody answered; [`Fact::Ended`] follows.
    Abandoned,
    /// The contact ended.
    Ended,
}

impl Contact {
    /// A contact from the first signal of a call. `salt` tells calls apart whose exchange used a key twice (0 for the first).
    pub fn open(at: Wall, site: &str, call: CallKey, salt: u64, caller: Identity, called: &str) -> Contact {
        let name = format!("contact\0{site}\0{}\0{}\0{salt}", call.pbx.0, call.key);
        Contact {
            id: ContactId(Uuid::new_v5(&NAMESPACE, name.as_bytes())),
            site: site.into(),
            call,
            fidelity: Fidelity::State,
            caller,
            called: called.into(),
            keys: Vec::new(),
            started: at,
            queue: None,
            legs: Vec::new(),
            ended: None,
            passing: None,
            parked: None,
            linked: Vec::new(),
        }
    }

    /// Takes a signal and tells what it changed. Signals after the end change nothing.
    pub fn apply(&mut self, at: Wall, signal: &Signal, directory: &Directory, line: &Line) -> Vec<Fact> {
        if self.ended.is_some() {
            return Vec::new();
        }
        match signal {
            Signal::CallAppeared { caller, keys, fidelity, .. } => {
                self.fidelity = *fidelity;
                self.add_keys(keys);
                self.identify(caller)
            }
            Signal::Keys(keys) => {
                self.add_keys(keys);
                Vec::new()
            }
            Signal::CallerIdentified(caller) => self.identify(caller),
            Signal::Queued { queue } => self.queued(queue),
            Signal::LegAppeared { leg, address, queue } => {
                self.offered(at, leg, address, queue.as_deref(), directory, line)
            }
            Signal::LegRinging(leg) => self.rings(at, leg),
            Signal::LegAnswered(leg) => self.answered(at, leg),
            Signal::LegHeld(leg) => self.held(leg, true),
            Signal::LegResumed(leg) => self.held(leg, false),
            Signal::LegEnded(leg, cause) => match self.position(leg) {
                Some(index) => {
                    let reason = self.leg_reason(index, *cause);
                    self.end_leg(index, End { at, reason })
                }
                None => Vec::new(),
            },
            Signal::StreamFailed { leg, speaker, reason } => {
                self.unheard(leg, *speaker, reason);
                Vec::new()
            }
            Signal::Transferred { leg, kind, to } => self.passed_on(leg, *kind, to.as_deref()),
            Signal::Parked { leg, slot } => self.parked(leg.as_ref(), slot.as_deref()),
            Signal::CallEnded(cause) => self.end(End { at, reason: self.call_reason(*cause) }),
            Signal::LegJoined(_)
            | Signal::LegLeft(_)
            | Signal::KeepNothing(_)
            | Signal::KeepAgain(_)
            | Signal::StreamAdded { .. }
            | Signal::StreamRemoved(_)
            | Signal::Linked { .. }
            | Signal::Digit { .. } => Vec::new(),
        }
    }

    /// The one way a contact ends: every open leg first, each with a reason, then the contact itself.
    pub fn end(&mut self, end: End) -> Vec<Fact> {
        if self.ended.is_some() {
            return Vec::new();
        }
        let answered = self.legs.iter().any(|leg| leg.answered.is_some());
        let mut facts = Vec::new();
        for index in 0..self.legs.len() {
            facts.extend(self.end_leg(index, end));
        }
        facts.extend(self.passed_on_to_nobody());
        self.ended = Some(end);
        if !answered && matches!(end.reason, EndReason::Abandoned) {
            facts.push(Fact::Abandoned);
        }
        facts.push(Fact::Ended);
        facts
    }

    /// The one way a leg ends.
    fn end_leg(&mut self, index: usize, end: End) -> Vec<Fact> {
        match self.legs.get_mut(index) {
            Some(leg) if leg.ended.is_none() => {
                leg.ended = Some(end);
                leg.held = false;
                vec![Fact::LegEnded(index)]
            }
            _ => Vec::new(),
        }
    }

    fn leg_reason(&self, index: usize, cause: EndCause) -> EndReason {
        let answered = self.legs.get(index).is_some_and(|leg| leg.answered.is_some());
        let offered = self.legs.get(index).map(|leg| leg.offered);
        let meanwhile = |leg: &Leg| leg.answered.is_some() && leg.ended.is_none_or(|end| Some(end.at) > offered);
        let another = self.legs.iter().enumerate().any(|(n, leg)| n != index && meanwhile(leg));
        match (cause, answered) {
            (EndCause::Normal, true) if self.fidelity == Fidelity::OwnLeg => EndReason::CallerHangup,
            (EndCause::Normal, true) if self.fidelity == Fidelity::Recording => EndReason::Hangup,
            (EndCause::Normal, true) => EndReason::AgentHangup,
            (EndCause::Cancelled, true) => EndReason::CallerHangup,
            (EndCause::Normal | EndCause::Cancelled | EndCause::NoAnswer, false) if another => {
                EndReason::AnsweredElsewhere
            }
            (EndCause::Normal, false) => EndReason::NoAnswer,
            (other, _) => EndReason::of_cause(other),
        }
    }

    fn call_reason(&self, cause: EndCause) -> EndReason {
        let answered = self.legs.iter().any(|leg| leg.answered.is_some());
        let last = self.legs.iter().filter(|leg| leg.answered.is_some()).filter_map(|leg| leg.ended).next_back();
        let open = self.legs.iter().any(|leg| leg.answered.is_some() && leg.ended.is_none());
        match cause {
            EndCause::LostSight => EndReason::LostSight,
            EndCause::Failed => EndReason::Failed,
            EndCause::Normal if answered && open && self.fidelity == Fidelity::Recording => EndReason::Hangup,
            _ if answered && open => EndReason::CallerHangup,
            _ if answered && self.waits() => match cause {
                EndCause::Busy | EndCause::Rejected | EndCause::NoAnswer => EndReason::of_cause(cause),
                _ => EndReason::CallerHangup,
            },
            EndCause::Transferred => EndReason::Transferred,
            _ if answered => last.map_or(EndReason::CallerHangup, |end| end.reason),
            EndCause::Busy => EndReason::Busy,
            EndCause::Rejected => EndReason::Rejected,
            EndCause::NoAnswer => EndReason::NoAnswer,
            EndCause::Normal
            | EndCause::Cancelled
            | EndCause::AnsweredElsewhere
            | EndCause::Forwarded
            | EndCause::Parked => EndReason::Abandoned,
        }
    }

    /// Notes a contact that belongs to this one; false when it is known.
    pub fn link(&mut self, other: ContactId) -> bool {
        let new = other != self.id && !self.linked.contains(&other) && self.linked.len() < MAX_KEYS;
        if new {
            self.linked.push(other);
        }
        new
    }

    fn add_keys(&mut self, keys: &[ExternalKey]) {
        for key in keys {
            if self.keys.len() < MAX_KEYS && !self.keys.contains(key) {
                self.keys.push(key.clone());
            }
        }
    }

    fn identify(&mut self, caller: &Identity) -> Vec<Fact> {
        if *caller == self.caller {
            return Vec::new();
        }
        self.caller = caller.clone();
        vec![Fact::CallerChanged]
    }

    fn queued(&mut self, queue: &str) -> Vec<Fact> {
        if self.queue.as_deref() == Some(queue) {
            return Vec::new();
        }
        self.queue = Some(queue.into());
        let mut facts = vec![Fact::Queued];
        facts.extend(self.passed_on_to_nobody());
        facts
    }

    fn offered(
        &mut self,
        at: Wall,
        key: &LegKey,
        address: &str,
        queue: Option<&str>,
        directory: &Directory,
        line: &Line,
    ) -> Vec<Fact> {
        if self.position(key).is_some() || self.legs.len() >= MAX_LEGS {
            return Vec::new();
        }
        let (agent, tier) = directory.agent(address);
        let answered = self.legs.iter().any(|leg| leg.answered.is_some());
        let own_line = self.fidelity == Fidelity::OwnLeg && !directory.knows(address);
        let name = format!("leg\0{}\0{}", self.id, key.0);
        self.legs.push(Leg {
            id: LegId(Uuid::new_v5(&NAMESPACE, name.as_bytes())),
            key: key.clone(),
            agent,
            tier: if own_line { line.tier } else { tier },
            queue: queue.map(str::to_string).or_else(|| self.queue.clone().filter(|_| !answered)),
            previous: self.previous_leg(),
            transfer: self.under_way().map(|passing| passing.kind),
            offered: at,
            ringing: None,
            answered: None,
            held: false,
            unheard: Vec::new(),
            ended: None,
        });
        let index = self.legs.len() - 1;
        let mut facts = vec![Fact::Offered(index)];
        facts.extend(self.passed_on_to(index));
        facts
    }

    fn rings(&mut self, at: Wall, key: &LegKey) -> Vec<Fact> {
        self.change(key, |leg| {
            let first = leg.ringing.is_none() && leg.answered.is_none();
            if first {
                leg.ringing = Some(at);
            }
            first
        })
        .map_or_else(Vec::new, |index| vec![Fact::Ringing(index)])
    }

    fn answered(&mut self, at: Wall, key: &LegKey) -> Vec<Fact> {
        self.change(key, |leg| {
            let first = leg.answered.is_none();
            if first {
                leg.answered = Some(at);
            }
            first
        })
        .map_or_else(Vec::new, |index| {
            self.arrived();
            vec![Fact::Answered(index)]
        })
    }

    fn held(&mut self, key: &LegKey, held: bool) -> Vec<Fact> {
        let changed = self.change(key, |leg| {
            let new = leg.answered.is_some() && leg.held != held;
            if new {
                leg.held = held;
            }
            new
        });
        match changed {
            Some(index) if held => vec![Fact::Held(index)],
            Some(index) => vec![Fact::Resumed(index)],
            None => Vec::new(),
        }
    }

    /// The last reason for each speaker.
    fn unheard(&mut self, key: &LegKey, speaker: Speaker, reason: &str) {
        let Some(leg) = self.position(key).and_then(|index| self.legs.get_mut(index)) else { return };
        leg.unheard.retain(|(other, _)| *other != speaker);
        leg.unheard.push((speaker, reason.chars().take(REASON_MAX).collect()));
    }

    /// Changes an open leg; gives its index when `change` says that something changed.
    fn change(&mut self, key: &LegKey, change: impl FnOnce(&mut Leg) -> bool) -> Option<usize> {
        let index = self.position(key)?;
        let leg = self.legs.get_mut(index)?;
        (leg.ended.is_none() && change(leg)).then_some(index)
    }

    /// The leg with this key at the exchange.
    pub fn position(&self, key: &LegKey) -> Option<usize> {
        self.legs.iter().position(|leg| leg.key == *key)
    }

    /// The caller as shown outside.
    pub fn caller_shown(&self) -> Caller {
        super::caller::shown(&self.caller)
    }
}

impl Leg {
    /// As it goes into the record.
    pub fn record(&self) -> LegRecord {
        LegRecord {
            leg: self.id,
            agent: self.agent.clone(),
            tier: self.tier,
            queue: self.queue.clone(),
            previous_leg: self.previous,
            offered: self.offered,
            ringing: self.ringing,
            answered: self.answered,
            ended: self.ended.map(|end| end.at),
            reason: self.ended.map(|end| end.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::line::Lines;
    use crate::pbx::PbxId;

    fn contact(fidelity: Fidelity) -> (Contact, Directory, Line) {
        let call = CallKey { pbx: PbxId("pbx1".into()), key: "1.1".into() };
        let mut contact = Contact::open(Wall(1), "osaka", call, 0, Identity::default(), "6001");
        contact.fidelity = fidelity;
        (contact, Directory::default(), Lines::default().policy("6001"))
    }

    fn leg(name: &str) -> LegKey {
        LegKey(name.into())
    }

    fn play(contact: &mut Contact, directory: &Directory, line: &Line, signals: &[Signal]) -> Vec<Fact> {
        let mut at = 10;
        let mut facts = Vec::new();
        for signal in signals {
            at += 1;
            facts.extend(contact.apply(Wall(at), signal, directory, line));
        }
        facts
    }

    #[test]
    fn a_queue_call_from_ring_to_hang_up() {
        let (mut contact, directory, line) = contact(Fidelity::Full);
        let appeared = Signal::LegAppeared { leg: leg("a"), address: "2001".into(), queue: Some("madoguchi".into()) };
        let facts = play(
            &mut contact,
            &directory,
            &line,
            &[
                Signal::Queued { queue: "madoguchi".into() },
                Signal::Queued { queue: "madoguchi".into() },
                appeared.clone(),
                appeared,
                Signal::LegRinging(leg("a")),
                Signal::LegRinging(leg("a")),
                Signal::LegAnswered(leg("a")),
                Signal::LegRinging(leg("a")),
                Signal::CallEnded(EndCause::Normal),
                Signal::LegEnded(leg("a"), EndCause::Normal),
            ],
        );
        use Fact::*;
        assert_eq!(facts, [Queued, Offered(0), Ringing(0), Answered(0), LegEnded(0), Ended]);
        assert_eq!(contact.legs[0].ended.unwrap().reason, EndReason::CallerHangup);
    }

    #[test]
    fn why_somebody_is_not_heard_is_kept_with_the_leg() {
        let (mut contact, directory, line) = contact(Fidelity::Full);
        let failed =
            |reason: &str| Signal::StreamFailed { leg: leg("a"), speaker: Speaker::Agent, reason: reason.into() };
        let appeared = Signal::LegAppeared { leg: leg("a"), address: "2001".into(), queue: None };
        play(&mut contact, &directory, &line, &[appeared, failed("no port"), failed(&"x".repeat(9_999))]);
        let [(Speaker::Agent, reason)] = contact.legs[0].unheard.as_slice() else { panic!("one reason") };
        assert_eq!(reason.len(), REASON_MAX);
    }

    #[test]
    fn the_agent_hangs_up_first() {
        let (mut contact, directory, line) = contact(Fidelity::Full);
        play(
            &mut contact,
            &directory,
            &line,
            &[
                Signal::LegAppeared { leg: leg("a"), address: "2001".into(), queue: None },
                Signal::LegAnswered(leg("a")),
                Signal::LegEnded(leg("a"), EndCause::Normal),
                Signal::CallEnded(EndCause::Normal),
            ],
        );
        assert_eq!(contact.legs[0].ended.unwrap().reason, EndReason::AgentHangup);
        assert_eq!(contact.ended.unwrap().reason, EndReason::AgentHangup);
    }

    #[test]
    fn the_caller_hangs_up_and_the_exchange_ends_the_leg_first() {
        let (mut contact, directory, line) = contact(Fidelity::Full);
        play(
            &mut contact,
            &directory,
            &line,
            &[
                Signal::LegAppeared { leg: leg("a"), address: "2001".into(), queue: None },
                Signal::LegAnswered(leg("a")),
                Signal::LegEnded(leg("a"), EndCause::Cancelled),
                Signal::CallEnded(EndCause::Normal),
            ],
        );
        assert_eq!(contact.legs[0].ended.unwrap().reason, EndReason::CallerHangup);
        assert_eq!(contact.ended.unwrap().reason, EndReason::CallerHangup);
    }

    #[test]
    fn the_caller_gives_up_while_it_rings() {
        let (mut contact, directory, line) = contact(Fidelity::Full);
        let facts = play(
            &mut contact,
            &directory,
            &line,
            &[
                Signal::LegAppeared { leg: leg("a"), address: "2001".into(), queue: None },
                Signal::LegRinging(leg("a")),
                Signal::CallEnded(EndCause::Normal),
            ],
        );
        assert_eq!(&facts[2..], [Fact::LegEnded(0), Fact::Abandoned, Fact::Ended]);
        assert_eq!(contact.legs[0].ended.unwrap().reason, EndReason::Abandoned);
    }

    #[test]
    fn the_second_telephone_answers() {
        let (mut contact, directory, line) = contact(Fidelity::Full);
        play(
            &mut contact,
            &directory,
            &line,
            &[
                Signal::LegAppeared { leg: leg("a"), address: "2001".into(), queue: None },
                Signal::LegAppeared { leg: leg("b"), address: "2002".into(), queue: None },
                Signal::LegAnswered(leg("b")),
                Signal::LegEnded(leg("a"), EndCause::Normal),
            ],
        );
        assert_eq!(contact.legs[0].ended.unwrap().reason, EndReason::AnsweredElsewhere);
        assert!(contact.legs[1].ended.is_none());
    }

    #[test]
    fn a_call_to_the_bridge_ends_by_its_caller() {
        let (mut contact, directory, line) = contact(Fidelity::OwnLeg);
        play(
            &mut contact,
            &directory,
            &line,
            &[
                Signal::LegAppeared { leg: leg("a"), address: "7001".into(), queue: None },
                Signal::LegAnswered(leg("a")),
                Signal::LegEnded(leg("a"), EndCause::Normal),
            ],
        );
        assert_eq!(contact.legs[0].ended.unwrap().reason, EndReason::CallerHangup);
    }

    #[test]
    fn the_same_call_has_the_same_id_and_a_reused_key_another() {
        let call = CallKey { pbx: PbxId("pbx1".into()), key: "x".into() };
        let open = |salt| Contact::open(Wall(1), "osaka", call.clone(), salt, Identity::default(), "1").id;
        assert_eq!(open(0), open(0));
        assert_ne!(open(0), open(7));
    }
}

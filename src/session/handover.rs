//! The packet that goes with a caller who is passed on: who had her, what was said, what was marked. Built by rule, revised while it is on its way.
//!
//! A packet begins when a telephone is called for a caller whom somebody had before, or when somebody passes her on. It is told at once and, while
//! nobody has answered or text from before is still to come, again when there is more to say, at most every [`AGAIN`].

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::streams::Stream;
use super::{Output, Session};
use crate::call::contact::{Fact, Leg};
use crate::call::{ContactId, LegId};
use crate::events::{
    Agent, ContactMarked, Data, EndReason, Handover, HandoverKind, HandoverTurn, LegRecord, NAMESPACE, Term, Turn,
};
use crate::pbx::TransferKind;
use crate::time::{Mono, Now, Wall};

/// Shortest time between two revisions.
pub(super) const AGAIN: Duration = Duration::from_secs(2);
/// The most revisions of one packet.
const REVISIONS: u32 = 20;
/// The most packets of one contact.
const PACKETS: usize = 32;
/// The most turns of a packet, and bytes of their text.
const TURNS: usize = 30;
const TURN_BYTES: usize = 6 * 1024;
/// Longest text of one turn or mark, in characters.
const LONGEST: usize = 500;
/// Bytes of all texts of marks; further marks are named without their text.
const MARK_BYTES: usize = 4 * 1024;
/// The most words of the dictionary, and the newest turns that they are counted in.
const TERMS: usize = 30;
const TERM_TURNS: usize = 500;

/// A caller on the way to somebody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Passed {
    id: Uuid,
    kind: HandoverKind,
    from: LegId,
    /// Telephones that were called for it.
    legs: Vec<LegId>,
    /// The leg that answered, else the first.
    to: Option<LegId>,
    target: Option<String>,
    consultation: Option<ContactId>,
    /// When somebody answered: what was said before goes into the packet.
    until: Option<Wall>,
    /// How often it was told.
    told: u32,
    open: bool,
    #[serde(skip)]
    changed: bool,
    #[serde(skip)]
    urgent: bool,
    #[serde(skip)]
    last: Option<(Mono, Box<Handover>)>,
}

impl Session {
    /// The held leg of a person, who may be asking somebody else about this caller.
    pub fn held_by(&self, agent: &Agent) -> Option<LegId> {
        let same = |leg: &&Leg| match (&leg.agent.id, &agent.id) {
            (Some(one), Some(other)) => one == other,
            _ => leg.agent.extension == agent.extension,
        };
        let held = |leg: &&Leg| leg.answered.is_some() && leg.ended.is_none() && leg.held;
        self.contact.legs.iter().filter(held).find(same).map(|leg| leg.id)
    }

    /// The owner of `leg` consults somebody by another contact: what is handed over goes there, as [`Output::HandOver`].
    pub fn consults(&mut self, now: Now, leg: LegId, consultation: ContactId, called: &str) {
        if let Some(passed) = self.pass(HandoverKind::Consultation, leg) {
            (passed.consultation, passed.target) = (Some(consultation), Some(called.to_string()));
            passed.urgent = true;
        }
        self.tell_handovers(now);
    }

    /// What is handed over from the contact that this one is a consultation about.
    pub fn receive(&mut self, now: Now, packet: Handover) {
        if self.contact.ended.is_some() {
            return;
        }
        self.received = Some(Box::new(packet));
        let legs: Vec<LegId> = self.contact.legs.iter().filter(|leg| leg.ended.is_none()).map(|leg| leg.id).collect();
        self.revise_pops(now, &legs);
    }

    /// Follows what the call does.
    pub(super) fn follow(&mut self, now: Now, fact: Fact) {
        match fact {
            Fact::Offered(index) => self.offered_to(index),
            Fact::Transferred { from, to } => self.transferred(from, to),
            Fact::Answered(index) => {
                let Some(leg) = self.contact.legs.get(index).map(|leg| leg.id) else { return };
                for passed in self.handovers.iter_mut().filter(|passed| passed.open && passed.legs.contains(&leg)) {
                    passed.changed |= passed.to != Some(leg);
                    (passed.to, passed.until) = (Some(leg), passed.until.or(Some(now.wall)));
                }
            }
            Fact::Resumed(index) | Fact::LegEnded(index) => {
                let Some(leg) = self.contact.legs.get(index).map(|leg| leg.id) else { return };
                let asked = |passed: &&mut Passed| passed.kind == HandoverKind::Consultation && passed.from == leg;
                self.handovers.iter_mut().filter(asked).for_each(|passed| passed.until = Some(now.wall));
            }
            Fact::Ended => self.handovers.iter_mut().for_each(|passed| passed.until = passed.until.or(Some(now.wall))),
            _ => {}
        }
    }

    /// A telephone is called for a caller whom somebody had, or whose call was sent on by a telephone.
    fn offered_to(&mut self, index: usize) {
        let Some(leg) = self.contact.legs.get(index) else { return };
        let forwarded = |other: &&Leg| other.answered.is_none() && reason(other) == Some(EndReason::Forwarded);
        let forwarded = self.contact.legs.iter().take(index).rev().find(forwarded);
        let Some(from) = leg.previous.or(forwarded.map(|leg| leg.id)) else { return };
        let left = self.contact.legs.iter().find(|other| other.id == from);
        let kind = match (leg.transfer, &leg.queue) {
            (Some(TransferKind::Blind), _) => HandoverKind::Blind,
            (Some(TransferKind::Attended), _) => HandoverKind::Attended,
            _ if self.contact.parked.is_some() || left.and_then(reason) == Some(EndReason::Parked) => {
                HandoverKind::Parked
            }
            (None, Some(_)) => HandoverKind::Queue,
            (None, None) if leg.previous.is_none() || forwarded.is_some() => HandoverKind::Forwarded,
            (None, None) => HandoverKind::Joined,
        };
        let id = leg.id;
        if let Some(passed) = self.pass(kind, from) {
            passed.legs.push(id);
            passed.to = passed.to.or(Some(id));
        }
    }

    fn transferred(&mut self, from: usize, to: Option<usize>) {
        let Some(passing) = self.contact.passing.clone() else { return };
        let Some(from) = self.contact.legs.get(from).map(|leg| leg.id) else { return };
        let to = to.and_then(|index| self.contact.legs.get(index)).map(|leg| leg.id);
        let kind = match passing.kind {
            TransferKind::Blind => HandoverKind::Blind,
            TransferKind::Attended => HandoverKind::Attended,
        };
        let Some(passed) = self.pass(kind, from) else { return };
        (passed.kind, passed.target, passed.urgent) = (kind, passing.to, true);
        if let Some(to) = to.filter(|to| !passed.legs.contains(to)) {
            passed.legs.push(to);
        }
        passed.to = to.or(passed.to);
    }

    /// The packet of a caller who comes from this leg: the one that is on its way, or a new one.
    fn pass(&mut self, kind: HandoverKind, from: LegId) -> Option<&mut Passed> {
        let consults = |passed: &Passed| passed.kind == HandoverKind::Consultation;
        let same = |passed: &Passed| {
            passed.open
                && passed.from == from
                && consults(passed) == (kind == HandoverKind::Consultation)
                && (passed.until.is_none() || matches!(kind, HandoverKind::Blind | HandoverKind::Attended))
        };
        let index = match self.handovers.iter().rposition(same) {
            Some(index) => index,
            None if self.handovers.len() >= PACKETS => return None,
            None => {
                let name = format!("handover\0{}\0{from}\0{}", self.contact.id, self.handovers.len());
                self.handovers.push(Passed {
                    id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
                    kind,
                    from,
                    legs: Vec::new(),
                    to: None,
                    target: None,
                    consultation: None,
                    until: None,
                    told: 0,
                    open: true,
                    changed: true,
                    urgent: true,
                    last: None,
                });
                self.handovers.len() - 1
            }
        };
        let passed = self.handovers.get_mut(index)?;
        passed.changed = true;
        Some(passed)
    }

    /// There is more to say: text of an utterance that began at `start`, or something that is not text.
    pub(super) fn touch_handovers(&mut self, start: Option<Wall>) {
        for passed in self.handovers.iter_mut().filter(|passed| passed.open) {
            let before = start.zip(passed.until).is_none_or(|(start, until)| start < until);
            passed.changed |= before;
        }
    }

    /// When a packet that has changed may be told again.
    pub(super) fn handovers_due(&self) -> Option<Mono> {
        let waiting = self.handovers.iter().filter(|passed| passed.open && passed.changed);
        waiting.filter_map(|passed| passed.last.as_ref().map(|(at, _)| *at + AGAIN)).min()
    }

    /// Tells every packet that has changed and may be told.
    pub(super) fn tell_handovers(&mut self, now: Now) {
        for index in 0..self.handovers.len() {
            let Some(passed) = self.handovers.get(index).filter(|passed| passed.open) else { continue };
            let early = passed.last.as_ref().is_some_and(|(at, _)| *at + AGAIN > now.mono);
            if passed.changed && early && !passed.urgent {
                continue;
            }
            let settled = self.settled(passed);
            if !passed.changed {
                self.handovers.get_mut(index).into_iter().for_each(|passed| passed.open = !settled);
                continue;
            }
            let packet = self.packet(passed);
            let news = passed.last.as_ref().is_none_or(|(_, last)| {
                key(last) != key(&packet) || (last.to_leg, last.kind) != (packet.to_leg, packet.kind)
            });
            let (legs, consultation) = (passed.legs.clone(), passed.consultation);
            if let Some(passed) = self.handovers.get_mut(index) {
                passed.told += u32::from(news);
                (passed.changed, passed.urgent) = (false, false);
                passed.open = !settled && passed.told < REVISIONS;
                if news {
                    passed.last = Some((now.mono, Box::new(packet.clone())));
                }
            }
            if news {
                self.record_handover(now, packet.clone());
                self.revise_pops(now, &legs);
                self.out.extend(consultation.map(|contact| Output::HandOver { contact, packet: Box::new(packet) }));
            }
        }
    }

    /// Tells at once what waits to be told: nothing comes after this.
    pub(super) fn finish_handovers(&mut self, now: Now) {
        self.handovers.iter_mut().for_each(|passed| passed.urgent = true);
        self.tell_handovers(now);
    }

    /// Whether nothing that belongs into the packet can come any more: somebody has the caller, and all text from before is there.
    fn settled(&self, passed: &Passed) -> bool {
        let Some(until) = passed.until else { return false };
        // after the end, sound may still be read back from disk
        let heard = self.contact.ended.is_none() || self.streams.iter().all(|stream| stream.closed.is_some());
        heard && self.streams.iter().all(|stream| pending_before(stream, until) == 0)
    }

    fn record_handover(&mut self, now: Now, packet: Handover) {
        let from = packet.from_leg;
        if !self.line.deliver {
            // what was said stays here, that there was a handover does not
            self.record(now.wall, from, Data::ContactHandover(Box::new(packet.clone())));
            self.record(now.wall, from, Data::ContactHandover(Box::new(packet.without_text())));
        } else {
            self.record(now.wall, from, Data::ContactHandover(Box::new(packet)));
        }
    }

    /// New revisions of the pops about these legs, where what is handed over is not what they show.
    fn revise_pops(&mut self, now: Now, legs: &[LegId]) {
        for leg in legs {
            let shown = self.popped.get(leg).copied();
            let packet = self.contact.legs.iter().find(|known| known.id == *leg).and_then(|leg| self.packet_for(leg));
            if shown.is_none() || shown == packet.as_ref().map(|packet| key(packet)) {
                continue;
            }
            if let Some(data) = self.pops.revise_one(&self.contact, *leg, &self.line, &self.found) {
                self.realtime(now.wall, data);
            }
        }
    }

    /// What the owner of this leg gets handed over, as it was told last.
    pub(super) fn packet_for(&self, leg: &Leg) -> Option<Box<Handover>> {
        let own = self.handovers.iter().rev().find(|passed| passed.legs.contains(&leg.id));
        match own.and_then(|passed| passed.last.as_ref()) {
            Some((_, packet)) => {
                let mut packet = packet.clone();
                (packet.to_leg, packet.to_agent) = (Some(leg.id), Some(leg.agent.clone()));
                Some(packet)
            }
            None => self.received.clone(),
        }
    }

    /// Notes which packet the pop about a leg shows.
    pub(super) fn has_popped(&mut self, leg: LegId, packet: Option<&Handover>) {
        self.popped.insert(leg, packet.map_or(0, key));
    }

    fn packet(&self, passed: &Passed) -> Handover {
        let until = passed.until.unwrap_or(Wall(i64::MAX));
        let turns: Vec<&Turn> = self.document.turns().into_iter().filter(|turn| turn.start < until).collect();
        let chosen = last_turns(&turns);
        let agent = |id| self.contact.legs.iter().find(|leg| Some(leg.id) == id).map(|leg| leg.agent.clone());
        let pending = self.streams.iter().map(|stream| pending_before(stream, until)).sum();
        Handover {
            handover: passed.id,
            revision: passed.told,
            kind: passed.kind,
            from_leg: Some(passed.from),
            from_agent: agent(Some(passed.from)),
            to_leg: passed.to,
            to_agent: agent(passed.to),
            target: passed.target.clone(),
            consultation: passed.consultation,
            reason: self.contexts.iter().rev().find_map(|attached| attached.posted.known.reason.clone()),
            note: self.note.clone(),
            context: self.contexts.iter().map(super::context::Attached::shown).collect(),
            legs: self.legs_before(passed),
            omitted_turns: u32::try_from(turns.len() - chosen.len()).unwrap_or(u32::MAX),
            turns: chosen,
            pending,
            marks: self.marks_shown(),
            terms: self.terms(&turns),
            withheld: false,
            stays_here: !self.line.deliver,
        }
    }

    /// Who had the caller, and telephones that sent her elsewhere.
    fn legs_before(&self, passed: &Passed) -> Vec<LegRecord> {
        let had = |leg: &&Leg| leg.answered.is_some() || reason(leg) == Some(EndReason::Forwarded);
        let before = self.contact.legs.iter().filter(had).filter(|leg| !passed.legs.contains(&leg.id));
        let passes = matches!(passed.kind, HandoverKind::Blind | HandoverKind::Attended);
        let records = before.map(|leg| {
            let mut record = leg.record();
            // the exchange tells the end of that leg a moment later
            if passes && leg.id == passed.from && record.reason.is_none() {
                record.reason = Some(EndReason::Transferred);
            }
            record
        });
        records.collect()
    }

    fn marks_shown(&self) -> Vec<ContactMarked> {
        let mut marks: Vec<ContactMarked> = self.marks.iter().map(|mark| self.marked(mark)).collect();
        marks.sort_by(|a, b| (a.start, &a.utterance).cmp(&(b.start, &b.utterance)));
        let mut bytes = 0;
        for mark in &mut marks {
            mark.text = mark.text.as_deref().map(cut);
            bytes += mark.text.as_ref().map_or(0, String::len);
            if bytes > MARK_BYTES {
                mark.text = None;
            }
        }
        marks
    }

    fn terms(&self, turns: &[&Turn]) -> Vec<Term> {
        let mut counts: HashMap<(&str, &str), u32> = HashMap::new();
        let newest = turns.iter().rev().take(TERM_TURNS).filter_map(|turn| turn.text.as_deref());
        for entry in newest.flat_map(|text| self.site.dictionary.heard_in(text)) {
            *counts.entry((&entry.surface, &entry.class)).or_default() += 1;
        }
        let term = |((surface, class), count): ((&str, &str), u32)| Term {
            surface: surface.into(),
            class: class.into(),
            count,
        };
        let mut terms: Vec<Term> = counts.into_iter().map(term).collect();
        terms.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.surface.cmp(&b.surface)));
        terms.truncate(TERMS);
        terms
    }
}

fn reason(leg: &Leg) -> Option<EndReason> {
    leg.ended.map(|end| end.reason)
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// The newest turns that fit, in order.
fn last_turns(turns: &[&Turn]) -> Vec<HandoverTurn> {
    let mut bytes = 0;
    let mut chosen: Vec<HandoverTurn> = Vec::new();
    for turn in turns.iter().rev().take(TURNS) {
        let text = turn.text.as_deref().map(cut);
        bytes += text.as_ref().map_or(0, String::len);
        if bytes > TURN_BYTES {
            break;
        }
        let utterance = turn.utterance.clone();
        chosen.push(HandoverTurn { utterance, leg: turn.leg, speaker: turn.speaker, start: turn.start, text });
    }
    chosen.reverse();
    chosen
}

/// Utterances of a stream that began before `until` and have no text yet.
fn pending_before(stream: &Stream, until: Wall) -> u32 {
    let before = stream.pending().filter(|spoken| stream.wall(spoken.start).is_some_and(|at| at < until));
    u32::try_from(before.count()).unwrap_or(u32::MAX)
}

/// What of a packet makes a new revision worth it: not to whom it goes, nor when a leg ended.
fn key(packet: &Handover) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let what = (&packet.reason, &packet.note, &packet.context, &packet.turns, packet.omitted_turns, packet.pending);
    let rest = (packet.handover, packet.kind, &packet.target, &packet.marks, &packet.terms);
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&(what, rest)).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

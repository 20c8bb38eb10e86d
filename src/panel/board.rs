//! The running contacts as a late joiner needs them: per contact the events that still matter, bounded, and who may follow them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::feed::Limits;
use crate::call::{ContactId, LegId};
use crate::events::{Agent, CallEnded, Data, Event, NAMESPACE, WithdrawReason};

/// Events other than turns kept of one contact.
const OTHER_EVENTS: usize = 256;
/// Bytes kept of one contact.
const CONTACT_BYTES: usize = 512 * 1024;
/// Agents of one contact who see its text.
const MEMBERS: usize = 64;

/// Which contacts a client wants: those of one agent or extension, else all. A view, not a right: the token opens everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The extension that rings.
    pub extension: Option<String>,
    /// Directory id of the agent.
    pub agent: Option<String>,
}

impl Filter {
    /// Whether everything is wanted.
    pub fn is_open(&self) -> bool {
        self.extension.is_none() && self.agent.is_none()
    }

    fn is_for(&self, who: &Who) -> bool {
        self.is_open()
            || self.extension.as_deref().is_some_and(|extension| extension == who.extension)
            || (self.agent.is_some() && self.agent == who.id)
    }
}

/// An agent as a filter names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    extension: String,
    id: Option<String>,
}

impl Who {
    fn of(agent: &Agent) -> Self {
        Self { extension: agent.extension.clone(), id: agent.id.clone() }
    }
}

/// Whom one event concerns.
#[derive(Clone, Debug, Default)]
pub(super) struct Audience {
    agents: Vec<Who>,
    /// Whoever sees this contact from now on and has not before: they need what was there before, too.
    joined: Option<Who>,
}

impl Audience {
    pub(super) fn includes(&self, filter: &Filter) -> bool {
        filter.is_open() || self.agents.iter().any(|who| filter.is_for(who))
    }

    pub(super) fn joins(&self, filter: &Filter) -> bool {
        !filter.is_open() && self.joined.as_ref().is_some_and(|who| filter.is_for(who))
    }
}

/// What of a contact a late joiner gets.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) events: Vec<Arc<str>>,
    pub(super) omitted_turns: u64,
    pub(super) omitted_events: u64,
}

/// All running contacts and the last few that ended.
#[derive(Debug)]
pub(super) struct Board {
    limits: Limits,
    contacts: HashMap<ContactId, Row>,
    /// Those that run, the longest quiet first.
    running: BTreeSet<(u64, ContactId)>,
    /// Those that ended, in the same order.
    ended: BTreeSet<(u64, ContactId)>,
}

#[derive(Debug, Default)]
struct Row {
    touched: u64,
    ended: bool,
    members: Vec<Who>,
    /// To whom the caller is being passed on: they see what was said, until their pop is withdrawn.
    guests: Vec<Who>,
    events: VecDeque<Item>,
    turns: usize,
    bytes: usize,
    omitted_turns: u64,
    omitted_events: u64,
}

#[derive(Debug)]
struct Item {
    what: What,
    /// Whose pop or telephone it is.
    own: Option<Who>,
    body: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Queued,
    Pop(Uuid),
    Hold(LegId),
    Turn,
    /// Of an utterance that goes on.
    Partial(Uuid),
    /// Of a turn.
    Corrected(Uuid),
    Delayed,
    Pause,
    Document,
    Context(Uuid),
    Mark(Uuid),
    Note,
    Handover(Uuid),
    Other,
}

impl Board {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, contacts: HashMap::new(), running: BTreeSet::new(), ended: BTreeSet::new() }
    }

    /// Takes event `number` of the feed in and says whom it concerns.
    pub(super) fn apply(&mut self, number: u64, event: &Event, body: &Arc<str>) -> Audience {
        if !self.contacts.contains_key(&event.contact) {
            self.make_room();
        }
        let row = self.contacts.entry(event.contact).or_default();
        let before = (row.touched, event.contact);
        row.touched = number;
        let audience = row.audience(event);
        row.keep(event, body, self.limits.turns);
        if row.ended {
            self.running.remove(&before);
            self.ended.remove(&before);
            self.ended.insert((number, event.contact));
            self.forget_ended();
        } else {
            self.running.remove(&before);
            self.running.insert((number, event.contact));
        }
        audience
    }

    /// The contacts that `filter` shows, the longest quiet first.
    pub(super) fn visible(&self, filter: &Filter) -> Vec<ContactId> {
        let mut found: Vec<(u64, ContactId)> = self
            .contacts
            .iter()
            .filter(|(_, row)| filter.is_open() || row.items(filter).next().is_some())
            .map(|(id, row)| (row.touched, *id))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// What `filter` shows of `contact`; `None` when that is nothing.
    pub(super) fn kept(&self, contact: ContactId, filter: &Filter) -> Option<Kept> {
        let row = self.contacts.get(&contact)?;
        let events: Vec<Arc<str>> = row.items(filter).map(|item| Arc::clone(&item.body)).collect();
        if events.is_empty() {
            return None;
        }
        Some(Kept { events, omitted_turns: row.omitted_turns, omitted_events: row.omitted_events })
    }

    /// Makes room for one contact: an ended one goes first, else the one that was quiet longest.
    fn make_room(&mut self) {
        while self.contacts.len() >= self.limits.contacts.max(1) {
            let Some((_, oldest)) = self.ended.pop_first().or_else(|| self.running.pop_first()) else { return };
            self.contacts.remove(&oldest);
        }
    }

    fn forget_ended(&mut self) {
        while self.ended.len() > self.limits.ended {
            let Some((_, oldest)) = self.ended.pop_first() else { return };
            self.contacts.remove(&oldest);
        }
    }
}

impl Row {
    fn audience(&mut self, event: &Event) -> Audience {
        let own = own(event).map(Who::of);
        let mut joined = None;
        match &event.data {
            Data::ScreenPop(pop) if pop.transfer.is_some() && own.as_ref().is_some_and(|who| !self.sees(who)) => {
                joined = own.clone();
                self.guests.extend(own.clone().filter(|_| self.guests.len() < MEMBERS));
            }
            Data::ScreenPopWithdrawn(_) => self.guests.retain(|guest| Some(guest) != own.as_ref()),
            Data::ScreenPop(pop) if !self.has(What::Pop(pop.popid)) => joined = own.clone(),
            Data::CallAnswered(_) => {
                joined = own.clone().filter(|who| !self.members.contains(who));
                own.iter().for_each(|who| self.admit(who.clone()));
            }
            _ => {}
        }
        if let (Data::CallEnded(end), None) = (&event.data, event.leg) {
            // after a restart this may be the first that is known of the contact
            end.legs.iter().filter(|leg| leg.answered.is_some()).for_each(|leg| self.admit(Who::of(&leg.agent)));
        }
        let personal = matches!(event.data, Data::ScreenPop(_) | Data::ScreenPopWithdrawn(_));
        let seeing = || self.members.iter().chain(&self.guests).cloned().collect();
        let mut agents: Vec<Who> = if personal { Vec::new() } else { seeing() };
        if matches!(event.data, Data::CallQueued(_)) {
            // pops go out at once, record events after their commit: the queue may come second
            let pops = self.events.iter().filter(|item| matches!(item.what, What::Pop(_)));
            agents.extend(pops.filter_map(|item| item.own.clone()));
        }
        agents.extend(own);
        Audience { agents, joined }
    }

    fn sees(&self, who: &Who) -> bool {
        self.members.contains(who) || self.guests.contains(who)
    }

    fn admit(&mut self, who: Who) {
        if !self.members.contains(&who) && self.members.len() < MEMBERS {
            self.members.push(who);
        }
    }

    /// What `filter` shows: everything to those who answered (but nobody else's pop), else the own pop, telephone and the queue.
    fn items(&self, filter: &Filter) -> impl Iterator<Item = &Item> {
        let seeing = self.members.iter().chain(&self.guests);
        let member = filter.is_open() || seeing.into_iter().any(|who| filter.is_for(who));
        let popped = self
            .events
            .iter()
            .any(|item| matches!((item.what, &item.own), (What::Pop(_), Some(who)) if filter.is_for(who)));
        self.events.iter().filter(move |item| match (&item.own, item.what) {
            (Some(who), What::Pop(_)) => filter.is_for(who),
            (Some(who), _) => member || (popped && filter.is_for(who)),
            (None, What::Queued) => member || popped,
            (None, _) => member,
        })
    }

    fn has(&self, what: What) -> bool {
        self.events.iter().any(|item| item.what == what)
    }

    fn keep(&mut self, event: &Event, body: &Arc<str>, turns: usize) {
        let data = &event.data;
        let what = match data {
            Data::CallQueued(_) => What::Queued,
            Data::ScreenPop(pop) => What::Pop(pop.popid),
            Data::ScreenPopWithdrawn(gone) => What::Pop(gone.popid),
            Data::CallHeld(leg) | Data::CallResumed(leg) => What::Hold(leg.leg),
            Data::TranscriptFinal(_) => What::Turn,
            Data::TranscriptPartial(partial) => What::Partial(utterance(&partial.utterance)),
            Data::TranscriptCorrected(text) => What::Corrected(utterance(&text.utterance)),
            Data::TranscriptDelayed(_) => What::Delayed,
            Data::RecordingPaused(_) | Data::RecordingResumed(_) => What::Pause,
            Data::TranscriptDocument(_) => What::Document,
            Data::ContactContext(context) => What::Context(context.context),
            Data::ContactMarked(mark) => What::Mark(mark.mark),
            Data::ContactUnmarked(mark) => What::Mark(mark.mark),
            Data::ContactNote(_) => What::Note,
            // what stays here comes first and what is sent of it second: the panel keeps the one with the text
            Data::ContactHandover(packet) if packet.withheld => What::Other,
            Data::ContactHandover(packet) => What::Handover(packet.handover),
            _ => What::Other,
        };
        let over = match data {
            Data::CallEnded(_) | Data::CallAbandoned(_) => event.leg.is_none(),
            // after a restart, or after the contact was left out: its call is long over
            Data::TranscriptDocument(_) | Data::TranscriptCorrected(_) => self.events.is_empty(),
            _ => false,
        };
        self.ended |= over;
        // a final takes the place of what was read before
        match data {
            Data::TranscriptFinal(text) => self.remove(What::Partial(utterance(&text.utterance))),
            Data::TranscriptDocument(_) => self.remove_partials(),
            _ => {}
        }
        let replaces = !matches!(what, What::Turn | What::Other | What::Queued);
        // a pop that went with its call stays behind it: it says who called
        let stays = matches!(data, Data::ScreenPopWithdrawn(gone) if gone.reason == WithdrawReason::Ended);
        if replaces && !stays {
            self.remove(what);
        }
        let gone = match data {
            Data::ScreenPopWithdrawn(_) => !stays,
            Data::ContactUnmarked(_) => true,
            Data::TranscriptPartial(partial) => partial.withdrawn,
            Data::ContactContext(context) => context.removed,
            // it says nothing that the kept one does not
            Data::ContactHandover(packet) => packet.withheld,
            _ => false,
        };
        if !gone {
            self.push(Item { what, own: own(event).map(Who::of), body: Arc::clone(body) }, turns);
        }
    }

    fn push(&mut self, item: Item, turns: usize) {
        self.turns += usize::from(item.what == What::Turn);
        self.bytes += item.body.len();
        self.events.push_back(item);
        while self.turns > turns || (self.bytes > CONTACT_BYTES && self.turns > 0) {
            self.drop_oldest(|what| what == What::Turn);
        }
        // the first event says who called: it stays
        while self.events.len() - self.turns > OTHER_EVENTS || (self.bytes > CONTACT_BYTES && self.events.len() > 2) {
            self.drop_oldest(|what| what != What::Turn);
        }
    }

    fn drop_oldest(&mut self, of: impl Fn(What) -> bool) {
        let skip = usize::from(!of(What::Turn));
        let Some(at) = self.events.iter().skip(skip).position(|item| of(item.what)) else { return };
        let Some(item) = self.events.remove(at + skip) else { return };
        self.bytes = self.bytes.saturating_sub(item.body.len());
        if item.what == What::Turn {
            self.turns -= 1;
            self.omitted_turns += 1;
        } else {
            self.omitted_events += 1;
        }
    }

    fn remove(&mut self, what: What) {
        self.remove_all(|other| other == what);
    }

    fn remove_partials(&mut self) {
        self.remove_all(|what| matches!(what, What::Partial(_)));
    }

    fn remove_all(&mut self, gone: impl Fn(What) -> bool) {
        let bytes = &mut self.bytes;
        self.events.retain(|item| {
            let gone = gone(item.what);
            if gone {
                *bytes = bytes.saturating_sub(item.body.len());
            }
            !gone
        });
    }
}

/// An utterance as a key.
fn utterance(name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// The agent whose telephone or pop an event is about.
fn own(event: &Event) -> Option<&Agent> {
    match &event.data {
        Data::CallOffered(leg)
        | Data::CallRinging(leg)
        | Data::CallAnswered(leg)
        | Data::CallHeld(leg)
        | Data::CallResumed(leg) => Some(&leg.agent),
        Data::ScreenPop(pop) => Some(&pop.agent),
        Data::ScreenPopWithdrawn(gone) => Some(&gone.agent),
        Data::CallEnded(CallEnded { legs, .. }) if event.leg.is_some() => legs.first().map(|leg| &leg.agent),
        _ => None,
    }
}

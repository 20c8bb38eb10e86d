//! Several sources of one contact (two recorders, a recorder beside another driver): whose legs are the same, which streams bring the same,
//! and when the contact is over.
//!
//! A leg that another source told under the same address is that leg. A stream of somebody who is heard already is spare: its speech counts
//! only when the other stream ends. A leg or the contact ends when the last source says so, or at once when the source sees every end.

use super::Hub;
use crate::call::ContactId;
use crate::pbx::{
    CallKey, EndCause, ExternalKey, Fidelity, Identity, KeyKind, LegKey, Observed, Signal, Speaker, StreamId,
};
use crate::session::Session;
use crate::time::Now;

/// Sources of one contact.
const SOURCES_MAX: usize = 8;

/// The sources of one contact, in the order in which they came.
#[derive(Debug)]
pub(super) struct Joined {
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    call: CallKey,
    fidelity: Fidelity,
    /// The dialled line as this source tells it.
    called: String,
    /// Its legs, and how the contact knows them.
    legs: Vec<(LegKey, LegKey)>,
    streams: Vec<Heard>,
    over: bool,
}

#[derive(Clone, Debug)]
struct Heard {
    stream: StreamId,
    /// As the contact knows it.
    leg: LegKey,
    speaker: Speaker,
    spare: bool,
}

/// What the session is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Signal(Signal),
    /// A stream that brings what another one does.
    Spare(StreamId, LegKey, Speaker),
    /// It counts from now on.
    Use(StreamId),
}

/// Whether two sources may tell of one call: one of them is a recorder, and they have an identifier in common that is worth it.
pub(super) fn may_join(one: Fidelity, other: Fidelity) -> bool {
    one == Fidelity::Recording || other == Fidelity::Recording
}

/// Whether a key tells calls apart in a whole site. A token may come with more than one call: it stands for a page or a citizen.
pub(super) fn is_common(key: &ExternalKey) -> bool {
    !matches!(key.kind, KeyKind::Uniqueid | KeyKind::Token)
}

impl Hub {
    /// The running contact of the same site that another source tells of under one of these keys.
    pub(super) fn same(&mut self, observed: &Observed, keys: &[ExternalKey], fidelity: Fidelity) -> Option<ContactId> {
        let setup = self.setup.sites.iter().find(|setup| setup.exchanges.contains(&observed.call.pbx))?;
        let site = setup.site.id.clone();
        let found =
            keys.iter().filter(|key| is_common(key)).find_map(|key| self.keys.get(&(site.clone(), key.clone())));
        let contact = *found?;
        let session = self.sessions.get(&contact).filter(|session| session.contact().ended.is_none())?;
        if !may_join(session.contact().fidelity, fidelity) && !self.joined.contains_key(&contact) {
            return None;
        }
        let Signal::CallAppeared { called, .. } = &observed.signal else { return None };
        let joined = self.joined.entry(contact).or_insert_with(|| Joined::of(session));
        joined.add(&observed.call, fidelity, called).then(|| {
            tracing::debug!(%contact, "another source tells of the same call");
            contact
        })
    }

    /// What a signal means for a contact of several sources; `None`: it has one.
    pub(super) fn translated(&mut self, contact: ContactId, observed: &Observed) -> Option<Vec<Told>> {
        let joined = self.joined.get_mut(&contact)?;
        let session = self.sessions.get(&contact)?;
        Some(joined.translate(&observed.call, &observed.signal, session))
    }

    pub(super) fn tell(&mut self, contact: ContactId, at: Now, told: Told) {
        self.with(contact, |session| match told {
            Told::Signal(signal) => session.handle_signal(at, &signal),
            Told::Spare(stream, leg, speaker) => session.add_spare(at, &leg, stream, speaker),
            Told::Use(stream) => session.use_spare(at, stream),
        });
    }

    /// The keys under which other sources find a contact; the first that has one keeps it.
    pub(super) fn note_keys(&mut self, contact: ContactId) {
        let Some(session) = self.sessions.get(&contact) else { return };
        let of = session.contact();
        for key in of.keys.iter().filter(|key| is_common(key)) {
            let owner = self.keys.entry((of.site.clone(), key.clone())).or_insert(contact);
            let over = self.sessions.get(owner).is_none_or(|own| own.contact().ended.is_some());
            if over {
                *owner = contact;
            }
        }
    }
}

impl Joined {
    /// The contact as it is, with its first source.
    pub(super) fn of(session: &Session) -> Joined {
        let contact = session.contact();
        let open = contact.legs.iter().filter(|leg| leg.ended.is_none());
        let legs = open.map(|leg| (leg.key.clone(), leg.key.clone())).collect();
        let heard = |(stream, leg, speaker)| Heard { stream, leg, speaker, spare: false };
        let streams = session.open_streams().into_iter().map(heard).collect();
        let (call, called) = (contact.call.clone(), contact.called.clone());
        Joined { sources: vec![Source { call, fidelity: contact.fidelity, called, legs, streams, over: false }] }
    }

    /// Another source; false: there are too many.
    pub(super) fn add(&mut self, call: &CallKey, fidelity: Fidelity, called: &str) -> bool {
        if self.sources.len() >= SOURCES_MAX {
            return false;
        }
        let (call, called) = (call.clone(), called.to_string());
        self.sources.push(Source { call, fidelity, called, legs: Vec::new(), streams: Vec::new(), over: false });
        true
    }

    /// The calls of all sources.
    pub(super) fn calls(&self) -> impl Iterator<Item = &CallKey> {
        self.sources.iter().map(|source| &source.call)
    }

    /// What a signal of one source means for the contact.
    pub(super) fn translate(&mut self, call: &CallKey, signal: &Signal, session: &Session) -> Vec<Told> {
        let Some(at) = self.sources.iter().position(|source| source.call == *call) else { return Vec::new() };
        match signal {
            Signal::CallAppeared { caller, keys, fidelity, .. } => self.appeared(at, caller, keys, *fidelity, session),
            Signal::CallerIdentified(caller) => self.caller(caller, session).into_iter().map(Told::Signal).collect(),
            Signal::LegAppeared { leg, address, .. } => self.leg(at, leg, address, signal, session),
            Signal::LegEnded(leg, cause) => self.leg_ended(at, leg, *cause),
            Signal::StreamAdded { leg, stream, speaker } => {
                let leg = self.shown(at, leg);
                self.stream(at, leg, *stream, *speaker)
            }
            Signal::StreamRemoved(stream) => {
                let mut told = vec![Told::Signal(signal.clone())];
                told.extend(self.stream_gone(at, *stream));
                told
            }
            Signal::CallEnded(cause) => self.ended(at, *cause),
            other => vec![Told::Signal(self.renamed(at, other))],
        }
    }

    fn appeared(
        &self,
        at: usize,
        caller: &Identity,
        keys: &[ExternalKey],
        fidelity: Fidelity,
        session: &Session,
    ) -> Vec<Told> {
        let contact = session.contact();
        let caller = self.caller(caller, session).is_some().then(|| caller.clone());
        let caller = caller.unwrap_or_else(|| contact.caller.clone());
        // who sees every end is believed about ends
        let fidelity = if fidelity == Fidelity::Full { fidelity } else { contact.fidelity };
        let called = self.sources.get(at).map(|source| source.called.clone()).unwrap_or_default();
        vec![Told::Signal(Signal::CallAppeared { caller, called, keys: keys.to_vec(), fidelity })]
    }

    /// A caller is news only where none is known.
    fn caller(&self, caller: &Identity, session: &Session) -> Option<Signal> {
        let known = &session.contact().caller;
        let unknown = known.number.is_none() && known.withheld.is_none();
        unknown.then(|| Signal::CallerIdentified(caller.clone()))
    }

    fn leg(&mut self, at: usize, leg: &LegKey, address: &str, signal: &Signal, session: &Session) -> Vec<Told> {
        let contact = session.contact();
        let open: Vec<_> = contact.legs.iter().filter(|own| own.ended.is_none()).collect();
        let elsewhere = |key: &LegKey| {
            let others = self.sources.iter().enumerate().filter(|(place, source)| *place != at && !source.over);
            others.flat_map(|(_, source)| &source.legs).any(|(_, shown)| shown == key)
        };
        let same = open.iter().find(|own| own.agent.extension == address && elsewhere(&own.key));
        // a recorder that names nobody means whoever is there
        let nobody =
            self.sources.get(at).is_some_and(|own| own.called == address && own.fidelity == Fidelity::Recording);
        let only = open.first().filter(|own| nobody && open.len() == 1 && elsewhere(&own.key));
        let shown = same.or(only).map(|own| own.key.clone());
        let told = if shown.is_some() { Vec::new() } else { vec![Told::Signal(signal.clone())] };
        if let Some(source) = self.sources.get_mut(at) {
            source.legs.push((leg.clone(), shown.unwrap_or_else(|| leg.clone())));
        }
        told
    }

    fn leg_ended(&mut self, at: usize, leg: &LegKey, cause: EndCause) -> Vec<Told> {
        let shown = self.shown(at, leg);
        let Some(source) = self.sources.get_mut(at) else { return Vec::new() };
        source.legs.retain(|(own, _)| own != leg);
        let sees = source.fidelity == Fidelity::Full && cause != EndCause::LostSight;
        if sees || !self.has_leg(at, &shown) {
            return vec![Told::Signal(Signal::LegEnded(shown, cause))];
        }
        Vec::new()
    }

    /// Whether another source that goes on knows a leg.
    fn has_leg(&self, at: usize, shown: &LegKey) -> bool {
        let others = self.sources.iter().enumerate().filter(|(place, source)| *place != at && !source.over);
        others.flat_map(|(_, source)| &source.legs).any(|(_, own)| own == shown)
    }

    fn stream(&mut self, at: usize, leg: LegKey, stream: StreamId, speaker: Speaker) -> Vec<Told> {
        let known = self.sources.get(at).and_then(|own| own.streams.iter().find(|own| own.stream == stream));
        let was_spare = known.map(|own| own.spare);
        let spare = was_spare != Some(false) && self.is_heard(at, &leg, speaker);
        let Some(source) = self.sources.get_mut(at) else { return Vec::new() };
        source.streams.retain(|own| own.stream != stream);
        source.streams.push(Heard { stream, leg: leg.clone(), speaker, spare });
        match (spare, was_spare) {
            (true, _) => vec![Told::Spare(stream, leg, speaker)],
            (false, Some(true)) => vec![Told::Signal(Signal::StreamAdded { leg, stream, speaker }), Told::Use(stream)],
            (false, _) => vec![Told::Signal(Signal::StreamAdded { leg, stream, speaker })],
        }
    }

    /// Whether another source brings what would come on a stream of this speaker.
    fn is_heard(&self, at: usize, leg: &LegKey, speaker: Speaker) -> bool {
        let others = self.sources.iter().enumerate().filter(|(place, _)| *place != at);
        let mut heard = others.flat_map(|(_, source)| &source.streams).filter(|own| !own.spare);
        let has = |wanted: Speaker| {
            let others = self.sources.iter().enumerate().filter(|(place, _)| *place != at);
            others.flat_map(|(_, source)| &source.streams).any(|own| !own.spare && own.speaker == wanted)
        };
        match speaker {
            Speaker::Caller => has(Speaker::Caller),
            Speaker::Agent => heard.any(|own| own.speaker == Speaker::Agent && own.leg == *leg),
            Speaker::Mixed | Speaker::Other => {
                (has(Speaker::Caller) && has(Speaker::Agent)) || has(Speaker::Mixed) || has(speaker)
            }
        }
    }

    /// A stream ended: whoever brings the same takes its place.
    fn stream_gone(&mut self, at: usize, stream: StreamId) -> Vec<Told> {
        let Some(source) = self.sources.get_mut(at) else { return Vec::new() };
        source.streams.retain(|own| own.stream != stream);
        self.replace()
    }

    /// Spare streams that nobody brings any more count from now on.
    fn replace(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        let spares: Vec<(usize, Heard)> = self
            .sources
            .iter()
            .enumerate()
            .flat_map(|(place, source)| source.streams.iter().map(move |own| (place, own.clone())))
            .filter(|(_, own)| own.spare)
            .collect();
        for (place, spare) in spares {
            if self.is_heard(place, &spare.leg, spare.speaker) {
                continue;
            }
            let own = self
                .sources
                .get_mut(place)
                .and_then(|own| own.streams.iter_mut().find(|own| own.stream == spare.stream));
            if let Some(own) = own {
                own.spare = false;
                told.push(Told::Use(spare.stream));
            }
        }
        told
    }

    fn ended(&mut self, at: usize, cause: EndCause) -> Vec<Told> {
        let Some(source) = self.sources.get_mut(at) else { return Vec::new() };
        source.over = true;
        source.streams.clear();
        let sees = source.fidelity == Fidelity::Full && cause != EndCause::LostSight;
        let legs: Vec<LegKey> = source.legs.drain(..).map(|(_, shown)| shown).collect();
        if sees || self.sources.iter().all(|source| source.over) {
            return vec![Told::Signal(Signal::CallEnded(cause))];
        }
        let alone = legs.into_iter().filter(|leg| !self.has_leg(at, leg));
        let mut told: Vec<Told> = alone.map(|leg| Told::Signal(Signal::LegEnded(leg, cause))).collect();
        told.extend(self.replace());
        told
    }

    /// A leg of a source as the contact knows it.
    fn shown(&self, at: usize, leg: &LegKey) -> LegKey {
        let own = self.sources.get(at).and_then(|source| source.legs.iter().find(|(own, _)| own == leg));
        own.map_or_else(|| leg.clone(), |(_, shown)| shown.clone())
    }

    fn renamed(&self, at: usize, signal: &Signal) -> Signal {
        let shown = |leg: &LegKey| self.shown(at, leg);
        match signal {
            Signal::LegRinging(leg) => Signal::LegRinging(shown(leg)),
            Signal::LegAnswered(leg) => Signal::LegAnswered(shown(leg)),
            Signal::LegHeld(leg) => Signal::LegHeld(shown(leg)),
            Signal::LegResumed(leg) => Signal::LegResumed(shown(leg)),
            Signal::KeepNothing(leg) => Signal::KeepNothing(shown(leg)),
            Signal::KeepAgain(leg) => Signal::KeepAgain(shown(leg)),
            Signal::LegJoined(leg) => Signal::LegJoined(shown(leg)),
            Signal::LegLeft(leg) => Signal::LegLeft(shown(leg)),
            Signal::StreamFailed { leg, speaker, reason } => {
                Signal::StreamFailed { leg: shown(leg), speaker: *speaker, reason: reason.clone() }
            }
            Signal::Transferred { leg, kind, to } => {
                Signal::Transferred { leg: shown(leg), kind: *kind, to: to.clone() }
            }
            Signal::Parked { leg, slot } => Signal::Parked { leg: leg.as_ref().map(shown), slot: slot.clone() },
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests;

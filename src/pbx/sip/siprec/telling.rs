//! What of a picture is new: signals of each call of a recording session, each told once.

use std::collections::BTreeMap;

use crate::pbx::{CallKey, EndCause, ExternalKey, Fidelity, Identity, LegKey, Observed, Signal, Speaker, StreamId};
use crate::time::Now;

use super::picture::Picture;
use super::roles::Role;

/// Calls of one recording session, also those that are over.
const CALLS_MAX: usize = 64;

/// What the hub was told of a recording session.
#[derive(Clone, Debug)]
pub(in super::super) struct Teller {
    /// Key of the first call; those after it have their session added.
    key: CallKey,
    calls: Vec<Told>,
}

/// One call as it was told.
#[derive(Clone, Debug)]
struct Told {
    key: CallKey,
    session: Option<String>,
    appeared: bool,
    over: bool,
    caller: Identity,
    keys: Vec<ExternalKey>,
    /// Participant (empty: nobody is named) and leg, of those that are open.
    legs: Vec<(String, LegKey)>,
    /// Legs that there were, so that who comes back gets a new one.
    legs_made: usize,
    streams: BTreeMap<StreamId, (Speaker, LegKey)>,
    roles: BTreeMap<String, Role>,
    paused: bool,
    held: bool,
    /// What will be told when somebody is named, or nobody in time.
    waiting: Option<Picture>,
}

/// What stands in for what nobody tells.
#[derive(Clone, Debug)]
pub(in super::super) struct Fallback {
    /// The dialled line of the recording session.
    pub(in super::super) called: String,
    /// Identifiers of the recording session.
    pub(in super::super) keys: Vec<ExternalKey>,
    /// Nobody else will be named in time: tell with what there is.
    pub(in super::super) at_once: bool,
}

impl Teller {
    pub(in super::super) fn new(key: CallKey) -> Teller {
        Teller { key, calls: Vec::new() }
    }

    /// The roles that were told in a session; what was told before any session had a name counts for the first.
    pub(in super::super) fn roles(&self, session: Option<&str>) -> BTreeMap<String, Role> {
        let of = |told: &&Told| told.session.as_deref() == session || told.session.is_none();
        self.calls.iter().find(of).map(|told| told.roles.clone()).unwrap_or_default()
    }

    /// A call that waits for somebody to be named.
    pub(in super::super) fn waits(&self) -> bool {
        self.calls.iter().any(|told| !told.appeared && !told.over)
    }

    /// Tells what is new. Calls that have no picture are over.
    pub(in super::super) fn update(&mut self, pictures: &[Picture], fallback: &Fallback, now: Now) -> Vec<Observed> {
        let mut out = Vec::new();
        for picture in pictures {
            let Some(told) = self.call(picture.session.as_deref()) else { continue };
            told.update(picture, fallback, now, &mut out);
        }
        let gone = |told: &Told| pictures.iter().all(|own| own.session != told.session) && !told.over;
        for told in self.calls.iter_mut().filter(|told| gone(told)) {
            told.end(EndCause::Normal, fallback, now, &mut out);
        }
        out
    }

    /// The end of the recording session is the end of all its calls.
    pub(in super::super) fn end(&mut self, cause: EndCause, fallback: &Fallback, now: Now) -> Vec<Observed> {
        let mut out = Vec::new();
        for told in self.calls.iter_mut().filter(|told| !told.over) {
            told.end(cause, fallback, now, &mut out);
        }
        out
    }

    /// The streams of every call end, and nothing else is told: the bridge stops.
    pub(in super::super) fn stop(&mut self, now: Now) -> Vec<Observed> {
        let mut out = Vec::new();
        for told in self.calls.iter_mut().filter(|told| told.appeared && !told.over) {
            told.remove_streams(|_| true, now, &mut out);
        }
        out
    }

    /// The call of a session. The first session that gets a name is the call that had none.
    fn call(&mut self, session: Option<&str>) -> Option<&mut Told> {
        let place = self.calls.iter().position(|told| told.session.as_deref() == session);
        let place = place.or_else(|| self.calls.iter().position(|told| told.session.is_none() && !told.over));
        let place = match place {
            Some(place) => place,
            None if self.calls.len() >= CALLS_MAX => return None,
            None => {
                let key = match self.calls.is_empty() {
                    true => self.key.key.clone(),
                    false => format!("{};session={}", self.key.key, session.unwrap_or_default()),
                };
                self.calls.push(Told::new(CallKey { pbx: self.key.pbx.clone(), key }));
                self.calls.len() - 1
            }
        };
        let told = self.calls.get_mut(place)?;
        told.session = session.map(str::to_string);
        (!told.over).then_some(told)
    }
}

impl Told {
    fn new(key: CallKey) -> Told {
        Told {
            key,
            session: None,
            appeared: false,
            over: false,
            caller: Identity::default(),
            keys: Vec::new(),
            legs: Vec::new(),
            legs_made: 0,
            streams: BTreeMap::new(),
            roles: BTreeMap::new(),
            paused: false,
            held: false,
            waiting: None,
        }
    }

    fn update(&mut self, picture: &Picture, fallback: &Fallback, now: Now, out: &mut Vec<Observed>) {
        if !self.appeared && picture.legs.is_empty() && !fallback.at_once {
            self.waiting = Some(picture.clone());
            return;
        }
        self.waiting = None;
        self.introduce(picture, fallback, now, out);
        self.roles.extend(picture.roles.clone());
        let before = self.legs.clone();
        for (participant, address) in &picture.legs {
            self.add_leg(participant, address, now, out);
        }
        if picture.legs.is_empty() && self.legs.is_empty() {
            self.add_leg("", &fallback.called, now, out);
        }
        let stays = |(participant, _): &(String, LegKey)| picture.legs.iter().any(|(own, _)| own == participant);
        let gone: Vec<(String, LegKey)> = before.into_iter().filter(|leg| !stays(leg)).collect();
        // nobody is left at the other end: the last leg goes on, so that the caller is still heard
        let gone = if picture.legs.is_empty() { Vec::new() } else { gone };
        self.place_streams(picture, &gone, now, out);
        let others = self.legs.len() > gone.len();
        for (participant, leg) in gone {
            self.legs.retain(|(_, own)| *own != leg);
            let cause = match participant.as_str() {
                "" => EndCause::AnsweredElsewhere,
                _ if others => EndCause::Transferred,
                _ => EndCause::Normal,
            };
            self.tell(Signal::LegEnded(leg, cause), now, out);
        }
        self.quiet(picture, now, out);
    }

    /// The call itself, and what is new about it.
    fn introduce(&mut self, picture: &Picture, fallback: &Fallback, now: Now, out: &mut Vec<Observed>) {
        let caller = picture.caller.clone().unwrap_or_else(|| self.caller.clone());
        let mut keys: Vec<ExternalKey> = Vec::new();
        for key in picture.keys.iter().chain(&fallback.keys) {
            if !self.keys.contains(key) && !keys.contains(key) && self.keys.len() + keys.len() < CALLS_MAX {
                keys.push(key.clone());
            }
        }
        self.keys.extend(keys.clone());
        if !self.appeared {
            self.appeared = true;
            let called = picture.called.clone().unwrap_or_else(|| fallback.called.clone());
            self.caller = caller.clone();
            let fidelity = Fidelity::Recording;
            return self.tell(Signal::CallAppeared { caller, called, keys, fidelity }, now, out);
        }
        if caller != self.caller {
            self.caller = caller.clone();
            self.tell(Signal::CallerIdentified(caller), now, out);
        }
        if !keys.is_empty() {
            self.tell(Signal::Keys(keys), now, out);
        }
    }

    fn is_open(&self, leg: &LegKey) -> bool {
        self.legs.iter().any(|(_, own)| own == leg)
    }

    fn add_leg(&mut self, participant: &str, address: &str, now: Now, out: &mut Vec<Observed>) {
        if self.legs.iter().any(|(own, _)| own == participant) {
            return;
        }
        self.legs_made += 1;
        let leg = LegKey(format!("{};leg={}", self.key.key, self.legs_made));
        self.legs.push((participant.into(), leg.clone()));
        let address = address.to_string();
        self.tell(Signal::LegAppeared { leg: leg.clone(), address, queue: None }, now, out);
        self.tell(Signal::LegAnswered(leg), now, out);
    }

    /// Brings every stream to whoever is heard on it; what is not there any more is removed.
    fn place_streams(&mut self, picture: &Picture, gone: &[(String, LegKey)], now: Now, out: &mut Vec<Observed>) {
        self.remove_streams(|id| picture.streams.iter().all(|(own, _, _)| own != id), now, out);
        let stays = |leg: &LegKey| gone.iter().all(|(_, own)| own != leg);
        for (stream, speaker, participant) in &picture.streams {
            let before = self.streams.get(stream).cloned();
            let own = participant.as_ref().and_then(|own| self.legs.iter().find(|(known, _)| known == own));
            let kept = before.as_ref().map(|(_, leg)| leg).filter(|leg| self.is_open(leg) && stays(leg));
            let newest = self.legs.iter().rev().map(|(_, leg)| leg).find(|leg| stays(leg));
            let Some(leg) = own.map(|(_, leg)| leg).or(kept).or(newest).cloned() else { continue };
            // what was told of somebody is not taken back because nobody is named any more, but it is not the next agent's
            let speaker = match (&before, speaker) {
                (Some((Speaker::Agent, told)), Speaker::Other) if *told != leg => Speaker::Other,
                (Some((told, _)), Speaker::Other) => *told,
                (_, speaker) => *speaker,
            };
            if before != Some((speaker, leg.clone())) {
                self.streams.insert(*stream, (speaker, leg.clone()));
                self.tell(Signal::StreamAdded { leg, stream: *stream, speaker }, now, out);
            }
        }
    }

    fn remove_streams(&mut self, is_gone: impl Fn(&StreamId) -> bool, now: Now, out: &mut Vec<Observed>) {
        let gone: Vec<StreamId> = self.streams.keys().filter(|id| is_gone(id)).copied().collect();
        for stream in gone {
            self.streams.remove(&stream);
            self.tell(Signal::StreamRemoved(stream), now, out);
        }
    }

    /// Pause and hold.
    fn quiet(&mut self, picture: &Picture, now: Now, out: &mut Vec<Observed>) {
        let Some((_, leg)) = self.legs.last().cloned() else { return };
        if picture.paused != self.paused {
            self.paused = picture.paused;
            let signal = if self.paused { Signal::KeepNothing(leg.clone()) } else { Signal::KeepAgain(leg.clone()) };
            self.tell(signal, now, out);
        }
        if picture.held != self.held {
            self.held = picture.held;
            let signal = if self.held { Signal::LegHeld(leg) } else { Signal::LegResumed(leg) };
            self.tell(signal, now, out);
        }
    }

    fn end(&mut self, cause: EndCause, fallback: &Fallback, now: Now, out: &mut Vec<Observed>) {
        if !self.appeared {
            let at_once = Fallback { at_once: true, ..fallback.clone() };
            let picture = self.waiting.take().unwrap_or_default();
            self.update(&picture, &at_once, now, out);
        }
        self.remove_streams(|_| true, now, out);
        self.over = true;
        self.tell(Signal::CallEnded(cause), now, out);
    }

    fn tell(&self, signal: Signal, now: Now, out: &mut Vec<Observed>) {
        out.push(Observed { call: self.key.clone(), at: now, signal });
    }
}

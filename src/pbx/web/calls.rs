//! The state of all web calls: tokens that wait, calls that run, calls that were lost and may come back. Virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

use super::answer::{Local, answer, restated};
use super::call::{Ask, Issued, Refused, Target, Why};
use super::offer::{Credentials, Offer};
use super::settings::{Settings, are_speakers, origin};
use super::token::{Digest, Source};
use crate::pbx::sip::rate::{Rates, Verdict};
use crate::pbx::sip::sdp::Format;
use crate::pbx::{CallKey, EndCause, Fidelity, LegKey, Observed, Signal, Speaker, StreamId};
use crate::time::{Mono, Now};

/// One WHIP session; its resource is `/whip/<id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub Uuid);

/// An offer that is to be answered by the media stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiation {
    /// Its session.
    pub session: SessionId,
    /// The offer in our words.
    pub offer: String,
    /// Payload types of each audio line.
    pub formats: Vec<Vec<Format>>,
    /// Number of the header extension for `mid`, of each audio line.
    pub extensions: Vec<Option<u8>>,
    /// Source of each audio line, where the offer names it.
    pub sources: Vec<Option<u32>>,
}

/// What the edge is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tell the hub.
    Signal(Observed),
    /// Open a fed stream for an audio line.
    Open {
        /// The session.
        session: SessionId,
        /// Which of its audio lines, from 0.
        track: usize,
        /// The stream.
        stream: StreamId,
        /// Its payload types.
        formats: Vec<Format>,
        /// The dialled line, for what may be done with the sound.
        called: String,
    },
    /// Close a stream.
    Close(StreamId),
    /// Close the media peer of a session, if there is one.
    Drop(SessionId, Why),
}

/// How far a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting { until: Mono },
    Running(SessionId),
    Lost { until: Mono },
}

#[derive(Debug)]
pub(super) struct Ticket {
    digest: Digest,
    pub(super) state: State,
    call: CallKey,
    called: String,
    leg: LegKey,
    own_call: bool,
    own_leg: bool,
    pub(super) tracks: Vec<Speaker>,
    /// When it expires if no call was ever made.
    expires: Mono,
    answered: bool,
    failed: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) ticket: u64,
    pub(super) offer: Offer,
    speakers: Vec<Speaker>,
    pub(super) etag: String,
    connected: bool,
    pub(super) negotiating: bool,
    streams: Vec<StreamId>,
    began: Mono,
    heard: Mono,
    pub(super) candidates: usize,
    pub(super) version: u32,
    /// Credentials of a restart that is under way.
    pub(super) restarting: Option<Credentials>,
}

/// All web calls of a bridge.
#[derive(Debug)]
pub struct Calls {
    pub(super) settings: Settings,
    pub(super) origins: Vec<String>,
    pub(super) source: Source,
    rates: Rates,
    pub(super) tickets: BTreeMap<u64, Ticket>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    out: VecDeque<Output>,
}

impl Calls {
    /// No call yet; `seed` are 256 random bits.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Calls {
        let origins =
            settings.allow_origins.iter().chain([&settings.public_url]).filter_map(|text| origin(text)).collect();
        let rates = Rates::new(settings.offers_per_s, settings.offers_burst);
        let source = Source::new(seed);
        Calls {
            settings,
            origins,
            source,
            rates,
            tickets: BTreeMap::new(),
            sessions: BTreeMap::new(),
            out: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Calls that run, with those that are just being set up.
    pub fn running(&self) -> usize {
        self.sessions.len()
    }

    /// Whether a session is still there.
    pub fn knows(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Makes a token. A new call appears at once and rings at the agent's telephone.
    ///
    /// # Errors
    /// When there are too many tokens, or the tracks are not one or two speakers.
    pub fn issue(&mut self, now: Now, ask: Ask) -> Result<Issued, Refused> {
        if !are_speakers(&ask.tracks) {
            return Err(Refused::Tracks);
        }
        let token = self.source.token();
        let digest = Digest::of(token.as_bytes());
        if self.tickets.len() >= self.settings.max_tokens || self.tickets.contains_key(&digest.place()) {
            return Err(Refused::Full);
        }
        let own = self.source.uuid().simple().to_string();
        let new_leg = || LegKey(format!("web-{own}"));
        let (call, called, leg, caller) = match ask.target {
            Target::New { pbx, caller, called } => (CallKey { pbx, key: own.clone() }, called, None, Some(caller)),
            Target::Running { call, called, leg } => (call, called, leg, None),
        };
        let wait = Duration::from_millis(self.settings.token_ms);
        let ticket = Ticket {
            digest,
            state: State::Waiting { until: now.mono + wait },
            call: call.clone(),
            called: called.clone(),
            own_call: caller.is_some(),
            own_leg: leg.is_none(),
            leg: leg.unwrap_or_else(new_leg),
            tracks: ask.tracks,
            expires: now.mono + wait,
            answered: false,
            failed: false,
        };
        let key = digest.key();
        match caller {
            Some(caller) => {
                let appeared =
                    Signal::CallAppeared { caller, called, keys: vec![key.clone()], fidelity: Fidelity::OwnLeg };
                self.tell(now, &call, appeared);
            }
            None => self.tell(now, &call, Signal::Keys(vec![key.clone()])),
        }
        if ticket.own_leg {
            let leg = ticket.leg.clone();
            self.tell(now, &call, Signal::LegAppeared { leg: leg.clone(), address: ask.extension, queue: None });
            self.tell(now, &call, Signal::LegRinging(leg));
        }
        self.tickets.insert(digest.place(), ticket);
        Ok(Issued { token, key, call, expires: now.wall + wait })
    }

    /// The ticket of a token, compared in constant time.
    pub(super) fn find(&self, token: &[u8]) -> Option<u64> {
        let digest = Digest::of(token);
        let ticket = self.tickets.get(&digest.place())?;
        ticket.digest.is(&digest).then_some(digest.place())
    }

    /// Whether an address may make another offer now.
    pub(super) fn may_offer(&mut self, from: IpAddr, now: Now) -> bool {
        self.rates.ask(from, now) == Verdict::Taken
    }

    /// Begins a session for an offer that was inspected.
    pub(super) fn begin(&mut self, now: Now, place: u64, offer: Offer) -> Option<Negotiation> {
        let id = SessionId(self.source.uuid());
        let etag = self.source.uuid().simple().to_string();
        let ticket = self.tickets.get_mut(&place)?;
        ticket.state = State::Running(id);
        let negotiation = Negotiation {
            session: id,
            offer: restated(&offer, &offer.ice, 1),
            formats: offer.audio().map(|(_, audio)| audio.formats.clone()).collect(),
            extensions: offer.audio().map(|(_, audio)| audio.extension).collect(),
            sources: offer.audio().map(|(_, audio)| audio.ssrc).collect(),
        };
        let session = Session {
            ticket: place,
            speakers: speakers(&offer, &ticket.tracks),
            offer,
            etag,
            connected: false,
            negotiating: true,
            streams: Vec::new(),
            began: now.mono,
            heard: now.mono,
            candidates: 0,
            version: 1,
            restarting: None,
        };
        self.sessions.insert(id, session);
        Some(negotiation)
    }

    /// The media stack answered; gives the answer for the softphone, unless the session ended meanwhile.
    pub(super) fn answered(&mut self, id: SessionId, local: &Local) -> Option<(String, String)> {
        let session = self.sessions.get_mut(&id)?;
        session.negotiating = false;
        let number = u64::try_from(id.0.as_u128() >> 66).unwrap_or(1);
        Some((answer(&session.offer, local, number), session.etag.clone()))
    }

    /// The connection is up: the telephone is answered and its sound begins.
    pub fn connected(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.connected) else { return };
        let Some(ticket) = self.tickets.get_mut(&session.ticket) else { return };
        session.connected = true;
        session.heard = now.mono;
        ticket.answered = true;
        let (call, leg) = (ticket.call.clone(), ticket.leg.clone());
        let mut added = vec![Signal::LegAnswered(leg.clone())];
        for (track, speaker) in session.speakers.iter().enumerate() {
            let stream = StreamId(self.source.uuid());
            session.streams.push(stream);
            let formats = session.offer.audio().nth(track).map(|(_, audio)| audio.formats.clone()).unwrap_or_default();
            let called = ticket.called.clone();
            self.out.push_back(Output::Open { session: id, track, stream, formats, called });
            added.push(Signal::StreamAdded { leg: leg.clone(), stream, speaker: *speaker });
        }
        for signal in added {
            self.tell(now, &call, signal);
        }
    }

    /// RTP of the session came.
    pub fn heard(&mut self, now: Now, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.heard = session.heard.max(now.mono);
        }
    }

    /// A session ends. One that was lost may come back with its token; one that was hung up may not.
    pub fn ended(&mut self, now: Now, id: SessionId, why: Why) {
        let Some(session) = self.sessions.remove(&id) else { return };
        // nobody can be gone who was never there
        let why = if why == Why::Consent && !session.connected { Why::Handshake } else { why };
        self.out.push_back(Output::Drop(id, why));
        let Some(ticket) = self.tickets.get_mut(&session.ticket) else { return };
        let call = ticket.call.clone();
        let grace = now.mono + Duration::from_millis(self.settings.grace_ms);
        ticket.state = match ticket.answered {
            true => State::Lost { until: grace },
            false => State::Waiting { until: ticket.expires },
        };
        ticket.failed |= why != Why::HungUp;
        let leg = ticket.leg.clone();
        let failed =
            |speaker: &Speaker| Signal::StreamFailed { leg: leg.clone(), speaker: *speaker, reason: why.text().into() };
        let told: Vec<Signal> = if !session.connected && why != Why::HungUp {
            session.speakers.iter().map(failed).collect()
        } else {
            session.streams.iter().map(|stream| Signal::StreamRemoved(*stream)).collect()
        };
        for signal in told {
            self.tell(now, &call, signal);
        }
        self.out.extend(session.streams.iter().map(|stream| Output::Close(*stream)));
        match why {
            Why::HungUp => self.finish(now, session.ticket, EndCause::Normal),
            Why::TooLong => self.finish(now, session.ticket, EndCause::Failed),
            _ => {}
        }
    }

    /// The token is spent: its leg ends, and its call when nobody else tells of it.
    fn finish(&mut self, now: Now, place: u64, cause: EndCause) {
        let Some(ticket) = self.tickets.remove(&place) else { return };
        if ticket.own_leg {
            self.tell(now, &ticket.call, Signal::LegEnded(ticket.leg, cause));
        }
        if ticket.own_call {
            self.tell(now, &ticket.call, Signal::CallEnded(cause));
        }
    }

    /// When [`Calls::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        let tickets = self.tickets.values().filter_map(|ticket| match ticket.state {
            State::Waiting { until } | State::Lost { until } => Some(until),
            State::Running(_) => None,
        });
        let sessions = self.sessions.values().map(|session| self.limit(session).0);
        tickets.chain(sessions).min()
    }

    /// When a session ends by itself, and why.
    fn limit(&self, session: &Session) -> (Mono, Why) {
        if !session.connected {
            return (session.began + Duration::from_millis(self.settings.connect_ms), Why::NoConnection);
        }
        let silence = session.heard + Duration::from_millis(self.settings.silence_ms);
        let longest = session.began + Duration::from_millis(self.settings.max_call_ms);
        if silence <= longest { (silence, Why::Silence) } else { (longest, Why::TooLong) }
    }

    /// Ends what waited too long.
    pub fn handle_timeout(&mut self, now: Now) {
        let over: Vec<(SessionId, Why)> = self
            .sessions
            .iter()
            .map(|(id, session)| (*id, self.limit(session)))
            .filter(|(_, (until, _))| *until <= now.mono)
            .map(|(id, (_, why))| (id, why))
            .collect();
        for (id, why) in over {
            self.ended(now, id, why);
        }
        let over: Vec<(u64, EndCause)> = self
            .tickets
            .iter()
            .filter_map(|(place, ticket)| match ticket.state {
                State::Waiting { until } if until <= now.mono && ticket.failed => Some((*place, EndCause::Failed)),
                State::Waiting { until } if until <= now.mono => Some((*place, EndCause::NoAnswer)),
                State::Lost { until } if until <= now.mono => Some((*place, EndCause::LostSight)),
                _ => None,
            })
            .collect();
        for (place, cause) in over {
            self.finish(now, place, cause);
        }
    }

    /// The bridge is stopping: every peer goes; what becomes of the contacts is the hub's to say.
    pub fn stop(&mut self, now: Now) {
        let running: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in running {
            self.ended(now, id, Why::Stopping);
        }
        self.tickets.clear();
    }

    fn tell(&mut self, now: Now, call: &CallKey, signal: Signal) {
        self.out.push_back(Output::Signal(Observed { call: call.clone(), at: now, signal }));
    }
}

/// Who is heard on each audio line: by the names of the MediaStreams (`agent`, `caller`) where every line has one of its own and the token
/// allows it, else in the order of the token.
fn speakers(offer: &Offer, tracks: &[Speaker]) -> Vec<Speaker> {
    let named = |stream: Option<&str>| match stream {
        Some("agent") => Some(Speaker::Agent),
        Some("caller") => Some(Speaker::Caller),
        _ => None,
    };
    let by_name: Option<Vec<Speaker>> = offer.audio().map(|(_, audio)| named(audio.stream.as_deref())).collect();
    let fits = |named: &Vec<Speaker>| are_speakers(named) && named.iter().all(|speaker| tracks.contains(speaker));
    by_name.filter(fits).unwrap_or_else(|| tracks.iter().copied().take(offer.audio().count()).collect())
}

#[cfg(test)]
mod tests;

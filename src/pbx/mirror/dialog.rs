//! One dialog between the exchange and somebody else, as it is seen from outside: who asked whom, how far it is, and the sound of both ends.

use std::net::SocketAddr;
use std::time::Duration;

use super::transfer::Passing;
use crate::pbx::sip::content;
use crate::pbx::sip::keying;
use crate::pbx::sip::message::Message;
use crate::pbx::sip::request::Request;
use crate::pbx::sip::sdp::{Description, Direction, Format};
use crate::pbx::{EndCause, StreamId};
use crate::time::{Mono, Now};

/// Names a dialog within the mirror.
pub(super) type DialogId = u64;

/// Offers under way in one dialog; more are not remembered.
const OFFERS_MAX: usize = 4;
/// Answers of forks that ring; more are not remembered.
const FORKS_MAX: usize = 16;
/// Addresses that were left.
const MOVED_MAX: usize = 7;
/// How long sound may still go to the address before.
const MOVED: Duration = Duration::from_secs(2);

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Somebody asked the exchange.
    Entering,
    /// The exchange asked somebody.
    Leaving,
}

/// One of the two ends of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Whoever is not the exchange.
    Peer,
    /// The exchange.
    Exchange,
}

impl Side {
    pub(super) fn other(self) -> Side {
        if self == Side::Peer { Side::Exchange } else { Side::Peer }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Trying,
    Ringing,
    Answered,
    Ended,
}

/// The sound that an end announced to receive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sound {
    pub(super) target: Option<SocketAddr>,
    pub(super) formats: Vec<Format>,
    /// The transport is SRTP.
    secure: bool,
    /// Keys stand beside a plain transport.
    keyed: bool,
    /// There is sound, in a codec that is not decoded.
    pub(super) foreign: bool,
    pub(super) direction: Option<Direction>,
    null_address: bool,
}

impl Sound {
    /// `from`: where the message came from.
    fn of(description: &Description, from: SocketAddr) -> Sound {
        let Some(line) = description.lines.iter().find(|line| line.media == "audio" && line.target.1 != 0) else {
            return Sound::default();
        };
        let null_address = line.null_address;
        Sound {
            target: keying::source(&line.target, from.ip()),
            formats: line.formats.clone(),
            secure: !line.security.is_plain(),
            keyed: line.security.has_keys(),
            foreign: line.formats.iter().all(|format| !format.codec.is_audio()),
            direction: Some(line.direction),
            null_address,
        }
    }

    /// The end wants to hear nobody (RFC 3264 §8.4).
    fn is_hold(&self) -> bool {
        self.null_address || matches!(self.direction, Some(Direction::Sendonly | Direction::Inactive))
    }
}

/// A description that waits for its answer.
#[derive(Clone, Debug)]
struct Offer {
    cseq: u32,
    method: String,
    side: Side,
    sound: Sound,
}

/// The state of one dialog.
#[derive(Debug)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    pub(super) from_tag: String,
    pub(super) way: Way,
    /// Where the signalling of the other end is.
    pub(super) peer: SocketAddr,
    /// Where that of the exchange is.
    own: SocketAddr,
    pub(super) invite: Request,
    pub(super) phase: Phase,
    pub(super) started: Now,
    pub(super) ringing: Option<Now>,
    pub(super) answered: Option<Now>,
    /// The last message or sound.
    pub(super) seen: Mono,
    /// Caller's number for comparison, when it may be known.
    pub(super) number: Option<String>,
    /// Session-ID (RFC 7989).
    pub(super) session: Option<String>,
    pub(super) call: Option<u64>,
    peer_sound: Sound,
    exchange_sound: Sound,
    /// What of it stands in the table of addresses.
    pub(super) routed: Vec<SocketAddr>,
    /// Addresses before a change, and until when they may still be in use.
    before: Vec<(Side, SocketAddr, Mono)>,
    offers: Vec<Offer>,
    forks: Vec<(String, Side, Sound)>,
    /// The peer put the call on hold.
    pub(super) held: bool,
    /// The stream of the sound from the peer, and of that from the exchange.
    pub(super) to_exchange: Option<StreamId>,
    pub(super) to_peer: Option<StreamId>,
    /// Where the sound of the peer comes from.
    pub(super) sender: Option<SocketAddr>,
    /// Why it will end, once the answer to CANCEL comes.
    pub(super) cancelled: Option<EndCause>,
    /// It ended, and whether the other dialog ends too decides why.
    pub(super) settles: Option<Mono>,
    pub(super) passing: Option<Passing>,
    /// Ended: when it is forgotten.
    pub(super) until: Option<Mono>,
}

impl Dialog {
    pub(super) fn new(invite: Request, way: Way, peer: SocketAddr, own: SocketAddr, now: Now) -> Dialog {
        Dialog {
            call_id: invite.call_id.clone(),
            from_tag: invite.from.tag().unwrap_or_default().to_string(),
            way,
            peer,
            own,
            invite,
            phase: Phase::Trying,
            started: now,
            ringing: None,
            answered: None,
            seen: now.mono,
            number: None,
            session: None,
            call: None,
            peer_sound: Sound::default(),
            exchange_sound: Sound::default(),
            routed: Vec::new(),
            before: Vec::new(),
            offers: Vec::new(),
            forks: Vec::new(),
            held: false,
            to_exchange: None,
            to_peer: None,
            sender: None,
            cancelled: None,
            settles: None,
            passing: None,
            until: None,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.phase != Phase::Ended
    }

    pub(super) fn sound(&self, side: Side) -> &Sound {
        if side == Side::Peer { &self.peer_sound } else { &self.exchange_sound }
    }

    /// The stream of the sound that `side` hears.
    pub(super) fn stream_to(&self, side: Side) -> Option<StreamId> {
        if side == Side::Peer { self.to_peer } else { self.to_exchange }
    }

    pub(super) fn stream_to_mut(&mut self, side: Side) -> &mut Option<StreamId> {
        if side == Side::Peer { &mut self.to_peer } else { &mut self.to_exchange }
    }

    /// Where the sound that `side` hears is sent to now, and was lately.
    pub(super) fn targets(&self, side: Side) -> Vec<SocketAddr> {
        let offered = self.offers.iter().filter(|offer| offer.side == side).filter_map(|offer| offer.sound.target);
        let before = self.before.iter().filter(|(own, ..)| *own == side).map(|(_, address, _)| *address);
        let mut all: Vec<SocketAddr> = self.sound(side).target.into_iter().chain(offered).chain(before).collect();
        if side == Side::Exchange {
            // it writes the address that others reach it by, and its packets are seen inside
            let inside = |address: &SocketAddr| keying::is_private(self.own.ip()) && !keying::is_private(address.ip());
            let own: Vec<SocketAddr> =
                all.iter().filter(|it| inside(it)).map(|it| SocketAddr::new(self.own.ip(), it.port())).collect();
            all.extend(own);
        }
        all.dedup();
        all
    }

    /// Both ends have keys for the sound: nobody else can hear it.
    pub(super) fn is_encrypted(&self) -> bool {
        let (one, other) = (&self.peer_sound, &self.exchange_sound);
        one.secure || other.secure || (one.keyed && other.keyed)
    }

    /// Payload types of the sound that `side` hears: its own numbers, then those of the other end that are free.
    pub(super) fn formats(&self, side: Side) -> Vec<Format> {
        let mut all = self.sound(side).formats.clone();
        for format in &self.sound(side.other()).formats {
            if all.iter().all(|own| own.number != format.number) {
                all.push(*format);
            }
        }
        all
    }

    /// Takes the description in a request; `true` when something changed.
    pub(super) fn describe(&mut self, message: &Message, method: &str, cseq: u32, side: Side, now: Mono) -> bool {
        let Some(sound) = self.read(message, side) else { return false };
        let first = method == "INVITE" && self.phase < Phase::Answered;
        if first || method == "ACK" {
            return self.commit(side, sound, now);
        }
        if self.offers.iter().any(|offer| (offer.cseq, offer.side) == (cseq, side)) || self.offers.len() >= OFFERS_MAX {
            return false;
        }
        self.offers.push(Offer { cseq, method: method.into(), side, sound });
        true
    }

    /// Takes the description in an answer, and with it what was offered; `true` when something changed.
    pub(super) fn answer(
        &mut self,
        message: &Message,
        method: &str,
        cseq: u32,
        code: u16,
        side: Side,
        now: Mono,
    ) -> bool {
        let asked = side.other();
        let is_own = |offer: &Offer| offer.side == asked && offer.cseq == cseq && offer.method == method;
        let place = self.offers.iter().position(is_own);
        if code >= 300 {
            return place.map(|place| self.offers.remove(place)).is_some();
        }
        let tag = tag_of(message);
        let own = self.read(message, side);
        if code < 200 && method == "INVITE" && self.phase < Phase::Answered {
            // of several that ring the one that answers decides
            if let (Some(sound), Some(tag)) = (&own, &tag)
                && self.forks.len() < FORKS_MAX
                && self.forks.iter().all(|(other, ..)| other != tag)
            {
                self.forks.push((tag.clone(), side, sound.clone()));
            }
        }
        let forked = || {
            let mut forks = self.forks.iter();
            forks.find(|(own, at, _)| Some(own) == tag.as_ref() && *at == side).map(|(.., sound)| sound.clone())
        };
        let answered = own.or_else(|| if code >= 200 && place.is_none() { forked() } else { None });
        let mut changed = false;
        if let Some(place) = place.filter(|_| code >= 200 || answered.is_some()) {
            let offer = self.offers.remove(place);
            if offer.side == Side::Peer {
                self.held = offer.sound.is_hold();
            }
            changed |= self.commit(offer.side, offer.sound, now);
        }
        if let Some(sound) = answered {
            changed |= self.commit(side, sound, now);
        }
        changed
    }

    fn commit(&mut self, side: Side, mut sound: Sound, now: Mono) -> bool {
        let old = self.sound(side).clone();
        if sound.null_address {
            // hold as before RFC 3264: nobody moved
            sound.target = old.target;
        }
        if sound == old {
            return false;
        }
        if let Some(address) = old.target.filter(|_| old.target != sound.target) {
            self.before.truncate(MOVED_MAX);
            self.before.push((side, address, now + MOVED));
        }
        *(if side == Side::Peer { &mut self.peer_sound } else { &mut self.exchange_sound }) = sound;
        true
    }

    /// Whether addresses were left that are still in use.
    pub(super) fn has_moved(&self) -> bool {
        !self.before.is_empty()
    }

    /// Forgets addresses that were left; `true` when there were any.
    pub(super) fn forget_moved(&mut self, now: Mono) -> bool {
        let all = self.before.len();
        self.before.retain(|(.., until)| *until > now);
        all != self.before.len()
    }

    /// Another call announced this address of the exchange: this one is not heard there any more.
    pub(super) fn lose_target(&mut self, address: SocketAddr) {
        self.before.retain(|(_, own, _)| *own != address);
        if self.exchange_sound.target == Some(address) {
            self.exchange_sound.target = None;
        }
    }

    fn read(&self, message: &Message, side: Side) -> Option<Sound> {
        let body = content::session(message).ok().flatten()?;
        let description = Description::parse(&body).ok()?;
        Some(Sound::of(&description, if side == Side::Peer { self.peer } else { self.own }))
    }
}

/// The tag of To.
pub(super) fn tag_of(message: &Message) -> Option<String> {
    let to = message.text("To")?;
    crate::pbx::sip::header::NameAddr::parse(&to)?.tag().map(str::to_string)
}

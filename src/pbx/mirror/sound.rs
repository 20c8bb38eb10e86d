//! RTP: whose ear an address is, which speaker is taken from which dialog, and each speaker once.

use std::net::SocketAddr;

use bytes::Bytes;
use uuid::Uuid;

use super::dialog::{DialogId, Phase, Side, Way};
use super::machine::{Mirror, Output};
use crate::events::NAMESPACE;
use crate::pbx::sip::keying::{Keying, Path};
use crate::pbx::{LegKey, Signal, Speaker, StreamId};
use crate::time::Now;

/// Dialogs that share an address (both ends of direct media, and what ended lately).
const EARS_MAX: usize = 8;

/// Whether the sound of one direction can be taken.
enum Take {
    Now,
    /// An address is still to be announced.
    Later,
    Never(&'static str),
}

impl Mirror {
    /// Puts the announced addresses of a dialog into the table.
    pub(super) fn reroute(&mut self, id: DialogId) {
        self.unroute(id);
        let Some(dialog) = self.dialogs.get(&id).filter(|dialog| dialog.is_live()) else { return };
        let call = dialog.call;
        let ears: Vec<(SocketAddr, Side)> = [Side::Peer, Side::Exchange]
            .into_iter()
            .flat_map(|side| dialog.targets(side).into_iter().map(move |address| (address, side)))
            .collect();
        for (address, side) in ears {
            // an exchange gives a port to one call at a time: whoever had it before has hung up unseen
            if side == Side::Exchange && self.settings.networks.iter().any(|place| place.has_host(address.ip())) {
                self.take_over(id, address, call);
            }
            let all = self.routes.entry(address).or_default();
            if all.len() < EARS_MAX && !all.contains(&(id, side)) {
                all.push((id, side));
                if let Some(dialog) = self.dialogs.get_mut(&id) {
                    dialog.routed.push(address);
                }
            }
        }
    }

    fn take_over(&mut self, id: DialogId, address: SocketAddr, call: Option<u64>) {
        let Some(all) = self.routes.get_mut(&address) else { return };
        let mut lost = Vec::new();
        all.retain(|(other, side)| {
            let theirs = self.dialogs.get(other).and_then(|dialog| dialog.call);
            let stays = *other == id || *side != Side::Exchange || (call.is_some() && theirs == call);
            if !stays {
                lost.push(*other);
            }
            stays
        });
        for other in lost {
            if let Some(dialog) = self.dialogs.get_mut(&other) {
                dialog.lose_target(address);
            }
        }
    }

    fn unroute(&mut self, id: DialogId) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        for address in std::mem::take(&mut dialog.routed) {
            let Some(all) = self.routes.get_mut(&address) else { continue };
            all.retain(|(own, _)| *own != id);
            if all.is_empty() {
                self.routes.remove(&address);
            }
        }
    }

    /// A dialog ended: its addresses are nobody's.
    pub(super) fn unroute_ended(&mut self, id: DialogId) {
        self.unroute(id);
    }

    /// Takes a datagram that is no signalling.
    pub(super) fn sound(&mut self, source: SocketAddr, target: SocketAddr, bytes: &[u8], now: Now) {
        let [first, second, ..] = bytes else { return };
        // RTCP may share the port (RFC 5761 §4)
        if bytes.len() < 12 || first >> 6 != 2 || (192..=223).contains(second) {
            return;
        }
        let ears = self.ears(source, target);
        if ears.is_empty() {
            let own = |host| self.settings.networks.iter().any(|place| place.has_host(host));
            self.counters.rtp_unannounced += u64::from(own(source.ip()) || own(target.ip()));
            return;
        }
        for (id, side) in ears {
            self.hear(id, side, source, bytes, now);
        }
    }

    /// Who hears what is sent there: by the address that was announced. A telephone behind a NAT is sent to where it sends from; it is known by
    /// the exchange's own address as the sender.
    fn ears(&self, source: SocketAddr, target: SocketAddr) -> Vec<(DialogId, Side)> {
        if let Some(all) = self.routes.get(&target) {
            return all.clone();
        }
        let answered = |id: &DialogId| self.dialogs.get(id).filter(|dialog| dialog.phase == Phase::Answered);
        let senders = self.routes.get(&source).map(Vec::as_slice).unwrap_or_default();
        let ends = senders.iter().filter(|(_, side)| *side == Side::Exchange).filter(|(id, _)| {
            answered(id).is_some_and(|dialog| dialog.peer.ip() == target.ip() || dialog.sender == Some(target))
        });
        ends.map(|(id, _)| (*id, Side::Peer)).collect()
    }

    fn hear(&mut self, id: DialogId, side: Side, source: SocketAddr, bytes: &[u8], now: Now) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        let told = dialog.sound(side.other()).target.map(|address| address.ip());
        if told.is_some_and(|told| told == source.ip()) || dialog.peer.ip() == source.ip() {
            dialog.seen = now.mono;
            if side == Side::Exchange {
                dialog.sender = Some(source);
            }
        }
        let stream = dialog.stream_to(side);
        let (way, answered, call) = (dialog.way, dialog.phase == Phase::Answered, dialog.call);
        if let Some(stream) = stream {
            self.counters.rtp += 1;
            self.out.push_back(Output::Fed { stream, from: source, datagram: Bytes::copy_from_slice(bytes) });
        }
        if !answered {
            return;
        }
        match (way, side) {
            (Way::Entering, Side::Exchange) if call.is_none() => self.relay.sent(id, bytes, now.mono),
            (Way::Leaving, Side::Peer) if self.is_alone(call) => {
                if let Some(caller) = self.relay.passed(id, bytes, now.mono) {
                    self.absorb(id, caller, now);
                }
            }
            _ => {}
        }
    }

    /// Whether the caller of a call is not known.
    fn is_alone(&self, call: Option<u64>) -> bool {
        call.and_then(|call| self.calls.get(&call)).is_some_and(|call| call.caller.is_none())
    }

    /// Descriptions of a dialog changed, or it was answered.
    pub(super) fn media_changed(&mut self, id: DialogId, now: Now) {
        self.join_by_address(id, now);
        let Some(dialog) = self.dialogs.get(&id) else { return };
        for side in [Side::Peer, Side::Exchange] {
            if let Some(stream) = dialog.stream_to(side) {
                self.out.push_back(Output::Payloads(stream, dialog.formats(side)));
                self.out.push_back(Output::Path(stream, path_of(dialog.sound(side.other()).target)));
            }
        }
        if let Some(call) = dialog.call {
            self.ensure_streams(call, now);
        }
    }

    /// Opens what must be heard and is not: the agent of every answered telephone, and the caller once.
    pub(super) fn ensure_streams(&mut self, call: u64, now: Now) {
        let Some(own) = self.calls.get(&call).filter(|call| !call.ended) else { return };
        let open = |leg: &&super::call::Leg| leg.answered && !leg.ended && !leg.outside;
        let legs: Vec<(DialogId, LegKey)> =
            own.legs.iter().filter(open).map(|leg| (leg.dialog, leg.key.clone())).collect();
        let wanted = (self.policy)(&own.called);
        if !wanted.record && !wanted.transcribe {
            return;
        }
        let several = legs.len() > 1;
        for (dialog, leg) in legs {
            for speaker in [Speaker::Caller, Speaker::Agent] {
                if self.is_heard(call, dialog, speaker) {
                    continue;
                }
                self.choose(call, dialog, &leg, speaker, several, now);
            }
        }
    }

    fn is_heard(&self, call: u64, dialog: DialogId, speaker: Speaker) -> bool {
        let Some(call) = self.calls.get(&call) else { return true };
        call.legs.iter().any(|leg| {
            let own = leg.dialog == dialog && !leg.ended;
            let streams = || leg.streams.iter().any(|(_, other, ..)| *other == speaker);
            (own && leg.unheard.contains(&speaker)) || ((own || speaker == Speaker::Caller) && streams())
        })
    }

    /// Where a speaker is taken: from the own telephone; where that is encrypted, from what the exchange passes on in the clear.
    fn choose(&mut self, call: u64, id: DialogId, leg: &LegKey, speaker: Speaker, several: bool, now: Now) {
        let Some(own) = self.calls.get(&call) else { return };
        let from_peer = Side::Exchange;
        let ways: Vec<(DialogId, Side)> = match (own.caller, speaker) {
            (Some(caller), Speaker::Caller) if caller == id => vec![(id, from_peer)],
            (Some(caller), Speaker::Agent) if caller == id => vec![(id, Side::Peer)],
            (Some(caller), Speaker::Caller) => vec![(caller, from_peer), (id, Side::Peer)],
            (None, Speaker::Caller) => vec![(id, Side::Peer)],
            // what a caller hears is everybody who talks to her
            (Some(caller), Speaker::Agent) if !several => vec![(id, from_peer), (caller, Side::Peer)],
            (_, Speaker::Agent) => vec![(id, from_peer)],
            // a dialog has two ends, each with a voice of its own
            (_, Speaker::Mixed | Speaker::Other) => Vec::new(),
        };
        let mut why = None;
        for (dialog, side) in ways {
            match self.can_take(dialog, side) {
                Take::Now => return self.open(call, id, leg, speaker, (dialog, side), now),
                Take::Later => return,
                Take::Never(reason) => why = why.or(Some(reason)),
            }
        }
        let Some(reason) = why else { return };
        self.counters.streams_encrypted += u64::from(reason == ENCRYPTED);
        if let Some(leg) = self.leg_mut(call, id) {
            leg.unheard.push(speaker);
        }
        self.tell(call, Signal::StreamFailed { leg: leg.clone(), speaker, reason: reason.into() }, now);
    }

    fn can_take(&self, dialog: DialogId, side: Side) -> Take {
        let Some(dialog) = self.dialogs.get(&dialog).filter(|dialog| dialog.is_live()) else { return Take::Later };
        let (here, there) = (dialog.sound(side), dialog.sound(side.other()));
        if here.target.is_none() || there.target.is_none() {
            return Take::Later;
        }
        if dialog.is_encrypted() {
            return Take::Never(ENCRYPTED);
        }
        if here.foreign || !dialog.formats(side).iter().any(|format| format.codec.is_audio()) {
            return Take::Never(FOREIGN);
        }
        if dialog.stream_to(side).is_some() {
            return Take::Later;
        }
        Take::Now
    }

    fn open(&mut self, call: u64, id: DialogId, leg: &LegKey, speaker: Speaker, from: (DialogId, Side), now: Now) {
        let stream = self.new_stream(leg, speaker, now);
        let (source, side) = from;
        let Some(dialog) = self.dialogs.get_mut(&source) else { return };
        *dialog.stream_to_mut(side) = Some(stream);
        let formats = dialog.formats(side);
        let path = path_of(dialog.sound(side.other()).target);
        let Some(own) = self.calls.get(&call) else { return };
        let wanted = (self.policy)(&own.called);
        if let Some(leg) = self.leg_mut(call, id) {
            leg.streams.push((stream, speaker, source, side));
        }
        self.out.push_back(Output::Open { stream, formats, path, wanted });
        self.tell(call, Signal::StreamAdded { leg: leg.clone(), stream, speaker }, now);
    }

    fn new_stream(&mut self, leg: &LegKey, speaker: Speaker, now: Now) -> StreamId {
        self.next_stream += 1;
        let name = format!("mirror|{}|{}|{speaker:?}|{}|{}", self.pbx.0, leg.0, now.wall.0, self.next_stream);
        StreamId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

const ENCRYPTED: &str =
    "the sound is encrypted (SRTP), which a mirror cannot hear; observe the exchange by SIPREC or its event interface";
const FOREIGN: &str = "the sound is in a codec that is not decoded; allow G.711, G.722 or Opus at the exchange";

fn path_of(source: Option<SocketAddr>) -> Path {
    Path { source, rtcp: None, rtcp_mux: false, keying: Keying::Plain }
}

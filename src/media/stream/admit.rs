//! Which datagrams are packets of the stream: who may send, with which protection, and of which kind.

use std::net::SocketAddr;

use super::Stream;
use crate::media::protection::Dtls;
use crate::media::rtp::Parsed;
use crate::media::secure::Refusal;
use crate::media::source::{self, Source, Verdict};
use crate::media::{Codec, codec, probation, rtcp, rtp};
use crate::pbx::sip::keying::{Keying, Path};
use crate::time::Now;

impl Stream {
    /// Signalling tells who sends; whoever was taken before and does not fit is foreign from now on.
    pub fn set_source(&mut self, source: Source) {
        let waiting = self.expect(source);
        self.take_waiting(waiting);
    }

    /// Signalling tells the way of the packets: who sends, how they are protected, where RTCP goes. What came before all of it was known is
    /// taken now, in its order: who sends is of no use without the keys (a call without an offer brings them with its ACK).
    pub fn set_path(&mut self, now: Now, source: Source, path: &Path, dtls: Option<&Dtls>) {
        let source = if path.keying == Keying::Offered { Source::Untold } else { source };
        let waiting = self.expect(source);
        (self.rtcp_to, self.rtcp_mux) = (path.rtcp, path.rtcp_mux);
        let peer = match self.gate.rule() {
            Source::Near(peer) | Source::Exactly(peer) => Some(peer),
            Source::First | Source::Untold => None,
        };
        self.protection.set(now.mono, &path.keying, dtls, peer);
        self.take_waiting(waiting);
    }

    fn expect(&mut self, source: Source) -> Vec<source::Waiting> {
        let before = self.gate.rule();
        let waiting = self.gate.expect(source);
        if before != self.gate.rule() {
            self.probation.reset();
        }
        waiting
    }

    /// Only this address and port may send.
    pub fn expect_source(&mut self, source: SocketAddr) {
        self.set_source(Source::Exactly(source));
    }

    /// Takes one datagram of the RTP port.
    pub fn handle_packet(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        match self.gate.judge(from, self.protection.is_secure()) {
            Verdict::Take => self.handle_own(now, from, datagram),
            Verdict::Wait => self.gate.keep(now, from, datagram),
            Verdict::Prove => self.prove(now, from, datagram),
            Verdict::Refuse => self.counts.foreign += 1,
        }
    }

    /// A datagram from another port than was told. RTCP and what else keeps a NAT open (RFC 6263) says nothing for or against its sender.
    fn prove(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        if let Some((packet, _)) = self.read(datagram) {
            return self.gate.offer(now, from, datagram, packet.ssrc, packet.sequence);
        }
        self.counts.foreign += 1;
        if rtp::claims(datagram, self.accepted) {
            self.gate.unseat(from);
        }
    }

    /// Takes one datagram of the RTCP port.
    pub fn handle_rtcp(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        // The port of RTCP is the peer's own affair; its address is not.
        let ip = match self.gate.rule() {
            Source::Near(told) | Source::Exactly(told) => Some(told.ip()),
            Source::First | Source::Untold => self.gate.latched().map(|latched| latched.ip()),
        };
        if ip != Some(from.ip().to_canonical()) {
            self.counts.foreign += 1;
            return;
        }
        self.read_rtcp(now, datagram);
    }

    fn read_rtcp(&mut self, now: Now, datagram: &[u8]) {
        match self.protection.open(now.mono, datagram, true) {
            Ok(plain) => {
                let read = self.rtcp.handle(now.mono, plain.as_deref().unwrap_or(datagram));
                self.counts.malformed += u64::from(!read);
            }
            Err(refusal) => self.count_refusal(refusal),
        }
    }

    /// A datagram of the right sender; what it is says its first byte (RFC 7983).
    fn handle_own(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        if let Some(20..=63) = datagram.first() {
            if !self.protection.handle_handshake(now.mono, from, datagram) {
                self.counts.malformed += 1;
            }
            return;
        }
        if self.rtcp_mux && rtcp::is_rtcp(datagram) {
            return self.read_rtcp(now, datagram);
        }
        let opened = match self.protection.open(now.mono, datagram, false) {
            Ok(opened) => opened,
            Err(refusal) => return self.count_refusal(refusal),
        };
        self.counts.encrypted += u64::from(opened.is_some());
        let datagram = opened.as_deref().unwrap_or(datagram);
        let Some((packet, codec)) = self.read(datagram) else {
            self.counts.malformed += 1;
            return;
        };
        self.gate.latch(from);
        if self.probation.admits(now.mono, packet.ssrc) {
            self.play(now, codec, packet);
        } else {
            self.probation.keep(probation::Waiting { at: now, codec, packet });
            self.switch_source(now);
        }
    }

    /// A packet of the stream's kind: RTP of a negotiated type, and sound that can be decoded.
    fn read(&self, datagram: &[u8]) -> Option<(Parsed, Codec)> {
        let packet = rtp::parse(datagram, self.accepted)?;
        let codec = self.payloads.iter().find(|payload| payload.number == packet.payload_type)?.codec;
        let decodable = !codec.is_audio() || codec::length(codec, &packet.payload, codec.pcm_rate()).is_some();
        decodable.then_some((packet, codec))
    }

    fn count_refusal(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Unauthenticated | Refusal::Expired => self.counts.unauthenticated += 1,
            Refusal::Replayed => self.counts.replayed += 1,
        }
    }

    pub(super) fn take_waiting(&mut self, waiting: Vec<source::Waiting>) {
        for source::Waiting { at, from, datagram } in waiting {
            self.handle_packet(at, from, &datagram);
        }
    }

    pub(super) fn switch_source(&mut self, now: Now) {
        for probation::Waiting { at, codec, packet } in self.probation.switch(now.mono) {
            self.play(at, codec, packet);
        }
    }
}

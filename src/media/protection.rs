//! How one stream is protected at this moment: not, by keys that signalling brought, or by a DTLS handshake.

use std::net::SocketAddr;
use std::time::Instant;

use super::dtls::{Handshake, Identity, Keys};
use super::secure::{Refusal, Secure};
use crate::pbx::sip::keying::{Fingerprint, Keying};
use crate::time::Mono;

/// What handshakes need of the bridge.
#[derive(Clone, Debug)]
pub struct Dtls {
    /// Our certificate.
    pub identity: Identity,
    /// [`Instant`] of [`Mono`] zero.
    pub base: Instant,
}

/// The protection of one stream.
#[derive(Debug, Default)]
pub struct Protection {
    state: State,
    failed: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Plain,
    /// Keys will come: until then nothing can be heard.
    Deaf,
    Keyed(Box<Secure>),
    Shaking(Box<Shaking>),
}

#[derive(Debug)]
struct Shaking {
    fingerprints: Vec<Fingerprint>,
    session: Option<String>,
    handshake: Handshake,
    secure: Option<Secure>,
}

impl Protection {
    /// Whether packets prove that they come from the peer.
    pub fn is_secure(&self) -> bool {
        !matches!(self.state, State::Plain)
    }

    /// Handshakes that failed.
    pub fn failed(&self) -> u64 {
        match &self.state {
            State::Shaking(shaking) => self.failed + shaking.handshake.failed(),
            _ => self.failed,
        }
    }

    /// What both sides agreed on (again). `peer`: where an active handshake begins.
    pub fn set(&mut self, now: Mono, keying: &Keying, dtls: Option<&Dtls>, peer: Option<SocketAddr>) {
        match (keying, &mut self.state) {
            (Keying::Plain, state) => *state = State::Plain,
            (Keying::Offered, state) => *state = State::Deaf,
            (Keying::Sdes { theirs, ours }, State::Keyed(secure)) => secure.rekey(now, theirs, ours),
            (Keying::Sdes { theirs, ours }, state) => {
                *state = Secure::new(theirs, ours).map_or(State::Deaf, |secure| State::Keyed(Box::new(secure)));
            }
            (Keying::Dtls { fingerprints, session, .. }, State::Shaking(own))
                if own.fingerprints == *fingerprints && own.session == *session =>
            {
                if let Some(peer) = peer {
                    own.handshake.start(now, peer);
                }
            }
            (Keying::Dtls { fingerprints, session, active }, _) => {
                self.shake(now, fingerprints, session.as_ref(), *active, dtls, peer);
            }
        }
    }

    /// A new handshake; what is heard under the keys of the last one goes on until it is over.
    fn shake(
        &mut self,
        now: Mono,
        fingerprints: &[Fingerprint],
        session: Option<&String>,
        active: bool,
        dtls: Option<&Dtls>,
        peer: Option<SocketAddr>,
    ) {
        self.failed = self.failed();
        let secure = match std::mem::replace(&mut self.state, State::Deaf) {
            State::Shaking(old) => old.secure,
            _ => None,
        };
        let made = dtls.and_then(|dtls| Handshake::new(&dtls.identity, fingerprints.to_vec(), active, dtls.base));
        let Some(mut handshake) = made else { return };
        if let Some(peer) = peer {
            handshake.start(now, peer);
        }
        let fingerprints = fingerprints.to_vec();
        self.state = State::Shaking(Box::new(Shaking { fingerprints, session: session.cloned(), handshake, secure }));
    }

    /// Takes a datagram of a handshake; `false` when none is awaited.
    pub fn handle_handshake(&mut self, now: Mono, from: SocketAddr, datagram: &[u8]) -> bool {
        let State::Shaking(shaking) = &mut self.state else { return false };
        if let Some(Keys { theirs, ours }) = shaking.handshake.handle(now, from, datagram) {
            match &mut shaking.secure {
                Some(secure) => secure.rekey(now, &[theirs], &ours),
                none => *none = Secure::new(&[theirs], &ours),
            }
        }
        true
    }

    /// The packet inside; `None`: it is not protected.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn open(&mut self, now: Mono, datagram: &[u8], rtcp: bool) -> Result<Option<Vec<u8>>, Refusal> {
        let secure = match &mut self.state {
            State::Plain => return Ok(None),
            State::Deaf => return Err(Refusal::Unauthenticated),
            State::Keyed(secure) => secure.as_mut(),
            State::Shaking(shaking) => shaking.secure.as_mut().ok_or(Refusal::Unauthenticated)?,
        };
        let opened = if rtcp { secure.open_rtcp(now, datagram) } else { secure.open_rtp(now, datagram) };
        opened.map(Some)
    }

    /// Protects RTCP of ours; `None` while there are no keys.
    pub fn protect_rtcp(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        match &mut self.state {
            State::Plain => Some(packet),
            State::Deaf => None,
            State::Keyed(secure) => secure.protect_rtcp(&packet),
            State::Shaking(shaking) => shaking.secure.as_mut()?.protect_rtcp(&packet),
        }
    }

    /// When [`Protection::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        match &self.state {
            State::Shaking(shaking) => shaking.handshake.due(),
            _ => None,
        }
    }

    /// Sends again what was not answered.
    pub fn handle_timeout(&mut self, now: Mono) {
        if let State::Shaking(shaking) = &mut self.state {
            shaking.handshake.handle_timeout(now);
        }
    }

    /// The next datagram of a handshake.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        match &mut self.state {
            State::Shaking(shaking) => shaking.handshake.poll_transmit(),
            _ => None,
        }
    }
}

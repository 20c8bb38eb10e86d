//! The DTLS handshake that makes the keys of SRTP (RFC 5763, RFC 5764), by `rtc-dtls`: no key is used before the certificate is proven.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use crypto::RTCCryptoProvider;
use crypto::providers::RingProvider;
use dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use dtls::crypto::Certificate;
use dtls::endpoint::{Endpoint, EndpointEvent};
use dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use shared::TransportProtocol;

use crate::pbx::sip::keying::{Fingerprint, Hash};
use crate::pbx::sip::sdes::{Key, Suite};
use crate::time::Mono;

/// Handshakes begun from different ports at once; the oldest makes room.
const PEERS_MOST: usize = 4;
/// First time without an answer after which a flight is sent again (RFC 6347 §4.2.4.1 allows less than a second).
const FLIGHT: Duration = Duration::from_millis(500);
/// A handshake in which nothing is awaited and nothing comes is begun anew after this; the passive side lets the other be first.
const STALLED: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(8)];
/// A handshake of ours that failed is begun anew after this.
const AGAIN: Duration = Duration::from_secs(1);
/// Failures after which we begin no more.
const FAILURES_MOST: u64 = 30;
/// Label of the exported keys (RFC 5764 §4.2).
const LABEL: &str = "EXTRACTOR-dtls_srtp";

/// What the bridge shows of itself in handshakes.
#[derive(Clone)]
pub struct Identity {
    certificate: Certificate,
    /// The digest of it that stands in our descriptions.
    pub fingerprint: Fingerprint,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint)
    }
}

impl Identity {
    /// A new key and a certificate of its own signature (ECDSA P-256).
    ///
    /// # Errors
    /// What the cryptographic library says.
    pub fn generate() -> Result<Identity, String> {
        let provider = RingProvider::new();
        let made = Certificate::generate_self_signed(vec!["kakehashi".to_string()], provider.crypto());
        let certificate = made.map_err(|error| error.to_string())?;
        let der = certificate.certificate.first().ok_or("no certificate was made")?;
        let fingerprint = Fingerprint { hash: Hash::Sha256, digest: Sha256::digest(der).to_vec() };
        Ok(Identity { certificate, fingerprint })
    }
}

/// Whether a certificate has one of these digests.
fn is_expected(certificate: &[u8], fingerprints: &[Fingerprint]) -> bool {
    fingerprints.iter().any(|expected| {
        let digest = match expected.hash {
            Hash::Sha1 => Sha1::digest(certificate).to_vec(),
            Hash::Sha256 => Sha256::digest(certificate).to_vec(),
            Hash::Sha384 => Sha384::digest(certificate).to_vec(),
            Hash::Sha512 => Sha512::digest(certificate).to_vec(),
        };
        digest == expected.digest
    })
}

/// The keys that a handshake made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// What the peer protects its packets with.
    pub theirs: Key,
    /// What we protect ours with.
    pub ours: Key,
}

/// The handshake of one stream.
pub struct Handshake {
    endpoint: Endpoint,
    config: Arc<HandshakeConfig>,
    fingerprints: Vec<Fingerprint>,
    active: bool,
    /// [`Instant`] of [`Mono`] zero: `rtc-dtls` counts in these.
    base: Instant,
    /// The peers that began, oldest first.
    peers: VecDeque<SocketAddr>,
    /// Where ours begins.
    target: Option<SocketAddr>,
    /// When something came or was begun last.
    moved: Mono,
    /// Who finished; nobody else is listened to then.
    finished: Option<SocketAddr>,
    failed: u64,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handshake(active: {}, finished: {})", self.active, self.finished.is_some())
    }
}

impl Handshake {
    /// A handshake with a peer whose certificate is one of `fingerprints`; `None` when the library refuses the settings.
    pub fn new(identity: &Identity, fingerprints: Vec<Fingerprint>, active: bool, base: Instant) -> Option<Handshake> {
        let expected = fingerprints.clone();
        let verify = move |chain: &[Vec<u8>], _: &[_]| match chain.first() {
            Some(certificate) if is_expected(certificate, &expected) => Ok(()),
            _ => Err(shared::error::Error::Other("the certificate is not the one of the description".into())),
        };
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::new(RingProvider::new()))
            .with_certificates(vec![identity.certificate.clone()])
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32,
            ])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // Not by a chain of authorities but by the fingerprint.
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(Arc::new(verify)))
            .with_flight_interval(FLIGHT)
            .with_server_name("kakehashi".into())
            .build(active, None)
            .ok()?;
        let config = Arc::new(config);
        let local = SocketAddr::from(([0, 0, 0, 0], 0));
        let server = (!active).then(|| config.clone());
        let endpoint = Endpoint::new(local, TransportProtocol::UDP, server);
        let peers = VecDeque::new();
        Some(Handshake {
            endpoint,
            config,
            fingerprints,
            active,
            base,
            peers,
            target: None,
            moved: Mono(0),
            finished: None,
            failed: 0,
        })
    }

    /// Whether keys were made.
    pub fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// Handshakes that failed, of whatever reason.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Begins, when we are the active side: the peer receives at `peer`.
    pub fn start(&mut self, now: Mono, peer: SocketAddr) {
        if self.active && self.peers.is_empty() {
            self.target = Some(peer);
            self.peers.push_back(peer);
            self.moved = now;
            let begun = self.endpoint.connect(self.instant(now), peer, self.config.clone(), None);
            self.failed += u64::from(begun.is_err());
        }
    }

    /// Takes a DTLS datagram. Gives the keys once they are made.
    pub fn handle(&mut self, now: Mono, from: SocketAddr, datagram: &[u8]) -> Option<Keys> {
        if self.finished.is_some_and(|finished| finished != from) {
            return None;
        }
        if !self.peers.contains(&from) {
            if self.active {
                return None;
            }
            if self.peers.len() == PEERS_MOST
                && let Some(oldest) = self.peers.pop_front()
            {
                self.endpoint.stop(self.instant(now), oldest);
            }
            self.peers.push_back(from);
        }
        self.moved = now;
        match self.endpoint.read(self.instant(now), from, None, BytesMut::from(datagram)) {
            Ok(events) => {
                let complete = events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete));
                if self.finished.is_none() && events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)) {
                    self.give_up(now, from);
                    return None;
                }
                if complete { self.finish(now, from) } else { None }
            }
            Err(_) if self.finished.is_some() => None,
            Err(_) => {
                self.give_up(now, from);
                None
            }
        }
    }

    /// When [`Handshake::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        let due = self.peers.iter().filter_map(|peer| self.endpoint.poll_timeout(peer)).min();
        let due = due.map(|due| due.saturating_duration_since(self.base).as_nanos());
        due.map(|nanos| Mono(u64::try_from(nanos).unwrap_or(u64::MAX))).or_else(|| self.begin_at())
    }

    /// When to begin anew, while nothing is awaited.
    fn begin_at(&self) -> Option<Mono> {
        let [active, passive] = STALLED;
        let may = self.finished.is_none() && self.failed < FAILURES_MOST;
        match (self.active, self.peers.is_empty()) {
            (true, true) => self.target.map(|_| self.moved + AGAIN),
            (true, false) => Some(self.moved + active),
            (false, false) => Some(self.moved + passive),
            (false, true) => None,
        }
        .filter(|_| may)
    }

    /// Sends again what was not answered.
    pub fn handle_timeout(&mut self, now: Mono) {
        let at = self.instant(now);
        let awaited = self.peers.iter().any(|peer| self.endpoint.poll_timeout(peer).is_some());
        if !awaited && self.begin_at().is_some_and(|due| due <= now) {
            for peer in self.peers.clone() {
                self.give_up(now, peer);
            }
            if let Some(target) = self.target {
                self.start(now, target);
            }
            return;
        }
        for peer in self.peers.clone() {
            let is_due = self.endpoint.poll_timeout(&peer).is_some_and(|due| due <= at);
            if is_due && self.endpoint.handle_timeout(peer, at).is_err() {
                self.give_up(now, peer);
            }
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.endpoint.poll_transmit().map(|message| (message.transport.peer_addr, message.message.to_vec()))
    }

    fn instant(&self, now: Mono) -> Instant {
        self.base + Duration::from_nanos(now.0)
    }

    fn give_up(&mut self, now: Mono, peer: SocketAddr) {
        self.failed += 1;
        self.endpoint.stop(self.instant(now), peer);
        self.peers.retain(|other| *other != peer);
    }

    /// The certificate is looked at once more, then the keys are exported (RFC 5764 §4.2).
    fn finish(&mut self, now: Mono, from: SocketAddr) -> Option<Keys> {
        let keys = self.export(from);
        if keys.is_none() {
            self.give_up(now, from);
            return None;
        }
        self.finished = Some(from);
        for other in std::mem::take(&mut self.peers).into_iter().filter(|other| *other != from) {
            self.endpoint.stop(self.instant(now), other);
        }
        self.peers.push_back(from);
        keys
    }

    fn export(&self, from: SocketAddr) -> Option<Keys> {
        let state = self.endpoint.get_connection_state(from)?;
        if !state.peer_certificates.first().is_some_and(|certificate| is_expected(certificate, &self.fingerprints)) {
            return None;
        }
        let suite = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Suite::AesCm128Sha1Tag80,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32 => Suite::AesCm128Sha1Tag32,
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Suite::AesGcm128,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => Suite::AesGcm256,
            _ => return None,
        };
        let (key, salt) = (suite.key_length(), suite.salt_length());
        let material = state.export_keying_material(LABEL, &[], 2 * (key + salt)).ok()?;
        let (keys, salts) = material.as_ref().split_at_checked(2 * key)?;
        let (client_key, server_key) = keys.split_at_checked(key)?;
        let (client_salt, server_salt) = salts.split_at_checked(salt)?;
        let client = Key::new(suite, &[client_key, client_salt].concat())?;
        let server = Key::new(suite, &[server_key, server_salt].concat())?;
        Some(if self.active { Keys { theirs: server, ours: client } } else { Keys { theirs: client, ours: server } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Carries datagrams between the two, `lost` of a hundred not; gives the keys of both.
    fn shake(active: &mut Handshake, passive: &mut Handshake, lost: u64, seed: u64) -> (Option<Keys>, Option<Keys>) {
        let (mut one, mut other) = (None, None);
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        active.start(Mono(0), address(2));
        for ms in 0..120_000u64 {
            if one.is_some() && other.is_some() {
                break;
            }
            let now = Mono(ms * 1_000_000);
            let mut arrives = || {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                (dice >> 20) % 100 >= lost
            };
            while let Some((to, bytes)) = active.poll_transmit() {
                if arrives() && to == address(2) {
                    other = passive.handle(now, address(1), &bytes).or(other);
                }
            }
            while let Some((to, bytes)) = passive.poll_transmit() {
                if arrives() && to == address(1) {
                    one = active.handle(now, address(2), &bytes).or(one);
                }
            }
            if active.due().is_some_and(|due| due <= now) {
                active.handle_timeout(now);
            }
            if passive.due().is_some_and(|due| due <= now) {
                passive.handle_timeout(now);
            }
        }
        (one, other)
    }

    fn pair(forged: bool) -> (Handshake, Handshake) {
        let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let wanted = if forged { Identity::generate().unwrap() } else { a.clone() };
        let base = Instant::now();
        let active = Handshake::new(&a, vec![b.fingerprint.clone()], true, base).unwrap();
        (active, Handshake::new(&b, vec![wanted.fingerprint], false, base).unwrap())
    }

    #[test]
    fn both_sides_make_the_same_keys() {
        let (mut active, mut passive) = pair(false);
        let (one, other) = shake(&mut active, &mut passive, 0, 0);
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!((&one.ours, &one.theirs), (&other.theirs, &other.ours));
        assert_ne!(one.ours, one.theirs);
    }

    #[test]
    fn lost_datagrams_are_sent_again() {
        // The library gives a handshake up in rare patterns of loss; that must stay rare.
        let finished = |seed: &u64| {
            let (mut active, mut passive) = pair(false);
            let (one, other) = shake(&mut active, &mut passive, 10, *seed);
            one.is_some() && other.is_some()
        };
        let made = (1..=40).filter(finished).count();
        assert!(made >= 37, "{made} of 40 at a loss of a tenth");
    }

    #[test]
    fn a_certificate_that_was_not_announced_gives_no_keys() {
        let (mut active, mut passive) = pair(true);
        let (_, other) = shake(&mut active, &mut passive, 0, 0);
        assert_eq!(other, None);
        assert!(passive.failed() > 0 && !passive.is_finished());
    }

    #[test]
    fn garbage_and_strangers_take_no_room() {
        let (mut active, mut passive) = pair(false);
        for n in 0..2_000u16 {
            let garbage: Vec<u8> = (0..n % 90).map(|i| (i as u8).wrapping_mul(31) ^ n as u8).collect();
            let datagram = [&[22u8, 254, 253, 0, 0, 0, 0, 0, 0][..], &garbage].concat();
            passive.handle(Mono(0), address(1_000 + n), &datagram);
            assert!(passive.peers.len() <= PEERS_MOST);
            assert!(passive.endpoint.get_connections_keys().len() <= PEERS_MOST);
        }
        let (one, other) = shake(&mut active, &mut passive, 0, 0);
        assert!(one.is_some() && other.is_some());
    }
}

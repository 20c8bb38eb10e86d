//! SRTP and SRTCP of one stream (RFC 3711, RFC 6188, RFC 7714): what is not authentic, or came before, stays outside. Ciphers by `rtc-srtp`.

use std::fmt;
use std::time::Duration;

use crypto::RTCCryptoProvider;
use crypto::providers::RingProvider;
use shared::error::Error as SrtpError;
use srtp::context::Context;
use srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use srtp::protection_profile::ProtectionProfile;

use crate::pbx::sip::sdes::{Key, Suite};
use crate::time::Mono;

/// Packets that a late one may be behind (RFC 3711 §3.3.2 wants 64 at least).
const WINDOW: usize = 128;
/// Sources that are remembered with their rollover counters; beyond it the oldest is forgotten.
const SOURCES_MOST: usize = 64;
/// Packets of unknown sources that are tried with one context before it is made anew, so that forgeries take no room.
const TRIES: u32 = 64;
/// After a change of keys packets under the old ones are still taken for this long: they were on their way.
const OLD_KEYS: Duration = Duration::from_secs(2);

/// Why a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not made with the key, or no such packet.
    Unauthenticated,
    /// It came before, or is older than the window.
    Replayed,
    /// The key protected as many packets as it may.
    Expired,
}

fn profile(suite: Suite) -> ProtectionProfile {
    match suite {
        Suite::AesCm128Sha1Tag80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128Sha1Tag32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::AesCm256Sha1Tag80 => ProtectionProfile::Aes256CmHmacSha1_80,
        Suite::AesCm256Sha1Tag32 => ProtectionProfile::Aes256CmHmacSha1_32,
        Suite::AesGcm128 => ProtectionProfile::AeadAes128Gcm,
        Suite::AesGcm256 => ProtectionProfile::AeadAes256Gcm,
    }
}

fn context(key: &Key) -> Option<Context> {
    let (rtp, rtcp) = (srtp_replay_protection(WINDOW), srtcp_replay_protection(WINDOW));
    let provider = RingProvider::new();
    Context::new(&key.key, &key.salt, profile(key.suite), Some(rtp), Some(rtcp), provider.crypto()).ok()
}

/// One key of the peer.
struct Master {
    key: Key,
    /// By source; the newest last.
    known: Vec<(u32, Context)>,
    /// For sources that are not known yet.
    trial: Context,
    tried: u32,
    left: Option<u64>,
}

impl Master {
    fn new(key: &Key) -> Option<Master> {
        Some(Master { trial: context(key)?, known: Vec::new(), tried: 0, left: key.lifetime, key: key.clone() })
    }

    fn open(&mut self, ssrc: u32, packet: &[u8], rtcp: bool) -> Result<Vec<u8>, Refusal> {
        if rtcp && !is_encrypted(packet, self.key.suite) {
            return Err(Refusal::Unauthenticated);
        }
        if self.left == Some(0) {
            return Err(Refusal::Expired);
        }
        let known = self.known.iter_mut().rev().find(|(own, _)| *own == ssrc);
        let is_known = known.is_some();
        let context = known.map_or(&mut self.trial, |(_, context)| context);
        let opened = if rtcp { context.decrypt_rtcp(packet) } else { context.decrypt_rtp(packet) };
        let opened = opened.map(|bytes| bytes.to_vec()).map_err(|error| match error {
            SrtpError::SrtpSsrcDuplicated(..) | SrtpError::SrtcpSsrcDuplicated(..) => Refusal::Replayed,
            _ => Refusal::Unauthenticated,
        });
        if !is_known {
            self.tried += 1;
            if opened.is_ok() || self.tried >= TRIES {
                self.renew_trial(ssrc, opened.is_ok());
            }
        }
        if opened.is_ok() {
            self.left = self.left.map(|left| left - 1);
        }
        opened
    }

    fn renew_trial(&mut self, ssrc: u32, proven: bool) {
        let Some(fresh) = context(&self.key) else { return };
        let used = std::mem::replace(&mut self.trial, fresh);
        self.tried = 0;
        if proven {
            if self.known.len() == SOURCES_MOST {
                self.known.remove(0);
            }
            self.known.push((ssrc, used));
        }
    }
}

/// The peer's keys.
struct Inbound(Vec<Master>);

impl Inbound {
    fn new(keys: &[Key]) -> Option<Inbound> {
        let masters: Vec<Master> = keys.iter().map(Master::new).collect::<Option<_>>()?;
        (!masters.is_empty()).then_some(Inbound(masters))
    }

    fn open(&mut self, packet: &[u8], rtcp: bool) -> Result<Vec<u8>, Refusal> {
        let at = if rtcp { 4 } else { 8 };
        let ssrc = packet.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes);
        let ssrc = ssrc.ok_or(Refusal::Unauthenticated)?;
        let mut refusal = Refusal::Unauthenticated;
        for master in &mut self.0 {
            let opened = if master.key.mki.is_empty() {
                master.open(ssrc, packet, rtcp)
            } else {
                let Some(bare) = without_mki(packet, &master.key, rtcp) else { continue };
                master.open(ssrc, &bare, rtcp)
            };
            match opened {
                Ok(plain) => return Ok(plain),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }
}

/// The E flag of SRTCP (RFC 3711 §3.4). Unencrypted RTCP was never agreed on, and `rtc-srtp` takes it without looking at its tag.
fn is_encrypted(packet: &[u8], suite: Suite) -> bool {
    let tag = if matches!(suite, Suite::AesGcm128 | Suite::AesGcm256) { 0 } else { 10 };
    let flag = packet.len().checked_sub(tag + 4).and_then(|at| packet.get(at));
    flag.is_some_and(|flag| flag & 0x80 != 0)
}

/// A packet without its key identifier, which stands before the authentication tag (RFC 3711 §3.1), or at the end where the cipher makes the
/// tag (RFC 7714 §8.2). `None`: it names another key.
fn without_mki(packet: &[u8], key: &Key, rtcp: bool) -> Option<Vec<u8>> {
    let tag = match (key.suite, rtcp) {
        (Suite::AesGcm128 | Suite::AesGcm256, _) => 0,
        (Suite::AesCm128Sha1Tag32 | Suite::AesCm256Sha1Tag32, false) => 4,
        _ => 10,
    };
    let end = packet.len().checked_sub(tag)?;
    let start = end.checked_sub(key.mki.len())?;
    (packet.get(start..end)? == key.mki)
        .then(|| [packet.get(..start), packet.get(end..)].into_iter().flatten().flatten().copied().collect())
}

/// The protection of one stream.
pub struct Secure {
    inbound: Inbound,
    old: Option<(Inbound, Mono)>,
    outbound: Context,
    theirs: Vec<Key>,
    ours: Key,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secure({:?}, {:?})", self.theirs, self.ours)
    }
}

impl Secure {
    /// With the keys of both sides; `None` when they are none.
    pub fn new(theirs: &[Key], ours: &Key) -> Option<Secure> {
        let (inbound, outbound) = (Inbound::new(theirs)?, context(ours)?);
        Some(Secure { inbound, old: None, outbound, theirs: theirs.to_vec(), ours: ours.clone() })
    }

    /// Other keys. What is the same goes on with its counters; what is new begins at zero (RFC 3711 §3.3.1).
    pub fn rekey(&mut self, now: Mono, theirs: &[Key], ours: &Key) {
        if self.theirs != theirs
            && let Some(inbound) = Inbound::new(theirs)
        {
            self.old = Some((std::mem::replace(&mut self.inbound, inbound), now + OLD_KEYS));
            self.theirs = theirs.to_vec();
        }
        if self.ours != *ours
            && let Some(outbound) = context(ours)
        {
            (self.outbound, self.ours) = (outbound, ours.clone());
        }
    }

    /// The RTP packet in an SRTP packet.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn open_rtp(&mut self, now: Mono, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.open(now, packet, false)
    }

    /// The RTCP packets in an SRTCP packet.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn open_rtcp(&mut self, now: Mono, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.open(now, packet, true)
    }

    fn open(&mut self, now: Mono, packet: &[u8], rtcp: bool) -> Result<Vec<u8>, Refusal> {
        let opened = self.inbound.open(packet, rtcp);
        if self.old.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.old = None;
        }
        match (&mut self.old, opened) {
            (Some((old, _)), Err(Refusal::Unauthenticated)) => old.open(packet, rtcp),
            (_, opened) => opened,
        }
    }

    /// Protects RTCP of ours.
    pub fn protect_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.outbound.encrypt_rtcp(packet).ok().map(|bytes| bytes.to_vec())
    }
}

/// Protects a stream as a peer does; for tests and measurements.
#[derive(Debug)]
pub struct Sender(Secure);

impl Sender {
    /// With the sender's key.
    pub fn new(key: &Key) -> Option<Sender> {
        Secure::new(std::slice::from_ref(key), key).map(Sender)
    }

    /// Protects one RTP packet; with the identifier of the key, if it has one.
    pub fn protect(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = self.0.outbound.encrypt_rtp(packet).ok()?.to_vec();
        let tag = match self.0.ours.suite {
            Suite::AesGcm128 | Suite::AesGcm256 => 0,
            Suite::AesCm128Sha1Tag32 | Suite::AesCm256Sha1Tag32 => 4,
            _ => 10,
        };
        let at = bytes.len().checked_sub(tag)?;
        bytes.splice(at..at, self.0.ours.mki.iter().copied());
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [Suite; 6] = [
        Suite::AesCm128Sha1Tag80,
        Suite::AesCm128Sha1Tag32,
        Suite::AesCm256Sha1Tag80,
        Suite::AesCm256Sha1Tag32,
        Suite::AesGcm128,
        Suite::AesGcm256,
    ];

    fn key(suite: Suite, seed: u8) -> Key {
        let material: Vec<u8> = (0..suite.key_length() + suite.salt_length()).map(|n| n as u8 ^ seed).collect();
        Key::new(suite, &material).unwrap()
    }

    fn packet(ssrc: u32, sequence: u16) -> Vec<u8> {
        let mut bytes = vec![0x80, 0];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend((u32::from(sequence) * 160).to_be_bytes());
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend([0x55; 160]);
        bytes
    }

    fn pair(suite: Suite) -> (Sender, Secure) {
        (Sender::new(&key(suite, 1)).unwrap(), Secure::new(&[key(suite, 1)], &key(suite, 2)).unwrap())
    }

    #[test]
    fn every_suite_opens_what_it_protected_and_nothing_else() {
        for suite in SUITES {
            let (mut sender, mut secure) = pair(suite);
            let good = sender.protect(&packet(7, 1)).unwrap();
            assert_ne!(good[12..172], packet(7, 1)[12..]);
            for at in [1, 3, 8, 20, good.len() - 1] {
                let mut bad = good.clone();
                bad[at] ^= 1;
                assert_eq!(secure.open_rtp(Mono(0), &bad), Err(Refusal::Unauthenticated), "{suite:?} {at}");
            }
            assert_eq!(secure.open_rtp(Mono(0), &packet(7, 1)), Err(Refusal::Unauthenticated));
            assert_eq!(secure.open_rtp(Mono(0), &good).unwrap(), packet(7, 1));
            assert_eq!(secure.open_rtp(Mono(0), &good), Err(Refusal::Replayed));
            for length in 0..good.len() {
                assert!(secure.open_rtp(Mono(0), &good[..length]).is_err());
                assert!(secure.open_rtcp(Mono(0), &good[..length]).is_err());
            }
        }
    }

    #[test]
    fn the_window_takes_late_packets_once_and_the_counter_rolls_over() {
        let (mut sender, mut secure) = pair(Suite::AesCm128Sha1Tag80);
        let sent: Vec<Vec<u8>> =
            (0..140_000u32).map(|n| sender.protect(&packet(7, (65_000 + n) as u16)).unwrap()).collect();
        for (n, bytes) in sent.iter().enumerate().filter(|(n, _)| n % 100 != 50) {
            assert!(secure.open_rtp(Mono(0), bytes).is_ok(), "{n}");
            if n % 100 == 99 {
                assert!(secure.open_rtp(Mono(0), &sent[n - 49]).is_ok(), "late by 49");
                assert_eq!(secure.open_rtp(Mono(0), &sent[n - 49]), Err(Refusal::Replayed));
            }
        }
        assert!(secure.open_rtp(Mono(0), &sent[139_999 - 65_536]).is_err(), "the same number of an earlier round");
    }

    #[test]
    fn forged_sources_take_no_room_and_known_ones_keep_their_counters() {
        let (mut sender, mut secure) = pair(Suite::AesGcm128);
        let first: Vec<Vec<u8>> = (1..4).map(|n| sender.protect(&packet(7, n)).unwrap()).collect();
        assert!(secure.open_rtp(Mono(0), &first[0]).is_ok());
        for ssrc in 0..10_000 {
            let mut forged = packet(ssrc + 100, 5);
            forged.extend([0; 16]);
            assert_eq!(secure.open_rtp(Mono(0), &forged), Err(Refusal::Unauthenticated));
        }
        assert!(secure.open_rtp(Mono(0), &sender.protect(&packet(8, 9)).unwrap()).is_ok());
        assert_eq!(secure.open_rtp(Mono(0), &first[0]), Err(Refusal::Replayed));
        assert!(secure.open_rtp(Mono(0), &first[1]).is_ok());
        assert_eq!(secure.inbound.0[0].known.len(), 2);
    }

    #[test]
    fn new_keys_begin_anew_and_packets_under_the_old_ones_are_taken_for_a_moment() {
        let (mut sender, mut secure) = pair(Suite::AesCm128Sha1Tag80);
        let old: Vec<Vec<u8>> = (1..5).map(|n| sender.protect(&packet(7, n)).unwrap()).collect();
        assert!(secure.open_rtp(Mono(0), &old[0]).is_ok());
        secure.rekey(Mono(0), &[key(Suite::AesCm128Sha1Tag80, 1)], &key(Suite::AesCm128Sha1Tag80, 2));
        assert_eq!(secure.open_rtp(Mono(0), &old[0]), Err(Refusal::Replayed), "the same key keeps its counters");
        let new = key(Suite::AesGcm256, 9);
        secure.rekey(Mono(0), std::slice::from_ref(&new), &key(Suite::AesGcm256, 2));
        assert!(secure.open_rtp(Mono(0), &old[1]).is_ok());
        assert_eq!(secure.open_rtp(Mono(0), &old[1]), Err(Refusal::Replayed));
        assert!(secure.open_rtp(Mono(0), &Sender::new(&new).unwrap().protect(&packet(7, 1)).unwrap()).is_ok());
        assert_eq!(secure.open_rtp(Mono(3_000_000_000), &old[2]), Err(Refusal::Unauthenticated));
    }

    #[test]
    fn identifiers_choose_the_key_and_a_spent_key_is_refused() {
        for suite in SUITES {
            let named = |seed: u8| Key { mki: vec![0, seed], lifetime: Some(2), ..key(suite, seed) };
            let mut secure = Secure::new(&[named(1), named(2)], &key(suite, 3)).unwrap();
            let mut second = Sender::new(&named(2)).unwrap();
            for (sequence, taken) in [(1, true), (2, true), (3, false)] {
                let bytes = second.protect(&packet(7, sequence)).unwrap();
                let opened = secure.open_rtp(Mono(0), &bytes);
                assert_eq!(opened, if taken { Ok(packet(7, sequence)) } else { Err(Refusal::Expired) }, "{suite:?}");
            }
            assert!(secure.open_rtp(Mono(0), &Sender::new(&named(1)).unwrap().protect(&packet(7, 9)).unwrap()).is_ok());
        }
    }

    #[test]
    fn rtcp_is_protected_both_ways() {
        for suite in SUITES {
            let mut ours = Secure::new(&[key(suite, 1)], &key(suite, 2)).unwrap();
            let mut peer = Secure::new(&[key(suite, 2)], &key(suite, 1)).unwrap();
            let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
            let bytes = ours.protect_rtcp(&report).unwrap();
            assert_eq!(peer.open_rtcp(Mono(0), &bytes).unwrap(), report);
            assert_eq!(peer.open_rtcp(Mono(0), &bytes), Err(Refusal::Replayed));
            for at in 0..bytes.len() {
                let mut bad = ours.protect_rtcp(&report).unwrap();
                bad[at] ^= 0x80;
                assert!(peer.open_rtcp(Mono(0), &bad).is_err(), "{suite:?}: byte {at}");
            }
        }
    }
}

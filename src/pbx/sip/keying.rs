//! How the sound of a media line is protected: not at all, by keys in the description (SDES), or by DTLS (RFC 5763).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::sdes::{Crypto, Key, Suite};
use super::sdp::Line;

/// `media_encryption` of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Encrypted lines are refused.
    Off,
    /// As the peer offers.
    #[default]
    Optional,
    /// Lines that are not encrypted are refused.
    Required,
}

/// Hash functions of certificate fingerprints (RFC 8122 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, for old peers only.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    const ALL: [(Hash, &'static str, usize); 4] = [
        (Hash::Sha1, "sha-1", 20),
        (Hash::Sha256, "sha-256", 32),
        (Hash::Sha384, "sha-384", 48),
        (Hash::Sha512, "sha-512", 64),
    ];
}

/// The digest of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of what.
    pub hash: Hash,
    /// The digest.
    pub digest: Vec<u8>,
}

impl Fingerprint {
    /// Reads the value of an `a=fingerprint` attribute; `None` for what is malformed or of another hash.
    pub fn parse(value: &str) -> Option<Fingerprint> {
        let (name, text) = value.trim().split_once(' ')?;
        let (hash, _, length) = Hash::ALL.into_iter().find(|(_, own, _)| own.eq_ignore_ascii_case(name))?;
        let byte = |pair: &str| u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2);
        let digest: Vec<u8> = text.trim().split(':').map(byte).collect::<Option<_>>()?;
        (digest.len() == length).then_some(Fingerprint { hash, digest })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Hash::ALL.iter().find(|(hash, ..)| *hash == self.hash).map_or("", |(_, name, _)| name);
        let digest: Vec<String> = self.digest.iter().map(|byte| format!("{byte:02X}")).collect();
        write!(f, "{name} {}", digest.join(":"))
    }
}

/// Who begins the handshake (RFC 4145, RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The writer begins.
    Active,
    /// The other begins.
    Passive,
    /// Either.
    Actpass,
    /// Not now.
    Holdconn,
}

impl Setup {
    /// Reads the value of an `a=setup` attribute.
    pub fn parse(value: &str) -> Option<Setup> {
        match value.trim().to_ascii_lowercase().as_str() {
            "active" => Some(Setup::Active),
            "passive" => Some(Setup::Passive),
            "actpass" => Some(Setup::Actpass),
            "holdconn" => Some(Setup::Holdconn),
            _ => None,
        }
    }
}

/// What both sides agreed on for one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keying {
    /// RTP as it is.
    #[default]
    Plain,
    /// SRTP with keys from the descriptions.
    Sdes {
        /// What the peer protects its packets with.
        theirs: Vec<Key>,
        /// What we protect ours with.
        ours: Key,
    },
    /// SRTP with keys from a DTLS handshake on the media path.
    Dtls {
        /// The peer's certificate is one of these.
        fingerprints: Vec<Fingerprint>,
        /// We begin the handshake.
        active: bool,
        /// The peer's name of the association; another one asks for a new handshake (RFC 8842 §5).
        session: Option<String>,
    },
    /// Ours is offered, the peer's is not known yet: nothing can be heard.
    Offered,
}

impl Keying {
    /// Whether sound is encrypted.
    pub fn is_secure(&self) -> bool {
        *self != Keying::Plain
    }
}

/// The way of a stream's packets: where they come from and how they are protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Where the peer receives, and so sends from (behind a NAT: the address that its messages come from). `None`: not known yet.
    pub source: Option<SocketAddr>,
    /// Where our RTCP goes.
    pub rtcp: Option<SocketAddr>,
    /// RTCP shares the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// Protection.
    pub keying: Keying,
}

/// Where packets come from by what the peer wrote. An address of a private network from a peer whose messages come from elsewhere is one
/// behind a NAT, and a host name is not looked up: both come from where the messages come from.
pub(in crate::pbx) fn source(target: &(String, u16), peer: IpAddr) -> Option<SocketAddr> {
    let (host, port) = target;
    let peer = peer.to_canonical();
    let address = match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => return None,
        Ok(ip) if is_private(ip) && !is_private(peer) => peer,
        Ok(ip) => ip,
        Err(_) => peer,
    };
    (*port != 0).then(|| SocketAddr::new(address, *port))
}

/// RFC 1918, RFC 6598, link-local, loopback, ULA.
pub(in crate::pbx) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.segments()[0] & 0xfe00 == 0xfc00 || v6.segments()[0] & 0xffc0 == 0xfe80
        }
    }
}

/// What an answer needs to say of the keying, and what the media stage needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Secured {
    pub(super) keying: Keying,
    /// The transport of our line, for an offer of ours.
    pub(super) proto: Option<&'static str>,
    /// Attributes of our line.
    pub(super) attributes: Vec<(&'static str, String)>,
    /// Digest of what in the peer's line it was made of: the same again changes nothing.
    basis: [u8; 32],
    /// Keys that we offered, by their tags.
    offered: Vec<(u32, Key)>,
}

/// What we accept and what we answer with; of one call.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) encryption: Encryption,
    /// `RTP/AVP` with `a=crypto` is encrypted.
    pub(super) best_effort: bool,
    /// SHA-1 fingerprints are taken.
    pub(super) sha1: bool,
    /// Our certificate's; `None`: DTLS cannot be done.
    pub(super) fingerprint: Option<Fingerprint>,
    /// Codecs that are preferred, best first; else the peer's order.
    pub(super) codecs: Vec<super::settings::Preferred>,
    /// Where the messages come from.
    pub(super) peer: IpAddr,
    /// Makes our keys unguessable and different from any other's.
    pub(super) secret: [u8; 32],
    /// Keys made so far.
    pub(super) made: u64,
}

impl Terms {
    /// A key that nobody else has.
    fn fresh(&mut self, suite: Suite) -> Key {
        let length = suite.key_length() + suite.salt_length();
        let mut material = Vec::with_capacity(64);
        for half in [b"a", b"b"] {
            let block = Sha256::new().chain_update(b"srtp").chain_update(self.secret);
            material.extend(block.chain_update(self.made.to_be_bytes()).chain_update(half).finalize());
        }
        self.made += 1;
        material.truncate(length);
        let (key, salt) = material.split_at(suite.key_length());
        Key { suite, key: key.to_vec(), salt: salt.to_vec(), lifetime: None, mki: Vec::new() }
    }

    /// The keying of an offered line; `None` when it cannot be taken.
    pub(super) fn answer(&mut self, line: &Line, before: Option<&Secured>) -> Option<Secured> {
        let basis = line.security.basis();
        if let Some(before) = before.filter(|before| before.keying.is_secure() && before.basis == basis) {
            return Some(before.clone());
        }
        let encrypted = match self.encryption {
            Encryption::Off => None,
            _ => self.answer_dtls(line, basis).or_else(|| self.answer_sdes(line, basis)),
        };
        let plain = line.security.is_plain() && self.encryption != Encryption::Required;
        let downgrade = before.is_some_and(|before| before.keying.is_secure());
        encrypted.or_else(|| (plain && !downgrade).then(Secured::default))
    }

    fn answer_sdes(&mut self, line: &Line, basis: [u8; 32]) -> Option<Secured> {
        if line.security.is_plain() && !self.best_effort {
            return None;
        }
        let crypto = line.security.crypto.first()?;
        let ours = self.fresh(crypto.keys.first()?.suite);
        let attributes = vec![("crypto", Crypto::print(crypto.tag, &ours))];
        let keying = Keying::Sdes { theirs: crypto.keys.clone(), ours };
        let proto = Some(if line.security.is_plain() { "RTP/AVP" } else { "RTP/SAVP" });
        Some(Secured { keying, proto, attributes, basis, offered: Vec::new() })
    }

    fn answer_dtls(&mut self, line: &Line, basis: [u8; 32]) -> Option<Secured> {
        let own = self.fingerprint.as_ref()?;
        let fingerprints = self.usable(line)?;
        // Passive where we may choose: the peer's packets reach us in any case (that is what a call to us is), through its NAT and
        // firewall, while ours may not reach the address that it wrote.
        let active = match line.security.setup {
            Some(Setup::Passive) => true,
            Some(Setup::Active | Setup::Actpass) | None => false,
            Some(Setup::Holdconn) => return None,
        };
        let setup = if active { "active" } else { "passive" };
        let attributes = vec![("fingerprint", own.to_string()), ("setup", setup.into())];
        let keying = Keying::Dtls { fingerprints, active, session: line.security.tls_id.clone() };
        Some(Secured { keying, proto: Some("UDP/TLS/RTP/SAVP"), attributes, basis, offered: Vec::new() })
    }

    /// The fingerprints that may be trusted; the strong ones where there are any.
    fn usable(&self, line: &Line) -> Option<Vec<Fingerprint>> {
        if !line.security.is_dtls() {
            return None;
        }
        let (weak, strong): (Vec<_>, Vec<_>) =
            line.security.fingerprints.iter().cloned().partition(|print| print.hash == Hash::Sha1);
        let taken = if strong.is_empty() && self.sha1 { weak } else { strong };
        (!taken.is_empty()).then_some(taken)
    }

    /// What we offer to a peer that asked without an offer: plain RTP, or SDES where plain is refused.
    pub(super) fn offer(&mut self) -> Secured {
        if self.encryption != Encryption::Required {
            return Secured::default();
        }
        let suites = [Suite::AesGcm256, Suite::AesCm128Sha1Tag80, Suite::AesCm128Sha1Tag32];
        let offered: Vec<(u32, Key)> = (1..).zip(suites.map(|suite| self.fresh(suite))).collect();
        let attributes = offered.iter().map(|(tag, key)| ("crypto", Crypto::print(*tag, key))).collect();
        Secured { keying: Keying::Offered, proto: Some("RTP/SAVP"), attributes, basis: [0; 32], offered }
    }

    /// The peer's answer to what we offered or agreed on before; `None` when it cannot be taken.
    pub(super) fn answered(&mut self, line: &Line, before: &Secured) -> Option<Secured> {
        let basis = line.security.basis();
        match &before.keying {
            Keying::Plain => (line.security.is_plain()).then(|| before.clone()),
            Keying::Offered | Keying::Sdes { .. } if !before.offered.is_empty() => {
                let crypto = line.security.crypto.first().filter(|_| !line.security.is_plain())?;
                let (_, ours) = before.offered.iter().find(|(tag, _)| *tag == crypto.tag)?;
                if crypto.keys.iter().any(|key| key.suite != ours.suite) {
                    return None;
                }
                let keying = Keying::Sdes { theirs: crypto.keys.clone(), ours: ours.clone() };
                Some(Secured { keying, basis, ..before.clone() })
            }
            Keying::Offered => None,
            // Our offer repeated what was agreed: the peer may answer with other keys of the same kind.
            Keying::Sdes { ours, .. } => {
                let crypto = line.security.crypto.first()?;
                let same = crypto.keys.iter().all(|key| key.suite == ours.suite);
                let keying = Keying::Sdes { theirs: crypto.keys.clone(), ours: ours.clone() };
                same.then(|| Secured { keying, basis, ..before.clone() })
            }
            Keying::Dtls { active, .. } => {
                let session = line.security.tls_id.clone();
                let keying = Keying::Dtls { fingerprints: self.usable(line)?, active: *active, session };
                Some(Secured { keying, basis, ..before.clone() })
            }
        }
    }
}

/// What a line says of its protection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Its transport.
    pub(super) profile: Profile,
    /// The `a=crypto` lines that can be used, in the peer's order.
    pub(super) crypto: Vec<Crypto>,
    /// Certificates of the peer.
    pub(super) fingerprints: Vec<Fingerprint>,
    /// Who begins.
    pub(super) setup: Option<Setup>,
    /// Another one asks for a new handshake (RFC 8842 §5.1).
    pub(super) tls_id: Option<String>,
}

/// The transport of a media line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Profile {
    /// RTP (RFC 3551, RFC 4585).
    Avp,
    /// SRTP (RFC 3711, RFC 5124).
    Savp,
    /// SRTP keyed by DTLS (RFC 5764).
    Dtls,
    /// Something else.
    #[default]
    Other,
}

impl Profile {
    pub(super) fn of(proto: &str) -> Profile {
        match proto {
            "RTP/AVP" | "RTP/AVPF" => Profile::Avp,
            "RTP/SAVP" | "RTP/SAVPF" => Profile::Savp,
            "UDP/TLS/RTP/SAVP" | "UDP/TLS/RTP/SAVPF" => Profile::Dtls,
            _ => Profile::Other,
        }
    }
}

impl Security {
    /// Whether RTP may come as it is.
    pub(in crate::pbx) fn is_plain(&self) -> bool {
        self.profile == Profile::Avp
    }

    /// Whether keys or fingerprints stand beside the line.
    pub(in crate::pbx) fn has_keys(&self) -> bool {
        !self.crypto.is_empty() || !self.fingerprints.is_empty()
    }

    /// DTLS, also as older peers write it: SAVP with a fingerprint and without keys.
    fn is_dtls(&self) -> bool {
        self.profile == Profile::Dtls || (self.profile == Profile::Savp && self.crypto.is_empty())
    }

    /// A digest of what decides the keys, for comparison.
    fn basis(&self) -> [u8; 32] {
        let mut digest = Sha256::new().chain_update(format!("{:?}", (self.profile, &self.tls_id)));
        for key in self.crypto.iter().take(1).flat_map(|crypto| &crypto.keys) {
            for part in [key.suite.name().as_bytes(), &key.key, &key.salt, &key.mki] {
                digest.update(part);
            }
            digest.update([key.mki.len() as u8]);
        }
        digest.update(self.crypto.first().map_or(0, |crypto| crypto.tag).to_be_bytes());
        for print in &self.fingerprints {
            digest.update(print.to_string());
        }
        digest.finalize().into()
    }
}

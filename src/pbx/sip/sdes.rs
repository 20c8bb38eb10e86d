//! Keys in session descriptions: `a=crypto` read and written (RFC 4568, suites of RFC 6188 and RFC 7714).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// More key parameters on one line make it unusable.
const KEYS_MAX: usize = 8;
/// Longest master key identifier in bytes (RFC 4568 §6.1).
const MKI_MAX: u8 = 128;

/// What protects SRTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES_CM_128_HMAC_SHA1_80 (RFC 4568).
    AesCm128Sha1Tag80,
    /// AES_CM_128_HMAC_SHA1_32 (RFC 4568).
    AesCm128Sha1Tag32,
    /// AES_256_CM_HMAC_SHA1_80 (RFC 6188).
    AesCm256Sha1Tag80,
    /// AES_256_CM_HMAC_SHA1_32 (RFC 6188).
    AesCm256Sha1Tag32,
    /// AEAD_AES_128_GCM (RFC 7714).
    AesGcm128,
    /// AEAD_AES_256_GCM (RFC 7714).
    AesGcm256,
}

impl Suite {
    const ALL: [(Suite, &'static str); 6] = [
        (Suite::AesCm128Sha1Tag80, "AES_CM_128_HMAC_SHA1_80"),
        (Suite::AesCm128Sha1Tag32, "AES_CM_128_HMAC_SHA1_32"),
        (Suite::AesCm256Sha1Tag80, "AES_256_CM_HMAC_SHA1_80"),
        (Suite::AesCm256Sha1Tag32, "AES_256_CM_HMAC_SHA1_32"),
        (Suite::AesGcm128, "AEAD_AES_128_GCM"),
        (Suite::AesGcm256, "AEAD_AES_256_GCM"),
    ];

    /// By its name in `a=crypto`.
    pub fn of_name(name: &str) -> Option<Suite> {
        Suite::ALL.iter().find(|(_, own)| own.eq_ignore_ascii_case(name)).map(|(suite, _)| *suite)
    }

    /// Its name in `a=crypto`.
    pub fn name(self) -> &'static str {
        Suite::ALL.iter().find(|(suite, _)| *suite == self).map_or("", |(_, name)| name)
    }

    /// Length of the master key in bytes.
    pub fn key_length(self) -> usize {
        match self {
            Suite::AesCm128Sha1Tag80 | Suite::AesCm128Sha1Tag32 | Suite::AesGcm128 => 16,
            Suite::AesCm256Sha1Tag80 | Suite::AesCm256Sha1Tag32 | Suite::AesGcm256 => 32,
        }
    }

    /// Length of the master salt in bytes.
    pub fn salt_length(self) -> usize {
        match self {
            Suite::AesGcm128 | Suite::AesGcm256 => 12,
            _ => 14,
        }
    }
}

/// A master key with its salt. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// What it is for.
    pub suite: Suite,
    /// [`Suite::key_length`] bytes.
    pub key: Vec<u8>,
    /// [`Suite::salt_length`] bytes.
    pub salt: Vec<u8>,
    /// Packets that it may protect; `None`: as many as the suite allows.
    pub lifetime: Option<u64>,
    /// Its identifier, as every packet carries it (RFC 3711 §3.1); empty: packets carry none.
    pub mki: Vec<u8>,
}

impl Key {
    /// From key and salt one after the other; `None` when the length is wrong.
    pub fn new(suite: Suite, material: &[u8]) -> Option<Key> {
        let (key, salt) = material.split_at_checked(suite.key_length())?;
        (salt.len() == suite.salt_length()).then(|| Key {
            suite,
            key: key.to_vec(),
            salt: salt.to_vec(),
            lifetime: None,
            mki: Vec::new(),
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.suite.name())
    }
}

/// One `a=crypto` line that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Its number in the description; the answer repeats it (RFC 4568 §5.1.2).
    pub tag: u32,
    /// One key, or several that are told apart by their identifiers.
    pub keys: Vec<Key>,
}

impl Crypto {
    /// Reads the value of an `a=crypto` attribute. `None` when it is malformed, of another suite, or weakens the protection
    /// (UNENCRYPTED_SRTP, UNENCRYPTED_SRTCP, UNAUTHENTICATED_SRTP, an unknown mandatory parameter).
    pub fn parse(value: &str) -> Option<Crypto> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().filter(|tag| tag.len() <= 9)?.parse().ok()?;
        let suite = Suite::of_name(words.next()?)?;
        let keys: Vec<Key> = words.next()?.split(';').map(|key| read_key(suite, key)).collect::<Option<_>>()?;
        // Several keys need identifiers of one length, all different (RFC 4568 §6.1).
        let differ = |(at, key): (usize, &Key)| keys.iter().skip(at + 1).all(|other| other.mki != key.mki);
        let alike = keys.first().is_some_and(|first| keys.iter().all(|key| key.mki.len() == first.mki.len()));
        let told_apart = alike && keys.iter().enumerate().all(differ);
        (keys.len() <= KEYS_MAX && told_apart && words.all(is_harmless)).then_some(Crypto { tag, keys })
    }

    /// The value of the attribute: one key, without lifetime and identifier.
    pub fn print(tag: u32, key: &Key) -> String {
        format!("{tag} {} inline:{}", key.suite.name(), STANDARD.encode([key.key.as_slice(), &key.salt].concat()))
    }
}

/// `inline:` key and salt, then lifetime and identifier, each optional (RFC 4568 §6.1).
fn read_key(suite: Suite, parameter: &str) -> Option<Key> {
    let (method, info) = parameter.split_once(':')?;
    let mut parts = info.split('|');
    let material = STANDARD.decode(parts.next()?).ok().filter(|_| method.eq_ignore_ascii_case("inline"))?;
    let mut key = Key::new(suite, &material)?;
    for part in parts {
        match part.split_once(':') {
            Some((value, length)) if key.mki.is_empty() => key.mki = read_mki(value, length)?,
            None if key.lifetime.is_none() && key.mki.is_empty() => key.lifetime = Some(read_lifetime(part)?),
            _ => return None,
        }
    }
    Some(key)
}

/// `2^31` or a number of packets, at most 2^48 (RFC 3711 §9.2).
fn read_lifetime(text: &str) -> Option<u64> {
    let packets = match text.strip_prefix("2^") {
        Some(power) => 1u64.checked_shl(power.parse().ok()?)?,
        None => text.parse().ok()?,
    };
    (1..=1 << 48).contains(&packets).then_some(packets)
}

/// A decimal number, written in packets as `length` bytes.
fn read_mki(value: &str, length: &str) -> Option<Vec<u8>> {
    let length = length.parse::<u8>().ok().filter(|length| (1..=MKI_MAX).contains(length))?;
    let number = value.parse::<u128>().ok()?.to_be_bytes();
    let length = usize::from(length);
    let (head, tail) = number.split_at(number.len().saturating_sub(length));
    let fits = head.iter().all(|byte| *byte == 0);
    fits.then(|| [vec![0; length - tail.len()], tail.to_vec()].concat())
}

/// Session parameters that may be passed over (RFC 4568 §6.3): the window size hint, and what is marked optional by `-`.
fn is_harmless(parameter: &str) -> bool {
    parameter.starts_with("WSH=") || parameter.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const INLINE: &str = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    fn parse(rest: &str) -> Option<Crypto> {
        Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 {rest}"))
    }

    #[test]
    fn the_example_of_the_rfc() {
        let crypto = parse(&format!("{INLINE}|2^20|1:32")).unwrap();
        let key = &crypto.keys[0];
        assert_eq!((crypto.tag, key.suite), (1, Suite::AesCm128Sha1Tag80));
        assert_eq!((key.key.as_slice(), key.salt.as_slice()), (&b"wDfvg&T+)xG7@fb5"[..], &b"jU,RaA}\\|p0%*#"[..]));
        assert_eq!((key.lifetime, key.mki.len(), key.mki[31]), (Some(1 << 20), 32, 1));
        let two = format!("{INLINE}|2^20|1:4;{INLINE}|2^20|2:4");
        assert_eq!(parse(&two).unwrap().keys.iter().map(|key| key.mki[3]).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn what_weakens_or_does_not_parse_is_refused() {
        for rest in [
            format!("{INLINE} UNENCRYPTED_SRTP"),
            format!("{INLINE} UNENCRYPTED_SRTCP"),
            format!("{INLINE} UNAUTHENTICATED_SRTP"),
            format!("{INLINE} KDR=1"),
            format!("{INLINE} WSH=128 NEW_THING"),
            format!("{INLINE};{INLINE}"),
            format!("{INLINE}|1:4;{INLINE}|1:4"),
            format!("{INLINE}|2^49"),
            format!("{INLINE}|0"),
            format!("{INLINE}|1:0"),
            format!("{INLINE}|300:1"),
            format!("{INLINE}|1:4|2^20"),
            "inline:d0Rm".into(),
            "uri:https://192.0.2.1/key".into(),
            String::new(),
        ] {
            assert_eq!(parse(&rest), None, "{rest}");
        }
        assert!(parse(&format!("{INLINE} WSH=64 -NEW_THING")).is_some());
        assert_eq!(Crypto::parse(&format!("1 F8_128_HMAC_SHA1_80 {INLINE}")), None);
        assert_eq!(Crypto::parse(&format!("-1 AES_CM_128_HMAC_SHA1_80 {INLINE}")), None);
    }

    #[test]
    fn every_suite_is_written_as_it_is_read_and_no_key_is_printed() {
        for (suite, name) in Suite::ALL {
            let material = vec![0x5a; suite.key_length() + suite.salt_length()];
            let key = Key::new(suite, &material).unwrap();
            let text = Crypto::print(7, &key);
            assert!(text.starts_with(&format!("7 {name} inline:")));
            assert_eq!(Crypto::parse(&text), Some(Crypto { tag: 7, keys: vec![key.clone()] }));
            assert_eq!(format!("{key:?}"), format!("Key({name})"));
        }
    }
}

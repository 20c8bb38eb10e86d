//! Keys of signed webhooks (Standard Webhooks 1.0.0): HMAC-SHA256 (`whsec_`, signatures `v1,`), and Ed25519 (`whsk_` signs, `whpk_` verifies, `v1a,`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::Sha256;

/// What a secret is expected to be, for error messages.
pub(super) const EXPECTED: &str =
    "`whsec_` and the base64 of 24 to 64 bytes, or `whsk_` and the base64 of the 64 bytes of an Ed25519 key pair";

/// A key that signs.
pub(super) enum Key {
    Hmac(Vec<u8>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl Key {
    /// Reads a secret; an error says what is wrong with it, never what it is.
    pub(super) fn parse(secret: &str) -> Result<Key, &'static str> {
        let secret = secret.trim();
        match secret.strip_prefix("whsk_") {
            Some(encoded) => ed25519(encoded).map(|pair| Key::Ed25519(Box::new(pair))),
            None => hmac(secret).map(Key::Hmac),
        }
    }

    /// The signature of `{id}.{timestamp}.{body}`, as it stands in `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        match self {
            Key::Hmac(key) => format!("v1,{}", STANDARD.encode(hmac_of(key, id, timestamp, body))),
            Key::Ed25519(pair) => {
                format!("v1a,{}", STANDARD.encode(pair.sign(&content(id, timestamp, body))))
            }
        }
    }
}

/// A key that verifies: the same HMAC key, or the public half of a pair.
pub(super) enum Verifier {
    Hmac(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Verifier {
    /// Reads `whsec_…` or `whpk_…`.
    pub(super) fn parse(key: &str) -> Result<Verifier, &'static str> {
        let key = key.trim();
        let Some(encoded) = key.strip_prefix("whpk_") else { return hmac(key).map(Verifier::Hmac) };
        match STANDARD.decode(encoded) {
            Ok(public) if public.len() == 32 => Ok(Verifier::Ed25519(public)),
            Ok(_) => Err("the public key is not 32 bytes long"),
            Err(_) => Err("what follows whpk_ is not base64"),
        }
    }

    /// Whether one signature of the header is of this key.
    pub(super) fn fits(&self, signature: &str, id: &str, timestamp: &str, body: &[u8]) -> bool {
        let given = |prefix| STANDARD.decode(signature.strip_prefix(prefix)?).ok();
        match self {
            Verifier::Hmac(key) => given("v1,").is_some_and(|given| same(&given, &hmac_of(key, id, timestamp, body))),
            Verifier::Ed25519(public) => {
                let public = UnparsedPublicKey::new(&ED25519, public);
                given("v1a,").is_some_and(|given| public.verify(&content(id, timestamp, body), &given).is_ok())
            }
        }
    }
}

/// A secret for HMAC of these random bytes.
pub fn hmac_secret(random: &[u8; 32]) -> String {
    format!("whsec_{}", STANDARD.encode(random))
}

/// The secret and the public key of the Ed25519 pair with this random seed; `None` when it cannot be one.
pub fn ed25519_secret(seed: &[u8; 32]) -> Option<(String, String)> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    let public = pair.public_key().as_ref();
    let whole = [seed.as_slice(), public].concat();
    Some((format!("whsk_{}", STANDARD.encode(whole)), format!("whpk_{}", STANDARD.encode(public))))
}

/// The bytes behind `whsec_`.
fn hmac(secret: &str) -> Result<Vec<u8>, &'static str> {
    let encoded = secret.strip_prefix("whsec_").ok_or("it begins with neither whsec_ nor whsk_")?;
    let key = STANDARD.decode(encoded).map_err(|_| "what follows whsec_ is not base64")?;
    if (24..=64).contains(&key.len()) { Ok(key) } else { Err("its key is shorter than 24 or longer than 64 bytes") }
}

/// The pair behind `whsk_`: the seed and the public key that belongs to it.
fn ed25519(encoded: &str) -> Result<Ed25519KeyPair, &'static str> {
    let pair = STANDARD.decode(encoded).map_err(|_| "what follows whsk_ is not base64")?;
    let Some((seed, public)) = pair.split_at_checked(32).filter(|(_, public)| public.len() == 32) else {
        return Err("its key pair is not 64 bytes long");
    };
    Ed25519KeyPair::from_seed_and_public_key(seed, public)
        .map_err(|_| "its public half is not that of its private half")
}

/// HMAC-SHA256 of what is signed.
fn hmac_of(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// What is signed.
fn content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

/// Comparison whose time does not tell where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    /// The pair that Svix's server, where the scheme comes from, tests its own signatures with.
    const PRIVATE: &str =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

    #[test]
    fn the_specification_s_own_signatures() {
        // the `v1a` of the example in Standard Webhooks 1.0.0, "Webhook headers"
        let want = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        assert_eq!(Key::parse(PRIVATE).unwrap().sign(ID, TIME, BODY), want);
        assert!(Verifier::parse(PUBLIC).unwrap().fits(want, ID, TIME, BODY));
        let hmac = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(hmac.sign(ID, TIME, BODY), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_pair_from_a_seed_is_the_one_that_it_was() {
        let seed = STANDARD.decode("6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=").unwrap().try_into().unwrap();
        assert_eq!(ed25519_secret(&seed), Some((PRIVATE.into(), PUBLIC.into())));
        assert!(Key::parse(&hmac_secret(&seed)).is_ok());
    }

    #[test]
    fn halves_that_do_not_belong_together_and_wrong_lengths_are_refused() {
        let mut mixed = STANDARD.decode(&PRIVATE["whsk_".len()..]).unwrap();
        mixed[63] ^= 1;
        for (secret, word) in [
            (format!("whsk_{}", STANDARD.encode(&mixed)), "public half"),
            (format!("whsk_{}", STANDARD.encode(&mixed[..32])), "64 bytes"),
            ("whsk_!".into(), "base64"),
            (PUBLIC.to_string(), "neither"),
        ] {
            let problem = Key::parse(&secret).err().unwrap();
            assert!(problem.contains(word), "{problem}");
        }
        for key in [PRIVATE, "whpk_AAAA", "whpk_!"] {
            assert!(Verifier::parse(key).is_err(), "a receiver has no use for {}", &key[..5]);
        }
    }
}

//! Tokens of web calls: random, kept only as a digest, compared in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::pbx::{ExternalKey, KeyKind};

/// Longest token that is looked at, in bytes.
const TOKEN_MAX: usize = 128;

/// What is kept of a token: its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of a token as a client gave it.
    pub fn of(token: &[u8]) -> Digest {
        Digest(Sha256::digest(token).into())
    }

    /// Where it is looked up: a part of it, so that finding it takes as long whatever the rest is.
    pub(super) fn place(self) -> u64 {
        let mut place = [0; 8];
        place.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        u64::from_be_bytes(place)
    }

    /// Whether both are the same, in constant time.
    pub fn is(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The identifier by which a contact is found for a token: the SHA-256 of the token in lower-case hexadecimal. Who has the token can make
    /// it; who has it cannot make the token.
    pub fn key(&self) -> ExternalKey {
        let value = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        ExternalKey { kind: KeyKind::Token, value }
    }
}

/// The token of an `Authorization` header (RFC 6750 §2.1).
pub fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    let token = token.trim_ascii();
    let fits = scheme.eq_ignore_ascii_case(b"bearer ") && (1..=TOKEN_MAX).contains(&token.len());
    fits.then_some(token)
}

/// Makes tokens and names from one secret seed: nobody who has some can tell the others.
#[derive(Clone)]
pub struct Source {
    seed: [u8; 32],
    made: u64,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Source {
    /// From 256 random bits.
    pub fn new(seed: [u8; 32]) -> Source {
        Source { seed, made: 0 }
    }

    /// 256 bits that are not told before.
    pub fn draw(&mut self) -> [u8; 32] {
        self.made = self.made.wrapping_add(1);
        Sha256::new().chain_update(self.seed).chain_update(self.made.to_be_bytes()).finalize().into()
    }

    /// A token of 256 bits, in 43 characters that may stand in a header and a URL.
    pub fn token(&mut self) -> String {
        URL_SAFE_NO_PAD.encode(self.draw())
    }

    /// 128 bits as a UUID (version 8, RFC 9562 §5.8).
    pub fn uuid(&mut self) -> uuid::Uuid {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(self.draw()).for_each(|(to, from)| *to = from);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_256_bits_and_is_never_made_twice() {
        let mut source = Source::new([7; 32]);
        let made: std::collections::HashSet<String> = (0..1_000).map(|_| source.token()).collect();
        assert_eq!(made.len(), 1_000);
        assert!(made.iter().all(|token| token.len() == 43));
        assert_ne!(Source::new([8; 32]).token(), Source::new([7; 32]).token());
        assert!(!format!("{source:?}").contains('7'), "the seed is not printed");
    }

    #[test]
    fn the_key_of_a_token_is_its_sha256_in_hexadecimal() {
        let key = Digest::of(b"abc").key();
        assert_eq!(key.value, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(serde_json::to_value(key.kind).unwrap(), "token");
        assert!(Digest::of(b"abc").is(&Digest::of(b"abc")) && !Digest::of(b"abc").is(&Digest::of(b"abd")));
    }

    #[test]
    fn only_a_bearer_of_a_fair_length_is_taken() {
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Bearer "), None);
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(format!("Bearer {}", "a".repeat(129)).as_bytes()), None);
    }
}

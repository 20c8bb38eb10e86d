//! The receiver's side of a signed webhook: used by the demo, and by whoever writes a receiver in Rust.

use super::key::Verifier;
use crate::time::Wall;

/// How old or how far ahead a timestamp may be, in seconds (Standard Webhooks 1.0.0).
const TOLERANCE: i64 = 300;

/// Why a webhook was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The secret or public key is malformed.
    #[error("the receiver's secret is malformed; expected whsec_… or whpk_…")]
    Secret,
    /// The timestamp is missing, not a number, or too far from now.
    #[error("the timestamp is too old or too new: a replay, or a clock that is wrong")]
    Timestamp,
    /// No signature fits.
    #[error("no signature fits: the body was changed or the secret is another")]
    Signature,
}

/// Whether a webhook is from who has `key` and of now. `key` is the secret (`whsec_…`) or the sender's public key (`whpk_…`).
///
/// # Errors
/// Why not.
pub fn verify(key: &str, id: &str, timestamp: &str, signature: &str, body: &[u8], now: Wall) -> Result<(), Refusal> {
    let key = Verifier::parse(key).map_err(|_| Refusal::Secret)?;
    let sent: i64 = timestamp.parse().map_err(|_| Refusal::Timestamp)?;
    if (now.0 / 1_000_000).saturating_sub(sent).saturating_abs() > TOLERANCE {
        return Err(Refusal::Timestamp);
    }
    let fits = signature.split(' ').any(|one| key.fits(one, id, timestamp, body));
    if fits { Ok(()) } else { Err(Refusal::Signature) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crm::key;
    use crate::crm::settings::{Endpoint, Secret};
    use crate::crm::webhook::Webhook;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn whoever_has_the_public_key_believes_the_private_one_only() {
        let (private, public) = key::ed25519_secret(&[7; 32]).unwrap();
        let (_, another) = key::ed25519_secret(&[8; 32]).unwrap();
        let hook = Webhook::new(&Endpoint::default(), &[Secret(SECRET.into()), Secret(private.clone())]).unwrap();
        let now = Wall(1_795_420_800_000_000);
        let sent = hook.sign("id-1", "{}", now);
        let ask = |key: &str, body: &[u8]| verify(key, "id-1", &sent.timestamp, &sent.signature, body, now);
        assert_eq!((ask(&public, b"{}"), ask(SECRET, b"{}")), (Ok(()), Ok(())));
        assert_eq!(ask(&public, b"[]"), Err(Refusal::Signature));
        assert_eq!(ask(&another, b"{}"), Err(Refusal::Signature));
        assert_eq!(ask(&private, b"{}"), Err(Refusal::Secret), "a receiver has no use for it");
    }

    #[test]
    fn what_we_sign_is_believed_and_what_is_changed_is_not() {
        let old = Secret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into());
        let hook = Webhook::new(&Endpoint::default(), &[old, Secret(SECRET.into())]).unwrap();
        let now = Wall(1_795_420_800_000_000);
        let sent = hook.sign("id-1", "{}", now);
        let ask = |id: &str, body: &[u8], at: i64| {
            verify(SECRET, id, &sent.timestamp, &sent.signature, body, Wall(now.0 + at * 1_000_000))
        };
        assert_eq!(ask("id-1", b"{}", 10), Ok(()), "the second secret of a rotation");
        assert_eq!(ask("id-1", b"{ }", 10), Err(Refusal::Signature));
        assert_eq!(ask("id-2", b"{}", 10), Err(Refusal::Signature));
        assert_eq!(ask("id-1", b"{}", 301), Err(Refusal::Timestamp));
        assert_eq!(verify(SECRET, "id-1", "x", &sent.signature, b"{}", now), Err(Refusal::Timestamp));
    }
}

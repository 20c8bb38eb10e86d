//! The receiver's side of a signed webhook: used by the demo, and by whoever writes a receiver in Rust.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::webhook::{key_of, sign};
use crate::time::Wall;

/// How old or how far ahead a timestamp may be, in seconds (Standard Webhooks 1.0.0).
const TOLERANCE: i64 = 300;

/// Why a webhook was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The secret is malformed.
    #[error("the receiver's secret is malformed")]
    Secret,
    /// The timestamp is missing, not a number, or too far from now.
    #[error("the timestamp is too old or too new: a replay, or a clock that is wrong")]
    Timestamp,
    /// No signature fits.
    #[error("no signature fits: the body was changed or the secret is another")]
    Signature,
}

/// Whether a webhook is from who has `secret` and of now.
///
/// # Errors
/// Why not.
pub fn verify(secret: &str, id: &str, timestamp: &str, signature: &str, body: &[u8], now: Wall) -> Result<(), Refusal> {
    let key = key_of(secret).map_err(|_| Refusal::Secret)?;
    let sent: i64 = timestamp.parse().map_err(|_| Refusal::Timestamp)?;
    if (now.0 / 1_000_000).saturating_sub(sent).saturating_abs() > TOLERANCE {
        return Err(Refusal::Timestamp);
    }
    let want = sign(&key, id, timestamp, body);
    let fits = signature
        .split(' ')
        .filter_map(|one| one.strip_prefix("v1,"))
        .filter_map(|encoded| STANDARD.decode(encoded).ok())
        .any(|given| same(&given, &want));
    if fits { Ok(()) } else { Err(Refusal::Signature) }
}

/// Comparison whose time does not tell where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crm::settings::{Endpoint, Secret};
    use crate::crm::webhook::Webhook;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

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

//! A signed webhook: one body satisfies CloudEvents 1.0 and Standard Webhooks 1.0.0 (`{id}.{timestamp}.{body}`).

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::key::{EXPECTED, Key};
use super::settings::{Endpoint, Secret, Wants};
use super::{Connector, Declares, Exchange, Method, Outgoing, Pop, Request, Response, Step};
use crate::events::Data;
use crate::outbox::retry::Answer;
use crate::time::Wall;

/// Why an endpoint's secret cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// None is given.
    #[error(
        "[[endpoint]] id = \"{0}\": there is no secret; make a file with one by `kakehashi webhook key FILE`, and set secret_file to it"
    )]
    Missing(String),
    /// It is not of the form that the specification asks for.
    #[error("[[endpoint]] id = \"{endpoint}\", secret {number}: {problem}; expected {EXPECTED}")]
    Form {
        /// The endpoint.
        endpoint: String,
        /// Which of its secrets, from 1.
        number: usize,
        /// What is wrong (never the secret itself).
        problem: &'static str,
    },
}

/// Signs for one endpoint; cheap to clone.
#[derive(Clone)]
pub struct Webhook {
    keys: Arc<[Key]>,
    /// Above this an event goes by reference: zero for thin ones.
    max_body_bytes: usize,
    public_url: Arc<str>,
    wants: Wants,
}

/// What is sent for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `webhook-id`: the event's id.
    pub id: String,
    /// `webhook-timestamp`: seconds since 1970, of this attempt.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signature: String,
    /// `application/cloudevents+json`.
    pub body: String,
}

impl Webhook {
    /// A signer with the endpoint's secrets; all of them sign, so that a receiver may rotate.
    ///
    /// # Errors
    /// When there is no secret or one is malformed.
    pub fn new(endpoint: &Endpoint, secrets: &[Secret]) -> Result<Webhook, SecretError> {
        if secrets.is_empty() {
            return Err(SecretError::Missing(endpoint.id.clone()));
        }
        let mut keys = Vec::new();
        for (n, secret) in secrets.iter().enumerate() {
            let key = Key::parse(&secret.0).map_err(|problem| SecretError::Form {
                endpoint: endpoint.id.clone(),
                number: n + 1,
                problem,
            })?;
            keys.push(key);
        }
        Ok(Webhook {
            keys: keys.into(),
            max_body_bytes: endpoint.most_with_data(),
            public_url: endpoint.public_url.as_str().into(),
            wants: endpoint.wants(),
        })
    }

    /// The signed body for one attempt to deliver the event `id`.
    pub fn sign(&self, id: &str, body: &str, now: Wall) -> Signed {
        let large = body.len() > self.max_body_bytes;
        let body = if large { by_reference(&self.public_url, id, body) } else { body.to_string() };
        let timestamp = (now.0 / 1_000_000).to_string();
        let signatures: Vec<String> = self.keys.iter().map(|key| key.sign(id, &timestamp, body.as_bytes())).collect();
        Signed { id: id.into(), timestamp, signature: signatures.join(" "), body }
    }
}

impl Connector for Webhook {
    fn declares(&self) -> Declares {
        Declares {
            kind: "webhook",
            pop: Pop::Receiver,
            idempotency: "webhook-id",
            most_requests: 1,
            requests_per_day: None,
            day_begins: Duration::ZERO,
            at_once: None,
        }
    }

    fn takes(&self, data: &Data) -> bool {
        self.wants.takes(data)
    }

    fn deliver(&self, event: &Outgoing<'_>) -> Box<dyn Exchange<Answer>> {
        Box::new(Post { webhook: self.clone(), id: event.id.into(), body: event.body.into() })
    }
}

/// One signed request; its status is the answer.
struct Post {
    webhook: Webhook,
    id: String,
    body: String,
}

impl Exchange<Answer> for Post {
    fn next(&mut self, answer: Option<Response>, now: Wall) -> Step<Answer> {
        if let Some(Response { status, retry_after, .. }) = answer {
            return Step::End(Answer::of_status(status, retry_after.as_deref()));
        }
        let signed = self.webhook.sign(&self.id, &self.body, now);
        Step::Send(Request {
            method: Method::Post,
            path: String::new(),
            headers: vec![
                ("content-type", "application/cloudevents+json; charset=utf-8".into()),
                ("webhook-id", signed.id),
                ("webhook-timestamp", signed.timestamp),
                ("webhook-signature", signed.signature),
            ],
            body: signed.body.into_bytes(),
        })
    }
}

/// The envelope with `dataref` (CloudEvents extension) and `datahash` instead of the data: the SHA-256 of the value of `data`, byte for byte as it
/// stands in the event that is fetched.
pub(super) fn by_reference(base: &str, id: &str, body: &str) -> String {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let data = serde_json::from_str::<Whole<'_>>(body).map_or("", |whole| whole.data.get());
    let hash: String = Sha256::digest(data.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut envelope: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    if let Some(fields) = envelope.as_object_mut() {
        fields.remove("data");
        let place = if base.is_empty() { format!("urn:uuid:{id}") } else { format!("{base}/v1/events/{id}") };
        fields.insert("dataref".into(), place.into());
        fields.insert("datahash".into(), format!("sha256:{hash}").into());
    }
    envelope.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(secret: &str) -> Result<Webhook, SecretError> {
        Webhook::new(&Endpoint::default(), &[Secret(secret.into())])
    }

    #[test]
    fn every_secret_signs_whatever_its_kind() {
        let pair = super::super::key::ed25519_secret(&[7; 32]).unwrap().0;
        let both = [Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()), Secret(pair)];
        let signed = Webhook::new(&Endpoint::default(), &both).unwrap().sign("id-1", "{}", Wall(1_614_265_330_000_000));
        let kinds: Vec<&str> = signed.signature.split(' ').filter_map(|one| one.split(',').next()).collect();
        assert_eq!(kinds, ["v1", "v1a"]);
    }

    #[test]
    fn secrets_that_are_wrong_say_how_and_never_what() {
        for secret in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!", "whsec_c2hvcnQ="] {
            let error = endpoint(secret).err().unwrap().to_string();
            assert!(error.contains("expected `whsec_`") && !error.contains(secret), "{error}");
        }
        assert!(matches!(Webhook::new(&Endpoint::default(), &[]), Err(SecretError::Missing(_))));
    }

    fn sent(endpoint: Endpoint, body: &str) -> serde_json::Value {
        let secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let hook = Webhook::new(&endpoint, &[secret]).unwrap();
        serde_json::from_str(&hook.sign("7", body, Wall(0)).body).unwrap()
    }

    #[test]
    fn a_large_or_thin_event_goes_by_reference_and_hash_of_its_data() {
        let data = format!(r#"{{"text":"{}","b":1.50}}"#, "a".repeat(200));
        let body = format!(r#"{{"specversion":"1.0","id":"7","type":"t","data":{data}}}"#);
        let hash: String = Sha256::digest(data.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let public_url = "https://k.example.jp".to_string();
        let large = Endpoint { max_body_bytes: 100, public_url: public_url.clone(), ..Endpoint::default() };
        let thin = Endpoint { thin: true, public_url, ..Endpoint::default() };
        for endpoint in [large, thin] {
            let sent = sent(endpoint, &body);
            assert_eq!(sent["dataref"], "https://k.example.jp/v1/events/7");
            assert_eq!((&sent["type"], &sent["datahash"]), (&"t".into(), &format!("sha256:{hash}").into()));
            assert!(sent.get("data").is_none());
        }
        let nowhere = sent(Endpoint { max_body_bytes: 100, ..Endpoint::default() }, &body);
        assert_eq!(nowhere["dataref"], "urn:uuid:7", "where there is no API");
        assert!(sent(Endpoint::default(), &body).get("data").is_some());
    }
}

//! A signed webhook: one body satisfies CloudEvents 1.0 and Standard Webhooks 1.0.0 (`{id}.{timestamp}.{body}`).

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::key::{EXPECTED, Key};
use super::settings::{Endpoint, Secret};
use super::{Connector, Declares, Exchange, Method, Outgoing, Pop, Request, Response, Step};
use crate::events::{Class, Data};
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
    max_body_bytes: usize,
    realtime: bool,
    partials: bool,
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
            max_body_bytes: endpoint.max_body_bytes,
            realtime: endpoint.realtime,
            partials: endpoint.partials,
        })
    }

    /// The signed body for one attempt to deliver the event `id`.
    pub fn sign(&self, id: &str, body: &str, now: Wall) -> Signed {
        let body = if body.len() > self.max_body_bytes { by_reference(id, body) } else { body.to_string() };
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
        }
    }

    fn takes(&self, data: &Data) -> bool {
        match data {
            Data::TranscriptPartial(_) => self.realtime && self.partials,
            _ => data.class() == Class::Record || self.realtime,
        }
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

/// The envelope with `dataref` (CloudEvents extension) and the hash of the whole event instead of its data.
fn by_reference(id: &str, body: &str) -> String {
    let mut envelope: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let hash = Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if let Some(fields) = envelope.as_object_mut() {
        fields.remove("data");
        fields.insert("dataref".into(), format!("urn:uuid:{id}").into());
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

    #[test]
    fn a_large_event_goes_by_reference_and_hash() {
        let limits = Endpoint { max_body_bytes: 100, ..Endpoint::default() };
        let secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let hook = Webhook::new(&limits, &[secret]).unwrap();
        let body = format!(r#"{{"specversion":"1.0","id":"7","type":"t","data":{{"text":"{}"}}}}"#, "a".repeat(200));
        let sent: serde_json::Value = serde_json::from_str(&hook.sign("7", &body, Wall(0)).body).unwrap();
        assert_eq!((sent["type"].as_str(), sent["dataref"].as_str()), (Some("t"), Some("urn:uuid:7")));
        assert!(sent.get("data").is_none());
    }
}

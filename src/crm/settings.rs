//! `[[endpoint]]` and `[lookup]` of the configuration: receivers of events, who is calling.

use std::fmt;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{kintone, nats, odoo, relay, zammad};
use crate::events::{Class, Data};

/// One receiver of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// Name in the outbox and in logs.
    pub id: String,
    /// Where to `POST` to: http or https.
    pub url: String,
    /// Signing secrets, `whsec_…` (HMAC) or `whsk_…` (Ed25519); each signs, so several are for rotation. Better kept in a file: `secret_file`.
    pub secrets: Vec<Secret>,
    /// File with one secret a line, as `kakehashi webhook key` makes it; empty = none. It is read again when it changes, and on SIGHUP.
    pub secret_file: PathBuf,
    /// PEM file with the certificate authorities that the receiver's certificate may be of, instead of the system's; empty = the system's. Like the
    /// other files of a connection it is read again when it changes, and on SIGHUP.
    pub ca_file: PathBuf,
    /// PEM file with our certificate for a receiver that wants one (mutual TLS), the intermediate ones after it; empty = none.
    pub client_cert_file: PathBuf,
    /// PEM file with the private key of `client_cert_file`, without passphrase.
    pub client_key_file: PathBuf,
    /// HTTP proxy that leads to the receiver, `http://host:port`; empty = none, whatever the environment says.
    pub proxy: String,
    /// File with `user:password` of the proxy on its first line; empty = none.
    pub proxy_secret_file: PathBuf,
    /// Networks inside which the receiver, or the proxy in front of it, may be. A host name that leads to this machine or into a closed network is not
    /// followed unless that network stands here; an address in `url` itself, and `localhost`, are meant as they stand.
    pub networks: Vec<IpNet>,
    /// Time for one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// Deliveries in flight at once; 20 at most for kintone.
    pub concurrency: usize,
    /// Requests a day that the receiver allows, look-ups included; 0 = what its connector says, which is any number for webhooks. The day is Japan's
    /// (for kintone it begins at 09:00); a tenth of them is kept for pops and look-ups, the rest of a backlog waits for the next day.
    pub requests_per_day: u64,
    /// Send no event's data, only who may have it can fetch it: `dataref` and `datahash` stand in its place (docs/crm.md). Needs `[panel]`.
    pub thin: bool,
    /// Bodies above this size go as with `thin`, in bytes.
    pub max_body_bytes: usize,
    /// What `dataref` begins with: `[node] public_url`; empty where nothing can be fetched.
    #[serde(skip)]
    pub public_url: String,
    /// Realtime events (screen pops) too.
    pub realtime: bool,
    /// The text of running utterances too (`transcript.partial`), with `realtime`: up to two a second for each speaker.
    pub partials: bool,
    /// `[endpoint.odoo]`: it is an Odoo, not a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub odoo: Option<odoo::settings::Settings>,
    /// `[endpoint.kintone]`: it is a kintone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kintone: Option<kintone::settings::Settings>,
    /// `[endpoint.zammad]`: it is a Zammad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zammad: Option<zammad::Settings>,
    /// `[endpoint.relay]`: it is a relay in another network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<relay::Settings>,
    /// `[endpoint.nats]`: it is a NATS, with a stream of JetStream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats: Option<nats::Settings>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            id: "crm".into(),
            url: "http://127.0.0.1:9000/hook".into(),
            secrets: Vec::new(),
            secret_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            client_cert_file: PathBuf::new(),
            client_key_file: PathBuf::new(),
            proxy: String::new(),
            proxy_secret_file: PathBuf::new(),
            networks: Vec::new(),
            timeout_ms: 15_000,
            concurrency: 32,
            requests_per_day: 0,
            thin: false,
            max_body_bytes: 262_144,
            public_url: String::new(),
            realtime: true,
            partials: false,
            odoo: None,
            kintone: None,
            zammad: None,
            relay: None,
            nats: None,
        }
    }
}

impl Endpoint {
    /// The largest event that is sent with its data, in bytes.
    pub fn most_with_data(&self) -> usize {
        if self.thin { 0 } else { self.max_body_bytes }
    }

    /// Which events it gets, where its connector takes all of them.
    pub(super) fn wants(&self) -> Wants {
        Wants { realtime: self.realtime, partials: self.partials }
    }

    /// The files that its connections are made with; they may change while the bridge runs.
    pub fn connection_files(&self) -> impl Iterator<Item = &PathBuf> {
        let all = [&self.ca_file, &self.client_cert_file, &self.client_key_file, &self.proxy_secret_file];
        // a NATS is shown its secret when it is connected to
        let login = self.nats.as_ref().map(|_| &self.secret_file);
        all.into_iter().chain(login).filter(|path| !path.as_os_str().is_empty())
    }
}

/// Which events a receiver of all kinds of events gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wants {
    realtime: bool,
    partials: bool,
}

impl Wants {
    /// Record events always, realtime events and partials where they are wanted.
    pub(super) fn takes(self, data: &Data) -> bool {
        match data {
            Data::TranscriptPartial(_) => self.realtime && self.partials,
            _ => data.class() == Class::Record || self.realtime,
        }
    }
}

/// `[lookup]`: how long a CRM may take to say who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LookUp {
    /// Time after which the pop says that the caller could not be looked up, in milliseconds; what the CRM answers later revises it.
    pub budget_ms: u64,
    /// How long an answer is remembered, in milliseconds; 0 = not at all.
    pub keep_ms: u64,
}

impl Default for LookUp {
    fn default() -> Self {
        Self { budget_ms: 800, keep_ms: 60_000 }
    }
}

/// A signing secret; never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

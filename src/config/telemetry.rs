//! `[telemetry]` of the configuration: traces and metrics for an OpenTelemetry collector.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Where traces and metrics are sent by OTLP over HTTP. Without a `url` nothing of the kind leaves this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The collector, `http://host:4318` or https; `/v1/traces` and `/v1/metrics` are appended. Empty = nothing is sent.
    pub url: String,
    /// File with headers that the collector asks for, one `name: value` a line; empty = none.
    pub headers_file: PathBuf,
    /// PEM file with the certificate authorities that the collector's certificate may be of, instead of the system's; empty = the system's.
    pub ca_file: PathBuf,
    /// Networks inside which the collector may be, where `url` has a host name; as in `[[endpoint]] networks`.
    pub networks: Vec<IpNet>,
    /// Send a trace of each contact.
    pub traces: bool,
    /// Send the figures of `/metrics`.
    pub metrics: bool,
    /// Time between two reports of the figures, in seconds, 1 to 3600.
    pub metrics_every_s: u64,
    /// Time for one request, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: String::new(),
            headers_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            networks: Vec::new(),
            traces: true,
            metrics: true,
            metrics_every_s: 60,
            timeout_ms: 10_000,
        }
    }
}

impl Settings {
    /// Whether anything is sent.
    pub fn is_on(&self) -> bool {
        !self.url.is_empty() && (self.traces || self.metrics)
    }

    /// # Errors
    /// The key, what is wrong, and what is expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.is_on() && cfg!(not(feature = "telemetry")) {
            let problem = "this kakehashi was built without it; expected one that is built with the feature telemetry";
            return Err(("url", problem.into()));
        }
        if !(1..=3_600).contains(&self.metrics_every_s) {
            return Err(("metrics_every_s", format!("{}; expected 1 to 3600", self.metrics_every_s)));
        }
        if self.timeout_ms == 0 {
            return Err(("timeout_ms", "0; expected at least 1".into()));
        }
        Ok(())
    }
}

//! The configuration file of `kakehashi relay`: `config/relay.toml` is an example.

use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, Log, Node, name, unique};
use crate::crm::settings::Endpoint;
use crate::outbox::relay::settings::{Settings, Way};

/// The whole file. Every key has a default but those that name the other end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// `[node]`.
    pub node: Node,
    /// `[log]`.
    pub log: Log,
    /// `[relay]`.
    pub relay: Settings,
    /// `[outbox]`.
    pub outbox: crate::outbox::settings::Settings,
    /// `[[endpoint]]`: receivers of events.
    pub endpoint: Vec<Endpoint>,
    /// `[metrics]`.
    pub metrics: Metrics,
}

/// Where the relay tells how it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// `/metrics`, `/healthz` and `/readyz` are served.
    pub enabled: bool,
    /// Address; no secret and no personal data is told, and no proof asked for.
    pub listen: SocketAddr,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true, listen: SocketAddr::from(([127, 0, 0, 1], 9465)) }
    }
}

impl RelayConfig {
    /// Reads and checks the text of a file; `path` is only used in messages.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(path: &Path, text: &str) -> Result<(RelayConfig, Way), ConfigError> {
        let config: RelayConfig = Config::read(path, text)?;
        let refused = |(place, problem)| ConfigError::Value { path: path.into(), place, problem };
        let way = config.check().map_err(refused)?;
        Ok((config, way))
    }

    fn check(&self) -> Result<Way, (String, String)> {
        name("[node] id", &self.node.id)?;
        unique("[[endpoint]]", self.endpoint.iter().map(|endpoint| endpoint.id.as_str()))?;
        let way = self.relay.way().map_err(|(key, problem)| (format!("[relay] {key}"), problem))?;
        if let Some(thin) = self.endpoint.iter().find(|endpoint| endpoint.thin) {
            let problem =
                "a relay has no API to fetch events from; expected false, and max_body_bytes above what comes";
            return Err((format!("[[endpoint]] id = \"{}\": thin", thin.id), problem.into()));
        }
        if self.endpoint.is_empty() {
            let problem = "there is none; expected at least one receiver of what comes over the link";
            return Err(("[[endpoint]]".into(), problem.into()));
        }
        Ok(way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_names_its_key() {
        let read = |text: &str| RelayConfig::parse(Path::new("r.toml"), text).map_err(|error| error.to_string());
        let good = "[relay]\nlisten = \"127.0.0.1:7443\"\npeer = \"b\"\n[[endpoint]]\nid = \"crm\"\n";
        assert!(read(good).is_ok());
        for (text, words) in [
            (good.replace("listen", "lisen"), "line 2"),
            (good.replace("127.0.0.1:7443", "here"), "[relay] listen"),
            (good.replace("peer = \"b\"", ""), "[relay] peer"),
            (good.replace("[[endpoint]]\nid = \"crm\"", ""), "[[endpoint]]: there is none"),
            (format!("{good}thin = true\n"), "id = \"crm\": thin"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}

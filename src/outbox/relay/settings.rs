//! `[relay]` of a relay's configuration, and which end of a link opens it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of the far end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The bridge, `host:port`, where the relay opens the link; empty = the bridge does.
    pub connect: String,
    /// Address and port where the bridge opens it; empty = the relay opens it.
    pub listen: String,
    /// Name in the bridge's certificate (subjectAltName).
    pub peer: String,
    /// PEM file with the relay's certificate, the intermediate ones after it.
    pub certificate_file: PathBuf,
    /// PEM file with the private key of `certificate_file`, without passphrase.
    pub key_file: PathBuf,
    /// PEM file with the authorities that the bridge's certificate may be of.
    pub ca_file: PathBuf,
    /// The longest silence on the link, in seconds; after three of them without a word the other end counts as gone.
    pub keepalive_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect: String::new(),
            listen: String::new(),
            peer: String::new(),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            keepalive_s: 60,
        }
    }
}

impl Settings {
    /// How the link comes to be.
    ///
    /// # Errors
    /// The key that is wrong, and what is expected.
    pub fn way(&self) -> Result<Way, (&'static str, String)> {
        way(&self.connect, &self.listen, &self.peer, self.keepalive_s)
    }
}

/// How a link comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Who opens it.
    pub opens: Opens,
    /// Name in the other end's certificate.
    pub peer: String,
    /// The longest silence.
    pub keepalive: Duration,
}

/// Which end opens the TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opens {
    /// This one, to `host:port`.
    Own(String),
    /// The other one, to this address.
    Other(std::net::SocketAddr),
}

/// Reads `connect`, `listen`, `peer` and `keepalive_s`.
///
/// # Errors
/// The key that is wrong, and what is expected.
pub fn way(connect: &str, listen: &str, peer: &str, keepalive_s: u64) -> Result<Way, (&'static str, String)> {
    let opens = match (connect, listen) {
        ("", "") => {
            let problem = "neither is given; expected connect = \"host:port\" where this end opens the link, or listen = \
                           \"address:port\" where the other one does";
            return Err(("connect, listen", problem.into()));
        }
        (_, "") => {
            let parts = connect.rsplit_once(':');
            let whole = parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|n| n > 0));
            if !whole {
                return Err((
                    "connect",
                    format!("\"{connect}\" is no host:port; expected for example 192.0.2.10:7443"),
                ));
            }
            Opens::Own(connect.into())
        }
        ("", _) => {
            let wrong =
                |_| ("listen", format!("\"{listen}\" is no address:port; expected for example 192.0.2.20:7443"));
            Opens::Other(listen.parse().map_err(wrong)?)
        }
        _ => {
            return Err((
                "connect, listen",
                "both are given; expected one of them: only one end opens the link".into(),
            ));
        }
    };
    if peer.is_empty() {
        let problem = "empty; expected the name in the other end's certificate, for example relay.example.lg.jp";
        return Err(("peer", problem.into()));
    }
    if !(1..=3_600).contains(&keepalive_s) {
        return Err(("keepalive_s", format!("{keepalive_s}; expected 1 to 3600")));
    }
    Ok(Way { opens, peer: peer.into(), keepalive: Duration::from_secs(keepalive_s) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_opens_the_link_and_the_other_is_named() {
        assert!(matches!(way("a:1", "", "p", 60).unwrap().opens, Opens::Own(to) if to == "a:1"));
        assert!(matches!(way("", "127.0.0.1:0", "p", 60).unwrap().opens, Opens::Other(_)));
        for (connect, listen, peer, keepalive, key) in [
            ("", "", "p", 60, "connect, listen"),
            ("a:1", "127.0.0.1:1", "p", 60, "connect, listen"),
            ("a", "", "p", 60, "connect"),
            (":1", "", "p", 60, "connect"),
            ("a:0", "", "p", 60, "connect"),
            ("", "localhost:1", "p", 60, "listen"),
            ("a:1", "", "", 60, "peer"),
            ("a:1", "", "p", 0, "keepalive_s"),
        ] {
            assert_eq!(way(connect, listen, peer, keepalive).unwrap_err().0, key);
        }
    }
}

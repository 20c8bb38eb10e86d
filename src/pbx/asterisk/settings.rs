//! Settings of one Asterisk (`[pbx.ari]`).

use serde::{Deserialize, Serialize};

/// How one Asterisk is reached and observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where ARI answers, with its prefix; `http://` only (loopback, a closed network or a TLS tunnel).
    pub url: String,
    /// User of `ari.conf`; must not be read-only.
    pub user: String,
    /// That user's password; prefer `password_file`.
    pub password: String,
    /// File whose first line is the password; used when `password` is empty.
    pub password_file: String,
    /// Name of the Stasis application; ids of our own channels begin with it. One name per running bridge.
    pub app: String,
    /// Address of this machine as Asterisk reaches it: external media is sent there.
    pub rtp_host: String,
    /// Endpoints at which Asterisk reaches the bridge itself by SIP (calls to them are reported by the SIP driver only).
    pub own_endpoints: Vec<String>,
    /// Endpoints of lines to the outside: an end behind one of them is not listened to, its time is unobserved in the record.
    pub outside_endpoints: Vec<String>,
    /// First pause before connecting again, in milliseconds; doubles up to `reconnect_max_ms`.
    pub reconnect_min_ms: u64,
    /// Longest pause before connecting again, in milliseconds.
    pub reconnect_max_ms: u64,
    /// Time for one request, in milliseconds.
    pub request_timeout_ms: u64,
    /// Requests under way at once.
    pub requests_at_once: u32,
    /// Largest event that is read, in bytes; a larger one ends the connection.
    pub event_max_bytes: u32,
    /// Silence on the event socket after which it is pinged, in milliseconds; after twice that it is given up.
    pub ping_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8088/ari".into(),
            user: "kakehashi".into(),
            password: String::new(),
            password_file: String::new(),
            app: "kakehashi".into(),
            rtp_host: "127.0.0.1".into(),
            own_endpoints: Vec::new(),
            outside_endpoints: Vec::new(),
            reconnect_min_ms: 200,
            reconnect_max_ms: 10_000,
            request_timeout_ms: 5_000,
            requests_at_once: 16,
            event_max_bytes: 1_048_576,
            ping_ms: 15_000,
        }
    }
}

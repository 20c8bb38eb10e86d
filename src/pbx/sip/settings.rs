//! `[sip]` of the configuration, and `[pbx.sip]` of one exchange.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::diverted::CalledFrom;

/// How calls are received by SIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Receive calls by SIP from the `peers` of every `[pbx.sip]`.
    pub enabled: bool,
    /// Addresses for SIP over UDP.
    pub listen_udp: Vec<SocketAddr>,
    /// Addresses for SIP over TCP.
    pub listen_tcp: Vec<SocketAddr>,
    /// Host that peers reach this machine by, for Contact and SDP; empty: the local address that a message came to.
    pub advertised: String,
    /// Calls at once; more are answered 503 with Retry-After.
    pub max_calls: u32,
    /// TCP connections at once in total; more are closed at once.
    pub max_connections: u32,
    /// TCP connections at once from one address.
    pub max_connections_per_peer: u32,
    /// Largest message that is read, in bytes; a larger one is answered 513.
    pub message_max_bytes: u32,
    /// A TCP connection without a message for this long is closed, in seconds.
    pub idle_s: u32,
    /// Time for one message over TCP to be complete, in milliseconds.
    pub frame_ms: u32,
    /// Value of Retry-After with 503, in seconds.
    pub retry_after_s: u32,
    /// Estimate of the round-trip time (RFC 3261 T1), in milliseconds; everything is given up after 64 times that.
    pub t1_ms: u32,
    /// How often the peer of a running call is asked whether it still has it (OPTIONS inside the call), in seconds; 0: never.
    pub probe_s: u32,
    /// Which callers get a 180 that they must acknowledge (RFC 3262): `required`: those that require it; `supported`: all that can.
    pub reliable: Reliable,
    /// Give our session description already in a 180 that is acknowledged.
    pub early_sdp: bool,
    /// Longest time without a refresh after which a call counts as dead (RFC 4028), in seconds; 0: only what the exchange asks for.
    pub session_expires_s: u32,
    /// Shortest such time that an exchange may ask for, in seconds; shorter is answered 422. At least 90.
    pub min_se_s: u32,
    /// Refresh also the calls of an exchange that does not know session timers.
    pub refresh_always: bool,
}

/// Which callers get a provisional answer that they must acknowledge (RFC 3262).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reliable {
    /// Those that require it. The default: without a description in the 180 the acknowledgement costs a round trip and tells nothing.
    #[default]
    Required,
    /// Every caller that supports it.
    Supported,
}

impl Default for Settings {
    fn default() -> Self {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 15_080));
        Self {
            enabled: false,
            listen_udp: vec![local],
            listen_tcp: vec![local],
            advertised: String::new(),
            max_calls: 300,
            max_connections: 256,
            max_connections_per_peer: 64,
            message_max_bytes: 65_535,
            idle_s: 3_600,
            frame_ms: 10_000,
            retry_after_s: 10,
            t1_ms: 500,
            probe_s: 300,
            reliable: Reliable::Required,
            early_sdp: false,
            session_expires_s: 1_800,
            min_se_s: 90,
            refresh_always: false,
        }
    }
}

/// Where the SIP messages of one exchange come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerSettings {
    /// Networks of the exchange; a message from nowhere listed is not answered, and the narrowest network decides whose it is.
    pub peers: Vec<IpNet>,
    /// Believe what the exchange says of caller and called line beyond From and To (RFC 3325); false where a carrier's line or a telephone calls.
    pub trust_identity: bool,
    /// Where the called line is read, best first: `request-uri`, `to`, `p-called-party-id`, `diversion`, `history-info`.
    pub called_from: Vec<CalledFrom>,
    /// Pause recording and transcription while the exchange holds a call to the bridge (re-INVITE with `a=sendonly`, `a=inactive` or `c=0.0.0.0`).
    pub hold_pauses: bool,
}

impl Default for PeerSettings {
    fn default() -> Self {
        // `peers` lists the exchange's own addresses: it is the trust domain unless somebody says otherwise
        let called_from = vec![CalledFrom::RequestUri, CalledFrom::To];
        Self { peers: Vec::new(), trust_identity: true, called_from, hold_pauses: false }
    }
}

//! `[media]` of the configuration.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::source::Policy;

/// Settings of the RTP receiver and the recordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address that RTP is received on; calls by SIP are told the address that they came to, so it must be that one, or a wildcard.
    pub bind: IpAddr,
    /// First port of the range; each stream takes an even port and the odd one above it (RTCP).
    pub first_port: u16,
    /// Last port of the range.
    pub last_port: u16,
    /// Threads that own the RTP sockets, 1 or 2.
    pub threads: u8,
    /// How long a missing packet is waited for, in milliseconds.
    pub reorder_window_ms: u32,
    /// After this long without a packet a stream is reported silent, in milliseconds.
    pub no_rtp_timeout_ms: u32,
    /// How long a port rests after its stream, in milliseconds.
    pub port_rest_ms: u32,
    /// Sockets are read this often, in milliseconds, 1–100: longer takes less CPU, and adds as much delay.
    pub poll_interval_ms: u32,
    /// Whose sound is taken from an exchange that calls by SIP: `sdp` (the address of its session description; another port of it when that
    /// is silent) or `latch` (whoever sends the first valid packet).
    pub source: Policy,
    /// Mean time between RTCP reports to the sender, in milliseconds; 0: none.
    pub rtcp_interval_ms: u32,
    /// Length of one file of a recording, in milliseconds; at most 10,000.
    pub segment_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            first_port: 20_000,
            last_port: 20_999,
            threads: 1,
            reorder_window_ms: 200,
            no_rtp_timeout_ms: 10_000,
            port_rest_ms: 2_000,
            poll_interval_ms: 20,
            source: Policy::Sdp,
            rtcp_interval_ms: 5_000,
            segment_ms: 10_000,
        }
    }
}

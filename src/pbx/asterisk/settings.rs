//! Settings of one Asterisk (`[pbx.ari]`).

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::timeline::Format;

/// How the sound of a party reaches us from Asterisk while we listen to it by ARI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// RTP (G.711 µ-law) to a port of `[media]`.
    #[default]
    Rtp,
    /// AudioSocket to `[pbx.audiosocket]`.
    Audiosocket,
    /// chan_websocket: we connect to Asterisk's HTTP server, or with `media_client` Asterisk to `[pbx.websocket]`.
    Websocket,
}

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
    /// What the sound of the parties comes by: `rtp`, `audiosocket` (needs `[pbx.audiosocket]`) or `websocket` (Asterisk 22.8 or newer).
    pub media: Carrier,
    /// Samples a second by `audiosocket` and `websocket`: 8000 or 16000.
    pub media_rate: u32,
    /// By `websocket`: the connection of `websocket_client.conf` by which Asterisk reaches `[pbx.websocket]`; empty: we connect to Asterisk.
    pub media_client: String,
    /// Endpoints at which Asterisk reaches the bridge itself (calls to them are reported by that driver only): of SIP, `HOST:PORT` of
    /// AudioSocket, the connection of `websocket_client.conf`.
    pub own_endpoints: Vec<String>,
    /// Endpoints of lines to the outside: an end behind one of them is not listened to, its time is unobserved in the record.
    pub outside_endpoints: Vec<String>,
    /// Variable or function of the caller's channel whose value is a token that a context waits for (`POST /v1/context`), for example
    /// `KAKEHASHI_TOKEN` or `PJSIP_HEADER(read,User-to-User)`; empty = none.
    pub token_variable: String,
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
            media: Carrier::Rtp,
            media_rate: 8_000,
            media_client: String::new(),
            own_endpoints: Vec::new(),
            outside_endpoints: Vec::new(),
            token_variable: String::new(),
            reconnect_min_ms: 200,
            reconnect_max_ms: 10_000,
            request_timeout_ms: 5_000,
            requests_at_once: 16,
            event_max_bytes: 1_048_576,
            ping_ms: 15_000,
        }
    }
}

impl Settings {
    /// What sound by `audiosocket` and `websocket` is; `None` for a `media_rate` that is neither 8000 nor 16000.
    pub fn format(&self) -> Option<Format> {
        Format::of_rate(self.media_rate)
    }
}

/// `[pbx.audiosocket]`: where Asterisk connects by AudioSocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioSocketSettings {
    /// Address that is listened on; announcements of calls (`GET /announce`) come there too.
    pub listen: SocketAddr,
    /// Networks of the Asterisk; nobody else may connect.
    pub peers: Vec<ipnet::IpNet>,
    /// Samples a second of sound of type 0x10: 8000, or 16000 for an Asterisk that labels every rate so.
    pub rate: u32,
    /// The line of calls that nobody announced; empty: they are refused.
    pub line: String,
    /// Connections at once.
    pub max_connections: u32,
    /// Of these, such that did not say yet which call they carry.
    pub max_unknown: u32,
    /// Time until a connection says which call it carries, in milliseconds.
    pub id_timeout_ms: u64,
    /// Time without anything from Asterisk after which a connection is given up, in milliseconds; a machine that is gone is noticed within a
    /// minute (TCP keep-alive).
    pub idle_timeout_ms: u64,
    /// How long an announced call is waited for, in milliseconds.
    pub announced_ms: u64,
}

impl Default for AudioSocketSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9_092)),
            peers: Vec::new(),
            rate: 8_000,
            line: String::new(),
            max_connections: 512,
            max_unknown: 64,
            id_timeout_ms: 2_000,
            idle_timeout_ms: 600_000,
            announced_ms: 30_000,
        }
    }
}

/// `[pbx.websocket]`: where Asterisk connects by chan_websocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocketSettings {
    /// Address that is listened on; `uri = ws://HOST:PORT/media` in `websocket_client.conf`.
    pub listen: SocketAddr,
    /// Networks of the Asterisk; nobody else may connect.
    pub peers: Vec<ipnet::IpNet>,
    /// The line of calls that do not say theirs; empty: they are refused.
    pub line: String,
    /// Connections at once.
    pub max_connections: u32,
    /// Of these, such that did not say yet which call they carry.
    pub max_unknown: u32,
    /// Time until a connection says which call it carries, in milliseconds; its handshake may take as long.
    pub id_timeout_ms: u64,
    /// Time without anything from Asterisk after which a connection is given up, in milliseconds; a machine that is gone is noticed within a
    /// minute (TCP keep-alive).
    pub idle_timeout_ms: u64,
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9_093)),
            peers: Vec::new(),
            line: String::new(),
            max_connections: 512,
            max_unknown: 64,
            id_timeout_ms: 2_000,
            idle_timeout_ms: 600_000,
        }
    }
}

//! `[webcall]` and `[pbx.web]` of the configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::pbx::Speaker;

/// Settings of web calls (WHIP, RFC 9725).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Take web calls.
    pub enabled: bool,
    /// Address and port of the WHIP endpoint and its page; a proxy in front ends TLS.
    pub listen: SocketAddr,
    /// How softphones reach `listen`, for example `https://voice.example.jp`; empty = `http://` and the address of `listen`.
    pub public_url: String,
    /// Pages that may call from elsewhere, for example `https://crm.example.jp`; the endpoint's own page always may.
    pub allow_origins: Vec<String>,
    /// Serve the click-to-talk page at `/`.
    pub page: bool,
    /// Address of the media sockets.
    pub bind: IpAddr,
    /// First UDP port of media; each call takes one.
    pub first_port: u16,
    /// Last UDP port of media.
    pub last_port: u16,
    /// Addresses that are told to softphones, when they reach this machine by others than `bind` (NAT 1:1); empty = `bind`.
    pub advertise: Vec<IpAddr>,
    /// STUN and TURN servers that are told to softphones (`stun:host:port`); none is needed within one network.
    pub ice_servers: Vec<String>,
    /// Web calls at once; more are answered 503.
    pub max_sessions: usize,
    /// Tokens at once, used or not; more are refused with 503.
    pub max_tokens: usize,
    /// How long a token waits for its call, in milliseconds; the telephone rings that long.
    pub token_ms: u64,
    /// How long a lost call may come back with the same token, in milliseconds.
    pub grace_ms: u64,
    /// How long a call may take from its offer to a working connection, in milliseconds.
    pub connect_ms: u64,
    /// A call without any RTP for so long is lost, in milliseconds.
    pub silence_ms: u64,
    /// The longest call, in milliseconds; a contact to which a call was added may have ended long before.
    pub max_call_ms: u64,
    /// Offers that one address may make a second; 0 = any number.
    pub offers_per_s: u32,
    /// Offers that one address may make at once.
    pub offers_burst: u32,
    /// Connections at once; more are answered 503.
    pub max_connections: usize,
    /// Time for a request's header, for its body, and for a connection without a request, in milliseconds.
    pub header_timeout_ms: u64,
    /// Time in which a client that is being written to must take something, in milliseconds.
    pub write_timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8082)),
            public_url: String::new(),
            allow_origins: Vec::new(),
            page: true,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            first_port: 42_000,
            last_port: 42_399,
            advertise: Vec::new(),
            ice_servers: Vec::new(),
            max_sessions: 200,
            max_tokens: 1_000,
            token_ms: 120_000,
            grace_ms: 30_000,
            connect_ms: 15_000,
            silence_ms: 20_000,
            max_call_ms: 4 * 3_600_000,
            offers_per_s: 5,
            offers_burst: 20,
            max_connections: 256,
            header_timeout_ms: 10_000,
            write_timeout_ms: 20_000,
        }
    }
}

impl Settings {
    /// Checks what needs no system call.
    ///
    /// # Errors
    /// The key, and what is wrong with it and expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.first_port == 0 || self.last_port < self.first_port {
            let problem = format!("{}–{}: expected a range of at least one port", self.first_port, self.last_port);
            return Err(("first_port, last_port", problem));
        }
        if self.bind.is_unspecified() {
            let problem =
                "expected the address of one network card, for it is told to softphones; `advertise` tells another one";
            return Err(("bind", problem.into()));
        }
        if self.advertise.iter().any(|ip| ip.is_unspecified() || ip.is_multicast()) {
            return Err(("advertise", "expected addresses that a softphone can send to".into()));
        }
        if !self.public_url.is_empty() && origin(&self.public_url).is_none() {
            return Err(("public_url", "expected http:// or https:// with a host, and nothing after it".into()));
        }
        if let Some(wrong) = self.allow_origins.iter().find(|text| origin(text).is_none()) {
            let problem =
                format!("`{wrong}`: expected an origin such as https://crm.example.jp, without a path; `*` is none");
            return Err(("allow_origins", problem));
        }
        let url = |url: &String| ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme));
        let plain = |url: &String| url.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\",;".contains(&byte));
        if let Some(wrong) = self.ice_servers.iter().find(|server| !url(server) || !plain(server)) {
            return Err((
                "ice_servers",
                format!("`{wrong}`: expected a URL such as stun:stun.example.jp:3478 (RFC 7064)"),
            ));
        }
        let least = [
            ("max_sessions", self.max_sessions as u64, 1),
            ("max_tokens", self.max_tokens as u64, 1),
            ("token_ms", self.token_ms, 1_000),
            ("connect_ms", self.connect_ms, 1_000),
            ("silence_ms", self.silence_ms, 2_000),
            ("max_call_ms", self.max_call_ms, 60_000),
            ("offers_burst", self.offers_burst.into(), 1),
            ("max_connections", self.max_connections as u64, 2),
            ("header_timeout_ms", self.header_timeout_ms, 10),
            ("write_timeout_ms", self.write_timeout_ms, 10),
        ];
        match least.into_iter().find(|(_, value, least)| value < least) {
            Some((key, value, least)) => Err((key, format!("{value}: expected at least {least}"))),
            None => Ok(()),
        }
    }
}

/// The origin (RFC 6454) as a browser writes it, or nothing when `text` is none.
pub(super) fn origin(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
    (!host.is_empty() && host.bytes().all(plain)).then(|| text.to_ascii_lowercase())
}

/// `[pbx.web]`: softphones of this exchange send their calls by WHIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerSettings {
    /// Whose sound the audio lines of an offer carry, in their order: `agent` (the own microphone) or `caller` (the far end).
    pub tracks: Vec<Speaker>,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self { tracks: vec![Speaker::Agent, Speaker::Caller] }
    }
}

impl PeerSettings {
    /// Checks that the tracks are one or two different speakers.
    ///
    /// # Errors
    /// The key, and what is wrong with it and expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if are_speakers(&self.tracks) {
            return Ok(());
        }
        Err(("tracks", "expected one or both of \"agent\" and \"caller\", each once".into()))
    }
}

/// Caller and agent, or one of them, each once.
pub(super) fn are_speakers(tracks: &[Speaker]) -> bool {
    let is_person = |speaker: &Speaker| matches!(speaker, Speaker::Caller | Speaker::Agent);
    tracks.iter().all(is_person) && (matches!(tracks, [_]) || matches!(tracks, [one, other] if one != other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_local_and_good() {
        assert_eq!(Settings::default().check(), Ok(()));
        assert_eq!(PeerSettings::default().check(), Ok(()));
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        let wrong = |settings: Settings| settings.check().unwrap_err().0;
        assert_eq!(wrong(Settings { bind: [0, 0, 0, 0].into(), ..Settings::default() }), "bind");
        assert_eq!(wrong(Settings { last_port: 1, ..Settings::default() }), "first_port, last_port");
        assert_eq!(wrong(Settings { allow_origins: vec!["*".into()], ..Settings::default() }), "allow_origins");
        assert_eq!(
            wrong(Settings { allow_origins: vec!["https://a/b".into()], ..Settings::default() }),
            "allow_origins"
        );
        assert_eq!(wrong(Settings { public_url: "voice".into(), ..Settings::default() }), "public_url");
        assert_eq!(wrong(Settings { ice_servers: vec!["stun:a>; x".into()], ..Settings::default() }), "ice_servers");
        assert_eq!(wrong(Settings { max_sessions: 0, ..Settings::default() }), "max_sessions");
        assert!(PeerSettings { tracks: vec![Speaker::Agent; 2] }.check().is_err());
        assert!(PeerSettings { tracks: vec![Speaker::Agent, Speaker::Mixed] }.check().is_err());
        assert!(PeerSettings { tracks: Vec::new() }.check().is_err());
    }
}

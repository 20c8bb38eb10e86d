//! `[sip]` of the configuration, and `[pbx.sip]` of one exchange.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::auth::Hash;
use super::diverted::CalledFrom;
use super::keying::Encryption;

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
    /// Addresses for SIP over TLS; the usual port is 5061. They need `tls_certificate` and `tls_key`.
    pub listen_tls: Vec<SocketAddr>,
    /// PEM file with our certificate first and the intermediate ones after it; read again when it changes, and on SIGHUP.
    pub tls_certificate: PathBuf,
    /// PEM file with the private key of `tls_certificate` (PKCS #8, PKCS #1 or SEC1, without passphrase).
    pub tls_key: PathBuf,
    /// PEM file with the certificate authorities of the exchanges; empty = no certificate is asked for.
    pub tls_client_ca: PathBuf,
    /// Whether a peer over TLS must show a certificate of `tls_client_ca`: `required`, `optional` or `off`.
    pub tls_client: TlsClient,
    /// Host that peers reach this machine by, for Contact and SDP; empty: the local address that a message came to.
    pub advertised: String,
    /// Calls at once; more are answered 503 with Retry-After.
    pub max_calls: u32,
    /// Requests remembered at once, so that a repeated one is not taken twice; one address begins half of them at most, and what is new beyond
    /// that is answered 503 with Retry-After. Over UDP a request is remembered for 64·T1 (32 s) and a call takes two, so 65,536 are enough for
    /// 500 calls a second from one address, in some 40 MiB. 1,024 or more.
    pub max_transactions: u32,
    /// TCP and TLS connections at once in total; more are closed at once.
    pub max_connections: u32,
    /// TCP and TLS connections at once from one address.
    pub max_connections_per_peer: u32,
    /// TLS handshakes under way at once in total; more connections are closed at once.
    pub max_handshakes: u32,
    /// TLS handshakes under way at once from one address.
    pub max_handshakes_per_peer: u32,
    /// Time for a TLS handshake, in milliseconds.
    pub handshake_ms: u32,
    /// Requests a second that one address may make outside of running calls; more are answered 503 with Retry-After, and when they do not
    /// become less, not at all. 0: any number.
    pub max_requests_per_s: u32,
    /// Requests that one address may make at once before `max_requests_per_s` counts.
    pub request_burst: u32,
    /// Largest message that is read, in bytes; one with a larger body is answered 413, with a larger head 513.
    pub message_max_bytes: u32,
    /// A connection without a message for this long is closed, in seconds.
    pub idle_s: u32,
    /// Time for one message over a connection to be complete, and for the first one to begin, in milliseconds.
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
    /// Whether sound is encrypted: `off`, `optional` (as the peer offers) or `required` (what is not encrypted is answered 488).
    pub media_encryption: Encryption,
    /// Encrypt also where the peer offers keys for a line that says `RTP/AVP`.
    pub best_effort_srtp: bool,
    /// Accept SHA-1 fingerprints of certificates, for old peers.
    pub sha1_fingerprints: bool,
    /// Codecs that are taken first where they are offered: `opus`, `g722`, `g711`; empty: the peer's order.
    pub codecs: Vec<Preferred>,
}

/// A codec in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preferred {
    /// Opus: 16 kHz, and loss can be mended.
    Opus,
    /// G.722: 16 kHz.
    G722,
    /// G.711, µ-law or A-law as the peer prefers: 8 kHz.
    G711,
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
            listen_tls: Vec::new(),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_client_ca: PathBuf::new(),
            tls_client: TlsClient::Required,
            advertised: String::new(),
            max_calls: 300,
            max_transactions: 65_536,
            max_connections: 256,
            max_connections_per_peer: 64,
            max_handshakes: 32,
            max_handshakes_per_peer: 8,
            handshake_ms: 5_000,
            max_requests_per_s: 200,
            request_burst: 400,
            message_max_bytes: 131_072,
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
            media_encryption: Encryption::Optional,
            best_effort_srtp: true,
            sha1_fingerprints: false,
            codecs: vec![Preferred::Opus, Preferred::G722, Preferred::G711],
        }
    }
}

/// Whether peers over TLS show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsClient {
    /// None is asked for.
    Off,
    /// One that is shown must be good.
    Optional,
    /// Without a good one nothing is said.
    Required,
}

/// Where the SIP messages of one exchange come from, and what binds it and us.
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
    /// Who is the agent where nothing tells the people of a recording session apart (docs/siprec.md): `caller` or `agent` stands first.
    pub recorded_first: First,
    /// Names in the certificate of the exchange (subjectAltName: DNS, address or `sip:` URI). When given, it is heard over TLS only, with a
    /// certificate that has one of them.
    pub tls_names: Vec<String>,
    /// PEM file with the certificate authorities for connections to the exchange; empty = those of `[sip] tls_client_ca`.
    pub tls_ca: PathBuf,
    /// PEM file with the certificate that is shown to the exchange; empty = that of `[sip]`.
    pub tls_certificate: PathBuf,
    /// PEM file with the private key of `tls_certificate`.
    pub tls_key: PathBuf,
    /// User that the exchange proves itself as by digest in every request but ACK and CANCEL; empty: its address is enough.
    pub username: String,
    /// That user's password; prefer `password_file`.
    pub password: String,
    /// File whose first line is the password; used when `password` is empty.
    pub password_file: String,
    /// Realm of our challenges; part of what the exchange's digest is made of.
    pub realm: String,
    /// Digest functions of our challenges, best first: `sha-256`, `md5`, `sha-512-256`. Only `md5` where the exchange stumbles over a challenge
    /// that it does not know (RFC 8760 §2.4 says that it must skip it).
    pub digests: Vec<Hash>,
    /// `[pbx.sip.register]`: the bridge registers as an extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub register: Option<RegisterSettings>,
    /// `[pbx.sip.watch]`: extensions are watched by dialog events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchSettings>,
}

/// Who stands first in the metadata of a recording session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum First {
    /// The citizen.
    #[default]
    Caller,
    /// Whoever answers.
    Agent,
}

/// The extension that the bridge registers as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegisterSettings {
    /// The registrar, `HOST` or `HOST:PORT`; its addresses must be among `peers`.
    pub registrar: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: OwnTransport,
    /// The extension: user part of the address that is registered and of our Contact.
    pub user: String,
    /// Domain of that address; empty: the registrar's host.
    pub domain: String,
    /// User of the digest; empty: `user`.
    pub username: String,
    /// Password of the digest; prefer `password_file`.
    pub password: String,
    /// File whose first line is the password; used when `password` is empty.
    pub password_file: String,
    /// The only realm that gets our proof; empty: any.
    pub realm: String,
    /// How long a registration is asked for, in seconds, 60–86400.
    pub expires_s: u32,
}

impl Default for RegisterSettings {
    fn default() -> Self {
        Self {
            registrar: String::new(),
            transport: OwnTransport::Udp,
            user: String::new(),
            domain: String::new(),
            username: String::new(),
            password: String::new(),
            password_file: String::new(),
            realm: String::new(),
            expires_s: 600,
        }
    }
}

/// The extensions that are watched; with a password they need `[pbx.sip.register]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchSettings {
    /// The extensions.
    pub extensions: Vec<String>,
    /// Who is asked, `HOST` or `HOST:PORT`; empty: the registrar.
    pub server: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: OwnTransport,
    /// Domain of the extensions; empty: the host that is asked.
    pub domain: String,
    /// How long a subscription is asked for, in seconds, 60–86400.
    pub expires_s: u32,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            extensions: Vec::new(),
            server: String::new(),
            transport: OwnTransport::Udp,
            domain: String::new(),
            expires_s: 600,
        }
    }
}

/// What our own requests outside a call travel on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnTransport {
    /// Datagrams.
    #[default]
    Udp,
    /// A connection.
    Tcp,
    /// An encrypted connection.
    Tls,
}

/// `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`; without a port 5060, for TLS 5061. `None`: something else.
pub fn host_and_port(text: &str, transport: OwnTransport) -> Option<(String, u16)> {
    let uri =
        super::header::Uri::parse(&format!("sip:{text}")).filter(|uri| uri.user.is_none() && uri.params.is_empty())?;
    let usual = if transport == OwnTransport::Tls { 5061 } else { 5060 };
    Some((uri.host, uri.port.unwrap_or(usual)))
}

impl Default for PeerSettings {
    fn default() -> Self {
        // `peers` lists the exchange's own addresses: it is the trust domain unless somebody says otherwise
        let called_from = vec![CalledFrom::RequestUri, CalledFrom::To];
        Self {
            peers: Vec::new(),
            trust_identity: true,
            called_from,
            hold_pauses: false,
            recorded_first: First::Caller,
            tls_names: Vec::new(),
            tls_ca: PathBuf::new(),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            username: String::new(),
            password: String::new(),
            password_file: String::new(),
            realm: "kakehashi".into(),
            digests: vec![Hash::Sha256, Hash::Md5],
            register: None,
            watch: None,
        }
    }
}

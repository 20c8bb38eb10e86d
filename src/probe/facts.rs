//! What was observed of an exchange, as the edge saw it: plain data, judged by [`super::evaluate`].

use super::Text;
use super::asterisk::{Events, Info};
use super::sound::Measured;

/// What came of one attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Tried<T> {
    /// Not tried; says what to give.
    #[default]
    Not,
    /// Not tried for a reason that is told.
    Skipped(Text),
    /// It did not work.
    Failed(Failure),
    /// It worked.
    Got(T),
}

impl<T> Tried<T> {
    /// The value, when there is one.
    pub fn got(&self) -> Option<&T> {
        match self {
            Tried::Got(value) => Some(value),
            _ => None,
        }
    }

    /// Why there is none, when it was tried.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Tried::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

impl<T> From<Result<T, Failure>> for Tried<T> {
    fn from(result: Result<T, Failure>) -> Self {
        match result {
            Ok(value) => Tried::Got(value),
            Err(failure) => Tried::Failed(failure),
        }
    }
}

/// Why an attempt did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came within this many milliseconds.
    Silent(u64),
    /// The connection was refused or broke.
    Connection(String),
    /// What came is not what was expected; what it was instead.
    Garbage(&'static str),
    /// A final answer that says no.
    Status(u16, String),
    /// More came than is read.
    Endless,
    /// Something on our own side.
    Own(String),
}

impl Failure {
    /// In both languages.
    pub fn text(&self) -> Text {
        match self {
            Failure::Silent(ms) => Text::new(format!("{ms} ms 以内に応答なし"), format!("no answer within {ms} ms")),
            Failure::Connection(reason) => {
                Text::new(format!("接続できない: {reason}"), format!("no connection: {reason}"))
            }
            Failure::Garbage(what) => {
                Text::new(format!("応答を解釈できない: {what}"), format!("unusable answer: {what}"))
            }
            Failure::Status(code, reason) => Text::same(format!("{code} {reason}")),
            Failure::Endless => Text::new("応答が終わらない", "the answer does not end"),
            Failure::Own(what) => Text::new(format!("この機械の側: {what}"), format!("on this machine: {what}")),
        }
    }
}

/// How SIP is carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// UDP.
    #[default]
    Udp,
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
}

impl Way {
    /// As in Via.
    pub fn name(self) -> &'static str {
        match self {
            Way::Udp => "UDP",
            Way::Tcp => "TCP",
            Way::Tls => "TLS",
        }
    }
}

/// Answer to OPTIONS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Status; any says that SIP is spoken.
    pub status: u16,
    /// Reason phrase, redacted.
    pub reason: String,
    /// Server or User-Agent, redacted.
    pub server: Option<String>,
    /// Methods of Allow.
    pub allow: Vec<String>,
    /// Option tags of Supported.
    pub supported: Vec<String>,
    /// Packages of Allow-Events.
    pub events: Vec<String>,
    /// Round trips, in microseconds, shortest first.
    pub rtt_us: Vec<u64>,
}

/// What a TLS handshake showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// For example `TLSv1_3`.
    pub version: String,
    /// Cipher suite.
    pub cipher: String,
    /// Issuer, redacted.
    pub issuer: String,
    /// Days until it expires; negative when it has.
    pub days_left: i64,
    /// Whether it is not valid yet.
    pub not_yet: bool,
    /// Whether it names the host that was asked for.
    pub name_matches: bool,
    /// Whether the machine's authorities vouch for it; `None` where that was not asked.
    pub trusted: Option<bool>,
}

/// Registration with the exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// Algorithms of the challenge, in its order.
    pub algorithms: Vec<String>,
    /// Whether `qop=auth` was offered.
    pub qop: bool,
    /// Addresses that were registered already; then nothing is registered, because that could drive them out.
    pub others: usize,
    /// Expires that was granted, in seconds.
    pub expires_s: u32,
    /// Whether the registration was taken back.
    pub removed: bool,
}

/// A NOTIFY of Event: dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialogEvents {
    /// Expires that was granted, in seconds.
    pub expires_s: u32,
    /// `full` or `partial`.
    pub state: String,
    /// Dialogs in the first body.
    pub dialogs: usize,
    /// Whether a dialog carries a Call-ID.
    pub call_ids: bool,
    /// Whether a remote identity was seen.
    pub identity: bool,
}

/// What is offered in a test call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offered {
    /// µ-law.
    Pcmu,
    /// A-law.
    Pcma,
    /// G.722.
    G722,
    /// Opus.
    Opus,
    /// PCMU, SRTP with keys in SDP.
    Sdes,
    /// PCMU, SRTP with keys by DTLS.
    Dtls,
}

impl Offered {
    /// In the order of the test calls.
    pub const ALL: [Offered; 6] =
        [Offered::Pcmu, Offered::Pcma, Offered::G722, Offered::Opus, Offered::Sdes, Offered::Dtls];
}

/// What was heard encrypted (RFC 3711).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secured {
    /// The suite that was agreed on, as in `a=crypto`.
    pub suite: &'static str,
    /// Packets whose tag was right and that were decrypted.
    pub opened: u32,
    /// Packets whose tag was wrong, or that were not encrypted at all.
    pub refused: u32,
    /// Packets that came twice, or too late for the window.
    pub replayed: u32,
}

/// A test call that was answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answered {
    /// What carried its SIP.
    pub way: Way,
    /// Why TLS did not carry it, where that was tried first.
    pub not_by_tls: Option<Failure>,
    /// Status that carried the answer.
    pub status: u16,
    /// The accepted media line, for example `RTP/SAVP 0 101`.
    pub line: String,
    /// Whether what was offered is in the answer.
    pub accepted: bool,
    /// From INVITE to this answer, in milliseconds.
    pub after_ms: u64,
    /// Session-Expires of the answer, in seconds, and who refreshes.
    pub timer: Option<(u32, String)>,
    /// What was heard of it; measured in the first call, and decrypted in that with SDES.
    pub sound: Option<Measured>,
    /// Its encryption; of the call with SDES.
    pub secured: Option<Secured>,
}

/// A call that the exchange sent to the probe's own listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Called {
    /// Carried by.
    pub transport: String,
    /// `User-Agent`, redacted.
    pub agent: Option<String>,
    /// Headers that carry the caller's number, with its length only: `P-Asserted-Identity`, `Remote-Party-ID`, `From`.
    pub numbers: Vec<(&'static str, usize)>,
    /// `Privacy`, when there is one.
    pub privacy: Option<String>,
    /// Headers that carry the dialled number: `To`, `P-Called-Party-ID`, `Diversion`, `History-Info`, `Request-URI`.
    pub dialled: Vec<&'static str>,
    /// Codecs in the offer, in order; empty: no offer.
    pub codecs: Vec<String>,
    /// `RTP/AVP`, `RTP/SAVP`, …
    pub profile: String,
    /// Whether keys came with the offer (`crypto` or `fingerprint`).
    pub keys: Option<&'static str>,
    /// Option tags of Supported and Require.
    pub supported: Vec<String>,
    /// Session-Expires, in seconds.
    pub timer: Option<u32>,
    /// Whether it is a recording session (RFC 7866).
    pub siprec: bool,
    /// Audio lines in the offer.
    pub lines: usize,
    /// From our INVITE or request to its arrival, in milliseconds; `None` when a person dialled.
    pub after_ms: Option<u64>,
    /// What was heard.
    pub sound: Option<Measured>,
    /// Whether the RTP came from the address that SDP names.
    pub source_as_said: bool,
}

/// The sound of two parties, heard by snoop and external media.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BothMedia {
    /// What was heard of each party.
    pub sound: [Option<Measured>; 2],
    /// Whether each party's own tone was on its stream, and not the other's.
    pub apart: [bool; 2],
    /// Addresses (without port) the streams came from.
    pub source: Option<String>,
    /// From the first request to the first packet of each stream, in milliseconds.
    pub first_ms: [Option<u64>; 2],
    /// Requests that were refused, as `POST … → status`.
    pub refused: Vec<String>,
}

/// What the event socket told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Socket {
    /// From a request to its event, in microseconds, shortest first.
    pub latency_us: Vec<u64>,
    /// Whether events came of a channel that the application did not subscribe to by itself.
    pub all: bool,
    /// Whether the caller's number came, with its presentation.
    pub caller_id: bool,
    /// Whether a restricted presentation came as such.
    pub presentation: bool,
}

/// What ARI told of a real call between the probe's own two ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallEvents {
    /// A ringing channel was told.
    pub ringing: bool,
    /// The caller's number was in it.
    pub number: bool,
    /// The answer was told.
    pub answered: bool,
    /// A hold was told.
    pub hold: bool,
    /// A digit was told.
    pub digit: bool,
    /// From our ringing (180) to the event, in milliseconds.
    pub ring_ms: Option<u64>,
}

/// What was observed by ARI.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ari {
    /// `GET /asterisk/info`.
    pub info: Tried<Info>,
    /// `GET /asterisk/modules`: names of modules that run.
    pub modules: Tried<Vec<String>>,
    /// `GET /api-docs/events.json`.
    pub events: Tried<Events>,
    /// A write that changes nothing.
    pub write: Tried<()>,
    /// The event socket.
    pub socket: Tried<Socket>,
    /// Both parties' sound.
    pub media: Tried<BothMedia>,
    /// A real call.
    pub call: Tried<CallEvents>,
    /// Things of the probe's that could not be removed again.
    pub left_behind: Vec<String>,
}

/// Everything that was observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// OPTIONS.
    pub options: [Tried<Options>; 3],
    /// OPTIONS over IPv6.
    pub ipv6: Tried<Options>,
    /// The TLS handshake.
    pub tls: Tried<Tls>,
    /// REGISTER.
    pub register: Tried<Register>,
    /// SUBSCRIBE.
    pub dialog: Tried<DialogEvents>,
    /// Test calls, in the order of [`Offered::ALL`].
    pub calls: [Tried<Answered>; 6],
    /// A call to the probe.
    pub called: Tried<Called>,
    /// ARI.
    pub ari: Ari,
}

impl Facts {
    /// Answer to OPTIONS by this transport.
    pub fn options(&self, way: Way) -> &Tried<Options> {
        let [udp, tcp, tls] = &self.options;
        match way {
            Way::Udp => udp,
            Way::Tcp => tcp,
            Way::Tls => tls,
        }
    }

    /// The test call with this offer.
    pub fn call(&self, offered: Offered) -> &Tried<Answered> {
        let [pcmu, pcma, g722, opus, sdes, dtls] = &self.calls;
        match offered {
            Offered::Pcmu => pcmu,
            Offered::Pcma => pcma,
            Offered::G722 => g722,
            Offered::Opus => opus,
            Offered::Sdes => sdes,
            Offered::Dtls => dtls,
        }
    }

    /// The first OPTIONS that was answered.
    pub fn any_options(&self) -> Option<&Options> {
        self.options.iter().find_map(Tried::got).or(self.ipv6.got())
    }

    /// Product and version, as ARI or SIP told it.
    pub fn product(&self) -> Option<String> {
        let by_ari = self.ari.info.got().map(|info| format!("Asterisk {}", info.version));
        by_ari.or_else(|| self.any_options().and_then(|options| options.server.clone()))
    }

    /// Whether it is an Asterisk (or a product made of one).
    pub fn is_asterisk(&self) -> bool {
        let named =
            |name: &str| ["asterisk", "fpbx", "freepbx"].iter().any(|word| name.to_ascii_lowercase().contains(word));
        self.ari.info.got().is_some()
            || self.any_options().and_then(|options| options.server.as_deref()).is_some_and(named)
            || self.called.got().and_then(|called| called.agent.as_deref()).is_some_and(named)
    }
}

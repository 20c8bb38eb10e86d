//! Workers on other machines, reached over NATS: settings, subjects, and what both ends say beside the frames of [`super::protocol`]. No IO.
//!
//! A worker tells every second that it lives ([`Beat`]); `roster` is what a bridge knows of that. A bridge that has a job for a free worker asks
//! for a lease ([`Claim`], [`Grant`]); while it has it, the two speak `protocol` as over a pipe, in numbered pieces (`pieces`). Everything is plain
//! publish and request: no stream, no consumer, nothing that the bus would keep.
//!
//! Why not a work queue of JetStream: the [`Schedule`](super::schedule::Schedule) of each bridge keeps a job until its answer is there, so a queue in
//! the middle would be a second truth that takes nothing back (a partial that is not wanted, a job whose bridge died), orders the jobs of all
//! bridges by their arrival instead of finals before partials, and is gone with its server all the same when it may not reach a disk. With leases
//! the guarantees are those of the pool on one machine: a worker that falls silent loses its job to another one, and an answer counts only on the
//! lease that it belongs to, so that no final is lost or there twice, however many bridges share the workers.

mod pieces;
pub mod roster;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use pieces::{Gap, Joined, split};

/// Version of what stands in this module; both ends must have the same, and the same [`super::protocol::VERSION`].
pub const VERSION: u32 = 1;
/// Most bytes of a beat, claim or grant.
pub const MOST: usize = 4_096;

/// `[speech.nats]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Addresses of the NATS servers, `tls://host:4222` or, inside one machine, `nats://host:4222`, joined by commas; empty = no workers on other machines.
    pub url: String,
    /// Bridges and workers of one group find each other; letters, digits, `-` and `_`.
    pub group: String,
    /// File with what the server wants to see: a `.creds` file, an nkey's seed, `user:password`, or a token; empty = nothing.
    pub credentials_file: PathBuf,
    /// PEM file with the certificate authorities that the server's certificate may be of, instead of the system's; empty = the system's.
    pub ca_file: PathBuf,
    /// PEM file with our certificate for a server that wants one; empty = none.
    pub client_cert_file: PathBuf,
    /// PEM file with the private key of `client_cert_file`, without passphrase.
    pub client_key_file: PathBuf,
    /// Let workers of this machine (`[speech] workers`) recognise beside those of other machines.
    pub local: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: String::new(),
            group: "main".into(),
            credentials_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            client_cert_file: PathBuf::new(),
            client_key_file: PathBuf::new(),
            local: false,
        }
    }
}

impl Settings {
    /// Whether workers on other machines are wanted.
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The key, and what is expected of it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.is_on() {
            return Ok(());
        }
        check_url(&self.url)?;
        if !is_token(&self.group) {
            return Err(("group", format!("\"{}\"; expected 1 to 64 letters, digits, - and _", self.group)));
        }
        if self.client_cert_file.as_os_str().is_empty() != self.client_key_file.as_os_str().is_empty() {
            return Err((
                "client_key_file",
                "expected client_cert_file and client_key_file together, or neither".into(),
            ));
        }
        Ok(())
    }

    /// Whether callers' voices would cross a network unencrypted.
    pub fn is_exposed(&self) -> bool {
        is_exposed(&self.url)
    }
}

/// Whether what is said to NATS servers crosses a network unencrypted.
pub fn is_exposed(urls: &str) -> bool {
    urls.split(',').filter_map(|url| url.trim().strip_prefix("nats://")).any(|authority| {
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        !loopback && host != "localhost"
    })
}

/// Checks addresses of NATS servers, joined by commas.
///
/// # Errors
/// The key `url`, and what is expected of it.
pub fn check_url(urls: &str) -> Result<(), (&'static str, String)> {
    for url in urls.split(',').map(str::trim) {
        let host = url.strip_prefix("tls://").or_else(|| url.strip_prefix("nats://"));
        let Some(host) = host.filter(|host| !host.is_empty() && !host.contains([' ', '/'])) else {
            return Err(("url", "expected tls://HOST:4222, or nats://HOST:4222 inside one machine".into()));
        };
        if host.contains('@') {
            return Err(("url", "a password stands in it; expected it in a file of its own".into()));
        }
    }
    Ok(())
}

/// Whether a text may be one token of a subject here.
pub fn is_token(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

/// A worker that belongs to one bridge for one job; drawn at random by the bridge, never twice.
pub type Lease = u64;

/// The subjects of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    base: String,
}

/// What a worker is sent, by its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToSlot {
    /// A [`Claim`].
    Claim,
    /// A piece of frames.
    Piece(Lease, u64),
}

impl Subjects {
    /// Of a group, which is a token.
    pub fn new(group: &str) -> Self {
        Self { base: format!("kakehashi.speech.{group}") }
    }

    /// Where workers tell that they live.
    pub fn beats(&self) -> String {
        format!("{}.beat", self.base)
    }

    /// All that a worker is sent.
    pub fn of_worker(&self, worker: &str) -> String {
        format!("{}.worker.{worker}.>", self.base)
    }

    /// Where a worker is asked for a lease.
    pub fn claim(&self, worker: &str) -> String {
        format!("{}.worker.{worker}.claim", self.base)
    }

    /// A piece to a worker.
    pub fn piece(&self, worker: &str, lease: Lease, number: u64) -> String {
        format!("{}.worker.{worker}.{lease:016x}.{number}", self.base)
    }

    /// All pieces of the answers on a lease.
    pub fn answers(&self, lease: Lease) -> String {
        format!("{}.answers.{lease:016x}.*", self.base)
    }

    /// A piece of an answer.
    pub fn answer(&self, lease: Lease, number: u64) -> String {
        format!("{}.answers.{lease:016x}.{number}", self.base)
    }

    /// What came to a worker; `None` for what no bridge sends.
    pub fn to_slot(&self, subject: &str) -> Option<ToSlot> {
        let rest = subject.strip_prefix(&self.base)?.strip_prefix(".worker.")?;
        let mut parts = rest.split('.').skip(1);
        match (parts.next()?, parts.next(), parts.next()) {
            ("claim", None, None) => Some(ToSlot::Claim),
            (lease, Some(number), None) => {
                Some(ToSlot::Piece(Lease::from_str_radix(lease, 16).ok()?, number.parse().ok()?))
            }
            _ => None,
        }
    }
}

/// The number of a piece of an answer.
pub fn number(subject: &str) -> Option<u64> {
    subject.rsplit('.').next()?.parse().ok()
}

/// What a worker tells every second, and whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// [`VERSION`] of the worker.
    pub bus: u32,
    /// Its [`super::protocol::VERSION`].
    pub protocol: u32,
    /// Version of its program, for people.
    pub version: String,
    /// Its name, another one at each start.
    pub worker: String,
    /// Its machine, for people.
    pub machine: String,
    /// Name of its model.
    pub model: String,
    /// Spoken language.
    pub language: String,
    /// Version of the dictionary that it used last, empty for none.
    pub dictionary: String,
    /// Whether it would take a job.
    pub free: bool,
    /// The lease that it works on.
    pub lease: Option<Lease>,
    /// Its job has come, and is being recognised.
    pub decoding: bool,
    /// It ends now.
    pub leaving: bool,
}

/// A bridge asks a worker for a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// [`VERSION`] of the bridge.
    pub bus: u32,
    /// Its [`super::protocol::VERSION`].
    pub protocol: u32,
    /// The lease.
    pub lease: Lease,
    /// Version of the dictionary to decode with.
    pub dictionary: String,
    /// How long the job may take, in milliseconds.
    pub patience_ms: u64,
}

/// What the worker says to a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// It waits for the job.
    Granted {
        /// Whether it has the dictionary already.
        has_words: bool,
    },
    /// It works for somebody else, or not at all now.
    Busy,
    /// It cannot work for this bridge; the text says why and what to do.
    Refused(String),
}

/// Reads a beat, claim or grant.
///
/// # Errors
/// When it is too long or does not parse; without anything of it.
pub fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if bytes.len() > MOST {
        return Err(format!("{} bytes; at most {MOST} are sent", bytes.len()));
    }
    serde_json::from_slice(bytes).map_err(|error| format!("JSON, column {}", error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_as_they_are_written() {
        let subjects = Subjects::new("main");
        assert_eq!(subjects.to_slot(&subjects.claim("w-1")), Some(ToSlot::Claim));
        assert_eq!(subjects.to_slot(&subjects.piece("w-1", 0xab, 7)), Some(ToSlot::Piece(0xab, 7)));
        assert_eq!(subjects.piece("w-1", 0xab, 7), "kakehashi.speech.main.worker.w-1.00000000000000ab.7");
        assert_eq!(number(&subjects.answer(1, 12)), Some(12));
        for wrong in ["kakehashi.speech.main.worker.w", "kakehashi.speech.main.worker.w.x.1", "a.b", ""] {
            assert_eq!(subjects.to_slot(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn settings_name_the_key() {
        let with = |url: &str| Settings { url: url.into(), ..Settings::default() };
        assert!(Settings::default().check().is_ok());
        assert!(with("tls://a:4222, tls://b:4222").check().is_ok());
        assert_eq!(with("http://a").check().unwrap_err().0, "url");
        assert!(with("nats://me:secret@a").check().unwrap_err().1.contains("password"));
        let group = Settings { group: "a.b".into(), ..with("nats://a") };
        assert_eq!(group.check().unwrap_err().0, "group");
        let key = Settings { client_key_file: "k".into(), ..with("nats://a") };
        assert_eq!(key.check().unwrap_err().0, "client_key_file");
    }

    #[test]
    fn voices_in_the_clear_are_noticed() {
        let with = |url: &str| Settings { url: url.into(), ..Settings::default() };
        assert!(with("tls://a:4222,nats://192.0.2.1:4222").is_exposed());
        assert!(!with("nats://127.0.0.1:4222,nats://[::1]:4222,nats://localhost,tls://a").is_exposed());
    }

    #[test]
    fn what_is_too_long_or_broken_is_refused_without_quoting_it() {
        let long = vec![b' '; MOST + 1];
        assert!(read::<Grant>(&long).unwrap_err().contains("4097 bytes"));
        assert!(!read::<Grant>(b"{\"secret").unwrap_err().contains("secret"));
        assert_eq!(read::<Grant>(b"\"busy\""), Ok(Grant::Busy));
    }
}

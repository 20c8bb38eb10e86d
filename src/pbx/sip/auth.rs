//! Digest authentication (RFC 3261 §22 with RFC 7616 and RFC 8760): its headers read, its responses computed.
//!
//! [`Server`] asks an exchange for proof, [`Client`] gives ours. Neither the password nor a digest ever reaches a log: the types that hold
//! them cannot be printed.

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512_256};

use super::header::split;
use super::message::decode;

mod client;
mod server;

pub use client::{Attempt, Client, Refused};
pub use server::{Server, Verdict};

/// Parameters of one header that are read; a header with more is not used.
const PARAMS_MAX: usize = 32;

/// A digest function, weakest first; in the configuration `md5`, `sha-256`, `sha-512-256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hash {
    /// For peers that know nothing else.
    #[serde(rename = "md5")]
    Md5,
    /// RFC 8760.
    #[serde(rename = "sha-256")]
    Sha256,
    /// RFC 8760.
    #[serde(rename = "sha-512-256")]
    Sha512_256,
}

/// The value of `algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithm {
    /// The digest function.
    pub hash: Hash,
    /// The `-sess` variant: the key is made once from the first nonce and cnonce.
    pub session: bool,
}

impl Algorithm {
    /// Reads the name; `None` when it is none that we know.
    pub fn parse(name: &str) -> Option<Algorithm> {
        let name = name.to_ascii_uppercase();
        let (base, session) = name.strip_suffix("-SESS").map_or((name.as_str(), false), |base| (base, true));
        let hash = match base {
            "MD5" => Hash::Md5,
            "SHA-256" => Hash::Sha256,
            "SHA-512-256" => Hash::Sha512_256,
            _ => return None,
        };
        Some(Algorithm { hash, session })
    }

    /// As it stands in headers.
    pub fn name(self) -> &'static str {
        match (self.hash, self.session) {
            (Hash::Md5, false) => "MD5",
            (Hash::Md5, true) => "MD5-sess",
            (Hash::Sha256, false) => "SHA-256",
            (Hash::Sha256, true) => "SHA-256-sess",
            (Hash::Sha512_256, false) => "SHA-512-256",
            (Hash::Sha512_256, true) => "SHA-512-256-sess",
        }
    }
}

/// What protects a request: its method and URI, or its body too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qop {
    /// `auth`.
    Auth,
    /// `auth-int`.
    AuthInt,
}

impl Qop {
    /// As it stands in headers.
    pub fn name(self) -> &'static str {
        match self {
            Qop::Auth => "auth",
            Qop::AuthInt => "auth-int",
        }
    }
}

/// What a response is computed from, beside the key.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) nonce: &'a str,
    /// With `nc` and `cnonce` as written; `None`: a peer of RFC 2069.
    pub(super) qop: Option<(Qop, &'a str, &'a str)>,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) body: &'a [u8],
}

/// H(user:realm:password), which is as secret as the password.
pub(super) fn key(hash: Hash, user: &str, realm: &str, password: &str) -> String {
    hex(hash, &[user.as_bytes(), realm.as_bytes(), password.as_bytes()])
}

/// The response (RFC 7616 §3.4.1).
pub(super) fn response(key: &str, question: &Question<'_>) -> String {
    let hash = question.algorithm.hash;
    let bytes = str::as_bytes;
    let a1 = match question.qop {
        Some((_, _, cnonce)) if question.algorithm.session => {
            hex(hash, &[bytes(key), bytes(question.nonce), bytes(cnonce)])
        }
        _ => key.to_string(),
    };
    let (method, uri) = (bytes(question.method), bytes(question.uri));
    let a2 = match question.qop {
        Some((Qop::AuthInt, ..)) => hex(hash, &[method, uri, bytes(&hex(hash, &[question.body]))]),
        _ => hex(hash, &[method, uri]),
    };
    match question.qop {
        Some((qop, nc, cnonce)) => {
            let parts = [&a1, question.nonce, nc, cnonce, qop.name(), &a2];
            hex(hash, &parts.map(str::as_bytes))
        }
        None => hex(hash, &[bytes(&a1), bytes(question.nonce), bytes(&a2)]),
    }
}

/// The digest of the parts with colons between them, in lower-case hexadecimal.
fn hex(hash: Hash, parts: &[&[u8]]) -> String {
    match hash {
        Hash::Md5 => hex_of::<Md5>(parts),
        Hash::Sha256 => hex_of::<Sha256>(parts),
        Hash::Sha512_256 => hex_of::<Sha512_256>(parts),
    }
}

fn hex_of<D: Digest>(parts: &[&[u8]]) -> String {
    let mut hash = D::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    print_hex(&hash.finalize())
}

fn print_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The parameters of a header of the scheme Digest; names in lower case, each once.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a value of WWW-Authenticate, Authorization and their like; `None` for another scheme or broken syntax.
    pub(super) fn of_digest(raw: &[u8]) -> Option<Params> {
        let text = decode(raw);
        let (scheme, rest) = text.trim().split_once([' ', '\t'])?;
        if scheme.eq_ignore_ascii_case("Digest") { Params::read(rest) } else { None }
    }

    /// Reads `name=value, name="value", …` (Authentication-Info has no scheme).
    pub(super) fn read(text: &str) -> Option<Params> {
        let mut all: Vec<(String, String)> = Vec::new();
        for piece in split(text, ',').into_iter().map(str::trim).filter(|piece| !piece.is_empty()) {
            let (name, value) = piece.split_once('=')?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            let value = match value.strip_prefix('"') {
                Some(rest) => rest.strip_suffix('"')?,
                None if value.contains('"') => return None,
                None => value,
            };
            let known = all.iter().any(|(other, _)| *other == name);
            if name.is_empty() || name.contains([' ', '\t', '"']) || known || all.len() >= PARAMS_MAX {
                return None;
            }
            all.push((name, value.into()));
        }
        Some(Params(all))
    }

    /// A value without its quotes; escapes stay as they are, because digests are computed over them so (RFC 7616 §3.4.1, `unq`).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1: the same request by both algorithms; RFC 2617 §3.5 for the older form of the same words.
    #[test]
    fn the_examples_of_the_rfcs() {
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let question = |hash| Question {
            algorithm: Algorithm { hash, session: false },
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            qop: Some((Qop::Auth, "00000001", cnonce)),
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        };
        let of = |hash| response(&key(hash, "Mufasa", "http-auth@example.org", "Circle of Life"), &question(hash));
        assert_eq!(of(Hash::Md5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(of(Hash::Sha256), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
        let old = Question {
            algorithm: Algorithm { hash: Hash::Md5, session: false },
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            qop: Some((Qop::Auth, "00000001", "0a4f113b")),
            ..question(Hash::Md5)
        };
        let made = key(Hash::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
        assert_eq!(response(&made, &old), "6629fae49393a05397450978507c4ef1");
        // RFC 2069 §2.4 as corrected by its errata
        let oldest = Question { qop: None, ..old };
        let made = key(Hash::Md5, "Mufasa", "testrealm@host.com", "CircleOfLife");
        assert_eq!(response(&made, &oldest), "1949323746fe6a43ef61f9606e7febea");
    }

    #[test]
    fn headers_are_read_as_peers_write_them() {
        let read = |text: &str| Params::of_digest(text.as_bytes());
        let params =
            read("digest realm=\"a, b\\\"c\",\tnonce = \"x==\",,algorithm=MD5, qop=\"auth,auth-int\",opaque=\"\"")
                .unwrap();
        assert_eq!(params.get("realm"), Some("a, b\\\"c"));
        assert_eq!((params.get("nonce"), params.get("qop")), (Some("x=="), Some("auth,auth-int")));
        assert_eq!((params.get("algorithm"), params.get("opaque"), params.get("uri")), (Some("MD5"), Some(""), None));
        let many = format!("Digest {}", (0..40).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join(","));
        for bad in
            ["Basic realm=\"x\"", "Digest", "Digest realm", "Digest a=1, A=2", "Digest a=\"1", "Digest a b=1", &many]
        {
            assert!(read(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn algorithms_have_names_that_are_read_back() {
        for name in ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"] {
            assert_eq!(Algorithm::parse(&name.to_ascii_lowercase()).unwrap().name(), name);
        }
        assert_eq!(Algorithm::parse("SHA-1"), None);
        assert!(Hash::Sha512_256 > Hash::Sha256 && Hash::Sha256 > Hash::Md5);
    }
}

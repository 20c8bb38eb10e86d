//! Trickled candidates and ICE restarts: bodies of `application/trickle-ice-sdpfrag` (RFC 8840 §9, RFC 9725 §4.3).

use std::net::IpAddr;

use super::offer::{Credentials, credential};

/// Longest fragment in bytes.
pub const FRAGMENT_BYTES: usize = 16 * 1024;
/// Lines of a fragment.
const LINES_MAX: usize = 256;
/// Candidates of a fragment.
const CANDIDATES_MAX: usize = 64;

/// What a fragment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Whose candidates they are; others than before ask for an ICE restart.
    pub ice: Option<Credentials>,
    /// Only `ice-ufrag` is there, as some clients do when they trickle.
    pub fragment_only: Option<String>,
    /// Places where the softphone may be.
    pub candidates: Vec<Candidate>,
    /// No more will come.
    pub complete: bool,
}

/// One candidate (RFC 8839 §5.1). A lite agent asks nobody for a path, so it only counts them and looks whether they are well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// An address and port by UDP.
    Udp(IpAddr, u16),
    /// A name that only the softphone's network knows (`….local`, RFC 8828), or another host name.
    Named,
    /// By TCP, where this endpoint does not listen.
    Tcp,
}

/// The fragment is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the body is not a trickle-ice-sdpfrag (RFC 8840 §9); expected ice-ufrag, ice-pwd, mid and candidate attributes"
)]
pub struct FragmentError;

impl Fragment {
    /// Reads a body.
    ///
    /// # Errors
    /// [`FragmentError`] when it is malformed or has more than anybody needs.
    pub fn read(body: &[u8]) -> Result<Fragment, FragmentError> {
        let text = std::str::from_utf8(body).map_err(|_| FragmentError)?;
        let mut read = Fragment::default();
        let (mut user, mut password) = (None, None);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if number >= LINES_MAX {
                return Err(FragmentError);
            }
            if line.is_empty() {
                continue;
            }
            let (kind, value) = line.split_once('=').ok_or(FragmentError)?;
            let (key, value) = match kind {
                "a" => value.split_once(':').unwrap_or((value, "")),
                _ if kind.len() == 1 => continue,
                _ => return Err(FragmentError),
            };
            match key {
                "ice-ufrag" => user = Some(credential(value, 4).ok_or(FragmentError)?),
                "ice-pwd" => password = Some(credential(value, 22).ok_or(FragmentError)?),
                "candidate" if read.candidates.len() >= CANDIDATES_MAX => return Err(FragmentError),
                "candidate" => read.candidates.push(candidate(value).ok_or(FragmentError)?),
                "end-of-candidates" => read.complete = true,
                _ => {}
            }
        }
        match (user, password) {
            (Some(fragment), Some(password)) => read.ice = Some(Credentials { fragment, password }),
            (Some(fragment), None) => read.fragment_only = Some(fragment),
            (None, Some(_)) => return Err(FragmentError),
            (None, None) => {}
        }
        if read == Fragment::default() { Err(FragmentError) } else { Ok(read) }
    }

    /// What it says of whose candidates they are.
    pub fn user(&self) -> Option<&str> {
        self.ice.as_ref().map(|ice| ice.fragment.as_str()).or(self.fragment_only.as_deref())
    }
}

/// The answer to a restart: our new credentials, and the candidates again (RFC 9725 §4.3.3).
pub fn restarted(mid: &str, ice: &Credentials, candidates: &[String]) -> String {
    let Credentials { fragment, password } = ice;
    let mut text = format!("a=ice-lite\r\na=ice-ufrag:{fragment}\r\na=ice-pwd:{password}\r\n");
    text.push_str(&format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n"));
    // a client that reads only what stands below the media line finds them there too
    text.push_str(&format!("a=ice-ufrag:{fragment}\r\na=ice-pwd:{password}\r\n"));
    for candidate in candidates {
        text.push_str(&format!("a=candidate:{candidate}\r\n"));
    }
    text.push_str("a=end-of-candidates\r\n");
    text
}

fn candidate(value: &str) -> Option<Candidate> {
    let mut words = value.split_ascii_whitespace();
    let foundation = words.next()?;
    let component: u16 = words.next()?.parse().ok()?;
    let transport = words.next()?;
    let _priority: u32 = words.next()?.parse().ok()?;
    let address = words.next()?;
    let port: u16 = words.next()?.parse().ok()?;
    if foundation.len() > 32 || !(1..=256).contains(&component) || address.len() > 255 || words.next()? != "typ" {
        return None;
    }
    words.next()?;
    if transport.eq_ignore_ascii_case("tcp") {
        return Some(Candidate::Tcp);
    }
    if !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    Some(address.parse().map_or(Candidate::Named, |ip| Candidate::Udp(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRICKLED: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
        a=candidate:3471623853 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active\r\n\
        a=candidate:7 1 udp 1 63db9298-dd40-41e6-ac3b-437a0038634c.local 50895 typ host\r\na=end-of-candidates\r\n";

    #[test]
    fn the_fragment_of_rfc_9725_is_read() {
        let read = Fragment::read(TRICKLED.as_bytes()).unwrap();
        assert_eq!(read.user(), Some("EsAw"));
        let found = [Candidate::Udp([192, 0, 2, 1].into(), 61_764), Candidate::Tcp, Candidate::Named];
        assert_eq!(read.candidates, found);
        assert!(read.complete && read.ice.is_some());
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        for body in [
            "",
            "hello",
            "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
            "a=candidate:1 1 udp",
            "a=ice-ufrag:x",
            "a=candidate:1 0 udp 1 192.0.2.1 1 typ host",
        ] {
            assert_eq!(Fragment::read(body.as_bytes()), Err(FragmentError), "{body}");
        }
        let many = "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n".repeat(65);
        assert_eq!(Fragment::read(many.as_bytes()), Err(FragmentError));
    }

    #[test]
    fn a_restart_is_answered_with_our_credentials() {
        let ice = Credentials { fragment: "ours".into(), password: "p".repeat(24) };
        let text = restarted("0", &ice, &["1 1 udp 1 192.0.2.1 1 typ host".into()]);
        assert_eq!(Fragment::read(text.as_bytes()).unwrap().ice, Some(ice));
    }
}

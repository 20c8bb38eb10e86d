//! Who may see the panel: host names against DNS rebinding, the token, and the sign-in cookie that stands for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::call::context::PANEL;
use crate::panel::settings::{Client, Token};
use crate::panel::{Error, Settings};

/// Name of the sign-in cookie.
pub(super) const COOKIE: &str = "kakehashi_panel";
/// Operators signed in at once; the one that would be signed out first makes room.
const SESSIONS: usize = 1_024;

/// What is asked of every request.
pub(super) struct Guard {
    /// `None` while the panel is local and open.
    token: Option<[u8; 32]>,
    /// `None` when any host name will do, because only the token opens the panel.
    hosts: Option<Vec<String>>,
    secure_cookie: bool,
    session: Duration,
    /// Digests of the cookies, so that a memory dump opens nothing.
    sessions: Mutex<HashMap<[u8; 32], Instant>>,
    /// Machines that post contexts: names with digests of their tokens.
    clients: Vec<(String, [u8; 32])>,
    /// Those of them that may put texts right.
    correctors: Vec<String>,
    /// Those of them that may fetch events.
    readers: Vec<String>,
    /// Those that look after the deliveries.
    administrators: Vec<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not a name of the panel.
    Host,
    /// Sent by a page from elsewhere.
    Origin,
    /// Neither token nor cookie.
    NotSignedIn,
    /// A machine that may not do this: the right that it lacks.
    NotAllowed(&'static str),
}

impl Guard {
    pub(super) fn new(settings: &Settings, token: &Token, clients: &[(String, Token)], bound: SocketAddr) -> Self {
        Self {
            token: (!token.is_none()).then(|| digest(token.bytes())),
            hosts: hosts(settings, bound),
            secure_cookie: settings.secure_cookie,
            session: Duration::from_secs(u64::from(settings.session_hours) * 3_600),
            sessions: Mutex::new(HashMap::new()),
            clients: clients.iter().map(|(id, token)| (id.clone(), digest(token.bytes()))).collect(),
            correctors: who(settings, |client| client.correct),
            readers: who(settings, |client| client.events),
            administrators: who(settings, |client| client.deliveries),
        }
    }

    /// Those that are signed in stay so, where the token is the one before.
    pub(super) fn keep_sessions_of(&self, before: &Guard) {
        if self.token == before.token {
            self.sessions().clone_from(&before.sessions());
        }
    }

    /// Who posts: the machine whose token it is, else whoever may use the panel.
    pub(super) fn source(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes())).map(digest);
        let mut client = None;
        for (id, token) in &self.clients {
            // every token is compared, so that the time says nothing
            if given.is_some_and(|given| same(&given, token)) {
                client = Some(id.clone());
            }
        }
        match client {
            Some(id) => Ok(id),
            None => self.check_token(headers).map(|()| PANEL.to_string()),
        }
    }

    /// Who puts a text right: whoever may use the panel, or a machine that may do that.
    pub(super) fn corrector(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        self.allowed(headers, &self.correctors, "correct")
    }

    /// Who fetches an event: whoever may use the panel, or a machine that may do that.
    pub(super) fn reader(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        self.allowed(headers, &self.readers, "events")
    }

    /// Who looks after the deliveries: a machine that may do that, and nobody else.
    pub(super) fn administrator(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let from = self.source(headers)?;
        if self.administrators.contains(&from) { Ok(from) } else { Err(Refusal::NotAllowed("deliveries")) }
    }

    fn allowed(&self, headers: &HeaderMap, who: &[String], right: &'static str) -> Result<String, Refusal> {
        let from = self.source(headers)?;
        if from == PANEL || who.contains(&from) { Ok(from) } else { Err(Refusal::NotAllowed(right)) }
    }

    /// Whether operators have to sign in.
    pub(super) fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// Refuses a request for a name that is not ours: another site's name that was made to point here (DNS rebinding).
    pub(super) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut named = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else { return Err(Refusal::Host) };
        let Ok(host) = host.to_str() else { return Err(Refusal::Host) };
        let known = |host: &str| self.hosts.as_ref().is_none_or(|hosts| hosts.contains(&name_of(host)));
        if known(host) && uri.authority().is_none_or(|authority| known(authority.as_str())) {
            Ok(())
        } else {
            Err(Refusal::Host)
        }
    }

    /// Refuses what a page of another origin sends in a signed-in browser.
    pub(super) fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if matches!(text("sec-fetch-site"), Some("cross-site" | "same-site")) {
            return Err(Refusal::Origin);
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
        if origin.is_some() && origin == text("host") { Ok(()) } else { Err(Refusal::Origin) }
    }

    /// Asks for the token, by bearer header or by cookie.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        if bearer.is_some_and(|given| same(&digest(given), token)) || self.has_session(headers) {
            Ok(())
        } else {
            Err(Refusal::NotSignedIn)
        }
    }

    /// Exchanges the token for a cookie; `None` when it is not the token.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub(super) fn sign_in(&self, given: &[u8]) -> Result<Option<String>, Error> {
        if self.token.is_none_or(|token| !same(&digest(given), &token)) {
            return Ok(None);
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| Error::Random(error.to_string()))?;
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let now = Instant::now();
        let mut sessions = self.sessions();
        sessions.retain(|_, until| *until > now);
        while sessions.len() >= SESSIONS {
            let Some(first) = sessions.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key) else { break };
            sessions.remove(&first);
        }
        sessions.insert(digest(secret.as_bytes()), now + self.session);
        Ok(Some(self.cookie(&secret, self.session.as_secs())))
    }

    /// Ends the session of this request; the answer is the cookie that clears it.
    pub(super) fn sign_out(&self, headers: &HeaderMap) -> String {
        let mut sessions = self.sessions();
        for secret in cookies(headers) {
            sessions.remove(&digest(secret.as_bytes()));
        }
        self.cookie("", 0)
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        let now = Instant::now();
        let sessions = self.sessions();
        cookies(headers).any(|secret| sessions.get(&digest(secret.as_bytes())).is_some_and(|until| *until > now))
    }

    fn cookie(&self, secret: &str, seconds: u64) -> String {
        let secure = if self.secure_cookie { "; Secure" } else { "" };
        format!("{COOKIE}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}")
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<[u8; 32], Instant>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The machines that have a right.
fn who(settings: &Settings, has: impl Fn(&Client) -> bool) -> Vec<String> {
    settings.client.iter().filter(|client| has(client)).map(|client| client.id.clone()).collect()
}

/// The names that are checked: none when only a token opens the panel and no name was configured.
fn hosts(settings: &Settings, bound: SocketAddr) -> Option<Vec<String>> {
    if !bound.ip().is_loopback() && settings.hosts.is_empty() {
        return None;
    }
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "[::1]"].map(String::from).into();
    hosts.push(name_of(&bound.to_string()));
    hosts.extend(settings.hosts.iter().map(|host| name_of(host)));
    Some(hosts)
}

/// `host[:port]` without the port, in lower case; an IPv6 address keeps its brackets.
fn name_of(host: &str) -> String {
    let end = match host.rfind(':') {
        Some(colon) if !host.ends_with(']') && host[colon + 1..].bytes().all(|byte| byte.is_ascii_digit()) => colon,
        _ => host.len(),
    };
    host[..end].trim_end_matches('.').to_ascii_lowercase()
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Compares in constant time.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left.iter().zip(right).fold(0, |sum, (left, right)| sum | (left ^ right));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_by_its_name_whatever_the_port() {
        assert_eq!(name_of("LocalHost:8080"), "localhost");
        assert_eq!(name_of("localhost."), "localhost");
        assert_eq!(name_of("[::1]:8080"), "[::1]");
        assert_eq!(name_of("[::1]"), "[::1]");
        assert_eq!(name_of("127.0.0.1.evil.example:80"), "127.0.0.1.evil.example");
    }

    #[test]
    fn a_bearer_is_read_whatever_the_case() {
        assert_eq!(bearer(b"Bearer abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"Bea"), None);
    }

    #[test]
    fn sessions_are_bounded() {
        let token = Token::new("0123456789abcdef");
        let guard = Guard::new(&Settings::default(), &token, &[], ([127, 0, 0, 1], 80).into());
        for _ in 0..SESSIONS + 3 {
            assert!(guard.sign_in(b"0123456789abcdef").unwrap().is_some());
        }
        assert_eq!(guard.sessions().len(), SESSIONS);
    }
}

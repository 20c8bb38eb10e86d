//! `[panel]` of the configuration.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Error;
use super::feed::Limits;

/// Fewest characters of a token.
pub const LEAST_TOKEN: usize = 16;

/// Settings of the operator panel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Serve the panel.
    pub enabled: bool,
    /// Address and port; an address that other machines reach needs a token.
    pub listen: SocketAddr,
    /// The token, at least 16 characters; empty = none. Better kept in a file: `token_file`.
    pub token: Token,
    /// File with the token on its first line; empty = none.
    pub token_file: PathBuf,
    /// Further host names of the panel; while the address is loopback or this list has a name, requests for other names are refused.
    pub hosts: Vec<String>,
    /// Send the sign-in cookie over https only: set it when a proxy in front ends TLS.
    pub secure_cookie: bool,
    /// Hours until an operator signs in again.
    pub session_hours: u32,
    /// Connections at once; more are answered 503.
    pub max_connections: usize,
    /// Live feeds at once; more are answered 503.
    pub max_clients: usize,
    /// Time for a request's header, and for a connection without a request, in milliseconds.
    pub header_timeout_ms: u64,
    /// Time in which a client that is being written to must take something, in milliseconds.
    pub write_timeout_ms: u64,
    /// Time between signs of life on a quiet feed, in milliseconds.
    pub keep_alive_ms: u64,
    /// Events kept for clients that resume.
    pub feed_events: usize,
    /// Size of these events, in bytes.
    pub feed_bytes: usize,
    /// Contacts shown to whoever joins late; above, the one that was quiet longest is left out.
    pub max_contacts: usize,
    /// Turns kept of each contact; older ones are left out and said to be.
    pub max_turns: usize,
    /// Ended contacts that stay on the screen for late joiners.
    pub keep_ended: usize,
    /// `[[panel.client]]`: machines that post contexts, with `correct` put texts right, and with `events` fetch events, and with
    /// `deliveries` look after what is delivered; they may do nothing else.
    pub client: Vec<Client>,
}

/// A machine that posts contexts (`POST /v1/context`), and may put texts right or fetch events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Client {
    /// Its name, shown with what it posts: letters, digits, `-` and `_`, and not `panel`.
    pub id: String,
    /// Its token, at least 16 characters, no other's. Better kept in a file: `token_file`.
    pub token: Token,
    /// File with the token on its first line; empty = none.
    pub token_file: PathBuf,
    /// It may put texts right, of every contact (`POST /v1/contacts/{id}/corrections`).
    pub correct: bool,
    /// It may fetch every event that was sent (`GET /v1/events/{id}`): a receiver of thin events needs it.
    pub events: bool,
    /// It may look after the deliveries (`/v1/deliveries`, `/v1/endpoints`, `/v1/traffic`): see what waits, and send dead letters again or set them aside.
    pub deliveries: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            token: Token::default(),
            token_file: PathBuf::new(),
            hosts: Vec::new(),
            secure_cookie: false,
            session_hours: 12,
            max_connections: 256,
            max_clients: 128,
            header_timeout_ms: 10_000,
            write_timeout_ms: 20_000,
            keep_alive_ms: 10_000,
            feed_events: 4_096,
            feed_bytes: 8 * 1024 * 1024,
            max_contacts: 512,
            max_turns: 200,
            keep_ended: 20,
            client: Vec::new(),
        }
    }
}

impl Settings {
    /// Checks what needs no system call.
    ///
    /// # Errors
    /// [`Error::TwoTokens`], [`Error::ShortToken`], [`Error::OpenWithoutToken`] and [`Error::TooSmall`], each naming the key.
    pub fn check(&self) -> Result<(), Error> {
        let in_file = !self.token_file.as_os_str().is_empty();
        if in_file && !self.token.is_none() {
            return Err(Error::TwoTokens);
        }
        if !self.token.is_none() {
            self.token.check("token")?;
        } else if !in_file && !self.listen.ip().is_loopback() {
            return Err(Error::OpenWithoutToken { listen: self.listen });
        }
        self.check_clients()?;
        self.least_values().into_iter().try_for_each(|(key, value, least)| {
            if value < least { Err(Error::TooSmall { key, value, least }) } else { Ok(()) }
        })
    }

    fn check_clients(&self) -> Result<(), Error> {
        let wrong = |id: &str, problem: &str| Err(Error::Client { id: id.into(), problem: problem.into() });
        for (n, client) in self.client.iter().enumerate() {
            let id = client.id.as_str();
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if id.is_empty() || id.len() > 64 || !id.chars().all(plain) || id == crate::call::context::PANEL {
                return wrong(id, "expected a name of 1 to 64 letters, digits, - and _, other than panel");
            }
            if self.client.iter().take(n).any(|other| other.id == id) {
                return wrong(id, "this id is there twice; expected a name of its own");
            }
            let in_file = !client.token_file.as_os_str().is_empty();
            match (client.token.is_none(), in_file) {
                (true, false) => return wrong(id, "has no token; expected token_file (or token)"),
                (false, true) => return wrong(id, "has token and token_file; keep one of them"),
                (false, false) => client.token.check("client token")?,
                (true, true) => {}
            }
        }
        Ok(())
    }

    /// What the feed may keep.
    pub fn limits(&self) -> Limits {
        Limits {
            events: self.feed_events,
            bytes: self.feed_bytes,
            contacts: self.max_contacts,
            turns: self.max_turns,
            ended: self.keep_ended,
        }
    }

    fn least_values(&self) -> [(&'static str, u64, u64); 9] {
        [
            ("session_hours", self.session_hours.into(), 1),
            ("max_connections", self.max_connections as u64, 2),
            ("max_clients", self.max_clients as u64, 1),
            ("header_timeout_ms", self.header_timeout_ms, 10),
            ("write_timeout_ms", self.write_timeout_ms, 10),
            ("keep_alive_ms", self.keep_alive_ms, 10),
            ("feed_events", self.feed_events as u64, 16),
            ("feed_bytes", self.feed_bytes as u64, 65_536),
            ("max_contacts", self.max_contacts as u64, 1),
        ]
    }
}

/// The shared secret of the panel; never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// `text` without the white space around it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Whether no token is set.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret itself.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Refuses a token that can be guessed; `key` names its place in the error.
    ///
    /// # Errors
    /// [`Error::ShortToken`].
    pub fn check(&self, key: &'static str) -> Result<(), Error> {
        let length = self.0.chars().count();
        if length < LEAST_TOKEN { Err(Error::ShortToken { key, length }) } else { Ok(()) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_none() { "Token(none)" } else { "Token(set)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_local_and_need_no_token() {
        assert!(Settings::default().check().is_ok());
    }

    #[test]
    fn an_open_address_needs_a_token() {
        let open = Settings { listen: ([0, 0, 0, 0], 8080).into(), ..Settings::default() };
        let error = open.check().unwrap_err().to_string();
        assert!(error.contains("0.0.0.0:8080") && error.contains("token_file"), "{error}");
        let guarded = Settings { token: Token::new("0123456789abcdef"), ..open };
        assert!(guarded.check().is_ok());
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused() {
        let settings = Settings { token: Token::new("short"), ..Settings::default() };
        assert!(matches!(settings.check(), Err(Error::ShortToken { key: "token", length: 5 })));
    }

    #[test]
    fn a_limit_of_zero_is_refused_by_name() {
        let settings = Settings { max_clients: 0, ..Settings::default() };
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains("max_clients = 0"), "{error}");
    }

    #[test]
    fn clients_have_names_and_tokens_of_their_own() {
        let client = |id: &str, token: &str| Client { id: id.into(), token: Token::new(token), ..Client::default() };
        let good = client("portal", "0123456789abcdef");
        let settings = |client: Vec<Client>| Settings { client, ..Settings::default() };
        assert!(settings(vec![good.clone()]).check().is_ok());
        for (bad, word) in [
            (client("panel", "0123456789abcdef"), "other than panel"),
            (client("a b", "0123456789abcdef"), "letters"),
            (client("bot", ""), "token_file"),
            (client("bot", "short"), "16"),
            (Client { token_file: "x".into(), ..client("bot", "0123456789abcdef") }, "keep one"),
            (good.clone(), "twice"),
        ] {
            let error = settings(vec![good.clone(), bad]).check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_token_is_not_printed() {
        let settings = Settings { token: Token::new("sesame-sesame-sesame"), ..Settings::default() };
        assert!(!format!("{settings:?}").contains("sesame"));
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let error = toml::from_str::<Settings>("lisen = \"127.0.0.1:1\"").unwrap_err().to_string();
        assert!(error.contains("lisen"), "{error}");
    }

    #[test]
    fn the_settings_survive_toml() {
        let settings = Settings { hosts: vec!["panel.example.jp".into()], ..Settings::default() };
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings);
    }
}

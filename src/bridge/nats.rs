//! The connection to a NATS server: its certificates, what it wants to see, and what is told of it. Used for workers on other machines and for
//! endpoints that are a NATS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

/// How often a server is asked whether it is still there; the connection is given up when two answers are missing.
const PING: Duration = Duration::from_secs(2);
/// Time for a connection with its TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest wait between two attempts to connect again.
const AGAIN: Duration = Duration::from_secs(2);

/// Why a connection cannot be made as it is set; names the section, the key and what is expected. Nothing of a password is in it.
#[derive(Debug, thiserror::Error)]
#[error("{section} {key}{}: {problem}; expected {expected}", shown(.file))]
pub struct Error {
    section: String,
    key: &'static str,
    file: PathBuf,
    problem: String,
    expected: &'static str,
}

fn shown(file: &Path) -> String {
    if file.as_os_str().is_empty() { String::new() } else { format!(" = \"{}\"", file.display()) }
}

/// Where to connect to and what to show there; empty files are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What errors begin with: the section of the configuration.
    pub section: String,
    /// Addresses, joined by commas.
    pub url: String,
    /// Name of the key that names `credentials`.
    pub credentials_key: &'static str,
    /// A `.creds` file, an nkey's seed, `user:password` or a token.
    pub credentials: PathBuf,
    /// Certificate authorities instead of the system's.
    pub ca: PathBuf,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Link {
    /// Of `[speech.nats]`.
    pub fn of_speech(settings: &crate::speech::nats::Settings) -> Link {
        Link {
            section: "[speech.nats]".into(),
            url: settings.url.clone(),
            credentials_key: "credentials_file",
            credentials: settings.credentials_file.clone(),
            ca: settings.ca_file.clone(),
            certificate: settings.client_cert_file.clone(),
            key: settings.client_key_file.clone(),
        }
    }

    fn wrong(&self, key: &'static str, file: &Path, problem: impl ToString, expected: &'static str) -> Error {
        Error { section: self.section.clone(), key, file: file.into(), problem: problem.to_string(), expected }
    }

    /// Reads the files, connects to nobody.
    ///
    /// # Errors
    /// The first thing that cannot be used.
    pub fn options(&self) -> Result<ConnectOptions, Error> {
        // fails only when another provider was installed before, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut options = ConnectOptions::new()
            .name(concat!("kakehashi ", env!("CARGO_PKG_VERSION")))
            .ping_interval(PING)
            .connection_timeout(CONNECT)
            .retry_on_initial_connect()
            .reconnect_delay_callback(|attempts| AGAIN.min(Duration::from_millis(100 * attempts as u64)))
            // an address that the cluster tells may be of another network
            .ignore_discovered_servers()
            .require_tls(self.url.split(',').any(|url| url.trim().starts_with("tls://")));
        if !self.ca.as_os_str().is_empty() {
            let expected = "a PEM file with certificates of authorities";
            let found = CertificateDer::pem_file_iter(&self.ca).and_then(|all| all.collect::<Result<Vec<_>, _>>());
            match found {
                Ok(found) if !found.is_empty() => options = options.add_root_certificates(self.ca.clone()),
                Ok(_) => return Err(self.wrong("ca_file", &self.ca, "no certificate is in it", expected)),
                Err(error) => return Err(self.wrong("ca_file", &self.ca, error, expected)),
            }
        }
        if !self.certificate.as_os_str().is_empty() {
            let certificate = CertificateDer::from_pem_file(&self.certificate);
            certificate
                .map_err(|e| self.wrong("client_cert_file", &self.certificate, e, "a PEM file with a certificate"))?;
            let key = PrivateKeyDer::from_pem_file(&self.key);
            key.map_err(|e| self.wrong("client_key_file", &self.key, e, "a PEM file with an unencrypted private key"))?;
            options = options.add_client_certificate(self.certificate.clone(), self.key.clone());
        }
        self.log_in(options)
    }

    fn log_in(&self, options: ConnectOptions) -> Result<ConnectOptions, Error> {
        if self.credentials.as_os_str().is_empty() {
            return Ok(options);
        }
        let wrong = |problem: String| {
            let expected = "a .creds file, or a first line with an nkey's seed, user:password or a token";
            self.wrong(self.credentials_key, &self.credentials, problem, expected)
        };
        let text = std::fs::read_to_string(&self.credentials).map_err(|error| wrong(error.to_string()))?;
        match Login::parse(&text) {
            None => Err(wrong("its first line is empty".into())),
            Some(Login::Creds) => options.credentials(&text).map_err(|_| wrong("it is no whole .creds file".into())),
            Some(Login::Nkey(seed)) => Ok(options.nkey(seed)),
            Some(Login::Password(user, password)) => Ok(options.user_and_password(user, password)),
            Some(Login::Token(token)) => Ok(options.token(token)),
        }
    }

    /// Begins to connect, and goes on trying for as long as the client is kept; what becomes of it is told in the log.
    ///
    /// # Errors
    /// As [`Link::options`], and addresses that cannot be read.
    pub async fn connect(&self) -> Result<Client, Error> {
        self.connect_telling(|_| ()).await
    }

    /// As [`Link::connect`], with somebody who is told as well.
    ///
    /// # Errors
    /// As [`Link::connect`].
    pub async fn connect_telling(&self, told: impl Fn(&Event) + Send + Sync + 'static) -> Result<Client, Error> {
        let section = self.section.clone();
        let options = self.options()?.event_callback(move |event| {
            told(&event);
            tell(&section, &event);
            std::future::ready(())
        });
        let servers: Vec<String> = self.url.split(',').map(|url| url.trim().to_owned()).collect();
        let expected = "tls://HOST:4222, or nats://HOST:4222 inside one machine";
        options.connect(servers).await.map_err(|error| self.wrong("url", Path::new(""), error, expected))
    }
}

fn tell(section: &str, event: &Event) {
    match event {
        Event::Connected => info!("{section}: connected to NATS"),
        Event::Disconnected => warn!("{section}: no connection to NATS; it is tried again"),
        Event::SlowConsumer(_) => {
            warn!("{section}: messages of NATS were dropped, they came faster than they were read")
        }
        Event::ServerError(error) => warn!("{section}: the NATS server says: {error}"),
        Event::ClientError(error) => warn!("{section}: NATS: {error}"),
        _ => {}
    }
}

/// What a server wants to see.
#[derive(Debug, PartialEq, Eq)]
enum Login {
    /// The whole file: a JWT and its seed.
    Creds,
    Nkey(String),
    Password(String, String),
    Token(String),
}

impl Login {
    fn parse(text: &str) -> Option<Login> {
        if text.contains("-----BEGIN NATS USER JWT-----") {
            return Some(Login::Creds);
        }
        let line = text.lines().next()?.trim();
        let seed = line.len() == 58 && line.starts_with("SU") && line.chars().all(|c| c.is_ascii_alphanumeric());
        match line.split_once(':') {
            _ if line.is_empty() => None,
            _ if seed => Some(Login::Nkey(line.into())),
            Some((user, password)) => Some(Login::Password(user.into(), password.into())),
            None => Some(Login::Token(line.into())),
        }
    }
}

/// Checks the files that `[speech.nats]` names.
///
/// # Errors
/// As [`Link::options`].
pub fn check(settings: &crate::speech::nats::Settings) -> Result<(), Error> {
    if settings.is_on() { Link::of_speech(settings).options().map(|_| ()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_wants_to_see_is_told_apart() {
        let seed = format!("SU{}", "A".repeat(56));
        assert_eq!(Login::parse("bridge:a:b\n"), Some(Login::Password("bridge".into(), "a:b".into())));
        assert_eq!(Login::parse(" secret \nmore"), Some(Login::Token("secret".into())));
        assert_eq!(Login::parse(&seed), Some(Login::Nkey(seed.clone())));
        assert_eq!(Login::parse("-----BEGIN NATS USER JWT-----\n"), Some(Login::Creds));
        assert_eq!((Login::parse("\n"), Login::parse("")), (None, None));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("empty");
        std::fs::write(&file, "\n").unwrap();
        let link = Link { section: "[speech.nats]".into(), credentials_key: "credentials_file", ..Link::default() };
        let cases = [
            (Link { credentials: file.clone(), ..link.clone() }, "[speech.nats] credentials_file = "),
            (Link { ca: file.clone(), ..link.clone() }, "[speech.nats] ca_file = "),
            (Link { certificate: file.clone(), key: file.clone(), ..link.clone() }, "client_cert_file = "),
            (Link { ca: "/nowhere".into(), ..link.clone() }, "ca_file = \"/nowhere\""),
        ];
        for (link, place) in cases {
            let error = link.options().unwrap_err().to_string();
            assert!(error.contains(place) && error.contains("; expected"), "{error}");
        }
        assert!(link.options().is_ok());
    }
}

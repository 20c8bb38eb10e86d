//! The HTTP client of an endpoint: its certificates, its proxy and the addresses that it may reach; and why a request came to nothing.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Identity, Proxy, Url};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::crm::address::{Given, judge};
use crate::crm::settings::Endpoint;

/// Why an endpoint's connection cannot be made as it is set; each names the key and what to do. Nothing of a private key or password is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key or the file that it names.
    #[error("[[endpoint]] id = \"{endpoint}\": {key}{}: {problem}; {remedy}", shown(.file))]
    Setting {
        /// The endpoint.
        endpoint: String,
        /// The key.
        key: &'static str,
        /// The file, where it is about one.
        file: Option<String>,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The library refuses.
    #[error(
        "[[endpoint]] id = \"{endpoint}\": the HTTP client: {problem}; are the system's certificates installed (package ca-certificates)?"
    )]
    Client {
        /// The endpoint.
        endpoint: String,
        /// What it says.
        problem: String,
    },
}

fn shown(file: &Option<String>) -> String {
    file.as_ref().map(|file| format!(" = \"{file}\"")).unwrap_or_default()
}

/// The client of an endpoint. Redirections are not followed, and no proxy is used but its own.
///
/// # Errors
/// The first setting that cannot be used.
pub(in crate::bridge) fn client(endpoint: &Endpoint, url: &Url) -> Result<Client, Error> {
    // fails only when another provider was installed before, which is as good
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(64)
        .tcp_nodelay(true)
        .user_agent(concat!("kakehashi/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Guard { networks: endpoint.networks.clone().into() });
    builder = through_proxy(builder, endpoint, url)?;
    if !endpoint.ca_file.as_os_str().is_empty() {
        let file = Source { endpoint, key: "ca_file", path: &endpoint.ca_file };
        let roots: Result<Vec<_>, _> =
            file.certificates()?.iter().map(|one| reqwest::Certificate::from_der(one)).collect();
        builder = builder.tls_certs_only(roots.map_err(|error| file.wrong(causes(&error), AUTHORITIES))?);
    }
    if let Some(own) = identity(endpoint)? {
        builder = builder.identity(own);
    }
    builder.build().map_err(|error| Error::Client { endpoint: endpoint.id.clone(), problem: causes(&error) })
}

/// Sends everything through the endpoint's proxy; without one the addresses of `url` themselves are judged.
fn through_proxy(builder: ClientBuilder, endpoint: &Endpoint, url: &Url) -> Result<ClientBuilder, Error> {
    let builder = builder.no_proxy();
    if endpoint.proxy.is_empty() {
        check_literal(endpoint, "url", url)?;
        return Ok(builder);
    }
    let wrong =
        |problem: String| setting(endpoint, "proxy", problem, "expected http://host:port, without user and password");
    let address = Url::parse(&endpoint.proxy).map_err(|error| wrong(error.to_string()))?;
    if address.scheme() != "http" || address.host_str().is_none() {
        return Err(wrong(format!("scheme `{}`", address.scheme())));
    }
    if !address.username().is_empty() || address.password().is_some() {
        return Err(setting(
            endpoint,
            "proxy",
            "has a user or password in it".into(),
            "put user:password into a file, and its path into proxy_secret_file",
        ));
    }
    check_literal(endpoint, "proxy", &address)?;
    let mut proxy = Proxy::all(address).map_err(|error| wrong(causes(&error)))?;
    if !endpoint.proxy_secret_file.as_os_str().is_empty() {
        let file = Source { endpoint, key: "proxy_secret_file", path: &endpoint.proxy_secret_file };
        let text = String::from_utf8_lossy(&file.read()?).into_owned();
        let Some((user, password)) = text.lines().next().unwrap_or_default().trim().split_once(':') else {
            return Err(file.wrong("its first line has no colon".into(), "expected user:password on the first line"));
        };
        proxy = proxy.basic_auth(user, password);
    }
    Ok(builder.proxy(proxy))
}

fn setting(endpoint: &Endpoint, key: &'static str, problem: String, remedy: &str) -> Error {
    Error::Setting { endpoint: endpoint.id.clone(), key, file: None, problem, remedy: remedy.into() }
}

/// An address that stands in the configuration itself is never resolved, so it is judged here.
fn check_literal(endpoint: &Endpoint, key: &'static str, url: &Url) -> Result<(), Error> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let Ok(address) = host.parse::<IpAddr>() else { return Ok(()) };
    judge(address, Given::Literal, &endpoint.networks).map_err(|kind| {
        let remedy = format!("expected another address, or networks = [\"{}\"] if it is meant", IpNet::from(address));
        setting(endpoint, key, format!("{address} is {kind}"), &remedy)
    })
}

const AUTHORITIES: &str = "expected certificates of authorities as PEM: -----BEGIN CERTIFICATE----- and so on";
const OWN: &str = "expected the bridge's certificate as PEM with the intermediate ones after it: -----BEGIN CERTIFICATE----- and so on";
const PRIVATE: &str = "expected an unencrypted private key as PEM: -----BEGIN PRIVATE KEY----- (openssl pkey -in FILE -out NEW takes a passphrase off)";

/// A file and the key that names it.
struct Source<'a> {
    endpoint: &'a Endpoint,
    key: &'static str,
    path: &'a Path,
}

impl Source<'_> {
    fn wrong(&self, problem: String, remedy: &str) -> Error {
        let file = Some(self.path.display().to_string());
        Error::Setting { endpoint: self.endpoint.id.clone(), key: self.key, file, problem, remedy: remedy.into() }
    }

    fn read(&self) -> Result<Vec<u8>, Error> {
        std::fs::read(self.path).map_err(|error| self.wrong(error.to_string(), "correct the path or the permissions"))
    }

    /// All certificates of the file, at least one.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let remedy = if self.key == "ca_file" { AUTHORITIES } else { OWN };
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.read()?).collect();
        let all = all.map_err(|error| self.wrong(format!("not readable as PEM ({error})"), remedy))?;
        if all.is_empty() { Err(self.wrong("no certificate is in it".into(), remedy)) } else { Ok(all) }
    }
}

/// What the endpoint is shown of us; `None` when nothing is set.
fn identity(endpoint: &Endpoint) -> Result<Option<Identity>, Error> {
    let (certificate, key) = (&endpoint.client_cert_file, &endpoint.client_key_file);
    let missing = |key, remedy| Err(setting(endpoint, key, "empty".into(), remedy));
    match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (true, true) => return Ok(None),
        (true, false) => {
            return missing("client_cert_file", "expected the PEM file with the certificate of client_key_file");
        }
        (false, true) => {
            return missing("client_key_file", "expected the PEM file with the private key of client_cert_file");
        }
        (false, false) => {}
    }
    let certificate = Source { endpoint, key: "client_cert_file", path: certificate };
    let key = Source { endpoint, key: "client_key_file", path: key };
    let chain = certificate.certificates()?;
    let private = key.read()?;
    // its own words are left out: nothing of the file may be shown
    let parsed =
        PrivateKeyDer::from_pem_slice(&private).map_err(|_| key.wrong("no private key is in it".into(), PRIVATE))?;
    CertifiedKey::from_der(chain, parsed, &rustls::crypto::ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => key.wrong(
            "it is not the key of the certificate in client_cert_file".into(),
            "put the two that belong together",
        ),
        _ => key.wrong("the certificate or the key cannot be used for TLS".into(), "expected RSA, ECDSA or Ed25519"),
    })?;
    let pem = [certificate.read()?, b"\n".to_vec(), private].concat();
    let own =
        Identity::from_pem(&pem).map_err(|_| certificate.wrong("there is more in it than certificates".into(), OWN))?;
    Ok(Some(own))
}

/// Resolves names, and leaves out the addresses that a name must not lead to. Asked for every connection, so that a name cannot be given another
/// address after it was checked (DNS rebinding).
struct Guard {
    networks: Arc<[IpNet]>,
}

/// No address of a name may be reached.
#[derive(Debug, thiserror::Error)]
#[error("{name} is at {address}, {kind}; if that is meant, list its network at this endpoint: networks = [\"{}\"]", IpNet::from(*address))]
struct Closed {
    name: String,
    address: IpAddr,
    kind: &'static str,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let networks = Arc::clone(&self.networks);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(allowed(name.as_str(), found, &networks)?)
        })
    }
}

fn allowed(name: &str, found: impl Iterator<Item = SocketAddr>, networks: &[IpNet]) -> Result<Addrs, io::Error> {
    let (mut open, mut closed) = (Vec::new(), None);
    for address in found {
        match judge(address.ip(), Given::of_name(name), networks) {
            Ok(()) => open.push(address),
            Err(kind) => closed = closed.or(Some(Closed { name: name.into(), address: address.ip(), kind })),
        }
    }
    match closed {
        Some(closed) if open.is_empty() => Err(io::Error::new(io::ErrorKind::PermissionDenied, closed)),
        _ => Ok(Box::new(open.into_iter())),
    }
}

/// Why there is no answer, as it may stand in a log; `shows`: we have a certificate to show.
pub(in crate::bridge) fn why(error: &reqwest::Error, shows: bool) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut texts = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = known(cause, shows) {
            return found;
        }
        texts.push(cause.to_string());
        // an io::Error shows what it wraps only so
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| known(inner, shows)) {
            return found;
        }
        next = match inner {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => cause.source(),
        };
    }
    let said = |word: &str| texts.iter().any(|text| text.contains(word));
    match () {
        () if said("roxy auth") => "the proxy wants another user or password: see proxy_secret_file".into(),
        () if said("tunnel") => "the proxy lets nothing through to the receiver".into(),
        () if said("dns error") => "the name of the receiver, or of the proxy, cannot be resolved".into(),
        () if said("handshake eof") => "the receiver hung up in the TLS handshake".into(),
        () if error.is_connect() => "no connection".into(),
        () => "the connection broke".into(),
    }
}

fn known(cause: &(dyn std::error::Error + 'static), shows: bool) -> Option<String> {
    if let Some(closed) = cause.downcast_ref::<Closed>() {
        return Some(closed.to_string());
    }
    let tls = cause.downcast_ref::<rustls::Error>()?;
    Some(match tls {
        rustls::Error::InvalidCertificate(problem) => format!("the receiver's certificate {}", of_theirs(problem)),
        rustls::Error::AlertReceived(alert) => of_ours(*alert, shows),
        rustls::Error::InvalidMessage(_) => {
            "the receiver does not speak TLS there: expected the port of its https".into()
        }
        other => format!("TLS failed: {other}"),
    })
}

/// What is wrong with the receiver's certificate.
fn of_theirs(problem: &rustls::CertificateError) -> String {
    use rustls::CertificateError as Wrong;
    match problem {
        Wrong::Expired | Wrong::ExpiredContext { .. } => "has expired".into(),
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            "is not valid yet: is this machine's clock right?".into()
        }
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => "is for another name than that in url".into(),
        // an authority of the same name with another key has not signed it either
        Wrong::UnknownIssuer | Wrong::BadSignature => {
            "is of an authority that is not trusted here: give its certificate in ca_file".into()
        }
        Wrong::Revoked => "is revoked".into(),
        other => format!("cannot be used: {other}"),
    }
}

/// What the receiver says of our certificate. (RFC 8446 §6.2)
fn of_ours(alert: rustls::AlertDescription, shows: bool) -> String {
    use rustls::AlertDescription as Alert;
    match alert {
        Alert::CertificateExpired => {
            "the receiver refuses the client certificate: it has expired; renew client_cert_file".into()
        }
        Alert::CertificateRevoked => {
            "the receiver refuses the client certificate: it is revoked; renew client_cert_file".into()
        }
        Alert::UnknownCA => {
            "the receiver refuses the client certificate: it does not trust its authority; see client_cert_file".into()
        }
        Alert::CertificateRequired | Alert::NoCertificate => WANTS_ONE.into(),
        Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::UnsupportedCertificate
        | Alert::AccessDenied
        | Alert::DecryptError
        | Alert::HandshakeFailure
            if shows =>
        {
            format!("the receiver refuses the client certificate ({alert:?}); see client_cert_file")
        }
        // TLS 1.2 has no word of its own for it
        Alert::BadCertificate | Alert::HandshakeFailure => {
            format!(
                "the receiver refuses TLS as it is ({alert:?}): does it want a client certificate? See client_cert_file"
            )
        }
        other => format!("the receiver broke off TLS ({other:?})"),
    }
}

const WANTS_ONE: &str = "the receiver wants a client certificate: set client_cert_file and client_key_file";

/// nginx takes the request before it says that the certificate will not do: 400 with a page of its own. That is the certificate's fault, not the
/// event's.
pub(super) fn refused_certificate(status: u16, body: &[u8]) -> Option<&'static str> {
    let says = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
    match status {
        400 if says("No required SSL certificate was sent") => Some(WANTS_ONE),
        400 if says("The SSL certificate error") => {
            Some("the receiver refuses the client certificate; see client_cert_file")
        }
        _ => None,
    }
}

/// What went wrong, with its causes and without addresses.
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    if text.is_empty() { "it cannot be made".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, found: &[&str], networks: &[&str]) -> Result<Vec<String>, String> {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        let found = found.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0));
        let left = allowed(name, found, &networks).map_err(|error| error.to_string())?;
        Ok(left.map(|address| address.ip().to_string()).collect())
    }

    #[test]
    fn of_the_addresses_of_a_name_only_those_that_may_be_are_left() {
        assert_eq!(ask("crm.example.jp", &["8.8.8.8", "10.0.0.1"], &[]), Ok(vec!["8.8.8.8".into()]));
        assert_eq!(ask("crm.example.jp", &["10.0.0.1"], &["10.0.0.0/8"]), Ok(vec!["10.0.0.1".into()]));
        assert_eq!(ask("localhost", &["::1", "127.0.0.1", "10.0.0.1"], &[]).unwrap().len(), 2);
        let error = ask("crm.example.jp", &["169.254.169.254", "10.0.0.1"], &["10.0.0.5/32"]).unwrap_err();
        assert!(error.contains("crm.example.jp is at 169.254.169.254") && error.contains("[\"169.254.169.254/32\"]"));
    }

    #[tokio::test]
    async fn a_name_is_asked_for_each_time() {
        let ask = async |networks: &[&str]| {
            let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
            // what resolvers take for a name of this machine
            Guard { networks }.resolve("127.0.0.1".parse().unwrap()).await.map(|all| all.count())
        };
        assert!(ask(&[]).await.is_err_and(|error| error.to_string().contains("this machine")));
        assert!(ask(&["127.0.0.0/8"]).await.is_ok_and(|count| count > 0));
    }

    #[test]
    fn only_a_page_about_certificates_is_about_certificates() {
        let page = b"<title>400 The SSL certificate error</title>";
        assert!(refused_certificate(400, page).is_some() && refused_certificate(200, page).is_none());
        assert_eq!(refused_certificate(400, b"{\"error\":\"certificate\"}"), None);
    }
}

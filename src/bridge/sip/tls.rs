//! TLS of the SIP connections: certificates from PEM files, read again without touching a connection; whose certificate a peer shows.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pbx::PbxId;
use crate::pbx::sip::{PeerSettings, Settings, TlsClient};

/// Days before its end from which a certificate is warned of.
const SOON_DAYS: i64 = 30;

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key that another one needs.
    #[error("{place}: empty; expected {expected}")]
    Missing {
        /// Section and key.
        place: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The file system refused.
    #[error("{place} = \"{}\": {source}; correct the path or the permissions", path.display())]
    Read {
        /// Section and key.
        place: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The content is wrong.
    #[error("{place} = \"{}\": {problem}; {remedy}", path.display())]
    Content {
        /// Section and key.
        place: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// A file and the key that names it.
pub(in crate::bridge) struct Source<'a> {
    pub(in crate::bridge) section: &'a str,
    pub(in crate::bridge) key: &'static str,
    pub(in crate::bridge) path: &'a Path,
}

impl Source<'_> {
    fn place(&self) -> String {
        format!("{} {}", self.section, self.key)
    }

    pub(in crate::bridge) fn wrong(&self, problem: impl Into<String>, remedy: &'static str) -> Error {
        Error::Content { place: self.place(), path: self.path.into(), problem: problem.into(), remedy }
    }

    fn read(&self) -> Result<Vec<u8>, Error> {
        std::fs::read(self.path).map_err(|source| Error::Read { place: self.place(), path: self.path.into(), source })
    }

    /// All certificates of the file, at least one.
    pub(in crate::bridge) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let pem = self.read()?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let remedy = "expected PEM: -----BEGIN CERTIFICATE----- and so on (openssl x509 -in FILE -text shows one)";
        let all = all.map_err(|error| self.wrong(format!("not readable as PEM ({error})"), remedy))?;
        if all.is_empty() {
            return Err(self.wrong("no certificate is in it", remedy));
        }
        Ok(all)
    }

    pub(in crate::bridge) fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let remedy = "expected an unencrypted private key as PEM: -----BEGIN PRIVATE KEY----- (openssl pkey -in FILE -out NEW \
                      takes a passphrase off)";
        PrivateKeyDer::from_pem_slice(&self.read()?)
            .map_err(|error| self.wrong(format!("no private key could be read ({error})"), remedy))
    }

    /// The first certificate is in force.
    pub(in crate::bridge) fn check_dates(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let first = chain.first().map(AsRef::as_ref).unwrap_or_default();
        let (_, certificate) = X509Certificate::from_der(first).map_err(|error| {
            self.wrong(format!("its certificate cannot be read ({error})"), "expected an X.509 certificate")
        })?;
        let validity = certificate.validity();
        let now = x509_parser::time::ASN1Time::now();
        if validity.not_after < now {
            let problem = format!("the certificate ended on {}", validity.not_after);
            return Err(self.wrong(problem, "put one in its place that is in force"));
        }
        if validity.not_before > now {
            let problem = format!("the certificate begins on {}", validity.not_before);
            return Err(self.wrong(problem, "check the clock of this machine, or use one that is in force"));
        }
        let days = (validity.not_after.timestamp() - now.timestamp()) / 86_400;
        if days < SOON_DAYS {
            tracing::warn!(file = %self.path.display(), days, "a certificate ends soon");
        }
        Ok(())
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Certificate and key of a section; `None` when it has none.
fn identity(section: &str, certificate: &Path, key: &Path) -> Result<Option<Identity>, Error> {
    let missing = |name: &str, expected| Err(Error::Missing { place: format!("{section} {name}"), expected });
    match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (true, true) => return Ok(None),
        (true, false) => return missing("tls_certificate", "the PEM file with the certificate of `tls_key`"),
        (false, true) => return missing("tls_key", "the PEM file with the private key of `tls_certificate`"),
        (false, false) => {}
    }
    let source = Source { section, key: "tls_certificate", path: certificate };
    let chain = source.certificates()?;
    source.check_dates(&chain)?;
    Ok(Some((chain, Source { section, key: "tls_key", path: key }.key()?)))
}

/// Authorities of a file; `None` when none is named.
pub(in crate::bridge) fn authorities(
    section: &str,
    key: &'static str,
    path: &Path,
) -> Result<Option<RootCertStore>, Error> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let source = Source { section, key, path };
    let mut roots = RootCertStore::empty();
    for certificate in source.certificates()? {
        let remedy = "expected certificates of authorities (CA:TRUE), as X.509 version 3";
        roots.add(certificate).map_err(|error| source.wrong(error.to_string(), remedy))?;
    }
    Ok(Some(roots))
}

/// What one reading of the files gave.
struct Loaded {
    server: Option<Arc<ServerConfig>>,
    clients: HashMap<PbxId, Arc<ClientConfig>>,
}

/// Certificates for both directions.
pub struct Tls {
    settings: Settings,
    peers: Vec<(PbxId, PeerSettings)>,
    provider: Arc<CryptoProvider>,
    loaded: RwLock<Loaded>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads every file that the settings name.
    ///
    /// # Errors
    /// The first file that cannot be used, or a key that is missing.
    pub fn load(settings: &Settings, peers: &[(PbxId, PeerSettings)]) -> Result<Tls, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let loaded = Loaded { server: None, clients: HashMap::new() };
        let tls = Tls { settings: settings.clone(), peers: peers.to_vec(), provider, loaded: RwLock::new(loaded) };
        tls.reload()?;
        Ok(tls)
    }

    /// Reads every file again; connections that are open stay as they are.
    ///
    /// # Errors
    /// As [`Tls::load`]; everything stays as it was then.
    pub fn reload(&self) -> Result<(), Error> {
        let settings = &self.settings;
        let own = identity("[sip]", &settings.tls_certificate, &settings.tls_key)?;
        let roots = authorities("[sip]", "tls_client_ca", &settings.tls_client_ca)?;
        let bound = self.peers.iter().any(|(_, peer)| !peer.tls_names.is_empty());
        if bound && (roots.is_none() || settings.tls_client == TlsClient::Off) && !settings.listen_tls.is_empty() {
            let expected =
                "the authorities of the exchanges, and `tls_client` not off, because an exchange has `tls_names`";
            return Err(Error::Missing { place: "[sip] tls_client_ca".into(), expected });
        }
        let server = match (&own, settings.listen_tls.is_empty()) {
            (_, true) => None,
            (Some(own), false) => Some(Arc::new(self.server(own, roots.as_ref())?)),
            (None, false) => {
                let expected = "the PEM file with the certificate of this bridge, because `listen_tls` is given";
                return Err(Error::Missing { place: "[sip] tls_certificate".into(), expected });
            }
        };
        let mut clients = HashMap::new();
        for (pbx, peer) in &self.peers {
            if let Some(client) = self.client(pbx, peer, own.as_ref(), roots.as_ref())? {
                clients.insert(pbx.clone(), Arc::new(client));
            }
        }
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Loaded { server, clients };
        Ok(())
    }

    /// For one connection that was accepted.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.server.clone().map(TlsAcceptor::from)
    }

    /// For one connection to an exchange; `None` when no authority is known for it.
    pub(super) fn connector(&self, pbx: &PbxId) -> Option<TlsConnector> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.clients.get(pbx).cloned().map(TlsConnector::from)
    }

    /// The name that an exchange is asked for (SNI): its first DNS name, else its address.
    pub(super) fn server_name(&self, pbx: &PbxId, address: IpAddr) -> ServerName<'static> {
        let own = self.peers.iter().filter(|(id, _)| id == pbx).flat_map(|(_, peer)| &peer.tls_names);
        let mut names = own.filter(|name| name.parse::<IpAddr>().is_err() && !name.starts_with("sip:"));
        let name = names.find_map(|name| ServerName::try_from(name.clone()).ok());
        name.unwrap_or_else(|| ServerName::from(address.to_canonical()))
    }

    fn server(&self, own: &Identity, roots: Option<&RootCertStore>) -> Result<ServerConfig, Error> {
        let settings = &self.settings;
        let source = Source { section: "[sip]", key: "tls_certificate", path: &settings.tls_certificate };
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| source.wrong(error.to_string(), "expected ring with TLS 1.2 and 1.3"))?;
        let builder = match roots.filter(|_| settings.tls_client != TlsClient::Off) {
            None => builder.with_no_client_auth(),
            Some(roots) => builder.with_client_cert_verifier(self.client_verifier(roots)?),
        };
        builder.with_single_cert(own.0.clone(), own.1.clone_key()).map_err(|error| unusable(&source, &error))
    }

    fn client_verifier(&self, roots: &RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), self.provider.clone());
        let builder = match self.settings.tls_client {
            TlsClient::Optional => builder.allow_unauthenticated(),
            TlsClient::Required | TlsClient::Off => builder,
        };
        let source = Source { section: "[sip]", key: "tls_client_ca", path: &self.settings.tls_client_ca };
        builder.build().map_err(|error| source.wrong(error.to_string(), "expected certificates of authorities"))
    }

    fn client(
        &self,
        pbx: &PbxId,
        peer: &PeerSettings,
        own: Option<&Identity>,
        roots: Option<&RootCertStore>,
    ) -> Result<Option<ClientConfig>, Error> {
        let section = format!("[[pbx]] id = \"{}\": [pbx.sip]", pbx.0);
        let theirs = authorities(&section, "tls_ca", &peer.tls_ca)?;
        let identity = identity(&section, &peer.tls_certificate, &peer.tls_key)?;
        let Some(roots) = theirs.as_ref().or(roots) else { return Ok(None) };
        let ca = Source { section: &section, key: "tls_ca", path: &peer.tls_ca };
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), self.provider.clone())
            .build()
            .map_err(|error| ca.wrong(error.to_string(), "expected certificates of authorities"))?;
        let verifier = Arc::new(Named {
            chains,
            roots: roots.clone(),
            names: peer.tls_names.clone(),
            provider: self.provider.clone(),
        });
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| ca.wrong(error.to_string(), "expected ring with TLS 1.2 and 1.3"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let source = match identity {
            Some(_) => Source { section: &section, key: "tls_certificate", path: &peer.tls_certificate },
            None => Source { section: "[sip]", key: "tls_certificate", path: &self.settings.tls_certificate },
        };
        let client = match identity.as_ref().or(own) {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| unusable(&source, &error))?,
        };
        Ok(Some(client))
    }
}

fn unusable(source: &Source<'_>, error: &rustls::Error) -> Error {
    match error {
        rustls::Error::InconsistentKeys(_) => source.wrong(
            "`tls_key` is the key of another certificate",
            "expected the pair that was issued together, the bridge's own certificate first in its file",
        ),
        other => source.wrong(other.to_string(), "expected an RSA, ECDSA or Ed25519 certificate with its key"),
    }
}

/// A server certificate must be of the exchange's authority, and have one of its names where some are given (RFC 5922 §7).
#[derive(Debug)]
struct Named {
    chains: Arc<WebPkiServerVerifier>,
    roots: RootCertStore,
    names: Vec<String>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.names.is_empty() {
            return self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        match has_name(end_entity, &self.names) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a certificate is one of `names`: by a `sip:` URI, a DNS name or an address in its subjectAltName. Nothing stands for
/// several names: a wildcard matches only itself (RFC 5922 §7.2).
pub(in crate::bridge) fn has_name(certificate: &CertificateDer<'_>, names: &[String]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(own)) = certificate.subject_alternative_name() else { return false };
    let is_one = |text: &str| names.iter().any(|name| bare(name).eq_ignore_ascii_case(bare(text)));
    own.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(name) => is_one(name),
        GeneralName::URI(uri) if uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sip:")) => is_one(uri),
        GeneralName::IPAddress(bytes) => address(bytes).is_some_and(|own| {
            names.iter().any(|name| name.parse::<IpAddr>().is_ok_and(|name| name.to_canonical() == own))
        }),
        _ => false,
    })
}

/// A name without `sip:` and a final dot.
fn bare(name: &str) -> &str {
    let scheme = name.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sip:"));
    let name = if scheme { name.get(4..).unwrap_or_default() } else { name };
    name.trim_end_matches('.')
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| IpAddr::from(sixteen).to_canonical())
}

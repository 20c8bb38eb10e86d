//! TLS as the exchange speaks it: any certificate is taken, so that a bad one can be described. What is sent over it is OPTIONS, and the
//! encrypted test call: its keys are good for that call only, and its proof is a digest, as over UDP.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::link::{Link, connect, reason};
use super::{SipPlan, Stop, client};
use crate::probe::facts::{Failure, Options, Tls, Tried, Way};
use crate::probe::{Text, redact};

/// Time for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(4);
const DAY: i64 = 86_400;

/// Files that TLS is spoken with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Files<'a> {
    /// Authorities that should vouch for the exchange.
    pub(super) ca: Option<&'a Path>,
    /// Our certificate and its key, for an exchange that asks for one.
    pub(super) own: Option<(&'a Path, &'a Path)>,
}

/// Asks OPTIONS over TLS, and tells the certificate.
pub(super) async fn options(
    peer: SocketAddr,
    sip: &SipPlan,
    files: Files<'_>,
    stop: &Stop,
) -> (Tried<Options>, Tried<Tls>) {
    let (options, tls) = match open(peer, sip, files, stop).await {
        Ok((mut link, tls)) => (client::options_on(&mut link, Way::Tls, sip).await, Ok(tls)),
        Err(failure) => (Err(failure.clone()), Err(failure)),
    };
    match &options {
        Err(failure) if files.own.is_none() && wants_certificate(failure) => {
            let why = Text::new(
                format!(
                    "{}。PBX がクライアント証明書を求めている: --tls-certificate と --tls-key を与える",
                    failure.text().ja
                ),
                format!(
                    "{}; the exchange wants a certificate: give --tls-certificate and --tls-key",
                    failure.text().en
                ),
            );
            (Tried::Skipped(why), tls.into())
        }
        _ => (options.into(), tls.into()),
    }
}

/// Whether the exchange broke off because we have no certificate (RFC 8446 §6.2: certificate_required; older ones say handshake_failure).
fn wants_certificate(failure: &Failure) -> bool {
    const ALERTS: [&str; 3] = ["CertificateRequired", "HandshakeFailure", "BadCertificate"];
    matches!(failure, Failure::Connection(reason) if ALERTS.iter().any(|alert| reason.contains(alert)))
}

/// Opens a conversation by TLS, and tells the certificate.
pub(super) async fn open(
    peer: SocketAddr,
    sip: &SipPlan,
    files: Files<'_>,
    stop: &Stop,
) -> Result<(Link, Tls), Failure> {
    let roots = files.ca.map(authorities).transpose()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let own = |error: rustls::Error| Failure::Own(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(own)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider.clone())));
    let mut config = match files.own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let wrong = || Failure::Own(format!("{}: no private key in PEM", key.display()));
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|_| wrong())?;
            builder.with_client_auth_cert(chain, key).map_err(own)?
        }
    };
    config.enable_sni = sip.host.parse::<IpAddr>().is_err();
    let name = ServerName::try_from(sip.host.clone()).map_err(|_| Failure::Own("no name for TLS".into()))?;
    let stream = connect(peer).await?;
    let local = stream.local_addr().map_err(|error| Failure::Own(reason(&error)))?;
    let shake = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream);
    let stream = match timeout(HANDSHAKE, shake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Failure::Connection(format!("TLS: {}", redact::foreign(&error.to_string())))),
        Err(_) => return Err(Failure::Silent(HANDSHAKE.as_millis() as u64)),
    };
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let mut tls = describe(chain, &name, roots.as_ref(), &provider)?;
    tls.version = session.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default();
    tls.cipher = session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
    Ok((Link::over(Box::new(stream), local, stop), tls))
}

fn authorities(path: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| Failure::Own(format!("{}: {error}", path.display())))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = || Failure::Own(format!("{}: no certificate in PEM", path.display()));
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|_| wrong())?.collect();
    read.ok().filter(|chain| !chain.is_empty()).ok_or_else(wrong)
}

fn describe(
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    roots: Option<&RootCertStore>,
    provider: &CryptoProvider,
) -> Result<Tls, Failure> {
    let (first, others) = chain.split_first().ok_or(Failure::Garbage("no certificate"))?;
    let (_, read) = X509Certificate::from_der(first).map_err(|_| Failure::Garbage("unreadable certificate"))?;
    let now = crate::bridge::now().wall.0 / 1_000_000;
    let validity = read.validity();
    let parsed = ParsedCertificate::try_from(first).ok();
    let name_matches = parsed.as_ref().is_some_and(|parsed| rustls::client::verify_server_name(parsed, name).is_ok());
    let trusted = roots.map(|roots| {
        let algorithms = provider.signature_verification_algorithms.all;
        let verify = rustls::client::verify_server_cert_signed_by_trust_anchor;
        parsed.as_ref().is_some_and(|parsed| verify(parsed, roots, others, UnixTime::now(), algorithms).is_ok())
    });
    Ok(Tls {
        issuer: redact::foreign(&read.issuer().to_string()),
        days_left: (validity.not_after.timestamp() - now).div_euclid(DAY),
        not_yet: validity.not_before.timestamp() > now,
        name_matches,
        trusted,
        ..Tls::default()
    })
}

/// Takes any certificate; signatures of the handshake are checked all the same.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

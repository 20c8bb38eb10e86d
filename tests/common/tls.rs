//! Certificates made on the spot, and a caller by TLS who checks the bridge's one.
#![allow(dead_code)] // each test binary uses its part

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use kakehashi::pbx::sip::Settings;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Test authority");
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        self.issue_with(names, |_| {})
    }

    pub(crate) fn issue_with(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if name.starts_with("sip:") => SanType::URI(Ia5String::try_from(*name).unwrap()),
                Err(_) => SanType::DnsName(Ia5String::try_from(*name).unwrap()),
            });
        }
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// Files of certificates in a folder of their own.
pub(crate) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new() -> Files {
        Files { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn write_pair(&self, pair: &Pair) -> (PathBuf, PathBuf) {
        (self.write("own.pem", &pair.certificate), self.write("own.key", &pair.key))
    }

    /// `[sip]` with TLS on a free port of loopback, for peers with a certificate of `authority`.
    pub(crate) fn settings(&self, authority: &Authority, own: &Pair) -> Settings {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (tls_certificate, tls_key) = self.write_pair(own);
        Settings {
            listen_udp: vec![any],
            listen_tcp: vec![any],
            listen_tls: vec![any],
            tls_certificate,
            tls_key,
            tls_client_ca: self.write("authority.pem", &authority.pem()),
            ..Settings::default()
        }
    }
}

pub(crate) fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

pub(crate) fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(chain(&authority.pem()).remove(0)).unwrap();
    roots
}

/// A client that trusts `authority` and shows `own`.
pub(crate) fn client(
    authority: &Authority,
    own: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(authority));
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain(&own.certificate), key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// A connection from `from` (an address of loopback).
pub(crate) async fn tcp_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Connects by TLS; the bridge's certificate must be for `name`.
pub(crate) async fn connect(
    connector: &TlsConnector,
    name: &'static str,
    to: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    connector.connect(ServerName::try_from(name).unwrap(), stream).await
}

/// The next message with its body.
pub(crate) async fn read_message(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut all = Vec::new();
    let read = async {
        loop {
            all.push(stream.read_u8().await.expect("a message, not the end"));
            if all.ends_with(b"\r\n\r\n") && all.len() > 4 {
                break;
            }
        }
        let head = String::from_utf8_lossy(&all).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        head + &String::from_utf8_lossy(&body)
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("nothing came")
}

pub(crate) async fn write(stream: &mut (impl AsyncWriteExt + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

/// Whether nothing but the end comes.
pub(crate) async fn ends(stream: &mut (impl AsyncReadExt + Unpin)) -> bool {
    let mut space = [0; 1_024];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut space)).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

pub(crate) fn exists(path: &Path) -> bool {
    path.exists()
}

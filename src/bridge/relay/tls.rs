//! Mutual TLS of the link: both ends show a certificate of the other's authority, with the name that the other one expects. TLS 1.3 only, and no
//! resumption: each link is judged by the certificates that are in force when it is opened.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::tally::Counted;
use crate::bridge::sip::tls::{Error, Source, authorities, has_name};

/// The files of one end, and the keys that name them in its configuration.
#[derive(Clone, Debug)]
pub(in crate::bridge) struct Files {
    /// Section of the configuration.
    pub(in crate::bridge) section: String,
    /// Certificate, the intermediate ones after it.
    pub(in crate::bridge) certificate: (&'static str, PathBuf),
    /// Its private key.
    pub(in crate::bridge) key: (&'static str, PathBuf),
    /// Authorities of the other end.
    pub(in crate::bridge) authority: (&'static str, PathBuf),
    /// Name in the other end's certificate.
    pub(in crate::bridge) peer: String,
}

#[derive(Clone, Debug)]
struct Loaded {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// What one end proves itself by, and whom it believes.
#[derive(Debug)]
pub(in crate::bridge) struct Tls {
    files: Files,
    name: ServerName<'static>,
    loaded: RwLock<Loaded>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// The first that cannot be used, by its key.
    pub(in crate::bridge) fn load(files: Files) -> Result<Tls, Error> {
        let name = ServerName::try_from(files.peer.clone()).map_err(|_| Error::Content {
            place: format!("{} peer", files.section),
            path: files.peer.clone().into(),
            problem: "it is no DNS name and no address".into(),
            remedy: "expected the name in the other end's certificate, for example relay.example.lg.jp",
        })?;
        let loaded = RwLock::new(read(&files)?);
        Ok(Tls { files, name, loaded })
    }

    /// Reads the files again; a link that is open stays as it is.
    ///
    /// # Errors
    /// As [`Tls::load`]; everything stays as it was then.
    pub(in crate::bridge) fn reload(&self) -> Result<(), Error> {
        let fresh = read(&self.files)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn loaded(&self) -> Loaded {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The handshake of the end that opened the connection.
    pub(super) async fn connect(&self, stream: Counted) -> Result<TlsStream<Counted>, String> {
        let connector = TlsConnector::from(self.loaded().client);
        let secured = connector.connect(self.name.clone(), stream).await;
        secured.map(TlsStream::from).map_err(|error| self.refused(&error))
    }

    /// The handshake of the end that listened.
    pub(super) async fn accept(&self, stream: Counted) -> Result<TlsStream<Counted>, String> {
        let acceptor = TlsAcceptor::from(self.loaded().server);
        let secured = acceptor.accept(stream).await.map_err(|error| self.refused(&error))?;
        let shown = secured.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if !shown.is_some_and(|shown| has_name(shown, std::slice::from_ref(&self.files.peer))) {
            return Err(format!(
                "the other end's certificate is not for \"{}\", which {} peer expects",
                self.files.peer, self.files.section
            ));
        }
        Ok(secured.into())
    }

    fn refused(&self, error: &std::io::Error) -> String {
        format!("TLS failed: {error} ({} peer = \"{}\")", self.files.section, self.files.peer)
    }
}

fn read(files: &Files) -> Result<Loaded, Error> {
    fn source<'a>(section: &'a str, file: &'a (&'static str, PathBuf)) -> Source<'a> {
        Source { section, key: file.0, path: &file.1 }
    }
    let source = |file| source(&files.section, file);
    let own = source(&files.certificate);
    let chain = own.certificates()?;
    own.check_dates(&chain)?;
    let key = source(&files.key).key()?;
    let Some(roots) = authorities(&files.section, files.authority.0, &files.authority.1)? else {
        let place = format!("{} {}", files.section, files.authority.0);
        return Err(Error::Missing {
            place,
            expected: "the PEM file with the authority of the other end's certificate",
        });
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |error: rustls::Error| match error {
        rustls::Error::InconsistentKeys(_) => {
            own.wrong(format!("{} is the key of another certificate", files.key.0), "put the two that belong together")
        }
        other => own.wrong(other.to_string(), "expected an RSA, ECDSA or Ed25519 certificate with its key"),
    };
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain.clone(), key.clone_key())
        .map_err(unusable)?;
    client.resumption = Resumption::disabled();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier = verifier.map_err(|error| {
        source(&files.authority).wrong(error.to_string(), "expected certificates of authorities (CA:TRUE)")
    })?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    server.send_tls13_tickets = 0;
    Ok(Loaded { client: Arc::new(client), server: Arc::new(server) })
}

//! A receiver of webhooks that does as little as one can: it reads a request to its end, counts it, and answers 200. It verifies nothing.
#![allow(dead_code)] // each bench uses its part

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const KEEPS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const CLOSES: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What came.
#[derive(Default)]
pub(crate) struct Seen {
    /// Requests.
    pub(crate) requests: AtomicU64,
    /// Of them, complete documents of a call.
    pub(crate) documents: AtomicU64,
}

/// How it is spoken to.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    pub(crate) tls: Option<TlsAcceptor>,
    /// Each connection carries one request.
    pub(crate) closes: bool,
    /// Documents are looked for, which takes time.
    pub(crate) reads: bool,
}

/// TLS 1.3 by the certificate and key of these PEM files; no HTTP/2.
pub(crate) fn tls(certificate: &Path, key: &Path) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, manner: Manner, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (manner, seen) = (manner.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            match &manner.tls {
                None => answer(stream, &manner, &seen).await,
                Some(tls) => {
                    if let Ok(secure) = tls.accept(stream).await {
                        answer(secure, &manner, &seen).await;
                    }
                }
            }
        });
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, manner: &Manner, seen: &Seen) {
    let mut space = Vec::with_capacity(65_536);
    loop {
        let whole = loop {
            if let Some(whole) = length(&space).filter(|whole| *whole <= space.len()) {
                break whole;
            }
            if !matches!(stream.read_buf(&mut space).await, Ok(1..)) {
                return;
            }
        };
        let is_document =
            |request: &[u8]| has(request, b"kakehashi.transcript.document.v1") && has(request, b"\"complete\":true");
        if manner.reads && is_document(&space[..whole]) {
            seen.documents.fetch_add(1, Ordering::SeqCst);
        }
        space.drain(..whole);
        seen.requests.fetch_add(1, Ordering::SeqCst);
        if stream.write_all(if manner.closes { CLOSES } else { KEEPS }).await.is_err() || manner.closes {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// Bytes of the request at the beginning, head and body; `None` while its head is not whole.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap_or_default();
    let body = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some(head + body.unwrap_or(0))
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

//! A web server with limits: our own accept loop, because `axum::serve` sets no timer and so has no header timeout (slowloris).
//!
//! Every connection has a place below the cap or is answered 503; a request's header, a quiet connection and a peer that takes nothing
//! of what is written to it are limited in time. Nothing about requests is logged but counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
#[cfg(feature = "webcall")]
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::patient::Patient;

/// Header fields of a request.
const HEADERS: usize = 64;
/// Bytes of a request's header.
const HEADER_BYTES: usize = 16 * 1024;
/// Pause after a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The answer above the connection cap.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Who sent a request; every request carries it as an extension.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "webcall"), allow(dead_code, reason = "only web calls ask who sends"))]
pub(crate) struct From(pub(crate) SocketAddr);

/// A server with its limits.
pub(crate) struct Server {
    /// In logs.
    pub(crate) name: &'static str,
    /// Connections at once.
    pub(crate) max_connections: usize,
    /// Time for a request's header, and for a connection without a request.
    pub(crate) header_timeout: Duration,
    /// Time in which a client that is being written to must take something.
    pub(crate) write_timeout: Duration,
    /// What it answers.
    pub(crate) router: Router,
}

impl Server {
    /// Serves until it is stopped.
    pub(crate) async fn run(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.max_connections));
        let mut connections = JoinSet::new();
        let mut refused = 0_u64;
        loop {
            let accepted = tokio::select! {
                _ = stopped.changed() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            match (accepted, Arc::clone(&places).try_acquire_owned()) {
                (Ok((stream, from)), Ok(place)) => {
                    let connection = self.connection(stream, from);
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                (Ok((stream, _)), Err(_)) => {
                    refused += 1;
                    if refused.is_power_of_two() {
                        tracing::warn!(refused, "{}: connections above max_connections are answered 503", self.name);
                    }
                    // best effort: the socket's buffer is empty, so this does not wait
                    let _ = stream.try_write(FULL);
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "{}: accept failed", self.name);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.shutdown().await;
    }

    fn connection(&self, stream: TcpStream, from: SocketAddr) -> impl Future<Output = ()> + Send + use<> {
        let (header_timeout, write_timeout, name) = (self.header_timeout, self.write_timeout, self.name);
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(From(from));
            router.call(request)
        });
        async move {
            // text of a few bytes has to leave at once; without it the page is only slower
            let _ = stream.set_nodelay(true);
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(header_timeout)
                .max_headers(HEADERS)
                .max_buf_size(HEADER_BYTES)
                .serve_connection(TokioIo::new(Patient::new(stream, write_timeout)), service)
                .await;
            if served.is_err() {
                tracing::debug!("{name}: a connection ended early");
            }
        }
    }
}

/// Who sent a request.
#[cfg(feature = "webcall")]
pub(crate) fn sender(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<From>().map(|From(from)| *from)
}

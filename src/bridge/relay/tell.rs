//! What a relay tells by HTTP: `/metrics`, whether it runs (`/healthz`), and whether there is a link (`/readyz`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Error, Relay};
use crate::panel::http::server::Server;

/// Who asks at once.
const CONNECTIONS: usize = 16;
const HEADER: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(10);

/// Serves until what is given is dropped.
///
/// # Errors
/// When the address is not to be had.
pub async fn spawn(relay: &Relay, address: SocketAddr) -> Result<(SocketAddr, watch::Sender<bool>), Error> {
    let wrong = |source| Error::Listen { key: "[metrics] listen", address: address.to_string(), source };
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let local = listener.local_addr().map_err(wrong)?;
    let (metrics, is_up) = (Arc::new(relay.metrics()), Arc::new(relay.is_up()));
    let told = move || {
        let metrics = Arc::clone(&metrics);
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics()) }
    };
    let ready = move || {
        let up = is_up();
        async move { if up { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "no link\n") } }
    };
    let router = Router::new()
        .route("/metrics", get(told))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready));
    let server =
        Server { name: "metrics", max_connections: CONNECTIONS, header_timeout: HEADER, write_timeout: WRITE, router };
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server.run(listener, stopped));
    Ok((local, stop))
}

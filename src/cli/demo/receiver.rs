//! The CRM of the demo: a receiver of webhooks that believes nothing without a valid signature.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::bridge::now;
use crate::crm::verify::verify;
use crate::events::Event;

/// Verified events that wait to be told; the receiver answers 503 beyond, and they come again.
const WAITING: usize = 256;

/// A verified webhook.
pub(super) struct Verified {
    /// The body as it came.
    pub(super) body: String,
    /// What it says.
    pub(super) event: Event,
}

struct Receiver {
    secret: String,
    verified: mpsc::Sender<Verified>,
}

/// Listens on a port of its own; gives its address and what it verified.
pub(super) async fn listen(secret: String) -> std::io::Result<(SocketAddr, mpsc::Receiver<Verified>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let (verified, out) = mpsc::channel(WAITING);
    let router = Router::new().route("/hook", post(take)).with_state(Arc::new(Receiver { secret, verified }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((address, out))
}

async fn take(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, timestamp, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    if verify(&receiver.secret, id, timestamp, signature, &body, now().wall).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    let Ok(event) = Event::from_json(&body) else { return StatusCode::BAD_REQUEST };
    match receiver.verified.try_send(Verified { body, event }) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

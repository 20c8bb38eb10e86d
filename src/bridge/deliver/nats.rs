//! Requests over NATS: one connection for each endpoint, made anew when its files have changed.
//!
//! `POST` is a NATS request, `PUT` a publish without a reply. What NATS says beside a reply becomes a status: 503 nobody answers there, 413 larger than
//! the server takes, 401 and 403 what it does not let us do.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Event, HeaderMap, RequestErrorKind, ServerError};
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::carry::{Count, Wire};
use crate::bridge::nats::{Error, Link};
use crate::crm::settings::Endpoint;
use crate::crm::{MOST_OF_BODY, Method, Request, Response};
use crate::outbox::store::Traffic;

/// The connection to an endpoint that is a NATS.
pub(super) struct Nats {
    link: Link,
    patience: Duration,
    /// Another one when its files have changed.
    line: RwLock<Arc<Line>>,
}

/// A connection, once it is needed.
#[derive(Default)]
struct Line {
    client: OnceCell<Client>,
    /// What the server does not let us do, as a status; 0 for nothing.
    denied: Arc<AtomicU16>,
    /// Why there was no connection when it was last tried.
    problem: Arc<Mutex<String>>,
}

impl Nats {
    /// Reads the files, connects to nobody yet.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Nats, Error> {
        let link = Link {
            section: format!("[[endpoint]] id = \"{}\":", endpoint.id),
            url: endpoint.url.clone(),
            credentials_key: "secret_file",
            credentials: endpoint.secret_file.clone(),
            ca: endpoint.ca_file.clone(),
            certificate: endpoint.client_cert_file.clone(),
            key: endpoint.client_key_file.clone(),
        };
        link.options()?;
        let patience = Duration::from_millis(endpoint.timeout_ms.max(1));
        Ok(Nats { link, patience, line: RwLock::default() })
    }

    async fn exchange(&self, request: Request, count: Count<'_>) -> Result<Response, String> {
        let line = Arc::clone(&self.line.read().unwrap_or_else(PoisonError::into_inner));
        let denied = Arc::clone(&line.denied);
        let sent = timeout(self.patience, self.send_on(&line, request, count)).await;
        match (sent, denied.load(Ordering::Relaxed)) {
            (Ok(Ok(response)), _) => Ok(response),
            // what a server denies it does not answer, or it has closed the connection
            (Ok(Err(_)) | Err(_), status @ 1..) => Ok(status_only(status)),
            (Ok(Err(problem)), _) => Err(problem),
            (Err(_), _) if line.client.get().is_none_or(|client| client.connection_state() != State::Connected) => {
                let problem = line.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // the library does not say that it was the certificate
                let encrypted = self.link.url.starts_with("tls://");
                let hint = if encrypted {
                    " (is the server's certificate of ca_file, and ours of its authority?)"
                } else {
                    ""
                };
                Err(format!("no connection to NATS{problem}{hint}"))
            }
            (Err(_), _) => Err(format!("no answer within {} ms", self.patience.as_millis())),
        }
    }

    async fn send_on(&self, line: &Line, request: Request, count: Count<'_>) -> Result<Response, String> {
        let client = line.client.get_or_try_init(|| self.connect(line)).await.map_err(|error| error.to_string())?;
        if client.connection_state() != State::Connected {
            client.flush().await.map_err(|_| "no connection".to_string())?;
        }
        line.denied.store(0, Ordering::Relaxed);
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.insert(*name, value.as_str());
        }
        let (subject, body) = (request.path, request.body);
        let head: usize = request.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        // PUB and HPUB with their lengths, "NATS/1.0", the inbox
        let bytes_out = (subject.len() + head + body.len() + 64) as u64;
        count(Traffic { requests: 1, bytes_out, ..Traffic::default() });
        if request.method == Method::Put {
            return match client.publish_with_headers(subject, headers, body.into()).await {
                Ok(()) => Ok(status_only(204)),
                Err(error) if error.kind() == async_nats::PublishErrorKind::MaxPayloadExceeded => Ok(status_only(413)),
                Err(error) => Err(error.to_string()),
            };
        }
        match client
            .send_request(subject, async_nats::Request::new().headers(headers).payload(body.into()).timeout(None))
            .await
        {
            Ok(reply) => {
                let bytes_in = (reply.subject.len() + reply.payload.len() + 32) as u64;
                count(Traffic { bytes_in, ..Traffic::default() });
                let body = reply.payload.get(..MOST_OF_BODY).unwrap_or(&reply.payload).to_vec();
                Ok(Response { status: 200, retry_after: None, load: None, body })
            }
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => Ok(status_only(503)),
                RequestErrorKind::MaxPayloadExceeded => Ok(status_only(413)),
                _ => Err(error.to_string()),
            },
        }
    }

    async fn connect(&self, line: &Line) -> Result<Client, Error> {
        let (denied, problem) = (Arc::clone(&line.denied), Arc::clone(&line.problem));
        self.link
            .connect_telling(move |event| {
                if let Some(status) = status_of(event) {
                    denied.store(status, Ordering::Relaxed);
                }
                if let Event::ClientError(error) = event {
                    *problem.lock().unwrap_or_else(PoisonError::into_inner) = format!(": {error}");
                }
            })
            .await
    }
}

/// What a server denies, as a status.
fn status_of(event: &Event) -> Option<u16> {
    let says = |text: &str, what: &str| text.to_ascii_lowercase().contains(what);
    match event {
        Event::ServerError(ServerError::AuthorizationViolation) => Some(401),
        Event::ServerError(ServerError::Other(text)) if says(text, "permissions violation") => Some(403),
        Event::ServerError(ServerError::Other(text)) if says(text, "authorization") => Some(401),
        Event::ClientError(error) if says(&error.to_string(), "authorization violation") => Some(401),
        _ => None,
    }
}

fn status_only(status: u16) -> Response {
    Response { status, retry_after: None, load: None, body: Vec::new() }
}

impl Wire for Nats {
    fn send<'a>(&'a self, request: Request, count: Count<'a>) -> BoxFuture<'a, Result<Response, String>> {
        Box::pin(self.exchange(request, count))
    }

    fn reload(&self) {
        match self.link.options() {
            Ok(_) => *self.line.write().unwrap_or_else(PoisonError::into_inner) = Arc::default(),
            Err(error) => tracing::error!(%error, "the connection's files stay as they were"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_denies_is_a_status() {
        let other = |text: &str| Event::ServerError(ServerError::Other(text.into()));
        assert_eq!(status_of(&other("Permissions Violation for Publish to \"calls.a\"")), Some(403));
        assert_eq!(status_of(&Event::ServerError(ServerError::AuthorizationViolation)), Some(401));
        assert_eq!(status_of(&other("maximum connections exceeded")), None);
        assert_eq!(status_of(&Event::Connected), None);
    }
}

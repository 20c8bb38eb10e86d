//! Requests over HTTP: one client for each endpoint, made anew when its files have changed.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::carry::{Count, Wire};
use super::client;
use crate::crm::settings::Endpoint;
use crate::crm::{Load, MOST_OF_BODY, Method, Request, Response};
use crate::outbox::store::Traffic;

/// The connections to an endpoint that speaks HTTP.
pub(super) struct Http {
    endpoint: Endpoint,
    /// `url` of the endpoint; a request's path is appended to it.
    url: reqwest::Url,
    /// Another one when its files have changed.
    client: RwLock<reqwest::Client>,
}

impl Http {
    /// Connects to nobody yet.
    pub(super) fn new(endpoint: &Endpoint, url: reqwest::Url) -> Result<Http, client::Error> {
        let client = RwLock::new(client::client(endpoint, &url)?);
        Ok(Http { endpoint: endpoint.clone(), url, client })
    }

    async fn exchange(&self, request: Request, count: Count<'_>) -> Result<Response, String> {
        let mut url = self.url.clone();
        if !request.path.is_empty() {
            let base = url.as_str().trim_end_matches('/');
            url = format!("{base}{}", request.path).parse().map_err(|_| "the path is no URL".to_string())?;
        }
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        count(Traffic { requests: 1, bytes_out: size_of(&request, &url), ..Traffic::default() });
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut sending = client.request(method, url).timeout(Duration::from_millis(self.endpoint.timeout_ms.max(1)));
        for (name, value) in request.headers {
            sending = sending.header(name, value);
        }
        match sending.body(request.body).send().await {
            Ok(response) => {
                let answer = receive(response, count).await;
                client::refused_certificate(answer.status, &answer.body).map_or(Ok(answer), |why| Err(why.into()))
            }
            Err(error) => Err(client::why(&error, !self.endpoint.client_cert_file.as_os_str().is_empty())),
        }
    }
}

impl Wire for Http {
    fn send<'a>(&'a self, request: Request, count: Count<'a>) -> BoxFuture<'a, Result<Response, String>> {
        Box::pin(self.exchange(request, count))
    }

    fn reload(&self) {
        if self.endpoint.connection_files().next().is_none() {
            return;
        }
        match client::client(&self.endpoint, &self.url) {
            Ok(fresh) => *self.client.write().unwrap_or_else(PoisonError::into_inner) = fresh,
            Err(error) => tracing::error!(%error, "the connection's files stay as they were"),
        }
    }
}

/// The connection is kept when the answer is short; an endless one is cut off.
async fn receive(mut response: reqwest::Response, count: Count<'_>) -> Response {
    let headers = response.headers();
    let retry_after = headers.get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_string);
    let load = load(headers);
    let head: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut read = head + "HTTP/1.1 200 OK\r\n\r\n".len();
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        let room = MOST_OF_BODY.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if chunk.len() > room {
            break;
        }
    }
    count(Traffic { bytes_in: read as u64, ..Traffic::default() });
    Response { status, retry_after, load, body }
}

fn load(headers: &reqwest::header::HeaderMap) -> Option<Load> {
    let number = |name| headers.get(name)?.to_str().ok()?.trim().parse().ok();
    Some(Load { running: number("x-concurrencylimit-running")?, limit: number("x-concurrencylimit-limit")? })
}

/// Size of a request as it is written: its line, our headers, and those that the client adds.
fn size_of(request: &Request, url: &reqwest::Url) -> u64 {
    const ADDED: &str = concat!(
        "POST  HTTP/1.1\r\nhost: \r\naccept: */*\r\nuser-agent: kakehashi/",
        env!("CARGO_PKG_VERSION"),
        "\r\ncontent-length: 0000\r\n\r\n"
    );
    let headers: usize = request.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    (ADDED.len() + url.authority().len() + url.path().len() + headers + request.body.len()) as u64
}

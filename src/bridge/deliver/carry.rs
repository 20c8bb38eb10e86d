//! Carries a connector's exchange over HTTP, and counts what goes over the link.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::client;
use super::counts::Counts;
use crate::bridge::now;
use crate::crm::settings::Endpoint;
use crate::crm::{Connector, Exchange, MOST_OF_BODY, MOST_REQUESTS, Method, Request, Response, Step};
use crate::outbox::budget::{Budget, Use};
use crate::outbox::store::Traffic;

/// A receiver, ready to be sent to.
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) connector: Arc<dyn Connector>,
    /// `url` of the endpoint; a request's path is appended to it.
    pub(super) url: reqwest::Url,
    /// Another one when its files have changed.
    pub(super) client: RwLock<reqwest::Client>,
    pub(super) counts: Counts,
    /// Requests of the day, when they are limited.
    pub(super) budget: Option<Budget>,
}

/// How an exchange ended: its result, or why there was no answer (no personal data).
pub(super) type Carried<T> = Result<T, String>;

impl Target {
    /// Carries an exchange to its end. `requests` counts along, also where this is given up half-way.
    pub(super) async fn carry<T>(
        &self,
        mut exchange: Box<dyn Exchange<T>>,
        whom: Use,
        requests: &AtomicU64,
    ) -> Carried<T> {
        let mut answer = None;
        for _ in 0..=MOST_REQUESTS {
            match exchange.next(answer.take(), now().wall) {
                Step::End(end) => return Ok(end),
                Step::Send(request) => {
                    requests.fetch_add(1, Ordering::Relaxed);
                    answer = Some(self.send(request, whom).await?);
                }
            }
        }
        Err(format!("no end after {MOST_REQUESTS} requests"))
    }

    /// Carries an exchange of something live, within the day's requests; `None` when they are used up.
    pub(super) async fn carry_live<T>(&self, exchange: Box<dyn Exchange<T>>) -> Option<Carried<T>> {
        let flight = Flight::of(self)?;
        Some(self.carry(exchange, Use::Live, &flight.requests).await)
    }

    /// Makes the client anew with the files as they are now; connections that are open end with what they carry.
    pub(super) fn reload(&self) {
        if self.endpoint.connection_files().next().is_none() {
            return;
        }
        match client::client(&self.endpoint, &self.url) {
            Ok(fresh) => *self.client.write().unwrap_or_else(PoisonError::into_inner) = fresh,
            Err(error) => tracing::error!(%error, "the connection's files stay as they were"),
        }
    }

    async fn send(&self, request: Request, whom: Use) -> Result<Response, String> {
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
        self.counts.traffic(whom, Traffic { requests: 1, bytes_out: size_of(&request, &url), ..Traffic::default() });
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut sending = client.request(method, url).timeout(self.timeout());
        for (name, value) in request.headers {
            sending = sending.header(name, value);
        }
        match sending.body(request.body).send().await {
            Ok(response) => {
                let answer = self.receive(response, whom).await;
                client::refused_certificate(answer.status, &answer.body).map_or(Ok(answer), |why| Err(why.into()))
            }
            Err(error) => Err(client::why(&error, !self.endpoint.client_cert_file.as_os_str().is_empty())),
        }
    }

    /// The connection is kept when the answer is short; an endless one is cut off.
    async fn receive(&self, mut response: reqwest::Response, whom: Use) -> Response {
        let headers = response.headers();
        let retry_after = headers.get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_string);
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
        self.counts.traffic(whom, Traffic { bytes_in: read as u64, ..Traffic::default() });
        Response { status, retry_after, body }
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.endpoint.timeout_ms.max(1))
    }
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

/// Requests of the day that something live has set aside; what it took is counted at its end, however it ends.
struct Flight<'a> {
    target: &'a Target,
    requests: AtomicU64,
}

impl<'a> Flight<'a> {
    fn of(target: &'a Target) -> Option<Self> {
        if let Some(budget) = &target.budget
            && !budget.reserve(target.connector.declares().most_requests, Use::Live, now().wall)
        {
            return None;
        }
        Some(Self { target, requests: AtomicU64::new(0) })
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(budget) = &self.target.budget {
            let most = self.target.connector.declares().most_requests;
            budget.spend(most, self.requests.load(Ordering::Relaxed), now().wall);
        }
    }
}

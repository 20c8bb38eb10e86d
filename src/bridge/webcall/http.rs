//! The listener's routes: the WHIP endpoint, and the click-to-talk page with its script.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::get;
use bytes::Bytes;

use super::Shared;
use crate::bridge::now;
use crate::panel::http::routes::add_headers;
use crate::panel::http::server::sender;
use crate::pbx::web::request::BODY_BYTES;
use crate::pbx::web::{Reply, Request, Response, Why};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    if shared.settings.page {
        router = router
            .route("/", file(HTML, include_str!("page/index.html")))
            .route("/page.js", file(SCRIPT, include_str!("page/page.js")))
            .route("/whip.js", file(SCRIPT, include_str!("page/whip.js")))
            .route("/sound.js", file(SCRIPT, include_str!("page/sound.js")))
            .route("/page.css", file(STYLE, include_str!("page/page.css")))
            .route("/style.css", file(STYLE, include_str!("../../panel/page/style.css")))
            .layer(middleware::map_response(add_headers));
    }
    router.fallback(whip).with_state(shared)
}

fn file(kind: &'static str, text: &'static str) -> axum::routing::MethodRouter<Arc<Shared>> {
    get(move || async move { ([(header::CONTENT_TYPE, kind)], Body::from(text)) })
}

/// A request with its values in memory.
struct Whole {
    method: String,
    path: String,
    headers: HeaderMap,
    body: Option<Bytes>,
}

impl Whole {
    fn request(&self) -> Request<'_> {
        let value = |name: HeaderName| self.headers.get(name).map(HeaderValue::as_bytes);
        Request {
            method: &self.method,
            path: &self.path,
            host: value(header::HOST),
            origin: value(header::ORIGIN),
            authorization: value(header::AUTHORIZATION),
            content_type: value(header::CONTENT_TYPE),
            accept: value(header::ACCEPT),
            if_match: value(header::IF_MATCH),
            body: self.body.as_deref(),
        }
    }
}

async fn whip(State(shared): State<Arc<Shared>>, request: HttpRequest) -> HttpResponse {
    let Some(from) = sender(&request) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let (head, body) = request.into_parts();
    let patience = Duration::from_millis(shared.settings.header_timeout_ms);
    let Ok(body) = tokio::time::timeout(patience, to_bytes(body, BODY_BYTES)).await else {
        return StatusCode::REQUEST_TIMEOUT.into_response();
    };
    let (method, path) = (head.method.as_str().to_string(), head.uri.path().to_string());
    let whole = Whole { method, path, headers: head.headers, body: body.ok() };
    // on a task of its own: a client that goes away in the middle leaves no peer behind that nobody ends
    let answered = tokio::spawn(async move { answer(&shared, from.ip(), &whole).await }).await;
    match answered {
        Ok(response) => written(response),
        Err(_) => {
            tracing::error!("a request for a web call made the bridge panic; other calls go on");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn answer(shared: &Arc<Shared>, from: std::net::IpAddr, whole: &Whole) -> Response {
    let request = whole.request();
    let reply = {
        let mut state = shared.state.lock().await;
        let reply = state.calls.handle(now(), from, &request);
        shared.drain(&mut state).await;
        reply
    };
    match reply {
        Reply::Done(response) => response,
        Reply::Negotiate(asked) => {
            let session = asked.session;
            let local = shared.negotiate(asked).await;
            tell(local.as_ref().err().copied());
            let mut state = shared.state.lock().await;
            let response = state.calls.negotiated(now(), &request, session, local.as_ref().map_err(|why| *why));
            shared.drain(&mut state).await;
            response
        }
        Reply::Restart(session, offer) => {
            let local = shared.restart(session, offer).await;
            tell(local.as_ref().err().copied());
            let mut state = shared.state.lock().await;
            state.calls.restarted(&request, session, local.as_ref().map_err(|why| *why))
        }
    }
}

fn tell(failed: Option<Why>) {
    if let Some(why) = failed {
        tracing::warn!("an offer could not be answered: {}", why.text());
    }
}

fn written(response: Response) -> HttpResponse {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut written = (status, response.body).into_response();
    written.headers_mut().remove(header::CONTENT_TYPE);
    let fixed = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")];
    let fixed = fixed.into_iter().map(|(name, value)| (name, value.to_string()));
    for (name, value) in response.headers.into_iter().chain(fixed) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            written.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    written
}

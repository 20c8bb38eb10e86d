//! The routes: the embedded page, the feed, the snapshot, sign-in and health.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::control::{self, Controller};
use super::guard::{Guard, Refusal};
use super::handle::FeedHandle;
use super::stream::Client;
use super::wall;
use super::web_calls::{self, Opener};
use super::{annotate, context, correct, deliveries, events};
use crate::panel::feed::Filter;

/// Greatest body of a request, in bytes.
pub(super) const BODY_BYTES: usize = 1_024;
/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// What the handlers share.
pub(super) struct Shared {
    pub(super) feed: FeedHandle,
    pub(super) controller: Option<Controller>,
    pub(super) opener: Option<Opener>,
    /// Another one when tokens, clients or host names change.
    pub(super) guard: RwLock<Arc<Guard>>,
    pub(super) ready: AtomicBool,
    pub(super) metrics: OnceLock<super::Metrics>,
    pub(super) events: OnceLock<events::Events>,
    pub(super) deliveries: OnceLock<Arc<dyn deliveries::Deliveries>>,
    pub(super) clients: Arc<Semaphore>,
    pub(super) keep_alive: Duration,
    pub(super) body_timeout: Duration,
    pub(super) context: crate::call::context::Settings,
}

impl Shared {
    /// Who is let in now.
    pub(super) fn guard(&self) -> Arc<Guard> {
        Arc::clone(&self.guard.read().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let api = Router::new()
        .route("/v1/feed", get(feed))
        .route("/v1/contacts", get(contacts))
        .route("/v1/contacts/{id}/pause", post(control::pause))
        .route("/v1/contacts/{id}/resume", post(control::resume))
        .route("/v1/contacts/{id}/marks", post(annotate::mark))
        .route("/v1/contacts/{id}/marks/{mark}", delete(annotate::unmark))
        .route("/v1/contacts/{id}/note", post(annotate::note))
        .route("/v1/web-calls", post(web_calls::open))
        .route("/metrics", get(metrics))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), ask_token));
    Router::new()
        .route("/", page(HTML, include_str!("../page/index.html")))
        .route("/app.js", page(SCRIPT, include_str!("../page/app.js")))
        .route("/state.js", page(SCRIPT, include_str!("../page/state.js")))
        .route("/view.js", page(SCRIPT, include_str!("../page/view.js")))
        .route("/talk.js", page(SCRIPT, include_str!("../page/talk.js")))
        .route("/why.js", page(SCRIPT, include_str!("../page/why.js")))
        .route("/words.js", page(SCRIPT, include_str!("../page/words.js")))
        .route("/style.css", page(STYLE, include_str!("../page/style.css")))
        .route("/icon.svg", page(PICTURE, include_str!("../page/icon.svg")))
        .route("/v1/session", get(session).post(sign_in).delete(sign_out))
        .route("/v1/context", post(context::post))
        .route("/v1/context/{id}", delete(context::delete))
        .route("/v1/contacts/{id}/corrections", post(correct::post))
        .route("/v1/events/{id}", get(events::get))
        .route("/v1/deliveries", get(deliveries::list))
        .route("/v1/deliveries/replay", post(deliveries::replay))
        .route("/v1/deliveries/discard", post(deliveries::discard))
        .route("/v1/endpoints", get(deliveries::endpoints))
        .route("/v1/traffic", get(deliveries::traffic))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .merge(api)
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such page; the panel is at /") })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), ask_host))
        .layer(middleware::map_response(add_headers))
        .with_state(shared)
}

/// Which contacts are wanted, and where the client was.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    extension: Option<String>,
    agent: Option<String>,
    /// The same as the header `Last-Event-ID`, for a client that starts a new connection by itself.
    last_event_id: Option<String>,
}

impl Wish {
    fn filter(&self) -> Filter {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Filter { extension: some(&self.extension), agent: some(&self.agent) }
    }
}

async fn feed(State(shared): State<Arc<Shared>>, Query(wish): Query<Wish>, headers: HeaderMap) -> Response {
    let Ok(seat) = Arc::clone(&shared.clients).try_acquire_owned() else {
        return full("all places of [panel] max_clients are taken");
    };
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let last = header.or(wish.last_event_id.as_deref()).filter(|last| !last.is_empty());
    let (place, published) = shared.feed.subscribe(wish.filter(), last);
    let keep_alive = shared.keep_alive;
    let client = Client { feed: shared.feed.clone(), place, published, keep_alive, _seat: seat };
    (
        [(header::CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")],
        client.into_body(),
    )
        .into_response()
}

async fn contacts(State(shared): State<Arc<Shared>>, Query(wish): Query<Wish>) -> Response {
    let (asof, contacts) = shared.feed.snapshot(&wish.filter());
    let contacts: Vec<String> = contacts.iter().map(|contact| contact.json()).collect();
    let text =
        format!("{{\"asof\":\"{asof}\",\"now\":\"{}\",\"contacts\":[{}]}}", wall().rfc3339(), contacts.join(","));
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn session(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let signed_in = shared.guard().check_token(&headers).is_ok();
    axum::Json(serde_json::json!({"signed_in": signed_in, "token_required": shared.guard().needs_token()}))
        .into_response()
}

async fn sign_in(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    #[derive(Deserialize)]
    struct SignIn {
        token: String,
    }
    if let Err(refusal) = Guard::check_origin(request.headers()) {
        return refused(refusal);
    }
    let body = tokio::time::timeout(shared.body_timeout, to_bytes(request.into_body(), BODY_BYTES)).await;
    let Ok(body) = body else { return problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time") };
    let given = body.ok().and_then(|body| serde_json::from_slice::<SignIn>(&body).ok());
    let Some(given) = given else { return problem(StatusCode::BAD_REQUEST, "expected {\"token\":\"…\"} as JSON") };
    match shared.guard().sign_in(given.token.trim().as_bytes()) {
        Ok(Some(cookie)) => (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response(),
        Ok(None) => refused(Refusal::NotSignedIn),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "no random numbers from the system"),
    }
}

async fn sign_out(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = Guard::check_origin(&headers) {
        return refused(refusal);
    }
    let cleared = shared.guard().sign_out(&headers);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cleared)]).into_response()
}

async fn health() -> Response {
    axum::Json(serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.metrics.get().map(|metrics| metrics()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn readiness(State(shared): State<Arc<Shared>>) -> Response {
    if shared.ready.load(Ordering::Relaxed) {
        axum::Json(serde_json::json!({"ready": true})).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, axum::Json(serde_json::json!({"ready": false}))).into_response()
    }
}

async fn ask_host(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match shared.guard().check_host(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    }
}

async fn ask_token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    match Guard::check_origin(headers).and_then(|()| shared.guard().check_token(headers)) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    }
}

pub(crate) async fn add_headers(mut response: Response) -> Response {
    let fixed = [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(HeaderName::from_static(name), header::HeaderValue::from_static(value));
    }
    response
}

fn page(kind: &'static str, text: &'static str) -> axum::routing::MethodRouter<Arc<Shared>> {
    get(move || async move { ([(header::CONTENT_TYPE, kind)], Body::from(text)) })
}

pub(super) fn refused(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Host => problem(
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not the panel's; add it to [panel] hosts if it should be",
        ),
        Refusal::Origin => problem(StatusCode::FORBIDDEN, "requests from pages of other sites are refused"),
        Refusal::NotAllowed(right) => problem(
            StatusCode::FORBIDDEN,
            &format!("this client may not do that; set `{right} = true` in its [[panel.client]] if it should"),
        ),
        Refusal::NotSignedIn => {
            let mut response = problem(StatusCode::UNAUTHORIZED, "the panel's token is required");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            response
        }
    }
}

pub(super) fn full(what: &str) -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, what);
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    response
}

pub(super) fn problem(status: StatusCode, what: &str) -> Response {
    (status, axum::Json(serde_json::json!({"error": what}))).into_response()
}

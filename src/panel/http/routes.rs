//! The routes: the embedded page, the feed, the snapshot, sign-in and health.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::api::{Operation, Problem, Query, Who, operations};
use super::control::Controller;
use super::guard::{Guard, Refusal};
use super::handle::FeedHandle;
use super::stream::Client;
use super::wall;
use super::web_calls::Opener;
use super::{deliveries, events};
use crate::panel::feed::Filter;
use crate::panel::told::Contact;

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
    let (of_panel, others): (Vec<_>, Vec<_>) = operations().into_iter().partition(|one| one.who == Who::Panel);
    let routes = |operations: Vec<Operation>| {
        operations.into_iter().fold(Router::new(), |router, one| router.route(one.path, one.handler))
    };
    let api = routes(of_panel).route_layer(middleware::from_fn_with_state(Arc::clone(&shared), ask_token));
    routes(others)
        .route("/", page(HTML, include_str!("../page/index.html")))
        .route("/app.js", page(SCRIPT, include_str!("../page/app.js")))
        .route("/state.js", page(SCRIPT, include_str!("../page/state.js")))
        .route("/view.js", page(SCRIPT, include_str!("../page/view.js")))
        .route("/talk.js", page(SCRIPT, include_str!("../page/talk.js")))
        .route("/why.js", page(SCRIPT, include_str!("../page/why.js")))
        .route("/words.js", page(SCRIPT, include_str!("../page/words.js")))
        .route("/style.css", page(STYLE, include_str!("../page/style.css")))
        .route("/icon.svg", page(PICTURE, include_str!("../page/icon.svg")))
        .merge(api)
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such page; the panel is at /") })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), ask_host))
        .layer(middleware::map_response(add_headers))
        .with_state(shared)
}

/// Which contacts are wanted, and where the client was.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Wish {
    /// Only what concerns the agent with this extension.
    extension: Option<String>,
    /// Only what concerns the agent with this id.
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

/// What `GET /v1/contacts` answers; written by hand, since its events are JSON already.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `contacts` writes")]
pub(super) struct Contacts {
    /// The id of the feed to go on from.
    asof: String,
    /// The server's time.
    #[schemars(extend("format" = "date-time"))]
    now: String,
    /// The contacts.
    contacts: Vec<Contact>,
}

/// Who asks.
#[derive(Serialize, JsonSchema)]
pub(super) struct Session {
    /// They have the token or the cookie, or none is needed.
    signed_in: bool,
    /// Operators have to sign in.
    token_required: bool,
}

/// What signs in.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SignIn {
    /// The panel's token.
    token: String,
}

/// That the process answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
    /// Of the program.
    version: &'static str,
}

/// Whether calls are taken.
#[derive(Serialize, JsonSchema)]
pub(super) struct Readiness {
    /// They are.
    ready: bool,
}

pub(super) async fn feed(State(shared): State<Arc<Shared>>, Query(wish): Query<Wish>, headers: HeaderMap) -> Response {
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

pub(super) async fn contacts(State(shared): State<Arc<Shared>>, Query(wish): Query<Wish>) -> Response {
    let (asof, contacts) = shared.feed.snapshot(&wish.filter());
    let contacts: Vec<String> = contacts.iter().map(|contact| contact.json()).collect();
    let text =
        format!("{{\"asof\":\"{asof}\",\"now\":\"{}\",\"contacts\":[{}]}}", wall().rfc3339(), contacts.join(","));
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

pub(super) async fn session(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let guard = shared.guard();
    let signed_in = guard.check_token(&headers).is_ok();
    axum::Json(Session { signed_in, token_required: guard.needs_token() }).into_response()
}

pub(super) async fn sign_in(State(shared): State<Arc<Shared>>, request: Request) -> Response {
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

pub(super) async fn sign_out(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = Guard::check_origin(&headers) {
        return refused(refusal);
    }
    let cleared = shared.guard().sign_out(&headers);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cleared)]).into_response()
}

pub(super) async fn health() -> Response {
    axum::Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") }).into_response()
}

pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.metrics.get().map(|metrics| metrics()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

pub(super) async fn readiness(State(shared): State<Arc<Shared>>) -> Response {
    if shared.ready.load(Ordering::Relaxed) {
        axum::Json(Readiness { ready: true }).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, axum::Json(Readiness { ready: false })).into_response()
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
    (status, axum::Json(Problem { error: what.into() })).into_response()
}

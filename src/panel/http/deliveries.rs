//! What became of the events at their endpoints, for whoever administers the bridge: `GET /v1/deliveries`, `POST /v1/deliveries/replay` and
//! `…/discard`, `GET /v1/endpoints`, `GET /v1/traffic`. Only for a `[[panel.client]]` with `deliveries`. `docs/api.md` describes it.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::control::{NoBody, body, too_slow};
use super::guard::{Guard, Refusal};
use super::routes::{Shared, problem, refused};

/// Most deliveries of one answer.
const MOST: u32 = 1_000;
/// Deliveries of an answer when nobody says how many.
const USUAL: u32 = 50;
/// Greatest body of a request, in bytes: a thousand numbers.
const BODY_BYTES: usize = 32 * 1_024;
/// Greatest note of a discarded dead letter, in characters.
const NOTE: usize = 200;
/// States that can be asked for.
const STATES: [&str; 5] = ["pending", "delivered", "dead", "replay", "discarded"];

/// Who keeps the deliveries. Every call may wait for the disk; errors are for the log.
pub trait Deliveries: Send + Sync {
    /// Deliveries in a state, newest first, as JSON objects.
    fn list(&self, status: Option<&str>, limit: u32) -> Result<Value, String>;

    /// Dead letters to be sent again: all, or the named ones. Gives how many.
    fn replay(&self, deliveries: Option<&[i64]>) -> Result<usize, String>;

    /// Dead letters to be set aside for good: all, or the named ones. Gives how many.
    fn discard(&self, deliveries: Option<&[i64]>, note: &str) -> Result<usize, String>;

    /// The endpoints: how each does, and the sums of its deliveries.
    fn endpoints(&self) -> Result<Value, String>;

    /// Requests, bytes and events by day, endpoint and use, newest day first.
    fn traffic(&self, days: u32) -> Result<Value, String>;
}

/// Which deliveries are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    status: Option<String>,
    limit: Option<u32>,
}

/// How much traffic is listed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Days {
    days: Option<u32>,
}

/// Which dead letters are meant.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Chosen {
    deliveries: Vec<i64>,
    all: bool,
    note: Option<String>,
}

impl Chosen {
    fn is_good(&self) -> bool {
        let named = !self.deliveries.is_empty() && self.deliveries.len() <= MOST as usize;
        named != self.all && self.note.as_ref().is_none_or(|note| note.chars().count() <= NOTE)
    }

    fn ids(&self) -> Option<&[i64]> {
        (!self.all).then_some(self.deliveries.as_slice())
    }
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    if wanted.status.as_deref().is_some_and(|status| !STATES.contains(&status)) {
        return problem(StatusCode::BAD_REQUEST, &format!("status: expected one of {}", STATES.join(", ")));
    }
    let limit = wanted.limit.unwrap_or(USUAL).clamp(1, MOST);
    ask(&shared, &headers, move |kept| Ok(json!({"deliveries": kept.list(wanted.status.as_deref(), limit)?}))).await
}

pub(super) async fn endpoints(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    ask(&shared, &headers, |kept| Ok(json!({"endpoints": kept.endpoints()?}))).await
}

pub(super) async fn traffic(
    State(shared): State<Arc<Shared>>,
    Query(days): Query<Days>,
    headers: HeaderMap,
) -> Response {
    let days = days.days.unwrap_or(31).clamp(1, 3_660);
    ask(&shared, &headers, move |kept| Ok(json!({"traffic": kept.traffic(days)?}))).await
}

pub(super) async fn replay(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    change(&shared, request, "sent again", |kept, chosen| kept.replay(chosen.ids())).await
}

pub(super) async fn discard(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let set_aside = |kept: &dyn Deliveries, chosen: &Chosen| {
        kept.discard(chosen.ids(), chosen.note.as_deref().unwrap_or("discarded over the API"))
    };
    change(&shared, request, "set aside", set_aside).await
}

/// Does something about dead letters, and says in the log who wanted it.
async fn change(
    shared: &Shared,
    request: Request,
    what: &'static str,
    make: fn(&dyn Deliveries, &Chosen) -> Result<usize, String>,
) -> Response {
    let headers = request.headers().clone();
    let from = match administrator(shared, &headers) {
        Ok(from) => from,
        Err(refusal) => return refused(refusal),
    };
    let chosen = match body(shared, request, BODY_BYTES).await {
        Ok(body) => serde_json::from_slice::<Chosen>(&body).ok().filter(Chosen::is_good),
        Err(NoBody::TooLong) => None,
        Err(NoBody::TooSlow) => return too_slow(),
    };
    let Some(chosen) = chosen else {
        let expected = format!(
            "expected {{\"deliveries\":[1 to {MOST} numbers of dead letters]}} or {{\"all\":true}} as JSON; discard takes a note of at most {NOTE} characters, too"
        );
        return problem(StatusCode::BAD_REQUEST, &expected);
    };
    ask(shared, &headers, move |kept| {
        let count = make(kept, &chosen)?;
        tracing::info!(client = from, count, what, "dead letters");
        Ok(json!({ "count": count }))
    })
    .await
}

async fn ask(
    shared: &Shared,
    headers: &HeaderMap,
    question: impl FnOnce(&dyn Deliveries) -> Result<Value, String> + Send + 'static,
) -> Response {
    if let Err(refusal) = administrator(shared, headers) {
        return refused(refusal);
    }
    let Some(kept) = shared.deliveries.get().cloned() else {
        return problem(StatusCode::NOT_IMPLEMENTED, "this panel only shows; no bridge keeps deliveries");
    };
    let answered = tokio::task::spawn_blocking(move || question(&*kept)).await;
    match answered.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(error) => {
            tracing::error!(error, "the deliveries cannot be read or changed");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the outbox cannot be read or changed; see the bridge's log")
        }
    }
}

fn administrator(shared: &Shared, headers: &HeaderMap) -> Result<String, Refusal> {
    Guard::check_origin(headers).and_then(|()| shared.guard().administrator(headers))
}

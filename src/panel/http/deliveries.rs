//! What became of the events at their endpoints, for whoever administers the bridge: `GET /v1/deliveries`, `POST /v1/deliveries/replay` and
//! `…/discard`, `GET /v1/endpoints`, `GET /v1/traffic`. Only for a `[[panel.client]]` with `deliveries`. `docs/api.md` describes it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Query;
use super::control::{NoBody, body, too_slow};
use super::guard::{Guard, Refusal};
use super::routes::{Shared, problem, refused};
use crate::outbox::store::{Listed, TrafficDay};

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
    /// Deliveries in a state, newest first.
    fn list(&self, status: Option<&str>, limit: u32) -> Result<Vec<Listed>, String>;

    /// Dead letters to be sent again: all, or the named ones. Gives how many.
    fn replay(&self, deliveries: Option<&[i64]>) -> Result<usize, String>;

    /// Dead letters to be set aside for good: all, or the named ones. Gives how many.
    fn discard(&self, deliveries: Option<&[i64]>, note: &str) -> Result<usize, String>;

    /// The endpoints: how each does, and the sums of its deliveries.
    fn endpoints(&self) -> Result<Vec<Endpoint>, String>;

    /// Requests, bytes and events by day, endpoint and use, newest day first.
    fn traffic(&self, days: u32) -> Result<Vec<TrafficDay>, String>;
}

/// Deliveries.
#[derive(Serialize, JsonSchema)]
pub(super) struct DeliveryList {
    /// Newest first.
    deliveries: Vec<Listed>,
}

/// Endpoints.
#[derive(Serialize, JsonSchema)]
pub(super) struct EndpointList {
    /// In the order of the configuration.
    endpoints: Vec<Endpoint>,
}

/// An endpoint as whoever administers the bridge sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Endpoint {
    /// `[[endpoint]] id`.
    pub id: String,
    /// How it does.
    pub state: EndpointState,
    /// Deliveries that wait.
    pub pending: u64,
    /// When the oldest event that waits happened.
    #[schemars(extend("format" = "date-time"))]
    pub oldest: Option<String>,
    /// Dead letters.
    pub dead: u64,
    /// Dead letters that will be sent again.
    pub replay: u64,
    /// Dead letters that were set aside for good.
    pub discarded: u64,
    /// Since the bridge was started.
    pub since_start: SinceStart,
}

/// How an endpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// It answers.
    Up,
    /// It does not answer.
    Down,
    /// Its requests of the day are used up.
    Dry,
    /// It wants nothing any more (410).
    Off,
}

/// Sums of an endpoint: left + accepted + replayed = delivered + dead + dropped + pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SinceStart {
    /// Deliveries left from before the start.
    pub left: u64,
    /// Deliveries made since.
    pub accepted: u64,
    /// Dead letters that a person sent again.
    pub replayed: u64,
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Deliveries that became dead letters.
    pub dead: u64,
    /// Deliveries that came too late to be of use.
    pub dropped: u64,
    /// Attempts.
    pub attempts: u64,
}

/// Traffic.
#[derive(Serialize, JsonSchema)]
pub(super) struct TrafficList {
    /// By day, endpoint and use; newest day first.
    traffic: Vec<TrafficDay>,
}

/// How many.
#[derive(Serialize, JsonSchema)]
pub(super) struct Counted {
    /// Dead letters that were meant.
    count: usize,
}

/// Which deliveries are listed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Wanted {
    /// In this state only.
    #[schemars(extend("enum" = STATES))]
    status: Option<String>,
    /// At most so many: 1 to 1,000, else the nearest; 50 when nobody says.
    limit: Option<u32>,
}

/// How much traffic is listed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Days {
    /// So many days back: 1 to 3,660, else the nearest; 31 when nobody says.
    days: Option<u32>,
}

/// Which dead letters are meant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [
    {"required": ["deliveries"], "properties": {"deliveries": {"minItems": 1}, "all": {"const": false}}},
    {"required": ["all"], "properties": {"deliveries": {"maxItems": 0}, "all": {"const": true}}},
]))]
pub(super) struct Chosen {
    /// These.
    #[schemars(length(max = MOST))]
    deliveries: Vec<i64>,
    /// All there are.
    all: bool,
    /// Why they are set aside.
    #[schemars(length(max = NOTE))]
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
    ask(&shared, &headers, move |kept| Ok(DeliveryList { deliveries: kept.list(wanted.status.as_deref(), limit)? }))
        .await
}

pub(super) async fn endpoints(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    ask(&shared, &headers, |kept| Ok(EndpointList { endpoints: kept.endpoints()? })).await
}

pub(super) async fn traffic(
    State(shared): State<Arc<Shared>>,
    Query(days): Query<Days>,
    headers: HeaderMap,
) -> Response {
    let days = days.days.unwrap_or(31).clamp(1, 3_660);
    ask(&shared, &headers, move |kept| Ok(TrafficList { traffic: kept.traffic(days)? })).await
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
        Ok(Counted { count })
    })
    .await
}

async fn ask<T: Serialize + Send + 'static>(
    shared: &Shared,
    headers: &HeaderMap,
    question: impl FnOnce(&dyn Deliveries) -> Result<T, String> + Send + 'static,
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

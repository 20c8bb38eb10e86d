//! Tokens for web calls (`POST /v1/web-calls`): asked here, made by whoever takes web calls.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::routes::{BODY_BYTES, Shared, full, problem};
use crate::call::ContactId;
use crate::pbx::{ExternalKey, Speaker};

/// Longest value of a field, in characters.
const FIELD_MAX: usize = 128;

/// What a token is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["extension"], "anyOf" = [{"required": ["contact"]}, {"required": ["pbx", "called"]}]))]
pub struct WebCall {
    /// A running contact to which the sound belongs; without it a new call appears.
    pub contact: Option<ContactId>,
    /// The exchange of a new call (`[[pbx]] id`, one with `[pbx.web]`).
    #[schemars(length(max = FIELD_MAX))]
    pub pbx: String,
    /// The dialled line of a new call.
    #[schemars(length(max = FIELD_MAX))]
    pub called: String,
    /// The agent's extension.
    #[schemars(length(max = FIELD_MAX))]
    pub extension: String,
    /// The caller's number; empty: unknown.
    #[schemars(length(max = FIELD_MAX))]
    pub number: String,
    /// The caller's name; empty: unknown.
    #[schemars(length(max = FIELD_MAX))]
    pub name: String,
    /// Who is heard on the audio lines, in their order; empty: as `[pbx.web]` says.
    pub tracks: Vec<Speaker>,
}

impl WebCall {
    /// The first thing that is missing or too long.
    fn fault(&self) -> Option<&'static str> {
        let all = [&self.pbx, &self.called, &self.extension, &self.number, &self.name];
        if all.iter().any(|text| text.chars().count() > FIELD_MAX || text.chars().any(char::is_control)) {
            return Some("a field is longer than 128 characters, or has control characters");
        }
        let new = self.contact.is_none() && (self.pbx.is_empty() || self.called.is_empty());
        if new || self.extension.is_empty() { Some(EXPECTED) } else { None }
    }
}

/// A token with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OpenedCall {
    /// The bearer token; nobody can ask for it again.
    pub token: String,
    /// The contact on which the text appears.
    pub contact: ContactId,
    /// The identifier under which the contact is known by its token.
    pub key: ExternalKey,
    /// Where the offer goes.
    pub whip_url: String,
    /// When it expires, as RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub expires: String,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebCallRefused {
    /// A field names something that does not exist or may not be; says what.
    Wrong(String),
    /// No running contact has this id.
    Unknown,
    /// No room; says which.
    Full(&'static str),
}

/// Takes wishes to whoever takes web calls; `false` when it has no room or there is nobody.
pub type Opener = Arc<dyn Fn(WebCall, oneshot::Sender<Result<OpenedCall, WebCallRefused>>) -> bool + Send + Sync>;

const EXPECTED: &str = "expected {\"pbx\":\"…\", \"called\":\"the dialled line\", \"extension\":\"of the agent\"} or {\"contact\":\"…\", \"extension\":\"…\"} \
     as JSON, at most 1024 bytes; number, name and tracks may be there too";

pub(super) async fn open(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let body = tokio::time::timeout(shared.body_timeout, to_bytes(request.into_body(), BODY_BYTES)).await;
    let Ok(body) = body else { return problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time") };
    let asked = body.ok().and_then(|body| serde_json::from_slice::<WebCall>(&body).ok());
    let Some(asked) = asked else { return problem(StatusCode::BAD_REQUEST, EXPECTED) };
    if let Some(fault) = asked.fault() {
        return problem(StatusCode::BAD_REQUEST, fault);
    }
    let Some(opener) = &shared.opener else {
        return problem(StatusCode::NOT_IMPLEMENTED, "no web calls are taken here; set [webcall] enabled");
    };
    let (answer, answered) = oneshot::channel();
    if !opener(asked, answer) {
        return full("the bridge has too much to do; try again");
    }
    match answered.await {
        Ok(Ok(opened)) => (StatusCode::CREATED, axum::Json(opened)).into_response(),
        Ok(Err(WebCallRefused::Wrong(what))) => problem(StatusCode::UNPROCESSABLE_ENTITY, &what),
        Ok(Err(WebCallRefused::Unknown)) => {
            problem(StatusCode::NOT_FOUND, "no running contact has this id; expected one of GET /v1/contacts")
        }
        Ok(Err(WebCallRefused::Full(what))) => full(what),
        Err(_) => full("the bridge is stopping"),
    }
}

//! What a person asks of a running contact: pause and resume (`POST /v1/contacts/{id}/pause`, `…/resume`).

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::routes::{BODY_BYTES, Shared, full, problem};
use crate::call::ContactId;
use crate::call::pause::{Paused, Refused, Scope};

/// One wish for a running contact; whoever carries it out answers.
#[derive(Debug)]
pub struct Control {
    /// Which contact.
    pub contact: ContactId,
    /// `true`: pause; `false`: go on.
    pub pause: bool,
    /// What.
    pub scope: Scope,
    /// Why, in a few words.
    pub reason: Option<String>,
    /// What is paused afterwards.
    pub answer: oneshot::Sender<Result<Paused, Refused>>,
}

/// Takes wishes to whoever carries them out; `false` when it has no room for one.
pub type Controller = Arc<dyn Fn(Control) -> bool + Send + Sync>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Wish {
    scope: Scope,
    reason: Option<String>,
}

const EXPECTED: &str = "expected {\"scope\":\"record\", \"transcribe\" or \"both\", \"reason\":\"a few words\"} as JSON, at most 1024 bytes; both may be left out";

pub(super) async fn pause(shared: State<Arc<Shared>>, contact: Path<String>, request: Request) -> Response {
    carry_out(shared, contact, request, true).await
}

pub(super) async fn resume(shared: State<Arc<Shared>>, contact: Path<String>, request: Request) -> Response {
    carry_out(shared, contact, request, false).await
}

async fn carry_out(
    State(shared): State<Arc<Shared>>,
    Path(contact): Path<String>,
    request: Request,
    pause: bool,
) -> Response {
    let Ok(contact) = contact.parse().map(ContactId) else {
        return problem(
            StatusCode::BAD_REQUEST,
            "the contact in the path is not a UUID; expected the id of GET /v1/contacts",
        );
    };
    let body = tokio::time::timeout(shared.body_timeout, to_bytes(request.into_body(), BODY_BYTES)).await;
    let Ok(body) = body else { return problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time") };
    let wish = match body {
        Ok(body) if body.is_empty() => Some(Wish::default()),
        Ok(body) => serde_json::from_slice(&body).ok(),
        Err(_) => None,
    };
    let Some(Wish { scope, reason }) = wish else { return problem(StatusCode::BAD_REQUEST, EXPECTED) };
    let Some(controller) = &shared.controller else {
        return problem(StatusCode::NOT_IMPLEMENTED, "this panel only shows; no bridge carries out pauses");
    };
    let (answer, answered) = oneshot::channel();
    if !controller(Control { contact, pause, scope, reason, answer }) {
        return full("the bridge has too much to do; try again");
    }
    match answered.await {
        Ok(Ok(paused)) => axum::Json(paused).into_response(),
        Ok(Err(Refused::Unknown)) => {
            problem(StatusCode::NOT_FOUND, "no running contact has this id; expected one of GET /v1/contacts")
        }
        Ok(Err(Refused::Ended)) => {
            problem(StatusCode::CONFLICT, "the contact has ended; only a running one can be paused")
        }
        Err(_) => full("the bridge is stopping"),
    }
}

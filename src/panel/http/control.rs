//! What is asked of the bridge over HTTP, and the first of it: pause and resume (`POST /v1/contacts/{id}/pause`, `…/resume`).

use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::api::Path;
use super::routes::{BODY_BYTES, Shared, full, problem};
use crate::call::ContactId;
use crate::call::context::{self, Accepted};
use crate::call::correction::{self, Corrected, Correction};
use crate::call::note::{self, Annotation};
use crate::call::pause::{Paused, Refused, Scope};

/// Resolves when what was accepted is on disk.
pub type Stored = oneshot::Receiver<()>;

/// One wish; whoever carries it out answers.
#[derive(Debug)]
pub enum Control {
    /// Pause a running contact, or let it go on.
    Pause(Pause),
    /// Keep what is known before a call, or take it back.
    Context {
        /// Who asks: a `[[panel.client]]`, or `panel`.
        from: String,
        /// What.
        wish: context::Wish,
        /// What became of it; it is on disk when the receiver resolves.
        answer: oneshot::Sender<Result<(Accepted, Stored), context::Refused>>,
    },
    /// Mark a passage of a running contact, or write the note for whoever takes over.
    Annotate {
        /// Which contact.
        contact: ContactId,
        /// What.
        annotation: Annotation,
        /// The mark, where it is about one; it is on disk when the receiver resolves.
        answer: oneshot::Sender<Result<(Option<Uuid>, Stored), note::Refused>>,
    },
    /// Put the text of an utterance right.
    Correct {
        /// Which contact, running or over.
        contact: ContactId,
        /// What.
        correction: Correction,
        /// What is kept of it; it is on disk when the receiver resolves.
        answer: oneshot::Sender<Result<(Corrected, Stored), correction::Refused>>,
    },
}

/// Pause and resume.
#[derive(Debug)]
pub struct Pause {
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

/// What is to be paused, or to go on.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "PauseWish")]
pub(super) struct Wish {
    /// What.
    scope: Scope,
    /// Why, in a few words.
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
    let contact = match contact_id(&contact) {
        Ok(contact) => contact,
        Err(answer) => return answer,
    };
    let wish = match body(&shared, request, BODY_BYTES).await {
        Ok(body) if body.is_empty() => Some(Wish::default()),
        Ok(body) => serde_json::from_slice(&body).ok(),
        Err(NoBody::TooLong) => None,
        Err(NoBody::TooSlow) => return too_slow(),
    };
    let Some(Wish { scope, reason }) = wish else { return problem(StatusCode::BAD_REQUEST, EXPECTED) };
    let (answer, answered) = oneshot::channel();
    if let Err(answer) = ask(&shared, Control::Pause(Pause { contact, pause, scope, reason, answer })) {
        return answer;
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

/// Why there is no body.
pub(super) enum NoBody {
    TooLong,
    TooSlow,
}

pub(super) async fn body(shared: &Shared, request: Request, most: usize) -> Result<Bytes, NoBody> {
    match tokio::time::timeout(shared.body_timeout, to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(NoBody::TooLong),
        Err(_) => Err(NoBody::TooSlow),
    }
}

pub(super) fn too_slow() -> Response {
    problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")
}

/// The contact that a path names.
// the answer is what the handler returns at once; boxing it would only move it
#[allow(clippy::result_large_err)]
pub(super) fn contact_id(text: &str) -> Result<ContactId, Response> {
    text.parse().map(ContactId).map_err(|_| {
        problem(StatusCode::BAD_REQUEST, "the contact in the path is not a UUID; expected the id of GET /v1/contacts")
    })
}

/// Takes a wish to the bridge; else what to answer.
#[allow(clippy::result_large_err)]
pub(super) fn ask(shared: &Shared, wish: Control) -> Result<(), Response> {
    let Some(controller) = &shared.controller else {
        return Err(problem(StatusCode::NOT_IMPLEMENTED, "this panel only shows; no bridge carries this out"));
    };
    if controller(wish) { Ok(()) } else { Err(full("the bridge has too much to do; try again")) }
}

//! What is known before a call: `POST /v1/context`, `DELETE /v1/context/{id}`. `docs/api.md` describes both.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::api::Path;
use super::control::{Control, NoBody, ask, body, too_slow};
use super::guard::Guard;
use super::routes::{Shared, full, problem, refused};
use crate::call::ContactId;
use crate::call::context::{Accepted, Fresh, Refused, Wish, Wrong, read};

/// Greatest body of a post, in bytes; what may be in it is less.
const BODY_BYTES: usize = 64 * 1024;

/// A context that was accepted.
#[derive(Serialize, JsonSchema)]
pub(super) struct Told {
    /// Its id.
    context: Uuid,
    /// Counts what the source posted for this target, from 1.
    version: u32,
    /// Until when it waits for a call.
    #[schemars(extend("format" = "date-time"))]
    expires: String,
    /// Running contacts that have it now.
    attached: Vec<ContactId>,
}

/// What is wrong with a post.
#[derive(Serialize, JsonSchema)]
pub(super) struct WrongField {
    /// What was expected.
    error: String,
    /// Where, for example `context.slots[2].value`; empty for the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

pub(super) async fn post(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let source = Guard::check_origin(request.headers()).and_then(|()| shared.guard().source(request.headers()));
    let from = match source {
        Ok(from) => from,
        Err(refusal) => return refused(refusal),
    };
    let body = match body(&shared, request, BODY_BYTES).await {
        Ok(body) => body,
        Err(NoBody::TooLong) => {
            return problem(StatusCode::PAYLOAD_TOO_LARGE, "expected a body of at most 65536 bytes");
        }
        Err(NoBody::TooSlow) => return too_slow(),
    };
    match read(&body, &shared.context) {
        Ok(post) => carry_out(&shared, from, Wish::Post(Box::new(post))).await,
        Err(Wrong { field, problem }) => {
            let error = if field.is_empty() { problem } else { format!("{field}: {problem}") };
            (StatusCode::BAD_REQUEST, axum::Json(WrongField { error, field: Some(field) })).into_response()
        }
    }
}

pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(context): Path<String>,
    request: Request,
) -> Response {
    let source = Guard::check_origin(request.headers()).and_then(|()| shared.guard().source(request.headers()));
    let from = match source {
        Ok(from) => from,
        Err(refusal) => return refused(refusal),
    };
    match context.parse() {
        Ok(id) => carry_out(&shared, from, Wish::Delete(id)).await,
        Err(_) => problem(
            StatusCode::BAD_REQUEST,
            "the context in the path is not a UUID; expected the `context` of the answer to the post",
        ),
    }
}

async fn carry_out(shared: &Shared, from: String, wish: Wish) -> Response {
    let delete = matches!(wish, Wish::Delete(_));
    let (answer, answered) = oneshot::channel();
    if let Err(answer) = ask(shared, Control::Context { from, wish, answer }) {
        return answer;
    }
    let (accepted, stored) = match answered.await {
        Ok(Ok(done)) => done,
        Ok(Err(refusal)) => return why(refusal, delete),
        Err(_) => return full("the bridge is stopping"),
    };
    // accepted means on disk
    if stored.await.is_err() {
        return full("the bridge is stopping");
    }
    if delete { StatusCode::NO_CONTENT.into_response() } else { told(&accepted) }
}

fn told(accepted: &Accepted) -> Response {
    let status = if accepted.fresh == Fresh::New { StatusCode::CREATED } else { StatusCode::OK };
    let body = Told {
        context: accepted.id,
        version: accepted.version,
        expires: accepted.expires.rfc3339(),
        attached: accepted.attached.clone(),
    };
    (status, axum::Json(body)).into_response()
}

fn why(refusal: Refused, delete: bool) -> Response {
    match refusal {
        Refused::Site => problem(
            StatusCode::BAD_REQUEST,
            "site: expected the id of a [[site]]; it may be left out where there is only one",
        ),
        Refused::Unknown if delete => {
            problem(StatusCode::NOT_FOUND, "no context of this source has this id; it may have expired")
        }
        Refused::Unknown => {
            problem(StatusCode::NOT_FOUND, "contact: no running contact has this id; expected one of GET /v1/contacts")
        }
        Refused::KeyReused => {
            problem(StatusCode::CONFLICT, "key: was used for another post; expected a key of its own for each post")
        }
        Refused::TooMuch => problem(
            StatusCode::CONFLICT,
            "context: merged with what was posted before it would be too large; post it without merge",
        ),
        Refused::Full => {
            full("as many contexts wait as may ([context] max_waiting), or the contact has its four; try again")
        }
    }
}

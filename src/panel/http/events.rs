//! The events that went by reference: `GET /v1/events/{id}`. Every access is logged, without anything of the event. `docs/api.md` describes it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::api::Path;
use super::guard::Guard;
use super::routes::{Shared, problem, refused};

/// The event with an id as CloudEvents JSON, byte for byte as it is kept; `None` when no such event may be fetched.
pub type Events = Arc<dyn Fn(Uuid) -> Result<Option<String>, String> + Send + Sync>;

pub(super) async fn get(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let source = Guard::check_origin(request.headers()).and_then(|()| shared.guard().reader(request.headers()));
    let from = match source {
        Ok(from) => from,
        Err(refusal) => {
            tracing::warn!("an event was asked for by somebody who may not have it");
            return refused(refusal);
        }
    };
    let Ok(id) = id.parse::<Uuid>() else {
        return problem(StatusCode::BAD_REQUEST, "the event in the path is not a UUID; expected the `id` of an event");
    };
    let Some(events) = shared.events.get().cloned() else {
        return problem(StatusCode::NOT_IMPLEMENTED, "this panel only shows; no bridge keeps events");
    };
    let found = tokio::task::spawn_blocking(move || events(id)).await.unwrap_or_else(|error| Err(error.to_string()));
    let there = matches!(found, Ok(Some(_)));
    tracing::info!(client = from, event = %id, there, "an event was fetched");
    match found {
        Ok(Some(body)) => {
            ([(header::CONTENT_TYPE, "application/cloudevents+json; charset=utf-8")], body).into_response()
        }
        Ok(None) => problem(
            StatusCode::NOT_FOUND,
            "no event with this id was sent; one of a pop or a running text is there until its `expirytime`",
        ),
        Err(error) => {
            tracing::error!(error, "an event cannot be read");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the event cannot be read; see the bridge's log")
        }
    }
}

//! What operators add to a running contact: `POST /v1/contacts/{id}/marks`, `DELETE …/marks/{mark}`, `POST …/note`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::api::Path;
use super::control::{Control, NoBody, ask, body, contact_id, too_slow};
use super::routes::{Shared, full, problem};
use crate::call::ContactId;
use crate::call::note::{Annotation, MARK_NOTE, NOTE, Refused};

/// Greatest body of a mark or note, in bytes.
const BODY_BYTES: usize = 8 * 1024;
/// Longest name of an utterance, in bytes.
const UTTERANCE: usize = 128;

/// A passage to be marked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    /// As in `transcript.final`.
    #[schemars(length(max = UTTERANCE))]
    utterance: String,
    /// What is written beside it.
    #[serde(default)]
    #[schemars(length(max = MARK_NOTE))]
    note: Option<String>,
}

/// The mark that was made.
#[derive(Serialize, JsonSchema)]
pub(super) struct Marked {
    /// Its id.
    #[schemars(with = "Uuid")]
    mark: Option<Uuid>,
}

/// The note for whoever takes over.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// Empty: nothing any more.
    #[schemars(length(max = NOTE))]
    text: String,
}

pub(super) async fn mark(State(shared): State<Arc<Shared>>, Path(contact): Path<String>, request: Request) -> Response {
    let contact = match contact_id(&contact) {
        Ok(contact) => contact,
        Err(answer) => return answer,
    };
    let fits = |mark: &Mark| {
        mark.utterance.len() <= UTTERANCE && mark.note.as_ref().is_none_or(|note| note.chars().count() <= MARK_NOTE)
    };
    let mark = match body(&shared, request, BODY_BYTES).await {
        Ok(body) => serde_json::from_slice::<Mark>(&body).ok().filter(fits),
        Err(NoBody::TooLong) => None,
        Err(NoBody::TooSlow) => return too_slow(),
    };
    let Some(Mark { utterance, note }) = mark else {
        let expected = format!(
            "expected {{\"utterance\":\"as in transcript.final\",\"note\":\"at most {MARK_NOTE} characters\"}} as JSON; note may be left out"
        );
        return problem(StatusCode::BAD_REQUEST, &expected);
    };
    match carry_out(&shared, contact, Annotation::Mark { utterance, note }).await {
        Ok(mark) => (StatusCode::OK, axum::Json(Marked { mark })).into_response(),
        Err(answer) => answer,
    }
}

pub(super) async fn unmark(
    State(shared): State<Arc<Shared>>,
    Path((contact, mark)): Path<(String, String)>,
) -> Response {
    let contact = match contact_id(&contact) {
        Ok(contact) => contact,
        Err(answer) => return answer,
    };
    let Ok(mark) = mark.parse::<Uuid>() else {
        return problem(
            StatusCode::BAD_REQUEST,
            "the mark in the path is not a UUID; expected the `mark` of the answer to the post",
        );
    };
    match carry_out(&shared, contact, Annotation::Unmark(mark)).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(answer) => answer,
    }
}

pub(super) async fn note(State(shared): State<Arc<Shared>>, Path(contact): Path<String>, request: Request) -> Response {
    let contact = match contact_id(&contact) {
        Ok(contact) => contact,
        Err(answer) => return answer,
    };
    let note = match body(&shared, request, BODY_BYTES).await {
        Ok(body) => serde_json::from_slice::<Note>(&body).ok().filter(|note| note.text.chars().count() <= NOTE),
        Err(NoBody::TooLong) => None,
        Err(NoBody::TooSlow) => return too_slow(),
    };
    let Some(Note { text }) = note else {
        let expected =
            format!("expected {{\"text\":\"at most {NOTE} characters\"}} as JSON; an empty text takes the note away");
        return problem(StatusCode::BAD_REQUEST, &expected);
    };
    match carry_out(&shared, contact, Annotation::Note(text)).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(answer) => answer,
    }
}

async fn carry_out(shared: &Shared, contact: ContactId, annotation: Annotation) -> Result<Option<Uuid>, Response> {
    let (answer, answered) = oneshot::channel();
    ask(shared, Control::Annotate { contact, annotation, answer })?;
    let (mark, stored) = match answered.await {
        Ok(Ok(done)) => done,
        Ok(Err(refusal)) => return Err(why(refusal)),
        Err(_) => return Err(full("the bridge is stopping")),
    };
    // accepted means on disk
    stored.await.map(|()| mark).map_err(|_| full("the bridge is stopping"))
}

fn why(refusal: Refused) -> Response {
    match refusal {
        Refused::Unknown => {
            problem(StatusCode::NOT_FOUND, "no running contact has this id; expected one of GET /v1/contacts")
        }
        Refused::NoUtterance => problem(
            StatusCode::NOT_FOUND,
            "utterance: the contact has no text of it; expected one of its transcript.final events",
        ),
        Refused::NoMark => problem(StatusCode::NOT_FOUND, "the contact has no such mark"),
        Refused::Full => {
            problem(StatusCode::CONFLICT, "the contact has as many marks as it may have (50); take one away first")
        }
    }
}

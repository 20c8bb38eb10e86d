//! The text of an utterance is put right: `POST /v1/contacts/{id}/corrections`. `docs/api.md` describes it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::api::Path;
use super::control::{Control, NoBody, ask, body, contact_id, too_slow};
use super::guard::Guard;
use super::routes::{Shared, full, problem, refused};
use crate::call::correction::{AGENT, Corrected, Correction, Refused, TEXT};

/// Greatest body, in bytes.
const BODY_BYTES: usize = 16 * 1024;
/// Longest name of an utterance, in bytes.
const UTTERANCE: usize = 128;

/// What was really said.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CorrectionWish")]
pub(super) struct Wish {
    /// As in `transcript.final`.
    #[schemars(length(max = UTTERANCE))]
    utterance: String,
    /// In one line.
    #[schemars(length(min = 1, max = TEXT))]
    text: String,
    /// Of the text that was corrected: 0 for the final.
    #[serde(default)]
    revision: Option<u32>,
    /// Which person does it, by id or extension.
    #[serde(default)]
    #[schemars(length(max = AGENT))]
    agent: Option<String>,
}

/// The text as it is kept.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Corrected")]
pub(super) struct Told {
    /// Its revision.
    revision: u32,
    /// Its numbers are masked.
    text: String,
}

/// Why it was not corrected.
#[derive(Serialize, JsonSchema)]
pub(super) struct Conflict {
    /// What is wrong.
    error: String,
    /// The revision that the text has by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u32>,
}

impl Wish {
    fn is_good(&self) -> bool {
        let short = |text: &str, most: usize| text.chars().count() <= most && !text.chars().any(char::is_control);
        self.utterance.len() <= UTTERANCE
            && !self.text.trim().is_empty()
            && short(&self.text, TEXT)
            && self.agent.as_ref().is_none_or(|agent| short(agent, AGENT))
    }
}

pub(super) async fn post(State(shared): State<Arc<Shared>>, Path(contact): Path<String>, request: Request) -> Response {
    let source = Guard::check_origin(request.headers()).and_then(|()| shared.guard().corrector(request.headers()));
    let from = match source {
        Ok(from) => from,
        Err(refusal) => return refused(refusal),
    };
    let contact = match contact_id(&contact) {
        Ok(contact) => contact,
        Err(answer) => return answer,
    };
    let wish = match body(&shared, request, BODY_BYTES).await {
        Ok(body) => serde_json::from_slice::<Wish>(&body).ok().filter(Wish::is_good),
        Err(NoBody::TooLong) => None,
        Err(NoBody::TooSlow) => return too_slow(),
    };
    let Some(Wish { utterance, text, revision, agent }) = wish else {
        let expected = format!(
            "expected {{\"utterance\":\"as in transcript.final\",\"text\":\"1 to {TEXT} characters in one line\",\"revision\":0,\"agent\":\"at most {AGENT} characters\"}} as JSON; revision and agent may be left out"
        );
        return problem(StatusCode::BAD_REQUEST, &expected);
    };
    let agent = agent.map(|agent| agent.trim().to_owned()).filter(|agent| !agent.is_empty());
    let correction = Correction { utterance, text: text.trim().to_owned(), revision, from, agent };
    let (answer, answered) = oneshot::channel();
    if let Err(answer) = ask(&shared, Control::Correct { contact, correction, answer }) {
        return answer;
    }
    let (done, stored) = match answered.await {
        Ok(Ok(done)) => done,
        Ok(Err(refusal)) => return why(refusal),
        Err(_) => return full("the bridge is stopping"),
    };
    // accepted means on disk
    match stored.await {
        Ok(()) => told(&done),
        Err(_) => full("the bridge is stopping"),
    }
}

fn told(Corrected { revision, text }: &Corrected) -> Response {
    (StatusCode::OK, axum::Json(Told { revision: *revision, text: text.clone() })).into_response()
}

fn why(refusal: Refused) -> Response {
    match refusal {
        Refused::Unknown => problem(StatusCode::NOT_FOUND, "no contact has this id; expected the one of its events"),
        Refused::NoUtterance => problem(
            StatusCode::NOT_FOUND,
            "utterance: the contact has no text of it; expected one of its transcript.final events",
        ),
        Refused::Changed(revision) => {
            let error = format!("revision: the text has revision {revision} by now; read it and post again");
            (StatusCode::CONFLICT, axum::Json(Conflict { error, revision: Some(revision) })).into_response()
        }
        Refused::Full => problem(StatusCode::CONFLICT, "the contact has as many corrections as it may have (2000)"),
        Refused::Unreadable => problem(
            StatusCode::CONFLICT,
            "what is stored of the contact cannot be used: another version wrote it, or its site is not in the configuration",
        ),
        Refused::Busy => {
            full("too many corrections of contacts that are over wait, or the store cannot be read; try again")
        }
    }
}

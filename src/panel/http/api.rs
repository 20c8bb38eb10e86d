//! The operations of the API: one table from which the router and the OpenAPI document are made, so that neither has what the other lacks.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::routes::{self, Shared, problem};
use super::{annotate, context, control, correct, deliveries, events, openapi, web_calls};
use crate::panel::told::AnyEvent;

/// Who may do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Anybody who reaches the panel.
    Anybody,
    /// Whoever has the panel's token or is signed in; the router asks.
    Panel,
    /// They, and machines (`[[panel.client]]`), where it is given with this right; the handler asks.
    Client(Option<&'static str>),
    /// Machines with this right only; the handler asks.
    Machine(&'static str),
}

/// How a type is described.
pub(super) type Describe = fn(&mut SchemaGenerator) -> Schema;

/// A body: its media type, and its schema where it is JSON.
#[derive(Clone, Copy)]
pub(super) struct Content {
    pub(super) kind: &'static str,
    pub(super) schema: Option<Describe>,
}

/// One method of one path.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) who: Who,
    pub(super) handler: MethodRouter<Arc<Shared>>,
    pub(super) query: Option<Describe>,
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// The body, and whether it has to be there.
    pub(super) body: Option<(Content, bool)>,
    /// Statuses with what they mean.
    pub(super) answers: Vec<(u16, &'static str, Option<Content>)>,
}

/// What is wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// What was expected, and what to do.
    pub(super) error: String,
}

/// Values of the query; what cannot be read is refused like everything else.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(value)| Self(value))
            .map_err(|error| problem(StatusCode::BAD_REQUEST, &format!("query: {}", error.body_text())))
    }
}

/// Parts of the path; what is no text is refused like everything else.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(value)| Self(value))
            .map_err(|_| problem(StatusCode::BAD_REQUEST, "the path is not UTF-8; expected ids as they were told"))
    }
}

impl Operation {
    fn new(
        method: Method,
        path: &'static str,
        id: &'static str,
        who: Who,
        handler: MethodRouter<Arc<Shared>>,
    ) -> Operation {
        let (query, headers, body) = (None, &[][..], None);
        let operation =
            Operation { method, path, id, summary: "", who, handler, query, headers, body, answers: Vec::new() };
        let operation = operation.or(421, "The host name is not the panel's.");
        let guarded = match who {
            Who::Anybody => operation,
            _ => operation
                .or(401, "No token, or a wrong one.")
                .or(403, "From a page of another origin, or a client without the right."),
        };
        if path.contains('{') {
            guarded.or(400, "What the path names is no UUID, or the request is not as expected.")
        } else {
            guarded
        }
    }

    fn says(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(|generator| generator.root_schema_for::<T>());
        self.or(400, "A value of the query cannot be read.")
    }

    fn headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some((json::<T>(), true));
        self.or(400, "The body is not as expected.").or(408, "The body did not arrive in time.")
    }

    fn may_take<T: JsonSchema>(self) -> Self {
        let mut operation = self.takes::<T>();
        operation.body = operation.body.map(|(content, _)| (content, false));
        operation
    }

    fn gives<T: JsonSchema>(self, status: u16, what: &'static str) -> Self {
        self.gives_as(status, what, Some(json::<T>()))
    }

    /// Another answer replaces what stood there for its status.
    fn gives_as(mut self, status: u16, what: &'static str, content: Option<Content>) -> Self {
        self.answers.retain(|(other, ..)| *other != status);
        self.answers.push((status, what, content));
        self
    }

    fn done(self, what: &'static str) -> Self {
        self.gives_as(204, what, None)
    }

    fn or(self, status: u16, what: &'static str) -> Self {
        self.gives::<Problem>(status, what)
    }

    /// The bridge carries it out.
    fn by_bridge(self) -> Self {
        self.or(501, "This panel only shows.")
            .or(503, "The bridge has no room for it or is stopping; with Retry-After.")
    }

    /// The store is asked.
    fn by_store(self) -> Self {
        self.or(500, "The store cannot be read or changed.").or(501, "This panel only shows.")
    }
}

fn json<T: JsonSchema>() -> Content {
    Content { kind: "application/json", schema: Some(|generator| generator.subschema_for::<T>()) }
}

const fn text(kind: &'static str) -> Option<Content> {
    Some(Content { kind, schema: None })
}

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    [shown(), asked(), posted(), kept(), of_the_server()].into_iter().flatten().collect()
}

fn shown() -> Vec<Operation> {
    const RESUME: &[(&str, &str)] = &[("Last-Event-ID", "The last id that the client has seen.")];
    let event = Content {
        kind: "application/cloudevents+json",
        schema: Some(|generator| generator.subschema_for::<AnyEvent>()),
    };
    vec![
        Operation::new(Method::GET, "/v1/feed", "feed", Who::Panel, get(routes::feed))
            .says("The live feed, as server-sent events; docs/asyncapi.json describes them. Does not end by itself.")
            .query::<routes::Wish>()
            .headers(RESUME)
            .gives_as(200, "The feed.", text("text/event-stream"))
            .or(503, "All places are taken; with Retry-After."),
        Operation::new(Method::GET, "/v1/contacts", "contacts", Who::Panel, get(routes::contacts))
            .says("The running contacts, and those that ended last.")
            .query::<routes::Wish>()
            .gives::<routes::Contacts>(200, "The contacts."),
        Operation::new(Method::GET, "/v1/events/{id}", "event", Who::Client(Some("events")), get(events::get))
            .says("An event that was sent, byte for byte as it is kept.")
            .gives_as(200, "The event.", Some(event))
            .or(404, "No such event was sent, or it has expired.")
            .by_store(),
    ]
}

fn asked() -> Vec<Operation> {
    vec![
        Operation::new(Method::POST, "/v1/contacts/{id}/pause", "pause", Who::Panel, post(control::pause))
            .says("Pauses recording, transcription or both.")
            .may_take::<control::Wish>()
            .gives::<crate::call::pause::Paused>(200, "What is paused now.")
            .or(404, "No such running contact.")
            .or(409, "The contact has ended.")
            .by_bridge(),
        Operation::new(Method::POST, "/v1/contacts/{id}/resume", "resume", Who::Panel, post(control::resume))
            .says("Lets recording, transcription or both go on.")
            .may_take::<control::Wish>()
            .gives::<crate::call::pause::Paused>(200, "What is paused now.")
            .or(404, "No such running contact.")
            .or(409, "The contact has ended.")
            .by_bridge(),
        Operation::new(Method::POST, "/v1/contacts/{id}/marks", "mark", Who::Panel, post(annotate::mark))
            .says("Marks a passage of a running contact; kept when it is answered.")
            .takes::<annotate::Mark>()
            .gives::<annotate::Marked>(200, "The mark.")
            .or(404, "No such running contact, or it has no text of the utterance.")
            .or(409, "The contact has as many marks as it may have.")
            .by_bridge(),
        Operation::new(
            Method::DELETE,
            "/v1/contacts/{id}/marks/{mark}",
            "unmark",
            Who::Panel,
            delete(annotate::unmark),
        )
        .says("Takes a mark away.")
        .done("It is gone.")
        .or(404, "No such running contact or mark.")
        .by_bridge(),
        Operation::new(Method::POST, "/v1/contacts/{id}/note", "note", Who::Panel, post(annotate::note))
            .says("Writes the note for whoever takes over; an empty text takes it away.")
            .takes::<annotate::Note>()
            .done("It is kept.")
            .or(404, "No such running contact.")
            .by_bridge(),
        Operation::new(
            Method::POST,
            "/v1/contacts/{id}/corrections",
            "correct",
            Who::Client(Some("correct")),
            post(correct::post),
        )
        .says("Puts the text of an utterance right; kept when it is answered.")
        .takes::<correct::Wish>()
        .gives::<correct::Told>(200, "The text as it is kept.")
        .or(404, "No such contact, or it has no text of the utterance.")
        .gives::<correct::Conflict>(409, "The text has another revision, or no more corrections are possible.")
        .by_bridge(),
    ]
}

fn posted() -> Vec<Operation> {
    vec![
        Operation::new(Method::POST, "/v1/context", "postContext", Who::Client(None), post(context::post))
            .says("What is known before a call; kept when it is answered.")
            .takes::<crate::call::context::PostBody>()
            .gives::<context::Told>(201, "The first of this source for this target.")
            .gives::<context::Told>(200, "It replaced or was merged with what was posted before, or was there already.")
            .gives::<context::WrongField>(400, "The first field that is wrong.")
            .or(404, "No such running contact.")
            .or(409, "The key was used for another post, or merged it would be too large.")
            .or(413, "The body is too large.")
            .by_bridge(),
        Operation::new(Method::DELETE, "/v1/context/{id}", "deleteContext", Who::Client(None), delete(context::delete))
            .says("Takes a context back.")
            .done("It is gone.")
            .or(404, "No such context of this source.")
            .by_bridge(),
        Operation::new(Method::POST, "/v1/web-calls", "webCall", Who::Panel, post(web_calls::open))
            .says("Asks a token for a web call (WHIP).")
            .takes::<web_calls::WebCall>()
            .gives::<web_calls::OpenedCall>(201, "The token with what belongs to it.")
            .or(404, "No such running contact.")
            .or(422, "A field names something that does not exist or may not be.")
            .by_bridge(),
    ]
}

fn kept() -> Vec<Operation> {
    let machine = Who::Machine("deliveries");
    vec![
        Operation::new(Method::GET, "/v1/deliveries", "deliveries", machine, get(deliveries::list))
            .says("What waits, dead letters, and what was delivered; newest first.")
            .query::<deliveries::Wanted>()
            .gives::<deliveries::DeliveryList>(200, "The deliveries.")
            .by_store(),
        Operation::new(Method::POST, "/v1/deliveries/replay", "replay", machine, post(deliveries::replay))
            .says("Sends dead letters again.")
            .takes::<deliveries::Chosen>()
            .gives::<deliveries::Counted>(200, "How many were dead letters.")
            .by_store(),
        Operation::new(Method::POST, "/v1/deliveries/discard", "discard", machine, post(deliveries::discard))
            .says("Sets dead letters aside for good.")
            .takes::<deliveries::Chosen>()
            .gives::<deliveries::Counted>(200, "How many were dead letters.")
            .by_store(),
        Operation::new(Method::GET, "/v1/endpoints", "endpoints", machine, get(deliveries::endpoints))
            .says("How the endpoints do.")
            .gives::<deliveries::EndpointList>(200, "The endpoints.")
            .by_store(),
        Operation::new(Method::GET, "/v1/traffic", "traffic", machine, get(deliveries::traffic))
            .says("What went over the links, newest day first.")
            .query::<deliveries::Days>()
            .gives::<deliveries::TrafficList>(200, "The days.")
            .by_store(),
    ]
}

fn of_the_server() -> Vec<Operation> {
    vec![
        Operation::new(Method::GET, "/v1/session", "session", Who::Anybody, get(routes::session))
            .says("Whether whoever asks is signed in.")
            .gives::<routes::Session>(200, "The session."),
        Operation::new(Method::POST, "/v1/session", "signIn", Who::Anybody, post(routes::sign_in))
            .says("Exchanges the panel's token for a cookie.")
            .takes::<routes::SignIn>()
            .done("Signed in; with Set-Cookie.")
            .or(401, "It is not the token.")
            .or(403, "From a page of another origin.")
            .or(500, "The system has no random numbers."),
        Operation::new(Method::DELETE, "/v1/session", "signOut", Who::Anybody, delete(routes::sign_out))
            .says("Ends the session.")
            .done("Signed out.")
            .or(403, "From a page of another origin."),
        Operation::new(Method::GET, "/v1/openapi.json", "openapi", Who::Anybody, get(openapi::served))
            .says("This document.")
            .gives_as(200, "The document.", text("application/json")),
        Operation::new(Method::GET, "/healthz", "health", Who::Anybody, get(routes::health))
            .says("Whether the process answers.")
            .gives::<routes::Health>(200, "It does."),
        Operation::new(Method::GET, "/readyz", "readiness", Who::Anybody, get(routes::readiness))
            .says("Whether the bridge can take calls.")
            .gives::<routes::Readiness>(200, "It can.")
            .gives::<routes::Readiness>(503, "It cannot yet, or no longer."),
        Operation::new(Method::GET, "/metrics", "metrics", Who::Panel, get(routes::metrics))
            .says("Metrics in the text format of Prometheus.")
            .gives_as(200, "The metrics.", text("text/plain; version=0.0.4; charset=utf-8")),
    ]
}

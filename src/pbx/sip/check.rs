//! What a request must be before it is acted on, in the order of RFC 3261 §8.2: method, URI, merged requests, extensions, content.

use super::header::{is_known_method, split_params};
use super::message::Message;
use super::request::Request;

/// Methods that are acted on.
pub(super) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS";
/// Extensions that are supported (none yet).
const SUPPORTED: [&str; 0] = [];
/// Bodies of INVITE that are read.
pub(super) const ACCEPT: &str = "application/sdp";

/// The answer that refuses a request, when something is wrong with it. `merged`: it came before by another way.
pub(super) fn refusal(request: &Request, merged: bool, tag: &str) -> Option<Message> {
    method(request, tag)
        .or_else(|| scheme(request, tag))
        .or_else(|| merged.then(|| request.answer(482, tag)))
        .or_else(|| extensions(request, tag))
        .or_else(|| content(request, tag))
}

/// Adds what an answer to OPTIONS tells (RFC 3261 §11.2).
pub(super) fn describe(answer: &mut Message) {
    answer.push("Allow", ALLOW);
    answer.push("Accept", ACCEPT);
    answer.push("Accept-Encoding", "identity");
    answer.push("Accept-Language", "ja, en");
    answer.push("Supported", SUPPORTED.join(", "));
}

fn method(request: &Request, tag: &str) -> Option<Message> {
    if matches!(request.method.as_str(), "INVITE" | "ACK" | "BYE" | "CANCEL" | "OPTIONS") {
        return None;
    }
    let code = if is_known_method(&request.method) { 405 } else { 501 };
    let mut answer = request.answer(code, tag);
    answer.push("Allow", ALLOW);
    Some(answer)
}

fn scheme(request: &Request, tag: &str) -> Option<Message> {
    let known = matches!(request.uri.scheme.as_str(), "sip" | "tel");
    (!known).then(|| request.answer(416, tag))
}

fn extensions(request: &Request, tag: &str) -> Option<Message> {
    if request.method == "CANCEL" {
        return None;
    }
    let required = request.message.list("Require");
    let unknown: Vec<String> = required
        .into_iter()
        .filter(|wanted| !SUPPORTED.iter().any(|own: &&str| own.eq_ignore_ascii_case(wanted)))
        .collect();
    if unknown.is_empty() {
        return None;
    }
    let mut answer = request.answer(420, tag);
    answer.push("Unsupported", unknown.join(", "));
    Some(answer)
}

fn content(request: &Request, tag: &str) -> Option<Message> {
    if request.method != "INVITE" {
        return None;
    }
    let message = &request.message;
    let optional = message.text("Content-Disposition").is_some_and(|text| text.contains("handling=optional"));
    if !message.body.is_empty() && !optional {
        let encodings = message.list("Content-Encoding");
        if encodings.iter().any(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            let mut answer = request.answer(415, tag);
            answer.push("Accept-Encoding", "identity");
            return Some(answer);
        }
        if !is_sdp(message) {
            let mut answer = request.answer(415, tag);
            answer.push("Accept", ACCEPT);
            return Some(answer);
        }
    }
    let accepts = message.list("Accept");
    let takes_sdp = |value: &String| {
        let kind = split_params(value).map(|(kind, _)| kind.to_ascii_lowercase()).unwrap_or_default();
        matches!(kind.as_str(), "application/sdp" | "application/*" | "*/*")
    };
    (message.count("Accept") > 0 && !accepts.iter().any(takes_sdp)).then(|| request.answer(406, tag))
}

/// Whether the body is a session description; one without a type is taken for one.
pub(super) fn is_sdp(message: &Message) -> bool {
    message.text("Content-Type").is_none_or(|text| {
        split_params(&text).is_some_and(|(kind, _)| kind.replace(' ', "").eq_ignore_ascii_case("application/sdp"))
    })
}

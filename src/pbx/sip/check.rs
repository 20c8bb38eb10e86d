//! What a request must be before it is acted on, in the order of RFC 3261 §8.2: method, URI, merged requests, extensions, content.

use super::content::{self, ACCEPT, Wrong};
use super::header::{is_known_method, split_params};
use super::message::Message;
use super::request::Request;

/// Methods that are acted on.
pub(super) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, NOTIFY";
/// Extensions that are supported: RFC 3262, RFC 4028, RFC 7866.
const SUPPORTED: [&str; 3] = ["100rel", "timer", "siprec"];

/// The answer that refuses a request, when something is wrong with it. `merged`: it came before by another way; `secure`: by TLS.
pub(super) fn refusal(request: &Request, merged: bool, secure: bool, tag: &str) -> Option<Message> {
    method(request, tag)
        .or_else(|| scheme(request, secure, tag))
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
    answer.push("Supported", supported());
}

/// The value of our Supported.
pub(super) fn supported() -> String {
    SUPPORTED.join(", ")
}

fn method(request: &Request, tag: &str) -> Option<Message> {
    if ALLOW.split(", ").any(|method| method == request.method) {
        return None;
    }
    let code = if is_known_method(&request.method) { 405 } else { 501 };
    let mut answer = request.answer(code, tag);
    answer.push("Allow", ALLOW);
    Some(answer)
}

/// `sips:` promises TLS on every hop, so it is taken over TLS only (RFC 3261 §26.2.2).
fn scheme(request: &Request, secure: bool, tag: &str) -> Option<Message> {
    let known = match request.uri.scheme.as_str() {
        "sip" | "tel" => true,
        "sips" => secure,
        _ => false,
    };
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
    if !matches!(request.method.as_str(), "INVITE" | "UPDATE" | "PRACK") {
        return None;
    }
    let message = &request.message;
    if let Err(wrong) = content::session(message) {
        let mut answer = request.answer(415, tag);
        match wrong {
            Wrong::Encoding => answer.push("Accept-Encoding", "identity"),
            Wrong::Type => answer.push("Accept", ACCEPT),
        }
        return Some(answer);
    }
    let accepts = message.list("Accept");
    let takes_sdp = |value: &String| {
        let kind = split_params(value).map(|(kind, _)| kind.to_ascii_lowercase()).unwrap_or_default();
        matches!(kind.as_str(), "application/sdp" | "application/*" | "*/*")
    };
    (message.count("Accept") > 0 && !accepts.iter().any(takes_sdp)).then(|| request.answer(406, tag))
}

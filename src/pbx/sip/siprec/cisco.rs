//! Forks of Cisco exchanges, which are plain calls without metadata: who is who stands in headers.
//!
//! Unified CM lets the telephone (built-in bridge) or a gateway send two calls, one with the sound of the near end (the recorded
//! telephone) and one with that of the far end; parameters in the URI of From name both. CUBE names the party of each media line in
//! `X-Cisco-Recording-Participant`.

use crate::pbx::{ExternalKey, KeyKind};

use super::super::header::{NameAddr, param};
use super::super::request::Request;
use super::picture::line_label;
use super::{Book, Hints, Metadata, PEOPLE_MAX, Participant, Presence, Sending, Session, Stream};

/// Longest identifier that is taken.
const KEY_MAX: usize = 128;

/// What the headers of a fork say, and its identifiers; `None`: it is none.
pub(in super::super) fn of_headers(invite: &Request) -> Option<(Book, Vec<ExternalKey>)> {
    let mut found = ends(invite).or_else(|| participants(invite))?;
    let guid = invite.message.text("Cisco-Guid").map(|guid| guid.trim().to_string());
    found.1.extend(guid.and_then(|value| key(KeyKind::CiscoGuid, value)));
    Some(found)
}

/// `x-nearend` or `x-farend` in From.
fn ends(invite: &Request) -> Option<(Book, Vec<ExternalKey>)> {
    let own = |name: &str| param(&invite.from.uri.params, name).or_else(|| param(&invite.from.params, name));
    let is_near = own("x-nearend").is_some();
    let refci = own("x-refci").filter(|_| is_near || own("x-farend").is_some())?;
    let near = own("x-nearendaddr").map(str::to_string).or_else(|| invite.from.uri.user.clone()).unwrap_or_default();
    let far = own("x-farendaddr").unwrap_or_default().to_string();
    let near_name = invite.from.display.clone();
    let mut book = Metadata { sessions: vec![Session::default()], ..Metadata::default() };
    person(&mut book, "near", near.clone(), near_name, is_near.then_some(0));
    person(&mut book, "far", far, None, (!is_near).then_some(0));
    book.hints.push((None, Hints { recorded: Some(near), ..Hints::default() }));
    let cluster = own("x-nearendclusterid").unwrap_or_default();
    let mut keys: Vec<ExternalKey> = key(KeyKind::CiscoRefci, format!("{cluster}/{refci}")).into_iter().collect();
    let session = own("x-sessionid").filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    keys.extend(session.and_then(|id| key(KeyKind::SessionId, id.to_ascii_lowercase())));
    Some((Book::of(book), keys))
}

/// `X-Cisco-Recording-Participant`, one for each media line.
fn participants(invite: &Request) -> Option<(Book, Vec<ExternalKey>)> {
    let told = invite.message.list("X-Cisco-Recording-Participant");
    let mut book = Metadata { sessions: vec![Session::default()], ..Metadata::default() };
    for (place, value) in told.iter().take(PEOPLE_MAX).enumerate() {
        let Some(address) = NameAddr::parse(value) else { continue };
        let index = param(&address.params, "media-index").or_else(|| param(&address.uri.params, "media-index"));
        let index = index.and_then(|index| index.trim().parse().ok());
        person(&mut book, &place.to_string(), address.uri_text.clone(), address.display.clone(), index);
    }
    (!book.participants.is_empty()).then(|| (Book::of(book), Vec::new()))
}

/// One party and the media line that it sends; who sends none hears the others.
fn person(book: &mut Metadata, id: &str, aor: String, name: Option<String>, line: Option<usize>) {
    let id = id.to_string();
    book.present.push(Presence { participant: id.clone(), session: String::new(), over: false });
    let stream = line.map(line_label);
    let (send, recv) = match &stream {
        Some(stream) => (vec![stream.clone()], Vec::new()),
        None => (Vec::new(), vec![String::new()]),
    };
    book.sending.push(Sending { participant: id.clone(), send, recv, over: false });
    let new = stream.map(|stream| Stream { id: stream.clone(), label: Some(stream), ..Stream::default() });
    book.streams.extend(new);
    let aors = if aor.is_empty() { Vec::new() } else { vec![aor] };
    book.participants.push(Participant { id, aors, name, ..Participant::default() });
}

fn key(kind: KeyKind, value: String) -> Option<ExternalKey> {
    (8..=KEY_MAX).contains(&value.len()).then_some(ExternalKey { kind, value })
}

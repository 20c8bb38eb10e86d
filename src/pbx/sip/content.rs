//! What a message carries: the session description and a recorder's metadata, alone or as parts of several (RFC 3261 §20.11, RFC 5621).

use super::header::{Param, param, split_params};
use super::message::Message;
use super::multipart;

/// Bodies that are read.
pub(super) const ACCEPT: &str =
    "application/sdp, multipart/mixed, application/rs-metadata+xml, application/rs-metadata";
/// Metadata of a recording session: as RFC 7866 registers it, and as recorders of earlier drafts still write it.
const METADATA: [&str; 2] = ["application/rs-metadata+xml", "application/rs-metadata"];
/// A multipart body may hold another, and no more.
const DEPTH_MAX: usize = 2;

/// Why a body cannot be used; both are answered 415.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pbx) enum Wrong {
    /// Compressed.
    Encoding,
    /// Of a type (or for a purpose) that is not known, and not optional.
    Type,
}

/// Something with a type: the message or one of its parts.
struct Entity<'a> {
    kind: Option<String>,
    disposition: Option<String>,
    encodings: Vec<String>,
    transfer: Option<String>,
    body: &'a [u8],
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The session description.
    pub(super) session: Option<Vec<u8>>,
    /// The metadata of a recording session and its charset.
    pub(super) metadata: Option<(Vec<u8>, Option<String>)>,
}

impl Found {
    /// The first of each.
    fn or(self, other: Found) -> Found {
        Found { session: self.session.or(other.session), metadata: self.metadata.or(other.metadata) }
    }

    fn is_empty(&self) -> bool {
        self.session.is_none() && self.metadata.is_none()
    }
}

/// The session description of a message; `None` when it has none.
///
/// # Errors
/// When something must be understood that is not: a body is required unless it says `handling=optional` (RFC 5621 §8).
pub(in crate::pbx) fn session(message: &Message) -> Result<Option<Vec<u8>>, Wrong> {
    all(message).map(|found| found.session)
}

/// The session description and the metadata of a recording session.
///
/// # Errors
/// As [`session`].
pub(super) fn all(message: &Message) -> Result<Found, Wrong> {
    let entity = Entity {
        kind: message.text("Content-Type").map(|text| text.into_owned()),
        disposition: message.text("Content-Disposition").map(|text| text.into_owned()),
        encodings: message.list("Content-Encoding"),
        transfer: None,
        body: &message.body,
    };
    look(&entity, 0)
}

fn look(entity: &Entity<'_>, depth: usize) -> Result<Found, Wrong> {
    if entity.body.is_empty() {
        return Ok(Found::default());
    }
    let (disposition, params) = value_of(entity.disposition.as_deref());
    let optional = param(&params, "handling").is_some_and(|handling| handling.eq_ignore_ascii_case("optional"));
    let found = understand(entity, &disposition, depth);
    if optional { Ok(found.unwrap_or_default()) } else { found }
}

fn understand(entity: &Entity<'_>, disposition: &str, depth: usize) -> Result<Found, Wrong> {
    if entity.encodings.iter().any(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")) {
        return Err(Wrong::Encoding);
    }
    let transfer = entity.transfer.as_deref().unwrap_or("binary").trim().to_ascii_lowercase();
    if !matches!(transfer.as_str(), "7bit" | "8bit" | "binary") {
        return Err(Wrong::Type);
    }
    let (kind, params) = value_of(entity.kind.as_deref());
    if let Some(subtype) = kind.strip_prefix("multipart/") {
        return parts(entity, subtype == "alternative", depth + 1);
    }
    // recorders write other dispositions than `recording-session`, or none
    if METADATA.contains(&kind.as_str()) {
        let charset = param(&params, "charset").map(str::to_string);
        return Ok(Found { session: None, metadata: Some((entity.body.to_vec(), charset)) });
    }
    let is_session = kind.is_empty() || kind == "application/sdp";
    match disposition {
        "" | "session" if is_session => Ok(Found { session: Some(entity.body.to_vec()), metadata: None }),
        _ => Err(Wrong::Type),
    }
}

/// Any other kind of multipart is read as `mixed` (RFC 2046 §5.1.7); of alternatives one that is understood is enough.
fn parts(entity: &Entity<'_>, alternative: bool, depth: usize) -> Result<Found, Wrong> {
    let whole = entity.kind.as_deref().unwrap_or_default();
    let parts = multipart::split(whole, entity.body).filter(|_| depth <= DEPTH_MAX).ok_or(Wrong::Type)?;
    let mut all = Found::default();
    let mut wrong = None;
    for part in &parts {
        let text = |name| part.header(name).map(str::to_string);
        let inner = Entity {
            kind: Some(text("Content-Type").unwrap_or_else(|| "text/plain".into())),
            disposition: text("Content-Disposition"),
            encodings: text("Content-Encoding").into_iter().collect(),
            transfer: text("Content-Transfer-Encoding"),
            body: &part.body,
        };
        match look(&inner, depth) {
            Ok(found) => all = all.or(found),
            Err(why) => wrong = wrong.or(Some(why)),
        }
    }
    match wrong {
        Some(why) if !alternative || all.is_empty() => Err(why),
        _ => Ok(all),
    }
}

/// The value in lower case without blanks, and its parameters.
fn value_of(text: Option<&str>) -> (String, Vec<Param>) {
    let (value, params) = text.and_then(split_params).unwrap_or_default();
    (value.replace(' ', "").to_ascii_lowercase(), params)
}

#[cfg(test)]
mod tests {
    use super::super::message::Start;
    use super::*;

    fn message(headers: &[(&str, &str)], body: &str) -> Message {
        let mut message = Message::new(Start::Request { method: "INVITE".into(), uri: "sip:a".into() });
        headers.iter().for_each(|(name, value)| message.push(name, *value));
        message.body = body.into();
        message
    }

    fn of(headers: &[(&str, &str)], body: &str) -> Result<Option<String>, Wrong> {
        session(&message(headers, body)).map(|found| found.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    fn mixed(parts: &[&str]) -> Result<Option<String>, Wrong> {
        let body: String = parts.iter().map(|part| format!("--b\r\n{part}\r\n")).collect();
        of(&[("Content-Type", "multipart/mixed;boundary=b")], &format!("{body}--b--"))
    }

    const SDP: &str = "Content-Type: application/sdp\r\n\r\nv=0";
    const ISUP: &str = "Content-Type: application/isup; version=itu-t92+\r\nContent-Disposition: signal; handling=";

    #[test]
    fn a_description_alone_or_with_others_is_found() {
        let sdp = Ok(Some("v=0".into()));
        assert_eq!(of(&[], "v=0"), sdp);
        assert_eq!(of(&[("Content-Type", "Application / SDP")], "v=0"), sdp);
        assert_eq!(of(&[("Content-Type", "application/sdp"), ("Content-Disposition", "session")], "v=0"), sdp);
        assert_eq!(mixed(&[&format!("{ISUP}optional\r\n\r\n\u{1}\u{10}"), SDP]), sdp);
        let nested = format!("Content-Type: multipart/related; boundary=\"c\"\r\n\r\n--c\r\n{SDP}\r\n--c--");
        assert_eq!(mixed(&[&nested]), sdp);
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_refused() {
        assert_eq!(mixed(&[&format!("{ISUP}required\r\n\r\nx"), SDP]), Err(Wrong::Type));
        assert_eq!(
            mixed(&["Content-Type: application/isup\r\n\r\nx", SDP]),
            Err(Wrong::Type),
            "required unless it says not"
        );
        assert_eq!(of(&[("Content-Type", "text/plain")], "x"), Err(Wrong::Type));
        assert_eq!(
            of(&[("Content-Type", "application/sdp"), ("Content-Disposition", "render")], "v=0"),
            Err(Wrong::Type)
        );
        assert_eq!(of(&[("Content-Type", "application/sdp"), ("Content-Encoding", "gzip")], "x"), Err(Wrong::Encoding));
        let coded = "Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n\r\ndj0w";
        assert_eq!(mixed(&[coded]), Err(Wrong::Type));
        let deep = |inner: &str, b: &str| {
            format!("Content-Type: multipart/mixed; boundary={b}\r\n\r\n--{b}\r\n{inner}\r\n--{b}--")
        };
        assert_eq!(mixed(&[&deep(&deep(SDP, "d"), "c")]), Err(Wrong::Type), "too deep");
    }

    #[test]
    fn what_is_optional_is_as_if_it_were_not_there() {
        let optional = ("Content-Disposition", "render;handling=optional");
        assert_eq!(of(&[("Content-Type", "text/plain"), optional], "x"), Ok(None));
        assert_eq!(of(&[("Content-Type", "application/sdp")], ""), Ok(None));
    }

    #[test]
    fn of_alternatives_one_is_enough() {
        let body = format!("--b\r\nContent-Type: text/x\r\n\r\n?\r\n--b\r\n{SDP}\r\n--b--");
        assert_eq!(of(&[("Content-Type", "multipart/alternative;boundary=b")], &body), Ok(Some("v=0".into())));
    }
}

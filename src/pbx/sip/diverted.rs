//! Which line was called, and from where the call was diverted: Request-URI, To, P-Called-Party-ID (RFC 7315 §4.2), Diversion (RFC 5806) and
//! History-Info (RFC 7044).

use serde::{Deserialize, Serialize};

use crate::pbx::{DivertReason, Diverted};

use super::header::{NameAddr, param, percent_decode};
use super::identity::{number_of, privacy};
use super::request::Request;

/// Where the called line may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CalledFrom {
    /// The Request-URI: where the exchange sends the call.
    RequestUri,
    /// To: what the caller's telephone wrote, as lines of ひかり電話 need it.
    To,
    /// P-Called-Party-ID.
    PCalledPartyId,
    /// The first line of Diversion.
    Diversion,
    /// The first line of History-Info.
    HistoryInfo,
}

/// The called line: the first of `order` that is there, else the Request-URI, else To. Without `trust` only these two are read.
pub fn called(invite: &Request, order: &[CalledFrom], trust: bool) -> String {
    let user = |address: &NameAddr| number_of(address);
    let read = |from: CalledFrom| match from {
        CalledFrom::RequestUri => invite.uri.user.clone(),
        CalledFrom::To => user(&invite.to),
        CalledFrom::PCalledPartyId if trust => {
            invite.message.text("P-Called-Party-ID").and_then(|text| NameAddr::parse(&text)).as_ref().and_then(user)
        }
        CalledFrom::Diversion if trust => by_diversion(invite).and_then(|diverted| diverted.number),
        CalledFrom::HistoryInfo if trust => by_history(invite).and_then(|diverted| diverted.number),
        CalledFrom::PCalledPartyId | CalledFrom::Diversion | CalledFrom::HistoryInfo => None,
    };
    let all = order.iter().copied().chain([CalledFrom::RequestUri, CalledFrom::To]);
    all.filter_map(read).find(|user| !user.is_empty()).unwrap_or_default()
}

/// From where the call was diverted first: Diversion, else History-Info.
pub(super) fn origin(invite: &Request) -> Option<Diverted> {
    by_diversion(invite).or_else(|| by_history(invite))
}

/// An address that stands for nobody.
pub(super) fn is_hidden(address: &NameAddr) -> bool {
    let host = address.uri.host.to_ascii_lowercase();
    host == "anonymous.invalid" || host == "unknown.invalid"
}

/// The newest diversion stands on top, the first one at the end (RFC 5806 §4.2).
fn by_diversion(invite: &Request) -> Option<Diverted> {
    let first = invite.message.list("Diversion").iter().rev().find_map(|value| NameAddr::parse(value))?;
    let private = param(&first.params, "privacy").is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value == "full" || value == "uri"
    });
    let number = number_of(&first).filter(|_| !private && !is_hidden(&first));
    Some(Diverted { number, reason: param(&first.params, "reason").map(reason_of_word) })
}

/// The entries in the order of their index (RFC 7044 §5.1); the first is the line that was dialled, the second why it was left.
fn by_history(invite: &Request) -> Option<Diverted> {
    let mut entries: Vec<(Vec<u32>, NameAddr)> = invite
        .message
        .list("History-Info")
        .iter()
        .filter_map(|value| NameAddr::parse(value))
        .filter_map(|address| Some((index(param(&address.params, "index")?)?, address)))
        .collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let ((_, first), rest) = entries.split_first()?;
    let (_, last) = rest.last()?;
    let embedded = Embedded::of(&first.uri_text);
    let wanted = privacy(invite).iter().any(|kind| matches!(kind.as_str(), "history" | "header" | "session"));
    let private = wanted || embedded.private || is_hidden(first);
    if !private && first.uri.user == last.uri.user {
        return None;
    }
    let cause = rest.iter().find_map(|(_, address)| address.uri.number_param("cause")?.parse().ok());
    let reason = cause.or(embedded.cause).and_then(reason_of_cause);
    let number = number_of(first).filter(|_| !private);
    Some(Diverted { number, reason })
}

/// `1.2.1` → its numbers.
fn index(text: &str) -> Option<Vec<u32>> {
    text.split('.').take(32).map(|part| part.parse().ok()).collect()
}

/// Headers inside the URI of an entry: `?Reason=SIP%3Bcause%3D486&Privacy=history`.
struct Embedded {
    private: bool,
    cause: Option<u16>,
}

impl Embedded {
    fn of(uri: &str) -> Embedded {
        let mut found = Embedded { private: false, cause: None };
        for header in uri.split_once('?').map_or("", |(_, headers)| headers).split('&') {
            let Some((name, value)) = header.split_once('=') else { continue };
            let value = percent_decode(value).to_ascii_lowercase();
            if name.eq_ignore_ascii_case("Privacy") {
                found.private |= value.split(';').any(|kind| kind.trim() != "none");
            } else if name.eq_ignore_ascii_case("Reason") && value.trim_start().starts_with("sip") {
                let cause = value.split(';').find_map(|piece| piece.trim().strip_prefix("cause="));
                found.cause = found.cause.or_else(|| cause.and_then(|cause| cause.trim_matches('"').parse().ok()));
            }
        }
        found
    }
}

fn reason_of_word(word: &str) -> DivertReason {
    match word.to_ascii_lowercase().as_str() {
        "unconditional" => DivertReason::Unconditional,
        "user-busy" => DivertReason::Busy,
        "no-answer" => DivertReason::NoAnswer,
        "unavailable" | "out-of-service" => DivertReason::Unavailable,
        "deflection" => DivertReason::Deflection,
        _ => DivertReason::Other,
    }
}

/// The causes of RFC 4458 §2.1, as RFC 7544 §3 maps them to Diversion.
fn reason_of_cause(cause: u16) -> Option<DivertReason> {
    match cause {
        302 => Some(DivertReason::Unconditional),
        486 | 600 => Some(DivertReason::Busy),
        408 => Some(DivertReason::NoAnswer),
        404 | 503 => Some(DivertReason::Unavailable),
        480 | 487 => Some(DivertReason::Deflection),
        _ => None,
    }
}

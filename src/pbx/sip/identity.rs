//! Who calls, as the exchange tells it by SIP (RFC 3325, RFC 3323, and what Japanese carriers put into From), and what the call is called elsewhere.

use crate::pbx::identity::withheld;
use crate::pbx::{ExternalKey, Identity, KeyKind, Withheld};

use super::header::{NameAddr, split_params};
use super::request::Request;

/// The caller: P-Asserted-Identity (every peer is trusted by its address), else From. A number that may not be shown goes no further
/// than here.
pub(super) fn caller(invite: &Request) -> Identity {
    let said = invite.from.display.as_deref().and_then(withheld);
    let anonymous = is_anonymous(&invite.from);
    if said.is_some() || anonymous || is_private(invite) {
        return Identity { number: None, display: None, withheld: Some(said.unwrap_or(Withheld::Refused)) };
    }
    let asserted: Vec<NameAddr> =
        invite.message.list("P-Asserted-Identity").iter().filter_map(|value| NameAddr::parse(value)).collect();
    let number = asserted.iter().chain([&invite.from]).find_map(|address| address.uri.user.clone());
    let display = asserted.iter().chain([&invite.from]).find_map(|address| address.display.clone());
    let display = display.filter(|name| Some(name) != number.as_ref());
    Identity { number, display, withheld: None }
}

/// The dialled line: the user of the Request-URI, else of To.
pub(super) fn called(invite: &Request) -> String {
    invite.uri.user.clone().or_else(|| invite.to.uri.user.clone()).unwrap_or_default()
}

/// Call-ID and Session-ID (RFC 7989; the nil id says nothing).
pub(super) fn keys(invite: &Request) -> Vec<ExternalKey> {
    let mut keys = vec![ExternalKey { kind: KeyKind::CallId, value: invite.call_id.clone() }];
    if let Some(text) = invite.message.text("Session-ID")
        && let Some((id, _)) = split_params(&text)
        && id.len() == 32
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && id.bytes().any(|byte| byte != b'0')
    {
        keys.push(ExternalKey { kind: KeyKind::SessionId, value: id.to_ascii_lowercase() });
    }
    keys
}

fn is_private(invite: &Request) -> bool {
    invite.message.raw("Privacy").any(|raw| {
        let text = super::message::decode(raw).to_ascii_lowercase();
        text.split([';', ',']).any(|kind| matches!(kind.trim(), "id" | "user" | "header"))
    })
}

fn is_anonymous(from: &NameAddr) -> bool {
    from.uri.host.eq_ignore_ascii_case("anonymous.invalid")
        || from.uri.user.as_deref().is_some_and(|user| withheld(user) == Some(Withheld::Refused))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbx::sip::message::{Message, Start};

    fn invite(from: &str, more: &[(&str, &str)]) -> Request {
        let mut message = Message::new(Start::Request { method: "INVITE".into(), uri: "sip:7001@192.0.2.80".into() });
        message.push("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx");
        message.push("From", from);
        message.push("To", "<sip:7001@192.0.2.80>");
        message.push("Call-ID", "abc@192.0.2.1");
        message.push("CSeq", "1 INVITE");
        for (name, value) in more {
            message.push(name, *value);
        }
        Request::read(message).unwrap()
    }

    fn of(from: &str, more: &[(&str, &str)]) -> (Option<String>, Option<String>, Option<Withheld>) {
        let identity = caller(&invite(from, more));
        (identity.number, identity.display, identity.withheld)
    }

    fn shown(number: &str, display: Option<&str>) -> (Option<String>, Option<String>, Option<Withheld>) {
        (Some(number.into()), display.map(Into::into), None)
    }

    #[test]
    fn the_asserted_identity_counts_more_than_from() {
        let from = "\"橋本\" <sip:1001@192.0.2.1>;tag=1";
        assert_eq!(of(from, &[]), shown("1001", Some("橋本")));
        let pai = ("P-Asserted-Identity", "<sip:0663621234@192.0.2.1>, <tel:+81663621234>");
        assert_eq!(of(from, &[pai]), shown("0663621234", Some("橋本")));
        assert_eq!(of("\"1001\" <sip:1001@h>;tag=1", &[]), shown("1001", None));
    }

    #[test]
    fn privacy_and_the_japanese_reasons_hide_the_number_wherever_it_stands() {
        let pai = ("P-Asserted-Identity", "\"橋本\" <sip:0663621234@192.0.2.1>");
        let hidden = |why| (None, None, Some(why));
        assert_eq!(of("<sip:0663621234@h>;tag=1", &[pai, ("Privacy", "critical;id")]), hidden(Withheld::Refused));
        assert_eq!(of("<sip:0663621234@h>;tag=1", &[pai, ("Privacy", "none")]).2, None);
        for (name, why) in [
            ("Anonymous", Withheld::Refused),
            ("Coin line/payphone", Withheld::Payphone),
            ("Interaction with other service", Withheld::ServiceConflict),
            ("Unavailable", Withheld::Unavailable),
        ] {
            let from = format!("\"{name}\" <sip:anonymous@anonymous.invalid>;tag=1");
            assert_eq!(of(&from, &[pai, ("Privacy", "id")]), hidden(why));
            assert_eq!(of(&from, &[]), hidden(why));
        }
        assert_eq!(of("<sip:anonymous@192.0.2.1>;tag=1", &[pai]), hidden(Withheld::Refused));
    }

    #[test]
    fn the_call_is_known_by_its_call_id_and_session_id() {
        let id = "ab30317f1a784dc48ff824d0d3715d86";
        let request = invite("<sip:1@h>;tag=1", &[("Session-ID", &format!("{id};remote={}", "0".repeat(32)))]);
        let values: Vec<String> = keys(&request).into_iter().map(|key| key.value).collect();
        assert_eq!((called(&request).as_str(), values), ("7001", vec!["abc@192.0.2.1".to_string(), id.to_string()]));
        assert_eq!(keys(&invite("<sip:1@h>;tag=1", &[("Session-ID", &"0".repeat(32))])).len(), 1);
    }
}

//! Who calls, as the exchange tells it by SIP (RFC 3325, RFC 3323, RFC 8224, and what Japanese carriers put into From), and what the call is
//! called elsewhere.

use crate::pbx::identity::{bounded_display, bounded_number, withheld};
use crate::pbx::{ExternalKey, Identity, KeyKind, Tag, Verstat, Withheld};

use super::diverted::{self, is_hidden};
use super::header::{NameAddr, split_params};
use super::request::Request;

/// Values of User-to-User that are read of one call.
const TOKENS_MAX: usize = 4;
/// Longest token, in characters.
const TOKEN_CHARS_MAX: usize = 256;
/// Identity headers that are kept of one call.
const SIGNATURES_MAX: usize = 4;
/// Longest Identity header that is kept, in bytes; a longer one is left out.
const SIGNATURE_BYTES_MAX: usize = 8_192;

/// The caller. Of a peer in the trust domain (RFC 3325 §2.2, `trust`): P-Asserted-Identity, else Remote-Party-ID, else From; of others From
/// only. A number that may not be shown goes no further than here.
pub fn caller(invite: &Request, trust: bool) -> Identity {
    let network = if trust { asserted(invite) } else { Vec::new() };
    let addresses: Vec<&NameAddr> = network.iter().chain([&invite.from]).collect();
    let tags = if trust { tags(invite, &addresses) } else { Vec::new() };
    let diverted = if trust { diverted::origin(invite) } else { None };
    let verstat = if trust { addresses.iter().find_map(|address| verstat(address)) } else { None };
    if let Some(why) = hidden(invite, &addresses, &tags) {
        return Identity { withheld: Some(why), tags, verstat, diverted, ..Identity::default() };
    }
    let number = number(&addresses);
    let names = addresses.iter().filter(|address| !wants_no_name(address)).filter_map(|a| a.display.as_deref());
    let display = names.filter_map(|name| bounded_display(name, number.as_deref())).next();
    Identity { number, display, withheld: None, tags, verstat, diverted, signatures: signatures(invite) }
}

/// Call-ID and Session-ID (RFC 7989; the nil id says nothing); of a peer in the trust domain (`trust`) also the tokens of User-to-User.
pub(in crate::pbx) fn keys(invite: &Request, trust: bool) -> Vec<ExternalKey> {
    let mut keys = vec![ExternalKey { kind: KeyKind::CallId, value: invite.call_id.clone() }];
    if let Some(text) = invite.message.text("Session-ID")
        && let Some((id, _)) = split_params(&text)
        && id.len() == 32
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && id.bytes().any(|byte| byte != b'0')
    {
        keys.push(ExternalKey { kind: KeyKind::SessionId, value: id.to_ascii_lowercase() });
    }
    if trust {
        keys.extend(tokens(invite).into_iter().map(|value| ExternalKey { kind: KeyKind::Token, value }));
    }
    keys
}

/// What User-to-User brings along (RFC 7433 §4): as it stands there, and where that is hexadecimal also the text in it. Data that is no short
/// plain text is no token.
fn tokens(invite: &Request) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for value in invite.message.list("User-to-User").iter().take(TOKENS_MAX) {
        let Some((data, params)) = split_params(value) else { continue };
        let data = data.trim().trim_matches('"');
        let hex = super::header::param(&params, "encoding").is_none_or(|name| name.eq_ignore_ascii_case("hex"));
        for token in [Some(data.to_string()), Some(data).filter(|_| hex).and_then(from_hex)].into_iter().flatten() {
            let plain = !token.is_empty() && !token.chars().any(char::is_control);
            if plain && token.chars().count() <= TOKEN_CHARS_MAX && !tokens.contains(&token) {
                tokens.push(token);
            }
        }
    }
    tokens
}

fn from_hex(text: &str) -> Option<String> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |byte: &u8| char::from(*byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let nibbles = text.as_bytes().iter().map(nibble).collect::<Option<Vec<u8>>>()?;
    let bytes = nibbles.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, nibble| (byte << 4) | nibble));
    String::from_utf8(bytes.collect()).ok()
}

/// Whom an address of record in metadata names: a URI, or a bare number or user (RFC 7865 §6.5).
pub(super) fn of_aor(aor: &str, name: Option<&str>) -> Identity {
    let Some(address) = address_of(aor) else {
        return Identity { display: name.and_then(|name| bounded_display(name, None)), ..Identity::default() };
    };
    let said = name.and_then(withheld).or_else(|| address.uri.user.as_deref().and_then(withheld));
    if said.is_some() || is_hidden(&address) {
        return Identity { withheld: Some(said.unwrap_or(Withheld::Refused)), ..Identity::default() };
    }
    let number = number_of(&address);
    let name = name.or(address.display.as_deref());
    let display = name.and_then(|name| bounded_display(name, number.as_deref()));
    Identity { number, display, ..Identity::default() }
}

/// The user of an address of record as a number or extension.
pub(super) fn user_of(aor: &str) -> Option<String> {
    number_of(&address_of(aor)?)
}

fn address_of(aor: &str) -> Option<NameAddr> {
    let aor = aor.trim();
    let known = |address: &NameAddr| matches!(address.uri.scheme.as_str(), "sip" | "sips" | "tel");
    let bare = || match aor.contains('@') {
        true => NameAddr::parse(&format!("sip:{aor}")),
        false => NameAddr::parse(&format!("tel:{aor}")),
    };
    let address = NameAddr::parse(aor).filter(known).or_else(bare)?;
    // `sip:0661111111`: the number stands where the host should
    match address.uri.user {
        None => NameAddr::parse(&format!("tel:{}", address.uri.host)),
        Some(_) => Some(address),
    }
}

/// Both halves of a Session-ID (RFC 7989 §5); the nil id says nothing.
pub(super) fn session_ids(text: &str) -> Vec<String> {
    let halves = text.split(';').map(|half| half.trim().trim_start_matches("remote=").trim().to_ascii_lowercase());
    let is_id = |id: &String| {
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && id.bytes().any(|byte| byte != b'0')
    };
    halves.take(2).filter(is_id).collect()
}

/// The user of an address as a number: with its phone-context where that is more than a name of the own network.
pub(in crate::pbx) fn number_of(address: &NameAddr) -> Option<String> {
    let user = address.uri.user.as_deref()?;
    match address.uri.number_param("phone-context") {
        Some(context) if context.starts_with('+') && !user.starts_with('+') => {
            bounded_number(&format!("{user};phone-context={context}"))
        }
        _ => bounded_number(user),
    }
}

/// What the network says of the caller: the first SIP and the first tel URI of P-Asserted-Identity (RFC 3325 §9.1), else the calling party of
/// Remote-Party-ID.
fn asserted(invite: &Request) -> Vec<NameAddr> {
    let all = |name| invite.message.list(name).into_iter().filter_map(|value| NameAddr::parse(&value));
    let is_tel = |address: &NameAddr| address.uri.scheme == "tel";
    let is_sip = |address: &NameAddr| matches!(address.uri.scheme.as_str(), "sip" | "sips");
    let mut found: Vec<NameAddr> = Vec::new();
    for address in all("P-Asserted-Identity").filter(|address| is_tel(address) || is_sip(address)) {
        if !found.iter().any(|other| is_tel(other) == is_tel(&address)) {
            found.push(address);
        }
    }
    if found.is_empty() {
        let calls = |address: &NameAddr| header_param(address, "party").is_none_or(|party| party == "calling");
        found.extend(all("Remote-Party-ID").find(calls));
    }
    found
}

/// The first that is a number of the plan or an extension, else the first there is.
fn number(addresses: &[&NameAddr]) -> Option<String> {
    // From is asked only where the network asserts nothing
    let (said, from) = addresses.split_at(addresses.len().saturating_sub(1));
    let said: Vec<String> = said.iter().filter_map(|address| number_of(address)).collect();
    let dialled = |text: &&String| text.trim_start_matches('+').starts_with(|c: char| c.is_ascii_digit());
    let best = said.iter().find(dialled).or(said.first()).cloned();
    best.or_else(|| from.iter().find_map(|address| number_of(address)))
}

/// Why the number may not be shown; `None` when it may.
fn hidden(invite: &Request, addresses: &[&NameAddr], tags: &[Tag]) -> Option<Withheld> {
    let said = addresses.iter().rev().find_map(|address| address.display.as_deref().and_then(withheld));
    let user = addresses.iter().find_map(|address| address.uri.user.as_deref().and_then(withheld));
    let anonymous = addresses.iter().any(|address| is_hidden(address));
    let wanted = privacy(invite).iter().any(|kind| matches!(kind.as_str(), "id" | "user" | "header"));
    let party = addresses.iter().any(|a| header_param(a, "privacy").is_some_and(|p| p == "full" || p == "uri"));
    if said.is_none() && user.is_none() && !anonymous && !wanted && !party {
        return None;
    }
    let payphone = tags.contains(&Tag::Payphone).then_some(Withheld::Payphone);
    Some(payphone.or(said).or(user).unwrap_or(Withheld::Refused))
}

/// `privacy=name` of Remote-Party-ID.
fn wants_no_name(address: &NameAddr) -> bool {
    header_param(address, "privacy").is_some_and(|privacy| privacy == "name")
}

/// The kinds of Privacy (RFC 3323 §4.2, RFC 3325 §9.3, RFC 7044 §10.1), lower case; commas are tolerated.
pub(super) fn privacy(invite: &Request) -> Vec<String> {
    let texts: Vec<String> =
        invite.message.raw("Privacy").map(|raw| super::message::decode(raw).into_owned()).collect();
    let kinds = texts.iter().flat_map(|text| text.split([';', ',']));
    kinds.map(|kind| kind.trim().to_ascii_lowercase()).filter(|kind| !kind.is_empty()).collect()
}

/// The calling party's category (draft-mahy-iptel-cpc, in use by Japanese carriers) and calls back after an emergency call (RFC 7090).
fn tags(invite: &Request, addresses: &[&NameAddr]) -> Vec<Tag> {
    let category = addresses.iter().find_map(|address| address.uri.number_param("cpc"));
    let category = match category.map(str::to_ascii_lowercase).as_deref() {
        Some("payphone") => Some(Tag::Payphone),
        Some("operator") => Some(Tag::Operator),
        Some("test") => Some(Tag::Test),
        _ => None,
    };
    let priority = invite.message.text("Priority");
    let back = priority.is_some_and(|text| text.trim().eq_ignore_ascii_case("psap-callback"));
    category.into_iter().chain(back.then_some(Tag::EmergencyCallback)).collect()
}

fn verstat(address: &NameAddr) -> Option<Verstat> {
    let said = address.uri.number_param("verstat")?.to_ascii_lowercase();
    if said.starts_with("tn-validation-passed") {
        Some(Verstat::Passed)
    } else if said.starts_with("tn-validation-failed") {
        Some(Verstat::Failed)
    } else {
        said.starts_with("no-tn-validation").then_some(Verstat::NotVerified)
    }
}

fn signatures(invite: &Request) -> Vec<String> {
    let all = invite.message.raw("Identity").filter(|raw| raw.len() <= SIGNATURE_BYTES_MAX);
    all.take(SIGNATURES_MAX).filter_map(|raw| String::from_utf8(raw.to_vec()).ok()).collect()
}

/// A parameter of the header (not of the URI), lower case.
fn header_param(address: &NameAddr, name: &str) -> Option<String> {
    super::header::param(&address.params, name).map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbx::sip::message::{Message, Start};

    #[test]
    fn the_call_is_known_by_its_call_id_and_session_id() {
        let id = "ab30317f1a784dc48ff824d0d3715d86";
        let invite = |session: String| {
            let mut message = Message::new(Start::Request { method: "INVITE".into(), uri: "sip:7001@h".into() });
            message.push("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx");
            message.push("From", "<sip:1@h>;tag=1");
            message.push("To", "<sip:7001@h>");
            message.push("Call-ID", "abc@192.0.2.1");
            message.push("CSeq", "1 INVITE");
            message.push("Session-ID", session);
            Request::read(message).unwrap()
        };
        let request = invite(format!("{id};remote={}", "0".repeat(32)));
        let values: Vec<String> = keys(&request, true).into_iter().map(|key| key.value).collect();
        assert_eq!(values, ["abc@192.0.2.1", id]);
        assert_eq!(keys(&invite("0".repeat(32)), true).len(), 1);
    }

    #[test]
    fn tokens_are_read_from_user_to_user_of_trusted_peers_only() {
        let invite = |values: &[&str]| {
            let mut message = Message::new(Start::Request { method: "INVITE".into(), uri: "sip:7001@h".into() });
            message.push("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx");
            message.push("From", "<sip:1@h>;tag=1");
            message.push("To", "<sip:7001@h>");
            message.push("Call-ID", "abc@192.0.2.1");
            message.push("CSeq", "1 INVITE");
            for value in values {
                message.push("User-to-User", *value);
            }
            Request::read(message).unwrap()
        };
        let tokens = |values: &[&str], trust| {
            let keys = keys(&invite(values), trust).into_iter().filter(|key| key.kind == KeyKind::Token);
            keys.map(|key| key.value).collect::<Vec<String>>()
        };
        assert_eq!(tokens(&["56a390f3;encoding=hex"], true), ["56a390f3"], "no text is in it");
        assert_eq!(tokens(&["746f6b656e2d31;purpose=isdn-uui"], true), ["746f6b656e2d31", "token-1"]);
        assert_eq!(tokens(&["\"portal 7/8\";encoding=plain"], true), ["portal 7/8"]);
        assert_eq!(tokens(&["6162;encoding=base64", "x, y"], true), ["6162", "x", "y"]);
        assert!(tokens(&["746f6b656e2d31"], false).is_empty());
        assert!(tokens(&["", ";encoding=hex", &"x".repeat(257)], true).is_empty());
        assert_eq!(tokens(&["a", "b", "c", "d", "e"], true).len(), 4);
    }
}

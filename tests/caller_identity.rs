//! Who calls, in every form that exchanges and carriers in Japan write it.

use std::collections::HashSet;

use encoding_rs::{EUC_JP, SHIFT_JIS};
use kakehashi::call::caller::shown;
use kakehashi::call::number::Number;
use kakehashi::pbx::Identity;
use kakehashi::pbx::sip::diverted::{CalledFrom, called};
use kakehashi::pbx::sip::identity::caller;
use kakehashi::pbx::sip::message::{Message, Start};
use kakehashi::pbx::sip::request::Request;

/// An INVITE with these headers; `From`, `To` and the Request-URI have defaults.
fn invite(headers: &[(&str, &[u8])]) -> Request {
    let own = |name: &str| headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.to_vec());
    let uri = own("Request-URI").map_or_else(|| "sip:7001@192.0.2.80".into(), |uri| String::from_utf8(uri).unwrap());
    let mut message = Message::new(Start::Request { method: "INVITE".into(), uri });
    message.push("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx");
    message.push("From", own("From").unwrap_or_else(|| b"<sip:1001@192.0.2.1>;tag=1".to_vec()));
    message.push("To", own("To").unwrap_or_else(|| b"<sip:7001@192.0.2.80>".to_vec()));
    message.push("Call-ID", "abc@192.0.2.1");
    message.push("CSeq", "1 INVITE");
    for (name, value) in headers.iter().filter(|(name, _)| !["From", "To", "Request-URI"].contains(name)) {
        message.push(name, value.to_vec());
    }
    Request::read(message).unwrap()
}

/// `header: value | header: value` → what is shown of the caller, as one line of JSON without the kind.
fn read(headers: &str, trust: bool) -> String {
    let lines: Vec<(&str, &[u8])> = headers
        .split(" | ")
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (long(name), value.as_bytes()))
        .collect();
    let mut shown = serde_json::to_value(shown(&caller(&invite(&lines), trust))).unwrap();
    shown.as_object_mut().unwrap().remove("kind");
    shown.to_string()
}

fn long(name: &str) -> &str {
    match name {
        "PAI" => "P-Asserted-Identity",
        "RPID" => "Remote-Party-ID",
        "HI" => "History-Info",
        "PCPI" => "P-Called-Party-ID",
        "URI" => "Request-URI",
        other => other,
    }
}

/// Headers of a trusted exchange, and the caller as events show it.
#[rustfmt::skip]
const TRUSTED: &[(&str, &str)] = &[
    // the order: what the network asserts, Remote-Party-ID, From
    ("From: <sip:0663621234@h>;tag=1", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: sip:0663621234@h;tag=1", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:+81663621234@h;user=phone>;tag=1", r#"{"number":"+81663621234","raw":"+81663621234"}"#),
    ("From: <sip:+81-6-6362-1234@h;user=phone>;tag=1", r#"{"number":"+81663621234","raw":"+81-6-6362-1234"}"#),
    ("From: <sips:0663621234@h>;tag=1", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <tel:+81-6-6362-1234>;tag=1", r#"{"number":"+81663621234","raw":"+81-6-6362-1234"}"#),
    ("From: <tel:0663621234;phone-context=example.jp>;tag=1", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <tel:0663621234;phone-context=+81>;tag=1", r#"{"number":"+81663621234","raw":"0663621234;phone-context=+81"}"#),
    ("From: <tel:63621234;phone-context=+816>;tag=1", r#"{"raw":"63621234;phone-context=+816"}"#),
    ("From: <sip:63621234;phone-context=+816@h;user=phone>;tag=1", r#"{"raw":"63621234;phone-context=+816"}"#),
    ("From: <tel:+81663621234;ext=12;isub=9>;tag=1", r#"{"number":"+81663621234","raw":"+81663621234"}"#),
    ("From: <sip:+81663621234;npdi;rn=+81600000000@h>;tag=1", r#"{"number":"+81663621234","raw":"+81663621234"}"#),
    ("From: <sip:%2B81663621234@h>;tag=1", r#"{"number":"+81663621234","raw":"+81663621234"}"#),
    ("From: <sip:%30663621234@h>;tag=1", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:%237119@h>;tag=1", r##"{"raw":"#7119"}"##),
    ("From: <sip:110@h>;tag=1", r#"{"raw":"110"}"#),
    ("From: <sip:2001@h>;tag=1", r#"{"raw":"2001"}"#),
    ("From: <sip:tanaka@h>;tag=1", r#"{"raw":"tanaka"}"#),
    ("From: <sip:192.0.2.1>;tag=1", r#"{}"#),
    ("From: <sip:0663621234:secret@h>;tag=1", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <sip:0663621234@h>", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <tel:+81663621234>", r#"{"number":"+81663621234","raw":"+81663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <sip:0663621234@h>, <tel:+81663621234>", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <sip:0663621234@h> | PAI: <tel:+81663621234>", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <sip:trunk-a@h>, <tel:+81663621234>", r#"{"number":"+81663621234","raw":"+81663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <sip:0663621234@h>, <sip:0312345678@h>", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <mailto:a@h>, <sip:0663621234@h>", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <sip:192.0.2.9>", r#"{"raw":"1001"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: not an address", r#"{"raw":"1001"}"#),
    ("From: <sip:1001@h>;tag=1 | RPID: <sip:0663621234@h>;party=calling;screen=yes", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | RPID: <sip:0663621234@h>;party=called", r#"{"raw":"1001"}"#),
    ("From: <sip:1001@h>;tag=1 | RPID: <sip:0312345678@h> | PAI: <sip:0663621234@h>", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    // display names
    ("From: \"橋本 花子\" <sip:0663621234@h>;tag=1", r#"{"display":"橋本 花子","number":"+81663621234","raw":"0663621234"}"#),
    ("From: Hashimoto <sip:0663621234@h>;tag=1", r#"{"display":"Hashimoto","number":"+81663621234","raw":"0663621234"}"#),
    ("From: \"a \\\"b\\\" c\" <sip:0663621234@h>;tag=1", r#"{"display":"a \"b\" c","number":"+81663621234","raw":"0663621234"}"#),
    ("From: \"0663621234\" <sip:0663621234@h>;tag=1", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: \"\" <sip:0663621234@h>;tag=1", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: =?UTF-8?B?5qmL5pys?= <sip:0663621234@h>;tag=1", r#"{"display":"=?UTF-8?B?5qmL5pys?=","number":"+81663621234","raw":"0663621234"}"#),
    ("From: \"橋本\" <sip:1001@h>;tag=1 | PAI: <sip:0663621234@h>", r#"{"display":"橋本","number":"+81663621234","raw":"0663621234"}"#),
    ("From: \"田中\" <sip:1001@h>;tag=1 | PAI: \"橋本\" <sip:0663621234@h>", r#"{"display":"橋本","number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | RPID: \"橋本\" <sip:0663621234@h>;privacy=name", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | RPID: \"橋本\" <sip:0663621234@h>;privacy=off", r#"{"display":"橋本","number":"+81663621234","raw":"0663621234"}"#),
    // the four reasons, in the forms that carriers use
    ("From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1", r#"{"withheld":"refused"}"#),
    ("From: \"Coin line/payphone\" <sip:anonymous@anonymous.invalid>;tag=1", r#"{"withheld":"payphone"}"#),
    ("From: \"Interaction with other service\" <sip:anonymous@anonymous.invalid>;tag=1", r#"{"withheld":"service-conflict"}"#),
    ("From: \"Unavailable\" <sip:anonymous@anonymous.invalid>;tag=1", r#"{"withheld":"unavailable"}"#),
    ("From: \"ANONYMOUS\" <sip:anonymous@anonymous.invalid>;tag=1", r#"{"withheld":"refused"}"#),
    ("From: \"coin line/payphone (public)\" <sip:anonymous@anonymous.invalid>;tag=1", r#"{"withheld":"payphone"}"#),
    ("From: Unavailable <sip:unavailable@unknown.invalid>;tag=1", r#"{"withheld":"unavailable"}"#),
    ("From: \"公衆電話\" <sip:anonymous@anonymous.invalid>;tag=1", r#"{"withheld":"payphone"}"#),
    ("From: \"表示圏外\" <sip:0663621234@h>;tag=1", r#"{"withheld":"unavailable"}"#),
    ("From: <sip:anonymous@192.0.2.1>;tag=1", r#"{"withheld":"refused"}"#),
    ("From: <sip:Restricted@192.0.2.1>;tag=1", r#"{"withheld":"refused"}"#),
    ("From: <sip:c8oqz84zk7z@ANONYMOUS.invalid>;tag=1", r#"{"withheld":"refused"}"#),
    ("From: \"Unavailable\" <sip:anonymous@anonymous.invalid>;tag=1 | PAI: \"橋本\" <sip:0663621234@h> | Privacy: id", r#"{"withheld":"unavailable"}"#),
    ("From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1 | PAI: <tel:+81663621234;cpc=payphone> | Privacy: id", r#"{"tags":["payphone"],"withheld":"payphone"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: \"Anonymous\" <sip:0663621234@h>", r#"{"withheld":"refused"}"#),
    ("From: <sip:0663621234@h>;tag=1 | PAI: <sip:anonymous@anonymous.invalid>", r#"{"withheld":"refused"}"#),
    // Privacy
    ("From: <sip:0663621234@h>;tag=1 | Privacy: id", r#"{"withheld":"refused"}"#),
    ("From: <sip:0663621234@h>;tag=1 | Privacy: user", r#"{"withheld":"refused"}"#),
    ("From: <sip:0663621234@h>;tag=1 | Privacy: header", r#"{"withheld":"refused"}"#),
    ("From: <sip:0663621234@h>;tag=1 | Privacy: ID; critical", r#"{"withheld":"refused"}"#),
    ("From: <sip:0663621234@h>;tag=1 | Privacy: user,id", r#"{"withheld":"refused"}"#),
    ("From: <sip:0663621234@h>;tag=1 | Privacy: none | Privacy: id", r#"{"withheld":"refused"}"#),
    ("From: <sip:0663621234@h>;tag=1 | Privacy: none", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:0663621234@h>;tag=1 | Privacy: session", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:0663621234@h>;tag=1 | Privacy: history", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:0663621234@h>;tag=1 | Privacy: critical", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | RPID: <sip:0663621234@h>;privacy=full", r#"{"withheld":"refused"}"#),
    ("From: <sip:1001@h>;tag=1 | RPID: <sip:0663621234@h>;privacy=uri", r#"{"withheld":"refused"}"#),
    // category and verification
    ("From: <sip:0663621234;cpc=payphone@h;user=phone>;tag=1", r#"{"number":"+81663621234","raw":"0663621234","tags":["payphone"]}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <tel:+81663621234;cpc=payphone>", r#"{"number":"+81663621234","raw":"+81663621234","tags":["payphone"]}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <sip:0663621234@h;user=phone;CPC=Operator>", r#"{"number":"+81663621234","raw":"0663621234","tags":["operator"]}"#),
    ("From: <tel:+81663621234;cpc=ordinary>;tag=1", r#"{"number":"+81663621234","raw":"+81663621234"}"#),
    ("From: <sip:0663621234@h>;tag=1 | Priority: psap-callback", r#"{"number":"+81663621234","raw":"0663621234","tags":["emergency-callback"]}"#),
    ("From: <sip:0663621234@h>;tag=1 | Priority: urgent", r#"{"number":"+81663621234","raw":"0663621234"}"#),
    ("From: <sip:1001@h>;tag=1 | PAI: <tel:+81663621234;verstat=TN-Validation-Passed>", r#"{"number":"+81663621234","raw":"+81663621234","verstat":"passed"}"#),
    ("From: <sip:+81663621234;verstat=TN-Validation-Failed-A@h;user=phone>;tag=1", r#"{"number":"+81663621234","raw":"+81663621234","verstat":"failed"}"#),
    ("From: <tel:+81663621234;verstat=No-TN-Validation>;tag=1", r#"{"number":"+81663621234","raw":"+81663621234","verstat":"not-verified"}"#),
    ("From: <tel:+81663621234;verstat=Something-New>;tag=1", r#"{"number":"+81663621234","raw":"+81663621234"}"#),
    // diversion
    ("Diversion: <sip:0663629999@h>;reason=no-answer", r#"{"diverted":{"number":"+81663629999","raw":"0663629999","reason":"no-answer"},"raw":"1001"}"#),
    ("Diversion: \"代表\" <tel:+81-6-6362-9999>;reason=\"user-busy\";counter=1", r#"{"diverted":{"number":"+81663629999","raw":"+81-6-6362-9999","reason":"busy"},"raw":"1001"}"#),
    ("Diversion: <sip:2002@h>;reason=unconditional, <sip:2001@h>;reason=user-busy", r#"{"diverted":{"raw":"2001","reason":"busy"},"raw":"1001"}"#),
    ("Diversion: <sip:2002@h>;reason=unconditional | Diversion: <sip:2001@h>;reason=time-of-day", r#"{"diverted":{"raw":"2001","reason":"other"},"raw":"1001"}"#),
    ("Diversion: <sip:0663629999@h>;reason=unconditional;privacy=full", r#"{"diverted":{"reason":"unconditional"},"raw":"1001"}"#),
    ("Diversion: <sip:0663629999@h>", r#"{"diverted":{"number":"+81663629999","raw":"0663629999"},"raw":"1001"}"#),
    ("HI: <sip:2001@h>;index=1, <sip:7001@h;cause=408>;index=1.1;mp=1", r#"{"diverted":{"raw":"2001","reason":"no-answer"},"raw":"1001"}"#),
    ("HI: <sip:7001@h;cause=486>;index=1.1 | HI: <sip:2001@h>;index=1", r#"{"diverted":{"raw":"2001","reason":"busy"},"raw":"1001"}"#),
    ("HI: <sip:2001@h?Reason=SIP%3Bcause%3D302>;index=1, <sip:7001@h>;index=1.1", r#"{"diverted":{"raw":"2001","reason":"unconditional"},"raw":"1001"}"#),
    ("HI: <sip:2001@h?Privacy=history&Reason=SIP%3Bcause%3D486>;index=1, <sip:7001@h>;index=1.1", r#"{"diverted":{"reason":"busy"},"raw":"1001"}"#),
    ("HI: <sip:2001@h>;index=1, <sip:7001@h;cause=302>;index=1.1 | Privacy: history", r#"{"diverted":{"reason":"unconditional"},"raw":"1001"}"#),
    ("HI: <sip:7001@h>;index=1, <sip:7001@192.0.2.7>;index=1.1;rc=1", r#"{"raw":"1001"}"#),
    ("HI: <sip:7001@h>;index=1", r#"{"raw":"1001"}"#),
    ("HI: <sip:2001@h>;index=1, <sip:2002@h;cause=408>;index=1.1, <sip:7001@h;cause=486>;index=1.1.1", r#"{"diverted":{"raw":"2001","reason":"no-answer"},"raw":"1001"}"#),
    ("HI: <sip:2001@h>;index=x, <sip:7001@h>", r#"{"raw":"1001"}"#),
    ("From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1 | Diversion: <sip:2001@h>;reason=no-answer", r#"{"diverted":{"raw":"2001","reason":"no-answer"},"withheld":"refused"}"#),
];

#[test]
fn the_caller_is_read_from_what_a_trusted_exchange_says() {
    let mut wrong = Vec::new();
    for (headers, expected) in TRUSTED {
        let got = read(headers, true);
        if got != *expected {
            wrong.push(format!("{headers}\n  expected {expected}\n  got      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(TRUSTED.len() >= 80, "only {}", TRUSTED.len());
}

/// RFC 3325 §5: what comes from outside the trust domain is not read; a wish for privacy is always heard.
#[test]
fn an_untrusted_exchange_is_believed_no_more_than_its_from() {
    for (headers, expected) in [
        ("PAI: <sip:0663621234@h>", r#"{"raw":"1001"}"#),
        ("RPID: <sip:0663621234@h>", r#"{"raw":"1001"}"#),
        ("Diversion: <sip:2001@h>;reason=no-answer", r#"{"raw":"1001"}"#),
        ("HI: <sip:2001@h>;index=1, <sip:7001@h;cause=408>;index=1.1", r#"{"raw":"1001"}"#),
        ("From: <sip:1001;cpc=payphone@h>;tag=1", r#"{"raw":"1001"}"#),
        (
            "From: <tel:+81663621234;verstat=TN-Validation-Passed>;tag=1",
            r#"{"number":"+81663621234","raw":"+81663621234"}"#,
        ),
        ("Priority: psap-callback", r#"{"raw":"1001"}"#),
        ("PAI: \"Anonymous\" <sip:anonymous@anonymous.invalid>", r#"{"raw":"1001"}"#),
        ("PAI: <sip:0663621234@h> | Privacy: id", r#"{"withheld":"refused"}"#),
        ("From: \"Unavailable\" <sip:anonymous@anonymous.invalid>;tag=1", r#"{"withheld":"unavailable"}"#),
    ] {
        assert_eq!(read(headers, false), expected, "{headers}");
    }
}

#[test]
fn names_are_read_in_every_charset_of_old_exchanges() {
    let name = "橋本 はなこ";
    for bytes in [name.as_bytes().to_vec(), SHIFT_JIS.encode(name).0.into_owned(), EUC_JP.encode(name).0.into_owned()] {
        let from = [b"\"".as_slice(), &bytes, b"\" <sip:0663621234@h>;tag=1"].concat();
        assert_eq!(caller(&invite(&[("From", &from)]), true).display.as_deref(), Some(name));
    }
}

#[test]
fn nothing_of_a_withheld_number_is_kept() {
    for headers in TRUSTED.iter().filter(|(_, expected)| expected.contains("withheld")).map(|(headers, _)| headers) {
        let signed = format!("{headers} | Identity: eyJ0bjoiMDY2MzYyMTIzNCJ9;info=<https://h/c>");
        let lines: Vec<(&str, &[u8])> = signed
            .split(" | ")
            .filter_map(|line| line.split_once(": "))
            .map(|(n, v)| (long(n), v.as_bytes()))
            .collect();
        let kept = caller(&invite(&lines), true);
        let stored = serde_json::to_string(&kept).unwrap();
        assert!(!stored.contains("6362") && !stored.contains("橋本") && kept.signatures.is_empty(), "{stored}");
    }
}

#[test]
fn signatures_are_kept_as_they_are_and_within_bounds() {
    let long = vec![b'a'; 9_000];
    let headers: Vec<(&str, &[u8])> = (0..9)
        .map(|_| ("Identity", b"eyJ.x.y;info=<https://h/c>".as_slice()))
        .chain([("Identity", &long[..])])
        .collect();
    let kept = caller(&invite(&headers), true).signatures;
    assert_eq!(kept, vec!["eyJ.x.y;info=<https://h/c>"; 4]);
    assert!(caller(&invite(&[("Identity", &long)]), true).signatures.is_empty());
}

#[test]
fn what_is_kept_of_a_caller_is_bounded() {
    let from = format!("\"{}\" <sip:{}@h>;tag=1", "名".repeat(5_000), "9".repeat(5_000));
    let Identity { number, display, .. } = caller(&invite(&[("From", from.as_bytes())]), true);
    assert_eq!((number.unwrap().chars().count(), display.unwrap().chars().count()), (64, 128));
}

#[test]
fn the_called_line_is_read_where_the_site_says() {
    use CalledFrom::*;
    let of = |headers: &[(&str, &str)], order: &[CalledFrom], trust| {
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        called(&invite(&headers), order, trust)
    };
    let random = ("Request-URI", "sip:k3j9x@192.0.2.80");
    let to = ("To", "<sip:0663621234@ntt.example;user=phone>");
    let party = ("P-Called-Party-ID", "<sip:0663625555@ntt.example>");
    let diversion = ("Diversion", "<sip:0663629999@h>;reason=no-answer");
    let history = ("History-Info", "<sip:0663628888@h>;index=1, <sip:7001@h>;index=1.1");
    let all = [random, to, party, diversion, history];
    assert_eq!(of(&all, &[], true), "k3j9x");
    assert_eq!(of(&all, &[To, RequestUri], true), "0663621234");
    assert_eq!(of(&all, &[PCalledPartyId], true), "0663625555");
    assert_eq!(of(&all, &[Diversion, To], true), "0663629999");
    assert_eq!(of(&all, &[HistoryInfo, To], true), "0663628888");
    assert_eq!(of(&[random, to], &[PCalledPartyId, Diversion, HistoryInfo, To], true), "0663621234");
    assert_eq!(of(&all, &[PCalledPartyId, Diversion, HistoryInfo], false), "k3j9x", "not of an untrusted exchange");
    assert_eq!(of(&[("Request-URI", "sip:192.0.2.80")], &[], true), "7001", "To, where the Request-URI has no user");
}

/// `tests/data/numbers.csv`: a form, the number it is, its kind.
#[test]
fn every_form_of_a_number_is_read_as_it_should_be() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/numbers.csv");
    let mut reader = csv::Reader::from_path(path).unwrap();
    let (mut wrong, mut seen) = (Vec::new(), HashSet::new());
    for row in reader.records() {
        let row = row.unwrap();
        let (form, number, kind, what) = (&row[0], &row[1], &row[2], &row[3]);
        assert!(seen.insert(form.to_string()), "{form} is there twice");
        let read = Number::parse(form);
        let its_kind = serde_json::to_value(read.kind()).unwrap();
        if read.to_string() != number || its_kind != kind {
            wrong.push(format!("{form} ({what}): expected {number} {kind}, got {read} {its_kind}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.len() >= 150, "only {} forms", seen.len());
}

#[test]
fn a_number_that_is_not_understood_is_never_equal_to_one_that_is() {
    for text in ["06-6362-123", "06-6362-12345", "0663621234x", "+0663621234", "00663621234"] {
        assert!(matches!(Number::parse(text), Number::Unknown(_)), "{text}");
    }
    let long = format!("06-6362-1234{}", " ".repeat(100));
    assert!(matches!(Number::parse(&long), Number::Unknown(_)), "what is cut off is not read");
}

//! Values of headers, one by one.

use super::*;

fn user(text: &str) -> Option<String> {
    Uri::parse(text).and_then(|uri| uri.user)
}

#[test]
fn users_as_exchanges_write_them() {
    assert_eq!(user("sip:0663621234@192.0.2.1:5060;user=phone").as_deref(), Some("0663621234"));
    assert_eq!(user("sip:a.g.bell@example.com").as_deref(), Some("a.g.bell"));
    assert_eq!(user("sip:+81663621234;npdi:secret@[2001:db8::1]:5062").as_deref(), Some("+81663621234"));
    assert_eq!(user("sip:sips%3Auser%40example.com@example.net").as_deref(), Some("sips:user@example.com"));
    assert_eq!(user("tel:+81-6-6362-1234;phone-context=x").as_deref(), Some("+81-6-6362-1234"));
    assert_eq!(Uri::parse("sip:[2001:db8::1]").unwrap().host, "2001:db8::1");
    assert_eq!(Uri::parse("soap.beep://192.0.2.103:3002").unwrap().scheme, "soap.beep");
}

#[test]
fn bad_uris_are_refused() {
    for text in ["", "user@host", "sip:", "sip:@host", "sip:a@", "sip:a@h:99999", "sip:a b@h", "<sip:a@h>", "sip:a@[x]"]
    {
        assert_eq!(Uri::parse(text), None, "{text}");
    }
}

#[test]
fn addresses_with_names_quotes_and_parameters() {
    let addr = NameAddr::parse("\"Bell, \\\"A\\\" <x>\" <sip:a@h;lr>;tag=1;x=\"a;b\"").unwrap();
    assert_eq!(addr.display.as_deref(), Some("Bell, \"A\" <x>"));
    assert_eq!((addr.tag(), param(&addr.params, "x")), (Some("1"), Some("a;b")));
    assert_eq!(addr.uri.param("lr"), Some(""));
    assert_eq!(NameAddr::parse("sip:a@h;tag=2").unwrap().tag(), Some("2"));
    assert_eq!(NameAddr::parse("caller<sip:a@h>").unwrap().display.as_deref(), Some("caller"));
    assert_eq!(NameAddr::parse("sip:a@h ; tag = 3").unwrap().tag(), Some("3"));
    for bad in ["\"Mr. J. User <sip:j@h>", "<sip:a@h", "\"a\" < sip:a@h >", "<sip:a@h> x", "a\"b <sip:a@h>"] {
        assert_eq!(NameAddr::parse(bad), None, "{bad}");
    }
}

#[test]
fn vias_of_every_kind() {
    let via = Via::parse("SIP  /    2.0   / UDP  192.0.2.1 : 5061 ;branch= z9hG4bK30239 ;rport").unwrap();
    assert_eq!((via.transport.as_str(), via.host.as_str(), via.port), ("UDP", "192.0.2.1", Some(5061)));
    assert!(via.branch() == "z9hG4bK30239" && via.wants_rport());
    assert_eq!(Via::parse("SIP/2.0/UNKNOWN t4.example.com;branch=x").unwrap().transport, "UNKNOWN");
    assert_eq!(Via::parse("SIP/2.0/TCP [2001:db8::9]:5060").unwrap().host, "2001:db8::9");
    assert_eq!(Via::parse("SIP/7.0/UDP c.example.com;branch=x").unwrap().branch(), "x");
    assert_eq!(Via::parse("HTTP/2.0/UDP c.example.com"), None);
    assert_eq!(Via::parse("SIP/2.0/UDP 192.0.2.15;;,;,,"), None);
}

#[test]
fn cseq_has_a_limit_and_any_method() {
    assert_eq!(CSeq::parse("0009   INVITE").unwrap(), CSeq { number: 9, method: "INVITE".into() });
    assert_eq!(CSeq::parse("1 NEWMETHOD").unwrap().method, "NEWMETHOD");
    for bad in ["2147483648 INVITE", "+1 INVITE", "1", "x INVITE", "1 A B", "36893488147419103232 REGISTER"] {
        assert_eq!(CSeq::parse(bad), None, "{bad}");
    }
    assert!(is_known_method("PRACK") && is_known_method("SUBSCRIBE") && !is_known_method("invite"));
}

#[test]
fn what_is_printed_is_read_back() {
    let via = Via::parse(&print_via("TCP", "2001:db8::1", 5060, "z9hG4bKx")).unwrap();
    assert!(via.host == "2001:db8::1" && via.branch() == "z9hG4bKx" && via.wants_rport());
    let contact = NameAddr::parse(&print_contact("kakehashi", "192.0.2.1", 15_080, "TCP")).unwrap();
    assert_eq!((contact.uri.port, contact.uri.param("transport")), (Some(15_080), Some("tcp")));
    assert_eq!(print_cseq(3, "BYE"), "3 BYE");
}

//! RFC 3261 §12.1.1, §26.2.2, RFC 5630: what begins with `sips:` by TLS stays there.

use kakehashi::pbx::sip::{Settings, Transport};

use crate::lab::{Lab, SDP, body, invite, lab, name, request};

const ROUTE: &str = "Record-Route: <sips:192.0.2.9;lr>\r\n";

fn secure(text: String) -> String {
    text.replace("INVITE sip:", "INVITE sips:")
}

fn by_tls(answer_after_ms: u64) -> Lab {
    let mut lab = lab(Settings::default(), answer_after_ms);
    lab.flow.transport = Transport::Tls;
    lab
}

#[test]
fn a_sips_uri_in_the_request_its_route_or_its_contact_is_answered_with_a_sips_contact() {
    let contact = |text: String| text.replace("Contact: <sip:", "Contact: <sips:");
    let cases = [
        (secure(invite("", SDP)), true),
        (invite(ROUTE, SDP), true),
        (contact(invite("", SDP)), true),
        (contact(invite("Record-Route: <sip:192.0.2.9;lr>\r\n", SDP)), false),
        (invite("", SDP), false),
    ];
    for (text, is_sips) in cases {
        let mut lab = by_tls(0);
        assert_eq!(lab.send(&text), ["100", "180", "200"]);
        let own = lab.last().text("Contact").unwrap().into_owned();
        assert_eq!(own.starts_with("<sips:"), is_sips, "{own} to {text}");
    }
}

#[test]
fn a_sips_call_hears_nothing_that_comes_by_udp_or_tcp_and_goes_on() {
    let mut lab = by_tls(0);
    assert_eq!(lab.send(&secure(invite("", SDP))), ["100", "180", "200"]);
    let tag = lab.tag();
    for (number, transport) in (1_000..).step_by(100).zip([Transport::Udp, Transport::Tcp]) {
        lab.flow.transport = transport;
        assert!(lab.ack("").is_empty());
        for (number, method) in (number..).zip(["INVITE", "UPDATE", "INFO", "PRACK", "OPTIONS", "BYE"]) {
            let text = request(method, &format!("{method}{number}"), number, &tag, "RAck: 1 1 INVITE\r\n", "");
            assert_eq!(lab.send(&text), ["403"], "{method}");
            assert_eq!(lab.last().text("Warning").unwrap(), "381 kakehashi \"SIPS Required\"");
            let to_us = text.replace(&format!("{method} sip:"), &format!("{method} sips:"));
            let to_us = to_us.replace(&format!("{method}{number}"), &format!("s{method}{number}"));
            assert_eq!(lab.send(&to_us), ["403"], "{method} to our own Contact");
        }
    }
    lab.flow.transport = Transport::Tls;
    assert!(lab.pass(600).iter().any(|(_, what)| what == "200"), "the ACK by UDP was none");
    assert!(lab.ack("").is_empty());
    let after = lab.pass(40_000);
    assert!(
        after.iter().all(|(_, what)| what == "403"),
        "its own ACK ended the repetitions, and nothing the call: {after:?}"
    );
    assert_eq!(lab.ask("OPTIONS", "", ""), ["200"], "the CSeq of what was refused does not count");
    assert_eq!(lab.ask("BYE", "", ""), ["200"]);
    assert!(lab.is_clean());
}

#[test]
fn a_cancel_by_udp_does_not_end_a_sips_call_that_rings() {
    let mut lab = by_tls(60_000);
    assert_eq!(lab.send(&secure(invite("", SDP))), ["100", "180"]);
    let cancel = request("CANCEL", "i1", 1, "", "", "");
    lab.flow.transport = Transport::Udp;
    assert_eq!(lab.send(&cancel), ["403"]);
    assert_eq!(lab.uas.calls(), 1);
    lab.pass(33_000);
    lab.flow.transport = Transport::Tls;
    assert_eq!(lab.send(&cancel), ["200", "487"]);
    assert!(lab.is_clean());
}

#[test]
fn a_call_by_tls_without_sips_may_go_on_by_another_way() {
    let mut lab = by_tls(0);
    lab.call("", SDP);
    lab.flow.transport = Transport::Tcp;
    assert_eq!(lab.ask("INVITE", "", SDP), ["200"]);
    assert_eq!(body(lab.last()).lines().next(), Some("v=0"));
    lab.ack("");
    assert_eq!(lab.ask("BYE", "", ""), ["200"]);
}

#[test]
fn what_floods_a_sips_call_by_udp_is_limited_as_any_other() {
    let mut lab = lab(Settings { request_burst: 20, ..Settings::default() }, 0);
    lab.flow.transport = Transport::Tls;
    assert_eq!(lab.send(&secure(invite("", SDP))), ["100", "180", "200"]);
    let tag = lab.tag();
    lab.flow.transport = Transport::Udp;
    let answered = |lab: &mut Lab, n: u32| !lab.send(&request("OPTIONS", &format!("o{n}"), n, &tag, "", "")).is_empty();
    let answers = (2..200).filter(|n| answered(&mut lab, *n)).count();
    assert!(answers < 30, "{answers} were answered");
    assert_eq!(name(lab.last()), "503");
    lab.flow.transport = Transport::Tls;
    lab.ack("");
    assert_eq!(lab.ask("BYE", "", ""), ["200"]);
}

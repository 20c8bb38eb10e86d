//! What is refused, and with which words: RFC 3261 §8.2, RFC 3891, RFC 6086 and the methods that are not for us.

use kakehashi::pbx::{Signal, Speaker};

use crate::lab::{SDP, answering_after, invite, request};

const OUTSIDE: [(&str, &str); 8] = [
    ("REFER", "405"),
    ("MESSAGE", "405"),
    ("PUBLISH", "405"),
    ("FOO", "501"),
    ("INFO", "481"),
    ("UPDATE", "481"),
    ("PRACK", "481"),
    ("BYE", "481"),
];

#[test]
fn methods_that_are_not_for_us_are_405_and_unknown_ones_501() {
    let mut lab = answering_after(0);
    for (method, expected) in OUTSIDE {
        assert_eq!(lab.send(&request(method, method, 1, "", "", "")), [expected], "{method}");
        assert_eq!(lab.last().count("Allow"), usize::from(expected != "481"), "{method}");
    }
    lab.call("", SDP);
    for method in ["REFER", "MESSAGE"] {
        assert_eq!(lab.ask(method, "Refer-To: <sip:x@192.0.2.1>\r\n", ""), ["405"], "{method} in a call");
    }
    assert_eq!(lab.uas.calls(), 1);
}

#[test]
fn replaces_is_refused_as_its_rfc_asks() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    let tag = lab.tag();
    let mut n = 1;
    let mut with = |lab: &mut crate::lab::Lab, header: &str| {
        n += 1;
        let text = invite(header, SDP)
            .replace("bKi1", &format!("bKi{n}"))
            .replace("call-1\r\nCSeq", &format!("call-{n}\r\nCSeq"));
        lab.send(&text)
    };
    let matching = format!("Replaces: call-1;to-tag={tag};from-tag=caller");
    assert_eq!(with(&mut lab, "Replaces: other;to-tag=a;from-tag=b\r\n"), ["481"], "no such dialog");
    assert_eq!(with(&mut lab, &format!("Replaces: call-1;to-tag={tag};from-tag=x\r\n")), ["481"]);
    assert_eq!(with(&mut lab, &format!("{matching}\r\n")), ["403"], "nobody may take the place of a call");
    assert_eq!(with(&mut lab, &format!("{matching};early-only\r\n")), ["486"]);
    assert_eq!(with(&mut lab, &format!("Replaces: call-1;to-tag={tag}\r\n")), ["400"]);
    assert_eq!(with(&mut lab, &format!("{matching}\r\n{matching}\r\n")), ["400"], "one only");
    assert_eq!(with(&mut lab, &format!("{matching}\r\nJoin: x;to-tag=a;from-tag=b\r\n")), ["400"], "they contradict");
    assert_eq!(with(&mut lab, &format!("Require: replaces\r\n{matching}\r\n")), ["420"]);
    assert_eq!(lab.last().text("Unsupported").unwrap(), "replaces");
    assert_eq!(lab.ask("OPTIONS", &format!("{matching}\r\n"), ""), ["400"], "in INVITE only");
    assert_eq!((lab.uas.calls(), lab.told().len()), (1, 5), "the call itself is as before");
    let mut ringing = answering_after(60_000);
    ringing.send(&invite("", SDP));
    let early = format!("Replaces: call-1;to-tag={};from-tag=caller\r\n", ringing.tag());
    assert_eq!(with(&mut ringing, &early), ["481"], "an early dialog that the other side began");
}

#[test]
fn a_call_that_ended_lately_declines_to_be_replaced() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    let mut n = 1;
    let mut with = |lab: &mut crate::lab::Lab, to: &str, from: &str| {
        n += 1;
        let header = format!("Replaces: call-1;to-tag={to};from-tag={from}\r\n");
        let text = invite(&header, SDP).replace("bKi1", &format!("bKi{n}"));
        lab.send(&text.replace("call-1\r\nCSeq", &format!("call-{n}\r\nCSeq")))
    };
    let tag = lab.tag();
    assert_eq!(lab.ask("BYE", "", ""), ["200"]);
    assert_eq!(with(&mut lab, &tag, "caller"), ["603"]);
    assert_eq!(with(&mut lab, &tag, "other"), ["481"]);
    assert_eq!(with(&mut lab, "other", "caller"), ["481"]);
    lab.pass(31_000);
    assert_eq!(with(&mut lab, &tag, "caller"), ["603"]);
    lab.pass(2_000);
    assert_eq!(with(&mut lab, &tag, "caller"), ["481"], "it is forgotten");
    assert!(lab.is_clean());
}

#[test]
fn info_brings_digits() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    let relay = "Content-Type: application/dtmf-relay\r\n";
    assert_eq!(lab.ask("INFO", relay, "Signal=5\r\nDuration=160\r\n"), ["200"]);
    assert_eq!(lab.ask("INFO", "Content-Type: Application/DTMF ;x=y\r\n", "#"), ["200"]);
    assert_eq!(lab.ask("INFO", relay, "Signal=16\r\n"), ["200"], "a flash is no digit");
    assert_eq!(lab.ask("INFO", "", ""), ["200"], "without content a keep-alive");
    let digits: Vec<char> = lab
        .signals
        .iter()
        .filter_map(|signal| match signal {
            Signal::Digit { speaker: Speaker::Caller, digit } => Some(*digit),
            _ => None,
        })
        .collect();
    assert_eq!(digits, ['5', '#']);
}

#[test]
fn other_info_is_415_and_a_package_469() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    assert_eq!(lab.ask("INFO", "Content-Type: application/media_control+xml\r\n", "<x/>"), ["415"]);
    assert_eq!(lab.last().text("Accept").unwrap(), "application/dtmf-relay, application/dtmf");
    assert_eq!(lab.ask("INFO", "Info-Package: nobody\r\nContent-Type: application/dtmf\r\n", "1"), ["469"]);
    assert_eq!(lab.last().text("Recv-Info").unwrap(), "");
    assert!(!lab.told().contains(&"digit"));
}

#[test]
fn sips_is_416_over_what_is_not_tls() {
    let mut lab = answering_after(0);
    let secure = |text: String| text.replace("INVITE sip:", "INVITE sips:").replace("OPTIONS sip:", "OPTIONS sips:");
    assert_eq!(lab.send(&secure(invite("", SDP))), ["416"]);
    assert_eq!(lab.send(&secure(request("OPTIONS", "o", 1, "", "", ""))), ["416"]);
}

#[test]
fn options_tell_what_is_supported_also_without_hops_left() {
    let mut lab = answering_after(0);
    let qualify = request("OPTIONS", "o1", 1, "", "", "").replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(lab.send(&qualify), ["200"]);
    assert_eq!(lab.last().text("Supported").unwrap(), "100rel, timer, siprec");
    let allow = lab.last().list("Allow");
    assert!(["PRACK", "UPDATE", "INFO"].iter().all(|method| allow.iter().any(|own| own == method)), "{allow:?}");
}

#[test]
fn require_of_what_we_support_is_no_420() {
    let mut lab = answering_after(0);
    assert_eq!(lab.send(&invite("Require: 100rel, timer\r\nSupported: 100rel, timer\r\n", SDP)), ["100", "180", "200"]);
    let precondition =
        invite("Require: 100rel, precondition\r\n", SDP).replace("bKi1", "bKi2").replace("call-1", "call-2");
    assert_eq!(lab.send(&precondition), ["420"]);
    assert_eq!(lab.last().text("Unsupported").unwrap(), "precondition");
}

#[test]
fn a_body_that_is_too_large_is_413_and_a_head_513() {
    let mut lab = answering_after(0);
    assert_eq!(lab.send(&invite("", &"x".repeat(140_000))), ["413"]);
    assert_eq!(lab.last().text("Call-ID").unwrap(), "call-1");
    let long = format!("X-Long: {}\r\n", "x".repeat(140_000));
    assert_eq!(lab.send(&invite(&long, SDP)), ["513"]);
}

//! RFC 5621 and RFC 3261 §20.11: bodies of several parts, dispositions, and what is in a body that we do not know.

use crate::lab::{SDP, answering_after, invite, lines, own_line};

const MIXED: &str = "Content-Type: multipart/mixed; boundary=\"=_b\"\r\n";
const ISUP: &str = "Content-Type: application/isup; version=itu-t92+\r\nContent-Disposition: signal; handling=";

fn mixed(parts: &[String]) -> String {
    let parts: String = parts.iter().map(|part| format!("--=_b\r\n{part}\r\n")).collect();
    format!("This is a multipart body.\r\n{parts}--=_b--")
}

fn sdp() -> String {
    format!("Content-Type: application/sdp\r\n\r\n{SDP}")
}

#[test]
fn a_trunk_that_brings_isup_beside_its_description_is_answered() {
    let mut lab = answering_after(0);
    let body = mixed(&[format!("{ISUP}optional\r\n\r\n\u{1}\u{11}\r\n\u{0}"), sdp()]);
    assert_eq!(lab.send(&invite(MIXED, &body)), ["100", "180", "200"]);
    assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 0 101"]);
    assert_eq!(lab.last().text("Content-Type").unwrap(), "application/sdp");
}

#[test]
fn a_part_that_must_be_understood_is_415() {
    let mut lab = answering_after(0);
    let body = mixed(&[format!("{ISUP}required\r\n\r\nx"), sdp()]);
    assert_eq!(lab.send(&invite(MIXED, &body)), ["415"]);
    assert!(lab.last().text("Accept").unwrap().starts_with("application/sdp, multipart/mixed"));
    assert!(lab.signals.is_empty());
}

#[test]
fn a_nested_body_and_one_without_a_description_are_understood() {
    let mut lab = answering_after(0);
    let inner = format!("Content-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n{}\r\n--c--\r\n", sdp());
    assert_eq!(lab.send(&invite(MIXED, &mixed(&[inner]))), ["100", "180", "200"]);
    let mut lab = answering_after(0);
    let body = mixed(&[format!("{ISUP}optional\r\n\r\nx")]);
    assert_eq!(lab.send(&invite(MIXED, &body)), ["100", "180", "200"], "as if there were no body: we offer");
    assert_eq!(lines(lab.last()), [own_line(20_002)]);
}

#[test]
fn re_invite_update_prack_and_ack_may_bring_several_parts_too() {
    let body = mixed(&[sdp()]);
    let mut lab = answering_after(0);
    lab.call("", SDP);
    for method in ["UPDATE", "INVITE"] {
        assert_eq!(lab.ask(method, MIXED, &body), ["200"]);
        assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 0 101"]);
    }
    let mut offerless = answering_after(0);
    offerless.send(&invite("", ""));
    let tag = offerless.tag();
    assert!(offerless.send(&crate::lab::request("ACK", "a", 1, &tag, MIXED, &body)).is_empty());
    assert_eq!(offerless.uas.calls(), 1);
}

#[test]
fn a_body_for_another_purpose_is_no_session() {
    let mut lab = answering_after(0);
    let kind = "Content-Type: application/sdp\r\nContent-Disposition: ";
    assert_eq!(lab.send(&invite(&format!("{kind}early-session\r\n"), SDP)), ["415"]);
    let optional =
        invite(&format!("{kind}render;handling=optional\r\n"), SDP).replace("bKi1", "bKi2").replace("call-1", "c2");
    assert_eq!(lab.send(&optional), ["100", "180", "200"]);
    assert_eq!(lines(lab.last()), [own_line(20_002)], "ignored, so we offer");
    let named =
        invite(&format!("{kind}session;handling=required\r\n"), SDP).replace("bKi1", "bKi3").replace("call-1", "c3");
    assert_eq!(lab.send(&named), ["100", "180", "200"]);
    let text = invite("Content-Type: text/plain\r\nContent-Disposition: icon;handling=optional\r\n", "x");
    assert_eq!(lab.send(&text.replace("bKi1", "bKi4").replace("call-1", "c4")), ["100", "180", "200"]);
}

#[test]
fn broken_bodies_of_several_parts_are_415_and_nothing_more() {
    let many: Vec<String> = (0..17).map(|_| sdp()).collect();
    let bodies =
        [mixed(&many), "no boundary here".into(), "--=_b".into(), format!("--=_b\r\n{}", "a: b\r\n".repeat(50))];
    for body in bodies {
        let mut lab = answering_after(0);
        assert_eq!(lab.send(&invite(MIXED, &body)), ["415"], "{body}");
    }
    let whole = mixed(&[format!("{ISUP}optional\r\n\r\nx"), sdp()]);
    for end in 0..whole.len() {
        let mut lab = answering_after(0);
        let seen = lab.send(&invite(MIXED, &whole[..end]));
        assert!(["200", "415", "488"].contains(&seen.last().unwrap().as_str()), "{end}: {seen:?}");
    }
}

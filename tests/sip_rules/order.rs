//! RFC 3261 §9, §12, §13, §15, §17: sequence numbers, races between CANCEL, BYE, ACK and answers, forks.

use kakehashi::pbx::sip::{Settings, Transport};

use crate::lab::{SDP, answering_after, invite, lab, request};

#[test]
fn a_lower_cseq_is_500_for_every_method_and_a_gap_is_none() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    let tag = lab.tag();
    assert_eq!(lab.send(&request("OPTIONS", "o", 70_000, &tag, "", "")), ["200"]);
    for method in ["INVITE", "UPDATE", "INFO", "OPTIONS", "PRACK", "BYE"] {
        let more = "RAck: 1 1 INVITE\r\n";
        assert_eq!(lab.send(&request(method, method, 60_000, &tag, more, "")), ["500"], "{method}");
    }
    assert_eq!(lab.uas.calls(), 1);
    assert_eq!(lab.send(&request("BYE", "b", 70_001, &tag, "", "")), ["200"]);
}

#[test]
fn a_cancel_before_the_ports_are_open_leaves_nothing() {
    let mut lab = answering_after(0);
    lab.ports = None;
    assert_eq!(lab.send(&invite("", SDP)), ["100"]);
    assert_eq!(lab.send(&request("CANCEL", "i1", 1, "", "", "")), ["200", "487"]);
    let stream = lab.opened[0];
    lab.open(stream, true);
    lab.drain();
    assert!(lab.signals.is_empty(), "the call was never told of");
    assert!(lab.is_clean());
}

#[test]
fn a_cancel_that_comes_twice_or_without_its_invite() {
    let mut lab = answering_after(60_000);
    let cancel = request("CANCEL", "i1", 1, "", "", "");
    assert_eq!(lab.send(&cancel), ["481"], "CANCEL overtook the INVITE");
    lab.pass(33_000);
    lab.send(&invite("", SDP));
    assert_eq!(lab.send(&cancel), ["200", "487"]);
    assert_eq!(lab.send(&cancel), ["200"], "a retransmission gets the same answer");
    assert_eq!(lab.send(&request("ACK", "i1", 1, &lab.tag(), "", "")), [] as [&str; 0]);
    assert_eq!(lab.told().iter().filter(|what| **what == "ended").count(), 1);
    assert!(lab.is_clean());
}

#[test]
fn a_cancel_that_crosses_the_200_changes_nothing() {
    let mut lab = answering_after(0);
    lab.send(&invite("", SDP));
    assert_eq!(lab.send(&request("CANCEL", "i1", 1, "", "", "")), ["200"]);
    assert_eq!(lab.ack(""), [] as [&str; 0]);
    assert_eq!(lab.ask("BYE", "", ""), ["200"]);
    assert_eq!(&lab.told()[5..], ["removed", "leg ended", "ended"]);
}

#[test]
fn a_lost_ack_is_asked_for_and_a_repeated_invite_is_not_a_new_one() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut lab = answering_after(0);
        lab.flow.transport = transport;
        lab.send(&invite("", SDP));
        lab.pass(600);
        assert!(lab.send(&invite("", SDP)).is_empty(), "RFC 6026: the Accepted state absorbs it");
        assert_eq!(lab.uas.calls(), 1);
        lab.ack("");
        assert!(lab.ack("").is_empty(), "an ACK may come again");
        assert_eq!(lab.pass(20_000), []);
        assert_eq!((lab.uas.calls(), lab.uas.counters().stray), (1, 0));
    }
}

#[test]
fn bye_before_the_ack_ends_the_repetitions() {
    let mut lab = answering_after(0);
    lab.send(&invite("", SDP));
    lab.pass(600);
    assert_eq!(lab.ask("BYE", "", ""), ["200"]);
    assert_eq!(lab.pass(40_000), []);
    assert!(lab.is_clean());
}

#[test]
fn what_comes_after_the_end_is_481_and_an_ack_is_not_answered() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    lab.ask("BYE", "", "");
    for method in ["BYE", "INVITE", "UPDATE", "INFO", "PRACK", "OPTIONS"] {
        assert_eq!(lab.ask(method, "RAck: 1 1 INVITE\r\n", ""), ["481"], "{method}");
    }
    assert!(lab.ack("").is_empty());
}

#[test]
fn a_request_needs_call_id_and_both_tags_of_the_dialog() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    let tag = lab.tag();
    let bye = request("BYE", "b", 5, &tag, "", "");
    for wrong in [bye.replace("call-1", "call-x"), bye.replace("tag=caller", "tag=other"), bye.replace(&tag, "ffff")] {
        assert_eq!(lab.send(&wrong.replace("bKb", &format!("bKb{}", lab.sent.len()))), ["481"]);
    }
    assert_eq!(lab.send(&bye), ["200"]);
}

#[test]
fn forks_of_one_call_that_differ_in_the_from_tag_are_calls_of_their_own() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    let first = lab.tag();
    let other = |text: String| text.replace("tag=caller", "tag=other");
    assert_eq!(lab.send(&other(invite("", SDP).replace("bKi1", "bKi2"))), ["100", "180", "200"]);
    let second = lab.tag();
    assert_ne!(first, second);
    assert_eq!(lab.send(&other(request("BYE", "b1", 2, &first, "", ""))), ["481"], "tags of two dialogs do not mix");
    assert_eq!(lab.send(&other(request("BYE", "b2", 2, &second, "", ""))), ["200"]);
    assert_eq!(lab.uas.calls(), 1);
    assert_eq!(lab.send(&request("BYE", "b3", 2, &first, "", "")), ["200"]);
}

#[test]
fn the_same_invite_by_two_ways_is_answered_once_and_482() {
    let mut lab = answering_after(0);
    lab.send(&invite("", SDP));
    assert_eq!(lab.send(&invite("", SDP).replace("bKi1", "bKi2")), ["482"]);
    assert_eq!(lab.uas.calls(), 1);
    let again = invite("", SDP).replace("bKi1", "bKi3").replace("CSeq: 1", "CSeq: 2");
    assert_eq!(lab.send(&again), ["100", "180", "200"], "another CSeq is another request");
}

#[test]
fn a_re_invite_while_the_last_2xx_waits_for_its_ack_is_taken() {
    let mut lab = answering_after(0);
    lab.send(&invite("", SDP));
    assert_eq!(lab.ask("INVITE", "", SDP), ["200"], "the ACK was lost or is late");
    assert_eq!(lab.ack(""), [] as [&str; 0]);
    assert_eq!(lab.pass(20_000), []);
}

#[test]
fn nothing_but_an_invite_is_answered_late() {
    // RFC 4320: every other request has its final answer at once
    let mut lab = lab(Settings { early_sdp: true, ..Settings::default() }, 60_000);
    lab.send(&invite("Require: 100rel\r\n", SDP));
    assert_eq!(lab.prack(""), ["200"]);
    for (method, body) in [("OPTIONS", ""), ("INFO", ""), ("UPDATE", ""), ("UPDATE", SDP)] {
        assert_eq!(lab.ask(method, "", body), ["200"]);
    }
    assert_eq!(lab.ask("BYE", "", ""), ["200", "487"]);
}

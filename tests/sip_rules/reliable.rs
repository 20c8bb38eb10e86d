//! RFC 3262: provisional answers that are acknowledged.

use kakehashi::pbx::sip::Settings;
use kakehashi::pbx::sip::settings::Reliable;

use crate::lab::{Lab, SDP, answering_after, body, invite, lab, lines, own_line};

const REQUIRED: &str = "Require: 100rel\r\nSupported: 100rel\r\n";
const SUPPORTED: &str = "Supported: 100rel\r\n";

fn early() -> Lab {
    lab(Settings { early_sdp: true, ..Settings::default() }, 3_000)
}

fn rseq(lab: &Lab) -> u32 {
    lab.last_with("RSeq").text("RSeq").unwrap().parse().unwrap()
}

#[test]
fn a_180_is_reliable_when_required_and_when_supported_only_by_setting() {
    let mut lab1 = answering_after(3_000);
    assert_eq!(lab1.send(&invite(REQUIRED, SDP)), ["100", "180"]);
    assert_eq!(lab1.last().text("Require").unwrap(), "100rel");
    assert!((1..=0x7fff_ffff).contains(&rseq(&lab1)));
    assert_eq!(lab1.sent[0].count("RSeq"), 0, "100 never is");
    let mut plain = answering_after(3_000);
    plain.send(&invite(SUPPORTED, SDP));
    assert_eq!((plain.last().count("RSeq"), plain.last().count("Require")), (0, 0));
    let mut all = lab(Settings { reliable: Reliable::Supported, ..Settings::default() }, 3_000);
    all.send(&invite(SUPPORTED, SDP));
    assert_eq!(all.last().count("RSeq"), 1);
    all.prack("");
    let mut none = lab(Settings { reliable: Reliable::Supported, ..Settings::default() }, 3_000);
    none.send(&invite("", SDP));
    assert_eq!(none.last().count("RSeq"), 0);
}

#[test]
fn the_first_rseq_differs_from_call_to_call_and_rises_by_one() {
    let mut lab = answering_after(400_000);
    lab.send(&invite(REQUIRED, SDP));
    let first = rseq(&lab);
    assert_eq!(lab.prack(""), ["200"]);
    assert_eq!(lab.pass(150_000), [(150_000, "180".into())], "every 150 s instead of every minute");
    assert_eq!(rseq(&lab), first + 1);
    assert_eq!(lab.prack(""), ["200"]);
    lab.send(&invite(REQUIRED, SDP).replace("call-1", "call-2").replace("i1", "i2"));
    assert_ne!(rseq(&lab), first);
}

#[test]
fn a_reliable_180_is_repeated_doubling_until_its_prack() {
    let mut lab = answering_after(60_000);
    lab.send(&invite(REQUIRED, SDP));
    let times: Vec<u64> = lab.pass(10_000).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [500, 1_500, 3_500, 7_500]);
    assert_eq!(lab.prack(""), ["200"]);
    assert_eq!(lab.pass(49_000), []);
    assert_eq!(lab.pass(1_001), [(1_000, "200".into())]);
}

#[test]
fn without_a_prack_the_invite_is_answered_504_after_64_t1() {
    let mut lab = answering_after(60_000);
    lab.send(&invite(REQUIRED, SDP));
    let seen = lab.pass(32_000);
    let times: Vec<u64> = seen.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [500, 1_500, 3_500, 7_500, 15_500, 31_500, 32_000], "no cap at T2");
    assert_eq!(seen.last().unwrap().1, "504");
    assert_eq!(&lab.told()[3..], ["leg failed", "ended"]);
    assert!(lab.is_clean());
}

#[test]
fn a_prack_that_acknowledges_nothing_is_481_and_one_without_rack_400() {
    let mut lab = answering_after(60_000);
    lab.send(&invite(REQUIRED, SDP));
    let right = rseq(&lab);
    for wrong in [format!("{} 1 INVITE", right + 1), format!("{right} 2 INVITE"), format!("{right} 1 BYE")] {
        assert_eq!(lab.ask("PRACK", &format!("RAck: {wrong}\r\n"), ""), ["481"], "{wrong}");
    }
    for bad in ["", "RAck: x 1 INVITE\r\n", "RAck: 1 1 INVITE more\r\n"] {
        assert_eq!(lab.ask("PRACK", bad, ""), ["400"], "{bad}");
    }
    assert_eq!(lab.prack(""), ["200"]);
    assert_eq!(lab.prack(""), ["481"], "acknowledged already");
    assert_eq!(lab.uas.counters().acknowledged, 1);
    let mut unreliable = answering_after(60_000);
    unreliable.send(&invite("", SDP));
    assert_eq!(unreliable.ask("PRACK", "RAck: 1 1 INVITE\r\n", ""), ["481"]);
}

#[test]
fn a_2xx_does_not_wait_for_a_prack_without_description_and_the_prack_is_still_taken() {
    let mut lab = answering_after(1_000);
    lab.send(&invite(REQUIRED, SDP));
    assert_eq!(lab.pass(1_000), [(500, "180".into()), (1_000, "200".into())]);
    assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 0 101"]);
    assert_eq!(lab.pass(700), [(500, "200".into())], "the 180 is repeated no longer");
    assert_eq!(lab.prack(""), ["200"]);
    lab.ack("");
    assert_eq!(lab.pass(60_000), []);
}

#[test]
fn a_2xx_waits_for_the_prack_of_a_description() {
    let mut lab = early();
    lab.send(&invite(REQUIRED, SDP));
    assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 0 101"], "our answer in the 180");
    let seen = lab.pass(4_000);
    assert!(seen.iter().all(|(_, what)| what == "180"), "{seen:?}");
    assert_eq!(lab.prack(""), ["200", "200"], "of PRACK and, due long since, of INVITE");
    assert!(lab.last().body.is_empty() && lab.last().count("Content-Type") == 0, "the exchange is done");
    lab.ack("");
    assert_eq!(lab.told().last(), Some(&"caller heard"));
    assert_eq!(lab.ask("BYE", "", ""), ["200"]);
    assert!(lab.is_clean());
}

#[test]
fn an_offer_in_a_prack_is_answered_in_its_200() {
    let mut lab = early();
    lab.send(&invite(REQUIRED, SDP));
    assert_eq!(lab.prack(&SDP.replace("0 8 101", "8")), ["200"]);
    assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 8"]);
    assert_eq!(lab.pass(3_000).last().unwrap().1, "200");
    let mut refused = early();
    refused.send(&invite(REQUIRED, SDP));
    assert_eq!(refused.prack(&SDP.replace("0 8 101", "18")), ["488"]);
    assert_eq!(refused.pass(3_000), [(3_000, "200".into())], "the call goes on with what was agreed");
    let mut unanswered = answering_after(3_000);
    unanswered.send(&invite(REQUIRED, SDP));
    assert_eq!(unanswered.prack(SDP), ["500"], "the offer of the INVITE is not answered yet");
    assert_eq!(unanswered.last().count("Retry-After"), 1);
}

#[test]
fn without_an_offer_the_reliable_180_has_ours_and_the_prack_the_answer() {
    let mut lab = answering_after(3_000);
    assert_eq!(lab.send(&invite(REQUIRED, "")), ["100", "180"]);
    assert_eq!(lines(lab.last()), [own_line(20_002)]);
    assert_eq!(lab.ask("UPDATE", "", SDP), ["491"], "our offer is open");
    assert_eq!(lab.prack(&SDP.replace("0 8 101", "8 101")), ["200"]);
    assert_eq!(lab.pass(3_000), [(3_000, "200".into())]);
    assert!(lab.last().body.is_empty());
    assert!(lab.ack("").is_empty(), "an ACK without a description is right here");
    assert_eq!(lab.uas.calls(), 1);
    for answer in ["", "rubbish", &SDP.replace("0 8 101", "18")] {
        let mut lab = answering_after(3_000);
        lab.send(&invite(REQUIRED, ""));
        assert_eq!(lab.prack(answer), ["488", "488"], "PRACK and INVITE");
        assert!(lab.is_clean());
    }
}

#[test]
fn cancel_and_bye_end_a_call_with_an_open_reliable_answer() {
    let mut lab = early();
    lab.send(&invite(REQUIRED, SDP));
    let cancel = crate::lab::request("CANCEL", "i1", 1, "", "", "");
    assert_eq!(lab.send(&cancel), ["200", "487"]);
    assert!(lab.is_clean());
    let mut lab = early();
    lab.send(&invite(REQUIRED, SDP));
    assert_eq!(lab.ask("BYE", "", ""), ["200", "487"]);
    assert!(lab.is_clean() && !body(lab.last()).contains("m="));
}

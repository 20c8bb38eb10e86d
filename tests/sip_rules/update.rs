//! RFC 3311, RFC 3264 §8 and RFC 3261 §14: what is agreed anew inside a call.

use kakehashi::pbx::sip::Settings;

use crate::lab::{SDP, answering_after, body, invite, lab, lines, origin, request};

const REQUIRED: &str = "Require: 100rel\r\n";

fn held() -> String {
    SDP.replace("m=audio", "a=sendonly\r\nm=audio")
}

fn two() -> String {
    format!("{SDP}m=audio 4010 RTP/AVP 8\r\na=sendonly\r\n")
}

#[test]
fn update_holds_and_resumes_without_an_ack() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    assert_eq!(lab.ask("UPDATE", "", &held()), ["200"]);
    assert!(body(lab.last()).contains("a=recvonly\r\n"));
    assert_eq!(lab.last().count("Contact"), 1, "UPDATE refreshes the target");
    assert_eq!(lab.ask("UPDATE", "", SDP), ["200"]);
    assert_eq!(&lab.told()[4..], ["caller heard", "held", "resumed"]);
    assert_eq!(lab.pass(100_000), []);
}

#[test]
fn update_without_a_description_only_moves_the_target() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    let tag = lab.tag();
    let moved = request("UPDATE", "u", 2, &tag, "", "").replace("192.0.2.1:5062>", "192.0.2.44:7000>");
    assert_eq!(lab.send(&moved), ["200"]);
    assert!(lab.last().body.is_empty() && lab.last().count("Content-Type") == 0);
    lab.uas.handle_stop(lab.now);
    lab.drain();
    assert_eq!(lab.to.last().unwrap().peer.to_string(), "192.0.2.44:7000");
}

#[test]
fn only_re_invite_and_update_move_the_target() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    let tag = lab.tag();
    for (n, method) in ["OPTIONS", "INFO"].iter().enumerate() {
        let moved = request(method, method, 2 + n as u32, &tag, "", "").replace("192.0.2.1:5062>", "192.0.2.44:7000>");
        assert_eq!(lab.send(&moved), ["200"]);
    }
    let refused = request("UPDATE", "u", 9, &tag, "", "rubbish").replace("192.0.2.1:5062>", "192.0.2.44:7000>");
    assert_eq!(lab.send(&refused), ["488"]);
    lab.uas.handle_stop(lab.now);
    lab.drain();
    assert_eq!(lab.to.last().unwrap().peer.to_string(), "192.0.2.1:5062");
}

#[test]
fn an_update_that_cannot_be_taken_leaves_the_session() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    let before = origin(lab.last_of("200"));
    for offer in ["rubbish", &SDP.replace("0 8 101", "18"), "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"] {
        assert_eq!(lab.ask("UPDATE", "", offer), ["488"]);
    }
    assert_eq!(lab.ask("UPDATE", "", SDP), ["200"]);
    assert_eq!(origin(lab.last()), before, "nothing changed, so o= stays");
    assert!(lab.closed.is_empty());
}

#[test]
fn update_before_the_answer() {
    let mut lab1 = answering_after(3_000);
    lab1.send(&invite("", SDP));
    assert_eq!(lab1.ask("UPDATE", "", ""), ["200"], "a target refresh is possible at any time");
    assert_eq!(lab1.ask("UPDATE", "", SDP), ["500"], "the offer of the INVITE is not answered");
    let wait: u32 = lab1.last().text("Retry-After").unwrap().parse().unwrap();
    assert!(wait <= 10);
    let mut lab2 = lab(Settings { early_sdp: true, ..Settings::default() }, 3_000);
    lab2.send(&invite(REQUIRED, SDP));
    lab2.prack("");
    assert_eq!(lab2.ask("UPDATE", "", &SDP.replace("0 8 101", "8")), ["200"]);
    assert_eq!(lines(lab2.last()), ["m=audio 20002 RTP/AVP 8"]);
    assert_eq!(lab2.told(), ["appeared", "leg", "ringing"]);
    assert_eq!(lab2.pass(3_000), [(3_000, "200".into())]);
    assert_eq!(lab2.told().last(), Some(&"caller heard"));
}

#[test]
fn offers_that_cross_are_refused_with_491_or_500() {
    let mut lab = answering_after(0);
    lab.send(&invite("", ""));
    assert_eq!(lab.ask("UPDATE", "", SDP), ["491"], "our offer waits for its answer in the ACK");
    assert_eq!(lab.ask("INVITE", "", SDP), ["491"]);
    assert_eq!(lab.ask("UPDATE", "", ""), ["200"]);
    let mut lab = answering_after(0);
    lab.call("", SDP);
    lab.ports = None;
    assert_eq!(lab.ask("INVITE", "", &two()), ["100"], "it waits for a port");
    assert_eq!(lab.ask("INVITE", "", SDP), ["500"], "theirs is open");
    assert_eq!(lab.last().count("Retry-After"), 1);
    assert_eq!(lab.ask("UPDATE", "", SDP), ["500"]);
    assert_eq!(lab.ask("OPTIONS", "", ""), ["200"]);
}

#[test]
fn a_second_audio_line_that_comes_later_is_the_agents() {
    for method in ["INVITE", "UPDATE"] {
        let mut lab = answering_after(0);
        lab.call("", SDP);
        let seen = lab.ask(method, "", &two());
        assert_eq!(seen.last().unwrap(), "200");
        assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 0 101", "m=audio 20004 RTP/AVP 8"]);
        assert!(origin(lab.last()).contains(" 2 IN IP4"), "o= rose by one");
        assert_eq!(&lab.told()[4..], ["caller heard", "agent heard"]);
        if method == "INVITE" {
            lab.ack("");
        }
        // the line goes, and its place stays
        lab.ask(method, "", &two().replace("m=audio 4010", "m=audio 0"));
        assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 0 101", "m=audio 0 RTP/AVP 8"]);
        assert_eq!(lab.closed, [lab.opened[1]]);
        if method == "INVITE" {
            lab.ack("");
        }
        // our own offer keeps both lines (RFC 3264 §8)
        lab.ask("INVITE", "", "");
        assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 0 101", "m=audio 0 RTP/AVP 8"]);
        lab.ack(&two().replace("m=audio 4010", "m=audio 0"));
        // and the place may be used again
        lab.ask(method, "", &two());
        assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 0 101", "m=audio 20006 RTP/AVP 8"]);
        assert_eq!(lab.ask("UPDATE", "", SDP), ["488"], "a line cannot vanish");
        lab.ask("BYE", "", "");
        assert!(lab.is_clean());
    }
}

#[test]
fn a_third_audio_line_is_refused_alone() {
    let mut lab = answering_after(0);
    lab.call("", &two());
    let three = format!("{}m=audio 4020 RTP/AVP 0\r\nm=video 4030 RTP/AVP 31\r\n", two());
    assert_eq!(lab.ask("UPDATE", "", &three), ["200"]);
    let expected =
        ["m=audio 20002 RTP/AVP 0 101", "m=audio 20004 RTP/AVP 8", "m=audio 0 RTP/AVP 0", "m=video 0 RTP/AVP 31"];
    assert_eq!(lines(lab.last()), expected);
}

#[test]
fn a_line_without_a_port_is_refused_and_the_call_goes_on() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    lab.ports = Some(false);
    assert_eq!(lab.ask("INVITE", "", &two()), ["100", "200"]);
    assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 0 101", "m=audio 0 RTP/AVP 8"]);
    assert_eq!(lab.told().last(), Some(&"stream failed"));
    lab.ack("");
    lab.ports = None;
    assert_eq!(lab.ask("UPDATE", "", &two()), [] as [&str; 0]);
    assert_eq!(lab.pass(5_000), [(5_000, "200".into())], "the media stage did not answer in time");
    let late = *lab.opened.last().unwrap();
    lab.open(late, true);
    lab.drain();
    assert_eq!(lab.closed, [late], "a port that comes too late is given back");
}

#[test]
fn a_codec_of_another_rate_goes_on_in_its_stream() {
    let mut lab = answering_after(0);
    let opus = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                m=audio 4000 RTP/AVP 107\r\na=rtpmap:107 opus/48000/2\r\n";
    lab.call("", SDP);
    if cfg!(feature = "opus") {
        assert_eq!(lab.ask("INVITE", "", opus), ["200"]);
        assert_eq!(lines(lab.last()), ["m=audio 20002 RTP/AVP 107"]);
        assert_eq!(&lab.told()[4..], ["caller heard"]);
        assert!(lab.closed.is_empty() && lab.opened.len() == 1);
    } else {
        assert_eq!(lab.ask("INVITE", "", opus), ["488"]);
    }
}

#[test]
fn what_waits_for_a_port_ends_with_cancel_and_with_the_call() {
    let mut lab = answering_after(0);
    lab.call("", SDP);
    lab.ports = None;
    assert_eq!(lab.ask("INVITE", "", &two()), ["100"]);
    assert_eq!(lab.send(&request("CANCEL", "n2", 2, &lab.tag(), "", "")), ["200", "487"]);
    assert_eq!(lab.uas.calls(), 1);
    assert_eq!(lab.ask("INVITE", "", &two()), ["100"]);
    assert_eq!(lab.ask("BYE", "", ""), ["200", "487"]);
    for stream in lab.opened.clone().into_iter().skip(1) {
        lab.open(stream, true);
    }
    lab.drain();
    assert!(lab.is_clean());
}

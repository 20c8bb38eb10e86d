//! RFC 3261 §12.1.1, §12.2.1.1, §16.12: route sets, loose and strict routers; RFC 3581 and RFC 5118: addresses.

use kakehashi::pbx::sip::message::Start;
use kakehashi::pbx::sip::{Settings, Transport};

use crate::lab::{Lab, SDP, answering_after, body, invite, lab, request};

fn uri(lab: &Lab) -> &str {
    match &lab.last().start {
        Start::Request { uri, .. } => uri,
        Start::Response { .. } => panic!("no request"),
    }
}

fn stop(lab: &mut Lab) {
    lab.uas.handle_stop(lab.now);
    lab.drain();
}

#[test]
fn the_route_set_is_the_record_route_of_the_first_invite_in_its_order() {
    let mut lab = answering_after(0);
    let routes = "Record-Route: <sip:192.0.2.5:5070;lr>\r\nRecord-Route: <sip:192.0.2.6;lr>\r\n";
    lab.call(routes, SDP);
    assert_eq!(lab.last_of("200").list("Record-Route"), ["<sip:192.0.2.5:5070;lr>", "<sip:192.0.2.6;lr>"]);
    // a re-INVITE cannot change it, only the target
    let tag = lab.tag();
    let again = request("INVITE", "r", 2, &tag, "Record-Route: <sip:192.0.2.9;lr>\r\n", SDP);
    lab.send(&again.replace("192.0.2.1:5062>", "192.0.2.44>"));
    lab.send(&request("ACK", "ra", 2, &tag, "", ""));
    stop(&mut lab);
    assert_eq!(lab.last().list("Route"), ["<sip:192.0.2.5:5070;lr>", "<sip:192.0.2.6;lr>"]);
    assert_eq!(uri(&lab), "sip:0663621234@192.0.2.44");
    assert_eq!(lab.to.last().unwrap().peer.to_string(), "192.0.2.5:5070");
}

#[test]
fn a_strict_router_gets_its_own_uri_and_the_target_last() {
    let mut lab = answering_after(0);
    lab.call("Record-Route: <sip:192.0.2.5:5070>, <sip:192.0.2.6;lr>\r\n", SDP);
    stop(&mut lab);
    assert_eq!(uri(&lab), "sip:192.0.2.5:5070");
    assert_eq!(lab.last().list("Route"), ["<sip:192.0.2.6;lr>", "<sip:0663621234@192.0.2.1:5062>"]);
    assert_eq!(lab.to.last().unwrap().peer.to_string(), "192.0.2.5:5070");
}

#[test]
fn a_request_that_came_through_a_strict_router_finds_its_call() {
    let mut lab = answering_after(0);
    lab.call("Record-Route: <sip:192.0.2.5>\r\n", SDP);
    let tag = lab.tag();
    // the router put our Contact into the Request-URI, or left what it had there and a Route behind
    for (n, written) in ["sip:kakehashi@192.0.2.80:15080", "sip:192.0.2.5"].iter().enumerate() {
        let asked =
            request("OPTIONS", &format!("s{n}"), 2 + n as u32, &tag, "Route: <sip:kakehashi@192.0.2.80:15080>\r\n", "")
                .replace("sip:7001@192.0.2.80:15080 SIP", &format!("{written} SIP"));
        assert_eq!(lab.send(&asked), ["200"], "{written}");
    }
}

#[test]
fn refreshes_follow_the_route_too_and_their_ack_does() {
    let mut lab = lab(Settings { probe_s: 0, ..Settings::default() }, 0);
    lab.call("Supported: timer\r\nx: 200;refresher=uas\r\nRecord-Route: <sip:192.0.2.5:5070;lr>\r\n", SDP);
    lab.pass(100_000);
    lab.reply(200, "Contact: <sip:y@192.0.2.3>\r\n", SDP);
    assert_eq!(lab.last().list("Route"), ["<sip:192.0.2.5:5070;lr>"]);
    assert_eq!(uri(&lab), "sip:y@192.0.2.3");
    assert_eq!(lab.to.last().unwrap().peer.to_string(), "192.0.2.5:5070");
    stop(&mut lab);
    assert_eq!(uri(&lab), "sip:y@192.0.2.3", "the 2xx moved the target");
}

#[test]
fn ipv6_stands_in_brackets_but_not_in_received() {
    let mut lab = answering_after(0);
    lab.flow.local = "[2001:db8::80]:15080".parse().unwrap();
    lab.flow.peer = "[2001:db8::9]:5062".parse().unwrap();
    let v6 = |text: String| {
        text.replace("192.0.2.80", "[2001:db8::80]")
            .replace("IN IP4 192.0.2.1", "IN IP6 2001:db8::1")
            .replace("192.0.2.1", "[2001:db8::1]")
    };
    let sdp = v6(SDP.into());
    assert_eq!(lab.send(&v6(invite("", &sdp))), ["100", "180", "200"]);
    let answer = lab.last();
    assert_eq!(answer.text("Contact").unwrap(), "<sip:kakehashi@[2001:db8::80]:15080>");
    assert!(answer.text("Via").unwrap().ends_with(";received=2001:db8::9;rport=5062"), "{answer:?}");
    assert!(body(answer).contains("c=IN IP6 2001:db8::80\r\n") && body(answer).contains(" IN IP6 2001:db8::80\r\n"));
    let tag = lab.tag();
    lab.send(&v6(request("ACK", "a", 1, &tag, "", "")));
    stop(&mut lab);
    assert!(lab.last().text("Via").unwrap().starts_with("SIP/2.0/UDP [2001:db8::80]:15080;"));
    assert_eq!(uri(&lab), "sip:0663621234@[2001:db8::1]:5062");
    assert_eq!(lab.to.last().unwrap().peer.to_string(), "[2001:db8::1]:5062");
}

#[test]
fn an_ipv4_peer_of_a_socket_for_both_is_written_as_ipv4_and_reached_as_ipv6() {
    let mut lab = answering_after(0);
    lab.flow.local = "[::ffff:192.0.2.80]:15080".parse().unwrap();
    lab.flow.peer = "[::ffff:192.0.2.9]:5062".parse().unwrap();
    lab.send(&invite("", SDP));
    assert!(lab.last().text("Via").unwrap().contains(";received=192.0.2.9;rport=5062"));
    assert!(body(lab.last()).contains("c=IN IP4 192.0.2.80\r\n"));
    lab.ack("");
    stop(&mut lab);
    assert_eq!(lab.to.last().unwrap().peer.to_string(), "[::ffff:192.0.2.1]:5062");
}

#[test]
fn answers_over_tcp_go_to_the_sent_by_port_when_the_connection_is_gone() {
    let mut lab = answering_after(0);
    lab.flow.transport = Transport::Tcp;
    lab.flow.peer = "192.0.2.1:40000".parse().unwrap();
    lab.send(&invite("", SDP).replace("SIP/2.0/UDP 192.0.2.1:5062", "SIP/2.0/TCP 192.0.2.1:5099"));
    let to = lab.to.last().unwrap();
    assert_eq!((to.channel, to.peer.to_string()), (3, "192.0.2.1:5099".into()));
}

//! RFC 3261 §10 and what registrars do besides.

use super::*;

fn registering(expires_s: u32) -> Lab {
    let register = RegisterSettings {
        registrar: "192.0.2.1:5062".into(),
        user: "3001".into(),
        password: "secret".into(),
        expires_s,
        ..RegisterSettings::default()
    };
    lab_with(PeerSettings { register: Some(register), ..PeerSettings::default() })
}

fn number(message: &Message, name: &str) -> u32 {
    message.text(name).unwrap().split(' ').next().unwrap().parse().unwrap()
}

impl Lab {
    /// The REGISTER that must be out now, and no other.
    fn register(&mut self, seconds: u64) -> Message {
        let mut sent = self.pass(seconds);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.pop().unwrap()
    }

    fn registered(&mut self, granted: &str) {
        let register = self.register(0);
        let contact = format!("{};expires={granted}", register.text("Contact").unwrap().split(';').next().unwrap());
        self.answer(&register, 200, &[("Contact", &contact)]);
        assert_eq!(self.uas.registered(), 1);
    }
}

#[test]
fn it_registers_with_digest_refreshes_in_time_and_leaves() {
    let mut lab = registering(600);
    let first = lab.register(0);
    assert!(matches!(&first.start, Start::Request { method, uri } if method == "REGISTER" && uri == "sip:192.0.2.1"));
    assert_eq!(first.text("Contact").unwrap(), "<sip:3001@192.0.2.80:15080>;expires=600");
    assert!(first.text("From").unwrap().starts_with("<sip:3001@192.0.2.1>;tag="));
    assert_eq!((first.text("To").unwrap(), number(&first, "CSeq")), ("<sip:3001@192.0.2.1>".into(), 1));
    lab.answer(
        &first,
        401,
        &[("WWW-Authenticate", "Digest realm=\"asterisk\",nonce=\"n1\",algorithm=MD5,qop=\"auth\"")],
    );
    let proven = lab.sent.last().unwrap().clone();
    assert_eq!(number(&proven, "CSeq"), 2);
    assert!(
        proven
            .text("Authorization")
            .unwrap()
            .contains("username=\"3001\", realm=\"asterisk\", nonce=\"n1\", uri=\"sip:192.0.2.1\"")
    );
    let others = "<sip:3001@192.0.2.7:5060>;expires=3000, <sip:3001@192.0.2.80:15080>;expires=120";
    lab.answer(&proven, 200, &[("Contact", others), ("Path", "<sip:edge;lr>"), ("Service-Route", "<sip:x;lr>")]);
    assert_eq!(lab.notes, [Note::Register(Registered::Registered(120))]);
    assert_eq!(lab.pass(40), []);
    let refresh = lab.register(20);
    assert_eq!((number(&refresh, "CSeq"), refresh.text("Call-ID")), (3, first.text("Call-ID")));
    assert!(
        refresh.text("Authorization").unwrap().contains("nonce=\"n1\"")
            && refresh.text("Authorization").unwrap().contains("nc=00000002")
    );
    lab.answer(&refresh, 200, &[("Expires", "120")]);
    lab.uas.handle_stop(lab.now);
    lab.drain();
    let leave = lab.sent.last().unwrap().clone();
    assert_eq!(
        (leave.text("Expires").unwrap(), leave.text("Contact").unwrap()),
        ("0".into(), "<sip:3001@192.0.2.80:15080>;expires=0".into())
    );
    lab.answer(&leave, 200, &[]);
    assert_eq!((lab.uas.requests_under_way(), lab.uas.registered()), (0, 0));
    assert_eq!(lab.pass(10_000), []);
}

#[test]
fn a_longer_time_is_asked_for_when_the_registrar_says_so() {
    let mut lab = registering(60);
    let first = lab.register(0);
    lab.answer(&first, 423, &[("Min-Expires", "1800")]);
    let second = lab.sent.last().unwrap().clone();
    assert_eq!(second.text("Expires").unwrap(), "1800");
    lab.answer(&second, 423, &[("Min-Expires", "1800")]);
    assert_eq!(lab.pass(1_700), [], "a registrar that contradicts itself is left alone");
}

#[test]
fn a_wrong_password_is_tried_once_and_then_left_alone_for_long() {
    let mut lab = registering(600);
    for (code, header) in [(401, "Digest realm=\"a\",nonce=\"1\""), (401, "Digest realm=\"a\",nonce=\"2\"")] {
        lab.pass(0);
        let last = lab.sent.last().unwrap().clone();
        lab.answer(&last, code, &[("WWW-Authenticate", header)]);
    }
    assert_eq!(lab.notes, [Note::Register(Registered::Refused(401))]);
    assert_eq!(lab.pass(1_790), []);
    let again = lab.register(20);
    lab.answer(&again, 403, &[]);
    assert_eq!(lab.notes.last(), Some(&Note::Register(Registered::Refused(403))));
    assert_eq!(lab.pass(1_790), []);
}

#[test]
fn what_may_pass_is_tried_again_after_doubling_pauses() {
    let mut lab = registering(600);
    let mut waits = Vec::new();
    for (code, more) in [(503, None), (302, None), (500, None), (503, Some(("Retry-After", "120 (busy)")))] {
        let mut waited = 0;
        let request = loop {
            match lab.pass(1).pop() {
                Some(request) => break request,
                None => waited += 1,
            }
        };
        waits.push(waited);
        lab.answer(&request, code, &more.into_iter().collect::<Vec<_>>());
    }
    assert!((4..=6).contains(&waits[1]) && (9..=12).contains(&waits[2]) && (19..=25).contains(&waits[3]), "{waits:?}");
    assert_eq!(lab.pass(115), []);
    lab.register(10);
    lab.pass(40);
    assert_eq!(lab.notes.last(), Some(&Note::Register(Registered::Failed(None))), "nobody answers");
}

#[test]
fn an_address_that_changes_is_told_at_once_but_not_run_after() {
    let mut lab = registering(600);
    let mut seen = |port: u16| {
        let message = lab.sent.last().cloned().unwrap_or_else(|| lab.register(0));
        let via = format!("{};received=198.51.100.4;rport={port}", message.text("Via").unwrap().replace(";rport", ""));
        let mut answer = Message::new(Start::Response { code: 200, reason: "OK".into() });
        answer.headers = message.headers.clone();
        answer.headers[0].value = via.into_bytes();
        let before = lab.sent.len();
        lab.send(&answer);
        (lab.sent.len() - before, lab.sent.last().unwrap().text("Contact").unwrap().into_owned())
    };
    assert_eq!(seen(4_000), (1, "<sip:3001@198.51.100.4:4000>;expires=600".into()));
    assert_eq!(seen(4_001).0, 0, "a new place every time is not run after");
    assert_eq!(lab.uas.registered(), 1);
    let refresh = lab.pass(580).remove(0);
    assert_eq!(refresh.text("Contact").unwrap(), "<sip:3001@198.51.100.4:4001>;expires=600");
}

#[test]
fn nothing_goes_to_an_address_outside_the_networks_of_the_exchange() {
    let mut lab = registering(600);
    lab.found = vec![Flow { peer: "198.51.100.1:5060".parse().unwrap(), ..lab.flow }];
    assert_eq!(lab.pass(100), []);
    assert!(lab.notes.iter().all(|note| *note == Note::OutsidePeers) && lab.asked > 2, "{:?}", lab.notes);
    lab.found = vec![];
    assert_eq!(lab.pass(1_000), []);
    lab.uas.handle_route(RouteId(77), &[lab.flow], lab.now);
}

#[test]
fn a_lost_connection_is_registered_anew() {
    let mut lab = registering(600);
    let tcp = Flow { transport: Transport::Tcp, ..lab.flow };
    (lab.flow, lab.found) = (Flow { channel: 70_000, ..tcp }, vec![tcp]);
    lab.registered("600");
    lab.uas.handle_lost(1, lab.now);
    assert_eq!(lab.pass(60), []);
    lab.uas.handle_lost(70_000, lab.now);
    lab.register(8);
}

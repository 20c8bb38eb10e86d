//! RFC 4028: session timers, as the called side, refreshed by us or by the exchange.

use kakehashi::pbx::sip::Settings;
use kakehashi::pbx::sip::message::{Message, Start};

use crate::lab::{Lab, SDP, answering_after, body, invite, lab, name, origin};

const ALLOW: &str = "Allow: INVITE, ACK, BYE, UPDATE\r\n";

fn timed(more: &str) -> Lab {
    let mut lab = lab(Settings { probe_s: 0, ..Settings::default() }, 0);
    lab.call(&format!("Supported: timer\r\n{more}"), SDP);
    lab
}

/// A call that we refresh every 300 s by UPDATE.
fn by_update() -> Lab {
    timed(&format!("{ALLOW}Session-Expires: 600;refresher=uas\r\n"))
}

/// … by re-INVITE, because the peer did not say that it takes UPDATE.
fn by_invite() -> Lab {
    timed("Session-Expires: 600;refresher=uas\r\n")
}

fn text(message: &Message, name: &str) -> String {
    message.text(name).map(|text| text.into_owned()).unwrap_or_default()
}

#[test]
fn an_interval_that_is_too_short_is_answered_422_with_min_se() {
    let mut lab = lab(Settings { min_se_s: 120, ..Settings::default() }, 0);
    assert_eq!(lab.send(&invite("Supported: timer\r\nx: 100\r\n", SDP)), ["422"]);
    assert_eq!(text(lab.last(), "Min-SE"), "120");
    assert!(lab.signals.is_empty() && lab.opened.is_empty());
    let again =
        invite("Supported: timer\r\nx: 120\r\nMin-SE: 120\r\n", SDP).replace("i1", "i2").replace("CSeq: 1", "CSeq: 2");
    assert_eq!(lab.send(&again), ["100", "180", "200"]);
    assert_eq!(text(lab.last(), "Session-Expires"), "120;refresher=uas");
}

#[test]
fn an_interval_that_is_too_short_is_answered_422_inside_a_call_too() {
    let mut lab = timed("");
    for method in ["INVITE", "UPDATE"] {
        assert_eq!(lab.ask(method, "Supported: timer\r\nSession-Expires: 60\r\n", ""), ["422"]);
    }
    assert_eq!(lab.uas.calls(), 1);
}

#[test]
fn the_answer_names_interval_and_refresher_and_requires_timer_only_of_who_supports_it() {
    let of = |more: &str, settings: Settings| {
        let mut lab = lab(settings, 0);
        lab.send(&invite(more, SDP));
        (text(lab.last(), "Session-Expires"), text(lab.last(), "Require"))
    };
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    let default = Settings::default;
    assert_eq!(
        of("Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n", default()),
        pair("600;refresher=uac", "timer")
    );
    assert_eq!(of("Supported: timer\r\nSession-Expires: 600\r\n", default()), pair("600;refresher=uas", "timer"));
    assert_eq!(of("Require: timer\r\nSession-Expires: 600\r\n", default()), pair("600;refresher=uas", "timer"));
    assert_eq!(of("Supported: timer\r\n", default()), pair("1800;refresher=uas", "timer"));
    assert_eq!(of("", default()), pair("", ""));
    assert_eq!(of("", Settings { refresh_always: true, ..default() }), pair("1800;refresher=uas", ""));
    assert_eq!(of("Session-Expires: 600\r\n", default()), pair("600;refresher=uas", ""), "put there by a proxy");
}

#[test]
fn we_refresh_at_half_the_interval_by_update() {
    let mut lab = by_update();
    assert_eq!(lab.pass(300_000), [(300_000, "UPDATE".into())]);
    let update = lab.last().clone();
    assert_eq!(text(&update, "Session-Expires"), "600;refresher=uac");
    assert_eq!((text(&update, "Supported"), update.count("Contact"), update.body.len()), ("timer".into(), 1, 0));
    assert!(lab.reply(200, "Session-Expires: 600;refresher=uac\r\n", "").is_empty());
    assert_eq!(lab.pass(300_000), [(300_000, "UPDATE".into())], "the next one");
    assert_eq!(text(lab.last(), "CSeq"), "2 UPDATE");
}

#[test]
fn without_update_a_re_invite_refreshes_and_changes_nothing() {
    let mut lab = by_invite();
    let agreed = lab.last_of("200").body.clone();
    assert_eq!(lab.pass(300_000), [(300_000, "INVITE".into())]);
    assert_eq!(lab.last().body, agreed, "o= and all the rest unchanged");
    let invited = lab.last().clone();
    assert!(lab.reply(100, "", "").is_empty());
    assert_eq!(lab.pass(10_000), [], "a provisional answer stops the repetitions");
    let answer = SDP.replace("0 8 101", "0 101");
    assert_eq!(
        lab.reply(200, "Session-Expires: 600;refresher=uac\r\nContact: <sip:x@192.0.2.7:7000>\r\n", &answer),
        ["ACK"]
    );
    let ack = lab.last().clone();
    assert_eq!(ack.start, Start::Request { method: "ACK".into(), uri: "sip:x@192.0.2.7:7000".into() });
    assert_eq!((text(&ack, "CSeq"), text(&invited, "CSeq")), ("1 ACK".into(), "1 INVITE".into()));
    assert_ne!(text(&ack, "Via"), text(&invited, "Via"), "the ACK of a 2xx is a transaction of its own");
    assert!(ack.body.is_empty());
    // the 2xx comes again, so does the ACK
    lab.sent.retain(|message| name(message) != "ACK");
    assert_eq!(lab.reply(200, "", &answer), ["ACK"]);
    assert_eq!(lab.pass(290_000), []);
    assert_eq!(lab.pass(10_000), [(10_000, "INVITE".into())]);
    assert_eq!(origin(lab.last()), body_origin(&agreed));
    assert_eq!(lab.uas.counters().stray, 0);
}

fn body_origin(body: &[u8]) -> String {
    String::from_utf8_lossy(body).lines().find(|line| line.starts_with("o=")).unwrap().into()
}

#[test]
fn a_refused_re_invite_is_acknowledged_in_its_transaction() {
    let mut lab = by_invite();
    lab.pass(300_000);
    let invited = lab.last().clone();
    assert_eq!(lab.reply(488, "", ""), ["ACK"]);
    assert_eq!(text(lab.last(), "Via"), text(&invited, "Via"));
    assert_eq!(lab.uas.calls(), 1, "the session stays as it was");
    assert_eq!(lab.pass(10_000), [(10_000, "INVITE".into())], "and is refreshed a little later");
}

#[test]
fn a_peer_that_refuses_update_is_re_invited() {
    for code in [405, 501] {
        let mut lab = by_update();
        lab.pass(300_000);
        assert_eq!(lab.reply(code, "", ""), ["INVITE"]);
        lab.reply(200, "Session-Expires: 600;refresher=uac\r\n", SDP);
        assert_eq!(lab.pass(300_000), [(300_000, "INVITE".into())]);
    }
}

#[test]
fn a_422_is_obeyed_and_not_for_ever() {
    let mut lab = by_update();
    lab.pass(300_000);
    assert_eq!(lab.reply(422, "Min-SE: 900\r\n", ""), ["UPDATE"]);
    assert_eq!(
        (text(lab.last(), "Session-Expires"), text(lab.last(), "Min-SE")),
        ("900;refresher=uac".into(), "900".into())
    );
    lab.reply(200, "Session-Expires: 900;refresher=uac\r\n", "");
    assert_eq!(lab.pass(450_000), [(450_000, "UPDATE".into())]);
    let mut stubborn = by_update();
    stubborn.pass(300_000);
    let tries =
        (0..20).take_while(|n| !stubborn.reply(422, &format!("Min-SE: {}\r\n", 1_000 + n), "").is_empty()).count();
    assert_eq!(tries, 4);
}

#[test]
fn a_refresh_that_finds_no_call_ends_it() {
    for code in [481, 408] {
        let mut lab = by_update();
        lab.pass(300_000);
        assert_eq!(lab.reply(code, "", ""), ["BYE"]);
        assert_eq!(&lab.told()[5..], ["removed", "leg lost", "ended"]);
    }
    let mut silent = by_update();
    let seen = silent.pass(340_000);
    assert_eq!(seen.iter().find(|(_, what)| what == "BYE"), Some(&(332_000, "BYE".into())));
    assert!(silent.is_clean());
}

#[test]
fn a_491_is_tried_again_within_two_seconds_because_the_call_id_is_theirs() {
    let mut lab = by_update();
    lab.pass(300_000);
    for _ in 0..5 {
        assert!(lab.reply(491, "", "").is_empty());
        let seen = lab.pass(2_000);
        let (at, what) = &seen[0];
        assert!(*at <= 2_000 && at % 10 == 0 && what == "UPDATE", "{seen:?}");
    }
}

#[test]
fn a_busy_peer_is_asked_again_when_it_says() {
    let mut lab = by_update();
    lab.pass(300_000);
    assert!(lab.reply(500, "Retry-After: 7 (soon)\r\n", "").is_empty());
    assert_eq!(lab.pass(7_000), [(7_000, "UPDATE".into())]);
}

#[test]
fn a_silent_exchange_is_given_up_before_the_end_of_the_session() {
    let mut lab = timed("Session-Expires: 90;refresher=uac\r\n");
    assert_eq!(lab.pass(59_999), []);
    assert_eq!(lab.pass(1), [(1, "BYE".into())], "90 − 90/3");
    assert_eq!(&lab.told()[5..], ["removed", "leg lost", "ended"]);
    let mut lab = timed("Session-Expires: 600;refresher=uac\r\n");
    assert_eq!(lab.pass(568_000), [(568_000, "BYE".into())], "600 − 32");
}

#[test]
fn the_exchanges_refreshes_keep_the_call() {
    let mut lab = timed(&format!("{ALLOW}Session-Expires: 90;refresher=uac\r\n"));
    for _ in 0..4 {
        assert_eq!(lab.pass(45_000), []);
        assert_eq!(lab.ask("UPDATE", "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n", ""), ["200"]);
        assert_eq!(text(lab.last(), "Session-Expires"), "90;refresher=uac");
    }
    // a hold without Session-Expires counts as one, and who refreshes stays
    assert_eq!(lab.ask("INVITE", "Supported: timer\r\n", SDP), ["200"]);
    assert_eq!(text(lab.last(), "Session-Expires"), "90;refresher=uac");
    lab.ack("");
    assert_eq!(lab.pass(59_999), []);
    // and one without timers at all ends the timer
    assert_eq!(lab.ask("INVITE", "", SDP), ["200"]);
    assert_eq!(lab.last().count("Session-Expires"), 0);
    lab.ack("");
    assert_eq!(lab.pass(600_000), []);
}

#[test]
fn the_peer_may_take_the_refreshing_over() {
    let mut lab = by_update();
    lab.pass(300_000);
    lab.reply(200, "Session-Expires: 600;refresher=uas\r\n", "");
    assert_eq!(lab.pass(567_999), []);
    assert_eq!(lab.pass(1), [(1, "BYE".into())]);
}

#[test]
fn a_re_invite_that_crosses_ours_is_answered_491() {
    let mut lab = by_invite();
    lab.pass(300_000);
    assert_eq!(lab.ask("INVITE", "Supported: timer\r\n", SDP), ["491"]);
    assert_eq!(lab.ask("UPDATE", "Supported: timer\r\n", SDP), ["491"]);
    assert_eq!(lab.ask("UPDATE", "Supported: timer\r\n", ""), ["200"]);
    assert_eq!(lab.reply(491, "", ""), ["ACK"]);
    assert_eq!(lab.ask("INVITE", "Supported: timer\r\n", SDP), ["200"], "the exchange came first");
    // ours waits for their ACK
    let seen = lab.pass(10_000);
    assert!(seen.iter().all(|(_, what)| what != "INVITE"), "{seen:?}");
    lab.ack("");
    assert_eq!(lab.uas.calls(), 1);
}

#[test]
fn a_bye_that_crosses_our_re_invite_ends_the_call_and_its_answer_still_gets_an_ack() {
    let mut lab = by_invite();
    lab.pass(300_000);
    assert_eq!(lab.ask("BYE", "", ""), ["200"]);
    assert_eq!(lab.reply(481, "", ""), ["ACK"]);
    assert!(lab.is_clean());
}

#[test]
fn a_refresh_counts_as_proof_of_life_for_the_probe() {
    let mut lab = lab(Settings::default(), 0);
    lab.call(&format!("Supported: timer\r\n{ALLOW}Session-Expires: 400;refresher=uas\r\n"), SDP);
    for _ in 0..3 {
        assert_eq!(lab.pass(200_000), [(200_000, "UPDATE".into())]);
        lab.reply(200, "Session-Expires: 400;refresher=uac\r\n", "");
    }
    assert!(body(lab.last()).is_empty());
    let mut plain = answering_after(0);
    plain.call("", SDP);
    assert_eq!(plain.pass(300_000), [(300_000, "OPTIONS".into())]);
}

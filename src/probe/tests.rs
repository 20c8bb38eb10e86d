//! Facts in, verdict out: what an exchange has, and what it comes to.

use super::asterisk::{EXTRAS, Events, Info, NEEDED};
use super::check::CHECKS;
use super::facts::{
    Answered, Ari, BothMedia, CallEvents, Called, DialogEvents, Facts, Failure, Options, Register, Secured, Socket,
    Tls, Tried,
};
use super::report::{Circumstances, Report};
use super::sound::Measured;
use super::verdict::Verdict;
use super::{Lang, State, html, text};

fn sound() -> Measured {
    Measured { packets: 100, expected: 100, ptime_ms: 20, jitter_us: 300, span_ms: 2_000, ..Measured::default() }
}

fn options() -> Options {
    let words = |text: &str| text.split(' ').map(String::from).collect();
    Options {
        status: 200,
        reason: "OK".into(),
        server: Some("Asterisk PBX 22.10.1".into()),
        allow: words("INVITE ACK CANCEL BYE OPTIONS UPDATE PRACK REFER SUBSCRIBE NOTIFY"),
        supported: words("timer 100rel replaces"),
        events: vec![],
        rtt_us: vec![400, 500, 600],
    }
}

/// An exchange that has everything.
fn whole() -> Facts {
    let events =
        ["BridgeBlindTransfer", "BridgeAttendedTransfer", "ChannelHold", "ChannelUnhold", "ChannelDtmfReceived"];
    let modules = NEEDED.into_iter().chain(EXTRAS.iter().map(|(name, ..)| *name)).map(String::from).collect();
    let answered = Answered {
        status: 200,
        line: "RTP/AVP PCMU".into(),
        accepted: true,
        timer: Some((1_800, "uac".into())),
        sound: Some(sound()),
        secured: Some(Secured { suite: "AES_CM_128_HMAC_SHA1_80", opened: 100, ..Secured::default() }),
        ..Answered::default()
    };
    Facts {
        options: [0; 3].map(|_| Tried::Got(options())),
        ipv6: Tried::Got(options()),
        tls: Tried::Got(Tls { version: "TLSv1_3".into(), days_left: 90, name_matches: true, ..Tls::default() }),
        register: Tried::Got(Register { algorithms: vec!["MD5".into()], expires_s: 60, ..Register::default() }),
        dialog: Tried::Got(DialogEvents { state: "full".into(), ..DialogEvents::default() }),
        calls: [0; 6].map(|_| Tried::Got(answered.clone())),
        called: Tried::Got(Called {
            transport: "UDP".into(),
            numbers: vec![("P-Asserted-Identity", 10)],
            dialled: vec!["Request-URI"],
            codecs: vec!["PCMU".into()],
            profile: "RTP/AVP".into(),
            lines: 1,
            sound: Some(sound()),
            source_as_said: true,
            ..Called::default()
        }),
        ari: Ari {
            info: Tried::Got(Info { version: "22.10.1".into(), major: Some(22), minor: Some(10), ..Info::default() }),
            modules: Tried::Got(modules),
            events: Tried::Got(Events(events.map(String::from).to_vec())),
            write: Tried::Got(()),
            socket: Tried::Got(Socket { latency_us: vec![900], all: true, caller_id: true, presentation: true }),
            media: Tried::Got(BothMedia {
                sound: [Some(sound()), Some(sound())],
                apart: [true, true],
                ..BothMedia::default()
            }),
            call: Tried::Got(CallEvents {
                ringing: true,
                number: true,
                answered: true,
                hold: true,
                digit: true,
                ring_ms: Some(3),
            }),
            left_behind: vec![],
        },
    }
}

fn report(facts: &Facts) -> Report {
    Report::of(facts, Circumstances { bridge: "0.1.0".into(), ..Circumstances::default() })
}

fn failed(report: &Report) -> Vec<&'static str> {
    report.checks.iter().filter(|checked| checked.state == State::Fail).map(|checked| checked.id).collect()
}

fn method(verdict: &Verdict, id: &str) -> (State, State, State) {
    let method = verdict.methods.iter().find(|method| method.id == id).unwrap();
    (method.ring, method.both_parties, method.caller)
}

#[test]
fn an_asterisk_that_has_everything_is_connected_by_ari() {
    let report = report(&whole());
    assert_eq!(failed(&report), Vec::<&str>::new());
    assert_eq!(report.verdict.state, State::Pass);
    assert!(report.verdict.summary.ja.starts_with("この PBX は ARI（スヌープ＋外部メディア） 方式で接続できます"));
    assert_eq!(method(&report.verdict, "sip-leg"), (State::Pass, State::Inapplicable, State::Pass));
}

#[test]
fn what_a_way_cannot_have_or_the_exchange_does_not_offer_is_not_applicable_with_its_reason() {
    let none = (State::Inapplicable, State::Inapplicable, State::Inapplicable);
    let asterisk = report(&whole());
    assert_eq!(method(&asterisk.verdict, "siprec"), none, "Asterisk has no SIPREC client");
    assert_eq!(method(&asterisk.verdict, "dialog-events"), (State::Unknown, State::Inapplicable, State::Inapplicable));
    let mut facts = Facts { ari: Ari::default(), ..whole() };
    for options in &mut facts.options {
        *options = Tried::Got(Options { server: Some("Denwa PBX 4.2".into()), ..self::options() });
    }
    facts.ipv6 = Tried::Not;
    let other = report(&facts);
    assert_eq!(method(&other.verdict, "ari"), none, "no Asterisk, no ARI");
    assert_eq!(method(&other.verdict, "siprec"), (State::Unknown, State::Unknown, State::Unknown), "it may have that");
    assert_eq!(other.verdict.state, State::Unknown, "what is not applicable knocks nobody out");
    let silent = report(&Facts::default());
    assert_eq!(method(&silent.verdict, "ari").1, State::Unknown, "who does not say what it is may be one");
    for (report, id) in [(&asterisk, "siprec"), (&asterisk, "sip-leg"), (&asterisk, "dialog-events"), (&other, "ari")] {
        let method = report.verdict.methods.iter().find(|method| method.id == id).unwrap();
        let why = method.not_applicable.as_ref().unwrap();
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        let methods = json["verdict"]["methods"].as_array().unwrap();
        let shown = methods.iter().find(|method| method["id"] == id).unwrap();
        assert_eq!(
            (&shown["both_parties"], &shown["not_applicable"]["en"]),
            (&"not-applicable".into(), &why.en.clone().into())
        );
        let (ja, en, page) = (text::print(report, Lang::Ja), text::print(report, Lang::En), html::page(report));
        assert!(
            ja.contains(&format!("該当なし: {}", why.ja)) && en.contains(&format!("not applicable: {}", why.en)),
            "{ja}"
        );
        assert!(page.contains("badge none\">該当なし"), "{page}");
        assert!(page.contains(&format!("該当なし: {}", why.ja.replace('\'', "&#39;"))), "{page}");
    }
}

#[test]
fn each_missing_thing_fails_its_own_check_and_knocks_out_only_where_nothing_is_left() {
    type Change = fn(&mut Facts);
    let table: [(&str, Change, State); 14] = [
        (
            "ari.version",
            |f| f.ari.info = Tried::Got(Info { version: "18.9".into(), major: Some(18), ..Info::default() }),
            State::Fail,
        ),
        ("ari.modules", |f| f.ari.modules = Tried::Got(vec!["res_stasis".into()]), State::Fail),
        ("ari.write", |f| f.ari.write = Tried::Failed(Failure::Status(403, "Forbidden".into())), State::Fail),
        ("ari.media", |f| f.ari.media = Tried::Got(BothMedia::default()), State::Fail),
        (
            "ari.identity",
            |f| f.ari.socket = Tried::Got(Socket { latency_us: vec![9], all: true, ..Socket::default() }),
            State::Pass,
        ),
        ("ari.transfer", |f| f.ari.events = Tried::Got(Events(vec![])), State::Pass),
        ("sip.tls", |f| f.options[2] = Tried::Failed(Failure::Connection("refused".into())), State::Pass),
        (
            "sip.certificate",
            |f| f.tls = Tried::Got(Tls { days_left: -1, name_matches: true, ..Tls::default() }),
            State::Pass,
        ),
        ("srtp.sdes", |f| f.calls[4] = Tried::Failed(Failure::Status(488, "Not Acceptable Here".into())), State::Pass),
        ("codec.opus", |f| f.calls[3] = Tried::Failed(Failure::Status(488, "Not Acceptable Here".into())), State::Pass),
        (
            "leg.identity",
            |f| {
                if let Tried::Got(called) = &mut f.called {
                    called.numbers.clear();
                }
            },
            State::Pass,
        ),
        (
            "sip.extensions",
            |f| {
                if let Tried::Got(options) = &mut f.options[0] {
                    options.supported.pop();
                }
            },
            State::Pass,
        ),
        (
            "media.received",
            |f| {
                if let Tried::Got(answered) = &mut f.calls[0] {
                    answered.sound = Some(Measured { packets: 80, expected: 100, ..Measured::default() });
                }
            },
            State::Pass,
        ),
        (
            "ari.call",
            |f| f.ari.call = Tried::Got(CallEvents { hold: true, digit: true, ..CallEvents::default() }),
            State::Pass,
        ),
    ];
    for (id, change, state) in table {
        let mut facts = whole();
        change(&mut facts);
        let report = report(&facts);
        assert!(failed(&report).contains(&id), "{id}: {:?}", failed(&report));
        assert_eq!(report.verdict.state, state, "{id}");
        let checked = report.checks.iter().find(|checked| checked.id == id).unwrap();
        assert!(checked.remedy.is_some() && !checked.evidence.ja.is_empty(), "{id}");
    }
}

#[test]
fn without_ari_an_asterisk_is_knocked_out_but_may_serve_a_first_tier() {
    let mut facts = whole();
    facts.ari = Ari { info: Tried::Failed(Failure::Connection("refused".into())), ..Ari::default() };
    let report = report(&facts);
    assert_eq!(failed(&report), ["ari.reach"]);
    assert_eq!(report.verdict.state, State::Fail);
    let states: Vec<State> = report.verdict.knock_outs.iter().map(|one| one.state).collect();
    assert_eq!(states, [State::Fail, State::Pass]);
    assert!(report.verdict.summary.ja.contains("接続できません") && report.verdict.summary.ja.contains("一次応答"));
}

#[test]
fn a_wrong_password_is_told_from_an_ari_that_is_off() {
    let mut facts = whole();
    facts.ari = Ari { info: Tried::Failed(Failure::Status(401, "Unauthorized".into())), ..Ari::default() };
    assert_eq!(failed(&report(&facts)), ["ari.user"]);
}

#[test]
fn what_was_not_tried_is_unknown_and_says_what_to_give() {
    let report = report(&Facts::default());
    assert_eq!(report.verdict.state, State::Unknown);
    for checked in &report.checks {
        assert_eq!(checked.state, State::Unknown, "{}", checked.id);
        assert!(!checked.evidence.ja.is_empty() && checked.remedy.is_none());
    }
}

#[test]
fn a_recorder_by_siprec_is_enough() {
    let called = Tried::Got(Called { siprec: true, lines: 2, ..Called::default() });
    let facts = Facts { called, ..Facts::default() };
    let report = report(&facts);
    assert_eq!(method(&report.verdict, "siprec"), (State::Pass, State::Pass, State::Pass));
    assert_eq!(report.verdict.state, State::Pass);
}

#[test]
fn a_busy_test_number_says_nothing_of_codecs() {
    let mut facts = whole();
    facts.calls = [0; 6].map(|_| Tried::Failed(Failure::Status(486, "Busy Here".into())));
    let report = report(&facts);
    let state = |id: &str| report.checks.iter().find(|checked| checked.id == id).unwrap().state;
    assert_eq!((state("codec.g722"), state("srtp.sdes")), (State::Unknown, State::Unknown));
}

#[test]
fn encryption_counts_only_where_encrypted_sound_came() {
    let state = |change: fn(&mut Facts)| {
        let mut facts = whole();
        change(&mut facts);
        let report = report(&facts);
        let checked = report.checks.iter().find(|checked| checked.id == "srtp.sdes").unwrap().clone();
        (checked.state, checked.evidence.en)
    };
    fn call(facts: &mut Facts, at: usize) -> &mut Answered {
        let Tried::Got(answered) = &mut facts.calls[at] else { panic!("no call") };
        answered
    }
    let (whole, evidence) = state(|_| {});
    assert_eq!(whole, State::Pass);
    assert!(evidence.contains("SIP by UDP") && evidence.contains("100 packets decrypted, 0 failed"), "{evidence}");
    let refused = |facts: &mut Facts| call(facts, 4).secured.as_mut().unwrap().refused = 1;
    assert_eq!(state(refused).0, State::Fail, "one that is not authentic is one too many");
    let silent = |facts: &mut Facts| {
        let answered = call(facts, 4);
        (answered.sound, answered.secured.as_mut().unwrap().opened) = (None, 0);
    };
    assert_eq!(state(silent).0, State::Fail, "negotiated, and nothing came");
    let mute = |facts: &mut Facts| {
        call(facts, 0).sound = None;
        let answered = call(facts, 4);
        (answered.sound, answered.secured.as_mut().unwrap().opened) = (None, 0);
    };
    assert_eq!(state(mute).0, State::Unknown, "a number that sends nothing in the clear either");
    assert_eq!(state(|facts| call(facts, 4).secured = Some(Secured::default())).0, State::Fail, "no usable key");
    let tls = |facts: &mut Facts| call(facts, 4).not_by_tls = Some(Failure::Status(403, "Forbidden".into()));
    assert!(state(tls).1.contains("by TLS: 403 Forbidden"));
}

#[test]
fn the_page_cannot_be_broken_out_of() {
    let mut facts = whole();
    facts.ari.info = Tried::Not;
    if let Tried::Got(options) = &mut facts.options[0] {
        options.server = Some("</td><script>alert(1)</script>\"'&".into());
        options.allow = vec!["<img src=x onerror=alert(1)>".into()];
    }
    let page = html::page(&report(&facts));
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(page.contains("&lt;script&gt;") && page.contains("&#39;&amp;"));
    assert!(!page.contains("src=\"") && !page.contains("href=") && !page.contains("url("));
}

#[test]
fn every_form_of_the_report_has_every_check() {
    let report = report(&whole());
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["schema"], "kakehashi.probe/1");
    assert_eq!(json["verdict"]["state"], "pass");
    assert_eq!(json["checks"].as_array().unwrap().len(), CHECKS.len());
    let (ja, en, page) = (text::print(&report, Lang::Ja), text::print(&report, Lang::En), html::page(&report));
    for check in CHECKS {
        assert!(
            ja.contains(check.name) && en.contains(check.title.1) && page.contains(check.title.0),
            "{}",
            check.name
        );
    }
    let at = |text: &str| ja.find(text).unwrap();
    assert!(at("ノックアウト条件") < at("ari.reach"), "what knocks out stands first");
}
